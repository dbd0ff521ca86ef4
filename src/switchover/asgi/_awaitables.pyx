"""What an application awaits, in the compiled build: coroutines without a frame.

And what its task runs is one of them too, so that the only frame of an idle connection is the
application's own.
"""
from types import CoroutineType

from switchover.asgi._answer_c cimport Answer as PlainAnswer
from switchover.asgi._call_c cimport ApplicationCall
from switchover.asgi._channel_c cimport Channel as PlainChannel
from switchover.asyncio._awaitables cimport Frameless, Receiving, make_sendable, resume


cdef class Message(Receiving):
    """The event for the next message."""

    cdef str _what(self):
        return "receive()"

    cdef object _received(self, message):
        if type(message) is str:
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    cdef object _ended(self):
        self._over = True
        return (<PlainChannel> self._with).ended()


make_sendable(Message)


cdef class First(Frameless):
    """An event before there is a connection."""

    cdef str _what(self):
        return "receive()"

    cdef object _begin(self):
        cdef PlainChannel channel = <PlainChannel> self._owner
        event = channel.connected()
        if event is not None:
            self._over = True
            return event
        self._rest = channel._receive_before()
        return self._go_on()


make_sendable(First)


cdef class Sending(Frameless):
    """The sending of a message of the application."""

    cdef str _what(self):
        return "send()"

    cdef object _begin(self):
        message, self._with = self._with, None
        rest = (<ApplicationCall> self._owner).begin_send(message)
        if rest is None:
            self._over = True
            return None
        self._rest = rest
        return self._go_on()


make_sendable(Sending)


cdef class Running(Frameless):
    """The application at work, and what follows it."""

    cdef object _scope  # None when the application is through

    cdef str _what(self):
        return "an application"

    cdef object _begin(self):
        cdef ApplicationCall call = <ApplicationCall> self._owner
        app, self._with = self._with, None
        try:
            self._rest = _coroutine(app(self._scope, call.receive, call.send))
        except Exception as error:
            return self._failed(error)
        return self._go_on()

    cdef object _go_on(self):
        cdef int returned = 0
        if self._scope is None:
            return Frameless._go_on(self)
        try:
            got = resume(self._rest, &returned)
        except Exception as error:
            return self._failed(error)
        return self._returned() if returned else got

    cdef object _throw(self, error):
        if self._scope is None or self._rest is None:
            return Frameless._throw(self, error)
        try:
            return self._rest.throw(error)
        except StopIteration:
            pass
        except Exception as raised:
            return self._failed(raised)
        return self._returned()

    cdef object _failed(self, error):
        scope, self._scope = self._scope, None
        return self._afterwards((<ApplicationCall> self._owner).application_failed(error, scope))

    cdef object _returned(self):
        self._scope = None
        return self._afterwards((<ApplicationCall> self._owner).returned())

    cdef object _afterwards(self, rest):
        self._rest = rest
        if rest is None:
            self._over = True
            return None
        return self._go_on()

    # What tells of a task ask for: they find the application.

    @property
    def cr_frame(self):
        """The application's."""
        return getattr(self._rest, "cr_frame", None)

    @property
    def cr_code(self):
        """The application's."""
        return getattr(self._rest, "cr_code", None)

    @property
    def cr_await(self):
        """What the application waits for."""
        return getattr(self._rest, "cr_await", None)

    @property
    def __qualname__(self):
        """The application's name."""
        return getattr(self._rest, "__qualname__", "ApplicationCall.run")


make_sendable(Running)


# An application may return any awaitable.
cdef object _coroutine(awaitable):
    return awaitable if type(awaitable) is CoroutineType else _awaited(awaitable)


async def _awaited(awaitable):
    await awaitable


cdef object sending(ApplicationCall call, message):
    cdef Sending awaitable = Sending.__new__(Sending)
    awaitable._owner = call
    awaitable._with = message
    return awaitable


cdef object running(ApplicationCall call, app, scope):
    cdef Running awaitable = Running.__new__(Running)
    awaitable._owner = call
    awaitable._with = app
    awaitable._scope = scope
    return awaitable


cdef class Channel(PlainChannel):
    """A :class:`~switchover.asgi._channel.Channel` whose coroutines are these."""

    def run(self, app, scope):
        """See :class:`~switchover.asgi._call.ApplicationCall`."""
        return running(self, app, scope)

    def receive(self):
        """Return ``websocket.connect``, messages, and at last ``websocket.disconnect``."""
        cdef Frameless awaitable
        if self._ws is not None:
            awaitable = Message.__new__(Message)
            awaitable._owner = self._ws
            awaitable._with = self
        else:
            awaitable = First.__new__(First)
            awaitable._owner = self
        return awaitable

    def send(self, message):
        """See :class:`~switchover.asgi._call.ApplicationCall`."""
        return sending(self, message)


cdef class Answer(PlainAnswer):
    """An :class:`~switchover.asgi._answer.Answer` whose coroutines are these."""

    def run(self, app, scope):
        """See :class:`~switchover.asgi._call.ApplicationCall`."""
        return running(self, app, scope)

    def send(self, message):
        """See :class:`~switchover.asgi._call.ApplicationCall`."""
        return sending(self, message)
