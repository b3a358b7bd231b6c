#!/usr/bin/env python3
"""save, replay and har: messages kept, sent again, shown by a browser."""
import base64, datetime, gzip, json, shutil, zlib
from filters import *


def saved(folder, *names):
    """Waits for these files (what is saved last comes last)."""
    for name in names:
        path = os.path.join(folder, name)
        wait_for(lambda: os.path.exists(path), path)
    return [slurp(os.path.join(folder, name)) for name in names]


def keep(folder):
    """The options that save all to a folder."""
    return ('--request', ready('save', folder),
            '--response', ready('save', folder))


POST = get('/a?b=1&c=%20&d', 'X-Empty:', 'x-ODD: "quoted" \\back',
           'Cookie: e=f; g=h=i', 'Content-Type: text/plain',
           'Content-Length: %d' % len(BYTES), method='PATCH') + BYTES


@test('each message in a file, only for the owner, and as it was')
def _():
    folder = scratch('saved')
    page = chunked(b'one', BYTES)
    with Origin(answer(page, reply(b'two')), tls=True) as origin, \
            Proxy(*keep(folder)) as proxy:
        client = proxy.tls(origin)
        client.send(POST)
        equal(client.read_message().body, b'one' + BYTES, 'the first answer')
        client.send(get('/2'))
        client.read_message()
        equal(saved(folder, '1.request', '1.response', '2.request',
                    '2.response'),
              [POST, page[:page.index(b'\r\n\r\n') + 4] + b'one' + BYTES,
               get('/2'), reply(b'two')], 'the files')
        env = slurp(folder + '/1.response.env').decode().splitlines()
        for line in ('ID=1', 'DIRECTION=response', 'SCHEME=https',
                     'HOST=localhost', 'PORT=%d' % origin.port,
                     'METHOD=PATCH', 'STATUS=200', 'SNI=localhost',
                     'URL=' + origin.url('/a?b=1&c=%20&d')):
            check('MITM_' + line in env, line, env)
    equal(sorted(os.listdir(folder)),
          sorted(n + e for n in ('1.request', '1.response', '2.request',
                                 '2.response') for e in ('', '.env')), 'all')
    for name in ('.', '1.request', '1.response.env'):
        equal(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0, name)


@test('half a message is no file, both ways of a stream are')
def _():
    folder = scratch('saved')
    with Origin() as origin, Proxy(*keep(folder)) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        server = origin.next()
        server.read_head()
        server.send(reply(b'abc')[:-1])
        wait_for(lambda: os.path.exists(folder + '/1.response.env'), 'begun')
        client.reset()
        wait_for(lambda: not proxy.children(), 'its filters have ended')
        equal(sorted(os.listdir(folder)), ['1.request', '1.request.env',
                                           '1.response.env'], 'files')
        client = proxy.tunnel(origin)
        client.send(b'\0up')
        server = origin.next()
        server.read_exact(3)
        server.send(b'down')
        client.read_exact(4)
        client.finish()
        server.finish()
        wait_for(lambda: [f for f in os.listdir(folder) if 'stream-' in f
                          and not f.endswith('.env')][1:], 'two streams')
        equal({slurp(os.path.join(folder, f)) for f in os.listdir(folder)
               if 'stream-' in f and not f.endswith('.env')},
              {b'\0up', b'down'}, 'streams')


@test('save in a pipe')
def _():
    folder = scratch('saved')
    passes('save', folder, input=reply(BYTES))
    passes('save', folder, input=b'')
    equal(len([f for f in os.listdir(folder) if f.endswith('.response')]), 2,
          'files')
    check(pipe('save', '/dev/null/x', input=BYTES).status, 'no such folder')
    equal(pipe('save').status, 2, 'usage')


def replay(*files, env=None):
    need('curl')
    return pipe('replay', *files, env=dict(
        {'HOME': SCRATCH, 'CURL_CA_BUNDLE': make_ca(), 'no_proxy': '*'},
        **(env or {})))


@test('a saved request is sent again')
def _():
    folder = scratch('saved')
    page = reply(b'answer')

    def behave(request):
        return page[:-6] if request.start.startswith(b'HEAD') else page
    with Origin(answer(behave), tls=True) as origin, \
            Proxy(*keep(folder)) as proxy:
        client = proxy.tls(origin)
        client.send(POST)
        client.read_message()
        client.send(get('/2', method='HEAD'))
        client.read_message(True)
        client.send(get('/3/../%2e/[a-b]{c}', 'Transfer-Encoding: chunked',
                        'User-Agent: me', method='POST')
                    + b'4\r\nhell\r\n1\r\no\r\n0\r\n\r\n')
        client.read_message()
        saved(folder, '1.request', '2.request', '3.request', '3.response')
        before = len(origin.rx)
        got = replay(*(folder + '/%d.request' % n for n in (1, 2, 3)))
        equal(got, Done(0, page + page[:-6] + page, ''), 'the answers')
        copy = Conn(socket.socketpair()[0])
        copy.buf += origin.rx[before:]
        for method, path, body, fields in (
                (b'PATCH', b'/a?b=1&c=%20&d', BYTES,
                 {'x-empty': b'', 'x-odd': b'"quoted" \\back',
                  'host': b'localhost', 'content-type': b'text/plain',
                  'cookie': b'e=f; g=h=i', 'user-agent': None}),
                (b'HEAD', b'/2', b'', {'accept': None}),
                (b'POST', b'/3/../%2e/[a-b]{c}', b'hello',
                 {'transfer-encoding': b'chunked', 'user-agent': b'me',
                  'content-type': None})):
            ask = copy.read_message()
            equal((ask.start, ask.body),
                  (b'%s %s HTTP/1.1' % (method, path), body), 'request')
            for name, value in fields.items():
                equal(ask[name], value, name)
            equal(len([1 for k, _ in ask.fields if k.lower() == b'host']), 1,
                  'one Host')


@test('replay: a body that is empty is one, and is told the server')
def _():
    for method, field, end in (
            ('POST', 'Content-Length: 0', b'Content-Length: 0\r\n\r\n'),
            ('PUT', 'Transfer-Encoding: chunked', b'\r\n\r\n0\r\n\r\n'),
            ('HEAD', 'Content-Length: 0', b'Host: x\r\n\r\n'),
            ('POST', 'A: b', b'A: b\r\n\r\n')):
        with Origin(answer(reply())) as origin:
            name = scratch('request', get('/', field, host='x', method=method))
            equal(replay(name, env={'MITM_URL': origin.url()}),
                  Done(0, reply(), ''), method)
            like(origin.rx, rb'(?s)^%s / .*%s$' % (method.encode(), end), field)


@test('replay without what save wrote beside it')
def _():
    with Origin(answer(reply(b'hi'))) as origin:
        name = scratch('request', b'GET %s HTTP/1.1\nHost: x\nA: b\n\n'
                       % origin.url('/x').encode())
        equal(replay(name).out, reply(b'hi'), 'an absolute target')
        name = scratch('request', get('/y', host=origin.auth))
        equal(replay(name, env={'MITM_URL': origin.url()}).out, reply(b'hi'),
              'MITM_URL')
        with Origin(answer(reply(b'no'))) as other:
            name = scratch('request', get('@' + other.auth + '/'))
            equal(replay(name, env={'MITM_URL': origin.url()}).out,
                  reply(b'hi'), 'what would end as a user of another host')
        like(origin.rx, b'GET /x HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n', 'x')
        like(origin.rx, b'GET /y HTTP/1.1\r\n', 'y')
    with Origin(answer(reply(b'hi')), tls=True) as origin:
        name = scratch('request', get('/z', host=origin.auth))
        equal(replay(name).out, reply(b'hi'), 'https by Host')
    equal(replay(name, name).status, 7, 'nobody is there: status of curl')


@test('what is in a request is no option of curl and no file for it')
def _():
    secret = scratch('secret', 'X-Secret: 1\n')
    mark = scratch('mark')
    with Origin(answer(reply(b'hi'))) as origin:
        head = ('GET %s HTTP/1.1\r\nHost: x\r\n@%s\r\n@%s: x\r\n'
                'A: "\r\nB: \\"\noutput = "%s"\n%s\r\n\r\n@%s'
                % (origin.url('/x'), secret, secret, mark,
                   'C: $(touch %s)' % mark, secret))
        equal(replay(scratch('request', head)).out, reply(b'hi'), 'answer')
        unlike(origin.rx, b'X-Secret', 'at the server')
        like(origin.rx, b'\r\nA: "\r\nB: \\\\"\r\nC: \\$\\(touch [^\r]*\r\n',
             'its fields')
        like(origin.rx, b'\r\n\r\n@' + secret.encode() + b'$', 'its body')
        check(not os.path.exists(mark), 'no file')
        check(replay(scratch('r', 'GET / HTTP/1.1\n\n'),
                     env={'MITM_URL': 'file://' + secret}).out == b'',
              'file:')


@test('the very bytes by openssl, as its head says')
def _():
    name = scratch('request', POST)
    got = []

    def once(conn):
        got.append(conn.read_exact(len(POST)))
        conn.send(reply(b'hi'))
    with Origin(once, tls=True) as origin, open(name, 'rb') as file:
        done = subprocess.run(
            ['openssl', 's_client', '-quiet', '-connect',
             '127.0.0.1:%d' % origin.port],
            stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=DEADLINE)
        equal((got, done.stdout), ([POST], reply(b'hi')), 'both')


# ------------------------------------------------------------------- HAR

NAMED = [{'name': str, 'value': str}]
HAR = {'log': {
    'version': '1.2', 'creator': {'name': str, 'version': str},
    'entries': [{
        'startedDateTime': datetime, 'time': float,
        'request': {
            'method': str, 'url': str, 'httpVersion': str, 'cookies': NAMED,
            'headers': NAMED, 'queryString': NAMED, 'headersSize': int,
            'bodySize': int, 'postData?': {'mimeType': str, 'text': str}},
        'response': {
            'status': int, 'statusText': str, 'httpVersion': str,
            'cookies': NAMED, 'headers': NAMED, 'redirectURL': str,
            'headersSize': int, 'bodySize': int,
            'content': {'size': int, 'mimeType': str, 'text?': str,
                        'encoding?': 'base64'}},
        'cache': {},
        'timings': {'send': float, 'wait': float, 'receive': float}}]}}


def strict(got, want, where='har'):
    """got has the shape of want: no key too few, none too many."""
    if isinstance(want, dict):
        equal(type(got), dict, where)
        for key in want:
            name = key.rstrip('?')
            if name in got:
                strict(got[name], want[key], where + '.' + name)
            else:
                check(key.endswith('?'), where + ' lacks ' + name)
        equal(set(got) - {k.rstrip('?') for k in want}, set(), where)
    elif isinstance(want, list):
        equal(type(got), list, where)
        for i, value in enumerate(got):
            strict(value, want[0], '%s[%d]' % (where, i))
    elif isinstance(want, str):
        equal(got, want, where)
    elif want is datetime:
        like(got, r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$', where)
    elif want is float:
        check(type(got) in (int, float) and got >= 0, where, got)
    else:
        equal(type(got), want, where)


ZIPPED = 'Content-Encoding: gzip'
PAGES = [
    reply('h\xe9llo'.encode(), 'Content-Type: text/html', 'Set-Cookie: a=b; '
          'Path=/', 'Set-Cookie: c=d', status='200 Very Fine'),
    reply(BYTES, 'Content-Type: image/png'),
    reply(gzip.compress(b'unpacked' * 9) + b'\n', ZIPPED), # some have more
    reply(b'not gzip', ZIPPED), reply(b'', 'Location: /x', status='302')]


def make_har():
    """PAGES through the proxy, saved: the HAR's text."""
    folder = scratch('saved')
    with Origin(answer(*PAGES), tls=True) as origin, \
            Proxy(*keep(folder)) as proxy:
        client = proxy.tls(origin)
        client.send(POST)
        client.read_message()
        for i in range(2, 6):
            client.send(get('/%d' % i))
            client.read_message()
        saved(folder, '5.request', '5.response')
        saved(folder, *('%d.response' % i for i in range(1, 5)))
    # and one that was never answered
    for more in '', '.env':
        shutil.copy(folder + '/5.request' + more, folder + '/10.request' + more)
    got = pipe('har', folder)
    equal((got.status, got.err), (0, ''), 'how it ended')
    return got.out, origin


@test('har: the structure of HAR 1.2, strictly, and what is in it')
def _():
    text, origin = make_har()
    log = json.loads(text)
    strict(log, HAR)
    entries = log['log']['entries']
    asks = [e['request'] for e in entries]
    says = [e['response'] for e in entries]
    equal([(a['method'], a['url']) for a in asks],
          [('PATCH', origin.url('/a?b=1&c=%20&d'))] +
          [('GET', origin.url('/%d' % i)) for i in (2, 3, 4, 5, 5)], 'URLs')
    equal(asks[0]['queryString'], [
        {'name': 'b', 'value': '1'}, {'name': 'c', 'value': ' '},
        {'name': 'd', 'value': ''}], 'the query')
    equal(asks[0]['cookies'], [{'name': 'e', 'value': 'f'},
                               {'name': 'g', 'value': 'h=i'}], 'cookies')
    equal(asks[0]['postData']['mimeType'], 'text/plain', 'what was sent')
    equal((asks[0]['headersSize'], asks[0]['bodySize']),
          (len(POST) - len(BYTES), len(BYTES)), 'sizes')
    check({'name': 'X-Empty', 'value': ''} in asks[0]['headers'], 'headers')
    equal([(s['status'], s['statusText']) for s in says],
          [(200, 'Very Fine')] + [(200, 'OK')] * 3 + [(302, ''), (0, '')],
          'statuses')
    equal(says[0]['content'], {'size': 6, 'mimeType': 'text/html',
                               'text': 'h\xe9llo'}, 'text')
    equal(says[0]['cookies'], [{'name': 'a', 'value': 'b'},
                               {'name': 'c', 'value': 'd'}], 'set cookies')
    equal(base64.b64decode(says[1]['content']['text']), BYTES, 'base64')
    equal((says[2]['content']['text'], says[2]['content']['size'] == 72,
           says[2]['bodySize']), ('unpacked' * 9, True,
                                  len(gzip.compress(b'unpacked' * 9)) + 1),
          'gzip')
    equal(says[3]['content']['text'], 'not gzip', 'what claims to be gzip')
    equal(says[4]['redirectURL'], '/x', 'Location')
    for e in entries:
        check(abs(e['time'] - sum(e['timings'].values())) < 0.01, 'times')


@test('har: a HAR validator accepts it')
def _():
    need('node')
    name = scratch('all.har', make_har()[0])
    program = '''
        let check
        try { check = require('har-validator') } catch { process.exit(77) }
        check.har(JSON.parse(require('fs').readFileSync(process.argv[1])))
            .then(() => process.exit(0),
                  e => { console.error(e.errors || e); process.exit(1) })'''
    done = subprocess.run(['node', '-e', program, name], timeout=3 * DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode == 77:
        raise Skip('npm package har-validator is not in NODE_PATH')
    equal(done.returncode, 0, done.stderr.decode())


@test('har: first lines as odd as servers write them')
def _():
    folder = scratch('odd')
    for line, status in ((b'HTTP/1.1  404  Gone', 404), (b'HTTP/1.1 200', 200),
                         (b'HTTP/1.1 2xx Fine', 0), (b'what', 0), (b'', 0)):
        for way, data in (('request', get('/')),
                          ('response', line + b'\r\n\r\n')):
            passes('save', folder, input=data, env={
                'MITM_ID': '1', 'MITM_DIRECTION': way, 'MITM_URL': 'http://x/'})
        done = pipe('har', folder)
        equal((done.status, done.err), (0, ''), 'har')
        equal(json.loads(done.out)['log']['entries'][0]['response']['status'],
              status, line)


@test('har: deflate with its envelope and without')
def _():
    folder = scratch('deflate')
    for i, data in enumerate((zlib.compress(b'text'),
                              zlib.compress(b'text')[2:-4], b'text')):
        for way, text in (('request', get('/')), ('response', reply(
                data, 'Content-Encoding: deflate'))):
            passes('save', folder, input=text, env={
                'MITM_ID': str(i), 'MITM_DIRECTION': way})
    equal([e['response']['content'] for e in
           json.loads(pipe('har', folder).out)['log']['entries']],
          [{'size': 4, 'text': 'text', 'mimeType': ''}] * 3, 'the texts')


@test('har: an empty folder, and wrong usage')
def _():
    folder = scratch('empty')
    os.mkdir(folder)
    strict(json.loads(pipe('har', folder).out), HAR)
    for wrong in (), ('a', 'b'), (folder + '/absent',):
        done = pipe('har', *wrong)
        check(done.status, 'usage %r' % (wrong,))
        like(done.err, r'\A(usage|har): .*\n\Z', 'one line')


run()
