#!/usr/bin/env python3
"""--proxy-protocol: clients' addresses as HAProxy and nginx tell them."""
from mitm import *

SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
PAGE = reply(b'page\n')
V1 = b'PROXY TCP4 192.0.2.7 192.0.2.8 5678 443\r\n'
WHO = ('-R', 'sed "s/page/$MITM_CLIENT/"')


def v2(family, body, command=0x21):
    return SIGNATURE + struct.pack('>BBH', command, family, len(body)) + body


FOUR = v2(0x11, socket.inet_aton('192.0.2.7') + socket.inet_aton('192.0.2.8')
          + struct.pack('>HH', 5678, 443))
SIX = v2(0x21, socket.inet_pton(socket.AF_INET6, '2001:db8::7') * 2
         + struct.pack('>HH', 5678, 443) + b'\x04\0\x03abc')
GOOD = ((V1, '192.0.2.7:5678'), (FOUR, '192.0.2.7:5678'),
        (b'PROXY TCP6 2001:db8::7 ::1 5678 443\r\n', '[2001:db8::7]:5678'),
        (b'PROXY TCP6 ::ffff:192.0.2.7 ::1 5678 443\r\n', '192.0.2.7:5678'),
        (SIX, '[2001:db8::7]:5678'), (b'PROXY UNKNOWN\r\n', None),
        (b'PROXY UNKNOWN ff::1 whatever 1 2\r\n', None),
        (v2(0, b''), None), (v2(0x31, bytes(216)), None),
        (v2(0x11, bytes(12), 0x20), None))


def body(proxy, origin, *pieces, tls=False):
    """What a client gets of the origin, behind these bytes."""
    conn = proxy.connect()
    for piece in pieces:
        conn.send(piece)
    conn.send(get(origin.auth, host=origin.auth, method='CONNECT'))
    conn.read_head()
    if tls:
        conn.start_tls(client_context(proxy.ca), 'localhost')
    conn.send(get('/'))
    return conn.read_message().body.decode().strip(), conn


for tls in False, True:
    @test('versions 1 and 2: filters are told of that client (%s)'
          % ('https' if tls else 'http'))
    def _(tls=tls):
        with Origin(answer(PAGE), tls=tls) as origin, \
                Proxy('--proxy-protocol', *WHO) as proxy:
            for head, want in GOOD:
                got, conn = body(proxy, origin, head, tls=tls)
                equal(got, want or '%s:%d' % conn.sock.getsockname(),
                      'the client of %r' % head)


@test('byte by byte, and all at once with the request')
def _():
    with Origin(answer(PAGE)) as origin, Proxy('--proxy-protocol',
                                               *WHO) as proxy:
        for head in V1, SIX:
            want = dict(GOOD)[head]
            equal(body(proxy, origin, *(head[i:i + 1] for i in range(
                len(head))))[0], want, 'byte by byte')
            conn = proxy.connect()
            conn.send(head + get(origin.url(), host=origin.auth))
            equal(conn.read_message().body, want.encode() + b'\n', 'at once')


@test('missing or malformed: closed, and a line says so')
def _():
    with Proxy('--proxy-protocol') as proxy:
        for n, bad in enumerate((
                get('http://localhost/'), b'\x16\x03\x01\0\0', b'\5\1\0',
                V1.replace(b'TCP4', b'UDP4'), V1.replace(b'TCP4', b'TCP6'),
                V1.replace(b' 192.0.2.7', b'  192.0.2.7'),
                V1.replace(b'192.0.2.7', b'192.0.2.777'),
                V1.replace(b'5678', b'65536'), V1.replace(b'5678', b'+678'),
                V1.replace(b'5678', b'05678'), V1.replace(b'\r\n', b'\n'),
                V1.replace(b' 443', b''), V1.replace(b'443', b'443 x'),
                b'PROXY UNKNOWN' + 200 * b'x', b'proxy TCP4',
                v2(0x11, bytes(11)), v2(0x21, bytes(35)),
                v2(0x11, bytes(12), 0x31), v2(0x11, bytes(12), 0x22),
                v2(0x11, bytes(65535)), SIGNATURE[:-1] + b'x'), 1):
            conn = proxy.connect()
            conn.send(bad)
            conn.read_all()
            check(conn.end in ('eof', 'reset'), 'it is closed', bad)
            wait_for(lambda: proxy.log().count('--proxy-protocol asks') == n,
                     'a line for %r' % bad)
        conn = proxy.connect()
        conn.send(V1[:20])
        conn.finish()
        wait_for(lambda: proxy.log().count('--proxy-protocol asks') > n,
                 'a line for half a header')


@test('a health check that connects and leaves makes no noise')
def _():
    with Proxy('--proxy-protocol') as proxy:
        for head in b'', v2(0, b'', 0x20):
            conn = proxy.connect()
            conn.send(head)
            conn.shutdown_write()
            conn.read_all()
        unlike(proxy.log(), 'asks|waited', 'the log')


@test('who never says the header is cut off')
def _():
    with Proxy('--proxy-protocol', second=0.05) as proxy:
        for head in b'', V1[:9]:
            conn = proxy.connect()
            conn.send(head)
            conn.read_all()
        proxy.wait_log('(?s)(waited 10 seconds for the header of --proxy-pro.*'
                       '){2}')


@test('the address stands in -w, and in the log')
def _():
    name = scratch('capture')
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('--proxy-protocol', '-v', '-w', name) as proxy:
        body(proxy, origin, FOUR, tls=True)
        proxy.wait_log(r'192\.0\.2\.7:5678 asks for a tunnel')
    like(slurp(name), re.escape(socket.inet_aton('192.0.2.7')), '-w')


@test('in reverse mode, with TLS')
def _():
    with Origin(answer(PAGE)) as origin, \
            Proxy('--proxy-protocol', '-m', 'reverse:' + origin.url(),
                  *WHO) as proxy:
        conn = proxy.connect()
        conn.send(V1)
        conn.start_tls(client_context(proxy.ca), 'localhost')
        conn.send(get('/'))
        equal(conn.read_message().body, b'192.0.2.7:5678\n', 'the client')


@test("nginx's stream module")
def _():
    nginx, port = need('nginx'), free_port()
    module = '/usr/lib/nginx/modules/ngx_stream_module.so'
    load = 'load_module %s;' % module if os.path.exists(module) else ''
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('--proxy-protocol', *WHO) as proxy:
        conf = scratch('nginx.conf', '%s daemon off; master_process off; '
                       'error_log stderr; pid %s; events {} stream { server { '
                       'listen 127.0.0.1:%d; proxy_pass 127.0.0.1:%d; '
                       'proxy_protocol on; } }' % (load, scratch('pid'), port,
                                                   proxy.port))
        if subprocess.run([nginx, '-t', '-c', conf],
                          stderr=subprocess.DEVNULL).returncode:
            raise Skip('this nginx has no stream module')
        with running(nginx, '-c', conf) as child:
            listens(port, child)
            there, proxy.port = proxy.port, port
            got, conn = body(proxy, origin, tls=True)
            equal(got, '%s:%d' % conn.sock.getsockname(), 'the client')
            proxy.port = there


HAPROXY = '''
global
    log stderr format raw local0
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend proxy
    bind 127.0.0.1:%d
    default_backend instances
backend instances
    balance source
    hash-type consistent
    option redispatch 1
    retries 3
    default-server check inter 200ms fall 1 rise 1 send-proxy-v2
    server a 127.0.0.1:%d
    server b 127.0.0.1:%d
'''


@test('HAProxy before two instances that share cert.pem: one is killed under '
      'load, and nothing is lost but what was open on it')
def _():
    haproxy, port, ca = need('haproxy'), free_port(), scratch('cert.pem')
    ports = free_port(), free_port()
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('--proxy-protocol', *WHO, '-p', str(ports[0]),
                  ca=ca) as a, \
            Proxy('--proxy-protocol', *WHO, '-p', str(ports[1]), ca=ca) as b:
        conf = scratch('haproxy.cfg', HAPROXY % (port, *ports))
        with running(haproxy, '-db', '-f', conf) as child:
            listens(port, child)

            def fetch(source):
                """A page for this client; whether it came, and by whom."""
                with socket.create_connection(
                        ('127.0.0.1', port), DEADLINE, (source, 0)) as s:
                    conn = Conn(s)
                    conn.send(get(origin.auth, host=origin.auth,
                                  method='CONNECT'))
                    conn.read_head()
                    conn.start_tls(client_context(ca), 'localhost')
                    conn.send(get('/'))
                    got = conn.read_message().body
                    like(got, rb'^%s:\d+\n$' % re.escape(source).encode(),
                         'the client that the filter sees')
                    return True
            clients = ['127.0.1.%d' % n for n in range(1, 25)]
            for client in clients:
                fetch(client)

            by = [len(re.findall('>>', p.out())) for p in (a, b)]
            check(all(by) and sum(by) >= len(clients), 'both serve', by)
            stop, lost = threading.Event(), []

            def load(client):
                count = 0
                while not stop.is_set():
                    began = time.monotonic()
                    try:
                        fetch(client)
                        count += 1
                    except Exception as error:
                        lost.append((began, client, error))
                return count
            loads = [thread(load, c) for c in clients[:8]]
            wait_for(lambda: len(re.findall('>>', b.out())) > by[1] + 5, 'load')
            b.kill()
            killed = time.monotonic()
            before = len(re.findall('>>', a.out()))
            wait_for(lambda: len(re.findall('>>', a.out())) > before + 40,
                     'the other serves them')
            stop.set()
            for worker in loads:
                check(worker.result() > 0, 'pages')
            check(not [e for e in lost if e[0] > killed],
                  'nothing is lost that began when it was gone', lost)
            for client in clients:
                fetch(client)           # each of them is served by a
        b.stop = lambda: None


run()
