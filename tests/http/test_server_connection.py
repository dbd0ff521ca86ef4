"""One request after the other: RFC 9112 §9; RFC 9110 §10.1.1."""

from __future__ import annotations

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.events import RequestReceived
from switchover.http.fields import Fields
from switchover.http.held import HeldOctets
from switchover.http.limits import Limits
from switchover.http.messages import Response
from switchover.http.server import AnswerState, RequestState

GET = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
NEXT = b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
EXPECT = b"POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
POST = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


def targets(result) -> list[str]:
    return [event.request.target for event in result.all_of(RequestReceived)]


CLOSE = b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("octets", "rest"),
    [
        (CLOSE, False),
        (CLOSE + NEXT, True),
        (CLOSE[:-2] + b"Content-Length: 5\r\n\r\n", True),
        (CLOSE[:-2] + b"Content-Length: 5\r\n\r\nhello", False),
        (b"GET /1 HTTP/1.1\r\n\r\n", True),
        (b"nonsense\r\n\r\n", True),
    ],
)
def test_whether_the_peer_may_be_sending_still(served, octets, rest):
    """RFC 9112 §9.6: only what has been read whole can be closed at once."""
    result = served(octets)
    if result.machine.request is not None:
        result.answer()
    assert result.machine.close_expected()
    assert result.machine.rest_expected() is rest
    assert not result.eof().machine.rest_expected()


def test_nothing_is_expected_of_an_idle_connection(served):
    result = served(GET).answer()
    result.machine.time_out("idle")
    assert result.machine.close_expected()
    assert not result.machine.rest_expected()


# §9.3: persistence


@pytest.mark.parametrize(
    ("head", "persists"),
    [
        (b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: x-close\r\n\r\n", True),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", False),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", False),
        (b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: x\r\n\r\n", False),
        (b"GET /1 HTTP/1.0\r\nHost: a\r\n\r\n", False),
        (b"GET /1 HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"GET /1 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", False),
    ],
)
def test_persistence(served, head, persists):
    """MSG-26, MSG-27, RFC 9112 §9.3, §9.6: the next request is read, or it is not."""
    result = served(head + NEXT).answer()
    assert targets(result) == (["/1", "/2"] if persists else ["/1"])
    assert result.machine.close_expected() is not persists
    assert (b"Connection: close\r\n" in result.sent) is not persists


def test_a_kept_http_1_0_connection_is_told(served):
    """MSG-27, RFC 9112 §9.3."""
    result = served(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()
    assert b"\r\nConnection: keep-alive\r\n" in result.sent


def test_too_many_empty_connection_options_are_refused(served):
    """MSG-28, RFC 9110 §5.6.1."""
    assert served(GET[:-2] + b"Connection: " + b"," * 10_000 + b"\r\n\r\n").refused(400)


def test_a_close_of_our_own_ends_the_connection(served):
    """MSG-26, RFC 9112 §9.6: no request behind it is processed."""
    result = served(GET + NEXT)
    result.answer(Response.text(200, "ok", {"Connection": "close"}))
    assert targets(result) == ["/1"]
    assert result.machine.close_expected()
    assert result.receive(NEXT).eof().kinds() == ["RequestReceived", "MessageComplete"]


def test_connection_options_are_merged_into_one_line(served):
    """MSG-29, RFC 9110 §7.6.1: no client that reads the last line only misses one."""
    result = served(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    result.answer(
        Response.text(426, "no", [("Upgrade", "p"), ("connection", "Upgrade,,keep-alive")])
    )
    assert result.sent.lower().count(b"connection:") == 1
    assert b"\r\nConnection: Upgrade, close\r\n" in result.sent


# §9.3.2: pipelining


def test_pipelined_requests_are_answered_in_order(served):
    """MSG-25, RFC 9112 §9.3.2: the second is not even read before the first is answered."""
    result = served(GET + NEXT + GET)
    assert targets(result) == ["/1"]
    assert result.machine.pending_octets == len(NEXT + GET)
    result.answer(Response.text(200, "first"))
    assert targets(result) == ["/1", "/2"]
    result.receive(NEXT).answer(Response.text(200, "second")).answer().answer()
    assert targets(result) == ["/1", "/2", "/1", "/2"]
    assert result.sent.index(b"first") < result.sent.index(b"second")
    assert result.machine.pending_octets == 0


def test_the_reader_is_told_when_enough_is_held(served):
    """SEC-18, RFC 9112 §9.3.2: held octets are bounded."""
    result = served(GET, limits=Limits(held=10))
    assert not result.receive(NEXT[:9]).machine.receiving_paused()
    assert result.receive(NEXT[9:]).machine.receiving_paused()
    result.answer()
    assert not result.machine.receiving_paused()
    assert targets(result) == ["/1", "/2"]


def test_held_pieces_are_read_in_order(served):
    """MSG-25, RFC 9112 §9.3.2: however many reads they came in."""
    result = served(GET)
    for octet in NEXT + GET:
        result.receive(bytes([octet]))
    result.answer().answer()
    assert targets(result) == ["/1", "/2", "/1"]


def test_many_pipelined_requests_take_linear_time(served):
    result = served(GET * 3000)
    for _ in range(3000):
        result.machine.send_response(Response.text(200, ""), end=True)
    assert len(targets(result.collect())) == 3000


def test_a_fault_behind_a_request_waits_for_its_answer(served):
    """SEC-43, MSG-25, RFC 9112 §9.3.2."""
    result = served(GET + b"bad\r\n\r\n" + NEXT)
    assert result.kinds() == ["RequestReceived", "MessageComplete"]
    result.answer()
    assert result.statuses() == [200, 400]
    assert result.kinds()[2:] == ["Failed"]


# §9.3, RFC 9110 §6.4: content that nobody reads


def test_unread_content_is_read_past(served):
    """MSG-24, RFC 9112 §9.3: the next request is parsed at the right octet."""
    result = served(POST).answer(Response.text(403, "no"))
    assert result.machine.state is RequestState.CONTENT
    assert result.machine.receiving_begun()
    assert b"Connection: close" not in result.sent
    result.receive(b"GET " + b"/" + NEXT)
    assert result.kinds() == ["RequestReceived", "RequestReceived", "MessageComplete"]
    assert targets(result) == ["/1", "/2"]


def test_content_that_is_too_long_to_read_past_ends_the_connection(served):
    """MSG-24, RFC 9112 §9.3: announced beforehand where the length is known."""
    limits = Limits(discarded_content=4)
    result = served(POST, limits=limits).answer(Response.text(403, "no"))
    assert b"Connection: close\r\n" in result.sent
    assert result.machine.close_expected()


def test_endless_chunks_are_not_read_past_for_ever(served):
    """MSG-24, RFC 9112 §9.3."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = served(head, limits=Limits(discarded_content=4)).answer()
    assert not result.receive(b"4\r\nabcd\r\n").machine.close_expected()
    assert result.receive(b"1\r\ne\r\n0\r\n\r\n" + NEXT).machine.close_expected()
    assert targets(result) == ["/"]


def test_a_fault_in_content_read_past_ends_the_connection(served):
    """SEC-43, RFC 9112 §7.1: with no second answer."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = served(head).answer().receive(b"x\r\n" + NEXT)
    assert result.statuses() == [200]
    assert result.kinds() == ["RequestReceived", "Failed"]
    assert result.machine.close_expected()


def test_content_arrives_while_the_answer_goes_out(served):
    result = served(POST)
    result.machine.send_response(Response(200))
    result.receive(b"hello" + NEXT)
    assert result.kinds() == ["RequestReceived", "ContentReceived", "MessageComplete"]
    result.machine.send_end()
    assert targets(result.collect()) == ["/1", "/2"]


# RFC 9110 §10.1.1: Expect


def test_continue_is_sent_when_asked_for(served):
    """MSG-34, RFC 9110 §10.1.1: before any content, and once."""
    result = served(EXPECT)
    assert result.machine.continue_expected()
    result.machine.send_continue()
    result.machine.send_continue()
    assert result.collect().sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not result.machine.continue_expected()
    result.receive(b"hello" + NEXT).answer()
    assert result.statuses() == [100, 200]
    assert targets(result) == ["/1", "/2"]


@pytest.mark.parametrize(
    "octets",
    [
        POST,
        GET,
        EXPECT + b"hello",
        EXPECT.replace(b"1.1", b"1.0"),
        EXPECT.replace(b"100-continue", b"other"),
        EXPECT.replace(b"Content-Length: 5", b"Content-Length: 0"),
    ],
)
def test_continue_is_not_sent_otherwise(served, octets):
    """MSG-31, MSG-34, RFC 9110 §10.1.1, §15.2."""
    result = served(octets)
    result.machine.send_continue()
    assert result.collect().sent == b""


def test_a_final_answer_instead_of_continue_ends_the_connection(served):
    """MSG-34, RFC 9110 §10.1.1: nobody knows whether the content will come."""
    result = served(EXPECT).answer(Response.text(413, "no"))
    assert result.statuses() == [413]
    assert b"Connection: close\r\n" in result.sent
    assert result.machine.close_expected()
    result.machine.send_continue()
    assert result.collect().statuses() == [413]


def test_a_client_that_does_not_wait_keeps_its_connection(served):
    """MSG-34, RFC 9110 §10.1.1."""
    result = served(EXPECT + b"he").answer(Response.text(403, "no")).receive(b"llo" + NEXT)
    assert targets(result) == ["/1", "/2"]


# RFC 9110 §15.2: interim responses


def test_interim_responses(served):
    """MSG-32, RFC 9110 §15.2: no content, so no framing fields."""
    result = served(GET)
    result.machine.send_interim(Response(103, Fields({"Link": "</a>"})))
    result.machine.send_interim(Response(102))
    result.answer()
    assert result.statuses() == [103, 102, 200]
    assert result.sent.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 ")


@pytest.mark.parametrize("field", ["Content-Length", "Transfer-Encoding"])
def test_an_interim_response_has_no_framing(served, field):
    """MSG-32, RFC 9112 §6.1, RFC 9110 §8.6."""
    result = served(GET)
    with pytest.raises(LocalProtocolError):
        result.machine.send_interim(Response(103, Fields({field: "0"})))
    assert result.collect().sent == b""


@pytest.mark.parametrize("status", [101, 200, 99])
def test_what_is_no_interim_response(served, status):
    result = served(GET)
    with pytest.raises(LocalProtocolError):
        result.machine.send_interim(Response(status))
    assert result.collect().sent == b""


def test_no_interim_response_goes_to_http_1_0(served):
    """MSG-31, RFC 9110 §15.2: with Expect neither."""
    result = served(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    result.machine.send_continue()
    result.machine.send_interim(Response(103))
    result.receive(b"x").answer()
    assert result.statuses() == [200]


def test_a_continue_given_as_a_response_counts(served):
    """MSG-34, RFC 9110 §10.1.1."""
    result = served(EXPECT)
    result.machine.send_interim(Response(100))
    result.machine.send_continue()
    assert result.collect().statuses() == [100]


def test_no_interim_response_after_the_final_one(served):
    """MSG-25, RFC 9110 §15.2."""
    result = served(GET)
    result.machine.send_response(Response(200))
    for send in (result.machine.send_interim, result.machine.send_response):
        with pytest.raises(LocalProtocolError):
            send(Response(103 if send == result.machine.send_interim else 200))


# The caller's mistakes, and the end


def test_nothing_can_be_answered_without_a_request(served):
    result = served()
    assert result.machine.answer_state is AnswerState.NONE
    assert result.machine.request is None
    for call in (
        lambda: result.machine.send_response(Response(200)),
        lambda: result.machine.send_interim(Response(103)),
        lambda: result.machine.send_content(b"x"),
        lambda: result.machine.send_end(),
        lambda: result.machine.switch(Response(101), "p"),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    result.machine.send_continue()
    assert result.collect().sent == b""


def test_nothing_can_be_answered_after_a_failure(served):
    """SEC-43, RFC 9112 §2.2: one answer, and that was the error."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = served(head + b"x\r\n")
    assert result.refused(400)
    with pytest.raises(LocalProtocolError):
        result.machine.send_response(Response(200))
    with pytest.raises(LocalProtocolError):
        result.machine.switch(Response(101), "p")


def test_a_failure_in_mid_answer_cuts_it_off(served):
    """SEC-43, RFC 9112 §8: no error is written into another response."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = served(head)
    result.machine.send_response(Response(200))
    sent = result.collect().sent
    result.receive(b"x\r\n")
    assert result.sent == sent
    assert result.machine.close_expected()
    for call in (lambda: result.machine.send_content(b"x"), lambda: result.machine.send_end()):
        with pytest.raises(LocalProtocolError):
            call()


def test_the_error_answer_to_head_has_no_content(served):
    """RFC 9110 §9.3.2."""
    head = b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = served(head + b"x\r\n")
    assert result.sent.endswith(b"\r\n\r\n")
    assert b"400 Bad Request\n" not in result.sent


def test_an_aborted_answer_ends_the_connection(served):
    result = served(GET + NEXT)
    result.machine.send_response(Response(200))
    result.machine.abort_response()
    assert result.machine.close_expected()
    with pytest.raises(LocalProtocolError):
        result.machine.send_content(b"x")
    assert targets(result.collect()) == ["/1"]


def test_the_peer_leaves_while_it_is_answered(served):
    """MSG-37, RFC 9112 §8: the request is whole; its answer goes out, then it is over."""
    result = served(GET).eof().eof()
    assert result.kinds() == ["RequestReceived", "MessageComplete", "PeerClosed"]
    result.receive(NEXT).answer()
    assert result.statuses() == [200]
    assert result.kinds()[2:] == ["PeerClosed"]
    assert result.machine.close_expected()


def test_the_peer_leaves_with_requests_still_held(served):
    """MSG-37, RFC 9112 §8: what it sent before is answered."""
    result = served(GET + NEXT).eof()
    assert "PeerClosed" not in result.kinds()
    result.answer()
    assert targets(result) == ["/1", "/2"]
    assert result.kinds()[-1] == "PeerClosed"
    result.answer()
    assert result.machine.close_expected()
    assert result.statuses() == [200, 200]


def test_the_peer_leaves_within_a_held_request(served):
    """MSG-37, RFC 9112 §8."""
    result = served(GET + NEXT[:-2]).eof().answer()
    assert result.statuses() == [200, 400]
    assert result.kinds()[-1] == "Failed"


def test_data_in_any_buffer_is_taken(served):
    result = served()
    result.machine.receive_data(bytearray(GET[:5]))
    result.machine.receive_data(memoryview(GET)[5:])
    assert targets(result.collect()) == ["/1"]
    assert result.machine.request.target == "/1"


def test_receiving_begun(served):
    result = served(b"\r\n")
    assert not result.machine.receiving_begun()
    assert result.receive(b"G").machine.receiving_begun()
    assert not result.receive(GET[1:]).machine.receiving_begun()


# Ending early


def test_keep_alive_can_be_stopped(served):
    """MSG-26, RFC 9112 §9.6: the current request is answered, and none behind it."""
    result = served(GET + NEXT)
    result.machine.stop_keep_alive()
    assert not result.machine.close_expected()
    result.answer()
    assert b"Connection: close\r\n" in result.sent
    assert targets(result) == ["/1"]
    assert result.machine.close_expected()


@pytest.mark.parametrize(("octets", "closed"), [(b"", True), (b"\r\n", True), (b"GET", False)])
def test_stopping_keep_alive_closes_an_idle_connection(served, octets, closed):
    """MSG-26, RFC 9112 §9.6: but not one with a request on its way."""
    result = served(octets)
    result.machine.stop_keep_alive()
    assert result.machine.close_expected() is closed


@pytest.mark.parametrize(
    ("octets", "content"), [(b"", b"busy"), (GET, b"busy"), (GET.replace(b"GET", b"HEAD"), b"")]
)
def test_a_connection_can_be_refused(served, octets, content):
    """MSG-26, RFC 9110 §15.6.4: one answer, then nothing."""
    result = served(octets, server_name="s")
    result.machine.refuse(Response.text(503, "busy"))
    head, _, body = result.collect().sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Connection: close" in head
    assert body == content
    assert result.machine.close_expected()
    result.machine.refuse(Response.text(503, "busy"))
    result.machine.time_out("too slow")
    assert result.collect().statuses() == [503]


def test_an_answer_that_has_begun_is_not_refused(served):
    result = served(GET)
    result.machine.send_response(Response(200))
    result.machine.refuse(Response.text(503, "busy"))
    assert result.collect().statuses() == [200]
    assert result.machine.close_expected()


@pytest.mark.parametrize(
    ("octets", "statuses"), [(b"", []), (b"\r\n", []), (b"G", [408]), (GET, [408]), (POST, [408])]
)
def test_a_slow_client_is_told(served, octets, statuses):
    """MSG-37, RFC 9110 §15.5.9: if it has begun a request."""
    result = served(octets)
    result.machine.time_out("the head took too long")
    assert result.collect().statuses() == statuses
    assert (b"the head took too long" in result.sent) is bool(statuses)
    assert result.machine.close_expected()


def test_held_pieces_move_whole():
    """UPG-S-18: from any place in the first, and none copied twice or lost."""
    held = HeldOctets()
    held.hold(b"abc", 3)
    assert len(held) == 0
    held.hold(b"abcdef", 4)
    held.hold(b"ghi", 1)
    held.hold(b"jk")
    assert len(held) == 6
    assert held.take() == b"efhijk"
    assert held.take() == b""
