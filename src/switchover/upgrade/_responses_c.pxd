# C types for _responses.py, which is compiled under the name _responses_c (see setup.py).

import cython

from switchover.http._fields_c cimport Fields as CompiledFields

cdef object _RESERVED
cdef tuple _CONNECTION
cdef list _SWITCHING_NAMES

@cython.locals(lines=list, names=list, all_lines=list, place=Py_ssize_t, name=bytes)
cpdef build_switching_response(token, CompiledFields fields, layers_above, bint extended)
