"""What the octets of an HTTP/1.1 connection meant: the events of both machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from switchover.errors import ProtocolError
from switchover.http.messages import COMPILED as _MESSAGES_COMPILED
from switchover.http.messages import Request, Response

if TYPE_CHECKING or not _MESSAGES_COMPILED:
    from switchover.http._events import (
        ContentReceived,
        MessageComplete,
        RequestReceived,
        Switched,
    )
else:
    try:
        from switchover.http._events_c import (
            ContentReceived,
            MessageComplete,
            RequestReceived,
            Switched,
        )
    except ImportError:
        from switchover.http._events import (
            ContentReceived,
            MessageComplete,
            RequestReceived,
            Switched,
        )

__all__ = [
    "COMPILED",
    "ContentReceived",
    "Event",
    "Failed",
    "InterimResponseReceived",
    "MessageComplete",
    "PeerClosed",
    "RequestReceived",
    "ResponseReceived",
    "Switched",
]

#: Whether those of a server's requests are compiled.
COMPILED: bool = RequestReceived.__module__.endswith("_c")


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """The head of the final response to ``request`` has arrived (client)."""

    response: Response
    request: Request


@dataclass(frozen=True, slots=True)
class InterimResponseReceived:
    """A 1xx response other than 101 has arrived; the final one is still to come (client)."""

    response: Response


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer has ended its direction of the connection, between two messages."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The peer broke a rule, or left in mid-message. Nothing later is interpreted."""

    error: ProtocolError


Event = (
    RequestReceived
    | ResponseReceived
    | InterimResponseReceived
    | ContentReceived
    | MessageComplete
    | Switched
    | PeerClosed
    | Failed
)
