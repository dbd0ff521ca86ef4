"""Our client against servers that others wrote."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

import switchover

pytestmark = pytest.mark.anyio

BIG = os.urandom(1024 * 1024)
LIMIT = 4 * 1024 * 1024
SERVERS = [
    pytest.param(("websockets_server",), id="websockets"),
    pytest.param(("aiohttp_server",), id="aiohttp"),
    pytest.param(("asgi_server", "uvicorn", "websockets-sansio"), id="uvicorn websockets-sansio"),
    pytest.param(("asgi_server", "uvicorn", "wsproto"), id="uvicorn wsproto"),
    pytest.param(("asgi_server", "hypercorn"), id="hypercorn"),
    pytest.param(("ws_server.js",), id="node ws", marks=pytest.mark.interop),
    pytest.param(("ws_server.js", "deflate"), id="node ws with deflate", marks=pytest.mark.interop),
]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, python_peer: Callable[..., str]) -> str:
    """``HOST:PORT`` of each server in turn."""
    name, *arguments = request.param
    if not name.endswith(".js"):
        return python_peer(name, *arguments)
    node_peer = request.getfixturevalue("node_peer")
    address: str = node_peer(name.removesuffix(".js"), *arguments, packages=("ws",))
    return address


@pytest.mark.parametrize("extensions", [None, ()], ids=["deflate offered", "nothing offered"])
async def test_echo(server: str, extensions: tuple[()] | None) -> None:
    async with switchover.connect(
        f"ws://{server}/echo",
        subprotocols=["echo.v1", "echo.v2"],
        extensions=extensions,
        max_message_size=LIMIT,
    ) as ws:
        assert ws.subprotocol in ("echo.v1", "echo.v2")
        for message in ("hello", "", "grüße 🌍", b"\x00\xff", b"", BIG, "a" * 70_000):
            await ws.send(message)
            assert await ws.recv() == message
        await ws.ping()
        await ws.close(4000, "enough")
    # RFC 6455 §5.5.1: the answer "typically" echoes the code; aiohttp says 1000.
    assert ws.close_code in (4000, 1000)


async def test_many_messages_stay_in_order(server: str) -> None:
    async with switchover.connect(f"ws://{server}/echo") as ws:
        for number in range(200):
            await ws.send(f"message {number}")
        for number in range(200):
            assert await ws.recv() == f"message {number}"


async def test_the_server_closes(server: str) -> None:
    async with switchover.connect(f"ws://{server}/bye") as ws:
        with pytest.raises(switchover.ConnectionClosed):
            await ws.recv()
        assert (ws.close_code, ws.close_reason) == (4001, "go away")


async def test_a_refusal_carries_the_whole_answer(server: str) -> None:
    with pytest.raises(switchover.HandshakeRejected) as refused:
        await switchover.connect(f"ws://{server}/refused")
    response = refused.value.response
    assert response is not None
    assert response.status == 403
    assert response.content == b"not for you\n"


class TestNodeUpgrade:
    """A node http server with an `upgrade` event and tokens of its own."""

    pytestmark = pytest.mark.interop

    @pytest.fixture
    def address(self, node_peer: Callable[..., str]) -> str:
        return node_peer("upgrade_server")

    @pytest.mark.parametrize("path", ["/shout", "/hints"])
    async def test_switch(self, address: str, path: str) -> None:
        async with switchover.switch(
            f"http://{address}{path}", offer=["loud/9", "shout/2", "shout/1"]
        ) as switched:
            assert switched.protocol == "shout/2"
            tunnel = switched.tunnel
            assert tunnel is not None
            await tunnel.send(b"hello ")
            await tunnel.send_eof()
            received = b"".join([piece async for piece in tunnel])
        assert received == b"glued HELLO the end"

    async def test_decline(self, address: str) -> None:
        async with switchover.switch(f"http://{address}/plain", offer=["loud/9"]) as switched:
            assert switched.protocol is None
            assert switched.tunnel is None
            assert switched.status == 200
            assert switched.content == b"declined"

    async def test_a_protocol_that_was_not_offered_is_an_error(self, address: str) -> None:
        """UPG-C-05: the client must not go on in a protocol it never offered."""
        with pytest.raises(switchover.SwitchoverError):
            async with switchover.switch(f"http://{address}/wrong", offer=["shout/1"]):
                pytest.fail("switched to a protocol that was not offered")

    async def test_ordinary_requests_beside_it(self, address: str) -> None:
        async with switchover.Client() as client:
            answer = await client.post(f"http://{address}/else", BIG)
            assert await answer.text() == f"ordinary POST {len(BIG)}"
