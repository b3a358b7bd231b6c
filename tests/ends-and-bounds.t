#!/usr/bin/env python3
"""Streams that end one way first, and clients that do not read."""
from mitm import *

BIG = b'x' * (6 << 20)


@test('a stream: the client ends last, and all it sent arrives')
def _():
    got = []

    def behave(conn):
        conn.read_exact(1)
        conn.send(b'down')
        conn.shutdown_write()
        go.wait(DEADLINE)
        got.append(conn.read_all())
    go = threading.Event()
    with Origin(behave) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0')
        equal(client.read_all(), b'down', 'what came down')
        sender = threading.Thread(target=lambda: (client.send(BIG),
                                                  client.shutdown_write()))
        sender.start()
        go.set()
        sender.join()
        wait_for(lambda: got, 'the upload')
        equal(len(got[0]), len(BIG), 'bytes')


@test('endless interim responses to a client that does not read')
def _():
    stop = threading.Event()

    def behave(conn):
        conn.read_head()
        conn.sock.settimeout(0.5)
        with contextlib.suppress(OSError):
            while not stop.is_set():
                conn.sock.sendall(b'HTTP/1.1 102 Processing\r\n\r\n' * 1000)
        stop.set()
    with Origin(behave) as origin, Proxy() as proxy:
        before = proxy.memory()
        client = proxy.tunnel(origin)
        client.send(get('/'))
        check(stop.wait(DEADLINE), 'the server is held up')
        check(sanitized() or proxy.memory('VmHWM') - before < 4 << 20,
              'memory', proxy.memory('VmHWM'))
        client.reset()


run()
