#!/usr/bin/env python3
"""When memory runs out, those who ask for more are turned away, each with a
line in the log; who is there already is served on, and so is who comes when
there is memory again."""
from mitm import *
import mmap, resource

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
        proxy.wait_log('out of memory')
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


# Before the C library: one allocation fails, as many from now as the file says.
FAULT = r'''
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t),
     *__libc_realloc(void *, size_t);
static int none, *left = &none;

__attribute__((constructor)) static void begin(void)
{
    left = mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED,
                open(getenv("FAULT"), O_RDWR), 0);
}

static int fails(void)
{
    if (*left == 0 || --*left > 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fails() ? NULL : __libc_realloc(p, n);
}
'''


@test('any allocation of two handshakes fails: it is told as what it is')
def _():
    if sanitized() or b'libc.so.6' not in slurp(PROGRAM):
        raise Skip('nothing can be loaded before glibc')
    name, at = scratch('fault.c', FAULT), scratch('left', bytes(4))
    command(need('cc'), '-shared', '-fPIC', '-o', name + '.so', name, status=0)
    left = mmap.mmap(os.open(at, os.O_RDWR), 4)
    with Origin(answer(PAGE), tls=True,
                cert=make_leaf(names='DNS:*.a.localhost')) as origin, Proxy(
            env={'LD_PRELOAD': name + '.so', 'FAULT': at}) as proxy:
        for n in range(1, 100000, 23):  # a name each: nothing is remembered
            host = 'n%d.a.localhost' % n
            left[:] = struct.pack('i', n)
            with contextlib.suppress(Failed, OSError), proxy.tunnel(
                    '%s:%d' % (host, origin.port)) as client:
                client.start_tls(client_context(proxy.ca), host)
                ask(client)
            if left[:] != bytes(4):
                break
        left[:] = bytes(4)
        check(n > 1000, 'too few allocations', n)
        proxy.wait_log('out of memory')
        unlike(proxy.log(), '--ignore-hosts|not to be trusted', 'the log')
        client = proxy.tls('n0.a.localhost:%d' % origin.port, 'n0.a.localhost')
        ask(client)


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
