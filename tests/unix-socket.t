#!/usr/bin/env python3
"""--listen-host unix:PATH."""
from mitm import *


class Unix(Proxy):
    """The proxy on a Unix socket; connect() is a bare connection to it."""

    def __init__(self, *args, path=None, **more):
        self.path = path or scratch('socket')
        super().__init__('--listen-host', 'unix:' + self.path, *args, **more)

    def wait_log(self, regex, *more):
        found = super().wait_log(regex.replace(r'\S+:(\d+)\n', r'unix:(.*)\n'),
                                 *more)
        return re.match('(0)', '0') if 'listening' in regex else found

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.path)
        conn = Conn(s)
        self.clients.append(conn)
        return conn


@test('a socket of mode 0600, which is gone at the end')
def _():
    with Unix() as proxy:
        equal(os.stat(proxy.path).st_mode & 0o7777, 0o600, 'mode')
        proxy.wait_log('listening on unix:' + proxy.path)
        unlike(proxy.log(), 'whoever reaches', 'the log')
    check(not os.path.exists(proxy.path), 'it is removed')


@test('CONNECT, plain HTTP and SOCKS, with filters that are told of the client')
def _():
    page = reply(b'a cloud\n')
    with Origin(answer(page), tls=True) as origin, Origin(
            answer(page)) as plain, Unix('-R', 'sed "s/cloud/$MITM_CLIENT/"',
                                         '-j', '2') as proxy:
        equal(proxy.fetch(origin).body, b'a unix:\n', 'in a tunnel')
        conn = proxy.connect()
        conn.send(get(plain.url(), host=plain.auth))
        equal(conn.read_message().body, b'a unix:\n', 'plain')
        conn = proxy.connect()
        conn.send(b'\5\1\0')
        equal(conn.read_exact(2), b'\5\0', 'the SOCKS greeting')


@test('curl and socat reach it')
def _():
    with Origin(answer(reply(b'a page\n'))) as origin, \
            Unix('-m', 'reverse:' + origin.url()) as proxy:
        equal(command(need('curl'), '-sS', '--unix-socket', proxy.path,
                      'http://any.test/', status=0), b'a page\n', 'curl')
        equal(command(need('socat'), '-', 'UNIX-CONNECT:' + proxy.path,
                      stdin=get('/') .replace(b'1.1\r', b'1.0\r')),
              reply(b'a page\n'), 'socat')


@test('what is stale is replaced; what is alive, or no socket, is refused')
def _():
    path = scratch('socket')
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    check(os.path.exists(path), 'a stale socket')
    with Unix(path=path) as proxy:
        status, _, err = mitmproxy('--ca', scratch('cert.pem'),
                                   '--listen-host', 'unix:' + path)
        equal(status, 1, 'status of a second one')
        like(err, r'^mitmproxy: .*%s: .*another.*\n$' % path, 'why')
        proxy.connect()
        check(os.path.exists(path), 'it is still there')
    for path, why in ((scratch('file', 'x'), 'no socket'),
                      ('/nosuch/dir/s', 'No such file'),
                      ('/tmp/' + 200 * 'x', '107 bytes')):
        status, _, err = mitmproxy('--ca', scratch('cert.pem'),
                                   '--listen-host', 'unix:' + path)
        equal(status, 1, 'status')
        like(err, '^mitmproxy: .*%s.*\n$' % why, 'why')


@test('one that was killed leaves a stale socket; the next one takes its place')
def _():
    path = scratch('socket')
    proxy = Unix(path=path)
    proxy.kill()
    check(os.path.exists(path), 'a stale socket')
    with Unix(path=path) as proxy:
        proxy.connect()


@test('-w has clients of a Unix socket, too')
def _():
    name = scratch('capture')
    with Origin(answer(reply(b'a page\n'))) as origin, \
            Unix('-w', name) as proxy:
        proxy.fetch(origin)
    like(slurp(name), b'a page\n', 'the capture')


@test('a COMMAND, or transparent mode, has no use for it')
def _():
    for args in (['--', 'true'], ['-m', 'transparent']):
        status, _, err = mitmproxy('--listen-host', 'unix:/x', *args)
        equal(status, 2, 'status')
        like(err, 'unix:/x', 'why')


run()
