"""Deadlines for many connections at the price of few timers, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.websocket.framing import COMPILED as _WANTED

__all__ = ["COMPILED", "Deadline", "Deadlines", "deadlines_of"]

if TYPE_CHECKING or not _WANTED:
    # Compiled or not as a whole: what is measured and tested is one or the other.
    from switchover.asyncio._deadlines import Deadline, Deadlines, deadlines_of
else:
    try:
        from switchover.asyncio._deadlines_c import Deadline, Deadlines, deadlines_of
    except ImportError:
        from switchover.asyncio._deadlines import Deadline, Deadlines, deadlines_of

#: Whether they run compiled.
COMPILED: bool = Deadlines.__module__.endswith("_c")
