"""Subprotocols: what runs inside the messages, agreed in the opening handshake (RFC 6455 §1.9).

A subprotocol is a token, compared letter for letter. A server picks one of those offered or
none; a server that picks none sends no field at all, and a browser that offered some then
fails the connection: that is the client's to decide, so the server does not refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.upgrade.tokens import is_token

__all__ = [
    "SubprotocolChoice",
    "accepted_subprotocol",
    "check_subprotocols",
    "choose_subprotocol",
    "offered_subprotocols",
]

FIELD = "Sec-WebSocket-Protocol"

#: How a server picks: its own list in order of preference, or a function that is given the
#: client's list (possibly empty) and returns one of it, or ``None`` for none.
SubprotocolChoice: TypeAlias = Sequence[str] | Callable[[Sequence[str]], str | None] | None


def check_subprotocols(subprotocols: Sequence[str]) -> tuple[str, ...]:
    """Return ``subprotocols`` as a tuple; they come from a caller.

    Raises :class:`LocalProtocolError` unless they are tokens, each given once.
    """
    if isinstance(subprotocols, str):
        raise LocalProtocolError(
            f"subprotocols are a list of names, not one text: [{subprotocols!r}] was meant?"
        )
    for name in subprotocols:
        if not is_token(name):
            raise LocalProtocolError(f"not a subprotocol: {name!r}", rule="RFC 6455 §4.1")
    # RFC 6455 §4.1 item 10: "The elements that comprise this value MUST be non-empty strings
    # with characters in the range U+0021 to U+007E not including separator characters … and
    # MUST all be unique strings."
    if len(set(subprotocols)) < len(subprotocols):
        raise LocalProtocolError(
            f"a subprotocol is given twice: {list(subprotocols)!r}", rule="RFC 6455 §4.1"
        )
    return tuple(subprotocols)


def offered_subprotocols(fields: Fields) -> list[str]:
    """Return what a client offers, in its order of preference; all lines taken together.

    Raises :class:`RemoteProtocolError` if the field is there and is not a list of distinct
    tokens with at least one member.
    """
    # RFC 6455 §11.3.4: the field "MAY appear multiple times in an HTTP request".
    if FIELD not in fields:
        return []
    names = fields.members(FIELD)
    for name in names:
        if not is_token(name):
            raise RemoteProtocolError(
                f"{FIELD} has a member that is no token: {show(name)}",
                rule="RFC 6455 §11.3.4",
            )
    if not names or len(set(names)) < len(names):
        what = "names a subprotocol twice" if names else "is empty"
        raise RemoteProtocolError(f"{FIELD} {what}", rule="RFC 6455 §4.1")
    return names


def choose_subprotocol(offered: Sequence[str], choice: SubprotocolChoice) -> str | None:
    """Return the server's pick, or ``None`` to go without a subprotocol.

    Raises :class:`LocalProtocolError` if a function picks what was not offered.
    """
    if callable(choice):
        return _checked(choice(offered), offered)
    # RFC 6455 §4.2.2: "Either a single value representing the subprotocol the server is ready
    # to use or null. The value chosen MUST be derived from the client's handshake".
    for name in choice or ():
        if name in offered:
            return name
    return None


def _checked(picked: str | None, offered: Sequence[str]) -> str | None:
    # RFC 6455 §4.2.2: "the absence of such a field is equivalent to the null value (meaning
    # that if the server does not wish to agree to one of the suggested subprotocols, it MUST
    # NOT send back a |Sec-WebSocket-Protocol| header field in its response). The empty string
    # is not the same as the null value for these purposes".
    if picked is not None and picked not in offered:
        raise LocalProtocolError(
            f"subprotocol {picked!r} picked, but the client offers {list(offered)!r}",
            rule="RFC 6455 §4.2.2",
        )
    return picked


def accepted_subprotocol(fields: Fields, offered: Sequence[str]) -> str | None:
    """Return the subprotocol a server's response names, or ``None`` if it names none.

    Raises :class:`RemoteProtocolError` unless it is exactly one of those offered.
    """
    lines = fields.get_all(FIELD)
    if not lines:
        return None
    # RFC 6455 §11.3.4: the field "MUST NOT appear more than once in an HTTP response".
    if len(lines) > 1:
        raise RemoteProtocolError(f"{FIELD} came {len(lines)} times", rule="RFC 6455 §11.3.4")
    # RFC 6455 §4.1: "If the response includes a |Sec-WebSocket-Protocol| header field and this
    # header field indicates the use of a subprotocol that was not present in the client's
    # handshake …, the client MUST _Fail the WebSocket Connection_."
    if lines[0] not in offered:
        raise RemoteProtocolError(
            f"{FIELD} is {show(lines[0])}, and {list(offered)!r} was offered",
            rule="RFC 6455 §4.1",
        )
    return lines[0]
