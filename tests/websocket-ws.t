#!/usr/bin/env python3
"""WebSocket with real clients and servers, through the proxy and its filters:
those of Node's ws, and of Python's websockets, both of which would compress."""
from mitm import *

ENV = dict(os.environ, NODE_PATH='/usr/share/nodejs')
# Filters that see the messages; some that do not; a large message's bytes.
SPOIL = ('--request', 'sed s/message/spoilt/',
         '--response', 'sed s/message/spoilt/')
COPROCESS = script(r'''
#!/usr/bin/env python3
import sys
for line in sys.stdin.buffer:
    data = sys.stdin.buffer.read(int(line.split()[0]))
    data = data.replace(sys.argv[1].encode(), sys.argv[2].encode())
    sys.stdout.buffer.write(b'%d\n%s' % (len(data), data))
    sys.stdout.buffer.flush()
''', 'coprocess')
CHANGE = ('--match', '~w', '--coprocess', '--request',
          COPROCESS + ' message massage',
          '--match', '~w', '--coprocess', '--response', COPROCESS + ' massage sausage')
WAYS = (('no filter for them', SPOIL, 3 << 20, 'message', 0),
        ('coprocesses', CHANGE, 1 << 20, 'sausage', 2))


def need_ws():
    need('node')
    if subprocess.run(['node', '-e', 'require("ws")'], env=ENV,
                      stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip('there is no module ws (Debian: node-ws)')


def python():
    """A Python that has websockets."""
    for name in (sys.executable, '/usr/bin/python3'):
        if os.path.exists(name) and subprocess.run(
                [name, '-c', 'import websockets'],
                stderr=subprocess.DEVNULL).returncode == 0:
            return name
    raise Skip('there is no module websockets (Debian: python3-websockets)')


for name, program in (('ws', 'websocket-ws.js'),
                      ('websockets', 'websocket-websockets.py')):
    for scheme in ('http', 'https'):
        for how, filters, large, word, coprocesses in WAYS:
            @test('%s: 10,000 messages, a large one, a close, by %s, %s'
                  % (name, scheme, how))
            def _(program=program, scheme=scheme, filters=filters,
                  large=large, word=word, coprocesses=coprocesses):
                if program.endswith('.js'):
                    need_ws()
                runs = 'node' if program.endswith('.js') else python()
                cert = key = make_leaf()
                with Proxy(*filters, coprocesses=coprocesses) as proxy:
                    done = subprocess.run(
                        [runs, os.path.join(HERE, program), scheme,
                         str(proxy.port), proxy.ca, cert, key, str(large),
                         word], env=ENV, stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, timeout=4 * DEADLINE)
                    equal(done.stdout.decode(), 'good\n', 'what it printed')


run()
