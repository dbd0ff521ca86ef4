"""Comma-separated lists in field values (RFC 9110 §5.6.1).

This file runs as it stands, and is compiled as ``_lists_c`` with the C types of
``_lists_c.pxd``. Choose through ``switchover.http.lists``.
"""

from __future__ import annotations

from switchover.errors import RemoteProtocolError

__all__ = ["MAX_EMPTY_MEMBERS", "connection_options", "split_list"]

MAX_EMPTY_MEMBERS = 100
"""How many empty members of one list are skipped before it counts as an attack.

RFC 9110 §5.6.1.2 asks for "a reasonable number"; merging values makes a few at most.
"""


def split_list(value: str) -> list[str]:
    """Return the members of a ``#element`` list: trimmed, in order, without empty ones.

    A comma inside a quoted string or behind a backslash within it does not separate.
    Raises ``RemoteProtocolError`` if there are more than ``MAX_EMPTY_MEMBERS`` empty members.
    """
    if "," not in value:
        member = value.strip(" \t")
        return [member] if member else []
    pieces = value.split(",") if '"' not in value else _split_quoted(value)
    members = [member for piece in pieces if (member := piece.strip(" \t"))]
    # RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty
    # list elements: enough to handle common mistakes by senders that merge values, but
    # not so much that they could be used as a denial-of-service mechanism."
    if len(pieces) - len(members) > MAX_EMPTY_MEMBERS:
        raise RemoteProtocolError("too many empty list members", rule="RFC 9110 §5.6.1.2")
    return members


_USUAL_OPTIONS = {
    spelling.encode(): frozenset(spelling.lower().split(", "))
    for spelling in (
        "close",
        "keep-alive",
        "Keep-Alive",
        "upgrade",
        "Upgrade",
        "keep-alive, Upgrade",
        "Upgrade, HTTP2-Settings",
    )
}
_NO_OPTIONS: frozenset[str] = frozenset()


def connection_options(value: bytes | None) -> frozenset[str]:
    """Return the options of a combined Connection value (RFC 9110 §7.6.1), in lower case.

    Raises ``RemoteProtocolError`` as :func:`split_list` does.
    """
    if value is None:
        return _NO_OPTIONS
    usual = _USUAL_OPTIONS.get(value)
    if usual is not None:
        return usual
    # RFC 9110 §7.6.1: "Connection options are case-insensitive."
    return frozenset([option.lower() for option in split_list(value.decode("latin-1"))])


def _split_quoted(value: str) -> list[str]:
    pieces: list[str] = []
    start = 0
    quoted = escaped = False
    for position, character in enumerate(value):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            pieces.append(value[start:position])
            start = position + 1
    pieces.append(value[start:])
    return pieces
