#!/usr/bin/env python3
"""filters/README.md and the head comments keep up with the filters, and each
command in its tables does what stands beside it."""
from filters import *
from lab import *

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
                          stdout=subprocess.PIPE, timeout=6 * DEADLINE)
    equal(done.stdout.decode(), '', 'shellcheck')

OPTIONS = re.findall(r'(?m)^\| `(-.*?)` \|', README)


def effect(words, lab, child):
    """What a line of the tables does, seen by curl behind the proxy."""
    page = lab.curl(child, '-A', 'KEY', 'https://weather.example/page')
    sent = lab.curl(child, '-A', 'KEY', 'https://weather.example/echo')
    if 'delay' in words:
        begin = time.monotonic()
        lab.curl(child, 'https://weather.example/page')
        check(time.monotonic() - begin >= 0.3, 'it takes its time')
    elif 'inject' in words:
        like(page, b'<script>.*mine', 'the page')
    elif 'set-header' in words:
        like(sent, rb'User-Agent: me\s', 'at the server')
    elif 'swap' in words:
        like(sent, rb'User-Agent: SECRET\s', 'at the server')
    elif 'edit' in words:
        like(lab.curl(child, 'https://weather.example/api'),
             b'"admin": true', 'the JSON')
    elif 'jq' in words:
        like(lab.curl(child, 'https://weather.example/api'),
             rb'^{\n  "user": "me",\n', 'the JSON')
    elif 'block' in words:
        like(lab.curl(child, '-D', '-', 'https://ads.example/'),
             rb'(?m)^HTTP/1.1 403 ', 'the answer')
    elif 'map-local' in words:
        equal(lab.curl(child, 'https://example.com/js/a.js'), b'mine', 'file')
    elif 'map-remote' in words:
        equal(lab.curl(child, 'https://a.org/api/tls'), b'no TLS\n', 'there')
    elif 'fuzz' not in words:
        equal(page, PAGE.replace(b'cloud', b'clown')
              if 'template.py' in words else PAGE, 'the page')
    if 'observe' in words or 'fields' in words:
        wait_for(lambda: re.search(
            rb'Server: ' if 'fields' in words else rb"#1 response 'HTTP/1.1",
            slurp(child.output)), 'what it shows')
    if 'save' in words:
        har, replay = re.findall(r'(?m)^\| `(filters/.*?)` \|', README)
        lab.run(har)
        check('https://weather.example/page' in
              slurp(lab.file('all.har')).decode(), 'the URL in the HAR')
        like(lab.run('mitmproxy -q -- ' + replay),
             rb'^HTTP/1.1 200 OK\r\n[^<]*' + PAGE, 'sent again')


@test('there are lines for the proxy in the tables')
def _():
    check(len(OPTIONS) > 15, 'lines', OPTIONS)


def try_out(words):
    for program in 'jq', 'perl':
        if program in words:
            need(program)
    with Lab() as lab:
        os.makedirs(lab.file('js'))
        lab.file('js/a.js', b'mine')
        lab.file('spy.js', b'mine')
        lab.file('key', b'SECRET\n')
        if './coprocess' in words:
            command(need('cc'), '-O2', '-o', lab.file('coprocess'),
                    lab.file('filters/coprocess.c'), status=0)
        words = words.replace('127.0.0.1:8000', '127.0.0.1:%d' % lab.port)
        with lab.proxy('mitmproxy ' + words) as child:
            if 'trap' not in words:
                effect(words, lab, child)


for words in OPTIONS:
    test('the proxy with ' + words)(lambda words=words: try_out(words))


run()
