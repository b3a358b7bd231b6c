#!/usr/bin/env python3
"""Large bodies in constant memory, up and down, past a filter and without.
MITM_BIG is their size in MiB."""
from mitm import *

BIG = int(os.environ.get('MITM_BIG', 128)) << 20
BLOCK = bytes(range(256)) * 1024
SOME = 8 << 20                          # so much more than idle is allowed


def bounded(proxy, idle):
    if sanitized():
        return
    more = proxy.memory('VmHWM') - idle
    check(more < SOME, '%d KiB more than idle' % (more >> 10))


for tls in (False, True):
    for filters in ((), ('--response', 'cat')):
        size = BIG // 4 if tls else BIG
        @test('%d MiB down, %s, %s' % (size >> 20, 'TLS' if tls else 'plain',
                                       'cat' if filters else 'no filter'))
        def _(tls=tls, filters=filters, size=size):
            def flood(conn):
                conn.read_head()
                conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n'
                          % size)
                conn.pour(BLOCK, size // len(BLOCK))
            with Origin(flood, tls=tls) as origin, Proxy(*filters) as proxy:
                idle = proxy.memory()
                got = proxy.curl('-o', '/dev/null', '-w', '%{size_download}',
                                 origin.url())
                equal(int(got), size, 'bytes')
                bounded(proxy, idle)


for filters in ((), ('--request', 'cat')):
    @test('%d MiB up, %s' % (BIG >> 20, 'cat' if filters else 'no filter'))
    def _(filters=filters):
        name = scratch('upload', b'')
        os.truncate(name, BIG)

        def count(conn):
            head, total = conn.read_head(), len(conn.buf)
            tail = b''
            chunks = b'chunked' in head.lower()
            while not (tail.endswith(b'0\r\n\r\n') if chunks
                       else total >= BIG):
                conn.buf.clear()
                conn.rx.clear()
                data = conn.more()
                total += len(data)
                tail = (tail + data)[-5:]
            conn.send(reply(b'%d' % (total >= BIG)))
        with Origin(count) as origin, Proxy(*filters) as proxy:
            idle = proxy.memory()
            got = proxy.curl('-T', name, '-H', 'Expect:', origin.url())
            equal(got, b'1', 'the answer')
            bounded(proxy, idle)


@test('a client that does not read: the server is held back, others are not')
def _():
    size = 64 << 20

    def flood(conn):
        head = conn.read_head()
        if b'/other' in head:
            return conn.send(reply(b'served'))
        conn.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        conn.pour(b'40000\r\n%s\r\n' % BLOCK, size // len(BLOCK))
        conn.send(b'0\r\n\r\n')
    for filters in ((), ('--response', 'cat')):
        with Origin(flood) as origin, Proxy(*filters) as proxy:
            idle = proxy.memory()
            slow = proxy.tunnel(origin)
            slow.send(get('/'))
            slow.read_until(b'\r\n\r\n')
            for _ in range(20):
                equal(proxy.fetch(origin, get('/other')).body, b'served',
                      'another flow')
            total = 0
            while not slow.buf.endswith(b'0\r\n\r\n'):
                del slow.rx[:]
                total += len(slow.buf)
                del slow.buf[:]
                slow.more()
            check(total + len(slow.buf) > size, 'bytes', total)
            bounded(proxy, idle)


# What an idle pair takes: our Mbed TLS lends its buffers.
EACH, PAIRS = 40 << 10, 100

for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    @test('%d idle pairs, %s, after 300 KB: less than %d KiB each'
          % (PAIRS, version.name, EACH >> 10))
    def _(version=version):
        body, clients, had = b'x' * 300000, [], 0
        with Origin(answer(reply(body)), tls=True, version=version) as origin, \
                Proxy() as proxy:
            for i in range(10 + PAIRS):
                clients.append(proxy.tls(origin))
                clients[i].send(get('/'))
                equal(clients[i].read_message().body, body, 'the body')
                had = had or i == 9 and proxy.memory()
            each = (proxy.memory() - had) / PAIRS
            check(sanitized() or each < EACH, 'bytes each', each)
            for client in clients:      # who has rested goes on
                client.send(get('/'))
            for client in clients:
                equal(client.read_message().body, body, 'the body')
                client.close()


@test('1,000 CAs take what is written in their certificates, and little more')
def _():
    from chains import root, pems
    cas = [root(key=('-newkey', 'rsa:2048', '-nodes')) for _ in range(5)]
    each = len(openssl('x509', '-in', cas[0], '-outform', 'der'))
    with Proxy(trust=cas[0]) as one, Proxy(trust=pems(*cas * 200)) as many:
        more = (many.memory() - one.memory()) / 1000
        note('%d bytes each, of %d' % (more, each))
        check(sanitized() or more < 1.5 * each, 'bytes each', more)


run()
