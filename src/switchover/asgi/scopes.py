"""Connection scopes, in the fastest build there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = ["COMPILED", "http_scope", "websocket_scope"]

if TYPE_CHECKING or os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
    from switchover.asgi._scopes import http_scope, websocket_scope
else:
    try:
        from switchover.asgi._scopes_c import http_scope, websocket_scope
    except ImportError:
        from switchover.asgi._scopes import http_scope, websocket_scope

#: Whether they are made by compiled code.
COMPILED: bool = http_scope.__module__.endswith("_c")
