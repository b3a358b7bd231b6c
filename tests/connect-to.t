#!/usr/bin/env python3
"""--connect-to H1:P1:H2:P2, as curl has it: another place to connect to, and
for all else the name stays what it was."""
from mitm import *

ENV = ('--response', 'cat; printf " %s %s" "$MITM_HOST" "$MITM_PORT"')


def to(*parts):
    return '--connect-to', ':'.join(str(p) for p in parts)


def fetch(proxy, url):
    return proxy.curl('-g', url).decode()


@test('the name stays in TLS, in Host, for filters, and is verified')
def _():
    cert = make_leaf(names='DNS:shop.test')
    with Origin(answer(lambda r: reply(r['host'])), tls=True,
                cert=cert) as origin, \
            Proxy(*to('shop.test', 443, 'localhost', origin.port),
                  *to('other.test', 443, 'localhost', origin.port),
                  *ENV) as proxy:
        names = []
        origin.context.sni_callback = lambda _, name, __: names.append(name)
        equal(fetch(proxy, 'https://shop.test/'),
              'shop.test shop.test 443', 'the page')
        equal(names, ['shop.test'], 'SNI')
        like(fetch(proxy, 'https://other.test/'), r'not for this name.*',
             'a name that the certificate has not')


for what, rule, hits, misses in (
        ('all is given', ('a.test', 80, 'localhost', 0),
         ('a.test:80', 'A.TEST:80'), ('a.test:81', 'b.test:80')),
        ('any host', ('', 80, 'localhost', 0), ('a.test:80', 'b.test:80'),
         ('a.test:81',)),
        ('any port', ('a.test', '', 'localhost', 0),
         ('a.test:80', 'a.test:81'), ('b.test:80',)),
        ('any at all', ('', '', 'localhost', 0), ('a.test:80', 'b.test:81'),
         ()),
        ('an address', ('127.0.0.9', 80, 'localhost', 0), ('127.0.0.9:80',),
         ()),
        ('IPv6', ('[::9]', 80, '[::ffff:127.0.0.1]', 0), ('[::9]:80',), ()),
        ('to an address', ('a.test', 80, '127.0.0.1', 0), ('a.test:80',),
         ())):
    @test('what it matches: ' + what)
    def _(rule=rule, hits=hits, misses=misses):
        with Origin(answer(reply(b'page'))) as origin, \
                Proxy(*to(*rule[:3], origin.port), *to('', '', '', 1)) \
                as proxy:
            for auth in hits:
                equal(fetch(proxy, 'http://%s/' % auth), 'page', auth)
            for auth in misses:
                # which goes to port 1, by the second rule
                like(fetch(proxy, 'http://%s/' % auth),
                     'cannot (connect|find)', auth)


@test('an empty host keeps the host, an empty port the port')
def _():
    with Origin(answer(reply(b'page'))) as origin, \
            Proxy(*to('localhost', 81, '', origin.port),
                  *to('a.test', '', 'localhost', '')) as proxy:
        equal(fetch(proxy, 'http://localhost:81/'), 'page', 'another port')
        equal(fetch(proxy, 'http://a.test:%d/' % origin.port), 'page',
              'another host')


@test('the first that matches wins, and one is all')
def _():
    with Origin(answer(reply(b'one'))) as one, \
            Origin(answer(reply(b'two'))) as two, \
            Proxy(*to('a.test', 80, 'localhost', one.port),
                  *to('', 80, 'localhost', two.port),
                  *to('localhost', one.port, 'localhost', two.port)) as proxy:
        equal(fetch(proxy, 'http://a.test/'), 'one', 'the first')
        equal(fetch(proxy, 'http://b.test/'), 'two', 'the second')


@test('from every way in')
def _():
    cert = make_leaf(names='DNS:shop.test')
    with Origin(answer(reply(b'page')), tls=True, cert=cert) as origin:
        rule = to('shop.test', 443, 'localhost', origin.port)
        with Proxy(*rule) as proxy:
            at = '127.0.0.1:%d' % proxy.port
            for option in '--socks5-hostname', '--socks4a':
                equal(command(need('curl'), '-sS', '--noproxy', '', option,
                              at, '--cacert', proxy.ca, 'https://shop.test/'),
                      b'page', option)
        with Proxy('-m', 'reverse:https://shop.test', *rule) as proxy:
            equal(command('curl', '-sS', '--noproxy', '*',
                          'http://127.0.0.1:%d/' % proxy.port), b'page',
                  'reverse')


@test('a filter that sends a request elsewhere: there, too')
def _():
    with Origin(answer(reply(b'page'))) as origin, \
            Proxy(*to('b.test', 80, 'localhost', origin.port), '--request',
                  'sed s,//a.test,//b.test,') as proxy:
        equal(fetch(proxy, 'http://a.test/'), 'page', 'the page')


@test('a page that fails names where it went')
def _():
    port = free_port()
    with Proxy(*to('a.test', 80, 'localhost', port)) as proxy:
        like(fetch(proxy, 'http://a.test/'), 'localhost:%d.*refused' % port,
             'the page')


@test('TLS sessions: two names at one place are two servers')
def _():
    cert = make_leaf(names='DNS:a.test,DNS:b.test')
    with Origin(answer(reply(b'page')), tls=True, cert=cert) as origin, \
            Proxy(*to('', 443, 'localhost', origin.port)) as proxy:
        for name in 'a.test', 'b.test', 'a.test':
            equal(fetch(proxy, 'https://%s/' % name), 'page', name)
        equal(origin.context.session_stats()['hits'], 1, 'resumed')


for text in ('a', 'a:1', 'a:1:b', 'a:x:b:1', 'a:1:b:99999', 'a:1:b:1:2', '',
             '[::1:1:b:1', 'a b:1:c:1', '-:-:-'):
    @test('misuse: ' + repr(text))
    def _(text=text):
        status, _, err = mitmproxy('-p', '0', '--connect-to', text)
        equal(status, 2, 'the exit status')
        like(err, r'^mitmproxy: --connect-to (takes|needs) [^\n]*\n', 'the error')


run()
