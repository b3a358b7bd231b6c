"""What the tests of the ready-made filters share, beside mitm.py.

    from filters import *

    Proxy('--request', ready('set-header', 'X', 'y'))   through the proxy
    pipe('set-header', 'X', 'y', input=page)            by itself, in a pipe
"""
import collections, os, shlex, subprocess
from mitm import *
from mitm import DEADLINE, HERE

FILTERS = os.path.join(os.path.dirname(HERE), 'filters')
Done = collections.namedtuple('Done', 'status out err')


def ready(name, *args):
    """The command line of a ready-made filter, for the proxy."""
    return shlex.join([os.path.join(FILTERS, name), *args])


def pipe(name, *args, input=b'', by=(), env=None):
    """Run one by itself: .status, .out, .err.  by: what runs it; env: what
    is set beside the environment, in which there is no MITM_."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith('MITM_')}
    done = subprocess.run(
        [*by, os.path.join(FILTERS, name), *args], input=input,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=3 * DEADLINE,
        env=dict(clean, **(env or {})))
    return Done(done.returncode, done.stdout, done.stderr.decode('latin-1'))


def passes(name, *args, input, env=None):
    """One by itself, which must change nothing and say nothing."""
    equal(pipe(name, *args, input=input, env=env), Done(0, input, ''),
          '%s leaves it as it is' % name)


# Bytes that a careless filter would change: every one there is, lines that
# end in either way, and no newline at the end.
BYTES = bytes(range(256)) * 3 + b'\r\n\n\r\0 a\r\n\r\nX: y\r\n\xff'


def drips(name, *args, first, then=b'and more'):
    """The first bytes of a slow message must come out before the next."""
    child = subprocess.Popen([os.path.join(FILTERS, name), *args],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    try:
        child.stdin.write(first)
        child.stdin.flush()
        got = thread(child.stdout.read, len(first)).result()
        equal(got, first, '%s: what comes at once' % name)
        child.stdin.write(then)
        child.stdin.close()
        equal(thread(child.stdout.read).result(), then, '%s: the rest' % name)
        equal(child.wait(DEADLINE), 0, 'status of %s' % name)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
