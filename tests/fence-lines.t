#!/usr/bin/env python3
"""The lines of the manual's A FENCE FOR A PROGRAM, as they are printed there:
a program that tries all that it can reaches the proxy, and nothing else."""
from netns import *

# One that other users can start, too.
PYTHON = '/usr/bin/python3' if os.path.exists('/usr/bin/python3') \
    else sys.executable
ELSEWHERE = '10.77.2.9'                 # another address of the server
AGENT = '''#!%s
import os, socket, sys
elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, '%s', %d),
             (socket.AF_INET, socket.SOCK_STREAM, '%s', %d),
             (socket.AF_INET, socket.SOCK_STREAM, '127.0.0.1', %d),
             (socket.AF_INET, socket.SOCK_DGRAM, '%s', 53),
             (socket.AF_INET6, socket.SOCK_STREAM, '%s', %d),
             (socket.AF_INET6, socket.SOCK_DGRAM, '%s', 53)]
for family, kind, host, port in elsewhere:
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(5)
            s.connect((host, port))
            s.send(b'x')
            print('REACHED', host, port, flush=True)
    except OSError as error:
        print(host, port, error, flush=True)
if len(sys.argv) > 1:
    sys.argv[0] = 'curl'
    os.execvp('curl', sys.argv + ['-sS', '--max-time', '20',
                                  'https://api.example/'])
'''


class Wire:
    """A machine, and a server next to it with a page for api.example; .seen
    has where packets of TCP and UDP came to there, as (address, port)."""

    def __init__(self, stack):
        self.net, self.seen = stack.enter_context(Net()), set()
        net = self.net
        with net.inside('server'):
            tool('ip', 'addr', 'add', ELSEWHERE + '/24', 'dev', 'router')
            try:
                raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                                    socket.htons(3))
            except PermissionError:
                raise Skip('no packet sockets here') from None
            raw.bind(('router', 3))
        threading.Thread(target=self.sniff, args=(raw,), daemon=True).start()
        self.origin = stack.enter_context(net.origin(
            answer(reply(b'a page')), tls=True,
            cert=make_leaf(names='DNS:api.example')))
        with net.inside('server'):      # what must not be reached
            self.more = [stack.enter_context(Origin(host=h)) for h in (
                '0.0.0.0', '::')]
        with net.inside('router'):
            self.more.append(stack.enter_context(Origin()))
            tool('nft', '-f', '-', text='flush ruleset\n')

    def sniff(self, raw):
        while True:
            try:
                p, where = raw.recvfrom(65536)
            except OSError:             # the network is gone
                return
            v4 = p[0] >> 4 == 4
            kind, at = (p[9], 4 * (p[0] & 15)) if v4 else (p[6], 40)
            if kind in (6, 17) and where[2] == 0:       # it came
                to = p[16:20] if v4 else p[24:40]
                self.seen.add((socket.inet_ntop(
                    socket.AF_INET if v4 else socket.AF_INET6, to),
                    struct.unpack('>H', p[at + 2:at + 4])[0]))


@contextlib.contextmanager
def place(user=None):
    """A wire, and a directory of that user with a CA, ./agent, and bin/mitmproxy, which
    finds api.example at the origin."""
    with contextlib.ExitStack() as stack:
        wire = Wire(stack)
        home = directory()
        with Proxy(ca=home + '/cert.pem', trust=False):
            pass
        openssl('x509', '-in', home + '/cert.pem', '-out',
                home + '/mitmproxy.crt')
        if user:
            shutil.chown(home + '/cert.pem', user)
        os.mkdir(home + '/bin')
        v4, v6, own = (o.port for o in wire.more)
        trusted = home + '/origins.pem'
        shutil.copy(make_ca(), trusted)
        for name, text in (
                ('/bin/mitmproxy', '#!/bin/sh\nexec %s --cacert %s '
                 '--connect-to api.example:443:%s:%d "$@"\n' % (
                     PROGRAM, trusted, wire.net.server[4], wire.origin.port)),
                ('/agent', AGENT % (
                    PYTHON, ELSEWHERE, v4, wire.net.server[4], v4,
                    own, ELSEWHERE, wire.net.server[6], v6,
                    wire.net.server[6]))):
            with open(home + name, 'w') as f:
                f.write(text)
            os.chmod(home + name, 0o755)
        yield wire, home


def blocks():
    """What stands between .Bd and .Ed in that section of the manual."""
    text = slurp(os.path.join(HERE, '..', 'mitmproxy.1')).decode()
    text = text[text.index('.Sh A FENCE FOR A PROGRAM'):]
    text = text[:text.index('.Sh', 3)]
    return [b.replace('\\e', '\\') for b in re.findall(
        r'(?ms)^\.Bd -literal[^\n]*\n(.*?)^\.Ed', text)]


def run_lines(wire, home, word, *prefix):
    """Run the block with this word; what the agent said, when it has ended."""
    lines, = (b for b in blocks() if word in b)
    with wire.net.inside('router'), running(
            *prefix, 'sh', '-c', 'cd %s\n%s' % (home, lines),
            env={'PATH': home + '/bin:' + os.environ['PATH'] + ':/usr/sbin',
                 'no_proxy': ''}) as child:
        child.wait(3 * DEADLINE)
        return slurp(child.output).decode('latin-1')


def held(wire, said):
    """The agent has got the page, by the proxy alone."""
    like(said, '(?m)^a page', 'what the agent got')
    unlike(said, 'REACHED', 'what the agent could do')
    equal(len(re.findall(r'(?m)^[\d.a-f:]+ \d+ ', said)), 6, 'its attempts')
    equal(wire.seen, {(wire.net.server[4], wire.origin.port)},
          'where packets went')


@test('without a fence the agent reaches all of it')
def _():
    with place() as (wire, home):
        with wire.net.inside('router'):
            said = command(home + '/agent', status=0).decode()
        equal(len(re.findall('REACHED', said)), 6, 'what it reaches')
        wait_for(lambda: len(wire.seen) == 5, 'packets of all of them')


@test('a network with nothing but the proxy: unshare and socat')
def _():
    for program in 'unshare', 'socat', 'ip', 'curl':
        need(program)
    be = (need('setpriv'), '--reuid=nobody', '--clear-groups') \
        if os.geteuid() == 0 else ()
    if be and subprocess.call([*be, 'test', '-x', os.path.abspath(PROGRAM)]):
        be = ()                     # in a folder that is root's alone
    if subprocess.call([*be, 'unshare', '-rnpf', 'true'],
                       stderr=subprocess.DEVNULL):
        raise Skip('this user can have no namespaces here')
    with place('nobody' if be else None) as (wire, home):
        held(wire, run_lines(wire, home, 'unshare', *be))


@test('a user that the packet filter lets go nowhere else: nft')
def _():
    for program in 'nft', 'setpriv', 'curl':
        need(program)
    if os.geteuid() or os.environ.get('MITM_UNSHARED'):
        raise Skip('only root can become somebody else')
    users = mounting('--bind %s /etc/passwd' % scratch('passwd', slurp(
        '/etc/passwd') + b'builder:x:54321:54321::/:/bin/sh\n'))
    groups = mounting('--bind %s /etc/group' % scratch('group', slurp(
        '/etc/group') + b'builder:x:54321:\n'))
    with place() as (wire, home):
        held(wire, run_lines(wire, home, 'nft add', *users, *groups))


run()
