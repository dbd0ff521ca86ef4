"""What the two switchover servers share: the settings, and the broadcast."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import listening

import switchover

#: No pings in any measured server.
SETTINGS = switchover.WebSocketSettings(ping_interval=None)

everyone: set[switchover.WebSocket] = set()


async def broadcast(ws: switchover.WebSocket) -> None:
    """Send each message to everyone."""
    everyone.add(ws)
    try:
        async for message in ws:
            await switchover.broadcast(everyone, message)
    finally:
        everyone.discard(ws)


async def serve(
    upgrades: Iterable[switchover.Upgrade], settings: listening.Settings, sock: socket.socket
) -> object:
    """Serve the echo, and the broadcast beside it."""
    server = switchover.Server(
        upgrades=[
            *upgrades,
            switchover.websocket(broadcast, path="/broadcast", extensions=(), settings=SETTINGS),
        ]
    )
    await server.start(sock=sock, ssl=settings.tls(), backlog=listening.BACKLOG)
    return server
