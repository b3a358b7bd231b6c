"""What the behaviour tests share: TAP, a scratch directory, a throw-away CA,
the proxy under test, and a raw client and origin whose bytes are exact.
Python 3's standard library and the openssl command are all it needs.

    from mitm import *

    @test('a page arrives as it was sent')
    def _():
        page = reply(b'hello')
        with Origin(answer(page), tls=True) as origin, Proxy() as proxy:
            client = proxy.tls(origin)
            client.send(get('/'))
            equal(client.read_exact(len(page)), page, 'the page')

    run()

Nothing here sleeps to wait for something: each wait ends with its event, or
fails at the deadline.  The environment: MITMPROXY is the program under test
(mitmproxy at the root of the repository), MITMPROXY_QUICK the same, but with
seconds as long as SECOND says (build/mitmproxy-quick), MITM_DEADLINE the
seconds that one wait may take: 20, or more on a busy machine, as tests/speed
has measured; seconds that are short ones last longer there, too.  `NAME.t WORD`
runs the tests that have WORD in their name.
"""
import atexit, contextlib, os, queue, random, re, select, shutil, signal
import socket, ssl, struct, subprocess, sys, tempfile, threading, time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.abspath(os.environ.get(
    'MITMPROXY', os.path.join(HERE, '..', 'mitmproxy')))
QUICK = os.path.abspath(os.environ.get(
    'MITMPROXY_QUICK', os.path.join(HERE, '..', 'build', 'mitmproxy-quick')))
DEADLINE = float(os.environ.get('MITM_DEADLINE', 20))
SLOW = max(1, DEADLINE / 20)            # so much longer may all take
FILE_LIMIT = int(240 * SLOW)            # seconds for one file of tests
for number in signal.SIGHUP, signal.SIGINT, signal.SIGQUIT:
    if signal.getsignal(number) == signal.SIG_IGN:      # by nohup, or sh's &
        signal.signal(number, signal.SIG_DFL)
SCRATCH = tempfile.mkdtemp(prefix='mitmtest-')
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)


# ---------------------------------------------------------------- TAP

class Failed(Exception):
    """An expectation that was not met; its text is the diagnosis."""


class Skip(Exception):
    """This test cannot run here; its text is the reason."""


def show(data):
    """Bytes for a human: escaped, the middle of long ones left out."""
    if isinstance(data, bytearray):
        data = bytes(data)
    if isinstance(data, bytes) and len(data) > 2000:
        return '%r ... %r (%d bytes)' % (data[:900], data[-900:], len(data))
    return repr(data)


def equal(got, want, what):
    if got == want:
        return
    text = '%s\n  got:    %s\n  wanted: %s' % (what, show(got), show(want))
    if isinstance(got, (bytes, bytearray)) and isinstance(want, bytes):
        at = len(os.path.commonprefix([bytes(got), want]))
        text += '\n  they differ at byte %d' % at
    raise Failed(text)


def check(truth, what, *shown):
    if not truth:
        raise Failed('\n  '.join([what] + [show(s) for s in shown]))


def like(got, regex, what):
    """The regex is found in got (both str or both bytes)."""
    if not re.search(regex, got):
        raise Failed('%s\n  got:    %s\n  wanted: /%s/'
                     % (what, show(got), regex))


def unlike(got, regex, what):
    if re.search(regex, got):
        raise Failed('%s\n  got:      %s\n  unwanted: /%s/'
                     % (what, show(got), regex))


_tests = []


def test(name):
    """A decorator: the function is one test, called by run()."""
    def add(function):
        _tests.append((name, function))
        return function
    return add


def note(text):
    """A comment in the TAP output."""
    for line in str(text).splitlines():
        print('# ' + line)
    sys.stdout.flush()


def run():
    """Run the tests in order, print TAP, exit 1 if one failed."""
    if not os.access(PROGRAM, os.X_OK):
        print('Bail out!  There is no program %s: make it first' % PROGRAM)
        sys.exit(1)

    def stop(signum, _):
        signal.alarm(0)
        raise SystemExit('signal %d' % signum if signum != signal.SIGALRM
                         else 'more than %d s' % FILE_LIMIT)
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(s, stop)
    signal.alarm(FILE_LIMIT)
    chosen = [t for t in _tests
              if not sys.argv[1:] or re.search(sys.argv[1], t[0])]
    print('1..%d' % len(chosen), flush=True)
    failures = 0
    for number, (name, function) in enumerate(chosen, 1):
        start = time.monotonic()
        try:
            function()
            print('ok %d - %s' % (number, name))
        except Skip as reason:
            print('ok %d - %s # skip %s' % (number, name, reason))
        except Exception as error:
            failures += 1
            print('not ok %d - %s' % (number, name))
            note(error if isinstance(error, Failed)
                 else traceback.format_exc())
            for text in getattr(error, 'more', ()):
                note(text)
        if time.monotonic() - start > 5:
            note('took %.1f s' % (time.monotonic() - start))
        sys.stdout.flush()
    sys.exit(1 if failures else 0)


def wait_for(probe, what, seconds=None):
    """Call probe until it returns something true; return that."""
    until = time.monotonic() + (seconds or DEADLINE)
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > until:
            raise Failed('%s: not within %g s' % (what, seconds or DEADLINE))
        time.sleep(0.005)


def need(command):
    """The full name of a program; the test is skipped without it."""
    found = shutil.which(command, path=os.environ['PATH'] + ':/usr/sbin:/sbin')
    if not found:
        raise Skip('%s is not installed' % command)
    return found


_files = 0


def mounting(what):
    """The words before a command that alone sees what is mounted so."""
    words = [need('unshare'), '--mount', 'sh', '-c',
             'mount %s && exec "$@"' % what, 'sh']
    if os.geteuid():
        words.insert(1, '-r')
    if subprocess.call([*words, 'true'], stderr=subprocess.DEVNULL):
        raise Skip('here is no mount ' + what)
    return words


def small_disk(size):
    """A directory, and the words before a command for which it is a file
    system of this size (as mount has it)."""
    at = scratch('disk')
    os.mkdir(at)
    return at, mounting('-t tmpfs -o size=%s none %s' % (size, at))


def scratch(name='', content=None, mode=0o644):
    """A new name in the scratch directory; with content, a file."""
    global _files
    _files += 1
    path = os.path.join(SCRATCH, '%d-%s' % (_files, name))
    if content is not None:
        with open(path, 'wb') as f:
            f.write(content if isinstance(content, bytes)
                    else content.encode())
        os.chmod(path, mode)
    return path


def script(text, name='filter'):
    """An executable file, its first line saying what runs it."""
    return scratch(name, text.lstrip(), 0o755)


def slurp(path):
    with open(path, 'rb') as f:
        return f.read()


def command(*words, stdin=b'', env=None, status=None):
    """Run a command to its end: its output and its errors, together."""
    done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=2 * DEADLINE,
                          env=dict(os.environ, **(env or {})))
    check(status is None or done.returncode == status, '%s exits %s, not %s'
          % (words[0], done.returncode, status), done.stdout)
    return done.stdout


def directory(user='nobody'):
    """A new directory that is this user's: of a daemon which root starts and
    that will not stay root."""
    name = scratch('home')
    os.mkdir(name)
    if os.getuid() == 0:
        os.chmod(SCRATCH, 0o711)        # where keys are private files
        shutil.chown(name, user)
    return name


CLAIMS = []                             # of ports, while this process runs


def free_port():
    """A port on which nobody listens, and that no other test is given while
    this one runs: for what must be told its port beforehand. It is none of
    those that the kernel gives out, or anybody's socket could take it before
    it is used; a name in the abstract namespace claims it among tests."""
    with open('/proc/sys/net/ipv4/ip_local_port_range') as f:
        first, last = map(int, f.read().split())
    ports = [*range(10000, first), *range(last + 1, 65536)] \
        or range(10000, 65536)
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    for port in random.sample(ports, min(100, len(ports))):
        with contextlib.suppress(OSError), socket.socket(family) as s:
            claim = socket.socket(socket.AF_UNIX)
            claim.bind('\0mitmproxy-test-port-%d' % port)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(('', port))
            CLAIMS.append(claim)
            return port
    raise Failed('no free port outside of %d to %d' % (first, last))


@contextlib.contextmanager
def closed_port():
    """A port of 127.0.0.1 that refuses connections, and stays like that."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        yield s.getsockname()[1]


@contextlib.contextmanager
def deaf_port(port=0):
    """A port of 127.0.0.1 where no connection gets through."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(('127.0.0.1', port))
        listener.listen(0)              # a full queue drops all SYNs
        while True:
            conn = stack.enter_context(socket.socket())
            conn.setblocking(False)
            conn.connect_ex(listener.getsockname())
            if not select.select([], [conn], [], 0.2)[1]:
                break
        yield listener.getsockname()[1]


# ------------------------------------------------------- certificates

def openssl(*words, **more):
    """Run openssl; its standard output."""
    done = subprocess.run(('openssl',) + words, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60 * SLOW, **more)
    check(done.returncode == 0, 'openssl %s' % (words,), done.stderr)
    return done.stdout


EC = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes')
_made = {}


def rsa(exponent):
    """What makes openssl req make an RSA key with this public exponent."""
    return ('-newkey', 'rsa:2048', '-pkeyopt',
            'rsa_keygen_pubexp:%d' % exponent, '-nodes')


def make_ca(name='Origin CA', key=EC):
    """A CA: the name of its certificate (.pem); its key lies at .key."""
    if name not in _made:
        path = scratch('ca.pem')
        openssl('req', '-x509', *key, '-days', '30', '-subj', '/CN=' + name,
                '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
                '-keyout', path[:-4] + '.key', '-out', path)
        _made[name] = path
    return _made[name]


def make_leaf(subject='/O=Origin Works/CN=localhost', days=10,
              names='DNS:localhost,DNS:origin.test,IP:127.0.0.1,IP:::1',
              ca=None, key=EC):
    """A server certificate of the CA with its key, in one file."""
    ca = ca or make_ca()
    made = subject, days, names, ca, key
    if made not in _made:
        path = scratch('leaf.pem')
        request = path + '.csr'
        openssl('req', '-new', *key, '-subj', subject,
                '-keyout', path + '.key', '-out', request)
        extra = scratch('ext', 'subjectAltName=%s\n' % names)
        lasts = ('-days', str(days))
        if days < 0 and b'-not_after' in subprocess.run(
                ['openssl', 'x509', '-help'], stderr=subprocess.PIPE).stderr:
            lasts = ('-not_before', '20200101000000Z',  # newer openssl has
                     '-not_after', '20200102000000Z')   # no negative days
        openssl('x509', '-req', '-in', request, '-CA', ca, *lasts,
                '-CAkey', ca[:-4] + '.key', '-extfile', extra,
                '-set_serial', str(time.time_ns()), '-out', path)
        with open(path, 'ab') as f:
            f.write(slurp(path + '.key'))
        _made[made] = path
    return _made[made]


# -------------------------------------------------------- connections

class Message:
    """One HTTP message: .start (its first line), .fields [(name, value)],
    .head and .raw as they came, .body without chunks, .trailers, .end (what
    ended it: length, chunks, none, or how the connection did)."""

    def __init__(self, head):
        self.head = self.raw = head
        lines = re.split(rb'\r?\n', head.rstrip(b'\r\n'))
        self.start = lines[0]
        self.fields = [tuple(p.strip() for p in line.partition(b':')[::2])
                       for line in lines[1:]]
        self.body = self.trailers = b''

    def __getitem__(self, name):
        """The value of a field (bytes), or None."""
        for key, value in self.fields:
            if key.lower() == name.lower().encode():
                return value

    @property
    def status(self):
        return int(self.start.split()[1])


class Conn:
    """One end of a connection, with TLS over it or without.  .rx is all it
    received; .end tells how the other side ended, once it did:
      'eof'   properly: FIN, and with TLS close_notify before it
      'cut'   TLS only: FIN without close_notify
      'reset' RST;   'tls: ...' a TLS alert or error
    TLS runs over memory, so that each way can be ended by itself.  One
    thread reads: a second would wait for what the first has taken."""

    def __init__(self, sock):
        self.sock, self.tls, self.end = sock, None, None
        self.rx, self.buf = bytearray(), bytearray()
        self.lock, self.sending = threading.Lock(), threading.Lock()
        self.reading, self.ending = threading.Lock(), threading.Lock()
        sock.settimeout(DEADLINE)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # TLS

    def start_tls(self, context, name=None, session=None):
        """Handshake; name given: as a client that wants that server, and
        perhaps offers a session of the same context."""
        self.incoming, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.incoming.write(self.take(len(self.buf)))
        self.tls = context.wrap_bio(self.incoming, self.out,
                                    server_side=name is None,
                                    server_hostname=name, session=session)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                if not self.feed(time.monotonic() + DEADLINE):
                    raise Failed('the connection ended in the TLS handshake')
            except ssl.SSLError:
                self.flush()            # the alert
                raise
        self.flush()
        return self

    def flush(self):
        data = self.out.read()
        if data:
            with contextlib.suppress(OSError):
                self.sock.sendall(data)

    def feed(self, until):
        """Some wire bytes into TLS; False at the end of the wire."""
        data = self.receive(until)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return bool(data)

    # reading

    def receive(self, until):
        """Bytes of the wire, b'' at its end; TimeoutError."""
        left = until - time.monotonic()
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if not self.reading.acquire(blocking=False):
            raise RuntimeError('two threads read one connection')
        try:
            if not poll.poll(max(0, left * 1000)):
                raise TimeoutError
            return self.sock.recv(262144)
        except ConnectionError:
            self.end = 'reset'
            return b''
        finally:
            self.reading.release()

    def more(self, until=None):
        """Wait for bytes and keep them; b'' when there will be none."""
        until = until or time.monotonic() + DEADLINE
        while not self.end:
            if not self.tls:
                data = self.receive(until)
                if not data:
                    self.end = self.end or 'eof'
            else:
                data = b''
                try:
                    with self.lock:
                        data = self.tls.read(262144)
                    if not data:
                        self.end = 'eof'
                except ssl.SSLWantReadError:
                    self.feed(until)
                    if self.end == 'reset':
                        break
                    continue
                except ssl.SSLZeroReturnError:
                    self.end = 'eof'
                except ssl.SSLError as error:
                    self.end = ('cut' if isinstance(error, ssl.SSLEOFError)
                                or 'EOF' in str(error)
                                else 'tls: ' + str(error))
            self.rx += data
            self.buf += data
            return data
        return b''

    def wait(self, enough, what):
        """Read until enough() is true."""
        until = time.monotonic() + DEADLINE
        while not enough():
            try:
                if not self.more(until):
                    raise Failed('waiting for %s, the other side ended (%s)'
                                 '\n  received: %s'
                                 % (what, self.end, show(self.buf)))
            except TimeoutError:
                raise Failed('%s did not come in %g s\n  received: %s'
                             % (what, DEADLINE, show(self.buf))) from None

    def take(self, n):
        data = bytes(self.buf[:n])
        del self.buf[:n]
        return data

    def read_exact(self, n):
        self.wait(lambda: len(self.buf) >= n, '%d bytes' % n)
        return self.take(n)

    def read_until(self, mark):
        """Up to and including the mark."""
        self.wait(lambda: mark in self.buf, repr(mark))
        return self.take(self.buf.index(mark) + len(mark))

    def read_head(self):
        """Up to and including the empty line."""
        return self.read_until(b'\r\n\r\n')

    def read_all(self):
        """All that comes until the other side ends."""
        try:
            while self.more():
                pass
        except TimeoutError:
            raise Failed('the other side did not end in %g s\n  received: %s'
                         % (DEADLINE, show(self.buf))) from None
        return self.take(len(self.buf))

    def swallow(self):
        """Read to the end and keep nothing; how many bytes it was."""
        total = 0
        while self.more():
            total += len(self.buf)
            self.buf.clear()
            self.rx.clear()
        return total

    def silent(self, seconds):
        """Does nothing come for so long?  (Only to catch a wrong byte.)"""
        try:
            while not self.buf and not self.end:
                self.more(time.monotonic() + seconds)
            return False
        except TimeoutError:
            return True

    def read_message(self, bodiless=False):
        """One message whose framing is sane.  bodiless: answers a HEAD."""
        m = Message(self.read_head())
        coding, length = m['transfer-encoding'], m['content-length']
        response = m.start.startswith(b'HTTP/')
        if bodiless or response and (m.status < 200
                                     or m.status in (204, 304)):
            m.end = 'none'
        elif coding:
            m.end = 'chunks'
            while True:
                line = self.read_until(b'\r\n')
                m.raw += line
                size = int(line.split(b';')[0], 16)
                if not size:
                    break
                data = self.read_exact(size + 2)
                m.raw += data
                equal(data[-2:], b'\r\n', 'the end of a chunk')
                m.body += data[:-2]
            while True:
                line = self.read_until(b'\r\n')
                m.raw += line
                if line == b'\r\n':
                    break
                m.trailers += line
        elif length:
            m.end = 'length'
            m.body = self.read_exact(int(length))
            m.raw += m.body
        elif response:
            m.body = self.read_all()
            m.raw += m.body
            m.end = self.end
        else:
            m.end = 'none'
        return m

    # writing

    def send(self, data, step=0):
        """All of it, or in pieces of step bytes."""
        with self.sending:
            for i in range(0, len(data), step or max(1, len(data))):
                piece = data[i:i + step] if step else data
                if self.tls:
                    with self.lock:
                        self.tls.write(piece)
                        piece = self.out.read()
                self.sock.sendall(piece)
                if step:                # let the other side run
                    time.sleep(0.0002)
        return self

    def pour(self, data, times):
        """Send data many times; False if the other side left first."""
        try:
            for _ in range(times):
                self.send(data)
            return True
        except OSError:
            return False

    def shutdown_write(self):
        """End our way properly; the other way stays open."""
        if self.tls:
            with self.sending, self.lock:
                with contextlib.suppress(ssl.SSLError):
                    self.tls.unwrap()
                self.flush()
        self.cut()

    def cut(self):
        """FIN alone: with TLS this is a truncation."""
        with self.ending, contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def finish(self):
        """End properly and close."""
        self.shutdown_write()
        self.close()

    def close(self):
        # shutdown() wakes a thread that waits for it; none may be in a call
        # when the descriptor goes, which the next connection may get
        with self.ending, contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with self.sending, self.reading, self.ending:
            self.sock.close()

    def reset(self):
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack('ii', 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def strict_ends(context):
    """The context, made to tell a cut from an end: early Python 3.11 takes
    FIN without close_notify for an end unless it is told not to."""
    context.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0x80)
    return context


def client_context(ca, version=None, strict=True, alpn=None):
    """Checks as Python 3.13 does by default, in every version."""
    context = strict_ends(ssl.create_default_context(cafile=ca))
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


# ------------------------------------------------------------ messages

def get(target, *fields, host='localhost', method='GET'):
    """The bytes of a request."""
    lines = ['%s %s HTTP/1.1' % (method, target), 'Host: ' + host]
    return '\r\n'.join(lines + list(fields) + ['', '']).encode('latin-1')


def reply(body=b'', *fields, status='200 OK'):
    """The bytes of a response with Content-Length."""
    lines = ['HTTP/1.1 ' + status, 'Content-Length: %d' % len(body)]
    return ('\r\n'.join(lines + list(fields) + ['', '']).encode('latin-1')
            + body)


def chunked(*chunks, trailers=b'', fields=(), status='200 OK'):
    """The bytes of a chunked response."""
    lines = ['HTTP/1.1 ' + status, 'Transfer-Encoding: chunked', *fields]
    return ('\r\n'.join(lines + ['', '']).encode('latin-1')
            + b''.join(b'%x\r\n%s\r\n' % (len(c), c) for c in chunks)
            + b'0\r\n' + trailers + b'\r\n')


# -------------------------------------------------------------- origin

_origins = []


class Origin:
    """A server of raw bytes on a free port.  Each connection is given to
    behave(conn) in a thread of its own and closed properly behind it;
    without behave it waits in a queue for next()."""

    def __init__(self, behave=None, tls=False, cert=None, host='127.0.0.1',
                 name='localhost', version=None, alpn=None, port=0):
        self.behave, self.conns, self.errors = behave, [], []
        self.threads = []
        self.tls, self.waiting = tls, queue.Queue()
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        self.listener = socket.socket(family)
        if port:                        # else any that never was
            self.listener.setsockopt(socket.SOL_SOCKET,
                                     socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        self.name = name
        shown = '[%s]' % name if ':' in name else name
        self.auth = '%s:%d' % (shown, self.port)
        if tls:
            self.context = strict_ends(
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self.context.load_cert_chain(cert or make_leaf())
            if version:
                self.context.minimum_version = version
                self.context.maximum_version = version
            if alpn:
                self.context.set_alpn_protocols(alpn)
        _origins.append(self)
        threading.Thread(target=self.accept, daemon=True).start()

    def url(self, path='/'):
        return '%s://%s%s' % ('https' if self.tls else 'http', self.auth,
                              path)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                conn = Conn(self.listener.accept()[0])
                self.conns.append(conn)
                self.threads.append(threading.Thread(
                    target=self.serve, args=(conn,), daemon=True))
                self.threads[-1].start()

    def serve(self, conn):
        try:
            if self.tls:
                conn.start_tls(self.context)
            if not self.behave:
                self.waiting.put(conn)
                return
            self.behave(conn)
            conn.finish()
        except Exception as error:
            self.errors.append(error)
            conn.close()
            self.waiting.put(error)

    def next(self):
        """The next connection, ready to use."""
        try:
            conn = self.waiting.get(timeout=DEADLINE)
        except queue.Empty:
            raise Failed('no connection at the origin') from None
        if isinstance(conn, Exception):
            raise Failed('at the origin: %r' % conn)
        return conn

    @property
    def rx(self):
        """All bytes received, of all connections, in their order."""
        return b''.join(bytes(c.rx) for c in self.conns)

    def wait_ends(self):
        """Until behave() has returned for every connection there was."""
        until = time.monotonic() + 2 * DEADLINE
        for served in list(self.threads):
            served.join(until - time.monotonic())
            check(not served.is_alive(), 'the origin is still busy')

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()
        if self in _origins:
            _origins.remove(self)

    def hang_up(self):
        for conn in self.conns:
            conn.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        self.close()
        if error is not None and self.errors:
            tell(error, 'at the origin: ' + '; '.join(
                str(e) or repr(e) for e in self.errors))


def tell(error, text):
    """Add to the diagnosis of an error."""
    error.more = getattr(error, 'more', []) + [text]


def answer(*replies):
    """For Origin: answer each request with the next reply, the last one
    for ever; a reply may be a function of the request that returns one."""
    def behave(conn):
        count = 0
        while wait_message(conn):
            request = conn.read_message()
            text = replies[min(count, len(replies) - 1)]
            conn.send(text(request) if callable(text) else text)
            count += 1
    return behave


def wait_message(conn):
    """Wait for the first byte of a message; False at the end."""
    with contextlib.suppress(TimeoutError):
        return bool(conn.buf or conn.more())
    return False


# --------------------------------------------------------------- proxy

def processes(session):
    """What runs in a session: {pid: (state, command)}; qemu-user is not told."""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            text = slurp('/proc/%s/stat' % pid).decode('latin-1')
            words = text[text.rindex(')') + 2:].split()
            if int(words[3]) == session:
                command = slurp('/proc/%s/cmdline' % pid).replace(b'\0', b' ')
                command = re.sub(rb'^\S*/qemu-\S+ ', b'', command)
                found[int(pid)] = (words[0], command.decode('latin-1'))
        except (OSError, ValueError):
            pass
    return found


def alive(session):
    """The same without those that only wait to be reaped by init."""
    return [pid for pid, (state, _) in processes(session).items()
            if state != 'Z']


def mitmproxy(*args, **more):
    """Run the program to its end: (status, stdout, stderr)."""
    done = subprocess.run([PROGRAM, *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          timeout=DEADLINE, **more)
    return (done.returncode, done.stdout.decode('latin-1'),
            done.stderr.decode('latin-1'))


def sanitized():
    """Is the program built with AddressSanitizer?  (Its memory is big.)"""
    return b'__asan_init' in slurp(PROGRAM)


class Proxy:
    """The program under test on a free port.  On leaving, it must end with
    status 0 at SIGTERM and have given back its descriptors and children."""

    program = PROGRAM

    def __init__(self, *args, env=None, ca=None, trust=None, stdout=None,
                 coprocesses=0, prefix=(), program=PROGRAM, second=None):
        self.program, env = program, env or {}
        if second is not None:          # so long are its seconds
            if second < 1:
                second *= min(SLOW, 4)
            self.program, env = QUICK, {'SECOND': str(second), **env}
            if not os.access(QUICK, os.X_OK):
                raise Skip('there is no ' + QUICK)
        self.coprocesses = coprocesses  # at most, that may stay
        self.ca = ca or scratch('cert.pem')
        self.out_name, self.err_name = scratch('stdout'), scratch('stderr')
        self.clients, self.stopped = [], False
        command = [*prefix, self.program, '-p', '0', '--ca', self.ca]
        if trust is not False:
            command += ['--cacert', trust or make_ca()]
        with open(self.out_name, 'wb') as out, \
                open(self.err_name, 'wb') as err:
            self.process = subprocess.Popen(
                command + list(args), stdin=subprocess.DEVNULL,
                stdout=stdout or out, stderr=err, start_new_session=True,
                env=dict(os.environ, **env))
        self.pid = self.process.pid
        try:
            self.port = int(self.wait_log(
                r'mitmproxy: listening on \S+:(\d+)\n').group(1))
        except BaseException as error:
            self.kill()
            tell(error, 'stderr: ' + self.log())
            raise
        self.idle = self.descriptors()

    # what it printed

    def log(self):
        return slurp(self.err_name).decode('latin-1')

    def out(self):
        return slurp(self.out_name).decode('latin-1')

    def wait_log(self, regex, seconds=None, read=None):
        """Wait for a line in its standard error; the match."""
        read = read or self.log

        def probe():
            ended = self.process.poll() is not None     # before the last look
            found = re.search(regex, read())
            if not found and ended:
                raise Failed('the proxy ended (status %d) before /%s/\n'
                             '  it said: %s' % (self.process.returncode,
                                                regex, read()))
            return found
        try:
            return wait_for(probe, '/%s/' % regex, seconds)
        except Failed as error:
            raise Failed('%s\n  it printed: %s' % (error, read())) from None

    def wait_out(self, regex, seconds=None):
        """The same in its standard output."""
        return self.wait_log(regex, seconds, self.out)

    # what it uses

    def descriptors(self):
        return len(os.listdir('/proc/%d/fd' % self.pid))

    def memory(self, field='VmRSS'):
        """In bytes; VmHWM is the highest it was."""
        text = slurp('/proc/%d/status' % self.pid).decode()
        return int(re.search(field + r':\s+(\d+)', text).group(1)) * 1024

    def children(self):
        """Its filters: [(pid, state, command)].  Helpers that look up names
        are the program itself; they may stay, with two pipes each."""
        return [(pid, state, command)
                for pid, (state, command) in processes(self.pid).items()
                if state == 'Z' or not command.startswith(self.program + ' ')]

    def helpers(self):
        return len(processes(self.pid)) - len(self.children()) - 1

    # clients

    def connect(self):
        """A bare connection to the proxy's port."""
        conn = Conn(socket.create_connection(('127.0.0.1', self.port),
                                             DEADLINE))
        self.clients.append(conn)
        return conn

    def tunnel(self, origin):
        """A connection behind CONNECT; origin is an Origin or HOST:PORT."""
        auth = getattr(origin, 'auth', origin)
        conn = self.connect()
        conn.send(get(auth, host=auth, method='CONNECT'))
        head = conn.read_head()
        like(head, rb'^HTTP/1\.[01] 200 ', 'the answer to CONNECT ' + auth)
        return conn

    def tls(self, origin, name=None, **more):
        """The same with TLS inside, the certificate checked."""
        conn = self.tunnel(origin)
        return conn.start_tls(client_context(self.ca, **more),
                              name or getattr(origin, 'name', 'localhost'))

    def fetch(self, origin, request=None):
        """One request in a connection of its own: the response."""
        conn = self.tls(origin) if origin.tls else self.tunnel(origin)
        request = request or get('/')
        conn.send(request)
        response = conn.read_message(request.startswith(b'HEAD '))
        conn.finish()
        return response

    def curl(self, *args, status=0):
        """curl through the proxy; its standard output."""
        done = subprocess.run(
            [need('curl'), '-sS', '--noproxy', '', '--max-time',
             str(int(3 * DEADLINE)), '-x', 'http://127.0.0.1:%d' % self.port,
             '--cacert', self.ca, *args],   # 32 MiB may go through qemu
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=4 * DEADLINE)
        check(done.returncode == status, 'curl exits %d, not %d'
              % (done.returncode, status), done.stderr, done.stdout)
        return done.stdout

    # the end

    def settled(self):
        """No filter is left, and no descriptor that was not there before.
        Coprocesses stay, with two pipes each."""
        stay = self.children() if self.coprocesses else []
        return (len(stay) <= self.coprocesses
                and (self.coprocesses or not self.children())
                and all(state != 'Z' for _, state, _ in stay)
                and self.descriptors() <= (self.idle + 2 * self.helpers()
                                           + 2 * len(stay)))

    def stop(self):
        """Ask it to end; check that it ends well and leaves nothing."""
        for conn in self.clients:
            conn.close()
        for origin in _origins:
            origin.hang_up()
        if self.process.poll() is None:
            try:
                wait_for(lambda: self.process.poll() is not None
                         or self.settled(), 'all connections and filters ended')
            except Failed as error:
                fds = '/proc/%d/fd' % self.pid
                raise Failed('%s\n  idle: %d descriptors, %d helpers\n'
                             '  now: %s\n  %s' % (
                                 error, self.idle, self.helpers(),
                                 [os.readlink(os.path.join(fds, n))
                                  for n in os.listdir(fds)],
                                 processes(self.pid))) from None
            self.process.terminate()
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise Failed('SIGTERM does not end the proxy') from None
        equal(status, 0, 'exit status of the proxy')
        wait_for(lambda: not alive(self.pid), 'the end of its children')

    def kill(self):
        """End it and all its children at once."""
        for pid in list(processes(self.pid)) + [self.pid]:
            if pid == self.pid and self.process.returncode is not None:
                continue
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pid in processes(self.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        try:
            if error is None:
                self.stop()
            else:
                tell(error, 'the proxy said: ' + self.log()[-3000:])
        except BaseException as late:
            tell(late, 'the proxy said: ' + self.log()[-3000:])
            raise
        finally:
            for conn in self.clients:
                conn.close()
            self.kill()


def listens(port, child=None):
    """Wait until something listens there, which is the child's doing."""
    def probe():
        check(not child or child.poll() is None, 'it ended',
              slurp(child.output) if child else '')
        with contextlib.suppress(OSError):
            socket.create_connection(('127.0.0.1', port), 1).close()
            return True
    wait_for(probe, 'a server on port %d' % port)


@contextlib.contextmanager
def running(*command, ready=None, env=None, stdin=subprocess.PIPE):
    """Another program (openssl s_server, nginx), ended on leaving.  Its
    output goes to the file .output; ready is a regex to wait for there."""
    name = scratch('output')
    with open(name, 'wb') as out:
        child = subprocess.Popen(command, stdin=stdin, stdout=out,
                                 stderr=subprocess.STDOUT,
                                 start_new_session=True,
                                 env=dict(os.environ, **(env or {})))
    child.output = name
    try:
        if ready:
            def probe():
                check(child.poll() is None, '%s ended' % command[0],
                      slurp(name))
                return re.search(ready, slurp(name).decode('latin-1'))
            child.match = wait_for(probe, '%s ready' % command[0])
        yield child
    finally:
        for pid in list(processes(child.pid)) + [child.pid]:
            if child.returncode is None or pid != child.pid:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        if child.stdin:
            with contextlib.suppress(OSError):
                child.stdin.close()
        child.wait()


def thread(function, *args):
    """Start a daemon thread; .result() waits and returns or raises."""
    box = queue.Queue()

    def work():
        try:
            box.put((function(*args), None))
        except BaseException as error:
            box.put((None, error))
    worker = threading.Thread(target=work, daemon=True)
    worker.start()

    def result(seconds=None):
        try:
            value, error = box.get(timeout=seconds or 3 * DEADLINE)
        except queue.Empty:
            raise Failed('a thread of the test hangs') from None
        if error:
            raise error
        return value
    worker.result = result
    return worker
