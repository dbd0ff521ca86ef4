"""Path patterns: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.fields import COMPILED as _FIELDS_COMPILED

__all__ = ["COMPILED", "PathPattern"]

if TYPE_CHECKING or not _FIELDS_COMPILED:
    from switchover.upgrade._paths import PathPattern
else:
    try:
        from switchover.upgrade._paths_c import PathPattern
    except ImportError:
        from switchover.upgrade._paths import PathPattern

#: Whether patterns are compiled.
COMPILED: bool = PathPattern.__module__.endswith("_c")
