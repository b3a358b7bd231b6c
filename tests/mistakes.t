#!/usr/bin/env python3
"""Usual mistakes, each met by a line that says what to do."""
from mitm import *


def refused(words, line, status=2, *, env=None):
    """The command line is refused with one line like this."""
    got, out, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'), *words,
                              env=dict(os.environ, **(env or {})))
    lines = [text for text in err.splitlines() if 'made a CA' not in text]
    equal((got, out, len(lines)), (status, '', 1), 'status, output, ' + err)
    like(lines[0], line, 'the line')


# ------------------------------------------------ the command line

QUOTE = 'a filter of several words is to be quoted: --%s \'%s\''
PYTHON = 'this is not the Python mitmproxy; here: '
for words, line, status in (
        ('--response sed s/a/b/', QUOTE % ('response', 'sed s/a/b/'), 127),
        ('--request tr -d x', QUOTE % ('request', 'tr -d'), 2),
        ('-R sed -n p', QUOTE % ('response', 'sed -n'), 2),
        ('-R sed -E s/a/b/', QUOTE % ('response', 'sed -E'), 1),
        ('-R perl -pe s/a/b/', QUOTE % ('response', 'perl -pe'), 2),
        ('-R jq -r .x -- true', QUOTE % ('response', 'jq -r'), 2),
        ('--raw -R cat -R cat', r'none: one sees .* the message \(', 2),
        ('--match ~d a.test -R cat', 'an expression of several words is to be '
         "quoted: --match '~d a.test'", 2),
        ('--resp cat', "'--resp' - perhaps --response ", 2),
        ('--reqest cat', "'--reqest' - perhaps --request ", 2),
        ('--listen-hots ::1', "perhaps --listen-host ", 2),
        ('--hosts x', 'perhaps --only-hosts, --ignore-hosts, --tcp-hosts ', 2),
        ('--port=8080', 'perhaps --listen-port ', 2),
        ('--xyz', "option '--xyz' \\(", 2), ('-Z', "option '-Z' \\(", 2),
        ('-s script.py', PYTHON + 'a filter is a command, --request CMD', 2),
        ('--scripts script.py', PYTHON + 'a filter is a command', 2),
        ('--set flow_detail=2', PYTHON + 'each option has a name', 2),
        ('--ssl-insecure', PYTHON + '-k ', 2),
        ('--modify-body /a/b', PYTHON + "--response 'sed s/a/b/g'", 2),
        ('--map-remote /a/b', PYTHON + "--request 'filters/map-remote", 2),
        ('--mode upstream:http://x', 'here that is -x URL', 2),
        ('--log-json - -- true', "is COMMAND's: --log-json .* /dev/stderr", 2),
        ('--log-json /dev/stdout -- true', "is COMMAND's: --log-json ", 2),
        ('-w - -- true', "is COMMAND's: .* -w take a file", 2),
        ('--listen-host 127.0.0.1:80', r'\(-p PORT tells the port\)', 1),
        ('--proxy-protocol -- true', 'of its proxy: --proxy-protocol does', 2),
        ('--match ~q --match a -Q cat', 'twice for a filter: join .* &', 2),
        ('--mode reverse:http://me:secret@a.test', 'takes http://host:port', 2),
        ('--mode socks5', r'regular \(SOCKS, too\)', 2)):
    test(words)(lambda words=words, line=line, status=status:
                refused(words.split(), line, status))

@test('a filter of one word, and an option behind it')
def _():
    with Proxy('--response', 'cat', '-v', '--request', 'cat'):
        pass


# -------------------------------------------------------- --match

OPERATORS = 'there are ~d host, .* ~w WebSocket, and no other '
WORDS = r'and, or, not are written & \| !'
PATTERN = r"a shell's pattern is no regular expression: \*\.js is \\\.js\$"
for expression, line in (
        ('~t html and ~c 200', 'character 9: %s.*and ~c 200' % WORDS),
        ('~q or ~s', WORDS), ('not ~q', WORDS), ('*.js', PATTERN),
        ('~d *.example', PATTERN), ('~u ?x', PATTERN), ('~b x', OPERATORS),
        ('~bq x', OPERATORS), ('~all', OPERATORS),
        ('~c 4', '~c takes a status code'),
        ('~d "a', 'or its second quote')):
    test('--match ' + expression)(
        lambda expression=expression, line=line: refused(
            ['--match', expression, '--response', 'cat'], line))


for option in '--only-hosts', '--ignore-hosts', '--tcp-hosts':
    test(option + ' *.example')(lambda option=option: refused(
        [option, '*.example'], r"%s '\*\.example': a shell's pattern is no "
        r"regular expression: \*\.example is \\.example:" % option))


@test('--match: words that are meant to be in a URL')
def _():
    for expression in '~u and', '"and"', 'android', '~h not', 'x*.js':
        with Origin(answer(reply(b'page'))) as origin, \
                Proxy('--match', expression, '--response',
                      'sed s/page/pagan/') as proxy:
            client = proxy.tunnel(origin)
            client.send(get('/android/x.js', 'not: and'))
            equal(client.read_message().body, b'page' if expression == '~h not'
                  else b'pagan', expression)


# ---------------------------------------------------- what is found

@test('filters by bare name, after make install, and in the folder beside')
def _():
    root, bin = scratch('root'), scratch("it's a bin")
    for folder in root + '/bin', root + '/share/x.c/filters', bin + '/filters':
        os.makedirs(folder)
    for program in root + '/bin/x.c', bin + '/mitmproxy':
        shutil.copy(PROGRAM, program)
    for folder in root + '/share/x.c', bin:
        os.rename(script('#!/bin/sh\nsed s/page/pagan/'),
                  folder + '/filters/heathen')
    for program in root + '/bin/x.c', bin + '/mitmproxy':
        for command in ('heathen', 'filters/heathen', 'cat | heathen',
                        'sh -c heathen', 'filters/heathen | cat',
                        'filters/heathen "\\"" $HOME'):
            with Origin(answer(reply(b'page'))) as origin, \
                    Proxy('--response', command, program=program) as proxy:
                equal(proxy.fetch(origin).body, b'pagan', command)
        done = subprocess.run(
            [program, '-p', '0', '--ca', scratch('cert.pem'), '-q', '--', 'sh',
             '-c', 'command -v heathen || echo "$PATH"'],
            stdout=subprocess.PIPE, timeout=DEADLINE)
        equal(done.stdout.decode(), os.environ['PATH'] + '\n',
              "COMMAND's PATH stays")
    for command in 'filters/pagan', 'filters/pagan | cat':
        refused(['--response', command],
                'there is no command filters/pagan$', 1)


@test('a filter that is a file here, and one that nothing can run')
def _():
    path = script('print("x")')
    folder, name = os.path.split(path)
    done = subprocess.run([PROGRAM, '-p', '0', '--response', name], cwd=folder,
                          stderr=subprocess.PIPE, timeout=DEADLINE)
    like(done.stderr.decode(), 'there is no command %s, but a file ./%s\n' % (
        re.escape(name), re.escape(name)), 'the line')
    for text, why in (('print("x")', 'Exec format error'),
                      ('#!/nowhere\n', 'No such file or directory')):
        with Origin(answer(reply(b'x'))) as origin, \
                Proxy('--response', script(text)) as proxy:
            like(proxy.fetch(origin).body.decode(), 'cannot be started: %s: its '
                 'first line is to name what runs it, as #!/bin/sh does' % why,
                 'the page')


@test('a COMMAND that does not heed the proxy')
def _():
    line = 'true has asked this proxy for nothing: not all programs heed http_'
    for words, tell in ((('-R', 'cat'), like), ((), unlike),
                        (('-q', '-R', 'cat'), unlike)):
        done = mitmproxy('--ca', scratch('cert.pem'), *words, '--', 'true')
        equal(done[0], 0, 'the status')
        tell(done[2], line, words)
    with Origin(answer(reply(b'x'))) as origin:
        done = mitmproxy('--ca', scratch('cert.pem'), '-R', 'cat', '--',
                         need('curl'), '-s', origin.url())
        unlike(done[2], 'for nothing', 'curl')


@test('a body that is compressed all the same: what undoes that')
def _():
    with Origin(answer(reply(b'x', 'Content-Encoding: gzip'))) as origin, \
            Proxy('--response', 'cat') as proxy:
        proxy.fetch(origin)
        proxy.wait_log(r'c1 #1 the body is compressed \(gzip\) although filters '
                       r'want text: .* \(filters/body undoes that\)')


@test('make install puts them there')
def _():
    root = os.path.join(HERE, '..')
    given = os.environ.get('MAKEFLAGS', '').partition(' -- ')[2]
    text = command('make', '-s', '-n', '-C', root, 'install', 'PREFIX=/pre',
                   'PROGRAM=other', *given.split(),     # as MBEDTLS_DIR=
                   env={'MAKEFLAGS': ''}).decode()
    like(text, r'(?m) mitmproxy /pre/bin/other$', 'the program')
    like(text, r'-t /pre/share/other/filters filters/', 'the filters')


@test('a new CA: where it is')
def _():
    folder = os.path.realpath(scratch('folder'))
    os.mkdir(folder)
    for _ in range(2):
        done = subprocess.run(
            [PROGRAM, '-q', '--', 'true'], cwd=folder, timeout=DEADLINE)
        equal(done.returncode, 0, 'status')
    os.unlink(folder + '/cert.pem')
    done = subprocess.run([PROGRAM, '--', 'true'], cwd=folder,
                          stderr=subprocess.PIPE, timeout=DEADLINE)
    like(done.stderr.decode(), 'made a CA in %s/cert.pem: ' % folder, 'line')


# ------------------------------------------------ while it runs

@test('a coprocess that is none, or does not flush')
def _():
    for words, why in (('cat >/dev/null', 'no answer in 1 s: does it flush '
                        'what it prints, and is it a coprocess[?]'),
                       ('cat', 'is no answer of a coprocess')):
        with Origin(answer(reply(b'page'))) as origin, \
                Proxy('--timeout', '1', '--coprocess', '--response', words,
                      coprocesses=1) as proxy:
            got = proxy.fetch(origin)
            equal(got.status, 502, 'the status')
            like(got.body.decode(), why, 'the page')
            proxy.wait_log(why)


@test('a head with line ends of both kinds: a line of -v')
def _():
    for words, tell in (((), unlike), (('-v',), like)):
        with Origin(answer(reply(b'x'))) as origin, \
                Proxy(*words, '--response', r"sed '1a X: y'") as proxy:
            like(proxy.fetch(origin).head, rb'\nX: y\n', 'the head')
            tell(proxy.log(), r'#1.* some lines end in CR LF, and some in LF',
                 'the log')


@test('openssl s_client, which asks for nothing')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        command('openssl', 's_client', '-connect', origin.auth, '-proxy',
                '127.0.0.1:%d' % proxy.port, status=0)
        like(proxy.wait_log('.* asked for nothing.*')[0],
             'as those do that want to see a certificate, ', 'the line')


@test('alerts: each number with its name')
def _():
    for sent, line in ((48, r'does not know our CA \(alert 48 unknown_ca\)'),
                       (40, r'gave up \(alert 40 handshake_failure\)'),
                       (99, r'gave up \(alert 99\)')):
        with Origin(tls=True) as origin, Proxy() as proxy:
            client, out = proxy.tunnel(origin), ssl.MemoryBIO()
            tls = client_context(proxy.ca).wrap_bio(
                ssl.MemoryBIO(), out, server_hostname='localhost')
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            client.send(out.read())
            equal(client.read_exact(1), b'\x16', 'a handshake')
            client.send(b'\x15\3\3\0\2\2' + bytes([sent]))
            proxy.wait_log(line)


@test('no protocol in common: the alert that was sent')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        with contextlib.suppress(ssl.SSLError):
            proxy.tls(origin, alpn=['HTTP/1.1'])    # its case is wrong
        proxy.wait_log(r'speaks no HTTP/1\.1 \(ALPN\) \(it was sent alert 120 '
                       r'no_application_protocol\)')


@test('a proxy above that is dead: which, and all its addresses')
def _():
    with closed_port() as port, Proxy('-x', 'http://localhost:%d' % port) \
            as proxy:
        client = proxy.connect()
        client.send(get('http://a.test/'))
        like(client.read_message().body, rb'cannot connect to the proxy '
             rb'localhost:%d \(127\.0\.0\.1:%d\): Connection refused, '
             rb'\(\[::1\]:%d\): ' % (port, port, port), 'the page')


@test('transparent mode, and nothing is redirected')
def _():
    with Proxy('-m', 'transparent') as proxy:
        client = proxy.connect()
        client.send(get('/', host='a.test'))
        client.read_all()
        proxy.wait_log('no packet filter has redirected this|our own connection')
        proxy.wait_log('that is this proxy itself: no packet filter has '
                       'redirected this')


@test("a request that gets no further than us: its line and its number")
def _():
    for words, url, fields in (
            (('--proxyauth', 'a:b'), 'http://a.test/', ()),
            ((), 'http://mitm.it/', ()), ((), 'http://127.0.0.1:1/', ()),
            (('--only-hosts', 'x'), 'http://a.test/', ())):
        with Proxy(*words) as proxy:
            client = proxy.connect()
            client.send(get(url, *fields))
            client.read_message()
            client.finish()
            proxy.wait_out("#1 >> 'GET http.*\n#1 << 'HTTP/1.1 .*\n" +
                           ("" if '--proxyauth' in words else '#1 == '))


@test('a folder filters that another user has put here is not ours')
def _():
    if os.geteuid():
        raise Skip('only root can make a folder of another')
    here, mark = scratch('here'), scratch('mark')
    os.makedirs(here + '/filters')
    with open(here + '/filters/block', 'w') as f:
        f.write('#!/bin/sh\ntouch %s\nexec cat\n' % mark)
    os.chmod(here + '/filters/block', 0o755)
    for owner, runs in ('nobody', False), ('root', True):
        shutil.chown(here + '/filters', owner)
        for more in '', ' | cat':
            try:
                with Origin(answer(reply(b'hi'))) as origin, \
                        Proxy('--request', 'filters/block no' + more,
                              prefix=('env', '-C', here)) as proxy:
                    proxy.fetch(origin)
            except Failed as error:     # none stands beside the program
                check('cannot be run: there is no' in str(error), error)
            equal(os.path.exists(mark), runs, owner + more)


run()
