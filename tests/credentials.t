#!/usr/bin/env python3
"""A credential that a filter puts in the place of a placeholder is where it is
to be, at the server, and nowhere else, whether all goes well or not."""
import binascii, glob

from mitm import *

FILTERS = os.path.join(HERE, '..', 'filters')
SECRET = 'S3' + binascii.hexlify(os.urandom(12)).decode()
KEY = scratch('key', SECRET + '\n', 0o600)
# A coprocess that tells what it is told of each message, which it leaves alone.
RECORDER = script('''
#!/usr/bin/env python3
import os, sys
while True:
    line = sys.stdin.buffer.readline()
    if not line:
        break
    with open(os.environ['FACTS'], 'ab') as f:
        f.write(line)
    sys.stdin.buffer.read(int(line.split()[0]))
    sys.stdout.write('-\\n')
    sys.stdout.flush()
''')


def telling(log):
    """A directory in which what filters start tells its arguments."""
    home = scratch('bin')
    os.mkdir(home)
    for name in 'awk', 'cat', 'perl', 'sed', 'env', 'head', 'sh':
        with open(os.path.join(home, name), 'w') as f:
            f.write('#!/bin/sh\nprintf "%%s\\n" "%s $*" >>%s\nexec %s "$@"\n'
                    % (name, log, need(name)))
        os.chmod(os.path.join(home, name), 0o755)
    return home


def look():
    """No process on this machine has it in its command line."""
    for name in glob.glob('/proc/[0-9]*/cmdline'):
        with contextlib.suppress(OSError):
            check(SECRET.encode() not in slurp(name), 'a command line',
                  slurp(name))


@contextlib.contextmanager
def watched(put, *args):
    """An origin, and a proxy in which a filter puts in the secret, and which
    writes all that it can. At the end that is looked through."""
    files = events, keys, facts, argv = [
        scratch(n, '') for n in ('events', 'keys', 'facts', 'argv')]
    wire = scratch('wire')
    pages = []

    def behave(conn):
        while wait_message(conn):
            head = conn.read_message().head
            check(SECRET.encode() in head, 'what the server gets', head)
            if b'/gone' in head:
                return
            conn.send(reply(head if b'/echo' in head else b'well'))

    def post(path, wait=True):
        client = proxy.tls(origin)
        ran = len(slurp(argv))
        client.send(get(path + '?KEY', 'X-Key: KEY', 'Content-Length: 6',
                        method='POST') + b'KEY')
        if wait:
            wait_for(lambda: re.search(rb'(?m)^cat ', slurp(argv)[ran:]),
                     'filters that wait for the body')
        look()
        with contextlib.suppress(OSError):
            client.send(b'KEY')
        page = client.read_message()
        client.finish()
        pages.append(page.raw)
        return page
    with Origin(behave, tls=True) as origin, Proxy(
            '--log-json', events, '-w', wire, *put, *args, coprocesses=2,
            env={'TOKEN': SECRET, 'SSLKEYLOGFILE': keys, 'FACTS': facts,
                 'PATH': telling(argv) + ':' + os.environ['PATH']}) as proxy:
        proxy.facts = facts
        yield proxy, post
    for what, text in [('a page', b''.join(pages)),
                       ('standard error', proxy.log().encode()),
                       ('standard output', proxy.out().encode())] + [
                           (name, slurp(name)) for name in files]:
        check(text or '-q' in args, 'there is something in ' + what)
        check(SECRET.encode() not in text, what, text)
    check(SECRET.encode() in slurp(wire), 'what passes to the server, in -w')
    equal(os.stat(wire).st_mode & 0o777, 0o600, 'the mode of -w')


def ready(text):
    return os.path.join(FILTERS, text)


PUT = {
    'set-header env:': 'set-header X-Key env:TOKEN',
    'set-header file:': 'set-header X-Key file:' + KEY,
    'swap env:': 'swap KEY env:TOKEN',
    'swap file:': 'swap KEY file:' + KEY,
}
for what in PUT:
    @test('where all goes well, and where filters or the server fail: ' + what)
    def _(what=what):
        none = re.sub('(env|file):.*', r'\1:/NONE', PUT[what])
        with watched(
                ('--request', ready(PUT[what])), '--explain',
                '--match', '~u /second', '--request', 'cat >/dev/null; exit 3',
                '--match', '~u /silent', '--request', 'kill -9 $$',
                '--match', '~u /first', '--request', ready(none),
                '--coprocess', '--response', RECORDER,
                '--match', '~u /late', '--response', 'exit 4') \
                as (proxy, post):
            equal(post('/fine').body, b'well', 'the page')
            for path in '/second', '/silent', '/first', '/gone', '/late':
                page = post(path, path not in ('/first', '/silent'))
                equal(page.status, 502, path)
                unlike(page.raw, b'set-header|swap|cat >|kill -|TOKEN',
                       'the page, which has no command')
            for word in 'set-header|swap', 'kill -9', 'NONE', 'exit 4':
                proxy.wait_log(word)    # the log has them


@test('what the server repeats is scrubbed; what coprocesses are told')
def _():
    with watched(
            ('--request', ready(PUT['swap file:'])), '-q',
            '--coprocess', '--request', RECORDER,
            '--response', ready('swap --body file:%s KEY' % KEY),
            '--coprocess', '--response', RECORDER) \
            as (proxy, post):
        like(post('/echo').body, rb'^POST /echo\?KEY HTTP(?s:.*)X-Key: KEY\r',
             'what the server repeats')


@test("by '~u ^https://' a credential does not go out in plain text")
def _():
    match = '--match', r'~u ^https://localhost[:/]', '--request', \
        ready(PUT['swap file:'])
    for tls in True, False:
        with Origin(answer(lambda r: reply(r.head)), tls=tls) as origin, \
                Proxy('--only-hosts', '^localhost:', *match) as proxy:
            for target in '/', 'http://%s/' % origin.auth:
                ask = get(target, 'X-Key: KEY', host=origin.auth)
                secret = SECRET.encode() in proxy.fetch(origin, ask).body
                equal(secret, tls and target == '/', target)


@test('bytes behind a request are no way around the filters of its answer')
def _():
    def behave(conn):
        conn.send(reply(conn.read_head()))
        conn.read_all()
    match = '--match', '~u ^https://localhost:'
    hide = scratch('hide', 's/%s/%s/g' % (SECRET, 'x' * len(SECRET)))
    for scrub in (['--response', ready('swap --body file:%s KEY' % KEY)],
                  ['--raw', '--response', 'sed -f ' + hide]):
        with Origin(behave, tls=True) as origin, Proxy(
                *match, '--request', ready('swap KEY file:' + KEY),
                *match, *scrub) as proxy:
            for tail in b'\0', b' ', b'x y\r\n', b'GET / HTTP/9.9\r\n\r\n':
                client = proxy.tls(origin)
                client.send(get('/', 'X-Key: KEY') + tail)
                body = client.read_message().body
                check(b'X-Key: ' in body and SECRET.encode() not in body,
                      'the answer, behind %s' % show(tail), body)
                client.finish()
            like(origin.rx, SECRET.encode(), 'what the server got')


run()
