#!/usr/bin/env python3
"""HTTP/2 without TLS (h2c): what a response filter could match does not turn to it,
and what begins with it passes as it is, which is told."""
from mitm import *

SED = '-R', 'sed s/cloud/clown/'
UNSEEN = r'#\d+ is relayed as a stream, which no filter sees: '


@contextlib.contextmanager
def servers():
    """nghttpd, which speaks HTTP/2 alone, and nghttpx before it, which lets
    HTTP/1.1 turn to it; their ports."""
    folder = scratch('www')
    os.mkdir(folder)
    with open(folder + '/page', 'wb') as f:
        f.write(b'a cloud')
    ports = free_port(), free_port()
    with running(need('nghttpd'), '--no-tls', '-a', '127.0.0.1', '-d', folder,
                 str(ports[0])), \
            running(need('nghttpx'), '-f127.0.0.1,%d;no-tls' % ports[1],
                    '-b127.0.0.1,%d;;proto=h2' % ports[0], '-LERROR',
                    '--conf=/dev/null'):
        for port in ports:
            with socket.socket() as s:
                wait_for(lambda: not s.connect_ex(('127.0.0.1', port)),
                         'a server of HTTP/2')
        yield ports


def curl(proxy, port, *words):
    if b'HTTP2' not in command(need('curl'), '--version'):
        raise Skip('curl knows no HTTP/2')
    return proxy.curl('-w', ' %{http_version}', *words,
                      'http://127.0.0.1:%d/page' % port)


@test('Upgrade: h2c, with curl and nghttpx')
def _():
    with servers() as (_, port):
        for filters, want in (
                ((), b'a cloud 2'), (SED, b'a clown 1.1'),
                (('--match', '~d other', *SED), b'a cloud 2'),
                (('--match', '~t other', *SED), b'a cloud 1.1'),
                (('--raw', *SED), b'a cloud 2')):
            with Proxy(*filters) as proxy:
                for words in (), ('-p',):
                    equal(curl(proxy, port, '--http2', *words), want,
                          'the page, %s' % (filters,))
                if '--raw' in filters:
                    proxy.wait_log(UNSEEN + 'the protocol was switched')
                else:
                    unlike(proxy.log(), UNSEEN, 'the log')


@test('from the first byte, with curl and nghttpd')
def _():
    with servers() as (port, _):
        for filters in (), SED, ('-Q', 'cat'), ('--match', '~d other', *SED):
            with Proxy(*filters) as proxy:
                equal(curl(proxy, port, '--http2-prior-knowledge', '-p'),
                      b'a cloud 2', 'the page')
                (like if len(filters) == 2 else unlike)(
                    proxy.log(), UNSEEN + 'it is HTTP/2\n', 'the log')
            with Proxy('-m', 'reverse:http://127.0.0.1:%d' % port,
                       *filters) as proxy:
                equal(command('curl', '-sS', '--noproxy', '*', '--max-time',
                              '20', '--http2-prior-knowledge',
                              'http://127.0.0.1:%d/page' % proxy.port),
                      b'a cloud', 'the page, by reverse mode')


for fields, want in (
        (b'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n'
         b'HTTP2-Settings: AAMAAABk\r\n', b''),
        (b'upgrade:h2c\nconnection: keep-alive,HTTP2-Settings ,  upgrade\n',
         b'connection: keep-alive\n'),
        (b'HTTP2-Settings: AAMA\r\n ABk\r\nConnection:  close , Upgrade, '
         b'http2-settings \r\nX: h2c\r\nUpgrade: foo/1,H2C , websocket\r\n',
         b'Connection:  close, Upgrade \r\nX: h2c\r\n'
         b'Upgrade: foo/1, websocket\r\n'),
        (b'Upgrade: websocket ,x\r\nConnection: a,Upgrade,,b\r\n',) * 2,
        (b'HTTP2-Settings: A\r\nConnection: HTTP2-Settings\r\n',) * 2,
        (b'Upgrade:\r\nConnection: Upgrade\r\n',) * 2):
    @test('what goes out for %r' % fields)
    def _(fields=fields, want=want):
        with Origin() as origin:
            for filters in SED, (), ('-R', 'cat', '-Q', 'cat'):
                with Proxy(*filters) as proxy:
                    client = proxy.tunnel(origin)
                    client.send(b'GET / HTTP/1.1\r\nHost: x\r\n%s\r\n' % fields)
                    server = origin.next()
                    equal(server.read_until(b'\n\r\n'),
                          b'GET / HTTP/1.1\r\nHost: x\r\n%s\r\n' % (
                              want if filters else fields), 'at the server')


run()
