"""Handlers that begin at once, in a task that is kept: they must not be able to tell."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from switchover.asyncio.server import Server
from switchover.asyncio.workers import Workers

pytestmark = pytest.mark.anyio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
async def server(anyio_backend: object) -> AsyncIterator[Server]:
    """A server that nobody connects to."""
    async with Server() as server:
        yield server


@pytest.fixture
async def workers(server: Server) -> AsyncIterator[Workers]:
    """Workers with a task that waits, as after a first request."""
    workers = Workers(server, asyncio.get_running_loop())
    await begin(workers, _nothing)
    yield workers
    workers.close()


async def _nothing() -> None:
    pass


async def begin(workers: Workers, job: Callable[[], Awaitable[Any]]) -> None:
    """Run a job from the event loop, as a protocol does: no task is running then."""
    loop = asyncio.get_running_loop()
    begun = loop.create_future()

    async def run() -> None:
        await job()

    def protocol() -> None:
        workers.run(run())
        begun.set_result(None)

    loop.call_soon(protocol)
    await begun
    await asyncio.sleep(0)


async def test_a_handler_begins_before_control_returns(workers: Workers) -> None:
    loop, order, done = asyncio.get_running_loop(), [], asyncio.Event()

    async def job() -> None:
        order.append("handler")

    def protocol() -> None:
        workers.run(job())
        order.append("after")
        done.set()

    loop.call_soon(protocol)
    await done.wait()
    assert order == ["handler", "after"]


async def test_the_handler_runs_in_a_task_of_the_loop(workers: Workers) -> None:
    """``asyncio.timeout`` and anyio ask for it, before the first wait and after."""
    tasks = []

    async def job() -> None:
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        tasks.append(asyncio.current_task())

    await begin(workers, job)
    await asyncio.sleep(0.01)
    assert isinstance(tasks[0], asyncio.Task)
    assert tasks == [tasks[0], tasks[0]]


async def test_context_variables_do_not_leak_to_the_next_handler(workers: Workers) -> None:
    seen = []

    async def job() -> None:
        seen.append(variable.get())
        variable.set("leaked")

    for _ in range(3):
        await begin(workers, job)
    assert seen == ["unset"] * 3
    assert variable.get() == "unset"


async def test_context_variables_are_kept_over_a_wait(workers: Workers) -> None:
    seen = []

    async def job() -> None:
        variable.set("mine")
        await asyncio.sleep(0)
        seen.append(variable.get())
        await asyncio.create_task(child())

    async def child() -> None:
        seen.append(variable.get())

    await begin(workers, job)
    await asyncio.sleep(0.01)
    assert seen == ["mine", "mine"]


async def test_a_task_in_which_a_handler_has_waited_gets_no_other(workers: Workers) -> None:
    """What is kept by the task (a database session, say) must not reach another request."""
    tasks = []

    async def job() -> None:
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())

    for _ in range(3):
        await begin(workers, job)
        await asyncio.sleep(0.01)
    assert len({id(task) for task in tasks}) == 3


async def test_handlers_that_wait_run_beside_each_other(workers: Workers) -> None:
    gate, count = asyncio.Event(), []

    async def job() -> None:
        await gate.wait()
        count.append(1)

    for _ in range(5):
        await begin(workers, job)
    assert not count
    gate.set()
    await asyncio.sleep(0.01)
    assert len(count) == 5


async def test_what_is_thrown_reaches_the_handler(workers: Workers) -> None:
    met: list[BaseException] = []
    task: list[asyncio.Task[Any]] = []

    async def job() -> None:
        current = asyncio.current_task()
        assert current is not None
        task.append(current)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            met.append(error)
            raise

    await begin(workers, job)
    task[0].cancel()
    await asyncio.sleep(0.01)
    assert [type(error) for error in met] == [asyncio.CancelledError]
    assert task[0].cancelled()


async def test_a_handler_that_cancels_its_task_harms_no_other(workers: Workers) -> None:
    ran = []

    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def works() -> None:
        ran.append(1)

    await begin(workers, cancels)
    await asyncio.sleep(0.01)
    await begin(workers, works)
    await asyncio.sleep(0.01)
    assert ran == [1]


async def test_a_handler_begun_within_a_task_waits_for_its_turn(workers: Workers) -> None:
    """Two tasks cannot run at once: asyncio refuses, so the handler's begins in the next round."""
    order = []

    async def job() -> None:
        order.append("handler")

    workers.run(job())
    order.append("after")
    await asyncio.sleep(0.01)
    assert order == ["after", "handler"]


async def test_the_server_waits_for_handlers_at_work_only(server: Server) -> None:
    workers = Workers(server, asyncio.get_running_loop())
    await begin(workers, _nothing)
    assert await _closes(server)  # the kept task holds nobody up
    gate = asyncio.Event()
    other = Server()
    workers_of_other = Workers(other, asyncio.get_running_loop())
    await begin(workers_of_other, _nothing)
    await begin(workers_of_other, gate.wait)
    closing = asyncio.create_task(other.close(grace=5))
    await asyncio.sleep(0.02)
    assert not closing.done()
    gate.set()
    async with asyncio.timeout(2):
        await closing
    workers.close()
    workers_of_other.close()


async def _closes(server: Server) -> bool:
    async with asyncio.timeout(2):
        await server.close(grace=1)
    return True


async def test_the_kept_task_ends_with_the_connection(server: Server) -> None:
    before = asyncio.all_tasks()
    workers = Workers(server, asyncio.get_running_loop())
    await begin(workers, _nothing)
    assert len(asyncio.all_tasks() - before) == 1
    workers.close()
    await asyncio.sleep(0.01)
    gc.collect()
    assert asyncio.all_tasks() - before == set()
