"""What a coding of permessage-deflate is made from: what was agreed, and what is local."""

from __future__ import annotations

from dataclasses import dataclass

from switchover.websocket.deflate_engines import Engine

__all__ = ["Direction", "Workshop"]


@dataclass(frozen=True, slots=True)
class Direction:
    """What was agreed for the messages of one end.

    ``window_bits`` is the window as a power of two, 8 to 15; ``takeover`` says whether it
    lives on from message to message.
    """

    window_bits: int = 15
    takeover: bool = True


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the connections of one configuration share: engines and local settings."""

    compressing: Engine
    inflating: Engine
    level: int | None
    mem_level: int
    threshold: int
