"""switchover with its coroutine API: the program of the README."""

from __future__ import annotations

import socket

import listening
import switchover_apps

import switchover


async def echo(ws: switchover.WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    upgrade = switchover.websocket(
        echo,
        path="/",
        extensions=None if settings.deflate else (),
        max_message_size=listening.MAX_MESSAGE,
        settings=switchover_apps.SETTINGS,
    )
    return await switchover_apps.serve([upgrade], settings, sock)


listening.run(start)
