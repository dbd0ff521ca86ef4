"""What an application awaits is a coroutine in both builds, to all who use it."""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import inspect
import io
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import websockets
from websockets.asyncio.client import connect as dial

from switchover.asgi import answer, channel, scopes
from switchover.asyncio import wire
from switchover.errors import LocalProtocolError

pytestmark = pytest.mark.anyio

ACCEPT = {"type": "websocket.accept"}
HELLO = {"type": "websocket.send", "text": "hello"}

HEAD = {"type": "http.response.start", "status": 200, "headers": []}
CONTENT = {"type": "http.response.body", "body": b"hello"}

Script = Callable[[Any, Any, Any], Awaitable[None]]


async def test_the_build_is_known() -> None:
    """The compiled channel is used with the compiled connection only, and with it the answer."""
    assert wire.COMPILED or not channel.COMPILED
    assert answer.COMPILED is channel.COMPILED
    assert scopes.COMPILED is scopes.http_scope.__module__.endswith("_c")


async def play(serve: Any, app: Any, *sent: str) -> list[Any]:
    """Connect to ``app``, send, and return what comes until the connection ends."""
    server = await serve(app)
    async with dial(f"ws://127.0.0.1:{server.port}/", proxy=None) as ws:
        for message in sent:
            await ws.send(message)
        return [message async for message in ws]


async def test_they_are_coroutines(serve: Any) -> None:
    """A task can be made of each, and its result awaited in the usual ways."""
    events: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        first = receive()
        assert isinstance(first, collections.abc.Coroutine)
        assert inspect.isawaitable(first)
        events.append(await asyncio.create_task(first))
        await asyncio.create_task(send(ACCEPT))
        await asyncio.gather(send(HELLO), send(HELLO))
        async with asyncio.timeout(5):
            events.append(await receive())
        async with anyio.create_task_group() as group:
            group.start_soon(send, HELLO)
        events.append(await asyncio.wait_for(receive(), 5))

    assert await play(serve, app, "one", "two") == ["hello"] * 3
    assert events == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "one"},
        {"type": "websocket.receive", "text": "two"},
    ]


async def test_nothing_happens_before_they_are_awaited(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        late = receive()
        accepting = send(ACCEPT)
        with pytest.raises(LocalProtocolError):
            await send(HELLO)
        assert (await receive())["type"] == "websocket.connect"
        await accepting
        unwanted = send(HELLO)
        await send({"type": "websocket.send", "text": "soon"})
        unwanted.close()
        late.close()

    assert await play(serve, app) == ["soon"]


async def test_an_awaited_one_is_spent(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for make in (receive, lambda: send(ACCEPT), receive, lambda: send(HELLO)):
            awaitable = make()
            await awaitable
            with pytest.raises(RuntimeError):
                await awaitable

    assert await play(serve, app, "one") == ["hello"]


async def test_a_forgotten_await_is_told(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        with pytest.warns(RuntimeWarning, match="never awaited"):
            send(HELLO)
        with pytest.warns(RuntimeWarning, match="never awaited"):
            receive()

    assert await play(serve, app) == []


async def test_a_cancelled_receive_loses_nothing(serve: Any) -> None:
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        with anyio.move_on_after(0.01) as scope_:
            await receive()
        assert scope_.cancelled_caught
        await send(HELLO)
        got.append(await receive())

    server = await serve(app)
    async with dial(f"ws://127.0.0.1:{server.port}/", proxy=None) as ws:
        assert await ws.recv() == "hello"
        await ws.send("still here")
        await ws.wait_closed()
    assert got == [{"type": "websocket.receive", "text": "still here"}]


class Application:
    """One whose call returns something to await that is not a coroutine."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        return asyncio.ensure_future(self.script(scope, receive, send))


async def test_an_application_may_return_any_awaitable(serve: Any) -> None:
    async def script(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send(HELLO)

    assert await play(serve, Application(script)) == ["hello"]


def failing(when: str, first: Script) -> Script:
    """An application that fails when it is called, when it begins, or after ``first``."""

    async def script(scope: Any, receive: Any, send: Any) -> None:
        if when == "waiting":
            await first(scope, receive, send)
            await asyncio.sleep(0)
        raise ValueError("the reason")

    def app(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if when == "called":
            raise ValueError("the reason")
        return script(scope, receive, send)

    return app


@pytest.mark.parametrize("when", ["called", "begun", "waiting"])
async def test_an_application_may_fail_at_any_time(serve: Any, caplog: Any, when: str) -> None:
    """500 before ``websocket.accept``, 1011 after it; the log has the traceback."""

    async def talk(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await receive()

    app = failing(when, talk)
    with caplog.at_level(logging.ERROR):
        if when == "waiting":
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await play(serve, app, "go")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1011
        else:
            with pytest.raises(websockets.InvalidStatus) as refused:
                await play(serve, app)
            assert refused.value.response.status_code == 500
    assert "the reason" in caplog.text
    assert "test_channel.py" in caplog.text


async def test_an_application_may_outlive_a_cancellation(serve: Any) -> None:
    """What it goes on to do after the task was cancelled is still its connection's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await receive()
        except asyncio.CancelledError:
            task.uncancel()
        await send(HELLO)
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await receive()
        except asyncio.CancelledError:
            return

    assert await play(serve, app) == ["hello"]


async def test_what_tells_of_tasks_finds_the_application(serve: Any) -> None:
    """``repr`` of the task names it, and its stack is the application's."""
    told: list[str] = []

    async def app_of_this_test(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        task = asyncio.current_task()
        assert task is not None

        def look() -> None:
            stack = io.StringIO()
            task.print_stack(file=stack)
            told.extend((repr(task), stack.getvalue()))
            asyncio.get_running_loop().call_soon(task.cancel)

        asyncio.get_running_loop().call_soon(look)
        await asyncio.sleep(5)

    with contextlib.suppress(TimeoutError, websockets.ConnectionClosed):
        await asyncio.wait_for(play(serve, app_of_this_test), 0.5)
    assert told[0].startswith("<Task ")
    if channel.COMPILED:
        assert "app_of_this_test" in told[0]
        assert "test_channel.py" in told[1]


# The same for a request.


async def fetch(serve: Any, connect: Any, app: Any) -> tuple[int, bytes]:
    """Return status and content of what ``app`` answers."""
    client = await connect(await serve(app))
    client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head, content = await client.response()
    return int(head[9:12]), content


async def test_sending_an_answer_is_a_coroutine(serve: Any, connect: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        early = send(HEAD)
        assert isinstance(early, collections.abc.Coroutine)
        with pytest.raises(LocalProtocolError):
            await send(CONTENT)  # nothing happens before it is awaited
        await asyncio.create_task(early)
        with pytest.raises(RuntimeError):
            await early
        with pytest.warns(RuntimeWarning, match="never awaited"):
            send(CONTENT)
        async with anyio.create_task_group() as group:
            group.start_soon(send, CONTENT)

    assert await fetch(serve, connect, app) == (200, b"hello")


async def test_a_request_may_be_answered_by_any_awaitable(serve: Any, connect: Any) -> None:
    async def script(scope: Any, receive: Any, send: Any) -> None:
        await send(HEAD)
        await asyncio.sleep(0)
        await send(CONTENT)

    assert await fetch(serve, connect, Application(script)) == (200, b"hello")


@pytest.mark.parametrize("when", ["called", "begun", "waiting"])
async def test_answering_may_fail_at_any_time(
    serve: Any, connect: Any, caplog: Any, when: str
) -> None:
    async def begin(scope: Any, receive: Any, send: Any) -> None:
        await send(HEAD)

    app = failing(when, begin)
    with caplog.at_level(logging.ERROR):
        status, _ = await fetch(serve, connect, app)
    assert status == 500
    assert "the reason" in caplog.text
