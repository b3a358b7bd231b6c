#!/usr/bin/env python3
"""--log-json: a line of JSON for each event; the log has the same numbers."""
import json

from mitm import *

SECRET = 'S3cret'


def events(text):
    """Each line must be valid JSON, whatever was in the traffic."""
    return [json.loads(line) for line in text.decode('ascii').splitlines()]


@contextlib.contextmanager
def logged(behave, *args, tls=False):
    """An origin, the proxy, and a function that waits for an event and gives
    all that there are."""
    path = scratch('events')
    with Origin(behave, tls=tls) as origin, \
            Proxy('--log-json', path, *args) as proxy:
        def wait(kind, count=1):
            wait_for(lambda: sum(e['event'] == kind for e in events(
                slurp(path))) >= count, '%d x %s' % (count, kind))
            return events(slurp(path))
        proxy.events = path
        yield origin, proxy, wait


@test('open, tls, request, response, close: with numbers and names')
def _():
    with logged(answer(reply(b'cloud')), '-v', '--response',
                'sed s/cloud/clowns/', tls=True) as (origin, proxy, wait):
        client = proxy.tls(origin)
        client.send(get('/a?b', 'Authorization: ' + SECRET))
        equal(client.read_message().body, b'clowns', 'the page')
        client.finish()
        found = wait('close')
        kinds = [e['event'] for e in found]
        for kind in 'open', 'tls', 'request', 'response', 'close':
            check(kind in kinds, kind, kinds)
        done = found[kinds.index('response')]
        equal([done[k] for k in ('flow', 'exchange', 'status', 'method', 'url',
                                 'host', 'port', 'scheme', 'sni', 'bytes',
                                 'came', 'reason')],
              [1, 1, 200, 'GET', origin.url('/a?b'), 'localhost', origin.port,
               'https', 'localhost', 6, 5, 'changed'], 'response')
        like(done['time'], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$', 'time')
        check(SECRET.encode() not in slurp(proxy.events), 'no fields')
        proxy.wait_log(r'mitmproxy: c1 \S+ has connected')
        equal(os.stat(proxy.events).st_mode & 0o777, 0o600, 'its mode')


@test('with -q, too, a response has its bytes, and what the filters did')
def _():
    with logged(answer(reply(b'cloud')), '-q', '--response',
                'sed s/cloud/clowns/') as (origin, proxy, wait):
        client = proxy.connect()
        client.send(get(origin.url('/')))
        equal(client.read_message().body, b'clowns', 'the page')
        done = [e for e in wait('response') if e['event'] == 'response'][0]
        equal([done[k] for k in ('bytes', 'came', 'reason')],
              [6, 5, 'changed'], 'response')


@test('deny and filter: what was refused, and what failed')
def _():
    with logged(answer(reply(b'x')), '--only-hosts', '^localhost:', '--match',
                '~u /fail', '--request', 'echo ' + SECRET + ' >&2; false') \
            as (origin, proxy, wait):
        client = proxy.connect()
        client.send(get('http://other.test/'))
        equal(client.read_message().status, 403, 'refused')
        deny = [e for e in wait('deny') if e['event'] == 'deny'][0]
        equal((deny['host'], deny['port']), ('other.test', 80), 'who')
        like(deny['reason'], 'only-hosts', 'why')
        client = proxy.connect()
        client.send(get('b.test:443', host='b.test:443', method='CONNECT'))
        equal(client.read_message().status, 403, 'refused')
        deny = [e for e in wait('deny', 2) if e['event'] == 'deny'][1]
        equal((deny['host'], deny['port'], deny.get('scheme')),
              ('b.test', 443, None), 'who, by CONNECT: TLS or not, who knows')
        client = proxy.connect()
        client.send(get(origin.url('/fail'), host=origin.auth))
        page = client.read_message()
        equal(page.status, 502, 'failed')
        failed = [e for e in wait('filter') if e['event'] == 'filter'][0]
        like(failed['reason'], 'request filter failed', 'why')
        check(SECRET.encode() not in page.raw, 'the page has no command')
        proxy.wait_log(r'mitmproxy: c%d #%d answered by an error page'
                       % (failed['flow'], failed['exchange']))
    with logged(answer(reply(b'x')), '--explain', '--response', "sed '2s/.$//'"
                ) as (origin, proxy, wait):
        proxy.tunnel(origin).send(get('/')).read_until(b'\n\r\nx')
        equal([e for e in wait('response') if e['event'] == 'filter'], [],
              'a filter that has not failed')


@test('deny: what a rule refuses, whatever the status, and nothing else')
def _():
    switch = b'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'
    for ask in (get('/', 'Content-Length: 5, 5'),
                get('/', 'Content-Length: 5', 'Content-Length: 6'),
                get('/', 'Transfer-Encoding: chunked') + b'0\r\nX: y\r\n',
                get('/', 'X: ' + 'x' * 70000), get('/')):
        with logged(answer(switch), '--only-hosts', '.') as (
                origin, proxy, wait):
            client = proxy.tunnel(origin)
            client.send(ask.replace(b': localhost', b': %s' %
                                    origin.auth.encode()))
            client.read_message()
            wait('deny')
    with closed_port() as port, logged(answer(reply(b'x'))) as (_, proxy, wait):
        client = proxy.connect()
        client.send(b'\5\1\0')
        client.read_exact(2)
        client.send(b'\5\1\0\1\x7f\0\0\1' + struct.pack('!H', port))
        like(client.read_exact(2), b'^\5[\4\5]', 'the answer')
        client.read_all()               # qemu has the host's errno for mips
        check(not [e for e in wait('close') if e['event'] == 'deny'],
              'what cannot be reached was not denied')


def odd(rng, count, but=b''):
    """Random bytes, those that JSON has a meaning for among them."""
    return bytes(rng.choice((rng.randrange(256), *b'"\\\x00\x1b\x7f\xff\r\n'))
                 for _ in range(count)).translate(None, but)


def hello(name):
    """A ClientHello that asks for this name, whatever is in it."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(
            into, out, server_hostname='x' * len(name)).do_handshake()
    return out.read().replace(b'x' * len(name), name)


# Each takes the proxy, an origin, and a source of random bytes, and asks.
def odd_request(proxy, origin, rng):
    proxy.tunnel(origin).send(
        b'A%s /%s HTTP/1.1\r\nHost: %s\r\n\r\n' % (
            bytes(rng.choice(b"!#$%&'*+-.^_`|~aZ9") for _ in range(20)),
            odd(rng, rng.choice((1, 10, 3000)), b'\r\n\0 '),
            odd(rng, 20, b'\r\n')))


def odd_plain(proxy, origin, rng):
    proxy.connect().send(b'GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n' % (
        odd(rng, 9, b'\r\n '), odd(rng, 20, b'\r\n')))


def odd_direct(proxy, origin, rng):
    proxy.connect().send(b'GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n' % (
        odd(rng, 9, b'\r\n '), odd(rng, 20, b'\r\n')))


def odd_name(proxy, origin, rng):
    proxy.tunnel('localhost:%d' % origin.port).send(hello(odd(rng, 20)))
    proxy.connect().send(hello(odd(rng, 20)))


def odd_socks(proxy, origin, rng):
    name = odd(rng, 20)
    proxy.connect().send(b'\5\1\0\5\1\0\3%c%s\0\x50' % (len(name), name))


def odd_bytes(proxy, origin, rng):
    proxy.connect().send(odd(rng, 300))
    proxy.tunnel(origin).send(odd(rng, 300))


def odd_answer(proxy, origin, rng):
    proxy.tunnel(origin).send(get('/answer'))


def odd_frame(proxy, origin, rng):
    client = proxy.tunnel(origin)
    client.send(get('/ws', 'Connection: Upgrade', 'Upgrade: websocket',
                    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='))
    client.send(odd(rng, 100))


def odd_reason(proxy, origin, rng):
    proxy.tunnel(origin).send(get('/coprocess'))


ODD = [odd_request, odd_plain, odd_direct, odd_name, odd_socks, odd_bytes,
       odd_answer, odd_frame, odd_reason]


@test('whatever bytes are in the traffic, each line is JSON')
def _():
    seed = os.environ.get('MITM_SEED') or str(time.time_ns())
    note('MITM_SEED=' + seed)
    rng = random.Random(seed)
    reason = script("""
#!/usr/bin/env python3
import os, sys
for line in sys.stdin.buffer:
    sys.stdin.buffer.read(int(line.split()[0]))
    bad = os.urandom(200).replace(b'\\n', b'"')
    sys.stderr.buffer.write(bad + b'\\n')
    sys.stdout.buffer.write(b'!' + bad + b'\\n')
    sys.stdout.flush()
""")

    def behave(conn):
        while wait_message(conn):
            ask = conn.read_head()
            if b'/answer' in ask:
                conn.send(b'HTTP/1.1 200 %s\r\n%s: %s\r\n\r\n' % (
                    odd(rng, 30, b'\r\n'), odd(rng, 9, b'\r\n'),
                    odd(rng, 30, b'\r\n')))
                return
            if b'/ws' in ask:
                conn.send(b'HTTP/1.1 101 %s\r\nUpgrade: websocket\r\n'
                          b'Connection: Upgrade\r\n\r\n%s' % (
                              odd(rng, 30, b'\r\n'), odd(rng, 100)))
                return
            conn.send(reply(b'x'))
    with logged(behave, '--match', '~u /coprocess', '--coprocess', '--request',
                reason, '--match', '~w', '--request', 'cat >&2; exit 1') as (origin, proxy, wait):
        proxy.coprocesses = 1
        for i in range(20):
            for ask in ODD:
                with contextlib.suppress(OSError):
                    ask(proxy, origin, rng)
            for client in proxy.clients:
                client.cut()
                with contextlib.suppress(Failed):
                    client.read_all()
                client.close()
            proxy.clients.clear()
        found = wait('close', 20 * len(ODD))
        kinds = {e['event'] for e in found}
        check({'open', 'request', 'response', 'filter', 'close', 'note',
               'tls'} <= kinds, 'all kinds', kinds)
        check(max(map(len, slurp(proxy.events).splitlines())) < 4096,
              'lines that a pipe takes at once')
        if shutil.which('jq'):
            equal(command('jq', '-c', '.flow', proxy.events, status=0).count(
                b'\n'), slurp(proxy.events).count(b'\n'), 'lines for jq')


@test('every line of the log has the numbers of an event, and the other way')
def _():
    with logged(answer(reply(b'x')), '--explain', '--only-hosts', '^localhost:',
                '--match', '~u /fail', '--request', 'false', tls=True) as (
                    origin, proxy, wait):
        clients = [proxy.tls(origin) for _ in range(3)]
        for path, client in [*zip(('/a', '/b', '/fail'), clients),
                             *zip(('/c', '/d'), clients)]:
            client.send(get(path, host=origin.auth))
            client.read_message()
        client = proxy.connect()
        client.send(get('http://no.test/'))
        client.read_message()
        for client in clients + [client]:
            client.finish()
        found = wait('close', 4)
        flows = {e['flow'] for e in found}
        equal(flows, {1, 2, 3, 4}, 'connections')
        said = [e for e in found if e['event'] != 'response']

        def tell():
            lines = re.findall(r'(?m)^mitmproxy: c(\d+)(?: #(\d+))? '
                               r'\+[\d.]+ (.*)$', proxy.log())
            return len(lines) >= len(said) and lines
        told = wait_for(tell, 'a line for each event')
        equal(len(told), len(said), 'lines, and events')
        wait_for(lambda: proxy.out().count(' == ') >= len(found) - len(said),
                 'a line for each exchange')
        for (flow, exchange, text), event in zip(told, said):
            equal((int(flow), int(exchange or 0)),
                  (event['flow'], event.get('exchange', 0)), text)
            check(text.startswith(event['reason']), 'the words', text, event)
        ended = re.findall(r'(?m)^#(\d+) == (\d+) (\S+) (\S+) (\d+) -> (\d+) '
                           r'bytes', proxy.out())
        equal([[int(n) if n.isdigit() else n for n in line] for line in ended],
              [[e[k] for k in ('exchange', 'status', 'method', 'url', 'came',
                               'bytes')] for e in found
               if e['event'] == 'response'], '== and response')


@test('a FIFO: its reader is waited for; when it leaves, that is told')
def _():
    fifo = scratch('fifo')
    os.mkfifo(fifo)
    first, enough = [], threading.Event()

    def read():
        with open(fifo, 'rb') as f:
            for line in f:
                first.append(json.loads(line))
                if first[-1]['event'] == 'response':
                    return
    reader = thread(read)
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--log-json', fifo) as proxy:
        proxy.fetch(origin)
        reader.result()
        equal(first[0]['event'], 'open', 'the first event')
        proxy.fetch(origin)
        proxy.wait_log(r'fifo: Broken pipe: nothing more is written to it')
        equal(proxy.fetch(origin).body, b'x', 'what goes on')


@test('a reader that sleeps holds up nobody, and is told what it missed')
def _():
    fifo = scratch('fifo')
    os.mkfifo(fifo)
    hold = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('-q', '--log-json', fifo) as proxy:
        client, asked = proxy.tunnel(origin), 0
        text = b''

        def ask():
            nonlocal asked
            asked += 1
            client.send(get('/' + 'x' * 900))
            client.read_message()

        def take():
            nonlocal text
            with contextlib.suppress(BlockingIOError):
                while True:
                    text += os.read(hold, 65536)
        for _ in range(2000):
            ask()
        until = time.monotonic() + DEADLINE
        while b'"event":"lost"' not in text and time.monotonic() < until:
            take()
            ask()
        client.finish()
        wait_for(lambda: take() or b'"event":"close"' in text, 'the end')
        found = [json.loads(line) for line in text.splitlines()]
        lost = sum(e['lines'] for e in found if e['event'] == 'lost')
        check(lost > 0, 'lines that were lost')
        # of each: request, response, and others that the first one has
        equal(sum(e['event'] in ('request', 'response') for e in found) + lost,
              2 * asked, 'what was read, and what was lost')
    os.close(hold)


@test('to standard output, where messages then are not')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--log-json', '-') as proxy:
        proxy.fetch(origin)
        proxy.wait_out('"event":"response"')
        events(proxy.out().encode())
        proxy.wait_log('#1 >> ')


@test('to /dev/stderr, which is a file: no line is written over another')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin:
        for args, more, what in (
                (['--log-json', '/dev/stderr'], {}, rb'(?m)^\{.*"open"'),
                ([], {'SSLKEYLOGFILE': '/dev/stderr'}, b'(?m)^[A-Z_]+_0 ')):
            err = scratch('err')
            with open(err, 'wb') as f:
                equal(subprocess.run(
                    [PROGRAM, '-kv', '--ca', scratch('cert.pem'), *args, '--',
                     'env', '-u', 'SSLKEYLOGFILE', need('curl'), '-sS',
                     origin.url()], stdout=-1, stderr=f, timeout=DEADLINE,
                    env=dict(os.environ, **more)).returncode, 0,
                    'status with %s %s' % (args, more))
            for line in slurp(err).decode().splitlines():
                like(line, r'^(\{"time":.*\}|mitmproxy: .*|#\d+ (>>|<<|==) .*'
                     r'|[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]+)$', 'a line')
            like(slurp(err), what, 'what is asked for')


@test('several workers write whole lines, and numbers are those of all')
def _():
    with logged(answer(reply(b'x')), '-j', '3', '-q') as (origin, proxy, wait):
        for _ in range(30):
            proxy.fetch(origin)
        found = wait('response', 30)
        flows = {e['flow'] for e in found if e['event'] == 'open'}
        equal(flows, set(range(1, 31)), 'connections')


@test('a write() at the end that a file system interrupts is repeated')
def _():
    if sanitized():
        raise Skip('LeakSanitizer does not work under strace')
    with logged(answer(reply(b'x'))) as (origin, proxy, wait):
        client = proxy.connect()
        client.send(get(origin.url()))
        client.read_message()
        wait('response')
        with running(need('strace'), '-p', str(proxy.pid), '-P', proxy.events,
                     '-e', 'inject=write:error=EINTR:when=1',
                     ready='attached|ptrace') as tracer:
            if not b'attached' in slurp(tracer.output):
                raise Skip('strace may not attach')
            os.kill(proxy.pid, signal.SIGTERM)
            proxy.process.wait(DEADLINE)
        like(slurp(tracer.output), rb'EINTR', 'what was interrupted')
        equal(events(slurp(proxy.events))[-1]['event'], 'close', 'the last')


@test('the lines for jq that the manual has')
def _():
    need('jq')
    manual = slurp(os.path.join(HERE, '..', 'mitmproxy.1')).decode()
    block = manual[manual.index('.Sh EVENTS'):]
    block = block[block.index('.Bd'):block.index('.Ed')].split('\n', 1)[1]
    with logged(answer(reply(b'12345')), '--only-hosts', '^localhost:',
                '--match', '~u /fail', '--request', 'false') as (
                    origin, proxy, wait):
        for url in (origin.url('/'), origin.url('/fail'), 'http://no.test/'):
            client = proxy.connect()
            client.send(get(url, host=url.split('/')[2]))
            client.read_message()
        wait('deny'), wait('filter'), wait('response', 3)
        found = command('sh', '-c', 'events=%s\n%s' % (
            proxy.events, block.replace('\\e', '\\').replace(
                ' events', ' $events')), status=0).decode()
        for part in (r'1 no\.test', r'"localhost": \d+', r'ms http://localhost',
                     'request filter failed'):
            like(found, part, 'what jq finds')


run()
