#!/usr/bin/env python3
"""Sides that stop half way: nobody may take the half for the whole."""
from mitm import *

PARTS = {'a length': b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf',
         'chunks': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
                   b'4\r\nhalf\r\n'}

for name, part in PARTS.items():
    for how in ('finish', 'close', 'reset'):
        @test('the server stops in %s by %s; TLS' % (name, how))
        def _(part=part, how=how):
            with Origin(tls=True) as origin, Proxy() as proxy:
                client = proxy.tls(origin)
                client.send(get('/'))
                server = origin.next()
                server.read_head()
                server.send(part)
                equal(client.read_exact(len(part)), part, 'the part')
                getattr(server, how)()
                equal(client.read_all(), b'', 'behind it')
                check(client.end in ('cut', 'reset'),
                      'it looks like a proper end: %s' % client.end)

    @test('the server stops in %s; curl notices, both ways' % name)
    def _(part=part):
        def stop(conn):
            conn.read_head()
            conn.send(part)
        for tls in (False, True):
            with Origin(stop, tls=tls) as origin, Proxy() as proxy:
                done = subprocess.run(
                    [need('curl'), '-sS', '--noproxy', '', '-x',
                     'http://127.0.0.1:%d' % proxy.port, '--cacert',
                     proxy.ca, '--max-time', '20', origin.url()],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                check(done.returncode in (18, 56), 'curl exits %d'
                      % done.returncode, done.stderr)

    @test('the server stops in %s under a filter' % name)
    def _(part=part):
        with Origin(tls=True) as origin, \
                Proxy('--response', 'sed -u s/a/a/') as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            server = origin.next()
            server.read_head()
            server.send(part)
            server.finish()
            got = client.read_all()
            if not got.startswith(b'HTTP/1.1 502 '):
                check(client.end in ('cut', 'reset') and
                      not got.endswith(b'0\r\n\r\n'),
                      'it looks whole: %s' % client.end, got)


@test('a TLS server that ends without close_notify, body ended by close')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\n\r\npart')
        client.read_until(b'part')
        server.cut()
        equal((client.read_all(), client.end), (b'', 'cut'), 'the end')


@test('a client that stops half way: the server is cut off')
def _():
    for how in ('finish', 'close', 'reset'):
        with Origin(tls=True) as origin, Proxy() as proxy:
            client = proxy.tls(origin)
            client.send(get('/', 'Content-Length: 10', method='PUT') + b'half')
            server = origin.next()
            server.read_until(b'half')
            getattr(client, how)()
            equal(server.read_all(), b'', 'behind it')


@test('a client that leaves while the server sends: the server is told')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\n\r\n')
        work = thread(server.pour, b'x' * 100000, 10000)
        client.read_exact(1000000)
        client.close()
        equal(work.result(), False, 'a gigabyte to nobody')


# FIN tells as much as RST where a length or chunks tell where the end was to
# be; and RST may destroy what was delivered.

for version in '1.0', '1.1':
    for name, part in PARTS.items():
        if version == '1.0' and name == 'chunks':
            continue
        for args in (), ('--response', 'sed -u s/a/a/'):
            @test('HTTP/%s, Connection: close, the server stops in %s: FIN%s'
                  % (version, name, ''.join(', ' + a for a in args)))
            def _(args=args, part=part.replace(
                    b'1.1 200 OK', version.encode() + b' 200 OK\r\n'
                    b'Connection: close')):
                with Origin() as origin, Proxy(*args) as proxy:
                    for base in origin.url(), None:
                        client = proxy.connect() if base \
                            else proxy.tunnel(origin)
                        client.send(get(base or '/'))
                        server = origin.next()
                        server.read_head()
                        server.send(part)
                        if not args:
                            client.read_until(b'half')
                        elif b'chunked' in part:
                            client.read_head()
                        server.finish()
                        got = client.read_all()
                        unlike(got, rb'\r\n0\r\n', 'what follows')
                        equal(client.end, 'eof', 'the end')


@test('curl is told that data is missing')
def _():
    for part in PARTS.values():
        def stop(conn):
            conn.read_head()
            conn.send(part.replace(b'OK\r\n', b'OK\r\nConnection: close\r\n'))
        with Origin(stop) as origin, Proxy() as proxy:
            equal(proxy.curl(origin.url(), status=18), b'half', 'the half')


run()
