#!/usr/bin/env python3
"""--ca-for NAME: a CA that is made signs for NAME and what is below it only."""
from browser import *


@test('critical name constraints, of every kind')
def _():
    with Proxy('--ca-for', 'localhost', '--ca-for', '127.0.0.1') as proxy:
        text = command('openssl', 'x509', '-in', proxy.ca, '-noout', '-text',
                       status=0)
    like(text, rb'Name Constraints: critical\s+Permitted:\s+'
         rb'(DNS:localhost\s+IP:127|IP:127\S+\s+DNS:localhost)', 'both kinds')
    with Proxy('--ca-for', 'localhost') as proxy:
        text = command('openssl', 'x509', '-in', proxy.ca, '-noout', '-text',
                       status=0)
    like(text, rb'Permitted:\s+DNS:localhost\s+Excluded:\s+IP:', 'no address')


@test('what is permitted works with curl, anything else is not forged')
def _():
    cert = make_leaf(names='DNS:localhost,DNS:other.test')
    with Origin(answer(reply(b'page')), tls=True, cert=cert) as origin, \
            Proxy('--ca-for', 'localhost', '--connect-to',
                  'other.test::localhost:%d' % origin.port) as proxy:
        equal(proxy.curl(origin.url('/')), b'page', 'localhost')
        client = proxy.tunnel('other.test:443')
        try:
            client.start_tls(client_context(proxy.ca), 'other.test')
            raise Failed('a leaf was forged')
        except (ssl.SSLError, Failed, OSError) as error:
            check('forged' not in str(error), 'no handshake')
        proxy.wait_log(r'cannot forge a certificate for other\.test: .*'
                       r'--ca-for')


def stolen(proxy, name):
    """A leaf for this name that somebody signs by hand with the CA's key."""
    ca = scratch('stolen.pem', slurp(proxy.ca), 0o600)
    shutil.copy(ca, ca[:-4] + '.key')
    return make_leaf(names='DNS:' + name, ca=ca)


def by_openssl(proxy, origin, name, home):
    """Whether openssl takes this server for name."""
    said = command('openssl', 's_client', '-connect', '127.0.0.1:%d'
                   % origin.port, '-servername', name, '-verify_hostname', name,
                   '-CAfile', proxy.ca)
    like(said, rb'Verify return code: (0 |47 .permitted subtree)', 'what for')
    return b'Verify return code: 0 ' in said


def by_curl(proxy, origin, name, home):
    done = subprocess.run(
        [need('curl'), '-sS', '--noproxy', '*', '--cacert', proxy.ca,
         '--resolve', '%s:%d:127.0.0.1' % (name, origin.port),
         'https://%s:%d/' % (name, origin.port)], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, timeout=2 * DEADLINE)
    check(done.returncode in (0, 60), "curl's status", done.returncode)
    return done.stdout == b'a page'


def by_chromium(proxy, origin, name, home):
    return b'a page' in visit('https://%s:%d/' % (name, origin.port), home,
                              '--host-resolver-rules=MAP %s 127.0.0.1' % name,
                              *trust(proxy.ca, home))


for client in by_openssl, by_curl, by_chromium:
    @test('what is signed by hand for another name, is refused: '
          + client.__name__)
    def _(client=client):
        if client == by_chromium:
            browser(), need('certutil')
        with Proxy('--ca-for', 'inside.test') as proxy:
            for name, good in (('inside.test', True), ('www.inside.test', True),
                               ('outside.test', False)):
                with Origin(answer(reply(b'a page')), tls=True,
                            cert=stolen(proxy, name)) as origin:
                    home = scratch('home')
                    os.mkdir(home)
                    equal(client(proxy, origin, name, home), good, name)


@test('Chromium, through the proxy: a name that is permitted, and another')
def _():
    browser(), need('certutil')
    cert = make_leaf(names='DNS:inside.test,DNS:outside.test')
    with Origin(answer(reply(b'a page')), tls=True, cert=cert) as origin, \
            Proxy('--ca-for', 'inside.test', '--connect-to',
                  ':443:localhost:%d' % origin.port) as proxy:
        for name in 'inside.test', 'outside.test':
            home = scratch('home')
            os.mkdir(home)
            shown = visit('https://%s/' % name, home, '--proxy-server=http://'
                          '127.0.0.1:%d' % proxy.port, *trust(proxy.ca, home))
            equal(b'a page' in shown, name == 'inside.test', name)
        proxy.wait_log(r'cannot forge a certificate for outside\.test: .*'
                       r'--ca-for')


@test('a CA that is there must have been made so')
def _():
    ca = scratch('cert.pem')
    with Proxy(ca=ca):
        pass
    status, _, said = mitmproxy('-p', '0', '--ca', ca, '--ca-for', 'a.test')
    equal(status, 1, 'status')
    like(said, 'without --ca-for', 'why')
    ca = scratch('cert.pem')
    for names in ('a.test', '127.0.0.1'), ('127.0.0.1', 'x.a.test'):
        with Proxy(*[word for name in names for word in ('--ca-for', name)],
                   ca=ca) as proxy:
            pass
        # the second time it may sign for more
        equal('may sign for more' in proxy.log(), names[1] == 'x.a.test',
              'the line')
    for name in 'b.test', 'test', '127.0.0.2', '::1':
        status, _, said = mitmproxy('-p', '0', '--ca', ca, '--ca-for',
                                    'a.test', '--ca-for', name)
        equal(status, 1, 'status')
        like(said, 'for other names than --ca-for has', 'why')
    for name in 'a b', 'a.test:443', 'http://a.test', '[::1]', '-', '-q':
        status, _, said = mitmproxy('-p', '0', '--ca', scratch('cert.pem'),
                                    '--ca-for', name, '--', 'true')
        equal(status, 2, 'the status with ' + name)
        like(said, 'takes a name or an address', 'why')


run()
