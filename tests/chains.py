"""Chains of certificates for servers, and what curl, asked without the proxy,
thinks of them."""
from mitm import *

CA = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' \
     'subjectKeyIdentifier=hash\n'
LEAF = 'subjectAltName=DNS:www.one.test\n'


def cert(subject, ext, by=None, days=10, key=EC):
    """A certificate with these extensions, signed by another, or itself; the
    name of its file. Its key lies at .key."""
    path = scratch('cert.pem')
    openssl('req', '-new', *key, '-subj', subject, '-keyout',
            path[:-4] + '.key', '-out', path + '.csr')
    who = ('-CA', by, '-CAkey', by[:-4] + '.key') if by else \
        ('-signkey', path[:-4] + '.key')
    lasts = ('-days', str(days))
    if days < 0 and b'-not_after' in subprocess.run(
            ['openssl', 'x509', '-help'], stderr=subprocess.PIPE).stderr:
        lasts = ('-not_before', '20200101000000Z',
                 '-not_after', '20200102000000Z')
    openssl('x509', '-req', '-in', path + '.csr', *who, *lasts, '-extfile',
            scratch('ext', ext), '-set_serial', str(time.time_ns()),
            '-out', path)
    return path


def root(ext='', **more):
    return cert('/CN=Root', CA + ext, **more)


def middle(by, ext='', name='/CN=Middle', **more):
    return cert(name, CA + 'authorityKeyIdentifier=keyid\n' + ext, by, **more)


def leaf(by, ext=LEAF, subject='/O=One', **more):
    return cert(subject, ext, by, **more)


def pems(*paths):
    """One file of several."""
    return scratch('chain.pem', b''.join(map(slurp, paths)))


def shown(first, *others):
    """What a server shows: its certificate, these behind it, and the key."""
    return pems(first, first[:-4] + '.key', *others)


def direct(origin, host, trust, *words):
    """What curl alone has to say: its exit status."""
    return subprocess.run(
        [need('curl'), '-s', '--noproxy', '*', '--max-time',
         str(int(DEADLINE)), '--cacert', trust, '--connect-to',
         '::127.0.0.1:%d' % origin.port, *words, 'https://%s/' % host],
        stdout=subprocess.DEVNULL).returncode


def judged(host, trust, chain, good, why='', version=None):
    """As curl judges it: good or not; through the proxy it is the same, and
    its page says why."""
    with Origin(answer(reply(b'page')), tls=True, cert=chain,
                version=version) as origin:
        equal(direct(origin, host, trust) == 0, good, 'whether curl takes it')
        with Proxy('--connect-to', '::127.0.0.1:%d' % origin.port,
                   trust=trust) as proxy:
            page = proxy.curl('https://%s/' % host).decode()
            if good:
                equal(page, 'page', 'the page')
            else:
                like(page, 'is not to be trusted: .*' + why, 'why not')
        if good:
            return
        with Proxy('--connect-to', '::127.0.0.1:%d' % origin.port, '-k',
                   trust=trust) as proxy:
            equal(proxy.curl('https://%s/' % host), b'page', 'with -k')
