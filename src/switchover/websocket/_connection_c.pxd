# C types for _connection.py, which is compiled under the name _connection_c.

import cython

cimport switchover.websocket._framing_c as framing

cdef int _CLOSE, _PING, _PONG
cdef Py_ssize_t _MANY_PONGS
cdef long _MAX_FRAGMENTS
cdef object _OPEN, _CLOSING, _CLOSED, _SERVER


cdef class Connection(framing.Framing):
    cdef public object side, state, subprotocol
    cdef object _received, _sent, _error
    cdef bytes _due
    cdef bint _finished
    cdef public bint pongs_held

    cdef _begin_rules(self, side, subprotocol)
    cpdef receive_eof(self)
    cpdef bint close_expected(self) except -1
    cpdef close(self, code=*, reason=*)
    cpdef fail(self, code=*, reason=*)
    cpdef _control(self, int opcode, bytes payload)
    cdef _answer_ping(self, bytes payload)
    cdef _receive_close(self, bytes body)
    cpdef _refuse(self, error)
    cpdef settle(self)
    cdef _send_close(self, bytes body)


@cython.locals(connection=Connection)
cpdef Connection server_end(tuple extensions, subprotocol, max_message_size)
