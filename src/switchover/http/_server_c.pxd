# C types for _server.py, which is compiled under the name _server_c (see setup.py).

import cython

from switchover.http._fields_c cimport Fields as CompiledFields
from switchover.http._head_c cimport HeadParser as CompiledHeadParser
from switchover.http._messages_c cimport Request as CompiledRequest, Response as CompiledResponse

cdef object _HEAD, _CONTENT, _COMPLETE, _SWITCHED, _CLOSED
cdef object _UNASKED, _AWAITED, _ANSWERING, _ANSWERED
cdef bytes _CONTINUE


cdef class ServerConnection:
    cdef object _limits, _date, _reader, _answer, _held
    cdef object _request_state, _answer_state
    cdef str _scheme
    cdef list _server_line, _events, _output
    cdef CompiledHeadParser _parser
    cdef CompiledRequest _request
    cdef bint _eof, _peer_closed_told, _persist, _continue_due, _content_begun, _rest
    cdef Py_ssize_t _discarded

    cpdef bint receiving_paused(self) except -1
    cpdef bint receiving_begun(self) except -1
    cpdef bint continue_expected(self) except -1
    cpdef bint close_expected(self) except -1
    cpdef bint rest_expected(self) except -1
    cpdef list events_received(self)
    cpdef list data_to_send(self)
    cpdef receive_data(self, data)
    cdef _process(self, bytes data, Py_ssize_t start)
    cdef _hold(self, bytes data, Py_ssize_t start)
    @cython.locals(head=CompiledHeadParser, version=str, fields=CompiledFields, request=CompiledRequest)
    cdef _head_received(self)
    cdef Py_ssize_t _receive_content(self, bytes data, Py_ssize_t start) except -1
    cdef _request_complete(self, object trailers)
    cdef CompiledRequest _answerable(self)
    cdef _close(self)
    cdef _answer_complete(self)
    cdef _exchange_over(self)
    @cython.locals(request=CompiledRequest, head=bytes, trailing_data=bytes)
    cpdef switch(self, CompiledResponse response, str protocol)


@cython.locals(fields=CompiledFields)
cdef _check_unframed(CompiledResponse response)
