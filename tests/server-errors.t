#!/usr/bin/env python3
"""A server that cannot be reached or trusted: the client gets its TLS
handshake, and in it a page that tells why and what to do."""
from mitm import *


def page(proxy, origin, name='localhost'):
    client = proxy.tls(origin, name)
    client.send(get('/'))
    m = client.read_message()
    equal(m.start, b'HTTP/1.1 502 Bad Gateway', 'status')
    equal(m['connection'], b'close', 'Connection')
    check(m['content-length'], 'no Content-Length', m.raw)
    like(m['content-type'], rb'^text/(html|plain)', 'Content-Type')
    equal(client.read_all(), b'', 'after the page')
    equal(client.end, 'eof', 'the end')
    return m.body.decode()


@test('connection refused')
def _():
    with closed_port() as port, Proxy() as proxy:
        text = page(proxy, 'localhost:%d' % port)
        like(text, '(?i)refused', 'reason')
        like(text, 'localhost:%d' % port, 'who')
        proxy.wait_log('(?i)refused')


@test('connection refused, asked for without TLS')
def _():
    with closed_port() as port, Proxy() as proxy:
        client = proxy.connect()
        client.send(get('http://127.0.0.1:%d/' % port))
        m = client.read_message()
        equal(m.status, 502, 'status')
        like(m.body, rb'(?i)refused', 'reason')


@test('connection refused, and the client begins TLS when it is known')
def _():
    for tls in True, False:
        with closed_port() as port, Proxy('-v') as proxy:
            client = proxy.tunnel('localhost:%d' % port)
            proxy.wait_log('perhaps the server speaks first')
            check(client.silent(0.3), 'the tunnel ends')
            if tls:
                client.start_tls(client_context(proxy.ca), 'localhost')
            client.send(get('/'))
            got = client.read_message()
            equal(got.status, 502, 'status')
            like(got.body, rb'refused', 'the page')


@test('connection refused, and the client leaves without a word')
def _():
    with closed_port() as port, Proxy('-v') as proxy:
        client = proxy.tunnel('localhost:%d' % port)
        proxy.wait_log('perhaps the server speaks first')
        client.finish()
        proxy.wait_log('a tunnel ends: .*refused')


@test('two addresses: the page tells of both, each with its error')
def _():
    with closed_port() as port, Proxy() as proxy:
        client = proxy.connect()
        client.send(get('http://localhost:%d/' % port))
        like(client.read_message().body, rb'cannot connect to localhost:%d '
             rb'\(127\.0\.0\.1:%d\): Connection refused, \(\[::1\]:%d\): \w'
             % (port, port, port), 'the page')


@test('name not found')
def _():
    with Proxy() as proxy:
        text = page(proxy, 'no-such-host.invalid:443', 'no-such-host.invalid')
        like(text, r'no-such-host\.invalid', 'the name')
        like(text, r'(?i)not known|not found|resol|look|name', 'reason')


@test('not TLS')
def _():
    def plain(conn):
        conn.more()
        conn.send(reply(b'speak HTTP!', status='400 Bad Request'))
    with Origin(plain) as origin, Proxy() as proxy:
        like(page(proxy, origin), r'TLS', 'reason')


@test('speaks before TLS, and not TLS')
def _():
    def ssh(conn):
        conn.send(b'SSH-2.0-OpenSSH_9.2\r\n')
        conn.read_all()
    with Origin(ssh) as origin, Proxy() as proxy:
        like(page(proxy, origin), r'TLS', 'reason')


@test('expired')
def _():
    with Origin(tls=True, cert=make_leaf(days=-1)) as origin, \
            Proxy() as proxy:
        text = page(proxy, origin)
        like(text, '(?i)expired', 'reason')
        like(text, r'(?<!\w)-k\b|--insecure', 'what helps')
        unlike(text, '--cacert|no CA', 'what does not help')


@test('the wrong name')
def _():
    cert = make_leaf('/CN=other.test', names='DNS:other.test')
    with Origin(tls=True, cert=cert) as origin, Proxy() as proxy:
        text = page(proxy, origin)
        like(text, '(?i)name', 'reason')
        like(text, 'localhost', 'which')
        like(text, r'(?<!\w)-k\b|--insecure', 'what helps')
        unlike(text, '--cacert|no CA', 'what does not help')


@test('an unknown CA')
def _():
    cert = make_leaf(ca=make_ca('Nobody knows me'))
    with Origin(tls=True, cert=cert) as origin, Proxy() as proxy:
        text = page(proxy, origin)
        like(text, '(?i)trust|unknown|issuer|CA', 'reason')
        like(text, r'--cacert', 'what helps')
        like(text, r'(?<!\w)-k\b|--insecure', 'what helps')


@test('an unknown CA, the wrong name, and expired: all are told')
def _():
    cert = make_leaf('/CN=other.test', -1, 'DNS:other.test',
                     make_ca('Nobody knows me'))
    with Origin(tls=True, cert=cert) as origin, Proxy() as proxy:
        like(page(proxy, origin), r'trusted: no CA .*--cacert.*; .*expired; '
             r'it is not for this name \(', 'the reasons')


@test("without --cacert the system's CAs decide")
def _():
    with Origin(tls=True) as origin, Proxy(trust=False) as proxy:
        like(page(proxy, origin), r'--cacert', 'what helps')


@test('-k accepts all of these')
def _():
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy('-k', trust=False))
        for cert in (make_leaf(days=-1),
                     make_leaf('/CN=other.test', names='DNS:other.test'),
                     make_leaf(ca=make_ca('Nobody knows me'))):
            origin = stack.enter_context(
                Origin(answer(reply(b'page')), tls=True, cert=cert))
            equal(proxy.fetch(origin).body, b'page', 'the page')


@test('a server that is too old for TLS 1.2')
def _():
    def old(conn):
        conn.more()
        conn.send(b'\x15\3\1\0\2\2\x46')      # protocol_version
        conn.read_all()
    with Origin(old) as origin, Proxy() as proxy:
        like(page(proxy, origin), r'neither TLS 1\.2 nor TLS 1\.3 '
             r'\(--ignore-hosts', 'reason')


@test('reset in the handshake')
def _():
    def reset(conn):
        conn.more()
        conn.reset()
    with Origin(reset) as origin, Proxy() as proxy:
        like(page(proxy, origin), '(?i)reset|clos', 'reason')


@test('closed in the handshake')
def _():
    with Origin(lambda conn: conn.more()) as origin, Proxy() as proxy:
        like(page(proxy, origin), '(?i)clos|end', 'reason')


@test('close_notify in the handshake')
def _():
    def leave(conn):
        conn.more()
        conn.send(b'\x15\3\3\0\2\1\0')
        conn.read_all()
    with Origin(leave) as origin, Proxy() as proxy:
        like(page(proxy, origin), 'closed the connection during', 'reason')


@test('TLS that breaks before anything was asked')
def _():
    def garble(conn):
        conn.sock.sendall(b'\x17\3\3\0\x30' + bytes(48))
        conn.read_all()
    with Origin(garble, tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        wait_for(lambda: origin.conns[0].end or origin.errors, 'its end')
        client.send(get('/'))
        m = client.read_message()
        equal(m.status, 502, 'the status')
        like(m.body, rb'TLS with localhost:\d+ broke off(: | without an answer: )',
             'reason')


@test('a server that closes instead of answering')
def _():
    with Origin(lambda conn: conn.read_head(), tls=True) as origin, \
            Proxy() as proxy:
        client = proxy.tls(origin)
        client.send(get('/'))
        text = client.read_all()
        check(not text or text.startswith(b'HTTP/1.1 502 '),
              'a page or the end', text)


@test('a server that chooses a protocol which ALPN has not offered')
def _():
    chosen = b'\0\x10\0\x0b\0\x09\x08http/1.1'       # as Apache does
    hello = b'\3\3' + b'r' * 32 + b'\0\xc0\x2f\0\0\x0f' + chosen
    hello = b'\2\0\0' + bytes([len(hello)]) + hello

    def behave(conn):
        conn.more()
        conn.send(b'\x16\3\3\0' + bytes([len(hello)]) + hello)
        conn.read_all()
    with Origin(behave) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        context = client_context(proxy.ca)
        context.set_alpn_protocols(['h2'])
        client.start_tls(context, 'localhost')
        client.send(get('/'))
        proxy.wait_log('it speaks none of the protocols that were offered by '
                       'ALPN')


for what, text, why in (
        ('ends within its answer', b'6\r\ncloud\n\r\n',
         'the server ended within an answer'),
        ('chunks its answer wrongly', b'6\r\ncloud\n\r\nxyz\r\n',
         'the chunked coding of the message is malformed'),
        ('sends less than its length', b'cloud\n',
         'the server ended within an answer')):
    @test('a server that %s, of which a filter has said nothing yet: 502, and '
          'no bare end' % what)
    def _(text=text, why=why):
        field = (b'Transfer-Encoding: chunked' if text[:1] == b'6' else
                 b'Content-Length: 9')

        def behave(conn):
            conn.read_head()
            conn.send(b'HTTP/1.1 200 OK\r\n%s\r\n\r\n%s' % (field, text))
            if b'xyz' in text:
                conn.read_all()
        with Origin(behave, tls=True) as origin, \
                Proxy('--response', 'cat | sort') as proxy:
            message = proxy.fetch(origin)
            equal(message.status, 502, 'the status')
            like(message.body, why.encode(), 'why')
            proxy.wait_log('c1 #1 answered by an error page: ' + why)


@test('a server that closes an idle connection as the next request comes')
def _():
    def behave(conn):
        conn.read_head()
        conn.send(reply(b'one'))
        conn.read_head()
    for tls, *fields in (False,), (True,), (False, 'Connection: close'):
        with Origin(behave, tls=tls) as origin, Proxy('-v') as proxy:
            client = proxy.tls(origin) if tls else proxy.tunnel(origin)
            client.send(get('/', *fields))
            equal(client.read_message().body, b'one', 'the first answer')
            client.send(get('/'))
            equal(client.read_all(), b'', 'no page: the client tries again')
            proxy.wait_log('c1 #2 %s closed a connection that had been idle'
                           % re.escape(origin.auth))


@test('what a page shows is escaped')
def _():
    with Proxy() as proxy:
        client = proxy.connect()
        client.send(get('http://<script>.invalid/'))
        unlike(client.read_all(), rb'(?i)text/html(?s:.*)<script>', 'page')


# Primes, so that they have no divisor in common with a key's p - 1.
QUICK, SLOW = 2 ** 64 - 59, 2 ** 80 - 65

for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    for exponent in QUICK, SLOW:
        @test('%s, an RSA key with an exponent of %d bits'
              % (version.name, exponent.bit_length()))
        def _(version=version, exponent=exponent):
            leaf = make_leaf(key=rsa(exponent))
            with Origin(answer(reply(b'page')), tls=True, cert=leaf,
                        version=version) as origin, \
                    Proxy() as proxy, Proxy('-k') as trusting:
                if exponent == QUICK:
                    equal(proxy.fetch(origin).body, b'page', 'the page')
                else:
                    why = 'exponent of more than 64 bits'
                    like(page(proxy, origin), why, 'why not')
                    like(page(trusting, origin), why, 'why not')
            equal(len(origin.conns), 1 if exponent == QUICK else 2,
                  'connections to the server')


@test('a CA whose RSA key has an exponent of 80 bits')
def _():
    ca = make_ca('Slow CA', rsa(SLOW))
    chain = scratch('chain.pem', slurp(make_leaf(ca=ca)) + slurp(ca))
    with Origin(answer(reply(b'page')), tls=True, cert=chain) as origin, \
            Proxy() as proxy:
        like(page(proxy, origin), 'exponent of more than 64 bits', 'why not')


def signed(kind, by=None, by_key=None):
    """A certificate for a key of this kind, in one file with that."""
    by = by or make_ca()
    path = scratch('other.pem')
    openssl('req', '-new', '-newkey', kind, '-nodes', '-subj', '/CN=localhost',
            '-keyout', path + '.key', '-out', path + '.csr')
    openssl('x509', '-req', '-in', path + '.csr', '-CA', by, '-CAkey',
            by_key or by[:-4] + '.key', '-extfile',
            scratch('ext', 'subjectAltName=DNS:localhost\n'), '-set_serial',
            str(time.time_ns()), '-out', path)
    with open(path, 'ab') as f:
        f.write(slurp(path + '.key'))
    return path


def troubled(why, cert, *words):
    """openssl s_server with these words: the page says why."""
    port = free_port()
    with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                 '-cert', cert, '-key', cert, *words, ready='ACCEPT'), \
            Proxy() as proxy:
        conn = proxy.tls('localhost:%d' % port, alpn=['h2', 'http/1.1'])
        conn.send(get('/'))
        like(conn.read_message().body.decode(), why, 'why')
        proxy.wait_log(why)


NOTHING = r'no key, curve or cipher suite in common.*Ed25519.*--ignore-hosts'
for flag in '-tls1_2', '-tls1_3':
    for kind in 'ed25519', 'ed448', 'rsa-pss':
        @test('%s, a server whose key is %s' % (flag, kind))
        def _(flag=flag, kind=kind):
            troubled(NOTHING, signed(kind), flag)

    @test(flag + ', a certificate signed by Ed25519')
    def _(flag=flag):
        ca = make_ca('Ed25519 CA', ('-newkey', 'ed25519', '-nodes'))
        troubled(r'signed in a way.*Ed25519.*--ignore-hosts', make_leaf(ca=ca),
                 flag)

    @test(flag + ', a server that knows X448 alone')
    def _(flag=flag):
        troubled(NOTHING, make_leaf(), flag, '-groups', 'X448')

    @test(flag + ', a server that knows h2 alone')
    def _(flag=flag):
        troubled('none of the protocols that were offered.*--ignore-hosts',
                 make_leaf(), flag, '-alpn', 'h2')

    @test(flag + ', a server that does not know the name')
    def _(flag=flag):
        cert = make_leaf()
        troubled('does not know this name', cert, flag, '-servername', 'x.test',
                 '-servername_fatal', '-cert2', cert, '-key2', cert)

    @test(flag + ', a server that wants a certificate')
    def _(flag=flag):
        troubled("may want a client's certificate: --cert FILE", make_leaf(),
                 flag, '-Verify', '1', '-verify_return_error')

    @test(flag + ', a certificate of more than 16 KiB')
    def _(flag=flag):
        names = ','.join('DNS:n%d.of.many.test' % i for i in range(900))
        troubled(r'more than 16 KiB.*--ignore-hosts',
                 make_leaf(names='DNS:localhost,' + names), flag)


@test('servers that know finite-field DHE alone')
def _():
    troubled(NOTHING, make_leaf(), '-tls1_3', '-groups', 'ffdhe2048')
    troubled(NOTHING, make_leaf(key=rsa(65537)), '-tls1_2', '-cipher',
             'DHE-RSA-AES128-GCM-SHA256')


@test('a certificate that Mbed TLS cannot read: the way round is told')
def _():
    # an IP address of three bytes, which OpenSSL passes over
    troubled(r'failed: .*\(--ignore-hosts REGEX passes it untouched\)',
             make_leaf(names='DER:301082096C6F63616C686F73748703010203'),
             '-tls1_3')


@test('a server that sends alerts behind our own cut is not said to want more')
def _():
    def behave(conn):
        conn.read_head()
        conn.read_all()
        conn.send(b'no')
    with Origin(behave, tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        client.send(get('/', 'Content-Length: 100', method='POST') + b'half')
        wait_for(lambda: b'half' in origin.rx, 'half of it')
        client.cut()
        client.read_all()
        unlike(proxy.log(), '--cert', 'what is said')


@test('a certificate that was verified does not vouch for another')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy() as proxy:
        for _ in range(2):
            equal(proxy.fetch(origin).status, 200, 'the status')
        origin.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        origin.context.load_cert_chain(make_leaf(ca=make_ca('Another CA')))
        equal(proxy.fetch(origin).status, 502, 'the status of another')


run()
