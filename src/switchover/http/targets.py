"""Request targets and Host: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.head import COMPILED as _HEAD_COMPILED

__all__ = ["COMPILED", "misdirected", "read_authority", "read_host", "split_host_port"]

if TYPE_CHECKING or not _HEAD_COMPILED:
    from switchover.http._targets import misdirected, read_authority, read_host, split_host_port
else:
    try:
        from switchover.http._targets_c import (
            misdirected,
            read_authority,
            read_host,
            split_host_port,
        )
    except ImportError:
        from switchover.http._targets import misdirected, read_authority, read_host, split_host_port

#: Whether they are read by compiled code.
COMPILED: bool = read_host.__module__.endswith("_c")
