"""The server's end of an HTTP/2 connection (RFC 9113, 7540 §3.2, 8441)."""

from __future__ import annotations

from collections.abc import Callable

from switchover.errors import LocalProtocolError
from switchover.http.body import given_length
from switchover.http.events import MessageComplete, RequestReceived, Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2 import h2c
from switchover.http2.codes import ErrorCode
from switchover.http2.connection import UNKNOWN, Connection, Message
from switchover.http2.engine import Stream, StreamFault
from switchover.http2.events import StreamEvent
from switchover.http2.limits import Limits
from switchover.http2.machine import ServerMachine
from switchover.http2.semantics import (
    Lines,
    content_length,
    read_request,
    read_trailers,
    response_lines,
)
from switchover.http2.settings import LARGEST_WINDOW, Settings

__all__ = ["ServerConnection"]

#: Of the 65535 octets that a client must take behind the 101, these are kept back until it has
#: begun to speak HTTP/2: curl before 8 fails if more than 32 KiB arrive together with the 101,
#: and Java 17 loses what does not fit into 16 KiB with the 101 and the frames before it.
_WITHHELD = 65535 - 8192

_DRAIN = b"\0draining"[:8]


class ServerConnection(Connection, ServerMachine):
    """The HTTP/2 machine of a server: requests in, responses out, many at once.

    ``date`` gives the value of Date, ``server_name`` is that of Server; without them the
    fields are left out. For what the verbs have in common see :class:`Connection`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        settings: Settings | None = None,
        limits: Limits | None = None,
        date: Callable[[], str] | None = None,
        server_name: str | None = None,
    ) -> None:
        super().__init__(
            client=False,
            settings=settings or Settings(),
            limits=limits or Limits(),
            clock=clock,
        )
        ServerMachine.__init__(self, date)
        self._server_name = None if server_name is None else server_name.encode("latin-1")
        self._draining = False
        # Streams whose response ended with its head, though its application goes on.
        self._silent: set[int] = set()
        self._engine.start()

    @classmethod
    def from_upgrade(
        cls,
        request: Request,
        content: bytes,
        settings_payload: str,
        *,
        clock: Callable[[], float],
        settings: Settings | None = None,
        limits: Limits | None = None,
        date: Callable[[], str] | None = None,
        server_name: str | None = None,
    ) -> ServerConnection:
        """Return the machine that follows the 101 to an h2c offer (RFC 7540 §3.2).

        ``request`` and its ``content`` become stream 1, half closed by the client;
        ``settings_payload`` is the value of HTTP2-Settings, in force from the start. Raises
        :class:`~switchover.errors.RemoteProtocolError` if it is not valid: check before the
        101, as :func:`~switchover.http2.h2c.h2c_upgrade` does.
        """
        pairs = h2c.decode_settings(settings_payload)
        connection = cls(
            clock=clock, settings=settings, limits=limits, date=date, server_name=server_name
        )
        engine = connection._engine
        # RFC 7540 §3.2.1: "Acknowledgement of the SETTINGS parameters is not necessary, since a
        # 101 response serves as implicit acknowledgement."
        engine.apply_settings(pairs)
        engine.withhold(_WITHHELD)
        stream = engine.adopt_stream()
        stream.message = Message(h2c.request_on_stream_1(request))
        events = connection._events
        if content:
            events.append(StreamEvent(1, RequestReceived(stream.message.request)))
            events.append((1, content))
            events.append(StreamEvent(1, MessageComplete()))
        else:
            events.append(stream)
        return connection

    # Responses.

    def send_interim(self, stream_id: int, response: Response) -> None:
        """Send a 1xx response other than 101."""
        stream = self._unanswered(stream_id)
        if not 100 <= response.status < 200 or response.status == 101:
            raise LocalProtocolError(f"{response.status} is no interim response to send")
        self._engine.send_headers(stream, response_lines(response), end=False)

    def send_continue(self, stream_id: int) -> None:
        """Send 100 (Continue) if the client waits for it; do nothing otherwise."""
        stream = self._engine.streams.get(stream_id)
        if stream is None or not stream.remote_open or stream.message.head_sent:
            return
        message: Message = stream.message
        if message.interim or message.received or not message.request.expects_continue:
            return
        message.interim = 1
        self._engine.send_headers(stream, [(b":status", b"100")], end=False)

    def send_response(self, stream_id: int, response: Response, *, end: bool = False) -> int:
        """Send the head of the final response, and what the windows take of its content.

        Returns how many octets of ``response.content`` were taken; the rest is to be sent
        with :meth:`send_content`. With ``end`` the response is complete once all is taken.
        What belongs to HTTP/1.1 connections is left out of the fields; Date, Server and, with
        ``end``, Content-Length are added.
        """
        stream = self._unanswered(stream_id)
        message: Message = stream.message
        if end and self.send_again(stream_id, response):
            return len(response.content)
        status = response.status
        key = self._answer_key(response) if end else None
        if status < 200 or (message.request.method == "CONNECT" and status < 300):
            raise LocalProtocolError(
                f"{status} to {message.request.method} is no final response: see switch()"
            )
        lines = self._head(response)
        length = _announced(response, lines)
        content = response.content
        # RFC 9110 §6.4.1: responses to HEAD, 204 and 304 have no content; §15.3.6: nor has 205.
        silent = message.request.method == "HEAD" or status in (204, 205, 304)
        if status in (204, 205):
            # RFC 9110 §8.6: no Content-Length in a 204; a 205 has no content to announce.
            lines = [line for line in lines if line[0] != b"content-length"]
        elif length == UNKNOWN and (end or silent) and (content or not silent) and status != 304:
            length = len(content)
            lines.append((b"content-length", b"%d" % length))
        if not silent and length != UNKNOWN:
            _check_length(content, length, whole=end)
        message.head_sent = True
        if silent or (end and not content):
            if not end:
                self._silent.add(stream_id)
            self._engine.send_headers(stream, lines, end=True)
            return len(content)
        block = self._engine.encoder.encode(lines)
        if key is not None:
            self._remember(key, block)
        self._engine.send_block(stream, block, end=False)
        message.to_send = length
        return self.send_content(stream_id, content, end=end) if content else 0

    def _head(self, response: Response) -> list[tuple[bytes, bytes]]:
        lines = response_lines(response)
        names = [name for name, _ in lines]
        if self._date is not None and b"date" not in names:
            lines.append((b"date", self._date().encode("ascii")))
        if self._server_name is not None and b"server" not in names:
            lines.append((b"server", self._server_name))
        return lines

    def send_content(self, stream_id: int, data: bytes | memoryview, *, end: bool = False) -> int:
        """See :meth:`Connection.send_content`; content that may not be sent is dropped."""
        if stream_id in self._silent:
            if end:
                self._silent.discard(stream_id)
            return len(data)
        return super().send_content(stream_id, data, end=end)

    def send_end(self, stream_id: int, trailers: Fields | None = None) -> None:
        """Complete the response, with ``trailers`` if there are any."""
        if stream_id in self._silent:
            self._silent.discard(stream_id)
        else:
            super().send_end(stream_id, trailers)

    def reset(self, stream_id: int, code: int = ErrorCode.CANCEL) -> None:
        """End a stream abruptly; does nothing if it is gone."""
        self._silent.discard(stream_id)
        super().reset(stream_id, code)

    def switch(self, stream_id: int, response: Response, protocol: str) -> None:
        """Answer CONNECT, plain or extended, with a 2xx; the stream speaks ``protocol`` then.

        Content and the end of the stream, in both directions, are the new protocol's octets
        and its half-close (RFC 8441 §5). The event ``Switched`` follows.
        """
        stream = self._unanswered(stream_id)
        message: Message = stream.message
        if message.request.method != "CONNECT" or not 200 <= response.status < 300:
            raise LocalProtocolError(
                "only a 2xx to CONNECT makes a stream another protocol", rule="RFC 9113 §8.5"
            )
        lines = [line for line in self._head(response) if line[0] != b"content-length"]
        message.head_sent = message.tunnel = True
        self._engine.send_headers(stream, lines, end=False)
        event = Switched(protocol, message.request, response, b"")
        self._events.append(StreamEvent(stream_id, event))

    def _unanswered(self, stream_id: int) -> Stream:
        stream = self._engine.streams.get(stream_id)
        if stream is None or not stream.local_open:
            raise LocalProtocolError(f"stream {stream_id} is gone", rule="RFC 9113 §5.1")
        if stream.message.head_sent:
            raise LocalProtocolError("the response has been started", rule="RFC 9113 §8.1")
        return stream

    # The end.

    def shutdown(self) -> None:
        """Begin a graceful end; called again, do not wait for the peer any longer.

        Streams under way are finished; :meth:`close_expected` says when all are.
        """
        if self._engine.closed or self._engine.refusing:
            return
        if self._draining:
            self._refuse_new_streams()
            return
        self._draining = True
        # RFC 9113 §6.8: "A server that is attempting to gracefully shut down a connection SHOULD
        # send an initial GOAWAY frame with the last stream identifier set to 2^31-1 and a
        # NO_ERROR code. … After allowing time for any in-flight stream creation (at least one
        # round-trip time), the server MAY send another GOAWAY frame".
        self._engine.goaway(LARGEST_WINDOW, ErrorCode.NO_ERROR)
        self._engine.ping(_DRAIN)

    def ping_acknowledged(self, payload: bytes) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        if self._draining and payload == _DRAIN and not self._engine.refusing:
            self._refuse_new_streams()

    def _refuse_new_streams(self) -> None:
        self._engine.refusing = True
        self._engine.goaway(self._last_processed(), ErrorCode.NO_ERROR)

    # What the engine tells.

    def _not_a_request(self, stream: Stream, lines: Lines | None, *, end: bool) -> None:
        if stream.message is not None:
            self._trailers(stream, lines, end=end)
        else:
            self._refuse_large(stream)

    def _check(self, lines: Lines) -> tuple[Request, int]:
        request = read_request(lines, extended_connect=self._settings.enable_connect_protocol)
        return request, UNKNOWN if request.method == "CONNECT" else content_length(request.fields)

    def _refuse_large(self, stream: Stream) -> None:
        stream.message = Message(Request("GET", "/", Fields.from_octets([]), "2"))
        text = "Request Header Fields Too Large\n"
        # RFC 6585 §5
        self.send_response(stream.id, Response.text(431, text), end=True)
        # RFC 9113 §8.1: a server may ask to "abort transmission of a request without error by
        # sending a RST_STREAM with an error code of NO_ERROR after sending a complete response".
        if stream.remote_open or stream.local_open:
            self._engine.reset(stream, ErrorCode.NO_ERROR)

    def _trailers(
        self, stream: Stream, lines: list[tuple[bytes, bytes]] | None, *, end: bool
    ) -> None:
        message: Message = stream.message
        if message.request.method == "CONNECT":
            # RFC 9113 §8.5: "Receipt of any other frame type MUST be treated as a stream error".
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "HEADERS in a tunnel", "RFC 9113 §8.5")
        if not end:
            # RFC 9113 §8.1: a second field section without END_STREAM makes it malformed.
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "trailers that do not end the stream", "RFC 9113 §8.1"
            )
        if lines is None:
            raise StreamFault(
                ErrorCode.ENHANCE_YOUR_CALM, "trailers over the limit", "RFC 9113 §10.5.1"
            )
        self._complete(stream, read_trailers(lines))

    def _wants_rest(self, stream: Stream, octets: int) -> bool:
        # A response that is complete needs no more of its request.
        message: Message = stream.message
        # RFC 9113 §8.1: the server may ask to "abort transmission of a request without error
        # by sending a RST_STREAM with an error code of NO_ERROR". Some clients take that for a
        # failure, so a short rest is read instead.
        message.discarded += octets
        if message.discarded > self._limits.discarded_content:
            self._engine.reset(stream, ErrorCode.NO_ERROR)
        return False


def _announced(response: Response, lines: list[tuple[bytes, bytes]]) -> int:
    """Return the Content-Length that ``response`` has; raise if it cannot be sent."""
    for name, _ in lines:
        if name == b"content-length":
            return given_length(response.fields) or 0
    return UNKNOWN


def _check_length(content: bytes, length: int, *, whole: bool) -> None:
    if len(content) > length or (whole and len(content) < length):
        raise LocalProtocolError(
            f"content of {len(content)} octets, {length} announced", rule="RFC 9113 §8.1.1"
        )
