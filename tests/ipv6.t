#!/usr/bin/env python3
"""An origin on ::1."""
from mitm import *


def origin6(tls):
    try:
        return Origin(answer(lambda r: reply(r.start)), tls=tls, host='::1',
                      name='::1')
    except OSError:
        raise Skip('no IPv6 here') from None


@test('http://[::1]')
def _():
    with origin6(False) as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(get(origin.url('/x'), host=origin.auth))
        equal(client.read_message().body, b'GET /x HTTP/1.1', 'the answer')


@test('a zone, as in a URL and by itself')
def _():
    with Proxy() as proxy:
        for zone in '%25none', '%none':
            auth = '[fe80::1%s]:80' % zone
            clients = proxy.connect(), proxy.tunnel(auth)
            for client, target in zip(clients, ('http://%s/' % auth, '/')):
                client.send(get(target, host='x'))
                like(client.read_message().body, rb'\bfe80::1%none\b',
                     'who is looked up')


@test('CONNECT [::1], TLS inside')
def _():
    with origin6(True) as origin, Proxy() as proxy:
        equal(proxy.fetch(origin).body, b'GET / HTTP/1.1', 'the answer')


@test('the next address is tried when one fails')
def _():
    for host in ('127.0.0.1', '::1'):
        with Origin(answer(reply(b'x')), host=host) as origin, \
                Proxy() as proxy:
            equal(proxy.fetch(origin).body, b'x', 'from ' + host)


@test('--listen-host ::1, with brackets and without')
def _():
    for host in '::1', '[::1]':
        with origin6(False), Proxy('--listen-host', host) as proxy:
            proxy.wait_log(r'listening on \[::1\]:\d+\n')


run()
