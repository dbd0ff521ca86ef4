"""The server's HTTP/1.1 machine: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.fields import COMPILED as _FIELDS_COMPILED
from switchover.http.head import COMPILED as _HEAD_COMPILED
from switchover.http.messages import COMPILED as _MESSAGES_COMPILED

__all__ = ["COMPILED", "AnswerState", "RequestState", "ServerConnection"]

if TYPE_CHECKING or not (_HEAD_COMPILED and _FIELDS_COMPILED and _MESSAGES_COMPILED):
    # The compiled one reaches into the others in C, so it needs them compiled.
    from switchover.http._server import AnswerState, RequestState, ServerConnection
else:
    try:
        from switchover.http._server_c import AnswerState, RequestState, ServerConnection
    except ImportError:
        from switchover.http._server import AnswerState, RequestState, ServerConnection

#: Whether it runs compiled.
COMPILED: bool = ServerConnection.__module__.endswith("_c")
