#!/usr/bin/env python3
"""observe and fields: they show something, and change nothing."""
from filters import *

PAGE = reply(BYTES, 'Server: a\xffb', 'set-cookie: c=1', 'Set-Cookie: d=2;',
             '  folded', 'X: y')


@test('observe shows the first 100 bytes of both, escaped')
def _():
    ask = get('/it\'s', 'X: ' + 'x' * 200)
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('-q', '--request', ready('observe'),
                  '--response', ready('observe')) as proxy:
        equal(proxy.fetch(origin, ask).raw, PAGE, 'the page')
        equal(origin.rx, ask, 'the request')
        proxy.wait_log(r"#1 request 'GET /it\\'s HTTP/1.1\\r\\n"
                       r"Host: localhost\\r\\nX: x+'\n")
        said = proxy.wait_log(r"#1 response 'HTTP/1.1 200 OK\\r\\n.*'\n")
        like(said.group(), r'Server: a\\xffb\\r\\n', 'bytes')
        shown = re.search(r"'(GET.*)'", proxy.log()).group(1)
        equal(len(shown.replace('\\r', '.').replace('\\n', '.')
                  .replace("\\'", '.')), 100, 'characters')


@test('observe in a pipe, short and empty')
def _():
    equal(pipe('observe', input=b'short\0'),
          Done(0, b'short\0', "message 'short\\x00'\n"), 'short')
    equal(pipe('observe'), Done(0, b'', "message ''\n"), 'empty')
    equal(pipe('observe', input=BYTES * 9999).out, BYTES * 9999, 'long')
    drips('observe', first=b'HTTP/1.1 200 OK\r\n\r\n' + b'a' * 100)


@test('fields prints the fields named, whatever their case')
def _():
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('-q', '--response', ready('fields', 'server', 'SET-COOKIE',
                                            'absent')) as proxy:
        equal(proxy.fetch(origin).raw, PAGE, 'the page')
        proxy.wait_log(r'(?m)^#1 Server: a\\xffb\n#1 set-cookie: c=1\n'
                       r'#1 Set-Cookie: d=2;\n#1   folded\n')
        unlike(proxy.log(), 'X: y', 'another')


@test('fields in a pipe: bare LF, no end, a stream, and nothing of the body')
def _():
    page = b'HTTP/1.0 200 OK\nX: \0y\n\nX: z\n' + BYTES
    equal(pipe('fields', 'X', input=page), Done(0, page, 'X: \\x00y\n'), 'LF')
    passes('fields', 'X', input=b'HTTP/1.0 200 OK\nY: z')
    passes('fields', 'X', input=b'')
    passes('fields', 'X', input=b'X: y\n' + BYTES,
           env={'MITM_DIRECTION': 'stream'})
    drips('fields', 'Y', first=b'HTTP/1.0 200 OK\r\nX: y\r\n\r\nda')


run()
