#!/usr/bin/env python3
"""Mbed TLS comes from Debian with its patches, and a version with support."""
import datetime, glob, hashlib
from mitm import *

FETCH = os.path.join(HERE, '..', 'mbedtls', 'fetch')
need('gpg')
need('gpg-agent')
need('dpkg-source')
need('dpkg-scansources')
need('apt-get')

ROOT = scratch('apt')
os.mkdir(ROOT)
KEYS = os.path.join(ROOT, 'keys.gpg')
GPG = ('gpg', '--homedir', ROOT, '--batch', '--quiet', '--passphrase', '')
os.chmod(ROOT, 0o700)
command(*GPG, '--quick-generate-key', 'An archive', 'rsa2048', status=0)
command(*GPG, '--output', KEYS, '--export', status=0)
atexit.register(command, 'gpgconf', '--homedir', ROOT, '--kill', 'all')


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)


def package(pool, version):
    """A source package whose one file a patch of Debian's changes."""
    upstream = version.rsplit('-', 1)[0]
    tree = os.path.join(scratch('work'), 'mbedtls-' + upstream)
    write(tree + '/BRANCHES.md',
          '- [`mbedtls-3.6`](x)\n maintained until March 2027, see\n  <x>.\n'
          '- [`mbedtls-4.1`](x)\n maintained until March 2029, see\n  <x>.\n')
    write(tree + '/library/a.c', 'broken\n')
    os.makedirs(pool, exist_ok=True)
    command('tar', '-cjf', '%s/mbedtls_%s.orig.tar.bz2' % (pool, upstream),
            '-C', os.path.dirname(tree), os.path.basename(tree), status=0)
    write(tree + '/debian/source/format', '3.0 (quilt)\n')
    write(tree + '/debian/control',
          'Source: mbedtls\nMaintainer: A <a@example.com>\n\n'
          'Package: libmbedtls\nArchitecture: any\nDescription: a library\n')
    write(tree + '/debian/changelog',
          'mbedtls (%s) unstable; urgency=low\n\n  * x\n\n'
          ' -- A <a@example.com>  Wed, 22 Jul 2026 08:06:37 +0200\n' % version)
    write(tree + '/debian/patches/series', 'mend.patch\n')
    write(tree + '/debian/patches/mend.patch',
          '--- a/library/a.c\n+++ b/library/a.c\n@@ -1 +1 @@\n'
          '-broken\n+mended in %s\n' % version)
    done = subprocess.run(['dpkg-source', '-b', tree], cwd=pool,
                          capture_output=True)
    equal(done.returncode, 0, 'dpkg-source: %s' % done.stderr)


def archive(name, label, suites):
    """A signed mirror that has these versions in these suites."""
    top = os.path.join(ROOT, name)
    for suite, versions in suites.items():
        folder = '%s/dists/%s' % (top, suite)
        for version in versions:
            package('%s/pool/%s' % (top, suite), version)
        os.makedirs('%s/pool/%s' % (top, suite), exist_ok=True)
        index = subprocess.run(['dpkg-scansources', 'pool/' + suite], cwd=top,
                               capture_output=True).stdout
        write(folder + '/main/source/Sources', index.decode())
        write(folder + '/Release',
              'Origin: Debian\nLabel: %s\nSuite: %s\nCodename: %s\n'
              'Date: Wed, 22 Jul 2026 08:06:37 +0000\nComponents: main\n'
              'Architectures: amd64\nSHA256:\n %s %d main/source/Sources\n' %
              (label, suite, suite, hashlib.sha256(index).hexdigest(),
               len(index)))
        command(*GPG, '--clearsign', '--output', folder + '/InRelease',
                folder + '/Release', status=0)
    return 'deb [signed-by=%s] file:%s bookworm%s main\n' % (
        KEYS, top, label[len('Debian'):].lower())


def fetch(suites, security=None, today='2026-11-27', status=0, spoil=None):
    """What fetch says, and the patched file."""
    name = 'of-%s' % os.urandom(4).hex()
    lists = os.path.join(ROOT, name + '-lists')
    os.makedirs(lists + '/partial')
    sources = archive(name + '/debian', 'Debian', suites)
    if security is not None:
        sources += archive(name + '/security', 'Debian-Security', security)
    for path in glob.glob(os.path.join(ROOT, name, spoil or '-')):
        with open(path, 'ab') as f:
            f.write(b'x')
    day = datetime.date.fromisoformat(today).strftime('%s')
    to = os.path.join(ROOT, name, 'mbedtls-src')
    said = command(FETCH, to, status=status, env=dict(
        DEBIAN_KEYS=KEYS, SOURCE_DATE_EPOCH=day, TZ='UTC', LC_ALL='C',
        APT_CONFIG=scratch(
            'apt.conf', 'Dir::State::lists "%s";\nDir::Etc::sourceparts '
            '"/dev/null";\nDir::Etc::sourcelist "%s";\n' %
            (lists, scratch('sources.list', sources))))).decode()
    mended = os.path.join(to, 'library', 'a.c')
    return said, os.path.exists(mended) and slurp(mended).decode()


@test("Debian's patches are applied, and it says what it took")
def _():
    said, text = fetch({'testing': ['3.6.7-3']})
    equal(text, 'mended in 3.6.7-3\n', 'the file')
    like(said, r'^mbedtls/fetch: 3\.6\.7-3 from Debian testing, supported '
         r'until March 2027, in \S+mbedtls-src$', 'the line')


@test('a newer version in the security suite is taken')
def _():
    said, text = fetch(
        {'testing': ['3.6.7-3']},
        {'testing-security': ['3.6.7-3+deb14u1']})
    equal(text, 'mended in 3.6.7-3+deb14u1\n', 'the file')


@test('a security suite that is not there does no harm')
def _():
    said, text = fetch({'testing': ['3.6.8-1']}, {})
    equal(text, 'mended in 3.6.8-1\n', 'the file')


@test('while 3.6 is supported, it is preferred to 4.1')
def _():
    said, text = fetch({'testing': ['4.1.1-1'], 'stable': ['3.6.7-3']})
    equal(text, 'mended in 3.6.7-3\n', 'the file')


@test('afterwards 4.1 is taken, which is supported until 2029')
def _():
    said, text = fetch(
        {'testing': ['3.6.9-1'], 'unstable': ['4.1.1-1']}, today='2027-04-01')
    equal(text, 'mended in 4.1.1-1\n', 'the file')
    like(said, 'from Debian unstable, supported until March 2029', 'the line')


@test('where Debian has only 3.6 then, it is taken and that is told')
def _():
    said, text = fetch({'testing': ['3.6.9-1']}, today='2027-04-01')
    equal(text, 'mended in 3.6.9-1\n', 'the file')
    like(said, 'supported until March 2027: over', 'the line')


@test('where Debian has only 4.1 already, that is taken')
def _():
    said, text = fetch({'testing': ['4.1.2-1'], 'stable': ['3.6.6-1']})
    equal(text, 'mended in 4.1.2-1\n', 'the file')


@test('what is too old is refused')
def _():
    said, text = fetch({'testing': ['4.1.0-1'], 'stable': ['3.6.6-1']},
                       status=1)
    equal(text, False, 'the file')
    like(said, 'no suite of .* gave an Mbed TLS of 3.6.7 or later', 'the line')


@test('what has been changed behind its signature is refused')
def _():
    for path in ('debian/pool/testing/*.debian.tar.xz',
                 'debian/pool/testing/*.orig.tar.bz2',
                 'debian/pool/testing/*.dsc',
                 'debian/dists/testing/main/source/Sources'):
        said, text = fetch({'testing': ['3.6.7-3']}, status=1, spoil=path)
        equal(text, False, 'the file')
        like(said, r'(?m)^mbedtls/fetch: (apt could not fetch the source '
             r'package mbedtls 3\.6\.7-3|no suite of)', 'why')


run()
