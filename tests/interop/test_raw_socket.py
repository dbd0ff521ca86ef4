"""``shout/1`` by hand: a socket, and the octets of RFC 9110 §7.8."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

OFFER = b"GET /shout HTTP/1.1\r\nHost: demonstration\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"


@pytest.fixture
def dial(demonstration: str) -> Iterator[Callable[[], socket.socket]]:
    host, _, port = demonstration.partition(":")
    dialled: list[socket.socket] = []

    def connect() -> socket.socket:
        dialled.append(socket.create_connection((host, int(port)), timeout=10))
        return dialled[-1]

    yield connect
    for one in dialled:
        one.close()


def read_until(stream: socket.socket, mark: bytes, seen: bytes = b"") -> tuple[bytes, bytes]:
    while mark not in seen:
        piece = stream.recv(65536)
        assert piece, f"the connection ended after {seen!r}"
        seen += piece
    before, _, after = seen.partition(mark)
    return before, after


def read_to_the_end(stream: socket.socket, seen: bytes = b"") -> bytes:
    while piece := stream.recv(65536):
        seen += piece
    return seen


def test_shout_with_octets_in_the_same_segment_and_a_half_close(
    dial: Callable[[], socket.socket],
) -> None:
    stream = dial()
    stream.sendall(OFFER % b"shout/1" + b"glued to the head, ")
    head, rest = read_until(stream, b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"upgrade: shout/1" in head.lower()
    stream.sendall(b"then \xe4 more")
    stream.shutdown(socket.SHUT_WR)
    assert read_to_the_end(stream, rest) == b"GLUED TO THE HEAD, THEN \xe4 MORE"


@pytest.mark.parametrize("offer", [b"loud/9, shout/1", b"SHOUT/1", b"shout/1, loud/9"])
def test_shout_among_others(dial: Callable[[], socket.socket], offer: bytes) -> None:
    stream = dial()
    stream.sendall(OFFER % offer + b"x")
    head, rest = read_until(stream, b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    stream.shutdown(socket.SHUT_WR)
    assert read_to_the_end(stream, rest) == b"X"


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param((OFFER % b"shout/1").replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param((OFFER % b"shout/1").replace(b"Connection: Upgrade\r\n", b""), id="no option"),
        pytest.param(OFFER % b"shout/2", id="another version"),
        pytest.param(OFFER % b"loud/9", id="another token"),
        pytest.param((OFFER % b"shout/1").replace(b"/shout", b"/plain"), id="another path"),
    ],
)
def test_no_switch(dial: Callable[[], socket.socket], octets: bytes) -> None:
    """UPG-S-02: without all conditions, the request is answered as if nothing was offered."""
    stream = dial()
    stream.sendall(octets)
    head, _ = read_until(stream, b"\r\n\r\n")
    assert not head.startswith(b"HTTP/1.1 101")


def test_what_is_pipelined_behind_a_declined_offer_is_served(
    dial: Callable[[], socket.socket],
) -> None:
    stream = dial()
    post = (
        b"POST /body HTTP/1.1\r\nHost: demonstration\r\nConnection: Upgrade\r\nUpgrade: loud/9\r\n"
        b"Content-Length: 10\r\n\r\nkept whole"
    )
    last = b"GET /plain HTTP/1.1\r\nHost: demonstration\r\nConnection: close\r\n\r\n"
    stream.sendall(post + post + last)
    answers = read_to_the_end(stream)
    assert answers.count(b"HTTP/1.1 200 ") == 3
    assert answers.count(b"kept whole") == 2
    assert answers.endswith(b"plain")


def test_bad_octets_are_answered_with_a_text(dial: Callable[[], socket.socket]) -> None:
    stream = dial()
    stream.sendall(b"GET /plain HTTP/1.1\r\nHost : demonstration\r\n\r\n")
    answer = read_to_the_end(stream)
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert len(text.split()) > 2
    assert b"Traceback" not in text
