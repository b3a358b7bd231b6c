/* Read before Mbed TLS's ssl_tls13_client.c. Servers may call a ticket good for
   longer than the week of RFC 8446, 4.6.1 (OpenSSL before 3.0.3 does, for nginx
   with a long ssl_session_timeout), which is no reason to end the connection,
   as Mbed TLS does. Here tickets are kept for a day. */

#include "ssl_misc.h"
#undef MBEDTLS_SSL_TLS1_3_MAX_ALLOWED_TICKET_LIFETIME
#define MBEDTLS_SSL_TLS1_3_MAX_ALLOWED_TICKET_LIFETIME UINT32_MAX
