#!/usr/bin/env python3
"""Secrets that stay out of command lines: swap, and set-header's env: and
file:."""
from filters import *

SECRET = b'S3cret/\\1&$x%'


def in_file(text):
    path = scratch('secret')
    with open(path, 'wb') as f:
        f.write(text)
    return path


@test('a placeholder leaves as a secret, in the head alone, for one host')
def _():
    path = in_file(SECRET + b'\n')
    here, there = ['--match', '~d ^localhost$'], ['~d ^127']
    with Origin(answer(lambda r: reply(r.raw)), tls=True) as origin, \
            Proxy(*here, '--request', ready('swap', 'KEY', 'file:' + path),
                  *here, '--response',
                  ready('swap', '--body', 'file:' + path, 'KEY')) as proxy:
        ask = get('/?k=KEY', 'X: KEYKEY', 'Content-Length: 768',
                  method='PUT') + (b'KEY' + bytes(range(253))) * 3
        got = proxy.fetch(origin, ask)
        head, _, body = ask.partition(b'\r\n\r\n')
        equal(origin.rx.partition(b'\r\n\r\n')[0].replace(
            b'Accept-Encoding: identity\r\n', b''),
            head.replace(b'KEY', SECRET), 'what the server got')
        equal(origin.rx.partition(b'\r\n\r\n')[2], body, 'the body')
        check(SECRET not in got.raw, 'the client sees it nowhere')
        check(b'/?k=KEY' in got.body, 'but the placeholder')


@test('any bytes, any split of the body')
def _():
    page = b'HTTP/1.1 200 OK\r\nA: ab\r\n\r\n' + BYTES + b'aab aabab' + BYTES
    head, _, body = page.partition(b'\r\n\r\n')
    want = head.replace(b'ab', b'XYZ') + b'\r\n\r\n'
    equal(pipe('swap', 'ab', 'XYZ', input=page),
          Done(0, want + body, ''), 'the head alone')
    equal(pipe('swap', '--body', 'ab', 'XYZ', input=page),
          Done(0, want + body.replace(b'ab', b'XYZ'), ''), 'the body, too')
    by = [os.path.join(FILTERS, 'swap'), '--body', 'aab', 'X']
    child = subprocess.Popen(by, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    for i in range(len(page)):
        child.stdin.write(page[i:i + 1])
        child.stdin.flush()
    got = child.communicate(timeout=DEADLINE)[0]
    equal(got, page.replace(b'aab', b'X'), 'a byte at a time')
    drips('swap', 'a', 'b', first=b'HTTP/1.1 200 OK\r\n\r\nda')
    drips('swap', '--body', 'x', 'y', first=b'HTTP/1.1 200 OK\r\n\r\nda')
    passes('swap', 'a', 'b', input=BYTES, env={'MITM_DIRECTION': 'stream'})
    passes('swap', 'a', 'b', input=b'')


@test('a secret is in no arguments and no environment')
def _():
    path, seen = in_file(SECRET + b'\r\nsecond line\n'), scratch('seen')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--request', ready('set-header', 'A', 'file:' + path),
                  '--request', 'ps axeww > %s; cat' % seen,
                  '--request', ready('swap', 'NO', 'file:' + path)) as proxy:
        proxy.fetch(origin)
        check(b'A: ' + SECRET in origin.rx, 'it went out')
    listed = slurp(seen)
    check(b'filters/swap' in listed and b'MITM_URL' in listed, 'ps saw all')
    check(SECRET not in listed, 'but the secret')


@test('env: and file: of set-header, by any name')
def _():
    page = b'HTTP/1.1 200 OK\r\nA: b\r\n\r\nx'
    want = page.replace(b'A: b', b'A: ' + SECRET)
    env = {'A_B': SECRET.decode()}
    equal(pipe('set-header', 'A', 'env:A_B', input=page, env=env),
          Done(0, want, ''), 'env:')
    empty = in_file(b'')
    for name in 'set-header', 'swap':   # no credential is not sent
        done = pipe(name, 'A', 'file:' + empty, input=page)
        check(done.status != 0 and 'cannot' not in done.err
              and empty in done.err, name + ': nothing in a file', done)
    path = in_file(SECRET + b'\r\nsecond line\n')
    equal(pipe('set-header', 'A', 'file:' + path, input=page),
          Done(0, want, ''), 'file:')
    for args, why in (('env:NO_SUCH',), 'NO_SUCH'), \
            (('env:name',), 'no name in'), \
            (('file:/no/such',), '/no/such'):
        done = pipe('set-header', 'A', *args, input=page)
        check(done.status != 0 and why in done.err, 'set-header ' + why)
        done = pipe('swap', *args, 'x', input=page)
        check(done.status != 0 and why in done.err, 'swap ' + why)


@test('what cannot be looked into is refused, and wrong usage told')
def _():
    for field in (b'Transfer-Encoding: gzip, chunked', b'content-encoding:br',
                  b'Transfer-encoding : x-gzip', b'Content-Encoding: gzip'):
        page = b'HTTP/1.1 200 OK\r\n%s\r\n\r\nx' % field
        done = pipe('swap', '--body', 'a', 'b', input=page)
        check(done.status != 0 and 'compressed' in done.err, str(field))
    for field in (b'Transfer-Encoding: chunked', b'Content-Encoding: identity',
                  b'transfer-encoding:Chunked , chunked'):
        equal(pipe('swap', '--body', 'x', 'y',
                   input=b'HTTP/1.1 200 OK\r\n%s\r\n\r\nx' % field).out[-1:],
              b'y', str(field))
    passes('swap', '--body', 'a', 'b', input=b'HTTP/1.1 304 Not Modified\r\n'
           b'Content-Encoding: gzip\r\n\r\n')
    passes('swap', 'a', 'b', input=page.replace(b'a', b'A'))
    equal(pipe('swap', 'a').err, 'usage: swap [--body] FROM TO\n', 'usage')
    check(pipe('swap', '', 'b', input=page).status != 0, 'nothing')


run()
