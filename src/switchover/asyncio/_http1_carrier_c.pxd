# C types for _http1_carrier.py, which is compiled under the name _http1_carrier_c.

import cython

cimport switchover.asyncio._deadlines_c as deadlines
from switchover.asyncio._deadlines_c cimport Deadline as CompiledDeadline
from switchover.asyncio._deadlines_c cimport Deadlines as CompiledDeadlines
from switchover.asyncio._roll_c cimport Roll as CompiledRoll

from switchover.http._server_c cimport ServerConnection as CompiledServerConnection


cdef class HTTP1Carrier:
    cdef readonly CompiledRoll server
    cdef public object exchange
    cdef public CompiledServerConnection _machine
    cdef public object _transport, _selection, _loop, _open_offer
    cdef object _buffer, _gate
    cdef CompiledDeadline _deadline
    cdef CompiledDeadlines _deadlines
    cdef object _prefix
    cdef public list _content
    cdef public Py_ssize_t _content_octets
    cdef tuple _chain
    cdef object _facts
    cdef public bint _owed
    cdef readonly bint _secure, _eof, _over, _closing
    cdef bint _reading_paused, _pumping, _idle

    @cython.locals(data=bytes)
    cpdef buffer_updated(self, Py_ssize_t nbytes)
    cdef bytes _look_for_preface(self, bytes data)
    cdef _go_on_in_http2(self, bytes data)
    cdef _as_protocol(self)
    cpdef update_reading(self)
    @cython.locals(events=list)
    cdef _pump(self)
    cpdef act(self, event)
    @cython.locals(data=list)
    cpdef flush(self)
    @cython.locals(data=list)
    cpdef _leave(self)
    cpdef _close(self)
    cpdef _arm(self, seconds, callback)
    cpdef _arm_idle(self)
    cpdef _disarm(self)
