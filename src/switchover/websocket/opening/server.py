"""The server's part of the opening handshake: the compiled build where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.upgrade.decisions import COMPILED as _DECISIONS_COMPILED

__all__ = ["COMPILED", "ServerOpening", "accept"]

if TYPE_CHECKING or not _DECISIONS_COMPILED:
    from switchover.websocket.opening._server import ServerOpening, accept
else:
    try:
        from switchover.websocket.opening._server_c import ServerOpening, accept
    except ImportError:
        from switchover.websocket.opening._server import ServerOpening, accept

#: Whether handshakes are answered by compiled code.
COMPILED: bool = ServerOpening.__module__.endswith("_c")
