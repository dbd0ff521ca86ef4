"""The client's exchanges: RFC 9112 §3.2, §6.3, §9; RFC 9110 §8.6, §10.1.1."""

from __future__ import annotations

import pytest

from switchover.errors import LimitExceeded, LocalProtocolError
from switchover.http.client import ClientConnection, RequestState, ResponseState
from switchover.http.events import ContentReceived, MessageComplete, ResponseReceived
from switchover.http.fields import Fields
from switchover.http.messages import Request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"


def request(method: str = "GET", target: str = "/x", **fields: str) -> Request:
    lines = Fields({name.replace("_", "-"): value for name, value in fields.items()})
    return Request(method, target, lines, authority="a.example:81")


def content(result) -> bytes:
    return b"".join(event.data for event in result.all_of(ContentReceived))


# RFC 9112 §3: what is sent


def test_host_is_sent_first(asked):
    """MSG-11, RFC 9112 §3.2."""
    result = asked(request=request(Accept="*/*"))
    assert result.sent == b"GET /x HTTP/1.1\r\nHost: a.example:81\r\nAccept: */*\r\n\r\n"


def test_host_is_sent_once(asked):
    """MSG-11, MSG-29, RFC 9112 §3.2: the caller's stands."""
    assert asked(request=request(host="b")).sent == b"GET /x HTTP/1.1\r\nhost: b\r\n\r\n"
    assert b"\r\nHost: \r\n" in asked(request=Request("GET", "/")).sent


def test_connect_sends_its_target_as_host(asked):
    """CON-01, RFC 9112 §3.2.3."""
    assert asked(request=Request("CONNECT", "[::1]:443")).sent == (
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"
    )


@pytest.mark.parametrize(
    "bad",
    [
        Request("GET", "/a HTTP/1.1\r\nX: y", authority="a"),
        Request("GET", "/a b", authority="a"),
        Request("GET", "", authority="a"),
        Request("GET", "/ä", authority="a"),
        Request("GET", "/a#b", authority="a"),
        Request("GET", "/\x00", authority="a"),
        Request("G T", "/", authority="a"),
        Request("GET\r\nX:", "/", authority="a"),
        Request("", "/", authority="a"),
        Request("ÄT", "/", authority="a"),
        Request("GET", "/", authority="a\r\nX: y"),
        Request("GET", "/", authority="u:p@a"),
        Request("GET", "/", authority="a,b"),
        Request("GET", "/", authority="\u212a"),
        Request("GET", "/", Fields([("Host", "a"), ("Host", "b")])),
        Request("GET", "/", Fields({"Host": "a b"})),
        Request("GET", "/", authority="a", version="2"),
    ],
)
def test_a_request_cannot_be_split(bad):
    """SEC-33, MSG-11, RFC 9112 §11.1: a local error, and nothing written."""
    machine = ClientConnection()
    with pytest.raises(LocalProtocolError):
        machine.send_request(bad, end=True)
    assert machine.data_to_send() == []
    assert machine.reusable(), "another request can still go out"


def test_no_upgrade_in_http_1_0():
    """UPG-C-13, RFC 9110 §7.8."""
    with pytest.raises(LocalProtocolError):
        ClientConnection().send_request(
            Request("GET", "/", Fields({"Upgrade": "p"}), "1.0"), end=True
        )


# RFC 9112 §6: content


def test_content_of_a_given_length(asked):
    result = asked(request=request("POST", Content_Length="5"), end=False)
    assert result.machine.request_state is RequestState.CONTENT
    result.machine.send_content(b"hel")
    result.machine.send_content(b"lo")
    result.machine.send_end()
    assert result.collect().sent.endswith(b"\r\nContent-Length: 5\r\n\r\nhello")


def test_content_of_unknown_length_is_chunked(asked):
    """RFC 9112 §7.1."""
    result = asked(request=request("POST"), end=False)
    result.machine.send_content(b"hello")
    result.machine.send_content(b"")
    result.machine.send_end(Fields({"X": "y"}))
    head, _, body = result.collect().sent.partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nTransfer-Encoding: chunked")
    assert body == b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"


def test_chunked_is_announced_once(asked):
    """MSG-29, RFC 9112 §6.1."""
    sent = asked(request=request("POST", Transfer_Encoding="chunked"), end=False).sent
    assert sent.count(b"chunked") == 1


@pytest.mark.parametrize(("method", "expected"), [("POST", True), ("PUT", True), ("GET", False)])
def test_no_content_is_said_where_content_is_usual(asked, method, expected):
    """RFC 9110 §8.6."""
    assert (b"Content-Length: 0" in asked(request=request(method)).sent) is expected
    sent = asked(request=request(method, Content_Length="0")).sent
    assert sent.count(b"Content-Length") == 1


@pytest.mark.parametrize(
    ("bad", "end"),
    [
        (request("POST", Content_Length="5"), True),
        (request("POST", Transfer_Encoding="chunked"), True),
        (request("POST", Transfer_Encoding="gzip"), False),
        (request("POST", Content_Length="5", Transfer_Encoding="chunked"), False),
        (request("POST", Content_Length="x"), False),
        (Request("POST", "/", version="1.0"), False),
        (Request("CONNECT", "h:1", Fields({"Content-Length": "5"})), False),
        (Request("CONNECT", "h:1"), False),
        (request("GET", Expect="100-continue"), True),
        (request("POST", Expect="100-continue", Content_Length="0"), False),
    ],
)
def test_framing_that_cannot_be_sent(bad, end):
    """MSG-20, MSG-35, CON-08, RFC 9110 §8.6, §10.1.1: nothing is written."""
    machine = ClientConnection()
    with pytest.raises(LocalProtocolError):
        machine.send_request(bad, end=end)
    assert machine.data_to_send() == []


def test_an_expectation_goes_with_content(asked):
    """MSG-35, RFC 9110 §10.1.1: and nobody has to wait for the 100."""
    result = asked(request=request("POST", Expect="100-continue", Content_Length="2"), end=False)
    result.machine.send_content(b"hi")
    result.machine.send_end()
    assert result.collect().sent.endswith(b"\r\n\r\nhi")
    assert result.receive(b"HTTP/1.1 100 x\r\n\r\n" + OK).machine.reusable()


def test_content_is_as_long_as_announced(asked):
    """RFC 9110 §8.6."""
    result = asked(request=request("POST", Content_Length="2"), end=False)
    with pytest.raises(LocalProtocolError):
        result.machine.send_content(b"abc")
    result.machine.send_content(b"a")
    with pytest.raises(LocalProtocolError):
        result.machine.send_end()
    result.machine.send_content(b"b")
    result.machine.send_end()
    with pytest.raises(LocalProtocolError):
        result.machine.send_content(b"")


# RFC 9112 §6.3: where a response ends


def test_a_response_of_known_length(asked):
    """RFC 9112 §6.3."""
    result = asked(OK)
    assert result.kinds() == ["ResponseReceived", "ContentReceived", "MessageComplete"]
    assert result.all_of(ResponseReceived)[0].request.target == "/x"
    assert result.machine.reusable()
    assert result.machine.request is None


def test_a_chunked_response(asked):
    """MSG-22, MSG-23, RFC 9112 §7.1: trailers apart, extensions ignored."""
    octets = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = asked(octets + b"5;a=b\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n")
    assert content(result) == b"hello"
    assert result.all_of(MessageComplete)[0].trailers.raw == [(b"X", b"y z")]
    assert "X" not in result.all_of(ResponseReceived)[0].response.fields
    assert result.machine.reusable()


def test_a_response_that_ends_with_the_connection(asked):
    """RFC 9112 §6.3, §8."""
    result = asked(UNTIL_CLOSE).receive(b" there")
    assert "MessageComplete" not in result.kinds()
    result.eof()
    assert content(result) == b"hello there"
    assert result.kinds()[-2:] == ["MessageComplete", "PeerClosed"]
    assert result.machine.close_expected()
    assert not result.machine.reusable()


@pytest.mark.parametrize(
    ("method", "octets"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_responses_without_content(asked, method, octets):
    """MSG-32, RFC 9112 §6.3."""
    result = asked(octets, request=request(method))
    assert result.kinds() == ["ResponseReceived", "MessageComplete"]
    assert result.machine.reusable()


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Content-Length: +2",
        b"Content-Length: 2, 3",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: " + b"9" * 30,
        b"Connection: " + b"," * 10_000,
    ],
)
def test_framing_that_is_refused(asked, fields):
    """MSG-17, MSG-20, MSG-21, MSG-28, RFC 9112 §6.3."""
    assert asked(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\nok").failed()


def test_transfer_encoding_in_http_1_0_is_refused(asked):
    """MSG-19, RFC 9112 §6.1."""
    assert asked(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").failed()


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 2, 2", b"Content-Length: 2\r\nContent-Length: 2"]
)
def test_an_equal_repeat_of_the_length_collapses(asked, fields):
    """MSG-20, RFC 9112 §6.3."""
    assert asked(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\nok").machine.reusable()


@pytest.mark.parametrize(
    "body", [b"x\r\n", b"2\nok", b"2\r\nokk", b"0x2\r\nok\r\n", b"2;" + b"a" * 9999]
)
def test_bad_chunks(asked, body):
    """MSG-03, MSG-21, MSG-22, RFC 9112 §7.1."""
    result = asked(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert result.failed()
    if body.startswith(b"2;"):
        assert isinstance(result.events[-1].error, LimitExceeded)


# RFC 9112 §9: the next request


@pytest.mark.parametrize(
    ("octets", "fields", "reusable"),
    [
        (OK, {}, True),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), {}, False),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: x, CLOSE\r\n\r\n"), {}, False),
        (OK, {"Connection": "close"}, False),
        (OK.replace(b"1.1", b"1.0"), {}, False),
        (
            OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),
            {},
            True,
        ),
    ],
)
def test_persistence(asked, octets, fields, reusable):
    """MSG-26, MSG-27, RFC 9112 §9.3, §9.6: no request after close was sent or received."""
    result = asked(octets, request=request(**fields))
    assert result.machine.reusable() is reusable
    assert result.machine.close_expected() is not reusable
    if reusable:
        result.machine.send_request(request(), end=True)
    else:
        with pytest.raises(LocalProtocolError):
            result.machine.send_request(request(), end=True)


def test_nothing_is_pipelined(asked):
    """UPG-C-12, RFC 9112 §9.3.2: one request, one response, then the next."""
    result = asked()
    assert result.machine.request.target == "/x"
    with pytest.raises(LocalProtocolError):
        result.machine.send_request(request(), end=True)
    result.receive(OK).machine.send_request(request("HEAD"), end=True)
    assert result.collect().sent.count(b"HTTP/1.1") == 2


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 101 x\r\n\r\n", b"x", b"\r\nx", OK])
def test_octets_behind_a_response_answer_nothing(asked, surplus):
    """MSG-33, RFC 9112 §9.2: they end the connection instead."""
    result = asked(OK + surplus)
    assert result.failed()
    assert len(result.all_of(ResponseReceived)) == 1
    with pytest.raises(LocalProtocolError):
        result.machine.send_request(request(), end=True)


def test_empty_lines_behind_a_response_are_no_harm(asked):
    """MSG-33, RFC 9112 §9.2: but there is a bound."""
    result = asked(OK + b"\r\n").receive(b"\r\n")
    assert result.machine.reusable()
    assert asked(OK + b"\r\n" * 100).failed()


def test_octets_before_any_request_answer_nothing():
    """MSG-33, RFC 9112 §9.2."""
    machine = ClientConnection()
    machine.receive_data(OK)
    assert [type(event).__name__ for event in machine.events_received()] == ["Failed"]


def test_an_answer_before_the_request_is_whole(asked):
    """RFC 9112 §9.5: the exchange is over when both are complete."""
    result = asked(OK, request=request("POST", Content_Length="2"), end=False)
    assert result.kinds()[-1] == "MessageComplete"
    assert result.machine.state is ResponseState.COMPLETE
    assert not result.machine.reusable()
    assert not result.machine.close_expected()
    result.machine.send_content(b"hi")
    result.machine.send_end()
    assert result.machine.reusable()


def test_a_closing_answer_before_the_request_is_whole(asked):
    """MSG-26, RFC 9112 §9.6: the rest of the request is not worth sending."""
    octets = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    result = asked(octets, request=request("POST", Content_Length="2"), end=False)
    assert result.machine.close_expected()
    with pytest.raises(LocalProtocolError):
        result.machine.send_content(b"hi")


def test_surplus_before_the_request_is_whole(asked):
    """MSG-33, RFC 9112 §9.2."""
    result = asked(OK + OK, request=request("POST", Content_Length="2"), end=False)
    assert result.failed()
    with pytest.raises(LocalProtocolError):
        result.machine.send_content(b"hi")


# RFC 9112 §8: the server leaves


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"HTTP",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 103 x\r\n\r\n",
        OK[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_an_incomplete_response_is_an_error(asked, octets):
    """MSG-37, RFC 9112 §8."""
    result = asked(octets).eof()
    assert result.failed()
    assert "MessageComplete" not in result.kinds()
    assert result.eof().failed()


def test_an_end_between_responses_is_none(asked):
    """MSG-37, RFC 9112 §8."""
    result = asked(OK).eof()
    assert result.kinds()[-1] == "PeerClosed"
    assert not result.machine.reusable()
    assert result.machine.close_expected()
    assert result.receive(OK).kinds()[-1] == "PeerClosed"


def test_an_end_after_the_response_and_within_the_request(asked):
    result = asked(OK, request=request("POST", Content_Length="2"), end=False).eof()
    assert result.kinds()[-1] == "PeerClosed"
    assert result.machine.close_expected()


def test_nothing_behind_a_bad_response_is_read(asked):
    """SEC-43, RFC 9112 §2.2."""
    result = asked(b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n" + OK).receive(OK).eof()
    assert result.kinds() == ["Failed"]


def test_error_texts_escape_the_peers_octets(asked):
    """SEC-44, RFC 9110 §17.2."""
    error = asked(b"HTTP/1.1 2\x1b[m OK\r\n\r\n").events[0].error
    assert "\x1b" not in str(error)
    assert "\\x1b" in str(error)


def test_data_in_any_buffer_is_taken(asked):
    result = asked()
    result.machine.receive_data(bytearray(OK[:9]))
    result.machine.receive_data(memoryview(OK)[9:])
    assert content(result.collect()) == b"ok"
