"""The servers of ``benchmarks/http2.py``, one each: ``python http2_server.py NAME``.

All answer ``/small`` with 5 octets and ``/large`` with 1 MiB, as ``text/plain``, over cleartext
HTTP/2 by prior knowledge, from one process. Ours echoes WebSocket messages on ``/echo`` as well.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import listening
from granian_echo import announce_when_up, free_port

CONTENT = {"/small": b"plain", "/large": bytes(1 << 20)}
TYPE = (b"content-type", b"text/plain")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """What every ASGI server runs."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    content = CONTENT[scope["path"]]
    length = (b"content-length", b"%d" % len(content))
    await send({"type": "http.response.start", "status": 200, "headers": [TYPE, length]})
    await send({"type": "http.response.body", "body": content})


# Ours: a handler, and the application.


async def echo(ws: Any) -> None:
    """What stands in the README."""
    async for message in ws:
        await ws.send(message)


def switchover_handler() -> None:
    """A handler of exchanges, and the WebSocket echo."""
    import switchover
    from switchover.http.fields import Fields
    from switchover.http.messages import Response

    async def handle(exchange: Any) -> None:
        content = CONTENT[exchange.request.target]
        await exchange.send_response(Response(200, Fields([TYPE]), content=content), end=True)

    upgrades = [switchover.websocket(echo, path="/echo", extensions=())]
    _switchover(handle, upgrades)


def switchover_asgi() -> None:
    """The ASGI application."""
    from switchover.asgi.application import handler

    _switchover(handler(app), [])


def _switchover(handler: Any, upgrades: list[Any]) -> None:
    import uvloop

    import switchover
    from switchover.asyncio.server import Server

    async def serve() -> None:
        settings = switchover.ServerSettings(http2_prior_knowledge=True)
        sock = listening.listen()
        async with Server(handler, upgrades, settings=settings) as server:
            await server.start(sock=sock, backlog=listening.BACKLOG)
            listening.announce(sock.getsockname()[1])
            await server.serve_forever()

    uvloop.run(serve())


# The others.


def uvicorn() -> None:
    """uvicorn with its HTTP/2 engine, zttp."""
    import uvicorn

    config = uvicorn.Config(
        app, http="zttp", http2=True, loop="uvloop", lifespan="off", access_log=False,
        log_level="error",
    )  # fmt: skip
    sock = listening.listen()

    class Announcing(uvicorn.Server):
        """Says when it accepts."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            listening.announce(sock.getsockname()[1])

    Announcing(config).run(sockets=[sock])


def hypercorn() -> None:
    """hypercorn on uvloop."""
    import uvloop
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    sock = listening.listen()
    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    config.accesslog = config.errorlog = None
    config.keep_alive_max_requests = 1 << 31  # it ends connections after 1000 by default

    async def start() -> None:
        task = asyncio.create_task(serve(app, config, shutdown_trigger=asyncio.Event().wait))
        await asyncio.sleep(0.5)
        listening.announce(sock.getsockname()[1])
        await task

    uvloop.run(start())


def granian() -> None:
    """granian with HTTP/2, one worker."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels

    port = free_port()
    threading.Thread(target=announce_when_up, args=(port,), daemon=True).start()
    Granian(
        "http2_server:app", address="127.0.0.1", port=port, interface=Interfaces.ASGI, workers=1,
        http=HTTPModes.http2, loop=Loops.uvloop, websockets=False, backlog=listening.BACKLOG,
        log_level=LogLevels.error,
    ).serve()  # fmt: skip


def nghttpd() -> None:
    """The limit: a server in C++ that sends files."""
    program = shutil.which("nghttpd")
    if program is None:
        print("nghttpd is not installed (Debian: nghttp2-server)", file=sys.stderr)
        sys.exit(1)
    folder = Path(tempfile.mkdtemp(prefix="nghttpd-"))
    for path, content in CONTENT.items():
        (folder / path[1:]).write_bytes(content)
    port = free_port()
    if os.fork() == 0:  # announced by the child, for this process becomes nghttpd
        announce_when_up(port)
        os._exit(0)
    os.execv(program, [program, "--no-tls", "-a", "127.0.0.1", "-d", str(folder), str(port)])


SERVERS = {
    "switchover": switchover_handler,
    "switchover-asgi": switchover_asgi,
    "uvicorn": uvicorn,
    "granian": granian,
    "hypercorn": hypercorn,
    "nghttpd": nghttpd,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
