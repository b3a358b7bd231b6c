#!/usr/bin/env python3
"""Odd framing that all read the same way is clear: filters get the message,
and the connection stays.  What they do not get is told."""
from mitm import *

CHUNKS = b'5\r\nhello\r\n0\r\n\r\n'
CLEAR = {
    'a list of lengths': (('Content-Length: 5, 5',), b'hello'),
    'two lengths': (('Content-Length: 5', 'Content-Length: 05'), b'hello'),
    'chunked twice': (('Transfer-Encoding: chunked',) * 2, CHUNKS),
    'chunked in a list': (('Transfer-Encoding: chunked, chunked',), CHUNKS),
    'identity': (('Transfer-Encoding: identity', 'Content-Length: 5'),
                 b'hello'),
    'identity behind': (('Content-Length: 5', 'transfer-encoding: IDENTITY'),
                        b'hello'),
    'identity and chunked': (('Transfer-Encoding: identity',
                              'Transfer-Encoding: chunked'), CHUNKS),
}
BLANKS = {'two blanks': (('Content-Length: 5',), b'hello')}


def ways(*args):
    """(origin, proxy, connection, what a target begins with)"""
    for name in 'absolute', 'connect', 'tls':
        with Origin(tls=name == 'tls') as origin, Proxy(*args) as proxy:
            yield (origin, proxy, proxy.connect() if name == 'absolute' else
                   proxy.tls(origin) if origin.tls else proxy.tunnel(origin),
                   'http://' + origin.auth if name == 'absolute' else '')


def more(origin, server, client, base):
    """The next request on the connection is served."""
    client.send(get(base + '/next'))
    equal(server.read_head(), get('/next'), 'the next request')
    server.send(reply(b'next'))
    equal(client.read_message().body, b'next', 'the next answer')


for name, (fields, body) in {**CLEAR, **BLANKS}.items():
    for step in 0, 1:
        for args in ((), ('sed s/hello/HELLO/',), ('sed s/hello/goodbye/',)):
            @test('a request with %s%s: %s' % (
                name, ' byte by byte' * step, args or 'no filter'))
            def _(fields=fields, body=body, step=step, args=args, name=name):
                for origin, proxy, client, base in ways(
                        *(('--match', '!~u next', '--request') + args
                          if args else ())):
                    ask = get('/1', *fields, method='POST') + body
                    if name in BLANKS:
                        ask = ask.replace(b' /1 ', b'  /1  ')
                    client.send(ask.replace(b'/1', base.encode() + b'/1', 1),
                                step)
                    server = origin.next()
                    word = args[0].split('/')[-2].encode() \
                        if args and 'sed' in args[0] else b'hello'
                    head = server.read_head()
                    if len(word) == 5:
                        equal(head, ask[:-len(body)], 'the head')
                    else:
                        unlike(head, b'Length: 0?5', 'the head')
                    want = body.replace(b'hello', word)
                    if len(word) != 5 and body is CHUNKS:
                        want = want.replace(b'5', b'7')
                    equal(server.read_exact(len(want)), want, 'the body')
                    server.send(reply(b'ok'))
                    client.read_message()
                    more(origin, server, client, base)

        for args in ((), ('sed s/hello/HELLO/',), ('sed s/hello/goodbye/',)):
            @test('a response with %s%s: %s' % (
                name, ' byte by byte' * step, args or 'no filter'))
            def _(fields=fields, body=body, step=step, args=args, name=name):
                for origin, proxy, client, base in ways(
                        *(('--match', '!~u next', '--response') + args
                          if args else ())):
                    page = ('\r\n'.join(('HTTP/1.1 200 OK',) + fields)
                            + '\r\n\r\n').encode() + body
                    if name in BLANKS:
                        page = page.replace(b' 200', b'  200 ')
                    client.send(get(base + '/1'))
                    server = origin.next()
                    server.read_head()
                    server.send(page, step)
                    word = args[0].split('/')[-2].encode() \
                        if args and 'sed' in args[0] else b'hello'
                    head = client.read_head()
                    if len(word) == 5:
                        equal(head, page[:-len(body)], 'the head')
                    want = body.replace(b'hello', word)
                    if len(word) != 5 and body is CHUNKS:
                        want = want.replace(b'5', b'7')
                    if args and body is CHUNKS:
                        got = b''
                        while not got.endswith(b'0\r\n\r\n'):
                            got += client.read_until(b'\r\n')
                        like(got, b'\n' + word + b'\r', 'the body')
                    else:
                        equal(client.read_exact(len(want)), want, 'the body')
                    more(origin, server, client, base)


OLD = b'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n'

for step in 0, 1:
    @test('chunked in HTTP/1.0 from a server that means it'
          + ', byte by byte' * step)
    def _(step=step):
        for keep in b'', b'Connection: keep-alive\r\n':
            for origin, proxy, client, base in ways():
                client.send(get(base + '/1'))
                server = origin.next()
                server.read_head()
                server.send(OLD + keep + b'\r\n' + CHUNKS, step)
                page = OLD + keep + b'\r\n' + CHUNKS
                equal(client.read_exact(len(page)), page, 'the answer')
                if keep:
                    more(origin, server, client, base)
                else:
                    equal((client.read_all(), client.end), (b'', 'eof'),
                          'the end')

    @test('the same through a filter' + ', byte by byte' * step)
    def _(step=step):
        for origin, proxy, client, base in ways(
                '--response', 'sed s/hello/goodbye/'):
            client.send(get(base + '/1'))
            server = origin.next()
            server.read_head()
            server.send(OLD + b'\r\n' + CHUNKS, step)
            equal((client.read_all(), client.end),
                  (b'HTTP/1.0 200 OK\r\n\r\ngoodbye', 'eof'), 'the answer')


@test('chunked in HTTP/1.0 from a server that does not mean it')
def _():
    for text in b'hello, world', b'', b'5', b'5\r', b'fade\rout':
        for origin, proxy, client, base in ways('--response', 'cat'):
            client.send(get(base + '/1'))
            server = origin.next()
            server.read_head()
            server.send(OLD + b'\r\n' + text)
            server.finish()
            equal((client.read_all(), client.end),
                  (OLD + b'\r\n' + text, 'eof'), 'the answer')
            proxy.wait_log('HTTP/1.0 knows no transfer coding')


@test('a head that is all of its message cannot be unclear')
def _():
    page = b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n' \
           b'Transfer-Encoding: chunked\r\n\r\n'
    for origin, proxy, client, base in ways(
            '--response', 'sed "s/Not Modified/Same/"'):
        client.send(get(base + '/1'))
        server = origin.next()
        server.read_head()
        server.send(page)
        equal(client.read_head(), page.replace(b'Not Modified', b'Same'),
              'the answer')
        client.send(get(base + '/2'))
        server.read_head()


UNCLEAR = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n' \
          b'\r\nabc'

for args, told in ((('--response', 'cat'), True),
                   (('--match', '~u page', '--response', 'cat'), True),
                   (('--match', '~t html', '--response', 'cat'), True),
                   (('--match', '~u other', '--response', 'cat'), False),
                   ((), False)):
    @test('an answer whose end nobody can tell is %stold: %s'
          % ('' if told else 'not ', ' '.join(args)))
    def _(args=args, told=told):
        for origin, proxy, client, base in ways(*args):
            client.send(get(base + '/page'))
            server = origin.next()
            server.read_head()
            server.send(UNCLEAR)
            server.finish()
            equal(client.read_all(), UNCLEAR, 'the answer')
            client.finish()
            if told:
                proxy.wait_log('#1 .*no filter sees: .*two lengths')
            else:
                unlike(proxy.log(), 'two lengths', 'what is said')


# -------------------------------------- empty lines before a request line

for step in 0, 1:
    @test('empty lines before a request go on where no filter matches'
          + ', byte by byte' * step)
    def _(step=step):
        for origin, proxy, client, base in ways():
            ask = b'\r\n\n\r\n' + get('/1')
            client.send(ask.replace(b'/1', base.encode() + b'/1', 1), step)
            server = origin.next()
            equal(server.read_exact(len(ask)), ask, 'the request')
            server.send(reply(b'ok'))
            client.read_message()
            more(origin, server, client, base)

    @test('a filter gets the request line first' + ', byte by byte' * step)
    def _(step=step):
        for origin, proxy, client, base in ways(
                '--match', '!~u next', '--request',
                "sed '1s/old/new/; 2s/Host/Hist/'"):
            for _ in range(2):          # the second waits in read_turn()
                client.send(b'\r\n\r\n' + get(base + '/old'), step)
            server = origin.next()
            for _ in range(2):
                want = b'\r\n\r\n' + get('/new').replace(b'Host', b'Hist')
                equal(server.read_exact(len(want)), want, 'it')
                server.send(reply(b'ok'))
                client.read_message()
            more(origin, server, client, base)


@test('--raw: a filter gets all bytes; pass: they all go on')
def _():
    ask = b'\r\n' + get('/')
    for args in (('--raw', '--request', 'cat'),
                 ('--on-error', 'pass', '--request', 'false')):
        with Origin() as origin, Proxy(*args) as proxy:
            proxy.tunnel(origin).send(ask)
            equal(origin.next().read_exact(len(ask)), ask, 'the request')


@test('a compressed body that nobody asked for is told where a filter gets it')
def _():
    for args, field, told in (
            (('--response', 'cat'), 'Content-Encoding: gzip', True),
            (('--response', 'cat'), 'content-encoding:  br', True),
            (('--response', 'cat'), 'Content-Encoding: identity', False),
            (('--raw', '--response', 'cat'), 'Content-Encoding: gzip', False),
            (('--match', '~u x', '--response', 'cat'),
             'Content-Encoding: gzip', False)):
        with Origin(answer(reply(b'abc', field))) as origin, \
                Proxy(*args) as proxy:
            equal(proxy.fetch(origin).body, b'abc', 'the body')
            if told:
                proxy.wait_log(r'#1 the body is compressed \((gzip|br)\)')
            else:
                unlike(proxy.log(), 'compressed', 'what is said')


run()
