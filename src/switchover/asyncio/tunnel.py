"""The octet tunnel: what a connection becomes under a token that is not one of ours.

A tunnel is a byte stream with two independent directions. Nothing is lost at the seam of
the switch, whatever the segmentation: the octets read together with the HTTP message are
the first that :meth:`Tunnel.read` returns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Self, cast

from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import WriteGate, end_writing, reset_on_close
from switchover.errors import LimitExceeded, TunnelBroken, TunnelClosed
from switchover.http.messages import Request, Response

if TYPE_CHECKING:
    from switchover.asyncio.anyio_stream import TunnelStream

__all__ = ["Tunnel"]

_HIGH_MARK = 256 * 1024


class Tunnel(asyncio.Protocol):
    """One end of an octet tunnel.

    Iterate over it for the octets as they come, or use :meth:`read`, :meth:`read_exactly`
    and :meth:`read_until`. :meth:`send` waits while the peer does not read. The directions
    end independently: :meth:`send_eof` ends ours, and reading ``b""`` means the peer has
    ended its own.

    ``protocol`` is the token that was switched to; ``request`` and ``response`` are the
    messages that made the switch; ``facts`` describes the connection. ``content`` is the
    content of the request that asked for the switch (servers only).

    The methods that :class:`asyncio.Protocol` defines are for the transport.
    """

    __slots__ = (
        "__weakref__",
        "_broken",
        "_chunks",
        "_close_deadline",
        "_closed",
        "_eof",
        "_gate",
        "_high_mark",
        "_on_lost",
        "_paused",
        "_sent_eof",
        "_size",
        "_transport",
        "_waiter",
        "content",
        "facts",
        "path_parameters",
        "protocol",
        "request",
        "response",
    )

    def __init__(
        self,
        protocol: str,
        request: Request,
        response: Response,
        *,
        facts: PeerFacts | None = None,
        content: bytes = b"",
        high_mark: int = _HIGH_MARK,
        on_lost: Callable[[Tunnel], None] | None = None,
    ) -> None:
        self.protocol = protocol
        self.request = request
        self.response = response
        self.content = content
        self.facts = facts or PeerFacts()
        self.path_parameters: dict[str, str] = {}
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._high_mark = high_mark
        self._paused = False
        self._eof = False
        self._sent_eof = False
        self._broken: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._gate = WriteGate()
        self._closed: asyncio.Future[None] | None = None
        self._close_deadline: Deadline | None = None
        self._on_lost = on_lost

    # Reading.

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def read(self, size: int = -1) -> bytes:
        """Return octets as soon as there are any, at most ``size``; ``b""`` at the peer's end.

        Raises :class:`TunnelBroken` if the connection was lost before the peer's end of
        data, after everything that had arrived has been read; :class:`TunnelClosed` after
        :meth:`close`.
        """
        while not self._chunks:
            if self._eof and not isinstance(self._broken, TunnelClosed):
                return b""
            await self._more()
        chunk = self._chunks.popleft()
        if 0 <= size < len(chunk):
            self._chunks.appendleft(chunk[size:])
            chunk = chunk[:size]
        self._took(len(chunk))
        return chunk

    async def read_exactly(self, size: int) -> bytes:
        """Return exactly ``size`` octets.

        Raises :class:`asyncio.IncompleteReadError` (with what there was) if the peer ends
        its data before.
        """
        while self._size < size:
            if self._eof:
                partial = self._take(self._size)
                raise asyncio.IncompleteReadError(partial, size)
            await self._more(wanted=size)
        return self._take(size)

    async def read_until(self, separator: bytes = b"\n", *, limit: int = 64 * 1024) -> bytes:
        """Return the octets up to and with ``separator``.

        Raises :class:`asyncio.IncompleteReadError` at the peer's end of data, and
        :class:`LimitExceeded` once ``limit`` octets came without the separator; what has
        arrived stays readable then.
        """
        if not separator:
            raise ValueError("the separator must not be empty")
        searched = 0
        while True:
            data = self._merge()
            found = data.find(separator, max(0, searched - len(separator) + 1))
            if 0 <= found <= limit - len(separator):
                return self._take(found + len(separator))
            if found >= 0 or len(data) >= limit:
                raise LimitExceeded(f"no separator within {limit} octets")
            if self._eof:
                raise asyncio.IncompleteReadError(self._take(self._size), None)
            searched = len(data)
            await self._more(wanted=limit)

    def _merge(self) -> bytes:
        if len(self._chunks) > 1:
            merged = b"".join(self._chunks)
            self._chunks.clear()
            self._chunks.append(merged)
        return self._chunks[0] if self._chunks else b""

    def _take(self, size: int) -> bytes:
        data = self._merge()
        if self._chunks:
            self._chunks.clear()
            if size < len(data):
                self._chunks.append(data[size:])
        self._took(min(size, len(data)))
        return data[:size]

    def _took(self, size: int) -> None:
        self._size -= size
        if self._paused and self._size <= self._high_mark // 2:
            self._resume()

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None and self._broken is None:
            self._transport.resume_reading()

    async def _more(self, wanted: int = 0) -> None:
        """Wait for octets, or for the end; raise if there can be neither."""
        if self._broken is not None:
            raise self._broken
        if self._waiter is not None:
            raise RuntimeError("two coroutines read from one tunnel")
        if self._paused and self._size < wanted:
            self._resume()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # Writing.

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``; waits while the transport's buffer is over its high mark.

        Raises :class:`TunnelClosed` after :meth:`send_eof` or :meth:`close`, and
        :class:`TunnelBroken` when the connection is lost.
        """
        self.send_nowait(data)
        if self._gate.closed:
            await self._gate.passed()

    def send_nowait(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` without waiting; the transport's buffer grows as it must."""
        if self._sent_eof:
            raise TunnelClosed("the end of data has been sent already")
        if self._broken is not None:
            raise self._broken
        assert self._transport is not None
        self._transport.write(data)

    async def send_eof(self) -> None:
        """End our direction; the peer may go on sending.

        Over TLS, which cannot be half-closed here, the end is sent when the tunnel closes.
        """
        if self._sent_eof:
            return
        if self._broken is not None:
            raise self._broken
        self._sent_eof = True
        assert self._transport is not None
        if self._eof:
            # Both directions have ended; no transport would close by itself now.
            self._transport.close()
        elif self._transport.can_write_eof():
            end_writing(self._transport)
        if self._gate.closed:
            await self._gate.passed()

    # The end.

    async def close(self, timeout: float = 10.0) -> None:
        """End our direction, wait at most ``timeout`` seconds for the peer's, and close.

        What the peer sends meanwhile is discarded. Nothing that was sent before is lost.
        """
        self.shutdown(timeout)
        await self.wait_closed()

    def shutdown(self, timeout: float = 10.0) -> None:
        """Start :meth:`close` without waiting for it."""
        transport = self._transport
        if transport is None or self._closed is None or transport.is_closing():
            return
        if self._broken is None:
            self._broken = TunnelClosed("the tunnel has been closed")
        self._discard()
        if self._eof or not transport.can_write_eof():
            transport.close()
            return
        if not self._sent_eof:
            self._sent_eof = True
            end_writing(transport)
        if self._close_deadline is None:
            loop = self._closed.get_loop()
            self._close_deadline = Deadlines.of(loop).set(timeout, transport.abort)

    def _discard(self) -> None:
        self._chunks.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        self._wake()

    def abort(self) -> None:
        """Drop the connection at once; unsent octets are lost, and the peer sees a reset."""
        if self._broken is None:
            self._broken = TunnelClosed("the tunnel has been aborted")
        if self._transport is not None:
            reset_on_close(self._transport)
            self._transport.abort()
        self._wake()

    async def wait_closed(self) -> None:
        """Return when the connection has ended."""
        if self._closed is not None:
            await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if exc_type is None:
            await self.close()
        else:
            self.abort()

    # Views.

    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the tunnel as asyncio streams; the tunnel itself must not be used after it."""
        loop = asyncio.get_running_loop()
        transport = self._transport
        if transport is None or self._broken is not None:
            raise self._broken or TunnelClosed("the tunnel is not connected")
        reader = asyncio.StreamReader(limit=self._high_mark, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        chunks = list(self._chunks)
        self._chunks.clear()
        self._size = 0
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._paused:
            self._resume()
        for chunk in chunks:
            reader.feed_data(chunk)
        if self._eof:
            reader.feed_eof()
        self._broken = TunnelClosed("the tunnel was turned into streams")
        if self._closed is not None:
            self._closed.set_result(None)
        self._notify_lost()
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def as_anyio(self) -> TunnelStream:
        """Return the tunnel as a byte stream of anyio; :class:`ImportError` without anyio."""
        from switchover.asyncio.anyio_stream import TunnelStream

        return TunnelStream(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows under ``name``."""
        return self._transport.get_extra_info(name, default) if self._transport else default

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if self._broken is not None:
            return  # closing: what still comes is discarded
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= self._high_mark and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake()
        transport = self._transport
        if self._sent_eof or isinstance(self._broken, TunnelClosed):
            return False
        # Half-close: our direction stays open. TLS ends both at once.
        return transport is not None and transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        if self._close_deadline is not None:
            self._close_deadline.cancel()
        if self._broken is None:
            broken = TunnelBroken("the connection was lost")
            broken.__cause__ = error
            self._broken = broken
        cause = self._broken
        self._gate.break_down(lambda: cause)
        self._wake()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self._notify_lost()

    def pause_writing(self) -> None:
        self._gate.close()

    def resume_writing(self) -> None:
        self._gate.open()

    def _notify_lost(self) -> None:
        callback, self._on_lost = self._on_lost, None
        if callback is not None:
            callback(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
