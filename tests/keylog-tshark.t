#!/usr/bin/env python3
"""SSLKEYLOGFILE: with it, tshark reads a capture of both sides."""
from mitm import *


@contextlib.contextmanager
def capture(*ports):
    """What passes on these ports of loopback goes to a file: its name.  A
    datagram marks the beginning and the end, since a capture starts when it
    likes and writes when it likes."""
    name = scratch('capture.pcapng')
    os.close(os.open(name, os.O_CREAT))
    with socket.socket(type=socket.SOCK_DGRAM) as sink:
        sink.bind(('127.0.0.1', 0))

        def mark(text):
            sink.sendto(text, sink.getsockname())
            return text in slurp(name)
        rule = 'udp port %d' % sink.getsockname()[1]
        rule += ''.join(' or tcp port %d' % port for port in ports)
        with running(need('dumpcap'), '-q', '-i', 'lo', '-f', rule, '-w',
                     name) as child:
            def begun():
                if child.poll() is not None:
                    raise Skip('dumpcap may not capture, or cannot')
                return mark(b'mark: begin')
            wait_for(begun, 'the capture')
            yield name
            wait_for(lambda: mark(b'mark: end'), 'the end of the capture')


def tshark(capture, keys, *words):
    """What tshark makes of HTTP in a capture: [(port, words)]."""
    text = subprocess.run(
        [need('tshark'), '-r', capture, '-o', 'tls.keylog_file:' + keys,
         *words, '-Y', 'tls && http && !(http.request.method == "CONNECT")',
         '-T', 'fields', '-E', 'separator=/t', '-e', 'tcp.srcport', '-e',
         'tcp.dstport', '-e', 'http.request.method', '-e',
         'http.request.uri', '-e', 'http.file_data'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=3 * DEADLINE).stdout.decode()
    return [line.rstrip().split('\t') for line in text.splitlines()]


def plain(field):
    """A field of tshark's: newer ones print file data in hex."""
    with contextlib.suppress(ValueError):
        return bytes.fromhex(field).decode()
    return field


for version in 'TLSv1_2', 'TLSv1_3':
    for mode in 'reverse', 'CONNECT':
        @test('%s, both sides, %s, a full handshake and a resumed one'
              % (version, mode))
        def _(version=version, mode=mode):
            need('tshark')
            number = ssl.TLSVersion[version]
            keys = scratch('keys')
            with Origin(answer(lambda r: reply(r.start[::-1])), tls=True,
                        version=number) as origin, \
                    Proxy(*(('-m', 'reverse:' + origin.url()[:-1])
                            if mode == 'reverse' else ()),
                          '--request', 'sed s/one/two/',
                          '--response', 'sed s/TEG/PUT/',
                          env={'SSLKEYLOGFILE': keys}) as proxy:
                with capture(proxy.port, origin.port) as name:
                    context = client_context(proxy.ca, number)
                    session = None
                    for _ in range(2):
                        session = fetch(proxy, origin, mode, context,
                                        session)
                equal(origin.context.session_stats()['hits'], 1,
                      'sessions resumed at the server')
                ours, theirs = str(proxy.port), str(origin.port)
                seen = tshark(name, keys, '-d', 'tcp.port==%s,tls' % theirs,
                              '-d', 'tcp.port==%s,%s' % (
                                  ours, 'tls' if mode == 'reverse'
                                  else 'http'))
                asked = [(r[1], r[3]) for r in seen if r[2:3] and r[2]]
                told = [(r[0], plain(r[4])) for r in seen if len(r) > 4]
                equal(sorted(asked), sorted(
                    [(ours, '/one'), (theirs, '/two')] * 2), 'requests')
                equal(sorted(told), sorted(
                    [(theirs, '1.1/PTTH owt/ TEG'),
                     (ours, '1.1/PTTH owt/ PUT')] * 2), 'responses')


def fetch(proxy, origin, mode, context, session):
    """GET /one, offering a session; the session to offer next."""
    conn = proxy.connect() if mode == 'reverse' else proxy.tunnel(origin)
    conn.start_tls(context, 'localhost', session)
    conn.send(get('/one'))
    conn.read_message()
    equal(conn.tls.session_reused, bool(session), 'whether it resumes')
    session = conn.tls.session
    conn.finish()
    return session


run()
