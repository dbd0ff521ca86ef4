"""What every request passes through: frames in, frames out, and windows (RFC 9113 §4 to §6).

This file is the source of two builds: it runs as it is, and compiled as ``_frames_c`` (types in
``_frames_c.pxd``). What is rare is left to the classes derived from it, which are not compiled.
The file is longer than others because it is compiled as one: calls inside it are C calls.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from switchover.http2 import settings as settings_
from switchover.http2._faults import ConnectionFault, StreamFault
from switchover.http2.codes import ErrorCode
from switchover.http2.hpack import Decoder, Encoder, HPACKError
from switchover.http2.preface import PREFACE
from switchover.http2.settings import PeerSettings, Settings

if TYPE_CHECKING:
    from switchover.http2.engine import Receiver

__all__ = ["UNKNOWN", "Frames", "Message", "Stream"]

_HEAD = struct.Struct(">HBBBL")
_HEAD_SIZE = 9
_STREAM_MASK = 0x7FFFFFFF
_CODE = struct.Struct(">L")

_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0x0, 0x1, 0x3, 0x4
_PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0x6, 0x7, 0x8, 0x9

_END_STREAM = 0x1
_ACK = 0x1
_END_HEADERS = 0x4
#: The flags of a request in one frame, as most are: END_HEADERS and END_STREAM, no padding.
_WHOLE = 0x5

#: RFC 9113 §6.9.2: the connection's window, whatever SETTINGS say.
_INITIAL_WINDOW = 65535

#: Content of so many octets is copied behind its head.
_JOINED = 4096

#: Streams of which it is remembered that they were reset, so that what was on its way is told
#: from a fault.
_REMEMBERED_RESETS = 256


#: No Content-Length is known.
UNKNOWN = -1


class Message:
    """The exchange on one stream, as the machine above sees it."""

    __slots__ = (
        "discarded",
        "expected",
        "head_received",
        "head_sent",
        "interim",
        "received",
        "request",
        "to_send",
        "tunnel",
    )

    def __init__(self, request: Any) -> None:
        self.request = request
        #: The final response has begun to arrive, or to be sent.
        self.head_received = False
        self.head_sent = False
        #: Interim responses received.
        self.interim = 0
        #: Octets the peer announced, and those that came; octets we announced and still owe.
        self.expected = UNKNOWN
        self.received = 0
        self.to_send = UNKNOWN
        #: Octets that came after the response was complete.
        self.discarded = 0
        #: CONNECT was answered with 2xx: what follows belongs to another protocol.
        self.tunnel = False


class Stream:
    """One stream as the engine sees it; ``message`` belongs to the machine above."""

    __slots__ = (
        "credit",
        "held",
        "id",
        "local_open",
        "message",
        "receive_window",
        "remote_open",
        "send_window",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        #: We may send content; the peer may.
        self.local_open = True
        self.remote_open = True
        self.send_window = send_window
        self.receive_window = receive_window
        #: Octets delivered and not acknowledged yet; acknowledged and not yet announced.
        self.held = 0
        self.credit = 0
        self.message: Any = None


class Frames:
    """One end of a connection, ``client`` or server, without what is rare.

    ``receiver`` is told what arrives. ``max_fields`` is how many lines a section may have.
    """

    def __init__(
        self,
        receiver: Receiver,
        settings: Settings,
        clock: Callable[[], float],
        *,
        client: bool,
        max_fields: int,
    ) -> None:
        self._receiver = receiver
        self.client = client
        self.settings = settings
        self.clock = clock
        self.peer = PeerSettings()
        #: Open and half-closed streams by number.
        self.streams: dict[int, Stream] = {}
        #: Streams whose content waits for a window, since when; the longest waiting first.
        self.blocked: dict[Stream, float] = {}
        self.settings_acknowledged = False
        #: Nothing more is read or sent.
        self.closed = False
        #: The highest number a client has used.
        self.highest = 0
        self.send_window = _INITIAL_WINDOW
        self.receive_window = _INITIAL_WINDOW
        self._credit = 0
        self._withheld = 0
        self._out: list[bytes | memoryview] = []
        #: Read and write field sections, and say whether older ones still mean the same.
        self.decoder = Decoder(settings.max_header_list_size, max_fields)
        self.encoder = Encoder()
        #: New streams of the peer are not processed (after our last GOAWAY).
        self.refusing = False
        # The stream whose CONTINUATION frames are awaited.
        self._block_stream = 0
        # Octets of a frame, or of the preface, that is not here whole; how many are needed
        # before there is something to read.
        self._held = bytearray()
        self._needed = 0 if client else len(PREFACE)
        self._preface_seen = client
        # From a reset stream's number to whether the reset was ours.
        self._resets: dict[int, bool] = {}

    def start(self) -> None:
        """Send our part of the connection preface (RFC 9113 §3.4)."""
        if self.client:
            self._out.append(PREFACE)
        payload = settings_.write(self.settings.pairs(client=self.client))
        self._frame(_SETTINGS, 0, 0, payload)
        increment = self.settings.connection_window_size - _INITIAL_WINDOW
        if increment > 0:
            self._frame(_WINDOW_UPDATE, 0, 0, _CODE.pack(increment))
            self.receive_window += increment

    def data_to_send(self) -> list[bytes | memoryview]:
        """Return what is to be sent, in order, and forget it."""
        out = self._out
        if out:
            self._out = []
        return out

    # Frames in.

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer."""
        if self.closed:
            return
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return
            octets = bytes(self._held)
            self._held = bytearray()
        else:
            octets = bytes(data)
        try:
            position = 0 if self._preface_seen else self._read_preface(octets)
            if self._preface_seen:
                position = self.read_frames(octets, position)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault), fault.rule, limit=fault.limit)
            return
        if position < len(octets):
            self._held += octets[position:]

    def _read_preface(self, data: bytes) -> int:
        """Return where the frames begin; 0 while the preface is not complete."""
        # RFC 9113 §3.4: "Clients and servers MUST treat an invalid connection preface as a
        # connection error … of type PROTOCOL_ERROR."
        if data[: len(PREFACE)] != PREFACE[: len(data)]:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR,
                f"the connection begins with {data[:24]!r} instead of the preface",
                "RFC 9113 §3.4",
            )
        self._preface_seen = len(data) >= len(PREFACE)
        return len(PREFACE) if self._preface_seen else 0

    def read_frames(self, data: bytes, position: int) -> int:
        """Handle the whole frames of ``data`` from ``position``; return where the rest begins.

        Raises :class:`ConnectionFault`.
        """
        end = len(data)
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
                if kind == _HEADERS and flags == _WHOLE and self._may_begin(stream_id):
                    self._begin(stream_id, data[start:position])
                elif (
                    kind != _DATA
                    or flags > _END_STREAM
                    or not self._content(stream_id, flags, data[start:position])
                ):
                    self.frame_received(kind, flags, stream_id, data[start:position])
            except StreamFault as fault:
                self.stream_faulty(stream_id, fault)
            if self.closed:
                return end
        self._needed = _HEAD_SIZE
        return position

    def _may_begin(self, stream_id: int) -> bool:
        """Whether a request in one frame may be taken without further questions."""
        # The client's next number, nothing in between, nothing that forbids it.
        return (
            stream_id == self.highest + 2
            and self.highest & 1 == 1
            and not self.client
            and not self.refusing
            and self._block_stream == 0
            and self.peer.received
            and len(self.streams) < self.settings.max_concurrent_streams
        )

    def _begin(self, stream_id: int, block: bytes) -> None:
        lines = self.decode(block)
        self.highest = stream_id
        stream = self._new_stream(stream_id)
        stream.remote_open = False
        self._receiver.headers_received(stream, lines, end=True)
        if not stream.local_open:
            self._drop(stream)

    def _content(self, stream_id: int, flags: int, payload: bytes) -> bool:
        """Take content about which there is nothing to ask; return whether it was so."""
        size = len(payload)
        stream = self.streams.get(stream_id)
        if (
            stream is None
            or not stream.remote_open
            or size == 0
            or size > self.receive_window
            or size > stream.receive_window
            or self._block_stream != 0
            or not self.peer.received
        ):
            return False
        self.receive_window -= size
        stream.receive_window -= size
        stream.held += size
        ends = flags == _END_STREAM
        if ends:
            stream.remote_open = False
        self._receiver.data_received(stream, payload, end=ends)
        if ends and not stream.local_open:
            self._drop(stream)
        return True

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]] | None:
        """Return the lines of a field section, ``None`` if they exceed the limits."""
        try:
            return self.decoder.decode(block)
        except HPACKError as error:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, str(error), "RFC 9113 §4.3"
            ) from None

    def frame_received(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a frame of any kind."""
        raise NotImplementedError

    def stream_faulty(self, stream_id: int, fault: StreamFault) -> None:
        """The peer broke a rule on one stream."""
        raise NotImplementedError

    def fail(self, code: int, message: str, rule: str, *, limit: bool = False) -> None:
        """End the connection for what the peer did."""
        raise NotImplementedError

    # Streams.

    def open_stream(self) -> Stream:
        """Open the next stream of a client."""
        # RFC 9113 §5.1.1: "Streams initiated by a client MUST use odd-numbered stream
        # identifiers"; RFC 7540 §3.2: stream 1 is taken by the request that was upgraded.
        self.highest += 2 if self.highest else 1
        return self._new_stream(self.highest)

    def adopt_stream(self) -> Stream:
        """Make stream 1 of the request that was upgraded (RFC 7540 §3.2)."""
        # "Stream 1 is implicitly "half-closed" from the client toward the server".
        self.highest = 1
        stream = self._new_stream(1)
        if self.client:
            stream.local_open = False
        else:
            stream.remote_open = False
        return stream

    def withhold(self, octets: int) -> None:
        """Use ``octets`` less of the connection's window until the peer's SETTINGS are here."""
        self._withheld = octets
        self.send_window -= octets

    def _new_stream(self, stream_id: int) -> Stream:
        stream = Stream(stream_id, self.peer.initial_window_size, self._stream_window())
        self.streams[stream_id] = stream
        return stream

    def _stream_window(self) -> int:
        # RFC 9113 §6.5.3: until the peer has acknowledged our settings it may go by the
        # initial value.
        if self.settings_acknowledged:
            return self.settings.initial_window_size
        return max(_INITIAL_WINDOW, self.settings.initial_window_size)

    def _close_local(self, stream: Stream) -> None:
        stream.local_open = False
        if not stream.remote_open:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        """Forget a stream; what was held for it no longer counts against the connection."""
        if self.streams.pop(stream.id, None) is None:
            return
        stream.local_open = stream.remote_open = False
        if self.blocked:
            self.blocked.pop(stream, None)
        if stream.held:
            self._return_credit(stream.held)
            stream.held = 0

    def _remember_reset(self, stream_id: int, *, ours: bool) -> None:
        self._resets[stream_id] = ours
        if len(self._resets) > _REMEMBERED_RESETS:
            del self._resets[next(iter(self._resets))]

    def forget(self, stream_id: int) -> None:
        """Drop a stream that the peer has said it does not process (RFC 9113 §6.8)."""
        self._remember_reset(stream_id, ours=True)
        self._drop(self.streams[stream_id])

    # Frames of a stream.

    def send_headers(self, stream: Stream, lines: list[tuple[bytes, bytes]], *, end: bool) -> None:
        """Send a field section; ``end`` closes our side of the stream."""
        self.send_block(stream, self.encoder.encode(lines), end=end)

    def send_block(self, stream: Stream, block: bytes, *, end: bool) -> None:
        """Send a field section that the encoder has just made; see :meth:`send_headers`."""
        size = self.peer.max_frame_size
        flags = _END_STREAM if end else 0
        if len(block) <= size:
            self._frame(_HEADERS, flags | _END_HEADERS, stream.id, block)
        else:
            self._frame(_HEADERS, flags, stream.id, block[:size])
            # RFC 9113 §6.10: CONTINUATION frames follow with nothing between them.
            for start in range(size, len(block), size):
                last = _END_HEADERS if start + size >= len(block) else 0
                self._frame(_CONTINUATION, last, stream.id, block[start : start + size])
        if end:
            self._close_local(stream)

    def send_answer(self, stream: Stream, block: bytes, content: bytes) -> bool:
        """Send a whole message at once, its field section encoded already.

        ``False``, and nothing is sent, where windows or frames are too small for it.
        """
        size = len(content)
        limit = self.peer.max_frame_size
        if size > self.send_window or size > stream.send_window or size > limit:
            return False
        if len(block) > limit or size > _JOINED:
            return False
        number = stream.id
        self._out.append(
            b"%b%b%b%b"
            % (
                _HEAD.pack(len(block) >> 8, len(block) & 0xFF, _HEADERS, _END_HEADERS, number),
                block,
                _HEAD.pack(size >> 8, size & 0xFF, _DATA, _END_STREAM, number),
                content,
            )
        )
        self.send_window -= size
        stream.send_window -= size
        self._close_local(stream)
        return True

    def send_data(self, stream: Stream, data: bytes | memoryview, *, end: bool) -> int:
        """Send as much of ``data`` as the windows take; return how many octets that was.

        ``end`` closes our side of the stream if everything was taken.
        """
        return self.send_some(stream, data, end)

    def send_some(self, stream: Stream, data: bytes | memoryview, end: bool) -> int:
        """See :meth:`send_data`; what the machine above calls, in C where it can."""
        size = len(data)
        # RFC 9113 §6.9: the sender "MUST NOT send a flow-controlled frame with a length that
        # exceeds the space available in either of the flow-control windows".
        room = min(self.send_window, stream.send_window)
        if self.blocked:
            self.blocked.pop(stream, None)
        if size > room:
            self.blocked[stream] = self.clock()
            size = max(room, 0)
            end = False
        if size <= self.peer.max_frame_size:
            if size or end:
                self._out.append(_HEAD.pack(size >> 8, size & 0xFF, _DATA, end, stream.id))
                if size:
                    self._out.append(data if size == len(data) else data[:size])
        else:
            self._send_long(stream.id, memoryview(data)[:size], end=end)
        self.send_window -= size
        stream.send_window -= size
        if end:
            self._close_local(stream)
        return size

    def _send_long(self, stream_id: int, data: memoryview, *, end: bool) -> None:
        step = self.peer.max_frame_size
        total = len(data)
        for start in range(0, total, step):
            size = min(step, total - start)
            last = end and start + size == total
            self._out.append(_HEAD.pack(size >> 8, size & 0xFF, _DATA, last, stream_id))
            self._out.append(data[start : start + size])

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream abruptly (RFC 9113 §6.4)."""
        self._reset_number(stream.id, code)
        self._drop(stream)

    def _reset_number(self, stream_id: int, code: int) -> None:
        self._frame(_RST_STREAM, 0, stream_id, _CODE.pack(code))
        self._remember_reset(stream_id, ours=True)

    # Receive windows.

    def acknowledge(self, stream: Stream, octets: int) -> None:
        """Let the peer send as much again: ``octets`` of content have been consumed."""
        octets = min(octets, stream.held)
        stream.held -= octets
        self._return_credit(octets)
        if not stream.remote_open:
            return
        stream.credit += octets
        # One WINDOW_UPDATE for half a window: few frames, and the sender need not pause.
        if stream.credit * 2 >= self.settings.initial_window_size:
            self._frame(_WINDOW_UPDATE, 0, stream.id, _CODE.pack(stream.credit))
            stream.receive_window += stream.credit
            stream.credit = 0

    def _return_credit(self, octets: int) -> None:
        self._credit += octets
        if self._credit * 2 >= self.settings.connection_window_size and not self.closed:
            self._frame(_WINDOW_UPDATE, 0, 0, _CODE.pack(self._credit))
            self.receive_window += self._credit
            self._credit = 0

    # Frames of the connection.

    def ping(self, payload: bytes) -> None:
        """Send PING with eight octets; they come back (RFC 9113 §6.7)."""
        self._frame(_PING, 0, 0, payload)

    def goaway(self, last: int, code: int, text: str = "") -> None:
        """Tell the peer that streams above ``last`` are not processed (RFC 9113 §6.8)."""
        debug = text.encode("ascii", "replace")[:256]
        payload = last.to_bytes(4, "big") + _CODE.pack(code) + debug
        self._frame(_GOAWAY, 0, 0, payload)

    def close(self) -> None:
        """Send nothing more, but what is ready."""
        self.closed = True
        self.streams.clear()
        self.blocked.clear()
        self._held.clear()

    def _acknowledge_settings(self) -> None:
        self._frame(_SETTINGS, _ACK, 0, b"")

    def _acknowledge_ping(self, payload: bytes) -> None:
        self._frame(_PING, _ACK, 0, payload)

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._out.append(_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload)
