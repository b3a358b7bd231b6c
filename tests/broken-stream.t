#!/usr/bin/env python3
"""Ends that break, and answers whose rest nobody wants."""
from mitm import *

BLOCK = b'x' * 65536


def stuck(conn):
    """Send until nobody takes any more."""
    conn.sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError, socket.timeout):
        while True:
            conn.sock.send(BLOCK)
    conn.sock.settimeout(DEADLINE)


@test('a server that resets an answer ended by close is not taken for whole')
def _():
    with Origin() as origin, Origin(answer(reply(b'x'))) as other, \
            Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Content-Length: 10000', method='POST'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\n\r\n')
        stuck(server)
        server.reset()
        for _ in range(3):          # writing tells of the reset first
            with contextlib.suppress(ConnectionError):
                client.send(b'u' * 100)
            equal(proxy.fetch(other).body, b'x', 'the proxy knows')
        client.swallow()
        equal(client.end, 'reset', 'the end')


@test('a filtered stream to a server that is gone takes no memory')
def _():
    with Origin() as origin, Proxy('--request', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0')
        server = origin.next()
        server.read_exact(1)
        stuck(server)
        server.reset()
        idle = proxy.memory()
        client.sock.settimeout(2)
        with contextlib.suppress(OSError):      # it may be ended or held up
            for _ in range(512):
                client.sock.sendall(BLOCK)
        more = proxy.memory('VmHWM') - idle
        check(sanitized() or more < 8 << 20, '%d KiB more' % (more >> 10))


@test('a TLS error of the client ends a stream, while the server sends')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        server = origin.next()
        server.send(b'hello')
        client.read_exact(5)
        work = thread(server.pour, BLOCK, 1000)
        client.read_exact(100000)
        client.sock.sendall(b'\x17\x03\x03\x00\x20' + b'x' * 32)
        equal(work.result(), False, 'all to nobody')
        wait_for(lambda: proxy.descriptors() <= proxy.idle, 'the end')


@test('a server that closes a tunnel in which nobody spoke')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        origin.next().finish()
        equal(client.read_all(), b'', 'the end')


@test("--raw: a filter's answer that fails half way is not taken for whole")
def _():
    with Origin() as origin, Proxy(
            '--raw', '--request', "printf 'HTTP/1.1 200 OK\\r\\n\\r\\nhalf'; "
            "cat; exit 1") as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Content-Length: 1', method='POST'))
        client.read_until(b'half')      # what cat still has to wait behind
        client.send(b'x')
        client.read_all()
        equal(client.end, 'reset', 'the end')


@test('an answer whose rest no filter wants, while the client still sends')
def _():
    with Origin() as origin, Proxy('--response', 'head -c 100') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Content-Length: 10000000', method='POST') + b'u')
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n')
        work = thread(server.pour, BLOCK, 15)
        message = client.read_message()
        equal(message.status, 200, 'the status')
        client.read_all()
        work.result()


@test('a server that answers before a held request was sent')
def _():
    seen = scratch('seen')
    with Origin() as origin, Origin(answer(reply(b'x'))) as other, \
            Proxy('--match', '~m POST', '--request', 'tee ' + seen) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/1'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'one'))
        equal(client.read_message().body, b'one', 'the first answer')
        client.send(get('/2', 'Content-Length: 10', method='POST') + b'a')
        wait_for(lambda: os.path.exists(seen) and slurp(seen), 'the filter')
        equal(proxy.fetch(other).body, b'x', 'the proxy knows')
        server.send(reply(b'EVIL'))
        proxy.wait_log('nobody asked for')
        client.send(b'a' * 9)
        server = origin.next()
        equal(server.read_message().body, b'a' * 10, 'the second request')
        server.send(reply(b'two'))
        equal(client.read_message().body, b'two', 'the second answer')


@test('a stalled upload leaves a coprocess to others')
def _():
    loop = script('#!%s\nimport sys\ni, o = sys.stdin.buffer, '
                  'sys.stdout.buffer\nfor line in i:\n'
                  '    i.read(int(line.split()[0]))\n'
                  '    o.write(b"-\\n")\n    o.flush()\n' % sys.executable)
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--explain', '--coprocess', '--request', loop,
            coprocesses=1) as proxy:
        stalled = proxy.tunnel(origin)
        stalled.send(get('/', 'Content-Length: 10', method='POST') + b'a')
        proxy.wait_log('the request goes through ')
        other = proxy.tunnel(origin)
        other.send(get('/'))
        equal(other.read_message().body, b'x', 'the other')
        stalled.reset()


@test('a filter that fails does not end the coprocess before it')
def _():
    began, go = scratch('began'), scratch('go')
    loop = script('#!%s\nimport os, sys, time\ni, o = sys.stdin.buffer, '
                  'sys.stdout.buffer\nfor line in i:\n'
                  '    i.read(int(line.split()[0]))\n'
                  '    open(%r, "a").write(".")\n'
                  '    while not os.path.exists(%r): time.sleep(0.01)\n'
                  '    o.write(b"-\\n")\n    o.flush()\n'
                  % (sys.executable, began, go))
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--coprocess', '--request', loop, '--match', '~u /fail',
            '--request', 'until test -e %s; do sleep .01; done; exit 1'
            % began, coprocesses=1) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/fail'))
        equal(client.read_message().status, 502, 'the status')
        open(go, 'w').close()
        client = proxy.tunnel(origin)
        client.send(get('/'))
        equal(client.read_message().body, b'x', 'the next')
        unlike(proxy.log(), 'started anew', 'the log')


run()
