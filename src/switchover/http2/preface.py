"""The client's connection preface, and how to tell it from HTTP/1.1 (RFC 9113 §3.4)."""

from __future__ import annotations

import enum

__all__ = ["PREFACE", "PrefaceMatch", "match_prefix"]

#: RFC 9113 §3.4: the octets that a client sends first. As an HTTP/1.1 request line they name
#: a method and a version that no HTTP/1.1 server takes.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class PrefaceMatch(enum.Enum):
    """Whether the first octets of a connection are the preface."""

    YES = "yes"
    NO = "no"
    NEED_MORE = "need more"


def match_prefix(data: bytes | bytearray | memoryview) -> PrefaceMatch:
    """Compare ``data``, all that a connection has brought so far, with the preface.

    Octets behind the preface do not matter. Works on reads of any size, single octets and
    none at all included.
    """
    start = bytes(data[: len(PREFACE)])
    if start == PREFACE:
        return PrefaceMatch.YES
    return PrefaceMatch.NEED_MORE if PREFACE.startswith(start) else PrefaceMatch.NO
