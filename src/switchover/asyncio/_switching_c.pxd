# C types for _switching.py, which is compiled under the name _switching_c.


cdef class Switching:
    cdef public object server, protocol, request, response, content, selection, trailing_data
    cdef public object _facts, _driver


cpdef hand_over(transport, successor, trailing_data)
