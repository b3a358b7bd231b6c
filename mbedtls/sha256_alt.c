/* sha256_alt.c: SHA-256 by the processor's own instructions, on x86-64.

   A TLS 1.3 handshake hashes some 150 blocks on either side, most of them for
   its keys: a sixth of what it costs. Mbed TLS knows the instructions of ARM
   for that, and not those of x86.

   This takes the place of its sha256.c, takes it in after all, and replaces the
   two functions that see data; other processors go its way still. */

#if !defined(__x86_64__)
#include "sha256.c"
#else

#define mbedtls_sha256_update plain_sha256_update
#define mbedtls_sha256_finish plain_sha256_finish
#include "sha256.c"
#undef mbedtls_sha256_update
#undef mbedtls_sha256_finish

#include <cpuid.h>
#include <immintrin.h>

#define FAST __attribute__((target("sha,sse4.1")))

enum { BLOCK = 64 };

static int has_sha(void)
{
    static int known = -1;
    unsigned a, b, c, d;

    if (known < 0)
        known = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) != 0 &&
                __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1;
    return known;
}

/* Takes n blocks at p into the state (FIPS 180-4, 6.2.2). The instructions do
   two rounds each, with the state's words in two vectors, ABEF and CDGH; w has
   the last 16 words of the message schedule. */
FAST static void take_blocks(uint32_t state[8], const unsigned char *p,
                             size_t n)
{
    const __m128i turn = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11,
                                      4, 5, 6, 7, 0, 1, 2, 3);
    __m128i dcba = _mm_loadu_si128((const __m128i *)state);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
    __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; n > 0; n--, p += BLOCK) {
        __m128i was_abef = abef, was_cdgh = cdgh, w[4];

#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i *now = &w[i % 4], last = w[(i + 3) % 4], k;

            if (i < 4)
                *now = _mm_shuffle_epi8(
                    _mm_loadu_si128((const __m128i *)p + i), turn);
            else
                *now = _mm_sha256msg2_epu32(
                    _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) % 4]),
                                  _mm_alignr_epi8(last, w[(i + 2) % 4], 4)),
                    last);
            k = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)K + i));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
            abef = _mm_sha256rnds2_epu32(abef, cdgh,
                                         _mm_shuffle_epi32(k, 0x0e));
        }
        abef = _mm_add_epi32(abef, was_abef);
        cdgh = _mm_add_epi32(cdgh, was_cdgh);
    }
    efgh = _mm_shuffle_epi32(abef, 0x1b);   /* feba */
    cdab = _mm_shuffle_epi32(cdgh, 0xb1);   /* dchg */
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(efgh, cdab, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(cdab, efgh, 8));
}

int mbedtls_sha256_update(mbedtls_sha256_context *ctx,
                          const unsigned char *input, size_t ilen)
{
    size_t have = ctx->total[0] % BLOCK, some = BLOCK - have;

    if (!has_sha())
        return plain_sha256_update(ctx, input, ilen);
    if (ilen == 0)
        return 0;
    ctx->total[1] += (uint32_t)((ctx->total[0] + (uint64_t)ilen) >> 32);
    ctx->total[0] += (uint32_t)ilen;
    if (have > 0 && ilen >= some) {
        memcpy(ctx->buffer + have, input, some);
        take_blocks(ctx->state, ctx->buffer, 1);
        input += some;
        ilen -= some;
        have = 0;
    }
    take_blocks(ctx->state, input, ilen / BLOCK);
    memcpy(ctx->buffer + have, input + ilen / BLOCK * BLOCK, ilen % BLOCK);
    return 0;
}

/* One bit, zeros up to the last eight bytes of a block, and there the number of
   bits (FIPS 180-4, 5.1.1). */
int mbedtls_sha256_finish(mbedtls_sha256_context *ctx, unsigned char *output)
{
    static const unsigned char padding[BLOCK] = { 0x80 };
    uint64_t bits = ((uint64_t)ctx->total[1] << 32 | ctx->total[0]) * 8;
    unsigned char length[8];
    int words = 8;

    if (!has_sha())
        return plain_sha256_finish(ctx, output);
    mbedtls_sha256_update(ctx, padding, 1 + (119 - ctx->total[0] % BLOCK) % BLOCK);
    MBEDTLS_PUT_UINT64_BE(bits, length, 0);
    mbedtls_sha256_update(ctx, length, sizeof length);
#if defined(MBEDTLS_SHA224_C)
    words -= ctx->is224;
#endif
    for (int i = 0; i < words; i++)
        MBEDTLS_PUT_UINT32_BE(ctx->state[i], output, 4 * i);
    mbedtls_sha256_free(ctx);
    return 0;
}

#endif
