#!/usr/bin/env python3
"""mitmproxy.c is as its head and the README say."""
from mitm import *

SOURCE = slurp(os.path.join(HERE, '..', 'mitmproxy.c')).decode()
README = slurp(os.path.join(HERE, '..', 'README.md')).decode()
HEAD = SOURCE[:SOURCE.index('*/')]
BANNER = r'^/\* ==== (\d+) (.+?) =+\n((?:   .*\n)*?)(?:   .*\*/)\n'
SECTIONS = {int(m[1]): m[2] for m in re.finditer(r'^/\* ==== (\d+) (.+?) =+',
                                                 SOURCE, re.M)}


def functions():
    """Yields section, name, comment and the lines of each function."""
    section = 0
    for part in re.split(r'\n\n(?=\S)', SOURCE):
        found = re.match(r'/\* ==== (\d+)', part)
        section = int(found[1]) if found else section
        found = re.match(r'(?s)(?:#ifndef UNIT_TEST\n)?((?:/\*.*?\*/\n)?)(?:PRINTF\(\d, \d\)\s+)?'
                         r'(?:static )?[\w *]*?(\w+)\([^;{]*?\)\n\{\n(.*?)\n\}',
                         part)
        if found:
            yield section, found[2], found[1], found[3].split('\n')


FUNCTIONS = list(functions())


@test('the sections are those that the head lists, in its order')
def _():
    part = HEAD[HEAD.index('Sections'):HEAD.index('The way of')]
    listed = re.findall(r'(?:^|  ) {0,6}(\d+) ([A-Za-z]\S*(?: [a-zA-Z]+)*)',
                        part, re.M)
    check(len(SECTIONS) >= 10, 'there are sections', SECTIONS)
    equal({int(n): title for n, title in listed}, SECTIONS, 'the sections')
    equal(list(SECTIONS), list(range(1, len(SECTIONS) + 1)), 'their numbers')


@test('each banner says its idea and its limit')
def _():
    for m in re.finditer(r'/\* ==== \d+ (.+?) =+(.*?)\*/', SOURCE, re.S):
        idea, limit, _ = (' '.join(m[2].split()) + ' ').partition('Limit: ')
        check(limit, 'the limit of ' + m[1], m[2])
        check(len(idea.split()) > 4, 'the idea of ' + m[1], m[2])


@test('no more than 600 lines go by without a banner')
def _():
    at = [n for n, line in enumerate(SOURCE.split('\n'))
          if re.match(r'/\* (====|----) ', line)]
    for first, last in zip(at, at[1:] + [SOURCE.count('\n')]):
        check(last - first <= 600, 'from line %d on' % (first + 1),
              last - first)


@test('the way of one request leads through functions that are there')
def _():
    way = HEAD[HEAD.index('The way of'):HEAD.index('To learn')]
    where = {name: section for section, name, _, _ in FUNCTIONS}
    section, named = None, 0
    for n, name in re.findall(r'(?<!\w)(\d\d?) (?=\w)|(\w+)\(\)', way):
        if n:
            section = int(n)
        elif name != 'select':
            equal(where.get(name), section, 'the section of %s()' % name)
            named += 1
    check(named > 20, 'functions are named', named)
    for n in re.findall(r'(?<![\w.])\d\d?', HEAD[HEAD.index('To learn'):]):
        check(int(n) in SECTIONS, 'what is to be read', n)


@test('"How it works" in the README names the sections as they are')
def _():
    named = re.findall(r'\*\*(\d+) ([^*]+)\*\*',
                       README[README.index('## How it works'):])
    check(len(named) > 10, 'sections are named', named)
    for n, title in named:
        equal(' '.join(title.split()), SECTIONS.get(int(n)), 'section ' + n)


@test('each function has a line above it, and none is over 55 lines long')
def _():
    check(len(FUNCTIONS) > 400, 'functions are found', len(FUNCTIONS))
    equal([name for _, name, comment, _ in FUNCTIONS if not comment], [],
          'functions without a comment')
    equal([(name, len(lines)) for _, name, _, lines in FUNCTIONS
           if len(lines) > 55], [], 'functions that are too long')


@test('what brings much of musl into a small static file is not called')
def _():
    code = re.sub(r'(?s)/\*.*?\*/', '', SOURCE)
    equal(re.findall(r'\b(?:\w*scanf|strto(?:d|f|ld)|atof|strftime|mktime|'
                     r'__builtin_cpu_supports)\(', code), [], 'calls')


@test('no line has more than 80 columns, a tab, or space at its end')
def _():
    equal([(number, line) for number, line in enumerate(SOURCE.split('\n'), 1)
           if len(line) > 80 or '\t' in line or line != line.rstrip()], [],
          'such lines')


run()
