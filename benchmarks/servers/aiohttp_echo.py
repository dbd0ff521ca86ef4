"""aiohttp's server with a WebSocket handler."""

from __future__ import annotations

import socket

import listening
from aiohttp import WSMsgType, web

everyone: set[web.WebSocketResponse] = set()


async def echo(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(
        compress=request.app[DEFLATE], max_msg_size=listening.MAX_MESSAGE
    )
    await connection.prepare(request)
    async for message in connection:
        if message.type is WSMsgType.BINARY:
            await connection.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await connection.send_str(message.data)
    return connection


async def broadcast(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(compress=False)
    await connection.prepare(request)
    everyone.add(connection)
    async for message in connection:
        for other in everyone:
            await other.send_bytes(message.data)
    everyone.discard(connection)
    return connection


DEFLATE = web.AppKey("deflate", bool)


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    app = web.Application()
    app[DEFLATE] = settings.deflate
    app.add_routes([web.get("/", echo), web.get("/broadcast", broadcast)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock, ssl_context=settings.tls(), backlog=listening.BACKLOG).start()
    return runner


listening.run(start)
