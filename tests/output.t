#!/usr/bin/env python3
"""What is printed while messages pass."""
from mitm import *


def lines(proxy, count):
    """The output once it has so many lines."""
    wait_for(lambda: proxy.out().count('\n') >= count, '%d lines' % count)
    return proxy.out().splitlines()


def shown(data):
    """The first 100 bytes as Python's repr shows them, to their quote."""
    return repr(data[:100])[1:-1]


@test("a line each, the first 100 bytes, as Python's repr")
def _():
    ask = get("/a'b", 'X: \x00\x01\x1b\x7f\xff\t\\', 'Y: ' + 'y' * 200)
    page = reply(b'z' * 300)
    with Origin(answer(page), tls=True) as origin, Proxy() as proxy:
        proxy.fetch(origin, ask)
        out = lines(proxy, 3)
        equal(len(out), 3, 'lines in all')
        match = re.match(r'#(\d+) >> (.*)', out[0])
        check(match, 'the form of the first line', out)
        check(match[2].startswith(shown(ask)), 'the request', match[2],
              shown(ask))
        check(len(match[2]) <= len(shown(ask)) + 5, 'too much', out[0])
        check(out[1].startswith('#%s << %s' % (match[1], shown(page))),
              'the response', out[1], shown(page))


@test('a short message is shown whole, the first flow is #1')
def _():
    ask, page = b'GET / HTTP/1.0\r\nA: b\r\n\r\n', reply(b'hello')
    with Origin(answer(page)) as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(ask)
        client.read_message()
        equal(lines(proxy, 3)[:2], ['#1 >> ' + repr(ask)[1:],
                                    '#1 << ' + repr(page)[1:]], 'output')


@test('a line is there before the message is whole')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Content-Length: 10', method='PUT') + b'abc')
        proxy.wait_out(r"(?m)^#1 >> 'PUT /")
        server = origin.next()
        server.send(b'HTTP/1.1 200 OK\r\n\r\nfirst part')
        proxy.wait_out(r"(?m)^#1 << 'HTTP/1.1 200 OK")


@test('a request whose server cannot be reached has its line, before the page')
def _():
    with Proxy() as proxy, proxy.connect() as client:
        client.send(b'GET http://127.0.0.1:1/x HTTP/1.1\r\nHost: h\r\n\r\n')
        client.read_message()
        out = lines(proxy, 2)
        check(out[0].startswith("#1 >> 'GET http://127.0.0.1:1/x HTTP/1.1"),
              'the request', out)
        check(out[1].startswith("#1 << 'HTTP/1.1 502 "), 'the page', out)


@test('kept-alive messages are a line each')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        for i in range(3):
            client.send(get('/%d' % i))
            client.read_message()
        out = lines(proxy, 9)
        equal([re.sub(r'#\d+ (..).*', r'\1', line) for line in out],
              ['>>', '<<', '=='] * 3, 'directions')


@test('-q: nothing on standard output')
def _():
    with Origin(answer(reply(b'x'))) as origin, Proxy('-q') as proxy:
        proxy.fetch(origin)
        proxy.fetch(origin)
        proxy.stop()
        equal(proxy.out(), '', 'standard output')


@test('without -v standard error has the ready line alone')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy() as proxy:
        proxy.fetch(origin)
        proxy.fetch(origin)
        proxy.wait_log(r'(?m)^mitmproxy: listening on 127\.0\.0\.1:\d+$')
        unlike(proxy.log(), r'(?i) (error|fail)', 'trouble')


@test('-v says which rule made a stream of it')
def _():
    page = b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n' \
           b'\r\nabcd'
    with Origin(answer(page)) as origin, Proxy('-v') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        client.read_until(b'abcd')
        proxy.wait_log(r'(?i)stream')
        proxy.wait_log(r'(?i)length')


@test('a broken pipe on standard output does no harm')
def _():
    reader, writer = os.pipe()
    os.close(reader)
    with Origin(answer(reply(b'x'))) as origin, Proxy(stdout=writer) as proxy:
        os.close(writer)
        for _ in range(3):
            equal(proxy.fetch(origin).body, b'x', 'a page')


@test('each request has its number and its line, whatever becomes of it')
def _():
    with closed_port() as port, Proxy('--proxyauth', 'a:b') as proxy:
        login = 'Proxy-Authorization: Basic YTpi'
        asked = [('http://127.0.0.1:%d/none' % port, login, 502),
                 ('http://mitm.it/', login, 200), ('http://mitm.it/no', login, 404),
                 ('http://127.0.0.1:%d/wrong' % port,
                  'Proxy-Authorization: Basic eDp5', 407), ('/', login, 400)]
        for target, field, status in asked:
            client = proxy.connect()
            client.send(get(target, field))
            equal(client.read_message().status, status, target)
        client = proxy.connect()
        client.send(get('a.test:443', method='CONNECT'))
        equal(client.read_message().status, 407, 'CONNECT')
        want = [('GET ' + target, status) for target, _, status in asked]
        def shown():
            found = re.findall('(?m)^#\\d+ (?:>>|<<) .*$', proxy.out())
            return len(found) == 12 and found
        lines = wait_for(shown, 'twelve lines')
        for n, (target, status) in enumerate(want + [('CONNECT a.test:443',
                                                      407)], 1):
            like(lines[2 * n - 2], "^#%d >> '%s HTTP/1.1" % (
                n, re.escape(target)), 'the request')
            like(lines[2 * n - 1], "^#%d << 'HTTP/1.1 %d " % (n, status),
                 'the answer')
        unlike(proxy.out(), 'Basic [Ye]', 'what is printed')
        proxy.wait_log('#4 answered by an error page: .*a user')


@test('numbers of what cannot be read, behind a request that could')
def _():
    with Origin(answer(reply(b'page'))) as origin, Proxy() as proxy:
        for n, bad in enumerate((b'no request\r\n\r\n', b'GET ' + b'x' * 70000), 1):
            client = proxy.connect()
            client.send(get(origin.url()))
            equal(client.read_message().body, b'page', 'the page')
            client.send(bad)
            client.read_message()
            proxy.wait_log('#%d answered by an error page' % (2 * n))

run()
