#!/usr/bin/env python3
"""--workers: processes that share the port, the CA and the tickets' keys."""
from mitm import *


def workers(proxy):
    """The pids of those that live."""
    found = []
    for pid, (state, _) in processes(proxy.pid).items():
        with contextlib.suppress(OSError, IndexError):
            text = slurp('/proc/%d/stat' % pid).decode('latin-1')
            if (int(text[text.rindex(')') + 2:].split()[1]) == proxy.pid
                    and state != 'Z'):
                found.append(pid)
    return sorted(found)


@contextlib.contextmanager
def team(count, *args):
    """A proxy of so many workers, all of which are there."""
    with Proxy('--workers', str(count), *args) as proxy:
        wait_for(lambda: len(workers(proxy)) == count, 'all workers')
        yield proxy


@contextlib.contextmanager
def only(proxy, pid):
    """The other workers sleep: who connects meets this one."""
    others = [p for p in workers(proxy) if p != pid]
    for p in others:
        os.kill(p, signal.SIGSTOP)
    try:
        yield
    finally:
        for p in others:
            with contextlib.suppress(OSError):
                os.kill(p, signal.SIGCONT)


def per_worker(proxy, origin, connect='tunnel'):
    """A connection to each worker, in the order of their pids."""
    conns = []
    for pid in workers(proxy):
        with only(proxy, pid):
            conns.append(getattr(proxy, connect)(origin))
    return conns


def ask(conn, path='/'):
    conn.send(get(path))
    return conn.read_message().body


@test('each of them serves; they share one key, and count exchanges together')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, \
            team(4) as proxy:
        conns = per_worker(proxy, origin, 'tls')
        for i in range(40):
            equal(ask(conns[i % 4]), b'x', 'the answer')
        keys = set()
        for conn in conns:
            leaf = ssl.DER_cert_to_PEM_cert(conn.tls.getpeercert(True))
            keys.add(openssl('x509', '-noout', '-pubkey',
                             input=leaf.encode()))
        equal(len(keys), 1, 'keys of the leaves')
        wait_for(lambda: proxy.out().count(' << ') == 40, 'the output')
        for sign in '>>', '<<':
            equal(sorted(map(int, re.findall(r'(?m)^#(\d+) ' + sign,
                                             proxy.out()))),
                  list(range(1, 41)), 'numbers of messages ' + sign)
        equal(proxy.log().count('listening on'), 1, 'ready lines')


@test('whoever has the time takes a connection')
def _():
    with Origin(answer(reply(b'x'))) as origin, team(3) as proxy:
        def sockets():
            count = []
            for pid in workers(proxy):
                fds = '/proc/%d/fd/' % pid
                count.append(sum(os.readlink(fds + fd).startswith('socket')
                                 for fd in os.listdir(fds)))
            return count
        before = sockets()

        def spread():
            check(len(proxy.clients) < 500, 'one does it all', sockets())
            proxy.tunnel(origin)
            return all(a > b for a, b in zip(sockets(), before))
        wait_for(spread, 'a connection for each')


for version in 'TLSv1_2', 'TLSv1_3':
    @test('%s: a session from one is resumed by the others' % version)
    def _(version=version):
        with Origin(answer(reply(b'x')), tls=True) as origin, \
                team(3) as proxy:
            context = client_context(proxy.ca, ssl.TLSVersion[version])
            session = None
            for _ in range(3):
                for conn in per_worker(proxy, origin):
                    conn.start_tls(context, 'localhost', session)
                    ask(conn)
                    equal(conn.tls.session_reused, bool(session),
                          'whether it resumes')
                    session = conn.tls.session


@test('one that is killed is replaced; the others go on')
def _():
    with Origin(answer(reply(b'x'))) as origin, team(3) as proxy:
        pids, conns = workers(proxy), per_worker(proxy, origin)
        os.kill(pids[1], signal.SIGKILL)
        equal(conns[1].read_all(), b'', 'what its client gets')
        for conn in conns[0], conns[2], proxy.tunnel(origin):
            equal(ask(conn), b'x', 'the answer of another')
        now = wait_for(lambda: len(workers(proxy)) == 3 and workers(proxy),
                       'three workers again')
        equal(len(set(pids) & set(now)), 2, 'the pids that stayed')
        for conn in per_worker(proxy, origin):
            equal(ask(conn), b'x', 'the answer of each')
        equal(proxy.log().count('a worker has ended (signal 9): another takes '
                                'its place\n'), 1, proxy.log())
        for conn in conns[0], conns[2]:
            equal(ask(conn), b'x', 'the answer of an old one')


@test('at the end nothing is removed that was not made: no file of /, say')
def _():
    root = scratch('root')
    os.mkdir(root)
    kept = [os.path.join(root, name)
            for name in ('ca.pem', 'wgetrc', 'apt.conf', 'node.cjs')]
    for path in kept:
        with open(path, 'w'):
            pass
    words = mounting(
        '--bind {0} {0} && for d in /*; do if [ -L $d ]; then '
        'cp -fP $d {0}; elif [ -d $d ]; then mkdir -p {0}$d && '
        'mount --rbind $d {0}$d || exit; fi; done && '
        'set -- chroot {0} "$@"'.format(root))
    with Proxy('--workers', '2', prefix=words) as proxy:
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'the exit status')
    equal([path for path in kept if not os.path.exists(path)], [],
          'files that are gone')


@test('one that is killed amid a body until close: its client is reset')
def _():
    with Origin() as origin, team(2) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(b'HTTP/1.1 200 OK\r\n\r\nhalf')
        client.read_until(b'half')
        for pid in workers(proxy):
            os.kill(pid, signal.SIGKILL)
        equal(client.read_all(), b'', 'what else comes')
        equal(client.end, 'reset', 'the end')
        wait_for(lambda: len(workers(proxy)) == 2, 'two others')


@test('all are killed at once: who connects meanwhile waits, and is served')
def _():
    with Origin(answer(reply(b'x'))) as origin, team(2) as proxy:
        for pid in workers(proxy):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not workers(proxy), 'their end')
        equal(ask(proxy.tunnel(origin)), b'x', 'the answer')


for name in 'SIGTERM', 'SIGINT', 'SIGHUP':
    @test('%s: running messages finish, the others end, status 0' % name)
    def _(name=name):
        with Origin() as origin, team(3) as proxy:
            conns = per_worker(proxy, origin)
            served = []
            for conn in conns[:2]:
                conn.send(get('/'))
                served.append(origin.next())
                served[-1].read_message()
                served[-1].send(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'
                                b'he')
            for conn in conns[:2]:
                conn.read_until(b'he')
            # a terminal sends ^C to all of them, and that it is closed
            if name == 'SIGTERM':
                proxy.process.terminate()
            else:
                os.killpg(proxy.pid, getattr(signal, name))
            equal(conns[2].read_all(), b'', 'who waits for nothing')
            for conn, server in zip(conns, served):
                check(conn.silent(0), 'an end')
                server.send(b'llo')
            for conn in conns[:2]:
                equal(conn.read_all(), b'llo', 'the rest')
            equal(proxy.process.wait(DEADLINE), 0, 'the exit status')
            equal(alive(proxy.pid), [], 'what is left')
            equal(proxy.log().count('stopping'), 1, proxy.log())


@test('one of them hangs: two signals end it all the same')
def _():
    with team(3) as proxy:
        os.kill(min(set(alive(proxy.pid)) - {proxy.pid}), signal.SIGSTOP)
        for _ in range(2):
            proxy.process.terminate()
            proxy.wait_log('stopping')
        equal(proxy.process.wait(DEADLINE), 0, 'the exit status')
        equal(alive(proxy.pid), [], 'what is left')


@test('the parent is killed: none of them stays')
def _():
    with Origin(answer(reply(b'x'))) as origin:
        proxy = Proxy('-j', '3', '--coprocess', '-Q', 'cat')
        try:
            wait_for(lambda: len(workers(proxy)) == 3, 'all workers')
            for conn in per_worker(proxy, origin):
                conn.send(get('/'))     # "cat" will not answer
            proxy.process.kill()
            proxy.process.wait()
            wait_for(lambda: not alive(proxy.pid), 'the end of all')
        finally:
            proxy.kill()


@test('a capture of all of them is one')
def _():
    need('tshark')
    name = scratch('capture')
    with Origin(answer(lambda r: reply(r.start))) as origin, \
            team(3, '-w', name) as proxy:
        conns = per_worker(proxy, origin)
        for i in range(30):
            ask(conns[i % 3], '/%d' % i)
    text = command('tshark', '-r', name, '-o', 'tcp.try_heuristic_first:TRUE',
                   '-Y', 'http.request || tcp.analysis.flags', '-T', 'fields',
                   '-e', 'http.request.uri', status=0)
    equal(sorted(line for line in text.decode().split() if line[0] == '/'),
          sorted('/%d' % i for i in range(30)), 'what tshark sees')
    equal(slurp(name).count(b'\x0a\x0d\x0d\x0a'), 1, 'heads of the file')


@test('a pipe is for one')
def _():
    name = scratch('pipe')
    os.mkfifo(name)
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    status, _, err = mitmproxy('-p', '0', '-c', scratch('cert.pem'), '-w',
                               name, '-j', '2')
    os.close(fd)
    equal(status, 1, 'the exit status')
    like(err, r'pipe is no file, and so takes one worker', 'the errors')


run()
