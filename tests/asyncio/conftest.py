"""Servers, certificates and raw connections for the tests on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.http.messages import Response

Serve = Callable[..., Awaitable[Server]]


async def answer(exchange: Exchange) -> None:
    """Say what was asked: method, target and content."""
    content = b""
    while piece := await exchange.receive_content():
        content += piece
    text = f"{exchange.request.method} {exchange.request.target} {content.decode('latin-1')}"
    await exchange.send_response(Response.text(200, text), end=True)


@pytest.fixture
def application() -> Callable[[Exchange], Awaitable[None]]:
    """An application that answers with method, target and content of the request."""
    return answer


class RawConnection:
    """A client that sends and expects octets, and knows nothing of HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send ``data``."""
        self.writer.write(data)
        await self.writer.drain()

    async def expect(self, data: bytes) -> None:
        """Read as many octets as ``data`` has, and compare."""
        async with asyncio.timeout(5):
            assert await self.reader.readexactly(len(data)) == data

    async def head(self) -> bytes:
        """Read a message head, up to and with its empty line."""
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Read to the end."""
        async with asyncio.timeout(5):
            return await self.reader.read()


@pytest.fixture
def raw() -> Callable[[Server], object]:
    """Connect to a server with plain octets: ``async with raw(server) as connection``."""

    @asynccontextmanager
    async def connect(server: Server) -> AsyncIterator[RawConnection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            yield RawConnection(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return connect


class InsideTLS:
    """A hand-made TLS client on a connection that was cleartext before."""

    def __init__(self, context: ssl.SSLContext, raw: RawConnection, name: str = "localhost"):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name or None)
        self.raw = raw

    async def handshake(self) -> None:
        """Shake hands; raise ``EOFError`` if the server leaves before the end."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._turn()
            else:
                await self.raw.send(self.outgoing.read())
                return

    async def _turn(self) -> None:
        await self.raw.send(self.outgoing.read())
        async with asyncio.timeout(5):
            data = await self.raw.reader.read(65536)
        if not data:
            raise EOFError
        self.incoming.write(data)

    async def send(self, data: bytes) -> None:
        """Send ``data`` under TLS."""
        self.tls.write(data)
        await self.raw.send(self.outgoing.read())

    async def read(self) -> bytes:
        """Read what comes next, ``b""`` at the end."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                await self._turn()
            except ssl.SSLZeroReturnError:
                return b""

    async def handshake_and_read(self) -> bytes:
        """Shake hands, and read what comes first."""
        await self.handshake()
        return await self.read()


@pytest.fixture
def inside_tls() -> type[InsideTLS]:
    """Speak TLS from here on: ``inside_tls(context, connection)``."""
    return InsideTLS
