/* One client connection of the load: from connecting to the last reply. What a reply leads to is the mode's affair. */
#ifndef LOAD_SESSION_H
#define LOAD_SESSION_H

#include "channel.h"
#include "plan.h"
#include "wire.h"

enum phase { IDLE_SLOT, CONNECTING, UPGRADING, OPEN, CLOSING };

struct session {
    struct channel channel;
    enum phase phase;
    bool wants_write;
    bool replied;           /* has had its first reply, which is checked whole */
    char *head;             /* of the answer to the opening handshake, while it is awaited */
    size_t head_length;
    struct frame_reader reader;
    uint64_t message_at;    /* octets of the current reply received */
    uint64_t wire_at;       /* the same, as they came (compressed or not) */
    bool compressed_reply;
    uint8_t *first_reply;   /* compressed octets of the first reply */
    size_t out_left, out_at;
    uint64_t *sent_at;      /* a ring of in_flight times, in nanoseconds */
    unsigned sent_first, sent_count;
    uint64_t started_at;
};

/* What the mode hears. A session may be closed from within session_closed only. */
struct listener {
    void (*opened)(struct session *);
    void (*message)(struct session *, uint64_t now);
    void (*drained)(struct session *, uint64_t now); /* everything one read brought has been heard of */
    void (*closed)(struct session *, uint64_t now);  /* only where the closing handshake was begun */
};

extern struct plan plan;
extern struct listener listener;

uint64_t now_ns(void);
void session_poll_with(int epoll);
void session_start(struct session *s, unsigned source, uint64_t now);
void session_ready(struct session *s, uint32_t events);
void session_send(struct session *s, unsigned messages, uint64_t now);
uint64_t session_sent_at(struct session *s); /* of the oldest message without a reply, which has one now */
void session_begin_close(struct session *s); /* sends Close 1000; listener.closed follows */
void session_drop(struct session *s);

#endif
