/* spawn.c: the yardstick for one-shot filters. It starts a command, feeds it
   a message through a pipe, reads what it prints and reaps it, and does
   nothing else: what a filter costs over this is what the proxy costs.

       build/bench/spawn SECONDS MESSAGE-FILE COMMAND ARGUMENT...

   It says "ready", waits for a line, works for SECONDS and prints a result
   as load.c does. The message must fit a pipe, so that no loop is needed. */
#define _GNU_SOURCE                             /* pipe2 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int later(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void spawn_once(char **argv, const char *message, size_t n)
{
    static char answer[65536];
    posix_spawn_file_actions_t actions;
    int to[2], from[2], status;
    ssize_t got, all = 0;
    pid_t pid;

    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        fail("pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ))
        fail(argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    if (write(to[1], message, n) != (ssize_t)n)
        fail("write");
    close(to[1]);
    while ((got = read(from[0], answer, sizeof answer)) > 0)
        all += got;
    close(from[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0 || all == 0) {
        fprintf(stderr, "spawn: %s failed\n", argv[0]);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static char message[32768];
    static double took[200000];
    size_t n = 0, most = sizeof took / sizeof *took;

    FILE *f = argc > 3 ? fopen(argv[2], "rb") : NULL;
    if (!f) {
        fprintf(stderr, "usage: spawn SECONDS MESSAGE-FILE COMMAND...\n");
        return 2;
    }
    size_t length = fread(message, 1, sizeof message, f);
    fclose(f);

    spawn_once(argv + 3, message, length);      /* warms the caches */
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;

    double start = now(), end = start, last = start + atof(argv[1]);
    while (end < last && n < most) {
        double began = end;
        spawn_once(argv + 3, message, length);
        end = now();
        took[n++] = (end - began) * 1e6;
    }
    qsort(took, n, sizeof *took, later);
    printf("{\"n\": %zu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f}\n",
           n, end - start, took[n / 2], took[n * 99 / 100]);
    fflush(stdout);
    while (getchar() != EOF)            /* stay until our CPU time was read */
        ;
    return 0;
}
