# C types for _registry.py, which is compiled under the name _registry_c (see setup.py).

import cython

from switchover.upgrade._offers_c cimport Offer as CompiledOffer

cdef list _NOBODY


cdef class Acceptance:
    cdef readonly object fields, state, protocol


cdef class Candidate:
    cdef readonly object upgrade, token, position, parameters


cdef class Registry:
    cdef public tuple upgrades, advertised, required
    cdef public object policy
    cdef list _families
    cdef dict _by_name

    @cython.locals(named=list)
    cpdef list matching(self, CompiledOffer offer)
