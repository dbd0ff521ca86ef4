/* A non-blocking TCP connection, with or without TLS (compiled in with -DWITH_TLS). */
#ifndef LOAD_CHANNEL_H
#define LOAD_CHANNEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct channel {
    int fd;
    void *tls; /* SSL *, NULL in the clear */
};

enum { CHANNEL_AGAIN = -1, CHANNEL_ERROR = -2 }; /* what reading and writing answer besides a count; 0 is EOF */

void channel_use_tls(void); /* once, before the first connection; ends the program if TLS is not compiled in */

/* Begin to connect. source is the last octet of the local 127.0.0.x address, 0 for the kernel's choice. */
int channel_connect(struct channel *c, const struct sockaddr_in *address, unsigned source);
int channel_connected(struct channel *c); /* 1 when TCP (and TLS) stand, CHANNEL_AGAIN, CHANNEL_ERROR */
ssize_t channel_read(struct channel *c, void *buffer, size_t length);
ssize_t channel_write(struct channel *c, const void *data, size_t length);
int channel_holds(struct channel *c); /* whether octets have been read from the socket that no channel_read gave */
void channel_close(struct channel *c);

#endif
