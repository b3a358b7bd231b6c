r"""Networks of our own for tests that redirect packets: a client, a router
and a server, each in a network namespace, joined by two cables.

    with Net() as net, net.origin(answer(page)) as origin, \
            net.proxy() as proxy:
        net.redirect(proxy.port)
        client = net.connect(proxy, net.server[4], origin.port)

The namespaces have no names: they live as long as a descriptor or a process
in them, so that the kernel cleans up, however a test ends.  Who is not root
gets a user namespace; where even that is forbidden, the tests are skipped.
"""
import ctypes

from mitm import *

NEWNET = 0x40000000                     # CLONE_NEWNET
libc = ctypes.CDLL(None, use_errno=True)

# Not root: become root of a user namespace, if this machine lets us.
if os.geteuid() and not os.environ.get('MITM_UNSHARED'):
    if shutil.which('unshare') and not subprocess.call(
            ['unshare', '-r', '-n', 'true'], stderr=subprocess.DEVNULL):
        os.environ['MITM_UNSHARED'] = '1'
        shutil.rmtree(SCRATCH)          # the next one makes its own
        os.execvp('unshare', ['unshare', '-r', '-n', sys.executable]
                  + sys.argv)


def switch(what, call, *args):
    """A system call on this thread's namespace, or Skip."""
    if call(*args):
        raise Skip('%s: %s' % (what, os.strerror(ctypes.get_errno())))


def tool(name, *words, text=None):
    """Run ip or nft where this thread is; Skip where the kernel refuses."""
    done = subprocess.run([need(name), *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, input=text,
                          universal_newlines=True, timeout=60)
    said = '%s %s: %s' % (name, ' '.join(words), done.stdout.strip())
    if re.search('not permitted|denied|not supported|No such file', said):
        raise Skip(said)
    check(done.returncode == 0, said)
    return done.stdout


class Net:
    """client -- router -- server, with both kinds of addresses.  .router and
    .server map 4 and 6 to theirs (the router's: that of the client's side)."""

    router = {4: '10.77.1.1', 6: 'fd77:1::1'}
    server = {4: '10.77.2.2', 6: 'fd77:2::2'}

    def __init__(self):
        if sys.platform != 'linux':
            raise Skip('only Linux has network namespaces')
        need('ip')
        self.spaces = {}
        self.home = os.open('/proc/self/ns/net', os.O_RDONLY)
        try:
            for name in ('client', 'router', 'server'):
                self.make(name)
            with self.inside('router'):
                self.cable('client', '1')
                self.cable('server', '2')
        except BaseException:
            self.close()
            raise

    def make(self, name):
        """A new namespace; this thread comes back from it."""
        switch('no network namespaces here', libc.unshare, NEWNET)
        self.spaces[name] = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        try:
            tool('ip', 'link', 'set', 'lo', 'up')
        finally:
            libc.setns(self.home, NEWNET)

    def cable(self, name, subnet):
        """Joins the router, where we are, and that namespace."""
        tool('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name',
             'router', 'netns',
             '/proc/%d/fd/%d' % (os.getpid(), self.spaces[name]))
        self.address(name, subnet, '1')
        with self.inside(name):
            self.address('router', subnet, '2')
            for family in '-4', '-6':
                via = '10.77.%s.1' if family == '-4' else 'fd77:%s::1'
                tool('ip', family, 'route', 'add', 'default', 'via',
                     via % subnet)

    def address(self, device, subnet, host):
        tool('ip', 'link', 'set', device, 'up')
        tool('ip', 'addr', 'add', '10.77.%s.%s/24' % (subnet, host),
             'dev', device)
        tool('ip', 'addr', 'add', 'fd77:%s::%s/64' % (subnet, host),
             'dev', device, 'nodad')

    @contextlib.contextmanager
    def inside(self, name):
        """What this thread opens and starts here is in that namespace."""
        before = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        switch(name, libc.setns, self.spaces[name], NEWNET)
        try:
            yield
        finally:
            libc.setns(before, NEWNET)
            os.close(before)

    def ip(self, *words):
        """Run ip in the router."""
        with self.inside('router'):
            return tool('ip', *words)

    def nft(self, rules):
        """Give the router these rules, and no others."""
        with self.inside('router'):
            return tool('nft', '-f', '-', text='flush ruleset\n' + rules)

    def origin(self, behave=None, family=4, **more):
        """An Origin at the server."""
        with self.inside('server'):
            return Origin(behave, host=self.server[family], **more)

    @contextlib.contextmanager
    def proxy(self, *args, host='::', **more):
        """The proxy on the router, in transparent mode."""
        with self.inside('router'):
            proxy = Proxy('-m', 'transparent', '--listen-host', host, *args,
                          **more)
        with proxy:
            yield proxy

    def redirect_own(self, port, but=''):
        """The router's own connections go to that port of it, too, except
        where `but` says so."""
        self.nft('''
            table inet test {
                chain output {
                    type nat hook output priority -100
                    %s meta l4proto tcp redirect to :%d
                }
            }''' % (but, port))

    def redirect(self, port):
        """What comes from the client goes to that port of the router; where
        to it was going is known to SO_ORIGINAL_DST."""
        self.nft('''
            table inet test {
                chain prerouting {
                    type nat hook prerouting priority dstnat
                    iifname client meta l4proto tcp redirect to :%d
                }
            }''' % port)

    def tproxy(self, port):
        """The same with its packets as they are, by TPROXY."""
        self.nft('''
            table inet test {
                chain prerouting {
                    type filter hook prerouting priority mangle
                    iifname client meta l4proto tcp \
                        tproxy to :%d meta mark set 1 accept
                }
            }''' % port)
        self.keep('fwmark', '1')

    def keep(self, *packets):
        """The router takes such packets for its own, wherever they go."""
        for family in '-4', '-6':
            self.ip(family, 'rule', 'add', *packets, 'lookup', '100')
            self.ip(family, 'route', 'replace', 'local', 'default', 'dev',
                    'lo', 'table', '100')

    def connect(self, proxy, host, port, where='client'):
        """A bare connection from a client, closed when the proxy ends."""
        with self.inside(where):
            conn = Conn(socket.create_connection((host, port), DEADLINE))
        proxy.clients.append(conn)
        return conn

    def close(self):
        for fd in [*self.spaces.values(), self.home]:
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
