# C types for _events.py, which is compiled under the name _events_c (see setup.py).


cdef class RequestReceived:
    cdef readonly object request


cdef class ContentReceived:
    cdef readonly object data


cdef class MessageComplete:
    cdef object _trailers


cdef class Switched:
    cdef readonly object protocol, request, response, trailing_data
