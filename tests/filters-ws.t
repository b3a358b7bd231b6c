#!/usr/bin/env python3
"""ws-log: WebSocket messages as lines of JSON, and no message changed; and what
the other ready filters make of a message, which has no head."""
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
    for data in b'2 id=7 direction=request\nhi', b'GET / HTTP/1.1\r\n\r\n':
        like(pipe('ws-log', 'up', input=data).err, "^ws-log: .*~w.*\n$",
             'what is no message')
    done = pipe('ws-log', 'up', '/dev/null/x')
    equal(done.status, 1, 'a file that cannot be')
    like(done.err, r'\Aws-log: .*/dev/null/x.*\n\Z', 'one line')


MESSAGE = {'MITM_DIRECTION': 'message', 'MITM_METHOD': 'GET',
           'MITM_URL': 'http://a.test/chat', 'MITM_OPCODE': 'binary'}
LIKE_HEAD = (b'HTTP/1.1 200 OK\r\nHost: a\r\nContent-Type: text/html\r\n'
             b'Content-Encoding: gzip\r\n\r\n<head>a\0b')


@test('those for a head leave a message alone')
def _():
    folder = scratch('folder')
    os.mkdir(folder)
    with open(folder + '/chat', 'w') as f:
        f.write('a file')
    for data in (b'a', b'', BYTES, LIKE_HEAD):
        for words in (('set-header', 'Host', 'x'), ('del-header', 'Host'),
                      ('fields', 'Host'), ('inject', 'x'),
                      ('map-local', 'http://a.test', folder),
                      ('map-remote', 'http://a.test', 'http://b.test'),
                      ('template.sh',), ('block', 'other'), ('edit', 'pass'),
                      ('body', 'cat'), ('swap', 'none', 'x'),
                      ('swap', '--body', 'none', 'x')):
            passes(*words, input=data, env=MESSAGE)
    if shutil.which('magick') or shutil.which('convert'):
        passes('flip', input=LIKE_HEAD, env=MESSAGE)


@test('body, edit and swap have all of it for the body; block drops it')
def _():
    for words, data, want in (
            (('body', 'tr', 'a', 'b'), b'a\n\na', b'b\n\nb'),
            (('edit', 'body = body.replace(b"a", b"b")'), b'a\n\na',
             b'b\n\nb'),
            (('edit', 'json["a"] = 2'), b'{"a": 1}', b'{"a": 2}'),
            (('swap', 'KEY', 'x'), b'KEY\n\nKEY', b'x\n\nx'),
            (('swap', '--body', 'KEY', 'x'), LIKE_HEAD + b'KEY',
             LIKE_HEAD + b'x'),
            (('block', '/chat'), b'a', b'')):
        equal(pipe(*words, input=data, env=MESSAGE), Done(0, want, ''), words)


@test('save: each message has a file of its own, both ways')
def _():
    folder = scratch('saved')
    with Origin(ws.echo) as origin, Proxy(
            '--match', '~w', '--request', ready('save', folder),
            '--match', '~w', '--response', ready('save', folder)) as proxy:
        client = ws.enter(proxy, origin)
        for i in range(3):
            client.send(ws.frame(2, b'%d' % i, b'mask'))
            equal(ws.read_frame(client), (2, b'%d' % i), 'an echo')
    names = [folder + '/' + n for n in os.listdir(folder)]
    equal(sorted(slurp(n) for n in names if not n.endswith('.env')),
          [b'0', b'0', b'1', b'1', b'2', b'2'], 'the messages')
    for name in names:
        if name.endswith('.env'):
            check(b'\nMITM_OPCODE=binary\n' in slurp(name), name)


run()
