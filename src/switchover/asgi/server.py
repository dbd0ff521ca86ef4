"""The server of ASGI applications, and of the switches beside them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from switchover.asgi.application import handler
from switchover.asgi.lifespan import Lifespan, LifespanFailed, LifespanMode
from switchover.asgi.proxy_headers import ProxyHeaders
from switchover.asgi.types import Application
from switchover.asgi.websocket_options import WebSocketOptions
from switchover.asyncio.exchange import Handler
from switchover.asyncio.reports import Observer
from switchover.asyncio.server import Server as ExchangeServer
from switchover.asyncio.settings import ServerSettings
from switchover.upgrade.registry import Policy, Upgrade, server_order

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Server"]

logger = logging.getLogger("switchover.asgi")


class Server(ExchangeServer):
    """Serves an ASGI application, and switches to the protocols in ``upgrades``.

    ::

        server = Server(app, upgrades=[websocket(echo, path="/echo")])
        async with server:
            await server.start("127.0.0.1", 8101)
            await server.serve_forever()

    What ``upgrades`` take never reaches the application; everything else does, its own
    WebSockets and (by the ``http.upgrade`` extension) its own switches included. Without an
    application, ordinary requests are answered 404.

    Args:
        app: Any ASGI 3 application, or ``None``.
        upgrades: The protocols the server itself switches to, in its order of preference.
        lifespan: ``"auto"``, ``"on"`` or ``"off"``. With ``"auto"``, an application that does
            not speak the lifespan protocol is served without it; one that says that its
            startup failed is not served in any mode but ``"off"``.
        root_path, proxy_headers, underscore_names, websocket: see
            :func:`switchover.asgi.handler`.
        connect: ``"app"`` lets CONNECT requests reach the application, which takes them by the
            ``http.upgrade`` extension; a handler takes them itself. By default they are refused.
        settings, policy, advertise, observer: see :class:`switchover.asyncio.server.Server`.
    """

    def __init__(
        self,
        app: Application | None = None,
        upgrades: Iterable[Upgrade | Iterable[Upgrade]] = (),
        *,
        lifespan: LifespanMode | str = LifespanMode.AUTO,
        root_path: str = "",
        proxy_headers: ProxyHeaders | Iterable[str] | None = None,
        underscore_names: bool = False,
        websocket: WebSocketOptions | None = None,
        settings: ServerSettings | None = None,
        connect: Handler | Literal["app"] | None = None,
        policy: Policy = server_order,
        advertise: Sequence[str] = (),
        observer: Observer | None = None,
    ) -> None:
        self.lifespan: Lifespan | None = None
        self._lifespan_started = False
        answer: Handler | None = None
        if app is not None:
            self.lifespan = Lifespan(app, mode=lifespan)
            answer = handler(
                app,
                root_path=root_path,
                proxy_headers=proxy_headers,
                underscore_names=underscore_names,
                websocket=websocket,
                state=self._state(),
            )
        super().__init__(
            answer,
            upgrades,
            settings=settings,
            connect=answer if connect == "app" else connect,
            policy=policy,
            advertise=advertise,
            observer=observer,
        )
        self.handler_takes_offers = app is not None

    def _state(self) -> Mapping[str, Any] | None:
        lifespan = self.lifespan
        # ASGI: the state is there only if the server supports it, which without lifespan
        # it does not: a framework would look for what startup never put there.
        return None if lifespan is None or lifespan.mode is LifespanMode.OFF else lifespan.state

    async def startup(self) -> None:
        """Run the application's startup; done by the first :meth:`start`.

        Raises:
            LifespanFailed: the application cannot start.
        """
        if self.lifespan is not None and not self._lifespan_started:
            self._lifespan_started = True
            await self.lifespan.startup()

    async def start(self, *args: Any, **keywords: Any) -> None:
        """Start the application, then listen; see :meth:`switchover.asyncio.server.Server.start`.

        Raises:
            LifespanFailed: the application cannot start; nothing listens then.
            OSError: the address cannot be had.
        """
        await self.startup()
        await super().start(*args, **keywords)

    async def close(self, grace: float | None = None) -> None:
        """End the connections, then run the application's shutdown."""
        await super().close(grace)
        if self.lifespan is None:
            return
        try:
            await self.lifespan.shutdown()
        except LifespanFailed as error:
            # The server is going away in any case: the failure is told, not raised.
            logger.error("%s", error)
