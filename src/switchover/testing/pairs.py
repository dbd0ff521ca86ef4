"""Two machines joined by wires of memory, so that each test looks at both ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from switchover.http.events import Switched
from switchover.testing.misbehaving import ScriptedPeer
from switchover.testing.pipes import Cut, Machine, Wire, whole
from switchover.testing.splits import merged

__all__ = ["ConnectionPair"]

C = TypeVar("C", bound=Machine)
S = TypeVar("S", bound=Machine)

_ROUNDS = 1000  # more than any exchange takes: a round moves all that waits


class ConnectionPair(Generic[C, S]):
    """A client machine and a server machine on one connection.

    ``cut`` says in which pieces octets arrive; ``client_limit`` and ``server_limit`` cut the
    connection after so many octets *from* that side. :meth:`exchange` moves octets until
    nothing moves any more. ``client_events`` and ``server_events`` hold everything seen so
    far, ``to_server`` and ``to_client`` are the wires, with their transcripts.
    """

    def __init__(
        self,
        client: C,
        server: S,
        *,
        cut: Cut = whole,
        client_limit: int | None = None,
        server_limit: int | None = None,
    ) -> None:
        self.client: Any = client
        self.server: Any = server
        self.to_server = Wire(cut=cut, limit=client_limit)
        self.to_client = Wire(cut=cut, limit=server_limit)
        self.client_events: list[Any] = []
        self.server_events: list[Any] = []

    def exchange(self) -> tuple[list[Any], list[Any]]:
        """Move octets both ways until none is left; return the new events (client, server).

        Nothing is delivered to a machine that has switched: its successor is to take its
        place first (:meth:`succeed_client`, :meth:`succeed_server`).
        """
        seen = len(self.client_events), len(self.server_events)
        for _ in range(_ROUNDS):
            if not self._round():
                return merged(self.client_events[seen[0] :]), merged(self.server_events[seen[1] :])
        raise AssertionError("the two machines never come to rest")

    def _round(self) -> bool:
        moved = self._collect()
        for machine, wire, events in self._sides():
            if not _has_switched(events):
                moved |= wire.deliver(machine, finished=partial(self._finished, events))
                moved |= self._collect()
        return moved

    def _sides(self) -> list[tuple[Any, Wire, list[Any]]]:
        """Each machine with the wire it reads from and the events it has had."""
        return [
            (self.server, self.to_server, self.server_events),
            (self.client, self.to_client, self.client_events),
        ]

    def _finished(self, events: list[Any]) -> bool:
        self._collect()
        return _has_switched(events)

    def _collect(self) -> bool:
        moved = False
        for machine, wire, events in (
            (self.client, self.to_server, self.client_events),
            (self.server, self.to_client, self.server_events),
        ):
            events += (new := list(machine.events_received()))
            data = b"".join(machine.data_to_send())
            wire.write(data)
            if isinstance(machine, ScriptedPeer) and machine.ended:
                wire.end()
            moved |= bool(new) or bool(data)
        return moved

    def succeed_client(self, successor: Machine) -> None:
        """Put ``successor`` in the client's place; it gets the trailing data first."""
        self.client = _succeed(self.client_events, successor)

    def succeed_server(self, successor: Machine) -> None:
        """Put ``successor`` in the server's place; it gets the trailing data first."""
        self.server = _succeed(self.server_events, successor)

    def expect(
        self, *, client: Sequence[Any] | None = None, server: Sequence[Any] | None = None
    ) -> None:
        """Exchange, and assert which events each end sees; ``None`` is not looked at."""
        client_events, server_events = self.exchange()
        if client is not None:
            assert client_events == list(client), client_events
        if server is not None:
            assert server_events == list(server), server_events

    def end_client(self) -> None:
        """Let the server see the end of the client's data."""
        self._collect()
        self.to_server.end()

    def end_server(self) -> None:
        """Let the client see the end of the server's data."""
        self._collect()
        self.to_client.end()


def _has_switched(events: Sequence[Any]) -> bool:
    return bool(events) and isinstance(events[-1], Switched)


def _succeed(events: list[Any], successor: Machine) -> Machine:
    switched = next((e for e in reversed(events) if isinstance(e, Switched)), None)
    assert switched is not None, "nothing has switched here"
    events.append(f"→ {switched.protocol}")
    if switched.trailing_data:
        successor.receive_data(switched.trailing_data)
    return successor
