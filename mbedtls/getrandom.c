/* getrandom.c: random numbers, each from the kernel.

   Mbed TLS has generators of its own that it seeds from there: with musl from
   /dev/random, which need not be there, and before Linux 5.6 waits for more
   than the kernel's generator needs. They are code that a small device need
   not hold, and state that a process must not share with the one that it has
   forked. */

#include <errno.h>
#include <sys/random.h>
#include <psa/crypto.h>

/* Fills the n bytes at p; once the machine has booted nothing is waited for.
   It fails on kernels without getrandom(). */
psa_status_t mbedtls_psa_external_get_random(
    mbedtls_psa_external_random_context_t *unused, uint8_t *p, size_t n,
    size_t *got)
{
    (void)unused;
    for (*got = 0; *got < n;) {
        ssize_t r = getrandom(p + *got, n - *got, 0);

        if (r < 0 && errno != EINTR)
            return PSA_ERROR_INSUFFICIENT_ENTROPY;
        *got += r < 0 ? 0 : (size_t)r;
    }
    return PSA_SUCCESS;
}
