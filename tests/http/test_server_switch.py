"""The switch at the server: RFC 9110 §7.8, §9.3.6, §15.2.2; RFC 2817 §3.3."""

from __future__ import annotations

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.events import ContentReceived, RequestReceived, Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.server import RequestState, ServerConnection

GET = b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
OFFER = b"Host: a.example\r\nConnection: Upgrade\r\nUpgrade: p/1\r\n"
UPGRADE = b"GET /x HTTP/1.1\r\n" + OFFER + b"\r\n"
LENGTH = b"POST /x HTTP/1.1\r\n" + OFFER + b"Content-Length: 5\r\n\r\nhello"
CHUNKS = (
    b"POST /x HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)
EXPECT = b"POST /x HTTP/1.1\r\n" + OFFER + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
CONNECT = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n\r\n"


def test_the_head_of_the_101_is_all_there_is(served):
    """UPG-S-10, MSG-32, RFC 9110 §15.2: the next octet belongs to the new protocol."""
    result = served(UPGRADE, date=lambda: "now", server_name="s").switch()
    assert result.sent == SWITCHING
    assert result.kinds() == ["RequestReceived", "MessageComplete", "Switched"]
    assert result.machine.data_to_send() == []


def test_the_event_carries_all_that_is_needed(served):
    """UPG-S-10, UPG-S-18, RFC 9110 §7.8."""
    result = served(UPGRADE + b"NEW").switch()
    event = result.all_of(Switched)[0]
    assert event.protocol == "p/1"
    assert event.request is result.all_of(RequestReceived)[0].request
    assert event.response.status == 101
    assert event.trailing_data == b"NEW"


@pytest.mark.parametrize("octets", [LENGTH, CHUNKS])
def test_input_begins_behind_the_content(served, octets):
    """UPG-S-11, RFC 9110 §7.8: content as HTTP, then the new protocol, in one segment."""
    result = served(octets + b"NEW").switch()
    assert b"".join(event.data for event in result.all_of(ContentReceived)) == b"hello"
    assert result.all_of(Switched)[0].trailing_data == b"NEW"


@pytest.mark.parametrize("octets", [LENGTH[:-1], CHUNKS[:-1], EXPECT])
def test_no_switch_before_the_request_is_complete(served, octets):
    """UPG-S-11, MSG-37, RFC 9110 §7.8: refused locally, and nothing written."""
    result = served(octets)
    with pytest.raises(LocalProtocolError):
        result.switch()
    assert result.collect().sent == b""
    result.eof()
    assert result.statuses() == [400]
    assert not result.all_of(Switched)


def test_100_goes_ahead_of_101(served):
    """UPG-S-12, RFC 9110 §7.8: sent while the content is awaited, it is sent once."""
    result = served(EXPECT)
    result.machine.send_continue()
    result.receive(b"helloNEW").switch()
    assert result.sent == b"HTTP/1.1 100 Continue\r\n\r\n" + SWITCHING


@pytest.mark.parametrize("octets", [EXPECT + b"hello", EXPECT.replace(b"h: 5", b"h: 0")])
def test_100_is_not_skipped_because_the_content_is_there(served, octets):
    """UPG-S-12, RFC 9110 §7.8: the specific rule wins over §10.1.1."""
    result = served(octets).switch()
    assert result.statuses() == [100, 101]
    assert result.sent.endswith(SWITCHING)


def test_no_101_to_http_1_0(served):
    """UPG-S-01, MSG-31, RFC 9110 §7.8: refused locally; an ordinary answer is left."""
    result = served(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"))
    with pytest.raises(LocalProtocolError):
        result.switch()
    assert result.answer().statuses() == [200]


@pytest.mark.parametrize("octets", [UPGRADE, LENGTH, CHUNKS])
def test_a_declined_offer_is_an_ordinary_exchange(served, octets):
    """UPG-S-17, UPG-S-18, RFC 9931 §5: the octets behind it are the next request."""
    result = served(octets + GET).answer().answer()
    assert result.statuses() == [200, 200]
    assert [event.request.target for event in result.all_of(RequestReceived)] == ["/x", "/2"]


def test_octets_behind_the_request_are_nobodys_until_the_decision(served):
    """UPG-S-18, RFC 9110 §7.8: accepted, the same octets are the new protocol's only."""
    result = served(UPGRADE + GET)
    result.receive(GET)
    assert result.kinds() == ["RequestReceived", "MessageComplete"]
    result.switch()
    assert result.all_of(Switched)[0].trailing_data == GET + GET
    assert len(result.all_of(RequestReceived)) == 1
    assert result.machine.pending_octets == 0


def test_earlier_requests_are_answered_first(served):
    """UPG-S-19, MSG-25, RFC 9112 §9.3.2."""
    result = served(GET + GET + UPGRADE + GET).answer().answer().switch()
    assert result.statuses() == [200, 200, 101]
    assert result.all_of(Switched)[0].trailing_data == GET


def test_the_machine_is_finished_for_good(served):
    """UPG-S-19, RFC 9110 §7.8: no later octet makes an HTTP/1.1 response."""
    result = served(UPGRADE).switch()
    assert result.machine.state is RequestState.SWITCHED
    with pytest.raises(LocalProtocolError):
        result.machine.receive_data(GET)
    for call in (
        lambda: result.machine.send_response(Response(200)),
        lambda: result.machine.send_content(b"x"),
        lambda: result.machine.switch(Response(101), "p"),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    result.eof()
    assert result.kinds()[-1] == "Switched"
    assert result.sent == SWITCHING


def test_close_has_no_effect_on_a_switch(served):
    """UPG-S-22, RFC 9112 §9.6: the connection is the new protocol's."""
    result = served(UPGRADE.replace(b"Connection: ", b"Connection: close, ")).switch()
    assert result.sent == SWITCHING
    assert not result.machine.close_expected()


@pytest.mark.parametrize(
    "octets",
    [
        UPGRADE.replace(b"Host: a.example\r\n", b""),
        UPGRADE.replace(b"a.example", b"a b"),
        UPGRADE.replace(b"Host", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\nHost"),
        UPGRADE.replace(b"Upgrade: p", b"Upgrade : p"),
        UPGRADE.replace(b"p/1", b"p\x00q"),
        UPGRADE.replace(b"GET /x", b"GET /x y"),
    ],
)
def test_a_bad_request_never_comes_up_for_decision(served, octets):
    """UPG-S-20, RFC 9112 §3.2, §6.3."""
    result = served(octets)
    assert result.refused(400)
    assert result.kinds() == ["Failed"]
    with pytest.raises(LocalProtocolError):
        result.switch()


@pytest.mark.parametrize("field", ["Content-Length", "Transfer-Encoding"])
@pytest.mark.parametrize(("octets", "status"), [(UPGRADE, 101), (CONNECT, 200)])
def test_a_switching_response_has_no_framing_fields(served, octets, status, field):
    """MSG-32, CON-05, RFC 9112 §6.1, RFC 9110 §9.3.6."""
    result = served(octets)
    with pytest.raises(LocalProtocolError):
        result.machine.switch(Response(status, Fields({field: "0"})), "p")
    assert result.collect().sent == b""


def test_a_switching_response_cannot_be_split(served):
    """SEC-32, RFC 9112 §11.1."""
    result = served(UPGRADE)
    with pytest.raises(LocalProtocolError):
        result.machine.switch(Response(101, reason="a\r\nb"), "p")
    assert result.collect().sent == b""
    assert result.switch().sent == SWITCHING


@pytest.mark.parametrize(
    ("octets", "status"), [(UPGRADE, 200), (UPGRADE, 100), (CONNECT, 300), (CONNECT, 100)]
)
def test_other_statuses_switch_nothing(served, octets, status):
    """UPG-S-19, RFC 9110 §15.2.2: 101, or a 2xx to CONNECT."""
    result = served(octets)
    with pytest.raises(LocalProtocolError):
        result.machine.switch(Response(status), "p")


def test_no_switch_once_an_answer_has_begun(served):
    """UPG-S-19, RFC 9110 §15.2."""
    result = served(UPGRADE)
    result.machine.send_response(Response(200))
    with pytest.raises(LocalProtocolError):
        result.switch()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_connect_becomes_a_tunnel(served, version):
    """CON-05, RFC 9110 §9.3.6: the tunnel begins behind the empty line."""
    result = served(CONNECT.replace(b"1.1", version) + b"\x16\x03\x01")
    result.machine.switch(Response(200), "CONNECT")
    result.collect()
    assert result.sent == b"HTTP/1.1 200 OK\r\n\r\n"
    assert result.all_of(Switched)[0].trailing_data == b"\x16\x03\x01"


def test_a_switch_after_the_peers_end(served):
    """UPG-S-18, RFC 9110 §7.8: a half-closed peer can still read the new protocol."""
    result = served(UPGRADE + b"NEW").eof().switch()
    assert result.all_of(Switched)[0].trailing_data == b"NEW"


# RFC 2817 §3.3: HTTP/1.1 again, above TLS


def test_a_machine_that_owes_an_answer():
    """TLS-06, UPG-S-14, RFC 2817 §3.3: its first act answers the request that asked for TLS."""
    request = Request("OPTIONS", "*", Fields({"Upgrade": "TLS/1.2", "Connection": "Upgrade"}))
    machine = ServerConnection.answering(request, date=lambda: "now", server_name="s")
    kinds = [type(event).__name__ for event in machine.events_received()]
    assert kinds == ["RequestReceived", "MessageComplete"]
    assert machine.request is request
    machine.receive_data(GET)
    assert machine.events_received() == []
    machine.send_response(Response(200), end=True)
    assert machine.data_to_send()[0].startswith(b"HTTP/1.1 200 OK\r\n")
    received = machine.events_received()[0]
    assert isinstance(received, RequestReceived)
    assert received.request.target == "/2"


def test_a_machine_that_owes_the_last_answer():
    """MSG-26, RFC 9112 §9.6: close counts behind a switch to HTTP/1.1."""
    machine = ServerConnection.answering(Request("GET", "/", Fields({"Connection": "close"})))
    machine.send_response(Response(200), end=True)
    assert machine.close_expected()


def test_the_scheme_is_that_of_the_connection():
    machine = ServerConnection(scheme="https")
    machine.receive_data(GET)
    received = machine.events_received()[0]
    assert isinstance(received, RequestReceived)
    assert received.request.scheme == "https"
