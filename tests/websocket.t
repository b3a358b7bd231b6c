#!/usr/bin/env python3
"""WebSocket through the proxy: what follows 101 is not touched."""
import base64, hashlib
from mitm import *

FILTERS = ('--request', 'sed s/echo/spoilt/', '--response',
           'sed s/echo/spoilt/')
ASK = (b'GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n'
       b'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
       b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')


def frame(opcode, data, mask=b''):
    """One frame (RFC 6455, 5.2)."""
    size = len(data)
    bit = 0x80 if mask else 0
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack('>H', size)
    else:
        head += bytes([bit | 127]) + struct.pack('>Q', size)
    return head + mask + (masked(data, mask) if mask else data)


def masked(data, mask):
    mask = (mask * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, 'big') ^ int.from_bytes(mask, 'big')
            ).to_bytes(len(data), 'big')


def read_frame(conn):
    first, size = conn.read_exact(2)
    mask, size = size & 0x80, size & 0x7f
    if size == 126:
        size = struct.unpack('>H', conn.read_exact(2))[0]
    elif size == 127:
        size = struct.unpack('>Q', conn.read_exact(8))[0]
    key = conn.read_exact(4) if mask else b''
    data = conn.read_exact(size)
    return first & 15, masked(data, key) if mask else data


def echo(conn):
    key = Message(conn.read_head())['sec-websocket-key']
    accept = base64.b64encode(hashlib.sha1(
        key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
    conn.send(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n'
              b'Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n'
              % accept)
    while True:
        opcode, data = read_frame(conn)
        conn.send(frame(opcode, data))
        if opcode == 8:
            return


def plain(origin, *fields):
    """The handshake of a client that asks a proxy for it, not for a tunnel."""
    return ASK.replace(b'/chat', origin.url('/chat').encode()).replace(
        b'Host:', b''.join(b'%s\r\n' % f for f in fields) + b'Host:')


@test('outside of a tunnel: the connection is for that server alone, and ends')
def _():
    with Origin(echo) as origin, Origin(answer(reply(b'x'))) as other, \
            Proxy() as proxy:
        client = proxy.connect()
        client.send(plain(origin))
        like(client.read_head(), rb'^HTTP/1\.1 101 ', 'the handshake')
        client.send(frame(1, b'hello', b'mask') + frame(8, b'', b'mask'))
        equal(read_frame(client), (1, b'hello'), 'the echo')
        equal(read_frame(client), (8, b''), 'the end')
        with contextlib.suppress(OSError):  # it may be closed by now
            client.send(get(other.url()))
        equal(client.read_all(), b'', 'more')
        equal(other.conns, [], 'connections of the other server')


@test('outside of a tunnel, and the next request is there already: refused')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(plain(origin) + get('http://other.test/', 'Cookie: c'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 101 Switching Protocols\r\n\r\n')
        equal(client.read_message().status, 502, 'status')
        unlike(server.read_all() + server.rx, b'Cookie', 'at the server')


@test('outside of a tunnel, behind --proxyauth: refused, in a tunnel not')
def _():
    login = b'Proxy-Authorization: Basic ' + base64.b64encode(b'a:b')
    with Origin(echo) as origin, Proxy('--proxyauth', 'a:b') as proxy:
        client = proxy.connect()
        client.send(plain(origin, login))
        got = client.read_message()
        equal(got.status, 502, 'status')
        like(got.body, rb'tunnel', 'the page')
        client = proxy.connect()
        client.send(b'CONNECT %s HTTP/1.1\r\n%s\r\n\r\n'
                    % (origin.auth.encode(), login))
        client.read_head()
        client.send(ASK)
        like(client.read_head(), rb'^HTTP/1\.1 101 ', 'the handshake')


for tls in (False, True):
    for filters in ((), FILTERS):
        @test('10,000 messages, large frames, the close handshake; %s, %s'
              % ('wss' if tls else 'ws',
                 'filters' if filters else 'no filter'))
        def _(tls=tls, filters=filters):
            with Origin(echo, tls=tls) as origin, Proxy(*filters) as proxy:
                client = proxy.tls(origin) if tls else proxy.tunnel(origin)
                client.send(ASK)
                like(client.read_head(), rb'^HTTP/1\.1 101 (?s:.*)'
                     rb's3pPLMBiTxaQ9kYGzzhZRbK\+xOo=', 'the handshake')
                count = 2000 if filters else 10000
                texts = [b'echo %d' % i for i in range(count)]

                def speak():
                    for i in range(0, count, 100):
                        client.send(b''.join(frame(1, t, b'mask')
                                             for t in texts[i:i + 100]))
                    client.send(frame(2, b'\0echo' * 200000, b'\1\2\3\4'))
                    client.send(frame(9, b'ping', b'mask'))
                    client.send(frame(8, b'\3\350bye', b'mask'))
                work = thread(speak)
                for text in texts:
                    equal(read_frame(client), (1, text), 'an echo')
                equal(read_frame(client), (2, b'\0echo' * 200000), 'large')
                equal(read_frame(client), (9, b'ping'), 'ping')
                equal(read_frame(client), (8, b'\3\350bye'), 'close')
                work.result()
                equal(client.read_all(), b'', 'after the close')
                equal(client.end, 'eof', 'the end')


run()
