/* origin.c: the server behind the proxies. GET /N is answered with N bytes of
   text, kept alive, over plain TCP and over TLS; and after an upgrade to
   WebSocket each short frame of a client's with its echo. Nothing else is
   understood.
   One loop, so that it takes little of the machine that is being measured.

       build/bench/origin CERTIFICATE-AND-KEY.pem

   It prints two ports, plain and TLS, and serves until standard input ends.
   It listens on ::1 too where it can: some proxies try that first. */
#define _GNU_SOURCE                             /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int fd;
    int listens;                /* 1: plain, 2: TLS; 0: a client */
    SSL *ssl;
    char in[4096];              /* the head of a request so far */
    size_t in_n;
    char head[256];             /* of the answer, or a frame */
    int upgraded;               /* it speaks WebSocket now */
    size_t head_n, head_at;
    unsigned long long body;    /* bytes of it that are still to be sent */
};

static int poller;
static SSL_CTX *tls;
static char text[65536];        /* lines of 64 bytes */

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(struct client *c, int op, unsigned events)
{
    struct epoll_event e = { .events = events, .data.ptr = c };
    if (epoll_ctl(poller, op, c->fd, &e))
        fail("epoll_ctl");
}

static void client_free(struct client *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}

/* Waits for what OpenSSL, or else the socket, asked for. 0: the end. */
static int client_wait(struct client *c, int n, unsigned plain)
{
    unsigned want = plain;

    if (c->ssl) {
        int e = SSL_get_error(c->ssl, n);
        ERR_clear_error();
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            return 0;
        want = e == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
    } else if (n == 0 || errno != EAGAIN)
        return 0;
    watch(c, EPOLL_CTL_MOD, want);
    return 1;
}

/* The next piece of the answer in buf: the head and the body's first bytes
   together, as a server does that wants few packets. */
static size_t answer_piece(struct client *c, char *buf, size_t room)
{
    size_t n = c->head_n - c->head_at;
    memcpy(buf, c->head + c->head_at, n);
    size_t more = c->body < room - n ? c->body : room - n;
    memcpy(buf + n, text, more);
    return n + more;
}

static void answer_sent(struct client *c, size_t n)
{
    size_t head = c->head_n - c->head_at;
    if (head > n)
        head = n;
    c->head_at += head;
    c->body -= n - head;
}

/* Answers the first frame that has come; 0: it has not come whole. */
static int echo_frame(struct client *c)
{
    unsigned char *in = (unsigned char *)c->in;
    size_t n = in[1] & 127;

    if (c->in_n < 6 || c->in_n < 6 + n)
        return 0;
    c->head[0] = (char)in[0];
    c->head[1] = (char)n;
    for (size_t i = 0; i < n; i++)
        c->head[2 + i] = (char)(in[6 + i] ^ in[2 + i % 4]);
    c->head_at = 0;
    c->head_n = 2 + n;
    c->in_n -= 6 + n;
    memmove(in, in + 6 + n, c->in_n);
    return 1;
}

/* Reads and answers until there is nothing to do; frees c at its end. */
static void client_step(struct client *c)
{
    static char buf[65536];

    for (;;) {
        int n;

        while (c->head_at < c->head_n || c->body > 0) {
            size_t want = answer_piece(c, buf, c->ssl ? 16384 : sizeof buf);
            n = c->ssl ? SSL_write(c->ssl, buf, (int)want)
                       : (int)send(c->fd, buf, want, MSG_NOSIGNAL);
            if (n <= 0) {
                if (!client_wait(c, n, EPOLLOUT))
                    client_free(c);
                return;
            }
            answer_sent(c, (size_t)n);
        }

        if (c->upgraded && echo_frame(c))
            continue;
        size_t room = sizeof c->in - 1 - c->in_n;
        n = c->ssl ? SSL_read(c->ssl, c->in + c->in_n, (int)room)
                   : (int)recv(c->fd, c->in + c->in_n, room, 0);
        if (n <= 0) {
            if (!client_wait(c, n, EPOLLIN))
                client_free(c);
            return;
        }
        c->in[c->in_n += (size_t)n] = 0;
        if (c->upgraded)
            continue;
        if (!strstr(c->in, "\r\n\r\n"))
            continue;
        c->in_n = 0;
        char *slash = strchr(c->in, '/');
        c->body = slash ? strtoull(slash + 1, NULL, 10) : 0;
        c->head_at = 0;
        c->upgraded = strstr(c->in, "\r\nUpgrade: websocket") != NULL;
        if (c->upgraded) {
            c->head_n = (size_t)snprintf(c->head, sizeof c->head,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Accept: "
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
            c->body = 0;
            continue;
        }
        c->head_n = (size_t)snprintf(c->head, sizeof c->head,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
            "Cache-Control: no-store\r\nContent-Length: %llu\r\n\r\n",
            c->body);
    }
}

static void client_new(int listener, int with_tls)
{
    int one = 1, fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct client *c = calloc(1, sizeof *c);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        if (with_tls) {
            c->ssl = SSL_new(tls);
            SSL_set_fd(c->ssl, fd);
            SSL_set_accept_state(c->ssl);
        }
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int listen_on(int port, int which)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
        .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    socklen_t n = sizeof a;
    struct client *c = calloc(1, sizeof *c), *c6 = calloc(1, sizeof *c6);

    c->listens = c6->listens = which;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(c->fd, (void *)&a, n) || listen(c->fd, 4096)
        || getsockname(c->fd, (void *)&a, &n))
        fail("listen");
    watch(c, EPOLL_CTL_ADD, EPOLLIN);

    a6.sin6_port = a.sin_port;
    c6->fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c6->fd >= 0 && !bind(c6->fd, (void *)&a6, sizeof a6)
        && !listen(c6->fd, 4096))
        watch(c6, EPOLL_CTL_ADD, EPOLLIN);
    return ntohs(a.sin_port);
}

static int choose_alpn(SSL *s, const unsigned char **out, unsigned char *outn,
                       const unsigned char *in, unsigned n, void *arg)
{
    (void)s;
    (void)arg;
    return SSL_select_next_proto((unsigned char **)out, outn,
                                 (const unsigned char *)"\x08http/1.1", 9,
                                 in, n) == OPENSSL_NPN_NEGOTIATED
           ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    struct rlimit files;
    struct client in = { .fd = 0 };

    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 64 == 63 ? '\n' : 'a';

    tls = SSL_CTX_new(TLS_server_method());
    if (argc != 2 || SSL_CTX_use_certificate_chain_file(tls, argv[1]) != 1
        || SSL_CTX_use_PrivateKey_file(tls, argv[1], SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "usage: origin CERTIFICATE-AND-KEY.pem\n");
        return 2;
    }
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE
                     | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                     | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_id_context(tls, (const unsigned char *)"origin", 6);
    SSL_CTX_set_alpn_select_cb(tls, choose_alpn, NULL);

    poller = epoll_create1(EPOLL_CLOEXEC);
    int plain = listen_on(0, 1), secure = listen_on(0, 2);
    printf("%d %d\n", plain, secure);
    fflush(stdout);
    watch(&in, EPOLL_CTL_ADD, EPOLLIN);

    for (;;) {
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c == &in)
                return 0;
            if (c->listens)
                client_new(c->fd, c->listens == 2);
            else
                client_step(c);
        }
    }
}
