# C types for _offers.py, which is compiled under the name _offers_c (see setup.py).

import cython

from switchover.http._fields_c cimport Fields as CompiledFields
from switchover.http._messages_c cimport Request as CompiledRequest

cdef Py_ssize_t _REMEMBERED_LENGTH
cdef object _read_remembered


cdef class Offer:
    cdef readonly tuple tokens
    cdef readonly object request
    cdef readonly bint extended

    cpdef find(self, protocol)


@cython.locals(fields=CompiledFields, values=list)
cpdef examine(CompiledRequest request)
cdef tuple _read_tokens(bytes value)
