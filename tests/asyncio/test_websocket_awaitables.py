"""What ``anext(ws)`` and ``ws.send()`` return is a coroutine in both builds, to all who use it."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.errors import ConnectionClosed, ConnectionClosedError
from switchover.websocket import Connection, Side

pytestmark = pytest.mark.anyio

QUIET = WebSocketSettings(ping_interval=None)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[WebSocket, WebSocket]]:
    """A server's and a client's end of a connection, the opening handshake being over."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[WebSocket] = loop.create_future()

    def serve() -> WebSocket:
        ws = WebSocket(Connection(Side.SERVER), settings=QUIET)
        loop.call_soon(accepted.set_result, ws)
        return ws

    listener = await loop.create_server(serve, "127.0.0.1", 0)
    _, near = await loop.create_connection(
        lambda: WebSocket(Connection(Side.CLIENT), settings=QUIET),
        *listener.sockets[0].getsockname(),
    )
    far = await accepted
    try:
        yield far, near
    finally:
        listener.close()
        for ws in (far, near):
            ws.abort()


async def test_they_are_coroutines() -> None:
    """A task can be made of either, and its result awaited in the usual ways."""
    async with pair() as (far, near):
        sending, receiving = near.send("one"), anext(far)
        for awaitable in (sending, receiving):
            assert isinstance(awaitable, collections.abc.Coroutine)
            assert inspect.isawaitable(awaitable)
        task = asyncio.create_task(sending)
        assert await asyncio.create_task(receiving) == "one"
        assert await task is None
        await asyncio.gather(near.send("two"), near.send("three"))
        assert await asyncio.wait_for(anext(far), 5) == "two"
        async with asyncio.timeout(5):
            assert await anext(far) == "three"


async def test_nothing_happens_before_they_are_awaited() -> None:
    """A message is sent when the call is awaited, and taken from the queue likewise."""
    async with pair() as (far, near):
        late = near.send("late")
        waiting = anext(far)
        await near.send("soon")
        await late
        assert [await far.recv(), await waiting] == ["soon", "late"]


async def test_an_awaited_one_is_spent() -> None:
    """RuntimeError, as for every coroutine; nothing is sent twice."""
    async with pair() as (far, near):
        sending = near.send("once")
        await sending
        with pytest.raises(RuntimeError):
            await sending
        await near.send("end")
        assert [await anext(far), await anext(far)] == ["once", "end"]


async def test_a_forgotten_await_is_told() -> None:
    """RuntimeWarning, as for every coroutine: the message has not been sent."""
    async with pair() as (_, near):
        with pytest.warns(RuntimeWarning, match="never awaited"):
            near.send("forgotten")


async def test_closing_an_unused_one_is_quiet(recwarn: pytest.WarningsRecorder) -> None:
    """``close()`` says that it is not wanted."""
    async with pair() as (_, near):
        sending = near.send("unwanted")
        sending.close()
        del sending
    assert not [w for w in recwarn if "awaited" in str(w.message)]


async def test_cancelled_while_waiting() -> None:
    """The next one to wait gets the message: cancelling loses nothing."""
    async with pair() as (far, near):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(far), 0.01)
        task = asyncio.create_task(anext(far))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await near.send("still here")
        assert await anext(far) == "still here"


async def test_scopes_of_anyio_know_their_own_cancellation() -> None:
    """``move_on_after`` ends where it should: the message of the cancellation arrives."""
    async with pair() as (far, near):
        with anyio.move_on_after(0.01) as scope:
            await anext(far)
        assert scope.cancelled_caught
        with anyio.move_on_after(0.01) as scope:
            await far.recv()
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(near.send, "from a group")
            group.start_soon(far.__anext__)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        async with anyio.create_task_group() as group:
            group.start_soon(far.__anext__)
            await asyncio.sleep(0)
            group.cancel_scope.cancel()
        await near.send("at last")
        assert await anext(far) == "at last"


async def test_a_message_in_pieces_is_put_together() -> None:
    """WS-F-05: after ``recv_fragments`` messages come in pieces; iterating joins them."""
    async with pair() as (far, near):
        await near.send("first")
        assert [piece async for piece in far.recv_fragments()] == ["first"]
        waiting = asyncio.create_task(anext(far))
        await near.send(["pie", "ces"])
        assert await waiting == "pieces"


async def test_cancelled_between_two_pieces() -> None:
    """Cancelling reaches what puts the pieces together."""
    async with pair() as (far, near):
        await near.send("first")
        assert [piece async for piece in far.recv_fragments()] == ["first"]
        go_on = asyncio.Event()

        async def slowly() -> AsyncIterator[str]:
            yield "begun"
            await go_on.wait()
            yield "finished"

        task = asyncio.create_task(anext(far))
        sending = asyncio.create_task(near.send(slowly()))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await sending


async def test_two_tasks_may_not_wait() -> None:
    """The second one is told, the first one goes on."""
    async with pair() as (far, near):
        first = asyncio.create_task(anext(far))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(far)
        await near.send("for the first")
        assert await first == "for the first"


async def test_the_end_of_the_connection() -> None:
    """A normal end stops the iteration, another one raises; sending raises either way."""
    async with pair() as (far, near):
        await near.close()
        assert [message async for message in far] == []
        with pytest.raises(StopAsyncIteration):
            await anext(far)
        with pytest.raises(ConnectionClosed):
            await far.send("too late")
    async with pair() as (far, near):
        near.abort()
        with pytest.raises(ConnectionClosedError):
            async for _ in far:
                pass


async def test_under_a_tracer() -> None:
    """Debuggers take the other road through the interpreter."""
    async with pair() as (far, near):
        await near.send("seen")
        previous = sys.gettrace()
        sys.settrace(lambda *_: None)
        try:
            assert await anext(far) == "seen"
            await far.send("back")
        finally:
            sys.settrace(previous)
        assert await anext(near) == "back"


class Paper(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.broken = broken

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.broken and self.written:
            raise RuntimeError("out of paper")
        self.written.append(bytes(data))


async def test_what_several_send_in_one_round_is_gathered() -> None:
    """The first output of each goes at once, the rest when the round of the loop is over.

    One that cannot send does the others no harm.
    """
    papers = [Paper(), Paper(broken=True), Paper()]
    connections = [WebSocket(Connection(Side.SERVER), settings=QUIET) for _ in papers]
    loop = asyncio.get_running_loop()
    errors: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        for ws, paper in zip(connections, papers, strict=True):
            ws.connection_made(paper)
        for again in (1, 2):
            for text in ("one", "two", "three"):
                for ws in connections:
                    await ws.send(text)
            assert [len(paper.written) for paper in papers] == [2 * again - 1, 1, 2 * again - 1]
            await asyncio.sleep(0)
            assert [len(paper.written) for paper in papers] == [2 * again, 1, 2 * again]
            connections[1] = WebSocket(Connection(Side.SERVER), settings=QUIET)
            papers[1] = Paper(broken=True)
            connections[1].connection_made(papers[1])
    finally:
        loop.set_exception_handler(None)
    assert papers[0].written[1] == b"\x81\x03two\x81\x05three"
    assert [type(context["exception"]) for context in errors] == [RuntimeError, RuntimeError]
    for ws in connections:
        ws.connection_lost(None)
