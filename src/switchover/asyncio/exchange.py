"""One request and its answer, whatever the HTTP version: what a handler is given.

The HTTP/1.1 driver and the streams of the HTTP/2 driver implement :class:`Exchange`;
an application handler cannot tell which one it has, and need not.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.offers import Offer

__all__ = ["Exchange", "Handler", "PeerFacts"]


@dataclass(slots=True)
class PeerFacts:
    """What is known of the connection under an exchange.

    ``peername`` and ``sockname`` are what the transport says (a ``(host, port, …)`` tuple,
    or a path for a Unix socket). ``tls`` is ``None`` in cleartext, else a mapping with
    ``version``, ``cipher``, ``alpn``, ``server_name`` and ``peer_certificate``. ``chain``
    names the machines the connection has been through, such as
    ``("HTTP/1.1", "TLS", "HTTP/1.1")``.
    """

    peername: Any = None
    sockname: Any = None
    tls: Mapping[str, Any] | None = None
    chain: tuple[str, ...] = field(default=("HTTP/1.1",))


class Exchange(abc.ABC):
    """One request and its answer.

    Every method that waits raises :class:`~switchover.errors.Disconnected` when the peer
    has left, and :class:`~switchover.errors.LocalProtocolError` when the call does not fit
    the state of the exchange; nothing is written then.
    """

    request: Request
    #: What the request offers to switch to (RFC 9110 §7.8), or ``None``.
    offer: Offer | None
    #: Trailer fields of the request, once its content has been read to the end.
    trailers: Fields | None
    #: A final response, or a 101, has been started.
    response_started: bool
    #: The answer is complete, or the connection has been switched.
    response_complete: bool

    @property
    @abc.abstractmethod
    def facts(self) -> PeerFacts:
        """Peer, TLS and chain of the connection this exchange runs on."""

    @abc.abstractmethod
    async def receive_content(self) -> bytes:
        """Return the next piece of the request's content, ``b""`` at its end.

        Sends ``100 Continue`` first if the client waits for it (RFC 9110 §10.1.1).
        """

    @abc.abstractmethod
    async def send_interim(self, response: Response) -> None:
        """Send an interim (1xx) response other than 101; dropped for HTTP/1.0 clients."""

    @abc.abstractmethod
    async def send_response(self, response: Response, *, end: bool = False) -> None:
        """Send the head of the final response, and its ``content`` if it has any.

        With ``end`` the response is complete.
        """

    @abc.abstractmethod
    async def send_content(self, data: bytes) -> None:
        """Send a piece of content; waits while the peer does not read."""

    @abc.abstractmethod
    async def send_end(self, trailers: Fields | None = None) -> None:
        """Complete the response."""

    @abc.abstractmethod
    async def switch(
        self, protocol: str, fields: Fields, successor: asyncio.BaseProtocol, *, status: int = 0
    ) -> None:
        """Switch the connection (or the stream) to ``protocol``; ``successor`` owns it then.

        Over HTTP/1.1 this sends ``101`` with ``Upgrade`` and ``fields``; for CONNECT, and over
        HTTP/2, a 2xx with ``fields`` (``status`` replaces the default). The request's content
        is read, and discarded, first. Then ``successor.connection_made()`` is called with the
        transport, and the octets that follow the request are delivered to it.
        """

    @abc.abstractmethod
    async def wait_disconnected(self) -> None:
        """Return once the peer has left, or the exchange is over."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End the exchange abruptly: the answer cannot be completed."""


#: An application: it answers one exchange.
Handler = Callable[[Exchange], Awaitable[None]]
