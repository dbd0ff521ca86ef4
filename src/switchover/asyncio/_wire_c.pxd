# C types for _wire.py, which is compiled under the name _wire_c.
import cython

cimport switchover.asyncio._receiver_c as receiver

from switchover.websocket._connection_c cimport Connection as CompiledConnection
from switchover.websocket._framing_c cimport Framing as CompiledFraming

cdef Py_ssize_t _MUCH, _JOINED, _VECTOR, _OVERHEAD
cdef int _ASKED_LATER

cdef tuple _latest_buffer

cdef Py_ssize_t _cost(object message) except -1
cdef tuple _shared_buffer(loop)

@cython.final
cdef class Waiter:
    cdef public bint _asyncio_future_blocking
    cdef bint _busy, _cancelled, _done
    cdef readonly object _loop
    cdef object _callback, _context, _message, _run

    cpdef Waiter rearm(self)
    cpdef wake(self, bint at_once)

cdef class Wire(receiver.Receiver):
    cdef public CompiledConnection _machine
    cdef public object _transport, _loop, on_message
    cdef public object _shared
    cdef public bytearray _shared_octets
    cdef public Py_ssize_t _high, _low, _queue_size
    cdef public bint _direct, _muted, _in_wake, _reading_paused
    cdef public list _queue
    cdef public Py_ssize_t _taken
    cdef public Waiter _waiter
    cdef public int _fd
    cdef public bint _write_queued, _writing_paused, _flush_scheduled

    cdef _begin(self, CompiledConnection machine, Py_ssize_t high, Py_ssize_t low)
    cpdef _event(self, event)
    cpdef _callback_failed(self, error)
    cpdef _connection_ending(self)
    cpdef _closed_error(self)
    cpdef _settled(self)
    cpdef _attach(self, transport, loop)
    @cython.locals(machine=CompiledFraming, events=list)
    cdef _deliver(self)
    cdef _call_back(self, list events)
    @cython.locals(messages=list, queue=list)
    cdef _enqueue(self, list events)
    @cython.locals(messages=list)
    cdef list _messages_of(self, list events)
    @cython.locals(size=Py_ssize_t, position=Py_ssize_t)
    cdef _measure(self, list queue, Py_ssize_t new)
    cpdef Waiter _wait(self)
    @cython.locals(queue=list)
    cpdef _take(self)
    @cython.locals(machine=CompiledFraming)
    cpdef bint _try_send(self, object message) except -1
    @cython.locals(machine=CompiledFraming)
    cpdef bint _take_frame(self, list frame) except -1
    cpdef _send_soon(self)
    @cython.locals(machine=CompiledFraming, size=Py_ssize_t, out=list)
    cpdef flush(self)
    @cython.locals(sent=Py_ssize_t)
    cdef _write_piece(self, object data)
    @cython.locals(sent=Py_ssize_t)
    cdef _write_pieces(self, list pieces)
