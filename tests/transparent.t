#!/usr/bin/env python3
"""-m transparent: a router's packet filter sends us what was for others."""
import functools, pwd

import ws
from netns import *

# A filter that notes what it is told.
SEEN = ('echo "${MITM_CLIENT%%:*} $MITM_HOST $MITM_PORT $MITM_SCHEME '
        '$MITM_URL" >> %s; cat')
CLIENT = {4: '10.77.1.2', 6: '[fd77:1::2]'}
WAYS = [(way, family) for way in ('redirect', 'tproxy') for family in (4, 6)]


@functools.lru_cache(None)
def network():
    return Net()


@contextlib.contextmanager
def routed(way, family, behave, *args, tls=False, cert=None, port=0, **more):
    """A router whose proxy gets the client's packets that way: the origin
    behind it, the proxy, and a function that connects to the origin."""
    net = network()
    with net.origin(behave, family, tls=tls, cert=cert, port=port) as origin, \
            net.proxy(*args, **more) as proxy:
        getattr(net, way)(proxy.port)
        yield origin, proxy, lambda where='client': net.connect(
            proxy, net.server[family], origin.port, where)


def echo(conn):
    """A server of streams: it greets, and then sends back what it gets."""
    conn.send(b'ready\n')
    while conn.more():
        conn.send(conn.take(len(conn.buf)))


for way, family in WAYS:
    label = '%s, IPv%d: ' % (way.upper(), family)

    @test(label + 'plain HTTP; the name is that of Host')
    def _(way=way, family=family):
        seen = scratch('seen', '')
        with routed(way, family, answer(lambda r: reply(r.head)),
                    '--explain', '--match', r'~d ^origin\.test$', '--request',
                    SEEN % seen) as (origin, proxy, connect):
            client = connect()
            host = 'origin.test:%d' % origin.port
            for request in (get('/a?b', host=host), get('/', host='other.test'),
                            b'GET /old HTTP/1.0\r\n\r\n'):
                client.send(request)
                equal(client.read_message().body, request, 'the request')
            equal(slurp(seen).decode(), '%s origin.test %d http http://%s/a?b\n'
                  % (CLIENT[family], origin.port, host), 'what the filter saw')
            proxy.wait_log('has connected on its way to %s: the packet filter '
                           'has sent it here\n' % re.escape(
                               network().server[family].strip('[]')))

    @test(label + 'WebSocket messages')
    def _(way=way, family=family):
        for tls in (False, True):
            with routed(way, family, ws.echo, '--match', '~w', '--request',
                        'sed s/cloud/clown/', tls=tls) as (_, proxy, connect):
                client = connect()
                if tls:
                    client.start_tls(client_context(proxy.ca), 'origin.test')
                ws.upgrade(client)
                client.send(ws.frame(1, b'a cloud', b'mask'))
                equal(ws.read_frame(client), (1, b'a clown'), 'an echo')
                client.send(ws.frame(8, b'', b'mask'))
                equal(ws.read_frame(client), (8, b''), 'the CLOSE')

    @test(label + 'HTTPS; the name is that of SNI')
    def _(way=way, family=family):
        seen = scratch('seen', '')
        with routed(way, family, answer(lambda r: reply(r.head)),
                    '--match', r'~d ^origin\.test$', '--request',
                    SEEN % seen, tls=True, port=443) as (
                        origin, proxy, connect):
            client = connect().start_tls(client_context(proxy.ca),
                                         'origin.test')
            for request in get('/a', host='origin.test'), get('/b'):
                client.send(request)
                equal(client.read_message().body, request, 'the request')
            equal(slurp(seen).decode(), ''.join(
                '%s origin.test 443 https https://origin.test/%s\n'
                % (CLIENT[family], path) for path in 'ab'), 'what it saw')

    @test(label + 'the certificate must be for that name, or the address')
    def _(way=way, family=family):
        address = Net.server[family]
        cert = make_leaf('/CN=x', names='DNS:origin.test,IP:' + address)
        with routed(way, family, answer(reply(b'hello')), tls=True,
                    cert=cert) as (origin, proxy, connect):
            for name, status in (('origin.test', 200), ('other.test', 502),
                                 (address, 200)):
                client = connect().start_tls(client_context(proxy.ca), name)
                client.send(get('/', host=name))
                equal(client.read_message().status, status, name)

    @test(label + 'a server that speaks first, and a client of binary data')
    def _(way=way, family=family):
        with routed(way, family, echo, '-R', 'sed -u s/y$/Y/') as (
                origin, proxy, connect):
            quiet, hasty = connect(), connect()
            equal(quiet.read_until(b'\n'), b'readY\n', 'the greeting')
            for client, data in (quiet, b'y\n'), (hasty, b'\0\xffy\n'):
                client.send(data)
                client.shutdown_write()
            equal(quiet.read_all(), b'Y\n', 'the first echo')
            equal(hasty.read_all(), b'readY\n\0\xffY\n', 'the second')

    @test(label + "the proxy's own port is not asked for itself")
    def _(way=way, family=family):
        with routed(way, family, answer(reply(b'x'))) as (
                origin, proxy, connect):
            for rules in True, False:
                before = len(proxy.log())
                client = network().connect(proxy, Net.router[family],
                                           proxy.port)
                client.send(get('/', host='a.test'))
                client.cut()
                like(client.read_all(), rb'HTTP/1.1 502 .*\r\n(.*\n)*.*this '
                     rb'proxy itself', 'the page')
                wait_for(lambda: '\n' in proxy.log()[before:], 'its line')
                wait_for(proxy.settled, 'the end of all connections')
                equal(proxy.log()[before:].count('\n'), 1, proxy.log())
                network().nft('')
            equal(origin.conns, [], 'connections of the server')

for family, workers in (4, 1), (6, 1), (4, 3):
    @test("IPv%d: the router's own connections, and so the proxy's, come to "
          'the proxy of %d workers' % (family, workers))
    def _(family=family, workers=workers):
        itself = 'comes back to us|that is this proxy itself'
        with routed('redirect_own', family, answer(reply(b'x')), '-v', '-j',
                    str(workers)) as (origin, proxy, connect):
            for count in range(1, 10):
                client = connect('router')
                if count != 3:          # that one is silent
                    client.send(get('/', host='a.test'))
                    equal(client.read_message().status, 502, 'the answer')
                else:
                    equal(client.read_all(), b'', 'the answer')
                wait_for(lambda: len(re.findall(itself, proxy.log())) == count
                         # each comes back once; each worker has its own log
                         and proxy.log().count('connected to') == count,
                         'two lines of log')
            equal(origin.conns, [], 'connections of the server')


def root():
    """Skip without all the users that root can become."""
    if os.geteuid() or not slurp('/proc/self/uid_map').strip().endswith(b'5'):
        raise Skip('only root can become another user')


@test("--user: all but that user's own connections come to the proxy")
def _():
    root()
    user = pwd.getpwnam('nobody')
    with routed('redirect_own', 4, answer(lambda r: reply(r.head)), '--user',
                'nobody', '-R', '(cat; id -un; id -Gn)', host='127.0.0.1') as (
                    origin, proxy, connect):
        network().redirect_own(proxy.port, 'meta skuid != nobody')
        client = connect('router')
        client.send(get('/'))
        like(client.read_message().body, rb'^GET / HTTP/1.1\r\n(.+\r\n)*\r\n'
             rb'nobody\nnogroup\n$', "the filter's user and groups")
        status = slurp('/proc/%d/status' % proxy.pid).decode()
        for line in ('Uid:' + 4 * ('\t%d' % user.pw_uid),
                     'Gid:' + 4 * ('\t%d' % user.pw_gid),
                     'CapPrm:\t' + 16 * '0', 'CapEff:\t' + 16 * '0',
                     'CapInh:\t' + 16 * '0', 'CapAmb:\t' + 16 * '0'):
            check(line + '\n' in status, 'no ' + line, status)
        like(status, r'Groups:\t%d *\n' % user.pw_gid, 'its groups')


@test("a client is not taken for the proxy because of a port that both use")
def _():
    root()
    net = network()
    with net.origin(answer(reply(b'other'))) as other, \
            routed('redirect', 4, answer(reply(b'x')), '--user',
                   'nobody') as (origin, proxy, connect):
        ports = '/proc/sys/net/ipv4/ip_local_port_range'
        with net.inside('router'):
            usual = slurp(ports)
            with open(ports, 'w') as f:
                f.write('1999 1999')
        far = connect()
        far.send(get('/'))
        equal(far.read_message().body, b'x', 'from one server')
        net.redirect_own(proxy.port, 'meta skuid != nobody')
        near = net.connect(proxy, net.server[4], other.port, 'router')
        with net.inside('router'), open(ports, 'wb') as f:
            f.write(usual)
        near.send(get('/'))
        equal(near.read_message().body, b'other', 'from the other')
        equal(origin.conns[0].sock.getpeername(), near.sock.getsockname(),
              'the address of the two')


@test('--user keeps what TPROXY needs')
def _():
    root()
    with routed('tproxy', 4, answer(reply(b'x')), '--user', 'nobody') as (
            origin, proxy, connect):
        client = connect()
        client.send(get('/'))
        equal(client.read_message().body, b'x', 'the answer')


@test('--user that is not there, or not ours to become')
def _():
    network()
    for user, says in ('no-such-user', 'no user no-such-user'), ('nobody', ''):
        before = [] if says else without()
        done = subprocess.run([*before, PROGRAM, '-p', '0', '-c',
                               scratch('cert.pem'), '--user', user],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=DEADLINE)
        equal(done.returncode, 1, 'the exit status')
        like(done.stderr.decode(), says or r'cannot become the user nobody: '
             r'Operation not permitted \(only root can\)\n$', 'it says')


def without(*words):
    """A command that takes all capabilities from another but for these."""
    return [need('setpriv'), '--bounding-set',
            ','.join(['-all', *words]), '--inh-caps', '-all']


# Numbers: linux/capability.h
for words, mask, way in (((), 0, 'redirect'), (('+net_admin',), 1 << 12,
                         'tproxy'), (('+net_raw',), 1 << 13, 'tproxy')):
    @test('%s suffices for %s' % (' '.join(words) or 'no capability',
                                  way.upper()))
    def _(words=words, mask=mask, way=way):
        for family in 4, 6:
            with routed(way, family, answer(reply(b'x')),
                        prefix=without(*words)) as (origin, proxy, connect):
                like(slurp('/proc/%d/status' % proxy.pid).decode(),
                     'CapEff:\t%016x\n' % mask, 'what it has')
                client = connect()
                client.send(get('/'))
                equal(client.read_message().body, b'x', 'the answer')


@test('without any, it says that TPROXY will not do')
def _():
    network()
    with routed('redirect', 4, None, '-v', prefix=without()) as (_, proxy, _):
        proxy.wait_log('REDIRECT will do, but not TPROXY: Operation not '
                       'permitted\n')


for family in 4, 6:
    @test('IPv%d: routes alone, without a packet filter' % family)
    def _(family=family):
        with Net() as net, net.origin(answer(lambda r: reply(r.head)),
                                      family) as origin, \
                net.proxy('-p', str(origin.port)) as proxy:
            net.keep('iif', 'client')
            client = net.connect(proxy, net.server[family], origin.port)
            client.send(get('/x'))
            equal(client.read_message().body, get('/x'), 'the request')


@test('-w: HTTPS on port 443 is HTTP for tshark, as it is')
def _():
    need('tshark')
    name = scratch('capture')
    with routed('redirect', 6, answer(reply(b'x')), '-w', name, tls=True,
                port=443) as (origin, proxy, connect):
        client = connect()
        port = str(client.sock.getsockname()[1])
        client.start_tls(client_context(proxy.ca), 'origin.test')
        client.send(get('/x'))
        client.read_message()
    text = command('tshark', '-r', name, '-Y', 'http.request', '-T', 'fields',
                   '-e', 'ipv6.src', '-e', 'tcp.srcport', '-e', 'ipv6.dst',
                   '-e', 'tcp.dstport', '-e', 'http.request.uri')
    line, = (s for s in text.decode().splitlines() if '\t' in s)
    equal(line.split('\t'),
          [CLIENT[6][1:-1], port, Net.server[6], '443', '/x'], 'the request')


@test('http://mitm.it/ is here, too')
def _():
    with routed('redirect', 4, None) as (origin, proxy, connect):
        client = connect()
        client.send(get('/mitmproxy.crt', host='mitm.it'))
        like(client.read_message().body, rb'BEGIN CERTIFICATE', 'the page')


@test('a request filter sends a request elsewhere, and later ones on')
def _():
    with network().origin(answer(reply(b'there'))) as other, \
            routed('redirect', 4, answer(reply(b'here')), '--request',
                   'sed s,GET.*elsewhere,GET\\ http://%s:%d/,' % (
                       Net.server[4], other.port)) as (_, proxy, connect):
        client = connect()
        for path, want in (('/1', b'here'), ('/elsewhere', b'there'),
                           ('/2', b'here')):
            client.send(get(path))
            equal(client.read_message().body, want, path)


@test('through an upstream proxy')
def _():
    net = network()
    asked = []

    def tunnel(conn):
        asked.append(conn.read_head())
        conn.send(b'HTTP/1.1 200 OK\r\n\r\n')
        conn.send(reply(conn.read_head()))

    with net.origin(tunnel) as upstream, \
            routed('redirect', 4, None, '-x', 'http://%s:%d' % (
                net.server[4], upstream.port)) as (origin, proxy, connect):
        client = connect()
        client.send(get('/x', host='other.test'))
        equal(client.read_message().body, get('/x', host='other.test'),
              'what the server was asked')
        like(asked[0], rb'^CONNECT %s:%d ' % (net.server[4].encode(),
                                              origin.port), 'the proxy')


run()
