#!/usr/bin/env python3
"""edit CODE: Python on a message, and the templates to copy."""
import gzip, json, shutil, zlib
from filters import *


def edited(code, message, **env):
    done = pipe('edit', code, input=message, env=env)
    equal((done.status, done.err), (0, ''), code)
    return done.out


@test('what CODE leaves alone stays as it was, byte for byte')
def _():
    for eol in b'\r\n', b'\n':
        for kind in b'application/json', b'text/html', b'a/x-www-urlencoded':
            for body in BYTES, b'{"a":  1 }', b'', b")]}'\n{}", b'[' * 9999:
                page = eol.join([b'HTTP/1.1 200  Fine', b'a:b', b'A : c\xff',
                                 b'Content-Type: ' + kind, b'', body])
                passes('edit', 'pass', input=page)
    zipped = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n' \
        + gzip.compress(BYTES, 1)
    passes('edit', 'put; body', input=zipped)
    passes('edit', 'pass', input=b'')
    passes('edit', 'body = b""', input=BYTES, env={'MITM_DIRECTION': 'stream'})


@test('first, fields, body, JSON and forms')
def _():
    equal(edited('first = "HTTP/1.1 404 Gone"; put("b", get("A") + "!"); '
                 'drop("A")', b'HTTP/1.1 200 OK\r\na: 1\r\nB: 2\r\n\r\nx'),
          b'HTTP/1.1 404 Gone\r\nb: 1!\r\n\r\nx', 'first and fields')
    folded = b'HTTP/1.1 200 OK\r\nA: 1\r\nB : 2\r\n\tand 3\r\nC: 4\r\n\r\nx'
    passes('edit', 'get("b")', input=folded)
    equal(edited('drop("B"); put("a", 5)', folded),
          b'HTTP/1.1 200 OK\r\nC: 4\r\na: 5\r\n\r\nx', 'all of a field')
    equal(edited('answer(403, get("b"))', folded)[-7:], b'2 and 3', 'its value')
    page = b'HTTP/1.1 200 OK\r\nContent-Type: application/x+json\r\n\r\n'
    equal(json.loads(edited('json["b"] = env["X"]; json["a"] += 1',
                            page + b'{"a": 1}', X='y')[len(page):]),
          {'a': 2, 'b': 'y'}, 'JSON')
    form = b'POST / HTTP/1.1\r\n' \
        b'Content-Type: application/x-www-form-urlencoded\r\n\r\n'
    equal(edited('form["b"] = "c d"', form + b'a=1&b=2&e='),
          form + b'a=1&b=c+d&e=', 'a form')
    for code, was, now in (
            ('form["b"] = 3', b'a=1&a=2&b=1&&b=2&c=%E9&d=\xe9&e=%c3%BC&f&=',
             b'a=1&a=2&b=3&&c=%E9&d=\xe9&e=%c3%BC&f&='),
            ('form["c"] += "!"; form["x"] = "\u00fc"', b'c=%E9&d=%e9',
             b'c=%E9%21&d=%e9&x=%C3%BC'),
            ('del form["a"]', b'a=1&b=%E9&a=2', b'b=%E9'),
            ('form.clear()', b'a=1', b''), ('form["a"] = 1', b'', b'a=1')):
        equal(edited(code, form + was), form + now, 'what is left alone')
    equal(edited('body = body.upper()', form[:17] + b'\r\nabc'),
          form[:17] + b'\r\nABC', 'a body')


@test('a body that is compressed is undone and redone, or refused')
def _():
    for coding, do, undo in ('gzip', gzip.compress, gzip.decompress), \
            ('x-gzip', gzip.compress, gzip.decompress), \
            ('deflate', zlib.compress, zlib.decompress), \
            ('deflate', lambda data: zlib.compress(data)[2:-4],
             zlib.decompress):          # without its envelope, as many send it
        head = b'HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n\r\n' \
            % coding.encode()
        got = edited('body = body.replace(b"a", b"b")', head + do(b'banana'))
        equal(undo(got[len(head):]), b'bbnbnb', coding)
        head = head.replace(b'Content', b'Transfer').replace(
            b'\r\n\r\n', b', Chunked\r\n\r\n')
        got = edited('body = body.replace(b"a", b"b")', head + do(b'banana'))
        equal(undo(got[len(head):]), b'bbnbnb', 'a transfer coding')
    done = pipe('edit', 'body = b""', input=b'HTTP/1.1 200 OK\r\n'
                b'Content-Encoding: br\r\n\r\nx')
    equal((done.status, done.out, done.err),
          (1, b'', 'edit: cannot undo br\n'), 'br')
    done = pipe('edit', 'pass', input=b'HTTP/1.1 200 OK\r\n'
                b'Content-Encoding: \x1b]0;x\x07\x9b\r\n\r\nx')
    like(done.err, r'\Aedit: cannot undo [ -~]*\n\Z', 'plain text')
    head = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n'
    for more, want in (b'\n', b'b'), (b'more', b'b'), (gzip.compress(b'a'),
                                                     b'bb'):
        got = edited('body = body.replace(b"a", b"b")',
                     head + gzip.compress(b'a') + more)
        equal(gzip.decompress(got[len(head):]), want, 'behind it %r' % more)
    for coding, data in (('gzip', b'{"a": 1}'), ('deflate', b'{"a": 1}'),
                         ('gzip', gzip.compress(b'x')[:-9]),
                         ('deflate', zlib.compress(b'x')[:-5])):
        done = pipe('edit', 'pass', input=b'HTTP/1.1 200 OK\r\n'
                    b'Content-Encoding: %s\r\n\r\n' % coding.encode() + data)
        equal((done.status, done.out), (1, b''), 'damaged ' + coding)
        like(done.err, r'\Aedit: cannot undo %s: .*\n\Z' % coding, 'one line')


@test('a request is answered, and JSON edited, through the proxy')
def _():
    page = reply(b'{"n": 1}', 'Content-Type: application/json')
    with Origin(answer(page), tls=True) as origin, \
            Proxy('--match', '~u /no', '--request',
                  ready('edit', 'answer(404, "gone")'),
                  '--response', ready('edit', 'json["n"] = status')) as proxy:
        got = proxy.fetch(origin, get('/no'))
        equal((got.start[:12], got.body), (b'HTTP/1.1 404', b'gone'), 'no')
        equal(proxy.fetch(origin, get('/yes')).body, b'{"n": "200"}', 'yes')


@test('CODE that fails is one line, and a failure')
def _():
    done = pipe('edit', 'nothing', input=b'HTTP/1.1 200 OK\r\n\r\n')
    equal(done, Done(1, b'', "edit: NameError: name 'nothing' is not defined"
                     "\n"), 'CODE')
    for code, hint in (('body = body.replace("a", "b")', r'body is bytes, as b'),
                       ('body += "x"', 'body is bytes'),
                       ('json["a"] = 1', 'no JSON here: --match "~t json"')):
        like(pipe('edit', code, input=b'HTTP/1.1 200 OK\r\n\r\na').err,
             r'^edit: TypeError: .* \(.*%s.*\)\n$' % hint, code)
    for code in ('body = 5', 'json = {1}', 'put("X", "\u20ac")', 'head = 1',
                 'first = b"x"', 'syntax is', 'answer("x", 1)'):
        done = pipe('edit', code, input=b'HTTP/1.1 200 OK\r\n\r\na')
        equal((done.status, done.out), (1, b''), code)
        like(done.err, r'\Aedit: \w+Error: .*\n\Z', code)
    equal(pipe('edit').err, 'usage: edit CODE\n', 'usage')


@test('the templates do what they say')
def _():
    page = b'HTTP/1.1 200 OK\r\nserver: x\r\nA: b\r\n\r\n' + BYTES + b'cloud'
    equal(pipe('template.py', input=page),
          Done(0, page.replace(b'cloud', b'clown'), ''), 'Python')
    equal(pipe('template.sh', input=page),
          Done(0, page.replace(b'server: x', b'Server: hidden'), ''), 'sh')
    if shutil.which('busybox'):
        equal(pipe('template.sh', input=page, by=('busybox', 'sh')),
              Done(0, page.replace(b'server: x', b'Server: hidden'), ''),
              'sh of BusyBox')
    passes('template.sh', input=b'HTTP/1.1 200 OK\r\nA: b')
    drips('template.sh', first=b'HTTP/1.1 200 OK\r\nA: b\r\n\r\nda')


run()
