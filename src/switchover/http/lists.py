"""Comma-separated lists: the compiled build where there is one, else the same source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = ["COMPILED", "MAX_EMPTY_MEMBERS", "connection_options", "split_list"]

if TYPE_CHECKING or os.environ.get("SWITCHOVER_PURE_PYTHON") == "1":
    from switchover.http._lists import MAX_EMPTY_MEMBERS, connection_options, split_list
else:
    try:
        from switchover.http._lists_c import MAX_EMPTY_MEMBERS, connection_options, split_list
    except ImportError:
        from switchover.http._lists import MAX_EMPTY_MEMBERS, connection_options, split_list

#: Whether lists are read by compiled code.
COMPILED: bool = split_list.__module__.endswith("_c")
