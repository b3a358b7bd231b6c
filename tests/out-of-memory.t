#!/usr/bin/env python3
"""When memory runs out, those who ask for more are turned away, each with a
line in the log; who is there already is served on, and so is who comes when
there is memory again."""
from mitm import *
import resource

PAGE = reply(b'hello' * 100)


def limit_memory(proxy, more):
    """What proxy may take of address space, over what it has."""
    status = open('/proc/%d/status' % proxy.pid).read()
    size = int(re.search(r'VmSize:\s+(\d+) kB', status).group(1)) * 1024
    resource.prlimit(proxy.pid, resource.RLIMIT_AS,
                     (size + more, resource.RLIM_INFINITY))


def ask(client):
    client.send(get('/'))
    equal(client.read_exact(len(PAGE)), PAGE, 'the page')


def come(proxy, origin, tls):
    """A client that is served, or None: it was turned away."""
    try:
        client = proxy.tls(origin) if tls else proxy.tunnel(origin)
        ask(client)
        return client
    except (Failed, OSError):       # OSError: of TLS, too
        return None


def crowd(tls, *options):
    if sanitized():
        raise Skip('a sanitizer needs more address space than there is')
    with Origin(answer(PAGE), tls=tls) as origin, \
            Proxy('-q', *options) as proxy:
        limit_memory(proxy, 3 << 20)
        clients = [come(proxy, origin, tls) for _ in range(200)]
        served = [c for c in clients if c]
        note('%d of %d were served' % (len(served), len(clients)))
        check(len(served) < len(clients), 'memory did not run out')
        check(len(served) > 20, 'too few were served', len(served))
        like(proxy.log(), 'out of memory', 'the log')
        for client in served if not options else ():
            ask(client)             # a filter's message may need more
        for client in served:
            client.close()
        proxy.settled()
        limit_memory(proxy, 64 << 20)   # what was freed is still the heap's
        for _ in range(10):
            client = come(proxy, origin, tls)
            check(client, 'there is memory again')
            client.close()


@test('clients with TLS')
def _():
    crowd(True)


@test('clients with TLS, and a filter')
def _():
    crowd(True, '--response', 'cat')


@test("the system's CAs did not fit: they are read again")
def _():
    if sanitized():
        raise Skip('a sanitizer needs more address space than there is')
    mount = mounting('--bind %s /etc/ssl/certs/ca-certificates.crt'
                     % make_ca())
    with Origin(answer(PAGE), tls=True) as origin, \
            Proxy('-q', trust=False, prefix=mount) as proxy:
        limit_memory(proxy, 4 << 20)
        check(not come(proxy, origin, True), 'memory did not run out')
        limit_memory(proxy, 64 << 20)
        client = come(proxy, origin, True)
        check(client, 'the server is not trusted')
        client.close()
        proxy.settled()


run()
