#!/usr/bin/env python3
"""WebSocket with a real client and server: those of Node's ws."""
from mitm import *

ENV = dict(os.environ, NODE_PATH='/usr/share/nodejs')


def need_ws():
    need('node')
    if subprocess.run(['node', '-e', 'require("ws")'], env=ENV,
                      stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip('there is no module ws (Debian: node-ws)')


for scheme in ('http', 'https'):
    @test('10,000 messages, a large one, a close, through ' + scheme)
    def _(scheme=scheme):
        need_ws()
        cert = key = make_leaf()
        with Proxy('--request', 'sed s/message/spoilt/', '--response',
                   'sed s/message/spoilt/') as proxy:
            done = subprocess.run(
                ['node', os.path.join(HERE, 'websocket-ws.js'), scheme,
                 str(proxy.port), proxy.ca, cert, key], env=ENV,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=4 * DEADLINE)
            equal(done.stdout.decode(), 'good\n', 'what it printed')


run()
