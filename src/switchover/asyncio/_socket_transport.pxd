# C types of _socket_transport.pyx, for the listener that makes them.
from libc.stdint cimport uint32_t

from switchover.asyncio._kernel cimport sockaddr, socklen_t
from switchover.asyncio._poller cimport Polled, Poller
from switchover.asyncio._receiver_c cimport Receiver

cdef enum:
    ADDRESS = 28  # octets of the largest address of interest, struct sockaddr_in6


cdef class SocketTransport(Polled):
    cdef object __weakref__
    cdef object _loop
    cdef object _protocol
    cdef Receiver _receiver  # the protocol, if it can be called in C
    cdef object _error
    cdef object _sock  # for who asks for it
    cdef object _gathered  # one piece to be sent at the end of the event
    cdef list _queue  # what the kernel has not taken, or will not be asked yet; None: nothing
    cdef Py_ssize_t _taken  # so many at its beginning have been sent
    cdef Py_ssize_t _size, _high, _low
    cdef unsigned int _state
    cdef bint _buffered
    cdef unsigned char _address_size
    cdef unsigned char _address[ADDRESS]

    cdef adopt(self, int descriptor, loop, Poller poller, const unsigned char *address, socklen_t size)
    cdef begin(self, factory)
    cdef _set_protocol(self, protocol)
    cdef _take_error(self)
    cdef _read(self, uint32_t events)
    cdef bint _read_once(self, bint to_the_end) except -1
    cdef bint _not_read(self, ssize_t count, int number) except -1
    cdef _peer_ended(self)
    cdef bint _writable(self) except -1
    cdef _write(self, data)
    cdef _send_if_due(self)
    cdef _append(self, data)
    cdef Py_ssize_t _send(self, data, int flags) except -1
    cdef Py_ssize_t _sent(self, ssize_t sent, Py_ssize_t size, int number) except -1
    cdef _send_gathered(self)
    cdef _send_queue(self)
    cdef _send_pieces(self)
    cdef _take_off(self, Py_ssize_t sent)
    cdef _drained(self)
    cdef _check_high(self)
    cdef _resume_writing(self)
    cdef _abort(self, error)
    cdef _lose(self, error)
    cdef _close_socket(self)
    cdef _failed(self, str what, error)
    cdef _report(self, str message, error)
    cdef _socket(self)
    cdef _peername(self, default)
