# cython: nonecheck=True
"""Request targets and Host (RFC 9112 §3.2, RFC 9110 §7.2).

This file runs as it stands, and is compiled as ``_targets_c`` with the C types of
``_targets_c.pxd``. Choose through ``switchover.http.targets``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from switchover.errors import RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.grammar import HOST

__all__ = ["misdirected", "read_authority", "read_host", "split_host_port"]

# RFC 9112 §3.2.2:  absolute-form = absolute-URI, here reduced to URIs with an authority.
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*://([^/?]*)(?:[/?].*)?")


def read_authority(method: str, target: str, host: bytes | None) -> str:
    """Return the authority a request is for; raise ``RemoteProtocolError`` for a bad target.

    ``host`` is the value of Host, checked already, or ``None`` without one (HTTP/1.0).
    """
    if method == "CONNECT":
        # RFC 9112 §3.2.3:  authority-form = uri-host ":" port; only for CONNECT
        split_host_port(target)
        return target
    if target.startswith("/"):
        return host.decode("latin-1") if host else ""
    if target == "*":
        # RFC 9112 §3.2.4: "The asterisk-form of request-target is only used for a
        # server-wide OPTIONS request".
        if method != "OPTIONS":
            raise _bad_target(target, "RFC 9112 §3.2.4")
        return host.decode("latin-1") if host else ""
    match = _ABSOLUTE.fullmatch(target)
    if not match:
        raise _bad_target(target, "RFC 9112 §3.2")
    # RFC 9112 §3.2.2: "When an origin server receives a request with an absolute-form of
    # request-target, the origin server MUST ignore the received Host header field (if any)
    # and instead use the host information of the request-target."
    # Userinfo ("@") is no part of a valid HOST, so it is refused (RFC 9110 §4.2.4).
    authority = match.group(1)
    if not authority or not _valid_host(authority.encode("latin-1")):
        raise _bad_target(target, "RFC 9112 §3.2.2")
    return authority


def read_host(host: bytes | None, lines: int, version: str) -> None:
    """Check Host: raise ``RemoteProtocolError`` unless it is there once, and valid.

    ``lines`` says on how many lines it was.
    """
    # RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any
    # HTTP/1.1 request message that lacks a Host header field and to any request message
    # that contains more than one Host header field line or a Host header field with an
    # invalid field value."
    if host is None:
        if version != "1.0":
            raise RemoteProtocolError("request without Host", rule="RFC 9112 §3.2")
        return
    if lines > 1:
        raise RemoteProtocolError("request with more than one Host line", rule="RFC 9112 §3.2")
    if not _valid_host(host):
        raise RemoteProtocolError(f"invalid Host {show(host)}", rule="RFC 9112 §3.2")


def split_host_port(target: str) -> tuple[str, int]:
    """Take the authority form apart: host (an IPv6 address without brackets) and port.

    Raises ``RemoteProtocolError`` unless it is exactly ``uri-host ":" port`` with a host
    and a port from 1 to 65535 (RFC 9110 §9.3.6: "A server MUST reject a CONNECT request
    that targets an empty or invalid port number").
    """
    match = HOST.fullmatch(target.encode("latin-1", "replace"))
    host, _, port = target.rpartition(":")
    if not match or not match.group(1) or not match.group(2):
        raise _bad_target(target, "RFC 9112 §3.2.3")
    if not _valid_host(target.encode("latin-1")) or int(port) == 0:
        raise _bad_target(target, "RFC 9110 §9.3.6")
    return host.removeprefix("[").removesuffix("]"), int(port)


def misdirected(authority: str, server_name: str | None) -> bool:
    """Whether a request for ``authority`` came through TLS that was set up for another host.

    ``server_name`` is the host the client named in its handshake (SNI: RFC 6066 §3), ``None``
    if it named none. Without it, and without an authority (HTTP/1.0), nothing can be compared.
    """
    # RFC 9110 §15.5.20: "The 421 (Misdirected Request) status code indicates that the request
    # was directed at a server that is unable or unwilling to produce an authoritative response
    # for the target URI": the certificate that was checked is the other host's (§4.3.4).
    if not server_name or not authority:
        return False
    match = HOST.fullmatch(authority.encode("latin-1", "replace"))
    host = match.group(1).decode("latin-1") if match else ""
    return _comparable(host) != _comparable(server_name)


def _comparable(host: str) -> str:
    # RFC 3986 §3.2.2: hosts differ in more than letter case; RFC 6066 §3: SNI is "without a
    # trailing dot".
    return host.removeprefix("[").removesuffix("]").removesuffix(".").lower()


def _valid_host(host: bytes) -> bool:
    return _valid_remembered(host) if len(host) <= _REMEMBERED_LENGTH else _valid(host)


# A server has few names: received ones up to this length are remembered after a look at them,
# and no peer can fill memory with 256 short strings.
_REMEMBERED_LENGTH = 64


def _valid(host: bytes) -> bool:
    match = HOST.fullmatch(host)
    if not match:
        return False
    name, port = match.groups()
    if port and (len(port) > 5 or int(port) > 65535):
        return False
    if not name.startswith(b"["):
        return True
    try:
        IPv6Address(name[1:-1].decode("latin-1"))
    except AddressValueError:
        return False
    return True


_valid_remembered = lru_cache(maxsize=256)(_valid)


def _bad_target(target: str, rule: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"invalid request target {show(target)}", rule=rule)
