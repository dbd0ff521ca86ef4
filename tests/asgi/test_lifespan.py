"""The lifespan protocol (ASGI Lifespan 2.0)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from switchover.asgi import Lifespan, LifespanFailed, Server
from switchover.errors import LocalProtocolError

pytestmark = pytest.mark.anyio


def application(log: list[str], *, startup: str = "complete", shutdown: str = "complete") -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        for phase, answer in (("startup", startup), ("shutdown", shutdown)):
            message = await receive()
            log.append(message["type"])
            scope["state"][phase] = asyncio.current_task()
            await send({"type": f"lifespan.{phase}.{answer}", "message": "no database"})
            if answer == "failed":
                return

    return app


async def test_startup_and_shutdown_run_in_one_task() -> None:
    log: list[str] = []
    lifespan = Lifespan(application(log))
    await lifespan.startup()
    assert log == ["lifespan.startup"]
    await lifespan.shutdown()
    assert log == ["lifespan.startup", "lifespan.shutdown"]
    assert lifespan.state["startup"] is lifespan.state["shutdown"]


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_failed_startup_is_fatal(mode: str) -> None:
    with pytest.raises(LifespanFailed, match="failed to start: no database"):
        await Lifespan(application([], startup="failed"), mode=mode).startup()


async def test_failed_startup_keeps_the_server_from_listening() -> None:
    server = Server(application([], startup="failed"))
    with pytest.raises(LifespanFailed):
        await server.start("127.0.0.1", 0)
    assert server.addresses == []
    await server.close()


async def test_failed_shutdown_is_told() -> None:
    lifespan = Lifespan(application([], shutdown="failed"))
    await lifespan.startup()
    with pytest.raises(LifespanFailed, match="failed to stop: no database"):
        await lifespan.shutdown()


async def test_application_without_lifespan_is_served(caplog: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    with caplog.at_level(logging.INFO):
        lifespan = Lifespan(app)
        await lifespan.startup()
        await lifespan.shutdown()
    assert not caplog.records


async def test_application_that_returns_at_once_is_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    lifespan = Lifespan(app)
    await lifespan.startup()
    await lifespan.shutdown()


async def test_exception_during_startup_is_shown(caplog: Any) -> None:
    """ASGI: the server continues; but an application that took part has a fault."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ValueError("no database")

    await Lifespan(app).startup()
    assert "no database" in caplog.text


async def test_mode_on_wants_the_protocol_spoken() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError("lifespan")

    with pytest.raises(LifespanFailed, match="NotImplementedError: lifespan"):
        await Lifespan(app, mode="on").startup()


async def test_mode_off_does_not_call_the_application() -> None:
    log: list[str] = []
    lifespan = Lifespan(application(log), mode="off")
    await lifespan.startup()
    await lifespan.shutdown()
    assert log == []


async def test_message_out_of_turn_raises() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await send({"type": "lifespan.shutdown.complete"})
        except LocalProtocolError as error:
            seen.append(str(error))
        await send({"type": "lifespan.startup.complete"})
        await receive()

    await Lifespan(app).startup()
    assert "legal now: lifespan.startup.complete, lifespan.startup.failed" in seen[0]


async def test_cancelled_startup_ends_the_application() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Lifespan(app).startup(), 0.01)
    await asyncio.wait_for(ended.wait(), 5)


async def test_server_runs_the_lifespan_around_its_own(serve: Any) -> None:
    log: list[str] = []
    server = await serve(application(log), lifespan="auto")
    assert log == ["lifespan.startup"]
    await server.start("127.0.0.1", 0)
    assert log == ["lifespan.startup"]
    await server.close()
    assert log == ["lifespan.startup", "lifespan.shutdown"]
