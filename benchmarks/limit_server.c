/* The limit row: a WebSocket echo server in C on epoll, as little as can be done and still be a right echo.
 *
 * Frames are answered as they pass: a header is rewritten without its masking key, the payload is unmasked in place
 * and goes out in the same system call as everything else one read brought. Nothing is kept for an idle connection.
 * It checks almost nothing: it is a measure, not a server to be used.
 *
 * Binds 127.0.0.1 on a port of the kernel's choice and prints "ready PORT". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (1u << 18)

struct peer {
    int fd;
    bool open;
    uint8_t header[14]; /* of the frame being received */
    uint8_t have;
    uint8_t key[4], key_at;
    bool closing;
    uint64_t left;     /* of the payload */
    uint8_t *unsent;   /* what the kernel would not take, or the start of a handshake */
    size_t unsent_length;
};

static uint8_t in[ROOM], out[2 * ROOM];
static int poll_with;

/* SHA-1 (RFC 3174) of at most 119 octets: two blocks are enough for key and GUID. */
static uint32_t rotate(uint32_t value, unsigned by) { return value << by | value >> (32 - by); }

static void sha1_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80], v[5];
    for (unsigned t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    memcpy(v, state, sizeof v);
    for (unsigned t = 0; t < 80; t++) {
        uint32_t f = t < 20   ? ((v[1] & v[2]) | (~v[1] & v[3])) + 0x5a827999
                     : t < 40 ? (v[1] ^ v[2] ^ v[3]) + 0x6ed9eba1
                     : t < 60 ? ((v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3])) + 0x8f1bbcdc
                              : (v[1] ^ v[2] ^ v[3]) + 0xca62c1d6;
        uint32_t next = rotate(v[0], 5) + f + v[4] + w[t];
        v[4] = v[3];
        v[3] = v[2];
        v[2] = rotate(v[1], 30);
        v[1] = v[0];
        v[0] = next;
    }
    for (unsigned i = 0; i < 5; i++)
        state[i] += v[i];
}

static void sha1(const char *text, size_t length, uint8_t digest[20])
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[128] = {0};
    unsigned count = length + 9 > 64 ? 2 : 1;
    memcpy(blocks, text, length);
    blocks[length] = 0x80;
    blocks[64 * count - 2] = (uint8_t)(length >> 5);
    blocks[64 * count - 1] = (uint8_t)(length << 3);
    for (unsigned i = 0; i < count; i++)
        sha1_block(state, blocks + 64 * i);
    for (unsigned i = 0; i < 20; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const uint8_t digest[20], char text[29])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t padded[21] = {0};
    memcpy(padded, digest, 20);
    for (unsigned i = 0; i < 7; i++) {
        uint32_t group = (uint32_t)padded[3 * i] << 16 | (uint32_t)padded[3 * i + 1] << 8 | padded[3 * i + 2];
        for (unsigned j = 0; j < 4; j++)
            text[4 * i + j] = letters[group >> (18 - 6 * j) & 63];
    }
    text[27] = '=';
    text[28] = 0;
}

static void drop(struct peer *p)
{
    close(p->fd);
    free(p->unsent);
    free(p);
}

static void keep(struct peer *p, const uint8_t *data, size_t length)
{
    p->unsent = realloc(p->unsent, p->unsent_length + length);
    memcpy(p->unsent + p->unsent_length, data, length);
    p->unsent_length += length;
}

static void watch(struct peer *p, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = p};
    epoll_ctl(poll_with, EPOLL_CTL_MOD, p->fd, &event);
}

/* Write what the kernel takes; keep the rest and read no more until it is gone. */
static bool send_out(struct peer *p, const uint8_t *data, size_t length)
{
    ssize_t put = length ? send(p->fd, data, length, MSG_NOSIGNAL) : 0;
    if (put < 0 && errno != EAGAIN)
        return false;
    if (put < 0)
        put = 0;
    if ((size_t)put < length) {
        keep(p, data + put, length - (size_t)put);
        watch(p, EPOLLOUT);
    }
    return true;
}

static bool send_kept(struct peer *p)
{
    ssize_t put = send(p->fd, p->unsent, p->unsent_length, MSG_NOSIGNAL);
    if (put < 0)
        return errno == EAGAIN;
    p->unsent_length -= (size_t)put;
    memmove(p->unsent, p->unsent + put, p->unsent_length);
    if (!p->unsent_length) {
        free(p->unsent);
        p->unsent = NULL;
        watch(p, EPOLLIN);
    }
    return true;
}

static bool answer_handshake(struct peer *p, const uint8_t *data, size_t length)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[64], accept[29], answer[256];
    uint8_t digest[20];
    keep(p, data, length);
    if (!memmem(p->unsent, p->unsent_length, "\r\n\r\n", 4))
        return p->unsent_length < 4096;
    const char *key = memmem(p->unsent, p->unsent_length, "Sec-WebSocket-Key: ", 19);
    if (!key || (size_t)((uint8_t *)key - p->unsent) + 19 + 24 > p->unsent_length)
        return false;
    memcpy(text, key + 19, 24);
    memcpy(text + 24, guid, 36);
    sha1(text, 60, digest);
    base64(digest, accept);
    free(p->unsent);
    p->unsent = NULL;
    p->unsent_length = 0;
    p->open = true;
    int answered = snprintf(answer, sizeof answer,
                            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    return send_out(p, (uint8_t *)answer, (size_t)answered);
}

static unsigned header_need(const struct peer *p)
{
    unsigned length = p->have < 2 ? 0 : p->header[1] & 0x7f;
    return p->have < 2 ? 2 : length == 126 ? 8 : length == 127 ? 14 : 6;
}

/* The header of the reply is that of the frame, without the masking bit and key. */
static size_t turn_header(struct peer *p, uint8_t *to)
{
    unsigned plain = p->have - 4u;
    memcpy(p->key, p->header + plain, 4);
    p->key_at = 0;
    p->left = p->header[1] & 0x7f;
    if (p->left >= 126) {
        p->left = 0;
        for (unsigned i = 2; i < plain; i++)
            p->left = p->left << 8 | p->header[i];
    }
    p->closing = (p->header[0] & 0x0f) == 8;
    memcpy(to, p->header, plain);
    to[1] &= 0x7f;
    p->have = 0;
    return plain;
}

static void unmask(struct peer *p, uint8_t *to, const uint8_t *from, size_t length)
{
    uint8_t turned[8];
    size_t i = 0;
    uint64_t wide, key;
    for (unsigned j = 0; j < 8; j++)
        turned[j] = p->key[(p->key_at + j) & 3];
    memcpy(&key, turned, 8);
    for (; i + 8 <= length; i += 8) {
        memcpy(&wide, from + i, 8);
        wide ^= key;
        memcpy(to + i, &wide, 8);
    }
    for (; i < length; i++)
        to[i] = from[i] ^ turned[i & 7];
    p->key_at = (uint8_t)((p->key_at + length) & 3);
}

static bool echo(struct peer *p, const uint8_t *data, size_t length)
{
    size_t made = 0;
    bool closed = false;
    while (length && !closed) {
        if (!p->left) {
            while (length && p->have < header_need(p)) {
                p->header[p->have++] = *data++;
                length--;
            }
            if (p->have < 2 || p->have < header_need(p))
                break;
            made += turn_header(p, out + made);
        }
        size_t piece = p->left < length ? (size_t)p->left : length;
        unmask(p, out + made, data, piece);
        made += piece;
        data += piece;
        length -= piece;
        p->left -= piece;
        closed = p->closing && !p->left;
    }
    return send_out(p, out, made) && !closed;
}

static bool serve(struct peer *p, uint32_t events)
{
    if (events & EPOLLOUT)
        return send_kept(p);
    ssize_t got = recv(p->fd, in, ROOM, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    return (p->open ? echo : answer_handshake)(p, in, (size_t)got);
}

static void accept_all(int listening)
{
    int fd, one = 1;
    while ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        p->fd = fd;
        epoll_ctl(poll_with, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.ptr = NULL};
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    poll_with = epoll_create1(0);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 4096) ||
        getsockname(listening, (struct sockaddr *)&address, &length)) {
        perror("limit_server");
        return 1;
    }
    epoll_ctl(poll_with, EPOLL_CTL_ADD, listening, &event);
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poll_with, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (!events[i].data.ptr)
                accept_all(listening);
            else if (!serve(events[i].data.ptr, events[i].events))
                drop(events[i].data.ptr);
        }
    }
}
