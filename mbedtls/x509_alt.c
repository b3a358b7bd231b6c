/* The certificates of a handshake, read as mitmproxy.c wants them: Mbed TLS's
   TLS calls this where it would call mbedtls_x509_crt_parse_der() (build.mk
   sees to that). A critical extension that Mbed TLS does not know is no error
   here: the program looks at it when it verifies the chain, and -k is to help
   against it. What cannot be read behind the server's own certificate is left
   out, as a CA before it may be trusted. */

#include "mbedtls/x509_crt.h"

int x509_alt_parse_der(mbedtls_x509_crt *chain, const unsigned char *der,
                       size_t n);

static int any_extension(void *unused, const mbedtls_x509_crt *crt,
                         const mbedtls_x509_buf *oid, int critical,
                         const unsigned char *p, const unsigned char *end)
{
    (void)unused, (void)crt, (void)oid, (void)critical, (void)p, (void)end;
    return 0;
}

/* As mbedtls_x509_crt_parse_der(). A first certificate that is signed in a
   way that is not known would be left out by the caller, and the second one
   taken for the server's: that error is given another name. */
int x509_alt_parse_der(mbedtls_x509_crt *chain, const unsigned char *der,
                       size_t n)
{
    int first = chain->version == 0;
    int r = mbedtls_x509_crt_parse_der_with_ext_cb(chain, der, n, 1,
                                                   any_extension, NULL);

    if (r == 0 || r == MBEDTLS_ERR_X509_ALLOC_FAILED)
        return r;
    if (!first)
        return 0;
    return r <= MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG &&
           r > MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG - 0x80
           ? MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG : r;
}
