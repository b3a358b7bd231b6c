/* gcm_alt.h: the context of AES-GCM, as <mbedtls/gcm.h> wants it where
   MBEDTLS_GCM_ALT is defined. gcm_alt.c tells the rest. */

/* The size of gcm.c's table H, whose middle is the hash key. */
#define MBEDTLS_GCM_HTABLE_SIZE 16

typedef struct mbedtls_gcm_context {
    /* What gcm.c's own context holds, under the same names. */
    mbedtls_cipher_context_t MBEDTLS_PRIVATE(cipher_ctx);
    uint64_t MBEDTLS_PRIVATE(H)[MBEDTLS_GCM_HTABLE_SIZE][2];
    uint64_t MBEDTLS_PRIVATE(len), MBEDTLS_PRIVATE(add_len);
    unsigned char MBEDTLS_PRIVATE(base_ectr)[16];
    unsigned char MBEDTLS_PRIVATE(y)[16];       /* the counter */
    unsigned char MBEDTLS_PRIVATE(buf)[16];     /* the hash so far */
    unsigned char MBEDTLS_PRIVATE(mode), MBEDTLS_PRIVATE(acceleration);

    /* And ours: the hash key to the powers 1 to 8, and for each power the
       sum of its halves; whether they are there, and the processor able. */
    unsigned char MBEDTLS_PRIVATE(powers)[8][16], MBEDTLS_PRIVATE(sums)[8][8];
    unsigned char MBEDTLS_PRIVATE(fast);
} mbedtls_gcm_context;
