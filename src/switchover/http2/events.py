"""What the octets of an HTTP/2 connection meant: the events of both machines.

What happens on a stream is told in the words of :mod:`switchover.http.events`, wrapped in a
:class:`StreamEvent`; the rest is told here. ``Failed`` and ``PeerClosed``, not wrapped, are
about the connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from switchover.errors import ProtocolError
from switchover.http import events as http_events
from switchover.http2.codes import ErrorCode
from switchover.http2.settings import PeerSettings

__all__ = [
    "ConnectionEvent",
    "GoAway",
    "SettingsReceived",
    "StreamEvent",
    "StreamReset",
    "WindowOpened",
]


@dataclass(slots=True, unsafe_hash=True)
class StreamEvent:
    """``event`` has happened on the stream ``stream_id``.

    Not frozen, though nobody should change one: there are several for each request, and frozen
    ones take three times as long to make.
    """

    stream_id: int
    event: http_events.Event


@dataclass(frozen=True, slots=True)
class StreamReset:
    """A stream has ended abruptly; nothing can be sent on it any more.

    ``error`` is ``None`` if the peer has reset it, else the peer's fault for which we have.
    ``code`` is usually an :class:`~switchover.http2.codes.ErrorCode`, but peers may send any.
    With REFUSED_STREAM the peer has not processed the request: it may be sent again.
    """

    stream_id: int
    code: int
    error: ProtocolError | None = None

    @property
    def may_retry(self) -> bool:
        """Whether the request has surely not been processed (RFC 9113 §8.7)."""
        return self.code == ErrorCode.REFUSED_STREAM


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """Content that waited on a stream may go on: the peer has granted window.

    May come more than once before content is sent; ``send_window()`` says what holds.
    """

    stream_id: int


@dataclass(frozen=True, slots=True)
class SettingsReceived:
    """The peer's settings have arrived or changed; ``settings`` is what
    holds now, and goes on to be what holds."""

    settings: PeerSettings


@dataclass(frozen=True, slots=True)
class GoAway:
    """The peer opens, or takes, no new streams.

    Streams of ours above ``last_stream_id`` are not processed; each is told by a
    :class:`StreamReset` of its own.
    """

    last_stream_id: int
    code: int
    debug: bytes


ConnectionEvent = (
    StreamEvent
    | StreamReset
    | WindowOpened
    | SettingsReceived
    | GoAway
    | http_events.PeerClosed
    | http_events.Failed
)
