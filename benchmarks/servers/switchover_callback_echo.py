"""switchover with its callback API."""

from __future__ import annotations

import socket

import listening
import switchover_apps

import switchover


def echo(ws: switchover.WebSocket, message: str | bytes) -> None:
    ws.send_nowait(message)


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    upgrade = switchover.websocket(
        path="/",
        on_message=echo,
        extensions=None if settings.deflate else (),
        max_message_size=listening.MAX_MESSAGE,
        settings=switchover_apps.SETTINGS,
    )
    return await switchover_apps.serve([upgrade], settings, sock)


listening.run(start)
