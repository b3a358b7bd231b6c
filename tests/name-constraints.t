#!/usr/bin/env python3
"""A CA's name constraints hold for servers' names and addresses, as they do in
curl, which is asked each time."""
from chains import *


def constrained(text, names, host, good, subject='/O=One'):
    ext = 'subjectAltName=%s\n' % names if names else 'keyUsage=' \
        'digitalSignature\n'
    top = root()
    one = middle(top, 'nameConstraints=critical,%s\n' % text)
    two = middle(one, name='/CN=Two')
    judged(host, top, shown(leaf(two, ext, subject), two, one), good,
           'one of its CAs may not sign for its names')
    top = root('nameConstraints=%s\n' % text)
    judged(host, top, shown(leaf(top, ext, subject)), good,
           'one of its CAs may not sign for its names')


for args in (
        ('permitted;DNS:one.test', 'DNS:www.one.test', 'www.one.test', True),
        ('permitted;DNS:one.test', 'DNS:one.test', 'one.test', True),
        ('permitted;DNS:ONE.test', 'DNS:www.One.test', 'www.one.test', True),
        ('permitted;DNS:one.test', 'DNS:twoone.test', 'twoone.test', False),
        ('permitted;DNS:.one.test', 'DNS:www.one.test', 'www.one.test', True),
        ('permitted;DNS:.one.test', 'DNS:one.test', 'one.test', False),
        ('permitted;DNS:one.test', 'DNS:two.test', 'two.test', False),
        ('permitted;DNS:one.test', 'DNS:www.one.test,DNS:two.test',
         'www.one.test', False),
        ('permitted;DNS:one.test,permitted;DNS:two.test', 'DNS:www.one.test,'
         'DNS:two.test', 'www.one.test', True),
        ('permitted;DNS:one.test', 'DNS:*.one.test', 'www.one.test', True),
        ('excluded;DNS:two.test', 'DNS:www.one.test', 'www.one.test', True),
        ('excluded;DNS:one.test', 'DNS:www.one.test', 'www.one.test', False),
        ('permitted;DNS:test,excluded;DNS:one.test', 'DNS:www.one.test',
         'www.one.test', False),
        ('permitted;IP:127.0.0.0/255.0.0.0', 'DNS:www.one.test',
         'www.one.test', True),
        ('permitted;DNS:one.test', 'IP:127.0.0.1', '127.0.0.1', True),
        ('permitted;IP:127.0.0.0/255.0.0.0', 'IP:127.0.0.1', '127.0.0.1',
         True),
        ('permitted;IP:10.0.0.0/255.0.0.0', 'IP:127.0.0.1', '127.0.0.1',
         False),
        ('excluded;IP:127.0.0.0/255.255.255.254', 'IP:127.0.0.1',
         '127.0.0.1', False),
        ('excluded;IP:127.0.0.2/255.255.255.254', 'IP:127.0.0.1',
         '127.0.0.1', True),
        ('permitted;IP:::/0:0:0:0:0:0:0:0', 'IP:::1', '[::1]', True),
        ('permitted;IP:0.0.0.0/0.0.0.0', 'IP:::1', '[::1]', False),
        ('excluded;IP:::/0:0:0:0:0:0:0:0,excluded;IP:0.0.0.0/0.0.0.0',
         'DNS:www.one.test', 'www.one.test', True),
        ('permitted;DNS:one.test', '', 'www.one.test', True,
         '/CN=www.one.test'),
        ('permitted;DNS:two.test', '', 'www.one.test', False,
         '/CN=www.one.test')):
    @test('%s: %s' % (args[0], args[1] or args[4]))
    def _(args=args):
        constrained(*args)


run()
