# C types for those who derive from what is in _awaitables.pyx.
from switchover.asyncio._wire_c cimport Wire as PlainWire


cdef class Frameless:
    cdef object _owner, _with
    cdef object _rest  # the coroutine that goes on with what takes longer
    cdef bint _begun, _over

    cdef object _step(self)
    cdef object _begin(self)
    cdef object _go_on(self)
    cdef object _finished(self, got)
    cdef object _throw(self, error)
    cdef str _what(self)


cdef class Receiving(Frameless):
    cdef object _received(self, message)
    cdef object _ended(self)
    cdef object _waiter(self, PlainWire wire)


cdef class Sending(Frameless):
    pass


cdef object resume(coroutine, int *returned)
cdef make_sendable(type kind)


cdef class Wire(PlainWire):
    pass
