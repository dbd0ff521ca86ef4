"""Where a request ends: RFC 9112 §6, §7; RFC 9110 §6.5, §8.6."""

from __future__ import annotations

import pytest

from switchover.http.events import ContentReceived, MessageComplete
from switchover.http.limits import Limits

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST /x HTTP/" + version, b"Host: a", *lines, b"", b""])


CHUNKED = post(b"Transfer-Encoding: chunked")


def content(result) -> bytes:
    return b"".join(event.data for event in result.all_of(ContentReceived))


# §6.1: Transfer-Encoding


@pytest.mark.parametrize("order", [1, -1])
def test_both_framing_fields_are_refused(served, order):
    """MSG-17, UPG-S-20, RFC 9112 §6.1, §6.3: the pipelined request is never executed."""
    lines = [b"Content-Length: 5", b"Transfer-Encoding: chunked"][::order]
    upgrade = [b"Connection: Upgrade", b"Upgrade: p/1"]
    result = served(post(*lines, *upgrade) + b"0\r\n\r\n" + NEXT)
    assert result.refused(400)
    assert result.kinds() == ["Failed"]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"Transfer-Encoding: chunked, gzip"], 400),
        ([b"Transfer-Encoding: chunked, chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: identity"], 400),
        ([b"Transfer-Encoding: chunked, identity"], 400),
        ([b"Transfer-Encoding: gzip"], 400),
        ([b"Transfer-Encoding:"], 400),
        ([b"Transfer-Encoding: ,chunked"], 400),
        ([b'Transfer-Encoding: "chunked"'], 400),
        ([b"Transfer-Encoding: chunked;q=1"], 400),
        ([b"Transfer-Encoding: \xe2\x84\xaachunked"], 400),
        ([b"Transfer-Encoding: \x0bchunked"], 400),
        ([b"Transfer-Encoding: xchunked"], 501),
        ([b"Transfer-Encoding: foo, chunked"], 501),
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"], 501),
    ],
)
def test_transfer_codings_that_are_refused(served, lines, status):
    """MSG-18, RFC 9112 §6.1, §6.3: chunked, last and once; 501 for what is not known."""
    assert served(post(*lines) + b"0\r\n\r\n" + NEXT).refused(status)


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b" \tCHUNKED\t"])
def test_chunked_is_read(served, value):
    """MSG-18, RFC 9112 §7: transfer coding names are case-insensitive."""
    result = served(post(b"Transfer-Encoding:" + value) + b"3\r\nabc\r\n0\r\n\r\n")
    assert content(result) == b"abc"
    assert result.kinds()[-1] == "MessageComplete"


def test_transfer_encoding_in_http_1_0_is_refused(served):
    """MSG-19, RFC 9112 §6.1."""
    octets = post(b"Transfer-Encoding: chunked", b"Connection: keep-alive", version=b"1.0")
    assert served(octets + b"0\r\n\r\n" + NEXT).refused(400)


# §6.3, RFC 9110 §8.6: Content-Length


@pytest.mark.parametrize(
    "value",
    [
        b"+5",
        b"-1",
        b"5_0",
        b"0x5",
        b"5 5",
        b"5,6",
        b"5, 5",
        b"5,",
        b"",
        b"5.0",
        b"\xd9\xa5",
        b"\xb2",
        b"5;x",
        b"1" * 30,
        b"9" * 19,
    ],
)
def test_a_content_length_that_is_not_digits_is_refused(served, value):
    """MSG-20, MSG-21, RFC 9112 §6.3, RFC 9110 §8.6: no sign, no "_", no other script, no flood."""
    assert served(post(b"Content-Length: " + value) + b"hello" + NEXT).refused(400)


@pytest.mark.parametrize("second", [b"5", b"6", b"0"])
def test_a_repeated_content_length_is_refused(served, second):
    """MSG-20, RFC 9112 §6.3: unequal ones never, and equal ones not in a request either."""
    assert served(post(b"Content-Length: 5", b"Content-Length: " + second) + b"hello").refused(400)


def test_content_ends_where_its_length_says(served):
    """MSG-20, RFC 9112 §6.2."""
    result = served(post(b"Content-Length: 5") + b"hello" + NEXT)
    assert result.kinds() == ["RequestReceived", "ContentReceived", "MessageComplete"]
    assert content(result) == b"hello"
    assert result.machine.pending_octets == len(NEXT)
    assert served(post(b"Content-Length: 0005") + b"hello").kinds()[-1] == "MessageComplete"
    assert served(post(b"Content-Length: 0")).kinds() == ["RequestReceived", "MessageComplete"]


def test_a_huge_length_allocates_nothing(served):
    """MSG-21, RFC 9110 §8.6: the largest that is taken is only a number."""
    result = served(post(b"Content-Length: " + b"9" * 18) + b"hello")
    assert content(result) == b"hello"
    assert result.machine.receiving_begun()


@pytest.mark.parametrize(
    "line", [b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked"]
)
def test_connect_with_content_is_refused(served, line):
    """CON-08, RFC 9110 §9.3.6: the tunnel's first octet must not be in doubt."""
    octets = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n" + line + b"\r\n\r\n"
    assert served(octets).refused(400)


# §7.1: chunked


def test_chunks(served):
    """MSG-21, RFC 9112 §7.1: hexadecimal sizes in either case, leading zeros too."""
    result = served(
        CHUNKED + b"a\r\n0123456789\r\nA\r\n0123456789\r\n003\r\nabc\r\n000\r\n\r\n" + NEXT
    )
    assert content(result) == b"01234567890123456789abc"
    assert result.kinds()[-1] == "MessageComplete"
    assert result.machine.pending_octets == len(NEXT)


@pytest.mark.parametrize(
    "size",
    [
        *(b"", b"0x5", b"5_0", b"-5", b"+5", b" 5", b"5 ", b"5\t", b"g", b"\xb2", b"5 a", b"5\r"),
        *(b"0" * 16 + b"5", b"f" * 16, b"1" + b"0" * 16, b"5;a\x00", b"5;a\x0b", b"5;a\rb"),
    ],
)
def test_an_invalid_chunk_size_is_refused(served, size):
    """MSG-21, RFC 9112 §7.1: hexadecimal digits only, and no more than fit."""
    assert served(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n" + NEXT).refused(400)


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\r0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5;a\nhello\r\n0\r\n\r\n",
    ],
)
def test_chunk_lines_end_in_crlf(served, body):
    """MSG-03, RFC 9112 §7.1: no allowance for a lone LF."""
    assert served(CHUNKED + body + NEXT).refused(400)


@pytest.mark.parametrize("extension", [b";a=b", b' ; a = "x;y"', b";a;b;c", b";", b"\t;a\xff"])
def test_chunk_extensions_are_ignored(served, extension):
    """MSG-22, RFC 9112 §7.1.1."""
    result = served(CHUNKED + b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n")
    assert content(result) == b"hello"
    assert result.kinds()[-1] == "MessageComplete"


def test_chunk_extensions_are_bounded_in_one_line(served):
    """MSG-22, SEC-18, RFC 9112 §7.1.1: before the line has ended."""
    limits = Limits(chunk_line=10)
    assert content(served(CHUNKED + b"5;" + b"a" * 8 + b"\r\nhello", limits=limits)) == b"hello"
    assert served(CHUNKED + b"5;" + b"a" * 9 + b"\r\nhello", limits=limits).refused(400)
    assert served(CHUNKED + b"5;" + b"a" * 1_000_000).refused(400)


def test_chunk_extensions_are_bounded_in_all(served):
    """MSG-22, SEC-18, RFC 9112 §7.1.1: many small ones too."""
    chunk = b"1;" + b"a" * 99 + b"\r\nx\r\n"
    limits = Limits(chunk_extensions=1000)
    assert len(content(served(CHUNKED + chunk * 10, limits=limits))) == 10
    assert served(CHUNKED + chunk * 11, limits=limits).refused(400)
    assert served(CHUNKED + chunk * 10_000).refused(400)


def test_what_came_ahead_of_a_fault_was_received(served):
    """SEC-43, RFC 9112 §7.1: the content that arrived is told, then the fault, then nothing."""
    result = served(CHUNKED + b"5\r\nhello\r\nx\r\nmore\r\n0\r\n\r\n" + NEXT)
    assert result.kinds() == ["RequestReceived", "ContentReceived", "Failed"]
    assert content(result) == b"hello"


# RFC 9110 §6.5: trailers


def test_trailers_stay_apart(served):
    """MSG-23, RFC 9110 §6.5.1: no upgrade comes out of a trailer section."""
    trailers = b"Connection: Upgrade\r\nUpgrade: p\r\nSec-WebSocket-Key: x\r\nX: y\r\n"
    result = served(CHUNKED + b"1\r\na\r\n0\r\n" + trailers + b"\r\n" + NEXT)
    request = result.events[0].request
    for name in ("Connection", "Upgrade", "Sec-WebSocket-Key", "X"):
        assert name not in request.fields
    complete = result.all_of(MessageComplete)[0]
    assert complete.trailers.get("Upgrade") == "p"
    assert complete.trailers.get("X") == "y"


@pytest.mark.parametrize(
    "trailer", [b"X : y", b"X", b" X: y", b"X: y\r\n z", b"X: a\x00", b"X: a\nY: b", b"X: a\rb"]
)
def test_trailer_lines_are_as_strict_as_header_lines(served, trailer):
    """MSG-06, MSG-07, MSG-09, RFC 9112 §7.1.2."""
    assert served(CHUNKED + b"0\r\n" + trailer + b"\r\n\r\n").refused(400)


def test_trailer_framing_fields_change_nothing(served):
    """MSG-23, RFC 9112 §7.1.2."""
    result = served(
        CHUNKED + b"0\r\nContent-Length: 5\r\nConnection: close\r\n\r\n" + NEXT
    ).answer()
    assert result.kinds().count("MessageComplete") == 2


def test_the_trailer_section_is_bounded(served):
    """SEC-18, RFC 9110 §17.5."""
    limits = Limits(trailer_section=20, trailer_count=2)
    assert served(CHUNKED + b"0\r\nA: b\r\nC: d\r\n\r\n", limits=limits).statuses() == []
    assert served(CHUNKED + b"0\r\nA: " + b"b" * 20 + b"\r\n\r\n", limits=limits).refused(431)
    assert served(CHUNKED + b"0\r\nA: b\r\nC: d\r\nE: f\r\n\r\n", limits=limits).refused(431)
    assert served(CHUNKED + b"0\r\n" + b"A: b\r\n" * 10_000).refused(431)


# §8: incomplete messages


@pytest.mark.parametrize(
    "octets",
    [
        b"GET",
        b"GET /x HTTP/1.1\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: p/1\r\n",
        b"\r",
        post(b"Content-Length: 5"),
        post(b"Content-Length: 5") + b"hell",
        CHUNKED,
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n",
    ],
)
def test_an_incomplete_request_is_an_error(served, octets):
    """MSG-37, RFC 9112 §8: never acted upon as if it were whole."""
    result = served(octets).eof()
    assert result.refused(400)
    assert "MessageComplete" not in result.kinds()
    result.eof()
    assert result.kinds().count("Failed") == 1


@pytest.mark.parametrize("octets", [b"", b"\r\n", b"\r\n\r\n"])
def test_an_end_between_messages_is_none(served, octets):
    """MSG-37, RFC 9112 §8."""
    result = served(octets).eof()
    assert result.kinds() == ["PeerClosed"]
    assert result.sent == b""
    assert result.machine.close_expected()
