"""The clients of websockets and aiohttp against the demonstration server."""

from __future__ import annotations

import os

import aiohttp
import pytest
import websockets.asyncio.client
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.anyio

BIG = os.urandom(1024 * 1024)


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_websockets(demonstration: str, compression: str | None) -> None:
    async with websockets.asyncio.client.connect(
        f"ws://{demonstration}/echo",
        subprotocols=["echo.v1", "other"],  # type: ignore[list-item]  # NewType of str
        compression=compression,
        max_size=None,
        proxy=None,
    ) as connection:
        assert connection.subprotocol == "echo.v1"
        for message in ("hello", "", "grüße 🌍", b"\x00\xff", BIG, "a" * 70_000):
            await connection.send(message)
            assert await connection.recv() == message
        await connection.send(["in ", "three ", "pieces"])
        assert await connection.recv() == "in three pieces"
        await (await connection.ping())
        await connection.close(4000, "enough")
    assert connection.close_code == 4000


async def test_websockets_is_refused_where_nothing_is(demonstration: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await websockets.asyncio.client.connect(f"ws://{demonstration}/nowhere", proxy=None)
    assert refused.value.response.status_code == 404
    assert refused.value.response.body


@pytest.mark.parametrize("compress", [15, 9, 0])
async def test_aiohttp(demonstration: str, compress: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"ws://{demonstration}/echo",
            protocols=("echo.v2",),
            compress=compress,
            max_msg_size=0,
        ) as connection,
    ):
        assert connection.protocol == "echo.v2"
        for text in ("hello", "", "grüße 🌍", "a" * 70_000):
            await connection.send_str(text)
            assert await connection.receive_str() == text
        for octets in (b"\x00\xff", BIG):
            await connection.send_bytes(octets)
            assert await connection.receive_bytes() == octets
        await connection.close(code=4000, message=b"enough")
        assert connection.close_code == 4000


async def test_aiohttp_shares_a_session_with_ordinary_requests(demonstration: str) -> None:
    async with aiohttp.ClientSession(f"http://{demonstration}") as session:
        headers = {"Connection": "Upgrade", "Upgrade": "loud/9"}
        async with session.post("/body", data=BIG, headers=headers) as answer:
            assert await answer.read() == BIG
        async with session.ws_connect("/echo") as connection:
            await connection.send_str("hello")
            assert await connection.receive_str() == "hello"
        async with session.get("/plain") as answer:
            assert await answer.text() == "plain"
