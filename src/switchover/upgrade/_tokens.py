# cython: nonecheck=True
"""Upgrade tokens: the names of protocols in ``Upgrade`` (RFC 9110 §7.8, §16.7).

This file runs as it stands, and is compiled as ``_tokens_c`` with the C types of
``_tokens_c.pxd``. Choose through ``switchover.upgrade.tokens``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from switchover.errors import LocalProtocolError
from switchover.http.values import set_once

__all__ = ["UpgradeToken", "is_token", "read_member"]

# RFC 9110 §5.6.2:
#   token          = 1*tchar
#   tchar          = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." /
#                    "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_token = re.compile(_TOKEN)

# RFC 9110 §7.8:
#   Upgrade          = #protocol
#   protocol         = protocol-name ["/" protocol-version]
#   protocol-name    = token
#   protocol-version = token
_protocol = re.compile(rf"({_TOKEN})(?:/({_TOKEN}))?")

# Received members up to this length are remembered after parsing: clients send the same few
# tokens over and over, and no peer can fill memory with 256 short strings.
_REMEMBERED_LENGTH = 64


def is_token(text: str) -> bool:
    """Whether ``text`` is a ``token`` (RFC 9110 §5.6.2)."""
    return _token.fullmatch(text) is not None


class UpgradeToken:
    """A protocol by the name it has in ``Upgrade``: ``websocket``, or ``irc/6.9``.

    ``name`` is the protocol's name, ``version`` its version or ``None``. Tokens compare as
    the standard wants it: names without regard to ASCII case, versions exactly. Immutable,
    hashable, and ``str()`` gives the text that was given.
    """

    __slots__ = ("_key", "_text", "name", "version")

    name: str
    version: str | None
    _key: tuple[str, str | None]
    _text: str

    def __init__(self, name: str, version: str | None = None) -> None:
        """Raise :class:`LocalProtocolError` unless name and version are tokens."""
        if not is_token(name) or not (version is None or is_token(version)):
            shown = name if version is None else f"{name}/{version}"
            raise LocalProtocolError(f"not an upgrade token: {shown!r}", rule="RFC 9110 §7.8")
        self._set(name, version)

    def _set(self, name: str, version: str | None) -> None:
        self.name = name
        self.version = version
        self._text = name if version is None else f"{name}/{version}"
        # RFC 9110 §7.8: "Protocol names are case-insensitive" is said of matching names with
        # the preferred letter case; a token is ASCII, so lower() folds nothing else.
        self._key = (name.lower(), version)

    @classmethod
    def parse(cls, text: str | UpgradeToken) -> UpgradeToken:
        """Return the token that ``text`` is; a token is returned as it is.

        Raises :class:`LocalProtocolError` for anything but ``name`` or ``name/version``:
        the text comes from a caller, and would go out on the wire.
        """
        if isinstance(text, UpgradeToken):
            return text
        token = read_member(text)
        if token is None:
            raise LocalProtocolError(f"not an upgrade token: {text!r}", rule="RFC 9110 §7.8")
        return token

    def matches(self, other: UpgradeToken) -> bool:
        """Whether both name the same protocol in the same version."""
        return self._key == other.key

    @property
    def key(self) -> tuple[str, str | None]:
        """The name in lower case, and the version: equal for tokens that match."""
        return self._key

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UpgradeToken):
            return NotImplemented
        return self._key == other.key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"UpgradeToken({self._text!r})"


def read_member(member: str) -> UpgradeToken | None:
    """Return the token a received member of ``Upgrade`` is, or ``None``.

    What is not a token matches nothing; it does not spoil the members beside it.
    """
    if len(member) <= _REMEMBERED_LENGTH:
        return _read_remembered(member)
    return _read(member)


def _read(member: str) -> UpgradeToken | None:
    found = _protocol.fullmatch(member)
    if found is None:
        return None
    token = UpgradeToken.__new__(UpgradeToken)
    token._set(found[1], found[2])
    return token


_read_remembered = lru_cache(maxsize=256)(_read)
