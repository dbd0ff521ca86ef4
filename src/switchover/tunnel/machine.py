"""The octet tunnel: two directions that end independently.

::

                 receive_eof              send_eof
    OPEN ───────────────────► REMOTE_ENDED ────────► CLOSED
      │  send_eof              receive_eof              ▲
      └────────► LOCAL_ENDED ───────────────────────────┤
                                                        │
    any state but CLOSED ── abort, connection_lost ──► BROKEN

RFC 9110 §9.3.6 has an HTTP/1.1 tunnel closed on both sides when one side closes; deployed
tunnels (and HTTP/2, RFC 9113 §8.5) pass a half-close on, and so does this machine. Who
wants the former calls :meth:`TunnelMachine.send_eof` on :class:`EndReceived`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from switchover.errors import LocalProtocolError, TunnelBroken, TunnelClosed

__all__ = ["Broken", "DataReceived", "EndReceived", "TunnelEvent", "TunnelMachine", "TunnelState"]


class TunnelState(enum.Enum):
    """Which directions of a tunnel are still open."""

    OPEN = "both directions are open"
    LOCAL_ENDED = "we have ended our direction"
    REMOTE_ENDED = "the peer has ended its direction"
    CLOSED = "both directions have ended"
    BROKEN = "the connection was lost, or aborted, before that"


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Octets from the peer. Where they are cut means nothing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndReceived:
    """The peer has ended its direction; ours stays as it is."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection was lost before the peer's end: its last octets may be missing."""

    error: TunnelBroken


TunnelEvent = DataReceived | EndReceived | Broken

_AFTER_LOCAL_END = {
    TunnelState.OPEN: TunnelState.LOCAL_ENDED,
    TunnelState.REMOTE_ENDED: TunnelState.CLOSED,
}
_AFTER_REMOTE_END = {
    TunnelState.OPEN: TunnelState.REMOTE_ENDED,
    TunnelState.LOCAL_ENDED: TunnelState.CLOSED,
}


class TunnelMachine:
    """One end of an octet tunnel.

    ``protocol`` is the token, or ``CONNECT``. ``trailing_data`` are the octets that arrived
    with the switch; they are the first that are received.
    """

    def __init__(self, protocol: str = "", *, trailing_data: bytes = b"") -> None:
        self.protocol = protocol
        self.state = TunnelState.OPEN
        self._events: list[TunnelEvent] = []
        self._output: list[bytes] = []
        self._eof_to_send = False
        if trailing_data:
            self.receive_data(trailing_data)

    # Receiving.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the peer.

        Raises :class:`LocalProtocolError` after the peer's end: the transport is at fault.
        """
        if self.state in (TunnelState.REMOTE_ENDED, TunnelState.CLOSED):
            raise LocalProtocolError("octets after the end of the peer's data")
        if data and self.state is not TunnelState.BROKEN:
            self._events.append(DataReceived(bytes(data)))

    def receive_eof(self) -> None:
        """Take note that the peer has ended its direction."""
        if self.state in _AFTER_REMOTE_END:
            self.state = _AFTER_REMOTE_END[self.state]
            self._events.append(EndReceived())

    def connection_lost(self, cause: str = "the connection was lost") -> None:
        """Take note that the connection is gone. After both ends that is no loss."""
        if self.state in (TunnelState.CLOSED, TunnelState.BROKEN):
            return
        if self.state is not TunnelState.REMOTE_ENDED:
            self._events.append(Broken(TunnelBroken(f"{cause} before the peer's end of data")))
        self._break()

    def events_received(self) -> list[TunnelEvent]:
        """Return, once, what has happened since the last call."""
        events, self._events = self._events, []
        return events

    # Sending.

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets. Raises :class:`TunnelClosed` once our direction has ended."""
        self._check_sending()
        if data:
            self._output.append(bytes(data))

    def send_eof(self) -> None:
        """End our direction, behind what was sent; the peer's stays as it is."""
        if self.state in _AFTER_LOCAL_END:
            self.state = _AFTER_LOCAL_END[self.state]
            self._eof_to_send = True

    def abort(self) -> None:
        """Give the tunnel up: nothing that is still to be sent is sent."""
        if self.state is not TunnelState.CLOSED:
            self._break()

    def data_to_send(self) -> list[bytes]:
        """Return, once, what is to be written."""
        output, self._output = self._output, []
        return output

    def eof_to_send(self) -> bool:
        """Return, once, whether to end our direction behind :meth:`data_to_send`."""
        eof, self._eof_to_send = self._eof_to_send, False
        return eof

    def close_expected(self) -> bool:
        """Whether to close the connection once everything is flushed."""
        return self.state in (TunnelState.CLOSED, TunnelState.BROKEN)

    def _check_sending(self) -> None:
        if self.state in (TunnelState.OPEN, TunnelState.REMOTE_ENDED):
            return
        raise TunnelClosed(f"nothing can be sent: {self.state.value}")

    def _break(self) -> None:
        self.state = TunnelState.BROKEN
        self._output.clear()
        self._eof_to_send = False
