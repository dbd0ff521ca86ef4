"""Octets in, events and octets out: the ways the tests of this room drive the machines."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from switchover.http.client import ClientConnection
from switchover.http.events import Event, Failed
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection


@dataclass
class Served:
    """A server machine, what it has told, and what it has sent."""

    machine: ServerConnection
    events: list[Event] = field(default_factory=list)
    sent: bytes = b""

    def receive(self, octets: bytes) -> Served:
        self.machine.receive_data(octets)
        return self.collect()

    def eof(self) -> Served:
        self.machine.receive_eof()
        return self.collect()

    def collect(self) -> Served:
        self.events += self.machine.events_received()
        self.sent += b"".join(self.machine.data_to_send())
        return self

    def answer(self, response: Response | None = None, *, end: bool = True) -> Served:
        self.machine.send_response(response or Response.text(200, "ok"), end=end)
        return self.collect()

    def switch(self, protocol: str = "p/1") -> Served:
        fields = Fields([("Upgrade", protocol), ("Connection", "Upgrade")])
        self.machine.switch(Response(101, fields), protocol)
        return self.collect()

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def all_of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def statuses(self) -> list[int]:
        """The status of each response sent, none of whose content looks like a head."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.sent)]

    def refused(self, status: int) -> bool:
        """One error answer with this status, then the end: nothing else has been sent."""
        return (
            self.statuses() == [status]
            and b"\r\nConnection: close\r\n" in self.sent
            and isinstance(self.events[-1], Failed)
            and self.machine.close_expected()
        )


@dataclass
class Asked:
    """A client machine with one request sent, what it has told, and what it has sent."""

    machine: ClientConnection
    events: list[Event] = field(default_factory=list)
    sent: bytes = b""

    def receive(self, octets: bytes) -> Asked:
        self.machine.receive_data(octets)
        return self.collect()

    def eof(self) -> Asked:
        self.machine.receive_eof()
        return self.collect()

    def collect(self) -> Asked:
        self.events += self.machine.events_received()
        self.sent += b"".join(self.machine.data_to_send())
        return self

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def all_of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def failed(self) -> bool:
        """The last event is the only Failed, and nothing more is read or carried."""
        return (
            self.kinds().count("Failed") == 1
            and isinstance(self.events[-1], Failed)
            and self.machine.close_expected()
            and not self.machine.reusable()
        )


@pytest.fixture
def served() -> Callable[..., Served]:
    """Give octets to a new server machine."""

    def serve(octets: bytes = b"", **options: Any) -> Served:
        return Served(ServerConnection(**options)).receive(octets)

    return serve


@pytest.fixture
def asked() -> Callable[..., Asked]:
    """Send one request with a new client machine, and give it the octets of the answer."""

    def ask(
        octets: bytes = b"",
        *,
        request: Request | None = None,
        end: bool = True,
        switch: Any = None,
        limits: Limits | None = None,
    ) -> Asked:
        machine = ClientConnection(limits=limits or Limits())
        request = request or Request("GET", "/x", authority="a.example")
        machine.send_request(request, end=end, switch=switch)
        return Asked(machine).collect().receive(octets)

    return ask
