#!/usr/bin/env python3
"""How long each side may take.  These tests need a program whose second is
as long as SECOND in its environment says: MITMPROXY_QUICK, or
build/mitmproxy-quick (cc -DSECOND='strtod(getenv("SECOND"), NULL)')."""
from mitm import *

proxies = []


def quick(second, *args):
    proxies.append(Proxy('-v', *args, second=second))
    return proxies[-1]


def hello():
    """A ClientHello."""
    incoming, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(incoming, out, server_hostname='localhost')
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def begin(proxy, data):
    """A tunnel to where nobody listens, its first bytes sent at once: the
    time that the proxy waits for them is short."""
    client = proxy.connect()
    client.send(get('127.0.0.1:1', method='CONNECT') + data)
    like(client.read_head(), rb'^HTTP/1\.[01] 200 ', 'the tunnel')
    return client


@contextlib.contextmanager
def meanwhile(proxy, stalled):
    """While one client stalls, another is served; then the first is closed
    within its time, and with it all that it held."""
    with Origin(answer(reply(b'served'))) as other:
        equal(proxy.fetch(other).body, b'served', 'another client')
        check(stalled.silent(0), 'the first is there no more', stalled.rx)
        yield
        if not stalled.end:
            stalled.read_all()
        wait_for(lambda: proxy.descriptors() <= proxy.idle, 'its end')


@test('a client that says nothing is closed')
def _():
    with quick(0.02) as proxy:
        client = proxy.connect()
        with meanwhile(proxy, client):
            equal(client.read_all(), b'', 'what it gets')
        proxy.wait_log("waited 60 seconds for the client's first byte")


@test('a connection that is not used any more is closed')
def _():
    with Origin(answer(reply(b'x'))) as origin, quick(0.004) as proxy:
        client = proxy.connect()
        client.send(get(origin.url()))
        equal(client.read_message().body, b'x', 'the page')
        with meanwhile(proxy, client):
            equal(client.read_all(), b'', 'what it gets')
        proxy.wait_log('waited 300 seconds for the next request')


@test('a head that comes too slowly gets 408, however it drips')
def _():
    with quick(0.02) as proxy:
        client = proxy.connect()
        client.send(b'GET http://127.0.0.1:1/ HTTP/1.1\r\n')
        with meanwhile(proxy, client):
            until = time.monotonic() + DEADLINE
            while client.silent(0.1):
                check(time.monotonic() < until, 'it may drip for ever')
                client.send(b'A: b\r\n')
            equal(client.read_message().status, 408, 'the status')


@test('an empty line behind a request is no head that comes too slowly')
def _():
    proxy = quick(0.01)
    with Origin(answer(reply(b'ok'))) as origin:
        client = proxy.connect()
        client.send(get(origin.url()) + b'\r\n')
        equal(client.read_message().body, b'ok', 'the answer')
        equal(client.read_all(), b'', 'behind it')
        proxy.wait_log('waited 300 seconds for the next request: closed')


@test('in a tunnel, the time for a head begins with the head')
def _():
    with Origin(answer(reply(b'x'))) as origin, quick(0.02) as proxy:
        client, slow = proxy.tunnel(origin), proxy.connect()
        slow.send(b'GET ')
        equal(Message(slow.read_all()).status, 408, 'the other')
        client.send(b'GET / HTTP/1.1\r\n')
        equal(proxy.fetch(origin).body, b'x', 'a page meanwhile')
        client.send(b'Host: x\r\n\r\n')
        equal(client.read_message().status, 200, 'the status')


@test('a server that never answers: 504')
def _():
    with Origin() as origin, quick(0.0015) as proxy:
        client = proxy.connect()
        client.send(get(origin.url()))
        with meanwhile(proxy, client):
            message = client.read_message()
            equal(message.status, 504, 'the status')
            like(message.body, rb"900 seconds for the server's answer", 'why')


@test('a server that does not go on in the TLS handshake: 502')
def _():
    with Origin() as origin, quick(0.05) as proxy:
        client = proxy.tunnel(origin)
        work = thread(client.start_tls, client_context(proxy.ca), 'localhost')
        server = origin.next()
        server.read_exact(50)           # our ClientHello
        with Origin(answer(reply(b'served'))) as other:
            equal(proxy.fetch(other).body, b'served', 'another client')
        work.result()
        client.send(get('/'))
        message = client.read_message()
        equal(message.status, 502, 'the status')
        like(message.body, rb"20 seconds .* the server's TLS handshake", 'why')


for scheme in 'http', 'socks5':
    @test('an upstream proxy by %s that does not answer: 502' % scheme)
    def _(scheme=scheme):
        with Origin() as above, quick(0.05, '-x', '%s://127.0.0.1:%d' % (
                scheme, above.port)) as proxy:
            client = proxy.tunnel('localhost:443')
            client.send(get('/'))
            message = client.read_message()
            equal(message.status, 502, 'the status')
            like(message.body, rb"20 seconds .* upstream proxy", 'why')


@test('a ClientHello that has no end')
def _():
    with quick(0.05) as proxy:
        client = begin(proxy, hello()[:50])
        with meanwhile(proxy, client):
            equal(client.read_all(), b'', 'what it gets')
        proxy.wait_log('waited 20 seconds for the rest of the ClientHello')


@test('a TLS handshake that stops half way')
def _():
    with quick(0.05) as proxy:
        client = begin(proxy, hello())
        client.wait(lambda: client.buf, 'our part')
        while not client.silent(0):
            client.take(len(client.buf))
        with meanwhile(proxy, client):
            equal(client.read_all(), b'', 'what it gets')
        proxy.wait_log("waited 20 seconds for the client's TLS handshake")


for filters in ((), ('--request', 'cat')):
    @test('an upload that stops half way, %s'
          % (' '.join(filters) or 'no filter'))
    def _(filters=filters):
        with Origin() as origin, quick(0.004, *filters) as proxy:
            client = proxy.connect()
            client.send(get(origin.url(), 'Content-Length: 10',
                            method='PUT') + b'half')
            with meanwhile(proxy, client):
                message = client.read_message()
                equal(message.status, 408, 'the status')
                like(message.body, b'300 seconds for more of a message', 'why')
            proxy.wait_log('page: waited 300 seconds for more of a message')


@test('an upload that its server does not take: 504')
def _():
    with Origin() as origin, quick(0.004) as proxy:
        client = proxy.connect()
        client.send(get(origin.url(), 'Content-Length: 99999999',
                        method='PUT'))
        sent = thread(client.pour, bytes(1 << 20), 90)
        equal(client.read_message().status, 504, 'the status')
        client.close()
        sent.result(DEADLINE)


@test('an answer that stops while a filter has all of it: 504')
def _():
    with Origin() as origin, quick(0.004, '--response', 'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'a page')[:-3])
        wait_for(proxy.children, 'its filter')
        client.shutdown_write()         # or it could take two hours
        message = client.read_message()
        equal(message.status, 504, 'the status')
        like(message.body, b'300 seconds for more of a message', 'why')
        equal(client.read_all(), b'', 'more')


EVENTS = b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'

for tls in True, False:
    for args in (), ('--response', 'sed -u s/a/a/'), ('--response', 'cat'):
        @test('an event stream in which nothing comes for 300 s goes on%s%s' % (
              ', TLS' * tls, ''.join(', ' + a for a in args)))
        def _(tls=tls, args=args):
            with Origin(tls=tls) as origin, quick(0.005, *args) as proxy:
                client = proxy.tls(origin) if tls else proxy.tunnel(origin)
                client.send(get('/'))
                server = origin.next()
                server.read_head()
                server.send(EVENTS + b'\r\ndata: 1\n')
                if args[1:] != ('cat',):
                    client.read_until(b'data: 1\n')
                with Origin() as slow:  # whose client is the clock
                    clock = proxy.connect()
                    clock.send(get(slow.url(), 'Content-Length: 9',
                                   method='PUT') + b'half')
                    clock.read_all()
                proxy.wait_log('waited 300 seconds for more of a message')
                server.send(b'data: 2\n')
                if args[1:] == ('cat',):
                    server.finish()
                client.read_until(b'data: 2\n')


@test('an answer that stops, and a client that has left: 300 s')
def _():
    with Origin() as origin, quick(0.004) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(EVENTS + b'\r\n')
        client.read_head()
        client.shutdown_write()
        proxy.wait_log('waited 300 seconds for more of a message')


@test('a server may speak first after half a second of silence')
def _():
    with Origin() as origin, quick(0.1) as proxy:
        client = proxy.tunnel(origin)
        origin.next().send(b'220 hello\r\n')
        equal(client.read_exact(11), b'220 hello\r\n', 'the greeting')


@test("a look-up that has no end: 502")
def _():
    with Origin(answer(reply(b'x'))) as origin, quick(0.05) as proxy:
        client = proxy.connect()
        client.send(get('http://127.1:%d/' % origin.port))
        equal(client.read_message().body, b'x', 'an odd name')
        helper, = [pid for pid in processes(proxy.pid)
                   if pid != proxy.pid]
        os.kill(helper, signal.SIGSTOP)
        try:
            stuck = proxy.connect()
            stuck.send(get('http://127.1:%d/' % origin.port))
            with meanwhile(proxy, stuck):
                message = stuck.read_message()
                equal(message.status, 502, 'the status')
                like(message.body, rb"20 seconds .* the server's address",
                     'why')
            wait_for(lambda: helper not in processes(proxy.pid),
                     'the end of the helper that is stuck')
            client = proxy.connect()
            client.send(get('http://127.1:%d/' % origin.port))
            equal(client.read_message().body, b'x', 'the next name')
        finally:
            with contextlib.suppress(OSError):
                os.kill(helper, signal.SIGKILL)


@test('a server that does not accept the connection: 502')
def _():
    with deaf_port() as port, quick(0.05) as proxy:
        client = proxy.connect()
        client.send(get('http://127.0.0.1:%d/' % port))
        with meanwhile(proxy, client):
            message = client.read_message()
            equal(message.status, 502, 'the status')
            like(message.body, rb"(20 seconds .* the server to accept|timed out)", 'why')


@test('an address that does not answer: the next is tried')
def _():
    try:
        origin = Origin(answer(reply(b'x')), host='::1', port=free_port())
    except OSError as error:
        raise Skip('no IPv6: %s' % error) from None
    with origin, deaf_port(origin.port), quick(0.05) as proxy:
        client = proxy.connect()
        client.send(get('http://localhost:%d/' % origin.port))
        equal(client.read_message().body, b'x', 'the page')
        proxy.wait_log("waited 4 seconds for the server's first address")


@test('a stream where nothing moves is closed')
def _():
    with Origin(lambda conn: conn.send(b'220 hello') and conn.read_all()) \
            as origin, quick(0.0005, '-m', 'reverse:http://' + origin.auth) \
            as proxy:
        def stream():               # the other waits are very short
            client = proxy.connect()
            client.read_all()
            return bytes(client.rx) == b'220 hello'
        wait_for(stream, 'a stream')
        proxy.wait_log('waited 7200 seconds for more of a stream: cut off')


@test('a client that does not close is closed')
def _():
    with Origin(answer(reply(b'x', 'Connection: close'))) as origin, \
            quick(0.1) as proxy:
        client = proxy.connect()
        client.send(get(origin.url()))
        client.read_message()
        equal(client.read_all(), b'', 'behind it')
        proxy.wait_log('waited 5 seconds for the client to close')


@test('a filter that does not heed SIGTERM is killed')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            quick(0.1, '--raw', '--timeout', '0', '--response',
                  'trap "" TERM; echo hello; sleep 1000; :') as proxy:
        client = proxy.connect()
        client.send(get(origin.url()))
        equal(client.read_exact(6), b'hello\n', 'what it prints')
        client.reset()
        wait_for(lambda: not proxy.children(), 'the end of the filter')
        proxy.wait_log('waited 2 seconds for a filter to heed SIGTERM')


@test('at the end, messages have a while to finish')
def _():
    with Origin() as origin, quick(0.1) as proxy:
        client = proxy.connect()
        client.send(get(origin.url()))
        origin.next().read_head()
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'the exit status')
        proxy.wait_log('waited 5 seconds for running messages to finish')


@test('a coprocess that keeps dying is started ever more rarely')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            quick(0.01, '--coprocess', '--response', 'false') as proxy:
        def rare():
            client = proxy.connect()
            client.send(get(origin.url()))
            client.read_all()
            return 'anew in 30 s' in proxy.log()
        wait_for(rare, 'the longest pause')
        pauses = re.findall('anew in (.*) s', proxy.log())
        equal(pauses[:4], ['0.1', '0.2', '0.4', '0.8'], 'the pauses')


@test("an answer without a clear end, and the client asks on: cut")
def _():
    with Origin() as origin, quick(0.05) as proxy:
        client = proxy.connect()
        client.send(get(origin.url()))
        server = origin.next()
        server.read_head()
        answer = (b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n'
                  b'Content-Length: 6\r\n\r\nhello')
        server.send(answer)
        equal(client.read_exact(len(answer)), answer, 'the answer')
        client.send(get('http://other.invalid/secret'))
        equal(client.read_all(), b'', 'what else came')
        equal(client.end, 'reset', 'the end')
        equal(server.read_all(), b'', 'at the server, the next request')


@test('--timeout 0 is for ever')
def _():
    go = scratch('go')
    with Origin(answer(reply(b'x'))) as origin, \
            quick(0.0002, '--timeout', '0', '--response',
                  'cat; until test -e %s; do sleep .01; done' % go) as proxy:
        def ask():                      # all other waits are short, too
            client = proxy.connect()
            client.send(get(origin.url()))
            while client.silent(0) and not proxy.children():
                pass
            return proxy.children() and client
        client = wait_for(ask, 'the filter')
        time.sleep(2 * min(SLOW, 4))    # 7200 seconds are over
        open(go, 'w').close()
        equal(client.read_message().body, b'x', 'the answer')


def sizes(request):
    """A small page, or one that is larger than all buffers."""
    return reply(b'small' if b'/small' in request.start else bytes(32 << 20))


def deaf(proxy, origin):
    """A client that reads nothing of a page whose filter so cannot go on."""
    client = proxy.connect()
    client.send(get(origin.url('/big')))
    wait_for(proxy.children, 'its filter')
    return client


@test('a client that reads nothing keeps a filter from the others')
def _():
    with Origin(answer(sizes)) as origin, \
            quick(0.02, '--jobs', '1', '--response', 'cat') as proxy:
        client, other = deaf(proxy, origin), proxy.connect()
        other.send(get(origin.url('/small')))
        served = threading.Event()

        def trickle():                  # it sends all the same
            with contextlib.suppress(ConnectionError):
                while not served.wait(0.1):
                    client.send(b'G')
        trickling = thread(trickle)
        equal(other.read_message().body, b'small', 'the page of another')
        served.set()
        proxy.wait_log('#1 waited 120 seconds for .* from others: cut off')
        trickling.result(DEADLINE)


@test('a client that reads nothing, while others want another filter')
def _():
    with Origin(answer(sizes)) as origin, \
            quick(0.01, '--jobs', '2', '--response', 'cat', '--match', 'other',
                  '--jobs', '1', '--timeout', '0', '--request',
                  'while :; do sleep 0.1; done') as proxy:
        deaf(proxy, origin)
        others = [proxy.connect() for _ in range(2)]
        for other in others:
            other.send(get(origin.url('/small/other')))
        equal(proxy.wait_log(r'#1 waited (\d+) seconds')[1], '300', 'how long')
        check(proxy.children(), 'the filter that others want')
        for other in others:
            other.reset()


def narrow(proxy):
    """A client for whom the kernel keeps little, so that the proxy must."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 500)
    sock.connect(('127.0.0.1', proxy.port))
    proxy.clients.append(Conn(sock))
    return proxy.clients[-1]


@test('clients that read nothing, behind filters that have ended')
def _():
    def page(request):
        return chunked(bytes(int(request.start.split()[1][1:])))
    with Origin(answer(page), name='127.0.0.1') as origin, \
            quick(0.004, '--jobs', '12', '--timeout', '0', '--response', 'cat'
                  ) as proxy:
        for size in range(120000, 600000, 40000):
            narrow(proxy).send(get(origin.url('/%d' % size)))
        wait_for(lambda: proxy.out().count('<< ') == 12, 'their answers')
        wait_for(lambda: proxy.descriptors() <= proxy.idle, 'their ends')


@test('a client that takes long for an answer that is all there')
def _():
    def page(request):
        return reply(bytes(1000000) if b'/big' in request.start else b'x')
    with Origin(answer(page), name='127.0.0.1') as origin, \
            quick(0.006, '--timeout', '0', '--response', 'cat') as proxy:
        slow, idle = narrow(proxy), proxy.connect()
        slow.send(get(origin.url('/big')))
        slow.read_head()                # so the filter has printed all
        idle.send(get(origin.url()))
        idle.read_message()
        while idle.silent(0.05):
            slow.more()
        while len(slow.buf) < 1000000 and slow.more():
            pass
        equal(len(slow.buf), 1000000, 'bytes')


@test('a stream through a filter, whose client pauses for 800 seconds')
def _():
    with Origin() as origin, quick(0.005, '--tcp-hosts', '.', '--response',
                                   'cat') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0hello')
        server = origin.next()
        server.read_exact(6)
        sent = thread(server.send, bytes(32 << 20))
        then = time.monotonic() + 4 * min(SLOW, 4)
        wait_for(lambda: time.monotonic() > then, 'time')
        equal(len(client.read_exact(32 << 20)), 32 << 20, 'what comes')
        sent.result(DEADLINE)


@test('each wait of the table has had its line in the log')
def _():
    if sys.argv[1:] or not proxies:
        raise Skip('not all tests were run')
    table = slurp(os.path.join(HERE, '..', 'mitmproxy.c')).decode()
    table = re.search(r'(?s) waits\[\] = {(.*?)\n};', table).group(1)
    names = re.findall(r'"(.*)"', table)
    check(len(names) > 10, 'the table', table)
    log = ''.join(proxy.log() for proxy in proxies)
    for name in names:
        if not re.search('keeps dying|for ever|the server to accept|'
                         'proxy-protocol', name):  # told in other words
            like(log, re.escape(name), 'the log')


run()
