"""The seam: what an HTTP/2 engine is to the machines above it.

The engine carries frames, field compression and windows (RFC 9113 §4 to §6, RFC 7541); the
machines give them their meaning (§8). Nothing else of the package imports the engine's
modules, so that another one can stand behind these names.
"""

from __future__ import annotations

from typing import Protocol

from switchover.errors import RemoteProtocolError
from switchover.http2._engine import Engine
from switchover.http2._faults import ConnectionFault, StreamFault
from switchover.http2.frames import Stream

__all__ = ["ConnectionFault", "Engine", "Receiver", "Stream", "StreamFault"]


class Receiver(Protocol):
    """What an engine tells, in the order in which it happened.

    The first two may raise :class:`StreamFault`: the engine ends the stream with its code and
    comes back with :meth:`stream_failed`.
    """

    def headers_received(
        self, stream: Stream, lines: list[tuple[bytes, bytes]] | None, *, end: bool
    ) -> None:
        """Take a field section; ``lines`` is ``None`` if it exceeds the limits."""

    def data_received(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Take content; its octets count against the windows until acknowledged."""

    def stream_reset(self, stream: Stream, code: int) -> None:
        """Learn that the peer has reset a stream, which is gone."""

    def stream_failed(self, stream: Stream, error: RemoteProtocolError, code: int) -> None:
        """Learn that the engine has reset a stream for a fault of the peer."""

    def window_opened(self, stream: Stream) -> None:
        """Learn that a stream whose content waited may send some."""

    def settings_received(self) -> None:
        """Learn that the peer's settings have changed."""

    def goaway_received(self, last: int, code: int, debug: bytes) -> None:
        """Learn that the peer processes no stream above ``last``."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """Learn that our PING has come back."""

    def connection_failed(self, error: RemoteProtocolError, code: int) -> None:
        """Learn that the connection has ended for a fault of the peer."""
