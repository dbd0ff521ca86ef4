"""The records of a TLS connection, in the fastest build there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.websocket.framing import COMPILED as _WANTED

__all__ = ["COMPILED", "TLSRecords"]

if TYPE_CHECKING or not _WANTED:
    # Compiled or not as a whole: what is measured and tested is one or the other.
    from switchover.asyncio._tls_records import TLSRecords
else:
    try:
        from switchover.asyncio._tls_records_c import TLSRecords
    except ImportError:
        from switchover.asyncio._tls_records import TLSRecords

#: Whether it runs compiled.
COMPILED: bool = TLSRecords.__module__.endswith("_c")
