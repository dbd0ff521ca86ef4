"""HTTP messages as HTTP/2 field sections, both ways (RFC 9113 §8).

What comes in is checked here: a section that breaks a rule is malformed, and that is a
:class:`~switchover.http2.engine.StreamFault`. What goes out has been checked where the
:class:`~switchover.http.fields.Fields` were made; the fields of HTTP/1.1 connections are left
out of it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.grammar import CONTENT_LENGTH, METHOD, TARGET
from switchover.http.messages import Request, Response
from switchover.http.targets import read_authority, read_host, split_host_port
from switchover.http2.codes import ErrorCode
from switchover.http2.engine import StreamFault

__all__ = [
    "content_length",
    "read_request",
    "read_response",
    "read_trailers",
    "request_lines",
    "response_lines",
    "trailer_lines",
]

Lines = list[tuple[bytes, bytes]]

# RFC 9113 §8.2.1: a name holds no upper-case letter, no control, no space and no colon but the
# first of a pseudo-field; RFC 9110 §5.1: it is a token. All names of a section at once, with
# LF between them (which no name that matches can contain).
_NAMES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+(?:\n[!#$%&'*+\-.^_`|~0-9a-z]+)*")
# RFC 9113 §8.2.1: a value "MUST NOT contain" NUL, LF, CR at any position, nor "start or end
# with an ASCII whitespace character". All values at once, each between two NULs. RFC 9110 §5.5
# calls the other controls invalid as well.
_BAD_VALUE = re.compile(rb"[\x01-\x08\x0a-\x1f\x7f]|\x00[ \t]|[ \t]\x00")

# RFC 9113 §8.2.2: "any message containing connection-specific header fields MUST be treated as
# malformed"
_CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_SUSPICIOUS = _CONNECTION_SPECIFIC | {b"te"}
# RFC 7540 §3.2.1: HTTP2-Settings belongs to the connection as well.
_LEFT_OUT = _CONNECTION_SPECIFIC | {b"http2-settings"}

# RFC 3986 §3.1
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")
_USUAL_METHODS = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"})
_STATUS = re.compile(rb"[1-5][0-9][0-9]")

_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})


def read_request(lines: Lines, *, extended_connect: bool) -> Request:
    """Return the request whose field section is ``lines``.

    ``extended_connect`` says whether we have told the peer that we take that. A Host field is
    made from ``:authority`` where the request has none, so that an application finds it as
    in HTTP/1.1. Raises :class:`StreamFault` for a malformed request.
    """
    pseudo, regular, names = _divide(lines, _REQUEST_PSEUDO)
    method = pseudo.get(b":method", b"")
    if method not in _USUAL_METHODS and not METHOD.fullmatch(method):
        raise _malformed(f"invalid :method {show(method)}", "RFC 9113 §8.3.1")
    protocol = pseudo.get(b":protocol")
    host = _host(regular) if b"host" in names else None
    if b"cookie" in names:
        regular = _merge_cookies(regular)
    if method == b"CONNECT" and protocol is None:
        return _connect(pseudo, regular, host)
    if protocol is not None and (method != b"CONNECT" or not extended_connect or not protocol):
        # RFC 8441 §4: it "is only used in" CONNECT requests; §3: after the setting.
        raise _malformed(":protocol where it does not belong", "RFC 8441 §4")
    scheme, target = _scheme_and_path(pseudo, method)
    authority = _authority(pseudo, host, needed=protocol is not None)
    if host is None and authority:
        regular.insert(0, (b"host", authority))
    return Request(
        method.decode("ascii"),
        target.decode("ascii"),
        Fields.from_octets(regular),
        "2",
        scheme.decode("ascii").lower(),
        authority.decode("latin-1"),
        None if protocol is None else protocol.decode("latin-1"),
    )


def _divide(lines: Lines, known: frozenset[bytes]) -> tuple[dict[bytes, bytes], Lines, list[bytes]]:
    """Take pseudo-fields and regular fields apart; check names, values, and §8.2.2.

    Returns the pseudo-fields, the other lines (a list of their own), and their names.
    """
    pseudo: dict[bytes, bytes] = {}
    count = 0
    for name, value in lines:
        if name[:1] != b":":
            break
        # RFC 9113 §8.3: "Endpoints MUST treat a request or response that contains undefined or
        # invalid pseudo-header fields as malformed", and the same name twice.
        if name not in known or name in pseudo:
            raise _malformed(f"pseudo-field {show(name)} has no place here", "RFC 9113 §8.3")
        pseudo[name] = value
        count += 1
    regular = lines[count:]
    # RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all regular
    # field lines": a later one fails here, for its colon.
    names = [name for name, _ in regular]
    text = b"\n".join(names)
    if text.count(b"\n") != max(len(names) - 1, 0) or (names and not _NAMES.fullmatch(text)):
        raise _malformed("an invalid field name", "RFC 9113 §8.2.1")
    values = b"\0".join([value for _, value in lines])
    if values.count(b"\0") != max(len(lines) - 1, 0) or _BAD_VALUE.search(b"\0" + values + b"\0"):
        raise _malformed("an invalid field value", "RFC 9113 §8.2.1")
    if not _SUSPICIOUS.isdisjoint(names):
        _check_regular(regular)
    return pseudo, regular, names


def _check_regular(regular: Lines) -> None:
    for name, value in regular:
        if name in _CONNECTION_SPECIFIC:
            raise _malformed(f"{name.decode()} belongs to HTTP/1.1", "RFC 9113 §8.2.2")
        # RFC 9113 §8.2.2: TE "MUST NOT contain any value other than "trailers"".
        if name == b"te" and value.lower() != b"trailers":
            raise _malformed(f"te is {show(value)}", "RFC 9113 §8.2.2")


def _host(regular: Lines) -> bytes | None:
    hosts = [value for name, value in regular if name == b"host"]
    if not hosts:
        return None
    try:
        read_host(hosts[0], len(hosts), "2")
    except RemoteProtocolError as error:
        raise _malformed(error.args[0], "RFC 9110 §7.2") from None
    return hosts[0]


def _connect(pseudo: dict[bytes, bytes], regular: Lines, host: bytes | None) -> Request:
    # RFC 9113 §8.5: "The ":scheme" and ":path" pseudo-header fields MUST be omitted. The
    # ":authority" pseudo-header field contains the host and port to connect to".
    if b":scheme" in pseudo or b":path" in pseudo:
        raise _malformed("CONNECT with :scheme or :path", "RFC 9113 §8.5")
    authority = _authority(pseudo, host, needed=True)
    try:
        split_host_port(authority.decode("latin-1"))
    except RemoteProtocolError:
        raise _malformed(
            f"CONNECT to {show(authority)}, which is not a host and a port", "RFC 9113 §8.5"
        ) from None
    target = authority.decode("latin-1")
    if host is None:
        regular.insert(0, (b"host", authority))
    return Request("CONNECT", target, Fields.from_octets(regular), "2", "http", target)


def _scheme_and_path(pseudo: dict[bytes, bytes], method: bytes) -> tuple[bytes, bytes]:
    # RFC 9113 §8.3.1: "All HTTP/2 requests MUST include exactly one valid value for the
    # ":method", ":scheme", and ":path" pseudo-header fields, unless they are CONNECT requests".
    scheme = pseudo.get(b":scheme", b"")
    if scheme not in (b"http", b"https") and not _SCHEME.fullmatch(scheme):
        raise _malformed(f"invalid :scheme {show(scheme)}", "RFC 9113 §8.3.1")
    path = pseudo.get(b":path", b"")
    # "This pseudo-header field MUST NOT be empty for "http" or "https" URIs"; it starts with
    # "/", or is "*" for OPTIONS.
    starts_well = path.startswith(b"/") or (path == b"*" and method == b"OPTIONS")
    if not starts_well or not TARGET.fullmatch(path):
        raise _malformed(f"invalid :path {show(path)}", "RFC 9113 §8.3.1")
    return scheme, path


def _authority(pseudo: dict[bytes, bytes], host: bytes | None, *, needed: bool) -> bytes:
    authority = pseudo.get(b":authority")
    if authority is None:
        if needed:
            raise _malformed("CONNECT without :authority", "RFC 9113 §8.5")
        return host or b""
    if not _is_authority(authority):
        raise _malformed(f"invalid :authority {show(authority)}", "RFC 9113 §8.3.1")
    # RFC 9113 §8.3.1: "A server SHOULD treat a request as malformed if it contains a Host
    # header field that identifies an entity that differs from the entity in the ":authority""
    if host is not None and host.lower() != authority.lower():
        raise _malformed(
            f"Host {show(host)} contradicts :authority {show(authority)}", "RFC 9113 §8.3.1"
        )
    return authority


@lru_cache(maxsize=256)
def _is_authority(octets: bytes) -> bool:
    # Userinfo has no place in a valid host (RFC 9113 §8.3.1).
    try:
        read_host(octets, 1, "2")
    except RemoteProtocolError:
        return False
    return bool(octets)


def _merge_cookies(regular: Lines) -> Lines:
    # RFC 9113 §8.2.3: cookie lines "MUST be concatenated into a single octet string using the
    # two-octet delimiter of 0x3b, 0x20" before they reach anything that is not HTTP/2.
    cookies = [value for name, value in regular if name == b"cookie"]
    if len(cookies) < 2:
        return regular
    rest = [line for line in regular if line[0] != b"cookie"]
    rest.append((b"cookie", b"; ".join(cookies)))
    return rest


def read_response(lines: Lines) -> Response:
    """Return the response whose field section is ``lines``.

    Raises :class:`StreamFault` for a malformed response, 101 included.
    """
    pseudo, regular, _ = _divide(lines, frozenset({b":status"}))
    status = pseudo.get(b":status", b"")
    if not _STATUS.fullmatch(status):
        raise _malformed(f"invalid :status {show(status)}", "RFC 9113 §8.3.2")
    # RFC 9113 §8.6: "HTTP/2 removes support for the 101 (Switching Protocols) informational
    # status code".
    if status == b"101":
        raise _malformed("101 does not exist in HTTP/2", "RFC 9113 §8.6")
    return Response(int(status), Fields.from_octets(regular), version="2")


def read_trailers(lines: Lines) -> Fields:
    """Return the trailer fields of a section; raise :class:`StreamFault` if malformed."""
    # RFC 9113 §8.1: "Trailers MUST NOT include pseudo-header fields".
    _, regular, _ = _divide(lines, frozenset())
    return Fields.from_octets(regular)


def content_length(fields: Fields) -> int:
    """Return what Content-Length announces, -1 without it; raise :class:`StreamFault`."""
    values = {value for name, value in fields.raw if name == b"content-length"}
    if not values:
        return -1
    value = values.pop()
    if values or not CONTENT_LENGTH.fullmatch(value):
        raise _malformed(f"invalid content-length {show(value)}", "RFC 9113 §8.1.1")
    return int(value)


# The other way.


def request_lines(request: Request) -> Lines:
    """Return the field section of ``request``.

    Raises :class:`LocalProtocolError` for what HTTP/2 cannot say: an Upgrade field, or a
    target that is not valid.
    """
    # RFC 9113 §8.2.2; extended CONNECT is the way to another protocol here.
    if "upgrade" in request.fields:
        raise LocalProtocolError(
            "Upgrade does not exist in HTTP/2: use extended CONNECT", rule="RFC 9113 §8.2.2"
        )
    method = request.method.encode("ascii", "replace")
    if not METHOD.fullmatch(method):
        raise LocalProtocolError(f"invalid method {show(method)}", rule="RFC 9110 §9.1")
    authority = _own_authority(request)
    lines: Lines = [(b":method", method)]
    if method == b"CONNECT" and request.protocol is None:
        lines.append((b":authority", authority))
    else:
        lines.append((b":scheme", request.scheme.encode("ascii", "replace")))
        if authority:
            lines.append((b":authority", authority))
        lines.append((b":path", _own_path(request)))
        if request.protocol is not None:
            lines.append((b":protocol", _own_protocol(request)))
    # RFC 9113 §8.3.1: ":authority" takes the place of Host.
    return lines + [line for line in _without_connection(request.fields) if line[0] != b"host"]


def _own_authority(request: Request) -> bytes:
    authority = request.authority or request.fields.get("host", "")
    if request.method == "CONNECT" and request.protocol is None:
        authority = request.target
    octets = authority.encode("latin-1", "replace")
    try:
        read_host(octets, 1, "2")
    except RemoteProtocolError:
        raise LocalProtocolError(
            f"invalid authority {show(octets)}", rule="RFC 9113 §8.3.1"
        ) from None
    return octets


def _own_path(request: Request) -> bytes:
    target = request.target
    if not target.startswith("/") and target != "*":
        # The absolute form of HTTP/1.1 is taken apart (RFC 9113 §8.3.1).
        target = request.path + (f"?{request.query}" if request.query else "")
        target = target if "://" in request.target else request.target
    octets = target.encode("latin-1", "replace")
    if not TARGET.fullmatch(octets):
        raise LocalProtocolError(f"invalid target {show(octets)}", rule="RFC 9113 §8.3.1")
    method = "OPTIONS" if request.method == "OPTIONS" else "GET"
    try:
        read_authority(method, target, None)
    except RemoteProtocolError as error:
        raise LocalProtocolError(error.args[0], rule="RFC 9113 §8.3.1") from None
    return octets


def _own_protocol(request: Request) -> bytes:
    # RFC 8441 §4
    octets = (request.protocol or "").encode("latin-1", "replace")
    if request.method != "CONNECT" or not METHOD.fullmatch(octets.replace(b"/", b"", 1)):
        raise LocalProtocolError(f"invalid extended CONNECT for {show(octets)}", rule="RFC 8441 §4")
    return octets


def response_lines(response: Response) -> Lines:
    """Return the field section of ``response``."""
    status = (b":status", b"%d" % response.status)
    return [status, *_without_connection(response.fields)]


def trailer_lines(trailers: Fields) -> Lines:
    """Return the field section of ``trailers``; pseudo-fields cannot be among Fields."""
    return _without_connection(trailers)


def _without_connection(fields: Fields) -> Lines:
    # RFC 9113 §8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing
    # connection-specific header fields", and what Connection names is of that kind.
    lines = [(name.lower(), value) for name, value in fields.raw]
    for name, _ in lines:
        if name in _LEFT_OUT:
            return _cleaned(fields, lines)
    return lines


def _cleaned(fields: Fields, lines: Lines) -> Lines:
    named = {option.encode("latin-1") for option in fields.connection_options}
    left_out = _LEFT_OUT | (named - {b"te", b"host", b"content-length"})
    return [line for line in lines if line[0] not in left_out and not _foreign_te(line)]


def _foreign_te(line: tuple[bytes, bytes]) -> bool:
    return line[0] == b"te" and line[1].lower() != b"trailers"


def _malformed(message: str, rule: str) -> StreamFault:
    # RFC 9113 §8.1.1: "Malformed requests or responses that are detected MUST be treated as a
    # stream error … of type PROTOCOL_ERROR."
    return StreamFault(ErrorCode.PROTOCOL_ERROR, message, rule)
