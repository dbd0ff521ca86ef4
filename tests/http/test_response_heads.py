"""Response heads: RFC 9112 §2, §4, §5; RFC 9110 §15."""

from __future__ import annotations

import pytest

from switchover.http.events import InterimResponseReceived, ResponseReceived
from switchover.http.limits import Limits

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def head(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *lines, b"Content-Length: 0", b"", b""])


def response(result):
    return result.all_of(ResponseReceived)[0].response


# RFC 9112 §4: status line


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, "OK"),
        (b"HTTP/1.1 404 Not  Found\xff", 404, "Not  Found\xff"),
        (b"HTTP/1.1 299 ", 299, ""),
        (b"HTTP/1.1 500", 500, ""),
        (b"HTTP/1.0 200 OK", 200, "OK"),
        (b"HTTP/1.7 200 OK", 200, "OK"),
    ],
)
def test_status_lines(asked, line, status, reason):
    """MSG-36, RFC 9112 §4: the reason may be missing, as some servers have it."""
    result = response(asked(head(start=line)))
    assert (result.status, result.reason) == (status, reason)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 101x Switching",
        b"HTTP/1.1 1 01 x",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 600 x",
        b"HTTP/1.1 20 x",
        b"HTTP/1.1 2000 x",
        b"HTTP/1.1 +20 x",
        b"HTTP/1.1 \xb2\xb2\xb2 x",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1\t200 OK",
        b"http/1.1 200 OK",
        b"HTTP/2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.10 200 OK",
        b"ICY 200 OK",
        b"SSH-2.0-OpenSSH_9.2",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\rK",
        b" HTTP/1.1 200 OK",
    ],
)
def test_an_invalid_status_line_is_no_response(asked, line):
    """MSG-36, MSG-16, RFC 9112 §4, RFC 9110 §15."""
    result = asked(head(start=line), switch=lambda request, response: "p")
    assert result.failed()
    assert result.kinds() == ["Failed"]


def test_an_unknown_status_is_that_of_its_class(asked):
    """MSG-36, RFC 9110 §15: 199 is interim, 299 is final and no switch."""
    result = asked(b"HTTP/1.1 199 x\r\n\r\n" + head(start=b"HTTP/1.1 299 y"))
    assert result.kinds() == ["InterimResponseReceived", "ResponseReceived", "MessageComplete"]


def test_a_status_line_over_the_limit(asked):
    """SEC-18, RFC 9110 §17.5."""
    limits = Limits(status_line=20)
    assert asked(head(start=b"HTTP/1.1 200 " + b"x" * 7), limits=limits).kinds()[0] != "Failed"
    assert asked(head(start=b"HTTP/1.1 200 " + b"x" * 8), limits=limits).failed()
    assert asked(b"x" * 30, limits=limits).failed()


def test_empty_lines_ahead_of_a_response(asked):
    """MSG-33, RFC 9112 §9.2: left over from the last response; bounded."""
    assert asked(b"\r\n\r\n" + OK).kinds() == ["ResponseReceived", "MessageComplete"]
    assert asked(b"\r\n" * 9 + OK).failed()


# RFC 9112 §5.2: folded lines


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ([b"Upgrade: web", b" socket"], "web socket"),
        ([b"Upgrade: web", b"\t \tsocket \t", b" x"], "web socket x"),
        ([b"Upgrade:", b" websocket"], "websocket"),
        ([b"Upgrade: websocket", b" "], "websocket"),
    ],
)
def test_folded_lines_are_unfolded(asked, lines, value):
    """MSG-08, RFC 9112 §5.2: to SP, before anything reads the value."""
    result = asked(head(*lines, b"X: 1"))
    fields = response(result).fields
    assert fields["Upgrade"] == value
    assert fields["X"] == "1"


def test_a_folded_framing_field_frames(asked):
    """MSG-08, RFC 9112 §5.2."""
    result = asked(
        b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length:\r\n 5\r\nConnection: a,\r\n close\r\n\r\nhello"
    )
    assert result.kinds() == ["ResponseReceived", "ContentReceived", "MessageComplete"]
    assert result.machine.close_expected()
    assert asked(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 5\r\n\r\n").failed()


@pytest.mark.parametrize(
    "lines", [[b" X: y"], [b"X: a", b" b\x00"], [b"X: a", b" b\rc"], [b"X: a\nY: b"], [b"X : y"]]
)
def test_field_lines_that_are_refused(asked, lines):
    """MSG-02, MSG-05, MSG-09, RFC 9112 §2.2, §5: as strictly as in a request."""
    assert asked(head(*lines)).failed()


def test_an_unfolded_line_over_the_limit(asked):
    """SEC-18, RFC 9110 §17.5."""
    limits = Limits(field_line=30)
    assert asked(head(b"X: " + b"a" * 10, b" " + b"b" * 19), limits=limits).kinds()[0] != "Failed"
    assert asked(head(b"X: " + b"a" * 10, b" " + b"b" * 20), limits=limits).failed()


def test_limits_of_the_field_section(asked):
    """SEC-18, RFC 9110 §17.5."""
    assert asked(head(b"X: y"), limits=Limits(field_count=1)).failed()
    assert asked(head(b"X: y"), limits=Limits(field_section=20)).failed()
    assert asked(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000).failed()


# RFC 9110 §15.2: interim responses


def test_interim_responses_come_ahead_of_the_final_one(asked):
    """MSG-30, UPG-C-07, RFC 9110 §15.2: asked for or not."""
    octets = b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 103 x\r\nLink: </a>\r\n\r\nHTTP/1.1 102 x\r\n\r\n" + OK
    result = asked(octets)
    interim = [event.response.status for event in result.all_of(InterimResponseReceived)]
    assert interim == [100, 103, 102]
    assert result.kinds()[3:] == ["ResponseReceived", "MessageComplete"]
    assert result.machine.reusable()


def test_an_interim_response_ends_at_its_empty_line(asked):
    """MSG-32, RFC 9112 §6.3: whatever its fields say."""
    octets = b"HTTP/1.1 103 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + OK
    kinds = asked(octets).kinds()
    assert kinds == ["InterimResponseReceived", "ResponseReceived", "MessageComplete"]


def test_endless_interim_responses(asked):
    """MSG-30, RFC 9110 §15.2: bounded, and counted for each request."""
    limits = Limits(interim_responses=3)
    interim = b"HTTP/1.1 103 x\r\n\r\n"
    assert asked(interim * 3 + OK, limits=limits).machine.reusable()
    assert asked(interim * 4 + OK, limits=limits).failed()
    assert asked(interim * 10_000).failed()


def test_what_connection_names_is_dropped_from_http_1_0(asked):
    """UPG-P-24, RFC 2616 §14.10."""
    lines = [b"Connection: X-Hop, Upgrade", b"X-Hop: 1", b"Upgrade: p"]
    fields = response(asked(head(*lines, start=b"HTTP/1.0 200 OK"))).fields
    assert "X-Hop" not in fields
    assert "Upgrade" not in fields
    assert "X-Hop" in response(asked(head(*lines))).fields
