"""The client's side: ask, check the 101, react to 426, and ask again.

All of it is values in, values out; the connection is the driver's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.uri import URL, parse_url
from switchover.upgrade.tokens import UpgradeToken, is_token, read_member

__all__ = [
    "GiveUp",
    "Retry",
    "TunnelFirst",
    "UpgradeReaction",
    "fresh_request",
    "may_repeat_unanswered",
    "offered_tokens",
    "offering_request",
    "redirected",
    "verify",
]

#: Fields that hold secrets for one origin: not sent to another (RFC 9110 §15.4).
CREDENTIALS = ("authorization", "cookie", "proxy-authorization")


def offering_request(
    request: Request, tokens: Sequence[str | UpgradeToken], *, options: Sequence[str] = ()
) -> Request:
    """Return a copy of ``request`` that offers ``tokens``, the preferred one first.

    ``options`` are the names of the other connection-specific fields of this handshake; they
    are listed in Connection too. The copy keeps the connection options ``request`` has.
    Raises :class:`LocalProtocolError` if a token is malformed, there is none, or the request
    cannot carry an offer; nothing has been sent then.
    """
    # RFC 9110 §7.8: "A client MAY send a list of protocol names in the Upgrade header field
    # of a request … in order of descending preference".
    if isinstance(tokens, str):
        raise LocalProtocolError("tokens is a list of upgrade tokens", rule="RFC 9110 §7.8")
    names = [str(UpgradeToken.parse(token)) for token in tokens]
    if not names:
        raise LocalProtocolError("an offer names one protocol at least", rule="RFC 9110 §7.8")
    _check_can_offer(request)
    fields = request.fields.copy()
    fields.set("Upgrade", ", ".join(names))
    fields.set("Connection", ", ".join(_connection_options(request.fields, options)))
    return _with_fields(request, fields)


def _check_can_offer(request: Request) -> None:
    # RFC 9110 §7.8 (HTTP/1.0), RFC 9113 §8.2.2 (HTTP/2).
    if request.version != "1.1":
        raise LocalProtocolError(
            f"a request in HTTP/{request.version} cannot offer an upgrade", rule="RFC 9110 §7.8"
        )
    if request.method == "CONNECT":
        raise LocalProtocolError("CONNECT asks for a tunnel already", rule="RFC 9110 §9.3.6")
    if "upgrade" in request.fields:
        raise LocalProtocolError("the request has an Upgrade field already")


def _connection_options(fields: Fields, options: Sequence[str]) -> list[str]:
    for option in options:
        if not is_token(option):
            raise LocalProtocolError(f"not a field name: {option!r}", rule="RFC 9110 §7.6.1")
    wanted = ["Upgrade", *options, *fields.members("connection")]
    by_name: dict[str, str] = {}
    for option in wanted:
        by_name.setdefault(option.lower(), option)
    return list(by_name.values())


def offered_tokens(request: Request) -> tuple[UpgradeToken, ...]:
    """Return what ``request``, one of ours, offers: by Upgrade, or by ``:protocol``."""
    if request.protocol is not None:
        return (UpgradeToken.parse(request.protocol),)
    return tuple(UpgradeToken.parse(member) for member in request.fields.members("upgrade"))


def verify(
    request: Request,
    response: Response,
    *,
    layers: Sequence[str] = (),
    tolerate_missing_option: bool = False,
    tolerate_version_list: bool = False,
) -> str:
    """Return the protocol that ``response`` switches to, as ``request`` offered it.

    ``layers`` are protocols that may follow on top of the selected one although they were
    not offered (``HTTP/1.1`` above TLS: RFC 2817 §3.3). The other two accept what CUPS
    servers send and should be set for TLS only, where the handshake that follows proves
    itself: ``tolerate_missing_option`` a 101 whose Connection does not name Upgrade, and
    ``tolerate_version_list`` one that lists several offered versions of one protocol.

    Raises :class:`RemoteProtocolError` if this is not a switch to one offered protocol: the
    connection is to be closed, for the two ends disagree on what it carries.
    """
    if request.protocol is not None:
        return _verify_extended_connect(request, response)
    _verify_status(request, response)
    fields = response.fields
    if not tolerate_missing_option and "upgrade" not in fields.connection_options:
        raise RemoteProtocolError(
            "the 101 has no connection option 'upgrade'", rule="RFC 9110 §7.8"
        )
    members = fields.members("upgrade")
    if not members:
        raise RemoteProtocolError(
            "the 101 does not say which protocol follows", rule="RFC 9110 §15.2.2"
        )
    return _select(members, offered_tokens(request), layers, version_list=tolerate_version_list)


def _verify_status(request: Request, response: Response) -> None:
    if response.status != 101:
        raise RemoteProtocolError(
            f"status {response.status} switches nothing", rule="RFC 9110 §7.8"
        )
    # RFC 9110 §15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client", and
    # HTTP/1.0 has none.
    if response.version != "1.1" or request.version != "1.1":
        raise RemoteProtocolError(
            "a 101 exists only in HTTP/1.1, in answer to HTTP/1.1", rule="RFC 9110 §15.2"
        )
    if "upgrade" not in request.fields:
        raise RemoteProtocolError("a 101 that nobody asked for", rule="RFC 9110 §7.8")


def _verify_extended_connect(request: Request, response: Response) -> str:
    # RFC 8441 §5: 2xx takes the place of 101.
    if not 200 <= response.status < 300:
        raise RemoteProtocolError(
            f"status {response.status} opens no {request.protocol}", rule="RFC 8441 §5"
        )
    return str(offered_tokens(request)[0])


def _select(
    members: Sequence[str],
    offer: Sequence[UpgradeToken],
    layers: Sequence[str],
    *,
    version_list: bool,
) -> str:
    selected = _offered(members[0], offer)
    if selected is None:
        raise RemoteProtocolError(
            f"the 101 names {members[0][:60]!r}, which was not offered", rule="RFC 9110 §7.8"
        )
    above = [UpgradeToken.parse(layer) for layer in layers]
    for member in members[1:]:
        token = read_member(member)
        if token is not None and any(token.matches(layer) for layer in above):
            continue
        other = _offered(member, offer)
        if version_list and other is not None and other.key[0] == selected.key[0]:
            continue
        raise RemoteProtocolError(
            f"the 101 names {member[:60]!r} beside {selected}: which of them follows?",
            rule="RFC 9110 §7.8",
        )
    return str(selected)


def _offered(member: str, offer: Sequence[UpgradeToken]) -> UpgradeToken | None:
    token = read_member(member)
    if token is None:
        return None
    return next((candidate for candidate in offer if candidate.matches(token)), None)


@dataclass(frozen=True, slots=True)
class Retry:
    """Send the request anew, offering ``tokens`` (RFC 9110 §15.5.22)."""

    tokens: tuple[UpgradeToken, ...]


@dataclass(frozen=True, slots=True)
class TunnelFirst:
    """Ask the proxy for a tunnel (CONNECT), then offer again inside it: RFC 2817 §5.1."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Hand the 426 to the caller; ``reason`` says why nothing else was tried."""

    reason: str
    rule: str = "RFC 9110 §15.5.22"


@dataclass(frozen=True, slots=True)
class UpgradeReaction:
    """What to do about a 426.

    ``acceptable`` are the protocols the client is ready to switch to, or a function that
    says of a listed one whether it is. At most ``max_retries`` new requests are made for one
    request of the caller, so two ends that cannot agree do not go round in circles.
    """

    acceptable: Sequence[str | UpgradeToken] | Callable[[UpgradeToken], bool] = ()
    max_retries: int = 1

    def __post_init__(self) -> None:
        """Raise :class:`LocalProtocolError` for a token that could not be offered."""
        if not callable(self.acceptable):
            tokens = tuple(UpgradeToken.parse(token) for token in self.acceptable)
            object.__setattr__(self, "acceptable", tokens)

    def react(
        self, request: Request, response: Response, *, attempt: int, through_proxy: bool = False
    ) -> Retry | TunnelFirst | GiveUp:
        """Say what to do after ``response``, a 426 to ``request``.

        ``attempt`` counts the retries made so far. ``through_proxy`` says that the request
        went through a forward proxy without a tunnel. The protocol itself never starts
        behind a 426: it is asked for again, in a new request.
        """
        if response.status != 426:
            raise LocalProtocolError(f"status {response.status} is not 426")
        if attempt >= self.max_retries:
            return GiveUp(f"the server still insists after {attempt} retries")
        listed = [t for m in response.fields.members("upgrade") if (t := read_member(m))]
        # RFC 2817 §5.1: Upgrade is hop-by-hop, a proxy may have removed it both ways.
        if not listed:
            return _stripped(_NO_LIST, through_proxy=through_proxy)
        usable = self._usable(listed)
        if not usable:
            names = ", ".join(str(token)[:60] for token in listed[:8])
            return GiveUp(f"the server wants {names}, which this client does not accept")
        if all(token in offered_tokens(request) for token in usable):
            return _stripped(_NOT_REACHED, through_proxy=through_proxy)
        return Retry(usable)

    def _usable(self, listed: Sequence[UpgradeToken]) -> tuple[UpgradeToken, ...]:
        """Those of ``listed`` that are acceptable, in the server's order of preference."""
        accept = self.acceptable
        if callable(accept):
            return tuple(token for token in listed if accept(token))
        return tuple(token for token in listed if token in accept)


_NO_LIST = (
    "the 426 names no protocol: a proxy on the way has removed its Upgrade field, or the"
    " server forgot it"
)
_NOT_REACHED = "the server asks for what was offered: a hop on the way has removed the offer"


def _stripped(reason: str, *, through_proxy: bool) -> TunnelFirst | GiveUp:
    return TunnelFirst(reason) if through_proxy else GiveUp(reason)


def fresh_request(
    request: Request,
    *,
    same_origin: bool = True,
    drop: Collection[str] = (),
) -> Request:
    """Return ``request`` as it was before it offered anything, for a new handshake.

    Upgrade, Connection and the fields Connection names are gone, as are those in ``drop``
    (nonces and whatever else belongs to one attempt); without ``same_origin`` so are
    credentials and Host. Offer again with :func:`offering_request`.
    """
    gone = {"upgrade", "connection", *request.fields.connection_options}
    gone.update(name.lower() for name in drop)
    if not same_origin:
        gone.update(CREDENTIALS)
        gone.add("host")
    kept = [(name, value) for name, value in request.fields if name.lower() not in gone]
    return _with_fields(request, Fields(kept))


def redirected(
    request: Request, response: Response, *, url: str, drop: Collection[str] = ()
) -> tuple[str, Request, bool]:
    """Follow the redirect ``response`` gave to ``request``, which was for ``url``.

    Returns the new URL, the new request (without an offer: see :func:`fresh_request`) and
    whether the content is to be sent again. Raises :class:`RemoteProtocolError` if this is
    not a redirect that can be followed.
    """
    location = response.fields.get_all("location")
    if response.status not in (301, 302, 303, 307, 308) or len(location) != 1:
        raise RemoteProtocolError(
            f"status {response.status} with {len(location)} Location fields is no redirect",
            rule="RFC 9110 §15.4",
        )
    target = _resolved(url, location[0])
    try:
        new, old = parse_url(target), parse_url(url)
    except LocalProtocolError as error:
        raise RemoteProtocolError(
            f"cannot follow Location {location[0][:200]!r}", rule="RFC 9110 §10.2.2"
        ) from error
    if old.secure and not new.secure:
        raise RemoteProtocolError("the redirect leads out of TLS", rule="RFC 9110 §15.4")
    method = _redirected_method(request.method, response.status)
    keeps_content = method == request.method
    gone = [*drop, "host"]
    if not keeps_content:
        gone += [name for name, _ in request.fields if name.lower().startswith("content-")]
        gone += ["transfer-encoding", "expect"]
    fresh = fresh_request(request, same_origin=new.origin == old.origin, drop=gone)
    return target, _retargeted(fresh, method, new), keeps_content


_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


def _resolved(url: str, location: str) -> str:
    """Resolve a reference (RFC 3986 §5.2), leaving to the parser what names an authority.

    ``urljoin`` would mend ``http:///x`` and so go where nobody pointed.
    """
    if _scheme.match(location):
        target = location
    elif location.startswith("//"):
        target = f"{url.partition(':')[0]}:{location}"
    else:
        target = urljoin(url, location)
    return target.partition("#")[0]


def _redirected_method(method: str, status: int) -> str:
    # RFC 9110 §15.4.4 (303) and the notes of §15.4.2 and §15.4.3 (301, 302: POST to GET).
    if status == 303 and method != "HEAD":
        return "GET"
    return "GET" if status in (301, 302) and method == "POST" else method


def may_repeat_unanswered(request: Request) -> bool:
    """Whether ``request`` may be sent again when the connection ended without an answer.

    RFC 9110 §9.2.2: "A client SHOULD NOT automatically retry a request with a non-idempotent
    method unless it has some means to know that the request semantics are actually
    idempotent".
    """
    return request.method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")


def _with_fields(request: Request, fields: Fields) -> Request:
    return Request(
        request.method,
        request.target,
        fields,
        version=request.version,
        scheme=request.scheme,
        authority=request.authority,
        protocol=request.protocol,
    )


def _retargeted(request: Request, method: str, url: URL) -> Request:
    fields = request.fields.copy()
    fields.set("Host", url.authority)
    return Request(
        method,
        url.target,
        fields,
        version=request.version,
        scheme="https" if url.secure else "http",
        authority=url.authority,
        protocol=request.protocol,
    )
