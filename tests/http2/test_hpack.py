"""HPACK (RFC 7541): the examples of its appendix, its errors, and another implementation."""

from __future__ import annotations

import os
from typing import Any

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st

from switchover.http2 import _hpack
from switchover.http2 import hpack as seam
from switchover.http2.hpack_tables import HUFFMAN_CODES, HUFFMAN_LENGTHS, STATIC_TABLE

try:
    from switchover.http2 import _hpack_c
except ImportError:
    _hpack_c = None

BUILDS = [build for build in (_hpack, _hpack_c) if build is not None]


@pytest.fixture(params=BUILDS, ids=lambda build: build.__name__.rpartition(".")[2])
def build(request: pytest.FixtureRequest) -> Any:
    """Each build there is: the Python source, and the same compiled."""
    return request.param


def decoder(build: Any, size: int = 65536, count: int = 100) -> Any:
    return build.Decoder(size, count)


def test_the_compiled_build_is_taken_where_there_is_one() -> None:
    wanted = _hpack_c is not None and os.environ.get("SWITCHOVER_PURE_PYTHON") != "1"
    assert seam.COMPILED is wanted
    assert seam.Decoder is (_hpack_c if wanted else _hpack).Decoder


def test_static_table_is_that_of_appendix_a() -> None:
    """RFC 7541 Appendix A, by another implementation's copy."""
    assert STATIC_TABLE[1:] == tuple(HeaderTable.STATIC_TABLE)


def test_huffman_code_is_that_of_appendix_b() -> None:
    """RFC 7541 Appendix B, by another implementation's copy."""
    assert list(HUFFMAN_CODES) == REQUEST_CODES
    assert list(HUFFMAN_LENGTHS) == REQUEST_CODES_LENGTH


@pytest.mark.parametrize(
    ("blocks", "sections"),
    [
        pytest.param(  # C.3
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            ["http / www.example.com", "no-cache", "custom-value"],
            id="without Huffman",
        ),
        pytest.param(  # C.4
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            ["http / www.example.com", "no-cache", "custom-value"],
            id="with Huffman",
        ),
    ],
)
def test_request_examples_of_appendix_c(build: Any, blocks: list[str], sections: list[str]) -> None:
    """RFC 7541 C.3, C.4: three requests on one connection."""
    decode = decoder(build).decode
    first = decode(bytes.fromhex(blocks[0]))
    assert first == [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
    ]
    second = decode(bytes.fromhex(blocks[1]))
    assert second == [*first, (b"cache-control", b"no-cache")]
    third = decode(bytes.fromhex(blocks[2]))
    assert third == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ]


def test_integer_example_of_appendix_c(build: Any) -> None:
    """RFC 7541 C.1.2: 1337 with a 5-bit prefix; here the size of the table."""
    assert decoder(build).decode(bytes.fromhex("3f9a0a82")) == [(b":method", b"GET")]


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("80", "index 0"),
        ("be", "no entry"),
        ("ff80808080800a", "too many octets"),
        ("ffffffff7f", "too large"),
        ("ff", "within an integer"),
        ("ff80", "within an integer"),
        ("40", "before a string"),
        ("4003616263", "before a string"),
        ("400561", "within a string"),
        ("82203f", "behind a field line"),
        ("3fe21f", "larger than we allow"),
        ("4081ff00", "padded wrongly"),  # eight bits of padding
        ("40811800", "padded wrongly"),  # padding with zeros
        ("4084ffffffff00", "EOS"),
        ("4085f8ffffffff00", "EOS"),
    ],
)
def test_what_is_no_field_section_is_an_error(build: Any, block: str, why: str) -> None:
    """RFC 7541 §2.3.3, §4.2, §5.1, §5.2, §6.1, §6.3."""
    with pytest.raises(build.HPACKError, match=why):
        decoder(build).decode(bytes.fromhex(block))


def test_entry_larger_than_the_table_empties_it(build: Any) -> None:
    """RFC 7541 §4.4: and is no error."""
    one = decoder(build)
    one.decode(bytes.fromhex("400161" + "0162"))
    large = b"\x40\x01a\x7f" + bytes([0x80 | (5000 - 127) & 0x7F, (5000 - 127) >> 7]) + b"x" * 5000
    assert one.decode(large) == [(b"a", b"x" * 5000)]
    with pytest.raises(build.HPACKError):
        one.decode(b"\xbe")


def test_table_shrinks_and_evicts_the_oldest(build: Any) -> None:
    """RFC 7541 §4.3."""
    one = decoder(build)
    one.decode(bytes.fromhex("400161" + "0162" + "400163" + "0164"))
    assert one.decode(bytes.fromhex("3f03" + "be")) == [(b"c", b"d")]  # 34 octets: one entry
    with pytest.raises(build.HPACKError):
        one.decode(b"\xbf")


@pytest.mark.parametrize(("size", "count"), [(100, 100), (65536, 2)])
def test_section_over_a_limit_leaves_the_table_in_step(build: Any, size: int, count: int) -> None:
    """SEC-28: nothing of it is kept, yet what follows is decoded rightly."""
    one, encoder = decoder(build, size, count), hpack.Encoder()
    many = [(b"n%d" % number, b"value") for number in range(5)]
    assert one.decode(encoder.encode(many)) is None
    assert one.decode(encoder.encode(many[-1:])) == many[-1:]


def test_header_bomb_is_decoded_without_being_kept(build: Any) -> None:
    """SEC-28: an indexed entry of 4000 octets named 10 000 times in 10 000 octets."""
    one = decoder(build)
    value = b"x" * 4000
    length = len(value) - 127
    bomb = b"\x40\x01a\x7f" + bytes([length & 0x7F | 0x80, length >> 7]) + value + b"\xbe" * 10_000
    assert one.decode(bomb) is None


TEXT = st.binary(max_size=40) | st.sampled_from([b"", b"no-cache", b"text/plain", b"gzip"])
LINES = st.lists(
    st.tuples(st.sampled_from([b"a", b":path", b"cookie", b"content-type", b"x-long-name"]), TEXT),
    max_size=8,
)


@given(st.binary(max_size=200))
def test_huffman_there_and_back(octets: bytes) -> None:
    """RFC 7541 §5.2."""
    packed = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(octets)
    for build in BUILDS:
        assert build.huffman_encode(octets) == packed
        assert build.huffman_decode(packed) == octets


@settings(deadline=None)
@given(st.lists(st.tuples(LINES, st.booleans()), max_size=12))
def test_decodes_what_another_encoder_makes(sections: list[tuple[list, bool]]) -> None:
    """RFC 7541, against the hpack library."""
    ours, other = [decoder(build) for build in BUILDS], hpack.Encoder()
    for lines, huffman in sections:
        block = other.encode(lines, huffman=huffman)
        assert [one.decode(block) for one in ours] == [lines] * len(ours)


@settings(deadline=None)
@given(st.lists(st.tuples(LINES, st.none() | st.sampled_from([0, 60, 100, 4096])), max_size=12))
def test_another_decoder_understands_what_is_encoded(sections: list) -> None:
    """RFC 7541, against the hpack library; table sizes change in between (§4.2)."""
    ours, other = [build.Encoder() for build in BUILDS], hpack.Decoder()
    for lines, size in sections:
        if size is not None:
            for one in ours:
                one.resize(size)
        blocks = {one.encode(lines) for one in ours}
        assert len(blocks) == 1, "both builds write the same octets"
        got = [(bytes(n), bytes(v)) for n, v in other.decode(blocks.pop(), raw=True)]
        assert got == lines


def outcome(build: Any, octets: bytes) -> Any:
    try:
        return decoder(build, 300, 10).decode(octets)
    except build.HPACKError as error:
        return str(error)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
def test_arbitrary_octets_decode_or_are_refused(octets: bytes) -> None:
    """RFC 7541 §3.1: no other way out, the same in both builds; and another decoder agrees."""
    outcomes = [outcome(build, octets) for build in BUILDS]
    assert all(one == outcomes[0] for one in outcomes)
    if isinstance(outcomes[0], list):
        lines = hpack.Decoder().decode(octets, raw=True)
        assert outcomes[0] == [(bytes(n), bytes(v)) for n, v in lines]


def test_both_smallest_and_last_table_size_are_signalled(build: Any) -> None:
    """RFC 7541 §4.2: after several changes, the smallest and then the last."""
    one = build.Encoder()
    one.encode([(b"a", b"b")])
    one.resize(0)
    one.resize(200)
    assert one.encode([(b"a", b"b")]).startswith(b"\x20\x3f\xa9\x01\x40")


def test_unchanged_table_size_is_not_signalled(build: Any) -> None:
    one = build.Encoder()
    one.resize(65536)
    assert one.encode([(b":method", b"GET")]) == b"\x82"


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"set-cookie"])
def test_secrets_are_never_indexed(build: Any, name: bytes) -> None:
    """RFC 7541 §7.1.3: a literal that no hop may put into a table."""
    one = build.Encoder()
    first = one.encode([(name, b"secret")])
    assert first[0] & 0xF0 == 0x10
    assert one.encode([(name, b"secret")]) == first


def test_repeated_fields_cost_an_octet(build: Any) -> None:
    one = build.Encoder()
    one.encode([(b"date", b"Fri, 20 Nov 2026 10:00:00 GMT")])
    assert len(one.encode([(b"date", b"Fri, 20 Nov 2026 10:00:00 GMT")])) == 1
