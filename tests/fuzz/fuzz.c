/* fuzz.c - what must be true of mitmproxy.c whatever the bytes.

   Each target takes an input and aborts when a property does not hold. With
   clang's libFuzzer (make fuzz) inputs are made up; without, this is a
   program that gives each target all inputs of a directory of its name once,
   and prints TAP:

       build/fuzz-corpus tests/fuzz/corpus/relay

   VERBOSE=1 in the environment shows the program's log. */

/* Coverage is of the program, not of the world around it. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), \
                             apply_to = function)
#endif
#include "kernel.c"
#ifdef __clang__
#pragma clang attribute pop
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function" /* what only main calls */
#include "../../mitmproxy.c"
#pragma GCC diagnostic pop

#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), \
                             apply_to = function)
#endif
#include "world.c"

/* Checks a property. */
#define CHECK(good, ...) ((good) ? (void)0 : fault(__VA_ARGS__))

/* A copy of the n bytes at p that ends where its memory does; to be freed. */
static void *exact(const void *p, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1);

    memcpy(copy, n > 0 ? p : "", n);
    return copy;
}

/* Whether n bytes are the same; none always are. */
static bool equal(const void *a, const void *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

/* A part of n bytes to be tried, 40 of them: the longest, and some others. */
enum { PARTS = 40 };
static size_t part_of(size_t n, size_t i)
{
    return i < PARTS / 2 ? (i < n ? n - i - 1 : 0) : kernel_random(n + 1);
}

/* A number that looks random, and depends on the input alone. */
static uint64_t hash(const unsigned char *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;

    while (n-- > 0)
        h = (h ^ *p++) * 0x100000001b3;
    return h;
}

/* Checks the contract of a parser that was given n bytes and said whole: more
   is needed for any part of what it takes; and what it refuses is refused
   already, or still undecided, in part. */
static void check_contract(int whole, int part, size_t n, size_t part_n)
{
    CHECK(whole <= (int)n, "%d of %zu bytes are taken", whole, n);
    CHECK(part == 0 || part == whole,
          "%d for %zu bytes, but %d for the first %zu", whole, n, part,
          part_n);
    CHECK(whole <= 0 || part_n >= (size_t)whole || part == 0,
          "%d, but of %zu bytes", part, part_n);
}

/* ==== heads ============================================================= */

static int head_read(const void *p, size_t n, bool request, struct head *h)
{
    char *copy = exact(p, n);
    int r = head_parse(copy, n, request, h);

    free(copy);
    return r;
}

/* Mends the head h, at p, and checks that it says what it was told to. */
static void head_mended(const char *p, const struct head *h, int framing)
{
    const struct exchange ex = { .id = 1 };
    struct buf out = { 0 };
    struct head new;
    struct body body;
    int n;

    buf_put(&out, p, h->len);
    head_frame(&out, h, framing, 4711);
    n = head_read(buf_at(&out), out.len, h->status == 0, &new);
    CHECK(n == (int)out.len || out.len > MAX_HEAD, "mended: %d of %zu", n,
          out.len);
    buf_free(&out);
    if (n <= 0 || (h->status != 0 && (h->status < 200 || h->status == 204 ||
                                      h->status == 304)))
        return;
    body = body_begin(&new, &ex);
    if (framing == SET_LENGTH)
        CHECK(!new.unclear && body.framing == BY_LENGTH && body.left == 4711,
              "no length: %s", new.unclear);
    if (framing == SET_CHUNKED)
        CHECK((!new.unclear || new.minor == 0) && body.framing == CHUNKED,
              "not chunked: %s", new.unclear);
    if (framing == SET_NONE)
        CHECK(!new.unclear && body.framing == (h->status ? UNTIL_CLOSE
                                                         : NO_BODY),
              "framed: %s", new.unclear);
}

/* The first byte says whether it is a request's. */
static void fuzz_head(const unsigned char *p, size_t n)
{
    struct buf out = { 0 };
    struct head h, part;
    bool request = n > 0 && *p++ & 1;
    int whole;

    n -= n > 0;
    whole = head_read(p, n, request, &h);
    for (size_t i = 0; i < PARTS; i++) {
        size_t k = part_of(n, i);

        check_contract(whole, head_read(p, k, request, &part), n, k);
    }
    if (whole <= 0)
        return;
    buf_put(&out, p, n);
    head_set(&out, h.fields, "in no\nline", NULL, NULL);
    CHECK(out.len == n && memcmp(buf_at(&out), p, n) == 0,
          "a head is changed by no change");
    buf_free(&out);
    if (!h.coded)
        head_mended((char *)p, &h, SET_LENGTH);
    if (!h.coded)
        head_mended((char *)p, &h, SET_NONE);
    if ((h.chunked || !h.coded) && !h.unclear && h.minor > 0)
        head_mended((char *)p, &h, SET_CHUNKED);
}

/* ==== chunked coding ==================================================== */

/* Reads a chunked body in pieces; its data goes to data. Returns the bytes
   taken, and *end: 1 at its end, -1 malformed, 0 more must come. */
static size_t chunks_read(const unsigned char *p, size_t n, int pieces,
                          struct buf *data, int *end)
{
    struct body b = { .framing = CHUNKED };
    size_t at = 0, upto = 0;
    bool is_data;

    kernel.pieces = pieces;
    *end = 0;
    while (!b.done && at < n) {
        unsigned char *copy;
        ssize_t took;

        upto = upto > at ? upto : at + kernel_some(n - at);
        copy = exact(p + at, upto - at);
        took = body_next(&b, (char *)copy, upto - at, &is_data);
        if (took > 0 && is_data)
            buf_put(data, copy, (size_t)took);
        free(copy);
        if (took < 0) {
            *end = -1;
            return at;
        }
        CHECK(took > 0 && (size_t)took <= upto - at, "%zd of %zu", took,
              upto - at);
        at += (size_t)took;
    }
    *end = b.done;
    return at;
}

/* The same input in any pieces has the same data and end; and data that was
   chunked is read as it was. */
static void fuzz_chunked(const unsigned char *p, size_t n)
{
    struct buf a = { 0 }, b = { 0 }, text = { 0 };
    int end_a, end_b;
    size_t took;

    took = chunks_read(p, n, WHOLE, &a, &end_a);
    for (int pieces = SINGLE; pieces <= RANDOM; pieces++) {
        size_t other = chunks_read(p, n, pieces, &b, &end_b);

        CHECK(end_a == end_b, "ends with %d, and in pieces with %d", end_a,
              end_b);
        CHECK(end_a < 0 || (other == took && a.len == b.len),
              "%zu bytes, %zu data, and in pieces %zu, %zu", took, a.len,
              other, b.len);
        CHECK(equal(buf_at(&a), buf_at(&b), a.len),
              "other data in pieces");
        buf_eat(&b, b.len);
    }
    for (size_t at = 0, k; at < n; at += k) {
        k = kernel_some(n - at);
        buf_printf(&text, "%zx\r\n", k);
        buf_put(&text, p + at, k);
        buf_puts(&text, "\r\n");
    }
    buf_puts(&text, "0\r\n\r\n");
    buf_put(&text, p, n);
    took = chunks_read(buf_at(&text), text.len, RANDOM, &b, &end_b);
    CHECK(took == text.len - n && end_b == 1 && b.len == n &&
          equal(buf_at(&b), p, n), "other data come back");
    buf_free(&a);
    buf_free(&b);
    buf_free(&text);
}

/* ==== ClientHello ======================================================= */

static int hello_read(const unsigned char *p, size_t n, struct hello *h)
{
    unsigned char *copy = exact(p, n);
    int r = hello_parse(copy, n, h);

    free(copy);
    return r;
}

static void fuzz_hello(const unsigned char *p, size_t n)
{
    struct hello h, part;
    int whole = hello_read(p, n, &h), r;

    for (size_t i = 0; i < PARTS; i++) {
        size_t k = part_of(n, i);

        r = hello_read(p, k, &part);
        CHECK(r == 0 || r == whole, "%d, but for %zu of %zu bytes %d", whole,
              k, n, r);
        CHECK(r != 1 || memcmp(&h, &part, sizeof h) == 0, "read otherwise");
    }
    if (whole == 1) {
        struct buf text = { 0 }, dump = { 0 };

        hello_read(p, n, &part);
        hello_describe(&text, &dump);
        CHECK(strlen((char *)dump.data) == dump.len - 1, "NUL in %zu bytes",
              dump.len);
        buf_free(&text);
        buf_free(&dump);
    }
    if (whole != 1 || h.absurd)
        return;
    for (const char *c = h.sni; *c != '\0'; c++)
        CHECK(isalnum((unsigned char)*c) || strchr("-._:", *c),
              "a name with %02x", (unsigned char)*c);
}

/* ==== targets =========================================================== */

/* Checks what a parser has made of a target. */
static void target_check(const struct target *t)
{
    size_t n = strlen(t->host);

    CHECK(n > 0 && n <= MAX_HOST && t->port <= 65535, "host of %zu bytes, "
          "port %u", n, t->port);
    for (const char *c = t->host; *c != '\0'; c++)
        CHECK(isalnum((unsigned char)*c) || strchr("-._:%~", *c),
              "a host with %02x", (unsigned char)*c);
}

static int socks_read(const unsigned char *p, size_t n, int version,
                      struct target *t)
{
    struct sockaddr_storage a = { 0 };
    unsigned char *copy = exact(p, n);
    int r = version == 4 ? socks4_parse(copy, n, t) :
            version == 5 ? socks5_parse(copy, n, t)
                         : proxied_parse(copy, n, &a);

    free(copy);
    return r < 0 ? -1 : r;
}

/* SOCKS 4 and 5, PROXY (6), authorities and absolute targets, of the same bytes. */
static void fuzz_target(const unsigned char *p, size_t n)
{
    char *copy = exact(p, n);
    struct target t = { .port = 0 }, part;
    size_t rest;

    for (int version = 4; version <= 6; version++) {
        int whole = socks_read(p, n, version, &t);

        for (size_t i = 0; i < PARTS; i++) {
            size_t k = part_of(n, i);

            check_contract(whole, socks_read(p, k, version, &part), n, k);
        }
        if (whole > 0 && version < 6)
            target_check(&t);
    }
    if (parse_authority(copy, n, n & 1 ? 80 : 0, &t))
        target_check(&t);
    if (parse_absolute(copy, n, &t, &rest)) {
        target_check(&t);
        CHECK(rest < n, "the path is more than the rest");
    }
    free(copy);
}

/* ==== match expressions ================================================= */

/* Whether text matches s: 1, 2 or 3; 0: it is no expression. */
static int match_of(const char *text, const struct subject *s)
{
    char error[256];
    struct match *m = match_compile(text, error);
    int r = 0;

    if (m != NULL) {
        r = match_eval(m, s);
        CHECK(r >= 1 && r <= 3, "a match of %d", r);
    } else
        CHECK(error[0] != '\0', "no reason is given");
    match_free(m);
    return r;
}

/* The first line is an expression, the rest a response's head. */
static void fuzz_match(const unsigned char *p, size_t n)
{
    const unsigned char *lf = n > 0 ? memchr(p, '\n', n) : NULL;
    size_t len = lf ? (size_t)(lf - p) : n;
    char *text = copy_text(p, len), *head = exact(p + len, n - len);
    char other[600];
    struct head h;
    struct subject s = { "GET", "http://h/x", "h", head, &h, false, false };
    int r;

    for (char *c = text; *c != '\0'; c++) /* regcomp() takes ages for these */
        if (strchr("{\\", *c) ||
            (c > text && strchr("*+?", *c) && strchr("*+?", c[-1])))
            *c = 'x';
    if (strlen(text) < 200) {
        if (n - len < 2 || head_parse(head + 1, n - len - 1, false, &h) <= 0)
            s.h = NULL;
        else
            s.head++;
        r = match_of(text, &s);
        snprintf(other, sizeof other, "!(%s)", text);
        CHECK(r == 0 || match_of(other, &s) == ((r & 1) << 1 | r >> 1),
              "%s is %d, and so is its contrary", text, r);
        snprintf(other, sizeof other, "(%s) | (%s)", text, text);
        CHECK(r == 0 || match_of(other, &s) == r, "%s is not itself", text);
    }
    free(text);
    free(head);
}

/* ==== certificates ====================================================== */

/* The names among the subjectAltNames of crt that a leaf is to have, and how
   many; to be freed. */
static const mbedtls_x509_buf **names_of(const mbedtls_x509_crt *crt,
                                         size_t *n)
{
    const mbedtls_x509_buf **list = NULL;

    *n = 0;
    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names;
         s != NULL && s->buf.p != NULL; s = s->next)
        if (s->buf.tag == SAN_DNS || s->buf.tag == SAN_IP) {
            list = realloc(list, (*n + 1) * sizeof *list);
            list[(*n)++] = &s->buf;
        }
    return list;
}

/* Checks that the leaf has the server's names, and behind them the one asked
   for, if that is another. */
static void names_check(const mbedtls_x509_crt *server,
                        const mbedtls_x509_crt *leaf)
{
    size_t n, m;
    const mbedtls_x509_buf **a = names_of(server, &n), **b = names_of(leaf,
                                                                     &m);

    CHECK(m == n || m == n + 1, "of %zu names there are %zu", n, m);
    for (size_t i = 0; i < n; i++)
        CHECK(a[i]->len == b[i]->len && equal(a[i]->p, b[i]->p, a[i]->len),
              "name %zu is another", i);
    free(a);
    free(b);
}

/* A certificate parsed by Mbed TLS is forged; the leaf can be verified, and
   has the server's subject and names, and the one asked for. */
static void fuzz_leaf(const unsigned char *p, size_t n)
{
    static const char name[] = "www.example.com";
    mbedtls_x509_crt server, leaf;
    uint32_t flags = 0;
    int r;

    mbedtls_x509_crt_init(&server);
    mbedtls_x509_crt_init(&leaf);
    if (mbedtls_x509_crt_parse_der(&server, p, n) == 0) {
        r = leaf_forge(&leaf, &server, name, false);
        CHECK(r == 0, "no leaf: -0x%04x", (unsigned)-r);
        r = mbedtls_x509_crt_verify(&leaf, &ca.crt, NULL, name, &flags, NULL,
                                    NULL);
        CHECK(r == 0, "not to be verified: -0x%04x, %x", (unsigned)-r,
              flags);
        CHECK(leaf.subject_raw.len == server.subject_raw.len &&
              memcmp(leaf.subject_raw.p, server.subject_raw.p,
                     leaf.subject_raw.len) == 0, "another subject");
        names_check(&server, &leaf);
    }
    mbedtls_x509_crt_free(&leaf);
    mbedtls_x509_crt_free(&server);
}

/* A CA that no file holds. */
static void ca_init(void)
{
    struct buf der = { 0 };
    struct cert c = { .is_ca = true, .name = "fuzz", .key = &ca.key,
                      .from = time(NULL) - 24 * 3600,
                      .to = time(NULL) + 24 * 3600 };

    key_make(&ca.key, false);
    key_make(&ca.leaf_key, false);
    mbedtls_x509_crt_init(&ca.crt);
    if (cert_write(&c, &der) != 0 ||
        mbedtls_x509_crt_parse_der(&ca.crt, buf_at(&der), der.len) != 0)
        die("cannot make a CA");
    buf_free(&der);
}

/* ==== the relay ========================================================= */

/* How a message that was read has ended. */
enum ending { WHOLE_MESSAGE, CUT_MESSAGE, OPEN_MESSAGE, STREAM, NOTHING };

/* Reads the next message off b from *at on, as a peer would; its decoded
   body goes to body, unless that is NULL. For responses ex tells of the
   request. */
static enum ending message_read(const struct buf *b, size_t *at, bool request,
                                const struct exchange *ex, struct head *h,
                                struct buf *body)
{
    const char *p = (char *)buf_at(b);
    struct body left;
    bool data;
    int n;

    if (*at == b->len)
        return NOTHING;
    n = head_parse(p + *at, b->len - *at, request, h);
    if (n == 0)
        return CUT_MESSAGE;
    if (n < 0 || h->unclear || h->status == 101)
        return STREAM;
    *at += (size_t)n;
    left = body_begin(h, ex);
    while (!left.done && *at < b->len) {
        ssize_t took = body_next(&left, p + *at, b->len - *at, &data);

        if (took < 0)
            return STREAM;
        if (data && body != NULL)
            buf_put(body, p + *at, (size_t)took);
        *at += (size_t)took;
    }
    return left.done ? WHOLE_MESSAGE :
           left.framing == UNTIL_CLOSE ? OPEN_MESSAGE : CUT_MESSAGE;
}

/* What stands between two connections: what client and servers have heard,
   and how the client's connection ended. */
struct outcome {
    struct buf client, servers;
    bool fin, rst;          /* the client has heard these */
    bool surprise;          /* a server has said what nobody asked for: what
                               becomes of that depends on when it comes */
};

static void outcome_free(struct outcome *o)
{
    buf_free(&o->client);
    buf_free(&o->servers);
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && equal(buf_at(a), buf_at(b), a->len);
}

/* The page by which the proxy tells of an error. */
static bool is_page(const unsigned char *p, size_t n)
{
    static const char type[] = "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: ";

    return n > 9 && memcmp(p, "HTTP/1.1 ", 9) == 0 &&
           memmem(p, n < 120 ? n : 120, type, sizeof type - 1) != NULL;
}

/* What a server has said after it was reached, and before the next was, is
   what the client has heard in that time; an error page may follow. */
static void check_down(void)
{
    const struct buf *heard = &world.client[0].heard;

    for (int i = 0; i < world.servers; i++) {
        const struct conn *c = &world.server[i];
        size_t from = c->before, n, k = 0, page;

        n = i + 1 < world.servers ? world.server[i + 1].before : heard->len;
        if (world.client[0].reset || n > heard->len || from > n)
            return;                 /* it did not want to hear it */
        n -= from;
        while (k < n && k < c->said.len &&
               buf_at(heard)[from + k] == buf_at(&c->said)[k])
            k++;
        page = k;
        while (k < n && page > 0 &&
               !is_page(buf_at(heard) + from + page, n - page))
            page--;
        CHECK(k == n || is_page(buf_at(heard) + from + page, n - page),
              "server %d has not said what the client heard at %zu", i,
              from + k);
    }
}

/* What the servers have heard, one after the other, the client has said. */
static void check_up(void)
{
    const struct buf *said = &world.client[0].said;
    size_t at = 0;

    for (int i = 0; i < world.servers; i++) {
        const struct buf *heard = &world.server[i].heard;
        const unsigned char *found;

        if (heard->len == 0)
            continue;
        found = memmem(buf_at(said) + at, said->len - at, buf_at(heard),
                       heard->len);
        CHECK(found != NULL && (i > 0 || found == buf_at(said)),
              "the client has not said what server %d heard", i);
        at = (size_t)(found - buf_at(said)) + heard->len;
    }
}

/* What ends by its connection's end only looks whole when it is: when the
   client has heard a FIN, then so have we, and all before it. */
static void check_whole(const struct outcome *o)
{
    static const char established[] = "HTTP/1.1 200 Connection established"
                                      "\r\n\r\n";
    const struct conn *s = world_server();
    struct head h;
    struct exchange ex = { .id = 1 };
    size_t up = 0, down = sizeof established - 1;
    enum ending end;

    if (!o->fin || o->rst || world.client[0].reset || s == NULL)
        return;
    if (o->client.len < down ||
        memcmp(buf_at(&o->client), established, down) != 0)
        down = 0;                   /* it did not ask for a tunnel */
    do {
        size_t from = up;

        end = message_read(&o->servers, &up, true, &ex, &h, NULL);
        if (end == STREAM || end == NOTHING)
            return;
        ex.head = method_is((char *)buf_at(&o->servers) + from, &h, "HEAD");
        do
            end = message_read(&o->client, &down, false, &ex, &h, NULL);
        while (end == WHOLE_MESSAGE && h.status < 200);
    } while (end == WHOLE_MESSAGE);
    if (end != OPEN_MESSAGE)
        return;
    CHECK(s->ended && !s->reset, "the end of an answer that was broken off "
          "looks well");
    CHECK(s->said.len <= o->client.len && equal(buf_at(&s->said),
          buf_at(&o->client) + o->client.len - s->said.len, s->said.len),
          "an answer that looks whole is not");
}

/* Lets a script run, and keeps what came of it. */
static struct outcome relay_run(const unsigned char *p, size_t n, int pieces)
{
    struct outcome o = { .fin = false };

    world_run(p, n, pieces, hash(p, n), false);
    /* a proxy on the way may be told more or less before it refuses */
    for (int i = 0; i < world.servers && opt.proxy.at.port == 0; i++)
        buf_put(&o.servers, buf_at(&world.server[i].heard),
                world.server[i].heard.len);
    buf_put(&o.client, buf_at(&world.client[0].heard),
            world.client[0].heard.len);
    o.fin = world.client[0].in && world.client[0].in->writers == 0;
    o.rst = o.fin && world.client[0].in->reset;
    o.surprise = world_told("nobody asked for");
    if (world.filters == 0 && world.clients == 1 && opt.proxy.at.port == 0) {
        if (opt.reverse.port != 0) {
            check_up();
            check_down();
        }
        check_whole(&o);
    }
    return o;
}

/* A script (world.c), whole and in pieces: without filters the bytes are the
   same. */
static void fuzz_relay(const unsigned char *p, size_t n)
{
    struct outcome a = relay_run(p, n, WHOLE), b;
    bool same = !world.raced && world.filters == 0 && world.clients == 1 &&
                n < MAX_HEAD / 2;

    same &= n == 0 || memmem(p, n, "~*", 2) == NULL;
    world_free();
    b = relay_run(p, n, hash(p, n) % 4 ? RANDOM : SINGLE);
    world_free();
    if (same && !a.surprise && !b.surprise) {
        CHECK(same_bytes(&a.servers, &b.servers), "in pieces servers hear "
              "other bytes");
        CHECK(same_bytes(&a.client, &b.client), "in pieces the client hears "
              "other bytes");
        CHECK(a.fin == b.fin && a.rst == b.rst, "in pieces it ends "
              "otherwise");
    }
    outcome_free(&a);
    outcome_free(&b);
}

#include "pairs.c"
#include "frames.c"

/* ==== coprocesses ======================================================= */

/* What a coprocess that says these n bytes has made of one message: -1 it
   broke the protocol, 0 said more than its answer, 1 a new one, of which *len
   bytes are the length's line, 2 nothing, 3 failed. */
static int copro_says(const char *p, size_t n, size_t *len)
{
    const char *lf = n > 0 ? memchr(p, '\n', n) : NULL;
    uint64_t length = 0;
    size_t line = lf ? (size_t)(lf - p) - (lf > p && lf[-1] == '\r') : 0;

    if (lf == NULL)
        return -1;
    *len = (size_t)(lf - p) + 1;
    if (*p == '!')
        return *len == n ? 3 : 0;
    if (*p == '-')
        return line != 1 ? -1 : *len == n ? 2 : 0;
    if (!parse_number(p, line, &length) || length > n - *len)
        return -1;
    return *len + length == n ? 1 : 0;
}

/* The input is what a coprocess answers, each time that it is asked. */
static void fuzz_copro(const unsigned char *p, size_t n)
{
    static const unsigned char script[] = "~RoB~m~cGET / HTTP/1.1~n~n~s"
        "HTTP/1.1 200 OK~nContent-Length: 5~n~nhello~cGET / HTTP/1.1~n~n~s"
        "HTTP/1.1 200 OK~nTransfer-Encoding: chunked~n~n5~nworld~n0~n~n";
    struct outcome o[2];
    size_t line = 0;
    int says = copro_says((const char *)p, n, &line);

    world_text = p;
    world_text_len = n;
    for (int i = 0; i < 2; i++) {
        size_t first = strlen("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
                              "hello");

        o[i] = relay_run(script, sizeof script - 1, i ? RANDOM : WHOLE);
        if (says == 2)
            CHECK(o[i].client.len > first &&
                  memcmp(buf_at(&o[i].client), buf_at(&world.server[0].said),
                         first) == 0, "an unchanged answer is another");
        if (says == 3 || says == -1)
            CHECK(is_page(buf_at(&o[i].client), o[i].client.len),
                  "no page tells of a failure");
        if (says == 1 && n == line)
            CHECK(o[i].client.len == 0 && o[i].fin, "nothing is something");
        world_free();
    }
    if (says > 0)
        CHECK(same_bytes(&o[0].client, &o[1].client),
              "in pieces the client hears other bytes");
    outcome_free(&o[0]);
    outcome_free(&o[1]);
    world_text_len = 0;
}

/* ==== main ============================================================== */

static const struct {
    const char *name;
    void (*run)(const unsigned char *p, size_t n);
} targets[] = {
    { "head", fuzz_head }, { "chunked", fuzz_chunked },
    { "hello", fuzz_hello }, { "target", fuzz_target },
    { "match", fuzz_match }, { "leaf", fuzz_leaf }, { "relay", fuzz_relay },
    { "pairs", fuzz_pairs }, { "copro", fuzz_copro },
    { "frames", fuzz_frames }, { "messages", fuzz_messages },
};
enum { TARGETS = sizeof targets / sizeof *targets };

/* Prepares all; once. */
static void fuzz_init(void)
{
    if (psa_crypto_init() != PSA_SUCCESS)
        die("cannot start the cryptography");
    ca_init();
    opt.verbose = 2;
    sinks[0].fd = -1;               /* messages are formatted, not written */
}

/* The target of this name; NULL: there is none. */
static void (*fuzz_target_of(const char *name))(const unsigned char *, size_t)
{
    for (int i = 0; i < TARGETS; i++)
        if (strcmp(targets[i].name, name) == 0)
            return targets[i].run;
    return NULL;
}

#ifdef LIBFUZZER

/* What libFuzzer calls; TARGET in the environment names the target. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static void (*run)(const unsigned char *, size_t);
    const char *name = getenv("TARGET");

    if (run == NULL) {
        fuzz_init();
        run = fuzz_target_of(name ? name : "");
        if (run == NULL)
            die("TARGET names no target");
    }
    kernel.random = hash(p, n) | 1;
    run(p, n);
    return 0;
}

#else

/* Runs a target with one file. */
static void run_file(void (*run)(const unsigned char *, size_t),
                     const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char *p = alloc(MAX_SAID);
    size_t n;

    if (file == NULL)
        die("cannot open %s: %s", path, strerror(errno));
    n = fread(p, 1, MAX_SAID, file);
    fclose(file);
    kernel.random = hash(p, n) | 1;
    run(p, n);
    free(p);
}

/* Runs a target with all files of a directory; returns how many. */
static int run_files(void (*run)(const unsigned char *, size_t),
                     const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int n = 0;

    if (dir == NULL)
        die("cannot open %s: %s", path, strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        snprintf(world_input, sizeof world_input, "%s/%s", path,
                 entry->d_name);
        if (entry->d_name[0] != '.')
            run_file(run, world_input);
        n += entry->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    fuzz_init();
    for (int i = 1; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/');
        const char *name = slash ? slash + 1 : argv[i];
        void (*run)(const unsigned char *, size_t) = fuzz_target_of(name);

        if (run == NULL)
            die("there is no target %s", name);
        printf("ok %d - %s: %d inputs\n", i, name, run_files(run, argv[i]));
    }
    printf("1..%d\n", argc - 1);
    return 0;
}

#endif

#ifdef __clang__
#pragma clang attribute pop
#endif
