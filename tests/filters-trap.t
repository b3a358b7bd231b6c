#!/usr/bin/env python3
"""trap: messages edited by a person, in a real terminal (tmux)."""
import shlex, termios
from filters import *

# It asks on the terminal for a sed command, as an editor asks for keys.
EDITOR = script('''
#!/bin/sh
printf 'editing %s>' "$(grep -o "/[a-z]* HTTP" "$1")"
read -r line || exit 9
exec sed -i "$line" "$1"
''')


class Terminal(Proxy):
    """The proxy in the foreground of a terminal of its own."""

    def __init__(self, *args, editor=EDITOR):
        self.tmux = [need('tmux'), '-S', scratch('tmux'), '-f', '/dev/null']
        self.ca, self.err_name = scratch('cert.pem'), scratch('stderr', '')
        self.out_name, self.clients = self.err_name, []
        self.process = self             # for wait_log(): poll(), returncode
        command = [PROGRAM, '-q', '-p', '0', '--ca', self.ca, '--cacert',
                   make_ca(), '--timeout', '0', *args]
        env = {k: v for k, v in os.environ.items() if k != 'TMUX'}
        done = subprocess.run(
            [*self.tmux, 'new-session', '-d', '-x', '80', '-y', '24',
             '-P', '-F', '#{pane_pid} #{pane_tty}',
             'EDITOR=%s exec %s 2>%s' % (
                 shlex.quote(editor), shlex.join(command), self.err_name)],
            env=dict(env, TERM='xterm', LC_ALL='C.UTF-8'), timeout=DEADLINE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        check(done.returncode == 0, 'tmux starts', done.stderr)
        pid, self.tty = done.stdout.decode().split()
        self.pid = int(pid)
        try:
            self.port = int(self.wait_log(
                r'mitmproxy: listening on \S+:(\d+)\n').group(1))
        except BaseException as error:
            tell(error, 'it said: ' + self.log() + self.screen())
            self.kill()
            raise
        self.modes = self.tty_modes()

    def poll(self):                     # it has no session at once
        running = os.path.exists('/proc/%d' % self.pid)
        return None if running else self.returncode
    returncode = -1

    def keys(self, *keys):
        subprocess.run([*self.tmux, 'send-keys', *keys], timeout=DEADLINE,
                       check=True)

    def screen(self):
        return subprocess.run([*self.tmux, 'capture-pane', '-p'],
                              stdout=subprocess.PIPE, timeout=DEADLINE,
                              stderr=subprocess.DEVNULL).stdout.decode()

    def wait_screen(self, regex):
        try:
            return wait_for(lambda: re.search(regex, self.screen()), regex)
        except Failed as error:
            tell(error, 'on the screen: ' + self.screen())
            raise

    def foreground(self):
        """The process group that has the terminal."""
        text = slurp('/proc/%d/stat' % self.pid).decode('latin-1')
        return int(text[text.rindex(')') + 2:].split()[5])

    def tty_modes(self):
        fd = os.open(self.tty, os.O_RDWR | os.O_NOCTTY)
        try:
            return termios.tcgetattr(fd)[:4]
        finally:
            os.close(fd)

    def given_back(self):
        """The proxy has the terminal again, as it was."""
        wait_for(lambda: self.foreground() == self.pid, 'given back')
        wait_for(lambda: not self.children(), 'no filter is left')
        equal(self.tty_modes(), self.modes, 'modes of the terminal')

    def kill(self):
        for pid in processes(self.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run([*self.tmux, 'kill-server'], timeout=DEADLINE,
                       stderr=subprocess.DEVNULL)

    def __exit__(self, kind, error, _):
        try:
            if error is None:
                self.given_back()
                self.keys('C-c')        # reaches the proxy, not a dead group
                wait_for(lambda: not alive(self.pid), 'the end, by ^C')
            else:
                tell(error, 'it said: %s\non the screen: %s'
                     % (self.log()[-3000:], self.screen()))
        finally:
            for conn in self.clients:
                conn.close()
            self.kill()


@test('a request and a response are edited, and the terminal given back')
def _():
    with Origin(answer(reply(BYTES + b'hello')), tls=True) as origin, \
            Terminal('--request', ready('trap'),
                     '--response', ready('trap')) as proxy:
        client = proxy.tls(origin)
        client.send(get('/cat', 'X: \xff'))
        proxy.wait_screen('editing /cat HTTP>')
        check(proxy.foreground() != proxy.pid, 'it has the terminal')
        proxy.keys('s/cat/horse/', 'Enter')
        proxy.wait_screen('editing >')
        proxy.keys('s/hello/goodbye/', 'Enter')
        equal(client.read_message().body, BYTES + b'goodbye', 'the answer')
        equal(origin.rx, get('/horse', 'X: \xff'), 'the request')
        proxy.given_back()
        client.send(get('/quit'))
        proxy.wait_screen('editing /quit HTTP>')
        proxy.keys('C-d')
        equal(client.read_message().status, 502, 'an editor that fails')
        proxy.wait_log('the editor ended with status 9')


@test('an editor that is not there: one line, and the terminal is given back')
def _():
    for editor in '/absent', 'vi "':
        with Origin(answer(reply(b'x'))) as origin, Terminal(
                '--request', ready('trap'), editor=editor) as proxy:
            equal(proxy.fetch(origin).status, 502, 'the answer')
            proxy.wait_log('(?m)^trap: .*(/absent|quotation)')
            unlike(proxy.log(), 'Traceback', 'what it says')
            proxy.given_back()


@test('one at a time')
def _():
    with Origin(answer(lambda r: reply(r.start))) as origin, \
            Terminal('--request', ready('trap')) as proxy:
        waiting = {}
        for path in '/a', '/b', '/c':
            waiting[path] = proxy.tunnel(origin)
            waiting[path].send(get(path))
        wait_for(lambda: len(proxy.children()) >= 4, 'filters, an editor')
        gone = None
        while waiting:
            proxy.wait_screen(r'editing /[a-c] HTTP>\s*\Z')
            path = re.findall('editing (/[a-c]) HTTP>', proxy.screen())[-1]
            if gone is None and len(waiting) == 2:
                # one that waits its turn leaves: it is never shown
                gone = next(p for p in waiting if p != path)
                waiting.pop(gone).reset()
                wait_for(lambda: len(proxy.children()) <= 2, 'it has left')
            proxy.keys('s/GET/PUT/', 'Enter')
            equal(waiting.pop(path).read_message().body,
                  b'PUT %s HTTP/1.1' % path.encode(), 'its answer')
        unlike(proxy.screen(), 'editing %s' % gone, 'the one that left')


@test('the client leaves, and so does the editor')
def _():
    raw = script('''
        #!/bin/sh
        stty raw -echo
        printf 'in raw mode>'
        read -r line
        '''.replace('\n        ', '\n').lstrip())
    deaf = script('''
        #!/bin/sh
        trap '' TERM
        stty -icanon
        printf 'deaf>'
        while :; do read -r line; done
        '''.replace('\n        ', '\n').lstrip())
    for editor, shown in (raw, 'in raw mode>'), (deaf, 'deaf>'):
        with Origin(answer(reply(b'x'))) as origin, \
                Terminal('--request', ready('trap'), editor=editor) as proxy:
            client = proxy.tunnel(origin)
            client.send(get('/'))
            proxy.wait_screen(shown)
            check(proxy.tty_modes() != proxy.modes, 'modes are changed')
            client.reset()
            proxy.given_back()


@test('^Z does not leave the terminal to nobody')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Terminal('--request', ready('trap')) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/dog'))
        proxy.wait_screen('editing /dog HTTP>')
        proxy.keys('C-z', 's/dog/cat/', 'Enter')
        equal(client.read_message().body, b'x', 'the answer')
        like(origin.rx, b'GET /cat ', 'the request')


@test('a real vi')
def _():
    for editor, name in ('busybox vi', 'busybox'), ('vim -bnu NONE', 'vim'):
        with contextlib.suppress(Skip):
            need(name)
            break
    else:
        raise Skip('neither busybox nor vim is installed')
    with Origin(answer(reply(b'x'))) as origin, \
            Terminal('--request', ready('trap'), editor=editor) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/cat', 'X: y', 'Content-Length: 4', method='POST')
                    + b'a\nb\n')
        proxy.wait_screen('POST /cat HTTP')
        proxy.keys(':%s/cat/horse/', 'Enter', ':wq', 'Enter')
        equal(client.read_message().body, b'x', 'the answer')
        equal(origin.rx, get('/horse', 'X: y', 'Content-Length: 4',
                             method='POST') + b'a\nb\n', 'the request')


@test('without a terminal it says so')
def _():
    done = subprocess.run([os.path.join(FILTERS, 'trap')], input=b'x',
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True, timeout=DEADLINE)
    equal((done.returncode, done.stdout), (1, b''), 'how it ended')
    like(done.stderr, b'/dev/tty', 'told')


run()
