# cython: nonecheck=True
"""The server's part of the opening handshake (RFC 6455 §4.2; RFC 8441 §5): a checklist.

This file runs as it stands, and is compiled as ``_server_c`` with the C types of
``_server_c.pxd``. Choose through ``switchover.websocket.opening.server``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from switchover.errors import RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.offers import NoOffer, examine, what_arrived
from switchover.upgrade.registry import Acceptance
from switchover.upgrade.tokens import UpgradeToken
from switchover.websocket.extensions import FIELD as _EXTENSIONS
from switchover.websocket.extensions import ServerExtension, negotiate, parse_extensions
from switchover.websocket.opening.keys import VERSION, Negotiated, accept_value
from switchover.websocket.opening.refusals import (
    bad_request,
    forbidden,
    method_not_allowed,
    missing_version,
    switch_required,
    wrong_version,
)
from switchover.websocket.origins import SAME_ORIGIN, OriginPolicy, origin_policy
from switchover.websocket.subprotocols import FIELD as _SUBPROTOCOL
from switchover.websocket.subprotocols import (
    SubprotocolChoice,
    check_subprotocols,
    choose_subprotocol,
    offered_subprotocols,
)

__all__ = ["ServerOpening", "accept"]

_WEBSOCKET = UpgradeToken("websocket")
_VERSION = VERSION.encode()

# RFC 6455 §4.2.1 item 5: "A |Sec-WebSocket-Key| header field with a base64-encoded … value
# that, when decoded, is 16 bytes in length." Two of the last character's bits stand for
# nothing, and the RFC's own sample has one of them set: they are not looked at.
_KEY_OCTETS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _is_key(key: bytes) -> bool:
    if len(key) != 24 or not key.endswith(b"=="):
        return False
    return key.translate(None, _KEY_OCTETS) == b"=="


class ServerOpening:
    """How a server answers opening handshakes; made once, used for every request.

    ``subprotocols``
        the server's list in its order of preference, or a function that picks from the
        client's list; ``None``: no subprotocol.
    ``origins``
        which web pages may connect: a policy of :mod:`switchover.websocket.origins`, or a
        list of origins. The server's own pages only, by default.
    ``extensions``
        the extensions it is willing to use.
    """

    __slots__ = ("_extensions", "_origins", "_subprotocols")

    def __init__(
        self,
        *,
        subprotocols: SubprotocolChoice = None,
        origins: OriginPolicy | Iterable[str] = SAME_ORIGIN,
        extensions: Sequence[ServerExtension] = (),
    ) -> None:
        """Raise :class:`LocalProtocolError` for settings that could never go on the wire."""
        if not (subprotocols is None or callable(subprotocols)):
            subprotocols = check_subprotocols(subprotocols)
        self._subprotocols = subprotocols
        self._origins = origin_policy(origins)
        self._extensions = tuple(extensions)

    def accept(self, request: Request) -> Acceptance | Response:
        """Answer ``request``, of which nothing has been checked but that it is HTTP.

        Return what goes into the 101 (or the 2xx to an extended CONNECT), with a
        :class:`~switchover.websocket.opening.Negotiated` as its ``state``; or the response
        that refuses. Raises :class:`LocalProtocolError` only for a fault of the caller's
        own functions.
        """
        refusal = _check_method(request) or _check_offer(request) or _check_content(request)
        return refusal or self.prepare(request)

    def prepare(self, request: Request, token: UpgradeToken = _WEBSOCKET) -> Acceptance | Response:
        """Answer ``request`` like :meth:`accept`, when it is known to offer a WebSocket.

        This is the ``prepare`` of a registration: there, ``switchover.upgrade`` has looked at
        the method, the offer and the content already.
        """
        fields = request.fields
        # RFC 6455 §4.2.1 item 6: "A |Sec-WebSocket-Version| header field, with a value of 13."
        versions = fields.octets("sec-websocket-version")
        if len(versions) != 1 or versions[0] != _VERSION:
            return _refuse_version(request)
        refusal = self._check_origin(request)
        if refusal is not None:
            return refusal
        lines: list[tuple[bytes, bytes]] = []
        # RFC 8441 §5: the key and its answer "are not used", since a client cannot be made to
        # send an extended CONNECT by mistake.
        if request.protocol is None:
            keys = fields.octets("sec-websocket-key")
            if len(keys) != 1 or not _is_key(keys[0]):
                return _refuse_key(fields.get_all("sec-websocket-key"))
            lines.append((b"Sec-WebSocket-Accept", accept_value(keys[0])))
        try:
            negotiated = self._negotiate(fields, lines)
        except RemoteProtocolError as error:
            return bad_request(f"{error}.")
        return Acceptance(Fields.from_octets(lines), negotiated)

    def misfit(self, request: Request, reason: str) -> Response | None:
        """Answer a request that reached this resource and could not become a WebSocket.

        This is the ``misfit`` of a registration that is ``required``.
        """
        return (
            _check_method(request)
            or _check_offer(request)
            or _check_content(request)
            or switch_required(request, f"It cannot be opened so: {reason}.")
        )

    def _check_origin(self, request: Request) -> Response | None:
        origins = request.fields.octets("origin")
        # RFC 6454 §7.3: "the user agent MUST NOT include more than one Origin header field".
        if len(origins) > 1:
            return bad_request(f"Origin came {len(origins)} times; it has to come once.")
        origin = origins[0].decode("latin-1") if origins else None
        reason = self._origins(request, origin)
        return None if reason is None else forbidden(reason)

    def _negotiate(self, fields: Fields, lines: list[tuple[bytes, bytes]]) -> Negotiated:
        none_offered = not fields.octets(_EXTENSIONS) and not fields.octets(_SUBPROTOCOL)
        if none_offered and self._subprotocols is None:
            return _PLAIN
        offered = offered_subprotocols(fields)
        offers = parse_extensions(fields)
        subprotocol = choose_subprotocol(offered, self._subprotocols)
        if subprotocol is not None:
            lines.append((b"Sec-WebSocket-Protocol", subprotocol.encode()))
        extensions, answer = negotiate(offers, self._extensions)
        if answer is not None:
            # RFC 6455 §11.3.2: the field "MUST NOT appear more than once in an HTTP response".
            lines.append((b"Sec-WebSocket-Extensions", answer.encode()))
        return Negotiated(subprotocol, extensions)


_PLAIN = Negotiated()  # nothing but the protocol itself; it cannot be changed


def accept(
    request: Request,
    *,
    subprotocols: SubprotocolChoice = None,
    origins: OriginPolicy | Iterable[str] = SAME_ORIGIN,
    extensions: Sequence[ServerExtension] = (),
) -> Acceptance | Response:
    """Answer one opening handshake; see :class:`ServerOpening` for the settings.

    Return what goes into the 101, or the response that refuses.
    """
    opening = ServerOpening(subprotocols=subprotocols, origins=origins, extensions=extensions)
    return opening.accept(request)


def _check_method(request: Request) -> Response | None:
    if request.protocol is not None or request.method == "GET":
        return None
    # RFC 6455 §4.2.1 item 1: "An HTTP/1.1 or higher GET request"
    return method_not_allowed(f"A WebSocket begins with GET, not with {show(request.method)}.")


def _check_offer(request: Request) -> Response | None:
    examined = examine(request)
    # RFC 6455 §4.2.1 items 3 and 4: Upgrade "containing the value "websocket", treated as an
    # ASCII case-insensitive value", and Connection with "the token "Upgrade"".
    if not isinstance(examined, NoOffer) and examined.find(_WEBSOCKET) is not None:
        return None
    if request.protocol is not None:
        # RFC 9220 §3: "If a server receives an extended CONNECT request with a :protocol value
        # that is unknown or is not supported, the server SHOULD respond … with a 501".
        return Response.text(501, f":protocol is {show(request.protocol)}, not websocket.\n")
    return switch_required(request, what_arrived(request))


def _check_content(request: Request) -> Response | None:
    # RFC 9931 §7.1: octets that one side reads as content and the other as frames are how
    # requests are smuggled. An extended CONNECT has no content: its data are the frames.
    if request.protocol is not None or not request.has_content:
        return None
    return bad_request("The request that opens a WebSocket has no content; this one has.")


def _refuse_version(request: Request) -> Response:
    versions = request.fields.get_all("sec-websocket-version")
    if len(versions) == 1:
        text = f"Sec-WebSocket-Version is {show(versions[0])}; this server speaks {VERSION}."
        return wrong_version(request, text)
    found = f"came {len(versions)} times" if versions else "is missing"
    return missing_version(f"Sec-WebSocket-Version {found}; it has to come once, as {VERSION}.")


def _refuse_key(keys: list[str]) -> Response:
    if len(keys) == 1:
        seen = f"is {show(keys[0])}"
    else:
        seen = f"came {len(keys)} times" if keys else "is missing"
    return bad_request(
        f"Sec-WebSocket-Key {seen}; it has to come once, as 16 octets in base64 (24 characters)."
    )
