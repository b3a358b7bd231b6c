#!/usr/bin/env python3
"""Filters that do not read, write or end as one would wish."""
from mitm import *

PAGE = reply(b'hello world\n')


@test('exits before it read all: what it printed is the message')
def _():
    with Origin(answer(reply(b'first\n' + b'x' * 5000000))) as origin, \
            Proxy('--response', 'sed 4q') as proxy:
        equal(proxy.fetch(origin).raw, reply(b'first\n'), 'the message')


@test('exits early, and the connection is kept')
def _():
    def serve(request):
        return reply(b'second\n' if b'/2' in request.start
                     else b'first\n' + b'x' * 5000000)
    with Origin(answer(serve), tls=True) as origin, \
            Proxy('--response', 'sed 4q') as proxy:
        client = proxy.tls(origin)
        client.send(get('/'))
        equal(client.read_message().body, b'first\n', 'first')
        client.send(get('/2'))
        equal(client.read_message().body, b'second\n', 'second')


@test('prints before it reads')
def _():
    command = ('printf "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi"'
               '; cat > /dev/null')
    with Origin(answer(PAGE)) as origin, Proxy('--response', command) as proxy:
        equal(proxy.fetch(origin).raw, reply(b'hi'), 'the message')


@test('prints nothing: dropped, closed without an answer')
def _():
    for command in ('true', 'cat > /dev/null'):
        for option in ('--request', '--response'):
            with Origin(answer(PAGE), tls=True) as origin, \
                    Proxy(option, command) as proxy:
                client = proxy.tls(origin)
                client.send(get('/'))
                equal(client.read_all(), b'', 'at the client')
                if option == '--request':
                    equal(origin.rx, b'', 'at the server')
                proxy.wait_log('#1 dropped: the filter %s printed nothing\n'
                               % re.escape(command))


@test('prints nothing: the one of several that did is told')
def _():
    silent = script("""
#!/usr/bin/env python3
import sys
for line in sys.stdin.buffer:
    n = int(line.split()[0])
    sys.stdin.buffer.read(n)
    print(0, flush=True)
""")
    with Origin(answer(PAGE)) as origin:
        for words, who in ((('-R', 'cat', '-R', 'true', '-R', 'cat'), 'true'),
                           (('--coprocess', '-R', silent, '-R', 'sed -n /x/p'),
                            silent)):
            with Proxy(*words, coprocesses=1) as proxy:
                client = proxy.tunnel(origin)
                client.send(get('/'))
                equal(client.read_all(), b'', 'at the client')
                proxy.wait_log('#1 dropped: the filter %s printed nothing\n'
                               % re.escape(who))


@test('a grandchild holds its output: an end comes, and nothing is left')
def _():
    with Origin(answer(PAGE)) as origin, \
            Proxy('--timeout', '1', '--response', 'sleep 1000 & cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        got = client.read_message()
        check(got.raw == PAGE or got.status == 502, 'the answer', got.raw)
        client.finish()
        wait_for(lambda: not proxy.children(), 'the end of the grandchild')
        proxy.wait_log('no progress for 1 s: it has ended, but not what it '
                       'started, which holds its output')


@test('floods its standard error')
def _():
    with Origin(answer(PAGE)) as origin, \
            Proxy('--response', 'yes noise | head -c 3000000 >&2; cat') \
            as proxy:
        equal(proxy.fetch(origin).raw, PAGE, 'the message')


@test('never reads: the client does not hang')
def _():
    with Origin(answer(reply(b'x' * 1000000))) as origin, \
            Proxy('--timeout', '1', '--response', 'sleep 1000') as proxy:
        equal(proxy.fetch(origin).status, 502, 'status')


@test('closes its input and goes on printing')
def _():
    command = ('exec < /dev/null; printf "HTTP/1.1 200 OK\\r\\n\\r\\n"; '
               'echo one; sleep 0.2; echo two')
    with Origin(answer(chunked(b'x' * 1000000))) as origin, \
            Proxy('--response', command) as proxy:
        equal(proxy.fetch(origin).body, b'one\ntwo\n', 'the message')


@test('closes its output and goes on running')
def _():
    with Origin(answer(PAGE)) as origin, \
            Proxy('--timeout', '1', '--response',
                  'cat; exec >&-; sleep 1000') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        got = client.read_message()
        check(got.raw == PAGE or got.status == 502, 'the answer', got.raw)


@test('an upload to a filter that stops reading: the server gets the rest')
def _():
    with Origin(answer(lambda r: reply(b'%d' % len(r.body)))) as origin, \
            Proxy('--request', 'head -c 1000') as proxy:
        client = proxy.tunnel(origin)
        upload = get('/', 'Content-Length: 4000000', method='PUT')
        work = thread(client.pour, upload + b'x' * 4000000, 1)
        equal(client.read_message().body,
              b'%d' % (1000 - len(upload)), 'length of the body')
        work.result()


run()
