"""One request and its answer, whatever the HTTP version: what a handler is given.

The HTTP/1.1 driver and the streams of the HTTP/2 driver implement :class:`Exchange`;
an application handler cannot tell which one it has, and need not.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from switchover.asyncio.flow import Waiting
from switchover.asyncio.tls import describe_tls
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.offers import Offer

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["Exchange", "Handler", "PeerFacts", "WaitingExchange"]


class PeerFacts:
    """What is known of the connection under an exchange; asked of the kernel when first read.

    ``chain`` names the machines the connection has been through, such as
    ``("HTTP/1.1", "TLS", "HTTP/1.1")``.
    """

    __slots__ = ("_peername", "_sockname", "_tls", "_transport", "chain", "told")

    def __init__(
        self,
        transport: asyncio.BaseTransport | None = None,
        chain: tuple[str, ...] = ("HTTP/1.1",),
    ) -> None:
        self._transport = transport
        self.chain = chain
        self._peername: Any = _UNREAD
        self._sockname: Any = _UNREAD
        self._tls: Any = _UNREAD
        #: What an application's interface has made of them, for the next request.
        self.told: Any = None

    @property
    def peername(self) -> Any:
        """The peer's address: a ``(host, port, …)`` tuple, or a path for a Unix socket."""
        if self._peername is _UNREAD:
            self._peername = self._ask("peername")
        return self._peername

    @property
    def sockname(self) -> Any:
        """Our own address, in the same form."""
        if self._sockname is _UNREAD:
            self._sockname = self._ask("sockname")
        return self._sockname

    @property
    def tls(self) -> Mapping[str, Any] | None:
        """Facts of the TLS session, ``None`` in cleartext.

        ``version``, ``cipher``, ``alpn``, ``peer_certificate`` and the ``ssl_object`` itself.
        """
        if self._tls is _UNREAD:
            self._tls = describe_tls(self._transport) if self._transport is not None else None
        found: Mapping[str, Any] | None = self._tls
        return found

    @property
    def protected(self) -> bool:
        """Whether there is TLS under the connection, from the first octet or by a switch."""
        return self._ask("ssl_object") is not None

    def _ask(self, name: str) -> Any:
        return self._transport.get_extra_info(name) if self._transport is not None else None


_UNREAD: Any = object()


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
    def server(self) -> Server:
        """The server that received the request."""

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

    def try_answer(self, response: Response) -> bool:
        """Send ``response`` whole, if that can be done at once; return whether it was.

        If not, nothing was sent, and :meth:`send_response` says why or does it.
        """
        return False

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

    def try_switch(self, protocol: str, fields: Fields, successor: asyncio.BaseProtocol) -> bool:
        """Do as :meth:`switch` if that does not have to wait; return whether it was done."""
        return False

    @abc.abstractmethod
    async def wait_disconnected(self) -> None:
        """Return once the peer has left, or the exchange is over."""

    def release(self) -> None:  # noqa: B027  # an exchange may have nothing to let go of
        """After the answer, or the switch: forget the request's fields, to save memory.

        For handlers that run on for as long as the switched connection.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """End the exchange abruptly: the answer cannot be completed."""


class WaitingExchange(Waiting, Exchange):
    """What exchanges of both versions do alike: they refuse what does not fit, and wait.

    For content, and for the peer to leave: two may wait at once.
    """

    __slots__ = ()

    _left: bool

    @property
    def left(self) -> bool:
        """The peer has left; nobody waits for an answer."""
        return self._left

    def _check_open(self) -> None:
        if self._left:
            raise Disconnected("the client has left")
        if self.response_complete:
            raise LocalProtocolError("the response is complete", rule="RFC 9110 §15")

    def _check_unanswered(self) -> None:
        self._check_open()
        if self.response_started:
            raise LocalProtocolError("the response has been started already", rule="RFC 9110 §15")

    async def wait_disconnected(self) -> None:
        while not (self._left or self.response_complete):
            await self.changed()


#: An application: it answers one exchange.
Handler = Callable[[Exchange], Awaitable[None]]
