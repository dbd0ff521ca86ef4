"""Reading and writing at the pace of the slower side.

``asyncio`` tells a protocol when its transport's buffer is over the high mark
(``pause_writing``) and when it has drained. :class:`WriteGate` turns that into something a
coroutine can wait for; :func:`receive_buffer` is the one buffer all connections of a
thread read through.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

__all__ = [
    "Waiting",
    "WriteGate",
    "end_writing",
    "feed",
    "plain_socket",
    "receive_buffer",
    "reset_on_close",
    "send_at_once",
]


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(256 * 1024))


_own = _OfThread()


def receive_buffer() -> memoryview:
    """Return the buffer that the connections of this thread's event loop read through.

    A machine has consumed (or copied) the octets before control returns to the event loop, so
    an idle connection owns no buffer. Another thread's loop has another buffer: reading from a
    socket lets other threads run, and two of them must not fill the same octets.
    """
    return _own.buffer


class Waiting:
    """Something that changes, and that several may watch."""

    __slots__ = ()

    _waiter: asyncio.Future[None] | None

    async def changed(self) -> None:
        """Return when something has happened."""
        if self._waiter is None or self._waiter.done():
            made = asyncio.get_running_loop().create_future()
            self._waiter = made  # type: ignore[misc]  # the slot is that of who derives from this
        # One who gives up waiting must not cancel the others.
        await asyncio.shield(self._waiter)

    def wake(self) -> None:
        """Let those who wait look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class WriteGate:
    """Open while the transport takes octets, closed while its buffer is over the high mark."""

    __slots__ = ("_error", "_waiters", "closed")

    def __init__(self) -> None:
        self.closed = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._error: Callable[[], Exception] | None = None

    def close(self) -> None:
        """Let nobody pass until :meth:`open`."""
        self.closed = True

    def open(self) -> None:
        """Let everybody pass."""
        self.closed = False
        self._wake()

    def break_down(self, error: Callable[[], Exception]) -> None:
        """Open for good: whoever passes, now or later, gets what ``error`` makes."""
        self._error = error
        self._wake()

    async def passed(self) -> None:
        """Return as soon as the gate is open."""
        while self.closed and self._error is None:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            raise self._error()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)


def end_writing(transport: asyncio.WriteTransport) -> None:
    """Close our half of the connection.

    It may have been reset a moment ago: then asyncio's own transport, which shuts the socket
    down at once, raises :class:`OSError`, and there is nothing left to close in order.
    """
    try:
        transport.write_eof()
    except OSError:
        transport.abort()


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Deliver ``data`` to ``protocol`` as its transport would.

    Used at the seam of a switch: the octets that were read together with the HTTP message
    are the first that the successor sees.
    """
    if isinstance(protocol, asyncio.Protocol):
        protocol.data_received(data)
        return
    get_buffer = protocol.get_buffer  # type: ignore[attr-defined]  # a BufferedProtocol
    updated = protocol.buffer_updated  # type: ignore[attr-defined]  # as above
    offset = 0
    while offset < len(data):
        buffer = get_buffer(len(data) - offset)
        count = min(len(buffer), len(data) - offset)
        buffer[:count] = data[offset : offset + count]
        updated(count)
        offset += count


def reset_on_close(transport: asyncio.Transport) -> None:
    """Let the end of ``transport`` be a TCP reset: a FIN would look like an end in order."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


#: Transports that do nothing but send to a socket what is written to them.
_PLAIN = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}


def plain_socket(transport: Any) -> int:
    """Return the descriptor of the socket under ``transport`` if it may be written to, or -1.

    It may as long as the transport has nothing queued and is not closing.
    """
    kind = type(transport)
    if os.name != "posix" or (kind.__module__, kind.__qualname__) not in _PLAIN:
        return -1
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def send_at_once(sock: socket.socket) -> None:
    """Turn Nagle's algorithm off, which holds the rest of a message back for an acknowledgement.

    Event loops do so for TCP sockets whose ``proto`` says so; that of a socket made with two
    arguments says nothing. What a listening socket is set to, those it accepts inherit.
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
