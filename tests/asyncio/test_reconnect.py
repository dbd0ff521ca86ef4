"""``reconnecting()`` on real sockets; the clock is put forward by sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio.reconnect import fraction, reconnecting
from switchover.asyncio.server import Server
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import ConnectionClosedError, HandshakeRejected
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.websocket.connection import State
from switchover.websocket.reconnection import ReconnectPolicy

pytestmark = pytest.mark.anyio


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def options(self) -> dict[str, Any]:
        return {"clock": self.clock, "sleep": self.sleep, "random": lambda: 0.5}


async def numbered(ws: WebSocket) -> None:
    await ws.send("hello")


@asynccontextmanager
async def serving(handler: Any = numbered, **options: Any) -> AsyncIterator[str]:
    async with Server(upgrades=[websocket(handler, **options)]) as server:
        await server.start()
        yield f"ws://127.0.0.1:{server.port}/"


async def test_each_round_has_a_new_connection() -> None:
    """WS-C-13: reconnects are delayed: at random first, then longer and longer."""
    time, seen = Time(), []
    async with serving() as url:
        async for ws in reconnecting(url, **time.options()):
            seen.append([message async for message in ws])
            if len(seen) == 4:
                break
        await ws.close()
    assert seen == [["hello"]] * 4
    assert time.slept == [2.5, 7.5, 15]


async def test_a_connection_that_is_still_open_is_closed_first() -> None:
    time, before = Time(), []

    async def idle(ws: WebSocket) -> None:
        await ws.wait_closed()

    async with serving(idle) as url, reconnecting(url, **time.options()) as connections:
        async for ws in connections:
            before.append(ws)
            time.now += 60  # it lasted
            if len(before) == 3:
                break
        assert [ws.state for ws in before] == [State.CLOSED, State.CLOSED, State.OPEN]
    assert ws.state is State.CLOSED
    assert time.slept == [2.5, 2.5]


async def test_an_abnormal_end_is_the_loops_to_handle() -> None:
    time, rounds = Time(), 0

    async def fails(ws: WebSocket) -> None:
        ws.fail(1011, "broken")

    async with serving(fails) as url, reconnecting(url, **time.options()) as connections:
        async for ws in connections:
            rounds += 1
            with pytest.raises(ConnectionClosedError, match="broken"):
                await ws.recv()
            if rounds == 3:
                break
    assert time.slept == [2.5, 7.5]


async def test_a_server_that_comes_back_is_found_again() -> None:
    """WS-C-13: attempts that fail are repeated, with growing gaps."""
    time, refused = Time(), []

    def accept(request: Request, content: bytes) -> Response | None:
        if len(refused) < 3:
            refused.append(request)
            return Response.text(503, "starting", [("Retry-After", "20")])
        return None

    async with serving(accept=accept) as url:
        async for ws in reconnecting(url, **time.options()):
            assert await ws.recv() == "hello"
            break
        await ws.close()
    assert time.slept == [20, 20, 20]


async def test_nobody_listens_at_first() -> None:
    time = Time()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    policy = ReconnectPolicy(max_attempts=3)
    with pytest.raises(ConnectionRefusedError) as refused:
        await anext(reconnecting(f"ws://127.0.0.1:{port}/", policy=policy, **time.options()))
    assert time.slept == [2.5, 7.5]
    assert refused.value.__notes__ == ["gave up after 3 attempts"]


async def test_a_refusal_for_good_carries_the_whole_answer() -> None:
    time = Time()

    def accept(request: Request, content: bytes) -> Response:
        return Response.text(403, "members only", Fields([("X-Club", "1")]))

    async with serving(accept=accept) as url:
        with pytest.raises(HandshakeRejected) as refused:
            await anext(reconnecting(url, **time.options()))
    response = refused.value.response
    assert response is not None
    assert (response.status, response.fields["x-club"]) == (403, "1")
    assert b"members only" in response.content
    assert time.slept == []


def test_chance_is_even() -> None:
    drawn = [fraction() for _ in range(1000)]
    assert 0 <= min(drawn) < 0.1
    assert 0.9 < max(drawn) < 1
