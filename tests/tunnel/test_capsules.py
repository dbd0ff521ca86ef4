"""Capsules: RFC 9297 §3; the integers of RFC 9000 §16."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.events import Failed
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.testing import every_split
from switchover.tunnel.capsules import (
    CAPSULE_PROTOCOL,
    Capsule,
    CapsuleEvent,
    CapsuleParser,
    CapsulePart,
    OversizedCapsule,
    check_capsule_request,
    check_capsule_response,
    encode_capsule,
    encode_varint,
    read_varint,
    uses_capsules,
)


def parse(octets: bytes, *, eof: bool = False, **arguments: object) -> list[CapsuleEvent]:
    """Parse over every split, see that nothing depends on it, and return the events."""
    expected: list[object] | None = None
    result: list[CapsuleEvent] = []
    for pieces in every_split(octets):
        parser = CapsuleParser(**arguments)  # type: ignore[arg-type]
        for piece in pieces:
            parser.receive_data(piece)
        if eof:
            parser.receive_eof()
        events = parser.events_received()
        assert parser.events_received() == []
        comparable = [str(e.error) if isinstance(e, Failed) else e for e in joined(events)]
        if expected is None:
            expected, result = comparable, joined(events)
        assert comparable == expected, pieces
    return result


def joined(events: list[CapsuleEvent]) -> list[CapsuleEvent]:
    """Put the parts of one capsule together."""
    result: list[CapsuleEvent] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, CapsulePart) and isinstance(last, CapsulePart) and not last.end:
            result[-1] = CapsulePart(event.type, last.data + event.data, event.end)
        else:
            result.append(event)
    return result


# Integers.


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
        ("4025", 37),
        ("00", 0),
        ("ffffffffffffffff", 2**62 - 1),
    ],
)
def test_the_integers_of_the_standard(octets: str, value: int) -> None:
    """CAP-01: the examples of RFC 9000 §A.1, one of them not in its shortest form."""
    data = bytes.fromhex(octets)
    assert read_varint(data) == (value, len(data))
    assert read_varint(b"\xff" + data, 1) == (value, len(data) + 1)
    for size in range(len(data)):
        assert read_varint(data[:size]) is None


@given(st.integers(0, 2**62 - 1))
def test_integers_are_written_as_they_are_read(value: int) -> None:
    data = encode_varint(value)
    assert read_varint(data) == (value, len(data))
    assert len(data) == 1 or value >= 1 << (4 * len(data) - 2)


@pytest.mark.parametrize("value", [-1, 2**62])
def test_integers_have_bounds(value: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_varint(value)
    with pytest.raises(LocalProtocolError):
        encode_capsule(value, b"")


# Parsing.


@pytest.mark.parametrize(
    "octets",
    ["0003006162", "400040030061 62", "80000000 8000000300 6162", "00c000000000000003006162"],
)
def test_integers_need_not_be_short(octets: str) -> None:
    """CAP-01: the same datagram."""
    assert parse(bytes.fromhex(octets), eof=True) == [Capsule(0, b"\x00ab")]


def test_unknown_types_are_skipped() -> None:
    """CAP-02."""
    octets = encode_capsule(0x17, b"x" * 40) + encode_capsule(2**40, b"") + b"\x00\x02hi"
    assert parse(octets, eof=True) == [Capsule(0, b"hi")]


def test_an_unknown_value_passes_by_unread() -> None:
    """CAP-02, CAP-11: 1 MiB of an unknown type, then a datagram; memory stays flat."""
    parser = CapsuleParser()
    parser.receive_data(encode_varint(0x17) + encode_varint(1 << 20))
    block = b"x" * 4096
    tracemalloc.start()
    for _ in range(256):
        parser.receive_data(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    parser.receive_data(b"\x00\x02hi")
    assert parser.events_received() == [Capsule(0, b"hi")]
    assert peak < 64 * 1024


def test_a_length_beyond_reason_is_not_waited_for() -> None:
    """CAP-11, SEC-15: DATAGRAM of 2^40 octets; told at once, and skipped in flat memory."""
    parser = CapsuleParser(max_value=100)
    parser.receive_data(b"\x00" + encode_varint(2**40) + b"\x00abcdefg")
    assert parser.events_received() == [OversizedCapsule(0, 2**40, b"\x00abcdefg")]
    tracemalloc.start()
    for _ in range(256):
        parser.receive_data(b"x" * 4096)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert parser.events_received() == []
    assert peak < 64 * 1024


@pytest.mark.parametrize("size", [4, 8, 9, 30])
def test_a_value_over_the_limit_is_reported_and_skipped(size: int) -> None:
    """CAP-11."""
    value = bytes(range(size))
    octets = encode_capsule(0, value) + encode_capsule(0, b"ok")
    assert parse(octets, eof=True, max_value=3) == [
        OversizedCapsule(0, size, value[:8]),
        Capsule(0, b"ok"),
    ]


def test_values_up_to_the_limit_are_whole() -> None:
    assert parse(encode_capsule(0, b"abc"), max_value=3) == [Capsule(0, b"abc")]


def test_streamed_types_go_out_as_they_come() -> None:
    """CAP-11: without waiting for the rest of the capsule."""
    octets = encode_capsule(5, b"hello") + encode_capsule(5, b"") + encode_capsule(0, b"d")
    assert parse(octets, eof=True, streamed=(5,), max_value=2) == [
        CapsulePart(5, b"hello", end=True),
        CapsulePart(5, b"", end=True),
        Capsule(0, b"d"),
    ]
    parser = CapsuleParser(streamed=(5,))
    parser.receive_data(b"\x05\x05he")
    assert parser.events_received() == [CapsulePart(5, b"he", end=False)]


@pytest.mark.parametrize("octets", ["00", "40", "0005", "000561", "000561626364", "171000", "00c0"])
def test_an_end_inside_a_capsule(octets: str) -> None:
    """CAP-05, CAP-06: an error, not a clean close."""
    for arguments in ({}, {"streamed": (0,), "types": ()}, {"max_value": 1}):
        events = parse(bytes.fromhex(octets), eof=True, **arguments)
        failed = events[-1]
        assert isinstance(failed, Failed)
        assert failed.error.rule == "RFC 9297 §3.3"
        assert not any(isinstance(event, Capsule) for event in events)


def test_an_end_between_capsules_is_clean() -> None:
    """CAP-06."""
    assert parse(b"", eof=True) == []
    assert parse(encode_capsule(0, b""), eof=True) == [Capsule(0, b"")]


def test_nothing_is_read_after_a_failure() -> None:
    """CAP-05, SEC-43."""
    parser = CapsuleParser()
    parser.fail(RemoteProtocolError("a bad inner field"))
    parser.fail(RemoteProtocolError("again"))
    parser.receive_data(b"\x00\x02hi")
    parser.receive_eof()
    (event,) = parser.events_received()
    assert isinstance(event, Failed)


capsules = st.lists(
    st.tuples(st.sampled_from([0, 1, 5, 0x17, 2**40]), st.binary(max_size=30)), max_size=6
)


@given(sent=capsules, cuts=st.lists(st.integers(0, 200), max_size=8), limit=st.integers(0, 30))
def test_any_split_gives_the_same_capsules(
    sent: list[tuple[int, bytes]], cuts: list[int], limit: int
) -> None:
    """CAP-01, CAP-02, CAP-11: and writing and reading are inverse."""
    octets = b"".join(encode_capsule(kind, value) for kind, value in sent)
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    parser = CapsuleParser(types=(0, 1), streamed=(5,), max_value=limit)
    for a, b in pairwise(edges):
        parser.receive_data(bytearray(octets[a:b]))
    parser.receive_eof()
    expected: list[CapsuleEvent] = []
    for kind, value in sent:
        if kind == 5:
            expected.append(CapsulePart(5, value, end=True))
        elif kind in (0, 1) and len(value) <= limit:
            expected.append(Capsule(kind, value))
        elif kind in (0, 1):
            expected.append(OversizedCapsule(kind, len(value), value[:8]))
    assert joined(parser.events_received()) == expected


@given(st.binary(max_size=60))
def test_any_octets_are_capsules_or_an_error(octets: bytes) -> None:
    parser = CapsuleParser(max_value=8)
    parser.receive_data(octets)
    parser.receive_eof()
    parser.events_received()


# The messages ahead of them.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["?1"], True),
        (["?1;x=y"], True),
        ([" ?1 "], True),
        (['?1; x="a;\\"b";y;z=?0;w=:YQ==:; v=-1.5'], True),
        (["?0"], False),
        (["1"], False),
        (['"?1"'], False),
        (["?1", "?1"], False),
        (["?1, ?1"], False),
        (["?1 ;x"], False),
        (["?1;"], False),
        (["?1;X=1"], False),
        (["?1;x="], False),
        (["?2"], False),
        (["?true"], False),
        (["(?1)"], False),
        ([""], False),
        ([], False),
    ],
)
def test_the_field_is_a_boolean(values: list[str], expected: bool) -> None:
    """CAP-07: other types and repeats count as absent; parameters are ignored."""
    fields = Fields([("capsule-protocol", value) for value in values])
    assert uses_capsules(fields) is expected


def test_our_field_says_so() -> None:
    assert uses_capsules(Fields([CAPSULE_PROTOCOL]))


@pytest.mark.parametrize("status", [101, 200, 201, 299])
def test_capsules_begin_behind_101_and_2xx(status: int) -> None:
    """CAP-03, CAP-08."""
    check_capsule_response(Response(status, Fields([CAPSULE_PROTOCOL])))


@pytest.mark.parametrize("status", [100, 103, 204, 205, 206, 300, 403, 500])
def test_and_behind_nothing_else(status: int) -> None:
    """CAP-03, CAP-04: a 4xx is plain HTTP; 204, 205 and 206 are malformed with capsules."""
    with pytest.raises(RemoteProtocolError):
        check_capsule_response(Response(status))


@pytest.mark.parametrize("name", ["Content-Length", "content-type", "Transfer-Encoding"])
def test_no_content_beside_capsules(name: str) -> None:
    """CAP-04: a zero length is one too many."""
    fields = Fields([(name, "0")])
    with pytest.raises(RemoteProtocolError) as caught:
        check_capsule_request(Request("GET", "/", fields))
    assert caught.value.status == 400
    with pytest.raises(RemoteProtocolError):
        check_capsule_response(Response(101, fields))
