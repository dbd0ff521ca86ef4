# C types for _paths.py, which is compiled under the name _paths_c (see setup.py).


cdef class PathPattern:
    cdef public object text
    cdef str _literal
    cdef object _regex

    cpdef dict match(self, str path)
