"""CONNECT, both ends: the server's handler and policy, the client's way through proxies."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.connect import connect
from switchover.asyncio.connect_handler import ConnectHandler, one_user
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.proxies import Proxy
from switchover.asyncio.server import Server
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import LocalProtocolError, ProxyRefused
from switchover.tunnel.policy import DestinationPolicy

pytestmark = pytest.mark.anyio

Application = Callable[[Exchange], Awaitable[None]]
LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8", "::1/128"])
GLUED = b"GET /glued HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def proxy(
    policy: DestinationPolicy | None = LOOPBACK, **options: Any
) -> AsyncIterator[Server]:
    async with Server(connect=ConnectHandler(policy, **options)) as server:
        await server.start()
        yield server


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server that sends everything back, says bye at the end, and whose port is yielded."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write(b"bye")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _request(target: str, *fields: str, host: str | None = None) -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {host or target}", *fields, "", ""]
    return "\r\n".join(lines).encode()


# The server.


async def test_tunnel_carries_octets_and_half_close(raw: Any) -> None:
    """CON-05, CON-09, CON-10: no framing in the 200; early octets, and those after our FIN."""
    async with echoing() as port, proxy() as server, raw(server) as connection:
        await connection.send(_request(f"127.0.0.1:{port}") + b"early")
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"content-length" not in head.lower()
        assert b"transfer-encoding" not in head.lower()
        await connection.expect(b"early")
        await connection.send(b"x" * 1_000_000)
        connection.writer.write_eof()
        assert await connection.rest() == b"x" * 1_000_000 + b"bye"


@pytest.mark.parametrize("target", ["a.example", "a:", "a:0", "a:65536", "a:+80", "/x", "u@a:80"])
async def test_bad_target_is_400_and_the_end(raw: Any, target: str) -> None:
    """CON-02, CON-03, OPT-02: refused, and what is glued behind is never handled."""
    async with proxy() as server, raw(server) as connection:
        await connection.send(_request(target, host="a") + GLUED)
        answer = await connection.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_conflicting_host_is_400(raw: Any) -> None:
    """CON-16: the target and Host must not disagree."""
    async with proxy() as server, raw(server) as connection:
        await connection.send(_request("127.0.0.1:443", host="b:443"))
        assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")


async def test_content_is_400(raw: Any) -> None:
    """CON-08: framed content leaves open where the tunnel begins."""
    async with proxy() as server, raw(server) as connection:
        await connection.send(_request("127.0.0.1:443", "Content-Length: 5") + b"hello")
        assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "localhost",
    ],
)
async def test_internal_destinations_are_refused_by_default(raw: Any, host: str) -> None:
    """SEC-34, CON-11: addresses are judged after the look-up, names included."""
    async with proxy(None) as server, raw(server) as connection:
        await connection.send(_request(f"{host}:443") + GLUED)
        answer = await connection.rest()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in answer
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_other_ports_are_refused_by_default(raw: Any) -> None:
    """CON-11: port 443 only."""
    async with proxy(None) as server, raw(server) as connection:
        await connection.send(_request("192.0.2.1:25"))
        assert (await connection.rest()).startswith(b"HTTP/1.1 403 ")


async def test_refused_port_is_502(raw: Any) -> None:
    """CON-04: no 200 before the onward connection is up."""
    async with proxy() as server, raw(server) as connection:
        await connection.send(_request("127.0.0.1:1") + GLUED)
        answer = await connection.rest()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"Proxy-Status: " in answer
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_unknown_name_is_502(raw: Any) -> None:
    """CON-04: a name without address."""
    async with proxy() as server, raw(server) as connection:
        await connection.send(_request("no-such-name.invalid:443"))
        answer = await connection.rest()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"dns_error" in answer


async def test_authentication(raw: Any) -> None:
    """CON-13, OPT-02: 407 closes too; with credentials the tunnel opens, and they stay here."""
    options: dict[str, Any] = {"authenticate": one_user("user", "pass")}
    async with echoing() as port, proxy(**options) as server:
        for fields in ([], ["Proxy-Authorization: Basic dXNlcjp3cm9uZw=="]):
            async with raw(server) as connection:
                await connection.send(_request(f"127.0.0.1:{port}", *fields) + GLUED)
                answer = await connection.rest()
                assert answer.startswith(b"HTTP/1.1 407 ")
                assert b"Proxy-Authenticate: Basic " in answer
                assert answer.count(b"HTTP/1.1 ") == 1
        async with raw(server) as connection:
            right = "Proxy-Authorization: Basic dXNlcjpwYXNz"
            await connection.send(_request(f"127.0.0.1:{port}", right))
            assert (await connection.head()).startswith(b"HTTP/1.1 200 ")
            connection.writer.write_eof()
            assert await connection.rest() == b"bye"


async def test_tunnels_are_counted(raw: Any) -> None:
    """SEC-36: one more than the limit is 503; a place is free when a tunnel has ended."""
    async with echoing() as port, proxy(max_tunnels=1) as server:
        async with raw(server) as first, raw(server) as second:
            await first.send(_request(f"127.0.0.1:{port}"))
            await first.head()
            await second.send(_request(f"127.0.0.1:{port}"))
            assert (await second.rest()).startswith(b"HTTP/1.1 503 ")
            first.writer.write_eof()
            assert await first.rest() == b"bye"
        async with raw(server) as third:
            await third.send(_request(f"127.0.0.1:{port}"))
            assert (await third.head()).startswith(b"HTTP/1.1 200 ")


async def test_relay_waits_for_the_slower_end(raw: Any) -> None:
    """SEC-24, UPG-P-09: a stalled receiver stops the sender; in the end everything arrives."""
    size = 48 * 1024 * 1024
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while sent < size:
                writer.write(bytes(65536))
                sent += 65536
                await writer.drain()
        writer.close()

    source = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = source.sockets[0].getsockname()[1]
    async with source, proxy() as server, raw(server) as connection:
        await connection.send(_request(f"127.0.0.1:{port}"))
        await connection.head()
        before = -1
        while sent != before:
            before = sent
            for _ in range(500):
                await asyncio.sleep(0)
        assert sent < size
        total = 0
        while data := await asyncio.wait_for(connection.reader.read(1 << 20), 10):
            total += len(data)
        assert total == size


async def test_idle_tunnel_ends(raw: Any) -> None:
    """SEC-23: nothing moved for a while."""
    async with echoing() as port, proxy(idle=0.1) as server, raw(server) as connection:
        await connection.send(_request(f"127.0.0.1:{port}"))
        await connection.head()
        with contextlib.suppress(ConnectionError):
            assert await connection.rest() == b""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_through_our_proxy(
    application: Application, server_context: ssl.SSLContext, certificate: Path
) -> None:
    """A TLS site of the test's own, reached by curl through a CONNECT tunnel with credentials."""
    async with Server(application) as site, proxy(authenticate=one_user("u", "p")) as server:
        await site.start(ssl=server_context)
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--cacert", str(certificate), "--noproxy", "",
            "-x", f"http://u:p@127.0.0.1:{server.port}",
            "-d", "through", f"https://localhost:{site.port}/x",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert output == b"POST /x through"


# The client.


async def _echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def test_websocket_through_a_proxy() -> None:
    """UPG-C-14, WS-H-04: CONNECT first, the upgrade inside."""
    async with Server(upgrades=[websocket(_echo)]) as site, proxy() as server:
        await site.start()
        route = Route(proxy=f"http://127.0.0.1:{server.port}")
        async with connect(f"ws://127.0.0.1:{site.port}/", route=route) as ws:
            await ws.send("hello")
            assert await ws.recv() == "hello"


async def test_tls_through_nested_proxies(
    application: Application,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
) -> None:
    """A proxy under TLS, another behind it, and a site under TLS at the end of the way."""
    handler = ConnectHandler(LOOPBACK, authenticate=one_user("user", "p:ss"))
    async with Server(application) as site, Server(connect=handler) as outer, proxy() as inner:
        await site.start(ssl=server_context)
        await outer.start(ssl=server_context)
        way = [
            Proxy(f"https://user:p%3Ass@localhost:{outer.port}", ssl=client_context),
            f"http://127.0.0.1:{inner.port}",
        ]
        async with Client(route=Route(proxy=way, ssl=client_context)) as client:
            answer = await client.get(f"https://localhost:{site.port}/far")
            assert answer.content == b"GET /far "


async def test_proxy_that_refuses_is_told_whole() -> None:
    """CON-07: no tunnel; the exception has the proxy's answer and the likely cause."""
    async with proxy(authenticate=one_user("u", "p")) as server:
        for login, cause in (("", "asks for credentials"), ("u:x@", "does not accept")):
            route = Route(proxy=f"http://{login}127.0.0.1:{server.port}")
            async with Client(route=route) as client:
                with pytest.raises(ProxyRefused, match=cause) as refused:
                    await client.get("http://127.0.0.1:1/")
            assert refused.value.response is not None
            assert refused.value.response.status == 407
            assert b"who you are" in refused.value.response.content


async def test_nothing_is_sent_before_the_2xx() -> None:
    """OPT-01: a proxy that withholds its answer sees the CONNECT request and nothing more."""
    came = bytearray()
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.extend(await reader.readuntil(b"\r\n\r\n"))
        came.extend(await reader.read())
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    route = Route(proxy=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server, Client(route=route, timeout=0.2) as client:
        with pytest.raises(TimeoutError):
            await client.get("http://h.example/secret")
        await asyncio.wait_for(ended.wait(), 5)
    assert came.startswith(b"CONNECT h.example:80 HTTP/1.1\r\nHost: h.example:80\r\n")
    assert b"secret" not in came


async def test_environment_names_the_proxy(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``proxy=True``: http_proxy, and no_proxy against it."""
    async with Server(application) as site, proxy() as server:
        await site.start()
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{server.port}")
        for exempt, used in (("", 1), ("127.0.0.1", 0)):
            monkeypatch.setenv("no_proxy", exempt)
            async with Client(route=Route(proxy=True)) as client:
                await client.get(f"http://127.0.0.1:{site.port}/")
                assert len(server.connections) == used


async def test_proxy_urls_that_cannot_be() -> None:
    """A local error, before anything is opened."""
    for url in ("ftp://h/", "ws://h/", "nonsense"):
        async with Client(route=Route(proxy=url)) as client:
            with pytest.raises(LocalProtocolError):
                await client.get("http://h.example/")
