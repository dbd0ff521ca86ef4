"""The end of a connection whose peer may still be sending.

RFC 9112 §9.6: closed at once, with octets of the peer's unread or on their way, the connection
would be reset, and a reset can take the last answer from whoever has not read it yet. So "servers
typically close a connection in stages": the server ends its half, and reads on until the peer has
ended too, or has had time enough. WebSockets and TLS do so themselves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.flow import end_writing, receive_buffer
from switchover.asyncio.switching import hand_over

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["close_in_stages"]

#: Octets that are read and dropped before the end is made without the peer.
_OCTETS = 16 * 1024 * 1024


def close_in_stages(
    server: Server, owner: asyncio.BaseProtocol, transport: asyncio.Transport
) -> None:
    """Write what is queued, end our half, and close once the peer has ended its own.

    It has ``Timeouts.linger`` seconds for that, once it has taken what was written.
    ``owner`` is done with ``transport``. Who was not admitted is not waited for, since it does
    not count (SEC-41); nor is anybody when the server itself ends.
    """
    wanted = server.settings.timeouts.linger > 0 and not server.closing
    if not wanted or owner not in server.connections:
        transport.close()
        return
    rest = _Rest(server)
    server.enlist(rest, transport)
    server.dismiss(owner)
    hand_over(transport, rest, b"")


class _Rest(asyncio.BufferedProtocol):
    """Reads what nobody wants, so that the peer can read what it was told."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: Any = None
        self._octets = 0
        self._unsent = 0
        self._deadline: Deadline | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        end_writing(self._transport)
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._set_deadline()

    def _set_deadline(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        seconds = self._server.settings.timeouts.linger
        self._deadline = Deadlines.of(asyncio.get_running_loop()).set(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._deadline = None
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent < self._unsent:
            self._set_deadline()  # it still reads
        else:
            self.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return receive_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._octets += nbytes
        if self._octets > _OCTETS:
            self.abort()

    def eof_received(self) -> bool:
        return False  # which closes the transport

    def pause_writing(self) -> None:
        """Nobody writes any more."""

    def resume_writing(self) -> None:
        """Nobody writes any more."""

    def connection_lost(self, error: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._server.dismiss(self)

    # What the server asks.

    def shutdown(self) -> None:
        """Wait for the peer no longer, but for what is queued."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()
