/* pairs.c - requests and answers that know each other.
   Clients ask and servers answer properly, as the script tells them to, each
   exchange with a number of its own and a body of one letter of its own, past
   any filters. Whatever is dropped, cut, failed or mended on the way, the
   n-th answer of a connection is to its n-th request, no body has another's
   letters, and what was broken off never looks whole. And when nothing was
   broken, all that was answered has arrived, with as many letters. */

enum { LENGTH, CHUNKS, CLOSE_ENDS, NO_CONTENT, NOT_MODIFIED, INTERIM, LONG,
       LONG_CHUNKS, OLD, CUT_LENGTH, CUT_CHUNKS, LAST, CUT_CLOSE };

/* What is known of each exchange, by its number. */
static struct {
    char method[8];
    bool cut_request, cut_answer;
    bool answered, last;    /* as a whole; and the connection then ends */
    size_t asked_n, answer_n; /* letters */
} pairs[MAX_TAGS + 1];
static int last_tag;

static char pairs_letter(int tag)
{
    return (char)('A' + tag % 26);
}

/* Puts a body of n letters, by its length or in chunks; half of it, if it is
   to be cut. */
static void put_body(struct buf *b, int tag, size_t n, bool chunks, bool cut)
{
    char *text = alloc(n + 1);

    memset(text, pairs_letter(tag), n);
    if (chunks) {
        buf_puts(b, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0, k; at < (cut ? n / 2 : n); at += k) {
            k = 1 + (n - at) / 2;
            buf_printf(b, "%zx\r\n", k);
            buf_put(b, text, k);
            buf_puts(b, "\r\n");
        }
        buf_puts(b, cut ? "" : "0\r\n\r\n");
    } else {
        buf_printf(b, "Content-Length: %zu\r\n\r\n", n);
        buf_put(b, text, cut ? n / 2 : n);
    }
    free(text);
}

/* A client asks: the lower bits of how are the kind of request. */
static void pairs_ask(struct conn *c, unsigned char how)
{
    static const char *const methods[] = {
        "GET", "POST", "PUT", "HEAD", "GET", "POST", "GET", "POST"
    };
    int kind = how & 7, tag = last_tag + 1;
    struct buf b = { 0 };

    if (last_tag == MAX_TAGS || c->ended || c->out == NULL ||
        c->said.len > MAX_SAID)
        return;
    c->tag[c->tags++] = last_tag = tag;
    memset(&pairs[tag], 0, sizeof pairs[tag]);
    strcpy(pairs[tag].method, methods[kind]);
    pairs[tag].cut_request = (kind == 1 || kind == 2) && how & 8;
    pairs[tag].last = kind == 6;
    buf_printf(&b, "%s %s/%d HTTP/1.%d\r\nHost: h\r\n", methods[kind],
               opt.reverse.port ? "" : "http://h", tag, kind != 4);
    buf_puts(&b, kind == 4 ? "Connection: keep-alive\r\n" :
             kind == 5 ? "Expect: 100-continue\r\n" :
             kind == 6 ? "Connection: close\r\n" : "");
    if (kind == 1 || kind == 2 || kind == 5 || kind == 7) {
        pairs[tag].asked_n = kind == 7 ? 70000 : how >> 2;
        put_body(&b, tag, pairs[tag].asked_n, kind == 2,
                 pairs[tag].cut_request);
    } else
        buf_puts(&b, "\r\n");
    conn_say(c, buf_at(&b), b.len);
    buf_free(&b);
    world.broken |= pairs[tag].cut_request;
    if (pairs[tag].cut_request)
        conn_end(c, how & 16);
}

/* The number of the request that a server has heard at c->answered, as soon
   as its head is there, and after the last; 0: none. */
static int pairs_heard(struct conn *c)
{
    const struct exchange ex = { .id = 1 };
    struct head h;
    size_t at = c->answered;
    enum ending end = message_read(&c->heard, &at, true, &ex, &h, NULL);
    const char *p = (char *)buf_at(&c->heard) + c->answered;

    if (end != WHOLE_MESSAGE || h.target.len < 2 || p[h.target.at] != '/')
        return 0;
    c->answered = at;
    return atoi(p + h.target.at + 1);
}

/* A server answers the first request that was not yet, in one of the ways
   above. */
static void pairs_answer(unsigned char how)
{
    struct conn *c = world.server;
    int kind = how & 15, tag = 0;
    bool cut = kind == CUT_LENGTH || kind == CUT_CHUNKS || kind == CUT_CLOSE;
    size_t n = kind == LONG || kind == LONG_CHUNKS ? 70000 : 2 + how / 4;
    size_t start;
    struct buf b = { 0 };
    bool head;

    while (c < world.server + world.servers &&
           (c->ended || (tag = pairs_heard(c)) == 0))
        c++;
    if (tag < 1 || tag > last_tag || c->said.len > MAX_SAID)
        return;                     /* the last: conn_say() would say nothing */
    head = strcmp(pairs[tag].method, "HEAD") == 0;
    pairs[tag].cut_answer |= cut && !head;
    pairs[tag].answered = !cut;
    pairs[tag].last |= kind == CLOSE_ENDS || kind >= OLD;
    pairs[tag].answer_n = head ? 0 : n;
    if (kind == INTERIM)
        buf_puts(&b, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n"
                 "Link: x\r\n\r\n");
    start = b.len;
    buf_printf(&b, "HTTP/1.%d %s\r\nX-Tag: %d\r\n", kind != OLD,
               kind == NO_CONTENT ? "204 No" :
               kind == NOT_MODIFIED ? "304 Not" : "200 OK", tag);
    if (kind == NO_CONTENT || kind == NOT_MODIFIED) {
        buf_puts(&b, kind == NO_CONTENT ? "\r\n"
                                        : "Content-Length: 9\r\n\r\n");
        pairs[tag].answer_n = 0;
    } else if (kind == CLOSE_ENDS || kind >= CUT_CLOSE) {
        buf_puts(&b, "\r\n");
        buf_put(&b, &(char){ pairs_letter(tag) }, !head);
        pairs[tag].answer_n = !head;
    } else {
        if (kind == LAST)
            buf_puts(&b, "Connection: close\r\n");
        put_body(&b, tag, n, kind == CHUNKS || kind == LONG_CHUNKS ||
                 kind == CUT_CHUNKS, cut);
        if (head)
            b.len = (size_t)((unsigned char *)memmem(buf_at(&b) + start,
                         b.len - start, "\r\n\r\n", 4) - buf_at(&b)) + 4;
    }
    conn_say(c, buf_at(&b), b.len);
    buf_free(&b);
    if (cut || kind == CLOSE_ENDS || kind >= LAST)
        conn_end(c, kind == CUT_CLOSE || (cut && how & 16));
}

/* Whether a filter with one of these programs is there, for requests or for
   responses. */
static bool pairs_has(bool request, const char *programs)
{
    for (int i = 0; i < world.filters; i++)
        if (world.filter[i].request == request &&
            strchr(programs, world.program[i][0]) != NULL)
            return true;
    return false;
}

/* Whether nobody broke anything off, and no filter may have. */
static bool pairs_calm(void)
{
    return !world.raced && !world.timed && !world.broken &&
           !pairs_has(true, "xhnfkFEaboiwlz") &&
           !pairs_has(false, "xhnfkFEaboiwlz") && !world_stuck();
}

/* Checks that a body has no other letters than those of its exchange; and, if
   it is whole and the filters on its way only copy, all n. */
static void check_letters(const struct buf *body, int tag, bool request,
                          bool whole, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < body->len; i++) {
        char c = (char)buf_at(body)[i];

        CHECK(c < 'A' || c > 'Z' || c == pairs_letter(tag),
              "the %s of exchange %d has bytes of another",
              request ? "request" : "answer", tag);
        count += c >= 'A' && c <= 'Z';
    }
    CHECK(count == n || !whole || pairs_has(request, "xdhnabow"),
          "the %s of exchange %d has %zu letters, not %zu",
          request ? "request" : "answer", tag, count, n);
}

/* Checks that an exchange that has been answered is so for the client, too:
   how it has ended there. */
static void check_arrival(int tag, enum ending end, bool fin)
{
    CHECK(!pairs_calm() || !pairs[tag].answered || end == WHOLE_MESSAGE ||
          (end == OPEN_MESSAGE && fin), "%d is answered, but the client has "
          "heard it as %d", tag, (int)end);
}

/* Checks that behind what is no message, after the answer to this request,
   nothing is that belongs to another. */
static void check_rest(const struct conn *c, size_t at, int asked)
{
    const char *p = (char *)buf_at(&c->heard);
    const char *tag = at < c->heard.len
                      ? memmem(p + at, c->heard.len - at, "\nX-Tag: ", 8)
                      : NULL;

    CHECK(tag == NULL || tag > p + c->heard.len - 10 ||
          atoi(tag + 8) == asked, "behind garbage there is %d",
          atoi(tag + 8));
    for (size_t run = 1; at + 1 < c->heard.len; at++) {
        run = p[at + 1] == p[at] && isupper((unsigned char)p[at]) ? run + 1
                                                                  : 1;
        CHECK(run < 20 || p[at] == pairs_letter(asked),
              "to %d comes what is another's body", asked);
    }
}

/* The number that an answer with this head tells; 0: it is not a server's. */
static int tag_of(const char *p, const struct head *h)
{
    const char *tag = memmem(p, h->len, "X-Tag: ", 7);

    CHECK(tag == NULL || memmem(tag + 7, (size_t)(p + h->len - tag) - 7,
                                "X-Tag: ", 7) == NULL,
          "two answers are one");
    return tag ? atoi(tag + 7) : 0;
}

/* What a client has heard. */
static void check_answers(const struct conn *c)
{
    size_t at = 0, from;
    enum ending end;
    bool fin = c->in != NULL && c->in->writers == 0 && !c->in->reset;
    struct head h;

    for (int i = 0; ; i++) {
        int asked = i < c->tags ? c->tag[i] : 0, tag;
        struct exchange ex = { .id = 1 };
        struct buf body = { 0 };

        ex.head = asked && strcmp(pairs[asked].method, "HEAD") == 0;
        do {
            from = at;
            end = message_read(&c->heard, &at, false, &ex, &h, &body);
        } while (end == WHOLE_MESSAGE && h.status < 200);
        if (asked != 0)
            check_arrival(asked, end, fin);
        if (end == NOTHING || end == STREAM || h.len == 0) {
            check_rest(c, from, asked);
            buf_free(&body);
            return;
        }
        tag = tag_of((char *)buf_at(&c->heard) + from, &h);
        CHECK(i < c->tags || (tag == 0 && end == WHOLE_MESSAGE &&
                              at == c->heard.len),
              "an answer to nothing: %d after %d", tag, i);
        CHECK(tag == 0 || tag == asked, "%d is answered with what is %d's",
              asked, tag);
        if (tag != 0)
            check_letters(&body, asked, false, end == WHOLE_MESSAGE,
                          pairs[asked].answer_n);
        if (tag != 0 && pairs[tag].cut_answer &&
            !pairs_has(false, "haboinw"))
            CHECK(end == CUT_MESSAGE || (end == OPEN_MESSAGE && !fin),
                  "the answer to %d was cut, and looks whole", tag);
        buf_free(&body);
        if (end != WHOLE_MESSAGE || (asked && pairs[asked].last))
            return;
    }
}

/* What a server has heard. */
static void check_requests(const struct conn *c)
{
    const struct exchange ex = { .id = 1 };
    struct head h;
    struct buf body = { 0 };
    size_t at = 0, from = 0;
    enum ending end;
    int last = 0;

    while ((end = message_read(&c->heard, &at, true, &ex, &h, &body)) ==
           WHOLE_MESSAGE || end == CUT_MESSAGE) {
        const char *p = (char *)buf_at(&c->heard) + from;
        int tag = h.target.len > 1 ? atoi(p + h.target.at + 1) : 0;

        if (tag < 1 || tag > last_tag)
            break;
        CHECK(tag > last, "request %d comes after %d", tag, last);
        check_letters(&body, tag, true, end == WHOLE_MESSAGE,
                      pairs[tag].asked_n);
        CHECK(end == CUT_MESSAGE || !pairs[tag].cut_request ||
              pairs_has(true, "haboinw"),
              "request %d was cut, and looks whole", tag);
        buf_eat(&body, body.len);
        from = at;
        last = tag;
        if (end == CUT_MESSAGE)
            break;
    }
    buf_free(&body);
}

/* A script of asking and answering. */
static void fuzz_pairs(const unsigned char *p, size_t n)
{
    for (int pieces = WHOLE; pieces <= RANDOM; pieces += RANDOM) {
        last_tag = 0;
        world_run(p, n, pieces, hash(p, n), true);
        for (int i = 0; i < world.clients; i++)
            check_answers(&world.client[i]);
        for (int i = 0; i < world.servers; i++)
            check_requests(&world.server[i]);
        world_free();
    }
}
