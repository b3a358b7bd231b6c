/* mitmproxy.c - an intercepting proxy that pipes HTTP through any command

   It stands between a client and a server, opens the TLS between them with
   a certificate of its own making, and gives every message to a filter:

       mitmproxy --response 'sed s/cloud/clown/g'

   What a filter prints goes on in the message's place. What no filter
   touched goes on exactly as it came, byte for byte.

   One direction of a flow looks like this, and the other is its mirror:

     from.fd                                                      to.fd
        |                                                           ^
        v                                                           |
     wire_in -> TLS -> in -> framing -> filters -> framing -> out -> TLS
                opens        finds the  stdin to   mends the  |     seals
                             message    stdout     message    -> wire_out

   Each arrow moves bytes from one buffer to the next while there is room,
   and that is all the flow control there is: a full buffer is not read
   into, and so a slow reader slows its writer and nobody else.

   Sections, bottom-up: what a function calls stands above it.
      1 platform and limits     10 ends                   19 targets
      2 types                   11 known servers          20 exchanges
      3 utilities               12 children               21 SOCKS
      4 buffers                 13 helpers                22 servers
      5 log                     14 HTTP framing           23 messages
      6 sockets                 15 other parsers          24 WebSocket
      7 capture                 16 match expressions      25 flows
      8 certificates            17 options                26 loop
      9 TLS sessions            18 filters                27 main

   The way of one request, as curl sends it for an https URL:
     26 run_loop() hears of a connection, accept_new() takes it, and
     25 flow_new() makes a flow. In each turn in which something came,
     26 flow_go() has
     10 end_read() fill the end's wire_in, and calls
     25 flow_step() until nothing moves. What came first is an HTTP head:
     23 read_head() finds its end, by
     14 head_more(), and
     23 request_begin() sees CONNECT: tunnel_begin() answers 200. Then comes a
        ClientHello, which
     25 tunnel_hello() reads, by
     15 hello_parse(), and does not answer yet;
     19 server_want() says whose certificate must be seen for that:
     22 server_lookup(), server_connect(), server_tls(), server_verify().
     25 tunnel_server() takes a leaf with the server's names from
     11 known_leaf(), and
     10 tls_shake() answers the client with it.
     24 flow_relay() then steps two readers and two writers. What is read is
     23 read_head()'s and request_begin()'s again, now for the GET;
        reader_filter() gives it a chain, if a filter is for it, and
        reader_body() fills that, or else the server's end as it is.
     26 start_filters() starts the chain's commands, by
     18 run_start() and
     12 spawn_piped();
     26 children_move() and
     18 run_read() collect what they print.
     23 write_print() finds a head in it, which is mended where its length
        demands; write_body() lets the rest follow, to
     10 end_flush().
     24 exchange_end() begins the next exchange, once the answer has come by the
        other reader and writer in the same way;
     20 exchange_tell() writes a line about this one.
     26 flow_settle() lets go of a flow that is over, by
     25 flow_free().

   To learn how it works, read 2, 27, 26, 25, 23 and 18, in that order; then 22
   and 19, how a server is reached, 10 and 9, how TLS is opened, 11 and 8, what
   certificates are shown. */

/* ==== 1 platform and limits =============================================
   Headers, what differs between processors and versions of Mbed TLS, and
   every bound on bytes, seconds and counts. Limit: Linux. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pwd.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mbedtls/asn1write.h>
#include <mbedtls/base64.h>
#include <mbedtls/constant_time.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>

/* Mbed TLS 3.6 has to be told of PSA's random numbers; 4 has no others. */
#if MBEDTLS_VERSION_MAJOR < 4
#define WITH_RANDOM , mbedtls_psa_get_random, NULL
#define TICKETS_BY mbedtls_psa_get_random, NULL, MBEDTLS_CIPHER_AES_256_GCM
#else
#define WITH_RANDOM
#define TICKETS_BY PSA_ALG_GCM, PSA_KEY_TYPE_AES, 256
#endif

/* Mbed TLS 3.6.6 and 4.1.0: a client that has offered TLS 1.3, too, takes no
   RSA-PSS signature from a server of TLS 1.2 (their issue 10668). */
enum { PSS_BUG = MBEDTLS_VERSION_NUMBER == 0x03060600 ||
                 MBEDTLS_VERSION_NUMBER == 0x04010000 };

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

/* netfilter's SO_ORIGINAL_DST, which has this number for IPv6, too. */
enum { ORIGINAL_DST = 80 };

#define VERSION "0.1"

#define PRINTF(a, b) __attribute__((format(printf, a, b)))

enum {
    MAX_HEAD = 64 << 10,    /* bytes of a head, its empty line included */
    MAX_HOLD = 1 << 20,     /* bytes held back to learn a length, or kept */
    MAX_WHOLE = 16 << 20,   /* bytes of a message for a coprocess */
    MAX_WAITING = 256 << 20, /* of all that wait for one, or 1/4 of memory */
    MAX_BUF = 64 << 10,     /* a buffer with as much in it is full */
    MAX_RECORD = 16 << 10,  /* bytes of data in a TLS record, and at most ... */
    MORE_RECORD = 128,      /* ... around these: header, IV, MAC, padding */
    MAX_LOG = 1 << 20,      /* bytes of log that wait for a slow reader */
    MAX_HELLO = 32 << 10,   /* bytes of a ClientHello */
    MAX_EARLY = 1 << 20,    /* bytes of early data that are passed over */
    MAX_SLOW = 4 << 10,     /* bytes of a text that a slow regex looks at */
    MAX_EXPONENT = 64,      /* bits of an RSA key's public exponent */
    MAX_HOST = 255,         /* characters of a host name */
    MAX_KNOWN = 512,        /* servers whose leaf and session are kept */
    MAX_RESOLVERS = 32,     /* names looked up at once, half for a client */
    MAX_ADDRS = 8,          /* addresses tried of one name */
    MAX_CHAIN = 8,          /* filters a direction */
    READ_SIZE = 16 << 10,   /* bytes asked of the kernel at once ... */
    BULK_SIZE = 256 << 10,  /* ... from a peer that has sent as many ... */
    SHARED_SIZE = 64 << 10, /* ... and that while others converse */
    MAX_PINNED = 256,       /* clients and names kept for --pass-pinned */
    SHOWN = 100,            /* bytes of a message that are printed */
    PACE = 1 << 10,         /* bytes a second: slower peers may lose a filter */
    FEW_TICKETS = 2,        /* of a server's connection that are kept */
    FEW = 64,               /* flows that are looked at in each turn */
    SHARE = 16,             /* flows to each turn between two that look at all:
                               LOOK alone is over in every one on a busy CPU */
    ACCEPTS = 16,           /* clients accepted in one turn */
    MAX_FDS = 1 << 20,      /* descriptors */
    FD_RESERVE = 4 * ACCEPTS /* descriptors kept for servers and filters */
};

static const double         /* seconds: */
    AWAKE = 0.1,            /* for which a flow counts as awake */
    LOOK = 1e-5,            /* between two turns that look at all, for each
                               flow: a tenth of a busy proxy's time */
    SHAKING = 0.01,         /* of one turn, for handshakes */
    LINGER = 0.1,           /* until a peer is asked again if it has got all */
    IDLE = 5,               /* after which a client has to make room */
    GIVES_WAY = 3,          /* after which a look-up has to make room */
    PATIENCE = 1;           /* for which a PING waits behind a message */

/* The year of this version: a clock before it, as a router's, was not set. */
static const time_t EARLIEST = 1767225600;      /* 2026-01-01 */

/* What a flow may wait for, and for how many seconds. The names are those
   that the log and the 502 page use. -DSECOND=0.01 makes tests quick. */
#ifndef SECOND
#define SECOND 1.0
#endif
enum wait {
    WAIT_PROXIED, WAIT_FIRST, WAIT_SILENT, WAIT_HELLO, WAIT_LOOKUP,
    WAIT_CONNECT, WAIT_CONNECT_MORE, WAIT_PROXY, WAIT_SERVER_TLS,
    WAIT_CLIENT_TLS,
    WAIT_HEAD, WAIT_IDLE, WAIT_ANSWER, WAIT_BODY, WAIT_STREAM, WAIT_CLOSE,
    WAIT_KILL, WAIT_FINISH, WAIT_PAUSE, WAIT_PERSON, WAIT_UNCLEAR, WAIT_TAKE
};
static const struct { double seconds; const char *what; } waits[] = {
    [WAIT_PROXIED]      = { 10, "the header of --proxy-protocol" },
    [WAIT_FIRST]        = { 60, "the client's first byte" },
    [WAIT_SILENT]       = { 0.5, "the client or the server to speak" },
    [WAIT_HELLO]        = { 20, "the rest of the ClientHello" },
    [WAIT_LOOKUP]       = { 20, "the server's address" },
    [WAIT_CONNECT]      = { 20, "the server to accept the connection" },
    [WAIT_CONNECT_MORE] = { 4, "the server's first address" },
    [WAIT_PROXY]        = { 20, "the upstream proxy to open a tunnel" },
    [WAIT_SERVER_TLS]   = { 20, "the server's TLS handshake" },
    [WAIT_CLIENT_TLS]   = { 20, "the client's TLS handshake" },
    [WAIT_HEAD]         = { 60, "the rest of a request's head" },
    [WAIT_IDLE]         = { 300, "the next request" },
    [WAIT_ANSWER]       = { 900, "the server's answer" },
    [WAIT_BODY]         = { 300, "more of a message" },
    [WAIT_STREAM]       = { 7200, "more of a stream" },
    [WAIT_CLOSE]        = { 5, "the client to close" },
    [WAIT_KILL]         = { 2, "a filter to heed SIGTERM" },
    [WAIT_FINISH]       = { 5, "running messages to finish" },
    [WAIT_PAUSE]        = { 30, "a coprocess that keeps dying" },
    [WAIT_PERSON]       = { 1e9, "a filter that may take for ever" },
    [WAIT_UNCLEAR]      = { 5, "more of an answer whose end is not clear" },
    [WAIT_TAKE]         = { 120, "a peer that keeps a filter from others" }
};

/* Whether the processor computes AES, and Mbed TLS lets it: then AES-GCM is
   several times faster than ChaCha20, and otherwise as much slower. */
static int cpu_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    static unsigned a, b, c, d;     /* __builtin_cpu_supports() is 5 KB */

    return (c != 0 || __get_cpuid(1, &a, &b, &c, &d)) && (c & bit_AES) != 0;
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & 1 << 3) != 0;
#elif defined(__arm__) && __ARM_ARCH >= 8 /* else Mbed TLS has no code */
    return (getauxval(AT_HWCAP2) & 1) != 0;
#else
    return 0;
#endif
}

/* ==== 2 types ===========================================================
   What flows is a struct buf; what it flows along is a struct flow: two ends,
   two readers, two writers. A fact is held once, where it arises. Limit: all
   but struct known is one flow's. */

/* Bytes on their way: those of data from start on, len of them. */
struct buf {
    unsigned char *data;
    size_t start, len, cap;
};

/* A piece of a buffer, in which it stays when that grows and moves. */
struct span { size_t at, len; };

/* How the body of a message is framed (RFC 9112, 6.3). */
enum framing { NO_BODY, BY_LENGTH, CHUNKED, UNTIL_CLOSE };

/* A body being read, and the place within chunked coding (RFC 9112, 7.1). */
struct body {
    enum framing framing;
    enum {
        CHUNK_SIZE,         /* waits for the first digit of a size */
        CHUNK_DIGITS,       /* waits for the size's next digit or its end */
        CHUNK_PAD,          /* waits for what follows space behind it */
        CHUNK_EXT,          /* waits for the end of the size's line */
        CHUNK_DATA,         /* waits for left more bytes of data */
        CHUNK_END,          /* waits for the line end behind the data */
        TRAILER_START,      /* waits for a trailer line or the empty line */
        TRAILER_LINE        /* waits for the end of a trailer line */
    } step;
    bool cr;                /* CR has come, and LF must follow */
    uint64_t left;          /* of BY_LENGTH, or of the chunk */
    bool strict;            /* only CRLF ends a line, and there is no trailer */
    bool begun, done;       /* some bytes of the body have come; all have */
};

/* A message's head: where its parts are, and what frames its body. */
struct head {
    size_t len;             /* all of it, empty line included */
    size_t lead;            /* empty lines before it: bytes */
    size_t at;              /* what lies before has been read, as lines */
    size_t seen;            /* at or behind it: between them no line ends */
    size_t fields;          /* where the first field line begins */
    bool frames;            /* the last field frames: obs-fold is unclear */
    struct span method, target; /* of a request */
    int status;             /* of a response; 0: this is a request */
    int minor;              /* of HTTP/1.minor */
    bool has_length;        /* Content-Length is there ... */
    uint64_t length;        /* ... with this value */
    bool coded, chunked;    /* Transfer-Encoding is there; it ends in chunked */
    bool expect;            /* Expect: 100-continue, or a fold of that */
    bool upgrade, websocket; /* Upgrade is there; it names websocket */
    bool h2c, h2c_alone;    /* Upgrade names h2c; it names nothing else */
    bool close, keep_alive; /* options of Connection; close is stronger */
    const char *unclear;    /* why nobody can tell where the body ends */
    struct span host, type, coding; /* values of Host, Content-Type, Content-
                               Encoding (or a Transfer-Encoding like that) */
};

/* The head of a WebSocket frame (RFC 6455, 5.2). */
struct frame {
    bool fin;               /* the last of its message */
    unsigned char reserved; /* RSV1 to RSV3, which only extensions set */
    unsigned char opcode;   /* 0 continues, 1 text, 2 binary; from 8: control */
    unsigned char mask[4];  /* 0 0 0 0: none, or one that does nothing */
    uint64_t length;        /* of the payload behind */
};

/* One direction's frames being read: the place within a message. */
struct frames {
    struct frame frame;     /* the one under way, or the last */
    uint64_t left;          /* bytes of the frame yet to come, head included */
    bool open;              /* the message goes on in another frame */
    unsigned char opcode;   /* the message's: that of its first frame */
    uint64_t length;        /* the message's payload in all frames so far */
    const char *wrong;      /* why no filter can get the message, or NULL */
};

/* Where a request goes. A flow has five targets, each a copy of the one before
   unless the reason named here makes it another:

     flow.home      where the client's connection leads: by CONNECT, SOCKS, the
                    packet filter or reverse:URL; without a tunnel, what the
                    last request named
     ex.to          where the request leads that is under way; ex.host is the
                    name of that host, by SNI or Host where ex.to has an address
     server.target  where the request leads that the filters printed
     server.goal    what --connect-to puts in the place of server.target
     server.hop     what is connected to: -x's proxy instead of server.goal */
struct target {
    char host[MAX_HOST + 1]; /* without the root's dot at the end ... */
    bool rooted;            /* ... that was there: getaddrinfo() is given it */
    unsigned port;
    bool tls;
    bool forward;           /* to -x's proxy, in absolute-form, no CONNECT */
};

/* What a ClientHello asks for; ALPN's names (RFC 7301) as on the wire. */
struct hello {
    char sni[MAX_HOST + 1]; /* "" when absent */
    bool absurd;            /* sni is no host name: no leaf is forged for it */
    size_t enough;          /* with fewer bytes the message cannot be whole */
    bool rsa;               /* no ECDSA by P-256: the leaf's key must be RSA */
    bool bare;              /* there are no extensions at all */
    bool best;              /* the favourite suite will do: has_favourite() */
    bool http, h2;          /* http/1.1 is among the ALPN names; h2 is: */
    struct alpn { unsigned char len, names[255]; } alpn;
};

/* What is kept of a server: the leaf forged for it, a session to resume. */
struct known {
    struct known *next;     /* most recently used first */
    int refs;
    mbedtls_x509_crt leaf;  /* version 0: none yet */
    unsigned char of[32];   /* SHA-256 of the certificate that leaf copies */
    time_t born;            /* when leaf was forged */
    unsigned char trusted[32]; /* SHA-256 of a certificate that was verified */
    time_t until;           /* ... and need not be again until then */
    bool has_session;
    bool only_tls12;        /* the server is offered TLS 1.2 alone (PSS_BUG) */
    mbedtls_ssl_session session;
    char key[];             /* "host:port/name/the leaf's/rsa/ALPN" */
};

/* One end of a flow: the connection to the client or to the server. A TCP
   connection has two halves, and each of them ends by itself.

   The input, by what comes:            fd_done   broken   ended
     FIN, without TLS                     yes              ENDED_WELL
     close_notify (RFC 8446, 6.1)                          ENDED_WELL
     FIN without a close_notify           yes              ENDED_CUT
     RST, or an error of TLS                       yes     ENDED_CUT

   The output, by what it is to end with; all of out goes before:
     END_WELL    close_notify if there is TLS, then FIN
     END_CUT     FIN; the peer of a TLS session takes it for a cut
     END_RESET   as END_CUT; without TLS the peer acknowledges all, then RST
     END_SEALED  with TLS: wire_out has the last record, FIN is left to send
     END_SHUT    FIN or RST was sent

   ending only moves down this list: an END_WELL that waits for out to go may
   become END_CUT, and not the other way. Nothing is sent to a broken end. */
struct end {
    int fd;                 /* -1: none */
    struct buf wire_in, wire_out; /* as on the wire; unused without TLS */
    struct buf in, out;     /* plaintext: what came, and what is to go */
    mbedtls_ssl_context *ssl; /* NULL: no TLS */
    struct own *own;        /* the TLS session's copy of tls_conf; or NULL */
    unsigned char record[8]; /* the next record's number, while TLS rests */
    struct tap *tap;        /* -w's place for what passes; or NULL */
    bool ready;             /* bytes may pass: neither connect() nor a TLS
                               handshake is under way */
    int tls_error;          /* why TLS failed; 0: it has not */
    bool later;             /* the handshake goes on in the next turn */
    bool vouched;           /* the certificate was verified, or shown, by us */
    unsigned char tickets;  /* how many of the server's were kept */
    unsigned char alert;    /* the number of the last alert in plain text */
    bool bulk;              /* the last read() gave all that was wanted */
    bool fd_done;           /* read() gave 0 */
    enum { NOT_ENDED, ENDED_WELL, ENDED_CUT } ended; /* no more comes into in */
    enum { NOT_ENDING, END_WELL, END_CUT, END_RESET, END_SEALED,
           END_SHUT } ending;       /* no more is put into out */
    bool lingers;           /* RST waits until the peer has acknowledged all */
    double asked;           /* when the kernel was asked for that (TIOCOUTQ) */
    double wrote;           /* when the peer last took bytes */
    bool broken;            /* nothing can be written any more */
    int error;              /* errno of a connection that has broken off */
    bool notified;          /* close_notify was sent */
    bool told_out;          /* end_tell() has said how the output ended, ... */
    const char *told_in;    /* ... and the input; NULL: not yet */
};

/* The server's end, and how far it has been reached. */
struct server {
    struct end end;
    enum {
        SERVER_NONE,        /* nobody wants it yet */
        SERVER_LOOKUP,      /* waits for a name to be looked up */
        SERVER_CONNECT,     /* waits for connect() */
        SERVER_PROXY,       /* waits for -x's proxy to open a tunnel */
        SERVER_TLS,         /* waits for the handshake */
        SERVER_UP,          /* bytes may pass */
        SERVER_FAILED       /* failure says why */
    } state;
    struct target target, goal, hop;
    int step;               /* of the conversation with -x's proxy */
    struct known *known;    /* with TLS */
    bool resumed;           /* a session was offered; might be refused */
    bool used;              /* an exchange has been completed on it ... */
    bool parting;           /* ... behind which the client wants to close */
    int spare;              /* bytes left of a last chunk behind 204 or 304 */
    struct chain *inquiry;  /* asks a helper: for addresses, or an RSA key */
    struct sockaddr_storage addr[MAX_ADDRS];
    int addrs, tried;
    double since;           /* when this state was entered */
    int error;              /* connect()'s errno; 0: another step failed */
    int status;             /* of the page that the client gets; 0: 502 */
    char failure[1024];
};

/* A command that messages are piped through, as the command line has it. */
struct filter {
    struct filter *next;
    const char *command;
    char **argv;            /* without a shell; NULL: sh -c command */
    char *path;             /* of argv[0]; for a shell a command line or NULL */
    bool request;           /* else responses */
    const char *match_text; /* --match's */
    struct match *match;    /* NULL: all */
    bool raw;
    bool coprocess;         /* stays alive and serves many messages */
    bool helper;            /* is this program itself: see section 13 */
    double pause;           /* seconds from a death to the next start ... */
    double not_before;      /* ... which is then */
    int jobs, running;      /* messages at most; now */
    double timeout;         /* seconds without progress; 0: for ever */
    enum on_error { FAIL, PASS, CLOSE } on_error;
};

/* A process that was started for a filter: for one message or, a coprocess, for
   one after the other. It outlives its message until it is reaped. */
struct child {
    struct child *next;
    struct filter *filter;
    struct run *run;        /* that the child serves; NULL: none, or gone */
    bool busy;              /* a coprocess: with a message */
    pid_t pid;              /* 0: has been reaped */
    pid_t group;            /* its process group, which may outlive it */
    int in, out;            /* our ends of its stdin and stdout; -1: closed */
    struct buf question;    /* a coprocess's: yet to be written to in */
    struct buf answer;      /* a coprocess's: what has come from out so far */
    uint64_t given;         /* a coprocess's: bytes that in has taken in all */
    double moved;           /* when it last made progress, or was reaped */
    double killed;          /* when SIGTERM was sent; 0: was not */
    bool slain;             /* SIGKILL was sent, too */
};

/* A filter at work on one message. */
struct run {
    struct filter *filter;
    struct chain *chain;    /* of which it is one */
    struct child *child;    /* that serves the run; NULL: not yet, or no more */
    struct buf in;          /* what the filter is to read */
    bool exited;            /* the child's status, or its answer, is known */
    bool unread;            /* by the next one: SIGPIPE is no failure then */
    bool printed;           /* at least a byte */
    double moved;           /* when it last made progress */
};

/* Bytes that have passed: how many, and a hash of them. */
struct tally { uint64_t bytes, hash; };

/* The filters of one message, between its reader and the writer of what takes
   its place: what a run prints is put into the next one's in. */
struct chain {
    struct chain *next;     /* in the list of all, by age */
    struct flow *flow;
    struct reader *from;    /* NULL: a helper is asked */
    struct writer *to;      /* the other direction's if they print an answer */
    bool started;
    bool fed;               /* nothing more will be put into run[0].in */
    double since;           /* WAIT_TAKE counts from here: moved on by bytes of
                               a peer (PACE), and while the filters work */
    double worked;          /* when filters were last at work; 0: they wait */
    bool raw;               /* filters get the bytes of the wire */
    enum framing was;       /* of the body as it came */
    struct buf lead, trailers; /* empty lines, fields: not for the filters */
    struct tally first;     /* of a request's body, up to MAX_HOLD */
    struct buf kept;        /* the message as it came (--on-error pass) ... */
    bool keep;              /* ... unless it is longer than MAX_HOLD */
    int count;
    struct run run[MAX_CHAIN + 1]; /* run[count].in: what the last one prints */
    struct tally in, out;   /* of the message, and of what was made of it */
    char *vars;             /* "MITM_ID=7\0MITM_...=...\0\0" */
    int deaths;             /* of helpers that were asked */
    const struct run *failed; /* the first that failed; NULL: none has ... */
    char failure[128];      /* ... and why */
};

/* One message being read, from one end. The bytes go to the chain, or, where no
   filter matches, to the writer of the same direction. */
struct reader {
    struct flow *flow;
    struct end *from;
    struct writer *to;
    bool request;
    enum {
        READ_HEAD,          /* waits for a head */
        READ_BODY,          /* reads the body; waits for the exchange's end */
        READ_FRAMES         /* reads WebSocket's messages, one by one */
    } state;
    struct head head;
    struct body body;       /* what is left of it; of a stream: UNTIL_CLOSE */
    bool wanted;            /* of READ_FRAMES: filters want the messages */
    struct frames frames;
    struct buf message;     /* the frames of a message that is not whole yet */
    uint64_t bytes;         /* of the body, without chunked coding, so far */
    struct chain *chain;    /* NULL: no filter */
    bool pass;              /* the filters failed: the original goes on */
    double begun;           /* when the head's first byte came; 0: not yet */
    struct head next;       /* the next message's, as far as it is in from.in */
};

/* One message being written, to one end, by a chain or a reader. */
struct writer {
    struct flow *flow;
    struct end *to;
    bool request;
    enum {
        WRITE_NOTHING,      /* no message is on its way */
        WRITE_PRINT,        /* waits for the filters to print a head */
        WRITE_HEAD,         /* has a head; a request waits for the server, what
                               filters print for all of the body: its length */
        WRITE_BODY,         /* the body moves */
        WRITE_MESSAGE,      /* waits for all that filters make of WebSocket's */
        WRITE_DONE          /* all of it is in to.out */
    } state;
    struct chain *chain;    /* NULL: straight from the reader */
    struct head printed;    /* by the chain; len 0: none, or a raw one, of which
                               status and at are known */
    enum {
        OUT_COPY,           /* the body goes as it is printed, or as it came */
        OUT_CHUNKED,        /* ... goes in chunks, one for each piece */
        OUT_EXACT,          /* ... goes as printed: just left bytes more */
        OUT_DROP            /* ... goes nowhere: the head allows none */
    } out;
    uint64_t left;          /* of OUT_EXACT */
    bool sent;              /* some of the message has been put into to.out */
    bool last;              /* the connection ends behind it */
};

/* What is known of the exchange under way, for filters and matches. */
struct exchange {
    unsigned long id;
    bool head, connect;     /* methods that frame an answer (RFC 9112, 6.3) */
    bool calls;             /* CONNECT for no authority, as Go's net/rpc does */
    bool client_head;       /* the client asked by HEAD: how ours is framed */
    bool upgrade;           /* Upgrade was in the request */
    bool begun;             /* a request's head has come, no end yet */
    bool continued;         /* the proxy has answered 100 Continue itself */
    bool path;              /* the request had an origin-form target, or "*" */
    char *method, *url;     /* NULL with -q when there is no filter */
    const char *fate;       /* NULL, "failed" or "dropped", by a filter */
    int status;             /* of an answer of the proxy's own ... */
    size_t page;            /* ... with a body of so many bytes */
    bool told;              /* the "==" line has been written */
    struct target to;
    char host[MAX_HOST + 1];
};

/* What may happen to a flow, for the log. */
static const char EV_OPEN[] = "open", EV_DENY[] = "deny", EV_TLS[] = "tls",
    EV_REQUEST[] = "request", EV_RESPONSE[] = "response",
    EV_FILTER[] = "filter", EV_MESSAGE[] = "message", EV_CLOSE[] = "close",
    EV_NOTE[] = "note";

/* A client's connection, and the server connection that it owns. */
struct flow {
    unsigned long number;   /* c1, c2 ... in the log */
    unsigned long exchanges; /* that have begun */
    double born;            /* when the client was accepted */
    struct flow *next, *prev;
    enum {
        FLOW_PROXIED,       /* waits for --proxy-protocol's header */
        FLOW_SOCKS,         /* waits for a SOCKS client's request */
        FLOW_REACH,         /* waits for the server, to answer that request */
        FLOW_FIRST,         /* in a tunnel: waits for the first bytes */
        FLOW_HELLO,         /* waits for the whole ClientHello */
        FLOW_SERVER,        /* waits for the server's certificate */
        FLOW_CLIENT,        /* waits for the client's handshake */
        FLOW_RELAY,         /* messages or streams pass */
        FLOW_CLOSING        /* waits for the client to take the rest */
    } state;
    struct end client;
    struct server server;
    struct reader asks, answers; /* of the client's and of the server's end */
    struct writer up, down; /* to the server's and to the client's end */
    struct exchange ex;
    int socks;              /* 4 or 5; 0: it is no SOCKS client */
    int greeted;            /* a SOCKS5 client: 1 must log in, 2 may ask */
    bool tunnel;            /* home is settled for the whole connection */
    struct target home;
    bool untouched;         /* nothing is opened or filtered */
    struct hello hello;
    struct known *leaf;     /* what the client's handshake shows */
    bool spoken;            /* an HTTP message has been seen */
    bool stream;            /* both directions are streams ... */
    bool heard;             /* ... and the server spoke last */
    unsigned char matched;  /* letters of "HTTP/" that a stream's client sent
                               last: --only-hosts lets none through */
    bool wake;              /* something happened to it in this turn */
    double woken;           /* when that was the last time */
    double bulk;            /* when it was last in bulk */
    bool over;              /* to be freed by flow_settle() */
    struct sockaddr_storage addr; /* the client's; and as a text: */
    char peer[64];
    double since;           /* when this state was entered, or begun anew */
    double moved;           /* when a byte last moved */
};

/* All that the command line settles. */
static struct {
    const char *host, *port, *mode, *ca_file, *cacert, *cert, *key, *user;
    struct target reverse;  /* port 0: mode is not reverse */
    bool transparent;
    const char *proxyauth;  /* user:password that clients must show */
    struct upstream { struct target at; bool socks, local; char *login;
    } proxy;                /* -x; at.port 0: none; local: we look up names,
                               not the proxy; login: user:password or NULL */
    struct detour { struct detour *next; struct target from, to;
    } *detours;             /* --connect-to; "" and 0: any, or the same */
    regex_t *only, *ignore, *tcp; /* --only-hosts, --ignore-hosts ... */
    const char *capture;    /* -w's file */
    const char *log_json;   /* --log-json's; "-": standard output */
    struct name_list { struct name_list *next; const char *name;
    } *ca_for;              /* --ca-for's */
    int workers;
    bool insecure, pass_pinned;
    bool proxied;           /* --proxy-protocol */
    char **command;         /* COMMAND and its arguments; NULL: none */
    bool quiet;             /* messages are not shown */
    int verbose;            /* 1 decisions are told, 2 each step, too */
    struct filter *filters;
    struct filter next;     /* qualifiers for the filter that follows */
    bool qualified;         /* there are qualifiers without a filter yet */
    char unquoted[256];     /* what to say of a filter of one word that a word
                               for COMMAND or a short option follows, if that
                               turns out to be wrong: else "" */
} opt = { .host = "127.0.0.1", .mode = "regular",
          .ca_file = "cert.pem", .workers = 1, .next = { .timeout = 30 } };

static double now;                  /* seconds, monotonic, once per turn */
static struct flow *flows;          /* the one that woke last is the first */
static int nflows;
static bool full_turn;              /* sleeping flows are looked at, too */
static unsigned long turn;          /* of the loop, counted */
static unsigned long bulk_flows;    /* in bulk, that could go on in this turn */
static unsigned long quiet_flows;   /* awake, and not in bulk for a while */
static struct child *children;
static struct chain *chains;        /* the oldest is the first */
static size_t waiting_len;          /* bytes for and from coprocesses */
static int listener = -1;
static int fd_limit;                /* descriptors we may have */
static struct rlimit given_limit, raised_limit; /* the children's, and ours */
static double accept_after;         /* accepting pauses until then */
static int self_pipe[2] = { -1, -1 };
static int parent_pipe[2] = { -1, -1 }; /* ends with the parent of workers */
static struct shared {              /* by all workers */
    _Atomic unsigned long last_id;  /* of the newest exchange ... */
    _Atomic unsigned long last_flow; /* ... and of the newest flow */
    uint32_t goes[65536];           /* where a connection of ours from that
                                       port goes: address_sum(); 0: none */
    bool capture_cut;               /* within a packet, as the disk is full */
} alone, *shared = &alone;
static int stopping;                /* signals that asked us to stop */
static double stop_since;           /* the first of them */

/* ==== 3 utilities =======================================================
   What the C library lacks. Memory that runs out ends what is being attempted
   (attempt()), never the program. Limit: until there are flows, it does. */

/* Fills text, an array, by a function's format and the arguments behind it. */
#define FORMAT(text, format) \
    do { \
        va_list args; \
        va_start(args, format); \
        vsnprintf(text, sizeof text, format, args); \
        va_end(args); \
    } while (0)

/* A text of a format, up to 2 KiB of it; it stays for 16 calls. */
PRINTF(1, 2) static const char *text_of(const char *format, ...)
{
    static char texts[16][2048];
    static unsigned next;
    char (*text)[sizeof *texts] = &texts[next++ % 16];

    FORMAT(*text, format);
    return *text;
}

/* Ends the program with one line. For start-up, before there are flows. */
PRINTF(1, 2) static _Noreturn void die(const char *format, ...)
{
    char text[4096];

    FORMAT(text, format);
    fprintf(stderr, "mitmproxy: %s\n", text);
    exit(1);
}

/* Where to go on when memory runs out; NULL: nowhere. Buffers that functions
   fill meanwhile, as they would lose one of their own then: buf_scratch(). */
static jmp_buf *rescue;
static struct buf scratch[8];

/* Memory has run out: what is being attempted fails, and nothing else. */
static _Noreturn void no_memory(void)
{
    if (rescue == NULL)
        die("out of memory");
    longjmp(*rescue, 1);
}

/* Does work on it. False: memory ran out within; it is to be given up. */
static bool attempt(void (*work)(void *), void *it)
{
    jmp_buf here, *outer = rescue;
    struct buf *first = scratch;

    while (first->cap > 0)
        first++;
    if (setjmp(here) != 0) {
        rescue = outer;
        for (struct buf *b = first; b->cap > 0; *b++ = (struct buf){ 0 })
            free(b->data);
        return false;
    }
    rescue = &here;
    work(it);
    rescue = outer;
    return true;
}

/* n bytes that are ours to free(). */
static void *alloc(size_t n)
{
    void *p = calloc(1, n);

    if (p == NULL)
        no_memory();
    return p;
}

/* A copy of the n bytes at p with a NUL behind, to be freed. */
static char *copy_text(const void *p, size_t n)
{
    char *s = alloc(n + 1);

    memcpy(s, p, n);
    return s;
}

/* Monotonic seconds. */
static double clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* A time in UTC, as from text_of(), by a format of printf() that takes year,
   month, day, hour, minute and second, or the first of these: strftime() knows
   of zones, which are 7 KB of a static program. */
static const char *time_text(const char *format, time_t when)
{
    struct tm t;

    gmtime_r(&when, &t);
    return text_of(format, t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
                   t.tm_min, t.tm_sec);
}

/* Lowers *left to seconds, when that is sooner: to 0, when it is past. */
static void sooner(double *left, double seconds)
{
    if (seconds < *left)
        *left = seconds > 0 ? seconds : 0;
}

/* Closes a descriptor, unless it is -1, which it becomes; errno stays. */
static void fd_close(int *fd)
{
    int error = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = error;
}

/* Makes fd one that never blocks. False, with errno, if it cannot be. */
static bool set_nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

/* Whether the n bytes at p are the word, in any case. */
static bool same_word(const char *p, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(p, word, n) == 0;
}

#define IN_TOKEN "!#$%&'*+-.^_`|~" /* beside letters, digits: RFC 9110, 5.6.2 */

/* How many of the n bytes at p, from the first on, are letters, digits or
   others. */
static size_t word_size(const char *p, size_t n, const char *others)
{
    size_t i = 0;

    while (i < n && (isalnum((unsigned char)p[i]) ||
                     (p[i] != '\0' && strchr(others, p[i]) != NULL)))
        i++;
    return i;
}

/* Reads a decimal number of n bytes at p: digits and nothing else. */
static bool parse_number(const char *p, size_t n, uint64_t *number)
{
    uint64_t sum = 0;

    if (n == 0 || n > 19)           /* 19 digits fit in 64 bits */
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)p[i]))
            return false;
        sum = sum * 10 + (uint64_t)(p[i] - '0');
    }
    *number = sum;
    return true;
}

/* Reads seconds, 30 or 0.5 or .5; false when s is none. By hand: strtod() and
   sscanf() are 12 KB of a static program. */
static bool parse_seconds(const char *s, double *seconds)
{
    bool good = isdigit((unsigned char)s[*s == '.']);
    double unit = 1;

    for (*seconds = 0; isdigit((unsigned char)*s); s++)
        *seconds = *seconds * 10 + (*s - '0');
    if (*s == '.')
        while (isdigit((unsigned char)*++s))
            *seconds += (*s - '0') * (unit /= 10);
    return good && *s == '\0';
}

/* The number that n bytes at p are, 8 at most, in network byte order. */
static uint64_t number_at(const unsigned char *p, size_t n)
{
    uint64_t number = 0;

    while (n-- > 0)
        number = number << 8 | *p++;
    return number;
}

/* The value of a hexadecimal digit, or -1. */
static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' :
           c >= 'a' && c <= 'f' ? c - 'a' + 10 :
           c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Takes the percent-encoding off a text, in place (RFC 3986, 2.1). */
static void unescape(char *s)
{
    for (char *o = s; (*o = *s) != '\0'; o++, s++)
        if (*s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
            *o = (char)(hex(s[1]) << 4 | hex(s[2]));
            s += 2;
        }
}

/* The lowest number in the file of a control group (a line, which is changed)
   and of those above it: most, if none is lower. */
static uint64_t cgroup_limit(const char *base, char *group, const char *file,
                             uint64_t most)
{
    for (group[strcspn(group, "\n")] = '\0';; *strrchr(group, '/') = '\0') {
        int fd = open(text_of("%s%s/%s", base, group, file), O_RDONLY |
                      O_CLOEXEC);
        char text[32] = "max";

        if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && *text != 'm' &&
            strtoull(text, NULL, 10) < most)
            most = strtoull(text, NULL, 10);
        fd_close(&fd);
        if (*group == '\0')
            return most;
    }
}

/* The bytes of memory that we may have: the machine's, or what a control group
   of ours (memory.max, or version 1's) or one above it, or ulimit -v allows. */
static uint64_t memory_size(void)
{
    static uint64_t size;
    char line[PATH_MAX];
    struct rlimit as;
    FILE *f = size != 0 ? NULL : fopen("/proc/self/cgroup", "re");

    if (size == 0)
        size = (uint64_t)sysconf(_SC_PHYS_PAGES) *
               (uint64_t)sysconf(_SC_PAGESIZE);
    if (getrlimit(RLIMIT_AS, &as) == 0 && as.rlim_cur < size)
        size = as.rlim_cur;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "0::/", 4) == 0)
            size = cgroup_limit("/sys/fs/cgroup", line + 3, "memory.max", size);
        else if (strstr(line, ":memory:/") != NULL)
            size = cgroup_limit("/sys/fs/cgroup/memory", strchr(line, '/'),
                                "memory.limit_in_bytes", size);
    if (f != NULL)
        fclose(f);
    return size;
}

/* ==== 4 buffers =========================================================
   Bytes come in at the back and leave at the front. Limit: growing moves all of
   them, and so a place in a buffer is kept as a struct span. */

/* Makes room for n more bytes; false: there is no memory. */
static bool buf_grow(struct buf *b, size_t n)
{
    size_t cap;
    void *data;

    if (b->start + b->len + n <= b->cap)
        return true;
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, b->len);
        b->start = 0;
    }
    if (b->len + n <= b->cap)
        return true;
    cap = b->cap * 2 > b->len + n ? b->cap * 2 : b->len + n;
    data = realloc(b->data, cap);
    if (data == NULL)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

/* The same, for those who cannot go on without. */
static void buf_reserve(struct buf *b, size_t n)
{
    if (!buf_grow(b, n))
        no_memory();
}

/* The first of its bytes. Whatever may grow b moves them. */
static unsigned char *buf_at(const struct buf *b)
{
    return b->data + b->start;
}

/* Appends n bytes. */
static void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    buf_reserve(b, n);
    memcpy(b->data + b->start + b->len, p, n);
    b->len += n;
}

/* Appends a text. */
static void buf_puts(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

/* Appends formatted text of at most 4 KiB. */
PRINTF(2, 3) static void buf_printf(struct buf *b, const char *format, ...)
{
    char text[4096];

    FORMAT(text, format);
    buf_puts(b, text);
}

/* Appends what fd has, n bytes at most. As read(). */
static ssize_t buf_read(struct buf *b, int fd, size_t n)
{
    ssize_t got;

    buf_reserve(b, n);
    got = read(fd, buf_at(b) + b->len, n);
    b->len += got > 0 ? (size_t)got : 0;
    return got;
}

/* Takes n bytes off the front. */
static void buf_eat(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->start += n;
    b->len -= n;
    if (b->len == 0)
        b->start = 0;
}

/* Lets its memory go: it is empty then, and may be filled again. */
static void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ 0 };
}

/* A buffer to work with, which the function that asks for it gives back by
   buf_free() or buf_text(), the last one first - or attempt() does. */
static struct buf *buf_scratch(void)
{
    struct buf *b = scratch;

    while (b->cap > 0)
        b++;
    assert(b < scratch + sizeof scratch / sizeof *scratch - 1);
    buf_reserve(b, 64);
    return b;
}

/* What is in a buffer, as a text to be freed; b is empty then. */
static char *buf_text(struct buf *b)
{
    char *text;

    buf_put(b, "", 1);
    text = (char *)b->data;
    *b = (struct buf){ 0 };
    return text;
}

/* Moves n bytes from a buffer's front to another's end; perhaps by a swap. */
static void buf_move(struct buf *to, struct buf *from, size_t n)
{
    if (to->len == 0 && n == from->len) {
        struct buf t = *to;

        *to = *from;
        *from = t;
        return;
    }
    buf_put(to, buf_at(from), n);
    buf_eat(from, n);
}

/* Puts len bytes at p in the place of the n at offset at. */
static void buf_splice(struct buf *b, size_t at, size_t n, const void *p,
                       size_t len)
{
    unsigned char *place;

    buf_reserve(b, len);
    place = buf_at(b) + at;
    memmove(place + len, place + n, b->len - at - n);
    if (len > 0)
        memcpy(place, p, len);
    b->len = b->len - n + len;
}

/* Gives back the memory of an empty buffer. */
static void buf_trim(struct buf *b)
{
    if (b->len == 0 && b->cap > 0)
        buf_free(b);
}

/* ==== 5 log =============================================================
   Messages go to standard output, everything else to standard error. Such a
   sink has a buffer, which the loop empties when select() says that it takes
   more: a reader who sleeps holds up nobody, and the lines that are missed are
   counted. --log-json, -w and SSLKEYLOGFILE have theirs. Limit: MAX_LOG bytes
   wait. */

static struct sink {
    int fd;                 /* -1: nobody wants what is put here */
    const char *name;
    bool file;              /* a regular one: takes any number of bytes */
    struct stat st;         /* of fd */
    bool within;            /* the last write() ended within a line */
    struct buf buf;
    unsigned long lost;     /* lines, packets or keys: buf was full */
    double pause;           /* the disk is full: no write() before that */
} sinks[] = { { .fd = 1, .name = "standard output" },
              { .fd = 2, .name = "standard error" },
              { .fd = -1 }, { .fd = -1 },
              { .fd = -1, .name = "SSLKEYLOGFILE" } };
enum { SINKS = 5 };
static struct sink *const events = &sinks[2], *const capture = &sinks[3],
                   *const key_log = &sinks[4];

PRINTF(2, 3) static void say(int level, const char *format, ...);

/* The bytes that are written of s at once. A file takes all. A pipe or terminal
   gets whole lines, as others may write there as well, and no more than
   PIPE_BUF, which a pipe that is ready is sure to take. 0: our other sink is
   within a line on the same terminal; unless all is wanted. */
static size_t sink_piece(const struct sink *s, bool all)
{
    const struct sink *other = &sinks[s == sinks];
    const unsigned char *p = buf_at(&s->buf), *lf;
    size_t len = s->buf.len < PIPE_BUF ? s->buf.len : PIPE_BUF;

    if (s->file)
        return s->buf.len;
    if (!all && s < capture && other->within && other->fd >= 0 &&
        s->st.st_dev == other->st.st_dev && s->st.st_ino == other->st.st_ino)
        return 0;
    lf = memrchr(p, '\n', len);
    return s == capture || lf == NULL ? len : (size_t)(lf - p) + 1;
}

/* Writes what waits in s: a piece, or all. A capture that was cut within a
   packet, by any worker, gets no more: nobody could read on. */
static void sink_flush(struct sink *s, bool all)
{
    if (s == capture && shared->capture_cut)
        fd_close(&s->fd), buf_free(&s->buf);
    while (s->fd >= 0 && s->buf.len > 0) {
        size_t len = sink_piece(s, all);
        struct pollfd room = { s->fd, POLLOUT, 0 };
        ssize_t n;

        if (len == 0 || (!all && now < s->pause) ||
            poll(&room, 1, all ? 500 : 0) <= 0)
            return;                 /* another writer took the room */
        n = write(s->fd, buf_at(&s->buf), len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && s < capture && (errno == ENOSPC || errno == EDQUOT))
            s->pause = now + 1;     /* a log may go on behind a gap */
        else if (n < 0 && errno != EAGAIN) {
            buf_eat(&s->buf, s->buf.len);
            s->fd = -1;
            shared->capture_cut |= s == capture;
            if (errno != EPIPE || s >= events) /* else the reader left */
                say(0, "%s: %s: nothing more is written to it", s->name,
                    strerror(errno));
        }
        if (n <= 0)
            return;
        s->within = buf_at(&s->buf)[n - 1] != '\n';
        buf_eat(&s->buf, (size_t)n);
        if (!all && !s->file)
            return;
    }
}

/* Adds n bytes, a whole line or packet, to what waits in s. Without room it is
   lost, and all until half has been read: then a line tells how many were. */
static void sink_put(struct sink *s, const void *line, size_t n)
{
    if (s->fd < 0)
        return;
    if (s->file && s->buf.len > MAX_BUF)
        sink_flush(s, true);
    if (s->buf.len + n > (s->lost > 0 ? MAX_LOG / 2 : MAX_LOG) ||
        !buf_grow(&s->buf, n + 100)) {
        s->lost++;
        return;
    }
    if (s->lost > 0 && s >= capture) /* their formats have no such line */
        say(0, "%s misses %lu %s: too slow a reader", s->name, s->lost,
            s == capture ? "packets" : "keys");
    else if (s->lost > 0)
        buf_printf(&s->buf, s == events ?
                   "{\"event\":\"lost\",\"lines\":%lu}\n" :
                   "mitmproxy: %lu lines were lost: too slow a reader, or a "
                   "full disk\n", s->lost);
    s->lost = 0;
    buf_put(&s->buf, line, n);
}

/* Lets s write to fd. */
static void sink_open(struct sink *s, int fd)
{
    s->fd = fd;
    s->file = fstat(fd, &s->st) == 0 && S_ISREG(s->st.st_mode);
}

/* Lets s write to fd, which others have as well: where that is no file, by an
   open file description of our own, as O_NONBLOCK would change theirs, too. */
static void sink_share(struct sink *s, int fd)
{
    sink_open(s, fd);
    fd = s->file ? -1 : open(text_of("/proc/self/fd/%d", fd), O_WRONLY |
                             O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        s->fd = fd;
}

/* Whether a and b are those of one file. */
static bool stat_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Lets s write to a file, for which open() gets these flags as well; dies on
   failure. A FIFO waits for its reader. A symbolic link is followed if it is
   ours or root's: another user's may lead where we can write, but not they.
   /dev/stderr is not opened: two offsets in a file write over each other. */
static void sink_file(struct sink *s, const char *path, int flags)
{
    const char *keys[] = { opt.ca_file, opt.key, opt.cert, opt.cacert };
    struct stat link, key;
    int fd;

    for (size_t i = 0; i < 4 && stat(path, &link) == 0; i++)
        if (keys[i] != NULL && stat(keys[i], &key) == 0 &&
            stat_same(&link, &key))
            die("cannot write %s: it has a certificate or key that is used",
                path);
    for (fd = 1; fd <= 2 && stat(path, &link) == 0; fd++)
        if (fstat(fd, &key) == 0 && stat_same(&link, &key)) {
            sink_share(s, fd);
            return;
        }
    flags |= O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    fd = open(path, flags | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == ELOOP && lstat(path, &link) == 0) {
        if (link.st_uid != 0 && link.st_uid != geteuid())
            die("cannot write %s: it is a link of another user's", path);
        fd = open(path, flags, 0600);
    }
    if (fd < 0)
        die("cannot write %s%s: %s", path, s == key_log ?
            ", which SSLKEYLOGFILE names" : "", strerror(errno));
    set_nonblocking(fd);
    sink_open(s, fd);
    if (s->file && s->st.st_mode & 077 && fchmod(fd, 0600) != 0)
        say(0, "others may read %s: %s", path, strerror(errno));
    else if (s->file && s->st.st_uid != 0 && s->st.st_uid != geteuid())
        say(0, "others may read %s: it is another user's", path);
}

/* Whether the path of --log-json or -w, if there is one, is standard output. */
static bool is_stdout(const char *path)
{
    return path != NULL && (strcmp(path, "-") == 0 ||
                            strcmp(path, "/dev/stdout") == 0);
}

/* Dies if path is where another sink writes that s does not go with: packets go
   with nothing, and events with the log alone. */
static void sink_alone(const struct sink *s, const char *path)
{
    bool out = is_stdout(path);     /* where messages then are not shown */
    struct stat st;

    for (const struct sink *o = sinks + (s == capture ? out : 2);
         o < sinks + SINKS && (strcmp(path, "-") ? stat(path, &st)
                                                 : fstat(1, &st)) == 0; o++)
        if (o != s && o->fd >= 0 && stat_same(&st, &o->st) &&
            (!S_ISCHR(st.st_mode) || isatty(o->fd))) /* no /dev/null */
            die("cannot write %s: it is the same as %s", path, o->name);
}

/* Opens --log-json's or -w's file, as sink_file(); - is standard output. */
static void record_open(struct sink *s, const char *path, int flags)
{
    sink_alone(s, path);
    s->name = strcmp(path, "-") ? path : sinks[0].name;
    if (s->name != path)
        sink_share(s, 1);
    else
        sink_file(s, path, flags);
}

/* Writes the n bytes at p to o, by format those that could forge a line or move
   a cursor, and odd ones. Returns the characters written; NUL is behind. */
static size_t escape(char *o, const char *p, size_t n, const char *format,
                     const char *odd)
{
    const char *start = o, *end = p + n;

    for (; p < end; p++)
        if (*p < ' ' || *p > '~' || strchr(odd, *p) != NULL)
            o += sprintf(o, format, (unsigned char)*p);
        else
            *o++ = *p;
    *o = '\0';
    return (size_t)(o - start);
}

/* One line on standard error, if the user asked for as much: level 0 is
   what everyone should know, 1 is -v, 2 is --explain. */
PRINTF(2, 3) static void say(int level, const char *format, ...)
{
    char text[2048], line[4 * sizeof text + 16];
    size_t n;

    if (level > opt.verbose)
        return;
    FORMAT(text, format);
    n = (size_t)sprintf(line, "mitmproxy: ");
    n += escape(line + n, text, strlen(text), "\\x%02x", "");
    n = n < PIPE_BUF ? n : PIPE_BUF - 1; /* a piece for sink_piece() */
    line[n++] = '\n';
    sink_put(&sinks[1], line, n);
}

/* ---- events: what happens to a flow is said once, by tell(), in three forms:
   a line of -v's, which goes on behind MORE for --explain, and one of JSON
   (RFC 8259) for --log-json. In each are the numbers of the connection and of
   the exchange. Limit: no bodies, and no values of header fields. */

#define MORE "\v"

/* A number's name in a list " 1 one 2 two ", or "", as from text_of(). */
static const char *name_of(const char *names, unsigned number)
{
    const char *key = text_of(" %u ", number), *at = strstr(names, key);

    at = at ? at + strlen(key) : "";
    return text_of("%.*s", (int)strcspn(at, " "), at);
}

/* What is known of an exchange, for a filter's environment and for events:
   pairs of a name and a text, or "", up to NULL. */
struct facts { const char *pairs[12][2]; };

/* What is known of f's exchange, numbers as from text_of(). opcode is that of a
   message of WebSocket; NULL: it is about another. */
static struct facts facts_of(const struct flow *f, const char *direction,
                             int status, const char *opcode)
{
    const struct exchange *ex = &f->ex;
    const struct target *to = *ex->host != '\0' ? &ex->to : &f->home;

    return (struct facts){ {
        { "ID", ex->id ? text_of("%lu", ex->id) : "" },
        { "DIRECTION", direction },
        { "SCHEME", to->tls ? "https" : *ex->host != '\0' ? "http" : "" },
        { "HOST", *ex->host != '\0' ? ex->host : to->host },
        { "PORT", to->port ? text_of("%u", to->port) : "" },
        { "METHOD", ex->method ? ex->method : "" },
        { "URL", ex->url ? ex->url : "" },
        { "STATUS", status ? text_of("%d", status) : "" },
        { "CLIENT", f->peer }, { "SNI", f->hello.sni },
        { opcode ? "OPCODE" : NULL, opcode }
    } };
}

/* A line of JSON that is being written: an object without its last brace. */
struct json { char text[PIPE_BUF]; size_t n; };

/* Appends a member, a text or a number; none where that is "". A text takes up
   to half of the room that is left, and is cut there. */
static void json_put(struct json *j, const char *key, bool number,
                     const char *text)
{
    size_t limit = j->n + (sizeof j->text - j->n) / 2 - 150;

    if (*text == '\0')
        return;
    j->n += (size_t)sprintf(j->text + j->n, "%s\"%s\":%s",
                            j->n > 1 ? "," : "{", key, number ? "" : "\"");
    for (; *text != '\0' && j->n < limit; text++)
        j->n += escape(j->text + j->n, text, 1, "\\u%04x", "\"\\");
    if (!number)
        j->text[j->n++] = '"';
}

/* Begins the line of an event of f's. status is that of an answer, or 0. */
static void event_begin(struct json *j, const struct flow *f, const char *what,
                        int status)
{
    struct facts k = facts_of(f, "", status, NULL);
    struct timespec t;
    char key[16];

    clock_gettime(CLOCK_REALTIME, &t);
    j->n = 0;
    json_put(j, "time", false, text_of("%s.%03ldZ", time_text(
             "%04d-%02d-%02dT%02d:%02d:%02d", t.tv_sec), t.tv_nsec / 1000000));
    json_put(j, "event", false, what);
    json_put(j, "flow", true, text_of("%lu", f->number));
    json_put(j, "ms", true, text_of("%.3f", (clock_now() - f->born) * 1000));
    for (size_t i = 0; k.pairs[i][0] != NULL; i++) {
        const char *name = k.pairs[i][0];

        for (size_t c = 0; (key[c] = (char)tolower(name[c])) != '\0'; c++)
            ;
        json_put(j, i == 0 ? "exchange" : key,
                 strstr("ID PORT STATUS", name) != NULL, k.pairs[i][1]);
    }
}

/* Ends the line of an event with the reason, and writes the line. */
static void event_end(struct json *j, const char *reason)
{
    json_put(j, "reason", false, reason);
    memcpy(j->text + j->n, "}\n", 2);
    sink_put(events, j->text, j->n + 2);
}

/* Whether an event of this level is told, and so is to be put in words. */
static bool is_told(int level)
{
    return level <= opt.verbose || events->fd >= 0;
}

/* Says what has happened to f: to people, if they asked for as much (level as
   for say()), and to --log-json, up to MORE. */
PRINTF(4, 5) static void tell(const struct flow *f, int level, const char *what,
                              const char *format, ...)
{
    char text[2048], *more;
    struct json j;

    if (!is_told(level))
        return;
    FORMAT(text, format);
    more = strchr(text, *MORE);
    if (more != NULL)
        *more = '\0';
    if (events->fd >= 0) {
        event_begin(&j, f, what, 0);
        event_end(&j, text);
    }
    if (more != NULL && opt.verbose > 1 && more[1] != '\0')
        *more = ' ';
    say(level, "c%lu%s%s %s", f->number, f->ex.id ? text_of(" #%lu", f->ex.id)
        : "", opt.verbose > 1 ? text_of(" +%.3f", clock_now() - f->born) : "",
        text);
}

/* Writes the n bytes at p to line, which has room for 4n + 2, as Python's
   repr() shows bytes, without the b. Returns the characters written. */
static size_t repr(char *line, const char *p, size_t n)
{
    char quote = memchr(p, '\'', n) && !memchr(p, '"', n) ? '"' : '\'';
    char *o = line;

    *o++ = quote;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];

        if (c == '\t' || c == '\n' || c == '\r' || c == '\\' || c == quote) {
            *o++ = '\\';
            *o++ = c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' :
                   (char)c;
        } else if (c < ' ' || c > '~')
            o += sprintf(o, "\\x%02x", c);
        else
            *o++ = (char)c;
    }
    *o++ = quote;
    return (size_t)(o - line);
}

/* Where messages are shown: on standard output, unless that is taken. */
static struct sink *shown_at(void)
{
    return &sinks[opt.command != NULL || is_stdout(opt.log_json) ||
                  is_stdout(opt.capture)];
}

/* Prints the start of a message of exchange id, whose first n bytes are p. */
static void show_message(unsigned long id, bool up, const char *p, size_t n)
{
    char line[4 * SHOWN + 64];
    size_t len;

    if (opt.quiet)
        return;
    len = (size_t)sprintf(line, "#%lu %s ", id, up ? ">>" : "<<");
    len += repr(line + len, p, n < SHOWN ? n : SHOWN);
    line[len++] = '\n';
    sink_put(shown_at(), line, len);
}

/* ==== 6 sockets =========================================================
   Addresses, listeners, and the sets of descriptors that select() watches:
   ours, as the C library's end at 1,024. Limit: TCP and Unix sockets. */

/* Makes an IPv4 address in IPv6's clothes (RFC 4291, 2.5.5.2) a plain one. */
static void unmap_address(struct sockaddr_storage *a)
{
    const struct sockaddr_in6 six = *(struct sockaddr_in6 *)a;
    struct sockaddr_in *four = (struct sockaddr_in *)a;

    if (a->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six.sin6_addr))
        return;
    memset(a, 0, sizeof *a);
    four->sin_family = AF_INET;
    four->sin_port = six.sin6_port;
    memcpy(&four->sin_addr, six.sin6_addr.s6_addr + 12, 4);
}

/* The address of a socket's own end, or of its peer's; AF_UNSPEC: none. */
static struct sockaddr_storage address_of(int fd, bool peer)
{
    struct sockaddr_storage a = { .ss_family = AF_UNSPEC };
    struct sockaddr *p = (struct sockaddr *)&a;
    socklen_t len = sizeof a;

    if ((peer ? getpeername(fd, p, &len) : getsockname(fd, p, &len)) != 0 ||
        a.ss_family == AF_UNIX)
        a = (struct sockaddr_storage){ .ss_family = AF_UNSPEC };
    unmap_address(&a);
    return a;
}

/* An address as 1.2.3.4:port or [::1]:port, a Unix socket's as "unix:"; as from
   text_of(). */
static const char *address_text(const struct sockaddr_storage *a)
{
    char host[64] = "unix", port[8] = "";

    if (a->ss_family == AF_INET || a->ss_family == AF_INET6)
        getnameinfo((const struct sockaddr *)a, sizeof *a, host, sizeof host,
                    port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    return text_of(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* An address's port, which is in the same place in IPv4's and IPv6's. */
static unsigned port_of(const struct sockaddr_storage *a)
{
    return ntohs(((const struct sockaddr_in *)a)->sin_port);
}

/* The 4 or 16 bytes of an address, of which *n is the number. */
static const void *ip_of(const struct sockaddr_storage *a, size_t *n)
{
    *n = a->ss_family == AF_INET ? 4 : 16;
    return *n == 4 ? (const void *)&((const struct sockaddr_in *)a)->sin_addr
                   : &((const struct sockaddr_in6 *)a)->sin6_addr;
}

/* Whether a is an address of this machine: then one can bind to it. */
static bool address_is_ours(struct sockaddr_storage a)
{
    int fd = socket(a.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ours;

    ((struct sockaddr_in *)&a)->sin_port = 0; /* where IPv6 has it, too */
    ours = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    fd_close(&fd);
    return ours;
}

/* Whether a connection to a would come back to us, as we listen there. 0.0.0.0
   and ::, which are no addresses, lead to this machine as well. */
static bool address_is_listener(struct sockaddr_storage a)
{
    struct sockaddr_storage here = address_of(listener, false);
    const void *p, *q;
    size_t n, m;
    static const char any[16];

    unmap_address(&a);
    p = ip_of(&a, &n);
    q = ip_of(&here, &m);
    if (listener < 0 || port_of(&a) != port_of(&here))
        return false;
    return memcmp(p, any, n) == 0 ||
           (memcmp(q, any, m) == 0 ? address_is_ours(a)
                                   : n == m && memcmp(p, q, n) == 0);
}

/* Reads an IP address, the zone of which (RFC 4007, 11) does not count, into
   ip, of 16 bytes, or NULL. Returns how many it has, 4 or 16; 0: it is none. */
static size_t parse_ip(const char *text, unsigned char *ip)
{
    const char *bare = text_of("%.*s", (int)strcspn(text, "%"), text);
    unsigned char unused[16];

    ip = ip != NULL ? ip : unused;
    return inet_pton(AF_INET, text, ip) == 1 ? 4 :
           inet_pton(AF_INET6, bare, ip) == 1 ? 16 : 0;
}

/* Adds the n bytes at p, as 16-bit numbers, to an Internet checksum. */
static uint32_t sum16(uint32_t sum, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sum += (uint32_t)p[i] << (i % 2 ? 0 : 8);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* A number, not 0, that tells addresses with their ports apart. */
static uint32_t address_sum(const struct sockaddr_storage *a)
{
    size_t n;
    const void *ip = ip_of(a, &n);

    return 1 + sum16(port_of(a), ip, n);
}

/* Where it is noted where the connection goes whose own end is here. */
static uint32_t *own_goes(struct sockaddr_storage here)
{
    return &shared->goes[port_of(&here)];
}

/* Notes where fd's connection goes, in case the packet filter sends it to us;
   to is NULL: it has ended. */
static void own_note(int fd, const struct sockaddr_storage *to)
{
    if (opt.reverse.port == 0 && fd >= 0)
        *own_goes(address_of(fd, false)) = to ? address_sum(to) : 0;
}

/* Opens a listening Unix socket of mode 0600, in place of one on which nobody
   listens any more; dies on failure. */
static int listen_unix(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (strlen(path) >= sizeof a.sun_path)
        die("cannot listen on unix:%s: a path may have %zu bytes", path,
            sizeof a.sun_path - 1);
    strcpy(a.sun_path, path);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        connect(fd, (struct sockaddr *)&a, sizeof a) != 0 &&
        errno == ECONNREFUSED)
        unlink(path);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        chmod(path, 0600) != 0 || listen(fd, 1024) != 0)
        die("cannot listen on unix:%s: %s%s", path, strerror(errno),
            errno == EADDRINUSE ? " (by another, or it is no socket)" : "");
    return fd;
}

/* The listening socket that systemd gives (sd_listen_fds(3)), which filters are
   not told of; -1: none. Dies if there are more, or if it does not listen. */
static int listen_given(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    int fd = 3, listens = 0;

    if (pid == NULL || n == NULL || atol(pid) != getpid())
        fd = -1;
    else if (strcmp(n, "1") != 0 ||
             getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens,
                        &(socklen_t){ sizeof listens }) != 0 || !listens ||
             fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
             fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        die("LISTEN_FDS: it must be one socket that listens for streams");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return fd;
}

/* Opens a listening TCP socket; dies on failure. */
static int listen_open(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE }, *a;
    size_t n = strlen(host);
    bool v6 = *host == '[' && host[n - 1] == ']'; /* as it is shown, too */
    const char *bare = text_of("%.*s", (int)n - 2 * v6, host + v6);
    int error = getaddrinfo(bare, port, &hints, &a), fd;

    if (error != 0)
        die("cannot listen on %s port %s: %s%s", host, port,
            gai_strerror(error), strchr(host, ':') ? " (-p PORT tells the port)"
                                                   : "");
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && opt.transparent &&   /* for TPROXY; REDIRECT needs none */
        setsockopt(fd, a->ai_family == AF_INET ? SOL_IP : SOL_IPV6,
                   a->ai_family == AF_INET ? IP_TRANSPARENT
                                           : IPV6_TRANSPARENT,
                   &(int){ 1 }, sizeof(int)) != 0)
        say(1, "REDIRECT will do, but not TPROXY: %s", strerror(errno));
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) ||
        bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 1024) != 0)
        die("cannot listen on %s port %s: %s%s", host, port, strerror(errno),
            errno == EADDRINUSE ? " (-p PORT takes another, -p 0 a free one)"
                                : "");
    freeaddrinfo(a);
    return fd;
}

/* Descriptors for select(), which knows no FD_SETSIZE in the kernel. */
enum { WORD = 8 * sizeof(unsigned long) };
static unsigned long readable[MAX_FDS / WORD], writable[MAX_FDS / WORD];
static int highest;                 /* descriptor in either */

/* Puts fd, which is not -1, into a set. */
static void fds_add(unsigned long *set, int fd)
{
    assert(fd < MAX_FDS);
    set[fd / WORD] |= 1UL << fd % WORD;
    if (fd > highest)
        highest = fd;
}

/* Whether fd is in a set; -1 never is. */
static bool fds_has(const unsigned long *set, int fd)
{
    return fd >= 0 && fd <= highest && (set[fd / WORD] >> fd % WORD & 1);
}

/* Closes the descriptors that our parent gave us, but 0, 1 and 2: they are not
   close-on-exec, and all of ours are. */
static void fds_close_given(void)
{
    DIR *list = opendir("/proc/self/fd");
    const struct dirent *e = NULL;

    for (int fd = 3; list ? (e = readdir(list)) != NULL : fd < fd_limit; fd++) {
        int n = e ? atoi(e->d_name) : fd;

        if (n > 2 && fcntl(n, F_GETFD) == 0)
            close(n);
    }
    if (list != NULL)
        closedir(list);
}

/* Empties both sets. */
static void fds_clear(void)
{
    size_t n = ((size_t)highest / WORD + 1) * sizeof(unsigned long);

    memset(readable, 0, n);
    memset(writable, 0, n);
    highest = 0;
}

/* ==== 7 capture =========================================================
   What passes between us and the servers, decrypted, goes into -w's file as
   pcapng (draft-ietf-opsawg-pcapng). Limit: TCP heads are made up. */

struct tap {
    struct sockaddr_storage from[2]; /* the client, the server */
    uint32_t next[2];       /* sequence number that each is at */
};

/* Writes v in network byte order, as so many bytes. */
static void put_number(unsigned char *p, size_t size, uint64_t v)
{
    for (size_t i = 0; i < size; i++)
        p[i] = (unsigned char)(v >> 8 * (size - 1 - i));
}

/* Writes an IP and a TCP header for n bytes of data from one side into h, of 60
   bytes; returns their length. An IPv4 side of two is mapped into IPv6. */
static size_t tap_headers(const struct tap *t, int side, int flags,
                          const unsigned char *data, size_t n,
                          unsigned char *h)
{
    bool v4 = t->from[0].ss_family == AF_INET &&
              t->from[1].ss_family == AF_INET;
    size_t ip = v4 ? 20 : 40, address = v4 ? 4 : 16;
    unsigned char *tcp = h + ip;
    uint32_t sum;

    memset(h, 0, ip + 20);
    put_number(h, 4, v4 ? 0x45000000 + 40 + (uint32_t)n : 0x60000000);
    put_number(h + 4, 4, v4 ? 0x4000 : ((uint32_t)n + 20) << 16 | 6 << 8 | 64);
    put_number(h + 8, v4 ? 4 : 0, 64 << 24 | 6 << 16);
    for (int i = 0; i < 2; i++) {
        unsigned char *at = h + ip - (i == 0 ? 2 : 1) * address;
        size_t size;
        const void *from = ip_of(&t->from[side ^ i], &size);

        put_number(tcp + 2 * i, 2, port_of(&t->from[side ^ i]));
        if (size < address)
            put_number(at + 10, 2, 0xffff);
        memcpy(at + address - size, from, size);
    }
    if (v4)
        put_number(h + 10, 2, ~sum16(0, h, ip));
    put_number(tcp + 4, 4, t->next[side]);
    put_number(tcp + 8, 4, flags & TH_ACK ? t->next[!side] : 0);
    /* a window that is no multiple of 16384: Wireshark notes full ones */
    put_number(tcp + 12, 4, 0x50000000 | (uint32_t)flags << 16 | 0xfff1);
    sum = sum16(6 + 20 + (uint32_t)n, h + ip - 2 * address, 2 * address);
    put_number(tcp + 16, 2, ~sum16(sum16(sum, tcp, 20), data, n));
    return ip + 20;
}

/* Writes a packet of n bytes from one side, 0 the client's. */
static void tap_packet(struct tap *t, int side, int flags,
                       const unsigned char *data, size_t n)
{
    struct buf b = { 0 };
    unsigned char h[60];
    size_t len = tap_headers(t, side, flags, data, n, h), pad = -(len + n) % 4;
    struct timespec now_is;
    uint64_t us;
    uint32_t block[7] = { 6, (uint32_t)(32 + len + n + pad), 0, 0, 0,
                          (uint32_t)(len + n), (uint32_t)(len + n) };

    clock_gettime(CLOCK_REALTIME, &now_is);
    us = (uint64_t)now_is.tv_sec * 1000000 + (uint64_t)now_is.tv_nsec / 1000;
    block[3] = (uint32_t)(us >> 32);
    block[4] = (uint32_t)us;
    if (!buf_grow(&b, block[1])) {
        capture->lost++;
        return;
    }
    buf_put(&b, block, sizeof block);
    buf_put(&b, h, len);
    buf_put(&b, data, n);
    buf_put(&b, "\0\0\0", pad);
    buf_put(&b, &block[1], 4);
    sink_put(capture, buf_at(&b), b.len);
    buf_free(&b);
    t->next[side] += (uint32_t)n + ((flags & (TH_SYN | TH_FIN)) != 0);
}

/* Captures n bytes from one side, in pieces for IP. t may be NULL. */
static void tap_data(struct tap *t, int side, const unsigned char *data,
                     size_t n)
{
    size_t piece;

    for (; t != NULL && n > 0; data += piece, n -= piece) {
        piece = n < 32768 ? n : 32768;
        tap_packet(t, side, TH_PUSH | TH_ACK, data, piece);
    }
}

/* A tap for a client's connection to a server, and its first packets. */
static struct tap *tap_new(const struct sockaddr_storage *client, int server)
{
    struct tap *t = alloc(sizeof *t);

    t->from[0] = *client;
    t->from[1] = address_of(server, true);
    /* by the clock (RFC 9293, 3.4.1): the client may come here again */
    t->next[0] = t->next[1] = (uint32_t)(uint64_t)(now * 250000);
    tap_packet(t, 0, TH_SYN, NULL, 0);
    tap_packet(t, 1, TH_SYN | TH_ACK, NULL, 0);
    tap_packet(t, 0, TH_ACK, NULL, 0);
    return t;
}

/* Captures the end of the connection, and frees t, which may be NULL. */
static void tap_free(struct tap *t)
{
    if (t == NULL)
        return;
    tap_packet(t, 0, TH_FIN | TH_ACK, NULL, 0);
    tap_packet(t, 1, TH_FIN | TH_ACK, NULL, 0);
    tap_packet(t, 0, TH_ACK, NULL, 0);
    free(t);
}

/* Opens -w's file and writes its first two blocks; dies on failure. */
static void capture_open(const char *path)
{
    enum { SHORT = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 16 : 0 };
    static const uint32_t start[] = { /* version 1.0; LINKTYPE_RAW */
        0x0a0d0d0a, 28, 0x1a2b3c4d, 1u << SHORT, -1u, -1u, 28,
        1, 20, 101u << SHORT, 0, 20
    };

    record_open(capture, path, O_TRUNC);
    if (!capture->file && opt.workers > 1)
        die("%s is no file, and so takes one worker's packets: -j 1", path);
    sink_put(capture, start, sizeof start);
}

/* ==== 8 certificates ====================================================
   One writer makes the CA's certificate and the leaves. Subject, issuer and
   names are copied as the DER of the certificates that they come from, every
   byte of it: Mbed TLS's writer would take an RDN of several values apart.
   Random bytes come from PSA, which notices a fork(). Limit: ECDSA with P-256,
   and RSA for clients without ECDSA. */

static struct {
    mbedtls_x509_crt crt;   /* the CA's certificate, and its chain's */
    mbedtls_x509_crt *sent; /* those that clients are sent, or NULL */
    mbedtls_x509_crt *rest; /* those of its file that they are not */
    mbedtls_pk_context key;
    mbedtls_pk_context leaf_key; /* of all leaves, new at each start ... */
    mbedtls_pk_context rsa_key; /* ... and for clients without ECDSA */
    bool has_rsa;           /* ... which a helper makes for the first */
    mbedtls_x509_buf limits; /* crt's name constraints; p NULL: none */
} ca;

/* SHA-256 of the n bytes at p, 32 bytes. */
static void sha256(const void *p, size_t n, unsigned char *digest)
{
    size_t len;

    if (psa_hash_compute(PSA_ALG_SHA_256, p, n, digest, 32, &len) != 0)
        die("SHA-256 failed");
}

/* Whether b has the n octets at p. */
static bool has_octets(const mbedtls_x509_buf *b, const void *p, size_t n)
{
    return b->len == n && memcmp(b->p, p, n) == 0;
}

/* Makes a P-256 key, or one of RSA 2048; dies on failure. */
static void key_make(mbedtls_pk_context *key, bool rsa)
{
    psa_key_attributes_t a = PSA_KEY_ATTRIBUTES_INIT;
    psa_key_id_t id;

    psa_set_key_type(&a, rsa ? PSA_KEY_TYPE_RSA_KEY_PAIR :
                     PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1));
    psa_set_key_bits(&a, rsa ? 2048 : 256);
    psa_set_key_algorithm(&a, rsa ? PSA_ALG_RSA_PKCS1V15_SIGN(PSA_ALG_ANY_HASH)
                                  : PSA_ALG_ECDSA(PSA_ALG_ANY_HASH));
    psa_set_key_usage_flags(&a, PSA_KEY_USAGE_EXPORT |
                            PSA_KEY_USAGE_SIGN_HASH);
    mbedtls_pk_init(key);
    if (psa_generate_key(&a, &id) != 0 ||
        mbedtls_pk_copy_from_psa(id, key) != 0)
        die("cannot make a key: is there no source of random numbers?");
    psa_destroy_key(id);
}

enum {
    ERR_SLOW_KEY = -0x10000,        /* key_is_quick() says no */
    ERR_UNVERIFIED = -0x10001,      /* server_verify() is to be called first */
    ERR_KEY_UPDATE = -0x10002,      /* TLS 1.3's new keys in mid-connection */
    ERR_LIMITED = -0x10003          /* our CA may not sign for the name */
};

/* ---- DER (X.690): a value's parts are appended, then get tag and length */

enum {
    SEQUENCE = MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE,
    SET = MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SET,
    CONTEXT = MBEDTLS_ASN1_CONTEXT_SPECIFIC,
    CONTEXT_OF = MBEDTLS_ASN1_CONSTRUCTED | CONTEXT,
    SAN_DNS = CONTEXT | 2, SAN_IP = CONTEXT | 7 /* RFC 5280, 4.2.1.6 */
};

/* Wraps what b has from offset at on in a tag and its length. */
static void der_wrap(struct buf *b, size_t at, int tag)
{
    unsigned char head[8] = { 0 }, *end = head + sizeof head, *p = end;

    mbedtls_asn1_write_len(&p, head, b->len - at); /* p moves backwards */
    mbedtls_asn1_write_tag(&p, head, (unsigned char)tag);
    buf_splice(b, at, 0, p, (size_t)(end - p));
}

/* Appends a value: a tag, a length and the n bytes at p. */
static void der_put(struct buf *b, int tag, const void *p, size_t n)
{
    size_t at = b->len;

    buf_put(b, p, n);
    der_wrap(b, at, tag);
}

/* Appends a SEQUENCE of this value alone. */
static void der_put_alone(struct buf *b, int tag, const void *p, size_t n)
{
    size_t at = b->len;

    der_put(b, tag, p, n);
    der_wrap(b, at, SEQUENCE);
}

/* Appends the subject of a certificate, or, where that is NULL, a Name with a
   common name alone, of at most 64 characters. */
static void der_name(struct buf *b, const mbedtls_x509_crt *crt, const char *cn)
{
    size_t at = b->len;

    if (crt != NULL) {
        buf_put(b, crt->subject_raw.p, crt->subject_raw.len);
        return;
    }
    der_put(b, MBEDTLS_ASN1_OID, MBEDTLS_OID_AT_CN, 3);
    der_put(b, MBEDTLS_ASN1_UTF8_STRING, cn, strnlen(cn, 64));
    der_wrap(b, at, SEQUENCE);
    der_wrap(b, at, SET);
    der_wrap(b, at, SEQUENCE);
}

/* Appends a time, from 2050 on as GeneralizedTime (RFC 5280, 4.1.2.5). */
static void der_time(struct buf *b, time_t when)
{
    const char *text = time_text("%04d%02d%02d%02d%02d%02dZ", when);
    bool utc = strcmp(text, "2050") < 0; /* which has two digits of the year */

    der_put(b, utc ? MBEDTLS_ASN1_UTC_TIME : MBEDTLS_ASN1_GENERALIZED_TIME,
            text + 2 * utc, strlen(text) - 2 * utc);
}

/* Appends an extension (RFC 5280, 4.2) of what value has, which is emptied. */
static void der_extension(struct buf *b, const char *oid, bool critical,
                          struct buf *value)
{
    size_t at = b->len;

    der_put(b, MBEDTLS_ASN1_OID, oid, strlen(oid));
    if (critical)
        der_put(b, MBEDTLS_ASN1_BOOLEAN, "\xff", 1);
    der_put(b, MBEDTLS_ASN1_OCTET_STRING, buf_at(value), value->len);
    der_wrap(b, at, SEQUENCE);
    buf_eat(value, value->len);
}

/* ---- which names a CA may sign (RFC 5280, 4.2.1.10: name constraints) */

/* A host name or an address as a GeneralName; ip, of 16 bytes, is the place
   for an address. */
static mbedtls_x509_buf general_name(const char *text, unsigned char *ip)
{
    size_t n = parse_ip(text, ip);

    if (n > 0)
        return (mbedtls_x509_buf){ SAN_IP, n, ip };
    return (mbedtls_x509_buf){ SAN_DNS, strlen(text), (unsigned char *)text };
}

/* Whether a name lies within a base of the same kind, len bytes, of which an
   address has a mask behind it. */
static bool name_within(const mbedtls_x509_buf *name,
                        const unsigned char *base, size_t len)
{
    const unsigned char *p = name->p;
    size_t n = name->len;

    if (name->tag == SAN_IP) {
        for (size_t i = 0; len == 2 * n && i < n; i++)
            if (((p[i] ^ base[i]) & base[n + i]) != 0)
                return false;
        return len == 2 * n;
    }
    return len <= n && strncasecmp((char *)p + n - len, (char *)base, len) == 0
           && (len == 0 || len == n || *base == '.' || p[n - len - 1] == '.');
}

/* Whether a CA's name constraints, p to end, allow this name. Those that cannot
   be read allow none. */
static bool name_allowed(const unsigned char *from, const unsigned char *end,
                         const mbedtls_x509_buf *name)
{
    enum { EXCLUDED = CONTEXT_OF | 1 }; /* else permitted */
    unsigned char *p = (unsigned char *)from, *next, *list_end;
    size_t len;

    if (mbedtls_asn1_get_tag(&p, end, &len, SEQUENCE) != 0)
        return false;
    while (p < end) {
        int tag = *p;
        bool there = false, within = false;

        if (mbedtls_asn1_get_tag(&p, end, &len, tag) != 0)
            return false;
        for (list_end = p + len; p < list_end; p = next) {
            if (mbedtls_asn1_get_tag(&p, list_end, &len, SEQUENCE) != 0)
                return false;
            next = p + len;
            if (p == next || *p != name->tag)
                continue;
            if (mbedtls_asn1_get_tag(&p, next, &len, name->tag) != 0)
                return false;
            there = true;
            within |= name_within(name, p, len);
        }
        if (tag == EXCLUDED ? within : there && !within)
            return false;
    }
    return true;
}

/* Whether our CA may sign for this name, as far as its name constraints go. */
static bool ca_may_sign(const mbedtls_x509_buf *name)
{
    return ca.limits.p == NULL ||
           name_allowed(ca.limits.p, ca.limits.p + ca.limits.len, name);
}

/* Writes --ca-for's names as name constraints: those are permitted, and of the
   kind, DNS names or addresses, that is not among them, all are excluded. */
static void der_limits(struct buf *b)
{
    static const unsigned char all[32];
    unsigned char ip[32];
    bool dns = false, address = false;
    size_t at;

    for (const struct name_list *a = opt.ca_for; a != NULL; a = a->next) {
        mbedtls_x509_buf name = general_name(a->name, ip);
        bool is_ip = name.tag == SAN_IP;

        memset(ip + (is_ip ? name.len : 0), 255, 16); /* its mask */
        der_put_alone(b, name.tag, name.p, is_ip ? 2 * name.len : name.len);
        dns |= !is_ip;
        address |= is_ip;
    }
    der_wrap(b, 0, CONTEXT_OF | 0);
    at = b->len;
    if (!dns)
        der_put_alone(b, SAN_DNS, all, 0);
    if (!address) {
        der_put_alone(b, SAN_IP, all, 8);
        der_put_alone(b, SAN_IP, all, 32);
    }
    if (b->len > at)
        der_wrap(b, at, CONTEXT_OF | 1);
    der_wrap(b, 0, SEQUENCE);
}

/* ---- a certificate, and the leaf forged for a server */

/* What to write: a CA that signs itself, or a leaf that our CA signs. */
struct cert {
    bool is_ca;
    const char *name;       /* a CA's common name; a leaf's host or address */
    const mbedtls_x509_crt *server; /* whose subject and names a leaf has, or
                               NULL: it has but its own */
    mbedtls_pk_context *key;
    time_t from, to;
};

/* Writes the GeneralNames of a leaf: the server's names, as far as our CA may
   sign for them, and the one asked for. */
static void der_alt_names(struct buf *b, const struct cert *c)
{
    unsigned char ip[16];
    mbedtls_x509_buf name = general_name(c->name, ip);
    bool there = false;

    for (const mbedtls_x509_sequence *s = c->server ?
         &c->server->subject_alt_names : NULL; s && s->buf.p; s = s->next) {
        const mbedtls_x509_buf *san = &s->buf;

        if ((san->tag != SAN_DNS && san->tag != SAN_IP) || !ca_may_sign(san))
            continue;
        der_put(b, san->tag, san->p, san->len);
        there |= san->tag == name.tag && (san->tag == SAN_IP ?
                 has_octets(san, ip, name.len) :
                 same_word((char *)san->p, san->len, c->name));
    }
    if (!there)
        der_put(b, name.tag, name.p, name.len);
    der_wrap(b, 0, SEQUENCE);
}

/* Appends the extensions, of which a CA and a leaf have different ones. A CA's
   key identifier is any number of its own (RFC 5280, 4.2.1.2): id, 16 bytes. */
static void der_extensions(struct buf *b, const struct cert *c,
                           const unsigned char *id)
{
    /* a BIT STRING's second byte is the number of bits that its last has not:
       keyCertSign and cRLSign, bits 5 and 6; digitalSignature, bit 0, and,
       with an RSA key, keyEncipherment, bit 2 */
    const char *usage = c->is_ca ? "\x01\x06" :
                        c->key == &ca.rsa_key ? "\x05\xa0" : "\x07\x80";
    const mbedtls_x509_buf *signer = &ca.crt.subject_key_id;
    struct buf *value = buf_scratch();
    size_t at = b->len;

    if (!c->is_ca && signer->p != NULL) {
        der_put_alone(value, CONTEXT | 0, signer->p, signer->len);
        der_extension(b, MBEDTLS_OID_AUTHORITY_KEY_IDENTIFIER, false, value);
    }
    if (c->is_ca)
        der_put(value, MBEDTLS_ASN1_BOOLEAN, "\xff", 1);
    der_wrap(value, 0, SEQUENCE);
    der_extension(b, MBEDTLS_OID_BASIC_CONSTRAINTS, true, value);
    der_put(value, MBEDTLS_ASN1_BIT_STRING, usage, 2);
    der_extension(b, MBEDTLS_OID_KEY_USAGE, true, value);
    if (c->is_ca && opt.ca_for != NULL) {
        der_limits(value);
        der_extension(b, MBEDTLS_OID_NAME_CONSTRAINTS, true, value);
    }
    if (c->is_ca) {
        der_put(value, MBEDTLS_ASN1_OCTET_STRING, id, 16);
        der_extension(b, MBEDTLS_OID_SUBJECT_KEY_IDENTIFIER, false, value);
    } else {
        der_put_alone(value, MBEDTLS_ASN1_OID, MBEDTLS_OID_SERVER_AUTH,
                      sizeof MBEDTLS_OID_SERVER_AUTH - 1);
        der_extension(b, MBEDTLS_OID_EXTENDED_KEY_USAGE, false, value);
        der_alt_names(value, c);
        /* critical when the subject is empty (RFC 5280, 4.2.1.6) */
        der_extension(b, MBEDTLS_OID_SUBJECT_ALT_NAME,
                      c->server && c->server->subject_raw.len == 2, value);
    }
    buf_free(value);
    der_wrap(b, at, SEQUENCE);
    der_wrap(b, at, CONTEXT_OF | 3);
}

/* Whether this public or whole key is RSA's. */
static bool key_is_rsa(const mbedtls_pk_context *key)
{
    psa_key_attributes_t a = PSA_KEY_ATTRIBUTES_INIT;

    return mbedtls_pk_get_psa_attributes(key, PSA_KEY_USAGE_VERIFY_HASH, &a)
           == 0 && PSA_KEY_TYPE_IS_RSA(psa_get_key_type(&a));
}

/* Appends the AlgorithmIdentifier of a SHA-256 signature by our CA's key. */
static void der_algorithm(struct buf *b)
{
    bool rsa = key_is_rsa(&ca.key);
    const char *oid = rsa ? MBEDTLS_OID_PKCS1_SHA256 : MBEDTLS_OID_ECDSA_SHA256;
    size_t at = b->len;

    der_put(b, MBEDTLS_ASN1_OID, oid, strlen(oid));
    if (rsa)
        der_put(b, MBEDTLS_ASN1_NULL, NULL, 0);
    der_wrap(b, at, SEQUENCE);
}

/* Writes and signs a certificate (RFC 5280, 4.1) as DER into b, which is empty.
   0 or an Mbed TLS error. */
static int cert_write(const struct cert *c, struct buf *b)
{
    unsigned char serial[16], key[512], digest[32], sig[1024];
    int n = mbedtls_pk_write_pubkey_der(c->key, key, sizeof key);
    int error = n < 0 ? n : mbedtls_psa_get_random(NULL, serial, sizeof serial);
    size_t at, size;

    if (error != 0)
        return error;
    serial[0] = (serial[0] & 0x3f) | 0x40;  /* positive, no leading zero */
    der_put(b, MBEDTLS_ASN1_INTEGER, "\x02", 1);
    der_wrap(b, 0, CONTEXT_OF | 0); /* version 3 */
    der_put(b, MBEDTLS_ASN1_INTEGER, serial, sizeof serial);
    der_algorithm(b);
    der_name(b, c->is_ca ? NULL : &ca.crt, c->name);
    at = b->len;
    der_time(b, c->from);
    der_time(b, c->to);
    der_wrap(b, at, SEQUENCE);
    der_name(b, c->server, c->name);
    buf_put(b, key + sizeof key - n, (size_t)n); /* at the end of its room */
    der_extensions(b, c, serial);
    der_wrap(b, 0, SEQUENCE);       /* the TBSCertificate, which is signed */
    sha256(buf_at(b), b->len, digest);
    error = mbedtls_pk_sign(&ca.key, MBEDTLS_MD_SHA256, digest, sizeof digest,
                            sig, sizeof sig, &size WITH_RANDOM);
    if (error != 0)
        return error;
    der_algorithm(b);
    at = b->len;
    buf_put(b, "", 1);              /* no bit of the last byte is unused */
    buf_put(b, sig, size);
    der_wrap(b, at, MBEDTLS_ASN1_BIT_STRING);
    der_wrap(b, 0, SEQUENCE);
    return 0;
}

/* The seconds since 1970 of a time in a certificate. */
static time_t cert_time(const mbedtls_x509_time *t)
{
    struct tm tm = { .tm_year = t->year - 1900, .tm_mon = t->mon - 1,
                     .tm_mday = t->day, .tm_hour = t->hour,
                     .tm_min = t->min, .tm_sec = t->sec };

    return timegm(&tm);
}

/* Tells of a certificate, after these words, what people compare, in the same
   order for each: whose it is, who says so, and its key. */
static void cert_tell(const struct flow *f, const char *words,
                      const mbedtls_x509_crt *c)
{
    char subject[400] = "?", issuer[400] = "?", serial[80] = "?", ip[48];
    const mbedtls_x509_time *from = &c->valid_from, *to = &c->valid_to;
    char names[256] = "";
    int others = 0;

    if (!is_told(2))
        return;
    mbedtls_x509_dn_gets(subject, sizeof subject, &c->subject);
    mbedtls_x509_dn_gets(issuer, sizeof issuer, &c->issuer);
    mbedtls_x509_serial_gets(serial, sizeof serial, &c->serial);
    for (const mbedtls_x509_sequence *s = &c->subject_alt_names;
         s != NULL && s->buf.p != NULL; s = s->next) {
        bool is_ip = s->buf.tag == SAN_IP && s->buf.len % 12 == 4;
        size_t n = strlen(names), len = s->buf.len;
        char *text = (char *)s->buf.p;

        if (is_ip)
            text = (char *)inet_ntop(len == 4 ? AF_INET : AF_INET6, text, ip,
                                     sizeof ip), len = strlen(ip);
        if ((!is_ip && s->buf.tag != SAN_DNS) ||
            n + len > sizeof names - 40)
            others++;
        else
            sprintf(names + n, " %.*s", (int)len, text);
    }
    if (others > 0)
        sprintf(names + strlen(names), " and %d more", others);
    tell(f, 2, EV_TLS, "%s: subject %s; names%s; issuer %s; serial %s; from "
         "%d-%02d-%02d until %d-%02d-%02d; key %s of %zu bits", words, subject,
         *names ? names : " none", issuer, serial, from->year, from->mon,
         from->day, to->year, to->mon, to->day, key_is_rsa(&c->pk) ? "RSA" :
         "EC", mbedtls_pk_get_bitlen(&c->pk));
}

/* Whether the clock has yet to be set. Tells when that begins, and ends. */
static bool clock_is_unset(void)
{
    static bool unset;
    bool was = unset;

    unset = time(NULL) < EARLIEST;
    if (unset != was)
        say(0, unset ? "the clock is not set: certificates are made for all of "
            "the next two years, and servers' may have expired" :
            "the clock is set: certificates are made and checked by it");
    return unset;
}

/* Forges a leaf for name into crt: with the subject and the names of the
   server's certificate, or, without one, a bare one. 0 or an error. */
static int leaf_forge(mbedtls_x509_crt *crt, const mbedtls_x509_crt *server,
                      const char *name, bool rsa)
{
    enum { DAY = 24 * 3600 };
    bool unset = clock_is_unset();  /* 825 days: Apple takes no more */
    time_t from = (unset ? EARLIEST : time(NULL)) - 2 * DAY,
           to = from + (unset ? 825 : 92) * DAY,
           ca_from = cert_time(&ca.crt.valid_from),
           ca_to = cert_time(&ca.crt.valid_to);
    struct cert c = { .name = name, .server = server,
                      .key = rsa ? &ca.rsa_key : &ca.leaf_key,
                      .from = from > ca_from ? from : ca_from,
                      .to = to < ca_to ? to : ca_to };
    unsigned char ip[16];
    mbedtls_x509_buf wanted = general_name(name, ip);
    struct buf *der = buf_scratch();
    int error = ca_may_sign(&wanted) ? cert_write(&c, der) : ERR_LIMITED;

    if (error == 0)
        error = mbedtls_x509_crt_parse_der(crt, buf_at(der), der->len);
    crt->next = error == 0 ? ca.sent : NULL; /* Mbed TLS frees what is next
                                       to one that it cannot parse */
    buf_free(der);
    return error;
}

/* ---- the files of certificates and keys */

/* Writes n bytes to a new file. Fewer, which is no error of write()'s, are one
   here: the disk is full. */
static bool file_fill(int fd, const void *p, size_t n)
{
    ssize_t done = write(fd, p, n);

    if (done >= 0 && (size_t)done < n)
        errno = ENOSPC;
    return done == (ssize_t)n;
}

/* Writes text to a new file of mode 0600, which appears all at once; the file
   of another process that was quicker stays. False, errno: failed. */
static bool file_write_private(const char *path, const char *text)
{
    size_t n = strlen(text);
    char temp[PATH_MAX + 8];
    sigset_t all, before;
    bool good;
    int fd, error;

    sigfillset(&all);               /* or ^C would leave the other name */
    sigprocmask(SIG_SETMASK, &all, &before);
    snprintf(temp, sizeof temp, "%s.XXXXXX", path);
    fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
    good = fd >= 0 && file_fill(fd, text, n) && fsync(fd) == 0 &&
           (link(temp, path) == 0 || errno == EEXIST ||
            rename(temp, path) == 0);
    error = errno;
    if (fd >= 0) {
        close(fd);
        unlink(temp);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return good;
}

/* Takes an extension that Mbed TLS does not know, critical or not: those of
   servers' chains are looked at by extension_judge(). Of our CA, the name
   constraints are noted, which stay where they are. */
static int extension_take(void *unused, const mbedtls_x509_crt *crt,
                          const mbedtls_x509_buf *oid, int critical,
                          const unsigned char *p, const unsigned char *end)
{
    (void)unused, (void)critical;
    if (crt == &ca.crt && has_octets(oid, MBEDTLS_OID_NAME_CONSTRAINTS, 3))
        ca.limits = (mbedtls_x509_buf){ 0, (size_t)(end - p), (void *)p };
    return 0;
}

/* Appends a certificate and those behind it, in PEM form. */
static void put_certs(struct buf *b, const mbedtls_x509_crt *c)
{
    unsigned char pem[16384];
    size_t n;

    for (; c != NULL; c = c->next)
        if (mbedtls_pem_write_buffer("-----BEGIN CERTIFICATE-----\n",
                                     "-----END CERTIFICATE-----\n", c->raw.p,
                                     c->raw.len, pem, sizeof pem, &n) == 0)
            buf_put(b, pem, n - 1);
}

/* Makes a CA: P-256, ten years. Ends with status 0, or with one line on what
   is wrong. It is the work of a child, as Mbed TLS's PEM writer leaves a part
   of the key in memory that it has freed. */
static _Noreturn void ca_make(const char *path)
{
    char name[64], host[32] = "";
    unsigned char key[4096];
    struct buf *der = buf_scratch(), *text = buf_scratch();
    struct cert c = { .is_ca = true, .name = name, .key = &ca.key,
                      .from = (clock_is_unset() ? EARLIEST : time(NULL)) -
                              24 * 3600 };
    int error;

    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "mitmproxy.c CA of %s", host[0] ? host : "?");
    c.to = c.from + (time_t)3652 * 24 * 3600;
    key_make(&ca.key, false);
    error = cert_write(&c, der);
    if (error == 0)
        error = mbedtls_x509_crt_parse_der_with_ext_cb(
            &ca.crt, buf_at(der), der->len, 1, extension_take, NULL);
    if (error != 0 || mbedtls_pk_write_key_pem(&ca.key, key, sizeof key) != 0)
        die("cannot make a CA: error -0x%04x", (unsigned)-error);
    buf_puts(text, (char *)key);
    put_certs(text, &ca.crt);
    if (!file_write_private(path, buf_text(text)))
        die("cannot write %s: %s (--ca FILE takes another place)", path,
            strerror(errno));
    _exit(0);
}

/* Reads a file, or its first 8 MiB: *n bytes, to be freed, with a NUL behind;
   *st, unless that is NULL, is fstat()'s. NULL, errno: it cannot be read. */
static char *file_read(const char *path, size_t *n, struct stat *st)
{
    enum { LIMIT = 8 << 20 };
    char *text = alloc(LIMIT + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error;
    ssize_t got = -1;

    *n = 0;
    if (fd >= 0 && (st == NULL || fstat(fd, st) == 0)) {
        fcntl(fd, F_SETFL, 0);      /* a pipe's writer may take its time */
        while ((got = read(fd, text + *n, LIMIT - *n)) > 0)
            *n += (size_t)got;
    }
    fd_close(&fd);
    if (got < 0) {
        error = errno;
        free(text);
        text = NULL;
        errno = error;
    }
    return text;
}

/* Reads a file in PEM form, as file_read(), and takes the blanks off its lines'
   ends, which come by pasting: Mbed TLS reads none there, OpenSSL does. */
static char *pem_read(const char *path, size_t *n, struct stat *st)
{
    char *text = file_read(path, n, st), *o = text;

    if (text == NULL || strstr(text, "-----BEGIN ") == NULL)
        return text;
    for (const char *p = text; p < text + *n; *o++ = *p++)
        while ((*p == '\n' || *p == '\r') && o > text &&
               (o[-1] == ' ' || o[-1] == '\t'))
            o--;
    memset(o, 0, (size_t)(text + *n - o)); /* perhaps a part of a key */
    *n = (size_t)(o - text);
    return text;
}

/* What an error means, in words, until the next call: Mbed TLS's own without
   their prefix, or better ones. */
static const char *tls_strerror(int error)
{
    static char text[256];
    char *s;

    if (error == ERR_SLOW_KEY)
        return "its certificate or chain has an RSA key with an exponent of "
               "more than 64 bits"; /* MAX_EXPONENT */
    if (error == ERR_LIMITED)
        return "our CA may not sign for that name (--ca-for)";
    if (error == ERR_KEY_UPDATE)
        return "it took new keys (KeyUpdate), which Mbed TLS cannot follow "
               "(--ignore-hosts REGEX passes it untouched)";
    if (error == MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION)
        return "it speaks neither TLS 1.2 nor TLS 1.3";
    if (error == MBEDTLS_ERR_SSL_BAD_INPUT_DATA ||
        error == MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL)
        return "a message of its handshake, its certificates perhaps, has more "
               "than 16 KiB (--ignore-hosts REGEX passes it untouched)";
    if (error == MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG)
        return "its certificate is signed in a way that Mbed TLS lacks, such "
               "as Ed25519 (--ignore-hosts REGEX passes it untouched)";
    if (error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE)
        return "it has no key, curve or cipher suite in common with Mbed TLS, "
               "which lacks Ed25519, Ed448, RSA-PSS keys, X448 and "
               "finite-field DHE (--ignore-hosts REGEX passes it untouched)";
    mbedtls_strerror(error, text, sizeof text - 4);
    strcat(text, " : ");            /* as before the words of a layer below */
    s = strstr(text, " - ");
    s = s ? s + 3 : text;
    *strstr(s, " : ") = '\0';
    return s;
}

/* The same of a handshake that has failed: with a way round. */
static const char *shake_strerror(int error)
{
    const char *why = tls_strerror(error);

    return text_of("%s%s", why, strstr(why, " (--") ? "" :
                   " (--ignore-hosts REGEX passes it untouched)");
}

/* Reads the certificates in PEM form in the text of a file; take, if there is
   one, gets crt with each of them alone. Dies with one line if none can be
   used, or, of the CA's, not all; path NULL: does not die. */
static void certs_read(mbedtls_x509_crt *crt, const char *path,
                       const char *text, void (*take)(mbedtls_x509_crt *))
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    int error = 0, r;               /* the last that was met */
    mbedtls_pem_context pem;
    const unsigned char *der;
    size_t n, good = 0;

    mbedtls_x509_crt_init(crt);
    for (; (text = strstr(text, begin)) != NULL; text += sizeof begin - 1) {
        mbedtls_pem_init(&pem);
        r = mbedtls_pem_read_buffer(&pem, begin, "-----END CERTIFICATE-----",
                                    (const unsigned char *)text, NULL, 0, &n);
        der = mbedtls_pem_get_buffer(&pem, &n);
        if (r == 0)
            r = mbedtls_x509_crt_parse_der_with_ext_cb(crt, der, n, 1,
                                                       extension_take, NULL);
        mbedtls_pem_free(&pem);
        error = r != 0 ? r : error;
        good += r == 0;
        if (r == 0 && take != NULL)
            take(crt);
    }
    if (path == NULL || (good > 0 && (error == 0 || crt != &ca.crt)))
        return;
    if (error == 0)
        die("%s holds no certificate in PEM form%s", path, path == opt.ca_file
            ? " (remove it, and a new CA is made)" : "");
    die("a certificate in %s cannot be used: %s (its key may be RSA or EC)",
        path, good > 0 ? "it cannot be read" : tls_strerror(error));
}

/* Reads a certificate, with its chain, and its key, which is in the same file
   if key_path is NULL; that of the CA must be ours alone. Dies with one line
   on what is wrong. */
static void pair_read(mbedtls_x509_crt *crt, mbedtls_pk_context *key,
                      const char *path, const char *key_path)
{
    bool is_ca = crt == &ca.crt;
    struct stat st;
    size_t n;
    char *text = pem_read(path, &n, &st);

    if (text == NULL)
        die("cannot read %s: %s%s", path, is_ca && errno == ENOENT ? "it is a "
            "link to a file that is not there" : strerror(errno), opt.unquoted);
    if (is_ca && st.st_uid != geteuid() && st.st_uid != 0)
        die("%s belongs to another user, who may know its key: chown it, if "
            "it is to be trusted, or take another by --ca FILE", path);
    if (is_ca && (st.st_mode & 077))
        die("%s is for the CA's key, but others may read it: %s%s", path,
            S_ISREG(st.st_mode) ? "chmod 600 " : "it is no regular file",
            S_ISREG(st.st_mode) ? path : "");
    certs_read(crt, path, text, NULL);
    if (key_path != NULL) {
        free(text);
        path = key_path;
        text = pem_read(path, &n, &st);
    }
    if (text == NULL)
        die("cannot read %s: %s", path, strerror(errno));
    mbedtls_pk_init(key);
    if (strstr(text, "ENCRYPTED") != NULL)
        die("the key in %s is encrypted: take the pass phrase off with "
            "openssl pkey", path);
    if (mbedtls_pk_parse_key(key, (const unsigned char *)text, n + 1, NULL,
                             0 WITH_RANDOM) != 0)
        die("%s holds no private key that can be read: it must have both "
            "certificate and key", path);
    if (mbedtls_pk_check_pair(&crt->pk, key WITH_RANDOM) != 0)
        die("the key in %s is not that of its certificate", path);
    mbedtls_platform_zeroize(text, n);
    free(text);
}

/* Whether crt names the subject and the key of by as what has signed it. */
static bool cert_is_by(const mbedtls_x509_crt *crt, const mbedtls_x509_crt *by)
{
    const mbedtls_x509_buf *id = &crt->authority_key_id.keyIdentifier,
                           *own = &by->subject_key_id;

    return has_octets(&crt->issuer_raw, by->subject_raw.p,
                      by->subject_raw.len) &&
           (!id->p || !own->p || has_octets(id, own->p, own->len));
}

/* Puts a chain in the order in which Mbed TLS reads it: behind each certificate
   its issuer's, and of several such one that has not expired. */
static void chain_sort(mbedtls_x509_crt *crt)
{
    for (; crt != NULL; crt = crt->next) {
        mbedtls_x509_crt **best = NULL, *issuer;

        for (mbedtls_x509_crt **p = &crt->next; *p != NULL; p = &(*p)->next)
            if (cert_is_by(crt, *p) &&
                (best == NULL ||
                 (mbedtls_x509_time_is_past(&(*best)->valid_to) &&
                  !mbedtls_x509_time_is_past(&(*p)->valid_to))))
                best = p;
        if (best != NULL && best != &crt->next) {
            issuer = *best;
            *best = issuer->next;
            issuer->next = crt->next;
            crt->next = issuer;
        }
    }
}

/* Settles what clients are sent behind a leaf: nothing of a CA that is a root;
   else our CA and what is in the same file of its chain, without the root. */
static void ca_chain(void)
{
    mbedtls_x509_crt *last = &ca.crt;

    chain_sort(last);
    ca.sent = cert_is_by(last, last) ? NULL : last;
    while (last->next != NULL && cert_is_by(last, last->next) &&
           !cert_is_by(last->next, last->next))
        last = last->next;
    ca.rest = last->next;
    last->next = NULL;
}

/* Loads the CA, or makes it first. Dies with one line on what is wrong. */
static void ca_load(const char *path)
{
    char file[PATH_MAX];
    struct buf *limits = buf_scratch();

    if (access(path, F_OK) != 0 && errno == ENOENT) {
        pid_t pid = fork();
        int status = 0;

        if (pid == 0)
            ca_make(path);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            die("cannot make a CA: %s", strerror(errno));
        if (status != 0)
            exit(1);                /* it has said why */
        say(opt.command && opt.quiet, "made a CA in %s: whoever is to be "
            "intercepted must trust it", realpath(path, file) ? file : path);
    }
    pair_read(&ca.crt, &ca.key, path, NULL);
    if (mbedtls_x509_crt_get_ca_istrue(&ca.crt) != 1)
        die("the certificate in %s is not a CA's", path);
    if (mbedtls_x509_time_is_past(&ca.crt.valid_to))
        die("the CA in %s has expired (remove it, and a new one is made)",
            path);
    if (mbedtls_x509_time_is_future(&ca.crt.valid_from) && !clock_is_unset())
        say(0, "the CA in %s is not valid before %s: until then clients refuse "
            "all that it signs", path, time_text("%04d-%02d-%02d %02d:%02d UTC",
            cert_time(&ca.crt.valid_from)));
    ca_chain();
    for (const struct name_list *a = opt.ca_for; a != NULL; a = a->next) {
        unsigned char ip[32];
        mbedtls_x509_buf name = general_name(a->name, ip);

        if (ca.limits.p == NULL || !ca_may_sign(&name))
            die("the CA in %s was made %s (remove it, and a new one is made)",
                path, ca.limits.p ? "for other names than --ca-for has"
                                : "without --ca-for");
    }
    if (opt.ca_for != NULL) {
        der_limits(limits);
        if (limits->len != ca.limits.len)
            say(0, "the CA in %s was made with other --ca-for than this, and "
                "may sign for more (remove it, and a new one is made)", path);
    }
    buf_free(limits);
}

/* ==== 9 TLS sessions ====================================================
   Mbed TLS has one configuration for each role, client and server. ALPN's names
   are part of that: a session with ALPN has a copy. Limit: TLS 1.2 and 1.3. */

static mbedtls_ssl_config tls_conf[2]; /* MBEDTLS_SSL_IS_CLIENT, _SERVER */

struct own {
    mbedtls_ssl_config conf; /* shares all but ALPN with tls_conf */
    struct alpn alpn;
    const char *list[16];
};

static const struct alpn http11 = { 9, "\x08http/1.1" };
static mbedtls_ssl_ticket_context tls_tickets;
static struct known *all_known;

/* Gives the handshake the leaf forged for this flow. */
static int tls_own_cert(mbedtls_ssl_context *ssl)
{
    struct known *k = mbedtls_ssl_get_user_data_p(ssl);

    return mbedtls_ssl_set_hs_own_cert(ssl, &k->leaf, key_is_rsa(&k->leaf.pk)
                                       ? &ca.rsa_key : &ca.leaf_key);
}

/* Mbed TLS's cipher suites: the processor's favourites first, and last those
   by which a stolen key of a server's opens what was recorded before. A server
   of TLS 1.3 takes what the client has first, with OpenSSL AES-256 and SHA-384:
   the other list, for clients that have the favourite, leaves it that alone. */
static int tls_suites[2][128];

/* Fills both lists. */
static void suites_list(void)
{
    const char *best = cpu_has_aes() ? "AES-128-GCM" : "CHACHA20";
    int n[2] = { 0, 0 };

    for (int rank = 0; rank < 3; rank++)
        for (const int *id = mbedtls_ssl_list_ciphersuites(); *id; id++) {
            const char *name = mbedtls_ssl_get_ciphersuite_name(*id);
            bool fixed = strncmp(name, "TLS-RSA-", 8) == 0;

            if (rank != (fixed ? 2 : strstr(name, best) == NULL))
                continue;
            for (int k = 0; k < 2; k++)
                if (n[k] < 127 && (k == 0 || rank == 0 ||
                                   strncmp(name, "TLS1-3-", 7) != 0))
                    tls_suites[k][n[k]++] = *id;
        }
}

static mbedtls_x509_crt client_cert;  /* --cert: shown to servers that ask */
static mbedtls_pk_context client_key; /* its key */

/* The keys of tickets follow from the time and a secret that all workers
   share, so that one takes what another gave. There is a new one every 12
   hours, and the one before it still counts (RFC 5077, 5.5). */
static void tickets_rotate(void)
{
    static uint64_t last;
    static unsigned char secret[32 + 4]; /* ... and a period's number */
    uint64_t period = (uint64_t)time(NULL) / (12 * 3600);
    unsigned char key[32];

    if (last == 0 && mbedtls_psa_get_random(NULL, secret, 32) != 0)
        die("there are no random numbers");
    for (uint64_t i = period > last + 1 ? period - 1 : last + 1; i <= period;
         i++) {
        put_number(secret + 32, 4, i);
        sha256(secret, sizeof secret, key);
        mbedtls_ssl_ticket_rotate(&tls_tickets, secret + 32, 4, key,
                                  sizeof key, 24 * 3600);
    }
    last = period;
    mbedtls_platform_zeroize(key, sizeof key);
}

/* Prepares all that TLS sessions share; dies on failure. */
static void tls_init(void)
{
    const char *log = getenv("SSLKEYLOGFILE");
    int error = 0;

    if (log != NULL && *log != '\0')
        sink_file(key_log, log, 0);
    key_make(&ca.leaf_key, false);
    suites_list();
    mbedtls_ssl_ticket_init(&tls_tickets);
    error |= mbedtls_ssl_ticket_setup(&tls_tickets, TICKETS_BY, 24 * 3600);
    for (int role = 0; role < 2; role++) {
        mbedtls_ssl_config *c = &tls_conf[role];

        mbedtls_ssl_config_init(c);
        error |= mbedtls_ssl_config_defaults(c, role,
                                             MBEDTLS_SSL_TRANSPORT_STREAM,
                                             MBEDTLS_SSL_PRESET_DEFAULT);
#if MBEDTLS_VERSION_MAJOR < 4
        mbedtls_ssl_conf_rng(c WITH_RANDOM);
        mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
            c, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
#endif
        mbedtls_ssl_conf_ciphersuites(
            c, tls_suites[role == MBEDTLS_SSL_IS_SERVER]);
        /* tls_verify() does that: a page then tells clients what is wrong */
        mbedtls_ssl_conf_authmode(c, MBEDTLS_SSL_VERIFY_NONE);
#ifdef MBEDTLS_SSL_RENEGOTIATION
        /* TLS 1.2: some servers ask for --cert's certificate by a second
           handshake, in which they must show the same one as in the first */
        mbedtls_ssl_conf_renegotiation(c, role == MBEDTLS_SSL_IS_CLIENT);
#endif
        mbedtls_ssl_conf_cert_cb(c, tls_own_cert); /* a server's, as these: */
        mbedtls_ssl_conf_session_tickets_cb(c, mbedtls_ssl_ticket_write,
                                            mbedtls_ssl_ticket_parse,
                                            &tls_tickets);
    }
    if (error != 0)
        die("cannot set up TLS");
    tickets_rotate();
    if (opt.cert == NULL)
        return;
    pair_read(&client_cert, &client_key, opt.cert, opt.key);
    if (!clock_is_unset() &&
        (mbedtls_x509_time_is_past(&client_cert.valid_to) ||
         mbedtls_x509_time_is_future(&client_cert.valid_from)))
        say(0, "the certificate in %s has expired, or is not valid yet: "
            "servers may refuse it", opt.cert);
    if (mbedtls_ssl_conf_own_cert(&tls_conf[MBEDTLS_SSL_IS_CLIENT],
                                  &client_cert, &client_key) != 0)
        die("cannot use the certificate in %s", opt.cert);
}

/* Writes a secret of a session's to SSLKEYLOGFILE's file, for Wireshark
   (draft-ietf-tls-keylogfile). A callback of Mbed TLS, for each secret. */
static void tls_log_keys(void *unused, mbedtls_ssl_key_export_type type,
                         const unsigned char *secret, size_t n,
                         const unsigned char client_random[32],
                         const unsigned char server_random[32],
                         mbedtls_tls_prf_types prf)
{
    static const char *const labels[] = {
        [MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET] = "CLIENT_RANDOM",
        [MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_HANDSHAKE_TRAFFIC_SECRET] =
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        [MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_HANDSHAKE_TRAFFIC_SECRET] =
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        [MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET] =
            "CLIENT_TRAFFIC_SECRET_0",
        [MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET] =
            "SERVER_TRAFFIC_SECRET_0"
    };
    char line[64 + 2 * 32 + 2 * 64 + 8];
    int len;

    (void)unused, (void)server_random, (void)prf;
    if ((size_t)type >= sizeof labels / sizeof *labels || !labels[type] ||
        n > 64)
        return;
    len = sprintf(line, "%s ", labels[type]);
    for (size_t i = 0; i < 32 + n; i++)
        len += sprintf(line + len, "%s%02x", i == 32 ? " " : "",
                       i < 32 ? client_random[i] : secret[i - 32]);
    line[len++] = '\n';
    sink_put(key_log, line, (size_t)len);
    mbedtls_platform_zeroize(line, sizeof line);
}

/* ==== 10 ends ===========================================================
   The two connections of a flow, to its client and to its server. With TLS,
   bytes go from the socket into wire_in, and from wire_out to the socket; Mbed
   TLS works on these two buffers, through its BIO callbacks, or on the data of
   a record where it lies, and never on a descriptor: none of its calls waits.
   Limit: a turn takes BULK_SIZE bytes from an end at most. */

/* Whether there is room for more bytes from e's descriptor. */
static bool end_wants_read(const struct end *e)
{
    return e->fd >= 0 && !e->fd_done &&
           (e->ssl ? e->wire_in.len < MAX_BUF / 2 : e->ready) &&
           e->in.len <= MAX_HEAD;
}

/* Reads what has come in on e's descriptor, as much as one call gives, if
   select() says so, and there is room. Returns whether anything happened, like
   all that move bytes here. */
static bool end_read(struct end *e)
{
    struct buf *b = e->ssl ? &e->wire_in : &e->in;
    size_t wanted = !e->bulk ? READ_SIZE :
                    quiet_flows > 0 ? SHARED_SIZE : BULK_SIZE;
    ssize_t n;

    if (!fds_has(readable, e->fd) || !end_wants_read(e))
        return false;
    n = buf_read(b, e->fd, wanted);
    e->bulk = n == (ssize_t)wanted;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n > 0) {
        if (e->ssl == NULL)
            tap_data(e->tap, 1, buf_at(b) + b->len - n, (size_t)n);
        return true;
    }
    e->fd_done = true;
    e->error = n < 0 ? errno : 0;
    e->broken |= n < 0;             /* RST: the peer takes nothing, either */
    if (e->ssl == NULL)             /* else tls_open() tells, behind wire_in */
        e->ended = e->broken ? ENDED_CUT : ENDED_WELL;
    return true;
}

/* Whether RST, by SO_LINGER, is to end e's connection, if there is one, when it
   is closed, by us or by our death: then the peer knows of the cut. */
static void end_reset(const struct end *e, bool yes)
{
    setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = yes },
               sizeof(struct linger));
}

/* e ends so, an END_..., behind what is in out. */
static void end_finish(struct end *e, unsigned how)
{
    if (e->ending < how && e->ending < END_SEALED)
        e->ending = how;
}

/* Whether RST has to wait, as the peer has not acknowledged all (TIOCOUTQ), and
   RST would overtake that. select() does not tell when all is: the kernel is
   asked each LINGER seconds. */
static bool end_lingers(struct end *e)
{
    struct pollfd gone = { e->fd, 0, 0 };
    int left;

    if (e->ending != END_RESET || e->broken || e->ssl != NULL || e->fd < 0)
        return false;
    if (now - e->asked >= LINGER) {
        e->asked = now;
        e->lingers = ioctl(e->fd, TIOCOUTQ, &left) == 0 && left > 0 &&
                     poll(&gone, 1, 0) == 0;
    }
    return e->lingers;
}

/* Whether FIN or RST is to follow what waits to be written. */
static bool end_is_due(struct end *e)
{
    return e->ssl ? e->ending == END_SEALED
                  : e->ending > NOT_ENDING && e->ending < END_SHUT &&
                    !end_lingers(e);
}

/* Whether end_write() has something to do, or connect() has. */
static bool end_wants_write(struct end *e)
{
    return e->fd >= 0 && !e->broken &&
           ((e->ssl ? e->wire_out.len > 0 : e->out.len > 0 || !e->ready) ||
            end_is_due(e));
}

/* Writes what waits for e's descriptor, and FIN or RST behind that. */
static bool end_write(struct end *e)
{
    struct buf *b = e->ssl ? &e->wire_out : &e->out;
    bool moved = false;

    if (!end_wants_write(e))
        return false;
    while (b->len > 0 && !e->broken) {
        ssize_t n = send(e->fd, buf_at(b), b->len, MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return moved;
        if (n < 0) {
            e->error = errno;
            e->broken = true;
        } else {
            if (e->ssl == NULL)
                tap_data(e->tap, 0, buf_at(b), (size_t)n);
            buf_eat(b, (size_t)n);
        }
        e->wrote = now;
        moved = true;
    }
    if (!e->broken && end_is_due(e)) {
        e->broken = e->ending == END_RESET;
        end_reset(e, e->broken);    /* at once, when it is closed */
        if (!e->broken)
            shutdown(e->fd, SHUT_WR);
        e->ending = END_SHUT;
        moved = true;
    }
    if (e->broken) {
        buf_free(&e->out);
        buf_free(&e->wire_out);
    }
    return moved;
}

/* ---- TLS: the session, its handshake, its records */

/* Mbed TLS's callback for sending: wire_out takes all. */
static int tls_send(void *p, const unsigned char *data, size_t n)
{
    struct end *e = p;

    buf_put(&e->wire_out, data, n);
    return (int)n;
}

/* Mbed TLS wants the first four bytes of a handshake message in one record; RFC
   8446, 5.1, does not. Where wire_in begins with a message, a record with less
   than these is joined to the next. False: the header of that is not there. */
static bool tls_join(struct end *e)
{
    unsigned char *p;
    size_t len, next;

    while (p = buf_at(&e->wire_in), len = p[4], p[0] == 22 && p[3] == 0 &&
           len > 0 && len < 4) {
        if (e->wire_in.len < len + 10)
            return false;
        next = number_at(p + len + 8, 2);
        if (p[len + 5] != 22 || next == 0 || len + next > 16384)
            break;
        memmove(p + 5, p, 5 + len);
        put_number(p + 8, 2, len + next);
        buf_eat(&e->wire_in, 5);
    }
    return true;
}

/* Mbed TLS's callback for receiving: gives what is in wire_in; 0 is the end.
   Notes the number of an alert in plain text, which no API tells. */
static int tls_recv(void *p, unsigned char *data, size_t n)
{
    struct end *e = p;
    const unsigned char *w;

    if (e->wire_in.len == 0 ||
        (n == 5 && e->wire_in.len >= n && !e->ready &&
         e->ssl->MBEDTLS_PRIVATE(in_hslen) == 0 && !tls_join(e)))
        return e->fd_done ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
    w = buf_at(&e->wire_in);
    if (n == 5 && e->wire_in.len >= 7 && w[0] == 21 && w[3] == 0 && w[4] == 2)
        e->alert = w[6];
    n = n < e->wire_in.len ? n : e->wire_in.len;
    memcpy(data, w, n);
    buf_eat(&e->wire_in, n);
    return (int)n;
}

/* A copy of the configuration with these ALPN names, if any. As texts, they end
   with a NUL, which takes the place of the next one's length. */
static struct own *own_new(const mbedtls_ssl_config *conf,
                           const struct alpn *alpn)
{
    struct own *own = alloc(sizeof *own);
    unsigned char *p = own->alpn.names;
    size_t n = 0, len;

    own->conf = *conf;
    memcpy(p, alpn->names, alpn->len);
    for (size_t i = 0; i < alpn->len; i += 1 + len) {
        len = p[i];
        p[i] = '\0';
        if (n < 15)
            own->list[n++] = (char *)p + i + 1;
    }
    if (n > 0)
        mbedtls_ssl_conf_alpn_protocols(&own->conf, own->list);
    return own;
}

/* Puts TLS on an end that has none; what was read becomes wire_in. h is what a
   client has begun with; NULL: this is a server. False: there is no memory. */
static bool tls_start(struct end *e, const struct alpn *alpn,
                      const struct hello *h, struct known *k)
{
    /* the favourite alone will not do; Mbed TLS with TLS 1.3 enabled wants
       extensions (their issue 9963) */
    bool all = h != NULL && !h->best, old = h ? h->bare : k->only_tls12;
    mbedtls_ssl_config *conf = &tls_conf[h ? MBEDTLS_SSL_IS_SERVER
                                           : MBEDTLS_SSL_IS_CLIENT];

    if (h != NULL)
        tickets_rotate();
    if (alpn->len > 0 || all || old)
        conf = &(e->own = own_new(conf, alpn))->conf;
    if (all)
        mbedtls_ssl_conf_ciphersuites(conf, tls_suites[0]);
    if (old)
        mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    e->ssl = alloc(sizeof *e->ssl);
    mbedtls_ssl_init(e->ssl);
    if (mbedtls_ssl_setup(e->ssl, conf) != 0) {
        e->ssl->MBEDTLS_PRIVATE(conf) = conf; /* mbedtls_ssl_free() looks */
        return false;
    }
#ifdef MBEDTLS_SSL_EARLY_DATA
    /* Early data, by a ticket of the server itself, are refused and passed over
       (RFC 8446, 4.2.10), up to so many bytes; the client sends them again. */
    e->ssl->MBEDTLS_PRIVATE(session_negotiate)
        ->MBEDTLS_PRIVATE(max_early_data_size) = MAX_EARLY;
#endif
    if (key_log->fd >= 0)
        mbedtls_ssl_set_export_keys_cb(e->ssl, tls_log_keys, NULL);
    mbedtls_ssl_set_user_data_p(e->ssl, k);
    mbedtls_ssl_set_bio(e->ssl, e, tls_send, tls_recv, NULL);
    buf_move(&e->wire_in, &e->in, e->in.len);
    e->vouched = false;
    e->ready = false;
    e->ended = NOT_ENDED;
    return true;
}

/* Keeps a copy of the session that the server has just given a ticket for. */
static void tls_keep_session(struct end *e)
{
    struct known *k = mbedtls_ssl_get_user_data_p(e->ssl);

    mbedtls_ssl_session_free(&k->session);
    mbedtls_ssl_session_init(&k->session);
    k->has_session = mbedtls_ssl_get_session(e->ssl, &k->session) == 0;
}

/* Whether a signature by crt's key is checked quickly. With an RSA exponent as
   long as the modulus it takes half a second, and a server that only wants to
   keep us busy needs no private key for that; real exponents have 17 bits. No
   API of Mbed TLS 4 tells the exponent. It is what the key's DER (RFC 3279,
   2.3.1) has beside the modulus and 35 bytes at most of tags, lengths and the
   algorithm; with a zero before it, if its first bit is set. */
static bool key_is_quick(const mbedtls_x509_crt *crt)
{
    size_t modulus = (mbedtls_pk_get_bitlen(&crt->pk) + 7) / 8;

    return !key_is_rsa(&crt->pk) ||
           crt->pk_raw.len <= modulus + 35 + 1 + MAX_EXPONENT / 8;
}

/* Mbed TLS has failed: if that was for want of memory, the flow ends by
   no_memory(). errno, 0 before the call, tells; its own errors do not, most are
   "handshake failure". */
static void tls_memory(void)
{
    if (errno == ENOMEM)
        no_memory();
}

/* The certificate that the peer has shown in this handshake, or NULL. */
static mbedtls_x509_crt *tls_shown(const mbedtls_ssl_context *ssl)
{
    const mbedtls_ssl_session *s = ssl->MBEDTLS_PRIVATE(session_negotiate);

    return s->MBEDTLS_PRIVATE(peer_cert);
}

/* The seconds that handshakes have taken in a turn. A step with large keys is
   milliseconds long, and one with a chain of them 20: from SHAKING seconds on,
   handshakes wait for the next turn, and so delay other flows little. */
static struct { double turn, spent; } shaking;

/* Goes on with the handshake; whether something happened. A server's
   certificate is verified as soon as it was shown, before --cert's is: in the
   next state, which of the two here is TLS 1.2's, then TLS 1.3's. */
static bool tls_shake(struct end *e)
{
    size_t out = e->wire_out.len, before = e->wire_in.len + out;
    bool ours = e->ssl->MBEDTLS_PRIVATE(conf)->MBEDTLS_PRIVATE(endpoint) ==
                MBEDTLS_SSL_IS_SERVER;
    int r = 0;

    if (shaking.turn != now)
        shaking.spent = 0;
    shaking.turn = now;
    while (r == 0 && !mbedtls_ssl_is_handshake_over(e->ssl)) {
        const mbedtls_x509_crt *shown = tls_shown(e->ssl);
        int state = e->ssl->MBEDTLS_PRIVATE(state);
        double began = clock_now();

        e->later = shaking.spent >= SHAKING;
        r = e->later ? MBEDTLS_ERR_SSL_WANT_READ :
            shown != NULL && !key_is_quick(shown) ? ERR_SLOW_KEY :
            !ours && !e->vouched && (state == MBEDTLS_SSL_SERVER_KEY_EXCHANGE ||
            state == MBEDTLS_SSL_CERTIFICATE_VERIFY) ? ERR_UNVERIFIED : 0;
        if (r != 0)
            break;
        e->vouched |= ours && state == MBEDTLS_SSL_SERVER_CERTIFICATE;
        errno = 0;
        r = mbedtls_ssl_handshake_step(e->ssl);
        if (r != 0 && r != MBEDTLS_ERR_SSL_WANT_READ)
            tls_memory();
        shaking.spent += clock_now() - began;
    }
    if (r == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE && e->wire_out.len == out)
        mbedtls_ssl_send_alert_message(e->ssl, 2, 40); /* TLS 1.3: RFC 8446,
                                       4.1.1, which Mbed TLS does not heed */
    if (r == 0)
        e->ready = true;
    else if (r != MBEDTLS_ERR_SSL_WANT_READ) {
        e->tls_error = r;
        if (r == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
            e->alert = e->ssl->MBEDTLS_PRIVATE(in_msg)[1];
    }
    return r != MBEDTLS_ERR_SSL_WANT_READ ||
           before != e->wire_in.len + e->wire_out.len;
}

/* Of mbedtls/tls_alt.c; the system's Mbed TLS lacks them: these are NULL. */
#define WEAK __attribute__((weak))
WEAK int tls_alt_key_update(mbedtls_ssl_context *ssl);
WEAK void tls_alt_rest(mbedtls_ssl_context *ssl, unsigned char number[8]);
WEAK int tls_alt_wake(mbedtls_ssl_context *ssl, const unsigned char number[8]);
WEAK int tls_alt_open(mbedtls_ssl_context *ssl, const unsigned char *wire,
                      size_t n, unsigned char *out);
WEAK size_t tls_alt_seal(mbedtls_ssl_context *ssl, const unsigned char *data,
                         size_t *n, unsigned char *wire, size_t room);

/* Opens a record's application data from wire_in right into in, if possible:
   as tls_alt_open(); but at the connection's end nothing is waited for. */
static int tls_open_data(struct end *e)
{
    struct buf *from = &e->wire_in;
    size_t n = from->len < 5 ? 0 : 5 + number_at(buf_at(from) + 3, 2);
    int r;

    if (tls_alt_open == NULL || n == 0)
        return 0;
    if (n <= from->len)             /* else nothing will be written */
        buf_reserve(&e->in, n);
    r = tls_alt_open(e->ssl, buf_at(from), from->len,
                     buf_at(&e->in) + e->in.len);
    if (r > 0) {
        e->in.len += (size_t)r;
        buf_eat(from, n);
    }
    return r < 0 && e->fd_done ? 0 : r;
}

/* Opens one record into in, if that has room. */
static bool tls_open(struct end *e)
{
    unsigned char data[16384];
    const unsigned char *msg;
    int r;

    if (e->ended || e->in.len > MAX_HEAD)
        return false;
    r = tls_open_data(e);
    if (r < 0)
        return false;
    errno = 0;
    if (r == 0) {
        r = mbedtls_ssl_read(e->ssl, data, sizeof data);
        if (r > 0)
            buf_put(&e->in, data, (size_t)r);
    }
    if (r > 0) {
        tap_data(e->tap, 1, buf_at(&e->in) + e->in.len - r, (size_t)r);
        return true;
    }
    msg = e->ssl->MBEDTLS_PRIVATE(in_msg);
    if (r == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
        e->alert = msg[1];
    if (r == MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE && msg[0] == 24) {
        r = tls_alt_key_update == NULL ? ERR_KEY_UPDATE :
            tls_alt_key_update(e->ssl); /* RFC 8446, 4.6.3 */
        r = r == 0 ? MBEDTLS_ERR_SSL_WANT_READ : r;
    }
    if (r == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
        if (e->tickets < FEW_TICKETS) { /* a server may send thousands */
            tls_keep_session(e);
            e->tickets++;
        }
        return true;
    }
    if (e->wire_out.len > 4 * MAX_BUF) /* answers that the peer does not read */
        r = MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE;
    if (r == MBEDTLS_ERR_SSL_WANT_READ) /* perhaps only behind a ticket */
        return e->wire_in.len > 0 || mbedtls_ssl_check_pending(e->ssl);
    e->ended = r == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? ENDED_WELL : ENDED_CUT;
    if (e->ended == ENDED_CUT && r != 0 && r != MBEDTLS_ERR_SSL_CONN_EOF) {
        tls_memory();
        e->tls_error = r;
        end_write(e);               /* our alert (RFC 8446, 6.2) */
        e->broken = true;
    }
    return true;
}

/* Seals a record's worth of out, or the end, if wire_out has room. */
static bool tls_seal(struct end *e)
{
    struct buf *to = &e->wire_out;
    size_t n = e->out.len < MAX_RECORD ? e->out.len : MAX_RECORD, sealed = 0;
    int r;

    if (e->ssl == NULL || !e->ready || e->tls_error != 0 || e->broken ||
        to->len >= MAX_BUF)
        return false;
    if (e->out.len == 0) {
        if (e->ending == NOT_ENDING || e->ending >= END_SEALED)
            return false;
        if (e->ending == END_WELL)
            e->notified = mbedtls_ssl_close_notify(e->ssl) == 0;
        e->ending = END_SEALED;
        return true;
    }
    if (tls_alt_seal != NULL) {
        buf_reserve(to, n + MORE_RECORD);
        sealed = tls_alt_seal(e->ssl, buf_at(&e->out), &n,
                              buf_at(to) + to->len, n + MORE_RECORD);
        to->len += sealed;
    }
    r = sealed > 0 ? (int)n
                   : mbedtls_ssl_write(e->ssl, buf_at(&e->out), e->out.len);
    if (r > 0) {
        tap_data(e->tap, 0, buf_at(&e->out), (size_t)r);
        buf_eat(&e->out, (size_t)r);
    } else if (r != MBEDTLS_ERR_SSL_WANT_READ) { /* no second handshake */
        e->tls_error = r;
        e->broken = true;
    }
    return r != MBEDTLS_ERR_SSL_WANT_READ;
}

/* What a session broke off with, for who looks things up: the alert that has
   come, with its name (RFC 8446, 6), or the one that Mbed TLS has sent when no
   protocol of ALPN's was common, or its own error. */
static const char *tls_number(const struct end *e)
{
    static const char names[] = " 10 unexpected_message 20 bad_record_mac 22 "
        "record_overflow 40 handshake_failure 42 bad_certificate 43 "
        "unsupported_certificate 44 certificate_revoked 45 certificate_expired "
        "46 certificate_unknown 47 illegal_parameter 48 unknown_ca 49 "
        "access_denied 50 decode_error 51 decrypt_error 70 protocol_version 71 "
        "insufficient_security 80 internal_error 86 inappropriate_fallback 90 "
        "user_canceled 109 missing_extension 110 unsupported_extension 112 "
        "unrecognized_name 116 certificate_required 120 "
        "no_application_protocol ";
    static char text[96];
    bool alpn = e->tls_error == MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL;
    unsigned alert = alpn ? 120 : e->alert;
    const char *name = name_of(names, alert);

    if (alert != 0)
        snprintf(text, sizeof text, "%salert %u%s%s", alpn ? "it was sent " :
                 "", alert, *name ? " " : "", name);
    else if (e->tls_error == MBEDTLS_ERR_SSL_CONN_EOF)
        return "no alert";
    else if (e->tls_error == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return "close_notify";
    else
        snprintf(text, sizeof text, "-0x%04x", (unsigned)-e->tls_error);
    return text;
}

/* Goes on with the handshake, or opens what has come, and seals what fills a
   record: more may follow the rest, as a body follows its head. */
static bool tls_pump(struct end *e)
{
    bool moved = false;

    if (e->ssl == NULL || e->tls_error != 0)
        return false;
    if (!e->ready)
        return tls_shake(e);
    if (tls_alt_wake != NULL && tls_alt_wake(e->ssl, e->record) != 0)
        no_memory();
    while (tls_open(e))
        moved = true;
    while (e->out.len >= MAX_RECORD && tls_seal(e))
        moved = true;
    return moved;
}

/* Seals and writes what waits for e's descriptor, as far as that takes it. */
static bool end_flush(struct end *e)
{
    bool moved = false;

    while (tls_seal(e))
        moved = true;
    return end_write(e) || moved;
}

/* What end_part() attempts, as memory may run out: close_notify, then FIN. */
static void end_notify(void *it)
{
    struct end *e = it;

    end_finish(e, END_WELL);
    tls_pump(e);
    end_flush(e);
}

/* Ends e's TLS, if any, by close_notify (RFC 8446, 6.1); whether it could, at
   once. Not behind the peer's own end, where nobody is left to hear it. */
static bool end_part(struct end *e)
{
    return e->ssl != NULL && e->ready && !e->ended && e->ending < END_SEALED &&
           attempt(end_notify, e) && e->ending == END_SHUT;
}

/* Says how each side of f's end has ended, as soon as it has; last is what
   close() will do now, or NULL. Called behind each write before the next read:
   then the lines are in the order of the wire. */
static void end_tell(const struct flow *f, struct end *e, const char *last)
{
    const char *who = e == &f->client ? "client" : opt.proxy.at.port == 0 ?
                      "server" : "server, or the proxy before it,", *in, *out;
    struct pollfd unread = { e->fd, POLLIN | POLLRDHUP, 0 };
    bool reset = e->error == ECONNRESET || e->error == EPIPE;

    if (!is_told(2) || e->fd < 0 ||
        (e != &f->client && f->server.state == SERVER_CONNECT))
        return;
    if (last != NULL)
        poll(&unread, 1, 0);
    in = reset || unread.revents & POLLERR ? "RST" :
         e->error != 0 ? e->told_in : /* the network lost the connection */
         e->tls_error != 0 && e->alert != 0 ? tls_number(e) :
         e->ssl != NULL && e->ended == ENDED_WELL ? "close_notify" :
         e->ended == ENDED_CUT && !e->broken ? "FIN without close_notify" :
         e->ended == ENDED_WELL || (e->fd_done && e->tls_error != 0) ||
         unread.revents & POLLRDHUP ? "FIN" : e->told_in;
    out = e->ending != END_SHUT ? last : e->broken ? "RST" :
          e->notified ? "close_notify and FIN" : "FIN";
    if (in != e->told_in)
        tell(f, 2, EV_NOTE, "the %s ends its side of the connection%s, by %s",
             who, e->told_in || e->told_out ? "" : " first", in);
    if (out != NULL && !e->told_out && !reset)
        tell(f, 2, EV_NOTE, "we end our side of the connection to the %s%s, by "
             "%s", who, in || unread.revents ? "" : " first", out);
    e->told_in = in;
    e->told_out |= out != NULL;
}

/* Frees all that an end has, which is as new after. */
static void end_close(struct end *e)
{
    if (e->ssl != NULL) {
        if (e->ready && tls_alt_rest != NULL)
            tls_alt_rest(e->ssl, e->record); /* its buffers are others' then */
        mbedtls_ssl_free(e->ssl);
        free(e->ssl);
    }
    free(e->own);
    tap_free(e->tap);
    own_note(e->fd, NULL);
    fd_close(&e->fd);
    buf_free(&e->wire_in);
    buf_free(&e->wire_out);
    buf_free(&e->in);
    buf_free(&e->out);
    *e = (struct end){ .fd = -1 };
}

/* ==== 11 known servers ==================================================
   What is remembered of a server for the next connection: the leaf that was
   forged, and a TLS session. And how a server's certificate is verified (RFC
   5280, RFC 9525). Limit: MAX_KNOWN servers; no revocation lists, no OCSP. */

/* Gives back a reference to k, which may be NULL; the last one frees k. */
static void known_drop(struct known *k)
{
    if (k == NULL || --k->refs > 0)
        return;
    k->leaf.next = NULL;            /* what follows is the CA's */
    mbedtls_x509_crt_free(&k->leaf);
    mbedtls_ssl_session_free(&k->session);
    free(k);
}

/* A reference to what is known under this key, which is made when missing. */
static struct known *known_get(const char *key)
{
    struct known **p = &all_known, *k, **old = NULL;
    int n = 0;

    for (; (k = *p) != NULL && strcmp(k->key, key) != 0; p = &k->next, n++)
        old = p;
    if (k != NULL)
        *p = k->next;
    else {
        k = alloc(sizeof *k + strlen(key) + 1);
        strcpy(k->key, key);
        k->refs = 1;                /* the list's */
        k->born = time(NULL);
        mbedtls_x509_crt_init(&k->leaf);
        if (n >= MAX_KNOWN && old != NULL) {
            known_drop(*old);
            *old = NULL;
        }
    }
    k->next = all_known;
    all_known = k;
    k->refs++;
    return k;
}

/* Whether k has a leaf from the last 24 hours. */
static bool known_is_fresh(const struct known *k)
{
    return k->leaf.version != 0 && time(NULL) - k->born < 24 * 3600;
}

/* Sees to it that *k, which known_get() has just returned, has a leaf for name
   that fits the server's certificate, if any. One that does not fit is left to
   the handshakes that use it: *k becomes another. 0 or an Mbed TLS error. */
static int known_leaf(struct known **k, const mbedtls_x509_crt *server,
                      const char *name, bool rsa)
{
    unsigned char of[32] = { 0 };
    struct known *old = *k;

    if (server != NULL)
        sha256(server->raw.p, server->raw.len, of);
    assert(old == all_known);       /* the list's first */
    if (old->leaf.version != 0) {
        if (known_is_fresh(old) &&
            (server == NULL || memcmp(of, old->of, sizeof of) == 0))
            return 0;
        all_known = old->next;
        old->refs--;                /* the list's */
        *k = known_get(old->key);
        known_drop(old);            /* ours */
    }
    memcpy((*k)->of, of, sizeof of);
    return leaf_forge(&(*k)->leaf, server, name, rsa);
}

/* ---- verification */

/* The n bytes of the file with the system's CAs, to be freed; NULL: none. */
static char *system_cas(size_t *n)
{
    static const char *const paths[] = {
        "/etc/ssl/certs/ca-certificates.crt",   /* Debian, Alpine, OpenWrt */
        "/etc/pki/tls/certs/ca-bundle.crt",     /* Fedora */
        "/etc/ssl/ca-bundle.pem",               /* SUSE */
    };
    char *text = NULL;

    for (size_t i = 0; text == NULL && i < sizeof paths / sizeof *paths; i++)
        text = file_read(paths[i], n, NULL);
    return text;
}

/* The CAs that servers' certificates are checked against, each in DER behind
   these two numbers. Parsed, those of a system take three times as much. */
static struct buf trusted;
struct anchor { uint32_t subject, len; }; /* name_sum(); of the DER */

/* A number for a Name: one for all spellings that are the same to Mbed TLS. */
static uint32_t name_sum(const mbedtls_x509_name *name)
{
    uint32_t sum = 0;

    for (; name != NULL; name = name->next)
        for (size_t i = 0; i < name->val.len; i++)
            sum = sum * 31 + (name->val.p[i] | 0x20);
    return sum;
}

/* Adds a certificate to those that are trusted, and frees it. */
static void trusted_add(mbedtls_x509_crt *crt)
{
    struct anchor a = { name_sum(&crt->subject), (uint32_t)crt->raw.len };

    buf_put(&trusted, &a, sizeof a);
    buf_put(&trusted, crt->raw.p, crt->raw.len);
    mbedtls_x509_crt_free(crt);
}

/* Loads the CAs that servers' certificates are checked against, at the first
   use. False: there are none. Dies on what is wrong with --cacert's. */
static bool trusted_load(void)
{
    mbedtls_x509_crt each;
    size_t n;
    char *text;

    if (trusted.len > 0)
        return true;
    text = opt.cacert ? pem_read(opt.cacert, &n, NULL) : system_cas(&n);
    if (text == NULL && opt.cacert != NULL)
        die("cannot read %s: %s", opt.cacert, strerror(errno));
    errno = 0;                      /* those that cannot be read are let be */
    if (text != NULL && buf_grow(&trusted, n)) /* PEM is longer than DER */
        certs_read(&each, opt.cacert, text, trusted_add);
    free(text);
    if (errno == ENOMEM) {          /* with some of them nobody is helped */
        buf_free(&trusted);
        no_memory();
    }
    return trusted.len > 0;
}

/* Parses those of the trusted CAs that may have signed a certificate of this
   chain into *cas, to be freed. Whether the chain's first is trusted itself. */
static bool trusted_find(const mbedtls_x509_crt *crt, mbedtls_x509_crt *cas)
{
    bool itself = false;
    struct anchor a;

    mbedtls_x509_crt_init(cas);
    for (size_t at = 0; at < trusted.len; at += sizeof a + a.len) {
        const unsigned char *der = buf_at(&trusted) + at + sizeof a;
        const mbedtls_x509_crt *c = crt;

        memcpy(&a, buf_at(&trusted) + at, sizeof a);
        itself |= has_octets(&crt->raw, der, a.len);
        while (c != NULL && name_sum(&c->issuer) != a.subject)
            c = c->next;
        if (c != NULL && mbedtls_x509_crt_parse_der_with_ext_cb(
                             cas, der, a.len, 0, extension_take, NULL) != 0) {
            mbedtls_x509_crt_free(cas);
            no_memory();            /* it could be read before */
        }
    }
    return itself;
}

/* Whether a certificate may be a TLS server's, or a CA's above one, by its
   extended key usage. As in OpenSSL, "any" is not enough, and Netscape's and
   Microsoft's server gated cryptography are. */
static bool cert_is_for_servers(const mbedtls_x509_crt *crt)
{
    static const char *const uses[] = {
        MBEDTLS_OID_SERVER_AUTH, "\x60\x86\x48\x01\x86\xf8\x42\x04\x01",
        "\x2b\x06\x01\x04\x01\x82\x37\x0a\x03\x03" };
    const mbedtls_x509_sequence *s = &crt->ext_key_usage;

    if (s->buf.p == NULL)
        return true;
    for (; s != NULL; s = s->next)
        for (int i = 0; i < 3; i++)
            if (has_octets(&s->buf, uses[i], strlen(uses[i])))
                return true;
    return false;
}

/* Whether a name in a certificate, n bytes at p, is this host's. A final dot
   does not count. A star stands for the host's first label, if two or more
   labels follow and the host is no address (RFC 6125, 6.4.3; as in curl). */
static bool name_matches(const char *p, size_t n, const char *host)
{
    size_t len = strlen(host);
    const char *dot;

    n -= n > 0 && p[n - 1] == '.';
    len -= len > 0 && host[len - 1] == '.';
    dot = memchr(host, '.', len);
    if (n > 2 && memcmp(p, "*.", 2) == 0 && memchr(p + 2, '.', n - 2) &&
        dot != NULL && !isdigit((unsigned char)host[len - 1])) {
        len -= (size_t)(dot - host);
        host = dot;
        p++;
        n--;
    }
    return n == len && strncasecmp(p, host, n) == 0;
}

/* The names in a server's certificate: subjectAltName, or, where that has
   neither names nor addresses, the last common name, which is put into *cn. */
static const mbedtls_x509_sequence *cert_names(const mbedtls_x509_crt *crt,
                                               mbedtls_x509_sequence *cn)
{
    const mbedtls_x509_sequence *names = &crt->subject_alt_names, *s = names;

    for (; s != NULL && s->buf.p != NULL; s = s->next)
        if (s->buf.tag == SAN_DNS || s->buf.tag == SAN_IP)
            return names;
    *cn = (mbedtls_x509_sequence){ .next = NULL };
    for (const mbedtls_x509_name *n = &crt->subject; n != NULL; n = n->next)
        if (n->oid.p != NULL && has_octets(&n->oid, MBEDTLS_OID_AT_CN, 3))
            cn->buf = n->val;
    cn->buf.tag = SAN_DNS;
    return cn;
}

/* Whether a certificate is for this host: for an address no DNS name will do,
   but a common name will (RFC 6125, 6.4; as in curl). */
static bool cert_is_for(const mbedtls_x509_crt *crt, const char *host)
{
    mbedtls_x509_sequence cn;
    unsigned char ip[16];
    mbedtls_x509_buf name = general_name(host, ip);

    for (const mbedtls_x509_sequence *s = cert_names(crt, &cn);
         s != NULL && s->buf.p != NULL; s = s->next)
        if (name.tag == SAN_IP && s != &cn
            ? s->buf.tag == SAN_IP && has_octets(&s->buf, ip, name.len)
            : s->buf.tag == SAN_DNS &&
              name_matches((char *)s->buf.p, s->buf.len, host))
            return true;
    return false;
}

/* What cert_judge() finds out about a server's chain. */
struct verdict {
    const mbedtls_x509_crt *leaf; /* the server's own certificate */
    bool above;             /* one of its CAs is being looked at */
    const char *why;        /* what Mbed TLS has no flag for, or NULL */
    time_t until;           /* the first of all expiry dates ... */
    const char *whose;      /* ... and the certificate that has that */
};

/* Looks for cert_judge() at an extension that Mbed TLS does not know, 2.5.29.N
   (RFC 5280, 4.2.1): a CA's name constraints, 30, must allow all names of the
   server's; policies, 32, 33, 36 and 54, do not matter here. */
static int extension_judge(void *p, const mbedtls_x509_crt *crt,
                           const mbedtls_x509_buf *oid, int critical,
                           const unsigned char *from, const unsigned char *end)
{
    struct verdict *v = p;
    mbedtls_x509_sequence cn;
    bool known = oid->len == 3 && memcmp(oid->p, "\x55\x1d", 2) == 0 &&
                 memchr("\x1e\x20\x21\x24\x36", oid->p[2], 5) != NULL;

    (void)crt;
    if (critical && !known)
        v->why = " a critical extension of its chain is not known here\n";
    if (!known || oid->p[2] != 30 || !v->above)
        return 0;
    for (const mbedtls_x509_sequence *s = cert_names(v->leaf, &cn);
         s != NULL && s->buf.p != NULL; s = s->next)
        if ((s->buf.tag == SAN_DNS || s->buf.tag == SAN_IP) &&
            !name_allowed(from, end, &s->buf))
            v->why = " one of its CAs may not sign for its names\n";
    return 0;
}

/* Mbed TLS's callback for each certificate of the chain that it has found: adds
   to *flags and to the verdict what it does not look at itself. Returns 0. */
static int cert_judge(void *p, mbedtls_x509_crt *crt, int depth,
                      uint32_t *flags)
{
    struct verdict *v = p;
    mbedtls_x509_crt again;
    time_t end = cert_time(&crt->valid_to);

    v->above = depth > 0;
    if (end < v->until) {
        v->until = end;
        v->whose = v->above ? "one of its CAs" : "it";
    }
    if (!cert_is_for_servers(crt))
        *flags |= MBEDTLS_X509_BADCERT_EXT_KEY_USAGE;
    mbedtls_x509_crt_init(&again);  /* only so are the extensions told */
    if (mbedtls_x509_crt_parse_der_with_ext_cb(&again, crt->raw.p,
                                               crt->raw.len, 0,
                                               extension_judge, v) != 0)
        v->why = " a certificate of its chain cannot be read\n";
    mbedtls_x509_crt_free(&again);
    return 0;
}

/* What is wrong with a certificate, in words, until the next call: a line for
   each, behind a space; then the lines become one. */
static const char *verdict_say(const struct verdict *v, uint32_t flags)
{
    static char why[512];
    const char *when = flags & MBEDTLS_X509_BADCERT_EXPIRED ? time_text(
                       " since %04d-%02d-%02d %02d:%02d UTC ", v->until) : "";
    char rest[240] = "";

    if (flags == ~0u)               /* Mbed TLS says by this that it gave up */
        return "its chain is too long or broken";
    mbedtls_x509_crt_verify_info(rest, sizeof rest, " ", flags & ~(uint32_t)(
        MBEDTLS_X509_BADCERT_NOT_TRUSTED | MBEDTLS_X509_BADCERT_EXPIRED |
        MBEDTLS_X509_BADCERT_CN_MISMATCH | MBEDTLS_X509_BADCERT_OTHER));
    snprintf(why, sizeof why, "%s%s%s%s%s%s%s",
             flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED
             ? " no CA that is trusted has signed it (--cacert FILE: trust "
               "those in FILE instead of the system's)\n" : "",
             when, *when ? v->whose : "", *when ? " has expired\n" : "", rest,
             flags & MBEDTLS_X509_BADCERT_OTHER ? v->why : "",
             flags & MBEDTLS_X509_BADCERT_CN_MISMATCH
             ? " it is not for this name\n" : "");
    for (char *p = why; (p = strchr(p, '\n')) != NULL;)
        *p = p[1] == '\0' ? '\0' : ';';
    return why + 1;
}

/* Verifies the certificate that a server has shown, for this name, and sets
   *until to when that must be done again. NULL: it is good, or why it is not,
   until the next call. The chain behind crt is put in order. */
static const char *tls_verify(mbedtls_x509_crt *crt, const char *name,
                              time_t *until)
{
    struct verdict v = { .leaf = crt, .until = time(NULL) + 24 * 3600 };
    mbedtls_x509_crt alone = *crt, cas;
    uint32_t flags = 0;
    bool itself;

    if (!trusted_load())
        return "this system has no CA certificates to check it against "
               "(--cacert FILE: those in FILE)";
    for (const mbedtls_x509_crt *c = crt; c != NULL; c = c->next)
        if (!key_is_quick(c))
            return tls_strerror(ERR_SLOW_KEY);
    chain_sort(crt);
    alone.next = NULL;
    itself = trusted_find(crt, &cas);
    errno = 0;
    mbedtls_x509_crt_verify_with_profile(
        itself ? &alone : crt, itself ? &alone : cas.raw.p ? &cas : NULL, NULL,
        &mbedtls_x509_crt_profile_default, NULL, &flags, cert_judge, &v);
    mbedtls_x509_crt_free(&cas);
    if (flags != 0 || v.why != NULL)
        tls_memory();
    if (itself)                     /* and it needs no CA */
        flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_NOT_TRUSTED;
    if (clock_is_unset())
        flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_FUTURE;
    if (mbedtls_x509_crt_has_ext_type(crt, MBEDTLS_X509_EXT_KEY_USAGE) &&
        !(crt->MBEDTLS_PRIVATE(key_usage) &
          (MBEDTLS_X509_KU_DIGITAL_SIGNATURE | MBEDTLS_X509_KU_KEY_AGREEMENT |
           MBEDTLS_X509_KU_KEY_ENCIPHERMENT))) /* else TLS may use its key */
        flags |= MBEDTLS_X509_BADCERT_KEY_USAGE;
    if (!cert_is_for(crt, name))
        flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    if (v.why != NULL)
        flags |= MBEDTLS_X509_BADCERT_OTHER;
    if (flags != 0)
        return verdict_say(&v, flags);
    *until = v.until;
    return NULL;
}

/* ==== 12 children =======================================================
   SIGCHLD writes a byte into a pipe and nothing else. The end of file of a
   child's output decides about data, waitpid() only about its status. Limit: a
   child that leaves its process group is on its own. */

/* All signals' handler: wakes the loop by the number in self_pipe. */
static void on_signal(int number)
{
    int saved = errno;
    unsigned char byte = (unsigned char)number;

    (void)!write(self_pipe[1], &byte, 1); /* if it is full, the loop wakes */
    errno = saved;
}

/* Sets the handler of what a terminal sends to all of its programs: SIGINT,
   and, unless they are ignored (nohup), SIGQUIT and SIGHUP. */
static void terminal_signals(void (*handler)(int))
{
    signal(SIGINT, handler);
    if (signal(SIGQUIT, handler) == SIG_IGN)
        signal(SIGQUIT, SIG_IGN);
    if (signal(SIGHUP, handler) == SIG_IGN)
        signal(SIGHUP, SIG_IGN);
}

/* Opens the self-pipe and sets the signals' handlers; dies on failure. */
static void signals_init(void)
{
    if (pipe2(self_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        die("cannot open a pipe: %s", strerror(errno));
    terminal_signals(on_signal);
    signal(SIGCHLD, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);       /* a file may grow no more: write() says */
}

/* Splits a command that uses nothing of the shell's but quotes into words, to
   be executed without one, and freed as one. NULL: it takes a shell. */
static char **split_command(const char *command)
{
    static const char builtins[] = " . : alias bg break cd command continue "
        "eval exec exit export fg getopts hash jobs read readonly return set "
        "shift times trap type ulimit umask unalias unset wait if case for "
        "while until ! { ";
    size_t n = strlen(command), words = 0;
    char **argv = alloc((n / 2 + 2) * sizeof *argv + n + 1);
    char *o = (char *)(argv + n / 2 + 2);
    const char *p = command;

    while (*(p += strspn(p, " \t")) != '\0') {
        char quote = 0;

        if (*p == '#' || *p == '~')
            goto shell;
        argv[words++] = o;
        for (; *p != '\0' && (quote || !strchr(" \t", *p)); p++) {
            if (*p == quote)
                quote = 0;
            else if (!quote && (*p == '\'' || *p == '"'))
                quote = *p;
            else if (quote != '\'' &&
                     (strchr("$`\\", *p) || (*p == '=' && words == 1) ||
                      (!quote && strchr("|&;<>()*?[\n", *p))))
                goto shell;
            else
                *o++ = *p;
        }
        if (quote)
            goto shell;             /* which will say what it thinks of it */
        *o++ = '\0';
    }
    if (strstr(builtins, text_of(" %s ", argv[0])) == NULL)
        return argv;
shell:
    free(argv);
    return NULL;
}

/* Raises a child's oom_score_adj (proc(5)): where memory runs out, the kernel
   is to end a filter, with which one message dies, and not us. A short-lived
   one that runs alone is no crowd, and this a fiftieth of its costs. */
static void oom_offer(pid_t pid)
{
    const char *path = text_of("/proc/%ld/oom_score_adj", (long)pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "500", 3) < 0)
        say(2, "cannot write %s: %s", path, strerror(errno));
    fd_close(&fd);
}

/* Starts f's command in a process group of its own, with these descriptors as
   standard input and output. Returns the pid, or -1, errno. */
static pid_t spawn_piped(const struct filter *f, char **env, int in, int out)
{
    char *shell[] = { "sh", "-c", f->path ? f->path : (char *)f->command,
                      NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    pid_t pid;
    int error;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setpgroup(&attr, 0);
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attr, &all);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP |
                             POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    setrlimit(RLIMIT_NOFILE, &given_limit);
    error = posix_spawn(&pid, f->argv ? f->path : "/bin/sh", &actions, &attr,
                        f->argv ? f->argv : shell, env);
    setrlimit(RLIMIT_NOFILE, &raised_limit);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    errno = error;
    return error == 0 ? pid : -1;
}

/* Sends a signal to a child's process group: to the child, and to all that it
   has started. Where the child has been reaped, the kernel may give the number
   to a stranger as soon as nobody is left in the group: kill(2) of signal 0
   tells whether somebody is. */
static void group_kill(const struct child *p, int number)
{
    if (p->pid > 0 || (kill(p->group, 0) != 0 && errno == ESRCH))
        kill(-p->group, number);
}

/* Frees a child that has been reaped, or will be without anybody's notice. */
static void child_free(struct child *p)
{
    struct child **q = &children;

    while (*q != p)
        q = &(*q)->next;
    *q = p->next;
    fd_close(&p->in);
    fd_close(&p->out);
    buf_free(&p->question);
    buf_free(&p->answer);
    free(p);
}

/* Starts a child for f with this environment. NULL, errno: it cannot be. */
static struct child *child_new(struct filter *f, char **env)
{
    int to[2] = { -1, -1 }, from[2] = { -1, -1 }, error = 0;
    struct child *p = alloc(sizeof *p);

    *p = (struct child){ .next = children, .filter = f, .pid = -1,
                         .moved = now };
    children = p;
    if (pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0)
        p->pid = p->group = spawn_piped(f, env, to[0], from[1]);
    if (p->pid < 0)
        error = errno;
    fd_close(&to[0]);
    fd_close(&from[1]);
    set_nonblocking(p->in = to[1]);
    set_nonblocking(p->out = from[0]);
    if (p->pid < 0)
        child_free(p);
    else if (f->coprocess || f->running > 0)
        oom_offer(p->pid);
    errno = error;
    return error == 0 ? p : NULL;
}

/* Ends a child that nobody wants any more, with its process group: by SIGTERM,
   or by SIGKILL where others than the child, who is reaped, hold its output. */
static void child_kill(struct child *p)
{
    if (p->pid > 0 && p->killed == 0) {
        group_kill(p, SIGTERM);
        p->killed = now;
    } else if (p->pid == 0 && p->out >= 0)
        group_kill(p, SIGKILL);
    fd_close(&p->in);
    fd_close(&p->out);
    if (p->pid == 0)
        child_free(p);
}

/* ==== 13 helpers ========================================================
   What would keep the loop waiting is asked of coprocesses that are this
   program under another option, and so have nothing of ours: getaddrinfo()
   blocks, and the primes of an RSA key take a second to find, on a small device
   many. Limit: addresses are not kept, as system resolvers do that. */

#define HELPER(option) \
    .command = "mitmproxy " option, .path = (char *)"/proc/self/exe", \
    .argv = (char *[]){ NULL, (char *)option, NULL }, \
    .helper = true, .coprocess = true
static struct filter rsa_maker = { HELPER("--rsa-key"), .jobs = 1 };
static struct filter lookups = { HELPER("--lookup"), .jobs = MAX_RESOLVERS,
                                 .next = &rsa_maker };

/* Gives up the capabilities (capset(2)) that we were started with, not being
   root, such as CAP_NET_ADMIN for TPROXY: they are not for filters. */
static void capabilities_drop(void)
{
    struct { uint32_t version; int pid; } self = { 0x20080522, 0 };
    uint32_t none[6] = { 0 };       /* as structs in linux/capability.h */

    if (geteuid() != 0)
        syscall(SYS_capset, &self, none);
}

/* --lookup: answers a name with addresses, each a struct sockaddr_storage. */
static void lookup_answer(const char *host)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    struct sockaddr_storage addr[MAX_ADDRS] = { 0 };
    size_t count = 0;
    int error = getaddrinfo(host, NULL, &hints, &list);

    for (struct addrinfo *a = list; a != NULL && count < MAX_ADDRS;
         a = a->ai_next)
        memcpy(&addr[count++], a->ai_addr, a->ai_addrlen);
    if (count == 0)
        printf("!%s\n", gai_strerror(error ? error : EAI_NONAME));
    else
        printf("%zu\n", count * sizeof *addr);
    fwrite(addr, sizeof *addr, count, stdout);
    if (list != NULL)
        freeaddrinfo(list);
}

/* --rsa-key: answers each message with the same RSA key, as DER. */
static void rsa_answer(const char *message)
{
    static unsigned char der[2048];
    static int n;                   /* bytes at the end of der; 0: none yet */
    mbedtls_pk_context key;

    (void)message;
    if (n == 0) {
        psa_crypto_init();          /* or key_make() ends the helper */
        key_make(&key, true);
        n = mbedtls_pk_write_key_der(&key, der, sizeof der);
        if (n < 0)
            exit(1);
    }
    printf("%d\n", n);
    fwrite(der + sizeof der - n, 1, (size_t)n, stdout);
}

/* A helper's life: gives each message to answer(), until the proxy is gone. */
static _Noreturn void helper_run(void (*answer)(const char *))
{
    char line[64], message[MAX_HOST + 1];
    size_t n;

    capabilities_drop();            /* its file may have given it some anew */
    while (fgets(line, sizeof line, stdin) != NULL &&
           (n = strtoul(line, NULL, 10)) <= MAX_HOST &&
           fread(message, 1, n, stdin) == n) {
        message[n] = '\0';
        answer(message);
        fflush(stdout);
    }
    exit(0);
}

/* ==== 14 HTTP framing ===================================================
   Pure functions over bytes, with one contract: n > 0 consumed, 0 need more,
   -1 malformed. Limit: HTTP/1.0 and 1.1 (RFC 9112); of a head, what frames its
   body and names its target is understood, and no more. */

/* ---- heads */

/* The bytes of the first line of the n bytes at p, its LF or CRLF included;
   *len is without that. 0: the line has no end yet. */
static size_t next_line(const char *p, size_t n, size_t *len)
{
    const char *lf = memchr(p, '\n', n);

    if (lf == NULL)
        return 0;
    *len = (size_t)(lf - p) - (lf > p && lf[-1] == '\r');
    return (size_t)(lf - p) + 1;
}

/* Takes the blanks off both ends of the n bytes at *p: moves *p, and returns
   how many bytes are left. */
static size_t strip(const char **p, size_t n)
{
    for (; n > 0 && (**p == ' ' || **p == '\t'); n--)
        ++*p;
    while (n > 0 && ((*p)[n - 1] == ' ' || (*p)[n - 1] == '\t'))
        n--;
    return n;
}

/* Splits the field line of len bytes at p (RFC 9112, 5): its first *name bytes
   are the name. False: it is a fold (obs-fold, 5.2), or has no colon. */
static bool split_field(const char *p, size_t len, size_t *name,
                        const char **value, size_t *value_len)
{
    const char *colon = memchr(p, ':', len);

    if (colon == NULL || *p == ' ' || *p == '\t')
        return false;
    *name = (size_t)(colon - p);
    *value = colon + 1;
    *value_len = strip(value, len - *name - 1);
    return true;
}

/* The bytes of a field's name, n bytes at p, without the blanks before the
   colon, which RFC 9112, 5.1, forbids: some read the name without them. */
static size_t bare_name(const char *p, size_t n)
{
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r'))
        n--;
    return n;
}

/* Whether some read a field's name, n bytes at p, as this one. */
static bool field_is(const char *p, size_t n, const char *name)
{
    return same_word(p, bare_name(p, n), name);
}

/* Whether the list (RFC 9110, 5.6.1) of n bytes at p has word as a member; with
   last, as the last one. */
static bool list_has(const char *p, size_t n, const char *word, bool last)
{
    while (n > 0) {
        const char *comma = memchr(p, ',', n);
        size_t skip = comma ? (size_t)(comma - p) + 1 : n;
        const char *item = p;
        size_t len = strip(&item, comma ? skip - 1 : n);

        p += skip;
        n -= skip;
        if (same_word(item, len, word) && (!last || n == 0))
            return true;
    }
    return false;
}

/* Whether a member of Upgrade is HTTP/2 in clear text (RFC 7540, 3.2), or what
   Apache takes for it within TLS. */
static bool is_h2c(const char *p, size_t n)
{
    return same_word(p, n, "h2c") || same_word(p, n, "h2");
}

/* Reads a Content-Length, or a list of equal ones (RFC 9110, 8.6). */
static bool parse_lengths(const char *p, size_t n, uint64_t *length)
{
    uint64_t sum;

    for (const char *end = p + n, *comma = p, *item = p;; item = ++comma) {
        comma = memchr(item, ',', (size_t)(end - item));
        n = strip(&item, (size_t)((comma ? comma : end) - item));
        if (!parse_number(item, n, &sum) || (item > p && sum != *length))
            return false;
        *length = sum;
        if (comma == NULL)
            return true;
    }
}

/* Why the end of an HTTP/1.0 message is unclear, until its body shows that it
   is chunked indeed. */
static const char old_coding[] = "HTTP/1.0 knows no transfer coding";

/* Notes what a field says about the message: its name has name bytes at p, its
   value len bytes. base is where the head begins. */
static void head_field(struct head *h, const char *base, const char *p,
                       size_t name, const char *value, size_t len)
{
    struct span place = { (size_t)(value - base), len };
    uint64_t length = 0;
    size_t bare = bare_name(p, name);

    h->frames = true;
    if (same_word(p, bare, "Content-Length")) {
        if (!parse_lengths(value, len, &length))
            h->unclear = "its Content-Length is no number";
        else if (h->has_length && h->length != length)
            h->unclear = "it has two lengths that differ";
        else
            h->length = length;
        h->has_length = true;
    } else if (same_word(p, bare, "Transfer-Encoding")) {
        if (h->chunked && !same_word(value, len, "chunked"))
            h->unclear = "its chunked coding is not the last";
        h->coded |= !same_word(value, len, "identity"); /* which is none */
        h->chunked = list_has(value, len, "chunked", true);
        if (memchr(value, '\v', len) || memchr(value, '\f', len) ||
            memchr(value, '\0', len) || memchr(value, '\r', len))
            h->unclear = "its Transfer-Encoding has control characters";
        if (list_has(value, len, "gzip", false) || /* asked for by TE */
            list_has(value, len, "deflate", false))
            h->coding = place;
    } else {
        h->frames = false;
        if (same_word(p, name, "Host"))
            h->host = place;
        else if (same_word(p, name, "Content-Type"))
            h->type = place;
        else if (same_word(p, name, "Content-Encoding"))
            h->coding = place;
        else if (same_word(p, name, "Connection")) {
            h->close |= list_has(value, len, "close", false);
            h->keep_alive |= list_has(value, len, "keep-alive", false);
        } else if (same_word(p, name, "Upgrade")) {
            h->websocket |= list_has(value, len, "websocket", false);
            h->h2c |= list_has(value, len, "h2c", false) ||
                      list_has(value, len, "h2", false);
            h->h2c_alone = !h->upgrade && is_h2c(value, len);
            h->upgrade = true;
        } else if (same_word(p, bare, "Expect"))
            h->expect |= len == 0 ||
                         list_has(value, len, "100-continue", false);
    }
    if (h->frames && bare != name)
        h->unclear = "there is a space before a framing field's colon";
}

/* Reads "HTTP/1.x" off the 8 bytes at p. */
static bool parse_version(const char *p, int *minor)
{
    *minor = p[7] - '0';
    return memcmp(p, "HTTP/1.", 7) == 0 && (*minor == 0 || *minor == 1);
}

/* Reads a status-line of len bytes at p (RFC 9112, 4). Some servers write more
   than one blank before the status. */
static bool parse_status_line(struct head *h, const char *p, size_t len)
{
    size_t at = 8;
    uint64_t status;

    while (at < len && p[at] == ' ')
        at++;
    if (at == 8 || len < at + 3 || !parse_version(p, &h->minor) ||
        (len > at + 3 && p[at + 3] != ' ') ||
        !parse_number(p + at, 3, &status))
        return false;
    h->status = (int)status;
    return status >= 100;
}

/* Reads a request-line (RFC 9112, 3) of len bytes at p, at bytes behind the
   head's start. Many clients are careless: the target may have blanks in it,
   and more than one around it. */
static bool parse_request_line(struct head *h, const char *p, size_t len,
                               size_t at)
{
    size_t method = word_size(p, len, IN_TOKEN), from = method, to = len - 8;

    if (method == 0 || len < method + 11 || p[method] != ' ' ||
        p[len - 9] != ' ' || !parse_version(p + len - 8, &h->minor) ||
        memchr(p, '\0', len) != NULL)
        return false;
    while (from < to && p[from] == ' ')
        from++;
    while (to > from && p[to - 1] == ' ')
        to--;
    h->method = (struct span){ at, method };
    h->target = (struct span){ at + from, to - from };
    return from < to;
}

/* Whether the n bytes at p may become a request or a response: a start-line,
   whose end has not come yet, begins at h->at. */
static bool start_possible(bool request, const char *p, size_t n,
                           struct head *h)
{
    size_t from = h->seen - h->at, i;

    p += h->at;
    n -= h->at;
    if (!request)
        return memcmp(p, "HTTP/1.", n < 7 ? n : 7) == 0;
    if (h->method.len > 0)          /* found out before */
        return true;
    i = from + word_size(p + from, n - from, IN_TOKEN);
    h->method.len = i < n && p[i] == ' ' ? i : 0;
    return i == n || h->method.len > 0;
}

/* Notes the field line of len bytes at p + h->at, or a fold of the last. */
static void head_line(struct head *h, const char *p, size_t len)
{
    const char *line = p + h->at, *value;
    size_t name, value_len;

    if (*line == ' ' || *line == '\t') {
        if (h->frames)
            h->unclear = "a framing field is folded";
    } else if (split_field(line, len, &name, &value, &value_len))
        head_field(h, p, line, name, value, value_len);
    else
        h->frames = false;
}

/* The head is whole, of len bytes: notes what its fields say together. Returns
   the same as head_more(). */
static int head_end(struct head *h, bool request, size_t len)
{
    h->len = len <= MAX_HEAD ? len : 0;
    h->close |= h->minor == 0 && !h->keep_alive;
    if (h->coded && h->has_length)
        h->unclear = "it has both a length and a transfer coding";
    else if (h->coded && !h->chunked && request)
        h->unclear = "its last transfer coding is not chunked";
    else if (h->coded && h->minor == 0)
        h->unclear = old_coding;
    return (int)h->len;
}

/* Reads a head off the n bytes at p. For a head that comes in pieces there is a
   call for each, with all bytes so far and the same h, which is zero at first
   and tells how far the last call has come: what drips costs no more than
   another head. Returns the head's bytes, 0 for more, -1 if it cannot be one.
   What is odd but harmless is let through; what makes the framing doubtful is
   told in h->unclear. */
static int head_more(const char *p, size_t n, bool request, struct head *h)
{
    const char *lf;
    size_t len;

    while (request && h->fields == 0 && h->at == h->lead && h->at < n &&
           (p[h->at] == '\r' || p[h->at] == '\n'))
        h->lead = h->seen = ++h->at; /* RFC 9112, 2.2: empty lines before it */
    for (;; h->at = h->seen = (size_t)(lf - p) + 1) {
        lf = memchr(p + h->seen, '\n', n - h->seen);
        if (lf == NULL)
            break;
        len = (size_t)(lf - p) - h->at;
        len -= len > 0 && lf[-1] == '\r';
        if (h->fields > 0 && len == 0)
            return head_end(h, request, (size_t)(lf - p) + 1);
        if (h->fields > 0)
            head_line(h, p, len);
        else if (request ? parse_request_line(h, p + h->at, len, h->at)
                         : parse_status_line(h, p + h->at, len))
            h->fields = (size_t)(lf - p) + 1;
        else
            return -1;
    }
    if (h->fields == 0 && n > h->at && !start_possible(request, p, n, h))
        return -1;
    h->seen = n;
    return 0;
}

/* Reads a whole head off the n bytes at p, as head_more(). */
static int head_parse(const char *p, size_t n, bool request, struct head *h)
{
    memset(h, 0, sizeof *h);
    return head_more(p, n, request, h);
}

/* Whether a response ends with its head, whatever length that tells (RFC 9112,
   6.3): it answers HEAD, or has one of the statuses without a body. */
static bool head_is_all(const struct head *h, bool by_head)
{
    return h->status != 0 && (by_head || h->status < 200 ||
                              h->status == 204 || h->status == 304);
}

/* Whether of a head's n bytes some lines end in CR LF, and some do not. */
static bool head_is_mixed(const char *p, size_t n)
{
    bool with = false, without = false;

    for (size_t i = 0; i < n; i++)
        if (p[i] == '\n')
            *(i > 0 && p[i - 1] == '\r' ? &with : &without) = true;
    return with && without;
}

/* ---- bodies */

/* The body that follows the head h, none of it read yet (RFC 9112, 6.3). ex is
   asked about the request that a response answers. */
static struct body body_begin(const struct head *h, const struct exchange *ex)
{
    struct body b = {
        .framing = head_is_all(h, ex->head) ? NO_BODY : h->chunked ? CHUNKED :
                   h->has_length && !h->coded ? BY_LENGTH :
                   h->status != 0 ? UNTIL_CLOSE : NO_BODY,
        .strict = opt.only != NULL && h->status == 0 };

    if (b.framing == BY_LENGTH)
        b.left = h->length;
    b.done = b.framing == NO_BODY || (b.framing == BY_LENGTH && b.left == 0);
    return b;
}

/* Takes one byte of chunked coding that is not data (RFC 9112, 7.1); bare LF
   ends a line as CRLF does. False: malformed. */
static bool chunk_byte(struct body *b, char c)
{
    if (c == '\n' ? b->step == CHUNK_SIZE || (b->strict && !b->cr) : b->cr)
        return false;
    if (c == '\r' && b->step != CHUNK_SIZE && b->step != TRAILER_LINE)
        return b->cr = true;
    if (c == '\n') {
        b->cr = false;
        b->done = b->step == TRAILER_START;
        b->step = b->step == CHUNK_END ? CHUNK_SIZE :
                  b->left > 0 ? CHUNK_DATA : TRAILER_START;
    } else if (b->step <= CHUNK_DIGITS && hex(c) >= 0 &&
               b->left >> 58 == 0) { /* 2^62 and more is nonsense */
        b->left = b->left << 4 | (uint64_t)hex(c);
        b->step = CHUNK_DIGITS;
    } else if ((b->step == CHUNK_DIGITS || b->step == CHUNK_PAD) &&
               (c == ' ' || c == '\t' || c == ';'))
        b->step = c == ';' ? CHUNK_EXT : CHUNK_PAD;
    else if (b->step == TRAILER_START && !b->strict)
        b->step = TRAILER_LINE;
    else
        return b->step == CHUNK_EXT || b->step == TRAILER_LINE;
    return true;
}

/* The next piece of a body among the n > 0 bytes at p: returns its length, or
   -1: malformed. *data tells data from framing. The trailers with the empty
   line behind them are a piece of their own. */
static ssize_t body_next(struct body *b, const char *p, size_t n, bool *data)
{
    size_t i = 0;

    b->begun = *data = true;
    if (b->framing == UNTIL_CLOSE)
        return (ssize_t)n;
    if (b->framing == BY_LENGTH || b->step == CHUNK_DATA) {
        n = n < b->left ? n : (size_t)b->left;
        b->left -= n;
        if (b->left == 0 && b->framing == CHUNKED)
            b->step = CHUNK_END;
        b->done = b->left == 0 && b->framing == BY_LENGTH;
        return (ssize_t)n;
    }
    *data = false;
    while (i < n && !b->done && b->step != CHUNK_DATA) {
        bool trailer = b->step >= TRAILER_START;

        if (!chunk_byte(b, p[i++]))
            return -1;
        if (!trailer && b->step >= TRAILER_START)
            break;
    }
    return (ssize_t)i;
}

/* Whether the n bytes at p, behind a head, begin with a chunk's size, or with
   the last chunk: 1; 0: more must come; -1: no. */
static int chunks_begin(const char *p, size_t n)
{
    struct body b = { .framing = CHUNKED };
    bool data;

    return body_next(&b, p, n, &data) < 0 ? -1 : b.step == CHUNK_DATA ||
                                                 b.step >= TRAILER_START;
}

/* ---- heads that are changed: in place, and no more of them than must be */

/* Gives the first field of this name a value, and takes out all others, and
   folds; value NULL: takes out all. b begins with the head, its field lines at
   offset at. The values that there were are put into was as one list (RFC 9110,
   5.3), unless that is NULL. True: there was a field to be given the value. */
static bool head_set(struct buf *b, size_t at, const char *field,
                     const char *value, struct buf *was)
{
    size_t line, len, name = 0, n, size = value ? strlen(value) : 0;
    bool ours = false, set = false;
    const char *old;

    while ((line = next_line((char *)buf_at(b) + at, b->len - at, &len)) > 0 &&
           len > 0) {
        const char *p = (char *)buf_at(b) + at;
        bool fold = *p == ' ' || *p == '\t'; /* shares its field's fate */

        if (!fold)
            ours = tolower((unsigned char)*p) == tolower(*field) &&
                   split_field(p, len, &name, &old, &n) &&
                   field_is(p, name, field);
        if (ours && !fold && was != NULL) {
            buf_puts(was, was->len > 0 && n > 0 ? ", " : "");
            buf_put(was, old, n);
        }
        if (ours && !fold && !set && value != NULL) {
            size_t blanks = name - bare_name(p, name);

            buf_splice(b, (size_t)(old - p) + at, n, value, size);
            buf_splice(b, at + name - blanks, blanks, NULL, 0);
            line += size - n - blanks;
            set = true;
        } else if (ours) {
            buf_splice(b, at, line, NULL, 0);
            line = 0;
        }
        at += line;
    }
    return set;
}

/* Appends the members of a list (RFC 9110, 5.6.1), n bytes at p, but for those
   that offer HTTP/2, and, if Upgrade offers that alone, Upgrade. */
static void list_keep(struct buf *out, const char *p, size_t n, bool alone)
{
    for (size_t len; n > 0; p += len, n -= len) {
        const char *item = p, *comma = memchr(p, ',', n);
        size_t size = strip(&item, comma ? (size_t)(comma - p) : n);

        len = comma ? (size_t)(comma - p) + 1 : n;
        if (is_h2c(item, size) ||
            same_word(item, size, "HTTP2-Settings") ||
            (alone && same_word(item, size, "Upgrade")))
            continue;
        buf_puts(out, out->len > 0 ? ", " : "");
        buf_put(out, item, size);
    }
}

/* Takes HTTP/2 (RFC 7540, 3.2.1) out of what the head offers that b is, and h
   tells of, with all that the fields in question have in folds. */
static void head_without_h2c(struct buf *b, const struct head *h)
{
    static const char *const lists[] = { "Upgrade", "Connection" };
    struct buf *was = buf_scratch(), *rest = buf_scratch();

    head_set(b, h->fields, "HTTP2-Settings", NULL, NULL);
    for (int i = 0; i < 2; i++, was->len = rest->len = 0) {
        head_set(b, h->fields, lists[i], "?", was); /* has its place kept */
        list_keep(rest, (char *)was->data, was->len, h->h2c_alone);
        buf_put(rest, "", 1);
        head_set(b, h->fields, lists[i],
                 rest->len > 1 ? (char *)rest->data : NULL, NULL);
    }
    buf_free(rest);
    buf_free(was);
}

/* Adds a field line to the head that b is, and ends it as the head ends. */
static void head_add(struct buf *b, const char *field)
{
    const char *eol = b->len > 1 && buf_at(b)[b->len - 2] == '\r' ? "\r\n"
                                                                  : "\n";

    b->len -= strlen(eol);
    buf_printf(b, "%s%s%s", field, eol, eol);
}

/* How a body is framed anew. */
enum { STAYS, SET_LENGTH, SET_CHUNKED, SET_NONE };

/* Makes the head that b is, which h tells of, say how its body is framed. */
static void head_frame(struct buf *b, const struct head *h, int framing,
                       uint64_t length)
{
    char field[40], *number = field + sizeof "Content-Length:";
    bool stays = framing == SET_CHUNKED ? h->chunked :
                 framing == SET_LENGTH && !h->coded && h->unclear == NULL;

    if (framing == STAYS)
        return;
    sprintf(field, "Content-Length: %llu", (unsigned long long)length);
    if (!stays)
        head_set(b, h->fields, "Transfer-Encoding", NULL, NULL);
    if (!head_set(b, h->fields, "Content-Length",
                  framing == SET_LENGTH ? number : NULL, NULL) &&
        framing == SET_LENGTH)
        head_add(b, field);
    if (framing == SET_CHUNKED && !stays)
        head_add(b, "Transfer-Encoding: chunked");
    if (framing == SET_NONE && h->keep_alive) { /* its end is the connection's:
                                       HTTP/1.0 clients take it for empty */
        head_set(b, h->fields, "Connection", "close", NULL);
        head_set(b, h->fields, "Keep-Alive", NULL, NULL);
    }
}

/* ---- targets (RFC 9112, 3.2) */

/* Makes t's host of the n bytes at p, a name or an address. An IPv6 address's
   zone may stand behind "%25" (RFC 6874). False: it is neither. */
static bool target_name(struct target *t, const char *p, size_t n)
{
    char *zone;

    if (n == 0 || n > MAX_HOST || word_size(p, n, "-._:%~") < n)
        return false;
    t->rooted = n > 1 && p[n - 1] == '.';
    n -= t->rooted;
    memcpy(t->host, p, n);
    t->host[n] = '\0';
    zone = strchr(t->host, ':') ? strstr(t->host, "%25") : NULL;
    if (zone != NULL && zone[3] != '\0')
        memmove(zone + 1, zone + 3, strlen(zone + 2));
    return true;
}

/* Reads an authority (RFC 3986, 3.2) of n bytes at p: "host:port", "[v6]:port",
   or a host, which then has the port given (0: it must be there). False: no. */
static bool parse_authority(const char *p, size_t n, unsigned port,
                            struct target *t)
{
    bool v6 = n > 0 && *p == '[';
    const char *end = p + n, *stop = memchr(p, v6 ? ']' : ':', n);
    const char *colon = stop ? stop + v6 : end;
    uint64_t number;

    if (v6 && (stop == NULL || (colon < end && *colon != ':')))
        return false;
    if (colon + 1 < end) {
        if (!parse_number(colon + 1, (size_t)(end - colon - 1), &number) ||
            number > 65535 || end - colon > 6)
            return false;
        port = (unsigned)number;
    }
    t->port = port;
    return port != 0 &&
           target_name(t, p + v6, (size_t)((stop ? stop : end) - p) - v6);
}

/* Takes a target in absolute-form (RFC 9112, 3.2.2), n bytes at p, apart: where
   it goes, and its path and query, the last *rest bytes, of which none stand
   for "/" or "*". False: the target has another form, or a scheme that is
   neither HTTP's nor WebSocket's, whose handshake is HTTP (RFC 6455, 3). */
static bool parse_absolute(const char *p, size_t n, struct target *t,
                           size_t *rest)
{
    static const char *const schemes[] = { "http://", "ws://", "https://",
                                           "wss://" };
    size_t i = 0, len = 0;
    const char *end = p + n, *path, *at;

    while (i < 4 && (len = strlen(schemes[i]), n <= len ||
                     strncasecmp(p, schemes[i], len) != 0))
        i++;
    if (i == 4)
        return false;
    p += len;
    for (path = p; path < end && (*path == '\0' || !strchr("/?#", *path));)
        path++;
    at = memchr(p, '@', (size_t)(path - p));
    if (at != NULL)
        p = at + 1;
    t->tls = i > 1;
    *rest = (size_t)(end - path);
    return parse_authority(p, (size_t)(path - p), t->tls ? 443 : 80, t);
}

/* Whether nobody can take for the host what stands beside it in an
   absolute-form target, n bytes at p, of which the last are rest bytes of path
   and query: no user, nor a query or a backslash with @ behind it. */
static bool absolute_is_plain(const char *p, size_t n, size_t rest)
{
    return memchr(p, '@', n - rest) == NULL &&
           (rest == 0 || p[n - rest] == '/');
}

/* ==== 15 other parsers ==================================================
   TLS's ClientHello, HAProxy's PROXY protocol, WebSocket's frames; under the
   same contract. Limit: a ClientHello within MAX_HELLO bytes. */

static unsigned char hello_msg[MAX_HELLO + 4]; /* hello_describe() looks on */

/* Puts a ClientHello together in hello_msg from the records at p, n bytes: TLS
   may cut it into any number of them (RFC 8446, 5.1). Returns the records'
   bytes, and *glued is the message's; 0: more must come, of records *glued
   bytes at least; -1: it is no ClientHello, or too long. */
static int hello_glue(const unsigned char *p, size_t n, size_t *glued)
{
    unsigned char *msg = hello_msg;
    size_t len = 0, want = 4, i = 0, piece;

    for (; len < want; i += 5 + piece) {
        *glued = i + 5 + want - len; /* one more record must come, or all of
                                       the rest in one */
        if ((n > i && p[i] != 22) || (n > i + 1 && p[i + 1] != 3))
            return -1;              /* no handshake, or of no TLS */
        if (n - i < 5)
            return 0;
        piece = number_at(p + i + 3, 2);
        if (piece == 0 || piece > 16384 || len + piece > MAX_HELLO ||
            (len == 0 && n - i > 5 && p[i + 5] != 1)) /* no ClientHello */
            return -1;
        if (n - i < 5 + piece)
            return 0;
        memcpy(msg + len, p + i + 5, piece);
        len += piece;
        if (len >= 4)
            want = 4 + number_at(msg + 1, 3);
        if (want > MAX_HELLO)
            return -1;
    }
    *glued = want;
    return (int)i;
}

/* Notes a server_name extension's name (RFC 6066, 3). False: malformed. */
static bool hello_name(struct hello *h, const unsigned char *p, size_t n)
{
    size_t size;

    if (n < 5)
        return true;
    size = number_at(p + 3, 2);
    if (5 + size > n)
        return false;
    h->absurd = size > MAX_HOST || size == 0 || p[2] != 0 || n > 5 + size ||
                h->sni[0] != '\0' || /* RFC 6066, 3: one name, once */
                word_size((const char *)p + 5, size, "-._:") < size;
    size -= size > 1 && p[4 + size] == '.'; /* the root's: RFC 6066 has none */
    if (!h->absurd)
        snprintf(h->sni, sizeof h->sni, "%.*s", (int)size, (char *)p + 5);
    return true;
}

/* Notes the names in an ALPN extension, n bytes at p (RFC 7301, 3.1). */
static void hello_alpn(struct hello *h, const unsigned char *p, size_t n)
{
    for (size_t i = 2; i < n && i + p[i] < n; i += 1u + p[i]) {
        const char *name = (char *)p + i + 1;

        h->http |= same_word(name, p[i], "http/1.1");
        h->h2 |= same_word(name, p[i], "h2");
        if (p[i] > 0 && memchr(name, 0, p[i]) == NULL &&
            h->alpn.len + p[i] < (int)sizeof h->alpn.names - 1) {
            memcpy(h->alpn.names + h->alpn.len, p + i, 1u + p[i]);
            h->alpn.len += (unsigned char)(1 + p[i]);
        }
    }
}

/* Whether this is one of the numbers of 2 bytes each, n bytes at p. */
static bool has_number(const unsigned char *p, size_t n, size_t number)
{
    while (n >= 2 && number_at(p, 2) != number)
        p += 2, n -= 2;
    return n >= 2;
}

/* Whether a suite of these n bytes allows ECDSA, as all of TLS 1.3 do. */
static bool has_ecdsa(const unsigned char *p, size_t n)
{
    static const unsigned char of_12[] = { 0x09, 0x0a, 0x23, 0x24, 0x2b, 0x2c,
                                           0xa9 };

    for (size_t i = 0; i + 1 < n; i += 2)
        if (p[i] == 0x13 || ((p[i] == 0xc0 || p[i] == 0xcc) &&
                             memchr(of_12, p[i + 1], sizeof of_12)))
            return true;
    return false;
}

/* Whether a client with these n bytes of suites loses nothing if TLS 1.3 takes
   the one that is the quickest here: it has that, and not ChaCha20 before all
   others, as those without AES do; or it has none of TLS 1.3. */
static bool has_favourite(const unsigned char *p, size_t n)
{
    size_t favourite = cpu_has_aes() ? 0x1301 : 0x1303;

    while (n >= 2 && *p != 0x13)    /* as the first of TLS 1.3 begins */
        p += 2, n -= 2;
    return n < 2 || (has_number(p, n, favourite) &&
                     (number_at(p, 2) != 0x1303 || favourite == 0x1303));
}

/* Reads a ClientHello (RFC 8446, 4.1.2) off the n bytes at p. Returns 1: h is
   filled; 0: more must come, in all h->enough bytes or more; -1: it is none. */
static int hello_parse(const unsigned char *p, size_t n, struct hello *h)
{
    const unsigned char *msg = hello_msg;
    size_t len, i = 4 + 2 + 32, end;    /* behind version and random */
    /* TLS 1.3 is offered; the signatures that it takes, and those and the
       curves that TLS 1.2 does, have what a leaf of P-256 needs */
    bool newer = false, signs = true, signs_12 = true, curve = true;
    int whole = hello_glue(p, n, &len);

    *h = (struct hello){ .enough = whole == 0 ? len : 0 };
    if (whole <= 0)
        return whole;
    /* skip session id, cipher suites, compression */
    for (int k = 0; k < 3; k++, i = end) {
        size_t width = k == 1 ? 2 : 1;

        if (i + width > len ||
            (end = i + width + number_at(msg + i, width)) > len)
            return -1;
        h->rsa |= k == 1 && !has_ecdsa(msg + i + 2, end - i - 2);
        h->best |= k == 1 && has_favourite(msg + i + 2, end - i - 2);
    }
    if (i + 2 > len) {              /* ECDSA would be with SHA-1 then */
        h->bare = h->rsa = true;
        return i == len ? 1 : -1;
    }
    for (i += 2; i + 4 <= len; i = end) {
        size_t type = number_at(msg + i, 2), size = number_at(msg + i + 2, 2);

        p = msg + i + 4;
        end = i + 4 + size;
        if (end > len || (type == 0 && !hello_name(h, p, size)))
            return -1;              /* 0: server_name */
        if (type == 10 && size > 2) /* supported_groups: secp256r1 */
            curve = has_number(p + 2, size - 2, 23);
        if (type == 13 && size > 2) { /* signature_algorithms: ECDSA */
            signs = has_number(p + 2, size - 2, 0x403);
            signs_12 = signs || has_number(p + 2, size - 2, 0x503) ||
                       has_number(p + 2, size - 2, 0x603);
        }
        if (type == 16)             /* ALPN */
            hello_alpn(h, p, size);
        if (type == 43 && size > 1) /* supported_versions: TLS 1.3 */
            newer = has_number(p + 1, size - 1, 0x304);
    }
    h->rsa |= newer ? !signs : !signs_12 || !curve;
    return 1;
}

static const char hello_names[] = " 0 server_name 1 max_fragment_length 5 "
    "status_request 10 supported_groups 11 ec_point_formats 13 "
    "signature_algorithms 16 ALPN 18 signed_certificate_timestamp 21 padding "
    "22 encrypt_then_mac 23 extended_master_secret 27 compress_certificate 28 "
    "record_size_limit 35 session_ticket 41 pre_shared_key 42 early_data 43 "
    "supported_versions 45 psk_key_exchange_modes 49 post_handshake_auth 50 "
    "signature_algorithms_cert 51 key_share 17613 application_settings 65037 "
    "encrypted_client_hello 65281 renegotiation_info ";

/* The number that the two bytes at p are, as printf() takes it. */
static unsigned get_16(const unsigned char *p)
{
    return (unsigned)number_at(p, 2);
}

/* Puts the names of the numbers in n bytes at p, two bytes each, for those that
   have one. Behind those of key shares come keys, which are passed over. */
static void hello_list(struct buf *b, const unsigned char *p, size_t n,
                       const char *names, bool keys)
{
    for (const unsigned char *end = p + n; p + 2 <= end;
         p += keys && p + 4 <= end ? 4 + get_16(p + 2) : 2)
        if (*name_of(names, get_16(p)) != '\0')
            buf_printf(b, " %s", name_of(names, get_16(p)));
}

/* Writes into text what the ClientHello that hello_parse() has read offers, and
   into dump its bytes, each part with its name (RFC 8446, 4.1.2). */
static void hello_describe(struct buf *text, struct buf *dump)
{
    static const char versions[] = " 772 1.3 771 1.2 770 1.1 769 1.0 ";
    static const char groups[] = " 23 secp256r1 24 secp384r1 25 secp521r1 29 "
        "x25519 30 x448 4587 SecP256r1MLKEM768 4588 X25519MLKEM768 ";
    const unsigned char *m = hello_msg, *p = m + 38, *end;
    unsigned n = get_16(p + 1 + *p), type;
    bool ticket = false, newer = false;

    end = m + 4 + number_at(m + 1, 3);
    buf_printf(text, ", %u cipher suites", n / 2);
    buf_printf(dump, "%02x ClientHello, %02x%04x its length, %04x version, "
               "%04x%04x... 32 random bytes, %02x as many of a session id, "
               "%04x bytes of suites:", m[0], m[1], get_16(m + 2),
               get_16(m + 4), get_16(m + 6), get_16(m + 8), *p, n);
    p += 3 + *p;
    for (unsigned i = 0; i + 1 < n && i < 300; i += 2)
        buf_printf(dump, " %04x", get_16(p + i));
    p += n;
    buf_printf(dump, ", %02x%02x no compression", p[0], p[1]);
    for (p += 3 + *p; p + 4 <= end; p += 4 + n) {
        type = get_16(p);
        n = get_16(p + 2);
        buf_printf(dump, ", %04x %s %04x", type, *name_of(hello_names, type) ?
                   name_of(hello_names, type) : "of another kind", n);
        if (type == 43 && n > 0) {
            buf_puts(text, ", TLS");
            hello_list(text, p + 5, n - 1, versions, false);
            newer = true;
        }
        if (type == 51 && n > 1) {
            buf_puts(text, ", key shares");
            hello_list(text, p + 6, n - 2, groups, true);
        }
        ticket |= (type == 35 && n > 0) || type == 41;
    }
    if (!newer)
        buf_printf(text, ", TLS %s", name_of(versions, get_16(m + 4)));
    buf_printf(text, ", %s", ticket ? "a ticket of an earlier session"
                                    : "no ticket");
    buf_put(text, "", 1);
    buf_put(dump, "", 1);
}

/* ---- the PROXY protocol, versions 1 and 2 */

/* Fills *a with the IP address of n bytes, 4 or 16, at ip, and the port. */
static void address_make(struct sockaddr_storage *a, const void *ip, size_t n,
                         uint64_t port)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)a;
    struct sockaddr_in *four = (struct sockaddr_in *)a;

    memset(a, 0, sizeof *a);
    a->ss_family = n == 4 ? AF_INET : AF_INET6;
    memcpy(n == 4 ? (void *)&four->sin_addr : &six->sin6_addr, ip, n);
    four->sin_port = htons((uint16_t)port); /* where IPv6 has it, too */
    unmap_address(a);
}

/* Reads version 1: "PROXY TCP4 from to port port" on a line of at most 107
   bytes. Contract as in 14; *a becomes the client's address, if told. */
static int proxied_line(const char *p, size_t n, struct sockaddr_storage *a)
{
    const char *end = memchr(p, '\n', n < 107 ? n : 107);
    char line[108], again[128], *word[6] = { line };
    unsigned char ip[16];
    unsigned long port, at;
    size_t len = end ? (size_t)(end + 1 - p) : n;
    int family;

    if (memcmp(p, "PROXY ", n < 6 ? n : 6) != 0 || (!end && n >= 107))
        return -1;
    if (end == NULL)
        return 0;
    snprintf(line, sizeof line, "%.*s", (int)len, p);
    if (strncmp(line, "PROXY UNKNOWN", 13) == 0 && len > 14 &&
        (line[13] == ' ' || len == 15) && end[-1] == '\r')
        return (int)len;
    for (int i = 0; i < 6; i++)
        if ((word[i] = strtok(i == 0 ? line : NULL, " ")) == NULL)
            return -1;
    port = strtoul(word[4], NULL, 10);
    at = strtoul(word[5], NULL, 10);
    family = strcmp(word[1], "TCP4") == 0 ? AF_INET : AF_INET6;
    snprintf(again, sizeof again, "PROXY TCP%c %s %s %lu %lu\r\n",
             family == AF_INET ? '4' : '6', word[2], word[3], port, at);
    if (strlen(again) != len || memcmp(again, p, len) != 0 || port > 65535 ||
        at > 65535 || inet_pton(family, word[3], ip) != 1 ||
        inet_pton(family, word[2], ip) != 1)
        return -1;                  /* strtok() is not strict about blanks */
    address_make(a, ip, family == AF_INET ? 4 : 16, (unsigned)port);
    return (int)len;
}

/* Reads the header, of either version (HAProxy's proxy-protocol.txt), with
   which the n bytes at p begin. The contract is the same. */
static int proxied_parse(const unsigned char *p, size_t n,
                         struct sockaddr_storage *a)
{
    static const char start[] = "\r\n\r\n\0\r\nQUIT\n";
    size_t len, ip;

    if (n == 0)
        return 0;
    if (memcmp(p, start, n < 12 ? n : 12) != 0)
        return proxied_line((const char *)p, n, a);
    if (n < 16)
        return 0;
    len = 16 + number_at(p + 14, 2);
    ip = p[12] != 0x21 ? 0 :        /* its own: a check of its health */
         p[13] == 0x11 ? 4 : p[13] == 0x21 ? 16 : 0; /* TCP and IPv4, IPv6 */
    if ((p[12] != 0x20 && p[12] != 0x21) || len > MAX_BUF / 2 ||
        (ip > 0 && len < 16 + 2 * ip + 4))
        return -1;
    if (n < len)
        return 0;
    if (ip > 0)
        address_make(a, p + 16, ip, number_at(p + 16 + 2 * ip, 2));
    return (int)len;
}

/* ---- WebSocket (RFC 6455): frames, and what messages are made of */

/* Reads the head of a frame (RFC 6455, 5.2) off the n bytes at p. Malformed is
   what no extension may change: a length of 2^63 or more, a control frame of
   more than 125 bytes or in parts. */
static int frame_parse(const unsigned char *p, size_t n, struct frame *f)
{
    size_t more, size;

    if (n < 2)
        return 0;
    *f = (struct frame){ .fin = p[0] >> 7, .reserved = p[0] >> 4 & 7,
                         .opcode = p[0] & 15, .length = p[1] & 127 };
    more = f->length == 127 ? 8 : f->length == 126 ? 2 : 0;
    size = 2 + more + (p[1] >> 7) * 4;
    if (f->opcode & 8 && (!f->fin || more > 0))
        return -1;
    if (n < size)
        return 0;
    if (more > 0)
        f->length = number_at(p + 2, more); /* which may be 5, too */
    if (p[1] >> 7)
        memcpy(f->mask, p + size - 4, 4);
    return f->length >> 63 ? -1 : (int)size;
}

/* The next piece of a direction's frames among the n > 0 bytes at p: all of a
   control frame, or what has come of a data frame; its head is in the first. */
static ssize_t frames_next(struct frames *r, const unsigned char *p, size_t n)
{
    const struct frame *f = &r->frame;
    bool goes_on = r->open;
    int head;

    if (r->left == 0) {
        head = frame_parse(p, n, &r->frame);
        if (head > 0 && f->opcode & 8)
            return n < head + f->length ? 0 : head + (ssize_t)f->length;
        if (head <= 0)
            return head;
        if (!goes_on)
            *r = (struct frames){ .frame = *f, .opcode = f->opcode };
        r->open = !f->fin;
        r->left = (uint64_t)head + f->length;
        r->length += f->length;
        r->wrong = goes_on != (f->opcode == 0) ? "its frames are mixed up" :
                   f->opcode > 2 ? "its opcode means nothing" :
                   f->reserved ? "its reserved bits are set: is it compressed "
                                 "all the same?" :
                   r->length > MAX_HOLD ? "it is longer than 1 MiB" : r->wrong;
    }
    n = n < r->left ? n : (size_t)r->left;
    r->left -= n;
    return (ssize_t)n;
}

/* Whether the last piece of a data frame was the end of a message. */
static bool frames_whole(const struct frames *r)
{
    return r->left == 0 && !r->open;
}

/* Puts a mask on n bytes of a payload, or takes it off. */
static void frame_mask(unsigned char *p, size_t n, const unsigned char *mask)
{
    for (size_t i = 0; i < n; i++)
        p[i] ^= mask[i & 3];
}

/* Appends to out the payload of the data frames that the n bytes at p are. */
static void frames_open(struct buf *out, const unsigned char *p, size_t n)
{
    struct frame f;

    for (const unsigned char *end = p + n; p < end; p += f.length) {
        p += frame_parse(p, (size_t)(end - p), &f);
        buf_put(out, p, f.length);
        frame_mask(buf_at(out) + out->len - f.length, f.length, f.mask);
    }
}

/* Appends n bytes to out as one frame; mask NULL: a server's. */
static void frame_put(struct buf *out, unsigned char opcode, const void *p,
                      size_t n, const unsigned char *mask)
{
    size_t more = n < 126 ? 0 : n < 65536 ? 2 : 8;
    unsigned char head[10] = { 0x80 | opcode, mask ? 0x80 : 0 };

    head[1] |= more == 0 ? n : more == 2 ? 126 : 127;
    put_number(head + 2, more, n);
    buf_put(out, head, 2 + more);
    if (mask != NULL)
        buf_put(out, mask, 4);
    buf_put(out, p, n);
    if (mask != NULL)
        frame_mask(buf_at(out) + out->len - n, n, mask);
}

/* Whether the n bytes at p are UTF-8 (RFC 3629, 4). */
static bool is_utf8(const unsigned char *p, size_t n)
{
    while (n > 0) {
        size_t more = *p < 0x80 ? 0 : *p < 0xc2 ? n : *p < 0xe0 ? 1 :
                      *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : n;
        int low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;
        int high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;

        if (more >= n)
            return false;
        for (size_t i = 1; i <= more; i++, low = 0x80, high = 0xbf)
            if (p[i] < low || p[i] > high)
                return false;
        p += more + 1;
        n -= more + 1;
    }
    return true;
}

/* ==== 16 match expressions ==============================================
   ~d host, ~u URL, ~m method, ~t Content-Type, ~c status, ~h header line, ~q
   request, ~s response, ~w WebSocket message; ! & | ( ); a bare REGEX means
   ~u. Limit: of the body nothing is asked; that is a filter's business. */

struct match {
    char kind;              /* a letter above, or one of ! & | */
    struct match *a, *b;    /* of an operator */
    regex_t regex;
    size_t most;            /* bytes of a text that it is given */
    uint64_t code;
    struct match *made;     /* of the same expression, before this one */
};

/* What a message is matched against; NULL: it has no such thing. */
struct subject {
    const char *method, *url, *host;
    const char *head;       /* the bytes of the head of which h tells */
    const struct head *h;   /* NULL: the response is yet to come, or a stream
                               has no heads; url NULL, too: nothing but the
                               host is known */
    bool request;           /* else a response */
    bool message;           /* a message of WebSocket, which has no head */
};

/* An expression being read, the place in it, and the node that was made last:
   at the end the whole expression, as operands are made first. */
struct parser { const char *start, *p; char *error; struct match *made; };

/* A new node over a and b, first in the list by which all are freed. */
static struct match *match_new(struct parser *p, char kind, struct match *a,
                               struct match *b)
{
    struct match *m = alloc(sizeof *m);

    *m = (struct match){ .kind = kind, .a = a, .b = b, .made = p->made };
    return p->made = m;
}

/* Frees the node and all that were made before. */
static void match_free(struct match *m)
{
    for (struct match *made; m != NULL; m = made) {
        made = m->made;
        if (strchr("dumth", m->kind))
            regfree(&m->regex);
        free(m);
    }
}

/* Notes the mistake, with the place it was found at; returns NULL. */
static struct match *match_error(struct parser *p, const char *what)
{
    snprintf(p->error, 256, "at character %d: %s (%.60s)",
             (int)(p->p - p->start) + 1, what, *p->p ? p->p : "its end");
    return NULL;
}

/* The end of the bracket expression at p (POSIX, XBD 9.3.5); p: it has none. */
static const char *bracket_end(const char *p)
{
    const char *s = p + 1, *end;

    s += *s == '^';
    for (s += *s == ']'; *s != '\0' && *s != ']'; s++)
        if (*s == '[' && s[1] != '\0' && strchr(":.=", s[1]) != NULL &&
            (end = strstr(s + 2, (char[]){ s[1], ']', '\0' })) != NULL)
            s = end + 1;            /* of a class: [:alpha:] */
    return *s == ']' ? s : p;
}

/* Reads one argument: a word up to a space, parenthesis or operator, or
   something in quotes. To be freed; NULL: there is none. */
static char *match_word(struct parser *p)
{
    const char *from;
    char quote = 0, *word;
    int depth = 0;

    p->p += strspn(p->p, " \t");
    if (*p->p == '"' || *p->p == '\'')
        quote = *p->p++;
    for (from = p->p; *p->p != '\0'; p->p++) {
        if (quote ? *p->p == quote : depth == 0 && strchr(" \t)&|", *p->p))
            break;
        if (*p->p == '\\' && p->p[1] != '\0')
            p->p++;
        else if (*p->p == '[' && !quote)
            p->p = bracket_end(p->p);
        else if (*p->p == '(')
            depth++;                /* of the regular expression's own */
        else if (*p->p == ')')
            depth--;
    }
    if (p->p == from || (quote && *p->p == '\0'))
        return NULL;
    word = copy_text(from, (size_t)(p->p - from));
    if (quote)
        p->p++;
    return word;
}

/* Compiles an expression that may match anywhere in a line, as regcomp() does;
   *most is set to the most bytes of a text that it may be given. Glibc's
   regexec() starts at each place of a text, each time to the end: time for the
   square of the length, and, with a back-reference, the cube. "^.*(...)" makes
   it go over the text once. That would not do for an expression that refers to
   its groups by number, or closes a group that it has not opened, or has many
   parts in a row of which each matches several letters: memory for 2 to the
   power of their number. Their texts are short. */
static int regex_make(regex_t *regex, const char *text, size_t *most)
{
    enum { FLAGS = REG_EXTENDED | REG_ICASE | REG_NOSUB };
    int r = regcomp(regex, text, FLAGS), depth = 0, wide = 0;
    bool simple = r == 0 && !strchr(text, '{'), back = false;
    char *whole;

    for (const char *p = text; r == 0 && *p != '\0'; p++) {
        bool any = *p == '.' || *p == '[' || (*p == '|' && depth > 0);

        if (*p == '\\') {
            any = isalpha((unsigned char)*++p);
            back |= isdigit((unsigned char)*p) != 0;
        } else if (*p == '[')
            p = bracket_end(p);
        else if (*p == '(' || *p == ')')
            simple &= (depth += *p == '(' ? 1 : -1) >= 0;
        wide += any && p[1] != '*' && p[1] != '+';
    }
    simple &= !back && wide <= 8;
    *most = simple ? SIZE_MAX : back ? MAX_SLOW / 8 : MAX_SLOW;
    if (!simple)
        return r;
    regfree(regex);
    whole = alloc(strlen(text) + sizeof "^.*()");
    sprintf(whole, "^.*(%s)", text);
    r = regcomp(regex, whole, FLAGS);
    free(whole);
    return r;
}

static struct match *match_operands(struct parser *p, bool any);

/* ~x, or a bare regular expression. */
static struct match *match_term(struct parser *p)
{
    const char *from = p->p;
    char kind = *p->p == '~' ? p->p[1] : 'u', *word;
    char why[128] = "~c takes a status code";
    struct match *m;
    int r = 0;

    if (*p->p == '~') {
        if (kind == '\0' || !strchr("dumthcqsw", kind) ||
            isalnum((unsigned char)p->p[2]))
            return match_error(p, "there are ~d host, ~u URL, ~m method, ~t "
                               "type, ~h header, ~c code, ~q request, ~s "
                               "response, ~w WebSocket, and no other");
        p->p += 2;
    }
    if (strchr("qsw", kind))
        return match_new(p, kind, NULL, NULL);
    if ((word = match_word(p)) == NULL)
        return match_error(p, "an argument is missing, or its second quote");
    m = match_new(p, 'c', NULL, NULL);
    if (isalpha((unsigned char)*from) && (strcmp(word, "and") == 0 ||
        strcmp(word, "or") == 0 || strcmp(word, "not") == 0))
        r = sprintf(why, "and, or, not are written & | ! (or ~u and, for a "
                    "URL)");
    else if (*word == '*' || *word == '?')
        r = sprintf(why, "a shell's pattern is no regular expression: *.js is "
                    "\\.js$");
    else if (kind == 'c')
        r = strlen(word) != 3 || !parse_number(word, 3, &m->code);
    else if ((r = regex_make(&m->regex, word, &m->most)) == 0)
        m->kind = kind;             /* it has an expression to be freed */
    else
        regerror(r, &m->regex, why, sizeof why);
    free(word);
    if (r == 0)
        return m;
    p->p = from;
    return match_error(p, why);
}

/* ! and parentheses. */
static struct match *match_not(struct parser *p)
{
    struct match *m;

    p->p += strspn(p->p, " \t");
    if (*p->p == '!') {
        p->p++;
        m = match_not(p);
        return m ? match_new(p, '!', m, NULL) : NULL;
    }
    if (*p->p == '(') {
        p->p++;
        m = match_operands(p, true);
        if (m != NULL && *p->p != ')')
            return match_error(p, "a ) is missing");
        p->p += m != NULL;
        return m;
    }
    if (*p->p == '\0' || strchr(")&|", *p->p))
        return match_error(p, "a term is missing");
    return match_term(p);
}

/* any: a | b; otherwise, as that binds more, a & b, or a b, which mitmproxy
   takes for the same. NULL: an error, which was told. */
static struct match *match_operands(struct parser *p, bool any)
{
    struct match *m = any ? match_operands(p, false) : match_not(p), *b;

    while (m != NULL) {
        p->p += strspn(p->p, " \t");
        if (any ? *p->p != '|' : *p->p == '\0' || strchr(")|", *p->p))
            break;
        p->p += any || *p->p == '&';
        b = any ? match_operands(p, false) : match_not(p);
        m = b ? match_new(p, any ? '|' : '&', m, b) : NULL;
    }
    return m;
}

/* Compiles an expression; NULL: error, of 256 bytes, says what is wrong. */
static struct match *match_compile(const char *text, char *error)
{
    struct parser p = { text, text, error, NULL };
    struct match *m = match_operands(&p, true);

    if (m != NULL && *p.p != '\0')
        m = match_error(&p, "this is too much");
    if (m == NULL)
        match_free(p.made);
    return m;
}

/* Whether the text matches. */
static bool matches(const regex_t *regex, const char *text)
{
    int r;

    errno = 0;
    r = regexec(regex, text, 0, NULL, 0);
    if (r != 0 && (r != REG_NOMATCH || errno == ENOMEM))
        no_memory();                /* glibc calls that no match, too */
    return r == 0;
}

/* Whether a text of n bytes, of which m may see m->most, matches. */
static bool match_text(const struct match *m, const char *p, size_t n)
{
    struct buf *text = buf_scratch();
    bool found;

    if (n > m->most) {
        say(0, "only %zu of %zu bytes are matched with an expression that has "
            "{}, \\1 or many wildcards: %.40s...", m->most, n, p);
        n = m->most;
    }
    buf_put(text, p, n);
    for (size_t i = 0; i < n; i++)
        if (text->data[i] == '\0')
            text->data[i] = ' ';    /* regexec() would stop there */
    buf_put(text, "", 1);
    found = matches(&m->regex, (char *)text->data);
    buf_free(text);
    return found;
}

/* Whether any field line matches. */
static bool match_lines(const struct match *m, const struct subject *s)
{
    size_t line, len;

    for (size_t at = s->h->fields;
         (line = next_line(s->head + at, s->h->len - at, &len)) > 0; at += line)
        if (len > 0 && match_text(m, s->head + at, len))
            return true;
    return false;
}

/* Whether the message matches: 1 yes, 2 no, 3 perhaps, where that depends on a
   response that is yet to come, or what is not known. m NULL matches all. */
static int match_eval(const struct match *m, const struct subject *s)
{
    char kind = m ? m->kind : 0;
    const char *text = kind == 'd' ? s->host : kind == 'm' ? s->method : s->url;
    bool yes;
    int a, b;

    if (m == NULL)
        return 1;
    if (s->h == NULL && strchr(s->url ? "cht" : "chtum", kind))
        return s->message || (s->request && !s->url && kind == 'c') ? 2 : 3;
    if (strchr("!&|", kind)) {
        a = match_eval(m->a, s);
        b = m->b ? match_eval(m->b, s) : 0;
        return kind == '!' ? (a & 1) << 1 | a >> 1 :
               kind == '&' ? (a & b & 1) | ((a | b) & 2)
                           : ((a | b) & 1) | (a & b & 2);
    }
    if (strchr("dmu", kind) && s->url == NULL && text == NULL)
        return 3;
    yes = kind == 'q' ? s->request : kind == 's' ? !s->request :
          kind == 'w' ? s->message :
          kind == 'c' ? (uint64_t)s->h->status == m->code :
          kind == 'h' ? match_lines(m, s) :
          kind == 't' ? match_text(m, s->head + s->h->type.at, s->h->type.len)
                      : match_text(m, text, text ? strlen(text) : 0);
    return yes ? 1 : 2;
}

/* Whether an expression, whatever else it says, matches no request (or no
   response) and no message of that direction, by its ~q, ~s, ~w and ~c. */
static bool match_is_void(const struct match *m, bool request)
{
    struct subject s = { .request = request }, message = s;

    message.message = true;
    return match_eval(m, &s) == 2 && match_eval(m, &message) == 2;
}

/* Whether an expression may match WebSocket messages: not without ~w. */
static bool match_has_w(const struct match *m)
{
    while (m != NULL && m->kind != 'w')
        m = m->made;
    return m != NULL;
}

/* ==== 17 options ========================================================
   One table; --help is printed from it. Limit: no configuration file. */

static const struct option {
    enum {
        TITLE, FLAG, VERBOSE, EXPLAIN, TEXT, PORT, WORKERS, JOBS, SECONDS,
        CHOICE, FILTER, REGEX, PROXY, DETOUR, NAME /* from FILTER on they are
                                                      added to others */
    } kind;
    char letter;
    const char *name, *argument, *help;
    void *value;
} options[] = {
    { TITLE, 0, "Listening", 0, 0, 0 },
    { PORT, 'p', "listen-port", "PORT", "8080; 0, as for COMMAND: a free one",
      &opt.port },
    { TEXT, 0, "listen-host", "ADDR", "127.0.0.1; or unix:PATH", &opt.host },
    { TEXT, 'm', "mode", "MODE", "regular | transparent | reverse:URL",
      &opt.mode },
    { TEXT, 0, "proxyauth", "USER:PASS", "ask clients for it", &opt.proxyauth },
    { REGEX, 0, "only-hosts", "REGEX", "refuse every other host:port",
      &opt.only },
    { FLAG, 0, "proxy-protocol", 0,
      "clients' addresses come from HAProxy, nginx", &opt.proxied },
    { WORKERS, 'j', "workers", "N", "processes that share the port (1)",
      &opt.workers },
    { TEXT, 0, "user", "NAME", "become NAME once the sockets are open",
      &opt.user },
    { TITLE, 0, "Reaching servers", 0, 0, 0 },
    { PROXY, 'x', "proxy", "URL", "through http://, socks5:// or socks5h://...",
      0 },
    { DETOUR, 0, "connect-to", "H1:P1:H2:P2", "for H1:P1, connect to H2:P2",
      0 },
    { FLAG, 'k', "insecure", 0, "accept any server certificate",
      &opt.insecure },
    { TEXT, 0, "cacert", "FILE", "trust these CAs instead of the system's",
      &opt.cacert },
    { TEXT, 'E', "cert", "FILE", "certificate to show to servers, in PEM",
      &opt.cert },
    { TEXT, 0, "key", "FILE", "its key (if that is not in the same file)",
      &opt.key },
    { REGEX, 0, "ignore-hosts", "REGEX", "tunnel host:port untouched",
      &opt.ignore },
    { REGEX, 0, "tcp-hosts", "REGEX", "open TLS, but there is no HTTP inside",
      &opt.tcp },
    { FLAG, 0, "pass-pinned", 0, "tunnel untouched what has rejected our CA",
      &opt.pass_pinned },
    { TITLE, 0, "Filters; each qualifier applies to the filter that follows", 0,
      0, 0 },
    { FILTER, 'Q', "request", "CMD", "pipe each request through CMD", 0 },
    { FILTER, 'R', "response", "CMD", "pipe each response through CMD", 0 },
    { TEXT, 0, "match", "EXPR", "only messages that match",
      &opt.next.match_text },
    { FLAG, 0, "raw", 0, "wire bytes in, wire bytes out, nothing mended",
      &opt.next.raw },
    { FLAG, 0, "coprocess", 0, "CMD stays alive and serves many messages",
      &opt.next.coprocess },
    { JOBS, 0, "jobs", "N", "at most N of CMD at once (64; coprocess: 1)",
      &opt.next.jobs },
    { SECONDS, 0, "timeout", "SECONDS",
      "without progress, CMD is ended (30; 0: never)", &opt.next.timeout },
    { CHOICE, 0, "on-error", "WHAT",
      "fail | pass | close, when CMD fails (fail)", &opt.next.on_error },
    { TITLE, 0, "Certificate authority", 0, 0, 0 },
    { TEXT, 'c', "ca", "FILE", "made when missing (cert.pem)", &opt.ca_file },
    { NAME, 0, "ca-for", "NAME", "a CA that is made may sign for no others",
      0 },
    { TITLE, 0, "Output", 0, 0, 0 },
    { TEXT, 'w', "write", "FILE", "everything decrypted, for Wireshark",
      &opt.capture },
    { TEXT, 0, "log-json", "FILE", "a line of JSON for each event; -: stdout",
      &opt.log_json },
    { FLAG, 'q', "quiet", 0, "messages are not shown", &opt.quiet },
    { VERBOSE, 'v', "verbose", 0, "tell what was decided, and why", 0 },
    { EXPLAIN, 0, "explain", 0, "tell each step in plain words", 0 },
    { FLAG, 'h', "help", 0, "this text", 0 },
    { FLAG, 'V', "version", 0, "the version", 0 },
};
enum { OPTIONS = sizeof options / sizeof *options };

/* Ends the program with one line about bad usage. */
PRINTF(1, 2) static _Noreturn void misuse(const char *format, ...)
{
    char text[4096];

    FORMAT(text, format);
    fprintf(stderr, "mitmproxy: %s%s (mitmproxy --help lists the options)\n",
            text, opt.unquoted);
    exit(2);
}

/* Options of the Python mitmproxy, and what there is here in their place. */
static const struct { const char *names, *here; } elsewhere[] = {
    { " s script scripts ", "a filter is a command, --request CMD" },
    { " B modify-body ", "--response 'sed s/a/b/g' or any other command" },
    { " H modify-headers ", "--request 'filters/set-header NAME VALUE'" },
    { " M map-remote ", "--request 'filters/map-remote FROM TO'" },
    { " map-local ", "--request 'filters/map-local URL DIR'" },
    { " i intercept ", "--timeout 0 --request filters/trap" },
    { " set ", "each option has a name of its own" },
    { " ssl-insecure ", "-k" }, { " confdir certs ", "--ca FILE" },
    { " upstream-auth ", "-x http://USER:PASS@HOST:PORT" },
    { " save-stream-file flow-detail ", "-w FILE, filters/save DIR" },
    { " r rfile n no-server C client-replay S server-replay ",
      "filters/save DIR, filters/replay FILE" },
};

/* How many letters of the name, n at p, an option's begins and ends with; 0:
   too few of either for one to be meant for the other. */
static size_t name_nearness(const char *p, size_t n, const char *name)
{
    size_t len = strlen(name), least = n < len ? n : len, i = 0, j = 0;

    while (i < least && p[i] == name[i])
        i++;
    while (i + j < least && p[n - 1 - j] == name[len - 1 - j])
        j++;
    return i + j == n || 2 * (i + j) > (n > len ? n : len) ? i + j : 0;
}

/* There is no option as at p, a letter or a name behind a -: what to say. */
static _Noreturn void option_missing(const char *p)
{
    bool named = *p == '-';
    size_t n = named ? strcspn(p + 1, "=") : 1, best = 1, near;
    const char *name = text_of(" %.*s ", (int)n, p + named);
    const char *hint = "";

    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strstr(elsewhere[i].names, name) && (named || name[1] != ' '))
            hint = text_of(": this is not the Python mitmproxy; here: %s",
                           elsewhere[i].here);
    for (const struct option *o = options; *hint != ':' && named &&
         o < options + OPTIONS; o++) {
        near = o->kind != TITLE ? name_nearness(p + 1, n, o->name) : 0;
        if (near < 2 || near < best)
            continue;
        if (near > best)
            hint = "";
        best = near;
        hint = text_of("%s%s--%s", hint, *hint ? ", " : " - perhaps ", o->name);
    }
    misuse("there is no option '-%s'%s", p, *opt.unquoted ? "" : hint);
}

/* --help. */
static void print_usage(void)
{
    puts("usage: mitmproxy [options] [-- COMMAND [ARG...]]\n"
         "An intercepting proxy that pipes HTTP through any command; around "
         "COMMAND, if\nthere is one: for that alone, and until that ends.");
    for (const struct option *o = options; o < options + OPTIONS; o++) {
        char letter[] = { '-', o->letter, ',', '\0' };

        if (o->kind == TITLE)
            printf("\n%s\n", o->name);
        else
            printf("%-32s %s\n", text_of("  %3s --%s %s", o->letter ? letter :
                   "", o->name, o->argument ? o->argument : ""), o->help);
    }
}

/* Adds a filter with the qualifiers collected so far, and forgets them. */
static void add_filter(const struct option *o, const char *command)
{
    struct filter *f = alloc(sizeof *f), **end = &opt.filters;
    char error[256];
    int count = 1;

    *f = opt.next;
    f->request = o->letter == 'Q';
    f->command = command;
    if (f->jobs == 0)               /* 4 MiB for a process and its message */
        f->jobs = f->coprocess ? 1 : memory_size() >= 256 << 20 ? 64
                  : 2 + (int)(memory_size() >> 22);
    if (command[strspn(command, " \t\n")] == '\0')
        misuse("--%s needs a command", o->name);
    f->argv = split_command(command);
    if (f->match_text != NULL &&
        (f->match = match_compile(f->match_text, error)) == NULL)
        misuse("--match '%s': %s", f->match_text, error);
    if (match_is_void(f->match, f->request))
        say(0, "--match '%s' stands before --%s, and matches no %s",
            f->match_text, o->name, o->name);
    for (; *end != NULL; end = &(*end)->next)
        if ((*end)->request == f->request) {
            if ((*end)->raw != f->raw)
                misuse("the %s filters must be all --raw or none: one sees "
                       "the wire, the other the message", o->name);
            if (++count > MAX_CHAIN)
                misuse("at most %d filters a direction; join some with |",
                       MAX_CHAIN);
        }
    *end = f;
    opt.next = (struct filter){ .timeout = 30 };
    opt.qualified = false;
}

/* -x: scheme://[user:password@]host:port, as curl takes it. */
static void add_proxy(const struct option *o, const char *text)
{
    static const char *const schemes[] = { "http://", "socks5h://",
                                           "socks5://" };
    struct upstream *x = &opt.proxy;
    const char *rest = strstr(text, "://") ? strstr(text, "://") + 3 : text;
    const char *at = strrchr(rest, '@');
    size_t n, scheme = 0, len;

    while (scheme < 3 && rest > text &&
           strncasecmp(text, schemes[scheme], strlen(schemes[scheme])) != 0)
        scheme++;
    x->socks = scheme > 0;
    x->local = scheme == 2;
    free(x->login);                 /* of a -x before this one */
    x->login = at ? copy_text(rest, (size_t)(at + 1 - rest)) : NULL;
    if (at != NULL) {               /* a user alone has an empty password */
        x->login[at - rest] = ":"[memchr(rest, ':', (size_t)(at - rest)) != 0];
        unescape(x->login);
        rest = at + 1;
    }
    len = strcspn(rest, "/");
    n = x->login ? strcspn(x->login, ":") : 0;
    if (scheme > 2 || strlen(rest + len) > 1 ||
        !parse_authority(rest, len, 1080, &x->at) ||
        (x->socks && x->login && (n > 255 || strlen(x->login) - n > 256)))
        misuse("--%s takes http://, socks5:// or socks5h:// and "
               "[user:password@]host:port", o->name);
}

/* --connect-to: host1:port1:host2:port2, of which each may be empty. */
static void add_detour(const struct option *o, const char *text)
{
    struct detour *d = alloc(sizeof *d), **end = &opt.detours;
    struct target *side[] = { &d->from, &d->to };
    const char *p = text;
    bool good = true;

    for (int i = 0; good && i < 2; i++) {
        size_t host = *p == '[' ? strcspn(p, "]") + 1 : strcspn(p, ":"), n;

        good = strlen(p) > host && p[host] == ':' &&
               (host == 0 || parse_authority(p, host, 1, side[i]));
        if (!good)
            break;
        p += host + 1;
        n = strspn(p, "0123456789");
        side[i]->port = (unsigned)atoi(p);
        good = n < 6 && side[i]->port < 65536 && p[n] == (i ? '\0' : ':');
        p += n + 1;
    }
    if (!good)
        misuse("--%s takes host1:port1:host2:port2, not '%s'", o->name, text);
    while (*end != NULL)
        end = &(*end)->next;
    *end = d;
}

/* --ca-for: an address, or a host name, with all that are below it. */
static void add_name(const struct option *o, const char *text)
{
    struct name_list *a = alloc(sizeof *a);
    struct target t;

    text += *text == '.';
    if (parse_ip(text, NULL) == 0 &&
        !(*text != '-' && parse_authority(text, strlen(text), 1, &t) &&
          strlen(t.host) == strlen(text)))
        misuse("--%s takes a name or an address, not '%s'", o->name, text);
    *a = (struct name_list){ opt.ca_for, text };
    opt.ca_for = a;
}

/* --only-hosts, --ignore-hosts, --tcp-hosts: once each. */
static void add_regex(const struct option *o, const char *text)
{
    regex_t **value = o->value;
    char why[128];
    int r;

    if (*value != NULL)
        misuse("--%s is there twice: join the expressions with |", o->name);
    if (*text == '*' || *text == '?')
        misuse("--%s '%s': a shell's pattern is no regular expression: "
               "*.example is \\.example:", o->name, text);
    *value = alloc(sizeof **value);
    r = regcomp(*value, text, REG_EXTENDED | REG_ICASE | REG_NOSUB);
    if (r != 0) {
        regerror(r, *value, why, sizeof why);
        misuse("--%s '%s': %s", o->name, text, why);
    }
}

/* Does what option o asks, with its argument (NULL for those without). */
static void option_apply(const struct option *o, const char *text)
{
    static void (*const adds[])(const struct option *, const char *) = {
        [FILTER] = add_filter, [REGEX] = add_regex, [PROXY] = add_proxy,
        [DETOUR] = add_detour, [NAME] = add_name
    };
    static const char *const on_errors[] = { "fail", "pass", "close" };
    static const unsigned most[NAME + 1] = { [PORT] = 65535, [WORKERS] = 1000,
                                             [JOBS] = 100000 };
    const char *value = o->value, *first = (char *)&opt.next;
    unsigned least = o->kind != PORT;
    uint64_t n = 0;

    opt.qualified |= value >= first && value < first + sizeof opt.next;
    if (most[o->kind] > 0 && (!parse_number(text, strlen(text), &n) ||
                              n < least || n > most[o->kind]))
        misuse("--%s takes a number from %u to %u, not '%s'", o->name, least,
               most[o->kind], text);
    if (value == (char *)&opt.next.match_text && opt.next.match_text != NULL)
        misuse("--%s is there twice for a filter: join the expressions with &",
               o->name);
    if (o->kind >= FILTER)
        adds[o->kind](o, text);
    else if (o->kind == TEXT || o->kind == PORT)
        *(const char **)o->value = text;
    else if (most[o->kind] > 0)
        *(int *)o->value = (int)n;
    else if (o->kind == VERBOSE || o->kind == EXPLAIN)
        opt.verbose += o->kind == EXPLAIN ? 2 : 1;
    else if (o->kind == SECONDS) {
        if (!parse_seconds(text, o->value))
            misuse("--%s takes seconds, not '%s'", o->name, text);
    } else if (o->kind == CHOICE) {
        for (n = FAIL; n <= CLOSE && strcmp(text, on_errors[n]) != 0; n++)
            ;
        if (n > CLOSE)
            misuse("--%s is fail, pass or close, not '%s'", o->name, text);
        opt.next.on_error = (enum on_error)n;
    } else if (o->value != NULL)
        *(bool *)o->value = true;
    else {
        if (o->letter == 'h')
            print_usage();
        else
            puts("mitmproxy.c " VERSION);
        if (fflush(stdout) != 0 || ferror(stdout))
            die("cannot write: %s", strerror(errno));
        exit(0);
    }
}

/* The option whose letter, or - and name, *p is moved past; NULL: none. */
static const struct option *option_find(const char **p)
{
    bool named = **p == '-';
    const char *name = *p + 1;
    size_t n = named ? strcspn(name, "=") : 0;

    for (const struct option *o = options; o < options + OPTIONS; o++)
        if (o->kind != TITLE &&
            (named ? strlen(o->name) == n && strncmp(o->name, name, n) == 0
                   : o->letter == **p)) {
            *p = name + n;
            return o;
        }
    return NULL;
}

/* The path of --listen-host unix:PATH; NULL: it has an address. */
static const char *unix_path(void)
{
    return strncmp(opt.host, "unix:", 5) == 0 ? opt.host + 5 : NULL;
}

/* Checks what the options say together, and takes --mode apart. */
static void options_check(void)
{
    if (opt.qualified)
        misuse("--match, --raw, --coprocess, --jobs, --timeout and --on-error "
               "stand before the filter they belong to");
    if (strncmp(opt.mode, "reverse:", 8) == 0) {
        size_t n;

        if (!parse_absolute(opt.mode + 8, strlen(opt.mode + 8), &opt.reverse,
                            &n) || n > 1 || strchr(opt.mode, '@'))
            misuse("--mode reverse: takes http://host:port or https://..., "
                   "not '%s'", opt.mode + 8);
    } else if (strcmp(opt.mode, "transparent") == 0)
        opt.transparent = true;
    else if (strcmp(opt.mode, "regular") != 0)
        misuse("--mode is regular (SOCKS, too), transparent (on Linux) or "
               "reverse:URL, not '%s'%s", opt.mode, strncmp(opt.mode,
               "upstream:", 9) ? "" : ": here that is -x URL");
    if (opt.proxyauth != NULL && strcmp(opt.mode, "regular") != 0)
        misuse("only --mode regular has clients that --proxyauth can ask");
    if (opt.proxyauth != NULL && strchr(opt.proxyauth, ':') == NULL)
        misuse("--proxyauth takes USER:PASS");
    if (opt.command != NULL && (strcmp(opt.mode, "regular") || opt.proxied))
        misuse("a COMMAND is told of its proxy: --%s does not go with that",
               opt.proxied ? "proxy-protocol" : text_of("mode %s", opt.mode));
    if (opt.command != NULL &&
        (is_stdout(opt.log_json) || is_stdout(opt.capture)))
        misuse("standard output is COMMAND's: --log-json and -w take a file, "
               "or /dev/stderr");
    if (unix_path() != NULL && (opt.command != NULL || opt.transparent))
        misuse("--listen-host %s: %s", opt.host, opt.command ? "no COMMAND can "
               "be told of such a proxy" : "no packet filter leads there");
    if (opt.port == NULL)
        opt.port = opt.command ? "0" : "8080";
    if (opt.key != NULL && opt.cert == NULL)
        misuse("--key belongs to a certificate: --cert FILE");
}

/* Reads the command line into opt: -x V, -xV, -xy, --long V, --long=V, up to
   -- or the first word that is none of these: there COMMAND begins. */
static void options_parse(char **argv)
{
    const struct option *last = NULL; /* a filter or match just before */

    while (*++argv != NULL) {
        const char *word = *argv, *p = word + 1, *text = NULL;
        const struct option *o;
        bool dashes = strcmp(word, "--") == 0;

        if (!dashes)
            *opt.unquoted = '\0';
        if (last != NULL && !dashes && word[last->kind == FILTER] != '-' &&
            strcmp(word, "-R") != 0 && strcmp(word, "-Q") != 0)
            snprintf(opt.unquoted, sizeof opt.unquoted, "; %s of several words "
                     "is to be quoted: --%s '%.80s %.80s'",
                     last->kind == FILTER ? "a filter" : "an expression",
                     last->name, argv[-1], word);
        last = NULL;
        if (dashes && argv[1] == NULL)
            misuse("behind -- there is no COMMAND");
        if (dashes || word[0] != '-') {
            opt.command = argv + dashes;
            break;
        }
        if (word[1] == '\0')
            misuse("'-' is not an option");
        do {                        /* -qk is -q -k */
            if ((o = option_find(&p)) == NULL)
                option_missing(p);
            if (o->argument == NULL && *p == '=')
                misuse("--%s takes no argument", o->name);
            if (o->argument != NULL)
                text = word[1] == '-' && *p == '=' ? p + 1 :
                       *p != '\0' ? p : *++argv;
            if (o->argument != NULL && (text == NULL || *text == '\0'))
                misuse("--%s needs its %s", o->name, o->argument);
            option_apply(o, text);
        } while (o->argument == NULL && *p != '\0');
        last = text == *argv && strchr(text, ' ') == NULL &&
               (o->kind == FILTER || o->value == &opt.next.match_text)
               ? o : NULL;
    }
    options_check();
}

/* ==== 18 filters ========================================================
   The filters of one message run all at once, as in a shell's pipeline; a
   buffer lies before, between and behind them. Limit: --jobs at a time. */

/* Has f stepped in this turn, and moves it to the front, to those awake. Who
   gives f something calls it. */
static void flow_wake(struct flow *f)
{
    f->wake = true;
    f->woken = now;
    if (f->prev == NULL)
        return;
    f->prev->next = f->next;
    if (f->next != NULL)
        f->next->prev = f->prev;
    f->prev = NULL;
    f->next = flows;
    flows->prev = f;
    flows = f;
}

/* What a filter is told of a message: "MITM_NAME=value", each ended by NUL, the
   last by another; to be freed. Escaped as in a URL: all but visible ASCII. */
static char *filter_vars(const struct reader *r)
{
    static const char *const opcodes[16] = { NULL, "text", "binary" };
    const char *direction = r->state == READ_FRAMES ? "message" :
                            r->flow->stream ? "stream" :
                            r->request ? "request" : "response";
    struct buf *text = buf_scratch();
    struct facts k = facts_of(r->flow, direction, r->head.status,
                              opcodes[r->frames.opcode]);
    size_t from;

    for (size_t i = 0; k.pairs[i][0] != NULL; i++) {
        buf_printf(text, "MITM_%s=", k.pairs[i][0]);
        from = text->len;            /* exec takes 128 KiB of each, no more */
        for (const char *v = k.pairs[i][1]; *v && text->len - from < 120 << 10;
             v++)
            if ((unsigned char)*v <= ' ' || (unsigned char)*v >= 127)
                buf_printf(text, "%%%02X", (unsigned char)*v);
            else
                buf_put(text, v, 1);
        buf_put(text, "", 1);
    }
    return buf_text(text);
}

/* The environment of a child: ours, with the variables in vars, where they
   stay. A list of pointers that NULL ends, in a scratch buffer. */
static struct buf *filter_env(char *vars)
{
    struct buf *env = buf_scratch();

    for (char *p = vars; *p != '\0'; p += strlen(p) + 1)
        buf_put(env, &p, sizeof p);
    for (char **e = environ; *e != NULL; e++)
        if (strncmp(*e, "MITM_", 5) != 0)
            buf_put(env, e, sizeof *e);
    buf_put(env, &(char *){ NULL }, sizeof(char *));
    return env;
}

/* Whether somebody is told how exchanges end: else nothing is counted. */
static bool tally_wanted(void)
{
    return !opt.quiet || events->fd >= 0;
}

/* Counts n bytes at p, and makes them part of the hash (FNV-1a). */
static void tally_add(struct tally *t, const unsigned char *p, size_t n)
{
    t->bytes += n;
    for (size_t i = 0; i < n; i++)
        t->hash = (t->hash ^ p[i]) * 0x100000001b3;
}

/* Run r has printed n bytes: the last of r[1].in. */
static void run_tally(struct run *r, size_t n)
{
    struct buf *b = &r[1].in;

    if (r[1].filter == NULL && tally_wanted())
        tally_add(&r->chain->out, buf_at(b) + b->len - n, n);
}

/* ---- coprocesses: a question is "LENGTH key=value ...\n" and LENGTH bytes; an
   answer "LENGTH\n" and as many bytes, "-\n" for unchanged, "!why\n" for a
   failure. A coprocess has one question at a time. */

/* Notes that r has failed for this reason, unless its chain has before. */
PRINTF(2, 3) static void run_fail(const struct run *r, const char *format, ...)
{
    if (r->chain->failed != NULL)
        return;
    FORMAT(r->chain->failure, format);
    r->chain->failed = r;
    flow_wake(r->chain->flow);
}

/* A coprocess of f's that has nothing to do; NULL: there is none. */
static struct child *copro_idle(const struct filter *f)
{
    struct child *p = children;

    while (p != NULL && (p->filter != f || p->busy || p->pid == 0))
        p = p->next;
    return p;
}

/* Whether f may be given one more message, all of which has come (whole), or as
   much as there is room for (full). As peers may stall, a quarter of the --jobs
   is for whole messages alone, and a quarter for full or whole ones. */
static bool filter_is_free(const struct filter *f, bool full, bool whole)
{
    int kept = whole ? 0 : full ? f->jobs / 4 : f->jobs / 2;

    return f->running < f->jobs - kept &&
           (now >= f->not_before || (f->coprocess && copro_idle(f) != NULL));
}

/* A child is done with a message: its run has exited, a coprocess is free. */
static void child_done(struct child *p)
{
    struct run *r = p->run;

    p->filter->running -= p->busy;
    p->busy = false;
    if (r == NULL)
        return;
    r->exited = true;
    flow_wake(r->chain->flow);
    if (p->filter->coprocess) {
        r->child = NULL;
        p->run = NULL;
    }
}

/* Puts a chain at the end of the list of those that wait or work. */
static void chain_queue(struct chain *c)
{
    struct chain **end = &chains;

    while (*end != NULL)
        end = &(*end)->next;
    *end = c;
    c->next = NULL;
}

/* Takes a chain out of that list, if it is there. */
static void chain_unqueue(struct chain *c)
{
    struct chain **p = &chains;

    while (*p != NULL && *p != c)
        p = &(*p)->next;
    if (*p != NULL)
        *p = c->next;
}

/* The helper ends: what it was asked waits again, behind all others. */
static void inquiry_again(struct run *r)
{
    r->child->run = NULL;
    r->child = NULL;
    chain_unqueue(r->chain);
    chain_queue(r->chain);
}

/* Ends and frees a coprocess that is of no more use; why says the reason for
   which the run that it serves fails, but what a helper was asked is asked
   again, two times. A coprocess that has not read a byte of any question did
   not end for a message: the next is started after a pause that grows. */
static void copro_end(struct child *p, const char *why)
{
    struct filter *f = p->filter;
    struct run *r = p->run;
    int unread = 0;

    ioctl(p->in, FIONREAD, &unread);
    if (r != NULL && f->helper && r->chain->deaths++ < 2)
        inquiry_again(r);
    else if (r != NULL)
        run_fail(r, "%s", f->helper ?
                 "all processes that try come to their end" : why);
    child_done(p);
    f->pause = p->given > (uint64_t)unread ? 0 :
               f->pause == 0 ? 0.1 : f->pause * 2;
    if (f->pause > waits[WAIT_PAUSE].seconds)
        f->pause = waits[WAIT_PAUSE].seconds;
    f->not_before = now + f->pause * SECOND;
    say(f->helper ? 1 : 0, "the coprocess %s is to be started anew%s: %s",
        f->command, f->pause > 0 ? text_of(" in %g s", f->pause) : "", why);
    group_kill(p, SIGKILL);
    child_free(p);
}

/* Writes what is left of a question. */
static void copro_write(struct child *p)
{
    while (p->question.len > 0) {
        ssize_t n = write(p->in, buf_at(&p->question), p->question.len);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            buf_free(&p->question); /* it has ended, which shows elsewhere */
        if (n < 0)
            return;
        buf_eat(&p->question, (size_t)n);
        p->given += (uint64_t)n;
        p->moved = now;
    }
    buf_trim(&p->question);
}

/* Asks a coprocess what becomes of r's message, all of which is there. The
   message stays in its buffer, for "-". */
static void copro_ask(struct child *p, const struct run *r)
{
    struct buf *q = buf_scratch();  /* half a question would stay one */

    buf_printf(q, "%zu", r->in.len);
    for (const char *v = r->chain->vars; *v != '\0'; v += strlen(v) + 1) {
        const char *value = strchr(v, '=');

        buf_put(q, " ", 1);
        for (const char *k = v + 5; k < value; k++) /* behind MITM_ */
            buf_put(q, &(char){ (char)tolower((unsigned char)*k) }, 1);
        buf_puts(q, value);
    }
    buf_put(q, "\n", 1);
    buf_put(q, buf_at(&r->in), r->in.len);
    buf_move(&p->question, q, q->len);
    buf_free(q);
    copro_write(p);
}

/* Takes each answer that is whole off what has been read, at least a byte.
   Returns NULL, or how one breaks the protocol. */
static const char *copro_answer(struct child *p)
{
    struct run *r = p->run;
    const char *line = (char *)buf_at(&p->answer);
    size_t len = 0, n = next_line(line, p->answer.len, &len);
    bool plain = *line != '-' && *line != '!';
    uint64_t length = 0;

    if (n == 0 && p->answer.len < 1000 && p->busy)
        return NULL;
    if (n == 0 || !p->busy || (*line == '-' && len != 1) ||
        (plain && (!parse_number(line, len, &length) ||
                   length > MAX_WHOLE))) {
        if (n == 0)
            len = p->answer.len;    /* a line without end */
        if (r != NULL && !p->filter->helper) /* a page does not quote: that
                                       may be of another client's message */
            run_fail(r, "what it prints is no answer of a coprocess's");
        return text_of("'%.*s' is no answer of a coprocess's%s",
                       (int)(len < 80 ? len : 80), line, len > 0 ? "" :
                       " (a line end behind the bytes that it has announced?)");
    }
    if (p->answer.len - n < length)
        return NULL;
    if (r == NULL)                  /* whom it serves has left */
        buf_eat(&p->answer, n + length);
    else {
        if (*line == '!')
            run_fail(r, "%.*s", len > 1 ? (int)len - 1 : 99,
                     len > 1 ? line + 1 : "it answers ! and says no reason");
        else if (*line == '-')
            buf_move(&r[1].in, &r->in, r->in.len);
        buf_eat(&p->answer, n);
        if (length > 0)
            buf_move(&r[1].in, &p->answer, length);
        r->printed = !plain || length > 0;
        run_tally(r, r[1].in.len);
    }
    child_done(p);
    p->filter->pause = 0;
    return p->answer.len == 0 ? NULL : copro_answer(p);
}

/* Reads what has come of an answer, or finds that p has ended. */
static void copro_read(void *it)
{
    struct child *p = it;
    ssize_t n = buf_read(&p->answer, p->out, MAX_BUF);
    const char *why;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    p->moved = now;
    why = n > 0 ? copro_answer(p) : "it has ended";
    if (why != NULL)
        copro_end(p, why);
    else
        buf_trim(&p->answer);
}

/* ---- chains and their runs */

/* Run r is not waited for any more. Its child ends, unless that is a coprocess:
   then the answer is read and dropped. But a coprocess ends that has made no
   progress, or looks up a name, which may be stuck in a place others need. */
static void run_leave(struct run *r)
{
    struct child *p = r->child;

    if (p == NULL)
        return;
    p->run = NULL;
    if (!r->filter->coprocess)
        child_kill(p);
    else if (r->chain->failed == r || r->filter == &lookups)
        copro_end(p, "it made no progress");
}

/* What the exchange's message is matched by; its head h, or NULL, is at p. */
static struct subject exchange_subject(const struct exchange *ex, bool request,
                                       const void *p, const struct head *h)
{
    return (struct subject){ ex->method, ex->url, ex->host, p, h, request,
                             false };
}

/* Whether filter f is to see the subject. */
static bool filter_sees(const struct filter *f, const struct subject *s)
{
    return f->request == s->request && match_eval(f->match, s) == 1 &&
           (!s->message || match_has_w(f->match));
}

/* Whether a filter for this direction is to see messages of WebSocket's. */
static bool messages_wanted(const struct flow *f, bool request)
{
    struct subject s = exchange_subject(&f->ex, request, NULL, NULL);

    s.message = true;
    for (const struct filter *g = opt.filters; g && !f->untouched; g = g->next)
        if (filter_sees(g, &s))
            return true;
    return false;
}

/* Adds a filter to c, a chain of f's, or to a new one. Returns the chain. */
static struct chain *chain_add(struct chain *c, struct flow *f,
                               struct filter *filter)
{
    if (c == NULL)
        c = alloc(sizeof *c);
    c->flow = f;
    c->run[c->count].filter = filter;
    c->run[c->count].chain = c->run[c->count + 1].chain = c;
    c->count++;
    return c;
}

/* Gives r a chain of those filters for its direction that match the message, or
   the stream, for the loop to start. NULL: none match. */
static struct chain *chain_new(struct reader *r)
{
    const struct head *h = r->flow->stream ? NULL : &r->head;
    struct subject s = exchange_subject(&r->flow->ex, r->request,
                                        buf_at(&r->from->in), h);
    struct chain *c = NULL;

    s.message = r->state == READ_FRAMES;
    for (struct filter *f = opt.filters; f != NULL; f = f->next) {
        if (!filter_sees(f, &s))
            continue;
        r->chain = r->to->chain = c = chain_add(c, r->flow, f);
        if (f->coprocess && h == NULL && !s.message)
            tell(r->flow, 0, EV_NOTE, "a coprocess gets a message when that is "
                 "whole, and so of a stream nothing passes %s until it has "
                 "ended", f->command);
        c->from = r;
        c->to = r->to;
        c->was = r->body.framing;
        c->raw = f->raw;
        c->keep |= f->on_error == PASS;
    }
    if (c == NULL)
        return NULL;
    c->vars = filter_vars(r);
    chain_queue(c);
    return c;
}

/* Frees a chain, or NULL. Its children are told to stop, and reaped later. */
static void chain_free(struct chain *c)
{
    if (c == NULL)
        return;
    chain_unqueue(c);
    for (int i = 0; i <= c->count; i++) {
        run_leave(&c->run[i]);
        buf_free(&c->run[i].in);
    }
    buf_free(&c->kept);
    buf_free(&c->lead);
    buf_free(&c->trailers);
    if (c->from != NULL)
        c->from->chain = c->to->chain = NULL;
    free(c->vars);
    free(c);
}

/* What the filters have printed. */
static struct buf *chain_out(struct chain *c)
{
    return &c->run[c->count].in;
}

/* Whether more may be put behind what waits for r: for a coprocess a whole
   message; behind the last filter a message of WebSocket, or all that is held
   until its head or its length is known. */
static bool run_has_room(const struct run *r)
{
    const struct writer *w = r->filter != NULL ? NULL : r->chain->to;
    size_t limit = r->filter && r->filter->coprocess ? MAX_BUF + MAX_WHOLE :
                   w == NULL ? MAX_BUF :
                   w->state == WRITE_MESSAGE ? MAX_HOLD + 1 :
                   w->state == WRITE_PRINT || w->state == WRITE_HEAD ?
                   MAX_HOLD + MAX_HEAD + 1 : MAX_BUF;

    return r->in.len < limit;
}

/* Our end of a filter's standard input; -1: it is closed, or a coprocess's. */
static int run_in(const struct run *r)
{
    return r->child != NULL && !r->filter->coprocess ? r->child->in : -1;
}

/* The same of its standard output. */
static int run_out(const struct run *r)
{
    return r->child != NULL && !r->filter->coprocess ? r->child->out : -1;
}

/* Whether r is a filter that takes no more input: what comes is dropped. */
static bool run_is_deaf(const struct run *r)
{
    return r->filter != NULL && r->chain->started &&
           (r->filter->coprocess ? r->exited :
            run_in(r) < 0 || (r->exited && run_out(r) < 0));
}

/* Whether all that a filter prints is there. */
static bool run_printed(const struct run *r)
{
    return r->filter->coprocess ? r->exited : run_out(r) < 0;
}

/* Whether to read what r prints: there is room, or the next takes no more. */
static bool run_wants_read(const struct run *r)
{
    return run_out(r) >= 0 && (run_has_room(r + 1) || run_is_deaf(r + 1));
}

/* Whether all that r is to read has come. */
static bool run_fed(const struct run *r)
{
    const struct chain *c = r->chain;

    return r == c->run ? c->fed : c->started && run_printed(r - 1);
}

/* Whether the filters are done: all is printed, each has said how it went. */
static bool chain_done(const struct chain *c)
{
    if (!c->started)
        return false;
    for (const struct run *r = c->run; r->filter != NULL; r++)
        if (run_out(r) >= 0 || !r->exited)
            return false;
    return true;
}

/* Whether run r is still to be given a child. */
static bool run_waits(const struct run *r)
{
    return r->child == NULL && !r->exited;
}

/* n bytes of r->in have been taken: that is progress of r, and of the run
   before, whose output they are. The first run takes the sending peer's bytes;
   the last, without a filter, stands for the peer that gets them. */
static void run_moved(struct run *r, size_t n)
{
    struct chain *c = r->chain;

    if (r == c->run || r->filter == NULL)
        c->since += (double)n / PACE * SECOND;
    if (c->since > now)
        c->since = now;
    r->moved = now;
    if (r > c->run)
        r[-1].moved = now;
}

/* The most bytes that may wait for coprocesses. */
static size_t waiting_max(void)
{
    return memory_size() / 4 < MAX_WAITING ? (size_t)(memory_size() / 4)
                                           : MAX_WAITING;
}

/* Moves bytes into r's standard input, and closes that behind the last; for a
   coprocess, sees to it that not too many wait. */
static void run_write(struct run *r)
{
    struct chain *c = r->chain;
    struct buf *b = &r->in;

    if (run_waits(r) && b->len > MAX_WHOLE)
        run_fail(r, "the message is longer than %d bytes", MAX_WHOLE);
    else if (run_waits(r) && b->len > MAX_BUF && waiting_len > waiting_max()) {
        waiting_len -= b->len;
        run_fail(r, "messages of %zu bytes wait already", waiting_max());
    }
    while (run_in(r) >= 0 && b->len > 0) {
        ssize_t n = write(run_in(r), buf_at(b), b->len);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        flow_wake(c->flow);
        if (n < 0) {                /* it reads no further, which is fine */
            fd_close(&r->child->in);
            buf_free(b);
            if (r > c->run && run_out(r - 1) >= 0) {
                r[-1].unread = true;
                fd_close(&r[-1].child->out);
            }
            return;
        }
        buf_eat(b, (size_t)n);
        run_moved(r, (size_t)n);
    }
    if (run_in(r) >= 0 && b->len == 0 && run_fed(r)) {
        fd_close(&r->child->in);
        r->moved = now;
    }
}

/* Reads what a run prints. */
static void run_read(void *it)
{
    struct run *r = it;
    bool deaf = run_is_deaf(r + 1);
    ssize_t n = deaf ? 0 : buf_read(&r[1].in, run_out(r), READ_SIZE);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    r->unread |= deaf;              /* nobody would read it */
    r->printed |= n > 0;
    if (n <= 0)
        fd_close(&r->child->out);
    else
        run_tally(r, (size_t)n);
    r->moved = r->chain->flow->moved = now;
    flow_wake(r->chain->flow);
}

/* Which filter of c to blame for no output: the first that has printed nothing
   although somebody would have read it. */
static const struct filter *chain_silent(const struct chain *c)
{
    const struct run *r = c->run;

    while (r[1].filter != NULL && (r->printed || r->unread))
        r++;
    return r->filter;
}

/* Gives a run its child, and a coprocess the question. A child that cannot be
   started is a failure, unless another coprocess will be free in a while. */
static void run_start(void *it)
{
    struct run *r = it;
    struct filter *f = r->filter;
    struct child *p = f->coprocess ? copro_idle(f) : NULL;
    struct buf *env;

    r->moved = now;
    flow_wake(r->chain->flow);
    if (p == NULL) {
        env = filter_env(f->coprocess ? (char[]){ "" } : r->chain->vars);
        p = child_new(f, (char **)env->data);
        buf_free(env);
    }
    if (p == NULL && f->coprocess && f->running > 0) {
        f->not_before = now + 0.1;
        return;
    }
    if (p == NULL) {
        int error = errno;
        bool there = f->path != NULL && access(f->path, X_OK) == 0;

        run_fail(r, "%scannot be started: %s%s", f->helper ? "a process for "
                 "it " : "", strerror(error), there && (error == ENOEXEC ||
                 error == ENOENT) ? ": its first line is to name what runs it, "
                 "as #!/bin/sh does" : "");
        r->exited = true;
        return;
    }
    if (f->coprocess)
        copro_ask(p, r);
    p->run = r;
    p->busy = true;
    p->moved = now;
    r->child = p;
    f->running++;
}

/* ==== 19 targets ========================================================
   Every way in ends in a target: a proxy client's request, its CONNECT, SOCKS,
   what the kernel or a ClientHello tells. server_want() is the one way from
   there to a server. Limit: one server at a time for a flow. */

/* Where a client of transparent mode wanted to go: REDIRECT has that in the
   kernel's table of connections, TPROXY as the socket's own address. */
static struct sockaddr_storage original_address(int fd)
{
    struct sockaddr_storage a = { 0 };
    socklen_t len = sizeof a;

    if (getsockopt(fd, SOL_IP, ORIGINAL_DST, &a, &len) != 0 &&
        (len = sizeof a, getsockopt(fd, SOL_IPV6, ORIGINAL_DST, &a, &len)) != 0)
        a = address_of(fd, false);
    return a;
}

/* A target as a text, host:port, as from text_of(). */
static const char *place(const struct target *t)
{
    return text_of("%s:%u", t->host, t->port);
}

/* The target that this address and port are. */
static struct target address_target(struct sockaddr_storage a)
{
    struct target t = { .port = port_of(&a) };
    size_t n;
    const void *ip = ip_of(&a, &n);

    inet_ntop(n == 4 ? AF_INET : AF_INET6, ip, t.host, sizeof t.host);
    return t;
}

/* Whether a client is one of our own connections to servers, of any worker's,
   which the rules of this machine's packet filter have sent back to us. */
static bool client_is_us(int fd)
{
    struct sockaddr_storage client, server;

    if (opt.reverse.port != 0)
        return false;
    client = address_of(fd, true);
    server = original_address(fd);
    return *own_goes(client) == address_sum(&server) && address_is_ours(client);
}

/* Whether a client that takes us for the server means us by this name. */
static bool name_is_us(const char *name)
{
    char host[MAX_HOST + 1] = "";
    struct sockaddr_storage a = { 0 };
    unsigned char ip[16];
    size_t n = parse_ip(name, ip);

    gethostname(host, sizeof host - 1);
    if (n > 0)
        address_make(&a, ip, n, 0);
    return n > 0 ? address_is_ours(a) : strcasecmp(name, host) == 0 ||
           strcasecmp(name, "localhost") == 0;
}

/* Whether the head h at p is that of a client which takes us for the server:
   then Host names the server, *t. A port in it that is ours stands for 80, from
   where the client has been sent to us. */
static bool direct_target(const struct flow *f, const char *p,
                          const struct head *h, struct target *t)
{
    struct sockaddr_storage here = address_of(f->client.fd, false);

    if (opt.proxyauth != NULL ||
        (p[h->target.at] != '/' && p[h->target.at] != '*') ||
        !parse_authority(p + h->host.at, h->host.len, 80, t) ||
        name_is_us(t->host))
        return false;
    t->port = t->port == port_of(&here) ? 80 : t->port;
    tell(f, 1, EV_OPEN, "%s takes this for %s" MORE "as its Host field says",
         f->peer, place(t));
    return true;
}

/* Whether the head h at p is a CONNECT; then *t is where to. */
static bool connect_target(const char *p, const struct head *h,
                           struct target *t)
{
    *t = (struct target){ .tls = false };
    return same_word(p + h->method.at, h->method.len, "CONNECT") &&
           parse_authority(p + h->target.at, h->target.len, 0, t);
}

/* Whether a and b are one server, by whatever way (forward) that is reached. */
static bool same_target(const struct target *a, const struct target *b)
{
    return a->port == b->port && a->tls == b->tls &&
           strcasecmp(a->host, b->host) == 0;
}

/* Moves the server to another state. */
static void server_enter(struct flow *f, int state)
{
    struct end *e = &f->server.end;

    f->server.state = state;
    f->server.since = now;
    flow_wake(f);
    if (state == SERVER_UP && capture->fd >= 0 && e->tap == NULL) {
        e->tap = tap_new(&f->addr, e->fd);
        tap_data(e->tap, 1, buf_at(&e->in), e->in.len);
    }
}

/* Has f ask a helper, by a message in two parts, unless it has. True: until
   inquiry_end(), the answer is chain_out() of server.inquiry, or it failed. */
static bool inquiry_done(struct flow *f, struct filter *helper,
                         const char *message, const char *more)
{
    struct chain *c = f->server.inquiry;

    if (c == NULL) {
        f->server.inquiry = c = chain_add(NULL, f, helper);
        buf_printf(&c->run->in, "%s%s", message, more);
        c->vars = alloc(1);
        c->fed = true;
        chain_queue(c);
        flow_wake(f);
    }
    return chain_done(c);
}

/* Gives up what a helper is asked, or is done with the answer. */
static void inquiry_end(struct server *s)
{
    chain_free(s->inquiry);
    s->inquiry = NULL;
}

/* Leaves the server, or gives up reaching it: within a request, by a cut. */
static void server_drop(struct flow *f)
{
    struct server *s = &f->server;
    bool parted = !f->stream && (f->up.state == WRITE_NOTHING ||
                                 f->up.state == WRITE_DONE) &&
                  end_part(&s->end);

    inquiry_end(s);
    if (f->stream && s->end.ending != END_SHUT) /* it was not ended: cut */
        end_reset(&s->end, true);
    end_tell(f, &s->end, parted ? NULL : f->stream ? "RST" : "close()");
    end_close(&s->end);
    known_drop(s->known);
    *s = (struct server){ .end = { .fd = -1 } };
}

/* Notes why the server cannot be reached, for all that wait. Returns -1. */
PRINTF(2, 3) static int server_fail(struct flow *f, const char *format, ...)
{
    struct end *e = &f->server.end;

    FORMAT(f->server.failure, format);
    if (e->fd >= 0 && opt.reverse.port == 0 &&
        *own_goes(address_of(e->fd, false)) == 0)
        snprintf(f->server.failure, sizeof f->server.failure, "the name %s "
                 "leads back to this proxy", f->server.target.host);
    inquiry_end(&f->server);
    end_tell(f, e, "close()");
    end_close(e);
    server_enter(f, SERVER_FAILED);
    return -1;
}

/* What --connect-to puts in t's place; t itself, where it says nothing. */
static struct target server_goal(const struct target *t)
{
    struct target goal = *t;
    const struct detour *d = opt.detours;

    while (d != NULL && ((d->from.host[0] != '\0' &&
                          strcasecmp(d->from.host, t->host) != 0) ||
                         (d->from.port != 0 && d->from.port != t->port)))
        d = d->next;
    if (d != NULL && d->to.host[0] != '\0') {
        strcpy(goal.host, d->to.host);
        goal.rooted = d->to.rooted;
    }
    if (d != NULL && d->to.port != 0)
        goal.port = d->to.port;
    return goal;
}

/* ---- the fence: with --only-hosts nothing leaves for any other host:port, no
   question to a name server, no connection, no ClientHello: server_want(), the
   one way to a server, asks. What is allowed must also be what is meant: the
   names of one connection (CONNECT's or SOCKS's, SNI's, Host's) agree, and what
   two parsers could read in two ways is refused. Limit: of what --ignore-hosts
   and --tcp-hosts name, no Host is seen, and only the first ClientHello. */

/* Whether --only-hosts, where it is given, allows host:port. */
static bool fence_allows(const char *host, unsigned port)
{
    return opt.only == NULL || matches(opt.only, text_of("%s:%u", host, port));
}

/* Whether a name that the client gives agrees with t, to which it goes: it is
   t's, or t is an address, and the name is allowed. */
static bool fence_agrees(const struct target *t, const char *name)
{
    return strcasecmp(name, t->host) == 0 ||
           (parse_ip(t->host, NULL) && fence_allows(name, t->port));
}

/* The same of an authority, len bytes at p: Host's (RFC 9110, 7.2). In reverse
   mode clients may know the server by an address or name of ours: any address
   and localhost will do, as no virtual server goes by these. */
static bool fence_agrees_host(const struct target *t, const char *p, size_t len)
{
    struct target named;

    if (!parse_authority(p, len, t->port, &named))
        return false;
    if (opt.reverse.port != 0 && (parse_ip(named.host, NULL) ||
                                  strcasecmp(named.host, "localhost") == 0))
        return true;
    return named.port == t->port && fence_agrees(t, named.host);
}

/* Whether there is a control character among the n bytes at p, which parsers
   may take for an end; blanks: space and tab are none. */
static bool has_controls(const char *p, size_t n, bool blanks)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] == ' ' || p[i] == '\t' ? !blanks
                                        : iscntrl((unsigned char)p[i]))
            return true;
    return false;
}

/* Why the request under way, whose head h is at p, may not pass: somebody may
   read it as one to another server; NULL: it may. */
static const char *fence_objection(const struct flow *f, const char *p,
                                   const struct head *h)
{
    size_t line, len, name, value_len, n;
    const char *value, *target = p + h->target.at;
    struct target t = f->ex.to, named;
    bool framed = false;
    uint64_t length;

    strcpy(t.host, f->ex.host);     /* SNI's, where the way is to an address */
    if (has_controls(target, h->target.len, false))
        return "its target has blanks or control characters";
    if (head_is_mixed(p + h->lead, h->len - h->lead))
        return "of its lines some end in CR LF, and some in LF alone";
    if (same_word(p + h->method.at, h->method.len, "CONNECT"))
        return "it asks for a tunnel within a tunnel";
    if (*target != '/' && !same_word(target, h->target.len, "*") &&
        !(parse_absolute(target, h->target.len, &named, &n) &&
          named.port == t.port && named.tls == t.tls &&
          fence_agrees(&t, named.host) &&
          absolute_is_plain(target, h->target.len, n)))
        return "its target names another host, or may seem to";
    for (size_t at = h->fields; (line = next_line(p + at, h->len - at, &len)) >
         0 && len > 0; at += line) {
        if (!split_field(p + at, len, &name, &value, &value_len) ||
            word_size(p + at, name, IN_TOKEN) < name ||
            has_controls(p + at, len, true))
            return "its head has a line that is no plain field";
        if (field_is(p + at, name, "Host") &&
            !fence_agrees_host(&t, value, value_len))
            return "its Host names another";
        if (!field_is(p + at, name, "Transfer-Encoding") &&
            !field_is(p + at, name, "Content-Length"))
            continue;
        if (framed || !(same_word(value, value_len, "chunked") ||
                        parse_number(value, value_len, &length)))
            return "its length is told twice, or in an odd way (one Content-"
                   "Length is plain, or one Transfer-Encoding: chunked)";
        framed = true;
    }
    return NULL;
}

/* Whether a host is the name by which our clients ask for the CA. */
static bool is_mitm_it(const char *host)
{
    return strcasecmp(host, "mitm.it") == 0;
}

/* Begins to reach t, unless f's server is, or is about to be, just that. */
static void server_want(struct flow *f, const struct target *t)
{
    struct server *s = &f->server;

    if (s->state != SERVER_NONE && same_target(&s->target, t) &&
        !s->end.ended && !s->end.fd_done && !s->end.broken)
        return;
    server_drop(f);
    s->target = *t;
    s->goal = server_goal(t);
    s->hop = opt.proxy.at.port == 0 ||
             (opt.proxy.local && parse_ip(s->goal.host, NULL) == 0)
             ? s->goal : opt.proxy.at;
    if (!fence_allows(t->host, t->port)) {
        s->status = 403;
        server_fail(f, "%s is not among --only-hosts", place(t));
    } else if (is_mitm_it(t->host)) /* to be answered by request_begin() */
        server_fail(f, "mitm.it is this proxy itself");
    else
        server_enter(f, SERVER_LOOKUP);
}

/* The name by which the client knows the server. */
static const char *flow_name(const struct flow *f)
{
    return f->hello.sni[0] != '\0' ? f->hello.sni : f->home.host;
}

/* The name that the server is told (SNI), and that its certificate must be for:
   where the client's connection goes, the client's name for it; in reverse mode
   and elsewhere, the target's. */
static const char *server_name(const struct flow *f)
{
    bool home = f->tunnel && opt.reverse.port == 0 &&
                strcasecmp(f->server.target.host, f->home.host) == 0;

    return home ? flow_name(f) : f->server.target.host;
}

/* Whether host:port matches, the host being f.home's or SNI's. */
static bool host_matches(const regex_t *r, const struct flow *f)
{
    const char *host = f->home.host, *sni = f->hello.sni;

    return r != NULL && *host != '\0' &&
           (matches(r, place(&f->home)) ||
            (*sni != '\0' && matches(r, text_of("%s:%u", sni, f->home.port))));
}

/* The ALPN names (RFC 7301) to be offered to the server: http/1.1 alone, if the
   client speaks that, and otherwise just what the client offers. */
static const struct alpn *server_alpn(const struct flow *f)
{
    bool http = f->hello.http && !host_matches(opt.tcp, f);

    return !f->tunnel || f->client.ssl != NULL || http ? &http11
                                                       : &f->hello.alpn;
}

/* ==== 20 exchanges ======================================================
   A request and its answer: how they came out, what is told of them, and how a
   flow is ended, with a page or without. Limit: one exchange at a time; a
   client that sends the next one early is not read on. */

/* Makes a direction's reader and writer ready for the next message. */
static void direction_reset(struct flow *f, bool request)
{
    struct reader *r = request ? &f->asks : &f->answers;
    struct writer *w = request ? &f->up : &f->down;
    struct end *client = &f->client, *server = &f->server.end;

    chain_free(r->chain);
    buf_free(&r->message);
    *r = (struct reader){ .flow = f, .from = request ? client : server,
                          .to = w, .request = request };
    *w = (struct writer){ .flow = f, .to = request ? server : client,
                          .request = request };
}

/* Forgets all messages that are under way. */
static void messages_reset(struct flow *f)
{
    direction_reset(f, true);
    direction_reset(f, false);
}

/* Moves a flow to another state. Returns true: something has moved. */
static bool flow_enter(struct flow *f, int state)
{
    f->state = state;
    f->since = now;
    return true;
}

/* Whether a chain, if any, has yet to get, or print, a part of its message. */
static bool chain_is_busy(const struct chain *c)
{
    return c != NULL && !(c->from->body.done && c->to->state == WRITE_DONE);
}

/* Whether a chain, if there is one, has made something else of the message. */
static bool chain_changed(const struct chain *c)
{
    return c != NULL && (c->in.bytes != c->out.bytes ||
                         c->in.hash != c->out.hash);
}

/* What filters have done to f's exchange, in a word; "": there are none, or the
   answer is a page of ours, for which no filter is to blame. */
static const char *exchange_word(const struct flow *f)
{
    const struct chain *asked = f->asks.chain, *c = f->down.chain;

    if (f->ex.fate != NULL || f->ex.status != 0 ||
        (asked == NULL && c == NULL))
        return f->ex.fate ? f->ex.fate : "";
    if (asked != NULL && !asked->to->request)
        return "answered";
    if ((asked != NULL && asked->to->state != WRITE_DONE) ||
        (c != NULL && c->to->state != WRITE_DONE))
        return "failed";
    return chain_changed(asked) || chain_changed(c) ? "changed" : "unchanged";
}

/* Says how an exchange has ended, in a line behind == and to --log-json: the
   status that the client got (0: none), the bytes of the answer's body before
   and behind the filters, and what these have done. */
static void exchange_tell(struct flow *f)
{
    struct exchange *ex = &f->ex;
    const struct chain *c = f->down.chain;
    const struct head *h = c ? &c->to->printed : &f->answers.head;
    uint64_t came = f->answers.bytes, bytes = came, head;
    int status = f->down.sent ? h->status : 0;
    double ms = (now - f->asks.begun) * 1000;
    const char *word = exchange_word(f);
    char text[2048], line[4 * sizeof text];
    struct json j;
    size_t n;

    if (ex->url == NULL || ex->told || f->stream)
        return;
    ex->told = true;
    if (c != NULL) {
        head = c->raw ? h->at : h->len;
        bytes = c->out.bytes > head ? c->out.bytes - head : 0;
    }
    if (ex->status != 0) {
        status = ex->status;
        bytes = ex->page;
    }
    if (events->fd >= 0) {
        event_begin(&j, f, EV_RESPONSE, status);
        json_put(&j, "bytes", true, text_of("%" PRIu64, bytes));
        json_put(&j, "came", true, text_of("%" PRIu64, came));
        json_put(&j, "took", true, text_of("%.0f", ms));
        event_end(&j, word);
    }
    if (opt.quiet)
        return;
    snprintf(text, sizeof text, "#%lu == %03d %.32s %.1800s %" PRIu64 " -> %"
             PRIu64 " bytes, %.0f ms%s%s", ex->id, status, ex->method,
             ex->url, came, bytes, ms, *word ? ", " : "", word);
    n = escape(line, text, strlen(text), "\\x%02x", "\\");
    line[n++] = '\n';
    sink_put(shown_at(), line, n);
}

/* Ends a flow from our side: what is in client.out still goes, as long as that
   moves, and then the client has WAIT_CLOSE to close. */
static bool flow_close(struct flow *f)
{
    exchange_tell(f);
    messages_reset(f);
    server_drop(f);
    end_finish(&f->client, f->client.ssl != NULL && !f->client.ready
                           ? END_SEALED : END_WELL); /* nothing to seal yet */
    return flow_enter(f, FLOW_CLOSING);
}

/* Ends a flow so that the client does not take what has come for whole: TLS
   ends without close_notify, and TCP with RST where FIN would be the message's
   end. Where a length or chunks tell that some is missing, there is no RST,
   which may destroy what was delivered. */
static bool flow_cut(struct flow *f)
{
    const struct writer *w = &f->down;
    bool open = f->answers.body.framing == UNTIL_CLOSE ||
                (w->chain != NULL && w->state != WRITE_DONE &&
                 (w->chain->raw || (w->last && w->out == OUT_COPY)));

    end_finish(&f->client, f->stream || (w->sent && open) ? END_RESET
                                                          : END_CUT);
    return flow_close(f);
}

/* A status of ours with its reason phrase (RFC 9110, 15). */
static const char *status_text(int status)
{
    return status == 200 ? "200 OK" :
           status == 400 ? "400 Bad Request" :
           status == 403 ? "403 Forbidden" :
           status == 404 ? "404 Not Found" :
           status == 421 ? "421 Misdirected Request" :
           status == 407 ? "407 Proxy Authentication Required" :
           status == 408 ? "408 Request Timeout" :
           status == 431 ? "431 Request Header Fields Too Large" :
           status == 504 ? "504 Gateway Timeout" : "502 Bad Gateway";
}

/* Ends a flow with an answer of ours, with n bytes of this type as the body. */
static bool flow_answer(struct flow *f, int status, const char *type,
                        const void *body, size_t n)
{
    struct buf *out = &f->client.out;
    size_t before = out->len;       /* of an answer that is on its way */
    const char *ask = status != 407 ? "" :
                      "Proxy-Authenticate: Basic realm=\"mitmproxy\"\r\n";

    f->ex.status = status;
    f->ex.page = f->ex.client_head ? 0 : n;
    buf_printf(out, "HTTP/1.1 %s\r\n%sContent-Type: %s\r\nContent-Length: %zu"
               "\r\nConnection: close\r\n\r\n", status_text(status), ask,
               type, n);
    show_message(f->ex.id, false, (char *)buf_at(out) + before,
                 out->len - before);
    if (!f->ex.client_head)
        buf_put(out, body, n);
    return flow_close(f);
}

/* Forgets the exchange, but for its number. */
static void exchange_free(struct exchange *ex)
{
    free(ex->method);
    free(ex->url);
    *ex = (struct exchange){ .id = ex->id };
}

/* Shows the message whose head r has read, with what has come of its body. */
static void reader_show(const struct reader *r)
{
    const char *p = (char *)buf_at(&r->from->in);
    size_t len = r->from->in.len, n = r->head.unclear ? len : r->head.len;
    struct body b = r->body;
    ssize_t piece = 1;
    bool data;

    for (; n < len && n < SHOWN && !b.done && piece > 0; n += (size_t)piece) {
        piece = body_next(&b, p + n, len - n, &data);
        piece = piece < 0 ? 0 : piece;
    }
    show_message(r->flow->ex.id, r->request, p, n);
}

/* Begins an exchange, by a request's head, or by a piece that is refused. */
static void exchange_new(struct flow *f)
{
    struct reader *r = &f->asks;
    bool head = f->ex.client_head;

    exchange_free(&f->ex);
    f->ex.id = ++shared->last_id;
    f->exchanges++;
    f->ex.client_head = head;
    f->ex.begun = true;
    r->body = body_begin(&r->head, &f->ex);
    if (r->head.len > 0)
        reader_show(r);
    else if (f->state == FLOW_RELAY && opt.proxyauth == NULL &&
             r->from->in.len > 0)   /* no head: what came, without secrets */
        show_message(f->ex.id, true, (char *)buf_at(&r->from->in),
                     r->from->in.len);
}

/* Ends a flow with a page that says why, or, where a part of an answer has been
   sent, without the rest. The log gets why, and secret behind it, too. */
static bool flow_refuse(struct flow *f, int status, const char *why,
                        const char *secret)
{
    char text[4 * 1024], body[sizeof text + 100];
    int n;
    bool page = !f->down.sent && !f->stream;

    if (!f->ex.begun && !f->stream)
        exchange_new(f);
    tell(f, 0, *secret ? EV_FILTER : status == 407 || status == 421 ||
         status == 431 || (opt.only != NULL && strstr(why, "--only-hosts")) ?
         EV_DENY : EV_NOTE, /* a rule's refusal, whatever its status */
         "%s: %s%s", page ? "answered by an error page" : "cut off", why,
         secret);
    if (!page)
        return flow_cut(f);
    escape(text, why, strlen(why), "\\x%02x", "");
    n = sprintf(body, "mitmproxy: %s\n\n%s\n", status_text(status), text);
    return flow_answer(f, status, "text/plain; charset=utf-8", body, (size_t)n);
}

/* The same, with nothing secret. */
PRINTF(3, 4) static bool flow_fail(struct flow *f, int status,
                                   const char *format, ...)
{
    char why[1024];

    FORMAT(why, format);
    return flow_refuse(f, status, why, "");
}

/* ==== 21 SOCKS ==========================================================
   Versions 4, 4a and 5 (RFC 1928, 1929), as the server of our client and as
   the client of a proxy on the way. Limit: CONNECT alone. */

enum {
    SOCKS_OK = 0, SOCKS_FAILED = 1, SOCKS_FORBIDDEN = 2, SOCKS_NETWORK = 3,
    SOCKS_HOST = 4, SOCKS_REFUSED = 5, SOCKS_TIMEOUT = 6, SOCKS_COMMAND = 7,
    SOCKS_ADDRESS = 8
};

/* Makes t's host of the n bytes at p: a name, or an IPv6 address, which SOCKS
   clients write with brackets and without. False: it is neither. */
static bool socks_name(const char *p, size_t n, struct target *t)
{
    bool brackets = n > 1 && *p == '[' && p[n - 1] == ']';

    return target_name(t, p + brackets, n - 2 * brackets) &&
           (strchr(t->host, ':') ? parse_ip(t->host, NULL) > 0 : !brackets);
}

/* Reads a request of SOCKS4, or of 4a (address 0.0.0.x: a name follows), off
   the n bytes at p. Contract as in 14. */
static int socks4_parse(const unsigned char *p, size_t n, struct target *t)
{
    bool named = n > 7 && number_at(p + 4, 3) == 0 && p[7] != 0;
    const char *text = NULL;
    size_t at = 8, len = 0;

    if (n < 9)
        return 0;
    if (p[1] != 1)
        return -1;
    t->port = (unsigned)number_at(p + 2, 2);
    for (int i = 0; i <= named; i++, at += len + 1) { /* user and name */
        text = (const char *)p + at;
        len = strnlen(text, n - at);
        if (len > MAX_HOST || len == n - at)
            return len > MAX_HOST ? -1 : 0;
    }
    if (!named)
        inet_ntop(AF_INET, p + 4, t->host, sizeof t->host);
    else if (!socks_name(text, len, t))
        return -1;
    return (int)at;
}

/* The same of SOCKS5 (RFC 1928, 4); where it is malformed, minus the code. */
static int socks5_parse(const unsigned char *p, size_t n, struct target *t)
{
    size_t len, at;

    if (n < 5)
        return 0;
    len = p[3] == 1 ? 4 : p[3] == 4 ? 16 : p[4];
    at = p[3] == 3 ? 5 : 4;
    if (p[0] != 5)
        return -SOCKS_FAILED;
    if (p[1] != 1)
        return -SOCKS_COMMAND;
    if (p[3] != 1 && p[3] != 3 && p[3] != 4)
        return -SOCKS_ADDRESS;
    if (n < at + len + 2)
        return 0;
    t->port = (unsigned)number_at(p + at + len, 2);
    if (p[3] != 3)
        inet_ntop(p[3] == 1 ? AF_INET : AF_INET6, p + 4, t->host,
                  sizeof t->host);
    else if (!socks_name((const char *)p + at, len, t))
        return -SOCKS_ADDRESS;
    return (int)(at + len + 2);
}

/* Appends the reply with this code (RFC 1928, 6); version 4 has but two. */
static void socks_reply(struct buf *out, int version, int code)
{
    const char v4[8] = { 0, code == SOCKS_OK ? 90 : 91 };
    const char v5[10] = { 5, (char)code, 0, 1 };

    buf_put(out, version == 4 ? v4 : v5, version == 4 ? 8 : 10);
}

/* Whether the n bytes at login are --proxyauth's. The time it takes tells
   nothing about how many of them are right. */
static bool is_authorized(const void *login, size_t n)
{
    unsigned char shown[32], wanted[32];

    sha256(login, n, shown);
    sha256(opt.proxyauth, strlen(opt.proxyauth), wanted);
    return mbedtls_ct_memcmp(shown, wanted, sizeof wanted) == 0;
}

/* server.step: how far -x's proxy is; the first two are SOCKS's alone. */
enum { GREETED, LOGGED_IN, ASKED, TUNNEL_OPEN };

/* Appends a byte that is the length of a text, and the text. */
static void socks_put(struct buf *out, const char *p, size_t n)
{
    buf_put(out, &(unsigned char){ (unsigned char)n }, 1);
    buf_put(out, p, (unsigned char)n);
}

/* Asks -x's SOCKS proxy for a connection to the goal (RFC 1928, 4). */
static void socks_request(struct server *s)
{
    struct buf *out = &s->end.out;
    unsigned char ip[16], port[2];
    size_t n = parse_ip(s->goal.host, ip);

    s->step = ASKED;
    put_number(port, 2, s->goal.port);
    buf_put(out, n == 0 ? "\5\1\0\3" : n == 4 ? "\5\1\0\1" : "\5\1\0\4", 4);
    if (n == 0)
        socks_put(out, s->goal.host, strlen(s->goal.host));
    buf_put(out, ip, n);
    buf_put(out, port, 2);
}

/* Sends -x's SOCKS proxy login, "user:password" (RFC 1929). */
static void socks_log_in(struct server *s, const char *login)
{
    size_t n = strcspn(login, ":");

    s->step = LOGGED_IN;
    buf_put(&s->end.out, "\1", 1);
    socks_put(&s->end.out, login, n);
    login += n + (login[n] == ':');
    socks_put(&s->end.out, login, strlen(login));
}

/* Reads what -x's SOCKS proxy says, off the n bytes at p, and answers. Contract
   as in 14; -1: the proxy refuses, which is noted. */
static int socks_converse(struct flow *f, const unsigned char *p, size_t n)
{
    static const char *const words[] = {
        "general failure", "forbidden", "network unreachable",
        "host unreachable", "connection refused", "timed out"
    };
    struct server *s = &f->server;
    size_t len;

    if (n < 2)
        return 0;
    if (p[0] != 5 && s->step != LOGGED_IN) /* RFC 1929: 1, but some have 5 */
        return server_fail(f, "the proxy %s speaks no SOCKS5 (an HTTP proxy's "
                           "address begins with http://)", place(&s->hop));
    if (s->step == GREETED && p[1] == 2 && opt.proxy.login != NULL) {
        socks_log_in(s, opt.proxy.login);
        return 2;
    }
    if (s->step < ASKED && p[1] == 0) {
        socks_request(s);
        return 2;
    }
    if (s->step < ASKED || p[1] != 0)
        return server_fail(f, "the SOCKS proxy %s refuses %s: %s",
                           place(&s->hop), place(&s->goal),
                           s->step < ASKED ? "it wants another user or password"
                           : p[1] <= 6 ? words[p[1] - 1] : "it cannot do that");
    len = n < 5 ? 5 : 6 + (p[3] == 1 ? 4 : p[3] == 4 ? 16 : 1u + p[4]);
    if (n < len)
        return 0;
    s->step = TUNNEL_OPEN;
    return (int)len;
}

/* Closes on a SOCKS client without the user and password of --proxyauth. */
static bool socks_refuse(struct flow *f)
{
    tell(f, 0, EV_DENY, "%s asks by SOCKS%d %s", f->peer, f->socks,
         opt.proxyauth ? "without the right user and password" :
         "and knows no way to log in that is known here");
    return flow_close(f);
}

/* Answers a SOCKS5 client's greeting (RFC 1928, 3), once that is whole. */
static bool socks_greet(struct flow *f)
{
    struct buf *in = &f->client.in;
    const unsigned char *p = buf_at(in);
    unsigned char reply[2] = { 5, 255 };    /* 255: it cannot come in */

    if (in->len < 2 || in->len < 2u + p[1])
        return false;
    if (opt.proxyauth == NULL && memchr(p + 2, 0, p[1]) != NULL)
        reply[1] = 0;
    else if (memchr(p + 2, 2, p[1]) != NULL)
        reply[1] = 2;               /* by name and password */
    buf_put(&f->client.out, reply, 2);
    buf_eat(in, 2u + p[1]);
    f->greeted = reply[1] == 0 ? 2 : 1;
    return reply[1] == 255 ? socks_refuse(f) : true;
}

/* Answers a SOCKS5 client's login (RFC 1929, 2). True when it was whole. */
static bool socks_admit(struct flow *f)
{
    struct buf *in = &f->client.in;
    unsigned char *p = buf_at(in);
    size_t user = in->len < 2 ? 0 : p[1], word;
    bool good;

    if (in->len < 3 + user || in->len < 3 + user + p[2 + user])
        return false;
    word = p[2 + user];
    p[2 + user] = ':';              /* between the two, in the length's place */
    good = opt.proxyauth == NULL || is_authorized(p + 2, user + 1 + word);
    buf_put(&f->client.out, good ? "\1\0" : "\1\1", 2);
    buf_eat(in, 3 + user + word);
    f->greeted = 2;
    return good || socks_refuse(f);
}

/* Reads what a SOCKS client says, and goes for the server that it names. */
static bool socks_ask(struct flow *f)
{
    struct buf *in = &f->client.in;
    const unsigned char *p = buf_at(in);
    struct target t = { .host = "" };
    int n;

    if (f->socks == 5 && f->greeted < 2)
        return f->greeted == 0 ? socks_greet(f) : socks_admit(f);
    n = f->socks == 4 ? socks4_parse(p, in->len, &t)
                      : socks5_parse(p, in->len, &t);
    if (n == 0)
        return false;
    if (f->socks == 4 && opt.proxyauth != NULL) {
        socks_reply(&f->client.out, 4, SOCKS_FAILED);
        return socks_refuse(f);
    }
    if (n < 0 || t.port == 0) {
        tell(f, 0, EV_OPEN, "%s asks by SOCKS for what there is not%s", f->peer,
             p[1] != 1 ? ": BIND or UDP (CONNECT alone is known here)" : "");
        socks_reply(&f->client.out, f->socks, n < 0 ? -n : SOCKS_ADDRESS);
        return flow_close(f);
    }
    buf_eat(in, (size_t)n);
    tell(f, 1, EV_OPEN, "%s asks by SOCKS%d for %s" MORE "and is answered when "
         "the server has been reached, or not", f->peer, f->socks, place(&t));
    f->tunnel = true;
    f->home = t;
    server_want(f, &t);
    return flow_enter(f, FLOW_REACH);
}

/* Answers a SOCKS client's request, once the server is up or has failed. */
static bool socks_answer(struct flow *f)
{
    struct server *s = &f->server;
    bool good;

    if (s->state != SERVER_UP && s->state != SERVER_FAILED)
        return false;
    good = s->state == SERVER_UP || is_mitm_it(f->home.host);
    socks_reply(&f->client.out, f->socks, good ? SOCKS_OK :
                s->status != 0 || s->error == EACCES ? SOCKS_FORBIDDEN :
                s->error == ECONNREFUSED ? SOCKS_REFUSED :
                s->error == ENETUNREACH ? SOCKS_NETWORK :
                s->error == ETIMEDOUT ? SOCKS_TIMEOUT : SOCKS_HOST);
    if (good)
        return flow_enter(f, FLOW_FIRST);
    tell(f, 0, s->status ? EV_DENY : EV_NOTE, "%s is told: %s", f->peer,
         s->failure);
    return flow_close(f);
}

/* ==== 22 servers ========================================================
   How a flow reaches its server, or comes to know why it cannot: a name is
   looked up, a hop connected to, a proxy asked, a handshake made: each is a
   state that others look at. Limit: addresses are tried one by one. */

/* Begins the TLS handshake with the server, on an open connection. */
static void server_tls(struct flow *f)
{
    struct server *s = &f->server;
    const char *name = server_name(f);
    const struct alpn *alpn = server_alpn(f);
    struct known *old = s->known;

    s->target.tls = true;
    s->known = known_get(text_of("%s/%s/%s/%d/%.*s", place(&s->target), name,
                                 flow_name(f), f->hello.rsa, /* the leaf's */
                                 alpn->len, (const char *)alpn->names));
    known_drop(old);
    if (!tls_start(&s->end, alpn, NULL, s->known) ||
        mbedtls_ssl_set_hostname(s->end.ssl,
                                 parse_ip(name, NULL) ? NULL : name) != 0) {
        server_fail(f, "cannot start TLS with %s: out of memory", name);
        return;
    }
    /* a resumed session brings no certificate, which a new leaf is made from;
       and STARTTLS cannot be begun again if the server refuses the session */
    s->resumed = s->known->has_session && !f->stream &&
                 (opt.insecure || time(NULL) < s->known->until) &&
                 (known_is_fresh(s->known) || f->state != FLOW_SERVER) &&
                 mbedtls_ssl_set_session(s->end.ssl, &s->known->session) == 0;
    server_enter(f, SERVER_TLS);
}

/* The server is connected to, by proxies or not: TLS next, or it is up. */
static void server_reached(struct flow *f)
{
    if (f->server.target.tls)
        server_tls(f);
    else
        server_enter(f, SERVER_UP);
}

/* As socks_converse(), of an HTTP proxy and its answer to CONNECT. */
static int connect_converse(struct flow *f, const char *p, size_t n)
{
    struct server *s = &f->server;
    struct head *h = &f->answers.next; /* which may drip in */
    int len = head_more(p, n, false, h), status = h->status;
    size_t line = 100;

    if (len > 0)
        *h = (struct head){ 0 };
    if (len > 0 && status / 100 == 2)
        s->step = TUNNEL_OPEN;
    else if (len < 0 || (len > 0 && status / 100 != 1)) {
        next_line(p, n, &line);
        return server_fail(f, "the proxy %s refuses %s: %.*s",
                           place(&s->hop), place(&s->goal),
                           len < 0 || line > 100 ? 100 : (int)line,
                           len < 0 ? "it speaks no HTTP" : p);
    }
    return len;
}

/* Takes what -x's proxy has said, or its end. */
static bool server_proxy(struct flow *f)
{
    struct server *s = &f->server;
    struct buf *in = &s->end.in;
    int n;

    n = in->len == 0 ? 0 : opt.proxy.socks
        ? socks_converse(f, buf_at(in), in->len)
        : connect_converse(f, (char *)buf_at(in), in->len);
    if (n == 0 && (s->end.ended || in->len > MAX_HEAD))
        n = server_fail(f, "the proxy %s has %s", place(&s->hop), s->end.ended ?
                        "ended the connection" : "a head without end");
    if (n > 0)
        buf_eat(in, (size_t)n);
    if (n > 0 && s->step == TUNNEL_OPEN)
        server_reached(f);
    return n != 0;
}

/* The Proxy-Authorization line for -x's proxy (RFC 7617), without its line end;
   NULL: there is no login. */
static const char *proxy_credentials(void)
{
    static char *text;              /* made once */
    const char *login = opt.proxy.login;

    if (login != NULL && text == NULL) {
        size_t n = strlen(login), len, size = 64 + 2 * n;
        int at = sprintf(text = alloc(size), "Proxy-Authorization: Basic ");

        mbedtls_base64_encode((unsigned char *)text + at, size - (size_t)at,
                              &len, (const unsigned char *)login, n);
    }
    return text;
}

/* connect() has succeeded: -x's proxy is asked, or the server is reached. */
static void server_connected(struct flow *f)
{
    struct server *s = &f->server;
    struct buf *out = &s->end.out;
    const char *host;

    s->end.ready = true;
    setsockopt(s->end.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    tell(f, 1, EV_NOTE, "connected to %s" MORE "(%s), for this client alone: "
         "no other will share that", place(&s->hop),
         opt.verbose > 1 ? address_text(&s->addr[s->tried - 1]) : "");
    if (opt.proxy.at.port == 0 || s->target.forward) {
        server_reached(f);
        return;
    }
    tell(f, 2, EV_NOTE, "that is a proxy, and is asked by %s for %s",
         opt.proxy.socks ? "SOCKS5" : "CONNECT", place(&s->goal));
    server_enter(f, SERVER_PROXY);
    s->step = GREETED;
    f->answers.next = (struct head){ 0 };
    if (opt.proxy.socks) {
        buf_put(out, opt.proxy.login ? "\5\2\0\2" : "\5\1\0",
                opt.proxy.login ? 4 : 3);
        return;
    }
    host = text_of(strchr(s->goal.host, ':') ? "[%s]:%u" : "%s:%u",
                   s->goal.host, s->goal.port);
    buf_printf(out, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", host, host);
    if (opt.proxy.login != NULL) {
        buf_puts(out, proxy_credentials());
        buf_puts(out, "\r\n");
    }
    buf_puts(out, "\r\n");
}

/* Adds to server.failure why the address tried last cannot be connected to. */
static void server_refused(struct server *s, int error, const char *why)
{
    size_t n = s->tried > 1 ? strlen(s->failure) : 0;
    bool proxy = opt.proxy.at.port && same_target(&s->hop, &opt.proxy.at);

    if (n == 0)
        n = (size_t)sprintf(s->failure, "cannot connect to %s%s", proxy ?
                            "the proxy " : "", place(&s->hop));
    snprintf(s->failure + n, sizeof s->failure - n, "%s (%s): %s", s->tried > 1
             ? "," : "", address_text(&s->addr[s->tried - 1]), why);
    s->error = error;
}

/* Connects to the server's next address; without one, the server has failed. */
static void server_connect(struct flow *f)
{
    struct server *s = &f->server;

    end_close(&s->end);
    while (s->tried < s->addrs) {
        struct sockaddr_storage *a = &s->addr[s->tried++];
        /* asked here again: another worker may have opened that connection
           since the client was accepted */
        bool us = address_is_listener(*a) || client_is_us(f->client.fd);
        int fd = us ? -1 : socket(a->ss_family, SOCK_STREAM | SOCK_CLOEXEC |
                                                SOCK_NONBLOCK, 0);

        if (fd >= 0 && (connect(fd, (struct sockaddr *)a, sizeof *a) == 0 ||
                        errno == EINPROGRESS)) {
            own_note(fd, a);
            s->end.fd = fd;
            server_enter(f, SERVER_CONNECT);
            return;
        }
        server_refused(s, us ? ELOOP : errno, !us ? strerror(errno) :
                       opt.transparent ? "that is this proxy itself: no packet "
                       "filter has redirected this" :
                       "that is this proxy itself");
        fd_close(&fd);
    }
    server_enter(f, SERVER_FAILED);
}

/* select() says that connect() has come to its end, which SO_ERROR tells. */
static void server_connect_end(struct flow *f)
{
    struct server *s = &f->server;
    int error = 0;
    socklen_t len = sizeof error;

    getsockopt(s->end.fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error == 0) {
        server_connected(f);
        return;
    }
    server_refused(s, error, strerror(error));
    server_connect(f);
}

/* Has --lookup find the next hop's addresses. False: not yet, or at all. */
static bool server_ask(struct flow *f)
{
    struct server *s = &f->server;

    if (!inquiry_done(f, &lookups, s->hop.host, s->hop.rooted ? "." : ""))
        return false;
    if (s->inquiry->failed != NULL) {
        server_fail(f, "cannot find the address of %s: %s", s->hop.host,
                    s->inquiry->failure);
        return false;
    }
    for (struct buf *b = chain_out(s->inquiry); b->len >= sizeof *s->addr;
         buf_eat(b, sizeof *s->addr)) {
        struct sockaddr_storage *a = &s->addr[s->addrs++];

        memcpy(a, buf_at(b), sizeof *a);
        ((struct sockaddr_in *)a)->sin_port = /* where IPv6 has it, too */
            htons((uint16_t)s->hop.port);
    }
    inquiry_end(s);
    return s->addrs > 0;
}

/* Finds the next hop's addresses, and begins to connect to them. */
static void server_lookup(struct flow *f)
{
    struct server *s = &f->server;
    const char *host = s->hop.host;
    size_t n = strlen(host), len;
    unsigned char ip[16];

    if (strchr(host, '%') == NULL && (len = parse_ip(host, ip)) > 0)
        address_make(&s->addr[s->addrs++], ip, len, s->hop.port);
    else if (n >= 9 && strcasecmp(host + n - 9, "localhost") == 0 &&
             (n == 9 || host[n - 10] == '.')) { /* RFC 6761, 6.3 */
        address_make(&s->addr[s->addrs++], "\x7f\0\0\x01", 4, s->hop.port);
        address_make(&s->addr[s->addrs++], &in6addr_loopback, 16, s->hop.port);
    } else if (!server_ask(f))
        return;
    if (opt.proxy.local && !same_target(&s->hop, &opt.proxy.at)) {
        s->goal = address_target(s->addr[0]); /* the proxy's is next */
        s->hop = opt.proxy.at;
        s->addrs = s->tried = 0;
        server_lookup(f);
    } else
        server_connect(f);
}

/* Why TLS with the server failed, and what helps, by the alert that the server
   has sent (RFC 8446, 6.2). Once the server's certificate has been verified,
   key exchange and cipher are agreed on, and only a certificate of ours can be
   what the server misses. */
static const char *tls_trouble(const struct end *e)
{
    int state = e->ssl->MBEDTLS_PRIVATE(state);
    bool alpn = state == MBEDTLS_SSL_SERVER_CERTIFICATE ? /* behind its hello:
                                       it chose of its own, as Apache does */
                e->tls_error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE :
                state == MBEDTLS_SSL_ENCRYPTED_EXTENSIONS &&
                e->tls_error == MBEDTLS_ERR_SSL_BAD_INPUT_DATA;

    switch (e->alert == 0 && alpn ? 120 : e->alert) {
    case 0:
        if (e->vouched && e->tls_error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE &&
            opt.cert != NULL)
            return "it takes no signature of the kind that --cert's key makes";
        return e->ready ? tls_strerror(e->tls_error)
                        : shake_strerror(e->tls_error);
    case 40:                        /* handshake_failure */
    case 71:                        /* insufficient_security */
        if (!e->vouched)
            return shake_strerror(MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE);
        /* fall through */
    case 42: case 43: case 44: case 45: case 46: case 48: case 49:
    case 116:                       /* certificates */
        return opt.cert ? "it does not accept --cert's certificate"
                        : "it may want a client's certificate: --cert FILE";
    case 70:
        return shake_strerror(MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION);
    case 112:
        return "it does not know this name (unrecognized_name)";
    case 120:
        return "it speaks none of the protocols that were offered by ALPN "
               "(--ignore-hosts REGEX passes it untouched)";
    default:
        return "it has sent an alert";
    }
}

/* The handshake with the server has failed: tries again without the session or
   PSS_BUG's TLS 1.3, if one was offered, or notes why in words. */
static void server_tls_failed(struct flow *f)
{
    struct server *s = &f->server;
    int error = s->end.tls_error;
    bool pss = PSS_BUG && error == MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER &&
               !s->known->only_tls12;

    s->known->only_tls12 |= pss;    /* helps a stream's next connection */
    if (s->resumed || (pss && !f->stream)) {
        tell(f, 2, EV_TLS, "%s does not go on: once more without %s",
             server_name(f), s->resumed ? "the session" : "TLS 1.3");
        mbedtls_ssl_session_free(&s->known->session);
        s->known->has_session = false;
        s->tried--;
        server_connect(f);
    } else if (error == MBEDTLS_ERR_SSL_INVALID_RECORD ||
               error == MBEDTLS_ERR_SSL_UNSUPPORTED_EXTENSION)
        server_fail(f, "%s does not speak TLS", place(&s->target));
    else if (error == MBEDTLS_ERR_SSL_CONN_EOF ||
             error == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        server_fail(f, "%s closed the connection during the TLS handshake",
                    place(&s->target));
    else
        server_fail(f, "TLS with %s failed: %s (%s)", place(&s->target),
                    tls_trouble(&s->end), tls_number(&s->end));
}

/* Verifies the certificate that the server has shown, unless it is the one of
   last time; the handshake waits for that. */
static void server_verify(struct flow *f)
{
    struct server *s = &f->server;
    struct known *k = s->known;
    mbedtls_x509_crt *crt = tls_shown(s->end.ssl);
    unsigned char digest[32];
    const char *why = "it has shown none";
    double began = clock_now();

    if (crt != NULL) {
        sha256(crt->raw.p, crt->raw.len, digest);
        cert_tell(f, "the server's certificate", crt);
    }
    if (!opt.insecure &&
        (crt == NULL || time(NULL) >= k->until ||
         memcmp(digest, k->trusted, sizeof digest) != 0)) {
        if (crt != NULL)
            why = tls_verify(crt, server_name(f), &k->until);
        shaking.spent += clock_now() - began;
        if (why != NULL) {
            server_fail(f, "the certificate of %s is not to be trusted: %s "
                        "(to accept it all the same: -k)", server_name(f), why);
            return;
        }
        memcpy(k->trusted, digest, sizeof digest);
    }
    s->end.vouched = true;
    s->end.tls_error = 0;
}

/* The handshake with the server is done. */
static void server_tls_done(struct flow *f)
{
    struct server *s = &f->server;
    const char *alpn = mbedtls_ssl_get_alpn_protocol(s->end.ssl);

    assert(s->end.vouched || s->resumed);
    if (mbedtls_ssl_get_version_number(s->end.ssl) ==
        MBEDTLS_SSL_VERSION_TLS1_2)
        tls_keep_session(&s->end);
    tell(f, 1, EV_TLS, "%s with %s" MORE "by %s, ALPN %s: %s",
         mbedtls_ssl_get_version(s->end.ssl), server_name(f),
         mbedtls_ssl_get_ciphersuite(s->end.ssl), alpn ? alpn : "none",
         !s->end.vouched ? "resumed, so it has sent no certificate" :
         opt.insecure ? "a full handshake, its certificate not verified (-k)" :
         "a full handshake, its certificate's chain, dates and name verified");
    server_enter(f, SERVER_UP);
}

/* Lets the server's end go as far as it can. True when something moved. */
static bool server_step(struct flow *f)
{
    struct server *s = &f->server;
    bool moved;

    if (s->state == SERVER_PROXY)
        return server_proxy(f);
    moved = tls_pump(&s->end);      /* of a new end nothing */
    if (s->state == SERVER_UP || (s->end.tls_error == 0 && !s->end.ready))
        return moved;
    if (s->end.tls_error == ERR_UNVERIFIED)
        server_verify(f);
    else if (s->end.tls_error != 0)
        server_tls_failed(f);
    else
        server_tls_done(f);
    return true;
}

/* ==== 23 messages =======================================================
   One message in one direction: a reader finds its head and its body, filters
   get that, and a writer mends what they print; without filters the reader
   gives all to the writer's end as it is. All this is the same for requests
   and responses; only what a head means is not: request_begin(),
   response_begin(). What ends a flow, or makes it another, is a step: it
   returns true. Limit: HTTP/1; all else is a stream, and goes as it came. */

/* ---- readers: whom they give what they read, and how they end */

/* From here on r reads a stream: all bytes, up to the connection's end. */
static void stream_begin(struct reader *r)
{
    r->state = READ_BODY;
    r->body.framing = UNTIL_CLOSE;
    r->to->state = WRITE_BODY;
}

/* Tells how the rest of f's requests, responses or both passes, and why: always
   where a filter that may match misses messages by that, else with -v. As: the
   filters that surely match get it as a stream. */
static void tell_unseen(const struct flow *f, bool requests, bool responses,
                        bool as, const char *how, const char *why)
{
    bool unseen = false;

    for (const struct filter *g = opt.filters; g != NULL; g = g->next) {
        struct subject s = exchange_subject(&f->ex, g->request, NULL, NULL);
        int match = match_eval(g->match, &s);

        if (g->request ? requests : responses)
            unseen |= as ? match == 3 : match & 1;
    }
    tell(f, unseen ? 0 : 1, EV_NOTE, "%s%s: %s", how,
         !unseen ? "" : as ? ", which is no message for filters" :
         ", which no filter sees",
         why);
}

/* From here on all bytes pass as they come, both ways. Filtered: through the
   filters, as one long message each way. Why is for the log. False: not yet,
   filters still print the rest of the request. */
static bool flow_stream(struct flow *f, bool filtered, const char *why)
{
    bool busy = chain_is_busy(f->asks.chain);
    bool frames = f->answers.head.status == 101 &&
                  f->answers.head.websocket && (messages_wanted(f, true) ||
                                                messages_wanted(f, false));

    if (busy && f->asks.body.done)
        return false;
    if (opt.only != NULL && f->spoken && f->answers.head.status != 101)
        return flow_fail(f, 400, "--only-hosts lets nothing pass that is not "
                         "clear: %s", why);
    if (busy || chain_is_busy(f->answers.chain))
        return flow_fail(f, 502, "a filter has a part of what is to pass as a "
                         "stream: %s", why);
    messages_reset(f);
    f->stream = true;
    stream_begin(&f->asks);
    stream_begin(&f->answers);
    if (f->server.state == SERVER_NONE)
        server_want(f, &f->home);
    if (filtered || f->ex.id == 0) {
        exchange_free(&f->ex);
        f->ex.id = ++shared->last_id;
        f->ex.to = f->server.target;
        strcpy(f->ex.host, filtered ? server_name(f) : flow_name(f));
    }
    if (filtered && opt.filters != NULL) {
        const char *url = text_of("%s:%u", f->ex.host, f->ex.to.port);

        f->ex.url = copy_text(url, strlen(url));
        chain_new(&f->asks);
        chain_new(&f->answers);
    }
    if (!frames)                    /* else frames_begin() tells */
        tell_unseen(f, true, true, filtered, "is relayed as a stream", why);
    return true;
}

/* Moves n bytes from from.in to the buffer to, or nowhere if that is NULL; a
   chain that is to keep the message for --on-error pass gets a copy. */
static void reader_take(struct reader *r, size_t n, struct buf *to)
{
    struct buf *in = &r->from->in;
    struct chain *c = r->chain;

    if (c != NULL && c->keep) {
        buf_put(&c->kept, buf_at(in), n);
        if (c->kept.len > MAX_HOLD) {
            buf_free(&c->kept);
            c->keep = false;
        }
    }
    if (to != NULL)
        buf_move(to, in, n);
    else
        buf_eat(in, n);
}

/* Whether the message may have been cut: its end was the connection's, by FIN
   without close_notify (RFC 9112, 9.8). Too many servers end like that for an
   error page; what filters print is sent without a length, and ends so, too. */
static bool reader_in_doubt(const struct reader *r)
{
    return r->body.framing == UNTIL_CLOSE && r->from->ended == ENDED_CUT;
}

/* Behind 204 and 304, which have no body (RFC 9112, 6.3), some servers send
   the last chunk that their Transfer-Encoding promises, and some clients wait
   for it: those get it, but not a client that has sent its next request. */
static void server_spare(struct flow *f)
{
    struct server *s = &f->server;
    struct buf *in = &s->end.in;

    for (; s->spare > 0 && in->len > 0 &&
           *buf_at(in) == "0\r\n\r\n"[5 - s->spare]; s->spare--) {
        if (f->answers.state != READ_HEAD || !f->up.sent)
            buf_put(&f->client.out, buf_at(in), 1);
        buf_eat(in, 1);
    }
}

/* All of r's message, or of what filters made of it, has been put into w's end.
   A stream's connection ends behind it. True. */
static bool writer_done(struct writer *w, const struct reader *r)
{
    struct flow *f = w->flow;
    const struct head *h = w->chain ? &w->printed : &r->head;

    w->state = WRITE_DONE;
    if (f->stream)
        end_finish(w->to, r->from->ended == ENDED_CUT ? END_RESET : END_WELL);
    else if (w->request && w->chain != NULL && w->last)
        end_finish(w->to, END_WELL); /* nothing else tells the print's end */
    else if (!r->request) {
        f->server.spare = h->chunked && head_is_all(h, false) ? 5 : 0;
        server_spare(f);
    }
    return true;
}

/* Whether bytes of r's message can be taken: into the chain, into the writer's
   end, or, when a stream's peer is gone, into nothing. */
static bool reader_has_room(const struct reader *r)
{
    const struct chain *c = r->chain;
    const struct end *to = r->to->to;

    return c ? run_is_deaf(c->run) || run_has_room(c->run)
             : (r->flow->stream && to->broken) || to->out.len < MAX_BUF;
}

/* r's connection has ended, within its message or as its end (RFC 9112, 8). */
static bool reader_ended(struct reader *r)
{
    struct flow *f = r->flow;
    const struct end *e = r->from;
    const char *error;
    bool failed = e->ended == ENDED_CUT && !f->stream &&
                  (e->ssl == NULL || e->broken); /* FIN without close_notify
                                       leaves a doubt */

    if (r->body.framing == UNTIL_CLOSE && !(failed && r->chain != NULL)) {
        r->body.done = true;
        r->to->last |= r->chain == NULL;
        return failed ? flow_cut(f) : true;
    }
    error = e->tls_error ? tls_strerror(e->tls_error) : "";
    if (!r->request)
        return flow_fail(f, 502, "the server ended within an answer%s%s",
                         *error ? ": " : "", error);
    tell(f, 0, EV_CLOSE, "the client ended within a request%s%s",
         *error ? ": " : "", error);
    if (r->chain != NULL)
        return flow_cut(f);
    end_finish(&f->server.end, END_CUT);
    r->body.done = true;            /* the server may still say something */
    f->up.last = true;
    return true;
}

/* The filters of r's message have failed: --on-error decides. The command may
   hold secrets, and is for the log, not for the page. */
static bool chain_failed(struct reader *r)
{
    struct flow *f = r->flow;
    struct chain *c = r->chain;
    struct buf *in = &r->from->in;
    const struct filter *g = c->failed->filter;
    enum on_error what = g->on_error;
    const char *command = text_of(" (%.100s)", g->command);
    const char *why = text_of("the %s filter failed: %s%s", g->request ?
                              "request" : "response", c->failure,
                              c->to->sent || what != PASS || c->keep ? "" :
                              " (and the message is too long to pass as it "
                              "was)");

    f->ex.fate = "failed";
    if (c->to->sent || what == FAIL || (what == PASS && !c->keep))
        return flow_refuse(f, 502, why, command);
    tell(f, 0, EV_FILTER, "%s%s: %s", why, command,
         what == PASS ? "passed as it was" : "closed");
    if (what == CLOSE)
        return flow_cut(f);
    buf_move(&c->kept, in, in->len); /* what was taken goes back in front */
    buf_move(in, &c->kept, c->kept.len);
    direction_reset(f, c->to->request);
    direction_reset(f, r->request);
    r->pass = true;
    if (f->stream)
        stream_begin(r);
    return true;
}

/* Where r's message ends cannot be known, for this reason. With filters or
   --only-hosts that is an error. Otherwise, in a tunnel, both ways become a
   stream. Outside of one, the next request on the connection may be for another
   server: so the bytes pass, as the last message, up to the connection's end.
   With --proxyauth that is an error, as they may hold its credentials. */
static bool reader_unclear(struct reader *r, const char *why)
{
    struct flow *f = r->flow;
    int status = r->request ? 400 : 502;
    bool old;                       /* HTTP/0.9, of one line */

    if (r->chain != NULL)
        return flow_fail(f, status, "%s", why);
    if (r->to->out == OUT_DROP)     /* the client has its answer */
        return flow_close(f);
    if (r->request && !f->tunnel && r->state == READ_HEAD)
        return flow_fail(f, 400, "this is no request that a proxy "
                         "understands: %s", *buf_at(&r->from->in) != 22 ? why :
                         "it is TLS (the proxy's address in the client must "
                         "begin with http://, for https, too)");
    old = r->request && r->from->in.len > r->head.lead + 3 &&
          memcmp(buf_at(&r->from->in) + r->head.lead, "GET ", 4) == 0;
    if (opt.only != NULL && (f->spoken || r->head.len > 0 || old))
        return flow_fail(f, status, "--only-hosts lets nothing pass that is "
                         "not clear: %s", why);
    if (f->tunnel && r->request && r->from->in.len > 16 && /* RFC 9113, 3.4 */
        memcmp(buf_at(&r->from->in), "PRI * HTTP/2.0\r\n", 16) == 0)
        return flow_stream(f, false, "it is HTTP/2");
    if (f->tunnel) {
        bool answer = !r->request && r->state == READ_HEAD;

        if (!flow_stream(f, !f->spoken, why))
            return false;
        if (answer && f->stream)    /* what it is, and no more, is known */
            show_message(f->ex.id, false, (char *)buf_at(&r->from->in),
                         r->from->in.len);
        return true;
    }
    if (r->request && opt.proxyauth != NULL)
        return flow_fail(f, 400, "the end of this request cannot be known: %s",
                         why);
    tell_unseen(f, r->request, !r->request, false,
                "goes on until its connection ends", why);
    r->head.unclear = why;
    r->body = (struct body){ .framing = UNTIL_CLOSE };
    r->to->last = true;
    if (r->state == READ_BODY)
        return true;
    reader_show(r);
    r->state = READ_BODY;
    r->to->state = WRITE_BODY;
    if (r->head.len > 0 && r->head.chunked) {
        r->body.framing = CHUNKED;  /* which is as good an end as any */
        r->to->sent = true;
        reader_take(r, r->head.len, &r->to->to->out);
    }
    return true;
}

/* Moves what has come of the body into the chain (data alone, without chunked
   coding; all with --raw) or, without one, as it is into the writer's end. */
static bool reader_body(struct reader *r)
{
    struct chain *c = r->chain;
    struct writer *w = r->to;
    struct buf *in = &r->from->in, *to = c ? &c->run->in : &w->to->out;
    bool moved = false, data, drop = c ? run_is_deaf(c->run) :
         w->out == OUT_DROP || (r->flow->stream && w->to->broken);

    if (c == NULL && w->state != WRITE_BODY)
        return false;               /* done; or the head goes first */
    w->sent |= c == NULL && in->len > 0;
    while (in->len > 0 && !r->body.done &&
           (drop || reader_has_room(r))) {
        struct body before = r->body;
        ssize_t n = body_next(&r->body, (char *)buf_at(in), in->len, &data);
        bool trailer = c != NULL && !c->raw && before.framing == CHUNKED &&
                       before.step >= TRAILER_START;

        if (n < 0) {
            r->body = before;
            return reader_unclear(r, c == NULL ? "a chunk is malformed" :
                                  "the chunked coding of the message is "
                                  "malformed") || moved;
        }
        if (trailer && c->trailers.len + (size_t)n > MAX_HEAD)
            return flow_fail(r->flow, r->request ? 431 : 502,
                             "the trailers are longer than %d bytes", MAX_HEAD);
        if (c != NULL && data && r->request) /* for body_is_kept() */
            tally_add(&c->first, buf_at(in), (uint64_t)n < MAX_HOLD -
                      c->first.bytes ? (size_t)n : MAX_HOLD - c->first.bytes);
        r->bytes += data ? (size_t)n : 0;
        if (c != NULL && (c->raw || data) && tally_wanted())
            tally_add(&c->in, buf_at(in), (size_t)n);
        reader_take(r, (size_t)n, trailer ? &c->trailers : drop ||
                    (c != NULL && !c->raw && !data) ? NULL : to);
        moved = true;
    }
    if (!r->body.done && in->len == 0 && r->from->ended)
        return reader_ended(r);
    if (r->body.done && c == NULL)
        return writer_done(w, r);
    if (r->body.done && !c->fed)
        c->fed = moved = true;
    return moved;
}

/* ---- heads on their way to a server */

/* Whether the method of the head h at p is name; case counts (RFC 9110, 9.1) */
static bool method_is(const char *p, const struct head *h, const char *name)
{
    return h->method.len == strlen(name) &&
           memcmp(p + h->method.at, name, h->method.len) == 0;
}

/* Notes how the answer to the request at p will be framed. */
static void exchange_method(struct flow *f, const char *p,
                            const struct head *h)
{
    struct target t;

    f->ex.head = method_is(p, h, "HEAD");
    f->ex.connect = connect_target(p, h, &t);
    f->ex.calls = method_is(p, h, "CONNECT") && !f->ex.connect;
    f->ex.upgrade = h->upgrade;
}

/* Whether a response filter may match the answer to the request under way: any,
   or one for text, so that the server is asked for no Content-Encoding. */
static bool answer_wanted(const struct flow *f, bool any)
{
    struct subject s = exchange_subject(&f->ex, false, NULL, NULL);

    for (const struct filter *g = opt.filters; g && !f->untouched; g = g->next)
        if (!g->request && (any || !g->raw) && (match_eval(g->match, &s) & 1))
            return true;
    return false;
}

/* Whether the request whose head h stands at p goes where its absolute-form
   target says, which is taken apart as by parse_absolute(). So says a client
   outside of a tunnel, or a filter that has made it of an origin-form one. A
   client's own absolute-form in a tunnel does not count. */
static bool request_names(const struct flow *f, const char *p,
                          const struct head *h, struct target *t, size_t *rest)
{
    return (!f->tunnel || (f->asks.chain != NULL && f->ex.path)) &&
           parse_absolute(p + h->target.at, h->target.len, t, rest);
}

/* server.target for the request whose head h stands at p. */
static struct target request_target(const struct flow *f, const char *p,
                                    const struct head *h)
{
    struct target t = { .forward = false }, goal;
    size_t n;

    if (!request_names(f, p, h, &t, &n))
        t = f->ex.to;
    goal = server_goal(&t);         /* by --connect-to: CONNECT, as by curl */
    t.forward = opt.proxy.at.port != 0 && !opt.proxy.socks && !t.tls &&
                same_target(&goal, &t) &&
                tolower(p[h->target.at]) != 'w' && /* ws: */
                (!f->tunnel || opt.reverse.port != 0);
    return t;
}

/* Writes "scheme://host" or "scheme://host:port" (RFC 6454, 6.2). */
static void put_origin(struct buf *out, const struct target *t,
                       const char *host)
{
    buf_printf(out, strchr(host, ':') ? "%s://[%s]" : "%s://%s",
               t->tls ? "https" : "http", host);
    if (t->port != (t->tls ? 443 : 80))
        buf_printf(out, ":%u", t->port);
}

/* Changes a request's head, all of b, of which h tells, into the next hop's: in
   origin-form or absolute-form, without what is for this proxy alone. */
static void request_edit(struct flow *f, struct buf *b, const struct head *h)
{
    const char *p = (char *)buf_at(b), *rest, *credentials = NULL;
    bool forward = f->server.target.forward, named;
    struct buf *origin;
    struct target t;
    size_t n;

    exchange_method(f, p, h);
    if (forward && !method_is(p, h, "TRACE")) /* RFC 9110, 9.3.8: no secrets */
        credentials = proxy_credentials();
    if (!f->tunnel)
        head_set(b, h->fields, "Proxy-Connection", NULL, NULL);
    if (!f->tunnel && (!forward || credentials != NULL))
        head_set(b, h->fields, "Proxy-Authorization", NULL, NULL);
    if (answer_wanted(f, false))
        head_set(b, h->fields, "Accept-Encoding", "identity", NULL);
    if (h->h2c && (answer_wanted(f, false) || opt.only != NULL)) {
        head_without_h2c(b, h);
        f->ex.upgrade = !h->h2c_alone;
    }
    if (h->websocket && (messages_wanted(f, true) || messages_wanted(f, false)))
        head_set(b, h->fields, "Sec-WebSocket-Extensions", NULL, NULL);
    if (credentials != NULL)
        head_add(b, credentials);
    p = (char *)buf_at(b);
    named = request_names(f, p, h, &t, &n);
    if (!named)
        n = p[h->target.at] == '*' ? 0 : h->target.len;
    rest = p + h->target.at + h->target.len - n;
    if (named && !forward)          /* it becomes origin-form */
        buf_splice(b, h->target.at, h->target.len - n,
                   n == 0 && method_is(p, h, "OPTIONS") ? "*" : "/",
                   n == 0 || *rest != '/');
    if (!forward ||
        (named && absolute_is_plain(p + h->target.at, h->target.len, n)))
        return;
    origin = buf_scratch();         /* that which filters were chosen by */
    put_origin(origin, named ? &t : &f->ex.to, named ? t.host : f->ex.host);
    buf_puts(origin, n > 0 && *rest != '/' ? "/" : "");
    buf_splice(b, h->target.at, h->target.len - n, buf_at(origin), origin->len);
    buf_free(origin);
}

/* Puts the head h, at the front of src, into w's end, with framing (STAYS,
   SET_LENGTH with this length, ...) for its body. src keeps it. */
static void writer_put_head(struct writer *w, struct buf *src,
                            const struct head *h, int framing, uint64_t length)
{
    struct buf *b;

    w->sent = true;
    if (w->chain != NULL && opt.verbose > 1)
        tell(w->flow, 2, EV_NOTE, "what the filters print goes %s %s",
             w->chain->from->request && !w->request ? "back, and the server "
             "hears nothing of the request:" : "on", framing == SET_LENGTH ?
             text_of("with Content-Length: %" PRIu64, length) :
             framing == SET_CHUNKED ? "in chunks, each as it comes" :
             framing == SET_NONE ? "and ends with the connection" :
             "as it is");
    if (!w->request && framing == STAYS) {
        buf_put(&w->to->out, buf_at(src), h->len);
        return;
    }
    b = buf_scratch();
    buf_put(b, buf_at(src), h->len);
    head_frame(b, h, framing, length);
    if (w->request)
        request_edit(w->flow, b, h);
    if (w->request && w->chain != NULL)
        buf_move(&w->to->out, &w->chain->lead, w->chain->lead.len);
    buf_move(&w->to->out, b, b->len);
    buf_free(b);
}

/* ---- writers: what filters print is framed anew, where it must be */

/* Whether w's peer takes chunked coding: HTTP/1.0 does not (RFC 9112, 6.1), of
   which a server is taken to be if the client is. */
static bool mend_may_chunk(const struct writer *w)
{
    return w->flow->asks.head.minor > 0 && w->printed.minor > 0;
}

/* Whether a request too long to be held seems to keep its body: the filters
   have changed neither Content-Length nor the first MAX_HOLD of the n bytes at
   p. Then the length goes out first: some servers answer chunks with 411. */
static bool body_is_kept(const struct writer *w, const unsigned char *p,
                         size_t n)
{
    const struct chain *c = w->chain;
    const struct head *h = &w->printed, *was = &c->from->head;
    struct tally first = { 0 };

    if (!w->request || n < MAX_HOLD || c->first.bytes < MAX_HOLD)
        return false;
    tally_add(&first, p, MAX_HOLD);
    return h->has_length && !h->unclear && was->has_length &&
           h->length == was->length && h->length >= n &&
           first.hash == c->first.hash;
}

/* The filters have printed a head: decides how the body behind it is framed,
   and writes the head. False: not yet, as the length must be known first, for
   which the body is held until it is whole or too long. */
static bool mend_head(struct writer *w)
{
    const struct head *h = &w->printed;
    struct buf *src = chain_out(w->chain);
    uint64_t n = src->len - h->len;
    enum framing was = w->chain->was;
    bool whole = chain_done(w->chain), may_chunk = mend_may_chunk(w);
    bool bare = !h->coded && !h->has_length, chunks = bare && was == CHUNKED;
    int framing = STAYS;

    if (head_is_all(h, w->flow->ex.client_head))
        w->out = OUT_DROP;
    else if (may_chunk && (h->chunked || chunks)) {
        w->out = OUT_CHUNKED;
        framing = h->chunked && !h->has_length ? STAYS : SET_CHUNKED;
    } else if (w->request ? h->coded && !h->chunked :
               h->coded || chunks || (bare && was == UNTIL_CLOSE)) {
        w->last = true;
        framing = h->chunked || chunks ? SET_NONE : STAYS;
    } else if (!whole && n <= MAX_HOLD)
        return false;
    else if (whole ? reader_in_doubt(w->chain->from) /* a length hides that */
                   : !may_chunk && !w->request) {
        w->last = true;
        framing = SET_NONE;
    } else if (whole) {
        if (h->has_length ? h->length != n || h->unclear != NULL
                          : n > 0 || h->coded || !w->request || was != NO_BODY)
            framing = SET_LENGTH;
    } else if (may_chunk && !body_is_kept(w, buf_at(src) + h->len, n)) {
        w->out = OUT_CHUNKED;
        framing = SET_CHUNKED;
    } else {
        w->out = OUT_EXACT;
        w->left = h->length;
    }
    w->last |= !w->request && h->close;
    writer_put_head(w, src, h, framing, n);
    buf_eat(src, h->len);
    return true;
}

/* Whether behind the response with this head there is no more HTTP: 101 to
   Upgrade, or 2xx to CONNECT (RFC 9110, 15.2.2 and 9.3.6); to CONNECT without
   an authority some answer as to GET, and frame that. */
static bool response_switches(const struct flow *f, const struct head *h)
{
    return (h->status == 101 && (f->tunnel || f->ex.upgrade)) ||
           (h->status / 100 == 2 &&
            (f->ex.connect ||
             (f->ex.calls && !h->coded && !h->has_length)));
}

/* What the filters print has not the length sent (body_is_kept()). True. */
static bool mend_failed(struct writer *w)
{
    w->flow->ex.fate = "failed";
    return flow_fail(w->flow, 502, "the filter changed the length of a request "
                     "that is too long to be held%s", mend_may_chunk(w) ?
                     ": it may take Content-Length out of the head, which "
                     "makes chunks" : ", and HTTP/1.0 has no other way");
}

/* Moves what the filters print to w's end, framed anew. */
static bool mend_body(struct writer *w)
{
    struct flow *f = w->flow;
    struct buf *src = chain_out(w->chain), *out = &w->to->out;
    size_t n = src->len < MAX_BUF ? src->len : MAX_BUF;
    bool gone = w->to->broken ||    /* nobody takes it any more */
                (w->request && !f->stream && w->to->ended &&
                 f->down.state == WRITE_DONE);

    if (n == 0 || (!gone && out->len >= MAX_BUF))
        return false;
    run_moved(&w->chain->run[w->chain->count], n);
    w->sent = true;
    if (gone)
        w->out = OUT_DROP;          /* and no last chunk, either */
    if (w->out == OUT_DROP) {
        buf_eat(src, n);
        return true;
    }
    if (w->out == OUT_EXACT && n > w->left)
        return mend_failed(w);
    if (w->out == OUT_EXACT)
        w->left -= n;
    if (w->out == OUT_CHUNKED)
        buf_printf(out, "%zx\r\n", n);
    buf_move(out, src, n);
    if (w->out == OUT_CHUNKED)
        buf_puts(out, "\r\n");
    return true;
}

/* The filters are done, and all they printed has gone: ends the message. */
static bool mend_end(struct writer *w)
{
    struct chain *c = w->chain;
    struct buf *out = &w->to->out;

    if (w->out == OUT_EXACT && w->left != 0)
        return mend_failed(w);
    if (w->out == OUT_CHUNKED && reader_in_doubt(c->from))
        return flow_cut(w->flow);
    if (w->out == OUT_CHUNKED) {
        buf_puts(out, "0\r\n");
        if (c->was == CHUNKED && c->from->body.done && c->trailers.len > 0)
            buf_move(out, &c->trailers, c->trailers.len);
        else
            buf_puts(out, "\r\n");
    }
    return writer_done(w, c->from);
}

/* Moves the body that filters print; without filters reader_body() does. */
static bool write_body(struct writer *w)
{
    struct chain *c = w->chain;

    if (c == NULL)
        return false;
    if (mend_body(w))               /* which may have failed, and freed c */
        return true;
    return chain_done(c) && chain_out(c)->len == 0 && mend_end(w);
}

/* The filters of a request print a response: the chain's writer becomes the
   client's, and the server is not asked. True. */
static bool chain_turn(struct chain *c)
{
    struct writer *w = &c->flow->down;

    c->to->state = WRITE_NOTHING;
    c->to->chain = NULL;
    c->to = w;
    c->was = BY_LENGTH;             /* there is no server's body to go by */
    w->chain = c;
    w->state = WRITE_PRINT;
    w->last = c->from->head.close;
    return true;
}

/* Notes status and length of a head that raw filters print, as far as these n
   bytes at p tell, for the line behind == alone. -1: nothing is mended. */
static int print_raw(struct writer *w, const char *p, size_t n)
{
    struct head h;
    int len = head_parse(p, n, w->request, &h);

    w->printed.status = h.status;
    w->printed.at = len > 0 ? (size_t)len : w->chain->from->head.len;
    return -1;
}

/* Waits for the filters to print a head: a request's, a response's, or none. */
static bool write_print(struct writer *w)
{
    struct flow *f = w->flow;
    struct chain *c = w->chain;
    struct buf *src = chain_out(c);
    const char *p = (char *)buf_at(src);
    bool whole = chain_done(c);
    struct target t = f->ex.to;
    int n;

    if (src->len < 5 && !whole)
        return false;
    if (src->len == 0) {
        tell(f, 0, EV_FILTER, "dropped: the filter %s printed nothing",
             chain_silent(c)->command);
        f->ex.fate = "dropped";
        return flow_cut(f);
    }
    if (w->request && src->len >= 5 && memcmp(p, "HTTP/", 5) == 0)
        return chain_turn(c);
    n = c->raw ? print_raw(w, p, src->len)
               : head_more(p, src->len, w->request, &w->printed);
    if (n == 0 && !whole && src->len <= MAX_HEAD)
        return false;
    if (n > 0 && !w->request && w->printed.status < 200 &&
        w->printed.status != 101) { /* goes by itself; another must follow */
        if (w->to->out.len >= MAX_BUF)
            return false;
        buf_move(&w->to->out, src, (size_t)n);
        c->out.bytes -= (uint64_t)n;
        w->printed = (struct head){ 0 };
        return true;
    }
    if (c->from->request && !w->request)
        show_message(f->ex.id, false, p, src->len);
    if (n > 0 && w->request)
        t = request_target(f, p, &w->printed);
    if (n > 0 && opt.verbose > 0 && head_is_mixed(p, (size_t)n))
        tell(f, 1, EV_NOTE, "of the head that the filters print some lines "
             "end in CR LF, and some in LF alone: forwarded so");
    if (n <= 0 && !c->raw)
        tell(f, 0, EV_FILTER, "what the filters print does not begin with a "
             "head: forwarded as it is, up to the connection's end");
    if (n <= 0) {
        w->printed.len = 0;
        w->last |= !c->raw || (!w->request && (c->from->request ||
                                               c->was == UNTIL_CLOSE));
    }
    if (w->request)
        server_want(f, &t);
    w->state = WRITE_HEAD;
    return true;
}

/* Drops the server's connection, which has had nothing of the next request, and
   opens another if that request is there. True. */
static bool server_renew(struct flow *f)
{
    struct target t = f->server.target;

    server_drop(f);
    if (f->up.state == WRITE_HEAD || f->up.state == WRITE_BODY) {
        server_want(f, &t);
        f->up.state = WRITE_HEAD;
    }
    return true;
}

/* Deals with a server that speaks or ends although nothing was asked of it. */
static bool server_idle(struct flow *f)
{
    struct end *e = &f->server.end;

    if (f->server.state != SERVER_UP)
        return false;
    if (e->in.len > 0 && !f->spoken)
        return flow_stream(f, true, "the server spoke first");
    if (e->in.len > 0) {
        tell(f, 0, EV_NOTE, "the server sent something that nobody asked for: "
             "its connection is closed");
        return f->asks.state == READ_HEAD &&
               (!f->server.used || f->server.parting) ? flow_close(f) :
               f->server.used ? server_renew(f) :
               flow_fail(f, 502, "the server spoke before it had the request");
    }
    if (!e->ended)
        return false;
    if (f->server.used &&
        (f->up.state == WRITE_HEAD || f->up.state == WRITE_BODY))
        return server_renew(f);
    if (!f->spoken && e->tls_error != 0) /* TLS 1.3 refuses ours behind the
                                       handshake */
        return server_fail(f, "TLS with %s broke off: %s (%s)",
                           place(&f->server.target), tls_trouble(e),
                           tls_number(e));
    return f->asks.state == READ_HEAD && /* empty lines begin no request */
           f->client.in.len == f->asks.head.lead && flow_close(f);
}

/* Writes the message's head; that of a request as soon as the server is up. */
static bool write_head(struct writer *w)
{
    struct flow *f = w->flow;
    struct reader *r = w->request ? &f->asks : &f->answers;

    if (w->request && f->server.state == SERVER_FAILED)
        return flow_fail(f, f->server.status ? f->server.status : 502, "%s",
                         f->server.failure);
    if (w->request && f->server.state != SERVER_UP)
        return false;
    if (w->request && f->server.used) {
        server_spare(f);
        if (server_idle(f))         /* no answer: RFC 9112, 9.2 */
            return true;
    }
    w->out = OUT_COPY;
    if (w->chain != NULL && w->printed.len > 0 && !mend_head(w))
        return false;
    w->state = WRITE_BODY;
    if (w->chain != NULL)
        return true;
    if (head_is_all(&r->head, f->ex.client_head))
        w->out = OUT_DROP;
    writer_put_head(w, &r->from->in, &r->head, STAYS, 0);
    reader_take(r, r->head.len, NULL);
    return true;
}

/* ---- what a head means */

/* Says that a head has come, and how one will know where its body ends. */
static void message_tell(const struct reader *r)
{
    static const char *const ends[] = {
        [NO_BODY] = "no body",
        [CHUNKED] = "a body in chunks, up to one of size 0",
        [UNTIL_CLOSE] = "a body that ends with the connection"
    };
    const struct flow *f = r->flow;

    if (r->request ? !is_told(2) : opt.verbose < 2)
        return;                     /* JSON has a response when it is over */
    tell(f, 2, r->request ? EV_REQUEST : EV_NOTE, "%.255s has come: a head of "
         "%zu bytes, %s%s", r->request ? text_of("%s %.200s", f->ex.method,
         f->ex.url) : text_of("status %d", r->head.status), r->head.len,
         r->head.unclear ? "a body of which nobody can tell the end" :
         r->body.framing != BY_LENGTH ? ends[r->body.framing] :
         text_of("a body of %" PRIu64 " bytes (Content-Length)",
         r->head.length), r->request && answer_wanted(f, false) ?
         "; Accept-Encoding becomes identity, as a filter may want text" : "");
}

/* Gives the message whose head r has read a chain, if filters match, and the
   head to that. False: the writer gets the message as it is. */
static bool reader_filter(struct reader *r)
{
    struct flow *f = r->flow;
    struct buf *in = &r->from->in;
    const char *coding;

    r->state = READ_BODY;
    r->to->state = WRITE_HEAD;
    if (r->pass || f->untouched || r->head.unclear ||
        response_switches(f, &r->head) || !chain_new(r))
        return false;
    for (const struct run *run = r->chain->run; run->filter && is_told(2);
         run++)
        tell(f, 2, EV_NOTE, "the %s goes through '%.200s'%s%s", r->request ?
             "request" : "response", run->filter->command, run[1].filter ?
             ", and then" : ": what that prints takes its place",
             run[1].filter || !r->request
             ? "" : ", or, if it is a response, answers it");
    if (r->request && r->head.expect && r->head.minor > 0 && !r->body.done) {
        buf_puts(&f->client.out, "HTTP/1.1 100 Continue\r\n\r\n");
        f->ex.continued = true;
    }
    if (!r->chain->raw && r->head.lead > 0) { /* recipes count lines from the
                                                 first */
        reader_take(r, r->head.lead, &r->chain->lead);
        head_parse((char *)buf_at(in), in->len, r->request, &r->head);
    }
    coding = (char *)buf_at(in) + r->head.coding.at;
    if (!r->request && !r->chain->raw && !r->body.done &&
        r->head.coding.len > 0 &&
        !same_word(coding, r->head.coding.len, "identity"))
        tell(f, 0, EV_NOTE, "the body is compressed (%.*s) although filters "
             "want text: they get it so (filters/body undoes that)",
             (int)r->head.coding.len, coding);
    if (tally_wanted())
        tally_add(&r->chain->in, buf_at(&r->from->in), r->head.len);
    reader_take(r, r->head.len, &r->chain->run->in);
    r->to->state = WRITE_PRINT;
    return true;
}

/* Sets ex.host for the request at p. A client of transparent mode, or one that
   looks up names itself, came for an address: SNI or Host tell the name. */
static void exchange_name(struct flow *f, const char *p, const struct head *h)
{
    struct target t;
    bool named;

    strcpy(f->ex.host, f->ex.to.host);
    named = parse_authority(p + h->host.at, h->host.len, 80, &t);
    if (opt.reverse.port != 0 && named && is_mitm_it(t.host))
        strcpy(f->ex.host, t.host);
    if (!f->tunnel || opt.reverse.port != 0 || !parse_ip(f->ex.host, NULL))
        return;
    if (f->client.ssl != NULL && f->hello.sni[0] != '\0')
        strcpy(f->ex.host, f->hello.sni);
    else if (opt.transparent && named)
        strcpy(f->ex.host, t.host);
}

/* Notes method and URL of the request at p: for filters, matches, the log. In a
   tunnel the URL is the tunnel's, whatever origin the target claims, and https
   if both are; without the target's user, who may look like a host. */
static void exchange_note(struct flow *f, const char *p, const struct head *h)
{
    struct exchange *ex = &f->ex;
    const char *target = p + h->target.at, *end = target + h->target.len;
    struct target t = ex->to;
    size_t n = h->target.len;
    struct buf *url = buf_scratch();

    ex->method = copy_text(p + h->method.at, h->method.len);
    ex->path = *target == '/' || *target == '*';
    if (parse_absolute(target, n, &t, &n)) {
        t.port = ex->to.port;
        t.tls &= ex->to.tls;
    }
    put_origin(url, &t, ex->host);
    buf_puts(url, n > 0 && (*(end - n) == '/' || *(end - n) == '*') ? ""
                                                                   : "/");
    buf_put(url, end - n, n);
    ex->url = buf_text(url);
}

/* Answers CONNECT to f.home with 200 before the server is asked for: a failure
   is then told by a page within TLS, as browsers show none for CONNECT. */
static bool tunnel_begin(struct flow *f)
{
    if (!fence_allows(f->home.host, f->home.port))
        return flow_fail(f, 403, "%s is not among --only-hosts",
                         place(&f->home));
    tell(f, 1, EV_OPEN, "%s asks for a tunnel to %s" MORE "(CONNECT): answered "
         "200 before the server is asked, so that failures can be told inside "
         "TLS", f->peer, place(&f->home));
    buf_eat(&f->client.in, f->asks.head.len);
    buf_puts(&f->client.out,
             "HTTP/1.1 200 Connection established\r\n\r\n");
    direction_reset(f, true);
    server_drop(f);                 /* an earlier request's */
    f->spoken = f->untouched = false;
    f->tunnel = true;
    return flow_enter(f, FLOW_FIRST);
}

/* Answers a request for http://mitm.it/ and the n bytes of path: a page, or the
   CA's certificate (the key stays here). */
static bool serve_ca(struct flow *f, const char *path, size_t n)
{
    static const char page[] = "<!DOCTYPE html><title>mitmproxy.c</title>\n"
        "<p>This proxy opens TLS. A browser, system or program that is to "
        "accept that must trust its CA:\n"
        "<p><a href=/mitmproxy.crt>mitmproxy.crt</a> (Linux, macOS, Firefox, "
        "curl --cacert)\n<p><a href=/mitmproxy.cer>mitmproxy.cer</a> (Windows, "
        "Android, iOS)\n", no[] = "There is http://mitm.it/ alone.\n",
        crt[] = "application/x-x509-ca-cert";
    const char *query = memchr(path, '?', n);
    size_t size = query ? (size_t)(query - path) : n, len;
    bool pem = same_word(path, size, "/mitmproxy.crt");
    unsigned char text[8192];

    if (same_word(path, size, "/mitmproxy.cer"))
        return flow_answer(f, 200, crt, ca.crt.raw.p, ca.crt.raw.len);
    if (pem && mbedtls_pem_write_buffer("-----BEGIN CERTIFICATE-----\n",
                                        "-----END CERTIFICATE-----\n",
                                        ca.crt.raw.p, ca.crt.raw.len, text,
                                        sizeof text, &len) == 0)
        return flow_answer(f, 200, crt, text, len - 1); /* without its NUL */
    if (size == 0 || same_word(path, size, "/"))
        return flow_answer(f, 200, "text/html", page, sizeof page - 1);
    f->ex.client_head |= same_word(path, size, "/cert.pem"); /* whose body
                                       curl -O would write over the CA's file */
    return flow_answer(f, 404, "text/plain", no, sizeof no - 1);
}

/* Whether Proxy-Authorization's value has --proxyauth's login (RFC 7617). */
static bool basic_is_authorized(const struct buf *value)
{
    const unsigned char *p = buf_at(value);
    unsigned char login[512];
    size_t n, at = 6;

    while (at < value->len && p[at] == ' ')
        at++;                       /* RFC 9110, 11.4: one or more */
    return value->len > at && strncasecmp((char *)p, "Basic ", 6) == 0 &&
           mbedtls_base64_decode(login, sizeof login, &n, p + at,
                                 value->len - at) == 0 &&
           is_authorized(login, n);
}

/* Whether r's request has --proxyauth's credentials; if not, the client gets
   407. The field leaves the head here, before filters or servers see it. */
static bool request_admit(struct reader *r)
{
    struct buf *in = &r->from->in, *value = buf_scratch();
    bool good;

    head_set(in, r->head.fields, "Proxy-Authorization", NULL, value);
    head_parse((char *)buf_at(in), in->len, true, &r->head);
    good = r->pass || basic_is_authorized(value);
    buf_free(value);
    r->flow->ex.client_head = method_is((char *)buf_at(in), &r->head, "HEAD");
    if (!good)
        flow_fail(r->flow, 407, "this proxy asks for a user and a password");
    return good;
}

/* Outside of a tunnel, --ignore-hosts is asked for each request. */
static void request_ignore(struct flow *f)
{
    bool told = f->untouched;

    f->untouched = host_matches(opt.ignore, f);
    if (f->untouched && !told)
        tell_unseen(f, true, true, false, "passes untouched",
                    "--ignore-hosts says so");
}

/* A request's head has come: finds out where it goes, and whether it may. */
static bool request_begin(struct reader *r)
{
    struct flow *f = r->flow;
    const char *p = (char *)buf_at(&r->from->in);
    const char *end = p + r->head.target.at + r->head.target.len, *why;
    struct target t = f->home;
    size_t n = r->head.target.len;

    if (!f->tunnel && connect_target(p, &r->head, &t)) {
        f->home = t;
        return tunnel_begin(f);
    }
    r->body = body_begin(&r->head, &f->ex);
    if (!r->pass)                   /* else its filters have failed */
        exchange_new(f);
    exchange_method(f, p, &r->head);
    f->ex.client_head = f->ex.head;
    if (!f->tunnel && !parse_absolute(end - n, n, &t, &n) &&
        !direct_target(f, p, &r->head, &t))
        return flow_fail(f, 400, "this is a proxy: it takes http://host/path, "
                         "or CONNECT host:port%s", opt.proxyauth ? "" :
                         ", or /path and a Host that is not this one");
    f->ex.to = t;
    exchange_name(f, p, &r->head);
    if ((opt.filters != NULL || !opt.quiet || is_told(2)) && !r->pass) {
        exchange_note(f, p, &r->head);
        message_tell(r);
    }
    if (opt.only != NULL && opt.transparent) { /* to the name's own address:
                                       the client may have made one up */
        strcpy(f->home.host, f->ex.host);
        f->ex.to = f->home;
    }
    if (is_mitm_it(f->ex.host)) {
        parse_absolute(end - n, n, &t, &n); /* where it is absolute-form */
        return serve_ca(f, end - n, n);
    }
    if (!f->tunnel) {
        f->home = t;
        request_ignore(f);
    }
    if (opt.only != NULL && fence_allows(f->ex.to.host, f->ex.to.port) &&
        f->server.status == 0 &&
        (why = fence_objection(f, p, &r->head)) != NULL)
        return flow_fail(f, 421, "--only-hosts refuses the request to %s: %s",
                         place(&f->ex.to), why);
    f->spoken = true;
    if (reader_filter(r))
        return true;
    if (r->head.unclear)
        reader_unclear(r, r->head.unclear);
    if (f->state != FLOW_RELAY)
        return true;
    t = request_target(f, p, &r->head);
    server_want(f, &t);
    return true;
}

/* A response's head has come: an interim one (1xx), HTTP's last, or another. */
static bool response_begin(struct reader *r)
{
    struct flow *f = r->flow;
    bool switches = response_switches(f, &r->head);

    if (r->head.status == 101 && opt.only != NULL &&
        (!f->ex.upgrade || r->head.h2c))
        return flow_fail(f, 502, "%s switched protocols, which was not asked "
                         "(--only-hosts)", place(&f->ex.to));
    if (switches && !f->tunnel &&
        (opt.proxyauth != NULL || f->client.in.len > 0))
        return flow_fail(f, 502, "%s would get all that comes on this "
                         "connection, which may be for others: to switch "
                         "protocols takes a tunnel here (curl's -p)",
                         place(&f->server.target));
    if (r->head.status < 200 && !switches) { /* interim: others follow */
        if (r->to->to->out.len >= MAX_BUF)
            return false;
        reader_take(r, r->head.len, r->head.status == 100 && f->ex.continued
                                    ? NULL : &r->to->to->out);
        r->head = (struct head){ 0 };
        return true;
    }
    r->body = switches ? (struct body){ .done = true }
                       : body_begin(&r->head, &f->ex);
    if (!r->pass) {
        reader_show(r);
        message_tell(r);
    }
    r->to->last = r->head.close || f->up.last ||
                  (f->ex.head && !f->ex.client_head);
    reader_filter(r);
    return true;
}

/* ---- reading: heads, one after the other, or a stream */

/* The connection that r reads has ended where a head might have begun. */
static bool reader_left(struct reader *r)
{
    struct flow *f = r->flow;
    const char *server = place(&f->server.target);

    if (r->request)
        return flow_close(f);
    if (f->server.used) {           /* RFC 9112, 9.3.1: a server may close when
                                       idle, and clients try again */
        tell(f, 1, EV_CLOSE, "%s closed a connection that had been idle, "
             "without an answer to this: clients try again", server);
        return flow_cut(f);
    }
    if (r->from->tls_error != 0)
        return flow_fail(f, 502, "TLS with %s broke off without an answer: %s "
                         "(%s)", server, tls_trouble(r->from),
                         tls_number(r->from));
    return flow_fail(f, 502, "%s closed the connection without an answer",
                     server);
}

/* Waits for a head; for a response's once some of the request has gone. */
static bool read_head(struct reader *r)
{
    struct flow *f = r->flow;
    struct buf *in = &r->from->in;
    int n;

    if (!r->request)
        server_spare(f);
    if (!r->request && !f->up.sent)
        return server_idle(f);
    if (in->len == 0)
        return r->from->ended ? reader_left(r) : false;
    if (r->request && !f->tunnel && !f->spoken && *buf_at(in) < 6 &&
        *buf_at(in) > 3) {
        f->socks = *buf_at(in);
        return flow_enter(f, FLOW_SOCKS);
    }
    if (r->request && !f->tunnel && !f->spoken && *buf_at(in) == 22 &&
        opt.proxyauth == NULL) {    /* TLS: we are taken for the server */
        f->tunnel = true;
        f->home = (struct target){ .port = 443 };
        return flow_enter(f, FLOW_HELLO);
    }
    n = head_more((char *)buf_at(in), in->len, r->request, &r->head);
    if (r->begun == 0 && in->len > r->head.lead)
        r->begun = now;
    if (n == 0 && in->len > MAX_HEAD)
        return flow_fail(f, r->request ? 431 : 502,
                         "the head is longer than %d bytes", MAX_HEAD);
    if (n == 0 && !r->from->ended)
        return false;
    if (n == 0 && in->len == r->head.lead && (!f->tunnel || opt.only != NULL))
        return reader_left(r);      /* behind empty lines, which say nothing */
    if (n <= 0)
        return reader_unclear(r, n < 0 ? "this is not HTTP/1"
                                     : "its head has no end");
    if (r->request && !f->tunnel && opt.proxyauth != NULL && !request_admit(r))
        return true;
    if (!r->request && head_is_all(&r->head, f->ex.head))
        r->head.unclear = NULL;
    if (!r->request && r->head.unclear == old_coding) {
        n = chunks_begin((char *)buf_at(in) + n, in->len - (size_t)n);
        if (n == 0 && !r->from->ended)
            return false;
        r->head.unclear = n > 0 ? NULL : old_coding;
    }
    if (r->head.unclear && (!r->request || f->tunnel || opt.proxyauth != NULL))
        return reader_unclear(r, r->head.unclear);
    return r->request ? request_begin(r) : response_begin(r);
}

/* The request is complete, the answer not. If the client ends now, so does the
   server's input; and bytes that cannot be the next request make a stream at
   once, instead of waiting for the answer, unless filters are to get that. */
static bool read_turn(struct reader *r)
{
    struct flow *f = r->flow;
    struct buf *in = &r->from->in;

    if (!r->request || !r->body.done || f->up.state != WRITE_DONE ||
        f->up.to->ending)
        return false;
    if (in->len == 0 && r->from->ended && f->server.state == SERVER_UP) {
        end_finish(f->up.to, END_WELL);
        return true;
    }
    if (f->tunnel && in->len > 0 && f->answers.state == READ_HEAD &&
        !f->ex.upgrade &&           /* else they may be that protocol's */
        !answer_wanted(f, true) &&  /* no way around a filter that wants it */
        (head_more((char *)buf_at(in), in->len, true, &r->next) < 0 ||
         (r->from->ended && r->next.len == 0 && in->len > r->next.lead &&
          opt.only == NULL)))
        return flow_stream(f, false, "what follows the request is not HTTP/1");
    return false;
}

/* Parses the client's ClientHello, but a long one that is known to lack bytes
   not again for each byte that drips in. Contract as in 14. */
static int hello_take(const struct flow *f, struct hello *h)
{
    const struct buf *in = &f->client.in;

    return !f->client.ended && in->len > 4096 && in->len < h->enough
           ? 0 : hello_parse(buf_at(in), in->len, h);
}

/* Reads MySQL's SSLRequest, of 36 bytes, off the n bytes at p: packet 1, with
   CLIENT_SSL in its flags. A ClientHello follows without an answer. Contract as
   in 14, but of fewer bytes than a packet's head nothing is made. */
static int ssl_request_parse(const unsigned char *p, size_t n)
{
    if (n < 4 || memcmp(p, "\x20\0\0\1", 4) != 0 || (n > 5 && !(p[5] & 8)))
        return -1;
    return n < 36 ? 0 : 36;
}

/* STARTTLS, PostgreSQL's SSLRequest and the like: whether the client of a
   stream begins TLS after a word of the server's. Then both ends get TLS, once
   all before has gone out. */
static bool stream_upgrades(struct flow *f)
{
    const struct buf *in = &f->client.in;
    struct hello h = f->hello;
    int n;

    if (f->untouched || !f->heard || f->client.ssl || f->server.end.ssl ||
        f->client.ended || f->server.end.in.len > 0 || *buf_at(in) != 22)
        return false;
    n = hello_take(f, &h);
    f->hello.enough = h.enough;
    if (n < 0)
        return false;
    if (n > 0 && f->client.out.len == 0 && f->server.end.out.len == 0 &&
        (f->up.sent || f->asks.bytes == 0)) /* else filters have MySQL's yet */
        flow_enter(f, FLOW_HELLO);
    return true;
}

/* Whether a ServerHello (RFC 8446, 4.1.3) is among in's bytes, one at least. */
static bool has_server_hello(const struct buf *in)
{
    const unsigned char *p = buf_at(in), *end = p + in->len;

    for (; (p = memchr(p, 22, (size_t)(end - p))) && end - p > 10; p++)
        if (p[1] == 3 && p[5] == 2 && p[6] == 0 && p[9] == 3)
            return true;
    return false;
}

/* Whether a stream has something in it that --only-hosts is to see: HTTP, in
   what the client sends before the server has spoken, or in the server's first
   bytes; or unopened TLS that the server agreed to. *wait: too few to tell. */
static bool fence_stops(struct reader *r, bool *wait)
{
    static const char mark[] = "HTTP/";
    struct flow *f = r->flow;
    const struct buf *in = &r->from->in;

    if (opt.only == NULL || f->untouched || host_matches(opt.tcp, f))
        return false;
    if (!r->request && f->client.ssl == NULL && has_server_hello(in))
        return true;
    if (f->spoken || f->down.sent)
        return false;
    for (size_t i = 0; r->request && i < in->len && f->matched < 5; i++) {
        char c = (char)toupper(buf_at(in)[i]);

        f->matched = c == mark[f->matched] ? f->matched + 1 : c == 'H';
    }
    *wait = !r->request && in->len < 5 && !r->from->ended &&
            memcmp(buf_at(in), mark, in->len) == 0;
    return r->request ? f->matched == 5
                 : in->len > 4 && memcmp(buf_at(in), mark, 5) == 0;
}

/* Lets a stream's bytes pass, through filters or as they are. */
static bool read_stream(struct reader *r)
{
    struct flow *f = r->flow;
    struct buf *in = &r->from->in;
    bool wait = false;
    int n = -1;

    if (r->to->to->ending) {        /* nobody takes what still comes */
        buf_eat(in, in->len);
        return false;
    }
    if (f->server.state == SERVER_FAILED) {
        tell(f, 0, f->server.status ? EV_DENY : EV_NOTE, "a stream ends: %s",
             f->server.failure);
        return flow_cut(f);
    }
    if (f->server.state != SERVER_UP)
        return false;
    if (r->request && in->len > 0 && stream_upgrades(f))
        return f->state != FLOW_RELAY;
    if (r->request && f->heard && reader_has_room(r))
        n = ssl_request_parse(buf_at(in), in->len);
    if (n == 0 && !r->from->ended)
        return false;
    if (n > 0) {
        reader_take(r, 36, r->chain ? &r->chain->run->in : &r->to->to->out);
        r->to->sent |= r->chain == NULL;
        r->bytes += 36;
        return true;
    }
    if (in->len > 0)
        f->heard = !r->request;
    if (in->len > 0 && reader_has_room(r) && fence_stops(r, &wait)) {
        tell(f, 0, EV_DENY, "a stream to %s ends: there is HTTP or TLS in it, "
             "and --only-hosts is to see that", place(&f->home));
        return flow_cut(f);
    }
    return !wait && reader_body(r);
}

/* ==== 24 WebSocket ======================================================
   Messages are read from their frames (RFC 6455), and go through filters one
   after the other in each direction, while the next ones wait in the buffer. A
   direction that no filter wants is read, too: a CLOSE of ours must not come in
   a frame. Limit: where a filter wants messages, no extensions are offered. */

/* WebSocket begins: messages are read, if a filter wants some. True. */
static bool frames_begin(struct flow *f)
{
    f->asks.wanted = messages_wanted(f, true);
    f->answers.wanted = messages_wanted(f, false);
    if (!f->stream || !(f->asks.wanted || f->answers.wanted))
        return true;
    tell(f, 1, EV_NOTE, "is WebSocket: its messages go through filters");
    f->asks.state = f->answers.state = READ_FRAMES;
    return true;
}

/* Puts n bytes into w's end as a frame, masked to servers (RFC 6455, 5.3). */
static void message_put(struct writer *w, unsigned char opcode, const void *p,
                        size_t n)
{
    unsigned char mask[4];

    mbedtls_psa_get_random(NULL, mask, sizeof mask);
    if (!w->to->broken)
        frame_put(&w->to->out, opcode, p, n, w->request ? mask : NULL);
}

/* Lets go of the chain of r's message, which has gone on or been dropped. */
static void message_over(struct reader *r)
{
    chain_free(r->chain);
    r->to->state = WRITE_NOTHING;
    r->begun = 0;
}

/* Ends what r's direction writes by CLOSE 1011; within a frame by a reset. */
static void frames_fail(struct reader *r)
{
    static const unsigned char code[] = { 1011 >> 8, 1011 & 255 };
    bool within = r->pass && r->frames.left > 0;

    message_over(r);
    buf_free(&r->message);
    if (!within && !r->to->to->ending)
        message_put(r->to, 8, code, sizeof code);
    end_finish(r->to->to, within ? END_RESET : END_WELL);
}

/* The filters of r's message have failed: --on-error decides. True. */
static bool message_failed(struct reader *r)
{
    struct chain *c = r->chain;
    struct flow *f = r->flow;
    const struct filter *g = c->failed->filter;
    enum on_error what = g->on_error;

    tell(f, 0, EV_FILTER, "the %s filter failed: %s (%.100s): %s",
         g->request ? "request" : "response", c->failure, g->command,
         what == PASS ? "the message is passed as it was" :
         what == FAIL ? "closed with code 1011" : "closed");
    if (what == CLOSE)
        return flow_cut(f);
    if (what == FAIL) {
        frames_fail(&f->asks);
        frames_fail(&f->answers);
        f->since = now;
        return true;
    }
    buf_move(&r->to->to->out, &c->kept, c->kept.len);
    r->pass = !frames_whole(&r->frames);
    message_over(r);
    return true;
}

/* Gives filters a message; wrong, or NULL: why they cannot get it. True. */
static bool message_begin(struct reader *r, const char *wrong)
{
    struct chain *c = chain_new(r);
    struct run *run = c->run;

    c->keep = false;                /* reader_take() need not: here it is */
    buf_move(&c->kept, &r->message, r->message.len);
    c->fed = true;
    r->begun = now;
    r->to->state = WRITE_MESSAGE;
    if (wrong != NULL) {            /* the filter that is strictest decides */
        while (run->filter->on_error == PASS && run[1].filter != NULL)
            run++;
        run_fail(run, "a message cannot be given to it: %s", wrong);
        return true;
    }
    frames_open(&run->in, buf_at(&c->kept), c->kept.len);
    if (opt.verbose > 0)
        show_message(r->flow->ex.id, r->request, run->in.len ?
                     (char *)buf_at(&run->in) : "", run->in.len);
    return true;
}

/* Tells --log-json of r's message: its bytes before the filters, and behind. */
static void message_event(const struct reader *r, size_t came, size_t bytes,
                          bool same)
{
    struct json j;

    event_begin(&j, r->flow, EV_MESSAGE, 0);
    json_put(&j, "opcode", false, r->frames.opcode == 1 ? "text" : "binary");
    json_put(&j, "bytes", true, text_of("%zu", bytes));
    json_put(&j, "came", true, text_of("%zu", came));
    event_end(&j, r->request ? same ? "the client's: unchanged"
                                    : "the client's: changed"
                             : same ? "the server's: unchanged"
                                    : "the server's: changed");
}

/* Writes what the filters have printed, once they are done, as one frame; where
   they changed nothing, the frames that came. */
static bool write_message(struct writer *w)
{
    struct chain *c = w->chain;
    struct buf *src = chain_out(c), *was;
    unsigned char opcode = c->from->frames.opcode;
    bool huge = src->len > MAX_HOLD, same;
    size_t came;

    if (c->failed || !(huge || (chain_done(c) && w->to->out.len < MAX_BUF)))
        return false;
    was = buf_scratch();
    frames_open(was, buf_at(&c->kept), c->kept.len);
    came = was->len;
    same = came == src->len &&
           (came == 0 || memcmp(was->data, buf_at(src), came) == 0);
    buf_free(was);
    if (huge || (!same && opcode == 1 && !is_utf8(buf_at(src), src->len))) {
        run_fail(&c->run[c->count - 1], huge ? "it prints more than 1 MiB"
                 : "it prints a text that is not UTF-8");
        return true;
    }
    if (events->fd >= 0 && (same || src->len > 0))
        message_event(c->from, came, src->len, same);
    if (same)
        buf_move(&w->to->out, &c->kept, c->kept.len);
    else if (src->len > 0)
        message_put(w, opcode, buf_at(src), src->len);
    else
        tell(w->flow, 1, EV_FILTER, "the filter printed nothing: a message is "
             "dropped");
    message_over(c->from);
    return true;
}

/* Reads a piece of r's frames; whether there was one. While filters have a
   message, the frames behind it wait, as they must not overtake it; but PING
   and PONG may, when that takes PATIENCE seconds. */
static bool read_frame(struct reader *r)
{
    struct frames next = r->frames;
    struct buf *in = &r->from->in, *out = r->to->to->broken ? NULL
                                                            : &r->to->to->out;
    ssize_t n = frames_next(&next, buf_at(in), in->len);
    bool control = n > 0 && r->frames.left == 0 && next.frame.opcode & 8;
    bool passes = r->pass || !r->wanted;

    if (n == 0 || (r->chain != NULL && (!control || next.frame.opcode == 8 ||
                                        r->begun != 0)))
        return false;
    if (n < 0) {
        r->frames.left = UINT64_MAX; /* all that follows shares its fate */
        return passes || message_begin(r, "its frames are malformed");
    }
    reader_take(r, (size_t)n, control || passes ? out : &r->message);
    if (control && next.frame.opcode == 8)
        buf_free(&r->message);      /* its last frame will not come */
    if (control)
        return true;
    r->frames = next;
    if (passes)
        r->pass = next.left > 0 || (r->wanted && next.open);
    else if (next.wrong != NULL || r->message.len > 2 * MAX_HOLD)
        message_begin(r, next.wrong ? next.wrong : "its frames are too many");
    else if (frames_whole(&next))
        message_begin(r, NULL);
    return true;
}

/* Reads WebSocket's messages, for filters or to go on as they are. */
static bool read_frames(struct reader *r)
{
    struct end *from = r->from, *to = r->to->to;
    bool moved = false;

    if (to->ending)
        buf_eat(&from->in, from->in.len);
    while (from->in.len > 0 && to->out.len < MAX_BUF &&
           !(r->chain != NULL && r->chain->failed != NULL) && read_frame(r))
        moved = true;
    if (to->ending || r->chain != NULL || !from->ended ||
        to->out.len >= MAX_BUF)
        return moved;
    if (r->message.len == 0)        /* what is left is a part of a frame */
        reader_take(r, from->in.len, to->broken ? NULL : &to->out);
    return writer_done(r->to, r);
}

/* ---- a turn of a flow's messages, of whatever kind */

/* Reads what can be read of a message; whether anything moved. */
static bool reader_step(struct reader *r)
{
    if (r->chain != NULL && r->chain->failed != NULL)
        return r->state == READ_FRAMES ? message_failed(r) : chain_failed(r);
    if (r->state == READ_FRAMES)
        return read_frames(r);
    if (r->flow->stream)
        return read_stream(r);
    if (r->state == READ_HEAD)
        return read_head(r);
    return reader_body(r) || read_turn(r);
}

/* Writes what can be written of a message; whether anything moved. */
static bool writer_step(struct writer *w)
{
    if (w->flow->stream && w->flow->server.state != SERVER_UP)
        return false;
    return w->state == WRITE_PRINT ? write_print(w) :
           w->state == WRITE_HEAD ? write_head(w) :
           w->state == WRITE_BODY ? write_body(w) :
           w->state == WRITE_MESSAGE ? write_message(w) : false;
}

/* Ends the exchange, once the answer is written, and the request is complete or
   cannot become so. Behind Expect: 100-continue and a final answer there may
   come the body or another request (RFC 9110, 10.1.1): the connection ends. */
static bool exchange_end(struct flow *f)
{
    const struct reader *r = &f->asks;
    const struct end *s = &f->server.end;
    bool asked = r->body.done;
    bool lacks = r->head.expect && !r->body.begun && !asked;
    bool ends = f->up.last || f->down.last || lacks;

    if (f->stream || f->down.state != WRITE_DONE ||
        (asked && chain_is_busy(f->asks.chain)))
        return false;
    if (response_switches(f, &f->answers.head)) {
        bool websocket = f->answers.head.websocket;
        bool is_101 = f->answers.head.status == 101;

        exchange_tell(f);
        return flow_stream(f, false, !is_101 ? "a tunnel was opened" :
                           websocket ? "the protocol was switched to WebSocket "
                           "(~w in --match is for its messages)"
                                     : "the protocol was switched") &&
               (!is_101 || !websocket || frames_begin(f));
    }
    if (f->answers.state == READ_BODY && !f->answers.body.done) {
        server_drop(f);             /* its filters did not want the rest */
        ends |= !asked;
    }
    if (!asked && !lacks && !(f->up.sent && (ends || s->ended || s->broken ||
                                             s->in.len >= MAX_BUF)))
        return false;               /* the server takes the rest of it */
    if (ends && f->down.last && reader_in_doubt(&f->answers))
        return flow_cut(f);
    if (ends || stopping || !asked)
        return flow_close(f);
    exchange_tell(f);
    f->server.used = true;
    f->server.parting = r->head.close;
    messages_reset(f);
    exchange_free(&f->ex);
    f->since = now;
    return true;
}

/* Lets the messages of both directions go a step. True when something moved. */
static bool flow_relay(struct flow *f)
{
    bool moved = reader_step(&f->asks);

    moved |= f->state == FLOW_RELAY && writer_step(&f->up);
    moved |= f->state == FLOW_RELAY && reader_step(&f->answers);
    moved |= f->state == FLOW_RELAY && writer_step(&f->down);
    moved |= f->state == FLOW_RELAY && exchange_end(f);
    return moved;
}

/* ==== 25 flows ==========================================================
   What a client's connection goes through before messages pass: the first
   bytes of a tunnel, the two handshakes of an intercepted one. How long it may
   wait, and for what; birth and end. Limit: a flow ends with its one client. */

/* A tunnel's TLS is not to be opened: from here on all passes untouched. The
   filters of a stream have had what came before STARTTLS. */
static bool tunnel_pass(struct flow *f, const char *why)
{
    f->untouched = true;
    f->home.tls = false;
    flow_enter(f, FLOW_RELAY);
    chain_free(f->asks.chain);
    chain_free(f->answers.chain);
    return f->stream || flow_stream(f, false, why);
}

/* Lets messages of a tunnel pass or, by --tcp-hosts, a stream. True. */
static bool tunnel_relay(struct flow *f)
{
    flow_enter(f, FLOW_RELAY);
    if (!f->stream && f->server.state != SERVER_FAILED &&
        host_matches(opt.tcp, f))
        flow_stream(f, true, "--tcp-hosts says so");
    return true;
}

/* The first byte in a tunnel decides: 22 is TLS's handshake (RFC 8446, 5.1),
   all else plain text. True when it is decided. */
static bool tunnel_first(struct flow *f)
{
    const struct buf *in = &f->client.in;

    if (host_matches(opt.ignore, f) &&
        !(opt.only && (in->len == 0 || *buf_at(in) == 22)))
        return tunnel_pass(f, "--ignore-hosts says so");
    if (in->len > 0 && *buf_at(in) == 22)
        return flow_enter(f, FLOW_HELLO);
    if (f->server.state == SERVER_FAILED &&
        (f->client.ended || f->server.error == ELOOP)) { /* the proxy must not
                                       wait for its own connection */
        tell(f, 0, EV_CLOSE, "a tunnel ends: %s", f->server.failure);
        return flow_cut(f);
    }
    return (in->len > 0 || f->client.ended || f->server.end.in.len > 0 ||
            f->server.end.ended) && /* a failure waits for the client's HTTP */
           tunnel_relay(f);
}

/* Clients that have rejected our certificate, newest first: "client name:port"
   and until when what they do there passes untouched. */
static struct pinned {
    char key[64 + MAX_HOST + 16];
    double until;
} pinned[MAX_PINNED];

/* The key of f's client and the name that it asked for. */
static const char *pinned_key(const struct flow *f)
{
    return text_of("%.*s %s:%u", (int)(strrchr(f->peer, ':') - f->peer),
                   f->peer, flow_name(f), f->home.port);
}

/* Whether f's client has rejected our certificate for this name. */
static bool pinned_has(const struct flow *f)
{
    const char *key = pinned_key(f);

    for (const struct pinned *p = pinned;
         p < pinned + MAX_PINNED && p->until > now; p++)
        if (strcmp(p->key, key) == 0)
            return true;
    return false;
}

/* Notes that f's client has rejected our certificate for this name. */
static void pinned_add(const struct flow *f)
{
    memmove(pinned + 1, pinned, sizeof pinned - sizeof *pinned);
    strcpy(pinned->key, pinned_key(f));
    pinned->until = now + 600 * SECOND;
    if (opt.pass_pinned)
        tell(f, 0, EV_NOTE, "what %s does there next is passed untouched for "
             "ten minutes", f->peer);
}

/* Refuses a client that offers HTTP/2 alone, where a filter might match what it
   asks, or --only-hosts is to see that. False: nothing of the kind. */
static bool hello_is_refused(struct flow *f)
{
    struct subject s = { .host = flow_name(f) };
    const struct filter *g = opt.filters;

    for (; g != NULL; g = g->next) {
        s.request = g->request;
        if (match_eval(g->match, &s) & 1)
            break;
    }
    if (!f->hello.h2 || f->hello.http || (g == NULL && opt.only == NULL) ||
        host_matches(opt.tcp, f) || f->stream)
        return false;
    tell(f, 0, EV_DENY, "%s offers HTTP/2 alone to %s:%u, which is not read "
         "here, as %s%s wants: refused by alert 120 no_application_protocol "
         "(--tcp-hosts lets it pass as a stream, --ignore-hosts untouched)",
         f->peer, flow_name(f), f->home.port, g ? "the filter " : "",
         g ? g->command : "--only-hosts");
    buf_put(&f->client.out, "\x15\3\3\0\2\2\x78", 7); /* RFC 7301, 3.2 */
    return flow_close(f);
}

/* A client has begun TLS on the port itself, without CONNECT: home becomes the
   server that SNI names. False: that cannot be, and the flow has ended. */
static bool direct_hello(struct flow *f, bool whole)
{
    const char *sni = f->hello.sni;

    if (!whole || sni[0] == '\0' || name_is_us(sni)) {
        flow_fail(f, 400, "this is no request that a proxy understands: it is "
                  "TLS for %s (the proxy's address in the client must begin "
                  "with http://, for https, too)", *sni ? sni : "a host that "
                  "no SNI names");
        return false;
    }
    strcpy(f->home.host, sni);
    if (client_is_us(f->client.fd)) {
        tell(f, 0, EV_OPEN, "%s is a connection of this proxy's own: the name "
             "%s leads back to it (--connect-to tells where the server is)",
             f->peer, sni);
        *own_goes(address_of(f->client.fd, true)) = 0; /* server_fail()
                                       of the other flow says so */
        f->over = true;
    } else
        tell(f, 1, EV_OPEN, "%s takes this for %s:443" MORE "as the name in "
             "its ClientHello says", f->peer, sni);
    return !f->over;
}

/* Whether the name in f's ClientHello is, with --only-hosts, another than that
   of t, to which f is under way: that is denied. In transparent mode the name
   is what counts: t and the flow's home get it. */
static bool hello_strays(struct flow *f, struct target *t)
{
    if (opt.transparent && !f->stream) {
        strcpy(t->host, strcpy(f->home.host, f->hello.sni));
        return false;
    }
    if (opt.reverse.port != 0 || fence_agrees(t, f->hello.sni))
        return false;
    server_drop(f);
    f->server.target = *t;
    f->server.target.tls = true;
    f->server.status = 421;
    server_fail(f, "the ClientHello asks for %s, but the client came for %s",
                f->hello.sni, place(t));
    return true;
}

/* Says what is in the ClientHello that has just been read, and what is done
   before it is answered. Copies: the server has a certificate. */
static void hello_tell(const struct flow *f, bool copies)
{
    const struct hello *h = &f->hello;
    struct buf *text, *dump;

    if (!is_told(2))
        return;
    text = buf_scratch();
    dump = buf_scratch();
    buf_printf(text, "ClientHello of %u bytes: SNI %s, ALPN%s", 4 +
               get_16(hello_msg + 2), *h->sni ? h->sni : "none",
               h->alpn.len > 0 ? "" : " none");
    for (size_t i = 0; i < h->alpn.len; i += 1u + h->alpn.names[i])
        buf_printf(text, " %.*s", h->alpn.names[i], h->alpn.names + i + 1);
    hello_describe(text, dump);
    tell(f, 2, EV_TLS, "%s" MORE "- in clear text, for anybody on the way%s%s; "
         "the answer waits for the server%s", (char *)text->data, *h->sni ? ""
         : "; it names nobody, and is taken to mean ", *h->sni ? "" :
         flow_name(f), copies ? ", whose certificate is to be copied" : "");
    if (opt.verbose > 1)
        tell(f, 2, EV_TLS, "its bytes: %s", (char *)dump->data);
    buf_free(text);
    buf_free(dump);
}

/* Reads the ClientHello and goes for the server: its certificate must be seen
   before the client is answered. */
static bool tunnel_hello(struct flow *f)
{
    struct buf *in = &f->client.in;
    int n = hello_take(f, &f->hello);
    struct target t;

    if (n == 0 && !f->client.ended)
        return false;
    if (f->home.host[0] == '\0' && !direct_hello(f, n > 0))
        return true;
    t = f->home;
    if (f->hello.absurd || (n <= 0 && opt.only != NULL && in->len > 1 &&
                            buf_at(in)[1] == 3)) {
        tell(f, 0, EV_TLS, "%s %s: closed", f->peer, f->hello.absurd ?
             "asks for a server name that cannot be one" :
             "begins TLS in a way that --only-hosts cannot read");
        f->over = true;
        return true;
    }
    if (n <= 0) {
        f->state = FLOW_RELAY;
        if (!f->stream)
            flow_stream(f, true, "it begins like TLS, but is not");
        f->heard = false;           /* no STARTTLS, either */
        return true;
    }
    if (opt.only != NULL && f->hello.sni[0] != '\0' && hello_strays(f, &t))
        return flow_enter(f, FLOW_SERVER);
    if (host_matches(opt.ignore, f))
        return tunnel_pass(f, "--ignore-hosts says so");
    if (opt.pass_pinned && pinned_has(f)) {
        tell(f, 0, EV_TLS, "%s is passed untouched: it has rejected our "
             "certificate for %s (--pass-pinned)", f->peer, flow_name(f));
        return tunnel_pass(f, "--pass-pinned says so");
    }
    if (hello_is_refused(f))
        return true;
    t.tls |= opt.reverse.port == 0 || f->stream;
    hello_tell(f, t.tls);
    flow_enter(f, FLOW_SERVER);
    if (f->server.state == SERVER_UP && !f->server.end.ended && t.tls &&
        f->server.end.ssl == NULL)
        server_tls(f);              /* WAIT_SILENT has connected already */
    else if (f->server.state == SERVER_NONE ||
             f->server.state == SERVER_UP)
        server_want(f, &t);
    else                            /* connecting: TLS is to follow */
        f->server.target.tls = t.tls;
    return true;
}

/* The ALPN name that the client is answered with: the server's choice; http/1.1
   where the server made none and it was offered. */
static struct alpn client_alpn(const struct flow *f)
{
    const struct end *e = &f->server.end;
    const char *name = e->ssl ? mbedtls_ssl_get_alpn_protocol(e->ssl) : NULL;
    struct alpn a = { 0 };

    if (name == NULL)
        return server_alpn(f) == &http11 ? http11 : a;
    a.len = (unsigned char)snprintf((char *)a.names, sizeof a.names, "%c%s",
                                    (int)strlen(name), name);
    return a;
}

/* Whether there is the RSA key of leaves, or it cannot be had. A helper makes
   the key when the first client wants that; those that come meanwhile are given
   the same, one after the other. */
static bool rsa_settled(struct flow *f)
{
    struct server *s = &f->server;
    struct buf *der;

    if (ca.has_rsa && s->inquiry == NULL)
        return true;
    if (!inquiry_done(f, &rsa_maker, "", ""))
        return false;
    der = chain_out(s->inquiry);
    ca.has_rsa = ca.has_rsa ||
                 mbedtls_pk_parse_key(&ca.rsa_key, buf_at(der), der->len, NULL,
                                      0 WITH_RANDOM) == 0;
    mbedtls_platform_zeroize(der->data, der->cap);
    inquiry_end(s);
    return true;
}

/* The server is up or has failed: begins the client's handshake by a leaf. */
static bool tunnel_server(struct flow *f)
{
    struct server *s = &f->server;
    const char *name = flow_name(f);
    const mbedtls_x509_crt *crt = NULL;
    const struct known *old;
    struct alpn alpn;
    int error;

    if ((s->state != SERVER_UP && s->state != SERVER_FAILED) ||
        (f->hello.rsa && !rsa_settled(f)))
        return false;
    if (s->state == SERVER_UP && s->end.ssl != NULL) {
        crt = mbedtls_ssl_get_peer_cert(s->end.ssl);
        f->leaf = known_get(s->known->key);
    } else
        f->leaf = known_get(text_of("!/%s/%d", name, f->hello.rsa));
    old = f->leaf->leaf.version != 0 ? f->leaf : NULL;
    error = known_leaf(&f->leaf, crt, name, f->hello.rsa);
    alpn = client_alpn(f);
    if (error != 0 || !tls_start(&f->client, &alpn, &f->hello, f->leaf)) {
        tell(f, 0, EV_TLS, "cannot forge a certificate for %s: %s", name,
             f->hello.rsa && !ca.has_rsa ? "no RSA key could be made" :
             error ? tls_strerror(error) : "out of memory");
        f->over = true;
        return true;
    }
    cert_tell(f, f->leaf == old ? "prepared for the client, as before" :
              crt != NULL ? "prepared for the client, with the server's "
              "subject and names" : "prepared for the client, a bare one, as "
              "there is none that may be copied", &f->leaf->leaf);
    f->home.tls |= opt.reverse.port == 0;
    return flow_enter(f, FLOW_CLIENT);
}

/* Why the client refused our handshake, in words; left: without an alert. */
static const char *refusal(const struct end *e, bool left)
{
    if (e->tls_error == MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL)
        return "it speaks no HTTP/1.1 (ALPN)";
    if (e->alert == 42 || e->alert == 46) /* RFC 8446, 6.2 */
        return "it does not accept our certificate: it does not know our CA, "
               "or pins the server's own";
    if (e->alert == 48)
        return "it does not know our CA";
    if (e->alert == 70 || (e->alert == 0 && !left))
        return shake_strerror(e->alert == 0 ? e->tls_error :
                              MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION);
    return !left ? "it gave up"
           : "it left, perhaps since it does not accept our certificate";
}

/* Waits for the client's handshake to end, well or not: the client may leave,
   or send an alert about our certificate (RFC 8446, 6.2). */
static bool tunnel_client(struct flow *f)
{
    const struct end *e = &f->client;
    bool left = e->alert == 0 &&
                (e->tls_error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE ||
                 e->tls_error == MBEDTLS_ERR_SSL_CONN_EOF ||
                 e->tls_error == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
    bool rejects = left || (e->alert >= 42 && e->alert <= 49 && e->alert != 47);
    const char *alpn;

    if (e->ready) {
        alpn = mbedtls_ssl_get_alpn_protocol(e->ssl);
        tell(f, 1, EV_TLS, "%s with %s for %s" MORE "by %s, ALPN %s: %s",
             mbedtls_ssl_get_version(e->ssl), f->peer, flow_name(f),
             mbedtls_ssl_get_ciphersuite(e->ssl), alpn ? alpn : "none",
             e->vouched ? "a full handshake, in which it has not objected to "
             "our certificate" : "resumed by a ticket of ours: it was shown no "
             "certificate");
        tunnel_relay(f);
        if (!f->stream && alpn != NULL && strcmp(alpn, "h2") == 0)
            flow_stream(f, false, "it is HTTP/2");
        return true;
    }
    if (e->tls_error == 0)
        return false;
    tell(f, 0, EV_TLS, "the TLS handshake with %s for %s failed: %s (%s)%s",
         f->peer, flow_name(f), refusal(e, left), tls_number(e),
         rejects ? "; the CA to install in it: asked of this proxy, "
         "http://mitm.it/ has it" : "");
    if (opt.pass_pinned && rejects)
        pinned_add(f);
    return flow_close(f);
}

/* Whether f's client speaks HTTP on another connection whose TLS is open. */
static bool client_accepts(const struct flow *f)
{
    size_t n = (size_t)(strrchr(f->peer, ':') - f->peer) + 1;
    const struct flow *g = flows;

    while (g != NULL && !(g->client.ssl != NULL && g->spoken &&
                          strncmp(g->peer, f->peer, n) == 0))
        g = g->next;
    return g != NULL;
}

/* Tells of a client that leaves right after the handshake, without a word:
   GnuTLS (wget, git) looks at our certificate only then, and so do clients that
   pin a key. A browser that drops a connection made in advance takes longer,
   and Chromium sends no close_notify. Told once in ten minutes. */
static void client_left(struct flow *f)
{
    const struct end *c = &f->client;

    if (c->ssl == NULL || f->spoken || f->stream ||
        c->in.len > 0 || !(c->ended || c->broken) ||
        now - f->since > SECOND * (opt.pass_pinned ? 3 :
                                   c->ended == ENDED_WELL ? 1 : 0.1) ||
        pinned_has(f) || (!opt.pass_pinned && c->ended != ENDED_WELL &&
                          client_accepts(f)))
        return;
    tell(f, 0, EV_TLS, "%s left behind the TLS handshake for %s and asked for "
         "nothing, as those do that want to see a certificate, that do not "
         "know our CA (asked of this proxy, http://mitm.it/ has it), or that "
         "pin the server's own key (--pass-pinned)", f->peer, flow_name(f));
    pinned_add(f);
}

/* Takes --proxy-protocol's header, of addr and peer, off what has come. */
static bool client_proxied(struct flow *f)
{
    struct buf *in = &f->client.in;
    int n = proxied_parse(buf_at(in), in->len, &f->addr);

    if (n < 0 || (n == 0 && f->client.ended && in->len > 0))
        tell(f, 0, EV_DENY, "%s does not begin with the header for which "
             "--proxy-protocol asks (send-proxy, proxy_protocol on): closed",
             f->peer);
    f->over |= n < 0 || f->client.ended;
    if (n <= 0)
        return false;
    buf_eat(in, (size_t)n);
    snprintf(f->peer, sizeof f->peer, "%s", address_text(&f->addr));
    return flow_enter(f, f->tunnel ? FLOW_FIRST : FLOW_RELAY);
}

/* Lets a flow go a step, by its state. True when something moved. */
static bool flow_step(struct flow *f)
{
    static bool (*const steps[])(struct flow *) = {
        [FLOW_PROXIED] = client_proxied, [FLOW_SOCKS] = socks_ask,
        [FLOW_REACH] = socks_answer, [FLOW_FIRST] = tunnel_first,
        [FLOW_HELLO] = tunnel_hello, [FLOW_SERVER] = tunnel_server,
        [FLOW_CLIENT] = tunnel_client, [FLOW_RELAY] = flow_relay
    };
    bool moved = tls_pump(&f->client);

    moved |= server_step(f);
    end_tell(f, &f->client, NULL);
    end_tell(f, &f->server.end, NULL);
    if (f->state == FLOW_RELAY)
        client_left(f);
    if (f->state == FLOW_CLOSING)
        buf_free(&f->client.in);
    else
        moved |= steps[f->state](f);
    if (f->state == FLOW_SOCKS && !moved && f->client.ended)
        flow_close(f);              /* the rest will not come */
    return moved;
}

/* ---- how long a flow may wait, and for what */

/* Whether nothing more can happen on f. */
static bool flow_over(const struct flow *f)
{
    const struct end *c = &f->client, *s = &f->server.end;

    if (f->over || c->broken)
        return true;
    if (f->state == FLOW_CLOSING)
        return c->ending == END_SHUT && c->fd_done;
    return f->stream && c->ending == END_SHUT &&
           (s->broken || s->fd < 0 || (s->ending == END_SHUT &&
            (f->asks.state != READ_FRAMES || (c->fd_done && s->fd_done))));
}

/* Whether the message waits for its filters, and not for a peer. */
static bool chain_at_work(const struct chain *c)
{
    return c != NULL && !chain_done(c) &&
           (c->fed || c->run->in.len > 0 || !c->started);
}

/* Whether messages wait for a place of --jobs at this filter. */
static bool filter_is_wanted(const struct filter *f)
{
    for (const struct chain *c = chains; c != NULL; c = c->next)
        for (const struct run *r = c->run; !c->started && r->filter; r++)
            if (r->filter == f)
                return true;
    return false;
}

/* Whether c waits for a peer to take what its filters print. If it does, or
   waits for a peer to give them more, while other messages want a place of
   --jobs that a filter of c has: *wanted, and *since when. */
static bool chain_is_held(const struct chain *c, bool *wanted, double *since)
{
    bool held = c != NULL && c->started && !run_has_room(&c->run[c->count]);

    if (c == NULL || !c->started || (!held && (c->fed || c->run->in.len > 0)))
        return false;
    for (const struct run *r = c->run; r->filter != NULL; r++)
        if (!r->exited && filter_is_wanted(r->filter)) {
            *wanted = true;
            *since = c->since;
        }
    return held;
}

/* Whether a filter with --timeout 0 is at work: a person may be editing. */
static bool chain_may_last(const struct chain *c)
{
    if (!chain_at_work(c))
        return false;
    for (const struct run *r = c->run; r->filter != NULL; r++)
        if (r->filter->timeout <= 0 && !run_printed(r) && run_has_room(r + 1))
            return true;
    return false;
}

/* What the messages under way wait for, and *since when. */
static enum wait message_wait(const struct flow *f, double *since)
{
    bool asked = f->asks.body.done && f->up.state == WRITE_DONE;
    bool held, wanted = false;

    *since = f->moved;
    if (f->down.state == WRITE_BODY && f->answers.head.unclear && asked &&
        f->client.in.len > 0)
        return WAIT_UNCLEAR;        /* the client took the answer for whole */
    if (!f->client.ended &&
        (chain_may_last(f->asks.chain) || chain_may_last(f->answers.chain)))
        return WAIT_PERSON;
    held = chain_is_held(f->asks.chain, &wanted, since);
    held |= chain_is_held(f->answers.chain, &wanted, since);
    if (held || wanted)
        return wanted ? WAIT_TAKE : f->stream ? WAIT_STREAM : WAIT_BODY;
    if (f->stream || chain_at_work(f->asks.chain) ||
        chain_at_work(f->answers.chain))
        return WAIT_STREAM;
    if (asked && !f->client.ended && f->client.out.len == 0 &&
        f->client.wire_out.len == 0 &&
        f->down.state > WRITE_NOTHING && f->down.state < WRITE_DONE)
        return WAIT_STREAM;         /* perhaps server-sent events */
    return (asked || f->asks.head.unclear) && f->answers.state == READ_HEAD
           ? WAIT_ANSWER : WAIT_BODY;
}

/* What a flow waits for, and *since when: waits[] has the seconds. */
static enum wait flow_wait(const struct flow *f, double *since)
{
    const struct server *s = &f->server;

    *since = f->since;
    if (f->state == FLOW_CLOSING)
        return f->client.ending == END_SHUT ? WAIT_CLOSE : WAIT_BODY;
    if (f->state == FLOW_PROXIED || f->state == FLOW_SOCKS ||
        f->state == FLOW_HELLO || f->state == FLOW_CLIENT)
        return f->state == FLOW_PROXIED ? WAIT_PROXIED :
               f->state == FLOW_SOCKS ? WAIT_FIRST :
               f->state == FLOW_HELLO ? WAIT_HELLO : WAIT_CLIENT_TLS;
    if (s->state >= SERVER_LOOKUP && s->state <= SERVER_TLS) {
        *since = s->since;
        return s->state == SERVER_LOOKUP ? WAIT_LOOKUP :
               s->state == SERVER_PROXY ? WAIT_PROXY :
               s->state == SERVER_TLS ? WAIT_SERVER_TLS :
               s->tried < s->addrs ? WAIT_CONNECT_MORE : WAIT_CONNECT;
    }
    if (f->state == FLOW_FIRST)
        return s->state == SERVER_NONE ? WAIT_SILENT :
               s->state == SERVER_FAILED ? WAIT_FIRST : WAIT_IDLE;
    if (f->asks.state == READ_HEAD && f->asks.begun != 0) {
        *since = f->asks.begun;
        return WAIT_HEAD;
    }
    if (f->asks.state == READ_HEAD) {
        if (f->client.wrote > f->since)
            *since = f->client.wrote; /* when the last answer was taken */
        return f->spoken || f->tunnel ? WAIT_IDLE : WAIT_FIRST;
    }
    if (f->asks.state == READ_FRAMES && f->client.ending && s->end.ending)
        return f->client.ending == END_SHUT && s->end.ending == END_SHUT
               ? WAIT_CLOSE : WAIT_BODY;
    return message_wait(f, since);
}

/* f has waited too long for w: tries something else, or ends f. */
static void flow_expire(struct flow *f, enum wait w)
{
    const char *what = waits[w].what, *server = place(&f->server.target);
    double seconds = waits[w].seconds;
    const char *waited = text_of("waited %g seconds for %s", seconds, what);

    flow_wake(f);
    if (f->state == FLOW_CLOSING && f->client.ending != END_SHUT) {
        tell(f, 0, EV_CLOSE, "%s: waited %g seconds for the client to take the "
             "rest: cut off", f->peer, seconds);
        f->over = true;
        return;
    }
    switch (w) {
    case WAIT_SILENT:
        tell(f, 1, EV_CLOSE, "%s: %s: perhaps the server speaks first",
             f->peer, waited);
        server_want(f, &f->home);
        return;
    case WAIT_CONNECT_MORE:
        tell(f, 1, EV_CLOSE, "%s: %s: the next is tried", server, waited);
        /* fall through */
    case WAIT_CONNECT:
        server_refused(&f->server, ETIMEDOUT, text_of("no success in %g "
                       "seconds of waiting for %s", seconds, what));
        server_connect(f);
        return;
    case WAIT_LOOKUP:
    case WAIT_PROXY:
    case WAIT_SERVER_TLS:
        f->server.error = ETIMEDOUT;
        server_fail(f, "%s: no success in %g seconds of waiting for %s",
                    server, seconds, what);
        return;
    case WAIT_UNCLEAR: case WAIT_BODY: case WAIT_STREAM: case WAIT_TAKE:
        if (f->down.sent || f->stream) {
            tell(f, 0, EV_CLOSE, "%s: cut off", waited);
            flow_cut(f);
            return;
        }
        /* fall through */
    case WAIT_HEAD:
    case WAIT_ANSWER:
        flow_fail(f, w != WAIT_ANSWER && !f->asks.body.done &&
                  reader_has_room(&f->asks) ? 408 : 504, "%s", waited);
        return;
    default:
        if (f->state == FLOW_FIRST && f->server.state == SERVER_FAILED)
            tell(f, 0, EV_CLOSE, "a tunnel ends: %s", f->server.failure);
        tell(f, w != WAIT_PROXIED, EV_CLOSE, "%s: %s: closed", f->peer, waited);
        f->over = true;
    }
}

/* ---- birth and end */

/* A flow for a client that has connected; NULL: there is no memory. */
static struct flow *flow_new(int fd, const struct sockaddr_storage *addr)
{
    struct flow *f = calloc(1, sizeof *f);

    if (f == NULL)
        return NULL;
    f->client.fd = fd;
    end_reset(&f->client, true);    /* what close() does, if nothing better */
    f->client.ready = true;
    f->server.end.fd = -1;
    messages_reset(f);
    f->tunnel = opt.transparent || opt.reverse.port != 0;
    f->home = opt.transparent ? address_target(original_address(fd))
                              : opt.reverse;
    f->state = opt.proxied ? FLOW_PROXIED :
               f->tunnel ? FLOW_FIRST : FLOW_RELAY;
    f->addr = *addr;
    f->since = f->moved = f->woken = f->born = now;
    f->number = ++shared->last_flow;
    snprintf(f->peer, sizeof f->peer, "%s", address_text(addr));
    if (opt.transparent && client_is_us(fd)) {
        tell(f, 0, EV_DENY, "our own connection to %s comes back to us: closed "
             "(the packet filter must leave this proxy's user out)",
             place(&f->home));
        f->over = true;
    }
    f->next = flows;
    if (flows != NULL)
        flows->prev = f;
    flows = f;
    nflows++;
    tell(f, 1, EV_OPEN, "%s has connected" MORE "%s%s%s", f->peer,
         opt.transparent ? "on its way to " : opt.reverse.port ?
         "and takes this for " : "", f->home.host, opt.transparent ?
         ": the packet filter has sent it here" : "");
    return f;
}

/* Whether a flow has nothing under way that is worth waiting for. */
static bool flow_idle(const struct flow *f)
{
    return f->state == FLOW_CLOSING ? f->client.ending == END_SHUT :
           f->state == FLOW_FIRST || f->state == FLOW_SOCKS ||
           f->state == FLOW_PROXIED || f->state == FLOW_HELLO ||
           (f->asks.state == READ_HEAD &&
            f->client.in.len == f->asks.head.lead &&
            f->client.out.len == 0 && f->client.wire_out.len == 0);
}

/* Frees a flow. If the client has not got all (we stop, or have no memory), RST
   tells that, where without TLS a FIN would look like the end. */
static void flow_free(struct flow *f)
{
    bool idle = flow_idle(f), cut = f->client.ssl == NULL && !idle,
         parted = idle && end_part(&f->client);

    exchange_tell(f);
    if (f->client.ending != END_SHUT)
        end_reset(&f->client, cut);
    end_tell(f, &f->client, parted ? NULL : cut ? "RST" : "close()");
    server_drop(f);
    messages_reset(f);
    tell(f, 1, EV_CLOSE, "%s has gone" MORE "after %lu exchange%s", f->peer,
         f->exchanges, f->exchanges == 1 ? "" : "s");
    end_close(&f->client);
    known_drop(f->leaf);
    exchange_free(&f->ex);
    if (f->next != NULL)
        f->next->prev = f->prev;
    *(f->prev ? &f->prev->next : &flows) = f->next;
    nflows--;
    free(f);
}

/* ==== 26 loop ===========================================================
   Arm, select(), accept, read, let each flow go as far as it can, start what
   waits, settle: once around is a turn. Interest and the nearest deadline are
   computed afresh in each. Limit: most turns look at flows awake alone. */

/* The flow behind f, or the first if f is NULL, that is looked at in this turn;
   NULL: none. Sleeping flows, perhaps thousands, are for full turns alone. */
static struct flow *next_flow(const struct flow *f)
{
    struct flow *next = f ? f->next : flows;

    return next != NULL && (full_turn || now - next->woken < AWAKE) ? next
                                                                    : NULL;
}

/* Calls work(it), which concerns f alone: if memory runs out, f ends, and
   others get what it had. */
static void flow_attempt(struct flow *f, void (*work)(void *), void *it)
{
    if (attempt(work, it))
        return;
    tell(f, 0, EV_CLOSE, "%s is closed: out of memory", f->peer);
    flow_wake(f);
    f->over = true;
}

/* Calls work() for each flow that is looked at in this turn. */
static void each_flow(void (*work)(void *))
{
    for (struct flow *f = next_flow(NULL), *next; f != NULL; f = next) {
        next = next_flow(f);        /* work may move f, or free it */
        flow_attempt(f, work, f);
    }
}

/* About how many descriptors are in use. A flow may want two. */
static int fds_used(void)
{
    int n = 16 + 2 * nflows;        /* standard ones, listener, pipes, files */

    for (const struct child *p = children; p != NULL; p = p->next)
        n += (p->in >= 0) + (p->out >= 0);
    return n;
}

/* Whether the filters of c may be started now: there is a place of --jobs at
   each, and there are descriptors, or no other filters to give some back. */
static bool chain_may_start(const struct chain *c)
{
    bool others = false;

    for (const struct run *r = c->run; r->filter != NULL; r++)
        if (!r->filter->coprocess &&
            !filter_is_free(r->filter, !run_has_room(c->run), c->fed))
            return false;
    for (const struct child *p = children; p != NULL; p = p->next)
        others |= !p->filter->coprocess;
    return !others || fds_used() + 2 * c->count + 2 < fd_limit;
}

/* Counts the bytes for and from coprocesses. Beyond waiting_max() no coprocess
   could be asked any more: the flow ends whose peer has been slow longest. */
static void answers_count(void)
{
    struct chain *held = NULL;

    waiting_len = 0;
    for (struct chain *c = chains; c != NULL; c = c->next)
        for (const struct run *r = c->run; r->filter != NULL; r++) {
            const struct buf *out = &r[1].in;

            if (!r->filter->coprocess)
                continue;
            waiting_len += r->in.len + out->len + out->start; /* in memory */
            if (r->exited && out->len > MAX_BUF &&
                (held == NULL || c->since < held->since))
                held = c;
        }
    if (held == NULL || waiting_len <= waiting_max())
        return;                     /* in this order: the latter is a call */
    tell(held->flow, 0, EV_CLOSE, "is cut off, as its peer takes little of it: "
         "messages of %zu bytes wait", waiting_max());
    flow_wake(held->flow);
    held->flow->over = true;
}

/* Whether the name that c asks for may be looked up now: while its client has
   fewer look-ups at work than are free, so that one client's stuck names do not
   keep others' from being looked up. If not, the client's oldest that has taken
   GIVES_WAY seconds is put off; anybody's, where the client has none. */
static bool lookup_is_due(const struct chain *c)
{
    const char *peer = c->flow->peer;
    size_t n = (size_t)(strrchr(peer, ':') - peer) + 1;
    struct child *oldest[2] = { NULL, NULL }, *p;
    int own = 0;

    for (p = children; p != NULL; p = p->next)
        if (p->filter == &lookups && p->run != NULL) {
            bool same = strncmp(p->run->chain->flow->peer, peer, n) == 0;

            own += same;
            for (int i = 0; i <= same; i++)
                if (oldest[i] == NULL || p->moved < oldest[i]->moved)
                    oldest[i] = p;
        }
    p = oldest[own > 0];
    if (own >= MAX_RESOLVERS - lookups.running && p != NULL &&
        now - p->moved >= GIVES_WAY * SECOND) {
        own -= own > 0;
        inquiry_again(p->run);
        copro_end(p, "others wait");
    }
    return own < MAX_RESOLVERS - lookups.running;
}

/* Starts the filters of messages that wait for a place of --jobs, the oldest
   first. A coprocess gets whole messages alone, as a peer might stall. */
static void start_filters(void)
{
    for (struct chain *c = chains; c != NULL; c = c->next) {
        if (!c->started) {
            c->started = chain_may_start(c);
            c->since = now;
        }
        for (struct run *r = c->run; c->started && !c->failed &&
             !c->flow->over && r->filter != NULL; r++)
            if (run_waits(r) && (!r->filter->coprocess ||
                (run_fed(r) && filter_is_free(r->filter, true, true) &&
                 (r->filter != &lookups || lookup_is_due(c)))))
                flow_attempt(c->flow, run_start, r);
    }
}

/* ---- what select() is asked */

/* Has select() watch what e waits for. */
static void end_arm(struct end *e)
{
    if (end_wants_read(e))
        fds_add(readable, e->fd);
    if (end_wants_write(e))
        fds_add(writable, e->fd);
}

/* Lowers *left to the time at which a filter of c has made no progress for
   --timeout; fails those for which it has come. A filter whose output nobody
   takes, or whose input is yet to come, is not to blame. */
static void chain_arm(struct chain *c, double *left)
{
    bool works = false;

    for (struct run *r = c->run; c->started && r->filter != NULL; r++) {
        bool waits = (run_out(r) >= 0 && !run_wants_read(r)) ||
                     (r->filter->coprocess ? r->child == NULL :
                      r->in.len == 0 && !run_fed(r));
        double rest = (r->filter->coprocess && r->child ? r->child->moved :
                       r->moved) + r->filter->timeout * SECOND - now;

        if (r->exited && run_out(r) < 0)
            continue;
        works |= !waits;
        if (waits || r->filter->timeout <= 0) {
            r->moved = now;
            continue;
        }
        sooner(left, rest);
        if (rest <= 0)
            run_fail(r, r->child && r->filter->coprocess &&
                     r->child->answer.len == 0 ? "no answer in %g s: does it "
                     "flush what it prints, and is it a coprocess?" :
                     r->exited ? "no progress for %g s: it has ended, but not "
                     "what it started, which holds its output" :
                     "no progress for %g s", r->filter->timeout);
    }
    if (c->worked != 0)
        c->since += now - c->worked;
    c->worked = works ? now : 0;
}

/* Has select() watch what p waits for. */
static void child_arm(const struct child *p)
{
    const struct run *r = p->run;

    if (p->filter->coprocess ? p->question.len > 0 : r != NULL && p->in >= 0 &&
        (r->in.len > 0 || run_fed(r)))
        fds_add(writable, p->in);
    if (p->filter->coprocess || (r != NULL && run_wants_read(r)))
        fds_add(readable, p->out);
}

/* Has select() watch all children; sends SIGKILL to those that SIGTERM has not
   ended, ends coprocesses that are dead or late; *left as in chain_arm(). */
static void children_arm(double *left)
{
    double patience = waits[WAIT_KILL].seconds;

    for (struct child *p = children, *next; p != NULL; p = next) {
        bool copro = p->filter->coprocess, dead = copro && p->pid == 0;
        bool timed = copro ? dead || (p->busy && p->run == NULL &&
                                      p->filter->timeout > 0)
                           : p->killed != 0 && !p->slain;
        double rest = (copro ? p->moved : p->killed) - now + SECOND *
                      (copro && !dead ? p->filter->timeout : patience);

        next = p->next;
        if (timed)
            sooner(left, rest);
        if (!timed || rest > 0) {
            child_arm(p);
            continue;
        }
        if (copro) {                /* a grandchild may keep its output open */
            copro_end(p, dead ? "it has ended" : "it made no progress");
            continue;
        }
        say(0, "waited %g seconds for %s: killed: %s", patience,
            waits[WAIT_KILL].what, p->filter->command);
        group_kill(p, SIGKILL);
        p->slain = true;
    }
    for (const struct filter *f = &lookups; f != NULL; f = f->next)
        if (chains != NULL && f->not_before > now)
            sooner(left, f->not_before - now);
    if (lookups.running > 0)
        sooner(left, GIVES_WAY * SECOND / 4);
}

/* Lowers *left to the time at which a PING need not wait any more behind a
   message that filters have: read_frame(). */
static void reader_arm(struct reader *r, double *left)
{
    double rest = r->begun + PATIENCE * SECOND - now;

    if (!r->flow->stream || r->begun == 0 || r->from->in.len == 0)
        return;
    sooner(left, rest);
    if (rest <= 0) {
        r->begun = 0;
        flow_wake(r->flow);
    }
}

/* Has select() watch what f waits for; lowers *left to f's deadline. */
static void flow_arm(struct flow *f, double *left)
{
    double since;
    enum wait w = flow_wait(f, &since);
    double rest = since + waits[w].seconds * SECOND - now;

    if (rest <= 0)
        flow_wake(f);
    reader_arm(&f->asks, left);
    reader_arm(&f->answers, left);
    sooner(left, f->wake ? 0 : rest);
    if (end_lingers(&f->client) || end_lingers(&f->server.end))
        sooner(left, LINGER);
    end_arm(&f->client);
    end_arm(&f->server.end);
}

/* Has select() watch all; returns the seconds to the nearest deadline. */
static double arm(void)
{
    double left = 3600;

    fds_clear();
    fds_add(readable, self_pipe[0]);
    if (parent_pipe[0] >= 0 && !stopping)
        fds_add(readable, parent_pipe[0]);
    if (listener >= 0 && now >= accept_after)
        fds_add(readable, listener);
    else if (listener >= 0)
        sooner(&left, accept_after - now);
    for (struct sink *s = sinks; s < sinks + SINKS; s++)
        if (now < s->pause)
            sooner(&left, s->pause - now);
        else if (s->fd >= 0 && s->buf.len > 0)
            fds_add(writable, s->fd);
    for (struct chain *c = chains; c != NULL; c = c->next)
        chain_arm(c, &left);
    children_arm(&left);
    for (struct flow *f = next_flow(NULL), *next; f != NULL; f = next) {
        next = next_flow(f);
        flow_arm(f, &left);
    }
    if (stopping)
        sooner(&left, 0.1);
    return left;
}

/* ---- accept, read, write */

/* Whether f's client has been silent for IDLE seconds, and no server is being
   reached, or may be about to speak first. */
static bool flow_sleeps(const struct flow *f)
{
    return flow_idle(f) && !f->over && f->moved < now - IDLE * SECOND &&
           (f->server.state == SERVER_NONE ||
            (f->server.state >= SERVER_UP && f->state != FLOW_FIRST));
}

/* Ends the flow whose client has slept for longest, and may connect again (RFC
   9112, 9.5), unless a request is in the kernel's buffer. False: none. */
static bool evict_idle(void)
{
    struct flow *idle;

    do {
        idle = NULL;
        for (struct flow *f = flows; f != NULL; f = f->next)
            if ((idle == NULL || f->moved < idle->moved) && flow_sleeps(f))
                idle = f;
        if (idle == NULL)
            return false;
        flow_wake(idle);
        idle->moved = now;
    } while (!idle->client.ended && poll(&(struct pollfd){
                 idle->client.fd, POLLIN, 0 }, 1, 0) != 0);
    return idle->over = true;
}

/* Accepts clients. When descriptors run short, an idle client makes room for a
   new one; where none is idle, accepting pauses: clients wait in the kernel. */
static void accept_new(void)
{
    struct sockaddr_storage addr = { 0 };
    socklen_t len = sizeof addr;
    int first = opt.workers > 1 ? ACCEPTS - 1 : 0;

    /* of several workers each takes one client a turn, as it has time */
    for (int i = first; i < ACCEPTS; i++, len = sizeof addr) {
        int kept = FD_RESERVE < fd_limit / 4 ? FD_RESERVE : fd_limit / 4;
        bool full = fds_used() >= fd_limit - kept;
        int fd = full ? -1 : accept4(listener, (struct sockaddr *)&addr, &len,
                                     SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct flow *f;

        if (full && i > first)
            return;                 /* perhaps no other client waits */
        if (full || (fd < 0 && (errno == EMFILE || errno == ENFILE ||
                                errno == ENOBUFS || errno == ENOMEM))) {
            if (now - accept_after > 10)
                say(0, "%d clients are too many for %d descriptors: idle ones "
                    "are let go, others wait (ulimit -n)", nflows, fd_limit);
            accept_after = evict_idle() ? now : now + 0.1;
            return;
        }
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        unmap_address(&addr);
        f = flow_new(fd, &addr);
        if (f == NULL) {
            say(0, "a client is turned away: out of memory");
            close(fd);
            accept_after = now + 0.1;
            return;
        }
        fds_add(readable, fd);      /* mostly its first bytes are there */
    }
}

/* Reads from a flow's descriptors that are ready, and wakes it. */
static void flow_read(struct flow *f)
{
    bool moved = end_read(&f->client);

    moved |= end_read(&f->server.end);
    if (moved) {
        f->moved = now;
        flow_wake(f);
    }
    if (f->server.state == SERVER_CONNECT &&
        fds_has(writable, f->server.end.fd))
        server_connect_end(f);
    if (fds_has(writable, f->client.fd) ||
        fds_has(writable, f->server.end.fd))
        flow_wake(f);
}

/* Reads from and writes to those children that are ready. */
static void children_move(void)
{
    for (struct child *p = children, *next; p != NULL; p = next) {
        bool writes = fds_has(writable, p->in);
        bool reads = fds_has(readable, p->out);

        next = p->next;
        if (p->filter->coprocess) {
            if (writes)
                copro_write(p);
            if (reads && !attempt(copro_read, p))
                copro_end(p, "out of memory");
        } else if (p->run != NULL) {
            if (writes)
                flow_wake(p->run->chain->flow);
            if (reads)
                flow_attempt(p->run->chain->flow, run_read, p->run);
        }
    }
}

/* Writes a flow's buffers to its descriptors, without asking select() first:
   mostly there is room. True when something moved. */
static bool flow_write(struct flow *f)
{
    struct chain *of[] = { f->asks.chain, f->answers.chain };
    bool moved = end_flush(&f->client);

    moved |= end_flush(&f->server.end);
    for (int k = 0; k < 2; k++)
        if (of[k] != NULL && of[k]->started)
            for (struct run *r = of[k]->run; r->filter != NULL; r++)
                run_write(r);
    if (moved)
        f->moved = now;
    if (moved && f->state == FLOW_CLOSING)
        f->since = now;
    return moved;
}

/* Gives back the memory of an end's empty buffers, and of a TLS session in
   which nothing waits: until the next tls_pump(). */
static void end_trim(struct end *e)
{
    if (e->ssl != NULL && e->ready && tls_alt_rest != NULL)
        tls_alt_rest(e->ssl, e->record);
    buf_trim(&e->in);
    buf_trim(&e->out);
    buf_trim(&e->wire_in);
    buf_trim(&e->wire_out);
}

/* Whether f is in bulk, and could go on. */
static bool flow_is_bulk(const struct flow *f)
{
    const struct end *c = &f->client, *s = &f->server.end;

    return (c->bulk || s->bulk) &&
           (f->wake || fds_has(readable, c->fd) || fds_has(writable, c->fd) ||
            fds_has(readable, s->fd) || fds_has(writable, s->fd));
}

/* Counts the flows in bulk. With n of them each gets one turn of n, and reads
   less at once if there are others, which so need not wait until all have
   moved what fits into their buffers. */
static void bulk_count(void)
{
    turn++;
    bulk_flows = quiet_flows = 0;
    for (struct flow *f = flows; f && now - f->woken < AWAKE; f = f->next)
        if (flow_is_bulk(f)) {
            bulk_flows++;
            f->bulk = now;
        } else if (now - f->bulk > AWAKE)
            quiet_flows++;
}

/* Lets a flow go as far as it can, if something has come or it was woken. What
   it reads goes on before the next flow reads: many flows in bulk, all read
   first, fall out of the processor's caches, and take five times as long. */
static void flow_go(void *it)
{
    struct flow *f = it;
    double since;
    enum wait w;

    if (bulk_flows > 1 && (f->number + turn) % bulk_flows != 0 &&
        flow_is_bulk(f))
        return;                     /* its turn comes */
    flow_read(f);
    if (!f->wake || f->over)
        return;
    f->wake = false;
    do
        while (!f->over && flow_step(f))
            ;
    while (flow_write(f));
    if (f->client.later || f->server.end.later)
        flow_wake(f);
    w = flow_wait(f, &since);
    if (since + waits[w].seconds * SECOND <= now)
        flow_expire(f, w);
    end_trim(&f->client);
    end_trim(&f->server.end);
}

/* Goes on with a look-up. Frees a flow that is over: nothing else does that. */
static void flow_settle(void *it)
{
    struct flow *f = it;

    if (f->server.state == SERVER_LOOKUP)
        server_lookup(f);
    if (flow_over(f))
        flow_free(f);
}

/* ---- signals and children that have ended */

/* p has ended with this status, which its message's filter is judged by. */
static void child_exited(struct child *p, int status)
{
    struct run *r = p->run;

    p->pid = 0;
    p->moved = now;
    if (p->filter->coprocess)
        return;                     /* end of file on out tells the rest */
    if (p->killed != 0)             /* its children that it left behind */
        group_kill(p, SIGKILL);
    child_done(p);
    if (r == NULL)
        child_free(p);
    if (r == NULL || r->unread)
        return;                     /* SIGPIPE may be why: as in a shell */
    if (WIFSIGNALED(status))
        run_fail(r, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        run_fail(r, "exit status %d%s", WEXITSTATUS(status),
                 WEXITSTATUS(status) == 127 ? ": not found?" : "");
}

/* Takes note of the children that have ended. */
static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (struct child *p = children; p != NULL; p = p->next)
            if (p->pid == pid) {
                child_exited(p, status);
                break;
            }
    }
}

/* A signal or the parent asks us to stop: no more clients, and what is under
   way has WAIT_FINISH seconds; a second time: at once. */
static void stop(void)
{
    if (stopping++ > 0)
        return;
    if (parent_pipe[0] < 0 || parent_pipe[1] >= 0) { /* no worker of a parent */
        say(opt.command ? 1 : 0, "stopping: running messages may finish");
        if (unix_path() != NULL)
            unlink(unix_path());
    }
    stop_since = now;
    if (parent_pipe[1] < 0)
        accept_new();               /* who has connected before is served */
    fd_close(&listener);
}

/* Takes the signals that have come since the last turn. */
static void take_signals(void)
{
    unsigned char byte;

    while (read(self_pipe[0], &byte, 1) == 1)
        if (byte != SIGCHLD && !(byte == SIGHUP && stopping))
            stop();                 /* HUP comes twice: from shell and kernel */
}

/* Ends idle flows, if we were asked to stop; whether the loop is to end. */
static bool stopped(void)
{
    if (!stopping)
        return false;
    for (struct flow *f = flows; f != NULL; f = f->next)
        f->over |= flow_idle(f);
    if (flows == NULL || (stopping == 1 &&
        now - stop_since <= waits[WAIT_FINISH].seconds * SECOND))
        return flows == NULL;
    if (stopping == 1)
        say(0, "waited %g seconds for %s: cut off", waits[WAIT_FINISH].seconds,
            waits[WAIT_FINISH].what);
    return true;
}

/* ---- the loop */

/* One turn after the other, until a signal ends it. */
static void run_loop(void)
{
    double due = 0, left;           /* when all flows are to be looked at */
    unsigned long then = 0;         /* the turn in which they were */
    struct timeval t;
    int ready = 0;

    while (!stopped()) {
        full_turn = false;          /* next_flow() asks for it: is any awake? */
        full_turn = stopping || nflows <= FEW || next_flow(NULL) == NULL ||
                    (now > due && (ready == 0 || (turn - then) * SHARE >
                                                 (unsigned long)nflows));
        left = arm();
        if (!full_turn)
            sooner(&left, due - now);
        t = (struct timeval){ (time_t)left, (left - (long)left) * 1e6 };
        ready = select(highest + 1, (fd_set *)readable, (fd_set *)writable,
                       NULL, &t);
        if (ready < 0)
            fds_clear();
        now = clock_now();
        if (full_turn) {
            due = now + nflows * LOOK;
            then = turn;
        }
        for (struct sink *s = sinks; s < sinks + SINKS; s++)
            if (fds_has(writable, s->fd))
                sink_flush(s, s->file);
        if (fds_has(readable, self_pipe[0])) {
            take_signals();
            reap();
        }
        if (!stopping && fds_has(readable, parent_pipe[0]))
            stop();                 /* the parent has died */
        if (listener >= 0 && fds_has(readable, listener))
            accept_new();
        children_move();
        bulk_count();
        each_flow(flow_go);
        answers_count();
        start_filters();
        each_flow(flow_settle);
    }
}

/* Whether a child is left. All get the signal number, unless it is 0. */
static bool children_left(int number)
{
    bool left = false;

    for (struct child *p = children; p != NULL; p = p->next) {
        left |= p->pid > 0;
        if (number != 0 || p->pid == 0) /* the group of one that has ended */
            group_kill(p, p->pid ? number : SIGKILL);
    }
    return left;
}

/* Ends all children at the end of the program: coprocesses by the end of
   their input, then all that are left by SIGTERM, and in the end SIGKILL. */
static void end_children(void)
{
    static const int numbers[] = { 0, SIGTERM, SIGKILL };

    for (struct child *p = children; p != NULL; p = p->next)
        fd_close(&p->in);
    for (int i = stopping > 1 ? 2 : 0; i < 3 && children_left(numbers[i]); i++)
        for (double start = now = clock_now(); children_left(0) &&
             now - start < 0.5; now = clock_now()) {
            poll(&(struct pollfd){ self_pipe[0], POLLIN, 0 }, 1, 100);
            take_signals();
            reap();
        }
}

/* ==== 27 main ===========================================================
   The start: options, the CA, the port, COMMAND, workers; and the end. Limit:
   what is opened or read here is never opened or read again. */

/* Folders of ready filters: installed with this program, and beside it. */
static char filter_homes[2 * PATH_MAX];

/* Fills filter_homes, and puts them behind PATH, for filters in a shell. */
static void find_filters(void)
{
    const char *path = getenv("PATH");
    char self[PATH_MAX / 2] = "", *name, *var;

    if (readlink("/proc/self/exe", self, sizeof self - 1) > 0) {
        name = strrchr(self, '/');
        *name++ = '\0';
        snprintf(filter_homes, sizeof filter_homes,
                 ":%s/../share/%s/filters:%s/filters", self, name, self);
    }
    if (asprintf(&var, "PATH=%s%s", path ? path : "/usr/bin:/bin",
                 filter_homes) < 0)
        no_memory();
    putenv(var);
}

/* Finds the filters' commands in PATH, once for all messages, and this
   program's own file where there is no /proc. Dies when one is not there. What
   goes to the shell is the shell's business, unless it begins with filters/. */
static void find_commands(void)
{
    for (struct filter *f = &lookups; f != NULL; f = f->next) {
        const char *path = getenv("PATH"), *end;
        char file[PATH_MAX], there[PATH_MAX] = "";
        const char *name = f->argv ? f->argv[0] : text_of("%.*s", (int)strcspn(
                           f->command, " \t\n|&;<>()"), f->command);
        const char *last, *quote;
        struct stat st;
        bool ours = lstat("filters", &st) != 0 || st.st_uid == 0 ||
                    st.st_uid == geteuid(); /* not planted, as in /tmp */

        if (f->path && access(f->path, X_OK) == 0)
            continue;
        f->path = NULL;
        if (f->argv == NULL && (strncmp(name, "filters/", 8) != 0 ||
                                strpbrk(name, "\"'$`\\*?[") != NULL))
            continue;
        last = strncmp(name, "filters/", 8) ? name : name + 8;
        if (strchr(name, '/'))      /* a path already */
            path = last == name ? "" : filter_homes;
        for (; path != NULL && f->path == NULL; path = *end ? end + 1 : NULL) {
            end = path + strcspn(path, ":");
            snprintf(file, sizeof file, "%.*s%s%s", (int)(end - path), path,
                     end > path ? "/" : "", end > path ? last : name);
            if ((end == path && last != name && !ours) || stat(file, &st) != 0)
                continue;
            quote = f->argv ? "" : strchr(file, '\'') ? "\"" : "'";
            if (S_ISREG(st.st_mode) && access(file, X_OK) == 0) {
                if (asprintf(&f->path, "%s%s%s%s", quote, file, quote,
                             f->argv ? "" : f->command + strlen(name)) < 0)
                    no_memory();
            } else if (there[0] == '\0')
                strcpy(there, file);
        }
        if (f->path == NULL && stat(there, &st) == 0) {
            bool folder = S_ISDIR(st.st_mode);

            die("the filter '%s' cannot be run: %s is %s%s", f->command, there,
                folder ? "a directory" : "not executable: chmod +x ",
                folder ? "" : there);
        }
        if (f->path == NULL)
            die("the filter '%s' cannot be run: there is no command %s%s%s",
                f->command, name, access(name, F_OK) ? "" : ", but a file ./",
                access(name, F_OK) ? "" : name);
    }
}

/* Raises RLIMIT_NOFILE as far as it goes. */
static void raise_limit(void)
{
    struct rlimit *r = &raised_limit;

    getrlimit(RLIMIT_NOFILE, &given_limit);
    *r = given_limit;
    r->rlim_cur = r->rlim_max < MAX_FDS ? r->rlim_max : MAX_FDS;
    setrlimit(RLIMIT_NOFILE, r);
    getrlimit(RLIMIT_NOFILE, r);
    fd_limit = (int)r->rlim_cur;
    if (fd_limit < 32)
        die("%d descriptors are too few: 32 are the least (ulimit -n)",
            fd_limit);
}

/* Becomes the user called name, for good; dies if that cannot be. */
static void become(const char *name)
{
    const struct passwd *p = getpwnam(name);

    if (p == NULL)
        die("there is no user %s for --user", name);
    if (initgroups(name, p->pw_gid) != 0 || setgid(p->pw_gid) != 0 ||
        setuid(p->pw_uid) != 0)
        die("cannot become the user %s: %s (only root can)", name,
            strerror(errno));
}

/* ---- COMMAND: forked before anything is opened or changed, so that what it
   inherits (descriptors, signals, limits, umask) is what we were given, and
   executed once the proxy can be reached. It is in our process group, as it
   would be without us: the terminal's signals go to both, and are COMMAND's. */

static struct {
    pid_t pid;              /* 0: there is none, or it has ended */
    int go;                 /* the pipe for which it waits; 0 or -1: none */
    int status;             /* as waitpid() gave it */
    bool interrupted;       /* ^C was pressed */
    char dir[PATH_MAX];     /* of the files made for it; "": none yet */
} command;

/* Set for COMMAND, to $/ca.pem where nothing else is said: @ is the proxy's
   URL, $ the directory, % what was before. */
static const char *const command_vars[] = {
    "http_proxy=@", "https_proxy=@", "all_proxy=@", "no_proxy=",
    "HTTP_PROXY=@", "HTTPS_PROXY=@", "ALL_PROXY=@", "NO_PROXY=",
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", /* OpenSSL, Python, Go, Ruby, Rust */
    "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile", "YARN_HTTPS_CA_FILE_PATH", "DENO_CERT",
    "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "PERL_LWP_SSL_CA_FILE",
    "NIX_SSL_CERT_FILE", "HTTPLIB2_CA_CERTS",
    "PHP_INI_SCAN_DIR=%:$", "WGETRC=$/wgetrc", "APT_CONFIG=$/apt.conf",
    "NODE_USE_ENV_PROXY=1", "NODE_OPTIONS=% --require=\"$/node.cjs\""
};

/* The files of that directory, with the same marks: all CAs; what tells wget,
   apt and PHP of them; and what has an old node use the proxy. */
enum { FILES = 5 };
static const struct { const char *name, *text; int mode; }
command_files[FILES] = {
    { "ca.pem", "%", 0644 },
    { "wgetrc", "%\nca_certificate=$/ca.pem\n", 0600 },
    { "apt.conf", "%\nAcquire::https::CaInfo \"$/ca.pem\";\n", 0600 },
    { "php.ini", "curl.cainfo=\"$/ca.pem\"\n", 0644 },
    { "node.cjs",
      "const [a, b] = process.versions.node.split('.').map(Number);\n"
      "const e = process.env.https_proxy, u = e && new URL(e);\n"
      "if (u && (a < 22 || a == 22 && b < 21 || a == 23)) {\n"
      " void Response; // which makes the dispatcher\n"
      " const d = Symbol.for('undici.globalDispatcher.1'), D = globalThis[d];\n"
      " const net = require('net'), http = require('http');\n"
      " const login = u.username && { 'proxy-authorization': 'Basic ' +\n"
      "  btoa(decodeURIComponent(u.username + ':' + u.password)) };\n"
      " const connect = (tls, host, port, o, done) => {\n"
      "  const path = (net.isIPv6(host) ? '[' + host + ']' : host) + ':' +\n"
      "   port;\n"
      "  http.request({ path, method: 'CONNECT',\n"
      "   headers: { host: path, ...login }, createConnection: () =>\n"
      "    net.connect(u.port || 80, u.hostname.replace(/[[\\]]/g, '')),\n"
      "  }).on('connect', (r, socket) => {\n"
      "   if (r.statusCode != 200) return done(Error(r.statusMessage));\n"
      "   if (!tls) return done(null, socket);\n"
      "   const t = require('tls').connect({ ...o, socket,\n"
      "    servername: o.servername || (net.isIP(host) ? '' : host),\n"
      "   }, () => done(null, t)).on('error', done);\n"
      "  }).on('error', done).end(); };\n"
      " if (D) globalThis[d] = new D.constructor({ connect(o, done) {\n"
      "  const tls = o.protocol == 'https:';\n"
      "  connect(tls, o.hostname, o.port || (tls ? 443 : 80),\n"
      "   { servername: o.servername }, done); } });\n"
      " for (const m of [http, require('https')]) {\n"
      "  const own = m.Agent.prototype.createConnection;\n"
      "  m.Agent.prototype.createConnection = function (o, done) {\n"
      "   return o.socketPath || !done ? own.apply(this, arguments) : void\n"
      "    connect(m != http, o.host || 'localhost', o.port, o, done); }; }\n"
      "}\n", 0644 }
};

/* Appends text to b, with url, dir and old in the place of @, $ and %. */
static void command_put(struct buf *b, const char *text, const char *url,
                        const char *dir, const char *old)
{
    for (; *text != '\0'; text++)
        if (*text == '@')
            buf_puts(b, url);
        else if (*text == '$')
            buf_puts(b, dir);
        else if (*text == '%')
            buf_puts(b, old ? old : "");
        else
            buf_put(b, text, 1);
}

/* COMMAND's process: waits for "URL\0directory" from go, then executes it. */
static _Noreturn void command_exec(int go)
{
    char text[PATH_MAX + 2048];
    ssize_t n = read(go, text, sizeof text - 1);

    if (n <= 0)
        _exit(1);                   /* the proxy has said why */
    text[n] = '\0';
    for (char **e = environ, **o = e; (*o = *e) != NULL; e++)
        o += strncmp(*e, "MITM_", 5) != 0;
    for (size_t i = 0; i < sizeof command_vars / sizeof *command_vars; i++) {
        const char *var = command_vars[i], *is = strchr(var, '=');
        const char *name = text_of("%.*s", (int)strcspn(var, "="), var);
        struct buf b = { 0 };

        command_put(&b, is ? is + 1 : "$/ca.pem", text, text + strlen(text) + 1,
                    getenv(name));
        setenv(name, buf_text(&b), 1);
    }
    if (opt.user != NULL)
        become(opt.user);
    execvp(*opt.command, opt.command);
    n = errno;
    fprintf(stderr, "mitmproxy: cannot run '%s': %s%s\n", *opt.command,
            strerror((int)n), opt.unquoted);
    _exit(n == ENOENT ? 127 : 126);
}

/* Forks COMMAND's process, which alone keeps standard input and output. */
static void command_fork(void)
{
    int go[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (pipe2(go, O_CLOEXEC) != 0 || (command.pid = fork()) < 0)
        die("cannot start %s: %s", *opt.command, strerror(errno));
    if (command.pid == 0) {
        close(go[1]);
        command_exec(go[0]);
    }
    close(go[0]);
    command.go = go[1];
    dup2(null, 0);
    dup2(null, 1);
    close(null);
}

/* Removes the directory made for COMMAND, if there is one, and its files. */
static void command_clean(void)
{
    char file[PATH_MAX + 16];

    for (int i = 0; *command.dir != '\0' && i < FILES; i++) {
        snprintf(file, sizeof file, "%s/%s", command.dir,
                 command_files[i].name);
        unlink(file);
    }
    rmdir(command.dir);
}

/* Writes command_files[i], or dies; path names the user's own, which is %. */
static void command_file(int i, const char *path)
{
    char file[PATH_MAX + 16];
    struct buf b = { 0 }, all = { 0 };
    size_t n = 0;
    char *old = path ? file_read(path, &n, NULL) : NULL;
    int fd;

    if (i == 0) {                   /* our CA, and those trusted without us */
        old = old ? old : system_cas(&n);
        put_certs(&all, &ca.crt);
        put_certs(&all, ca.rest);
        buf_put(&all, "\n", old != NULL);
        buf_put(&all, old, n);
        free(old);
        old = buf_text(&all);
    }
    command_put(&b, command_files[i].text, "", command.dir, old);
    snprintf(file, sizeof file, "%s/%s", command.dir, command_files[i].name);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || !file_fill(fd, buf_at(&b), b.len) ||
        fchmod(fd, (mode_t)command_files[i].mode) != 0) {
        n = (size_t)errno;
        command_clean();
        die("cannot write %s: %s (TMPDIR names another place)", file,
            strerror((int)n));
    }
    close(fd);
    free(old);
    buf_free(&b);
}

/* Makes the directory for COMMAND, and its files. Dies if it cannot. */
static void command_bundle(void)
{
    const char *tmp = getenv("TMPDIR"), *home = getenv("HOME");
    const char *rc = getenv("WGETRC");

    snprintf(command.dir, sizeof command.dir, "%s/mitmproxy.XXXXXX",
             tmp && *tmp == '/' && !strpbrk(tmp, "\"\\:") ? tmp
             : "/tmp");               /* node's and PHP's variables say */
    if (mkdtemp(command.dir) == NULL || chmod(command.dir, 0711) != 0)
        die("cannot make %s: %s (TMPDIR names another place)", command.dir,
            strerror(errno));
    command_file(0, getenv("SSL_CERT_FILE"));
    command_file(1, rc ? rc : text_of("%s/.wgetrc", home ? home : ""));
    command_file(2, getenv("APT_CONFIG"));
    for (int i = 3; i < FILES; i++)
        command_file(i, NULL);
}

/* A signal is COMMAND's while that runs: passed on where a process (not COMMAND
   itself) sent it, and not the terminal, which has sent it to both. */
static void on_passed_signal(int number, siginfo_t *from, void *context)
{
    int saved = errno;

    (void)context;
    command.interrupted |= number == SIGINT && from->si_code > 0;
    if (command.pid == 0)
        on_signal(number);
    else if (from->si_code <= 0 && from->si_pid != command.pid)
        kill(command.pid, number);
    errno = saved;
}

/* While COMMAND runs, the signals that are meant for it do not stop us. */
static void command_signals(void)
{
    static const int passed[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1,
                                  SIGUSR2, SIGALRM, SIGTSTP };
    struct sigaction act = { .sa_sigaction = on_passed_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART };

    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        sigaction(passed[i], &act, NULL);
    signal(SIGTTOU, SIG_IGN);       /* an inner shell may own the terminal */
}

/* The proxy can be reached: has COMMAND executed. */
static void command_go(void)
{
    struct sockaddr_storage addr = address_of(listener, false);
    struct buf b = { 0 };
    const char *here = address_text(&addr);
    const char *host = strncmp(here, "0.0.0.0:", 8) == 0 ? "127.0.0.1" :
                       strncmp(here, "[::]:", 5) == 0 ? "[::1]" : NULL;

    command_bundle();
    buf_puts(&b, "http://");
    for (const char *p = opt.proxyauth ? opt.proxyauth : ""; *p; p++)
        buf_printf(&b, isalnum((unsigned char)*p) || *p == ':' ? "%c" :
                   "%%%02X", (unsigned char)*p);
    buf_printf(&b, "%s%s%s", opt.proxyauth ? "@" : "", host ? host : "",
               host ? strrchr(here, ':') : here);
    buf_put(&b, "", 1);
    buf_puts(&b, command.dir);
    if (write(command.go, buf_at(&b), b.len) < 0)
        say(1, "%s has ended before it began", *opt.command);
    fd_close(&command.go);
    buf_free(&b);
}

/* COMMAND has ended; or was stopped, by ^Z say: then we stop, too, until the
   shell's fg continues both. */
static void command_changed(int status)
{
    signal(SIGTSTP, SIG_DFL);
    if (WIFSTOPPED(status)) {
        raise(SIGTSTP);             /* ignored where no shell could say fg */
        command_signals();
        kill(command.pid, SIGCONT);
        return;
    }
    command.pid = 0;
    command.status = status;
    if (opt.filters != NULL && shared->last_flow == 0 &&
        WIFEXITED(status) && WEXITSTATUS(status) < 126)
        say(opt.quiet, "%s has asked this proxy for nothing: not all programs "
            "heed http_proxy and https_proxy", *opt.command);
    stop();
}

/* Exits as COMMAND did: by ^C, too, so that a shell's loop around us ends. */
static _Noreturn void command_end(void)
{
    int number = WIFSIGNALED(command.status) ? WTERMSIG(command.status) : 0;

    command_clean();
    if (number == SIGINT && command.interrupted) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    exit(number ? 128 + number : WEXITSTATUS(command.status));
}

/* ---- workers: the parent holds the port and sees to it that there are as
   many of them as were asked for. They share the CA, the leaves' key and the
   keys of tickets, which are made before, and the count of exchanges. */

/* Forks a worker. Returns its pid; in the worker 0; -1: it has said why. */
static pid_t worker_start(void)
{
    sigset_t all, before;
    pid_t pid;

    for (struct sink *s = sinks; s < sinks + SINKS; s++)
        sink_flush(s, true);        /* else both would write what waits */
    sigfillset(&all);               /* until its pipe is there */
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid < 0)
        say(0, "cannot start a worker: %s", strerror(errno));
    if (opt.command != NULL)        /* its ^Z and "kill 0" are not for us */
        setpgid(pid, 0);
    if (pid == 0) {
        fd_close(&self_pipe[0]);
        fd_close(&self_pipe[1]);
        fd_close(&parent_pipe[1]);
        signals_init();             /* with a pipe of its own */
        terminal_signals(SIG_IGN);  /* they are the parent's */
        command.pid = 0;            /* and so is COMMAND */
        signal(SIGTSTP, SIG_DFL);   /* not command_signals()'s */
        for (struct sink *s = sinks; s < sinks + SINKS; s++)
            buf_eat(&s->buf, s->buf.len); /* the parent writes it */
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* Reaps workers that have ended: others are to take their places after *pause
   seconds, as they may die over and over. Returns how many are left. */
static int workers_reap(pid_t *pids, double *pause)
{
    int status, left = 0;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid == command.pid)
            command_changed(status);
        for (int i = 0; i < opt.workers; i++)
            if (pids[i] == pid && !WIFSTOPPED(status)) {
                pids[i] = -1;
                *pause = stopping ? 0 : 1;
                if (!stopping)
                    say(0, "a worker has ended (%s %d): another takes its "
                        "place", WIFSIGNALED(status) ? "signal" : "status",
                        WIFSIGNALED(status) ? WTERMSIG(status)
                                            : WEXITSTATUS(status));
            }
    }
    for (int i = 0; i < opt.workers; i++)
        left += pids[i] > 0;
    return left;
}

/* The parent's life: starts workers, COMMAND, and passes signals on. Returns in
   each worker; exits when all have stopped. */
static void workers_run(void)
{
    pid_t *pids = alloc((size_t)opt.workers * sizeof *pids);
    double pause = 0, patience = 0;
    int left = 0;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || pipe2(parent_pipe, O_CLOEXEC) != 0)
        die("cannot prepare for workers: %s", strerror(errno));
    do {
        int before = stopping;

        for (int i = 0; !stopping && pause == 0 && i < opt.workers; i++)
            if (pids[i] <= 0 && (pids[i] = worker_start()) == 0) {
                free(pids);
                return;
            } else if (pids[i] < 0)
                pause = 1;          /* and then it is tried again */
        if (command.go > 0)
            command_go();
        sink_flush(&sinks[1], true);
        if (poll(&(struct pollfd){ self_pipe[0], POLLIN, 0 }, 1,
                 pause > 0 || stopping || sinks[1].buf.len > 0 ? 1000
                                                               : -1) == 0)
            pause = 0;
        now = clock_now();
        take_signals();
        left = workers_reap(pids, &pause);
        if (before < stopping)      /* twice what a worker needs at most */
            patience = now + (stopping > 1 ? 3 : 15);
        for (int i = 0; stopping && i < opt.workers; i++)
            if (pids[i] > 0 && (before < stopping || stopping > 1 ||
                                now > patience))
                kill(pids[i], now > patience ? SIGKILL : SIGTERM);
    } while (!stopping || left > 0);
    sink_flush(&sinks[1], true);
    command_end();
}

#ifndef UNIT_TEST
/* Reads the options and all files, and makes what sessions share, or dies. */
static void prepare(char **argv)
{
    options_parse(argv);
    if (opt.command != NULL)
        command_fork();
    lookups.argv[0] = rsa_maker.argv[0] = argv[0];
    rsa_maker.next = opt.filters;
    sink_share(&sinks[0], 1);
    sink_share(&sinks[1], 2);
    umask(077);
    raise_limit();
    if (psa_crypto_init() != PSA_SUCCESS)
        die("cannot start the cryptography: no random numbers?");
    find_filters();
    find_commands();
    clock_is_unset();               /* which is told before all others do */
    ca_load(opt.ca_file);
    if (opt.cacert != NULL)
        trusted_load();
    tls_init();
}

/* Opens the port, unless it was given, and what is written to; then gives up
   root's powers, and says where we listen. Dies if any of it cannot be. */
static void port_open(void)
{
    const char *here = listener < 0 ? unix_path() : NULL;
    struct sockaddr_storage addr;

    if (listener < 0)
        listener = here ? listen_unix(here) : listen_open(opt.host, opt.port);
    addr = address_of(listener, false);
    here = here ? opt.host : address_text(&addr);
    if (opt.log_json != NULL)
        record_open(events, opt.log_json, 0);
    if (opt.capture != NULL)        /* which ends what is in its file */
        capture_open(opt.capture);
    fds_close_given();              /* filters are not to have that */
    signals_init();                 /* until here they end the program */
    if (opt.command != NULL)
        command_signals();
    if (opt.user != NULL)
        become(opt.user);
    capabilities_drop();
    say(opt.command ? 1 : 0, "listening on %s", here);
    if (strncmp(here, "127.", 4) != 0 && strncmp(here, "[::1]", 5) != 0 &&
        strncmp(here, "unix:", 5) != 0 && opt.proxyauth == NULL)
        say(0, "whoever reaches this port can use this proxy");
}

/* The program, or one of its helpers (section 13). */
int main(int argc, char **argv)
{
    int fd;

#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 8 << 20); /* buffers come and go too quickly */
    mallopt(M_TRIM_THRESHOLD, 2 << 20); /* to be mapped and unmapped */
#endif
    signal(SIGCHLD, SIG_DFL);       /* ignored, it would hide ends from us */
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < 3)
        ;                           /* or a socket would get a closed one's */
    close(fd);                      /* number, 0, 1 or 2, and the log */
    if (argc == 2 && strcmp(argv[1], "--lookup") == 0)
        helper_run(lookup_answer);
    if (argc == 2 && strcmp(argv[1], "--rsa-key") == 0)
        helper_run(rsa_answer);
    listener = listen_given();
    prepare(argv);
    port_open();
    now = clock_now();
    if (opt.workers > 1 || opt.command != NULL)
        workers_run();
    run_loop();
    while (flows != NULL)
        flow_free(flows);
    end_children();
    for (struct sink *s = sinks + SINKS; s-- > sinks;)
        sink_flush(s, true);
    return 0;
}
#endif
