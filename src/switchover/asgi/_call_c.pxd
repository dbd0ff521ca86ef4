# C types for _call.py, which is compiled under the name _call_c.

cdef class ApplicationCall:
    cpdef begin_send(self, message)
    cpdef application_failed(self, error, scope)
    cpdef returned(self)
