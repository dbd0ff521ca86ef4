"""What carries an HTTP/2 connection, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.asyncio.workers import COMPILED as _WORKERS_COMPILED
from switchover.http2.machine import COMPILED as _MACHINE_COMPILED

__all__ = ["COMPILED", "Carrier", "ExchangeState", "ServerCarrier"]

if TYPE_CHECKING or not (_MACHINE_COMPILED and _WORKERS_COMPILED):
    # The compiled one calls the machine in C, so it needs the compiled machine.
    from switchover.asyncio._http2_carrier import Carrier, ExchangeState, ServerCarrier
else:
    try:
        from switchover.asyncio._http2_carrier_c import Carrier, ExchangeState, ServerCarrier
    except ImportError:
        from switchover.asyncio._http2_carrier import Carrier, ExchangeState, ServerCarrier

#: Whether it runs compiled.
COMPILED: bool = Carrier.__module__.endswith("_c")
