"""RFC 9112 §9.6: a server that has said its last reads on, so that the peer can read it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from switchover.asyncio import lingering
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.http.messages import Response

pytestmark = pytest.mark.anyio

MUCH = 4 * 1024 * 1024
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MUCH
#: The preface of a client, SETTINGS, and one WINDOW_UPDATE too many.
WRONG = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + bytes.fromhex("000000040000000000")
    + bytes.fromhex("000004080000000000") + b"\x7f\xff\xff\xff"
)  # fmt: skip

Connect = Callable[[Server], Any]


async def refuse(exchange: Exchange) -> None:
    await exchange.send_response(Response.text(403, "no, thank you"), end=True)


class Raw:
    """A client whose socket does what it is told, and nothing by itself."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(5):
            await self.loop.sock_sendall(self.sock, data)

    async def rest(self) -> bytes:
        """Return what comes up to the end; raises ConnectionResetError."""
        received = b""
        async with asyncio.timeout(5):
            while data := await self.loop.sock_recv(self.sock, 65536):
                received += data
        return received


@pytest.fixture
def connect() -> Connect:
    @asynccontextmanager
    async def connected(server: Server) -> AsyncIterator[Raw]:
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
            yield Raw(sock)

    return connected


@pytest.fixture
def linger() -> float:
    """Seconds; tests that want others say so."""
    return 60.0


@pytest.fixture(params=["own", "loop"])
async def server(request: pytest.FixtureRequest, linger: float) -> AsyncIterator[Server]:
    settings = ServerSettings(
        own_transports=request.param == "own",
        http2_prior_knowledge=True,
        max_connections=5,
        timeouts=Timeouts(linger=linger),
    )
    async with Server(refuse, settings=settings) as server:
        await server.start()
        yield server


async def has(server: Server, connections: int) -> None:
    """Return when the server has so many connections."""
    async with asyncio.timeout(5):
        while len(server.connections) != connections:
            await anyio.wait_all_tasks_blocked()


async def test_content_may_come_after_the_answer(server: Server, connect: Connect) -> None:
    """All of it can be sent, and the answer read behind it: there is no reset."""
    async with connect(server) as client:
        await client.send(POST)
        await client.send(bytes(MUCH))
        assert (await client.rest()).endswith(b"\r\n\r\nno, thank you")
        assert len(server.connections) == 1
    await has(server, 0)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        # What was meant for the tunnel comes behind it.
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", b"405"),
    ],
)
async def test_octets_may_come_after_a_refusal(
    server: Server, connect: Connect, request_: bytes, status: bytes
) -> None:
    async with connect(server) as client:
        await client.send(request_)
        await client.send(bytes(MUCH))
        assert (await client.rest()).startswith(b"HTTP/1.1 " + status)
    await has(server, 0)


async def test_frames_may_come_after_goaway(server: Server, connect: Connect) -> None:
    """RFC 9113 §5.4.1: the GOAWAY is there to be read."""
    async with connect(server) as client:
        await client.send(WRONG)
        for _ in range(1000):
            await client.send(bytes.fromhex("000004080000000000") + b"\x7f\xff\xff\xff")
        peer = H2Connection(H2Configuration())
        peer.initiate_connection()
        events = peer.receive_data(await client.rest())
        assert type(events[-1]).__name__ == "ConnectionTerminated"
        assert events[-1].error_code == 3  # FLOW_CONTROL_ERROR
    await has(server, 0)


async def test_nobody_waits_for_who_has_asked_all(server: Server, connect: Connect) -> None:
    """A request that was read whole, and asks for the end, is answered and closed."""
    async with connect(server) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await client.rest()).endswith(b"no, thank you")
        await has(server, 0)


async def test_nobody_waits_for_who_was_not_admitted(server: Server, connect: Connect) -> None:
    """SEC-41: one too many does not become one of those that count."""
    others = [connect(server) for _ in range(5)]
    for other in others:
        await other.__aenter__()
    await has(server, 5)
    async with connect(server) as client:
        assert (await client.rest()).startswith(b"HTTP/1.1 503 ")
        assert len(server.connections) == 5
    for other in others:
        await other.__aexit__(None, None, None)


@pytest.mark.parametrize("linger", [0.05])
async def test_it_ends_in_time(server: Server, connect: Connect) -> None:
    async with connect(server) as client:
        await client.send(POST)
        assert (await client.rest()).endswith(b"no, thank you")
        await has(server, 0)  # though the client has not ended


@pytest.mark.parametrize("linger", [0])
async def test_it_can_be_left_out(server: Server, connect: Connect) -> None:
    async with connect(server) as client:
        await client.send(POST)
        assert (await client.rest()).endswith(b"no, thank you")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await client.send(bytes(64 * 1024 * 1024))
        await has(server, 0)


async def test_it_reads_so_much_and_no_more(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "_OCTETS", 1024 * 1024)
    async with connect(server) as client:
        await client.send(POST)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await client.send(bytes(64 * 1024 * 1024))
        await has(server, 0)


async def test_the_end_of_the_server_is_its_end(server: Server, connect: Connect) -> None:
    async with connect(server) as client:
        await client.send(POST)
        assert (await client.rest()).endswith(b"no, thank you")
        async with asyncio.timeout(2):
            await server.close()
        assert not server.connections
