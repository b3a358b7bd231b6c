#!/usr/bin/env python3
"""A command with the proxy around it in a terminal (bash in tmux): ^C, ^Z,
fg, editors and shells are as they would be without."""
import shlex

from mitm import *

CA = scratch('cert.pem')


class Shell:
    """An interactive bash in a terminal of its own. `m` is the proxy, -q. What is
    typed before a command runs is the line editor's, to which Enter is no end
    of line and ^Z nothing: so each command says first that it runs."""

    def __enter__(self):
        need('bash')
        self.tmux = [need('tmux'), '-S', scratch('tmux'), '-f', '/dev/null']
        line = [PROGRAM, '-q', '--ca', CA, '--cacert', make_ca()]
        rc = scratch('rc', "PS1='ready> '\nm() { %s \"$@\"; }\n"
                     % shlex.join(line))
        env = {k: v for k, v in os.environ.items() if k != 'TMUX'}
        self.run('new-session', '-d', '-x', '80', '-y', '24',
                 'exec bash --noprofile --rcfile %s -i' % rc,
                 env=dict(env, TERM='xterm', LC_ALL='C.UTF-8'))
        self.wait(r'ready>\Z')
        return self

    def run(self, *words, **more):
        done = subprocess.run([*self.tmux, *words], timeout=DEADLINE,
                              stdout=subprocess.PIPE, **more)
        check(done.returncode == 0, 'tmux %s' % words[0])
        return done.stdout.decode()

    def keys(self, *keys):
        self.run('send-keys', *keys)

    def type(self, text):
        self.run('send-keys', '-l', text)
        self.keys('Enter')

    def screen(self):
        return self.run('capture-pane', '-p').rstrip()

    def wait(self, regex):
        """Wait until that is on the screen, of which the rest is told."""
        try:
            return wait_for(lambda: re.search(regex, self.screen(), re.M),
                            regex)
        except Failed as error:
            tell(error, 'on the screen: ' + self.screen())
            raise

    def press(self, key, regex):
        """Press it until that is on the screen: bash says which job fg goes on
        with before this has the terminal."""
        wait_for(lambda: re.search(regex, self.screen(), re.M) or
                 self.keys(key), regex)

    def status(self, number):
        self.type('echo "status=$?."')
        self.wait(r'^status=%d\.' % number)
        self.type('clear')

    def __exit__(self, *_):
        subprocess.run([*self.tmux, 'kill-server'], timeout=DEADLINE,
                       stderr=subprocess.DEVNULL)


@test('^C ends COMMAND, and a loop around us')
def _():
    with Shell() as shell:
        shell.type("m -- sh -c 'echo r''un; exec sleep 100'")
        shell.wait('^run$')
        shell.keys('C-c')
        shell.wait(r'\^C\nready>\Z')
        shell.status(130)
        shell.type("for i in 1 2 3; do m -- sh -c 'echo r''un; exec "
                   "sleep 100'; done; echo be''hind")
        shell.wait('^run$')
        shell.keys('C-c')
        shell.wait(r'\^C\nready>\Z')
        shell.status(130)


@test('^C is COMMAND\'s: where it goes on, so do we')
def _():
    page = reply(b'a page\n')
    with Shell() as shell, Origin(answer(page)) as origin:
        shell.type("m -- sh -c 'trap \"echo cau\"\"ght\" INT; echo r''un; "
                   "read x; read x; curl -sS %s; exit 3'" % origin.url())
        shell.wait('^run$')
        shell.keys('C-c')
        shell.wait('caught$')
        shell.keys('Enter')
        shell.keys('Enter')
        shell.wait('^a page$')
        shell.status(3)


@test('^\\ and what it leaves')
def _():
    with Shell() as shell:
        shell.type("ulimit -c 0; m -- sh -c 'echo r''un; exec sleep 100'")
        shell.wait('^run$')
        shell.keys('C-\\')
        shell.wait(r'ready>\Z')
        shell.status(131)


@test('^Z stops it, fg lets it go on, bg too')
def _():
    with Shell() as shell:
        shell.type("m -- sh -c 'echo r''un; exec cat'")
        shell.wait('^run$')
        shell.type('one')
        shell.wait('^one\none$')
        for _ in range(3):
            shell.keys('C-z')
            shell.wait(r'^\[1\]\+ +Stopped(?s:.*)\nready>\Z')
            shell.type('clear; fg')
            shell.wait(r'mitmproxy(?s:.*)"\$@"\Z')
            shell.type('two')
            shell.wait('^two\ntwo$')
        shell.keys('C-d')
        shell.wait(r'^ready>\Z')
        shell.status(0)
        shell.type("m -- sh -c 'echo r''un; read x; echo g''ot $x'")
        shell.wait('^run$')
        shell.keys('C-z')
        shell.wait('Stopped')
        shell.type('bg')
        shell.keys('Enter')
        shell.wait(r'\[1\]\+ +Stopped')     # by reading from the terminal
        shell.type('clear; fg')
        shell.wait(r'mitmproxy(?s:.*)"\$@"\Z')
        shell.type('three')
        shell.wait('^got three$')
        shell.status(0)


@test('an editor, stopped and going on, too')
def _():
    need('vi')
    with Shell() as shell:
        name = scratch('text')
        shell.type('m -- vi ' + name)
        shell.wait('^~$')
        shell.type('ione line')
        shell.keys('Escape')
        shell.keys('C-z')
        shell.wait(r'Stopped(?s:.*)\nready>\Z')
        shell.type('clear; fg')
        shell.wait('^one line$')
        shell.type(':wq')
        shell.wait('^ready>')           # vi's lines may stand behind it
        shell.status(0)
        equal(slurp(name), b'one line\n\n', 'the file')


@test('a shell, with jobs of its own; what it starts goes through the proxy')
def _():
    with Shell() as shell, Origin(answer(reply(b'cloud\n'))) as origin:
        shell.type("m -R 'sed s/cloud/clown/' -- bash --noprofile --norc -i")
        shell.wait(r'bash-\S*[$#]\Z')
        shell.type('PS1="in""ner> "; clear')
        shell.wait(r'^inner>\Z')
        shell.type('curl -sS ' + origin.url())
        shell.wait('^clown$')
        shell.type("clear; sh -c 'echo r''un; exec sleep 100'")
        shell.wait('^run$')
        shell.keys('C-z')
        shell.wait(r'Stopped(?s:.*)\ninner>\Z')
        shell.type('clear; fg')
        shell.wait('^sh -c')
        shell.press('C-c', r'\ninner>\Z')
        shell.type('clear; suspend')
        shell.wait(r'Stopped(?s:.*)\nready>\Z')
        shell.type('clear; fg')
        shell.keys('Enter')
        shell.wait(r'^inner>\Z')
        shell.type('curl -sS ' + origin.url())
        shell.wait('^clown$')
        shell.type('exit 3')
        shell.wait(r'^ready>\Z')
        shell.status(3)


@test('in a pipeline')
def _():
    with Shell() as shell:
        shell.type('echo in | m -- cat | m -- sed s/in/out/')
        shell.wait('^out$')
        shell.type('m -- yes | head -1; echo "${PIPESTATUS[*]}."')
        shell.wait(r'^y\n141 0\.$')
        shell.status(0)


@test('the terminal is closed: COMMAND ends, and so does all else')
def _():
    with Shell() as shell:
        pid = scratch('pid')
        shell.type("m -- sh -c 'echo $$ $PPID >%s; echo r''un; exec sleep "
                   "100'" % pid)
        shell.wait('^run$')
        left = slurp(pid).decode().split()
    for number in left:
        wait_for(lambda: not os.path.exists('/proc/' + number), 'its end')


run()
