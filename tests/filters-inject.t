#!/usr/bin/env python3
"""inject: something is added to pages of HTML, and to nothing else."""
from filters import *

HTML = 'Content-Type: text/html; charset=utf-8'


@test('a script, behind <head>, through the proxy')
def _():
    name = scratch('spy.js', 'spy("\xff")'.encode('latin-1'))
    page = b'<!DOCTYPE html><Head lang=en>\n<title>x</title>' + BYTES
    with Origin(answer(reply(page, HTML)), tls=True) as origin, \
            Proxy('--response', ready('inject', name)) as proxy:
        want = page.replace(b'=en>', b'=en><script>spy("\xff")</script>')
        got = proxy.fetch(origin)
        equal(got.body, want, 'the page')
        equal(got['content-length'], b'%d' % len(want), 'its length')
        got = proxy.fetch(origin, get('/', method='HEAD'))
        equal(got['content-length'], b'%d' % len(page), 'HEAD')


@test('where there is no <head>: at the end')
def _():
    page = b'<header>a</header> 1 < 2' + BYTES
    with Origin(answer(chunked(page, fields=[HTML]))) as origin, \
            Proxy('--response', ready('inject', '<b>here</b>')) as proxy:
        got = proxy.fetch(origin)
        equal((got.body, got.end), (page + b'<b>here</b>', 'chunks'), 'got')


@test('not into anything else')
def _():
    for more in ((), ('Content-Type: text/plain',),
                 (HTML, 'Content-Encoding: gzip'),
                 ('content-ENCODING:br', HTML),
                 (HTML, 'Transfer-Encoding: gzip, chunked')):
        passes('inject', 'x', input=reply(b'<head>' + BYTES, *more))
    passes('inject', 'x', input=reply(b'<head>', HTML,
                                      status='206 Partial Content'))
    passes('inject', 'x', input=reply(b'', HTML, status='304 Not Modified'))
    equal(pipe('inject', 'x\n', input=reply(b'a', HTML)).err, '', 'two lines')
    equal(pipe('inject', './no-such.js', input=reply(b'a', HTML)),
          Done(2, b'', 'inject: there is no file ./no-such.js\n'), 'no file')
    page = reply(b'<head>', HTML)
    passes('inject', 'x', input=page, env={'MITM_DIRECTION': 'stream'})
    equal(pipe('inject', 'x', input=reply(
        b'<head>', HTML, 'Content-Encoding: identity',
        'Transfer-Encoding: chunked')).out[-7:], b'<head>x', 'identity')


@test('bare LF, and <head> in any pieces')
def _():
    top = b'HTTP/1.0 200 OK\nContent-type:text/html\n\n'
    equal(pipe('inject', input=top + b'<head >').out, top + b'<head >'
          b'<script>console.log("from the proxy")</script>', 'the default')
    for i in range(1, 12):
        child = subprocess.Popen([os.path.join(FILTERS, 'inject'), 'X'],
                                 stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, bufsize=0)
        first, then = (b'ab<p><head>c'[:i], b'ab<p><head>c'[i:])
        child.stdin.write(top + first)
        # what cannot be the start of <head> is there at once
        certain = first[:first.rindex(b'<')] if b'<' in first[-6:] \
            and b'>' not in first[first.rindex(b'<'):] else first
        certain = certain.replace(b'<head>', b'<head>X')
        got = b''
        while len(got) < len(top + certain):
            got += thread(child.stdout.read, 999).result()
        equal(got, top + certain, 'at once after %d bytes' % i)
        child.stdin.write(then)
        child.stdin.close()
        got += thread(child.stdout.read).result()
        child.stdout.close()
        equal(child.wait(), 0, 'status')
        equal(got, top + b'ab<p><head>Xc', 'cut at %d' % i)


run()
