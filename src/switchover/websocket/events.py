"""What the peer did, apart from sending whole messages, which are plain ``str`` and ``bytes``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from switchover.errors import RemoteProtocolError

__all__ = ["Close", "Event", "Failed", "Fragment", "Ping", "Pong"]


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping came. The answer is on its way; nothing needs to be done (RFC 6455 §5.5.2)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A pong came, solicited or not (RFC 6455 §5.5.3)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer's Close frame came; ``code`` is 1005 if it had none (RFC 6455 §7.1.5)."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a message that came in fragments; only if they are asked for.

    Pieces of text are whole characters, so they may end a little earlier than the frames did.
    """

    data: str | bytes
    first: bool
    final: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The peer broke a rule or a limit; nothing it sends is looked at any more (§7.1.7)."""

    error: RemoteProtocolError


#: Whole messages are delivered as ``str`` (text) and ``bytes`` (binary).
Event: TypeAlias = str | bytes | Ping | Pong | Close | Fragment | Failed
