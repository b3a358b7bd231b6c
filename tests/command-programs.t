#!/usr/bin/env python3
"""Real programs inside of mitmproxy -- COMMAND, none with a setting of its
own: each gets a page that a filter has changed, of a server that only the
proxy's CA makes good, and one that goes by untouched, of a server that only
the system's CAs make good."""
import http.server, io, shlex, zipfile

from mitm import *

CA = scratch('cert.pem')


class Site(http.server.ThreadingHTTPServer):
    """Serves a directory over TLS, and what git-http-backend has of it."""
    daemon_threads = True

    def __init__(self, root):
        self.root = root
        super().__init__(('127.0.0.1', 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(make_leaf(
            names='DNS:weather.test,DNS:direct.test'))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):         # a client that did not like it
        pass

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def __init__(self, *args):
        super().__init__(*args, directory=args[2].root)

    def log_message(self, *_):
        pass

    def do_GET(self):
        if '.git' in self.path:
            self.git()
        else:
            super().do_GET()

    def do_POST(self):
        self.git()

    def body(self):
        if self.headers.get('Transfer-Encoding') == 'chunked':
            pieces = b''
            while size := int(self.rfile.readline(), 16):
                pieces += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return pieces
        return self.rfile.read(int(self.headers.get('Content-Length') or 0))

    def git(self):
        path, _, query = self.path.partition('?')
        done = subprocess.run(
            ['git', 'http-backend'], input=self.body(), timeout=DEADLINE,
            stdout=subprocess.PIPE,
            env=dict(os.environ, GIT_PROJECT_ROOT=self.server.root,
                     GIT_HTTP_EXPORT_ALL='1', PATH_INFO=path,
                     QUERY_STRING=query, REQUEST_METHOD=self.command,
                     REMOTE_USER='me', REMOTE_ADDR='127.0.0.1',
                     HTTP_CONTENT_ENCODING=self.headers.get(
                         'Content-Encoding', ''),
                     GIT_PROTOCOL=self.headers.get('Git-Protocol', ''),
                     CONTENT_TYPE=self.headers.get('Content-Type', '')))
        head, _, body = done.stdout.partition(b'\r\n\r\n')
        status = re.search(rb'^Status: (\d+)', head, re.M)
        self.send_response(int(status.group(1)) if status else 200)
        for line in head.split(b'\r\n'):
            name, _, value = line.decode().partition(': ')
            if name != 'Status':
                self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ROOT = scratch('root')
os.mkdir(ROOT)
with open(os.path.join(ROOT, 'page'), 'w') as page:
    page.write('one cloud\n')
SITE = None


def put(name, content):
    path = os.path.join(ROOT, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
        f.write(content if isinstance(content, bytes) else content.encode())


def around(*line, filter='sed s/cloud/clown/g', match=None, status=0, cwd=None,
           bundle=True, **env):
    """Run a command with the proxy around it: its standard output."""
    global SITE
    SITE = SITE or Site(ROOT)
    port = SITE.server_address[1]
    env = {**os.environ, 'SSL_CERT_FILE': make_ca(), **env}
    done = subprocess.run(
        [PROGRAM, '-q', '--ca', CA, '--cacert', make_ca(),
         '--connect-to', 'weather.test:443:127.0.0.1:%d' % port,
         '--connect-to', 'direct.test:443:127.0.0.1:%d' % port,
         '--ignore-hosts', '^direct', *(['--match', match] if match else []),
         '-R', filter, '--', *line], env=env, cwd=cwd, timeout=4 * DEADLINE,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    check(done.returncode == status, '%s exits %d' % (line, done.returncode),
          done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.decode()


def both(*line, **more):
    """The command, with a URL at its end, gets both pages."""
    equal(around(*line, 'https://weather.test/page', **more), 'one clown\n',
          'the page that a filter has changed')
    equal(around(*line, 'https://direct.test/page', **more), 'one cloud\n',
          'the page of an untouched host')


def python(text, *more):
    both(sys.executable, '-c', 'import sys; url = sys.argv[1]; ' + text, *more)


@test('curl')
def _():
    both(need('curl'), '-sS')


@test('wget, which keeps what its own wgetrc says')
def _():
    both(need('wget'), '-qO-')
    home = scratch('home')
    os.mkdir(home)
    with open(home + '/.wgetrc', 'w') as f:
        f.write('user_agent = odd/1')
    with Origin(answer(lambda r: reply(r['User-Agent'] + b'\n'))) as origin:
        equal(around('wget', '-qO-', origin.url(), HOME=home), 'odd/1\n',
              'the user agent')


@test('Python: urllib')
def _():
    python('import urllib.request; '
           'print(urllib.request.urlopen(url).read().decode(), end="")')


@test('Python: requests')
def _():
    if subprocess.call([sys.executable, '-c', 'import requests'],
                       stderr=subprocess.DEVNULL):
        raise Skip('no requests')
    python('import requests; print(requests.get(url).text, end="")')


@test('Python: httplib2')
def _():
    if subprocess.call([sys.executable, '-c', 'import httplib2'],
                       stderr=subprocess.DEVNULL):
        raise Skip('no httplib2')
    python('import httplib2; print(httplib2.Http().request(url)[1].decode(), '
           'end="")')


@test('PHP: curl')
def _():
    if b'curl' not in command(need('php'), '-m').split():
        raise Skip('no curl in PHP')
    both('php', '-r', 'curl_exec(curl_init($argv[1]));')
    like(around('php', '-r', 'echo php_ini_scanned_files();',
                PHP_INI_SCAN_DIR=os.path.dirname(scratch('my.ini', ''))),
         r'my\.ini(?s:.)*/php\.ini', "the user's PHP_INI_SCAN_DIR")


@test('node: fetch')
def _():
    both(need('node'), '-e', 'fetch(process.argv[1]).then(async r => '
         'process.stdout.write(await r.text()))')
    equal(around('node', '-p', 'process.title', NODE_OPTIONS='--title=odd'),
          'odd\n', "the user's NODE_OPTIONS")


@test('node: http and https, with agents of its own, and a proxy that refuses')
def _():
    ask = ("const a = process.argv[1], m = require(a.split(':')[0]);"
           "m.get(a, { agent: %s }, r => r.pipe(process.stdout))"
           ".on('error', e => console.log(e.message))")
    for agent in 'undefined', 'false', 'new m.Agent({ keepAlive: false })':
        both(need('node'), '-e', ask % agent)
    with Origin(answer(reply(b'plain cloud'))) as origin:
        for url, args, want in (
                (origin.url(), ('-R', 'sed s/cloud/clown/'), 'plain clown'),
                (origin.url(), ('--only-hosts', 'x'), 'Forbidden\n'),
                ('https://[::1]:9/', ('--listen-host', '[::1]', '--only-hosts',
                                      'x'), 'Forbidden\n')):
            equal(subprocess.run(
                [PROGRAM, '--ca', CA, '-q', *args, '--', 'node', '-e',
                 ask % 'undefined', url], stdout=subprocess.PIPE,
                timeout=DEADLINE).stdout.decode(), want, url)


@test('node and PHP with a TMPDIR of any name')
def _():
    for name in 'a b', 'a"b', "a'b", 'a\\b', 'a:b', 'a$b':
        at = scratch(name)
        os.mkdir(at)
        for ask in ([need('node'), '-p', '1'],
                    [need('php'), '-r', 'print preg_match("{/php.ini}", '
                     'php_ini_scanned_files()) . "\\n";']):
            done = subprocess.run(
                [PROGRAM, '--ca', scratch('cert.pem'), '-q', '--', *ask],
                env=dict(os.environ, TMPDIR=at), stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=DEADLINE)
            equal(done.stdout, b'1\n', '%s with %s' % (ask[0], name))


@test('Go')
def _():
    go, home = need('go'), scratch('go')
    put_to = scratch('main.go', '''package main

import ("io"; "net/http"; "os")

func main() {
    r, err := http.Get(os.Args[1])
    if err != nil {
        panic(err)
    }
    io.Copy(os.Stdout, r.Body)
}
''')
    os.rename(put_to, put_to + '.go')
    program = scratch('fetch')
    command(go, 'build', '-o', program, put_to + '.go', status=0, env={
        'GOCACHE': home, 'GOFLAGS': '-mod=mod', 'HOME': SCRATCH})
    both(program)


@test('git: ls-remote, clone and push by smart http')
def _():
    need('git')
    author = ['-c', 'user.name=me', '-c', 'user.email=me@weather.test',
              '-c', 'init.defaultBranch=cloud', '-c', 'gc.auto=0']
    work, copy = scratch('work'), scratch('copy')
    bare = os.path.join(ROOT, 'x.git')
    env = {'GIT_CONFIG_NOSYSTEM': '1', 'HOME': SCRATCH,
           'GIT_TERMINAL_PROMPT': '0'}

    def git(*line):
        return command('git', *author, *line, env=env, status=0)
    git('init', '-q', '--bare', bare)
    git('-C', bare, 'config', 'http.receivepack', 'true')
    git('init', '-q', work)
    with open(work + '/data', 'wb') as f:
        f.write(os.urandom(2000000))
    git('-C', work, 'add', 'data')
    git('-C', work, 'commit', '-qm', 'a cloud')
    git('-C', work, 'push', '-q', bare, 'cloud')
    url = 'https://weather.test/x.git'
    like(around('git', 'ls-remote', url, **env), r'\trefs/heads/clown\n',
         'what a filter has changed')
    match = '~t html'                   # and so nothing here
    around('git', 'clone', '-q', url, copy, match=match, **env)
    equal(slurp(copy + '/data'), slurp(work + '/data'), 'the clone')
    with open(copy + '/data', 'wb') as f:
        f.write(os.urandom(3000000))    # in chunks, with a probe before
    git('-C', copy, 'commit', '-qam', 'more')
    around('git', '-C', copy, 'push', '-q', 'origin', 'cloud', match=match,
           **env)
    equal(git('-C', bare, 'rev-parse', 'cloud'),
          git('-C', copy, 'rev-parse', 'cloud'), 'what was pushed')
    like(around('git', 'ls-remote', url.replace('weather', 'direct'), **env),
         r'\trefs/heads/cloud\n', 'untouched')


@test('pip: an index that a filter has changed, and a wheel that it has not')
def _():
    if subprocess.call([sys.executable, '-m', 'pip', '--version'],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        raise Skip('no pip')
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, 'w') as z:
        z.writestr('clown.py', 'x = "cloud"\n' * 1000)
        z.writestr('clown-1.0.dist-info/METADATA',
                   'Metadata-Version: 2.1\nName: clown\nVersion: 1.0\n')
        z.writestr('clown-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\n'
                   'Generator: me\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        z.writestr('clown-1.0.dist-info/RECORD', '')
    name = 'clown-1.0-py3-none-any.whl'
    put('simple/clown/index.html', '<!DOCTYPE html><a href="/%s">%s</a>\n'
        % ((name.replace('clown', 'cloud'),) * 2))
    put(name, wheel.getvalue())
    target = scratch('target')
    around(sys.executable, '-m', 'pip', 'download', '-q', '--no-deps',
           '--disable-pip-version-check', '--isolated', '--no-cache-dir',
           '-d', target, '--index-url', 'https://weather.test/simple',
           'clown', match='~t html', HOME=SCRATCH)
    equal(slurp(os.path.join(target, name)), wheel.getvalue(), 'the wheel')


@test('npm: a package whose version a filter has changed')
def _():
    npm = need('npm')
    put('cloud/index.html', 'x')
    put('clown', '{"name": "clown", "dist-tags": {"latest": "1.0.0"}, '
        '"versions": {"1.0.0": {"name": "clown", "version": "1.0.0", '
        '"description": "a cloud"}}}')
    home = scratch('npm')
    os.mkdir(home)
    for host, word in ('weather', 'clown'), ('direct', 'cloud'):
        equal(around(npm, 'view', '--registry', 'https://%s.test/' % host,
                     'clown', 'description', '--fetch-retries', '0',
                     HOME=home, cwd=home), 'a %s\n' % word, host)


@test('apt: a list that a filter has changed')
def _():
    apt, state = need('apt-get'), scratch('apt')
    for name in ('lists/partial', 'cache/archives/partial', 'etc'):
        os.makedirs(os.path.join(state, name))
    os.chmod(SCRATCH, 0o711)
    put('Packages', 'Package: clown\nVersion: 1\nArchitecture: all\n'
        'Maintainer: me\nFilename: ./clown.deb\nSize: 1\n'
        'MD5sum: d41d8cd98f00b204e9800998ecf8427e\nDescription: a cloud\n')
    for host, word in ('weather', 'clown'), ('direct', 'cloud'):
        sources = scratch('list', 'deb [trusted=yes allow-insecure=yes] '
                          'https://%s.test/ ./\n' % host)
        config = scratch('apt.conf', ''.join('%s "%s";\n' % pair for pair in (
            ('Dir::State', state), ('Dir::State::status', '/dev/null'),
            ('Dir::Cache', state + '/cache'),
            ('Dir::Etc::sourcelist', sources),
            ('Dir::Etc::sourceparts', '/dev/null'),
            ('Dir::Etc::main', '/dev/null'), ('Dir::Etc::parts', '/dev/null'),
            ('Acquire::Languages', 'none'), ('Debug::NoLocking', '1'),
            ('Acquire::AllowInsecureRepositories', '1'),
            ('Acquire::Retries', '0'),
            ('APT::Sandbox::User', '' if os.geteuid() else '_apt'))))
        text = around('sh', '-c', 'apt-get -qq update >&2; '
                      'apt-cache show clown', APT_CONFIG=config)
        like(text, 'Description: a %s\n' % word, host)


run()
