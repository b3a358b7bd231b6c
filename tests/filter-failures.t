#!/usr/bin/env python3
"""A filter that fails, and --on-error."""
from mitm import *

PAGE = reply(b'hello world\n')


def outcome(proxy, origin, request=get('/')):
    """All that comes, and how it ends."""
    client = proxy.tls(origin) if origin.tls else proxy.tunnel(origin)
    client.send(request)
    return client.read_all(), client.end


for name, command, reason in (
        ('exits 3', 'cat > /dev/null; exit 3', rb'\b3\b'),
        ('is killed', 'kill -9 $$', rb'(?i)signal|kill'),
        ('exits 1 after it printed', 'cat; exit 1', rb'\b1\b')):
    @test('fail: a filter that %s is a 502 that does not show it' % name)
    def _(command=command, reason=reason):
        with Origin(answer(PAGE), tls=True) as origin, \
                Proxy('--response', command) as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            got = client.read_message()
            equal(got.status, 502, 'status')
            like(got.body, reason, 'the reason')
            like(got.body, b'the response filter failed', 'whose it is')
            check(command.encode() not in got.body, 'no command')
            proxy.wait_log(re.escape(command))
            proxy.wait_log(reason.decode())


@test('fail: a request filter too, and the server hears nothing')
def _():
    with Origin(answer(PAGE)) as origin, Proxy('--request', 'false') as proxy:
        got, _ = outcome(proxy, origin)
        like(got, rb'^HTTP/1.1 502 (?s:.*)the request filter failed',
             'the page')
        equal(origin.rx, b'', 'at the server')


@test('pass: the original goes on')
def _():
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('--on-error', 'pass', '--response', 'false',
                  '--on-error', 'pass', '--request', 'head -1; exit 1') \
            as proxy:
        got = proxy.fetch(origin, get('/x'))
        equal(got.raw, PAGE, 'at the client')
        equal(origin.rx, get('/x'), 'at the server')
        proxy.wait_log('false')


@test('pass: with a chunked original, too')
def _():
    page = chunked(b'hello', b'world', trailers=b'X: y\r\n')
    with Origin(answer(page)) as origin, \
            Proxy('--on-error', 'pass', '--response',
                  'cat > /dev/null; false') as proxy:
        got = proxy.fetch(origin)
        equal((got.body, got.trailers), (b'helloworld', b'X: y\r\n'), 'body')


@test('pass: beyond 1 MiB it fails')
def _():
    with Origin(answer(reply(b'x' * 3000000))) as origin, \
            Proxy('--on-error', 'pass', '--response',
                  'cat > /dev/null; exit 7') as proxy:
        equal(proxy.fetch(origin).status, 502, 'status')


@test('close: the connection is closed without an answer')
def _():
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('--on-error', 'close', '--response', 'false') as proxy:
        equal(outcome(proxy, origin)[0], b'', 'at the client')
        proxy.wait_log('false')


@test('when part is out, the connection is cut')
def _():
    with Origin(answer(chunked(b'hello', b'world')), tls=True) as origin, \
            Proxy('--response', 'sed -u s/hello/HELLO/; exit 9') as proxy:
        got, end = outcome(proxy, origin)
        if got.startswith(b'HTTP/1.1 502 '):    # none of it was out
            return
        check(not got.endswith(b'0\r\n\r\n'), 'it looks whole', got)
        check(end in ('cut', 'reset'), 'the end looks whole', end)


@test('when part of a request is out, the server is cut off')
def _():
    with Origin() as origin, \
            Proxy('--request', 'head -c 70; sleep 0.2; exit 9') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Transfer-Encoding: chunked', method='POST')
                    + b'64\r\n%s\r\n' % (b'x' * 100))
        client.read_all()
        if origin.conns:                # it may never have been reached
            origin.next().read_all()
        check(not origin.rx.endswith(b'0\r\n\r\n'), 'whole', origin.rx)


@test('a timeout is one without progress; the whole process group is killed')
def _():
    stuck = script('#!/bin/sh\nsleep 1000 &\nsleep 1000\n', 'stuck')
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('--timeout', '1', '--response', stuck) as proxy:
        client = proxy.tls(origin)
        client.send(get('/'))
        got = client.read_message()
        equal(got.status, 502, 'status')
        proxy.wait_log('stuck')
        like(got.body, rb'(?i)time|second|progress', 'the reason')
        wait_for(lambda: not proxy.children(), 'the end of the filter')


@test('a filter that makes progress is not timed out')
def _():
    slow = ('cat > /dev/null; printf "HTTP/1.1 200 OK\\r\\n\\r\\n"; '
            'for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done')
    with Origin(answer(chunked(b'x'))) as origin, \
            Proxy('--timeout', '1', '--response', slow) as proxy:
        equal(proxy.fetch(origin).body, b'1\n2\n3\n4\n5\n6\n', 'output')


@test('waiting for a silent server is no failure')
def _():
    with Origin() as origin, \
            Proxy('--timeout', '1', '--response', 'sed -u s/a/b/') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(chunked(b'a\n')[:-5])
        like(client.read_until(b'b\n\r\n'), rb'b\n', 'the first line')
        check(client.silent(2.5), 'timed out', client.buf)
        server.send(b'2\r\na\n\r\n0\r\n\r\n')
        like(client.read_until(b'0\r\n\r\n'), rb'b\n', 'the second line')


@test('when the client leaves, its filters are killed')
def _():
    with Origin(answer(PAGE)) as origin, \
            Proxy('--timeout', '0', '--response', 'sleep 1000') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        wait_for(proxy.children, 'the filter')
        client.reset()
        wait_for(lambda: not proxy.children(), 'the end of the filter')


@test('SIGTERM does not leave a stuck filter behind')
def _():
    with Origin(answer(PAGE)) as origin, \
            Proxy('--timeout', '0', '--response', 'sleep 1000') as proxy:
        proxy.tunnel(origin).send(get('/'))
        wait_for(proxy.children, 'the filter')
        proxy.process.terminate()
        proxy.process.wait(DEADLINE)
        wait_for(lambda: not alive(proxy.pid), 'the end of the filter')


@test('a command that does not exist is told at start-up')
def _():
    child = subprocess.Popen(
        [PROGRAM, '-p', '0', '--ca', scratch('cert.pem'), '--response',
         'no-such-command-here -x'], stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL)
    try:
        text = b''
        while b'listening on' not in text:
            more = child.stderr.readline()
            if not more:
                break
            text += more
        like(text, rb'mitmproxy: .*no-such-command-here', 'the warning')
    finally:
        child.kill()
        child.wait()
        child.stderr.close()


run()
