#!/usr/bin/env python3
"""A request filter that has printed all, and has yet to end: what the server
says or does meanwhile comes to the same as with one that ends at once."""
from mitm import *

# It reads all, prints all, and ends when the test lets it.
LINGER = 'cat; exec >&-; read word < %s; echo "$word" > %s'
# It does not even end its output before.
HOLD = 'cat; read word < %s; echo "$word" > %s'


@contextlib.contextmanager
def lingering(command, tls, *more):
    """An exchange whose request has reached the server and whose filter
    waits: (proxy, origin, client, server, settle, release).  settle() returns
    when the proxy has seen all that was sent to it before."""
    gate, done = scratch('gate'), scratch('done')
    os.mkfifo(gate)

    def settle():
        with Origin(answer(reply(b'x'))) as other:
            equal(proxy.fetch(other).body, b'x', 'an exchange beside it')

    def gate_open():
        with contextlib.suppress(OSError):      # nobody reads it, or not yet
            return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)

    def release():
        fd = wait_for(gate_open, 'the filter at its gate')
        os.write(fd, b'released\n')
        os.close(fd)
        wait_for(lambda: os.path.exists(done) and slurp(done),
                 'the end of the filter')

    with Origin(tls=tls) as origin, \
            Proxy('--match', '~u linger', '--raw', '--request',
                  command % (gate, done), *more) as proxy:
        client = proxy.tls(origin) if tls else proxy.tunnel(origin)
        client.send(get('/linger'))
        server = origin.next()
        equal(server.read_head(), get('/linger'), 'the request')
        yield proxy, origin, client, server, settle, release
        client.close()



for kind, command in ('that ended its output', LINGER), ('silent', HOLD):
    for tls in False, True:
        how = '%s, %s' % (kind, 'TLS' if tls else 'plain')

        for name, text in {
                'no HTTP at all': b'ICY 200 OK\r\n\r\nmusic',
                'two lengths': b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n'
                               b'Content-Length: 2\r\n\r\nab',
                'a malformed chunk': chunked(b'a')[:-5] + b'z\r\n',
                '101': b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n'
                       b'Connection: upgrade\r\n\r\nfirst'}.items():
            @test('an answer that becomes a stream: %s; %s' % (name, how))
            def _(command=command, tls=tls, text=text):
                with lingering(command, tls) as (_, _, client, server,
                                                 settle, release):
                    server.send(text)
                    settle()
                    release()
                    equal(client.read_exact(len(text)), text, 'the stream')
                    client.send(b'anything')
                    equal(server.read_exact(8), b'anything', 'the way up')
                    server.finish()
                    equal(client.read_all(), b'', 'behind it')

            @test('the same, and the server ends; %s; %s' % (name, how))
            def _(command=command, tls=tls, text=text):
                with lingering(command, tls) as (_, _, client, server,
                                                 settle, release):
                    server.send(text)
                    server.shutdown_write()
                    settle()
                    release()
                    equal(client.read_all(), text, 'the stream')
                    equal(client.end, 'eof', 'how it ended')

        @test('a whole answer does not wait for it, the next exchange does; '
              + how)
        def _(command=command, tls=tls):
            with lingering(command, tls) as (_, _, client, server, settle,
                                             release):
                server.send(reply(b'whole'))
                equal(client.read_message().body, b'whole', 'the answer')
                client.send(get('/next'))
                settle()
                check(not server.buf, 'the next request came early')
                release()
                equal(server.read_head(), get('/next'), 'the next request')
                server.send(reply(b'next'))
                equal(client.read_message().body, b'next', 'the next answer')

        @test('a whole answer, and the server ends: the next request goes '
              'to a new connection; ' + how)
        def _(command=command, tls=tls):
            with lingering(command, tls) as (_, origin, client, server,
                                             settle, release):
                server.send(reply(b'whole'))
                server.finish()
                equal(client.read_message().body, b'whole', 'the answer')
                client.send(get('/next'))
                settle()
                release()
                server = origin.next()
                equal(server.read_head(), get('/next'), 'the next request')
                server.send(reply(b'next'))
                equal(client.read_message().body, b'next', 'the next answer')

        @test('a response filter that wants but a part leaves the connection '
              'as it is; ' + how)
        def _(command=command, tls=tls):
            with lingering(command, tls, '--match', '~u linger', '--response',
                           'head -c 45') as (_, origin, client, server,
                                             settle, release):
                server.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000000'
                            b'\r\n\r\n0')
                equal(client.read_message().body, b'0', 'the answer')
                settle()
                client.send(get('/next'))
                settle()
                release()
                server = origin.next()
                equal(server.read_head(), get('/next'), 'the next request')
                server.send(reply(b'next'))
                equal(client.read_message().body, b'next', 'the next answer')

        for name, text in {
                'Connection: close': reply(b'whole', 'Connection: close'),
                'the end of the connection':
                    b'HTTP/1.1 200 OK\r\n\r\nwhole'}.items():
            @test('the last answer, by %s, ends no filter early; %s'
                  % (name, how))
            def _(command=command, tls=tls, text=text):
                with lingering(command, tls) as (_, _, client, server,
                                                 settle, release):
                    server.send(text)
                    server.finish()
                    equal(client.read_exact(len(text)), text, 'the answer')
                    settle()
                    release()           # which fails if it was killed
                    equal(client.read_all(), b'', 'behind it')
                    equal(client.end, 'eof', 'how it ended')

run()
