#!/usr/bin/env python3
"""cert.pem: made on first use, checked afterwards."""
from mitm import *


def refused(path, why):
    status, out, err = mitmproxy('-p', '0', '--ca', path)
    equal(status, 1, 'exit status')
    check(err.startswith('mitmproxy: ') and err.count('\n') == 1,
          'one line that tells', err)
    like(err, '(?i)' + why, 'the reason')
    like(err, re.escape(os.path.basename(path)), 'the name of the file')


@test('made on first use: mode 0600, P-256, ten years, a CA')
def _():
    with Proxy() as proxy:
        equal(oct(os.stat(proxy.ca).st_mode & 0o777), '0o600', 'mode')
        text = openssl('x509', '-in', proxy.ca, '-noout', '-text').decode()
        like(text, r'NIST CURVE: P-256', 'the key')
        like(text, r'ecdsa-with-SHA256', 'the signature')
        like(text, r'Basic Constraints: critical\s+CA:TRUE', 'a CA')
        like(text, r'Key Usage: critical\s+Certificate Sign', 'key usage')
        openssl('x509', '-in', proxy.ca, '-noout', '-checkend',
                str(3645 * 86400))
        status = subprocess.run(
            ['openssl', 'x509', '-in', proxy.ca, '-noout', '-checkend',
             str(3660 * 86400)], stdout=subprocess.DEVNULL).returncode
        equal(status, 1, 'it ends within 3,660 days')
        openssl('ec', '-in', proxy.ca, '-noout')
        equal(openssl('x509', '-in', proxy.ca, '-noout', '-pubkey'),
              openssl('ec', '-in', proxy.ca, '-pubout'), 'key and certificate')


@test('the mode is 0600 even when the umask is 0')
def _():
    old = os.umask(0)
    try:
        with Proxy() as proxy:
            equal(oct(os.stat(proxy.ca).st_mode & 0o777), '0o600', 'mode')
    finally:
        os.umask(old)


@test('nothing else is left beside it')
def _():
    folder = scratch('folder')
    os.mkdir(folder)
    with Proxy(ca=folder + '/cert.pem'):
        equal(os.listdir(folder), ['cert.pem'], 'files')


@test('used again on the next start, not changed')
def _():
    with Proxy() as proxy:
        before = slurp(proxy.ca)
    with Origin(answer(reply(b'x')), tls=True) as origin, \
            Proxy(ca=proxy.ca) as again:
        equal(again.fetch(origin).body, b'x', 'a page')
        equal(slurp(again.ca), before, 'the file')


@test('what is written does not take its place, nor that of other keys')
def _():
    with Proxy() as proxy:
        ca = proxy.ca
    mine, link = scratch('mine.pem', slurp(make_leaf())), scratch('link')
    os.symlink(ca, link)
    for path in ca, link, mine, make_ca():
        before = slurp(path)
        for args, env in ((['-w', path], {}), (['--log-json', path], {}),
                          ([], {'SSLKEYLOGFILE': path})):
            status, out, err = mitmproxy(
                '-p', '0', '--ca', ca, '--cert', mine, '--cacert', make_ca(),
                *args, env=dict(os.environ, **env))
            equal((status, err), (1, 'mitmproxy: cannot write %s: it has a '
                                  'certificate or key that is used\n' % path),
                  'the start with %s %s' % (args, env))
            equal(slurp(path), before, 'the file')


@test('two CAs are two keys')
def _():
    with Proxy() as one, Proxy() as two:
        check(slurp(one.ca) != slurp(two.ca), 'they are the same')


@test('an RSA CA made by openssl serves')
def _():
    path = scratch('mycert.pem')
    openssl('req', '-x509', '-nodes', '-newkey', 'rsa:2048', '-keyout', path,
            '-out', path, '-subj', '/CN=My own CA', '-days', '30')
    os.chmod(path, 0o600)
    with Origin(answer(reply(b'x')), tls=True) as origin, \
            Proxy(ca=path) as proxy:
        client = proxy.tls(origin, strict=False)
        client.send(get('/'))
        equal(client.read_message().body, b'x', 'a page')
        leaf = openssl('x509', '-inform', 'der', '-noout', '-issuer',
                       '-nameopt', 'RFC2253',
                       input=client.tls.getpeercert(True))
        equal(leaf.strip(), b'issuer=CN=My own CA', 'issuer')


@test('blanks at the ends of lines, as by pasting: they do not matter')
def _():
    for end in b' \n', b'  \n', b'\t\n', b' \t\r\n':
        def blank(text, mode=0o644):
            return scratch('blanks.pem', text.replace(b'\n', end), mode)
        with Proxy() as proxy:
            ca = blank(slurp(proxy.ca), 0o600)
        leaf = slurp(make_leaf())
        cert = leaf[leaf.index(b'-----BEGIN CERT'):leaf.index(b'-----BEGIN P')]
        with Origin(answer(reply(b'x')), tls=True) as origin, Proxy(
                '--cert', blank(cert), '--key', blank(leaf[len(cert):]),
                ca=ca, trust=blank(slurp(make_ca()))) as proxy:
            equal(proxy.fetch(origin).body, b'x', 'a page')


@test('refused: a file that is no certificate')
def _():
    refused(scratch('wrong.pem', 'hello\n', 0o600), r'certificate')


@test('refused: an empty file')
def _():
    refused(scratch('empty.pem', '', 0o600), r'')


@test('refused: a certificate without its key')
def _():
    refused(scratch('nokey.pem', slurp(make_ca()), 0o600), r'key')


@test('refused: a certificate that is no CA')
def _():
    refused(scratch('leaf.pem', slurp(make_leaf()), 0o600), r'\bCA\b')


@test('refused: the key of another certificate')
def _():
    other = make_ca('Another CA')
    refused(scratch('mix.pem', slurp(make_ca()) + slurp(
        other[:-4] + '.key'), 0o600), r'key')


@test('refused: a key that others can read')
def _():
    good = slurp(make_ca()) + slurp(make_ca()[:-4] + '.key')
    for mode in (0o640, 0o604):
        refused(scratch('open.pem', good, mode),
                r'mode|permission|read|chmod')
    refused(scratch('open.pem', 'hello\n', 0o644), r'chmod')


@test('refused: a certificate of several that cannot be read')
def _():
    good = slurp(make_ca()) + slurp(make_ca()[:-4] + '.key')
    bad = b'-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n'
    for text in bad + good, good + bad:
        refused(scratch('bad.pem', text, 0o600), r'certificate')


@test('refused: a key of a kind that is not known, wherever it is given')
def _():
    path = scratch('ed25519.pem')
    openssl('req', '-x509', '-nodes', '-newkey', 'ed25519', '-keyout', path,
            '-out', path + '.crt', '-subj', '/CN=Ed', '-days', '30')
    path = scratch('ed25519.pem', slurp(path + '.crt') + slurp(path), 0o600)
    for args in (), ('--cacert', path), ('--cert', path):
        ca = scratch('cert.pem') if args else path
        status, _, err = mitmproxy('-p', '0', '--ca', ca, *args)
        equal(status, 1, 'exit status')
        like(err, r'(?m)^mitmproxy: a certificate in \S+ed25519\.pem cannot be '
             r'used: .* is un(supported|known) \(its key may be RSA or EC\)$',
             'why')


@test('refused: a device, with no advice to change its mode')
def _():
    refused('/dev/null', r'no regular file')
    unlike(mitmproxy('-p', '0', '--ca', '/dev/null')[2], 'chmod', 'the line')


@test('refused: what belongs to another user, and what to do about that')
def _():
    if os.getuid() != 0:
        raise Skip('only root can give files away')
    path = scratch('theirs.pem', slurp(make_ca()), 0o600)
    os.chown(path, 65534, 65534)
    refused(path, r'another user.*chown.*--ca FILE')


@test('refused: a directory, a folder that is not there')
def _():
    folder = scratch('folder.pem')
    os.mkdir(folder)
    refused(folder, r'directory')
    refused(scratch('nowhere') + '/cert.pem', r'no such file')
    link = scratch('link.pem')
    os.symlink(scratch('nothing'), link)
    refused(link, r'a link to a file that is not there')


@test('^C while it is made leaves nothing behind')
def _():
    for _ in range(60):
        at = scratch('at')
        os.mkdir(at)
        process = subprocess.Popen(
            [PROGRAM, '-p', '0', '--ca', at + '/cert.pem'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)
        while not os.listdir(at) and process.poll() is None:
            pass
        os.killpg(process.pid, signal.SIGINT)
        process.wait(DEADLINE)
        wait_for(lambda: os.listdir(at) in ([], ['cert.pem']), 'no other file')


@test('a CA that is no root: the rest of its chain is sent, but not the root')
def _():
    from chains import root, middle, pems
    top = root()
    two = middle(top, name='/CN=Two')
    one = middle(two, name='/CN=One')
    key = one[:-4] + '.key'
    with Origin(answer(reply(b'page')), tls=True) as origin:
        for order, count in (((one, key), 2), ((one, two, key), 3),
                             ((key, one, two, top), 3),
                             ((one, top, two, key, root()), 3)):
            ca = pems(*order)
            os.chmod(ca, 0o600)
            for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
                flag = '-tls' + version.name[-3:]
                with Proxy(ca=ca) as proxy:
                    text = command(
                        'openssl', 's_client', '-proxy', '127.0.0.1:%d'
                        % proxy.port, '-connect', origin.auth, '-showcerts',
                        '-CAfile', top if count == 3 else two,
                        '-partial_chain', '-verify_return_error', flag,
                        status=0)
                    equal(text.count(b'BEGIN CERTIFICATE'), count, 'sent')
                    if count == 3:
                        client = proxy.tunnel(origin).start_tls(
                            client_context(top, version, strict=False),
                            'localhost')
                        client.send(get('/'))
                        equal(client.read_message().body, b'page', 'the page')


run()
