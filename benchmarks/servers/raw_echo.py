"""A TCP echo with no framing, through ``asyncio.Protocol``: the ceiling on its loop."""

from __future__ import annotations

import asyncio
import socket

import listening


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    __slots__ = ("write",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        self.write(data)


async def start(settings: listening.Settings, sock: socket.socket) -> object:
    listening.refuse(settings, tls=False)
    loop = asyncio.get_running_loop()
    return await loop.create_server(Echo, sock=sock, ssl=settings.tls())


listening.run(start)
