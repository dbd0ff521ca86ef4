"""uvicorn; ``--implementation`` names its WebSocket implementation."""

from __future__ import annotations

import listening
import uvicorn
from asgi_apps import APPS


def main() -> None:
    settings = listening.read_settings()
    config = uvicorn.Config(
        APPS[settings.app],
        ws=settings.implementation or "websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=settings.deflate,
        ws_max_size=listening.MAX_MESSAGE,
        loop=settings.loop,
        http="httptools",
        access_log=False,
        log_level="error",
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    sock = listening.listen()

    class Announcing(uvicorn.Server):
        """Says when it accepts."""

        async def startup(self, sockets: list | None = None) -> None:
            await super().startup(sockets=sockets)
            listening.announce(sock.getsockname()[1])

    Announcing(config).run(sockets=[sock])


main()
