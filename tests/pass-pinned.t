#!/usr/bin/env python3
"""--pass-pinned: who has refused our certificate is left alone for a while,
there; all others, and elsewhere, are intercepted still."""
import base64, hashlib
from mitm import *

FILTER = '--response', 'sed s/page/pagan/'
REFUSED = r'passed untouched for ten minutes'
PASSED = r'is passed untouched: it has rejected our certificate for (\S+) '


def pinned_page():
    return Origin(answer(reply(b'page')), tls=True)


def curl(proxy, url, *words, status=0):
    """curl by CONNECT that trusts what words say."""
    return command(need('curl'), '-sS', '--noproxy', '', '--max-time', '20',
                   '-x', 'http://127.0.0.1:%d' % proxy.port, *words, url,
                   status=status)


def pin():
    """curl's words for the key of the origin's certificate."""
    key = openssl('x509', '-in', make_leaf(), '-pubkey', '-noout')
    der = openssl('pkey', '-pubin', '-outform', 'der', input=key)
    return '-k', '--pinnedpubkey', 'sha256//' + base64.b64encode(
        hashlib.sha256(der).digest()).decode()


for version in '1.2', '1.3':
    for what, words, code in (
            ('another CA', lambda: ('--cacert', make_ca()), 60),
            ('a pinned key', pin, 90)):
        @test('curl with %s, TLS %s: refused, then left alone'
              % (what, version))
        def _(version=version, words=words, code=code):
            with pinned_page() as origin, \
                    Proxy('--pass-pinned', *FILTER) as proxy:
                words = *words(), '--tls-max', version, '--tlsv' + version
                curl(proxy, origin.url(), *words, status=code)
                proxy.wait_log(REFUSED)
                for _ in range(2):
                    equal(curl(proxy, origin.url(), *words), b'page',
                          'the page')
                equal(proxy.wait_log(PASSED)[1], 'localhost', 'for whom')
                wait_for(lambda: len(re.findall(PASSED, proxy.log())) == 2,
                         'lines')
                equal(len(re.findall(REFUSED, proxy.log())), 1, 'refusals')


@test('openssl s_client, and one that hangs up in the handshake')
def _():
    with pinned_page() as origin:
        with Proxy('--pass-pinned') as proxy:
            words = ('openssl', 's_client', '-proxy', '127.0.0.1:%d'
                     % proxy.port, '-connect', origin.auth, '-CAfile',
                     make_ca(), '-verify_return_error')
            command(*words, status=1)
            proxy.wait_log(REFUSED)
            like(command(*words, status=0), rb'Verify return code: 0', 'ours')
        with Proxy('--pass-pinned', *FILTER) as proxy:
            conn = proxy.tunnel(origin)
            incoming, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_context(make_ca()).wrap_bio(
                incoming, out, server_hostname='localhost')
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            conn.send(out.read())
            conn.read_exact(5)          # it has seen enough
            conn.cut()
            proxy.wait_log(REFUSED)
            conn = proxy.tunnel(origin)
            conn.start_tls(client_context(make_ca()), 'localhost')
            conn.send(get('/'))
            equal(conn.read_message().body, b'page', 'the page')


@test('another name, another port, another client: intercepted still')
def _():
    with pinned_page() as origin, pinned_page() as other, \
            Proxy('--pass-pinned', *FILTER) as proxy:
        curl(proxy, origin.url(), '--cacert', make_ca(), status=60)
        proxy.wait_log(REFUSED)
        ours = '--cacert', proxy.ca
        for words, url in (
                ((), other.url()),
                ((), 'https://127.0.0.1:%d/' % origin.port),
                (('--interface', '127.0.0.2'), origin.url()),
                (('--connect-to', '::127.0.0.1:%d' % origin.port),
                 'https://origin.test:%d/' % origin.port)):
            equal(curl(proxy, url, *ours, *words), b'pagan', url)
        equal(curl(proxy, origin.url(), '--cacert', make_ca()), b'page',
              'the one that refused')
        curl(proxy, origin.url(), *ours, status=60)


@test('by name where the client asks for an address; by SOCKS and reverse')
def _():
    with pinned_page() as origin:
        with Proxy('--pass-pinned', *FILTER) as proxy:
            words = ('--socks5', '127.0.0.1:%d' % proxy.port, '--cacert',
                     make_ca(), '-sS', '--noproxy', '', '--resolve',
                     'localhost:%d:127.0.0.1' % origin.port, origin.url())
            command('curl', *words, status=60)
            proxy.wait_log(REFUSED)
            equal(command('curl', *words), b'page', 'by SOCKS')
            equal(curl(proxy, 'https://127.0.0.1:%d/' % origin.port,
                       '--cacert', proxy.ca), b'pagan', 'the address itself')
        with Proxy('--pass-pinned', '-m', 'reverse:' + origin.url()[:-1],
                   *FILTER) as proxy:
            words = ('-sS', '--noproxy', '*', '--cacert', make_ca(),
                     'https://localhost:%d/' % proxy.port)
            command('curl', *words, status=60)
            proxy.wait_log(REFUSED)
            equal(command('curl', *words), b'page', 'reverse')


@test('a client that is content is not taken for one that refuses')
def _():
    def ends(proxy):
        client = proxy.tls(origin)      # asks, and leaves
        client.send(get('/'))
        equal(client.read_message().body, b'pagan', 'the page')
        return client
    with pinned_page() as origin, Proxy('--pass-pinned', *FILTER) as proxy:
        ends(proxy).finish()
        ends(proxy).cut()
        ends(proxy).reset()
        conn = proxy.tunnel(origin)     # leaves before TLS, and within it
        conn.close()
        conn = proxy.tunnel(origin)
        conn.send(b'\x16\3\1')
        conn.close()
        context = client_context(proxy.ca, alpn=['x-unknown'])
        conn = proxy.tunnel(origin)
        with contextlib.suppress(ssl.SSLError, Failed):
            conn.start_tls(context, 'localhost')
            conn.send(get('/'))
            conn.read_message()
        conn.close()
        ends(proxy).finish()
        unlike(proxy.log(), REFUSED, 'the log')


@test('without --pass-pinned it is refused each time')
def _():
    with pinned_page() as origin, Proxy(*FILTER) as proxy:
        for _ in range(2):
            curl(proxy, origin.url(), '--cacert', make_ca(), status=60)
        proxy.wait_log(r'(?s)(TLS handshake with \S+ for localhost failed: .*'
                       r'http://mitm.it/ has it\n.*){2}')
        unlike(proxy.log(), REFUSED, 'the log')


LEFT = (r'left behind the TLS handshake for localhost and asked for nothing, .*'
        r'not know our CA \(.*http://mitm.it/ has it\)')


for what, words in (
        ('wget', ('wget', '-qO-', '--tries', '1')),
        ('git', ('git', 'ls-remote')),
        ('curl with a pinned key', ('curl', '-sS', '--noproxy', ''))):
    @test('told of always: ' + what)
    def _(words=words):
        with pinned_page() as origin, Proxy() as proxy:
            need(words[0])

            def leave():
                command(*words, *(pin() if words[0] == 'curl' else ()),
                        origin.url(), env={
                            'https_proxy': 'http://127.0.0.1:%d' % proxy.port,
                            'no_proxy': '', 'GIT_TERMINAL_PROMPT': '0'})
                wait_for(proxy.settled, 'the end of all connections')
                return re.findall(LEFT + '|it does not (?:know our CA|accept '
                                  'our certificate)', proxy.log())
            wait_for(leave, 'a line')   # one that takes its time may be a
            leave()                     # browser that has changed its mind
            check(len(re.findall(LEFT, proxy.log())) < 2, 'told again',
                  proxy.log())


@test('told of always: apt, which with GnuTLS ends the handshake without an '
      'alert')
def _():
    with pinned_page() as origin, Proxy() as proxy:
        state = scratch('apt')
        os.makedirs(state + '/lists/partial')
        command(need('apt-get'), '-o', 'Dir::State=' + state,
                '-o', 'Dir::Etc::sourceparts=/dev/null',
                '-o', 'Dir::Etc::sourcelist=' + scratch(
                    'list', 'deb %s x y\n' % origin.url()),
                '-o', 'Acquire::https::Proxy=http://127.0.0.1:%d' % proxy.port,
                'update')
        proxy.wait_log('failed: (it left, perhaps since it does not accept '
                       r'our certificate \((close_notify|no alert)\)|it does not know our'
                       r' CA \(.*\)); .* http://mitm.it/ has it')


@test('a connection made in advance that is not used is not told of')
def _():
    with pinned_page() as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        proxy.tls(origin).send(get('/'))
        time.sleep(1)                   # the browser changes its mind
        client.finish()
        origin.hang_up()
        wait_for(proxy.settled, 'the end of all connections')
        unlike(proxy.log(), LEFT, 'the log')


@test('a client that speaks TLS 1.1 is told of in words, and not of the CA')
def _():
    with pinned_page() as origin, Proxy() as proxy:
        conn, out = proxy.tunnel(origin), ssl.MemoryBIO()
        tls = client_context(proxy.ca, ssl.TLSVersion.TLSv1_2).wrap_bio(
            ssl.MemoryBIO(), out, server_hostname='localhost')
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = out.read()
        conn.send(hello[:9] + b'\3\2' + hello[11:])
        like(proxy.wait_log('the TLS handshake with .*')[0],
             r'it speaks neither TLS 1\.2 nor TLS 1\.3 \(--ignore-hosts [^;]*$',
             'the line')


for words, why in ((('-groups', 'X448'), 'no key, curve or cipher suite in '
                    r'common with Mbed TLS.*\(--ignore-hosts'),
                   (('-tls1_2', '-cipher', 'PSK', '-psk', '1234'),
                    r'no key, curve or .*\(--ignore-hosts'),
                   (('-tls1_2', '-fallback_scsv'),
                    r'it gave up \(alert 47 illegal_parameter\)$')):
    @test('a client that wants what there is not is told of in words: %s'
          % ' '.join(words))
    def _(words=words, why=why):
        with pinned_page() as origin, Proxy('--pass-pinned') as proxy:
            text = command('openssl', 's_client', '-proxy', '127.0.0.1:%d'
                           % proxy.port, '-connect', origin.auth, *words,
                           status=1)
            if '-fallback_scsv' not in words:
                like(text, rb'alert number 40', 'what the client is told')
            like(proxy.wait_log('the TLS handshake with .*')[0],
                 '^[^;]*' + why, 'the line')
            unlike(proxy.log(), 'passed untouched for ten', 'the log')


def smtp(conn):
    """A little of a mail server, with STARTTLS."""
    conn.send(b'220 hello\r\n')
    while b'STARTTLS' not in conn.read_until(b'\n'):
        conn.send(b'250 page\r\n')
    conn.send(b'220 go\r\n')
    conn.start_tls(smtp.context)
    while wait_message(conn):
        conn.send(conn.read_until(b'\n').upper())


smtp.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@test('STARTTLS: refused, then left alone, by the filters, too')
def _():
    smtp.context.load_cert_chain(make_leaf())
    with Origin(smtp) as origin, \
            Proxy('--pass-pinned', '--response', 'sed -u s/page/pagan/',
                  '--request', 'sed -u s/quit/exit/') as proxy:
        for refuses in True, False:
            client = proxy.tunnel(origin)
            client.read_until(b'220 hello\r\n')
            client.send(b'HELO\r\n')
            equal(client.read_until(b'\n'), b'250 pagan\r\n', 'filtered')
            client.send(b'STARTTLS\r\n')
            equal(client.read_until(b'\n'), b'220 go\r\n', 'the answer')
            if refuses:
                try:
                    client.start_tls(client_context(make_ca()), 'localhost')
                    raise Failed('it was not intercepted')
                except ssl.SSLCertVerificationError:
                    client.close()
                proxy.wait_log(REFUSED)
            else:
                client.start_tls(client_context(make_ca()), 'localhost')
                client.send(b'quit page\r\n')
                equal(client.read_until(b'\n'), b'QUIT PAGE\r\n', 'the echo')


@test('after ten minutes it is tried again')
def _():
    with pinned_page() as origin, \
            Proxy('--pass-pinned', second=0.005) as proxy:
        def refusals():
            command('curl', '-sS', '--noproxy', '', '-x',
                    'http://127.0.0.1:%d' % proxy.port, '--cacert',
                    make_ca(), origin.url())
            return len(re.findall(REFUSED, proxy.log()))
        wait_for(lambda: refusals() == 1, 'a refusal')
        wait_for(lambda: refusals() and re.search(PASSED, proxy.log()),
                 'it passes')
        wait_for(lambda: refusals() == 2, 'another one')


run()
