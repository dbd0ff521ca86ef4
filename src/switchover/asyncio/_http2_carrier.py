"""What carries an HTTP/2 connection: octets, and what is done for every request.

The other halves, what is done about each event, are
:class:`~switchover.asyncio.http2_driver.HTTP2Protocol` and the drivers derived from it. This
file is compiled as ``_http2_carrier_c``; the C types stand in ``_http2_carrier_c.pxd``. Choose
through :mod:`switchover.asyncio.http2_carrier`.

Whatever one wake-up makes is written in one system call, directly to the socket if the
transport is a plain one and has nothing queued, else through the transport.

Longer than other files: it is compiled as one, so that calls inside it are C calls.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from switchover.asyncio import _receiver as receiver
from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.flow import WriteGate, plain_socket
from switchover.asyncio.workers import Workers
from switchover.http.events import MessageComplete, RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2.codes import ErrorCode
from switchover.http2.events import StreamEvent
from switchover.http2.frames import Message, Stream

if TYPE_CHECKING:
    import asyncio
    from collections import deque

    from switchover.asyncio.exchange import Handler
    from switchover.asyncio.http2_exchange import HTTP2Exchange
    from switchover.asyncio.http2_server import HTTP2ServerProtocol
    from switchover.asyncio.http2_stream import StreamTransport
    from switchover.asyncio.server import Server
    from switchover.http2.connection import Connection
    from switchover.http2.server import ServerConnection
    from switchover.upgrade.offers import Offer

__all__ = ["Carrier", "ExchangeState", "ServerCarrier"]

#: Content that is written without waiting for the end of the loop's round.
_MUCH = 64 * 1024
#: Pieces of output are joined up to this size; above, they are handed over as they are.
_JOINED = 8192
#: So many pieces at most go into one call of writev(2): what POSIX guarantees.
_VECTOR = 16
#: Targets that need no decision are remembered: so many, none longer than this.
_REMEMBERED = 32
_REMEMBERED_OCTETS = 256

_NO_TRAILERS = Fields()

_os_write: Callable[[int, Any], int] = os.write
_os_writev: Any = getattr(os, "writev", None)


#: The buffer that all connections of a loop read through: what is in it is copied before
#: anybody else reads.
_READ = 64 * 1024
_buffers: weakref.WeakKeyDictionary[Any, memoryview] = weakref.WeakKeyDictionary()


def _buffer_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(_READ))
    return buffer


class Carrier(receiver.Receiver):
    """Carries one end of a connection: between the transport and the machine, and back."""

    __slots__: tuple[str, ...] = (
        "_buffer",
        "_deadlines",
        "_fd",
        "_loop",
        "_machine",
        "_over",
        "_pumping",
        "_push",
        "_sending",
        "_stall",
        "_transport",
        "_tunnels",
        "_unsent",
        "_write_queued",
        "gate",
    )

    _machine: Connection

    def __init__(self, machine: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._machine = machine
        self._loop = loop
        self._deadlines = Deadlines.of(loop)
        self._transport: asyncio.Transport | None = None
        self.gate = WriteGate()
        self._tunnels: dict[int, StreamTransport] = {}
        self._stall: Deadline | None = None
        self._buffer = _buffer_of(loop)
        self._pumping = False
        self._sending = False
        self._over = False
        self._unsent = 0
        self._fd = -1  # -1: through the transport
        self._push: Callable[[], None] | None = None  # of a transport that gathers
        self._write_queued = True  # the transport may have something queued

    def attach(self, transport: asyncio.Transport) -> None:
        """Work on ``transport`` from now on."""
        self._transport = transport
        self._fd = plain_socket(transport)
        self._push = getattr(transport, "push", None)

    # Octets in.

    def _space(self) -> memoryview:
        return self._buffer

    def _filled(self, nbytes: int) -> None:
        self._machine.receive_data(bytes(self._buffer[:nbytes]))
        if self._transport is not None:
            self.pump()

    def pump(self) -> None:
        """Meet what has happened, and write what that has made ready."""
        machine = self._machine
        self._pumping = True
        try:
            while not self._over and (events := machine.take_events()):
                for event in events:
                    kind = type(event)
                    if kind is Stream:
                        self._on_whole_request(event)
                    elif kind is tuple:
                        self._on_content(event[0], event[1])
                    else:
                        self._on_event(event)
                self._events_met()
        finally:
            self._pumping = False
        if not self._over:
            self.flush()

    def _on_whole_request(self, stream: Stream) -> None:
        raise NotImplementedError

    def _on_content(self, stream_id: int, data: bytes) -> None:
        tunnel = self._tunnels.get(stream_id)
        if tunnel is not None:
            tunnel.receive(data)
        else:
            self._on_message_content(stream_id, data)

    def _on_message_content(self, stream_id: int, data: bytes) -> None:
        raise NotImplementedError

    def _on_event(self, event: Any) -> None:
        raise NotImplementedError

    def _events_met(self) -> None:
        """All that has come so far has been met."""

    def forget(self, stream_id: int) -> None:
        """The stream needs nothing more."""
        raise NotImplementedError

    # Octets out.

    def send_soon(self, octets: int = 0) -> None:
        """Write what the machine has ready, once for all who ask in this round of the loop.

        ``octets`` of content are new in it; when there are many they are written now, so that
        whoever comes next sees that the transport is congested.
        """
        if self._over:
            return
        self._unsent += octets
        if self._pumping:
            # Written when all events have been met, unless it is much, or all that anybody is
            # waiting for: then the peer can begin with it while we clear up.
            if self._unsent > _MUCH:
                self.flush()
            elif not self._machine.open_streams:
                self.flush()
                if self._push is not None:
                    self._push()
        elif self._transport is not None and (self._unsent > _MUCH or self._alone()):
            self.flush()
        elif not self._sending:
            self._sending = True
            self._loop.call_soon(self._send)

    def _alone(self) -> bool:
        """Whether there is nobody else whose octets could go out with these."""
        return False

    def _send(self) -> None:
        self._sending = False
        if not self._over and self._transport is not None:
            self.pump()

    def flush(self) -> None:
        """Write what the machine has made ready."""
        transport = self._transport
        assert transport is not None
        machine = self._machine
        self._unsent = 0
        data = machine.data_to_send()
        if data:
            self._write(transport, data)
        if machine._engine.blocked and self._stall is None:
            self._stall = self._deadlines.set(machine.limits.stall, self._check_stalls)
        if machine.close_expected() and not (self._over or transport.is_closing()):
            self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Everything has been said."""
        transport.close()

    def _check_stalls(self) -> None:
        self._stall = None
        now = self._loop.time()
        again = self._machine.check_stalls(now)
        if again is not None:
            self._stall = self._deadlines.set(max(again - now, 0.001), self._check_stalls)
        self.pump()

    def _write(self, transport: asyncio.Transport, pieces: list[Any]) -> None:
        # A transport that is closing may have no socket any more: its number may be another's.
        direct = self._fd >= 0 and not transport.is_closing()
        if direct and self._write_queued:
            self._write_queued = transport.get_write_buffer_size() != 0
            direct = not self._write_queued
        if len(pieces) > 1 and (not direct or len(pieces) > _VECTOR or _small(pieces)):
            pieces = [b"".join(pieces)]
        sent = 0
        if direct:
            try:
                if len(pieces) == 1:
                    sent = _os_write(self._fd, pieces[0])
                else:
                    sent = _os_writev(self._fd, pieces)
            except OSError:
                sent = 0  # the socket is full, or broken: the transport will find out
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            else:
                self._write_queued = True
                transport.write(memoryview(piece)[sent:] if sent > 0 else piece)
                sent = 0


def _small(pieces: list[Any]) -> bool:
    """Whether pieces are better copied than handed over one by one."""
    if _os_writev is None:
        return True
    size = 0
    for piece in pieces:
        size += len(piece)
    return size <= _JOINED


class ExchangeState:
    """What is known of an exchange; what can be done about it is
    :class:`~switchover.asyncio.http2_exchange.HTTP2Exchange`, which derives from this."""

    __slots__ = (
        "_content",
        "_driver",
        "_left",
        "_machine",
        "_waiter",
        "_window_waiter",
        "offer",
        "received",
        "request",
        "response_complete",
        "response_started",
        "response_status",
        "stream_id",
        "trailers",
    )

    request: Request
    offer: Offer | None
    response_started: bool
    response_complete: bool

    def __init__(
        self, driver: HTTP2ServerProtocol, stream_id: int, request: Request, offer: Offer | None
    ) -> None:
        self.stream_id = stream_id
        self.request = request
        self.offer = offer
        self.trailers: Fields | None = None
        self.response_started = False
        self.response_complete = False
        self.response_status = 0
        self._driver: HTTP2ServerProtocol = driver
        self._machine: ServerConnection = driver._machine
        self._content: deque[bytes] | None = None  # most requests have none
        #: The request has been received whole.
        self.received = False
        self._left = False
        self._waiter: asyncio.Future[None] | None = None
        self._window_waiter: asyncio.Future[None] | None = None

    def try_answer(self, response: Response) -> bool:
        """See :class:`~switchover.asyncio.exchange.Exchange`."""
        exchange: Any = self  # what derives from this
        return self._driver.answer_again(exchange, response)


class ServerCarrier(Carrier):
    """Carries a server's connection, and does for each request what is done for all."""

    __slots__ = (
        "_begun",
        "_exchange_type",
        "_exchanges",
        "_idle",
        "_ordinary",
        "_starting",
        "_used",
        "_workers",
        "server",
    )

    _machine: ServerConnection

    def serve(self, server: Server, exchange_type: type[HTTP2Exchange]) -> None:
        """Serve what ``server`` serves; to be called before there is a transport."""
        self.server = server
        self._exchange_type: Any = exchange_type
        self._exchanges: dict[int, HTTP2Exchange] = {}
        self._workers = Workers(server, self._loop)
        # Requests whose handlers begin when everything that came with them has been met.
        self._starting: list[HTTP2Exchange] = []
        # Where resources insist on a switch: targets that are none of theirs.
        self._ordinary: set[str] | None = set() if server.registry.requires_switch else None
        # When a stream was last in use, and the timer that looks at it.
        self._used = 0.0
        self._idle: Deadline | None = None
        # The client's first SETTINGS are here.
        self._begun = False

    def _alone(self) -> bool:
        return len(self._exchanges) + len(self._tunnels) < 2

    # Requests.

    def _on_whole_request(self, stream: Stream) -> None:
        message: Message = stream.message
        request = message.request
        ordinary = self._ordinary
        if request.method == "CONNECT" or (ordinary is not None and request.target not in ordinary):
            self._on_event(StreamEvent(stream.id, RequestReceived(request)))
            self._on_event(StreamEvent(stream.id, MessageComplete(Fields())))
            return
        exchange = self._exchange_type(self, stream.id, request, None)
        exchange.received = True
        exchange.trailers = _NO_TRAILERS
        self._exchanges[stream.id] = exchange
        self._starting.append(exchange)

    def remember_ordinary(self, target: str) -> None:
        """Note that no resource insists on a switch at ``target``."""
        ordinary = self._ordinary
        if ordinary is not None and len(target) <= _REMEMBERED_OCTETS:
            if len(ordinary) >= _REMEMBERED:
                ordinary.clear()
            ordinary.add(target)

    def _on_message_content(self, stream_id: int, data: bytes) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.content_arrived(data)
        else:
            self._machine.acknowledge(stream_id, len(data))

    def _events_met(self) -> None:
        starting = self._starting
        if not starting:
            return
        self._starting = []
        for exchange in starting:
            # Who has left already, with RST_STREAM behind the request, costs nothing more.
            if not exchange._left:
                request = exchange.request
                server = self.server
                self.run(
                    exchange,
                    server.handler if request.target != "*" else server.handler_for(request),
                )

    def run(self, exchange: HTTP2Exchange, handler: Handler) -> None:
        """Let ``handler`` answer ``exchange``."""
        self._workers.run(self._handle(exchange, handler))

    def _handle(self, exchange: HTTP2Exchange, handler: Handler) -> Coroutine[Any, Any, None]:
        raise NotImplementedError

    # Answers.

    def answer_again(self, exchange: HTTP2Exchange, response: Response) -> bool:
        """Send a complete answer that is like one before; ``False``: nothing has been sent."""
        if exchange._left or exchange.response_started or self.gate.closed:
            return False
        machine = self._machine
        if not machine.send_again(exchange.stream_id, response):
            return False
        exchange.response_started = True
        exchange.response_status = response.status
        self.send_soon(len(response.content))
        self.response_completed(exchange)
        return True

    def response_completed(self, exchange: HTTP2Exchange) -> None:
        """The answer to ``exchange`` is complete."""
        exchange.response_complete = True
        if exchange.offer is not None or not exchange.received:
            self._completed_early(exchange)
        self.forget(exchange.stream_id)
        if exchange._waiter is not None:
            exchange.wake()
        if self.server.settings.access_log:
            self.server.log_access(exchange, self)

    def _completed_early(self, exchange: HTTP2Exchange) -> None:
        """The answer is complete, and its request made an offer, or is not complete."""

    def forget(self, stream_id: int) -> None:
        """The stream needs nothing more."""
        self._exchanges.pop(stream_id, None)
        if self._tunnels:
            self._tunnels.pop(stream_id, None)
        self.watch_idle()

    def watch_idle(self) -> None:
        """Note that a stream has ended; one timer looks after idle time, not one a request."""
        self._used = self._loop.time()
        if self._idle is None and self._begun and not self._over:
            seconds = self.server.settings.timeouts.idle
            if seconds is not None:
                self._idle = self._deadlines.set(seconds, self._check_idle)

    def _check_idle(self) -> None:
        self._idle = None
        seconds = self.server.settings.timeouts.idle or 0.0
        if self._exchanges or self._tunnels or self._machine.open_streams:
            self.watch_idle()
        elif (left := self._used + seconds - self._loop.time()) > 0:
            self._idle = self._deadlines.set(left, self._check_idle)
        else:
            self._machine.close(ErrorCode.NO_ERROR, "the connection was idle")
            self.send_soon()
