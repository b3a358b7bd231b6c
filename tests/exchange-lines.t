#!/usr/bin/env python3
"""The line in which an exchange ends: #1 == 200 GET URL 5 -> 6 bytes, ..."""
from mitm import *

PAGE = reply(b'a cloud\n' * 100)
LINE = r'(?m)^#(\d+) == (\d+) (\S+) (\S+) (\d+) -> (\d+) bytes, \d+ ms(.*)$'


def lines(proxy, count=1):
    """What the lines say, without number and time."""
    wait_for(lambda: len(re.findall(LINE, proxy.out())) >= count,
             '%d lines' % count)
    return [line[1:] for line in re.findall(LINE, proxy.out())]


def one(args, page=PAGE, request=None, tls=True, prefix=''):
    """The line of one exchange; the page that the client got."""
    with Origin(answer(page), tls=tls) as origin, Proxy(*args) as proxy:
        conn = proxy.tls(origin) if tls else proxy.tunnel(origin)
        conn.send(request or get('/x?y', host=origin.auth))
        with contextlib.suppress(Failed):
            conn.read_message()
        line, = lines(proxy)
        equal(line[2].replace(origin.auth, 'HOST'),
              ('https' if tls else 'http') + '://HOST/x?y', 'the URL')
        return line[:2] + line[3:]


@test('no filter matched: bytes, and nothing more')
def _():
    for tls in True, False:
        equal(one([], tls=tls), ('200', 'GET', '800', '800', ''), 'no filter')
        equal(one(['--match', 'nowhere', '-R', 'cat'], tls=tls),
              ('200', 'GET', '800', '800', ''), 'no match')


@test('changed and unchanged, true to the bytes')
def _():
    for command, behind, word in (
            ('cat', '800', 'unchanged'), ('sed s/cloud/clown/', '800',
                                          'changed'),
            ('sed s/cloud/clouds/', '900', 'changed'),
            ('sed s/nowhere/x/', '800', 'unchanged'),
            ("sh -c 'cat; printf x'", '801', 'changed'),
            ("sed '1s/200/201/'", '800', 'changed')):
        want = ('201' if '201' in command else '200', 'GET', '800', behind,
                ', ' + word)
        for page in PAGE, chunked(b'a cloud\n' * 50, b'a cloud\n' * 50):
            equal(one(['-R', command], page), want, command)
    equal(one(['-R', 'cat', '-R', 'sed s/cloud/clown/', '-R',
               'sed s/clown/cloud/']), ('200', 'GET', '800', '800',
                                        ', unchanged'), 'a pipeline')


@test('bodies that end with their connection')
def _():
    def behave(conn):
        conn.read_head()
        conn.send(PAGE.replace(b'Content-Length', b'X-Length'))
    for args, word in ([], ''), (['-R', 'cat'], ', unchanged'), \
            (['-R', 'sed s/cloud/clown/'], ', changed'):
        with Origin(behave) as origin, Proxy(*args) as proxy:
            conn = proxy.tunnel(origin)
            conn.send(get('/'))
            conn.read_all()
            equal(lines(proxy)[0][3:], ('800', '800', word), 'the line')


@test('a request that a filter has changed')
def _():
    equal(one(['-Q', 'cat']), ('200', 'GET', '800', '800', ', unchanged'),
          'cat')
    equal(one(['-Q', "sed 's/^Host/host/'"]),
          ('200', 'GET', '800', '800', ', changed'), 'sed')


@test('--raw and coprocesses')
def _():
    page = chunked(b'a cloud\n' * 50, b'a cloud\n' * 50)
    for command, word in ('cat', 'unchanged'), ('sed s/cloud/clown/',
                                               'changed'):
        line = one(['--raw', '-R', command], page)
        equal((line[2], line[4]), ('800', ', ' + word), '--raw ' + command)
    equal(one(['--raw', '-R', 'sed "1s/200 OK/404 Nowhere/"']),
          ('404', 'GET', '800', '800', ', changed'), 'another head')
    equal(one(['--raw', '-Q', r"printf 'HTTP/1.1 404 No\r\n\r\nnono'"]),
          ('404', 'GET', '0', '4', ', answered'), 'an answer')
    same = script('''#!/usr/bin/env python3
import sys
while line := sys.stdin.buffer.readline():
    body = sys.stdin.buffer.read(int(line.split()[0]))
    if len(sys.argv) > 1:
        body = body.replace(b'cloud', sys.argv[1].encode())
        sys.stdout.buffer.write(b'%d\\n%s' % (len(body), body))
    else:
        sys.stdout.buffer.write(b'-\\n')
    sys.stdout.buffer.flush()
''')
    for args, behind, word in (('', '800', 'unchanged'),
                               (' cloud', '800', 'unchanged'),
                               (' clouds', '900', 'changed')):
        with Origin(answer(PAGE)) as origin, Proxy(
                '--coprocess', '-R', same + args, coprocesses=1) as proxy:
            proxy.fetch(origin)
            equal(lines(proxy)[0][3:], ('800', behind, ', ' + word), args)


@test('answered, dropped and failed')
def _():
    equal(one(['-Q', r"printf 'HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno'"
               ]), ('404', 'GET', '0', '2', ', answered'), 'answered')
    for way in '-Q', '-R':
        line = one([way, 'true'])
        equal((line[0], line[4]), ('000', ', dropped'), way + ' true')
        line = one([way, 'false'])
        equal((line[0], line[4]), ('502', ', failed'), way + ' false')
        line = one(['--on-error', 'pass', way, 'false'])
        equal(line, ('200', 'GET', '800', '800', ', failed'), 'passed')


@test('a filter that has enough has not failed')
def _():
    much = b'x' * 3000000
    line = one(['-R', r"printf 'HTTP/1.1 200 OK\r\n\r\nshort'"], reply(much))
    equal((line[0], line[3], line[4]), ('200', '5', ', changed'), '-R')
    line = one(['-Q', r"printf 'PUT / HTTP/1.1\r\nHost: a\r\n\r\nok'"],
               request=get('/x?y', 'Content-Length: 3000000', method='PUT')
               + much)
    equal((line[0], line[1], line[4]), ('200', 'PUT', ', changed'), '-Q')


@test('a server that is not there')
def _():
    for args in (), ('-Q', 'cat'), ('-R', 'cat'):
        with closed_port() as port, Proxy(*args) as proxy:
            conn = proxy.tunnel('localhost:%d' % port)
            conn.send(get('/x'))
            conn.read_message()
            line, = lines(proxy)
            equal((line[0], line[3], line[5]), ('502', '0', ''), 'the line')


@test('a request too long to be held, of which a filter changes the length')
def _():
    ask = get('/', 'Content-Length: 3000000', method='PUT') + b'x' * 3000000
    for command in 'head -c 2000000', "sh -c 'cat; printf x'":
        with Origin(answer(PAGE)) as origin, Proxy('-Q', command) as proxy:
            conn = proxy.tunnel(origin)
            sending = thread(conn.pour, ask, 1)     # it may be cut off
            equal(conn.read_message().status, 502, 'the page')
            equal(lines(proxy)[0][-1], ', failed', 'the word')
            conn.close()
            sending.result()


@test('several on one connection, HEAD, a body of a request, 101')
def _():
    with Origin(answer(PAGE, reply(b'')[:-19] + b'Content-Length: 9\r\n\r\n',
                       PAGE)) as origin, Proxy() as proxy:
        conn = proxy.tunnel(origin)
        conn.send(get('/1'))
        conn.read_message()
        conn.send(get('/2', method='HEAD'))
        conn.read_message(True)
        conn.send(get('/3', 'Content-Length: 4', method='PUT') + b'body')
        conn.read_message()
        got = lines(proxy, 3)
        equal([(l[0], l[1], l[4]) for l in got],
              [('200', 'GET', '800'), ('200', 'HEAD', '0'),
               ('200', 'PUT', '800')], 'the lines')
        numbers = re.findall(r'(?m)^#(\d+) (>>|<<|==)', proxy.out())
        equal(numbers, [(str(n), way) for n in (1, 2, 3)
                        for way in ('>>', '<<', '==')], 'in order')
    switch = b'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'
    with Origin(answer(switch)) as origin, Proxy() as proxy:
        conn = proxy.tunnel(origin)
        conn.send(get('/', 'Connection: Upgrade', 'Upgrade: x'))
        conn.read_head()
        equal(lines(proxy)[0][0], '101', 'the line')


@test('-q shows none; around a command it goes to standard error')
def _():
    with Origin(answer(PAGE)) as origin:
        with Proxy('-q') as proxy:
            proxy.fetch(origin)
        equal(proxy.out(), '', 'standard output')
        _, out, err = mitmproxy('--ca', scratch('cert.pem'), '--', need('curl'),
                                '-s', origin.url('/x'))
        equal(out, 'a cloud\n' * 100, 'standard output')
        like(err, LINE, 'standard error')


@test('a client that leaves in the middle')
def _():
    def behave(conn):
        conn.read_head()
        conn.send(PAGE[:400])
        wait_message(conn)
    with Origin(behave) as origin, Proxy() as proxy:
        conn = proxy.tunnel(origin)
        conn.send(get('/'))
        conn.read_head()
        conn.close()
        equal(lines(proxy)[0][0], '200', 'status')


@test('what is no request is shown, too, unless it may have credentials')
def _():
    bad = b'hello there\r\n\r\n', b'GET /', b'A' * 70000
    for args in (), ('--proxyauth', 'me:secret'):
        with Proxy(*args) as proxy:
            for data in bad:
                conn = proxy.connect()
                with contextlib.suppress(OSError):
                    conn.send(data)
                    conn.cut()
                conn.read_all()
            wait_for(lambda: '#3 << ' in proxy.out(), 'the pages')
            equal(re.findall(r'(?m)^#\d >> .*', proxy.out()),
                  [] if args else [r"#1 >> 'hello there\r\n\r\n'",
                                   "#2 >> 'GET /'", "#3 >> '%s'" % ('A' * 100)],
                  'what is shown')


@test('a backslash in a URL is not taken for the escape of a byte')
def _():
    with Origin(answer(PAGE)) as origin, Proxy() as proxy:
        conn = proxy.tunnel(origin)
        conn.send(get('/\\x0a\xff'))
        conn.read_message()
        equal(lines(proxy)[0][2], origin.url('/') + r'\x5cx0a\xff', 'the URL')


run()
