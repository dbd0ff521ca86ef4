"""CONNECT with real peers: our client through squid, Apache and HAProxy.

What is reached is always a server of the test's own, on loopback. nginx is no forward proxy; it is
here to refuse.
"""

from __future__ import annotations

import os
import ssl
import string
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import switchover
from switchover.asyncio.connect_handler import ConnectHandler
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.offers import TLSPolicy
from switchover.asyncio.proxies import Proxy
from switchover.asyncio.server import Server
from switchover.asyncio.tls import server_context
from switchover.asyncio.tls_upgrade import TLSUpgrade, tls
from switchover.asyncio.upgrades import token
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import ProxyRefused
from switchover.http.messages import Response
from switchover.tunnel.policy import DestinationPolicy

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

PEERS = Path(__file__).parent / "peers"
BIG = os.urandom(1024 * 1024)
LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8", "::1/128"])
Fill = Callable[..., Path]


# What is reached.


async def _body(exchange: Exchange) -> None:
    content = b""
    while piece := await exchange.receive_content():
        content += piece
    await exchange.send_response(Response(200, content=content), end=True)


async def _echo(ws: switchover.WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def _shout(tunnel: switchover.Tunnel) -> None:
    async for data in tunnel:
        await tunnel.send(data.upper())
    await tunnel.send(b"bye")


@asynccontextmanager
async def _site(
    certificate: Path, *, connect: ConnectHandler | None = None, secure: bool = False
) -> AsyncIterator[Server]:
    context = server_context()
    context.load_cert_chain(certificate / "both.pem")
    upgrades: list[Any] = [
        websocket(_echo, path="/echo", max_message_size=None),
        token("shout/1", _shout, path="/shout"),
    ]
    if not secure:
        upgrades.append(tls(context))
    async with Server(_body, upgrades, connect=connect) as server:
        await server.start(ssl=context if secure else None)
        yield server


# The proxies.


@pytest.fixture(scope="session")
def fill(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Fill:
    """Write a configuration from its template, beside the passwords; others may read it."""

    def write(template: str, port: int, **values: object) -> Path:
        run = tmp_path_factory.mktemp(template.partition(".")[0])
        for folder in (run, *run.parents[:2]):
            folder.chmod(0o755)  # squid gives its rights up
        secret = subprocess.run(
            [program("openssl"), "passwd", "-apr1", "open sesame"],
            capture_output=True,
            text=True,
            check=True,
        )
        (run / "passwords").write_text(f"aladdin:{secret.stdout}")
        run.chmod(0o777)
        text = string.Template((PEERS / template).read_text())
        (run / template).write_text(text.substitute(run=run, port=port, **values))
        return run / template

    return write


CREDENTIALS = "aladdin:open%20sesame@"


@pytest.fixture(scope="session")
def squid(program: Callable[[str], str], daemon: Callable[..., int], fill: Fill) -> int:
    """The port of squid."""
    executable = program("squid")
    return daemon(
        lambda port: [executable, "--foreground", "-N", "-f", str(fill("squid.conf", port))]
    )


Apache = Callable[[str], int]


@pytest.fixture(scope="session")
def apache(
    program: Callable[[str], str], daemon: Callable[..., int], fill: Fill, certificate: Path
) -> Apache:
    """The port of Apache, with TLS ``On`` or ``Off``."""
    executable, running = program("apache2"), dict[str, int]()

    def started(tls: str) -> int:
        if tls not in running:
            running[tls] = daemon(
                lambda port: [
                    executable, "-DFOREGROUND", "-f",
                    str(fill("apache_forward.conf", port, modules="/usr/lib/apache2/modules",
                             tls=tls, certificate=certificate / "both.pem")),
                ]
            )  # fmt: skip
        return running[tls]

    return started


@pytest.fixture(params=["squid", "apache", "apache under TLS"])
def proxy(request: pytest.FixtureRequest, trusting: ssl.SSLContext) -> Proxy:
    """A proxy that asks for a password, which its URL has."""
    name: str = request.param
    if name == "squid":
        return Proxy(f"http://{CREDENTIALS}127.0.0.1:{request.getfixturevalue('squid')}")
    started: Apache = request.getfixturevalue("apache")
    if name == "apache":
        return Proxy(f"http://{CREDENTIALS}127.0.0.1:{started('Off')}")
    return Proxy(f"https://{CREDENTIALS}localhost:{started('On')}", ssl=trusting)


# Our client through them.


async def test_websocket(proxy: Proxy, certificate: Path) -> None:
    """UPG-C-14, WS-H-04: CONNECT with credentials, then the handshake in the tunnel."""
    async with (
        _site(certificate) as site,
        switchover.connect(
            f"ws://localhost:{site.port}/echo", route=Route(proxy=proxy), max_message_size=None
        ) as ws,
    ):
        for message in ("hello", b"\x00\xff", BIG):
            await ws.send(message)
            assert await ws.recv() == message


async def test_token(proxy: Proxy, certificate: Path) -> None:
    """UPG-C-14: the offer is made inside the tunnel, where it reaches the site."""
    async with (
        _site(certificate) as site,
        switchover.switch(
            f"http://localhost:{site.port}/shout", offer=["shout/1"], route=Route(proxy=proxy)
        ) as switched,
    ):
        tunnel = switched.tunnel
        assert tunnel is not None
        await tunnel.send(b"x" * 300_000)
        assert await tunnel.read_exactly(300_000) == b"X" * 300_000


async def test_half_close_through_apache(apache: Apache, certificate: Path) -> None:
    """CON-10: what is said after our end of data arrives. (squid loses it, TLS cannot say it.)"""
    route = Route(proxy=Proxy(f"http://{CREDENTIALS}127.0.0.1:{apache('Off')}"))
    async with (
        _site(certificate) as site,
        switchover.switch(
            f"http://localhost:{site.port}/shout", offer=["shout/1"], route=route
        ) as switched,
    ):
        tunnel = switched.tunnel
        assert tunnel is not None
        await tunnel.send(b"hello")
        await tunnel.send_eof()
        assert await tunnel.read_until(b"bye") == b"HELLObye"


async def test_https(proxy: Proxy, certificate: Path, trusting: ssl.SSLContext) -> None:
    """CON-01: TLS with the site, through the tunnel, and TLS with the proxy where it has it."""
    async with _site(certificate, secure=True) as site:
        async with switchover.Client(route=Route(proxy=proxy, ssl=trusting)) as client:
            for content in (b"", b"hello", BIG):
                answer = await client.post(f"https://localhost:{site.port}/body", content)
                assert (answer.status, answer.content) == (200, content)


async def test_tls_by_upgrade_inside_the_tunnel(
    proxy: Proxy, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """RFC 2817 §5.1: CONNECT, then the switch with the site itself."""
    async with _site(certificate) as site:
        policy = TLSPolicy(TLSUpgrade(trusting))
        async with switchover.Client(route=Route(proxy=proxy), tls_upgrade=policy) as client:
            answer = await client.post(f"http://localhost:{site.port}/body", b"hello")
            assert answer.content == b"hello"
            assert answer.facts is not None
            assert answer.facts.chain == ("HTTP/1.1", "TLS/1.2", "HTTP/1.1")


async def test_refused_port_is_told_whole(proxy: Proxy) -> None:
    """CON-07: the proxy's own words are in the exception."""
    async with switchover.Client(route=Route(proxy=proxy)) as client:
        with pytest.raises(ProxyRefused) as refusal:
            await client.get("http://127.0.0.1:1/")
    assert refusal.value.response is not None
    assert refusal.value.response.status in (502, 503)
    assert refusal.value.response.content


@pytest.mark.parametrize("login", ["", "aladdin:wrong@"])
async def test_credentials_are_asked_for(squid: int, apache: Apache, login: str) -> None:
    """CON-13: 407, with the reason that is likely."""
    cause = "does not accept" if login else "asks for credentials"
    for port, realm in ((squid, "squid"), (apache("Off"), "apache")):
        route = Route(proxy=f"http://{login}127.0.0.1:{port}")
        async with switchover.Client(route=route) as client:
            with pytest.raises(ProxyRefused, match=cause) as refusal:
                await client.get("http://127.0.0.1:1/")
        assert refusal.value.response is not None
        assert realm in refusal.value.response.fields["Proxy-Authenticate"]


async def test_nested_proxies(
    squid: int, apache: Apache, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """UPG-C-14: squid, in its tunnel Apache under TLS, in its tunnel ours, in its tunnel TLS."""
    async with _site(certificate, connect=ConnectHandler(LOOPBACK)) as ours:
        async with _site(certificate, secure=True) as site:
            way = [
                Proxy(f"http://{CREDENTIALS}127.0.0.1:{squid}"),
                Proxy(f"https://{CREDENTIALS}localhost:{apache('On')}", ssl=trusting),
                Proxy(f"http://127.0.0.1:{ours.port}"),
            ]
            async with switchover.Client(route=Route(proxy=way, ssl=trusting)) as client:
                answer = await client.post(f"https://localhost:{site.port}/", BIG)
                assert answer.content == BIG


async def test_haproxy_passes_connect_on(
    program: Callable[[str], str], daemon: Callable[..., int], fill: Fill, certificate: Path
) -> None:
    """CON-04, CON-05: between our client and our proxy, a hop that reads the 200."""
    executable = program("haproxy")
    async with _site(certificate, connect=ConnectHandler(LOOPBACK)) as ours:

        def command(port: int) -> list[str]:
            return [
                executable, "-db", "-f", str(fill("haproxy_connect.cfg", port, behind=ours.port))
            ]  # fmt: skip

        port = await anyio.to_thread.run_sync(daemon, command)
        route = Route(proxy=f"http://127.0.0.1:{port}")
        async with switchover.connect(
            f"ws://127.0.0.1:{ours.port}/echo", route=route, max_message_size=None
        ) as ws:
            await ws.send(BIG)
            assert await ws.recv() == BIG
        with pytest.raises(ProxyRefused, match="answered 502"):
            async with switchover.Client(route=route) as client:
                await client.get("http://127.0.0.1:1/")


async def test_nginx_is_no_proxy(
    program: Callable[[str], str], daemon: Callable[..., int], fill: Fill
) -> None:
    """CON-07, CON-12: an origin server's 405 (or 400) is no tunnel."""
    executable = program("nginx")

    def command(port: int) -> list[str]:
        file = fill("nginx_plain.conf", port)
        return [executable, "-p", str(file.parent), "-e", "stderr", "-c", str(file)]

    port = await anyio.to_thread.run_sync(daemon, command)
    async with switchover.Client(route=Route(proxy=f"http://127.0.0.1:{port}")) as client:
        with pytest.raises(ProxyRefused, match=r"answered 40[05] to CONNECT") as refusal:
            await client.get("http://127.0.0.1:1/")
    assert refusal.value.response is not None
    assert b"nginx" in refusal.value.response.content
