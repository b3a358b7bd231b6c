#!/usr/bin/env python3
"""curl, openssl s_client and openssl s_server."""
from mitm import *


@test('curl: http and https, several pages on one connection')
def _():
    with Origin(answer(lambda r: reply(r.start + b'\n'))) as plain, \
            Origin(answer(lambda r: reply(r.start + b'\n')),
                   tls=True) as secret, Proxy() as proxy:
        equal(proxy.curl(plain.url('/1'), plain.url('/2')),
              b'GET /1 HTTP/1.1\nGET /2 HTTP/1.1\n', 'http')
        equal(proxy.curl(secret.url('/1'), secret.url('/2')),
              b'GET /1 HTTP/1.1\nGET /2 HTTP/1.1\n', 'https')
        equal(len(secret.conns), 1, 'connections of https')


@test('curl: uploads of 3 MB with a length and in chunks arrive')
def _():
    data = os.urandom(1 << 20) * 3
    name = scratch('upload', data)
    with Origin(answer(lambda r: reply(b'%d %s' % (
            len(r.body), r.end.encode() if r.body == data else b'spoilt'))),
            tls=True) as origin, Proxy() as proxy:
        equal(proxy.curl('-H', 'Expect:', '-T', name, origin.url('/')),
              b'3145728 length', 'with a length')
        equal(proxy.curl('-H', 'Expect:', '-H', 'Transfer-Encoding: chunked',
                         '-T', name, origin.url('/')),
              b'3145728 chunks', 'in chunks')


@test('curl: Expect: 100-continue goes to the server and back')
def _():
    def behave(conn):
        head = conn.read_head()
        like(head, rb'Expect: 100-continue', 'the request')
        conn.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        conn.send(reply(conn.read_exact(5)))
    with Origin(behave, tls=True) as origin, Proxy() as proxy:
        equal(proxy.curl('-H', 'Expect: 100-continue', '-d', 'hello',
                         '--expect100-timeout', '1000', origin.url('/')),
              b'hello', 'the answer')


for version in ('-tls1_2', '-tls1_3'):
    @test('openssl s_server and s_client, %s' % version)
    def _(version=version):
        need('openssl')
        leaf = make_leaf()
        with running('openssl', 's_server', '-accept', '127.0.0.1:0', '-www',
                     '-cert', leaf, '-key', leaf, version,
                     ready=r'ACCEPT 127.0.0.1:(\d+)') as server, \
                Proxy() as proxy:
            port = server.match.group(1)
            with running('openssl', 's_client', '-quiet', '-proxy',
                         '127.0.0.1:%d' % proxy.port, '-connect',
                         'localhost:' + port, '-servername', 'localhost',
                         '-CAfile', proxy.ca, '-verify_return_error',
                         version) as client:
                client.stdin.write(b'GET / HTTP/1.0\r\n\r\n')
                client.stdin.flush()
                wait_for(lambda: b'</pre>' in slurp(client.output).lower(),
                         'the page of s_server: ')
                like(slurp(client.output), rb'HTTP/1.0 200 ok', 'the page')


run()
