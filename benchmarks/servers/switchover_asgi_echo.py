"""switchover serving the same ASGI applications as the other ASGI servers."""

from __future__ import annotations

import socket

import listening
from asgi_apps import APPS

import switchover
from switchover.asgi import WebSocketOptions


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    options = WebSocketOptions(
        max_message_size=listening.MAX_MESSAGE,
        extensions=None if settings.deflate else (),
        settings=switchover.WebSocketSettings(ping_interval=None),
    )
    server = switchover.Server(APPS[settings.app], websocket=options)
    await server.start(sock=sock, ssl=settings.tls(), backlog=listening.BACKLOG)
    return server


listening.run(start)
