#!/usr/bin/env python3
"""A browser that trusts the CA sees the filtered page."""
import base64, hashlib
from mitm import *


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
        with running(program, '--headless', '--no-sandbox', '--disable-gpu',
                     '--disable-quic', '--no-first-run',
                     '--disable-background-networking',
                     '--disable-component-update', '--disable-sync',
                     '--disable-dev-shm-usage',
                     '--user-data-dir=' + home + '/profile',
                     '--proxy-server=http://127.0.0.1:%d' % proxy.port,
                     '--proxy-bypass-list=<-loopback>', *trust(proxy, home),
                     '--dump-dom', origin.url(), env={'HOME': home},
                     stdin=subprocess.DEVNULL) as child:
            child.wait(3 * DEADLINE)
            dom = slurp(child.output)
            like(dom, rb'hello everybody and a script', 'the page')


run()
