/* curve25519.c: X25519 (RFC 7748), where the compiler has 128-bit integers.

   Each TLS 1.3 handshake costs two of it on either side, and with sessions
   resumed these were half of all that a connection costs. This takes the place
   of Everest's file, to which other processors are left. A public key, the
   secret's multiple of the base point, it takes from a table of that point's
   multiples, in two fifths of the time; a shared secret takes a tenth less.

   No branch and no address depends on a secret. */

#if !defined(__SIZEOF_INT128__)
#include "Hacl_Curve25519_joined.c"
#else

#include <stdint.h>
#include <string.h>

#include "mbedtls/platform_util.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(MITM_SMALL)
#define UNROLLED static __attribute__((noinline)) /* 17 KB less */
#else
#define UNROLLED INLINE
#endif
__extension__ typedef unsigned __int128 wide;

enum { LIMBS = 5, BITS = 51 };
#define MASK (((uint64_t)1 << BITS) - 1)

/* A number modulo p = 2^255 - 19, in limbs of 51 bits, the least first. What
   multiply() leaves has limbs a little over 2^51 at most; they may grow to 2^54
   by sums and differences before it wants them again. */
typedef struct { uint64_t limb[LIMBS]; } number;

static const number zero, one = { { 1 } };

INLINE number add(number a, number b)
{
    for (int i = 0; i < LIMBS; i++)
        a.limb[i] += b.limb[i];
    return a;
}

/* a - b, where b has limbs below 2^53: 4p more, so that none is negative. */
INLINE number subtract(number a, number b)
{
    for (int i = 0; i < LIMBS; i++)
        a.limb[i] += 4 * (MASK - (i == 0 ? 18 : 0)) - b.limb[i];
    return a;
}

/* What the sums of products come to, each limb's carry added to the next; the
   last one's is worth 19 of the first (2^255 = 19). */
INLINE number carried(wide t0, wide t1, wide t2, wide t3, wide t4)
{
    number r;

    t1 += (uint64_t)(t0 >> BITS);
    t2 += (uint64_t)(t1 >> BITS);
    t3 += (uint64_t)(t2 >> BITS);
    t4 += (uint64_t)(t3 >> BITS);
    r.limb[0] = ((uint64_t)t0 & MASK) + (uint64_t)(t4 >> BITS) * 19;
    r.limb[1] = ((uint64_t)t1 & MASK) + (r.limb[0] >> BITS);
    r.limb[2] = (uint64_t)t2 & MASK;
    r.limb[3] = (uint64_t)t3 & MASK;
    r.limb[4] = (uint64_t)t4 & MASK;
    r.limb[0] &= MASK;
    return r;
}

UNROLLED number multiply(number a, number b)
{
    uint64_t a0 = a.limb[0], a1 = a.limb[1], a2 = a.limb[2], a3 = a.limb[3],
             a4 = a.limb[4], b0 = b.limb[0], b1 = b.limb[1], b2 = b.limb[2],
             b3 = b.limb[3], b4 = b.limb[4];
    uint64_t c1 = 19 * b1, c2 = 19 * b2, c3 = 19 * b3, c4 = 19 * b4;

    return carried(
        (wide)a0*b0 + (wide)a1*c4 + (wide)a2*c3 + (wide)a3*c2 + (wide)a4*c1,
        (wide)a0*b1 + (wide)a1*b0 + (wide)a2*c4 + (wide)a3*c3 + (wide)a4*c2,
        (wide)a0*b2 + (wide)a1*b1 + (wide)a2*b0 + (wide)a3*c4 + (wide)a4*c3,
        (wide)a0*b3 + (wide)a1*b2 + (wide)a2*b1 + (wide)a3*b0 + (wide)a4*c4,
        (wide)a0*b4 + (wide)a1*b3 + (wide)a2*b2 + (wide)a3*b1 + (wide)a4*b0);
}

UNROLLED number square(number a)
{
    uint64_t a0 = a.limb[0], a1 = a.limb[1], a2 = a.limb[2], a3 = a.limb[3],
             a4 = a.limb[4];
    uint64_t d0 = 2 * a0, d1 = 2 * a1, d2 = 2 * a2, c3 = 19 * a3, c4 = 19 * a4;

    return carried(
        (wide)a0*a0 + (wide)d1*c4 + (wide)d2*c3,
        (wide)d0*a1 + (wide)d2*c4 + (wide)a3*c3,
        (wide)d0*a2 + (wide)a1*a1 + (wide)(2 * a3)*c4,
        (wide)d0*a3 + (wide)d1*a2 + (wide)a4*c4,
        (wide)d0*a4 + (wide)d1*a3 + (wide)a2*a2);
}

INLINE number times(number a, uint64_t small)
{
    return carried((wide)a.limb[0] * small, (wide)a.limb[1] * small,
                   (wide)a.limb[2] * small, (wide)a.limb[3] * small,
                   (wide)a.limb[4] * small);
}

/* a squared n times. */
static number squares(number a, int n)
{
    while (n-- > 0)
        a = square(a);
    return a;
}

/* 1 / a: a^(p - 2), p - 2 being 2^255 - 21. eN is a^(2^N - 1). */
static number inverse(number a)
{
    number a2 = square(a), a9 = multiply(squares(a2, 2), a);
    number a11 = multiply(a9, a2), e5 = multiply(square(a11), a9);
    number e10 = multiply(squares(e5, 5), e5);
    number e20 = multiply(squares(e10, 10), e10);
    number e40 = multiply(squares(e20, 20), e20);
    number e50 = multiply(squares(e40, 10), e10);
    number e100 = multiply(squares(e50, 50), e50);
    number e200 = multiply(squares(e100, 100), e100);
    number e250 = multiply(squares(e200, 50), e50);

    return multiply(squares(e250, 5), a11);
}

/* Exchanges a and b if bit is 1, and does not if it is 0. */
INLINE void exchange(uint64_t bit, number *a, number *b)
{
    for (int i = 0; i < LIMBS; i++) {
        uint64_t x = (0 - bit) & (a->limb[i] ^ b->limb[i]);

        a->limb[i] ^= x;
        b->limb[i] ^= x;
    }
}

/* 32 bytes, the least first; the last one's highest bit is not looked at. */
static number from_bytes(const uint8_t *p)
{
    number a = zero;

    for (int bit = 0; bit < 255; bit++)
        a.limb[bit / BITS] |= (uint64_t)(p[bit / 8] >> bit % 8 & 1)
                              << bit % BITS;
    return a;
}

/* The one of a's values that is below p: a itself, or a - p, which is a + 19
   without its bit 255 and above. */
static void to_bytes(uint8_t *p, number a)
{
    uint64_t carry = 19;

    for (int i = 0; i < LIMBS; i++)
        carry = (a.limb[i] + carry) >> BITS;
    carry *= 19;
    for (int i = 0; i < LIMBS; i++) {
        a.limb[i] += carry;
        carry = a.limb[i] >> BITS;
        a.limb[i] &= MASK;
    }
    memset(p, 0, 32);
    for (int bit = 0; bit < 255; bit++)
        p[bit / 8] |= (a.limb[bit / BITS] >> bit % BITS & 1) << bit % 8;
}

/* The point's multiple by the ladder of RFC 7748, 5, whose letters these are:
   u alone, as fractions x / z. */
static number ladder(const uint8_t *k, number u)
{
    number x2 = one, z2 = zero, x3 = u, z3 = one;
    uint64_t swap = 0;

    for (int t = 254; t >= 0; t--) {
        uint64_t bit = k[t / 8] >> t % 8 & 1;
        number a, b, c, d, e, aa, bb, da, cb;

        exchange(swap ^ bit, &x2, &x3);
        exchange(swap ^ bit, &z2, &z3);
        swap = bit;
        a = add(x2, z2);
        b = subtract(x2, z2);
        c = add(x3, z3);
        d = subtract(x3, z3);
        da = multiply(d, a);
        cb = multiply(c, b);
        aa = square(a);
        bb = square(b);
        e = subtract(aa, bb);
        x3 = square(add(da, cb));
        z3 = multiply(u, square(subtract(da, cb)));
        x2 = multiply(aa, bb);
        z2 = multiply(e, add(aa, times(e, 121665)));
    }
    exchange(swap, &x2, &x3);
    exchange(swap, &z2, &z3);
    return multiply(x2, inverse(z2));
}

#if !defined(MITM_SMALL)

/* The base point's multiples, on the same curve as edwards25519 (RFC 8032, 5.1;
   RFC 7748, 4.1: u = (1 + y) / (1 - y)), where any two points are added by the
   same few products. A point is x / z and y / z with t = xy / z; one that is
   ready to be added has sums of these (Hisil, Wong, Carter, Dawson: Twisted
   Edwards Curves Revisited, 3.1). */
struct point { number x, y, z, t; };
struct ready { number sum, difference, twice_z, t2d; };

static const uint8_t base_x[32] = {
    0x1a, 0xd5, 0x25, 0x8f, 0x60, 0x2d, 0x56, 0xc9, 0xb2, 0xa7, 0x25, 0x95,
    0x60, 0xc7, 0x2c, 0x69, 0x5c, 0xdc, 0xd6, 0xfd, 0x31, 0xe2, 0xa4, 0xc0,
    0xfe, 0x53, 0x6e, 0xcd, 0xd3, 0x36, 0x69, 0x21 };

/* 1, 2, ... 8 times 256^i times the base point: 40 KB, made by the first who
   wants a public key. */
static struct ready multiples[32][8];
static number twice_d;

INLINE struct point completed(number e, number f, number g, number h)
{
    return (struct point){ multiply(e, f), multiply(g, h), multiply(f, g),
                           multiply(e, h) };
}

static struct point sum(const struct point *p, const struct ready *q)
{
    number a = multiply(subtract(p->y, p->x), q->difference);
    number b = multiply(add(p->y, p->x), q->sum);
    number c = multiply(p->t, q->t2d), d = multiply(p->z, q->twice_z);

    return completed(subtract(b, a), subtract(d, c), add(d, c), add(b, a));
}

/* p doubled n times. */
static struct point doubles(struct point p, int n)
{
    while (n-- > 0) {
        number a = square(p.x), b = square(p.y), c = times(square(p.z), 2);
        number h = add(a, b), g = subtract(a, b);

        p = completed(subtract(h, square(add(p.x, p.y))), add(c, g), g, h);
    }
    return p;
}

static struct ready readied(const struct point *p)
{
    return (struct ready){ add(p->y, p->x), subtract(p->y, p->x),
                           add(p->z, p->z), multiply(p->t, twice_d) };
}

static void make_multiples(void)
{
    struct point p = { from_bytes(base_x), zero, one, zero }, q;

    twice_d = times(multiply(subtract(zero, (number){ { 121665 } }),
                             inverse((number){ { 121666 } })), 2);
    p.y = multiply((number){ { 4 } }, inverse((number){ { 5 } }));
    p.t = multiply(p.x, p.y);
    for (int i = 0; i < 32; i++) {
        struct ready *m = multiples[i];

        m[0] = readied(&p);
        for (int j = 1; j < 8; j++) {
            q = sum(&p, &m[j - 1]);
            m[j] = readied(&q);
        }
        p = doubles(p, 8);
    }
}

/* digit, -7 to 8, times the point whose first multiples these are; each of them
   is read, whichever is wanted. */
static struct ready chosen(const struct ready *m, int digit)
{
    uint64_t sign = (uint64_t)(digit < 0), size = sign ? -digit : digit;
    struct ready r = { one, one, { { 2 } }, zero };
    number minus;

    for (uint64_t j = 1; j <= 8; j++) {
        uint64_t same = ((size ^ j) - 1) >> 63;
        struct ready other = m[j - 1];

        exchange(same, &r.sum, &other.sum);
        exchange(same, &r.difference, &other.difference);
        exchange(same, &r.twice_z, &other.twice_z);
        exchange(same, &r.t2d, &other.t2d);
    }
    minus = subtract(zero, r.t2d);
    exchange(sign, &r.sum, &r.difference);
    exchange(sign, &r.t2d, &minus);
    return r;
}

/* u of the base point's multiple: k in digits of 4 bits, -7 to 8, those with an
   odd place first. */
static number of_base(const uint8_t *k)
{
    struct point p = { zero, one, one, zero };
    int digit[64], carry = 0;
    struct ready r;

    if (multiples[0][0].twice_z.limb[0] == 0)
        make_multiples();
    for (int i = 0; i < 64; i++) {
        digit[i] = (k[i / 2] >> i % 2 * 4 & 15) + carry;
        carry = (digit[i] + 7) >> 4;
        digit[i] -= carry << 4;
    }
    for (int odd = 1; odd >= 0; odd--) {
        for (int i = odd; i < 64; i += 2) {
            r = chosen(multiples[i / 2], digit[i]);
            p = sum(&p, &r);
        }
        p = doubles(p, odd * 4);
    }
    mbedtls_platform_zeroize(digit, sizeof digit);
    mbedtls_platform_zeroize(&r, sizeof r);
    return multiply(add(p.z, p.y), inverse(subtract(p.z, p.y)));
}

#endif

/* product = secret * point, 32 bytes each: RFC 7748, 5. Everest's name. */
void Hacl_Curve25519_crypto_scalarmult(uint8_t *product, uint8_t *secret,
                                       uint8_t *point)
{
    uint8_t k[32];
    number u;

    memcpy(k, secret, sizeof k);
    k[0] &= 248;
    k[31] = (k[31] & 127) | 64;
#if !defined(MITM_SMALL)
    static const uint8_t base[32] = { 9 };

    if (memcmp(point, base, sizeof base) == 0)
        u = of_base(k);
    else
#endif
        u = ladder(k, from_bytes(point));
    to_bytes(product, u);
    mbedtls_platform_zeroize(k, sizeof k);
    mbedtls_platform_zeroize(&u, sizeof u);
}

#endif
