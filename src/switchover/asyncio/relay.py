"""A relay: octets from one connection to another, both ways, at the pace of the slower end.

When one end has ended its data, that end is passed on and the other direction stays open
for as long as the drain allows (RFC 9110 §9.3.6 closes both; deployed protocols half-close,
so it is done in that order). A reset is passed on as a reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from switchover.asyncio.deadlines import Deadline, Deadlines
from switchover.asyncio.flow import end_writing, reset_on_close
from switchover.asyncio.http2_stream import StreamTransport
from switchover.http2.codes import ErrorCode

__all__ = ["Relay", "RelayEnd"]


class Relay:
    """Two connections that are one.

    ``left`` and ``right`` are the protocols for their transports. After the first end of data
    the other direction has ``drain`` seconds, and a relay on which nothing has moved for
    ``idle`` seconds ends. ``on_end`` is called when both connections have ended.
    """

    __slots__ = ("_deadline", "_idle", "_moved", "drain", "left", "on_end", "right")

    def __init__(
        self,
        *,
        drain: float = 30.0,
        idle: float | None = None,
        on_end: Callable[[Relay], None] | None = None,
    ) -> None:
        self.left = RelayEnd(self)
        self.right = RelayEnd(self)
        self.left.other, self.right.other = self.right, self.left
        self.drain = drain
        self._idle = idle
        self._moved = -1
        self.on_end = on_end
        self._deadline: Deadline | None = None

    @property
    def octets(self) -> tuple[int, int]:
        """Octets that came from the left, and from the right."""
        return self.left.octets, self.right.octets

    def start(self) -> None:
        """Begin to move octets; both transports have been made."""
        self.left.resume()
        self.right.resume()
        self._arm(self._idle, self._check_idle)

    def shutdown(self) -> None:
        """End both directions in order."""
        self.left.end()
        self.right.end()

    def abort(self) -> None:
        """Drop both connections."""
        for end in (self.left, self.right):
            if end.transport is not None:
                end.transport.abort()

    def ending(self) -> None:
        """One end has ended its data; the rest has a limited time."""
        self._arm(self.drain, self.abort)

    def ended(self) -> None:
        """One connection has ended; finish when both have."""
        if self.left.lost and self.right.lost:
            self._arm(None, self.abort)
            callback, self.on_end = self.on_end, None
            if callback is not None:
                callback(self)

    def _check_idle(self) -> None:
        moved = self.left.octets + self.right.octets
        if moved == self._moved:
            self.abort()
            return
        self._moved = moved
        self._arm(self._idle, self._check_idle)

    def _arm(self, seconds: float | None, callback: Callable[[], None]) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = Deadlines.of(asyncio.get_running_loop()).set(seconds, callback)


class RelayEnd(asyncio.Protocol):
    """One connection of a relay: what it receives goes out on the other."""

    __slots__ = (
        "_early",
        "_eof",
        "_started",
        "_write",
        "ended",
        "lost",
        "octets",
        "other",
        "relay",
        "transport",
    )

    other: RelayEnd

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.transport: asyncio.Transport | None = None
        self.octets = 0
        self.lost = False
        self.ended = False
        self._eof = False
        self._started = False
        self._early: list[bytes] = []
        # Where octets go now: they come by the million, and are not asked questions.
        self._write: Callable[[bytes], object] = self._early.append

    def shutdown(self) -> None:
        """End the relay in order."""
        self.relay.shutdown()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class.
        self.transport = cast("asyncio.Transport", transport)
        if not self._started:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Begin to read, with what had arrived before first."""
        self._started = True
        early, self._early = self._early, []
        onward = self.other.transport
        if onward is not None and not (self.other.lost or self.other.ended):
            self._write = onward.write
        else:
            self._write = _discard
        for data in early:
            self._write(data)
        if self.transport is None or self.lost:
            return
        if self._eof and not self.eof_received():
            self.transport.close()
        elif not self._eof:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.octets += len(data)
        self._write(data)

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        other = self.other
        if other.transport is not None and other._started and not other.lost:
            other.transport.resume_reading()

    def eof_received(self) -> bool:
        self._eof = True
        if not self._started:
            return self._stays_open()  # passed on behind what came before it
        self.other.end()
        if self.other._eof:
            return False
        self.relay.ending()
        return self._stays_open()

    def _stays_open(self) -> bool:
        return self.transport is not None and self.transport.can_write_eof()

    def end(self) -> None:
        """End our direction of this connection; what is queued goes out first."""
        transport = self.transport
        if transport is None or self.lost or self.ended or transport.is_closing():
            return
        self.ended = True
        # After a shutdown what still comes has nowhere to go.
        self.other._write = _discard
        if self._eof or not transport.can_write_eof():
            transport.close()
        else:
            end_writing(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.other._write = _discard
        transport = self.other.transport
        if transport is not None and not self.other.lost:
            # RFC 9110 §9.3.6: "any outstanding data that came from the closed side" is sent.
            if error is None:
                transport.close()
            elif isinstance(transport, StreamTransport):
                # RFC 9113 §8.5: "A proxy treats any error in the TCP connection … as a stream
                # error (Section 5.4.2) of type CONNECT_ERROR."
                transport.reset(ErrorCode.CONNECT_ERROR)
            else:
                reset_on_close(transport)
                transport.abort()
        self.relay.ended()


def _discard(data: bytes) -> None:
    """Take what has nowhere to go."""
