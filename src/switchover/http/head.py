"""The head parser: the compiled build where there is one, else the same source as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from switchover.http._head import REQUEST, RESPONSE, TRAILERS

__all__ = ["COMPILED", "REQUEST", "RESPONSE", "TRAILERS", "HeadParser"]

COMPILED = False
"""Whether heads are read by compiled code."""

if TYPE_CHECKING:
    from switchover.http._head import HeadParser
else:
    try:
        if os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
            raise ImportError
        from switchover.http._head_c import HeadParser

        COMPILED = True
    except ImportError:
        from switchover.http._head import HeadParser
