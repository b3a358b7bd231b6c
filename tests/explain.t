#!/usr/bin/env python3
"""--explain: what it says of each step is so, and -v says the same tersely."""
from mitm import *

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@contextlib.contextmanager
def explained(*args, behave=None, **origin):
    """An origin, the proxy, and says(C, REGEX...): the lines of connection C
    have these, in this order. Once they are there, all are."""
    with Origin(behave or answer(reply(b'a cloud')), **origin) as server, \
            Proxy('--explain', *args) as proxy:
        def says(number, *lines):
            what = '(?ms)' + '.*?'.join(
                r'^mitmproxy: c%d (?:#\d+ )?\+\d+\.\d{3} [^\n]*?%s' % (
                    number, line) for line in lines)
            proxy.wait_log(what)
        yield server, proxy, says


def one(proxy, origin, context, session=None):
    """A request, by a client of this context: its session."""
    client = proxy.tunnel(origin).start_tls(context, 'localhost', session)
    client.send(get('/x'))
    client.read_message()
    session = client.tls.session
    client.finish()
    return session


HELLO = r'ClientHello of \d+ bytes: SNI localhost, ALPN none, \d+ cipher ' \
        r'suites, TLS %s, (key shares [^,]*, )?%s - in clear text, for ' \
        r'anybody on the way; the answer waits for the server, whose ' \
        r'certificate is to be copied$'
SERVER = r"the server's certificate: subject O=Origin Works, CN=localhost; " \
         r'names localhost origin\.test 127\.0\.0\.1 ::1; issuer CN=Origin ' \
         r'CA; serial [0-9A-F:]+; from \d{4}-\d\d-\d\d until \d{4}-\d\d-' \
         r'\d\d; key EC of 256 bits$'
OURS = r"prepared for the client, with the server's subject and names: " \
       r'subject O=Origin Works, CN=localhost; names localhost origin\.test ' \
       r'127\.0\.0\.1 ::1; issuer CN=mitmproxy\.c CA of \S+; serial '
FULL = r'%s with localhost by TLS\S+, ALPN none: a full handshake, its ' \
       r"certificate's chain, dates and name verified$"
RESUMED = r'%s with localhost by TLS\S+, ALPN none: resumed, so it has sent ' \
          r'no certificate$'
SHOWN = r'%s with 127\S+ for localhost by TLS\S+, ALPN none: a full ' \
        r'handshake, in which it has not objected to our certificate$'
NOT_SHOWN = r'%s with 127\S+ for localhost by TLS\S+, ALPN none: resumed by ' \
            r'a ticket of ours: it was shown no certificate$'

for ours in V12, V13:
    for theirs in V12, V13:
        @test('full and resumed: a client with %s, a server with %s'
              % (ours.name, theirs.name))
        def _(ours=ours, theirs=theirs):
            with explained(tls=True, version=theirs) as (origin, proxy, says):
                context = client_context(proxy.ca, ours)
                session = one(proxy, origin, context)
                a, b = (v.name.replace('_', r'\.') for v in (ours, theirs))
                version = a[4:]
                says(1, r'127\.\S+ has connected$',
                     r'asks for a tunnel to localhost:%d \(CONNECT\): '
                     'answered 200 before the server is asked' % origin.port,
                     HELLO % (version, 'no ticket'), 'its bytes: 01 Client',
                     r'connected to localhost:\d+ \(127\.0\.0\.1:\d+\), for '
                     'this client alone', SERVER, FULL % b, OURS, SHOWN % a,
                     'GET https://localhost:%d/x has come: a head of %d bytes, '
                     'no body$' % (origin.port, len(get('/x'))),
                     r'status 200 has come: a head of \d+ bytes, a body of 7 '
                     r'bytes \(Content-Length\)$', 'has gone after 1 exchange$')
                one(proxy, origin, context, session)
                says(2, HELLO % (version, 'a ticket of an earlier session'),
                     RESUMED % b, 'prepared for the client, as before: subject',
                     NOT_SHOWN % a, 'has gone')
                unlike(proxy.log(), r"c2 .*the server's certificate:", 'log')


@test('a session that the server does not know any more')
def _():
    with explained(tls=True) as (origin, proxy, says):
        for _ in range(2):
            one(proxy, origin, client_context(proxy.ca))
            origin.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            origin.context.load_cert_chain(make_leaf())
        says(2, SERVER, FULL % r'TLSv1\.3', SHOWN % r'TLSv1\.3')


# ------------------------------------------------------- ways in

@test('SOCKS, 4 and 5')
def _():
    with explained(tls=True) as (origin, proxy, says):
        for count, version in enumerate(('4', '4a', '5', '5h'), 1):
            proxy.curl('-4', '-x', 'socks%s://127.0.0.1:%d' % (
                version, proxy.port), origin.url())
            says(count, 'asks by SOCKS%s for (localhost|127.0.0.1):%d and is '
                 'answered when the server has been reached, or not$' % (
                     version[0], origin.port), r'connected to ', 'ClientHello',
                 'GET https://localhost:')


@test('clients that take the proxy for the server')
def _():
    with explained('--connect-to', 'origin.test:443::', tls=True) as (
            origin, proxy, says):
        proxy.connect().send(get('/', host='origin.test:443'))
        says(1, 'takes this for origin.test:443 as its Host field says$')
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy(
            '--explain', '--connect-to', ':443:127.0.0.1:%d' % origin.port) \
            as proxy:
        conn = proxy.connect().start_tls(client_context(proxy.ca),
                                         'origin.test')
        proxy.wait_log('takes this for origin.test:443 as the name in its '
                       'ClientHello says\n')
        conn.finish()


@test('--mode reverse, and no name in the ClientHello')
def _():
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--explain', '-m', 'reverse:' + origin.url()) as proxy:
        context = client_context(proxy.ca)
        context.check_hostname = False
        proxy.connect().start_tls(context, '127.0.0.1').finish()
        proxy.wait_log('has connected and takes this for localhost\n')
        line = proxy.wait_log('ClientHello of .*\n')[0]
        like(line, 'SNI none, .* it names nobody, and is taken to mean '
             'localhost; the answer waits for the server$', 'the line')
        proxy.wait_log('prepared for the client, a bare one, as there is none '
                       'that may be copied: subject CN=localhost; names localhost; ')


@test('through another proxy')
def _():
    with Proxy() as above:
        for scheme, how in ('http', 'CONNECT'), ('socks5h', 'SOCKS5'):
            with explained('-x', '%s://127.0.0.1:%d' % (scheme, above.port),
                           tls=True) as (origin, proxy, says):
                with contextlib.suppress(Failed):
                    one(proxy, origin, client_context(proxy.ca))
                says(1, r'connected to 127\.0\.0\.1:%d \(127' % above.port,
                     'that is a proxy, and is asked by %s for localhost:%d$'
                     % (how, origin.port))


@test('a plain request, and keep-alive')
def _():
    with explained() as (origin, proxy, says):
        client = proxy.connect()
        for number in 1, 2:
            client.send(get(origin.url('/x')))
            client.read_message()
        client.finish()
        says(1, 'GET http://localhost:.*/x has come', 'connected to',
             'status 200 has come', 'GET', 'status 200',
             'has gone after 2 exchanges$')
        unlike(proxy.log(), 'TLS|Client', 'the log')


# ------------------------------------------------------ failures

BARE = ('prepared for the client, a bare one, as there is none that may be '
        'copied: subject')

for what, cert, why in (
        ('a CA that nobody knows', dict(ca='Nobody knows me'),
         'no CA that is trusted has signed it'),
        ('another name', dict(subject='/CN=a.test', names='DNS:a.test'),
         'it is not for this name'),
        ('expired', dict(days=-1), 'it has expired')):
    @test('a bad server: ' + what)
    def _(cert=cert, why=why):
        if 'ca' in cert:
            cert = dict(cert, ca=make_ca(cert['ca']))
        for version in V12, V13:
            with explained(tls=True, cert=make_leaf(**cert),
                           version=version) as (origin, proxy, says):
                one(proxy, origin, client_context(proxy.ca))
                says(1, "the server's certificate: subject", BARE,
                     'in which it has not objected', 'GET https://',
                     'not to be trusted: .*' + why)
                unlike(proxy.log(), 'verified|with the server', 'the log')


@test('-k: not verified')
def _():
    with explained('-k', tls=True, cert=make_leaf(days=-1)) as (
            origin, proxy, says):
        one(proxy, origin, client_context(proxy.ca))
        says(1, "the server's certificate: subject", 'a full handshake, its '
             r'certificate not verified \(-k\)$', OURS)


@test('no server')
def _():
    with Proxy('--explain') as proxy, closed_port() as port:
        proxy.tunnel('localhost:%d' % port).start_tls(
            client_context(proxy.ca), 'localhost').finish()
        proxy.wait_log('(?s)ClientHello.*' + BARE + '.*in which it has not')
        unlike(proxy.log(), "the server's certificate|connected to", 'the log')


@test('a client that refuses our certificate')
def _():
    for version in V12, V13:
        with explained(tls=True) as (origin, proxy, says):
            with contextlib.suppress(ssl.SSLError):
                one(proxy, origin, client_context(make_ca(), version))
            says(1, SERVER, OURS, r'failed: it does not know our CA \(alert '
                 r'48 unknown_ca\)', 'has gone after 0 exchanges$')
            unlike(proxy.log(), 'objected|shown no', 'the log')


@test('h2 alone')
def _():
    with explained('--response', 'cat', tls=True) as (origin, proxy, says):
        with contextlib.suppress(ssl.SSLError, Failed):
            one(proxy, origin, client_context(proxy.ca, alpn=['h2']))
        says(1, 'offers HTTP/2 alone')
        unlike(proxy.log(), 'certificate|prepared', 'the log')


# ------------------------------------------------------ who ends it

THEY, WE = 'the %s ends its side of the connection%s, by %s', \
           'we end our side of the connection to the %s%s, by %s'


def they(who, how, first=' first'):
    return THEY % (who, first, how)


def we(who, how, first=''):
    return WE % (who, first, how)


def ends(behave, leave, *args, tls=False, version=None, tunnel=False, ca=None):
    """What is said of the end of a connection whose server behaves so, and
    whose client leaves so: leave(client) behind its request."""
    with explained(*args, behave=behave, tls=tls, version=version) as (
            origin, proxy, _):
        behave.proxy = proxy
        client = proxy.tunnel(origin) if tls or tunnel else proxy.connect()
        with contextlib.suppress(ssl.SSLError):
            if tls:
                client.start_tls(client_context(ca or proxy.ca, version),
                                 'localhost')
            if not tunnel:
                client.send(get('/x' if tls else origin.url('/x')))
        leave(client)
        client.close()
        proxy.wait_log('has gone')
        return re.findall(r'c1 (?:#1 )?\S+ (.* ends? (?:its|our) side .*)',
                          proxy.log())


def got(leave):
    """Leaves so with the answer in hand."""
    def work(client):
        client.read_message()
        leave(client)
    return work


def notify(client):
    """close_notify, and no FIN before the other side's."""
    with client.lock, contextlib.suppress(ssl.SSLError):
        client.tls.unwrap()
    client.flush()
    client.read_all()


def cut(client):
    client.cut()
    client.read_all()


def over(client):
    client.shutdown_write()
    client.read_all()


def all_of_it(client):
    client.read_all()
    client.finish()


def stays():
    return answer(reply(b'x'))


def sends(data, leave):
    """A server that answers so and leaves so, while the proxy sleeps."""
    def behave(conn):
        conn.read_message()
        os.kill(behave.proxy.pid, signal.SIGSTOP)
        conn.send(data)
        leave(conn)
        os.kill(behave.proxy.pid, signal.SIGCONT)
    return behave


FIN, NOTIFIED, UNSAID = 'FIN', 'close_notify', 'FIN without close_notify'
BOTH = 'close_notify and FIN'
LEFT = [we('server', BOTH, ' first')]
for version in None, V12, V13:
    @test('who ends it: %s' % (version.name if version else 'without TLS'))
    def _(tls=version is not None, version=version):
        for leave, how, more in [
                (over, NOTIFIED if tls else FIN,
                 [we('client', BOTH if tls else FIN)]), (Conn.reset, 'RST', [])
                ] + tls * [(notify, NOTIFIED, [we('client', BOTH)]),
                           (cut, UNSAID, [we('client', BOTH)])]:
            equal(ends(stays(), got(leave), tls=tls, version=version),
                  [they('client', how), we('server', BOTH if tls else 'close()',
                                           ' first')] + more,
                  'a client: ' + how)
        ours = [we('client', BOTH if tls else FIN, ' first'),
                they('client', NOTIFIED if tls else FIN, '')]
        for data, leave, how in (
                (reply(b'x', 'Connection: close'), Conn.finish,
                 NOTIFIED if tls else FIN),
                (b'HTTP/1.1 200 OK\r\n\r\nx', Conn.finish,
                 NOTIFIED if tls else FIN)):
            equal(ends(sends(data, leave), all_of_it, tls=tls,
                       version=version),
                  [they('server', how), we('server', 'close()')] + ours,
                  'a server: ' + how)


@test('who ends it: RST, FIN without close_notify of a server')
def _():
    head = b'HTTP/1.1 200 OK\r\n\r\nx'
    equal(ends(sends(head, Conn.reset), all_of_it),
          [they('server', 'RST'), we('client', 'RST', ' first')], 'RST')
    equal(ends(sends(head, Conn.cut), all_of_it, tls=True)[:3],
          [they('server', UNSAID), we('server', 'close()'),
           we('client', 'FIN', ' first')], 'FIN alone')


@test('who ends it: a client that refuses our certificate')
def _():
    equal(ends(stays(), cut, tls=True, ca=make_ca())[:3],
          [they('client', 'alert 48 unknown_ca')] + LEFT +
          [we('client', 'FIN')], 'lines')


def half(client):
    client.send(b'hello')
    client.shutdown_write()
    client.read_all()


def echo(conn):
    conn.read_all()
    conn.send(b'answer')


@test('who ends it: a tunnel that is passed on, and its half-close')
def _():
    for words in (), ('--ignore-hosts', '.'):
        equal(ends(echo, half, *words, tunnel=True),
              [they('client', 'FIN'), we('server', 'FIN', ' first'),
               they('server', 'FIN', ''), we('client', 'FIN')], words)
    with explained('--ignore-hosts', '.', tls=True) as (origin, proxy, says):
        client = proxy.tunnel(origin)       # its TLS is not opened
        client.start_tls(client_context(make_ca()), 'localhost')
        client.cut()                        # a server heeds close_notify
        with contextlib.suppress(ssl.SSLError):
            client.read_all()
        says(1, they('client', 'FIN') + '$', we('server', 'FIN', ' first') + '$')
        unlike(proxy.log(), 'close_notify', 'the log')


@test('who ends it: a stream that is cut, and the proxy')
def _():
    def behave(conn):
        conn.read_exact(5)
        conn.reset()
    def hello(client):
        client.send(b'hello')
        client.read_all()
    equal(ends(behave, hello, '--tcp-hosts', '.', tunnel=True),
          [they('server', 'RST'), we('client', 'RST', ' first')], 'lines')
    with explained() as (origin, proxy, says):
        client = proxy.connect()
        client.send(get(origin.url('/x')))
        client.read_message()
        os.kill(proxy.pid, signal.SIGTERM)
        says(1, re.escape(we('client', 'close()', ' first')), 'has gone')


@test('who ends it: by way of another proxy, and of SOCKS')
def _():
    other = 'server, or the proxy before it,'
    with Proxy('--ignore-hosts', '.') as above:
        equal(ends(stays(), got(over), '-x', 'http://127.0.0.1:%d'
                   % above.port, tls=True),
              [they('client', NOTIFIED), we(other, BOTH, ' first'),
               we('client', BOTH)], '-x')
    with explained(tls=True) as (origin, proxy, says):
        proxy.curl('-x', 'socks5h://127.0.0.1:%d' % proxy.port, origin.url())
        says(1, THEY % ('client', ' first', '(close_notify|FIN w)'), 'has gone')


# ------------------------------------- messages, and what is done to them

def filtered(response, *args):
    """The log of one exchange through filters."""
    def behave(conn):
        conn.read_message()
        conn.send(response)

    with explained(*args, behave=behave) as (origin, proxy, says):
        client = proxy.connect()
        client.send(get(origin.url('/x'), 'Accept-Encoding: gzip'))
        client.read_message()
        client.finish()
        proxy.wait_log('has gone')
        return proxy.log()


@test('what filters get, and how it goes on')
def _():
    sed, plain = 'sed s/cloud/clown/', reply(b'a cloud')
    given = r"the response goes through '%s': what that prints takes its place\n"
    for response, args, lines in (
            (plain, (), ['GET .* no body\n', 'a body of 7 bytes']),
            (chunked(b'a'), (), ['in chunks, up to one of size 0\n']),
            (b'HTTP/1.1 200 OK\r\n\r\na', (), ['ends with the connection\n']),
            (plain, ('-R', sed), ['no body; Accept-Encoding becomes identity, '
                                  'as a filter may want text\n', given % sed,
                                  'what the filters print goes on as it is\n']),
            (plain, ('-R', 'cat', '-R', 'sed s/cloud/clowns/'),
             ["goes through 'cat', and then\n", given % 'sed s/cloud/clowns/',
              'goes on with Content-Length: 8\n']),
            (chunked(b'a'), ('-R', 'cat'), ['print goes on as it is\n']),
            (plain, ('-Q', 'cat'), ["the request goes through 'cat': .* or, if "
                                    'it is a response, answers it\n',
                                    'print goes on as it is\n']),
            (plain, ('-Q', r'printf "HTTP/1.0 200 OK\r\n\r\nno"'),
             ['print goes back, and the server hears nothing of the request'])):
        like(filtered(response, *args), '(?s)' + '.*'.join(lines), args)
    unlike(filtered(plain, '-Q', 'cat'), 'identity', 'request filters alone')


@test('the bytes of a ClientHello, each part by its name')
def _():
    with explained(tls=True) as (origin, proxy, says):
        client = proxy.tunnel(origin)
        out = ssl.MemoryBIO()
        tls = client_context(proxy.ca, alpn=['h2', 'http/1.1']).wrap_bio(
            ssl.MemoryBIO(), out, server_hostname='localhost')
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        record = out.read()
        client.send(record)
        line = proxy.wait_log('its bytes: (.*)\n')[1]
        hello = record[5:]
        like(line, '^01 ClientHello, %s its length, 0303 version, %s%s... 32 '
             % (hello[1:4].hex(), hello[6:8].hex(), hello[8:10].hex()),
             'the beginning')
        at = 38 + 1 + hello[38]
        count = int.from_bytes(hello[at:at + 2], 'big')
        suites = hello[at + 2:at + 2 + count]
        like(line, '%04x bytes of suites: %s, 0100 no compr' % (
            count, ' '.join(suites[i:i + 2].hex() for i in range(0, count, 2))),
            'suites')
        at += 2 + count + 2 + 2
        kinds = []
        while at < len(hello):
            kinds.append((hello[at:at + 2].hex(), hello[at + 2:at + 4].hex()))
            at += 4 + int.from_bytes(hello[at + 2:at + 4], 'big')
        equal([(a, c) for a, b, c in re.findall(
            r'([0-9a-f]{4}) ([a-zA-Z_]+|of another kind) ([0-9a-f]{4})(?=,|$)',
            line)], kinds, 'extensions')
        like(line, '0000 server_name 000e.*0010 ALPN 000e.*002b supported_v',
             'names')
        proxy.wait_log('ALPN h2 http/1.1, %d cipher suites, ' % (count // 2))


@test('-v: the same events, tersely')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy('-v') as proxy:
        one(proxy, origin, client_context(proxy.ca))
        proxy.wait_log('has gone')
        lines = [re.sub(r'127\.0\.0\.1:\d+', 'HERE', line) for line in
                 re.findall('mitmproxy: (c1 .*)', proxy.log())]
        equal(lines, [
            'c1 HERE has connected',
            'c1 HERE asks for a tunnel to localhost:%d' % origin.port,
            'c1 connected to localhost:%d' % origin.port,
            'c1 TLSv1.3 with localhost', 'c1 TLSv1.3 with HERE for localhost',
            'c1 #1 HERE has gone'], 'lines')


run()
