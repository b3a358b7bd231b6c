#!/usr/bin/env python3
"""make play: three lines to paste, which do what they say."""
from mitm import *

ROOT = os.path.dirname(HERE)


def lines(output):
    """What it says to paste: lines that name the page."""
    text = slurp(output).decode()
    return [line for line in text.split('\n')
            if line.endswith('https://weather.example/page')]


def paste(line, at):
    return subprocess.run(['sh', '-c', line], cwd=at, timeout=2 * DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, no_proxy=''))


@contextlib.contextmanager
def play():
    """lab/play in a directory of its own: the process, and the directory."""
    at = scratch('here')
    os.mkdir(at)
    with running('env', '-C', at, os.path.join(ROOT, 'lab', 'play'),
                 env={'MITMPROXY': PROGRAM},
                 ready=r'cow/[^\n]*page\n') as child:
        yield child, at


@test('each of the three lines rewrites the page')
def _():
    with play() as (child, at):
        equal(len(lines(child.output)), 3, 'lines')
        for line, word in zip(lines(child.output), ('clown', 'clown', 'cow')):
            done = paste(line, at)
            equal(done.stdout, b'<title>Weather</title><p>one %s over the '
                  b'hills, no %s over the sea</p>\n'
                  % (word.encode(), word.encode()), line)
            equal(done.returncode, 0, line)
        first = lines(child.output)[0]
        like(first, r'mitmproxy -R .* -- curl ', 'the first line')
        wait_for(lambda: b"#2 << 'HTTP/1.1 200" in slurp(child.output),
                 'messages on the screen')


@test('^C ends it all, and no child of it stays')
def _():
    with play() as (child, at):
        there = set(processes(child.pid))
        check(len(there) >= 3, 'it has children', there)
        os.killpg(child.pid, signal.SIGINT)
        equal(child.wait(DEADLINE), 0, 'its status')
        wait_for(lambda: not set(processes(child.pid)) - {child.pid},
                 'the end of its children')


run()
