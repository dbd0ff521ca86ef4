"""The client's end of an HTTP/2 connection (RFC 9113, 7540 §3.2, 8441)."""

from __future__ import annotations

from collections.abc import Callable

from switchover.errors import LocalProtocolError
from switchover.http.body import given_length
from switchover.http.events import InterimResponseReceived, ResponseReceived, Switched
from switchover.http.messages import Request, Response
from switchover.http2 import h2c
from switchover.http2.codes import ErrorCode
from switchover.http2.connection import Connection, Message
from switchover.http2.engine import Stream, StreamFault
from switchover.http2.events import GoAway, StreamEvent, StreamReset
from switchover.http2.limits import Limits
from switchover.http2.semantics import (
    content_length,
    read_response,
    read_trailers,
    request_lines,
)
from switchover.http2.settings import LARGEST_WINDOW, Settings

__all__ = ["ClientConnection"]

#: RFC 9113 §6.5.2: "Initially, there is no limit"; but a server that has not spoken yet is
#: not sent more than it is recommended to take.
_STREAMS_BEFORE_SETTINGS = 100


class ClientConnection(Connection):
    """The HTTP/2 machine of a client: requests out, responses in, many at once.

    For what the verbs have in common see :class:`Connection`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        settings: Settings | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(
            client=True,
            settings=settings or Settings(),
            limits=limits or Limits(),
            clock=clock,
        )
        #: The highest stream the server processes, once it has sent GOAWAY.
        self._last_taken = LARGEST_WINDOW
        self._leaving = False
        self._engine.start()

    @classmethod
    def from_upgrade(
        cls,
        request: Request,
        *,
        clock: Callable[[], float],
        settings: Settings | None = None,
        limits: Limits | None = None,
    ) -> ClientConnection:
        """Return the machine that follows the 101 to our h2c offer (RFC 7540 §3.2).

        ``request`` has been sent whole; its response comes on stream 1. ``settings`` are those
        that were offered in HTTP2-Settings (:func:`~switchover.http2.h2c.h2c_request`). What
        is to be sent begins with the preface, whatever has arrived already.
        """
        connection = cls(clock=clock, settings=settings, limits=limits)
        stream = connection._engine.adopt_stream()
        stream.message = Message(h2c.request_on_stream_1(request))
        stream.message.head_sent = True
        return connection

    # What the machine knows.

    @property
    def extended_connect_allowed(self) -> bool | None:
        """Whether the server takes extended CONNECT; ``None`` before its first SETTINGS."""
        peer = self._engine.peer
        return peer.enable_connect_protocol if peer.received else None

    def may_request(self) -> bool:
        """Say whether another request may be sent now."""
        return self.usable() and self.open_streams < self._most_streams()

    def usable(self) -> bool:
        """Say whether more requests may be sent on this connection, now or later."""
        engine = self._engine
        going = self._last_taken != LARGEST_WINDOW or self._leaving
        # RFC 9113 §5.1.1: numbers are used once; at their end a new connection is needed.
        return not (engine.closed or going or engine.highest >= LARGEST_WINDOW - 2)

    def _most_streams(self) -> int:
        most = self._engine.peer.max_concurrent_streams
        return _STREAMS_BEFORE_SETTINGS if most is None else most

    def close_expected(self) -> bool:
        """Say whether to close the connection once everything has been written."""
        over = self._leaving or self._last_taken != LARGEST_WINDOW
        return self._engine.closed or (over and not self._engine.streams)

    # Requests.

    def send_request(self, request: Request, *, end: bool = False) -> int:
        """Send the head of a request on a new stream, and return its number.

        With ``end`` the request has no content. An extended CONNECT is a request whose
        ``protocol`` is set. Raises :class:`LocalProtocolError` if no stream can be opened now
        (see :meth:`may_request`), for an extended CONNECT that the server has not said it
        takes, and for what HTTP/2 cannot carry.
        """
        if not self.may_request():
            raise LocalProtocolError("no further stream can be opened", rule="RFC 9113 §5.1.2")
        if request.protocol is not None and not self._engine.peer.enable_connect_protocol:
            # RFC 8441 §3: a client may use it "upon receipt of
            # SETTINGS_ENABLE_CONNECT_PROTOCOL" with a value of 1.
            raise LocalProtocolError(
                "the server has not said that it takes extended CONNECT", rule="RFC 8441 §3"
            )
        connect = request.method == "CONNECT"
        if connect and end:
            raise LocalProtocolError("a tunnel stays open", rule="RFC 9113 §8.5")
        lines = request_lines(request)
        length = given_length(request.fields)
        message = Message(request)
        if length is not None and length >= 0 and not connect:
            if end and length:
                raise LocalProtocolError(
                    f"no content, {length} octets announced", rule="RFC 9113 §8.1.1"
                )
            message.to_send = length
        message.head_sent = True
        stream = self._engine.open_stream()
        stream.message = message
        self._engine.send_headers(stream, lines, end=end)
        return stream.id

    def shutdown(self) -> None:
        """Begin a graceful end: send no more requests, finish those under way."""
        if not (self._engine.closed or self._leaving):
            self._leaving = True
            self._engine.goaway(0, ErrorCode.NO_ERROR)

    # What the engine tells.

    def headers_received(
        self, stream: Stream, lines: list[tuple[bytes, bytes]] | None, *, end: bool
    ) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        message: Message = stream.message
        if lines is None:
            raise StreamFault(
                ErrorCode.ENHANCE_YOUR_CALM, "a field section over the limit", "RFC 9113 §10.5.1"
            )
        if message.tunnel:
            # RFC 9113 §8.5: "Receipt of any other frame type MUST be treated as a stream error".
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "HEADERS in a tunnel", "RFC 9113 §8.5")
        if message.head_received:
            if not end:
                raise StreamFault(
                    ErrorCode.PROTOCOL_ERROR,
                    "trailers that do not end the stream",
                    "RFC 9113 §8.1",
                )
            self._complete(stream, read_trailers(lines))
            return
        response = read_response(lines)
        if response.status < 200:
            self._interim(stream, response, end=end)
        else:
            self._final(stream, response, end=end)

    def _interim(self, stream: Stream, response: Response, *, end: bool) -> None:
        message: Message = stream.message
        message.interim += 1
        # RFC 9113 §8.1: "A HEADERS frame with the END_STREAM flag set that carries an
        # informational status code is malformed".
        if end or message.interim > self._limits.interim_responses:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "interim responses without a final one", "RFC 9113 §8.1"
            )
        self._events.append(StreamEvent(stream.id, InterimResponseReceived(response)))

    def _final(self, stream: Stream, response: Response, *, end: bool) -> None:
        message: Message = stream.message
        message.head_received = True
        request = message.request
        if request.method == "CONNECT" and response.status < 300:
            # RFC 8441 §5: "a 2xx" opens the session; RFC 9113 §8.5 says the same of a tunnel.
            message.tunnel = True
            event = Switched(request.protocol or "CONNECT", request, response, b"")
            self._events.append(StreamEvent(stream.id, event))
        else:
            message.expected = content_length(response.fields)
            if request.method == "HEAD" or response.status in (204, 304):
                # RFC 9113 §8.1.1: these may announce a length but have no content.
                message.expected = 0
            self._events.append(StreamEvent(stream.id, ResponseReceived(response, request)))
        if end:
            self.data_received(stream, b"", end=True)

    def data_received(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        if not stream.message.head_received:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "content before the response", "RFC 9113 §8.1"
            )
        super().data_received(stream, data, end=end)

    def goaway_received(self, last: int, code: int, debug: bytes) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        # RFC 9113 §6.8: "Endpoints MUST NOT increase the value they send in the last stream
        # identifier". One that does is taken at its first word.
        last = min(last, self._last_taken)
        # 2^31-1 announces the end without refusing anything yet; still, no new streams.
        self._last_taken = min(last, LARGEST_WINDOW - 1)
        self._events.append(GoAway(last, code, debug))
        for stream_id in [number for number in self._engine.streams if number > last]:
            self._engine.forget(stream_id)
            self._events.append(StreamReset(stream_id, ErrorCode.REFUSED_STREAM))
