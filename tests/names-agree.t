#!/usr/bin/env python3
"""With --only-hosts the names of one connection agree: CONNECT's or SOCKS's,
SNI's, Host's. Whatever else reaches the server that is allowed, is not asked
of it in the name of another."""
from mitm import *

ONLY = '--only-hosts', r'^allowed\.test:(80|443)$'
GOOD, EVIL = 'Host: allowed.test', 'Host: evil.test'


def lines(*of):
    return '\r\n'.join(of + ('', '')).encode('latin-1')


@contextlib.contextmanager
def fenced(behave=None, *args, tls=False):
    """An origin that stands for both names, and the proxy before it."""
    with Origin(behave or answer(lambda r: reply(r.start)), tls=tls,
                cert=make_leaf(names='DNS:allowed.test,DNS:evil.test')) \
            as origin:
        to = ['--connect-to', '::localhost:%d' % origin.port]
        with Proxy(*ONLY, *to, *args) as proxy:
            yield origin, proxy


def tunnel(proxy, tls, name='allowed.test'):
    conn = proxy.tunnel('allowed.test:%d' % (443 if tls else 80))
    return conn.start_tls(client_context(proxy.ca), name) if tls else conn


GET = 'GET / HTTP/1.1'
POST = lines('POST / HTTP/1.1', GOOD, 'Transfer-Encoding: chunked')
HIDDEN = lines(GET, EVIL)
for what, status, request in (
        ('another Host', 421, lines(GET, EVIL)),
        ('two Hosts, the second another', 421, lines(GET, GOOD, EVIL)),
        ('two Hosts, the first another', 421, lines(GET, EVIL, GOOD)),
        ('a Host with another port', 421, lines(GET, GOOD + ':8080')),
        ('a blank before the colon', 421,
         lines(GET, GOOD, 'Host : evil.test')),
        ('a fold', 421, lines(GET, GOOD, ' evil.test')),
        ('a fold before all fields', 421, lines(GET, ' ' + EVIL, GOOD)),
        ('a line without a colon', 421, lines(GET, GOOD, 'Host evil.test')),
        ('a bare CR', 421, lines(GET, GOOD, 'X: y\r' + EVIL)),
        ('a NUL', 421, lines(GET, GOOD, 'X: y\0' + EVIL)),
        ('a list', 421, lines(GET, GOOD + ', evil.test')),
        ('a user', 421, lines(GET, 'Host: allowed.test@evil.test')),
        ('percent-encoding', 421, lines(GET, 'Host: allowed%2Etest')),
        ('an address for a name', 421, lines(GET, 'Host: 127.0.0.1')),
        ('an empty Host', 421, lines(GET, 'Host:')),
        ('an absolute target', 421,
         lines('GET http://evil.test/ HTTP/1.1', GOOD)),
        ('an absolute target of another port', 421,
         lines('GET http://allowed.test:8080/ HTTP/1.1', GOOD)),
        ('an absolute target of another scheme', 421,
         lines('GET x://evil.test/ HTTP/1.1', GOOD)),
        ('an absolute target with a port that is none', 421,
         lines('GET http://evil.test:99999/ HTTP/1.1', GOOD)),
        ('an absolute target with two users', 421,
         lines('GET http://a@b@evil.test/ HTTP/1.1', GOOD)),
        ('an absolute target for a user', 421,
         lines('GET http://allowed.test@evil.test/ HTTP/1.1', GOOD)),
        ('an absolute target with a user that looks like a host', 421,
         lines('GET http://evil.test:80@allowed.test/ HTTP/1.1', GOOD)),
        ('a backslash, which ends a host in browsers', 421,
         lines('GET http://evil.test\\@allowed.test/ HTTP/1.1', GOOD)),
        ('a fragment that looks like a host', 421,
         lines('GET http://allowed.test#@evil.test/ HTTP/1.1', GOOD)),
        ('a query that looks like a host', 421,
         lines('GET http://allowed.test?@evil.test/ HTTP/1.1', GOOD)),
        ('an authority for a target', 421,
         lines('GET evil.test:80 HTTP/1.1', GOOD)),
        ('a tunnel within, in lower case', 421,
         lines('connect evil.test:443 HTTP/1.1', EVIL)),
        ('blanks in the target', 421, lines('GET / x HTTP/1.1', EVIL)),
        ('a tab in the target', 421, lines('GET /\tx HTTP/1.1', EVIL)),
        ('a vertical tab in a field', 421,
         lines(GET, GOOD, 'X: y\v' + EVIL)),
        ('a form feed in a name', 421, lines(GET, GOOD, '\f' + EVIL)),
        ('a tab before the colon', 421, lines(GET, 'Host\t: evil.test')),
        ('a blank before any colon', 421,
         lines(GET, GOOD, 'X : y', 'X: evil.test')),
        ('an address in hexadecimal', 421, lines(GET, 'Host: 0x7f000001')),
        ('an IPv6 address', 421, lines(GET, 'Host: [::1]:80')),
        ('a zone of an address', 421, lines(GET, 'Host: [::1%25evil.test]')),
        ('a name that is too long', 421, lines(GET, 'Host: evil.test' +
                                               'x' * 300)),
        ('a tab in Host', 421, lines(GET, 'Host: allowed.test\tevil.test')),
        ('an empty port', 421, lines(GET, 'Host: evil.test:')),
        ('port 0', 421, lines(GET, 'Host: allowed.test:0', 'X: evil')),
        ('two root dots', 421, lines(GET, 'Host: allowed.test..', 'X: evil')),
        ('punycode', 421, lines(GET, 'Host: xn--llowed-xta.test', 'X: evil')),
        ('letters that look the same', 421,
         lines(GET, 'Host: \xe4llowed.test', 'X: evil')),
        ('empty lines before', 421, b'\r\n\r\n' + HIDDEN),
        ('a tunnel within', 421,
         lines('CONNECT evil.test:443 HTTP/1.1', EVIL)),
        ('length and chunked', 400, POST[:-2] + b'Content-Length: 3\r\n\r\n'
         b'0\r\n\r\n' + HIDDEN),
        ('two lengths', 400, lines('POST / HTTP/1.1', GOOD, 'Content-Length: 0',
                                   'Content-Length: 5') + HIDDEN),
        ('a coding in a line that LF alone ends', 421,
         lines('POST / HTTP/1.1', GOOD, 'X: y\nTransfer-Encoding: chunked')
         + b'0\r\n\r\n' + HIDDEN),
        ('an end of the head that LF alone is', 421,
         lines(GET, GOOD)[:-2] + b'\n' + HIDDEN),
        *((repr(field), 421, lines('POST / HTTP/1.1', GOOD, field)
           + b'0\r\n\r\n' + HIDDEN) for field in (
               'Transfer-Encoding: chunked,',
               'Transfer-Encoding: , chunked',
               'Transfer-Encoding: chunked, chunked',
               'Transfer-Encoding: gzip, chunked',
               'Transfer-Encoding: identity, chunked',
               'Transfer-Encoding: identity',
               'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked',
               'Transfer-Encoding: identity\r\nContent-Length: 5',
               'Content-Length: 5, 5',
               'Content-Length: 5\r\nContent-Length: 5')),
        ('a size line that LF ends', 400,
         POST + b'1;x\nx\r\n0\r\n\r\n' + HIDDEN),
        ('data that LF ends', 400, POST + b'1\r\nx\n0\r\n\r\n' + HIDDEN),
        ('a size that is none', 400, POST + b'0x0\r\n\r\n' + HIDDEN),
        ('a trailer', 400, POST + b'1\r\nx\r\n0\r\n' + EVIL.encode()
         + b'\r\n\r\n'),
        ('a request in the place of a trailer', 400,
         POST + b'0\r\n' + HIDDEN),
        ('an end that LF ends', 400, POST + b'0\r\n\n' + HIDDEN),
        ('chunks in HTTP/1.0', 400, lines(
            'POST / HTTP/1.0', GOOD, 'Transfer-Encoding: chunked',
            'Connection: keep-alive') + b'0\r\n\r\n' + HIDDEN),
        ('HTTP/0.9', 400, b'GET http://evil.test/\r\n'),
        ('HTTP/0.9, behind empty lines', 400,
         b'\r\n\nGET http://evil.test/\r\n'),
        ('HTTP/0.9, without an end', 400, b'GET http://evil.test/'),
        ('a blank behind the version', None, lines(GET + ' ', EVIL)),
        ('a version that is none', None, lines('GET / HTTP/1.7', EVIL)),
        ('lower case', None, lines('get / http/1.1', EVIL)),
        ('tabs', None, lines('GET\t/\tHTTP/1.1', EVIL)),
        ('a NUL before', None, b'\0' + HIDDEN),
        ('the preface of HTTP/2', None,
         b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'evil.test'),
        ):
    @test('in a tunnel: ' + what)
    def _(status=status, request=request):
        for tls in False, True:
            with fenced(tls=tls) as (origin, proxy):
                for step in 0, 1:
                    client = tunnel(proxy, tls)
                    with contextlib.suppress(OSError):
                        client.send(request, step)
                        client.shutdown_write()
                    if status:
                        message = client.read_message()
                        equal(message.status, status, 'the answer')
                        like(message.body, b'--only-hosts', 'why')
                    client.read_all()
                check(b'evil' not in origin.rx.lower(), 'what the server got',
                      origin.rx)
                proxy.wait_log('refused|--only-hosts')


@test('a second request on the connection')
def _():
    for tls in False, True:
        with fenced(tls=tls) as (origin, proxy):
            client = tunnel(proxy, tls)
            client.send(lines(GET, GOOD) + HIDDEN)
            equal(client.read_message().status, 200, 'the first')
            equal(client.read_message().status, 421, 'the second')
            check(b'evil' not in origin.rx, 'what the server got')


@test('without a tunnel')
def _():
    with fenced() as (origin, proxy):
        for status, request in (
                (421, lines('GET http://allowed.test/ HTTP/1.1', EVIL)),
                (403, lines('GET http://evil.test/ HTTP/1.1', GOOD)),
                (403, lines('GET http://allowed.test:81/ HTTP/1.1', GOOD)),
                (403, lines(GET, EVIL)), (403, lines(GET, GOOD, EVIL)),
                (421, lines(GET, EVIL, GOOD)), (400, lines('GET / HTTP/1.0')),
                (400, lines('GET x://evil.test/ HTTP/1.1', GOOD)),
                (403, lines('GET http://evil.test/ HTTP/1.1',
                            'Host: mitm.it')),
                (200, lines('GET http://mitm.it/ HTTP/1.1', EVIL)),
                (200, lines('GET http://ALLOWED.test./ HTTP/1.1', GOOD)),
                (200, lines('GET http://allowed.test:80/ HTTP/1.1', GOOD)),
                (200, lines('GET http://allowed.test/ HTTP/1.0'))):
            client = proxy.connect()
            client.send(request)
            equal(client.read_message().status, status, show(request))
        check(b'evil' not in origin.rx, 'what the server got')


@test('what agrees: no Host, a port, case, a root dot, no SNI')
def _():
    for tls in False, True:
        with fenced(tls=tls) as (origin, proxy):
            client = tunnel(proxy, tls)
            for request in (
                    lines(GET, GOOD), lines(GET, GOOD + '.'),
                    lines(GET, GOOD + (':443' if tls else ':80')),
                    lines(GET, 'hOST: ALLOWED.TEST'), lines(GET),
                    POST + b'1\r\nx\r\n0\r\n\r\n',
                    lines('GET http%s://allowed.test/ HTTP/1.1'
                          % ('s' if tls else ''), GOOD)):
                client.send(request)
                equal(client.read_message().status, 200, show(request))
    with fenced(tls=True) as (origin, proxy):
        client = proxy.tunnel('allowed.test:443')
        context = client_context(proxy.ca)
        context.check_hostname = False
        client.start_tls(context, '127.0.0.1')  # which sends none
        client.send(lines(GET, GOOD))
        equal(client.read_message().status, 200, 'without SNI')


@test('an absolute target says http or https, as the connection is')
def _():
    for tls in False, True:
        with fenced(tls=tls) as (origin, proxy):
            for scheme in 'http', 'ws', 'https', 'wss':
                same = tls == (scheme in ('https', 'wss'))
                client = tunnel(proxy, tls)
                client.send(lines('GET %s://allowed.test:%d/ HTTP/1.1'
                                  % (scheme, 443 if tls else 80), GOOD))
                equal(client.read_message().status, 200 if same else 421,
                      scheme)


@test('SNI and Host agree where the way is to an address, too')
def _():
    cert = make_leaf(names='DNS:allowed.test,DNS:evil.test')
    with Origin(answer(reply()), tls=True, cert=cert) as origin, \
            Proxy('--only-hosts', r'^(127\.0\.0\.1|(allowed|evil)\.test):') \
            as proxy:
        for status, host in ((200, 'allowed.test'), (421, 'evil.test'),
                             (421, '127.0.0.1')):
            client = proxy.tls('127.0.0.1:%d' % origin.port, 'allowed.test')
            client.send(get('/', host='%s:%d' % (host, origin.port)))
            equal(client.read_message().status, status, host)
        check(b'evil' not in origin.rx, 'what the server got', origin.rx)


@test('another SNI, or one that is an address')
def _():
    for name in 'evil.test', '127.0.0.1':
        with fenced(tls=True) as (origin, proxy):
            done = subprocess.run(
                [need('openssl'), 's_client', '-quiet', '-ign_eof', '-proxy',
                 '127.0.0.1:%d' % proxy.port, '-connect', 'allowed.test:443',
                 '-servername', name], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, input=lines(
                    GET, 'Host: ' + name, 'Connection: close'),
                timeout=DEADLINE)
            check(b' 200 ' not in done.stdout, 'the answer', done.stdout)
            equal(origin.rx, b'', 'what the server got')


@test('SNI is compared also where TLS passes unopened')
def _():
    for option in ('--ignore-hosts', 'allowed'), :
        with fenced(None, *option, tls=True) as (origin, proxy):
            names = []
            origin.context.sni_callback = lambda _, name, __: \
                names.append(name)
            client = proxy.tunnel('allowed.test:443')
            client.start_tls(client_context(make_ca()), 'allowed.test')
            client.send(lines(GET, GOOD))
            equal(client.read_message().status, 200, 'the right one')
            client = proxy.tunnel('allowed.test:443')
            client.start_tls(client_context(proxy.ca), 'evil.test')
            client.send(lines(GET, EVIL))
            equal(client.read_message().status, 421, 'another')
            equal(names, ['allowed.test'], 'names that the server saw')


def two_names(hello, kind, first=b'allowed.test'):
    """A ClientHello, its name with another before it, of that kind."""
    name = b'\0\0\x09evil.test'
    more = bytes([kind]) + struct.pack('>H', len(first)) + first
    at = hello.index(name)
    hello = bytearray(hello[:at] + more + hello[at:])
    for i, width in (at - 2, 2), (at - 4, 2), (3, 2), (7, 2):
        n = int.from_bytes(hello[i:i + width], 'big') + len(more)
        hello[i:i + width] = n.to_bytes(width, 'big')
    at = 5 + 4 + 2 + 32                 # the length of all extensions
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at:at + 2], 'big')
    at += 1 + hello[at]
    n = int.from_bytes(hello[at:at + 2], 'big') + len(more)
    hello[at:at + 2] = n.to_bytes(2, 'big')
    return bytes(hello)


@test('two names in one ClientHello')
def _():
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client_context(make_ca()).wrap_bio(
            into, out, server_hostname='evil.test').do_handshake()
    hello = out.read()
    for option in (), ('--ignore-hosts', 'allowed'):
        for kind in 0, 1:
            with fenced(lambda conn: conn.read_all(), *option) as (origin,
                                                                   proxy):
                client = tunnel(proxy, False)
                client.send(two_names(hello, kind))
                equal(client.read_all(), b'', 'the answer')
                check(b'evil' not in origin.rx, 'what the server got')
                proxy.wait_log('a server name that cannot be one')


@test('HTTP/2 is not offered by Upgrade, nor may it be switched to')
def _():
    def behave(conn):
        conn.read_head()
        conn.send(lines('HTTP/1.1 101 Switching Protocols', 'Upgrade: h2' +
                        'c' * (not origin.tls), 'Connection: Upgrade'))
        conn.read_all()
    for offer in 'h2c', 'websocket, h2c', 'H2C', 'h2', 'websocket, h2':
        with fenced(behave, tls='c' not in offer.lower()) as (origin, proxy):
            client = tunnel(proxy, origin.tls)
            client.send(lines(GET, GOOD, 'Connection: Upgrade, HTTP2-Settings',
                              'Upgrade: ' + offer, 'HTTP2-Settings: AAMA'))
            equal(client.read_message().status, 502, 'the answer')
            with contextlib.suppress(OSError):
                client.send(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nevil.test')
            client.read_all()
            check(b'h2' not in origin.rx.lower(), 'what was offered')
            check(b'PRI' not in origin.rx, 'what the server got')


def agrees_to_tls(ask, answer):
    """A server that agrees to TLS in some protocol's way."""
    def behave(conn):
        conn.read_until(ask)
        conn.send(answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(make_leaf(names='DNS:evil.test'))
        with contextlib.suppress(OSError, Failed):
            conn.start_tls(context)
            conn.read_all()
    return behave


class Early(Conn):
    """A client that begins TLS before it has read what the server says."""

    def flush(self):
        super().flush()
        left, self.agreed = len(self.agreed), b''
        while left > 0:
            left -= len(self.sock.recv(left)) or left


UPGRADE = lines(GET, GOOD, 'Connection: Upgrade', 'Upgrade: TLS/1.2')
SWITCHED = lines('HTTP/1.1 101 Switching Protocols', 'Upgrade: TLS/1.2',
                 'Connection: Upgrade')
for what, ask, agreed, early in (
        ('behind an upgrade (RFC 2817)', UPGRADE, SWITCHED, False),
        ('behind STARTTLS', b'STARTTLS\r\n', b'220 go\r\n', False),
        ('before the answer to STARTTLS', b'STARTTLS\r\n', b'220 go\r\n',
         True)):
    @test('TLS with another name begins ' + what)
    def _(ask=ask, agreed=agreed, early=early):
        with fenced(agrees_to_tls(ask, agreed)) as (origin, proxy):
            client = tunnel(proxy, False)
            client.send(ask)
            if not early:
                equal(client.read_exact(len(agreed)), agreed, 'it agrees')
            client.__class__, client.agreed = Early, agreed if early else b''
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with contextlib.suppress(OSError, Failed):
                client.start_tls(context, 'evil.test')
                client.send(HIDDEN)
                client.read_all()
            origin.wait_ends()
            check(EVIL.encode() not in origin.rx, 'what the server got')


@test('a server that speaks first makes no stream of HTTP')
def _():
    def behave(conn):
        conn.send(lines('HTTP/1.1 408 Request Timeout', 'Content-Length: 0'))
        conn.read_all()
    with fenced(behave) as (origin, proxy):
        client = tunnel(proxy, False)
        client.read_all()
        check(b'evil' not in origin.rx, 'what the server got')


@test('a server that answers HTTP to what was none')
def _():
    def behave(conn):
        conn.read_exact(5)
        conn.send(lines('HTTP/1.1 400 Bad Request', 'Content-Length: 0'))
        conn.read_all()
    with fenced(behave) as (origin, proxy):
        client = tunnel(proxy, False)
        client.send(b'\1\2\3\4\5')
        equal(client.read_all(), b'', 'the answer')


@test('streams that are no HTTP pass, whoever speaks first')
def _():
    def echo(conn):
        conn.send(b'220 ready\r\n')
        while conn.more():
            conn.send(conn.take(len(conn.buf)))
    with fenced(echo) as (origin, proxy):
        client = tunnel(proxy, False)
        equal(client.read_exact(11), b'220 ready\r\n', 'the greeting')
        client.send(b'DATA GET / HTTP/1.1\r\n')
        equal(client.read_exact(21), b'DATA GET / HTTP/1.1\r\n', 'the echo')


@test('a stream in which the server first says a byte or two')
def _():
    for first in b'N', b'OK', b'HTTP':
        def behave(conn):
            conn.read_exact(8)
            conn.send(first)
            conn.read_exact(2)
            conn.send(b'way')
        with fenced(behave) as (origin, proxy):
            client = tunnel(proxy, False)
            client.send(b'\0\0\0\x08\x04\xd2\x16\x2f')   # PostgreSQL's
            if first == b'HTTP':        # perhaps it is
                check(client.silent(0.2), 'what may be HTTP waits')
                continue
            equal(client.read_exact(len(first)), first, 'what it says')
            client.send(b'go')
            equal(client.read_exact(3), b'way', 'and then')


@test('101 from a server that was not asked for it, and from one that was')
def _():
    def behave(conn):
        conn.read_head()
        conn.send(lines('HTTP/1.1 101 Switching Protocols',
                        'Upgrade: websocket', 'Connection: Upgrade'))
        conn.read_all()
    for asked in False, True:
        with fenced(behave) as (origin, proxy):
            client = tunnel(proxy, False)
            client.send(lines(GET, GOOD, *(['Connection: Upgrade',
                                            'Upgrade: websocket'] * asked)))
            head = client.read_message()
            equal(head.status, 101 if asked else 502, 'the answer')
            if not asked:
                with contextlib.suppress(OSError):
                    client.send(HIDDEN)
                client.read_all()
                check(b'evil' not in origin.rx, 'what the server got')


@test('a name that leads to the proxy itself, or its port, is no way around')
def _():
    port = free_port()
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '-p', str(port), '--only-hosts', r'^(allowed\.test|127\.0\.0\.1):',
            '--connect-to', 'evil.test::localhost:%d' % origin.port,
            '--connect-to', 'allowed.test::127.0.0.1:%d' % port) as proxy:
        for name in 'allowed.test', '127.0.0.1':
            to = '%s:%d' % (name, port)
            for ask in (lines('CONNECT evil.test:80 HTTP/1.1', EVIL),
                        lines('GET http://evil.test/ HTTP/1.1', EVIL),
                        b'\5\1\0\5\1\0\3\x09evil.test\0\x50',
                        b'\4\1\0\x50\0\0\0\1\0evil.test\0'):
                client = proxy.tunnel(to)
                with contextlib.suppress(OSError):
                    client.send(ask)
                    client.shutdown_write()
                client.read_all()
        proxy.wait_log('(?s)(that is this proxy itself.*){4}')
        equal(origin.conns, [], 'connections to the other')


@test('an empty expression, which would match all, is no fence')
def _():
    status, _, said = mitmproxy('-p', '0', '--only-hosts', '')
    equal(status, 2, 'the status')
    like(said, '--only-hosts needs its REGEX', 'why')


run()
