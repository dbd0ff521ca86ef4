"""The driver of a server's HTTP/1.1 connection, in the fastest build there is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from switchover.asyncio.http1_carrier import COMPILED as _CARRIER_COMPILED
from switchover.asyncio.switching import COMPILED as _SWITCHING_COMPILED

__all__ = ["COMPILED", "HTTP1ServerProtocol"]

if TYPE_CHECKING or not (_CARRIER_COMPILED and _SWITCHING_COMPILED):
    # The compiled one calls both in C, so it needs the compiled ones.
    from switchover.asyncio._http1_server import HTTP1Driver
else:
    try:
        from switchover.asyncio._http1_server_c import HTTP1Driver
    except ImportError:
        from switchover.asyncio._http1_server import HTTP1Driver

#: Whether it runs compiled.
COMPILED: bool = HTTP1Driver.__module__.endswith("_c")


class HTTP1ServerProtocol(HTTP1Driver, asyncio.BufferedProtocol):
    """A driver as a transport knows it: the compiled one cannot be a protocol by itself."""

    __slots__ = ()
