"""HPACK: the compiled build where there is one, else the same source as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = ["COMPILED", "Decoder", "Encoder", "HPACKError"]

COMPILED = False
"""Whether field sections are read and written by compiled code."""

if TYPE_CHECKING:
    from switchover.http2._hpack import Decoder, Encoder, HPACKError
else:
    try:
        if os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
            raise ImportError
        from switchover.http2._hpack_c import Decoder, Encoder, HPACKError

        COMPILED = True
    except ImportError:
        from switchover.http2._hpack import Decoder, Encoder, HPACKError
