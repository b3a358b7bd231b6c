/* gcm_alt.c: AES-GCM eight blocks at a time, on x86-64.

   Mbed TLS takes one block after the other. So it waits for the result of
   each AES instruction, where the processor could begin with several more,
   and reduces the hash once a block, where once for eight is enough. This is
   eight times faster, and three times as fast again on processors since 2019,
   whose instructions take two blocks at once.

   This takes the place of its gcm.c, takes it in after all, and replaces the
   four functions that see whole blocks: parts of blocks, other processors, and
   what is to be refused go its way still. Where it uses these instructions
   it leaves most of its table H empty: that is where we keep ours.

   The hash of GCM, after RFC 8452, appendix A: with the bytes of each block
   and of the hash key H turned round, GHASH is POLYVAL, its key being H
   times x. In POLYVAL's field, the polynomials modulo

       x^128 + x^127 + x^126 + x^121 + 1,

   one multiplies a and b to a * b * x^-128. A product of 256 bits becomes
   one of 128 by two steps, each of which adds as much of the modulus as
   makes the lower 64 bits zero and then drops them. */

#if !defined(__x86_64__)
#include "gcm.c"
#else

#define mbedtls_gcm_setkey        plain_setkey
#define mbedtls_gcm_update        plain_update
#define mbedtls_gcm_crypt_and_tag plain_crypt_and_tag
#define mbedtls_gcm_auth_decrypt  plain_auth_decrypt
#include "gcm.c"
#undef mbedtls_gcm_setkey
#undef mbedtls_gcm_update
#undef mbedtls_gcm_crypt_and_tag
#undef mbedtls_gcm_auth_decrypt

#include <cpuid.h>
#include <immintrin.h>

/* These instructions are asked for here, not of the whole library, and used
   where the processor turns out to have them. */
#define FAST __attribute__((target("aes,pclmul,ssse3")))
#define INLINE static inline __attribute__((always_inline)) FAST

enum { BLOCK = 16, WIDE = 8 };

/* A block as it lies in memory, aligned or not. */
INLINE __m128i load(const void *p)
{
    return _mm_loadu_si128(p);
}

INLINE void store(void *p, __m128i x)
{
    _mm_storeu_si128(p, x);
}

/* The block x with its bytes turned round: a number, or a polynomial. */
INLINE __m128i turn(__m128i x)
{
    return _mm_shuffle_epi8(x, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
                                            11, 12, 13, 14, 15));
}

/* x with its halves exchanged. */
INLINE __m128i swap(__m128i x)
{
    return _mm_shuffle_epi32(x, 0x4e);
}

/* The sum of the halves of x, in both. */
INLINE __m128i sum(__m128i x)
{
    return _mm_xor_si128(x, swap(x));
}

/* high * x^128 + (middle + high + low) * x^64 + low. By this middle, three
   multiplications do instead of four (Karatsuba). */
struct product { __m128i high, middle, low; };

/* Adds a * b to p; b_sum is sum(b). */
INLINE void multiply(struct product *p, __m128i a, __m128i b, __m128i b_sum)
{
    p->high = _mm_xor_si128(p->high, _mm_clmulepi64_si128(a, b, 0x11));
    p->low = _mm_xor_si128(p->low, _mm_clmulepi64_si128(a, b, 0x00));
    p->middle = _mm_xor_si128(p->middle,
                              _mm_clmulepi64_si128(sum(a), b_sum, 0x00));
}

/* p * x^-128. Of the modulus, the 1 is what clears the lower half of low,
   the x^128 is done by swap(), and the rest is to be multiplied by. */
INLINE __m128i reduce(struct product p)
{
    const __m128i rest = _mm_set_epi64x(0, (long long)0xc200000000000000);
    __m128i middle = _mm_xor_si128(p.middle, _mm_xor_si128(p.high, p.low));
    __m128i high = _mm_xor_si128(p.high, _mm_srli_si128(middle, 8));
    __m128i low = _mm_xor_si128(p.low, _mm_slli_si128(middle, 8));

    low = _mm_xor_si128(swap(low), _mm_clmulepi64_si128(low, rest, 0x00));
    low = _mm_xor_si128(swap(low), _mm_clmulepi64_si128(low, rest, 0x00));
    return _mm_xor_si128(high, low);
}

/* a * b * x^-128. */
INLINE __m128i times(__m128i a, __m128i b)
{
    struct product p = { 0 };

    multiply(&p, a, b, sum(b));
    return reduce(p);
}

/* The hash key to the power of 1 + i, and the sum of its halves. gcm.c has
   put the key itself into H[8]. */
INLINE void *power_at(const mbedtls_gcm_context *ctx, int i)
{
    return (void *)ctx->H[i];
}

INLINE void *sum_at(const mbedtls_gcm_context *ctx, int i)
{
    return (void *)(ctx->H[WIDE + 1 + i / 2] + i % 2);
}

/* Computes the powers of the hash key. */
FAST static void set_powers(mbedtls_gcm_context *ctx)
{
    /* x^129 reduced: multiplying by it multiplies by x. */
    const __m128i x129 = _mm_set_epi64x(0x4600000000000000, 3);
    __m128i key = times(turn(load(ctx->H[MBEDTLS_GCM_HTABLE_SIZE / 2])), x129);
    __m128i power = key;

    for (int i = 0; i < WIDE; i++) {
        store(power_at(ctx, i), power);
        _mm_storel_epi64(sum_at(ctx, i), sum(power));
        power = times(power, key);
    }
}

/* En- or decrypts n blocks and adds them to the hash, under the powers of
   the key from n down to 1, so that one reduction does. n is 1 or WIDE, a
   constant: all loops unroll, and the array is registers. */
INLINE void blocks(const mbedtls_gcm_context *ctx, int n,
                   const unsigned char *in, unsigned char *out,
                   __m128i *counter, __m128i *hash)
{
    const mbedtls_aes_context *aes = ctx->cipher_ctx.cipher_ctx;
    const __m128i *keys = (const __m128i *)(aes->buf + aes->rk_offset);
    struct product p = { 0 };
    __m128i x[WIDE];

    #pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        *counter = _mm_add_epi32(*counter, _mm_set_epi32(0, 0, 0, 1));
        x[i] = _mm_xor_si128(turn(*counter), load(keys));
    }
    for (int round = 1; round < aes->nr; round++) {
        __m128i key = load(keys + round);

        #pragma GCC unroll 8
        for (int i = 0; i < n; i++)
            x[i] = _mm_aesenc_si128(x[i], key);
    }
    #pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        __m128i text = load(in + BLOCK * i);
        __m128i last = _mm_xor_si128(load(keys + aes->nr), text);

        x[i] = _mm_aesenclast_si128(x[i], last);
        store(out + BLOCK * i, x[i]);
        if (ctx->mode == MBEDTLS_GCM_DECRYPT)
            x[i] = text;                /* the hash is of the ciphertext */
    }
    x[0] = _mm_xor_si128(x[0], turn(*hash));
    #pragma GCC unroll 8
    for (int i = 0; i < n; i++)
        multiply(&p, turn(x[i]), load(power_at(ctx, n - 1 - i)),
                 _mm_loadl_epi64(sum_at(ctx, n - 1 - i)));
    *hash = reduce(p);
}

/* The same by the instructions for two blocks, MANY blocks at a time. */
#define FASTER __attribute__((target("vaes,vpclmulqdq,avx2,aes,pclmul,ssse3")))
#define INLINE2 static inline __attribute__((always_inline)) FASTER

enum { MANY = 2 * WIDE };

/* A block, or what stands for one, twice. */
INLINE2 __m256i both(__m128i x)
{
    return _mm256_broadcastsi128_si256(x);
}

INLINE2 __m256i turn2(__m256i x)
{
    return _mm256_shuffle_epi8(x, both(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8,
                                                    9, 10, 11, 12, 13, 14,
                                                    15)));
}

INLINE2 __m256i sum2(__m256i x)
{
    return x ^ _mm256_shuffle_epi32(x, 0x4e);
}

/* Adds the two blocks of x. */
INLINE2 __m128i folded(__m256i x)
{
    return _mm256_castsi256_si128(x) ^ _mm256_extracti128_si256(x, 1);
}

/* The powers of the hash key from MANY down to 1. */
INLINE2 void get_powers(const mbedtls_gcm_context *ctx, __m256i *power)
{
    __m128i one[MANY];

    for (int i = 0; i < WIDE; i++) {
        one[WIDE + i] = load(power_at(ctx, WIDE - 1 - i));
        one[i] = times(one[WIDE + i], load(power_at(ctx, WIDE - 1)));
    }
    memcpy(power, one, sizeof one);
}

/* En- or decrypts all that is whole in MANY blocks; returns how many bytes. All
   that stays is copied into arrays of its own, which nothing that is written
   can change. */
FASTER static size_t run2(const mbedtls_gcm_context *ctx,
                          const unsigned char *in, unsigned char *out,
                          size_t n, __m128i *counter, __m128i *hash)
{
    const mbedtls_aes_context *aes = ctx->cipher_ctx.cipher_ctx;
    const int rounds = aes->nr, decrypt = ctx->mode == MBEDTLS_GCM_DECRYPT;
    const __m256i two = both(_mm_set_epi32(0, 0, 0, 2));
    __m256i keys[15], power[MANY / 2], x[MANY / 2], text,
            count = _mm256_add_epi32(both(*counter), _mm256_set_epi32(
                0, 0, 0, 2, 0, 0, 0, 1));
    size_t left = n;

    if (n < 4 * MANY * BLOCK)           /* what stays would cost more */
        return 0;
    for (int i = 0; i <= rounds; i++)
        keys[i] = both(load(aes->buf + aes->rk_offset + 4 * i));
    get_powers(ctx, power);
    for (; left >= MANY * BLOCK; left -= MANY * BLOCK) {
        __m256i high = { 0 }, middle = { 0 }, low = { 0 };

        #pragma GCC unroll 8
        for (int i = 0; i < MANY / 2; i++) {
            x[i] = turn2(count) ^ keys[0];
            count = _mm256_add_epi32(count, two);
        }
        for (int round = 1; round < rounds; round++) {
            #pragma GCC unroll 8
            for (int i = 0; i < MANY / 2; i++)
                x[i] = _mm256_aesenc_epi128(x[i], keys[round]);
        }
        #pragma GCC unroll 8
        for (int i = 0; i < MANY / 2; i++, in += 2 * BLOCK, out += 2 * BLOCK) {
            text = _mm256_loadu_si256((const __m256i *)in);
            x[i] = _mm256_aesenclast_epi128(x[i], keys[rounds] ^ text);
            _mm256_storeu_si256((__m256i *)out, x[i]);
            x[i] = turn2(decrypt ? text : x[i]);
        }
        x[0] ^= _mm256_zextsi128_si256(*hash);
        #pragma GCC unroll 8
        for (int i = 0; i < MANY / 2; i++) {
            high ^= _mm256_clmulepi64_epi128(x[i], power[i], 0x11);
            low ^= _mm256_clmulepi64_epi128(x[i], power[i], 0x00);
            middle ^= _mm256_clmulepi64_epi128(sum2(x[i]), sum2(power[i]), 0);
        }
        *hash = reduce((struct product){ folded(high), folded(middle),
                                         folded(low) });
    }
    *counter = _mm_sub_epi32(_mm256_castsi256_si128(count),
                             _mm_set_epi32(0, 0, 0, 1));
    return n - left;
}

static int has_vaes(void)
{
#if defined(MITM_SMALL)     /* for smaller processors, and 4 KB less */
    return 0;
#else
    static int known = -1;
    unsigned a, b, c, d;

    if (known < 0)
        known = __builtin_cpu_supports("avx2") &&
                __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
                (c >> 9 & c >> 10 & 1);     /* VAES, VPCLMULQDQ */
    return known;
#endif
}

/* En- or decrypts n bytes, a multiple of BLOCK, where a block begins. */
FAST static void run(mbedtls_gcm_context *ctx, const unsigned char *in,
                     unsigned char *out, size_t n)
{
    __m128i counter = turn(load(ctx->y)), hash = turn(load(ctx->buf));
    size_t i = has_vaes() ? run2(ctx, in, out, n, &counter, &hash) : 0;

    for (; n - i >= WIDE * BLOCK; i += WIDE * BLOCK)
        blocks(ctx, WIDE, in + i, out + i, &counter, &hash);
    for (; i < n; i += BLOCK)
        blocks(ctx, 1, in + i, out + i, &counter, &hash);
    store(ctx->y, turn(counter));
    store(ctx->buf, turn(hash));
    ctx->len += n;
}

/* Whether gcm.c has found the instructions. The cipher is AES: no other has
   been compiled. */
static int is_fast(const mbedtls_gcm_context *ctx)
{
    return ctx->acceleration == MBEDTLS_GCM_ACC_AESNI &&
           mbedtls_aesni_has_support(MBEDTLS_AESNI_AES) &&
           mbedtls_aesni_has_support(1 << 9); /* SSSE3: the bit of CPUID */
}

/* The functions of <mbedtls/gcm.h> that we replace. */

int mbedtls_gcm_setkey(mbedtls_gcm_context *ctx, mbedtls_cipher_id_t cipher,
                       const unsigned char *key, unsigned int keybits)
{
    int ret = plain_setkey(ctx, cipher, key, keybits);

    if (ret == 0 && is_fast(ctx))
        set_powers(ctx);
    return ret;
}

/* What completes a block that was begun, and what begins one at the end, goes
   to gcm.c; and so does what it has to refuse. */
int mbedtls_gcm_update(mbedtls_gcm_context *ctx, const unsigned char *in,
                       size_t n, unsigned char *out, size_t room,
                       size_t *written)
{
    const uint64_t most = ((uint64_t)1 << 36) - 32;
    size_t first = -ctx->len % BLOCK, whole = (n - first) / BLOCK * BLOCK;
    int ret;

    if (!is_fast(ctx) || n < first + BLOCK || n > room || n > most - ctx->len ||
        (out > in && (size_t)(out - in) < n))
        return plain_update(ctx, in, n, out, room, written);

    if ((ret = plain_update(ctx, in, first, out, room, written)) != 0)
        return ret;
    if (ctx->len == 0 && ctx->add_len % BLOCK != 0)
        gcm_mult(ctx, ctx->buf, ctx->buf);      /* the end of the AD */
    run(ctx, in + first, out + first, whole);
    first += whole;
    ret = plain_update(ctx, in + first, n - first, out + first, room - first,
                       written);
    *written = n;
    return ret;
}

int mbedtls_gcm_crypt_and_tag(mbedtls_gcm_context *ctx, int mode, size_t n,
                              const unsigned char *iv, size_t iv_len,
                              const unsigned char *ad, size_t ad_len,
                              const unsigned char *in, unsigned char *out,
                              size_t tag_len, unsigned char *tag)
{
    size_t written;
    int ret;

    if ((ret = mbedtls_gcm_starts(ctx, mode, iv, iv_len)) != 0 ||
        (ret = mbedtls_gcm_update_ad(ctx, ad, ad_len)) != 0 ||
        (ret = mbedtls_gcm_update(ctx, in, n, out, n, &written)) != 0)
        return ret;
    return mbedtls_gcm_finish(ctx, NULL, 0, &written, tag, tag_len);
}

int mbedtls_gcm_auth_decrypt(mbedtls_gcm_context *ctx, size_t n,
                             const unsigned char *iv, size_t iv_len,
                             const unsigned char *ad, size_t ad_len,
                             const unsigned char *tag, size_t tag_len,
                             const unsigned char *in, unsigned char *out)
{
    unsigned char right[BLOCK];         /* what the tag should be */
    int ret = mbedtls_gcm_crypt_and_tag(ctx, MBEDTLS_GCM_DECRYPT, n, iv,
                                        iv_len, ad, ad_len, in, out, tag_len,
                                        right);

    if (ret == 0 && mbedtls_ct_memcmp(tag, right, tag_len) != 0) {
        mbedtls_platform_zeroize(out, n);
        ret = MBEDTLS_ERR_GCM_AUTH_FAILED;
    }
    return ret;
}

#endif
