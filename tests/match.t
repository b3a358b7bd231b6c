#!/usr/bin/env python3
"""--match: which messages a filter gets."""
import random
from mitm import *

# The request is POST https://localhost:PORT/shop/item?id=5 with X-Color: Red,
# the response 404, text/html, with X-Taste: Sweet.
RESPONSES = [
    ('~u /shop/', True), ('~u /SHOP', True), ('~u ^/shop', False),
    ('~u ^https://localhost', True), ('~u id=[0-9]+$', True), ('shop', True),
    ('cellar', False), ('~d localhost', True), ('~d ^local', True),
    ('~d shop', False), ('~m POST', True), ('~m ^post$', True),
    ('~m GET', False), ('~t html', True), ('~t ^text/(html|css)', True),
    ('~t json', False), ('~c 404', True), ('~c 200', False),
    ('~h x-taste:.*sweet', True), ('~h sour', False), ('~s', True),
    ('~q', False), ('!~q', True), ('! ~s', False), ('~s & ~c 404', True),
    ('~s & ~c 200', False), ('~c 200 | ~c 404', True),
    ('!~c 200 & !~c 404', False), ('(~c 200 | ~c 404) & ~t html', True),
    ('~c 404 | ~c 200 & ~t json', True), ('!(~c 404 & ~m GET)', True),
    ('((~u shop))', True), ('(~u [(&| ]?shop[^])]item)', True),
    ('(~h [[:alpha:])]weet & ~u []x]shop)', False)]
REQUESTS = [
    ('~u /shop/', True), ('~m POST', True), ('~d localhost', True),
    ('~h x-color', True), ('~h x-taste', False), ('~q', True), ('~s', False),
    ('~c 404', False), ('~u shop & ~q', True), ('~q & ~m GET', False)]
PAGE = reply(b'a page', 'Content-Type: text/html; charset=utf-8',
             'X-Taste: Sweet', status='404 Not Found')
ASK = get('/shop/item?id=5', 'X-Color: Red', 'Content-Length: 0',
          method='POST')


@test('expressions about responses')
def _():
    wrong = []
    with Origin(answer(PAGE), tls=True) as origin:
        for expression, want in RESPONSES:
            with Proxy('--match', expression, '--response',
                       'sed s/page/PAGE/') as proxy:
                got = proxy.fetch(origin, ASK).body == b'a PAGE'
                if got != want:
                    wrong.append((expression, 'matches' if got else 'not'))
    equal(wrong, [], 'expressions judged wrong')


@test('expressions about requests')
def _():
    wrong = []
    for expression, want in REQUESTS:
        with Origin(answer(PAGE), tls=True) as origin, \
                Proxy('--match', expression, '--request',
                      'sed s/Color/COLOR/') as proxy:
            proxy.fetch(origin, ASK)
            if (b'COLOR' in origin.rx) != want:
                wrong.append((expression, 'not' if want else 'matches'))
    equal(wrong, [], 'expressions judged wrong')


@test('one that matches nothing, as it is about the other direction, is told')
def _():
    for expression, option, told in (
            ('~q', 'response', True), ('!~s & ~u a', 'response', True),
            ('~s ~w', 'request', True), ('~s', 'response', False),
            ('~c 404', 'request', True), ('~m GET & ~c 200', 'request', True),
            ('!~c 404', 'request', False), ('~w & ~c 101', 'response', True),
            ('~c 404 | ~d x', 'request', False),
            ('!~w', 'request', False), ('~w', 'response', False),
            ('~d x', 'response', False), ('~m GET', 'request', False)):
        with Proxy('--match', expression, '--' + option, 'cat') as proxy:
            line = "--match '%s' stands before --%s, and matches no %s" % (
                expression, option, option)
            proxy.stop()
            equal(line in proxy.log(), told, expression)


@test('it is for the filter that follows it, only')
def _():
    with Origin(answer(lambda r: reply(r.start))) as origin, \
            Proxy('--match', '/one', '--response', 'sed s/one/ONE/',
                  '--response', 'sed s/two/TWO/') as proxy:
        client = proxy.tunnel(origin)
        for path, want in (('/one', b'GET /ONE'), ('/two', b'GET /TWO'),
                           ('/onetwo', b'GET /ONETWO')):
            client.send(get(path))
            equal(client.read_message().body, want + b' HTTP/1.1', path)


@test('a long URL, of which each place could be a beginning')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--match', r'~u ads.*\.gif', '--response', 'cat') as proxy:
        clients = [proxy.tunnel(origin) for _ in range(30)]
        for client in clients:          # place by place: seconds for each
            client.send(get('/' + 'ads' * 20000))
        for client in clients:
            equal(client.read_message().body, b'x', 'the answer')


for expression, most in (r'"([a-z]+s){4}b"', 4096), (r'"(a).*\1b"', 512):
    @test('a long URL and %s: so much of it is looked at, which is said'
          % expression)
    def _(expression=expression, most=most):
        if '\\1' in expression and not re.search(
                rb'libc\.so\.6|GLIBC_TUNABLES', slurp(PROGRAM)):
            raise Skip(r'with musl \1 matches nothing')
        short, long = '/adsadsadsadsb/ab', '/' + 'ads' * 20000
        with Origin(answer(reply(b'x'))) as origin, \
                Proxy('--match', '~u ' + expression, '--request',
                      'printf "HTTP/1.0 200 OK\\r\\n\\r\\nfiltered"') as proxy:
            for path, body in (('/', b'x'), (short, b'filtered'),
                               (long, b'x')):
                client = proxy.tunnel(origin)
                client.send(get(path))
                equal(client.read_message().body, body, path[:30])
            proxy.wait_log('only %d of 600.. bytes are matched' % most)


@test('an expression that matches much at each place takes no more memory')
def _():
    chance = random.Random(1)
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--match', 'a%sz' % ('[^z]' * 24), '--response', 'cat') \
            as proxy:
        client = proxy.tunnel(origin)

        def ask(size):
            client.send(get('/' + ''.join(chance.choices('ab', k=size))))
            equal(client.read_message().body, b'x', 'the answer')
        ask(5)
        before = proxy.memory()
        for _ in range(2):
            ask(20000)
        check(sanitized() or proxy.memory() - before < 10 << 20,
              'bytes more', proxy.memory() - before)


@test('what does not match is not touched')
def _():
    page = chunked(b'a', b'b') + b''
    with Origin(answer(page)) as origin, \
            Proxy('--match', '~u /never', '--response', 'cat') as proxy:
        ask = get('/', 'X : y')
        equal(proxy.fetch(origin, ask).raw, page, 'at the client')
        equal(origin.rx, ask, 'at the server')


for expression in ('', '~', '~x', '~c', '~c abc', '~u', '(~q', '~q)', '~q &',
                   '| ~q', '~q !', '~u [', '~q ~s)', '~u a(b'):
    @test('an error that points at the mistake: %r' % expression)
    def _(expression=expression):
        status, _, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'),
                                   '--match', expression,
                                   '--response', 'cat')
        equal(status, 2, 'exit status')
        like(err, r'^mitmproxy: .*--match', 'the error')


@test('~u outside of a tunnel: a port, a dot or a user that need not be there')
def _():
    for target in ('http://ads.test/', 'http://ads.test', 'HTTP://Ads.Test/',
                   'http://ads.test:80/', 'http://ads.test:080/',
                   'http://ads.test./', 'http://ads.test.:80/',
                   'http://ads.test:/', 'http://www.test@ads.test/'):
        with Proxy('--match', '~u ^http://ads\\.test/', '--request',
                   r'printf "HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n"',
                   '--connect-to', 'ads.test::127.0.0.1:1') as proxy:
            client = proxy.connect()
            client.send(get(target, host='ads.test'))
            equal(client.read_message().start, b'HTTP/1.1 404 no', target)


run()
