"""Frames: the compiled build where there is one, else the same source as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from switchover.http2._frames import UNKNOWN

__all__ = ["COMPILED", "UNKNOWN", "Frames", "Message", "Stream"]

COMPILED = False
"""Whether frames are read and written by compiled code."""

if TYPE_CHECKING:
    from switchover.http2._frames import Frames, Message, Stream
else:
    try:
        if os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
            raise ImportError
        from switchover.http2._frames_c import Frames, Message, Stream

        COMPILED = True
    except ImportError:
        from switchover.http2._frames import Frames, Message, Stream
