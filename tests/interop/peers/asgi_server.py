"""An ASGI application on uvicorn or hypercorn: ``python asgi_server.py uvicorn [IMPLEMENTATION]``.

``/echo``, ``/bye`` (closes with 4001), ``/refused`` (403 with a text); plain requests are
answered ``plain``.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import announcing


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        headers = [(b"content-length", b"5"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"plain"})
    if scope["type"] != "websocket":
        return
    await receive()
    if scope["path"] == "/refused":
        headers = [(b"content-length", b"12"), (b"content-type", b"text/plain")]
        start = {"type": "websocket.http.response.start", "status": 403, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"not for you\n"})
        return
    offered = scope["subprotocols"]
    chosen = next((name for name in ("echo.v2", "echo.v1") if name in offered), None)
    await send({"type": "websocket.accept", "subprotocol": chosen})
    if scope["path"] == "/bye":
        await send({"type": "websocket.close", "code": 4001, "reason": "go away"})
        return
    while (event := await receive())["type"] == "websocket.receive":
        kept = {name: event[name] for name in ("text", "bytes") if event.get(name) is not None}
        await send({"type": "websocket.send", **kept})


async def with_uvicorn(listening: socket.socket) -> object:
    import uvicorn

    implementation = sys.argv[2] if len(sys.argv) > 2 else "auto"
    config = uvicorn.Config(app, ws=implementation, lifespan="off", log_level="error")
    # The socket listens already: what connects before uvicorn accepts waits in its queue.
    return asyncio.create_task(uvicorn.Server(config).serve(sockets=[listening]))


async def with_hypercorn(listening: socket.socket) -> object:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.errorlog = None
    config.websocket_max_message_size = 64 * 1024 * 1024
    never = asyncio.Event().wait
    return asyncio.create_task(serve(app, config, shutdown_trigger=never))


announcing.run(with_uvicorn if sys.argv[1] == "uvicorn" else with_hypercorn)
