#!/usr/bin/env python3
"""SSLKEYLOGFILE: the secrets of both sides, as Wireshark reads them."""
from mitm import *


@test('TLS 1.2 and 1.3, both sides')
def _():
    log = scratch('keys')
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with Origin(answer(reply(b'x')), tls=True, version=version) as origin, \
                Proxy(env={'SSLKEYLOGFILE': log}) as proxy:
            client = proxy.tls(origin, version=version)
            client.send(get('/'))
            client.read_message()
    lines = slurp(log).decode().split('\n')[:-1]
    names = [line.split()[0] for line in lines]
    equal(names.count('CLIENT_RANDOM'), 2, 'sessions of TLS 1.2')
    for name in ('CLIENT_HANDSHAKE_TRAFFIC_SECRET', 'CLIENT_TRAFFIC_SECRET_0',
                 'SERVER_HANDSHAKE_TRAFFIC_SECRET', 'SERVER_TRAFFIC_SECRET_0'):
        equal(names.count(name), 2, name)
    for line in lines:
        like(line, r'^[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]{64,96}$', 'a line')
    equal(os.stat(log).st_mode & 0o777, 0o600, 'its mode')


@test('a file that others could read is made private, and goes on')
def _():
    log = scratch('keys', 'old\n', mode=0o644)
    with Origin(answer(reply(b'x')), tls=True) as origin, \
            Proxy(env={'SSLKEYLOGFILE': log}) as proxy:
        proxy.fetch(origin)
    like(slurp(log).decode(), '^old\n.*_SECRET', 'the file')
    equal(os.stat(log).st_mode & 0o777, 0o600, 'its mode')


for what, words, env in (('-w', ('-w',), None),
                         ('SSLKEYLOGFILE', (), 'SSLKEYLOGFILE')):
    @test('%s follows our own link, and not one of another' % what)
    def _(words=words, env=env):
        if os.geteuid():
            raise Skip('only root can make a link of another')
        target, link = scratch('target', 'mine'), scratch('link')
        os.symlink(target, link)
        words = (*words, link) if words else ()
        more = {env: link} if env else {}
        with Proxy(*words, env=more):
            pass
        with open(target, 'w') as f:
            f.write('mine')
        os.lchown(link, 65534, 65534)
        status, _, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'),
                                   *words, env=dict(os.environ, **more))
        equal(status, 1, 'the exit status')
        like(err, 'cannot write %s.*: it is a link of another' % link, 'why')
        equal(slurp(target), b'mine', 'where it leads')


@test('a file that is another user\'s is told')
def _():
    if os.geteuid():
        raise Skip('only root can write a file of another')
    for args, env in (('-w', 'FILE'), {}), (('--log-json', 'FILE'), {}), \
            ((), {'SSLKEYLOGFILE': 'FILE'}):
        path = scratch('theirs', '', 0o600)
        shutil.chown(path, 'nobody')
        with Proxy(*(a.replace('FILE', path) for a in args),
                   env={k: path for k in env}) as proxy:
            proxy.wait_log("others may read %s: it is another user's" % path)


@test('a file that cannot be written: told at the start')
def _():
    status, _, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'),
                               env=dict(os.environ, SSLKEYLOGFILE='/no/dir/x'))
    equal(status, 1, 'the exit status')
    like(err, 'SSLKEYLOGFILE', 'the error')


run()
