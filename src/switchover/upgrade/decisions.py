"""What a server does about a request: the compiled build where there is one, else the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.upgrade.registry import COMPILED as _REGISTRY_COMPILED

__all__ = ["COMPILED", "Answer", "Decision", "Ordinary", "Select", "decide", "switching_response"]

if TYPE_CHECKING or not _REGISTRY_COMPILED:
    from switchover.upgrade._decisions import (
        Answer,
        Decision,
        Ordinary,
        Select,
        decide,
        switching_response,
    )
else:
    try:
        from switchover.upgrade._decisions_c import (
            Answer,
            Decision,
            Ordinary,
            Select,
            decide,
            switching_response,
        )
    except ImportError:
        from switchover.upgrade._decisions import (
            Answer,
            Decision,
            Ordinary,
            Select,
            decide,
            switching_response,
        )

#: Whether requests are decided on by compiled code.
COMPILED: bool = Select.__module__.endswith("_c")
