#!/usr/bin/env python3
"""ws-log: WebSocket messages as lines of JSON, and no message changed."""
import json
import ws
from filters import *


@test('each message is a line, and goes on as it came')
def _():
    log = scratch('log')
    with Origin(ws.echo, tls=True) as origin, Proxy(
            '--match', '~w', '--coprocess', '--request',
            ready('ws-log', 'up', log), '--match', '~w', '--coprocess',
            '--response', ready('ws-log', 'down', log),
            coprocesses=2) as proxy:
        client = ws.enter(proxy, origin)
        for opcode, data in ((1, 'a "cloud" \u20ac\n'.encode()), (2, BYTES),
                             (1, b''), (1, b'\xff')):
            client.send(ws.frame(opcode, data, b'mask'))
            equal(ws.read_frame(client), (opcode, data), 'an echo')
        lines = [json.loads(line) for line in slurp(log).splitlines()]
        equal([(line['way'], line.get('text')) for line in lines],
              [(way, text) for text in ('a "cloud" \u20ac\n', None, '', None)
               for way in ('up', 'down')], 'the texts')
        equal([len(line.get('base64', '')) for line in lines[2:4]],
              [(len(BYTES) + 2) // 3 * 4] * 2, 'the bytes')
        equal({(line['id'], line['url']) for line in lines},
              {(1, origin.url('/chat'))}, 'whose they are')


@test('by itself; a wrong number of arguments')
def _():
    done = pipe('ws-log', 'up', input=b'2 id=7 opcode=text url=a%20b\nhi')
    equal((done.status, done.out), (0, b'-\n'), 'what it answers')
    like(done.err, '"id": 7, "way": "up", "url": "a b", "text": "hi"', 'line')
    equal(pipe('ws-log').status, 1, 'no argument')


run()
