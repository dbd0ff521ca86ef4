"""Docker's frames: octets in, pieces of streams out (Docker Engine API, Stream format)."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.containers.streams import Demultiplexer, Output, Stream, frame
from switchover.errors import RemoteProtocolError
from switchover.testing import feed, replay

# As podman 4.3.1 answered `sh -c 'echo out; echo err >&2'`.
CAPTURED = b"\x01\x00\x00\x00\x00\x00\x00\x04out\n\x02\x00\x00\x00\x00\x00\x00\x04err\n"


def joined(outputs: list[Output]) -> list[tuple[Stream, bytes]]:
    """What was said, with neighbouring pieces of one stream put together."""
    groups = groupby(outputs, lambda output: output.stream)
    return [(stream, b"".join(piece.data for piece in pieces)) for stream, pieces in groups]


def test_what_an_engine_sent_comes_apart_wherever_it_is_cut() -> None:
    """The header too may come in pieces, down to single octets."""
    for result in replay(Demultiplexer, CAPTURED, eof=True):
        assert joined(result.events) == [(Stream.STDOUT, b"out\n"), (Stream.STDERR, b"err\n")]


@given(
    st.lists(st.tuples(st.sampled_from(Stream), st.binary(max_size=40)), max_size=8),
    st.lists(st.integers(1, 30), max_size=40),
)
def test_any_chunking_of_any_frames_gives_the_same(
    frames: list[tuple[Stream, bytes]], sizes: list[int]
) -> None:
    octets = b"".join(frame(stream, data) for stream, data in frames)
    pieces, start = [], 0
    for size in sizes:
        pieces.append(octets[start : start + size])
        start += size
    pieces.append(octets[start:])
    said = [Output(stream, data) for stream, data in frames if data]
    assert joined(feed(Demultiplexer(), pieces, eof=True).events) == joined(said)


def test_a_frame_says_its_stream_and_its_size() -> None:
    assert frame(Stream.STDERR, b"x" * 258) == b"\x02\0\0\0\0\0\x01\x02" + b"x" * 258
    assert frame(Stream.STDOUT, b"") == b"\x01\0\0\0\0\0\0\0"


def test_a_large_frame_is_passed_on_as_it_comes() -> None:
    """Nothing waits for the end of four gigabytes: memory stays flat."""
    demultiplexer = Demultiplexer()
    demultiplexer.receive_data(b"\x01\0\0\0\xff\xff\xff\xff")
    for _ in range(3):
        demultiplexer.receive_data(b"a" * 1000)
        assert demultiplexer.events_received() == [Output(Stream.STDOUT, b"a" * 1000)]


@pytest.mark.parametrize(
    "octets", [b"$ ls -l /", b"\x04\0\0\0\0\0\0\x01", b"\x01\0\0\x01\0\0\0\x01"]
)
def test_what_is_no_header_is_not_taken_for_one(octets: bytes) -> None:
    """The output of a terminal comes without frames; the fault says so."""
    with pytest.raises(RemoteProtocolError, match="terminal"):
        Demultiplexer().receive_data(octets)


@pytest.mark.parametrize("cut", range(1, 12))
def test_an_end_inside_a_frame_is_a_fault(cut: int) -> None:
    demultiplexer = Demultiplexer()
    demultiplexer.receive_data(CAPTURED[:cut])
    with pytest.raises(RemoteProtocolError, match="inside a frame"):
        demultiplexer.receive_eof()


def test_an_end_between_frames_is_none() -> None:
    demultiplexer = Demultiplexer()
    demultiplexer.receive_data(CAPTURED[:12])
    demultiplexer.receive_eof()
    assert demultiplexer.events_received() == [Output(Stream.STDOUT, b"out\n")]
    assert demultiplexer.data_to_send() == []
