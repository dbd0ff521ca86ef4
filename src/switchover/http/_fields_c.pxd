# C types for _fields.py, which is compiled under the name _fields_c (see setup.py).

import cython

cdef list _NONE
cdef dict _LOWER
cdef dict _KEYS
cdef Py_ssize_t _MAX_KEYS


cdef class Fields:
    cdef public list raw
    cdef list _names

    @cython.locals(names=list, line=tuple)
    cpdef list names(self)

    @cython.locals(names=list, key=bytes, line=tuple, place=Py_ssize_t)
    cpdef list octets(self, name)


cdef Fields _filled(Fields fields, list lines, list names)
cdef bytes _lower(bytes name)
@cython.locals(key=bytes)
cdef bytes _remember(object name)
cdef str _combined(list values)
