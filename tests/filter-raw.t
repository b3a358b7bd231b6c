#!/usr/bin/env python3
"""--raw: wire bytes in, wire bytes out, nothing is mended."""
from mitm import *


@test('chunks and all are what the filter sees and what goes out')
def _():
    page = chunked(b'hello', b'worlds', trailers=b'X: y\r\n')
    seen = scratch('seen')
    with Origin(answer(page), tls=True) as origin, \
            Proxy('--raw', '--response', 'tee %s | tr a-z A-Z' % seen) \
            as proxy:
        client = proxy.tls(origin)
        client.send(get('/'))
        equal(client.read_exact(len(page)), page.upper(), 'at the client')
        equal(slurp(seen), page, 'at the filter')


@test('a wrong length is not mended')
def _():
    with Origin(answer(reply(b'hello world'))) as origin, \
            Proxy('--raw', '--response', 'sed s/world/everybody/') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        want = reply(b'hello world').replace(b'world', b'everybody')
        equal(client.read_exact(len(want)), want, 'at the client')


@test('a request that is no HTTP any more')
def _():
    with Origin() as origin, \
            Proxy('--raw', '--request', 'printf "\\001\\002 what?"') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        equal(origin.next().read_exact(8), b'\1\2 what?', 'at the server')


@test('--raw is for the filter that follows it, only')
def _():
    with Origin(answer(chunked(b'hello'))) as origin, \
            Proxy('--raw', '--request', 'cat', '--response',
                  'sed s/hello/goodbye/') as proxy:
        equal(proxy.fetch(origin).body, b'goodbye', 'mended')


run()
