"""Settings of an application's WebSockets, and how the connection object is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from switchover.websocket.extensions import ServerExtension
from switchover.websocket.opening.server import ServerOpening
from switchover.websocket.origins import DANGEROUSLY_ALLOW_ANY_ORIGIN, OriginPolicy

if TYPE_CHECKING:
    from switchover.asyncio.exchange import Exchange
    from switchover.asyncio.websocket import WebSocket
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
        extensions: The extensions the server is willing to use.
    """

    __slots__ = ("opening",)

    def __init__(
        self,
        *,
        origins: OriginPolicy | Iterable[str] = DANGEROUSLY_ALLOW_ANY_ORIGIN,
        extensions: Sequence[ServerExtension] = (),
    ) -> None:
        self.opening = ServerOpening(origins=origins, extensions=extensions)

    def create(self, exchange: Exchange, acceptance: Acceptance) -> WebSocket:
        """Return the WebSocket that takes the exchange's connection over."""
        raise NotImplementedError
