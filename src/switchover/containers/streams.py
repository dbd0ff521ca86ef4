"""Docker's framing of a container's streams in one stream of octets; sans-I/O.

Without a terminal, what an engine sends after ``Upgrade: tcp`` is a series of frames: a
header of eight octets, then so many octets of one stream (Docker Engine API,
"ContainerAttach", *Stream format*)::

    header = STREAM_TYPE 0 0 0 SIZE1 SIZE2 SIZE3 SIZE4      ; the size big-endian

With a terminal there is only one stream, and it comes as it is. What a client sends is
never framed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from switchover.errors import RemoteProtocolError

__all__ = ["Demultiplexer", "Output", "Stream", "frame"]

_HEADER = 8
_MAX_SIZE = 2**32 - 1
_RULE = "Docker Engine API, ContainerAttach, Stream format"


class Stream(enum.IntEnum):
    """Which of a container's streams; the numbers are those of the frames."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    #: An error of the engine itself, as text.
    SYSTEM = 3


@dataclass(frozen=True, slots=True)
class Output:
    """Some octets of one stream."""

    stream: Stream
    data: bytes


def frame(stream: Stream, data: bytes) -> bytes:
    """Return ``data`` as one frame of ``stream``.

    Raises :class:`ValueError` for more octets than a size of 32 bits can say.
    """
    if len(data) > _MAX_SIZE:
        raise ValueError("a frame holds at most 2**32 - 1 octets")
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data


class Demultiplexer:
    """Takes the frames apart; its face is that of the other machines.

    A frame's octets are passed on as they come, not collected: memory stays flat whatever
    the size says. Cutting the same octets otherwise changes the pieces, nothing else.
    """

    __slots__ = ("_events", "_header", "_left", "_stream")

    def __init__(self) -> None:
        self._header = b""
        self._stream = Stream.STDOUT
        self._left = 0
        self._events: list[Output] = []

    def receive_data(self, data: bytes) -> None:
        """Take octets from the engine.

        Raises :class:`RemoteProtocolError` for what is no frame; the usual cause is a
        terminal, whose output is not framed.
        """
        start = 0
        while start < len(data):
            if self._left:
                piece = data[start : start + self._left]
                self._left -= len(piece)
                self._events.append(Output(self._stream, piece))
            else:
                piece = data[start : start + _HEADER - len(self._header)]
                self._header += piece
                if len(self._header) == _HEADER:
                    self._begin_frame()
            start += len(piece)

    def _begin_frame(self) -> None:
        header, self._header = self._header, b""
        if header[0] > Stream.SYSTEM or any(header[1:4]):
            raise RemoteProtocolError(
                f"{header!r} does not begin a frame; does the container have a terminal?",
                rule=_RULE,
            )
        self._stream = Stream(header[0])
        self._left = int.from_bytes(header[4:], "big")

    def receive_eof(self) -> None:
        """Take note of the end; raises :class:`RemoteProtocolError` inside a frame."""
        if self._header or self._left:
            raise RemoteProtocolError("the stream ended inside a frame", rule=_RULE)

    def events_received(self) -> list[Output]:
        """Return the pieces that have come since the last call."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        """Return nothing: there is nothing to say to an engine about its frames."""
        return []
