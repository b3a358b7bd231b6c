#!/usr/bin/env python3
"""TLS 1.3: a peer takes new keys in mid-connection, and asks for ours."""
from mitm import *


@contextlib.contextmanager
def server():
    """openssl s_server, whose standard input we type on."""
    cert, port = make_leaf(), free_port()
    with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                 '-cert', cert, '-key', cert, '-tls1_3',
                 ready='ACCEPT') as child:
        child.origin = 'localhost:%d' % port
        yield child


def type_in(child, text):
    child.stdin.write(text)
    child.stdin.flush()


def says(child, regex):
    wait_for(lambda: re.search(regex, slurp(child.output), re.S),
             repr(regex) + ' of openssl')


@test('the server does, and asks for the same')
def _():
    with server() as child, Proxy() as proxy:
        client = proxy.tls(child.origin)
        for n in range(3):
            client.send(get('/first%d' % n))
            says(child, b'GET /first%d.*\r\n\r\n' % n)
            type_in(child, b'K\n')
            says(child, b'GET /first%d.*SSL_do_handshake -> 1' % n)
            type_in(child, reply(b'x' * 70000))
            equal(client.read_message().body, b'x' * 70000, 'the page')


for key in b'k', b'K':
    @test('the client does, and %s' % (
        'asks for the same' if key == b'K' else 'asks for nothing'))
    def _(key=key):
        page = reply(b'p' * 70000)
        with Origin(answer(page), tls=True) as origin, Proxy() as proxy, \
                running('openssl', 's_client', '-proxy', '127.0.0.1:%d'
                        % proxy.port, '-connect', origin.auth, '-CAfile',
                        proxy.ca, '-tls1_3', '-crlf',
                        ready='Verify return code: 0') as child:
            for n in range(3):
                type_in(child, key + b'\n')
                says(child, b'(KEYUPDATE.*){%d}' % (n + 1))
                type_in(child, b'GET /%d HTTP/1.1\nHost: localhost\n\n' % n)
                wait_for(lambda: slurp(child.output).count(b'p' * 1000)
                         >= 70 * (n + 1), 'the page')


run()
