#!/usr/bin/env python3
"""filters/README.md and the head comments keep up with the filters."""
from filters import *

NAMES = sorted(name for name in os.listdir(FILTERS)
               if name != 'README.md' and name[0] not in '._')
README = slurp(os.path.join(FILTERS, 'README.md')).decode('ascii')


@test('each filter is in the README, and each there is one')
def _():
    named = re.findall(r'filters/([\w.-]+\w)', README)
    equal(sorted(set(named)), NAMES, 'filters')


@test('each says what it does, with the proxy and without')
def _():
    for name in NAMES:
        text = slurp(os.path.join(FILTERS, name)).decode('ascii')
        if name != 'coprocess.c':
            check(os.access(os.path.join(FILTERS, name), os.X_OK),
                  name + ' is executable')
            like(text, r'^#!(/bin/sh|/usr/bin/env (perl|python3))\n# '
                 + re.escape(name), name)
        comment = text[:1800]
        like(comment, r'\n(#|  ) +mitmproxy .*' if name != 'har' else
             r'mitmproxy', name + ' with the proxy')
        like(comment, r'\| *(\n# *)?(\./|filters/)' + name.split('.c')[0]
             if name not in ('har', 'replay') else 'filters/' + name,
             name + ' without')
        check(len(text.splitlines()) < 140, name + ' is short')
        check(all(len(line) <= 80 for line in text.splitlines()),
              name + ': 80 columns')


@test('every environment variable and every option in it is real')
def _():
    seen = scratch('seen')
    with Origin(answer(reply(b'x'))) as origin, \
            Proxy('--response', 'env > %s; cat' % seen) as proxy:
        proxy.fetch(origin)
    env = slurp(seen).decode('latin-1')
    equal(sorted(re.findall(r'(?m)^    (MITM_\w+) ', README)),
          sorted(re.findall(r'(?m)^(MITM_\w+)=', env)), 'MITM_')
    known = re.findall(r'--[\w-]+', mitmproxy('--help')[1])
    for option in re.findall(r'(?<![\w-])--[a-z][a-z-]+', README):
        check(option in known, option)


@test('shellcheck has nothing to say')
def _():
    names = [os.path.join(FILTERS, name) for name in NAMES if slurp(
        os.path.join(FILTERS, name)).startswith(b'#!/bin/sh')]
    done = subprocess.run([need('shellcheck'), '--severity=warning', *names],
                          stdout=subprocess.PIPE, timeout=120)
    equal(done.stdout.decode(), '', 'shellcheck')


run()
