"""The moment of the switch, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.websocket.framing import COMPILED as _WANTED

__all__ = ["COMPILED", "Successor", "Switching", "hand_over"]

if TYPE_CHECKING or not _WANTED:
    # Compiled or not as a whole: what is measured and tested is one or the other.
    from switchover.asyncio._switching import Successor, Switching, hand_over
else:
    try:
        from switchover.asyncio._switching_c import Successor, Switching, hand_over
    except ImportError:
        from switchover.asyncio._switching import Successor, Switching, hand_over

#: Whether it runs compiled.
COMPILED: bool = Switching.__module__.endswith("_c")
