#!/usr/bin/env python3
"""Each command of README.md and of the manual's EXAMPLES, as it is printed
there, does what is said of it."""
import json
from lab import *

README = slurp(os.path.join(ROOT, 'README.md')).decode()
MANUAL = slurp(os.path.join(ROOT, 'mitmproxy.1')).decode()
URL = 'https://weather.example/'
CLOWN = PAGE.replace(b'cloud', b'clown')


def commands(text):
    """The commands for mitmproxy of an indented text, in their order: what
    is joined by \\ is one, and comments are none of it."""
    found = re.findall(r'(?m)^ +(?:\$ )?(mitmproxy (?:.*\\\n)*.*)', text)
    return [re.sub(r' {3,}#.*', '', line) for line in found]


def examples():
    """The EXAMPLES of the manual, as text with indented commands."""
    text = re.search(r'(?s)\n\.Sh EXAMPLES\n(.*?)\n\.Sh', MANUAL)[1]
    text = re.sub(r'(?m)^\.Dl (.*)', r'    \1', text)
    text = re.sub(r'(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed', lambda found: re.sub(
        r'(?m)^', '    ', found[1]), text)
    return (text.replace(r'\e', '\\').replace(r'\-', '-')
            .replace(r'\(dq', '"').replace(r'\&', ''))


def words(line):
    """What the program is given by a command, after the shell."""
    said = command('sh', '-c', 'mitmproxy() { printf "%s\\0" "$@"; }; ' + line,
                   status=0)
    return said.decode().split('\0')[:-1]


RECIPES = commands(README)
EXAMPLES = commands(examples())


def see(lab, child, url='page', want=PAGE, *words):
    equal(lab.curl(child, *words, URL + url), want, url)


def see_got(regex, *words, url='echo'):
    """What the server was sent has this."""
    return lambda lab, child: like(
        lab.curl(child, *words, URL + url), regex, 'at the server')


def clown(lab, child):
    see(lab, child, 'page', CLOWN)
    if '~t html' in child.line:
        see(lab, child, 'winter', b'Winter: one cloud over the hills, '
            b'no cloud over the sea.\n')


def admin(lab, child):
    equal(json.loads(lab.curl(child, URL + 'api')),
          {'user': 'me', 'admin': True}, 'the JSON')
    see(lab, child)


def no_cookie(lab, child):
    got = lab.curl(child, '-b', 'a=b', '-H', 'X: y', URL + 'echo')
    like(got, rb'(?m)^X: y', 'at the server')
    unlike(got, b'Cookie', 'at the server')


def blocked(status, path):
    def probe(lab, child):
        before = slurp(lab.file('got')) if os.path.exists(
            lab.file('got')) else b''
        equal(lab.curl(child, '-o', '/dev/null', '-w', '%{http_code}',
                       path), status, 'status')
        equal(slurp(lab.file('got')) if os.path.exists(lab.file('got'))
              else b'', before, 'what the server heard')
        see(lab, child)
    return probe


def local(lab, child):
    see(lab, child, 'js/a.js', b'mine')
    see(lab, child)


def elsewhere(lab, child):
    """The server on port 3000 is the same: it is the plain one."""
    see(lab, child, 'tls', b'no TLS\n')


def events(lab, child):
    see(lab, child, 'events', b'data: one clown\n\ndata: no clown\n\n')


def saved(lab, child):
    see(lab, child)
    at = lab.file('DIR') if 'DIR' in child.line else lab.at
    for kind, word in ('request', b'GET /page'), ('response', b'cloud over'):
        wait_for(lambda: os.path.exists(os.path.join(at, '1.' + kind)),
                 'a file of the ' + kind)
        check(word in slurp(os.path.join(at, '1.' + kind)), kind)


def wire(lab, child):
    see(lab, child, 'chunks', PAGE[25:-5] + b'\n')
    like(slurp(lab.file('wire.log')), rb'\r\n0\r\n\r\n$', 'chunks and all')


def slow(lab, child):
    begin = time.monotonic()
    see(lab, child)
    check(time.monotonic() - begin >= 2, 'it took two seconds')


def length(lab, child):
    like(lab.curl(child, '-X', 'GET', '--data', 'Content-Length: 9',
                  URL + 'echo'), rb'(?m)^Content-Length: 3', 'the length')


def login(lab, child):
    equal(lab.curl(child, '-H', 'Authorization: Bearer KEY',
                   'https://api.example/login'),
          b'welcome, Bearer KEY\n', 'the answer')


def reverse(host):
    """Clients take the proxy for the server."""
    def probe(lab, child):
        got = lab.curl(child, '-x', '', '--connect-to', '::' + child.proxy[7:],
                       'http://here.example/echo')
        like(got, rb'(?m)^GET /echo[^$]*\nHost: %s\s' % host, 'the request')
    return probe


def must_log_in(lab, child):
    like(lab.curl(child, URL, status=56), b'response 407', 'without')
    see(lab, child, 'page', PAGE, '--proxy-user', 'me:secret')


def by_socket(lab, child):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(lab.file('proxy.sock'))
    client = Conn(sock)
    client.send(get('http://weather.example/page', host='weather.example'))
    equal(client.read_message().body, PAGE, 'the page')
    client.close()


def untouched(url):
    """The client sees the server's own certificate."""
    return lambda lab, child: equal(
        lab.curl(child, '--cacert', lab.file('root.pem'), url),
        PAGE, 'the page')


def pcap(lab, child):
    see(lab, child)
    wait_for(lambda: b'GET /page' in slurp(lab.file('all.pcapng')),
             'the request in the file')


def noted(lab, child):
    see(lab, child)
    wait_for(lambda: b'"event":"response"' in slurp(lab.file('events')),
             'the answer among the events')


def up(lab, child):
    """There is nobody where it leads, on this machine: it starts."""


PROBES = [
    # what is in the command, and what is done with the proxy then
    ('--mode reverse:https://weather.example', reverse(b'here.example')),
    ('--raw --response .tee -a wire', wire),
    ('--mode transparent', up),
    ('--proxyauth', must_log_in),
    ('--listen-host unix:', by_socket),
    ('--proxy-protocol', up),
    ('-x (http|socks5h)://', up),
    ('--connect-to weather', up),
    ('--cert me.pem', see),
    ('--ignore-hosts', untouched('https://bank.example/page')),
    ('--tcp-hosts', see),
    ('--pass-pinned', see),
    ('-w all.pcapng', pcap),
    ('--log-json', noted),
    ('--only-hosts.*swap', login),
    ("response 'filters/body jq", admin),
    ('filters/edit .json', admin),
    ('admin.py', admin),
    ('event-stream', events),
    ('filters/set-header User-Agent me', see_got(rb'User-Agent: me\r?\n')),
    ('filters/del-header', see),
    ('Cookie', no_cookie),
    ('filters/block', blocked(b'403', 'https://ads.example/x')),
    ('~u /ads/', blocked(b'404', URL + 'ads/x')),
    ('map-local', local),
    (r'map-remote|http://127\.0\.0\.1:', elsewhere),
    ('filters/save|tee .MITM_ID', saved),
    ('filters/trap', up),
    ('sleep 2', slow),
    ('Content-Length:\\)', length),
    ('~w', up),
    ('clown', clown),
]


def prepare(lab, line):
    """The files that a command names."""
    os.makedirs(lab.file('js/js'))
    lab.file('js/a.js', b'mine')
    lab.file('key', b'SECRET\n')
    admin = re.search(r'(?m)^    #!/usr/bin/env python3\n(?:    .*\n)+',
                      examples())[0]
    lab.file('admin.py', admin.replace('\n    ', '\n')[4:].encode(), 0o700)
    lab.file('agent', b'#!/bin/sh\nexec curl -sS -H "Authorization: '
             b'Bearer KEY" https://api.example/login\n', 0o700)
    leaf = slurp(make_leaf())
    lab.file('me.pem', leaf)
    lab.file('me.key', leaf)
    for program in 'jq', 'perl':
        if program in line:
            need(program)
    if '--user' in line and os.geteuid():
        raise Skip('only root becomes another user')


def try_out(line):
    """One command as it is printed, but for ports."""
    with Lab() as lab:
        prepare(lab, line)
        if '3000' in line:              # a free port
            line = line.replace('3000', str(lab.port))
            line = line.replace(':localhost', '')
        if line.endswith('&'):
            line = line[:-1]
        if ' -- ' in line:
            out = lab.run(line)
            if 'agent' in line:
                equal(out, b'welcome, Bearer KEY\n', 'what the agent gets')
            else:
                equal(out, CLOWN if 'clown' in line else PAGE, 'the page')
            return
        probe = next((probe for regex, probe in PROBES
                      if re.search(regex, line, re.S)), None)
        check(probe, 'a probe of it', line)
        if 'Host:' in line:
            probe = reverse(b'weather.example')
        with lab.proxy(line) as child:
            probe(lab, child)


def named(line):
    return ' '.join(re.sub(r'\\\n *', '', line).split())


for line in RECIPES:
    if '...' not in line:
        test('README: ' + named(line))(lambda line=line: try_out(line))
for line in EXAMPLES:
    if '...' not in line:
        test('manual: ' + named(line))(lambda line=line: try_out(line))


@test('there are commands')
def _():
    check(len(RECIPES) > 20 and len(EXAMPLES) > 8, 'many', RECIPES, EXAMPLES)


@test('what a session prints is what the README shows')
def _():
    shown = re.search(r'(?m)^    \$ (.* -- .*)\n((?:    .*\n)+)', README)

    def plain(text):
        text = re.sub(r'(curl|BaseHTTP|Python)/[\d.]+', r'\1/', text)
        text = re.sub(r'\d+ ms', 'ms', text)
        return re.sub(r"Date: [^'\\]*.*", 'Date', text)
    with Lab() as lab:
        out = lab.run('exec 2>&1; ' + shown[1]).decode()
        want = shown[2].replace('\n    ', '\n')[4:]
        equal(sorted(plain(line) for line in out.splitlines()
                     if 'made a CA' not in line),
              sorted(plain(line) for line in want.splitlines()), 'the lines')


@test('the first commands of the README are make demo and make test')
def _():
    first = re.findall(r'(?m)^    ([^$\s].*?)(?: {2,}#.*)?$', README)[:3]
    equal(first, ['make demo', 'make test', 'make play'], 'commands')
    make = slurp(os.path.join(ROOT, 'Makefile')).decode()
    for target in re.findall(r'(?m)\bmake ([a-z]+)\b', README):
        check(re.search(r'(?m)^%s\b.*:' % target, make), 'make ' + target)


@test('take the cookies out of requests: their bodies are left alone')
def _():
    body = b'Cookie: b\r\n'
    fields = 'Content-Length: %d' % len(body), 'Cookie: a', 'X: y'
    line = next(line for line in RECIPES if 'Cookie' in line)
    with Origin() as origin, \
            Proxy(*words(line)) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', *fields, method='PUT') + body)
        want = get('/', fields[0], 'X: y', method='PUT') + body
        equal(origin.next().read_exact(len(want)), want, 'at the server')


@test('lie about a length: nothing else is changed, and the body is not')
def _():
    body = b'Content-Length: 9\r\n'
    ask = get('/', 'content-length: %d' % len(body), method='PUT') + body
    line = next(line for line in RECIPES if 'Content-Length:)' in line)
    with Origin() as origin, \
            Proxy(*words(line)) as proxy:
        client = proxy.tunnel(origin)
        client.send(ask)
        want = ask.replace(b'content-length: 19', b'content-length: 3', 1)
        equal(origin.next().read_exact(len(want)), want, 'at the server')


@test('in reverse mode the server gets its own Host')
def _():
    line = next(line for line in RECIPES if '(Host:)' in line)
    with Origin(answer(lambda r: reply(r.head)), tls=True) as origin:
        there = [word.replace('//weather.example', '//' + origin.auth)
                 for word in words(line)]
        with Proxy(*there) as proxy:
            client = proxy.connect().start_tls(client_context(proxy.ca),
                                               'localhost')
            for host in 'localhost:8080', 'x':
                client.send(get('/', 'X: y', host=host))
                equal(client.read_message().body,
                      get('/', 'X: y', host='weather.example'), 'the request')


@test('the manual has every option, and every variable that filters get')
def _():
    text = MANUAL.replace('\\', '')
    for option in set(re.findall(r'--([a-z][\w-]+)', mitmproxy('--help')[1])):
        check('Fl -' + option in text, '--' + option)
    seen = scratch('seen')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--response', 'env > %s; cat' % seen) as proxy:
        proxy.fetch(origin)
    for name in re.findall(r'(?m)^(MITM_\w+)=', slurp(seen).decode('latin-1')):
        check(name in text, name)
        check(name in README, name + ' in the README')
    check('mitm.it' in text, 'mitm.it')


@test('every option in the README is real')
def _():
    known = set(re.findall(r'--[\w-]+', mitmproxy('--help')[1]))
    for line in RECIPES:
        for option in re.findall(r'(?<=\s)--[a-z][a-z-]+',
                                 line.split(' -- ')[0]):
            check(option in known or option == '--body', option)


@test('the lines for Java: the proxy is used, and its CA trusted')
def _():
    row = next(line for line in README.splitlines()
               if line.startswith('| Java'))
    proxy, make, trust = re.findall('`(.*?)`', row)
    java = need('java')
    need('keytool')
    code = '''
        public class Fetch {
            public static void main(String[] args) throws Exception {
                System.out.write(new java.net.URL(args[0]).openStream()
                    .readAllBytes());
                System.out.flush();
            }
        }'''
    with Lab() as lab, \
            lab.proxy("mitmproxy -R 'sed s/cloud/clown/g'") as child:
        lab.file('Fetch.java', code.encode())
        lab.run('openssl x509 -in cert.pem -out mitmproxy.crt')
        lab.run(make)
        got = lab.run(' '.join([java, proxy.replace(
            '8080', child.proxy.split(':')[-1]), trust, 'Fetch.java',
            URL + 'page']))
        equal(got, CLOWN, 'the page')


@test('the lines for Chromium: its database knows the CA, and forgets it')
def _():
    row = next(line for line in README.splitlines()
               if line.startswith('| Chromium'))
    _, add, directory, make = re.findall('`(.*?)`', row)
    need('certutil')
    with Lab() as lab, lab.proxy('mitmproxy') as child:
        lab.run('openssl x509 -in cert.pem -out mitmproxy.crt')
        listed = 'certutil -d sql:$HOME/.pki/nssdb -L'
        home = 'HOME=$PWD; '
        for line in directory, make, add:
            lab.run(home + line)
        like(lab.run(home + listed), rb'mitmproxy +C', 'the CA')
        lab.run(home + 'certutil -d sql:$HOME/.pki/nssdb -D -n mitmproxy')
        unlike(lab.run(home + listed), b'mitmproxy', 'the CA')


@test('with the sed and awk of BusyBox, but for -u and I')
def _():
    box = need('busybox')
    awk = re.search("`(awk '.*?)`", README)[1]
    lines = [line for line in RECIPES + EXAMPLES
             if re.search(r"'sed s/", line) and '~w' not in line]
    lines.append('mitmproxy --response "%s"' % awk.replace('"', '\\"'))
    for line in lines:
        with Lab() as lab:
            os.mkdir(lab.file('bin'))
            for name in 'sed', 'awk', 'sh', 'cat', 'sleep':
                os.symlink(box, lab.file('bin/' + name))
            line = 'PATH=$PWD/bin:$PATH; ' + line.rstrip('&')
            if ' -- ' in line:
                equal(lab.run(line), CLOWN, line)
                continue
            with lab.proxy(line) as child:
                clown(lab, child)


@test('mandoc warns of nothing in the manual')
def _():
    said = subprocess.run(
        [need('mandoc'), '-Tlint', '-Wwarning',
         os.path.join(ROOT, 'mitmproxy.1')], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, timeout=3 * DEADLINE).stdout.decode()
    equal([line for line in said.splitlines()
           if 'referenced manual' not in line], [], 'mandoc -Tlint')


run()
