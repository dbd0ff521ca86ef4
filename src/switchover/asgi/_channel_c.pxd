# C types for _channel.py, which is compiled under the name _channel_c.

import cython

cimport switchover.asgi._call_c as call

from switchover.asyncio._wire_c cimport Wire as CompiledWire

cdef int CONNECTING, DENYING, OPEN, CLOSED

cdef class Channel(call.ApplicationCall):
    cdef public object _exchange, _acceptance, _denial
    cdef object _create
    cdef public CompiledWire _ws
    cdef public int _state
    cdef public bint _connected

    @cython.locals(ws=CompiledWire)
    cpdef returned(self)
    cpdef connected(self)
    cpdef received(self, data)
    cpdef ended(self)
    cdef _begin_accept(self, message)
    cdef _switched(self, ws)
