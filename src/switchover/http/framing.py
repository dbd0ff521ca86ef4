"""Where a message ends, and whether the connection outlives it (RFC 9112 §6.3, §9.3)."""

from __future__ import annotations

from switchover.errors import RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.grammar import CONTENT_LENGTH, TOKEN
from switchover.http.head import HeadParser

__all__ = [
    "CHUNKED",
    "UNTIL_CLOSE",
    "drop_named_fields",
    "parse_content_length",
    "persists",
    "request_length",
    "response_length",
]

CHUNKED = -1
"""Length of content that is framed by the chunked coding."""

UNTIL_CLOSE = -2
"""Length of response content that ends with the connection."""

# RFC 9110 §16.6.1 registry, with the ones of old. Only chunked is undone here.
_KNOWN_CODINGS = frozenset(
    ("chunked", "compress", "deflate", "gzip", "identity", "x-compress", "x-gzip")
)


def persists(version: str, options: frozenset[str]) -> bool:
    """Whether a message lets the connection go on after it."""
    # RFC 9112 §9.3: close option → ends; HTTP/1.1 → persists; HTTP/1.0 → only with keep-alive.
    if "close" in options:
        return False
    return version != "1.0" or "keep-alive" in options


def drop_named_fields(fields: Fields, options: frozenset[str]) -> None:
    """Take out of an HTTP/1.0 message what its Connection field names.

    RFC 2616 §14.10: "A system receiving an HTTP/1.0 (or lower-version) message that
    includes a Connection header MUST, for each connection-token in this field, remove and
    ignore any header field(s) from the message with the same name as the connection-token."
    """
    # Framing and routing have been decided by then: a sender cannot name these away.
    for option in options - {"connection", "content-length", "transfer-encoding", "host"}:
        fields.remove(option)


def request_length(head: HeadParser) -> int:
    """Return the length of a request's content: octets, or ``CHUNKED``.

    Raises ``RemoteProtocolError`` for framing that has two readings, or none.
    """
    if head.transfer_encoding is None:
        return 0 if head.content_length is None else parse_content_length(head.content_length)
    _check_coexistence(head, 400)
    _check_codings(head.transfer_encoding, 400)
    return CHUNKED


def response_length(head: HeadParser, method: str) -> int:
    """Return the length of the content of a final response to a ``method`` request.

    Octets, ``CHUNKED`` or ``UNTIL_CLOSE``. Raises ``RemoteProtocolError`` as above.
    """
    # RFC 9112 §6.3: "Any response to a HEAD request and any response with a 1xx
    # (Informational), 204 (No Content), or 304 (Not Modified) status code is always
    # terminated by the first empty line after the header fields".
    if method == "HEAD" or head.status in (204, 304):
        return 0
    if head.transfer_encoding is not None:
        _check_coexistence(head, 502)
        _check_codings(head.transfer_encoding, 502)
        return CHUNKED
    if head.content_length is not None:
        return parse_content_length(_collapsed(head.content_length), status=502)
    return UNTIL_CLOSE


def parse_content_length(value: bytes, *, status: int = 400) -> int:
    """Read a Content-Length of digits only; raise ``RemoteProtocolError`` for anything else."""
    # RFC 9112 §6.3: "If a message is received without Transfer-Encoding and with an invalid
    # Content-Length header field, then the message framing is invalid and the recipient MUST
    # treat it as an unrecoverable error". Not int(): that takes signs, "_" and more.
    if not CONTENT_LENGTH.fullmatch(value):
        raise RemoteProtocolError(
            f"invalid Content-Length {show(value)}", rule="RFC 9112 §6.3", status=status
        )
    return int(value)


def _collapsed(value: bytes) -> bytes:
    # RFC 9112 §6.3 lets a recipient take a list whose "values … are all valid decimal numbers
    # and equal" as one. We do for responses; a request that repeats itself is refused.
    first, comma, _ = value.partition(b",")
    if comma and {member.strip(b" \t") for member in value.split(b",")} == {first}:
        return first
    return value


def _check_coexistence(head: HeadParser, status: int) -> None:
    # RFC 9112 §6.1: "A server MAY reject a request that contains both Content-Length and
    # Transfer-Encoding". We always do: "such a message might indicate an attempt to perform
    # request smuggling … or response splitting" (§6.3).
    if head.content_length is not None:
        raise RemoteProtocolError(
            "both Content-Length and Transfer-Encoding", rule="RFC 9112 §6.1", status=status
        )
    # RFC 9112 §6.1: "A server or client that receives an HTTP/1.0 message containing a
    # Transfer-Encoding header field MUST treat the message as if the framing is faulty".
    if head.version == "1.0":
        raise RemoteProtocolError(
            "Transfer-Encoding in an HTTP/1.0 message", rule="RFC 9112 §6.1", status=status
        )


def _check_codings(value: bytes, status: int) -> None:
    codings = [member.strip(b" \t").lower() for member in value.split(b",")]
    if codings == [b"chunked"]:
        return
    if not all(TOKEN.fullmatch(coding) for coding in codings):
        raise RemoteProtocolError(
            f"malformed Transfer-Encoding {show(value)}", rule="RFC 9112 §6.1", status=status
        )
    chunked_last_and_once = codings[-1] == b"chunked" and codings.count(b"chunked") == 1
    unknown = any(coding.decode("latin-1") not in _KNOWN_CODINGS for coding in codings)
    if unknown or chunked_last_and_once:
        # RFC 9112 §6.1: "A server that receives a request message with a transfer coding it
        # does not understand SHOULD respond with 501 (Not Implemented)."
        raise RemoteProtocolError(
            f"unsupported Transfer-Encoding {show(value)}",
            rule="RFC 9112 §6.1",
            status=501 if status == 400 else status,
        )
    # RFC 9112 §6.3: "If a Transfer-Encoding header field is present in a request and the
    # chunked transfer coding is not the final encoding, the message body length cannot be
    # determined reliably; the server MUST respond with the 400 (Bad Request) status code
    # and then close the connection."
    raise RemoteProtocolError(
        f"Transfer-Encoding {show(value)} does not end with one chunked",
        rule="RFC 9112 §6.3",
        status=status,
    )
