#!/usr/bin/env python3
"""Clients that know no ECDSA, or not by the curve of our leaves, are shown a leaf
with an RSA key, made when the first of them comes."""
from mitm import *


def rsa_ca():
    """cert.pem with an RSA key."""
    path = scratch('cert.pem')
    openssl('req', '-x509', *rsa(65537), '-days', '30', '-subj', '/CN=RSA CA',
            '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-keyout',
            path + '.key', '-out', path)
    with open(path, 'ab') as f:
        f.write(slurp(path + '.key'))
    os.chmod(path, 0o600)
    return path


def client(proxy, origin, *words):
    """One GET by openssl s_client: what it printed."""
    text = command('openssl', 's_client', '-proxy',
                   '127.0.0.1:%d' % proxy.port, '-connect', origin.auth,
                   '-servername', 'localhost', '-CAfile', proxy.ca,
                   '-verify_return_error', '-ign_eof', *words,
                   stdin=get('/', 'Connection: close')).decode()
    like(text, r'(?m)^page', 'the page')
    return text


def page():
    return answer(reply(b'\npage\n', 'Connection: close'))


KNOW_NONE = (('-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'),
             ('-tls1_2', '-cipher', 'ECDHE-RSA-CHACHA20-POLY1305'),
             ('-tls1_2', '-sigalgs', 'RSA+SHA256'),
             ('-tls1_3', '-sigalgs', 'rsa_pss_rsae_sha256:RSA+SHA256'),
             ('-sigalgs', 'rsa_pss_rsae_sha256:RSA+SHA256'),
             ('-sigalgs', 'ECDSA+SHA384:rsa_pss_rsae_sha384'),
             ('-tls1_2', '-groups', 'P-384'), ('-tls1_2', '-groups', 'X25519'))
# What knows ECDSA well enough: TLS 1.2's signatures name no curve, and in TLS
# 1.3 these name the curve alone.
KNOW = (('-tls1_2', '-sigalgs', 'ECDSA+SHA384:RSA+SHA256'),
        ('-tls1_3', '-groups', 'P-384'), ('-groups', 'X25519:P-384'))
STATIC = '-tls1_2', '-cipher', 'AES128-GCM-SHA256'

for words in *KNOW_NONE, STATIC:
    @test('under an RSA CA: ' + ' '.join(words))
    def _(words=words):
        if words == STATIC and b'TLS-RSA-WITH-AES' not in slurp(PROGRAM):
            raise Skip('Mbed TLS 4 has no static RSA')
        with Origin(page(), tls=True) as origin, \
                Proxy(ca=rsa_ca()) as proxy:
            like(client(proxy, origin, *words), r'Server public key is 2048 ',
                 'the key')
            text = client(proxy, origin)
            like(text, r'Server public key is 256 ', "another client's key")
            like(client(proxy, origin, *words), r'Server public key is 2048 ',
                 'the key again')
            like(text, 'O ?= ?Origin Works', 'the subject')


@test('clients that know ECDSA are shown it')
def _():
    with Origin(page(), tls=True) as origin, Proxy() as proxy:
        for words in KNOW:
            like(client(proxy, origin, *words), r'Server public key is 256 ',
                 'the key for %s' % (words,))


@test('a ClientHello without extensions')
def _():
    if b'TLS-RSA-WITH-AES' not in slurp(PROGRAM):
        raise Skip('Mbed TLS 4 has no static RSA')
    hello = b'\3\3' + bytes(range(32)) + b'\0\0\2\0\x9c\1\0'
    with Origin(page(), tls=True) as origin, Proxy(ca=rsa_ca()) as proxy:
        conn = proxy.tunnel(origin)
        conn.send(b'\x16\3\1\0%c\1\0\0%c' % (len(hello) + 4, len(hello))
                  + hello)
        equal(bytes(conn.read_exact(6))[::5], b'\x16\2', 'a ServerHello')


@test('cipher suites by RSA alone, under an EC CA')
def _():
    with Origin(page(), tls=True) as origin, Proxy() as proxy:
        like(client(proxy, origin, *KNOW_NONE[0]),
             r'Server public key is 2048 ', 'the key')


@test('sessions are resumed')
def _():
    kept = scratch('sess')
    with Origin(page(), tls=True) as origin, Proxy(ca=rsa_ca()) as proxy:
        for words in KNOW_NONE[0], KNOW_NONE[3]:
            client(proxy, origin, *words, '-sess_out', kept)
            like(client(proxy, origin, *words, '-sess_in', kept),
                 '(?m)^Reused, ', 'it is resumed')


@test('the page about a server that there is none')
def _():
    with closed_port() as port, Proxy(ca=rsa_ca()) as proxy:
        text = command('openssl', 's_client', '-proxy', '127.0.0.1:%d'
                       % proxy.port, '-connect', 'localhost:%d' % port,
                       '-CAfile', proxy.ca, '-ign_eof', *KNOW_NONE[0],
                       stdin=get('/', 'Connection: close'))
        like(text, rb'HTTP/1.1 502 ', 'the page')


@test('many at once wait for one key, and nobody else waits')
def _():
    with Origin(page(), tls=True) as origin, \
            Proxy('-j', '2', ca=rsa_ca()) as proxy:
        work = [thread(client, proxy, origin, *KNOW_NONE[n % 8])
                for n in range(10)]
        for _ in range(10):
            equal(proxy.fetch(origin).status, 200, 'another client')
        for one in work:
            like(one.result(), r'Server public key is 2048 ', 'the key')


def makers(proxy):
    """The processes that make the key, or have made it."""
    return [pid for pid, (state, words) in processes(proxy.pid).items()
            if state != 'Z' and words.endswith(' --rsa-key ')]


@test('one that makes the key is killed: another does')
def _():
    with Origin(page(), tls=True) as origin, Proxy(ca=rsa_ca()) as proxy:
        work = [thread(client, proxy, origin, *words) for words in KNOW_NONE]
        killed, = wait_for(lambda: makers(proxy), 'it begins')
        os.kill(killed, signal.SIGKILL)
        for one in work:
            like(one.result(), r'Server public key is 2048 ', 'the key')
        left = makers(proxy)            # none, if the first had made it before
        check(len(left) <= 1, 'one for all', left)
        for pid in left:                # which nobody needs now
            os.kill(pid, signal.SIGKILL)
        like(client(proxy, origin, *KNOW_NONE[3]), r'Server public key is 2048',
             'the key')


@test('stopped while the key is made')
def _():
    with Origin(page(), tls=True) as origin, Proxy(ca=rsa_ca()) as proxy:
        child = subprocess.Popen(
            ['openssl', 's_client', '-proxy', '127.0.0.1:%d' % proxy.port,
             '-connect', origin.auth, *KNOW_NONE[0]],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_for(lambda: len(alive(proxy.pid)) > 1 or origin.conns, 'it begins')
        proxy.process.terminate()
        proxy.process.wait(DEADLINE)
        child.kill()
        child.communicate()


run()
