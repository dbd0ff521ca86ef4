"""The switch at the client: RFC 9110 §7.8, §9.3.6, §15.2.2; RFC 2817 §3.3."""

from __future__ import annotations

import pytest

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.client import ClientConnection, ResponseState
from switchover.http.events import Failed, Switched
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TUNNEL = b"HTTP/1.1 200 OK\r\n\r\n"


def offer(method: str = "GET", **fields: str) -> Request:
    lines = {"Connection": "Upgrade", "Upgrade": "p/1"}
    lines |= {name.replace("_", "-"): value for name, value in fields.items()}
    return Request(method, "/x", Fields(lines), authority="a")


def take(request: Request, response) -> str:
    return response.fields["Upgrade"]


def refuse(request: Request, response) -> str:
    raise RemoteProtocolError("not offered", rule="RFC 9110 §7.8")


def test_a_101_switches(asked):
    """UPG-C-08, RFC 9110 §15.2.2: and what follows it belongs to the new protocol."""
    request = offer()
    result = asked(SWITCHING + b"\x81\x02hi", request=request, switch=take)
    event = result.all_of(Switched)[0]
    assert result.kinds() == ["Switched"]
    assert (event.protocol, event.trailing_data) == ("p/1", b"\x81\x02hi")
    assert event.request is request
    assert event.response.status == 101


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 4",
        b"Content-Length: x",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 4\r\nTransfer-Encoding: gzip",
    ],
)
def test_framing_fields_of_a_101_mean_nothing(asked, fields):
    """UPG-C-08, MSG-32, RFC 9112 §6.3: it ends at its empty line."""
    octets = SWITCHING.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n\r\n")
    result = asked(octets + b"\x81\x02hi", request=offer(), switch=take)
    assert result.all_of(Switched)[0].trailing_data == b"\x81\x02hi"
    assert fields.split(b":")[0].decode() in result.all_of(Switched)[0].response.fields


def test_interim_responses_come_ahead_of_a_101(asked):
    """UPG-C-07, MSG-30, RFC 9110 §15.2."""
    octets = b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 103 x\r\n\r\nHTTP/1.1 102 x\r\n\r\n" + SWITCHING
    kinds = asked(octets, request=offer(), switch=take).kinds()
    assert kinds == ["InterimResponseReceived"] * 3 + ["Switched"]


@pytest.mark.parametrize("status", [200, 204, 299, 301, 401, 426, 500])
def test_any_other_final_status_is_an_ordinary_answer(asked, status):
    """UPG-C-09, MSG-36, RFC 9110 §7.8: handled as HTTP, and the connection reusable."""
    octets = OK.replace(b"200", b"%d" % status)
    result = asked(octets[: None if status != 204 else -2], request=offer(), switch=take)
    assert result.kinds()[0] == "ResponseReceived"
    assert result.kinds()[-1] == "MessageComplete"
    assert result.machine.reusable()


def test_a_101_that_nobody_asked_for(asked):
    """UPG-C-06, RFC 9110 §7.8: neither skipped nor made a raw stream."""
    result = asked(SWITCHING + OK)
    assert result.failed()
    assert result.kinds() == ["Failed"]
    assert not result.machine.reusable()


def test_a_101_that_is_judged_wrong(asked):
    """UPG-C-06, RFC 9110 §7.8: the judge's error is the failure."""
    result = asked(SWITCHING + OK, request=offer(), switch=refuse)
    assert result.failed()
    assert result.all_of(Failed)[0].error.rule == "RFC 9110 §7.8"


def test_no_101_in_http_1_0(asked):
    """UPG-C-16, RFC 9110 §15.2: nor to an HTTP/1.0 request."""
    octets = SWITCHING.replace(b"1.1", b"1.0", 1)
    assert asked(octets, request=offer(), switch=take).failed()
    old = Request("GET", "/", version="1.0", authority="a")
    assert asked(SWITCHING, request=old, switch=take).failed()


def test_the_request_is_finished_first(asked):
    """UPG-C-03, RFC 9110 §7.8: an early 101 waits, and so do the octets behind it."""
    result = asked(
        SWITCHING + b"NE", request=offer("POST", Content_Length="5"), end=False, switch=take
    )
    assert result.kinds() == []
    assert result.machine.switch_pending()
    assert result.machine.state is ResponseState.SWITCH_PENDING
    result.machine.send_content(b"hello")
    assert result.receive(b"W").kinds() == []
    assert result.machine.pending_octets == 3
    result.machine.send_end()
    assert result.collect().kinds() == ["Switched"]
    assert result.sent.endswith(b"\r\n\r\nhello")
    assert result.all_of(Switched)[0].trailing_data == b"NEW"


def test_held_octets_are_bounded(asked):
    """UPG-C-03, SEC-18: the driver is told to pause."""
    result = asked(
        SWITCHING + b"12345",
        request=offer("POST", Content_Length="5"),
        end=False,
        switch=take,
        limits=Limits(held=6),
    )
    assert not result.machine.receiving_paused()
    assert result.receive(b"6").machine.receiving_paused()


def test_an_early_101_and_the_peers_end(asked):
    """UPG-C-03, RFC 9110 §7.8: the switch still comes about."""
    result = asked(
        SWITCHING, request=offer("POST", Content_Length="2"), end=False, switch=take
    ).eof()
    assert result.kinds() == []
    result.machine.send_content(b"hi")
    result.machine.send_end()
    assert result.collect().kinds() == ["Switched"]


def test_the_machine_is_finished_for_good(asked):
    """UPG-C-15, RFC 9112 §9.3: never back into a pool."""
    result = asked(SWITCHING, request=offer(), switch=take)
    assert result.machine.state is ResponseState.SWITCHED
    assert not result.machine.reusable()
    assert not result.machine.close_expected()
    with pytest.raises(LocalProtocolError):
        result.machine.receive_data(OK)
    with pytest.raises(LocalProtocolError):
        result.machine.send_request(offer(), end=True)
    assert result.eof().kinds() == ["Switched"]


# RFC 9110 §9.3.6: CONNECT


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_to_connect_is_a_tunnel(asked, status):
    """CON-07, RFC 9110 §9.3.6."""
    octets = TUNNEL.replace(b"200", b"%d" % status)
    result = asked(octets + b"\x16\x03", request=Request("CONNECT", "h:443"))
    event = result.all_of(Switched)[0]
    assert (event.protocol, event.trailing_data) == ("CONNECT", b"\x16\x03")


def test_an_http_1_0_proxy_may_open_a_tunnel(asked):
    """CON-07, RFC 9110 §9.3.6."""
    octets = b"HTTP/1.0 200 Connection established\r\n\r\n"
    assert asked(octets, request=Request("CONNECT", "h:443")).kinds() == ["Switched"]


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 5, 6"]
)
def test_framing_fields_of_such_a_2xx_mean_nothing(asked, fields):
    """CON-06, RFC 9112 §6.3: the tunnel begins at the empty line."""
    octets = TUNNEL[:-2] + fields + b"\r\n\r\nhello and more"
    result = asked(octets, request=Request("CONNECT", "h:443"))
    assert result.all_of(Switched)[0].trailing_data == b"hello and more"


@pytest.mark.parametrize("status", [301, 407, 500])
def test_any_other_answer_to_connect_is_no_tunnel(asked, status):
    """CON-07, RFC 9110 §9.3.6."""
    octets = OK.replace(b"200", b"%d" % status)
    result = asked(octets, request=Request("CONNECT", "h:443"))
    assert result.kinds() == ["ResponseReceived", "ContentReceived", "MessageComplete"]


def test_a_101_to_connect_is_no_tunnel(asked):
    """CON-07, UPG-C-06, RFC 9110 §9.3.6."""
    assert asked(SWITCHING, request=Request("CONNECT", "h:443"), switch=take).failed()


def test_a_2xx_to_connect_can_be_judged(asked):
    """CON-07, RFC 9110 §9.3.6."""
    request = Request("CONNECT", "h:443")
    result = asked(TUNNEL, request=request, switch=lambda request, response: "tcp")
    assert result.all_of(Switched)[0].protocol == "tcp"
    assert asked(TUNNEL, request=request, switch=refuse).failed()


# RFC 2817 §3.3: HTTP/1.1 again, above TLS


def test_a_machine_that_awaits_an_answer():
    """TLS-06, UPG-S-14, RFC 2817 §3.3: the request is not repeated inside TLS."""
    request = offer("OPTIONS")
    machine = ClientConnection.awaiting(request)
    assert machine.data_to_send() == []
    assert not machine.reusable()
    machine.receive_data(OK)
    kinds = [type(event).__name__ for event in machine.events_received()]
    assert kinds == ["ResponseReceived", "ContentReceived", "MessageComplete"]
    assert machine.reusable()
    machine.send_request(offer(), end=True)
    assert machine.data_to_send()


def test_a_machine_that_awaits_a_switch():
    """TLS-06, RFC 2817 §3.3: a successor can itself switch."""
    machine = ClientConnection.awaiting(offer(), switch=take)
    machine.receive_data(SWITCHING)
    assert isinstance(machine.events_received()[0], Switched)
