#!/usr/bin/env python3
"""Thousands of open connections, and more than the system allows.
MITM_MANY is how many; each takes two descriptors here and two there."""
import resource, selectors

from mitm import *

MANY = int(os.environ.get('MITM_MANY', 2000))


def limited(soft, hard):
    """A command that starts another with these limits of descriptors."""
    return ['sh', '-c', 'ulimit -S -n %d; ulimit -H -n %d; exec "$@"'
            % (soft, hard), 'sh']


def limit(least):
    """Raise our own limit of descriptors, or skip; the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < least:
        raise Skip('%d descriptors are not enough' % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Crowd:
    """A server of one thread: each request is answered by its first line."""

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.quit, self.end = socket.socketpair()
        self.worker = thread(self.serve)

    def serve(self):
        poll, conns = selectors.DefaultSelector(), {}
        poll.register(self.listener, selectors.EVENT_READ)
        poll.register(self.end, selectors.EVENT_READ)
        while True:
            for key, _ in poll.select():
                conn = key.fileobj
                if conn is self.end:
                    for conn in conns:
                        conn.close()
                    return
                if conn is self.listener:
                    conn = conn.accept()[0]
                    poll.register(conn, selectors.EVENT_READ)
                    conns[conn] = b''
                    continue
                data = conn.recv(65536)
                conns[conn] += data
                if conns[conn].endswith(b'\r\n\r\n'):
                    conn.sendall(reply(conns[conn].split(b'\r\n')[0]))
                    conns[conn] = b''
                if not data:
                    poll.unregister(conn)
                    conns.pop(conn)
                    conn.close()

    def ask(self, conn, path):
        host = 'localhost:%d' % self.port
        conn.send(get('http://%s/%s' % (host, path), host=host))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.quit.close()
        self.worker.result()
        self.end.close()
        self.listener.close()


@test('%d connections to the proxy, as many to servers' % MANY)
def _():
    hard = limit(2 * MANY + 200)
    with Crowd() as crowd, Proxy(prefix=limited(1024, hard)) as proxy:
        clients = [proxy.connect() for _ in range(MANY)]
        for turn in 'ab':
            for i, client in enumerate(clients):
                crowd.ask(client, '%s%d' % (turn, i))
            for i, client in enumerate(clients):
                equal(client.read_message().body,
                      b'GET /%s%d HTTP/1.1' % (turn.encode(), i), 'the answer')
        check(proxy.descriptors() > 2 * MANY, 'few descriptors',
              proxy.descriptors())
        # the last goes on when the others have left
        for client in clients[:-1]:
            client.close()
        wait_for(lambda: proxy.descriptors() < 20, 'their end')
        crowd.ask(clients[-1], 'c')
        equal(clients[-1].read_message().body, b'GET /c HTTP/1.1', 'the last')


@test('more than there are descriptors for: they wait, which is told once')
def _():
    limit(2000)
    with Crowd() as crowd, Proxy(prefix=limited(200, 200)) as proxy:
        clients = [proxy.connect() for _ in range(400)]
        for i, client in enumerate(clients):
            crowd.ask(client, str(i))
        for i, client in enumerate(clients):
            equal(client.read_message().body, b'GET /%d HTTP/1.1' % i,
                  'the answer')
            client.close()
        proxy.wait_log(r'\d clients are too many for 200 descriptors: '
                       r'idle ones are let go, others wait \(ulimit -n\)\n$')


run()
