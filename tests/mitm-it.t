#!/usr/bin/env python3
"""http://mitm.it/ gives the CA's certificate, and never its key."""
from mitm import *


@test('PEM, DER and a page that leads to them')
def _():
    with Proxy() as proxy:
        proxy.curl('http://127.0.0.1:1/')   # the CA is made by now
        want = openssl('x509', '-in', proxy.ca, '-outform', 'der')
        equal(proxy.curl('http://mitm.it/mitmproxy.cer'), want, 'the DER')
        pem = scratch('got.pem', proxy.curl('http://mitm.it/mitmproxy.crt?'))
        equal(openssl('x509', '-in', pem, '-outform', 'der'), want, 'the PEM')
        unlike(slurp(pem), b'PRIVATE', 'the PEM')
        like(proxy.curl('http://mitm.it'), b'mitmproxy.crt', 'the page')
        for path in 'cert', 'mitmproxy.crt/', 'mitmproxy.pem', 'index.html':
            like(proxy.curl('-i', 'http://mitm.it/' + path), b'^HTTP/1.1 404 ',
                 path)


@test('in a tunnel, with TLS and without, by SOCKS, and of a reverse proxy')
def _():
    with Proxy() as proxy, closed_port() as port:
        crt = proxy.curl('http://mitm.it/mitmproxy.crt')
        like(crt, b'^-----BEGIN CERTIFICATE-----', 'the PEM')
        for words, path in (((), 'https://mitm.it/'), ((), 'https://mitm.it.:8443/'),
                            (('-p',), 'http://mitm.it/'),
                            (('-x', 'socks5h://127.0.0.1:%d' % proxy.port),
                             'https://mitm.it/')):
            equal(proxy.curl(path + 'mitmproxy.crt', *words), crt, path)
        with Proxy('-m', 'reverse:http://127.0.0.1:%d' % port,
                   ca=proxy.ca) as reverse:
            equal(reverse.curl('http://mitm.it/mitmproxy.crt'), crt, 'reverse')


@test('curl -O in the folder of the proxy leaves the CA and its key alone')
def _():
    folder = scratch('folder')
    os.mkdir(folder)
    with Proxy(ca=folder + '/cert.pem') as proxy:
        before = slurp(proxy.ca)
        for name in 'cert.pem', 'mitmproxy.crt', 'mitmproxy.cer':
            subprocess.run([need('curl'), '-sO', '-x', 'http://127.0.0.1:%d'
                            % proxy.port, 'http://mitm.it/' + name],
                           cwd=folder, timeout=DEADLINE)
        equal(slurp(proxy.ca), before, 'the CA')
        equal(sorted(os.listdir(folder)), ['cert.pem', 'mitmproxy.cer',
                                           'mitmproxy.crt'], 'the folder')


@test('what is shown of it is not the answer before it')
def _():
    with Origin() as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(get(origin.url()) + get('http://mitm.it/'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'first'))
        equal(client.read_message().body, b'first', 'the first answer')
        like(client.read_message().body, b'mitmproxy.crt', 'the page')
        shown = proxy.wait_out('#2 << .*')[0]
        like(shown, 'text/html', 'what is shown')
        unlike(shown, 'first', 'what is shown')


run()
