# cython: nonecheck=True
"""What a server can switch to: registrations, their conditions, and the choice among them.

A registration (:class:`Upgrade`) says for one protocol which requests may switch to it and
what its opening handshake is. The mechanism knows no protocol by name; whoever adds one
states here what it needs.

For the author of a new token (RFC 9931 §7): either forbid the client to send anything
before the 101, or let the protocol begin with octets that no HTTP/1.1 parser takes for a
request; and let it start from a GET without content unless it needs the request's content.
The defaults below are the safe ones (``methods`` GET only, ``content`` REFUSE,
no ``preamble``), and registering checks what can be checked.

This file runs as it stands, and is compiled as ``_registry_c`` with the C types of
``_registry_c.pxd``. Choose through ``switchover.upgrade.registry``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.values import equal, set_once, shown
from switchover.upgrade.paths import PathPattern
from switchover.upgrade.tokens import UpgradeToken, is_token

if TYPE_CHECKING:
    from switchover.http.messages import Request, Response
    from switchover.upgrade.offers import Offer

__all__ = [
    "Acceptance",
    "Candidate",
    "ContentRule",
    "Policy",
    "Registry",
    "Upgrade",
    "accept_plainly",
    "check_early_data",
    "client_order",
    "server_order",
]

#: How much content is read before a switch that allows content, unless told otherwise.
#: What is sent along with an upgrade is a command (Docker's exec sends 29 octets).
DEFAULT_CONTENT_LIMIT = 1024 * 1024


class ContentRule(enum.Enum):
    """What becomes of an offer in a request that has content."""

    #: The protocol starts from a request without content: refuse with 400.
    REFUSE = "refuse"
    #: Answer as an ordinary request; the offer counts for nothing.
    DECLINE = "decline"
    #: Read the content as HTTP first, then switch (RFC 9110 §7.8).
    READ = "read"


class Acceptance:
    """The token's own handshake went well.

    ``fields`` go into the 101 (or the 2xx over HTTP/2), beside Upgrade and Connection.
    ``state`` is handed to the successor untouched. ``protocol`` names the offered token to
    answer with, where the handshake decides that; ``None`` leaves it as it was selected.
    """

    __match_args__ = ("fields", "state", "protocol")
    __slots__ = __match_args__

    fields: Fields
    state: Any
    protocol: str | None

    def __init__(
        self, fields: Fields | None = None, state: Any = None, protocol: str | None = None
    ) -> None:
        self.fields = Fields() if fields is None else fields
        self.state = state
        self.protocol = protocol

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds a value that can be changed

    def __repr__(self) -> str:
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)


def accept_plainly(request: Request, token: UpgradeToken) -> Acceptance:
    """Accept without more ado: for tokens that have no opening handshake of their own."""
    return Acceptance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """One protocol a server can switch to, and the requests it is for.

    ``token``
        the protocol, as text or :class:`UpgradeToken`. Matched exactly (version included)
        unless ``versions`` or ``matcher`` says otherwise.
    ``versions``
        the versions that are spoken, the preferred one first; the token is then a bare name.
    ``matcher``
        decides alone whether an offered token is meant, for families like ``name/x.y``.
    ``path``
        ``None`` for any, ``"/chat"``, or a pattern such as ``"/udp/{host}/{port}/"``.
    ``predicate``
        a last condition on the request.
    ``methods``
        the methods that may switch, ``None`` for any (extended CONNECT is not asked).
    ``content``, ``content_limit``
        what becomes of requests with content; at most so many octets are read.
    ``answers_inside``
        the answer to the request comes through the new protocol, first thing.
    ``layers_above``
        protocols that run on top of the new one; they follow it in the 101.
    ``prepare``
        the token's own opening handshake: an :class:`Acceptance`, or the response that
        refuses. May raise :class:`RemoteProtocolError`, which is answered with its status.
    ``required``
        the resource insists: reached without the switch it answers 426 (405 for a method
        that could never switch). Several required registrations of one resource are
        alternatives, and exclude those that are not required.
    ``misfit``
        the answer to give instead of that 426 or 405; gets the request and the reason.
    ``secure``
        ``True`` only under TLS, ``False`` only in cleartext, ``None`` either.
    ``extended_connect``
        may also be reached by extended CONNECT over HTTP/2 (RFC 8441).
    ``preamble``
        the octets every client of this protocol begins with, if it may send them before the
        101. ``None``: it may not. Refused if an HTTP/1.1 parser could go on behind them.
    ``early_data_fatal``
        octets that were received behind the request are an attack: refuse with 400 and close
        instead of switching, and hand nothing over.
    ``successor``
        what the driver makes of the connection; opaque here.
    """

    token: UpgradeToken
    versions: tuple[str, ...] = ()
    matcher: Callable[[UpgradeToken], bool] | None = None
    path: str | None = None
    predicate: Callable[[Request], bool] | None = None
    methods: frozenset[str] | None = frozenset({"GET"})
    content: ContentRule = ContentRule.REFUSE
    content_limit: int = DEFAULT_CONTENT_LIMIT
    answers_inside: bool = False
    layers_above: tuple[str, ...] = ()
    prepare: Callable[[Request, UpgradeToken], Acceptance | Response] = accept_plainly
    required: bool = False
    misfit: Callable[[Request, str], Response | None] | None = None
    secure: bool | None = None
    extended_connect: bool = True
    preamble: bytes | None = None
    early_data_fatal: bool = False
    successor: Any = None
    pattern: PathPattern | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Check what would otherwise fail while a request is being answered."""
        fix = object.__setattr__
        fix(self, "token", UpgradeToken.parse(self.token))
        fix(self, "versions", tuple(self.versions))
        fix(self, "layers_above", tuple(str(UpgradeToken.parse(t)) for t in self.layers_above))
        if self.methods is not None:
            fix(self, "methods", frozenset(self.methods))
        if self.path is not None:
            fix(self, "pattern", PathPattern(self.path))
        self._check()

    def _check(self) -> None:
        if self.versions and (self.matcher is not None or self.token.version is not None):
            raise LocalProtocolError("versions go with a bare token, and without a matcher")
        for version in self.versions:
            UpgradeToken(self.token.name, version)
        for method in self.methods or ():
            if not is_token(method):
                raise LocalProtocolError(f"not a method: {method!r}", rule="RFC 9110 §9.1")
        if self.content_limit < 0:
            raise LocalProtocolError("content_limit is a number of octets, 0 at least")
        if self.preamble is not None and not check_early_data(self.preamble):
            raise LocalProtocolError(
                "the preamble could be read as an HTTP/1.1 request", rule="RFC 9931 §7"
            )

    def rank(self, offered: UpgradeToken) -> int | None:
        """How this registration likes an offered token: 0 is best, ``None`` no match."""
        if self.matcher is not None:
            return 0 if self.matcher(offered) else None
        if not self.versions:
            return 0 if self.token.key == offered.key else None
        if offered.key[0] != self.token.key[0] or offered.version not in self.versions:
            return None
        return self.versions.index(offered.version)

    def advertised(self) -> list[str]:
        """What a 426 or an advertisement lists for this registration."""
        tokens = [f"{self.token.name}/{version}" for version in self.versions]
        return [*(tokens or [str(self.token)]), *self.layers_above]

    def parameters(self, path: str) -> dict[str, str] | None:
        """The path's parameters, decoded; ``None`` if this is not a path of ours."""
        return {} if self.pattern is None else self.pattern.match(path)

    def applies(self, request: Request, *, secure: bool) -> bool:
        """Whether ``request`` is for a resource this registration is about."""
        if self.secure is not None and self.secure is not secure:
            return False
        if self.pattern is not None and self.pattern.match(request.path) is None:
            return False
        return self.predicate is None or self.predicate(request)


class Candidate:
    """One way to take up an offer: a registration and the offered token it matches.

    ``position`` is the token's place in the client's list, ``parameters`` are those of the
    path. Candidates are handed to a policy in the server's order.
    """

    __match_args__ = ("upgrade", "token", "position", "parameters")
    __slots__ = __match_args__

    upgrade: Upgrade
    token: UpgradeToken
    position: int
    parameters: dict[str, str]

    def __init__(
        self, upgrade: Upgrade, token: UpgradeToken, position: int, parameters: dict[str, str]
    ) -> None:
        self.upgrade = upgrade
        self.token = token
        self.position = position
        self.parameters = parameters

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds a dictionary

    def __repr__(self) -> str:
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)


#: Chooses among the candidates: gets the offer, the candidates in the server's order (never
#: empty), the request, and what the driver knows of the peer. ``None`` declines the offer.
Policy = Callable[["Offer", Sequence[Candidate], "Request", Any], Candidate | None]


def server_order(
    offer: Offer, candidates: Sequence[Candidate], request: Request, peer: Any
) -> Candidate | None:
    """Take the protocol that was registered first (the default)."""
    return candidates[0]


def client_order(
    offer: Offer, candidates: Sequence[Candidate], request: Request, peer: Any
) -> Candidate | None:
    """Take the protocol that the client listed first."""
    return min(candidates, key=_position)


def _position(candidate: Candidate) -> int:
    return candidate.position


class Registry:
    """The protocols a server can switch to, in its order of preference."""

    __slots__ = ("_by_name", "_families", "advertised", "policy", "required", "upgrades")

    def __init__(
        self,
        upgrades: Iterable[Upgrade] = (),
        *,
        policy: Policy = server_order,
        advertise: Sequence[str] = (),
    ) -> None:
        """``advertise`` are tokens to name in ordinary responses (RFC 9110 §7.8)."""
        self.upgrades = tuple(upgrades)
        self.policy = policy
        self.advertised = tuple(str(UpgradeToken.parse(token)) for token in advertise)
        self.required = tuple(upgrade for upgrade in self.upgrades if upgrade.required)
        self._families = [(i, u) for i, u in enumerate(self.upgrades) if u.matcher is not None]
        self._by_name: dict[str, list[tuple[int, Upgrade]]] = {}
        for index, upgrade in enumerate(self.upgrades):
            if upgrade.matcher is None:
                self._by_name.setdefault(upgrade.token.key[0], []).append((index, upgrade))

    @property
    def requires_switch(self) -> bool:
        """Whether some resource insists: if not, a request without Upgrade needs no decision."""
        return bool(self.required)

    def matching(self, offer: Offer) -> list[tuple[Upgrade, UpgradeToken, int]]:
        """Return the pairs of registration and offered token, in the server's order.

        Each is a registration, the offered token and the token's place in the offer; whether
        the rest of the request fits is not looked at.
        """
        if len(offer.tokens) == 1 and not self._families:
            # What nearly every offer is like; the registrations are in order already, and at
            # most one version of each matches.
            (token,) = offer.tokens
            named = self._by_name.get(token.key[0], _NOBODY)
            return [(upgrade, token, 0) for _, upgrade in named if upgrade.rank(token) is not None]
        found: list[tuple[int, int, int, Upgrade, UpgradeToken]] = []
        for position, token in enumerate(offer.tokens):
            registered = self._by_name.get(token.key[0], _NOBODY)
            if self._families:
                registered = [*registered, *self._families]
            for index, upgrade in registered:
                rank = upgrade.rank(token)
                if rank is not None:
                    found.append((index, rank, position, upgrade, token))
        if len(found) > 1:
            found.sort(key=_server_order_key)
        return [(upgrade, token, position) for _, _, position, upgrade, token in found]


_NOBODY: list[tuple[int, Upgrade]] = []


def _server_order_key(entry: tuple[int, int, int, Upgrade, UpgradeToken]) -> tuple[int, int, int]:
    return entry[:3]


def check_early_data(preamble: bytes) -> bool:
    """Whether ``preamble`` stops an HTTP/1.1 parser that reads it as a request.

    A protocol whose clients may send before the 101 must begin so (RFC 9931 §7): if the
    server declines, those octets are read as HTTP. ``True`` means that they are safely
    refused, ``False`` that they are, or may be the beginning of, a request line.
    """
    # RFC 9112 §2.2: a server ignores an empty line before the request line.
    line, end, _ = preamble.lstrip(b"\r\n").partition(b"\n")
    # RFC 9112 §3: request-line = method SP request-target SP HTTP-version
    method, *rest = line.removesuffix(b"\r").split(b" ", 2)
    if method and not is_token(method.decode("latin-1")):
        return True
    if len(rest) < 2:
        return bool(end)
    version = rest[1]
    if end:
        return not version.startswith(b"HTTP/1.")
    return not (version.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(version))
