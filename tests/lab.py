"""What the tests of what is told to people share, beside mitm.py: servers for
every name there is (lab/origin.py), and commands as they are printed.

    from lab import *

    with Lab() as lab:
        lab.run('mitmproxy --quiet -- curl -s https://weather.example/page')
"""
import atexit, shlex
from mitm import *
from mitm import DEADLINE, HERE

ROOT = os.path.dirname(HERE)
PAGE = b'<title>Weather</title><p>one cloud over the hills, ' \
       b'no cloud over the sea</p>\n'


_servers = []


def servers():
    """lab/origin.py, which stays until the tests are over: its directory and
    its port."""
    if not _servers:
        at, stack = scratch('servers'), contextlib.ExitStack()
        child = stack.enter_context(running(
            os.path.join(ROOT, 'lab', 'origin.py'), at, ready=r'port (\d+)\n'))
        atexit.register(stack.close)
        _servers.extend((at, int(child.match[1])))
    return _servers


class Lab:
    """A directory in which commands are run: there is filters/, and mitmproxy
    is a function of the shell that adds what leads to the servers."""

    def __enter__(self):
        origin, self.port = servers()
        self.at, self.log = scratch('here'), ''
        os.mkdir(self.at)
        for place, name in ((ROOT, 'filters'), (ROOT, 'mitmproxy.1'),
                            (origin, 'root.pem'), (origin, 'got')):
            os.symlink(os.path.join(place, name), self.file(name))
        return self

    def __exit__(self, kind, error, _):
        if error is not None:
            tell(error, 'it said: ' + self.log[-2000:])

    def file(self, name, content=None, mode=0o600):
        """The path of a file there; with content, it is made."""
        path = os.path.join(self.at, name)
        if content is not None:
            with open(path, 'wb') as f:
                f.write(content)
            os.chmod(path, mode)
        return path

    def words(self, line):
        """A command for sh, in which mitmproxy is the one under test."""
        more = [PROGRAM, '-p', '0', '--cacert', 'root.pem']
        if '--connect-to' not in line:
            more += ['--connect-to', '::localhost:%d' % self.port]
        return ['env', '-C', self.at, 'sh', '-c',
                'mitmproxy() { %s %s "$@"; }\n%s' % (
                    'exec' if ' -- ' not in line else '',
                    shlex.join(more), line)]

    def run(self, line, status=0):
        """Run it to its end: standard output."""
        done = subprocess.run(self.words(line), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=2 * DEADLINE,
                              stdin=subprocess.DEVNULL)
        self.log += done.stderr.decode('latin-1')
        equal(done.returncode, status, 'status of ' + line)
        self.err = done.stderr
        return done.stdout

    @contextlib.contextmanager
    def proxy(self, line, env=None):
        """The proxy that it starts, while that is up: what runs.  For curl
        it is .proxy."""
        with running(*self.words(line), env=env,
                     ready=r'listening on (\S+)\n') as child:
            where = child.match[1]
            child.proxy = 'http://localhost:%s' % where.split(':')[-1]
            child.line = line
            try:
                yield child
            finally:
                self.log += slurp(child.output).decode('latin-1')

    def curl(self, child, *words, status=0):
        """curl through that proxy: what it gets."""
        done = subprocess.run(
            [need('curl'), '-qsS', '--noproxy', '', '--max-time',
             str(int(DEADLINE)), '-x', child.proxy, '--cacert',
             self.file('cert.pem'), *words], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=2 * DEADLINE, cwd=self.at)
        equal(done.returncode, status, 'curl %s through %s: %s' % (
            words, child.line, done.stdout))
        return done.stdout
