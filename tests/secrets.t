#!/usr/bin/env python3
"""What is the proxy's own stays with it: descriptors, keys, credentials; and
what strangers send reaches filters and pages as harmless text."""
import base64
from mitm import *

LOGIN = 'user:sekret99'
BASIC = base64.b64encode(LOGIN.encode()).decode()
ODD = bytes(range(1, 32)).translate(None, b'\r\n') + bytes(range(127, 256))


# --------------------------------------------------------- descriptors

COPROCESS = 'while read n x; do head -c $n >/dev/null; echo -; done'
for what, words, ends in (('filters', (), 'cat'),
                          ('coprocesses', ('--coprocess',), COPROCESS)):
    for workers in '1', '2':
        @test("%s have not what the proxy's parent left open, -j %s"
              % (what, workers))
        def _(words=words, ends=ends, workers=workers):
            seen, more = scratch('seen'), scratch('more')
            with Origin(answer(reply(b'x'))) as origin, \
                    Proxy('-j', workers, *words, '--response',
                          '(ls /proc/$$/fd >%s); %s' % (seen, ends),
                          prefix=('sh', '-c', 'exec 5<. 7</etc/passwd 9>>'
                                  + more + '; exec "$@"', 'sh'),
                          coprocesses=len(words)) as proxy:
                equal(proxy.fetch(origin).body, b'x', 'the page')
                equal(slurp(seen).split(), [b'0', b'1', b'2'], 'descriptors')


for words in (), ('--coprocess',):
    @test('%s have the limit of descriptors that it was given' % (
        'coprocesses' if words else 'filters'))
    def _(words=words):
        limit = 'ulimit -Sn >%s; ' % scratch('limit')
        name = limit.split('>')[1][:-2]
        with Origin(answer(reply(b'x'))) as origin, \
                Proxy(*words, '--response', limit + (
                    COPROCESS if words else 'cat'), prefix=(
                    'sh', '-c', 'ulimit -Sn 200; exec "$@"', 'sh'),
                      coprocesses=len(words)) as proxy:
            equal(proxy.fetch(origin).body, b'x', 'the page')
            equal(slurp(name), b'200\n', 'the limit')
            like(slurp('/proc/%d/limits' % proxy.pid).decode(),
                 r'Max open files +(?!200 )\d', "the proxy's own")


@test('filters have not the capabilities that it was given for the start')
def _():
    if os.geteuid():
        raise Skip('only root can give any')
    home = directory()
    be = (need('setpriv'), '--reuid=nobody', '--inh-caps=+net_admin',
          '--ambient-caps=+net_admin')
    like(command(*be, 'grep', 'CapEff', '/proc/self/status').decode(),
         '(?m):\t0*1000$', 'it would have one')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--response', '(cat; grep Cap /proc/$$/status)', prefix=be,
                  ca=home + '/cert.pem', trust=False) as proxy:
        for text in proxy.fetch(origin).body.decode(), \
                slurp('/proc/%d/status' % proxy.pid).decode():
            for kind in 'Eff', 'Prm', 'Amb':
                like(text, r'(?m)^Cap%s:\t0+$' % kind, 'capabilities')


# ---------------------------------------------------------------- keys

def memory(pid):
    """All that can be read of a process's memory."""
    data = []
    try:
        with open('/proc/%d/maps' % pid) as maps, \
                open('/proc/%d/mem' % pid, 'rb', 0) as mem:
            for line in maps:
                start, end = (int(n, 16) for n in line.split()[0].split('-'))
                if line.split()[1][0] == 'r':
                    with contextlib.suppress(OSError, OverflowError):
                        mem.seek(start)
                        data.append(mem.read(end - start))
    except PermissionError as error:
        raise Skip("no process's memory can be read: %s" % error) from None
    return b'\n'.join(data)


def secret_of(path):
    """The 32 bytes that are secret in a P-256 key."""
    der = openssl('ec', '-in', path, '-outform', 'DER')
    equal(der[5:7], b'\4\x20', 'what stands before the secret')
    return der[7:39]


def of_resolver(proxy):
    """What a process that looks up names has in its memory."""
    if sanitized():
        raise Skip("the sanitizer's memory is too big to be read")
    with Origin(answer(reply(b'x'))) as origin:
        client = proxy.connect()
        client.send(get('http://127.1:%d/' % origin.port))
        equal(client.read_message().body, b'x', 'the page')
    resolver, = [pid for pid in processes(proxy.pid) if pid != proxy.pid]
    text = memory(resolver)
    check(b'127.1' in text, 'its memory can be read')
    return text


def knows_not(proxy, text, path):
    key = secret_of(path)
    own = memory(proxy.pid)         # which end is first is Mbed TLS's to choose
    check(key in own or key[::-1] in own, 'the proxy knows its key')
    check(key not in text and key[::-1] not in text, 'the key is there')


@test("a process that looks up names does not know a new CA's key")
def _():
    with Proxy() as proxy:
        text = of_resolver(proxy)
        line = re.search(rb'PRIVATE KEY-----\n(.+)\n', slurp(proxy.ca))[1]
        for at in range(10, 52 - 20 + 1):       # where the secret is
            check(line[at:at + 20] not in text, "a piece of the PEM text, "
                  'from character %d' % at)
        knows_not(proxy, text, proxy.ca)


@test("a process that looks up names does not know --cert's key")
def _():
    cert = make_leaf('/CN=client')
    with Proxy('--cert', cert) as proxy:
        knows_not(proxy, of_resolver(proxy), cert)


@test('nor has it copies of traffic, and of what clients log in with')
def _():
    if sanitized():
        raise Skip("the sanitizer's memory is too big to be read")
    login = base64.b64encode(LOGIN.encode())
    with Origin(answer(lambda r: reply(r.head))) as origin, \
            Proxy('--proxyauth', LOGIN) as proxy:
        for host in 'localhost', '127.1':       # which needs a look-up
            client = proxy.connect()
            client.send(get('http://%s:%d/' % (host, origin.port), 'X: %s' % (
                'traffic' * 100), 'Proxy-Authorization: Basic ' + BASIC))
            equal(client.read_message().status, 200, 'the answer')
        resolver, = [pid for pid in processes(proxy.pid) if pid != proxy.pid]
        text = memory(resolver)
        check(b'127.1' in text, 'its memory can be read')
        for secret in login, LOGIN.encode(), b'traffictraffic':
            check(secret not in text, 'it is there', secret)
            check(secret in memory(proxy.pid) or secret == login,
                  'the proxy has it', secret)


@test("a process that makes the RSA key knows no CA's, and has no descriptor")
def _():
    if sanitized():
        raise Skip("the sanitizer's memory is too big to be read")
    with Origin(answer(reply(b'x', 'Connection: close')), tls=True) as origin, \
            Proxy() as proxy:
        command('openssl', 's_client', '-proxy', '127.0.0.1:%d' % proxy.port,
                '-connect', origin.auth, '-ign_eof', '-tls1_2', '-cipher',
                'ECDHE-RSA-AES128-GCM-SHA256', stdin=get('/'))
        maker, = [pid for pid in processes(proxy.pid) if pid != proxy.pid]
        equal(sorted(os.listdir('/proc/%d/fd' % maker)), ['0', '1', '2'],
              'its descriptors')
        text = memory(maker)
        check(b'--rsa-key' in text, 'its memory can be read')
        knows_not(proxy, text, proxy.ca)


# --------------------------------------------------------- credentials

def leaks(data):
    return [s for s in (BASIC.encode(), b'sekret99') if s in data]


for what, blank in ('a space', ' '), ('a tab', '\t'), ('both', ' \t '):
    @test('Proxy-Authorization with %s before the colon: nobody sees it' % what)
    def _(blank=blank):
        seen = scratch('seen', '')
        look = 'env >>%s; tee -a %s' % (seen, seen)
        valid = 'Proxy-Authorization: Basic ' + BASIC
        odd = valid.replace(':', blank + ':', 1)
        with Origin(answer(lambda r: reply(r.head))) as origin, \
                Proxy('--proxyauth', LOGIN, '-v', '--request', look,
                      '--response', look) as proxy:
            for fields in (valid, odd), (odd, valid), (odd,), (valid,):
                client = proxy.connect()
                client.send(get(origin.url(), *fields, 'X: y'))
                message = client.read_message()
                check(message.status in (200, 407), 'the status', message.raw)
            equal(message.status, 200, 'the status of a valid one alone')
            proxy.wait_out(' << ')
            for where, text in (('server', origin.rx),
                                ('filters', slurp(seen)),
                                ('log', slurp(proxy.err_name)),
                                ('output', slurp(proxy.out_name))):
                like(text, b'.', 'the ' + where)
                equal(leaks(text), [], 'the ' + where)
        with Proxy() as proxy:          # where nobody has asked for it
            client = proxy.connect()
            client.send(get(origin.url(), odd))
            client.read_message()
            unlike(origin.rx, b'(?i)proxy-auth', 'the server')


@test('-w holds no conversation with the proxy above')
def _():
    def above(conn):
        conn.read_head()
        conn.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
        answer(reply(b'page'))(conn)
    name = scratch('capture')
    with Origin(above) as upper, Proxy('-w', name, '-x', 'http://%s@%s' % (
            LOGIN, upper.auth)) as proxy:
        client = proxy.tunnel('origin.test:80')
        client.send(get('/path'))
        equal(client.read_message().body, b'page', 'the page')
        like(bytes(upper.rx), BASIC.encode(), 'what the proxy above got')
    like(slurp(name), rb'(?s)GET /path HTTP/1.1.*page', 'the capture')
    unlike(slurp(name), b'established|CONNECT ', 'the capture')
    equal(leaks(slurp(name)), [], 'the capture')


# ----------------------------------------------- strangers' odd bytes

@test('MITM_URL is ASCII without blanks')
def _():
    seen = scratch('seen')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--request', 'printenv MITM_URL >%s; cat' % seen) as proxy:
        client = proxy.tunnel(origin)
        client.send(b'GET /%s HTTP/1.1\r\nHost: x\r\n\r\n' % ODD)
        equal(client.read_message().body, b'x', 'the page')
        equal(slurp(seen).decode('latin-1'), origin.url('/') + ''.join(
            '%%%02X' % c for c in ODD) + '\n', 'MITM_URL')


@test('45,000 control bytes in a target: the filter runs')
def _():
    with Origin(answer(lambda r: reply(r.head[-20:]))) as origin, \
            Proxy('--request', 'sed s/Host:/Hose:/') as proxy:
        client = proxy.tunnel(origin)
        client.send(b'GET /%s HTTP/1.1\r\nHost: x\r\n\r\n' % (b'\1' * 45000))
        message = client.read_message()
        equal(message.status, 200, 'the status')
        like(message.body, b'Hose: x', 'what the server got')


EVIL = b'no \x1b[31m\x1b]0;mine\x07\x9b31m\xff'


def harmless(page):
    equal(page.status, 502, 'the status')
    like(page.body, rb'no \\x1b\[31m', 'the page tells')
    unlike(page.raw, rb'[^\n\r -~]', 'the page')


@test('odd bytes of a proxy above, in an error page')
def _():
    def above(conn):
        conn.read_head()
        conn.send(b'HTTP/1.1 403 ' + EVIL + b'\r\nContent-Length: 0\r\n\r\n')
    with Origin(above) as upper, \
            Proxy('-x', 'http://' + upper.auth) as proxy:
        client = proxy.tls('localhost:443')
        client.send(get('/'))
        harmless(client.read_message())


@test('odd bytes of a coprocess, in an error page')
def _():
    text = scratch('reason', b'!' + EVIL + b'\n')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '--response', 'while read n x; do head -c $n '
                  '>/dev/null; cat %s; done' % text, coprocesses=1) as proxy:
        harmless(proxy.fetch(origin))


run()
