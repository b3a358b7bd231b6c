#!/usr/bin/env python3
"""SOCKS with the clients that people have, and what each of them is told
when there is no way."""
from mitm import *

HOST = ('--response', 'cat; printf " %s" "$MITM_HOST"')


def curl(*args, status=0):
    """curl without the proxy that Proxy.curl() gives it."""
    return command(need('curl'), '-sS', '--noproxy', '', '--max-time', '20',
                   *args, status=status)


def netcat():
    """OpenBSD's nc, the one that knows -X."""
    nc = need('nc')
    if b'-X' not in command(nc, '-h'):
        raise Skip('nc is not that of OpenBSD')
    return nc


def at(proxy):
    return '127.0.0.1:%d' % proxy.port


# Where the client looks names up, the address is all that the proxy learns.
for words, host, seen in (
        (('--socks5',), '127.0.0.1', b'127.0.0.1'),
        (('--socks4',), '127.0.0.1', b'127.0.0.1'),
        (('--socks5-hostname',), 'shop.localhost', b'shop.localhost'),
        (('--socks4a',), 'shop.localhost', b'shop.localhost'),
        (('--proxy', 'socks5://user:pass@%s'), '127.0.0.1', b'127.0.0.1'),
        (('--proxy', 'socks5h://user:pass@%s'), 'shop.localhost',
         b'shop.localhost')):
    for tls in (False, True):
        @test('curl %s, %s' % (' '.join(words), 'https' if tls else 'http'))
        def _(words=words, host=host, seen=seen, tls=tls):
            cert = make_leaf(names='DNS:shop.localhost,IP:127.0.0.1')
            with Origin(answer(reply(b'page')), tls=tls, name=host,
                        cert=cert) as origin, Proxy(*HOST) as proxy:
                words = [w % at(proxy) if '%s' in w else w for w in words]
                if len(words) == 1:
                    words.append(at(proxy))
                equal(curl(*words, '--cacert', proxy.ca, origin.url(),
                           origin.url()), b'page ' + seen + b'page ' + seen,
                      'two pages')
                equal(len(origin.conns), 1, 'connections')


@test('curl to an address of IPv6')
def _():
    try:
        origin = Origin(answer(reply(b'page')), host='::1', name='::1')
    except OSError:
        raise Skip('there is no IPv6') from None
    with origin, Proxy(*HOST) as proxy:
        for option in ('--socks5', '--socks5-hostname'):
            equal(curl('-g', option, at(proxy), origin.url()), b'page ::1',
                  option)


for version in '4', '5':
    @test('nc -X %s: a stream both ways, and its ends' % version)
    def _(version=version):
        nc = netcat()

        def greet(conn):                # as sshd does
            conn.send(b'SSH-2.0-test\r\n')
            conn.send(conn.read_all()[::-1])
        with Origin(greet) as origin, \
                Proxy('--response', 'sed -u s/test/jest/') as proxy:
            equal(command(nc, '-N', '-X', version, '-x', at(proxy),
                          '127.0.0.1', str(origin.port), stdin=b'abc',
                          status=0), b'SSH-2.0-jest\r\ncba', 'what it printed')


@test('nc -X 5 lets the proxy look the name up')
def _():
    nc = netcat()
    with Origin(answer(reply(b'page'))) as origin, Proxy(*HOST) as proxy:
        like(command(nc, '-N', '-X', '5', '-x', at(proxy), 'shop.localhost',
                     str(origin.port), stdin=get('/'), status=0),
             rb'page shop\.localhost$', 'the page')


for kind in 'socks4', 'socks5', 'http':
    @test('proxychains4 with a %s line' % kind)
    def _(kind=kind):
        chains = need('proxychains4')
        with Origin(answer(reply(b'page')), tls=True) as origin, \
                Proxy(*HOST) as proxy:
            conf = scratch('proxychains.conf', 'strict_chain\n'
                           '[ProxyList]\n%s 127.0.0.1 %d\n'
                           % (kind, proxy.port))
            equal(command(chains, '-q', '-f', conf, need('curl'),
                          '-sS', '--noproxy', '*', '--cacert', proxy.ca,
                          'https://127.0.0.1:%d/' % origin.port, status=0),
                  b'page 127.0.0.1', 'the page')


# ------------------------------------------------------------ failures

def refused():
    return '127.0.0.1', free_port()


# Nobody can connect to a broadcast address, and loopback has one, too.
FAILURES = (('refused', refused, 5),
            ('unknown name', lambda: ('no-such-host.invalid', 80), 4),
            ('no route', lambda: ('127.255.255.255', 80), 3))

for what, where, code in FAILURES:
    @test('%s: SOCKS5 says %d, SOCKS4 91, curl and the log why' % (what, code))
    def _(where=where, code=code):
        host, port = where()
        url = 'http://%s:%d/' % (host, port)
        with Proxy() as proxy:
            like(curl('--socks5-hostname', at(proxy), url, status=97),
                 rb'\(%d\)' % code, 'what curl says')
            proxy.wait_log(r'is told: .*%s' % re.escape(host))
            like(curl('--socks4a', at(proxy), url, status=97),
                 rb'\(91\)|rejected or failed', 'what curl says of SOCKS4')
            client = proxy.connect()    # the whole reply, for the record
            client.send(b'\5\1\0\5\1\0\3' + bytes([len(host)])
                        + host.encode() + struct.pack('>H', port))
            equal(client.read_all(), bytes([5, 0, 5, code, 0, 1]) + bytes(6),
                  'the reply')


@test('nc says so, too')
def _():
    nc = netcat()
    with Proxy() as proxy:
        like(command(nc, '-X', '5', '-x', at(proxy), '127.0.0.1',
                     str(free_port()), status=1),
             rb'(?i)connection refused', 'SOCKS5')
        like(command(nc, '-X', '4', '-x', at(proxy), '127.0.0.1',
                     str(free_port()), status=1),
             rb'(?i)rejected or failed', 'SOCKS4')


@test('a server that does not answer: SOCKS5 says 6')
def _():
    with deaf_port() as port, Proxy(second=0.05) as proxy:
        like(curl('--socks5', at(proxy), 'http://127.0.0.1:%d/'
                  % port, status=97), rb'\(6\)', 'curl')


run()
