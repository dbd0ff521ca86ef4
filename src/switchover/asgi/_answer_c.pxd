# C types for _answer.py, which is compiled under the name _answer_c.

import cython

cimport switchover.asgi._call_c as call

cdef int AT_START, HELD, BODY, TRAILERS, DONE
cdef Py_ssize_t _MAX_KNOWN, _MAX_OCTETS


cdef class Answer(call.ApplicationCall):
    cdef public object _exchange, _channel, _start
    cdef public list _trailer_lines
    cdef public int _state
    cdef public bint _content_complete, _disconnected

    cpdef begin_send(self, message)
    cpdef returned(self)
    cdef _hold(self, message)
    cpdef _send_whole(self, status, list lines, data, bint length_given)


@cython.locals(key=tuple, known=tuple)
cdef tuple _checked(headers)
cdef tuple _check(headers)
