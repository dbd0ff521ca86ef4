"""Messages between the loop's thread and those of the application, both ways.

A message that lies here costs its reader, or its sender, no turn of the event loop. Both boxes
are bounded: a slow reader stops the peer, and a peer that does not read stops the senders.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from queue import Empty, SimpleQueue

from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.errors import ConnectionClosed, DeadlineExceeded
from switchover.sync.background import Lease
from switchover.websocket.close_codes import CloseCode

__all__ = ["Inbox", "Outbox"]

#: What a waiting message counts for besides its length.
_OVERHEAD = 64


class Inbox:
    """Messages that came, for the one thread that reads them.

    When it holds as much as ``settings`` allow, the connection's own queue fills, and then
    reading from the socket is paused.
    """

    def __init__(self, ws: WebSocket, settings: WebSocketSettings) -> None:
        self._ws = ws
        self._high = settings.queue_high
        self._low = settings.queue_low
        self._messages: SimpleQueue[str | bytes | ConnectionClosed] = SimpleQueue()
        # Each is counted by one thread only.
        self._came = 0
        self._taken = 0
        self._full = False
        self._room = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        try:
            while True:
                message = await self._ws.recv()
                self._came += len(message) + _OVERHEAD
                self._messages.put(message)
                if self._came - self._taken > self._high:
                    await self._wait_room()
        except ConnectionClosed as error:
            self._messages.put(error)
        except asyncio.CancelledError:
            # The loop ends, and a thread may still be reading.
            self._messages.put(self._ws.machine.closed_error())
            raise

    async def _wait_room(self) -> None:
        self._room.clear()
        self._full = True
        # The reader may have emptied the inbox before it could see that it was full.
        if self._came - self._taken > self._low:
            await self._room.wait()
        self._full = False

    def take(self, timeout: float | None) -> str | bytes | ConnectionClosed:
        """Wait for the next message, or for how the connection ended.

        Raises :class:`DeadlineExceeded` after ``timeout`` seconds.
        """
        try:
            message = self._messages.get(timeout=timeout)
        except Empty:
            assert timeout is not None
            raise DeadlineExceeded("waiting for a message", timeout) from None
        if not isinstance(message, ConnectionClosed):
            self._taken += len(message) + _OVERHEAD
        return message

    def is_drained(self) -> bool:
        """Whether :meth:`make_room` is due: it was full, and has been read since."""
        return self._full and self._came - self._taken <= self._low

    def make_room(self) -> None:
        """Let more messages in; called on the loop."""
        self._room.set()


class Outbox:
    """Messages to be sent, from any number of threads, in the order they were put here."""

    def __init__(self, ws: WebSocket, settings: WebSocketSettings, held: Lease) -> None:
        self._ws = ws
        self._high = settings.queue_high
        self._low = settings.queue_low
        self._lease = held
        self._messages: deque[str | bytes] = deque()
        self._lock = threading.Lock()
        self._put = 0  # under the lock
        self._sent = 0  # by the loop's thread
        self._awake = False  # set by the loop's thread
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def put(self, message: str | bytes) -> None:
        """Have ``message`` sent."""
        with self._lock:
            self._messages.append(message)
            self._put += len(message) + _OVERHEAD
        if not self._awake:
            self._lease.soon(self._start)

    def has_room(self) -> bool:
        """Whether a sender need not wait."""
        return self._put - self._sent <= self._high

    def _start(self) -> None:
        if not self._awake:
            self._awake = True
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._more():
                message = self._messages[0]
                await self._ws.send(message)
                self._messages.popleft()
                self._sent += len(message) + _OVERHEAD
                self._tell()
        except ConnectionClosed:
            # The next send() says so; these messages went the way of all that was in flight.
            self._discard()
        except Exception:
            self._discard()
            self._ws.fail(CloseCode.INTERNAL_ERROR)
            raise
        finally:
            self._awake = False
            self._tell()

    def _discard(self) -> None:
        self._messages.clear()
        self._sent = self._put

    def _more(self) -> bool:
        if not self._messages:
            self._awake = False
            # A sender may have put one here, and have seen that we were awake.
            if self._messages:
                self._awake = True
        return bool(self._messages)

    def _tell(self) -> None:
        if self._waiters:
            unsent = self._put - self._sent
            for waiting in [one for one in self._waiters if unsent <= one[0]]:
                self._waiters.remove(waiting)
                if not waiting[1].done():
                    waiting[1].set_result(None)

    async def wait_room(self) -> None:
        """Return when there is room for another message."""
        await self._wait(self._low)

    async def wait_empty(self, timeout: float | None = None) -> None:
        """Return when everything has been sent, or after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wait(0)

    async def _wait(self, unsent: int) -> None:
        if self._put - self._sent > unsent:
            self._start()
            waiting = unsent, asyncio.get_running_loop().create_future()
            self._waiters.append(waiting)
            await waiting[1]
