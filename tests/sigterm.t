#!/usr/bin/env python3
"""SIGTERM and its like: running messages finish, nothing new begins."""
from mitm import *


def refused(proxy):
    try:
        socket.create_connection(('127.0.0.1', proxy.port), 5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:        # as it waited to be accepted
        return False


for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    @test('%s: a running message finishes, exit status 0' % number.name)
    def _(number=number):
        with Origin(tls=True) as origin, Proxy() as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            server = origin.next()
            server.read_head()
            page = reply(b'0123456789')
            server.send(page[:-5])
            client.read_exact(len(page) - 5)
            proxy.process.send_signal(number)
            wait_for(lambda: refused(proxy), 'no more connections')
            server.send(page[-5:])
            equal(client.read_exact(5), page[-5:], 'the rest')
            equal(proxy.process.wait(DEADLINE), 0, 'exit status')


@test('SIGHUP, ignored from the start: it stays')
def _():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Origin(answer(reply(b'x'))) as origin, Proxy() as proxy:
        signal.signal(signal.SIGHUP, before)
        proxy.process.send_signal(signal.SIGHUP)
        equal(proxy.fetch(origin).body, b'x', 'the page')
        unlike(proxy.log(), 'stopping', 'the log')


@test('connections that only wait do not hold it up')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy() as proxy:
        client, other = proxy.tls(origin), proxy.tls(origin)
        for each, more in (client, b''), (other, b'\r\n'): # begins no request
            each.send(get('/') + more)
            each.read_message()
        proxy.connect()
        proxy.tunnel(origin).send(b'\x16\3\1\2\0\1')    # of a ClientHello
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'exit status')
        unlike(proxy.log(), 'waited', 'what is said')
        equal(client.read_all(), b'', 'at the client')


@test('requests behind the running one are not begun')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/1') + get('/2'))
        server = origin.next()
        equal(server.read_head(), get('/1'), 'the first')
        server.send(reply(b'0123456789')[:-5])
        client.read_until(b'01234')
        proxy.process.terminate()
        wait_for(lambda: refused(proxy), 'no more connections')
        server.send(b'56789')
        equal(client.read_all(), b'56789', 'the rest')
        equal(server.read_all(), b'', 'at the server')
        equal(proxy.process.wait(DEADLINE), 0, 'exit status')


@test('a message that does not end holds it up for five seconds')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\n\r\nfor ever')
        client.read_until(b'for ever')
        start = time.monotonic()
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'exit status')
        check(time.monotonic() - start > 4, 'it did not wait')


@test('a second signal ends it at once')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        origin.next().read_head()
        start = time.monotonic()
        proxy.process.terminate()
        wait_for(lambda: refused(proxy), 'no more connections')
        proxy.process.terminate()
        proxy.process.wait(DEADLINE)
        check(time.monotonic() - start < 4.5, 'it waited')


@test('a second signal ends the filters, too')
def _():
    with Origin() as origin, Proxy('--request', 'sleep 1000') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        wait_for(proxy.children, 'the filter')
        proxy.process.terminate()
        wait_for(lambda: refused(proxy), 'no more connections')
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'exit status')
        wait_for(lambda: not alive(proxy.pid), 'the end of the filter')


run()
