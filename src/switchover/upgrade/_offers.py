# cython: nonecheck=True
"""Is this request an offer to switch? One function answers, and says why not.

The conditions stand in the order in which RFC 9110 §7.8 brings them up; nothing else in
switchover looks at ``Upgrade`` and ``Connection`` of a request to decide this.

This file runs as it stands, and is compiled as ``_offers_c`` with the C types of
``_offers_c.pxd``. Choose through ``switchover.upgrade.offers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from switchover.errors import RemoteProtocolError
from switchover.http.lists import split_list
from switchover.http.values import equal, set_once, shown
from switchover.upgrade.tokens import UpgradeToken, read_member

if TYPE_CHECKING:
    from switchover.http.messages import Request

__all__ = ["MAX_MEMBERS", "NO_UPGRADE", "NoOffer", "Offer", "examine", "offered", "what_arrived"]

#: How many members of ``Upgrade`` are looked at. The server may ignore an offer altogether
#: (§7.8), so it may ignore the end of one; real clients list at most five (CUPS).
MAX_MEMBERS = 64


class Offer:
    """The protocols a request offers, the client's favourite first.

    ``extended`` says that the request is an extended CONNECT (RFC 8441): it names exactly
    one protocol, in ``:protocol``, and is answered with 2xx instead of 101.
    """

    __match_args__ = ("tokens", "request", "extended")
    __slots__ = __match_args__

    tokens: tuple[UpgradeToken, ...]
    request: Request
    extended: bool

    def __init__(
        self, tokens: tuple[UpgradeToken, ...], request: Request, extended: bool = False
    ) -> None:
        self.tokens = tokens
        self.request = request
        self.extended = extended

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds a value that can be changed

    def __repr__(self) -> str:
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)

    def find(self, protocol: str | UpgradeToken) -> UpgradeToken | None:
        """Return the offered token that ``protocol`` matches, or ``None``."""
        wanted = UpgradeToken.parse(protocol)
        for token in self.tokens:
            if token.matches(wanted):
                return token
        return None


@dataclass(frozen=True, slots=True)
class NoOffer:
    """Why a request is not an offer: ``reason`` in words, ``rule`` where it stands."""

    reason: str
    rule: str


#: The answer for every request without the field; compared by identity.
NO_UPGRADE = NoOffer("the request has no Upgrade field", "RFC 9110 §7.8")
_HTTP_1_0 = NoOffer("the request is HTTP/1.0, where Upgrade is ignored", "RFC 9110 §7.8")
_NOT_1_1 = NoOffer("Upgrade does not exist in this version of HTTP", "RFC 9113 §8.2.2")
_NO_OPTION = NoOffer(
    "Upgrade is present, but Connection does not name it: it came through a hop that did not"
    " mean it",
    "RFC 9110 §7.6.1",
)
_NO_TOKEN = NoOffer("Upgrade names no protocol: no member of it is a token", "RFC 9110 §7.8")
_CONNECT = NoOffer("CONNECT asks for a tunnel already", "RFC 9110 §9.3.6")
_BAD_PROTOCOL = NoOffer(":protocol is not an upgrade token", "RFC 8441 §4")


def examine(request: Request) -> Offer | NoOffer:
    """Say whether ``request`` offers to switch protocols, and which ones.

    Never raises for what a peer has sent.
    """
    if request.protocol is not None:
        return _examine_extended_connect(request, request.protocol)
    fields = request.fields
    values = fields.octets("upgrade")
    if not values:
        return NO_UPGRADE
    # RFC 9110 §7.8: "A server MUST ignore an Upgrade header field that is received in an
    # HTTP/1.0 request."
    if request.version != "1.1":
        return _HTTP_1_0 if request.version == "1.0" else _NOT_1_1
    try:
        # RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option"
        # RFC 9110 §7.6.1: without the option the field was not meant for this hop.
        if "upgrade" not in fields.connection_options:
            return _NO_OPTION
        tokens = _read_tokens(values[0] if len(values) == 1 else b", ".join(values))
    except RemoteProtocolError as error:  # more empty members than a list may have
        return NoOffer(str(error), error.rule)
    # RFC 9110 §9.3.6: a 2xx to CONNECT makes a tunnel; a 101 would make something else.
    if request.method == "CONNECT":
        return _CONNECT
    return Offer(tokens, request) if tokens else _NO_TOKEN


def _read_tokens(value: bytes) -> tuple[UpgradeToken, ...]:
    return _read_remembered(value) if len(value) <= _REMEMBERED_LENGTH else _read(value)


def _read(value: bytes) -> tuple[UpgradeToken, ...]:
    members = split_list(value.decode("latin-1"))[:MAX_MEMBERS]
    return tuple([token for member in members if (token := read_member(member))])


# Clients send the same few lists over and over; no peer can fill memory with 64 short ones.
_REMEMBERED_LENGTH = 64
_read_remembered = lru_cache(maxsize=64)(_read)


def _examine_extended_connect(request: Request, protocol: str) -> Offer | NoOffer:
    # RFC 8441 §4: "The :protocol pseudo-header field MUST be … a value from the HTTP Upgrade
    # Token Registry": one protocol, not a list.
    token = read_member(protocol)
    return _BAD_PROTOCOL if token is None else Offer((token,), request, extended=True)


def offered(request: Request) -> Offer | None:
    """Return what ``request`` offers, or ``None`` when it offers nothing."""
    examined = examine(request)
    return examined if isinstance(examined, Offer) else None


def what_arrived(request: Request) -> str:
    """Say, for the person who reads an error body, what was missing when the request came.

    Names the half of the pair that a hop on the way is likely to have removed.
    """
    examined = examine(request)
    if isinstance(examined, Offer):
        names = ", ".join(str(token)[:60] for token in examined.tokens[:8])
        return f"The request offered: {names}."
    if examined is NO_UPGRADE and _names_upgrade(request):
        return (
            "The request arrived with Connection: upgrade but without an Upgrade field"
            " (a proxy on the way may have removed it)."
        )
    reason = examined.reason
    if examined is NO_UPGRADE:
        reason += " (the client did not send it, or a proxy on the way removed it)"
    return f"What arrived: {reason} ({examined.rule})."


def _names_upgrade(request: Request) -> bool:
    try:
        return "upgrade" in request.fields.connection_options
    except RemoteProtocolError:
        return False
