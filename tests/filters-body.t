#!/usr/bin/env python3
"""body CMD: a command on the body alone, whatever its coding."""
import gzip, zlib
from filters import *

TEXT = b'hello \0\xff world\n' * 3000
UPPER = TEXT.replace(b'hello', b'HELLO')


def bare(data):
    z = zlib.compressobj(wbits=-15)
    return z.compress(data) + z.flush()


def tool(*command):
    def work(data):
        need(command[0])
        return subprocess.run(command, input=data, check=True, timeout=3 * DEADLINE,
                              stdout=subprocess.PIPE).stdout
    return work


CODINGS = {
    'identity': (bytes, bytes), 'gzip': (gzip.compress, gzip.decompress),
    'X-GZip': (gzip.compress, gzip.decompress),
    'deflate': (zlib.compress, zlib.decompress),
    'Deflate ': (bare, zlib.decompress),        # without its envelope
    'br': (tool('brotli', '-c'), tool('brotli', '-dc')),
    'zstd': (tool('zstd', '-qc'), tool('zstd', '-dqc'))}


def each(coding):
    code, decode = CODINGS[coding]

    @test('%s through the proxy, both ways' % coding)
    def _():
        sed = ready('body', 'sed', 's/hello/HELLO/')
        page = reply(code(TEXT), 'X: hello', 'Content-encoding: ' + coding)
        with Origin(answer(page), tls=True) as origin, \
                Proxy('--request', sed, '--response', sed) as proxy:
            got = proxy.fetch(origin, get('/hello', method='PUT')[:-2]
                              + page[page.index(b'\n') + 1:])
            equal(decode(got.body), UPPER, 'the body')
            equal(got['x'], b'hello', 'the head')
            copy = Conn(socket.socketpair()[0])
            copy.buf += origin.rx
            ask = copy.read_message()
            equal((ask.start, decode(ask.body)),
                  (b'PUT /hello HTTP/1.1', UPPER), 'the request')
        page = b'HTTP/1.1 200 OK\nCONTENT-ENCODING:%s\n\n' % coding.encode()
        got = pipe('body', 'head', '-c', '5', input=page + code(TEXT * 99))
        equal((got.status, got.out[:len(page)], decode(got.out[len(page):]),
               got.err), (0, page, b'hello', ''), 'a CMD that stops early')


for name in CODINGS:
    each(name)


@test('jq on JSON')
def _():
    need('jq')
    with Origin(answer(reply(b'{"a":[1,2]}',
                             'Content-Type: application/json'))) as origin, \
            Proxy('--match', '~t json', '--response',
                  ready('body', 'jq', '.a[1]')) as proxy:
        equal(proxy.fetch(origin).body, b'2\n', 'the body')


@test('a transfer coding that compresses is undone and redone, too')
def _():
    page = chunked(gzip.compress(TEXT)).replace(b': chunked', b': gzip,chunked')
    sed = ready('body', 'sed', 's/hello/HELLO/')
    with Origin(answer(page)) as origin, Proxy('--response', sed) as proxy:
        got = proxy.fetch(origin, get('/', 'TE: gzip', 'Connection: TE'))
        equal(got['transfer-encoding'], b'gzip,chunked', 'coding')
        equal(gzip.decompress(got.body), UPPER, 'the body')
        proxy.wait_log(r'#1 the body is compressed \(gzip,chunked\)')


@test('no body, no CMD')
def _():
    for more in (), ('Content-Encoding: gzip',):
        passes('body', 'false', input=reply(b'', *more))
    passes('body', 'false', input=BYTES, env={'MITM_DIRECTION': 'stream'})
    passes('body', 'false', input=reply(BYTES, 'Content-Encoding: gzip')[:-99],
           env={'MITM_DIRECTION': 'stream'})


@test('any first byte')
def _():
    for byte in 0, 1, 9, 10, 13, 37, 45, 48, 55, 92, 127, 128, 255:
        equal(pipe('body', 'cat', input=b'X\n\n%c\n' % byte).out,
              b'X\n\n%c\n' % byte, 'byte %d' % byte)


@test('what stands behind a gzip stream is passed over, as clients do')
def _():
    page = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n'
    for junk in b'\n', b'\0' * 512, b'junk':
        got = pipe('body', 'sed', 's/hello/HELLO/',
                   input=page + gzip.compress(TEXT) + junk)
        equal(got.status, 0, 'status behind %r: %s' % (junk[:9], got.err))
        check(gzip.decompress(got.out[len(page):]) == UPPER, 'the body')


@test('an unknown coding is left alone and told')
def _():
    page = reply(BYTES, 'Content-Encoding: gzip', 'Content-Encoding: rot13')
    got = pipe('body', 'false', input=page)
    equal(got[:2], (0, page), 'the page')
    like(got.err, 'gziprot13|gzip,rot13', 'told')
    for odd in '\x1b]0;x\x07', r'\nmitmproxy: x', r'\033[2J', '\x9b2J', 'a\rb':
        page = reply(BYTES, 'Content-Encoding: ' + odd)
        got = pipe('body', 'false', input=page)
        equal(got[:2], (0, page), 'the page')
        like(got.err, r'\Abody: cannot undo [ -~]*: left as it is\n\Z', 'one '
             'line of plain text')
    few = scratch('bin')                # as on a router, without Python
    os.mkdir(few)
    for name in 'sh', 'tr', 'sed', 'cat', 'dd', 'od':
        os.symlink(need(name), os.path.join(few, name))
    page = reply(BYTES, 'Content-Encoding: deflate')
    equal(pipe('body', 'false', input=page, env={'PATH': few}), Done(
        0, page, 'body: cannot undo deflate: left as it is\n'), 'deflate')


@test('it fails as CMD fails, and as the coding does')
def _():
    for coding, (code, _) in CODINGS.items():
        top = b'HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n\r\n' \
            % coding.encode()
        try:
            page = top + code(TEXT)
        except Skip:
            continue
        equal(pipe('body', 'sh', '-c', 'cat; exit 7', input=page).status, 7,
              'CMD with ' + coding)
        equal(pipe('body', 'sh', '-c', 'exit 7', input=page).status, 7,
              'CMD that reads nothing, with ' + coding)
        if coding != 'identity':
            check(pipe('body', 'cat', input=page[:-9]).status not in (0, None),
                  coding + ' cut short')
            check(pipe('body', 'cat', input=top + TEXT).status,
                  'not %s at all' % coding)
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--response', ready('body', 'no-such-command')) as proxy:
        equal(proxy.fetch(origin).status, 502, 'through the proxy')


run()
