# C types for _http2_stream.py, which is compiled under the name _http2_stream_c.

import cython

from switchover.asyncio._http2_carrier_c cimport Carrier as CompiledCarrier

cdef Py_ssize_t _HIGH_MARK


cdef class StreamCarrier:
    cdef public CompiledCarrier _owner
    cdef public object _loop, _protocol, _deadline
    cdef public list _received, _output
    cdef public bint _buffered, _eof_received, _eof_delivered, _eof_wanted, _eof_sent
    cdef public bint _paused, _writing_paused, _closing, _lost
    cdef public Py_ssize_t _output_size, _high, _low, _lingering
    cdef readonly long long stream_id

    cpdef receive(self, bytes data)
    @cython.locals(size=Py_ssize_t)
    cpdef _deliver(self, bytes data)
    @cython.locals(owner=CompiledCarrier, taken=Py_ssize_t, piece=bytes)
    cpdef write(self, data)
    @cython.locals(owner=CompiledCarrier, output=list, taken=Py_ssize_t)
    cpdef _send(self)
    cpdef _update_marks(self)
