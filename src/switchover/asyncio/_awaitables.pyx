"""Coroutines without a frame: what calls that hardly ever wait return in the compiled build.

Written as ``async def``, as in ``_wire.py``, they cost each message three objects, and each idle
connection the room for them. To whoever awaits them, makes tasks of them or throws into them,
these are coroutines. ``anext(ws)`` and ``ws.send()`` are the first of them; others derive from
:class:`Frameless`.
"""
import warnings

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from switchover.asyncio._wire_c cimport _MUCH, Waiter

from switchover.errors import ConnectionClosedOK
from switchover.websocket.events import Fragment

cdef extern from *:
    """
    static void switchover_set_send(
        PyObject *type, int (*send)(PyObject *, PyObject *, PyObject **))
    {
        ((PyTypeObject *)type)->tp_as_async->am_send = (sendfunc)send;
    }
    static PyObject *switchover_resume(PyObject *coroutine, int *returned)
    {
        PyObject *got = NULL;
        *returned = PyIter_Send(coroutine, Py_None, &got) == PYGEN_RETURN;
        return got;
    }
    """
    void switchover_set_send(object, int (*)(PyObject *, PyObject *, PyObject **) except -1)
    object switchover_resume(object coroutine, int *returned)


# Resume a coroutine. No StopIteration is made for its result: then returned is set.
cdef object resume(coroutine, int *returned):
    return switchover_resume(coroutine, returned)


@cython.freelist(32)
cdef class Frameless:
    """What is done in its first step, or goes on as the coroutine that the first step makes."""

    def __dealloc__(self):
        if not self._begun:
            warnings.warn(f"{self._what()} was never awaited", RuntimeWarning, stacklevel=2)

    cdef str _what(self):
        return "a coroutine"

    # Returns what to wait for or, with _over set, the result.
    cdef object _step(self):
        if self._over:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if self._rest is not None:
            return self._go_on()
        self._begun = True
        return self._begin()

    # As _step, for the first time, and again as long as there is no coroutine to go on with.
    cdef object _begin(self):
        raise NotImplementedError

    cdef object _go_on(self):
        cdef int returned = 0
        got = resume(self._rest, &returned)
        if not returned:
            return got
        self._over = True
        return self._finished(got)

    # What the result of the coroutine is to whoever awaits this.
    cdef object _finished(self, got):
        return got

    # As _step, but raises where this waits.
    cdef object _throw(self, error):
        self._begun = True
        if self._rest is None:
            self._over = True
            raise error
        try:
            return self._rest.throw(error)
        except StopIteration as stop:
            self._over = True
            return self._finished(stop.value)

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
        got = self._throw(error)
        if self._over:
            raise StopIteration(got)
        return got

    def close(self):
        """Give up waiting."""
        self._begun = self._over = True
        if self._rest is not None:
            self._rest.close()


# What the interpreter calls instead of __next__: no StopIteration is made for the result.
cdef int _send(PyObject *awaitable, PyObject *value, PyObject **result) except -1:
    result[0] = NULL
    got = (<Frameless> awaitable)._step()
    Py_INCREF(got)
    result[0] = <PyObject *> got
    return 0 if (<Frameless> awaitable)._over else 1


cdef make_sendable(type kind):
    switchover_set_send(kind, _send)


make_sendable(Frameless)


cdef class Receiving(Frameless):
    """The next message of a connection."""

    cdef str _what(self):
        return "the next message of a WebSocket"

    cdef object _begin(self):
        cdef PlainWire wire = <PlainWire> self._owner
        message = wire._take()
        if message is None:
            if not wire._machine._receiving:
                return self._ended()
            return self._waiter(wire)
        if type(message) is Fragment:
            self._rest = wire._whole(message)
            return self._go_on()
        self._over = True
        return self._received(message)

    cdef object _waiter(self, PlainWire wire):
        cdef Waiter waiter = wire._wait()
        waiter._asyncio_future_blocking = True
        return waiter

    cdef object _finished(self, got):
        return self._received(got)

    # The form that a message gets.
    cdef object _received(self, message):
        return message

    # There are no more messages: raises, or returns what stands for the end, with _over set.
    cdef object _ended(self):
        try:
            raise (<PlainWire> self._owner)._closed_error()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None


make_sendable(Receiving)


cdef class Sending(Frameless):
    """The sending of a message."""

    cdef str _what(self):
        return "WebSocket.send()"

    cdef object _begin(self):
        cdef PlainWire wire = <PlainWire> self._owner
        message, self._with = self._with, None
        if wire._try_send(message):
            self._over = True
            return None
        self._rest = wire._send_patiently(message)
        return self._go_on()


make_sendable(Sending)


cdef class _Round:
    """The connections of one loop that have sent in this round of it, and may have gathered more.

    A handle of the loop's for each would be 5 000 objects for a message to 5 000 connections,
    and have the garbage collector look at all there is.
    """

    cdef object _loop
    cdef list _wires

    def __call__(self):
        global _round
        cdef Wire wire
        if _round is self:
            _round = None
        for wire in self._wires:
            wire._flush_scheduled = False
            if wire._machine._out or wire._machine._pong is not None:
                try:
                    wire.flush()
                except Exception as error:  # the others are not to suffer
                    context = {"message": "a WebSocket could not send", "exception": error}
                    self._loop.call_exception_handler(context)


cdef _Round _round = None  # of the loop that has used it last


cdef class Wire(PlainWire):
    """A :class:`~switchover.asyncio._wire.Wire` whose coroutines are these."""

    def __anext__(self):
        cdef Receiving awaitable = Receiving.__new__(Receiving)
        awaitable._owner = self
        return awaitable

    def send(self, message):
        """Send a message; waits only while the transport's buffer is over its high mark.

        ``str`` is sent as text, anything bytes-like as binary. An iterable of them, or an
        asynchronous one, is sent as one message in fragments, each as soon as it is there.
        Raises :class:`ConnectionClosed` when the connection is closing or closed.
        """
        cdef Sending awaitable = Sending.__new__(Sending)
        awaitable._owner = self
        awaitable._with = message
        return awaitable

    cpdef _send_soon(self):
        global _round
        if self._machine._out_size > _MUCH:
            self.flush()
        elif not self._in_wake and not self._flush_scheduled:
            self._flush_scheduled = True
            if _round is None or _round._loop is not self._loop:
                _round = _Round.__new__(_Round)
                _round._loop = self._loop
                _round._wires = []
                self._loop.call_soon(_round)
            _round._wires.append(self)
            self.flush()
