"""WebSocket for tests, byte by byte: a client and servers whose frames are
exact (RFC 6455), the odd ones too."""
import base64, hashlib

from mitm import *

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b'dGhlIHNhbXBsZSBub25jZQ=='
ASK = (b'GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n'
       b'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
       b'Sec-WebSocket-Key: %s\r\n\r\n' % KEY)
LAST = ('--match', '~w')                # what filters of messages begin with


def accepted(key=KEY, fields=b''):
    """What a server says that speaks WebSocket."""
    digest = hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
    return (b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n'
            b'Connection: Upgrade\r\n%sSec-WebSocket-Accept: %s\r\n\r\n'
            % (fields, base64.b64encode(digest.digest())))


def masked(data, mask):
    mask = (mask * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, 'big') ^ int.from_bytes(mask, 'big')
            ).to_bytes(len(data), 'big')


def frame(opcode, data, mask=b'', fin=True, reserved=0, wide=0):
    """One frame; wide: the bytes of its length, if not the fewest."""
    size = len(data)
    wide = wide or (0 if size < 126 else 2 if size < 65536 else 8)
    length = bytes([(0x80 if mask else 0) | {0: size, 2: 126, 8: 127}[wide]])
    if wide:
        length += size.to_bytes(wide, 'big')
    return (bytes([fin << 7 | reserved << 4 | opcode]) + length + mask
            + (masked(data, mask) if mask else data))


def fragments(opcode, *parts, mask=b'', between=b''):
    """A message in several frames, with others between them."""
    return between.join(frame(0 if i else opcode, part, mask,
                              i == len(parts) - 1)
                        for i, part in enumerate(parts))


class Frame:
    """A frame as it came: .raw, and its parts."""

    def __init__(self, conn):
        def take(n):
            data = conn.read_exact(n)
            self.raw += data
            return data
        self.raw = b''
        first, size = take(2)
        self.opcode, self.fin = first & 15, bool(first & 0x80)
        self.reserved, self.is_masked = first >> 4 & 7, bool(size & 0x80)
        size &= 0x7f
        if size > 125:
            size = int.from_bytes(take(2 if size == 126 else 8), 'big')
        self.mask = take(4) if self.is_masked else b''
        data = take(size)
        self.data = masked(data, self.mask) if self.mask else data

    def __repr__(self):
        return 'Frame(%d, %s)' % (self.opcode, show(self.data))


def read_frame(conn):
    """The next frame, whole and not reserved: (opcode, data)."""
    f = Frame(conn)
    check(f.fin and not f.reserved, 'not a whole frame', f.raw)
    return f.opcode, f.data


def accept(conn, fields=b''):
    """The server's handshake; the request's head."""
    head = conn.read_head()
    conn.send(accepted(Message(head)['sec-websocket-key'], fields))
    return head


def echo(conn):
    """A server that sends back each frame, unmasked."""
    accept(conn)
    while True:
        opcode, data = read_frame(conn)
        conn.send(frame(opcode, data))
        if opcode == CLOSE:
            return


def upgrade(client, ask=ASK):
    """The client's handshake; the client."""
    client.send(ask)
    like(client.read_head(), rb'^HTTP/1\.1 101 ', 'the handshake')
    return client


def enter(proxy, origin, way='connect'):
    """A client behind the proxy, by this way in, and after its handshake."""
    if way == 'connect':
        conn = proxy.tls(origin) if origin.tls else proxy.tunnel(origin)
    else:
        conn = proxy.connect()
    if way == 'socks':
        conn.send(b'\5\1\0\5\1\0\3\x09localhost'
                  + origin.port.to_bytes(2, 'big'))
        conn.read_exact(12)
    if way in ('socks', 'reverse') and origin.tls:
        conn.start_tls(client_context(proxy.ca), 'localhost')
    ask = ASK
    if way == 'absolute':
        ask = ASK.replace(b'/chat', origin.url('/chat').encode(), 1)
    return upgrade(conn, ask)
