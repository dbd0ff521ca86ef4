# C types for _tls_records.py, which is compiled under the name _tls_records_c.
import cython

cimport switchover.asyncio._receiver_c as receiver

cdef Py_ssize_t _RECORD, _MUCH

cdef class TLSRecords(receiver.Receiver):
    cdef public object _session, _incoming, _outgoing, _transport, _protocol
    cdef public object _read
    cdef object _write, _held, _put, _take_out
    cdef receiver.Receiver _above
    cdef object _get_protocol_buffer, _protocol_updated
    cdef public object _ciphertext, _read_error
    cdef public int _fd
    cdef public bint _open, _closing, _reading_paused, _peer_closed
    cdef bint _write_queued

    @cython.locals(more=bint)
    cdef _hand_on(self)
    @cython.locals(
        above=receiver.Receiver, size=Py_ssize_t, filled=Py_ssize_t, count=Py_ssize_t, more=bint
    )
    cdef bint _fill(self) except -1
    cdef bint _deliver_octets(self) except -1
    @cython.locals(size=Py_ssize_t, pieces=list)
    cpdef writelines(self, object list_of_data)
    @cython.locals(size=Py_ssize_t)
    cdef _send_octets(self, object data)
    cdef _send_much(self, object data)
    cdef _encrypt(self, object data)
    @cython.locals(sent=Py_ssize_t)
    cdef _send(self)
