#!/usr/bin/env python3
"""A request filter can answer, send the request elsewhere, or drop it."""
from mitm import *


def when(path, command):
    """Does command if the URL ends in path, else nothing."""
    return ('case $MITM_URL in *%s) %s;; *) cat;; esac' % (path, command))


@test('it answers itself, the server never hears of it')
def _():
    own = scratch('own', reply(b'mine', 'X: y'))
    with Origin(answer(reply(b'theirs')), tls=True) as origin, \
            Proxy('--request', when('/own', 'cat ' + own)) as proxy:
        client = proxy.tls(origin)
        for path, want in (('/1', b'theirs'), ('/own', b'mine'),
                           ('/2', b'theirs'), ('/own', b'mine')):
            client.send(get(path))
            equal(client.read_message().body, want, path)
        equal(origin.rx, get('/1') + get('/2'), 'at the server')


@test('its answer is framed right even when it did not')
def _():
    own = scratch('own', b'HTTP/1.1 404 Not Here\r\nX: y\r\n\r\nmine')
    with Origin(answer(reply(b'theirs'))) as origin, \
            Proxy('--request', 'cat ' + own) as proxy:
        got = proxy.fetch(origin)
        equal((got.status, got['x'], got.body), (404, b'y', b'mine'), 'got')


@test('it answers an upload without reading it')
def _():
    own = scratch('own', reply(b'no, thanks'))
    with Origin(answer(reply(b'theirs'))) as origin, \
            Proxy('--request', 'cat ' + own) as proxy:
        client = proxy.tunnel(origin)
        work = thread(client.pour, get('/', 'Content-Length: 3000000',
                                       method='PUT') + b'x' * 3000000, 1)
        equal(client.read_message().body, b'no, thanks', 'the answer')
        work.result()
        equal(origin.rx, b'', 'at the server')


@test('its answer to HEAD has no body')
def _():
    own = scratch('own', reply(b'')[:-2] + b'X: y\r\n\r\n')
    with Origin(answer(reply(b'theirs'))) as origin, \
            Proxy('--request', when('/own', 'cat ' + own)) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/own', method='HEAD'))
        equal(client.read_message(True)['x'], b'y', 'head')
        client.send(get('/2'))
        equal(client.read_message().body, b'theirs', 'next')


@test('its answer ends the connection of who asked for that')
def _():
    own = scratch('own', reply(b'mine'))
    with Origin(answer(reply(b'theirs'))) as origin, \
            Proxy('--request', 'cat ' + own) as proxy:
        for request in (b'GET / HTTP/1.0\r\n\r\n',
                        get('/', 'Connection: close')):
            client = proxy.tunnel(origin)
            client.send(request)
            equal(client.read_message().body, b'mine', 'the answer')
            equal((client.read_all(), client.end), (b'', 'eof'), 'its end')


@test('what says that it ends the connection does, if only a filter says so')
def _():
    own = scratch('own', reply(b'mine', 'Connection: close'))
    old = scratch('old', b'HTTP/1.0 200 OK\r\n\r\nmine')
    for way in '--request', '--response':
        for page in own, old:
            with Origin(answer(reply(b'theirs'))) as origin, \
                    Proxy(way, 'cat ' + page) as proxy:
                client = proxy.tunnel(origin)
                client.send(get('/'))
                equal(client.read_message().body, b'mine', 'the answer')
                equal((client.read_all(), client.end), (b'', 'eof'), way)


@test('its answer has not the trailers of the request')
def _():
    own = scratch('own', b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n'
                         b'\r\nmine')
    with Origin(answer(reply(b'theirs'))) as origin, \
            Proxy('--request', 'cat > /dev/null; cat ' + own) as proxy:
        got = proxy.fetch(origin, b'POST / HTTP/1.1\r\nHost: x\r\n'
                          b'Transfer-Encoding: chunked\r\n\r\n'
                          b'1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n')
        equal((got.body, got.trailers), (b'mine', b''), 'the answer')


@test('an absolute target sends the request there, the next one back')
def _():
    with Origin(answer(lambda r: reply(b'here ' + r.start)), tls=True) \
            as here, Origin(answer(lambda r: reply(b'there ' + r.start)),
                            tls=True) as there, \
            Origin(answer(lambda r: reply(b'plain ' + r.start))) as plain:
        move = ('sed -e "1s|/there|%s|" -e "1s|/plain|%s|"'
                % (there.url('/moved'), plain.url('/moved')))
        with Proxy('--request', move) as proxy:
            client = proxy.tls(here)
            for path, want in (
                    ('/1', b'here GET /1'), ('/there', b'there GET /moved'),
                    ('/2', b'here GET /2'), ('/plain', b'plain GET /moved'),
                    ('/3', b'here GET /3'), ('/there', b'there GET /moved')):
                client.send(get(path))
                equal(client.read_message().body, want + b' HTTP/1.1', path)
            like(there.rx, rb'^GET /moved HTTP/1\.1\r\n', 'origin form')


for way in 'reverse', 'tunnel', 'TLS in a tunnel':
    @test('a text that a filter edits leads nowhere: ' + way)
    def _(way=way):
        with Origin(answer(lambda r: reply(r.start)), tls='TLS' in way) \
                as here, Origin(answer(reply(b'secret'))) as other, \
                Proxy('--request', 'sed "s/cloud/clown/g; s/[<^]//g"',
                      *(('-m', 'reverse:' + here.url()) if way == 'reverse'
                        else ())) as proxy:
            client = (proxy.connect() if way == 'reverse' else
                      proxy.tls(here) if here.tls else proxy.tunnel(here))
            for name in ('http://cloud.localhost', 'http://clo<ud.localhost',
                         '^http://localhost', 'cloud:http://localhost'):
                client.send(get('%s:%d/x' % (name, other.port)))
                like(client.read_message().body, rb'^GET \S*:%d/x HTTP/1\.1$'
                     % other.port, name)
            equal(other.conns, [], 'connections of the other server')


@test('from plain HTTP to https')
def _():
    with Origin(answer(reply(b'here'))) as here, \
            Origin(answer(reply(b'there')), tls=True) as there, \
            Proxy('--request', 'sed "1s|[^ ]*/there|%s|"' % there.url('/')) \
            as proxy:
        client = proxy.connect()
        for path, want in (('/there', b'there'), ('/', b'here'),
                           ('/there', b'there')):
            client.send(get(here.url(path)))
            equal(client.read_message().body, want, path)


@test('elsewhere where nobody is: a page that says so')
def _():
    with closed_port() as port, \
            Origin(answer(reply(b'here')), tls=True) as here, \
            Proxy('--request', 'sed "1s|/|http://127.0.0.1:%d/|"' % port) \
            as proxy:
        got = proxy.fetch(here)
        equal(got.status, 502, 'status')
        like(got.body, rb'(?i)refused', 'reason')


@test('dropped: closed without an answer, nothing at the server')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, \
            Proxy('--request', when('/drop', 'cat > /dev/null')) as proxy:
        client = proxy.tls(origin)
        client.send(get('/1'))
        equal(client.read_message().body, b'x', 'first')
        client.send(get('/drop'))
        equal(client.read_all(), b'', 'at the client')
        equal(origin.rx, get('/1'), 'at the server')


run()
