#!/usr/bin/env python3
"""SOCKS4, 4a and 5 on the same port as HTTP."""
from mitm import *

PAGE = reply(b'page')


def curl(proxy, *args):
    """curl without the proxy that Proxy.curl() gives it."""
    return subprocess.run(
        [need('curl'), '-sS', '--noproxy', '', '--max-time', '20', *args],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2 * DEADLINE)


for option in ('--socks5', '--socks5-hostname', '--socks4', '--socks4a'):
    for tls in (False, True):
        @test('%s, %s inside' % (option, 'TLS' if tls else 'plain HTTP'))
        def _(option=option, tls=tls):
            # else curl looks the name up, and takes ::1 for it
            host = 'localhost' if option in ('--socks5-hostname',
                                            '--socks4a') else '127.0.0.1'
            with Origin(answer(PAGE), tls=tls) as origin, \
                    Proxy('--response', 'sed s/page/pagan/') as proxy:
                done = curl(proxy, option, '127.0.0.1:%d' % proxy.port,
                            '--cacert', proxy.ca,
                            'http%s://%s:%d/' % ('s' if tls else '',
                                                 host, origin.port))
                equal(done.stdout, b'pagan', 'what curl got')


@test('nobody there: the reply says so')
def _():
    with socket.socket() as s, Proxy() as proxy:
        s.bind(('127.0.0.1', 0))        # and does not listen
        port = struct.pack('>H', s.getsockname()[1])
        client = proxy.connect()
        client.send(b'\5\1\0')
        equal(client.read_exact(2), b'\5\0', 'the greeting')
        client.send(b'\5\1\0\1\x7f\0\0\1' + port)
        equal(client.read_exact(2), b'\5\5', 'connection refused')
        client.read_all()
        client = proxy.connect()
        client.send(b'\4\1' + port + b'\x7f\0\0\1me\0')
        equal(client.read_exact(2), b'\0\x5b', 'refused, of SOCKS4')
        client.read_all()


for what, ask, code in (
        ('BIND', b'\5\2\0\1\x7f\0\0\1\0\1', 7),
        ('UDP ASSOCIATE', b'\5\3\0\1\x7f\0\0\1\0\1', 7),
        ('an address of no known kind', b'\5\1\0\2\x7f\0\0\1\0\1', 8),
        ('port 0', b'\5\1\0\1\x7f\0\0\1\0\0', 8),
        ('a name with a space', b'\5\1\0\3\3a b\0\1', 8)):
    @test('what there is not: ' + what)
    def _(ask=ask, code=code):
        with Proxy() as proxy:
            client = proxy.connect()
            client.send(b'\5\2\0\2' + ask)
            equal(client.read_exact(4), bytes([5, 0, 5, code]), 'the reply')
            client.read_all()
            proxy.wait_log('what there is not: BIND or UDP' if code == 7 else
                           'what there is not\n')


@test('an address of IPv6 as a name, in brackets or not')
def _():
    try:
        origin = Origin(answer(PAGE), host='::1')
    except OSError:
        raise Skip('no IPv6 here') from None
    with origin, Proxy() as proxy:
        port = struct.pack('>H', origin.port)
        for name in b'::1', b'[::1]', b'[0:0::1]':
            for ask, skip in ((b'\5\1\0\5\1\0\3%c%s%s'
                               % (len(name), name, port), 12),
                              (b'\4\1%s\0\0\0\1me\0%s\0' % (port, name), 8)):
                client = proxy.connect()
                client.send(ask + get('/'))
                client.read_exact(skip)
                equal(client.read_message().body, b'page', name)
        for name in b'[::1', b'::1]', b'[::1]:80', b'a:80', b'[a:80]', b':', \
                b'[]', b'[a]', b'::1\0':
            client = proxy.connect()
            client.send(b'\5\1\0\5\1\0\3%c%s%s' % (len(name), name, port))
            equal(client.read_exact(4), b'\5\0\5\10', name)
            client.read_all()


@test('a client that knows no method of ours')
def _():
    with Proxy() as proxy:
        client = proxy.connect()
        client.send(b'\5\1\1')         # GSSAPI
        equal(client.read_all(), b'\5\xff', 'the answer')
        proxy.wait_log('SOCKS5 and knows no way to log in')


@test('byte by byte, and what follows at once')
def _():
    with Origin(answer(lambda r: reply(r.start))) as origin, \
            Proxy() as proxy:
        for ask in (b'\5\1\0\5\1\0\3\x09localhost%s',
                    b'\4\1%s\0\0\0\1me\0localhost\0'):
            ask = ask.replace(b'%s', struct.pack('>H', origin.port))
            client = proxy.connect()
            client.send(ask + get('/x'), step=1)
            client.read_exact(12 if ask[0] == 5 else 8)
            equal(client.read_message().body, b'GET /x HTTP/1.1', 'the page')


run()
