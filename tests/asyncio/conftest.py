"""Servers, certificates and raw connections for the tests on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio import sockets
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


# Sockets without a server: tests/asyncio/test_sockets*.py.

OWN = sockets._own is not None
NOT_HERE = "no switchover.asyncio._listener: not Linux, not compiled, or told not to use it"


class Told:
    """A protocol that writes down what it is told, and does what the test says, when it is.

    ``on`` has functions by the name of what is told: ``made``, ``data``, ``eof``, ``pause``,
    ``resume``, ``lost``. Each is called with this object.
    """

    def __init__(self, on: dict[str, Callable[[Any], Any]]) -> None:
        self.on = on
        self.events: list[str] = []
        self.octets = bytearray()
        self.error: BaseException | None = None
        self.transport: Any = None
        self._something = asyncio.Event()

    def _tell(self, what: str) -> Any:
        if what != "data" or self.events[-1:] != ["data"]:  # in how many pieces is no matter
            self.events.append(what)
        self._something.set()
        return self.on[what](self) if what in self.on else None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._tell("made")

    def data_received(self, data: bytes) -> None:
        self.octets += data
        self._tell("data")

    def eof_received(self) -> Any:
        return self._tell("eof")

    def pause_writing(self) -> None:
        self._tell("pause")

    def resume_writing(self) -> None:
        self._tell("resume")

    def connection_lost(self, error: BaseException | None) -> None:
        self.error = error
        self._tell("lost")

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return when ``condition`` holds; it is looked at when something has been told."""
        async with asyncio.timeout(5):
            while not condition():
                self._something.clear()
                await self._something.wait()

    async def has(self, count: int) -> bytes:
        """Return what has come, when that is ``count`` octets."""
        await self.until(lambda: len(self.octets) >= count)
        return bytes(self.octets)

    async def end(self) -> list[str]:
        """Return all that was told, when that was the end."""
        await self.until(lambda: "lost" in self.events)
        return self.events


class ToldInto(Told, asyncio.BufferedProtocol):
    """The same, with a buffer of its own, of ``size`` octets."""

    def __init__(self, on: dict[str, Callable[[Any], Any]], size: int = 1000) -> None:
        super().__init__(on)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        if "get_buffer" in self.on:
            self.on["get_buffer"](self)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


class Client:
    """The other end: a socket that does not block."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, count: int) -> bytes:
        """Return ``count`` octets, or fewer at the end."""
        received = bytearray()
        async with asyncio.timeout(5):
            while len(received) < count:
                wanted = min(count - len(received), 65536)
                data = await asyncio.get_running_loop().sock_recv(self.sock, wanted)
                if not data:
                    break
                received += data
        return bytes(received)

    async def rest(self) -> bytes:
        """Return what comes up to the end."""
        return await self.receive(1 << 40)

    def end(self) -> None:
        """End our half."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Place:
    """Where sockets listen and are connected to; all are closed at the end of the test."""

    Told, ToldInto, Client = Told, ToldInto, Client

    def __init__(self, own: bool) -> None:
        self.own = own
        self.reported: list[dict[str, Any]] = []  # to the loop's exception handler
        self._undo = contextlib.ExitStack()
        self._made: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, facts: self.reported.append(facts))
        #: uvloop's own transports, which differ from asyncio's in places.
        self.uvloops = not own and type(loop).__module__.startswith("uvloop")
        #: asyncio's own of 3.12 and later: they keep what they are given as it is, and their
        #: writelines() fails once the connection has ended, and may stall one that is full.
        self.later_asyncios = not own and not self.uvloops and sys.version_info >= (3, 12)

    async def listen(
        self, factory: Callable[[], Any], address: Any = ("127.0.0.1", 0), backlog: int = 500
    ) -> Any:
        """Listen on ``address``; kernel buffers are small, so that they can be filled."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if family == socket.AF_INET and ":" in address[0]:
            family = socket.AF_INET6
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        sock.bind(address)

        def make() -> Any:
            self._made.append(factory())
            return self._made[-1]

        listening = await sockets.listen(sock, make, backlog=backlog, own=self.own)
        self._undo.callback(listening.close)
        return listening

    def connect(self, listening: Any) -> Client:
        """Connect; it need not have been accepted on return."""
        listener = listening.sockets[0]
        sock = self._undo.enter_context(socket.socket(listener.family))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(listener.getsockname())
        sock.setblocking(False)
        return Client(sock)

    async def pair(self, kind: Any = Told, /, **on: Callable[[Any], Any]) -> tuple[Any, Client]:
        """Return a protocol of ``kind`` that was told ``made``, and the client it talks to."""
        told = kind(on)
        listening = await self.listen(lambda: told)
        client = self.connect(listening)
        await told.until(lambda: told.events)
        return told, client

    async def close(self) -> None:
        self._undo.close()
        for told in self._made:
            if told.transport is not None and "lost" not in told.events:
                told.transport.abort()
        await turns()


async def turns(count: int = 5) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture(params=["own", "loop"])
def own(request: pytest.FixtureRequest) -> bool:
    """Whether transports of our own are used, or the event loop's."""
    if request.param == "own" and not OWN:
        pytest.skip(NOT_HERE)
    return bool(request.param == "own")


@pytest.fixture
async def place(own: bool, anyio_backend: object) -> AsyncIterator[Place]:
    """Listen and connect, on transports of our own and on the event loop's."""
    place = Place(own)
    yield place
    await place.close()


@pytest.fixture
async def our_place(anyio_backend: object) -> AsyncIterator[Place]:
    """Listen and connect, on transports of our own only."""
    if not OWN:
        pytest.skip(NOT_HERE)
    place = Place(own=True)
    yield place
    await place.close()


@pytest.fixture(params=[Told, ToldInto], ids=["data_received", "buffer_updated"])
def kind(request: pytest.FixtureRequest) -> Any:
    """The two kinds of protocols that there are."""
    return request.param


@pytest.fixture
def turn() -> Callable[..., Awaitable[None]]:
    """Let the event loop go round: ``await turn()``."""
    return turns


@pytest.fixture
def place_of(own: bool) -> Callable[[], Place]:
    """Make a place on the loop that runs: for tests that run one themselves."""
    return lambda: Place(own)
