# C types for _deadlines.py, which is compiled under the name _deadlines_c.

import cython

cdef double _COARSENESS, _LATEST, _FINEST
cdef Deadlines _latest


@cython.final
cdef class Deadline:
    cdef dict _bucket
    cdef readonly object _callback

    cpdef cancel(self)
    cdef _fire(self)


@cython.final
cdef class Deadlines:
    cdef object _loop
    cdef readonly dict _buckets

    @cython.locals(when=double, step=double, bucket=dict, deadline=Deadline)
    cpdef Deadline set(self, double seconds, callback)
    @cython.locals(bucket=dict, deadline=Deadline)
    cpdef _expire(self, double when)


cpdef Deadlines deadlines_of(loop)

@cython.locals(step=double)
cdef double _step(double seconds) except -1
