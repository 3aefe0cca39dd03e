/* The floor of the wire: prebuilt HTTP/2 frames over OpenSSL, and the server that answers everybody.
 *
 *   wire serve CERT KEY [US]    prints its port, answers every request with 200 and "[]", so many
 *                               microseconds after it has come
 *   wire ask PORT BODY_BYTES    times itself as benchmarks/peers/worker.py asks
 *
 * It does the least that works against its own server: no flow control, no header decoding, no
 * verification. That is what makes it a floor, and nothing that may be used.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8, ACK = 1, END_STREAM = 1, HEAD = 9, PREFACE = 24 };

static const int64_t AWAKE_NS = 200 * 1000 * 1000;

static void die(const char *what) {
    fprintf(stderr, "wire: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static size_t head(uint8_t *out, uint32_t length, uint8_t kind, uint8_t flags, uint32_t stream) {
    out[0] = length >> 16, out[1] = length >> 8, out[2] = length, out[3] = kind, out[4] = flags;
    out[5] = stream >> 24, out[6] = stream >> 16, out[7] = stream >> 8, out[8] = stream;
    return HEAD;
}

/* A connection and what was read of it. */
typedef struct {
    SSL *ssl;
    uint8_t bytes[1 << 16];
    size_t have, used;
    int greeted;
} Link;

/* The next whole frame of what was read, or NULL: read more. */
static const uint8_t *parsed(Link *link, uint32_t *length) {
    const uint8_t *at = link->bytes + link->used;
    size_t left = link->have - link->used;
    if (left >= HEAD) {
        *length = at[0] << 16 | at[1] << 8 | at[2];
        if (left >= HEAD + *length) {
            link->used += HEAD + *length;
            return at;
        }
    }
    memmove(link->bytes, at, left);
    link->have = left, link->used = 0;
    return NULL;
}

static int more(Link *link) {
    int got = SSL_read(link->ssl, link->bytes + link->have, (int)(sizeof link->bytes - link->have));
    if (got > 0) link->have += got;
    return got;
}

static const uint8_t *next_frame(Link *link, uint32_t *length) {
    const uint8_t *frame;
    while ((frame = parsed(link, length)) == NULL)
        if (more(link) <= 0) return NULL;
    return frame;
}

static void put(SSL *ssl, const uint8_t *data, size_t length) {
    if (SSL_write(ssl, data, (int)length) != (int)length) die("write");
}

/* Server ------------------------------------------------------------------------------------- */

static int64_t answers_after_ns;

/* Answer what has come; return 0 when the connection has ended. */
static int serve_some(Link *link) {
    uint8_t out[64];
    uint32_t length;
    const uint8_t *frame;
    int got = 1;
    if (!link->greeted) {
        got = SSL_accept(link->ssl);
        if (got == 1) {
            put(link->ssl, out, head(out, 0, SETTINGS, 0, 0));
            link->greeted = 1, link->used = PREFACE;
        }
    }
    while (got > 0 && (got = more(link)) > 0) {
        if (link->have < link->used) continue; /* the preface is not whole yet */
        while ((frame = parsed(link, &length)) != NULL) {
            uint8_t kind = frame[3], flags = frame[4];
            uint32_t stream = frame[5] << 24 | frame[6] << 16 | frame[7] << 8 | frame[8];
            size_t size = 0;
            if (kind == SETTINGS && !(flags & ACK)) size = head(out, 0, SETTINGS, ACK, 0);
            if (kind == PING && !(flags & ACK)) {
                size = head(out, 8, PING, ACK, 0);
                memcpy(out + size, frame + HEAD, 8), size += 8;
            }
            if ((kind == DATA || kind == HEADERS) && flags & END_STREAM) {
                int64_t due = now(CLOCK_MONOTONIC) + answers_after_ns;
                while (now(CLOCK_MONOTONIC) < due) continue;
                static const uint8_t fields[] = "\x88\x0f\x0d\x01" "2"; /* 200, content-length: 2 */
                size = head(out, 5, HEADERS, 4, stream);
                memcpy(out + size, fields, 5), size += 5;
                size += head(out + size, 2, DATA, END_STREAM, stream);
                memcpy(out + size, "[]", 2), size += 2;
            }
            if (kind == DATA && length) { /* give the window back, in the same write */
                size += head(out + size, 4, WINDOW_UPDATE, 0, 0);
                out[size++] = 0, out[size++] = length >> 16, out[size++] = length >> 8;
                out[size++] = length;
            }
            if (size) put(link->ssl, out, size);
        }
    }
    if (SSL_get_error(link->ssl, got) == SSL_ERROR_WANT_READ) return 1;
    ERR_clear_error();
    return 0;
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *length,
                  const unsigned char *in, unsigned int size, void *unused) {
    static const unsigned char h2[] = "\x02h2";
    (void)ssl, (void)unused;
    int found = SSL_select_next_proto((unsigned char **)out, length, h2, 3, in, size);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static void serve(const char *cert, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die("certificate");
    SSL_CTX_set_alpn_select_cb(context, choose, NULL);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (bind(listener, (void *)&here, size) || listen(listener, 64)) die("listen");
    getsockname(listener, (void *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    /* While there is traffic it looks instead of sleeping: to wake a sleeper on another core costs
     * the sender more than everything that is to be measured, and no exchange sleeps on this host. */
    int polled = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(polled, EPOLL_CTL_ADD, listener, &event);
    for (int64_t last = 0;;) {
        int64_t time = now(CLOCK_MONOTONIC);
        if (epoll_wait(polled, &event, 1, time - last < AWAKE_NS ? 0 : -1) < 1) continue;
        last = now(CLOCK_MONOTONIC);
        Link *link = event.data.ptr;
        if (link == NULL) {
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd < 0) die("accept");
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            link = calloc(1, sizeof *link);
            link->ssl = SSL_new(context);
            SSL_set_fd(link->ssl, fd);
            event.data.ptr = link;
            epoll_ctl(polled, EPOLL_CTL_ADD, fd, &event);
        } else if (!serve_some(link)) {
            close(SSL_get_fd(link->ssl));
            SSL_free(link->ssl);
            free(link);
        }
    }
}

/* Client ------------------------------------------------------------------------------------- */

static size_t literal(uint8_t *out, uint8_t first, const char *name, const char *value) {
    size_t at = 0, size = strlen(value);
    out[at++] = first; /* a literal without indexing: an indexed name, or 0 and the name itself */
    if (name) out[at++] = strlen(name), memcpy(out + at, name, strlen(name)), at += strlen(name);
    out[at++] = size, memcpy(out + at, value, size);
    return at + size;
}

static size_t request(uint8_t *out, size_t body) {
    static const char *names[] = {"poly_address", "poly_api_key", "poly_passphrase",
                                  "poly_signature", "poly_timestamp"};
    uint8_t *fields = out + HEAD;
    size_t size = 0;
    fields[size++] = 0x83, fields[size++] = 0x87;
    size += literal(fields + size, 4, NULL, "/orders");
    size += literal(fields + size, 1, NULL, "127.0.0.1");
    size += literal(fields + size, 0, "content-type", "application/json");
    for (int i = 0; i < 5; i++)
        size += literal(fields + size, 0x10, names[i], "0123456789abcdef0123456789abcdef0123456789");
    head(out, size, HEADERS, 4, 1);
    size += HEAD;
    size += head(out + size, body, DATA, END_STREAM, 1);
    memset(out + size, 'x', body);
    return size + body;
}

static void ask(int port, size_t body) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (connect(fd, (void *)&there, sizeof there)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    Link *link = calloc(1, sizeof *link);
    SSL *ssl = link->ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2", 3);
    if (SSL_connect(ssl) != 1) die("handshake");
    uint8_t hello[64] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    put(ssl, hello, 24 + head(hello + 24, 0, SETTINGS, 0, 0));
    uint8_t *frames = malloc(body + 1024), line[256];
    size_t size = request(frames, body), data = size - body - HEAD;
    uint32_t stream = 1;
    puts("{\"ready\": true}");
    fflush(stdout);
    while (fgets((char *)line, sizeof line, stdin)) {
        const char *text = strstr((char *)line, "\"calls\":");
        int calls = text ? atoi(text + 8) : 0;
        int is_write = strstr((char *)line, "write") != NULL;
        clockid_t clock =
            strstr((char *)line, "cpu") ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
        printf("{\"ns\": [");
        for (int i = -1; i < calls; i++, stream += 2) {
            uint32_t length;
            const uint8_t *frame;
            int64_t start = now(clock), end;
            for (int b = 0; b < 4; b++)
                frames[5 + b] = frames[data + 5 + b] = stream >> (24 - 8 * b);
            put(ssl, frames, size);
            end = now(clock);
            do
                if ((frame = next_frame(link, &length)) == NULL) die("read");
            while (!(frame[3] == DATA && frame[4] & END_STREAM));
            if (!is_write) end = now(clock);
            if (i >= 0) printf("%s%lld", i ? ", " : "", (long long)(end - start));
        }
        puts("]}");
        fflush(stdout);
    }
}

int main(int count, char **words) {
    if (count == 5) answers_after_ns = atoi(words[4]) * 1000LL;
    if (count >= 4 && !strcmp(words[1], "serve")) serve(words[2], words[3]);
    if (count == 4 && !strcmp(words[1], "ask"))
        return ask(atoi(words[2]), atoi(words[3])), 0;
    die("serve CERT KEY [US] | ask PORT BODY_BYTES");
}
