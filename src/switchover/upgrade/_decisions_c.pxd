# C types for _decisions.py, which is compiled under the name _decisions_c (see setup.py).

import cython

from switchover.http._messages_c cimport Request as CompiledRequest
from switchover.upgrade._offers_c cimport Offer as CompiledOffer
from switchover.upgrade._paths_c cimport PathPattern as CompiledPattern
from switchover.upgrade._registry_c cimport (
    Acceptance as CompiledAcceptance,
    Candidate as CompiledCandidate,
    Registry as CompiledRegistry,
)


cdef class Select:
    cdef readonly object upgrade, token, parameters
    cdef readonly CompiledAcceptance acceptance
    cdef readonly CompiledRequest request


@cython.locals(candidates=list)
cdef tuple _candidates(CompiledOffer offer, CompiledRegistry registry, bint secure)
cdef bint _excluded(upgrade, CompiledRequest request, CompiledRegistry registry, bint secure) except -1
@cython.locals(request=CompiledRequest, pattern=CompiledPattern)
cdef _fit(CompiledOffer offer, upgrade, bint secure)
cdef list _insisting(CompiledRequest request, CompiledRegistry registry, bint secure)
cdef _prepare(CompiledOffer offer, chosen, list candidates)
cdef _answered_token(CompiledOffer offer, CompiledCandidate chosen, CompiledAcceptance acceptance)
cpdef switching_response(Select selection)
