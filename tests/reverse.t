#!/usr/bin/env python3
"""-m reverse:URL: for clients that know no proxy."""
from mitm import *


def direct(proxy, tls):
    """A connection as if the proxy were the server."""
    conn = proxy.connect()
    return conn.start_tls(client_context(proxy.ca), 'localhost') if tls \
        else conn


for inner in (False, True):
    for outer in (False, True):
        @test('%s to us, %s to the server' % tuple(
            'TLS' if tls else 'plain' for tls in (outer, inner)))
        def _(inner=inner, outer=outer):
            with Origin(answer(lambda r: reply(r.head)), tls=inner) as origin:
                url = 'http%s://localhost:%d' % ('s' if inner else '',
                                                 origin.port)
                with Proxy('-m', 'reverse:' + url, '--request',
                           'sed s/one/two/') as proxy:
                    client = direct(proxy, outer)
                    for _ in range(2):
                        client.send(get('/one', host='localhost:1'))
                        equal(client.read_message().body,
                              get('/two', host='localhost:1'), 'the request')


@test("the server is asked by its own name, the client sees the one it named")
def _():
    names = []
    with Origin(answer(reply(b'page')), tls=True, cert=make_leaf(
            names='DNS:origin.test')) as origin, Proxy(
                '-m', 'reverse:https://origin.test:443', '--connect-to',
                '::127.0.0.1:%d' % origin.port) as proxy:
        origin.context.sni_callback = lambda _, name, __: names.append(name)
        for name in 'a.test', 'b.test', 'a.test', 'origin.test':
            client = proxy.connect().start_tls(client_context(proxy.ca), name)
            client.send(get('/', host=name))
            equal(client.read_message().body, b'page', name)
            client.finish()
        equal(set(names), {'origin.test'}, 'what the server was asked for')


@test('a server that speaks first')
def _():
    def greet(conn):
        conn.send(b'220 hello\r\n')
        conn.send(conn.read_until(b'\n').upper())

    with Origin(greet) as origin, \
            Proxy('-m', 'reverse:http://127.0.0.1:%d' % origin.port) as proxy:
        client = direct(proxy, False)
        equal(client.read_until(b'\n'), b'220 hello\r\n', 'the greeting')
        client.send(b'quit now\r\n')
        equal(client.read_until(b'\n'), b'QUIT NOW\r\n', 'the answer')


run()
