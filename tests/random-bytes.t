#!/usr/bin/env python3
"""Random heads and bodies in random pieces, both ways: they arrive as they
were sent.  MITM_SEED repeats a run."""
import random
from mitm import *

SEED = int(os.environ.get('MITM_SEED', time.time_ns() % 10 ** 9))
TOKEN = "!#$%&'*+-.^_`|~0123456789ABCxyz"
FRAMING = {'content-length', 'transfer-encoding', 'connection', 'upgrade',
           'expect', 'accept-encoding', 'proxy-connection', 'host',
           'proxy-authorization', 'trailer', 'keep-alive', 'te'}


def token(r, most=20):
    return ''.join(r.choice(TOKEN) for _ in range(r.randint(1, most)))


def value(r):
    kind = r.random()
    if kind < 0.1:
        return ''
    if kind < 0.2:
        return 'v\r\n ' + token(r)
    return ''.join(chr(r.choice([9, 32, *range(33, 127), *range(128, 256)]))
                   for _ in range(r.randint(0, 300 if kind > 0.9 else 30)))


def fields(r):
    out = []
    for _ in range(r.randint(0, 12)):
        name = token(r)
        if name.lower() not in FRAMING:
            out.append(name + ':' + r.choice(['', ' ', '\t ', '  '])
                       + value(r))
    return out


def framed(r, start, may_be_bare):
    """A message: start line, random fields, random body."""
    lines, body = fields(r), b''
    kind = r.choice(['length', 'chunks'] + ['none'] * may_be_bare)
    data = r.randbytes(r.choice([0, 1, 5, 100, 4096, 20000, 70000])
                       if kind != 'none' else 0)
    if kind == 'length':
        lines.append(r.choice(['Content-Length: %d', 'CONTENT-length:%d ',
                               'content-length:\t0%d']) % len(data))
        body = data
    elif kind == 'chunks':
        lines.append(r.choice(['Transfer-Encoding: chunked',
                               'tRANSFER-eNCODING:Chunked']))
        while data:
            size = r.randint(1, len(data))
            if r.random() < 0.5:
                size = min(size, 300)
            body += b'%s%s\r\n%s\r\n' % (
                r.choice([b'%x', b'%X', b'00%x']) % size,
                r.choice([b'', b'', b';x', b' ; a="b c"']), data[:size])
            data = data[size:]
        body += b'0\r\n' + r.choice([b'', b'X-T: 1\r\n', b'a:\r\nb: c\r\n'])
        body += b'\r\n'
    r.shuffle(lines)
    return '\r\n'.join([start, *lines, '', '']).encode('latin-1') + body


def in_pieces(r, conn, data):
    """Send it in random pieces, some of one byte."""
    while data:
        size = r.choice([1, 1, 2, 10, 100, 5000, len(data)])
        conn.send(data[:size])
        data = data[size:]


def exchanges(r, origin, client, absolute, count):
    server = None
    for _ in range(count):
        method, target = token(r, 8), '/' + token(r)
        if method.upper() in ('HEAD', 'CONNECT', 'GET', 'PRI'):
            method = 'GET'
        rest = framed(r, ' HTTP/1.1', True)
        want = ('%s %s' % (method, target)).encode() + rest
        given = want
        if absolute:
            given = ('%s %s' % (method, origin.url(target))).encode() + rest
        page = framed(r, 'HTTP/1.1 %d %s' % (
            r.choice([200, 200, 201, 299, 404, 500, 799]), value(r).replace(
                '\r\n', '').replace('\t', '')), False)
        if r.random() < 0.2:
            page = framed(r, 'HTTP/1.1 103 Hint', True).split(
                b'\r\n\r\n')[0] + b'\r\n\r\n' + page
        work = thread(in_pieces, random.Random(r.random()), client, given)
        server = server or origin.next()
        equal(server.read_exact(len(want)), want, 'at the server')
        work.result()
        work = thread(in_pieces, random.Random(r.random()), server, page)
        equal(client.read_exact(len(page)), page, 'at the client')
        work.result()
    client.finish()
    equal(server.read_all(), b'', 'behind the last')


for how in ('absolute', 'connect', 'tls'):
    @test('%s, seed %d' % (how, SEED))
    def _(how=how):
        make_leaf()
        with Proxy() as proxy, contextlib.ExitStack() as stack:
            for i in range(12):
                origin = stack.enter_context(Origin(tls=how == 'tls'))
                client = (proxy.tls(origin) if how == 'tls' else
                          proxy.tunnel(origin) if how == 'connect' else
                          proxy.connect())
                exchanges(random.Random(SEED + i), origin, client,
                          how == 'absolute', 12)


@test('random bytes that are no HTTP, both ways at once, seed %d' % SEED)
def _():
    r = random.Random(SEED)
    with Proxy() as proxy:
        for tls in (False, True):
            with Origin(tls=tls) as origin:
                client = proxy.tls(origin) if tls else proxy.tunnel(origin)
                up, down = b'\0' + r.randbytes(300000), r.randbytes(400000)
                one = thread(in_pieces, random.Random(1), client, up)
                server = origin.next()
                two = thread(in_pieces, random.Random(2), server, down)
                three = thread(server.read_exact, len(up))
                equal(client.read_exact(len(down)), down, 'at the client')
                equal(three.result(), up, 'at the server')
                one.result()
                two.result()
                client.shutdown_write()
                equal(server.read_all(), b'', 'the end')


run()
