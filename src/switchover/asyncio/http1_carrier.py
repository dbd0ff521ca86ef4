"""What carries a server's HTTP/1.1 connection, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.asyncio.deadlines import COMPILED as _DEADLINES_COMPILED
from switchover.asyncio.roll import COMPILED as _ROLL_COMPILED
from switchover.http.server import COMPILED as _MACHINE_COMPILED

__all__ = ["COMPILED", "HTTP1Carrier"]

if TYPE_CHECKING or not (_MACHINE_COMPILED and _DEADLINES_COMPILED and _ROLL_COMPILED):
    # The compiled one calls all three in C, so it needs the compiled ones.
    from switchover.asyncio._http1_carrier import HTTP1Carrier
else:
    try:
        from switchover.asyncio._http1_carrier_c import HTTP1Carrier
    except ImportError:
        from switchover.asyncio._http1_carrier import HTTP1Carrier

#: Whether it runs compiled.
COMPILED: bool = HTTP1Carrier.__module__.endswith("_c")
