#!/usr/bin/env python3
"""Where a filter meets the edges of framing."""
from mitm import *


@test('an HTTP/1.0 upload over 1 MiB keeps its length')
def _():
    body = b'x' * 2000000
    with Origin(answer(lambda r: reply(b'%d' % len(r.body)))) as origin, \
            Proxy('--request', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n'
                    % len(body) + body)
        equal(client.read_message().body, b'2000000', 'what arrived')


@test('what does not begin with a head goes on as it is, and that is told')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--match', '~u one', '--response', 'echo hello',
                  '--match', '~u two', '--response', 'true') as proxy:
        for path, want in ('/one', b'hello\n'), ('/two', b''):
            client = proxy.tunnel(origin)
            client.send(get(path))
            equal(client.read_all(), want, 'at the client')
        proxy.wait_log('#1 what the filters print does not begin with a '
                       'head: ')
        unlike(proxy.log(), '#2 (?!dropped: the filter true)', 'no failure')


@test('a request that has no head any more ends: the server need not wait')
def _():
    def behave(conn):
        conn.read_all()
        conn.send(reply(b'what?', status='400 Bad Request'))
    for tls in False, True:
        for text in b'GET / HTTP/1.1\r\nHost: x\r\n', b'{"a": 1}', \
                b'POST / HTTP/1.1\r\nTransfer-Encoding: br\r\n\r\nx':
            with Origin(behave, tls=tls) as origin, \
                    Proxy('--request', 'cat ' + scratch('out', text)) as proxy:
                client = proxy.tls(origin) if tls else proxy.tunnel(origin)
                client.send(get('/'))
                equal(client.read_message().body, b'what?', 'the answer')
                equal((client.read_all(), client.end), (b'', 'eof'), 'its end')
                equal(origin.rx, text, 'the request')


@test('trailers that are too long end the message, not its framing')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--request', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: '
                    b'chunked\r\n\r\n1\r\nx\r\n0\r\n'
                    + b'A: %s\r\n' % (b'b' * 1000) * 100 + b'\r\n')
        like(client.read_all(), rb'^(HTTP/1\.1 431 |$)', 'the answer')
        unlike(origin.rx, rb'\r\n0\r\n', 'what the server got')


@test('--raw: a second answer never follows one that is ended by close')
def _():
    def behave(conn):
        conn.read_head()
        conn.send(b'HTTP/1.1 200 OK\r\n\r\nbody')
        conn.finish()
    with Origin(behave) as origin, \
            Proxy('--raw', '--response', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/1') + get('/2'))
        equal(client.read_all(), b'HTTP/1.1 200 OK\r\n\r\nbody', 'all')


@test('a server that speaks while a request is held does not answer it')
def _():
    def behave(conn):
        conn.read_message()
        conn.send(reply(b'one') + reply(b'EVIL'))
    with Origin(behave) as origin, \
            Proxy('--request', 'cat', '--response', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/1'))
        equal(client.read_message().body, b'one', 'the first answer')
        client.send(b'POST /2 HTTP/1.1\r\nHost: x\r\n'
                    b'Content-Length: 3\r\n\r\nabc')
        equal(client.read_message().body, b'one', 'the second answer')
        client.shutdown_write()
        equal(client.read_all(), b'', 'what else came')


@test('a server that speaks too early, or not clearly, while a filter has a '
      'request: 502')
def _():
    held = threading.Event()

    def early(conn):
        held.wait(DEADLINE)
        conn.send(reply(b'busy', status='503 Busy'))
        conn.read_all()

    def unclear(conn):
        conn.read_until(b'half')
        held.wait(DEADLINE)
        conn.send(reply(b'x', 'Content-Length: 2'))
        conn.read_all()
    for behave, command, why in ((early, 'cat | sort', b'the server spoke'),
                                 (unclear, 'cat', b'two lengths that differ')):
        held.clear()
        with Origin(behave, tls=True) as origin, \
                Proxy('--request', command) as proxy:
            client = proxy.tls(origin)
            client.send(get('/', 'Transfer-Encoding: chunked', method='PUT')
                        + b'4\r\nhalf\r\n')
            wait_for(proxy.children, 'its filter')
            held.set()
            page = client.read_message()
            equal(page.status, 502, 'the status')
            like(page.body, why, 'why')


run()
