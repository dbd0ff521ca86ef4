# C types for _writing.py, which is compiled under the name _writing_c (see setup.py).

import cython

from switchover.http._messages_c cimport Response as CompiledResponse

cdef dict _STATUS_LINES

@cython.locals(parts=list, name=bytes, value=bytes)
cdef bytes _join(bytes start_line, lines)
@cython.locals(usual=tuple)
cpdef bytes response_head(response, lines)
