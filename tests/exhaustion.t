#!/usr/bin/env python3
"""Descriptors, processes and disks run out: who is served is served on, who
comes waits or is told, and when there is enough again all is as before."""
import fcntl, pty, shutil, tempfile
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


@test('out of descriptors: idle clients make room, busy ones stay')
def _():
    with Origin() as slow, Origin(answer(reply(b'hello'))) as origin, \
            starved('nofile', 128, second=0.2) as proxy:
        busy = proxy.connect()
        busy.send(get(slow.url()))
        server = slow.next()
        server.read_head()
        idle = [proxy.connect() for _ in range(100)]
        for client in idle:
            client.send(get(origin.url()))
            equal(client.read_message().body, b'hello', 'the page')
        equal(idle[0].read_all(), b'', 'what else the first of them gets')
        server.send(reply(b'late'))
        equal(busy.read_message().body, b'late', 'the page that took long')


@test('out of descriptors: the idle ones are not all asked at each accept')
def _():
    calls = scratch('calls', '')
    with Origin(answer(reply(b'hello'))) as origin, \
            starved('nofile', 256, second=0.3) as proxy:
        idle = [proxy.connect() for _ in range(80)]
        for client in idle:
            client.send(get(origin.url()))
            client.read_message()
        then = time.monotonic() + 1.6 * min(SLOW, 4) # idle for 5 seconds
        wait_for(lambda: time.monotonic() > then, 'time')
        with running(need('strace'), '-p', str(proxy.pid), '-o', calls, '-e',
                     'trace=poll', ready='attached|ptrace') as tracer:
            if not b'attached' in slurp(tracer.output):
                raise Skip('strace may not attach')
            for _ in range(40):
                client = proxy.connect()
                client.send(get(origin.url()))
                equal(client.read_message().body, b'hello', 'the page')
        polls = slurp(calls).count(b'POLLIN')
        check(polls < 200, 'questions whether a client asks', polls)
        proxy.wait_log('idle ones are let go')


@contextlib.contextmanager
def crowded_out(origin, number, client):
    """A proxy with client(proxy), who has done nothing for some of its seconds
    when that many others ask."""
    with starved('nofile', 128, second=0.1) as proxy:
        conn = client(proxy)
        then = time.monotonic() + 0.6 * min(SLOW, 4)
        crowd = [proxy.connect() for _ in range(number)]
        for other in crowd:             # at once: none is idle before
            other.send(get(origin.url()))
        for other in crowd:
            equal(other.read_message().body, b'hello', 'the page')
        wait_for(lambda: time.monotonic() > then, 'time')
        yield proxy, conn


@test('out of descriptors: a request that has come is not lost')
def _():
    def client(proxy):
        conn = proxy.connect()
        conn.send(get(origin.url()))
        conn.read_message()
        return conn

    with Origin(answer(reply(b'hello'))) as origin, \
            crowded_out(origin, 39, client) as (proxy, conn):
        os.kill(proxy.pid, signal.SIGSTOP)
        for _ in range(2):
            proxy.connect()
        conn.send(get(origin.url(), 'Content-Length: 0', method='POST'))
        os.kill(proxy.pid, signal.SIGCONT)
        equal(conn.read_message().body, b'hello', 'the answer')


@test('out of descriptors: who waits for a server is told what became of it')
def _():
    def client(proxy):
        conn = proxy.connect()
        conn.send(b'\5\1\0')
        equal(conn.read_exact(2), b'\5\0', 'the greeting')
        conn.send(b'\5\1\0\1\x7f\0\0\1' + struct.pack('>H', port))
        return conn

    with Origin(answer(reply(b'hello'))) as origin, deaf_port() as port, \
            crowded_out(origin, 100, client) as (_, conn):
        equal(conn.read_exact(2), b'\5\6', 'nobody accepts, in 20 seconds')


@test('out of descriptors: who waits to be greeted by a server is greeted')
def _():
    def client(proxy):
        conn = proxy.connect()
        conn.send(b'\4\1' + struct.pack('>H', slow.port) + b'\x7f\0\0\1\0')
        equal(conn.read_exact(8)[:2], b'\0\x5a', 'it is reached')
        return conn

    with Origin() as slow, Origin(answer(reply(b'hello'))) as origin, \
            crowded_out(origin, 100, client) as (_, conn):
        slow.next().send(b'220 smtp')
        equal(conn.read_exact(8), b'220 smtp', 'the greeting')


@test('40 descriptors are enough, and fewer than 32 are too few')
def _():
    with Origin(answer(reply(b'hello')), tls=True) as origin, \
            starved('nofile', 40, '--response', 'cat') as proxy:
        for _ in range(5):
            equal(proxy.fetch(origin).body, b'hello', 'the page')
        for _ in range(10):             # who wait for each other, at most
            with proxy.tls(origin) as client:
                client.send(get('/'))
                equal(client.read_message().body, b'hello', 'the page')
    text = command(need('prlimit'), '--nofile=31:31', PROGRAM, '-p', '0',
                   '--ca', proxy.ca, status=1)
    like(text, rb'^mitmproxy: 31 descriptors are too few[^\n]*\n$', 'the error')


# Takes descriptors from 3 up to a number, and executes a command.
TAKE = '''import os, sys
for n in range(3, int(sys.argv[1])):
    os.dup2(0, n)
os.execvp(sys.argv[2], sys.argv[2:])'''


@test('the last descriptor is gone before the port: it is told as that')
def _():
    with Proxy() as other:              # its port ends the program at last
        for number in range(31, 3, -1):
            text = command(sys.executable, '-c', TAKE, str(number),
                           need('prlimit'), '--nofile=32:32', PROGRAM, '-p',
                           str(other.port), '--ca', other.ca,
                           env={'SSLKEYLOGFILE': scratch('keys')})
            if b'cannot listen' in text:
                break
    like(text, rb'cannot listen on [^\n]*: (Too many open files|No file '
         rb'descriptors available)\n', 'the line')      # glibc's words, musl's


@test('a crowd has gone but for one of a high number: others are served')
def _():
    with Origin(answer(reply(b'hello'))) as origin, \
            starved('nofile', 128) as proxy:
        crowd = []
        while 'clients are too many' not in proxy.log():
            crowd.append(proxy.connect())
            crowd[-1].send(get(origin.url()))
            wait_for(lambda: not crowd[-1].silent(0) or
                     'clients are too many' in proxy.log(), 'the page')
        check(crowd[-1].silent(0.3), 'there was room for the last one')
        stays = [client for client in crowd if not client.silent(0)][-1]
        for client in crowd:
            if client is not stays:
                client.close()
        wait_for(lambda: proxy.descriptors() <= proxy.idle + 2,
                 'the end of the crowd')
        for _ in range(3):
            equal(proxy.fetch(origin).body, b'hello', 'another')
        stays.read_message()
        stays.send(get(origin.url()))
        equal(stays.read_message().body, b'hello', 'who has stayed')


@test('filters wait for descriptors')
def _():
    with Origin(answer(reply(b'hello'))) as origin, \
            starved('nofile', 128, '--response', 'sleep .2; cat',
                    '--response', 'cat; sleep .1') as proxy:
        crowd = [proxy.connect() for _ in range(60)]
        for client in crowd:
            client.send(get(origin.url()))
        for client in crowd:
            message = client.read_message()
            equal((message.status, message.body), (200, b'hello'), 'the page')
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


@contextlib.contextmanager
def lonely(*args, **more):
    """A proxy of a user who may have 8 processes, and that user's uid."""
    if os.geteuid() != 0:
        raise Skip('only root can become a user who has no processes')
    uid = 0x40000000 + os.getpid()      # nobody else's
    folder = tempfile.mkdtemp(dir='/tmp')
    program = shutil.copy(PROGRAM, folder)
    os.chown(folder, uid, uid)
    try:
        with starved('nproc', 8, *args, trust=False, program=program,
                     ca=folder + '/cert.pem',
                     prefix=('setpriv', '--reuid=%d' % uid,
                             '--regid=%d' % uid, '--clear-groups'),
                     **more) as proxy:
            yield proxy, uid
    finally:
        shutil.rmtree(folder)


@test('out of processes: a page says so, and then all is well again')
def _():
    with Origin(answer(reply(b'hello'))) as origin, \
            lonely('--match', '~u /sed', '--response', 'sed s/h/j/',
                   '--match', '~u /copro', '--coprocess', '--response',
                   'while read n x; do head -c $n >/dev/null; echo -; done',
                   coprocesses=1) as (proxy, uid):
        with crowded(uid, 8):
            for path in '/sed', '/copro':
                page = proxy.fetch(origin, get(path))
                equal(page.status, 502, path)
                like(page.body, rb'cannot be started: Resource temporarily',
                     path)
            equal(proxy.fetch(origin).body, b'hello', 'meanwhile')
        equal(proxy.fetch(origin, get('/sed')).body, b'jello', '/sed')
        equal(proxy.fetch(origin, get('/copro')).body, b'hello', '/copro')


def named(proxy, origin):
    """A client that asks for a server whose name must be looked up."""
    client = proxy.connect()
    client.send(get('http://127.1:%d/' % origin.port))
    return client


@test('out of processes to look up names: a page says so, and so on')
def _():
    with Origin(answer(reply(b'hello'))) as origin, \
            lonely() as (proxy, uid):
        with crowded(uid, 8):
            page = named(proxy, origin).read_message()
            equal(page.status, 502, 'the status')
            like(page.body, rb'cannot find the address of 127\.1: a process for it cannot be '
                 rb'started: Resource '
                 rb'temporarily', 'the page')
        equal(named(proxy, origin).read_message().body, b'hello', 'later')


@contextlib.contextmanager
def stuck(proxy, origin):
    """Clients for whom all resolvers are at work, and will not answer."""
    asleep, clients = [], []
    try:
        for _ in range(16):
            equal(named(proxy, origin).read_message().body, b'hello', 'a page')
            asleep += [pid for pid in processes(proxy.pid)
                       if pid not in asleep + [proxy.pid]]
            os.kill(asleep[-1], signal.SIGSTOP)
            clients.append(named(proxy, origin))
            equal(proxy.fetch(origin).body, b'hello', 'turns meanwhile')
        equal(len(set(asleep)), 16, 'resolvers that sleep')
        yield clients
    finally:
        for pid in asleep:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


@test('look-ups that are stuck give way when their clients have left')
def _():
    with Origin(answer(reply(b'hello'))) as origin, Proxy() as proxy, \
            stuck(proxy, origin) as clients:
        for client in clients:
            client.reset()
        equal(named(proxy, origin).read_message().body, b'hello', 'the next')


@test('look-ups that are stuck give way when their clients are answered')
def _():
    with Origin(answer(reply(b'hello'))) as origin, \
            Proxy(second=0.2) as proxy, stuck(proxy, origin) as clients:
        for client in clients:
            equal(client.read_message().status, 502, 'the status')
        equal(named(proxy, origin).read_message().body, b'hello', 'the next')


def stopped_at_once(**more):
    with Proxy('-j', '8', **more) as proxy:
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'the exit status')
        equal(alive(proxy.pid), [], 'what is left')


@test('SIGTERM right after the start ends all workers')
def _():
    ca = scratch('cert.pem')
    for _ in range(20):
        stopped_at_once(ca=ca)


SLOW_START = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

static pid_t first;

__attribute__((constructor)) static void init(void)
{
    first = getpid();
}

int pipe2(int *fds, int flags)
{
    if (getpid() != first)
        usleep(100000);
    return ((int (*)(int *, int))dlsym(RTLD_NEXT, "pipe2"))(fds, flags);
}
'''


@test('SIGTERM while the workers begin ends them all')
def _():
    if sanitized():
        raise Skip('the sanitizer wants to be the first library')
    name = scratch('slow.c', SLOW_START)
    command(need('cc'), '-shared', '-fPIC', '-o', name + '.so', name, '-ldl',
            status=0)
    for _ in range(3):
        stopped_at_once(env={'LD_PRELOAD': name + '.so'})


# ------------------------------------------------------------- outputs

def small_pipe(fd):
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(fd, getattr(fcntl, 'F_SETPIPE_SZ', 1031), 4096)
    return fd


@test('a terminal that nobody reads: clients are served on')
def _():
    ours, theirs = pty.openpty()
    with Origin(answer(reply(b'hello'))) as origin, \
            Proxy(stdout=theirs) as proxy:
        os.close(theirs)
        client = proxy.tunnel(origin)
        for _ in range(200):
            client.send(get('/' + 'q' * 80))
            equal(client.read_message().body, b'hello', 'the page')
    os.close(ours)


@test("-w's file may grow no more: one line, and clients are served")
def _():
    name = scratch('capture')
    with Origin(answer(reply(b'x' * 10000))) as origin, \
            starved('fsize', 20000, '-w', name) as proxy:
        for _ in range(5):
            equal(len(proxy.fetch(origin).body), 10000, 'the page')
        proxy.wait_log('too large')
        equal(re.findall(r'.*too large.*', proxy.log()), [
            'mitmproxy: %s: File too large: nothing more is written to it'
            % name], 'the log')


@test('-w into a FIFO without a reader: SIGTERM ends the start')
def _():
    name, port = scratch('fifo'), free_port()
    os.mkfifo(name)
    with running(PROGRAM, '-p', str(port), '--ca', scratch('cert.pem'),
                 '-w', name) as child:
        listens(port, child)
        child.terminate()
        equal(child.wait(DEADLINE), -signal.SIGTERM, 'the exit status')


@test('SSLKEYLOGFILE is a FIFO whose reader sleeps: clients are served')
def _():
    name = scratch('fifo')
    os.mkfifo(name)
    reader = small_pipe(os.open(name, os.O_RDONLY | os.O_NONBLOCK))
    with Origin(answer(reply(b'hello')), tls=True) as origin, \
            Proxy(env={'SSLKEYLOGFILE': name}) as proxy:
        for _ in range(20):
            equal(proxy.fetch(origin).body, b'hello', 'the page')
    os.close(reader)


@test('a full disk for SSLKEYLOGFILE: one line, and clients are served')
def _():
    with Origin(answer(reply(b'hello')), tls=True) as origin, \
            Proxy(env={'SSLKEYLOGFILE': '/dev/full'}) as proxy:
        for _ in range(2):
            equal(proxy.fetch(origin).body, b'hello', 'the page')
        proxy.wait_log('SSLKEYLOGFILE: No space left')
        equal(proxy.log().count('SSLKEYLOGFILE: No space left'), 1, 'lines')


@test('a full disk for the CA: one line, and no start')
def _():
    with full_disk() as folder:
        status, _, err = mitmproxy('-p', '0', '--ca', folder + '/cert.pem')
        equal(status, 1, 'exit status')
        like(err, r'cannot write \S+/cert.pem: No space left', 'the error')
        equal(os.listdir(folder), ['ballast'], 'what is left there')


run()
