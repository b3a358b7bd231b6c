#!/usr/bin/env python3
"""A CONNECT on a connection that was used for something else before."""
from mitm import *


for tls in (False, True):
    @test('goes to its own server, %s' % ('TLS' if tls else 'plain'))
    def _(tls=tls):
        with Origin(answer(reply(b'first'))) as first, \
                Origin(answer(reply(b'second')), tls=tls) as second, \
                Proxy() as proxy:
            client = proxy.connect()
            client.send(get(first.url('/')))
            equal(client.read_message().body, b'first', 'the first answer')
            client.send(get(second.auth, host=second.auth, method='CONNECT'))
            like(client.read_head(), rb'^HTTP/1\.[01] 200 ', 'the tunnel')
            if tls:
                client.start_tls(client_context(proxy.ca), 'localhost')
            client.send(get('/secret'))
            equal(client.read_message().body, b'second', 'the second answer')
            unlike(first.rx, b'secret', 'what the first server got')


run()
