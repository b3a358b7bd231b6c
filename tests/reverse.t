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
