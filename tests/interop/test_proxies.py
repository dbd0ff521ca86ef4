"""Both ends of ours, and a client of others, with nginx or HAProxy in between."""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import websockets.asyncio.client

import switchover

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

PEERS = Path(__file__).parent / "peers"
BIG = os.urandom(1024 * 1024)
PROXIES = {
    "nginx": ("nginx.conf", ["-p", "{run}", "-e", "stderr", "-c", "{run}/nginx.conf"]),
    "haproxy": ("haproxy.cfg", ["-db", "-f", "{run}/haproxy.cfg"]),
}


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest,
    program: Callable[[str], str],
    daemon: Callable[[Callable[[int], list[str]]], int],
    demonstration: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """``HOST:PORT`` of a proxy in front of the demonstration server."""
    executable = program(request.param)
    template, options = PROXIES[request.param]
    text = string.Template((PEERS / template).read_text())

    def command(port: int) -> list[str]:
        run = tmp_path_factory.mktemp(request.param)
        (run / template).write_text(
            text.substitute(run=run, port=port, backend=demonstration), encoding="utf-8"
        )
        return [executable, *(option.format(run=run) for option in options)]

    return f"127.0.0.1:{daemon(command)}"


@pytest.mark.parametrize("extensions", [None, ()], ids=["deflate", "plain"])
async def test_our_client_and_server(proxy: str, extensions: tuple[()] | None) -> None:
    async with switchover.connect(
        f"ws://{proxy}/echo",
        subprotocols=["echo.v1"],
        extensions=extensions,
        max_message_size=4 * 1024 * 1024,
    ) as ws:
        assert ws.subprotocol == "echo.v1"
        for message in ("hello", b"\x00\xff", BIG, "a" * 70_000):
            await ws.send(message)
            assert await ws.recv() == message
        await ws.ping()
    assert ws.close_code == 1000


async def test_websockets_and_our_server(proxy: str) -> None:
    async with websockets.asyncio.client.connect(
        f"ws://{proxy}/echo", max_size=None, proxy=None
    ) as connection:
        for message in ("hello", b"\x00\xff", BIG):
            await connection.send(message)
            assert await connection.recv() == message


async def test_a_token_of_our_own(proxy: str) -> None:
    async with switchover.switch(f"http://{proxy}/shout", offer=["shout/1"]) as switched:
        assert switched.protocol == "shout/1"
        tunnel = switched.tunnel
        assert tunnel is not None
        for piece in (b"hello", b"x" * 300_000):
            await tunnel.send(piece)
            assert await tunnel.read_exactly(len(piece)) == piece.upper()


async def test_ordinary_requests(proxy: str) -> None:
    async with switchover.Client() as client:
        for _ in range(2):
            answer = await client.post(f"http://{proxy}/body", BIG)
            assert answer.content == BIG
        answer = await client.get(f"http://{proxy}/plain", offer=["loud/9"])
        assert (answer.protocol, answer.content) == (None, b"plain")
