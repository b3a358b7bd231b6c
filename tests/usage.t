#!/usr/bin/env python3
"""Options, exit statuses, start-up errors."""
from mitm import *


@test('--help and -h: the options, exit status 0')
def _():
    for option in ('--help', '-h'):
        status, out, err = mitmproxy(option)
        equal((status, err), (0, ''), 'status and standard error')
        for word in ('-p', '--listen-port', '-Q', '--request', '-R',
                     '--response', '--raw', '--jobs', '--timeout',
                     '--on-error', '-c', '--ca', '-k', '--insecure',
                     '--cacert', '-q', '--quiet', '-v', '--verbose', '-h',
                     '--help', '-V', '--version'):
            like(out, r'(?m)(^|\s)%s\b' % word, option)
        check(max(map(len, out.splitlines())) <= 80, 'more than 80 columns')


@test('--version and -V')
def _():
    for option in ('--version', '-V'):
        status, out, err = mitmproxy(option)
        equal((status, err), (0, ''), 'status and standard error')
        like(out, r'mitmproxy.*\d+\.\d+', option)


for args, word in (
        (['--bogus'], '--bogus'), (['-Z'], '-Z'), (['-'], '-'),
        (['--response'], '--response'), (['-p'], '-p'),
        (['-p', 'x'], 'x'), (['-p', '65536'], '65536'), (['-p', '-1'], '-1'),
        (['-p', ''], 'port'), (['-p', '80x'], '80x'),
        (['--ca', ''], '--ca needs its FILE'), (['--user='], 'its NAME'),
        (['--listen-host', ''], 'its ADDR'), (['-w', ''], 'needs its FILE'),
        (['--jobs', '0', '--response', 'cat'], 'jobs'),
        (['--jobs', 'x', '--response', 'cat'], 'jobs'),
        (['--timeout', 'x', '--response', 'cat'], 'timeout'),
        (['--timeout', '-1', '--response', 'cat'], 'timeout'),
        (['--timeout', '', '--response', 'cat'], 'timeout'),
        (['--timeout', '1.5s', '--response', 'cat'], 'timeout'),
        (['--on-error', 'cry', '--response', 'cat'], 'cry')):
    @test('bad usage, exit status 2: ' + ' '.join(args))
    def _(args=args, word=word):
        status, out, err = mitmproxy('--ca', scratch('cert.pem'), *args)
        equal((status, out), (2, ''), 'status and standard output')
        like(err, r'^mitmproxy: .*' + re.escape(word), 'the error')
        check(err.count('\n') <= 2, 'more than a line and a hint', err)


@test('what --help and --version print cannot be written: exit status 1')
def _():
    for option in '--help', '--version':
        with open('/dev/full', 'wb') as full:
            done = subprocess.run([PROGRAM, option], stdout=full, stderr=-1)
        equal((done.returncode, done.stderr),
              (1, b'mitmproxy: cannot write: No space left on device\n'), option)


@test('a long name takes its value behind = too')
def _():
    with Proxy('--jobs=3', '--response=cat') as proxy:
        check(proxy.port, 'started')


@test('a port in use: exit status 1 and one clear line')
def _():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        port = str(s.getsockname()[1])
        status, out, err = mitmproxy('-p', port, '--ca', scratch('cert.pem'))
        equal((status, out), (1, ''), 'status and standard output')
        like(err, r'^mitmproxy: .*%s.*\n$' % port, 'the error')
        like(err, r'(?i)in use', 'the reason')


@test('other start-up errors: exit status 1 and one line')
def _():
    ca = scratch('cert.pem')
    for args, word in (
            (['--cacert', '/nonexistent.pem'],
             'cannot read /nonexistent.pem: No such file or directory'),
            (['--cacert', '/'], 'cannot read /: Is a directory'),
            (['--cacert', scratch('empty.pem', '')],
             'empty.pem holds no certificate in PEM form'),
            (['--listen-host', '203.0.113.1'], '203.0.113.1')):
        status, _, err = mitmproxy('-p', '0', '--ca', ca, *args)
        equal(status, 1, 'exit status of %s' % args)
        like(err, r'^mitmproxy: .*%s.*\n$' % re.escape(word), 'the error')


@test('a filter that is a folder or not executable: what to do')
def _():
    folder, there = scratch('folder'), scratch('filter', '#!/bin/sh\ncat\n')
    for name in folder, folder + '/bin', folder + '/bin/tool':
        os.mkdir(name)                  # in PATH, too: passed over
    for command, env, what in (
            (folder, {}, '%s is a directory' % folder),
            (there + ' x', {}, '%s is not executable: chmod +x %s' % (
                there, there)),
            ('tool', {'PATH': folder + '/bin'}, 'tool is a directory')):
        for option in '--request', '--response':
            status, _, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'),
                                       option, command,
                                       env=dict(os.environ, **env))
            equal((status, err.count('\n')), (1, 1), 'status and lines')
            like(err, re.escape(what) + '\n', 'the line')
    good = script('#!/bin/sh\ncat\n', 'tool')
    os.rename(good, os.path.dirname(good) + '/tool')
    with Proxy('--request', 'tool', env={'PATH': folder + '/bin:' +
                                         os.path.dirname(good)}):
        pass                            # the one behind is found


@test('the port can be used again at once')
def _():
    with Origin(answer(reply(b'x'))) as origin:
        with Proxy() as proxy:
            proxy.fetch(origin)
            port = proxy.port
        with Proxy('-p', str(port)) as proxy:
            equal(proxy.port, port, 'port')


run()
