"""``reconnecting()``: a WebSocket that comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from switchover.asyncio.connect import connect
from switchover.asyncio.websocket import WebSocket
from switchover.errors import SwitchoverError
from switchover.websocket.reconnection import Reconnection, ReconnectPolicy

__all__ = ["fraction", "reconnecting"]

logger = logging.getLogger("switchover.websocket")


def fraction() -> float:
    """Return a random number from 0 up to, and not including, 1."""
    return int.from_bytes(os.urandom(6), "big") / (1 << 48)


class reconnecting:  # used like a function, as ``connect`` is
    """Connect to ``url``, and again whenever the connection has ended.

    ::

        async for ws in switchover.reconnecting("wss://example.com/feed"):
            try:
                async for message in ws:
                    ...
            except switchover.ConnectionClosedError:
                continue

    Each round of the loop has a new :class:`WebSocket`; the one before is closed first. Leave
    the loop to stop. The connection is then yours to close, or is closed at the end of the
    block if this is used as an asynchronous context manager. ``policy`` says how long to wait
    and when to give up: then the error of the last attempt is raised, such as
    :class:`HandshakeRejected` with the server's whole answer. ``options`` are those of
    :func:`connect`. ``clock``, ``sleep`` and ``random`` can be replaced for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: ReconnectPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = fraction,
        **options: Any,
    ) -> None:
        self._url = url
        self._options = options
        self._sleep = sleep
        self._state = Reconnection(policy or ReconnectPolicy(), clock=clock, random=random)
        self._ws: WebSocket | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if self._ws is not None:
            await self._ws.close(1000 if exc_type is None else 1011)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WebSocket:
        previous, self._ws = self._ws, None
        if previous is not None:
            await previous.close()
            self._state.ended()
        while True:
            if self._state.delay:
                await self._sleep(self._state.delay)
            try:
                self._ws = await connect(self._url, **self._options)
            except (SwitchoverError, OSError) as error:
                self._state.failed(error)
                logger.info(
                    "connecting to %s failed: %s; again in %.1f s",
                    self._url,
                    error,
                    self._state.delay,
                )
            else:
                self._state.opened()
                return self._ws
