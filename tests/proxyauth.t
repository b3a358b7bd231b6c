#!/usr/bin/env python3
"""--proxyauth: who may come in, by HTTP and by SOCKS; and that nobody but the
proxy gets to see what a client shows for it."""
import base64
from mitm import *

LOGIN = 'us er:p:\xe4ss'         # a space, another colon, beyond ASCII
AUTH = ('--proxyauth', LOGIN)


def basic(login=LOGIN):
    return 'Basic ' + base64.b64encode(login.encode()).decode()


def curl(*words, status=0):
    return command(need('curl'), '-sS', '--noproxy', '', '--max-time', '20',
                   *words, status=status)


def ask(proxy, url, *fields, method='GET'):
    client = proxy.connect()
    client.send(get(url, *fields, method=method))
    return client.read_message()


def leaks(text):
    """Whether the credentials are in there, in any clothes."""
    text = text.encode('latin-1', 'replace') if isinstance(text, str) else text
    secrets = basic()[6:], 'us er', 'p:\xe4ss', 'us%20er', 'p:%C3%A4ss'
    return [s for s in secrets for code in ('utf-8', 'latin-1')
            if s.encode(code) in text] + re.findall(
                rb'(?i)proxy-authorization', text)


@test('without credentials: 407, for requests and for CONNECT')
def _():
    with Origin(tls=True) as secret, Origin() as open_, \
            Proxy(*AUTH) as proxy:
        for method, target in (('GET', open_.url()), ('GET', secret.url()),
                               ('CONNECT', secret.auth),
                               ('CONNECT', open_.auth),
                               ('GET', 'http://mitm.it/'),
                               ('OPTIONS', open_.url('')), ('GET', '/')):
            client = proxy.connect()
            client.send(get(target, method=method))
            response = client.read_message()
            equal(response.status, 407, 'status of %s %s' % (method, target))
            like(response['proxy-authenticate'], rb'^Basic realm="[^"]+"',
                 'the challenge')
            equal(response['connection'], b'close', 'Connection')
            equal(client.read_all(), b'', 'what follows')
        equal(secret.conns + open_.conns, [], 'connections to the origins')


@test('curl --proxy-user, in the first request or after a 407')
def _():
    page = answer(lambda r: reply(r.head))
    with Origin(page, tls=True) as secret, Origin(page) as open_, \
            Proxy(*AUTH) as proxy:
        for way in '--proxy-basic', '--proxy-anyauth':
            for origin in secret, open_:
                got = proxy.curl('--proxy-user', LOGIN, way, origin.url('/1'),
                                 origin.url('/2'))
                like(got, rb'GET /1 HTTP/1.1\r\n(?s:.*)GET /2 HTTP', 'pages')
                equal(leaks(got), [], 'what the origin sees')
            got = proxy.curl('--proxy-user', LOGIN, way, '-p', open_.url('/3'))
            like(got, rb'^GET /3 ', 'a page by CONNECT')
            equal(leaks(got), [], 'what the origin sees')


@test('a body is uploaded once the credentials are right')
def _():
    data = os.urandom(1 << 20)
    with Origin(answer(lambda r: reply(b'%d' % len(r.body)))) as origin, \
            Proxy(*AUTH) as proxy:
        name = scratch('upload', data)
        for way in '--proxy-basic', '--proxy-anyauth':
            equal(proxy.curl('--proxy-user', LOGIN, way, '-T', name, '-H',
                             'Expect:', origin.url()), b'1048576', way)


for what, field in (
        ('a wrong password', basic('us er:p:\xe4sS')),
        ('a password that is longer', basic(LOGIN + 'x')),
        ('a password that is shorter', basic(LOGIN[:-1])),
        ('a wrong user', basic('user:p:\xe4ss')),
        ('no colon', basic('us er')), ('nothing', ''),
        ('Basic alone', 'Basic'),
        ('a space alone', 'Basic '), ('no base64', 'Basic ' + LOGIN),
        ('another scheme', 'Bearer ' + basic()[6:]),
        ('more behind it', basic() + ' x'), ('the half of it', basic()[:-4]),
        ('very much', basic('a' * 40000)),
        ('a NUL behind it', basic(LOGIN + '\0'))):
    @test('refused: ' + what)
    def _(field=field):
        with Origin(answer(reply(b'page'))) as origin, Proxy(*AUTH) as proxy:
            field = 'Proxy-Authorization: ' + field.encode().decode('latin-1')
            for method, url in ('GET', origin.url()), ('CONNECT', origin.auth):
                equal(ask(proxy, url, field, method=method).status, 407,
                      'status of ' + method)
            equal(origin.conns, [], 'connections to the origin')
            # and to be sure that it is this field that counts:
            equal(ask(proxy, origin.url(), 'Proxy-Authorization: '
                      + basic()).status, 200, 'the status with the right one')


@test('the field is found however it is written, and is gone')
def _():
    with Origin(answer(lambda r: reply(r.head))) as origin, \
            Proxy(*AUTH) as proxy:
        for field in ('proxy-AUTHORIZATION:' + basic(),
                      'Proxy-Authorization: \t basic   ' + basic()[6:] + '  ',
                      'X: y\r\nProxy-Authorization: %s\r\nZ: z' % basic()):
            response = ask(proxy, origin.url(), field)
            equal(response.status, 200, 'status for ' + field)
            equal(leaks(response.body), [], 'what the origin sees')
            if 'X: y' in field:
                like(response.body, rb'\r\nX: y\r\nZ: z\r\n', 'what is left')


@test('each request of a connection must show it')
def _():
    with Origin(answer(reply(b'page'))) as origin, Proxy(*AUTH) as proxy:
        client = proxy.connect()
        field = 'Proxy-Authorization: ' + basic()
        for _ in range(2):
            client.send(get(origin.url(), field))
            equal(client.read_message().status, 200, 'status with it')
        client.send(get(origin.url()))
        equal(client.read_message().status, 407, 'status without')
        equal(len(origin.conns), 1, 'connections')


@test('in a tunnel the field is between client and server')
def _():
    with Origin(answer(lambda r: reply(r.head)), tls=True) as origin, \
            Proxy(*AUTH) as proxy:
        client = proxy.connect()
        client.send(get(origin.auth, 'Proxy-Authorization: ' + basic(),
                        method='CONNECT'))
        like(client.read_head(), rb'^HTTP/1\.1 200 ', 'the answer to CONNECT')
        client.start_tls(client_context(proxy.ca), 'localhost')
        request = get('/', 'Proxy-Authorization: Basic bWluZQ==')
        client.send(request)
        equal(client.read_message().body, request, 'what the origin sees')


@test('nobody else sees it: log, messages, filters, environment, origin')
def _():
    seen = scratch('seen', '')
    look = 'env | grep MITM_ >>%s; tee -a %s' % (seen, seen)
    page = answer(lambda r: reply(r.head))
    with Origin(page, tls=True) as secret, Origin(page) as open_, \
            Proxy('--explain', '-v', *AUTH, '--request', look, '--response',
                  look) as proxy:
        for origin in secret, open_:
            for words in ((), ('-p',)):
                got = proxy.curl('--proxy-user', LOGIN, *words,
                                 '--proxy-anyauth', origin.url())
                equal(leaks(got), [], 'the origin')
            got = curl('--cacert', proxy.ca, '--socks5-hostname',
                       '127.0.0.1:%d' % proxy.port, '--proxy-user', LOGIN,
                       origin.url())
            like(got, rb'^GET / ', 'the page by SOCKS')
            equal(leaks(bytes(origin.rx)), [], 'the origin')
        proxy.curl('--proxy-user', LOGIN + 'x', open_.url())
        proxy.wait_log('answered by an error page')
        text = slurp(seen)
        like(text, rb'MITM_HOST=localhost', 'what filters see')
        for text in text, proxy.log(), proxy.out():
            equal(leaks(text), [], 'what they see, and what it prints')


# --------------------------------------------------------------- SOCKS

@test('SOCKS5 with name and password, in curl and in proxychains4')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin, \
            Proxy(*AUTH) as proxy:
        at = '127.0.0.1:%d' % proxy.port
        for option in '--socks5', '--socks5-hostname':
            equal(curl('--cacert', proxy.ca, option, at, '--proxy-user',
                       LOGIN, 'https://127.0.0.1:%d/' % origin.port),
                  b'page', option)
    with Origin(answer(reply(b'page'))) as origin, \
            Proxy('--proxyauth', 'user:pass') as proxy:
        for kind in 'socks5', 'http':
            conf = scratch('proxychains.conf', 'strict_chain\n[ProxyList]\n'
                           '%s 127.0.0.1 %d user pass\n' % (kind, proxy.port))
            equal(command(need('proxychains4'), '-q', '-f', conf, 'curl',
                          '-sS', '--noproxy', '*', 'http://127.0.0.1:%d/'
                          % origin.port, status=0), b'page', kind)


@test('SOCKS without it, or with a wrong one, is refused')
def _():
    with Origin() as origin, Proxy(*AUTH) as proxy:
        at = '127.0.0.1:%d' % proxy.port
        url = 'http://127.0.0.1:%d/' % origin.port
        for words in ((), ('--proxy-user', LOGIN + 'x'),
                      ('--proxy-user', 'us er:'), ('--proxy-user', ':')):
            curl('--socks5', at, *words, url, status=97)
        for option in '--socks4', '--socks4a':
            curl(option, at, url, status=97)
            curl(option, 'us%20er@' + at, url, status=97)
        nc = need('nc')
        if b'-X' in command(nc, '-h'):
            command(nc, '-X', '5', '-x', at, '127.0.0.1', str(origin.port),
                    status=1)
        equal(origin.conns, [], 'connections to the origin')
        proxy.wait_log('SOCKS5 without the right user and password')
        proxy.wait_log('SOCKS4 without the right user and password')


def socks_login(user, password):
    return b'\1%c%s%c%s' % (len(user), user, len(password), password)


USER, PASS = (part.encode() for part in LOGIN.split(':', 1))


@test('SOCKS5 by the byte: what is answered, and that no more is heard')
def _():
    with Origin(answer(reply(b'page'))) as origin, Proxy(*AUTH) as proxy:
        port = struct.pack('>H', origin.port)
        for hello, login, want in (
                (b'\5\1\0', b'', b'\5\xff'), (b'\5\2\0\1', b'', b'\5\xff'),
                (b'\5\0', b'', b'\5\xff'),
                (b'\5\2\0\2', socks_login(USER, PASS + b'x'), b'\5\2\1\1'),
                (b'\5\1\2', socks_login(b'', b''), b'\5\2\1\1'),
                (b'\5\1\2', socks_login(USER + b':' + PASS, b''),
                 b'\5\2\1\1'),
                (b'\5\1\2', socks_login(b'x' * 255, b'y' * 255),
                 b'\5\2\1\1')):
            client = proxy.connect()
            client.send(hello + login + b'\5\1\0\1\x7f\0\0\1' + port)
            equal(client.read_all(), want, 'the answers')
        equal(origin.conns, [], 'connections to the origin')
        client = proxy.connect()
        client.send(b'\5\2\0\2' + socks_login(USER, PASS) +
                    b'\5\1\0\1\x7f\0\0\1' + port + get('/'), step=1)
        equal(client.read_exact(14), b'\5\2\1\0\5\0\0\1' + bytes(6),
              'the answers to the right ones')
        equal(client.read_message().body, b'page', 'the page')


@test('a password that is asked for in vain does no harm')
def _():
    with Origin(answer(reply(b'page'))) as origin, Proxy() as proxy:
        client = proxy.connect()        # a client that knows method 2 alone
        client.send(b'\5\1\2' + socks_login(b'any', b'body') +
                    b'\5\1\0\1\x7f\0\0\1' + struct.pack('>H', origin.port)
                    + get('/'))
        equal(client.read_exact(14)[:6], b'\5\2\1\0\5\0', 'the answers')
        equal(client.read_message().body, b'page', 'the page')


# -------------------------------------------------------------- misuse

for words in (('-m', 'reverse:http://localhost:1', *AUTH),
              ('-m', 'transparent', *AUTH), ('--proxyauth', 'nocolon')):
    @test('misuse: ' + ' '.join(words).encode('ascii', 'replace').decode())
    def _(words=words):
        status, _, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'),
                                   *words)
        equal(status, 2, 'the exit status')
        like(err, r'^mitmproxy: [^\n]*--proxyauth[^\n]*\n', 'the error')


@test('a head that is too long is shown without credentials')
def _():
    with Proxy('--proxyauth', 'me:secret') as proxy:
        client = proxy.connect()
        client.send(get('http://a.test/', 'Proxy-Authorization: Basic '
                        'bWU6c2VjcmV0', 'X: ' + 'y' * 65600))
        equal(client.read_message().status, 431, 'the status')
        proxy.wait_out('<< .HTTP/1.1 431')
        unlike(proxy.out() + proxy.log(), 'bWU6', 'what is shown')


run()
