"""What the drivers of both ends of an HTTP/2 connection have in common.

Octets between the transport and the machine, one write for all that a round of the event
loop has made ready, and the end of connections whose peer does not read.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import WriteGate, receive_buffer
from switchover.asyncio.http2_stream import StreamTransport
from switchover.errors import Disconnected
from switchover.http2.connection import Connection

__all__ = ["HTTP2Protocol"]

#: Content that is written without waiting for the end of the loop's round.
_MUCH = 64 * 1024


class HTTP2Protocol(asyncio.BufferedProtocol):
    """Drives one end of an HTTP/2 connection; see the server's and the client's twin."""

    def __init__(
        self,
        machine: Connection,
        loop: asyncio.AbstractEventLoop,
        *,
        chain: tuple[str, ...],
        write_timeout: float | None,
    ) -> None:
        self._machine = machine
        self._loop = loop
        self._deadlines = Deadlines.of(loop)
        self._chain = chain
        self._write_timeout = write_timeout
        self._facts: PeerFacts | None = None
        self._transport: asyncio.Transport | None = None
        self.gate = WriteGate()
        self._tunnels: dict[int, StreamTransport] = {}
        self._stall: Deadline | None = None
        self._unread: Deadline | None = None
        self._pumping = False
        self._sending = False
        self._over = False
        self._unsent = 0

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        return receive_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._machine.receive_data(receive_buffer()[:nbytes])
        if self._transport is not None:
            self._pump()

    def eof_received(self) -> bool:
        self._machine.receive_eof()
        if self._transport is not None:
            self._pump()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        for deadline in (self._stall, self._unread):
            if deadline is not None:
                deadline.cancel()
        self._lost(error)
        self.gate.break_down(lambda: Disconnected("the peer has left"))

    def pause_writing(self) -> None:
        self.gate.close()
        # A peer that does not read is not read either: what it sends would only make us owe
        # it more answers (SEC-29).
        if self._transport is not None and not (self._over or self._transport.is_closing()):
            self._transport.pause_reading()
        if self._write_timeout is not None and self._unread is None:
            self._unread = self._deadlines.set(self._write_timeout, self.abort)

    def resume_writing(self) -> None:
        self.gate.open()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if self._transport is not None and not (self._over or self._transport.is_closing()):
            self._transport.resume_reading()
        for tunnel in list(self._tunnels.values()):
            tunnel.window_opened()

    # What streams may ask.

    @property
    def machine(self) -> Connection:
        """The machine that this driver drives."""
        return self._machine

    @property
    def transport(self) -> asyncio.Transport:
        """The transport under the connection."""
        assert self._transport is not None
        return self._transport

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""
        if self._facts is None:
            self._facts = PeerFacts(self._transport, self._chain)
        return self._facts

    @property
    def congested(self) -> bool:
        """Whether the transport has more to write than it should."""
        return self.gate.closed

    def send_soon(self, octets: int = 0) -> None:
        """Write what the machine has ready, once for all who ask in this round of the loop.

        ``octets`` of content are new in it; when there are many they are written now, so that
        whoever comes next sees that the transport is congested.
        """
        if self._over:
            return
        self._unsent += octets
        if self._pumping:
            # Written when all events have been met, unless it is much.
            if self._unsent > _MUCH:
                self._flush()
        elif (self._unsent > _MUCH or self.alone) and self._transport:
            self._flush()
        elif not self._sending:
            self._sending = True
            self._loop.call_soon(self._send)

    @property
    def alone(self) -> bool:
        """Whether there is nobody else whose octets could go out with these."""
        return False

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        self._sending = False
        if not self._over and self._transport is not None:
            self._pump()

    # From octets to events, from events to actions.

    def _pump(self) -> None:
        self._pumping = True
        try:
            while not self._over and (events := self._machine.events_received()):
                for event in events:
                    self._on_event(event)
                self._events_met()
        finally:
            self._pumping = False
        if not self._over:
            self._flush()

    def _flush(self) -> None:
        transport = self._transport
        assert transport is not None
        self._unsent = 0
        data = self._machine.data_to_send()
        if data:
            transport.write(data[0] if len(data) == 1 else b"".join(data))
        if self._machine.content_waits and self._stall is None:
            self._stall = self._deadlines.set(self._machine.limits.stall, self._check_stalls)
        if self._machine.close_expected() and not transport.is_closing():
            transport.close()

    def _check_stalls(self) -> None:
        self._stall = None
        now = self._loop.time()
        again = self._machine.check_stalls(now)
        if again is not None:
            self._stall = self._deadlines.set(max(again - now, 0.001), self._check_stalls)
        self._pump()

    def _on_event(self, event: Any) -> None:
        raise NotImplementedError

    def _events_met(self) -> None:
        """All that has come so far has been met."""

    def _lost(self, error: Exception | None) -> None:
        raise NotImplementedError
