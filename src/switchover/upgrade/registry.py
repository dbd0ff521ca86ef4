"""What a server can switch to: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.messages import COMPILED as _MESSAGES_COMPILED
from switchover.upgrade.offers import COMPILED as _OFFERS_COMPILED

__all__ = [
    "COMPILED",
    "DEFAULT_CONTENT_LIMIT",
    "Acceptance",
    "Candidate",
    "ContentRule",
    "Policy",
    "Registry",
    "Upgrade",
    "accept_plainly",
    "check_early_data",
    "client_order",
    "server_order",
]

if TYPE_CHECKING or not (_MESSAGES_COMPILED and _OFFERS_COMPILED):
    from switchover.upgrade._registry import (
        DEFAULT_CONTENT_LIMIT,
        Acceptance,
        Candidate,
        ContentRule,
        Policy,
        Registry,
        Upgrade,
        accept_plainly,
        check_early_data,
        client_order,
        server_order,
    )
else:
    try:
        from switchover.upgrade._registry_c import (
            DEFAULT_CONTENT_LIMIT,
            Acceptance,
            Candidate,
            ContentRule,
            Policy,
            Registry,
            Upgrade,
            accept_plainly,
            check_early_data,
            client_order,
            server_order,
        )
    except ImportError:
        from switchover.upgrade._registry import (
            DEFAULT_CONTENT_LIMIT,
            Acceptance,
            Candidate,
            ContentRule,
            Policy,
            Registry,
            Upgrade,
            accept_plainly,
            check_early_data,
            client_order,
            server_order,
        )

#: Whether offers are matched by compiled code.
COMPILED: bool = Registry.__module__.endswith("_c")
