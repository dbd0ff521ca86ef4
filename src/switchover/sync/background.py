"""The event loop behind the blocking client: one thread for everything that is open.

A blocking call hands a coroutine to the loop and waits for its outcome, so every rule, proxy and
timeout is the one that :mod:`switchover.asyncio` has. Whatever is open holds a :class:`Lease`;
the thread starts with the first lease and ends with the last, so that a program with nothing
open has no thread, and can be forked.

What belongs to the caller stays in the caller's thread: the pieces of a request's content are
made there, and callbacks are called there, while it waits.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

from switchover.asyncio.dialing import limit_time
from switchover.errors import Disconnected, LocalProtocolError, SwitchoverError

__all__ = ["Call", "Lease", "lease"]

T = TypeVar("T")
#: Seconds for what is still open when the interpreter exits.
_FAREWELL = 1.0


class _Background:
    """An event loop on a thread of its own, until nobody holds a lease on it."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.leases: set[Lease] = set()
        #: In the child of a fork: the thread is the parent's, and so are the sockets.
        self.inherited = False
        self._stopping: asyncio.Future[None] = self.loop.create_future()
        self._stopped = False
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name="switchover", daemon=True)
        self.thread.start()

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` on the loop; raises :class:`Disconnected` when it has ended."""
        self.check()
        with self._lock:
            if self._stopped:
                raise Disconnected("everything that was open has been closed")
            self.loop.call_soon_threadsafe(function, *arguments)

    def check(self) -> None:
        """Raise if this loop cannot be used, or not from here."""
        if self.inherited:
            raise LocalProtocolError("opened before the process forked; open one in each process")
        if threading.get_ident() == self.thread.ident:
            raise RuntimeError("a blocking call from the thread that would have to answer it")

    def stop(self) -> None:
        """Let the loop end, and wait for its thread unless this is it."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self.loop.call_soon_threadsafe(self._stopping.set_result, None)
        if threading.get_ident() != self.thread.ident:
            self.thread.join(2 * _FAREWELL)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self._stopping
        farewells = [lease.farewell() for lease in self.leases if lease.farewell is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await asyncio.gather(*farewells, return_exceptions=True)
        # What has been aborted is told so on the loop's next rounds.
        for _ in range(3):
            await asyncio.sleep(0)


class Lease:
    """The right to use the background loop, held by what is open. Thread-safe."""

    __slots__ = ("_background", "_drop", "_dropping", "farewell")

    def __init__(self, background: _Background) -> None:
        self._background = background
        self._drop: Callable[[], Coroutine[Any, Any, object] | None] | None = None
        self._dropping: asyncio.Task[object] | None = None
        #: Ends what is open, when the interpreter exits without having closed it.
        self.farewell: Callable[[], Awaitable[object]] | None = None

    def keep(
        self,
        drop: Callable[[], Coroutine[Any, Any, object] | None],
        farewell: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Say how to end what the lease is for: at once if abandoned, in order at exit.

        Both are called on the loop.
        """
        self._drop = drop
        self.farewell = farewell

    def another(self) -> Lease:
        """Return one more lease on the same loop."""
        with _state.lock:
            return _state.grant(self._background)

    def check(self) -> None:
        """Raise :class:`LocalProtocolError` in a forked child."""
        self._background.check()

    @property
    def inherited(self) -> bool:
        """Whether this was leased before the process forked."""
        return self._background.inherited

    def call(self) -> Call:
        """Return a call that can hand work back to the thread that makes it."""
        return Call(self._background)

    def run(
        self, coroutine: Coroutine[Any, Any, T], phase: str = "", timeout: float | None = None
    ) -> T:
        """Run ``coroutine`` on the loop, and wait for its outcome.

        Raises :class:`DeadlineExceeded` naming ``phase`` after ``timeout`` seconds.
        """
        return Call(self._background).run(coroutine, phase, timeout)

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` on the loop, and do not wait."""
        self._background.soon(function, *arguments)

    def release(self) -> None:
        """Give the lease back, in order: what it was for has been closed."""
        self._drop = self.farewell = None
        with _state.lock:
            leases = self._background.leases
            if self not in leases:
                return
            leases.discard(self)
            if leases:
                return
            if _state.current is self._background:
                _state.current = None
        if not self._background.inherited:
            self._background.stop()

    def cancel(self) -> None:
        """Drop what the lease was for, and give it back."""
        try:
            if self._drop is not None:
                self.run(self._dropped(self._drop))
        finally:
            self.release()

    @staticmethod
    async def _dropped(drop: Callable[[], Coroutine[Any, Any, object] | None]) -> None:
        dropping = drop()
        if dropping is not None:
            await dropping

    def abandon(self) -> None:
        """Drop what the lease was for. Safe in ``__del__``: no lock is taken in this thread."""
        if not self._background.inherited:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._background.loop.call_soon_threadsafe(self._abandoned)

    def _abandoned(self) -> None:
        dropping = self._drop() if self._drop is not None else None
        if dropping is None:
            self.release()
            return
        self._dropping = self._background.loop.create_task(dropping)
        self._dropping.add_done_callback(lambda _: self.release())


class Call:
    """One coroutine on the loop, and the thread that waits for its outcome."""

    __slots__ = ("_background", "_coroutine", "_given_up", "_task", "_todo")

    def __init__(self, background: _Background) -> None:
        self._background = background
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False
        # What the waiting thread has to do: call something, or look at the outcome.
        self._todo: SimpleQueue[Any] = SimpleQueue()

    def run(
        self, coroutine: Coroutine[Any, Any, T], phase: str = "", timeout: float | None = None
    ) -> T:
        """Run ``coroutine`` and return its result; see :meth:`Lease.run`.

        Should this thread be interrupted, by Ctrl-C for one, the coroutine is cancelled.
        """
        self._coroutine = coroutine if timeout is None else _limited(coroutine, phase, timeout)
        try:
            self._background.soon(self._start)
            self._attend()
        except BaseException:
            self._give_up()
            self._discard(coroutine)
            raise
        self._discard(coroutine)
        task = self._task
        assert task is not None
        if task.cancelled():
            raise Disconnected("everything that was open has been closed")
        result: T = task.result()
        return result

    def _start(self) -> None:
        assert self._coroutine is not None
        if not self._given_up:
            self._task = self._background.loop.create_task(self._coroutine)
            self._task.add_done_callback(self._todo.put)

    def _attend(self) -> None:
        while (todo := self._todo.get()) is not self._task:
            todo()

    def _give_up(self) -> None:
        """Cancel the coroutine, wherever this thread was interrupted, and wait until it ended."""
        try:
            self._background.soon(self._cancel)
        except (SwitchoverError, RuntimeError):
            return  # there is no loop that could have begun it
        while not self._given_up or (self._task is not None and not self._task.done()):
            self._todo.get()

    def _cancel(self) -> None:
        self._given_up = True
        if self._task is not None:
            self._task.cancel()
        self._todo.put(None)

    def _discard(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Close what has not begun: the loop has ended, or never heard of it."""
        if self._task is None or self._task.done():
            for unused in (self._coroutine, coroutine):
                if unused is not None:
                    unused.close()

    # Work for the thread that waits.

    def here(self, function: Callable[..., object]) -> Callable[..., None]:
        """Return a function for the loop that has ``function`` called in the waiting thread."""

        def ask(*arguments: Any) -> None:
            self._todo.put(lambda: function(*arguments))

        return ask

    async def pieces(self, source: Iterable[T]) -> AsyncIterator[T]:
        """Iterate over ``source`` in the waiting thread, a piece at a time."""
        pieces = iter(source)
        while True:
            answer: asyncio.Future[list[T]] = self._background.loop.create_future()
            self._todo.put(lambda answer=answer: self._next_piece(pieces, answer))
            piece = await answer
            if not piece:
                return
            yield piece[0]

    def _next_piece(self, pieces: Iterator[T], answer: asyncio.Future[list[T]]) -> None:
        outcome: list[T] = []
        error: BaseException | None = None
        try:
            for piece in pieces:
                outcome = [piece]
                break
        except Exception as failed:  # noqa: BLE001 - goes where the iteration is, and comes back
            error = failed
        self._background.soon(_settle, answer, outcome, error)


def _settle(answer: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if answer.done():
        return  # nobody waits any more
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(outcome)


async def _limited(coroutine: Coroutine[Any, Any, T], phase: str, seconds: float) -> T:
    async with limit_time(phase, seconds):
        return await coroutine


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _State:
    """The process's background loop, if anything is open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.current: _Background | None = None
        self._inherited: list[_Background] = []

    def grant(self, background: _Background) -> Lease:
        granted = Lease(background)
        background.leases.add(granted)
        return granted

    def forked(self) -> None:
        """In the child: the thread is gone, and the lock may be held by one that is, too."""
        self.lock = threading.Lock()
        if self.current is not None:
            self.current.inherited = True
            # Never finalised here: closing it would disturb the parent's.
            self._inherited.append(self.current)
            self.current = None

    def exit(self) -> None:
        """Say goodbye for what is still open."""
        with self.lock:
            background, self.current = self.current, None
        if background is not None:
            background.stop()


_state = _State()
atexit.register(_state.exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.forked)


def lease() -> Lease:
    """Return a lease on the background loop, which is started if there is none."""
    with _state.lock:
        if _state.current is None:
            _state.current = _Background()
        return _state.grant(_state.current)
