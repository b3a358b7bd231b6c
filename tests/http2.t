#!/usr/bin/env python3
"""Clients that offer HTTP/2 alone: relayed as a stream where no filter could
match, refused in words where one could."""
from mitm import *

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0'
SETTINGS = b'\0\0\0\4\0\0\0\0\0'


def server(conn):
    """Speaks first, as HTTP/2's may; then echoes."""
    conn.send(SETTINGS)
    while conn.buf or conn.more():
        conn.send(conn.take(len(conn.buf)))


def origin():
    return Origin(server, tls=True, alpn=['h2', 'http/1.1'])


def passes(proxy, there):
    client = proxy.tls(there, alpn=['h2'])
    equal(client.tls.selected_alpn_protocol(), 'h2', 'ALPN')
    equal(client.read_exact(9), SETTINGS, 'what the server says first')
    data = PREFACE + os.urandom(300000)
    worker = thread(client.send, data)
    equal(client.read_exact(len(data)), data, 'what it echoes')
    worker.result()
    client.shutdown_write()
    client.read_all()
    equal(client.end, 'eof', 'the end')


@test('no filter, or none that could match: the bytes pass, ALPN is mirrored')
def _():
    for args in ([], ['--match', '~d nowhere', '-R', 'sed s/a/b/'],
                 ['--match', '~d nowhere & ~t html', '-R', 'sed s/a/b/', '-j',
                  '2'], ['--match', '! ~d localhost', '-Q', 'false'],
                 ['--tcp-hosts', 'localhost'],
                 ['--tcp-hosts', 'localhost', '--match', '~u elsewhere', '-R',
                  'sed s/a/b/']):
        with origin() as there, Proxy('-v', *args) as proxy:
            passes(proxy, there)
            if '--tcp-hosts' not in args:
                proxy.wait_log('as a stream: it is HTTP/2')


@test('a filter could match: refused, with the ways out in one line')
def _():
    for args in (['-R', 'sed s/a/b/'], ['-Q', 'cat'],
                 ['--match', '~t html', '-R', 'sed s/a/b/'],
                 ['--match', '~m GET', '-Q', 'cat'],
                 ['--match', '~u elsewhere', '-Q', 'cat'],
                 ['--match', '~d localhost', '-Q', 'cat'],
                 ['--only-hosts', '.']):
        with origin() as there, Proxy(*args) as proxy:
            try:
                proxy.tls(there, alpn=['h2'])
                raise Failed('it is not refused')
            except ssl.SSLError as error:
                like(str(error), '(?i)no.application.protocol', 'the alert')
            proxy.wait_log('HTTP/2 alone to localhost:%d.*refused.*--tcp-hosts.'
                           '*--ignore-hosts' % there.port)
            equal(len(there.conns), 0, 'connections to the server')


@test('a client that offers HTTP/1.1, too, gets that, and filters work')
def _():
    with Origin(answer(reply(b'a cloud')), tls=True, alpn=['h2', 'http/1.1']
                ) as there, Proxy('-R', 'sed s/cloud/clown/') as proxy:
        client = proxy.tls(there, alpn=['h2', 'http/1.1'])
        equal(client.tls.selected_alpn_protocol(), 'http/1.1', 'ALPN')
        client.send(get('/'))
        equal(client.read_message().body, b'a clown', 'the page')


@test('-w has what passed, decrypted')
def _():
    name = scratch('capture')
    with origin() as there, Proxy('-w', name) as proxy:
        passes(proxy, there)
    like(slurp(name), rb'PRI \* HTTP/2\.0\r\n\r\nSM', 'the capture')


GRPC_SERVER = '''
import concurrent.futures, grpc, sys
same = lambda x: x
def stream(request, context):
    for i in range(50):
        yield request + b" %d" % i
class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/x/One":
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: request[::-1])
        if call.method == "/x/Many":
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: (r[::-1] for r in requests))
server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Handler(),))
text = open(sys.argv[1], "rb").read()
port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials(
    [(text, text)]))
server.start()
print("port %d." % port, flush=True)
sys.stdin.read()
'''
GRPC_CLIENT = '''
import grpc, os, sys
root = open(os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"], "rb").read()
channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials())
print(channel.unary_unary("/x/One")(b"abc", timeout=20))
print(len(list(channel.unary_stream("/x/Many")(b"abc", timeout=20))))
print(list(channel.stream_stream("/x/Echo")(iter([b"ab", b"cd" * 100000]),
                                            timeout=20))[0])
'''


@test("gRPC (Python's grpcio) around a command: unary and streams, with no "
      'filter and with one for another host')
def _():
    python = next((p for p in (sys.executable, '/usr/bin/python3')
                   if subprocess.call([p, '-c', 'import grpc'],
                                      stderr=subprocess.DEVNULL) == 0), None)
    if not python:
        raise Skip('no grpcio')
    leaf = make_leaf(names='DNS:localhost,DNS:grpc.test')
    with running(python, '-c', GRPC_SERVER, leaf, ready=r'port (\d+)\.') as s:
        port = s.match.group(1)
        for args in [], ['--match', '~d other', '-R', 'sed s/a/b/']:
            status, out, err = mitmproxy(
                '-q', '--ca', scratch('cert.pem'), '--cacert', make_ca(),
                '--connect-to', 'grpc.test:443:localhost:' + port, *args,
                '--', python, '-c', GRPC_CLIENT, 'grpc.test:443')
            equal((status, out), (0, "b'cba'\n50\nb'ba'\n"), err)
        status, out, err = mitmproxy(
            '-q', '--ca', scratch('cert.pem'), '-R', 'cat', '--', python, '-c',
            GRPC_CLIENT, 'grpc.test:443')
        check(status != 0, 'a filter for it: refused')
        like(err, 'HTTP/2 alone to grpc.test:443', 'the words')


run()
