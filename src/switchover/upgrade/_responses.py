# cython: nonecheck=True
"""The responses of the mechanism: 101 (or 200), 426, and advertisements in others.

This file runs as it stands, and is compiled as ``_responses_c`` with the C types of
``_responses_c.pxd``. Choose through ``switchover.upgrade.responses``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.upgrade.offers import NoOffer, Offer, examine
from switchover.upgrade.tokens import UpgradeToken

if TYPE_CHECKING:
    from switchover.http.messages import Request
    from switchover.upgrade.registry import Registry, Upgrade

__all__ = ["advertise", "required_response", "switching_response_to"]

# Written by this module only, or never allowed in a switching response:
# RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a
# status code of 1xx"; RFC 9112 §6.1 says the same of Transfer-Encoding.
_RESERVED = frozenset(
    (b"upgrade", b"connection", b"content-length", b"transfer-encoding", b"trailer")
)


def switching_response_to(
    request: Request,
    protocol: str | UpgradeToken,
    *,
    fields: Fields | None = None,
    layers_above: Sequence[str] = (),
    offer: Offer | NoOffer | None = None,
) -> Response:
    """Return the response that switches ``request`` to ``protocol``.

    That is a 101 with Upgrade and ``Connection: Upgrade``, or a 200 without them for an
    extended CONNECT. ``fields`` are added; ``offer`` is what :func:`examine` has said of the
    request, where that is known. Raises :class:`LocalProtocolError` if the request
    did not offer the protocol, or ``fields`` holds one that is not the caller's to set.
    """
    token = UpgradeToken.parse(protocol)
    if offer is None:
        offer = examine(request)
    # RFC 9110 §7.8: "A server MUST NOT switch to a protocol that was not indicated by the
    # client in the corresponding request's Upgrade header field."
    if isinstance(offer, NoOffer):
        raise LocalProtocolError(f"cannot switch to {token}: {offer.reason}", rule=offer.rule)
    if offer.find(token) is None:
        raise LocalProtocolError(f"{token} was not offered", rule="RFC 9110 §7.8")
    return build_switching_response(token, fields, layers_above, offer.extended)


def build_switching_response(
    token: UpgradeToken, fields: Fields | None, layers_above: Sequence[str], extended: bool
) -> Response:
    """Return the switching response for a token that is known to have been offered."""
    lines, names = ([], []) if fields is None else (fields.raw, fields.names())
    for place, name in enumerate(names):
        if name in _RESERVED:
            given = lines[place][0].decode()
            raise LocalProtocolError(
                f"a switching response is given no {given} field", rule="RFC 9110 §15.2.2"
            )
    if extended:
        return Response(200, Fields.from_octets(list(lines)))
    # RFC 9110 §15.2.2: "The server MUST generate an Upgrade header field in the response that
    # indicates which protocol(s) will be in effect after this response", and §7.8: in
    # layer-ascending order.
    upgrade = str(token) if not layers_above else ", ".join([str(token), *layers_above])
    all_lines = [(b"Upgrade", upgrade.encode("ascii")), _CONNECTION, *lines]
    all_fields = Fields.from_octets(all_lines, [*_SWITCHING_NAMES, *names])
    return Response(101, all_fields, "Switching Protocols")


_CONNECTION = (b"Connection", b"Upgrade")
_SWITCHING_NAMES = [b"upgrade", b"connection"]


def required_response(
    upgrades: Iterable[Upgrade], detail: str = "", request: Request | None = None
) -> Response:
    """Return the 426 of a resource that insists on one of ``upgrades``.

    ``detail`` says what was missing on arrival (:func:`what_arrived`). For a ``request`` in
    HTTP/2, where Upgrade and with it 426 do not exist, the answer is a 400 with that text.
    """
    names = _listed(upgrades)
    text = f"This resource is served only after a switch to: {', '.join(names)}.\n"
    if detail:
        text += f"{detail}\n"
    # RFC 9110 §15.5.22: "The server MUST send an Upgrade header field in a 426 response to
    # indicate the required protocol(s)"; §7.8 orders them by preference.
    if request is not None and request.version not in ("1.0", "1.1"):
        return Response.text(400, text)
    response = Response.text(426, text)
    _add_upgrade(response, names)
    return response


def _listed(upgrades: Iterable[Upgrade]) -> list[str]:
    names: dict[str, None] = {}
    for upgrade in upgrades:
        names.update(dict.fromkeys(upgrade.advertised()))
    return list(names)


def advertise(
    response: Response,
    registry: Registry,
    request: Request | None = None,
    *,
    secure: bool | None = None,
) -> None:
    """Name the registry's advertised protocols in ``response``, an ordinary one.

    Does nothing if there are none, if the response names some already, or if ``request`` is
    given and came by a version of HTTP that has no Upgrade. With ``secure``, whether the
    connection is under TLS, what is not served there is left out (TLS within TLS).
    """
    if not registry.advertised or response.version == "2" or "upgrade" in response.fields:
        return
    if request is None or request.version == "1.1":
        names = _served(registry, secure=secure)
        if names:
            _add_upgrade(response, names)


def _served(registry: Registry, *, secure: bool | None) -> Sequence[str]:
    if secure is None:
        return registry.advertised
    out: set[str] = set()
    for upgrade in registry.upgrades:
        if upgrade.secure is not None and upgrade.secure is not secure:
            named = (UpgradeToken.parse(token) for token in registry.advertised)
            out.update(str(token) for token in named if upgrade.rank(token) is not None)
            out.update(upgrade.layers_above)
    return [token for token in registry.advertised if token not in out]


def _add_upgrade(response: Response, names: Sequence[str]) -> None:
    # RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
    response.fields.set("Upgrade", ", ".join(names))
    options = response.fields.get("connection")
    if options is None:
        response.fields.set("Connection", "Upgrade")
    elif "upgrade" not in response.fields.connection_options:
        response.fields.set("Connection", f"{options}, Upgrade")
