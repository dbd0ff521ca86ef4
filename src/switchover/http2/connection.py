"""What both ends of an HTTP/2 connection have in common (RFC 9113).

The engine carries frames; a machine gives them their meaning as HTTP. Both ends speak in
events, and take verbs that name a stream.
"""

from __future__ import annotations

from collections.abc import Callable

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.events import ContentReceived, Failed, MessageComplete, PeerClosed
from switchover.http.fields import Fields
from switchover.http.messages import Request
from switchover.http2.codes import ErrorCode
from switchover.http2.engine import Engine, Stream, StreamFault
from switchover.http2.events import (
    ConnectionEvent,
    GoAway,
    SettingsReceived,
    StreamEvent,
    StreamReset,
    WindowOpened,
)
from switchover.http2.frames import UNKNOWN, Message
from switchover.http2.limits import Limits
from switchover.http2.semantics import trailer_lines
from switchover.http2.settings import PeerSettings, Settings

__all__ = ["UNKNOWN", "Connection", "Message"]


class Connection:
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
        self._events: list[ConnectionEvent] = []
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

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer."""
        self._engine.receive(data)

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

    def events_received(self) -> list[ConnectionEvent]:
        """Return what has happened since the last call."""
        events = self._events
        if events:
            self._events = []
        return events

    def data_to_send(self) -> list[bytes | memoryview]:
        """Return what is to be written now, in order."""
        return self._engine.data_to_send()

    def close_expected(self) -> bool:
        """Say whether to close the connection once everything has been written."""
        return self._engine.closed

    # Verbs.

    def send_content(self, stream_id: int, data: bytes | memoryview, *, end: bool = False) -> int:
        """Send as much of ``data`` as the peer's windows take, and return how much that was.

        The rest stays with the caller until :class:`WindowOpened`. With ``end`` the content
        is complete if all of it was taken. ``data`` must not change once given.
        """
        stream = self._sendable(stream_id)
        message: Message = stream.message
        if message.to_send != UNKNOWN:
            left = message.to_send - len(data)
            # RFC 9110 §8.6: "a sender MUST NOT forward a message with a Content-Length header
            # field value that is known to be incorrect".
            if left < 0 or (end and left):
                raise LocalProtocolError(
                    f"content differs from the Content-Length by {abs(left)} octets",
                    rule="RFC 9113 §8.1.1",
                )
        taken = self._engine.send_data(stream, data, end=end)
        if message.to_send != UNKNOWN:
            message.to_send -= taken
        return taken

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

    def acknowledge(self, stream_id: int, octets: int) -> None:
        """Let the peer send as much again: ``octets`` of content have been consumed.

        Until then they count against the windows, so that a peer is never ahead of its
        reader by more than a window. Does nothing if the stream is gone.
        """
        stream = self._engine.streams.get(stream_id)
        if stream is not None:
            self._engine.acknowledge(stream, octets)

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

    def _sendable(self, stream_id: int) -> Stream:
        stream = self._engine.streams.get(stream_id)
        if stream is None or not stream.local_open:
            raise LocalProtocolError(
                f"nothing can be sent on stream {stream_id}: our side is closed",
                rule="RFC 9113 §5.1",
            )
        if not stream.message.head_sent:
            raise LocalProtocolError("content before the head", rule="RFC 9113 §8.1")
        return stream

    def _last_processed(self) -> int:
        return 0 if self._engine.client else self._engine.highest

    # What the engine tells.

    def headers_received(
        self, stream: Stream, lines: list[tuple[bytes, bytes]] | None, *, end: bool
    ) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        raise NotImplementedError

    def data_received(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        message: Message = stream.message
        if data:
            message.received += len(data)
            # RFC 9113 §8.1.1: malformed "if the value of the Content-Length header field does
            # not equal the sum of the DATA frame payload lengths".
            if 0 <= message.expected < message.received:
                raise _wrong_length(message)
            if self._wants_content(stream, len(data)):
                self._events.append(StreamEvent(stream.id, ContentReceived(data)))
            else:
                self._engine.acknowledge(stream, len(data))
        # A receiver of the content may have reset the stream.
        if end and stream.id in self._engine.streams:
            self._complete(stream, Fields.from_octets([]))

    def _wants_content(self, stream: Stream, octets: int) -> bool:
        return True

    def _complete(self, stream: Stream, trailers: Fields) -> None:
        message: Message = stream.message
        if 0 <= message.expected != message.received:
            raise _wrong_length(message)
        self._events.append(StreamEvent(stream.id, MessageComplete(trailers)))

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


def _wrong_length(message: Message) -> StreamFault:
    return StreamFault(
        ErrorCode.PROTOCOL_ERROR,
        f"content of {message.received} octets or more, {message.expected} announced",
        "RFC 9113 §8.1.1",
    )
