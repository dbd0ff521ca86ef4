"""Deadlines of many connections, in both builds."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref
from types import ModuleType
from typing import Any

import pytest

from switchover.asyncio import _deadlines

try:
    from switchover.asyncio import _deadlines_c
except ImportError:
    _deadlines_c = None  # type: ignore[assignment]  # no compiler: only the source is tested

_builds = [pytest.param(_deadlines, id="pure")]
if _deadlines_c is not None:
    _builds.append(pytest.param(_deadlines_c, id="compiled"))


@pytest.fixture(params=_builds)
def module(request: pytest.FixtureRequest) -> Any:
    """Each build."""
    return request.param


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still, and which only notes what is to be called when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Any, Any]] = []
        super().__init__()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *args: Any, **_: Any) -> Any:
        self.timers.append((when, callback, args))

    def ring(self) -> None:
        """Call what is due first."""
        when, callback, args = self.timers.pop(0)
        self.now = when
        callback(*args)


@pytest.fixture
def loop() -> Any:
    clock = Clock()
    yield clock
    clock.close()


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.05, 0.25, 1, 2.5, 8, 10, 30.0, 75, 3600])
def test_never_early_and_little_late(module: ModuleType, loop: Clock, seconds: float) -> None:
    """By a sixteenth of its length, and half a second, at most."""
    deadlines = module.Deadlines(loop)
    for moment in range(50):
        loop.now = 1000 + moment * 0.037
        deadlines.set(seconds, lambda: None)
    assert loop.timers
    due = sorted(when for when, _, _ in loop.timers)
    for moment in range(50):
        now = 1000 + moment * 0.037
        late = min(when for when in due if when >= now + seconds) - now - seconds
        assert late <= min(0.5, max(1 / 256, seconds / 16))


def test_one_timer_for_a_tick(module: ModuleType, loop: Clock) -> None:
    """SEC-22: a thousand deadlines, one timer; each is called, once, unless it was taken back."""
    deadlines = module.deadlines_of(loop)
    called: list[int] = []
    made = [deadlines.set(10, lambda i=i: called.append(i)) for i in range(1000)]
    assert len(loop.timers) == 1
    for deadline in made[::2]:
        deadline.cancel()
        deadline.cancel()
    loop.ring()
    assert called == list(range(1, 1000, 2))
    made[1].cancel()  # too late, and harmless
    assert not deadlines._buckets


def test_one_may_cancel_another_of_the_same_tick(module: ModuleType, loop: Clock) -> None:
    deadlines = module.Deadlines(loop)
    called: list[str] = []
    made: list[Any] = []
    made.append(deadlines.set(10, lambda: (called.append("a"), made[1].cancel())))
    made.append(deadlines.set(10, lambda: called.append("b")))
    loop.ring()
    assert called == ["a"]


def test_a_callback_that_fails_is_told_to_the_loop(module: ModuleType, loop: Clock) -> None:
    """And those behind it are called all the same."""
    told: list[Any] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    deadlines = module.Deadlines(loop)
    called: list[str] = []
    deadlines.set(10, lambda: 1 / 0)
    deadlines.set(10, lambda: called.append("b"))
    loop.ring()
    assert called == ["b"]
    assert [type(error) for error in told] == [ZeroDivisionError]


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_no_moment_at_all(module: ModuleType, loop: Clock, seconds: float) -> None:
    """The loop's heap of timers is not disturbed by what cannot be compared."""
    with pytest.raises(OverflowError):
        module.Deadlines(loop).set(seconds, lambda: None)
    assert not loop.timers


def test_each_loop_has_its_own(module: ModuleType) -> None:
    """The one asked for last is remembered, and not taken for another, nor kept alive."""
    first, second = Clock(), Clock()
    of_first, of_second = module.deadlines_of(first), module.deadlines_of(second)
    assert of_first is not of_second
    for _ in range(2):
        assert module.Deadlines.of(first) is of_first
        assert module.deadlines_of(second) is of_second
    gone = weakref.ref(second)
    first.close()
    second.close()
    del second
    gc.collect()
    assert gone() is None
