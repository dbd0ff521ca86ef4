"""What a server writes: RFC 9112 §4, §6; RFC 9110 §8.6, §9.3.2, §15."""

from __future__ import annotations

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Response

HOST = b"Host: a\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
HEAD = b"HEAD / HTTP/1.1\r\n" + HOST
GET_1_0 = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"


def framing(octets: bytes) -> dict[str, str]:
    """The framing and connection fields of the last head in ``octets``."""
    lines = octets.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    names = ("Content-Length", "Transfer-Encoding", "Connection")
    return {name: value for name, value in pairs if name in names}


def body(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]


# RFC 9112 §6: framing


def test_a_complete_answer_gets_its_length(served):
    """RFC 9110 §8.6."""
    result = served(GET).answer(Response(200, content=b"hello"))
    assert result.sent == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def test_an_open_answer_is_chunked(served):
    """RFC 9112 §7.1."""
    result = served(GET)
    result.machine.send_response(Response(200, content=b"first"))
    result.machine.send_content(b"")
    result.machine.send_content(b"x" * 17)
    result.machine.send_end()
    result.collect()
    assert framing(result.sent) == {"Transfer-Encoding": "chunked"}
    assert body(result.sent) == b"5\r\nfirst\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"
    assert result.machine.request is None


def test_trailers_go_behind_chunks(served):
    """RFC 9112 §7.1.2."""
    result = served(GET)
    result.machine.send_response(Response(200))
    result.machine.send_end(Fields({"X-Sum": "1"}))
    assert body(result.collect().sent) == b"0\r\nX-Sum: 1\r\n\r\n"


def test_trailers_go_nowhere_else(served):
    """RFC 9110 §6.5.1: a message that is not chunked has no trailer section."""
    result = served(GET)
    result.machine.send_response(Response(200, Fields({"Content-Length": "1"}), content=b"x"))
    result.machine.send_end(Fields({"X-Sum": "1"}))
    assert b"X-Sum" not in result.collect().sent


def test_a_given_length_is_kept(served):
    result = served(GET)
    result.machine.send_response(Response(200, Fields({"Content-Length": "5"}), content=b"he"))
    result.machine.send_content(b"llo")
    result.machine.send_end()
    assert result.collect().sent == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def test_http_1_0_gets_no_chunks(served):
    """MSG-27, RFC 9112 §6.1: the end of the connection frames it."""
    result = served(GET_1_0)
    result.machine.send_response(Response(200, content=b"first"))
    result.machine.send_content(b"second")
    result.machine.send_end()
    result.collect()
    assert framing(result.sent) == {"Connection": "close"}
    assert body(result.sent) == b"firstsecond"
    assert result.machine.close_expected()


def test_the_callers_chunked_is_taken_as_said(served):
    """MSG-29, RFC 9112 §6.1: sent once."""
    result = served(GET)
    result.machine.send_response(Response(200, Fields({"transfer-encoding": "Chunked"})))
    assert result.collect().sent.lower().count(b"transfer-encoding") == 1
    result = served(GET_1_0)
    result.machine.send_response(Response(200, Fields({"Transfer-Encoding": "chunked"})))
    assert "Transfer-Encoding" not in framing(result.collect().sent)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_statuses_without_content(served, status):
    """MSG-32, RFC 9112 §6.1, RFC 9110 §8.6, §15.3.6, §15.4.5."""
    fields = Fields({"Content-Length": "5"})
    result = served(GET).answer(Response(status, fields, content=b"hello"))
    expected = {204: {}, 205: {"Content-Length": "0"}, 304: {"Content-Length": "5"}}[status]
    assert framing(result.sent) == expected
    assert body(result.sent) == b""
    assert result.machine.request is None, "the connection persists"


def test_a_204_loses_transfer_encoding(served):
    """MSG-32, RFC 9112 §6.1."""
    result = served(GET)
    result.machine.send_response(Response(204, Fields({"Transfer-Encoding": "chunked"})))
    result.machine.send_content(b"ignored")
    result.machine.send_end()
    assert result.collect().sent == b"HTTP/1.1 204 No Content\r\n\r\n"


def test_the_answer_to_head_has_the_length_only(served):
    """RFC 9110 §9.3.2."""
    for response in (
        Response(200, content=b"hello"),
        Response(200, Fields({"Content-Length": "5"})),
    ):
        result = served(HEAD)
        result.machine.send_response(response)
        result.machine.send_content(b"hello")
        result.machine.send_end()
        assert framing(result.collect().sent) == {"Content-Length": "5"}
        assert body(result.sent) == b""
    assert framing(served(HEAD).answer(Response(200)).sent) == {}


# The caller's mistakes


@pytest.mark.parametrize(
    "lines",
    [
        [("Content-Length", "+5")],
        [("Content-Length", "5"), ("Content-Length", "5")],
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "gzip")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "4")],
        [("Content-Length", "6")],
    ],
)
def test_framing_that_cannot_be_sent(served, lines):
    """MSG-20, MSG-29, RFC 9110 §8.6, RFC 9112 §6.2: a local error, and nothing written."""
    result = served(GET)
    with pytest.raises(LocalProtocolError):
        result.answer(Response(200, Fields(lines), content=b"hello"))
    assert result.collect().sent == b""
    assert result.answer().statuses() == [200], "another answer can still go out"


def test_too_much_content(served):
    """RFC 9110 §8.6."""
    result = served(GET)
    result.machine.send_response(Response(200, Fields({"Content-Length": "2"}), content=b"x"))
    with pytest.raises(LocalProtocolError):
        result.machine.send_content(b"yz")
    result.machine.send_content(b"y")
    result.machine.send_end()
    assert body(result.collect().sent) == b"xy"


def test_too_little_content(served):
    """RFC 9110 §8.6: an answer that cannot be completed is given up."""
    result = served(GET)
    result.machine.send_response(Response(200, Fields({"Content-Length": "2"}), content=b"x"))
    with pytest.raises(LocalProtocolError):
        result.machine.send_end()
    result.machine.abort_response()
    assert result.machine.close_expected()


def test_content_after_the_end(served):
    result = served(GET).answer()
    with pytest.raises(LocalProtocolError):
        result.machine.send_content(b"x")
    with pytest.raises(LocalProtocolError):
        result.machine.send_response(Response(200))


@pytest.mark.parametrize("status", [100, 101, 199, 600, 1000])
def test_a_status_that_is_no_final_one(served, status):
    """MSG-36, RFC 9110 §15."""
    result = served(GET)
    with pytest.raises(LocalProtocolError):
        result.answer(Response(status))
    assert result.collect().sent == b""


@pytest.mark.parametrize("reason", ["a\r\nX: y", "a\nb", "a\x00", "\x1b"])
def test_a_reason_phrase_cannot_split_the_response(served, reason):
    """SEC-32, MSG-02, RFC 9112 §11.1: a local error, and nothing written."""
    result = served(GET)
    with pytest.raises(LocalProtocolError):
        result.answer(Response(200, reason=reason))
    assert result.collect().sent == b""


# RFC 9112 §4, RFC 9110 §6.6.1, §10.2.4


def test_status_lines(served):
    """RFC 9112 §4: the second space is there even without a reason."""
    assert served(GET).answer(Response(299)).sent.startswith(b"HTTP/1.1 299 \r\n")
    assert (
        served(GET).answer(Response(200, reason="Fine")).sent.startswith(b"HTTP/1.1 200 Fine\r\n")
    )
    assert served(GET_1_0).answer(Response(404)).sent.startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_date_and_server_are_added(served):
    """RFC 9110 §6.6.1."""
    result = served(GET, date=lambda: "now", server_name="s").answer(Response(200))
    assert b"\r\nDate: now\r\nServer: s\r\n" in result.sent


def test_date_and_server_of_the_caller_stay(served):
    """MSG-29, RFC 9110 §5.3: single-valued fields are not sent twice."""
    response = Response(200, Fields({"date": "then", "server": "t"}))
    result = served(GET, date=lambda: "now", server_name="s").answer(response)
    assert result.sent.lower().count(b"date:") == result.sent.lower().count(b"server:") == 1


def test_the_callers_fields_are_not_changed(served):
    response = Response(200, Fields({"Connection": "close"}), content=b"x")
    served(GET, date=lambda: "now").answer(response)
    assert list(response.fields) == [("Connection", "close")]


# RFC 9110 §9.3.6


def test_a_refused_connect_ends_the_connection(served):
    """RFC 9931 §8: what was meant for the tunnel is never read as a request."""
    result = served(b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n" + GET)
    result.answer(Response.text(403, "no"))
    assert result.statuses() == [403]
    assert b"Connection: close\r\n" in result.sent
    assert result.kinds() == ["RequestReceived", "MessageComplete"]
    assert result.machine.close_expected()


def test_a_2xx_to_connect_is_no_ordinary_answer(served):
    """CON-05, RFC 9110 §9.3.6."""
    result = served(b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        result.answer(Response(200))
