# C types for _receiver.py, which is compiled under the name _receiver_c.

cdef class Receiver:
    cdef object _space(self)
    cdef object _filled(self, Py_ssize_t nbytes)
