#!/usr/bin/env python3
"""Who reads slowly gets all the same; what cannot be delivered is cut."""
from mitm import *

BIG = b'x' * (6 << 20)


def pour(data, what):
    """A behaviour: after a head, the data, and then what is called."""
    def behave(conn):
        conn.read_head()
        conn.send(b'HTTP/1.1 200 OK\r\n\r\n')
        conn.send(data)
        what(conn)
    return behave


@test('a page ended by close arrives whole after a pause')
def _():
    ended = threading.Event()

    def end(conn):
        conn.finish()
        ended.set()
    with Origin(pour(BIG, end)) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        client.read_head()
        time.sleep(6)       # the pause is the point: a client has 5 s to close
        equal(len(client.read_all()), len(BIG), 'bytes')
        equal(client.end, 'eof', 'the end')
        check(ended.wait(DEADLINE), 'the server is done')


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
        check(proxy.memory('VmHWM') - before < 4 << 20, 'memory',
              proxy.memory('VmHWM'))
        client.reset()


run()
