"""Which web pages may connect: the policies on ``Origin`` (RFC 6455 §4.2.2, §10.2; RFC 6454).

A browser lets any page open a WebSocket to any server and sends along the cookies it has for
that server. Only the server can tell a page of its own from a stranger's: by ``Origin``. So
the default is :data:`SAME_ORIGIN`.

A request without ``Origin`` is let in by every policy, unless it is told otherwise: browsers
always send the field (§4.1 item 8), and a program that leaves it out could as well forge it.
The check protects people at their browsers, and does not authenticate anyone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from switchover.errors import LocalProtocolError
from switchover.http.escaping import show
from switchover.http.uri import DEFAULT_PORTS

if TYPE_CHECKING:
    from switchover.http.messages import Request

__all__ = [
    "DANGEROUSLY_ALLOW_ANY_ORIGIN",
    "SAME_ORIGIN",
    "AllowedOrigins",
    "OriginPolicy",
    "SameOrigin",
    "origin_policy",
]

#: Judges a request and its ``Origin`` (``None`` if it has none). Returns ``None`` to let it
#: in, or the reason to keep it out, which the 403 then states.
OriginPolicy: TypeAlias = Callable[["Request", str | None], str | None]

# RFC 6454 §6.2 makes "null", or:  scheme "://" host [ ":" port ]
_origin = re.compile(r"([a-z][a-z0-9+.\-]*)://(\[[0-9a-f:.]+\]|[^\s/:?#@\[\],\\]+)(?::([0-9]+))?")


class SameOrigin:
    """Lets in pages of this very server: equal scheme, host and port.

    Compared with the scheme of the connection and with Host (``:authority`` over HTTP/2).
    Behind a proxy that rewrites Host or ends TLS these are not what the browser sees; then
    ``seen_by_client`` says it: a function that returns the server's origin for a request, as
    in ``https://example.com``, from what a *trusted* proxy has added. ``AllowedOrigins`` with
    the public name does as well.

    ``allow_missing=False`` also keeps out requests without Origin.
    """

    __slots__ = ("_allow_missing", "_seen_by_client")

    def __init__(
        self,
        *,
        seen_by_client: Callable[[Request], str] | None = None,
        allow_missing: bool = True,
    ) -> None:
        self._seen_by_client = seen_by_client
        self._allow_missing = allow_missing

    def __call__(self, request: Request, origin: str | None) -> str | None:
        """Return why ``origin`` may not connect, or ``None`` if it may."""
        if origin is None:
            return None if self._allow_missing else _MISSING
        own = self._own_origin(request)
        # What is no origin on either side is None, and not the same as anything.
        if own is not None and _normalised(origin) == own:
            return None
        return (
            f"Origin is {show(origin)}, and this server is {show(own or '')} (from Host and the"
            " scheme of the connection): only its own pages may connect. If a proxy in front"
            " changes Host or ends TLS, or if other pages are welcome, the server has to be"
            " told which origins to allow"
        )

    def _own_origin(self, request: Request) -> str | None:
        if self._seen_by_client is not None:
            return _normalised(self._seen_by_client(request))
        return _normalised(f"{request.scheme}://{request.authority}")


class AllowedOrigins:
    """Lets in the pages of the listed origins, such as ``https://example.com``.

    Scheme, host and port have to be equal, after lower-casing ASCII letters: no patterns, no
    subdomains. ``null`` may be listed; it is the origin of local files, and of any page that
    somebody has put in a sandbox. ``same_origin=True`` lets in the server's own pages, too.
    ``allow_missing=False`` also keeps out requests without Origin.
    """

    __slots__ = ("_allow_missing", "_listed", "_same_origin")

    def __init__(
        self, origins: Iterable[str], *, same_origin: bool = False, allow_missing: bool = True
    ) -> None:
        """Raise :class:`LocalProtocolError` for an entry that no browser would ever send."""
        if isinstance(origins, str):
            raise LocalProtocolError(f"origins are a list, not one text: [{origins!r}] was meant?")
        self._listed = frozenset([_checked(origin) for origin in origins])
        self._same_origin = SAME_ORIGIN if same_origin else None
        self._allow_missing = allow_missing

    def __call__(self, request: Request, origin: str | None) -> str | None:
        """Return why ``origin`` may not connect, or ``None`` if it may."""
        if origin is None:
            return None if self._allow_missing else _MISSING
        if _normalised(origin) in self._listed:
            return None
        if self._same_origin is not None and self._same_origin(request, origin) is None:
            return None
        listed = ", ".join(sorted(self._listed)[:8]) or "none"
        return f"Origin is {show(origin)}, and the origins that may connect are: {listed}"


def DANGEROUSLY_ALLOW_ANY_ORIGIN(request: Request, origin: str | None) -> str | None:
    """Let in the pages of any site, with the cookies of whoever looks at them.

    Right only for a server that hands out public data, or that authenticates by something a
    browser does not send along by itself (RFC 6455 §10.2).
    """
    return None


SAME_ORIGIN: OriginPolicy = SameOrigin()

_MISSING = (
    "the request has no Origin field, and this server wants one: browsers send it, other"
    " clients have to be told to"
)


def origin_policy(origins: OriginPolicy | Iterable[str]) -> OriginPolicy:
    """Return the policy that is meant: a policy as it is, a list as :class:`AllowedOrigins`."""
    return origins if callable(origins) else AllowedOrigins(origins)


def _normalised(origin: str) -> str | None:
    """Return an origin in lower case and without its default port; ``None`` if it is none."""
    return _remembered(origin) if len(origin) <= _REMEMBERED_LENGTH else _normalise(origin)


def _normalise(origin: str) -> str | None:
    # str.lower would turn U+212A, the Kelvin sign, into "k"; an origin is ASCII.
    if not origin.isascii():
        return None
    lowered = origin.lower()
    if lowered == "null":
        return lowered
    found = _origin.fullmatch(lowered)
    if found is None:
        return None
    scheme, host, port = found.groups()
    if port is None or port == str(DEFAULT_PORTS.get(scheme)):
        return f"{scheme}://{host}"
    return lowered


# The pages of one site all come from one place; no peer can fill memory with 256 short strings.
_REMEMBERED_LENGTH = 128
_remembered = lru_cache(maxsize=256)(_normalise)


def _checked(origin: str) -> str:
    normalised = _normalised(origin)
    if normalised is not None:
        return normalised
    hint = "it has the form https://example.com or https://example.com:8443, without a path"
    if origin == "*":
        hint = "to let in any page there is DANGEROUSLY_ALLOW_ANY_ORIGIN; read what it says first"
    raise LocalProtocolError(f"not an origin: {show(origin)}; {hint}", rule="RFC 6454 §6.2")
