"""One epoll instance for all sockets of a loop, which the loop watches like any descriptor.

Whoever is registered here is told of its events, in its own context. The kernel gives back the
pointer it was given: so what is registered is held, and what has gone is held until no event of
the batch at hand can name it. ``docs/decisions/0023-own-transport.md`` has the reasons.
"""

from libc.errno cimport errno
from libc.stdint cimport uint32_t
from posix.unistd cimport close as close_descriptor

from switchover.asyncio._kernel cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT, EPOLLRDHUP,
    epoll_create1, epoll_ctl, epoll_event, epoll_wait,
)

import os
import weakref

__all__ = []

cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    _EVENTS = 128  # taken from the kernel at once

#: The poller of each loop, as long as anything is registered there.
cdef object _pollers = weakref.WeakKeyDictionary()


cdef class Polled:
    """What a poller has registered."""

    cdef _happened(self, uint32_t events):
        raise NotImplementedError

    cdef _tell_lost(self):
        raise NotImplementedError


cdef class Poller:
    """One epoll instance for all sockets of a loop, which watches nothing of ours but that."""

    def __cinit__(self):
        self._fd = -1

    def __init__(self, loop):
        self.loop = loop
        self._members = set()
        self._left = []
        self._again = []
        self._ended = []
        self._fd = epoll_create1(EPOLL_CLOEXEC)
        if self._fd < 0:
            raise OSError(errno, os.strerror(errno))
        loop.add_reader(self._fd, self._ready)

    def __dealloc__(self):
        if self._fd >= 0:
            close_descriptor(self._fd)

    cdef register(self, Polled polled, uint32_t events):
        cdef epoll_event event
        event.events = events
        event.data.ptr = <void *>polled
        if epoll_ctl(self._fd, EPOLL_CTL_ADD, polled._fd, &event) < 0:
            error = OSError(errno, os.strerror(errno))
            self._end_if_idle()
            raise error
        self._members.add(polled)

    cdef watch(self, Polled polled, uint32_t events):
        """Be told of ``events`` of what is registered, and no others."""
        cdef epoll_event event
        event.events = events
        event.data.ptr = <void *>polled
        epoll_ctl(self._fd, EPOLL_CTL_MOD, polled._fd, &event)

    cdef forget(self, Polled polled):
        # Closing the descriptor would do, but for a process that has been forked and holds it
        # too: the kernel would go on to tell of an object that is no more.
        epoll_ctl(self._fd, EPOLL_CTL_DEL, polled._fd, NULL)
        self._members.discard(polled)
        if self._depth > 0:
            self._left.append(polled)
        self._end_if_idle()

    cdef _end_if_idle(self):
        if self._depth > 0 or self._members or self._fd < 0:
            return
        descriptor, self._fd = self._fd, -1
        if not self.loop.is_closed():
            self.loop.remove_reader(descriptor)
        close_descriptor(descriptor)

    cdef _disown(self):
        """Let go of the instance without a change to it: it is the parent process's."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            close_descriptor(descriptor)

    def _ready(self):
        """Let everything that has something to do do it."""
        cdef epoll_event events[_EVENTS]
        cdef Polled polled
        cdef int count, index = 0
        if self._fd < 0:
            return
        count = epoll_wait(self._fd, events, _EVENTS, 0)
        self._depth += 1
        try:
            while index < count:
                polled = <Polled>events[index].data.ptr
                if polled._fd >= 0:
                    self._tell(polled, events[index].events)
                index += 1
        finally:
            # Somebody wants the program to end, and it may go on all the same; but edges come
            # only once, for the one that was interrupted too.
            while index < count:
                self.later(<Polled>events[index].data.ptr)
                index += 1
            self._settle()

    cdef _tell(self, Polled polled, uint32_t events):
        """Tell ``polled`` of ``events``, or without any that it has ended, in its context."""
        # In a loop that runs inside another one's callback the context may be in use.
        context = polled._context if self._depth == 1 else None
        if context is not None:
            PyContext_Enter(context)
        try:
            if events != 0:
                polled._happened(events)
            else:
                polled._tell_lost()
        finally:
            if context is not None:
                PyContext_Exit(context)

    cdef _settle(self):
        """Do what had to wait until no event is being handled."""
        try:
            self._tell_ended()
        finally:
            self._depth -= 1
            if self._depth == 0:
                if self._left:
                    self._left = []
                self._end_if_idle()

    cdef _tell_ended(self):
        cdef Polled polled
        cdef Py_ssize_t index
        cdef list ended
        while self._ended:
            ended, self._ended = self._ended, []
            index = 0
            try:
                while index < len(ended):
                    polled = ended[index]
                    index += 1
                    self._tell(polled, 0)
            finally:
                if index < len(ended):  # somebody wants the program to end
                    self._ended = ended[index:] + self._ended
                    self._call_soon()

    cdef later(self, Polled polled):
        """Have ``polled`` read once more, when the loop has been round."""
        if not polled._waits:
            polled._waits = True
            self._again.append(polled)
        self._call_soon()

    cdef has_ended(self, Polled polled):
        """Have ``polled`` tell its protocol so, when no event is being handled."""
        self._ended.append(polled)
        if self._depth == 0:
            self._call_soon()

    cdef _call_soon(self):
        if not self._called:
            self.loop.call_soon(self._go_on)
            self._called = True

    def _go_on(self):
        """Read what was left, and tell what was left to tell."""
        cdef Polled polled
        cdef Py_ssize_t index = 0
        cdef list again
        self._called = False
        again, self._again = self._again, []
        for polled in again:
            polled._waits = False
        self._depth += 1
        try:
            while index < len(again):
                polled = again[index]
                if polled._fd >= 0:
                    self._tell(polled, EPOLLIN | EPOLLOUT | EPOLLRDHUP)  # to the end, if it is there
                index += 1
        finally:
            for polled in again[index:]:
                self.later(polled)
            self._settle()


cdef Poller poller_of(loop):
    """Return the poller of ``loop``, made when the first socket is registered there."""
    known = _pollers.get(loop)
    cdef Poller poller = None if known is None else known()
    if poller is None or poller._fd < 0:
        poller = Poller(loop)
        _pollers[loop] = weakref.ref(poller)
    return poller


def _forked():
    """Leave the instances of the parent process alone: what changes there changes for it."""
    cdef Poller poller
    for known in list(_pollers.values()):
        poller = known()
        if poller is not None:
            poller._disown()


os.register_at_fork(after_in_child=_forked)
