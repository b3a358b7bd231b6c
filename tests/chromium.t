#!/usr/bin/env python3
"""A browser that trusts the CA sees the filtered page."""
import base64, hashlib
import ws
from mitm import *

OPTIONS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
           '--no-first-run', '--disable-background-networking',
           '--disable-component-update', '--disable-sync',
           '--disable-dev-shm-usage', '--proxy-bypass-list=<-loopback>')


def browser():
    for name in ('chromium', 'chromium-browser', 'google-chrome'):
        if shutil.which(name):
            return name
    raise Skip('chromium is not installed')


def trust(proxy, home):
    """Options that make it trust the proxy's CA."""
    if shutil.which('certutil'):
        database = home + '/.pki/nssdb'
        os.makedirs(database)
        for words in (['-N', '--empty-password'],
                      ['-A', '-t', 'C,,', '-n', 'test CA', '-i', proxy.ca]):
            done = subprocess.run(
                ['certutil', '-d', 'sql:' + database, *words],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            check(done.returncode == 0, 'certutil', done.stdout)
        return []
    key = openssl('pkey', '-pubin', '-outform', 'der', input=openssl(
        'x509', '-in', proxy.ca, '-noout', '-pubkey'))
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return ['--ignore-certificate-errors-spki-list=' + digest]


@test('the filtered page is seen, over TLS')
def _():
    program = browser()
    page = (b'<!doctype html><title>t</title><p id=a>hello world</p>'
            b'<script src=/script.js></script>')
    code = b'document.getElementById("a").append(" and a script")'

    def serve(request):
        if b'/script.js' in request.start:
            return reply(code, 'Content-Type: text/javascript')
        return chunked(page[:20], page[20:],
                       fields=['Content-Type: text/html'])
    with Origin(answer(serve), tls=True) as origin, \
            Proxy('--match', '~t html', '--response',
                  'sed s/world/everybody/') as proxy:
        home = scratch('home')
        os.mkdir(home)
        with running(program, *OPTIONS,
                     '--user-data-dir=' + home + '/profile',
                     '--proxy-server=http://127.0.0.1:%d' % proxy.port,
                     *trust(proxy, home),
                     '--dump-dom', origin.url(), env={'HOME': home},
                     stdin=subprocess.DEVNULL) as child:
            child.wait(3 * DEADLINE)
            dom = slurp(child.output)
            like(dom, rb'hello everybody and a script', 'the page')


@test('the messages of a page are filtered, over TLS')
def _():
    program = browser()
    page = (b'<!doctype html><title>t</title><p id=a></p><script>'
            b'var s = new WebSocket("wss://" + location.host + "/chat");'
            b's.onopen = function () { s.send("a cloud"); };'
            b's.onmessage = function (e) {'
            b' fetch("/result?" + encodeURIComponent(e.data)); };'
            b'</script>')
    heard, result = queue.Queue(), queue.Queue()

    def serve(conn):
        while wait_message(conn):
            request = conn.read_message()
            if b'/chat' not in request.start:
                if b'/result' in request.start:
                    result.put(request.start)
                conn.send(reply(page, 'Content-Type: text/html'))
                continue
            heard.put(request['sec-websocket-extensions'])
            conn.send(ws.accepted(request['sec-websocket-key']))
            opcode, text = ws.read_frame(conn)
            heard.put(text)
            conn.send(ws.frame(opcode, text + b' in the sun'))
            ws.Frame(conn)
    with Origin(serve, tls=True) as origin, \
            Proxy('--match', '~w', '--request', 'sed s/cloud/clown/',
                  '--match', '~w', '--response', 'sed s/sun/rain/') as proxy:
        home = scratch('home')
        os.mkdir(home)
        with running(program, *OPTIONS, '--remote-debugging-port=0',
                     '--user-data-dir=' + home + '/profile',
                     '--proxy-server=http://127.0.0.1:%d' % proxy.port,
                     *trust(proxy, home), origin.url(), env={'HOME': home},
                     stdin=subprocess.DEVNULL):
            equal(heard.get(timeout=3 * DEADLINE), None, 'extensions')
            equal(heard.get(timeout=DEADLINE), b'a clown', 'the server')
            like(result.get(timeout=DEADLINE),
                 rb'a%20clown%20in%20the%20rain', 'the page')


run()
