/* record_keys.c: the keys of TLS records, expanded once.

   With Mbed TLS 4 its TLS has PSA encrypt each record, which finds the key,
   allocates a context, expands the key and forgets it all again: so small
   records take half as much again, and a connection that is open can fail for
   want of memory. Its TLS calls these instead (build.mk sees to that): a key
   of AES-GCM or ChaCha20-Poly1305 is a context that stays, as with 3.6. Other
   keys are PSA's still. */

#include "ssl_misc.h"
#if MBEDTLS_VERSION_MAJOR >= 4

#include <stdlib.h>

#include "psa_crypto_core.h"
#include "mbedtls/private/chachapoly.h"
#include "mbedtls/private/gcm.h"

enum { TAG = 16 };              /* bytes behind what is encrypted */

struct key {
    psa_algorithm_t alg;
    union {
        mbedtls_gcm_context gcm;
        mbedtls_chachapoly_context chacha;
    } as;
};

/* By their numbers, which PSA has for keys in files: there are none. 0 is no
   key. All places below lowest are taken. */
static struct key **keys;
static psa_key_id_t places, lowest = 1;

/* The key of this number; NULL: it is PSA's, or none. */
static struct key *key_of(psa_key_id_t id)
{
    return id < places ? keys[id] : NULL;
}

/* A free number, with a place in keys; 0: no memory is left. */
static psa_key_id_t key_number(void)
{
    struct key **more;

    while (lowest < places && keys[lowest] != NULL)
        lowest++;
    if (lowest < places)
        return lowest;
    more = realloc(keys, (2 * places + 8) * sizeof *more);
    if (more == NULL)
        return 0;
    memset(more + places, 0, (places + 8) * sizeof *more);
    keys = more;
    places = 2 * places + 8;
    return lowest;
}

/* Ends what a key is, and gives back its memory. */
static void key_free(struct key *k)
{
    if (k->alg == PSA_ALG_GCM)
        mbedtls_gcm_free(&k->as.gcm);
    else
        mbedtls_chachapoly_free(&k->as.chacha);
    free(k);
}

/* As psa_import_key(). */
psa_status_t record_import_key(const psa_key_attributes_t *attr,
                               const uint8_t *bytes, size_t n,
                               psa_key_id_t *id)
{
    psa_algorithm_t alg = psa_get_key_algorithm(attr);
    psa_key_id_t number;
    struct key *k;
    int r;

    if (alg != PSA_ALG_GCM && alg != PSA_ALG_CHACHA20_POLY1305)
        return psa_import_key(attr, bytes, n, id);
    number = key_number();
    k = number != 0 ? calloc(1, sizeof *k) : NULL;
    if (k == NULL)
        return PSA_ERROR_INSUFFICIENT_MEMORY;
    k->alg = alg;
    if (alg == PSA_ALG_GCM) {
        mbedtls_gcm_init(&k->as.gcm);
        r = mbedtls_gcm_setkey(&k->as.gcm, MBEDTLS_CIPHER_ID_AES, bytes,
                               (unsigned)(8 * n));
    } else {
        mbedtls_chachapoly_init(&k->as.chacha);
        r = mbedtls_chachapoly_setkey(&k->as.chacha, bytes);
    }
    if (r != 0) {
        key_free(k);
        return mbedtls_to_psa_error(r);
    }
    keys[number] = k;
    *id = number;
    return PSA_SUCCESS;
}

/* As psa_destroy_key(). */
psa_status_t record_destroy_key(psa_key_id_t id)
{
    struct key *k = key_of(id);

    if (k == NULL)
        return psa_destroy_key(id);
    key_free(k);
    keys[id] = NULL;
    if (id < lowest)
        lowest = id;
    return PSA_SUCCESS;
}

/* As psa_aead_encrypt(), for nonces as TLS has them. */
psa_status_t record_aead_encrypt(psa_key_id_t id, psa_algorithm_t alg,
                                 const uint8_t *nonce, size_t nonce_n,
                                 const uint8_t *head, size_t head_n,
                                 const uint8_t *in, size_t n,
                                 uint8_t *out, size_t room, size_t *out_n)
{
    struct key *k = key_of(id);
    int r;

    if (k == NULL)
        return psa_aead_encrypt(id, alg, nonce, nonce_n, head, head_n, in, n,
                                out, room, out_n);
    if (room < TAG || room - TAG < n)
        return PSA_ERROR_BUFFER_TOO_SMALL;
    r = k->alg == PSA_ALG_GCM
        ? mbedtls_gcm_crypt_and_tag(&k->as.gcm, MBEDTLS_GCM_ENCRYPT, n, nonce,
                                    nonce_n, head, head_n, in, out, TAG,
                                    out + n)
        : mbedtls_chachapoly_encrypt_and_tag(&k->as.chacha, n, nonce, head,
                                             head_n, in, out, out + n);
    *out_n = n + TAG;
    return mbedtls_to_psa_error(r);
}

/* As psa_aead_decrypt(), for nonces as TLS has them. */
psa_status_t record_aead_decrypt(psa_key_id_t id, psa_algorithm_t alg,
                                 const uint8_t *nonce, size_t nonce_n,
                                 const uint8_t *head, size_t head_n,
                                 const uint8_t *in, size_t n,
                                 uint8_t *out, size_t room, size_t *out_n)
{
    struct key *k = key_of(id);
    int r;

    if (k == NULL)
        return psa_aead_decrypt(id, alg, nonce, nonce_n, head, head_n, in, n,
                                out, room, out_n);
    if (n < TAG)
        return PSA_ERROR_INVALID_ARGUMENT;
    n -= TAG;
    if (room < n)
        return PSA_ERROR_BUFFER_TOO_SMALL;
    r = k->alg == PSA_ALG_GCM
        ? mbedtls_gcm_auth_decrypt(&k->as.gcm, n, nonce, nonce_n, head, head_n,
                                   in + n, TAG, in, out)
        : mbedtls_chachapoly_auth_decrypt(&k->as.chacha, n, nonce, head,
                                          head_n, in + n, in, out);
    *out_n = n;
    return mbedtls_to_psa_error(r);
}

#endif
