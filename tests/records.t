#!/usr/bin/env python3
"""TLS records of all sizes, in each suite, in any pieces, go both ways."""
import random
from mitm import *

SEED = int(os.environ.get('MITM_SEED', time.time_ns() % 10 ** 9))
SIZES = [1, 2, 15, 16, 17, 255, 256, 1000, 4096, 16383, 16384, 40000]


def torn(r, conn, data, most):
    """data in records of random sizes, whose bytes leave in random pieces."""
    at = 0
    while at < len(data):
        with conn.lock:
            for _ in range(r.randint(1, 9)):
                n = r.choice(SIZES)
                if at < len(data):
                    conn.tls.write(data[at:at + n])
                at += n
            wire = conn.out.read()
        while wire:
            n = r.randint(1, most)
            conn.sock.sendall(wire[:n])
            wire = wire[n:]


def context_of(context, suite):
    """It speaks that alone: of TLS 1.2, if not TLS 1.3."""
    if suite == 'TLS 1.3':
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        name, _, how = suite.partition(', ')
        context.set_ciphers('ECDHE-ECDSA-%s:@SECLEVEL=0' % name)
        if how == 'MAC then encrypt':
            context.options |= 1 << 19  # SSL_OP_NO_ENCRYPT_THEN_MAC
    return context


SUITES = ['TLS 1.3', 'AES128-GCM-SHA256', 'AES256-GCM-SHA384',
          'CHACHA20-POLY1305', 'AES256-SHA384', 'AES128-SHA',
          'AES128-SHA256, MAC then encrypt']

for number, (theirs, ours) in enumerate(
        [(s, s) for s in SUITES] + [(SUITES[0], SUITES[1]),
                                    (SUITES[3], SUITES[0])]):
    @test('%s; behind us, %s' % (ours, theirs))
    def _(number=number, ours=ours, theirs=theirs):
        note('MITM_SEED=%d' % SEED)
        r = random.Random(SEED + number)
        data = r.randbytes(600000)

        def echo(conn):
            torn(r, conn, conn.read_exact(len(data)), 30000)

        with Origin(echo, tls=True) as origin, \
                Proxy('--tcp-hosts', '.') as proxy:
            context_of(origin.context, theirs)
            client = proxy.tunnel(origin)
            client.start_tls(context_of(client_context(proxy.ca), ours),
                             'localhost')
            like(client.tls.cipher()[0], ours.partition(', ')[0].replace(
                'TLS 1.3', 'TLS_AES'), 'the suite')
            sent = thread(torn, r, client, data, 3000)
            check(client.read_exact(len(data)) == data, 'the same came back')
            sent.result()


@test('bytes one by one')
def _():
    with Origin(answer(reply(b'p' * 300)), tls=True) as origin, \
            Proxy() as proxy:
        client = proxy.tls(origin)
        client.tls.write(get('/'))
        for byte in client.out.read():
            client.sock.sendall(bytes([byte]))
        equal(client.read_message().body, b'p' * 300, 'the page')


for version, args in ((ssl.TLSVersion.TLSv1_2, ()),
                      (ssl.TLSVersion.TLSv1_3, ('--response', 'cat'))):
    @test('what came in one record goes in one, a head and its body, '
          + version.name)
    def _(version=version, args=args):
        with Origin(answer(reply(b'p' * 300)), tls=True) as origin, \
                Proxy(*args) as proxy:
            client = proxy.tls(origin, version=version)
            for _ in range(2):          # tickets come before the first
                client.send(get('/', 'Content-Length: 3', method='POST')
                            + b'abc')
                wire = client.receive(time.monotonic() + DEADLINE)
                client.incoming.write(wire)
                equal(client.read_message().body, b'p' * 300, 'the page')
            equal(int.from_bytes(wire[3:5], 'big') + 5, len(wire),
                  'the length of a record, and of all')


@test('what was changed on the way is refused, and nothing of it goes on')
def _():
    with Origin(tls=True) as origin, Proxy('--tcp-hosts', '.') as proxy:
        client = proxy.tls(origin)
        server = origin.next()
        client.send(b'good')
        equal(server.read_exact(4), b'good', 'what was sealed well')
        client.tls.write(b'b' * 100)
        wire = bytearray(client.out.read())
        wire[-20] ^= 1
        client.sock.sendall(wire)
        client.swallow()
        like(client.end.lower(), 'bad.record.mac', 'what the client hears')
        server.swallow()
        equal(server.rx, b'good', 'what the server got')


@test('a client that leaves: the server gets close_notify, if in no request')
def _():
    for number, (more, end) in enumerate((
            ((), 'eof'), (('Content-Length: 9',), 'cut'),
            (('Transfer-Encoding: chunked',), 'cut'))):
        with Origin(tls=True) as origin, Proxy() as proxy:
            client = proxy.tls(origin)
            client.send(get('/', *more))
            server = origin.next()
            server.read_head()
            if not more:
                server.send(reply(b'x'))
                client.read_message()
                client.finish()
            else:
                client.reset()
            server.read_all()
            check(server.end in (end, 'reset' if more else end), 'the end of '
                  'request %d' % number, server.end)


@test('the proxy stops: a client gets close_notify, if in no page')
def _():
    def behave(conn):
        conn.read_head()
        conn.send(reply(b'x'))
        conn.read_head()
        conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx')
        conn.read_all()
    for end in 'eof', 'cut':
        with Origin(behave, tls=True) as origin, Proxy() as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            client.read_message()
            if end == 'cut':
                client.send(get('/'))
                client.read_head()
            os.kill(proxy.pid, signal.SIGTERM)
            if end == 'cut':
                proxy.wait_log('stopping')
                os.kill(proxy.pid, signal.SIGTERM)      # at once
            client.read_all()
            check(client.end in (end, 'reset' if end == 'cut' else end),
                  'the end', client.end)


run()
