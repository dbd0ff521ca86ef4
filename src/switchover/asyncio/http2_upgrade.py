"""``h2c``: from HTTP/1.1 to HTTP/2 on the same connection, both ends (RFC 7540 §3.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from switchover.asyncio.client_response import ClientResponse
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.http2_client_stream import ClientStream
from switchover.asyncio.http2_server import HTTP2ServerProtocol
from switchover.asyncio.http2_settings import http2_settings
from switchover.asyncio.offers import ClientUpgrade, known
from switchover.asyncio.switching import Switching, hand_over
from switchover.http.events import Switched
from switchover.http.messages import Response
from switchover.http.uri import URL
from switchover.http2.client import ClientConnection
from switchover.http2.h2c import CONTENT_LIMIT, encode_settings, h2c_upgrade
from switchover.http2.server import ServerConnection
from switchover.http2.settings import Settings
from switchover.upgrade.registry import Upgrade
from switchover.upgrade.tokens import UpgradeToken

if TYPE_CHECKING:
    from switchover.asyncio.client_pool import ClientPool
    from switchover.asyncio.http1_client import HTTP1ClientProtocol

__all__ = ["H2CSuccessor", "H2CUpgrade", "h2c"]


def h2c(*, path: str | None = None, content_limit: int = CONTENT_LIMIT) -> Upgrade:
    """Let clients switch cleartext connections to HTTP/2 (RFC 7540 §3.2).

    The request that asks is answered on stream 1, by the same handler, and so are all that
    follow. Content up to ``content_limit`` octets is read first; with more the offer is
    declined. Never done under TLS, where ALPN is the way.
    """
    return h2c_upgrade(H2CSuccessor(), path=path, content_limit=content_limit)


class H2CSuccessor:
    """Goes on in HTTP/2, with the request that asked as stream 1."""

    def attach(self, switching: Switching, transport: asyncio.Transport) -> None:
        """Take the connection over; the 101 has been written."""
        server = switching.server
        loop = asyncio.get_running_loop()
        machine = ServerConnection.from_upgrade(
            switching.request,
            switching.content,
            switching.state,
            clock=loop.time,
            settings=http2_settings(server),
            date=server.date,
            server_name=server.settings.server_name,
        )
        chain = (*switching.facts.chain, "HTTP/2")
        driver = HTTP2ServerProtocol(server, loop, machine=machine, chain=chain)
        hand_over(transport, driver, switching.trailing_data)


class H2CUpgrade(ClientUpgrade):
    """The client's side: the response comes on stream 1, further requests beside it."""

    tokens = ("h2c",)
    done_in_http2 = True

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()

    def fields(self) -> Sequence[tuple[str, str]]:
        return [("HTTP2-Settings", encode_settings(self._settings))]

    def switched(
        self, event: Switched, driver: HTTP1ClientProtocol, pool: ClientPool, url: URL
    ) -> Awaitable[ClientResponse]:
        loop = asyncio.get_running_loop()
        machine = ClientConnection.from_upgrade(
            event.request, clock=loop.time, settings=self._settings
        )
        chain = (*driver.facts.chain[:-1], "HTTP/2")
        connection = HTTP2ClientProtocol(loop, machine=machine, chain=chain)
        # Made before the octets are fed: the response may be among them.
        stream = connection.upgraded()
        hand_over(driver.transport, connection, event.trailing_data)
        pool.keep_http2(url, connection)
        return self._answer(stream, event)

    async def _answer(self, stream: ClientStream, event: Switched) -> ClientResponse:
        response = await stream.head()
        assert isinstance(response, Response)  # only CONNECT switches, and cannot offer h2c
        return ClientResponse(event.request, response, stream, protocol=event.protocol)


def _known_h2c(token: UpgradeToken) -> ClientUpgrade:
    return H2CUpgrade()


known["h2c"] = _known_h2c
