"""The life of a WebSocket connection on an event loop, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.asyncio.deadlines import COMPILED as _DEADLINES_COMPILED
from switchover.asyncio.roll import COMPILED as _ROLL_COMPILED
from switchover.asyncio.wire import COMPILED as _WIRE_COMPILED
from switchover.websocket.connection import COMPILED as _MACHINE_COMPILED

__all__ = ["COMPILED", "Lifecycle"]

_BELOW = _WIRE_COMPILED and _MACHINE_COMPILED and _DEADLINES_COMPILED and _ROLL_COMPILED

if TYPE_CHECKING or not _BELOW:
    # The compiled one calls all four in C, so it needs the compiled ones.
    from switchover.asyncio._websocket_life import Lifecycle
else:
    try:
        from switchover.asyncio._websocket_life_c import Lifecycle
    except ImportError:
        from switchover.asyncio._websocket_life import Lifecycle

#: Whether it runs compiled.
COMPILED: bool = Lifecycle.__module__.endswith("_c")
