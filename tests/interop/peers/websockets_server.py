"""websockets: ``/echo``, ``/bye`` (closes with 4001), ``/refused`` (403 with a text)."""

from __future__ import annotations

import http
import socket

import announcing
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


async def handle(connection: ServerConnection) -> None:
    assert connection.request is not None
    if connection.request.path == "/bye":
        await connection.close(4001, "go away")
        return
    async for message in connection:
        await connection.send(message)


def refuse(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/refused":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not for you\n")
    return None


async def start(listening: socket.socket) -> object:
    return await serve(
        handle,
        sock=listening,
        subprotocols=["echo.v2", "echo.v1"],
        select_subprotocol=lambda _, offered: next(
            (name for name in ("echo.v2", "echo.v1") if name in offered), None
        ),
        process_request=refuse,
        max_size=None,
    )


announcing.run(start)
