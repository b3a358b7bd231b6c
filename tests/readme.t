#!/usr/bin/env python3
"""Recipes of README.md, as they stand there, do what they say."""
from mitm import *

README = slurp(os.path.join(HERE, '..', 'README.md')).decode()


def recipe(title):
    """The options of the command that stands behind this text."""
    text = README[README.index(title):]
    lines = re.search(r'(?m)^    mitmproxy (?:.*\\\n)*.*', text)[0]
    words = command('sh', '-c', 'mitmproxy() { printf "%s\\0" "$@"; }; '
                    + lines, status=0)
    return words.decode().split('\0')[:-1]


@test('lie about a length: nothing else is changed, and the body is not')
def _():
    body = b'Content-Length: 9\r\n'
    ask = get('/', 'content-length: %d' % len(body), method='PUT') + body
    with Origin() as origin, Proxy(*recipe('Lie about a length')) as proxy:
        client = proxy.tunnel(origin)
        client.send(ask)
        want = ask.replace(b'content-length: 19', b'content-length: 3', 1)
        equal(origin.next().read_exact(len(want)), want, 'at the server')


@test('take the cookies out of requests: their bodies are left alone')
def _():
    body = b'Cookie: b\r\n'
    fields = 'Content-Length: %d' % len(body), 'Cookie: a', 'X: y'
    with Origin() as origin, \
            Proxy(*recipe('Take the cookies out')) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/', *fields, method='PUT') + body)
        want = get('/', fields[0], 'X: y', method='PUT') + body
        equal(origin.next().read_exact(len(want)), want, 'at the server')


@test('in reverse mode the server gets its own Host')
def _():
    with Origin(answer(lambda r: reply(r.head)), tls=True) as origin:
        words = [word.replace('//weather.example', '//' + origin.auth)
                 for word in recipe('In reverse mode')]
        with Proxy(*words) as proxy:
            client = proxy.connect().start_tls(client_context(proxy.ca),
                                               'localhost')
            for host in 'localhost:8080', 'x':
                client.send(get('/', 'X: y', host=host))
                equal(client.read_message().body,
                      get('/', 'X: y', host='weather.example'), 'the request')


run()
