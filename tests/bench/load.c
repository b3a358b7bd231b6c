/* load.c: clients for the benchmark. It keeps CONNECTIONS busy at once, each
   with one request after another, and measures how long each took.

       build/bench/load [options] PORT HOST:PORT PATH

   PORT is the proxy's, HOST:PORT the origin's name for it.
     -c N    connections at once (16)
     -t S    seconds to work (1)
     -n N    messages at most
     -s      TLS: CONNECT, then TLS inside
     -d      PORT is no proxy for the client's eyes: a transparent one, or the
             origin itself. No CONNECT, no absolute target
     -f      a new connection for each message, TLS handshakes in full
     -r      the same, resumed
     -w      hold: open the connections, one request on each, and no more
     -x      when the time is up, cut the message that runs (for bulk)
     -W      WebSocket: messages of 64 bytes, each waits for its echo

   Connections are opened, and used once for a small message, before the
   clock starts. Then it says "ready" and waits for a line on standard input,
   so that its caller can read the proxy's CPU time before and after. The
   result is one line of JSON; times are in microseconds. It stays until its
   standard input ends.

   The certificate is not verified (that would be our time, not the proxy's)
   but its issuer is told: that shows whether TLS was opened at all. */
#define _GNU_SOURCE                             /* memmem */
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
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state {
    CLOSED,
    CONNECTING,                 /* for the socket to be writable */
    ASKING,                     /* to send CONNECT */
    ASKED,                      /* for the answer to CONNECT */
    SHAKING,                    /* for the TLS handshake */
    SENDING,                    /* to send the request */
    HEAD,                       /* for the head of the answer */
    BODY,                       /* for the rest of it */
    IDLE                        /* for the next request to be due */
};

struct conn {
    enum state state;
    int fd;
    SSL *ssl;
    unsigned watched;           /* what epoll was told */
    int reading;                /* the wait is for reading, not writing */
    char out[512];              /* CONNECT, or the request */
    size_t out_n, out_at;
    char head[8192];            /* the answer's head so far */
    size_t head_n;
    long long left;             /* of the body */
    int chunked, last;          /* ends with an empty chunk; closes then */
    int upgraded;               /* has shaken hands, with -W */
    char tail[5];               /* the last bytes seen, of a chunked body */
    double began;
};

/* What was asked for. */
static int port, conns = 16, secure, direct, fresh, resume, hold, cut, ws;
static long most = -1;
static double seconds = 1;
static const char *origin, *path, *host;

/* What came of it. */
static float *took;
static size_t n, room;
static long started, resumed, failed, reopened;
static unsigned long long bytes;
static char why[256], issuer[256], version[32];

static int poller, warming = 1;
static SSL_CTX *tls;
static SSL_SESSION *session;    /* the latest ticket, with -r */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void conn_watch(struct conn *c, unsigned events)
{
    struct epoll_event e = { .events = events, .data.ptr = c };
    if (c->watched == events)
        return;
    if (epoll_ctl(poller, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd,
                  &e))
        fail("epoll_ctl");
    c->watched = events;
}

static void conn_close(struct conn *c)
{
    if (c->ssl) {
        if (SSL_is_init_finished(c->ssl))
            SSL_shutdown(c->ssl);       /* sends close_notify, waits not */
        SSL_free(c->ssl);
        ERR_clear_error();
    }
    if (c->fd >= 0)
        close(c->fd);
    c->ssl = NULL;
    c->fd = -1;
    c->state = CLOSED;
}

static void conn_fail(struct conn *c, const char *reason)
{
    static const char *doing[] = { "closed", "connecting", "CONNECT",
        "CONNECT", "handshake", "sending", "head", "body", "idle" };
    if (!failed++)
        snprintf(why, sizeof why, "%s: %.200s", doing[c->state], reason);
    conn_close(c);
}

static void conn_open(struct conn *c)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1;

    memset(c, 0, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    c->began = now();
    if (connect(c->fd, (void *)&a, sizeof a) && errno != EINPROGRESS)
        conn_fail(c, strerror(errno));
    else
        conn_watch(c, EPOLLOUT);
}

/* Bytes moved; 0 at the end of the connection or an error, with why in
   *reason; -1: must wait, for what c->reading says. */
static int conn_io(struct conn *c, int reads, void *buf, size_t len,
                   const char **reason)
{
    int r;

    if (c->ssl && c->state != ASKING && c->state != ASKED) {
        r = reads ? SSL_read(c->ssl, buf, (int)len)
                  : SSL_write(c->ssl, buf, (int)len);
        if (r > 0)
            return r;
        int e = SSL_get_error(c->ssl, r);
        c->reading = e == SSL_ERROR_WANT_READ;
        if (c->reading || e == SSL_ERROR_WANT_WRITE)
            return -1;
        *reason = ERR_peek_error() ? ERR_reason_error_string(ERR_peek_error())
                                   : "the proxy closed";
        ERR_clear_error();
        return 0;
    }
    r = (int)(reads ? recv(c->fd, buf, len, 0)
                    : send(c->fd, buf, len, MSG_NOSIGNAL));
    c->reading = reads;
    if (r < 0 && errno == EAGAIN)
        return -1;
    *reason = r < 0 ? strerror(errno) : "the proxy closed";
    return r < 0 ? 0 : r;
}

static void want_connect(struct conn *c)
{
    c->out_n = (size_t)snprintf(c->out, sizeof c->out,
        "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", origin, origin);
    c->out_at = c->head_n = 0;
    c->state = ASKING;
}

static void want_tls(struct conn *c)
{
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, host);
    SSL_set_connect_state(c->ssl);
    if (resume && session)
        SSL_set_session(c->ssl, session);
    c->state = SHAKING;
}

/* The handshake of WebSocket, and then one masked frame at a time. */
static void want_frame(struct conn *c)
{
    c->out_n = 2 + 4 + 64;
    memset(c->out, 'a', c->out_n);
    memcpy(c->out, "\x81\xc0\0\0\0\0", 6);
    if (!c->upgraded)
        c->out_n = (size_t)snprintf(c->out, sizeof c->out,
            "GET %s%s/ HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            secure || direct ? "" : "http://", secure || direct ? "" : origin,
            origin);
    c->out_at = c->head_n = 0;
    c->left = 2 + 64;
    c->state = SENDING;
    c->began = now();
}

/* A small message first, so that bulk does not warm up with bulk. */
static void want_request(struct conn *c)
{
    if (ws) {
        want_frame(c);
        return;
    }
    c->out_n = (size_t)snprintf(c->out, sizeof c->out,
        "GET %s%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n"
        "Accept: */*\r\n\r\n",
        secure || direct ? "" : "http://", secure || direct ? "" : origin,
        warming ? "/1024" : path, origin);
    c->out_at = c->head_n = 0;
    c->state = SENDING;
    if (!fresh)
        c->began = now();
}

/* The field's value in the head, or NULL. */
static const char *field(struct conn *c, const char *name)
{
    char *p = strcasestr(c->head, name);
    return p ? p + strlen(name) : NULL;
}

static void learn_tls(struct conn *c)
{
    resumed += !warming && SSL_session_reused(c->ssl);
    if (issuer[0])
        return;
    snprintf(version, sizeof version, "%s", SSL_get_version(c->ssl));
    X509 *x = SSL_get1_peer_certificate(c->ssl);
    if (x)
        X509_NAME_oneline(X509_get_issuer_name(x), issuer, sizeof issuer);
    X509_free(x);
    for (char *p = issuer; *p; p++)             /* it goes into JSON */
        if (*p == '"' || *p == '\\')
            *p = '\'';
}

/* Counts body bytes. 1: that was the end of the answer. */
static int body_seen(struct conn *c, const char *p, size_t len)
{
    if (!warming)
        bytes += len;
    if (!c->chunked)
        return (c->left -= (long long)len) <= 0;
    size_t keep = len < 5 ? len : 5;            /* "0\r\n\r\n" ends it */
    memmove(c->tail, c->tail + keep, 5 - keep);
    memcpy(c->tail + 5 - keep, p + len - keep, keep);
    return !memcmp(c->tail, "0\r\n\r\n", 5);
}

/* The head is complete: 1 when the body, too, came with it; -1: failed. */
static int head_seen(struct conn *c)
{
    char *end = memmem(c->head, c->head_n, "\r\n\r\n", 4);
    size_t rest = c->head_n - (size_t)(end + 4 - c->head);
    const char *length, *close_it;

    *end = 0;
    if (ws && !strncmp(c->head + 8, " 101", 4))
        return c->upgraded = 1;
    if (strncmp(c->head, "HTTP/1.", 7) || strncmp(c->head + 8, " 200", 4)) {
        c->head[strcspn(c->head, "\r\n\"\\")] = 0;
        conn_fail(c, c->head);
        return -1;
    }
    length = field(c, "\r\nContent-Length: ");
    close_it = field(c, "\r\nConnection: ");
    c->last = close_it && !strncasecmp(close_it, "close", 5);
    c->chunked = field(c, "\r\nTransfer-Encoding: chunked") != NULL;
    c->left = length ? atoll(length) : 0;
    if (!length && !c->chunked) {
        conn_fail(c, "an answer of unknown length");
        return -1;
    }
    c->state = BODY;
    memset(c->tail, 0, 5);
    return rest || !c->left ? body_seen(c, end + 4, rest) : 0;
}

static void message_done(struct conn *c)
{
    if (!warming) {
        if (n == room) {
            room = room ? 2 * room : 4096;
            if (!(took = realloc(took, room * sizeof *took)))
                fail("realloc");
        }
        took[n++] = (float)((now() - c->began) * 1e6);
    }
    c->state = IDLE;
    if (fresh || c->last)
        conn_close(c);
}

/* As far as it goes without waiting; ends IDLE or CLOSED with the message. */
static void conn_step(struct conn *c)
{
    static char buf[262144];
    const char *reason = "";
    int r = 1, e;
    socklen_t len = sizeof e;

    while (c->state != IDLE && c->state != CLOSED) {
        switch (c->state) {
        case CONNECTING:
            if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len) || e) {
                conn_fail(c, strerror(e));
                return;
            }
            if (secure && !direct)
                want_connect(c);
            else if (secure)
                want_tls(c);
            else
                want_request(c);
            break;
        case ASKING:
        case SENDING:
            r = conn_io(c, 0, c->out + c->out_at, c->out_n - c->out_at,
                        &reason);
            if (r > 0 && (c->out_at += (size_t)r) == c->out_n)
                c->state = c->state == ASKING ? ASKED :
                           c->upgraded ? BODY : HEAD;
            break;
        case ASKED:
        case HEAD:
            r = conn_io(c, 1, c->head + c->head_n,
                        sizeof c->head - 1 - c->head_n, &reason);
            if (r <= 0)
                break;
            c->head[c->head_n += (size_t)r] = 0;
            if (!memmem(c->head, c->head_n, "\r\n\r\n", 4))
                break;
            if (c->state == HEAD) {
                if (head_seen(c) == 1)
                    message_done(c);
            } else if (strncmp(c->head + 8, " 200", 4)) {
                c->head[strcspn(c->head, "\r\n\"\\")] = 0;
                conn_fail(c, c->head);
                return;
            } else
                want_tls(c);
            break;
        case SHAKING:
            r = SSL_do_handshake(c->ssl);
            if (r == 1) {
                learn_tls(c);
                want_request(c);
                break;
            }
            e = SSL_get_error(c->ssl, r);
            c->reading = e == SSL_ERROR_WANT_READ;
            r = c->reading || e == SSL_ERROR_WANT_WRITE ? -1 : 0;
            if (r == 0) {
                reason = ERR_peek_error()
                    ? ERR_reason_error_string(ERR_peek_error())
                    : "the proxy closed";
                ERR_clear_error();
            }
            break;
        case BODY:
            r = conn_io(c, 1, buf, sizeof buf, &reason);
            if (r > 0 && body_seen(c, buf, (size_t)r))
                message_done(c);
            break;
        default:
            return;
        }
        if (r == 0) {
            conn_fail(c, reason ? reason : "TLS");
            return;
        }
        if (r < 0) {
            conn_watch(c, c->reading ? EPOLLIN : EPOLLOUT);
            return;
        }
    }
}

/* Gives c its next message. */
static void conn_next(struct conn *c)
{
    started++;
    if (c->state == CLOSED) {
        reopened += !fresh;
        conn_open(c);
        return;
    }
    want_request(c);
    conn_step(c);
}

/* Waits up to wait seconds and lets the connections step. */
static void turn(double wait)
{
    struct epoll_event events[256];
    int got = epoll_wait(poller, events, 256, (int)(wait * 1000) + 1);

    for (int i = 0; i < got; i++)
        conn_step(events[i].data.ptr);
}

/* Opens all connections and uses each once, a few at a time so that no
   listen queue overflows. */
static void warm_up(struct conn *all)
{
    int next = 0, busy;
    double last = now() + 120;

    do {
        busy = 0;
        for (int i = 0; i < next; i++)
            busy += all[i].state != IDLE && all[i].state != CLOSED;
        for (; busy < 32 && next < conns; busy++)
            conn_open(&all[next++]);
        if (busy)
            turn(0.1);
        if (now() > last || failed > 10) {
            printf("{\"n\": 0, \"failed\": %ld, \"why\": \"%s\"}\n", failed,
                   failed ? why : "the warm-up took two minutes");
            exit(1);
        }
    } while (busy || next < conns);
}

static double work(struct conn *all)
{
    double start = now(), last = start + seconds;
    int busy;

    do {
        double t = now();
        busy = 0;
        for (int i = 0; i < conns; i++) {
            struct conn *c = &all[i];
            while ((c->state == IDLE || c->state == CLOSED) && t < last
                   && (most < 0 || started < most) && failed <= 10) {
                conn_next(c);
                t = now();
            }
            busy += c->state != IDLE && c->state != CLOSED;
        }
        if (busy)
            turn(0.1);
        t = now();
        if ((cut && t > last) || t > last + 10)
            break;
    } while (busy);
    return now() - start;
}

static int later(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int keep_session(SSL *ssl, SSL_SESSION *s)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = s;
    return 1;
}

static void make_tls(void)
{
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_alpn_protos(tls, (const unsigned char *)"\x08http/1.1", 9);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS
                     | SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (resume) {
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT
                                       | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(tls, keep_session);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    int o;

    while ((o = getopt(argc, argv, "c:t:n:sdfrwxW")) != -1)
        switch (o) {
        case 'c': conns = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'n': most = atol(optarg); break;
        case 's': secure = 1; break;
        case 'd': direct = 1; break;
        case 'f': fresh = 1; break;
        case 'r': fresh = resume = 1; break;
        case 'w': hold = 1; break;
        case 'x': cut = 1; break;
        case 'W': ws = 1; break;
        default: return 2;
        }
    if (argc - optind != 3) {
        fprintf(stderr, "usage: load [options] PORT HOST:PORT PATH\n");
        return 2;
    }
    port = atoi(argv[optind]);
    origin = argv[optind + 1];
    path = argv[optind + 2];
    host = strndup(origin, strcspn(origin, ":"));

    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    make_tls();
    poller = epoll_create1(EPOLL_CLOEXEC);

    struct conn *all = calloc((size_t)conns, sizeof *all);
    warm_up(all);
    warming = 0;
    failed = 0;
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;

    double spent = hold ? 0 : work(all);
    if (n)
        qsort(took, n, sizeof *took, later);
    printf("{\"n\": %zu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f, "
           "\"bytes\": %llu, \"resumed\": %ld, \"reopened\": %ld, "
           "\"failed\": %ld, \"why\": \"%s\", \"tls\": \"%s\", "
           "\"issuer\": \"%s\"}\n", n, spent, n ? took[n / 2] : 0,
           n ? took[n * 99 / 100] : 0, bytes, resumed, reopened, failed, why,
           version, issuer);
    fflush(stdout);
    while (getchar() != EOF)            /* stay until it was all read */
        ;
    return 0;
}
