"""hypercorn, one worker in its own process."""

from __future__ import annotations

import asyncio
import socket

import listening
from asgi_apps import APPS
from hypercorn.asyncio import serve
from hypercorn.config import Config


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    listening.refuse(settings, deflate=False, tls=False)
    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    config.accesslog = None
    config.errorlog = None
    config.websocket_ping_interval = None
    config.websocket_max_message_size = listening.MAX_MESSAGE
    config.certfile = settings.certificate
    config.keyfile = settings.key
    # Its signal handlers are left out: the runner ends it by signal, like every other.
    serving = serve(APPS[settings.app], config, shutdown_trigger=asyncio.Event().wait, mode="asgi")
    task = asyncio.create_task(serving)
    await asyncio.sleep(0.5)  # it says nowhere when it accepts; the socket has a queue by now
    return task


listening.run(start)
