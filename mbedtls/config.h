/* Our Mbed TLS 3.6: TLS 1.2 and 1.3 on both sides, certificates read and
   written, and nothing that these do not need. What each name means is told
   in Mbed TLS's own include/mbedtls/mbedtls_config.h. */

/* The machine. Times are needed for the validity of certificates; assembly
   and AES instructions (x86, ARMv8) are found at run time. PLATFORM_C,
   FS_IO, NET_C stay off: memory and files and sockets are the program's. */
#define MBEDTLS_HAVE_ASM
#define MBEDTLS_HAVE_TIME
#define MBEDTLS_HAVE_TIME_DATE
#define MBEDTLS_AESNI_C
#define MBEDTLS_AESCE_C

/* AES-GCM in gcm_alt.c, several times as fast. */
#if defined(__x86_64__)
#define MBEDTLS_GCM_ALT
#endif

/* Ciphers. CBC is for servers that know only the older TLS 1.2 suites. What
   is older still (3DES, RC4) or rare (CCM, ARIA, Camellia) is not here. */
#define MBEDTLS_AES_C
#define MBEDTLS_GCM_C
#define MBEDTLS_CHACHA20_C
#define MBEDTLS_POLY1305_C
#define MBEDTLS_CHACHAPOLY_C
#define MBEDTLS_CIPHER_C
#define MBEDTLS_CIPHER_MODE_CBC
#define MBEDTLS_CIPHER_PADDING_PKCS7

/* Hashes. SHA-1 is for the CBC suites and for key identifiers; certificates
   signed with it are refused all the same. */
#define MBEDTLS_MD_C
#define MBEDTLS_SHA1_C
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA384_C
#define MBEDTLS_SHA512_C
#define MBEDTLS_HKDF_C
#if defined(__aarch64__)
#define MBEDTLS_SHA256_USE_ARMV8_A_CRYPTO_IF_PRESENT
#define MBEDTLS_SHA512_USE_A64_CRYPTO_IF_PRESENT
#endif

/* Keys: P-256, P-384, P-521, X25519 and RSA. Everest's X25519 halves a TLS
   1.2 handshake on the server's side and takes a quarter off TLS 1.3's. */
#define MBEDTLS_BIGNUM_C
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_DP_SECP384R1_ENABLED
#define MBEDTLS_ECP_DP_SECP521R1_ENABLED
#define MBEDTLS_ECP_DP_CURVE25519_ENABLED
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECDH_VARIANT_EVEREST_ENABLED
#define MBEDTLS_ECDSA_C
#define MBEDTLS_RSA_C
#define MBEDTLS_PKCS1_V15
#define MBEDTLS_PKCS1_V21

/* Random numbers and PSA: TLS 1.3 computes with PSA, and its generator is
   the one that notices a fork(). Keys live in memory only (no PSA storage).
   ASSUME_EXCLUSIVE_BUFFERS: nobody else writes into our buffers during a
   call (one thread, no shared memory), so PSA need not copy them first.
   USE_PSA_CRYPTO stays off: it makes TLS 1.2 and certificates slower. */
#define MBEDTLS_ENTROPY_C
#define MBEDTLS_CTR_DRBG_C
#define MBEDTLS_PSA_CRYPTO_C
#define MBEDTLS_PSA_KEY_STORE_DYNAMIC
#define MBEDTLS_PSA_ASSUME_EXCLUSIVE_BUFFERS

/* Certificates and keys, read and written, PEM and DER. The callback finds
   a trusted CA by name instead of in a parsed list of them all. Keys under
   a pass phrase are not read: there is nobody to ask for it. */
#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_OID_C
#define MBEDTLS_BASE64_C
#define MBEDTLS_PEM_PARSE_C
#define MBEDTLS_PEM_WRITE_C
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_PK_PARSE_EC_COMPRESSED
#define MBEDTLS_PK_WRITE_C
#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_RSASSA_PSS_SUPPORT
#define MBEDTLS_X509_TRUSTED_CERTIFICATE_CALLBACK
#define MBEDTLS_X509_CREATE_C
#define MBEDTLS_X509_CRT_WRITE_C

/* TLS, both roles, both versions. Static RSA is for old servers; DHE is not
   here, its primes are the server's to choose and slow. */
#define MBEDTLS_SSL_TLS_C
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_SRV_C
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_RSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_RSA_ENABLED
#define MBEDTLS_SSL_ENCRYPT_THEN_MAC
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_SSL_PROTO_TLS1_3
#define MBEDTLS_SSL_TLS1_3_COMPATIBILITY_MODE
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ENABLED
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL_ENABLED
#define MBEDTLS_SSL_KEEP_PEER_CERTIFICATE
#define MBEDTLS_SSL_SERVER_NAME_INDICATION
#define MBEDTLS_SSL_ALPN
#define MBEDTLS_SSL_RECORD_SIZE_LIMIT
#define MBEDTLS_SSL_SESSION_TICKETS
#define MBEDTLS_SSL_TICKET_C
#define MBEDTLS_SSL_ALL_ALERT_MESSAGES

/* Early data are neither sent nor taken, but a server without this would end
   at those of a client that has a ticket from somewhere else. */
#define MBEDTLS_SSL_EARLY_DATA

/* After the handshake the buffers shrink to what was agreed on with a peer
   that asked for small records; VARIABLE_BUFFER_LENGTH rests on that. */
#define MBEDTLS_SSL_MAX_FRAGMENT_LENGTH
#define MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH

/* Names for error codes, for the log and the 502 page. */
#define MBEDTLS_ERROR_C
