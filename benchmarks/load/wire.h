/* What goes over the wire: the opening handshake, masked frames, and a reader of the server's frames (RFC 6455). */
#ifndef LOAD_WIRE_H
#define LOAD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* RFC 6455 §1.3: the sample nonce and the accept value that belongs to it, so no SHA-1 is needed here. */
#define SAMPLE_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define SAMPLE_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define FRAME_OVERHEAD 14 /* the longest frame header: 2 + 8 octets of length + 4 of masking key */

size_t wire_request(char *out, size_t room, const char *path, unsigned port, bool deflate);

/* NULL if the head (ending in an empty line) is a right answer to wire_request, else what is wrong with it. */
const char *wire_check_response(const char *head, size_t length, bool deflate);

/* One masked frame with FIN set; returns its length. out has room for length + FRAME_OVERHEAD. */
size_t wire_frame(uint8_t *out, enum opcode opcode, bool rsv1, const uint8_t *payload, size_t length);

struct frame_reader {
    uint8_t header[FRAME_OVERHEAD];
    unsigned have;         /* octets of the header held */
    bool in_payload;
    uint8_t opcode;
    bool fin, rsv1;
    uint64_t length, left; /* of the payload */
};

/* Take what belongs to the header from data. Returns the octets taken; r->in_payload tells whether the header is
 * complete; *fault is set where the frame is one a server may not send. */
size_t wire_read_header(struct frame_reader *r, const uint8_t *data, size_t length, const char **fault);

#endif
