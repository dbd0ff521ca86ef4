"""The receiving half of the engine: frames in, checked against RFC 9113 §3.4 to §6.

What frames mean as HTTP (§8) is not decided here: a :class:`~switchover.http2.engine.Receiver`
is told of field sections and content.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from switchover.errors import LimitExceeded, RemoteProtocolError
from switchover.http2 import settings as settings_
from switchover.http2._hpack import Decoder, HPACKError
from switchover.http2._sending import Sending, Stream
from switchover.http2.codes import ErrorCode, SettingCode
from switchover.http2.limits import Allowance, Limits
from switchover.http2.preface import PREFACE
from switchover.http2.settings import LARGEST_WINDOW, InvalidSetting, Settings

if TYPE_CHECKING:
    from switchover.http2.engine import Receiver

__all__ = ["ConnectionFault", "Engine", "StreamFault"]

_HEAD = struct.Struct(">HBBBL")
_HEAD_SIZE = 9
_STREAM_MASK = 0x7FFFFFFF

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS = 0x0, 0x1, 0x2, 0x3, 0x4
_PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0x5, 0x6, 0x7, 0x8, 0x9

_END_STREAM, _ACK, _END_HEADERS, _PADDED, _HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

#: Ranges of numbers a client has left out that are remembered, to name its fault rightly.
_REMEMBERED_GAPS = 16


class StreamFault(Exception):
    """The peer broke a rule in a way that ends one stream (RFC 9113 §5.4.2)."""

    def __init__(self, code: ErrorCode, message: str, rule: str) -> None:
        super().__init__(message)
        self.code = code
        self.rule = rule


class ConnectionFault(Exception):
    """The peer broke a rule in a way that ends the connection (RFC 9113 §5.4.1)."""

    def __init__(self, code: ErrorCode, message: str, rule: str, *, limit: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.rule = rule
        self.limit = limit


class Engine(Sending):
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
        super().__init__(settings, clock, client=client)
        self.limits = limits
        #: New streams of the peer are not processed (after our last GOAWAY).
        self.refusing = False
        self._receiver = receiver
        self._decoder = Decoder(settings.max_header_list_size, limits.field_count)
        self._held = bytearray()
        self._needed = 0 if client else len(PREFACE)
        self._preface_seen = client
        self._gaps: list[tuple[int, int]] = []
        # The field section whose CONTINUATION frames are awaited.
        self._block_stream = 0
        self._block: list[bytes] = []
        self._block_size = 0
        self._block_ends = False
        self._block_depends_on_itself = False
        self._resets_allowed = Allowance(limits.resets, limits.resets_per_second, clock)
        self._faults_allowed = Allowance(limits.faults, limits.faults_per_second, clock)
        self._control_allowed = Allowance(
            limits.control_frames, limits.control_frames_per_second, clock
        )

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer."""
        if self.closed:
            return
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return
            data = bytes(self._held)
            self._held = bytearray()
        elif not isinstance(data, bytes):
            data = bytes(data)
        try:
            position = self._read_frames(data)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault), fault.rule, limit=fault.limit)
            return
        if position < len(data):
            self._held += data[position:]

    def _read_frames(self, data: bytes) -> int:
        """Handle the whole frames of ``data``; return where the rest begins."""
        position = 0
        end = len(data)
        if not self._preface_seen:
            # RFC 9113 §3.4: "Clients and servers MUST treat an invalid connection preface as a
            # connection error … of type PROTOCOL_ERROR."
            if data[: len(PREFACE)] != PREFACE[:end]:
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR,
                    f"the connection begins with {data[:24]!r} instead of the preface",
                    "RFC 9113 §3.4",
                )
            if end < len(PREFACE):
                return 0
            self._preface_seen = True
            position = len(PREFACE)
        limit = self.settings.max_frame_size
        while end - position >= _HEAD_SIZE:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(data, position)
            length = high << 8 | low
            if length > limit:
                # RFC 9113 §4.2: an end "MUST send an error code of FRAME_SIZE_ERROR".
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR,
                    f"a frame of {length} octets, {limit} are allowed",
                    "RFC 9113 §4.2",
                )
            start = position + _HEAD_SIZE
            if end - start < length:
                self._needed = _HEAD_SIZE + length
                return position
            position = start + length
            stream_id &= _STREAM_MASK
            try:
                self._frame_received(kind, flags, stream_id, data[start:position])
            except StreamFault as fault:
                if self._is_idle(stream_id):
                    # RFC 9113 §6.4: no RST_STREAM may be sent for an idle stream.
                    raise ConnectionFault(fault.code, str(fault), fault.rule) from None
                self.fail_stream(stream_id, fault)
            if self.closed:
                return end
        self._needed = _HEAD_SIZE
        return position

    def _frame_received(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
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
            depends_on_itself = _depends_on(payload) == stream_id
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
        try:
            lines = self._decoder.decode(block)
        except HPACKError as error:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, str(error), "RFC 9113 §4.3"
            ) from None
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

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self.highest or stream_id & 1 == 0

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
            raise _wrong_size("RST_STREAM", "RFC 9113 §6.4")
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
            raise _flood("the peer resets streams as fast as it opens them")
        self._remember_reset(stream_id, ours=False)
        self._drop(stream)
        self._receiver.stream_reset(stream, int.from_bytes(payload, "big"))

    def _priority(self, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0", "RFC 9113 §6.3")
        self._charge("PRIORITY frames")
        if len(payload) != 5:
            raise StreamFault(
                ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size", "RFC 9113 §6.3"
            )
        if _depends_on(payload) == stream_id:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "the stream depends on itself", "RFC 7540 §5.3.1"
            )

    # Windows (RFC 9113 §6.9).

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _wrong_size("WINDOW_UPDATE", "RFC 9113 §6.9")
        increment = int.from_bytes(payload, "big") & _STREAM_MASK
        if increment < self.limits.small_window_update:
            self._charge("small WINDOW_UPDATE frames")
        if stream_id == 0:
            self._connection_window(increment)
            return
        if self._is_idle(stream_id):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"WINDOW_UPDATE on idle stream {stream_id}",
                "RFC 9113 §5.1",
            )
        stream = self.streams.get(stream_id)
        if stream is None:
            # RFC 9113 §5.1: it "can be received … for a short period after" the end.
            return
        if increment == 0:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0 octets", "RFC 9113 §6.9"
            )
        if stream.send_window + increment > LARGEST_WINDOW:
            raise StreamFault(
                ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows", "RFC 9113 §6.9.1"
            )
        stream.send_window += increment
        if stream in self.blocked:
            self._windows_opened([stream])

    def _connection_window(self, increment: int) -> None:
        if increment == 0:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0 octets", "RFC 9113 §6.9"
            )
        if self.send_window + increment > LARGEST_WINDOW:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR,
                "the connection's window overflows",
                "RFC 9113 §6.9.1",
            )
        self.send_window += increment
        self._windows_opened(list(self.blocked))

    def _windows_opened(self, streams: list[Stream]) -> None:
        if self.send_window > 0:
            for stream in streams:
                if stream.send_window > 0:
                    self._receiver.window_opened(stream)

    # The connection (RFC 9113 §6.5, §6.7, §6.8).

    def _settings_frame(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream", "RFC 9113 §6.5")
        if flags & _ACK:
            if payload:
                raise _wrong_size("SETTINGS acknowledgement", "RFC 9113 §6.5")
            self._settings_acknowledged()
            return
        if len(payload) % 6:
            raise _wrong_size("SETTINGS", "RFC 9113 §6.5")
        if self.peer.received:
            self._charge("SETTINGS frames")
        pairs = settings_.parse(payload)
        if len(pairs) > self.limits.settings_entries:
            raise _flood("a SETTINGS frame with too many entries")
        # RFC 9113 §6.5.3: "The values in the SETTINGS frame MUST be processed in the order they
        # appear, with no other frame processing between values. … Once all values have been
        # processed, the recipient MUST immediately emit a SETTINGS frame with the ACK flag set."
        self.apply_settings(pairs)
        self.peer.received = True
        self._acknowledge_settings()
        self._receiver.settings_received()
        if self.blocked:
            self._windows_opened(list(self.blocked))

    def _settings_acknowledged(self) -> None:
        if self.settings_acknowledged:
            self._charge("SETTINGS acknowledgements")
            return
        before = self._stream_window()
        self.settings_acknowledged = True
        # RFC 9113 §6.9.2: a change adjusts the windows of all streams, perhaps below zero.
        change = self._stream_window() - before
        for stream in self.streams.values():
            stream.receive_window += change

    def apply_settings(self, pairs: list[tuple[int, int]]) -> None:
        """Obey the peer's settings, from a frame or from HTTP2-Settings (RFC 7540 §3.2.1).

        Raises :class:`ConnectionFault` for a forbidden value.
        """
        peer = self.peer
        for code, value in pairs:
            try:
                settings_.check(code, value)
            except InvalidSetting as error:
                raise ConnectionFault(error.code, error.args[0], error.rule) from None
            if code == SettingCode.HEADER_TABLE_SIZE:
                self._encoder.resize(value)
            elif code == SettingCode.INITIAL_WINDOW_SIZE:
                self._move_windows(value)
            elif code == SettingCode.MAX_FRAME_SIZE:
                peer.max_frame_size = value
            elif code == SettingCode.MAX_CONCURRENT_STREAMS:
                peer.max_concurrent_streams = value
            elif code == SettingCode.MAX_HEADER_LIST_SIZE:
                peer.max_header_list_size = value
            elif code == SettingCode.ENABLE_PUSH and self.client and value:
                # RFC 9113 §6.5.2: "A client MUST treat receipt of a SETTINGS frame with
                # SETTINGS_ENABLE_PUSH set to 1 as a connection error"
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR, "a server enables push", "RFC 9113 §6.5.2"
                )
            elif code == SettingCode.ENABLE_CONNECT_PROTOCOL and self.client:
                self._allow_extended_connect(value)

    def _allow_extended_connect(self, value: int) -> None:
        # RFC 8441 §3: "A sender MUST NOT send a SETTINGS_ENABLE_CONNECT_PROTOCOL parameter with
        # the value of 0 after previously sending a value of 1."
        if self.peer.enable_connect_protocol and not value:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "extended CONNECT is taken back", "RFC 8441 §3"
            )
        self.peer.enable_connect_protocol = value == 1

    def _move_windows(self, size: int) -> None:
        # RFC 9113 §6.9.2
        change = size - self.peer.initial_window_size
        self.peer.initial_window_size = size
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > LARGEST_WINDOW:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR,
                    "a setting makes a stream's window overflow",
                    "RFC 9113 §6.9.2",
                )

    def _ping_frame(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream", "RFC 9113 §6.7")
        if len(payload) != 8:
            raise _wrong_size("PING", "RFC 9113 §6.7")
        self._charge("PING frames")
        if flags & _ACK:
            self._receiver.ping_acknowledged(payload)
        else:
            self._acknowledge_ping(payload)

    def _goaway_frame(self, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream", "RFC 9113 §6.8")
        if len(payload) < 8:
            raise _wrong_size("GOAWAY", "RFC 9113 §6.8")
        self._charge("GOAWAY frames")
        last = int.from_bytes(payload[:4], "big") & _STREAM_MASK
        code = int.from_bytes(payload[4:8], "big")
        self._receiver.goaway_received(last, code, payload[8:])

    # Faults.

    def fail_stream(self, stream_id: int, fault: StreamFault) -> None:
        """End a stream for what the peer did on it."""
        stream = self.streams.get(stream_id)
        if fault.code is ErrorCode.REFUSED_STREAM and stream is None:
            allowed = self._control_allowed.take()
        else:
            allowed = self._faults_allowed.take()
        if not allowed:
            self.fail(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"too many faults, the last: {fault}",
                "RFC 9113 §10.5",
                limit=True,
            )
            return
        self._reset_number(stream_id, fault.code)
        if stream is not None:
            self._drop(stream)
            error = RemoteProtocolError(str(fault), rule=fault.rule)
            self._receiver.stream_failed(stream, error, fault.code)

    def fail(self, code: int, message: str, rule: str, *, limit: bool = False) -> None:
        """End the connection for what the peer did."""
        if self.closed:
            return
        # RFC 9113 §5.4.1: "An endpoint that encounters a connection error SHOULD first send a
        # GOAWAY frame … with the stream identifier of the last stream that it successfully
        # received from its peer."
        self.goaway(0 if self.client else self.highest, code, message)
        self.close()
        kind = LimitExceeded if limit else RemoteProtocolError
        self._receiver.connection_failed(kind(message, rule=rule), code)

    def close(self) -> None:
        """Read and send nothing more."""
        self.closed = True
        self._held.clear()
        self._block = []
        self.streams.clear()
        self.blocked.clear()

    def _charge(self, what: str) -> None:
        if not self._control_allowed.take():
            raise _flood(f"too many {what}")


def _unpad(payload: bytes) -> bytes:
    # RFC 9113 §6.1: "If the length of the padding is the length of the frame payload or
    # greater, the recipient MUST treat this as a connection error … of type PROTOCOL_ERROR."
    if not payload:
        raise _wrong_size("a padded frame", "RFC 9113 §6.1")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR, "more padding than payload", "RFC 9113 §6.1"
        )
    return payload[1 : len(payload) - padding]


def _depends_on(payload: bytes) -> int:
    return int.from_bytes(payload[:4], "big") & _STREAM_MASK


def _wrong_size(what: str, rule: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{what} of a wrong size", rule)


def _flood(message: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, message, "RFC 9113 §10.5", limit=True)
