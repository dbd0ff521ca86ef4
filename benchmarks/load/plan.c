#define _GNU_SOURCE
#include "plan.h"

#include "channel.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_ZLIB
#include <zlib.h>
#endif

static const char usage[] =
    "usage: loadgen --port N [--mode echo|handshakes|idle|broadcast] [--path /] [--connections N] [--in-flight N]\n"
    "               [--size OCTETS] [--seconds S] [--warmup S] [--raw] [--deflate] [--text] [--tls]\n";

void die(const char *message)
{
    printf("{\"error\": \"%s\", \"errno\": \"%s\"}\n", message, errno ? strerror(errno) : "");
    exit(1);
}

static enum mode mode_of(const char *name)
{
    static const char *const names[] = {"echo", "handshakes", "idle", "broadcast"};
    for (enum mode mode = ECHO; mode <= BROADCAST; mode++)
        if (!strcmp(name, names[mode]))
            return mode;
    fputs(usage, stderr);
    exit(2);
}

/* Letters and records a compressor finds something in, but not too much: a third or so is left of it. */
static void fill_message(struct plan *plan)
{
    uint32_t state = 12345;
    size_t at = 0;
    plan->message = calloc(1, plan->size + 64);
    while (at < plan->size) {
        char record[64];
        state = state * 1664525u + 1013904223u;
        int length = snprintf(record, sizeof record, "{\"id\": %u, \"name\": \"n%u\", \"up\": true}, ", state >> 12, state >> 24);
        size_t room = plan->size - at;
        memcpy(plan->message + at, record, (size_t)length < room ? (size_t)length : room);
        at += (size_t)length;
    }
}

#ifdef WITH_ZLIB
/* RFC 7692 §7.2.1: a raw deflate stream, flushed, without its last four octets. */
static uint8_t *compressed(const struct plan *plan, size_t *length)
{
    z_stream stream = {0};
    size_t room = compressBound(plan->size) + 64;
    uint8_t *out = malloc(room);
    deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    stream.next_in = plan->message;
    stream.avail_in = (uInt)plan->size;
    stream.next_out = out;
    stream.avail_out = (uInt)room;
    if (deflate(&stream, Z_SYNC_FLUSH) != Z_OK || stream.avail_in)
        die("could not compress the message");
    *length = room - stream.avail_out - 4;
    deflateEnd(&stream);
    return out;
}
#else
static uint8_t *compressed(const struct plan *plan, size_t *length)
{
    (void)plan;
    (void)length;
    die("built without zlib: install zlib1g-dev and build again");
}
#endif

static void make_batch(struct plan *plan)
{
    size_t payload_length = plan->size, copies;
    uint8_t *payload = plan->deflate ? compressed(plan, &payload_length) : plan->message;
    uint8_t *frame = malloc(payload_length + FRAME_OVERHEAD);
    if (plan->raw) {
        memcpy(frame, payload, payload_length);
        plan->frame_length = payload_length;
    } else {
        plan->frame_length = wire_frame(frame, plan->text ? TEXT : BINARY, plan->deflate, payload, payload_length);
    }
    copies = plan->in_flight;
    while (copies > 1 && copies * plan->frame_length > (4u << 20))
        copies--;
    plan->batch_length = copies * plan->frame_length;
    plan->batch = malloc(plan->batch_length);
    for (size_t copy = 0; copy < copies; copy++)
        memcpy(plan->batch + copy * plan->frame_length, frame, plan->frame_length);
    free(frame);
    if (plan->deflate)
        free(payload);
}

void plan_read(struct plan *plan, int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, 0, 'p'},      {"mode", 1, 0, 'm'},   {"path", 1, 0, 'P'},    {"connections", 1, 0, 'c'},
        {"in-flight", 1, 0, 'd'}, {"size", 1, 0, 's'},   {"seconds", 1, 0, 't'}, {"warmup", 1, 0, 'w'},
        {"raw", 0, 0, 'r'},       {"deflate", 0, 0, 'z'}, {"text", 0, 0, 'x'},   {"tls", 0, 0, 'S'},
        {0, 0, 0, 0}};
    *plan = (struct plan){.path = "/", .connections = 1, .in_flight = 1, .size = 32, .seconds = 2, .warmup = 0.3};
    plan->address.sin_family = AF_INET;
    plan->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': plan->address.sin_port = htons((uint16_t)atoi(optarg)); break;
        case 'm': plan->mode = mode_of(optarg); break;
        case 'P': plan->path = optarg; break;
        case 'c': plan->connections = (unsigned)atoi(optarg); break;
        case 'd': plan->in_flight = (unsigned)atoi(optarg); break;
        case 's': plan->size = strtoull(optarg, NULL, 10); break;
        case 't': plan->seconds = atof(optarg); break;
        case 'w': plan->warmup = atof(optarg); break;
        case 'r': plan->raw = true; break;
        case 'z': plan->deflate = true; break;
        case 'x': plan->text = true; break;
        case 'S': plan->tls = true; break;
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (!plan->address.sin_port || !plan->connections || !plan->in_flight || !plan->size || (plan->raw && plan->deflate)) {
        fputs(usage, stderr);
        exit(2);
    }
    fill_message(plan);
    make_batch(plan);
    if (plan->tls)
        channel_use_tls();
}
