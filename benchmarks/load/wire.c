#define _GNU_SOURCE
#include "wire.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

size_t wire_request(char *out, size_t room, const char *path, unsigned port, bool deflate)
{
    /* client_no_context_takeover: every message is compressed alone, so one prepared frame serves for all. */
    int length = snprintf(out, room,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: " SAMPLE_KEY "\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                          path, port,
                          deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n" : "");
    return length > 0 && (size_t)length < room ? (size_t)length : 0;
}

/* Where the value of the named field starts, or NULL. The head ends in an empty line, so the search ends in it. */
static const char *field_value(const char *head, size_t length, const char *name)
{
    size_t name_length = strlen(name);
    const char *end = head + length, *line = memmem(head, length, "\r\n", 2);
    while (line && line + 2 < end) {
        line += 2;
        if ((size_t)(end - line) > name_length && line[name_length] == ':' && !strncasecmp(line, name, name_length)) {
            const char *value = line + name_length + 1;
            while (*value == ' ' || *value == '\t')
                value++;
            return value;
        }
        line = memmem(line, (size_t)(end - line), "\r\n", 2);
    }
    return NULL;
}

const char *wire_check_response(const char *head, size_t length, bool deflate)
{
    if (length < 12 || memcmp(head, "HTTP/1.1 101", 12))
        return "the answer to the opening handshake is not HTTP/1.1 101";
    const char *accept = field_value(head, length, "Sec-WebSocket-Accept");
    if (!accept || strncmp(accept, SAMPLE_ACCEPT "\r\n", sizeof SAMPLE_ACCEPT + 1))
        return "Sec-WebSocket-Accept is missing or wrong";
    const char *extensions = field_value(head, length, "Sec-WebSocket-Extensions");
    if (deflate && (!extensions || strncmp(extensions, "permessage-deflate", 18)))
        return "permessage-deflate was offered and not accepted";
    if (!deflate && extensions)
        return "an extension was accepted that nobody offered";
    return NULL;
}

size_t wire_frame(uint8_t *out, enum opcode opcode, bool rsv1, const uint8_t *payload, size_t length)
{
    static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = 0;
    out[at++] = (uint8_t)(0x80 | (rsv1 ? 0x40 : 0) | opcode);
    if (length < 126) {
        out[at++] = (uint8_t)(0x80 | length);
    } else {
        unsigned octets = length < 65536 ? 2 : 8;
        out[at++] = (uint8_t)(0x80 | (octets == 2 ? 126 : 127));
        while (octets--)
            out[at++] = (uint8_t)((uint64_t)length >> (8 * octets));
    }
    memcpy(out + at, key, 4);
    at += 4;
    for (size_t i = 0; i < length; i++)
        out[at + i] = payload[i] ^ key[i & 3];
    return at + length;
}

static unsigned header_need(const struct frame_reader *r)
{
    unsigned length = r->have < 2 ? 0 : r->header[1] & 0x7f;
    return length == 126 ? 4 : length == 127 ? 10 : 2;
}

size_t wire_read_header(struct frame_reader *r, const uint8_t *data, size_t length, const char **fault)
{
    size_t taken = 0;
    while (taken < length && r->have < header_need(r))
        r->header[r->have++] = data[taken++];
    if (r->have < 2 || r->have < header_need(r))
        return taken;
    if (r->header[0] & 0x30)
        *fault = "a reserved bit is set";
    if (r->header[1] & 0x80)
        *fault = "the server masked a frame";
    r->fin = r->header[0] & 0x80;
    r->rsv1 = r->header[0] & 0x40;
    r->opcode = r->header[0] & 0x0f;
    r->length = r->header[1] & 0x7f;
    if (r->length >= 126) {
        r->length = 0;
        for (unsigned i = 2; i < r->have; i++)
            r->length = r->length << 8 | r->header[i];
    }
    r->left = r->length;
    r->in_payload = true;
    r->have = 0;
    return taken;
}
