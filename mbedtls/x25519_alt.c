/* x25519_alt.c: X25519 by curve25519.c, for PSA too.

   Mbed TLS calls Everest's function, whose place that takes, for the shared
   secret of a TLS 1.3 handshake alone: for the public key PSA calls
   mbedtls_ecp_mul(), which is ten times slower. So this takes the place of its
   psa_crypto_ecp.c, and takes it in with another one. */

#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#define MBEDTLS_DECLARE_PRIVATE_IDENTIFIERS
#include "psa_crypto_ecp.h"

/* Its header does not compile where there is no __int128. */
extern void Hacl_Curve25519_crypto_scalarmult(uint8_t *product,
                                              uint8_t *secret, uint8_t *point);

static int x25519_alt_mul(mbedtls_ecp_group *grp, mbedtls_ecp_point *R,
                          const mbedtls_mpi *m, const mbedtls_ecp_point *P,
                          int (*f_rng)(void *, unsigned char *, size_t),
                          void *p_rng);

#define mbedtls_ecp_mul x25519_alt_mul
#include "psa_crypto_ecp.c"
#undef mbedtls_ecp_mul

/* As mbedtls_ecp_mul() it sets R to m * P. That does it for other curves,
   and refuses what is to be refused: a secret whose bits are not set as RFC
   7748 (5) has it, and points of low order (6.1). */
static int x25519_alt_mul(mbedtls_ecp_group *grp, mbedtls_ecp_point *R,
                          const mbedtls_mpi *m, const mbedtls_ecp_point *P,
                          int (*f_rng)(void *, unsigned char *, size_t),
                          void *p_rng)
{
    unsigned char secret[32], point[32], product[32];
    int ret;

    if (grp->id != MBEDTLS_ECP_DP_CURVE25519 ||
        mbedtls_ecp_check_privkey(grp, m) != 0 ||
        mbedtls_ecp_check_pubkey(grp, P) != 0)
        return mbedtls_ecp_mul(grp, R, m, P, f_rng, p_rng);

    ret = mbedtls_mpi_write_binary_le(m, secret, sizeof secret);
    if (ret == 0)
        ret = mbedtls_mpi_write_binary_le(&P->X, point, sizeof point);
    if (ret == 0) {
        Hacl_Curve25519_crypto_scalarmult(product, secret, point);
        ret = mbedtls_ecp_point_read_binary(grp, R, product, sizeof product);
    }
    mbedtls_platform_zeroize(secret, sizeof secret);
    mbedtls_platform_zeroize(product, sizeof product);
    return ret;
}
