#!/usr/bin/env python3
"""--ignore-hosts: what passes untouched, TLS and all, from every way in."""
from mitm import *

SPOIL = '--response', 'sed s/page/spoilt/', '--request', 'sed s/GET/PUT/'
RULE = '--ignore-hosts'


def port_of(origin):
    return ':%d$' % origin.port


def through(proxy, origin, conn):
    """A page by TLS to the origin itself: its own certificate."""
    conn.start_tls(client_context(make_ca()), 'localhost')
    conn.send(get('/'))
    equal(conn.read_message().body, b'page', 'the page')
    conn.finish()


def opened(proxy, origin, conn):
    """The same where we open it and filter."""
    conn.start_tls(client_context(proxy.ca), 'localhost')
    conn.send(get('/'))
    equal(conn.read_message().body, b'spoilt', 'the page')
    conn.finish()


def socks(proxy, origin):
    conn = proxy.connect()
    conn.send(b'\5\1\0\5\1\0\1\x7f\0\0\1' + struct.pack('>H', origin.port))
    equal(conn.read_exact(12)[:4], b'\5\0\5\0', 'the answers of SOCKS')
    return conn


@test('CONNECT and SOCKS: one host passes, the other is opened')
def _():
    with Origin(answer(reply(b'page')), tls=True) as one, \
            Origin(answer(reply(b'page')), tls=True) as two, \
            Proxy('-v', RULE, port_of(one), *SPOIL) as proxy:
        for way in proxy.tunnel, lambda origin: socks(proxy, origin):
            through(proxy, one, way(one))
            opened(proxy, two, way(two))
        like(bytes(one.rx), b'^GET ', 'what the one sees')
        like(bytes(two.rx), b'^PUT ', 'what the other sees')
        proxy.wait_log('--ignore-hosts says so')
        wait_for(lambda: proxy.out().count('>>') > 1, 'the messages shown')
        equal(proxy.out().count('>>'), 2, "messages shown: the other's")


@test('the server name counts as well as where CONNECT goes')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin, \
            Proxy(RULE, r'^localhost:%d$' % origin.port, *SPOIL) as proxy:
        at = '127.0.0.1:%d' % origin.port
        through(proxy, origin, proxy.tunnel(at))
        conn = proxy.tunnel(at)
        conn.start_tls(client_context(proxy.ca), 'origin.test')
        conn.send(get('/'))
        equal(conn.read_message().body, b'spoilt', 'by another name')


@test('the expression is searched in host:port, capitals or not')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin:
        for rule, how in ((r'LOCALHOST', through), (r'^host', opened),
                          (r'^localhost$', opened),
                          (r'^localhost:', through),
                          (r'nothing|local', through),
                          (r'^(localhost|x):[0-9]+$', through)):
            with Proxy(RULE, rule, *SPOIL) as proxy:
                how(proxy, origin, proxy.tunnel(origin))


@test('the dot of the root does not count')
def _():
    with Origin(answer(reply(b'page')), tls=True, name='localhost.') as origin, \
            Proxy(RULE, '^localhost:', *SPOIL) as proxy:
        through(proxy, origin, proxy.tunnel(origin))


@test('reverse mode')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin:
        for rule, how in (port_of(origin), through), ('other', opened):
            with Proxy('-m', 'reverse:' + origin.url()[:-1], RULE, rule,
                       *SPOIL) as proxy:
                how(proxy, origin, proxy.connect())


@test('plain requests pass through no filter, and no header is touched')
def _():
    with Origin(answer(lambda r: reply(b'page ' + r.head))) as one, \
            Origin(answer(reply(b'page'))) as two, \
            Proxy(RULE, port_of(one), *SPOIL) as proxy:
        client = proxy.connect()
        for _ in range(2):              # on one connection, in turns
            client.send(get(one.url(), 'Accept-Encoding: gzip'))
            equal(client.read_message().body, b'page ' + get(
                '/', 'Accept-Encoding: gzip'), 'the one')
            client.send(get(two.url()))
            equal(client.read_message().body, b'spoilt', 'the other')
        conn = proxy.tunnel(one)        # plain HTTP in a tunnel
        conn.send(get('/'))
        equal(conn.read_message().body, b'page ' + get('/'), 'in a tunnel')


@test('a host that passes, and then CONNECT to one that does not')
def _():
    with Origin(answer(reply(b'page'))) as one, \
            Origin(answer(reply(b'page'))) as two, \
            Proxy(RULE, port_of(one), *SPOIL) as proxy:
        client = proxy.connect()
        client.send(get(one.url()))
        equal(client.read_message().body, b'page', 'the one')
        client.send(get(two.auth, host=two.auth, method='CONNECT'))
        like(client.read_head(), b'^HTTP/1.1 200 ', 'the tunnel')
        client.send(get('/'))
        equal(client.read_message().body, b'spoilt', 'the other')


@test("a client of an unknown protocol, a server that speaks first, the ends")
def _():
    def behave(conn):
        conn.send(b'\0hello')
        conn.send(conn.read_all()[::-1])
    with Origin(behave) as origin, \
            Proxy(RULE, port_of(origin), '--response', 'tr a-z A-Z',
                  '--request', 'tr a-z A-Z') as proxy:
        client = proxy.tunnel(origin)
        equal(client.read_exact(6), b'\0hello', 'the greeting')
        client.send(b'\x16\3\1abc')     # it is not even looked at
        client.shutdown_write()
        equal(client.read_all(), b'cba\1\3\x16', 'the answer')
        equal(client.end, 'eof', 'the end')


@test('3 MB each way, byte for byte; STARTTLS within is not opened')
def _():
    data = os.urandom(3 << 20)

    def behave(conn):
        conn.read_until(b'STARTTLS\n')
        conn.send(b'go\n')
        conn.start_tls(context)
        conn.send(conn.read_exact(len(data))[::-1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_leaf())
    with Origin(behave) as origin, \
            Proxy(RULE, port_of(origin), *SPOIL) as proxy:
        client = proxy.tunnel(origin)
        client.send(b'STARTTLS\n')
        equal(client.read_until(b'\n'), b'go\n', 'the answer')
        client.start_tls(client_context(make_ca()), 'localhost')
        work = thread(client.send, data)
        equal(client.read_exact(len(data)) == data[::-1], True, 'the echo')
        work.result()


@test('nobody there: the tunnel ends, and the log says why')
def _():
    port = free_port()
    with Proxy(RULE, '.') as proxy:
        conn = proxy.tunnel('localhost:%d' % port)
        equal(conn.read_all(), b'', 'what comes')
        proxy.wait_log('localhost:%d.*refused' % port)


@test('through another proxy')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin, \
            Proxy(RULE, '.') as above:
        for scheme in 'http', 'socks5h':
            with Proxy(RULE, '.', '-x', '%s://127.0.0.1:%d'
                       % (scheme, above.port), *SPOIL) as proxy:
                through(proxy, origin, proxy.tunnel(origin))


@test('misuse: what is no expression, and two of them')
def _():
    for words in ((RULE, '('), (RULE, 'a', RULE, 'b'), (RULE, '[z-a]')):
        status, _, err = mitmproxy('-p', '0', *words)
        equal(status, 2, 'the exit status')
        like(err, r'^mitmproxy: --ignore-hosts [^\n]*\n', 'the error')


run()
