"""picows' coroutine API, which has the interface of the websockets library."""

from __future__ import annotations

import socket

import listening
from picows import websockets
from picows.websockets.asyncio.server import ServerConnection, serve

everyone: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    if connection.request.path == "/broadcast":
        everyone.add(connection)
        async for message in connection:
            websockets.broadcast(everyone, message)
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
