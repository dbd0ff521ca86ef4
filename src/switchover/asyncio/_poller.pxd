# C types of _poller.pyx, for what is registered there.
from libc.stdint cimport uint32_t


cdef class Polled:
    cdef int _fd
    cdef Poller _poller
    cdef object _context
    cdef bint _waits  # to be told once more, without a new event

    cdef _happened(self, uint32_t events)
    cdef _tell_lost(self)


cdef class Poller:
    cdef object __weakref__
    cdef readonly object loop
    cdef int _fd
    cdef int _depth
    cdef bint _called
    cdef set _members
    cdef list _left  # members that are gone, kept until no event can name them
    cdef list _again  # those that wait to be told once more
    cdef list _ended  # whose connection_lost() is due

    cdef register(self, Polled polled, uint32_t events)
    cdef watch(self, Polled polled, uint32_t events)
    cdef forget(self, Polled polled)
    cdef later(self, Polled polled)
    cdef has_ended(self, Polled polled)
    cdef _end_if_idle(self)
    cdef _disown(self)
    cdef _tell(self, Polled polled, uint32_t events)
    cdef _settle(self)
    cdef _tell_ended(self)
    cdef _call_soon(self)


cdef Poller poller_of(loop)
