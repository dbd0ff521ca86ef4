# C types for _responses.py, which is compiled under the name _responses_c (see setup.py).

import cython

cdef object _RESERVED
cdef tuple _CONNECTION
