# cython: nonecheck=True
"""The server's decision on a request: switch, answer as usual, or refuse with a response.

::

    request ── examine ──► offer ── registered, fitting, policy ──► prepare ──► Select
                 │                        │                            └──────► Answer
                 │                        └─ content not allowed ─────────────► Answer 400
                 └── no offer ─┬─ the resource insists ───────────────────────► Answer 426
                               └──────────────────────────────────────────────► Ordinary

An offer of protocols unknown here is never an error: RFC 9110 §7.8, "A server MAY ignore a
received Upgrade header field if it wishes to continue using the current protocol".

This file runs as it stands, and is compiled as ``_decisions_c`` with the C types of
``_decisions_c.pxd``. Choose through ``switchover.upgrade.decisions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.messages import Response
from switchover.http.values import equal, set_once, shown
from switchover.upgrade.offers import NO_UPGRADE, NoOffer, Offer, examine, what_arrived
from switchover.upgrade.registry import Acceptance, Candidate, ContentRule, Registry, Upgrade
from switchover.upgrade.responses import build_switching_response, required_response
from switchover.upgrade.tokens import UpgradeToken

if TYPE_CHECKING:
    from switchover.http.messages import Request

__all__ = ["Answer", "Decision", "Ordinary", "Select", "decide", "switching_response"]


class Select:
    """Switch to ``token``, as ``upgrade`` is registered for it.

    ``acceptance`` is what the token's handshake returned, ``parameters`` those of the path.
    If :attr:`reads_content`, the request's content is to be read first, up to
    ``upgrade.content_limit`` octets; if it turns out to be longer, the offer is declined.
    """

    __match_args__ = ("upgrade", "token", "acceptance", "request", "parameters")
    __slots__ = __match_args__

    upgrade: Upgrade
    token: UpgradeToken
    acceptance: Acceptance
    request: Request
    parameters: Mapping[str, str]

    def __init__(
        self,
        upgrade: Upgrade,
        token: UpgradeToken,
        acceptance: Acceptance,
        request: Request,
        parameters: Mapping[str, str],
    ) -> None:
        self.upgrade = upgrade
        self.token = token
        self.acceptance = acceptance
        self.request = request
        self.parameters = parameters

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds values that can be changed

    def __repr__(self) -> str:
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)

    @property
    def protocol(self) -> str:
        """The selected protocol as text, for the 101 and for ``Switched``."""
        return str(self.token)

    @property
    def reads_content(self) -> bool:
        """Whether there is content that has to be kept for the successor."""
        return self.upgrade.content is ContentRule.READ and self.request.has_content


@dataclass(frozen=True, slots=True)
class Ordinary:
    """Answer the request as if it offered nothing; ``reason`` and ``rule`` are for the log."""

    reason: str
    rule: str = "RFC 9110 §7.8"


@dataclass(frozen=True, slots=True)
class Answer:
    """Send ``response``: the switch is refused, or required."""

    response: Response
    reason: str
    rule: str = ""


Decision = Select | Ordinary | Answer


def decide(
    request: Request,
    registry: Registry,
    *,
    secure: bool,
    peer: Any = None,
    examined: Offer | NoOffer | None = None,
    others_may_know: bool = False,
) -> Decision:
    """Decide what to do with ``request``, whose head has been received and is valid.

    ``secure`` says whether the connection is under TLS; ``peer`` is passed to the policy.
    ``examined`` is what :func:`examine` has said of the request, where that is known. With
    ``others_may_know`` an extended CONNECT for a protocol that is not registered is ordinary,
    and not answered 501: an application may take it.
    Raises :class:`LocalProtocolError` when a policy or a handshake of ours names a protocol
    that was not offered: that is a fault of this server, to be answered with 500.
    """
    if examined is None:
        examined = examine(request)
    if examined is NO_UPGRADE and not registry.required:
        return _PLAIN  # every plain request comes this way
    if isinstance(examined, NoOffer):
        insisting = _insisting(request, registry, secure)
        if insisting:
            return _require(request, insisting, examined.reason, examined.rule)
        if request.protocol is not None:
            return _answer(400, examined.reason, examined.rule)
        return Ordinary(examined.reason, examined.rule)
    candidates, misfit = _candidates(examined, registry, secure)
    if candidates:
        chosen = registry.policy(examined, candidates, request, peer)
        if chosen is not None:
            return _prepare(examined, chosen, candidates)
        misfit = _DECLINED
    if misfit.status:
        return _answer(misfit.status, misfit.reason, misfit.rule)
    insisting = _insisting(request, registry, secure)
    if insisting:
        return _require(request, insisting, misfit.reason, misfit.rule)
    if examined.extended and not (others_may_know and misfit is _UNKNOWN):
        # RFC 9220 §3 (and RFC 8441 by analogy): an unknown :protocol is answered with 501.
        return _answer(501 if misfit is _UNKNOWN else 404, misfit.reason, "RFC 9220 §3")
    return Ordinary(misfit.reason, misfit.rule)


_PLAIN = Ordinary(NO_UPGRADE.reason, NO_UPGRADE.rule)


@dataclass(frozen=True, slots=True)
class _Misfit:
    """Why an offered token was not taken; ``closeness`` finds the most telling reason.

    ``{token}`` in the reason is the token; it is put in if the reason is told.
    """

    reason: str
    rule: str = "RFC 9110 §7.8"
    status: int = 0
    closeness: int = 0

    def of(self, upgrade: Upgrade) -> _Misfit:
        return replace(self, reason=self.reason.replace("{token}", str(upgrade.token)))


_UNKNOWN = _Misfit("no offered protocol is spoken here")
_DECLINED = _Misfit("the selection policy declined the offer", closeness=9)
_EXCLUDED = _Misfit("the resource insists on another protocol", closeness=1)
_ONLY_TLS = _Misfit("{token} is served only under TLS", closeness=1)
_ONLY_CLEARTEXT = _Misfit("{token} is served only in cleartext", closeness=1)
_NOT_HERE = _Misfit("{token} is not served at this path", closeness=2)
_NOT_SO = _Misfit("{token} is not served for this request", closeness=3)
_NOT_EXTENDED = _Misfit("{token} is not served by extended CONNECT", closeness=4)
_TOO_LONG = _Misfit("the request has more content than is read before a switch", closeness=6)


def _insisting(request: Request, registry: Registry, secure: bool) -> list[Upgrade]:
    if not registry.required:
        return []
    return [u for u in registry.required if u.applies(request, secure=secure)]


def _candidates(offer: Offer, registry: Registry, secure: bool) -> tuple[list[Candidate], _Misfit]:
    candidates: list[Candidate] = []
    closest, whose = _UNKNOWN, None
    for upgrade, token, position in registry.matching(offer):
        if _excluded(upgrade, offer.request, registry, secure):
            misfit = _EXCLUDED
        else:
            fit = _fit(offer, upgrade, secure)
            if not isinstance(fit, _Misfit):
                candidates.append(Candidate(upgrade, token, position, fit))
                continue
            misfit = fit
        if misfit.closeness > closest.closeness:
            closest, whose = misfit, upgrade
    if whose is not None and not candidates:
        closest = closest.of(whose)
    return candidates, closest


def _excluded(upgrade: Upgrade, request: Request, registry: Registry, secure: bool) -> bool:
    """Whether the resource insists on something else.

    What answers inside only changes what the request is carried by: it is decided there again,
    and the resource insists there again.
    """
    if upgrade.required or upgrade.answers_inside:
        return False
    return bool(_insisting(request, registry, secure))


def _fit(offer: Offer, upgrade: Upgrade, secure: bool) -> dict[str, str] | _Misfit:
    """Return the path's parameters if the request fits the registration, else the reason."""
    request = offer.request
    wanted = upgrade.secure
    if wanted is not None and wanted is not secure:
        return _ONLY_TLS if wanted else _ONLY_CLEARTEXT
    pattern = upgrade.pattern
    parameters = {} if pattern is None else pattern.match(request.path)
    if parameters is None:
        return _NOT_HERE
    predicate = upgrade.predicate
    if predicate is not None and not predicate(request):
        return _NOT_SO
    if offer.extended:
        if not upgrade.extended_connect:
            return _NOT_EXTENDED
        return parameters
    # RFC 9110 §7.8: "A server MUST NOT switch protocols unless the received message
    # semantics can be honored by the new protocol".
    methods = upgrade.methods
    if methods is not None and request.method not in methods:
        return _Misfit(f"{upgrade.token} does not start from {request.method[:20]}", closeness=5)
    if not request.has_content:
        return parameters
    if upgrade.content is not ContentRule.READ:
        return _content_misfit(upgrade)
    if _too_long(request, upgrade):
        return _TOO_LONG
    return parameters


def _content_misfit(upgrade: Upgrade) -> _Misfit:
    # RFC 9931 §7.1: tokens should be defined on requests without content; the octets of a
    # body that only one side counts are how a switch is made to start at the wrong place.
    return _Misfit(
        f"a request that switches to {upgrade.token} has no content, this one has",
        "RFC 9931 §7.1",
        status=400 if upgrade.content is ContentRule.REFUSE else 0,
        closeness=6,
    )


_MAX_DIGITS = 18  # of a length that is worth converting; int() refuses very long texts


def _too_long(request: Request, upgrade: Upgrade) -> bool:
    length = request.fields.get("content-length")
    if length is None or not (length.isascii() and length.isdecimal()):
        return False  # chunked: the driver counts as it reads
    return len(length) > _MAX_DIGITS or int(length) > upgrade.content_limit


def _prepare(offer: Offer, chosen: Candidate, candidates: list[Candidate]) -> Decision:
    if chosen is not candidates[0] and not any(chosen is candidate for candidate in candidates):
        raise LocalProtocolError(
            "the selection policy returned something that is not a candidate",
            rule="RFC 9110 §7.8",
        )
    upgrade = chosen.upgrade
    try:
        prepared = upgrade.prepare(offer.request, chosen.token)
    except RemoteProtocolError as error:
        return _answer(error.status, str(error), error.rule)
    if isinstance(prepared, Response):
        reason = f"the handshake of {upgrade.token} refused with {prepared.status}"
        return Answer(prepared, reason)
    token = _answered_token(offer, chosen, prepared)
    return Select(upgrade, token, prepared, offer.request, chosen.parameters)


def _answered_token(offer: Offer, chosen: Candidate, acceptance: Acceptance) -> UpgradeToken:
    upgrade, token = chosen.upgrade, chosen.token
    if acceptance.protocol is not None:
        # RFC 9110 §7.8: "A server MUST NOT switch to a protocol that was not indicated by
        # the client in the corresponding request's Upgrade header field."
        if offer.find(acceptance.protocol) is None:
            raise LocalProtocolError(
                f"{acceptance.protocol!r} was not offered", rule="RFC 9110 §7.8"
            )
        return UpgradeToken.parse(acceptance.protocol)
    if upgrade.matcher is not None:
        return token
    if token.version == upgrade.token.version:
        return upgrade.token  # our spelling: names have a preferred letter case
    return UpgradeToken(upgrade.token.name, token.version)


def _require(request: Request, insisting: Sequence[Upgrade], reason: str, rule: str) -> Answer:
    for upgrade in insisting:
        if upgrade.misfit is not None:
            response = upgrade.misfit(request, reason)
            if response is not None:
                return Answer(response, reason, rule)
    allowed = _methods_that_could(request, insisting)
    if allowed:
        response = Response.text(
            405,
            f"This resource switches to another protocol, from {', '.join(allowed)} only.\n",
            fields=[("Allow", ", ".join(allowed))],
        )
        return Answer(response, f"{request.method[:20]} never switches here", "RFC 9110 §15.5.6")
    return Answer(required_response(insisting, what_arrived(request), request), reason, rule)


def _methods_that_could(request: Request, insisting: Iterable[Upgrade]) -> list[str]:
    """Return the methods to list in Allow, none if ``request`` has one that could switch.

    Where the answer comes through the new protocol, the method is the resource's affair and
    not the handshake's: switch first, then any method may be allowed.
    """
    allowed: set[str] = set()
    for upgrade in insisting:
        methods = upgrade.methods
        if upgrade.answers_inside or methods is None or request.method in methods:
            return []
        allowed |= methods
    return [] if request.protocol is not None else sorted(allowed)


def _answer(status: int, reason: str, rule: str) -> Answer:
    text = f"{reason[:1].upper()}{reason[1:]} ({rule}).\n" if rule else f"{reason}\n"
    return Answer(Response.text(status, text), reason, rule)


def switching_response(selection: Select) -> Response:
    """Return the 101 for ``selection`` (the 200 for an extended CONNECT)."""
    return build_switching_response(
        selection.token,
        selection.acceptance.fields,
        selection.upgrade.layers_above,
        selection.request.protocol is not None,
    )
