"""How a connection that has been switched becomes a WebSocket: once in the life of each.

This file is compiled as ``_websocket_maker_c``; the C types stand in ``_websocket_maker_c.pxd``.
Choose through :mod:`switchover.asyncio.websocket_maker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchover.asyncio import switching as switches
from switchover.asyncio.websocket import WebSocket
from switchover.websocket import connection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from switchover.asyncio.server import Server
    from switchover.asyncio.websocket_settings import WebSocketSettings
    from switchover.http.messages import Request, Response
    from switchover.upgrade.decisions import Select

__all__ = ["WebSocketMaker"]


class WebSocketMaker:
    """Makes the WebSockets of one registration, and starts their handlers."""

    def __init__(
        self,
        handler: Callable[[WebSocket], Awaitable[None]] | None,
        max_message_size: int | None,
        settings: WebSocketSettings,
        on_message: Callable[[WebSocket, Any], object] | None,
        on_close: Callable[[WebSocket], object] | None,
    ) -> None:
        self._handler = handler
        self._max_message_size = max_message_size
        self._settings = settings
        self._on_message = on_message
        self._on_close = on_close

    def attach(self, switching: switches.Switching, transport: asyncio.Transport) -> None:
        """Take the connection over, and start the handler."""
        server = switching.server
        ws = self.make(switching.selection, switching.request, switching.response, server)
        server.enlist(ws, transport)
        switches.hand_over(transport, ws, switching.trailing_data)
        if self._handler is not None:
            ws.serve(self._handler, server)

    def make(
        self, selection: Select, request: Request, response: Response, server: Server
    ) -> WebSocket:
        """Return the WebSocket that takes over what ``selection`` switches."""
        agreed = selection.acceptance.state
        machine = connection.server_end(
            agreed.extensions, agreed.subprotocol, self._max_message_size
        )
        # Without the keywords of its constructor: they cost as much as all the rest.
        ws = WebSocket.__new__(WebSocket)
        ws._begin_life(machine, self._settings, server)
        ws._request = request
        ws._response = response
        ws.on_message = self._on_message
        ws.on_close = self._on_close
        return ws
