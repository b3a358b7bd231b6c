/* unit.c - tests of mitmproxy.c's functions, one by one, in one process:
   without sockets, and without a child but for openssl and for functions
   that end the program. Prints TAP.

   Most parsers here are pure functions over bytes, so most tests are tables:
   to add a case, add a line. Each case is tried at every split of its bytes,
   which end where readable memory ends, so that a byte read too many is a
   crash.

   SEED=N in the environment repeats a run of the random tests. */

#define MBEDTLS_DECLARE_PRIVATE_IDENTIFIERS /* Mbed TLS 4: its own functions */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function" /* what only main calls */
#include "../mitmproxy.c"
#pragma GCC diagnostic pop

#if MBEDTLS_VERSION_MAJOR >= 4
#include <mbedtls/private/ecp.h>
#include <mbedtls/private/gcm.h>
#endif

/* mbedtls/inverse_alt.c; the system's library has none. */
__attribute__((weak))
int inverse_alt(mbedtls_mpi *G, mbedtls_mpi *I, const mbedtls_mpi *A,
                const mbedtls_mpi *N);

#include <dirent.h>
#include <sys/mman.h>

/* ==== the harness ======================================================= */

enum { MAX_COMPLAINTS = 8 };

static int tests, failures, complaints;

/* Notes that the test under way has failed, and says how, unless good. */
PRINTF(2, 3) static void check(bool good, const char *format, ...)
{
    va_list args;

    if (good || ++complaints > MAX_COMPLAINTS)
        return;
    printf("#   ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* Runs one test and prints how it went. */
static void test(const char *name, void (*run)(void))
{
    complaints = 0;
    run();
    failures += complaints > 0;
    printf("%sok %d - %s\n", complaints ? "not " : "", ++tests, name);
}

/* The n bytes at p as a literal, the first of them; good for one printf. */
static const char *shown(const void *p, size_t n)
{
    enum { AT_MOST = 200, AT_ONCE = 4 };
    static char text[AT_ONCE][4 * AT_MOST + 3];
    static int next;
    char *t = text[next++ % AT_ONCE];

    t[repr(t, n ? p : "", n < AT_MOST ? n : AT_MOST)] = '\0';
    return t;
}

/* Checks that the n bytes at p are what they should be. */
static void same(const char *what, const void *p, size_t n, const char *want,
                 size_t want_n)
{
    check(n == want_n && (n == 0 || memcmp(p, want, n) == 0),
          "%s: got %s, %zu bytes, want %s, %zu bytes", what, shown(p, n), n,
          shown(want, want_n), want_n);
}

static void same_text(const char *what, const char *s, const char *want)
{
    same(what, s, strlen(s), want, strlen(want));
}

static void same_buf(const char *what, const struct buf *b, const char *want,
                     size_t n)
{
    same(what, b->len ? buf_at(b) : NULL, b->len, want, n);
}

/* A copy of the n bytes at p with nothing readable behind them; good until
   the next call. */
static char *guarded(const void *p, size_t n)
{
    enum { ROOM = 256 << 10 };      /* a multiple of any page's size */
    static char *end;

    if (end == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char *at = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (at == MAP_FAILED || mprotect(at + ROOM, page, PROT_NONE) != 0)
            die("no memory for a guard page");
        end = at + ROOM;
    }
    assert(n <= ROOM);
    return n > 0 ? memcpy(end - n, p, n) : end;
}

/* The sanitizer's switch for leaks, where there is a sanitizer. */
extern void __lsan_disable(void) __attribute__((weak));

/* Calls act(arg) in a child, as it may end the program. Returns what it has
   written to standard error, and its exit status; that is -1 when it
   returned, or was killed. */
static const char *last_words(void (*act)(void *), void *arg, int *status)
{
    static char text[4096];
    size_t n = 0;
    ssize_t got;
    int fd[2];
    pid_t pid;

    fflush(stdout);
    if (pipe(fd) != 0 || (pid = fork()) < 0)
        die("cannot fork: %s", strerror(errno));
    if (pid == 0) {
        if (__lsan_disable != NULL)
            __lsan_disable();       /* who dies need not free first */
        dup2(fd[1], 2);
        close(fd[0]);
        close(fd[1]);
        act(arg);
        _exit(99);
    }
    close(fd[1]);
    while ((got = read(fd[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(fd[0]);
    waitpid(pid, status, 0);
    *status = WIFEXITED(*status) && WEXITSTATUS(*status) != 99
              ? WEXITSTATUS(*status) : -1;
    return text;
}

/* Checks that act(arg) ends the program with this exit status and with one
   line that has the word in it. */
static void dies(const char *what, void (*act)(void *), void *arg, int want,
                 const char *word)
{
    int status;
    const char *text = last_words(act, arg, &status);
    const char *lf = strchr(text, '\n');

    check(status == want, "%s: exit status %d, not %d", what, status, want);
    check(strncmp(text, "mitmproxy: ", 11) == 0 && lf && lf[1] == '\0' &&
          strstr(text, word), "%s: says %s, without '%s'", what,
          shown(text, strlen(text)), word);
}

/* Random numbers (xorshift64*): the same after the same seed. */
static uint64_t seed, random_state;

static unsigned rnd(unsigned below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1d) >> 33) % below;
}

static void rnd_start(uint64_t n)
{
    random_state = n * 0x9e3779b97f4a7c15 | 1;
    for (int i = 0; i < 8; i++)
        rnd(1);
}

/* A literal with its length, as it may have NULs in it. */
#define LIT(literal) (literal), sizeof(literal) - 1

/* How many elements an array has. */
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ==== buffers =========================================================== */

static void test_buf_put(void)
{
    struct buf b = { 0 };

    buf_put(&b, "x", 0);
    check(b.data == NULL, "nothing put takes memory");
    buf_put(&b, "hello", 5);
    buf_puts(&b, " world");
    buf_printf(&b, " %d%c", 42, '!');
    same_buf("all that was put", &b, LIT("hello world 42!"));
    buf_free(&b);
    check(b.data == NULL && b.len == 0 && b.cap == 0 && b.start == 0,
          "something is left after buf_free");
}

static void test_buf_eat(void)
{
    struct buf b = { 0 };

    buf_puts(&b, "abcdef");
    buf_eat(&b, 2);
    same_buf("after two are eaten", &b, LIT("cdef"));
    buf_eat(&b, 0);
    same_buf("after none is eaten", &b, LIT("cdef"));
    buf_eat(&b, 4);
    check(b.len == 0 && b.start == 0, "an empty buffer starts at its start");
    buf_free(&b);
}

/* What an end reads at once: a little, from a peer that has sent as much a lot,
   and of that less while others converse. */
static void test_read_sizes(void)
{
    static const char block[BULK_SIZE];
    size_t sizes[] = { READ_SIZE, BULK_SIZE, SHARED_SIZE, 100, 10, 0 };
    struct end e = { .ready = true };
    FILE *f = tmpfile();

    if (f == NULL || fwrite(block, 1, BULK_SIZE, f) != BULK_SIZE ||
        fwrite(block, 1, BULK_SIZE, f) != BULK_SIZE || fflush(f) != 0)
        die("cannot write a file");
    fds_add(readable, e.fd = fileno(f));
    for (int i = 0; sizes[i] != 0; i++) {
        long end = 2L * BULK_SIZE;

        quiet_flows = i == 2;
        lseek(e.fd, sizes[i] < READ_SIZE ? end - (long)sizes[i] : 0, SEEK_SET);
        check(end_read(&e) && e.in.len == sizes[i],
              "read %d gives %zu bytes, not %zu", i, e.in.len, sizes[i]);
        buf_free(&e.in);
    }
    quiet_flows = 0;
    fds_clear();
    fclose(f);
}

/* Which flows count as in bulk, and which as conversing. */
static void test_bulk_count(void)
{
    static struct flow bulk, other, asleep;

    now = 1000;
    bulk = (struct flow){ .next = &other, .woken = now, .wake = true };
    other = (struct flow){ .next = &asleep, .woken = now };
    bulk.client.fd = bulk.server.end.fd = -1;
    other.client.fd = other.server.end.fd = -1;
    bulk.server.end.bulk = true;
    flows = &bulk;
    bulk_count();
    check(bulk_flows == 1 && quiet_flows == 1, "%lu in bulk, %lu converse",
          bulk_flows, quiet_flows);
    bulk.server.end.bulk = false;
    bulk_count();
    check(bulk_flows == 0 && quiet_flows == 1, "then %lu in bulk, %lu converse",
          bulk_flows, quiet_flows);
    now += 2 * AWAKE;
    bulk.woken = other.woken = now;
    bulk_count();
    check(quiet_flows == 2, "later %lu converse", quiet_flows);
    quiet_flows = 0;
    flows = NULL;
}

static void test_buf_reserve(void)
{
    struct buf b = { 0 };
    unsigned char *before;

    buf_reserve(&b, 100);
    check(b.cap >= 100 && b.len == 0, "no room for 100");
    for (int i = 0; i < 100; i++)
        buf_put(&b, &(char){ (char)i }, 1);
    buf_eat(&b, 60);
    before = b.data;
    buf_reserve(&b, b.cap - 40);
    check(b.data == before && b.start == 0,
          "room in front is not used before more is taken");
    for (int i = 0; i < 40; i++)
        check(buf_at(&b)[i] == 60 + i, "byte %d is lost in the move", i);
    buf_reserve(&b, 10000);
    check(b.cap >= 10040 && b.len == 40 && *buf_at(&b) == 60,
          "bytes or room lost in growing");
    buf_free(&b);
}

static void test_buf_move(void)
{
    struct buf a = { 0 }, b = { 0 };
    unsigned char *data;

    buf_puts(&a, "0123456789");
    data = a.data;
    buf_move(&b, &a, 10);
    check(b.data == data && a.len == 0, "all into an empty one: not swapped");
    same_buf("swapped", &b, LIT("0123456789"));
    buf_move(&a, &b, 4);
    same_buf("a part, copied", &a, LIT("0123"));
    same_buf("what is left", &b, LIT("456789"));
    buf_move(&a, &b, 6);
    same_buf("all to the end of another", &a, LIT("0123456789"));
    check(b.len == 0, "moved and still there");
    buf_move(&a, &b, 0);
    same_buf("nothing moved", &a, LIT("0123456789"));
    buf_free(&a);
    buf_free(&b);
}

static void test_buf_trim(void)
{
    struct buf b = { 0 };

    buf_trim(&b);
    buf_puts(&b, "x");
    buf_trim(&b);
    same_buf("not empty", &b, LIT("x"));
    buf_eat(&b, 1);
    buf_trim(&b);
    check(b.data == NULL && b.cap == 0, "an empty buffer keeps its memory");
}

/* Random operations, beside a plain array that shows what is right. */
static void test_buf_random(void)
{
    static char model[4096];
    size_t len = 0;
    struct buf b = { 0 };

    rnd_start(seed);
    for (int i = 0; i < 20000; i++) {
        size_t n = rnd(200);

        if (rnd(2) && len + n <= sizeof model) {
            for (size_t k = 0; k < n; k++)
                model[len + k] = (char)rnd(256);
            buf_put(&b, model + len, n);
            len += n;
        } else {
            n = n < len ? n : len;
            buf_eat(&b, n);
            memmove(model, model + n, len -= n);
        }
        if (b.len != len || (len && memcmp(buf_at(&b), model, len) != 0)) {
            check(false, "differs after %d operations", i);
            break;
        }
    }
    buf_free(&b);
}

/* ==== utilities and options ============================================= */

static void test_parse_number(void)
{
    static const struct { const char *text; int64_t want; } cases[] = {
        { "0", 0 }, { "8080", 8080 }, { "007", 7 }, { "", -1 }, { "+5", -1 },
        { "-5", -1 }, { " 5", -1 }, { "5 ", -1 }, { "0x5", -1 }, { "5x", -1 },
        { "five", -1 }, { "999999999999999999", 999999999999999999 },
        { "99999999999999999999", -1 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint64_t n = 0;
        bool good = parse_number(cases[i].text, strlen(cases[i].text), &n);

        check(good == (cases[i].want >= 0) &&
              (!good || n == (uint64_t)cases[i].want), "'%s' is %s %" PRIu64,
              cases[i].text, good ? "taken for" : "not", n);
    }
}

static void test_parse_seconds(void)
{
    static const char *const bad[] = { "", ".", "..5", "-1", "x", "1x", "1.5s",
                                       "1.2.3", "1e3", " 1", "nan" };
    static const struct { const char *text; double want; } good[] = {
        { "0", 0 }, { "30", 30 }, { "0.2", 0.2 }, { "1.75", 1.75 }, { "5.", 5 },
        { ".5", 0.5 }
    };
    double got;

    for (size_t i = 0; i < COUNT_OF(bad); i++)
        check(!parse_seconds(bad[i], &got), "'%s' is taken", bad[i]);
    for (size_t i = 0; i < COUNT_OF(good); i++)
        check(parse_seconds(good[i].text, &got) && got > good[i].want - 1e-9 &&
              got < good[i].want + 1e-9, "'%s' is %g", good[i].text, got);
}

/* Times in certificates (RFC 5280, 4.1.2.5). */
static void test_der_time(void)
{
    static const struct { int64_t when; const char *want; } cases[] = {
        { 0, "\x17\x0d" "700101000000Z" },
        { 1582979696, "\x17\x0d" "200229123456Z" },
        { 2524607999, "\x17\x0d" "491231235959Z" },
        { 2524608000, "\x18\x0f" "20500101000000Z" },
        { 253402300799, "\x18\x0f" "99991231235959Z" }
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = { 0 };

        der_time(&b, (time_t)cases[i].when);
        same_buf("time", &b, cases[i].want, strlen(cases[i].want));
        buf_free(&b);
    }
}

/* What Python's repr() makes of bytes(range(256)). */
static const char all_bytes[] =
    "'\\x00\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08\\t\\n\\x0b\\x0c\\r\\x0e"
    "\\x0f\\x10\\x11\\x12\\x13\\x14\\x15\\x16\\x17\\x18\\x19\\x1a\\x1b\\x1c"
    "\\x1d\\x1e\\x1f !\"#$%&\\'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRST"
    "UVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\\x7f\\x80\\x81\\x82\\x83"
    "\\x84\\x85\\x86\\x87\\x88\\x89\\x8a\\x8b\\x8c\\x8d\\x8e\\x8f\\x90\\x91"
    "\\x92\\x93\\x94\\x95\\x96\\x97\\x98\\x99\\x9a\\x9b\\x9c\\x9d\\x9e\\x9f"
    "\\xa0\\xa1\\xa2\\xa3\\xa4\\xa5\\xa6\\xa7\\xa8\\xa9\\xaa\\xab\\xac\\xad"
    "\\xae\\xaf\\xb0\\xb1\\xb2\\xb3\\xb4\\xb5\\xb6\\xb7\\xb8\\xb9\\xba\\xbb"
    "\\xbc\\xbd\\xbe\\xbf\\xc0\\xc1\\xc2\\xc3\\xc4\\xc5\\xc6\\xc7\\xc8\\xc9"
    "\\xca\\xcb\\xcc\\xcd\\xce\\xcf\\xd0\\xd1\\xd2\\xd3\\xd4\\xd5\\xd6\\xd7"
    "\\xd8\\xd9\\xda\\xdb\\xdc\\xdd\\xde\\xdf\\xe0\\xe1\\xe2\\xe3\\xe4\\xe5"
    "\\xe6\\xe7\\xe8\\xe9\\xea\\xeb\\xec\\xed\\xee\\xef\\xf0\\xf1\\xf2\\xf3"
    "\\xf4\\xf5\\xf6\\xf7\\xf8\\xf9\\xfa\\xfb\\xfc\\xfd\\xfe\\xff'";

static void test_repr(void)
{
    static const struct { const char *text, *want; } quotes[] = {
        { "", "''" }, { "it", "'it'" }, { "it's", "\"it's\"" },
        { "\"it\"", "'\"it\"'" }, { "\"it's\"", "'\"it\\'s\"'" },
        { "'", "\"'\"" }, { "a\\b", "'a\\\\b'" },
    };
    char bytes[256], line[4 * 256 + 2];

    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    same("all bytes", line, repr(line, bytes, sizeof bytes), LIT(all_bytes));
    for (size_t i = 0; i < COUNT_OF(quotes); i++)
        same(quotes[i].text, line,
             repr(line, quotes[i].text, strlen(quotes[i].text)),
             quotes[i].want, strlen(quotes[i].want));
    memset(bytes, 0xff, sizeof bytes);
    check(repr(line, bytes, sizeof bytes) == sizeof line,
          "the longest is longer than promised");
}

static void test_split_command(void)
{
    /* the words in brackets; NULL: it takes a shell */
    static const struct { const char *command, *want; } cases[] = {
        { "cat", "[cat]" }, { "sed -u s/a/b/g", "[sed][-u][s/a/b/g]" },
        { "  cat\t -n ", "[cat][-n]" },
        { "sed 's/a b/c  d/'", "[sed][s/a b/c  d/]" },
        { "sed \"s/a b/c/\"", "[sed][s/a b/c/]" },
        { "echo a'b c'\"d e\"f", "[echo][ab cd ef]" },
        { "echo '' \"\"", "[echo][][]" },
        { "echo \"it's\" '\"'", "[echo][it's][\"]" },
        { "sed 's/$x/`y`\\1/;s/|/&/'", "[sed][s/$x/`y`\\1/;s/|/&/]" },
        { "sed s/a=b/c#d/", "[sed][s/a=b/c#d/]" },
        { "./cd x", "[./cd][x]" }, { "a b", "[a][b]" },
        { "a | b", NULL }, { "a > b", NULL }, { "a < b", NULL },
        { "a; b", NULL }, { "a & b", NULL }, { "(a)", NULL },
        { "echo $x", NULL }, { "echo \"$x\"", NULL }, { "echo `x`", NULL },
        { "echo \"`x`\"", NULL }, { "echo a\\ b", NULL },
        { "echo \"a\\\"b\"", NULL }, { "ls *.c", NULL }, { "ls ?", NULL },
        { "ls [a]", NULL }, { "ls ~/x", NULL }, { "a #b", NULL },
        { "x=1 a", NULL }, { "a\nb", NULL }, { "echo 'a", NULL },
        { "echo \"a", NULL }, { "cd x", NULL }, { "exec cat", NULL },
        { "! cat", NULL }, { "{ cat", NULL }, { "if x", NULL },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char **argv = split_command(cases[i].command);
        struct buf b = { 0 };

        for (char **a = argv; a != NULL && *a != NULL; a++)
            buf_printf(&b, "[%s]", *a);
        if (cases[i].want == NULL || argv == NULL)
            check((argv == NULL) == (cases[i].want == NULL),
                  "'%s': %s", cases[i].command,
                  argv ? "done without a shell" : "given to the shell");
        else
            same_buf(cases[i].command, &b, cases[i].want,
                     strlen(cases[i].want));
        buf_free(&b);
        free(argv);
    }
}

static void act_options(void *argv)
{
    options_parse(argv);
}

static void test_option_errors(void)
{
    static struct { const char *argv[4], *word; } cases[] = {
        { { "m", "--nonsense" }, "nonsense" }, { { "m", "-Z" }, "-Z" },
        { { "m", "--" }, "COMMAND" }, { { "m", "-" }, "'-'" },
        { { "m", "-p" }, "PORT" }, { { "m", "-p", "66666" }, "65535" },
        { { "m", "--listen-port=x" }, "'x'" }, { { "m", "-p+1" }, "'+1'" },
        { { "m", "--insecure=1" }, "no argument" },
        { { "m", "--timeout", "-1" }, "'-1'" },
        { { "m", "--timeout", "nan" }, "'nan'" },
        { { "m", "--jobs", "0" }, "'0'" },
        { { "m", "--on-error=ignore" }, "'ignore'" },
        { { "m", "--request", " " }, "command" },
        { { "m", "--match=~z", "-Rcat" }, "character 1" },
        { { "m", "--raw" }, "before the filter" },
        { { "m", "--mode", "sideways" }, "sideways" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        dies(cases[i].argv[1], act_options, cases[i].argv, 2, cases[i].word);
}

/* ==== heads ============================================================= */

#define REQUEST(literal) .request = true, .text = (literal), \
                         .n = sizeof(literal) - 1
#define ANSWER(literal)  .text = (literal), .n = sizeof(literal) - 1
#define GET              "GET / HTTP/1.1\r\n"
#define POST             "POST / HTTP/1.1\r\n"
#define OK               "HTTP/1.1 200 OK\r\n"

/* Heads and what they say. Without .body the head is malformed. */
static const struct head_case {
    bool request, head;         /* .head: it answers HEAD */
    const char *text;
    size_t n;
    const char *body;           /* none, a length, chunked or close */
    const char *unclear;        /* a word of the reason; NULL: it is clear */
    const char *method, *target, *host, *type;
    int status;
    bool http10, close, expect;
} heads[] = {
    /* request lines */
    { REQUEST(GET "\r\n"), "none", .method = "GET", .target = "/" },
    { REQUEST("GET /a?b=c HTTP/1.1\n\n"), "none", .target = "/a?b=c" },
    { REQUEST("\r\n\n\r\n" GET "\r\n"), "none", .method = "GET",
      .target = "/" },
    { REQUEST("M-SEARCH * HTTP/1.1\r\n\r\n"), "none", .method = "M-SEARCH",
      .target = "*" },
    { REQUEST("get / HTTP/1.1\r\n\r\n"), "none", .method = "get" },
    { REQUEST("!#$%&'*+-.^_`|~ / HTTP/1.1\r\n\r\n"), "none",
      .method = "!#$%&'*+-.^_`|~" },
    { REQUEST("GET /a b  c HTTP/1.1\r\n\r\n"), "none", .target = "/a b  c" },
    { REQUEST("GET http://h:1/p HTTP/1.1\r\n\r\n"), "none",
      .target = "http://h:1/p" },
    { REQUEST("CONNECT h:443 HTTP/1.1\r\n\r\n"), "none",
      .method = "CONNECT", .target = "h:443" },
    { REQUEST("GET /\xc3\xbc\x80 HTTP/1.1\r\n\r\n"), "none",
      .target = "/\xc3\xbc\x80" },
    { REQUEST("GET / HTTP/1.0\r\n\r\n"), "none", .http10 = true,
      .close = true },
    { REQUEST("GET\r\n\r\n"), 0 },
    { REQUEST("GET /\r\n\r\n"), 0 },
    { REQUEST("GET / HTTP/1.2\r\n\r\n"), 0 },
    { REQUEST("GET / HTTP/2.0\r\n\r\n"), 0 },
    { REQUEST("GET / http/1.1\r\n\r\n"), 0 },
    { REQUEST("GET / HTTP/1.1 \r\n\r\n"), 0 },
    { REQUEST("GET / HTTP/1.11\r\n\r\n"), 0 },
    { REQUEST("GET  HTTP/1.1\r\n\r\n"), 0 },
    { REQUEST("GET\t/ HTTP/1.1\r\n\r\n"), 0 },
    { REQUEST(" GET / HTTP/1.1\r\n\r\n"), 0 },
    { REQUEST("G\0T / HTTP/1.1\r\n\r\n"), 0 },
    { REQUEST("\x16\x03\x01\x02"), 0 },
    { REQUEST("SSH-2.0-x\r\n"), 0 },
    { REQUEST(OK "\r\n"), 0 },

    /* status lines */
    { ANSWER(OK "\r\n"), "close", .status = 200 },
    { ANSWER("HTTP/1.1 404\r\n\r\n"), "close", .status = 404 },
    { ANSWER("HTTP/1.1 999 \r\n\r\n"), "close", .status = 999 },
    { ANSWER("HTTP/1.1 200 \xc3\xbc ok\n\n"), "close", .status = 200 },
    { ANSWER("HTTP/1.0 200 OK\r\n\r\n"), "close", .status = 200,
      .http10 = true, .close = true },
    { ANSWER("HTTP/1.1 100 C\r\n\r\n"), "none", .status = 100 },
    { ANSWER("HTTP/1.1 101 S\r\n\r\n"), "none", .status = 101 },
    { ANSWER("HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n"), "none",
      .status = 204 },
    { ANSWER("HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n"), "none",
      .status = 304 },
    { ANSWER("HTTP/1.1 205 R\r\nContent-Length: 5\r\n\r\n"), "5",
      .status = 205 },
    { ANSWER(OK "Content-Length: 5\r\n\r\n"), "none", .head = true,
      .status = 200 },
    { ANSWER(OK "\r\n"), "none", .head = true, .status = 200 },
    { ANSWER("HTTP/1.1 20\r\n\r\n"), 0 },
    { ANSWER("HTTP/1.1 20 OK\r\n\r\n"), 0 },
    { ANSWER("HTTP/1.1 2000 OK\r\n\r\n"), 0 },
    { ANSWER("HTTP/1.1 099 OK\r\n\r\n"), 0 },
    { ANSWER("HTTP/1.1 +20 OK\r\n\r\n"), 0 },
    { ANSWER("HTTP/1.2 200 OK\r\n\r\n"), 0 },
    { ANSWER("HTTP/2 200\r\n\r\n"), 0 },
    { ANSWER("http/1.1 200 OK\r\n\r\n"), 0 },
    { ANSWER("ICY 200 OK\r\n\r\n"), 0 },
    { ANSWER("\r\n" OK "\r\n"), 0 },
    { ANSWER("<html>"), 0 },

    /* fields that say nothing about the body */
    { REQUEST(GET "Host: h\r\n\r\n"), "none", .host = "h" },
    { REQUEST(GET "hOST:\t h:80 \t\r\n\r\n"), "none", .host = "h:80" },
    { REQUEST(GET "Host:\r\n\r\n"), "none", .host = "" },
    { REQUEST(GET "Host : h\r\n\r\n"), "none", .host = "" },
    { ANSWER(OK "Content-Type: text/html; charset=utf-8\n\n"), "close",
      .status = 200, .type = "text/html; charset=utf-8" },
    { REQUEST(GET "A: b\r\n c\r\n\td\r\nHost: h\r\n\r\n"), "none",
      .host = "h" },
    { REQUEST(GET "A: \0\x80\xff\r\nA:\r\n: x\r\n:\r\nHost: h\r\n\r\n"),
      "none", .host = "h" },
    { REQUEST(GET "no colon\r\n folded\r\nHost: h\r\n\r\n"), "none",
      .host = "h" },
    { REQUEST(GET " folded\r\nHost: h\r\n\r\n"), "none", .host = "h" },
    { REQUEST(GET "A: b\rc\r\r\nHost: h\r\n\r\n"), "none", .host = "h" },

    /* does the connection end, does the body wait */
    { REQUEST(GET "Connection: close\r\n\r\n"), "none", .close = true },
    { REQUEST(GET "Connection: x, Close\r\n\r\n"), "none", .close = true },
    { REQUEST(GET "Connection: closed\r\n\r\n"), "none" },
    { REQUEST(GET "Connection: keep-alive, close\r\n\r\n"), "none",
      .close = true },
    { REQUEST(GET "Connection: close\r\nConnection: keep-alive\r\n\r\n"),
      "none", .close = true },
    { REQUEST("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), "none",
      .http10 = true },
    { REQUEST("GET / HTTP/1.0\r\nConnection: x\r\n\r\n"), "none",
      .http10 = true, .close = true },
    { REQUEST(POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n"),
      "1", .expect = true },
    { REQUEST(POST "Expect: 200-ok\r\n\r\n"), "none" },

    /* lengths */
    { REQUEST(POST "Content-Length: 5\r\n\r\n"), "5" },
    { REQUEST(POST "content-length:5\n\n"), "5" },
    { REQUEST(POST "CONTENT-LENGTH:\t 5 \t\r\n\r\n"), "5" },
    { REQUEST(POST "Content-Length: 0\r\n\r\n"), "none" },
    { REQUEST(POST "Content-Length: 0005\r\n\r\n"), "5" },
    { REQUEST(POST "Content-Length: 9999999999999999999\r\n\r\n"),
      "9999999999999999999" },
    { REQUEST(POST "Content-Length: 5\r\nContent-Length: 05\r\n\r\n"), "5" },
    { REQUEST(POST "X-Content-Length: 5\r\nContent-Lengths: 6\r\n\r\n"),
      "none" },
    { ANSWER(OK "Content-Length: 5\r\n\r\n"), "5", .status = 200 },
    { REQUEST(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), "",
      "two lengths" },
    { REQUEST(POST "Content-Length: 5\r\nContent-Length: x\r\n\r\n"), "",
      "no number" },
    { REQUEST(POST "Content-Length: x\r\nContent-Length: 5\r\n\r\n"), "",
      "" },
    { REQUEST(POST "Content-Length:\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: +5\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: -5\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: 0x5\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: 5 5\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: 5, 6\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: 5\0\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: \v5\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: 18446744073709551616\r\n\r\n"), "",
      "no number" },
    { REQUEST(POST "Content-Length: 18446744073709551621\r\n\r\n"), "",
      "no number" },
    { REQUEST(POST "Content-Length : 5\r\n\r\n"), "", "space" },
    { REQUEST(POST "Content-Length\t: 5\r\n\r\n"), "", "space" },
    { REQUEST(POST "Content-Length: 5\r\n 6\r\n\r\n"), "", "folded" },
    { REQUEST(POST "Content-Length:\r\n\t5\r\n\r\n"), "", "" },

    /* codings */
    { REQUEST(POST "Transfer-Encoding: chunked\r\n\r\n"), "chunked" },
    { REQUEST(POST "transfer-encoding:CHUNKED\n\n"), "chunked" },
    { REQUEST(POST "Transfer-Encoding: gzip ,\tchunked\r\n\r\n"), "chunked" },
    { REQUEST(POST "Transfer-Encoding: chunked,\r\n\r\n"), "chunked" },
    { REQUEST(POST "Transfer-Encoding: gzip\r\n"
              "Transfer-Encoding: chunked\r\n\r\n"), "chunked" },
    { ANSWER(OK "Transfer-Encoding: chunked\r\n\r\n"), "chunked",
      .status = 200 },
    { ANSWER(OK "Transfer-Encoding: gzip\r\n\r\n"), "close", .status = 200 },
    { ANSWER(OK "Transfer-Encoding: chunked, gzip\r\n\r\n"), "close",
      .status = 200 },
    { REQUEST(POST "Transfer-Encoding: gzip\r\n\r\n"), "", "not chunked" },
    { REQUEST(POST "Transfer-Encoding:\r\n\r\n"), "", "not chunked" },
    { REQUEST(POST "Transfer-Encoding: xchunked\r\n\r\n"), "",
      "not chunked" },
    { REQUEST(POST "Transfer-Encoding: chunked;q=1\r\n\r\n"), "",
      "not chunked" },
    { REQUEST(POST "Transfer-Encoding: chunked, gzip\r\n\r\n"), "",
      "not chunked" },
    { REQUEST(POST "Transfer-Encoding: chunked\r\n"
              "Transfer-Encoding: gzip\r\n\r\n"), "", "" },
    { REQUEST(POST "Transfer-Encoding: chunked\r\n"
              "Transfer-Encoding: chunked\r\n\r\n"), "chunked" },
    { REQUEST(POST "Transfer-Encoding: chunked, chunked\r\n\r\n"),
      "chunked" },
    { REQUEST(POST "Transfer-Encoding: chunked\r\n"
              "Transfer-Encoding: identity\r\n\r\n"), "", "" },
    { REQUEST(POST "Transfer-Encoding: identity\r\n"
              "Transfer-Encoding: chunked\r\n\r\n"), "chunked" },
    { REQUEST(POST "Transfer-Encoding: identity\r\nContent-Length: 5\r\n"
              "\r\n"), "5" },
    { ANSWER(OK "Content-Length: 5\r\nTransfer-Encoding: Identity\r\n\r\n"),
      "5", .status = 200 },
    { ANSWER(OK "Transfer-Encoding: identity\r\n\r\n"), "close",
      .status = 200 },
    { ANSWER(OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"
              "Transfer-Encoding: identity\r\n\r\n"), "", "",
      .status = 200 },
    { REQUEST(POST "Content-Length: 22, 22\r\n\r\n"), "22" },
    { REQUEST(POST "Content-Length: 22 ,022\r\nContent-Length: 22\r\n\r\n"),
      "22" },
    { REQUEST(POST "Content-Length: 22,\r\n\r\n"), "", "no number" },
    { REQUEST(POST "Content-Length: 22, 22\r\nContent-Length: 23\r\n\r\n"),
      "", "differ" },
    { REQUEST("GET  /a   HTTP/1.1\r\n\r\n"), "none", .method = "GET",
      .target = "/a" },
    { REQUEST("GET  /a b  HTTP/1.1\r\n\r\n"), "none", .method = "GET",
      .target = "/a b" },
    { ANSWER("HTTP/1.1  200  OK\r\n\r\n"), "close", .status = 200 },
    { ANSWER("HTTP/1.1  304\r\n\r\n"), "none", .status = 304 },
    { REQUEST(POST "Transfer-Encoding: \vchunked\r\n\r\n"), "", "" },
    { ANSWER(OK "Transfer-Encoding: chunked\f\r\n\r\n"), "", "control",
      .status = 200 },
    { ANSWER(OK "Transfer-Encoding: chunked\0\r\n\r\n"), "", "control",
      .status = 200 },
    { ANSWER(OK "Transfer-Encoding: chunked\r\r\n\r\n"), "", "control",
      .status = 200 },
    { ANSWER(OK "Transfer-Encoding : chunked\r\n\r\n"), "", "space",
      .status = 200 },
    { ANSWER(OK "Transfer-Encoding:\r\n chunked\r\n\r\n"), "", "folded",
      .status = 200 },
    { REQUEST(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"
              "\r\n"), "", "both" },
    { REQUEST(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
              "\r\n"), "", "both" },
    { ANSWER(OK "Content-Length: 5\r\nTransfer-Encoding: x\r\n\r\n"), "",
      "both", .status = 200 },
    { ANSWER("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "",
      "HTTP/1.0", .status = 200, .http10 = true, .close = true },
};

/* How the body is framed, in the words of the table. */
static const char *body_word(const struct body *b)
{
    static char length[24];

    switch (b->framing) {
    case NO_BODY:
        return "none";
    case BY_LENGTH:
        sprintf(length, "%llu", (unsigned long long)b->left);
        return b->left ? length : "none";
    case CHUNKED:
        return "chunked";
    case UNTIL_CLOSE:
        return "close";
    }
    return "?";
}

static void check_span(const struct head_case *c, const char *what,
                       struct span s, const char *want)
{
    if (want != NULL)
        same(what, c->text + s.at, s.len, want, strlen(want));
}

/* Checks all that a head says against its line in the table. */
static void check_head(const struct head_case *c, const struct head *h)
{
    struct exchange ex = { .head = c->head };
    struct body b = body_begin(h, &ex);
    const char *text = shown(c->text, c->n);

    check(h->len == c->n, "%s: length %zu", text, h->len);
    check(h->status == c->status, "%s: status %d", text, h->status);
    check(h->minor == !c->http10, "%s: HTTP/1.%d", text, h->minor);
    check(h->close == c->close, "%s: close is %d", text, h->close);
    check(h->expect == c->expect, "%s: expect is %d", text, h->expect);
    check_span(c, "method", h->method, c->method);
    check_span(c, "target", h->target, c->target);
    check_span(c, "Host", h->host, c->host);
    check_span(c, "Content-Type", h->type, c->type);
    if (c->unclear != NULL)
        check(h->unclear && strstr(h->unclear, c->unclear), "%s: it is %s, "
              "not '%s'", text, h->unclear ? h->unclear : "clear",
              c->unclear);
    else {
        check(h->unclear == NULL, "%s: %s", text, h->unclear);
        check(strcmp(body_word(&b), c->body) == 0, "%s: its body is %s",
              text, body_word(&b));
    }
}

static void test_heads(void)
{
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        const struct head_case *c = &heads[i];
        struct head h;
        int n = head_parse(guarded(c->text, c->n), c->n, c->request, &h);

        check(n == (c->body ? (int)c->n : -1), "%s: returns %d",
              shown(c->text, c->n), n);
        if (n > 0 && c->body)
            check_head(c, &h);
    }
}

/* With a byte less a good head asks for more, and a bad one may: but once it
   was refused it stays so. */
static void test_heads_split(void)
{
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        const struct head_case *c = &heads[i];
        bool refused = false;
        struct head h;

        for (size_t n = 0; n < c->n; n++) {
            int r = head_parse(guarded(c->text, n), n, c->request, &h);

            check(r == 0 || (r == -1 && !c->body), "%s: %d for %zu bytes",
                  shown(c->text, c->n), r, n);
            check(r == -1 || !refused, "%s: %d for %zu bytes, after -1",
                  shown(c->text, c->n), r, n);
            refused |= r == -1;
        }
    }
}

/* A head that comes byte by byte, and is read on where it was left, says what
   the whole says; and a call says at each byte what a first one would. */
static void test_heads_drip(void)
{
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        const struct head_case *c = &heads[i];
        struct head h = { 0 }, fresh;

        for (size_t n = 0; n <= c->n; n++) {
            int r = head_more(guarded(c->text, n), n, c->request, &h);
            int want = head_parse(guarded(c->text, n), n, c->request, &fresh);

            check(r == want, "%s: %d, not %d for %zu bytes",
                  shown(c->text, c->n), r, want, n);
            if (r < 0)
                break;
        }
        if (c->body)
            check_head(c, &h);
        if (c->body)
            check(head_more(guarded(c->text, c->n), c->n, c->request, &h) ==
                  (int)c->n, "%s: asked again", shown(c->text, c->n));
    }
}

/* What comes behind a head is none of its business. */
static void test_heads_more(void)
{
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        const struct head_case *c = &heads[i];
        struct buf b = { 0 };
        struct head h;
        int n;

        buf_put(&b, c->text, c->n);
        buf_puts(&b, "GET / HTTP/1.1\r\nContent-Length: 7\r\n\r\n");
        n = head_parse(guarded(buf_at(&b), b.len), b.len, c->request, &h);
        check(n == (c->body ? (int)c->n : -1), "%s: returns %d",
              shown(c->text, c->n), n);
        if (n > 0 && c->body)
            check_head(c, &h);
        buf_free(&b);
    }
}

/* A head of total bytes. */
static struct buf long_head(size_t total)
{
    struct buf b = { 0 };

    buf_puts(&b, GET "A: ");
    while (b.len < total - 4)
        buf_puts(&b, "x");
    buf_puts(&b, "\r\n\r\n");
    return b;
}

static void test_head_limit(void)
{
    for (size_t n = MAX_HEAD - 1; n <= MAX_HEAD + 1; n++) {
        struct buf b = long_head(n);
        struct head h;
        int r = head_parse(guarded(buf_at(&b), n), n, true, &h);

        check(r == (n <= MAX_HEAD ? (int)n : 0), "%zu bytes: %d", n, r);
        buf_free(&b);
    }
}

/* ==== bodies ============================================================ */

/* Chunked bodies; data and trailers are NULL where it is malformed. */
static const struct chunked_case {
    const char *text, *data, *trailers, *rest;
} chunked[] = {
    { "0\r\n\r\n", "", "\r\n", "" },
    { "0\r\n\r\nGET /", "", "\r\n", "GET /" },
    { "5\r\nhello\r\n0\r\n\r\n", "hello", "\r\n", "" },
    { "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n0\r\n", "hello!", "\r\n", "0\r\n" },
    { "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
      "01234567890123456789a", "\r\n", "" },
    { "00000000000000000000000005\r\nhello\r\n000\r\n\r\n", "hello", "\r\n",
      "" },
    { "2\r\n\r\n\r\n2\r\n0\r\r\n0\r\n\r\n", "\r\n0\r", "\r\n", "" },
    /* extensions */
    { "5;a\r\nhello\r\n0;b=\"c;d\"\r\n\r\n", "hello", "\r\n", "" },
    { "5 ;a = b\r\nhello\r\n0\t ;\r\n\r\n", "hello", "\r\n", "" },
    { "5 \r\nhello\r\n0\t\r\n\r\n", "hello", "\r\n", "" },
    { "5;\xff\x80 5\r\nhello\r\n0\r\n\r\n", "hello", "\r\n", "" },
    /* bare LF */
    { "5\nhello\n0\n\n", "hello", "\n", "" },
    { "5;a\nhello\r\n0 \n\r\nX", "hello", "\r\n", "X" },
    { "5\r\nhello\n0\r\n\nX", "hello", "\n", "X" },
    /* trailers */
    { "0\r\nA: b\r\n\r\nX", "", "A: b\r\n\r\n", "X" },
    { "1\r\nx\r\n0\r\nA: b\r\nC:\r\n d\n\nX", "x", "A: b\r\nC:\r\n d\n\n",
      "X" },
    { "0\nA: \rb\r\r\n\r\n", "", "A: \rb\r\r\n\r\n", "" },
    { "0\r\n5\r\n\r\n", "", "5\r\n\r\n", "" },
    /* the largest that is believed: what follows is all data */
    { "3fffffffffffffff\r\nhello", "hello", "", "" },
    /* sizes that are none */
    { "\r\n", 0, 0, 0 }, { "\n", 0, 0, 0 }, { ";a\r\n", 0, 0, 0 },
    { " 5\r\n", 0, 0, 0 }, { "+5\r\n", 0, 0, 0 }, { "-5\r\n", 0, 0, 0 },
    { "0x5\r\n", 0, 0, 0 }, { "5 x\r\n", 0, 0, 0 }, { "5 5\r\n", 0, 0, 0 },
    { "5,\r\n", 0, 0, 0 }, { "5h\r\n", 0, 0, 0 }, { "g\r\n", 0, 0, 0 },
    { "5.0\r\n", 0, 0, 0 }, { "5_0\r\n", 0, 0, 0 }, { "5\v\r\n", 0, 0, 0 },
    { "ffffffffffffffff\r\n", 0, 0, 0 },        /* 2^64 - 1 */
    { "10000000000000000\r\n", 0, 0, 0 },       /* 2^64 */
    { "10000000000000005\r\n", 0, 0, 0 },
    { "fffffffffffffffffffffffffffffff5\r\n", 0, 0, 0 },
    { "00010000000000000000000000000005\r\n", 0, 0, 0 },
    /* line ends that are none */
    { "5\rhello", 0, 0, 0 }, { "5;a\rb\r\n", 0, 0, 0 },
    { "5\r\r\nhello", 0, 0, 0 }, { "5\r\nhello0\r\n", 0, 0, 0 },
    { "5\r\nhello\rx", 0, 0, 0 }, { "5\r\nhello\r\r\n", 0, 0, 0 },
    { "5\r\nhello\r\n\r\n", 0, 0, 0 }, { "5\r\nhello!\r\n", 0, 0, 0 },
    { "5\nhello\n\n", 0, 0, 0 }, { "5\nhello\n;a\n", 0, 0, 0 },
    { "0\r\n\rx", 0, 0, 0 }, { "0\rx", 0, 0, 0 },
};

/* What has been read of a body. */
struct reading { struct body body; struct buf data, trailers; bool bad; };

/* Reads the n bytes at p, or up to the body's end; returns how many. */
static size_t reading_feed(struct reading *r, const char *p, size_t n)
{
    const char *piece = guarded(p, n);
    size_t at = 0;

    while (at < n && !r->body.done && !r->bad) {
        bool data = false, trailer = r->body.framing == CHUNKED &&
                                     r->body.step >= TRAILER_START;
        ssize_t k = body_next(&r->body, piece + at, n - at, &data);

        if (k == 0 || k > (ssize_t)(n - at)) {
            check(false, "%s: %zd bytes consumed of %zu", shown(p, n), k,
                  n - at);
            break;
        }
        r->bad = k < 0;
        if (k > 0 && (data || trailer))
            buf_put(data ? &r->data : &r->trailers, piece + at, (size_t)k);
        at += k > 0 ? (size_t)k : 0;
    }
    return at;
}

static void reading_free(struct reading *r)
{
    buf_free(&r->data);
    buf_free(&r->trailers);
}

/* Checks what was read, used bytes of it, against the table. */
static void check_chunked(const struct chunked_case *c,
                          const struct reading *r, size_t used)
{
    size_t n = strlen(c->text);

    check(r->bad == (c->data == NULL), "%s: %s", shown(c->text, n),
          r->bad ? "refused" : "not refused");
    if (r->bad || c->data == NULL)
        return;
    same_buf("data", &r->data, c->data, strlen(c->data));
    same_buf("trailers", &r->trailers, c->trailers, strlen(c->trailers));
    same_text("behind it", c->text + used, c->rest);
    check(r->body.done == (c->trailers[0] != '\0'), "%s: done is %d",
          shown(c->text, n), r->body.done);
}

/* Whole, and at every split in two. */
static void test_chunked(void)
{
    for (size_t i = 0; i < COUNT_OF(chunked); i++) {
        const char *text = chunked[i].text;

        for (size_t n = strlen(text), cut = 0; cut < n; cut++) {
            struct reading r = { .body = { .framing = CHUNKED } };
            size_t used = reading_feed(&r, text, cut);

            if (used == cut)
                used += reading_feed(&r, text + cut, n - cut);
            check_chunked(&chunked[i], &r, used);
            reading_free(&r);
        }
    }
}

static void test_chunked_bytes(void)
{
    for (size_t i = 0; i < COUNT_OF(chunked); i++) {
        struct reading r = { .body = { .framing = CHUNKED } };
        const char *text = chunked[i].text;
        size_t used = 0;

        while (text[used] != '\0' && reading_feed(&r, text + used, 1) == 1)
            used++;
        check_chunked(&chunked[i], &r, used);
        reading_free(&r);
    }
}

static void test_by_length(void)
{
    static const char text[] = "helloGET /";

    for (size_t cut = 0; cut < sizeof text - 1; cut++) {
        struct reading r = { .body = { .framing = BY_LENGTH, .left = 5 } };
        size_t used = reading_feed(&r, text, cut);

        check(r.body.done == (cut >= 5), "%zu bytes: done is %d", cut,
              r.body.done);
        used += reading_feed(&r, text + used, sizeof text - 1 - used);
        check(used == 5 && r.body.done && r.body.left == 0 && !r.bad,
              "cut at %zu: %zu bytes used", cut, used);
        same_buf("data", &r.data, "hello", 5);
        reading_free(&r);
    }
}

static void test_until_close(void)
{
    struct reading r = { .body = { .framing = UNTIL_CLOSE } };

    reading_feed(&r, "0\r\n", 3);
    reading_feed(&r, "\r\n\0x", 4);
    check(!r.body.done && !r.bad, "it ended by itself");
    same_buf("data", &r.data, LIT("0\r\n\r\n\0x"));
    reading_free(&r);
}

/* ==== heads that are changed ============================================ */

/* Heads, the field that is given another value, or none, and what they become:
   all else stays, byte for byte. */
static const struct {
    const char *text, *field, *value, *want, *was;
} sets[] = {
    { GET "a:b\r\nA :  c\n: \r\nx\r\n y\r\n\r\n", "y", "z",
      GET "a:b\r\nA :  c\n: \r\nx\r\n y\r\n\r\n", "" },
    { "\r\n\n" GET "\n", "A", NULL, "\r\n\n" GET "\n", "" },
    { GET "A: b\r\n\r\n", "Accept-Encoding", "identity", GET "A: b\r\n\r\n",
      "" },
    /* goes, and nothing else */
    { GET "Proxy-Connection: x\r\nA: b\r\nproxy-connection:y\n"
      "Proxy-Connections: z\r\n\r\n", "Proxy-Connection", NULL,
      GET "A: b\r\nProxy-Connections: z\r\n\r\n", "x, y" },
    { GET "Proxy-Connection: x\r\n y\r\n\tz\r\nA: b\r\n c\r\n\r\n",
      "Proxy-Connection", NULL, GET "A: b\r\n c\r\n\r\n", "x" },
    { GET "A: b\r\nProxy-Connection : x\r\n\r\n", "Proxy-Connection", NULL,
      GET "A: b\r\n\r\n", "x" },
    /* another value: longer, shorter, folded, twice, empty, a blank before */
    { GET "Accept-Encoding: gzip, br\r\n\r\n", "Accept-Encoding", "identity",
      GET "Accept-Encoding: identity\r\n\r\n", "gzip, br" },
    { GET "accept-encoding:gzip\n br\nA: b\n\n", "Accept-Encoding", "identity",
      GET "accept-encoding:identity\nA: b\n\n", "gzip" },
    { GET "A: \t b \r\na:c\r\n\r\n", "a", "1234567",
      GET "A: \t 1234567 \r\n\r\n", "b, c" },
    { GET "A:\r\nB: c\r\n\r\n", "A", "b", GET "A:b\r\nB: c\r\n\r\n", "" },
    { GET "A  : b\r\n\r\n", "A", "", GET "A: \r\n\r\n", "b" },
};

/* The head of a text, with a body behind it. */
static struct buf head_of(const char *text, const char *body, struct head *h)
{
    struct buf b = { 0 };
    size_t n = strlen(text);

    check(head_parse(text, n, strncmp(text, "HTTP/", 5) != 0, h) == (int)n,
          "%s is no head", shown(text, n));
    buf_puts(&b, text);
    buf_puts(&b, body);
    return b;
}

static void test_head_set(void)
{
    for (size_t i = 0; i < COUNT_OF(sets); i++) {
        const char *body = i % 2 ? "A: b\r\n" : "";
        struct head h;
        struct buf b = head_of(sets[i].text, body, &h), was = { 0 };
        char want[200];

        check(head_set(&b, h.fields, sets[i].field, sets[i].value, &was) ==
              (sets[i].value != NULL && strcmp(sets[i].text, sets[i].want)),
              "%s: %s", shown(sets[i].text, h.len), sets[i].field);
        snprintf(want, sizeof want, "%s%s", sets[i].want, body);
        same_buf("head", &b, want, strlen(want));
        same_buf("values", &was, sets[i].was, strlen(sets[i].was));
        buf_free(&b);
        buf_free(&was);
    }
}

/* Heads, how their body is framed anew, and what they become. */
static const struct frame_case {
    const char *text;
    int framing;
    uint64_t length;
    const char *want;
} frames[] = {
    { OK "Content-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", STAYS, 42,
      OK "Content-Length: 5\r\nTransfer-Encoding: x\r\n\r\n" },
    /* lengths: present, absent, twice, folded, with bare LF */
    { OK "Content-Length: 5\r\nA: b\r\n\r\n", SET_LENGTH, 42,
      OK "Content-Length: 42\r\nA: b\r\n\r\n" },
    { OK "content-length:\t 5 \nA: b\n\n", SET_LENGTH, 42,
      OK "content-length:\t 42 \nA: b\n\n" },
    { OK "Content-Length:\r\n\r\n", SET_LENGTH, 42,
      OK "Content-Length:42\r\n\r\n" },
    { OK "A: b\r\n\r\n", SET_LENGTH, 42,
      OK "A: b\r\nContent-Length: 42\r\n\r\n" },
    { OK "A: b\r\n\n", SET_LENGTH, 42, OK "A: b\r\nContent-Length: 42\n\n" },
    { OK "\r\n", SET_LENGTH, UINT64_MAX,
      OK "Content-Length: 18446744073709551615\r\n\r\n" },
    { OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", SET_LENGTH, 42,
      OK "Content-Length: 42\r\n\r\n" },
    { OK "Content-Length: 5\r\n 6\r\nA: b\r\n c\r\n\r\n", SET_LENGTH, 42,
      OK "Content-Length: 42\r\nA: b\r\n c\r\n\r\n" },
    { OK "Transfer-Encoding: chunked\r\n\r\n", SET_LENGTH, 42,
      OK "Content-Length: 42\r\n\r\n" },
    { OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", SET_LENGTH,
      0, OK "Content-Length: 0\r\n\r\n" },
    /* chunked */
    { OK "A: b\r\n\r\n", SET_CHUNKED, 0,
      OK "A: b\r\nTransfer-Encoding: chunked\r\n\r\n" },
    { OK "Content-Length: 5\nA: b\r\n\r\n", SET_CHUNKED, 0,
      OK "A: b\r\nTransfer-Encoding: chunked\r\n\r\n" },
    { OK "transfer-encoding:Chunked\r\n\r\n", SET_CHUNKED, 0,
      OK "transfer-encoding:Chunked\r\n\r\n" },
    { OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n 6\r\n\r\n",
      SET_CHUNKED, 0, OK "Transfer-Encoding: chunked\r\n\r\n" },
    /* neither */
    { OK "Content-Length: 5\r\n 6\r\nA: b\r\nTransfer-Encoding: x\r\n\r\n",
      SET_NONE, 0, OK "A: b\r\n\r\n" },
    { OK "A: b\r\n\r\n", SET_NONE, 0, OK "A: b\r\n\r\n" },
};

static void test_head_frame(void)
{
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        const struct frame_case *c = &frames[i];
        struct head h;
        struct buf b = head_of(c->text, "", &h);

        head_frame(&b, &h, c->framing, c->length);
        same_buf("head", &b, c->want, strlen(c->want));
        buf_free(&b);
    }
}

/* Requests on their way to the server, in a tunnel or as a proxy's client's. */
static void test_request_edit(void)
{
    static const struct { bool tunnel; const char *text, *want; } cases[] = {
        { false, "GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n",
          "GET /a HTTP/1.1\r\nHost: h\r\n\r\n" },
        { false, "GET http://h?q HTTP/1.0\n\n", "GET /?q HTTP/1.0\n\n" },
        { false, "GET http://h HTTP/1.1\r\n\r\n", GET "\r\n" },
        { false, "\r\nOPTIONS http://h HTTP/1.1\r\n\r\n",
          "\r\nOPTIONS * HTTP/1.1\r\n\r\n" },
        { false, "POST http://h/a HTTP/1.1\r\nProxy-Connection: x\r\nA: b\r\n"
          "Accept-Encoding: br\r\nProxy-Authorization: c\r\n d\r\n\r\n",
          "POST /a HTTP/1.1\r\nA: b\r\nAccept-Encoding: br\r\n\r\n" },
        { true, "GET http://h/a HTTP/1.1\r\nProxy-Connection: x\r\n\r\n",
          "GET http://h/a HTTP/1.1\r\nProxy-Connection: x\r\n\r\n" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct flow f = { .tunnel = cases[i].tunnel };
        struct head h;
        struct buf b = head_of(cases[i].text, "", &h);

        request_edit(&f, &b, &h);
        same_buf("head", &b, cases[i].want, strlen(cases[i].want));
        buf_free(&b);
    }
}

/* With codings besides chunked, as many as there are must stay: the body has
   been through them all. */
static void test_head_frame_codings(void)
{
    static const char *const texts[] = {
        OK "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
        "Content-Length: 5\r\n\r\n",
        OK "Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    };

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct head h;
        struct buf out = head_of(texts[i], "", &h);

        head_frame(&out, &h, SET_CHUNKED, 0);
        buf_put(&out, "", 1);
        check(head_parse((char *)buf_at(&out), out.len, false, &h) > 0 &&
              h.chunked && !h.has_length && !h.unclear &&
              strstr((char *)buf_at(&out), "gzip"), "%s becomes %s",
              shown(texts[i], strlen(texts[i])),
              shown(buf_at(&out), out.len - 1));
        buf_free(&out);
    }
}

/* ==== where requests go ================================================= */

static void test_parse_authority(void)
{
    static const struct {
        const char *text;
        size_t n;
        unsigned port;          /* when the text has none */
        const char *host;       /* NULL: refused */
        unsigned want;
    } cases[] = {
        { LIT("example.com:443"), 0, "example.com", 443 },
        { LIT("example.com"), 80, "example.com", 80 },
        { LIT("example.com:"), 80, "example.com", 80 },
        { LIT("example.com:8443"), 80, "example.com", 8443 },
        { LIT("a_b-c.~x%20"), 80, "a_b-c.~x%20", 80 },
        { LIT("127.0.0.1:1"), 0, "127.0.0.1", 1 },
        { LIT("[::1]:65535"), 0, "::1", 65535 },
        { LIT("[fe80::1%lo]"), 443, "fe80::1%lo", 443 },
        { LIT("[fe80::1%25lo]"), 443, "fe80::1%lo", 443 },
        { LIT("[fe80::1%25]"), 443, "fe80::1%25", 443 },
        { LIT("example.com.:443"), 0, "example.com", 443 },
        { LIT("127.0.0.1."), 80, "127.0.0.1", 80 },
        { LIT("a.."), 80, "a.", 80 }, { LIT("."), 80, ".", 80 },
        { LIT("[::1]:"), 443, "::1", 443 },
        { LIT("h:00443"), 0, "h", 443 },
        { LIT(""), 80, NULL, 0 }, { LIT(":80"), 80, NULL, 0 },
        { LIT("h"), 0, NULL, 0 }, { LIT("h:"), 0, NULL, 0 },
        { LIT("h:0"), 80, NULL, 0 }, { LIT("h:65536"), 80, NULL, 0 },
        { LIT("h:000443"), 80, NULL, 0 }, { LIT("h:+80"), 80, NULL, 0 },
        { LIT("h:8x"), 80, NULL, 0 }, { LIT("h: 80"), 80, NULL, 0 },
        { LIT("h:80:90"), 80, NULL, 0 }, { LIT("::1"), 80, NULL, 0 },
        { LIT("[::1"), 80, NULL, 0 }, { LIT("[::1]80"), 80, NULL, 0 },
        { LIT("[]:80"), 80, NULL, 0 }, { LIT("["), 80, NULL, 0 },
        { LIT("u@h:80"), 80, NULL, 0 }, { LIT("h/:80"), 80, NULL, 0 },
        { LIT("h h:80"), 80, NULL, 0 }, { LIT("h\n:80"), 80, NULL, 0 },
        { LIT("h\xff:80"), 80, NULL, 0 },
        { LIT("h\0.evil:80"), 80, NULL, 0 }, { LIT("h:8\0""0"), 80, NULL, 0 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct target t = { .host = "" };
        size_t n = cases[i].n;
        bool good = parse_authority(guarded(cases[i].text, n), n,
                                    cases[i].port, &t);

        check(good == (cases[i].host != NULL), "%s: %s",
              shown(cases[i].text, n), good ? "taken" : "refused");
        if (!good || !cases[i].host)
            continue;
        same_text("host", t.host, cases[i].host);
        check(t.port == cases[i].want, "%s: port %u",
              shown(cases[i].text, n), t.port);
    }
}

/* A host of MAX_HOST characters is the longest. */
static void test_long_host(void)
{
    char text[MAX_HOST + 1];
    struct target t;

    memset(text, 'a', sizeof text);
    check(parse_authority(text, MAX_HOST, 80, &t) &&
          strlen(t.host) == MAX_HOST, "%d characters are refused", MAX_HOST);
    check(!parse_authority(text, MAX_HOST + 1, 80, &t),
          "%d characters are taken", MAX_HOST + 1);
}

static void test_parse_absolute(void)
{
    static const struct {
        const char *text;
        size_t n;
        const char *host;       /* NULL: refused */
        unsigned port;
        const char *rest;
    } cases[] = {
        { LIT("http://h/a?b#c"), "h", 80, "/a?b#c" },
        { LIT("HTTPS://h"), "h", 443, "" },
        { LIT("https://h:8443/"), "h", 8443, "/" },
        { LIT("http://h?q=/"), "h", 80, "?q=/" },
        { LIT("http://h#f"), "h", 80, "#f" },
        { LIT("http://h:/x"), "h", 80, "/x" },
        { LIT("http://u:p@h:1/@"), "h", 1, "/@" },
        { LIT("http://[::1]:8080/a"), "::1", 8080, "/a" },
        { LIT("http://h//x"), "h", 80, "//x" },
        { LIT("http://h./x"), "h", 80, "/x" },
        { LIT("ws://h/x"), "h", 80, "/x" }, { LIT("wss://h"), "h", 443, "" },
        { LIT("ws://"), NULL, 0, "" }, { LIT("wsss://h"), NULL, 0, "" },
        { LIT("/"), NULL, 0, "" }, { LIT("*"), NULL, 0, "" },
        { LIT(""), NULL, 0, "" }, { LIT("http:/h/"), NULL, 0, "" },
        { LIT("http://"), NULL, 0, "" }, { LIT("http:///a"), NULL, 0, "" },
        { LIT("https://"), NULL, 0, "" }, { LIT("ftp://h/"), NULL, 0, "" },
        { LIT("http://h:x/"), NULL, 0, "" },
        { LIT("http://h:99999/"), NULL, 0, "" },
        { LIT("http://h h/"), NULL, 0, "" },
        { LIT("http://h\0/"), NULL, 0, "" },
        { LIT("http://a@b@c/"), NULL, 0, "" },
        { LIT("httpx://h/"), NULL, 0, "" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct target t = { .host = "" };
        size_t n = cases[i].n, rest;
        bool good = parse_absolute(guarded(cases[i].text, n), n, &t, &rest);

        check(good == (cases[i].host != NULL), "%s: %s",
              shown(cases[i].text, n), good ? "taken" : "refused");
        if (!good || !cases[i].host)
            continue;
        same_text("host", t.host, cases[i].host);
        check(t.port == cases[i].port, "%s: port %u",
              shown(cases[i].text, n), t.port);
        check(t.tls == (strncasecmp(cases[i].text, "https", 5) == 0 ||
                        strncasecmp(cases[i].text, "wss", 3) == 0),
              "%s: tls is %d", shown(cases[i].text, n), t.tls);
        same("the rest", cases[i].text + n - rest, rest, cases[i].rest,
             strlen(cases[i].rest));
    }
}

/* ==== ClientHello ======================================================= */

static int hello_send(void *b, const unsigned char *p, size_t n)
{
    buf_put(b, p, n);
    return (int)n;
}

static int hello_recv(void *b, unsigned char *p, size_t n)
{
    (void)b, (void)p, (void)n;
    return MBEDTLS_ERR_SSL_WANT_READ;
}

/* The ClientHello of an Mbed TLS client: its record, on the wire. */
static struct buf hello_make(const char *sni, const char **alpn, bool tls12)
{
    struct buf b = { 0 };
    mbedtls_ssl_config conf;
    mbedtls_ssl_context ssl;

    mbedtls_ssl_config_init(&conf);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_config_defaults(&conf, MBEDTLS_SSL_IS_CLIENT,
                                MBEDTLS_SSL_TRANSPORT_STREAM,
                                MBEDTLS_SSL_PRESET_DEFAULT);
#if MBEDTLS_VERSION_MAJOR < 4
    mbedtls_ssl_conf_rng(&conf WITH_RANDOM);
#endif
    mbedtls_ssl_conf_authmode(&conf, MBEDTLS_SSL_VERIFY_NONE);
    if (tls12)
        mbedtls_ssl_conf_max_tls_version(&conf, MBEDTLS_SSL_VERSION_TLS1_2);
    if (alpn != NULL)
        mbedtls_ssl_conf_alpn_protocols(&conf, alpn);
    if (mbedtls_ssl_setup(&ssl, &conf) != 0 ||
        mbedtls_ssl_set_hostname(&ssl, sni) != 0)
        die("cannot make a TLS client");
    mbedtls_ssl_set_bio(&ssl, &b, hello_send, hello_recv, NULL);
    mbedtls_ssl_handshake(&ssl);
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&conf);
    return b;
}

/* The handshake message of n bytes at p, in records of piece bytes each. */
static struct buf records(const void *p, size_t n, size_t piece)
{
    const unsigned char *from = p;
    struct buf b = { 0 };

    for (; n > 0; from += piece, n -= piece) {
        piece = piece < n ? piece : n;
        buf_put(&b, (unsigned char[]){ 22, 3, 1, (unsigned char)(piece >> 8),
                                       (unsigned char)piece }, 5);
        buf_put(&b, from, piece);
    }
    return b;
}

/* Every part of a PROXY header asks for more; with more behind, it is it. */
static void test_proxied(void)
{
    static const struct { const char *text; size_t n; const char *from; }
    cases[] = {
        { LIT("PROXY TCP4 192.0.2.7 192.0.2.8 1 65535\r\n"), "192.0.2.7:1" },
        { LIT("PROXY TCP6 2001:db8::7 ::1 0 1\r\n"), "[2001:db8::7]:0" },
        { LIT("PROXY UNKNOWN\r\n"), "unix:" },
        { LIT("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc0\0\2\x08"
              "\0\1\0\2"), "192.0.2.7:1" },
        { LIT("\r\n\r\n\0\r\nQUIT\n\x20\0\0\3abc"), "unix:" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sockaddr_storage a = { 0 };
        const unsigned char *p;
        struct buf b = { 0 };

        buf_put(&b, cases[i].text, cases[i].n);
        for (size_t n = 0; n < b.len; n++) {
            p = (unsigned char *)guarded(buf_at(&b), n);
            check(proxied_parse(p, n, &a) == 0, "case %zu, %zu bytes", i, n);
        }
        buf_put(&b, "more", 4);
        p = (unsigned char *)guarded(buf_at(&b), b.len);
        check(proxied_parse(p, b.len, &a) == (int)b.len - 4, "case %zu", i);
        same_text("from", address_text(&a), cases[i].from);
        buf_free(&b);
    }
}

static int hello_read(const void *p, size_t n, struct hello *h)
{
    return hello_parse((unsigned char *)guarded(p, n), n, h);
}

/* Every part of the hello asks for more; the whole, and more, is it. */
static void check_hello(struct buf *b, const char *sni, bool alpn,
                        bool http11)
{
    struct hello h;
    int r;

    for (size_t n = 0; n < b->len; n++)
        if ((r = hello_read(buf_at(b), n, &h)) != 0) {
            check(false, "%d for %zu of %zu bytes", r, n, b->len);
            break;
        }
    for (int i = 0; i < 2; i++, buf_put(b, "\x16more", 5)) {
        r = hello_read(buf_at(b), b->len, &h);
        check(r == 1, "%d for all of it", r);
        same_text("SNI", h.sni, sni ? sni : "");
        check((h.alpn.len > 0) == alpn && h.http == http11,
              "ALPN %d, with http/1.1 %d", h.alpn.len, h.http);
    }
}

static void test_hello(void)
{
    static const char *h1[] = { "http/1.1", NULL }, *none[] = { "x", NULL },
                      *h2[] = { "h3", "h2", NULL },
                      *both[] = { "h2", "http/1.1", NULL },
                      *near_by[] = { "http/1.10", "h", NULL };
    static const struct {
        const char *sni, **alpn;
        bool tls12, http11;
    } cases[] = {
        { NULL, NULL, false, false }, { NULL, NULL, true, false },
        { "example.com", NULL, false, false }, { "a", h1, true, true },
        { "example.com", h2, false, false }, { NULL, both, false, true },
        { "xn--bcher-kva.example", none, false, false },
        { "example.com", near_by, true, false },
    };
    static const size_t pieces[] = { 16384, 1, 2, 3, 4, 5, 7, 50, 200 };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = hello_make(cases[i].sni, cases[i].alpn,
                                  cases[i].tls12);

        check(b.len > 100 && *buf_at(&b) == 22, "the client said %s",
              shown(buf_at(&b), b.len));
        for (size_t k = 0; k < COUNT_OF(pieces); k++) {
            struct buf cut = records(buf_at(&b) + 5, b.len - 5, pieces[k]);

            check_hello(&cut, cases[i].sni, cases[i].alpn != NULL,
                        cases[i].http11);
            buf_free(&cut);
        }
        buf_free(&b);
    }
}

/* A ClientHello with these extensions of n bytes; NULL: not even their
   length. */
static struct buf hello_bare(const char *extensions, size_t n)
{
    static const char zeros[34];
    struct buf m = { 0 }, b;

    buf_put(&m, "\x01\0\0\0", 4);
    buf_put(&m, zeros, 34);         /* version and random */
    buf_put(&m, "\x02ss", 3);       /* session id */
    buf_put(&m, "\0\x02\x13\x01", 4);
    buf_put(&m, "\x01\0", 2);       /* compression */
    if (extensions != NULL) {
        buf_put(&m, (char[]){ (char)(n >> 8), (char)n }, 2);
        buf_put(&m, extensions, n);
    }
    buf_at(&m)[2] = (unsigned char)((m.len - 4) >> 8);
    buf_at(&m)[3] = (unsigned char)(m.len - 4);
    b = records(buf_at(&m), m.len, 16384);
    buf_free(&m);
    return b;
}

static void test_hello_bare(void)
{
    static const struct {
        const char *extensions;
        size_t n;
        int want;
        const char *sni;
        bool alpn, http11;
    } cases[] = {
        { NULL, 0, 1, "", false, false },
        { LIT(""), 1, "", false, false },
        { LIT("\0\0\0\x06\0\x04\0\0\x01" "a"), 1, "a", false, false },
        { LIT("\0\0\0\x07\0\x05\0\0\x02" "a."), 1, "a", false, false },
        { LIT("\0\0\0\x06\0\x04\0\0\x01" "."), 1, ".", false, false },
        { LIT("\0\x10\0\x05\0\x03\x02h2"), 1, "", true, false },
        { LIT("\xff\xff\0\0\0\0\0\x06\0\x04\0\0\x01" "a"), 1, "a", false,
          false },
        /* lists that are empty */
        { LIT("\0\0\0\0"), 1, "", false, false },
        { LIT("\0\x10\0\0"), 1, "", false, false },
        /* lengths that say too much */
        { LIT("\xff\xff\0\x01"), -1, "", false, false },
        { LIT("\0\0\0\x06\0\x04\0\0\x02" "a"), -1, "", false, false },
        { LIT("\0\0\0\x06\0\x04\0\xff\xff" "a"), -1, "", false, false },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = hello_bare(cases[i].extensions, cases[i].n);
        struct hello h;

        check(hello_read(buf_at(&b), b.len, &h) == cases[i].want,
              "extensions %s: not %d", shown(cases[i].extensions,
              cases[i].n), cases[i].want);
        if (cases[i].want == 1)
            check_hello(&b, cases[i].sni, cases[i].alpn, cases[i].http11);
        buf_free(&b);
    }
}

/* What is refused, as soon as it can be: garbage need not wait for more. */
static void test_hello_refused(void)
{
    static const struct { const char *text; size_t n; int want; } cases[] = {
        { LIT(""), 0 }, { LIT("\x16"), 0 }, { LIT("\x16\x03\x01\x02\0"), 0 },
        { LIT("GET / HTTP/1.1\r\n"), -1 }, { LIT("G"), -1 },
        { LIT("\x15\x03\x01\0\x02"), -1 },      /* an alert */
        { LIT("\x16\x02\0\0\x05"), -1 },        /* no such version */
        { LIT("\x16\x03\x01\0\0"), -1 },        /* an empty record */
        { LIT("\x16\x03\x01\x40\x01"), -1 },    /* longer than one may be */
        { LIT("\x16\x03\x01\0\x04\x02"), -1 },  /* a ServerHello */
        { LIT("\x16\x03\x01\0\x04\x01\xff\xff\xff"), -1 }, /* 16 MiB */
        { LIT("\x16\x03\x01\0\x04\x01\0\0\0"), -1 },       /* nothing in it */
        { LIT("\x16\x03\x01\0\x05\x01\0\0\x01\x03"), -1 },
        { LIT("\x16\x03\x01\0\x04\x01\0\0\x01" "G"), -1 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct hello h;
        int r = hello_read(cases[i].text, cases[i].n, &h);

        check(r == cases[i].want, "%s: %d", shown(cases[i].text, cases[i].n),
              r);
    }
}

/* Wherever a byte is wrong, the answer is one of three, and no crash. */
static void test_hello_damaged(void)
{
    static const char *alpn[] = { "h2", "http/1.1", NULL };
    struct buf b = hello_make("example.com", alpn, false);
    struct hello h;

    rnd_start(seed);
    for (size_t at = 0; at < b.len; at++)
        for (int i = 0; i < 20; i++) {
            unsigned char *p = buf_at(&b) + at, before = *p;
            int r;

            *p = i == 0 ? 0 : i == 1 ? 255 : (unsigned char)rnd(256);
            r = hello_read(buf_at(&b), b.len, &h);
            check(r >= -1 && r <= 1 && memchr(h.sni, 0, sizeof h.sni),
                  "byte %zu as %d: %d", at, *p, r);
            *p = before;
        }
    buf_free(&b);
}

/* ==== WebSocket ========================================================= */

/* Heads of frames. Those that are whole are also tried with any bytes behind
   them. size 0: more is needed; -1: malformed. */
static const struct ws_case {
    const char *bytes;
    size_t n;
    int size;
    bool fin;
    int reserved, opcode;
    uint64_t length;
    const char *mask;
} ws_cases[] = {
    { LIT(""), .size = 0 }, { LIT("\x81"), .size = 0 },
    { LIT("\x81\0"), 2, true, 0, 1, 0, "\0\0\0" },
    { LIT("\x01\x05"), 2, false, 0, 1, 5, "\0\0\0" },
    { LIT("\x82\x7d"), 2, true, 0, 2, 125, "\0\0\0" },
    { LIT("\0\x01"), 2, false, 0, 0, 1, "\0\0\0" },
    { LIT("\x80\x01"), 2, true, 0, 0, 1, "\0\0\0" },
    { LIT("\xc1\x01"), 2, true, 4, 1, 1, "\0\0\0" },
    { LIT("\xf1\x01"), 2, true, 7, 1, 1, "\0\0\0" },
    { LIT("\x93\x01"), 2, true, 1, 3, 1, "\0\0\0" },
    { LIT("\x81\x85\1\2\3\4"), 6, true, 0, 1, 5, "\1\2\3\4" },
    { LIT("\x81\x80\1\2\3\4"), 6, true, 0, 1, 0, "\1\2\3\4" },
    { LIT("\x81\x85\1\2\3"), .size = 0 },
    /* two bytes of length, and eight, the least that they are for and less */
    { LIT("\x81\x7e\0\x7e"), 4, true, 0, 1, 126, "\0\0\0" },
    { LIT("\x81\x7e\xff\xff"), 4, true, 0, 1, 65535, "\0\0\0" },
    { LIT("\x81\x7e\0\0"), 4, true, 0, 1, 0, "\0\0\0" },
    { LIT("\x81\x7e\0\x7d"), 4, true, 0, 1, 125, "\0\0\0" },
    { LIT("\x81\x7e\0"), .size = 0 },
    { LIT("\x81\xfe\1\0\1\2\3\4"), 8, true, 0, 1, 256, "\1\2\3\4" },
    { LIT("\x82\x7f\0\0\0\0\0\1\0\0"), 10, true, 0, 2, 65536,
      "\0\0\0" },
    { LIT("\x82\x7f\0\0\0\0\0\0\0\5"), 10, true, 0, 2, 5, "\0\0\0" },
    { LIT("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), 10, true, 0, 2,
      INT64_MAX, "\0\0\0" },
    { LIT("\x82\xff\0\0\0\0\0\0\0\5\1\2\3\4"), 14, true, 0, 2, 5,
      "\1\2\3\4" },
    { LIT("\x82\xff\0\0\0\0\0\0\0\5\1\2\3"), .size = 0 },
    { LIT("\x82\x7f\x80\0\0\0\0\0\0\0"), .size = -1 },
    { LIT("\x82\xff\xff\0\0\0\0\0\0\0\1\2\3\4"), .size = -1 },
    /* control frames */
    { LIT("\x88\0"), 2, true, 0, 8, 0, "\0\0\0" },
    { LIT("\x88\x02"), 2, true, 0, 8, 2, "\0\0\0" },
    { LIT("\x89\x7d"), 2, true, 0, 9, 125, "\0\0\0" },
    { LIT("\x8a\x84\1\2\3\4"), 6, true, 0, 10, 4, "\1\2\3\4" },
    { LIT("\xcf\x01"), 2, true, 4, 15, 1, "\0\0\0" },
    { LIT("\x08\x02"), .size = -1 }, { LIT("\x09\0"), .size = -1 },
    { LIT("\x89\x7e"), .size = -1 },
    { LIT("\x88\xff"), .size = -1 },
};

static void test_frames(void)
{
    for (size_t i = 0; i < COUNT_OF(ws_cases); i++) {
        const struct ws_case *c = &ws_cases[i];

        for (size_t n = 0; n <= c->n; n++) {
            struct frame f;
            int r = frame_parse((unsigned char *)guarded(c->bytes, n), n, &f);
            const char *text = shown(c->bytes, n);

            check(n == c->n ? r == c->size : r == 0 || r == -1,
                  "%s is %d, not %d", text, r, c->size);
            check(r != -1 || c->size == -1, "%s is refused", text);
            if (n < c->n || r <= 0)
                continue;
            check(f.fin == c->fin && f.reserved == c->reserved &&
                  f.opcode == c->opcode && f.length == c->length,
                  "%s: fin %d, reserved %d, opcode %d, length %llu", text,
                  f.fin, f.reserved, f.opcode, (unsigned long long)f.length);
            same("mask", f.mask, 4, c->mask, 4);
        }
    }
}

/* What is written is read: all lengths where something changes, with a mask
   and without one, closes with their codes among them. */
static void test_frame_put(void)
{
    static const size_t sizes[] = { 0, 1, 2, 125, 126, 127, 65535, 65536,
                                    70000, MAX_HOLD };
    static char text[MAX_HOLD];

    for (size_t i = 0; i < MAX_HOLD; i++)
        text[i] = (char)(i * 7 + (i >> 8));
    for (size_t i = 0; i < 2 * COUNT_OF(sizes); i++) {
        size_t n = sizes[i / 2], head = n < 126 ? 2 : n < 65536 ? 4 : 10;
        const unsigned char *mask = i & 1 ? (unsigned char *)"mask" : NULL;
        struct buf b = { 0 }, back = { 0 };
        struct frame f;

        frame_put(&b, 2, text, n, mask);
        check(frame_parse(buf_at(&b), b.len, &f) == (int)(b.len - n) &&
              b.len == head + (mask ? 4 : 0) + n && f.fin && !f.reserved &&
              f.opcode == 2 && f.length == n, "%zu bytes of %zu", b.len, n);
        check(mask == NULL || n < 8 || memcmp(buf_at(&b) + b.len - n, text, n),
              "a mask of no effect");
        frames_open(&back, buf_at(&b), b.len);
        same_buf("payload", &back, text, n);
        buf_free(&b);
        buf_free(&back);
    }
    for (int code = 1000; code < 5000; code += 11) {
        unsigned char payload[] = { code >> 8, code & 255 };
        struct buf b = { 0 };

        frame_put(&b, 8, payload, 2, NULL);
        same_buf("close", &b, (char[]){ (char)0x88, 2, payload[0],
                 payload[1] }, 4);
        buf_free(&b);
    }
}

/* Frames as they come, and what is read: a letter for each control frame, each
   message (its payload behind it), and - where the framing is malformed. */
static const struct { const char *bytes; size_t n; const char *want; }
talks[] = {
    { LIT("\x81\5hello\x82\2ab"), "[1hello][2ab]" },
    { LIT("\x81\0\x82\0\x81\1a"), "[1][2][1a]" },
    { LIT("\x81\x83\1\2\3\4\x60\x60\x60"), "[1abc]" },
    { LIT("\1\3abc\0\3def\x80\1g"), "[1abcdefg]" },
    { LIT("\1\x83\1\2\3\4\x60\x60\x60\x80\x81\4\3\2\1\x60"),
      "[1abcd]" },
    { LIT("\1\0\0\0\x80\0"), "[1]" },
    { LIT("\1\3abc\x89\2xy\0\3def\x8a\0\x80\1g\x89\1z"),
      "9xy;10;[1abcdefg]9z;" },
    { LIT("\1\3abc\x88\2\3\350\x80\3def"), "8\3\350;[1abcdef]" },
    { LIT("\x89\0\x81\1a\x89\1b\x88\0"), "9;[1a]9b;8;" },
    { LIT("\x81\x7e\0\1a\x81\x7f\0\0\0\0\0\0\0\1b"), "[1a][1b]" },
    { LIT("\x80\1a\x81\1b"), "[!mixed][1b]" },
    { LIT("\1\1a\x81\1b\x81\1c"), "[!mixed][1c]" },
    { LIT("\1\1a\1\1b\x80\1c\x81\1d"), "[!mixed][1d]" },
    { LIT("\x83\1a\x81\1b"), "[!opcode][1b]" },
    { LIT("\xc1\1a\x81\1b"), "[!reserved][1b]" },
    { LIT("\1\1a\xa0\1b\x81\1c"), "[!reserved][1c]" },
    { LIT("\x41\1a\x80\1b\x81\1c"), "[!reserved][1c]" },
    { LIT("\x81\1a\x09\1b"), "[1a]-" },
    { LIT("\1\1a\x89\x7e\0\1b"), "-" },
    { LIT("\1\1a\x80\x7f\xff\0\0\0\0\0\0\1b"), "-" },
};

/* Adds the n bytes at p, and what has come before them, in *in, as far as they
   are read, to out, in the table's words. False: malformed. */
static bool talk_read(struct frames *r, struct buf *in, struct buf *kept,
                      const void *p, size_t n, struct buf *out)
{
    buf_put(in, p, n);
    while (in->len > 0) {
        const unsigned char *at = (unsigned char *)guarded(buf_at(in),
                                                           in->len);
        ssize_t k = frames_next(r, at, in->len);

        check(k <= (ssize_t)in->len, "%zd of %zu bytes", k, in->len);
        if (k < 0)
            buf_puts(out, "-");
        if (k <= 0)
            return k == 0;
        if (r->frame.opcode & 8) {
            buf_printf(out, "%d", r->frame.opcode);
            frames_open(out, at, (size_t)k);
            buf_puts(out, ";");
        } else
            buf_put(kept, at, (size_t)k);
        if (!(r->frame.opcode & 8) && frames_whole(r)) {
            buf_puts(out, "[");
            if (r->wrong != NULL)
                buf_printf(out, "!%s", strstr(r->wrong, "mixed") ? "mixed" :
                           strstr(r->wrong, "opcode") ? "opcode" :
                           strstr(r->wrong, "reserved") ? "reserved" :
                           r->wrong);
            else {
                buf_printf(out, "%d", r->opcode);
                frames_open(out, buf_at(kept), kept->len);
            }
            buf_puts(out, "]");
            buf_eat(kept, kept->len);
        }
        buf_eat(in, (size_t)k);
    }
    return true;
}

/* Reads a talk in pieces: of cut bytes first, and then of step at once. */
static void check_talk(const char *bytes, size_t n, const char *want,
                       size_t want_n, size_t cut, size_t step)
{
    struct buf in = { 0 }, kept = { 0 }, out = { 0 };
    struct frames r = { .left = 0 };
    bool good = cut == 0 || talk_read(&r, &in, &kept, bytes, cut, &out);

    for (size_t at = cut; good && at < n; at += step)
        good = talk_read(&r, &in, &kept, bytes + at,
                         n - at < step ? n - at : step, &out);
    same_buf("read", &out, want, want_n);
    buf_free(&in);
    buf_free(&kept);
    buf_free(&out);
}

static void test_frames_next(void)
{
    for (size_t i = 0; i < COUNT_OF(talks); i++)
        for (size_t cut = 0; cut < talks[i].n; cut++)
            for (size_t step = 1; step <= talks[i].n; step++)
                check_talk(talks[i].bytes, talks[i].n, talks[i].want,
                           strlen(talks[i].want), cut, step);
}

/* A message may be as long as is held, in one frame or in many. */
static void test_frames_long(void)
{
    static const char text[MAX_HOLD + 1];

    for (size_t n = MAX_HOLD; n <= MAX_HOLD + 1; n++)
        for (size_t piece = 1000; piece <= n; piece += n - 1000) {
            struct frames r = { .left = 0 };
            struct buf b = { 0 };

            for (size_t at = 0; at < n; at += piece) {
                size_t k = n - at < piece ? n - at : piece, from = b.len;

                frame_put(&b, at == 0, text, k, NULL);
                buf_at(&b)[from] &= at + k < n ? 0x7f : 0xff;
            }
            for (size_t at = 0; at < b.len;)
                at += (size_t)frames_next(&r, buf_at(&b) + at, b.len - at);
            check(frames_whole(&r) && (r.wrong != NULL) == (n > MAX_HOLD),
                  "%zu bytes in frames of %zu: %s", n, piece,
                  r.wrong ? r.wrong : "good");
            buf_free(&b);
        }
}

static void test_utf8(void)
{
    static const char *const good[] = {
        "", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xe2\x82\xac" "b"
    };
    static const char *const bad[] = {
        "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\302a",
        "\xc2\xc2\x80", "\xe0\x9f\xbf", "\xe0\xa0", "\xe2\x82",
        "\xe2\x82" "a", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "\xfe", "a\xf8\x88\x80\x80\x80"
    };

    for (size_t i = 0; i < COUNT_OF(good); i++)
        check(is_utf8((unsigned char *)guarded(good[i], strlen(good[i])),
                      strlen(good[i])), "%s is none",
              shown(good[i], strlen(good[i])));
    check(is_utf8((unsigned char *)"a\0b", 3), "NUL is none");
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        check(!is_utf8((unsigned char *)guarded(bad[i], strlen(bad[i])),
                       strlen(bad[i])), "%s is UTF-8",
              shown(bad[i], strlen(bad[i])));
}

/* ==== match expressions ================================================= */

/* What an expression makes of the subject: 1 yes, 2 no, 3 who knows; 0: it
   is no expression. */
static int match_of(const char *text, const struct subject *s)
{
    char error[256];
    struct match *m = match_compile(text, error);
    int r;

    check(m != NULL || error[0] != '\0', "'%s': refused without a word",
          text);
    if (m == NULL)
        return 0;
    r = match_eval(m, s);
    match_free(m);
    return r;
}

/* The subject of a head; h is filled in. */
static struct subject subject_of(const char *text, struct head *h)
{
    struct subject s = { .method = "POST", .host = "example.com",
                         .url = "https://example.com/a/b.html?c=1",
                         .head = text, .h = h,
                         .request = text[0] == 'P' };

    if (head_parse(text, strlen(text), s.request, h) != (int)strlen(text))
        die("%s is no head", text);
    return s;
}

static void test_match(void)
{
    /* what it is of the request, of the answer, and of one yet to come */
    static const struct { const char *text; int up, down, coming; } cases[] = {
        { "~q", 1, 2, 2 }, { "~s", 2, 1, 1 },
        { "~m POST", 1, 1, 1 }, { "~m post", 1, 1, 1 }, { "~m GET", 2, 2, 2 },
        { "~m ^P", 1, 1, 1 }, { "~m OST$", 1, 1, 1 },
        { "~d example\\.com", 1, 1, 1 }, { "~d EXAMPLE", 1, 1, 1 },
        { "~d other", 2, 2, 2 }, { "~d b.html", 2, 2, 2 },
        { "~u a/b", 1, 1, 1 }, { "a/b", 1, 1, 1 }, { "html$", 2, 2, 2 },
        { "^https:", 1, 1, 1 }, { "\\?c=[0-9]+$", 1, 1, 1 },
        { "(x|a) /b", 1, 1, 1 }, { "~u (a|x)/b", 1, 1, 1 },
        { "~u '(a|x)/b'", 1, 1, 1 }, { "~u \"x b|a/b\"", 1, 1, 1 },
        { "~t json", 1, 2, 3 }, { "~t text/html", 2, 1, 3 },
        { "~c 200", 2, 1, 3 }, { "~c 404", 2, 2, 3 },
        { "~h ^X-A:", 1, 2, 3 }, { "~h 'x-b: *1$'", 2, 1, 3 },
        { "~h POST", 2, 2, 3 }, { "~h nul.here", 2, 2, 3 },
        { "!~q", 2, 1, 1 }, { "! ~c 200", 1, 2, 3 }, { "!!~q", 1, 2, 2 },
        { "~s & ~c 200", 2, 1, 3 }, { "~s ~c 200", 2, 1, 3 },
        { "~q | ~c 200", 1, 1, 3 }, { "~s | ~c 404", 2, 1, 1 },
        { "~q & ~c 200", 2, 2, 2 },
        { "~q | ~s & ~q", 1, 2, 2 },        /* & binds more than | */
        { "(~q | ~s) & ~q", 1, 2, 2 }, { "(~s | ~q) ~s", 2, 1, 1 },
        { "!~s | ~s", 1, 1, 1 }, { "!(~s | ~q)", 2, 2, 2 },
        { "((~q))", 1, 2, 2 }, { " ~q&!~s|~m x ", 1, 2, 2 },
        { "~m POST&~d example", 1, 1, 1 }, { "~q)", 0, 0, 0 },
    };
    struct head up_head, down_head;
    struct subject up = subject_of("POST /a/b.html?c=1 HTTP/1.1\r\nX-A: 1\r\n"
                                   "Content-Type: application/json\r\n\r\n",
                                   &up_head);
    struct subject down = subject_of(OK "Content-Type: text/html\r\n"
                                     "X-B:  1\r\n\r\n", &down_head);
    struct subject coming = down;

    coming.h = NULL;
    coming.head = NULL;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct subject *of[] = { &up, &down, &coming };
        int want[] = { cases[i].up, cases[i].down, cases[i].coming };

        for (int k = 0; k < 3; k++)
            check(match_of(cases[i].text, of[k]) == want[k],
                  "'%s' on the %s is %d, not %d", cases[i].text,
                  k == 0 ? "request" : k == 1 ? "answer" : "coming answer",
                  match_of(cases[i].text, of[k]), want[k]);
    }
    check(match_eval(NULL, &up) == 1, "no expression does not match");
}

/* ~w is a WebSocket message, and no other operator sees one by itself. */
static void test_match_message(void)
{
    /* what it is of a client's message, of a server's, and of an answer */
    static const struct { const char *text; int up, down, coming; bool w;
    } cases[] = {
        { "~w", 1, 1, 2, true }, { "!~w", 2, 2, 1, true },
        { "~w & ~q", 1, 2, 2, true }, { "~w ~s", 2, 1, 2, true },
        { "~w & ~d example", 1, 1, 2, true }, { "~w ~d x$", 2, 2, 2, true },
        { "~w & /chat$", 1, 1, 2, true }, { "~w ~m GET", 1, 1, 2, true },
        { "~w | ~t html", 1, 1, 3, true }, { "~w & ~t html", 2, 2, 2, true },
        { "~w & !~c 200", 1, 1, 2, true }, { "!(~w | ~s)", 2, 2, 2, true },
        { "~h x | (~q & !!~w)", 1, 2, 3, true },
        { "~q", 1, 2, 2, false }, { "w", 1, 1, 1, false },
        { "!~t html", 1, 1, 3, false },
    };
    struct subject up = { .method = "GET", .url = "wss://example/chat",
                          .host = "example", .request = true,
                          .message = true }, down = up, coming;

    down.request = false;
    coming = down;
    coming.message = false;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct subject *of[] = { &up, &down, &coming };
        int want[] = { cases[i].up, cases[i].down, cases[i].coming };
        char error[256];
        struct match *m = match_compile(cases[i].text, error);

        check(match_has_w(m) == cases[i].w, "'%s' %s ~w", cases[i].text,
              cases[i].w ? "has no" : "has a");
        match_free(m);
        for (int k = 0; k < 3; k++)
            check(match_of(cases[i].text, of[k]) == want[k],
                  "'%s' on %s is %d, not %d", cases[i].text,
                  k == 0 ? "a client's" : k == 1 ? "a server's" :
                  "a coming answer", match_of(cases[i].text, of[k]), want[k]);
    }
    check(!match_has_w(NULL), "no expression has ~w");
}

/* Kleene's logic of three values: no < who knows < yes, & is the smaller and
   | the larger. */
static void test_match_logic(void)
{
    static const struct { const char *text; int value, rank; } of[] = {
        { "~q", 2, 0 }, { "~c 200", 3, 1 }, { "~s", 1, 2 },
    };
    struct subject coming = { .method = "GET", .url = "u", .host = "h" };
    char text[32];

    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) {
            int low = of[a].rank < of[b].rank ? a : b, high = a + b - low;

            sprintf(text, "%s & %s", of[a].text, of[b].text);
            check(match_of(text, &coming) == of[low].value, "%s", text);
            sprintf(text, "%s | %s", of[a].text, of[b].text);
            check(match_of(text, &coming) == of[high].value, "%s", text);
            sprintf(text, "!(%s)", of[a].text);
            check(match_of(text, &coming) == of[2 - a].value, "%s", text);
        }
}

/* Fills a scratch buffer, and another, and runs out of memory. */
static void scratch_lose(void *text)
{
    buf_put(buf_scratch(), text, strlen(text));
    buf_puts(buf_scratch(), "more");
    no_memory();
}

/* Does so within something that uses one, which goes on. */
static void scratch_use(void *text)
{
    struct buf *b = buf_scratch();

    buf_puts(b, "mine");
    check(!attempt(scratch_lose, text), "it fails");
    check(buf_scratch() == b + 1, "what it had is free again");
    buf_free(b + 1);
    check(memcmp(b->data, "mine", 4) == 0, "what was there before is not");
    buf_free(b);
}

static void test_scratch(void)
{
    check(attempt(scratch_use, "text"), "all is well");
    check(scratch->cap == 0, "nothing is left");
}

/* Whatever regex_make() makes of an expression, it matches the same texts. */
static void test_match_regex(void)
{
    static const char *const of[] = {
        "a", "^a", "a$", "^a$", "^", "$", "a|b", "^a|b$", "|a", "(a|^b)c",
        "a.*b", "a.*b.*c", "(a)b|c", "a)", "a)|b", "(a))|b", "[)]a|b",
        "[(]a)|b", "[])]a|b", "(a)\\1", "\\)a|b", "a\\(|b", "a{2}", "a.{2}b",
        "a..b", "[a{]b", "\\.b", "a+b?c*", "(^a)|(b$)", "\\bb", "a\\b",
        "a\\>", "a**", "()", "\\\\1a", "[[:alpha:]]b$"
    };
    static const char letters[] = "abcABC ().{1\\";
    char text[16];
    unsigned seed = 1;

    for (size_t i = 0; i < COUNT_OF(of); i++) {
        regex_t plain, made;
        size_t most;
        int r = regcomp(&plain, of[i], REG_EXTENDED | REG_ICASE | REG_NOSUB);

        check(regex_make(&made, of[i], &most) == r, "'%s' is judged differently",
              of[i]);
        for (int k = 0; r == 0 && k < 3000; k++) {
            size_t n = (seed = seed * 1103515245 + 12345) >> 16 & 7;

            for (size_t j = 0; j < n; j++)
                text[j] = letters[((seed = seed * 1103515245 + 12345) >> 16) %
                                  (sizeof letters - 1)];
            text[n] = '\0';
            check(regexec(&plain, text, 0, NULL, 0) ==
                  regexec(&made, text, 0, NULL, 0), "'%s' in '%s'", of[i],
                  text);
        }
        if (r == 0) {
            regfree(&plain);
            regfree(&made);
        }
    }
}

/* Errors name the character at which the reading stopped. */
static void test_match_errors(void)
{
    static const struct { const char *text, *what; int at; } cases[] = {
        { "", "term is missing", 1 }, { "  ", "term is missing", 3 },
        { "~q &", "term is missing", 5 }, { "~q | )", "term is missing", 6 },
        { "& ~q", "term is missing", 1 }, { "()", "term is missing", 2 },
        { "~q & & ~s", "term is missing", 6 }, { "!", "term is missing", 2 },
        { "~q | !", "term is missing", 7 },
        { "~z x", "and no other", 1 }, { "~q ~", "and no other", 4 },
        { "~qs", "and no other", 1 }, { "~", "and no other", 1 },
        { "~u", "argument is missing", 3 },
        { "~u & ~q", "argument is missing", 4 },
        { "~u 'a", "argument is missing", 6 },
        { "~u ''", "argument is missing", 5 },
        { "(~q", ") is missing", 4 }, { "((~q) ~s", ") is missing", 9 },
        { "~q)", "too much", 3 }, { "~q ~s )", "too much", 7 },
        { "~c abc", "status code", 1 }, { "~q ~c 1000", "status code", 4 },
        { "~c -1", "status code", 1 },
        { "~u [a", "", 1 }, { "~q & ~u [a", "", 6 }, { "*a[", "", 1 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char error[256], at[32];
        struct match *m = match_compile(cases[i].text, error);

        sprintf(at, "at character %d:", cases[i].at);
        check(m == NULL, "'%s' is taken", cases[i].text);
        check(m != NULL || (strstr(error, cases[i].what) &&
                            strstr(error, at)),
              "'%s': says '%s', not '%s' %s", cases[i].text, error,
              cases[i].what, at);
        match_free(m);
    }
}

/* ==== certificates ======================================================
   In an empty directory of our own, which is the current one. */

/* Runs a command by the shell; returns its exit status, and what it has
   printed, on both outputs, in text. */
PRINTF(2, 3) static int run_command(char text[65536], const char *format, ...)
{
    char command[1024];
    size_t n = 0, got;
    va_list args;
    FILE *f;
    int status;

    n = (size_t)sprintf(command, "exec 2>&1; ");
    va_start(args, format);
    vsnprintf(command + n, sizeof command - n, format, args);
    va_end(args);
    fflush(stdout);
    f = popen(command, "r");
    if (f == NULL)
        die("cannot run %s", command);
    for (n = 0; (got = fread(text + n, 1, 65535 - n, f)) > 0; )
        n += got;
    text[n] = '\0';
    status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The same, where exit status 0 and the word in its output are expected. */
static void openssl(const char *command, const char *word)
{
    static char text[65536];
    int status = run_command(text, "openssl %s", command);

    check(status == 0 && strstr(text, word), "openssl %s: exit status %d, "
          "without '%s': %s", command, status, word,
          shown(text, strlen(text)));
}

static void file_put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        die("cannot write %s", path);
}

static char *file_get(const char *path)
{
    struct stat st;
    size_t n;

    return file_read(path, &n, &st);
}

static unsigned file_mode(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

/* Removes all files in the current directory, of which none are hidden. */
static void files_remove(void)
{
    DIR *d = opendir(".");
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && unlink(e->d_name) != 0)
            rmdir(e->d_name);
    if (d != NULL)
        closedir(d);
}

/* How many files there are in the current directory. */
static int files_count(void)
{
    DIR *d = opendir(".");
    struct dirent *e;
    int n = 0;

    while (d != NULL && (e = readdir(d)) != NULL)
        n += e->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return n;
}

static void test_file_private(void)
{
    mode_t old = umask(0);
    char *text;

    check(file_write_private("key", "secret\n"), "%s", strerror(errno));
    check(file_mode("key") == 0600, "its mode is %o", file_mode("key"));
    check(file_write_private("key", "another\n"), "%s", strerror(errno));
    text = file_get("key");
    same_text("who comes second lets it be", text, "secret\n");
    free(text);
    check(files_count() == 1, "something else is left beside it");
    check(!file_write_private("nowhere/key", "x") && errno == ENOENT,
          "no such directory: %s", strerror(errno));
    umask(old);
    files_remove();
}

/* Loads the CA in a file in place of that which was loaded. */
static void ca_use(const char *path)
{
    mbedtls_x509_crt_free(&ca.crt);
    mbedtls_pk_free(&ca.key);
    ca_load(path);
}

static void test_ca_make(void)
{
    mode_t old = umask(0);
    char *first, *second;

    ca_use("ca.pem");
    umask(old);
    check(file_mode("ca.pem") == 0600, "its mode is %o", file_mode("ca.pem"));
    check(files_count() == 1, "something else is left beside it");
    check(ca.crt.version == 3 && mbedtls_x509_crt_get_ca_istrue(&ca.crt) == 1,
          "it is no CA");
    check(mbedtls_pk_get_bitlen(&ca.key) == 256, "%zu bits",
          mbedtls_pk_get_bitlen(&ca.key));
    check(ca.crt.valid_to.year - ca.crt.valid_from.year == 10,
          "from %d to %d", ca.crt.valid_from.year, ca.crt.valid_to.year);
    first = file_get("ca.pem");
    ca_use("ca.pem");
    second = file_get("ca.pem");
    same_text("loaded again", second, first);
    free(first);
    free(second);
}

static void test_ca_openssl(void)
{
    openssl("verify -x509_strict -CAfile ca.pem ca.pem", "ca.pem: OK");
    openssl("x509 -in ca.pem -noout -text", "CA:TRUE");
    openssl("x509 -in ca.pem -noout -text", "Certificate Sign, CRL Sign");
    openssl("x509 -in ca.pem -noout -text", "NIST CURVE: P-256");
    openssl("x509 -in ca.pem -noout -text", "ecdsa-with-SHA256");
    openssl("x509 -in ca.pem -noout -subject", "mitmproxy.c CA of");
    openssl("x509 -in ca.pem -noout -checkend 314000000", "not expire");
    openssl("pkey -in ca.pem -check -noout", "valid");
}

/* A server's certificate with this subject and these names, by Mbed TLS's
   own writer, so that ours is not both ends of the test. */
static void server_make(mbedtls_x509_crt *crt, const char *subject,
                        mbedtls_x509_san_list *names)
{
    static unsigned char der_text[16384], serial[] = { 7 };
    mbedtls_x509write_cert w;
    int n;

    mbedtls_x509write_crt_init(&w);
    mbedtls_x509write_crt_set_version(&w, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, &ca.leaf_key);
    mbedtls_x509write_crt_set_issuer_key(&w, &ca.leaf_key);
    if (mbedtls_x509write_crt_set_serial_raw(&w, serial, 1) != 0 ||
        (*subject != '\0' &&
         mbedtls_x509write_crt_set_subject_name(&w, subject) != 0) ||
        mbedtls_x509write_crt_set_issuer_name(&w, "CN=Another CA") != 0 ||
        mbedtls_x509write_crt_set_validity(&w, "20200101000000",
                                           "20490101000000") != 0 ||
        (names && mbedtls_x509write_crt_set_subject_alternative_name(
            &w, names) != 0) ||
        (n = mbedtls_x509write_crt_der(&w, der_text, sizeof der_text
                                       WITH_RANDOM)) < 0)
        die("cannot make a server's certificate");
    mbedtls_x509write_crt_free(&w);
    mbedtls_x509_crt_init(crt);
    if (mbedtls_x509_crt_parse_der(crt, der_text + sizeof der_text - n,
                                   (size_t)n) != 0)
        die("cannot read a server's certificate");
}

/* One name of a certificate. */
static mbedtls_x509_san_list san(int type, const void *p, size_t n,
                                 mbedtls_x509_san_list *next)
{
    mbedtls_x509_san_list s = { .next = next };

    s.node.type = type;
    s.node.san.unstructured_name.p = (unsigned char *)p;
    s.node.san.unstructured_name.len = n;
    return s;
}

/* Writes a certificate as PEM. */
static void pem_write(const char *path, const unsigned char *p, size_t n)
{
    static char text[32768];
    size_t len;

    if (mbedtls_pem_write_buffer("-----BEGIN CERTIFICATE-----\n",
                                 "-----END CERTIFICATE-----\n", p, n,
                                 (unsigned char *)text, sizeof text,
                                 &len) != 0)
        die("cannot write %s", path);
    file_put(path, text);
}

/* Forges a leaf for name; checks what is to be true of every leaf. */
static void leaf_make(mbedtls_x509_crt *leaf, const mbedtls_x509_crt *server,
                      const char *name)
{
    uint32_t flags = 0;
    int r;

    mbedtls_x509_crt_init(leaf);
    r = leaf_forge(leaf, server, name, false);
    check(r == 0, "%s: error -0x%04x", name, (unsigned)-r);
    if (r != 0)
        return;
    r = mbedtls_x509_crt_verify(leaf, &ca.crt, NULL, name, &flags, NULL,
                                NULL);
    check(r == 0, "%s: Mbed TLS does not verify it: flags %x", name, flags);
    check(mbedtls_pk_check_pair(&leaf->pk, &ca.leaf_key WITH_RANDOM) == 0,
          "%s: it has another key", name);
    check(leaf->serial.len > 0 && leaf->serial.len <= 20 &&
          leaf->serial.p[0] > 0 && leaf->serial.p[0] < 0x80,
          "%s: its serial number is no positive integer", name);
    check(cert_time(&leaf->valid_from) >= cert_time(&ca.crt.valid_from) &&
          cert_time(&leaf->valid_to) <= cert_time(&ca.crt.valid_to),
          "%s: valid when the CA is not", name);
    if (server != NULL)
        same("subject", leaf->subject_raw.p, leaf->subject_raw.len,
             (char *)server->subject_raw.p, server->subject_raw.len);
    pem_write("leaf.pem", leaf->raw.p, leaf->raw.len);
}

#pragma weak mbedtls_ssl_write_record
int mbedtls_ssl_write_record(mbedtls_ssl_context *ssl, int flush);

/* An end in memory, of this configuration. */
static void end_make(struct end *e, const mbedtls_ssl_config *conf)
{
    *e = (struct end){ .fd = -1 };
    e->ssl = alloc(sizeof *e->ssl);
    mbedtls_ssl_init(e->ssl);
    mbedtls_ssl_set_bio(e->ssl, e, tls_send, tls_recv, NULL);
    mbedtls_ssl_set_user_data_p(e->ssl, known_get("a ticket"));
    if (mbedtls_ssl_setup(e->ssl, conf) != 0 ||
        mbedtls_ssl_set_hostname(e->ssl, NULL) != 0)
        die("cannot make a TLS session");
}

/* Each end takes what the other has sent, and goes on, turn by turn, also with
   what a slow machine has left for a later one. */
static void ends_pump(struct end *a, struct end *b)
{
    while (tls_pump(a) | tls_pump(b) | tls_seal(a) | tls_seal(b) |
           a->later | b->later) {
        now += 1;
        buf_move(&a->wire_in, &b->wire_out, b->wire_out.len);
        buf_move(&b->wire_in, &a->wire_out, a->wire_out.len);
    }
}

/* A TLS 1.3 server whose ticket is good for 136 years (RFC 8446, 4.6.1). */
static void test_long_ticket(void)
{
    static const unsigned char ticket[] = {
        4, 0, 0, 16, 255, 255, 255, 255, 1, 2, 3, 4, 1, 0, 0, 2, 't', 't', 0, 0
    };
    mbedtls_ssl_config conf[2];
    struct end end[2], *client = &end[MBEDTLS_SSL_IS_CLIENT],
               *server = &end[MBEDTLS_SSL_IS_SERVER];
    mbedtls_x509_crt leaf;

    if (tls_alt_open == NULL || mbedtls_ssl_write_record == NULL)
        return;                     /* the system's Mbed TLS, as it is */
    leaf_make(&leaf, NULL, "a.test");
    for (int role = 0; role < 2; role++) {
        mbedtls_ssl_config_init(&conf[role]);
        mbedtls_ssl_config_defaults(&conf[role], role,
                                    MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT);
#if MBEDTLS_VERSION_MAJOR < 4
        mbedtls_ssl_conf_rng(&conf[role] WITH_RANDOM);
        mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
            &conf[role], MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
#endif
        mbedtls_ssl_conf_authmode(&conf[role], MBEDTLS_SSL_VERIFY_NONE);
    }
    mbedtls_ssl_conf_own_cert(&conf[MBEDTLS_SSL_IS_SERVER], &leaf,
                              &ca.leaf_key);
    end_make(client, &conf[MBEDTLS_SSL_IS_CLIENT]);
    end_make(server, &conf[MBEDTLS_SSL_IS_SERVER]);
    client->vouched = true;
    ends_pump(client, server);
    server->ssl->MBEDTLS_PRIVATE(out_msgtype) = 22;
    server->ssl->MBEDTLS_PRIVATE(out_msglen) = sizeof ticket;
    memcpy(server->ssl->MBEDTLS_PRIVATE(out_msg), ticket, sizeof ticket);
    check(mbedtls_ssl_write_record(server->ssl, 1) == 0, "it is not sent");
    buf_puts(&server->out, "page");
    buf_move(&client->wire_in, &server->wire_out, server->wire_out.len);
    ends_pump(client, server);
    check(client->ready && client->tickets == 1, "no ticket: -0x%04x",
          (unsigned)-client->tls_error);
    same_buf("what comes behind it", &client->in, LIT("page"));
    for (int role = 0; role < 2; role++) {
        end_close(&end[role]);
        mbedtls_ssl_config_free(&conf[role]);
    }
    leaf.next = NULL;
    mbedtls_x509_crt_free(&leaf);
}

/* A session has a copy of the configuration where that has its own names of
   ALPN; else the idle pair of a client without ALPN would grow by 1.4 KiB. */
static void test_tls_copies(void)
{
    static const struct alpn none;
    struct known *k = known_get("a server");
    struct end e = { .fd = -1 };

    for (int i = 0; i < 2; i++) {
        tls_start(&e, i ? &http11 : &none, NULL, k);
        check((e.own != NULL) == i, i ? "there is none" : "there is one");
        end_close(&e);
    }
    all_known = k->next;
    k->refs = 1;                    /* the list's goes, too */
    known_drop(k);
}

/* How many names a certificate has. */
static int names_count(const mbedtls_x509_crt *crt)
{
    int n = 0;

    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names;
         s != NULL && s->buf.p != NULL; s = s->next)
        n++;
    return n;
}

static bool have_openssl;

/* Checks, if there is an openssl, that it takes the last leaf for name, and
   is strict, unless it is the CA that is not. */
static void verify(const char *ca_file, bool strict, const char *name)
{
    char command[512];
    unsigned char ip[16];

    if (!have_openssl)
        return;
    snprintf(command, sizeof command, "verify %s -purpose sslserver "
             "-verify_%s '%s' -CAfile %s leaf.pem",
             strict ? "-x509_strict" : "",
             parse_ip(name, ip) ? "ip" : "hostname", name, ca_file);
    openssl(command, "leaf.pem: OK");
}

static void test_leaf_bare(void)
{
    static const char *const names[] = {
        "example.com", "a.b-c.example", "127.0.0.1", "::1",
        "2001:db8::ff", "0.0.0.0",
        "more-than-the-64-characters-that-a-common-name.may-have.example.com",
    };

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        mbedtls_x509_crt leaf;

        leaf_make(&leaf, NULL, names[i]);
        check(names_count(&leaf) == 1, "%s: %d names", names[i],
              names_count(&leaf));
        verify("ca.pem", true, names[i]);
        mbedtls_x509_crt_free(&leaf);
    }
}

static void test_leaf_extensions(void)
{
    mbedtls_x509_crt leaf;

    leaf_make(&leaf, NULL, "example.com");
    mbedtls_x509_crt_free(&leaf);
    openssl("x509 -in leaf.pem -noout -text", "Version: 3");
    openssl("x509 -in leaf.pem -noout -text", "CA:FALSE");
    openssl("x509 -in leaf.pem -noout -text", "Digital Signature\n");
    openssl("x509 -in leaf.pem -noout -text",
            "TLS Web Server Authentication\n");
    openssl("x509 -in leaf.pem -noout -text", "Authority Key Identifier");
    openssl("x509 -in leaf.pem -noout -text", "DNS:example.com\n");
    openssl("x509 -in leaf.pem -noout -subject -nameopt RFC2253",
            "CN=example.com");
    openssl("x509 -in leaf.pem -noout -issuer", "mitmproxy.c CA of");
}

/* Whether a certificate has this name, byte for byte. */
static bool has_name(const mbedtls_x509_crt *crt, const char *name)
{
    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names;
         s != NULL && s->buf.p != NULL; s = s->next)
        if (s->buf.len == strlen(name) &&
            memcmp(s->buf.p, name, s->buf.len) == 0)
            return true;
    return false;
}

/* A server with a hundred names, an address, and one more that is asked for:
   the leaf has them all, but for an address of mail. */
static void test_leaf_names(void)
{
    static mbedtls_x509_san_list list[102];
    static char text[100][32];
    mbedtls_x509_crt server, leaf;

    for (int i = 0; i < 100; i++) {
        sprintf(text[i], i % 2 ? "n%d.test" : "*.N%d.test", i);
        list[i] = san(MBEDTLS_X509_SAN_DNS_NAME, text[i], strlen(text[i]),
                      &list[i + 1]);
    }
    list[100] = san(MBEDTLS_X509_SAN_IP_ADDRESS, "\x7f\0\0\x01", 4,
                    &list[101]);
    list[101] = san(MBEDTLS_X509_SAN_RFC822_NAME, "a@b.test", 8, NULL);
    server_make(&server, "CN=n1.test,O=B\xc3\xbc""cher & S\xc3\xb6hne,C=DE",
                list);
    check(names_count(&server) == 102, "the server has %d names",
          names_count(&server));
    leaf_make(&leaf, &server, "asked.test");
    for (int i = 0; i < 100; i++)
        check(has_name(&leaf, text[i]), "%s is lost", text[i]);
    check(names_count(&leaf) == 102, "the leaf has %d names",
          names_count(&leaf));
    verify("ca.pem", true, "n99.test");
    verify("ca.pem", true, "x.n98.test");
    verify("ca.pem", true, "127.0.0.1");
    verify("ca.pem", true, "asked.test");
    mbedtls_x509_crt_free(&leaf);
    mbedtls_x509_crt_free(&server);
}

/* The name asked for is added unless it is there: in any case of letters,
   but an address must be the same to its last byte. */
static void test_leaf_adds(void)
{
    static const struct {
        int type;
        const char *p;
        size_t n;
        const char *asked;
        int want;
    } cases[] = {
        { MBEDTLS_X509_SAN_DNS_NAME, LIT("a.test"), "a.test", 1 },
        { MBEDTLS_X509_SAN_DNS_NAME, LIT("A.Test"), "a.TEST", 1 },
        { MBEDTLS_X509_SAN_DNS_NAME, LIT("a.test"), "b.test", 2 },
        { MBEDTLS_X509_SAN_DNS_NAME, LIT("a.test.x"), "a.test", 2 },
        { MBEDTLS_X509_SAN_DNS_NAME, LIT("10.0.0.1"), "10.0.0.1", 2 },
        { MBEDTLS_X509_SAN_IP_ADDRESS, LIT("\x0a\0\0\x01"), "10.0.0.1", 1 },
        { MBEDTLS_X509_SAN_IP_ADDRESS, LIT("\x0a\0\0\x02"), "10.0.0.1", 2 },
        { MBEDTLS_X509_SAN_IP_ADDRESS, LIT("A\x01\x01\x01"), "97.1.1.1", 2 },
        { MBEDTLS_X509_SAN_IP_ADDRESS,
          LIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"), "::1", 2 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        mbedtls_x509_san_list list = san(cases[i].type, cases[i].p,
                                         cases[i].n, NULL);
        mbedtls_x509_crt server, leaf;

        server_make(&server, "CN=x", &list);
        leaf_make(&leaf, &server, cases[i].asked);
        check(names_count(&leaf) == cases[i].want, "%s asked of %s: %d names",
              cases[i].asked, shown(cases[i].p, cases[i].n),
              names_count(&leaf));
        mbedtls_x509_crt_free(&leaf);
        mbedtls_x509_crt_free(&server);
    }
}

/* Some servers' certificates have names alone. Then their extension must be
   critical (RFC 5280, 4.2.1.6), and strict clients insist on it. */
static void test_leaf_no_subject(void)
{
    mbedtls_x509_san_list list = san(MBEDTLS_X509_SAN_DNS_NAME, "a.test", 6,
                                     NULL);
    mbedtls_x509_crt server, leaf;

    server_make(&server, "", &list);
    leaf_make(&leaf, &server, "a.test");
    verify("ca.pem", true, "a.test");
    openssl("x509 -in leaf.pem -noout -text",
            "Subject Alternative Name: critical");
    mbedtls_x509_crt_free(&leaf);
    mbedtls_x509_crt_free(&server);
}

/* A CA of the user's own, of RSA, signs what ours does. */
static void test_leaf_rsa(void)
{
    mbedtls_x509_crt leaf;

    openssl("req -x509 -nodes -newkey rsa:2048 -keyout rsa.pem -out rsa.crt "
            "-subj '/O=Mine/CN=My own CA' -days 30 2>/dev/null && "
            "cat rsa.crt >>rsa.pem && chmod 600 rsa.pem && echo done",
            "done");
    ca_use("rsa.pem");
    leaf_make(&leaf, NULL, "example.com");
    verify("rsa.crt", false, "example.com");
    openssl("x509 -in leaf.pem -noout -text", "sha256WithRSAEncryption");
    openssl("x509 -in leaf.pem -noout -issuer -nameopt RFC2253",
            "CN=My own CA,O=Mine");
    mbedtls_x509_crt_free(&leaf);
    ca_use("ca.pem");
}

static void act_ca_load(void *path)
{
    ca_use(path);
}

/* Writes a certificate that c describes, its key behind it, to be a CA. */
static void ca_write(const char *path, struct cert *c,
                     mbedtls_pk_context *written)
{
    static unsigned char key[4096];
    char *text;
    struct buf b = { 0 }, der = { 0 };

    if (cert_write(c, &der) != 0 ||
        mbedtls_pk_write_key_pem(written, key, sizeof key) != 0)
        die("cannot make %s", path);
    pem_write(path, buf_at(&der), der.len);
    buf_free(&der);
    text = file_get(path);
    buf_puts(&b, text);
    buf_put(&b, key, strlen((char *)key) + 1);
    file_put(path, (char *)buf_at(&b));
    chmod(path, 0600);
    buf_free(&b);
    free(text);
}

/* Makes one file for each mistake. */
static void ca_mistakes(void)
{
    time_t t = time(NULL);
    struct cert c = { .is_ca = true, .name = "x", .key = &ca.key,
                      .from = t - 9, .to = t + 9999 };
    char *good = file_get("ca.pem");
    char *key = strstr(good, "-----BEGIN CERT");

    file_put("open.pem", good);
    chmod("open.pem", 0640);
    file_put("nokey.pem", key < strstr(good, "-----BEGIN EC") ? "" : key);
    *key = '\0';
    file_put("nocert.pem", good);
    free(good);
    file_put("empty.pem", "");
    file_put("text.pem", "hello\n");
    file_put("half.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    mkdir("folder.pem", 0700);
    ca_write("mixed.pem", &c, &ca.leaf_key);
    c.is_ca = false;
    ca_write("leaf.pem", &c, &ca.key);
    c.is_ca = true;
    c.to = t - 5;
    ca_write("old.pem", &c, &ca.key);
}

static void test_ca_refused(void)
{
    static const struct { const char *path, *word; } cases[] = {
        { "empty.pem", "no certificate" }, { "text.pem", "no certificate" },
        { "half.pem", "half.pem cannot" }, { "nocert.pem", "no certificate" },
        { "nokey.pem", "no private key" }, { "mixed.pem", "not that of" },
        { "leaf.pem", "not a CA's" }, { "old.pem", "expired" },
        { "open.pem", "chmod 600" }, { "folder.pem", "directory" },
        { "nowhere/ca.pem", "nowhere/ca.pem: No such file" },
    };

    ca_mistakes();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (cases[i].word[0] != 'c' && file_mode(cases[i].path) == 0644)
            chmod(cases[i].path, 0600);
        dies(cases[i].path, act_ca_load, (void *)cases[i].path, 1,
             cases[i].word);
    }
}

/* A leaf for a server that has shown no certificate is made anew, too. */
static void test_leaf_anew(void)
{
    struct known *k = known_get("!/a.test"), *first = k;

    check(known_leaf(&k, NULL, "a.test", false) == 0 && known_is_fresh(k),
          "none is made");
    check(known_leaf(&k, NULL, "a.test", false) == 0 && k == first,
          "it is made anew at once");
    k->born -= 24 * 3600;
    check(known_leaf(&k, NULL, "a.test", false) == 0 && known_is_fresh(k),
          "one day later it is the same");
    all_known = NULL;
    k->refs = 1;                    /* the list's goes, too */
    known_drop(k);
}

/* A leaf that cannot be read, as memory runs out, say, has no chain behind it:
   with the next attempt that would be freed, and so the CA. */
static void test_leaf_unread(void)
{
    mbedtls_x509_crt server, leaf;

    mbedtls_x509_crt_init(&server);
    mbedtls_x509_crt_init(&leaf);
    server.subject_raw = (mbedtls_x509_buf){ 0, 1, (unsigned char *)"?" };
    ca.sent = &ca.crt;
    for (int i = 0; i < 2; i++)
        check(leaf_forge(&leaf, &server, "a.test", false) != 0 &&
              leaf.next == NULL && ca.crt.version == 3, "attempt %d", i);
    ca.sent = NULL;
}

/* Runs those tests that ask openssl, or says why not. */
static void test_with_openssl(const char *name, void (*run)(void))
{
    if (have_openssl)
        test(name, run);
    else
        printf("ok %d - %s # SKIP there is no openssl\n", ++tests, name);
}

/* Runs the tests of certificates in a directory that is then removed. */
static void test_certificates(void)
{
    const char *temp = getenv("TMPDIR");
    char path[PATH_MAX], back[PATH_MAX];
    static char text[65536];

    snprintf(path, sizeof path, "%s/unit.XXXXXX", temp ? temp : "/tmp");
    if (getcwd(back, sizeof back) == NULL || mkdtemp(path) == NULL ||
        chdir(path) != 0)
        die("cannot make %s", path);
    have_openssl = run_command(text, "openssl version") == 0;
    key_make(&ca.leaf_key, false);
    test("a private file: mode 0600 whatever the umask, made once",
         test_file_private);
    test("a CA is made, and loaded again", test_ca_make);
    test_with_openssl("the CA as openssl sees it", test_ca_openssl);
    test("leaves for names and addresses", test_leaf_bare);
    test_with_openssl("a leaf as openssl sees it", test_leaf_extensions);
    test("a leaf has all the server's names", test_leaf_names);
    test("a leaf has the name asked for, once", test_leaf_adds);
    test_with_openssl("a server without a subject", test_leaf_no_subject);
    test_with_openssl("an RSA CA signs leaves", test_leaf_rsa);
    test("a leaf is made anew after a day", test_leaf_anew);
    test("a copy of the configuration for ALPN alone", test_tls_copies);
    test("a leaf that cannot be read, twice", test_leaf_unread);
    test("a ticket that is good for longer than a week", test_long_ticket);
    test("wrong CA files are refused in one line", test_ca_refused);
    files_remove();
    if (chdir(back) != 0 || rmdir(path) != 0)
        die("cannot remove %s", path);
    mbedtls_x509_crt_free(&ca.crt);
    mbedtls_pk_free(&ca.key);
    mbedtls_pk_free(&ca.leaf_key);
}

/* ==== cryptography ======================================================
   What mbedtls/ replaces in Mbed TLS. */

/* The bytes that hexadecimal digits stand for; returns how many. */
static size_t unhex(unsigned char *to, const char *digits)
{
    size_t n = 0;

    for (unsigned byte; sscanf(digits + 2 * n, "%2x", &byte) == 1; n++)
        to[n] = (unsigned char)byte;
    return n;
}

static void put_random(unsigned char *to, size_t n)
{
    while (n > 0)
        to[--n] = (unsigned char)rnd(256);
}

/* A message under AES-GCM, and how it is called. */
struct sealed {
    unsigned char key[32], iv[20], ad[100], tag[16];
    size_t iv_len, ad_len, len;
    unsigned key_bits;
};

/* En- or decrypts s's bytes in pieces of random lengths, from 1 to most, in
   their place; leaves the tag in s. In pieces of less than 16 Mbed TLS gets
   no whole block, and so does it its own way. */
static void gcm_pieces(struct sealed *s, int mode, unsigned char *text,
                       unsigned most)
{
    mbedtls_gcm_context gcm;
    size_t n, done, got;

    mbedtls_gcm_init(&gcm);
    check(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, s->key,
                             s->key_bits) == 0, "key");
    check(mbedtls_gcm_starts(&gcm, mode, s->iv, s->iv_len) == 0, "starts");
    for (done = 0; done < s->ad_len; done += n) {
        n = 1 + rnd((unsigned)(s->ad_len - done));
        check(mbedtls_gcm_update_ad(&gcm, s->ad + done, n) == 0, "AD");
    }
    for (done = 0; done < s->len; done += n) {
        n = 1 + rnd(most);
        n = n < s->len - done ? n : s->len - done;
        check(mbedtls_gcm_update(&gcm, text + done, n, text + done, n, &got)
              == 0 && got == n, "update");
    }
    check(mbedtls_gcm_finish(&gcm, NULL, 0, &got, s->tag, 16) == 0, "finish");
    mbedtls_gcm_free(&gcm);
}

/* Decrypts text at once into to, by the tag in s; returns what comes back. */
static int gcm_open(const struct sealed *s, const unsigned char *text,
                    unsigned char *to)
{
    mbedtls_gcm_context gcm;
    int ret;

    mbedtls_gcm_init(&gcm);
    mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, s->key, s->key_bits);
    ret = mbedtls_gcm_auth_decrypt(&gcm, s->len, s->iv, s->iv_len, s->ad,
                                   s->ad_len, s->tag, 16, text, to);
    mbedtls_gcm_free(&gcm);
    return ret;
}

/* A key, and an IV with which the counter's 32 bits overflow at the thirteenth
   block. */
#define OVERFLOWING \
    "59454c4c4f57205355424d4152494e45", "77726170733a34313031393238"

/* Test cases 4 and 16 of McGrew and Viega's GCM, and a thousand zeros under the
   key above, as OpenSSL has them. */
static void test_gcm_known(void)
{
#define KEY "feffe9928665731c6d6a8f9467308308"
#define TEXT "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a" \
             "721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    static const char ad[] = "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                      iv[] = "cafebabefacedbaddecaf888";
    static const struct { const char *key, *iv, *ad, *text, *tag; } cases[] = {
        { KEY, iv, ad, TEXT, "5bc94fbc3221a5db94fae95ae7121a47" },
        { KEY KEY, iv, ad, TEXT, "76fc6ece0f4e1768cddf8853bb2d551b" },
        { OVERFLOWING, "6164", NULL, "abd744909068496f264b48582d104c88" }
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned char text[1000] = { 0 }, tag[16];
        struct sealed s = { .key_bits = 8 * (unsigned)unhex(s.key,
                                                            cases[i].key) };

        s.iv_len = unhex(s.iv, cases[i].iv);
        s.ad_len = unhex(s.ad, cases[i].ad);
        s.len = cases[i].text ? unhex(text, cases[i].text) : sizeof text;
        unhex(tag, cases[i].tag);
        gcm_pieces(&s, MBEDTLS_GCM_ENCRYPT, text, 1000);
        check(memcmp(s.tag, tag, 16) == 0, "case %zu: another tag", i);
    }
}

/* At once, in pieces, and without whole blocks: all the same. */
static void test_gcm_random(void)
{
    enum { MOST = 20000 };
    static unsigned char plain[MOST], slow[MOST], fast[MOST], opened[MOST];
    static const char *const overflowing[] = { OVERFLOWING };

    rnd_start(seed);
    for (int i = 0; i < 3000 && complaints == 0; i++) {
        struct sealed s = {
            .key_bits = 128 + 64 * rnd(3), .ad_len = rnd(sizeof s.ad),
            .iv_len = rnd(4) ? 12 : 1 + rnd(sizeof s.iv),
            .len = rnd(rnd(8) ? 700 : rnd(4) ? 5000 : MOST)
        }, t;

        put_random(s.key, sizeof s.key);
        put_random(s.iv, sizeof s.iv);
        if (i % 8 == 0) {
            s.key_bits = 8 * (unsigned)unhex(s.key, overflowing[0]);
            s.iv_len = unhex(s.iv, overflowing[1]);
        }
        put_random(s.ad, sizeof s.ad);
        put_random(plain, s.len);
        memcpy(slow, plain, s.len);
        memcpy(fast, plain, s.len);
        t = s;
        gcm_pieces(&t, MBEDTLS_GCM_ENCRYPT, slow, 15);
        gcm_pieces(&s, MBEDTLS_GCM_ENCRYPT, fast, rnd(2) ? 300 : MOST);
        check(memcmp(s.tag, t.tag, 16) == 0 &&
              memcmp(fast, slow, s.len) == 0, "message %d: sealed", i);
        check(gcm_open(&s, slow, opened) == 0 &&
              memcmp(opened, plain, s.len) == 0, "message %d: opened", i);
        gcm_pieces(&t, MBEDTLS_GCM_DECRYPT, fast, 300);
        check(memcmp(s.tag, t.tag, 16) == 0 &&
              memcmp(fast, plain, s.len) == 0, "message %d: in pieces", i);
    }
}

/* One bit changed, anywhere, is noticed, and nothing comes out. */
static void test_gcm_forged(void)
{
    static const unsigned char zeros[500];
    unsigned char text[500] = "a message", to[500];
    struct sealed s = { .key_bits = 128, .iv_len = 12, .ad_len = 13,
                        .len = sizeof text };

    gcm_pieces(&s, MBEDTLS_GCM_ENCRYPT, text, 500);
    check(gcm_open(&s, text, to) == 0, "as it was");
    for (size_t bit = 0; bit < 8 * (500 + 13 + 16); bit++) {
        unsigned char *p = bit < 4000 ? text + bit / 8 : bit < 4104 ?
            s.ad + (bit - 4000) / 8 : s.tag + (bit - 4104) / 8;

        *p ^= (unsigned char)(1 << bit % 8);
        memset(to, 1, sizeof to);
        check(gcm_open(&s, text, to) == MBEDTLS_ERR_GCM_AUTH_FAILED &&
              memcmp(to, zeros, sizeof to) == 0, "bit %zu", bit);
        *p ^= (unsigned char)(1 << bit % 8);
    }
}

/* A key pair in PSA, X25519's or P-256's: of that secret, or random. */
static psa_key_id_t ecdh_key(psa_ecc_family_t family,
                             const unsigned char *secret)
{
    psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t key = 0;

    psa_set_key_type(&attributes, PSA_KEY_TYPE_ECC_KEY_PAIR(family));
    psa_set_key_bits(&attributes, family == PSA_ECC_FAMILY_MONTGOMERY ? 255
                                                                      : 256);
    psa_set_key_algorithm(&attributes, PSA_ALG_ECDH);
    psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_DERIVE |
                            PSA_KEY_USAGE_EXPORT);
    check((secret ? psa_import_key(&attributes, secret, 32, &key)
                  : psa_generate_key(&attributes, &key)) == 0, "no key");
    return key;
}

/* The vectors of RFC 7748, 5.2 and 6.1, by PSA: a secret, a point, and what
   they are multiplied. The last point is 9: the secret's public key. */
static void test_x25519_known(void)
{
#define BOB "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
    static const struct { const char *secret, *point, *product; } cases[] = {
        { "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
          "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
          "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
        { "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
          "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
          "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
        { BOB,
          "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
          "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742" },
        { BOB, NULL,
          "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f" }
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned char secret[32], point[32], want[32], got[32];
        psa_key_id_t key;
        size_t n;

        unhex(secret, cases[i].secret);
        unhex(want, cases[i].product);
        key = ecdh_key(PSA_ECC_FAMILY_MONTGOMERY, secret);
        if (cases[i].point == NULL)
            psa_export_public_key(key, got, sizeof got, &n);
        else
            psa_raw_key_agreement(PSA_ALG_ECDH, key, point,
                                  unhex(point, cases[i].point), got,
                                  sizeof got, &n);
        check(n == 32 && memcmp(got, want, 32) == 0, "case %zu", i);
        psa_destroy_key(key);
    }
}

/* PSA's public keys and shared secrets are those of mbedtls_ecp_mul(). */
static void test_x25519_random(void)
{
    mbedtls_ecp_group group;
    mbedtls_ecp_point point;
    mbedtls_mpi d;

    mbedtls_ecp_group_init(&group);
    mbedtls_ecp_point_init(&point);
    mbedtls_mpi_init(&d);
    mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_CURVE25519);
    for (int i = 0; i < 100 && complaints == 0; i++) {
        unsigned char edge[32] = { 0 };         /* digits that carry, or not */
        psa_key_id_t ours = ecdh_key(PSA_ECC_FAMILY_MONTGOMERY, i >= 16 ? NULL :
                                     memset(edge, 0x11 * i, sizeof edge));
        psa_key_id_t theirs = ecdh_key(PSA_ECC_FAMILY_MONTGOMERY, NULL);
        unsigned char secret[32], public[32], other[32], got[32], want[32];
        size_t n;

        psa_export_key(ours, secret, 32, &n);
        psa_export_public_key(ours, public, 32, &n);
        psa_export_public_key(theirs, other, 32, &n);
        psa_raw_key_agreement(PSA_ALG_ECDH, ours, other, 32, got, 32, &n);
        mbedtls_mpi_read_binary_le(&d, secret, 32);
        mbedtls_ecp_mul(&group, &point, &d, &group.G, mbedtls_psa_get_random,
                        MBEDTLS_PSA_RANDOM_STATE);
        mbedtls_ecp_point_write_binary(&group, &point,
                                       MBEDTLS_ECP_PF_COMPRESSED, &n, want, 32);
        check(n == 32 && memcmp(public, want, 32) == 0, "public key %d", i);
        mbedtls_ecp_point_read_binary(&group, &point, other, 32);
        mbedtls_ecp_mul(&group, &point, &d, &point, mbedtls_psa_get_random,
                        MBEDTLS_PSA_RANDOM_STATE);
        mbedtls_ecp_point_write_binary(&group, &point,
                                       MBEDTLS_ECP_PF_COMPRESSED, &n, want, 32);
        check(n == 32 && memcmp(got, want, 32) == 0, "shared secret %d", i);
        psa_destroy_key(ours);
        psa_destroy_key(theirs);
    }
    mbedtls_mpi_free(&d);
    mbedtls_ecp_point_free(&point);
    mbedtls_ecp_group_free(&group);
}

/* P-256 is left to Mbed TLS: the key of RFC 6979, A.2.5. */
static void test_other_curve(void)
{
    static const char *const numbers[] = {
        "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
    };
    unsigned char secret[32], want[65] = { 4 }, got[65];
    psa_key_id_t key;
    size_t n;

    unhex(secret, numbers[0]);
    unhex(want + 1, numbers[1]);
    unhex(want + 33, numbers[2]);
    key = ecdh_key(PSA_ECC_FAMILY_SECP_R1, secret);
    check(psa_export_public_key(key, got, 65, &n) == PSA_SUCCESS && n == 65 &&
          memcmp(got, want, 65) == 0, "another public key");
    psa_destroy_key(key);
}

/* Every curve's field and group: 1, 2, p - 1 and random numbers times their
   inverse are 1. */
static void test_inverse(void)
{
    static const mbedtls_ecp_group_id curves[] = {
        MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_SECP384R1,
        MBEDTLS_ECP_DP_SECP521R1 };
    mbedtls_mpi a, inverse, product;

    mbedtls_mpi_init(&a);
    mbedtls_mpi_init(&inverse);
    mbedtls_mpi_init(&product);
    for (int i = 0; i < 300 && inverse_alt != NULL; i++) {
        mbedtls_ecp_group group;
        mbedtls_mpi *p = i % 2 ? &group.P : &group.N;

        mbedtls_ecp_group_init(&group);
        mbedtls_ecp_group_load(&group, curves[i / 2 % 3]);
        if (i < 12)
            mbedtls_mpi_lset(&a, 1 + i / 6);
        else if (i < 18)
            mbedtls_mpi_sub_int(&a, p, 1);
        else
            mbedtls_mpi_random(&a, 1, p, mbedtls_psa_get_random,
                               MBEDTLS_PSA_RANDOM_STATE);
        check(inverse_alt(NULL, &inverse, &a, p) == 0, "number %d: error", i);
        mbedtls_mpi_mul_mpi(&product, &a, &inverse);
        mbedtls_mpi_mod_mpi(&product, &product, p);
        check(mbedtls_mpi_cmp_int(&product, 1) == 0 &&
              mbedtls_mpi_cmp_mpi(&inverse, p) < 0, "number %d", i);
        check(inverse_alt(NULL, &a, &a, p) == 0 &&
              mbedtls_mpi_cmp_mpi(&a, &inverse) == 0, "number %d: in place", i);
        mbedtls_ecp_group_free(&group);
    }
    mbedtls_mpi_free(&a);
    mbedtls_mpi_free(&inverse);
    mbedtls_mpi_free(&product);
}

/* Digests of all lengths up to 300 bytes, whole and in pieces; of them all
   together, and of a million letters, as OpenSSL has them. */
static void test_sha256(void)
{
    static const char *const known[] = {
        "b90e35153500e9a471591550ee25a954527c6b4448afff95f7949a2ca93300ce",
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" };
    static unsigned char data[1000000];
    psa_hash_operation_t all = PSA_HASH_OPERATION_INIT;
    unsigned char whole[32], pieces[32], want[32];
    size_t n;

    rnd_start(seed);
    psa_hash_setup(&all, PSA_ALG_SHA_256);
    for (size_t len = 0; len <= 300; len++) {
        psa_hash_operation_t one = PSA_HASH_OPERATION_INIT;

        data[len] = (unsigned char)(len % 251);
        psa_hash_compute(PSA_ALG_SHA_256, data, len, whole, 32, &n);
        psa_hash_setup(&one, PSA_ALG_SHA_256);
        for (size_t done = 0, some; done < len; done += some) {
            some = 1 + rnd(100);
            some = some < len - done ? some : len - done;
            psa_hash_update(&one, data + done, some);
        }
        psa_hash_finish(&one, pieces, 32, &n);
        check(memcmp(whole, pieces, 32) == 0, "%zu bytes in pieces", len);
        psa_hash_update(&all, whole, 32);
    }
    psa_hash_finish(&all, whole, 32, &n);
    unhex(want, known[0]);
    check(memcmp(whole, want, 32) == 0, "all lengths");
    memset(data, 'a', sizeof data);
    psa_hash_compute(PSA_ALG_SHA_256, data, sizeof data, whole, 32, &n);
    unhex(want, known[1]);
    check(memcmp(whole, want, 32) == 0, "a million letters");
}

/* Points of low order, by which every shared secret is zero (RFC 7748, 6.1),
   also with the highest bit, which is to be ignored. */
static void test_x25519_refused(void)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
    };
    psa_key_id_t key = ecdh_key(PSA_ECC_FAMILY_MONTGOMERY, NULL);

    for (size_t i = 0; i < 2 * COUNT_OF(points); i++) {
        unsigned char point[32], secret[32];
        size_t n;

        unhex(point, points[i / 2]);
        point[31] |= i % 2 ? 0x80 : 0;
        check(psa_raw_key_agreement(PSA_ALG_ECDH, key, point, 32, secret, 32,
                                    &n) != PSA_SUCCESS, "point %zu", i);
    }
    psa_destroy_key(key);
}

/* ==== relaying ==========================================================
   A flow without descriptors: what a client and a server say is put into its
   buffers in random pieces, and what comes out at the other end must be the
   same, byte for byte. */

enum { MOST = 6 };                  /* exchanges on a connection */

/* What is said on one connection. */
struct talk {
    struct buf up, down;
    int count;
    size_t asked[MOST];         /* with so much of up the server answers */
    size_t answered[MOST];      /* with so much of down */
    enum { KEPT, CLOSED, SWITCHED, ODD_REQUEST, ODD_ANSWER } end;
};

/* Puts words in random case. */
static void put_word(struct buf *b, const char *s)
{
    for (; *s != '\0'; s++)
        buf_put(b, &(char){ (char)(rnd(2) ? toupper((unsigned char)*s)
                                          : *s) }, 1);
}

static void put_eol(struct buf *b)
{
    buf_puts(b, rnd(8) ? "\r\n" : "\n");
}

/* Puts n random bytes. */
static void put_bytes(struct buf *b, size_t n)
{
    buf_reserve(b, n);
    while (n-- > 0)
        buf_put(b, &(char){ (char)rnd(256) }, 1);
}

/* Puts n random bytes that do not end a line. */
static void put_line(struct buf *b, size_t n)
{
    while (n-- > 0) {
        char c = (char)rnd(256);

        buf_put(b, c == '\n' || c == '\r' ? "x" : &c, 1);
    }
}

static void put_field(struct buf *b, const char *name, const char *value)
{
    put_word(b, name);
    buf_puts(b, rnd(4) ? ": " : rnd(2) ? ":" : ":\t ");
    buf_puts(b, value);
    buf_puts(b, rnd(8) ? "" : " ");
    put_eol(b);
}

/* Puts fields that say nothing about the body, some of them odd, some such
   as are changed elsewhere. */
static void put_noise(struct buf *b)
{
    if (rnd(4) == 0)
        put_field(b, rnd(2) ? "accept-encoding" : "proxy-connection", "x");
    for (unsigned n = rnd(5); n > 0; n--) {
        buf_printf(b, "X-%u", rnd(1000));
        buf_puts(b, rnd(16) ? ":" : rnd(2) ? " :" : "");
        put_line(b, rnd(rnd(20) ? 40 : 3000));
        put_eol(b);
        if (rnd(8) == 0) {          /* obs-fold */
            buf_puts(b, rnd(2) ? " " : "\t");
            put_line(b, rnd(40));
            put_eol(b);
        }
    }
}

/* The size of a body: mostly small, sometimes more than a buffer is. */
static size_t body_size(void)
{
    return rnd(12) ? rnd(300) : rnd(150000);
}

static void put_chunked(struct buf *b)
{
    size_t left = body_size();

    while (left > 0) {
        size_t n = 1 + rnd(rnd(2) ? 20 : 20000);

        n = n < left ? n : left;
        left -= n;
        buf_printf(b, rnd(2) ? "%zx" : rnd(2) ? "%zX" : "%05zx", n);
        buf_puts(b, rnd(6) ? "" : " \t");
        if (rnd(6) == 0) {
            buf_puts(b, ";");
            put_line(b, rnd(20));
        }
        put_eol(b);
        put_bytes(b, n);
        put_eol(b);
    }
    buf_puts(b, rnd(8) ? "0" : "000;last");
    put_eol(b);
    while (rnd(4) == 0)
        put_field(b, "X-Trailer", "yes");
    put_eol(b);
}

/* Puts what frames a body, the end of the head, and the body. Returns where
   the head ends. */
static size_t put_body(struct buf *b, bool may_lack)
{
    unsigned kind = rnd(may_lack ? 3 : 2);
    size_t n = body_size(), head_end;
    char length[24];

    if (kind == 0) {
        sprintf(length, rnd(8) ? "%zu" : "%09zu", n);
        put_field(b, "content-length", length);
    } else if (kind == 1)
        put_field(b, "transfer-encoding", rnd(4) ? "chunked"
                                                 : "gzip, chunked");
    put_noise(b);
    put_eol(b);
    head_end = b->len;
    if (kind == 0)
        put_bytes(b, n);
    else if (kind == 1)
        put_chunked(b);
    return head_end;
}

/* Puts fields that contradict each other, and what nobody can frame. */
static void put_odd(struct buf *b)
{
    static const char *const odd[] = {
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Content-Length: +5\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n",
        "Content-Length:\r\n 5\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    };

    buf_puts(b, odd[rnd(COUNT_OF(odd))]);
    put_bytes(b, body_size());
}

/* Puts a request; returns with how much of it the server may answer. */
static size_t put_request(struct buf *b, const char *method, bool odd,
                          bool upgrade)
{
    size_t head_end;

    while (rnd(10) == 0)
        put_eol(b);
    buf_printf(b, "%s /%u%s HTTP/1.1", method, rnd(1000),
               rnd(8) ? "" : " a \x80 space");
    put_eol(b);
    put_noise(b);
    if (upgrade)
        buf_puts(b, "Connection: upgrade\r\nUpgrade: x\r\n");
    if (odd) {
        put_odd(b);
        return b->len;
    }
    head_end = put_body(b, true);
    return rnd(4) ? b->len : head_end;
}

/* Puts an answer to a request of this method. */
static void put_answer(struct buf *b, const char *method)
{
    while (rnd(6) == 0) {
        buf_puts(b, rnd(2) ? "HTTP/1.1 100 Continue" : "HTTP/1.1 103 Hints");
        put_eol(b);
        put_noise(b);
        put_eol(b);
    }
    if (strcmp(method, "HEAD") == 0 || rnd(6) == 0) {
        buf_puts(b, strcmp(method, "HEAD") == 0 ? OK :
                    rnd(2) ? "HTTP/1.1 304 Not Modified\r\n"
                           : "HTTP/1.1 204 No Content\r\n");
        if (rnd(2))
            put_field(b, "content-length", "1234");
        put_noise(b);
        put_eol(b);
        return;
    }
    buf_puts(b, rnd(4) ? OK : "HTTP/1.0 404\r\nConnection: Keep-Alive\r\n");
    if (memcmp(buf_at(b) + b->len - 3, "e\r\n", 3) == 0) {
        buf_puts(b, "Content-Length: 3\r\n\r\nabc");
        return;
    }
    put_noise(b);
    put_body(b, false);
}

/* Puts the last answer, which ends as the talk is to end. */
static void put_last(struct talk *t, const char *method)
{
    struct buf *b = &t->down;

    if (t->end == KEPT)
        put_answer(b, method);
    else if (t->end == CLOSED) {
        buf_puts(b, rnd(2) ? OK : "HTTP/1.0 200 OK\r\n");
        put_noise(b);
        put_eol(b);
        put_bytes(b, body_size());
    } else if (t->end == SWITCHED) {
        buf_puts(b, "HTTP/1.1 101 Switching Protocols\r\n");
        put_noise(b);
        put_eol(b);
        put_bytes(b, body_size());
        put_bytes(&t->up, body_size());
    } else {
        buf_puts(b, OK);
        put_odd(b);
    }
}

/* Makes up a talk. */
static struct talk talk_make(void)
{
    static const char *const methods[] = {
        "GET", "GET", "HEAD", "POST", "PUT", "m-search"
    };
    struct talk t = { .count = 1 + (int)rnd(MOST), .end = rnd(5) };

    for (int i = 0; i < t.count; i++) {
        bool last = i == t.count - 1;
        const char *method = methods[last ? 0 : rnd(COUNT_OF(methods))];
        size_t at = put_request(&t.up, method,
                                last && t.end == ODD_REQUEST,
                                last && t.end == SWITCHED);

        t.asked[i] = last ? t.up.len : at;
        if (last)
            put_last(&t, method);
        else
            put_answer(&t.down, method);
        t.answered[i] = t.down.len;
    }
    return t;
}

/* How much of n > 0 bytes to move next: all, a few, or one. */
static size_t some(size_t n)
{
    size_t most = rnd(4) ? (size_t)1 << rnd(16) : n;

    return 1 + rnd((unsigned)(most < n ? most : n));
}

/* Says some of text, from *at on and up to limit, at an end of the flow. */
static void say_some(struct end *e, const struct buf *text, size_t *at,
                     size_t limit)
{
    size_t n;

    if (*at >= limit || e->in.len > MAX_HEAD)
        return;
    n = some(limit - *at);
    buf_put(&e->in, buf_at(text) + *at, n);
    *at += n;
}

/* Hears some of what comes out at an end. */
static void hear_some(struct end *e, struct buf *heard)
{
    size_t n = e->out.len ? some(e->out.len) : 0;

    buf_put(heard, e->out.len ? buf_at(&e->out) : NULL, n);
    buf_eat(&e->out, n);
}

/* A flow whose client is in a tunnel to a server that has been reached. */
static struct flow *flow_make(void)
{
    struct sockaddr_storage a = { .ss_family = AF_INET };
    struct flow *f = flow_new(-1, &a);

    f->tunnel = true;
    f->home = f->server.target = (struct target){ "example.com", .port = 80 };
    f->server.state = SERVER_UP;
    f->server.end.ready = true;
    return f;
}

/* Ends what e has to say, once all of it was said. */
static void fall_silent(struct end *e)
{
    e->fd_done = true;
    e->ended = ENDED_WELL;
}

/* Lets client and server talk through f. What arrives is in up and down.
   False: it did not come to its end. */
static bool talk_run(const struct talk *t, struct flow *f, struct buf *up,
                     struct buf *down)
{
    size_t said_up = 0, said_down = 0;

    for (long turn = 0; turn < 1000000; turn++) {
        size_t limit = 0;
        bool all;

        for (int i = 0; i < t->count && up->len >= t->asked[i]; i++)
            limit = t->answered[i];
        if (rnd(2))
            say_some(&f->client, &t->up, &said_up, t->up.len);
        if (rnd(2) && f->server.state == SERVER_UP)
            say_some(&f->server.end, &t->down, &said_down, limit);
        all = said_down == t->down.len && said_up == t->up.len;
        if (all && t->end != KEPT && f->server.state == SERVER_UP)
            fall_silent(&f->server.end);
        if (all && t->end != CLOSED && down->len == t->down.len)
            fall_silent(&f->client);
        while (flow_step(f))
            ;
        if (rnd(2))
            hear_some(&f->server.end, up);
        if (rnd(2))
            hear_some(&f->client, down);
        if (f->client.ending && f->client.out.len == 0 &&
            f->server.end.out.len == 0)
            return true;
    }
    return false;
}

/* One talk, from its own seed. */
static void relay(uint64_t number)
{
    struct talk t;
    struct flow *f = flow_make();
    struct buf up = { 0 }, down = { 0 };
    unsigned long before = shared->last_id;
    bool over;

    rnd_start(number);
    t = talk_make();
    over = talk_run(&t, f, &up, &down);
    check(over, "seed %llu: still in state %d/%d after %zu of %zu bytes up "
          "and %zu of %zu down", (unsigned long long)number, f->up.state,
          f->down.state, up.len, t.up.len, down.len, t.down.len);
    check(up.len == t.up.len &&
          memcmp(buf_at(&up), buf_at(&t.up), up.len) == 0,
          "seed %llu: other bytes go up", (unsigned long long)number);
    check(down.len == t.down.len &&
          memcmp(buf_at(&down), buf_at(&t.down), down.len) == 0,
          "seed %llu: other bytes come down", (unsigned long long)number);
    check(f->stream == (t.end >= SWITCHED), "seed %llu: %s",
          (unsigned long long)number, f->stream ? "it became a stream"
                                                : "no stream");
    check(shared->last_id - before >= (unsigned long)t.count -
          (t.end == ODD_REQUEST) && shared->last_id - before <=
          (unsigned long)t.count, "seed %llu: %lu exchanges, not %d",
          (unsigned long long)number, shared->last_id - before, t.count);
    check(f->client.ending <= END_WELL, "seed %llu: it was cut off",
          (unsigned long long)number);
    flow_free(f);
    buf_free(&t.up);
    buf_free(&t.down);
    buf_free(&up);
    buf_free(&down);
}

static void test_relay(void)
{
    enum { TALKS = 400 };

    for (uint64_t i = 0; i < TALKS && complaints == 0; i++)
        relay(seed + i);
    check(flows == NULL && nflows == 0, "a flow is left");
}

/* Puts random bytes in the place of some. */
static void talk_spoil(struct buf *b)
{
    static const char likely[] = "\r\n :;,0159afx-+HTP/\t\0\xff";

    for (unsigned n = rnd(6); n > 0 && b->len > 0; n--)
        buf_at(b)[rnd((unsigned)(b->len < 2000 || rnd(2) ? b->len : 2000))] =
            (unsigned char)likely[rnd(sizeof likely)];
}

/* Lets two sides talk nonsense, of whom each may stop at any time. No bytes
   are expected then: it must neither crash nor go round in circles. */
static void talk_spoilt(uint64_t number)
{
    struct talk t;
    struct flow *f = flow_make();
    struct buf heard = { 0 };
    size_t up = 0, down = 0;

    rnd_start(number);
    t = talk_make();
    talk_spoil(&t.up);
    talk_spoil(&t.down);
    for (int turn = 0; turn < 300 && f->state != FLOW_CLOSING; turn++) {
        int steps = 0;

        say_some(&f->client, &t.up, &up, t.up.len);
        if (f->server.state == SERVER_UP)
            say_some(&f->server.end, &t.down, &down, t.down.len);
        if (rnd(100) == 0)
            fall_silent(&f->client);
        if (rnd(100) == 0 && f->server.state == SERVER_UP)
            fall_silent(&f->server.end);
        while (flow_step(f) && ++steps < 100000)
            ;
        check(steps < 100000, "seed %llu: it never rests",
              (unsigned long long)number);
        hear_some(&f->client, &heard);
        hear_some(&f->server.end, &heard);
    }
    flow_free(f);
    buf_free(&heard);
    buf_free(&t.up);
    buf_free(&t.down);
}

static void test_spoilt(void)
{
    enum { TALKS = 600 };

    for (uint64_t i = 0; i < TALKS && complaints == 0; i++)
        talk_spoilt(seed + i);
    check(flows == NULL && nflows == 0, "a flow is left");
}

/* A server that stops: only what is whole may look whole to the client. */
static void test_half_way(void)
{
    static const struct { const char *answer; bool clean, cut; } cases[] = {
        { OK "Content-Length: 5\r\n\r\nhello", true, false },
        { OK "Content-Length: 5\r\n\r\nhell", true, true },
        { OK "Content-Length: 5\r\n\r\n", true, true },
        { OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true, false },
        { OK "Transfer-Encoding: chunked\r\n\r\n0\r\n", true, true },
        { OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello", true, true },
        { OK "\r\nhello", true, false }, { OK "\r\n", true, false },
        { OK "\r\nhello", false, true },       /* by a reset, that is */
        { "HTTP/1.1 204 N\r\n\r\n", true, false },
    };
    static const char request[] = GET "Host: h\r\n\r\n";

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t n = strlen(cases[i].answer);
        struct flow *f = flow_make();

        buf_puts(&f->client.in, request);
        while (flow_step(f))
            ;
        same_buf("request", &f->server.end.out, LIT(request));
        buf_eat(&f->server.end.out, f->server.end.out.len);
        buf_puts(&f->server.end.in, cases[i].answer);
        fall_silent(&f->server.end);
        f->server.end.ended = cases[i].clean ? ENDED_WELL : ENDED_CUT;
        while (flow_step(f))
            ;
        same_buf("answer", &f->client.out, cases[i].answer, n);
        check(f->client.ending &&
              (f->client.ending > END_WELL) == cases[i].cut, "%s: %s",
              shown(cases[i].answer, n), !f->client.ending ? "goes on" :
              f->client.ending > END_WELL ? "cut off" : "ends as if whole");
        flow_free(f);
    }
}

/* ==== main ============================================================== */

int main(void)
{
    const char *text = getenv("SEED");

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("MITM_DEADLINE") == NULL)
        alarm(120);                 /* a test that hangs has failed */
    else
        alarm(6 * (unsigned)atoi(getenv("MITM_DEADLINE")));
    if (psa_crypto_init() != PSA_SUCCESS)
        die("cannot start the cryptography");
    opt.verbose = -1;
    seed = text ? strtoull(text, NULL, 10) : 20090612;
    printf("# SEED=%llu\n", (unsigned long long)seed);

    test("buffers: what is put is there", test_buf_put);
    test("buffers: eating", test_buf_eat);
    test("buffers: room", test_buf_reserve);
    test("what is read at once", test_read_sizes);
    test("flows in bulk, and those that converse", test_bulk_count);
    test("buffers: moving, by swap and by copy", test_buf_move);
    test("buffers: trimming", test_buf_trim);
    test("buffers: as a plain array would do it", test_buf_random);
    test("numbers", test_parse_number);
    test("seconds", test_parse_seconds);
    test("times in certificates", test_der_time);
    test("repr is Python's, for all bytes", test_repr);
    test("memory that runs out takes scratch buffers along", test_scratch);
    test("commands: which take a shell", test_split_command);
    test("options: errors tell what is wrong", test_option_errors);
    test("heads: what they say", test_heads);
    test("heads: at every split", test_heads_split);
    test("heads: byte by byte, read on", test_heads_drip);
    test("heads: with more behind them", test_heads_more);
    test("heads: the longest", test_head_limit);
    test("bodies: chunked, at every split in two", test_chunked);
    test("bodies: chunked, byte by byte", test_chunked_bytes);
    test("bodies: by length", test_by_length);
    test("bodies: until close", test_until_close);
    test("heads: a field gets a value, or goes", test_head_set);
    test("heads: a body is framed anew", test_head_frame);
    test("heads: requests for the next hop", test_request_edit);
    test("heads: other codings stay", test_head_frame_codings);
    test("host and port", test_parse_authority);
    test("host: the longest", test_long_host);
    test("absolute targets", test_parse_absolute);
    test("PROXY protocol: at every split", test_proxied);
    test("ClientHello: in all pieces", test_hello);
    test("ClientHello: its extensions", test_hello_bare);
    test("ClientHello: what is none", test_hello_refused);
    test("ClientHello: damaged", test_hello_damaged);
    test("WebSocket: heads of frames", test_frames);
    test("WebSocket: a frame that is written is read", test_frame_put);
    test("WebSocket: messages, in any pieces", test_frames_next);
    test("WebSocket: the longest message", test_frames_long);
    test("WebSocket: text is UTF-8", test_utf8);
    test("match: what matches", test_match);
    test("match: WebSocket messages", test_match_message);
    test("match: the logic of three values", test_match_logic);
    test("match: the same as the bare expression", test_match_regex);
    test("match: errors tell where", test_match_errors);
    test_certificates();
    test("AES-GCM: known answers", test_gcm_known);
    test("AES-GCM: by eight blocks as by one", test_gcm_random);
    test("AES-GCM: what was changed is refused", test_gcm_forged);
    test("X25519: known answers", test_x25519_known);
    test("X25519: by our code as by Mbed TLS", test_x25519_random);
    test("X25519: P-256 is left alone", test_other_curve);
    test("inverses modulo the curves' primes", test_inverse);
    test("SHA-256: known answers, whole and in pieces", test_sha256);
    test("X25519: points of low order are refused", test_x25519_refused);
    test("relayed bytes are the bytes that came", test_relay);
    test("a server that stops half way", test_half_way);
    test("nonsense is survived", test_spoilt);

    mbedtls_psa_crypto_free();
    printf("1..%d\n", tests);
    return failures > 0;
}
