"""How a connection becomes a WebSocket, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.asyncio.switching import COMPILED as _SWITCHING_COMPILED
from switchover.asyncio.websocket_life import COMPILED as _LIFE_COMPILED

__all__ = ["COMPILED", "WebSocketMaker"]

if TYPE_CHECKING or not (_LIFE_COMPILED and _SWITCHING_COMPILED):
    # The compiled one calls both in C, so it needs the compiled ones.
    from switchover.asyncio._websocket_maker import WebSocketMaker
else:
    try:
        from switchover.asyncio._websocket_maker_c import WebSocketMaker
    except ImportError:
        from switchover.asyncio._websocket_maker import WebSocketMaker

#: Whether it runs compiled.
COMPILED: bool = WebSocketMaker.__module__.endswith("_c")
