"""Request heads against two other readers, h11 and llhttp (through httptools).

The rule: what we take, the other takes too, and reads the same method, target and fields in
it. Where the other takes more, that has to be one of the differences listed here: each is a
place where we are stricter, on purpose.

As a program it goes on for as long as it is told, from new seeds each time::

    python tests/fuzz/test_head_oracles.py --seconds 600
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.http.events import Failed, RequestReceived
from switchover.http.server import ServerConnection

h11 = pytest.importorskip("h11")
httptools = pytest.importorskip("httptools")

STRICTER_THAN_H11 = {
    "RFC 9112 §2.2": "lone LF, bare CR, whitespace ahead of the fields, surplus empty lines",
    "RFC 9112 §3.2": "Host that is no host; targets with a fragment, or in no form of the method",
    "RFC 9112 §3.2.2": "absolute targets without a valid authority",
    "RFC 9112 §3.2.3": "CONNECT to anything but host and port",
    "RFC 9112 §3.2.4": "an asterisk for another method than OPTIONS",
    "RFC 9110 §9.3.6": "CONNECT with content, or to an invalid port",
    "RFC 9112 §5.2": "folded lines: h11 unfolds them in requests too",
    "RFC 9110 §5.5": "control characters in a value: h11 refuses NUL and whitespace ones only",
    "RFC 9112 §6.1": "both framing fields; Transfer-Encoding in HTTP/1.0",
    "RFC 9112 §6.3": "repeated Content-Length, even an equal one",
    "RFC 9110 §15.6.6": "another major version than 1",
}

STRICTER_THAN_LLHTTP = STRICTER_THAN_H11 | {
    "RFC 9112 §3": "request lines without a version, which HTTP/0.9 had",
    "RFC 9112 §2.3": "the same, with a version that is none",
}

# What llhttp refuses and the standard allows, so that we take it.
STRICTER_IS_LLHTTP = (
    "Invalid HTTP version",  # RFC 9110 §2.5: HTTP/1.9 is handled as 1.1
    "Invalid method encountered",  # it knows a fixed set of methods
    "Expected space after method",
    "Unexpected char in url schema",  # RFC 3986 §3.1: digits are fine in it
)

PIECES = [
    *(b"GET", b"POST", b"OPTIONS", b"CONNECT", b"HEAD"),
    *(b" ", b" ", b" ", b"\t", b"  "),
    *(b"/", b"/a?b", b"*", b"a:80", b"http://a/b", b"/a|b", b"/\xc3\xa4", b"/a#b"),
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.9", b"HTTP/2.0", b"http/1.1"),
    *(b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\x00", b"\x0b", b"\x7f", b"\xff", b","),
    *(b"Host: a", b"Host: b", b"Host: a,b", b"Host : a", b"hOST:a\t"),
    *(b"Connection: close", b"Connection: Upgrade", b"Upgrade: p/1", b"X: y", b"X_Y:", b"X"),
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 5, 5"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue"),
    *(b": ", b" folded", b"a b: c", b"(: d"),
]

METHODS = [piece for piece in PIECES if piece.isalpha() and piece.isupper() and len(piece) > 2]
TARGETS = [
    piece for piece in PIECES if piece[:1] in (b"/", b"*") or piece in (b"a:80", b"http://a/b")
]
VERSIONS = [b"HTTP/1.1"] * 9 + [piece for piece in PIECES if piece.lower().startswith(b"http/")]
LINES = [piece for piece in PIECES if b":" in piece and len(piece) > 3] + [b"X", b" folded"]


@dataclass(frozen=True)
class Read:
    """What a reader made of a head: ``fields`` is ``None`` if it refused, ``why`` says it."""

    method: bytes = b""
    target: bytes = b""
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    why: str = ""

    @property
    def taken(self) -> bool:
        return self.fields is not None


def comparable(lines: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Take out what readers change without harm.

    h11 writes names and transfer codings small; llhttp keeps whitespace behind a value.
    """
    codings = b"transfer-encoding"
    pairs = ((name.lower(), value.rstrip(b" \t")) for name, value in lines)
    return tuple((name, value.lower() if name == codings else value) for name, value in pairs)


def ours(head: bytes) -> Read | None:
    machine = ServerConnection()
    machine.receive_data(head)
    for event in machine.events_received():
        if isinstance(event, Failed):
            return Read(why=event.error.rule)
        if isinstance(event, RequestReceived):
            request = event.request
            lines = request.fields.raw
            if request.version == "1.0":
                return None  # some fields are dropped on purpose: UPG-P-24
            return Read(request.method.encode(), request.target.encode(), comparable(lines))
    return None


def by_h11(head: bytes) -> Read | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return Read(why=str(error))
    if not isinstance(event, h11.Request):
        return None
    return Read(event.method, event.target, comparable(event.headers))


class _Callbacks:
    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.method = b""
        self.complete = False
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        if not self.complete:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete:
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        if not self.complete:
            self.method = self.parser.get_method()
        self.complete = True


def by_llhttp(head: bytes) -> Read | None:
    callbacks = _Callbacks()
    why = ""
    try:
        callbacks.parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        why = str(error)
    if callbacks.complete:
        return Read(callbacks.method, callbacks.target, comparable(callbacks.fields))
    return Read(why=why) if why else None


def check(head: bytes) -> None:
    """Compare the readings of one head; raise ``AssertionError`` for a difference not listed."""
    mine = ours(head)
    if mine is None:
        return
    for name, theirs, stricter in (
        ("h11", by_h11(head), STRICTER_THAN_H11),
        ("llhttp", by_llhttp(head), STRICTER_THAN_LLHTTP),
    ):
        if theirs is None:
            assert not mine.taken, f"{name} waits for more of {head!r}"
        elif mine.taken and theirs.taken:
            assert mine == theirs, f"{name} reads {head!r} otherwise"
        elif mine.taken:
            known = name == "llhttp" and any(text in theirs.why for text in STRICTER_IS_LLHTTP)
            assert known, f"{name} refuses {head!r}: {theirs.why}"
        elif theirs.taken:
            assert mine.why in stricter, f"{name} takes {head!r}: we refuse by {mine.why}"


HEADS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join),
    st.tuples(
        st.sampled_from([b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST /x HTTP/1.1\r\n"]),
        st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join),
        st.sampled_from([b"\r\n\r\n", b"\n\n", b""]),
    ).map(b"".join),
)


@given(HEADS)
def test_other_readers_agree(head):
    """MSG-01, MSG-13, MSG-20, SEC-43: no head has two readings."""
    check(head)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: p/1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nhost:a\r\nContent-Length: 5\r\nX:\ty \r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n",
    ],
)
def test_all_three_take_ordinary_heads(head):
    """MSG-12, MSG-13: the comparison compares something."""
    assert ours(head) == by_h11(head) == by_llhttp(head)
    assert ours(head).taken


def run(seconds: float, seed: int) -> int:
    """Check random heads until the time is over; return how many."""
    source = random.Random(seed)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        check(random_head(source))
        count += 1
    return count


def random_head(source: random.Random) -> bytes:
    """Return pieces in any order, or a head that is right but for a few pieces or octets."""
    if source.random() < 0.3:
        parts = source.choices(PIECES, k=source.randrange(16))
        return (
            b"GET / HTTP/1.1\r\nHost: a\r\n" * source.randrange(2) + b"".join(parts) + b"\r\n\r\n"
        )
    start = b" ".join(source.choice(column) for column in (METHODS, TARGETS, VERSIONS))
    lines = [start, *source.choices(LINES, k=source.randrange(5))]
    if source.random() < 0.8:
        lines.insert(source.randrange(1, len(lines) + 1), b"Host: a")
    ends = [b"\n" if source.random() < 0.02 else b"\r\n" for _ in lines]
    head = b"".join(line + end for line, end in zip(lines, ends, strict=True)) + b"\r\n"
    for _ in range(source.choice([0, 0, 0, 1, 1, 2])):
        place = source.randrange(len(head))
        head = head[:place] + bytes([source.randrange(256)]) + head[place + source.randrange(2) :]
    return head


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    print(f"{run(arguments.seconds, seed)} heads, no difference that is not listed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
