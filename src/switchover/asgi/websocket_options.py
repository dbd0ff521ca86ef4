"""Settings of an application's WebSockets, and how the connection object is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.websocket.connection import Connection, Side
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.extensions import ServerExtension
from switchover.websocket.opening.server import ServerOpening
from switchover.websocket.origins import DANGEROUSLY_ALLOW_ANY_ORIGIN, OriginPolicy

if TYPE_CHECKING:
    from switchover.asyncio.exchange import Exchange
    from switchover.upgrade.registry import Acceptance

__all__ = ["WebSocketOptions"]


class WebSocketOptions:
    """How the WebSockets of an application are served.

    Args:
        origins: Which web pages may connect. Any page by default, which is not the default of
            switchover's own WebSockets: ASGI hands the ``Origin`` field to the application,
            and the frameworks check it there, or by a middleware (Channels'
            ``AllowedHostsOriginValidator``). Set ``SAME_ORIGIN``, or a list of origins, for an
            application that does not.
        extensions: What is negotiated; permessage-deflate by default, ``()`` for nothing.
        max_message_size: Octets of a message; a longer one ends the connection with 1009.
        settings: Keepalive, closing, and how much waits for an application that does not
            call ``receive``.
    """

    __slots__ = ("_max_message_size", "_settings", "opening")

    def __init__(
        self,
        *,
        origins: OriginPolicy | Iterable[str] = DANGEROUSLY_ALLOW_ANY_ORIGIN,
        extensions: Sequence[ServerExtension] | None = None,
        max_message_size: int | None = 16 * 1024 * 1024,
        settings: WebSocketSettings | None = None,
    ) -> None:
        self.opening = ServerOpening(
            origins=origins,
            extensions=(PermessageDeflate(),) if extensions is None else extensions,
        )
        self._max_message_size = max_message_size
        self._settings = settings or WebSocketSettings()

    def create(self, exchange: Exchange, acceptance: Acceptance) -> WebSocket:
        """Return the WebSocket that takes the exchange's connection over."""
        agreed = acceptance.state
        machine = Connection(
            Side.SERVER,
            extensions=agreed.extensions,
            subprotocol=agreed.subprotocol,
            max_message_size=self._max_message_size,
        )
        # Without the opening handshake, which the application has in its scope: an idle
        # connection keeps no second copy of it.
        return WebSocket(machine, settings=self._settings, owner=exchange.server)
