"""Tasks that begin a handler at once, in the round of the event loop that brought its request.

A task of its own for each request costs as much as the request, and a round of the event loop
in which nothing is answered. Most handlers never wait. So a task is kept that waits for
requests, and is resumed in place: what it runs is a task in every respect, but it is not made
anew. A handler that does wait goes on in it as in any task, and keeps it: no other handler gets
a task in which one has waited.

This file is compiled as ``_workers_c``; the C types stand in ``_workers_c.pxd``. Choose through
:mod:`switchover.asyncio.workers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from switchover.asyncio.wire import Waiter
from switchover.asyncio.workers_rest import rest_of

if TYPE_CHECKING:
    from switchover.asyncio.server import Server

__all__ = ["Workers"]

_Job = Coroutine[Any, Any, None]


class Workers:
    """Runs the handlers of one connection, each to its first wait at once where that can be.

    One task is kept beside those that are at work. :meth:`close` ends it.
    """

    __slots__ = ("_closed", "_job", "_loop", "_parked", "_server")

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        # What the kept task waits on, if there is one; and what it shall run then.
        self._parked: Waiter | None = None
        self._job: _Job | None = None
        self._closed = False

    def run(self, job: _Job) -> None:
        """Run ``job``, each in a copy of this context, as a new task would be."""
        parked = self._parked
        if parked is None:
            self._server.spawn(self._work(job), self._loop)
            return
        self._parked = None
        self._job = job
        parked.wake(True)

    def close(self) -> None:
        """Let the kept task end; those at work go on."""
        self._closed = True
        parked, self._parked = self._parked, None
        if parked is not None:
            parked.wake(True)

    async def _work(self, job: _Job | None) -> None:
        waiter = Waiter(self._loop)
        task = asyncio.current_task(self._loop)
        assert task is not None
        held = True  # the server waits for this task when it closes
        while job is not None:
            # Of its own: what a handler sets there, no other may see.
            context = copy_context()
            try:
                awaited = context.run(job.send, None)
            except StopIteration:
                pass
            else:
                if not held:
                    self._server.hold(task)
                await rest_of(job, context, awaited)
                return
            if self._closed or self._parked is not None:
                return
            if held:
                self._server.let_go(task)
                held = False
            self._parked = waiter.rearm()
            try:
                await waiter
            except BaseException:
                # Cancelled: by a handler that kept the task, or by the end of the loop.
                if self._parked is waiter:
                    self._parked = None
                raise
            job, self._job = self._job, None
