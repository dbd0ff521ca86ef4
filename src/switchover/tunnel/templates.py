"""The URI Templates of proxies: RFC 9298 §2 and §3, a strict part of RFC 6570."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.messages import Request
from switchover.tunnel.connect import Authority, parse_host, parse_port

__all__ = ["ProxyTemplate"]

_expression = re.compile(r"\{([^{}]*)\}")
# RFC 6570 §2.3, without its dots and escapes, which nobody uses for these names.
_variables = re.compile(r"([?&]?)([A-Za-z0-9_]+(?:,[A-Za-z0-9_]+)*)")
_absolute = re.compile(r"https?://[^/?#\x00]+(/[^#]*)")
_RULE = "RFC 9298 §2"
_TARGET = ("target_host", "target_port")


@dataclass(frozen=True, slots=True)
class _Expression:
    """``{a,b}`` (operator ""), ``{?a,b}`` or ``{&a,b}``."""

    operator: str
    names: tuple[str, ...]

    def expand(self, values: dict[str, str]) -> str:
        # RFC 6570 §3.2.2, §3.2.8, §3.2.9; variables without a value are left out.
        present = [name for name in self.names if name in values]
        if not present:
            return ""
        if not self.operator:
            return ",".join(values[name] for name in present)
        return self.operator + "&".join(f"{name}={values[name]}" for name in present)

    def regex(self, seen: set[str]) -> str:
        """A pattern for what any expansion gives; other variables may be there or not."""
        separator = "&" if self.operator else ","
        value = "[^&]*" if self.operator else "[^/?&,]*"
        pattern, found = "", False
        for name in self.names:
            part = f"{re.escape(name)}=" if self.operator else ""
            if name not in _TARGET:
                part += value
                pattern += f"(?:{separator}{part})?" if found else f"(?:{part}{separator})?"
                continue
            # A port has no dot, so next to one the host gets all that it can.
            group = f"(?P<{name}>{value}{'?' if name == 'target_port' else ''})"
            part += f"(?P={name})" if name in seen else group
            seen.add(name)
            pattern += separator + part if found else part
            found = True
        if not found:
            return f"(?:{re.escape(self.operator)}{value}(?:{separator}{value})*)?"
        return re.escape(self.operator) + pattern


class ProxyTemplate:
    """Where a proxy serves destinations, as a template over ``target_host``, ``target_port``.

    A client's template is absolute (``https://proxy/udp/{target_host}/{target_port}/``); a
    server's may also begin with the path. Variables other than those two have no value here.
    """

    def __init__(self, text: str) -> None:
        """Raise :class:`LocalProtocolError` for a template that RFC 9298 §2 does not allow."""
        self.text = text
        # RFC 9298 §2: "only contain ASCII characters in the range 0x21-0x7E inclusive".
        if not all("!" <= character <= "~" for character in text):
            raise _broken(text, "has characters other than visible ASCII")
        pieces = _expression.split(text)
        self._literals = pieces[::2]
        self._expressions = [_parse_expression(text, inside) for inside in pieces[1::2]]
        self._check(text)
        self._regex = self._compile(text)

    def _check(self, text: str) -> None:
        literal = "\x00".join(self._literals)
        if "{" in literal or "}" in literal:
            raise _broken(text, "has a brace that belongs to no expression")
        if "#" in literal:
            raise _broken(text, "has a fragment")
        # RFC 9298 §2: absolute, with a scheme, an authority, and a path that begins with a
        # slash; variables only in the path or the query.
        if not text.startswith("/") and not _absolute.fullmatch(literal):
            raise _broken(text, "is not absolute, or has a variable ahead of its path")
        names = {name for expression in self._expressions for name in expression.names}
        for name in _TARGET:
            if name not in names:
                raise _broken(text, f"lacks the variable {name}")

    def _compile(self, text: str) -> re.Pattern[str]:
        literals = list(self._literals)
        if not text.startswith("/"):
            literals[0] = literals[0][literals[0].index("/", len("https://")) :]
        seen: set[str] = set()
        pattern = re.escape(literals[0])
        for expression, literal in zip(self._expressions, literals[1:], strict=True):
            pattern += expression.regex(seen) + re.escape(literal)
        return re.compile(pattern)

    def expand(self, host: str, port: int) -> str:
        """Return the URI for a destination.

        ``host`` is a name or an address, without brackets and without a zone. Raises
        :class:`LocalProtocolError` if it is none, or the port impossible.
        """
        if self.text.startswith("/"):
            raise _broken(self.text, "is not absolute")
        try:
            values = {
                "target_host": _encode(parse_host(host)),
                "target_port": str(parse_port(str(port))),
            }
        except RemoteProtocolError as error:
            raise LocalProtocolError(str(error), rule="RFC 9298 §3") from None
        expanded = self._literals[0]
        for expression, literal in zip(self._expressions, self._literals[1:], strict=True):
            expanded += expression.expand(values) + literal
        return expanded

    def matches(self, request: Request) -> bool:
        """Whether ``request`` is for this proxy resource, be its variables valid or not."""
        return self._regex.fullmatch(_path_and_query(request)) is not None

    def read(self, request: Request) -> Authority:
        """Return the destination that ``request`` names.

        Raises :class:`RemoteProtocolError` (400) if it is none; names are not looked up.
        """
        found = self._regex.fullmatch(_path_and_query(request))
        if found is None:
            raise _bad_target("the target does not fit the template")
        host, port = _decode(found["target_host"]), _decode(found["target_port"])
        try:
            return Authority(parse_host(host), parse_port(port))
        except RemoteProtocolError as error:
            raise _bad_target(str(error)) from None


def _parse_expression(text: str, inside: str) -> _Expression:
    found = _variables.fullmatch(inside)
    # RFC 9298 §2: level 3 at most (no ":3", no "*"), and neither "+", "#", ".", "/" nor ";".
    if found is None:
        raise _broken(text, f"has an expression that is not allowed: {{{inside}}}")
    names = tuple(found[2].split(","))
    if any(name[0].isdigit() for name in names):
        raise _broken(text, "has a variable that begins with a digit")
    return _Expression(found[1], names)


def _path_and_query(request: Request) -> str:
    return f"{request.path}?{request.query}" if request.query else request.path


def _encode(value: str) -> str:
    # RFC 9298 §3: "using percent-encoding … colons … MUST be" encoded: all but unreserved.
    return re.sub(r"[^A-Za-z0-9\-._~]", lambda found: f"%{ord(found[0]):02X}", value)


def _decode(value: str) -> str:
    # A broken escape stays as it is, and makes no host and no port.
    return unquote_to_bytes(value).decode("latin-1")


def _broken(text: str, why: str) -> LocalProtocolError:
    return LocalProtocolError(f"the template {show(text, 200)} {why}", rule=_RULE)


def _bad_target(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, rule="RFC 9298 §3", status=400)
