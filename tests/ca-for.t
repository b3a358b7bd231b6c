#!/usr/bin/env python3
"""--ca-for NAME: a CA that is made signs for NAME and what is below it only."""
from mitm import *


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


@test('a CA that is there must have been made so')
def _():
    ca = scratch('cert.pem')
    with Proxy(ca=ca):
        pass
    status, _, said = mitmproxy('-p', '0', '--ca', ca, '--ca-for', 'a.test')
    equal(status, 1, 'status')
    like(said, 'without --ca-for', 'why')
    equal(mitmproxy('--ca-for', 'a b')[0], 2, 'no name')


run()
