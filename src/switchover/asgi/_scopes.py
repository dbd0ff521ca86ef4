"""Connection scopes: what ASGI tells an application about a request.

ASGI 3.0, HTTP & WebSocket message format 2.5, TLS extension 0.2.

This file is compiled as ``_scopes_c``; the C types stand in ``_scopes_c.pxd``. Choose through
:mod:`switchover.asgi.scopes`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

from switchover.asgi.types import HTTPScope, TLSExtension, WebSocketScope
from switchover.asyncio.exchange import Exchange, PeerFacts
from switchover.http.messages import Request
from switchover.http.names import LOWER_NAMES

__all__ = ["http_scope", "websocket_scope"]

#: 2.4: ``send`` raises ``OSError`` once the client has left; 2.5: ``reason`` in
#: ``websocket.disconnect``.
SPEC_VERSION = "2.5"

_Peer = tuple[tuple[str, int] | None, tuple[str, int | None] | None, Mapping[str, Any] | None]

_TLS_VERSIONS = {
    "TLSv1": 0x0301,
    "TLSv1.1": 0x0302,
    "TLSv1.2": 0x0303,
    "TLSv1.3": 0x0304,
}
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def http_scope(
    exchange: Exchange, *, root_path: str, underscore_names: bool, extensions: dict[str, Any]
) -> HTTPScope:
    """Return the scope of an ordinary request."""
    request = exchange.request
    path, raw_path, query = _target(request, root_path)
    client, server, tls = _peer(exchange.facts)
    if tls is not None:
        extensions["tls"] = _tls(tls)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
        "http_version": request.version,
        "method": request.method,
        "scheme": request.scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path,
        "headers": _headers(request, underscore_names),
        "client": client,
        "server": server,
        "extensions": extensions,
    }


def websocket_scope(
    exchange: Exchange, *, root_path: str, underscore_names: bool
) -> WebSocketScope:
    """Return the scope of a WebSocket opening handshake that has been found valid."""
    request = exchange.request
    path, raw_path, query = _target(request, root_path)
    client, server, tls = _peer(exchange.facts)
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    if tls is not None:
        extensions["tls"] = _tls(tls)
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
        "http_version": request.version,
        "scheme": "wss" if request.scheme == "https" else "ws",
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path,
        "headers": _headers(request, underscore_names),
        "client": client,
        "server": server,
        "subprotocols": request.fields.members("Sec-WebSocket-Protocol"),
        "extensions": extensions,
    }


def _target(request: Request, root_path: str) -> tuple[str, bytes, bytes]:
    """Return ``path``, ``raw_path`` and ``query_string``."""
    target = request.target
    if target[:1] == "/":
        if len(target) <= _REMEMBERED_OCTETS:
            return _split_again(target, root_path)
        return _split(target, root_path)
    raw, query = request.path, request.query
    return _split(f"{raw}?{query}" if query else raw, root_path)


def _split(target: str, root_path: str) -> tuple[str, bytes, bytes]:
    raw, _, query = target.partition("?")
    # ASGI: path is "with percent-encoded sequences and UTF-8 byte sequences decoded into
    # characters"; what is not UTF-8 becomes U+FFFD, and stands unchanged in raw_path.
    path = unquote(raw) if "%" in raw else raw
    if root_path:
        # ASGI: "path" includes the root path; the proxy in front has cut it off.
        path, raw = root_path + path, root_path + raw
    return path, raw.encode("latin-1", "replace"), query.encode("latin-1")


# Clients ask for the same few short targets again and again.
_REMEMBERED_OCTETS = 128
_split_again = lru_cache(maxsize=256)(_split)


def _headers(request: Request, underscore_names: bool) -> list[tuple[bytes, bytes]]:
    received = request.fields.raw
    if request.version == "2":
        for name, _ in received:
            if b"_" in name or not name.islower():
                break
        else:
            return _with_host(received.copy(), request)  # as most are
    headers = []
    for line in received:
        usual = _USUAL_LINES.get(line)
        if usual is not None:
            headers.append(usual)
            continue
        name = line[0]
        # RFC 9110 §17.10: applications that turn names into variables (CGI, WSGI, Django) map
        # "X_Forwarded_For" and "X-Forwarded-For" to one and the same.
        if underscore_names or b"_" not in name:
            headers.append((LOWER_NAMES.get(name) or name.lower(), line[1]))
    if request.version == "2" or request.target[:1] not in ("/", "*"):
        return _with_host(headers, request)
    return headers


def _usual_lines() -> dict[tuple[bytes, bytes], tuple[bytes, bytes]]:
    lines = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Connection", "keep-alive, Upgrade"),
        ("Connection", "keep-alive"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Cache-Control", "no-cache"),
        ("Pragma", "no-cache"),
    ]
    found = {}
    for name, value in lines:
        lowered = (name.lower().encode(), value.encode())
        for spelling in (name, name.lower()):
            found[spelling.encode(), value.encode()] = lowered
    return found


# Lines of nearly every opening handshake: a WebSocket that idles keeps its scope, and has no
# need of its own copy of them.
_USUAL_LINES = _usual_lines()


def _with_host(headers: list[tuple[bytes, bytes]], request: Request) -> list[tuple[bytes, bytes]]:
    """Put the authority of the target in the place of Host.

    ASGI: "if :authority is present its value must be added to the start of the iterable with
    host as the header name or replace any existing host header already present."
    RFC 9112 §3.2.2 says the same for the absolute form.
    """
    if not request.authority:
        return headers
    host = (b"host", request.authority.encode("latin-1"))
    if request.version == "2" and headers and headers[0] == host:
        return headers  # so the HTTP/2 machine makes it, of one host
    rest = [line for line in headers if line[0] != b"host"]
    return [host, *rest]


def _peer(facts: PeerFacts) -> _Peer:
    """Return the scope's ``client`` and ``server``, and what is known of TLS."""
    peer: _Peer | None = facts.told
    if peer is None:
        peer = facts.told = _client(facts.peername), _server(facts.sockname), facts.tls
    return peer


def _client(name: Any) -> tuple[str, int] | None:
    return (name[0], name[1]) if isinstance(name, tuple) else None


def _server(name: Any) -> tuple[str, int | None] | None:
    if isinstance(name, tuple):
        return _shared_address(name[0], name[1])
    if isinstance(name, str) and name:
        return name, None  # ASGI: the path of a Unix socket, with None for the port
    return None


# A server has few addresses, and each connection would keep its own copy.
@lru_cache(maxsize=64)
def _shared_address(host: str, port: int) -> tuple[str, int | None]:
    return host, port


def _tls(tls: Mapping[str, Any]) -> TLSExtension:
    """Return the ``tls`` extension; what Python's ``ssl`` does not tell is ``None``."""
    chain: list[str] = []
    name: str | None = None
    session = tls.get("ssl_object")
    octets = session.getpeercert(binary_form=True) if session is not None else None
    if octets:
        chain.append(ssl.DER_cert_to_PEM_cert(octets))
        name = _distinguished_name(tls.get("peer_certificate") or {})
    return {
        "server_cert": None,
        "client_cert_chain": chain,
        "client_cert_name": name,
        "client_cert_error": None,
        "tls_version": _TLS_VERSIONS.get(cast("str", tls.get("version"))),
        "cipher_suite": None,
    }


def _distinguished_name(certificate: Mapping[str, Any]) -> str:
    """Return the subject as RFC 4514 writes it: the last part first, specials escaped."""
    parts = []
    for relative in reversed(certificate.get("subject", ())):
        pairs = [f"{_SHORT_NAMES.get(key, key)}={_escaped(value)}" for key, value in relative]
        parts.append("+".join(pairs))
    return ",".join(parts)


def _escaped(value: str) -> str:
    # RFC 4514 §2.4: a leading "#" or space, a trailing space, and these characters.
    text = "".join("\\" + c if c in '"+,;<>\\' else c for c in value).replace("\0", "\\00")
    if text[:1] in ("#", " "):
        text = "\\" + text
    if text.endswith(" ") and len(text) > 1:
        text = text[:-1] + "\\ "
    return text
