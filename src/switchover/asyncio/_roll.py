"""The roll of a server: who owns a connection now, and which tasks run for them.

Drivers and successors put themselves on it and off it once in the life of each connection, so
this file is compiled as ``_roll_c``, with the C types of ``_roll_c.pxd``. Choose through
:mod:`switchover.asyncio.roll`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from switchover.errors import Disconnected
from switchover.http.messages import Response

if TYPE_CHECKING:
    from switchover.asyncio.settings import ServerSettings

__all__ = ["Roll"]

logger = logging.getLogger("switchover.server")


class Roll:
    """What :class:`~switchover.asyncio.server.Server` knows of its connections."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        #: Everything that owns a connection now: drivers, and the successors they made.
        self.connections: dict[asyncio.BaseProtocol, asyncio.BaseTransport] = {}
        self._per_peer: dict[str, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        #: Do not wait for a task any longer: it is done, or has nothing to do now.
        self.let_go: Callable[[asyncio.Task[Any]], None] = self._let_go  # one object for all
        #: The same at the end of a handler whose exchange has been released.
        self.released_done: Callable[[asyncio.Task[Any]], None] = self._released_done
        self._closing = asyncio.Event()
        #: The server ends, and takes nothing new.
        self.closing = False
        self._empty: asyncio.Event | None = None  # of who waits for the end of all

    def admit(
        self, protocol: asyncio.BaseProtocol, transport: asyncio.Transport
    ) -> Response | None:
        """Take a new connection, or say with which response it is refused (SEC-41)."""
        if protocol in self.connections:
            self.connections[protocol] = transport  # the same connection, inside TLS now
            return None
        if self.closing:
            return Response.text(503, "Service Unavailable: the server is shutting down.\n")
        if len(self.connections) >= self.settings.max_connections:
            return Response.text(503, "Service Unavailable: too many connections.\n")
        limit = self.settings.max_connections_per_peer
        if limit is not None and not self._admit_peer(transport, limit):
            return Response.text(503, "Service Unavailable: too many connections from you.\n")
        if self.settings.write_high_mark != 64 * 1024:
            transport.set_write_buffer_limits(self.settings.write_high_mark)
        self.connections[protocol] = transport
        return None

    def _admit_peer(self, transport: asyncio.Transport, limit: int) -> bool:
        host = _host(transport)
        count = self._per_peer.get(host, 0)
        if count >= limit:
            return False
        self._per_peer[host] = count + 1
        return True

    def enlist(self, protocol: asyncio.BaseProtocol, transport: asyncio.BaseTransport) -> None:
        """Count ``protocol`` as the owner of ``transport``; it calls :meth:`dismiss` at its end."""
        self.connections[protocol] = transport
        if self.settings.max_connections_per_peer is not None:
            host = _host(transport)
            self._per_peer[host] = self._per_peer.get(host, 0) + 1

    def dismiss(self, protocol: asyncio.BaseProtocol) -> None:
        """Forget ``protocol``: its connection has ended, or has another owner."""
        transport = self.connections.pop(protocol, None)
        if self._empty is not None:
            self._check_empty()
        if transport is not None and self.settings.max_connections_per_peer is not None:
            host = _host(transport)
            left = self._per_peer.get(host, 1) - 1
            if left > 0:
                self._per_peer[host] = left
            else:
                self._per_peer.pop(host, None)

    def spawn(
        self,
        awaitable: Awaitable[Any],
        loop: asyncio.AbstractEventLoop,
        done: Callable[[asyncio.Task[Any]], object] | None = None,
    ) -> asyncio.Task[Any]:
        """Run ``awaitable`` for a connection; the server ends it when it closes.

        ``done`` is called with the task at its end, and calls :meth:`let_go`.
        """
        coroutine = awaitable if asyncio.iscoroutine(awaitable) else _awaited(awaitable)
        # One name for all: made for each, it is what an idle connection pays for most.
        task: asyncio.Task[Any] = loop.create_task(coroutine, name="switchover")
        self._tasks.add(task)
        task.add_done_callback(done or self.let_go)
        return task

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Count ``task`` among those that the server ends when it closes; see :meth:`let_go`."""
        self._tasks.add(task)

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._check_empty()

    def _released_done(self, task: asyncio.Task[Any]) -> None:
        self._let_go(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Disconnected):
            logger.debug("the client left after the exchange was over")
        elif error is not None:
            logger.error("the application failed after its exchange was over", exc_info=error)

    def _check_empty(self) -> None:
        if self._empty is not None and not self.connections and not self._tasks:
            self._empty.set()


async def _awaited(awaitable: Awaitable[Any]) -> None:
    await awaitable


def _host(transport: asyncio.BaseTransport) -> str:
    peername = transport.get_extra_info("peername")
    return str(peername[0]) if isinstance(peername, tuple) else "local"
