#!/usr/bin/env python3
"""--tcp-hosts: TLS is opened, and what is inside is a stream, not HTTP."""
from mitm import *

SPOIL = '--response', 'sed -u s/page/pagan/', '--request', 'sed -u s/GET/PUT/'


def echo(conn):
    """Sends back each line, and at the end that there was one."""
    while wait_message(conn):
        conn.send(conn.take(len(conn.buf)))
    conn.send(b'the end\n')


def rule(origin):
    return '--tcp-hosts', ':%d$' % origin.port


@test('what looks like HTTP is a stream: nothing is mended, filters see all')
def _():
    def behave(conn):
        equal(conn.read_exact(len(request)), request, 'what the origin gets')
        conn.send(reply(b'a page') + b'and more\nof a page')
    request = get('http://localhost/ PUT', 'Proxy-Connection: close',
                  'Accept-Encoding: gzip').replace(b'GET', b'PUT')
    with Origin(behave, tls=True) as origin, \
            Proxy(*rule(origin), *SPOIL) as proxy:
        client = proxy.tls(origin)
        client.send(request.replace(b'PUT', b'GET', 1))
        client.shutdown_write()
        equal(client.read_all(), reply(b'a page')[:-6] +
              b'a pagan' b'and more\nof a pagan', 'what the client gets')
        equal(client.end, 'eof', 'the end')
        equal(origin.errors, [], 'errors at the origin')


@test('bytes go on at once, both ways, and each end by itself')
def _():
    with Origin(echo, tls=True) as origin, \
            Proxy(*rule(origin), *SPOIL) as proxy:
        client = proxy.tls(origin)
        for line in b'GET page\n', b'page GET\n', b'x\n':
            client.send(line)
            equal(client.read_until(b'\n'), line.replace(b'GET', b'PUT')
                  .replace(b'page', b'pagan'), 'the echo')
        client.shutdown_write()
        equal(client.read_all(), b'the end\n', 'after our end')
        equal(client.end, 'eof', 'the end')


@test('a coprocess gets a stream when that is whole, which is told')
def _():
    whole = script('#!' + sys.executable + '\nimport sys\n'
                   'i, o = sys.stdin.buffer, sys.stdout.buffer\n'
                   'for line in i:\n i.read(int(line.split()[0]))\n'
                   ' o.write(b"-\\n")\n o.flush()\n')
    with Origin(echo, tls=True) as origin, \
            Proxy(*rule(origin), '--coprocess', '--request', whole,
                  coprocesses=1) as proxy:
        client = proxy.tls(origin)
        client.send(b'one\ntwo\n')
        proxy.wait_log('a coprocess gets a message when that is whole, and so '
                       'of a stream nothing passes %s until it has ended'
                       % re.escape(whole))
        client.shutdown_write()
        equal(client.read_all(), b'one\ntwo\nthe end\n', 'what comes back')


@test('another host is HTTP still; so is plain HTTP to the proxy')
def _():
    page = answer(lambda r: reply(b'page ' + r.start))
    with Origin(page, tls=True) as one, Origin(page) as two, \
            Proxy('--tcp-hosts', 'nobody', '--response',
                  'sed s/page/pagan/') as proxy:
        for origin in one, two:
            equal(proxy.curl(origin.url()), b'pagan GET / HTTP/1.1', 'a page')


@test('the server name counts, too')
def _():
    with Origin(echo, tls=True) as origin, \
            Proxy('--tcp-hosts', r'^origin\.test:%d$' % origin.port) as proxy:
        client = proxy.tls(origin, 'origin.test')
        client.send(b'GET / HTTP/1.1\n')
        equal(client.read_until(b'\n'), b'GET / HTTP/1.1\n', 'the echo')


@test('plain text, from CONNECT, SOCKS and reverse mode')
def _():
    with Origin(echo) as origin:
        with Proxy(*rule(origin), *SPOIL) as proxy:
            conn = proxy.connect()
            conn.send(b'\5\1\0\5\1\0\1\x7f\0\0\1'
                      + struct.pack('>H', origin.port))
            conn.read_exact(12)
            conns = [conn, proxy.tunnel(origin)]
            for conn in conns:
                conn.send(b'GET page\n')
                equal(conn.read_until(b'\n'), b'PUT pagan\n', 'the echo')
        with Proxy('-m', 'reverse:' + origin.url()[:-1], *rule(origin),
                   *SPOIL) as proxy:
            conn = proxy.connect()
            conn.send(b'GET page\n')
            equal(conn.read_until(b'\n'), b'PUT pagan\n', 'the echo')


@test('the server may speak first inside TLS')
def _():
    def greet(conn):
        conn.send(b'220 page\n')
        conn.send(conn.read_until(b'\n').upper())
    with Origin(greet, tls=True) as origin, \
            Proxy(*rule(origin), *SPOIL) as proxy:
        client = proxy.tls(origin)
        equal(client.read_until(b'\n'), b'220 pagan\n', 'the greeting')
        client.send(b'quit\n')
        equal(client.read_until(b'\n'), b'QUIT\n', 'the answer')


for offer, speaks, chosen in (
        (['h2', 'http/1.1'], ['h2', 'http/1.1'], 'h2'),
        (['h2', 'http/1.1'], ['http/1.1'], 'http/1.1'),
        (['h2'], ['h2'], 'h2'), (['x-foo', 'x-bar'], ['x-bar'], 'x-bar'),
        (['h2'], None, None), (None, ['h2'], None),
        (list('abcdefghijklmnopqr'), ['o'], 'o')):     # the 15th
    @test('ALPN: the client offers %s, the server speaks %s'
          % (offer, speaks))
    def _(offer=offer, speaks=speaks, chosen=chosen):
        with Origin(echo, tls=True, alpn=speaks) as origin, \
                Proxy(*rule(origin)) as proxy:
            for _ in range(2):          # the second resumes
                client = proxy.tls(origin, alpn=offer)
                equal(client.tls.selected_alpn_protocol(), chosen, 'ours')
                client.send(b'PRI *\n')
                equal(client.read_until(b'\n'), b'PRI *\n', 'the echo')
                equal(origin.conns[-1].tls.selected_alpn_protocol(), chosen,
                      "the server's")
                client.shutdown_write()
                equal(client.read_all(), b'the end\n', 'the end')


@test('HTTP/2 with curl and nginx passes as it is')
def _():
    program, home, port = need('nginx'), directory(), free_port()
    if b'HTTP2' not in command(need('curl'), '--version'):
        raise Skip('curl knows no HTTP/2')
    conf = scratch('nginx.conf', '''
        daemon off; master_process off; pid %(home)s/pid; events {}
        error_log stderr;
        http {
            access_log off; client_body_temp_path %(home)s/t1;
            proxy_temp_path %(home)s/t2; fastcgi_temp_path %(home)s/t3;
            uwsgi_temp_path %(home)s/t4; scgi_temp_path %(home)s/t5;
            server {
                listen 127.0.0.1:%(port)d ssl http2; server_name localhost;
                ssl_certificate %(leaf)s; ssl_certificate_key %(leaf)s;
                location / { return 200 "$server_protocol"; }
            }
        }''' % dict(home=home, port=port, leaf=make_leaf()))
    with running(program, '-p', home, '-c', conf, '-e', 'stderr') as child:
        listens(port, child)
        url = 'https://localhost:%d/' % port
        with Proxy('--tcp-hosts', ':%d$' % port) as proxy:
            equal(proxy.curl('--http2', url, url), b'HTTP/2.0' * 2, 'as TCP')
        with Proxy() as proxy:
            equal(proxy.curl('--http2', url), b'HTTP/1.1', 'as HTTP')


@test('a server that cannot be trusted: the end, and the log says why')
def _():
    with Origin(echo, tls=True, cert=make_leaf(
            ca=make_ca('Nobody knows me'))) as origin, \
            Proxy(*rule(origin), *SPOIL) as proxy:
        client = proxy.tls(origin)
        client.send(b'secret\n')
        unlike(client.read_all(), b'secret', 'what comes')
        equal(origin.rx, b'', 'what the server gets')
        proxy.wait_log('not to be trusted')


@test('misuse')
def _():
    for words in (('--tcp-hosts', '*('), ('--tcp-hosts', 'a', '--tcp-hosts',
                                          'b')):
        status, _, err = mitmproxy('-p', '0', *words)
        equal(status, 2, 'the exit status')
        like(err, r'^mitmproxy: --tcp-hosts [^\n]*\n', 'the error')


run()
