"""An exchange in memory, a server on a real socket, and a raw client."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from switchover.asgi import Server
from switchover.asyncio.exchange import Exchange, PeerFacts
from switchover.errors import Disconnected, LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.offers import offered


class Socketless(asyncio.BaseTransport):
    """A transport that only knows names."""

    def __init__(self, peername: Any, sockname: Any, ssl_object: Any = None) -> None:
        super().__init__({"peername": peername, "sockname": sockname, "ssl_object": ssl_object})


class MemoryExchange(Exchange):
    """An exchange whose client is the test: what was sent stands in ``sent``."""

    def __init__(self, request: Request, content: list[bytes], facts: PeerFacts) -> None:
        self.request = request
        self.offer = offered(request)
        self.trailers: Fields | None = None
        self.response_started = False
        self.response_complete = False
        self.sent: list[tuple[Any, ...]] = []
        self.aborted = False
        self._content = content
        self._facts = facts
        self._left = asyncio.Event()

    @property
    def facts(self) -> PeerFacts:
        return self._facts

    @property
    def server(self) -> Any:
        raise NotImplementedError

    def leave(self) -> None:
        """The client goes away."""
        self._left.set()

    async def receive_content(self) -> bytes:
        await asyncio.sleep(0)
        if self._content:
            return self._content.pop(0)
        if self._left.is_set():
            raise Disconnected("the client left")
        return b""

    async def send_interim(self, response: Response) -> None:
        self._check()
        self.sent.append(("interim", response.status, response.fields.raw))

    async def send_response(self, response: Response, *, end: bool = False) -> None:
        self._check()
        self.response_started = True
        self.response_complete = end
        self.sent.append(("response", response.status, response.fields.raw))
        if response.content:
            self.sent.append(("content", response.content))
        if end:
            self.sent.append(("end", None))

    async def send_content(self, data: bytes) -> None:
        self._check()
        self.sent.append(("content", data))

    async def send_end(self, trailers: Fields | None = None) -> None:
        self._check()
        self.response_complete = True
        self.sent.append(("end", trailers.raw if trailers else None))

    async def switch(
        self, protocol: str, fields: Fields, successor: asyncio.BaseProtocol, *, status: int = 0
    ) -> None:
        self.response_started = self.response_complete = True
        self.sent.append(("switch", protocol, fields.raw))

    async def wait_disconnected(self) -> None:
        await self._left.wait()

    def abort(self) -> None:
        self.aborted = True
        self.response_complete = True

    def _check(self) -> None:
        if self._left.is_set():
            raise Disconnected("the client left")
        if self.response_complete:
            raise LocalProtocolError("the response is complete")

    # What the tests look at.

    @property
    def status(self) -> int:
        return next(entry[1] for entry in self.sent if entry[0] == "response")

    @property
    def fields(self) -> dict[bytes, bytes]:
        return dict(next(entry[2] for entry in self.sent if entry[0] == "response"))

    @property
    def body(self) -> bytes:
        return b"".join(entry[1] for entry in self.sent if entry[0] == "content")


def exchange_for(
    method: str = "GET",
    target: str = "/",
    fields: list[tuple[str, str]] | None = None,
    *,
    content: tuple[bytes, ...] = (),
    peername: Any = ("192.0.2.1", 5000),
    sockname: Any = ("198.51.100.1", 80),
    ssl_object: Any = None,
    **keywords: Any,
) -> MemoryExchange:
    lines = [("Host", "example.com"), *(fields or [])]
    request = Request(method, target, Fields(lines), authority="example.com", **keywords)
    facts = PeerFacts(Socketless(peername, sockname, ssl_object))
    return MemoryExchange(request, list(content), facts)


@pytest.fixture(name="exchange_for")
def exchange_for_fixture() -> Callable[..., MemoryExchange]:
    return exchange_for


class RawClient:
    """A client that sees octets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def write_eof(self) -> None:
        self.writer.write_eof()

    async def head(self) -> bytes:
        """Return the next head, blank line included."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)

    async def exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), 5)

    async def rest(self) -> bytes:
        """Return everything up to the server's end of data."""
        return await asyncio.wait_for(self.reader.read(), 5)

    async def response(self) -> tuple[bytes, bytes]:
        """Return the next response with a Content-Length: its head and its content."""
        head = await self.head()
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head, await self.exactly(length)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Break the connection off, so that the server sees it lost and not ended."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Serve = Callable[..., Awaitable[Server]]
Connect = Callable[[Server], Awaitable[RawClient]]


@pytest.fixture
async def serve(anyio_backend: object) -> AsyncIterator[Serve]:
    """``await serve(app, …)`` starts a server on a free port; it is closed after the test."""
    async with AsyncExitStack() as stack:

        async def start(app: Any, *args: Any, **keywords: Any) -> Server:
            # Most of these applications speak one protocol only.
            keywords.setdefault("lifespan", "off")
            server = Server(app, *args, **keywords)
            stack.push_async_callback(server.close, 0.5)
            await server.start("127.0.0.1", 0)
            return server

        yield start


@pytest.fixture
async def connect(anyio_backend: object) -> AsyncIterator[Connect]:
    """``await connect(server)`` opens a raw connection; it is closed after the test."""
    clients: list[RawClient] = []

    async def start(server: Server) -> RawClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        clients.append(RawClient(reader, writer))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
