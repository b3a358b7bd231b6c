#!/usr/bin/env python3
"""delay and throttle: the same bytes, later."""
from filters import *


@test('delay waits, and changes nothing')
def _():
    with Origin(answer(reply(BYTES)), tls=True) as origin, \
            Proxy('--response', ready('delay', '0.4')) as proxy:
        start = time.monotonic()
        equal(proxy.fetch(origin).raw, reply(BYTES), 'the page')
        check(time.monotonic() - start >= 0.4, 'it took its time')
    passes('delay', '0', input=BYTES)
    check(pipe('delay', 'x').status, 'not a number')
    equal(pipe('delay').status, 2, 'usage')


@test('throttle keeps the pace, byte by byte')
def _():
    page = reply(bytes(3000))
    with Origin(answer(page), tls=True) as origin, \
            Proxy('--raw', '--response', ready('throttle', '6000')) as proxy:
        client = proxy.tls(origin)
        start = time.monotonic()
        client.send(get('/'))
        first = len(client.more()), time.monotonic() - start
        equal(client.read_exact(len(page)), page, 'the page')
        took = time.monotonic() - start
        check(first[0] < len(page) and first[1] < took - 0.2, 'it drips',
              first, took)
        check(0.4 < took < DEADLINE, 'the pace', took)
    passes('throttle', '100000000', input=BYTES * 999)
    drips('throttle', '100000', first=b'HTTP/1.1')
    for wrong in (), ('0',), ('-1',), ('x',), ('1', '2'):
        check(pipe('throttle', *wrong).status, 'usage %r' % (wrong,))


run()
