"""The frames that govern a connection: SETTINGS, windows, PING, GOAWAY, PRIORITY.

RFC 9113 §6.3 and §6.5 to §6.9, the receiving side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from switchover.errors import LimitExceeded, RemoteProtocolError
from switchover.http2 import settings as settings_
from switchover.http2._faults import ConnectionFault, StreamFault, flood, wrong_size
from switchover.http2.codes import ErrorCode, SettingCode
from switchover.http2.frames import Frames, Stream
from switchover.http2.limits import Allowance, Limits
from switchover.http2.settings import LARGEST_WINDOW, InvalidSetting, Settings

if TYPE_CHECKING:
    from switchover.http2.engine import Receiver

__all__ = ["Control", "depends_on"]

_STREAM_MASK = 0x7FFFFFFF
_ACK = 0x1


class Control(Frames):
    """What is common to all streams; ``receiver`` is told what arrives."""

    def __init__(
        self,
        receiver: Receiver,
        settings: Settings,
        limits: Limits,
        clock: Callable[[], float],
        *,
        client: bool,
    ) -> None:
        super().__init__(receiver, settings, clock, client=client, max_fields=limits.field_count)
        self.limits = limits
        self._faults_allowed = Allowance(limits.faults, limits.faults_per_second, clock)
        self._control_allowed = Allowance(
            limits.control_frames, limits.control_frames_per_second, clock
        )

    def _charge(self, what: str) -> None:
        if not self._control_allowed.take():
            raise flood(f"too many {what}")

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self.highest or stream_id & 1 == 0

    def _priority(self, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0", "RFC 9113 §6.3")
        self._charge("PRIORITY frames")
        if len(payload) != 5:
            raise StreamFault(
                ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size", "RFC 9113 §6.3"
            )
        if depends_on(payload) == stream_id:
            raise StreamFault(
                ErrorCode.PROTOCOL_ERROR, "the stream depends on itself", "RFC 7540 §5.3.1"
            )

    # Windows (RFC 9113 §6.9).

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise wrong_size("WINDOW_UPDATE", "RFC 9113 §6.9")
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
                raise wrong_size("SETTINGS acknowledgement", "RFC 9113 §6.5")
            self._settings_acknowledged()
            return
        if len(payload) % 6:
            raise wrong_size("SETTINGS", "RFC 9113 §6.5")
        if self.peer.received:
            self._charge("SETTINGS frames")
        pairs = settings_.parse(payload)
        if len(pairs) > self.limits.settings_entries:
            raise flood("a SETTINGS frame with too many entries")
        # RFC 9113 §6.5.3: "The values in the SETTINGS frame MUST be processed in the order they
        # appear, with no other frame processing between values. … Once all values have been
        # processed, the recipient MUST immediately emit a SETTINGS frame with the ACK flag set."
        self.apply_settings(pairs)
        self.peer.received = True
        self.send_window += self._withheld
        self._withheld = 0
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
                self.encoder.resize(value)
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
            raise wrong_size("PING", "RFC 9113 §6.7")
        self._charge("PING frames")
        if flags & _ACK:
            self._receiver.ping_acknowledged(payload)
        else:
            self._acknowledge_ping(payload)

    def _goaway_frame(self, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream", "RFC 9113 §6.8")
        if len(payload) < 8:
            raise wrong_size("GOAWAY", "RFC 9113 §6.8")
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


def depends_on(payload: bytes) -> int:
    """Return the stream that priority octets name."""
    return int.from_bytes(payload[:4], "big") & _STREAM_MASK
