/* frames.c - WebSocket: its frames, and messages that go through filters.

   For messages the input is a list of frames to be said, two bytes each: what
   kind (below), and how long. What is in them is made up here, so that it is
   known what each filter must make of it. */

/* ---- frames ------------------------------------------------------------- */

static int frame_read(const unsigned char *p, size_t n, struct frame *f)
{
    unsigned char *copy = exact(p, n);
    int r = frame_parse(copy, n, f);

    free(copy);
    return r;
}

/* Reads frames in pieces, and notes in words what they are: messages with
   their payload and what is wrong, control frames, and how it ends. */
static void frames_words(const unsigned char *p, size_t n, int pieces,
                         struct buf *words)
{
    struct frames r = { .left = 0 };
    struct buf kept = { 0 }, all = { 0 };
    size_t at = 0, upto = 0;
    ssize_t took = 0;

    kernel.pieces = pieces;
    while (at < n && took >= 0 && (took > 0 || upto < n)) {
        unsigned char *copy;
        bool control;

        upto = upto > at && took > 0 ? upto : upto + kernel_some(n - upto);
        copy = exact(p + at, upto - at);
        took = frames_next(&r, copy, upto - at);
        CHECK(took <= (ssize_t)(upto - at), "%zd of %zu", took, upto - at);
        control = took > 0 && r.frame.opcode & 8;
        if (took > 0)
            buf_put(&all, copy, (size_t)took);
        if (took > 0)
            buf_put(control ? words : &kept, copy, (size_t)took);
        free(copy);
        at += took > 0 ? (size_t)took : 0;
        if (took <= 0 || control || !frames_whole(&r))
            continue;
        buf_printf(words, "[%d %s ", r.opcode, r.wrong ? r.wrong : "");
        frames_open(words, buf_at(&kept), kept.len);
        buf_puts(words, "]");
        buf_eat(&kept, kept.len);
    }
    CHECK(equal(buf_at(&all), p, all.len), "other bytes");
    buf_printf(words, "%d", took < 0 ? -1 : 0);
    buf_free(&kept);
    buf_free(&all);
}

/* Frames are the same in any pieces; what is written is read. */
static void fuzz_frames(const unsigned char *p, size_t n)
{
    struct buf a = { 0 }, b = { 0 }, text = { 0 };
    struct frame f, part;
    int whole = frame_read(p, n, &f);

    for (size_t i = 0; i < PARTS; i++) {
        size_t k = part_of(n, i);

        check_contract(whole, frame_read(p, k, &part), n, k);
    }
    frames_words(p, n, WHOLE, &a);
    for (int pieces = SINGLE; pieces <= RANDOM; pieces++) {
        frames_words(p, n, pieces, &b);
        CHECK(same_bytes(&a, &b), "other messages in pieces");
        buf_eat(&b, b.len);
    }
    frame_put(&text, n & 1 ? 1 : 2, p, n, n & 2 ? (unsigned char *)"mask"
                                               : NULL);
    CHECK(frame_parse(buf_at(&text), text.len, &f) == (int)(text.len - n) &&
          f.fin && f.length == n && !f.reserved, "a frame is read otherwise");
    frames_open(&b, buf_at(&text), text.len);
    CHECK(b.len == n && equal(buf_at(&b), p, n), "another payload");
    if (is_utf8(p, n))
        for (size_t i = 0; i < n; i++)
            CHECK(p[i] != 0xc0 && p[i] != 0xc1 && p[i] < 0xf5, "no UTF-8");
    buf_free(&a);
    buf_free(&b);
    buf_free(&text);
}

/* ---- messages ----------------------------------------------------------- */

/* What one side says, or has heard. */
struct speech {
    struct buf raw;         /* all of it */
    struct buf data;        /* data frames of whole messages, as they are */
    struct buf messages;    /* opcode, length, payload of each */
    struct buf control;     /* control frames, as they are */
    bool bad;               /* what is said ends with what is no message */
};

static void speech_free(struct speech *s)
{
    buf_free(&s->raw);
    buf_free(&s->data);
    buf_free(&s->messages);
    buf_free(&s->control);
}

static void put_message(struct buf *b, int opcode, const void *p, size_t n)
{
    buf_printf(b, "%d %zu:", opcode, n);
    buf_put(b, p, n);
}

/* Says one frame: first is its first byte. */
static void put_frame(struct buf *b, int first, const void *p, size_t n,
                      bool mask, bool wide)
{
    size_t more = wide ? 8 : n < 126 ? 0 : n < 65536 ? 2 : 8;

    buf_put(b, &(char){ (char)first }, 1);
    buf_put(b, &(char){ (char)((mask ? 128 : 0) | (more == 0 ? n :
                                       more == 2 ? 126 : 127)) }, 1);
    while (more-- > 0)
        buf_put(b, &(char){ (char)((uint64_t)n >> 8 * more) }, 1);
    if (mask)
        buf_puts(b, "mask");
    for (size_t i = 0; i < n; i++)
        buf_put(b, &(char){ (char)(((char *)p)[i] ^
                                   (mask ? "mask"[i & 3] : 0)) }, 1);
}

/* Makes up what is said: a kind is 0 or 1 text, 2 binary, 3 text that goes on,
   4 its next part, 5 its last, 6 PING or PONG, 7 no message, with which it
   ends; 8 more: masked, 16 more: a length in 8 bytes. With filters that add
   something to each message, it is there in what is to be heard. */
static void speech_make(struct speech *s, const unsigned char *p, size_t n,
                        const char *added)
{
    struct buf message = { 0 }, frames = { 0 };
    bool open = false;
    int opcode = 0, next = 0;

    for (; n >= 2 && !s->bad && s->raw.len < 300000; p += 2, n -= 2) {
        int kind = p[0] & 7, first;
        bool mask = p[0] & 8, wide = p[0] & 16, last;
        size_t len = p[1] == 255 ? 70000 : p[1];
        char *text = alloc(len + 1);

        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + next++ % 23);
        if (kind == 7) {
            s->bad = true;
            first = (int[]){ 0xc1, 0x91, 0x83, 0x09, open ? 0x81 : 0x80,
                             0xa2 }[p[1] % 6];
            put_frame(&s->raw, first, text, len % 100, mask, false);
        } else if (kind == 6) {
            put_frame(&s->control, 0x89 + (p[1] & 1), text, len % 126, mask,
                      false);
            put_frame(&s->raw, 0x89 + (p[1] & 1), text, len % 126, mask,
                      false);
        } else {
            last = kind == 5 || (kind < 3 && !open);
            opcode = open ? opcode : kind == 2 ? 2 : 1;
            first = (last ? 0x80 : 0) | (open ? 0 : opcode);
            put_frame(&frames, first, text, len, mask, wide);
            put_frame(&s->raw, first, text, len, mask, wide);
            buf_put(&message, text, len);
            open = !last;
            if (last) {
                buf_puts(&message, added);
                buf_move(&s->data, &frames, frames.len);
                put_message(&s->messages, opcode, buf_at(&message),
                            message.len);
                buf_eat(&message, message.len);
            }
        }
        free(text);
    }
    buf_free(&message);
    buf_free(&frames);
}

/* Reads what was heard, as a peer would that has its own idea of frames. False:
   it is not made of frames. */
static bool speech_read(struct speech *s, const unsigned char *p, size_t n)
{
    struct buf message = { 0 }, frames = { 0 };
    bool good = true;
    int opcode = 0;

    for (size_t at = 0; good && at < n;) {
        const unsigned char *f = p + at;
        size_t left = n - at, more = left < 2 ? 0 : (f[1] & 127) == 126 ? 2 :
                      (f[1] & 127) == 127 ? 8 : 0;
        size_t head = 2 + more, len = 0, mask = left > 1 && f[1] >> 7 ? 4 : 0;

        good = left >= head + mask;
        len = good && more == 0 ? f[1] & 127 : 0;
        for (size_t i = 0; good && i < more; i++)
            len = len << 8 | f[2 + i];
        head += mask;
        good = good && len <= left - head;
        if (!good)
            break;
        at += head + len;
        if (f[0] & 8) {
            buf_put(&s->control, f, head + len);
            continue;
        }
        good = (f[0] & 0x74) == 0 && (opcode == 0) == ((f[0] & 15) != 0);
        opcode = opcode ? opcode : f[0] & 15;
        buf_put(&frames, f, head + len);
        for (size_t i = 0; i < len; i++)
            buf_put(&message, &(char){ (char)(f[head + i] ^
                    (mask ? f[head - 4 + (i & 3)] : 0)) }, 1);
        if (f[0] >> 7) {
            buf_move(&s->data, &frames, frames.len);
            put_message(&s->messages, opcode, buf_at(&message), message.len);
            buf_eat(&message, message.len);
            opcode = 0;
        }
    }
    good = good && opcode == 0;
    buf_free(&message);
    buf_free(&frames);
    return good;
}

/* Whether b begins with what is in a, of at least so many bytes. */
static bool begins(const struct buf *b, const struct buf *a, size_t n)
{
    return n <= a->len && n <= b->len && equal(buf_at(a), buf_at(b), n);
}

/* Checks what was heard of what was said through a filter with this program:
   c, s the same; g something more; n nothing; E, k a failure. */
static void check_speech(const struct speech *said, const struct speech *heard,
                         char program, bool passes, bool up)
{
    static const unsigned char bye[] = { 0x88, 2, 1011 >> 8, 1011 & 255 };
    size_t more = said->bad && !passes ? up ? 8 : 4 : 0;
    bool fails = program == 'E' && said->messages.len > 0;

    if (fails && !passes)
        more = up ? 8 : 4;
    CHECK(heard->control.len >= more &&
          begins(&said->control, &heard->control, heard->control.len - more) &&
          (more > 0 || said->bad || heard->control.len == said->control.len),
          "other control frames: %zu of %zu bytes", heard->control.len,
          said->control.len);
    if (more == 4)
        CHECK(memcmp(buf_at(&heard->control) + heard->control.len - 4, bye, 4)
              == 0, "no CLOSE of ours");
    if (fails && !passes)
        CHECK(heard->messages.len == 0, "messages that a filter refused");
    else if (program == 'n')
        CHECK(heard->messages.len <= said->messages.len, "more messages");
    else if (program == 'g' && !said->bad)
        CHECK(same_bytes(&said->messages, &heard->messages),
              "other messages");
    else if (program == 'g')
        CHECK(begins(&heard->messages, &said->messages,
                     said->messages.len), "other messages before");
    else
        CHECK(begins(&heard->data, &said->data, said->data.len) &&
              (said->bad || heard->data.len == said->data.len),
              "other frames: %zu of %zu bytes", heard->data.len,
              said->data.len);
}

/* Says s, escaped as a script needs it. */
static void script_say(struct buf *script, const struct buf *s)
{
    for (size_t i = 0; i < s->len; i++) {
        if (buf_at(s)[i] == '~')
            buf_puts(script, "~");
        buf_put(script, buf_at(s) + i, 1);
    }
}

/* Checks what was heard where what is no message passes as it is, and so did
   all before it, but that control frames may have overtaken. */
static void check_passed(const struct speech *said, const unsigned char *p,
                         size_t n)
{
    CHECK(n == said->raw.len, "%zu of %zu bytes pass", n, said->raw.len);
    CHECK(said->control.len > 0 || equal(p, buf_at(&said->raw), n),
          "other bytes pass");
}

/* The first byte is the filter, the second its flags and who speaks. */
static void fuzz_messages(const unsigned char *p, size_t n)
{
    static const char ask[] = "GET / HTTP/1.1~nHost: h~nUpgrade: websocket~n~n"
        "~sHTTP/1.1 101 S~nUpgrade: websocket~n~n";
    char program = n > 0 ? "csgnE"[p[0] % 5] : 'c';
    bool up = n < 2 || p[1] & 1, passes = n > 1 && p[1] & 4;
    int flags = 64 | (n > 1 ? p[1] & (2 | 4) : 0);
    struct speech said = { .bad = false };

    if (n < 4)
        return;
    if (flags & 2)                  /* a coprocess, which fails by f */
        program = program == 'E' ? 'f' : program;
    speech_make(&said, p + 2, n - 2, program == 'g' ? "grown" : "");
    for (int pieces = WHOLE; pieces <= RANDOM; pieces++) {
        struct speech heard = { .bad = false };
        struct buf script = { 0 };
        struct conn *c;
        size_t from = 0;
        bool good;

        buf_printf(&script, "~%c%c%c~W~m~c%s~%c", up ? 'Q' : 'R', program,
                   flags, ask, up ? 'c' : 's');
        script_say(&script, &said.raw);
        world_run(buf_at(&script), script.len, pieces, hash(p, n), false);
        c = up ? world_server() : &world.client[0];
        CHECK(c != NULL && c->heard.len > 4, "no handshake");
        while (memcmp(buf_at(&c->heard) + from, "\r\n\r\n", 4) != 0)
            from++;
        from += 4;
        good = speech_read(&heard, buf_at(&c->heard) + from,
                           c->heard.len - from);
        if (said.bad && passes && strchr("csEf", program))
            check_passed(&said, buf_at(&c->heard) + from,
                         c->heard.len - from);
        else if (!said.bad || !passes) {
            CHECK(good, "not made of whole messages");
            check_speech(&said, &heard, program == 'f' ? 'E' : program,
                         passes, up);
        }
        world_free();
        speech_free(&heard);
        buf_free(&script);
    }
    speech_free(&said);
}
