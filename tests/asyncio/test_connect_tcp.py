"""connect-tcp, both ends on real sockets (draft-ietf-httpbis-connect-tcp, approved)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio.connect_handler import ConnectHandler, one_user
from switchover.asyncio.connect_tcp import connect_tcp, tcp_tunnel
from switchover.asyncio.dialing import Route
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings
from switchover.errors import LocalProtocolError, ProxyRefused, TunnelBroken, TunnelClosed
from switchover.tunnel.capsules import encode_capsule
from switchover.tunnel.connect_tcp import DATA, FINAL_DATA
from switchover.tunnel.policy import DestinationPolicy

pytestmark = pytest.mark.anyio

LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8", "::1/128"])
VERSIONS = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def proxy(
    policy: DestinationPolicy | None = LOOPBACK, *, http2: bool = False, **options: Any
) -> AsyncIterator[Server]:
    settings = ServerSettings(http2_prior_knowledge=http2)
    async with Server(upgrades=[connect_tcp(policy, **options)], settings=settings) as server:
        await server.start()
        yield server


def origin(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


@asynccontextmanager
async def service(handle: Handle) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back, and say bye at the end."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"bye")
    writer.close()


def request(port: int, *fields: str) -> bytes:
    lines = [
        f"GET /.well-known/masque/tcp/127.0.0.1/{port}/ HTTP/1.1",
        "Host: proxy.example",
        "Connection: Upgrade",
        "Upgrade: connect-tcp",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@VERSIONS
async def test_octets_and_half_close(http2: bool) -> None:
    """Our end is passed on and theirs comes back, with everything before it."""
    async with service(echo) as port, proxy(http2=http2) as server:
        async with tcp_tunnel(origin(server), "127.0.0.1", port, http2=http2) as tunnel:
            assert tunnel.facts.chain[-1] == "connect-tcp"
            sending = asyncio.ensure_future(_send_all(tunnel, b"0123456789" * 100_000))
            async with asyncio.timeout(20):
                assert await tunnel.read_exactly(1_000_000) == b"0123456789" * 100_000
                await sending
                assert await tunnel.read() == b"bye"
                assert await tunnel.read() == b""


async def _send_all(tunnel: Any, data: bytes) -> None:
    for start in range(0, len(data), 10_000):
        await tunnel.send(data[start : start + 10_000])
    await tunnel.send_eof()


async def _read_all(tunnel: Any) -> bytes:
    return b"".join([data async for data in tunnel])


@VERSIONS
async def test_reset_of_the_target_is_no_end(http2: bool) -> None:
    """What a bare tunnel cannot tell: the data was cut off."""

    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with service(resetting) as port, proxy(http2=http2) as server:
        tunnel = await tcp_tunnel(origin(server), "127.0.0.1", port, http2=http2)
        await tunnel.send(b"x")
        with pytest.raises(TunnelBroken):
            await asyncio.wait_for(tunnel.read(), 5)
        await tunnel.wait_closed()


@VERSIONS
async def test_client_that_aborts_is_no_end(http2: bool) -> None:
    """CON-10: the stream ends without FINAL_DATA: the target's connection is reset."""
    ends: list[object] = []

    async def watching(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ends.append(await reader.read())
        except ConnectionResetError as error:
            ends.append(error)
        writer.close()

    async with service(watching) as port, proxy(http2=http2) as server:
        tunnel = await tcp_tunnel(origin(server), "127.0.0.1", port, http2=http2)
        await tunnel.send(b"x")
        tunnel.abort()
        async with asyncio.timeout(5):
            while not ends:  # noqa: ASYNC110  # a moment, for the relay
                await asyncio.sleep(0.002)
        assert isinstance(ends[0], ConnectionResetError)
        with pytest.raises(TunnelClosed):
            await tunnel.read()


async def test_end_of_stream_without_final_data(raw: Any) -> None:
    """draft §3.4: truncated, at the proxy too; the rest of the answer is not waited for."""
    async with service(echo) as port, proxy() as server, raw(server) as connection:
        await connection.send(request(port) + encode_capsule(DATA, b"early"))
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nCapsule-Protocol: ?1\r\n" in head
        await connection.expect(encode_capsule(DATA, b"early"))
        connection.writer.write_eof()
        assert b"bye" not in await connection.rest()


async def test_final_data_behind_early_data(raw: Any) -> None:
    """Everything in one segment with the request: nothing overtakes, nothing is lost."""
    capsules = encode_capsule(DATA, b"all") + encode_capsule(FINAL_DATA, b" of it")
    async with service(echo) as port, proxy() as server, raw(server) as connection:
        await connection.send(request(port) + capsules)
        await connection.head()
        answer = await connection.rest()
    assert answer.endswith(encode_capsule(FINAL_DATA, b""))
    assert re.sub(rb"[^a-z ]", b"", answer) == b"all of itbye"


async def test_everything_at_once_through_connect(raw: Any) -> None:
    """CON-05, CON-10: octets and FIN that came before the dial go out in that order."""
    policy = DestinationPolicy(ports=None, networks=["127.0.0.0/8"])
    async with service(echo) as port, Server(connect=ConnectHandler(policy)) as server:
        await server.start()
        async with raw(server) as connection:
            target = f"127.0.0.1:{port}"
            head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
            await connection.send(head.encode() + b"all of it")
            connection.writer.write_eof()
            assert (await connection.head()).startswith(b"HTTP/1.1 200 ")
            assert await connection.rest() == b"all of itbye"


@VERSIONS
async def test_bad_capsules_abort(http2: bool) -> None:
    """CAP-05: data behind FINAL_DATA; over HTTP/2 PROTOCOL_ERROR."""
    async with service(echo) as port, proxy(http2=http2) as server:
        tunnel = await tcp_tunnel(origin(server), "127.0.0.1", port, http2=http2)
        below = tunnel._transport._below  # type: ignore[union-attr]  # ours, under the tunnel
        below.write(encode_capsule(FINAL_DATA, b"") + encode_capsule(DATA, b"more"))
        async with asyncio.timeout(5):
            with pytest.raises(TunnelBroken) as broken:
                await _read_all(tunnel)
            await tunnel.wait_closed()
        if http2:
            assert "PROTOCOL_ERROR" in str(broken.value.__cause__)


@VERSIONS
async def test_refusals(http2: bool) -> None:
    """SEC-34, CON-04: by policy, and because nobody answers; before any switch."""
    async with proxy(None, http2=http2) as server:
        for port, error in ((443, "destination_ip_prohibited"), (25, "http_request_denied")):
            with pytest.raises(ProxyRefused, match=error):
                await tcp_tunnel(origin(server), "127.0.0.1", port, http2=http2)
    async with proxy(http2=http2) as server:
        with pytest.raises(ProxyRefused, match="connection_refused") as refusal:
            await tcp_tunnel(origin(server), "127.0.0.1", 1, http2=http2)
        assert refusal.value.response is not None
        assert refusal.value.response.status == 502
        (upgrade,) = server.registry.upgrades
        assert not upgrade.successor.tunnels
    with pytest.raises(LocalProtocolError):
        tcp_tunnel("http://h/{target_host}", "h", 80)


async def test_authentication_and_count() -> None:
    """SEC-36: the same door as connect-udp's."""
    options: dict[str, Any] = {"authenticate": one_user("u", "p"), "max_tunnels": 1}
    right = {"Authorization": "Basic dTpw"}
    async with service(echo) as port, proxy(**options) as server:
        with pytest.raises(ProxyRefused, match="asks for credentials"):
            await tcp_tunnel(origin(server), "127.0.0.1", port)
        async with tcp_tunnel(origin(server), "127.0.0.1", port, fields=right) as tunnel:
            with pytest.raises(ProxyRefused, match="connection_limit_reached"):
                await tcp_tunnel(origin(server), "127.0.0.1", port, fields=right)
            await tunnel.send_eof()
            assert await tunnel.read() == b"bye"
        async with tcp_tunnel(origin(server), "127.0.0.1", port, fields=right) as tunnel:
            await tunnel.send(b"again")
            assert await tunnel.read_exactly(5) == b"again"


@VERSIONS
async def test_slow_reader_holds_the_sender_up(http2: bool) -> None:
    """SEC-24: backpressure goes through the capsules, and nothing is lost in the end."""
    size, sent = 24 * 1024 * 1024, 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while sent < size:
                writer.write(bytes(65536))
                sent += 65536
                await writer.drain()
        writer.close()

    async with service(pour) as port, proxy(http2=http2) as server:
        async with tcp_tunnel(origin(server), "127.0.0.1", port, http2=http2) as tunnel:
            before = -1
            while sent != before:
                before = sent
                for _ in range(500):
                    await asyncio.sleep(0)
            assert sent < size
            total = 0
            async with asyncio.timeout(30):
                async for data in tunnel:
                    total += len(data)
            assert total == size


async def test_streams_over_it(client_context: Any, server_context: Any) -> None:
    """The views of a tunnel work here too; under TLS the directions end one by one."""
    settings = ServerSettings()
    async with service(echo) as port:
        async with Server(upgrades=[connect_tcp(LOOPBACK)], settings=settings) as server:
            await server.start(ssl=server_context)
            template = f"https://localhost:{server.port}"
            route = Route(ssl=client_context)
            tunnel = await tcp_tunnel(template, "127.0.0.1", port, route=route)
            reader, writer = tunnel.streams()
            writer.write(b"line\n")
            assert await reader.readline() == b"line\n"
            writer.write_eof()
            async with asyncio.timeout(5):
                assert await reader.read() == b"bye"
            writer.close()
            await writer.wait_closed()


async def test_graceful_end_of_the_server() -> None:
    """The relay ends in order with the server."""
    async with service(echo) as port, proxy() as server:
        tunnel = await tcp_tunnel(origin(server), "127.0.0.1", port)
        closing = asyncio.ensure_future(server.close(grace=5))
        async with asyncio.timeout(5):
            rest = await tunnel.read()
            assert rest in (b"bye", b"")
            await tunnel.close()
            await closing
