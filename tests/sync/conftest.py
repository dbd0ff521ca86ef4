"""Servers for the blocking client: on an event loop of their own, in a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.http.messages import Response


class Elsewhere:
    """An event loop in another thread, for the other end of a connection."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        """Run ``coroutine`` there; return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    @contextmanager
    def serving(self, *arguments: Any, **options: Any) -> Iterator[Server]:
        """Run a :class:`Server` there, listening on a free port."""
        settings = ServerSettings(timeouts=Timeouts(shutdown=1.0))
        server = Server(*arguments, **{"settings": settings, **options})
        self.run(server.start())
        try:
            yield server
        finally:
            self.run(server.close())

    @contextmanager
    def playing(
        self, handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> Iterator[int]:
        """Run ``handle`` there for each connection to the port that is yielded."""

        async def handle_and_close(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            try:
                with contextlib.suppress(ConnectionError):
                    await handle(reader, writer)
            finally:
                writer.close()

        server = self.run(asyncio.start_server(handle_and_close, "127.0.0.1", 0))
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            self.loop.call_soon_threadsafe(server.close)

    def close(self) -> None:
        """End the loop and its thread."""

        async def cancel_the_rest() -> None:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            for _ in range(5):  # what was closed is told so on the next rounds
                await asyncio.sleep(0)

        self.run(cancel_the_rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """An event loop in another thread."""
    other = Elsewhere()
    yield other
    other.close()


async def echo(ws: WebSocket) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def shout(tunnel: Tunnel) -> None:
    """Send everything back, in capitals, and ``bye`` at the end."""
    async for data in tunnel:
        await tunnel.send(data.upper())
    await tunnel.send(b"bye")


async def answer(exchange: Exchange) -> None:
    """Say what was asked: method, target and content."""
    content = b""
    while piece := await exchange.receive_content():
        content += piece
    text = f"{exchange.request.method} {exchange.request.target} {content.decode('latin-1')}"
    await exchange.send_response(Response.text(200, text), end=True)


@pytest.fixture
def server(elsewhere: Elsewhere) -> Iterator[Server]:
    """A server that echoes on /echo, shouts on /shout, and answers everything else."""
    upgrades = [websocket(echo, path="/echo"), token("shout/1", shout, path="/shout")]
    with elsewhere.serving(answer, upgrades) as running:
        yield running


@pytest.fixture
def address(server: Server) -> str:
    """Host and port of that server."""
    return f"127.0.0.1:{server.port}"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Everything that a test opened has been closed, and the background thread has ended."""
    yield
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == "switchover"]
