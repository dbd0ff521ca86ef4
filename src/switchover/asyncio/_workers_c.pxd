# C types for _workers.py, which is compiled under the name _workers_c.

from switchover.asyncio._wire_c cimport Waiter as CompiledWaiter


cdef class Workers:
    cdef object _server, _loop, _job
    cdef CompiledWaiter _parked
    cdef bint _closed

    cpdef run(self, job)
    cpdef close(self)
