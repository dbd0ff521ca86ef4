"""The websockets library, its asyncio server."""

from __future__ import annotations

import socket

import listening
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def echo(connection: ServerConnection) -> None:
    if connection.request is not None and connection.request.path == "/broadcast":
        async for message in connection:
            broadcast(connection.server.connections, message)
    async for message in connection:
        await connection.send(message)


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    return await serve(
        echo,
        sock=sock,
        ssl=settings.tls(),
        compression="deflate" if settings.deflate else None,
        ping_interval=None,
        max_size=listening.MAX_MESSAGE,
    )


listening.run(start)
