"""Close codes, and the body of a Close frame (RFC 6455 §5.5.1, §7.4)."""

from __future__ import annotations

from enum import IntEnum

from switchover.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "MAX_REASON",
    "CloseCode",
    "cut_reason",
    "format_close",
    "may_be_sent",
    "parse_close",
]

#: Octets of UTF-8 that fit behind the code in a control frame of 125 octets.
MAX_REASON = 123


class CloseCode(IntEnum):
    """The registered close codes (RFC 6455 §7.4.1 and the IANA registry)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    #: Never sent: a Close frame came without a code.
    NO_STATUS_RECEIVED = 1005
    #: Never sent: the connection ended without a Close frame.
    ABNORMAL_CLOSURE = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    #: Never sent: the TLS handshake failed.
    TLS_HANDSHAKE = 1015


def may_be_sent(code: int) -> bool:
    """Whether ``code`` may stand in a Close frame."""
    # RFC 6455 §7.4.1: 1004 is reserved; 1005, 1006 and 1015 "MUST NOT be set as a status code
    # in a Close control frame by an endpoint". §7.4.2: below 1000 nothing is used, 1016 to 2999
    # are for later revisions of the protocol, 3000 to 4999 for libraries and applications.
    # 1012 to 1014 are in the registry, though not in the RFC.
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def parse_close(body: bytes) -> tuple[int, str]:
    """Return code and reason from the body of a received Close frame; 1005 for no body.

    Raises :class:`RemoteProtocolError` for a body that no endpoint may send.
    """
    if not body:
        # RFC 6455 §7.1.5: "If this Close control frame contains no status code, _The WebSocket
        # Connection Close Code_ is considered to be 1005."
        return CloseCode.NO_STATUS_RECEIVED, ""
    # RFC 6455 §5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte
    # unsigned integer (in network byte order) representing a status code".
    if len(body) == 1:
        raise RemoteProtocolError("a close frame with half a code", rule="RFC 6455 §5.5.1")
    code = int.from_bytes(body[:2], "big")
    if not may_be_sent(code):
        raise RemoteProtocolError(f"close code {code} may not be sent", rule="RFC 6455 §7.4")
    try:
        return code, str(body[2:], "utf-8")
    except UnicodeDecodeError:
        # RFC 6455 §8.1: "the endpoint MUST _Fail the WebSocket Connection_".
        raise RemoteProtocolError(
            "the reason of a close frame is not UTF-8",
            rule="RFC 6455 §8.1",
            close_code=CloseCode.INVALID_PAYLOAD,
        ) from None


def format_close(code: int | None, reason: str = "") -> bytes:
    """Return the body of a Close frame; ``None`` for ``code`` makes an empty one.

    Raises :class:`LocalProtocolError` for a code or reason that may not be sent.
    """
    if code is None:
        if reason:
            raise LocalProtocolError("a reason needs a close code", rule="RFC 6455 §5.5.1")
        return b""
    if not may_be_sent(code):
        raise LocalProtocolError(f"close code {code} may not be sent", rule="RFC 6455 §7.4")
    try:
        encoded = reason.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError("the reason is not text", rule="RFC 6455 §5.5.1") from None
    if len(encoded) > MAX_REASON:
        raise LocalProtocolError(
            f"the reason has {len(encoded)} octets of UTF-8, {MAX_REASON} fit",
            rule="RFC 6455 §5.5",
        )
    return code.to_bytes(2, "big") + encoded


def cut_reason(reason: str) -> str:
    """Return as much of ``reason`` as fits in a Close frame, cut between characters."""
    encoded = reason.encode("utf-8", "replace")
    return str(encoded[:MAX_REASON], "utf-8", "ignore")
