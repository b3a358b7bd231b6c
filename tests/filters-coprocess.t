#!/usr/bin/env python3
"""The smallest coprocesses: what they answer, by hand and to the proxy."""
import shlex, shutil
from filters import *

PAGE = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(BYTES) + BYTES


def compiled():
    """coprocess.c, made in the scratch directory."""
    cc = shutil.which('cc') or need('gcc')
    name = scratch('coprocess')
    done = subprocess.run([cc, '-std=c11', '-Wall', '-Wextra', '-Wpedantic',
                           '-Werror', '-o', name,
                           os.path.join(FILTERS, 'coprocess.c')],
                          stderr=subprocess.PIPE, timeout=3 * DEADLINE)
    equal((done.returncode, done.stderr), (0, b''), 'the compiler')
    return name


def each(language, name, command):
    field = b'X-Coprocess: %s\r\n' % language.encode()

    def mended(message):
        return message.replace(b'\n', b'\n' + field, 1)

    @test('%s: messages one after the other, each answered at once' % name)
    def _():
        child = subprocess.Popen([command()], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        for message in (PAGE, b'GET / HTTP/1.0\n\n', PAGE * 300, b'\n', b'',
                        b'no newline', b'9\n9\n', bytes(70000) + b'\n'):
            child.stdin.write(b'%d id=1 url=http://a/%%20\n' % len(message)
                              + message)
            child.stdin.flush()
            want = mended(message)
            want = b'%d\n' % len(want) + want
            got = thread(child.stdout.read, len(want)).result()
            equal(got, want, 'the answer')
        child.stdin.close()
        equal(thread(child.stdout.read).result(), b'', 'the end')
        child.stdout.close()
        equal(child.wait(DEADLINE), 0, 'status')

    @test('%s through the proxy' % name)
    def _():
        if '--coprocess' not in mitmproxy('--help')[1]:
            raise Skip('this program has no --coprocess')
        with Origin(answer(PAGE), tls=True) as origin, \
                Proxy('--coprocess', '--jobs', '1', '--response',
                      shlex.quote(command())) as proxy:
            proxy.settled = lambda: True        # it stays, as it should
            client = proxy.tls(origin)
            for _ in range(20):
                client.send(get('/'))
                equal(client.read_message().raw, mended(PAGE), 'the page')


def there(name):
    return lambda: os.path.join(FILTERS, name)


each('Python', 'coprocess.py', there('coprocess.py'))
each('Perl', 'coprocess.pl', there('coprocess.pl'))
each('C', 'coprocess.c', compiled)

run()
