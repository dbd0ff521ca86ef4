"""How a server refuses an opening handshake: ordinary responses that say what to do.

Each states what was seen, quoted so that it can do no harm, and how to mend it. The
connection stays usable after any of them (RFC 9931 §5).
"""

from __future__ import annotations

from switchover.http.messages import Request, Response
from switchover.websocket.opening.keys import VERSION

__all__ = ["bad_request", "forbidden", "method_not_allowed", "switch_required", "wrong_version"]


def bad_request(text: str) -> Response:
    """400: the handshake departs from its form (RFC 6455 §4.2.1)."""
    return Response.text(400, f"{text}\n")


def missing_version(text: str) -> Response:
    """400 with the version that is spoken, which says more than the status."""
    # RFC 6455 §4.2.2 /version/: "MUST abort the WebSocket handshake … and instead send an
    # appropriate HTTP error code … and a |Sec-WebSocket-Version| header field"
    return Response.text(400, f"{text}\n", [("Sec-WebSocket-Version", VERSION)])


def forbidden(text: str) -> Response:
    """403: this page may not connect (RFC 6455 §4.2.2 /origin/)."""
    # RFC 6455 §4.2.2: "If the origin indicated is unacceptable to the server, then it SHOULD
    # respond to the WebSocket handshake with a reply containing HTTP 403 Forbidden status".
    return Response.text(403, f"{text}.\n")


def method_not_allowed(text: str) -> Response:
    """405: a WebSocket begins with GET (RFC 6455 §4.2.1 item 1)."""
    # RFC 9110 §15.5.6: "The origin server MUST generate an Allow header field in a 405
    # response".
    return Response.text(405, f"{text}\n", [("Allow", "GET")])


def switch_required(request: Request, detail: str) -> Response:
    """426: this resource is a WebSocket and nothing else, and the request did not ask for one.

    ``detail`` says what was missing when the request arrived. Over HTTP/2, where 426 cannot
    carry its Upgrade field, 400.
    """
    if request.version == "2":
        text = f"This resource is a WebSocket. Open it by extended CONNECT (RFC 8441). {detail}"
        return bad_request(text)
    text = (
        "This resource is a WebSocket. Open it with an HTTP/1.1 GET that carries"
        f' "Upgrade: websocket" and "Connection: Upgrade". {detail}\n'
    )
    return Response.text(426, text, _UPGRADE)


def wrong_version(request: Request, text: str) -> Response:
    """426 (400 over HTTP/2): a version that is not spoken, with the one that is."""
    # RFC 6455 §4.2.2 /version/: "an appropriate HTTP error code (such as 426 Upgrade Required)
    # and a |Sec-WebSocket-Version| header field indicating the version(s) the server is
    # capable of understanding".
    if request.version == "2":
        return missing_version(text)
    return Response.text(426, f"{text}\n", _UPGRADE)


# RFC 9110 §15.5.22: "The server MUST send an Upgrade header field in a 426 response"; §7.8:
# "A sender of Upgrade MUST also send an "Upgrade" connection option".
_UPGRADE = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", VERSION),
]
