#!/usr/bin/env python3
"""Expect: 100-continue."""
from mitm import *

ASK = get('/', 'Expect: 100-continue', 'Content-Length: 5', method='POST')


@test('without a filter it goes end to end')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        client.send(ASK)
        server = origin.next()
        equal(server.read_exact(len(ASK)), ASK, 'the head')
        check(client.silent(0.2), 'nobody but the server may say 100',
              client.buf)
        server.send(b'HTTP/1.1 100 Go On\r\nX: y\r\n\r\n')
        equal(client.read_head(), b'HTTP/1.1 100 Go On\r\nX: y\r\n\r\n', '100')
        client.send(b'hello')
        equal(server.read_exact(5), b'hello', 'the body')
        server.send(reply(b'ok'))
        equal(client.read_message().body, b'ok', 'the answer')


@test('with a request filter the proxy says 100, once')
def _():
    with Origin(tls=True) as origin, \
            Proxy('--request', 'sed s/hello/HELLO/') as proxy:
        client = proxy.tls(origin)
        client.send(ASK)
        like(client.read_head(), rb'^HTTP/1\.1 100 ', '100')
        client.send(b'hello')
        server = origin.next()
        server.read_head()
        equal(server.read_exact(5), b'HELLO', 'the body')
        server.send(reply(b'ok'))
        equal(client.read_message().raw, reply(b'ok'), 'the answer')


@test('with a response filter only, it still goes end to end')
def _():
    with Origin() as origin, Proxy('--response', 'sed s/ok/OK/') as proxy:
        client = proxy.tunnel(origin)
        client.send(ASK)
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        client.read_head()
        client.send(b'hello')
        server.read_exact(5)
        server.send(reply(b'ok'))
        equal(client.read_message().body, b'OK', 'the answer')


@test('HTTP/1.0 expects nothing: no 100 is sent to it')
def _():
    ask = b'POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n' \
          b'\r\nhello'
    with Origin(answer(reply(b'ok'))) as origin, \
            Proxy('--request', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(ask)
        equal(client.read_message().body, b'ok', 'the answer')
        unlike(bytes(client.rx), rb' 100 ', 'no 100')


# A final answer while the body has not begun: nobody can tell whether what
# comes next is the body, or another request with its credentials.

REFUSED = reply(b'no', status='417 Expectation Failed')
LOGIN = 'Proxy-Authorization: Basic dXNlcjpwYXNz'


def ways(*args):
    """(name, origin, proxy, connection, request) for each way in."""
    for name in 'absolute', 'connect', 'tls':
        with Origin(tls=name == 'tls') as origin, Proxy(*args) as proxy:
            login = LOGIN if '--proxyauth' in args else 'X: y'
            if name == 'absolute':
                yield name, origin, proxy.connect(), get(
                    origin.url('/up'), login, 'Expect: 100-continue',
                    'Content-Length: 5000', method='POST')
                continue
            client = proxy.connect()
            client.send(get(origin.auth, login, method='CONNECT'))
            client.read_head()
            if name == 'tls':
                client.start_tls(client_context(proxy.ca), 'localhost')
            yield name, origin, client, get(
                '/up', 'Expect: 100-continue', 'Content-Length: 5000',
                method='POST')


for args in ((), ('--proxyauth', 'user:pass'), ('--response', 'cat'),
             ('--raw', '--request', 'cat'),
             ('--proxyauth', 'user:pass', '--raw', '--request', 'cat')):
    @test('417 in place of 100 ends the connection: what follows is neither '
          'body nor request' + ''.join(', ' + a for a in args))
    def _(args=args):
        for name, origin, client, ask in ways(*args):
            client.send(ask)
            server = origin.next()
            server.read_head()
            server.send(REFUSED)
            like(client.read_until(b'\r\n\r\nno'), b'HTTP/1.1 417', name)
            with contextlib.suppress(OSError):
                client.send(get(origin.url('/next'), LOGIN))
            equal((client.read_all(), client.end), (b'', 'eof'),
                  'what follows, ' + name)
            equal(server.read_all(), b'', 'at the server, ' + name)


@test('a filter that answers: the connection ends as well')
def _():
    page = scratch('page', REFUSED)
    with Origin() as origin, Proxy('--request', 'cat ' + page) as proxy:
        client = proxy.tunnel(origin)
        client.send(ASK)
        like(client.read_until(b'\r\n\r\nno'), b'HTTP/1.1 417', 'answer')
        equal((client.read_all(), client.end), (b'', 'eof'), 'what follows')


@test('Expect in any form')
def _():
    for field in ('Expect: 100-continue\r\nExpect: x', 'expect : 100-Continue',
                  'Expect:\r\n 100-continue', 'Expect: x, 100-continue'):
        with Origin() as origin, Proxy() as proxy:
            client = proxy.connect()
            client.send(get(origin.url(), field, 'Transfer-Encoding: chunked',
                            method='POST'))
            server = origin.next()
            server.read_head()
            server.send(REFUSED)
            equal((client.read_all(), client.end), (REFUSED, 'eof'), field)


@test('where the body has begun, or its end came, the connection stays')
def _():
    for fields, body in ((('Content-Length: 2',), b'hi'),
                         (('Transfer-Encoding: chunked',), b'0\r\n\r\n'),
                         (('Transfer-Encoding: chunked',),
                          b'2\r\nhi\r\n0\r\n\r\n')):
        for late in 1, len(body):
            with Origin() as origin, Proxy() as proxy:
                client = proxy.tunnel(origin)
                client.send(get('/', 'Expect: 100-continue', *fields,
                                method='POST'))
                server = origin.next()
                server.read_head()
                client.send(body[:late])
                server.read_exact(late)
                server.send(REFUSED)
                client.read_exact(len(REFUSED))
                client.send(body[late:] + get('/next'))
                equal(server.read_exact(len(body) - late), body[late:], 'rest')
                equal(server.read_head(), get('/next'), 'the next request')
                server.send(reply(b'two'))
                equal(client.read_message().body, b'two', 'its answer')


@test('curl asks again without it, and gets its answer')
def _():
    upload = scratch('upload', b'x' * 1500000)

    def behave(conn):
        while wait_message(conn):
            head = conn.read_head()
            if b'Expect' in head:
                conn.send(REFUSED)
            else:
                conn.read_exact(1500000)
                conn.send(reply(b'taken'))
    for args in ((), ('--proxyauth', 'user:pass')):
        for tls in False, True:
            with Origin(behave, tls=tls) as origin, Proxy(*args) as proxy:
                equal(proxy.curl('-U', 'user:pass', '--data-binary',
                                 '@' + upload, origin.url()), b'taken',
                      'what curl gets')
                unlike(origin.rx, b'(?i)proxy-auth', 'at the server')


run()
