#!/usr/bin/env python3
"""Nonsense and too much of it: a clear answer, no hang, no harm."""
from mitm import *

LONG = b'X: ' + b'y' * 1000 + b'\r\n'


def swallow(conn, data):
    """Send until refused; then all that came back."""
    work = thread(conn.pour, data, 1)
    text = conn.read_all()
    work.result()
    return text


@test('a head over 64 KiB is 431, as a proxy request, CONNECT, in a tunnel')
def _():
    with Origin(answer(reply(b'x')), tls=True) as secret, \
            Origin(answer(reply(b'x'))) as plain, Proxy() as proxy:
        for conn, start in (
                (proxy.connect(), b'GET %s HTTP/1.1\r\n'
                 % plain.url().encode()),
                (proxy.connect(), b'CONNECT %s HTTP/1.1\r\n'
                 % plain.auth.encode()),
                (proxy.tunnel(plain), b'GET / HTTP/1.1\r\n'),
                (proxy.tls(secret), b'GET / HTTP/1.1\r\n')):
            conn.send(start + LONG * 70)
            like(conn.read_until(b'\r\n'), rb'^HTTP/1\.[01] 431 ', 'status')
            conn.read_all()
        equal(proxy.fetch(plain).body, b'x', 'afterwards')


@test('TLS to the proxy itself: the log tells of http://')
def _():
    with Proxy() as proxy:
        command(need('curl'), '-sS', '--noproxy', '', '-x',
                'https://127.0.0.1:%d' % proxy.port, 'http://origin.test/')
        proxy.wait_log('answered by an error page: .* it is TLS .*http://')


@test('a first line that never ends')
def _():
    with Origin(answer(reply(b'x'))) as plain, Proxy() as proxy:
        conn = proxy.connect()
        like(swallow(conn, b'GET http://' + b'a' * 200000),
             rb'^(HTTP/1\.[01] 4\d\d |$)', 'an error')
        equal(proxy.fetch(plain).body, b'x', 'afterwards')


@test('a response head over 64 KiB does not hang')
def _():
    with Origin(answer(b'HTTP/1.1 200 OK\r\n' + LONG * 100 + b'\r\n')) \
            as origin, Proxy() as proxy:
        conn = proxy.tunnel(origin)
        conn.send(get('/'))
        like(conn.read_until(b'\r\n'), rb'^HTTP/1\.1 (502|200) ', 'status')


GARBAGE = {
    'zeros': b'\0' * 1000, 'an ssh client': b'SSH-2.0-OpenSSH_9.2\r\n',
    'bytes over 127': b'\xff' * 1000, 'lines': b'hello\r\nworld\r\n\r\n',
    'a TLS record': bytes.fromhex('1603010200010001fc0303') + b'\0' * 600,
    'HTTP/2': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\0' * 9,
    'an HTTP/0.9 request': b'GET /\r\n\r\n',
    'a path without a host': b'GET / HTTP/1.1\r\n\r\n',
    'no port': b'CONNECT localhost HTTP/1.1\r\n\r\n',
    'port 0': b'CONNECT localhost:0 HTTP/1.1\r\n\r\n',
    'port 99999': b'CONNECT localhost:99999 HTTP/1.1\r\n\r\n',
    'port x': b'CONNECT localhost:x HTTP/1.1\r\n\r\n',
    'no host': b'CONNECT :443 HTTP/1.1\r\n\r\n',
    'half a bracket': b'CONNECT [::1 HTTP/1.1\r\n\r\n',
    'an unknown scheme': b'GET gopher://localhost/ HTTP/1.1\r\n\r\n',
    'an empty host': b'GET http:///x HTTP/1.1\r\n\r\n',
    'a host of 5,000 letters':
        b'GET http://' + b'a' * 5000 + b'/ HTTP/1.1\r\n\r\n',
    'NUL in the host': b'GET http://loc\0alhost/ HTTP/1.1\r\n\r\n'}

for name, data in GARBAGE.items():
    @test('garbage on the port: ' + name)
    def _(data=data):
        with Origin(answer(reply(b'x'))) as plain, Proxy() as proxy:
            conn = proxy.connect()
            conn.send(data)
            conn.cut()
            got = conn.read_all()
            like(got, rb'^(HTTP/1\.[01] [45]\d\d |$)', 'an error or the end')
            equal(proxy.fetch(plain).body, b'x', 'afterwards')


@test('garbage instead of a TLS handshake in a tunnel')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        for data in (bytes.fromhex('16030100050100000100'),
                     bytes.fromhex('160301ffff') + b'\0' * 70000,
                     bytes.fromhex('1603010004') + b'\1\xff\xff\xff'):
            conn = proxy.tunnel(origin)
            with contextlib.suppress(OSError):
                conn.send(data)
                conn.cut()
            conn.read_all()


@test('a client that does not trust us is told in the log what to do')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        conn = proxy.tunnel(origin)
        try:
            conn.start_tls(client_context(make_ca('Somebody else')),
                           'localhost')
            raise Failed('it trusts us')
        except ssl.SSLCertVerificationError:
            pass
        conn.close()
        line = proxy.wait_log(r'(?m)^mitmproxy: .*localhost.*$')[0]
        like(line, r'http://mitm\.it/', 'what to install')


@test('clients that come and leave at once, in all phases')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy() as proxy:
        for i in range(60):
            conn = proxy.connect()
            if i % 4 > 0:
                conn.send(get(origin.auth, method='CONNECT')[:i])
            if i % 4 > 1:
                conn = proxy.tunnel(origin)
            if i % 4 > 2:
                conn = proxy.tls(origin)
                conn.send(get('/'))
            conn.reset() if i % 8 > 3 else conn.close()
        equal(proxy.fetch(origin).body, b'x', 'afterwards')


run()
