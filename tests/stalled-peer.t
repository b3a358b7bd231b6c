#!/usr/bin/env python3
"""A peer that stalls within a message holds no filter that others need."""
from mitm import *


@test('an upload that stalls, and a coprocess')
def _():
    loop = script('#!%s\nimport sys\ni, o = sys.stdin.buffer, '
                  'sys.stdout.buffer\nfor line in i:\n'
                  '    i.read(int(line.split()[0]))\n'
                  '    o.write(b"-\\n")\n    o.flush()\n' % sys.executable)
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--request', loop,
                  coprocesses=1) as proxy:
        stalled, other = proxy.tunnel(origin), proxy.tunnel(origin)
        stalled.send(b'POST / HTTP/1.1\r\nHost: x\r\n'
                     b'Content-Length: 10\r\n\r\nx')
        other.send(get('/'))
        equal(other.read_message().body, b'x', 'the other')
        stalled.reset()


@test('uploads that stall before their first byte, and --jobs')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--jobs', '4', '--request', 'cat') as proxy:
        stalled = [proxy.tunnel(origin) for _ in range(6)]
        for client in stalled:
            client.send(b'POST / HTTP/1.1\r\nHost: x\r\n'
                        b'Content-Length: 10\r\n\r\n')
        wait_for(lambda: len(proxy.children()) == 2, 'two that wait')
        other = proxy.tunnel(origin)
        other.send(get('/'))
        equal(other.read_message().body, b'x', 'the other')
        for client in stalled:
            client.reset()


run()
