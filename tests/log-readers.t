#!/usr/bin/env python3
"""Readers of the log who sleep: they hold up nobody."""
import fcntl
from mitm import *

NAME = '/' + 'q' * 80


def small_pipe():
    r, w = os.pipe()
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(w, getattr(fcntl, 'F_SETPIPE_SZ', 1031), 4096)
    return r, w


@test('messages into a pipe that nobody reads; two signals end it')
def _():
    r, w = small_pipe()
    with Origin(answer(reply(b'x'))) as origin, Proxy(stdout=w) as proxy:
        os.close(w)
        client = proxy.tunnel(origin)
        for _ in range(100):
            client.send(get(NAME))
            equal(client.read_message().body, b'x', 'the page')
        proxy.process.terminate()
        proxy.wait_log('stopping')
        proxy.process.terminate()
        equal(proxy.process.wait(DEADLINE), 0, 'exit status')
    os.close(r)


@test('messages into a file on a disk that is full for a while')
def _():
    at, mount = small_disk('64k')
    mount += ['sh', '-c', 'exec "$@" >"$0"/out', at]
    with Origin(answer(reply(b'x'))) as origin, Proxy(prefix=mount) as proxy:
        at = '/proc/%d/root/%s' % (proxy.pid, at)
        with open(at + '/ballast', 'wb') as f:
            f.write(bytes(48 << 10))

        def full():
            proxy.fetch(origin, get(NAME))
            return os.statvfs(at).f_bavail == 0
        wait_for(full, 'a full disk')
        for _ in range(60):
            proxy.fetch(origin, get(NAME))
        proxy.fetch(origin, get('/last'))
        os.unlink(at + '/ballast')
        wait_for(lambda: b'/last' in slurp(at + '/out'), 'the lines')
        shown = [int(n) for n in
                 re.findall(rb'(?m)^#(\d+) >> ', slurp(at + '/out'))]
    equal(shown, list(range(1, len(shown) + 1)), 'requests that are shown')


@test('lines that wait for a full disk, and then workers: once each')
def _():
    at, mount = small_disk('64k')
    mount += ['sh', '-c', 'cat /dev/zero 2>"$0/log" >"$0/ballast"; '
              'exec "$@" 2>"$0/log"', at]
    process = subprocess.Popen(
        [*mount, PROGRAM, '-p', '0', '-j', '3', '-q', '--ca',
         scratch('cert.pem')], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True)
    try:
        at = '/proc/%d/root/%s' % (process.pid, at)
        wait_for(lambda: len(processes(process.pid)) == 4, 'its workers')
        os.unlink(at + '/ballast')
        wait_for(lambda: b'listening' in slurp(at + '/log'), 'the line')
        with open(at + '/log', 'rb') as log:
            process.terminate()
            equal(process.wait(DEADLINE), 0, 'exit status')
            text = log.read()
        for line in b'listening', b'made a CA', b'stopping':
            equal(text.count(line), 1, line)
    finally:
        process.kill()


@test('messages and the log into one pipe: its reader reads a bit and pauses')
def _():
    r, w = small_pipe()
    process = subprocess.Popen(
        [PROGRAM, '-p', '0', '--ca', scratch('cert.pem'), '-v'],
        stdin=subprocess.DEVNULL, stdout=w, stderr=w, start_new_session=True)
    os.close(w)
    try:
        text, port = b'', None
        while not port:
            check(select.select([r], [], [], DEADLINE)[0], 'it starts')
            data = os.read(r, 1)
            check(data, 'it ended', text)
            text += data
            port = re.search(rb'listening on \S+:(\d+)\n', text)
        port = int(port.group(1))
        with Origin(answer(reply(b'x'))) as origin:
            for i in range(300):
                if i >= 100 and i % 10 == 0:
                    os.read(r, 4096)
                with Conn(socket.create_connection(('127.0.0.1', port))) as c:
                    c.send(get(origin.url(NAME)))
                    equal(c.read_message().body, b'x', 'page %d' % i)
        process.terminate()
        while select.select([r], [], [], DEADLINE)[0] and os.read(r, 65536):
            pass
        equal(process.wait(DEADLINE), 0, 'exit status')
    finally:
        process.kill()
        process.wait()
        os.close(r)


for workers in '1', '3':
    @test('messages and the log into one pipe: each line is whole, -j '
          + workers)
    def _(workers=workers):
        r, w = small_pipe()
        process = subprocess.Popen(
            ['sh', '-c', 'exec "$@" 2>&1', 'sh', PROGRAM, '--explain', '-j',
             workers, '-p', '0', '--ca', scratch('cert.pem')],
            stdin=subprocess.DEVNULL, stdout=w, start_new_session=True)
        os.close(w)
        try:
            text = b''
            while not re.search(rb'listening on \S+:(\d+)\n', text):
                text += os.read(r, 4096)
            port = int(re.search(rb'listening on \S+:(\d+)\n', text)[1])
            with Origin(answer(reply(b'x'))) as origin:
                def asks(times):
                    with Conn(socket.create_connection(
                            ('127.0.0.1', port), DEADLINE)) as c:
                        for _ in range(times):
                            c.send(get(origin.url(NAME)))
                            c.read_message()
                for asking in [thread(asks, 60) for _ in range(9)]:
                    asking.result()
                for count in range(300):        # while more comes
                    if count % 5 == 0 or not select.select([r], [], [], 0)[0]:
                        asks(1)
                    text += os.read(r, 4096)
            process.terminate()
            while True:
                data = os.read(r, 65536)
                if not data:
                    break
                text += data
            equal(process.wait(DEADLINE), 0, 'exit status')
        finally:
            process.kill()
            process.wait()
            os.close(r)
        lines = text.split(b'\n')[:-1]
        check(len(lines) > 1000, 'lines', len(lines))
        for line in lines:
            like(line, rb"^(#\d+ (>>|<<) '[^']*'|#\d+ == [\w:/ >,.-]*|"
                 rb"mitmproxy: ((?!mitmproxy: |>> )"
                 rb".)*)$", 'a line')


@test('what a reader missed is counted, and told once it reads again')
def _():
    r, w = os.pipe()
    with Origin(answer(reply(b'\xff' * 200))) as origin, \
            Proxy(stdout=w) as proxy:
        os.close(w)
        client, count = proxy.tunnel(origin), 0

        def exchange(n, mark):
            nonlocal count
            count += n
            client.send(get('/%s/%s' % (mark, '\xff' * 80)) * n)
            for _ in range(n):
                client.read_message()
        for _ in range(60):         # more than 1 MiB of lines
            exchange(50, 'lost')
        text = bytearray()
        while len(text) < 400000:   # not half of it, so more are lost
            text += os.read(r, 4096)
        exchange(50, 'lost')

        def reader():
            while True:
                data = os.read(r, 65536)
                if not data:
                    return
                text.extend(data)
        work = thread(reader)

        def told():
            exchange(1, 'later')
            return re.search(rb'mitmproxy: \d+ lines were lost', text)
        wait_for(told, 'the loss is told')
        exchange(1, 'last')
        wait_for(lambda: b'/last/' in text[text.index(b'were lost'):],
                 'the lines that follow')
        proxy.stop()
        work.result()
        lost = sum(map(int, re.findall(rb'(\d+) lines were lost', text)))
        equal(len(re.findall(rb'(?m)^#\d+ ', text)) + lost, 3 * count,
              'lines that came or are told')
    os.close(r)


run()
