"""Between an exchange and an application, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.asyncio.wire import COMPILED as _WIRE_COMPILED

__all__ = ["AT_START", "BODY", "COMPILED", "DONE", "HELD", "TRAILERS", "Answer", "response_fields"]

from switchover.asgi._answer import AT_START, BODY, DONE, HELD, TRAILERS

if TYPE_CHECKING or not _WIRE_COMPILED:
    from switchover.asgi._answer import Answer, response_fields
else:
    # What is awaited without a frame stands beside that of WebSockets, which needs their wire.
    try:
        from switchover.asgi._answer_c import response_fields
        from switchover.asgi._awaitables import Answer
    except ImportError:
        from switchover.asgi._answer import Answer, response_fields

#: Whether it runs compiled.
COMPILED: bool = Answer.__module__.endswith("_awaitables")
