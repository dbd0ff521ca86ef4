"""The compiled head parser and its own source, side by side: no octet may part them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import RemoteProtocolError
from switchover.http import _head, _lines_py
from switchover.http.limits import Limits

try:
    compiled = importlib.import_module("switchover.http._head_c")
    compiled_lines = importlib.import_module("switchover.http._lines")
except ImportError:
    compiled = compiled_lines = None

needs_build = pytest.mark.skipif(
    compiled is None, reason="switchover.http._head_c is not built: run `make build`"
)

LIMITS = Limits(
    method=10,
    target=30,
    request_line=50,
    status_line=30,
    field_line=40,
    field_section=120,
    field_count=5,
    empty_lines=2,
    trailer_section=60,
    trailer_count=3,
)

PARTS = [
    b"GET / HTTP/1.1\r\n",
    b"QUERY /x?y HTTP/1.0\r\n",
    b"GET / HTTP/1.7\r\n",
    b"GET / HTTP/2.0\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 404\r\n",
    b"Host: a.example\r\n",
    b"hOST:b\r\n",
    b"Content-Length: 5\r\n",
    b"transfer-encoding:\tchunked\t\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"X-Other: \xff\x80\r\n",
    b"X : y\r\n",
    b" fold\r\n",
    b":\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"y" * 25,
]

OCTETS = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=10).map(b"".join),
    st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=3)), max_size=10).map(b"".join),
)

ATTRIBUTES = (
    "complete method target version status reason lines names hosts host content_length "
    "transfer_encoding connection expect"
).split()


def outcome(parser_type, kind: int, pieces: list[bytes]) -> list[object]:
    """Everything there is to see of a parser that reads ``pieces``."""
    parser = parser_type(kind, LIMITS, unfold=kind != _head.REQUEST)
    seen: list[object] = []
    for piece in pieces:
        start = 0
        try:
            while start < len(piece):
                start = parser.receive(piece, start)
                seen.append((start, parser.begun()))
                if parser.complete:
                    seen.append([getattr(parser, name) for name in ATTRIBUTES])
                    parser.reset()
        except RemoteProtocolError as error:
            return [*seen, type(error), str(error), error.status, error.rule]
    return [*seen, [getattr(parser, name) for name in ATTRIBUTES]]


@needs_build
@given(OCTETS, st.sampled_from([0, 1, 2]), st.lists(st.integers(0, 300), max_size=5))
def test_both_builds_read_alike(octets, kind, places):
    """SEC-43, RFC 9112 §2: the same results, the same errors, in any pieces."""
    edges = sorted({place % (len(octets) + 1) for place in places} | {0, len(octets)})
    pieces = [octets[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]
    assert outcome(compiled.HeadParser, kind, pieces) == outcome(_head.HeadParser, kind, pieces)


@pytest.mark.parametrize(
    "build", [_head, pytest.param(compiled, marks=needs_build)], ids=["pure", "compiled"]
)
@given(OCTETS, st.sampled_from([0, 1]))
def test_the_short_way_reads_as_the_long_one(build, octets, kind):
    """RFC 9112 §2.2: a head that comes whole, and the same one octet by octet."""
    drops = [octets[place : place + 1] for place in range(len(octets))]
    whole, dropped = (
        outcome(build.HeadParser, kind, [octets]),
        outcome(build.HeadParser, kind, drops),
    )
    assert [x for x in whole if type(x) is not tuple] == [
        x for x in dropped if type(x) is not tuple
    ]


@needs_build
@given(OCTETS | st.binary(max_size=60), st.integers(0, 80), st.sampled_from([0, 20, 100]))
def test_both_builds_cut_heads_alike(octets, start, longest):
    """RFC 9112 §2.1: the same lines, or both leave it to the long way."""
    octets += b"\r\n\r\n"
    start %= len(octets) + 1
    results = []
    for build in (compiled_lines, _lines_py):
        pieces: list[bytes] = []
        end = build.cut_head(octets, start, longest, pieces)
        results.append((end, pieces if end >= 0 else None))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "build", [_lines_py, pytest.param(compiled_lines, marks=needs_build)], ids=["pure", "compiled"]
)
def test_cutting_keeps_to_its_bounds(build):
    """No octet outside what was received is ever looked at."""
    for start in (-1, 4, 2**40):
        with pytest.raises(IndexError):
            build.cut_head(b"abc", start, 10, [])
    for part in (b"", b"\r", b"a\r", b"a\r\n", b"a\r\n\r", b"a\r\nb:\r\n\r"):
        assert build.cut_head(part, 0, 10, []) == -1
    pieces: list[bytes] = []
    assert build.cut_head(b"..a\r\nb: \t \r\nc:\td \r\n\r\nrest", 2, 10, pieces) == 21
    assert pieces == [b"a", b"b", b"", b"c", b"d"]


@pytest.mark.parametrize(
    "module", ["events", "fields", "head", "messages", "server", "targets", "writing"]
)
@pytest.mark.parametrize(
    ("pure", "expected"),
    [("1", "False"), pytest.param("0", "True", marks=needs_build)],
)
def test_the_build_can_be_chosen(pure, expected, module):
    """SWITCHOVER_PURE_PYTHON=1 forces the source; else the compiled build is taken."""
    program = f"from switchover.http.{module} import COMPILED; print(COMPILED)"
    environment = os.environ | {
        "SWITCHOVER_PURE_PYTHON": pure,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == expected


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_small_pieces_take_linear_time(size):
    """SEC-18, RFC 9110 §17.5: a head of the largest size, drop by drop, is read once."""
    limits = Limits()
    value = b"y" * (limits.field_line - 10)
    head = b"GET / HTTP/1.1\r\n" + b"X: " + value + b"\r\nY: " + value + b"\r\n\r\n"
    parser = _head.HeadParser(_head.REQUEST, limits)
    for start in range(0, len(head), size):
        parser.receive(head[start : start + size], 0)
    assert parser.complete
    assert parser.lines == [(b"X", value), (b"Y", value)]
