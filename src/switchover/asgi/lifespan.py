"""The lifespan protocol: tell the application when the server starts and stops.

ASGI Lifespan 2.0. An application that knows nothing of it raises at once, and is then
served without (mode ``AUTO``); one that says ``lifespan.startup.failed`` must not be
served at all, in either mode.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import Any

from switchover.asgi.types import Application, Message
from switchover.errors import LocalProtocolError, SwitchoverError

__all__ = ["Lifespan", "LifespanFailed", "LifespanMode"]

logger = logging.getLogger("switchover.asgi")


class LifespanMode(Enum):
    """Whether the lifespan protocol is spoken with the application."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class LifespanFailed(SwitchoverError):
    """The application said, by the lifespan protocol, that it cannot start or stop."""


class _Phase(Enum):
    IDLE = "before startup"
    STARTING = "during startup"
    RUNNING = "while serving"
    STOPPING = "during shutdown"
    STOPPED = "after shutdown"


_LEGAL = {
    _Phase.STARTING: ("lifespan.startup.complete", "lifespan.startup.failed"),
    _Phase.STOPPING: ("lifespan.shutdown.complete", "lifespan.shutdown.failed"),
}


class Lifespan:
    """One application's lifespan: call :meth:`startup` once, then :meth:`shutdown` once.

    ``state`` is the dictionary the application may fill during startup; each request's
    scope gets a shallow copy of it.
    """

    def __init__(self, app: Application, *, mode: LifespanMode | str = LifespanMode.AUTO) -> None:
        self.app = app
        self.mode = LifespanMode(mode)
        self.state: dict[str, Any] = {}
        self._phase = _Phase.IDLE
        self._task: asyncio.Task[None] | None = None
        self._asked = False
        self._answer: asyncio.Future[str | None] | None = None
        self._stop = asyncio.Event()

    async def startup(self) -> None:
        """Run the application's startup; returns when it is complete.

        Raises:
            LifespanFailed: the application cannot start (or, in mode ``ON``, does not
                speak the lifespan protocol).
        """
        if self.mode is LifespanMode.OFF:
            return
        self._phase = _Phase.STARTING
        # A task of its own: what the application opens during startup (context managers,
        # task groups) it closes during shutdown, and both must run in one task.
        self._task = asyncio.create_task(self._run(), name="switchover lifespan")
        failure = await self._wait_answer(self._task)
        if failure is not None:
            raise LifespanFailed(f"the application failed to start: {failure}")
        self._phase = _Phase.RUNNING

    async def shutdown(self) -> None:
        """Run the application's shutdown; returns when it is complete.

        Raises:
            LifespanFailed: the application said that its shutdown failed.
        """
        if self._task is None or self._task.done():
            return
        self._phase = _Phase.STOPPING
        self._stop.set()
        failure = await self._wait_answer(self._task)
        self._phase = _Phase.STOPPED
        if failure is not None:
            raise LifespanFailed(f"the application failed to stop: {failure}")

    async def _wait_answer(self, task: asyncio.Task[None]) -> str | None:
        """Wait for complete or failed; the application's end is an answer too."""
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        try:
            waited: set[asyncio.Future[Any]] = {answer, task}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if answer.done():
            return answer.result()
        return self._unanswered(task)

    def _unanswered(self, task: asyncio.Task[None]) -> str | None:
        """Judge an application that ended, or raised, instead of answering."""
        error = None if task.cancelled() else task.exception()
        what = f"{type(error).__name__}: {error}" if error else "it returned without an answer"
        if self.mode is LifespanMode.ON:
            logger.error("lifespan: the application ended %s", self._phase.value, exc_info=error)
            return what
        # ASGI Lifespan: "If an exception is raised when calling the application callable with
        # a lifespan.startup message or a scope of type lifespan, the server must continue but
        # not send any lifespan events."
        if self._asked and error is not None:
            # It received lifespan.startup, so it knows the protocol: more likely a fault
            # of the application than a lack of support.
            logger.warning("lifespan: the application raised %s", self._phase.value, exc_info=error)
        else:
            logger.debug("lifespan: not supported by the application (%s)", what)
        return None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        legal = _LEGAL.get(self._phase, ())
        if kind not in legal or self._answer is None or self._answer.done():
            raise LocalProtocolError(
                f"message {kind!r} {self._phase.value}; legal now: {', '.join(legal) or 'none'}",
                rule="ASGI Lifespan 2.0",
            )
        failed = kind.endswith(".failed")
        self._answer.set_result((message.get("message") or "no reason given") if failed else None)
