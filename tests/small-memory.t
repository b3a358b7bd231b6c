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


def score(proxy, origin, path):
    """What the filter says of itself, by our own."""
    own = int(slurp('/proc/%d/oom_score_adj' % proxy.pid))
    body = proxy.fetch(origin, get(path)).body
    equal(int(body), max(own, 500), "the filter's")


@test('if memory runs out, one of several filters is killed, not the proxy')
def _():
    fifo = scratch('fifo')
    os.mkfifo(fifo)
    with Origin(answer(reply(b'x'))) as origin, Proxy('-R', script("""
#!/bin/sh
case $MITM_URL in */first) cat %s; esac
printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'
cat /proc/self/oom_score_adj
""" % fifo)) as proxy:
        first = proxy.tunnel(origin)
        first.send(get('/first'))
        with open(fifo, 'w'):           # which waits until that filter runs
            score(proxy, origin, '/then')


@test('or a coprocess')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--coprocess', '-R', script("""
#!/bin/sh
read -r length rest
head -c "$length" >/dev/null
printf '22\\nHTTP/1.1 200 OK\\r\\n\\r\\n%s' \
    "$(cat /proc/self/oom_score_adj)"
read -r no_more
"""), coprocesses=1) as proxy:
        score(proxy, origin, '/')


run()
