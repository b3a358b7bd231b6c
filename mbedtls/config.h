/* Our Mbed TLS, 3.6 or 4: TLS 1.2 and 1.3 on both sides, certificates read
   and written, and nothing that these do not need. The cryptography is in
   crypto_config.h. What each name means is told in Mbed TLS's own
   include/mbedtls/mbedtls_config.h. */

/* What 4 has not, or always has. USE_PSA_CRYPTO stays off: it makes TLS 1.2
   and certificates slower. Static RSA is for old servers. */
#if MBEDTLS_VERSION_MAJOR < 4
#define MBEDTLS_PSA_CRYPTO_CONFIG
#define MBEDTLS_PSA_CRYPTO_CONFIG_FILE "mbedtls/crypto_config.h"
#define MBEDTLS_CIPHER_C
#define MBEDTLS_OID_C
#define MBEDTLS_KEY_EXCHANGE_RSA_ENABLED
#endif

/* Certificates, read, and written for the tests. */
#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_RSASSA_PSS_SUPPORT
#define MBEDTLS_X509_CREATE_C
#define MBEDTLS_X509_CRT_WRITE_C

/* TLS, both roles, both versions. DHE is not here, its primes are the
   server's to choose and slow. */
#define MBEDTLS_SSL_TLS_C
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_SRV_C
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_RSA_ENABLED
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

/* Servers that ask for a client's certificate late do it by renegotiation. */
#define MBEDTLS_SSL_RENEGOTIATION

/* Early data are neither sent nor taken, but a server without this would end
   at those of a client that has a ticket from somewhere else. */
#define MBEDTLS_SSL_EARLY_DATA

/* After the handshake the buffers shrink to what was agreed on with a peer
   that asked for small records; VARIABLE_BUFFER_LENGTH rests on that, and
   tls_alt.c on the lengths that it keeps. */
#define MBEDTLS_SSL_MAX_FRAGMENT_LENGTH
#define MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH

/* Names for error codes, for the log and the 502 page. */
#define MBEDTLS_ERROR_C
