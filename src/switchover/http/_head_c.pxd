# C types for _head.py, which is compiled under the name _head_c (see setup.py).

import cython

from switchover.http._lines cimport cut_head

cdef int REQUEST
cdef int RESPONSE
cdef int TRAILERS
cdef int _HOST
cdef int _CONTENT_LENGTH
cdef int _TRANSFER_ENCODING
cdef int _CONNECTION
cdef int _EXPECT
cdef dict _NOTED
cdef dict _NAMES
cdef dict _METHODS
cdef dict _VERSIONS


cdef class HeadParser:
    cdef int _kind
    cdef bint _unfold
    cdef int _status
    cdef Py_ssize_t _max_method
    cdef Py_ssize_t _max_target
    cdef Py_ssize_t _max_start
    cdef Py_ssize_t _max_line
    cdef Py_ssize_t _max_section
    cdef Py_ssize_t _max_count
    cdef Py_ssize_t _max_empty
    cdef bytearray _partial
    cdef bint _started
    cdef bint _folded
    cdef Py_ssize_t _size
    cdef Py_ssize_t _empty

    cdef readonly bint complete
    cdef readonly str method
    cdef readonly str target
    cdef readonly str version
    cdef readonly int status
    cdef readonly str reason
    cdef readonly list lines
    cdef readonly list names
    cdef readonly int hosts
    cdef readonly bytes host
    cdef readonly bytes content_length
    cdef readonly bytes transfer_encoding
    cdef readonly bytes connection
    cdef readonly bytes expect

    cpdef object reset(self)
    cdef object _forget_notes(self)
    cpdef bint begun(self)
    @cython.locals(end=Py_ssize_t, pieces=list)
    cpdef Py_ssize_t receive(self, bytes data, Py_ssize_t start) except -1
    @cython.locals(place=Py_ssize_t)
    cdef object _take_pieces(self, list pieces)
    @cython.locals(end=Py_ssize_t, line=bytes)
    cdef Py_ssize_t _receive_lines(self, bytes data, Py_ssize_t start) except -1
    cdef object _take_line(self, bytes line)
    @cython.locals(left=Py_ssize_t)
    cdef object _check_length(self, Py_ssize_t length)
    cdef object _too_long_start(self)
    cdef object _take_start(self, bytes line)
    @cython.locals(parts=list, target=bytes)
    cdef object _take_request_line(self, bytes line)
    cdef str _read_method(self, bytes method)
    cdef str _read_version(self, bytes version)
    @cython.locals(version=bytes, rest=bytes, code=bytes, reason=bytes)
    cdef object _take_status_line(self, bytes line)
    @cython.locals(length=Py_ssize_t, colon=Py_ssize_t, name=bytes, value=bytes)
    cdef object _take_field(self, bytes line)
    @cython.locals(lower=bytes, usual=tuple, known=int)
    cdef object _add_field(self, bytes name, bytes value)
    cdef object _check_name(self, bytes name)
    cdef object _bad_value(self, bytes name)
    @cython.locals(last=tuple, more=bytes, value=bytes)
    cdef object _fold(self, bytes line)
    cdef object _finish(self)
    cdef object _note(self, int known, bytes value)
    cdef object _error(self, str message, str rule)


cdef bytes _joined(bytes first, bytes second)
