"""The blocking WebSocket, and ``connect()``."""

from __future__ import annotations

import threading
import warnings
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Any, Self

from switchover.asyncio.connect import connect as open_websocket
from switchover.asyncio.websocket import Data, WebSocketSettings
from switchover.asyncio.websocket import WebSocket as AsyncWebSocket
from switchover.errors import ConnectionClosed, ConnectionClosedOK
from switchover.http.messages import Request, Response
from switchover.sync.background import Lease, lease
from switchover.sync.mailboxes import Inbox, Outbox
from switchover.websocket.close_codes import CloseCode
from switchover.websocket.connection import State

__all__ = ["WebSocket", "connect"]

#: Seconds that close() gives a peer to take what has been sent before.
_FLUSH = 10.0


class WebSocket:
    """A WebSocket connection for programs without an event loop.

    Iterate over it, or use :meth:`recv` and :meth:`send`. One thread reads at a time; any
    number of threads may send, ping and close. Pings of the peer are answered, and its
    silence is noticed, whether or not a thread is waiting. Use it as a context manager, or
    call :meth:`close`.
    """

    def __init__(self, ws: AsyncWebSocket, inbox: Inbox, outbox: Outbox, held: Lease) -> None:
        self._ws = ws
        self._inbox = inbox
        self._outbox = outbox
        self._lease = held
        self._reading = threading.Lock()
        self._ended: ConnectionClosed | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<switchover.sync.WebSocket {self.state.name}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and not self._lease.inherited:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._lease.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        self.close(CloseCode.NORMAL_CLOSURE if exc_type is None else CloseCode.INTERNAL_ERROR)

    # Facts.

    @property
    def request(self) -> Request | None:
        """The request of the opening handshake."""
        return self._ws.request

    @property
    def response(self) -> Response | None:
        """The response of the opening handshake."""
        return self._ws.response

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the opening handshake selected."""
        return self._ws.subprotocol

    @property
    def state(self) -> State:
        """OPEN, CLOSING or CLOSED."""
        return self._ws.state

    @property
    def close_code(self) -> int | None:
        """The code of the peer's Close frame: 1005 if it had none, 1006 if no frame came."""
        return self._ws.close_code

    @property
    def close_reason(self) -> str:
        """The reason in the peer's Close frame."""
        return self._ws.close_reason

    @property
    def latency(self) -> float:
        """Seconds between the latest ping and its pong; 0.0 before the first."""
        return self._ws.latency

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the transport: ``peername``, ``sockname``, ``ssl_object`` and so on."""
        return self._ws.get_extra_info(name, default)

    # Receiving.

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection ends normally."""
        return self

    def __next__(self) -> str | bytes:
        try:
            return self.recv()
        except ConnectionClosedOK:
            raise StopIteration from None

    def recv(self, timeout: float | None = None) -> str | bytes:
        """Return the next message: text is ``str``, binary is ``bytes``.

        Raises :class:`DeadlineExceeded` if none comes within ``timeout`` seconds (0 looks
        whether there is one), :class:`ConnectionClosedOK` or :class:`ConnectionClosedError`
        when there are no more. A wait that was interrupted has lost nothing.
        """
        if not self._reading.acquire(blocking=False):
            raise RuntimeError("another thread is waiting for a message of this connection")
        try:
            if self._ended is not None:
                raise self._ended.with_traceback(None)
            if not self._closed:
                self._lease.check()
            message = self._inbox.take(timeout)
            if isinstance(message, ConnectionClosed):
                self._ended = message
                raise message
            if self._inbox.is_drained() and not self._closed:
                self._lease.soon(self._inbox.make_room)
            return message
        finally:
            self._reading.release()

    # Sending.

    def send(self, message: Data | Iterable[Data], timeout: float | None = None) -> None:
        """Send a message.

        It is on its way when this returns; only a peer that does not read makes it wait, once
        ``queue_high`` octets (see :class:`WebSocketSettings`) have piled up. ``str`` is sent
        as text, anything bytes-like as binary. An iterable of them is sent as one message in
        fragments; it is iterated over in this thread. Raises :class:`ConnectionClosed` when
        the connection is closing or closed, and :class:`DeadlineExceeded` after ``timeout``
        seconds: a whole message has not been sent then, an unfinished one ends the connection.
        """
        if isinstance(message, str):
            if not message.isascii():
                message.encode()  # raises here what could not be sent
            self._put(message, timeout)
        elif isinstance(message, (bytes, bytearray, memoryview)):
            self._put(bytes(message), timeout)
        elif isinstance(message, Iterable) and not isinstance(message, dict):
            self._check_open()
            call = self._lease.call()
            call.run(self._send_fragments(call.pieces(message)), "sending", timeout)
        else:
            raise TypeError(f"a message is str, bytes-like or an iterable of them: {message!r}")

    def _put(self, message: str | bytes, timeout: float | None) -> None:
        self._check_open()
        if not self._outbox.has_room():
            self._lease.run(self._outbox.wait_room(), "sending", timeout)
            self._check_open()
        self._outbox.put(message)

    async def _send_fragments(self, pieces: AsyncIterable[Data]) -> None:
        await self._outbox.wait_empty()
        await self._ws.send(pieces)

    def ping(self, data: bytes | None = None, timeout: float | None = None) -> float:
        """Send a ping, wait for its pong, and return the seconds that took.

        Raises :class:`DeadlineExceeded` after ``timeout`` seconds, and
        :class:`ConnectionClosed` if the connection ends first.
        """
        self._check_open()
        return self._lease.run(self._ws.ping(data), "waiting for the pong", timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise self._ws.machine.closed_error()
        if self._ws.state is not State.OPEN:
            # How it ended is known when it has ended.
            self._lease.run(self._ws.wait_closed())
            raise self._ws.machine.closed_error()

    # Closing.

    def close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection, and wait until it is closed, at most ``close_timeout``.

        Closing twice is harmless. Raises :class:`LocalProtocolError` for a code that may not
        be sent, and for a reason of more than 123 octets of UTF-8.
        """
        if not self._closed:
            self._lease.run(_close(self._ws, self._outbox, code, reason))
            self._closed = True
            self._lease.release()

    def abort(self) -> None:
        """Drop the connection at once; nothing is sent."""
        if not self._closed:
            self._closed = True
            self._lease.run(_abort(self._ws))
            self._lease.release()


async def _close(ws: AsyncWebSocket, outbox: Outbox, code: int | None, reason: str) -> None:
    await outbox.wait_empty(_FLUSH)
    await ws.close(code, reason)


async def _abort(ws: AsyncWebSocket) -> None:
    ws.abort()
    await ws.wait_closed()


def connect(url: str, **options: Any) -> WebSocket:
    """Open a WebSocket to ``url``; ``options`` are those of :func:`switchover.connect`.

    ::

        with switchover.sync.connect("ws://localhost/echo") as ws:
            ws.send("hello")
            print(ws.recv(timeout=5))

    It can be used in any thread, also where an event loop is running. Raises
    :class:`HandshakeRejected` (which carries the server's whole answer),
    :class:`InvalidHandshake`, :class:`DeadlineExceeded`, :class:`OSError`.
    """
    held = lease()
    try:
        return held.run(_open(url, options, held))
    except BaseException:
        held.cancel()
        raise


async def _open(url: str, options: dict[str, Any], held: Lease) -> WebSocket:
    ws = await open_websocket(url, **options)
    settings = options.get("settings") or WebSocketSettings()
    outbox = Outbox(ws, settings, held)
    held.keep(ws.abort, lambda: _close(ws, outbox, CloseCode.GOING_AWAY, ""))
    return WebSocket(ws, Inbox(ws, settings), outbox, held)
