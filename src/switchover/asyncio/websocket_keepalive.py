"""Is the peer still there, and if it seems not: was it the peer, or our own event loop?

A loop that was blocked for half a minute finds pongs missing that have been lying in the
socket's buffer all along. :class:`LoopLag` measures how long the loop has been blocked, but
only while somebody waits for a pong, with one timer for all connections of the loop.
"""

from __future__ import annotations

import asyncio
import weakref

__all__ = ["LoopLag"]

#: Seconds between two looks at the clock.
_INTERVAL = 0.25
#: A loop that is late by less is not called blocked.
_TOLERANCE = 0.1


class LoopLag:
    """How long an event loop has been blocked, counted while somebody wants to know."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: asyncio.AbstractEventLoop = weakref.proxy(loop)  # the loop is the key
        self._watchers = 0
        self._blocked = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop) -> LoopLag:
        """Return the meter of ``loop``, made on first use."""
        found = _per_loop.get(loop)
        if found is None:
            found = _per_loop[loop] = LoopLag(loop)
        return found

    def watch(self) -> float:
        """Begin to measure; returns a mark for :meth:`blocked_since`."""
        self._watchers += 1
        if self._timer is None:
            self._arm()
        return self._blocked

    def unwatch(self) -> None:
        """Take one :meth:`watch` back."""
        self._watchers -= 1
        if self._watchers == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def blocked_since(self, mark: float) -> float:
        """Return the seconds during which the loop has been blocked since ``mark``."""
        late = 0.0
        if self._timer is not None:
            late = self._loop.time() - self._timer.when()
        return self._blocked - mark + (late if late > _TOLERANCE else 0.0)

    def _arm(self) -> None:
        self._timer = self._loop.call_later(_INTERVAL, self._tick)

    def _tick(self) -> None:
        assert self._timer is not None
        late = self._loop.time() - self._timer.when()
        if late > _TOLERANCE:
            self._blocked += late
        self._arm()


_per_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopLag] = (
    weakref.WeakKeyDictionary()
)
