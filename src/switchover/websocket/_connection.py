"""The data phase of a WebSocket connection, from the opening handshake to the end (RFC 6455).

A :class:`Connection` is made when the opening handshake is over. It reads octets and gives
events, takes messages and gives octets, and never touches a socket::

    connection = Connection(Side.SERVER)
    connection.receive_data(octets)
    for event in connection.events_received():
        if isinstance(event, str): ...          # a text message; bytes: a binary one
    socket.sendall(b"".join(connection.data_to_send()))
    if connection.close_expected(): socket.close()

How it ends. Whoever wants to close sends a Close frame, and the other one answers with one;
then the server ends the transport, and the client waits for that. Whoever sees a rule broken
*fails* the connection: it sends a Close frame that says why, looks at nothing any more and ends
the transport. So there are three states::

              close(), or the peer's Close
              came and was answered,
              or the connection failed            the transport has ended
    OPEN ─────────────────────────────► CLOSING ─────────────────────────► CLOSED
      └────────────────────────────────────────────────────────────────────►
                 the transport has ended: no Close came, code 1006

In CLOSING nothing can be sent; messages are still received until the peer's Close comes. A
driver sets a deadline when CLOSING begins, and drops the transport when it passes (SEC-22).

This file is compiled as ``_connection_c``; the C types stand in ``_connection_c.pxd``. Choose
through :mod:`switchover.websocket.connection`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from switchover.errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    LocalProtocolError,
    RemoteProtocolError,
)
from switchover.websocket import framing
from switchover.websocket.close_codes import CloseCode, cut_reason, format_close, parse_close
from switchover.websocket.events import Close, Event, Failed, Ping, Pong

if TYPE_CHECKING:
    from switchover.websocket.extensions import Extension

__all__ = ["Connection", "Side", "State"]

# First octets of control frames: FIN and the opcode.
_CLOSE = 0x88
_PING = 0x89
_PONG = 0x8A
#: So many frames a message has at most, if nothing else is said.
_MAX_FRAGMENTS = 128 * 1024
#: With more octets than this to be sent, only the latest ping is answered.
_MANY_PONGS = 4096


class Side(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """How far the life of a connection has come."""

    #: Messages go both ways.
    OPEN = "open"
    #: A Close frame has been sent, or the connection has failed: nothing can be sent.
    CLOSING = "closing"
    #: The transport has ended.
    CLOSED = "closed"


# Looked at in every wake-up: by names of this module.
_OPEN = State.OPEN
_CLOSING = State.CLOSING
_CLOSED = State.CLOSED
_SERVER = Side.SERVER


@lru_cache(maxsize=64)
def _meaning(body: bytes) -> Close:
    """Return what a body says; most bodies are one of very few."""
    return Close(*parse_close(body))


@lru_cache(maxsize=64, typed=True)
def _body(code: int | None, reason: str) -> bytes:
    return format_close(code, reason)


class Connection(framing.Framing):
    """One end of a WebSocket connection after its opening handshake.

    ``extensions`` are those negotiated, in the order of the response. Messages larger than
    ``max_message_size`` octets (``None``: any size) or in more than ``max_fragments`` frames
    fail the connection with 1009 and 1008. With ``deliver_fragments``, which can be changed at
    any time, messages in several frames are delivered as :class:`Fragment` events. ``entropy``
    gives so many random octets, for the mask keys of a client.
    """

    __slots__ = (
        "_due",
        "_error",
        "_finished",
        "_received",
        "_sent",
        "pongs_held",
        "side",
        "state",
        "subprotocol",
    )

    def __init__(
        self,
        side: Side,
        *,
        extensions: Sequence[Extension] = (),
        subprotocol: str | None = None,
        max_message_size: int | None = 1024 * 1024,
        max_fragments: int = _MAX_FRAGMENTS,
        deliver_fragments: bool = False,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._begin(
            tuple(extensions),
            max_message_size,
            max_fragments,
            entropy if side is Side.CLIENT else None,
        )
        self._begin_rules(side, subprotocol)
        self.deliver_fragments = deliver_fragments

    def _begin_rules(self, side: Side, subprotocol: str | None) -> None:
        self.side = side
        self.state = _OPEN
        self.subprotocol = subprotocol
        self._received: Close | None = None
        self._sent: Close | None = None
        self._error: RemoteProtocolError | None = None
        self._finished = False
        self._due: bytes | None = None
        #: Set by a driver whose peer does not read: then only the latest ping is answered.
        self.pongs_held = False

    # Facts.

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The extensions at work."""
        extensions: tuple[Extension, ...] = self._extensions
        return extensions

    @property
    def close_code(self) -> int | None:
        """The close code of §7.1.5; ``None`` while no Close came and the transport lives."""
        if self._received is not None:
            return self._received.code
        # RFC 6455 §7.1.5: "If _The WebSocket Connection is Closed_ and no Close control frame
        # was received by the endpoint …, _The WebSocket Connection Close Code_ is considered
        # to be 1006."
        return CloseCode.ABNORMAL_CLOSURE if self.state is _CLOSED else None

    @property
    def close_reason(self) -> str:
        """The reason in the first Close frame received (§7.1.6); empty if there was none."""
        return "" if self._received is None else self._received.reason

    @property
    def sent_code(self) -> int | None:
        """The code this end sent: 1005 for a Close frame without one, ``None`` for no frame."""
        return None if self._sent is None else self._sent.code

    @property
    def sent_reason(self) -> str:
        """The reason this end sent."""
        return "" if self._sent is None else self._sent.reason

    @property
    def error(self) -> RemoteProtocolError | None:
        """What the peer did wrong, if that has failed the connection."""
        return self._error

    def closed_error(self) -> ConnectionClosed:
        """Make the exception that says how the connection ended."""
        received = CloseCode.ABNORMAL_CLOSURE if self._received is None else self._received.code
        normal = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)
        sent = self.sent_code
        orderly = received in normal and sent in normal
        kind = ConnectionClosedOK if orderly else ConnectionClosedError
        return kind(received, self.close_reason, sent_code=sent, sent_reason=self.sent_reason)

    # Receiving.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer. Never raises for what they are."""
        octets = bytearray(data)
        self.feed(octets, 0, len(octets))

    def receive_eof(self) -> None:
        """Take note that the transport has ended, in whatever way."""
        self.state = _CLOSED
        self._finished = self._ending = True
        self._sendable = self._receiving = False
        self._pong = self._due = None

    def events_received(self) -> list[Event]:
        """Return what has happened since the last call, in order."""
        events: list[Event] = self._events
        self._events = []
        return events

    def close_expected(self) -> bool:
        """Whether the driver is to end the transport, once everything has been sent."""
        return self._finished

    # Sending.

    def data_to_send(self) -> list[bytes]:
        """Return the octets to send since the last call."""
        self.settle()
        if self._pong is not None:
            self._send_pong()
        out: list[bytes] = self._out
        self._out = []
        self._out_size = 0
        return out

    def send_text(self, text: str) -> None:
        """Send a text message. See :meth:`send_message` for what it raises."""
        if not isinstance(text, str):
            raise TypeError(f"text is str, not {type(text).__name__}")
        self.send_message(text)

    def send_binary(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message. See :meth:`send_message` for what it raises."""
        if isinstance(data, str):
            raise TypeError("binary data is bytes-like, not str")
        self.send_message(data)

    def ping(self, data: bytes = b"") -> None:
        """Send a ping with up to 125 octets; the peer's pong carries the same."""
        self._send_control(_PING, data)

    def pong(self, data: bytes = b"") -> None:
        """Send a pong that nobody asked for (§5.5.3). Pings are answered without this."""
        self._send_control(_PONG, data)

    def close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin the closing handshake; does nothing if it has begun, or is over.

        ``None`` for ``code`` sends a Close frame without one. Raises
        :class:`LocalProtocolError` for a code that may not be sent, and for a reason of more
        than 123 octets.
        """
        body = _body(code, reason)
        if self.state is _OPEN:
            self._send_close(body)

    def fail(self, code: int = CloseCode.INTERNAL_ERROR, reason: str = "") -> None:
        """Fail the connection (§7.1.7): say why, and look at nothing any more.

        A long reason is cut between characters.
        """
        body = _body(code, cut_reason(reason) if reason else "")
        self._receiving = False
        if self.state is _OPEN:
            self._send_close(body)
        self._finished = self._ending = True

    # The rules; the frame loop calls these.

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == 0x9:
            # RFC 6455 §5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong
            # frame in response, unless it already received a Close frame."
            if self._sendable:
                self._answer_ping(payload)
            self._events.append(Ping(payload))
        elif opcode == 0xA:
            self._events.append(Pong(payload))
        else:
            self._receive_close(payload)

    def _answer_ping(self, payload: bytes) -> None:
        # RFC 6455 §5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong
        # frame(s) in response to previous Ping frame(s), the endpoint MAY elect to send a Pong
        # frame for only the most recently processed Ping frame." Each ping has its pong, then,
        # as long as little is waiting to be sent; a flood costs no more than one frame.
        if self.pongs_held or self._out_size > _MANY_PONGS:
            self._pong = payload
        else:
            self._pong = None
            self._write(_PONG, payload)

    def _receive_close(self, body: bytes) -> None:
        try:
            close = _meaning(body)
        except RemoteProtocolError as error:
            self._refuse(error)
            return
        self._received = close
        self._receiving = False
        self._ending = True
        # RFC 6455 §5.5.1: "If an endpoint receives a Close frame and did not previously send a
        # Close frame, the endpoint MUST send a Close frame in response. (When sending a Close
        # frame in response, the endpoint typically echos the status code it received.)"
        if self.state is _OPEN:
            self._due = body[:2]
        # RFC 6455 §7.1.1: the server "MUST close the underlying TCP connection immediately";
        # "the client SHOULD wait for the server to close the connection".
        self._finished = self._finished or self.side is _SERVER
        self._events.append(close)

    def _refuse(self, error: RemoteProtocolError) -> None:
        # RFC 6455 §7.1.7: "An endpoint MUST NOT continue to attempt to process data (including
        # a responding Close frame) from the remote endpoint after being instructed to _Fail the
        # WebSocket Connection_."
        if self._error is None and self._receiving:
            self._error = error
            self._events.append(Failed(error))
            self._receiving = False
            if self.state is _OPEN:
                self._due = format_close(error.close_code, cut_reason(str(error)))
            self._finished = self._ending = True

    def settle(self) -> None:
        """Send the Close frame that is due: the peer's was received, or a rule was broken.

        It waits until the messages ahead of it have been seen, so that they can be answered
        (§5.5.1: "An endpoint MAY delay sending a Close frame until its current message is
        sent"). :meth:`data_to_send` does this by itself.
        """
        body, self._due = self._due, None
        if body is not None and self.state is _OPEN:
            self._send_close(body)

    def _send_control(self, first: int, data: bytes) -> None:
        # RFC 6455 §5.5: "All control frames MUST have a payload length of 125 bytes or less".
        if len(data) > 125:
            raise LocalProtocolError(
                f"a control frame carries 125 octets, not {len(data)}", rule="RFC 6455 §5.5"
            )
        if not self._sendable:
            raise self._why_not_sendable()
        self._write(first, bytes(data))

    def _send_close(self, body: bytes) -> None:
        self._send_pong()
        self._write(_CLOSE, body)
        self._sent = _meaning(body)
        self.state = _CLOSING
        # RFC 6455 §5.5.1: "The application MUST NOT send any more data frames after sending a
        # Close frame."
        self._sendable = False
        self._ending = True

    def _why_not_sendable(self) -> LocalProtocolError:
        if self.state is _CLOSED:
            return LocalProtocolError("the connection is closed", rule="RFC 6455 §6.1")
        if self.state is _CLOSING:
            return LocalProtocolError("a close frame has been sent", rule="RFC 6455 §5.5.1")
        return LocalProtocolError("a fragmented message is not finished", rule="RFC 6455 §5.4")


def server_end(
    extensions: tuple[Extension, ...], subprotocol: str | None, max_message_size: int | None
) -> Connection:
    """Return a server's :class:`Connection`, with the usual limits for all else."""
    connection = Connection.__new__(Connection)
    connection._begin(extensions, max_message_size, _MAX_FRAGMENTS, None)
    connection._begin_rules(_SERVER, subprotocol)
    return connection
