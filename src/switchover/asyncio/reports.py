"""What became of each offer: for logs, live views and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from switchover.http.messages import Request

__all__ = ["Observer", "Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """One offer and its outcome.

    ``outcome`` is ``"switched"``, ``"declined"`` (an ordinary exchange), ``"refused"`` (an
    error response) or ``"required"`` (426). ``protocol`` is the one switched to. ``reason``
    and ``rule`` say why not, if not.
    """

    outcome: str
    request: Request
    peername: Any
    protocol: str | None = None
    reason: str = ""
    rule: str = ""


#: Called with each report, from the event loop; it must not wait.
Observer = Callable[[Report], None]
