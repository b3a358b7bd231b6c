#!/usr/bin/env python3
"""What is meant for one server, no other gets: who may choose a server, when
a connection is done with one, and what a server must show for its name."""
from mitm import *


# ------------------------------------- messages without a clear end

ANSWERS = (
    ('length and chunks', b'Content-Length: 5\r\nTransfer-Encoding: chunked'
     b'\r\n\r\n0\r\n\r\n'),
    ('two lengths', b'Content-Length: 2\r\nContent-Length: 3\r\n\r\nok'),
    ('a bad chunk', b'Transfer-Encoding: chunked\r\n\r\n2 x\r\nok\r\n0\r\n'
     b'\r\n'),
    ('a coding twice', b'Transfer-Encoding: chunked\r\nTransfer-Encoding: '
     b'chunked\r\n\r\n0\r\n\r\n'))

for what, text in ANSWERS:
    @test('answered with %s: the next request goes elsewhere' % what)
    def _(text=b'HTTP/1.1 200 OK\r\n' + text):
        with Origin() as first, Origin(answer(reply(b'good'))) as good, \
                Proxy(second=0.05) as proxy:
            client = proxy.connect()
            client.send(get(first.url()))
            server = first.next()
            server.read_head()
            server.send(text)
            client.read_until(b'\r\n\r\n')
            with contextlib.suppress(OSError):
                client.send(get(good.url('/secret')))
            equal(server.more(), b'', 'what else the first server gets')


for what, text in ANSWERS[::2]:
    @test('answered with %s: curl gets the next page from its server' % what)
    def _(text=b'HTTP/1.1 200 OK\r\n' + text):
        def behave(conn):
            conn.read_head()
            conn.send(text)
            conn.read_all()
        with Origin(behave) as first, Origin(answer(reply(b'good'))) as good, \
                Proxy(second=0.02) as proxy:
            like(proxy.curl(first.url(), good.url('/secret')), b'good$',
                 'the pages')
            unlike(first.rx, b'secret', 'what the first server got')


def asked_and_answered(proxy, first, request):
    """A client with an answer to its request, and the first server."""
    client = proxy.connect()
    client.send(request)
    server = first.next()
    server.read_until(request[-2:])
    server.send(reply(b'page'))
    equal(client.read_message().body, b'page', 'the page')
    server.rx.clear()
    server.buf.clear()
    return client, server


for what, text in (
        ('of HTTP/1.2', b'GET http://x/secret HTTP/1.2\r\nHost: x\r\n\r\n'),
        ('of HTTP/2.0', b'GET http://x/secret HTTP/2.0\r\nHost: x\r\n\r\n'),
        ('of HTTP/0.9', b'GET http://x/secret\r\n'),
        ('with a control byte in front',
         b'\1GET http://x/secret HTTP/1.1\r\nHost: x\r\n\r\n'),
        ('that is none', b'\x16\3\1secret\r\n\r\n')):
    @test('a second request %s: not to the first server' % what)
    def _(text=text):
        with Origin() as first, Proxy() as proxy:
            client, server = asked_and_answered(proxy, first,
                                                get(first.url()))
            client.send(text)
            equal(client.read_message().status, 400, 'the status')
            equal(server.more(), b'', 'what else the first server gets')


for what, text in ANSWERS[:2] + (
        ('a bad chunk', b'Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n'),):
    @test('after a request with %s: the next one goes elsewhere' % what)
    def _(text=text):
        with Origin() as first, Origin(answer(reply(b'good'))) as good, \
                Proxy() as proxy:
            client, server = asked_and_answered(
                proxy, first, get(first.url(), method='POST')[:-2] + text)
            with contextlib.suppress(OSError):
                client.send(get(good.url('/secret')))
            equal(server.more(), b'', 'what else the first server gets')


@test('101 that nobody asked for makes no tunnel of a connection')
def _():
    with Origin() as first, Origin(answer(reply(b'good'))) as good, \
            Proxy() as proxy:
        client = proxy.connect()
        client.send(get(first.url()))
        server = first.next()
        server.read_head()
        server.send(b'HTTP/1.1 101 Switching Protocols\r\n\r\n'
                    + reply(b'page'))
        client.read_until(b'page')
        client.send(get(good.url('/secret')))
        equal(client.read_message().body, b'good', 'the next page')
        unlike(first.rx, b'secret', 'what the first server got')


@test('101 that was asked for makes one')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(get(origin.url(), 'Connection: Upgrade', 'Upgrade: echo'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n'
                    b'Connection: Upgrade\r\n\r\n')
        like(client.read_head(), rb'^HTTP/1\.1 101 ', 'the answer')
        client.send(b'\0GET')
        equal(server.read_exact(4), b'\0GET', 'at the server')
        server.send(b'\0HTTP')
        equal(client.read_exact(5), b'\0HTTP', 'at the client')


# --------------------------------------------------------------- loops

for how, target in (('-m', 'reverse:http://'), ('-x', 'http://'),
                    ('-x', 'socks5h://')):
    for host, listen in (('0.0.0.0', '127.0.0.1'),
                         ('[::ffff:127.0.0.1]', '127.0.0.1'),
                         ('127.0.0.2', '0.0.0.0'), ('[::]', '::1'),
                         ('0.0.0.0', '::')):
        @test('no loop: %s %s%s, listening on %s' % (how, target, host,
                                                     listen))
        def _(how=how, target=target, host=host, listen=listen):
            port = free_port()
            try:
                where = '127.0.0.1' if '.' in listen else '::1'
                socket.create_server((where, 0), family=socket.AF_INET6 if
                                     ':' in where else socket.AF_INET).close()
            except OSError as error:
                raise Skip('%s: %s' % (where, error)) from None
            with Proxy('-p', str(port), '--listen-host', listen, how,
                       '%s%s:%d' % (target, host, port),
                       prefix=('prlimit', '--nofile=100:100')) as proxy:
                client = Conn(socket.create_connection((where, port)))
                proxy.clients.append(client)
                client.send(get('/' if how == '-m' else 'http://192.0.2.1/'))
                message = client.read_message()
                equal(message.status, 502, 'the status')
                like(message.body, b'that is this proxy itself', 'why')


# ----------------------------------------------- who chooses a server

@test("reverse: a filter edits a client's absolute target, not the server")
def _():
    with Origin(answer(lambda r: reply(r.start))) as front, \
            Origin(answer(reply(b'inner'))) as inner, \
            Proxy('-m', 'reverse:' + front.url(), '--request',
                  'sed "1s/old/new/; 1s,/host,%s,"' % inner.url('/found')
                  ) as proxy:
        for path in '/old', '/secret', '/old?secret':
            client = proxy.connect()
            client.send(get(inner.url(path)))
            like(client.read_message().body, re.escape(
                path.replace('old', 'new')).encode(), 'the page in front')
        equal(inner.conns, [], 'connections to the other server')
        client = proxy.connect()
        client.send(get('/host'))
        equal(client.read_message().body, b'inner', 'where the filter sends')


# -------------------------------------------------------- certificates

def nameless(subject):
    """A server's certificate without any subjectAltName."""
    ca, path = make_ca(), scratch('leaf.pem')
    openssl('req', '-new', *EC, '-subj', subject, '-keyout', path + '.key',
            '-out', path + '.csr')
    openssl('x509', '-req', '-in', path + '.csr', '-CA', ca, '-CAkey',
            ca[:-4] + '.key', '-days', '9', '-set_serial',
            str(time.time_ns()), '-out', path)
    with open(path, 'ab') as f:
        f.write(slurp(path + '.key'))
    return path


NAMES = 'DNS:localhost,IP:127.0.0.1\nkeyUsage=critical,'
for what, make, name, good in (
        ('an address as a DNS name', lambda: make_leaf(
            names='DNS:127.0.0.1'), '127.0.0.1', False),
        ('a wildcard for an address', lambda: make_leaf(
            names='DNS:*.0.0.1'), '127.0.0.1', False),
        ('another address', lambda: make_leaf(
            names='IP:127.0.0.2'), '127.0.0.1', False),
        ('the address', lambda: make_leaf(names='IP:127.0.0.1'), '127.0.0.1',
         True),
        ('the address behind names', lambda: make_leaf(
            names='DNS:127.0.0.1,IP:127.0.0.2,IP:127.0.0.1'), '127.0.0.1',
         True),
        ('a common name alone', lambda: nameless('/CN=localhost'),
         'localhost', True),
        ('another common name alone', lambda: nameless('/CN=elsewhere'),
         'localhost', False),
        ('a key for certificates', lambda: make_leaf(
            names=NAMES + 'keyCertSign'), 'localhost', False),
        ('a key for certificates and signatures', lambda: make_leaf(
            names=NAMES + 'keyCertSign,digitalSignature'), 'localhost',
         True)):
    @test('a certificate has %s: %s' % (what, 'taken' if good else 'refused'))
    def _(make=make, name=name, good=good):
        with Origin(answer(reply(b'page')), tls=True, cert=make(),
                    name=name) as origin, Proxy() as proxy:
            client = proxy.tunnel(origin)
            client.start_tls(client_context(proxy.ca, strict=False), name)
            client.send(get('/'))
            message = client.read_message()
            equal(message.status, 200 if good else 502, 'the status')
            unlike(origin.rx, b'^$' if good else b'GET', 'the server got')


# -------------------------------------- a server's signature in TLS 1.2

# By RSA-PSS (RFC 8446, 1.3): Mbed TLS 3.6.6 takes none if it offered TLS 1.3.
@test('a server of TLS 1.2 alone that signs by RSA-PSS, again and again')
def _():
    with Origin(answer(reply(b'page'), reply(b'page')), tls=True,
                cert=make_leaf(key=rsa(65537)),
                version=ssl.TLSVersion.TLSv1_2) as origin, Proxy() as proxy:
        for _ in range(3):
            equal(proxy.fetch(origin).body, b'page', 'the page')


# ----------------------------------------------------- small records

for version in 'TLSv1_2', 'TLSv1_3':
    @test('%s: a ClientHello in records of one byte' % version)
    def _(version=version):
        with Origin(answer(reply(b'page')), tls=True) as origin, \
                Proxy() as proxy:
            client = proxy.tunnel(origin)

            def flush():
                del client.flush        # from now on as usual
                hello = client.out.read()
                client.sock.sendall(b''.join(
                    hello[:3] + b'\0\1%c' % c for c in hello[5:]))
            client.flush = flush
            client.start_tls(client_context(proxy.ca, ssl.TLSVersion[version]),
                             'localhost')
            client.send(get('/'))
            equal(client.read_message().body, b'page', 'the page')


WIDE = ','.join(['DNS:localhost'] + ['DNS:n%d.test' % n for n in range(90)])


def wide():
    """An origin whose names make a certificate of more than 1 KB."""
    return Origin(answer(reply(b'\npage\n' + b'x' * 9000 + b'\n',
                               'Connection: close')), tls=True,
                  cert=make_leaf(names=WIDE))


@test('TLSv1_2: a client that wants records of 512 bytes, in a handshake, too')
def _():
    with wide() as origin, Proxy() as proxy:
        text = command('openssl', 's_client', '-proxy', '127.0.0.1:%d'
                       % proxy.port, '-connect', origin.auth, '-CAfile',
                       proxy.ca, '-verify_return_error', '-ign_eof',
                       '-tls1_2', '-maxfraglen', '512', stdin=get('/'))
        like(text, rb'\npage\nx{9000}\n', 'the page')


for version in 'VERS-TLS1.2', 'VERS-TLS1.3':
    @test('GnuTLS, %s: a client that wants records of 512 bytes' % version)
    def _(version=version):
        need('gnutls-cli')
        with wide() as origin, \
                Proxy('-m', 'reverse:' + origin.url()[:-1]) as proxy:
            text = command('gnutls-cli', '--priority', 'NORMAL:-VERS-ALL:+'
                           + version, '--recordsize=512', '--x509cafile',
                           proxy.ca, '-p', str(proxy.port), 'localhost',
                           stdin=get('/'))
            like(text, rb'\npage\nx{9000}\n', 'the page')


@test('chunks beside a length: the connection ends behind the chunks')
def _():
    page = (b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n'
            b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n')
    with Origin() as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(get(origin.url()))
        server = origin.next()
        server.read_head()
        server.send(page + reply(b'evil'))
        equal(client.read_all(), page, 'the answer')
        equal(client.end, 'eof', 'the end')


# --------------------------------- --proxyauth, and requests without an end

FIELD = 'Proxy-Authorization: Basic dXNlcjpzZWtyZXQ5OQ=='

for what, text in (
        ('length and chunks', b'Content-Length: 5\r\nTransfer-Encoding: '
         b'chunked\r\n\r\n0\r\n\r\n'),
        ('two lengths', b'Content-Length: 2\r\nContent-Length: 3\r\n\r\nok'),
        ('a bad chunk', b'Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n')):
    @test('behind a request with %s: not to the first server' % what)
    def _(text=text):
        def behave(conn):
            while b'secret' not in conn.rx and conn.more():
                pass
        with Origin(behave) as first, \
                Proxy('--proxyauth', 'user:sekret99') as proxy:
            client = proxy.connect()
            client.send(get(first.url(), FIELD, method='POST')[:-2] + text
                        + get('http://127.0.0.1:1/secret', FIELD))
            client.cut()
            client.read_all()
            unlike(first.rx, b'secret', 'what the first server got')


run()
