#!/usr/bin/env python3
"""A machine of a few megabytes: clients wait, and the proxy is not killed."""
from mitm import *

LIMIT = 16 << 20


def control_group():
    """A new control group of LIMIT bytes; None where none can be made."""
    for top, file in (('/sys/fs/cgroup/memory', 'memory.limit_in_bytes'),
                      ('/sys/fs/cgroup', 'memory.max')):
        path = '%s/mitmtest-%d' % (top, os.getpid())
        try:
            os.mkdir(path)
            atexit.register(os.rmdir, path)
            with open(os.path.join(path, file), 'w') as f:
                f.write(str(LIMIT))
            return path
        except OSError:
            pass
    return None


GROUP = control_group()


def inside():
    """What starts a program in that control group."""
    if GROUP is None:
        raise Skip('no control group for memory can be made here')
    if sanitized():
        raise Skip('the sanitizer takes more')
    return ('sh', '-c', 'echo $$ > %s/cgroup.procs && exec "$@"' % GROUP, 'sh')


for tls in False, True:
    @test('16 MB, 50 clients at once, 100 KB through sed%s: all are served'
          % (' inside TLS' if tls else ''))
    def _(tls=tls):
        with Origin(answer(reply(b'cloud ' * 17000)), tls=tls) as origin, \
                Proxy('-R', 'sed s/cloud/clown/g',
                      prefix=inside()) as proxy:
            for t in [thread(proxy.fetch, origin) for _ in range(50)]:
                equal(t.result().body, b'clown ' * 17000, 'the body')


def score(pid):
    """What is added to a process's badness: oom_score_adj of proc(5)."""
    return int(slurp('/proc/%d/oom_score_adj' % pid))


@test('if memory runs out, one of several filters is killed, or a coprocess')
def _():
    fifo = scratch('fifo')              # what nobody writes to
    os.mkfifo(fifo)
    for kind, scores in ([], [0, 500]), (['--coprocess'], [500]):
        with Origin(answer(reply(b'x'))) as origin, Proxy(
                *kind, '-R', 'cat ' + fifo, coprocesses=len(kind)) as proxy:
            clients = [proxy.tunnel(origin) for _ in range(2)]
            own = score(proxy.pid)
            for client in clients:
                client.send(get('/'))
            wait_for(lambda: sorted(score(p) for p, *_ in proxy.children()) ==
                     [max(own, s) for s in scores], 'the scores')
            for client in clients:
                client.reset()


run()
