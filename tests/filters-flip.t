#!/usr/bin/env python3
"""flip: images upside down, with a real ImageMagick."""
import shutil
from filters import *


def magick(*args, input=b''):
    """Run ImageMagick; what it printed."""
    command = shutil.which('magick') or need('convert')
    done = subprocess.run([command, *args], input=input, timeout=3 * DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise Skip('no ImageMagick that can do this: %s'
                   % done.stderr.decode('latin-1').strip()[:100])
    return done.stdout


def image(kind, top='red', bottom='blue'):
    """A small image of two colours, one over the other."""
    return magick('-size', '8x8', 'xc:' + top, 'xc:' + bottom, '-append',
                  '+repage', kind + ':-')


def colours(kind, data):
    """What is at its top and at its bottom: 'RB' for red over blue."""
    raw = magick(kind + ':-', '-depth', '8', 'rgb:-', input=data)
    equal(len(raw), 8 * 16 * 3, 'its size')
    return ''.join('RGB'[p.index(max(p))] for p in (
        raw[3 * 12:3 * 12 + 3], raw[-3 * 12:len(raw) - 3 * 11]))


@test('PNG, JPEG and GIF through the proxy')
def _():
    for kind in 'png', 'jpeg', 'gif':
        was = image(kind)
        equal(colours(kind, was), 'RB', 'before')
        with Origin(answer(reply(was, 'Content-Type: image/' + kind)),
                    tls=True) as origin, \
                Proxy('--response', ready('flip')) as proxy:
            got = proxy.fetch(origin)
            equal(colours(kind, got.body), 'BR', kind)


@test('in a pipe, with bare LF')
def _():
    was = image('png')
    got = pipe('flip', input=b'HTTP/1.0 200 OK\nContent-type:image/png\n\n'
               + was)
    equal((got.status, got.err), (0, ''), 'how it ended')
    equal(colours('png', got.out.partition(b'\n\n')[2]), 'BR', 'flipped')


@test('what it cannot turn goes on as it was')
def _():
    was = image('png')
    passes('flip', input=reply(BYTES))
    passes('flip', input=reply(was, 'Content-Type: text/plain'))
    passes('flip', input=reply(BYTES, 'Content-Type: image/svg+xml'))
    passes('flip', input=reply(b'', 'Content-Type: image/png'))
    passes('flip', input=was, env={'MITM_DIRECTION': 'stream'})
    broken = reply(was[:40], 'Content-Type: image/png')
    equal(pipe('flip', input=broken).out, broken, 'a broken image')


@test('no image is read as another kind than it says')
def _():
    magick('-version')
    evil = b'push graphic-context\nviewbox 0 0 9 9\npop graphic-context\n'
    page = reply(evil, 'Content-Type: image/png')
    equal(pipe('flip', input=page).out, page, 'MVG that says it is PNG')


run()
