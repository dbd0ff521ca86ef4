"""What an HTTP/2 machine does for every stream: content, requests without content, answers.

This file is the source of two builds: it runs as it is, and compiled as ``_machine_c`` (types
in ``_machine_c.pxd``). What is rarer is left to the classes derived from these, which are not
compiled. Choose through :mod:`switchover.http2.machine`.

What comes with most streams is told by less than an event of its own: a :class:`Stream` in the
list of events is a request that came whole, and a pair of a number and octets is content.
:meth:`Machine.events_received` makes events of them; a driver may take them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switchover.errors import LocalProtocolError
from switchover.http.events import ContentReceived, MessageComplete, RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2._faults import StreamFault
from switchover.http2.codes import ErrorCode
from switchover.http2.events import ConnectionEvent, StreamEvent
from switchover.http2.frames import UNKNOWN, Message, Stream

if TYPE_CHECKING:
    from switchover.http2._engine import Engine

__all__ = ["Machine", "ServerMachine", "wrong_length"]

#: Requests, and answers, that are remembered because they may come again.
_REMEMBERED = 32
#: An answer whose field section takes more octets is not.
_REMEMBERED_OCTETS = 512

#: Methods whose answers have content, and no special meaning.
_WITH_CONTENT = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_Lines = list[tuple[bytes, bytes]]
#: Status, octets of content and field lines of an answer.
_Answer = tuple[int, int, tuple[tuple[bytes, bytes], ...]]


class Machine:
    """What both ends have in common; see :class:`~switchover.http2.connection.Connection`."""

    __slots__ = ("_engine", "_events")

    _engine: Engine
    _events: list[Any]

    # Octets in, events out.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer."""
        self._engine.receive(data)

    def take_events(self) -> list[Any]:
        """Return what :meth:`events_received` does, with the common ones in their short form."""
        events = self._events
        if events:
            self._events = []
        return events

    def events_received(self) -> list[ConnectionEvent]:
        """Return what has happened since the last call."""
        events: list[ConnectionEvent] = []
        for event in self.take_events():
            kind = type(event)
            if kind is Stream:
                events.append(StreamEvent(event.id, RequestReceived(event.message.request)))
                events.append(StreamEvent(event.id, MessageComplete(Fields.from_octets([]))))
            elif kind is tuple:
                events.append(StreamEvent(event[0], ContentReceived(event[1])))
            else:
                events.append(event)
        return events

    def data_to_send(self) -> list[bytes | memoryview]:
        """Return what is to be written now, in order."""
        return self._engine.data_to_send()

    def close_expected(self) -> bool:
        """Say whether to close the connection once everything has been written."""
        return self._engine.closed

    # Content.

    def send_some(self, stream_id: int, data: bytes | memoryview, end: bool) -> int:
        """Send content; see :meth:`~switchover.http2.connection.Connection.send_content`."""
        stream = self._sendable(stream_id)
        message: Message = stream.message
        if message.to_send == UNKNOWN:
            return self._engine.send_some(stream, data, end)
        left = message.to_send - len(data)
        # RFC 9110 §8.6: "a sender MUST NOT forward a message with a Content-Length header
        # field value that is known to be incorrect".
        if left < 0 or (end and left):
            raise LocalProtocolError(
                f"content differs from the Content-Length by {abs(left)} octets",
                rule="RFC 9113 §8.1.1",
            )
        taken = self._engine.send_some(stream, data, end)
        message.to_send -= taken
        return taken

    def _sendable(self, stream_id: int) -> Stream:
        stream = self._engine.streams.get(stream_id)
        if stream is None or not stream.local_open:
            raise LocalProtocolError(
                f"nothing can be sent on stream {stream_id}: our side is closed",
                rule="RFC 9113 §5.1",
            )
        message: Message = stream.message
        if not message.head_sent:
            raise LocalProtocolError("content before the head", rule="RFC 9113 §8.1")
        return stream

    def acknowledge(self, stream_id: int, octets: int) -> None:
        """Let the peer send as much again: ``octets`` of content have been consumed.

        Until then they count against the windows, so that a peer is never ahead of its
        reader by more than a window. Does nothing if the stream is gone.
        """
        stream = self._engine.streams.get(stream_id)
        if stream is not None:
            self._engine.acknowledge(stream, octets)

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
            if message.expected != UNKNOWN and message.expected < message.received:
                raise wrong_length(message)
            if stream.local_open or message.tunnel or self._wants_rest(stream, len(data)):
                self._events.append((stream.id, data))
            else:
                self._engine.acknowledge(stream, len(data))
        # A receiver of the content may have reset the stream.
        if end and stream.id in self._engine.streams:
            self._complete(stream, Fields.from_octets([]))

    def _wants_rest(self, stream: Stream, octets: int) -> bool:
        """Whether content is of use though our own side is complete."""
        return True

    def _complete(self, stream: Stream, trailers: Fields) -> None:
        message: Message = stream.message
        if message.expected not in (UNKNOWN, message.received):
            raise wrong_length(message)
        self._events.append(StreamEvent(stream.id, MessageComplete(trailers)))


class ServerMachine(Machine):
    """What a server does for most requests and answers."""

    __slots__ = ("_answers", "_answers_changes", "_answers_date", "_date", "_requests")

    def __init__(self, date: Callable[[], str] | None) -> None:
        self._date = date
        # Requests that have come before, by the identity of their lines, which are kept too.
        self._requests: dict[int, tuple[_Lines, Request, int]] = {}
        # Field sections of answers that have been sent before, as long as they mean the same.
        self._answers: dict[_Answer, bytes] = {}
        self._answers_date = ""
        self._answers_changes = 0

    def close_expected(self) -> bool:
        """Say whether to close the connection once everything has been written."""
        engine = self._engine
        return engine.closed or (engine.refusing and not engine.streams)

    # Requests.

    def headers_received(
        self, stream: Stream, lines: list[tuple[bytes, bytes]] | None, *, end: bool
    ) -> None:
        """See :class:`~switchover.http2.engine.Receiver`."""
        if lines is None or stream.message is not None:
            self._not_a_request(stream, lines, end=end)
            return
        request, expected = self._read(lines)
        if end and expected > 0:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR,
                f"no content, {expected} octets announced",
                "RFC 9113 §8.1.1",
            )
        message = Message(request)
        message.expected = expected
        stream.message = message
        if end:
            self._events.append(stream)
        else:
            self._events.append(StreamEvent(stream.id, RequestReceived(request)))

    def _not_a_request(self, stream: Stream, lines: _Lines | None, *, end: bool) -> None:
        raise NotImplementedError

    def _check(self, lines: _Lines) -> tuple[Request, int]:
        """Return the request of ``lines``, and the octets of content it announces."""
        raise NotImplementedError

    def _read(self, lines: _Lines) -> tuple[Request, int]:
        """Return a request of its own, and the octets of content it announces.

        Lines that come again are not checked again.
        """
        if not self._engine.decoder.repeated:
            return self._check(lines)
        found = self._requests.get(id(lines))
        if found is None or found[0] is not lines:
            if len(self._requests) >= _REMEMBERED:
                self._requests.clear()
            found = self._requests[id(lines)] = (lines, *self._check(lines))
        first = found[1]
        request = Request(
            first.method,
            first.target,
            Fields.from_octets(first.fields.raw.copy()),
            "2",
            first.scheme,
            first.authority,
            first.protocol,
        )
        return request, found[2]

    # Answers.

    def send_again(self, stream_id: int, response: Response) -> bool:
        """Send a complete answer whose field section is remembered.

        ``False``, and nothing is sent, if it is not, or if there is anything to ask about it.
        """
        content = response.content
        stream = self._engine.streams.get(stream_id)
        if not content or stream is None or not stream.local_open:
            return False
        message: Message = stream.message
        if message.head_sent or message.request.method not in _WITH_CONTENT:
            return False
        block = self._answers.get(self._answer_key(response))
        if block is None or not self._engine.send_answer(stream, block, content):
            return False
        message.head_sent = True
        return True

    def _answer_key(self, response: Response) -> _Answer:
        """Return what an answer is remembered by; forget those that mean something else now."""
        date = "" if self._date is None else self._date()
        changes = self._engine.encoder.changes
        if changes != self._answers_changes or date != self._answers_date:
            self._answers.clear()
            self._answers_changes, self._answers_date = changes, date
        return response.status, len(response.content), tuple(response.fields.raw)

    def _remember(self, key: _Answer, block: bytes) -> None:
        # What was put in the table by this very section would be put there again.
        if len(block) > _REMEMBERED_OCTETS or self._engine.encoder.changes != self._answers_changes:
            return
        if len(self._answers) >= _REMEMBERED:
            self._answers.clear()
        self._answers[key] = block


def wrong_length(message: Message) -> StreamFault:
    """Return the fault of content that is not as long as was announced."""
    return StreamFault(
        ErrorCode.PROTOCOL_ERROR,
        f"content of {message.received} octets or more, {message.expected} announced",
        "RFC 9113 §8.1.1",
    )
