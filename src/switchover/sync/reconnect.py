"""``reconnecting()`` for programs without an event loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Self

from switchover.asyncio.reconnect import fraction
from switchover.errors import SwitchoverError
from switchover.sync.websocket import WebSocket, connect
from switchover.websocket.reconnection import Reconnection, ReconnectPolicy

__all__ = ["reconnecting"]

logger = logging.getLogger("switchover.websocket")


class reconnecting:  # used like a function, as ``connect`` is
    """Connect to ``url``, and again whenever the connection has ended.

    ::

        for ws in switchover.sync.reconnecting("wss://example.com/feed"):
            try:
                for message in ws:
                    ...
            except switchover.ConnectionClosedError:
                continue

    Each round of the loop has a new :class:`WebSocket`; the one before is closed first. Leave
    the loop to stop. The connection is then yours to close, or is closed at the end of the
    block if this is used as a context manager. ``policy`` says how long to wait
    and when to give up: then the error of the last attempt is raised. ``options`` are those
    of :func:`connect`. ``clock``, ``sleep`` and ``random`` can be replaced for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: ReconnectPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        random: Callable[[], float] = fraction,
        **options: Any,
    ) -> None:
        self._url = url
        self._options = options
        self._sleep = sleep
        self._state = Reconnection(policy or ReconnectPolicy(), clock=clock, random=random)
        self._ws: WebSocket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if self._ws is not None:
            self._ws.close(1000 if exc_type is None else 1011)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WebSocket:
        previous, self._ws = self._ws, None
        if previous is not None:
            previous.close()
            self._state.ended()
        while True:
            if self._state.delay:
                self._sleep(self._state.delay)
            try:
                self._ws = connect(self._url, **self._options)
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
