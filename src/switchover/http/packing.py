"""Message heads in one piece of memory, for connections that outlive them by days.

A request of a dozen lines is some thirty objects and two kilobytes; its octets are a few
hundred. Whoever keeps one that is hardly looked at any more packs it.
"""

from __future__ import annotations

from switchover.http.fields import Fields
from switchover.http.messages import Request, Response

__all__ = ["pack_request", "pack_response", "unpack_request", "unpack_response"]

# RFC 9110 §5.5: no field value has one in it, and neither has anything else in a valid head.
_END = b"\n"


def pack_request(request: Request) -> Request | bytes:
    """Return ``request`` as octets for :func:`unpack_request`, or itself if that cannot be."""
    texts = (
        request.method,
        request.target,
        request.version,
        request.scheme,
        request.authority,
        request.protocol or "",
    )
    return _pack("\n".join(texts), 6, request.fields) or request


def unpack_request(packed: bytes) -> Request:
    """Return the request that was packed."""
    method, target, version, scheme, authority, protocol, *rest = packed.split(_END)
    return Request(
        method.decode("latin-1"),
        target.decode("latin-1"),
        _fields(rest),
        version.decode("latin-1"),
        scheme.decode("latin-1"),
        authority.decode("latin-1"),
        protocol.decode("latin-1") or None,
    )


def pack_response(response: Response) -> Response | bytes:
    """Return ``response`` as octets for :func:`unpack_response`, or itself if that cannot be."""
    if response.content:
        return response
    start = f"{response.status}\n{response.reason}\n{response.version}"
    return _pack(start, 3, response.fields) or response


def unpack_response(packed: bytes) -> Response:
    """Return the response that was packed."""
    status, reason, version, *rest = packed.split(_END)
    fields = _fields(rest)
    return Response(int(status), fields, reason.decode("latin-1"), version.decode("latin-1"))


def _pack(start: str, count: int, fields: Fields) -> bytes | None:
    try:
        pieces = [start.encode("latin-1")]
    except UnicodeEncodeError:
        return None
    for line in fields.raw:
        pieces += line
    packed = _END.join(pieces)
    # Text that an application has made may have anything in it.
    return packed if packed.count(_END) == count - 1 + 2 * len(fields.raw) else None


def _fields(pieces: list[bytes]) -> Fields:
    return Fields.from_octets(list(zip(pieces[::2], pieces[1::2], strict=True)))
