"""permessage-deflate at work, in the fastest build there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from switchover.websocket.deflate_settings import Direction, Workshop

__all__ = ["COMPILED", "DeflateCoding", "Direction", "Workshop"]

if TYPE_CHECKING or os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
    from switchover.websocket._deflate_coding import DeflateCoding
else:
    try:
        from switchover.websocket._deflate_coding_c import DeflateCoding
    except ImportError:
        from switchover.websocket._deflate_coding import DeflateCoding

#: Whether it runs compiled.
COMPILED: bool = DeflateCoding.__module__.endswith("_c")
