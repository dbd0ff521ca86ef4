# cython: nonecheck=True
"""The events of each request that a server receives.

This file runs as it stands, and is compiled as ``_events_c`` with the C types of
``_events_c.pxd``. They are in ``switchover.http.events``, among the others.
"""

from __future__ import annotations

from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.values import equal, set_once, shown

__all__ = ["ContentReceived", "MessageComplete", "RequestReceived", "Switched"]


class RequestReceived:
    """The head of a request has arrived (server)."""

    __match_args__ = ("request",)
    __slots__ = __match_args__

    request: Request

    def __init__(self, request: Request) -> None:
        self.request = request

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds a value that can be changed

    def __repr__(self) -> str:
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)


class ContentReceived:
    """A piece of the message's content. Where the pieces are cut means nothing."""

    __match_args__ = ("data",)
    __slots__ = __match_args__

    data: bytes

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.data,))

    def __repr__(self) -> str:
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)


class MessageComplete:
    """The message has arrived whole. ``trailers`` never count as header fields."""

    __match_args__ = ("trailers",)
    __slots__ = ("_trailers",)

    _trailers: Fields | None

    def __init__(self, trailers: Fields | None = None) -> None:
        self._trailers = trailers

    @property
    def trailers(self) -> Fields:
        """The fields behind the content; nearly always none."""
        # Made when asked for: one to each message that nobody looks at would be a waste.
        trailers = self._trailers
        if trailers is None:
            trailers = self._trailers = Fields()
        return trailers

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds a value that can be changed

    def __repr__(self) -> str:
        return shown(self)


class Switched:
    """The connection has left HTTP/1.1; the machine that says so is finished for good.

    ``trailing_data`` are the octets received behind the last HTTP/1.1 message: the first
    ones of ``protocol``.
    """

    __match_args__ = ("protocol", "request", "response", "trailing_data")
    __slots__ = __match_args__

    protocol: str
    request: Request
    response: Response
    trailing_data: bytes

    def __init__(
        self, protocol: str, request: Request, response: Response, trailing_data: bytes
    ) -> None:
        self.protocol = protocol
        self.request = request
        self.response = response
        self.trailing_data = trailing_data

    def __eq__(self, other: object) -> bool:
        return equal(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds values that can be changed

    def __repr__(self) -> str:
        return shown(self)

    def __setattr__(self, name: str, value: object) -> None:
        set_once(self, name, value)
