/* getrandom.c: random numbers from the kernel, with any libc.

   Mbed TLS calls getrandom() where the libc is glibc. With musl it reads
   /dev/random: which need not be there, and before Linux 5.6 waits for more
   than the kernel's generator needs. So config.h names this as its source. */

#include <errno.h>
#include <sys/random.h>

#include "mbedtls/build_info.h"

/* Fills the n bytes at p; once the machine has booted nothing is waited for.
   0, or -1 on kernels without getrandom(). */
static int from_kernel(unsigned char *p, size_t n)
{
    while (n > 0) {
        ssize_t r = getrandom(p, n, 0);

        if (r < 0 && errno != EINTR)
            return -1;
        p += r < 0 ? 0 : r;
        n -= r < 0 ? 0 : (size_t)r;
    }
    return 0;
}

#if MBEDTLS_VERSION_MAJOR < 4

#include "mbedtls/entropy.h"
#include "entropy_poll.h"

int mbedtls_hardware_poll(void *unused, unsigned char *out, size_t n,
                          size_t *got)
{
    (void)unused;
    *got = n;
    return from_kernel(out, n) == 0 ? 0 : MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
}

#else

#include "mbedtls/platform.h"

int mbedtls_platform_get_entropy(psa_driver_get_entropy_flags_t flags,
                                 size_t *bits, unsigned char *out, size_t n)
{
    *bits = 8 * n;
    return flags == PSA_DRIVER_GET_ENTROPY_FLAGS_NONE &&
           from_kernel(out, n) == 0 ? 0 : PSA_ERROR_INSUFFICIENT_ENTROPY;
}

#endif
