#!/usr/bin/env python3
"""-x: through another proxy.  Through squid, tinyproxy, microsocks and a
second one of us, from every way in; and what comes of it when that proxy is
not there, or does not want to."""
import base64, glob
from urllib.parse import quote
from mitm import *

SECRET = 'us@er', 'p:ss'


class Upstream:
    """A proxy: .url for -x with credentials, .auth its host:port; log() is
    all that it has printed."""

    def __init__(self, scheme, port, login, log, secret=SECRET):
        self.auth, self.log = '127.0.0.1:%d' % port, log
        self.bare = '%s://%s' % (scheme, self.auth)
        self.url = self.bare if not login else '%s://%s@%s' % (
            scheme, ':'.join(map(quote, secret)), self.auth)


@contextlib.contextmanager
def squid(login):
    program, port, home = need('squid'), free_port(), directory()
    helper = '/usr/lib/squid/basic_ncsa_auth'
    if login and not os.path.exists(helper):
        raise Skip('squid has no ' + helper)
    password = openssl('passwd', '-apr1', SECRET[1]).decode()
    with open(home + '/passwd', 'w') as f:
        f.write('%s:%s' % (SECRET[0], password))
    conf = scratch('squid.conf', '''
        http_port 127.0.0.1:%(port)d
        pid_filename %(home)s/pid
        cache_log %(home)s/cache.log
        access_log stdio:%(home)s/access.log
        coredump_dir %(home)s
        cache_effective_user nobody
        cache deny all
        pinger_enable off
        dns_nameservers 127.0.0.1
        %(auth)s
        ''' % dict(port=port, home=home, auth='http_access allow all'
                   if not login else '''
        auth_param basic program %s %s/passwd
        acl known proxy_auth REQUIRED
        http_access allow known''' % (helper, home)))
    with running(program, '-N', '-n', 'test%d' % port, '-f', conf) as child:
        listens(port, child)
        yield Upstream('http', port, login,
                       lambda: slurp(home + '/access.log').decode())


@contextlib.contextmanager
def tinyproxy(login):
    program, port = need('tinyproxy'), free_port()
    login_ = 'user', 'password'         # it takes letters and digits alone
    conf = scratch('tinyproxy.conf', '''
        Listen 127.0.0.1
        Port %d
        Allow 127.0.0.1
        LogLevel Connect
        %s
        '''.replace('\n        ', '\n') % (port, 'BasicAuth %s %s'
                                           % login_ if login else ''))
    with running(program, '-d', '-c', conf) as child:
        listens(port, child)
        yield Upstream('http', port, login,
                       lambda: slurp(child.output).decode('latin-1'), login_)


@contextlib.contextmanager
def microsocks(login, scheme='socks5h'):
    program, port = need('microsocks'), free_port()
    words = ('-u', SECRET[0], '-P', SECRET[1]) if login else ()
    with running(program, '-i', '127.0.0.1', '-p', str(port), *words) as child:
        listens(port, child)
        yield Upstream(scheme, port, login,
                       lambda: slurp(child.output).decode('latin-1'))


@contextlib.contextmanager
def ourselves(login, scheme='http'):
    words = ('--proxyauth', ':'.join(SECRET)) if login else ()
    with Proxy('-v', *words) as proxy:
        yield Upstream(scheme, proxy.port, login,
                       lambda: proxy.log() + proxy.out())


def start_line(request):
    return reply(request.start.split(b' ')[1] + b' page')


def curl(*words, status=0):
    return command(need('curl'), '-sS', '--noproxy', '', '--max-time', '20',
                   *words, status=status)


def everyway(upstream, trust):
    """One page from each way in, with TLS and without."""
    with Origin(answer(start_line), tls=True) as secret, \
            Origin(answer(start_line)) as open_, contextlib.ExitStack() as s:
        words = ('-x', upstream.url, '--response', 'sed s/page/pagan/')
        proxy = s.enter_context(Proxy(*words, trust=trust))
        at = '127.0.0.1:%d' % proxy.port
        for origin in secret, open_:
            yield origin, proxy.curl(origin.url('/p?q')), 'regular'
            yield origin, curl('--cacert', proxy.ca, '--socks5-hostname', at,
                               origin.url('/p?q')), 'SOCKS'
        yield open_, proxy.curl('-p', open_.url('/p?q')), 'CONNECT'
        for origin in secret, open_:
            back = s.enter_context(Proxy(
                '-m', 'reverse:' + origin.url()[:-1], *words, trust=trust))
            yield origin, curl('http://127.0.0.1:%d/p?q' % back.port), \
                'reverse'


@test('the same without a proxy above, as a control')
def _():
    with ourselves(False) as upstream:
        upstream.url = 'socks5://%s' % upstream.auth
        with Origin(answer(start_line)) as origin, Proxy() as proxy:
            equal(proxy.curl(origin.url('/p?q')), b'/p?q page', 'the page')
            unlike(upstream.log(), origin.auth, 'who was there')


for name, make in (
        ('squid', squid), ('tinyproxy', tinyproxy), ('microsocks', microsocks),
        ('microsocks, names looked up here',
         lambda login: microsocks(login, 'socks5')),
        ('a second mitmproxy', ourselves),
        ('a second mitmproxy by SOCKS',
         lambda login: ourselves(login, 'socks5h'))):
    for login in False, True:
        @test('%s, %s credentials, from every way in'
              % (name, 'with' if login else 'without'))
        def _(make=make, login=login):
            with make(login) as upstream:
                # a second mitmproxy shows us a certificate of its own CA
                trust = scratch('trust.pem', b''.join(
                    slurp(n) for n in [make_ca()] + [
                        p for p in glob.glob(SCRATCH + '/*-cert.pem')]))
                for origin, got, way in everyway(upstream, trust):
                    what = '%s, %s' % (way, origin.url())
                    equal(got, b'/p?q pagan', what)
                    wait_for(lambda: ':%d' % origin.port in upstream.log(),
                             what + ' in the log of the proxy above')


# What is not in a tunnel is sent to an HTTP proxy as it wants it: with the
# whole URL.
for name, make in ('squid', squid), ('tinyproxy', tinyproxy):
    @test(name + ' is given requests, and CONNECT for tunnels alone')
    def _(make=make):
        with make(False) as upstream, Origin(answer(start_line)) as origin:
            def asked(how):
                return len(re.findall(r'\b%s (?:http://)?%s\b'
                                      % (how, origin.auth), upstream.log()))
            with Proxy('-x', upstream.url) as proxy:
                proxy.curl(origin.url('/a'), origin.url('/b'))
                wait_for(lambda: asked('GET') == 2, 'two GETs in its log')
                equal(asked('CONNECT'), 0, 'CONNECTs of plain requests')
                via = [get_field(origin, 'Via')]
                check(via[0], 'squid and tinyproxy add Via', origin.rx)
                proxy.curl('-p', origin.url('/c'))
                wait_for(lambda: asked('CONNECT') == 1, 'a CONNECT')
            with Proxy('-x', upstream.url, '-m',
                       'reverse:' + origin.url()[:-1]) as proxy:
                equal(curl('http://127.0.0.1:%d/d' % proxy.port), b'/d page',
                      'a page in reverse mode')
                wait_for(lambda: asked('GET') == 3, 'its GET')


def get_field(origin, name):
    """A field of the first request that the origin had."""
    return Message(origin.rx.split(b'\r\n\r\n')[0] + b'\r\n\r\n')[name]


@test('an upload through squid, and a page of 3 MB')
def _():
    data = os.urandom(3 << 20)
    name = scratch('upload', data)
    with squid(True) as upstream, Proxy('-x', upstream.url) as proxy:
        for tls in False, True:
            with Origin(answer(lambda r: reply(r.body)), tls=tls) as origin:
                equal(proxy.curl('-H', 'Expect:', '-T', name,
                                 origin.url()) == data, True, 'the echo')


@test('a filter sends a request elsewhere, through squid')
def _():
    with Origin(answer(reply(b'other'))) as other, \
            Origin(answer(reply(b'first'))) as first, \
            squid(False) as upstream, \
            Proxy('-x', upstream.url, '--request',
                  'sed s/:%d/:%d/' % (first.port, other.port)) as proxy:
        equal(proxy.curl(first.url()), b'other', 'the page')
        equal(len(first.conns), 0, 'connections to the first')


@test('an address of IPv6')
def _():
    try:
        origin = Origin(answer(reply(b'page')), host='::1', name='::1',
                        tls=True)
    except OSError:
        raise Skip('there is no IPv6') from None
    with origin:
        for scheme in 'http', 'socks5', 'socks5h':
            with ourselves(False, scheme) as upstream, \
                    Proxy('-k', '-x', upstream.url) as proxy:
                equal(proxy.curl('-g', origin.url()), b'page', scheme)


@test('socks5 looks names up here, socks5h there')
def _():
    for scheme, seen in ('socks5', '127.0.0.1'), ('socks5h', 'shop.localhost'):
        with Origin(answer(reply(b'page')), name='shop.localhost') as origin, \
                ourselves(False, scheme) as upstream, \
                Proxy('-x', upstream.url) as proxy:
            equal(proxy.curl(origin.url()), b'page', 'the page')
            like(upstream.log(), r'for %s:%d\n' % (seen, origin.port), scheme)


# ---------------------------------------------------------- credentials

def secrets():
    """How the credentials might be written."""
    login = ':'.join(SECRET)
    return [re.escape(s) for s in (
        login, SECRET[1], quote(SECRET[1]),
        base64.b64encode(login.encode()).decode())]


@test('credentials are shown to the proxy above, and to nobody else')
def _():
    passed = scratch('passed', '')
    look = 'env >>%s; tee -a %s' % (passed, passed)
    with squid(True) as upstream, \
            Proxy('-v', '-x', upstream.url, '--request', look, '--response',
                  look) as proxy:
        for tls in False, True:
            with Origin(answer(lambda r: reply(r.head)), tls=tls) as origin:
                seen = proxy.curl(origin.url(), origin.url()).decode()
                for secret in secrets():
                    for what, text in (('the origin', seen),
                                       ('filters', slurp(passed).decode()),
                                       ('the log', proxy.log()),
                                       ('the messages', proxy.out())):
                        unlike(text, secret, what)
                unlike(seen, '(?i)proxy-authorization', 'the origin')
                like(slurp(passed), rb'(?s)MITM_.*GET ', 'a control')


@test('a user without a password has an empty one, as curl has it')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('-x', 'http://me@' + origin.auth) as proxy:
        client = proxy.connect()
        client.send(get('http://a.test/', host='a.test'))
        equal(client.read_message().status, 200, 'the status')
        like(origin.rx, b'\r\nProxy-Authorization: Basic bWU6\r\n', 'me:')


@test('the last -x counts, and what the first had as credentials goes nowhere')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('-x', 'http://me:secret@127.0.0.1:1', '-x',
                  'http://' + origin.auth) as proxy:
        client = proxy.connect()
        client.send(get('http://a.test/', host='a.test'))
        equal(client.read_message().status, 200, 'the status')
        unlike(origin.rx.lower(), b'authorization', 'what the last is given')


@test('TRACE, whose answer would show them, goes without')
def _():
    above = Origin(answer(lambda r: reply(r.head)))
    with above, Proxy('-x', 'http://%s@%s' % (':'.join(SECRET), above.auth)) \
            as proxy:
        for method, there in ('GET', True), ('TRACE', False):
            client = proxy.connect()
            client.send(get('http://x/', 'Max-Forwards: 0', method=method))
            seen = client.read_message().body
            equal(b'Proxy-Authorization' in seen, there, method)


@test('a client may log in to the proxy above by itself')
def _():
    with squid(True) as upstream, Origin(answer(reply(b'page'))) as origin, \
            Proxy('-x', upstream.bare) as proxy:
        equal(proxy.curl('--proxy-user', ':'.join(SECRET), origin.url()),
              b'page', 'the page')
        unlike(origin.rx, rb'(?i)proxy-authorization', 'the origin')


for name, make, why in (
        ('squid', squid, '407'), ('tinyproxy', tinyproxy, '401|407'),
        ('microsocks', microsocks, 'user or password'),
        ('a second mitmproxy', ourselves, '407'),
        ('a second mitmproxy by SOCKS',
         lambda login: ourselves(login, 'socks5h'), 'user or password')):
    @test('wrong credentials or none at ' + name)
    def _(make=make, why=why):
        with make(True) as upstream, Origin(tls=True) as secret, \
                Origin() as open_:
            for url in upstream.bare, upstream.url.replace('@', 's@'):
                with Proxy('-x', url) as proxy:
                    response = proxy.fetch(secret)
                    equal(response.status, 502, 'the status')
                    like(response.body.decode(), upstream.auth, 'who')
                    like(response.body.decode(), why, 'why')
                    client = proxy.connect()
                    client.send(get(open_.url()))
                    response = client.read_message()
                    check(response.status in (401, 407, 502), 'plain HTTP',
                          response.raw)
                    equal(open_.conns + secret.conns, [], 'at the origins')
                    for secret_ in secrets():
                        unlike(proxy.log(), secret_, 'the log')


# -------------------------------------------------------------- failures

for scheme in 'http', 'socks5', 'socks5h':
    @test('%s: the proxy above is down' % scheme)
    def _(scheme=scheme):
        with closed_port() as port, \
                Proxy('-x', '%s://127.0.0.1:%d' % (scheme, port)) as proxy, \
                Origin(tls=True) as secret, Origin() as open_:
            at = '127.0.0.1:%d' % port
            client = proxy.connect()
            client.send(get(open_.url()))
            for response in client.read_message(), proxy.fetch(secret):
                equal(response.status, 502, 'the status')
                like(response.body.decode(), at + r'\b.*refused', 'the page')
            proxy.wait_log(re.escape(at) + '.*refused')
            # by SOCKS: the client is told by its code
            like(curl('--socks5-hostname', '127.0.0.1:%d' % proxy.port,
                      secret.url(), status=97), rb'\([1-6]\)', 'SOCKS')
            equal(open_.conns + secret.conns, [], 'connections to the origin')


def refusing(text):
    """A proxy above that says this to whatever it is asked."""
    def behave(conn):
        conn.read_until(b'\r\n\r\n')
        conn.send(text)
    return behave


for what, text, why in (
        ('403', b'HTTP/1.1 403 No way\r\nContent-Length: 3\r\n\r\nabc',
         'HTTP/1.1 403 No way'),
        ('503 until close', b'HTTP/1.0 503 Too busy\r\n\r\nlater',
         'HTTP/1.0 503 Too busy'),
        ('SSH', b'SSH-2.0-x\r\n\r\n', 'no HTTP'),
        ('nothing', b'', 'ended'),
        ('half a head', b'HTTP/1.1 200 OK\r\n', 'ended'),
        ('a head over 64 KiB', b'HTTP/1.1 200 OK\r\n' + b'X: y\r\n' * 100000,
         'has a head without end')):
    @test('an HTTP proxy that answers CONNECT with ' + what)
    def _(text=text, why=why):
        with Origin(refusing(text)) as above, \
                Proxy('-x', 'http://127.0.0.1:%d' % above.port) as proxy:
            client = proxy.tls('localhost:443')
            client.send(get('/'))
            response = client.read_message()
            equal(response.status, 502, 'the status')
            body = response.body.decode()
            like(body, re.escape(why), 'why')
            like(body, r'127\.0\.0\.1:%d' % above.port, 'who')
            unlike(body, 'abc|later', "the proxy's page")


for what, texts in (('HTTP', (b'HTTP/1.1 400 Bad Request\r\n\r\n',)),
                    ('SOCKS4', (b'\0\x5b\0\0\0\0\0\0',)),
                    ('SOCKS5, at first', (b'\5\0', b'SSH-2.0-x\r\n'))):
    @test('a SOCKS5 proxy that speaks ' + what)
    def _(texts=texts):
        def above(conn):
            for text in texts:
                conn.more()
                conn.take(len(conn.buf))
                conn.send(text)
            conn.read_all()
        with Origin(above) as other, \
                Proxy('-x', 'socks5h://127.0.0.1:%d' % other.port) as proxy:
            client = proxy.tls('localhost:443')
            client.send(get('/'))
            like(client.read_message().body, rb'the proxy 127.0.0.1:%d speaks '
                 rb'no SOCKS5' % other.port, 'why')


@test('100 Continue before 200, and TLS at once behind it')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin:
        def above(conn):
            equal(conn.read_until(b'\r\n'), b'CONNECT %s HTTP/1.1\r\n'
                  % origin.auth.encode(), 'the request')
            conn.read_until(b'\r\n\r\n')
            conn.send(b'HTTP/1.1 100 Continue\r\n\r\n'
                      b'HTTP/1.1 200 Fine\r\nX: y\r\n\r\n', step=5)
            other = socket.create_connection(('127.0.0.1', origin.port))
            work = thread(pump, conn.sock, other)
            pump(other, conn.sock)
            work.result()

        with Origin(above) as upstream, \
                Proxy('-x', 'http://127.0.0.1:%d' % upstream.port) as proxy:
            equal(proxy.fetch(origin).body, b'page', 'the page')


def pump(source, sink):
    """Relay one direction, to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@test('an HTTP proxy gets the host that filters were chosen by, and no other')
def _():
    def ask(client, target):
        client.send(get(target, 'K: KEY', host='good.test'))
        client.read_message()
        line, head = bytes(above.conns[-1].rx).rsplit(b'GET ', 1)[-1].split(
            b'\r\n', 1)
        like(head, b'K: SECRET', target)
        return line.decode()
    for mode in ('-m', 'reverse:http://good.test'), ():
        with Origin(answer(reply())) as above, Proxy(
                *mode, '-x', 'http://127.0.0.1:%d' % above.port, '--match',
                '~u ^http://good[.]test/', '--request', 'sed s/KEY/SECRET/') \
                as proxy:
            client = proxy.connect()
            for target, path in ((
                    ('/x', '/x'), ('//a.test/', '//a.test/'), ('?q', '/?q'),
                    ('.a.test/', '/.a.test/'), ('@a.test', '/@a.test'),
                    (':1@a.test/', '/:1@a.test/'),
                    ('http://a.test/', '/http://a.test/')) if mode else (
                    ('http://good.test/x', '/x'), ('http://good.test?q', '/?q'),
                    ('http://good.test?@a.test/', '/?@a.test/'),
                    ('http://good.test#@a.test/', '/#@a.test/'),
                    ('http://u:p@good.test/', '/'),
                    ('http://a.test\\@good.test/', '/'))):
                equal(ask(client, target), 'http://good.test%s HTTP/1.1' % path,
                      target)


@test('a server that speaks first, in one piece with the answer to CONNECT')
def _():
    def above(conn):
        conn.read_until(b'\r\n\r\n')
        conn.send(b'HTTP/1.1 200 OK\r\n\r\n220 hello\r\n')
        conn.send(conn.read_until(b'\n').upper())
    with Origin(above) as upstream, \
            Proxy('-x', 'http://127.0.0.1:%d' % upstream.port) as proxy:
        client = proxy.tunnel('localhost:25')
        equal(client.read_until(b'\n'), b'220 hello\r\n', 'the greeting')
        client.send(b'quit\n')
        equal(client.read_until(b'\n'), b'QUIT\n', 'the answer')


CODES = {1: 'general', 2: 'forbidden|allowed', 3: 'network unreachable',
         4: 'host unreachable', 5: 'refused', 6: 'timed out|expired',
         7: 'cannot', 8: 'cannot', 99: 'cannot'}


@test('what the codes of a SOCKS proxy say')
def _():
    codes = list(CODES)

    def behave(conn):
        conn.read_exact(3)
        conn.send(b'\5\0')
        conn.read_exact(7 + 9)
        conn.send(bytes([5, codes.pop(0), 0, 1]) + bytes(6))
    with Origin(behave) as above, \
            Proxy('-x', 'socks5h://127.0.0.1:%d' % above.port) as proxy:
        for code in CODES:
            client = proxy.tls('localhost:443')
            client.send(get('/'))
            response = client.read_message()
            equal(response.status, 502, 'the status')
            like(response.body.decode(), '(?i)127.0.0.1:%d .*(%s)'
                 % (above.port, CODES[code]), 'the page')


@test('a SOCKS proxy that knows no method of ours')
def _():
    def behave(conn):
        conn.read_exact(3)
        conn.send(b'\5\xff')
    with Origin(behave) as above, \
            Proxy('-x', 'socks5://127.0.0.1:%d' % above.port) as proxy:
        client = proxy.connect()
        client.send(get('http://localhost:80/'))
        response = client.read_message()
        equal(response.status, 502, 'the status')
        like(response.body, rb'user or password', 'why')


@test('a SOCKS proxy that speaks HTTP')
def _():
    def behave(conn):
        conn.read_exact(3)
        conn.send(reply(b'what?', status='400 Bad Request'))
    with Origin(behave) as above, \
            Proxy('-x', 'socks5h://127.0.0.1:%d' % above.port) as proxy:
        client = proxy.connect()
        client.send(get('http://localhost:80/'))
        response = client.read_message()
        equal(response.status, 502, 'the status')
        like(response.body.decode(), '127.0.0.1:%d' % above.port, 'who')


# ----------------------------------------------------------- --connect-to

for name, make in (('squid', squid), ('microsocks', microsocks),
                   ('a second mitmproxy', ourselves)):
    @test('--connect-to through ' + name)
    def _(make=make):
        cert = make_leaf(names='DNS:shop.test')
        with make(False) as upstream:
            for tls in True, False:
                with Origin(answer(lambda r: reply(r['host'])), tls=tls,
                            cert=cert) as origin, \
                        Proxy('-k', '-x', upstream.url, '--connect-to',
                              'shop.test::127.0.0.1:%d' % origin.port) \
                        as proxy:
                    scheme = 'https' if tls else 'http'
                    equal(proxy.curl(scheme + '://shop.test/'), b'shop.test',
                          scheme)


for text in ('ftp://127.0.0.1:1', 'http://', 'http://a b:1', 'socks4://h:1',
             'http://h:99999', 'http://h:1/path'):
    @test('misuse: -x ' + text)
    def _(text=text):
        status, _, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'),
                                   '-x', text)
        equal(status, 2, 'the exit status')
        like(err, r'^mitmproxy: --proxy takes [^\n]*\n', 'the error')


@test('an answer to CONNECT that drips costs no more than another')
def _():
    def used(proxy):                    # seconds of the processor's time
        words = slurp('/proc/%d/stat' % proxy.pid).rsplit(b')', 1)[1].split()
        return sum(map(int, words[11:13])) / os.sysconf('SC_CLK_TCK')

    with Origin() as upstream, \
            Proxy('-x', 'http://127.0.0.1:%d' % upstream.port) as proxy:
        client = proxy.connect()
        client.send(b'CONNECT a.test:80 HTTP/1.1\r\n\r\n')
        client.read_head()
        client.send(get('/'))
        server = upstream.next()
        server.read_head()
        before = used(proxy)
        server.send(b'HTTP/1.1 200 OK\r\n' + b'a:\n' * 18000)
        server.send(b'b' * 3000, 1)
        server.send(b'\n\n')
        server.read_head()
        took = used(proxy) - before
        check(took < (1 if sanitized() else 0.3), 'it took %.2f s' % took)


run()
