"""The responses of the mechanism: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.messages import COMPILED as _MESSAGES_COMPILED
from switchover.upgrade.offers import COMPILED as _OFFERS_COMPILED

__all__ = [
    "COMPILED",
    "advertise",
    "build_switching_response",
    "required_response",
    "switching_response_to",
]

if TYPE_CHECKING or not (_MESSAGES_COMPILED and _OFFERS_COMPILED):
    from switchover.upgrade._responses import (
        advertise,
        build_switching_response,
        required_response,
        switching_response_to,
    )
else:
    try:
        from switchover.upgrade._responses_c import (
            advertise,
            build_switching_response,
            required_response,
            switching_response_to,
        )
    except ImportError:
        from switchover.upgrade._responses import (
            advertise,
            build_switching_response,
            required_response,
            switching_response_to,
        )

#: Whether they are made by compiled code.
COMPILED: bool = advertise.__module__.endswith("_c")
