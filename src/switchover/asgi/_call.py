"""One call of an application: what is the same for a request and for a WebSocket.

This file is compiled as ``_call_c``; the C types stand in ``_call_c.pxd``. What derives from it
chooses the build: :mod:`switchover.asgi.answer`, :mod:`switchover.asgi.channel`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from switchover.asgi.types import Application, Message, Scope

__all__ = ["ApplicationCall", "Rest"]

#: What is left to await, where there is anything.
Rest = Coroutine[Any, Any, None]


class ApplicationCall:
    """Calls an application, and is what it calls.

    What :meth:`begin_send` and the methods for the end return, if anything, is awaited.
    """

    __slots__: tuple[str, ...] = ()

    async def run(self, app: Application, scope: Scope) -> None:
        """Call the application, and answer or end the connection in its place if it does not."""
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001  # logged there, and answered for
            rest = self.application_failed(error, scope)
        else:
            rest = self.returned()
        if rest is not None:
            await rest

    def receive(self) -> Any:
        """Return the next event, to be awaited."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """Take a message from the application.

        Raises:
            LocalProtocolError: the message is not legal now; nothing was written.
            Disconnected: the client has left (an ``OSError``, as ASGI 2.4 asks).
        """
        rest = self.begin_send(message)
        if rest is not None:
            await rest

    def begin_send(self, message: Message) -> Rest | None:
        """Do what ``message`` says, as far as that does not wait."""
        raise NotImplementedError

    def application_failed(self, error: Exception, scope: Scope) -> Rest | None:
        """The application has raised ``error``."""
        raise NotImplementedError

    def returned(self) -> Rest | None:
        """The application has returned."""
        raise NotImplementedError
