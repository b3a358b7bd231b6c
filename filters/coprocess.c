/* coprocess.c: the smallest coprocess in C. It stays alive and adds a field
   to each message.

       cc -O2 -o coprocess filters/coprocess.c
       mitmproxy --coprocess --response ./coprocess
       printf '19 id=1\nHTTP/1.1 200 OK\r\n\r\n' | ./coprocess */
#define _POSIX_C_SOURCE 200809L                 /* getline */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char field[] = "X-Coprocess: C\r\n";
static char message[16 << 20];                  /* no message is longer */

int main(void)
{
    char *line = NULL;
    size_t room;

    while (getline(&line, &room, stdin) > 0) {  /* LENGTH key=value ... */
        size_t n = strtoul(line, NULL, 10);

        if (n > sizeof message || fread(message, 1, n, stdin) != n)
            return 1;
        char *end = memchr(message, '\n', n);
        size_t first = end ? (size_t)(end - message) + 1 : 0;
        size_t more = end ? sizeof field - 1 : 0;

        printf("%zu\n", n + more);
        fwrite(message, 1, first, stdout);
        fwrite(field, 1, more, stdout);
        fwrite(message + first, 1, n - first, stdout);
        fflush(stdout);
    }
    return 0;
}
