"""HTTP/2 by the Upgrade of HTTP/1.1 (RFC 7540 §3.2; RFC 9113 §3.1 calls it obsolete).

Off unless it is registered. The mechanism of :mod:`switchover.upgrade` finds the offer; what
stands here is the token's own opening handshake: HTTP2-Settings.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from switchover.errors import RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2.settings import Settings, check, parse, write
from switchover.upgrade.client import offering_request
from switchover.upgrade.registry import Acceptance, ContentRule, Upgrade
from switchover.upgrade.tokens import UpgradeToken

__all__ = [
    "decode_settings",
    "encode_settings",
    "h2c_request",
    "h2c_upgrade",
    "request_on_stream_1",
    "settings_of",
]

#: Octets of content that are read before a switch: nothing is streamed while they are held.
CONTENT_LIMIT = 1024 * 1024

# RFC 7540 §3.2.1:  HTTP2-Settings = token68, the base64url of a SETTINGS payload "with any
# trailing '=' characters omitted". A setting has 6 octets, which are 8 characters: padding
# never occurs, and no value is empty.
_VALUE = re.compile(r"(?:[A-Za-z0-9_-]{8})+")

#: A SETTINGS payload of more settings than this is none (ten are defined).
_MOST_SETTINGS = 32

_LEFT_OUT = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
) | {b"http2-settings", b"expect"}


def encode_settings(settings: Settings) -> str:
    """Return the value of HTTP2-Settings that a client with ``settings`` sends."""
    payload = write(settings.pairs(client=True))
    return base64.urlsafe_b64encode(payload).decode("ascii").rstrip("=")


def decode_settings(value: str) -> list[tuple[int, int]]:
    """Return the identifiers and values in an HTTP2-Settings value.

    Raises :class:`RemoteProtocolError` unless it is strict base64url of at least one setting,
    all of them legal.
    """
    # Not left to base64.urlsafe_b64decode(), which skips what it does not know.
    if not _VALUE.fullmatch(value) or len(value) > 8 * _MOST_SETTINGS:
        raise RemoteProtocolError(
            f"HTTP2-Settings is not the base64url of settings: {show(value)}",
            rule="RFC 7540 §3.2.1",
        )
    pairs = parse(base64.urlsafe_b64decode(value))
    for code, setting in pairs:
        check(code, setting)
    return pairs


def settings_of(request: Request) -> str:
    """Return the HTTP2-Settings of an h2c offer.

    Raises :class:`RemoteProtocolError` unless there is exactly one line, named in Connection,
    with a valid value.
    """
    values = request.fields.get_all("http2-settings")
    # RFC 7540 §3.2.1: "A server MUST NOT upgrade the connection to HTTP/2 if this header field
    # is not present or if more than one is present."
    if len(values) != 1:
        raise RemoteProtocolError(
            f"{len(values)} HTTP2-Settings fields instead of one", rule="RFC 7540 §3.2.1"
        )
    # RFC 7540 §3.2.1: "a sender … MUST also send "HTTP2-Settings" as one of the connection
    # options"; RFC 9110 §7.6.1: else it came through a hop that did not mean it.
    if "http2-settings" not in request.fields.connection_options:
        raise RemoteProtocolError("Connection does not name HTTP2-Settings", rule="RFC 7540 §3.2.1")
    decode_settings(values[0])
    return values[0]


def h2c_upgrade(
    successor: Any = None, *, path: str | None = None, content_limit: int = CONTENT_LIMIT
) -> Upgrade:
    """Return the registration of ``h2c``: any method, in cleartext, content read first.

    An offer without valid HTTP2-Settings, or with more than ``content_limit`` octets of
    content, is an ordinary request. The acceptance's state is the HTTP2-Settings value, for
    :meth:`ServerConnection.from_upgrade
    <switchover.http2.server.ServerConnection.from_upgrade>`.
    """
    return Upgrade(
        token=UpgradeToken.parse("h2c"),
        path=path,
        predicate=_has_valid_settings,
        methods=None,
        content=ContentRule.READ,
        content_limit=content_limit,
        answers_inside=True,
        prepare=_prepare,
        # RFC 7540 §3.2: "h2c" is for cleartext; under TLS, ALPN selects "h2" (§3.3).
        secure=False,
        extended_connect=False,
        successor=successor,
    )


def _has_valid_settings(request: Request) -> bool:
    try:
        settings_of(request)
    except RemoteProtocolError:
        return False
    return True


def _prepare(request: Request, token: UpgradeToken) -> Acceptance | Response:
    return Acceptance(state=settings_of(request))


def h2c_request(request: Request, settings: Settings) -> Request:
    """Return a copy of ``request`` that offers h2c (RFC 7540 §3.2)."""
    fields = request.fields.copy()
    # RFC 7540 §3.2.1: "exactly one"
    fields.set("HTTP2-Settings", encode_settings(settings))
    copy = Request(
        request.method,
        request.target,
        fields,
        request.version,
        request.scheme,
        request.authority,
        request.protocol,
    )
    return offering_request(copy, ["h2c"], options=["HTTP2-Settings"])


def request_on_stream_1(request: Request) -> Request:
    """Return the request that was upgraded as it stands on stream 1.

    Without the fields of the HTTP/1.1 connection, and with its content's framing removed
    where that was chunked; names are in lower case.
    """
    named = {option.encode("latin-1") for option in request.fields.connection_options}
    # A client cannot name away what the request is for, or how long it is.
    left_out = _LEFT_OUT | (named - {b"host", b"content-length", b"cookie"})
    lines = [(name.lower(), value) for name, value in request.fields.raw]
    fields = Fields.from_octets([line for line in lines if line[0] not in left_out])
    target = request.target
    if not target.startswith("/") and target != "*":
        target = request.path + (f"?{request.query}" if request.query else "")
    return Request(request.method, target, fields, "2", request.scheme, request.authority)
