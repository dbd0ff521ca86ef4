"""switchover with its callback API."""

from __future__ import annotations

import socket

import listening

import switchover

everyone: set[switchover.WebSocket] = set()


def echo(ws: switchover.WebSocket, message: str | bytes) -> None:
    ws.send_nowait(message)


def broadcast(ws: switchover.WebSocket, message: str | bytes) -> None:
    switchover.broadcast(everyone, message)


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    extensions = None if settings.deflate else ()
    limits = {"max_message_size": listening.MAX_MESSAGE, "ping_interval": None}
    server = switchover.Server(
        upgrades=[
            switchover.websocket(path="/", on_message=echo, extensions=extensions, **limits),
            switchover.websocket(
                path="/broadcast",
                on_open=everyone.add,
                on_message=broadcast,
                on_close=everyone.discard,
                extensions=(),
                **limits,
            ),
        ]
    )
    await server.start(sock=sock, ssl=settings.tls())
    return server


listening.run(start)
