"""The client's end of an HTTP/1.1 connection, up to the switch (RFC 9112).

Two sides run independently of each other, and meet when both are through:

- *sending* one request: ``IDLE`` → ``CONTENT`` → ``COMPLETE``;
- *receiving* its answer: ``IDLE`` → ``HEAD`` (any number of interim responses) → ``CONTENT``
  → ``COMPLETE``.

When both are complete the connection may carry another request (``IDLE``), or it is over
(``CLOSED``). Requests are never pipelined. A 101 (or a 2xx to CONNECT) ends HTTP/1.1: at
once if the request has been sent whole, else when it has been (``SWITCH_PENDING``); then the
machine is finished for good (``SWITCHED``).

Longer than other files: the two sides share every field of the state, and a reader has to
see both to check either.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from switchover.errors import LimitExceeded, LocalProtocolError, ProtocolError, RemoteProtocolError
from switchover.http import framing
from switchover.http.body import BodyWriter, given_length
from switchover.http.content import ContentReader, content_reader
from switchover.http.events import (
    ContentReceived,
    Event,
    Failed,
    InterimResponseReceived,
    MessageComplete,
    PeerClosed,
    ResponseReceived,
    Switched,
)
from switchover.http.fields import Fields
from switchover.http.framing import CHUNKED
from switchover.http.head import RESPONSE, HeadParser
from switchover.http.held import HeldOctets
from switchover.http.limits import Limits
from switchover.http.lists import connection_options
from switchover.http.messages import Request, Response
from switchover.http.targets import read_host
from switchover.http.writing import request_head

__all__ = ["ClientConnection", "RequestState", "ResponseState", "Switch"]

Switch = Callable[[Request, Response], str]
"""Judges a switching response: returns the selected protocol, or raises ``ProtocolError``."""

_DEFAULT_LIMITS = Limits()


class RequestState(Enum):
    """How far the current request has been sent."""

    IDLE = "there is no request"
    CONTENT = "head sent, content to come"
    COMPLETE = "sent whole"


class ResponseState(Enum):
    """How far the answer to the current request has been received."""

    IDLE = "no request, no response"
    HEAD = "waiting for, or in, a response head"
    CONTENT = "in the content"
    COMPLETE = "complete, though the request is not"
    SWITCH_PENDING = "a switch is agreed; the request has to be sent first"
    SWITCHED = "the connection has left HTTP/1.1"
    CLOSED = "nothing more is read"


class ClientConnection:
    """The HTTP/1.1 machine of a client: requests in, octets out; octets in, events out.

    Nothing a peer sends makes it raise; what the caller does wrong raises
    ``LocalProtocolError``, and then nothing has been written.
    """

    def __init__(self, *, limits: Limits = _DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._parser = HeadParser(RESPONSE, limits, unfold=True)
        self._held = HeldOctets()
        self._events: list[Event] = []
        self._output: list[bytes] = []
        self._eof = False
        self._request_state = RequestState.IDLE
        self._response_state = ResponseState.IDLE
        self._request: Request | None = None
        self._switch: Switch | None = None
        self._body: BodyWriter | None = None
        self._reader: ContentReader | None = None
        self._pending: tuple[str, Response] | None = None
        self._interim = 0
        self._surplus = 0
        self._persist = True

    @classmethod
    def awaiting(
        cls, request: Request, *, limits: Limits = _DEFAULT_LIMITS, switch: Switch | None = None
    ) -> ClientConnection:
        """Return a machine that has sent ``request`` whole and awaits the response to it.

        For the connection that a switch leads to HTTP/1.1 again (RFC 2817 §3.3: TLS with
        HTTP/1.1 above it): the request is not repeated there.
        """
        connection = cls(limits=limits)
        connection._begin(request, BodyWriter(0), switch)
        connection._request_state = RequestState.COMPLETE
        return connection

    # What the machine knows.

    @property
    def request(self) -> Request | None:
        """The request in hand; ``None`` between two."""
        return self._request

    @property
    def request_state(self) -> RequestState:
        """How far the current request has been sent."""
        return self._request_state

    @property
    def state(self) -> ResponseState:
        """How far the answer has been received."""
        return self._response_state

    @property
    def pending_octets(self) -> int:
        """How many octets of the next protocol are held until the request is sent whole."""
        return len(self._held)

    def receiving_paused(self) -> bool:
        """Whether so much is held that reading should pause until the request is sent."""
        return len(self._held) >= self._limits.held

    def switch_pending(self) -> bool:
        """Whether a switch is agreed and waits for the rest of the request only."""
        return self._response_state is ResponseState.SWITCH_PENDING

    def reusable(self) -> bool:
        """Whether the connection may carry another request now."""
        return (
            self._response_state is ResponseState.IDLE
            and self._request_state is RequestState.IDLE
            and self._persist
            and not self._eof
        )

    def close_expected(self) -> bool:
        """Whether to close once ``data_to_send`` is flushed: nothing more will be done."""
        return self._response_state is ResponseState.CLOSED

    def events_received(self) -> list[Event]:
        """Return, once, what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        """Return, once, what is to be written."""
        output, self._output = self._output, []
        return output

    # Sending.

    def send_request(
        self, request: Request, *, end: bool = False, switch: Switch | None = None
    ) -> None:
        """Send the head of a request; with ``end`` there is no content.

        Host is added from ``request.authority`` where it is missing. Without ``end`` the
        content is framed by the Content-Length given, else chunked. ``switch`` judges a
        response that ends HTTP/1.1; without it a 101 is an error, and any 2xx to CONNECT
        opens the tunnel. Raises ``LocalProtocolError`` if another exchange is not over, and
        for whatever would not read back as this request.
        """
        if not self.reusable():
            raise LocalProtocolError("no request can be sent now", rule="RFC 9112 §9.3.2")
        lines, length = _request_lines(request, end=end)
        head = request_head(request, lines)
        self._begin(request, BodyWriter(length), switch)
        self._output.append(head)
        if end:
            self._request_complete()

    def _begin(self, request: Request, body: BodyWriter, switch: Switch | None) -> None:
        self._request = request
        self._switch = switch
        self._body = body
        self._interim = 0
        self._request_state = RequestState.CONTENT
        self._response_state = ResponseState.HEAD
        # RFC 9112 §9.6: "A client that sends a "close" connection option MUST NOT send
        # further requests on that connection".
        self._persist = framing.persists(request.version, request.fields.connection_options)

    def send_content(self, data: bytes) -> None:
        """Send a piece of the request's content.

        Raises ``LocalProtocolError`` outside a request's content, and for more than the
        announced Content-Length.
        """
        octets = self._open_body().content(data)
        if octets:
            self._output.append(octets)

    def send_end(self, trailers: Fields | None = None) -> None:
        """End the request. Trailers go out only if the content is chunked.

        Raises ``LocalProtocolError`` if content is missing.
        """
        octets = self._open_body().end(trailers)
        if octets:
            self._output.append(octets)
        self._request_complete()

    def _open_body(self) -> BodyWriter:
        if self._body is None or self._request_state is not RequestState.CONTENT:
            raise LocalProtocolError(f"no content can go out: {self._request_state.value}")
        if self._response_state is ResponseState.CLOSED:
            raise LocalProtocolError("no content can go out: the connection is over")
        return self._body

    def _request_complete(self) -> None:
        self._request_state = RequestState.COMPLETE
        if self._response_state is ResponseState.COMPLETE:
            self._exchange_over()
        elif self._response_state is ResponseState.SWITCH_PENDING:
            self._switch_now()

    # Receiving.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer.

        Raises ``LocalProtocolError`` after the switch: they are the successor's then.
        """
        if type(data) is not bytes:
            data = bytes(data)
        if self._response_state is ResponseState.SWITCHED:
            raise LocalProtocolError("the connection has left HTTP/1.1: not mine to read")
        if self._eof:
            return
        try:
            self._process(data)
        except ProtocolError as error:
            self._fail(error)

    def _process(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            state = self._response_state
            if state is ResponseState.HEAD:
                start = self._parser.receive(data, start)
                if self._parser.complete:
                    start = self._head_received(data, start)
            elif state is ResponseState.CONTENT:
                start = self._receive_content(data, start)
            elif state is ResponseState.SWITCH_PENDING:
                self._held.hold(data, start)
                return
            elif state is ResponseState.CLOSED:
                return
            else:
                self._receive_surplus(data[start:])
                return

    def _receive_surplus(self, data: bytes) -> None:
        # RFC 9112 §9.2: "If a client receives data on a connection that does not have
        # outstanding requests, the client MUST NOT consider that data to be a valid
        # response; the client SHOULD close the connection, since message delimitation is
        # now ambiguous, unless the data consists only of one or more CRLF".
        self._surplus += len(data)
        if data.strip(b"\r\n") or self._surplus > 2 * self._limits.empty_lines:
            raise RemoteProtocolError(
                "octets that answer no request", rule="RFC 9112 §9.2", status=502
            )

    def _head_received(self, data: bytes, start: int) -> int:
        request = self._request
        assert request is not None  # state HEAD has one
        head = self._parser
        options = connection_options(head.connection)
        fields = Fields.from_octets(head.lines)
        if head.version == "1.0" and options:
            framing.drop_named_fields(fields, options)
        response = Response(head.status, fields, head.reason, head.version)
        # RFC 9112 §6.3: "Any 2xx (Successful) response to a CONNECT request implies that the
        # connection will become a tunnel … A client MUST ignore any Content-Length or
        # Transfer-Encoding header fields received in such a message." And a 1xx response
        # ends at its empty line whatever its fields say.
        if response.status == 101 or (request.method == "CONNECT" and response.status // 100 == 2):
            head.reset()
            return self._switching_response(request, response, data, start)
        if response.status < 200:
            head.reset()
            self._interim_response(response)
            return start
        length = framing.response_length(head, request.method)
        head.reset()
        self._final_response(request, response, options, length)
        return start

    def _interim_response(self, response: Response) -> None:
        # RFC 9110 §15.2: "A client MUST be able to parse one or more 1xx responses received
        # prior to a final response, even if the client does not expect one."
        self._interim += 1
        if self._interim > self._limits.interim_responses:
            raise LimitExceeded(
                f"more than {self._limits.interim_responses} interim responses",
                rule="RFC 9110 §15.2",
                status=502,
            )
        self._events.append(InterimResponseReceived(response))

    def _final_response(
        self, request: Request, response: Response, options: frozenset[str], length: int
    ) -> None:
        self._persist = self._persist and framing.persists(response.version, options)
        self._events.append(ResponseReceived(response, request))
        if length:
            self._reader = content_reader(length, self._limits, response=True)
            self._response_state = ResponseState.CONTENT
        else:
            self._response_complete(Fields.from_octets([]))

    def _receive_content(self, data: bytes, start: int) -> int:
        reader = self._reader
        assert reader is not None  # state CONTENT has one
        pieces: list[bytes] = []
        try:
            start = reader.receive(data, start, pieces)
        finally:
            # Pieces ahead of a fault did arrive, however the octets were cut.
            self._events += [ContentReceived(piece) for piece in pieces]
        if reader.complete:
            self._response_complete(reader.trailers or Fields.from_octets([]))
        return start

    def _response_complete(self, trailers: Fields) -> None:
        self._reader = None
        self._events.append(MessageComplete(trailers))
        self._response_state = ResponseState.COMPLETE
        if self._request_state is RequestState.COMPLETE or not self._persist:
            self._exchange_over()

    def _exchange_over(self) -> None:
        self._request = None
        self._switch = None
        self._body = None
        self._request_state = RequestState.IDLE
        self._response_state = ResponseState.IDLE
        self._surplus = 0
        # RFC 9112 §9.6: "A client that receives a "close" connection option MUST cease
        # sending requests on that connection and close the connection after reading the
        # response message containing the "close" connection option".
        if not self._persist:
            self._response_state = ResponseState.CLOSED

    def receive_eof(self) -> None:
        """Take note that the peer sends no more."""
        if self._eof:
            return
        self._eof = True
        state = self._response_state
        if state is ResponseState.CONTENT and self._reader and self._reader.ends_with_connection():
            self._response_complete(Fields.from_octets([]))
            self._peer_closed()
        elif state in (ResponseState.HEAD, ResponseState.CONTENT):
            # RFC 9112 §8: "A client that receives an incomplete response message … MUST
            # record the message as incomplete."
            begun = state is ResponseState.CONTENT or self._parser.begun()
            where = "inside the response" if begun else "before the response"
            self._fail(
                RemoteProtocolError(f"connection ended {where}", rule="RFC 9112 §8", status=502)
            )
        elif state in (ResponseState.IDLE, ResponseState.COMPLETE):
            self._peer_closed()

    def _peer_closed(self) -> None:
        self._response_state = ResponseState.CLOSED
        self._events.append(PeerClosed())

    def _fail(self, error: ProtocolError) -> None:
        self._response_state = ResponseState.CLOSED
        self._held.release()
        self._events.append(Failed(error))

    # Switching.

    def _switching_response(
        self, request: Request, response: Response, data: bytes, start: int
    ) -> int:
        protocol = self._judge_switch(request, response)
        self._held.hold(data, start)
        self._pending = (protocol, response)
        self._response_state = ResponseState.SWITCH_PENDING
        # RFC 9110 §7.8: "A client cannot begin using an upgraded protocol on the connection
        # until it has completely sent the request message".
        if self._request_state is RequestState.COMPLETE:
            self._switch_now()
        return len(data)

    def _judge_switch(self, request: Request, response: Response) -> str:
        if response.status != 101:
            return self._switch(request, response) if self._switch else "CONNECT"
        # RFC 9110 §15.2: 1xx responses, hence 101, are no part of HTTP/1.0.
        if response.version == "1.0" or request.version == "1.0":
            raise RemoteProtocolError("101 in HTTP/1.0", rule="RFC 9110 §15.2", status=502)
        # RFC 9110 §15.2.2: 101 means that "the server understands and is willing to comply
        # with the client's request, via the Upgrade header field": without one, nothing does.
        if self._switch is None or request.method == "CONNECT":
            raise RemoteProtocolError("101 that nobody asked for", rule="RFC 9110 §7.8", status=502)
        return self._switch(request, response)

    def _switch_now(self) -> None:
        request, pending = self._request, self._pending
        assert request is not None  # SWITCH_PENDING has both
        assert pending is not None
        self._response_state = ResponseState.SWITCHED
        self._persist = False
        self._events.append(Switched(pending[0], request, pending[1], self._held.take()))


def _request_lines(request: Request, *, end: bool) -> tuple[list[tuple[bytes, bytes]], int]:
    """Return the header lines to send, and the length of the content."""
    lines = _with_host(request)
    length = given_length(request.fields)
    if end:
        if length not in (None, 0):
            raise LocalProtocolError("content announced, and none to come", rule="RFC 9110 §8.6")
        if length is None and request.method in ("POST", "PUT", "PATCH"):
            # RFC 9110 §8.6: "A user agent SHOULD send Content-Length in a request when the
            # method defines a meaning for enclosed content and it is not sending
            # Transfer-Encoding."
            lines.append((b"Content-Length", b"0"))
        length = 0
    elif length is None:
        lines.append((b"Transfer-Encoding", b"chunked"))
        length = CHUNKED
    _check_request(request, length)
    return lines, length


def _with_host(request: Request) -> list[tuple[bytes, bytes]]:
    # RFC 9112 §3.2: "A client MUST send a Host header field … in all HTTP/1.1 request
    # messages", and RFC 9110 §7.2: "SHOULD send it as the first header field".
    hosts = request.fields.get_all("Host")
    lines = list(request.fields.raw)
    authority = request.target if request.method == "CONNECT" else request.authority
    host = (hosts[0] if hosts else authority).encode("latin-1", "replace")
    try:
        read_host(host, max(len(hosts), 1), request.version)
    except RemoteProtocolError as error:
        raise LocalProtocolError(str(error)) from None
    return lines if hosts else [(b"Host", host), *lines]


def _check_request(request: Request, length: int) -> None:
    fields = request.fields
    if request.version == "1.0":
        if length == CHUNKED:
            raise LocalProtocolError("chunked in an HTTP/1.0 request", rule="RFC 9112 §6.1")
        if "Upgrade" in fields:
            raise LocalProtocolError("Upgrade in an HTTP/1.0 request", rule="RFC 9110 §7.8")
    # RFC 9110 §10.1.1: "A client MUST NOT generate a 100-continue expectation in a request
    # that does not include content."
    if not length and request.expects_continue:
        raise LocalProtocolError("100-continue without content", rule="RFC 9110 §10.1.1")
    if request.method == "CONNECT" and length:
        raise LocalProtocolError("CONNECT with content", rule="RFC 9110 §9.3.6")
