# C types for _http1_server.py, which is compiled under the name _http1_server_c.

cimport switchover.asyncio._http1_carrier_c as http1_carrier
cimport switchover.asyncio._switching_c as switching
from switchover.asyncio._switching_c cimport Switching as CompiledSwitching

import cython


cdef class HTTP1Driver(http1_carrier.HTTP1Carrier):
    cpdef act(self, event)
    cdef _on_request(self, event)
    cdef _select(self, request, selection)
    cdef _on_content(self, event)
    cdef _on_complete(self, event)
    @cython.locals(told=CompiledSwitching)
    cdef _on_switched(self, event)
    cdef _on_failed(self, event)
    cdef _on_peer_closed(self)
