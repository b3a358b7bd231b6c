#!/usr/bin/env python3
"""Expect: 100-continue."""
from mitm import *

ASK = get('/', 'Expect: 100-continue', 'Content-Length: 5', method='POST')


@test('without a filter it goes end to end')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        client = proxy.tls(origin)
        client.send(ASK)
        server = origin.next()
        equal(server.read_exact(len(ASK)), ASK, 'the head')
        check(client.silent(0.2), 'nobody but the server may say 100',
              client.buf)
        server.send(b'HTTP/1.1 100 Go On\r\nX: y\r\n\r\n')
        equal(client.read_head(), b'HTTP/1.1 100 Go On\r\nX: y\r\n\r\n', '100')
        client.send(b'hello')
        equal(server.read_exact(5), b'hello', 'the body')
        server.send(reply(b'ok'))
        equal(client.read_message().body, b'ok', 'the answer')


@test('with a request filter the proxy says 100, once')
def _():
    with Origin(tls=True) as origin, \
            Proxy('--request', 'sed s/hello/HELLO/') as proxy:
        client = proxy.tls(origin)
        client.send(ASK)
        like(client.read_head(), rb'^HTTP/1\.1 100 ', '100')
        client.send(b'hello')
        server = origin.next()
        server.read_head()
        equal(server.read_exact(5), b'HELLO', 'the body')
        server.send(reply(b'ok'))
        equal(client.read_message().raw, reply(b'ok'), 'the answer')


@test('with a response filter only, it still goes end to end')
def _():
    with Origin() as origin, Proxy('--response', 'sed s/ok/OK/') as proxy:
        client = proxy.tunnel(origin)
        client.send(ASK)
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        client.read_head()
        client.send(b'hello')
        server.read_exact(5)
        server.send(reply(b'ok'))
        equal(client.read_message().body, b'OK', 'the answer')


@test('HTTP/1.0 expects nothing: no 100 is sent to it')
def _():
    ask = b'POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n' \
          b'\r\nhello'
    with Origin(answer(reply(b'ok'))) as origin, \
            Proxy('--request', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(ask)
        equal(client.read_message().body, b'ok', 'the answer')
        unlike(bytes(client.rx), rb' 100 ', 'no 100')


run()
