"""switchover with its coroutine API: the program of the README."""

from __future__ import annotations

import socket

import listening

import switchover

everyone: set[switchover.WebSocket] = set()


async def echo(ws: switchover.WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def broadcast(ws: switchover.WebSocket) -> None:
    everyone.add(ws)
    async for message in ws:
        switchover.broadcast(everyone, message)
    everyone.discard(ws)


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    limits = {"max_message_size": listening.MAX_MESSAGE, "ping_interval": None}
    extensions = None if settings.deflate else ()
    server = switchover.Server(
        upgrades=[
            switchover.websocket(echo, path="/", extensions=extensions, **limits),
            switchover.websocket(broadcast, path="/broadcast", extensions=(), **limits),
        ]
    )
    await server.start(sock=sock, ssl=settings.tls())
    return server


listening.run(start)
