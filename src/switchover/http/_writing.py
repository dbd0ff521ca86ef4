# cython: nonecheck=True
"""Writing heads and chunks; what the caller gave is checked before it goes out.

RFC 9112 §11.1: a field value, reason phrase or target with CR LF in it would let somebody
write a message of their own. ``Fields`` checks its lines when they are put in; the start
lines are checked here.

This file runs as it stands, and is compiled as ``_writing_c`` with the C types of
``_writing_c.pxd``. Choose through ``switchover.http.writing``.
"""

from __future__ import annotations

from collections.abc import Iterable

from switchover.errors import LocalProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.grammar import METHOD, REASON, TARGET
from switchover.http.messages import Request, Response, default_reason

__all__ = ["chunk", "last_chunk", "request_head", "response_head"]

Lines = Iterable[tuple[bytes, bytes]]

# RFC 9110 §2.5: a server sends the version it conforms to, also to an HTTP/1.0 client.
_STATUS_LINES = {
    status: (f"HTTP/1.1 {status} {default_reason(status)}".encode(), default_reason(status))
    for status in range(100, 600)
    if default_reason(status)
}


def _join(start_line: bytes, lines: Lines) -> bytes:
    parts = [start_line]
    for name, value in lines:
        parts.append(b"\r\n")
        parts.append(name)
        parts.append(b": ")
        parts.append(value)
    parts.append(b"\r\n\r\n")
    return b"".join(parts)


def request_head(request: Request, lines: Lines) -> bytes:
    """Return the head of ``request`` with ``lines`` as its header section.

    Raises ``LocalProtocolError`` for a method or target that would not read back as such.
    """
    method = request.method.encode("latin-1", "replace")
    if not METHOD.fullmatch(method):
        raise LocalProtocolError(f"invalid method {show(request.method)}", rule="RFC 9110 §9.1")
    try:
        target = request.target.encode("ascii")
    except UnicodeEncodeError:
        target = b""
    if not TARGET.fullmatch(target):
        raise LocalProtocolError(
            f"invalid request target {show(request.target)}", rule="RFC 9112 §3.2"
        )
    if request.version not in ("1.0", "1.1"):
        raise LocalProtocolError(f"HTTP/{show(request.version)} is not for this connection")
    return _join(method + b" " + target + b" HTTP/" + request.version.encode(), lines)


def response_head(response: Response, lines: Lines) -> bytes:
    """Return the head of ``response`` with ``lines`` as its header section.

    Raises ``LocalProtocolError`` for a status that is none and an invalid reason phrase.
    """
    usual = _STATUS_LINES.get(response.status)
    if usual is not None and response.reason in ("", usual[1]):
        return _join(usual[0], lines)
    return _join(_status_line(response), lines)


def _status_line(response: Response) -> bytes:
    # RFC 9110 §15: "Values outside the range 100..599 are invalid."
    if not 100 <= response.status <= 599:
        raise LocalProtocolError(f"invalid status {response.status}", rule="RFC 9110 §15")
    reason = response.reason.encode("latin-1", "replace")
    if not REASON.fullmatch(reason):
        raise LocalProtocolError(
            f"invalid reason phrase {show(response.reason)}", rule="RFC 9112 §4"
        )
    # RFC 9112 §4: "A server MUST send the space that separates the status-code from the
    # reason-phrase even when the reason-phrase is absent".
    return b"HTTP/1.1 %d %b" % (response.status, reason)


def chunk(data: bytes) -> bytes:
    """Return ``data``, which is not empty, as one chunk (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields | None) -> bytes:
    """Return the end of a chunked body: last chunk and trailer section (RFC 9112 §7.1)."""
    return _join(b"0", trailers.raw) if trailers else b"0\r\n\r\n"
