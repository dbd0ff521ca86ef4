"""What breaks under a tunnel shows on its other side, whatever carries it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio.connect_handler import ConnectHandler
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings
from switchover.http.fields import Fields
from switchover.http.messages import Request
from switchover.http2.client import ClientConnection
from switchover.http2.codes import ErrorCode
from switchover.http2.events import StreamEvent, StreamReset
from switchover.tunnel.policy import DestinationPolicy

pytestmark = pytest.mark.anyio

LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8", "::1/128"])


class Target:
    """A server that takes one connection and leaves the rest to the test."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.connected.set()
        await asyncio.Event().wait()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class HTTP2:
    """The client's machine on a plain connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.machine = ClientConnection(clock=asyncio.get_running_loop().time)
        self.events: list[Any] = []

    async def connect(self, port: int) -> int:
        """Ask for a tunnel to a port of this host; return the stream."""
        request = Request(
            "CONNECT", f"127.0.0.1:{port}", Fields(), "2", authority=f"127.0.0.1:{port}"
        )
        return self.machine.send_request(request)

    async def next(self, kind: type[Any]) -> Any:
        """Exchange octets until an event of this kind has come."""
        async with asyncio.timeout(5):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        self.events.remove(event)
                        return event
                await self.connection.send(b"".join(self.machine.data_to_send()))
                data = await self.connection.reader.read(65536)
                assert data
                self.machine.receive_data(data)
                self.events += self.machine.events_received()


@asynccontextmanager
async def tunnelled(raw: Any) -> AsyncIterator[tuple[HTTP2, int, Target]]:
    target = Target()
    listener = await asyncio.start_server(target, "127.0.0.1", 0)
    settings = ServerSettings(http2_prior_knowledge=True)
    async with Server(connect=ConnectHandler(LOOPBACK), settings=settings) as server:
        await server.start()
        async with raw(server) as connection:
            client = HTTP2(connection)
            stream = await client.connect(listener.sockets[0].getsockname()[1])
            await client.next(StreamEvent)
            await target.connected.wait()
            try:
                yield client, stream, target
            finally:
                target.writer.transport.abort()
                listener.close()


async def test_a_reset_of_the_target_is_a_connect_error(raw: Any) -> None:
    """CON-15, RFC 9113 §8.5: an error of the TCP connection is CONNECT_ERROR on the stream."""
    async with tunnelled(raw) as (client, stream, target):
        target.reset()
        reset = await client.next(StreamReset)
        assert (reset.stream_id, reset.code) == (stream, ErrorCode.CONNECT_ERROR)


async def test_a_reset_of_the_stream_is_a_reset_of_the_target(raw: Any) -> None:
    """CON-15, RFC 9113 §8.5: a stream error becomes a TCP segment with RST."""
    async with tunnelled(raw) as (client, stream, target):
        client.machine.reset(stream, ErrorCode.CANCEL)
        await client.connection.send(b"".join(client.machine.data_to_send()))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(target.reader.read(), 5)


async def test_an_end_in_order_is_none(raw: Any) -> None:
    """CON-15: the target's FIN ends the stream, and is no error."""
    async with tunnelled(raw) as (client, _, target):
        target.writer.write(b"last words")
        target.writer.close()
        seen = b""
        with contextlib.suppress(TimeoutError):
            while not seen.endswith(b"last words"):
                seen += getattr((await client.next(StreamEvent)).event, "data", b"")
        assert seen == b"last words"
        assert not any(isinstance(event, StreamReset) for event in client.events)
