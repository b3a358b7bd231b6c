#!/usr/bin/env python3
"""http://mitm.it/ gives the CA's certificate, and never its key."""
from mitm import *


@test('PEM, DER and a page that leads to them')
def _():
    with Proxy() as proxy:
        proxy.curl('http://127.0.0.1:1/')   # the CA is made by now
        want = openssl('x509', '-in', proxy.ca, '-outform', 'der')
        equal(proxy.curl('http://mitm.it/cert.cer'), want, 'the DER')
        pem = scratch('got.pem', proxy.curl('http://mitm.it/cert.pem'))
        equal(openssl('x509', '-in', pem, '-outform', 'der'), want, 'the PEM')
        unlike(slurp(pem), b'PRIVATE', 'the PEM')
        like(proxy.curl('http://mitm.it/'), b'cert.pem', 'the page')


@test('what is shown of it is not the answer before it')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(get(origin.url()) + get('http://mitm.it/'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'first'))
        equal(client.read_message().body, b'first', 'the first answer')
        like(client.read_message().body, b'cert.pem', 'the page')
        shown = proxy.wait_out('#2 << .*')[0]
        like(shown, 'text/html', 'what is shown')
        unlike(shown, 'first', 'what is shown')


run()
