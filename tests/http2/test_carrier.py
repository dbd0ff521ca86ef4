"""What carries an HTTP/2 connection: how often it writes, what it remembers, slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import hpack
import pytest

import switchover
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.http2_server import HTTP2ServerProtocol
from switchover.asyncio.server import Server
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http2 import PREFACE

pytestmark = pytest.mark.anyio

Handler = Callable[[Exchange], Awaitable[None]]

BIG = bytes(range(256)) * 16384
#: SETTINGS, and a WINDOW_UPDATE, that allow as much as there is.
OPENING = (
    PREFACE
    + b"\0\0\x06\4\0\0\0\0\0\0\4\x7f\xff\xff\xff"
    + b"\0\0\4\x08\0\0\0\0\0"
    + (2**31 - 65536).to_bytes(4, "big")
)


class Client:
    """A client by hand that asks with GET, and reads what has come in frames."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._number = -1
        self._held = b""
        self.statuses: dict[int, str] = {}
        self.content: dict[int, bytes] = {}
        self.ended: list[int] = []

    def get(self, path: str) -> bytes:
        """A request in one frame, on the next stream."""
        self._number += 2
        lines = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
        block = self._encoder.encode(lines)
        return len(block).to_bytes(3, "big") + b"\1\5" + self._number.to_bytes(4, "big") + block

    def read(self, octets: bytes) -> list[tuple[int, int]]:
        """Take octets; return kind and stream of the frames they complete."""
        self._held += octets
        frames = []
        while len(self._held) >= 9 and len(self._held) >= (
            size := 9 + int.from_bytes(self._held[:3], "big")
        ):
            kind, flags, stream = (
                self._held[3],
                self._held[4],
                int.from_bytes(self._held[5:9], "big"),
            )
            payload, self._held = self._held[9:size], self._held[size:]
            if kind == 1:
                self.statuses[stream] = dict(self._decoder.decode(payload))[":status"]
            elif kind == 0:
                self.content[stream] = self.content.get(stream, b"") + payload
            if kind in (0, 1) and flags & 1:
                self.ended.append(stream)
            frames.append((kind, stream))
        return frames


class Recorder(asyncio.Transport):
    """A transport that keeps what is written to it, write for write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def take(self) -> list[bytes]:
        """Return the writes since the last call."""
        writes, self.writes = self.writes, []
        return writes


@contextlib.asynccontextmanager
async def carried(handler: Handler) -> AsyncIterator[tuple[HTTP2ServerProtocol, Recorder]]:
    """A connection whose opening is over, on a transport that records."""
    async with Server(handler) as server:
        protocol, transport = HTTP2ServerProtocol(server, asyncio.get_running_loop()), Recorder()
        protocol.connection_made(transport)
        await give(protocol, OPENING)
        transport.take()
        try:
            yield protocol, transport
        finally:
            protocol.connection_lost(None)


async def give(protocol: HTTP2ServerProtocol, octets: bytes) -> None:
    """Deliver octets as a transport does that has read them at once: outside of any task."""
    loop = asyncio.get_running_loop()
    given = loop.create_future()

    def deliver() -> None:
        protocol.get_buffer(len(octets))[: len(octets)] = octets
        protocol.buffer_updated(len(octets))
        given.set_result(None)

    loop.call_soon(deliver)
    await given


async def _never(tunnel: Any) -> None:
    raise AssertionError("nobody switches here")


async def plain(exchange: Exchange) -> None:
    await exchange.send_response(Response(200, Fields(), content=b"plain"), end=True)


async def test_an_answer_is_one_write() -> None:
    async with carried(plain) as (protocol, transport):
        client = Client()
        for stream in (1, 3, 5):
            await give(protocol, client.get("/"))
            await asyncio.sleep(0)
            (octets,) = transport.take()
            assert client.read(octets) == [(1, stream), (0, stream)]


async def test_the_answers_of_one_read_are_one_write() -> None:
    """Those that have been sent before, and those that have not."""
    async with carried(plain) as (protocol, transport):
        client = Client()
        await give(protocol, client.get("/"))  # makes the task that is kept
        await asyncio.sleep(0)
        client.read(b"".join(transport.take()))
        for _ in range(3):
            await give(protocol, client.get("/") + client.get("/other") + client.get("/"))
            (octets,) = transport.take()
            assert len(client.read(octets)) == 6
        assert set(client.content.values()) == {b"plain"}


async def test_a_lone_answer_is_written_while_its_handler_goes_on() -> None:
    seen = []

    async def handler(exchange: Exchange) -> None:
        await plain(exchange)
        seen.append((len(transport.writes), exchange.response_complete))

    async with carried(handler) as (protocol, transport):
        client = Client()
        for _ in range(3):
            await give(protocol, client.get("/"))
            await asyncio.sleep(0)
            transport.take()
    # The first answer puts fields in the table, the second is remembered.
    assert seen[2] == (1, True)


async def test_what_is_sent_on_a_closing_transport_goes_through_it() -> None:
    """Its socket's number may be that of another connection already."""
    async with Server(plain) as server:
        await server.start()
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        protocol = HTTP2ServerProtocol(server, loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, theirs)
        await give(protocol, OPENING + Client().get("/"))
        await loop.sock_recv(ours, 65536)
        transport.abort()
        # Whoever gets the number now gets none of our octets.
        others, reader = socket.socketpair()
        with others, reader:
            reader.setblocking(False)
            protocol.send_soon()
            protocol.machine._engine.ping(b"12345678")
            protocol.flush()
            await asyncio.sleep(0)
            with pytest.raises(BlockingIOError):
                reader.recv(1)
        ours.close()


async def test_a_slow_reader_gets_every_octet_in_order() -> None:
    """The socket takes a part of a write; the rest goes through the transport."""

    async def handler(exchange: Exchange) -> None:
        content = BIG if exchange.request.target == "/big" else b"plain"
        await exchange.send_response(Response(200, Fields(), content=content), end=True)

    loop, client = asyncio.get_running_loop(), Client()
    async with Server(handler, settings=switchover.ServerSettings(http2_prior_knowledge=True)) as s:
        await s.start()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        with sock:
            await loop.sock_connect(sock, ("127.0.0.1", s.port))
            paths = ["/big", "/small", "/big", "/small"]
            await loop.sock_sendall(sock, OPENING + b"".join(map(client.get, paths)))
            async with asyncio.timeout(20):
                while len(client.ended) < len(paths):
                    client.read(await loop.sock_recv(sock, 16384))
    assert client.content == {1: BIG, 3: b"plain", 5: BIG, 7: b"plain"}


async def test_a_resource_that_insists_does_so_whatever_has_been_asked_before() -> None:
    """Targets that were found ordinary are remembered, and no others. HTTP/2 has no 426."""

    loop, client = asyncio.get_running_loop(), Client()
    upgrades = [switchover.token("shout/1", _never, path="/rooms/{name}", required=True)]
    settings = switchover.ServerSettings(http2_prior_knowledge=True)
    paths = ["/", "/rooms/a", "/", "/rooms/b?x", "/%72ooms/c", "/rooms", "/rooms/a", "/rooms"]
    paths += [f"/{number}" for number in range(80)] + ["/rooms/a", "/", "/?rooms/a"]
    async with Server(plain, upgrades, settings=settings) as server:
        await server.start()
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            await loop.sock_sendall(sock, OPENING)
            for number, path in enumerate(paths):
                await loop.sock_sendall(sock, client.get(path))
                async with asyncio.timeout(5):
                    while len(client.ended) <= number:
                        client.read(await loop.sock_recv(sock, 16384))
    insisting = {"/rooms/a", "/rooms/b?x", "/%72ooms/c"}
    expected = ["400" if path in insisting else "200" for path in paths]
    assert [client.statuses[2 * number + 1] for number in range(len(paths))] == expected
