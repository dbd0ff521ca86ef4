# C types for _scopes.py, which is compiled under the name _scopes_c.
import cython

cdef dict _USUAL_LINES

cdef tuple _target(request, root_path)
@cython.locals(received=list, headers=list, line=tuple, name=bytes)
cdef list _headers(request, bint underscore_names)
@cython.locals(host=tuple, line=tuple)
cdef list _with_host(list headers, request)
cdef tuple _peer(facts)
cdef _client(name)
cdef _server(name)
