"""What a client can offer, and what it makes of the connection when the server selects it.

A token that is offered as plain text becomes a :class:`~switchover.asyncio.tunnel.Tunnel`.
A protocol that needs more (fields of its own in the request, a tolerance in the 101, an
answer that comes through the new protocol) is a :class:`ClientUpgrade`; ours are found by
their token's name in :data:`known`, the way a stranger's would be.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.flow import feed
from switchover.asyncio.tunnel import Tunnel
from switchover.http.events import Switched
from switchover.http.messages import Request, Response
from switchover.http.uri import URL
from switchover.upgrade.client import verify
from switchover.upgrade.tokens import UpgradeToken

if TYPE_CHECKING:
    from switchover.asyncio.client_pool import ClientPool
    from switchover.asyncio.http1_client import HTTP1ClientProtocol

__all__ = ["ClientUpgrade", "TLSPolicy", "TunnelUpgrade", "known", "resolve"]


class ClientUpgrade(abc.ABC):
    """A protocol that a client offers.

    ``tokens`` are its upgrade tokens, the preferred one first.
    """

    tokens: tuple[str, ...]
    #: Over HTTP/2 the offer means nothing any more: the request is just made.
    done_in_http2 = False

    def fields(self) -> Sequence[tuple[str, str]]:
        """Return the connection-specific fields that go with the offer; Connection names them."""
        return ()

    def check(self, request: Request, response: Response) -> str:
        """Return the protocol that ``response``, a 101, selects; raise if it does not fit."""
        return verify(request, response)

    @abc.abstractmethod
    def switched(
        self, event: Switched, driver: HTTP1ClientProtocol, pool: ClientPool, url: URL
    ) -> Awaitable[ClientResponse]:
        """Take the connection over, at once; return what the caller of the request gets.

        Called at the moment of the switch, before the event loop reads on: the transport must
        have its new protocol, or be paused, when this returns its awaitable.
        """


class TunnelUpgrade(ClientUpgrade):
    """Any token: the connection becomes an octet tunnel."""

    def __init__(self, token: str | UpgradeToken) -> None:
        self.tokens = (str(UpgradeToken.parse(token)),)

    def switched(
        self, event: Switched, driver: HTTP1ClientProtocol, pool: ClientPool, url: URL
    ) -> Awaitable[ClientResponse]:
        tunnel = Tunnel(
            event.protocol, event.request, event.response, facts=driver.facts, on_lost=pool.release
        )
        pool.adopt(tunnel)
        transport = driver.transport
        transport.set_protocol(tunnel)
        tunnel.connection_made(transport)
        if event.trailing_data:
            feed(tunnel, event.trailing_data)
        answer = ClientResponse(
            event.request, event.response, tunnel=tunnel, protocol=event.protocol
        )
        done: asyncio.Future[ClientResponse] = asyncio.get_running_loop().create_future()
        done.set_result(answer)
        return done


@dataclass(frozen=True, slots=True)
class TLSPolicy:
    """Ask for TLS on cleartext connections, by ``upgrade``, before anything else is sent.

    ``required`` fails closed: without the switch nothing is sent in clear (RFC 2817 §3.2).
    Otherwise a server that declines is spoken to in clear (§3.1).
    """

    upgrade: ClientUpgrade
    required: bool = True


#: Makers of upgrades by the lower-case name of their token, for offers given as text.
known: dict[str, Callable[[UpgradeToken], ClientUpgrade]] = {}


def resolve(offer: str | UpgradeToken | ClientUpgrade) -> ClientUpgrade:
    """Return the upgrade for one member of an offer.

    Raises :class:`LocalProtocolError` for text that is no upgrade token.
    """
    if isinstance(offer, ClientUpgrade):
        return offer
    token = UpgradeToken.parse(offer)
    return known.get(token.name.lower(), TunnelUpgrade)(token)
