/* x25519_alt.c: X25519 by Everest's code, for PSA too.

   Everest's is five times faster than Mbed TLS's own, but of a TLS 1.3
   handshake it computes the shared secret alone: for the public key PSA
   calls mbedtls_ecp_mul(). That was most of a resumed handshake. So build.mk
   lets PSA's psa_crypto_ecp.c call this one in its stead. */

#include "common.h"
#include "mbedtls/ecp.h"
#include "everest/x25519.h"

int x25519_alt_mul(mbedtls_ecp_group *grp, mbedtls_ecp_point *R,
                   const mbedtls_mpi *m, const mbedtls_ecp_point *P,
                   int (*f_rng)(void *, unsigned char *, size_t), void *p_rng);

/* As mbedtls_ecp_mul() it sets R to m * P. That does it for other curves,
   and refuses what is to be refused: a secret whose bits are not set as RFC
   7748 (5) has it, and points of low order (6.1). */
int x25519_alt_mul(mbedtls_ecp_group *grp, mbedtls_ecp_point *R,
                   const mbedtls_mpi *m, const mbedtls_ecp_point *P,
                   int (*f_rng)(void *, unsigned char *, size_t), void *p_rng)
{
    unsigned char point[MBEDTLS_X25519_KEY_SIZE_BYTES];
    mbedtls_x25519_context x;
    size_t n;
    int ret;

    if (grp->id != MBEDTLS_ECP_DP_CURVE25519 ||
        mbedtls_ecp_check_privkey(grp, m) != 0 ||
        mbedtls_ecp_check_pubkey(grp, P) != 0)
        return mbedtls_ecp_mul(grp, R, m, P, f_rng, p_rng);

    mbedtls_x25519_init(&x);
    ret = mbedtls_mpi_write_binary_le(m, x.our_secret, sizeof x.our_secret);
    if (ret == 0)
        ret = mbedtls_mpi_write_binary_le(&P->X, x.peer_point,
                                          sizeof x.peer_point);
    if (ret == 0)
        ret = mbedtls_x25519_calc_secret(&x, &n, point, sizeof point, f_rng,
                                         p_rng);
    if (ret == 0)
        ret = mbedtls_ecp_point_read_binary(grp, R, point, n);
    mbedtls_x25519_free(&x);
    return ret;
}
