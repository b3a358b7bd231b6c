#!/usr/bin/env python3
"""mitmproxy.c is as its head says."""
from mitm import *

SOURCE = slurp(os.path.join(HERE, '..', 'mitmproxy.c')).decode()


@test('the sections are those that the head lists, in its order')
def _():
    head = SOURCE[:SOURCE.index('*/')]
    listed = re.findall(r'(?:^|  ) {0,6}(\d+) ([A-Za-z]\S*(?: [a-zA-Z]+)*)',
                        head, re.M)
    there = re.findall(r'^/\* ==== (\d+) (.+?) =+', SOURCE, re.M)
    check(len(there) >= 10, 'there are sections', there)
    equal(sorted(listed, key=lambda s: int(s[0])), there, 'the sections')
    equal([int(n) for n, _ in there], list(range(1, len(there) + 1)),
          'their numbers')


@test('no line has more than 80 columns, a tab, or space at its end')
def _():
    for number, line in enumerate(SOURCE.split('\n'), 1):
        check(len(line) <= 80 and '\t' not in line and line == line.rstrip(),
              'line %d' % number, line)


run()
