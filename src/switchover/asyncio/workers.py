"""Tasks that begin a handler at once, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.asyncio.wire import COMPILED as _WIRE_COMPILED

__all__ = ["COMPILED", "Workers"]

if TYPE_CHECKING or not _WIRE_COMPILED:
    # The compiled one wakes tasks in C, so it needs the compiled way to do so.
    from switchover.asyncio._workers import Workers
else:
    try:
        from switchover.asyncio._workers_c import Workers
    except ImportError:
        from switchover.asyncio._workers import Workers

#: Whether it runs compiled.
COMPILED: bool = Workers.__module__.endswith("_c")
