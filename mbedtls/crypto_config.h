/* The cryptography of our Mbed TLS, by the names that PSA and Mbed TLS 4 have
   for it; they are told in its psa/crypto_config.h. */

/* The machine. Times are needed for the validity of certificates; assembly
   and AES instructions (x86, ARMv8) are found at run time. PLATFORM_C,
   FS_IO, NET_C stay off: memory and files and sockets are the program's. */
#define MBEDTLS_HAVE_ASM
#define MBEDTLS_HAVE_TIME
#define MBEDTLS_HAVE_TIME_DATE
#define MBEDTLS_AESNI_C
#define MBEDTLS_AESCE_C

/* Ciphers. CBC is for servers that know only the older TLS 1.2 suites. What
   is older still (3DES, RC4) or rare (CCM, ARIA, Camellia) is not here. */
#define PSA_WANT_KEY_TYPE_AES 1
#define PSA_WANT_ALG_GCM 1
#define PSA_WANT_ALG_CBC_NO_PADDING 1
#define PSA_WANT_KEY_TYPE_CHACHA20 1
#define PSA_WANT_ALG_CHACHA20_POLY1305 1

/* Hashes. SHA-1 is for the CBC suites and for key identifiers; certificates
   signed with it are refused all the same. */
#define MBEDTLS_MD_C
#define PSA_WANT_ALG_SHA_1 1
#define PSA_WANT_ALG_SHA_256 1
#define PSA_WANT_ALG_SHA_384 1
#define PSA_WANT_ALG_SHA_512 1
#define PSA_WANT_ALG_HMAC 1
#define PSA_WANT_ALG_HKDF_EXTRACT 1
#define PSA_WANT_ALG_HKDF_EXPAND 1
#define PSA_WANT_KEY_TYPE_HMAC 1
#define PSA_WANT_KEY_TYPE_DERIVE 1
#define PSA_WANT_KEY_TYPE_RAW_DATA 1
#if defined(__aarch64__)
#define MBEDTLS_SHA256_USE_ARMV8_A_CRYPTO_IF_PRESENT
#define MBEDTLS_SHA512_USE_A64_CRYPTO_IF_PRESENT
#endif

/* Keys: P-256, P-384, P-521, X25519 and RSA. Everest's X25519 halves a TLS
   1.2 handshake on the server's side and takes a quarter off TLS 1.3's. */
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECDH_VARIANT_EVEREST_ENABLED
#define PSA_WANT_ECC_SECP_R1_256 1
#define PSA_WANT_ECC_SECP_R1_384 1
#define PSA_WANT_ECC_SECP_R1_521 1
#define PSA_WANT_ECC_MONTGOMERY_255 1
#define PSA_WANT_ALG_ECDH 1
#define PSA_WANT_ALG_ECDSA 1
#define PSA_WANT_KEY_TYPE_ECC_PUBLIC_KEY 1
#define PSA_WANT_KEY_TYPE_ECC_KEY_PAIR_BASIC 1
#define PSA_WANT_KEY_TYPE_ECC_KEY_PAIR_IMPORT 1
#define PSA_WANT_KEY_TYPE_ECC_KEY_PAIR_EXPORT 1
#define PSA_WANT_KEY_TYPE_ECC_KEY_PAIR_GENERATE 1
#define PSA_WANT_ALG_RSA_PKCS1V15_CRYPT 1
#define PSA_WANT_ALG_RSA_PKCS1V15_SIGN 1
#define PSA_WANT_ALG_RSA_PSS 1
#if defined(TF_PSA_CRYPTO_VERSION_NUMBER)  /* 4: TLS 1.2 wants the first, ... */
#define PSA_WANT_ALG_TLS12_PRF 1
#define PSA_WANT_ALG_RSA_OAEP 1           /* ... RSA-PSS in X.509 the other */
#endif
#define PSA_WANT_KEY_TYPE_RSA_PUBLIC_KEY 1
#define PSA_WANT_KEY_TYPE_RSA_KEY_PAIR_BASIC 1
#define PSA_WANT_KEY_TYPE_RSA_KEY_PAIR_IMPORT 1
#define PSA_WANT_KEY_TYPE_RSA_KEY_PAIR_EXPORT 1
#define PSA_WANT_KEY_TYPE_RSA_KEY_PAIR_GENERATE 1

/* For `make static`: less code and fewer tables, and half the speed of what
   has no instructions of its own. */
#if defined(MITM_SMALL)
#define MBEDTLS_SHA256_SMALLER
#define MBEDTLS_SHA512_SMALLER
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_AES_FEWER_TABLES
#endif

/* Random numbers and PSA: TLS 1.3 computes with PSA, and its numbers come from
   getrandom.c. Keys live in memory only (no PSA storage).
   ASSUME_EXCLUSIVE_BUFFERS: nobody else writes into our buffers during a
   call (one thread, no shared memory), so PSA need not copy them first. */
#define MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG
#define MBEDTLS_PSA_CRYPTO_C
#define MBEDTLS_PSA_KEY_STORE_DYNAMIC
#define MBEDTLS_PSA_ASSUME_EXCLUSIVE_BUFFERS

/* Keys and certificates in PEM and DER. Keys under a pass phrase are not
   read: there is nobody to ask for it. */
#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_BASE64_C
#define MBEDTLS_PEM_PARSE_C
#define MBEDTLS_PEM_WRITE_C
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_PK_PARSE_EC_COMPRESSED
#define MBEDTLS_PK_WRITE_C
