"""The life of a WebSocket connection on an event loop: pings, keepalive, closing, the end.

What applications send and receive is :mod:`switchover.asyncio.websocket`, which derives from
:class:`Lifecycle`. An idle connection has no timer of its own: deadlines share the loop's.

This file is compiled as ``_websocket_life_c``; the C types stand in ``_websocket_life_c.pxd``.
Choose through :mod:`switchover.asyncio.websocket_life`.
"""

from __future__ import annotations

import logging
import os
import time
from asyncio import get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switchover.asyncio import deadlines, wire
from switchover.asyncio.flow import WriteGate, end_writing
from switchover.asyncio.websocket_keepalive import LoopLag
from switchover.asyncio.websocket_settings import DEFAULT_SETTINGS, WebSocketSettings
from switchover.errors import ConnectionClosed, LocalProtocolError
from switchover.http.messages import Request, Response
from switchover.http.packing import pack_request, pack_response, unpack_request, unpack_response
from switchover.websocket.close_codes import CloseCode
from switchover.websocket.connection import Connection, State
from switchover.websocket.events import Pong

if TYPE_CHECKING:
    import asyncio

    from switchover.asyncio.server import Server
    from switchover.asyncio.websocket import WebSocket

__all__ = ["Lifecycle"]

logger = logging.getLogger("switchover.websocket")

_CLOSED = State.CLOSED


class Lifecycle(wire.Wire):
    """A connection from the moment it has a transport to the moment it has none."""

    __slots__ = (
        "_close_begun",
        "_closed",
        "_deadline",
        "_fragmenting",
        "_gate",
        "_lag",
        "_lost",
        "_owner",
        "_pings",
        "_release",
        "_request",
        "_response",
        "_settings",
        "_transport_ended",
        "latency",
        "on_close",
    )

    def __init__(
        self,
        machine: Connection,
        *,
        request: Request | None = None,
        response: Response | None = None,
        settings: WebSocketSettings = DEFAULT_SETTINGS,
        on_message: Callable[[WebSocket, Any], object] | None = None,
        on_close: Callable[[WebSocket], object] | None = None,
        owner: Server | None = None,
    ) -> None:
        self._begin_life(machine, settings, owner)
        # The opening handshake: as messages, or packed once they are not looked at any more.
        self._request: Request | bytes | None = request
        self._response: Response | bytes | None = response
        self.on_message = on_message
        self.on_close = on_close

    def _begin_life(
        self, machine: Connection, settings: WebSocketSettings, owner: Server | None
    ) -> None:
        """Begin without a handshake to be looked at, and without callbacks."""
        self._begin(machine, settings.queue_high, settings.queue_low)
        self._request = self._response = None
        self._owner = owner
        self.on_close = None
        #: Seconds between the latest ping and its pong; 0.0 before the first.
        self.latency = 0.0
        self._settings = settings
        self._deadline: deadlines.Deadline | None = None  # of the keepalive, later of the closing
        self._pings: dict[bytes, tuple[float, asyncio.Future[float] | None]] | None = None
        self._release: deadlines.Deadline | None = None  # of the next look at the extensions
        self._lag: float | None = None  # a mark while a keepalive ping is unanswered
        self._gate: WriteGate | None = None
        self._close_begun = False
        self._transport_ended = False
        self._lost: Exception | None = None
        self._closed: list[asyncio.Future[None]] | None = None  # of those who wait for the end
        self._fragmenting: asyncio.Future[None] | None = None  # until the message is sent

    # Facts.

    @property
    def machine(self) -> Connection:
        """The protocol of the connection, sans-I/O."""
        machine: Connection = self._machine
        return machine

    @property
    def request(self) -> Request | None:
        """The request of the opening handshake."""
        if isinstance(self._request, bytes):
            self._request = unpack_request(self._request)
        return self._request

    @property
    def response(self) -> Response | None:
        """The response of the opening handshake."""
        if isinstance(self._response, bytes):
            self._response = unpack_response(self._response)
        return self._response

    def _settled(self) -> None:
        """Keep the opening handshake in little room: a task waits for the first time."""
        if isinstance(self._request, Request):
            self._request = pack_request(self._request)
        if isinstance(self._response, Response):
            self._response = pack_response(self._response)

    @property
    def transport(self) -> asyncio.Transport:
        """The transport under the connection."""
        transport: asyncio.Transport = self._transport
        return transport

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the opening handshake selected."""
        return self.machine.subprotocol

    @property
    def state(self) -> State:
        """OPEN, CLOSING or CLOSED."""
        return self.machine.state

    @property
    def close_code(self) -> int | None:
        """The code of the peer's Close frame: 1005 if it had none, 1006 if no frame came."""
        return self.machine.close_code

    @property
    def close_reason(self) -> str:
        """The reason in the peer's Close frame."""
        return self.machine.close_reason

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the transport: ``peername``, ``sockname``, ``ssl_object`` and so on."""
        return self._transport.get_extra_info(name, default)

    # Pings.

    def _send_ping(self, data: bytes, pong: asyncio.Future[float] | None) -> None:
        if self._pings is None:
            self._pings = {}
        if data in self._pings:
            raise LocalProtocolError("a ping with the same data has not been answered yet")
        self._machine.ping(data)
        self._pings[data] = time.monotonic(), pong
        self._send_soon()

    def _receive_pong(self, data: bytes) -> None:
        pings = self._pings
        if pings is None or data not in pings:
            return
        # RFC 6455 §5.5.3: a peer may answer only the latest of several pings.
        for earlier in list(pings):
            sent, pong = pings.pop(earlier)
            latency = time.monotonic() - sent
            if pong is not None and not pong.done():
                pong.set_result(latency)
            if earlier == data:
                self.latency = latency
                break
        if not pings:
            self._pings = None
        if self._lag is not None:
            self._end_keepalive()
            self._begin_keepalive()

    # Closing.

    def close_nowait(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin to close the connection, as :meth:`close` does, and do not wait."""
        self._machine.close(code, reason)
        if self._waiter is None or not self._waiter.busy():
            self._muted = self.on_message is None
        self._read_on()
        self.flush()
        self._connection_ending()

    def fail(self, code: int = CloseCode.INTERNAL_ERROR, reason: str = "") -> None:
        """Give the connection up (RFC 6455 §7.1.7): say why, and look at nothing any more."""
        self._muted = True
        self._machine.fail(code, reason)
        self._read_on()
        self.flush()
        self._connection_ending()

    def abort(self) -> None:
        """Drop the transport at once; nothing is sent."""
        self._muted = True
        if self._transport is not None:
            self._transport.abort()

    def _connection_ending(self) -> None:
        """Do what is due when the connection is no longer plainly open."""
        if not self._machine._receiving and self._waiter is not None:
            self._waiter.wake(True)
        if not self._close_begun and self._transport is not None:
            self._close_begun = True
            self._end_keepalive()
            self._end_release()
            if self._settings.close_timeout is not None and self._machine.state is not _CLOSED:
                of_loop = deadlines.deadlines_of(self._loop)
                self._deadline = of_loop.set(self._settings.close_timeout, self.abort)
        if self._machine.close_expected() and not self._transport_ended:
            self._transport_ended = True
            self._end_transport()

    def _end_transport(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._read_on()
        if self._machine.close_code is None and transport.can_write_eof():
            # The peer may still be sending. Closing now would reset the connection, and the
            # Close frame that says why might never be read; so only our half is closed, and
            # what comes is discarded until the peer has closed too, or the deadline passes.
            end_writing(transport)
        else:
            transport.close()

    def _read_on(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def _closed_error(self) -> ConnectionClosed:
        # Whoever asks for more has answered what came: the Close that is due can go.
        self._machine.settle()
        error = self._machine.closed_error()
        error.__cause__ = self._lost or self._machine.error
        return error

    # Keepalive.

    def _begin_keepalive(self) -> None:
        interval = self._settings.ping_interval
        if interval is not None and self._machine._sendable:
            self._deadline = deadlines.deadlines_of(self._loop).set(interval, self._keepalive)

    def _end_keepalive(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._lag is not None:
            LoopLag.of(self._loop).unwatch()
            self._lag = None

    def _keepalive(self) -> None:
        self._deadline = None
        if not self._machine._sendable:
            return
        timeout = self._settings.ping_timeout
        self._send_ping(os.urandom(4), None)
        self._lag = LoopLag.of(self._loop).watch()
        if timeout is not None:
            self._deadline = deadlines.deadlines_of(self._loop).set(timeout, self._no_pong)

    def _no_pong(self, *, again: bool = False) -> None:
        self._deadline = None
        if self._lag is None:
            return
        timeout = self._settings.ping_timeout or 0.0
        blocked = LoopLag.of(self._loop).blocked_since(self._lag)
        if self._reading_paused or (blocked > 0 and not again):
            # Not the peer's fault: the pong may lie in the socket's buffer.
            wait = timeout if self._reading_paused else min(timeout, 1.0)
            self._deadline = deadlines.deadlines_of(self._loop).set(wait, self._no_pong_again)
            return
        reason = f"keepalive: no pong within {timeout:g} s"
        if blocked > 0:
            reason += f"; our event loop was blocked for {blocked:.1f} s of them"
        else:
            reason += "; our event loop was not blocked"
        logger.info("%s from %s", reason, self.get_extra_info("peername"))
        self._end_keepalive()
        self.fail(CloseCode.INTERNAL_ERROR, reason)
        # The peer is silent, so nobody will close the other half.
        self.abort()

    def _no_pong_again(self) -> None:
        self._no_pong(again=True)

    # Idling.

    def _begin_release(self) -> None:
        after = self._settings.release_after
        if after is not None and self._machine._extensions:
            self._release = deadlines.deadlines_of(self._loop).set(after, self._release_idle)

    def _release_idle(self) -> None:
        self._begin_release()
        self._machine.release_idle()

    def _end_release(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over ``transport``, which may have been another protocol's before."""
        self._attach(transport, get_running_loop())
        self._begin_keepalive()
        self._begin_release()
        if self._machine._out:
            self._send_soon()
        if self._machine._ending:
            self._connection_ending()

    def eof_received(self) -> bool:
        """Let the transport close: the peer has closed its half."""
        return False

    def pause_writing(self) -> None:
        """Make :meth:`send` wait: the transport's buffer is over its high mark."""
        self._writing_paused = self._machine.pongs_held = True
        if self._gate is not None:
            self._gate.close()

    def resume_writing(self) -> None:
        """Let :meth:`send` go on: the transport's buffer has drained."""
        self._writing_paused = self._machine.pongs_held = False
        if self._gate is not None:
            self._gate.open()
        if self._machine._pong is not None:
            self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the transport has ended, and tell everybody who waits."""
        self._lost = exc
        self._end_keepalive()
        self._end_release()
        self._machine.receive_eof()
        self._close_begun = self._transport_ended = True
        if self._waiter is not None:
            self._waiter.wake(False)
        if self._gate is not None:
            self._gate.break_down(self._closed_error)
        pings, self._pings = self._pings, None
        if pings is not None:
            for _, pong in pings.values():
                if pong is not None and not pong.done():
                    pong.set_exception(self._closed_error())
        closed, self._closed = self._closed, None
        if closed is not None:
            for waiting in closed:
                if not waiting.done():
                    waiting.set_result(None)
        ws: Any = self  # what derives from this is a WebSocket
        if self._owner is not None:
            self._owner.dismiss(ws)
        if self.on_close is not None:
            try:
                self.on_close(ws)
            except Exception:
                logger.exception("on_close failed")

    # What the frame loop calls.

    def _event(self, event: Any) -> None:
        if type(event) is Pong:
            self._receive_pong(event.data)

    def _callback_failed(self, error: Exception) -> None:
        # The peer learns that something went wrong, not what (SEC-44).
        logger.error("on_message failed", exc_info=error)
        self.fail(CloseCode.INTERNAL_ERROR)
