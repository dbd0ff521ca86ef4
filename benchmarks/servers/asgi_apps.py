"""The ASGI applications of the benchmark: a bare one, and the same through Starlette."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

everyone: set[Send] = set()


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An echo written against the ASGI specification itself."""
    if scope["type"] != "websocket":
        await lifespan(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/broadcast":
        await broadcast(receive, send)
        return
    while (event := await receive())["type"] == "websocket.receive":
        if (data := event.get("bytes")) is not None:
            await send({"type": "websocket.send", "bytes": data})
        else:
            await send({"type": "websocket.send", "text": event["text"]})


async def broadcast(receive: Receive, send: Send) -> None:
    """What an ASGI application can do: one send after the other."""
    everyone.add(send)
    while (event := await receive())["type"] == "websocket.receive":
        for other in list(everyone):
            await other({"type": "websocket.send", "bytes": event["bytes"]})
    everyone.discard(send)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and stop, for servers that insist."""
    while scope["type"] == "lifespan":
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def starlette_echo(connection: WebSocket) -> None:
    await connection.accept()
    try:
        while True:
            await connection.send_bytes(await connection.receive_bytes())
    except WebSocketDisconnect:
        return


starlette = Starlette(routes=[WebSocketRoute("/", starlette_echo)])
APPS = {"bare": bare, "starlette": starlette}
