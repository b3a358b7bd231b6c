#!/usr/bin/env python3
"""A name look-up that hangs delays nobody else."""
from mitm import *


def resolvers(proxy):
    return [pid for pid, (_, command) in processes(proxy.pid).items()
            if pid != proxy.pid and command.startswith(PROGRAM + ' ')]


@test('others are served, by address and by name')
def _():
    with Origin(answer(reply(b'x'))) as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(get('http://no-such-name.invalid/'))
        equal(client.read_message().status, 502, 'a name that is not there')
        helper, = resolvers(proxy)
        os.kill(helper, signal.SIGSTOP)     # its next answer will not come
        stuck = proxy.connect()
        stuck.send(get('http://another.invalid/'))
        for url, status in ((origin.url('/'), 200),
                            ('http://third.invalid/', 502)):
            client = proxy.connect()
            client.send(get(url))
            equal(client.read_message().status, status, url)
        equal(len(resolvers(proxy)), 2, 'resolvers')
        os.kill(helper, signal.SIGKILL)     # then another one is asked
        equal(stuck.read_message().status, 502, 'the first')


@test('one client with many names that hang leaves look-ups to the others')
def _():
    def asks(name, source='127.0.0.1'):
        """For 127.0.0.NAME, in a form that getaddrinfo() alone knows."""
        conn = Conn(socket.create_connection(
            ('127.0.0.1', proxy.port), DEADLINE, (source, 0)))
        proxy.clients.append(conn)
        conn.send(b'\4\1%s\0\0\0\1\x00127.%d\0'  # SOCKS4a
                  % (struct.pack('>H', port), name))
        proxy.wait_log(r'asks by SOCKS4 for 127\.%d:' % name)
        return conn

    def is_told(conn, what):
        equal(conn.read_exact(2), b'\0\x5b', what)

    with closed_port() as port, Proxy('-v') as proxy:
        stopped, stuck = [], []
        for i in range(16):
            is_told(asks(100 + i), 'one name after the other')
            helper, = set(resolvers(proxy)) - set(stopped)
            os.kill(helper, signal.SIGSTOP)
            stopped.append(helper)
            stuck.append(asks(200 + i))
        more = asks(1)
        is_told(asks(2, '127.0.0.2'), 'another client')
        is_told(more, 'the first, for whom one of its own gives way')
        for helper, conn in zip(stopped, stuck):
            with contextlib.suppress(ProcessLookupError):
                os.kill(helper, signal.SIGKILL)
            is_told(conn, 'one that hung')
        unlike(proxy.log(), 'no success in 20 seconds', 'the log')


for how, words in (('a path', [PROGRAM]), ('PATH', ['mitmproxy'])):
    @test('names are looked up where there is no /proc, too; found by ' + how)
    def _(words=words):
        if sanitized():
            raise Skip('a sanitizer needs /proc')
        folder = scratch('bin')
        os.mkdir(folder)
        shutil.copy(PROGRAM, folder + '/mitmproxy')
        with Origin(answer(reply(b'x'))) as origin, Proxy(
                prefix=mounting('-t tmpfs none /proc') + [
                    'sh', '-c', 'name=$0; shift; exec "$name" "$@"', *words],
                env={'PATH': folder + ':' + os.environ['PATH']}) as proxy:
            proxy.program = words[0]    # as its helpers have it
            client = proxy.connect()
            client.send(get('http://127.1:%d/' % origin.port))
            equal(client.read_message().body, b'x', 'the page')


run()
