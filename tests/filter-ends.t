#!/usr/bin/env python3
"""How filters end: early, in failure, by a signal, or kept from ending by a
peer that is slow; and what that means for messages and streams."""
from mitm import *

BLOCK = b'x' * 65536


def until(go):
    """Shell: wait for that file."""
    return 'until test -e %s; do sleep .01; done' % go


def touch(path):
    open(path, 'w').close()


# ------------------------------------------------------ enough of a stream

for tls in False, True:
    @test('a filter has enough of a stream from the client, %s'
          % ('TLS' if tls else 'plain'))
    def _(tls=tls):
        with Origin(tls=tls) as origin, Proxy(
                '--tcp-hosts', '.', '--request', 'head -c 6') as proxy:
            client = proxy.tls(origin) if tls else proxy.tunnel(origin)
            client.send(b'\0hello, world')
            server = origin.next()
            equal((server.read_all(), server.end), (b'\0hello', 'eof'),
                  'at the server')
            check(client.pour(BLOCK, 320), 'it may send on')
            server.send(b'answer')
            equal(client.read_exact(6), b'answer', 'the other way')
            server.finish()
            equal((client.read_all(), client.end), (b'', 'eof'), 'its end')

    @test('a filter has enough of a stream from the server, %s'
          % ('TLS' if tls else 'plain'))
    def _(tls=tls):
        with Origin(tls=tls) as origin, Proxy(
                '--tcp-hosts', '.', '--response', 'head -c 6') as proxy:
            client = proxy.tls(origin) if tls else proxy.tunnel(origin)
            client.send(b'\0')
            server = origin.next()
            server.send(b'hello, world')
            equal((client.read_all(), client.end), (b'hello,', 'eof'),
                  'at the client')
            check(server.pour(BLOCK, 320), 'it may send on')
            client.send(b'more')
            equal(server.read_exact(5), b'\0more', 'the other way')
            client.shutdown_write()
            equal((server.read_all(), server.end), (b'', 'eof'), 'its end')


# --------------------------------------------------- a stream's --on-error

@test("--on-error pass: a stream's filter that failed is left out")
def _():
    with Origin() as origin, Proxy('--on-error', 'pass', '--request',
                                   'head -c 3 > /dev/null; exit 1') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0hello')
        server = origin.next()
        equal(server.read_exact(6), b'\0hello', 'the start')
        client.send(b' world')
        equal(server.read_exact(6), b' world', 'what follows')
        server.send(b'answer')
        equal(client.read_exact(6), b'answer', 'the other way')
        client.shutdown_write()
        equal((server.read_all(), server.end), (b'', 'eof'), 'the end')
        proxy.wait_log('exit')
        unlike(proxy.log(), 'too long', 'the log')


@test("--on-error close: a stream's filter that failed ends it")
def _():
    with Origin() as origin, Proxy('--on-error', 'close', '--request',
                                   'head -c 3 > /dev/null; exit 1') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0hello')
        equal(client.read_all(), b'', 'at the client')
        proxy.wait_log('exit')
        unlike(proxy.log(), 'too long', 'the log')


# ----------------------------------------------------------- left behind

@test('what a filter leaves behind with its input holds up nobody')
def _():
    go = scratch('go')
    out = scratch('output', get('/1'))
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--match', '~m PUT', '--request',
            'exec 3<&0; (%s) > /dev/null 2>&1 & cat %s; exit 0'
            % (until(go), out)) as proxy:
        client = proxy.tunnel(origin)
        work = thread(client.pour, get(
            '/', 'Content-Length: 3000000', method='PUT') + b'x' * 3000000, 1)
        equal(client.read_message().body, b'x', 'the answer')
        check(work.result(), 'the upload is taken')
        client.send(get('/2'))
        equal(client.read_message().body, b'x', 'the next answer')
        equal(origin.rx, get('/1', 'Content-Length: 0') + get('/2'),
              'at the server')
        touch(go)


# ------------------------------------------------------- answered early

for how in 'cut', 'reset':
    @test('what a filter prints on for a server that has answered and left, '
          + how)
    def _(how=how):
        go = scratch('go')
        out = scratch('output', b'PUT / HTTP/1.1\r\nHost: x\r\n'
                                b'Transfer-Encoding: chunked\r\n\r\nfirst')
        with Origin() as origin, Proxy(
                '--request', 'cat %s; %s; head -c 32000000 /dev/zero'
                % (out, until(go))) as proxy:
            client = proxy.tunnel(origin)
            client.send(get('/'))
            server = origin.next()
            server.read_until(b'first')
            page = reply(b'enough', 'Connection: close', status='413 Too Big')
            server.send(page)
            equal(client.read_exact(len(page)), page, 'the answer')
            getattr(server, how)()
            touch(go)
            equal((client.read_all(), client.end), (b'', 'eof'), 'its end')
            wait_for(lambda: not proxy.children(), 'the end of the filter')


@test('what is no more for a server that has answered, does not look whole')
def _():
    go, ask = scratch('go'), get('/next')
    out = scratch('output', b'PUT / HTTP/1.1\r\nHost: x\r\n'
                            b'Transfer-Encoding: chunked\r\n\r\nfirst')
    with Origin() as origin, Proxy('--match', '~m PUT', '--request', 'cat %s; '
                                   '%s; echo last' % (out, until(go))) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', method='PUT') + ask)
        server = origin.next()
        server.read_until(b'first')
        page = reply(b'enough')
        server.send(page)
        server.cut()
        equal(client.read_exact(len(page)), page, 'the answer')
        touch(go)
        equal(server.read_all(), b'\r\n', 'what else the server gets')
        client.reset()                  # who may wait for the next answer


# -------------------------------------------------------------- coprocesses

LOOP = '''#!%s
import os, sys, time
i, o = sys.stdin.buffer, sys.stdout.buffer
for line in i:
    i.read(int(line.split()[0]))
    %%s
    o.write(b"-\\n")
    o.flush()
''' % sys.executable


@test('a stalled upload in a filter before it leaves a coprocess to others')
def _():
    seen = scratch('seen')
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--request', 'tee -a ' + seen, '--coprocess', '--request',
            script(LOOP % 'pass'), coprocesses=1) as proxy:
        stalled = proxy.tunnel(origin)
        stalled.send(get('/', 'Content-Length: 10', method='POST') + b'a')
        wait_for(lambda: os.path.exists(seen) and slurp(seen), 'the filter')
        equal(proxy.fetch(origin).body, b'x', 'the other')
        stalled.send(b'a' * 9)
        equal(stalled.read_message().body, b'x', 'its own')


@test('a coprocess that is given up leaves nothing behind')
def _():
    pid = scratch('pid')
    loop = script(LOOP % ('open("%s.new", "w").write(str(os.getpid())); '
                          'os.rename("%s.new", "%s"); time.sleep(1000)'
                          % (pid, pid, pid)))
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--timeout', '10', '--coprocess', '--response', loop + '; true',
            coprocesses=1) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        wait_for(lambda: os.path.exists(pid), 'the message')
        left = int(slurp(pid))
        shell, = [p for p, _, _ in proxy.children() if p != left]
        os.kill(shell, signal.SIGKILL)
        equal(client.read_message().status, 502, 'the status')
        wait_for(lambda: left not in alive(proxy.pid), 'the end of the loop')


# ------------------------------------------------------------- slow readers

@test('a client that rests for longer than --timeout gets all, then')
def _():
    with Origin(answer(reply(b'x' * 40000000))) as origin, \
            Proxy('--timeout', '1', '--response', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'GET / HTTP/1.0\r\n\r\n')
        head = client.read_head()
        time.sleep(2)           # the rest, in which nothing can be waited for
        unlike(head, b'Length', 'the head')
        equal((client.swallow(), client.end), (40000000, 'eof'), 'the body')


# ------------------------------------ enough of a message, in a pipeline

PAGES = {'a length': reply(b'x' * 3000000),
         'chunks': chunked(*[BLOCK] * 50)}

for command in 'cat', 'cat; exit $?':
    for name, page in PAGES.items():
        @test('%r before a filter that had enough has not failed, %s'
              % (command, name))
        def _(command=command, page=page):
            head = page[:page.index(b'\r\n\r\n') + 4]
            with Origin(answer(page)) as origin, Proxy(
                    '--response', command, '--response', 'head -c 50') \
                    as proxy:
                for _ in range(40):
                    got = proxy.fetch(origin)
                    equal((got.status, got.body),
                          (200, b'x' * (50 - len(head))), 'the message')
                wait_for(lambda: not proxy.children(), 'the filters\' ends')
                unlike(proxy.log(), ' (fail|exit|signal|cut)', 'the log')


@test('what the next leaves behind with its input holds up no filter')
def _():
    go = scratch('go')
    out = scratch('output', reply(b'hello'))
    with Origin(answer(PAGES['a length'])) as origin, Proxy(
            '--timeout', '2', '--response', 'cat', '--response',
            'exec 3<&0; (until test -e %s; do sleep .01; done) > /dev/null '
            '2>&1 & cat %s; exit 0' % (go, out)) as proxy:
        got = proxy.fetch(origin)
        open(go, 'w').close()
        equal((got.status, got.body), (200, b'hello'), 'the message')


run()
