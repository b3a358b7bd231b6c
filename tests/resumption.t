#!/usr/bin/env python3
"""TLS sessions are resumed, towards clients and towards servers, and what
cannot be resumed begins anew without anybody noticing."""
import base64
from mitm import *

VERSIONS = {'1.2': ssl.TLSVersion.TLSv1_2, '1.3': ssl.TLSVersion.TLSv1_3}


def s_client(proxy, origin, *words):
    """One GET by openssl s_client through the proxy: what it printed."""
    text = command('openssl', 's_client', '-proxy',
                   '127.0.0.1:%d' % proxy.port, '-connect', origin.auth,
                   '-servername', 'localhost', '-CAfile', proxy.ca,
                   '-verify_return_error', '-ign_eof', *words,
                   stdin=get('/', 'Connection: close'), status=0).decode()
    like(text, r'(?m)^page', 'the page')
    return text


def page():
    return answer(reply(b'\npage\n', 'Connection: close'))


def reused(text):
    """Whether a session was, of the first handshake it speaks of."""
    return re.search(r'(?m)^(Reused|New), TLSv1\.\d', text)[1] == 'Reused'


def hits(origin):
    """Handshakes of the origin's that resumed a session."""
    return origin.context.session_stats()['hits']


for ours in VERSIONS:
    for theirs in VERSIONS:
        @test('both sides, client with TLS %s, server with %s'
              % (ours, theirs))
        def _(ours=ours, theirs=theirs):
            with Origin(page(), tls=True, version=VERSIONS[theirs]) as \
                    origin, Proxy() as proxy:
                flag, kept = '-tls' + ours.replace('.', '_'), scratch('sess')
                text = s_client(proxy, origin, flag, '-sess_out', kept)
                check(not reused(text), 'the first client resumes', text)
                equal(hits(origin), 0, 'sessions resumed by the first')
                for n in 1, 2:
                    text = s_client(proxy, origin, flag, '-sess_in', kept)
                    check(reused(text), 'the client does not resume', text)
                    equal(hits(origin), n, 'sessions resumed at the server')


@test('s_client -reconnect')
def _():
    with Origin(tls=True) as origin, Proxy() as proxy:
        text = command('openssl', 's_client', '-reconnect', '-proxy',
                       '127.0.0.1:%d' % proxy.port, '-connect', origin.auth,
                       '-CAfile', proxy.ca, '-tls1_2').decode()
        equal(re.findall('(?m)^(New|Reused), TLS', text),
              ['New'] + ['Reused'] * 5, 'handshakes')


def sockets(session):
    """How many descriptors each process of a session has."""
    return {pid: len(os.listdir('/proc/%d/fd' % pid))
            for pid in alive(session)}


@test('what one worker gave, another takes')
def _():
    with Origin(answer(reply(b'page')), tls=True) as origin, \
            Proxy('-j', '3') as proxy:
        def started():
            counts = sockets(proxy.pid)
            counts.pop(proxy.pid)
            return len(counts) == 3 and len(set(counts.values())) == 1
        wait_for(started, 'three workers that are alike')
        for version in VERSIONS.values():
            context = client_context(proxy.ca, version)
            before = sockets(proxy.pid)
            conn = proxy.tunnel(origin).start_tls(context, 'localhost')
            conn.send(get('/'))
            conn.read_message()
            busy = [pid for pid, n in sockets(proxy.pid).items()
                    if n > before.get(pid, n)]
            equal(len(busy), 1, 'workers that have more descriptors')
            os.kill(busy[0], signal.SIGSTOP)
            try:
                other = proxy.tunnel(origin).start_tls(
                    context, 'localhost', conn.tls.session)
                check(other.tls.session_reused, 'it is not resumed')
            finally:
                os.kill(busy[0], signal.SIGCONT)


@test('a ticket of a proxy that was started anew: a full handshake')
def _():
    ca, kept = scratch('cert.pem'), scratch('sess')
    for flag in '-tls1_2', '-tls1_3':
        with Origin(page(), tls=True) as origin:
            with Proxy(ca=ca) as proxy:
                s_client(proxy, origin, flag, '-sess_out', kept)
            with Proxy(ca=ca) as proxy:
                text = s_client(proxy, origin, flag, '-sess_in', kept)
                check(not reused(text), 'it resumes', text)


@test('a ticket that is damaged, or not ours: a full handshake')
def _():
    kept = scratch('sess')
    with Origin(page(), tls=True) as origin, Proxy() as proxy:
        for flag in '-tls1_2', '-tls1_3':
            s_client(proxy, origin, flag, '-sess_out', kept)
            der = bytearray(base64.b64decode(
                b''.join(slurp(kept).splitlines()[1:-1])))
            ticket = ticket_of(kept)
            at = der.index(ticket)
            for i in None, at, at + len(ticket) // 2, at + len(ticket) - 1:
                spoilt = bytearray(der)
                if i is not None:       # else it must resume, as a control
                    spoilt[i] ^= 1
                other = scratch('sess', b'-----BEGIN SSL SESSION PARAMETERS-'
                                b'----\n' + base64.encodebytes(spoilt)
                                + b'-----END SSL SESSION PARAMETERS-----\n')
                text = s_client(proxy, origin, flag, '-sess_in', other)
                equal(reused(text), i is None, 'whether it resumes')


def ticket_of(kept):
    """The ticket in a file of -sess_out."""
    text = openssl('sess_id', '-in', kept, '-noout', '-text').decode()
    rows = re.findall(r'(?m)^    [0-9a-f]{4} - ((?:[0-9a-f]{2}[ -]){1,16})',
                      text)
    return bytes.fromhex(re.sub('[ -]', '', ''.join(rows)))


for groups in 'P-256', 'X448:P-256':    # of which we have no X448: ask again
    @test("early data, with a ticket of the server's own: sent again (%s)"
          % groups)
    def _(groups=groups):
        leaf, port, kept = make_leaf(), free_port(), scratch('sess')
        early = scratch('early', get('/' + 20000 * 'e', 'X: early'))
        with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                     '-early_data', '-max_early_data', '60000',
                     '-cert', leaf, '-key', leaf, ready='ACCEPT'):
            with running('openssl', 's_client', '-connect',
                         '127.0.0.1:%d' % port, '-sess_out', kept):
                wait_for(lambda: os.path.exists(kept) and os.stat(kept).st_size
                         > 0, 'a ticket')
        with Origin(page(), tls=True) as origin, Proxy() as proxy:
            text = s_client(proxy, origin, '-groups', groups, '-sess_in', kept,
                            '-early_data', early)
            like(text, 'Early data was rejected', 'what became of them')
            unlike(origin.rx, b'early', 'what the server got')


# ------------------------------------------------------ towards servers

@contextlib.contextmanager
def s_server(port, *words):
    """openssl s_server, whose page tells of the session."""
    leaf = make_leaf()
    with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                 '-www', '-cert', leaf, '-key', leaf, *words,
                 ready='ACCEPT'):
        yield 'https://localhost:%d/' % port


for words in ('-tls1_2',), ('-tls1_3',), ('-tls1_2', '-no_ticket'), \
        ('-tls1_3', '-no_ticket'):
    @test('with openssl s_server %s' % ' '.join(words))
    def _(words=words):
        with s_server(free_port(), *words) as url, Proxy() as proxy:
            check(not reused(proxy.curl(url).decode()), 'the first resumes')
            for n in 1, 2:
                text = proxy.curl(url).decode()
                check(reused(text), 'number %d does not resume' % (n + 1),
                      text)


for before, after in ('1.2', '1.2'), ('1.3', '1.3'), ('1.3', '1.2'), \
        ('1.2', '1.3'):
    @test('a server that forgot its sessions: TLS %s before, %s after'
          % (before, after))
    def _(before=before, after=after):
        port = free_port()
        with Proxy() as proxy:
            for version in before, after:
                with s_server(port, '-tls' + version.replace('.', '_')) \
                        as url:
                    check(not reused(proxy.curl(url).decode()),
                          'the first resumes')
                    check(reused(proxy.curl(url).decode()),
                          'the second does not resume')
            unlike(proxy.log(), 'error page|cut off', 'what is said of it')


@test('another server name is another session')
def _():
    with Origin(answer(reply(b'x')), tls=True) as origin, Proxy() as proxy:
        for name in 'localhost', 'origin.test', 'localhost':
            client = proxy.tls(origin, name)
            client.send(get('/'))
            client.read_message()
            client.finish()
        equal(hits(origin), 1, 'sessions resumed')


run()
