# C types for _lists.py, which is compiled under the name _lists_c (see setup.py).

cdef dict _USUAL_OPTIONS

cpdef connection_options(bytes value)
