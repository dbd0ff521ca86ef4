"""What a trusted reverse proxy says about the client: off unless configured.

A proxy hides the client's address and scheme, and tells them in fields. Anyone can send
those fields, so they are believed only on connections from the addresses listed, and
only in the one syntax the proxy is known to set: a proxy that writes ``X-Forwarded-For``
usually passes on a ``Forwarded`` field of the client's own making.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["ForwardedSyntax", "ProxyHeaders"]

_Address = tuple[str, int]
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SCHEMES = frozenset({"http", "https", "ws", "wss"})

# RFC 7239 §4: forwarded-pair = token "=" value; value = token / quoted-string
_PAIR = re.compile(
    r"""\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)=
    (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^",;\s]*))\s*(?:;|$)""",
    re.VERBOSE,
)
_ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')


class ForwardedSyntax(Enum):
    """Which fields the proxy sets."""

    X_FORWARDED = "x-forwarded"
    FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class _Hop:
    address: _Address | None
    scheme: str | None


class ProxyHeaders:
    """Believe the forwarding fields of these proxies.

    Args:
        trusted: Addresses (``"10.0.0.1"``), networks (``"10.0.0.0/8"``), ``"unix"`` for peers
            on a Unix socket, or ``"*"`` for any peer at all (only where nothing but the proxy
            can reach the server).
        syntax: ``X_FORWARDED`` for ``X-Forwarded-For`` and ``X-Forwarded-Proto``,
            ``FORWARDED`` for RFC 7239.

    ``X-Forwarded-Host`` and ``host=`` are not applied: applications build links from the
    ``Host`` field, and a proxy can be told to pass that on.
    """

    def __init__(
        self,
        trusted: Iterable[str],
        *,
        syntax: ForwardedSyntax | str = ForwardedSyntax.X_FORWARDED,
    ) -> None:
        names = [trusted] if isinstance(trusted, str) else list(trusted)
        self.syntax = ForwardedSyntax(syntax)
        self._any = "*" in names
        self._unix = "unix" in names
        self._networks: list[_Network] = [
            ipaddress.ip_network(name) for name in names if name not in ("*", "unix")
        ]

    def trusts(self, host: str | None) -> bool:
        """Whether this address is one of the trusted ones (``None``: a Unix socket)."""
        if self._any:
            return True
        if not host:
            return self._unix
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    def apply(self, scope: dict[str, Any]) -> None:
        """Rewrite ``client`` and ``scheme`` of a scope, if its peer may say so."""
        client = scope["client"]
        if not self.trusts(client[0] if client else None):
            return
        hop = self._client_hop(self._hops(scope["headers"]))
        if hop is None:
            return
        if hop.address is not None:
            scope["client"] = hop.address
        if hop.scheme in _SCHEMES:
            secure = hop.scheme in ("https", "wss")
            plain = "ws" if scope["type"] == "websocket" else "http"
            scope["scheme"] = plain + "s" if secure else plain

    def _client_hop(self, hops: list[_Hop]) -> _Hop | None:
        """Return the nearest hop that is not itself a trusted proxy.

        Each proxy appends what it saw, so the list is believed from its right end for as
        long as the addresses are trusted; what is left of the first stranger he may have
        written himself.
        """
        for hop in reversed(hops):
            if hop.address is None or not self.trusts(hop.address[0]):
                return hop
        return hops[0] if hops else None

    def _hops(self, headers: list[tuple[bytes, bytes]]) -> list[_Hop]:
        if self.syntax is ForwardedSyntax.FORWARDED:
            return [_forwarded_hop(element) for element in _elements(headers, b"forwarded")]
        schemes = [item.strip().lower() for item in _values(headers, b"x-forwarded-proto")]
        # One scheme, or one for each hop; if there are fewer, the last speaks for the rest.
        addresses = [_address(item) for item in _values(headers, b"x-forwarded-for")]
        if not addresses:
            return [_Hop(None, schemes[-1])] if schemes else []
        padded = [None] * (len(addresses) - len(schemes)) + list(schemes[-len(addresses) :])
        last = schemes[-1] if schemes else None
        return [_Hop(a, s or last) for a, s in zip(addresses, padded, strict=True)]


def _joined(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [item for item in _joined(headers, name).split(",") if item.strip()]


def _elements(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [m.group() for m in _ELEMENT.finditer(_joined(headers, name)) if m.group().strip()]


def _forwarded_hop(element: str) -> _Hop:
    pairs: dict[str, str] = {}
    for match in _PAIR.finditer(element):
        value = match["token"] if match["quoted"] is None else match["quoted"]
        pairs.setdefault(match["name"].lower(), re.sub(r"\\(.)", r"\1", value))
    return _Hop(_address(pairs.get("for", "")), pairs.get("proto", "").lower() or None)


def _address(text: str) -> _Address | None:
    """Read an address with or without a port; ``None`` for names, ``unknown`` and nonsense."""
    text = text.strip()
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    # RFC 7239 §6: a port may be obfuscated ("_gazonk"); ASGI wants a number.
    return host, int(port) if port.isascii() and port.isdigit() else 0
