"""A peer made by hand of frames, for both ends: what it sends and gets is octets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from switchover.http2 import PREFACE, ClientConnection, ServerConnection
from switchover.http2.events import StreamEvent

GET = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"example.com"),
    (b":path", b"/"),
]


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """The other end of ``machine``: sends frames, reads the frames that come back."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self._octets = b""
        #: The bodies of the field sections received, by stream, in order.
        self.sections: dict[int, list[list[tuple[bytes, bytes]]]] = {}

    # What it sends.

    def settings(self, values: dict[int, int] | None = None, *, ack: bool = False) -> bytes:
        frame = SettingsFrame(0, settings=values or {})
        if ack:
            frame.flags.add("ACK")
        return frame.serialize()

    def headers(
        self, stream_id: int, lines: list[tuple[bytes, bytes]], *, end: bool = False
    ) -> bytes:
        frame = HeadersFrame(stream_id, self.encoder.encode(lines))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    def get(self, stream_id: int, *more: tuple[bytes, bytes]) -> bytes:
        return self.headers(stream_id, [*GET, *more], end=True)

    def post(self, stream_id: int, *more: tuple[bytes, bytes]) -> bytes:
        return self.headers(stream_id, [(b":method", b"POST"), *GET[1:], *more])

    def data(self, stream_id: int, octets: bytes = b"", *, end: bool = False) -> bytes:
        frame = DataFrame(stream_id, octets)
        if end:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    def window(self, stream_id: int, increment: int) -> bytes:
        # Not hyperframe's: it refuses the increments that are to be tested.
        return self.raw(8, 0, stream_id, increment.to_bytes(4, "big"))

    def rst(self, stream_id: int, code: int = 8) -> bytes:
        return RstStreamFrame(stream_id, code).serialize()

    def ping(self, octets: bytes = b"12345678", *, ack: bool = False) -> bytes:
        frame = PingFrame(0, octets)
        if ack:
            frame.flags.add("ACK")
        return frame.serialize()

    def goaway(self, last: int = 0, code: int = 0, debug: bytes = b"") -> bytes:
        return GoAwayFrame(0, last, code, debug).serialize()

    def priority(self, stream_id: int, depends_on: int = 0) -> bytes:
        return PriorityFrame(stream_id, depends_on=depends_on).serialize()

    def continuation(self, stream_id: int, block: bytes, *, end: bool = True) -> bytes:
        frame = ContinuationFrame(stream_id, block)
        if end:
            frame.flags.add("END_HEADERS")
        return frame.serialize()

    @staticmethod
    def raw(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
        return head + stream_id.to_bytes(4, "big") + payload

    def send(self, *octets: bytes) -> list[Any]:
        """Give octets to the machine, and return the events they caused."""
        self.machine.receive_data(b"".join(octets))
        return self.machine.events_received()

    def send_on_streams(self, *octets: bytes) -> list[tuple[int, Any]]:
        """Like ``send``, but only what happened on streams."""
        events = self.send(*octets)
        return [(e.stream_id, e.event) for e in events if isinstance(e, StreamEvent)]

    # What it gets.

    def frames(self) -> list[Frame]:
        """Return the frames that the machine has sent since the last call."""
        self._octets += b"".join(self.machine.data_to_send())
        self._octets = self._octets.removeprefix(PREFACE)
        frames = []
        while len(self._octets) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._octets[:9]))
            frame.parse_body(memoryview(self._octets[9 : 9 + length]))
            self._octets = self._octets[9 + length :]
            if isinstance(frame, HeadersFrame):
                lines = self.decoder.decode(frame.data, raw=True)
                section = [(bytes(name), bytes(value)) for name, value in lines]
                self.sections.setdefault(frame.stream_id, []).append(section)
            frames.append(frame)
        return frames

    def kinds(self) -> list[str]:
        """Return the types of the frames sent since the last call."""
        return [type(frame).__name__.removesuffix("Frame") for frame in self.frames()]

    def resets(self) -> list[tuple[int, int]]:
        """Return streams and codes of the RST_STREAM frames sent since the last call."""
        frames = self.frames()
        return [(f.stream_id, f.error_code) for f in frames if isinstance(f, RstStreamFrame)]

    def end(self) -> int | None:
        """Return the code of the GOAWAY sent since the last call."""
        codes = [f.error_code for f in self.frames() if isinstance(f, GoAwayFrame)]
        return codes[-1] if codes else None

    def content(self, stream_id: int) -> bytes:
        """Return the content sent on a stream since the last call."""
        frames = self.frames()
        return b"".join(
            f.data for f in frames if isinstance(f, DataFrame) and f.stream_id == stream_id
        )

    def increments(self) -> dict[int, int]:
        """Return what has been granted since the last call, by stream."""
        granted: dict[int, int] = {}
        for frame in self.frames():
            if isinstance(frame, WindowUpdateFrame):
                before = granted.get(frame.stream_id, 0)
                granted[frame.stream_id] = before + frame.window_increment
        return granted


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_server(clock: Clock) -> Callable[..., Peer]:
    """Make a server machine, and a client to talk to it; their settings are exchanged."""

    def make(*, greet: dict[int, int] | None = None, **options: Any) -> Peer:
        peer = Peer(ServerConnection(clock=clock, **options))
        peer.send(PREFACE, peer.settings(greet), peer.settings(ack=True))
        peer.frames()
        return peer

    return make


@pytest.fixture
def client(new_server: Callable[..., Peer]) -> Peer:
    """A client made by hand, at a server machine with the usual settings."""
    return new_server()


@pytest.fixture
def raw_client(clock: Clock) -> Peer:
    """A client made by hand that has not sent anything yet."""
    return Peer(ServerConnection(clock=clock))


@pytest.fixture
def new_client(clock: Clock) -> Callable[..., Peer]:
    """Make a client machine, and a server to talk to it; their settings are exchanged."""

    def make(*, greet: dict[int, int] | None = None, **options: Any) -> Peer:
        peer = Peer(ClientConnection(clock=clock, **options))
        peer.frames()
        peer.send(peer.settings(greet), peer.settings(ack=True))
        peer.frames()
        return peer

    return make


@pytest.fixture
def server(new_client: Callable[..., Peer]) -> Peer:
    """A server made by hand, at a client machine with the usual settings."""
    return new_client()
