"""The mechanism on the server's HTTP/1.1 machine: octets in, octets out.

Each exchange is replayed for every split of its octets (RFC 9110 §7.8, §15.2.2; RFC 9112
§9.3.2, §9.6; RFC 9931 §5, §7.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.events import Failed, MessageComplete, RequestReceived, Switched
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.testing import Replayed, feed, replay
from switchover.upgrade import (
    ContentRule,
    Registry,
    Upgrade,
    UpgradeToken,
    advertise,
    switching_response_to,
)

Site = Callable[..., Any]

REGISTRY = Registry(
    [
        Upgrade(token="p/1"),
        Upgrade(token="tcp", methods={"POST", "GET"}, content=ContentRule.READ),
        Upgrade(token="only", path="/only", required=True),
    ]
)


def request(*lines: str, line: str = "GET /1 HTTP/1.1", content: bytes = b"") -> bytes:
    head = "".join(f"{text}\r\n" for text in (line, "Host: example.com", *lines))
    return head.encode("latin-1") + b"\r\n" + content


OFFER = ("Connection: Upgrade", "Upgrade: p/1")
SECOND = request(line="GET /2 HTTP/1.1")


def play(site: Site, octets: bytes, **arguments: Any) -> Replayed[ServerConnection]:
    """Replay every split, see that nothing depends on it, and return what came of it."""
    results = []
    for result in replay_with_site(site, octets, **arguments):
        results.append(result)
        first = results[0]
        assert result.sent == first.sent
        assert result.trailing_data == first.trailing_data
        assert decisive(result) == decisive(first)
    return results[0]


def decisive(result: Replayed[ServerConnection]) -> list[Any]:
    """The events that may not depend on the split.

    Content that arrives after the answer is dropped, so its events do depend on it.
    """
    kinds = (RequestReceived, Switched, Failed)
    events = [event for event in result.events if isinstance(event, kinds)]
    return [str(event.error) if isinstance(event, Failed) else event for event in events]


def replay_with_site(site: Site, octets: bytes, **arguments: Any) -> Any:
    # A new application for every new connection, as the machine is new for every split.
    apps: dict[int, Any] = {}

    def react(machine: ServerConnection, event: Any) -> None:
        apps.setdefault(id(machine), site(REGISTRY, **arguments))(machine, event)

    keep: list[ServerConnection] = []

    def make() -> ServerConnection:
        keep.append(ServerConnection())
        return keep[-1]

    return replay(make, octets, react=react)


def statuses(sent: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"^HTTP/1\.1 (\d{3})", sent, re.MULTILINE)]


def test_the_octets_behind_the_blank_line_belong_to_the_new_protocol(site: Site) -> None:
    """UPG-S-08, UPG-S-09, UPG-S-10: nothing of HTTP follows the 101."""
    result = play(site, request(*OFFER))
    assert result.sent == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n\r\n"
    )
    assert isinstance(result.events[-1], Switched)
    assert result.events[-1].protocol == "p/1"


@pytest.mark.parametrize(
    ("framing", "content"),
    [
        ("Content-Length: 5", b"hello"),
        ("Transfer-Encoding: chunked", b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: v\r\n\r\n"),
    ],
)
def test_the_new_protocol_begins_behind_the_content(
    site: Site, framing: str, content: bytes
) -> None:
    """UPG-S-11, RFC 9110 §7.8: content = hello, protocol input = NEW."""
    head = request("Connection: Upgrade", "Upgrade: tcp", framing, line="POST /1 HTTP/1.1")
    result = play(site, head + content + b"NEW")
    assert result.trailing_data == b"NEW"
    assert statuses(result.sent) == [101]
    received = b"".join(event.data for event in result.events if hasattr(event, "data"))
    assert received == b"hello"
    kinds = [type(event) for event in result.events]
    assert kinds.index(MessageComplete) < kinds.index(Switched)


def test_no_101_before_the_request_is_complete() -> None:
    """UPG-S-11: the machine itself refuses."""
    machine = ServerConnection()
    machine.receive_data(request("Connection: Upgrade", "Upgrade: tcp", "Content-Length: 5"))
    (event,) = machine.events_received()
    assert isinstance(event, RequestReceived)
    with pytest.raises(LocalProtocolError):
        machine.switch(switching_response_to(event.request, "tcp"), "tcp")
    assert machine.data_to_send() == []


@pytest.mark.parametrize("asks", [True, False])
def test_100_goes_ahead_of_101(site: Site, asks: bool) -> None:
    """UPG-S-12, RFC 9110 §7.8: also when the content is there already."""
    head = request(
        "Connection: Upgrade", "Upgrade: tcp", "Expect: 100-continue", "Content-Length: 5"
    )
    assert statuses(play(site, head + b"hello", asks_for_content=asks).sent) == [100, 101]
    # Announcing no content is a client's fault, and no reason to skip it.
    head = request(*OFFER, "Expect: 100-continue")
    assert statuses(play(site, head, asks_for_content=asks).sent) == [100, 101]


@pytest.mark.parametrize(
    "lines",
    [
        ("Upgrade: p/1",),
        ("Upgrade: p/1", "Connection: keep-alive"),
        ("Connection: Upgrade",),
        ("Connection: Upgrade", "Upgrade: unknown"),
        ("Connection: Upgrade", "Upgrade: p/2, p, webs ocket"),
        ("Connection: Upgrade", "Upgrade: "),
    ],
)
def test_a_declined_upgrade_is_an_ordinary_exchange(site: Site, lines: tuple[str, ...]) -> None:
    """UPG-S-02, UPG-S-06, UPG-S-17, UPG-S-18, OPT-06: and the next request is served."""
    result = play(site, request(*lines) + SECOND)
    assert statuses(result.sent) == [200, 200]
    assert b"GET /1" in result.sent
    assert b"GET /2" in result.sent
    assert not result.machine.close_expected()


def test_http_1_0_is_answered_as_usual(site: Site) -> None:
    """UPG-S-01: no 101, and no 426 forced by the field."""
    result = play(site, request(*OFFER, line="GET /1 HTTP/1.0"))
    assert statuses(result.sent) == [200]
    assert b"GET /1" in result.sent


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: Keep-Alive, uPgRaDe", "Upgrade: P/1"),
        ("Connection: keep-alive", "Connection: Upgrade", "Upgrade: p/1"),
        ("Connection: Upgrade", "Connection: keep-alive", "Upgrade: p/1"),
        ("Upgrade: foo", "X: y", "Upgrade: p/1", "Connection: Upgrade"),
        ("UPGRADE:foo/1 ,\tp/1", "CONNECTION:\tupgrade"),
    ],
)
def test_the_offer_is_found_however_it_is_written(site: Site, lines: tuple[str, ...]) -> None:
    """UPG-S-03, UPG-S-04, UPG-S-05."""
    assert statuses(play(site, request(*lines)).sent) == [101]


def test_octets_behind_an_accepted_upgrade_are_the_new_protocols(site: Site) -> None:
    """UPG-S-18: `GET /2` reaches the new protocol only, once and whole."""
    result = play(site, request(*OFFER) + SECOND)
    assert statuses(result.sent) == [101]
    assert result.trailing_data == SECOND
    assert sum(isinstance(event, RequestReceived) for event in result.events) == 1


def test_octets_are_held_until_the_decision() -> None:
    """UPG-S-18: nothing behind the request is looked at while the answer is open."""
    machine = ServerConnection()
    machine.receive_data(request(*OFFER) + b"\x00not HTTP at all\r\n\r\n")
    machine.receive_data(b"more")
    first, complete = machine.events_received()
    assert isinstance(first, RequestReceived)
    assert isinstance(complete, MessageComplete)
    assert machine.pending_octets == len(b"\x00not HTTP at all\r\n\r\nmore")
    machine.switch(switching_response_to(first.request, "p/1"), "p/1")
    (switched,) = machine.events_received()
    assert isinstance(switched, Switched)
    assert switched.trailing_data == b"\x00not HTTP at all\r\n\r\nmore"


def test_earlier_requests_are_answered_first(site: Site) -> None:
    """UPG-S-19: 200, 200, 101; then no octet produces an HTTP/1.1 response."""
    octets = request(line="GET /a HTTP/1.1") + request(line="GET /b HTTP/1.1") + request(*OFFER)
    result = play(site, octets + SECOND)
    assert statuses(result.sent) == [200, 200, 101]
    assert result.trailing_data == SECOND


def test_the_machine_is_finished_after_the_switch(site: Site) -> None:
    """UPG-S-19: finished for good."""
    machine = feed(ServerConnection(), [request(*OFFER)], react=site(REGISTRY)).machine
    with pytest.raises(LocalProtocolError):
        machine.receive_data(SECOND)
    with pytest.raises(LocalProtocolError):
        machine.send_response(Response(200), end=True)
    machine.receive_eof()
    assert machine.events_received() == []
    assert machine.data_to_send() == []


@pytest.mark.parametrize(
    "octets",
    [
        b"GET /1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: p/1\r\n\r\n",
        request(*OFFER, "Host: other"),
        request(*OFFER, "Content-Length: +5"),
        request(*OFFER, "Content-Length: 5", "Content-Length: 6"),
        request(*OFFER, "Content-Length: 5", "Transfer-Encoding: chunked"),
        request(*OFFER, "Transfer-Encoding: chunked, gzip"),
        request(*OFFER, "Bad Name: x"),
        request(*OFFER, "X: a\x00b"),
        request(*OFFER, line="GET  /1 HTTP/1.1"),
    ],
)
def test_a_faulty_request_is_never_switched(site: Site, octets: bytes) -> None:
    """UPG-S-20: message validation comes before any switch."""
    result = play(site, octets + SECOND)
    assert statuses(result.sent) == [400]
    assert isinstance(result.events[-1], Failed)
    assert result.machine.close_expected()


def test_early_octets_behind_a_declined_upgrade_are_only_ever_http(site: Site) -> None:
    """OPT-06, RFC 9931 §5: a frame sent too early is a bad request, and the end."""
    octets = request("Connection: Upgrade", "Upgrade: unknown") + b"\x81\x85\x00\x00\x00\x00hello"
    result = play(site, octets + b"\r\n\r\n" + SECOND)
    assert statuses(result.sent) == [200, 400]
    assert result.machine.close_expected()


def test_close_along_with_an_accepted_upgrade(site: Site) -> None:
    """UPG-S-22: the connection is not closed under the new protocol."""
    result = play(site, request("Connection: close, Upgrade", "Upgrade: p/1"))
    assert statuses(result.sent) == [101]
    assert b"close" not in result.sent
    assert not result.machine.close_expected()
    declined = play(site, request("Connection: close, Upgrade", "Upgrade: unknown") + SECOND)
    assert statuses(declined.sent) == [200]
    assert declined.machine.close_expected()


@pytest.mark.parametrize(
    ("framing", "content"),
    [
        ("Content-Length: 5", b"\x81\x03abc"),
        ("Transfer-Encoding: chunked", b"5\r\n\x81\x03abc\r\n0\r\n\r\n"),
    ],
)
def test_content_is_never_read_as_the_new_protocol(
    site: Site, framing: str, content: bytes
) -> None:
    """UPG-S-24: 400, and the octets of the content go nowhere."""
    result = play(site, request(*OFFER, framing) + content + SECOND)
    assert statuses(result.sent) == [400, 200]
    assert b"GET /2" in result.sent
    assert result.trailing_data == b""


def test_a_required_resource_answers_426_and_goes_on(site: Site) -> None:
    """UPG-S-15: framed, and the connection is reusable."""
    result = play(site, request(line="GET /only HTTP/1.1") + SECOND)
    assert statuses(result.sent) == [426, 200]
    assert b"\r\nUpgrade: only\r\n" in result.sent
    assert b"\r\nConnection: Upgrade\r\n" in result.sent


def test_a_final_response_may_come_instead_of_the_switch() -> None:
    """UPG-S-21: the application answers 401, then 101 on the same connection."""
    machine = ServerConnection()
    machine.receive_data(request(*OFFER) + request(*OFFER, "Authorization: Basic YTpi"))
    machine.events_received()
    machine.send_response(Response.text(401, "Who?\n", [("WWW-Authenticate", "Basic")]), end=True)
    received, _ = machine.events_received()
    assert isinstance(received, RequestReceived)
    machine.switch(switching_response_to(received.request, "p/1"), "p/1")
    assert statuses(b"".join(machine.data_to_send())) == [401, 101]


def test_a_handler_cannot_switch_to_what_was_not_offered(site: Site) -> None:
    """UPG-S-07: refused locally, then 500, and no 101 on the wire."""
    machine = ServerConnection()
    machine.receive_data(request("Connection: Upgrade", "Upgrade: a"))
    received, _ = machine.events_received()
    assert isinstance(received, RequestReceived)
    with pytest.raises(LocalProtocolError):
        machine.switch(switching_response_to(received.request, "b"), "b")
    machine.send_response(Response.text(500, "A fault.\n"), end=True)
    assert statuses(b"".join(machine.data_to_send())) == [500]


def test_the_machine_above_tls_answers_the_first_request() -> None:
    """UPG-S-14, RFC 2616 §14.42: without the client repeating it."""
    machine = ServerConnection.answering(Request("OPTIONS", "*"))
    received, complete = machine.events_received()
    assert isinstance(received, RequestReceived)
    assert isinstance(complete, MessageComplete)
    machine.send_response(Response(200), end=True)
    assert statuses(b"".join(machine.data_to_send())) == [200]
    machine.receive_data(SECOND)
    assert isinstance(machine.events_received()[0], RequestReceived)


def test_an_advertisement_is_a_pair_on_the_wire() -> None:
    """UPG-S-16, UPG-S-09: with close as well."""
    machine = ServerConnection()
    machine.receive_data(request("Connection: close"))
    machine.events_received()
    response = Response.text(200, "hello")
    advertise(response, Registry(advertise=["h2c", "websocket"]), machine.request)
    machine.send_response(response, end=True)
    head = b"".join(machine.data_to_send()).partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    assert b"Upgrade: h2c, websocket" in lines
    connection = b",".join(line for line in lines if line.lower().startswith(b"connection:"))
    assert b"Upgrade" in connection
    assert b"close" in connection


def test_a_policy_is_told_of_the_token_as_sent(site: Site) -> None:
    """UPG-S-04, UPG-S-05: what reaches the decision is what stood on the wire."""
    app = site(REGISTRY)
    feed(ServerConnection(), [request("Connection: upgrade", "Upgrade: P/1")], react=app)
    assert app.decision.token == UpgradeToken("p", "1")
