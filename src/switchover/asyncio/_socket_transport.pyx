"""A socket that is read and written without the event loop's transports, on any loop of Linux.

A loop's own transports cost each connection a kilobyte and each event several calls of Python.
Here reading and writing are C from the kernel to the protocol. What a protocol sees is what
:class:`asyncio.Transport` promises, and what it writes while it is given octets goes out in one
piece when it has taken them, together with the end of the connection if it asks for that.

Edge-triggered: a socket is registered once, and read until it has no more, so that pausing,
resuming and waiting to write ask nothing of the kernel.

Longer than other files: reading, writing and the end share every bit of the state.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset
from posix.uio cimport iovec
from posix.unistd cimport close as close_descriptor

from switchover.asyncio._kernel cimport (
    AF_INET, AF_INET6, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP,
    MSG_MORE, MSG_NOSIGNAL, SHUT_WR, msghdr, recv, send, sendmsg, shutdown, sockaddr, socklen_t,
)
from switchover.asyncio._poller cimport Polled, Poller
from switchover.asyncio._receiver_c cimport Receiver

import asyncio
import os
import socket as socket_module
import sys
import warnings
from asyncio.trsock import TransportSocket

__all__ = ["SocketTransport"]

cdef enum:
    _READS = 4  # of one connection before the others have their turn
    _SCRATCH = 65536  # for protocols that have no buffer of their own
    # Up to so much is sent, and buffers of up to so much are filled, without letting go of the
    # GIL: getting it back costs more. What comes in at once is mostly far smaller.
    _SENT_LOCKED = 65536
    _READ_LOCKED = 262144
    _GATHERED = 65536  # octets that wait for the end of an event, then are sent before it
    _PIECES = 64  # of what is queued, in one system call

cdef Py_ssize_t _HIGH = 64 * 1024

_BufferedProtocol = asyncio.BufferedProtocol
cdef bytearray _scratch = bytearray(_SCRATCH)

cdef enum:
    _NO_MORE_READING = 1  # the peer has ended its half, or the connection is closing
    _PAUSED = 2  # by the protocol
    _CLOSING = 4
    _ENDED = 8  # connection_lost() is due, or has been called
    _END_WRITING = 16  # write_eof() has been called
    _WRITING_PAUSED = 32  # the protocol has been told
    _IN_EVENT = 64  # the protocol is being given octets: what it writes is gathered
    _FULL = 128  # the kernel takes no more, and will say when it does
    _HELD_BACK = 256  # the kernel has octets that it is to send together with the end


cdef class SocketTransport(Polled):
    """A connected socket: an :class:`asyncio.Transport` in all but its base class."""

    def __cinit__(self):
        self._fd = -1
        self._state = _CLOSING | _NO_MORE_READING | _ENDED  # until it has a socket
        self._high = _HIGH
        self._low = _HIGH // 4

    def __init__(self):
        raise TypeError("transports are made by a listener")

    def __del__(self):
        if self._fd >= 0:
            try:
                warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            finally:
                self._close_socket()

    def __repr__(self):
        if self._fd < 0:
            return "<SocketTransport closed>"
        what = "closing" if self._state & _CLOSING else "open"
        return f"<SocketTransport {what} fd={self._fd} queued={self._size}>"

    # The protocol.

    def set_protocol(self, protocol):
        """Give what is read from now on to ``protocol``."""
        self._set_protocol(protocol)

    def get_protocol(self):
        """Return the protocol that is given what is read."""
        return self._protocol

    cdef _set_protocol(self, protocol):
        self._protocol = protocol
        self._buffered = isinstance(protocol, _BufferedProtocol)
        self._receiver = protocol if isinstance(protocol, Receiver) else None

    cdef adopt(
        self, int descriptor, loop, Poller poller, const unsigned char *address, socklen_t size
    ):
        """Own ``descriptor``, a connected socket whose peer has ``address``."""
        self._fd = descriptor
        self._state = 0
        self._loop = loop
        self._poller = poller
        memcpy(self._address, address, ADDRESS)
        self._address_size = min(size, 255)

    cdef begin(self, factory):
        """Make the protocol, and go to work; who calls this reports what it raises."""
        try:
            self._set_protocol(factory())
            self._poller.register(self, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET)
        except BaseException:
            self._close_socket()
            raise
        self._state |= _IN_EVENT
        try:
            self._protocol.connection_made(self)
        except BaseException as error:
            self._failed("connection_made", error)
        finally:
            self._state &= ~_IN_EVENT
            if self._gathered is not None or self._queue is not None:
                self._send_gathered()

    # Events.

    cdef _happened(self, uint32_t events):
        if self._state & _ENDED:
            return
        if events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
            self._state &= ~_FULL
            if self._queue is not None:
                self._send_queue()
        if not events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) or self._state & _PAUSED:
            return
        if self._state & _NO_MORE_READING:
            if events & EPOLLERR and not self._state & _ENDED:
                self._take_error()
            return
        self._state |= _IN_EVENT
        try:
            self._read(events)
        finally:
            self._state &= ~_IN_EVENT
            if self._gathered is not None or self._queue is not None:
                self._send_gathered()

    cdef _take_error(self):
        number = self._socket().getsockopt(socket_module.SOL_SOCKET, socket_module.SO_ERROR)
        if number != 0:
            self._lose(OSError(number, os.strerror(number)))

    cdef _read(self, uint32_t events):
        cdef int reads = 0
        cdef unsigned short family = (<sockaddr *>self._address).sa_family
        # Urgent data makes a read stop in front of it, and so do descriptors sent along with data
        # on a Unix socket; nobody sends either here, but who did would wait for ever.
        cdef bint to_the_end = family != AF_INET and family != AF_INET6
        to_the_end |= events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI) != 0
        while self._read_once(to_the_end):
            reads += 1
            if reads == _READS:
                self._poller.later(self)
                return

    cdef bint _read_once(self, bint to_the_end) except -1:
        """Read one bufferful; return whether to go on."""
        cdef Py_buffer view
        cdef ssize_t count
        cdef Py_ssize_t size
        cdef int number = 0
        cdef char *scratch = NULL
        cdef bint buffered = self._buffered
        # The buffer is this one's, whatever get_buffer() does.
        cdef Receiver receiver = self._receiver
        protocol = self._protocol
        if not buffered:
            size = _SCRATCH
            scratch = _scratch
            count = recv(self._fd, scratch, size, 0)
            number = errno
        else:
            try:
                if receiver is not None:
                    buffer = receiver._space()
                else:
                    buffer = protocol.get_buffer(-1)
                PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
            except BaseException as error:
                self._failed("get_buffer", error)
                return False
            size = view.len
            if size <= _READ_LOCKED:
                count = recv(self._fd, view.buf, size, 0)
                number = errno
            else:
                with nogil:
                    count = recv(self._fd, view.buf, size, 0)
                    number = errno
            PyBuffer_Release(&view)
            if size == 0:
                self._failed("get_buffer", RuntimeError("get_buffer() returned an empty buffer"))
                return False
        if count <= 0:
            return self._not_read(count, number)
        try:
            if receiver is not None:
                receiver._filled(count)
            elif buffered:
                protocol.buffer_updated(count)
            else:
                protocol.data_received(PyBytes_FromStringAndSize(scratch, count))
        except BaseException as error:
            self._failed("buffer_updated" if buffered else "data_received", error)
            return False
        if self._state & (_PAUSED | _NO_MORE_READING | _ENDED):
            return False
        # Less than there was room for: there is no more, unless the end has come too.
        return count == size or to_the_end

    cdef bint _not_read(self, ssize_t count, int number) except -1:
        if count == 0:
            self._peer_ended()
        elif number == EINTR:
            return True
        elif number != EAGAIN:
            self._lose(OSError(number, os.strerror(number)))
        return False

    cdef _peer_ended(self):
        self._state |= _NO_MORE_READING
        try:
            keep_open = self._protocol.eof_received()
        except BaseException as error:
            if not self._state & _CLOSING:
                self._state &= ~_NO_MORE_READING  # to be told again if the program goes on
            self._failed("eof_received", error)
            return
        if not keep_open:
            self.close()

    # Reading.

    def is_reading(self):
        """Whether the protocol is given what comes."""
        return not self._state & (_PAUSED | _CLOSING | _ENDED)

    def pause_reading(self):
        """Give the protocol nothing more until :meth:`resume_reading`."""
        self._state |= _PAUSED

    def resume_reading(self):
        """Give the protocol what comes, and what has come meanwhile."""
        if self._state & _PAUSED:
            self._state &= ~_PAUSED
            if not self._state & (_NO_MORE_READING | _ENDED):
                self._poller.later(self)

    # Writing.

    def write(self, data):
        """Send ``data``; what the kernel does not take is queued, and the protocol told."""
        self._write(_octets(data))

    def writelines(self, list_of_data):
        """Send the pieces one behind the other, in as few system calls as there may be."""
        pieces = [_octets(data) for data in list_of_data]
        if not self._writable():
            return
        for data in pieces:
            if len(data) > 0:
                self._append(data)
        if self._queue is not None:
            self._send_if_due()

    def push(self):
        """Send what has been written now, and not only when the event is over."""
        if (self._gathered is not None or self._queue is not None) and not self._state & _ENDED:
            self._send_gathered()

    cdef bint _writable(self) except -1:
        if self._state & _END_WRITING:
            raise RuntimeError("Cannot call write() after write_eof()")
        return not self._state & (_CLOSING | _ENDED)

    cdef _write(self, data):
        cdef Py_ssize_t size = len(data), sent
        if not self._writable() or size == 0:
            return
        if self._gathered is not None or self._queue is not None:
            self._append(data)
            self._send_if_due()
        elif self._state & _IN_EVENT and size < _GATHERED:
            self._gathered = data if type(data) is bytes else bytes(data)
        else:
            sent = self._send(data, 0)
            if sent < size and not self._state & _ENDED:
                self._append(memoryview(data)[sent:] if sent > 0 else data)
                self._check_high()

    cdef _send_if_due(self):
        """Send what is queued unless the kernel is full, or more may come in this event."""
        if not self._state & _FULL and (self._size >= _GATHERED or not self._state & _IN_EVENT):
            self._send_queue()
        self._check_high()

    cdef _append(self, data):
        """Queue ``data`` behind what is there."""
        if self._gathered is not None:
            self._queue = [self._gathered]
            self._size = len(self._gathered)
            self._gathered = None
        elif self._queue is None:
            self._queue = []
        # What may change, or belongs to a buffer that is used again, is copied.
        kept = type(data) is bytes or (type(data) is memoryview and type(data.obj) is bytes)
        piece = data if kept else bytes(data)
        self._queue.append(piece)
        self._size += len(piece)

    cdef Py_ssize_t _send(self, data, int flags) except -1:
        """Give ``data`` to the kernel; return how many octets it has taken."""
        cdef Py_buffer view
        cdef ssize_t sent
        cdef Py_ssize_t size
        cdef int number
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        size = view.len
        if view.len <= _SENT_LOCKED:
            sent = send(self._fd, view.buf, view.len, MSG_NOSIGNAL | flags)
            number = errno
        else:
            with nogil:
                sent = send(self._fd, view.buf, view.len, MSG_NOSIGNAL | flags)
                number = errno
        PyBuffer_Release(&view)
        return self._sent(sent, size, number)

    cdef Py_ssize_t _sent(self, ssize_t sent, Py_ssize_t size, int number) except -1:
        if sent == size:
            return sent
        self._state |= _FULL
        if sent >= 0:
            return sent
        if number == EINTR:
            self._poller.later(self)  # there may be room, and then nobody says so
        elif number != EAGAIN:
            self._lose(OSError(number, os.strerror(number)))
        return 0

    cdef _send_gathered(self):
        """Send what was written during an event, together with the end if that is next."""
        cdef Py_ssize_t sent
        cdef int flags
        if self._gathered is None:
            if self._queue is not None and not self._state & _FULL:
                self._send_queue()
            self._check_high()
            return
        data, self._gathered = self._gathered, None
        if self._state & _ENDED:
            return
        # The end of the connection goes into the same segment.
        flags = 0
        if self._state & (_CLOSING | _END_WRITING):
            flags = MSG_MORE
            self._state |= _HELD_BACK
        sent = self._send(data, flags)
        if self._state & _ENDED:
            return
        if sent < len(data):
            self._queue = [memoryview(data)[sent:] if sent > 0 else data]
            self._size = len(data) - sent
            self._check_high()
        else:
            self._drained()

    cdef _send_queue(self):
        """Send what is queued, as far as the kernel takes it, and do what follows."""
        self._send_pieces()
        if self._state & _ENDED:
            return
        if self._queue is None:
            self._drained()
        elif self._state & _WRITING_PAUSED and self._size <= self._low:
            self._resume_writing()

    cdef _send_pieces(self):
        cdef iovec pieces[_PIECES]
        cdef Py_buffer views[_PIECES]
        cdef msghdr message
        cdef Py_ssize_t count, index, wanted
        cdef ssize_t sent
        cdef int number, flags
        while self._queue is not None and not self._state & _ENDED:
            count = min(len(self._queue) - self._taken, _PIECES)
            wanted = 0
            for index in range(count):
                PyObject_GetBuffer(self._queue[self._taken + index], &views[index], PyBUF_SIMPLE)
                pieces[index].iov_base = views[index].buf
                pieces[index].iov_len = views[index].len
                wanted += views[index].len
            memset(&message, 0, sizeof(message))
            message.msg_iov = pieces
            message.msg_iovlen = count
            flags = MSG_NOSIGNAL
            if self._taken + count < len(self._queue) or self._state & (_CLOSING | _END_WRITING):
                flags |= MSG_MORE
                self._state |= _HELD_BACK
            if wanted <= _SENT_LOCKED:
                sent = sendmsg(self._fd, &message, flags)
                number = errno
            else:
                with nogil:
                    sent = sendmsg(self._fd, &message, flags)
                    number = errno
            for index in range(count):
                PyBuffer_Release(&views[index])
            sent = self._sent(sent, wanted, number)
            if self._state & _ENDED:
                return
            self._take_off(sent)
            if sent < wanted:
                return

    cdef _take_off(self, Py_ssize_t sent):
        cdef list queue = self._queue
        cdef Py_ssize_t size
        self._size -= sent
        while self._taken < len(queue):
            size = len(queue[self._taken])
            if size > sent:
                if sent > 0:
                    queue[self._taken] = memoryview(queue[self._taken])[sent:]
                break
            sent -= size
            queue[self._taken] = None
            self._taken += 1
        if self._taken == len(queue):
            self._queue = None
            self._taken = 0
        elif self._taken > _PIECES and 2 * self._taken > len(queue):
            # Not each time: with many small pieces the rest would be moved again and again.
            del queue[: self._taken]
            self._taken = 0

    cdef _drained(self):
        """Everything has been sent: go on, or end as asked."""
        self._size = 0
        if self._state & _WRITING_PAUSED:
            self._resume_writing()
        if self._queue is not None or self._gathered is not None or self._state & _ENDED:
            return  # the protocol has gone on
        if self._state & _CLOSING:
            self._lose(None)
        elif self._state & _END_WRITING:
            shutdown(self._fd, SHUT_WR)

    cdef _check_high(self):
        # What is gathered the kernel will take, as long as it is not full.
        if (
            self._size > self._high
            and self._state & (_FULL | _WRITING_PAUSED | _ENDED) == _FULL
        ):
            self._state |= _WRITING_PAUSED
            try:
                self._protocol.pause_writing()
            except BaseException as error:
                self._report("protocol.pause_writing() failed", error)

    cdef _resume_writing(self):
        self._state &= ~_WRITING_PAUSED
        try:
            self._protocol.resume_writing()
        except BaseException as error:
            self._report("protocol.resume_writing() failed", error)

    def get_write_buffer_size(self):
        """Return how many octets have not been given to the kernel."""
        return self._size if self._gathered is None else len(self._gathered)

    def get_write_buffer_limits(self):
        """Return the low and the high mark."""
        return (self._low, self._high)

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the marks between which the protocol is asked to wait, in octets."""
        if high is None:
            high = _HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high = high
        self._low = low
        self._check_high()

    def can_write_eof(self):
        """Whether our half can be ended alone: always."""
        return True

    def write_eof(self):
        """End our half when what was written has been sent."""
        if self._state & (_CLOSING | _END_WRITING | _ENDED):
            return
        self._state |= _END_WRITING
        if self._queue is None and self._gathered is None:
            shutdown(self._fd, SHUT_WR)

    # The end.

    def is_closing(self):
        """Whether the connection is closed, or about to be."""
        return self._state & (_CLOSING | _ENDED) != 0

    def close(self):
        """End the connection when what was written has been sent."""
        if self._state & (_CLOSING | _ENDED):
            return
        self._state |= _CLOSING | _NO_MORE_READING
        if self._queue is None and self._gathered is None:
            self._lose(None)

    def abort(self):
        """End the connection at once; what the kernel has not taken is lost."""
        self._abort(None)

    cdef _abort(self, error):
        """Lose the connection, but not what was written during this event."""
        if self._gathered is not None:
            data, self._gathered = self._gathered, None
            self._send(data, 0)
        elif self._queue is not None and not self._state & _FULL:
            self._send_pieces()
        self._lose(error)

    cdef _lose(self, error):
        if not self._state & _ENDED:
            self._state |= _ENDED | _CLOSING | _NO_MORE_READING
            self._error = error
            self._queue = self._gathered = None
            self._taken = 0
            self._size = 0
            self._poller.has_ended(self)

    cdef _tell_lost(self):
        error, self._error = self._error, None
        try:
            self._protocol.connection_lost(error)
        except BaseException as failure:
            self._report("protocol.connection_lost() failed", failure)
        finally:
            self._protocol = self._receiver = None
            self._poller.forget(self)
            self._close_socket()

    cdef _close_socket(self):
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0 and self._state & _HELD_BACK:
            # Closed with octets unread, the kernel would drop what it holds back.
            shutdown(descriptor, SHUT_WR)
        if self._sock is not None:
            self._sock.close()
        elif descriptor >= 0:
            close_descriptor(descriptor)

    cdef _failed(self, str what, error):
        self._report(f"Fatal error: protocol.{what}() call failed.", error)
        self._abort(error)

    cdef _report(self, str message, error):
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        )

    # Facts.

    def get_extra_info(self, name, default=None):
        """Return ``peername``, ``sockname`` or ``socket``, or ``default`` for anything else."""
        if name == "peername":
            return self._peername(default)
        if name == "socket":
            return default if self._fd < 0 else TransportSocket(self._socket())
        if name == "sockname" and self._fd >= 0:
            return self._socket().getsockname()
        return default

    cdef _socket(self):
        if self._sock is None:
            self._sock = socket_module.socket(fileno=self._fd)
        return self._sock

    cdef _peername(self, default):
        cdef unsigned short family = (<sockaddr *>self._address).sa_family
        cdef bytes octets
        octets = self._address[:ADDRESS]
        port = int.from_bytes(octets[2:4], "big")
        if family == AF_INET:
            return (socket_module.inet_ntop(family, octets[4:8]), port)
        if family == AF_INET6:
            host = socket_module.inet_ntop(family, octets[8:24])
            return (
                host, port, int.from_bytes(octets[4:8], "big"),
                int.from_bytes(octets[24:28], sys.byteorder),
            )  # fmt: skip
        if self._address_size <= sizeof(family):
            return ""  # a Unix socket without a name, as nearly all are
        if self._fd < 0:
            return default
        try:
            return self._socket().getpeername()
        except OSError:  # it has gone
            return default


cdef _octets(data):
    """Return ``data`` if it is octets one behind the other, else a copy that is."""
    if type(data) is bytes:
        return data
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data: expecting a bytes-like object, got {type(data).__name__}")
    if isinstance(data, memoryview) and (
        data.itemsize != 1 or data.ndim != 1 or not data.c_contiguous
    ):
        return data.tobytes()
    return data
