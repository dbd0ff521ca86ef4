"""Which destinations a proxy opens: pure functions over names, ports and addresses.

A policy is asked twice: about the name and port before they are looked up, and about the
addresses the look-up gave. What it returns then is what may be dialled: dial those and do
not look up again, or an answer that changes in between leads around the policy.

By default only port 443 of public hosts is open, and nothing inside. That keeps a proxy
from being a way into the network it stands in; who may use it at all is a matter of
authentication, which no policy replaces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.messages import Response
from switchover.tunnel.connect import Authority, parse_host, refused

__all__ = ["DestinationPolicy", "Refusal", "prohibited"]

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# The registries of special-purpose addresses (RFC 6890), spelled out: what is_private and
# is_global say differs between versions of Python, and neither knows translated addresses.
_INSIDE_4: list[tuple[IPv4Network, str]] = [
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved or broadcast"),
    )
]
_INSIDE_6: list[tuple[IPv6Network, str]] = [
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "an IPv4 address in IPv6 form"),
        ("::/96", "an IPv4 address in IPv6 form"),
        ("64:ff9b:1::/48", "translated locally"),
        ("100::/64", "a black hole"),
        ("2001::/23", "reserved for protocols, Teredo among them"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "for segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# RFC 5214 §6.1: an ISATAP interface identifier holds an IPv4 address in its last four octets.
_ISATAP = (0x00005EFE, 0x02005EFE)


def prohibited(address: _Address) -> str | None:
    """Say why ``address`` is not a public one, ``None`` if it is.

    Addresses that stand for an IPv4 address are judged by that one, or prohibited as such.
    """
    if isinstance(address, IPv4Address):
        return _find(address, _INSIDE_4)
    # RFC 6052 §3.1: the well-known prefix translates public IPv4 addresses only.
    if address in _NAT64:
        inner = prohibited(IPv4Address(int(address) & 0xFFFFFFFF))
        return f"translated from IPv4: {inner}" if inner else None
    reason = _find(address, _INSIDE_6)
    if reason is None and address not in _GLOBAL_UNICAST:
        return "not global unicast"
    if reason is None and (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        inner = prohibited(IPv4Address(int(address) & 0xFFFFFFFF))
        return f"an ISATAP address: {inner}" if inner else None
    return reason


def _find(address: _Address, table: Iterable[tuple[_Network, str]]) -> str | None:
    return next((what for network, what in table if address in network), None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a destination is not opened: a status, words, and a proxy error type (RFC 9209)."""

    status: int
    reason: str
    error: str

    def response(self, *, close: bool = True) -> Response:
        """Return the response that says so.

        ``close`` ends the connection with it, as a refused CONNECT over HTTP/1.1 must
        (RFC 9931 §8); a refused Upgrade leaves it as it is, and HTTP/2 has no such field.
        """
        response = refused(self.status, self.reason, error=self.error)
        if not close:
            response.fields.remove("Connection")
        return response


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationPolicy:
    """Which destinations are opened.

    ``ports`` are the ports allowed, ``None`` all. ``hosts`` are the names and addresses
    allowed, ``None`` all; ``"*.example.com"`` stands for every name below, not the domain
    itself. ``networks`` are networks whose addresses are allowed although they are not
    public, such as ``"10.1.0.0/16"``. ``dangerously_allow_internal`` allows every address:
    anyone who may use the proxy reaches everything that its host reaches.
    """

    ports: Collection[int] | None = frozenset({443})
    hosts: Collection[str] | None = None
    networks: Collection[str] = ()
    dangerously_allow_internal: bool = False
    _networks: tuple[_Network, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        """Raise :class:`LocalProtocolError` for a network or host that is none."""
        try:
            networks = tuple(ip_network(text) for text in self.networks)
        except ValueError as error:
            raise LocalProtocolError(f"not a network: {error}") from None
        object.__setattr__(self, "_networks", networks)
        if isinstance(self.hosts, str):
            raise LocalProtocolError("hosts is a collection of names")
        if self.hosts is not None:
            object.__setattr__(self, "hosts", frozenset(map(_normal, self.hosts)))

    def judge_target(self, target: Authority) -> Refusal | None:
        """Say whether ``target`` may be looked up at all; ``None`` means that it may."""
        if self.ports is not None and target.port not in self.ports:
            return Refusal(403, f"Port {target.port} is not open here.", "http_request_denied")
        if self.hosts is not None and not _listed(target.host, self.hosts):
            return Refusal(403, f"{target.host} is not open here.", "http_request_denied")
        if target.is_address:
            verdict = self.judge_addresses([target.host])
            return verdict if isinstance(verdict, Refusal) else None
        return None

    def judge_addresses(self, addresses: Iterable[str]) -> list[str] | Refusal:
        """Return those of ``addresses`` that may be dialled, or why there are none.

        They are what the look-up of an allowed name gave, as text; a zone counts against
        them, and so does what is no address.
        """
        allowed: list[str] = []
        reasons: list[str] = []
        for text in addresses:
            reason = self._judge(text)
            if reason is None:
                allowed.append(text)
            else:
                reasons.append(f"{text} is {reason}")
        if allowed:
            return allowed
        if reasons:
            text = f"The destination is not open here: {'; '.join(reasons[:4])}."
            return Refusal(403, text, "destination_ip_prohibited")
        return Refusal(502, "The destination has no address.", "dns_error")

    def _judge(self, text: str) -> str | None:
        try:
            address = ip_address(text)
        except ValueError:
            return "no address"
        if self.dangerously_allow_internal or any(address in n for n in self._networks):
            return None
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "bound to a link"
        return prohibited(address)


def _normal(host: str) -> str:
    prefix, name = ("*.", host[2:]) if host.startswith("*.") else ("", host)
    try:
        return prefix + parse_host(name).removesuffix(".")
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"not a host: {host!r}") from error


def _listed(host: str, hosts: Collection[str]) -> bool:
    name = host.removesuffix(".")
    if name in hosts:
        return True
    labels = name.split(".")
    return any(f"*.{'.'.join(labels[at:])}" in hosts for at in range(1, len(labels)))
