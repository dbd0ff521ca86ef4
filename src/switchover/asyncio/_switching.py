"""The moment of the switch: what a successor is told, and how it gets the connection.

This file is compiled as ``_switching_c``; the C types stand in ``_switching_c.pxd``. Choose
through :mod:`switchover.asyncio.switching`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from switchover.asyncio.exchange import PeerFacts
from switchover.asyncio.flow import feed
from switchover.http.messages import Request, Response

if TYPE_CHECKING:
    from switchover.asyncio._http1_server import HTTP1Driver
    from switchover.asyncio.server import Server
    from switchover.upgrade.decisions import Select

__all__ = ["Successor", "Switching", "hand_over"]


class Switching:
    """A switch that a server has agreed to, as its successor sees it.

    ``trailing_data`` are the octets that were read together with the request and belong to
    the new protocol. ``content`` is the content of the request that asked.
    """

    __slots__ = (
        "_driver",
        "_facts",
        "content",
        "protocol",
        "request",
        "response",
        "selection",
        "server",
        "trailing_data",
    )

    def __init__(
        self,
        *,
        server: Server,
        protocol: str,
        request: Request,
        response: Response,
        content: bytes,
        selection: Select,
        facts: PeerFacts,
        trailing_data: bytes,
    ) -> None:
        self.server = server
        self.protocol = protocol
        self.request = request
        self.response = response
        self.content = content
        self.selection = selection
        self.trailing_data = trailing_data
        self._facts: PeerFacts | None = facts
        self._driver: HTTP1Driver | None = None

    @property
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection."""
        if self._facts is None:
            assert self._driver is not None
            self._facts = self._driver.facts  # which makes them for whoever asks first
        return self._facts

    @property
    def state(self) -> Any:
        """What the token's own opening handshake left for its successor."""
        return self.selection.acceptance.state

    @property
    def chain(self) -> tuple[str, ...]:
        """The machines of the connection, the new one last."""
        return (*self.facts.chain, self.protocol)


class Successor(Protocol):
    """What a server makes of a connection that has been switched.

    It may have a method ``async def consider(exchange, selection, content)``; then that is
    asked before the switch, and either switches the exchange or answers it.
    """

    def attach(self, switching: Switching, transport: asyncio.Transport) -> None:
        """Take ``transport`` over; the 101 has been written."""


def hand_over(
    transport: asyncio.Transport, successor: asyncio.BaseProtocol, trailing_data: bytes
) -> None:
    """Let ``successor`` own ``transport`` from the next octet, ``trailing_data`` first."""
    transport.set_protocol(successor)
    successor.connection_made(transport)
    if trailing_data:
        feed(successor, trailing_data)
