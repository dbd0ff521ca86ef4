# cython: nonecheck=True
"""The server's end of an HTTP/1.1 connection, up to the switch (RFC 9112).

Two sides run independently of each other, and meet when both are through:

- *receiving* one request: ``HEAD`` → ``CONTENT`` → ``COMPLETE``;
- *answering* it: ``AWAITED`` → (interim responses) → ``CONTENT`` → ``COMPLETE``.

When both are complete the next request is read, or the connection is over (``CLOSED``).
What arrives behind a complete request is held untouched until then: it may be the next
request, or, after ``switch``, the first octets of another protocol (``SWITCHED``). A broken
rule ends everything (``CLOSED``): the error is answered if an answer can still begin, the
event ``Failed`` tells it, and no later octet is looked at.

This file runs as it stands, and is compiled as ``_server_c`` with the C types of
``_server_c.pxd``. Choose through ``switchover.http.server``.

Longer than other files: the two sides share every field of the state, and a reader has to
see both to check either.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.answers import Answer, answer_framing, connection_lines
from switchover.http.content import ContentReader, content_reader
from switchover.http.events import (
    ContentReceived,
    Event,
    Failed,
    MessageComplete,
    PeerClosed,
    RequestReceived,
    Switched,
)
from switchover.http.fields import Fields
from switchover.http.framing import drop_named_fields, persists, request_length
from switchover.http.head import REQUEST, HeadParser
from switchover.http.held import HeldOctets
from switchover.http.limits import Limits
from switchover.http.lists import connection_options
from switchover.http.messages import Request, Response, default_reason
from switchover.http.targets import read_authority, read_host
from switchover.http.writing import response_head

__all__ = ["AnswerState", "RequestState", "ServerConnection"]

_DEFAULT_LIMITS = Limits()
_NO_FRAMING = "Content-Length or Transfer-Encoding in a message that never has content"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestState(Enum):
    """How far the current request has been received."""

    HEAD = "waiting for, or in, a request head"
    CONTENT = "in the content"
    COMPLETE = "complete; what follows is held"
    SWITCHED = "the connection has left HTTP/1.1"
    CLOSED = "nothing more is read"


class AnswerState(Enum):
    """How far the current request has been answered."""

    NONE = "there is no request"
    AWAITED = "no final response has begun"
    CONTENT = "head sent, content to come"
    COMPLETE = "complete"


# The states by names of this module: they are looked at several times for each request.
_HEAD = RequestState.HEAD
_CONTENT = RequestState.CONTENT
_COMPLETE = RequestState.COMPLETE
_SWITCHED = RequestState.SWITCHED
_CLOSED = RequestState.CLOSED
_UNASKED = AnswerState.NONE
_AWAITED = AnswerState.AWAITED
_ANSWERING = AnswerState.CONTENT
_ANSWERED = AnswerState.COMPLETE


class ServerConnection:
    """The HTTP/1.1 machine of a server: octets in, events out; answers in, octets out.

    ``scheme`` is put into every request. ``date`` gives the value of Date; without it the
    field is left out. ``server_name`` is the value of Server; without it likewise.

    Nothing a peer sends makes it raise; what the caller does wrong raises
    ``LocalProtocolError``, and then nothing has been written.
    """

    def __init__(
        self,
        *,
        limits: Limits = _DEFAULT_LIMITS,
        scheme: str = "http",
        date: Callable[[], str] | None = None,
        server_name: str | None = None,
    ) -> None:
        self._limits = limits
        self._scheme = scheme
        self._date = date
        self._server_line = Fields([("Server", server_name)]).raw if server_name is not None else []
        self._parser = HeadParser(REQUEST, limits)
        self._held: HeldOctets | None = None
        self._events: list[Event] = []
        self._output: list[bytes] = []
        self._eof = False
        self._peer_closed_told = False
        self._request_state = _HEAD
        self._answer_state = _UNASKED
        self._request: Request | None = None
        self._reader: ContentReader | None = None
        self._answer: Answer | None = None
        self._persist = True
        self._continue_due = False
        self._content_begun = False
        self._discarded = 0
        self._rest = False

    @classmethod
    def answering(
        cls,
        request: Request,
        *,
        limits: Limits = _DEFAULT_LIMITS,
        scheme: str = "http",
        date: Callable[[], str] | None = None,
        server_name: str | None = None,
    ) -> ServerConnection:
        """Return a machine that has received ``request`` whole and owes its answer.

        For the connection that a switch leads to HTTP/1.1 again (RFC 2817 §3.3: TLS with
        HTTP/1.1 above it): the first thing sent there answers the request that asked for
        the switch. Its first events are ``RequestReceived`` and ``MessageComplete``.
        """
        connection = cls(limits=limits, scheme=scheme, date=date, server_name=server_name)
        connection._owe_answer(request)
        return connection

    def _owe_answer(self, request: Request) -> None:
        self._request = request
        self._persist = persists(request.version, request.fields.connection_options)
        self._request_state = _COMPLETE
        self._answer_state = _AWAITED
        self._events += (RequestReceived(request), MessageComplete())

    # What the machine knows.

    @property
    def request(self) -> Request | None:
        """The request that is being received or answered; ``None`` between two."""
        return self._request

    @property
    def state(self) -> RequestState:
        """How far the current request has been received."""
        return self._request_state

    @property
    def answer_state(self) -> AnswerState:
        """How far the current request has been answered."""
        return self._answer_state

    @property
    def pending_octets(self) -> int:
        """How many octets are held behind the current request."""
        return 0 if self._held is None else len(self._held)

    def receiving_paused(self) -> bool:
        """Whether so much is held that reading should pause until the answer is complete."""
        return self._held is not None and len(self._held) >= self._limits.held

    def receiving_begun(self) -> bool:
        """Whether a part of a request has arrived that is not complete yet."""
        if self._request_state is _HEAD:
            return self._parser.begun()
        return self._request_state is _CONTENT

    def continue_expected(self) -> bool:
        """Whether the client waits for 100 (Continue), or a final response, to send content."""
        return self._continue_due and self._request_state is _CONTENT

    def close_expected(self) -> bool:
        """Whether to close once ``data_to_send`` is flushed: nothing more will be done."""
        return self._request_state is _CLOSED

    def rest_expected(self) -> bool:
        """Whether the peer may be sending still when the connection is to be closed.

        RFC 9112 §9.6: it is to be closed in stages then, for the peer to read what it is told.
        """
        return self._rest and not self._eof

    def events_received(self) -> list[Event]:
        """Return, once, what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        """Return, once, what is to be written."""
        output, self._output = self._output, []
        return output

    # Receiving.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer.

        Raises ``LocalProtocolError`` after the switch: they are the successor's then.
        """
        if type(data) is not bytes:
            data = bytes(data)
        if self._request_state is _SWITCHED:
            raise LocalProtocolError("the connection has left HTTP/1.1: not mine to read")
        if not self._eof:
            self._process(data, 0)

    def receive_eof(self) -> None:
        """Take note that the peer sends no more."""
        if self._eof:
            return
        self._eof = True
        if self._request_state in (_HEAD, _CONTENT):
            self._end_of_input()
        elif self._request_state is _COMPLETE and not self._held:
            self._tell_peer_closed()

    def _process(self, data: bytes, start: int) -> None:
        try:
            while start < len(data):
                if self._request_state is _HEAD:
                    start = self._parser.receive(data, start)
                    if self._parser.complete:
                        self._head_received()
                elif self._request_state is _CONTENT:
                    start = self._receive_content(data, start)
                else:
                    break
        except RemoteProtocolError as error:
            self._fail(error)
        # RFC 9110 §7.8: what follows a request with Upgrade is the next request or the new
        # protocol, and nobody knows which before the answer. It is left as it is.
        if self._request_state is _COMPLETE and start < len(data):
            self._hold(data, start)

    def _hold(self, data: bytes, start: int) -> None:
        if self._held is None:
            self._held = HeldOctets()
        self._held.hold(data, start)

    def _head_received(self) -> None:
        head = self._parser
        version = head.version
        options = connection_options(head.connection)
        read_host(head.host, head.hosts, version)
        authority = read_authority(head.method, head.target, head.host)
        length = 0
        if head.content_length is not None or head.transfer_encoding is not None:
            length = request_length(head)
        if head.method == "CONNECT" and (length or head.content_length is not None):
            # RFC 9110 §9.3.6: "A CONNECT request message does not have content." A framed one
            # would leave it open where the tunnel begins.
            raise RemoteProtocolError("CONNECT with content", rule="RFC 9110 §9.3.6")
        fields = Fields.from_octets(head.lines, head.names)
        if version == "1.0" and options:
            drop_named_fields(fields, options)
        request = Request(head.method, head.target, fields, version, self._scheme, authority)
        self._persist = persists(version, options)
        self._continue_due = head.expect is not None and request.expects_continue
        self._request = request
        self._answer_state = _AWAITED
        self._content_begun = False
        self._discarded = 0
        head.reset()
        self._events.append(RequestReceived(request))
        if length:
            self._reader = content_reader(length, self._limits)
            self._request_state = _CONTENT
        else:
            self._request_complete(None)

    def _receive_content(self, data: bytes, start: int) -> int:
        reader = self._reader
        assert reader is not None
        pieces: list[bytes] = []
        try:
            return reader.receive(data, start, pieces)
        finally:
            # Pieces ahead of a fault did arrive, however the octets were cut.
            self._content_received(pieces)
            if reader.complete:
                self._request_complete(reader.trailers)

    def _content_received(self, pieces: list[bytes]) -> None:
        self._content_begun = self._content_begun or bool(pieces)
        if self._answer_state is not _ANSWERED:
            self._events += [ContentReceived(piece) for piece in pieces]
            return
        # RFC 9112 §9.3: "a server MUST read the entire request message body or close the
        # connection after sending its response". Up to a limit the former.
        self._discarded += sum(map(len, pieces))
        if self._discarded > self._limits.discarded_content:
            self._close()

    def _request_complete(self, trailers: Fields | None) -> None:
        self._reader = None
        if self._request_state is _CLOSED:
            return
        self._request_state = _COMPLETE
        if self._answer_state is _ANSWERED:
            self._exchange_over()
        else:
            self._events.append(MessageComplete(trailers))

    def _end_of_input(self) -> None:
        if self._request_state is _HEAD and not self._parser.begun():
            self._tell_peer_closed()
            self._close()
        else:
            # RFC 9112 §8: "A server that receives an incomplete request message, usually due
            # to a canceled request or a triggered timeout exception, MAY send an error
            # response prior to closing the connection."
            self._fail(RemoteProtocolError("connection ended inside a request", rule="RFC 9112 §8"))

    def _tell_peer_closed(self) -> None:
        if not self._peer_closed_told:
            self._peer_closed_told = True
            self._events.append(PeerClosed())

    def _fail(self, error: RemoteProtocolError) -> None:
        if self._can_still_answer():
            self._output.append(self._error_answer(error))
        self._close()
        self._rest = True
        self._events.append(Failed(error))

    def _can_still_answer(self) -> bool:
        if self._request_state in (_CLOSED, _SWITCHED):
            return False
        return self._answer_state in (_UNASKED, _AWAITED)

    def _asked_for_head(self) -> bool:
        return self._request is not None and self._request.method == "HEAD"

    def _error_answer(self, error: RemoteProtocolError) -> bytes:
        text = f"{error.status} {default_reason(error.status)}\n\n{error}\n"
        fields = {"Connection": "close", **({"Date": self._date()} if self._date else {})}
        response = Response.text(error.status, text, fields)
        head = response_head(response, [*response.fields.raw, *self._server_line])
        return head if self._asked_for_head() else head + response.content

    def _close(self) -> None:
        if self._request_state is _COMPLETE:
            self._rest = self._held is not None
        elif self._request_state is _CONTENT or self._parser.begun():
            self._rest = True
        self._request_state = _CLOSED
        self._held = None

    # Answering.

    def send_continue(self) -> None:
        """Send 100 (Continue) if the client waits for it; do nothing otherwise."""
        # RFC 9110 §10.1.1: "A server MAY omit sending a 100 (Continue) response if it has
        # already received some or all of the content".
        if self.continue_expected() and self._answer_state is _AWAITED:
            self._continue_due = False
            self._output.append(_CONTINUE)

    def send_interim(self, response: Response) -> None:
        """Send a 1xx response other than 101. To an HTTP/1.0 client nothing is sent.

        Raises ``LocalProtocolError`` for another status, for framing fields (RFC 9112
        §6.1), and when the final response has begun.
        """
        request = self._answerable()
        if not 100 <= response.status < 200 or response.status == 101:
            raise LocalProtocolError(f"{response.status} is no interim response to send")
        _check_unframed(response)
        # RFC 9110 §15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client."
        if request.version == "1.0":
            return
        head = response_head(response, response.fields.raw)
        if response.status == 100:
            self._continue_due = False
        self._output.append(head)

    def send_response(self, response: Response, *, end: bool = False) -> None:
        """Send the head of the final response and its ``content``; with ``end`` all of it.

        The framing is chosen here: the Content-Length given, or with ``end`` that of
        ``content``, else chunked (HTTP/1.1) or the end of the connection (HTTP/1.0). The
        answers to HEAD, 204, 205 and 304 go without content. Date, Server and the
        connection options are added. Raises ``LocalProtocolError`` for a response that must
        not be sent; nothing has been written then.
        """
        request = self._answerable()
        if response.status < 200 or (request.method == "CONNECT" and response.status < 300):
            raise LocalProtocolError(
                f"{response.status} to {request.method} is a switch, not a final response"
            )
        answer = answer_framing(request, response, end=end)
        persist = answer.persist and self._stays_open(request, response)
        lines = answer.lines + self._added_lines(response)
        lines = connection_lines(lines, request, persist=persist)
        output = response_head(response, lines) + answer.body.content(response.content)
        tail = answer.body.end(None) if end else b""
        self._persist = persist
        self._answer = answer
        self._answer_state = _ANSWERING
        self._output.append(output + tail)
        if end:
            self._answer_complete()

    def _answerable(self) -> Request:
        if self._request is None or self._answer_state is not _AWAITED:
            raise LocalProtocolError(f"no response can begin: {self._answer_state.value}")
        if self._request_state in (_CLOSED, _SWITCHED):
            raise LocalProtocolError(f"no response can begin: {self._request_state.value}")
        return self._request

    def _stays_open(self, request: Request, response: Response) -> bool:
        # RFC 9931 §8: what a client sent behind a CONNECT that is refused was meant for the
        # tunnel, and must never be read as a request.
        if not self._persist or self._content_doubtful() or request.method == "CONNECT":
            return False
        fields = response.fields
        return "Connection" not in fields or "close" not in fields.connection_options

    def _content_doubtful(self) -> bool:
        """Whether it is unsure, or too costly, to find the end of the request's content."""
        if self._request_state is not _CONTENT or self._reader is None:
            return False
        # A client that was waiting for 100 may or may not send the content after a final
        # response (RFC 9110 §10.1.1): only a new connection is unambiguous.
        if self._continue_due and not self._content_begun:
            return True
        return (self._reader.remaining or 0) > self._limits.discarded_content

    def _added_lines(self, response: Response) -> list[tuple[bytes, bytes]]:
        lines: list[tuple[bytes, bytes]] = []
        if self._date is not None and "Date" not in response.fields:
            lines += Fields([("Date", self._date())]).raw
        if self._server_line and "Server" not in response.fields:
            lines += self._server_line
        return lines

    def send_content(self, data: bytes) -> None:
        """Send a piece of the final response's content.

        Raises ``LocalProtocolError`` before the head, after the end, and for more than the
        announced Content-Length.
        """
        octets = self._begun_answer().body.content(data)
        if octets:
            self._output.append(octets)

    def send_end(self, trailers: Fields | None = None) -> None:
        """End the final response. Trailers go out only if the content is chunked.

        Raises ``LocalProtocolError`` if content is missing; ``abort_response`` is left then.
        """
        octets = self._begun_answer().body.end(trailers)
        if octets:
            self._output.append(octets)
        self._answer_complete()

    def _begun_answer(self) -> Answer:
        if self._answer is None or self._answer_state is not _ANSWERING:
            raise LocalProtocolError(f"no response content can go out: {self._answer_state.value}")
        if self._request_state is _CLOSED:
            raise LocalProtocolError("no response content can go out: the connection has failed")
        return self._answer

    def abort_response(self) -> None:
        """Give the answer up: it cannot be completed, so the connection must close."""
        self._close()

    # Ending.

    def stop_keep_alive(self) -> None:
        """Take no request after the current one: its response says ``Connection: close``."""
        self._persist = False
        if self._request_state is _HEAD and not self._parser.begun():
            self._close()

    def refuse(self, response: Response) -> None:
        """Answer whatever was or will be asked with ``response``, and read nothing more.

        For connections that are not wanted at all (RFC 9110 §15.6.4).
        """
        if self._can_still_answer():
            response.fields.set("Connection", "close")
            head = response_head(response, [*response.fields.raw, *self._server_line])
            self._output.append(head if self._asked_for_head() else head + response.content)
        self._close()
        # A client that asked for a tunnel may have begun to send into it.
        self._rest = self._request is not None

    def time_out(self, reason: str) -> None:
        """Take note that the client took too long; ``reason`` is told to it.

        A request that has begun is answered 408, an idle connection is just closed.
        """
        begun = self._request is not None or self._parser.begun()
        if begun and self._can_still_answer():
            # RFC 9110 §15.5.9: "If a server decides to … close the connection … the server
            # SHOULD send the "close" connection option".
            self._output.append(self._error_answer(RemoteProtocolError(reason, status=408)))
        self._close()

    def _answer_complete(self) -> None:
        self._answer_state = _ANSWERED
        self._answer = None
        if self._request_state is _COMPLETE or not self._persist:
            self._exchange_over()

    def _exchange_over(self) -> None:
        # RFC 9112 §9.6: "A server that sends a "close" connection option MUST initiate
        # closure of the connection … after it sends the response containing the "close"
        # connection option. The server MUST NOT process any further requests received on
        # that connection."
        if not self._persist:
            self._close()
            return
        self._request = None
        self._request_state = _HEAD
        self._answer_state = _UNASKED
        if self._held is not None:
            self._process_held(self._held)
        if self._eof:
            self._after_held()

    def _process_held(self, held: HeldOctets) -> None:
        self._held = None
        pieces, start = held.release()
        for piece in pieces:
            if self._request_state is _COMPLETE:
                self._hold(piece, start)
            elif self._request_state is not _CLOSED:
                self._process(piece, start)
            start = 0

    def _after_held(self) -> None:
        if self._request_state in (_HEAD, _CONTENT):
            self._end_of_input()
        elif self._request_state is _COMPLETE and not self._held:
            self._tell_peer_closed()

    # Switching.

    def switch(self, response: Response, protocol: str) -> None:
        """Send the response that ends HTTP/1.1: 101, or a 2xx to a CONNECT request.

        Ahead of a 101 goes 100 (Continue) if the request asked for it. The event
        ``Switched`` carries everything received behind the request. Raises
        ``LocalProtocolError`` if the request has not been received whole, is HTTP/1.0 (for
        101), if an answer has begun, or for framing fields in ``response``.
        """
        request = self._answerable()
        connect = request.method == "CONNECT" and 200 <= response.status < 300
        if not connect and response.status != 101:
            raise LocalProtocolError(f"{response.status} to {request.method} is no switch")
        # RFC 9110 §7.8: "A server MUST ignore an Upgrade header field that is received in an
        # HTTP/1.0 request."
        if request.version == "1.0" and not connect:
            raise LocalProtocolError("101 to an HTTP/1.0 request", rule="RFC 9110 §7.8")
        # The new protocol's input begins where the request ends: it has to be all there.
        if self._request_state is not _COMPLETE:
            raise LocalProtocolError("the request is not complete", rule="RFC 9110 §7.8")
        _check_unframed(response)
        head = response_head(response, response.fields.raw)
        # RFC 9110 §7.8: "If a server receives both an Upgrade and an Expect header field with
        # the "100-continue" expectation, the server MUST send a 100 (Continue) response
        # before sending a 101 (Switching Protocols) response."
        if self._continue_due and not connect:
            head = _CONTINUE + head
        self._output.append(head)
        self._request_state = _SWITCHED
        self._answer_state = _ANSWERED
        trailing_data = b"" if self._held is None else self._held.take()
        self._events.append(Switched(protocol, request, response, trailing_data))


def _check_unframed(response: Response) -> None:
    # RFC 9112 §6.1, RFC 9110 §8.6: neither field in a 1xx response or a 2xx to CONNECT.
    fields = response.fields
    if fields.octets("Content-Length") or fields.octets("Transfer-Encoding"):
        raise LocalProtocolError(_NO_FRAMING, rule="RFC 9112 §6.1")
