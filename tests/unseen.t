#!/usr/bin/env python3
"""What filters could not see although one might match is told by default."""
from mitm import *

SED = '--response', 'sed s/page/pagan/'
SWITCH = b'HTTP/1.1 101 Switching Protocols\r\n\r\n'
ASK = get('/', 'Upgrade: websocket', 'Connection: Upgrade')


def told(proxy, what):
    """Exactly one line tells of it."""
    proxy.wait_log(what)
    equal(len(re.findall('no filter sees|no message for filters',
                         proxy.log())), 1, proxy.log())


def silent(proxy):
    unlike(proxy.log(), 'no filter sees|no message for filters', 'the log')


@test('WebSocket and the like')
def _():
    for match, tell in (('~d localhost', told), ('~d other', None),
                        ('~q', None), ('~t html', told), ('~u ^http', told)):
        with Origin(lambda c: c.send(SWITCH + b'x' * len(c.read_head()))) \
                as origin, Proxy('--match', match, *SED) as proxy:
            client = proxy.tunnel(origin)
            client.send(ASK)
            client.read_all()
            if tell:
                told(proxy, '#1 is relayed as a stream, which no filter sees: '
                     'the protocol was switched')
            else:
                silent(proxy)


@test('WebSocket: what gives filters its messages is told')
def _():
    switch = SWITCH[:-2] + ASK[ASK.index(b'Upgrade'):]
    with Origin(lambda c: c.send(switch + b'x' * len(c.read_head()))) \
            as origin, Proxy(*SED) as proxy:
        client = proxy.tunnel(origin)
        client.send(ASK)
        client.read_all()
        told(proxy, '#1 is relayed as a stream, which no filter sees: the '
             'protocol was switched to WebSocket .~w in --match is for its')
    for args in (), SED:                # the latter of which has no ~w
        with Origin(lambda c: c.send(switch + b'x' * len(c.read_head()))) \
                as origin, Proxy('-v', *args, '--match', '~w',
                                 *SED) as proxy:
            client = proxy.tunnel(origin)
            client.send(ASK)
            client.read_all()
            proxy.wait_log('#1 is WebSocket: its messages go through filters')
            unlike(proxy.log(), 'is relayed as a stream', 'the log')


@test('--ignore-hosts, in a tunnel: with TLS, and without')
def _():
    for tls in True, False:
        for match, tell in (('~d localhost', True), ('~d other', False),
                            ('~u /page', True), ('~m POST', True)):
            with Origin(answer(reply(b'page')), tls=tls) as origin, \
                    Proxy('--ignore-hosts', '^localhost:', '--match', match,
                          *SED) as proxy:
                client = proxy.tunnel(origin)
                if tls:
                    client.start_tls(client_context(make_ca()), 'localhost')
                for _ in range(2):
                    client.send(get('/page'))
                    equal(client.read_message().body, b'page', 'the page')
                if tell:
                    told(proxy, 'no filter sees: --ignore-hosts says so')
                else:
                    silent(proxy)


@test('--ignore-hosts, of plain requests: once a connection')
def _():
    with Origin(answer(reply(b'page'))) as origin, \
            Proxy('--ignore-hosts', '^localhost:', *SED) as proxy:
        client = proxy.connect()
        for _ in range(3):
            client.send(get(origin.url()))
            equal(client.read_message().body, b'page', 'the page')
        told(proxy, '#1 passes untouched, which no filter sees: --ignore-hosts')


@test('--tcp-hosts: what matches the stream sees it, what waits for a head not')
def _():
    for match, tell, option in (
            ('~t html', True, '-R'), ('~d localhost', False, '-R'),
            ('~d other', False, '-R'), ('~d localhost ~c 200', True, '-R'),
            ('!~c 404', True, '-Q'), ('!~m POST', False, '-Q')):
        with Origin(answer(reply(b'page')), tls=True) as origin, \
                Proxy('--tcp-hosts', '^localhost:', '--match', match,
                      option, 'cat') as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            equal(client.read_message().body, b'page', 'the page')
            if tell:
                told(proxy, 'no message for filters: --tcp-hosts says so')
            else:
                silent(proxy)


@test('a request, or an answer, of which nobody can tell the end')
def _():
    two = 'Content-Length: 4\r\nContent-Length: 5'
    for tunnel in True, False:
        for filters, tell in ((SED, True), (('--request', 'cat'), tunnel)):
            with Origin() as origin, Proxy(*filters) as proxy:
                client = proxy.tunnel(origin) if tunnel else proxy.connect()
                client.send(get('/' if tunnel else origin.url()))
                server = origin.next()
                server.read_head()
                server.send(b'HTTP/1.1 200 OK\r\n%s\r\n\r\npage' % two.encode())
                server.finish()
                like(client.read_all(), b'page$', 'the answer')
                proxy.wait_out("#1 << 'HTTP/1.1 200 OK.*Length: 5.*page'\n")
                if tell:
                    told(proxy, 'no filter sees: it has two lengths that differ')
                else:
                    silent(proxy)
        with Origin() as origin, Proxy('--request', 'cat') as proxy:
            client = proxy.tunnel(origin) if tunnel else proxy.connect()
            for fields in (), (two,):   # the first would begin a stream
                client.send(get('/' if tunnel else origin.url(), *fields,
                                method='PUT'))
                server = server if fields else origin.next()
                server.read_head()
                server.send(reply(b'page'))
                equal(client.read_message().body, b'page', 'the answer')
            told(proxy, 'no filter sees: it has two lengths that differ')


@test('an answer that has no body is seen, whatever it says of its length')
def _():
    odd = 'Content-Length: 4\r\nContent-Length: 5'
    head = b'HTTP/1.1 304 Not Modified\r\n%s\r\nX: ' % odd.encode()
    with Origin(answer(head + b'page\r\n\r\n')) as origin, Proxy(*SED) as proxy:
        for client, target in ((proxy.tunnel(origin), '/'),
                               (proxy.connect(), origin.url())):
            for _ in range(2):
                client.send(get(target))
                equal(client.read_until(b'\r\n\r\n'),
                      head + b'pagan\r\n\r\n', 'the answer')
        silent(proxy)


@test('nothing is told without filters, but with -v')
def _():
    for words, tell in ((), unlike), (('-v',), like):
        with Origin(lambda c: c.send(SWITCH + b'x' * len(c.read_head()))) \
                as origin, Proxy(*words) as proxy:
            client = proxy.tunnel(origin)
            client.send(ASK)
            client.read_all()
            tell(proxy.log(), '#1 is relayed as a stream: the protocol was '
                 'switched\n', 'the log')


run()
