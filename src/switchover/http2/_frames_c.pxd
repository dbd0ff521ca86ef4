# C types for _frames.py, which is compiled under the name _frames_c (see setup.py).
# Windows stay below 2^32 in either direction; what comes from frames is 31 bits at most.

import cython
from cython cimport longlong

cdef int _HEAD_SIZE
cdef int _DATA, _HEADERS, _RST_STREAM, _SETTINGS
cdef int _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION
cdef int _END_STREAM, _ACK, _END_HEADERS, _WHOLE
cdef long long _STREAM_MASK, _INITIAL_WINDOW
cdef int _JOINED, _REMEMBERED_RESETS


cdef class Message:
    cdef public object request
    cdef public bint head_received
    cdef public bint head_sent
    cdef public bint tunnel
    cdef public long long interim
    cdef public long long received
    cdef public long long discarded
    cdef public object expected
    cdef public object to_send


cdef class Stream:
    cdef public long long id
    cdef public bint local_open
    cdef public bint remote_open
    cdef public long long send_window
    cdef public long long receive_window
    cdef public long long held
    cdef public long long credit
    cdef public object message


cdef class Frames:
    cdef public bint client
    cdef public bint settings_acknowledged
    cdef public bint closed
    cdef public bint refusing
    cdef public long long highest
    cdef public long long send_window
    cdef public long long receive_window
    cdef public long long _credit
    cdef public long long _withheld
    cdef public long long _block_stream
    cdef public long long _needed
    cdef public object settings
    cdef public object clock
    cdef public object peer
    cdef public object decoder
    cdef public object encoder
    cdef public object _receiver
    cdef public dict streams
    cdef public dict blocked
    cdef public dict _resets
    cdef public list _out
    cdef public bytearray _held
    cdef public bint _preface_seen

    cpdef list data_to_send(self)
    @cython.locals(octets=bytes, position=Py_ssize_t)
    cpdef receive(self, data)
    @cython.locals(
        end=Py_ssize_t, limit=Py_ssize_t, start=Py_ssize_t, length=Py_ssize_t, high=int, low=int,
        kind=int, flags=int, stream_id=longlong,
    )
    cpdef Py_ssize_t read_frames(self, bytes data, Py_ssize_t position) except -1
    cdef bint _may_begin(self, long long stream_id) except -1
    @cython.locals(stream=Stream)
    cdef _begin(self, long long stream_id, bytes block)
    @cython.locals(size=Py_ssize_t, stream=Stream, ends=bint)
    cdef bint _content(self, long long stream_id, int flags, bytes payload) except -1
    cpdef Stream _new_stream(self, long long stream_id)
    cpdef _close_local(self, Stream stream)
    cpdef _drop(self, Stream stream)
    @cython.locals(size=Py_ssize_t, limit=Py_ssize_t, number=longlong)
    cpdef bint send_answer(self, Stream stream, bytes block, bytes content) except -1
    @cython.locals(size=Py_ssize_t, room=longlong)
    cpdef Py_ssize_t send_some(self, Stream stream, data, bint end) except -1
    cpdef acknowledge(self, Stream stream, long long octets)
    cpdef _return_credit(self, long long octets)
    @cython.locals(size=Py_ssize_t)
    cpdef _frame(self, int kind, int flags, long long stream_id, bytes payload)
