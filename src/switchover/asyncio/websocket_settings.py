"""Times and sizes that many WebSocket connections have in common."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_SETTINGS", "WebSocketSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSettings:
    """What many connections have in common. Times are in seconds, ``None`` means never."""

    #: Between a pong, or the opening, and the next ping.
    ping_interval: float | None = 20.0
    #: Between a ping and the end of the connection, if no pong comes.
    ping_timeout: float | None = 20.0
    #: From the first Close frame, sent or received, to the end of the transport.
    close_timeout: float | None = 10.0
    #: Between two looks at whether extensions are idle, and can give memory back: contexts of
    #: permessage-deflate stay this long without a message at least, and twice as long at most.
    release_after: float | None = 30.0
    #: Octets of messages that wait for the application: above the first, reading is paused;
    #: it goes on when no more than the second are left. Each message counts 64 more.
    queue_high: int = 256 * 1024
    queue_low: int = 64 * 1024


DEFAULT_SETTINGS = WebSocketSettings()
