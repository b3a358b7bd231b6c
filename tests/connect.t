#!/usr/bin/env python3
"""CONNECT with TLS or plain HTTP inside."""
from mitm import *

V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

for client_version in (V2, V3):
    for server_version in (V2, V3):
        @test('%s from the client, %s to the server'
              % (client_version.name, server_version.name))
        def _(client_version=client_version, server_version=server_version):
            page = reply(b'secret page')
            with Origin(answer(page), tls=True,
                        version=server_version) as origin, Proxy() as proxy:
                client = proxy.tls(origin, version=client_version)
                equal(client.tls.version(),
                      client_version.name.replace('_', '.'), 'our side')
                client.send(get('/'))
                equal(client.read_exact(len(page)), page, 'the page')
                equal(origin.conns[0].tls.version(),
                      server_version.name.replace('_', '.'), 'their side')


@test('a hundred requests on one TLS connection')
def _():
    with Origin(answer(lambda r: reply(r.start)), tls=True) as origin, \
            Proxy() as proxy:
        client = proxy.tls(origin)
        for i in range(100):
            client.send(get('/%d' % i))
            equal(client.read_message().body, b'GET /%d HTTP/1.1' % i,
                  'the answer')
        equal(len(origin.conns), 1, 'connections at the server')


@test('plain HTTP in a tunnel')
def _():
    with Origin(answer(lambda r: reply(r.start))) as origin, \
            Proxy() as proxy:
        client = proxy.tunnel(origin)
        for i in range(3):
            client.send(get('/%d' % i))
            equal(client.read_message().body, b'GET /%d HTTP/1.1' % i,
                  'the answer')


@test('the ClientHello may come in the packet of CONNECT, or byte by byte')
def _():
    with Origin(answer(reply(b'ok')), tls=True) as origin, Proxy() as proxy:
        for step in (0, 1):
            client = proxy.connect()
            context = client_context(proxy.ca)
            incoming, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, out, server_hostname='localhost')
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            client.send(get(origin.auth, host=origin.auth, method='CONNECT')
                        + out.read(), step)
            client.read_head()
            while True:
                incoming.write(client.take(len(client.buf)))
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    check(client.more(), 'an end in the handshake')
            client.send(out.read(), step)


@contextlib.contextmanager
def shredded(port, size, up):
    """A port that leads to this one, the handshake's plain messages one way
    (up: to it) in records of so many bytes."""
    def pump(source, to, shred):
        with contextlib.suppress(OSError, Failed):
            while shred and (source.buf or source.more()):
                kind, version, n = struct.unpack('>B2sH', source.read_exact(5))
                data = source.read_exact(n)
                shred = kind == 22      # then all is sealed, or soon
                for i in range(0, n, size if shred else n):
                    part = data[i:i + size] if shred else data
                    to.send(struct.pack('>B2sH', kind, version, len(part))
                            + part)
            while source.buf or source.more():
                to.send(source.take(len(source.buf)))
        to.cut()

    def relay(conn):
        with Conn(socket.create_connection(('127.0.0.1', port))) as to:
            back = thread(pump, to, conn, not up)
            pump(conn, to, up)
            back.result()

    with Origin(relay) as origin:
        yield origin.port


@test('a handshake in records of one byte, or of some, from either side')
def _():
    with Origin(answer(reply(b'ok')), tls=True) as origin, \
            contextlib.ExitStack() as stack:
        for size in 1, 2, 3, 4, 5:
            with shredded(origin.port, size, False) as far, Proxy(
                    '-m', 'reverse:https://localhost:%d' % far) as proxy, \
                    shredded(proxy.port, size, True) as near:
                for words in ['-tls1_2'], ['-tls1_3'], \
                        ['-groups', 'X448:P-256']:  # is told to try again
                    like(command('openssl', 's_client', '-connect',
                                 '127.0.0.1:%d' % near, '-servername',
                                 'localhost', '-CAfile', proxy.ca, *words),
                         b'(?s)Verification: OK.*New, TLSv1', '%d, %s\n%s'
                         % (size, words, proxy.log()))
        for word in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            with shredded(origin.port, 1, False) as far, Proxy(
                    '-m', 'reverse:https://localhost:%d' % far) as proxy:
                client = proxy.connect().start_tls(
                    client_context(proxy.ca, word), 'localhost')
                client.send(get('/'))
                equal(client.read_message().body, b'ok', 'the answer')


@test('ALPN: of h2 and http/1.1 the client gets http/1.1')
def _():
    with Origin(answer(reply(b'ok')), tls=True,
                alpn=['h2', 'http/1.1']) as origin, Proxy() as proxy:
        client = proxy.tls(origin, alpn=['h2', 'http/1.1'])
        equal(client.tls.selected_alpn_protocol(), 'http/1.1', 'client')
        check(origin.conns[0].tls.selected_alpn_protocol() != 'h2',
              'the server was offered h2')


@test('a server that speaks first in a tunnel is heard')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        server = origin.next()
        server.send(b'220 mail.test ESMTP\r\n')
        equal(client.read_exact(21), b'220 mail.test ESMTP\r\n', 'greeting')
        client.send(b'QUIT\r\n')
        equal(server.read_exact(6), b'QUIT\r\n', 'command')


run()
