#!/usr/bin/env python3
"""--only-hosts: nothing leaves for another host, by any way in: no question to
a name server, no packet. A name server and a sniffer count what comes."""
import functools

from netns import *

ALLOWED, DENIED = '10.77.2.2', '10.77.2.9'  # two addresses of the server
ONLY = '--only-hosts', r'^(allowed\.test|10\.77\.2\.2):'


class Far:
    """The server's side: .asked has the names that the name server was asked
    for, .touched the addresses that packets were sent to."""

    def __init__(self, net):
        self.net, self.asked, self.touched = net, [], []
        with net.inside('server'):
            tool('ip', 'addr', 'add', DENIED + '/24', 'dev', 'router')
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind((ALLOWED, 53))
            try:
                self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                                         socket.htons(0x0800))
            except PermissionError:
                raise Skip('no packet sockets here') from None
            self.raw.bind(('router', 0x0800))
        for work in self.answer, self.sniff:
            threading.Thread(target=work, daemon=True).start()

    def answer(self):
        """allowed.test is at the one address, all else at the other."""
        while True:
            question, peer = self.udp.recvfrom(2048)
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1:at + 1 + question[at]])
                at += 1 + question[at]
            name, end = b'.'.join(labels).decode().lower(), at + 5
            self.asked.append(name)
            v4 = question[at + 1:at + 3] == b'\0\1'
            where = ALLOWED if name == 'allowed.test' else DENIED
            self.udp.sendto(
                question[:2] + b'\x81\x80\0\1\0' + bytes([v4]) + b'\0\0\0\0'
                + question[12:end] + (b'\xc0\x0c\0\1\0\1\0\0\0\0\0\4'
                                      + socket.inet_aton(where)) * v4, peer)

    def sniff(self):
        while True:
            packet = self.raw.recv(65536)
            to = socket.inet_ntoa(packet[16:20])
            if to not in self.touched:
                self.touched.append(to)

    def untouched(self, fetch):
        """Fetches what is allowed, and looks what has come up to then."""
        fetch()
        wait_for(lambda: ALLOWED in self.touched, 'packets of what may')
        equal((set(self.asked) - {'allowed.test'}, DENIED in self.touched),
              (set(), False), 'names asked for, and packets to the other')


@functools.lru_cache(None)
def far():
    return Far(Net())


@contextlib.contextmanager
def fenced(*args, mode=None, tls=False, only=ONLY, port=0):
    """A proxy with a name server that counts, and an origin at both addresses
    on one port: the origin, the proxy, how clients connect."""
    net = far().net
    resolv = scratch('resolv.conf', 'nameserver %s\n' % ALLOWED)
    cert = make_leaf(names='DNS:allowed.test,DNS:denied.test')
    far().asked.clear()
    far().touched.clear()
    with net.inside('server'):
        origin = Origin(answer(lambda r: reply(r.head)), host='0.0.0.0',
                        name='allowed.test', tls=tls, cert=cert, port=port)
    with net.inside('router'):
        proxy = Proxy('--listen-host', '::', *only,
                      *(w.replace('PORT', str(origin.port)) for w in args),
                      prefix=mounting('--bind %s /etc/resolv.conf' % resolv))

    def connect(host=None, port=None):
        return net.connect(proxy, host or net.router[4], port or proxy.port)
    with origin, proxy:
        yield origin, proxy, connect


def allowed(origin, connect, tls=None):
    """One request that may pass, to its answer."""
    def fetch():
        client = connect()
        auth = 'allowed.test:%d' % origin.port
        if origin.tls:
            client.send(get(auth, host=auth, method='CONNECT'))
            like(client.read_head(), rb'^HTTP/1.. 200 ', 'CONNECT')
            client.start_tls(client_context(tls), 'allowed.test')
            client.send(get('/', host=auth))
        else:
            client.send(get('http://%s/' % auth, host=auth))
        equal(client.read_message().status, 200, 'what is allowed')
    return fetch


def status(request):
    """A way in: this request is answered 403, by a page that says why."""
    def way(client, origin, proxy):
        client.send(request.replace(b'PORT', b'%d' % origin.port))
        page = client.read_message()
        equal(page.status, 403, 'the status')
        like(page.body, rb'(denied\.test|10\.77\.2\.9):\d+ is not among '
             rb'--only-hosts', 'the page')
    return way


def socks(request, answer, greeting=b''):
    def way(client, origin, proxy):
        if greeting:
            client.send(greeting)
            equal(client.read_exact(2), b'\5\0', 'the greeting')
        client.send(request.replace(b'PORT', struct.pack('>H', origin.port)))
        equal(client.read_exact(2), answer, 'the refusal')
    return way


def hello(name):
    """A ClientHello."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(
            into, out, server_hostname=name).do_handshake()
    return out.read()


IP = socket.inet_aton(DENIED)
HI = b'\5\1\0'
for what, way, args in (
        ('plain HTTP', status(get('http://denied.test:PORT/')), ()),
        ('plain HTTP to an address', status(get('http://%s/' % DENIED)), ()),
        ('CONNECT', status(get('denied.test:PORT', method='CONNECT')), ()),
        ('CONNECT, with a root dot',
         status(get('denied.test.:PORT', method='CONNECT')), ()),
        ('CONNECT to an address',
         status(get(DENIED + ':PORT', method='CONNECT')), ()),
        ('SOCKS4', socks(b'\4\1PORT' + IP + b'\0', b'\0\x5b'), ()),
        ('SOCKS4a', socks(b'\4\1PORT\0\0\0\1\0denied.test\0', b'\0\x5b'), ()),
        ('SOCKS5 by name', socks(b'\5\1\0\3\x0bdenied.testPORT', b'\5\2', HI),
         ()),
        ('SOCKS5 by address', socks(b'\5\1\0\1' + IP + b'PORT', b'\5\2', HI),
         ()),
        ('CONNECT, with TLS at once', status(get(
            'denied.test:PORT', method='CONNECT') + hello('denied.test')), ()),
        ('CONNECT, with HTTP at once', status(get(
            'denied.test:PORT', method='CONNECT') + get('/')), ()),
        ('CONNECT, with a stream at once', status(get(
            'denied.test:PORT', method='CONNECT') + b'\0\1\2'), ()),
        ('CONNECT for a name, with a Host that is allowed', status(get(
            'denied.test:PORT', method='CONNECT', host='allowed.test')), ()),
        ('SOCKS5 to an IPv6 address', socks(
            b'\5\1\0\4' + socket.inet_pton(socket.AF_INET6, '::ffff:' + DENIED)
            + b'PORT', b'\5\2', HI), ()),
        ('a client that takes the proxy for the server', status(get(
            '/', host='denied.test:PORT')), ()),
        ('an upgrade to WebSocket', status(get(
            'http://denied.test:PORT/', 'Connection: Upgrade',
            'Upgrade: websocket')), ()),
        ('an upgrade to WebSocket, by another Host', status(get(
            '/', 'Connection: Upgrade', 'Upgrade: websocket',
            host='denied.test:PORT')), ()),
        ('a request filter that sends elsewhere',
         status(get('http://allowed.test:PORT/x', host='allowed.test:PORT')),
         ('--match', '~u /x', '--request', 'sed 1s,allowed,denied,')),
        ('--connect-to, which does not allow',
         status(get('http://denied.test:PORT/')),
         ('--connect-to', 'denied.test:PORT:%s:PORT' % ALLOWED)),
        ('--ignore-hosts', status(get('denied.test:PORT', method='CONNECT')),
         ('--ignore-hosts', 'denied')),
        ('--tcp-hosts', status(get('denied.test:PORT', method='CONNECT')),
         ('--tcp-hosts', 'denied')),
        ('--pass-pinned', status(get('denied.test:PORT', method='CONNECT')),
         ('--pass-pinned',)),
        ('a request filter that sends elsewhere, to an address', status(get(
            'http://allowed.test:PORT/x', host='allowed.test:PORT')),
         ('--match', '~u /x', '--request', 'sed 1s,allowed.test,%s,' % DENIED)),
        *(('%s, which would be asked %s' % (proxy, what), way,
           ('-x', proxy + '://%s:9' % DENIED))
          for proxy in ('http', 'socks5', 'socks5h') for what, way in (
              ('by HTTP', status(get('http://denied.test:PORT/'))),
              ('by CONNECT', status(get('denied.test:PORT',
                                        method='CONNECT'))),
              ('by SOCKS', socks(b'\5\1\0\3\x0bdenied.testPORT', b'\5\2',
                                 HI)))),
        ):
    @test('nothing leaves: ' + what)
    def _(way=way, args=args):
        with fenced(*args) as (origin, proxy, connect):
            way(connect(), origin, proxy)
            if '-x' in args:            # what may would go there, too
                equal((far().asked, far().touched), ([], []), 'what has left')
            else:
                far().untouched(allowed(origin, connect))


# A test that could not see anything would always find nothing.
@test('the name server and the sniffer see what the fence does not stop')
def _():
    with fenced(only=()) as (origin, proxy, connect):
        client = connect()
        client.send(get('http://denied.test:%d/' % origin.port))
        equal(client.read_message().status, 200, 'the status')
        equal('denied.test' in far().asked, True, 'the name')
        wait_for(lambda: DENIED in far().touched, 'packets')


for scheme in 'http', 'https':
    @test('nothing leaves: reverse mode, ' + scheme)
    def _(scheme=scheme):
        with fenced('-m', 'reverse:%s://denied.test:PORT' % scheme,
                    tls=scheme == 'https') as (origin, proxy, connect):
            client = connect()
            client.send(get('/', host='allowed.test'))
            equal(client.read_message().status, 403, 'the status')
            equal(connect().send(b'\0\1').read_all(), b'', 'a stream')
            client = connect()
            with contextlib.suppress(OSError, Failed):
                client.start_tls(client_context(proxy.ca), 'allowed.test')
                client.send(get('/', host='allowed.test'))
                equal(client.read_message().status, 403, 'in TLS')
            equal((far().asked, far().touched), ([], []), 'what has left')


@test('nothing leaves: TLS of clients that take the proxy for the server')
def _():
    with fenced(tls=True) as (origin, proxy, connect):
        client = connect()
        client.start_tls(client_context(proxy.ca), 'denied.test')
        client.send(get('/', host='denied.test'))
        page = client.read_message()
        equal(page.status, 403, 'the status')
        like(page.body, rb'denied\.test:443 is not among', 'the page')
        equal((far().asked, far().touched), ([], []), 'what has left')


@test('nothing leaves: another SNI behind STARTTLS')
def _():
    with fenced() as (origin, proxy, connect):
        def behave(conn):
            conn.send(b'220 ready\r\n')
            conn.read_until(b'STARTTLS\r\n')
            conn.send(b'220 go\r\n')
            conn.read_all()
        origin.behave = behave
        client = connect()
        auth = 'allowed.test:%d' % origin.port
        client.send(get(auth, host=auth, method='CONNECT'))
        like(client.read_head(), rb'^HTTP/1.. 200 ', 'CONNECT')
        client.read_until(b'ready\r\n')
        client.send(b'STARTTLS\r\n')
        client.read_until(b'go\r\n')
        client.start_tls(client_context(proxy.ca), 'denied.test')
        with contextlib.suppress(OSError):
            client.send(b'EHLO me\r\n')
        equal(client.read_all(), b'', 'what the client hears in TLS')
        proxy.wait_log('ClientHello asks for denied.test')
        origin.wait_ends()
        equal(origin.rx, b'STARTTLS\r\n', 'what the server got')
        equal((set(far().asked), DENIED in far().touched),
              ({'allowed.test'}, False), 'what has left')


@test('nothing leaves: another SNI in an allowed tunnel')
def _():
    with fenced('--cacert', make_ca(), tls=True) as (origin, proxy, connect):
        auth = 'allowed.test:%d' % origin.port
        client = connect()
        client.send(get(auth, host=auth, method='CONNECT'))
        like(client.read_head(), rb'^HTTP/1.. 200 ', 'CONNECT')
        client.start_tls(client_context(proxy.ca), 'denied.test')
        client.send(get('/', host='denied.test'))
        page = client.read_message()
        equal(page.status, 421, 'the status')
        like(page.body, rb'ClientHello asks for denied\.test', 'the page')
        equal((far().asked, far().touched), ([], []), 'what has left')
        far().untouched(allowed(origin, connect, proxy.ca))


@test('transparent: the name is looked up by us, and gone to')
def _():
    net = far().net
    with fenced('-m', 'transparent', '-v') as (origin, proxy, connect):
        net.redirect(proxy.port)
        try:
            client = connect(DENIED, origin.port)
            client.send(get('/', host='denied.test:%d' % origin.port))
            equal(client.read_message().status, 403, 'a name that is not')
            client = connect(DENIED, origin.port)
            client.send(get('/', host=DENIED))
            equal(client.read_message().status, 403, 'an address')
            client = connect(DENIED, origin.port)   # a stream says no name
            client.send(b'hello\r\n')
            equal(client.read_all(), b'', 'a stream')
            equal((far().asked, far().touched), ([], []), 'what has left')
            client = connect(DENIED, origin.port)   # nor does who only hears
            proxy.wait_log('c4 .*perhaps the server speaks first')
            client.finish()
            proxy.wait_log('c4 .*has gone')
            equal((far().asked, far().touched), ([], []), 'what has left')
            client = connect(DENIED, origin.port)   # a lie about the address
            client.send(get('/', host='allowed.test:%d' % origin.port))
            equal(client.read_message().status, 200, 'a name that is')
            equal((set(far().asked), DENIED in far().touched),
                  ({'allowed.test'}, False), 'looked up, and gone to')
        finally:
            for client in proxy.clients:
                client.finish()
            net.nft('')


@test('transparent, with TLS: SNI is the name')
def _():
    net = far().net
    with fenced('-m', 'transparent', tls=True) as (origin, proxy, connect):
        net.redirect(proxy.port)
        try:
            client = connect(DENIED, origin.port)
            client.start_tls(client_context(proxy.ca), 'denied.test')
            client.send(get('/', host='denied.test'))
            equal(client.read_message().status, 403, 'a name that is not')
            equal((far().asked, far().touched), ([], []), 'what has left')
            client = connect(DENIED, origin.port)
            client.start_tls(client_context(proxy.ca), 'allowed.test')
            client.send(get('/', host='allowed.test'))
            equal(client.read_message().status, 200, 'a name that is')
            equal(DENIED in far().touched, False, 'packets to the lie')
        finally:
            for client in proxy.clients:
                client.finish()
            net.nft('')


@test('transparent: names that are allowed must agree, too')
def _():
    net = far().net
    only = '--only-hosts', r'^(allowed|second)\.test:'
    for tls in True, False:
        with fenced('-m', 'transparent', tls=tls, only=only) as (
                origin, proxy, connect):
            net.redirect(proxy.port)
            try:
                client = connect(ALLOWED, origin.port)
                if tls:
                    client.start_tls(client_context(proxy.ca), 'allowed.test')
                for name, status in ('allowed', 200), ('second', 421):
                    client.send(get('/', host=name + '.test:%d'
                                    % origin.port))
                    equal(client.read_message().status, status, name)
                equal(set(far().asked), {'allowed.test'}, 'looked up')
            finally:
                for client in proxy.clients:
                    client.finish()
                net.nft('')


@test('a client that ends in an empty line, or amidst a request, has its answer')
def _():
    for more in b'\r\n', b'GE':
        with fenced() as (origin, proxy, connect):
            client = connect()
            auth = 'allowed.test:%d' % origin.port
            client.send(('CONNECT %s HTTP/1.1\r\n\r\n' % auth).encode())
            client.read_head()
            client.send(get('/', host=auth) + more)
            client.shutdown_write()
            equal(client.read_message().status, 200, 'the answer')
            like(client.read_all(), b'^$' if more == b'\r\n' else
                 b'^HTTP/1.1 400 ', 'behind it')


@test('a root dot and case do not count, and -j 2 is the same')
def _():
    with fenced('-j', '2') as (origin, proxy, connect):
        for name in 'ALLOWED.test', 'allowed.test.':
            client = connect()
            auth = '%s:%d' % (name, origin.port)
            client.send(get('http://%s/' % auth, host=auth))
            equal(client.read_message().status, 200, name)


run()
