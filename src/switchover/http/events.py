"""What the octets of an HTTP/1.1 connection meant: the events of both machines."""

from __future__ import annotations

from dataclasses import dataclass, field

from switchover.errors import ProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response

__all__ = [
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


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The head of a request has arrived (server)."""

    request: Request


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
class ContentReceived:
    """A piece of the message's content. Where the pieces are cut means nothing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class MessageComplete:
    """The message has arrived whole. ``trailers`` never count as header fields."""

    trailers: Fields = field(default_factory=Fields)


@dataclass(frozen=True, slots=True)
class Switched:
    """The connection has left HTTP/1.1; the machine that says so is finished for good.

    ``trailing_data`` are the octets received behind the last HTTP/1.1 message: the first
    ones of ``protocol``.
    """

    protocol: str
    request: Request
    response: Response
    trailing_data: bytes


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
