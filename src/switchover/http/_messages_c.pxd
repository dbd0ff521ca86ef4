# C types for _messages.py, which is compiled under the name _messages_c (see setup.py).

import cython


cdef class Request:
    cdef public object method, target, fields, version, scheme, authority, protocol

    @cython.locals(target=str, rest=str)
    cdef tuple _path_and_query(self)


cdef class Response:
    cdef public object status, fields, reason, version, content
