"""A WebSocket machine on an asyncio transport: the part that runs for every message.

This file is compiled as ``_wire_c``; the C types stand in ``_wire_c.pxd``. It moves octets
and messages and decides nothing: what an application sees, deadlines, keepalive and errors are
:mod:`switchover.asyncio.websocket`, which derives from :class:`Wire`.

Reading: octets go into one buffer that all connections of a loop share, and out of it before
control returns to the loop; the payload of a large frame is read straight to its own place.

Writing: whatever one wake-up makes is gathered and sent in one system call, directly to the
socket if the transport is a plain one and has nothing queued, else through the transport.

Waking: the task that waits for a message is resumed at once, inside the read callback, so that
what it sends goes out with the same system call, and the loop need not go round once more.
"""

from __future__ import annotations

import os
from asyncio import current_task
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from switchover.websocket.events import Fragment
from switchover.websocket.framing import Framing

__all__ = ["Waiter", "Wire"]

#: More output than this is sent before the wake-up is over, so that it does not pile up.
_MUCH = 65536
#: Pieces of output are joined up to this size; above, they are handed over as they are.
_JOINED = 8192
#: So many pieces at most go into one call of writev(2): what POSIX guarantees.
_VECTOR = 16
#: What a queued message counts for besides its length.
_OVERHEAD = 64

_os_write: Callable[[int, Any], int] = os.write
_os_writev: Callable[[int, Any], int] | None = getattr(os, "writev", None)


class Waiter:
    """What a task awaits until there is a message; as much of a future as a task needs.

    Unlike a future it can be awaited again and again, and :meth:`wake` can resume the task at
    once instead of asking the loop to do so on its next round.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_done", "_loop")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Any = None
        self._context: Context | None = None
        self._cancelled = False
        self._done = True

    def rearm(self) -> Waiter:
        """Return this waiter, ready to be awaited."""
        self._done = self._cancelled = False
        return self

    def waiting(self) -> bool:
        """Whether a task awaits this."""
        return not self._done

    def __await__(self) -> Waiter:
        return self

    def __iter__(self) -> Waiter:
        return self

    def __next__(self) -> Waiter:
        if not self._done:
            # The task takes this for a future: it resets the mark and adds its callback.
            self._asyncio_future_blocking = True
            return self
        raise StopIteration

    def wake(self, at_once: bool) -> None:
        """Resume the task that waits, if one does; ``at_once`` if no other task is running."""
        if self._done:
            return
        self._done = True
        callback, context = self._callback, self._context
        self._callback = self._context = None
        if callback is None:
            return
        if at_once and context is not None and current_task(self._loop) is None:
            context.run(callback, self)
        else:
            self._loop.call_soon(callback, self, context=context)

    # What asyncio.Task asks of a future.

    def get_loop(self) -> Any:
        """Return the event loop."""
        return self._loop

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        """Keep the task's callback; it is called with this waiter."""
        self._callback = callback
        self._context = context

    def remove_done_callback(self, callback: Any) -> int:
        """Forget the task's callback."""
        found = self._callback == callback
        if found:
            self._callback = self._context = None
        return 1 if found else 0

    def cancel(self, msg: Any = None) -> bool:
        """Resume the task with :class:`asyncio.CancelledError`."""
        if self._done:
            return False
        self._cancelled = True
        self.wake(False)
        return True

    def done(self) -> bool:
        """Whether the wait is over."""
        return self._done

    def cancelled(self) -> bool:
        """Whether the wait has been cancelled."""
        return self._cancelled

    def result(self) -> None:
        """Raise if the wait has been cancelled."""
        if self._cancelled:
            raise _cancelled_error()


def _cancelled_error() -> BaseException:
    from asyncio import CancelledError

    return CancelledError()
