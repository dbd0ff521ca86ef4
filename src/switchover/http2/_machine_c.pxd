# C types for _machine.py, which is compiled under the name _machine_c (see setup.py).

import cython
from cython cimport longlong

from switchover.http2._frames_c cimport Frames as CompiledFrames
from switchover.http2._frames_c cimport Message as CompiledMessage
from switchover.http2._frames_c cimport Stream as CompiledStream

cdef Py_ssize_t _REMEMBERED, _REMEMBERED_OCTETS


cdef class Machine:
    cdef public CompiledFrames _engine
    cdef public list _events

    cpdef receive_data(self, data)
    cpdef list take_events(self)
    cpdef list data_to_send(self)
    cpdef bint close_expected(self) except -1
    @cython.locals(stream=CompiledStream, message=CompiledMessage, taken=Py_ssize_t)
    cpdef Py_ssize_t send_some(self, long long stream_id, data, bint end) except -1
    @cython.locals(stream=CompiledStream, message=CompiledMessage)
    cpdef CompiledStream _sendable(self, long long stream_id)
    @cython.locals(stream=CompiledStream)
    cpdef acknowledge(self, long long stream_id, long long octets)
    cpdef bint _wants_rest(self, CompiledStream stream, Py_ssize_t octets) except -1
    @cython.locals(message=CompiledMessage)
    cpdef _complete(self, CompiledStream stream, trailers)


cdef class ServerMachine(Machine):
    cdef public object _date
    cdef public dict _requests, _answers
    cdef str _answers_date
    cdef Py_ssize_t _answers_changes

    @cython.locals(engine=CompiledFrames)
    cpdef bint close_expected(self) except -1
    cdef tuple _read(self, list lines)
    @cython.locals(stream=CompiledStream, message=CompiledMessage, content=bytes)
    cpdef bint send_again(self, long long stream_id, response) except -1
    @cython.locals(changes=Py_ssize_t)
    cpdef tuple _answer_key(self, response)
    cpdef _remember(self, tuple key, bytes block)
