#!/usr/bin/env python3
"""set-header and del-header, with every shell and awk that is here."""
import shutil
from filters import *

ASK = get('/', 'user-AGENT: curl/7', 'X: 1', 'User-Agent : two', '\tfolded',
          'Y: \xff\\n', method='PUT')


@test('a field is set through the proxy, in the place it had')
def _():
    value = 'it\'s "me"; \\n & $(id) * \xe9'
    with Origin(answer(lambda r: reply(r.raw))) as origin, \
            Proxy('--request', ready('set-header', 'User-Agent', value),
                  '--response', ready('set-header', 'X-New', '1')) as proxy:
        ask = ASK[:-2] + b'Content-Length: %d\r\n\r\n' % len(BYTES) + BYTES
        got = proxy.fetch(origin, ask)
        equal(origin.rx, ask.replace(
            b'user-AGENT: curl/7', b'User-Agent: ' + value.encode())
            .replace(b'User-Agent : two\r\n\tfolded\r\n', b''), 'request')
        equal(got['x-new'], b'1', 'the new field of the response')


@test('fields are deleted through the proxy')
def _():
    with Origin(answer(reply(BYTES, 'A: 1', 'b : 2', ' more', 'C: 3', 'B:',
                             'Bb: 4')), tls=True) as origin, \
            Proxy('--response', ready('del-header', 'B', 'c')) as proxy:
        equal(proxy.fetch(origin).raw, reply(BYTES, 'A: 1', 'Bb: 4'), 'got')


def everyone():
    """Pairs of a shell and of the environment with an awk in PATH."""
    shells = [(s,) for s in ('dash', 'bash') if shutil.which(s)]
    awks = [a for a in ('mawk', 'gawk', 'original-awk') if shutil.which(a)]
    if shutil.which('busybox'):
        shells.append(('busybox', 'sh'))
        awks.append('busybox')
    for shell in shells or [()]:
        for awk in awks:
            folder = scratch(awk)
            os.mkdir(folder)
            os.symlink(shutil.which(awk), os.path.join(folder, 'awk'))
            yield shell, {'PATH': folder + ':' + os.environ['PATH'],
                          'LC_ALL': 'C.UTF-8'}


@test('CRLF and bare LF, bytes and heads without an end, by any awk')
def _():
    for by, env in everyone():
        for eol in b'\r\n', b'\n':
            page = eol.join([b'HTTP/1.1 200 OK', b'A: \xff\\ %s', b'B : 2',
                             b' more', b'b:', b'', BYTES])
            want = page.replace(b'B : 2', b'B: \\t&\xc3\xa9').replace(
                eol + b' more' + eol + b'b:', b'')
            where = 'in %s, %s' % (by, env['PATH'].split(':')[0])
            equal(pipe('set-header', 'B', '\\t&\xe9', input=page, by=by,
                       env=env), Done(0, want, ''), 'set ' + where)
            equal(pipe('set-header', 'N', 'n', input=page, by=by, env=env).out,
                  page.replace(b'b:' + eol, b'b:' + eol + b'N: n' + eol),
                  'new ' + where)
            equal(pipe('del-header', 'a', 'B', input=page, by=by, env=env),
                  Done(0, eol.join([b'HTTP/1.1 200 OK', b'', BYTES]), ''),
                  'deleted ' + where)
            mapped = eol.join([b'GET http://a/x?y HTTP/1.1', b'host: a',
                               b'X: y', b'', BYTES])
            equal(pipe('map-remote', 'http://a', 'https://b:1/&/', input=mapped,
                       by=by, env=env), Done(0, mapped
                  .replace(b'http://a/', b'https://b:1/&/')
                  .replace(b'host: a', b'Host: b:1'), ''), 'mapped ' + where)
    passes('set-header', 'X', 'y', input=b'')
    passes('del-header', 'X', input=b'HTTP/1.1 200 OK\nA: b\n')


@test('a stream is none of theirs, and wrong usage is told')
def _():
    stream = {'MITM_DIRECTION': 'stream'}
    passes('set-header', 'X', 'y', input=BYTES, env=stream)
    passes('del-header', 'X', input=BYTES, env=stream)
    equal(pipe('set-header', 'X'), Done(2, b'', 'usage: set-header NAME VALUE'
                                        '\n'), 'set-header')
    equal(pipe('del-header').status, 2, 'del-header')


@test('the body goes on while it comes')
def _():
    page = b'HTTP/1.1 200 OK\r\nX: y\r\n\r\nda'
    drips('set-header', 'X', 'y', first=page)
    drips('del-header', 'Y', first=page)


run()
