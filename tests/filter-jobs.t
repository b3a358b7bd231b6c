#!/usr/bin/env python3
"""--jobs: so many of a filter at once, the others wait their turn."""
from mitm import *


@test('200 at once, no more than four filters at a time, all are served')
def _():
    folder, log = scratch('running'), scratch('log', '')
    os.mkdir(folder)
    count = script('#!/bin/sh\nmkdir %s/$$\nls %s | wc -l >> %s\n'
                   'sed s/world/all/\nrmdir %s/$$\n'
                   % (folder, folder, log, folder))
    with Origin(answer(reply(b'hello world'))) as origin, \
            Proxy('--jobs', '4', '--response', count) as proxy:
        clients = [proxy.connect() for _ in range(200)]
        for i, client in enumerate(clients):
            client.send(get(origin.url('/%d' % i)))
        for client in clients:
            equal(client.read_message().body, b'hello all', 'an answer')
        numbers = [int(n) for n in slurp(log).split()]
        equal(len(numbers), 200, 'filters')
        check(max(numbers) <= 4, 'too many at once', max(numbers))


@test('two at once are really two')
def _():
    folder = scratch('met')
    os.mkdir(folder)
    meet = script('#!/bin/sh\n: > %s/$$\n'
                  'until [ $(ls %s | wc -l) = 2 ]; do sleep 0.01; done\n'
                  'cat\n' % (folder, folder))
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--jobs', '2', '--response', meet) as proxy:
        clients = [proxy.tunnel(origin) for _ in range(2)]
        for client in clients:
            client.send(get('/'))
        for client in clients:
            equal(client.read_message().body, b'x', 'an answer')


@test('peers that stall leave a filter to a page larger than all buffers')
def _():
    def serve(conn):
        if b'/big' in conn.read_head():
            conn.send(reply(bytes(3000000)))
        else:
            conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na')
            conn.more(time.monotonic() + 3 * DEADLINE)
    with Origin(serve) as origin, \
            Proxy('--jobs', '4', '--response', 'cat') as proxy:
        stalled = [proxy.tunnel(origin) for _ in range(5)]
        for client in stalled:
            client.send(get('/stalls'))
        wait_for(lambda: len(proxy.children()) == 2, 'as many as they get')
        client = proxy.tunnel(origin)
        client.send(get('/big'))
        equal(len(client.read_message().body), 3000000, 'the page')
        for client in stalled:
            client.close()


def ends_within(seconds, conn):
    """Whether the other side, which says nothing, ends within that time."""
    with contextlib.suppress(TimeoutError):
        return not conn.more(time.monotonic() + seconds)


def drips(conn, length, begin):
    """A server that begins an answer, and then gives a byte now and then
    until the other side ends it."""
    conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % length
              + bytes(begin))
    while not ends_within(0.01, conn):
        conn.send(b'x')


def dripping(conn):
    if b'/drips' in conn.read_head():
        drips(conn, 10**9, 80000)
    else:
        conn.send(reply(b'served'))


@test('pages that begin big and then drip leave a filter to whole messages')
def _():
    with Origin(dripping) as origin, \
            Proxy('-q', '--jobs', '4', '--response', 'cat') as proxy:
        clients = [proxy.tunnel(origin) for _ in range(5)]
        for client in clients:
            client.send(get('/drips'))
        wait_for(lambda: len(proxy.children()) == 3, 'as many as they get')
        equal(proxy.fetch(origin).body, b'served', 'the page of another')
        for client in clients:
            client.reset()


@test('who gives a filter little while others want it gets 504 in the end')
def _():
    with Origin(dripping) as origin, \
            Proxy('--jobs', '1', '--response', 'cat', second=0.02) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/drips'))
        wait_for(proxy.children, 'the filter')
        other = proxy.tunnel(origin)
        other.send(get('/'))
        equal(other.read_message().body, b'served', 'the page of another')
        equal(client.read_message().status, 504, 'nothing had been sent')
        proxy.wait_log('waited 120 seconds for a peer that keeps a filter '
                       'from others')


@test('who gives it enough, slowly, is not')
def _():
    def serve(conn):
        if b'/slow' not in conn.read_head():
            return conn.send(reply(b'served'))
        conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 800000\r\n\r\n')
        for _ in range(200):            # of 1 KiB a second, and a bit more
            ends_within(0.03, conn)
            conn.send(bytes(4000))
    with Origin(serve) as origin, \
            Proxy('--jobs', '1', '--response', 'cat', second=0.02) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/slow'))
        wait_for(proxy.children, 'the filter')
        other = proxy.tunnel(origin)
        other.send(get('/'))
        equal(len(client.read_message().body), 800000, 'the page')
        equal(other.read_message().body, b'served', 'the page of another')


@test('one that waits its turn may leave')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--jobs', '1', '--timeout', '0', '--response',
                  'test -n "$MITM_URL" && case $MITM_URL in '
                  '*stuck) sleep 1000;; esac; cat') as proxy:
        stuck = proxy.tunnel(origin)
        stuck.send(get('/stuck'))
        wait_for(proxy.children, 'the filter')
        waiting, last = proxy.tunnel(origin), proxy.tunnel(origin)
        waiting.send(get('/waiting'))
        last.send(get('/last'))
        wait_for(lambda: origin.rx.count(b'GET ') == 3, 'three requests')
        waiting.reset()
        stuck.reset()
        equal(last.read_message().body, b'x', 'the answer')


run()
