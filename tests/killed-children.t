#!/usr/bin/env python3
"""Children are killed at random moments under load: filters, coprocesses,
resolvers. A message whose filter dies fails by --on-error; every other one is
right, to the byte, and nothing is left behind. MITM_SECONDS is how long (4),
MITM_SEED what chance begins with."""
from mitm import *
import random

SECONDS = float(os.environ.get('MITM_SECONDS', 4))
SEED = os.environ.get('MITM_SEED') or str(time.time_ns())
COPROCESS = '''
#!/usr/bin/env python3
import sys
for line in sys.stdin.buffer:
    n = int(line.split()[0])
    data = sys.stdin.buffer.read(n)
    sys.stdout.buffer.write(b'%d\\n' % n + data)
    sys.stdout.flush()
'''


def page(request):
    """The body tells which request it answers, and is long enough to have
    been forwarded in part when its filter dies."""
    name = request.start.split()[1]
    return reply(name * (1 + len(name) * 1000))


def client(proxy, origin, number, until, counts):
    """One request after the other; a new connection after a failure."""
    conn, count = None, 0
    while time.monotonic() < until:
        name = '/%d-%d' % (number, count)
        count += 1
        try:
            if conn is None:
                conn = proxy.tls(origin, name='localhost')
            conn.send(get(name))
            message = conn.read_message()
        except (Failed, OSError):
            counts['cut'] += 1
            conn = None
            continue
        if message.status == 200:
            equal(message.body, page(message_like(name)).split(
                b'\r\n\r\n', 1)[1], 'the answer to ' + name)
            counts['right'] += 1
        else:
            equal(message.status, 502, 'the status')
            like(message.body, rb'the (request|response) filter failed|cannot find the address',
                 'the page')
            counts['failed'] += 1
            conn = None


def message_like(name):
    return Message(get(name))


def killer(proxy, chance, pause, until, counts):
    """Kills one of the proxy's children after the other."""
    while time.monotonic() < until:
        victims = [pid for pid in processes(proxy.pid) if pid != proxy.pid]
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
                counts['killed'] += 1
        time.sleep(chance.uniform(*pause))      # moments are random


def killing(*options, pause, coprocesses=0):
    chance = random.Random(SEED)
    counts = dict.fromkeys(('right', 'failed', 'cut', 'killed'), 0)
    note('MITM_SEED=' + SEED)
    with Origin(answer(page), tls=True) as origin, \
            Proxy('-q', *options, coprocesses=coprocesses) as proxy:
        until = time.monotonic() + SECONDS
        workers = [thread(client, proxy, origin, n, until, counts)
                   for n in range(6)]
        workers.append(thread(killer, proxy, chance, pause, until, counts))
        for worker in workers:
            worker.result(SECONDS + 3 * DEADLINE)
        note(counts)
        check(counts['killed'] > 5, 'children were killed', counts)
        check(counts['right'] > 5, 'messages went through', counts)
        for _ in range(3):              # it is as good as new
            wait_for(lambda: proxy.fetch(origin).status == 200, 'a page', 3 * DEADLINE)
        for conn in proxy.clients:
            conn.close()
        wait_for(proxy.settled, 'that nothing is left behind')


@test('filters')
def _():
    # they live long enough to be met
    killing('--request', 'sleep 0.05; cat', '--response', 'sleep 0.05; cat',
            '--response', 'cat', pause=(0.01, 0.1))


@test('coprocesses')
def _():
    killing('--jobs', '3', '--coprocess', '--response', script(COPROCESS),
            coprocesses=3, pause=(0.2, 0.4))


# A filter is gone, but what it started has left its group and holds its output.
LEAVES = 'setsid sh -c "echo $$ >%s; exec sleep 1000" & exit'


def own_numbers(name):
    """True where process numbers are our own to give out; elsewhere this test
    is run by itself in such a place."""
    if os.environ.get('MITM_OWN_PIDS'):
        return True
    text = command(need('unshare'), '--pid', '--fork', '--mount-proc',
                   sys.executable, sys.argv[0], name,
                   env={'MITM_OWN_PIDS': '1'})
    if b'unshare: ' in text:
        raise Skip('no numbers of our own: %r' % text)
    check(re.search(rb'\nok 1 ', text), 'in a place of its own', text)


def stranger(options, filter, ends):
    """A program of somebody else gets the number of a filter that is gone;
    what then ends that filter's message leaves it alone."""
    note_of = scratch('pid')
    with Origin() as origin, Proxy(*options, '--response', script(
            '#!/bin/sh\n' + filter + LEAVES % note_of)) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.send(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n' + ends)
        number = int(wait_for(lambda: os.path.exists(note_of) and
                              slurp(note_of), 'the number'))
        wait_for(lambda: number not in processes(proxy.pid), 'its end')
        with open('/proc/sys/kernel/ns_last_pid', 'w') as f:
            f.write('%d' % (number - 1))
        with running('sleep', '1000') as victim:
            equal(victim.pid, number, 'the number of the stranger')
            if ends:
                equal(client.read_message().status, 502, 'the status')
            client.reset()      # which is seen before the next one asks
            other = proxy.connect()
            other.send(get('http://mitm.it/'))
            other.read_message()
            equal(victim.poll(), None, "the stranger's end")
        for pid in processes(proxy.pid):
            if pid != proxy.pid:
                os.kill(pid, signal.SIGKILL)


for kind, options, filter, ends in (('filter', (), '', b''),
                                    ('coprocess', ('--coprocess',), 'read x; ',
                                     b'x' * 9)):
    @test('a stranger that has the number of a %s that is gone' % kind)
    def _(kind=kind, options=options, filter=filter, ends=ends):
        if own_numbers('number of a ' + kind):
            stranger(options, filter, ends)


run()
