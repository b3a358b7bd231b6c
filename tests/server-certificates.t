#!/usr/bin/env python3
"""Servers' certificates and their chains: what curl takes by itself is taken,
and what it refuses, refused; curl is asked each time."""
from chains import *

MADE = {}
VERSIONS = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

# --------------------------------------------------- in any order

for what, order in (('the root first', (3, 1, 2)), ('backwards', (3, 2, 1)),
                    ('two changed', (2, 1)),
                    ('strangers among them', (4, 2, 5, 4, 1, 5))):
    @test('a chain in another order: %s' % what)
    def _(order=order):
        top = root()
        two = middle(top, name='/CN=Two')
        one = middle(two, name='/CN=One')
        stranger = middle(top, name='/CN=Stranger')
        all = leaf(one), one, two, top, stranger, root()
        for version in VERSIONS:
            judged('www.one.test', top, shown(all[0], *(all[i] for i in order)),
                   True, version=version)


@test('one CA with two certificates, of which one has expired')
def _():
    top = root()
    old = middle(top, days=-1)
    new = scratch('new.pem')
    openssl('x509', '-req', '-in', old + '.csr', '-CA', top, '-CAkey',
            top[:-4] + '.key', '-extfile', scratch('ext', CA), '-days', '9',
            '-set_serial', '77', '-out', new)
    shutil.copy(old[:-4] + '.key', new[:-4] + '.key')
    last = middle(new, name='/CN=Last')
    judged('www.one.test', top, shown(leaf(last), old, new, last), True)


@test('two CAs of one name, of which one has signed')
def _():
    top = root()
    one, other = middle(top), middle(top)
    judged('www.one.test', top, shown(leaf(
        one, LEAF + 'authorityKeyIdentifier=keyid\n'), other, one), True)


@test('a CA of the chain has expired')
def _():
    top = root()
    one = middle(top, days=-1)
    judged('www.one.test', top, shown(leaf(one), one), False,
           r'since 20\d\d-\d\d-\d\d \d\d:\d\d UTC one of its CAs has expired')


@test('it has expired: since when')
def _():
    top = root()
    judged('www.one.test', top, shown(leaf(top, days=-1)), False,
           r'since 20\d\d-\d\d-\d\d \d\d:\d\d UTC it has expired')


@test('nobody who is trusted has signed it')
def _():
    judged('www.one.test', root(), shown(leaf(root())), False,
           r"trust those in FILE instead of the system's")


# ------------------------------------------------ --cacert's own

@test("--cacert with the server's own certificate, or a CA between")
def _():
    top = root()
    one = middle(top)
    own = leaf(one)
    for trust in own, one:
        for chain in shown(own), shown(own, one), shown(own, one, top):
            judged('www.one.test', trust, chain, True)
    judged('www.two.test', own, shown(own), False, 'not for this name')
    late = leaf(one, days=-1)
    judged('www.one.test', late, shown(late), False, 'it has expired')
    judged('www.one.test', own, shown(leaf(one)), False, 'no CA')


@test('--cacert with a certificate that has signed itself, for a server')
def _():
    own = leaf(None)
    judged('www.one.test', pems(root(), own), shown(own), True)
    judged('www.one.test', pems(root(), own), shown(leaf(None)), False, 'no CA')
    judged('www.two.test', own, shown(own), False, 'not for this name')


def again(path):
    """For cert(): the key of that one."""
    return '-key', path[:-4] + '.key', '-nodes'


@test('--cacert with several CAs of one name')
def _():
    one, two, gone = root(), root(), root(days=-1)
    old = cert('/CN=Root', CA, days=-1, key=again(one))
    for trust in pems(one, two), pems(two, one), pems(old, one), pems(one, old):
        for chain in shown(leaf(one)), shown(leaf(one), one), \
                shown(leaf(one), two):
            judged('www.one.test', trust, chain, True)
    judged('www.one.test', pems(two, gone), shown(leaf(one)), False, 'no CA')
    judged('www.one.test', pems(two, old), shown(leaf(one)), False,
           r'since 20\d\d-\d\d-\d\d \d\d:\d\d UTC one of its CAs has expired')


@test("a CA's name in other letters than in what it has signed")
def _():
    one = root()
    two = cert('/CN=rOOT', CA, key=again(one))
    judged('www.one.test', pems(root(), two), shown(leaf(one)), True)


# ------------------------------------------------------- for whom

for host, ext, subject, good in (
        ('www.one.test', 'DNS:*.one.test', '/O=x', True),
        ('one.test', 'DNS:*.test', '/O=x', False),
        ('one.test', 'DNS:*.one.test', '/O=x', False),
        ('a.www.one.test', 'DNS:*.one.test', '/O=x', False),
        ('www.one.test', 'DNS:w*.one.test', '/O=x', False),
        ('www.one.test', 'DNS:WWW.One.TEST.', '/O=x', True),
        ('www.one.test', 'DNS:other.test', '/CN=www.one.test', False),
        ('www.one.test', 'IP:10.0.0.1', '/CN=www.one.test', False),
        ('www.one.test', 'URI:www.one.test', '/O=x', False),
        ('www.one.test', 'URI:http://x/', '/CN=www.one.test', True),
        ('www.one.test', 'email:a@one.test', '/CN=www.one.test', True),
        ('www.one.test', '', '/CN=other.test/CN=www.one.test', True),
        ('www.one.test', '', '/CN=www.one.test/CN=other.test', False),
        ('www.one.test', '', '/CN=*.one.test', True),
        ('www.one.test', '', '/O=x', False),
        ('127.0.0.1', '', '/CN=*.0.0.1', False),
        ('127.0.0.1', '', '/CN=127.0.0.1', True),
        ('127.0.0.1', 'DNS:127.0.0.1', '/O=x', False),
        ('127.0.0.1', 'DNS:*.0.0.1', '/O=x', False),
        ('127.0.0.1', 'IP:127.0.0.2', '/CN=127.0.0.1', False),
        ('127.0.0.1', 'IP:127.0.0.1', '/O=x', True),
        ('[::1]', 'IP:::1', '/O=x', True),
        ('[::1]', 'IP:::2', '/O=x', False)):
    @test('%s: %s' % (host, ext or subject))
    def _(host=host, ext=ext, subject=subject, good=good):
        top = MADE['root'] = MADE.get('root') or root()
        ext = 'subjectAltName=%s\n' % ext if ext else 'keyUsage=' \
            'digitalSignature\n'
        judged(host, top, shown(leaf(top, ext, subject)), good,
               'it is not for this name')


# ------------------------------------------------------- for what

def used(*levels):
    """A root, a CA between and a leaf with these extended key usages."""
    eku = ['extendedKeyUsage=%s\n' % e if e else '' for e in levels]
    top = root(eku[0])
    one = middle(top, eku[1])
    return top, shown(leaf(one, LEAF + eku[2]), one)


SGC = '1.3.6.1.4.1.311.10.3.3'
for levels, good in ((('', '', 'serverAuth'), True),
                     (('', '', 'clientAuth'), False),
                     (('', '', 'anyExtendedKeyUsage'), False),
                     (('', '', 'clientAuth,serverAuth'), True),
                     (('', '', SGC), True),
                     (('', 'clientAuth', ''), False),
                     (('', 'clientAuth,serverAuth', ''), True),
                     (('', 'anyExtendedKeyUsage', ''), False),
                     (('', '2.16.840.1.113730.4.1', 'serverAuth'), True),
                     (('emailProtection', '', ''), False),
                     (('serverAuth', 'serverAuth', 'serverAuth'), True)):
    @test('extended key usage: ' + ' - '.join(e or 'none' for e in levels))
    def _(levels=levels, good=good):
        trust, chain = used(*levels)
        judged('www.one.test', trust, chain, good, 'extendedKeyUsage')


for use, good in (('digitalSignature', True), ('keyCertSign', False),
                  ('nonRepudiation', False)):
    @test('key usage: ' + use)
    def _(use=use, good=good):
        top = root()
        judged('www.one.test', top, shown(leaf(
            top, LEAF + 'keyUsage=%s\n' % use)), good, 'keyUsage')


# ------------------------------------------------ critical extensions

for name, ext in (
        ('policyConstraints', 'policyConstraints=critical,'
         'requireExplicitPolicy:0'),
        ('inhibitAnyPolicy', 'inhibitAnyPolicy=critical,0'),
        ('certificatePolicies', 'certificatePolicies=critical,1.2.3.4'),
        ('policyMappings', 'policyMappings=critical,1.2.3.4:1.2.3.5'),
        ('nameConstraints', 'nameConstraints=critical,permitted;DNS:test')):
    @test('critical %s, of the root and of a CA between' % name)
    def _(ext=ext):
        for levels in ('', ext), (ext, ''), (ext, ext):
            top = root(levels[0] + '\n')
            one = middle(top, levels[1] + '\n')
            for version in VERSIONS:
                judged('www.one.test', top, shown(leaf(one), one), True,
                       version=version)


@test('critical extensions that nobody knows')
def _():
    odd = '1.2.3.4=critical,DER:0500\n'
    top, other = root(), root(odd)
    one = middle(top, odd)
    for trust, chain in ((top, shown(leaf(top, LEAF + odd))),
                         (top, shown(leaf(one), one)),
                         (other, shown(leaf(other)))):
        judged('www.one.test', trust, chain, False, 'critical extension')


@test('all of them in a file of CAs, with one that cannot be read')
def _():
    top = root('nameConstraints=critical,permitted;DNS:test\n')
    bad = scratch('bad.pem', '-----BEGIN CERTIFICATE-----\nMIIB\n'
                  '-----END CERTIFICATE-----\n')
    trust = pems(bad, root('1.2.3.4=critical,DER:0500\n'), bad, top)
    with Origin(answer(reply(b'page')), tls=True, cert=shown(leaf(top)),
                name='www.one.test') as origin, \
            Proxy('--connect-to', '::127.0.0.1:', trust=trust) as proxy:
        equal(proxy.fetch(origin).body, b'page', 'the page')


# ----------------------------------------- shown before it is verified

def wants(version):
    """A server that wants a certificate, and takes any of this CA's."""
    origin = Origin(lambda conn: conn.send(reply(b'page')) if conn.more()
                    else None, tls=True, version=version,
                    cert=make_leaf(ca=make_ca('Nobody knows me')))
    origin.context.verify_mode = ssl.CERT_OPTIONAL
    origin.context.load_verify_locations(make_ca('Client CA'))
    return origin


@test('--cert is not shown to a server that is not trusted')
def _():
    ann = make_leaf('/CN=Ann', ca=make_ca('Client CA'))
    for version in VERSIONS:
        with wants(version) as origin, Proxy('--cert', ann) as proxy:
            like(proxy.fetch(origin).body, b'not to be trusted', 'the page')
            wait_for(lambda: origin.errors, "the server's handshake fails")
            with contextlib.suppress(ValueError): # it is not even over
                equal(origin.conns[0].tls.getpeercert(), None, 'what it got')
        with wants(version) as origin, Proxy('--cert', ann, '-k') as proxy:
            equal(proxy.fetch(origin).body, b'page', 'the page with -k')
            like(str(origin.conns[0].tls.getpeercert()), 'Ann',
                 'what it was shown with -k')


# ------------------------------------------------------- its end

def ends_in(seconds, by):
    """A server's certificate that ends so soon, by openssl ca."""
    home = scratch('ca')
    os.mkdir(home)
    path = scratch('short.pem')
    openssl('req', '-new', *EC, '-subj', '/O=x', '-keyout',
            path[:-4] + '.key', '-out', path + '.csr')
    conf = scratch('conf', '[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=%s\n'
                   'database=%s/index\nrand_serial=yes\npolicy=p\n'
                   'default_md=sha256\nx509_extensions=e\n[p]\n'
                   'organizationName=optional\n[e]\n%s' % (home, home, LEAF))
    open(home + '/index', 'w').close()
    end = time.time() + seconds
    form = '%Y%m%d%H%M%SZ'
    openssl('ca', '-batch', '-config', conf, '-cert', by, '-keyfile',
            by[:-4] + '.key', '-in', path + '.csr', '-out', path, '-notext',
            '-startdate', time.strftime(form, time.gmtime(end - 86400)),
            '-enddate', time.strftime(form, time.gmtime(end)))
    return path, int(end) + 1


@test('a session does not outlive the certificate')
def _():
    top = root()
    for version in VERSIONS:
        path, end = ends_in(4, top)
        with Origin(answer(reply(b'page')), tls=True, cert=shown(path),
                    version=version, name='www.one.test') as origin, \
                Proxy('--connect-to', '::127.0.0.1:', trust=top) as proxy:
            while time.time() < end + 0.1:      # time(2) may be a tick behind
                status = proxy.fetch(origin).status
                equal(status, 200 if time.time() < end else status, 'status')
            check(origin.context.session_stats()['hits'] > 0, 'it is resumed')
            like(proxy.fetch(origin).body, b'has expired', 'behind its end')


run()
