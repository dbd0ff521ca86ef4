"""How an engine says that the peer broke a rule, and which of the two ends it costs."""

from __future__ import annotations

from switchover.http2.codes import ErrorCode

__all__ = ["ConnectionFault", "StreamFault", "flood", "wrong_size"]


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


def wrong_size(what: str, rule: str) -> ConnectionFault:
    """Return the fault of a frame whose size is not the one its type has."""
    return ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{what} of a wrong size", rule)


def flood(message: str) -> ConnectionFault:
    """Return the fault of a peer that exceeds what :class:`Limits` allow it."""
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, message, "RFC 9113 §10.5", limit=True)
