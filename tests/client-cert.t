#!/usr/bin/env python3
"""-E and --key: a certificate for servers that want one of their clients."""
from mitm import *


def client(kind='ec', ca='Client CA', name='Ann'):
    """A client's certificate and key, in a file of its own each."""
    path = scratch('client')
    new = {'ec': EC, 'rsa': ('-newkey', 'rsa:2048', '-nodes'),
           'p384': ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384',
                    '-nodes')}[kind]
    signer = make_ca(ca)
    openssl('req', '-new', *new, '-subj', '/O=Users/CN=' + name,
            '-keyout', path + '.key', '-out', path + '.csr')
    openssl('x509', '-req', '-in', path + '.csr', '-CA', signer, '-CAkey',
            signer[:-4] + '.key', '-days', '5', '-set_serial', '5',
            '-out', path + '.crt')
    return path + '.crt', path + '.key'


def wanting(origin):
    """The origin, made to want a certificate of the Client CA."""
    origin.context.verify_mode = ssl.CERT_REQUIRED
    origin.context.load_verify_locations(make_ca('Client CA'))
    return origin


def who(conn):
    """Answers each request with the name that the client has proved."""
    while wait_message(conn):
        conn.read_message()
        subject = (conn.tls.getpeercert() or {}).get('subject', ())
        conn.send(reply(repr([v for part in subject
                              for k, v in part if k == 'commonName'])
                        .encode()))


VERSIONS = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

for kind in 'ec', 'p384', 'rsa':
    for version in VERSIONS:
        @test('a server that wants one: %s, %s' % (kind, version.name))
        def _(kind=kind, version=version):
            cert, key = client(kind)
            both = scratch('both.pem', slurp(key) + slurp(cert))
            with wanting(Origin(who, tls=True, version=version)) as origin:
                for words in (('--cert', cert, '--key', key), ('-E', both)):
                    with Proxy(*words) as proxy:
                        for _ in range(2):  # the second resumes
                            equal(proxy.fetch(origin).body, b"['Ann']",
                                  'who the server takes us for')
                equal(origin.context.session_stats()['hits'], 2, 'resumed')


for flag in '-tls1_2', '-tls1_3':
    @test('openssl s_server -Verify, ' + flag)
    def _(flag=flag):
        (cert, key), leaf, port = client(), make_leaf(), free_port()
        with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                     '-www', '-cert', leaf, '-key', leaf, flag, '-Verify', '1',
                     '-verify_return_error', '-CAfile', make_ca('Client CA'),
                     ready='ACCEPT'), Proxy('-E', cert, '--key', key) as proxy:
            like(proxy.curl('https://localhost:%d/' % port),
                 rb'Client certificate\n(?s:.*)Subject: O ?= ?Users, CN ?= ?A',
                 'the page of s_server')


@test('a server that asks for it late, by renegotiation')
def _():
    (cert, key), leaf, port = client(), make_leaf(), free_port()
    for words in (), ('-E', cert, '--key', key):
        with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                     '-cert', leaf, '-key', leaf, '-tls1_2', '-CAfile',
                     make_ca('Client CA'), ready='ACCEPT') as child, \
                Proxy(*words) as proxy:
            conn = proxy.tls('localhost:%d' % port)

            def says(regex):
                wait_for(lambda: re.search(regex, slurp(child.output), re.S),
                         repr(regex) + ' of s_server')
            conn.send(get('/one'))
            says(b'GET /one')
            child.stdin.write(b'R\n')
            child.stdin.flush()
            says(b'SSL_do_handshake -> 1')
            child.stdin.write(reply(b''))
            child.stdin.flush()
            equal(conn.read_message().status, 200, 'the status')
            conn.send(get('/two'))
            says(b'GET /two')
            text = slurp(child.output)
            equal(b'O = Users, CN = Ann' in text or b'O=Users, CN=Ann' in text,
                  words != (), 'whether it is shown')


@test('nginx with ssl_verify_client, and a chain')
def _():
    program, home, port = need('nginx'), directory(), free_port()
    middle = scratch('middle.pem')
    root = make_ca('Client CA')
    openssl('req', '-new', *EC, '-subj', '/CN=Middle', '-keyout',
            middle[:-4] + '.key', '-out', middle + '.csr')
    openssl('x509', '-req', '-in', middle + '.csr', '-CA', root, '-CAkey',
            root[:-4] + '.key', '-set_serial', '9', '-extfile',
            scratch('ext', 'basicConstraints=critical,CA:TRUE\n'),
            '-out', middle)
    make_ca('Middle')                   # a name for it ...
    from mitm import _made
    _made['Middle'] = middle            # ... and it itself
    cert, key = client(ca='Middle')
    chain = scratch('chain.pem', slurp(cert) + slurp(middle))
    conf = scratch('nginx.conf', '''
        daemon off; master_process off; pid %(home)s/pid; events {}
        error_log stderr;
        http {
            access_log off; client_body_temp_path %(home)s/t1;
            proxy_temp_path %(home)s/t2; fastcgi_temp_path %(home)s/t3;
            uwsgi_temp_path %(home)s/t4; scgi_temp_path %(home)s/t5;
            server {
                listen 127.0.0.1:%(port)d ssl; server_name localhost;
                ssl_certificate %(leaf)s; ssl_certificate_key %(leaf)s;
                ssl_client_certificate %(ca)s; ssl_verify_client on;
                ssl_verify_depth 3;
                location / { return 200 "$ssl_client_s_dn"; }
            }
        }''' % dict(home=home, port=port, leaf=make_leaf(), ca=root))
    with running(program, '-p', home, '-c', conf, '-e', 'stderr') as child:
        listens(port, child)
        url = 'https://localhost:%d/' % port
        with Proxy('-E', chain, '--key', key) as proxy:
            equal(proxy.curl(url), b'CN=Ann,O=Users', 'the page')
        with Proxy('-E', cert, '--key', key) as proxy:
            like(proxy.curl(url), rb'400 The SSL certificate error',
                 'the page without the chain')
        with Proxy() as proxy:
            like(proxy.curl(url), rb'400 No required SSL certificate',
                 'the page without a certificate')


@test('a key from a pipe whose writer takes its time')
def _():
    cert, key = client()
    text, pipe = slurp(key), scratch('pipe')
    os.mkfifo(pipe)
    fd = os.open(pipe, os.O_RDWR)       # as who opens it waits for nobody
    os.write(fd, text[:100])

    def rest():
        wait_for(lambda: not select.select([fd], [], [], 0)[0], 'it is read')
        os.write(fd, text[100:])
        os.close(fd)
    work = thread(rest)
    with wanting(Origin(who, tls=True)) as origin, \
            Proxy('-E', cert, '--key', pipe) as proxy:
        equal(proxy.fetch(origin).body, b"['Ann']", 'who it takes us for')
    work.result()


@test('a server that does not ask is not shown it')
def _():
    cert, key = client()
    with Origin(who, tls=True) as origin, \
            Proxy('-E', cert, '--key', key) as proxy:
        equal(proxy.fetch(origin).body, b'[]', 'who the server takes us for')


for version, late in ((v, late) for v in VERSIONS for late in (0, 1)):
    @test('a page says so when it is missing or wrong, %s%s' % (
        version.name, ', to a client that takes its time' if late else ''))
    def _(version=version, late=late):
        cert, key = client(ca='Another CA')
        with Origin(who, tls=True) as other, \
                wanting(Origin(who, tls=True, version=version)) as origin:
            for n, words in enumerate(((), ('-E', cert, '--key', key))):
                with Proxy(*words) as proxy:
                    conn = proxy.tls(origin)
                    if late:            # the server has ended by then
                        wait_for(lambda: len(origin.errors) > n, 'its error')
                        proxy.fetch(other)
                    conn.send(get('/'))
                    response = conn.read_message()
                    equal(response.status, 502, 'the status')
                    like(response.body.decode(), r'alert', 'why')


@test('a key that makes no signature that the server takes')
def _():
    (cert, key), leaf, port = client(), make_leaf(), free_port()
    with running('openssl', 's_server', '-accept', '127.0.0.1:%d' % port,
                 '-www', '-cert', leaf, '-key', leaf, '-tls1_3', '-verify', '1',
                 '-client_sigalgs', 'RSA-PSS+SHA256', ready='ACCEPT'), \
            Proxy('-E', cert, '--key', key) as proxy:
        like(proxy.curl('https://localhost:%d/' % port),
             rb"it takes no signature of the kind that --cert's key makes",
             'the page')


@test('from SOCKS and reverse mode, too')
def _():
    cert, key = client()
    words = '-E', cert, '--key', key
    with wanting(Origin(who, tls=True)) as origin:
        with Proxy('-m', 'reverse:' + origin.url()[:-1], *words) as proxy:
            equal(command('curl', '-sS', '--noproxy', '*',
                          'http://127.0.0.1:%d/' % proxy.port), b"['Ann']",
                  'reverse')
        with Proxy(*words) as proxy:
            equal(command('curl', '-sS', '--noproxy', '', '--cacert', proxy.ca,
                          '--socks5-hostname', '127.0.0.1:%d' % proxy.port,
                          origin.url()), b"['Ann']", 'SOCKS')


# ------------------------------------------------------ what is not right

def ends(want, *words, status=1):
    """The program ends at once, with one line that is like this."""
    got, _, err = mitmproxy('-p', '0', '--ca', scratch('cert.pem'), *words)
    equal(got, status, 'the exit status')
    lines = [line for line in err.splitlines() if 'made a CA' not in line]
    equal(len(lines), 1, 'lines of error: ' + err)
    like(lines[0], want, 'the line')


for kind in 'pkcs8', 'traditional':
    @test('an encrypted key, ' + kind)
    def _(kind=kind):
        cert, key = client()
        locked = scratch('locked.key')
        if kind == 'pkcs8':
            openssl('pkcs8', '-topk8', '-in', key, '-out', locked,
                    '-passout', 'pass:secret')
        else:
            openssl('ec', '-in', key, '-out', locked, '-aes128', '-passout',
                    'pass:secret')
        ends(r'%s\b.*encrypted' % re.escape(locked), '-E', cert, '--key',
             locked)
        both = scratch('both.pem', slurp(cert) + slurp(locked))
        ends(r'%s\b.*encrypted' % re.escape(both), '-E', both)


@test('a key that is not that of the certificate')
def _():
    for kind in 'ec', 'rsa':
        (cert, _), (_, key) = client(), client(kind)
        ends(r'%s\b.*not that of its certificate' % re.escape(key), '-E',
             cert, '--key', key)


@test('files that are not there, or not what they should be')
def _():
    cert, key = client()
    ends('cannot read /no/such.pem: No such file', '-E', '/no/such.pem')
    ends('cannot read /no/such.key: No such file', '-E', cert, '--key',
         '/no/such.key')
    ends('cannot read ' + re.escape(SCRATCH), '-E', SCRATCH)
    ends('no certificate', '-E', scratch('text', 'hello\n'))
    ends('no certificate', '-E', scratch('empty', ''))
    ends('no certificate', '-E', key)
    ends('no private key', '-E', cert)
    ends('no private key', '-E', cert, '--key', scratch('text', 'hello\n'))
    ends('--key', '--key', key, status=2)


@test('a certificate that has expired is told at the start')
def _():
    for days, told in (-1, True), (5, False):
        with Proxy('--cert', make_leaf('/CN=Ann', days)) as proxy:
            equal('has expired' in proxy.log(), told, 'the line')


run()
