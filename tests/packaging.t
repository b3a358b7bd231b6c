#!/usr/bin/env python3
"""packaging/: what is installed where, and what the services start."""
from mitm import *

ROOT = os.path.dirname(HERE)
PACKAGING = os.path.join(ROOT, 'packaging')


def files_below(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder)
                  for at, _, names in os.walk(folder) for name in names)


@test('make install PROGRAM= leaves room for another mitmproxy')
def _():
    to = scratch('root')
    command(need('make'), '-s', '-C', ROOT, 'install', 'DESTDIR=' + to,
            'PREFIX=/usr', 'PROGRAM=mitmproxy.c',
            *(['-o', 'mitmproxy'] if PROGRAM else []), status=0)
    found = files_below(to)
    check('usr/bin/mitmproxy.c' in found, 'the program', found)
    check('usr/share/mitmproxy.c/filters/set-header' in found, 'filters')
    equal([f for f in found if f.endswith('/mitmproxy')
           or f.endswith('/mitmproxy.1')], [], 'names of the other')
    like(slurp(to + '/usr/share/man/man1/mitmproxy.c.1'),
         rb'\n\.Nm mitmproxy\.c\n', 'the manual')


@test('systemd: the unit is right, and exposed to little')
def _():
    need('systemd-analyze')
    unit = os.path.join(PACKAGING, 'systemd', 'mitmproxy.c.service')
    text = slurp(unit).decode().replace('/usr/bin/mitmproxy.c', PROGRAM)
    copy = os.path.join(SCRATCH, 'mitmproxy.c.service')
    with open(copy, 'w') as f:
        f.write(text)
    said = command('systemd-analyze', 'verify', '--man=no', copy).decode()
    check(not re.search(r'mitmproxy\.c\.service:', said), 'verify', said)
    said = command('systemd-analyze', 'verify', '--man=no',
                   shutil.copy(unit[:-7] + 'socket', SCRATCH)).decode()
    check(not re.search(r'mitmproxy\.c\.socket:', said), 'verify', said)
    said = command('systemd-analyze', 'security', '--offline=true', copy)
    level = re.search(rb'exposure level for \S+: ([\d.]+)', said)
    check(level and float(level.group(1)) < 2, 'exposure', said[-300:])


# What /etc/rc.common and procd.sh of OpenWrt bring, as far as it is used: the
# command that is to run, a word a line.
OPENWRT = r'''
config_load() { :; }
config_get() { eval "$1=\${uci_$3:-$4}"; }
config_get_bool() { config_get "$@"; }
config_list_foreach() {
    eval "set -- \"\$uci_$2\" \"\$3\" \"\$4\""
    [ -z "$1" ] || "$2" "$1" "$3"
}
procd_set_param() { [ "$1" != command ] || { shift; printf '%s\n' "$@"; }; }
procd_append_param() { shift; printf '%s\n' "$@"; }
procd_open_instance() { :; }
procd_close_instance() { :; }
'''


@test('OpenWrt: a filter is one word of what its service starts')
def _():
    init = slurp(os.path.join(PACKAGING, 'openwrt', 'files',
                              'mitmproxy.c.init')).decode()
    init = re.sub(r'\. /lib/functions/network\.sh', '', init)
    busybox = need('busybox')
    done = command(busybox, 'sh', '-c', OPENWRT + init + '''
network_get_ipaddr() { eval "$1=192.0.2.1"; }
clock_is_set() { true; }
mkdir() { :; }
chown() { :; }
uci_enabled=1
uci_only_hosts='^a[.]b:'
uci_request="filters/set-header A 'b c'"
uci_response='sed s/a/b/; cat'
start_service
''', status=0).decode()
    equal(done.splitlines(), [
        '/usr/bin/mitmproxy.c', '-q', '-m', 'regular', '-p', '8080',
        '--listen-host', '192.0.2.1', '--ca', '/etc/mitmproxy.c/ca.pem',
        '--only-hosts', '^a[.]b:', '--request', "filters/set-header A 'b c'",
        '--response', 'sed s/a/b/; cat'], 'the command')


@test('Debian: a package without network, of which lintian says nothing')
def _():
    if not os.environ.get('MITM_PACKAGES'):
        raise Skip('MITM_PACKAGES=1 builds one, which takes a minute')
    for name in 'dh', 'lintian', 'fakeroot', 'git':
        need(name)
    source = os.path.join(ROOT, 'build', 'mbedtls-src')
    if not os.path.isdir(source) or not os.path.exists(ROOT + '/.git'):
        raise Skip('this is no clone with a fetched Mbed TLS')
    to = scratch('deb')
    os.mkdir(to)
    done = subprocess.run([os.path.join(PACKAGING, 'debian', 'build'), source,
                           to], stdout=subprocess.PIPE, timeout=10 * DEADLINE,
                          stderr=subprocess.STDOUT)
    check(done.returncode == 0, 'it is built', done.stdout[-2000:])
    package, = (os.path.join(to, f) for f in os.listdir(to)
                if f.startswith('mitmproxy.c_') and f.endswith('.deb'))
    root = scratch('root')
    command('dpkg', '-x', package, root, status=0)
    like(command(root + '/usr/bin/mitmproxy.c', '--version'),
         rb'^mitmproxy\.c ', 'the program')
    equal(command('lintian', '--allow-root', '--fail-on', 'error', package,
                  status=0).decode(), '', 'lintian')


run()
