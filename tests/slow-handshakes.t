#!/usr/bin/env python3
"""TLS handshakes that stop, at every byte that a client sends and at every
third of a server's (MITM_STEP): while they are stuck, plain clients are
served, and then they go on."""
import itertools, resource
from mitm import *

CROWD = 200
STEP = int(os.environ.get('MITM_STEP', 3))
PAGE = reply(b'served')

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))


@contextlib.contextmanager
def patient(*args):
    """A proxy whose deadlines are far away, however slow this machine is."""
    if HARD < 6 * CROWD:
        raise Skip('%d descriptors are not enough' % HARD)
    with Proxy('-q', *args, second=10) as proxy:
        yield proxy


def plain_clients(proxy):
    """Plain clients are served, in every way."""
    with Origin(answer(PAGE)) as plain, \
            Origin(answer(PAGE), tls=True) as sealed:
        for origin in plain, sealed, plain:
            equal(proxy.fetch(origin).raw, PAGE, 'a plain client')


def halt(conn, stop):
    """Let conn stop in its TLS handshake behind so many bytes, until conn.go
    is set.  conn.there tells that it has, or is through with it."""
    conn.there, conn.go, conn.stuck = (threading.Event(), threading.Event(),
                                       False)

    def flush():
        nonlocal stop
        data = conn.out.read()
        if len(data) > stop and not conn.stuck:
            conn.sock.sendall(data[:stop])
            data = data[stop:]
            conn.stuck = True
            conn.there.set()
            conn.go.wait(3 * DEADLINE)
        stop -= len(data)
        conn.sock.sendall(data)
    conn.flush = flush


def crowds(one):
    """one(number) for every byte of a handshake, a crowd at a time, until a
    crowd comes in which nobody stops; each is a conn that halts."""
    for first in itertools.count(0, CROWD):
        crowd = [one(i) for i in range(first, first + CROWD)]
        for conn in crowd:
            check(conn.there.wait(DEADLINE), 'it does not get so far')
        yield crowd
        if not any(conn.stuck for conn in crowd):
            return


def served(client, ca, version):
    """A handshake, and then a page: how it went, by .result()."""
    def work():
        client.start_tls(client_context(ca, version), 'localhost')
        if hasattr(client, 'there'):
            client.there.set()
        client.send(get('/'))
        equal(client.read_message().raw, PAGE, 'a page')
        client.close()
    return thread(work)


for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    @test('clients stop at every byte of the handshake, ' + version.name)
    def _(version=version):
        with Origin(answer(PAGE), tls=True) as origin, patient() as proxy:
            def one(number):
                client = proxy.tunnel(origin)
                halt(client, number)
                works.append(served(client, proxy.ca, version))
                return client
            works = []
            for crowd in crowds(one):
                plain_clients(proxy)
                for client in crowd:
                    client.go.set()
                while works:
                    works.pop().result()

    @test('servers stop at every byte of the handshake, ' + version.name)
    def _(version=version):
        class Halting(Origin):
            def serve(self, conn):
                halt(conn, self.stop)
                started.put(conn)
                try:
                    conn.start_tls(self.context)
                    conn.there.set()
                    answer(PAGE)(conn)
                finally:
                    conn.close()

        started, works = queue.Queue(), []
        with contextlib.ExitStack() as stack, patient() as proxy:
            def one(number):
                if number % CROWD == 0:     # no session of it is known
                    stack.origin = stack.enter_context(
                        Halting(tls=True, version=version))
                stack.origin.stop = number * STEP
                works.append(served(proxy.tunnel(stack.origin), proxy.ca,
                                    None))
                return started.get(timeout=DEADLINE)
            for crowd in crowds(one):
                plain_clients(proxy)
                for conn in crowd:
                    conn.go.set()
                while works:
                    works.pop().result()


run()
