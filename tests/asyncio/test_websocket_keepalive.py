"""Keepalive: pings that are answered, pings that are not, and whose fault that is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.asyncio.websocket_keepalive import LoopLag
from switchover.errors import ConnectionClosedError
from switchover.websocket import Connection, Side, State

pytestmark = pytest.mark.anyio

FAST = WebSocketSettings(ping_interval=0.02, ping_timeout=0.1, close_timeout=0.1)


@asynccontextmanager
async def pair(settings: WebSocketSettings) -> AsyncIterator[tuple[WebSocket, WebSocket]]:
    """A server with ``settings``, and a client without keepalive of its own."""
    loop = asyncio.get_running_loop()
    server = WebSocket(Connection(Side.SERVER), settings=settings)
    listener = await loop.create_server(lambda: server, "127.0.0.1", 0)
    quiet = WebSocketSettings(ping_interval=None)
    _, client = await loop.create_connection(
        lambda: WebSocket(Connection(Side.CLIENT), settings=quiet),
        *listener.sockets[0].getsockname(),
    )
    async with asyncio.timeout(10):
        while server._transport is None:  # noqa: ASYNC110  # there is nothing that would say so
            await asyncio.sleep(0)
    try:
        yield server, client
    finally:
        listener.close()
        for ws in (server, client):
            ws.abort()
            await ws.wait_closed()


async def test_pings_go_on_while_they_are_answered() -> None:
    """SEC-23: the latency is known, and nothing else happens."""
    async with pair(FAST) as (server, client):
        async with asyncio.timeout(10):
            while server.latency == 0.0:  # noqa: ASYNC110  # there is nothing that would say so
                await asyncio.sleep(0.01)
        first = server.latency
        async with asyncio.timeout(10):
            while server.latency == first:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert server.state is State.OPEN
        await client.close()


async def test_a_silent_peer_is_found_out() -> None:
    """SEC-23, SEC-22: no FIN, no pong: the connection ends within interval and timeout."""
    async with pair(FAST) as (server, client):
        client.transport.pause_reading()
        with pytest.raises(ConnectionClosedError) as caught:
            await asyncio.wait_for(server.recv(), 5)
        await asyncio.wait_for(server.wait_closed(), 1)
        assert (caught.value.code, caught.value.sent_code) == (1006, 1011)
        assert caught.value.sent_reason.startswith("keepalive: no pong within 0.1 s")
        assert "was not blocked" in caught.value.sent_reason


async def test_a_blocked_loop_is_named() -> None:
    """Issue 3, item 2: the reason says that it was our loop, and for how long."""
    async with pair(FAST) as (server, client):
        client.transport.pause_reading()
        async with asyncio.timeout(5):
            while server._lag is None:  # noqa: ASYNC110  # there is nothing that would say so
                await asyncio.sleep(0.001)
        time.sleep(0.5)  # noqa: ASYNC251  # this is the fault that is to be found
        await asyncio.wait_for(server.wait_closed(), 5)
        assert "our event loop was blocked for 0." in server.machine.sent_reason


async def test_a_blocked_loop_does_not_cost_the_connection() -> None:
    """Issue 3, item 2: the pong that lay in the socket's buffer is read before judging."""
    async with pair(FAST) as (server, client):
        async with asyncio.timeout(5):
            while server._lag is None:  # noqa: ASYNC110  # there is nothing that would say so
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251
        assert await client.ping() > 0
        assert server.state is State.OPEN


async def test_a_slow_application_does_not_cost_the_connection() -> None:
    """Issue 3: while reading is paused for our own sake, no pong can be seen."""
    settings = WebSocketSettings(
        ping_interval=0.02, ping_timeout=0.05, queue_high=1000, queue_low=100
    )
    async with pair(settings) as (server, client):
        for _ in range(10):
            await client.send(b"x" * 1000)
        async with asyncio.timeout(5):
            while not server._reading_paused:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        assert server.state is State.OPEN
        for _ in range(10):
            assert len(await server.recv()) == 1000
        await client.close()


async def test_pings_without_a_timeout() -> None:
    """``ping_timeout=None`` measures and never ends a connection."""
    settings = WebSocketSettings(ping_interval=0.01, ping_timeout=None)
    async with pair(settings) as (server, client):
        client.transport.pause_reading()
        await asyncio.sleep(0.1)
        assert server.state is State.OPEN


async def test_the_meter_runs_only_while_somebody_waits() -> None:
    """No timer while idle; lag before the mark does not count."""
    loop = asyncio.get_running_loop()
    meter = LoopLag.of(loop)
    assert LoopLag.of(loop) is meter
    assert meter._timer is None
    mark = meter.watch()
    time.sleep(0.5)  # noqa: ASYNC251
    assert 0.1 < meter.blocked_since(mark) < 0.6
    await asyncio.sleep(0.01)
    blocked = meter.blocked_since(mark)
    assert 0.1 < blocked < 0.6
    again = meter.watch()
    assert meter.blocked_since(again) == 0.0
    meter.unwatch()
    assert meter._timer is not None
    meter.unwatch()
    assert meter._timer is None


async def test_keepalive_leaves_nothing_behind() -> None:
    """SEC-23: the end of a connection takes its deadline and its meter back."""
    async with pair(FAST) as (server, client):
        client.transport.pause_reading()
        async with asyncio.timeout(5):
            while server._lag is None:  # noqa: ASYNC110  # there is nothing that would say so
                await asyncio.sleep(0)
        server.abort()
        await server.wait_closed()
        assert server._deadline is None
        assert LoopLag.of(asyncio.get_running_loop())._timer is None
