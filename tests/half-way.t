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


run()
