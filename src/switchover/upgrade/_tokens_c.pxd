# C types for _tokens.py, which is compiled under the name _tokens_c (see setup.py).

import cython

cdef Py_ssize_t _REMEMBERED_LENGTH


cdef class UpgradeToken:
    cdef readonly object name, version
    cdef tuple _key
    cdef object _text

    cdef _set(self, name, version)


cpdef read_member(str member)
@cython.locals(token=UpgradeToken)
cpdef _read(str member)
