#!/usr/bin/env python3
"""Half a message never looks whole, however it was cut, filtered or framed,
and no message is mixed up with the next one."""
import fcntl, termios

from mitm import *

EVIL = reply(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil')
FILTERS = (), ('--response', 'cat')


def printer(data):
    """A filter that prints just that."""
    return 'cat > /dev/null; cat ' + scratch('output', data)


def until(go):
    """Shell: wait for that file."""
    return 'until test -e %s; do sleep .01; done' % go


def touch(path):
    open(path, 'w').close()


def reverse(origin, *args):
    """A proxy whose clients have no TLS, in front of a server that may."""
    return Proxy('--mode', 'reverse:' + origin.url(''), *args)


def told(proxy):
    """The proxy has seen all that was sent to it before this returns."""
    with Origin(answer(reply(b'x'))) as other:
        equal(proxy.fetch(other).body, b'x', 'an exchange beside it')


def which(args):
    return 'filter ' + args[1] if args else 'no filter'


# ------------------------------------------------------------- trailers

@test('a response filter that stops amid the trailers: none are passed on')
def _():
    with Origin() as origin, Proxy('--match', '! ~u /2', '--response',
                                   'head -c 50') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/1'))
        server = origin.next()
        server.read_head()
        server.send(chunked(b'hello', trailers=b'X: 1\r\n')[:-2])
        client.read_until(b'\r\n0\r\n')
        equal(client.read_exact(2), b'\r\n', 'behind the last chunk')
        client.send(get('/2'))
        server = origin.next()
        equal(server.read_head(), get('/2'), 'the next request')
        server.send(reply(b'two'))
        equal(client.read_message().raw, reply(b'two'), 'the next answer')


@test('a request filter that stops amid the trailers: none are passed on')
def _():
    with Origin() as origin, Proxy('--match', '~u /1', '--request',
                                   'head -c 75') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/1', 'Transfer-Encoding: chunked', method='POST')
                    + b'64\r\n' + b'x' * 100 + b'\r\n0\r\nX: 1\r\n')
        server = origin.next()
        server.read_until(b'\r\n0\r\n')
        equal(server.read_exact(2), b'\r\n', 'behind the last chunk')
        client.send(b'Y: 2\r\n\r\n' + get('/2'))
        server.send(reply(b'one'))
        equal(client.read_message().body, b'one', 'the first answer')
        equal(server.read_head(), get('/2'), 'the next request')
        server.send(reply(b'two'))
        equal(client.read_message().body, b'two', 'the next answer')


# ------------------------------------------------------------------ HEAD

for args in FILTERS:
    @test('HEAD that a filter makes GET: the next answer is the next one, '
          + which(args))
    def _(args=args):
        with Origin(answer(EVIL, reply(b'good'))) as origin, \
                Proxy('--request', 'sed 1s/^HEAD/GET/', *args) as proxy:
            client = proxy.tunnel(origin)
            client.send(get('/1', method='HEAD'))
            equal(client.read_message(True).status, 200, 'the answer to HEAD')
            client.send(get('/2'))
            equal(client.read_message().body, b'good', 'the next answer')
            like(origin.rx, b'^GET /1 ', 'at the server')


@test('GET that a filter makes HEAD: the client is not left waiting')
def _():
    with Origin(answer(reply(b'body')[:-4])) as origin, \
            Proxy('--request', 'sed 1s/^GET/HEAD/') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        equal(client.read_all(), reply(b'body')[:-4], 'what came')
        like(origin.rx, b'^HEAD / ', 'at the server')


# -------------------------------------------------------------- HTTP/1.0

@test('no chunks under an HTTP/1.0 status line')
def _():
    page = reply(b'x' * 3000000).replace(b'HTTP/1.1', b'HTTP/1.0')
    with Origin(answer(page)) as origin, Proxy('--response', 'cat') as proxy:
        got = proxy.fetch(origin)
        equal((got.start, got.end, len(got.body)),
              (b'HTTP/1.0 200 OK', 'eof', 3000000), 'the message')
        unlike(got.head, b'(?i)chunked|length', 'its head')


@test('no chunks for an HTTP/1.0 client, whatever the filter printed')
def _():
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--response', printer(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: '
                                  b'chunked\r\n\r\nhello')) as proxy:
        got = proxy.fetch(origin, b'GET / HTTP/1.0\r\n\r\n')
        equal((got.end, got.body), ('eof', b'hello'), 'the message')
        unlike(got.head, b'(?i)chunked', 'its head')


@test('no keep-alive for an HTTP/1.0 client where a filter takes the chunks away')
def _():
    page = chunked(b'hello', fields=('Connection: keep-alive',
                                     'Keep-Alive: timeout=5'))
    with Origin(answer(page)) as origin, Proxy(
            '--response', 'sed /^Transfer-Encoding/d') as proxy:
        got = proxy.fetch(origin, b'GET / HTTP/1.0\r\n'
                          b'Connection: keep-alive\r\n\r\n')
        equal((got.end, got.body), ('eof', b'hello'), 'the message')
        equal(got.fields, [(b'Connection', b'close')], 'its head')


@test('an HTTP/1.0 request gets a length, whatever the filter printed')
def _():
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--request', printer(b'POST / HTTP/1.0\r\nTransfer-Encoding: '
                                 b'chunked\r\n\r\nhello')) as proxy:
        proxy.fetch(origin)
        equal(origin.rx, b'POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello',
              'at the server')


# ---------------------------------------------- ends that nobody vouches for

# A plain client has no close_notify: what ends with one at the server is
# ended by FIN, what may have been cut is reset.

for how in 'cut', 'reset':
    for args in FILTERS:
        @test('TLS server, plain client, a body until close: %s or ended; %s'
              % (how, which(args)))
        def _(how=how, args=args):
            for way, end in ('finish', 'eof'), (how, 'reset'):
                with Origin(tls=True) as origin, \
                        reverse(origin, *args) as proxy:
                    client = proxy.connect()
                    client.send(get('/'))
                    server = origin.next()
                    server.read_head()
                    server.send(b'HTTP/1.1 200 OK\r\n\r\npart')
                    client.read_until(b'part')
                    getattr(server, way)()
                    equal((client.read_all(), client.end), (b'', end), way)

        @test('TLS server, plain client, a stream: %s or ended; %s'
              % (how, which(args)))
        def _(how=how, args=args):
            for way, end in ('finish', 'eof'), (how, 'reset'):
                with Origin(tls=True) as origin, \
                        reverse(origin, *args) as proxy:
                    client = proxy.connect()
                    client.send(b'\0hello')
                    server = origin.next()
                    equal(server.read_exact(6), b'\0hello', 'the way up')
                    server.send(b'part')
                    equal(client.read_exact(4), b'part', 'the way down')
                    getattr(server, way)()
                    equal((client.read_all(), client.end), (b'', end), way)


for name, field in {'nothing': b'', 'a length': b'Content-Length: 5\r\n',
                    'a wrong length': b'Content-Length: 9\r\n',
                    'chunks': b'Transfer-Encoding: chunked\r\n'}.items():
    @test('TLS may have cut it, and a filter printed %s: a plain client is '
          'reset' % name)
    def _(field=field):
        out = b'HTTP/1.1 200 OK\r\nA: b\r\n' + field + b'\r\nhello'
        with Origin(tls=True) as origin, \
                reverse(origin, '--response', printer(out)) as proxy:
            client = proxy.connect()
            client.send(get('/'))
            server = origin.next()
            server.read_head()
            server.send(b'HTTP/1.1 200 OK\r\n\r\nhello')
            server.cut()
            got = client.read_all()
            equal(client.end, 'reset', 'the end')
            like(got, b'hello', 'the message')
            unlike(got, b'Length|\r\n0\r\n', 'its end')


@test('a --raw filter that takes the length away and fails: reset')
def _():
    go = scratch('go')
    with Origin(answer(reply(b'a\nb\nc\n'))) as origin, Proxy(
            '--raw', '--response', 'sed -u /Content-Length/d | head -c 23; '
            + until(go) + '; exit 1') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        client.read_until(b'a\nb\n')
        touch(go)
        equal((client.read_all(), client.end), (b'', 'reset'), 'the end')


@test("a stream's filter that fails half way: the server is reset")
def _():
    go = scratch('go')
    with Origin() as origin, Proxy('--request', 'head -c 6; %s; exit 1'
                                   % until(go)) as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0hello, world')
        server = origin.next()
        equal(server.read_exact(6), b'\0hello', 'the half')
        touch(go)
        equal((server.read_all(), server.end), (b'', 'reset'), 'the end')


@test('a client that resets a filtered stream: so is the server')
def _():
    with Origin() as origin, Proxy('--request', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0half')
        server = origin.next()
        equal(server.read_exact(5), b'\0half', 'the half')
        client.reset()
        equal((server.read_all(), server.end), (b'', 'reset'), 'the end')


@test('two SIGTERMs amid a body until close: a plain client is reset')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\n\r\nhalf')
        client.read_until(b'half')
        proxy.process.terminate()
        proxy.wait_log('stopping')
        proxy.process.terminate()
        equal((client.read_all(), client.end), (b'', 'reset'), 'the end')
        equal(proxy.process.wait(DEADLINE), 0, 'the exit status')


# ------------------------------------------------- servers that are not asked

def asked_once(proxy, origin):
    """A client whose connection has a server's behind it: both of them."""
    client = proxy.tunnel(origin)
    client.send(get('/1'))
    server = origin.next()
    server.read_head()
    server.send(reply(b'one'))
    equal(client.read_message().body, b'one', 'the first answer')
    return client, server


for args, head in (('--raw',), b''), ((), b'Transfer-Encoding: chunked\r\n'):
    @test("an idle server that speaks does not cut a filter's own answer"
          + ', --raw' * len(args))
    def _(args=args, head=head):
        go = scratch('go')
        out = scratch('half', b'HTTP/1.1 200 OK\r\n' + head + b'\r\nhalf')
        with Origin() as origin, Proxy(
                '--match', '~u /own', *args, '--request',
                'cat %s; cat > /dev/null; %s; printf rest'
                % (out, until(go))) as proxy:
            client, server = asked_once(proxy, origin)
            client.send(get('/own'))
            start = client.read_until(b'half')
            server.send(reply(b'late', status='408 Request Timeout'))
            proxy.wait_log('nobody asked for')
            touch(go)
            if args:
                equal((client.read_all(), client.end), (b'rest', 'eof'),
                      'the rest')
            else:
                equal(client.read_until(b'0\r\n\r\n'),
                      b'\r\n4\r\nrest\r\n0\r\n\r\n', 'the rest')
                client.send(get('/2'))
                server = origin.next()
                equal(server.read_head(), get('/2'), 'the next request')
                server.send(reply(b'two'))
                equal(client.read_message().body, b'two', 'the next answer')
            unlike(start, b'late', 'the answer')


for how in 'finish', 'reset':
    @test('an idle server that leaves (%s) while a request is held: another '
          'connection' % how)
    def _(how=how):
        seen = scratch('seen')
        with Origin() as origin, Proxy('--match', '~m POST', '--request',
                                       'tee ' + seen) as proxy:
            client, server = asked_once(proxy, origin)
            client.send(get('/2', 'Content-Length: 10', method='POST') + b'a')
            wait_for(lambda: os.path.exists(seen) and slurp(seen),
                     'the filter')
            told(proxy)             # it has what the filter has printed
            getattr(server, how)()
            told(proxy)
            client.send(b'a' * 9)
            server = origin.next()
            equal(server.read_message().body, b'a' * 10, 'the request')
            server.send(reply(b'two'))
            equal(client.read_message().body, b'two', 'its answer')


# ----------------------------------------- nothing is lost before a reset

SIZE = 1000000


def unsent(conn):
    """How many bytes the other side's kernel has yet to confirm."""
    return struct.unpack('i', fcntl.ioctl(conn.sock, termios.TIOCOUTQ,
                                          bytes(4)))[0]


for args in (), ('--response', 'cat'):
    for kind, ask, start in (
            ('a body until close', get('/'), b'HTTP/1.1 200 OK\r\n\r\n'),
            ('a stream', b'\0hello', b'220 hello\r\n')):
        @test('a plain client that reads late gets all of %s that TLS may '
              'have cut, %s' % (kind, ' '.join(args) or 'no filter'))
        def _(args=args, ask=ask, start=start):
            with Origin(tls=True) as origin, Proxy(
                    '--mode', 'reverse:' + origin.url(''), *args) as proxy:
                beside = proxy.connect()
                beside.send(b'\0')
                other = origin.next()
                other.read_exact(1)
                client = proxy.connect()
                client.send(ask)
                server = origin.next()
                server.read_exact(len(ask))
                server.send(start)
                client.read_exact(len(start))
                server.send(b'x' * SIZE)
                server.cut()
                wait_for(lambda: unsent(server) == 0 or select.select(
                    [server.sock], [], [], 0)[0], 'all on its way')
                for _ in range(50):         # so often has the proxy looked
                    beside.send(b'.')
                    other.read_exact(1)
                equal((client.swallow(), client.end), (SIZE, 'reset'),
                      'what the client got')


run()
