"""The part of a machine that runs for every stream, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http2.frames import COMPILED as _FRAMES_COMPILED

__all__ = ["COMPILED", "Machine", "ServerMachine"]

if TYPE_CHECKING or not _FRAMES_COMPILED:
    # The compiled one calls the engine in C, so it needs the compiled engine.
    from switchover.http2._machine import Machine, ServerMachine
else:
    try:
        from switchover.http2._machine_c import Machine, ServerMachine
    except ImportError:
        from switchover.http2._machine import Machine, ServerMachine

#: Whether it runs compiled.
COMPILED: bool = Machine.__module__.endswith("_c")
