"""URLs of http, https, ws and wss, read strictly (RFC 3986, RFC 9110 §4.2, RFC 6455 §3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

from switchover.errors import LocalProtocolError
from switchover.http.escaping import show

__all__ = ["DEFAULT_PORTS", "URL", "parse_url"]

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

# RFC 3986 §3, reduced to schemes with an authority:
#   URI       = scheme "://" authority path-abempty [ "?" query ] [ "#" fragment ]
#   authority = [ userinfo "@" ] host [ ":" port ]
_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+\-.]*)://"
    r"(?:([^/?#@\[\]]*)@)?"
    r"(\[[^\]/?#@]*\]|[^:/?#@\[\]]*)"
    r"(?::([0-9]*))?"
    r"(/[^?#]*)?(\?[^#]*)?(#.*)?"
)
_REG_NAME = re.compile(r"(?:[0-9A-Za-z\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+")
_FORBIDDEN = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class URL:
    """A URL in parts.

    ``scheme`` and ``host`` are in lower case; ``host`` is without the brackets of an IPv6
    address; ``port`` is always set; ``target`` is path and query as in a request line;
    ``userinfo`` is what stands before an "@", ``None`` without one.
    """

    scheme: str
    host: str
    port: int
    target: str
    userinfo: str | None = None

    @property
    def secure(self) -> bool:
        """Whether the scheme runs over TLS from the first octet."""
        return self.scheme in ("https", "wss")

    @property
    def authority(self) -> str:
        """Host and, if it is not the scheme's default, port: the value of Host."""
        # RFC 9110 §7.2 with §4.2.4: userinfo is never sent.
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def host_port(self) -> str:
        """Host and port, the port always named: the target of a CONNECT request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The web origin (RFC 6454) of this server: with http for ws, https for wss."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"

    def __str__(self) -> str:
        # Without userinfo: what is printed or logged holds no credentials.
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(url: str) -> URL:
    """Take a URL apart.

    Raises ``LocalProtocolError`` for anything but an absolute http, https, ws or wss URL
    made of visible ASCII characters, with a valid host and port, and for a fragment in a
    ws or wss URL (RFC 6455 §3: fragments "MUST NOT be used").
    """
    if _FORBIDDEN.search(url):
        raise LocalProtocolError(
            f"URL {show(url)} has characters that must be percent-encoded", rule="RFC 3986 §2"
        )
    match = _URL.fullmatch(url)
    if not match:
        raise LocalProtocolError(f"{_public(url)} is not an absolute URL", rule="RFC 3986 §3")
    scheme, userinfo, host, port, path, query, fragment = match.groups()
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise LocalProtocolError(f"URL scheme {show(scheme)} is none of http, https, ws, wss")
    if fragment is not None and scheme in ("ws", "wss"):
        raise LocalProtocolError(f"URL {_public(url)} has a fragment", rule="RFC 6455 §3")
    target = (path or "/") + (query or "")
    return URL(scheme, _host(host), _port(scheme, port), target, userinfo)


def _public(url: str) -> str:
    """Show a URL without its userinfo."""
    scheme, separator, rest = url.partition("://")
    return show(f"{scheme}{separator}{rest.rpartition('@')[2]}")


def _host(host: str) -> str:
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1])) if "%" not in host else _bad_host(host)
        except AddressValueError:
            _bad_host(host)
    # RFC 9110 §4.2.1: "A sender MUST NOT generate an "http" URI with an empty host
    # identifier."
    if not _REG_NAME.fullmatch(host):
        _bad_host(host)
    return host.lower()


def _bad_host(host: str) -> str:
    raise LocalProtocolError(f"URL has an invalid host {show(host)}", rule="RFC 3986 §3.2.2")


def _port(scheme: str, port: str | None) -> int:
    if not port:
        return DEFAULT_PORTS[scheme]
    if len(port) > 5 or not 0 < int(port) < 65536:
        raise LocalProtocolError(f"URL has an invalid port {show(port)}", rule="RFC 3986 §3.2.3")
    return int(port)
