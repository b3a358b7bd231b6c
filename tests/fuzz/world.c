/* world.c - a client, servers and filters around the program's own loop.
   Included after mitmproxy.c.

   What they do is told by a script, in which ~ begins a command and all else
   is said by whoever has the word:

     ~c ~d ~f ~s ~o  the first, second or third client, the newest server, or
               the filters' text has the word
     ~gx ~hx   a client asks, a server answers, as x says (pairs.c)
     ~n        CR LF              ~~  a ~
     ~*        the byte before, a thousand times more
     ~,        the next command is done at once; others wait until the loop
               has come to rest
     ~e ~r     who has the word ends its side, or resets the connection
     ~p        ... reads no more, or reads again
     ~x        the next connection to a server is refused
     ~t        time passes: as much as the loop would wait
     ~Qxy ~Rxy at the start: a filter of requests or responses, the program x
               with the flags y - '@': 1 raw, 2 coprocess, 4 on-error pass, 8
               close, 16 one job, 32 GET or 200 only
     ~m ~u ~v ~a ~w  at the start: reverse mode, so that all is as in a
               tunnel; an upstream proxy, of HTTP or SOCKS; --proxyauth; -w
     ~W        at the start: the filters before it are for WebSocket

   When the script is at its end, so are the server's and the client's side,
   and then time passes until no flow is left. */

#include <setjmp.h>

enum { CONNS = 32, CLIENTS = 3, MAX_FILTERS = 3, MAX_SAID = 4 << 20,
       MAX_TAGS = 64 };

/* A peer's connection to the program. */
struct conn {
    struct channel *in, *out; /* what it hears and says */
    struct buf said;        /* all that the program was to be told, */
    struct buf heard;       /* all that came of it */
    bool paused;            /* reads nothing for now */
    bool ended, reset;      /* it has said its last, or broke it off */
    size_t before;          /* bytes the client had heard when it began */
    size_t answered;        /* bytes of heard that were (pairs.c) */
    int tag[MAX_TAGS], tags; /* of what this client has asked */
};

static struct {
    const unsigned char *p, *end; /* what is left of the script */
    char who;               /* has the word: c d f s o */
    bool pairs;             /* it may ask and answer, and say nothing else */
    unsigned char last;     /* byte that was said */
    struct buf text;        /* of the filters */
    struct buf log;         /* what the program has told */
    struct conn client[CLIENTS], server[CONNS];
    int clients, accepted, servers;
    bool refuse;
    struct channel *listen; /* ready while there is somebody to accept */
    int finale;             /* steps after the script's end */
    int idle;               /* turns in which nothing moved */
    unsigned long moves;    /* as they were in the turn before */
    bool hurry, late;       /* ~, and ~t ask for something yet */
    bool raced, timed;      /* ... or have made the outcome less sure */
    bool broken;            /* a peer has ended early, or was refused */
    struct filter filter[2 * MAX_FILTERS];
    char program[2 * MAX_FILTERS][3];
    int filters;
    jmp_buf over;
} world;

static const void *world_text;      /* what filters' text begins with ... */
static size_t world_text_len;       /* ... of so many bytes */
static char world_input[PATH_MAX] = "this input"; /* where it is from */

/* ---- what the kernel asks ---------------------------------------------- */

static struct conn *world_server(void)
{
    return world.servers ? &world.server[world.servers - 1] : NULL;
}

/* Joins a descriptor of the program's to a peer's connection. */
static void conn_open(struct conn *c, struct desc *d)
{
    c->in = d->out = channel_new();
    c->out = d->in = channel_new();
}

/* Sees to it that so many clients have come, or are about to. */
static void world_clients(int n)
{
    if (world.clients < n)
        world.clients = n;
    world.listen->writers = world.accepted == world.clients;
}

static int world_accept(struct desc *d)
{
    if (world.accepted == world.clients)
        return -1;
    conn_open(&world.client[world.accepted++], d);
    world_clients(0);
    return 0;
}

static int world_connect(struct desc *d, unsigned port)
{
    struct conn *c;

    if (world.refuse || world.servers == CONNS || port == 443) {
        world.refuse = false;
        return ECONNREFUSED;
    }
    c = &world.server[world.servers++];
    conn_open(c, d);
    c->before = world.client[0].heard.len + world.client[0].in->len +
                flows->client.out.len;
    return 0;
}

/* The program writes its log, or, to descriptor 0, a capture. */
static ssize_t world_log(int fd, const char *p, size_t n)
{
    if (fd == 2)
        buf_put(&world.log, p, n);
    if (fd == 2 && getenv("VERBOSE") != NULL)
        fwrite(p, 1, n, stderr);
    kernel.moves++;
    return (ssize_t)n;
}

/* ---- who does something ------------------------------------------------ */

/* A child prints n bytes. */
static void proc_print(struct proc *p, const void *text, size_t n)
{
    if (p->out != NULL && p->out->readers > 0)
        channel_put(p->out, text, n);
    else
        proc_exit(p, SIGPIPE);
}

/* Prints, and forgets, all that was read. */
static void proc_echo(struct proc *p)
{
    proc_print(p, p->data, p->len);
    p->len = 0;
}

static void proc_puts(struct proc *p, const char *text)
{
    proc_print(p, text, strlen(text));
}

/* Reads; whether there was something, or the end, which comes once. */
static bool proc_read(struct proc *p)
{
    unsigned char piece[4096];
    size_t n;

    if (p->in == NULL || (p->in->len == 0 && p->in->writers > 0))
        return false;
    n = channel_take(p->in, piece, sizeof piece);
    if (n == 0) {
        proc_close_in(p);
        return true;
    }
    if (p->len + n > p->cap)
        p->data = realloc(p->data, p->cap = 2 * p->cap + sizeof piece);
    memcpy(p->data + p->len, piece, n);
    p->len += n;
    return true;
}

/* What filters do, by the letter of their program. */
static void proc_act(struct proc *p)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
        "\r\nok", chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
        "chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    char program = *(const char *)p->command;
    bool end = p->in == NULL;

    switch (program) {
    case 'c':                   /* copies */
        proc_echo(p);
        break;
    case 'g':                   /* ... and adds something at the end */
        proc_echo(p);
        if (end)
            proc_puts(p, "grown");
        break;
    case 'x':                   /* ... all but the last byte */
        if (p->len > 1) {
            proc_print(p, p->data, p->len - 1);
            p->data[0] = p->data[p->len - 1];
            p->len = 1;
        }
        break;
    case 'd':                   /* prints each byte of the body twice */
        for (size_t i = 0; i < p->len; i++) {
            proc_print(p, p->data + i, 1);
            p->step = p->step == 4 ? 4 : p->data[i] == '\n' ? p->step + 2 :
                      p->data[i] == '\r' ? p->step : 0;
            if (p->step == 4 && p->data[i] != '\n')
                proc_print(p, p->data + i, 1);
        }
        p->len = 0;
        break;
    case 's':                   /* reads all before it prints */
        if (end)
            proc_echo(p);
        break;
    case 'h':                   /* reads the beginning only */
        if (p->len > 60) {
            p->len = 60;
            end = true;
        }
        if (end)
            proc_echo(p);
        break;
    case 'n':                   /* prints nothing */
        p->len = 0;
        break;
    case 'f':                   /* fails in the middle */
    case 'k':                   /* is killed there */
        proc_echo(p);
        if (p->step++ > 0 || end)
            proc_exit(p, program == 'k' ? SIGSEGV : 1 << 8);
        break;
    case 'F':                   /* fails at once, or at the end */
    case 'E':
        if (program == 'F' || end)
            proc_exit(p, 127 << 8);
        break;
    case 'a':                   /* prints an answer, early */
    case 'b':
    case 'o':                   /* prints the filters' text */
    case 'i':                   /* ... and then what it reads */
        if (p->step++ == 0 && program == 'a')
            proc_puts(p, answer);
        else if (p->step == 1 && program == 'b')
            proc_puts(p, chunked);
        else if (p->step == 1)
            proc_print(p, buf_at(&world.text), world.text.len);
        if (program == 'i')
            proc_echo(p);
        p->len = 0;
        break;
    case 'l':                   /* copies and closes, but stays */
        proc_echo(p);
        if (end && p->out != NULL)
            proc_close_out(p);
        return;
    case 'w':                   /* prints and closes before it has read all */
        proc_echo(p);
        if (p->out != NULL)
            proc_close_out(p);
        break;
    default:                    /* is stuck */
        return;
    }
    if (end)
        proc_exit(p, 0);
}

/* Names are looked up: all are 127.0.0.1, but those that begin with x. */
static void lookup_act(struct proc *p, const char *name)
{
    struct sockaddr_storage a = { .ss_family = AF_INET };

    if (*name == 'x') {
        proc_puts(p, "!no such name\n");
        return;
    }
    proc_puts(p, "128\n");
    proc_print(p, &a, sizeof a);
}

/* A coprocess has the whole of a question, the n bytes at p->data of which
   the line is the first. */
static void copro_act(struct proc *p, size_t line, size_t n)
{
    char text[32];

    p->step++;
    sprintf(text, "%zu\n", n - line);
    switch (*(const char *)p->command) {
    case '@':
        lookup_act(p, (const char *)p->data + line);
        break;
    case 'n':
        proc_puts(p, "0\n");
        break;
    case 's':
        proc_puts(p, "-\n");
        break;
    case 'f':
        proc_puts(p, "!no\n");
        break;
    case 'k':
        proc_puts(p, "what?\n");
        break;
    case 'g':
        sprintf(text, "%zu\n", n - line + 5);
        proc_puts(p, text);
        proc_print(p, p->data + line, n - line);
        proc_puts(p, "grown");
        break;
    case 'h':
        proc_puts(p, text);
        proc_print(p, p->data + line, (n - line) / 2);
        proc_exit(p, 0);
        break;
    case 'w':                   /* answers twice */
        proc_puts(p, "-\n-\n");
        break;
    case 'o':
    case 'i':
        proc_print(p, buf_at(&world.text), world.text.len);
        break;
    case 'F':
    case 'E':
        proc_exit(p, 1 << 8);
        break;
    case 'z':
        break;
    default:
        proc_puts(p, text);
        proc_print(p, p->data + line, n - line);
        break;
    }
    p->len -= n;
    memmove(p->data, p->data + n, p->len);
}

/* A coprocess looks whether a question is whole. */
static void copro_look(struct proc *p)
{
    const unsigned char *lf = p->len ? memchr(p->data, '\n', p->len) : NULL;
    size_t line = lf ? (size_t)(lf - p->data) + 1 : 0, n;

    if (p->in == NULL)
        proc_exit(p, 0);
    if (line == 0)
        return;
    n = strtoul((char *)p->data, NULL, 10);
    if (p->len >= line + n)
        copro_act(p, line, line + n);
}

static void procs_act(void)
{
    for (struct proc *p = kernel.proc; p < kernel.proc + PROCS; p++) {
        const char *program = p->command;
        bool once = p->len == 0 && p->step == 0 && p->in != NULL &&
                    program != NULL && strchr("aboiFw", *program) != NULL;

        if (p->pid == 0 || p->exited)
            continue;
        if (program[1] & 2 && (proc_read(p) || p->len > 0))
            copro_look(p);
        else if (!(program[1] & 2) && (proc_read(p) || once))
            proc_act(p);
    }
}

/* A peer hears what has come. */
static void conn_act(struct conn *c)
{
    unsigned char piece[4096];
    size_t n;

    if (c->in == NULL || c->paused)
        return;
    while ((n = channel_take(c->in, piece, sizeof piece)) > 0)
        buf_put(&c->heard, piece, n);
}

/* Lets everybody do something; whether anybody did. */
static bool world_act(void)
{
    unsigned long before = kernel.moves;

    procs_act();
    for (int i = 0; i < world.accepted; i++)
        conn_act(&world.client[i]);
    for (int i = 0; i < world.servers; i++)
        conn_act(&world.server[i]);
    return kernel.moves != before;
}

/* ---- the script -------------------------------------------------------- */

static void conn_end(struct conn *c, bool reset)
{
    if (c == NULL || c->out == NULL || c->ended)
        return;
    c->ended = true;
    c->reset = reset;
    c->out->writers = 0;
    c->out->reset = reset;
    if (reset) {
        c->in->readers = 0;     /* it takes nothing any more */
        c->in->reset = true;
    }
    kernel.moves++;
}

/* Whoever has the word; NULL: the filters' text, or nobody. */
static struct conn *world_speaker(void)
{
    switch (world.who) {
    case 'c':
        return &world.client[0];
    case 'd':
        return &world.client[1];
    case 'f':
        return &world.client[2];
    case 's':
        return world_server();
    }
    return NULL;
}

/* Says n bytes at a connection. */
static void conn_say(struct conn *c, const void *p, size_t n)
{
    if (c->out == NULL || c->ended || c->out->readers == 0 ||
        c->said.len > MAX_SAID)
        return;
    buf_put(&c->said, p, n);
    channel_put(c->out, p, n);
}

/* Adds n bytes to the filters' text; of pairs.c's bodies, which are of one
   capital letter each, it must not look like one. */
static void text_say(const unsigned char *p, size_t n)
{
    struct buf *b = &world.text;

    for (; n-- > 0; p++) {
        const unsigned char *end = buf_at(b) + b->len;
        bool run = world.pairs && b->len > 1 && end[-1] == *p && end[-2] == *p;

        buf_put(b, &(char){ run ? (char)tolower(*p) : (char)*p }, 1);
    }
}

/* Says n bytes, as whoever has the word. */
static void world_say(const void *p, size_t n)
{
    struct conn *c = world_speaker();

    if (world.who == 'o' && world.text.len < MAX_SAID)
        text_say(p, n);
    if (n > 0)
        world.last = ((const unsigned char *)p)[n - 1];
    if (c != NULL && !world.pairs)
        conn_say(c, p, n);
}

static void pairs_ask(struct conn *c, unsigned char how);
static void pairs_answer(unsigned char how);

/* Does what the command asks. False: it was of those that only say something,
   and more may follow before the loop must come to rest. */
static bool world_command(unsigned char command)
{
    struct conn *c = world_speaker();
    char many[1000];

    switch (command) {
    case 'n':
        world_say("\r\n", 2);
        return false;
    case '~':
        world_say("~", 1);
        return false;
    case '*':
        memset(many, world.last, sizeof many);
        world_say(many, sizeof many);
        return false;
    case ',':
        world.hurry = world.raced = true;
        return false;
    case 'Q': case 'R':             /* seen to by world_filters() */
        world.p += world.end - world.p < 2 ? 0 : 2;
        return false;
    case 'f':
        world_clients(3);
        /* fall through */
    case 'd':
        world_clients(2);
        /* fall through */
    case 'c': case 's': case 'o':
        world.who = (char)command;
        break;
    case 'g': case 'h':
        if (world.p == world.end || !world.pairs)
            break;
        if (command == 'h')
            pairs_answer(*world.p++);
        else if (c != NULL && world.who != 's')
            pairs_ask(c, *world.p++);
        break;
    case 'e': case 'r':
        world.raced |= command == 'r' && world.who != 's'; /* all is lost */
        world.broken = true;
        conn_end(c, command == 'r');
        break;
    case 'p':
        if (c != NULL)
            c->paused ^= true;
        break;
    case 'x':
        world.refuse = world.broken = true;
        break;
    case 't':
        world.late = true;
        break;
    }
    if (!world.hurry)
        return true;
    world.hurry = false;
    return false;
}

/* Whether the program has told this. */
static bool world_told(const char *what)
{
    return world.log.len > 0 && memmem(buf_at(&world.log), world.log.len,
                                       what, strlen(what)) != NULL;
}

/* Goes on with the script up to where the loop must come to rest. False: it
   is at its end. */
static bool world_next(void)
{
    if (world.p == world.end)
        return false;
    while (world.p < world.end) {
        const unsigned char *p = world.p;
        size_t n = 0;

        while (p + n < world.end && p[n] != '~')
            n++;
        world_say(p, n);
        world.p += n;
        if (world.end - world.p < 2) {
            world.p = world.end;
            break;
        }
        world.p += 2;
        if (world_command(world.p[-1]))
            break;
    }
    return true;
}

/* When the script is at its end: peers read all, and then they end, too; and
   servers that are reached yet. False: they have. */
static bool world_finish(void)
{
    unsigned long before = kernel.moves;
    int step = world.finale++;

    for (int i = 0; i < world.clients; i++)
        world.client[i].paused = false;
    for (int i = 0; i < world.servers; i++) {
        world.server[i].paused = false;
        if (step > 0)
            conn_end(&world.server[i], false);
    }
    for (int i = 0; i < world.clients && step > 1; i++)
        conn_end(&world.client[i], false);
    return step < 2 || kernel.moves != before;
}

/* Ends the process, as a property does not hold. */
PRINTF(1, 2) static _Noreturn void fault(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "fault: %s: ", world_input);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* ---- select() ---------------------------------------------------------- */

/* Whether bit fd of the n of set is there; cleared, if it is not ready. */
static bool world_bit(fd_set *set, int fd, bool writing, bool clear)
{
    unsigned long *word = (unsigned long *)set + fd / WORD;
    bool ready = *word >> fd % WORD & 1;

    if (!ready)
        return false;
    ready = kernel_ready(fd, writing);
    if (clear && !ready)
        *word &= ~(1UL << fd % WORD);
    return ready;
}

/* How many of the n descriptors in either set are ready; others are cleared,
   if they are to be. */
static int world_ready(int n, fd_set *r, fd_set *w, bool clear)
{
    int ready = 0;

    for (int fd = 0; fd < n; fd++)
        ready += world_bit(r, fd, false, clear) +
                 world_bit(w, fd, true, clear);
    return ready;
}

/* A filter that may never end is there. */
static bool world_stuck(void)
{
    for (int i = 0; i < world.filters; i++)
        if (world.program[i][1] & 2 || strchr("zl", world.program[i][0]) ||
            !strchr("cgxdshnfkFEaboiw", world.program[i][0]))
            return true;
    return false;
}

/* All is at rest, and everybody has ended: time passes, unless the loop is at
   its end. */
static void world_rest(double left)
{
    const struct child *p = children;

    while (p != NULL && p->filter->coprocess)
        p = p->next;                /* they stay */
    if (flows == NULL && p == NULL)
        longjmp(world.over, 1);
    if (!world_stuck() && flows != NULL && !world.timed)
        fault("all is said and done, but the flow stays: state %d, up %d, "
              "down %d, server %d", flows->state, flows->up.state,
              flows->down.state, flows->server.state);
    if (world.finale > 300)
        fault("a flow or filter stays for ever");
    world.timed = true;
    kernel.time += left;
    kernel.moves++;
}

/* The loop asks what is ready: lets others act until something is. */
static int world_select(int n, fd_set *r, fd_set *w, double left)
{
    kernel.time += 1e-6;
    if (kernel.pieces == RANDOM && kernel_random(2))
        world_act();
    for (;;) {
        for (struct flow *f = flows; f != NULL; f = f->next)
            if (f->state == FLOW_SERVER || f->server.state == SERVER_TLS)
                longjmp(world.over, 1); /* cryptography: not here */
        if (left <= 0 || world_ready(n, r, w, false) > 0)
            break;
        if (world_act())
            continue;
        if (world.late) {
            world.late = false;
            world.timed = true;
            kernel.time += left;
            kernel.moves++;
            break;
        }
        if (world_next() || world_finish())
            continue;
        world_rest(left);
        break;
    }
    world.idle = kernel.moves == world.moves ? world.idle + 1 : 0;
    world.moves = kernel.moves;
    if (world.idle > 1000)
        fault("the loop turns, and nothing moves");
    return world_ready(n, r, w, true);
}

/* ---- a run ------------------------------------------------------------- */

/* Sets the option of the script's that this letter stands for. */
static bool world_option(unsigned char letter)
{
    switch (letter) {
    case 'm':
        opt.reverse = (struct target){ .host = "example.com", .port = 80 };
        return true;
    case 'u': case 'v':
        opt.proxy.at = (struct target){ .host = "proxy", .port = 3128 };
        opt.proxy.socks = letter == 'v';
        opt.proxy.login = "name:word";
        return true;
    case 'a':
        opt.proxyauth = "name:word";
        return true;
    case 'w':
        capture->fd = 0;
        return true;
    case 'W':
        for (struct filter *f = opt.filters; f != NULL; f = f->next) {
            match_free(f->match);
            f->match = match_compile("~w", (char[256]){ "" });
        }
        return true;
    }
    return false;
}

/* Sets the options and makes the filters that the script has at its start. */
static void world_filters(void)
{
    for (const unsigned char *p = world.p; world.end - p >= 2; p += 2) {
        struct filter *f = &world.filter[world.filters], **end = &opt.filters;
        bool request = p[1] == 'Q';

        if (p[0] == '~' && world_option(p[1]))
            continue;
        if (p[0] != '~' || !strchr("QR", p[1]) || world.end - p < 4)
            break;
        if (world.filters < 2 * MAX_FILTERS) {
            unsigned flags = p[3] & 63;
            char error[256];
            char *program = world.program[world.filters++];

            program[0] = (char)p[2];
            program[1] = (char)(flags & 2);
            *f = (struct filter){ .command = program, .request = request,
                .raw = flags & 1, .coprocess = flags & 2, .timeout = 30,
                .on_error = flags & 4 ? PASS : flags & 8 ? CLOSE : FAIL,
                .jobs = flags & (16 | 2) ? 1 : 64 };
            if (flags & 32)
                f->match = match_compile(request ? "~m GET" : "~c 200",
                                         error);
            for (; *end != NULL; end = &(*end)->next)
                if ((*end)->request == request)
                    f->raw = (*end)->raw;
            if (world.pairs && f->raw && strchr("cs", program[0]) == NULL)
                program[0] = 'c';   /* raw, nothing mends what others do */
            *end = f;
        }
        p += 2;
    }
}

/* Puts the world as it is at the start of the program. */
static void world_init(const unsigned char *p, size_t n)
{
    kernel.time = now = 1000;
    kernel.last_pid = 1000;
    world.p = p;
    world.end = p + n;
    world.who = 'c';
    opt.filters = NULL;
    opt.reverse = opt.proxy.at = (struct target){ .port = 0 };
    opt.proxyauth = NULL;
    capture->fd = -1;
    kernel_pipe(self_pipe);
    kernel.signals = desc_of(self_pipe[0])->in;
    world.listen = channel_new();
    world_clients(1);
    listener = desc_new(world.listen, NULL);
    shared->last_id = 0;
    fd_limit = FDS;
    accept_after = 0;
    world_filters();
    rsa_maker.next = opt.filters;
    lookups.pause = lookups.not_before = 0;
    buf_put(&world.text, world_text, world_text_len);
}

/* Lets the program run with a script. The world is as it was then, until it
   is freed. */
static void world_run(const unsigned char *p, size_t n, int pieces,
                      uint64_t random, bool pairs)
{
    world.pairs = pairs;
    world_init(p, n);
    kernel.pieces = pieces;
    kernel.random = random | 1;
    if (setjmp(world.over) == 0)
        run_loop();
    while (flows != NULL)
        flow_free(flows);
    for (struct child *p = children, *next; p != NULL; p = next) {
        next = p->next;
        if (p->filter->coprocess)
            copro_end(p, "the end");
    }
    reap();
    for (struct sink *s = sinks; s < sinks + SINKS; s++)
        sink_flush(s, true);
    if (children != NULL || chains != NULL || nflows != 0)
        fault("something is left");
    for (struct filter *f = &lookups; f != NULL; f = f->next)
        if (f->running != 0)
            fault("%s: %d of its jobs are left", f->command, f->running);
}

static void world_free(void)
{
    buf_free(&world.text);
    buf_free(&world.log);
    for (int i = 0; i < CLIENTS; i++) {
        buf_free(&world.client[i].said);
        buf_free(&world.client[i].heard);
    }
    for (int i = 0; i < world.servers; i++) {
        buf_free(&world.server[i].said);
        buf_free(&world.server[i].heard);
    }
    for (int i = 0; i < world.filters; i++)
        match_free(world.filter[i].match);
    memset(&world, 0, sizeof world);
    kernel_free();
}
