#!/usr/bin/env python3
"""How long waits may take: measured, and said with the result."""
from mitm import *


@test('the machine is measured')
def _():
    done = subprocess.run([HERE + '/speed'], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=20 * DEADLINE)
    check(20 <= int(done.stdout) <= 400, 'seconds', done.stdout)
    like(done.stderr, rb'times as slow .*may take %d s\n' % int(done.stdout),
         'what it says')


@test('the result says it; the status is that of the tests')
def _():
    for wait in 20, 41:
        for text, status in ('ok', 0), ('not ok', 1):
            word = script('#!/bin/sh\necho 1..1\necho %s 1 - $MITM_DEADLINE\n'
                          % text)
            got = command(HERE + '/run', word, status=status,
                          env={'MITM_DEADLINE': str(wait)})
            check((b'could take 41 s instead of 20' in got) == (wait == 41),
                  'the result', got)


run()
