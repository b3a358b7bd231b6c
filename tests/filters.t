#!/usr/bin/env python3
"""A command changes messages: what it gets, what becomes of its output."""
from mitm import *


def head(page):
    return page[:page.index(b'\r\n\r\n') + 4]


@test('sed on a response; only the number in Content-Length is mended')
def _():
    page = (b'HTTP/1.1 200 Fine\r\nX: 1\r\ncontent-LENGTH:  12\r\nx: 2\r\n'
            b'\r\nhello world\n')
    with Origin(answer(page), tls=True) as origin, \
            Proxy('--response', 's=world; sed "s/$s/everybody/"') as proxy:
        got = proxy.fetch(origin)
        equal(got.raw, page.replace(b'world', b'everybody')
              .replace(b'  12', b'  16'), 'the message')


@test('sed on a request')
def _():
    with Origin(answer(reply(b'ok')), tls=True) as origin, \
            Proxy('--request', 'sed s/cat/horse/') as proxy:
        body = b'I have a cat\n'
        proxy.fetch(origin, get('/cat', 'Content-Length: %d' % len(body),
                                'X: cat', method='POST') + body)
        equal(origin.rx, get('/horse', 'Content-Length: 15', 'X: horse',
                             method='POST') + b'I have a horse\n',
              'at the server')


@test('both letters and both names of the options')
def _():
    for request, response in (('-Q', '-R'), ('--request', '--response')):
        with Origin(answer(lambda r: reply(r.start))) as origin, \
                Proxy(request, 'sed s/one/two/',
                      response, 'sed s/two/three/') as proxy:
            equal(proxy.fetch(origin, get('/one')).body,
                  b'GET /three HTTP/1.1', 'there and back')


@test('a chunked response stays chunked')
def _():
    with Origin(answer(chunked(b'hello ', b'world\n', fields=['X: y'])),
                tls=True) as origin, \
            Proxy('--response', 'sed s/world/everybody/') as proxy:
        got = proxy.fetch(origin)
        equal(got.head, b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n'
              b'X: y\r\n\r\n', 'head')
        equal((got.body, got.end), (b'hello everybody\n', 'chunks'), 'body')


@test('a chunked request stays chunked, its trailers follow')
def _():
    with Origin(answer(reply(b'ok'))) as origin, \
            Proxy('--request', 'sed s/cat/horse/') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Transfer-Encoding: chunked', method='POST')
                    + b'4\r\na ca\r\n2\r\nt\n\r\n0\r\nX-Sum: 1\r\n\r\n')
        client.read_message()
        copy = Conn(socket.socketpair()[0])
        copy.buf += origin.rx
        got = copy.read_message()
        equal((got.body, got.end, got.trailers),
              (b'a horse\n', 'chunks', b'X-Sum: 1\r\n'), 'at the server')


@test('several filters are a pipeline, in their order')
def _():
    with Origin(answer(lambda r: reply(r.start))) as origin, \
            Proxy('--request', 'sed s/a/b/', '--request', 'sed s/b/c/',
                  '--response', 'sed s/c/d/', '--response', 'sed s/d/e/',
                  '--response', 'sed s/e/f/') as proxy:
        equal(proxy.fetch(origin, get('/a')).body, b'GET /f HTTP/1.1',
              'through five filters')


@test('the head comes to the filter as it was received')
def _():
    page = (b'HTTP/1.1 200 OK\r\nB : 1\r\nA:\r\n\tfold\r\nN\xff: \x00\r\n'
            b'Content-Length: 3\r\n\r\nabc')
    seen = scratch('seen')
    with Origin(answer(page), tls=True) as origin, \
            Proxy('--response', 'tee ' + seen) as proxy:
        equal(proxy.fetch(origin).raw, page, 'at the client')
        equal(slurp(seen), page, 'at the filter')


@test('the body comes to the filter without chunks')
def _():
    page = chunked(b'hello', b' world', trailers=b'X: y\r\n')
    seen = scratch('seen')
    with Origin(answer(page), tls=True) as origin, \
            Proxy('--response', 'tee ' + seen) as proxy:
        equal(proxy.fetch(origin).trailers, b'X: y\r\n', 'trailers')
        equal(slurp(seen), head(page) + b'hello world', 'at the filter')


@test('Accept-Encoding becomes identity for a response filter, and only so')
def _():
    ask = get('/', 'accept-ENCODING: gzip, br', 'X: y')
    for args, want in (
            (('--response', 'cat'), b'accept-ENCODING: identity\r\nX'),
            (('--request', 'cat'), b'accept-ENCODING: gzip, br\r\nX'),
            (('--raw', '--response', 'cat'),
             b'accept-ENCODING: gzip, br\r\nX')):
        with Origin(answer(reply(b'x'))) as origin, Proxy(*args) as proxy:
            proxy.fetch(origin, ask)
            like(origin.rx, want, 'with %s' % (args,))


@test('many messages on one connection, one filter each')
def _():
    with Origin(answer(lambda r: reply(r.start, 'X: a')), tls=True) \
            as origin, Proxy('--response', 'sed s/a/b/') as proxy:
        client = proxy.tls(origin)
        for i in range(20):
            client.send(get('/%d' % i))
            got = client.read_message()
            equal((got.body, got['x']), (b'GET /%d HTTP/1.1' % i, b'b'),
                  'answer')
        equal(len(origin.conns), 1, 'connections')


run()
