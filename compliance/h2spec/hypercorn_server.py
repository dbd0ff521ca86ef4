"""A peer to prove the runner with: hypercorn answering every request. Prints ``ready PORT``."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Read the content to its end, then 200."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"plain"})


async def main() -> None:
    """Serve until killed."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.errorlog = None
    print(f"ready {listening.getsockname()[1]}", flush=True)
    await serve(answer, config, shutdown_trigger=asyncio.Event().wait)


if __name__ == "__main__":
    asyncio.run(main())
