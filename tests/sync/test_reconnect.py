"""The blocking ``reconnecting()`` on real sockets; the clock is put forward by sleeping."""

from __future__ import annotations

from typing import Any

import pytest

import switchover.sync
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import HandshakeRejected
from switchover.http.messages import Request, Response
from switchover.websocket.connection import State
from switchover.websocket.reconnection import ReconnectPolicy


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def options(self) -> dict[str, Any]:
        return {"clock": lambda: self.now, "sleep": self.sleep, "random": lambda: 0.5}


async def hello(ws: WebSocket) -> None:
    await ws.send("hello")


def test_each_round_has_a_new_connection(elsewhere: Any) -> None:
    """WS-C-13: the same delays as without threads."""
    time, seen = Time(), []
    with (
        elsewhere.serving(upgrades=[websocket(hello)]) as server,
        switchover.sync.reconnecting(
            f"ws://127.0.0.1:{server.port}/", **time.options()
        ) as connections,
    ):
        for ws in connections:
            seen.append(list(ws))
            if len(seen) == 4:
                break
    assert ws.state is State.CLOSED
    assert seen == [["hello"]] * 4
    assert time.slept == [2.5, 7.5, 15]


def test_failures_are_repeated_until_it_gives_up(elsewhere: Any) -> None:
    """WS-C-13: growing gaps; the error at the end carries the server's whole answer."""
    time = Time()

    def accept(request: Request, content: bytes) -> Response:
        return Response.text(503, "never")

    policy = ReconnectPolicy(max_attempts=4)
    with (
        elsewhere.serving(upgrades=[websocket(hello, accept=accept)]) as server,
        pytest.raises(HandshakeRejected) as refused,
    ):
        next(
            switchover.sync.reconnecting(
                f"ws://127.0.0.1:{server.port}/", policy=policy, **time.options()
            )
        )
    assert refused.value.response is not None
    assert refused.value.response.content == b"never"
    assert time.slept == [2.5, 7.5, 15]
