"""A pair of asyncio transports in memory, for any :class:`asyncio.Protocol`.

Octets written to one end reach the protocol of the other on a later turn of the loop, in
the pieces a cut makes. Reading can be paused; a writer whose peer does not read is told to
pause; ends are closed, half-closed and aborted as sockets are. No descriptor is used, and
no time passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from switchover.testing.pipes import Cut, whole

__all__ = ["MemoryTransport", "connect_protocols", "settle"]

_HIGH_MARK = 64 * 1024


class MemoryTransport(asyncio.Transport):
    """One end of a connection in memory.

    ``sent`` is everything its protocol has written so far. Made by
    :func:`connect_protocols`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        *,
        cut: Cut = whole,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(dict(extra or {}))
        self.sent = b""
        self._loop = loop
        self._protocol = protocol
        self._cut = cut
        self._peer: MemoryTransport | None = None
        self._outgoing = bytearray()  # written here, not yet read by the peer
        self._high, self._low = _HIGH_MARK, _HIGH_MARK // 4
        self._writing_paused = False
        self._reading = True
        self._ended = False  # we wrote the end
        self._end_read = False  # the peer's protocol was told
        self._closing = False
        self._lost = False
        self._scheduled = False

    # What the protocol on this end calls.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let ``protocol`` receive what comes from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that receives."""
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets; ignored once the transport is closing, as sockets do."""
        if self._ended and not self._closing:
            raise RuntimeError("cannot write after write_eof()")
        if self._closing or self._lost or not data:
            return
        self.sent += bytes(data)
        self._outgoing += data
        if len(self._outgoing) > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()
        self._schedule()

    def can_write_eof(self) -> bool:
        """Return ``True``: the directions end independently."""
        return True

    def write_eof(self) -> None:
        """End our direction; the other stays open."""
        if not self._ended and not self._closing:
            self._ended = True
            self._schedule()

    def close(self) -> None:
        """Close when everything written has been read by the peer."""
        if not self._closing:
            self._closing = self._ended = True
            self._reading = False
            self._schedule()

    def abort(self) -> None:
        """Close at once; what the peer has not read is lost."""
        self._outgoing.clear()
        self._closing = True
        self._lose(None)
        if self._peer is not None and not self._peer._lost:
            self._peer._outgoing.clear()
            self._peer._lose(ConnectionResetError("the peer aborted the connection"))

    def is_closing(self) -> bool:
        """Whether :meth:`close` or :meth:`abort` was called, or the connection is lost."""
        return self._closing or self._lost

    def is_reading(self) -> bool:
        """Whether octets are being delivered to our protocol."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Deliver nothing to our protocol until :meth:`resume_reading`."""
        self._reading = False

    def resume_reading(self) -> None:
        """Deliver again what the peer has written."""
        if not self._closing:
            self._reading = True
            self._peer_schedule()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in octets, for ``pause_writing`` and ``resume_writing``."""
        if high is None:
            high = _HIGH_MARK if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and low at least 0")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the marks, low and high, in octets."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return how many octets were written and not yet read by the peer."""
        return len(self._outgoing)

    # Moving octets, one step a turn of the loop.

    def _peer_schedule(self) -> None:
        if self._peer is not None:
            self._peer._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._move)

    def _move(self) -> None:
        self._scheduled = False
        peer = self._peer
        if peer is None or self._lost:
            return
        if self._outgoing and peer._takes_data():
            data = bytes(self._outgoing)
            self._outgoing.clear()
            self._hand_over(data, peer)
        if peer._lost or (peer._closing and self._outgoing):
            self._outgoing.clear()  # nobody reads it any more
        if not self._outgoing:
            self._drained(peer)

    def _hand_over(self, data: bytes, peer: MemoryTransport) -> None:
        taken = 0
        for piece in self._cut(data):
            # A protocol may pause, close or be replaced at any piece.
            if not peer._takes_data():
                break
            taken += len(piece)
            _deliver(peer._protocol, piece)
        if taken < len(data):
            self._outgoing[:0] = data[taken:]

    def _takes_data(self) -> bool:
        return self._reading and not self._lost

    def _drained(self, peer: MemoryTransport) -> None:
        if self._writing_paused and len(self._outgoing) <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._ended and not self._end_read and (peer._takes_data() or peer._closing):
            self._end_read = True
            peer._see_end()
        if self._closing and (self._end_read or peer._lost):
            self._lose(None)

    def _see_end(self) -> None:
        if self._lost or self._closing:
            return
        keep_open = _stream(self._protocol).eof_received()
        if not keep_open:
            self.close()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, error)
            self._peer_schedule()


def _stream(protocol: asyncio.BaseProtocol) -> asyncio.Protocol | asyncio.BufferedProtocol:
    assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
    return protocol


def _deliver(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    if isinstance(protocol, asyncio.BufferedProtocol):
        while data:
            buffer = memoryview(protocol.get_buffer(len(data))).cast("B")
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]
    else:
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(data)


def connect_protocols(
    client: asyncio.BaseProtocol | Callable[[], asyncio.BaseProtocol],
    server: asyncio.BaseProtocol | Callable[[], asyncio.BaseProtocol],
    *,
    cut: Cut = whole,
    client_extra: Mapping[str, Any] | None = None,
    server_extra: Mapping[str, Any] | None = None,
) -> tuple[MemoryTransport, MemoryTransport]:
    """Join two protocols (or what factories make) and return their transports.

    ``cut`` says in which pieces octets arrive, both ways. The ``extra`` mappings are what
    ``get_extra_info`` knows; names of peer and socket are made up where they are not given.
    ``connection_made`` has been called on both when this returns, the server's first.
    """
    loop = asyncio.get_running_loop()
    names = {"client": ("192.0.2.1", 49152), "server": ("192.0.2.2", 80)}
    ends: list[MemoryTransport] = []
    for protocol, extra, own, other in (
        (client, client_extra, "client", "server"),
        (server, server_extra, "server", "client"),
    ):
        made = protocol if isinstance(protocol, asyncio.BaseProtocol) else protocol()
        facts = {"sockname": names[own], "peername": names[other], **(extra or {})}
        ends.append(MemoryTransport(loop, made, cut=cut, extra=facts))
    first, second = ends
    first._peer, second._peer = second, first
    second.get_protocol().connection_made(second)
    first.get_protocol().connection_made(first)
    return first, second


async def settle(turns: int = 20) -> None:
    """Let the loop turn so often that what was written in memory has been delivered."""
    for _ in range(turns):
        await asyncio.sleep(0)
