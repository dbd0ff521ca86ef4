"""The frame loop in the fastest build there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = ["COMPILED", "Framing"]

if TYPE_CHECKING or os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
    from switchover.websocket._framing import Framing
else:
    try:
        from switchover.websocket._framing_c import Framing
    except ImportError:
        from switchover.websocket._framing import Framing

#: Whether the frame loop runs compiled.
COMPILED: bool = Framing.__module__.endswith("_c")
