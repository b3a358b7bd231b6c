#!/usr/bin/env python3
"""Streams that turn into TLS half way: STARTTLS of SMTP and IMAP, the
SSLRequest of PostgreSQL, with real servers and clients; and by the byte."""
import getpass, glob, grp, pwd
from mitm import *

PERL = "perl -e '$|=1; while (sysread STDIN, $_, 65536) { %s; print }'"


def curl(proxy, *words, status=0):
    """curl by CONNECT, where TLS is a must, checked with our CA."""
    return command(need('curl'), '-sS', '--noproxy', '', '--max-time', '20',
                   '-p', '-x', 'http://127.0.0.1:%d' % proxy.port,
                   '--cacert', proxy.ca, '--ssl-reqd', *words, status=status)


def s_client(proxy, port, *words, stdin=b'', status=0):
    """openssl s_client by CONNECT, checked with our CA."""
    return command('openssl', 's_client', '-proxy', '127.0.0.1:%d'
                   % proxy.port, '-connect', 'localhost:%d' % port,
                   '-verify_hostname', 'localhost', '-verify_return_error',
                   '-CAfile', proxy.ca, *words, stdin=stdin, status=status)


# ----------------------------------------------------------------- SMTP

@contextlib.contextmanager
def smtp_server():
    """aiosmtpd, which prints the mail that it gets."""
    program, port, leaf = need('aiosmtpd'), free_port(), make_leaf()
    with running(program, '-n', '-l', '127.0.0.1:%d' % port, '--tlscert',
                 leaf, '--tlskey', leaf,
                 env={'PYTHONUNBUFFERED': '1'}) as child:
        listens(port, child)
        child.port = port
        yield child


@test('SMTP: curl sends a mail, filters change what comes before and after')
def _():
    with smtp_server() as server, Proxy(
            '-v', '--request', 'sed -u s/Monday/Friday/', '--response',
            'sed -u -e s/^220.*SMTP/220\\ Purple/ -e s/OK/Fine/') as proxy:
        name = scratch('mail', 'Subject: Monday\r\n\r\nCome on Monday.\r\n')
        text = curl(proxy, '-v', '--mail-from', 'a@example.org', '--mail-rcpt',
                    'b@example.org', '-T', name, 'smtp://localhost:%d/me'
                    % server.port)
        like(text, rb'< 220 Purple(?s:.*)SSL connection(?s:.*)< 250 Fine',
             'what curl is told')
        wait_for(lambda: b'END MESSAGE' in slurp(server.output), 'the mail')
        text = slurp(server.output)
        like(text, rb'Subject: Friday\n(?s:.*)Come on Friday\.', 'the mail')
        proxy.wait_log(r'TLSv1\.3 with 127\.0\.0\.1:\d+ for localhost')


@test('SMTP: openssl s_client -starttls, with and without a server name')
def _():
    with smtp_server() as server, Proxy(
            '--response', 'sed -u s/^221.*/221\\ filtered/') as proxy:
        for words in ('-servername', 'localhost'), ('-noservername',):
            like(s_client(proxy, server.port, '-starttls', 'smtp', '-ign_eof',
                          *words, stdin=b'QUIT\r\n'),
                 rb'221 filtered', 'the answer inside TLS')


@test('SMTP: by SOCKS and in reverse mode')
def _():
    with smtp_server() as server:
        with Proxy() as proxy:
            url = 'smtp://localhost:%d/me' % server.port
            words = ('--ssl-reqd', '-X', 'HELP', '-sS', '--cacert', proxy.ca)
            like(command(need('curl'), '--noproxy', '', '--socks5-hostname',
                         '127.0.0.1:%d' % proxy.port, *words, url, status=0),
                 rb'Supported commands', 'SOCKS')
        with Proxy('-m', 'reverse:http://localhost:%d' % server.port) as \
                proxy:
            like(command('curl', '--noproxy', '*', '--ssl-reqd', '-X', 'HELP',
                         '-sS', '--cacert', proxy.ca,
                         'smtp://localhost:%d/me' % proxy.port, status=0),
                 rb'Supported commands', 'reverse')


@test('SMTP: the certificate of a stranger; -k')
def _():
    with smtp_server() as server:
        with Proxy(trust=make_ca('Somebody else')) as proxy:
            text = curl(proxy, '-X', 'HELP', 'smtp://localhost:%d/'
                        % server.port, status=None)
            unlike(text, rb'Supported commands', 'what curl says')
            proxy.wait_log('certificate of localhost is not to be trusted')
        with Proxy('-k', trust=False) as proxy:
            like(curl(proxy, '-X', 'HELP', 'smtp://localhost:%d/'
                      % server.port), rb'Supported commands', 'with -k')


# ----------------------------------------------------------------- IMAP

@contextlib.contextmanager
def imap_server():
    """dovecot, with one user and an empty mailbox."""
    program = need('dovecot')
    if not command(program, '--version').startswith(b'2.3.'):
        raise Skip('its configuration is made for dovecot 2.3')
    user = 'nobody' if os.getuid() == 0 else getpass.getuser()
    home, port, leaf = directory(user), free_port(), make_leaf()
    who = pwd.getpwnam(user)
    conf = scratch('dovecot.conf', '''
        base_dir = %(home)s/run
        state_dir = %(home)s/state
        log_path = /dev/stderr
        protocols = imap
        listen = 127.0.0.1
        ssl = yes
        ssl_cert = <%(leaf)s
        ssl_key = <%(leaf)s
        default_internal_user = %(user)s
        default_login_user = %(user)s
        default_internal_group = %(name)s
        mail_location = maildir:%(home)s/mail
        first_valid_uid = 1
        passdb {
          driver = static
          args = password=secret
        }
        userdb {
          driver = static
          args = uid=%(uid)d gid=%(group)d home=%(home)s
        }
        service imap-login {
          chroot =
          inet_listener imap {
            port = %(port)d
          }
          inet_listener imaps {
            port = 0
          }
        }
        service anvil {
          chroot =
        }
        ''' % dict(home=home, leaf=leaf, port=port, user=user,
                   uid=who.pw_uid, group=who.pw_gid,
                   name=grp.getgrgid(who.pw_gid).gr_name))
    with running(program, '-F', '-c', conf) as child:
        listens(port, child)
        child.port = port
        yield child


@test('IMAP: curl and openssl with dovecot')
def _():
    with imap_server() as server, \
            Proxy('--response', 'sed -u s/INBOX/OUTBOX/') as proxy:
        like(curl(proxy, '-u', 'user:secret', 'imap://localhost:%d/'
                  % server.port), rb'\* LIST .* OUTBOX', 'the mailboxes')
        like(s_client(proxy, server.port, '-starttls', 'imap', '-ign_eof',
                      stdin=b'a LOGIN user secret\r\n'
                      b'b SELECT INBOX\r\nc LOGOUT\r\n'),
             rb'b OK (?s:.*)c OK', 'the answers')


# ----------------------------------------------------------- PostgreSQL

@contextlib.contextmanager
def postgres(ssl_on=True):
    """A cluster of its own, as a user of its own; .psql are its words."""
    names = glob.glob('/usr/lib/postgresql/*/bin/initdb')
    if not names:
        raise Skip('postgresql is not installed')
    need('psql')
    at, home, port = os.path.dirname(max(names)), directory(), free_port()
    be = ()
    if os.getuid() == 0:
        be = need('setpriv'), '--reuid=nobody', '--regid=nogroup', \
            '--clear-groups'
    command(*be, at + '/initdb', '--no-sync', '-A', 'trust', '-U', 'me',
            '--no-locale', '-E', 'UTF8', '-D', home + '/data', status=0)
    key = home + '/key.pem'
    shutil.copy(make_leaf(), key)
    os.chmod(key, 0o600)
    if be:
        shutil.chown(key, 'nobody')
    with running(*be, at + '/postgres', '-D', home + '/data', '-p', str(port),
                 '-c', 'listen_addresses=127.0.0.1',
                 '-c', 'unix_socket_directories=',
                 '-c', 'ssl=' + ('on' if ssl_on else 'off'),
                 '-c', 'ssl_cert_file=' + key, '-c', 'ssl_key_file=' + key,
                 ready='ready to accept connections') as child:
        child.port = port
        try:
            yield child
        finally:                        # its shared memory goes, too
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(DEADLINE)


def psql(port, ca, sql, *before, mode='verify-full', status=0):
    return command(*before, 'psql', '-XAtqc', sql,
                   'host=localhost hostaddr=127.0.0.1 port=%d user=me '
                   'dbname=postgres sslmode=%s sslrootcert=%s '
                   'gssencmode=disable' % (port, mode, ca), status=status)


IS_TLS = 'select ssl, version from pg_stat_ssl where pid = pg_backend_pid()'


@test('PostgreSQL: psql with sslmode=verify-full in reverse mode, by SOCKS')
def _():
    with postgres() as server:
        url = 'reverse:http://localhost:%d' % server.port
        with Proxy('-m', url, '--request', PERL % 's/hello/jello/g',
                   '--response', PERL % 's/world/wordl/g') as proxy:
            equal(psql(proxy.port, proxy.ca, "select 'hello world'"),
                  b'jello wordl\n', 'the row, filtered both ways')
            equal(psql(proxy.port, proxy.ca, IS_TLS), b't|TLSv1.3\n',
                  'what the server sees')
            # libpq checks the certificate: it is ours, and for this name
            like(psql(proxy.port, make_ca(), 'select 1', status=2),
                 rb'certificate verify failed', 'with another CA')
            text = psql(proxy.port, proxy.ca, 'select repeat(chr(64 + i % 26),'
                        ' 1000) from generate_series(1, 3000) i')
            equal(len(text), 3000 * 1001, 'bytes of many rows')
        with Proxy() as proxy:
            chains = scratch('proxychains.conf', 'strict_chain\n[ProxyList]\n'
                             'socks5 127.0.0.1 %d\n' % proxy.port)
            equal(psql(server.port, proxy.ca, IS_TLS, need('proxychains4'),
                       '-q', '-f', chains), b't|TLSv1.3\n', 'by SOCKS')
            like(proxy.log() + psql(server.port, make_ca(), 'select 1',
                                    'proxychains4', '-q', '-f', chains,
                                    status=2).decode(),
                 'certificate verify failed', 'with another CA')


@test('PostgreSQL: without TLS, as the client or the server wants it')
def _():
    with postgres(ssl_on=False) as server, \
            Proxy('-m', 'reverse:http://localhost:%d' % server.port,
                  '--request', PERL % 's/hello/jello/g') as proxy:
        for mode in 'disable', 'prefer':
            equal(psql(proxy.port, proxy.ca, "select 'hello'", mode=mode),
                  b'jello\n', mode)
        like(psql(proxy.port, proxy.ca, 'select 1', status=2),
             rb'server does not support SSL', 'verify-full')


# ---------------------------------------------------------- by the byte

def server_context(alpn=None):
    context = strict_ends(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(make_leaf())
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def upgrading(conn, context, go=b'220 go\r\n', hello=b'220 hello\r\n'):
    """The server's part up to its handshake."""
    conn.send(hello)
    conn.read_until(b'STARTTLS\r\n')
    conn.send(go)
    conn.start_tls(context)


def upgrade(client, ca, step=0, **more):
    """The client's part; its ClientHello in pieces of step bytes."""
    client.read_until(b'220 hello\r\n')
    client.send(b'STARTTLS\r\n')
    client.read_until(b'220 go\r\n')
    if step:
        real = client.sock
        client.sock = Dripping(real, step)
    client.start_tls(client_context(ca, **more), 'localhost')
    if step:
        client.sock = real


class Dripping:
    """A socket that sends in small pieces."""

    def __init__(self, sock, step):
        self.sock, self.step = sock, step

    def sendall(self, data):
        for i in range(0, len(data), self.step):
            self.sock.sendall(data[i:i + self.step])
            time.sleep(0.0002)          # let the other side run

    def __getattr__(self, name):
        return getattr(self.sock, name)


@test('bytes and ends pass both ways after the upgrade, and half-closed')
def _():
    context = server_context()

    def behave(conn):
        upgrading(conn, context)
        conn.send(b'inside\n')
        conn.send(conn.read_all()[::-1])
    data = os.urandom(1 << 20)
    with Origin(behave) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        upgrade(client, proxy.ca)
        equal(client.read_until(b'\n'), b'inside\n', 'the greeting inside')
        client.send(data)
        client.shutdown_write()
        equal(client.read_all() == data[::-1], True, 'the echo')
        equal(client.end, 'eof', 'the end')
        equal(origin.errors, [], 'errors at the server')


class Behind:
    """A socket whose first bytes go out behind others, with them."""

    def __init__(self, sock, before):
        self.sock, self.before = sock, before

    def sendall(self, data):
        self.sock.sendall(self.before + data)
        self.before = b''

    def __getattr__(self, name):
        return getattr(self.sock, name)


MYSQL_ASK = b'\x20\0\0\1\5\xae' + bytes(30)     # an SSLRequest


def mysql(conn):
    """A MySQL server, as far as its TLS; then it answers backwards."""
    conn.send(b'J\0\0\0\n8.0\0')
    equal(conn.read_exact(36), MYSQL_ASK, 'the question')
    conn.start_tls(server_context())
    conn.send(conn.read_until(b'\n')[::-1])


@test("MySQL: a ClientHello right behind the client's SSLRequest")
def _():
    for args in (), ('--request', 'cat', '--response', 'cat'):
        for before in b'', MYSQL_ASK:
            with Origin(mysql) as origin, Proxy(*args) as proxy:
                client = proxy.tunnel(origin)
                client.read_until(b'8.0\0')
                client.send(MYSQL_ASK[len(before):])
                client.sock = Behind(client.sock, before)
                client.start_tls(client_context(proxy.ca), 'localhost')
                client.sock = client.sock.sock
                client.send(b'cloud\n')
                equal(client.read_exact(6), b'\nduolc', 'the echo')
                equal(origin.errors, [], 'errors at the server')


@test("MySQL: the client's SSLRequest in pieces, and what only begins like it")
def _():
    def echo(conn):
        conn.send(b'J\0\0\0\n8.0\0')
        conn.send(conn.read_exact(len(text)))
    with Origin(mysql) as origin, Origin(echo) as other, \
            Origin(answer(reply(b'x'))) as third, Proxy() as proxy:
        for cut in 4, 5, 20, 35:
            client = proxy.tunnel(origin)
            client.read_until(b'8.0\0')
            client.send(MYSQL_ASK[:cut])
            proxy.fetch(third)          # so the proxy has read that
            client.send(MYSQL_ASK[cut:])
            client.start_tls(client_context(proxy.ca), 'localhost')
            client.send(b'cloud\n')
            equal(client.read_exact(6), b'\nduolc', 'the echo')
        equal(origin.errors, [], 'errors at the server')
        for text in (MYSQL_ASK[:1], MYSQL_ASK[:3], MYSQL_ASK[:4] + b'\5\0',
                     MYSQL_ASK[:20]):
            client = proxy.tunnel(other)
            client.read_until(b'8.0\0')
            client.send(text)
            if len(text) == 20:         # else it waits for the rest
                client.shutdown_write()
            equal(client.read_exact(len(text)), text, 'the echo')


@test('a server that ends first, and one that is cut off')
def _():
    context = server_context()

    def behave(conn):
        upgrading(conn, context)
        conn.send(b'bye\n')
        if cut:
            conn.cut()
            conn.sock.recv(1)
        else:
            conn.shutdown_write()
            seen.append(conn.read_all())
    seen = []
    for cut in False, True:
        with Origin(behave) as origin, Proxy() as proxy:
            client = proxy.tunnel(origin)
            upgrade(client, proxy.ca)
            equal(client.read_all(), b'bye\n', 'what comes')
            equal(client.end, 'cut' if cut else 'eof', 'the end')
            if not cut:
                client.send(b'late')
                client.shutdown_write()
                wait_for(lambda: seen == [b'late'], 'what goes still')


@test('a ClientHello that drips, one byte at a time')
def _():
    context = server_context()

    def behave(conn):
        upgrading(conn, context)
        conn.send(conn.read_until(b'\n').upper())
    with Origin(behave) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        upgrade(client, proxy.ca, step=1)
        client.send(b'quit\n')
        equal(client.read_until(b'\n'), b'QUIT\n', 'the answer')


for offer, speaks, chosen in ((['x-foo', 'x-bar'], ['x-bar'], 'x-bar'),
                              (['x-foo'], None, None),
                              (None, ['x-foo'], None)):
    @test('ALPN after STARTTLS: %s offered, %s spoken' % (offer, speaks))
    def _(offer=offer, speaks=speaks, chosen=chosen):
        context = server_context(speaks)

        def behave(conn):
            upgrading(conn, context)
            conn.send(repr(conn.tls.selected_alpn_protocol()).encode() + b'\n')
        with Origin(behave) as origin, Proxy() as proxy:
            client = proxy.tunnel(origin)
            upgrade(client, proxy.ca, alpn=offer)
            equal(client.tls.selected_alpn_protocol(), chosen,
                  'for the client')
            equal(client.read_all(), repr(chosen).encode() + b'\n',
                  'for the server')


@test('a refused STARTTLS stays plain text')
def _():
    def behave(conn):
        conn.send(b'220 hello\r\n')
        while wait_message(conn):
            line = conn.read_until(b'\n')
            conn.send(b'454 no\r\n' if line == b'STARTTLS\r\n'
                      else line.upper())
    with Origin(behave) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.read_until(b'220 hello\r\n')
        client.send(b'STARTTLS\r\n')
        equal(client.read_until(b'\n'), b'454 no\r\n', 'the answer')
        client.send(b'in the clear\n')
        equal(client.read_until(b'\n'), b'IN THE CLEAR\n', 'the echo')


@test('a byte 22 that begins no TLS passes as it is')
def _():
    data = b'\x16\3\1\0\5hello\n', b'\x16\n', b'\x16' * 100 + b'\n', \
        b'\x16\3\1\2\0\2\0\1\xfc\3\3' + b'\0' * 600 + b'\n'

    def behave(conn):
        conn.send(b'220 hello\r\n')
        while wait_message(conn):
            conn.send(conn.read_until(b'\n')[::-1] + b'\n')
    for text in data:
        with Origin(behave) as origin, Proxy() as proxy:
            client = proxy.tunnel(origin)
            client.read_until(b'220 hello\r\n')
            client.send(text)
            equal(client.read_exact(len(text) + 1), text[::-1] + b'\n',
                  'the echo')


@test('what might become a ClientHello waits alone, and not for ever')
def _():
    def behave(conn):
        conn.send(b'220 hello\r\n')
        go.get(timeout=DEADLINE)
        conn.send(b'still here\n')
        conn.send(conn.read_all()[::-1])
    go = queue.Queue()
    for text in b'\x16', b'\x16\3\1\1\0\1':
        with Origin(behave) as origin, Proxy() as proxy:
            client = proxy.tunnel(origin)
            client.read_until(b'220 hello\r\n')
            client.send(text)           # control-V, in a terminal
            go.put(1)
            equal(client.read_until(b'\n'), b'still here\n', 'meanwhile')
            client.shutdown_write()
            equal(client.read_all(), text[::-1], 'the echo')


@test('a server that does not go on with TLS: the client is not left hanging')
def _():
    def behave(conn):
        conn.send(b'220 hello\r\n')
        conn.read_until(b'STARTTLS\r\n')
        conn.send(b'220 go\r\n')
        conn.read_exact(5)
        conn.send(b'500 what?\r\n')
    with Origin(behave) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        upgrade(client, proxy.ca)
        equal(client.read_all(), b'', 'what comes')
        check(client.end != 'eof', 'it looks like a proper end')
        proxy.wait_log('does not speak TLS')


@test('what a server says in the clear behind its word to begin is not mixed '
      'into TLS')
def _():
    context = server_context()

    def behave(conn):                   # CVE-2011-0411, from the other side
        upgrading(conn, context, go=b'220 go\r\n250 injected\r\n')
        conn.send(b'inside\n')
    with Origin(behave) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.read_until(b'220 hello\r\n')
        client.send(b'STARTTLS\r\n')
        client.read_until(b'injected\r\n')
        client.start_tls(client_context(proxy.ca), 'localhost')
        equal(client.read_until(b'\n'), b'inside\n', 'what is inside')


@test('sessions: a second STARTTLS is a new handshake with the server')
def _():
    context = server_context()

    def behave(conn):
        upgrading(conn, context)
        conn.send(b'inside\n')
        conn.read_all()
    with Origin(behave) as origin, Proxy() as proxy:
        for _ in range(3):
            client = proxy.tunnel(origin)
            upgrade(client, proxy.ca)
            equal(client.read_until(b'\n'), b'inside\n', 'the greeting inside')
            client.finish()


run()
