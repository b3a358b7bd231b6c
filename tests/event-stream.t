#!/usr/bin/env python3
"""Server-sent events through sed -u: each arrives while the next has not
been sent."""
from mitm import *

for name, tls in (('chunked', True), ('ended by close', False)):
    @test('an event stream that is ' + name)
    def _(chunks=name == 'chunked', tls=tls):
        with Origin(tls=tls) as origin, \
                Proxy('--response', 'sed -u s/event/EVENT/') as proxy:
            client = proxy.tls(origin) if tls else proxy.tunnel(origin)
            client.send(get('/'))
            server = origin.next()
            server.read_head()
            server.send(b'HTTP/1.1 200 OK\r\n' +
                        (b'Transfer-Encoding: chunked\r\n' if chunks else b'')
                        + b'Content-Type: text/event-stream\r\n\r\n')
            client.read_head()
            for i in range(50):
                text = b'data: event %d\n\n' % i
                server.send(b'%x\r\n%s\r\n' % (len(text), text) if chunks
                            else text)
                want, got = b'data: EVENT %d\n\n' % i, b''
                while got != want:          # sed prints it line by line
                    if chunks:
                        size = int(client.read_until(b'\r\n'), 16)
                        got += client.read_exact(size)
                        client.read_exact(2)
                    else:
                        got += client.read_exact(1)
                    check(want.startswith(got), 'an event', got, want)
            server.send(b'0\r\n\r\n' if chunks else b'')
            server.finish()
            client.read_all()


run()
