#define _GNU_SOURCE
#include "session.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#ifdef WITH_ZLIB
#include <zlib.h>
#endif

#define HEAD_ROOM 4096
#define READ_ROOM (1u << 20)
#define CHECKED 64 /* octets of every piece of a reply that are compared with what was sent */

static int poll_with;
static uint8_t read_buffer[READ_ROOM];

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

void session_poll_with(int epoll) { poll_with = epoll; }

static void watch(struct session *s, int operation, bool write)
{
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = s};
    if (epoll_ctl(poll_with, operation, s->channel.fd, &event) < 0)
        die("epoll_ctl");
    s->wants_write = write;
}

void session_start(struct session *s, unsigned source, uint64_t now)
{
    if (channel_connect(&s->channel, &plan.address, source) == CHANNEL_ERROR)
        die("could not begin to connect");
    s->phase = CONNECTING;
    s->started_at = now;
    s->reader = (struct frame_reader){0};
    s->message_at = s->wire_at = s->out_left = s->out_at = s->head_length = 0;
    s->sent_first = s->sent_count = 0;
    if (!s->sent_at)
        s->sent_at = calloc(plan.in_flight, sizeof *s->sent_at);
    watch(s, EPOLL_CTL_ADD, true);
}

void session_drop(struct session *s)
{
    channel_close(&s->channel);
    s->phase = IDLE_SLOT;
}

static void opened(struct session *s)
{
    s->phase = OPEN;
    free(s->head);
    s->head = NULL;
    listener.opened(s);
}

static void upgrade(struct session *s)
{
    char request[512];
    size_t length = wire_request(request, sizeof request, plan.path, ntohs(plan.address.sin_port), plan.deflate);
    if (channel_write(&s->channel, request, length) != (ssize_t)length)
        die("could not send the opening handshake");
    s->head = malloc(HEAD_ROOM);
    s->phase = UPGRADING;
}

static void connecting(struct session *s)
{
    int outcome = channel_connected(&s->channel);
    if (outcome == CHANNEL_ERROR)
        die("could not connect");
    if (outcome == CHANNEL_AGAIN) {
        if (s->wants_write) /* the rest of a TLS handshake waits for octets only */
            watch(s, EPOLL_CTL_MOD, false);
        return;
    }
    if (s->wants_write)
        watch(s, EPOLL_CTL_MOD, false);
    if (plan.raw)
        opened(s);
    else
        upgrade(s);
}

static void flush(struct session *s)
{
    while (s->out_left) {
        size_t room = plan.batch_length - s->out_at;
        ssize_t put = channel_write(&s->channel, plan.batch + s->out_at, room < s->out_left ? room : s->out_left);
        if (put == CHANNEL_AGAIN)
            break;
        if (put <= 0)
            die("the server closed the connection while messages were sent");
        s->out_left -= (size_t)put;
        s->out_at = (s->out_at + (size_t)put) % plan.frame_length;
    }
    if (s->wants_write != (s->out_left > 0))
        watch(s, EPOLL_CTL_MOD, s->out_left > 0);
}

void session_send(struct session *s, unsigned messages, uint64_t now)
{
    for (unsigned i = 0; i < messages; i++)
        s->sent_at[(s->sent_first + s->sent_count++) % plan.in_flight] = now;
    s->out_left += (size_t)messages * plan.frame_length;
    flush(s);
}

uint64_t session_sent_at(struct session *s)
{
    if (!s->sent_count)
        die("a reply to nothing");
    uint64_t at = s->sent_at[s->sent_first];
    s->sent_first = (s->sent_first + 1) % plan.in_flight;
    s->sent_count--;
    return at;
}

void session_begin_close(struct session *s)
{
    static const uint8_t normal[2] = {0x03, 0xe8};
    uint8_t frame[2 + FRAME_OVERHEAD];
    size_t length = wire_frame(frame, CLOSE, false, normal, sizeof normal);
    s->phase = CLOSING;
    if (channel_write(&s->channel, frame, length) != (ssize_t)length)
        die("could not send Close");
}

#ifdef WITH_ZLIB
static void check_compressed(struct session *s)
{
    z_stream stream = {0};
    uint8_t *out = malloc(plan.size + 64);
    memcpy(s->first_reply + s->wire_at, "\0\0\xff\xff", 4);
    inflateInit2(&stream, -15);
    stream.next_in = s->first_reply;
    stream.avail_in = (uInt)s->wire_at + 4;
    stream.next_out = out;
    stream.avail_out = (uInt)plan.size + 64;
    int result = inflate(&stream, Z_SYNC_FLUSH);
    if ((result != Z_OK && result != Z_BUF_ERROR) || stream.total_out != plan.size || memcmp(out, plan.message, plan.size))
        die("the first compressed reply is not the message");
    inflateEnd(&stream);
    free(out);
}
#else
static void check_compressed(struct session *s) { (void)s; }
#endif

/* A compressed reply is inflated and compared once a connection; after that the server's context makes it shorter. */
static void take_compressed(struct session *s, const uint8_t *data, size_t length)
{
    if (!s->replied) {
        if (!s->first_reply)
            s->first_reply = malloc(2 * plan.size + 128);
        if (s->wire_at + length > 2 * plan.size + 64)
            die("a compressed reply twice as long as the message");
        memcpy(s->first_reply + s->wire_at, data, length);
    }
    s->wire_at += length;
}

static void take_plain(struct session *s, const uint8_t *data, size_t length)
{
    if (s->message_at + length > plan.size)
        die("a reply longer than the message");
    size_t checked = s->replied && length > CHECKED ? CHECKED : length;
    if (memcmp(data, plan.message + s->message_at, checked))
        die("a reply that is not the message");
    s->message_at += length;
}

static void message_complete(struct session *s, uint64_t now)
{
    if (s->compressed_reply) {
        if (!s->replied)
            check_compressed(s);
        free(s->first_reply);
        s->first_reply = NULL;
    } else if (s->message_at != plan.size) {
        die("a reply shorter than the message");
    }
    s->replied = true;
    s->message_at = s->wire_at = 0;
    listener.message(s, now);
}

static void frame_starts(struct session *s)
{
    const struct frame_reader *r = &s->reader;
    if (r->opcode == CLOSE && s->phase != CLOSING)
        die("the server began to close");
    if (r->rsv1 && (!plan.deflate || r->opcode >= CLOSE || r->opcode == CONTINUATION))
        die("RSV1 on a frame that may not have it");
    if (r->opcode == TEXT || r->opcode == BINARY)
        s->compressed_reply = r->rsv1;
}

static void take_frames(struct session *s, const uint8_t *data, size_t length, uint64_t now)
{
    const char *fault = NULL;
    while (s->phase == OPEN || s->phase == CLOSING) {
        if (!s->reader.in_payload) {
            size_t taken = wire_read_header(&s->reader, data, length, &fault);
            if (fault)
                die(fault);
            data += taken;
            length -= taken;
            if (!s->reader.in_payload)
                return;
            frame_starts(s);
        }
        size_t piece = s->reader.left < length ? (size_t)s->reader.left : length;
        bool is_data = s->reader.opcode < CLOSE;
        if (is_data && piece)
            (s->compressed_reply ? take_compressed : take_plain)(s, data, piece);
        s->reader.left -= piece;
        data += piece;
        length -= piece;
        if (s->reader.left)
            return;
        s->reader.in_payload = false;
        if (is_data && s->reader.fin)
            message_complete(s, now);
        else if (s->reader.opcode == CLOSE)
            listener.closed(s, now);
    }
}

static void take_octets(struct session *s, const uint8_t *data, size_t length, uint64_t now)
{
    while (length && s->phase == OPEN) {
        size_t piece = plan.size - s->message_at < length ? plan.size - s->message_at : length;
        take_plain(s, data, piece);
        data += piece;
        length -= piece;
        if (s->message_at == plan.size)
            message_complete(s, now);
    }
}

static void take_head(struct session *s, const uint8_t *data, size_t length)
{
    if (s->head_length + length >= HEAD_ROOM)
        die("the answer to the opening handshake is too long");
    memcpy(s->head + s->head_length, data, length);
    s->head_length += length;
    if (!memmem(s->head, s->head_length, "\r\n\r\n", 4))
        return;
    if (memcmp(s->head + s->head_length - 4, "\r\n\r\n", 4))
        die("the server spoke before it was spoken to");
    const char *fault = wire_check_response(s->head, s->head_length, plan.deflate);
    if (fault)
        die(fault);
    opened(s);
}

static void end_of_octets(struct session *s, uint64_t now)
{
    if (s->phase != CLOSING)
        die("the server closed the connection");
    listener.closed(s, now);
}

static void readable(struct session *s)
{
    for (;;) {
        ssize_t got = channel_read(&s->channel, read_buffer, READ_ROOM);
        uint64_t now = now_ns();
        if (got == CHANNEL_AGAIN)
            return;
        if (got <= 0) {
            end_of_octets(s, now);
            return;
        }
        if (s->phase == UPGRADING)
            take_head(s, read_buffer, (size_t)got);
        else
            (plan.raw ? take_octets : take_frames)(s, read_buffer, (size_t)got, now);
        if (s->phase == OPEN)
            listener.drained(s, now);
        /* TLS may hold more than the socket shows; a socket that gave less than asked is empty. */
        if (s->phase == IDLE_SLOT || s->phase == CONNECTING)
            return;
        if ((size_t)got < READ_ROOM && !channel_holds(&s->channel))
            return;
    }
}

void session_ready(struct session *s, uint32_t events)
{
    if (s->phase == CONNECTING) {
        connecting(s);
        return;
    }
    if ((events & EPOLLOUT) && s->wants_write)
        flush(s);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && s->phase != IDLE_SLOT)
        readable(s);
}
