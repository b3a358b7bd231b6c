#!/usr/bin/env python3
"""Who reads slowly gets all the same, also when the sender is gone."""
import ctypes
from mitm import *

PIECE = 4096


def queues(local, remote):
    """The bytes of a TCP socket that were not read, and not taken by the
    other side; the kernel is asked by sock_diag(7)."""
    home = socket.inet_aton('127.0.0.1').ljust(16, b'\0')
    ask = (struct.pack('=BBBBI', socket.AF_INET, socket.IPPROTO_TCP, 0, 0,
                       0xffffffff) + struct.pack('>HH', local, remote)
           + home + home + struct.pack('=III', 0, 0xffffffff, 0xffffffff))
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as s:
            s.settimeout(DEADLINE)
            s.send(struct.pack('=IHHII', 16 + len(ask), 20, 1, 1, 0) + ask)
            data = s.recv(65536)
    except (AttributeError, OSError) as error:
        raise Skip('no sock_diag: %s' % error) from None
    kind, = struct.unpack_from('=H', data, 4)
    if kind != 20:
        error, = struct.unpack_from('=i', data, 16)
        if error == -2:                 # ENOENT
            return 0, 0
        raise Skip('no sock_diag: error %d' % error)
    return struct.unpack_from('=II', data, 72)


def kernel(conn):
    """The bytes in the kernel between the proxy and this client or server,
    who does not read: those that the proxy sent, those it has not read."""
    ours, theirs = conn.sock.getsockname()[1], conn.sock.getpeername()[1]
    waits, going = queues(ours, theirs)
    unread, sent = queues(theirs, ours)
    return sent + waits, unread + going


def narrow(proxy, sink):
    """Make the kernel hold little of what the proxy sends to sink: by itself
    it takes megabytes, and more when one thinks that it is full."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    fds = '/proc/%d/fd/' % proxy.process.pid
    with open(os.pidfd_open(proxy.process.pid)) as child:
        for fd in os.listdir(fds):
            if not os.readlink(fds + fd).startswith('socket:'):
                continue
            copy = call(438, child.fileno(), int(fd), 0)    # pidfd_getfd(2)
            if copy < 0:
                raise Skip('no pidfd_getfd: error %d' % ctypes.get_errno())
            with socket.socket(fileno=copy) as s, \
                    contextlib.suppress(OSError):
                if s.getpeername() == sink.sock.getsockname():
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
                    return
    check(False, 'the proxy has a socket to this one')


def settled(sink):
    """What waits in the kernel for a sink, once acknowledgements, which may
    be delayed, are no longer on their way."""
    before = None
    while before != (before := kernel(sink)[0]):
        time.sleep(0.25)
    return before


def fill(proxy, source, sink, piece=b'x' * PIECE):
    """Send until something waits in the proxy itself, as the way to sink is
    full, and nothing before it.  How many bytes it was."""
    narrow(proxy, sink)
    total = 0
    while True:
        check(total < 64 << 20, 'the proxy takes all')
        source.send(piece)
        total += len(piece)
        wait_for(lambda: kernel(source)[1] == 0, 'the proxy reads')
        if kernel(sink)[0] < total and settled(sink) < total - 4 * PIECE:
            return total


@contextlib.contextmanager
def page_left(second):
    """A client that has read the head of a page, of which the proxy has a
    part when the server has gone: proxy, client, the page's length."""
    with Origin() as origin, Proxy(second=second) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\n\r\n')
        client.read_head()
        total = fill(proxy, server, client)
        server.finish()
        yield proxy, client, total


@test('a page ended by close, to a client that pauses')
def _():
    with page_left(0.05) as (proxy, client, total):
        other = proxy.connect()     # has 20 s for the rest of its
        other.send(get('127.0.0.1:1', method='CONNECT')     # ClientHello,
                   + b'\x16\x03\x01\x02')     # a client 5 to close
        other.read_all()
        equal(len(client.read_all()), total, 'bytes')
        equal(client.end, 'eof', 'the end')


@test('who never takes the rest of a page is cut off at last')
def _():
    with page_left(0.01) as (proxy, client, _):
        proxy.wait_log('300 seconds for the client to take the rest')
        client.swallow()
        equal(client.end, 'reset', 'the end')


@test('a stream that the server has ended, to a server that pauses')
def _():
    with Origin() as origin, Origin(answer(reply(b'x'))) as other, \
            Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0')
        server = origin.next()
        server.read_exact(1)
        server.send(b'down')
        server.cut()
        equal(client.read_all(), b'down', 'what came down')
        total = fill(proxy, client, server)
        client.cut()
        equal(proxy.fetch(other).body, b'x', 'the proxy knows')
        equal(len(server.read_all()), total, 'bytes')
        equal(server.end, 'eof', 'the end')


@test('SIGTERM lets who reads slowly have the rest of an answer')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        client.read_head()
        piece = b'%x\r\n%s\r\n' % (PIECE, b'x' * PIECE)
        total = fill(proxy, server, client, piece)
        server.send(b'0\r\n\r\n')
        wait_for(lambda: kernel(server)[1] == 0, 'the proxy reads it all')
        proxy.process.terminate()
        proxy.wait_log('stopping')
        equal(len(client.read_all()), total + 5, 'bytes')
        equal(proxy.process.wait(DEADLINE), 0, 'exit status')


run()
