"""Requests and responses: the compiled build where there is one, else the same source as it is."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from switchover.http.fields import COMPILED as _FIELDS_COMPILED

__all__ = ["COMPILED", "Request", "Response", "default_reason"]

if TYPE_CHECKING or not _FIELDS_COMPILED:
    from switchover.http._messages import Request, Response
else:
    try:
        from switchover.http._messages_c import Request, Response
    except ImportError:
        from switchover.http._messages import Request, Response

#: Whether they are compiled.
COMPILED: bool = Request.__module__.endswith("_c")


def default_reason(status: int) -> str:
    """Return the usual reason phrase of a status code, empty for an unknown one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
