#!/usr/bin/env python3
"""Server names in TLS: those that are unusual get a certificate that fits,
those that cannot be names are refused, and nothing is forged for them."""
import ipaddress
from mitm import *

PLAIN = b'sni.test'


def fits(proxy, der, name):
    """Check that openssl takes the certificate for this name, strictly."""
    pem = scratch('leaf.pem', ssl.DER_cert_to_PEM_cert(der))
    try:
        flag = '-verify_ip', str(ipaddress.ip_address(name))
    except ValueError:
        flag = '-verify_hostname', name
    openssl('verify', '-x509_strict', '-purpose', 'sslserver',
            '-CAfile', proxy.ca, *flag, pem)


def leaf(proxy, origin, *words):
    """The certificate that openssl s_client is shown, as DER."""
    text = command('openssl', 's_client', '-proxy',
                   '127.0.0.1:%d' % proxy.port, '-connect', origin.auth,
                   '-showcerts', *words).decode()
    return ssl.PEM_cert_to_DER_cert(re.search(
        '(?s)-----BEGIN CERTIFICATE.*?END CERTIFICATE-----\n', text)[0])


def named(origin):
    """The SNI of each connection that the origin had; None: it had none."""
    names = []
    origin.context.sni_callback = lambda _, name, __: names.append(name)
    return names


# ------------------------------------------------------- unusual names

LONG = '.'.join(['a'] * 63 + ['localhost'])             # 64 labels
LABEL = '.'.join(['b' * 63, 'c' * 63, 'd' * 63, 'localhost'])
for what, name, cert in (
        ('a wildcard', 'one.shop.localhost', '*.shop.localhost'),
        ('punycode', 'xn--bcher-kva.localhost', 'xn--bcher-kva.localhost'),
        ('a wildcard beside punycode', 'xn--bcher-kva.shop.localhost',
         '*.shop.localhost'),
        ('64 labels', LONG, LONG),
        ('long labels, too long for a common name', LABEL, LABEL),
        ('an underscore', 'my_host.localhost', 'my_host.localhost'),
        ('capitals', 'LocalHost', 'localhost'),
        ('the dot of the root in the certificate', 'localhost', 'localhost.'),
        ('a name that begins with a digit', '1.2.3.localhost',
         '1.2.3.localhost')):
    @test(what)
    def _(name=name, cert=cert):
        cert = make_leaf('/O=Origin', names='DNS:' + cert)
        with Origin(answer(reply(b'page')), tls=True, cert=cert,
                    name=name) as origin, Proxy() as proxy:
            names = named(origin)
            client = proxy.tls(origin)      # which checks the name
            client.send(get('/'))
            equal(client.read_message().body, b'page', 'the page')
            fits(proxy, client.tls.getpeercert(True), name)
            equal(names, [name], 'what the server was asked for')


@test('a browser-like name, which curl turns into punycode')
def _():
    cert = make_leaf(names='DNS:xn--bcher-kva.localhost')
    with Origin(answer(reply(b'page')), tls=True, cert=cert,
                name='b\xfccher.localhost') as origin, Proxy() as proxy:
        if b'IDN' not in command(need('curl'), '--version'):
            raise Skip('curl knows no IDN')
        os.environ['LC_ALL'] = 'C.UTF-8'
        equal(proxy.curl(origin.url()), b'page', 'the page')


@test('a wildcard is for one label: two get the page that says so')
def _():
    cert = make_leaf('/O=Origin', names='DNS:*.shop.localhost')
    with Origin(answer(reply(b'page')), tls=True, cert=cert,
                name='a.b.shop.localhost') as origin, Proxy() as proxy:
        response = proxy.fetch(origin)
        equal(response.status, 502, 'the status')
        like(response.body, rb'not for this name', 'why')


for name in '127.0.0.1', '::1':
    @test('an address as a server name: ' + name)
    def _(name=name):
        with Origin(answer(reply(b'page')), tls=True) as origin, \
                Proxy() as proxy:
            names = named(origin)
            fits(proxy, leaf(proxy, origin, '-servername', name), name)
            # RFC 6066, 3: literal addresses are not permitted in it
            equal(names, [None], 'what the server was asked for')


@test('no server name: the certificate is for where CONNECT went')
def _():
    for name in 'localhost', '127.0.0.1':
        with Origin(tls=True, name=name) as origin, Proxy() as proxy:
            names = named(origin)
            fits(proxy, leaf(proxy, origin, '-noservername'), name)
            equal(names, [name if name == 'localhost' else None],
                  'what the server was asked for')


@test('the server name counts, not where CONNECT went')
def _():
    cert = make_leaf('/O=Origin', names='DNS:origin.test')
    with Origin(answer(reply(b'page')), tls=True, cert=cert,
                name='127.0.0.1') as origin, Proxy() as proxy:
        names = named(origin)
        client = proxy.tls(origin, 'origin.test')
        client.send(get('/'))
        equal(client.read_message().body, b'page', 'the page')
        fits(proxy, client.tls.getpeercert(True), 'origin.test')
        equal(names, ['origin.test'], 'what the server was asked for')


@test('the dot of the root: one name with it and without')
def _():
    with Origin(answer(reply(b'page')), tls=True, name='localhost.') as origin, \
            Proxy() as proxy:
        names = named(origin)
        for words in ['-servername', 'localhost.'], ['-noservername'], \
                ['-servername', 'localhost']:
            fits(proxy, leaf(proxy, origin, *words), 'localhost')
        equal(names, 3 * ['localhost'], 'what the server was asked for')
        equal(proxy.curl(origin.url()), b'page', 'the page')


@test('the dot of the root, in node')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin, Proxy() as proxy:
        with Proxy('-m', 'reverse:https://localhost.:%d' % origin.port,
                   ca=proxy.ca) as reverse:
            got = command(need('node'), '-e', 'require("https").get({host:'
                          '"localhost", servername: "localhost.", port: %d},'
                          'r => r.pipe(process.stdout))' % reverse.port,
                          env={'NODE_EXTRA_CA_CERTS': proxy.ca})
        equal(got, b'page', 'the page')


# ---------------------------------------------------------- no names

def hello(name):
    """A ClientHello with these bytes for a server name."""
    incoming, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(incoming, out, server_hostname=PLAIN.decode())
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    data = bytearray(out.read())
    at, more = data.index(PLAIN), len(name) - len(PLAIN)
    # the lengths of name, list and extension, and of all extensions, which
    # follow on version, random, session id, suites and compression
    i = 9 + 2 + 32
    i += 1 + data[i]
    i += 2 + int.from_bytes(data[i:i + 2], 'big')
    i += 1 + data[i]
    for place in at - 2, at - 5, at - 7, i, 7, 3:
        size = int.from_bytes(data[place:place + 2], 'big') + more
        data[place:place + 2] = size.to_bytes(2, 'big')
    data[at:at + len(PLAIN)] = name
    return bytes(data)


@test('the ClientHello made here is a good one')
def _():
    with Origin(tls=True, name='127.0.0.1') as origin, Proxy('-k') as proxy:
        for name in b'sni.test', b'x', b'another.sni.test':
            names = named(origin)
            client = proxy.tunnel(origin)
            client.send(hello(name))
            equal(client.read_exact(3)[0], 22, 'the answer')
            equal(names, [name.decode()], 'what the server was asked for')
            client.close()


for what, name in (
        ('an empty one', b''), ('300 letters', b'a' * 300),
        ('256 letters', b'a' * 256), ('14,000 letters', b'a' * 14000),
        ('a control byte', b'sni\1.test'), ('a newline', b'sni\n.test'),
        ('NUL', b'localhost\0.evil.test'), ('a space', b'sni .test'),
        ('a slash', b'sni/.test'), ('a quote', b'sni".test'),
        ('a comma, as in a subject', b'a,O=Bank'),
        ('a wildcard', b'*.test'), ('bytes over 127', b'b\xc3\xbccher.test'),
        ('a shell', b'$(reboot).test'), ('DEL', b'sni\x7f.test')):
    @test('refused: ' + what)
    def _(name=name):
        with Origin(answer(reply(b'page')), tls=True) as origin, \
                Proxy('-k') as proxy:
            client = proxy.tunnel(origin)
            client.send(hello(name))
            unlike(client.read_all(), rb'^\x16', 'a handshake begins')
            line = proxy.wait_log('(?m)^.*server name that cannot be one.*$')
            like(line[0], r'^[ -~]+$', 'the log')
            equal(len(origin.conns), 0, 'connections to the server')
            equal(proxy.fetch(origin).body, b'page', 'another client')


run()
