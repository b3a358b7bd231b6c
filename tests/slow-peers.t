#!/usr/bin/env python3
"""Crowds that are slow or stuck hold up nobody else, and lose nothing by it:
while all of them are stuck, plain clients are served, and then they go on."""
import resource
from mitm import *

CROWD = 200
PAGE = reply(b'served')
BIG = b'0123456789abcdef' * 6400
HUGE = BIG * 80                     # more than sockets take in

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))


@contextlib.contextmanager
def patient(*args):
    """A proxy whose deadlines are far away, however slow this machine is."""
    if HARD < 6 * CROWD:
        raise Skip('%d descriptors are not enough' % HARD)
    with Proxy('-q', *args, second=10) as proxy:
        yield proxy


def plain_clients(proxy):
    """Plain clients are served, in every way."""
    with Origin(answer(PAGE)) as plain, \
            Origin(answer(PAGE), tls=True) as sealed:
        for origin in plain, sealed, plain:
            equal(proxy.fetch(origin).raw, PAGE, 'a plain client')


def pages(request):
    return (reply(BIG) if b'/big' in request.head else
            reply(HUGE) if b'/huge' in request.head else PAGE)


# ---------------------------------------- messages

def slow_heads(client, number):
    """Stops somewhere in its head; goes on."""
    text = get('/head', 'X: ' + 'x' * 100)
    stop = 1 + number % (len(text) - 1)
    client.send(text[:stop])
    yield
    client.send(text[stop:])
    equal(client.read_message().raw, PAGE, 'a page')


def slow_bodies(client, number):
    """Stops somewhere in the body of its request; goes on."""
    text = get('/body', 'Content-Length: 100', method='POST') + 100 * b'x'
    stop = len(text) - 1 - number % 100
    client.send(text[:stop])
    yield
    client.send(text[stop:])
    equal(client.read_message().raw, PAGE, 'a page')


def slow_readers(client, number):
    """Asks for a big page, and does not read it; does."""
    url, page = ('/big', BIG) if number % 20 else ('/huge', HUGE)
    client.send(get(url))
    yield
    equal(client.read_message().body, page, 'a big page')


def go_on(crowd):
    """All at once: with filters one may wait for another to be done."""
    for work in [thread(list, client) for client in crowd]:
        work.result()


FILTERS = ('--match', '~u "/(head|body|big|huge)"', '--request', 'cat',
           '--match', '~u "/(head|body|big|huge)"', '--response', 'cat')
for kind in slow_heads, slow_bodies, slow_readers:
    for tls in False, True:
        for filters in (), FILTERS:
            @test('%s, %s%s' % (kind.__name__.replace('_', ' '),
                                'TLS' if tls else 'plain',
                                ', filters' if filters else ''))
            def _(kind=kind, tls=tls, filters=filters):
                with Origin(answer(pages), tls=tls) as origin, \
                        patient(*filters) as proxy:
                    crowd = []
                    for i in range(CROWD):
                        client = (proxy.tls(origin) if tls else
                                  proxy.tunnel(origin))
                        crowd.append(kind(client, i))
                        next(crowd[-1])
                    plain_clients(proxy)
                    go_on(crowd)


@test('uploads that stop in their bodies leave filters to others')
def _():
    with Origin(answer(pages)) as origin, \
            patient('--jobs', '16', '--request', 'cat') as proxy:
        crowd = []
        for i in range(CROWD):
            crowd.append(slow_bodies(proxy.tunnel(origin), i))
            next(crowd[-1])
        plain_clients(proxy)
        go_on(crowd)


# ---------------------------------------- slowhttptest

for option, kind in ('-H', 'heads'), ('-B', 'bodies'), ('-X', 'readers'):
    @test('slowhttptest: %d slow %s' % (CROWD, kind))
    def _(option=option):
        tool = need('slowhttptest')
        with Origin(answer(reply(HUGE))) as origin, patient() as proxy:
            with running(tool, option, '-c', str(CROWD), '-r', '1000', '-i',
                         '2', '-l', '600', '-p', '600', '-u', origin.url(),
                         '-d', '127.0.0.1:%d' % proxy.port):
                wait_for(lambda: proxy.descriptors() >= proxy.idle + CROWD,
                         'the crowd')
                for _ in range(5):
                    plain_clients(proxy)
                check(proxy.descriptors() >= proxy.idle + CROWD,
                      'the crowd has gone', proxy.descriptors())


run()
