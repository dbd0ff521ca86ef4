"""What both ends of an HTTP/2 connection have in common (RFC 9113).

The engine carries frames; a machine gives them their meaning as HTTP. Both ends speak in
events, and take verbs that name a stream.
"""

from __future__ import annotations

from collections.abc import Callable

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.events import Failed, PeerClosed
from switchover.http.fields import Fields
from switchover.http.messages import Request
from switchover.http2.codes import ErrorCode
from switchover.http2.engine import Engine, Stream
from switchover.http2.events import (
    GoAway,
    SettingsReceived,
    StreamReset,
    WindowOpened,
)
from switchover.http2.frames import UNKNOWN, Message
from switchover.http2.limits import Limits
from switchover.http2.machine import Machine
from switchover.http2.semantics import trailer_lines
from switchover.http2.settings import PeerSettings, Settings

__all__ = ["UNKNOWN", "Connection", "Message"]


class Connection(Machine):
    """One end of an HTTP/2 connection; use :class:`ServerConnection` or a client's twin.

    ``clock`` returns seconds from any start; floods and stalls are measured with it.
    Nothing a peer sends makes a method raise. What the caller does wrong raises
    :class:`LocalProtocolError`, and then nothing has been written.
    """

    def __init__(
        self,
        *,
        client: bool,
        settings: Settings,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._engine = Engine(self, settings, limits, clock, client=client)
        self._limits = limits
        self._settings = settings
        self._events = []
        self._ended = False

    # What the machine knows.

    @property
    def settings(self) -> Settings:
        """What this end allows."""
        return self._settings

    @property
    def peer_settings(self) -> PeerSettings:
        """What the peer allows; the standard's initial values until it has said so."""
        return self._engine.peer

    @property
    def limits(self) -> Limits:
        """What a peer may make this connection do."""
        return self._limits

    @property
    def content_waits(self) -> bool:
        """Whether content waits for the peer's window on any stream; see check_stalls()."""
        return bool(self._engine.blocked)

    @property
    def open_streams(self) -> int:
        """How many streams are open, or half closed."""
        return len(self._engine.streams)

    def request_on(self, stream_id: int) -> Request | None:
        """Return the request of a stream, ``None`` if the stream is gone."""
        stream = self._engine.streams.get(stream_id)
        return None if stream is None else stream.message.request

    def send_window(self, stream_id: int) -> int:
        """Return how many octets of content may be sent on a stream now; 0 if it is gone."""
        stream = self._engine.streams.get(stream_id)
        if stream is None or not stream.local_open:
            return 0
        return max(0, min(self._engine.send_window, stream.send_window))

    # Octets in, events out.

    def rest_expected(self) -> bool:
        """Whether the peer may be sending still when the connection is to be closed.

        Until it has read our GOAWAY it may. RFC 9112 §9.6: it is to be closed in stages then.
        """
        return not self._ended

    def receive_eof(self) -> None:
        """Learn that the peer sends no more; in HTTP/2 the connection is over then."""
        if self._ended:
            return
        self._ended = True
        if self._engine.closed:
            return
        if self._engine.streams:
            error = RemoteProtocolError(
                "the connection ended with streams open", rule="RFC 9113 §5.1"
            )
            self._events.append(Failed(error))
        else:
            self._events.append(PeerClosed())
        self._engine.close()

    # Verbs.

    def send_content(self, stream_id: int, data: bytes | memoryview, *, end: bool = False) -> int:
        """Send as much of ``data`` as the peer's windows take, and return how much that was.

        The rest stays with the caller until :class:`WindowOpened`. With ``end`` the content
        is complete if all of it was taken. ``data`` must not change once given.
        """
        return self.send_some(stream_id, data, end)

    def send_end(self, stream_id: int, trailers: Fields | None = None) -> None:
        """Complete our side of a stream, with ``trailers`` if there are any."""
        stream = self._sendable(stream_id)
        if stream.message.to_send > 0:
            raise LocalProtocolError(
                f"{stream.message.to_send} octets of the Content-Length are missing",
                rule="RFC 9113 §8.1.1",
            )
        if stream.message.tunnel and trailers:
            # RFC 9113 §8.5: once open, "frames of any other type" than DATA and a few others
            # make a stream error.
            raise LocalProtocolError("a tunnel has no trailers", rule="RFC 9113 §8.5")
        if trailers:
            self._engine.send_headers(stream, trailer_lines(trailers), end=True)
        else:
            self._engine.send_data(stream, b"", end=True)

    def reset(self, stream_id: int, code: int = ErrorCode.CANCEL) -> None:
        """End a stream abruptly; does nothing if it is gone."""
        stream = self._engine.streams.get(stream_id)
        if stream is not None:
            self._engine.reset(stream, code)

    def close(self, code: int = ErrorCode.NO_ERROR, reason: str = "") -> None:
        """End the connection at once: GOAWAY, and no stream goes on."""
        if not self._engine.closed:
            self._engine.goaway(self._last_processed(), code, reason)
            self._engine.close()

    def check_stalls(self, now: float) -> float | None:
        """Reset streams whose content has waited too long for a window (SEC-31).

        Returns when to call again, ``None`` if nothing waits. ``now`` is the clock's time.
        """
        blocked = self._engine.blocked
        for stream, since in list(blocked.items()):
            if now - since < self._limits.stall:
                break
            self._engine.reset(stream, ErrorCode.CANCEL)
            error = RemoteProtocolError(
                f"the peer granted no window for {self._limits.stall:g} s",
                rule="RFC 9113 §10.5",
            )
            self._events.append(StreamReset(stream.id, ErrorCode.CANCEL, error))
        for since in blocked.values():
            return since + self._limits.stall
        return None

    def _last_processed(self) -> int:
        return 0 if self._engine.client else self._engine.highest

    # What the engine tells.

    def stream_reset(self, stream: Stream, code: int) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        self._events.append(StreamReset(stream.id, code))

    def stream_failed(self, stream: Stream, error: RemoteProtocolError, code: int) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        if stream.message is not None:
            self._events.append(StreamReset(stream.id, code, error))

    def window_opened(self, stream: Stream) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        self._events.append(WindowOpened(stream.id))

    def settings_received(self) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        self._events.append(SettingsReceived(self._engine.peer))

    def goaway_received(self, last: int, code: int, debug: bytes) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        self._events.append(GoAway(last, code, debug))

    def ping_acknowledged(self, payload: bytes) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""

    def connection_failed(self, error: RemoteProtocolError, code: int) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        self._events.append(Failed(error))
