#!/usr/bin/env python3
"""Socket activation: a listening socket is given, as systemd does it."""
from mitm import *

# Opens a socket as descriptor 3, tells where, and becomes the program.
GIVE = '''
import os, socket, sys
s = %s
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
with open(sys.argv[1], 'w') as f:
    f.write(str(s.getsockname()[1]))
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid() + %d))
os.execvp(sys.argv[2], sys.argv[2:])
'''
LISTENS = 'socket.create_server(("127.0.0.1", 0))'


def giving(what, pid=0):
    """What opens that for a proxy, and the file where its port will be."""
    place = scratch('port')
    return (sys.executable, '-c', GIVE % (what, pid), place), place


for workers in '1', '2':
    @test('it is used, and no filter knows of it: %s workers' % workers)
    def _(workers=workers):
        prefix, place = giving(LISTENS)
        with Origin(answer(reply(b'page'))) as origin, \
                Proxy('-R', 'sed "s/page/[$LISTEN_FDS$LISTEN_PID]/"; '
                      'ls -l /proc/self/fd >&2', '-j', workers,
                      prefix=prefix) as proxy:
            equal(proxy.port, int(slurp(place)), 'the port')
            equal(proxy.fetch(origin).body, b'[]', 'what the filter knows')
            unlike(proxy.log(), r'socket:', 'what the filter has open')


@test('what is for another process is let be')
def _():
    prefix, place = giving(LISTENS, 1)
    with Origin(answer(reply(b'page'))) as origin, \
            Proxy(prefix=prefix) as proxy:
        check(proxy.port != int(slurp(place)), 'it listens elsewhere')
        equal(proxy.fetch(origin).body, b'page', 'the page')


@test('a socket that does not listen is refused')
def _():
    prefix, _ = giving('socket.socket()')
    said = command(*prefix, PROGRAM, '-p', '0', '--ca', scratch('ca.pem'))
    like(said, rb'^mitmproxy: LISTEN_FDS: [^\n]*\n$', 'the line')


@test('systemd-socket-activate, which starts it at the first connection')
def _():
    if shutil.which('systemd-socket-activate') is None:
        raise Skip('there is no systemd-socket-activate')
    path, log = scratch('socket'), scratch('log')
    with Origin(answer(reply(b'page'))) as origin, open(log, 'wb') as f:
        done = subprocess.Popen(
            ['systemd-socket-activate', '-l', path, PROGRAM, '--ca',
             scratch('ca.pem')], stdout=f, stderr=f)
        try:
            client = Conn(socket.socket(socket.AF_UNIX))
            wait_for(lambda: client.sock.connect_ex(path) == 0, 'the socket')
            client.send(get(origin.url(), host=origin.auth))
            equal(client.read_message().body, b'page', 'the page')
            client.close()
        finally:
            done.terminate()
        equal(done.wait(DEADLINE), 0, 'status')
        unlike(slurp(log), b'whoever reaches', 'the log')


run()
