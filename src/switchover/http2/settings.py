"""SETTINGS: what each end tells the other it may send (RFC 9113 §6.5, RFC 8441 §3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http2.codes import ErrorCode, SettingCode

__all__ = [
    "LARGEST_WINDOW",
    "InvalidSetting",
    "PeerSettings",
    "Settings",
    "check",
    "parse",
    "write",
]

#: RFC 9113 §6.9.1: "A sender MUST NOT allow a flow-control window to exceed 2^31-1 octets."
LARGEST_WINDOW = (1 << 31) - 1

_SMALLEST_FRAME_LIMIT = 1 << 14
_LARGEST_FRAME_LIMIT = (1 << 24) - 1

_PAIR = struct.Struct(">HL")


class InvalidSetting(RemoteProtocolError):
    """A setting has a value that the standard forbids; ``code`` is the error code for it."""

    def __init__(self, message: str, *, rule: str, code: ErrorCode) -> None:
        super().__init__(message, rule=rule)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What this end allows the other.

    ``connection_window_size`` is no setting but goes with them: the octets of content the
    peer may send on all streams together before they are acknowledged. It and
    ``initial_window_size`` (the same for one stream) bound what a connection holds for
    applications that do not read.
    """

    #: Streams that the client may have open at once. RFC 9113 §6.5.2 recommends no fewer than
    #: 100; more only make a flood cheaper.
    max_concurrent_streams: int = 100
    initial_window_size: int = 256 * 1024
    connection_window_size: int = 1024 * 1024
    max_frame_size: int = _SMALLEST_FRAME_LIMIT
    #: Octets of a decoded field section (RFC 9113 §6.5.2: 32 are added for each line).
    max_header_list_size: int = 64 * 1024
    #: RFC 8441 §3: a server tells that it takes extended CONNECT.
    enable_connect_protocol: bool = False

    def __post_init__(self) -> None:
        if self.max_concurrent_streams < 1 or self.max_header_list_size < 1:
            raise LocalProtocolError("a connection needs streams, and streams need fields")
        if self.connection_window_size < 65535:
            raise LocalProtocolError(
                "the connection's window starts at 65535 and cannot shrink", rule="RFC 9113 §6.9.2"
            )
        for code, value in self.pairs(client=False):
            try:
                check(code, value)
            except InvalidSetting as error:
                raise LocalProtocolError(str(error)) from None

    def pairs(self, *, client: bool) -> list[tuple[int, int]]:
        """Return the identifiers and values to send, as a client or as a server."""
        pairs: list[tuple[int, int]] = []
        if client:
            # Nothing here takes pushed responses.
            pairs.append((SettingCode.ENABLE_PUSH, 0))
        else:
            pairs.append((SettingCode.MAX_CONCURRENT_STREAMS, self.max_concurrent_streams))
        pairs.append((SettingCode.INITIAL_WINDOW_SIZE, self.initial_window_size))
        if self.max_frame_size != _SMALLEST_FRAME_LIMIT:
            pairs.append((SettingCode.MAX_FRAME_SIZE, self.max_frame_size))
        pairs.append((SettingCode.MAX_HEADER_LIST_SIZE, self.max_header_list_size))
        if self.enable_connect_protocol and not client:
            pairs.append((SettingCode.ENABLE_CONNECT_PROTOCOL, 1))
        return pairs


@dataclass(slots=True)
class PeerSettings:
    """What the other end allows this one; begins with the standard's initial values."""

    #: A SETTINGS frame has arrived.
    received: bool = False
    enable_connect_protocol: bool = False
    initial_window_size: int = 65535
    #: ``None`` until the peer sets a limit.
    max_concurrent_streams: int | None = None
    max_frame_size: int = _SMALLEST_FRAME_LIMIT
    max_header_list_size: int | None = None


def write(pairs: list[tuple[int, int]]) -> bytes:
    """Return the payload of a SETTINGS frame with ``pairs``."""
    return b"".join(_PAIR.pack(code, value) for code, value in pairs)


def parse(payload: bytes) -> list[tuple[int, int]]:
    """Return identifiers and values of a payload whose length is a multiple of six."""
    return list(_PAIR.iter_unpack(payload))


def check(code: int, value: int) -> None:
    """Raise :class:`InvalidSetting` if ``value`` is forbidden for the setting ``code``."""
    if code == SettingCode.ENABLE_PUSH:
        # RFC 9113 §6.5.2: "Any value other than 0 or 1 MUST be treated as a connection error".
        if value > 1:
            raise _invalid("ENABLE_PUSH", value, "RFC 9113 §6.5.2")
    elif code == SettingCode.INITIAL_WINDOW_SIZE:
        # RFC 9113 §6.5.2: "Values above the maximum flow-control window size of 2^31-1 MUST be
        # treated as a connection error … of type FLOW_CONTROL_ERROR."
        if value > LARGEST_WINDOW:
            raise _invalid(
                "INITIAL_WINDOW_SIZE", value, "RFC 9113 §6.5.2", ErrorCode.FLOW_CONTROL_ERROR
            )
    elif code == SettingCode.MAX_FRAME_SIZE:
        # RFC 9113 §6.5.2: "The value … MUST be between this initial value and the maximum
        # allowed frame size (2^24-1 or 16,777,215 octets), inclusive."
        if not _SMALLEST_FRAME_LIMIT <= value <= _LARGEST_FRAME_LIMIT:
            raise _invalid("MAX_FRAME_SIZE", value, "RFC 9113 §6.5.2")
    elif code == SettingCode.ENABLE_CONNECT_PROTOCOL and value > 1:
        # RFC 8441 §3: "The value of the parameter MUST be 0 or 1."
        raise _invalid("ENABLE_CONNECT_PROTOCOL", value, "RFC 8441 §3")


def _invalid(
    name: str, value: int, rule: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR
) -> InvalidSetting:
    return InvalidSetting(f"the setting {name} cannot be {value}", rule=rule, code=code)
