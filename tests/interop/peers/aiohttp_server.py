"""aiohttp: ``/echo``, ``/bye`` (closes with 4001), ``/refused`` (403 with a text)."""

from __future__ import annotations

import socket

import announcing
from aiohttp import WSMsgType, web


async def echo(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(protocols=("echo.v2", "echo.v1"), max_msg_size=0)
    await connection.prepare(request)
    async for message in connection:
        if message.type is WSMsgType.TEXT:
            await connection.send_str(message.data)
        else:
            await connection.send_bytes(message.data)
    return connection


async def bye(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    await connection.close(code=4001, message=b"go away")
    return connection


async def refused(_: web.Request) -> web.Response:
    return web.Response(status=403, text="not for you\n")


async def start(listening: socket.socket) -> object:
    app = web.Application()
    app.add_routes([web.get("/echo", echo), web.get("/bye", bye), web.get("/refused", refused)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner


announcing.run(start)
