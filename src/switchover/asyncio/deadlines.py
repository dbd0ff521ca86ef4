"""Deadlines for many connections at the price of few timers.

Ten thousand idle connections must not own ten thousand timers. A deadline is rounded up
to the next tick; all deadlines of one tick share one timer of the event loop, and taking a
deadline back is a dictionary operation.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable

__all__ = ["Deadline", "Deadlines"]

#: Deadlines are late by at most this part of their length …
_COARSENESS = 1 / 16
#: … and never by more than this many seconds.
_LATEST = 0.5
_FINEST = 1 / 256
#: So many lengths are remembered with their ticks.
_MAX_STEPS = 64


class Deadline:
    """A deadline that has been set; :meth:`cancel` takes it back."""

    __slots__ = ("_bucket", "_callback")

    def __init__(self, bucket: dict[Deadline, None], callback: Callable[[], None]) -> None:
        self._bucket = bucket
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Take the deadline back; doing so twice, or too late, is harmless."""
        self._callback = None
        self._bucket.pop(self, None)

    def _fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Deadlines:
    """The deadlines of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: asyncio.AbstractEventLoop = weakref.proxy(loop)  # the loop is the key
        self._buckets: dict[float, dict[Deadline, None]] = {}
        self._steps: dict[float, float] = {}

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop) -> Deadlines:
        """Return the deadlines of ``loop``, made on first use."""
        found = _per_loop.get(loop)
        if found is None:
            found = _per_loop[loop] = Deadlines(loop)
        return found

    def set(self, seconds: float, callback: Callable[[], None]) -> Deadline:
        """Call ``callback`` once, no sooner than ``seconds`` from now."""
        step = self._steps.get(seconds)
        if step is None:
            step = self._step_of(seconds)
        when = math.ceil((self._loop.time() + seconds) / step) * step
        bucket = self._buckets.get(when)
        if bucket is None:
            bucket = self._buckets[when] = {}
            self._loop.call_at(when, self._expire, when)
        deadline = Deadline(bucket, callback)
        bucket[deadline] = None
        return deadline

    def _step_of(self, seconds: float) -> float:
        # Lengths come from settings: there are few, but a length may also be what is left.
        if len(self._steps) >= _MAX_STEPS:
            self._steps.clear()
        step = self._steps[seconds] = _step(seconds)
        return step

    def _expire(self, when: float) -> None:
        # A callback may cancel another deadline of the same tick, so take them one by one.
        bucket = self._buckets.pop(when)
        while bucket:
            deadline = next(iter(bucket))
            del bucket[deadline]
            try:
                deadline._fire()
            except Exception as error:  # noqa: BLE001 - told to the loop, as call_at would
                self._loop.call_exception_handler(
                    {"message": "a deadline's callback failed", "exception": error}
                )


def _step(seconds: float) -> float:
    wanted = min(_LATEST, max(_FINEST, seconds * _COARSENESS))
    return float(2.0 ** math.floor(math.log2(wanted)))


_per_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = (
    weakref.WeakKeyDictionary()
)
