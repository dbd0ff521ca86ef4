"""The part of a WebSocket that runs for every message, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.websocket.connection import COMPILED as _MACHINE_COMPILED

__all__ = ["COMPILED", "Waiter", "Wire"]

if TYPE_CHECKING or not _MACHINE_COMPILED:
    # The compiled one reaches into the machine in C, so it needs the compiled machine.
    from switchover.asyncio._wire import Waiter, Wire
else:
    try:
        from switchover.asyncio._awaitables import Wire
        from switchover.asyncio._wire_c import Waiter
    except ImportError:
        from switchover.asyncio._wire import Waiter, Wire

#: Whether it runs compiled.
COMPILED: bool = Waiter.__module__.endswith("_c")
