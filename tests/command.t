#!/usr/bin/env python3
"""One line around a command: mitmproxy [options] -- COMMAND [ARG...]."""
import json, resource

from mitm import *

CA = scratch('cert.pem')
CLOWN = ('-R', 'sed s/cloud/clown/g')
CLOUD = reply(b'a cloud over the hills\n')
PRINT = 'import os, json; print(json.dumps(dict(os.environ)))'


def words(*args, origin=None, trust=None):
    """The command line around a command that reaches origin as
    weather.test, by https if it speaks TLS."""
    line = ['--ca', CA, '--cacert', trust or make_ca()]
    if origin:
        line += ['--connect-to', 'weather.test:%d:127.0.0.1:%d'
                 % (443 if origin.tls else 80, origin.port)]
    return [*line, *args]


def around(*args, origin=None, **more):
    return mitmproxy(*words(*args, origin=origin), **more)


def site(*replies, tls=True):
    return Origin(answer(*(replies or [CLOUD])), tls=tls,
                  cert=make_leaf(names='DNS:weather.test'))


def curl(*more, url='https://weather.test/'):
    return [need('curl'), '-sS', '--max-time', str(int(DEADLINE)), *more, url]


def sh(text):
    return ['--', 'sh', '-c', text]


@test('one line: curl gets a page of https that a filter has changed')
def _():
    with site() as origin:
        status, out, err = around(*CLOWN, '--', *curl(), origin=origin)
        equal((status, out), (0, 'a clown over the hills\n'), 'curl')
        like(err, r"(?m)^#1 >> 'GET / HTTP/1.1\\r\\nHost: weather.test", 'err')
        like(err, r"(?m)^#1 << 'HTTP/1.1 200 OK\\r\\n", 'standard error')
        unlike(err, 'listening', 'standard error')


@test('with -q nothing at all is said, not even of a new CA')
def _():
    with site(tls=False) as origin:
        ca = scratch('new.pem')
        equal(mitmproxy(*words(origin=origin)[2:], '--ca', ca, '-q', *CLOWN,
                        '--', *curl(url='http://weather.test/')),
              (0, 'a clown over the hills\n', ''), 'status and output')
        check(os.path.exists(ca), 'the CA was made')


@test('the first word that is no option begins COMMAND, with its own options')
def _():
    equal(around('-q', 'printf', '%s.', '-q', '--', '--help'),
          (0, '-q.--.--help.', ''), 'without --')
    equal(around('-q', '--', 'printf', '%s.', '-p'), (0, '-p.', ''), 'with --')


@test('exit status: COMMAND\'s; 126, 127, and 128 + N where a signal ends it')
def _():
    for words_, want in ((['true'], 0), (['sh', '-c', 'exit 7'], 7),
                         (['sh', '-c', 'kill -9 $$'], 137),
                         (['sh', '-c', 'kill -TERM $$'], 143),
                         (['nosuch-command'], 127), ([''], 127),
                         (['/nosuch/file'], 127), ([HERE], 126),
                         ([scratch('plain', 'x', 0o644)], 126)):
        for workers in (), ('-j', '2'):
            status, out, err = around(*workers, '--', *words_)
            equal((status, out), (want, ''), '%s %s' % (words_, workers))
            if want in (126, 127):
                like(err, r"(?m)^mitmproxy: cannot run '%s': \S.*\n$"
                     % re.escape(words_[0]), 'the reason')


@test('a filter that was not quoted is a COMMAND that is not there: a hint')
def _():
    status, _, err = around('--response', 'sed', 's/a/b/')
    equal(status, 127, 'status')
    like(err, "cannot run 's/a/b/'.*quoted: --response 'sed s/a/b/'", 'hint')


@test('what does not go with a COMMAND is bad usage')
def _():
    for args, text in ((['--'], 'COMMAND'),
                       (['-m', 'reverse:http://h/', '--', 'true'],
                        '--mode reverse'),
                       (['-m', 'transparent', 'true'], '--mode transparent')):
        status, out, err = mitmproxy('--ca', CA, *args)
        equal((status, out), (2, ''), 'status of %s' % args)
        like(err, text, 'the reason')


@test('a start-up error: COMMAND never runs')
def _():
    mark = scratch('mark')
    status, out, err = mitmproxy('--ca', '/nosuch/dir/ca.pem', '--', 'touch',
                                 mark)
    equal((status, out), (1, ''), 'status')
    check(err.count('\n') == 1, 'one line', err)
    check(not os.path.exists(mark), 'COMMAND did not run')


@test('the environment: proxy in both cases, no_proxy empty, a bundle, no '
      'variable of filters\'')
def _():
    env = dict(os.environ, no_proxy='*', NO_PROXY='localhost', KEPT='me',
               MITM_ID='7', MITM_ODD='x', https_proxy='http://192.0.2.1:1')
    status, out, err = around('--', sys.executable, '-c', PRINT, env=env)
    got = json.loads(out)
    port = re.match(r'http://127\.0\.0\.1:(\d+)$', got['http_proxy'])
    check(port and port.group(1) != '8080', 'a free port', got['http_proxy'])
    for name in ('https_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY',
                 'ALL_PROXY'):
        equal(got[name], got['http_proxy'], name)
    equal((got['no_proxy'], got['NO_PROXY'], got['KEPT'],
           got['NODE_USE_ENV_PROXY']), ('', '', 'me', '1'), 'others')
    for name in ('SSL_CERT_FILE', 'CURL_CA_BUNDLE', 'REQUESTS_CA_BUNDLE',
                 'PIP_CERT', 'GIT_SSL_CAINFO', 'NODE_EXTRA_CA_CERTS',
                 'AWS_CA_BUNDLE', 'CARGO_HTTP_CAINFO', 'DENO_CERT',
                 'npm_config_cafile'):
        equal(got[name], got['SSL_CERT_FILE'], name)
    equal([k for k in got if k.startswith('MITM_')], [], 'variables')
    check(not os.path.exists(os.path.dirname(got['SSL_CERT_FILE'])),
          'the bundle is removed')


@test('-p, --listen-host and --proxyauth are what COMMAND is told')
def _():
    port = free_port()
    for args, want in (
            (['-p', str(port)], '127.0.0.1:%d' % port),
            (['-p', str(port), '--listen-host', '0.0.0.0'],
             '127.0.0.1:%d' % port),
            (['-p', str(port), '--listen-host', '127.0.0.2'],
             '127.0.0.2:%d' % port),
            (['-p', str(port), '--proxyauth', 'me:a b@/%'],
             'me:a%%20b%%40%%2F%%25@127.0.0.1:%d' % port)):
        _, out, _ = around(*args, *sh('echo $http_proxy'))
        equal(out, 'http://%s\n' % want, ' '.join(args))
    with site() as origin:
        _, out, err = around('-q', '--proxyauth', 'me:a b@/%', '--', *curl(),
                             origin=origin)
        equal((out, err), ('a cloud over the hills\n', ''), 'curl logs in')


@test('the bundle has the CAs that COMMAND trusted before, and ours: an '
      'untouched host is verified by COMMAND itself')
def _():
    with site() as origin:
        leave = ['--ignore-hosts', '^weather']
        status, out, err = around(
            *leave, '--', *curl(), origin=origin,
            env=dict(os.environ, SSL_CERT_FILE=make_ca()))
        equal((status, out), (0, 'a cloud over the hills\n'), 'trusted before')
        status, out, err = around(*leave, '--', *curl(), origin=origin,
                                  env=dict(os.environ,
                                           SSL_CERT_FILE=make_ca('Other')))
        equal((status, out), (60, ''), 'not trusted before')
    mode = sh('stat -c %a "$SSL_CERT_FILE"; grep -c BEGIN "$SSL_CERT_FILE"')
    two = scratch('two.pem', slurp(make_ca()) + slurp(make_ca('Other')))
    equal(around(*mode, env=dict(os.environ, SSL_CERT_FILE=two))[1],
          '644\n3\n', 'mode and certificates')
    equal(around(*sh('grep -c "PRIVATE KEY" "$SSL_CERT_FILE"'))[1], '0\n',
          'keys')
    system = '/etc/ssl/certs/ca-certificates.crt'
    if os.path.exists(system):
        env = {k: v for k, v in os.environ.items() if k != 'SSL_CERT_FILE'}
        equal(around(*sh('grep -c BEGIN "$SSL_CERT_FILE"'), env=env)[1],
              '%d\n' % (slurp(system).count(b'BEGIN') + 1), "the system's")


@test('TMPDIR that cannot be written: one line, status 1')
def _():
    status, _, err = around('-q', '--', 'true',
                            env=dict(os.environ, TMPDIR='/nosuch/dir'))
    equal(status, 1, 'status')
    like(err, '^mitmproxy: cannot make /nosuch/dir/.*TMPDIR.*\n$', 'why')
    at, mount = small_disk('16k')
    done = subprocess.run([*mount, PROGRAM, *words('-q', '--', 'true')],
                          env=dict(os.environ, TMPDIR=at), timeout=DEADLINE,
                          stderr=subprocess.PIPE)
    equal(done.returncode, 1, 'status, on a full disk')
    like(done.stderr, rb'^mitmproxy: cannot write %s/.*: No space left on '
         rb'device \(TMPDIR' % at.encode(), 'why')


@test('standard input is COMMAND\'s, and its output ends when it ends it')
def _():
    text = os.urandom(300000).hex()
    done = subprocess.run([PROGRAM, *words('-q', '--', 'cat')], timeout=DEADLINE,
                          input=text.encode(), stdout=subprocess.PIPE)
    equal(done.stdout, text.encode(), 'through cat')
    child = subprocess.Popen(
        [PROGRAM, *words('-q', *sh('exec >&-; read x; exit 3'))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    equal(child.stdout.read(), b'', 'the end of its output')
    equal(child.poll(), None, 'it runs on')
    child.stdin.write(b'\n')
    child.stdin.close()
    equal(child.wait(DEADLINE), 3, 'status')
    child.stdout.close()


SHOW = '''import os, resource, signal, sys
fds = {n: os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd")
       if os.path.exists("/proc/self/fd/" + n)}
print(sorted(fds.items()), resource.getrlimit(resource.RLIMIT_NOFILE),
      os.umask(0), os.getsid(0), os.getcwd(),
      [l for l in open("/proc/self/status") if l.startswith(("SigB", "SigI"))])
'''


@test('COMMAND inherits what it would without us: descriptors, their limit, '
      'umask, signals, session')
def _():
    given, away = os.pipe()

    def prepare():
        os.setpgid(0, 0)
        os.umask(0o27)
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 4567))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def see(*before):
        done = subprocess.run([*before, sys.executable, '-c', SHOW],
                              stdin=subprocess.DEVNULL, preexec_fn=prepare,
                              stdout=subprocess.PIPE, pass_fds=[given],
                              timeout=DEADLINE)
        return re.sub(r'pipe:\[\d+\]', 'pipe', done.stdout.decode())
    equal(see(PROGRAM, *words('-q', '--')), see(), 'what COMMAND sees')
    os.close(given)
    os.close(away)


@test('what we were given is closed here: its reader sees the end in time')
def _():
    reader, writer = os.pipe()
    child = subprocess.Popen(
        [PROGRAM, *words('-q', *sh('exec %d>&-; read x' % writer))],
        stdin=subprocess.PIPE, pass_fds=[writer])
    os.close(writer)
    check(select.select([reader], [], [], DEADLINE)[0], 'the end comes')
    equal(os.read(reader, 1), b'', 'the end')
    child.stdin.close()
    equal(child.wait(DEADLINE), 1, 'status of read at the end of its input')
    os.close(reader)


def started(*args, **more):
    """Popen around a command that prints a line when it is ready."""
    child = subprocess.Popen([PROGRAM, *words(*args)], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             start_new_session=True, **more)
    check(child.stdout.readline(), 'it is ready')
    return child


@test('a signal sent to us is for COMMAND, which may have its own mind')
def _():
    for name, number in (('TERM', 15), ('INT', 2), ('HUP', 1), ('USR1', 10)):
        child = started('-q', *sh('trap "echo got; exit 5" %s; echo; '
                                  'while :; do sleep 0.05; done' % name))
        child.send_signal(number)
        equal((child.communicate(timeout=DEADLINE), child.returncode),
              ((b'got\n', b''), 5), name)
    for number in signal.SIGTERM, signal.SIGINT:    # not ^C, which ends us, too
        child = started('-q', *sh('echo; exec sleep 100'))
        child.send_signal(number)
        equal(child.wait(DEADLINE), 128 + number, 'status when it is ended')
        child.communicate()


@test('what COMMAND sends to its process group does not end us or the workers')
def _():
    with site() as origin:
        text = "trap '' TERM; kill -TERM 0; %s; kill -TERM 0; %s" % (
            (' '.join(curl()),) * 2)
        for workers in (), ('-j', '2'):
            status, out, err = mitmproxy(
                *words('-q', *workers, *sh(text), origin=origin),
                start_new_session=True)
            equal((status, out, err), (0, 'a cloud over the hills\n' * 2, ''),
                  'pages')


@test('when the proxy cannot go on COMMAND still ends it with its status')
def _():
    child = started('-q', *sh('echo; kill -9 $(cat /proc/$PPID/task/*/children'
                              ' | tr " " "\\n" | grep -vx $$); sleep 0.1; '
                              'exit 9'))
    equal(child.wait(DEADLINE), 9, 'status')
    like(child.communicate()[1], b'another takes its place', 'the log')


@test('a worker that is stopped by SIGTSTP goes on by SIGCONT')
def _():
    child = started('-q', *sh(
        'for w in $(cat /proc/$PPID/task/*/children); do [ $w = $$ ] || break;'
        ' done; kill -TSTP $w; i=0; until grep -q "State:.T" /proc/$w/status '
        '|| [ $i -gt 100 ]; do i=$((i + 1)); sleep 0.05; done; kill -CONT $w; '
        'echo; exec cat /proc/$w/status'))
    like(child.stdout.read(), rb'State:\s[SR]', 'the worker')
    equal((child.stderr.read(), child.wait(DEADLINE)), (b'', 0), 'what else')


LEAVE = '''import os, socket, sys, urllib.parse
at = urllib.parse.urlsplit(os.environ["http_proxy"])
s = socket.create_connection((at.hostname, at.port))
s.sendall(b"GET http://weather.test/ HTTP/1.0\\r\\nHost: weather.test\\r\\n\\r\\n")
if os.fork() == 0:
    with open(sys.argv[1], "wb") as page:
        while data := s.recv(4096):
            page.write(data)
    os.rename(sys.argv[1], sys.argv[1] + ".whole")
'''


@test('what COMMAND leaves behind is served, if it had connected')
def _():
    for workers in (), ('-j', '2'), ():
        release = threading.Event()

        def late(request):
            release.wait(DEADLINE)
            return CLOUD
        with site(late, tls=False) as origin:
            page = scratch('page')
            child = subprocess.Popen(
                [PROGRAM, *words('-q', *workers, *CLOWN, '--', sys.executable,
                                 '-c', LEAVE, page, origin=origin)])
            wait_for(lambda: origin.rx, 'the request')
            release.set()
            equal(child.wait(DEADLINE), 0, 'status')
            wait_for(lambda: os.path.exists(page + '.whole'), 'the page')
            like(slurp(page + '.whole'), b'a clown over the hills', 'the page')


@test('a flow that goes on is over five seconds behind COMMAND')
def _():
    stuck = threading.Event()

    def never(request):
        stuck.set()
        time.sleep(DEADLINE)
        return CLOUD
    with site(never) as origin:
        if not os.access(QUICK, os.X_OK):
            raise Skip('there is no ' + QUICK)
        fifo = scratch('fifo')
        os.mkfifo(fifo)
        child = subprocess.Popen(
            [QUICK, *words('-q', *sh('%s & read x <%s; exit 4' % (
                ' '.join(curl()), fifo)), origin=origin)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            stdout=subprocess.PIPE, env=dict(os.environ, SECOND='0.1'))
        stuck.wait(DEADLINE)
        with open(fifo, 'w') as f:
            f.write('\n')
        equal(child.wait(DEADLINE), 4, 'status')
        like(child.communicate()[1], rb'cut off', 'the log')


@test('with -j 3, twenty programs at once')
def _():
    with site() as origin:
        text = 'for i in $(seq 20); do %s & done; wait' % ' '.join(curl())
        status, out, err = around('-q', '-j', '3', *CLOWN, *sh(text),
                                  origin=origin)
        equal((status, out), (0, 'a clown over the hills\n' * 20), 'pages')


@test('-w and SSLKEYLOGFILE are complete when the line is over')
def _():
    with site() as origin:
        capture, keys = scratch('capture'), scratch('keys')
        around('-q', '-w', capture, '--', *curl(), origin=origin,
               env=dict(os.environ, SSLKEYLOGFILE=keys))
        like(slurp(capture), b'a cloud over the hills', '-w')
        like(slurp(keys), b'SERVER_TRAFFIC_SECRET_0', 'keys')


@test('a shell as COMMAND without a terminal, and one proxy in another')
def _():
    with site() as origin:
        inner = [PROGRAM, *words('-q', '-R', 'sed s/over/under/',
                                 origin=origin)]
        status, out, _ = around('-q', *CLOWN, '--', *inner, '--', *curl(),
                                origin=origin)
        equal((status, out), (0, 'a cloud under the hills\n'),
              'the inner one is asked')


run()
