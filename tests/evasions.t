#!/usr/bin/env python3
"""--only-hosts before a real server, nginx, that serves two names: what it
tells in the name of the other must be out of reach, however it is asked."""
import ssl

from mitm import *

GOOD, EVIL = 'Host: allowed.test', 'Host: evil.test'
GET = 'GET / HTTP/1.1'


def lines(*of):
    return '\r\n'.join(of + ('', '')).encode('latin-1')


@contextlib.contextmanager
def nginx():
    """Its ports, plain and with TLS, and the names of what it has served."""
    root, ports = scratch('nginx'), (free_port(), free_port())
    os.mkdir(root)
    sites = ''.join('''
        server {
            listen 127.0.0.1:%d; listen 127.0.0.1:%d ssl http2;
            server_name %s; location / { return 200 "%s speaks\\n"; }
        }''' % (*ports, name, name) for name in ('allowed.test', 'evil.test'))
    config = scratch('nginx.conf', '''
        daemon off; master_process off; pid %(root)s/pid;
        error_log stderr notice;
        events {}
        http {
            log_format names '$server_name $request'; access_log %(root)s/log
                names; ignore_invalid_headers off;
            client_body_temp_path %(root)s/t1; proxy_temp_path %(root)s/t2;
            fastcgi_temp_path %(root)s/t3; uwsgi_temp_path %(root)s/t4;
            scgi_temp_path %(root)s/t5;
            ssl_certificate %(leaf)s; ssl_certificate_key %(leaf)s;
            ssl_protocols TLSv1.2 TLSv1.3; ssl_early_data on;
            ssl_ciphers ALL:@SECLEVEL=0;
            %(sites)s
        }''' % dict(root=root, sites=sites, leaf=make_leaf(
            names='DNS:allowed.test,DNS:evil.test', key=rsa(65537))))
    with running(need('nginx'), '-p', root, '-c', config, '-e', 'stderr',
                 ready='start worker|using the "'):
        for port in ports:
            listens(port)
        yield *ports, root + '/log'


@contextlib.contextmanager
def fenced(*args):
    """The proxy before it: the proxy, and what tells whether evil.test was
    reached."""
    with nginx() as (plain, tls, log), \
            Proxy('--only-hosts', r'^allowed\.test:(80|443)$', '--connect-to',
                  ':80:127.0.0.1:%d' % plain, '--connect-to',
                  ':443:127.0.0.1:%d' % tls, *args) as proxy:
        read = 0

        def held(what, answer):
            """nginx has told nothing in the name of evil.test."""
            nonlocal read
            client = tunnel(proxy, False)       # nginx has now seen the rest
            client.send(lines('GET /done HTTP/1.1', GOOD, 'Connection: close'))
            check(b'allowed.test speaks' in client.read_all(), 'what is good')
            wait_for(lambda: b'/done' in slurp(log)[read:], "nginx's log")
            seen = slurp(log)[read:]
            read += len(seen)
            check(b'evil.test speaks' not in answer and not re.search(
                b'(?m)^evil', seen), what, answer, seen)

        def forget():
            nonlocal read
            read = len(slurp(log))
        held.forget = forget
        yield proxy, held, plain, tls


def tunnel(proxy, tls):
    conn = proxy.tunnel('allowed.test:%d' % (443 if tls else 80))
    return conn.start_tls(client_context(proxy.ca), 'allowed.test') \
        if tls else conn


POST = lines('POST / HTTP/1.1', GOOD, 'Transfer-Encoding: chunked')
HIDDEN = lines(GET, EVIL, 'Connection: close')
REQUESTS = (
    ('HTTP/0.9 with an absolute target', b'GET http://evil.test/\r\n'),
    ('another scheme', lines('GET x://evil.test/ HTTP/1.1', GOOD)),
    ('a scheme and a long port',
     lines('GET http://evil.test:0000080/ HTTP/1.1', GOOD)),
    ('a port that is too big',
     lines('GET http://evil.test:99999/ HTTP/1.1', GOOD)),
    ('port 0', lines('GET http://evil.test:0/ HTTP/1.1', GOOD)),
    ('two users', lines('GET http://a@b@evil.test/ HTTP/1.1', GOOD)),
    ('a root dot', lines('GET http://evil.test./ HTTP/1.1', GOOD)),
    ('a tab in the request line',
     lines('GET\thttp://evil.test/ / HTTP/1.1', GOOD)),
    ('an authority for a target', lines('GET evil.test:80 HTTP/1.1', GOOD)),
    ('no Host and an absolute target',
     lines('GET http://evil.test/ HTTP/1.0')),
    ('a vertical tab in a line', lines(GET, GOOD, 'X: y\v' + EVIL)),
    ('LF alone', b'GET / HTTP/1.1\n' + EVIL.encode() + b'\n\n'),
    ('a trailer', POST + b'1\r\nx\r\n0\r\n' + EVIL.encode() + b'\r\n\r\n'),
    ('a request for a trailer', POST + b'0\r\n' + HIDDEN),
    ('a trailer that LF ends', POST + b'0\r\nX: y\n\n' + HIDDEN),
    ('HTTP/1.0 in chunks', lines('POST / HTTP/1.0', GOOD,
                                 'Transfer-Encoding: chunked',
                                 'Connection: keep-alive')
     + b'0\r\n\r\n' + HIDDEN),
    ('a blank coding', lines('POST / HTTP/1.1', GOOD, 'Transfer-Encoding: ',
                             'Content-Length: 90') + HIDDEN),
    ('identity, and a length', lines('POST / HTTP/1.1', GOOD,
                                     'Transfer-Encoding: identity',
                                     'Content-Length: 90') + HIDDEN),
    ('HTTP/2 at once', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes(9)),
)


@test('requests of every odd kind, plain and in TLS')
def _():
    with fenced() as (proxy, held, plain, tls):
        for what, request in REQUESTS:
            for over in False, True:
                client = tunnel(proxy, over)
                with contextlib.suppress(OSError):
                    client.send(request)
                    client.shutdown_write()
                held(what, client.read_all())


class Odd(Conn):
    """A client whose first flight of TLS is changed on its way."""
    change = None

    def flush(self):
        data, change, self.change = self.out.read(), self.change, None
        if data:
            with contextlib.suppress(OSError):
                self.sock.sendall(change(data) if change else data)


def record(kind, data):
    return bytes([kind]) + b'\3\1' + struct.pack('>H', len(data)) + data


def split(size):
    """A ClientHello in records of so many bytes."""
    return lambda hello: b''.join(
        record(22, hello[i:i + size]) for i in range(5, len(hello), size))


HELLOS = (
    ('an empty record before it', lambda hello: record(22, b'') + hello, True),
    ('records of a byte', split(1), True),
    ('records of four bytes', split(4), True),
    ('version 3.0', lambda hello: b'\x16\3\0' + hello[3:], True),
    ('version 3.9', lambda hello: b'\x16\3\x09' + hello[3:], True),
    ('an alert before it', lambda hello: record(21, b'\1\x5a') + hello, False),
    ('a ChangeCipherSpec before it', lambda hello: record(20, b'\1') + hello,
     False),
)


def over_tls(conn, change):
    """What this server says to a request for evil.test, in TLS with it."""
    conn.__class__, conn.change = Odd, change
    conn.start_tls(client_context(make_ca()), 'evil.test')
    conn.send(HIDDEN)
    return conn.read_all()


@test('TLS of every odd kind, which is to pass unopened')
def _():
    with fenced() as (proxy, held, plain, tls):
        for what, change, works in HELLOS:
            if works:                   # with nginx
                with Conn(socket.create_connection(
                        ('127.0.0.1', tls))) as conn:
                    like(over_tls(conn, change), b'evil.test speaks', what)
                held.forget()
            answer = b''
            with contextlib.suppress(OSError, Failed):
                answer = over_tls(proxy.tunnel('allowed.test:443'), change)
            held(what, answer)


@test('a ClientHello of SSL 2 gets no TLS')
def _():
    suites = b''.join(b'\0' + struct.pack('>H', suite) for suite in (
        0x9c, 0x9d, 0x3c, 0x2f, 0x35, 0xff))        # with RSA, without a curve
    body = b'\1\3\3' + struct.pack('>HHH', len(suites), 0, 32) + suites \
        + os.urandom(32)
    hello = struct.pack('>H', 0x8000 | len(body)) + body
    with fenced() as (proxy, held, plain, tls):
        with Conn(socket.create_connection(('127.0.0.1', tls))) as conn:
            conn.send(hello)
            like(conn.read_exact(6), rb'(?s)^\x16\x03\x03..\x02', 'nginx itself')
        client = proxy.tunnel('allowed.test:443')
        client.send(hello)
        equal(client.read_all(), b'', 'by the proxy')
        proxy.wait_log('there is HTTP or TLS in it')


@test('early data')
def _():
    ticket, early = scratch('ticket'), scratch('early', HIDDEN)
    with fenced() as (proxy, held, plain, tls):
        def s_client(*words):
            return command('openssl', 's_client', '-servername',
                           'allowed.test', '-tls1_3', '-ign_eof', *words,
                           stdin=lines('GET /mine HTTP/1.1', GOOD,
                                       'Connection: close'))
        direct = '-connect', '127.0.0.1:%d' % tls
        s_client(*direct, '-sess_out', ticket)
        like(s_client(*direct, '-sess_in', ticket, '-early_data', early),
             b'evil.test speaks', 'nginx itself')
        held.forget()
        s_client(*direct, '-sess_out', ticket)
        held('early data', s_client(
            '-proxy', '127.0.0.1:%d' % proxy.port, '-connect',
            'allowed.test:443', '-sess_in', ticket, '-early_data', early))


@test('HTTP/2 by ALPN')
def _():
    with fenced() as (proxy, held, plain, tls):
        for names, want in ((['h2', 'http/1.1'], 'http/1.1'), (['h2'], None)):
            client, chosen = proxy.tunnel('allowed.test:443'), None
            with contextlib.suppress(OSError, Failed):
                client.start_tls(client_context(proxy.ca, alpn=names),
                                 'allowed.test')
                chosen = client.tls.selected_alpn_protocol()
            equal(chosen, want, str(names))


run()
