"""tornado's HTTP server with a WebSocket handler, on the chosen asyncio loop."""

from __future__ import annotations

import socket
from typing import Any

import listening
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler

everyone: set[WebSocketHandler] = set()


class Echo(WebSocketHandler):
    """Echoes each message."""

    def check_origin(self, origin: str) -> bool:
        return True

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.settings["deflate"] else None

    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))


class Broadcast(WebSocketHandler):
    """Sends each message to everyone."""

    def open(self, *args: str, **kwargs: str) -> None:
        everyone.add(self)

    def on_close(self) -> None:
        everyone.discard(self)

    def on_message(self, message: str | bytes) -> None:
        for other in everyone:
            other.write_message(message, binary=isinstance(message, bytes))


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    app = Application(
        [("/", Echo), ("/broadcast", Broadcast)],
        deflate=settings.deflate,
        websocket_max_message_size=listening.MAX_MESSAGE,
        log_function=lambda handler: None,
    )
    server = HTTPServer(app, ssl_options=settings.tls())
    server.add_socket(sock)
    return server


listening.run(start)
