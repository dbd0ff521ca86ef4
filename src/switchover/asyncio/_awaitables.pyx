"""What ``anext(ws)`` and ``ws.send()`` return in the compiled build: coroutines without a frame.

Written as ``async def``, as in ``_wire.py``, they cost each message three objects, and each idle
connection the room for them. To whoever awaits them, makes tasks of them or throws into them,
these are coroutines.
"""
import warnings

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from switchover.asyncio._wire_c cimport Waiter

from switchover.errors import ConnectionClosedOK
from switchover.websocket.events import Fragment

cdef extern from *:
    """
    static void switchover_set_send(
        PyObject *type, int (*send)(PyObject *, PyObject *, PyObject **))
    {
        ((PyTypeObject *)type)->tp_as_async->am_send = (sendfunc)send;
    }
    """
    void switchover_set_send(object, int (*)(PyObject *, PyObject *, PyObject **) except -1)


@cython.freelist(16)
cdef class Awaitable:
    """The next message of a connection, or the sending of one."""

    cdef PlainWire _wire
    cdef object _message
    cdef object _receiver  # gives a message, or the end of them, its form
    cdef object _rest  # the coroutine that goes on with what takes longer
    cdef bint _sending, _begun, _over

    def __dealloc__(self):
        if not self._begun:
            what = "WebSocket.send()" if self._sending else "the next message of a WebSocket"
            warnings.warn(f"{what} was never awaited", RuntimeWarning, stacklevel=2)

    # Returns what to wait for or, with _over set, the result.
    cdef object _step(self):
        if self._over:
            raise RuntimeError("cannot reuse already awaited coroutine")
        self._begun = True
        if self._rest is not None:
            return self._go_on()
        if self._sending:
            if self._wire._try_send(self._message):
                self._over = True
                return None
            self._rest = self._wire._send_patiently(self._message)
            return self._go_on()
        message = self._wire._take()
        if message is None:
            if self._receiver is not None and not self._wire._machine._receiving:
                self._over = True
                return self._receiver.ended()
            return self._waiter()
        if type(message) is Fragment:
            self._rest = self._wire._whole(message)
            return self._go_on()
        self._over = True
        return message if self._receiver is None else self._receiver.received(message)

    cdef object _waiter(self):
        cdef Waiter waiter
        try:
            waiter = self._wire._wait()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None
        waiter._asyncio_future_blocking = True
        return waiter

    cdef object _go_on(self):
        try:
            return self._rest.send(None)
        except StopIteration as stop:
            self._over = True
            if self._receiver is not None:
                return self._receiver.received(stop.value)
            return stop.value

    # What inspect.getcoroutinestate() asks.

    @property
    def cr_running(self):
        """It is not looked at while it runs."""
        return False

    @property
    def cr_suspended(self):
        """Whether it has begun to wait."""
        return self._begun and not self._over

    @property
    def cr_frame(self):
        """There is none."""
        return None

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        got = self._step()
        if self._over:
            raise StopIteration(got)
        return got

    def send(self, value):
        """Go on, as a coroutine does."""
        return self.__next__()

    def throw(self, error, value=None, traceback=None):
        """Raise ``error`` where this waits."""
        self._begun = True
        if self._rest is None:
            self._over = True
            raise error
        return self._rest.throw(error)

    def close(self):
        """Give up waiting."""
        self._begun = self._over = True
        if self._rest is not None:
            self._rest.close()


# What the interpreter calls instead of __next__: no StopIteration is made for the result.
cdef int _send(PyObject *awaitable, PyObject *value, PyObject **result) except -1:
    result[0] = NULL
    got = (<Awaitable> awaitable)._step()
    Py_INCREF(got)
    result[0] = <PyObject *> got
    return 0 if (<Awaitable> awaitable)._over else 1


switchover_set_send(Awaitable, _send)


cdef class Wire(PlainWire):
    """A :class:`~switchover.asyncio._wire.Wire` whose coroutines are these."""

    def __anext__(self):
        cdef Awaitable awaitable = Awaitable.__new__(Awaitable)
        awaitable._wire = self
        return awaitable

    def _receive_for(self, receiver):
        """Return what awaits the next message and returns ``receiver.received(message)``.

        When there are no more it returns ``receiver.ended()``.
        """
        cdef Awaitable awaitable = Awaitable.__new__(Awaitable)
        awaitable._wire = self
        awaitable._receiver = receiver
        return awaitable

    def send(self, message):
        """Send a message; waits only while the transport's buffer is over its high mark.

        ``str`` is sent as text, anything bytes-like as binary. An iterable of them, or an
        asynchronous one, is sent as one message in fragments, each as soon as it is there.
        Raises :class:`ConnectionClosed` when the connection is closing or closed.
        """
        cdef Awaitable awaitable = Awaitable.__new__(Awaitable)
        awaitable._wire = self
        awaitable._message = message
        awaitable._sending = True
        return awaitable
