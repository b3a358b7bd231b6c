#!/usr/bin/env python3
"""--log-json: a line of JSON for each event; the log has the same numbers."""
import json

from mitm import *

SECRET = 'S3cret'


def events(text):
    """Each line must be valid JSON, whatever was in the traffic."""
    return [json.loads(line) for line in text.decode('ascii').splitlines()]


@contextlib.contextmanager
def logged(behave, *args, tls=False):
    """An origin, the proxy, and a function that waits for an event and gives
    all that there are."""
    path = scratch('events')
    with Origin(behave, tls=tls) as origin, \
            Proxy('--log-json', path, *args) as proxy:
        def wait(kind, count=1):
            wait_for(lambda: sum(e['event'] == kind for e in events(
                slurp(path))) >= count, '%d x %s' % (count, kind))
            return events(slurp(path))
        proxy.events = path
        yield origin, proxy, wait


@test('open, tls, request, response, close: with numbers and names')
def _():
    with logged(answer(reply(b'cloud')), '-v', '--response',
                'sed s/cloud/clowns/', tls=True) as (origin, proxy, wait):
        client = proxy.tls(origin)
        client.send(get('/a?b', 'Authorization: ' + SECRET))
        equal(client.read_message().body, b'clowns', 'the page')
        client.finish()
        found = wait('close')
        kinds = [e['event'] for e in found]
        for kind in 'open', 'tls', 'request', 'response', 'close':
            check(kind in kinds, kind, kinds)
        done = found[kinds.index('response')]
        equal([done[k] for k in ('flow', 'exchange', 'status', 'method', 'url',
                                 'host', 'port', 'scheme', 'sni', 'bytes',
                                 'came', 'reason')],
              [1, 1, 200, 'GET', origin.url('/a?b'), 'localhost', origin.port,
               'https', 'localhost', 6, 5, 'changed'], 'response')
        like(done['time'], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$', 'time')
        check(SECRET.encode() not in slurp(proxy.events), 'no fields')
        proxy.wait_log(r'mitmproxy: c1 \S+ has connected')
        equal(os.stat(proxy.events).st_mode & 0o777, 0o600, 'its mode')


@test('deny and filter: what was refused, and what failed')
def _():
    with logged(answer(reply(b'x')), '--only-hosts', '^localhost:', '--match',
                '~u /fail', '--request', 'echo ' + SECRET + ' >&2; false') \
            as (origin, proxy, wait):
        client = proxy.connect()
        client.send(get('http://other.test/'))
        equal(client.read_message().status, 403, 'refused')
        deny = [e for e in wait('deny') if e['event'] == 'deny'][0]
        equal((deny['host'], deny['port']), ('other.test', 80), 'who')
        like(deny['reason'], 'only-hosts', 'why')
        client = proxy.connect()
        client.send(get(origin.url('/fail'), host=origin.auth))
        page = client.read_message()
        equal(page.status, 502, 'failed')
        failed = [e for e in wait('filter') if e['event'] == 'filter'][0]
        like(failed['reason'], 'request filter failed', 'why')
        check(SECRET.encode() not in page.raw, 'the page has no command')
        proxy.wait_log(r'mitmproxy: c%d #%d answered by an error page'
                       % (failed['flow'], failed['exchange']))


@test('whatever bytes are in the traffic, each line is JSON')
def _():
    seed = os.environ.get('MITM_SEED') or str(time.time_ns())
    note('MITM_SEED=' + seed)
    rng = random.Random(seed)
    with logged(answer(reply(b'x'))) as (origin, proxy, wait):
        for i in range(60):
            target = bytes(rng.choice(range(33, 256)) for _ in range(
                rng.choice((1, 10, 3000)))) + rng.choice((b'', b'"\\', b'\v'))
            client = proxy.tunnel(origin)
            client.send(b'GET /%s HTTP/1.1\r\nHost: "\\\x80\r\n\r\n' % target)
            client.read_message()
            client.finish()
        wait('response', 60)
        check(max(map(len, slurp(proxy.events).splitlines())) < 4096,
              'lines that a pipe takes at once')


@test('to standard output, where messages then are not')
def _():
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--log-json', '-') as proxy:
        proxy.fetch(origin)
        proxy.wait_out('"event":"response"')
        events(proxy.out().encode())
        proxy.wait_log('#1 >> ')


@test('several workers write whole lines, and numbers are those of all')
def _():
    with logged(answer(reply(b'x')), '-j', '3', '-q') as (origin, proxy, wait):
        for _ in range(30):
            proxy.fetch(origin)
        found = wait('response', 30)
        flows = {e['flow'] for e in found if e['event'] == 'open'}
        equal(flows, set(range(1, 31)), 'connections')


@test('the lines for jq that the manual has')
def _():
    need('jq')
    manual = slurp(os.path.join(HERE, '..', 'mitmproxy.1')).decode()
    block = manual[manual.index('.Sh EVENTS'):]
    block = block[block.index('.Bd'):block.index('.Ed')].split('\n', 1)[1]
    with logged(answer(reply(b'12345')), '--only-hosts', '^localhost:',
                '--match', '~u /fail', '--request', 'false') as (
                    origin, proxy, wait):
        for url in (origin.url('/'), origin.url('/fail'), 'http://no.test/'):
            client = proxy.connect()
            client.send(get(url, host=url.split('/')[2]))
            client.read_message()
        wait('deny'), wait('filter'), wait('response', 3)
        found = command('sh', '-c', 'events=%s\n%s' % (
            proxy.events, block.replace('\\e', '\\').replace(
                ' events', ' $events')), status=0).decode()
        for part in (r'1 no\.test', r'"localhost": \d+', r'ms http://localhost',
                     'request filter failed'):
            like(found, part, 'what jq finds')


run()
