"""What a server may take, and how long it may take it."""

from __future__ import annotations

from dataclasses import dataclass, field

from switchover.http.limits import Limits

__all__ = ["ServerSettings", "Timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time limits of a server's connections, in seconds; ``None`` sets no limit.

    They are absolute: one more octet does not buy more time (SEC-19).
    """

    #: From the first moment of a connection, or the end of the previous exchange once its
    #: next octet has arrived, to the end of the request's header section.
    head: float | None = 15.0
    #: For the content of a request, as long as the application waits for it: in each such
    #: period so many octets a second have to come on average.
    content: float | None = 60.0
    content_rate: int = 240
    #: A kept-alive connection without a request.
    idle: float | None = 75.0
    #: For the TLS handshake, from the first octet or after a 101.
    tls_handshake: float | None = 10.0
    #: For a successor's opening octets (the HTTP/2 preface), and for an application that
    #: was asked whether it takes an upgrade.
    switch: float | None = 30.0
    #: For the closing handshake of a successor.
    close: float | None = 10.0
    #: For a peer that may be sending still when its connection is over: so long its octets are
    #: read and dropped, for it to read our last ones (RFC 9112 §9.6). With 0 it is closed.
    linger: float = 5.0
    #: How long graceful shutdown waits before it aborts what is left.
    shutdown: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Everything about a server that is neither application nor protocol."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    #: The value of the ``Server`` field; ``None`` sends none.
    server_name: str | None = None
    #: Connections at once, all peers together (SEC-41); one more is answered 503.
    max_connections: int = 100_000
    #: Connections at once of one peer address; ``None`` sets no limit.
    max_connections_per_peer: int | None = None
    #: Octets of request content held for an application that does not read it.
    content_high_mark: int = 64 * 1024
    #: The transport's write buffer: above it, senders wait.
    write_high_mark: int = 64 * 1024
    #: Take HTTP/2 by prior knowledge on a cleartext port (RFC 9113 §3.3).
    http2_prior_knowledge: bool = False
    #: Read and write the sockets without the event loop's transports, where that can be done:
    #: on Linux, with the compiled modules, on uvloop and asyncio's own loop.
    own_transports: bool = True
    #: Log a line for each exchange to ``switchover.access``.
    access_log: bool = False
