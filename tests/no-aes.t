#!/usr/bin/env python3
"""Other processors (qemu's): one without AES, where ChaCha20 goes before it on
both sides, and one that has AES and nothing newer."""
from mitm import *

QEMU = 'qemu-x86_64', '-cpu'
CHACHA = '_CHACHA20_POLY1305_SHA256'


class Emulated(Proxy):
    def children(self):                 # their names are qemu's
        return []


def emulated(processor='max,-aes'):
    """The proxy, on such a processor."""
    if shutil.which(QEMU[0]) is None:
        raise Skip('there is no ' + QEMU[0])
    if sanitized() or slurp(PROGRAM)[18:20] != b'\x3e\0':   # ELF's e_machine
        raise Skip('the program is not for x86-64, or has a sanitizer')
    return Emulated(prefix=(*QEMU, processor))


def agreed(proxy, origin, *words):
    """The suite of openssl s_client's session with the proxy."""
    text = command('openssl', 's_client', '-connect', origin.auth, '-proxy',
                   '127.0.0.1:%d' % proxy.port, '-CAfile', proxy.ca,
                   '-servername', 'localhost', '-verify_return_error', *words,
                   status=0).decode()
    return re.search(r'(?m)^New, TLSv\S+ Cipher is (\S+)', text)[1]


@test('clients that have AES first get ChaCha20, those without it AES')
def _():
    with Origin(tls=True) as origin, emulated() as proxy:
        equal(agreed(proxy, origin, '-tls1_3'), 'TLS' + CHACHA, 'TLS 1.3')
        equal(agreed(proxy, origin, '-tls1_3', '-alpn', 'http/1.1'),
              'TLS' + CHACHA, 'TLS 1.3 with ALPN')
        equal(agreed(proxy, origin, '-tls1_3', '-ciphersuites',
                     'TLS_AES_256_GCM_SHA384'), 'TLS_AES_256_GCM_SHA384',
              'TLS 1.3 with AES alone')
        equal(agreed(proxy, origin, '-tls1_2'),
              'ECDHE-ECDSA-CHACHA20-POLY1305', 'TLS 1.2')
        equal(agreed(proxy, origin, '-tls1_2', '-cipher', 'AESGCM')[:14],
              'ECDHE-ECDSA-AE', 'TLS 1.2 with AES alone')


@test('servers are offered ChaCha20 first')
def _():
    with Origin() as origin, emulated() as proxy:
        client = proxy.tunnel(origin)
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            client_context(proxy.ca).wrap_bio(
                into, out, server_hostname='localhost').do_handshake()
        client.send(out.read())
        server = origin.next()
        server.read_exact(5 + 4 + 2 + 32)       # record, message, random
        server.read_exact(server.read_exact(1)[0] + 2)
        equal(server.read_exact(2), b'\x13\x03', 'the first suite')


@test('where there is AES, clients that have ChaCha20 first get that')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        if b' aes ' not in slurp('/proc/cpuinfo'):
            raise Skip('this processor has no AES either')
        for suites, want in (
                (('256_GCM_SHA384', '128_GCM_SHA256'), '128_GCM_SHA256'),
                (('256_GCM_SHA384', CHACHA, '128_GCM_SHA256'),
                 '128_GCM_SHA256'),
                ((CHACHA, '128_GCM_SHA256', '256_GCM_SHA384'), CHACHA),
                (('256_GCM_SHA384', CHACHA), '256_GCM_SHA384')):
            names = ['TLS' + s if s == CHACHA else 'TLS_AES_' + s
                     for s in (*suites, want)]
            equal(agreed(proxy, origin, '-tls1_3', '-ciphersuites',
                         ':'.join(names[:-1])), names[-1], ':'.join(suites))


@test('AES, without the instructions for two blocks and for SHA-256')
def _():
    body = random.Random(1).randbytes(300000)
    with Origin(answer(reply(body)), tls=True) as origin, \
            emulated('Westmere') as proxy:
        equal(agreed(proxy, origin, '-tls1_3'), 'TLS_AES_128_GCM_SHA256',
              'the suite')
        for _ in range(2):              # the second resumes
            equal(proxy.fetch(origin).body, body, 'the body')


run()
