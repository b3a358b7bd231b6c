#!/usr/bin/env python3
"""Clients that take the proxy for the server: TLS, or a request for a path,
on the port itself."""
from netns import *

PAGE = reply(b'a cloud\n')
CLOWN = ('-R', 'sed s/cloud/clown/')


def leaf():
    return make_leaf(names='DNS:weather.test')


def to(origin, port, host='127.0.0.1'):
    return ['--connect-to', 'weather.test:%d:%s:%d' % (port, host,
                                                       origin.port)]


def secure(proxy, conn=None, name='weather.test'):
    return (conn or proxy.connect()).start_tls(client_context(proxy.ca), name)


@test('TLS: SNI names the target, at port 443')
def _():
    with Origin(answer(PAGE), tls=True, cert=leaf()) as origin, \
            Proxy('-v', *CLOWN, *to(origin, 443)) as proxy:
        conn = secure(proxy)
        for _ in range(2):
            conn.send(get('/x', host='weather.test'))
            equal(conn.read_message().body, b'a clown\n', 'the page')
        proxy.wait_log('takes this for weather.test:443')
        proxy.wait_out("== 200 GET https://weather.test/x ")


@test('a ClientHello byte by byte')
def _():
    with Origin(answer(PAGE), tls=True, cert=leaf()) as origin, \
            Proxy(*to(origin, 443)) as proxy:
        conn, plain = proxy.connect(), socket.socketpair()
        conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure(proxy, conn)
        conn.send(get('/'), 1)
        equal(conn.read_message().body, b'a cloud\n', 'the page')
        for s in plain:
            s.close()


@test('HTTP: Host names the target, for each request, and its bytes stay')
def _():
    ask = b'GET /x?y HTTP/1.1\r\nhost:weather.test\r\nX:  y\r\n\r\n'
    with Origin(answer(PAGE)) as origin, Origin(answer(PAGE)) as other, \
            Proxy(*CLOWN, *to(origin, 80), '--connect-to',
                  'other.test:8080:127.0.0.1:%d' % other.port) as proxy:
        conn = proxy.connect()
        conn.send(ask)
        equal(conn.read_message().body, b'a clown\n', 'the page')
        conn.send(get('/', host='other.test:8080'))
        equal(conn.read_message().body, b'a clown\n', 'the other page')
        conn.send(get('/', host='weather.test:%d' % proxy.port))
        equal(conn.read_message().body, b'a clown\n', 'named with our port')
        conn.send(get('*', host='weather.test', method='OPTIONS'))
        equal(conn.read_message().body, b'a clown\n', 'asked of the server')
        check(b'OPTIONS * HTTP/1.1\r\n' in origin.rx, 'as it came', origin.rx)
        check(b'/x?y HTTP/1.1\r\nhost:weather.test\r\nX:  y\r\n' in origin.rx,
              'the request', origin.rx)
        equal(len(other.conns), 1, 'connections of the other')


@test('curl --resolve, https and http')
def _():
    with Origin(answer(PAGE), tls=True, cert=leaf()) as origin, \
            Origin(answer(PAGE)) as plain, \
            Proxy(*CLOWN, *to(origin, 443), *to(plain, 80)) as proxy:
        for scheme in 'https', 'http':
            equal(command(need('curl'), '-sS', '--cacert', proxy.ca,
                          '--noproxy', '*', '--connect-to',
                          '::127.0.0.1:%d' % proxy.port,
                          scheme + '://weather.test/', status=0),
                  b'a clown\n', scheme)


@test('who means the proxy itself is told what it takes')
def _():
    with Proxy() as proxy:
        for host in ('localhost:%d' % proxy.port, '127.0.0.1', '[::1]:80',
                     socket.gethostname(), '0.0.0.0'):
            conn = proxy.connect()
            conn.send(get('/', host=host))
            page = conn.read_message()
            equal(page.status, 400, host)
            like(page.body, b'this is a proxy', host)
        conn = proxy.connect()
        conn.send(b'GET / HTTP/1.0\r\n\r\n')
        equal(conn.read_message().status, 400, 'no Host')
        for name, shown in (('localhost', 'localhost'),
                            (None, 'a host that no SNI names')):
            with contextlib.suppress(Failed, ssl.SSLError):
                proxy.connect().start_tls(client_context(
                    proxy.ca, strict=False), name or '127.0.0.1')
            proxy.wait_log('it is TLS for %s .*http://' % shown)


@test('--proxyauth refuses them')
def _():
    with Proxy('--proxyauth', 'me:x', '-k') as proxy:
        conn = proxy.connect()
        conn.send(get('/', host='weather.test'))
        equal(conn.read_message().status, 407, 'a path')
        conn = proxy.connect()
        conn.send(get('/', 'Proxy-Authorization: Basic bWU6eA==',
                      host='weather.test'))
        equal(conn.read_message().status, 400, 'a path, logged in')
        with contextlib.suppress(Failed, ssl.SSLError):
            secure(proxy)
        proxy.wait_log('it is TLS')


@test('--only-hosts is asked')
def _():
    with Origin(answer(PAGE), tls=True, cert=leaf()) as origin, \
            Proxy('--only-hosts', '^weather.test:443$',
                  *to(origin, 443)) as proxy:
        conn = secure(proxy)
        conn.send(get('/', host='weather.test'))
        equal(conn.read_message().body, b'a cloud\n', 'the page')
        conn = secure(proxy, name='other.test')
        conn.send(get('/', host='other.test'))
        equal(conn.read_message().status, 403, 'another name')
        conn = proxy.connect()
        conn.send(get('/', host='weather.test'))
        equal(conn.read_message().status, 403, 'another port')


@contextlib.contextmanager
def router(net, *args, hosts=None, prefix=()):
    """A regular proxy on the router, to which ports 80 and 443 lead."""
    if hosts:
        prefix = mounting('--bind %s /etc/hosts' % scratch('hosts', hosts))
    with net.inside('router'):
        proxy = Proxy('--listen-host', '::', *args, prefix=prefix)
    with proxy:
        net.nft("""
            table inet test {
                chain prerouting {
                    type nat hook prerouting priority dstnat
                    tcp dport { 80, 443 } redirect to :%d
                }
                chain output {
                    type nat hook output priority -100
                    tcp dport { 80, 443 } ip daddr %s redirect to :%d
                    tcp dport { 80, 443 } ip daddr 127.0.0.0/8 redirect to :%d
                }
            }""" % (proxy.port, net.router[4], proxy.port, proxy.port))
        yield proxy


@test('a client whose name server sends every name to the proxy')
def _():
    with Net() as net, net.origin(answer(PAGE), tls=True, cert=leaf()) as o, \
            net.origin(answer(PAGE)) as plain, \
            router(net, *CLOWN, *to(o, 443, net.server[4]),
                   *to(plain, 80, net.server[4])) as proxy:
        conn = secure(proxy, net.connect(proxy, net.router[4], 443))
        conn.send(get('/', host='weather.test'))
        equal(conn.read_message().body, b'a clown\n', 'https')
        conn = net.connect(proxy, net.router[4], 80)
        conn.send(get('/', host='weather.test'))
        equal(conn.read_message().body, b'a clown\n', 'http')


for workers in (), ('-j', '3'):
    @test('a name that leads back to us is refused in words %s'
          % ' '.join(workers))
    def _(workers=workers):
        with Net() as net, \
                router(net, *workers, hosts='127.0.0.1 localhost\n%s '
                       'weather.test\n127.0.0.1 loop.test\n'
                       % net.router[4]) as proxy:
            for n, name in enumerate(('weather.test', 'loop.test') * 3, 1):
                conn = net.connect(proxy, net.router[4], 80)
                conn.send(get('/', host=name))
                page = conn.read_message()
                equal(page.status, 502, 'http')
                like(page.body, b'this proxy itself', 'why')
                conn = secure(proxy, net.connect(proxy, net.router[4], 443),
                              name)
                conn.send(get('/', host=name))
                page = conn.read_message()
                equal(page.status, 502, 'https')
                like(page.body, b'leads back to this proxy', 'why')
                wait_for(lambda: proxy.log().count('leads back to it') == n,
                         'the words')
            check(proxy.log().count('leads back to it') <= 6, 'no circle',
                  proxy.log())


run()
