#!/usr/bin/env python3
"""lab/README.md: each command of the sheet, and what appears."""
import atexit
from lab import *

SHEET = slurp(os.path.join(ROOT, 'lab', 'README.md')).decode()
WANTED = {'tshark': 'tshark', 'unshare -rn': 'nft'}


def steps():
    """[(heading, [(command, [line that appears])])]"""
    found = []
    for part in re.split(r'(?m)^## ', SHEET)[1:]:
        blocks = re.findall(r'(?ms)^```\n(.*?)^```$', part)
        commands = []
        for line in ''.join(blocks).splitlines():
            if line.startswith('$ '):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        if commands:
            found.append((part.split('\n')[0], commands))
    return found


def fits(shown, line):
    """... in what the sheet shows stands for anything; names in certificates are
    written as OpenSSL of the day does."""
    parts = map(re.escape, shown.replace(' = ', '=').split('...'))
    return re.fullmatch('.*'.join(parts), line.replace(' = ', '='))


def compare(words, want, got):
    """Each line of the sheet appears. The proxy and the command write to one
    screen, so the order says nothing; and nothing else appears, unless there
    is a line ... for that, except how the proxy says that it begins and
    ends."""
    rest = [line for line in got.replace('\r', '').splitlines() if not re.match(
        r'mitmproxy: (made a CA|listening|stopping)|$', line)]
    for line in filter(None, want):
        if line == '...':
            continue
        there = [there for there in rest if fits(line, there)]
        check(there, 'of "%s" there appears: %s' % (words, line), got)
        rest.remove(there[0])
    check('...' in want or not rest,
          'of "%s" nothing else appears' % words, rest, got)


_lab = contextlib.ExitStack()
atexit.register(_lab.close)


def lab():
    """lab/start in a directory of its own, once for all: what runs, and the
    directory."""
    if not hasattr(_lab, 'at'):
        _lab.at = scratch('here')
        os.mkdir(_lab.at)
        os.symlink(PROGRAM, os.path.join(_lab.at, 'mitmproxy'))
        _lab.child = _lab.enter_context(running(
            'env', '-C', _lab.at, os.path.join(ROOT, 'lab', 'start'),
            env={'MITMPROXY': './mitmproxy'}, ready=r'step 0 of'))
    return _lab.child, _lab.at


def run_command(words, at):
    done = subprocess.run(
        ['sh', '-c', '. "$1/build/lab/env"\n' + words, 'sh', at],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=at,
        stdin=subprocess.DEVNULL, timeout=3 * DEADLINE)
    return done.stdout.decode('latin-1')


def try_out(commands):
    _, at = lab()
    for words, want in commands:
        for word, program in WANTED.items():
            if word in words:
                need(program)
        if words.startswith('rm '):     # what other steps make: let it be there
            for name in words.split()[1:]:
                open(os.path.join(at, 'build', 'lab', name), 'a').close()
        if 'unshare' in words and subprocess.call(
                [need('unshare'), '-rn', 'true'], stderr=subprocess.DEVNULL):
            raise Skip('here is no network of our own')
        compare(words, want, run_command(words, at))


for heading, commands in steps():
    test('step ' + heading)(lambda commands=commands: try_out(commands))


@test('each step has a question, and each question an answer')
def _():
    asked = re.findall(r'(?ms)^## (\d+) (?:(?!^## ).)*?^\*\*Question\.', SHEET)
    answers = SHEET[SHEET.index('## Answers'):]
    equal(asked, re.findall(r'(?m)^(\d+)\. ', answers), 'numbers')
    equal(len(asked), len(steps()), 'steps')


@test('the sections that it names are sections of mitmproxy.c')
def _():
    source = slurp(os.path.join(ROOT, 'mitmproxy.c')).decode()
    for line in re.findall(r'(?m)^\*Read\* (.*)\.$', SHEET):
        for name in line.split(', '):
            check(re.search(r'/\* ==== \d+ %s =' % name, source), name)


@test('^C ends it all')
def _():
    child, _ = lab()
    os.killpg(child.pid, signal.SIGINT)
    equal(child.wait(DEADLINE), 0, 'its status')
    wait_for(lambda: not set(processes(child.pid)) - {child.pid},
             'the end of its children')


run()
