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

Longer than other files: it is compiled as one, so that calls inside it are C calls.
"""

from __future__ import annotations

import os
import sys
import weakref
from asyncio import CancelledError, current_task, tasks
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from switchover.asyncio import _receiver as receiver
from switchover.asyncio.flow import plain_socket
from switchover.errors import ConnectionClosedOK
from switchover.websocket.events import Fragment

if TYPE_CHECKING:
    from switchover.websocket.connection import Connection

__all__ = ["Waiter", "Wire"]

#: More output than this is sent before the wake-up is over, so that it does not pile up.
_MUCH = 65536
#: Pieces of output are joined up to this size; above, they are handed over as they are.
_JOINED = 8192
#: So many pieces at most go into one call of writev(2): what POSIX guarantees.
_VECTOR = 16
#: The buffer that all connections of a loop read through. Larger ones fall out of the cache.
_SHARED = 65536
#: For the first outputs there is no need to know the socket: so many, and one.
_ASKED_LATER = -4
#: What a queued message counts for besides its length.
_OVERHEAD = 64

#: Of each loop: a reference to it, the buffer to read to, and its octets.
_shared_buffers: weakref.WeakKeyDictionary[Any, tuple[Any, memoryview, bytearray]] = (
    weakref.WeakKeyDictionary()
)
_latest_buffer: tuple[Any, memoryview, bytearray] | None = None

# Before 3.12 current_task() is written in Python, and asks for the running loop first.
_current_task: Callable[[Any], Any] = current_task
if sys.version_info < (3, 12):
    _current_task = tasks._current_tasks.get  # type: ignore[attr-defined]  # not in typeshed

_os_write: Callable[[int, Any], int] = os.write
_os_writev: Callable[[int, Any], int] | None = getattr(os, "writev", None)


class Waiter:
    """What a task awaits until there is a message; as much of a future as a task needs.

    Unlike a future it can be awaited again and again, and :meth:`wake` can resume the task at
    once instead of asking the loop to do so on its next round.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_busy",
        "_callback",
        "_cancelled",
        "_context",
        "_done",
        "_loop",
        "_message",
        "_run",
    )

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Any = None
        self._context: Context | None = None
        self._run: Any = None  # run() of the context
        self._message: Any = None
        self._cancelled = False
        self._done = True
        self._busy = False

    def rearm(self) -> Waiter:
        """Return this waiter, ready to be awaited by a task that must be the only one."""
        if self._busy:
            raise RuntimeError("another task is waiting for a message of this connection")
        self._done = self._cancelled = False
        self._busy = True
        return self

    def busy(self) -> bool:
        """Whether a task awaits this, or has not been resumed yet."""
        return self._busy

    def __await__(self) -> Any:
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
        callback, self._callback = self._callback, None
        if callback is None:
            return
        if at_once and self._run is not None and _current_task(self._loop) is None:
            self._run(callback, self)
        else:
            self._loop.call_soon(callback, self, context=self._context)

    # What asyncio.Task asks of a future; the loop it takes from _loop, which costs no call.

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        """Keep the task's callback; it is called with this waiter."""
        self._callback = callback
        if context is not self._context:  # a task has the same one every time
            self._context = context
            self._run = None if context is None else context.run

    def remove_done_callback(self, callback: Any) -> int:
        """Forget the task's callback."""
        found = self._callback == callback
        if found:
            self._callback = None
        return 1 if found else 0

    def cancel(self, msg: Any = None) -> bool:
        """Resume the task with :class:`asyncio.CancelledError`."""
        if self._done:
            return False
        self._cancelled = True
        self._message = msg
        self.wake(False)
        return True

    def done(self) -> bool:
        """Whether the wait is over."""
        return self._done

    def cancelled(self) -> bool:
        """Whether the wait has been cancelled."""
        return self._cancelled

    def result(self) -> None:
        """Raise if the wait has been cancelled; the task asks when it is resumed."""
        self._busy = False
        if self._cancelled:
            # Scopes know their own cancellation by its message: anyio's do.
            raise CancelledError() if self._message is None else CancelledError(self._message)


class Wire(receiver.Receiver):
    """Octets and messages between a machine and a transport."""

    __slots__ = (
        "_direct",
        "_fd",
        "_flush_scheduled",
        "_high",
        "_in_wake",
        "_loop",
        "_low",
        "_machine",
        "_muted",
        "_queue",
        "_queue_size",
        "_reading_paused",
        "_shared",
        "_shared_octets",
        "_taken",
        "_transport",
        "_waiter",
        "_write_queued",
        "_writing_paused",
        "on_message",
    )

    def __init__(self, machine: Connection, high: int, low: int) -> None:
        self._begin(machine, high, low)

    def _begin(self, machine: Connection, high: int, low: int) -> None:
        self._machine = machine
        self._transport: Any = None
        self._loop: Any = None
        self._high = high
        self._low = low
        self.on_message: Callable[[Any, Any], Any] | None = None
        # Reading.
        self._shared: memoryview | None = None
        self._shared_octets: Any = None  # a bytearray, once there is a transport
        self._direct = False  # the next octets are read to where the machine wants them
        self._muted = False  # messages are of no interest any more
        self._in_wake = False
        self._queue: list[Any] | None = None  # None: empty
        self._taken = 0  # so many at its beginning have been delivered
        self._queue_size = 0  # 0 also while nobody has fallen behind
        self._reading_paused = False
        self._waiter: Waiter | None = None
        # Writing.
        self._fd = -1  # -1: through the transport; less: not asked yet
        self._write_queued = True  # the transport may have something queued
        self._writing_paused = False
        self._flush_scheduled = False

    # What a derived class decides.

    def _event(self, event: Any) -> None:
        raise NotImplementedError

    def _callback_failed(self, error: Exception) -> None:
        raise NotImplementedError

    def _connection_ending(self) -> None:
        raise NotImplementedError

    def _closed_error(self) -> Exception:
        raise NotImplementedError

    def _settled(self) -> None:
        """Let go of what only the beginning needs: a task waits for the first time."""

    def _attach(self, transport: Any, loop: Any) -> None:
        """Work on ``transport`` from now on."""
        self._transport = transport
        self._loop = loop
        _, self._shared, self._shared_octets = _shared_buffer(loop)
        self._write_queued = True
        self._fd = _ASKED_LATER

    # Reading.

    def _space(self) -> Any:
        if self._machine._wanted != 0:
            buffer = self._machine.direct_buffer()
            if buffer is not None:
                self._direct = True
                return buffer
        self._direct = False
        return self._shared

    def _filled(self, nbytes: int) -> None:
        if self._direct:
            self._direct = False
            self._machine.filled(nbytes)
        else:
            self._machine.feed(self._shared_octets, 0, nbytes)
        self._deliver()

    def data_received(self, data: Any) -> None:
        """Take octets that were read by somebody else."""
        octets = bytearray(data)
        self._machine.feed(octets, 0, len(octets))
        self._deliver()

    def _deliver(self) -> None:
        """Hand on what has come, then send what that has made, in one go."""
        machine = self._machine
        events = machine._events
        if events:
            machine._events = []
            self._in_wake = True
            try:
                if self.on_message is not None:
                    self._call_back(events)
                else:
                    self._enqueue(events)
            finally:
                self._in_wake = False
        if machine._ending:
            machine.settle()
        if machine._out or machine._pong is not None:
            self.flush()
        if machine._ending:
            self._connection_ending()

    def _call_back(self, events: list[Any]) -> None:
        for event in events:
            if type(event) is not bytes and type(event) is not str and type(event) is not Fragment:
                self._event(event)
            elif not self._muted and self.on_message is not None:
                try:
                    self.on_message(self, event)
                except Exception as error:  # noqa: BLE001  # whatever an application raises
                    self._callback_failed(error)

    def _enqueue(self, events: list[Any]) -> None:
        messages = events
        for event in events:
            if type(event) is not bytes and type(event) is not str and type(event) is not Fragment:
                messages = self._messages_of(events)
                break
        if self._muted or not messages:
            return
        queue = self._queue
        if queue is None:
            self._queue = messages
        else:
            del queue[: self._taken]
            self._taken = 0
            queue.extend(messages)
        if self._waiter is not None:
            self._waiter.wake(True)
        if self._queue is not None:
            self._measure(self._queue, len(messages))

    def _messages_of(self, events: list[Any]) -> list[Any]:
        """Hand on what is not a message, and return what is."""
        messages = []
        for event in events:
            if type(event) is bytes or type(event) is str or type(event) is Fragment:
                messages.append(event)
            else:
                self._event(event)
        return messages

    def _measure(self, queue: list[Any], new: int) -> None:
        """Pause reading if the application has fallen too far behind."""
        size = 0
        if len(queue) - self._taken <= new:
            self._queue_size = 0  # what is left is all new
            new = len(queue) - self._taken
        for position in range(len(queue) - new, len(queue)):
            size += _cost(queue[position])
        self._queue_size += size
        if self._queue_size > self._high and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _wait(self) -> Waiter:
        """Return what to await until the queue may have something."""
        if not self._machine._receiving:
            raise self._closed_error()
        if self.on_message is not None:
            raise RuntimeError("messages of this connection go to on_message")
        if self._waiter is None:
            self._waiter = Waiter(self._loop)
            self._settled()
        return self._waiter.rearm()

    async def __anext__(self) -> str | bytes:
        message = self._take()
        try:
            while message is None:
                await self._wait()
                message = self._take()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None
        return message if type(message) is not Fragment else await self._whole(message)

    async def recv(self) -> str | bytes:
        """Return the next message: text is ``str``, binary is ``bytes``.

        Only one task may wait at a time. Raises :class:`ConnectionClosedOK` or
        :class:`ConnectionClosedError` when there are no more. Cancelling loses nothing.
        """
        message = self._take()
        while message is None:
            await self._wait()
            message = self._take()
        return message if type(message) is not Fragment else await self._whole(message)

    async def _receive_for(self, receiver: Any) -> Any:
        """Return ``receiver.received()`` of the next message; ``receiver.ended()`` at the end."""
        message = self._take()
        while message is None:
            if not self._machine._receiving:
                return receiver.ended()
            await self._wait()
            message = self._take()
        if type(message) is Fragment:
            message = await self._whole(message)
        return receiver.received(message)

    async def send(self, message: Any) -> None:
        """Send a message; waits only while the transport's buffer is over its high mark.

        ``str`` is sent as text, anything bytes-like as binary. An iterable of them, or an
        asynchronous one, is sent as one message in fragments, each as soon as it is there.
        Raises :class:`ConnectionClosed` when the connection is closing or closed.
        """
        if not self._try_send(message):
            await self._send_patiently(message)

    async def _whole(self, piece: Fragment) -> str | bytes:
        raise NotImplementedError

    async def _send_patiently(self, message: Any) -> None:
        raise NotImplementedError

    def _take(self) -> Any:
        """Return the next message, or piece of one, from the queue; ``None``: it is empty."""
        queue = self._queue
        if queue is None:
            return None
        message = queue[self._taken]
        queue[self._taken] = None
        self._taken += 1
        if self._taken == len(queue):
            self._queue = None
            self._taken = 0
        if self._queue_size != 0:
            self._queue_size = self._queue_size - _cost(message) if self._queue else 0
            if self._reading_paused and self._queue_size <= self._low:
                self._reading_paused = False
                self._transport.resume_reading()
        return message

    # Writing.

    def send_nowait(self, message: Any) -> None:
        """Send a message, ``str`` as text and bytes-like as binary, without ever waiting.

        What the peer does not take is kept, so who sends much looks at ``writing_paused``.
        Raises :class:`~switchover.errors.ConnectionClosed` once a Close frame has been sent.
        """
        if not self._machine._sendable:
            raise self._closed_error()
        self._machine.send_message(message)
        self._send_soon()

    def _try_send(self, message: Any) -> bool:
        """Send a message if that needs neither thought nor waiting; return whether it did."""
        machine = self._machine
        if (
            (type(message) is not bytes and type(message) is not str)
            or not machine._sendable
            or machine._sending != 0
            or self._writing_paused
        ):
            return False
        machine.send_message(message)
        self._send_soon()
        return True

    def _take_frame(self, frame: list[bytes]) -> bool:
        """Send a message that has been put into its frame elsewhere, for many connections.

        Return whether it could be sent; if not, see why, and do it in the usual ways.
        """
        machine = self._machine
        if (
            not machine._sendable
            or machine._sending != 0
            or machine._extensions
            or machine._mask_bit == 0  # a client's frames are masked, each with its own key
            or self._writing_paused
        ):
            return False
        for piece in frame:
            machine._out.append(piece)
            machine._out_size += len(piece)
        if not self._in_wake and not self._flush_scheduled:
            self.flush()
        return True

    def _send_soon(self) -> None:
        """Have the output sent at the end of the wake-up.

        Outside a wake-up the first output of a round of the loop goes at once, so that the
        peer can begin with it, and what follows is gathered until the round is over.
        """
        if self._machine._out_size > _MUCH:
            self.flush()
        elif not self._in_wake and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_scheduled_output)
            self.flush()

    def _flush_scheduled_output(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what there is to send."""
        machine = self._machine
        # SEC-21: while the peer does not read, pongs wait, and only the latest is kept.
        if self._writing_paused and not machine._out:
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if machine._pong is not None:
            machine._send_pong()
        size = machine._out_size
        out = machine._out
        if not out:
            return
        machine._out = []
        machine._out_size = 0
        if self._fd < -1:
            # Asking makes an object that stays; who says two things and waits needs none.
            self._fd += 1
            if self._fd == -1:
                self._fd = plain_socket(transport)
        if self._write_queued and self._fd >= 0:
            self._write_queued = transport.get_write_buffer_size() != 0
        if len(out) == 1:
            self._write_piece(out[0])
        elif size <= _JOINED or len(out) > _VECTOR or _os_writev is None:
            self._write_piece(b"".join(out))
        else:
            self._write_pieces(out)

    def _write_piece(self, data: Any) -> None:
        if self._fd >= 0 and not self._write_queued:
            try:
                sent = _os_write(self._fd, data)
            except OSError:
                sent = 0  # the socket is full, or broken: the transport will find out
            if sent == len(data):
                return
            if sent > 0:
                data = memoryview(data)[sent:]
        self._write_queued = True
        self._transport.write(data)

    def _write_pieces(self, pieces: list[bytes]) -> None:
        sent = 0
        if self._fd < 0:
            # Together: under TLS each call would be a record and a system call of its own.
            self._transport.writelines(pieces)
            return
        if not self._write_queued and _os_writev is not None:
            try:
                sent = _os_writev(self._fd, pieces)
            except OSError:
                sent = 0
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            else:
                self._write_queued = True
                self._transport.write(memoryview(piece)[sent:] if sent > 0 else piece)
                sent = 0

    @property
    def writing_paused(self) -> bool:
        """Whether the transport's buffer is over its high mark."""
        return bool(self._writing_paused)


def _cost(message: Any) -> int:
    data = message.data if type(message) is Fragment else message
    return len(data) + _OVERHEAD


def _shared_buffer(loop: Any) -> tuple[Any, memoryview, bytearray]:
    """Return what is known of the loop's buffer; there is hardly ever more than one loop."""
    global _latest_buffer
    latest = _latest_buffer  # once: another thread may have a loop of its own
    if latest is not None and latest[0]() is loop:
        return latest
    buffer = _shared_buffers.get(loop)
    if buffer is None:
        octets = bytearray(_SHARED)
        buffer = _shared_buffers[loop] = weakref.ref(loop), memoryview(octets), octets
    _latest_buffer = buffer
    return buffer
