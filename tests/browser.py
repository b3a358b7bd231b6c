"""Chromium, without a screen, in a home of its own."""
import base64, hashlib

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


def trust(ca, home):
    """Options that make it trust this CA."""
    if shutil.which('certutil'):
        database = home + '/.pki/nssdb'
        os.makedirs(database)
        for words in (['-N', '--empty-password'],
                      ['-A', '-t', 'C,,', '-n', 'test CA', '-i', ca]):
            done = subprocess.run(
                ['certutil', '-d', 'sql:' + database, *words],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            check(done.returncode == 0, 'certutil', done.stdout)
        return []
    key = openssl('pkey', '-pubin', '-outform', 'der', input=openssl(
        'x509', '-in', ca, '-noout', '-pubkey'))
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return ['--ignore-certificate-errors-spki-list=' + digest]


def visit(url, home, *options):
    """What is shown of a page, when it is there: its DOM."""
    with running(browser(), *OPTIONS, '--user-data-dir=' + home + '/profile',
                 *options, '--dump-dom', url, env={'HOME': home},
                 stdin=subprocess.DEVNULL) as child:
        child.wait(3 * DEADLINE)
        return slurp(child.output)
