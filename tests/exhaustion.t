#!/usr/bin/env python3
"""Descriptors, processes and disks run out: who is served is served on, who
comes waits or is told, and when there is enough again all is as before."""
import shutil, tempfile, unittest.mock

import mitm
from mitm import *


def starved(limit, number, *args, prefix=(), **more):
    """A proxy that may have just so many of a resource."""
    return Proxy(*args, prefix=('prlimit', '--%s=%d:%d' % (
        limit, number, number), *prefix), **more)


@contextlib.contextmanager
def full_disk():
    """A folder on a file system where there is no room for a byte more."""
    folder = scratch('disk')
    os.mkdir(folder)
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16k', 'none',
                       folder], stderr=subprocess.DEVNULL).returncode:
        raise Skip('no tmpfs can be mounted')
    try:
        with contextlib.suppress(OSError), \
                open(folder + '/ballast', 'wb', 0) as f:
            while True:
                f.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(['umount', folder], check=True)


@test('out of descriptors: accepting pauses, and goes on')
def _():
    with Origin(answer(reply(b'hello'))) as origin, \
            starved('nofile', 128) as proxy:
        first = proxy.tunnel(origin)
        first.send(get('/'))
        equal(first.read_message().body, b'hello', 'before')
        crowd = [proxy.connect() for _ in range(150)]
        for client in crowd:
            client.send(get(origin.auth, host=origin.auth, method='CONNECT'))
        proxy.wait_log('clients are too many for 128 descriptors')
        first.send(get('/'))
        equal(first.read_message().body, b'hello', 'meanwhile')
        for number, client in enumerate(crowd):
            like(client.read_head(), rb' 200 ', 'the tunnel')
            client.send(get('/'))
            equal(client.read_message().body, b'hello', 'the crowd')
            client.close()


@contextlib.contextmanager
def crowded(uid, count):
    """A user who has so many processes."""
    sleeps = [subprocess.Popen(['sleep', '1000'], user=uid)
              for _ in range(count)]
    try:
        yield
    finally:
        for child in sleeps:
            child.kill()
            child.wait()


@test('out of processes: a page says so, and then all is well again')
def _():
    if os.geteuid() != 0:
        raise Skip('only root can become a user who has no processes')
    uid = 0x40000000 + os.getpid()      # nobody else's
    folder = tempfile.mkdtemp(dir='/tmp')
    program = shutil.copy(mitm.PROGRAM, folder)
    os.chown(folder, uid, uid)
    with Origin(answer(reply(b'hello'))) as origin, \
            unittest.mock.patch('mitm.PROGRAM', program), \
            starved('nproc', 8, '--match', '~u /sed',
                    '--response', 'sed s/h/j/', '--match', '~u /copro',
                    '--coprocess', '--response', 'while read n x; '
                    'do head -c $n >/dev/null; echo -; done', trust=False,
                    ca=folder + '/cert.pem', coprocesses=1,
                    prefix=('setpriv', '--reuid=%d' % uid, '--regid=%d' % uid,
                            '--clear-groups')) as proxy:
        with crowded(uid, 8):
            for path in '/sed', '/copro':
                page = proxy.fetch(origin, get(path))
                equal(page.status, 502, path)
                like(page.body, rb'cannot be started: Resource temporarily',
                     path)
            equal(proxy.fetch(origin).body, b'hello', 'meanwhile')
        equal(proxy.fetch(origin, get('/sed')).body, b'jello', '/sed')
        equal(proxy.fetch(origin, get('/copro')).body, b'hello', '/copro')
    shutil.rmtree(folder)


@test('a full disk for SSLKEYLOGFILE: one line, and clients are served')
def _():
    with Origin(answer(reply(b'hello')), tls=True) as origin, \
            Proxy(env={'SSLKEYLOGFILE': '/dev/full'}) as proxy:
        for _ in range(2):
            equal(proxy.fetch(origin).body, b'hello', 'the page')
        equal(proxy.log().count('SSLKEYLOGFILE: No space left'), 1, 'lines')


@test('a full disk for the CA: one line, and no start')
def _():
    with full_disk() as folder:
        status, _, err = mitmproxy('-p', '0', '--ca', folder + '/cert.pem')
        equal(status, 1, 'exit status')
        like(err, r'cannot write \S+/cert.pem: No space left', 'the error')
        equal(os.listdir(folder), ['ballast'], 'what is left there')


run()
