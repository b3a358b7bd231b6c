#!/usr/bin/env python3
"""How a filter is run: environment, descriptors, directly or by a shell."""
from mitm import *

TELL = script('''
#!/bin/sh
cat > /dev/null
printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'
env | grep ^MITM_ | sort
''')


@test('MITM_* of a response')
def _():
    with Origin(answer(chunked(b'x', status='203 Fine')), tls=True) \
            as origin, Proxy('--response', TELL) as proxy:
        got = proxy.fetch(origin, get('/a?b', method='POST')).body.decode()
        for line in ('MITM_DIRECTION=response', 'MITM_SCHEME=https',
                     'MITM_HOST=localhost', 'MITM_PORT=%d' % origin.port,
                     'MITM_METHOD=POST', 'MITM_STATUS=203',
                     'MITM_URL=https://localhost:%d/a\\?b' % origin.port,
                     r'MITM_CLIENT=127\.0\.0\.1(:\d+)?', r'MITM_ID=\d+'):
            like(got, '(?m)^%s$' % line, 'environment')


@test('MITM_* of a request')
def _():
    seen = scratch('seen')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--request', 'env > %s; cat' % seen) as proxy:
        proxy.fetch(origin, get('/a?b', method='PUT'))
        got = slurp(seen).decode()
        for line in ('MITM_DIRECTION=request', 'MITM_SCHEME=http',
                     'MITM_HOST=localhost', 'MITM_PORT=%d' % origin.port,
                     'MITM_METHOD=PUT',
                     'MITM_URL=http://localhost:%d/a\\?b' % origin.port):
            like(got, '(?m)^%s$' % line, 'environment')
        unlike(got, r'MITM_STATUS=.', 'no status yet')


@test('MITM_URL and ~u in a tunnel: its server, whatever the target claims')
def _():
    tell = 'printf "HTTP/1.1 200 OK\\r\\n\\r\\n%s" "$MITM_URL"'
    for tls in False, True:
        with Origin(answer(reply()), tls=tls) as origin, \
                Proxy('--match', '~u ^https?://a[.]test', '--request',
                      'sed s/KEY/SECRET/', '--match', '!~u keep', '--request',
                      tell) as proxy:
            client = proxy.tls(origin) if tls else proxy.tunnel(origin)
            for target, path in (
                    ('https://a.test/x?y', '/x?y'), ('http://a.test', '/'),
                    ('HTTP://a.test?z', '/?z'), ('ws://u@a.test:1/', '/'),
                    ('.a.test/', '/.a.test/'), ('@a.test', '/@a.test'),
                    (':1@a.test/', '/:1@a.test/'), ('?q', '/?q'),
                    ('ftp://a.test/', '/ftp://a.test/'), ('*', '*'),
                    ('//a.test/', '//a.test/')):
                client.send(get(target))
                want = origin.url('') + path
                if target[:5].lower() in ('http:', 'ws://'):
                    want = want.replace('https:', 'http:')
                equal(client.read_message().body, want.encode(), target)
            client.send(get('https://a.test/keep', 'K: KEY'))
            client.read_message()
            equal(origin.rx, get('https://a.test/keep', 'K: KEY'), 'as it was')


@test('MITM_URL and ~u without a tunnel: no user that looks like a host')
def _():
    with Origin(answer(reply())) as origin, \
            Proxy('--match', '~u ^http://a[.]test[:/]', '--request',
                  'sed s/KEY/SECRET/', '--response', TELL) as proxy:
        client = proxy.connect()
        for user in '', 'a.test:80@', 'a.test@', '@':
            target = 'http://%s%s/x?y' % (user, origin.auth)
            client.send(get(target, 'K: KEY'))
            like(client.read_message().body.decode(), '\nMITM_URL=%s\n'
                 % re.escape(origin.url('/x?y')), target)
        unlike(origin.rx, b'SECRET', 'at the server')


@test('MITM_DIRECTION of a stream')
def _():
    seen = scratch('seen')
    with Origin() as origin, \
            Proxy('--request', 'env > %s; cat' % seen) as proxy:
        client = proxy.tunnel(origin)
        client.send(b'\0not HTTP')
        equal(origin.next().read_exact(9), b'\0not HTTP', 'at the server')
        like(slurp(seen).decode(), '(?m)^MITM_DIRECTION=stream$', 'env')


@test('an evil URL is data in the environment, never a command')
def _():
    mark = scratch('mark')
    path = '/$(touch${IFS}%s)`touch${IFS}%s`;touch\t%s' % ((mark,) * 3)
    with Origin(answer(chunked(b'x'))) as origin, \
            Proxy('--response', TELL) as proxy:
        got = proxy.fetch(origin, get(path)).body.decode()
        like(got, re.escape('$(touch${IFS}' + mark), 'it arrives as it is')
        check(not os.path.exists(mark), 'the command was run')


for words, ends in ((), 'cat'), (('--coprocess',), 'while read n x; do '
                                 'head -c $n >/dev/null; echo -; done'):
    @test('MITM_* that the proxy was given, it does not pass on%s'
          % ' to coprocesses' * len(words))
    def _(words=words, ends=ends):
        seen = scratch('seen')
        with Origin(answer(reply(b'x'))) as origin, \
                Proxy(*words, '--request', 'env >%s; %s' % (seen, ends),
                      env={'MITM_STATUS': 'fake', 'MATM_X': 'control'},
                      coprocesses=len(words)) as proxy:
            equal(proxy.fetch(origin).body, b'x', 'the page')
        like(slurp(seen), b'(?m)^MATM_X=control', 'what it was given')
        unlike(slurp(seen), b'fake', 'what it was given')


@test('the proxy itself does not get the environment')
def _():
    with Origin(answer(chunked(b'x'))) as origin, \
            Proxy('--response', TELL) as proxy:
        proxy.fetch(origin)
        unlike(slurp('/proc/%d/environ' % proxy.pid), b'MITM_URL', 'environ')


@test('a command without shell syntax is run directly, any other by sh')
def _():
    parent = script('#!/bin/sh\ncat > /dev/null\n'
                    'printf "HTTP/1.1 200 OK\\r\\n\\r\\n"\n'
                    'cat /proc/$PPID/comm\n')
    for command, want in ((parent, 'mitmproxy'),
                          (parent + ' a b', 'mitmproxy'),
                          (parent + '; true', 'sh')):
        with Origin(answer(chunked(b'x'))) as origin, \
                Proxy('--response', command) as proxy:
            want = os.path.basename(PROGRAM)[:15] if want != 'sh' else want
            equal(proxy.fetch(origin).body.decode().strip(), want,
                  'the parent of ' + command)


@test('quotes and blanks mean what they mean in a shell')
def _():
    for command in ("sed 's/a b/X Y/'", 'sed "s/a b/X Y/"',
                    '  sed  s/a\\ b/X\\ Y/  ', 'tr b B | sed "s/a B/X Y/"'):
        with Origin(answer(reply(b'a b'))) as origin, \
                Proxy('--response', command) as proxy:
            equal(proxy.fetch(origin).body, b'X Y', command)


@test('it has descriptors 0, 1 and 2 and no other')
def _():
    with Origin(answer(chunked(b'x')), tls=True) as origin, \
            Proxy('--response', 'ls /proc/self/fd') as proxy:
        client = proxy.tls(origin)
        other = proxy.tls(origin)
        client.send(get('/'))           # 3 is the directory that ls reads
        equal(client.read_all(), b'0\n1\n2\n3\n', 'descriptors')
        other.finish()


@test('signals are as usual in it')
def _():
    with Origin(answer(chunked(b'x'))) as origin, \
            Proxy('--response', 'cat /proc/self/status') as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        status = client.read_all().decode()
        blocked, ignored = (int(re.search(name + r':\s+(\w+)', status)[1], 16)
                            for name in ('SigBlk', 'SigIgn'))
        equal(blocked, 0, 'blocked')
        for number in (signal.SIGPIPE, signal.SIGCHLD):
            equal(ignored >> number - 1 & 1, 0, 'ignored: ' + number.name)


@test('its standard error is that of the proxy')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--response', 'echo it was here >&2; cat') as proxy:
        equal(proxy.fetch(origin).body, b'x', 'the message')
        proxy.wait_log('(?m)^it was here$')


run()
