#!/usr/bin/env python3
"""The framing of what a filter printed is made right again."""
from mitm import *

MIB = 1 << 20


def printer(data):
    """A filter that prints just that."""
    return 'cat > /dev/null; cat ' + scratch('output', data)


def fetched(page, command, request=None, tls=True):
    """What becomes of page: (the message, is the connection kept?)"""
    with Origin(answer(page, reply(b'next')), tls=tls) as origin, \
            Proxy('--match', '! ~u /next', '--response', command) as proxy:
        client = proxy.tls(origin) if tls else proxy.tunnel(origin)
        request = request or get('/')
        client.send(request)
        got = client.read_message(request.startswith(b'HEAD '))
        if got.end in ('eof', 'cut'):
            return got, False
        client.send(get('/next'))
        if not wait_message(client):
            return got, False
        equal(client.read_message().body, b'next', 'the next answer')
        return got, True


@test('unchanged and right: as printed')
def _():
    page = reply(b'abc', 'X : y')
    equal(fetched(page, 'cat')[0].raw, page, 'message')


@test('a length: the number is mended, shorter, longer, to nothing')
def _():
    for body in (b'', b'x', b'x' * 9, b'x' * 10, b'x' * 12345):
        out = b'HTTP/1.1 200 OK\r\nA: b\r\ncontent-length:10\r\n\r\n' + body
        got, kept = fetched(reply(b'x' * 10), printer(out))
        equal(got.raw, out.replace(b'th:10', b'th:%d' % len(body)), 'message')
        check(kept, 'the connection is kept')


@test('a length with blanks before its colon is mended, and they go')
def _():
    for blank in b' ', b'\t ', b'\r':
        out = b'HTTP/1.1 200 OK\r\ncontent-length%s: 9\r\n\r\nhello' % blank
        got, kept = fetched(reply(b'x' * 10), printer(out))
        equal((got.raw, kept), (out.replace(blank + b': 9', b': 5'), True),
              'message')


@test('no coding with a blank before its colon stays beside a length')
def _():
    got, kept = fetched(reply(b'x' * 10), printer(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding : identity\r\nA: b\r\n\r\n'
        b'hello'))
    equal((got.raw, kept), (b'HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5'
                            b'\r\n\r\nhello', True), 'message')


@test('a length that the filter deleted is added')
def _():
    got, kept = fetched(reply(b'abc'), printer(
        b'HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello'))
    equal((got.body, got['content-length'], got['a'], kept),
          (b'hello', b'5', b'b', True), 'message')


@test('exactly 1 MiB keeps a length, more goes out in chunks')
def _():
    command = ('cat > /dev/null; '
               'printf "HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n"; '
               'head -c %d /dev/zero')
    got, kept = fetched(reply(b'abc'), command % (MIB - 1000), tls=False)
    equal((got.end, len(got.body), kept), ('length', MIB - 1000, True), 'less')
    got, kept = fetched(reply(b'abc'), command % (3 * MIB), tls=False)
    equal((got.end, len(got.body), kept), ('chunks', 3 * MIB, True), 'more')
    equal(got['content-length'], None, 'no length beside the chunks')


@test('more than 1 MiB to an HTTP/1.0 client: ended by close')
def _():
    command = ('cat > /dev/null; '
               'printf "HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n"; '
               'head -c %d /dev/zero' % (3 * MIB))
    for request in (b'GET / HTTP/1.0\r\n\r\n',
                    b'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n'):
        got, _ = fetched(reply(b'abc'), command, request)
        equal((got.end, len(got.body)), ('eof', 3 * MIB), 'message')
        unlike(got.head, b'(?i)chunked|content-length', 'framing')


@test('ended by close: no head says that the connection goes on')
def _():
    for said in b'Keep-Alive', b'keep-alive, x':     # ApacheBench believes it
        page = reply(b'x' * 3 * MIB).replace(
            b'\r\n', b'\r\nKeep-Alive: max=9\r\nCONNECTION: %s\r\n' % said, 1)
        got, _ = fetched(page, 'cat', b'GET / HTTP/1.0\r\n'
                         b'Connection: keep-alive\r\n\r\n')
        equal((got.end, len(got.body), got['connection'], got['keep-alive']),
              ('eof', 3 * MIB, b'close', None), 'message')


@test('chunked stays chunked, whatever length the filter wrote')
def _():
    for out in (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello',
                b'HTTP/1.1 200 OK\r\n\r\nhello',
                b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
                b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello'):
        got, kept = fetched(chunked(b'a', b'b'), printer(out))
        equal(got.body, b'hello', 'body of %r' % out)
        check(not (got['content-length'] and got['transfer-encoding']),
              'two framings', got.raw)
        check(kept, 'kept after %r' % out)


@test('a length, and the filter writes Transfer-Encoding: chunked')
def _():
    got, kept = fetched(reply(b'abc'), printer(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello'))
    equal((got.body, kept), (b'hello', True), 'body')
    check(not (got['content-length'] and got['transfer-encoding']),
          'two framings', got.raw)


@test('ended by close: still readable to its end')
def _():
    def close(conn):
        conn.read_head()
        conn.send(b'HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello world')
    with Origin(close, tls=True) as origin, \
            Proxy('--response', 'sed s/world/all/') as proxy:
        got = proxy.fetch(origin)
        equal((got.body, got['x']), (b'hello all', b'y'), 'message')


@test('trailers of the original follow')
def _():
    got, kept = fetched(chunked(b'a', b'b', trailers=b'X-Sum:  1\r\nY:\r\n'),
                        'sed s/ab/hello/')
    equal((got.body, got.trailers, kept),
          (b'hello', b'X-Sum:  1\r\nY:\r\n', True), 'message')


@test('no body is possible: the head goes as printed')
def _():
    for request, page in (
            (get('/', method='HEAD'),
             b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\nA: b\r\n\r\n'),
            (get('/'), b'HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n'
                       b'A: b\r\n\r\n'),
            (get('/'), b'HTTP/1.1 204 No Content\r\nA: b\r\n\r\n')):
        got, kept = fetched(page, 'sed s/A:/Zebra:/', request)
        equal(got.raw, page.replace(b'A:', b'Zebra:'), 'head')
        check(kept, 'kept')


@test('what had no body and is made a 200 gets a length')
def _():
    for status in b'204 No Content', b'304 Not Modified':
        got, kept = fetched(b'HTTP/1.1 %s\r\nA: b\r\n\r\n' % status,
                            'sed "1s/[23]04 [A-Za-z ]*/200 OK/"')
        equal((got.status, got['content-length'], got['a'], kept),
              (200, b'0', b'b', True), 'message')


@test('a head only')
def _():
    got, kept = fetched(reply(b'hello', 'A: b'), "sed '/^.$/q'")
    equal(got.raw, reply(b'', 'A: b'), 'message')
    check(kept, 'kept')


@test('no head at all: as it is, then closed')
def _():
    for page in (reply(b'abc'), chunked(b'abc')):
        with Origin(answer(page), tls=True) as origin, \
                Proxy('--response', 'cat > /dev/null; echo just text') \
                as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            equal(client.read_all(), b'just text\n', 'output')


@test('1xx are not filtered, the response is')
def _():
    page = b'HTTP/1.1 103 Early Hints\r\nX: hello\r\n\r\n' + reply(b'hello')
    with Origin(answer(page), tls=True) as origin, \
            Proxy('--response', 'sed s/hello/HELLO/') as proxy:
        client = proxy.tls(origin)
        client.send(get('/'))
        equal(client.read_exact(len(page)), b'HTTP/1.1 103 Early Hints\r\n'
              b'X: hello\r\n\r\n' + reply(b'HELLO'), 'both')


@test('1xx that filters print go out before the response, which is framed')
def _():
    hint = b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
    early, late = scratch('early', hint), scratch('late', reply(b'mine'))
    go = 'cat %s; sleep 0.2; cat %s' % (early, early)
    for args, want, told in (
            (('--response', 'cat %s %s -' % (early, early)),
             reply(b'hello'), r'200 .* 5 -> 5 bytes, .* changed'),
            (('--response', go + '; sed s/hello/farewell/'),
             reply(b'farewell'), r'200 .* 5 -> 8 bytes, .* changed'),
            (('--request', go + '; cat ' + late),
             reply(b'mine'), r'200 .* 0 -> 4 bytes, .* answered'),
            (('--on-error', 'pass', '--response', go + '; exit 1'),
             reply(b'hello'), r'200 .* 5 -> 5 bytes, .* failed')):
        with Origin(answer(reply(b'hello'))) as origin, \
                Proxy(*args) as proxy:
            client = proxy.tunnel(origin)
            for _ in range(2):
                client.send(get('/'))
                equal(client.read_exact(2 * len(hint) + len(want)),
                      2 * hint + want, args[-1])
            proxy.wait_out('#2 == ' + told)
    for args in ('--response', 'cat ' + early), ('--request', 'cat ' + early), \
            ('--response', 'sed "s/200 OK/100 Continue/"'):
        with Origin(answer(reply(b'hello'))) as origin, \
                Proxy(*args) as proxy:
            client = proxy.tunnel(origin)
            client.send(get('/'))
            like(client.read_all(), rb'^HTTP/1\.1 10[03] ', 'nothing behind it')


@test('a request: length added to a body that had none, mended, chunked')
def _():
    for given, args, out, want in (
            (get('/'), (), b'POST / HTTP/1.1\r\nHost: h\r\n\r\nhello',
             b'hello'),
            (get('/', 'Content-Length: 3', method='PUT') + b'abc', (),
             b'PUT / HTTP/1.1\r\nHost: h\r\n\r\n', b''),
            (get('/', 'Content-Length: 3', method='PUT') + b'abc', (),
             b'PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\n' + b'x' * 3 * MIB,
             b'x' * 3 * MIB)):
        with Origin(answer(lambda r: reply(b'%d ' % len(r.body)
                                           + r.body[:10]))) as origin, \
                Proxy('--request', printer(out)) as proxy:
            equal(proxy.fetch(origin, given).body,
                  b'%d ' % len(want) + want[:10], 'at the server')


def uploaded(body, command, *args):
    """What a server gets of a long upload through a request filter, and the
    client's answer: (head, the rest, message)."""
    got = []

    def behave(conn):
        got.append(conn.read_head())
        with contextlib.suppress(Failed):
            if b'chunked' in got[0]:
                got.append(conn.read_until(b'\r\n0\r\n\r\n'))
            else:
                got.append(conn.read_exact(len(body)))
            conn.send(reply(b'taken'))
        got.extend([b''] * (2 - len(got)))
    with Origin(behave) as origin, Proxy('--request', command, *args) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', 'Cookie: a=b', 'Content-Length: %d' % len(body),
                        method='PUT'))
        sending = thread(client.pour, body, 1)
        message = client.read_message()
        sending.result()
        client.finish()
        wait_for(lambda: len(got) == 2, 'what the server got')
        rest = origin.conns[0].rx[len(got[0]):]
        return got[0], bytes(rest), message


LONG = b'some text\n' * 300000


@test('a long upload of which a filter edits the head keeps its length')
def _():
    head, rest, message = uploaded(LONG, 'sed "1,/^.$/s/^Cookie: .*/Cookie: '
                                   'c=d/"')
    like(head, b'\nContent-Length: 3000000\r\n', 'the head')
    like(head, b'\nCookie: c=d', 'the cookie')
    unlike(head, b'(?i)chunked', 'the head')
    check(rest == LONG, 'the body')
    equal(message.body, b'taken', 'the answer')


@test('a long upload that a filter changes goes out in chunks')
def _():
    for command in 's/some/any/', 's/some/much more/', '/Content-Length/d':
        head, _, message = uploaded(LONG, 'sed "%s"' % command)
        like(head, b'(?i)chunked', 'the head, ' + command)
        unlike(head, b'Content-Length', 'the head, ' + command)
        equal(message.body, b'taken', 'the answer, ' + command)


@test('a long upload that a filter changes at its end fails, and says why')
def _():
    for command in 's/end/longer/', 's/end//':
        head, rest, message = uploaded(LONG + b'end', 'sed "%s"' % command)
        like(head, b'Content-Length: 3000003\r', 'the head, ' + command)
        check(len(rest) <= 3000003, 'more than the length at the server')
        equal(message.status, 502, 'the status, ' + command)
        like(message.body, b'may take Content-Length out of the head', 'why')


@test('a request without a body gets no length')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--request', 'sed s/zebra/horse/') as proxy:
        proxy.fetch(origin, get('/zebra'))
        equal(origin.rx, get('/horse'), 'at the server')


@test('what TLS may have cut does not look whole, whatever the filter printed')
def _():
    for field in (b'', b'Content-Length: 5\r\n', b'Content-Length: 9\r\n',
                  b'Transfer-Encoding: chunked\r\n'):
        out = b'HTTP/1.1 200 OK\r\nA: b\r\n' + field + b'\r\nhello'
        with Origin(tls=True) as origin, \
                Proxy('--response', printer(out)) as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            server = origin.next()
            server.read_head()
            server.send(b'HTTP/1.1 200 OK\r\n\r\nhello')
            server.cut()
            got = client.read_all()
            equal(client.end, 'cut', 'the end')
            like(got, b'hello', 'message')
            unlike(got, b'Length|\r\n0\r\n', 'its end')


run()
