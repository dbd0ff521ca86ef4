"""``UdpTunnel``: datagrams to one destination, through a proxy that speaks connect-udp."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Self, cast

from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import WriteGate
from switchover.asyncio.udp_proxy import fail_stream
from switchover.errors import TunnelBroken, TunnelClosed, TunnelError
from switchover.http.events import Failed
from switchover.http.messages import Request, Response
from switchover.tunnel.udp import ContextDatagramReceived, DatagramReceived, UdpMachine, UdpSide

__all__ = ["UdpTunnel"]

#: What a datagram costs beside its octets, in the count of what is held.
_OVERHEAD = 64


class UdpTunnel(asyncio.Protocol):
    """The client's end of a UDP tunnel.

    :meth:`send` and :meth:`recv` carry whole datagrams, which may be empty; iterate over the
    tunnel for the datagrams as they come. As with UDP, they may be lost: those that the proxy
    could not pass on, and those that came while ``queue_octets`` of them were waiting to be
    read (``dropped`` counts the latter).

    ``request`` and ``response`` are the messages that opened the tunnel, ``facts`` describes
    the connection to the proxy. ``on_context_datagram(context, payload)`` gets what arrives
    in contexts other than UDP (RFC 9298 §4); contexts are for extensions.

    The methods that :class:`asyncio.Protocol` defines are for the transport.
    """

    def __init__(
        self,
        request: Request,
        response: Response,
        *,
        facts: PeerFacts | None = None,
        queue_octets: int = 1024 * 1024,
        on_context_datagram: Callable[[int, bytes], object] | None = None,
    ) -> None:
        self.request = request
        self.response = response
        self.facts = facts or PeerFacts()
        self.on_context_datagram = on_context_datagram
        self.on_lost: Callable[[UdpTunnel], None] | None = None
        self._machine = UdpMachine(UdpSide.CLIENT)
        self._queue: deque[bytes] = deque()
        self._held = 0
        self._limit = queue_octets
        self._lost = 0
        self._transport: asyncio.Transport | None = None
        self._gate = WriteGate()
        self._end: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None

    # Datagrams.

    async def send(self, payload: bytes) -> None:
        """Send a datagram; waits while the connection to the proxy takes no more.

        Raises :class:`LocalProtocolError` for more than 65527 octets, :class:`TunnelClosed`
        once the tunnel has ended, :class:`TunnelBroken` if it was lost.
        """
        self.send_nowait(payload)
        if self._gate.closed:
            await self._gate.passed()

    def send_nowait(self, payload: bytes) -> None:
        """Send a datagram without waiting; the transport's buffer grows as it must."""
        self._check_open()
        self._machine.send_datagram(payload)
        self._flush()

    async def recv(self) -> bytes:
        """Return the next datagram.

        Raises :class:`TunnelClosed` after :meth:`close` or when the proxy has ended the
        tunnel, and :class:`TunnelBroken` if it was lost, or the proxy broke a rule; what had
        arrived before is returned first.
        """
        while not self._queue:
            if self._end is not None:
                raise self._end
            if self._waiter is not None:
                raise RuntimeError("two coroutines receive from one tunnel")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        payload = self._queue.popleft()
        self._held -= len(payload) + _OVERHEAD
        return payload

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.recv()
        except TunnelClosed:
            raise StopAsyncIteration from None

    @property
    def dropped(self) -> int:
        """Datagrams that were dropped here: the queue was full, or their context unknown."""
        return self._lost + self._machine.dropped

    # Contexts (RFC 9298 §4).

    def open_context(self) -> int:
        """Return a context ID of ours that was never used; how the peer learns is not said."""
        return self._machine.open_context()

    def accept_context(self, context: int) -> None:
        """Take up a context that the proxy has made; raises :class:`RemoteProtocolError`."""
        self._machine.accept_context(context)

    def close_context(self, context: int) -> None:
        """Forget a context: datagrams in it are dropped from now on."""
        self._machine.close_context(context)

    async def send_context(self, context: int, payload: bytes) -> None:
        """Send a datagram in a context that both ends know."""
        self._check_open()
        self._machine.send_context_datagram(context, payload)
        self._flush()
        if self._gate.closed:
            await self._gate.passed()

    # The end.

    async def close(self) -> None:
        """End the tunnel; what was sent before goes out, what still comes is discarded."""
        self._finish(TunnelClosed("the tunnel has been closed"))
        if self._transport is not None:
            self._transport.close()
        await self.wait_closed()

    def abort(self) -> None:
        """Drop the tunnel at once."""
        self._finish(TunnelClosed("the tunnel has been aborted"))
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Return when the connection, or the stream, has ended."""
        if self._closed is not None:
            await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if exc_type is None:
            await self.close()
        else:
            self.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows under ``name``."""
        return self._transport.get_extra_info(name, default) if self._transport else default

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if self._end is None:
            self._machine.receive_data(data)
            self._take()

    def eof_received(self) -> bool:
        if self._end is None:
            self._machine.receive_eof()
            self._take()
        self._finish(TunnelClosed("the proxy has ended the tunnel"))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        broken = TunnelBroken("the connection to the proxy was lost")
        broken.__cause__ = error
        self._finish(broken)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        callback, self.on_lost = self.on_lost, None
        if callback is not None:
            callback(self)

    def pause_writing(self) -> None:
        self._gate.close()

    def resume_writing(self) -> None:
        self._gate.open()

    # Inside.

    def _take(self) -> None:
        for event in self._machine.events_received():
            if isinstance(event, DatagramReceived):
                self._keep(event.payload)
            elif isinstance(event, ContextDatagramReceived):
                if self.on_context_datagram is not None:
                    self.on_context_datagram(event.context, event.payload)
            elif isinstance(event, Failed):
                self._fail(event.error)
        self._wake()

    def _keep(self, payload: bytes) -> None:
        # SEC-42: bounded in octets, and with what each datagram costs beside them in number.
        size = len(payload) + _OVERHEAD
        if self._held + size > self._limit:
            self._lost += 1
            return
        self._queue.append(payload)
        self._held += size

    def _fail(self, error: Exception) -> None:
        broken = TunnelBroken(f"the proxy broke a rule: {error}")
        broken.__cause__ = error
        self._finish(broken)
        if self._transport is not None:
            fail_stream(self._transport)

    def _finish(self, end: TunnelError) -> None:
        if self._end is None:
            self._end = end
            self._gate.break_down(lambda: end)
            self._wake()

    def _check_open(self) -> None:
        if self._end is not None:
            raise self._end

    def _flush(self) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(self._machine.data_to_send()))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
