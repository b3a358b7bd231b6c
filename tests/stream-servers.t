#!/usr/bin/env python3
"""Protocols that are not HTTP, with real servers and clients: Redis, MQTT and
SSH; who speaks first, how each way ends, and ALPN that is not HTTP's."""
import getpass
from mitm import *

PERL = "perl -e '$|=1; while (sysread STDIN, $_, 65536) { %s; print }'"


def reverse(port, tls=False):
    return '-m', 'reverse:http%s://localhost:%d' % ('s' if tls else '', port)


def chained(proxy, *words, status=0):
    """A command whose connections go by SOCKS, without its knowing it."""
    conf = scratch('proxychains.conf', 'strict_chain\n[ProxyList]\n'
                   'socks5 127.0.0.1 %d\n' % proxy.port)
    return command(need('proxychains4'), '-q', '-f', conf, *words,
                   status=status)


# ---------------------------------------------------------------- Redis

@contextlib.contextmanager
def redis():
    """redis-server: (its port, its port for TLS)."""
    program, leaf = need('redis-server'), make_leaf()
    need('redis-cli')
    ports = free_port(), free_port()
    with running(program, '--bind', '127.0.0.1', '--port', str(ports[0]),
                 '--tls-port', str(ports[1]), '--tls-cert-file', leaf,
                 '--tls-key-file', leaf, '--tls-ca-cert-file', make_ca(),
                 '--tls-auth-clients', 'no', '--save', '', '--dir',
                 scratch('redis').rpartition('/')[0]) as child:
        for port in ports:
            listens(port, child)
        yield ports


def redis_cli(port, *words, ca=None, run=command):
    tls = ('--tls', '--cacert', ca, '--sni', 'localhost') if ca else ()
    return run('redis-cli', '-h', '127.0.0.1', '-p', str(port), *tls, *words,
               status=0)


@test('Redis in reverse mode: filters both ways, plain and TLS')
def _():
    with redis() as ports:
        for tls in False, True:
            with Proxy(*reverse(ports[tls], tls),
                       '--request', 'sed -u s/hello/jello/',
                       '--response', 'sed -u s/world/wordl/') as proxy:
                ca = proxy.ca if tls else None
                equal(redis_cli(proxy.port, 'SET', 'k', 'hello world', ca=ca),
                      b'OK\n', 'SET')
                equal(redis_cli(proxy.port, 'GET', 'k', ca=ca),
                      b'jello wordl\n', 'GET')
            equal(redis_cli(ports[0], 'GET', 'k'), b'jello world\n',
                  'what the server has')


@test('Redis by SOCKS, plain and TLS')
def _():
    with redis() as ports, Proxy('--response', 'sed -u s/PONG/PING/') as proxy:
        for tls in False, True:
            equal(redis_cli(ports[tls], 'PING', ca=proxy.ca if tls else None,
                            run=lambda *a, **k: chained(proxy, *a, **k)),
                  b'PING\n', 'TLS' if tls else 'plain')


@test('redis-benchmark: twenty connections with pipelines')
def _():
    program = need('redis-benchmark')
    with redis() as ports:
        for tls in False, True:
            with Proxy(*reverse(ports[tls], tls)) as proxy:
                more = ('--tls', '--cacert', proxy.ca, '--sni', 'localhost') \
                    if tls else ()
                text = command(program, '-h', '127.0.0.1', '-p',
                               str(proxy.port), '-q', '-n', '4000', '-c', '20',
                               '-P', '10', '-d', '100', '-t', 'set,get',
                               *more, status=0)
                equal(len(re.findall(rb'requests per second', text)), 2,
                      'results: ' + text.decode())
        equal(redis_cli(ports[0], 'STRLEN', 'key:__rand_int__'), b'100\n',
              'the value')


# ----------------------------------------------------------------- MQTT

@contextlib.contextmanager
def mosquitto():
    """mosquitto: (its port, its port for TLS)."""
    program, leaf = need('mosquitto'), make_leaf()
    need('mosquitto_sub'), need('mosquitto_pub')
    ports = free_port(), free_port()
    conf = scratch('mosquitto.conf', '''
user %s
allow_anonymous true
persistence false
listener %d 127.0.0.1
listener %d 127.0.0.1
certfile %s
keyfile %s
''' % (getpass.getuser(), *ports, leaf, leaf))
    with running(program, '-c', conf) as child:
        for port in ports:
            listens(port, child)
        yield ports


@test('MQTT in reverse mode: a subscriber, and what is published to it')
def _():
    with mosquitto() as ports:
        for tls in False, True:
            with Proxy(*reverse(ports[tls], tls),
                       '--request', PERL % 's/hello/jello/g',
                       '--response', PERL % 's/world/wordl/g') as proxy:
                at = ('-h', 'localhost', '-p', str(proxy.port), '-t',
                      'a/topic', '-q', '1',
                      *(('--cafile', proxy.ca) if tls else ()))
                with running(need('stdbuf'), '-oL', 'mosquitto_sub', '-d', *at,
                             '-C', '2', ready=r'Subscribed \(mid') as child:
                    for text in 'hello world', 'x' * 3000:
                        command('mosquitto_pub', *at, '-m', text, status=0)
                    equal(child.wait(DEADLINE), 0, 'the exit status')
                    lines = slurp(child.output).decode().splitlines()
                    equal([t for t in lines if not t.startswith(
                        ('Client ', 'Subscribed'))],
                        ['jello wordl', 'x' * 3000], 'what it printed')


@test('MQTT: a certificate that is not the one asked for is refused')
def _():
    with mosquitto() as ports, Proxy(*reverse(ports[1], True)) as proxy:
        at = '-h', 'localhost', '-p', str(proxy.port), '-t', 'a', '-m', 'x'
        command('mosquitto_pub', '--cafile', proxy.ca, *at, status=0)
        like(command('mosquitto_pub', '--cafile', make_ca(), *at),
             b'(?i)error', 'with another CA')
        proxy.wait_log('does not know our CA')


@test('MQTT by SOCKS: curl and mosquitto_pub')
def _():
    with mosquitto() as ports, \
            Proxy('--request', PERL % 's/hello/jello/g') as proxy:
        chained(proxy, 'mosquitto_pub', '-h', '127.0.0.1', '-p',
                str(ports[1]), '--cafile', proxy.ca, '-t', 'a', '-m', 'hello',
                '-r')
        if b'mqtt' in command(need('curl'), '--version'):
            command('curl', '-sS', '--noproxy', '', '--socks5-hostname',
                    '127.0.0.1:%d' % proxy.port, '-d', 'hello curl',
                    'mqtt://localhost:%d/b' % ports[0], status=0)
        equal(command('mosquitto_sub', '-p', str(ports[0]), '-t', 'a', '-C',
                      '1', '-W', '20', status=0), b'jello\n', 'what is kept')


# ------------------------------------------------------------------ SSH

@test('SSH by nc, CONNECT and SOCKS: the host key is the right one')
def _():
    program, key, port = need('dropbear'), scratch('key'), free_port()
    maker, nc = need('dropbearkey'), need('nc')
    need('ssh')
    if b'-X' not in command(nc, '-h'):
        raise Skip('nc is not that of OpenBSD')
    text = command(maker, '-t', 'ecdsa', '-f', key, status=0)
    known = scratch('known', b'[127.0.0.1]:%d ' % port + re.search(
        rb'(?m)^ecdsa-\S+ \S+', text)[0] + b'\n')
    with running(program, '-F', '-E', '-s', '-r', key, '-P', scratch('pid'),
                 '-p', '127.0.0.1:%d' % port) as child, \
            Proxy('--request', 'cat', '--response', 'cat') as proxy:
        listens(port, child)
        for way in '5', 'connect':
            text = command(
                'ssh', '-F', 'none', '-o', 'BatchMode=yes', '-o',
                'StrictHostKeyChecking=yes', '-o', 'UserKnownHostsFile='
                + known, '-o', 'PreferredAuthentications=publickey', '-o',
                'IdentityFile=none', '-o', 'ProxyCommand=%s -X %s -x '
                '127.0.0.1:%d %%h %%p' % (nc, way, proxy.port), '-p',
                str(port), 'nobody@127.0.0.1', 'true', status=255)
            like(text, rb'Permission denied \(publickey', 'as far as it goes')


# ----------------------------------------------------------------- ALPN

for version in '-tls1_2', '-tls1_3':
    @test('openssl s_server -alpn x-foo, ' + version)
    def _(version=version):
        leaf, port = make_leaf(), free_port()
        with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                     '-cert', leaf, '-key', leaf, '-alpn', 'x-foo', '-rev',
                     version, ready='ACCEPT'), \
                Proxy('--response', 'sed -u s/olleh/hallo/') as proxy:
            for offer, line in (('x-bar,x-foo', 'ALPN protocol: x-foo'),
                                (None, 'No ALPN negotiated')):
                text = command(
                    'openssl', 's_client', '-proxy', '127.0.0.1:%d'
                    % proxy.port, '-connect', 'localhost:%d' % port,
                    '-CAfile', proxy.ca, '-verify_return_error', version,
                    '-ign_eof', *(('-alpn', offer) if offer else ()),
                    stdin=b'hello\nCLOSE\n', status=0).decode()
                like(text, line, 'what the client says')
                like(text, r'(?m)^hallo$', 'the echo')


# ----------------------------------------------------------------- ends

def conn_of(proxy, origin):
    return proxy.tls(origin) if origin.tls else proxy.tunnel(origin)


for tls in False, True:
    for filters in (), ('--request', 'sed -u s/x/y/', '--response',
                        'sed -u s/x/y/'):
        what = '%s, %s' % ('TLS' if tls else 'plain',
                           'filters' if filters else 'no filter')

        @test('the client ends first, the server says more: ' + what)
        def _(tls=tls, filters=filters):
            def behave(conn):
                got = conn.read_all()
                ends.append(conn.end)
                conn.send(got[::-1] + b'more\n')
            ends = []
            with Origin(behave, tls=tls) as origin, Proxy(*filters) as proxy:
                client = conn_of(proxy, origin)
                client.send(b'\0hello x\n' * 1000)
                client.shutdown_write()
                want = b'\0hello x\n' * 1000
                if filters:
                    want = want.replace(b'x', b'y')
                equal(client.read_all(), want[::-1] + b'more\n', 'the answer')
                equal(ends + [client.end], ['eof', 'eof'], 'the ends')

        @test('the server speaks and ends first, the client says more: '
              + what)
        def _(tls=tls, filters=filters):
            def behave(conn):
                conn.send(b'220 x\n')
                conn.shutdown_write()
                box.put((conn.read_all(), conn.end))
            box = queue.Queue()
            with Origin(behave, tls=tls) as origin, Proxy(*filters) as proxy:
                client = conn_of(proxy, origin)
                letter = b'y' if filters else b'x'
                equal(client.read_all(), b'220 %s\n' % letter, 'the greeting')
                equal(client.end, 'eof', "the server's end")
                client.send(b'still x\n')
                client.shutdown_write()
                equal(box.get(timeout=DEADLINE),
                      (b'still %s\n' % letter, 'eof'), 'what the server gets')


run()
