"""The opening handshake as a client makes it, seen from the other end of the wire."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import Any, cast

import pytest

from switchover.asyncio.connect import connect
from switchover.asyncio.dialing import Route
from switchover.asyncio.server import Server
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import DeadlineExceeded, HandshakeRejected, RemoteProtocolError

pytestmark = pytest.mark.anyio

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Seen(asyncio.Protocol):
    """A connection of a server that does nothing by itself, and keeps what comes."""

    def __init__(self, connections: list[Seen]) -> None:
        self.received = b""
        self.lost = asyncio.Event()
        self.arrived = asyncio.Event()
        self.connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(b"\r\n\r\n"):
            self.arrived.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()

    def accept(self, behind: bytes = b"") -> None:
        """Answer the handshake, with ``behind`` in the same segment."""
        key = self.received.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: "
            + base64.b64encode(sha1(key + GUID).digest())
            + b"\r\n\r\n"
            + behind
        )


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[Seen]]]:
    connections: list[Seen] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Seen(connections), "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], connections
    finally:
        server.close()
        for connection in connections:
            connection.transport.abort()
        await asyncio.sleep(0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # there is nothing that would say so
            await asyncio.sleep(0.001)


async def test_one_connection_at_a_time_is_connecting() -> None:
    """WS-H-02, RFC 6455 §4.1: "no more than one connection in a CONNECTING state"."""
    async with listening() as (port, connections):
        url = f"ws://127.0.0.1:{port}/"
        first = asyncio.ensure_future(_opened(url))
        second = asyncio.ensure_future(_opened(url))
        await until(lambda: connections and connections[0].arrived.is_set())
        await asyncio.sleep(0.05)
        assert len(connections) == 1  # the second has not even dialled
        connections[0].accept()
        (await first).abort()
        await until(lambda: len(connections) == 2 and connections[1].arrived.is_set())
        connections[1].accept()
        (await second).abort()


async def test_a_failed_attempt_lets_the_next_one_go() -> None:
    """WS-H-02, RFC 6455 §4.1: "until that connection has been established or … failed"."""
    async with listening() as (port, connections):
        url = f"ws://127.0.0.1:{port}/"
        first = asyncio.ensure_future(_opened(url))
        second = asyncio.ensure_future(_opened(url))
        await until(lambda: connections and connections[0].arrived.is_set())
        connections[0].transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(HandshakeRejected):
            await first
        await until(lambda: len(connections) == 2 and connections[1].arrived.is_set())
        connections[1].accept()
        (await second).abort()


async def test_the_turn_can_be_done_without() -> None:
    """WS-H-02: a program that is no browser may say so, and connects at once."""
    async with listening() as (port, connections):
        url = f"ws://127.0.0.1:{port}/"
        both = [asyncio.ensure_future(_opened(url, one_at_a_time=False)) for _ in range(2)]
        await until(lambda: len(connections) == 2 and all(c.arrived.is_set() for c in connections))
        for connection in connections:
            connection.accept()
        for ws in await asyncio.gather(*both):
            ws.abort()


async def _opened(url: str, **options: Any) -> WebSocket:
    return await connect(url, **options)


async def test_wss_names_the_host_and_checks_the_certificate_first(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """WS-H-03, RFC 6455 §4.1 step 5: no handshake before TLS is complete; SNI is the host."""
    asked: list[str | None] = []
    server_context.sni_callback = lambda session, name, context: asked.append(name)
    async with listening(server_context) as (port, connections):
        url = f"wss://localhost:{port}/"
        opening = asyncio.ensure_future(_opened(url, route=Route(ssl=client_context)))
        await until(lambda: connections and connections[0].arrived.is_set())
        connections[0].accept()
        (await opening).abort()
        assert asked == ["localhost"]
        with pytest.raises(ssl.SSLCertVerificationError):
            await _opened(url)  # a certificate that nobody vouches for
        elsewhere = Route(ssl=client_context, server_hostname="other.example")
        with pytest.raises(ssl.SSLCertVerificationError):
            await _opened(url, route=elsewhere)
        assert [c.received for c in connections[1:] if c.received] == []


async def test_nothing_is_sent_until_the_answer_is_in() -> None:
    """WS-H-10, OPT-05, RFC 6455 §4.1: after the handshake, no octet before the response."""
    async with listening() as (port, connections):

        async def talk() -> None:
            async with connect(f"ws://127.0.0.1:{port}/") as ws:
                await ws.send("early")

        talking = asyncio.ensure_future(talk())
        await until(lambda: connections and connections[0].arrived.is_set())
        connection = connections[0]
        head = connection.received
        await asyncio.sleep(0.05)
        assert connection.received == head
        assert head.count(b"\r\n\r\n") == 1
        connection.accept()
        await until(lambda: len(connection.received) > len(head))
        assert connection.received[len(head)] & 0x0F == 1  # a text frame, and not before
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


@pytest.mark.parametrize("cut", [0, 1, 2, 6, 7])
async def test_frames_that_come_with_the_101(cut: int) -> None:
    """WS-H-29, RFC 6455 §4.2.2: frames may follow the 101 at once, whole or in part."""
    frames = b"\x81\x05hello\x88\x02\x03\xe8"
    async with listening() as (port, connections):
        opening = asyncio.ensure_future(_opened(f"ws://127.0.0.1:{port}/"))
        await until(lambda: connections and connections[0].arrived.is_set())
        connections[0].accept(frames[: len(frames) - cut])
        ws = await opening
        connections[0].transport.write(frames[len(frames) - cut :])
        async with asyncio.timeout(5):
            assert [message async for message in ws] == ["hello"]
        assert ws.close_code == 1000


async def test_our_server_may_send_first() -> None:
    """WS-H-29: the handler's first message can come in the segment of the 101."""

    async def greet(ws: WebSocket) -> None:
        await ws.send("hello")

    async with Server(upgrades=[websocket(greet)]) as server:
        await server.start()
        async with connect(f"ws://127.0.0.1:{server.port}/") as ws:
            assert [message async for message in ws] == ["hello"]


async def test_a_refused_handshake_is_never_answered_with_frames() -> None:
    """WS-C-14, RFC 6455 §7.1.7: before OPEN a failure is a closed transport, not a Close frame."""
    async with listening() as (port, connections):
        opening = asyncio.ensure_future(_opened(f"ws://127.0.0.1:{port}/"))
        await until(lambda: connections and connections[0].arrived.is_set())
        head = connections[0].received
        connections[0].transport.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(HandshakeRejected):
            await opening
        await asyncio.wait_for(connections[0].lost.wait(), 5)
        assert connections[0].received == head


async def test_the_answer_has_a_deadline() -> None:
    """SEC-20: one absolute deadline for everything until the 101; an octet extends nothing."""
    async with listening() as (port, connections):
        opening = asyncio.ensure_future(_opened(f"ws://127.0.0.1:{port}/", open_timeout=0.3))
        await until(lambda: connections and connections[0].arrived.is_set())
        for octet in b"HTTP/1.1 101 Switching Protocols":
            if opening.done():
                break
            connections[0].transport.write(bytes([octet]))
            await asyncio.sleep(0.02)
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(opening, 5)
        await asyncio.wait_for(connections[0].lost.wait(), 5)


async def test_interim_answers_are_counted() -> None:
    """SEC-20, MSG-30: 1xx responses without end are a fault, well before the deadline."""
    async with listening() as (port, connections):
        opening = asyncio.ensure_future(_opened(f"ws://127.0.0.1:{port}/", open_timeout=30))
        await until(lambda: connections and connections[0].arrived.is_set())
        connections[0].transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
        with pytest.raises(RemoteProtocolError):
            await asyncio.wait_for(opening, 10)
