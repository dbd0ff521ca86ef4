#define _GNU_SOURCE
#include "channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;

void channel_use_tls(void)
{
    context = SSL_CTX_new(TLS_client_method());
    /* The servers measured show a certificate made for the run, on loopback. */
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* As many records in one read as there are: otherwise each costs two, for its header and for the rest. */
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, 65536);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* each handshake is a whole one */
}

static ssize_t tls_outcome(struct channel *c, int result)
{
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return CHANNEL_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        ERR_clear_error();
        return CHANNEL_ERROR;
    }
}

static int tls_connected(struct channel *c)
{
    int result = SSL_do_handshake(c->tls);
    return result == 1 ? 1 : (int)(tls_outcome(c, result) == CHANNEL_AGAIN ? CHANNEL_AGAIN : CHANNEL_ERROR);
}

static void tls_begin(struct channel *c)
{
    if (!context)
        return;
    c->tls = SSL_new(context);
    SSL_set_fd(c->tls, c->fd);
    SSL_set_connect_state(c->tls);
}
#else
void channel_use_tls(void)
{
    fputs("{\"error\": \"built without TLS: install libssl-dev and build again\"}\n", stdout);
    exit(2);
}
static void tls_begin(struct channel *c) { (void)c; }
#endif

int channel_connect(struct channel *c, const struct sockaddr_in *address, unsigned source)
{
    int one = 1;
    c->tls = NULL;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return CHANNEL_ERROR;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (source) { /* many short connections: one local address would run out of ports in TIME_WAIT */
        struct sockaddr_in local = {.sin_family = AF_INET};
        local.sin_addr.s_addr = htonl(0x7f000000u | source);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (struct sockaddr *)&local, sizeof local) < 0)
            return CHANNEL_ERROR;
    }
    if (connect(c->fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EINPROGRESS)
        return CHANNEL_ERROR;
    tls_begin(c);
    return 0;
}

int channel_connected(struct channel *c)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error) {
        errno = error;
        return CHANNEL_ERROR;
    }
#ifdef WITH_TLS
    if (c->tls)
        return tls_connected(c);
#endif
    return 1;
}

ssize_t channel_read(struct channel *c, void *buffer, size_t length)
{
#ifdef WITH_TLS
    if (c->tls) {
        int got = SSL_read(c->tls, buffer, (int)length);
        return got > 0 ? got : tls_outcome(c, got);
    }
#endif
    ssize_t got = recv(c->fd, buffer, length, 0);
    if (got >= 0)
        return got;
    return errno == EAGAIN || errno == EINTR ? CHANNEL_AGAIN : CHANNEL_ERROR;
}

ssize_t channel_write(struct channel *c, const void *data, size_t length)
{
#ifdef WITH_TLS
    if (c->tls) {
        int put = SSL_write(c->tls, data, (int)(length > (1 << 30) ? 1 << 30 : length));
        return put > 0 ? put : tls_outcome(c, put);
    }
#endif
    ssize_t put = send(c->fd, data, length, MSG_NOSIGNAL);
    if (put >= 0)
        return put;
    return errno == EAGAIN || errno == EINTR ? CHANNEL_AGAIN : CHANNEL_ERROR;
}

int channel_holds(struct channel *c)
{
#ifdef WITH_TLS
    if (c->tls)
        return SSL_has_pending(c->tls);
#endif
    (void)c;
    return 0;
}

void channel_close(struct channel *c)
{
#ifdef WITH_TLS
    if (c->tls)
        SSL_free(c->tls);
#endif
    c->tls = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}
