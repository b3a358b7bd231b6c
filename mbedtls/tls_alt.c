/* What Mbed TLS's TLS cannot do, and mitmproxy.c needs: certificates with
   critical extensions, handshakes in small records, KeyUpdate, sessions that
   take little while they rest, and records that are not copied about. */

#include "ssl_misc.h"
#include "ssl_tls13_keys.h"
#include "mbedtls/platform.h"
#include "mbedtls/platform_util.h"
#if MBEDTLS_VERSION_MAJOR < 4
#include "mbedtls/oid.h"
#define UNKNOWN_SIGNATURE \
    (MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG + MBEDTLS_ERR_OID_NOT_FOUND)
#define WITH_RANDOM , ssl->conf->f_rng, ssl->conf->p_rng
#else
#define WITH_RANDOM
#define UNKNOWN_SIGNATURE MBEDTLS_ERR_X509_UNKNOWN_OID
#endif

/* ---- certificates ----
   The certificates of a handshake, read as mitmproxy.c wants them: Mbed TLS's
   TLS calls this where it would call mbedtls_x509_crt_parse_der() (build.mk
   sees to that). A critical extension that Mbed TLS does not know is no error
   here: the program looks at it when it verifies the chain, and -k is to help
   against it. What cannot be read behind the server's own certificate is left
   out, as a CA before it may be trusted. */

int tls_alt_parse_der(mbedtls_x509_crt *chain, const unsigned char *der,
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
int tls_alt_parse_der(mbedtls_x509_crt *chain, const unsigned char *der,
                       size_t n)
{
    int first = chain->version == 0;
    int r = mbedtls_x509_crt_parse_der_with_ext_cb(chain, der, n, 1,
                                                   any_extension, NULL);

    if (r == 0 || r == MBEDTLS_ERR_X509_ALLOC_FAILED)
        return r;
    if (!first)
        return 0;
    return r == UNKNOWN_SIGNATURE ? MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG : r;
}

/* ---- small records ----
   A client with little memory asks for records of 512 bytes, say (RFC 6066, 4;
   RFC 8449), Mbed TLS agrees, and then cuts data so, but no message of the
   handshake. Its servers call these two for such messages (build.mk sees to
   that). */

int tls_alt_write_msg(mbedtls_ssl_context *ssl, int sum, int flush);
int tls_alt_finish_msg(mbedtls_ssl_context *ssl, size_t room, size_t n);

/* As mbedtls_ssl_write_handshake_msg_ext(). */
int tls_alt_write_msg(mbedtls_ssl_context *ssl, int sum, int flush)
{
    size_t n = ssl->out_msglen, most, at;
    int r = mbedtls_ssl_get_max_out_record_payload(ssl);
    unsigned char *msg;

    if (r <= 0 || n <= (size_t)r)
        return mbedtls_ssl_write_handshake_msg_ext(ssl, sum, flush);
    most = (size_t)r;
    msg = mbedtls_calloc(1, n);
    if (msg == NULL)
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    memcpy(msg, ssl->out_msg, n);
    MBEDTLS_PUT_UINT24_BE(n - 4, msg, 1);
    r = sum ? ssl->handshake->update_checksum(ssl, msg, n) : 0;
    for (at = 0; r == 0 && at < n; at += most) {
        ssl->out_msgtype = MBEDTLS_SSL_MSG_HANDSHAKE;
        ssl->out_msglen = n - at < most ? n - at : most;
        memcpy(ssl->out_msg, msg + at, ssl->out_msglen);
        r = mbedtls_ssl_write_record(ssl, 1);
    }
    mbedtls_free(msg);
    return r;
}

/* As mbedtls_ssl_finish_handshake_msg(). */
int tls_alt_finish_msg(mbedtls_ssl_context *ssl, size_t room, size_t n)
{
    (void)room;
    ssl->out_msglen = n + 4;
    return tls_alt_write_msg(ssl, 0, 0);
}

/* ---- KeyUpdate ----
   KeyUpdate of TLS 1.3 (RFC 8446, 4.6.3), which Mbed TLS takes for an error:
   a peer goes on with new keys, after much data or when it likes, and may ask
   for the same of us. Java does so by itself. The keys are made by the same
   functions of Mbed TLS that made those of the handshake. */

int tls_alt_key_update(mbedtls_ssl_context *ssl);

enum { KEY_UPDATE = 24, LENGTH = 5 };   /* its type, and all its bytes */

/* Where the secret is from which a side's keys are made. */
static unsigned char *secret_of(mbedtls_ssl_context *ssl, int endpoint)
{
    mbedtls_ssl_tls13_application_secrets *s = &ssl->session->app_secrets;

    return endpoint == MBEDTLS_SSL_IS_CLIENT
           ? s->client_application_traffic_secret_N
           : s->server_application_traffic_secret_N;
}

/* Gives the transform that is in use the keys of another in one direction; the
   other one has the old ones then. */
static void keys_swap(mbedtls_ssl_transform *t, mbedtls_ssl_transform *other,
                      int inbound)
{
    mbedtls_ssl_transform old = *t;

#define SWAP(to, from, field) \
    memcpy(&(to)->field, &(from)->field, sizeof (to)->field)
#if MBEDTLS_VERSION_MAJOR >= 4
#define KEY(direction) psa_key_ ## direction
#else
#define KEY(direction) cipher_ctx_ ## direction
#endif
    if (inbound) {
        SWAP(t, other, KEY(dec));
        SWAP(t, other, iv_dec);
        SWAP(other, &old, KEY(dec));
        SWAP(other, &old, iv_dec);
    } else {
        SWAP(t, other, KEY(enc));
        SWAP(t, other, iv_enc);
        SWAP(other, &old, KEY(enc));
        SWAP(other, &old, iv_enc);
    }
    mbedtls_platform_zeroize(&old, sizeof old);
}

/* The next keys in one direction. 0 or an error, after which the connection
   is of no use. */
static int keys_renew(mbedtls_ssl_context *ssl, int inbound)
{
    const mbedtls_ssl_ciphersuite_t *suite =
        mbedtls_ssl_ciphersuite_from_id(ssl->session->ciphersuite);
    psa_algorithm_t hash, alg;
    psa_key_type_t type;
    size_t len, bits;
    mbedtls_ssl_key_set keys;
    mbedtls_ssl_transform next;
    unsigned char *secret = secret_of(ssl, inbound ? !ssl->conf->endpoint
                                                   : ssl->conf->endpoint);
    unsigned char made[MBEDTLS_TLS1_3_MD_MAX_SIZE];
    int r;

    mbedtls_ssl_transform_init(&next);
    hash = mbedtls_md_psa_alg_from_type((mbedtls_md_type_t)suite->mac);
    len = PSA_HASH_LENGTH(hash);
    r = mbedtls_ssl_tls13_hkdf_expand_label(
        hash, secret, len, MBEDTLS_SSL_TLS1_3_LBL_WITH_LEN(traffic_upd), NULL,
        0, made, len);
    if (r == 0) {
        memcpy(secret, made, len);
        r = mbedtls_ssl_cipher_to_psa((mbedtls_cipher_type_t)suite->cipher,
                                      16, &alg, &type, &bits) == PSA_SUCCESS
            ? 0 : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    if (r == 0)
        r = mbedtls_ssl_tls13_make_traffic_keys(
            hash, secret_of(ssl, MBEDTLS_SSL_IS_CLIENT),
            secret_of(ssl, MBEDTLS_SSL_IS_SERVER), len,
            PSA_BITS_TO_BYTES(bits), 12, &keys);
    if (r == 0)
        r = mbedtls_ssl_tls13_populate_transform(
            &next, ssl->conf->endpoint, ssl->session->ciphersuite, &keys, ssl);
    if (r == 0) {
        keys_swap(ssl->transform_application, &next, inbound);
        if (inbound)                    /* the records' count begins anew */
            mbedtls_ssl_set_inbound_transform(ssl, ssl->transform_application);
        else
            mbedtls_ssl_set_outbound_transform(ssl,
                                               ssl->transform_application);
    }
    mbedtls_ssl_transform_free(&next);
    mbedtls_platform_zeroize(made, sizeof made);
    mbedtls_platform_zeroize(&keys, sizeof keys);
    return r;
}

/* To be called when mbedtls_ssl_read() has returned UNEXPECTED_MESSAGE. 0: that
   was a KeyUpdate, which has been done, and answered if that was asked for; to
   be read on. Otherwise what is to be said of it. */
int tls_alt_key_update(mbedtls_ssl_context *ssl)
{
    const unsigned char *msg = ssl->in_msg;
    int r;

    if (ssl->tls_version != MBEDTLS_SSL_VERSION_TLS1_3 ||
        ssl->in_msgtype != MBEDTLS_SSL_MSG_HANDSHAKE || msg[0] != KEY_UPDATE ||
        ssl->in_hslen != LENGTH || ssl->in_msglen != LENGTH || msg[4] > 1)
        return MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE;
    r = keys_renew(ssl, 1);
    if (r != 0 || msg[4] == 0)
        return r;
    ssl->out_msgtype = MBEDTLS_SSL_MSG_HANDSHAKE;
    ssl->out_msglen = LENGTH;
    memcpy(ssl->out_msg, "\x18\0\0\1\0", LENGTH);
    r = mbedtls_ssl_write_record(ssl, 1);
    return r != 0 ? r : keys_renew(ssl, 0);
}

/* ---- rest ----
   A session that waits for a record has nothing in its buffers but that record's
   number (RFC 8446, 5.3); and Mbed TLS keeps TLS 1.3's handshake, of which only
   a ticket still wants that it is there. So the buffers are lent to sessions
   while something passes, and one that rests takes 3 KB, not 40. */

void tls_alt_rest(mbedtls_ssl_context *ssl, unsigned char number[8]);
int tls_alt_wake(mbedtls_ssl_context *ssl, const unsigned char number[8]);

enum { SPARE = 4,       /* buffers kept: for both ways of both ends of a flow */
       BUFFER = MBEDTLS_SSL_IN_BUFFER_LEN > MBEDTLS_SSL_OUT_BUFFER_LEN ?
                MBEDTLS_SSL_IN_BUFFER_LEN : MBEDTLS_SSL_OUT_BUFFER_LEN };
static unsigned char *spare[SPARE];
static int spares;

/* A buffer of BUFFER bytes, or NULL. */
static unsigned char *buffer_take(void)
{
    return spares > 0 ? spare[--spares] : mbedtls_calloc(1, BUFFER);
}

/* Gives one of n bytes back, whose owner has no other name for it then. */
static void buffer_give(unsigned char **buf, size_t n)
{
    if (spares < SPARE && n == BUFFER)
        spare[spares++] = *buf;
    else {
        mbedtls_platform_zeroize(*buf, n);
        mbedtls_free(*buf);
    }
    *buf = NULL;
}

/* Lets a session rest: of all calls it takes tls_alt_wake() and
   mbedtls_ssl_free() alone then, and number is the caller's to keep. One that
   has a part of a record, or of a handshake, stays as it is. */
void tls_alt_rest(mbedtls_ssl_context *ssl, unsigned char number[8])
{
    mbedtls_ssl_handshake_params *h = ssl->handshake;

    if (ssl->in_buf == NULL || ssl->state != MBEDTLS_SSL_HANDSHAKE_OVER ||
        ssl->in_left > 0 || ssl->out_left > 0 ||
        mbedtls_ssl_check_pending(ssl) || ssl->in_hdr != ssl->in_buf + 8)
        return;
    if (h != NULL && h->update_checksum != NULL)
        mbedtls_ssl_handshake_free(ssl); /* but for its 2 KB, which are 0 now */
    memcpy(number, ssl->in_ctr, 8);
    buffer_give(&ssl->in_buf, ssl->in_buf_len);
    buffer_give(&ssl->out_buf, ssl->out_buf_len);
}

/* Ends a session's rest, if it does. 0, or there is no memory: it goes on. */
int tls_alt_wake(mbedtls_ssl_context *ssl, const unsigned char number[8])
{
    unsigned char *in, *out;

    if (ssl->in_buf != NULL)
        return 0;
    in = buffer_take();
    out = buffer_take();
    if (in == NULL || out == NULL) {
        if (in != NULL)
            buffer_give(&in, BUFFER);
        if (out != NULL)
            buffer_give(&out, BUFFER);
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    }
    ssl->in_buf = in;
    ssl->out_buf = out;
    ssl->in_buf_len = ssl->out_buf_len = BUFFER;
    mbedtls_ssl_reset_in_pointers(ssl);
    mbedtls_ssl_reset_out_pointers(ssl);
    if (ssl->tls_version == MBEDTLS_SSL_VERSION_TLS1_2)
        mbedtls_ssl_update_out_pointers(ssl, ssl->transform_out);
    memcpy(ssl->in_ctr, number, 8);
    return 0;
}

/* ---- records ----
   Application data, the bulk of what passes, without a stay in Mbed TLS's own
   buffers: a record is opened where its bytes are wanted, and sealed where it
   is sent from, which saves copying each byte three times. Other records, and
   what is wrong with one, are left to mbedtls_ssl_read() and _write(), which
   find all as if nobody had looked. */

int tls_alt_open(mbedtls_ssl_context *ssl, const unsigned char *wire, size_t n,
                 unsigned char *out);
size_t tls_alt_seal(mbedtls_ssl_context *ssl, const unsigned char *data,
                    size_t *n, unsigned char *wire, size_t room);

enum { HEADER = 5 };                    /* type, version, length of a record */

/* Whether nothing but application data is expected of either side. */
static int is_settled(const mbedtls_ssl_context *ssl)
{
    return ssl->state == MBEDTLS_SSL_HANDSHAKE_OVER &&
           (ssl->renego_status == MBEDTLS_SSL_INITIAL_HANDSHAKE ||
            ssl->renego_status == MBEDTLS_SSL_RENEGOTIATION_DONE);
}

/* Counts a record (RFC 8446, 5.3). */
static void count(unsigned char number[8])
{
    for (int i = 8; i > 0 && ++number[i - 1] == 0;)
        i--;
}

/* Opens the record that begins at wire, where n bytes are, into out, which has
   room for it if it is whole. How many bytes of application data that gave; 0:
   the record is for mbedtls_ssl_read(); -1: the rest of it is to be waited
   for. */
int tls_alt_open(mbedtls_ssl_context *ssl, const unsigned char *wire, size_t n,
                 unsigned char *out)
{
    mbedtls_record rec = { .buf = out, .type = MBEDTLS_SSL_MSG_APPLICATION_DATA,
                           .ver = { 3, 3 } };

    if (n < HEADER || wire[0] != rec.type || memcmp(wire + 1, rec.ver, 2) != 0)
        return 0;
    rec.buf_len = rec.data_len = MBEDTLS_GET_UINT16_BE(wire, 3);
    if (!is_settled(ssl) || ssl->transform_in == NULL || ssl->in_left > 0 ||
        ssl->in_offt != NULL || ssl->in_hslen > 0 || ssl->keep_current_message ||
        rec.data_len > MBEDTLS_SSL_IN_PAYLOAD_LEN)
        return 0;
    if (n < HEADER + rec.data_len)
        return -1;
    memcpy(rec.ctr, ssl->in_ctr, sizeof rec.ctr);
    memcpy(out, wire + HEADER, rec.data_len);
    if (mbedtls_ssl_decrypt_buf(ssl, ssl->transform_in, &rec) != 0 ||
        rec.type != MBEDTLS_SSL_MSG_APPLICATION_DATA ||
        rec.data_len > MBEDTLS_SSL_IN_CONTENT_LEN)
        return 0;
    if (rec.data_len > 0) {             /* else its kind is counted, too */
        ssl->nb_zero = 0;
        count(ssl->in_ctr);
    }
    if (rec.data_offset > 0)
        memmove(out, out + rec.data_offset, rec.data_len);
    return (int)rec.data_len;
}

/* Seals as many of the *n bytes at data as one record takes, which is written
   to wire, where room is. Its length, and in *n, how many these are; 0: they
   are for mbedtls_ssl_write(). */
size_t tls_alt_seal(mbedtls_ssl_context *ssl, const unsigned char *data,
                    size_t *n, unsigned char *wire, size_t room)
{
    int most = mbedtls_ssl_get_max_out_record_payload(ssl);
    mbedtls_record rec = { .buf = wire + HEADER, .buf_len = room - HEADER,
                           .data_offset = (size_t)(ssl->out_msg - ssl->out_iv),
                           .type = MBEDTLS_SSL_MSG_APPLICATION_DATA,
                           .ver = { 3, 3 } };

    if (!is_settled(ssl) || ssl->transform_out == NULL || ssl->out_left > 0 ||
        most <= 0)
        return 0;
    rec.data_len = *n < (size_t)most ? *n : (size_t)most;
    if (rec.buf_len < rec.data_offset + rec.data_len)
        return 0;
    memcpy(rec.ctr, ssl->cur_out_ctr, sizeof rec.ctr);
    memcpy(rec.buf + rec.data_offset, data, rec.data_len);
    *n = rec.data_len;
    if (mbedtls_ssl_encrypt_buf(ssl, ssl->transform_out, &rec WITH_RANDOM) != 0)
        return 0;
    count(ssl->cur_out_ctr);
    wire[0] = rec.type;
    memcpy(wire + 1, rec.ver, 2);
    MBEDTLS_PUT_UINT16_BE(rec.data_len, wire, 3);
    return HEADER + rec.data_len;
}
