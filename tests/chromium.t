#!/usr/bin/env python3
"""A browser that trusts the CA sees the filtered page."""
import ws
from browser import *


@test('the filtered page is seen, over TLS')
def _():
    page = (b'<!doctype html><title>t</title><p id=a>hello world</p>'
            b'<script src=/script.js></script>')
    code = b'document.getElementById("a").append(" and a script")'

    def serve(request):
        if b'/script.js' in request.start:
            return reply(code, 'Content-Type: text/javascript')
        return chunked(page[:20], page[20:],
                       fields=['Content-Type: text/html'])
    with Origin(answer(serve), tls=True) as origin, \
            Proxy('--match', '~t html', '--response',
                  'sed s/world/everybody/') as proxy:
        home = scratch('home')
        os.mkdir(home)
        like(visit(origin.url(), home, '--proxy-server=http://127.0.0.1:%d'
                   % proxy.port, *trust(proxy.ca, home)),
             rb'hello everybody and a script', 'the page')


@test('the messages of a page are filtered, over TLS')
def _():
    program = browser()
    page = (b'<!doctype html><title>t</title><p id=a></p><script>'
            b'var s = new WebSocket("wss://" + location.host + "/chat");'
            b's.onopen = function () { s.send("a cloud"); };'
            b's.onmessage = function (e) {'
            b' fetch("/result?" + encodeURIComponent(e.data)); };'
            b'</script>')
    heard, result = queue.Queue(), queue.Queue()

    def serve(conn):
        while wait_message(conn):
            request = conn.read_message()
            if b'/chat' not in request.start:
                if b'/result' in request.start:
                    result.put(request.start)
                conn.send(reply(page, 'Content-Type: text/html'))
                continue
            heard.put(request['sec-websocket-extensions'])
            conn.send(ws.accepted(request['sec-websocket-key']))
            opcode, text = ws.read_frame(conn)
            heard.put(text)
            conn.send(ws.frame(opcode, text + b' in the sun'))
            ws.Frame(conn)
    with Origin(serve, tls=True) as origin, \
            Proxy('--match', '~w', '--request', 'sed s/cloud/clown/',
                  '--match', '~w', '--response', 'sed s/sun/rain/') as proxy:
        home = scratch('home')
        os.mkdir(home)
        with running(program, *OPTIONS, '--remote-debugging-port=0',
                     '--user-data-dir=' + home + '/profile',
                     '--proxy-server=http://127.0.0.1:%d' % proxy.port,
                     *trust(proxy.ca, home), origin.url(), env={'HOME': home},
                     stdin=subprocess.DEVNULL):
            equal(heard.get(timeout=3 * DEADLINE), None, 'extensions')
            equal(heard.get(timeout=DEADLINE), b'a clown', 'the server')
            like(result.get(timeout=DEADLINE),
                 rb'a%20clown%20in%20the%20rain', 'the page')


run()
