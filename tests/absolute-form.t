#!/usr/bin/env python3
"""What an HTTP proxy client sends: GET http://host/path."""
from mitm import *


@test('the server gets the origin form, the fields in their order and case')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(b'GET http://%s/a?b#c HTTP/1.1\r\nzeta: 1\r\nHOST:  x\r\n'
                    b'Proxy-Connection: keep-alive\r\nAlpha:2 \r\n\r\n'
                    % origin.auth.encode())
        equal(origin.next().read_head(), b'GET /a?b#c HTTP/1.1\r\nzeta: 1\r\n'
              b'HOST:  x\r\nAlpha:2 \r\n\r\n', 'at the server')


@test('the schemes of WebSocket tell the way as those of HTTP')
def _():
    for tls in False, True:
        with Origin(answer(lambda r: reply(r.head)), tls=tls) as origin, \
                Proxy() as proxy:
            client = proxy.connect()
            client.send(get(origin.url('/x').replace('http', 'ws')))
            equal(client.read_message().body, get('/x'), 'at the server')


@test('a target without a path becomes / or, of OPTIONS, *')
def _():
    with Origin(answer(reply(b'x'))) as origin, Proxy(
            '--match', '~u ^http://localhost:[0-9]+/', '--request',
            'echo "$MITM_URL" >&2; cat') as proxy:
        client = proxy.connect()
        for method, path, form in (
                ('GET', '', '/'), ('GET', '?q', '/?q'), ('OPTIONS', '', '*'),
                ('OPTIONS', '/', '/'), ('HEAD', '#x', '/#x')):
            client.send(get(origin.url(path), method=method))
            client.read_message(method == 'HEAD')
            equal(origin.rx.split(b'\r\n\r\n')[-2], get(
                form, method=method)[:-4], 'at the server')
        equal(re.findall(r'(?m)^http://.*', proxy.log()),
              [origin.url('/' + end) for end in ('', '?q', '', '', '#x')],
              'what filters are told')


@test('one connection asks many servers in turn, many times')
def _():
    with contextlib.ExitStack() as stack:
        origins = [stack.enter_context(Origin(answer(reply(name))))
                   for name in (b'red', b'green', b'blue')]
        proxy = stack.enter_context(Proxy())
        client = proxy.connect()
        for turn in range(30):
            origin = origins[turn * 7 % 3]
            client.send(get(origin.url('/%d' % turn)))
            equal(client.read_message().body,
                  (b'red', b'green', b'blue')[turn * 7 % 3], 'the answer')
        equal(len(proxy.clients), 1, 'connections of the client')
        for i, origin in enumerate(origins):
            equal(origin.rx.count(b'GET '), 10, 'requests at server %d' % i)


@test('a server that closes after each response is asked again')
def _():
    def once(conn):
        conn.read_head()
        conn.send(reply(b'x'))
    with Origin(once) as origin, Proxy() as proxy:
        for turn in range(3):
            client = proxy.connect()
            client.send(get(origin.url('/')))
            equal(client.read_message().body, b'x', 'the answer')


@test('the name is looked up, the port is 80 when none is given')
def _():
    with Proxy() as proxy:
        client = proxy.connect()
        client.send(get('http://no-such-host.invalid/', host='x'))
        answer = client.read_message()
        equal(answer.status, 502, 'status')
        like(answer.body, rb'no-such-host\.invalid', 'the page')


@test('CONNECT with an absolute target is a request as others are')
def _():
    with Origin(answer(lambda r: reply(r.start))) as origin, \
            Proxy('-R', 'sed s/CONNECT/connected/') as proxy:
        client = proxy.connect()
        for _ in range(2):
            client.send(get(origin.url('/x'), method='CONNECT'))
            equal(client.read_message().body, b'connected /x HTTP/1.1',
                  'the answer')
        equal(proxy.curl('-X', 'CONNECT', origin.url('/y')),
              b'connected /y HTTP/1.1', 'by curl')

run()
