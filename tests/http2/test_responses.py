"""Responses as a server sends them (RFC 9113 §8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.events import RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http2 import ErrorCode


def section(peer: Any, stream_id: int = 1) -> dict[bytes, bytes]:
    """Return the last field section sent on a stream."""
    return dict(peer.sections[stream_id][-1])


def test_head_and_content_at_once(client: Any) -> None:
    """RFC 9113 §8.1: HEADERS, DATA with END_STREAM; Content-Length is added."""
    client.send(client.get(1))
    assert client.machine.send_response(1, Response(200, content=b"plain"), end=True) == 5
    head, data = client.frames()
    assert section(client) == {b":status": b"200", b"content-length": b"5"}
    assert (data.data, data.flags) == (b"plain", {"END_STREAM"})
    assert "END_STREAM" not in head.flags


def test_content_in_pieces_and_trailers(client: Any) -> None:
    """RFC 9113 §8.1: and no Content-Length where it is not known."""
    client.send(client.get(1))
    assert client.machine.send_response(1, Response(200)) == 0
    client.machine.send_content(1, b"one")
    client.machine.send_content(1, b"")
    client.machine.send_content(1, memoryview(b"two"))
    client.machine.send_end(1, Fields({"X-Sum": "6"}))
    kinds = [type(frame).__name__ for frame in client.frames()]
    assert kinds == ["HeadersFrame", "DataFrame", "DataFrame", "HeadersFrame"]
    assert client.sections[1] == [[(b":status", b"200")], [(b"x-sum", b"6")]]


def test_end_without_trailers(client: Any) -> None:
    client.send(client.get(1))
    client.machine.send_response(1, Response(200))
    client.machine.send_end(1)
    _, data = client.frames()
    assert (data.data, data.flags) == (b"", {"END_STREAM"})


def test_connection_specific_fields_are_left_out(client: Any) -> None:
    """H2C-15, UPG-S-23, RFC 9113 §8.2.2: with what Connection names; names in lower case."""
    client.send(client.get(1))
    fields = Fields(
        [
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("Upgrade", "websocket"),
            ("HTTP2-Settings", "AAMAAABk"),
            ("Transfer-Encoding", "chunked"),
            ("TE", "gzip"),
            ("X-Kept", "2"),
        ]
    )
    client.machine.send_response(1, Response(200, fields))
    client.frames()
    assert section(client) == {b":status": b"200", b"x-kept": b"2"}


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", 200, b"5"), ("GET", 304, b"5"), ("GET", 204, None), ("GET", 205, None)],
)
@pytest.mark.parametrize("end", [True, False])
def test_responses_without_content(
    client: Any, method: str, status: int, length: bytes | None, end: bool
) -> None:
    """H2C-15, RFC 9110 §6.4.1: END_STREAM on the head, and what follows is dropped."""
    lines = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", b"/")]
    client.send(client.headers(1, lines, end=True))
    machine = client.machine
    response = Response(status, Fields({"Content-Length": "5"}), content=b"plain")
    assert machine.send_response(1, response, end=end) == 5
    if not end:
        assert machine.send_content(1, b"more") == 4
        machine.send_end(1)
    (head,) = client.frames()
    assert "END_STREAM" in head.flags
    assert section(client).get(b"content-length") == length
    with pytest.raises(LocalProtocolError):
        machine.send_end(1)


def test_head_tells_the_length_it_would_have(client: Any) -> None:
    lines = [(b":method", b"HEAD"), (b":scheme", b"http"), (b":path", b"/")]
    client.send(client.headers(1, lines, end=True))
    client.machine.send_response(1, Response(200, content=b"plain"), end=True)
    client.frames()
    assert section(client)[b"content-length"] == b"5"


def test_silent_content_may_be_ended_with_its_last_piece(client: Any) -> None:
    client.send(client.headers(1, [(b":method", b"HEAD"), (b":scheme", b"http"), (b":path", b"/")]))
    client.machine.send_response(1, Response(200))
    assert client.machine.send_content(1, b"x", end=True) == 1
    client.machine.reset(1)
    assert client.resets() == [(1, ErrorCode.CANCEL)]


def test_date_and_server(new_server: Callable[..., Any]) -> None:
    """RFC 9110 §6.6.1: added unless the application has set them."""
    client = new_server(date=lambda: "today", server_name="us")
    client.send(client.get(1), client.get(3))
    client.machine.send_response(1, Response(200), end=True)
    own = Fields({"Date": "then", "Server": "me"})
    client.machine.send_response(3, Response(200, own), end=True)
    client.frames()
    assert section(client)[b"date"] == b"today"
    assert section(client)[b"server"] == b"us"
    assert section(client, 3)[b"date"] == b"then"
    assert section(client, 3)[b"server"] == b"me"


def test_interim_responses(client: Any) -> None:
    """RFC 9113 §8.1: HEADERS without END_STREAM, any number of them."""
    client.send(client.get(1))
    client.machine.send_interim(1, Response(103, Fields({"Link": "</a>"})))
    client.machine.send_response(1, Response(200), end=True)
    client.frames()
    assert client.sections[1][0] == [(b":status", b"103"), (b"link", b"</a>")]


@pytest.mark.parametrize("status", [101, 200, 99])
def test_what_is_no_interim_response(client: Any, status: int) -> None:
    """RFC 9113 §8.6: 101 does not exist."""
    client.send(client.get(1))
    with pytest.raises(LocalProtocolError):
        client.machine.send_interim(1, Response(status))
    assert client.frames() == []


class TestContinue:
    """RFC 9110 §10.1.1."""

    def test_sent_once_when_expected(self, client: Any) -> None:
        client.send(client.post(1, (b"expect", b"100-continue")))
        client.machine.send_continue(1)
        client.machine.send_continue(1)
        client.frames()
        assert client.sections[1] == [[(b":status", b"100")]]

    @pytest.mark.parametrize("case", ["not expected", "content came", "answered", "ended", "gone"])
    def test_not_sent(self, client: Any, case: str) -> None:
        expect = () if case == "not expected" else ((b"expect", b"100-continue"),)
        client.send(client.post(1, *expect))
        if case == "content came":
            client.send(client.data(1, b"x"))
        elif case == "answered":
            client.machine.send_response(1, Response(200))
        elif case == "ended":
            client.send(client.data(1, end=True))
        client.frames()
        client.machine.send_continue(3 if case == "gone" else 1)
        assert client.frames() == []


class TestLocalFaults:
    """What the caller does wrong raises, and nothing is written."""

    @pytest.fixture
    def machine(self, client: Any) -> Any:
        client.send(client.get(1))
        yield client.machine
        assert client.frames() == []

    def test_final_response_that_is_none(self, machine: Any) -> None:
        with pytest.raises(LocalProtocolError):
            machine.send_response(1, Response(101))

    def test_wrong_stream(self, machine: Any) -> None:
        with pytest.raises(LocalProtocolError, match="gone"):
            machine.send_response(7, Response(200))

    def test_content_before_the_head(self, machine: Any) -> None:
        with pytest.raises(LocalProtocolError, match="before the head"):
            machine.send_content(1, b"x")

    def test_switch_of_an_ordinary_request(self, machine: Any) -> None:
        """RFC 9113 §8.5: only CONNECT."""
        with pytest.raises(LocalProtocolError):
            machine.switch(1, Response(200), "tcp")

    @pytest.mark.parametrize("content", [b"12", b"1234"])
    def test_content_of_another_length(self, machine: Any, content: bytes) -> None:
        """H2-08, RFC 9110 §8.6."""
        response = Response(200, Fields({"Content-Length": "3"}), content=content)
        with pytest.raises(LocalProtocolError, match="3 announced"):
            machine.send_response(1, response, end=True)

    @pytest.mark.parametrize("value", ["x", "1, 1"])
    def test_length_that_is_none(self, machine: Any, value: str) -> None:
        with pytest.raises(LocalProtocolError):
            machine.send_response(1, Response(200, Fields({"Content-Length": value})))


def test_a_second_response(client: Any) -> None:
    client.send(client.get(1))
    client.machine.send_response(1, Response(200))
    with pytest.raises(LocalProtocolError, match="started"):
        client.machine.send_response(1, Response(200))


def test_pieces_are_counted_against_the_announced_length(client: Any) -> None:
    """H2-08: neither more nor less is sent than was announced."""
    client.send(client.get(1))
    client.machine.send_response(1, Response(200, Fields({"Content-Length": "5"})))
    with pytest.raises(LocalProtocolError, match="1 octets"):
        client.machine.send_content(1, b"123456")
    client.machine.send_content(1, b"123")
    with pytest.raises(LocalProtocolError, match="2 octets"):
        client.machine.send_end(1)
    with pytest.raises(LocalProtocolError, match="1 octets"):
        client.machine.send_content(1, b"4", end=True)
    client.machine.send_content(1, b"45", end=True)
    assert client.content(1) == b"12345"


def test_connect_is_not_answered_like_a_request(client: Any) -> None:
    """RFC 9113 §8.5: a 2xx opens a tunnel, and must be said so."""
    client.send(client.headers(1, [(b":method", b"CONNECT"), (b":authority", b"a:1")]))
    with pytest.raises(LocalProtocolError, match="switch"):
        client.machine.send_response(1, Response(200))
    with pytest.raises(LocalProtocolError):
        client.machine.switch(1, Response(403), "tcp")
    client.machine.switch(1, Response(200), "tcp")
    with pytest.raises(LocalProtocolError, match="no trailers"):
        client.machine.send_end(1, Fields({"a": "b"}))


class TestRestOfTheRequest:
    """RFC 9113 §8.1: a response may be complete before its request is."""

    def test_short_rest_is_dropped(self, client: Any) -> None:
        client.send(client.post(1))
        client.machine.send_response(1, Response(200), end=True)
        assert client.send(client.data(1, bytes(1000)), client.data(1, end=True))[-1].event
        assert client.kinds() == ["Headers"]
        assert client.machine.open_streams == 0

    def test_long_rest_is_stopped(self, client: Any) -> None:
        """RST_STREAM with NO_ERROR: "to request that the client abort transmission"."""
        client.send(client.post(1))
        client.machine.send_response(1, Response(200), end=True)
        for _ in range(5):
            assert client.send(client.data(1, bytes(16000))) == []
        assert client.resets() == [(1, ErrorCode.NO_ERROR)]

    def test_stopped_with_its_last_piece(self, client: Any) -> None:
        client.send(client.post(1))
        client.machine.send_response(1, Response(200), end=True)
        for _ in range(4):
            client.send(client.data(1, bytes(16000)))
        assert client.send(client.data(1, bytes(16000), end=True)) == []
        assert client.resets() == [(1, ErrorCode.NO_ERROR)]


def test_large_field_sections_are_answered(client: Any) -> None:
    """SEC-28, RFC 6585 §5: 431 that a person can read, and the connection lives."""
    lines = [(b"n%d" % number, b"value") for number in range(200)]
    assert client.send(client.get(1, *lines)) == []
    client.frames()
    assert section(client)[b":status"] == b"431"
    assert isinstance(client.send(client.get(3))[0].event, RequestReceived)


@pytest.mark.parametrize("window", [65535, 0])
def test_large_field_section_of_a_request_that_goes_on(
    new_server: Callable[..., Any], window: int
) -> None:
    """SEC-28: the rest is not waited for, nor a window for the text."""
    client = new_server(greet={4: window})
    client.send(client.post(1, *[(b"n%d" % number, b"v") for number in range(200)]))
    assert client.resets() == [(1, ErrorCode.NO_ERROR)]
    assert client.machine.open_streams == 0
