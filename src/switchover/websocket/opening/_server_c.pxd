# C types for _server.py, which is compiled under the name _server_c (see setup.py).

import cython

from switchover.http._fields_c cimport Fields as CompiledFields
from switchover.http._messages_c cimport Request as CompiledRequest

cdef bytes _VERSION, _KEY_OCTETS

cdef bint _is_key(bytes key) except -1


cdef class ServerOpening:
    cdef object _subprotocols, _origins
    cdef tuple _extensions

    @cython.locals(fields=CompiledFields, versions=list, keys=list, lines=list)
    cpdef prepare(self, CompiledRequest request, token=*)
    @cython.locals(fields=CompiledFields, origins=list)
    cdef _check_origin(self, CompiledRequest request)
    cdef _negotiate(self, CompiledFields fields, list lines)
