"""CONNECT, both ends: RFC 9110 §9.3.6, RFC 9112 §3.2.3, RFC 9931 §8."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.tunnel.proxy_status import proxy_status

__all__ = [
    "Authority",
    "authentication_required",
    "basic_credentials",
    "check_connect_response",
    "connect_request",
    "established",
    "parse_authority",
    "parse_host",
    "parse_port",
    "read_basic_credentials",
    "read_connect",
    "refused",
]

# RFC 9112 §3.2.3:  authority-form = uri-host ":" port
# RFC 3986 §3.2.2:  host = IP-literal / IPv4address / reg-name; a reg-name that is to be
# looked up in the DNS has labels of letters, digits, hyphens (and underscores, in practice).
_authority = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):([^:]*)")
_name = re.compile(r"(?=.{1,254}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?(?:\.|\Z))+")
_port = re.compile(r"[0-9]{1,5}")  # int() would take "+80", "8_0", " 80" and other digits
_numeric_label = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class Authority:
    """A destination: ``host`` in lower case, an IPv6 address without brackets, and port."""

    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, so that nothing needs to be looked up."""
        return ":" in self.host or _ends_in_number(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_authority(text: str) -> Authority:
    """Return the destination that ``host:port`` names.

    Raises :class:`RemoteProtocolError` (400) for anything else: other forms of a target,
    userinfo, an empty, missing or impossible port, a host that is none.
    """
    found = _authority.fullmatch(text)
    if found is None:
        raise _bad(f"the target is not host:port but {show(text[:200])}", "RFC 9112 §3.2.3")
    host, port = found[1], found[2]
    if host.startswith("["):
        if ":" not in host:
            raise _bad(f"not an IPv6 address: {show(host[:200])}", "RFC 3986 §3.2.2")
        host = host[1:-1]
    return Authority(parse_host(host), parse_port(port))


def parse_host(text: str) -> str:
    """Return a host name in lower case, or an address in its usual form.

    An IPv6 address comes without brackets, and without a zone. Raises
    :class:`RemoteProtocolError` (400) for what is neither name nor address; that includes
    the numbers some resolvers take for an IPv4 address (``127.1``, ``0x7f000001``).
    """
    try:
        if ":" in text:
            if "%" in text:
                raise AddressValueError("a zone means nothing to another host")
            return str(IPv6Address(text))
        if _ends_in_number(text):
            return str(IPv4Address(text))
    except AddressValueError as error:
        raise _bad(f"not an address: {show(text[:200])}: {error}", "RFC 3986 §3.2.2") from None
    if not _name.fullmatch(text):
        raise _bad(f"not a host name: {show(text[:200])}", "RFC 3986 §3.2.2")
    return text.lower()


def _ends_in_number(host: str) -> bool:
    last = host.removesuffix(".").rpartition(".")[2]
    return _numeric_label.fullmatch(last) is not None


def parse_port(text: str) -> int:
    """Return the port ``text`` names: 1 to 65535, in ASCII digits only.

    Raises :class:`RemoteProtocolError` (400) otherwise.
    """
    # RFC 9110 §9.3.6: "A server MUST reject a CONNECT request that targets an empty or
    # invalid port number, typically by responding with a 400 (Bad Request) status code."
    if not _port.fullmatch(text) or not 0 < int(text) < 65536:
        raise _bad(f"not a port: {show(text[:200])}", "RFC 9110 §9.3.6")
    return int(text)


def _bad(message: str, rule: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, rule=rule, status=400)


# The server's side.


def read_connect(request: Request) -> Authority:
    """Return where a CONNECT request wants to go.

    Raises :class:`RemoteProtocolError` (400) if the request is malformed; answer it with
    :func:`refused`.
    """
    authority = parse_authority(request.target)
    # RFC 9110 §9.3.6: "A CONNECT request message does not have content." Framed content is
    # where a proxy and its client would disagree about the first octet of the tunnel.
    fields = request.fields
    if request.has_content or "content-length" in fields or "transfer-encoding" in fields:
        raise _bad("a CONNECT request has no content, this one announces some", "RFC 9110 §9.3.6")
    host = fields.get("host")
    if host is not None and not _same_destination(host, authority):
        raise _bad(
            f"Host is {show(host[:200])}, the target {show(request.target)}", "RFC 9110 §7.2"
        )
    return authority


def _same_destination(host: str, authority: Authority) -> bool:
    try:
        return parse_authority(host) == authority
    except RemoteProtocolError:
        pass
    # Clients that leave the port out of Host mean the one of the target.
    try:
        name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        return parse_host(name) == authority.host
    except RemoteProtocolError:
        return False


def established(fields: Fields | None = None) -> Response:
    """Return the 200 that opens a tunnel, to be sent once the way onward is open."""
    # RFC 9110 §9.3.6: "A server MUST NOT send any Transfer-Encoding or Content-Length header
    # fields in a 2xx (Successful) response to CONNECT."
    extra = fields.copy() if fields is not None else Fields()
    for name in ("content-length", "transfer-encoding"):
        if name in extra:
            raise LocalProtocolError(f"no {name} in a 2xx to CONNECT", rule="RFC 9110 §9.3.6")
    return Response(200, extra, "Connection established")


def refused(
    status: int, text: str, *, error: str | None = None, fields: Fields | None = None
) -> Response:
    """Return the response that refuses a CONNECT: readable, and the last on its connection.

    ``error`` is a proxy error type for Proxy-Status (RFC 9209 §2.3).
    """
    if not 400 <= status < 600:
        raise LocalProtocolError(f"status {status} refuses nothing", rule="RFC 9110 §9.3.6")
    response = Response.text(status, f"{text}\n", fields if fields is not None else ())
    # RFC 9931 §8: a proxy that rejects a CONNECT over HTTP/1.1 closes the connection without
    # processing anything further: what follows may be what an untrusted client of the
    # client wanted to have tunnelled.
    response.fields.set("Connection", "close")
    if error is not None:
        response.fields.set("Proxy-Status", proxy_status(error=error))
    return response


def authentication_required(realm: str) -> Response:
    """Return the 407 that asks for Basic credentials; it ends the connection too."""
    if not all(" " <= character <= "~" for character in realm):
        raise LocalProtocolError("a realm is visible ASCII", rule="RFC 9110 §11.5")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    # RFC 9110 §11.7.1: "A proxy MUST send at least one Proxy-Authenticate header field in
    # each 407 (Proxy Authentication Required) response that it generates."
    challenge = Fields([("Proxy-Authenticate", f'Basic realm="{quoted}", charset="UTF-8"')])
    return refused(407, "This proxy asks who you are.", fields=challenge)


def read_basic_credentials(
    request: Request, field: str = "proxy-authorization"
) -> tuple[str, str] | None:
    """Return user and password of Proxy-Authorization; ``None`` if there are no usable ones.

    Proxies that are resources of an origin (connect-udp) read ``"authorization"``.
    """
    lines = request.fields.get_all(field)
    if len(lines) != 1:
        return None
    scheme, _, value = lines[0].partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(value.strip(" "), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None


# The client's side.


def basic_credentials(user: str, password: str) -> str:
    """Return the value of Proxy-Authorization for Basic credentials (RFC 7617)."""
    # RFC 7617 §2: "a user-id containing a colon character is invalid"
    if ":" in user or any(ord(c) < 32 or ord(c) == 127 for c in user + password):
        raise LocalProtocolError(
            "credentials with a colon or control character", rule="RFC 7617 §2"
        )
    octets = f"{user}:{password}".encode()
    return "Basic " + base64.b64encode(octets).decode("ascii")


def connect_request(
    host: str, port: int, *, authorization: str | None = None, fields: Fields | None = None
) -> Request:
    """Return the request for a tunnel to ``host`` and ``port``.

    ``authorization`` is the value of Proxy-Authorization (:func:`basic_credentials`); it
    goes to the proxy only, as do ``fields``. Raises :class:`LocalProtocolError` for a host
    or port that cannot be a destination.
    """
    try:
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        authority = Authority(parse_host(bare), parse_port(str(port)))
    except RemoteProtocolError as error:
        raise LocalProtocolError(str(error), rule=error.rule) from None
    # RFC 9110 §9.3.6: "There is no default port; a client MUST send the port number even if
    # the CONNECT request is based on a URI reference that contains an authority component
    # with an elided port".
    target = str(authority)
    lines = Fields([("Host", target)])
    for name, value in fields or ():
        lines.add(name, value)
    if authorization is not None:
        lines.set("Proxy-Authorization", authorization)
    return Request("CONNECT", target, lines, authority=target)


def check_connect_response(request: Request, response: Response) -> str:
    """Return ``"CONNECT"`` if ``response`` opens the tunnel that ``request`` asked for.

    Any 2xx does, whatever its fields say of content. Raises :class:`RemoteProtocolError`
    for every other status, 101 included. Made for ``ClientConnection.send_request``.
    """
    # RFC 9110 §9.3.6: "Any 2xx (Successful) response indicates that the sender (and all
    # inbound proxies) will switch to tunnel mode immediately after the response header
    # section".
    if request.method != "CONNECT" or not 200 <= response.status < 300:
        raise RemoteProtocolError(
            f"status {response.status} to {request.method} opens no tunnel",
            rule="RFC 9110 §9.3.6",
        )
    return "CONNECT"
