# C types for _hpack.py, which is compiled under the name _hpack_c (see setup.py).
# Every integer is bounded by _LARGEST_INTEGER, or by the length of a field block, before it is
# narrowed to one of these. Octets are uchar: as int, Cython reads them through a signed char.

import cython
from cython cimport longlong, uchar

cdef int _STATIC_COUNT
cdef int _REMEMBERED_OCTETS
cdef int _REMEMBERED
cdef int _EMITS
cdef int _VALID
cdef list _STEPS
cdef list _MAY_END
cdef dict _STATIC_LINES
cdef dict _STATIC_NAMES


cdef class Decoder:
    cdef public Py_ssize_t max_list_size
    cdef public Py_ssize_t max_fields
    cdef list _entries
    cdef Py_ssize_t _size
    cdef Py_ssize_t _capacity
    cdef Py_ssize_t _position
    cdef public bint repeated
    cdef bint _changed
    cdef dict _known

    @cython.locals(
        lines=list, size=Py_ssize_t, count=Py_ssize_t, may_resize=bint, end=Py_ssize_t,
        octet=int, line=tuple,
    )
    cdef list _decode(self, bytes block)
    @cython.locals(position=Py_ssize_t, value=Py_ssize_t, shift=int, end=Py_ssize_t, octet=int)
    cdef Py_ssize_t _integer(self, bytes block, int mask) except -1
    @cython.locals(packed=bint, length=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, octets=bytes)
    cdef bytes _string(self, bytes block)
    @cython.locals(index=Py_ssize_t, name=bytes)
    cdef tuple _literal(self, bytes block, int mask)
    @cython.locals(entries=list)
    cdef tuple _entry(self, Py_ssize_t index)
    @cython.locals(size=Py_ssize_t)
    cdef object _add(self, tuple line)
    cdef object _resize(self, Py_ssize_t capacity)
    @cython.locals(dropped=Py_ssize_t, name=bytes, value=bytes)
    cdef object _evict(self, Py_ssize_t capacity)


cdef class Encoder:
    cdef dict _numbers
    cdef list _entries
    cdef Py_ssize_t _inserted
    cdef Py_ssize_t _size
    cdef Py_ssize_t _capacity
    cdef list _resized
    cdef public Py_ssize_t changes

    @cython.locals(out=bytearray, index=Py_ssize_t, number=Py_ssize_t)
    cdef bytes _encode(self, list lines)
    @cython.locals(index=Py_ssize_t, size=Py_ssize_t, name=bytes, value=bytes)
    cdef object _put_literal(self, bytearray out, tuple line)
    cdef object _add(self, tuple line, Py_ssize_t size)
    @cython.locals(dropped=Py_ssize_t, line=tuple)
    cdef object _evict(self, Py_ssize_t capacity)


cdef object _put_integer(bytearray out, Py_ssize_t value, int mask, int pattern)
@cython.locals(packed=bytes)
cdef object _put_string(bytearray out, bytes octets)
@cython.locals(out=bytearray, octet=uchar, bits=int, pending=longlong)
cdef bytes _pack(bytes octets)
@cython.locals(out=bytearray, state=int, step=int, octet=uchar)
cdef bytes _unpack(bytes octets)
