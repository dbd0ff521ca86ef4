"""Pipes of memory: one direction of a connection, cut into pieces as a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

__all__ = ["Cut", "Machine", "Wire", "at", "one_octet", "whole"]


class Machine(Protocol):
    """What all sans-I/O machines have in common."""

    def receive_data(self, data: bytes) -> None:
        """Take octets that came in."""

    def receive_eof(self) -> None:
        """Take note that no more octets come in."""

    def events_received(self) -> Sequence[Any]:
        """Return, and forget, what the octets meant."""

    def data_to_send(self) -> Sequence[bytes]:
        """Return, and forget, octets that are to go out."""


#: Cuts octets into the pieces in which they arrive.
Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    """Deliver everything in one piece."""
    return [data] if data else []


def one_octet(data: bytes) -> Iterable[bytes]:
    """Deliver each octet by itself."""
    return [data[i : i + 1] for i in range(len(data))]


def at(*places: int) -> Cut:
    """Return a cut at these offsets of each delivery; those beyond its end do nothing."""

    def cut(data: bytes) -> Iterable[bytes]:
        edges = [0, *sorted(p for p in places if 0 < p < len(data)), len(data)]
        return [data[a:b] for a, b in pairwise(edges) if a < b]

    return cut


class Wire:
    """One direction of a connection.

    Octets written are held until :meth:`deliver` hands them to a machine, in the pieces that
    ``cut`` makes. ``limit`` cuts the wire for good: only so many octets pass, then the
    machine sees the end. ``transcript`` is everything that was written.
    """

    def __init__(self, *, cut: Cut = whole, limit: int | None = None) -> None:
        self.cut = cut
        self.limit = limit
        self.transcript = b""
        self.delivered = 0
        self.ended = False
        self._end_told = False

    @property
    def waiting(self) -> bytes:
        """What was written and not delivered yet."""
        end = len(self.transcript) if self.limit is None else self.limit
        return self.transcript[self.delivered : end]

    def write(self, data: bytes) -> None:
        """Put octets on the wire. Raises ``AssertionError`` after :meth:`end`."""
        assert not (self.ended and data), f"octets sent after the end: {data!r}"
        self.transcript += data

    def end(self) -> None:
        """Let the receiving machine see the end once it has got everything."""
        self.ended = True

    def deliver(self, machine: Machine, *, finished: Callable[[], bool] = lambda: False) -> bool:
        """Hand what is waiting to ``machine``; return whether anything moved.

        The end counts as something that moves. ``finished`` is asked after each piece: once
        it says so, the rest stays on the wire for the machine's successor.
        """
        data = self.waiting
        for piece in self.cut(data):
            self.delivered += len(piece)
            machine.receive_data(piece)
            if finished():
                return True
        return self._tell_end(machine) or bool(data)

    def _tell_end(self, machine: Machine) -> bool:
        cut_off = self.limit is not None and self.delivered >= self.limit
        if self._end_told or self.waiting or not (self.ended or cut_off):
            return False
        self._end_told = True
        machine.receive_eof()
        return True
