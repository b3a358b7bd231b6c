#!/usr/bin/env python3
"""The filters in sh where there is nothing but BusyBox, as on a router."""
import gzip
from filters import *


def only():
    """The shell, and an environment in which there is nothing else."""
    busybox, applets = need('busybox'), scratch('applets')
    os.mkdir(applets)
    subprocess.run([busybox, '--install', '-s', applets], check=True,
                   timeout=DEADLINE)
    return (busybox, 'sh'), {'PATH': applets, 'LC_ALL': 'C.UTF-8'}


HEAD = b'HTTP/1.1 200 OK\r\nServer: x\r\nA: b\r\n\r\n'
PAGE = HEAD + BYTES


def bare(name, *args, message=PAGE, **env):
    """One of them by itself, with BusyBox's commands alone."""
    shell, alone = only()
    done = pipe(name, *args, input=message, by=shell, env=dict(alone, **env))
    equal((done.status, done.err), (0, ''), name)
    return done.out


@test('each filter that the README says runs there, does')
def _():
    listed = re.search(r"run with BusyBox's,\s+too:(.*?)\.\s",
                       slurp(os.path.join(FILTERS, 'README.md')).decode(),
                       re.DOTALL)
    names = re.findall(r'`([\w.-]+)`', listed.group(1))
    folder = scratch('saved')
    key = scratch('key', 'secret\n')
    zipped = HEAD[:-2] + b'Content-Encoding: gzip\r\n\r\n'
    got = {
        'block': bare('block', '/ad', MITM_URL='http://a/ad')[:12],
        'body': gzip.decompress(
            bare('body', 'tr', 'a', 'A', message=zipped + gzip.compress(
                BYTES))[len(zipped):]),
        'del-header': bare('del-header', 'a'),
        'delay': bare('delay', '0'),
        'map-remote': bare('map-remote', 'http://a', 'http://b', message=
                           b'GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n'),
        'save': bare('save', folder, MITM_ID='1', MITM_DIRECTION='response'),
        'set-header': bare('set-header', 'A', 'file:' + key),
        'template.sh': bare('template.sh'),
    }
    equal(sorted(names), sorted(got), 'those that are tried')
    equal(got, {
        'block': b'HTTP/1.1 403',
        'body': BYTES.replace(b'a', b'A'),
        'del-header': PAGE.replace(b'A: b\r\n', b'', 1),
        'delay': PAGE,
        'map-remote': b'GET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n',
        'save': PAGE,
        'set-header': PAGE.replace(b'A: b', b'A: secret', 1),
        'template.sh': PAGE.replace(b'Server: x', b'Server: hidden'),
    }, 'what they print')
    equal(slurp(os.path.join(folder, '1.response')), PAGE, 'what was saved')


@test('the line that the README names streams with its awk')
def _():
    line = re.search(r"`(awk '[^`]*')`", slurp(os.path.join(
        FILTERS, 'README.md')).decode()).group(1)
    shell, alone = only()
    child = subprocess.Popen([*shell, '-c', line], env=alone,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(b'one cloud\n')
    child.stdin.flush()
    equal(thread(child.stdout.readline).result(), b'one clown\n', line)
    child.communicate(timeout=DEADLINE)
    equal(child.returncode, 0, line)


run()
