# C types for _websocket_life.py, which is compiled under the name _websocket_life_c.

cimport switchover.asyncio._awaitables as wire
cimport switchover.asyncio._deadlines_c as deadlines
from switchover.asyncio._deadlines_c cimport Deadline as CompiledDeadline
from switchover.asyncio._deadlines_c cimport Deadlines as CompiledDeadlines
from switchover.asyncio._roll_c cimport Roll as CompiledRoll
from switchover.websocket._connection_c cimport Connection as CompiledConnection

import cython

cdef object _CLOSED


cdef class Lifecycle(wire.Wire):
    cdef public CompiledDeadline _deadline, _release
    cdef public dict _pings
    cdef public list _closed
    cdef public object _fragmenting, _gate, _lag, _lost, _request, _response, _settings
    cdef public object on_close
    cdef public CompiledRoll _owner
    cdef public double latency
    cdef public bint _close_begun, _transport_ended

    cdef _begin_life(self, CompiledConnection machine, settings, owner)
    cpdef _settled(self)
    cpdef close_nowait(self, code=*, reason=*)
    cpdef fail(self, code=*, reason=*)
    @cython.locals(of_loop=CompiledDeadlines)
    cpdef _connection_ending(self)
    cdef _end_transport(self)
    cdef _read_on(self)
    cpdef _closed_error(self)
    cdef _begin_keepalive(self)
    cdef _end_keepalive(self)
    cpdef _begin_release(self)
    cdef _end_release(self)
    cpdef _event(self, event)
    cpdef _callback_failed(self, error)
