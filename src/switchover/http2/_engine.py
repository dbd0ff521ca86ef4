"""The receiving half of the engine: frames in, checked against RFC 9113 §3.4 to §6.

What frames mean as HTTP (§8) is not decided here: a :class:`~switchover.http2.engine.Receiver`
is told of field sections and content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from switchover.http2._control import Control, depends_on
from switchover.http2._faults import ConnectionFault, StreamFault, flood, wrong_size
from switchover.http2.codes import ErrorCode
from switchover.http2.frames import Stream
from switchover.http2.limits import Allowance, Limits
from switchover.http2.settings import Settings

if TYPE_CHECKING:
    from switchover.http2.engine import Receiver

__all__ = ["Engine"]

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS = 0x0, 0x1, 0x2, 0x3, 0x4
_PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0x5, 0x6, 0x7, 0x8, 0x9

_END_STREAM, _ACK, _END_HEADERS, _PADDED, _HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

#: Ranges of numbers a client has left out that are remembered, to name its fault rightly.
_REMEMBERED_GAPS = 16


class Engine(Control):
    """Both halves of one end of an HTTP/2 connection; ``receiver`` is told what arrives.

    ``receive`` never raises for what a peer sends: a fault ends the stream or the connection
    and the receiver is told. ``clock`` returns seconds, from any start.
    """

    def __init__(
        self,
        receiver: Receiver,
        settings: Settings,
        limits: Limits,
        clock: Callable[[], float],
        *,
        client: bool,
    ) -> None:
        super().__init__(receiver, settings, limits, clock, client=client)
        self._gaps: list[tuple[int, int]] = []
        # The field section whose CONTINUATION frames are awaited.
        self._block: list[bytes] = []
        self._block_size = 0
        self._block_ends = False
        self._block_depends_on_itself = False
        self._resets_allowed = Allowance(limits.resets, limits.resets_per_second, clock)

    def stream_faulty(self, stream_id: int, fault: StreamFault) -> None:
        """The peer broke a rule on one stream."""
        if self._is_idle(stream_id):
            # RFC 9113 §6.4: no RST_STREAM may be sent for an idle stream.
            raise ConnectionFault(fault.code, str(fault), fault.rule) from None
        self.fail_stream(stream_id, fault)

    def frame_received(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a frame of any kind."""
        if self._block_stream and kind != _CONTINUATION:
            # RFC 9113 §6.2: "A receiver MUST treat the receipt of any other type of frame or a
            # frame on a different stream as a connection error … of type PROTOCOL_ERROR."
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"a frame of type {kind} within a field section",
                "RFC 9113 §6.10",
            )
        if not self.peer.received and (kind != _SETTINGS or flags & _ACK):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                "the first frame is not SETTINGS",
                "RFC 9113 §3.4",
            )
        if kind == _DATA:
            self._data(stream_id, flags, payload)
        elif kind == _HEADERS:
            self._headers(stream_id, flags, payload)
        elif kind == _WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        elif kind == _CONTINUATION:
            self._continuation(stream_id, flags, payload)
        elif kind == _RST_STREAM:
            self._rst_stream(stream_id, payload)
        elif kind == _SETTINGS:
            self._settings_frame(stream_id, flags, payload)
        elif kind == _PING:
            self._ping_frame(stream_id, flags, payload)
        elif kind == _GOAWAY:
            self._goaway_frame(stream_id, payload)
        elif kind == _PRIORITY:
            self._priority(stream_id, payload)
        elif kind == _PUSH_PROMISE:
            # RFC 9113 §8.4: a client cannot push; and we, as a client, have disabled it (§6.6).
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "a pushed response nobody takes", "RFC 9113 §6.6"
            )
        else:
            # RFC 9113 §5.5: "Implementations MUST discard frames that have unknown or
            # unsupported types."
            self._charge("frames of an unknown type")

    # Content (RFC 9113 §6.1).

    def _data(self, stream_id: int, flags: int, payload: bytes) -> None:
        stream = self.streams.get(stream_id)
        size = len(payload)
        self.receive_window -= size
        if self.receive_window < 0:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, "more content than the window", "RFC 9113 §6.9.1"
            )
        if flags & _PADDED:
            payload = _unpad(payload)
        if stream is None or not stream.remote_open:
            self._return_credit(size)
            self._unexpected(stream, stream_id, "DATA")
            if size < self.limits.small_data:
                self._charge("small DATA frames on streams that were reset")
            return
        stream.receive_window -= size
        stream.held += size
        if stream.receive_window < 0:
            raise StreamFault(
                ErrorCode.FLOW_CONTROL_ERROR, "more content than the window", "RFC 9113 §6.9.1"
            )
        if size != len(payload):
            self.acknowledge(stream, size - len(payload))
        ends = flags & _END_STREAM != 0
        if not payload and not ends:
            self._charge("empty DATA frames")
            return
        if ends:
            stream.remote_open = False
        self._receiver.data_received(stream, payload, end=ends)
        if ends and not stream.local_open:
            self._drop(stream)

    # Field sections (RFC 9113 §6.2, §6.10).

    def _headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0", "RFC 9113 §6.2")
        if flags & _PADDED:
            payload = _unpad(payload)
        depends_on_itself = False
        if flags & _HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR, "HEADERS cut short", "RFC 9113 §6.2"
                )
            depends_on_itself = depends_on(payload) == stream_id
            payload = payload[5:]
        ends = flags & _END_STREAM != 0
        if flags & _END_HEADERS:
            self._section(stream_id, payload, ends=ends, depends_on_itself=depends_on_itself)
            return
        self._block_stream = stream_id
        self._block = [payload]
        self._block_size = len(payload)
        self._block_ends = ends
        self._block_depends_on_itself = depends_on_itself

    def _continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id == 0 or stream_id != self._block_stream:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                "CONTINUATION that continues nothing",
                "RFC 9113 §6.10",
            )
        self._block.append(payload)
        self._block_size += len(payload)
        # Before anything is decoded: an endless field section costs no more than this.
        if (
            len(self._block) > self.limits.continuations + 1
            or self._block_size > self.limits.field_block
        ):
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                "a field section without end",
                "RFC 9113 §10.5.1",
                limit=True,
            )
        if flags & _END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_stream = 0
            self._section(
                stream_id,
                block,
                ends=self._block_ends,
                depends_on_itself=self._block_depends_on_itself,
            )

    def _section(
        self, stream_id: int, block: bytes, *, ends: bool, depends_on_itself: bool
    ) -> None:
        # Decoded in any case: the table is the connection's (RFC 9113 §4.3).
        lines = self.decode(block)
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = self._stream_of_peer(stream_id)
            if stream is None:
                return
        elif not stream.remote_open:
            self._unexpected(stream, stream_id, "HEADERS")
        if depends_on_itself:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "the stream depends on itself", "RFC 7540 §5.3.1"
            )
        if ends:
            stream.remote_open = False
        self._receiver.headers_received(stream, lines, end=ends)
        if ends and not stream.local_open:
            self._drop(stream)

    def _stream_of_peer(self, stream_id: int) -> Stream | None:
        """Open the stream that a client's HEADERS begin; ``None`` if they are not processed."""
        if stream_id <= self.highest and stream_id & 1 and not self._in_gap(stream_id):
            self._unexpected(None, stream_id, "HEADERS")
            self._charge("field sections on streams that were reset")
            return None
        if self.client or stream_id <= self.highest or stream_id & 1 == 0:
            # RFC 9113 §5.1.1: "The identifier of a newly established stream MUST be numerically
            # greater than all streams that the initiating endpoint has opened"; and no server
            # opens any here.
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"stream {stream_id} cannot be opened",
                "RFC 9113 §5.1.1",
            )
        if stream_id > self.highest + 2:
            self._gaps.append((self.highest + 1, stream_id - 1))
            del self._gaps[:-_REMEMBERED_GAPS]
        self.highest = stream_id
        if self.refusing:
            # RFC 9113 §6.8: "the sender of a GOAWAY … MAY discard frames on streams" above.
            self._remember_reset(stream_id, ours=True)
            return None
        if len(self.streams) >= self.settings.max_concurrent_streams:
            # RFC 9113 §5.1.2: more streams than allowed "MUST" be a stream error.
            raise StreamFault(
                ErrorCode.REFUSED_STREAM, "too many streams are open", "RFC 9113 §5.1.2"
            )
        return self._new_stream(stream_id)

    # Frames without a stream to go to (RFC 9113 §5.1).

    def _in_gap(self, stream_id: int) -> bool:
        return any(first <= stream_id <= last for first, last in self._gaps)

    def _unexpected(self, stream: Stream | None, stream_id: int, what: str) -> None:
        """Judge DATA or HEADERS on a stream whose peer may send neither."""
        if stream is not None:
            # RFC 9113 §5.1, half-closed (remote): "it MUST respond with a stream error of type
            # STREAM_CLOSED."
            raise StreamFault(
                ErrorCode.STREAM_CLOSED, f"{what} after the end of the stream", "RFC 9113 §5.1"
            )
        if stream_id == 0 or self._is_idle(stream_id):
            # RFC 9113 §5.1, idle: "Receiving any frame other than HEADERS or PRIORITY on a
            # stream in this state MUST be treated as a connection error"
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"{what} on idle stream {stream_id}", "RFC 9113 §5.1"
            )
        if self._resets.get(stream_id, False):
            return  # the peer may not have seen our RST_STREAM yet
        raise ConnectionFault(
            ErrorCode.STREAM_CLOSED, f"{what} on closed stream {stream_id}", "RFC 9113 §5.1"
        )

    def _rst_stream(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise wrong_size("RST_STREAM", "RFC 9113 §6.4")
        if stream_id == 0 or self._is_idle(stream_id):
            # RFC 9113 §6.4: "RST_STREAM frames MUST NOT be sent for a stream in the "idle""
            # state; after an upgrade this is no different.
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"RST_STREAM on idle stream {stream_id}",
                "RFC 9113 §6.4",
            )
        stream = self.streams.get(stream_id)
        if stream is None:
            self._charge("RST_STREAM on closed streams")
            return
        if not self._resets_allowed.take():
            raise flood("the peer resets streams as fast as it opens them")
        self._remember_reset(stream_id, ours=False)
        self._drop(stream)
        self._receiver.stream_reset(stream, int.from_bytes(payload, "big"))

    def close(self) -> None:
        """Read and send nothing more."""
        super().close()
        self._block = []


def _unpad(payload: bytes) -> bytes:
    # RFC 9113 §6.1: "If the length of the padding is the length of the frame payload or
    # greater, the recipient MUST treat this as a connection error … of type PROTOCOL_ERROR."
    if not payload:
        raise wrong_size("a padded frame", "RFC 9113 §6.1")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR, "more padding than payload", "RFC 9113 §6.1"
        )
    return payload[1 : len(payload) - padding]
