#!/usr/bin/env python3
"""A clock that begins in 1970, as a router's does, and is set later."""
from mitm import *
import glob

LIBRARY = glob.glob('/usr/lib/*/faketime/libfaketime.so.1')


class Clock(dict):
    """The environment of a proxy whose clock can be set."""

    def __init__(self, when):
        if not LIBRARY or sanitized() or b'libc.so' not in slurp(PROGRAM):
            raise Skip('no libfaketime, or nothing can be loaded before libc')
        self.file = scratch('clock')
        self.set(when)
        super().__init__(LD_PRELOAD=LIBRARY[0], FAKETIME_NO_CACHE='1',
                         FAKETIME_TIMESTAMP_FILE=self.file,
                         FAKETIME_DONT_FAKE_MONOTONIC='1')

    def set(self, when):
        with open(self.file + '.new', 'w') as f:
            f.write(when + '\n')
        os.rename(self.file + '.new', self.file)


def shown(proxy, origin):
    """Who comes in time is served: from when to when the leaf counts."""
    client = proxy.tls(origin)
    leaf = client.tls.getpeercert()
    client.send(get('/'))
    equal(client.read_message().body, b'page', 'the page')
    client.close()
    return [ssl.cert_time_to_seconds(leaf[end])
            for end in ('notBefore', 'notAfter')]


@test('1970: a CA and leaves for clients whose clock is right; then it is set')
def _():
    clock, ca, day = Clock('@1970-01-01 00:01:00'), scratch('ca.pem'), 86400
    with Origin(answer(reply(b'page')), tls=True) as origin:
        with Proxy(env=clock, ca=ca) as proxy:
            start, end = shown(proxy, origin)
            check(start < time.time() and end - start > 365 * day, 'the leaf')
            check(end - start <= 825 * day, 'too long for Apple')
            shown(proxy, origin)
            clock.set('+0')
            start, end = shown(proxy, origin)
            check(0 <= time.time() - start <= 3 * day, 'the leaf', start)
            check(end - start < 100 * day, 'the leaf', start, end)
            proxy.wait_log('the clock is set:')
            equal(re.findall('the clock is (.*set):', proxy.log()),
                  ['not set', 'set'], 'the log')
        with Proxy(ca=ca) as proxy:     # the CA that was made then
            shown(proxy, origin)
            unlike(proxy.log(), 'clock', 'the log')


@test('a CA that is not valid yet: a line tells')
def _():
    clock, ca = Clock('-10d'), scratch('ca.pem')
    with Proxy(ca=ca) as proxy:
        unlike(proxy.log(), 'valid', 'the log')
    with Proxy(env=clock, ca=ca) as proxy:
        proxy.wait_log(r'(?m)^mitmproxy: the CA in %s is not valid before '
                       r'20\d\d-\d\d-\d\d \d\d:\d\d UTC: until then clients refuse all '
                       'that it signs$' % re.escape(ca))


run()
