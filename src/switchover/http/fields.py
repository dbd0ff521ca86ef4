"""``Fields``: the compiled build where there is one, else the same source as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = ["COMPILED", "Fields"]

if TYPE_CHECKING or os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
    from switchover.http._fields import Fields
else:
    try:
        from switchover.http._fields_c import Fields
    except ImportError:
        from switchover.http._fields import Fields

#: Whether fields are looked up by compiled code.
COMPILED: bool = Fields.__module__.endswith("_c")
