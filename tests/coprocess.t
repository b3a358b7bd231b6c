#!/usr/bin/env python3
"""--coprocess: one command stays alive and serves many messages."""
from mitm import *

# The smallest coprocess, around a function that is given a message's line
# and bytes and returns what is to be written.
LOOP = '''#!PYTHON
import os, sys, signal, time
i, o = sys.stdin.buffer, sys.stdout.buffer
count = 0
def whole(m): return b'%d\\n' % len(m) + m
for line in i:
    m = i.read(int(line.split()[0]))
    count += 1
    keys = dict(w.split('=', 1) for w in line.decode().split()[1:])
    url = keys['url']
BODY
    o.flush()
'''.replace('PYTHON', sys.executable)


def coprocess(body):
    """A coprocess that runs these lines for each message."""
    return script(LOOP.replace('BODY', '\n'.join(
        '    ' + line for line in body.split('\n'))))


def serve(options, body, paths, size=0):
    """The statuses and bodies of the answers, asked for one after another
    on one connection each."""
    origin = Origin(answer(*[lambda r: reply(b'hello' + b'x' * size)]))
    with origin, Proxy(*options, '--coprocess', '--response',
                       coprocess(body), coprocesses=1) as proxy:
        got = []
        for path in paths:
            client = proxy.tunnel(origin)
            client.send(get(path))
            message = client.read_message()
            got.append((message.status, message.body))
            client.close()
        return got


@test('one process serves all messages, and may change them')
def _():
    got = serve((), "o.write(whole(m + b'%d %d' % (count, os.getppid() > 0)))",
                ['/1', '/2', '/3'])
    equal(got, [(200, b'hello%d 1' % n) for n in (1, 2, 3)], 'the answers')


@test('the keys tell of the message')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--response', coprocess(
                "h = m[:m.index(b'\\r\\n\\r\\n') + 4]\n"
                "o.write(whole(h + line[line.index(b' ') + 1:]))"),
                  coprocesses=1) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/a b?c=d', method='PUT'))
        like(client.read_message().body.decode(),
             r'^id=1 direction=response scheme=http host=localhost '
             r'port=%d method=PUT url=http://localhost:%d/a%%20b\?c=d '
             r'status=200 client=127\.0\.0\.1:\d+ sni=\n$'
             % (origin.port, origin.port), 'the line')


@test('- leaves the message as it is, ! fails it')
def _():
    got = serve((), "o.write(b'-\\n' if '/keep' in url else b'!no way\\n')",
                ['/keep', '/fail', '/keep'])
    equal([got[0], got[2]], [(200, b'hello')] * 2, 'unchanged')
    equal(got[1][0], 502, 'the status')
    like(got[1][1].decode(), 'no way', 'the reason')
    like(serve((), "o.write(b'!\\n')", ['/'])[0][1].decode(),
         'filter failed: it answers ! and says no reason\n', 'no reason')


@test('a message longer than what a pipe holds')
def _():
    size = 3 << 20
    got = serve((), "o.write(whole(m[:-1]))", ['/'], size)
    equal((got[0][0], len(got[0][1])), (200, size + 4), 'the answer')


@test('a message over 16 MiB fails')
def _():
    got = serve((), "o.write(whole(m))", ['/'], 17 << 20)
    equal(got[0][0], 502, 'the status')
    like(got[0][1].decode(), 'longer than', 'the reason')


@test('one that dies is started again; its message fails, the others do not')
def _():
    got = serve((), "if '/die' in url: os._exit(3)\no.write(whole(m))",
                ['/1', '/die', '/2', '/die', '/3'])
    equal([status for status, _ in got], [200, 502, 200, 502, 200],
          'the statuses')


@test('messages that kill it stop no others, one after the other')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--response', coprocess(
                "if '/die' in url: os._exit(3)\no.write(whole(m))"),
                  coprocesses=1, second=1000) as proxy:     # a pause is long
        for path, status in 3 * (('/die', 502), ('/die', 502), ('/', 200)):
            client = proxy.tunnel(origin)
            client.send(get(path))
            equal(client.read_message().status, status, path)
        proxy.wait_log('is to be started anew: ')


@test('one that cannot be started anew leaves the message to one that runs')
def _():
    marker, go = scratch('marker'), scratch('go')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--jobs', '2', '--coprocess', '--response', script(
                '#!/bin/sh\nmkdir %s || exit 1\nexec %s' % (
                    marker, coprocess(
                        "while '/slow' in url and not os.path.exists('%s'):\n"
                        "    time.sleep(0.01)\no.write(whole(m))" % go))),
                  coprocesses=1, second=1000) as proxy:
        slow = proxy.tunnel(origin)
        slow.send(get('/slow'))
        wait_for(lambda: os.path.exists(marker), 'the one')
        equal(proxy.fetch(origin).status, 502, 'the other, which ends at once')
        os.mkdir(go)
        equal(slow.read_message().status, 200, 'the first message')
        equal(proxy.fetch(origin).status, 200, 'the next')


@test('--on-error pass: the message of one that dies goes on as it was')
def _():
    got = serve(('--on-error', 'pass'),
                "if '/die' in url: os.kill(os.getpid(), 9)\n"
                "o.write(whole(m + b'!'))", ['/die', '/1'])
    equal(got[0], (200, b'hello'), 'the original')
    equal(got[1], (200, b'hello!'), 'the next')


@test('an answer that is none is quoted in the log, and on no page')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--response',
                  coprocess("o.write(b'what?\\n')"),
                  coprocesses=1) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        page = client.read_message()
        equal(page.status, 502, 'the status')
        unlike(page.body.decode(), r'what\?', 'another message may have it')
        proxy.wait_log("'what\\?' is no answer of a coprocess's\n")
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--response',
                  coprocess("o.write(b'1\\nx\\n')"), coprocesses=1) as proxy:
        proxy.tunnel(origin).send(get('/'))
        proxy.wait_log(r"'' is no answer of a coprocess's \(a line end behind")


@test('one that writes no line end is quoted, too')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--response', coprocess(
                "o.write(b'hello' * 500); o.flush(); time.sleep(1000)"),
                  coprocesses=1) as proxy:
        equal(proxy.fetch(origin).status, 502, 'the status')
        proxy.wait_log("'(hello){16}' is no answer")


@test('one that makes no progress ends')
def _():
    got = serve(('--timeout', '1'),
                "if '/stuck' in url: time.sleep(1000)\no.write(whole(m))",
                ['/stuck', '/1'])
    equal([status for status, _ in got], [502, 200], 'the statuses')


@test('--jobs: so many processes, and a slow message delays no other')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--jobs', '2', '--coprocess', '--response', coprocess(
                "if '/slow' in url: time.sleep(5)\n"
                "o.write(whole(m + b'%d' % os.getpid()))"),
                  coprocesses=2) as proxy:
        slow = proxy.tunnel(origin)
        slow.send(get('/slow'))
        bodies = set()
        for _ in range(5):
            client = proxy.tunnel(origin)
            client.send(get('/'))
            bodies.add(client.read_message().body)
        equal(len(bodies), 1, 'processes that answered')
        equal(len(proxy.children()), 2, 'processes')
        slow.reset()


@test('a client that leaves does not disturb the next')
def _():
    began, go = scratch('began'), scratch('go')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--response', coprocess(
                "open('%s', 'a').write('.')\n"
                "while '/wait' in url and not os.path.exists('%s'): pass\n"
                "o.write(whole(m + url[-1:].encode()))"
                % (began, go)), coprocesses=1) as proxy:
        first, second = proxy.tunnel(origin), proxy.tunnel(origin)
        first.send(get('/wait/1'))
        wait_for(lambda: os.path.exists(began), 'the first')
        second.send(get('/2'))
        first.reset()
        open(go, 'w').close()
        equal(second.read_message().body, b'x2', 'the second')


@test('messages of 272 MB wait for their ends: one too many')
def _():
    most = bytes(16 * 10 ** 6)
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--request', coprocess("o.write(b'-\\n')"),
                  coprocesses=1) as proxy:
        clients = [proxy.tunnel(origin) for _ in range(17)]
        for client in clients:
            client.send(get('/', 'Content-Length: %d' % (len(most) + 1),
                            method='POST'))
            with contextlib.suppress(ConnectionError):
                client.send(most)
        proxy.wait_log('messages of 268435456 bytes wait already')
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.send(b'.')
        statuses = [client.read_message().status for client in clients]
        equal(sorted(statuses), [200] * 16 + [502], 'the statuses')


@test('answers of 16 MiB that nobody takes are bounded; others get theirs')
def _():
    if sanitized():
        raise Skip("the sanitizer's memory is too big to be measured")
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('-q', '--coprocess', '--request', coprocess(
                "o.write(whole(b'HTTP/1.0 200 OK\\r\\n\\r\\n'"
                " + bytes(16000000 if '/big' in url else 9)))"),
                  coprocesses=1) as proxy:
        idle, clients = proxy.memory(), []
        for _ in range(24):
            clients.append(proxy.tunnel(origin))
            clients[-1].send(get('/big'))
        wait_for(lambda: 'cut off' in proxy.log(), 'the bound')
        equal(proxy.fetch(origin).body, bytes(9), 'an answer that is taken')
        check(proxy.memory('VmHWM') - idle < 320 << 20, 'memory',
              proxy.memory('VmHWM'), idle)
        proxy.wait_log('cut off, as its peer takes little of it: messages '
                       'of 268435456 bytes wait')
        for client in clients:
            client.reset()


@test('requests, too; and with other filters in a pipeline')
def _():
    with Origin(answer(lambda r: reply(r.head))) as origin, \
            Proxy('--request', 's() { sed "$@"; }; s s/one/two/',
                  '--coprocess', '--request',
                  coprocess("o.write(whole(m.replace(b'two', b'three')))"),
                  '--request', 'sed s/three/four/', coprocesses=1) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/one'))
        like(client.read_message().body.decode(), '^GET /four ', 'the request')


run()
