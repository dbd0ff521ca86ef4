"""A stream of an HTTP/2 connection as a transport (RFC 8441 §5, RFC 9113 §8.5).

What is switched to on a stream runs on the same successors as on a connection of its own:
END_STREAM stands for the end of data, RST_STREAM for a reset, and the windows of HTTP/2 for
the backpressure of TCP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switchover.asyncio.deadlines import Deadlines
from switchover.asyncio.http2_carrier import COMPILED as _CARRIER_COMPILED
from switchover.errors import TunnelBroken
from switchover.http2.codes import ErrorCode, describe

if TYPE_CHECKING or not _CARRIER_COMPILED:
    # The compiled one calls the connection in C, so it needs the compiled connection.
    from switchover.asyncio._http2_stream import StreamCarrier
else:
    try:
        from switchover.asyncio._http2_stream_c import StreamCarrier
    except ImportError:
        from switchover.asyncio._http2_stream import StreamCarrier

__all__ = ["StreamTransport", "reset_error"]

_HIGH_MARK = 64 * 1024
#: What a peer may still send, and how long, after we have closed: then the stream is reset.
_LINGER_OCTETS = 64 * 1024
_LINGER_SECONDS = 10.0


# asyncio's own would not lie in memory beside the compiled half; uvloop's transports do not derive
# from it either.
if TYPE_CHECKING:
    _Transport = asyncio.Transport
else:
    _Transport = object


class StreamTransport(StreamCarrier, _Transport):
    """One stream; ``stream_id`` is its number on the connection of ``owner``, its driver."""

    # What the driver tells.

    def receive_eof(self) -> None:
        """Take the end of the peer's data."""
        self._eof_received = True
        if self._closing:
            self._over()
        elif not (self._paused or self._received) and self._protocol is not None:
            self._deliver_eof()

    def window_opened(self) -> None:
        """The peer, or the transport under the connection, takes more."""
        self._send()

    def lose(self, error: Exception | None) -> None:
        """The stream is gone: reset, or lost with its connection."""
        self._eof_sent = True
        self._output.clear()
        self._output_size = 0
        self._end(error)
        self._over()

    def _deliver_eof(self) -> None:
        if self._eof_delivered or self._lost:
            return
        self._eof_delivered = True
        eof_received: Callable[[], bool | None] = getattr(
            self._protocol, "eof_received", lambda: False
        )
        if not eof_received():
            self.close()

    def _discard(self, octets: int) -> None:
        self._owner.machine.acknowledge(self.stream_id, octets)
        self._owner.send_soon()
        self._lingering += octets
        if self._lingering > _LINGER_OCTETS:
            self._reset()

    # asyncio.BaseTransport and ReadTransport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the connection's transport knows; but the socket is not the stream's."""
        if name == "socket":
            return default
        return self._owner.transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to ``protocol`` from now on; what has arrived before, first."""
        first = self._protocol is None
        self._protocol = protocol
        self._buffered = not isinstance(protocol, asyncio.Protocol)
        if first and (self._received or self._eof_received):
            # Not now: the protocol is to be told of its transport before.
            self._loop.call_soon(self._catch_up)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        assert self._protocol is not None
        found: asyncio.BaseProtocol = self._protocol
        return found

    def is_closing(self) -> bool:
        """Whether the stream is closed, or being closed."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what arrives is delivered."""
        return not (self._paused or self._closing)

    def pause_reading(self) -> None:
        """Deliver nothing; the peer may fill the stream's window and no more."""
        self._paused = True

    def resume_reading(self) -> None:
        """Deliver again."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        while self._received and not (self._paused or self._closing):
            self._deliver(self._received.pop(0))
        if not self._received and not self._paused and self._eof_received and not self._closing:
            self._deliver_eof()
        self._owner.send_soon()

    # asyncio.WriteTransport.

    def write_eof(self) -> None:
        """Send END_STREAM behind what has been written."""
        if not self._eof_wanted:
            self._eof_wanted = True
            self._send()

    def can_write_eof(self) -> bool:
        """Streams can be half-closed, under TLS too."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return how many octets wait for the peer's window."""
        return self._output_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks at which the protocol is told to pause and to go on."""
        if high is None:
            high = _HIGH_MARK if low is None else 4 * low
        self._high = high
        self._low = high // 4 if low is None else low
        self._update_marks()

    # The end.

    def close(self) -> None:
        """Send what has been written and END_STREAM; deliver nothing more."""
        if self._closing:
            return
        self._closing = True
        held = sum(map(len, self._received))
        self._received.clear()
        if held:
            self._discard(held)
        if self._eof_sent:
            self._finish()
        else:
            self.write_eof()

    def abort(self) -> None:
        """Send RST_STREAM with CANCEL."""
        # RFC 8441 §5: "RST exceptions are represented with the RST_STREAM stream error …
        # CANCEL".
        self.reset(ErrorCode.CANCEL)

    def reset(self, code: ErrorCode) -> None:
        """Send RST_STREAM with ``code``, for a protocol whose rules the peer has broken."""
        if not self._lost:
            self._closing = True
            self._reset(code)

    def _reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        self._owner.machine.reset(self.stream_id, code)
        self._owner.send_soon()
        self._eof_sent = True
        self._output.clear()
        self._output_size = 0
        self._end(None)
        self._over()

    def _finish(self) -> None:
        """Our END_STREAM is sent, and nobody reads: only the peer's end is awaited."""
        self._end(None)
        if self._eof_received:
            self._over()
        elif self._deadline is None:
            self._deadline = Deadlines.of(self._loop).set(_LINGER_SECONDS, self._reset)

    def _end(self, error: Exception | None) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def _over(self) -> None:
        if not self._eof_sent:
            return  # what has been written is still to be sent
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._owner.forget(self.stream_id)


def reset_error(code: int) -> TunnelBroken:
    """Return what a successor is told when the peer resets its stream."""
    return TunnelBroken(f"the peer has reset the stream ({describe(code)})")
