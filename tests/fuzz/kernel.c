/* kernel.c - descriptors, children and time that are in memory only.
   Included before mitmproxy.c: the system calls that the program makes in
   its loop become calls of what stands here, so that a whole conversation
   takes microseconds and the same input always does the same.

   It does what Linux does, where the program could tell; how much a call
   moves is the choice of kernel.pieces. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    FDS = 256,              /* descriptors there are */
    PIPE_ROOM = 64 << 10,   /* bytes that a pipe or socket takes */
    PROCS = 64              /* children at most */
};
enum { WHOLE, SINGLE, RANDOM };

/* Bytes that go one way, from whoever has a writing end to whoever reads. */
struct channel {
    struct channel *next;   /* of all */
    unsigned char *data;
    size_t start, len, cap;
    int readers, writers;   /* 0: that end is closed */
    bool reset;             /* ... and RST told so */
};

/* What a descriptor stands for. */
struct desc {
    bool used;
    struct channel *in, *out; /* NULL: it has no such direction */
    bool connecting, linger;
    int error;              /* of connect() */
};

/* A child: what it does is in world.c. */
struct proc {
    pid_t pid;              /* 0: there is none */
    struct channel *in, *out; /* its standard input and output; NULL closed */
    const void *command;    /* what it was started as */
    bool exited;
    int status;             /* as waitpid() has it */
    unsigned char *data;    /* what it has read */
    size_t len, cap;
    int step;               /* how far it is */
};

static struct {
    struct desc fd[FDS];
    struct channel *channels;
    struct proc proc[PROCS];
    pid_t last_pid;
    struct channel *std[2]; /* of the child to be spawned */
    struct channel *signals; /* the self-pipe */
    int pieces;             /* WHOLE, SINGLE or RANDOM: how much moves
                               at once */
    uint64_t random;
    double time;            /* seconds */
    unsigned long moves;    /* things that have happened */
} kernel;

/* What the world does at these calls (world.c). */
static int world_connect(struct desc *d, unsigned port);
static int world_accept(struct desc *d);
static ssize_t world_log(int fd, const char *p, size_t n);
static int world_select(int n, fd_set *r, fd_set *w, double left);

/* A number below n: the same again after the same kernel.random. */
static size_t kernel_random(size_t n)
{
    kernel.random ^= kernel.random << 13;
    kernel.random ^= kernel.random >> 7;
    kernel.random ^= kernel.random << 17;
    return (size_t)(kernel.random >> 11) % n;
}

/* How many of n > 0 bytes move at once: one by one is slow, and so not for
   long. */
static size_t kernel_some(size_t n)
{
    size_t most = (size_t)1 << kernel_random(16);

    if (kernel.pieces == WHOLE)
        return n;
    if (kernel.pieces == SINGLE && kernel.moves < 5000)
        return 1;
    return 1 + kernel_random(n < most ? n : most);
}

/* ---- channels ---------------------------------------------------------- */

static struct channel *channel_new(void)
{
    struct channel *c = calloc(1, sizeof *c);

    c->next = kernel.channels;
    c->readers = c->writers = 1;
    return kernel.channels = c;
}

static void channel_put(struct channel *c, const void *p, size_t n)
{
    if (c->start + c->len + n > c->cap) {
        c->cap = c->start + c->len + n + c->cap;
        c->data = realloc(c->data, c->cap);
    }
    if (n > 0)
        memcpy(c->data + c->start + c->len, p, n);
    c->len += n;
    kernel.moves++;
}

/* Takes at most n bytes, as many as come at once; p may be NULL. */
static size_t channel_take(struct channel *c, void *p, size_t n)
{
    n = c->len < n ? c->len : n;
    n = n > 0 ? kernel_some(n) : 0;
    if (n > 0 && p != NULL)
        memcpy(p, c->data + c->start, n);
    c->start += n;
    c->len -= n;
    if (c->len == 0)
        c->start = 0;
    kernel.moves += n > 0;
    return n;
}

/* What read() and recv() return. */
static ssize_t channel_read(struct channel *c, void *p, size_t n)
{
    if (c->len > 0)
        return (ssize_t)channel_take(c, p, n);
    if (c->writers > 0) {
        errno = EAGAIN;
        return -1;
    }
    kernel.moves++;
    errno = ECONNRESET;
    return c->reset ? -1 : 0;
}

/* What write() and send() return. */
static ssize_t channel_write(struct channel *c, const void *p, size_t n)
{
    size_t room = c->len < PIPE_ROOM ? PIPE_ROOM - c->len : 0;

    errno = c->readers > 0 ? EAGAIN : c->reset ? ECONNRESET : EPIPE;
    if (c->readers == 0 || room == 0) {
        kernel.moves += c->readers == 0;
        return -1;
    }
    n = kernel_some(n < room ? n : room);
    channel_put(c, p, n);
    return (ssize_t)n;
}

/* ---- descriptors ------------------------------------------------------- */

static struct desc *desc_of(int fd)
{
    assert(fd >= 0 && fd < FDS && kernel.fd[fd].used);
    return &kernel.fd[fd];
}

/* A descriptor for these directions: the lowest that is free. */
static int desc_new(struct channel *in, struct channel *out)
{
    int fd = 3;

    while (fd < FDS && kernel.fd[fd].used)
        fd++;
    if (fd == FDS) {
        errno = EMFILE;
        return -1;
    }
    kernel.fd[fd] = (struct desc){ .used = true, .in = in, .out = out };
    return fd;
}

/* There are no files. */
static int kernel_open(const char *path, int flags, ...)
{
    (void)path;
    (void)flags;
    errno = ENOENT;
    return -1;
}

static int kernel_close(int fd)
{
    struct desc *d = desc_of(fd);

    if (d->out != NULL && d->out->writers > 0) {
        d->out->writers--;
        d->out->reset |= d->linger;
    }
    if (d->in != NULL)
        d->in->readers--;
    d->used = false;
    kernel.moves++;
    return 0;
}

static int kernel_fcntl(int fd)
{
    (void)fd;
    return 0;
}

static int kernel_shutdown(int fd)
{
    desc_of(fd)->out->writers = 0;
    kernel.moves++;
    return 0;
}

static int kernel_setsockopt(int fd, int name, const void *value)
{
    if (fd < 0)
        return -1;                  /* EBADF: no server yet */
    if (name == SO_LINGER)
        desc_of(fd)->linger = ((const struct linger *)value)->l_onoff != 0;
    return 0;
}

static int kernel_socket(void)
{
    return desc_new(NULL, NULL);
}

static int kernel_connect(int fd, const struct sockaddr *a)
{
    struct desc *d = desc_of(fd);

    d->connecting = true;
    d->error = world_connect(d, ntohs(((struct sockaddr_in *)a)->sin_port));
    kernel.moves++;
    errno = EINPROGRESS;
    return -1;
}

/* SO_ERROR is the outcome of connect(); there is nothing else. */
static int kernel_getsockopt(int fd, int name, void *value)
{
    if (name != SO_ERROR)
        return -1;
    desc_of(fd)->connecting = false;
    *(int *)value = desc_of(fd)->error;
    kernel.moves++;
    return 0;
}

/* The address of either side. */
static int kernel_name(struct sockaddr *a, socklen_t *len)
{
    *len = sizeof(struct sockaddr_in);
    memset(a, 0, *len);
    a->sa_family = AF_INET;
    return 0;
}

static int kernel_accept(int fd, struct sockaddr *a, socklen_t *len)
{
    (void)fd;
    kernel_name(a, len);
    fd = desc_new(NULL, NULL);
    if (fd < 0 || world_accept(desc_of(fd)) == 0) {
        kernel.moves++;
        return fd;
    }
    kernel.fd[fd].used = false;
    errno = EAGAIN;
    return -1;
}

static int kernel_pipe(int fd[2])
{
    struct channel *c = channel_new();

    fd[0] = desc_new(c, NULL);
    fd[1] = desc_new(NULL, c);
    if (fd[1] >= 0)
        return 0;
    if (fd[0] >= 0)
        kernel.fd[fd[0]].used = false;
    return -1;
}

static ssize_t kernel_read(int fd, void *p, size_t n)
{
    return channel_read(desc_of(fd)->in, p, n);
}

static ssize_t kernel_write(int fd, const void *p, size_t n)
{
    return fd < 3 ? world_log(fd, p, n)
                  : channel_write(desc_of(fd)->out, p, n);
}

/* Whether select() would say that fd is ready. */
static bool kernel_ready(int fd, bool writing)
{
    const struct desc *d;

    if (fd < 3)
        return true;
    d = desc_of(fd);
    if (d->connecting)
        return writing;
    if (writing)
        return d->out != NULL &&
               (d->out->readers == 0 || d->out->len < PIPE_ROOM);
    return d->in != NULL && (d->in->len > 0 || d->in->writers == 0);
}

/* ---- children ---------------------------------------------------------- */

static int kernel_dup2(int fd, int to)
{
    kernel.std[to] = to == 0 ? desc_of(fd)->in : desc_of(fd)->out;
    return 0;
}

static struct proc *proc_new(const void *command)
{
    for (struct proc *p = kernel.proc; p < kernel.proc + PROCS; p++)
        if (p->pid == 0) {
            *p = (struct proc){ .pid = ++kernel.last_pid,
                                .command = command };
            return p;
        }
    return NULL;
}

static int kernel_spawn(pid_t *pid, char *const argv[])
{
    struct proc *p = proc_new(argv[2] ? argv[2] : "@\2"); /* behind sh -c */

    if (p == NULL)
        return EAGAIN;
    (p->in = kernel.std[0])->readers++;
    (p->out = kernel.std[1])->writers++;
    *pid = p->pid;
    kernel.moves++;
    return 0;
}

/* A child closes its standard input or output. */
static void proc_close_in(struct proc *p)
{
    if (p->in != NULL)
        p->in->readers--;
    p->in = NULL;
    kernel.moves++;
}

static void proc_close_out(struct proc *p)
{
    if (p->out != NULL)
        p->out->writers--;
    p->out = NULL;
    kernel.moves++;
}

/* A child ends, with this status of waitpid()'s. */
static void proc_exit(struct proc *p, int status)
{
    if (p->pid == 0 || p->exited)
        return;
    proc_close_in(p);
    proc_close_out(p);
    p->exited = true;
    p->status = status;
    channel_put(kernel.signals, &(unsigned char){ SIGCHLD }, 1);
}

static int kernel_kill(pid_t group, int number)
{
    for (struct proc *p = kernel.proc; p < kernel.proc + PROCS; p++)
        if (number == 0 && p->pid == group)
            return 0;
        else if (number != 0 && p->pid == -group)
            proc_exit(p, number);
    errno = ESRCH;
    return number == 0 ? -1 : 0;
}

static pid_t kernel_waitpid(int *status)
{
    for (struct proc *p = kernel.proc; p < kernel.proc + PROCS; p++)
        if (p->pid > 0 && p->exited) {
            pid_t pid = p->pid;

            *status = p->status;
            free(p->data);
            *p = (struct proc){ 0 };
            kernel.moves++;
            return pid;
        }
    return 0;
}

static int kernel_clock(struct timespec *t)
{
    t->tv_sec = (time_t)kernel.time;
    t->tv_nsec = (long)((kernel.time - (double)t->tv_sec) * 1e9);
    return 0;
}

/* All that the program waits for so is ready. */
static int kernel_poll(const struct pollfd *p, int n, int left)
{
    (void)p, (void)left;
    return n;
}

/* Forgets all. */
static void kernel_free(void)
{
    for (struct channel *c = kernel.channels, *next; c != NULL; c = next) {
        next = c->next;
        free(c->data);
        free(c);
    }
    for (struct proc *p = kernel.proc; p < kernel.proc + PROCS; p++)
        free(p->data);
    memset(&kernel, 0, sizeof kernel);
}

/* The calls, from here on. Those of function form only: mitmproxy.c has
   fields of the same names. */
#define socket(family, type, protocol) kernel_socket()
#define connect(fd, a, len) kernel_connect(fd, (const struct sockaddr *)(a))
#define accept4(fd, a, len, flags) kernel_accept(fd, a, len)
#define recv(fd, p, n, flags) kernel_read(fd, p, n)
#define send(fd, p, n, flags) kernel_write(fd, p, n)
#define read(fd, p, n) kernel_read(fd, p, n)
#define write(fd, p, n) kernel_write(fd, p, n)
#define close(fd) kernel_close(fd)
#define shutdown(fd, how) kernel_shutdown(fd)
#define setsockopt(fd, level, name, value, size) \
    kernel_setsockopt(fd, name, value)
#define getsockopt(fd, level, name, value, size) \
    ((void)(size), kernel_getsockopt(fd, name, value))
#define pipe2(fd, flags) kernel_pipe(fd)
#define posix_spawn_file_actions_adddup2(a, fd, to) kernel_dup2(fd, to)
#define posix_spawn(pid, path, a, b, argv, env) \
    ((void)(env), kernel_spawn(pid, argv))
#define setrlimit(which, limit) ((void)(limit))
#define open kernel_open
#define kill(group, number) kernel_kill(group, number)
#define waitpid(pid, status, flags) kernel_waitpid(status)
#define select(n, r, w, e, t) \
    world_select(n, r, w, (double)(t)->tv_sec + (double)(t)->tv_usec / 1e6)
#define poll(...) kernel_poll(__VA_ARGS__)
#define getsockname(fd, a, len) \
    ((void)(fd), kernel_name((struct sockaddr *)(a), len))
#define getpeername(fd, a, len) getsockname(fd, a, len)
#define fcntl(fd, ...) kernel_fcntl(fd)
#define ioctl(fd, request, left) (*(left) = 0)
#define clock_gettime(id, t) kernel_clock(t)
