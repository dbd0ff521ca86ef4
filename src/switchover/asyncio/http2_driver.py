"""What the drivers of both ends of an HTTP/2 connection have in common.

The end of connections, and of those whose peer does not read; what carries their octets is
:class:`~switchover.asyncio.http2_carrier.Carrier`.
"""

from __future__ import annotations

import asyncio
from typing import cast

from switchover.asyncio.deadlines import Deadline
from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.http2_carrier import Carrier
from switchover.errors import Disconnected
from switchover.http2.connection import Connection

__all__ = ["HTTP2Protocol"]


class HTTP2Protocol(Carrier, asyncio.BufferedProtocol):
    """Drives one end of an HTTP/2 connection; see the server's and the client's twin."""

    def __init__(
        self,
        machine: Connection,
        loop: asyncio.AbstractEventLoop,
        *,
        chain: tuple[str, ...],
        write_timeout: float | None,
    ) -> None:
        Carrier.__init__(self, machine, loop)
        self._chain = chain
        self._write_timeout = write_timeout
        self._facts: PeerFacts | None = None
        self._unread: Deadline | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports do not derive from asyncio's.
        self.attach(cast(asyncio.Transport, transport))
        self.pump()

    def eof_received(self) -> bool:
        self._machine.receive_eof()
        if self._transport is not None:
            self.pump()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._over:
            return
        self._leave(error)
        self.gate.break_down(lambda: Disconnected("the peer has left"))

    def _leave(self, error: Exception | None) -> None:
        self._over = True
        for deadline in (self._stall, self._unread):
            if deadline is not None:
                deadline.cancel()
        self._lost(error)

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

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _lost(self, error: Exception | None) -> None:
        raise NotImplementedError
