"""Fixtures for the tests of the mechanism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from switchover.http.events import ContentReceived, MessageComplete, RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.upgrade import Answer, Ordinary, Registry, Select, decide, switching_response


def _ask(method: str, target: str, *lines: tuple[str, str], **attributes: Any) -> Request:
    return Request(method, target, Fields([("Host", "example.com"), *lines]), **attributes)


@pytest.fixture(scope="session")
def ask() -> Callable[..., Request]:
    """Make a request: method, target, field lines, and attributes by name."""
    return _ask


class Site:
    """A server's application in a few lines, for the machine of HTTP/1.1.

    Every request is decided on with ``registry``; one that is ordinary is answered with 200
    and what was received, as ``METHOD target content``, once it is complete. ``requests``
    are the ordinary ones, whole; ``content`` is that of the last request.
    """

    def __init__(self, registry: Registry, *, asks_for_content: bool = True) -> None:
        self.registry = registry
        self.asks_for_content = asks_for_content
        self.requests: list[tuple[str, str, bytes]] = []
        self.content = b""
        self.decision: Any = None

    def __call__(self, machine: ServerConnection, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self.content = b""
            self.decision = decide(event.request, self.registry, secure=False)
            if isinstance(self.decision, Answer):
                machine.send_response(self.decision.response, end=True)
            elif self.asks_for_content:
                machine.send_continue()
        elif isinstance(event, ContentReceived):
            self.content += event.data
        elif isinstance(event, MessageComplete):
            self._complete(machine)

    def _complete(self, machine: ServerConnection) -> None:
        if isinstance(self.decision, Select):
            machine.switch(switching_response(self.decision), self.decision.protocol)
        elif isinstance(self.decision, Ordinary):
            request = machine.request
            assert request is not None
            self.requests.append((request.method, request.target, self.content))
            text = f"{request.method} {request.target} {self.content.decode('latin-1')}\n"
            machine.send_response(Response.text(200, text), end=True)


@pytest.fixture(scope="session")
def site() -> type[Site]:
    """The class of a small application that reacts to a server machine's events."""
    return Site
