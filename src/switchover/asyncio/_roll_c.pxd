# C types for _roll.py, which is compiled under the name _roll_c.


cdef class Roll:
    cdef public object settings, let_go, released_done
    cdef public dict connections
    cdef dict _per_peer
    cdef public set _tasks
    cdef public object _closing, _empty
    cdef public bint closing

    cpdef admit(self, protocol, transport)
    cdef bint _admit_peer(self, transport, limit) except -1
    cpdef enlist(self, protocol, transport)
    cpdef dismiss(self, protocol)
    cpdef spawn(self, awaitable, loop, done=*)
    cpdef _check_empty(self)


cdef _host(transport)
