"""Offers to switch: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.messages import COMPILED as _MESSAGES_COMPILED
from switchover.upgrade.tokens import COMPILED as _TOKENS_COMPILED

__all__ = [
    "COMPILED",
    "MAX_MEMBERS",
    "NO_UPGRADE",
    "NoOffer",
    "Offer",
    "examine",
    "offered",
    "what_arrived",
]

if TYPE_CHECKING or not (_MESSAGES_COMPILED and _TOKENS_COMPILED):
    from switchover.upgrade._offers import (
        MAX_MEMBERS,
        NO_UPGRADE,
        NoOffer,
        Offer,
        examine,
        offered,
        what_arrived,
    )
else:
    try:
        from switchover.upgrade._offers_c import (
            MAX_MEMBERS,
            NO_UPGRADE,
            NoOffer,
            Offer,
            examine,
            offered,
            what_arrived,
        )
    except ImportError:
        from switchover.upgrade._offers import (
            MAX_MEMBERS,
            NO_UPGRADE,
            NoOffer,
            Offer,
            examine,
            offered,
            what_arrived,
        )

#: Whether requests are examined by compiled code.
COMPILED: bool = Offer.__module__.endswith("_c")
