/* What one run of the load generator is to do, as read from its command line. */
#ifndef LOAD_PLAN_H
#define LOAD_PLAN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mode { ECHO, HANDSHAKES, IDLE, BROADCAST };

struct plan {
    enum mode mode;
    struct sockaddr_in address;
    const char *path;
    unsigned connections, in_flight;
    size_t size;
    double seconds, warmup;
    bool raw;     /* octets with no opening handshake and no framing: the server is a TCP echo */
    bool deflate; /* offer permessage-deflate, send compressed messages */
    bool text;
    bool tls;
    /* made from the above: */
    uint8_t *message;      /* size octets, what the echo must be */
    uint8_t *batch;        /* a whole number of copies of one frame */
    size_t frame_length, batch_length;
};

void plan_read(struct plan *plan, int argc, char **argv); /* ends the program on a wrong command line */
_Noreturn void die(const char *message);                   /* {"error": message} and exit code 1 */

#endif
