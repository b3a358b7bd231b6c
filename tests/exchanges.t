#!/usr/bin/env python3
"""Play the raw exchanges of exchanges.txt; that file tells how they are
written.  `exchanges.t WORD` plays those with WORD in their name.  With
MITM_DIRECT=1 there is no proxy between the two sides: this checks the table
and this file."""
from concurrent.futures import ThreadPoolExecutor
from mitm import *

DIRECT = os.environ.get('MITM_DIRECT')
CAT = ('--request', 'cat', '--response', 'cat')
RAW = ('--raw', '--request', 'cat', '--raw', '--response', 'cat')
# how the case travels, in pieces of how many bytes, past which filters
WAYS = [('absolute', 0, ()), ('absolute', 1, ()), ('connect', 0, ()),
        ('connect', 1, ()), ('tls', 0, ()), ('tls', 1, ()),
        ('absolute', 0, CAT), ('tls', 0, CAT), ('tls', 1, CAT),
        ('connect', 0, RAW), ('tls', 0, RAW)]
EDGE = 250                  # so many bytes at each end go one by one


class Case:
    def __init__(self, name):
        self.name, self.steps, self.verdict, self.when = name, [], None, set()


def decode(text):
    """The bytes that a text of the table stands for, but {origin}, {host}."""
    text = re.sub(r'\\(x[0-9a-fA-F]{2}|.)',
                  lambda m: chr(int(m[1][1:], 16)) if m[1][0] == 'x' else
                  {'r': '\r', 'n': '\n', 't': '\t', '0': '\0',
                   '\\': '\\'}[m[1]], text)
    text = re.sub(r'\{(\d+)\*([^}]*)\}', lambda m: m[2] * int(m[1]), text)
    return text.encode('latin-1')


def load(path):
    cases = []
    for line in slurp(path).decode('latin-1').splitlines():
        kind, _, text = line.partition(' ')
        if line.startswith('['):
            cases.append(Case(line[1:-1]))
        elif kind in ('>', '<', '>=', '<='):
            steps = cases[-1].steps
            if steps and steps[-1][0] == kind:
                steps[-1] = (kind, steps[-1][1] + decode(text))
            else:
                steps.append((kind, decode(text)))
        elif kind == '!':
            cases[-1].steps.append(('!', text))
        elif kind == '?':
            cases[-1].when |= set(text.split())
        elif kind == '=':
            cases[-1].verdict = text
        elif line and kind != '#' and not line.startswith('# '):
            raise SystemExit('exchanges.txt: what is %r?' % line)
    return cases


def applies(case, way):
    how, _, filters = way
    first = next(text for kind, text in case.steps if kind == '>')
    if DIRECT:          # there, what must be changed is not
        return case.verdict != 'cut' and not case.when & {'absolute', 'tls'} and not any(
            kind in ('>=', '<=') for kind, _ in case.steps)
    return not ('nofilter' in case.when and filters
                or 'nocat' in case.when and filters == CAT
                or 'tls' in case.when and how != 'tls'
                or 'absolute' in case.when and how != 'absolute'
                or 'tunnel' in case.when and how == 'absolute'
                or how == 'absolute' and b'{origin}' not in first)


def opened(data):
    """A message with its chunks joined, as far as it has come: what a
    filter that changes nothing may change is the cut into chunks."""
    head = re.match(rb'(?is)(HTTP/1.1 1\d\d .*?\r?\n\r?\n)*.*?\r?\n\r?\n',
                    data)
    if not head or not re.search(rb'(?i)\ntransfer-encoding:.*chunked\s*\n',
                                 head[0]):
        return data
    body, rest = b'', data[head.end():]
    while True:
        line = re.match(rb'([0-9a-fA-F]+)[^\n]*\n', rest)
        if not line:
            return (head[0], body, rest)
        size = int(line[1], 16)
        if not size:
            return (head[0], body, b'END ' + rest[line.end():])
        chunk = re.match(rb'(?s)(.{%d})\r?\n' % min(size, 2 ** 20),
                         rest[line.end():])
        if not chunk:
            return (head[0], body, rest)
        body += chunk[1]
        rest = rest[line.end() + chunk.end():]


class Play:
    """One case on one way."""

    def __init__(self, case, way, proxy):
        self.case, (self.how, self.step, filters) = case, way
        self.loose = filters == CAT
        self.origin = Origin(tls=self.how == 'tls')
        self.server = None
        if DIRECT:
            self.client = Conn(socket.create_connection(
                ('127.0.0.1', self.origin.port), DEADLINE))
            if self.origin.tls:
                self.client.start_tls(client_context(make_ca()), 'localhost')
        elif self.how == 'tls':
            self.client = proxy.tls(self.origin)
        elif self.how == 'connect':
            self.client = proxy.tunnel(self.origin)
        else:
            self.client = proxy.connect()

    def fill(self, text, sent):
        url = b'http://%s' % self.origin.auth.encode()
        here = url if sent and self.how == 'absolute' and not DIRECT else b''
        return (text.replace(b'{origin}', here)
                .replace(b'{host}', self.origin.auth.encode()))

    def at_server(self):
        if not self.server:
            self.server = self.origin.next()
        return self.server

    def send(self, conn, data):
        if self.step and len(data) > 2 * EDGE:
            conn.send(data[:EDGE], self.step)
            conn.send(data[EDGE:-EDGE])
            conn.send(data[-EDGE:], self.step)
        else:
            conn.send(data, self.step)

    def expect(self, conn, want, where):
        """Wait for want, complain at the first byte that differs."""
        def enough():
            got = bytes(conn.buf)
            if self.loose and opened(got) == opened(want):
                return True
            if len(got) >= len(want) and not (self.loose and
                                              b'hunked' in got.lower()):
                return True
            return not self.loose and not want.startswith(got)
        conn.wait(enough, 'at the %s %s' % (where, show(want)))
        if self.loose and opened(bytes(conn.buf)) == opened(want):
            conn.buf.clear()
        else:
            equal(conn.take(len(want)), want, 'at the ' + where)

    def run(self):
        steps = self.case.steps
        for i, (kind, text) in enumerate(steps):
            after = steps[i + 1][0] if i + 1 < len(steps) else ''
            if kind == '>':
                self.send(self.client, self.fill(text, True))
                if after != '>=':
                    self.expect(self.at_server(), self.fill(text, False),
                                'server')
            elif kind == '>=':
                self.expect(self.at_server(), self.fill(text, False),
                            'server')
            elif kind == '<':
                try:
                    self.send(self.at_server(), self.fill(text, False))
                except ConnectionError:
                    check(after == '<=', 'the proxy left the server')
                if after != '<=':
                    self.expect(self.client, self.fill(text, False),
                                'client')
            elif kind == '<=':
                self.expect(self.client, self.fill(text, False), 'client')
            elif text == 'client ends':
                self.client.shutdown_write()
            elif text == 'server ends':
                self.at_server().shutdown_write()
            elif text == 'server cuts':
                self.at_server().cut()
            elif text == 'server resets':
                self.at_server().reset()
            else:
                equal(text, 'pause', 'what happens')
        getattr(self, self.case.verdict)()
        if self.server:
            equal(bytes(self.server.buf), b'', 'at the server, too much')
        equal(bytes(self.client.buf), b'', 'at the client, too much')

    # verdicts

    def kept(self):
        question = b'GET {origin}/next HTTP/1.1\r\nHost: {host}\r\n\r\n'
        self.client.send(self.fill(question, True))
        self.expect(self.at_server(), self.fill(question, False), 'server')
        self.server.send(reply(b'next answer'))
        self.expect(self.client, reply(b'next answer'), 'client')
        self.client.finish()
        equal(self.server.read_all(), b'', 'at the server, behind the last')

    def renewed(self):
        equal(self.at_server().read_all(), b'', 'at the server, too much')
        self.server = None
        self.kept()

    def closed(self):
        equal(self.client.read_all(), b'', 'at the client, too much')
        equal(self.client.end, 'eof', 'how the connection ended')
        self.client.finish()
        equal(self.at_server().read_all(), b'', 'at the server, too much')

    def cut(self):
        equal(self.client.read_all(), b'', 'at the client, too much')
        check(self.client.end in
              (('cut', 'reset') if self.how == 'tls' else ('eof', 'reset')),
              'the end looks as if all was well: ' + self.client.end)

    def stream(self):
        if self.how == 'absolute' and not DIRECT:
            self.last()
        else:
            self.switched()

    def switched(self):
        for sender, receiver, text in (
                (self.server, self.client, b'\r\n\r\n\0server speaks first'),
                (self.client, self.server, b'\xffPOST x\r\n\r\n0'),
                (self.server, self.client, b'HTTP/1.1 200 OK\r\n\r\n')):
            sender.send(text)
            self.expect(receiver, text, 'stream')
        self.client.shutdown_write()
        equal(self.server.read_all(), b'', 'at the server, too much')
        self.server.send(b'last words')
        self.server.shutdown_write()
        equal(self.client.read_all(), b'last words', 'after the half-close')

    def last(self):
        """A proxy's client may ask another server next: what it says after
        a message without a clear end, nobody gets; the server may go on."""
        more = b'\r\n\r\n\0server speaks on'
        with contextlib.suppress(OSError):
            self.client.send(b'GET http://other/ HTTP/1.1\r\n\r\n')
        with contextlib.suppress(OSError):
            self.server.send(more)
            self.server.shutdown_write()
        got = self.client.read_all()
        check(got in (b'', more), 'at the client: ' + show(got))
        equal(self.server.read_all(), b'', 'at the server, too much')

    def close(self):
        self.client.close()
        self.origin.close()


def play(case, way, proxy):
    """The diagnosis, or None."""
    match = None
    try:
        match = Play(case, way, proxy)
        match.run()
    except Exception as error:
        return '%s%s%s: %s' % (
            way[0], ', byte by byte' if way[1] else '',
            ', ' + ' '.join(way[2]) if way[2] else '',
            error if isinstance(error, Failed) else
            ''.join(traceback.format_exception(
                None, error, error.__traceback__)[-2:]))
    finally:
        if match:
            match.close()
    return None


def perform(chosen):
    """Play all cases on all ways: {name: [diagnosis]}."""
    found = {case.name: [] for case in chosen}
    with contextlib.ExitStack() as stack:
        proxies = {}
        jobs = []
        make_leaf()
        pool = stack.enter_context(ThreadPoolExecutor(8))
        for way in WAYS[:6] if DIRECT else WAYS:
            if way[2] not in proxies and not DIRECT:
                proxies[way[2]] = Proxy(*way[2])
                stack.callback(proxies[way[2]].kill)
            jobs += [(case.name, pool.submit(play, case, way,
                                             proxies.get(way[2])))
                     for case in chosen if applies(case, way)]
        for name, job in jobs:
            if job.result():
                found[name].append(job.result())
        for filters, proxy in proxies.items():
            try:
                proxy.stop()
            except Failed as error:
                found['the end'] = found.get('the end', []) + [
                    '%s: %s\n%s' % (filters, error, proxy.log()[-2000:])]
    return found


CASES = load(os.path.join(HERE, 'exchanges.txt'))
CHOSEN = [c for c in CASES if not sys.argv[1:] or sys.argv[1] in c.name]
results = None


def verdict(name):
    global results
    if results is None:
        results = perform(CHOSEN)
    if results.get(name):
        raise Failed('\n'.join(results[name]))


for chosen_case in CHOSEN:
    test(chosen_case.name)(lambda name=chosen_case.name: verdict(name))
test('the end: nothing is left of all that')(lambda: verdict('the end'))
sys.argv[1:] = []
run()
