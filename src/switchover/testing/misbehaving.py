"""Peers that do what they should not: scripts of octets in the shape of a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Eof", "Expect", "ScriptedPeer", "Send", "Step", "misbehaving_servers"]


@dataclass(frozen=True, slots=True)
class Send:
    """Send these octets."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """Read on until the octets received since the last step end with, or contain, ``data``.

    Empty ``data`` waits for anything at all.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class Eof:
    """End our direction; a :class:`ConnectionPair` passes it on when ``ended`` is seen."""


Step = Send | Expect | Eof


class ScriptedPeer:
    """A peer that follows a script, whatever the other end does.

    ``received`` is all it got, ``ended`` whether it ended its direction, ``peer_ended``
    whether the other end did, ``steps_left`` what the script still holds. It has no events.
    """

    def __init__(self, script: Sequence[Step]) -> None:
        self.received = b""
        self.ended = False
        self.peer_ended = False
        self.steps_left = list(script)
        self._unmatched = b""
        self._out: list[bytes] = []
        self._run()

    def receive_data(self, data: bytes) -> None:
        """Take octets; go on with the script as far as they allow."""
        self.received += data
        self._unmatched += data
        self._run()

    def receive_eof(self) -> None:
        """Take note of the end; the script waits for octets that cannot come."""
        self.peer_ended = True

    def events_received(self) -> list[Any]:
        """Return nothing: a script has no understanding of what it receives."""
        return []

    def data_to_send(self) -> list[bytes]:
        """Return, and forget, what the script has to say by now."""
        out, self._out = self._out, []
        return out

    def _run(self) -> None:
        while self.steps_left and self._step(self.steps_left[0]):
            del self.steps_left[0]

    def _step(self, step: Step) -> bool:
        if isinstance(step, Send):
            self._out.append(step.data)
        elif isinstance(step, Eof):
            self.ended = True
        else:
            found = self._unmatched.find(step.data)
            if found < 0 or not self._unmatched:
                return False
            self._unmatched = self._unmatched[found + len(step.data) :] if step.data else b""
        return True


_HEAD = b"HTTP/1.1 101 Switching Protocols\r\n"


def misbehaving_servers(token: str) -> dict[str, bytes]:
    """Return answers to an offer of ``token`` that are no switch to it, by what is wrong.

    A client that takes any of them for a switch sends octets to a server that reads them as
    something else.
    """
    name = token.encode("ascii")
    upgrade = b"Upgrade: " + name + b"\r\n"
    option = b"Connection: Upgrade\r\n"
    return {
        "no Upgrade field": _HEAD + option + b"\r\n",
        "no Connection field": _HEAD + upgrade + b"\r\n",
        "another connection option": _HEAD + upgrade + b"Connection: upgraded\r\n\r\n",
        "a protocol that was not offered": _HEAD + option + b"Upgrade: x-other\r\n\r\n",
        "a longer name": _HEAD + option + b"Upgrade: x" + name + b"\r\n\r\n",
        "two protocols": _HEAD + option + b"Upgrade: " + name + b", x-other\r\n\r\n",
        "two protocols on two lines": _HEAD + option + upgrade + b"Upgrade: x-other\r\n\r\n",
        "an empty Upgrade": _HEAD + option + b"Upgrade: \r\n\r\n",
        "a bare status line": _HEAD + b"\r\n",
        "HTTP/1.0": _HEAD.replace(b"1.1", b"1.0", 1) + option + upgrade + b"\r\n",
    }
