# C types for _events.py, which is compiled under the name _events_c (see setup.py).

import cython


@cython.freelist(8)
cdef class RequestReceived:
    cdef readonly object request


cdef class ContentReceived:
    cdef readonly object data


@cython.freelist(8)
cdef class MessageComplete:
    cdef object _trailers


@cython.freelist(8)
cdef class Switched:
    cdef readonly object protocol, request, response, trailing_data
