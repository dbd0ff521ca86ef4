"""A declined upgrade loses nothing: content, pipelined neighbours and order survive.

A POST with content and an Upgrade nobody speaks reaches the application whole, by length
and by chunks, with Expect and without, with requests before and behind it, over every split
of the octets (RFC 9110 §7.8, RFC 9931 §5).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.http.server import ServerConnection
from switchover.testing import feed, replay
from switchover.upgrade import Registry, Upgrade

Site = Callable[..., Any]

REGISTRY = Registry([Upgrade(token="websocket"), Upgrade(token="x", methods={"PUT"})])
BEFORE = b"GET /before HTTP/1.1\r\nHost: h\r\n\r\n"
BEHIND = b"PUT /behind HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


def chunked(content: bytes, size: int) -> bytes:
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def post(content: bytes, *, by_chunks: int, expect: bool, upgrade: bytes = UPGRADE) -> bytes:
    head = b"POST /body HTTP/1.1\r\nHost: h\r\n" + upgrade
    if expect:
        head += b"Expect: 100-continue\r\n"
    if by_chunks:
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(content, by_chunks)
    return head + b"Content-Length: %d\r\n\r\n" % len(content) + content


@pytest.mark.parametrize("by_chunks", [0, 4])
@pytest.mark.parametrize("expect", [False, True])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("behind", [False, True])
def test_over_every_split(
    site: Site, by_chunks: int, expect: bool, before: bool, behind: bool
) -> None:
    """UPG-S-06, UPG-S-13, UPG-S-17, UPG-S-18."""
    content = b"GET /evil HTTP/1.1\r\n"
    octets = post(content, by_chunks=by_chunks, expect=expect)
    expected = [("POST", "/body", content)]
    if before:
        octets, expected = BEFORE + octets, [("GET", "/before", b""), *expected]
    if behind:
        octets, expected = octets + BEHIND, [*expected, ("PUT", "/behind", b"ok")]
    apps: list[Any] = []

    def make() -> ServerConnection:
        apps.append(site(REGISTRY))
        return ServerConnection()

    results = replay(make, octets, react=lambda machine, event: apps[-1](machine, event))
    for result in results:
        assert apps[-1].requests == expected, result.pieces
        assert result.sent.count(b"HTTP/1.1 200") == len(expected)
        assert result.sent.count(b"HTTP/1.1 ") == len(expected) + result.sent.count(b" 100 ")
        assert not result.machine.close_expected()
        assert result.trailing_data == b""


@given(
    content=st.binary(max_size=200),
    by_chunks=st.integers(0, 50),
    expect=st.booleans(),
    upgrade=st.sampled_from(
        [
            UPGRADE,
            b"Upgrade: websocket\r\n",
            b"Connection: upgrade\r\n",
            b"Connection: close\r\nConnection: upgrade\r\nUpgrade: foo/1\r\n",
            b"Connection: upgrade\r\nUpgrade: websocket, x\r\n",
        ]
    ),
    neighbours=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    cuts=st.lists(st.integers(1, 500), max_size=12),
)
def test_over_any_split(
    site: Site,
    content: bytes,
    by_chunks: int,
    expect: bool,
    upgrade: bytes,
    neighbours: tuple[int, int],
    cuts: list[int],
) -> None:
    """UPG-S-06, UPG-S-13, UPG-S-17, UPG-S-18: any content, any number of cuts."""
    octets = BEFORE * neighbours[0] + post(
        content, by_chunks=by_chunks, expect=expect, upgrade=upgrade
    )
    expected = [("GET", "/before", b"")] * neighbours[0] + [("POST", "/body", content)]
    if b"close" not in upgrade:
        expected += [("PUT", "/behind", b"ok")] * neighbours[1]
    octets += BEHIND * neighbours[1]
    edges = [0, *sorted({cut for cut in cuts if cut < len(octets)}), len(octets)]
    pieces = [octets[a:b] for a, b in pairwise(edges)]
    app = site(REGISTRY)
    result = feed(ServerConnection(), pieces, react=app)
    assert app.requests == expected
    assert result.sent.count(b"HTTP/1.1 200") == len(expected)
