# C types for _framing.py, which is compiled under the name _framing_c.
import cython

from switchover.websocket._masking cimport mask, take

cdef int TEXT, BINARY, WHOLE_TEXT, WHOLE_BINARY, PONG
cdef Py_ssize_t _LARGE, _STORAGE, _JOINED, _KEPT_STORAGE
cdef long long _DIRECT, _NO_LIMIT
cdef list _short_text, _short_binary, _spare_storages

cdef bytes _encode_text(object text)
cdef bytes _head(int first, Py_ssize_t size, int mask_bit)

cdef class Framing:
    cdef readonly int _mask_bit
    cdef int _first, _opcode
    cdef int _rsv
    cdef public int _sending
    cdef long long _max_size, _size, _filled
    cdef readonly long long _wanted
    cdef long _max_fragments, _fragments
    cdef public bint _receiving, _ending, _sendable, deliver_fragments
    cdef public tuple _extensions
    cdef public list _events, _out
    cdef public Py_ssize_t _out_size
    cdef public bytes _pong
    cdef bytes _rest, _tail, _keys
    cdef Py_ssize_t _key_at
    cdef bytearray _storage
    cdef list _parts
    cdef readonly object _entropy

    cdef _begin(self, tuple extensions, max_size, long max_fragments, entropy)
    cpdef _control(self, int opcode, bytes payload)
    cpdef _refuse(self, error)
    cpdef settle(self)
    @cython.locals(first=int, second=int, length="long long", payload=Py_ssize_t, size=int)
    cpdef feed(self, bytearray data, Py_ssize_t start, Py_ssize_t stop)
    cdef bint _admit(self, int first, int second) except -1
    @cython.locals(length="long long", position=Py_ssize_t)
    cdef long long _long_length(self, bytearray data, Py_ssize_t start, int size) except? -1
    @cython.locals(room="long long")
    cdef bint _admit_length(self, int first, long long length) except -1
    cdef _refuse_size(self)
    @cython.locals(storage=bytearray)
    cdef _begin_storage(self, int first, bytearray data, Py_ssize_t start, Py_ssize_t stop, long long length)
    @cython.locals(storage=bytearray, larger=bytearray)
    cdef bytearray _grow_storage(self)
    @cython.locals(storage=bytearray, size="long long")
    cdef Py_ssize_t _collect(self, bytearray data, Py_ssize_t start, Py_ssize_t stop) except -1
    @cython.locals(storage=bytearray)
    cpdef direct_buffer(self)
    @cython.locals(storage=bytearray, wanted="long long")
    cpdef filled(self, Py_ssize_t size)
    @cython.locals(masked=bint)
    cdef _frame(self, int first, bytearray data, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(final=bint, opening=bint)
    cdef _data_frame(self, int first, bytes payload)
    cdef bytes _decode(self, int first, bytes payload, bint opening, bint final)
    @cython.locals(octets=bytes)
    cdef str _text(self, bytes payload, bint final)
    cdef _add(self, object data, bint final)
    @cython.locals(first=int, payload=bytes)
    cpdef send_message(self, object message)
    @cython.locals(opcode=int, first=int)
    cpdef send_fragment(self, object data, bint final=*)
    cdef _send_data(self, int first, bytes payload)
    @cython.locals(size=Py_ssize_t)
    cpdef _write(self, int first, bytes payload)
    @cython.locals(payload=bytes)
    cpdef _send_pong(self)
    @cython.locals(at=Py_ssize_t)
    cdef bytes _next_key(self)
