"""A WebSocket connection on an event loop: the object that applications hold.

One class, two ways to use it, on one machine:

- coroutines: ``async for message in ws``, ``await ws.send(message)``;
- callbacks: ``on_message(ws, message)`` is called inside the read callback of the loop, and
  answers with ``ws.send_nowait(message)``. No task is needed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from switchover.asyncio.flow import WriteGate
from switchover.asyncio.websocket_life import Lifecycle
from switchover.asyncio.websocket_settings import WebSocketSettings
from switchover.errors import ConnectionClosed
from switchover.websocket.close_codes import CloseCode
from switchover.websocket.connection import State
from switchover.websocket.events import Fragment

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["Data", "WebSocket", "WebSocketSettings", "handled", "run_handler"]

logger = logging.getLogger("switchover.websocket")

#: A message: text as ``str``, binary as anything bytes-like.
Data: TypeAlias = str | bytes | bytearray | memoryview


class WebSocket(Lifecycle, asyncio.BufferedProtocol):
    """A WebSocket connection after its opening handshake, client or server.

    ``machine`` is the connection's protocol, ``request`` and ``response`` its opening handshake.
    With ``on_message`` the connection works by callbacks: it is called with the connection and
    each message, ``on_close`` with the connection when the transport has ended. ``owner`` is the
    server that counts the connection among its own.

    The transport calls :meth:`connection_made`; after that the connection lives on its own.
    """

    __slots__ = ("__weakref__",)

    # Receiving.

    def __aiter__(self) -> WebSocket:
        """Iterate over the messages, until the connection ends normally."""
        return self

    async def recv_fragments(self) -> AsyncIterator[str | bytes]:
        """Iterate over the pieces of the next message, as its frames come in.

        From the first use, messages in fragments are no longer put together before they are
        delivered; :meth:`recv` still returns whole ones.
        """
        self._machine.deliver_fragments = True
        piece = await self._next_piece()
        while type(piece) is Fragment:
            if piece.data or piece.first:
                yield piece.data
            if piece.final:
                return
            piece = await self._next_piece()
        yield piece

    async def _next_piece(self) -> Any:
        piece = self._take()
        while piece is None:
            await self._wait()
            piece = self._take()
        return piece

    async def _whole(self, piece: Fragment) -> str | bytes:
        while not piece.first:  # the rest of a message that nobody has read to its end
            following = await self._next_piece()
            if type(following) is not Fragment:
                return following  # type: ignore[no-any-return]  # str or bytes
            piece = following
        pieces: list[Any] = [piece.data]
        while not piece.final:
            piece = await self._next_piece()
            pieces.append(piece.data)
        return (b"" if isinstance(pieces[0], bytes) else "").join(pieces)

    # Sending.

    async def _send_patiently(self, message: Data | Iterable[Data] | AsyncIterable[Data]) -> None:
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            await self._send_fragments(message)
            return
        while self._machine._sendable and (self._fragmenting or self._writing_paused):
            if self._fragmenting is not None:
                await asyncio.shield(self._fragmenting)
            else:
                await self._writable()
        if not self._machine._sendable:
            await self._raise_closed()
        self.send_nowait(message)

    async def _send_fragments(self, pieces: Iterable[Data] | AsyncIterable[Data]) -> None:
        if not isinstance(pieces, (AsyncIterable, Iterable)) or isinstance(pieces, dict):
            raise TypeError(f"a message is str, bytes-like or an iterable of them, not {pieces!r}")
        while self._fragmenting is not None:
            await asyncio.shield(self._fragmenting)
        done = self._fragmenting = self._loop.create_future()
        try:
            if isinstance(pieces, AsyncIterable):
                async for piece in pieces:
                    await self._send_fragment(piece)
            else:
                for piece in pieces:
                    await self._send_fragment(piece)
            if self._machine._sending != 0:
                # The last piece has gone already, as it could not be known to be the last.
                self._machine.end_fragments()
                self._send_soon()
        except BaseException:
            # A message that has begun cannot be taken back, nor can another one follow.
            if self._machine._sending != 0:
                self.fail(CloseCode.INTERNAL_ERROR, "a fragmented message was not finished")
            raise
        finally:
            self._fragmenting = None
            done.set_result(None)

    async def _send_fragment(self, piece: Data) -> None:
        if not self._machine._sendable:
            await self._raise_closed()
        self._machine.send_fragment(piece)
        self._send_soon()
        if self._writing_paused:
            await self._writable()

    async def wait_writable(self) -> None:
        """Return when the transport's buffer is not over its high mark.

        Raises :class:`ConnectionClosed` if the transport ends first.
        """
        if self._writing_paused:
            await self._writable()

    async def _writable(self) -> None:
        if self._gate is None:
            self._gate = WriteGate()
            self._gate.close()
        await self._gate.passed()

    # Waiting: for a pong, for the end.

    async def ping(self, data: bytes | None = None) -> float:
        """Send a ping, wait for its pong, and return the seconds that took.

        ``data`` is up to 125 octets that no other unanswered ping has; four random ones if it
        is not given. Raises :class:`ConnectionClosed` if the connection ends first.
        """
        if not self._machine._sendable:
            await self._raise_closed()
        pong: asyncio.Future[float] = self._loop.create_future()
        self._send_ping(os.urandom(4) if data is None else bytes(data), pong)
        return await pong

    async def close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection, and wait until it is closed, at most ``close_timeout``.

        Unless a task is waiting for messages, those that come from now on are discarded.
        Closing twice is harmless. Raises :class:`LocalProtocolError` for a code that may not be
        sent, and for a reason of more than 123 octets of UTF-8.
        """
        self.close_nowait(code, reason)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Return when the transport has ended."""
        if self.state is State.CLOSED:
            return
        if self._closed is None:
            self._closed = []
        closed = self._loop.create_future()
        self._closed.append(closed)
        await closed

    async def _raise_closed(self) -> None:
        # How it ended is known when it has ended.
        await self.wait_closed()
        raise self._closed_error()

    # A handler.

    def serve(self, handler: Callable[[WebSocket], Awaitable[object]], server: Server) -> None:
        """Run ``handler`` as :func:`run_handler` does, in a task of its own.

        There is no frame of ours around it: what idles by the ten thousand is kept small.
        """
        try:
            server.spawn(handler(self), self._loop, self._served)
        except Exception as error:  # noqa: BLE001  # a handler that fails when it is called
            handled(self, error)

    def _served(self, task: asyncio.Task[Any]) -> None:
        if self._owner is not None:
            self._owner.let_go(task)
        handled(self, asyncio.CancelledError() if task.cancelled() else task.exception())


async def run_handler(ws: WebSocket, handler: Callable[[WebSocket], Awaitable[object]]) -> None:
    """Run an application's handler on ``ws``, and close the connection when it is done.

    An exception is logged, and the peer sees 1011 without its text. When the connection has
    ended, :class:`ConnectionClosed` from the handler is no error.
    """
    try:
        await handler(ws)
    except asyncio.CancelledError as error:
        handled(ws, error)
        raise
    except Exception as error:  # noqa: BLE001  # told to the log there
        handled(ws, error)
    else:
        handled(ws, None)
    await ws.wait_closed()


def handled(ws: WebSocket, error: BaseException | None) -> None:
    """Close ``ws``: its handler has returned, or has failed with ``error``."""
    if error is None or isinstance(error, ConnectionClosed):
        ws.close_nowait()
    elif isinstance(error, asyncio.CancelledError):
        ws.close_nowait(CloseCode.GOING_AWAY)
    else:
        logger.error("the handler of a WebSocket connection failed", exc_info=error)
        ws.fail(CloseCode.INTERNAL_ERROR)
