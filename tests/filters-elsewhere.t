#!/usr/bin/env python3
"""block, map-local and map-remote: another answers than was asked."""
from filters import *


@test('block answers 403 for what matches, the server never hears of it')
def _():
    with Origin(answer(reply(b'theirs')), tls=True) as origin, \
            Proxy('--request', ready('block', r'/ads?[0-9]*\.|^ftp')) as proxy:
        client = proxy.tls(origin)
        for path, status in (('/x', 200), ('/AD7.js', 403), ('/add', 200),
                             ('/ads.js', 403)):
            client.send(get(path))
            equal(client.read_message().status, status, path)
        client.send(get('/ad.', 'Content-Length: 300000', method='POST')
                    + b'x' * 300000)
        equal(client.read_message().body, b'blocked\n', 'an upload')
        unlike(origin.rx, b'(?i)/ad.?\\.', 'at the server')


@test('block in a pipe: by the first line')
def _():
    passes('block', 'x', input=get('/a') + BYTES)
    passes('block', 'x', input=BYTES, env={'MITM_DIRECTION': 'stream'})
    like(pipe('block', '^/a$', input=get('/a')).out,
         rb'(?s)^HTTP/1.1 403 .*\r\n\r\nblocked\n$', 'blocked')
    for option in '-x', '--help':       # a regex, not an option of grep
        passes('block', option, input=get('/a'))
    equal(pipe('block', '(', input=get('/')).status, 2, 'a wrong regex')
    equal(pipe('block', '*', 'x').status, 2, 'usage')


@test('map-local answers from files, the server has the rest')
def _():
    root = scratch('root')
    os.makedirs(root + '/sub dir')
    secret = scratch('secret', b'secret')
    for name, text in (('a.js', b'mine()'), ('index.html', b'<p>mine'),
                       ('sub dir/\xfc.png'.encode('latin-1'), BYTES)):
        with open(os.path.join(os.fsencode(root), os.fsencode(name)),
                  'wb') as f:
            f.write(text)
    os.symlink(secret, root + '/link')
    os.symlink('a.js', root + '/inner.js')
    os.mkfifo(root + '/fifo')
    with Origin(answer(reply(b'theirs')), tls=True) as origin, \
            Proxy('--request', ready('map-local', origin.url('/js/'),
                                     root)) as proxy:
        client = proxy.tls(origin)
        up = '../' + os.path.basename(secret)
        for path, want, kind in (
                ('/js/a.js?v=2', b'mine()', rb'(text|application)/javascript'),
                ('/js/inner.js', b'mine()', rb'(text|application)/javascript'),
                ('/js/', b'<p>mine', b'text/html'),
                ('/js/sub%20dir/%FC.png', BYTES, b'image/png'),
                ('/js//a.js', b'mine()', b'javascript'),
                ('/js/../js/a.js', b'theirs', None),
                ('/a.js', b'theirs', None), ('/jsx/a.js', b'theirs', None),
                ('/js/none', b'theirs', None), ('/js/fifo', b'theirs', None),
                ('/js/sub%20dir', b'theirs', None),
                ('/js/link', b'theirs', None), ('/js/' + up, b'theirs', None),
                ('/js/%2e%2e%2f' + up[3:], b'theirs', None),
                ('/js/sub%20dir/../' + up, b'theirs', None),
                ('/js/' + secret, b'theirs', None),
                ('/js/%2F' + secret, b'theirs', None),
                ('/js/a.js%00', b'theirs', None)):
            client.send(get(path))
            got = client.read_message()
            equal(got.body, want, path)
            if kind:
                like(got['content-type'], kind, path)
        client.send(get('/js/a.js', method='HEAD'))
        got = client.read_message(True)
        equal((got.status, got['content-length']), (200, b'6'), 'HEAD')
        client.send(get('/js/a.js', 'Content-Length: 2', method='POST')
                    + b'ab')
        equal(client.read_message().body, b'theirs', 'POST')
        like(origin.rx, b'POST /js/a.js HTTP/1.1\r\n.*\r\n.*\r\n\r\nab$',
             'POST at the server')


@test('map-local in a pipe, with one file')
def _():
    name = scratch('one.css', b'p{}')
    ask = get('http://a/x.css')
    like(pipe('map-local', 'http://a/x.css', name, input=ask).out,
         rb'^HTTP/1.1 200 OK\r\nContent-Type: text/css\r\n'
         rb'Content-Length: 3\r\n\r\np\{\}$', 'the file')
    for prefix, dest in (('http://a/x', name), ('http://a', name),
                         ('http://a/x.css', SCRATCH), ('http://a', 'absent')):
        passes('map-local', prefix, dest, input=ask + BYTES)
    passes('map-local', 'http://a', SCRATCH, input=BYTES,
           env={'MITM_DIRECTION': 'stream'})
    equal(pipe('map-local', 'x').status, 1, 'usage')


@test('map-remote sends elsewhere what begins with a URL')
def _():
    def echo(name):
        return answer(lambda r: reply(
            b'%s %s %s' % (name, r.start, r['host'])))
    with Origin(echo(b'here'), tls=True) as here, \
            Origin(echo(b'there')) as there, \
            Proxy('--request', ready('map-remote', here.url('/api'),
                                     there.url('/v2/'))) as proxy:
        client = proxy.tls(here)
        moved = there.auth.encode()
        for path, want in (
                ('/x', b'here GET /x HTTP/1.1 localhost'),
                ('/api/a?b=/api', b'there GET /v2/a?b=/api HTTP/1.1 ' + moved),
                ('/apis', b'here GET /apis HTTP/1.1 localhost'),
                ('/api', b'there GET /v2 HTTP/1.1 ' + moved),
                ('/api?x', b'there GET /v2?x HTTP/1.1 ' + moved)):
            client.send(get(path))
            equal(client.read_message().body, want, path)
        client.send(get('/api/', 'Content-Length: %d' % len(BYTES),
                        method='PUT') + BYTES)
        client.read_message()
        like(there.rx, re.escape(BYTES) + b'$', 'a body')


@test('map-remote in a pipe')
def _():
    ask = (b'GET http://a/x?y HTTP/1.1\nA: b\nhOst : a\nHosts: a\n\n'
           b'Host: a\n' + BYTES)
    for start, to, target, host in (
            ('http://a', 'https://b', b'https://b/x?y', b'b'),
            ('http://a/', 'https://b:8/', b'https://b:8/x?y', b'b:8'),
            ('http://a/x', 'http://[::1]', b'http://[::1]/?y', b'[::1]'),
            ('http://a/x/', 'http://b/c/?d=', b'http://b/c/?d=?y', b'b')):
        equal(pipe('map-remote', start, to, input=ask),
              Done(0, ask.replace(b'http://a/x?y', target)
                   .replace(b'hOst : a', b'Host: ' + host), ''), to)
    for env in {}, {'MITM_URL': 'http://a/b c'}:
        equal(pipe('map-remote', 'http://a', 'http://b', env=env,
                   input=b'GET  http://a/b c  HTTP/1.1\r\n\r\n'),
              Done(0, b'GET  http://b/b c  HTTP/1.1\r\n\r\n', ''), 'blanks')
    for start in 'http://b', 'http://a/x?', 'https://a':
        passes('map-remote', start, 'http://c', input=ask)
    passes('map-remote', 'http://a', 'http://b', input=BYTES,
           env={'MITM_DIRECTION': 'stream'})
    equal(pipe('map-remote', 'a', 'http://b').status, 2, 'usage')


run()
