"""Deadlines for many connections at the price of few timers.

Ten thousand idle connections must not own ten thousand timers. A deadline is rounded up
to the next tick; all deadlines of one tick share one timer of the event loop, and taking a
deadline back is a dictionary operation.

This file is compiled as ``_deadlines_c``; the C types stand in ``_deadlines_c.pxd``. Choose
through :mod:`switchover.asyncio.deadlines`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Deadline", "Deadlines", "deadlines_of"]

#: Deadlines are late by at most this part of their length …
_COARSENESS = 1 / 16
#: … and never by more than this many seconds.
_LATEST = 0.5
_FINEST = 1 / 256


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

    __slots__ = ("_buckets", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # the loop is the key
        self._buckets: dict[float, dict[Deadline, None]] = {}

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop) -> Deadlines:
        """Return the deadlines of ``loop``, made on first use."""
        return deadlines_of(loop)

    def set(self, seconds: float, callback: Callable[[], None]) -> Deadline:
        """Call ``callback`` once, no sooner than ``seconds`` from now."""
        loop: Any = self._loop()
        step = _step(seconds)
        # The next tick: what is left of a division towards minus infinity.
        when = -(-(loop.time() + seconds) // step) * step
        bucket = self._buckets.get(when)
        if bucket is None:
            if when != when:
                raise OverflowError(f"a deadline in {seconds} seconds")
            bucket = self._buckets[when] = {}
            loop.call_at(when, self._expire, when)
        deadline = Deadline(bucket, callback)
        bucket[deadline] = None
        return deadline

    def _expire(self, when: float) -> None:
        # A callback may cancel another deadline of the same tick, so take them one by one.
        bucket = self._buckets.pop(when)
        while bucket:
            deadline = next(iter(bucket))
            del bucket[deadline]
            try:
                deadline._fire()
            except Exception as error:  # noqa: BLE001 - told to the loop, as call_at would
                loop: Any = self._loop()
                loop.call_exception_handler(
                    {"message": "a deadline's callback failed", "exception": error}
                )


def _step(seconds: float) -> float:
    """Return the ticks for deadlines of this length: a power of two."""
    step = _LATEST
    while step > _FINEST and step > seconds * _COARSENESS:
        step /= 2
    return step


_per_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = (
    weakref.WeakKeyDictionary()
)
_latest: Deadlines | None = None


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Return the deadlines of ``loop``; there is hardly ever more than one loop to ask for."""
    global _latest
    latest = _latest
    if latest is not None and latest._loop() is loop:
        return latest
    found = _per_loop.get(loop)
    if found is None:
        found = _per_loop[loop] = Deadlines(loop)
    _latest = found
    return found
