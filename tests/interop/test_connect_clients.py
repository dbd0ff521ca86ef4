"""CONNECT with real peers: websockets, aiohttp, httpx, http.client and curl through our server."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import httpx
import pytest
import websockets.asyncio.client

import switchover
from switchover.asyncio.connect_handler import ConnectHandler, one_user
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.tls import server_context
from switchover.asyncio.websocket_upgrade import websocket
from switchover.http.messages import Response
from switchover.tunnel.policy import DestinationPolicy

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

BIG = os.urandom(1024 * 1024)
CREDENTIALS = "aladdin:open%20sesame@"
LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8", "::1/128"])


async def _body(exchange: Exchange) -> None:
    content = b""
    while piece := await exchange.receive_content():
        content += piece
    await exchange.send_response(Response(200, content=content), end=True)


async def _echo(ws: switchover.WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@asynccontextmanager
async def _site(certificate: Path, *, secure: bool) -> AsyncIterator[Server]:
    context = server_context()
    context.load_cert_chain(certificate / "both.pem")
    upgrades = [websocket(_echo, path="/echo", max_message_size=None)]
    async with Server(_body, upgrades) as server:
        await server.start(ssl=context if secure else None)
        yield server


@asynccontextmanager
async def _ours(certificate: Path, *, secure: bool = False) -> AsyncIterator[Server]:
    context = server_context()
    context.load_cert_chain(certificate / "both.pem")
    handler = ConnectHandler(LOOPBACK, authenticate=one_user("aladdin", "open sesame"))
    async with Server(connect=handler) as server:
        await server.start(ssl=context if secure else None)
        yield server
    assert not handler.relays


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_websockets_through_ours(
    certificate: Path, trusting: ssl.SSLContext, scheme: str
) -> None:
    """CON-04, CON-13: its proxy support, to a site with and without TLS."""
    secure = scheme == "wss"
    async with _site(certificate, secure=secure) as site, _ours(certificate) as ours:
        async with websockets.asyncio.client.connect(
            f"{scheme}://localhost:{site.port}/echo",
            proxy=f"http://{CREDENTIALS}127.0.0.1:{ours.port}",
            ssl=trusting if secure else None,
            max_size=None,
        ) as connection:
            for message in ("hello", BIG):
                await connection.send(message)
                assert await connection.recv() == message


async def test_websockets_through_ours_under_tls(
    certificate: Path, trusting: ssl.SSLContext
) -> None:
    """CON-13: TLS with the proxy, and TLS with the site inside it."""
    async with _site(certificate, secure=True) as site, _ours(certificate, secure=True) as ours:
        async with websockets.asyncio.client.connect(
            f"wss://localhost:{site.port}/echo",
            proxy=f"https://{CREDENTIALS}localhost:{ours.port}",
            proxy_ssl=trusting,
            ssl=trusting,
            max_size=None,
        ) as connection:
            await connection.send(BIG)
            assert await connection.recv() == BIG


async def test_websockets_without_the_password(certificate: Path) -> None:
    """CON-13: it is told 407, and the connection is closed."""
    async with _ours(certificate) as ours:
        with pytest.raises(websockets.exceptions.InvalidProxyStatus, match="407"):
            await websockets.asyncio.client.connect(
                "ws://localhost:1/", proxy=f"http://127.0.0.1:{ours.port}"
            )


async def test_aiohttp_through_ours(certificate: Path, trusting: ssl.SSLContext) -> None:
    """CON-04: https and wss; for cleartext sites it asks the proxy itself, which ours is not."""
    async with _site(certificate, secure=True) as site, _ours(certificate) as ours:
        options: dict[str, Any] = {
            "proxy": f"http://{CREDENTIALS}127.0.0.1:{ours.port}",
            "ssl": trusting,
        }
        url = f"https://localhost:{site.port}"
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/body", data=BIG, **options) as answer:
                assert await answer.read() == BIG
            async with session.ws_connect(f"{url}/echo", max_msg_size=0, **options) as ws:
                await ws.send_bytes(BIG)
                assert await ws.receive_bytes() == BIG


async def test_httpx_through_ours(certificate: Path, trusting: ssl.SSLContext) -> None:
    """CON-04: its proxy support, under TLS too."""
    async with _site(certificate, secure=True) as site:
        for secure in (False, True):
            async with _ours(certificate, secure=secure) as ours:
                scheme = "https" if secure else "http"
                proxy = httpx.Proxy(
                    f"{scheme}://localhost:{ours.port}",
                    auth=("aladdin", "open sesame"),
                    ssl_context=trusting if secure else None,
                )
                async with httpx.AsyncClient(proxy=proxy, verify=trusting) as client:
                    answer = await client.post(f"https://localhost:{site.port}/", content=BIG)
                    assert answer.content == BIG


async def test_http_client_through_ours(certificate: Path, trusting: ssl.SSLContext) -> None:
    """CON-04: the standard library's tunnel, which knows no better than HTTP/1.0."""
    basic = base64.b64encode(b"aladdin:open sesame").decode()

    def ask(proxy: int, port: int) -> bytes:
        connection = http.client.HTTPSConnection("127.0.0.1", proxy, context=trusting, timeout=20)
        connection.set_tunnel("localhost", port, {"Proxy-Authorization": f"Basic {basic}"})
        connection.request("POST", "/", body=b"hello")
        with connection.getresponse() as answer:
            content = answer.read()
        connection.close()
        return content

    async with _site(certificate, secure=True) as site, _ours(certificate) as ours:
        assert await anyio.to_thread.run_sync(ask, ours.port, site.port) == b"hello"


@pytest.mark.parametrize("proxy_scheme", ["http", "https"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_curl_through_ours(
    program: Callable[[str], str], certificate: Path, proxy_scheme: str, scheme: str
) -> None:
    """CON-04, CON-05, CON-13: all four ways; it tries without credentials, too."""
    executable = program("curl")
    pem = str(certificate / "certificate.pem")
    async with (
        _site(certificate, secure=scheme == "https") as site,
        _ours(certificate, secure=proxy_scheme == "https") as ours,
    ):
        command = [
            executable, "--silent", "--show-error", "--max-time", "20", "--proxytunnel",
            "--proxy", f"{proxy_scheme}://localhost:{ours.port}", "--proxy-cacert", pem,
            "--cacert", pem, "--data-binary", "@-", f"{scheme}://localhost:{site.port}/",
            "--proxy-user",
        ]  # fmt: skip
        done = await anyio.run_process([*command, "aladdin:open sesame"], input=BIG, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == BIG
        done = await anyio.run_process([*command, "aladdin:wrong"], input=b"", check=False)
        assert done.returncode == 56
        assert b"407" in done.stderr
