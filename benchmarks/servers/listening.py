"""What every measured server shares: its command line, its socket, and the line `ready PORT`.

Each echoes every message on ``/``; on ``/broadcast`` a message goes to all connections there.
Compression is off unless ``--deflate`` is given; pings and access logs are always off.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

MAX_MESSAGE = 16 * 1024 * 1024
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line of a measured server."""

    loop: str
    deflate: bool
    app: str
    implementation: str
    certificate: str | None
    key: str | None

    def tls(self) -> ssl.SSLContext | None:
        """The server side's TLS context, or None in the clear."""
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def read_settings() -> Settings:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--app", choices=["bare", "starlette"], default="bare")
    parser.add_argument("--implementation", default="")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    return Settings(**vars(parser.parse_args()))


def listen() -> socket.socket:
    """A listening socket on a loopback port of the kernel's choice."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(BACKLOG)
    listening.setblocking(False)
    listening.set_inheritable(True)
    return listening


def announce(port: int) -> None:
    """Tell the runner that the server accepts connections, and where."""
    gc.collect()
    print(f"ready {port}", flush=True)


def run(
    start: Callable[[Settings, socket.socket], Coroutine[None, None, object]],
) -> None:
    """Start an asyncio server on the chosen loop, announce it, and serve until killed.

    ``start`` has the server accept on the socket and returns whatever must be kept alive.
    """
    settings = read_settings()
    listening = listen()

    async def serve() -> None:
        kept = await start(settings, listening)
        announce(listening.getsockname()[1])
        await asyncio.Event().wait()
        del kept

    if settings.loop == "uvloop":
        import uvloop

        uvloop.run(serve())
    else:
        asyncio.run(serve())


def refuse(settings: Settings, *, deflate: bool = True, tls: bool = True) -> None:
    """End with exit code 3 (the row is left out) where the server cannot do what is asked."""
    if (settings.deflate and deflate) or (settings.certificate and tls):
        print("this server does not do that", file=sys.stderr)
        sys.exit(3)
