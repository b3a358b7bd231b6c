#!/usr/bin/env python3
"""fuzz SEED: damage that can be had again."""
from filters import *

PAGE = reply(b'abcdefghij' * 500)


@test('the same seed, id and direction: the same damage')
def _():
    def fuzz(seed, number='1', direction='response'):
        got = pipe('fuzz', seed, input=PAGE * 20, env={
            'MITM_ID': number, 'MITM_DIRECTION': direction})
        equal((got.status, got.err), (0, ''), 'how it ended')
        return got.out
    first = fuzz('1')
    equal(fuzz('1'), first, 'again')
    kinds = {fuzz('1'), fuzz('2'), fuzz('x'), fuzz('1', '2'),
             fuzz('1', '1', 'request'), PAGE * 20}
    equal(len(kinds), 6, 'different ones')
    check(0.95 < len(first) / len(PAGE * 20) < 1.05, 'about as long')


@test('through the proxy, --raw: what a pipe makes of it too')
def _():
    def send(conn):
        while wait_message(conn):
            conn.read_message()
            conn.send(PAGE)
            return
    with Origin(send) as origin, \
            Proxy('--raw', '--response', ready('fuzz', '7', '50')) as proxy:
        client = proxy.tunnel(origin)
        client.send(get('/'))
        want = pipe('fuzz', '7', '50', input=PAGE, env={
            'MITM_ID': '1', 'MITM_DIRECTION': 'response'}).out
        equal(client.read_exact(len(want)), want, 'damaged')


@test('the rate, and wrong usage')
def _():
    page = bytes(100000)
    got = pipe('fuzz', '1', '1000', input=page).out
    check(20 < len(got.replace(b'\0', b'')) < 200, 'one in a thousand')
    for wrong in (), ('1', 'x'), ('1', '0'), ('1', '2', '3'):
        check(pipe('fuzz', *wrong).status, 'usage %r' % (wrong,))


run()
