/* inverse_alt.c: inverses modulo a prime, by a power.

   Mbed TLS's inverse is safe for secrets by taking as many steps, bit by bit,
   as the longest case of any odd modulus. A signature by P-256 needs two: more
   than half of its time. Modulo a prime p they are powers, 1 / a = a^(p - 2)
   (Fermat), which takes a third of that. All moduli in ecp.c and ecdsa.c are
   primes, a field's or a group's: build.mk has them call this instead. */

#include "bignum_core.h"
#include "bignum_internal.h"
#include "mbedtls/platform_util.h"

#include <string.h>

typedef mbedtls_mpi_uint word;
enum { WORDS = (521 + 8 * sizeof(word) - 1) / (8 * sizeof(word)) };

int inverse_alt(mbedtls_mpi *G, mbedtls_mpi *I, const mbedtls_mpi *A,
                const mbedtls_mpi *N);

#if defined(MBEDTLS_HAVE_UDBL)

/* An odd modulus, the least word first, and what takes the least word of a
   product to zero: -1 / p[0]. */
struct modulus { size_t words; word p[WORDS], minus; };

/* x = x, with a word more, high, less the modulus, if that leaves something; x is
   below twice of it. By no branch. */
static void reduce(word *x, word high, const struct modulus *m)
{
    word less[WORDS], keep = mbedtls_mpi_core_sub(less, x, m->p, m->words);

    keep = 0 - (keep & (high ^ 1));
    for (size_t i = 0; i < m->words; i++)
        x[i] = (x[i] & keep) | (less[i] & ~keep);
}

/* x = x * y / 2^(all bits of n words), by Montgomery: as much of the modulus is
   added to the product as makes its lower half zero. */
static inline __attribute__((always_inline))
void multiply_words(word *x, const word *y, const struct modulus *m, size_t n)
{
    const int bits = 8 * sizeof(word);
    word t[WORDS + 1] = { 0 };

#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) {
        mbedtls_t_udbl c = (mbedtls_t_udbl)x[i] * y[0] + t[0];
        word f = (word)c * m->minus;
        mbedtls_t_udbl d = (mbedtls_t_udbl)f * m->p[0] + (word)c;

#pragma GCC unroll 4
        for (size_t j = 1; j < n; j++) {
            c = (mbedtls_t_udbl)x[i] * y[j] + t[j] + (word)(c >> bits);
            d = (mbedtls_t_udbl)f * m->p[j] + (word)c + (word)(d >> bits);
            t[j - 1] = (word)d;
        }
        d = (mbedtls_t_udbl)t[n] + (word)(c >> bits) + (word)(d >> bits);
        t[n - 1] = (word)d;
        t[n] = (word)(d >> bits);
    }
    memcpy(x, t, n * sizeof(word));
    reduce(x, t[n], m);
}

/* The same; what the compiler knows to be four words, as P-256 has, takes it a
   third of the time. */
static void multiply(word *x, const word *y, const struct modulus *m)
{
    if (m->words == 4)
        multiply_words(x, y, m, 4);
    else
        multiply_words(x, y, m, m->words);
}

/* x = 2 * x. */
static void twice(word *x, const struct modulus *m)
{
    word high = x[m->words - 1] >> (8 * sizeof(word) - 1);

    mbedtls_mpi_core_add(x, x, x, m->words);
    reduce(x, high, m);
}

/* Makes a its inverse modulo m: a^(m - 2). The steps show the modulus alone,
   which everybody knows. */
static void invert(word *a, struct modulus *m)
{
    const size_t bits = 8 * sizeof(word),
                 top = mbedtls_mpi_core_bitlen(m->p, m->words) - 1;
    word r[WORDS] = { 0 }, e[WORDS], unit[WORDS] = { 1 };
    const word two[WORDS] = { 2 };

    m->minus = mbedtls_mpi_core_montmul_init(m->p);
    mbedtls_mpi_core_sub(e, m->p, two, m->words);
    r[top / bits] = (word)1 << top % bits;
    for (size_t i = top; i < 2 * bits * m->words; i++)
        twice(r, m);
    multiply(a, r, m);                      /* a as Montgomery has it */
    memcpy(r, a, sizeof r);
    for (size_t i = mbedtls_mpi_core_bitlen(e, m->words) - 1; i-- > 0;) {
        multiply(r, r, m);
        if (e[i / bits] >> i % bits & 1)
            multiply(r, a, m);
    }
    multiply(r, unit, m);
    memcpy(a, r, sizeof r);
    mbedtls_platform_zeroize(r, sizeof r);
}

#endif

/* Sets I to the inverse of A modulo N, which is no even number. G, their common
   divisor, is wanted by nobody. */
int inverse_alt(mbedtls_mpi *G, mbedtls_mpi *I, const mbedtls_mpi *A,
                const mbedtls_mpi *N)
{
#if defined(MBEDTLS_HAVE_UDBL)
    struct modulus m = { N->n, { 0 }, 0 };
    word a[WORDS] = { 0 };

    if (G == NULL && N->n <= WORDS && mbedtls_mpi_cmp_int(A, 0) > 0 &&
        mbedtls_mpi_cmp_mpi(A, N) < 0) {
        memcpy(m.p, N->p, N->n * sizeof(word));
        memcpy(a, A->p, (A->n < WORDS ? A->n : WORDS) * sizeof(word));
        invert(a, &m);
        if (mbedtls_mpi_lset(I, 0) != 0 || mbedtls_mpi_grow(I, N->n) != 0)
            return MBEDTLS_ERR_MPI_ALLOC_FAILED;
        memcpy(I->p, a, N->n * sizeof(word));
        mbedtls_platform_zeroize(a, sizeof a);
        return 0;
    }
#endif
    return mbedtls_mpi_gcd_modinv_odd(G, I, A, N);
}
