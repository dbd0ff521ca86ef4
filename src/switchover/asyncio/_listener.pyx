"""Listening sockets whose connections have transports of our own.

Choose through :mod:`switchover.asyncio.sockets`; elsewhere than on Linux the loop's transports
serve.
"""

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EPERM, EPROTO, errno
from libc.stdint cimport uint32_t
from libc.string cimport memset

from switchover.asyncio._kernel cimport (
    EPOLLET, EPOLLIN, SOCK_CLOEXEC, SOCK_NONBLOCK, accept4, sockaddr, socklen_t,
)
from switchover.asyncio._poller cimport Polled, poller_of
from switchover.asyncio._socket_transport cimport ADDRESS, SocketTransport

import contextvars
import os
from asyncio.trsock import TransportSocket

__all__ = ["Listener"]

cdef extern from "Python.h":
    object PyContext_Copy(object context)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    _ACCEPTS = 64  # before others have their turn

#: Seconds without accepting after an error that would come again at once, as asyncio has it.
cdef double _ACCEPT_LATER = 1.0


cdef class Listener(Polled):
    """A listening socket, for whose connections ``factory`` makes protocols.

    It is closed with :meth:`close`. Each connection runs in a copy of the context this was made
    in: what one sets there another does not see.
    """

    cdef object _sock, _factory, _loop
    cdef bint _rests

    def __cinit__(self):
        self._fd = -1

    def __init__(self, loop, sock, factory, int backlog):
        self._loop = loop
        self._factory = factory
        self._context = contextvars.copy_context()
        sock.setblocking(False)
        sock.listen(backlog)
        self._fd = sock.fileno()
        self._poller = poller_of(loop)
        self._poller.register(self, EPOLLIN)
        self._sock = sock

    @property
    def sockets(self):
        """The listening socket, as long as it listens."""
        return () if self._sock is None else (TransportSocket(self._sock),)

    def close(self):
        """Accept no more."""
        if self._sock is not None:
            sock, self._sock = self._sock, None
            self._poller.forget(self)
            self._fd = -1
            sock.close()

    cdef _happened(self, uint32_t events):
        cdef int accepted = 0
        while self._fd >= 0 and not self._rests and accepted < _ACCEPTS and self._accept():
            accepted += 1

    cdef bint _accept(self) except -1:
        """Accept one connection; return whether there may be another."""
        cdef unsigned char address[128]
        cdef socklen_t length = sizeof(address)
        cdef SocketTransport transport
        cdef int descriptor
        memset(address, 0, ADDRESS)
        descriptor = accept4(
            self._fd, <sockaddr *>address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC
        )
        if descriptor < 0:
            return self._not_accepted(errno)
        transport = SocketTransport.__new__(SocketTransport)
        transport.adopt(descriptor, self._loop, self._poller, address, length)
        transport._context = PyContext_Copy(self._context)
        PyContext_Enter(transport._context)
        try:
            transport.begin(self._factory)
        except BaseException as error:
            self._report("a connection could not be accepted", error)
        finally:
            PyContext_Exit(transport._context)
        return True

    cdef bint _not_accepted(self, int number) except -1:
        if number == EAGAIN:
            return False
        if number in (EINTR, ECONNABORTED, EPROTO, EPERM):
            return True  # that one has gone again
        # There may be no end to this error, and is none to EMFILE and its like: without a pause
        # it would come again at once.
        self._rests = True
        self._poller.watch(self, EPOLLET)
        self._loop.call_later(_ACCEPT_LATER, self._go_on)
        self._report("no connection can be accepted", OSError(number, os.strerror(number)))
        return False

    def _go_on(self):
        self._rests = False
        if self._sock is not None:
            self._poller.watch(self, EPOLLIN)

    cdef _report(self, str message, error):
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        facts = {"message": message, "exception": error}
        if self._sock is not None:
            facts["socket"] = TransportSocket(self._sock)
        self._loop.call_exception_handler(facts)
