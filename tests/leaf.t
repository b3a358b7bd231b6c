#!/usr/bin/env python3
"""The certificate that a client is shown."""
from mitm import *


def leaf(proxy, origin, name='localhost'):
    der = proxy.tls(origin, name).tls.getpeercert(True)
    return openssl('x509', '-inform', 'der', '-noout', '-text', '-nameopt',
                   'RFC2253', input=der).decode()


def dates(*words, **more):
    text = openssl('x509', '-noout', '-dates', *words, **more).decode()
    return [ssl.cert_time_to_seconds(line.split('=')[1])
            for line in text.strip().splitlines()]


@test("it carries the server's subject and all its names")
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        text = leaf(proxy, origin)
        like(text, r'Subject: CN=localhost,O=Origin Works\n', 'subject')
        for name in ('DNS:localhost', 'DNS:origin.test',
                     'IP Address:127.0.0.1', 'IP Address:0:0:0:0:0:0:0:1'):
            like(text, re.escape(name), 'names')
        like(text, r'NIST CURVE: P-256', 'the key')
        like(text, r'Signature Algorithm: ecdsa-with-SHA256', 'signature')
        like(text, r'TLS Web Server Authentication', 'its purpose')
        unlike(text, r'CA:TRUE', 'no CA')


@test("its validity lies within the CA's and is now")
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        der = proxy.tls(origin).tls.getpeercert(True)
        first, last = dates('-inform', 'der', input=der)
        ca_first, ca_last = dates('-in', proxy.ca)
        check(ca_first <= first <= time.time() <= last <= ca_last,
              'dates', (ca_first, first, last, ca_last))


@test('the name asked for is added to names that lack it')
def _():
    cert = make_leaf('/CN=other.test', names='DNS:other.test')
    with Origin(tls=True, cert=cert) as origin, Proxy('-k') as proxy:
        text = leaf(proxy, origin)
        like(text, r'DNS:other\.test', "the server's name")
        like(text, r'DNS:localhost', 'the name asked for')


@test('an address instead of a name')
def _():
    with Origin(tls=True, name='127.0.0.1') as origin, Proxy() as proxy:
        like(leaf(proxy, origin, '127.0.0.1'), r'IP Address:127\.0\.0\.1',
             'names')


@test('a subject with letters beyond ASCII stays whole')
def _():
    cert = make_leaf('/O=B\u00fccher & S\u00f6hne/CN=localhost')
    with Origin(tls=True, cert=cert) as origin, Proxy() as proxy:
        der = proxy.tls(origin).tls.getpeercert(True)
        equal(openssl('x509', '-inform', 'der', '-noout', '-subject',
                      '-nameopt', 'RFC2253,-esc_msb', input=der),
              openssl('x509', '-in', cert, '-noout', '-subject',
                      '-nameopt', 'RFC2253,-esc_msb'), 'subject')


@test('a hundred names')
def _():
    names = ','.join('DNS:n%d.test' % i for i in range(99)) + ',DNS:localhost'
    cert = make_leaf('/CN=n1.test', names=names)
    with Origin(tls=True, cert=cert) as origin, Proxy() as proxy:
        text = leaf(proxy, origin)
        equal(len(re.findall(r'DNS:n\d+\.test', text)), 99, 'names')


@test('the same name twice is the same certificate')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        one = proxy.tls(origin).tls.getpeercert(True)
        two = proxy.tls(origin).tls.getpeercert(True)
        equal(one, two, 'certificate')


@test('a server that has a new certificate gets a new leaf')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        like(leaf(proxy, origin), r'O=Origin Works', 'the old subject')
        origin.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        origin.context.load_cert_chain(make_leaf('/O=New Works/CN=localhost'))
        for _ in range(2):
            like(leaf(proxy, origin), r'O=New Works', 'the new subject')


@test('leaves are kept of the last 512 servers')
def _():
    with Proxy('-q') as proxy:
        context = client_context(proxy.ca)

        def shown(number):      # no server there: a leaf for its page
            name = 'n%d.test' % number
            with proxy.tunnel('127.0.0.1:1') as client:
                client.start_tls(context, name)
                der = client.tls.getpeercert(True)
            proxy.clients.remove(client)
            return der
        first = shown(0)
        for number in range(1, 513):
            shown(number)
        check(shown(0) != first, 'the first is made anew')


run()
