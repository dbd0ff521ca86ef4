"""The client's part of the opening handshake (RFC 6455 §4.1; RFC 8441 §5).

Send nothing after the request before :func:`check_response` has returned (§4.1: "the client
MUST wait for a response from the server before sending any further data").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from switchover.errors import (
    HandshakeRejected,
    InvalidHandshake,
    LocalProtocolError,
    RemoteProtocolError,
)
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.uri import URL, parse_url
from switchover.websocket.extensions import ClientExtension, accepted_extensions, offer_field
from switchover.websocket.opening.causes import likely_cause
from switchover.websocket.opening.keys import VERSION, Negotiated, accept_value, new_key
from switchover.websocket.subprotocols import accepted_subprotocol, check_subprotocols

__all__ = ["check_response", "extended_request", "opening_request"]

# What the handshake itself writes, or what would make a message with content of it.
_RESERVED = (
    "host",
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
    "content-length",
    "transfer-encoding",
    "expect",
    "trailer",
    "te",
)

_ExtraFields = Fields | Mapping[str, str] | Iterable[tuple[str, str]]


def opening_request(
    url: URL | str,
    *,
    key: bytes | None = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[ClientExtension] = (),
    origin: str | None = None,
    fields: _ExtraFields = (),
) -> Request:
    """Return the HTTP/1.1 request that asks for a WebSocket at ``url``.

    ``key`` is the nonce, 16 octets, fresh from the operating system unless given. ``origin``
    goes into Origin; ``fields`` are added (Cookie, Authorization …). A url of http or https
    stands for ws or wss at the same place.

    Raises :class:`LocalProtocolError` for anything that may not be sent.
    """
    target = _websocket_url(url)
    # RFC 6455 §4.1 items 1 to 6 and 9, each field exactly once.
    head = Fields(
        [
            ("Host", target.authority),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", new_key(key)),
        ]
    )
    _add_terms(head, subprotocols, extensions, origin, Fields(fields))
    scheme = "https" if target.secure else "http"
    return Request("GET", target.target, head, "1.1", scheme, target.authority)


def extended_request(
    url: URL | str,
    *,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[ClientExtension] = (),
    origin: str | None = None,
    fields: _ExtraFields = (),
) -> Request:
    """Return the extended CONNECT request that asks for a WebSocket over HTTP/2 (RFC 8441 §5).

    Takes and raises what :func:`opening_request` does.
    """
    target = _websocket_url(url)
    head = Fields()
    _add_terms(head, subprotocols, extensions, origin, Fields(fields))
    # RFC 8441 §5: "The scheme of the target URI … MUST be "https" for "wss"-schemed
    # WebSockets and "http" for "ws"-schemed WebSockets."
    scheme = "https" if target.secure else "http"
    return Request("CONNECT", target.target, head, "2", scheme, target.authority, "websocket")


def _websocket_url(url: URL | str) -> URL:
    target = parse_url(url) if isinstance(url, str) else url
    # RFC 6455 §3: ws-URI = "ws:" "//" host [ ":" port ] path [ "?" query ]
    if target.userinfo is not None:
        raise LocalProtocolError(
            f"a WebSocket URL has no user before the host: {show(str(target))}; credentials go"
            " into the Authorization field",
            rule="RFC 6455 §3",
        )
    return target


def _add_terms(
    head: Fields,
    subprotocols: Sequence[str],
    extensions: Sequence[ClientExtension],
    origin: str | None,
    extra: Fields,
) -> None:
    for name in _RESERVED:
        if name in extra:
            raise LocalProtocolError(
                f"{name} is written by the opening handshake itself", rule="RFC 6455 §4.1"
            )
    head.add("Sec-WebSocket-Version", VERSION)
    # RFC 6455 §4.1 item 8; RFC 6454 §7.3: one Origin at most.
    if origin is not None:
        head.add("Origin", origin)
    if len(head.get_all("origin") + extra.get_all("origin")) > 1:
        raise LocalProtocolError("Origin is given twice", rule="RFC 6454 §7.3")
    if subprotocols:
        head.add("Sec-WebSocket-Protocol", ", ".join(check_subprotocols(subprotocols)))
    offer = offer_field(extensions)
    if offer is not None:
        head.add("Sec-WebSocket-Extensions", offer)
    for name, value in extra:
        head.add(name, value)


def check_response(
    request: Request, response: Response, *, extensions: Sequence[ClientExtension] = ()
) -> Negotiated:
    """Judge the answer to an opening request; ``extensions`` are those that it offered.

    Return what was agreed. Raises :class:`~switchover.errors.HandshakeRejected` if the server
    answered with something else than the switch, and
    :class:`~switchover.errors.InvalidHandshake` if it switched, but not as RFC 6455 §4.1
    demands: then nothing may be sent any more, and the connection is to be closed. Both hold
    the request, the whole response, and the likely cause.
    """
    extended = request.protocol is not None
    # RFC 6455 §4.1 check 1: "If the status code received from the server is not 101, the
    # client handles the response per HTTP procedures". RFC 8441 §5: "The successful
    # completion … is indicated by a 2xx".
    if not (200 <= response.status <= 299 if extended else response.status == 101):
        if extended and response.status == 101:
            raise _invalid(request, response, "101 does not exist in HTTP/2", "RFC 9113 §8.6")
        raise HandshakeRejected(
            f"the server answered {response.status} to the opening handshake",
            request=request,
            response=response,
            rule="RFC 6455 §4.1",
            cause=likely_cause(request, response),
        )
    try:
        if not extended:
            _check_switch(response.fields)
            _check_accept(request, response.fields)
        offered = request.fields.members("sec-websocket-protocol")
        return Negotiated(
            accepted_subprotocol(response.fields, offered),
            accepted_extensions(response.fields, extensions),
        )
    except RemoteProtocolError as error:
        raise _invalid(request, response, error.args[0], error.rule) from error


def _invalid(request: Request, response: Response, text: str, rule: str) -> InvalidHandshake:
    return InvalidHandshake(
        text,
        request=request,
        response=response,
        rule=rule,
        cause=likely_cause(request, response),
    )


def _check_switch(fields: Fields) -> None:
    # RFC 6455 §4.1 check 2: "If the response lacks an |Upgrade| header field or the |Upgrade|
    # header field contains a value that is not an ASCII case-insensitive match for the value
    # "websocket", the client MUST _Fail the WebSocket Connection_." A list does not match.
    upgrade = fields.get("upgrade")
    if upgrade is None or not upgrade.isascii() or upgrade.lower() != "websocket":
        seen = "no Upgrade field" if upgrade is None else f"Upgrade: {show(upgrade)}"
        raise RemoteProtocolError(f"101 with {seen} instead of websocket", rule="RFC 6455 §4.1")
    # Check 3: the same for Connection, of which "Upgrade" has to be one option.
    if "upgrade" not in fields.connection_options:
        connection = fields.get("connection")
        seen = "no Connection field" if connection is None else f"Connection: {show(connection)}"
        raise RemoteProtocolError(
            f"101 with {seen}, which does not name Upgrade", rule="RFC 6455 §4.1"
        )


def _check_accept(request: Request, fields: Fields) -> None:
    # RFC 6455 §4.1 check 4: "If the response lacks a |Sec-WebSocket-Accept| header field or
    # the |Sec-WebSocket-Accept| contains a value other than the base64-encoded SHA-1 of the
    # concatenation of the |Sec-WebSocket-Key| … with the string "258EAFA5-…" but ignoring any
    # leading and trailing whitespace, the client MUST _Fail the WebSocket Connection_."
    values = fields.get_all("sec-websocket-accept")
    if len(values) != 1:
        found = f"came {len(values)} times" if values else "is missing"
        raise RemoteProtocolError(
            f"Sec-WebSocket-Accept {found} in the 101", rule="RFC 6455 §4.1, §11.3.3"
        )
    wanted = accept_value(request.fields["sec-websocket-key"].encode("latin-1")).decode()
    if values[0].strip(" \t") != wanted:
        raise RemoteProtocolError(
            f"Sec-WebSocket-Accept is {show(values[0])}, and {show(wanted)} answers the key",
            rule="RFC 6455 §4.1",
        )
