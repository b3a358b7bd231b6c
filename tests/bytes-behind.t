#!/usr/bin/env python3
"""What a server sends behind its answer costs the server's connection at most,
never the client's; the last chunk behind 204 and 304 goes on."""
from mitm import *

CHUNK = b'0\r\n\r\n'


def bare(status, *fields):
    """A head that says it is chunked, of an answer that has no body."""
    return ('HTTP/1.1 %s\r\nTransfer-Encoding: chunked\r\n%s\r\n' % (
        status, ''.join(f + '\r\n' for f in fields))).encode()


def ways(*args):
    """(origin, proxy, connection, what a target begins with)"""
    for name in 'absolute', 'connect', 'tls':
        with Origin(tls=name == 'tls') as origin, Proxy(*args) as proxy:
            yield (origin, proxy, proxy.connect() if name == 'absolute' else
                   proxy.tls(origin) if origin.tls else proxy.tunnel(origin),
                   'http://' + origin.auth if name == 'absolute' else '')


JUNK = {'a line end': b'\r\n', 'a line': b'junk\n', 'a zero': CHUNK,
        'an answer': reply(b'EVIL'), 'much': b'\r\n' * 100000}

for args in (), ('--response', 'cat'), ('--request', 'cat'):
    for name, junk in JUNK.items():
        @test('%s behind the length: the next request has another connection%s'
              % (name, ''.join(', ' + a for a in args)))
        def _(args=args, junk=junk):
            for origin, proxy, client, base in ways(*args):
                client.send(get(base + '/1'))
                server = origin.next()
                server.read_head()
                with contextlib.suppress(OSError):
                    server.send(reply(b'one') + junk)
                equal(client.read_exact(len(reply(b'one'))), reply(b'one'),
                      'the first answer')
                proxy.wait_log('nobody asked for')
                client.send(get(base + '/2'))
                server = origin.next()
                like(server.read_head(), b'^GET /2 ', 'the next request')
                server.send(reply(b'two'))
                equal(client.read_exact(len(reply(b'two'))), reply(b'two'),
                      'the next answer')


for args in (), ('--response', 'cat'), ('--request', 'cat'):
    @test('what stands behind an answer answers no request that was sent before '
          'it%s' % ''.join(', ' + a for a in args))
    def _(args=args):
        for name, junk in JUNK.items():
            for origin, proxy, client, base in ways(*args):
                client.send(get(base + '/1') + get(base + '/2'))
                server = origin.next()
                server.read_head()
                with contextlib.suppress(OSError):
                    server.send(reply(b'one') + junk)
                equal(client.read_exact(len(reply(b'one'))), reply(b'one'),
                      'the first answer, behind it ' + name)
                server = origin.next()
                like(server.read_head(), b'^GET /2 ', 'the next request')
                server.send(reply(b'two'))
                equal(client.read_exact(len(reply(b'two'))), reply(b'two'),
                      'the next answer, behind ' + name)


@test('a line end behind the length: a client that asked to close is let go')
def _():
    for ask in (get('/', 'Connection: close'), b'GET / HTTP/1.0\r\n\r\n'):
        for origin, proxy, client, base in ways():
            client.send(ask.replace(b' /', (' %s/' % base).encode(), 1))
            server = origin.next()
            server.read_head()
            server.send(reply(b'one') + b'\n')
            server.finish()
            equal(client.read_all(), reply(b'one'), 'the answer')
            equal(client.end, 'eof', 'how the connection ended')


@test('a line end behind a POST, and the server ends: so does the client')
def _():
    for origin, proxy, client, base in ways():
        client.send(get(base + '/', 'Content-Length: 3', method='POST') +
                    b'abc\r\n')
        server = origin.next()
        server.read_until(b'abc')
        server.send(reply(b'one'))
        server.finish()
        equal(client.read_all(), reply(b'one'), 'the answer')
        equal(client.end, 'eof', 'how the connection ended')


@test("the answer to HEAD has a body: the client's next request is served")
def _():
    for origin, proxy, client, base in ways():
        client.send(get(base + '/1', method='HEAD'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'one'))
        client.read_message(True)
        proxy.wait_log('nobody asked for')
        client.send(get(base + '/2'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'two'))
        equal(client.read_message().body, b'two', 'the next answer')


for args in (), ('--response', 'cat'):
    @test('the last chunk behind 204 and 304 goes on, whole or in pieces'
          + ''.join(', ' + a for a in args))
    def _(args=args):
        for status in '204 No Content', '304 Not Modified':
            for step in 0, 1:
                for origin, proxy, client, base in ways(*args):
                    page = bare(status) + CHUNK
                    client.send(get(base + '/1'))
                    server = origin.next()
                    server.read_head()
                    server.send(page, step)
                    equal(client.read_exact(len(page)), page, 'the answer')
                    client.send(get(base + '/2'))
                    like(server.read_head(), b'^GET /2 ', 'the next request')
                    server.send(reply(b'two'))
                    equal(client.read_message().body, b'two', 'the next')


@test('the same behind Connection: close')
def _():
    page = bare('204 No Content', 'Connection: close') + CHUNK
    for origin, _, client, base in ways():
        client.send(get(base + '/'))
        server = origin.next()
        server.read_head()
        server.send(page)
        equal((client.read_all(), client.end), (page, 'eof'), 'the answer')


@test('a client that has not waited for it gets its next answer')
def _():
    for origin, proxy, client, base in ways():
        client.send(get(base + '/1'))
        server = origin.next()
        server.read_head()
        server.send(bare('204 No Content'))
        equal(client.read_head(), bare('204 No Content'), 'the answer')
        client.send(get(base + '/2'))
        server.read_head()
        server.send(CHUNK + reply(b'two'))
        equal(client.read_exact(len(reply(b'two'))), reply(b'two'), 'the next')


@test('what a filter has made of it has no such chunk')
def _():
    for origin, proxy, client, base in ways(
            '--response', 'sed "1s/204 No Content/200 OK/"'):
        client.send(get(base + '/1'))
        server = origin.next()
        server.read_head()
        server.send(bare('204 No Content') + CHUNK)
        client.read_message()
        client.send(get(base + '/2'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'two'))
        equal(client.read_exact(len(reply(b'two'))), reply(b'two'), 'the next')


SESSION = """
import requests, sys
session, at = requests.Session(), sys.argv[1]
session.proxies = {'http': at, 'https': at}
session.verify, session.trust_env = sys.argv[2], False
for i in range(30):
    got = session.get(sys.argv[3], timeout=20)
    assert got.content == (b'' if got.status_code == 204 else b'page')
"""


@test("Python's requests: a session loses no answer")
def _():
    if subprocess.call([sys.executable, '-c', 'import requests'],
                       stderr=subprocess.DEVNULL):
        raise Skip('there is no python3-requests')

    def behave(conn):
        count = 0
        while wait_message(conn):
            conn.read_message()
            count += 1
            conn.send(bare('204 No Content') + CHUNK if count % 3 == 0 else
                      reply(b'page') + b'\r\n' * (count % 3 - 1))
    for tls in False, True:
        with Origin(behave, tls=tls) as origin, Proxy() as proxy:
            command(sys.executable, '-c', SESSION, 'http://127.0.0.1:%d'
                    % proxy.port, proxy.ca, origin.url(), status=0)


@test('a server that has broken off, answered and said more: the client, which '
      'still sends, is let go')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Content-Length: 10000000', method='PUT'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'no') + bytes(300000))
        client.read_exact(len(reply(b'no')))
        server.reset()

        def upload():
            with contextlib.suppress(OSError):
                client.send(bytes(9000000))
        sending = thread(upload)
        equal(client.read_all(), b'', 'behind the answer')
        sending.result()


run()
