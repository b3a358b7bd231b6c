#!/usr/bin/env python3
"""A name look-up that hangs delays nobody else."""
from mitm import *


def resolvers(proxy):
    return [pid for pid, (_, command) in processes(proxy.pid).items()
            if pid != proxy.pid and command.startswith(PROGRAM + ' ')]


@test('others are served, by address and by name')
def _():
    with Origin(answer(reply(b'x'))) as origin, Proxy() as proxy:
        client = proxy.connect()
        client.send(get('http://no-such-name.invalid/'))
        equal(client.read_message().status, 502, 'a name that is not there')
        helper, = resolvers(proxy)
        os.kill(helper, signal.SIGSTOP)     # its next answer will not come
        stuck = proxy.connect()
        stuck.send(get('http://another.invalid/'))
        for url, status in ((origin.url('/'), 200),
                            ('http://third.invalid/', 502)):
            client = proxy.connect()
            client.send(get(url))
            equal(client.read_message().status, status, url)
        equal(len(resolvers(proxy)), 2, 'resolvers')
        os.kill(helper, signal.SIGKILL)     # then another one is asked
        equal(stuck.read_message().status, 502, 'the first')


run()
