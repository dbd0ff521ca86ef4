# C types for _targets.py, which is compiled under the name _targets_c (see setup.py).

cdef Py_ssize_t _REMEMBERED_LENGTH

cpdef str read_authority(str method, str target, bytes host)
cpdef read_host(bytes host, int lines, str version)
cdef _valid_host(bytes host)
