# C types for _deflate_coding.py, which is compiled under the name _deflate_coding_c.
import cython

cdef int _RSV1
cdef bytes _TAIL, _EMPTY_MESSAGE
cdef int _MAX_FINAL_BLOCKS

cdef class DeflateCoding:
    cdef readonly str name
    cdef readonly int rsv
    cdef object _shop, _send, _receive
    cdef readonly object _compressor, _inflater
    cdef readonly bytearray _history
    cdef Py_ssize_t _threshold
    cdef int _sync_flush, _final_blocks
    cdef bint _enabled, _compressing, _inflating, _fed, _used

    @cython.locals(rest=bytes, content=bytes, parts=list)
    cdef bytes _inflate(self, bytes data, bint final, object max_size)
    cdef bytes _pass_final_block(self, bytes content, bytes rest, bint final)
    cdef object _new_compressor(self)
    cdef object _new_inflater(self)
    @cython.locals(window=Py_ssize_t, history=bytearray)
    cdef object _remember(self, bytes content)

cdef object _check_limit(left)
