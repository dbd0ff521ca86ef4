"""Writing heads and chunks: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.messages import COMPILED as _MESSAGES_COMPILED

__all__ = ["COMPILED", "chunk", "last_chunk", "request_head", "response_head"]

if TYPE_CHECKING or not _MESSAGES_COMPILED:
    from switchover.http._writing import chunk, last_chunk, request_head, response_head
else:
    try:
        from switchover.http._writing_c import chunk, last_chunk, request_head, response_head
    except ImportError:
        from switchover.http._writing import chunk, last_chunk, request_head, response_head

#: Whether heads are written by compiled code.
COMPILED: bool = response_head.__module__.endswith("_c")
