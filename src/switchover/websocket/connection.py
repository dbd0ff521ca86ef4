"""The data phase of a WebSocket connection, in the fastest build there is (RFC 6455)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.websocket.framing import COMPILED as _FRAMING_COMPILED

__all__ = ["COMPILED", "Connection", "Side", "State", "server_end"]

if TYPE_CHECKING or not _FRAMING_COMPILED:
    # The compiled one reaches into the frame loop in C, so it needs the compiled one.
    from switchover.websocket._connection import Connection, Side, State, server_end
else:
    try:
        from switchover.websocket._connection_c import Connection, Side, State, server_end
    except ImportError:
        from switchover.websocket._connection import Connection, Side, State, server_end

#: Whether it runs compiled.
COMPILED: bool = Connection.__module__.endswith("_c")
