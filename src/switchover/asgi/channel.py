"""Between a WebSocket connection and an application, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.asyncio.wire import COMPILED as _WIRE_COMPILED

__all__ = ["CLOSED", "COMPILED", "CONNECTING", "DENYING", "OPEN", "Channel"]

from switchover.asgi._channel import CLOSED, CONNECTING, DENYING, OPEN

if TYPE_CHECKING or not _WIRE_COMPILED:
    # The compiled one calls the connection in C, so it needs the compiled connection.
    from switchover.asgi._channel import Channel
else:
    try:
        from switchover.asgi._awaitables import Channel
    except ImportError:
        from switchover.asgi._channel import Channel

#: Whether it runs compiled.
COMPILED: bool = Channel.__module__.endswith("_awaitables")
