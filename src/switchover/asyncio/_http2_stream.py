"""A stream of HTTP/2 as a transport: the part that runs for every message.

The other half is :class:`~switchover.asyncio.http2_stream.StreamTransport`, which derives from
:class:`StreamCarrier`. This file is compiled as ``_http2_stream_c``; the C types stand in
``_http2_stream_c.pxd``. Choose through :mod:`switchover.asyncio.http2_stream`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from switchover.asyncio.flow import feed

if TYPE_CHECKING:
    import asyncio

    from switchover.asyncio.deadlines import Deadline
    from switchover.asyncio.http2_driver import HTTP2Protocol

__all__ = ["StreamCarrier"]

_HIGH_MARK = 64 * 1024


class StreamCarrier:
    """Octets of one stream, both ways; ``stream_id`` is its number on ``owner``'s connection."""

    if not TYPE_CHECKING:  # to whom this is a transport of asyncio, which has slots of its own
        __slots__ = (
            "_buffered",
            "_closing",
            "_deadline",
            "_eof_delivered",
            "_eof_received",
            "_eof_sent",
            "_eof_wanted",
            "_high",
            "_lingering",
            "_loop",
            "_lost",
            "_low",
            "_output",
            "_output_size",
            "_owner",
            "_paused",
            "_protocol",
            "_received",
            "_writing_paused",
            "stream_id",
        )

    def __init__(
        self, owner: HTTP2Protocol, stream_id: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.stream_id = stream_id
        self._owner = owner
        self._loop = loop
        self._protocol: Any = None
        self._buffered = False  # whether it has a buffer of its own
        # Received and not delivered: bounded by the stream's window, for it is not acknowledged.
        self._received: list[bytes] = []
        self._eof_received = False
        self._eof_delivered = False
        self._paused = False
        # Not sent yet.
        self._output: list[bytes | memoryview] = []
        self._output_size = 0
        self._eof_wanted = False
        self._eof_sent = False
        self._high = _HIGH_MARK
        self._low = _HIGH_MARK // 4
        self._writing_paused = False
        self._closing = False
        self._lost = False
        self._lingering = 0
        self._deadline: Deadline | None = None

    # In.

    def receive(self, data: bytes) -> None:
        """Take octets of the stream."""
        if self._closing:
            self._discard(len(data))
        elif self._paused or self._protocol is None or self._received:
            self._received.append(data)
        else:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        self._owner._machine.acknowledge(self.stream_id, len(data))
        protocol = self._protocol
        if not self._buffered:
            protocol.data_received(data)
            return
        size = len(data)
        buffer = protocol.get_buffer(size)
        if size <= len(buffer):
            buffer[:size] = data
            protocol.buffer_updated(size)
        else:
            feed(protocol, data)

    def _discard(self, octets: int) -> None:
        raise NotImplementedError

    # Out.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` as far as the windows allow; keep the rest."""
        if self._eof_wanted or self._lost or self._eof_sent or not data:
            return
        # What may change behind our back is copied.
        piece = data if type(data) is bytes else bytes(data)
        taken = 0
        owner = self._owner
        if not self._output and not owner.gate.closed:
            taken = owner._machine.send_some(self.stream_id, piece, False)
            owner.send_soon(taken)
            if taken == len(piece):
                return
        self._output.append(memoryview(piece)[taken:] if taken else piece)
        self._output_size += len(piece) - taken
        self._update_marks()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(list_of_data))

    def _send(self) -> None:
        """Send what has been kept, as far as the windows allow."""
        owner = self._owner
        output = self._output
        while output and not owner.gate.closed:
            data = output[0]
            taken = owner._machine.send_some(self.stream_id, data, False)
            self._output_size -= taken
            owner.send_soon(taken)
            if taken < len(data):
                output[0] = memoryview(data)[taken:]
                break
            del output[0]
        if self._eof_wanted and not output and not self._eof_sent:
            self._eof_sent = True
            owner.machine.send_end(self.stream_id)
            if self._closing:
                self._finish()
        owner.send_soon()
        self._update_marks()

    def _finish(self) -> None:
        raise NotImplementedError

    def _update_marks(self) -> None:
        if self._lost or self._protocol is None:
            return
        if not self._writing_paused and self._output_size > self._high:
            self._writing_paused = True
            self._protocol.pause_writing()
        elif self._writing_paused and self._output_size <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
