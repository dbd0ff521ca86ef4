"""What the Python peers share: a listening socket, and the line that says where it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable


def run(start: Callable[[socket.socket], Awaitable[object]]) -> None:
    """Start a server on a port of the kernel's choice, announce it, and serve until killed."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    listening.setblocking(False)

    async def serve() -> None:
        kept = await start(listening)
        print(f"ready {listening.getsockname()[1]}", flush=True)
        # A server that runs as a task ends by the signals that it handles itself.
        await (kept if isinstance(kept, asyncio.Task) else asyncio.Event().wait())

    asyncio.run(serve())
