#!/usr/bin/env python3
"""-w: what passes between us and the servers, in plain text, as pcapng."""
from mitm import *


def tshark(name, *words):
    """What tshark prints of a capture, all checksums verified; a random port
    of ours may be known as another protocol's."""
    done = subprocess.run(
        [need('tshark'), '-r', name, '-o', 'ip.check_checksum:TRUE',
         '-o', 'tcp.check_checksum:TRUE', '-o',
         'tcp.try_heuristic_first:TRUE', *words], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=3 * DEADLINE)
    check(done.returncode == 0, 'tshark ends', done.stderr)
    return done.stdout.decode()


def rows(name, select, *fields):
    """The fields of those packets, in tuples."""
    words = [word for field in fields for word in ('-e', field)]
    text = tshark(name, '-Y', select, '-T', 'fields', *words)
    return [tuple(line.split('\t')) for line in text.splitlines()]


def sound(name, but=''):
    """Nothing is wrong with its packets."""
    equal(tshark(name, '-Y', '(tcp.analysis.flags%s) || ip.checksum.status =='
                 ' 0 || tcp.checksum.status == 0 || _ws.malformed' % but),
          '', 'what tshark minds')


def followed(name, stream=0):
    """The bytes of a conversation: from the client, and from the server."""
    sides = [b'', b'']
    text = tshark(name, '-q', '-z', 'follow,tcp,raw,%d' % stream)
    for line in text.splitlines():
        if re.fullmatch(r'\t?[0-9a-f]+', line):
            sides[line[0] == '\t'] += bytes.fromhex(line)
    return sides


def blocks(data):
    """Its blocks, as [(type, body)]; the last may be incomplete. Numbers are in
    the order of the processor that wrote them, as the first block tells."""
    order = '>' if data[8:12] == b'\x1a\x2b\x3c\x4d' else '<'
    found = []
    while len(data) >= 12:
        kind, size = struct.unpack_from(order + 'II', data)
        check(size >= 12 and size % 4 == 0, 'a block of %d bytes' % size)
        if size > len(data):
            break
        equal(struct.unpack_from(order + 'I', data, size - 4)[0], size,
              'its end')
        found.append((kind, data[8:size - 4]))
        data = data[size:]
    return found


def ends(*socks):
    """Addresses and ports as tshark prints them: 'a', 'b', 'p,q', 'q,p'."""
    (a, p), (b, q) = [sock[:2] for sock in socks]
    return a, b, '%d,%d' % (p, q), '%d,%d' % (q, p)


for tls in False, True:
    for host in '127.0.0.1', '::1':
        @test('%s to %s' % ('HTTPS' if tls else 'HTTP', host))
        def _(tls=tls, host=host):
            need('tshark')
            name, v6 = scratch('capture'), ':' in host
            origin = Origin(answer(lambda r: reply(r.start[::-1])), tls=tls,
                            host=host, name=host)
            with origin, Proxy('-w', name, '--listen-host', host, '-Q',
                               'sed s/one/two/', '-R',
                               'sed s/TEG/PUT/') as proxy:
                client = Conn(socket.create_connection((host, proxy.port),
                                                       DEADLINE))
                proxy.clients.append(client)
                client.send(get(origin.auth, host=origin.auth,
                                method='CONNECT'))
                client.read_head()
                if tls:
                    client.start_tls(client_context(proxy.ca), host)
                for _ in range(2):
                    client.send(get('/one'))
                    like(client.read_message().body, b'PUT$', 'the answer')
                a, b, up, down = ends(client.sock.getsockname(),
                                      origin.listener.getsockname())
            fields = 'ipv6.src' if v6 else 'ip.src', 'tcp.port'
            equal(rows(name, 'http.request', *fields, 'http.request.uri'),
                  [(a, up, '/two')] * 2, 'the requests that tshark sees')
            equal(rows(name, 'http.response', *fields, 'http.response.code'),
                  [(b, down, '200')] * 2, 'the responses')
            equal(followed(name), [get('/two') * 2, 2 * reply(
                b'1.1/PTTH owt/ TEG')], 'the conversation')
            sound(name)
            equal(os.stat(name).st_mode & 0o777, 0o600, 'who may read it')


@test('- is standard output, where messages then are not')
def _():
    for name in '-', '/dev/stdout':
        with Origin(answer(reply(b'x'))) as origin, \
                Proxy('-w', name) as proxy:
            proxy.fetch(origin)
            proxy.wait_log('#1 >> .*\n(.*\n)*#1 == ')
            wait_for(lambda: b'\r\n\r\nx' in slurp(proxy.out_name), 'packets')
            kinds = [kind for kind, _ in blocks(slurp(proxy.out_name))]
            equal(kinds[:2], [0x0a0d0d0a, 1], 'the first blocks')
            equal(set(kinds[2:]), {6}, 'packets')


@test('a client of IPv4, a server of IPv6')
def _():
    need('tshark')
    name = scratch('capture')
    with Origin(answer(reply(b'x')), host='::1', name='::1') as origin, \
            Proxy('-w', name) as proxy:
        proxy.fetch(origin)
        port = proxy.clients[0].sock
    equal([row[0] for row in rows(name, 'http', 'ipv6.src')],
          ['::ffff:127.0.0.1', '::1'], 'the addresses')
    sound(name)


@test('big bodies both ways')
def _():
    need('tshark')
    name = scratch('capture')
    body = os.urandom(5000000)
    upload = get('/', 'Content-Length: %d' % len(body), method='PUT') + body
    download = chunked(*(body[i:i + 100000] for i in range(0, len(body),
                                                           100000)))
    with Origin(answer(download), tls=True) as origin, \
            Proxy('-w', name) as proxy:
        client = proxy.tls(origin)
        work = thread(client.send, upload)
        equal(client.read_message().body, body, 'the download')
        work.result()
    sound(name)
    equal(followed(name), [upload, download], 'the conversation')


@test('many conversations at once, and one ended by the server')
def _():
    need('tshark')
    name = scratch('capture')
    whole = b'HTTP/1.1 200 OK\r\n\r\n%s\n'

    def behave(conn):
        conn.send(whole % (conn.read_message().start * 1000))

    with Origin(behave) as origin, Proxy('-w', name) as proxy:
        clients = [proxy.tunnel(origin) for _ in range(40)]
        for i, client in enumerate(clients):
            client.send(get('/%d' % i))
        for client in reversed(clients):
            client.read_message()
        ports = [str(client.sock.getsockname()[1]) for client in clients]
    seen = rows(name, 'http.request', 'tcp.srcport', 'http.request.uri')
    equal(sorted(seen), sorted((port, '/%d' % i)
                               for i, port in enumerate(ports)), 'requests')
    seen = rows(name, 'http.response', 'tcp.dstport', 'http.file_data')
    equal(sorted(port for port, _ in seen), sorted(ports), 'responses')
    sound(name)


@test('a client that goes from server to server and comes back')
def _():
    need('tshark')
    name = scratch('capture')
    with Origin(answer(reply(b'A'))) as a, Origin(answer(reply(b'B'))) as b, \
            Proxy('-w', name) as proxy:
        client = proxy.connect()
        for i, origin in enumerate((a, b, a)):
            client.send(get(origin.url('/%d' % i), host=origin.auth))
            client.read_message()
    equal(rows(name, 'http.request', 'tcp.stream', 'tcp.dstport',
               'http.request.uri'), [
                   (str(i), str(origin.port), '/%d' % i)
                   for i, origin in enumerate((a, b, a))], 'conversations')
    sound(name, '&& !tcp.analysis.reused_ports')


@test('a server that speaks first, with TLS; the client leaves')
def _():
    need('tshark')
    name = scratch('capture')

    def greet(conn):
        conn.send(b'220 hello\r\n')
        conn.send(conn.read_until(b'\n').upper())
        conn.read_all()

    with Origin(greet, tls=True) as origin, Proxy('-w', name) as proxy:
        client = proxy.tls(origin)
        client.read_until(b'\n')
        client.send(b'quit\n')
        client.read_until(b'\n')
        client.reset()
    equal(followed(name), [b'quit\n', b'220 hello\r\nQUIT\n'], 'what was said')
    sound(name)


@test('a file cut anywhere can be read')
def _():
    need('tshark')
    name = scratch('capture')
    with Origin(answer(reply(b'x' * 1000))) as origin, \
            Proxy('-w', name) as proxy:
        client = proxy.tunnel(origin)
        for i in range(5):
            client.send(get('/%d' % i))
            client.read_message()
    data = slurp(name)
    whole = blocks(data)
    equal(sum(12 + len(body) for _, body in whole), len(data), 'its blocks')
    equal([kind for kind, _ in whole], [0x0a0d0d0a, 1] + [6] * (3 + 10 + 3),
          'their types')
    for size in [48, 49, *range(50, len(data), len(data) // 6)]:
        cut = scratch('cut', data[:size])
        done = subprocess.run(['tshark', '-r', cut], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=3 * DEADLINE)
        equal(done.stdout.count(b'\n'), len(blocks(data[:size])) - 2,
              'packets in the first %d bytes' % size)


@test('what has passed is in the file at once')
def _():
    name = scratch('capture')
    with Origin(answer(reply(b'x'))) as origin, Proxy('-w', name) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/now'))
        client.read_message()
        wait_for(lambda: reply(b'x') in slurp(name), 'the response')
        data = slurp(name)
    check(get('/now') in data, 'the request')
    equal(len(blocks(data)), 2 + 3 + 2, 'blocks')


def goes_on(proxy, origin):
    """The proxy does its work, and logs nothing but a line."""
    for _ in range(3):
        equal(proxy.fetch(origin).body, b'x' * 100000, 'the answer')
    wait_for(proxy.settled, 'the end of all connections')


@test('a disk that is full for a while, two workers: a part, and no more')
def _():
    at, mount = small_disk('512k')
    with Origin(answer(reply(b'x' * 9000))) as origin, \
            Proxy('-j', '2', '-q', '-w', at + '/capture', prefix=mount) as proxy:
        at = '/proc/%d/root/%s' % (proxy.pid, at)
        with open(at + '/ballast', 'wb') as f:
            f.write(bytes(256 << 10))

        def full():
            proxy.fetch(origin)
            return 'nothing more is written' in proxy.log()
        wait_for(full, 'the end of the capture')
        os.unlink(at + '/ballast')
        for _ in range(20):             # and both have a part in them
            proxy.fetch(origin)
        data = slurp(at + '/capture')
    end = sum(len(body) + 12 for _, body in blocks(data))
    check(len(data) > 200000, 'too little', len(data))
    check(len(data) - end < 10000, 'it cannot be read behind byte %d of %d'
          % (end, len(data)))


@test('a file that others could read: they can no more')
def _():
    name = scratch('capture', b'old', mode=0o644)
    with Proxy('-w', name):
        equal(os.stat(name).st_mode & 0o777, 0o600, 'its mode')


@test('/dev/full: one line, and on')
def _():
    with Origin(answer(reply(b'x' * 100000))) as origin, \
            Proxy('-w', '/dev/full') as proxy:
        goes_on(proxy, origin)
        proxy.wait_log('/dev/full')
        equal(re.findall('.*/dev/full.*', proxy.log()), [
            'mitmproxy: /dev/full: No space left on device: nothing more '
            'is written to it'], 'the log')


@test('a full disk: one line, and on')
def _():
    at, mount = small_disk('128k')
    name = at + '/capture'
    with Origin(answer(reply(b'x' * 100000))) as origin, \
            Proxy('-w', name, prefix=mount) as proxy:
        goes_on(proxy, origin)
        proxy.wait_log(re.escape(name) + ': No space left')
        equal(proxy.log().count('nothing more is written to it\n'), 1,
              proxy.log())
        check(len(blocks(slurp('/proc/%d/root/%s' % (proxy.pid, name)))) > 5,
              'blocks in the file')


@test('a pipe whose reader sleeps holds up nobody; what it misses is told')
def _():
    name = scratch('pipe')
    os.mkfifo(name)
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    page = reply(b'x' * 3000000)
    with Origin(answer(page)) as origin, Proxy('-w', name) as proxy:
        client = proxy.tunnel(origin)
        for _ in range(2):
            client.send(get('/'))
            equal(client.read_message().raw, page, 'the page')
        got = bytearray()

        def drain():
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.extend(os.read(fd, 1 << 20))
            client.send(get('/'))
            client.read_message()
            return re.search(name + r' misses (\d+) packets: too slow a '
                             'reader\n', proxy.log())
        wait_for(drain, 'a line about it')
        drain()
        found = blocks(bytes(got))
        check(found[0][0] == 0x0a0d0d0a and found[1][0] == 1 and
              all(kind == 6 for kind, _ in found[2:]), 'types of blocks')
        check(len(found) > 10, 'few blocks', len(found))
        os.close(fd)
        wait_for(lambda: client.send(get('/')) and client.read_message() and
                 'nothing more is written to it\n' in proxy.log(),
                 "the reader's end")
        client.send(get('/'))
        equal(client.read_message().raw, page, 'the page')


@test('a pipe whose reader is awake gets everything')
def _():
    need('tshark')
    name, copy = scratch('pipe'), scratch('capture')
    os.mkfifo(name)
    with open(copy, 'wb') as out, \
            subprocess.Popen(['cat', name], stdout=out) as cat:
        with Origin(answer(reply(b'x' * 1000))) as origin, \
                Proxy('-w', name) as proxy:
            for _ in range(20):
                proxy.fetch(origin)
        equal(cat.wait(DEADLINE), 0, 'the reader')
    equal(len(rows(copy, 'http.response.code == 200', 'tcp.stream')), 20,
          'responses')
    sound(copy)


@test('packets go nowhere where something else goes, by whatever name')
def _():
    one, two = scratch('one', b''), scratch('two')
    os.symlink(one, two)
    for args, more, same in (
            (['-w', one, '--log-json', two], {}, two),
            (['-w', two, '--log-json', one], {}, one),
            (['-w', '-', '--log-json', '/dev/stdout'], {}, '/dev/stdout'),
            (['-w', '/dev/stdout', '--log-json', '-'], {}, 'standard output'),
            (['-w', '/dev/stderr'], {}, 'standard error'),
            (['-w', one], {'stdout': one}, 'standard output'),
            (['-w', one], {'stderr': one}, 'standard error'),
            (['-w', '-'], {'stdout': one, 'stderr': one}, 'standard error'),
            (['-w', one], {'SSLKEYLOGFILE': two}, 'SSLKEYLOGFILE'),
            (['--log-json', one], {'SSLKEYLOGFILE': two}, 'SSLKEYLOGFILE')):
        with open(one, 'wb') as f:
            done = subprocess.run(
                [PROGRAM, '-p', '0', '--ca', scratch('cert.pem'), *args],
                stdout=f if 'stdout' in more else subprocess.PIPE,
                stderr=f if 'stderr' in more else subprocess.PIPE,
                timeout=DEADLINE, env=dict(os.environ, **more))
        equal(done.returncode, 1, 'status with %s %s' % (args, more))
        like(done.stderr or slurp(one), b'(?m)^mitmproxy: cannot write %s: it '
             b'is the same as %s$' % (args[1].encode(), same.encode()), 'why')
    for args in ['-w', '/dev/null'], ['--log-json', '/dev/stderr']:
        with open('/dev/null', 'wb') as null, \
                Proxy(*args, stdout=null) as proxy:
            equal(proxy.log().count('\n'), 2, 'lines')


@test('a file that cannot be written')
def _():
    status, out, err = mitmproxy('-p', '0', '-c', scratch('cert.pem'), '-w',
                                 scratch('no') + '/such/file')
    equal((status, out), (1, ''), 'the exit status and the output')
    like(err, r'^mitmproxy: cannot write /.*-no/such/file: No such file or '
         r'directory\n$', 'the errors')


run()
