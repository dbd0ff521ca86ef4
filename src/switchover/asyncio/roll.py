"""Who owns the connections of a server, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.websocket.framing import COMPILED as _WANTED

__all__ = ["COMPILED", "Roll"]

if TYPE_CHECKING or not _WANTED:
    # Compiled or not as a whole: what is measured and tested is one or the other.
    from switchover.asyncio._roll import Roll
else:
    try:
        from switchover.asyncio._roll_c import Roll
    except ImportError:
        from switchover.asyncio._roll import Roll

#: Whether it runs compiled.
COMPILED: bool = Roll.__module__.endswith("_c")
