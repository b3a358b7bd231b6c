#!/usr/bin/env python3
"""lab/origin.py DIR: servers to play with, on one free port of this machine.

Makes a CA (DIR/root.pem) and certificates in DIR, says "port N" when it
listens, and serves until it is killed.  The name that a client asks for in TLS
decides which certificate it is shown:

    weather.example, www.weather.example   a good one, and for any other name
    other.example, api.example, ...        another good one
    unknown.example                        of a CA that nobody knows
    wrong.example                          for another name
    expired.example                        good until yesterday

Without TLS it serves the same pages.  It appends the first line of each request
to DIR/got.  Of its pages:

    /page     HTML                  /chunks   the same in chunks
    /api      JSON                  /events   an event, and a second later another
    /echo     the request's head    /tls      what the server knows of the TLS
    /login    who logs in, by "Authorization: Bearer SECRET"
    /NAME     a line of text about NAME
"""
import contextlib, http.server, os, socket, ssl, subprocess, sys, time

WEATHER = 'one cloud over the hills, no cloud over the sea'
SERVERS = {     # the name in TLS: subject, names, CA, days
    'weather.example': ('/O=Weather Inc/CN=weather.example',
                        'DNS:weather.example,DNS:www.weather.example',
                        'root', 60),
    'other.example': ('/CN=other.example', 'DNS:other.example,'
                      'DNS:api.example,DNS:bank.example', 'root', 60),
    'unknown.example': ('/CN=unknown.example', 'DNS:unknown.example',
                        'unknown', 60),
    'wrong.example': ('/CN=right.example', 'DNS:right.example', 'root', 60),
    'expired.example': ('/CN=expired.example', 'DNS:expired.example',
                        'root', -1),
}
EC = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes')


# ---- certificates

def openssl(*words):
    done = subprocess.run(('openssl', *words), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit('openssl %s: %s' % (words[0], done.stdout.decode()))
    return done.stdout


def make_ca(name, subject):
    """NAME.pem, NAME.key: a CA of its own making."""
    openssl('req', '-x509', *EC, '-days', '90', '-subj', subject,
            '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
            '-keyout', name + '.key', '-out', name + '.pem')


def make_server(name, subject, names, ca, days):
    """A context in which a server shows this certificate."""
    lasts = '-days', str(days)
    if days < 0 and b'-not_after' in openssl('x509', '-help'):
        day = [time.strftime('%Y%m%d%H%M%SZ', time.gmtime(time.time() + d))
               for d in (86400 * (days - 30), 86400 * days)]
        lasts = '-not_before', day[0], '-not_after', day[1]
    openssl('req', *EC, '-subj', subject, '-keyout', name + '.key',
            '-out', name + '.csr')
    with open(name + '.ext', 'w') as f:
        f.write('subjectAltName=%s\n' % names)
    openssl('x509', '-req', '-in', name + '.csr', '-extfile', name + '.ext',
            '-CA', ca + '.pem', '-CAkey', ca + '.key', *lasts,
            '-set_serial', str(time.time_ns()), '-out', name + '.pem')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(name + '.pem', name + '.key')
    context.set_alpn_protocols(['http/1.1'])
    return context


# ---- pages

class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = -1                       # head and body in one piece

    def do_GET(self):
        with open('got', 'a') as f:
            f.write(self.requestline + '\n')
        name = self.path[1:]
        page = getattr(self, 'page_' + name, None)
        if page:
            page()
        else:
            self.answer('%s: %s.\n' % (name.capitalize(), WEATHER))

    def answer(self, text, kind='text/plain', status=200):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def page_page(self):
        self.answer('<title>Weather</title><p>%s</p>\n' % WEATHER,
                    'text/html')

    def chunks(self, parts, kind, pause=0):
        self.send_response(200)
        self.send_header('Content-Type', kind)
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        for part in parts:
            self.wfile.write(b'%x\r\n%s\r\n' % (len(part), part.encode()))
            self.wfile.flush()
            time.sleep(pause if part is not parts[-1] else 0)
        self.wfile.write(b'0\r\n\r\n')

    def page_chunks(self):
        self.chunks([WEATHER[:18], WEATHER[18:] + '\n'], 'text/plain')

    def page_events(self):
        self.chunks(['data: one cloud\n\n', 'data: no cloud\n\n'],
                    'text/event-stream', 1)

    def page_api(self):
        self.answer('{"user": "me", "admin": false}\n', 'application/json')

    def page_echo(self):
        self.answer(self.requestline + '\n' + str(self.headers))

    def page_login(self):
        given = self.headers.get('Authorization', '')
        good = given == 'Bearer SECRET'
        self.answer('welcome, %s\n' % given if good else 'who are you?\n',
                    status=200 if good else 401)

    def page_tls(self):
        tls = self.connection
        self.answer('%s, %s, SNI %s, ALPN %s, %s\n' % (
            tls.version(), tls.cipher()[0], getattr(tls, 'name', None),
            tls.selected_alpn_protocol(),
            'resumed' if tls.session_reused else 'a full handshake')
            if isinstance(tls, ssl.SSLSocket) else 'no TLS\n')

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def finish_request(self, conn, address):
        """One connection, in a thread of its own: TLS begins with byte 22."""
        with contextlib.suppress(OSError):
            if conn.recv(1, socket.MSG_PEEK) == b'\x16':
                conn = self.contexts['weather.example'].wrap_socket(
                    conn, server_side=True)
            Page(conn, address, self)
            if isinstance(conn, ssl.SSLSocket):
                conn.unwrap()
        conn.close()

    def choose(self, conn, name, _):
        """The context for the name in the ClientHello."""
        conn.name = name
        name = {'api.example': 'other.example',
                'bank.example': 'other.example'}.get(name, name)
        conn.context = self.contexts.get(name, conn.context)


def main():
    os.umask(0o077)
    os.makedirs(sys.argv[1], exist_ok=True)
    os.chdir(sys.argv[1])
    make_ca('root', '/O=Lab/CN=Lab Root CA')
    make_ca('unknown', '/O=Nobody/CN=Unknown CA')
    server = Server(('127.0.0.1', 0), Page)
    server.contexts = {name: make_server(name, *rest)
                       for name, rest in SERVERS.items()}
    server.contexts['weather.example'].sni_callback = server.choose
    print('port', server.server_port, flush=True)
    server.serve_forever()


if __name__ == '__main__':
    main()
