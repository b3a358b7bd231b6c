#!/usr/bin/env python3
"""WebSocket messages through filters (~w): what they see and what goes on."""
import json

from ws import *

WAYS = [('absolute', False), ('connect', False), ('connect', True),
        ('socks', False), ('socks', True), ('reverse', False),
        ('reverse', True)]
# A coprocess: prints what it was told on stderr, and does as the text says.
COPROCESS = script(r'''
#!/usr/bin/env python3
import sys, time
read, write = sys.stdin.buffer, sys.stdout.buffer
for line in read:
    words = line.split()
    data = read.read(int(words[0]))
    sys.stderr.write('%s\n' % line.decode().strip())
    sys.stderr.flush()
    if data == b'keep':
        write.write(b'-\n')
    elif data == b'fail':
        write.write(b'!no\n')
    else:
        data = data.replace(b'cloud', b'clown')
        write.write(b'%d\n%s' % (len(data), data))
    write.flush()
''', 'coprocess')


@contextlib.contextmanager
def talk(*args, way='connect', tls=False, fields=b'', **more):
    """Two ends that have shaken hands: client, server, and the proxy."""
    with Origin(tls=tls) as origin:
        if way == 'reverse':
            args += ('-m', 'reverse:' + origin.url().rstrip('/'))
        with Proxy(*args, **more) as proxy:
            work = thread(enter, proxy, origin, way)
            server = origin.next()
            server.head = accept(server, fields)
            yield work.result(), server, proxy


def both(command, *qualifiers):
    """This filter for the messages of both directions."""
    return (*LAST, *qualifiers, '--request', command,
            *LAST, *qualifiers, '--response', command)


for way, tls in WAYS:
    @test('%s, %s: what filters print goes on, both ways'
          % (way, 'wss' if tls else 'ws'))
    def _(way=way, tls=tls):
        with talk(*LAST, '--request', 'sed s/cloud/clown/',
                  *LAST, '--response', 'sed s/sun/moon/g', way=way,
                  tls=tls) as (client, server, _):
            client.send(frame(TEXT, b'a cloud', b'mask'))
            f = Frame(server)
            equal((f.opcode, f.data, f.fin, f.is_masked),
                  (TEXT, b'a clown', True, True), 'what the server gets')
            server.send(frame(TEXT, b'sun, sun, cloud'))
            f = Frame(client)
            equal(f.raw, frame(TEXT, b'moon, moon, cloud'), 'the client')
            client.send(frame(CLOSE, b'\3\350', b'mask'))
            equal(Frame(server).raw, frame(CLOSE, b'\3\350', b'mask'), 'close')
            server.send(frame(CLOSE, b'\3\350'))
            equal(Frame(client).raw, frame(CLOSE, b'\3\350'), 'its answer')
            server.finish()
            equal(client.read_all(), b'', 'behind the close')
            equal(client.end, 'eof', 'the end')


ODD = [
    frame(TEXT, b'hello', b'mask'), frame(TEXT, b'', b'mask'),
    frame(BINARY, bytes(range(256)), b'\0\1\2\3'),
    frame(TEXT, b'not masked'), frame(TEXT, b'zero', b'\0\0\0\0'),
    frame(TEXT, b'wide', b'mask', wide=2), frame(TEXT, b'', b'mask', wide=8),
    frame(BINARY, b'x' * 200, b'mask', wide=8),
    frame(TEXT, b'x' * 65536, b'mask'), frame(BINARY, b'y' * 65535),
    fragments(TEXT, b'one', b'', b'two', b'three', mask=b'mask'),
    fragments(BINARY, b'', b'', mask=b'mask'),
    fragments(TEXT, b'\xe2', b'\x82\xac', mask=b'mask'),
    fragments(TEXT, *[b'%d' % i for i in range(2000)], mask=b'mask'),
    frame(TEXT, b'\xff not UTF-8', b'mask'),
    frame(BINARY, b'z' * (1 << 20), b'mask'),
    frame(PING, b'p', b'mask'), frame(PONG, b'', b'mask'),
    frame(PING, b'odd', b'mask', reserved=7), frame(11, b'?', b'mask'),
    frame(CLOSE, b'\3\350 bye', b'mask'),
]
for how, filters in (
        ('cat', both('cat')), ('cat of cat', both('cat') + both('cat')),
        ('a coprocess that leaves all', both('while read n x; do head -c $n '
         '>/dev/null; echo -; done', '--coprocess')),
        ('a filter for the other direction alone', None),
        ('no filter', ()),
        ('a filter for all but messages',
         ('--request', 'sed s/hello/X/', '--match', '!~c 404', '--response',
          'sed s/hello/X/'))):
    @test('messages that nobody changes are the bytes that came: ' + how)
    def _(filters=filters):
        for down in (False, True):
            args = filters
            if filters is None:
                args = (*LAST, '--request' if down else '--response', 'rev')
            with talk(*args, coprocesses=2) as (client, server, _):
                a, b = (server, client) if down else (client, server)
                for odd in ODD:
                    a.send(odd)
                    equal(b.read_exact(len(odd)), odd, 'a message')
                all_ = b''.join(ODD)
                work = thread(a.send, all_)
                equal(b.read_exact(len(all_)), all_, 'all at once')
                work.result()
                for odd in ODD:
                    if len(odd) < 1000:
                        a.send(odd, step=1)
                        equal(b.read_exact(len(odd)), odd, 'byte by byte')


@test('through an upstream proxy, with and without a tunnel')
def _():
    for tls in (False, True):
        with Origin(echo, tls=tls) as origin, Proxy() as upstream, Proxy(
                '-x', 'http://127.0.0.1:%d' % upstream.port, *both('tr a b'),
                trust=upstream.ca if tls else None) as proxy:
            client = enter(proxy, origin, 'connect' if tls else 'absolute')
            client.send(frame(TEXT, b'a', b'mask'))
            equal(read_frame(client), (TEXT, b'b'), 'an echo')


@test('messages of all lengths, changed; and to other lengths')
def _():
    sizes = [1, 2, 124, 125, 126, 127, 128, 1000, 65534, 65535, 65536, 65537,
             (1 << 20) - 1, 1 << 20]
    with Origin(echo) as origin, Proxy(*both('tr ab bc')) as proxy:
        client = enter(proxy, origin)
        for size in sizes:
            for text in (TEXT, BINARY):
                client.send(frame(text, b'a' * size, b'mask'))
                f = Frame(client)
                equal(f.raw, frame(text, b'c' * size), 'the echo')
    with Origin(echo) as origin, Proxy(
            *LAST, '--request', "perl -ne 'print \"a\" x $_'") as proxy:
        client = enter(proxy, origin)
        for size in sizes:
            client.send(frame(TEXT, b'%d' % size, b'mask'))
            equal(Frame(client).raw, frame(TEXT, b'a' * size), 'the echo')


@test('-j: each of the processes filters')
def _():
    with Origin(echo) as origin, Proxy('-j', '2', *both('tr a b')) as proxy:
        for client in [enter(proxy, origin) for _ in range(6)]:
            client.send(frame(TEXT, b'a', b'mask'))
            equal(read_frame(client), (TEXT, b'b'), 'an echo')


@test('what a filter is told, and that it is the payload')
def _():
    seen = scratch('seen', '')
    tell_ = ('{ env | grep ^MITM_ | sort; cat; echo; } | tee -a %s | '
             'tail -1 | tr -d "\\n"' % seen)
    with talk(*both(tell_)) as (client, server, proxy):
        parts = fragments(TEXT, b'hel', b'lo', mask=b'mask')
        client.send(parts)
        equal(server.read_exact(len(parts)), parts, 'what goes on')
        server.send(frame(BINARY, b'bytes'))
        Frame(client)
        got = slurp(seen).decode().splitlines()
        equal(len([line for line in got if line.startswith('MITM_')]), 22,
              'how many variables')
        for want in ('MITM_DIRECTION=message', 'MITM_OPCODE=text', 'hello',
                     'MITM_OPCODE=binary', 'bytes', 'MITM_METHOD=GET',
                     'MITM_SCHEME=http', 'MITM_HOST=localhost', 'MITM_ID=1',
                     'MITM_STATUS='):
            check(want in got, 'without ' + want, got)
        check([line for line in got if re.match(
            r'MITM_URL=http://localhost:\d+/chat$', line)], 'the URL', got)


@test('a coprocess: its question, unchanged, changed, failed')
def _():
    with talk(*LAST, '--coprocess', '--on-error', 'pass', '--request',
              COPROCESS, coprocesses=1) as (client, server, proxy):
        for text, want in ((b'keep', b'keep'), (b'cloud', b'clown'),
                           (b'fail', b'fail'), (b'cloud', b'clown')):
            client.send(frame(TEXT, text, b'mask'))
            equal(read_frame(server), (TEXT, want), 'the message')
        proxy.wait_log(r'4 id=1 direction=message scheme=http host=localhost '
                       r'port=\d+ method=GET url=http://localhost:\d+/chat '
                       r'status= client=127.0.0.1:\d+ (\w+=\S* )*opcode=text\n')
        proxy.wait_log(r'#1 the request filter failed: no \(.*coprocess\): '
                       'the message is passed as it was')


@test('nothing printed drops the message, and no other')
def _():
    with talk(*both('grep -v secret || true')) as (client, server, _):
        for a, b in ((client, server), (server, client)):
            for text in (b'one', b'secret', b'', b'two'):
                a.send(frame(TEXT, text + b'\n' if text else b''))
            equal([read_frame(b)[1] for _ in range(3)],
                  [b'one\n', b'', b'two\n'], 'what is left')


@test('only filters with ~w see messages, and they see nothing else')
def _():
    with Origin(echo) as origin, Proxy(
            '--request', 'sed s/aacx/spoilt/', '--response', 'rev',
            '--match', '!~m POST', '--response', 'rev',
            '--match', '~w & ~q', '--request', 'tr a b',
            '--match', '~w & ~u other', '--request', 'cat; echo spoilt',
            '--match', '~s & ~w', '--response', 'tr c d',
            '--match', '~w | ~c 200', '--response', 'tr x y') as proxy:
        client = enter(proxy, origin)
        client.send(frame(TEXT, b'aacx', b'mask'))
        equal(read_frame(client), (TEXT, b'bbdy'), 'what comes back')


@test('Sec-WebSocket-Extensions goes where a filter could see messages only')
def _():
    field = b'Sec-WebSocket-Extensions: permessage-deflate\r\n'
    ask = ASK[:-2] + field + b'\r\n'
    for args, stays in ((both('cat'), False), ((), True),
                        (('--response', 'cat'), True),
                        (('--match', '~w & ~u /other', '--request', 'cat'),
                         True),
                        (('--match', '~w & ~u /chat', '--request', 'cat'),
                         False),
                        (('--request', 'cat', *LAST, '--response', 'cat'),
                         False)):
        with Origin() as origin, Proxy(*args) as proxy:
            client = proxy.tunnel(origin)
            client.send(ask)
            head = origin.next().read_head()
            equal(field in head, stays, 'the field, with %s' % (args,))
            equal(head.replace(field, b''), ASK, 'the rest')
    with Origin() as origin, Proxy(*both('cat')) as proxy:
        client = proxy.tunnel(origin)
        client.send(ask.replace(b'Upgrade: websocket', b'Upgrade: other'))
        check(field in origin.next().read_head(), 'of another protocol')


@test('the handshake goes through the filters of requests')
def _():
    with Origin(echo) as origin, Proxy(
            '--request', r"sed 's/^Sec-WebSocket-Ver.*/&\nX: y\r/'",
            *LAST, '--request', 'tr a b') as proxy:
        client = enter(proxy, origin)
        client.send(frame(TEXT, b'a', b'mask'))
        equal(read_frame(client), (TEXT, b'b'), 'an echo')
        like(origin.rx, rb'\r\nX: y\r\n', 'what the server got')


@test('a mask of its own for each message towards servers')
def _():
    with talk(*both('tr a b')) as (client, server, _):
        seen = set()
        for i in range(8):
            client.send(frame(TEXT, b'a', b'same'))
            f = Frame(server)
            check(f.is_masked, 'not masked', f.raw)
            equal(f.data, b'b', 'the text')
            seen.add(f.mask)
            server.send(frame(TEXT, b'a'))
            equal(Frame(client).raw, frame(TEXT, b'b'), 'not masked')
        check(len(seen) > 6, 'the same masks', seen)


@test('order is kept: slow messages, quick ones, and CLOSE')
def _():
    slow = script('''
#!/bin/sh
read -r text
case $text in slow*) until [ -e "$GO" ]; do sleep 0.01; done; esac
echo "$text!"
''')
    go = scratch('go')
    with talk(*both(slow), env={'GO': go}) as (client, server, _):
        for a, b in ((client, server), (server, client)):
            a.send(b''.join(frame(TEXT, text, b'mask') for text in
                            (b'slow 1\n', b'2\n', b'3\n', b'slow 4\n'))
                   + frame(CLOSE, b'\3\350', b'mask'))
            check(b.silent(0.3), 'something has overtaken', b.buf)
        with open(go, 'w'):
            pass
        for b in (server, client):
            equal([read_frame(b) for _ in range(5)],
                  [(TEXT, b'slow 1!\n'), (TEXT, b'2!\n'), (TEXT, b'3!\n'),
                   (TEXT, b'slow 4!\n'), (CLOSE, b'\3\350')], 'the order')


@test('control frames pass between fragments, and keep their place else')
def _():
    with talk(*both('tr a b')) as (client, server, _):
        client.send(frame(TEXT, b'a', b'mask', fin=False)
                    + frame(PING, b'p', b'mask'))
        equal(Frame(server).raw, frame(PING, b'p', b'mask'), 'at once')
        client.send(frame(PONG, b'', b'mask') + frame(0, b'a', b'mask')
                    + frame(PING, b'q', b'mask') + frame(TEXT, b'a', b'mask')
                    + frame(CLOSE, b'', b'mask'))
        equal([read_frame(server) for _ in range(5)],
              [(PONG, b''), (TEXT, b'bb'), (PING, b'q'), (TEXT, b'b'),
               (CLOSE, b'')], 'the order')


@test('a PING does not wait for ever for a filter, nor does it hold up others')
def _():
    with talk(*LAST, '--timeout', '0', '--request', 'sleep 1000') as (
            client, server, _):
        client.send(frame(TEXT, b'a', b'mask') + frame(PING, b'1', b'mask'))
        equal(read_frame(server), (PING, b'1'), 'a PING')
        client.send(frame(PING, b'2', b'mask') + frame(CLOSE, b'', b'mask'))
        equal(read_frame(server), (PING, b'2'), 'another')
        server.send(frame(PONG, b'1') + frame(TEXT, b'a'))
        equal(read_frame(client), (PONG, b'1'), 'the other direction')
        equal(read_frame(client), (TEXT, b'a'), 'a message in it')
        check(server.silent(0.3), 'the CLOSE has overtaken', server.buf)
        client.reset()


@test('CLOSE passes as it came, whatever its code and reason')
def _():
    codes = (0, 999, 1000, 1001, 1005, 1006, 1011, 1015, 2999, 3000, 4999,
             65535)
    with talk(*both('tr a b')) as (client, server, _):
        for payload in [b'', b'\3', b'\3\350\xff'] + [
                code.to_bytes(2, 'big') + b'a' * n for code in codes
                for n in (0, 1, 123)]:
            for a, b, mask in ((client, server, b'mask'),
                               (server, client, b'')):
                a.send(frame(CLOSE, payload, mask))
                want = frame(CLOSE, payload, mask)
                equal(b.read_exact(len(want)), want, 'the CLOSE')


@test('messages right behind the handshake, of either side, are filtered')
def _():
    with Origin() as origin, Proxy(*both('tr a b')) as proxy:
        client = proxy.tunnel(origin)
        client.send(ASK + frame(TEXT, b'a early', b'mask'))
        server = origin.next()
        server.read_head()
        server.send(accepted() + frame(TEXT, b'a first'))
        equal(read_frame(server), (TEXT, b'b ebrly'), 'what the server gets')
        like(client.read_head(), b'^HTTP/1.1 101 ', 'the handshake')
        equal(read_frame(client), (TEXT, b'b first'), 'what the client gets')


@test('an upgrade that the server refuses: HTTP goes on')
def _():
    with Origin(answer(reply(b'no'))) as origin, Proxy(
            *both('tr a b'), '--response', 'sed s/no/yes/') as proxy:
        client = proxy.tunnel(origin)
        for _ in range(2):
            client.send(ASK)
            equal(client.read_message().body, b'yes', 'the answer')


@test('101 to something else is a stream, of which no filter sees anything')
def _():
    with Origin() as origin, Proxy(*both('tr a b')) as proxy:
        client = proxy.tunnel(origin)
        client.send(ASK.replace(b': websocket', b': other'))
        server = origin.next()
        server.read_head()
        server.send(accepted().replace(b': websocket', b': other')
                    + frame(TEXT, b'a'))
        client.read_head()
        equal(client.read_exact(3), frame(TEXT, b'a'), 'as it came')
        client.send(frame(TEXT, b'a'))
        equal(server.read_exact(3), frame(TEXT, b'a'), 'as it came')


@test('a CLOSE within a message ends it')
def _():
    with talk(*both('tr a b')) as (client, server, _):
        client.send(frame(TEXT, b'a', b'mask', fin=False)
                    + frame(CLOSE, b'\3\350', b'mask'))
        equal(read_frame(server), (CLOSE, b'\3\350'), 'the CLOSE')
        client.shutdown_write()
        equal(server.read_all(), b'', 'behind it')
        equal(server.end, 'eof', 'its end')


@test('several filters: a pipeline in their order')
def _():
    with talk(*LAST, '--request', 'sed s/a/b/', *LAST, '--coprocess',
              '--request', COPROCESS, *LAST, '--request', 'sed s/clown/c/',
              coprocesses=1) as (client, server, _):
        client.send(frame(TEXT, b'a cloud', b'mask'))
        equal(read_frame(server), (TEXT, b'b c'), 'the message')


# ---- failures

BAD = [
    ('exit status', frame(TEXT, b'fail', b'mask'), 'exit status 3'),
    ('a signal', frame(TEXT, b'kill', b'mask'), 'killed by signal 9'),
    ('text that is not UTF-8', frame(TEXT, b'latin', b'mask'),
     'not UTF-8'),
    ('too much printed', frame(TEXT, b'much', b'mask'), '1 MiB'),
    ('too long', frame(BINARY, b'x' * ((1 << 20) + 1), b'mask'), '1 MiB'),
    ('too long in parts', fragments(TEXT, *[b'x' * 1000] * 1100, mask=b'mask'),
     '1 MiB'),
    ('compressed', frame(TEXT, b'\xaa\x56\x2a', b'mask', reserved=4),
     'reserved'),
    ('reserved bits in a fragment', frame(TEXT, b'a', b'mask', fin=False)
     + frame(0, b'b', b'mask', reserved=1), 'reserved'),
    ('an opcode of no meaning', frame(5, b'x', b'mask'), 'opcode'),
    ('a message within another', frame(TEXT, b'a', b'mask', fin=False)
     + frame(TEXT, b'b', b'mask'), 'mixed'),
    ('a continuation of nothing', frame(0, b'b', b'mask'), 'mixed'),
]
DOES = script(r'''
#!/bin/sh
text=$(cat)
case $text in
    fail) exit 3;;
    kill) kill -9 $$;;
    latin) printf '\344';;
    much) head -c 2000000 /dev/zero;;
    *) echo "$text" | tr a b | tr -d '\n'
esac
''')

for what, data, why in BAD:
    for down in (False, True):
        name = '%s, %s: ' % (what, 'of a server' if down else 'of a client')

        @test(name + '--on-error fail closes with 1011')
        def _(data=data, why=why, down=down):
            with talk(*both(DOES)) as (client, server, proxy):
                a, b = (server, client) if down else (client, server)
                a.send(frame(TEXT, b'a', b'mask'))
                equal(read_frame(b), (TEXT, b'b'), 'the message before')
                a.send(data)
                for end in (client, server):
                    f = Frame(end)
                    equal((f.opcode, f.data, f.is_masked),
                          (CLOSE, b'\3\363', end is server), 'the CLOSE')
                a.send(frame(TEXT, b'late', b'mask'))
                for end in (client, server):
                    end.send(frame(CLOSE, b'\3\363'))
                    equal(end.read_all(), b'', 'behind it')
                    equal(end.end, 'eof', 'the end')
                    end.finish()
                proxy.wait_log('failed: .*%s.*1011\n' % why)
                equal(proxy.log().count('failed'), 1, 'lines in the log')

        @test(name + '--on-error pass sends the original')
        def _(data=data, why=why, down=down):
            with talk(*both(DOES, '--on-error', 'pass')) as (client, server,
                                                             proxy):
                a, b = (server, client) if down else (client, server)
                for _ in range(2):
                    a.send(frame(TEXT, b'a', b'mask'))
                    equal(read_frame(b), (TEXT, b'b'), 'a message between')
                    a.send(data)
                    equal(b.read_exact(len(data)), data, 'the original')
                a.send(frame(TEXT, b'a', b'mask') + frame(CLOSE, b''))
                equal(read_frame(b), (TEXT, b'b'), 'the message behind')
                equal(read_frame(b), (CLOSE, b''), 'the CLOSE')
                proxy.wait_log('failed: .*%s.*passed as it was' % why)

    @test(what + ': --on-error close')
    def _(data=data, why=why):
        with talk(*both(DOES, '--on-error', 'close')) as (client, server,
                                                          proxy):
            with contextlib.suppress(ConnectionError): # it is long
                client.send(data)
            equal(client.read_all(), b'', 'what the client gets')
            equal(server.read_all(), b'', 'what the server gets')
            proxy.wait_log('failed: .*%s.*: closed\n' % why)


for what, data in (('a length of 2 to the 63', b'\x82\xff\x80' + b'\0' * 11),
                   ('a PING in parts', b'\x09\x80mask'),
                   ('a long CLOSE', b'\x88\xfe\0\x80mask')):
    @test('malformed, %s: --on-error' % what)
    def _(data=data):
        with talk(*both(DOES, '--on-error', 'pass')) as (client, server, _):
            client.send(data + b'whatever')
            equal(server.read_exact(len(data) + 8), data + b'whatever', 'all')
            client.send(frame(TEXT, b'a', b'mask'))
            equal(server.read_exact(7), frame(TEXT, b'a', b'mask'), 'a stream')
            server.send(frame(TEXT, b'a'))
            equal(read_frame(client), (TEXT, b'b'), 'the other way')
        with talk(*both(DOES)) as (client, server, _):
            client.send(data)
            equal(read_frame(client), (CLOSE, b'\3\363'), 'the client')
            equal(read_frame(server), (CLOSE, b'\3\363'), 'the server')


@test('what no filter can be given passes only if that suits all of them')
def _():
    with talk(*LAST, '--on-error', 'pass', '--request', 'cat', *LAST,
              '--request', 'cat') as (client, server, proxy):
        client.send(frame(TEXT, b'a', b'mask', reserved=4))
        equal(read_frame(client), (CLOSE, b'\3\363'), 'the client')
        equal(read_frame(server), (CLOSE, b'\3\363'), 'the server')


@test('no progress is a failure, and the filter ends')
def _():
    with talk(*both('sleep 1000', '--timeout', '0.2')) as (client, server,
                                                           proxy):
        client.send(frame(TEXT, b'a', b'mask'))
        equal(read_frame(client), (CLOSE, b'\3\363'), 'the client')
        equal(read_frame(server), (CLOSE, b'\3\363'), 'the server')
        proxy.wait_log('no progress')


@test('who does not answer the CLOSE is cut off')
def _():
    with talk(*both('false'), second=0.05) as (client, server, proxy):
        client.send(frame(TEXT, b'a', b'mask'))
        equal(read_frame(client), (CLOSE, b'\3\363'), 'the client')
        equal(read_frame(server), (CLOSE, b'\3\363'), 'the server')
        wait_for(proxy.settled, 'the end of the connections')


@test('a failure while a long message passes in the other direction: a cut')
def _():
    with talk(*LAST, '--on-error', 'pass', '--request', 'cat',
              *LAST, '--response', 'false') as (client, server, _):
        client.send(frame(BINARY, b'x' * (2 << 20), b'mask')[:1 << 20])
        server.wait(lambda: len(server.buf) > 10000, 'the beginning')
        server.send(frame(TEXT, b'a'))
        equal(read_frame(client), (CLOSE, b'\3\363'), 'the client')
        server.read_all()
        equal(server.end, 'reset', 'the end at the server')


for tls in (False, True):
    @test('a failure when one side has ended already, %s'
          % ('wss' if tls else 'ws'))
    def _(tls=tls):
        for down in (False, True):
            with talk(*both('false'), tls=tls) as (client, server, proxy):
                a, b = (server, client) if down else (client, server)
                b.shutdown_write()
                equal(a.read_all(), b'', 'the end of the other')
                a.send(frame(TEXT, b'a'))
                equal(read_frame(b), (CLOSE, b'\3\363'), 'the CLOSE')
                equal(b.read_all(), b'', 'behind it')
                proxy.wait_log('closed with code 1011')


# ---- many, slow, gone

for tls in (False, True):
    for name, command, more in (('a coprocess', COPROCESS, ('--coprocess',)),
                                ('no filter that is for them', None, ())):
        @test('10,000 messages both ways through %s, %s'
              % (name, 'wss' if tls else 'ws'))
        def _(tls=tls, command=command, more=more):
            args = () if command is None else both(command, *more)
            with talk(*args, tls=tls, coprocesses=2) as (client, server, _):
                count = 10000

                def speak(conn, mask):
                    for i in range(0, count, 100):
                        conn.send(b''.join(frame(TEXT, b'cloud %d' % n, mask)
                                           for n in range(i, i + 100)))

                def hear(conn):
                    for i in range(count):
                        equal(read_frame(conn), (TEXT, (
                            b'clown %d' if command else b'cloud %d') % i),
                              'a message')
                for work in [thread(speak, client, b'mask'),
                             thread(speak, server, b''),
                             thread(hear, client), thread(hear, server)]:
                    work.result()


@test('100 connections at once, each with 20 messages both ways')
def _():
    with Origin(echo) as origin, Proxy(
            *LAST, '--coprocess', '--jobs', '2', '--request', COPROCESS,
            *LAST, '--response', 'tr d D', coprocesses=2) as proxy:
        def chat(number):
            client = enter(proxy, origin)
            for i in range(20):
                client.send(frame(TEXT, b'cloud d %d %d' % (number, i),
                                  b'mask'))
            for i in range(20):
                equal(read_frame(client),
                      (TEXT, b'clown D %d %d' % (number, i)), 'an echo')
            client.send(frame(CLOSE, b'', b'mask'))
            equal(read_frame(client), (CLOSE, b''), 'the CLOSE')
        for work in [thread(chat, i) for i in range(100)]:
            work.result()


@test('a slow filter delays its own connection only')
def _():
    slow = script('''
#!/bin/sh
text=$(cat)
[ "$text" = slow ] && sleep 1000
printf '%s!' "$text"
''')
    with Origin(echo) as origin, Proxy(
            *LAST, '--timeout', '0', '--request', slow) as proxy:
        first, second = enter(proxy, origin), enter(proxy, origin)
        first.send(frame(TEXT, b'slow', b'mask'))
        for i in range(5):
            second.send(frame(TEXT, b'a', b'mask'))
            equal(read_frame(second), (TEXT, b'a!'), 'the other')
        check(first.silent(0.1), 'it is slow', first.buf)
        first.reset()


@test('--jobs: more messages than may run wait their turn')
def _():
    with Origin(echo) as origin, Proxy(
            *LAST, '--jobs', '1', '--request', 'sleep 0.05; cat') as proxy:
        clients = [enter(proxy, origin) for _ in range(10)]
        for client in clients:
            client.send(frame(TEXT, b'a', b'mask') * 2)
        for client in clients:
            equal([read_frame(client) for _ in range(2)], [(TEXT, b'a')] * 2,
                  'the echoes')


for down in (False, True):
    @test('who does not read is not read for: %s'
          % ('from the server' if down else 'from the client'))
    def _(down=down):
        with talk(*both('tr a b')) as (client, server, proxy):
            a, b = (server, client) if down else (client, server)
            one = frame(BINARY, b'a' * 100000)
            count, a.sent = 300, 0

            def speak():
                for _ in range(count):
                    a.send(one)
                    a.sent += 1
            work = thread(speak)
            last = -1
            while last != a.sent:       # until all buffers are full
                last = a.sent
                time.sleep(0.5)
            check(a.sent < count - 50, 'all was taken', a.sent)
            check(proxy.memory() < 60 << 20, 'it grows', proxy.memory())
            for _ in range(count):
                equal(read_frame(b), (BINARY, b'b' * 100000), 'a message')
            work.result()


@test('a client that leaves ends its filters')
def _():
    with talk(*both('sleep 1000', '--timeout', '0')) as (client, server,
                                                         proxy):
        client.send(frame(TEXT, b'a', b'mask'))
        wait_for(proxy.children, 'the filter')
        client.reset()
        wait_for(lambda: not proxy.children(), 'its end')
        server.read_all()


@test('the end behind a message waits for its filter')
def _():
    for cut in (False, True):
        with talk(*both('sleep 0.2; tr a b'), tls=True) as (client, server, _):
            server.send(frame(TEXT, b'a'))
            server.cut() if cut else server.shutdown_write()
            equal(read_frame(client), (TEXT, b'b'), 'the message')
            equal(client.read_all(), b'', 'behind it')
            equal(client.end, 'cut' if cut else 'eof', 'the end')


@test('a message that is not whole at the end does not go on')
def _():
    for part in (frame(TEXT, b'secret')[:-1],
                 frame(TEXT, b'secret', fin=False)):
        with talk(*both('tr a b')) as (client, server, _):
            server.send(part)
            server.finish()
            equal(client.read_all(), b'', 'what the client gets')


@test('-v shows messages, without it there are none')
def _():
    for args, shown in ((('-v',), True), ((), False), (('-q', '-v'), False)):
        with talk(*args, *both('tr a b')) as (client, server, proxy):
            client.send(frame(TEXT, b'the a', b'mask'))
            read_frame(server)
            server.send(frame(BINARY, b'\0a'))
            read_frame(client)
            if shown:
                proxy.wait_out(r"#1 >> 'the a'\n#1 << '\\x00a'\n")
        unlike(proxy.out(), 'the a' if not shown else 'the b', 'the output')


@test('--log-json tells of each, and what filters have made of it')
def _():
    path = scratch('events')
    with talk('--log-json', path, *both("sed 's/cloud/clouds/;/gone/d'")) as (
            client, server, proxy):
        client.send(frame(TEXT, b'a cloud', b'mask'))
        client.send(frame(BINARY, b'abc', b'mask'))
        client.send(frame(TEXT, b'gone', b'mask'))
        client.send(frame(TEXT, b'', b'mask') + frame(TEXT, b'end', b'mask'))
        while read_frame(server)[1] != b'end':
            pass
        server.send(frame(TEXT, b'sun'))
        read_frame(client)
        wait_for(lambda: slurp(path).count(b'"message"') == 5, 'the events')
    told = [json.loads(line) for line in slurp(path).splitlines()]
    equal([tuple(map(e.get, ('opcode', 'came', 'bytes', 'reason')))
           for e in told if e['event'] == 'message'],
          [('text', 7, 8, "the client's: changed"),
           ('binary', 3, 3, "the client's: unchanged"),
           ('text', 0, 0, "the client's: unchanged"),
           ('text', 3, 3, "the client's: unchanged"),
           ('text', 3, 3, "the server's: unchanged")], 'the events')
    equal([e['reason'] for e in told if e['event'] == 'filter'],
          ['the filter printed nothing: a message is dropped'], 'of filters')
    check('"a cloud' not in slurp(path).decode(), 'no bodies')
    for mode in 'fail', 'pass', 'close':
        path = scratch('events')
        with talk('--log-json', path, *both('false', '--on-error', mode)) as (
                client, server, proxy):
            client.send(frame(TEXT, b'a', b'mask'))
            wait_for(lambda: 'filter failed' in slurp(path).decode(), 'event')
        told = [json.loads(line) for line in slurp(path).splitlines()]
        like(*[e['reason'] for e in told if e['event'] == 'filter'],
             '^the request filter failed: exit status 1', mode)


@test('SIGTERM ends a proxy with messages in filters')
def _():
    with talk(*both('sleep 1000'), second=0.1) as (client, server, proxy):
        client.send(frame(TEXT, b'a', b'mask'))
        wait_for(proxy.children, 'the filter')
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'the status')


run()
