"""The mechanism on the client's HTTP/1.1 machine, against scripts and against our server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.client import ClientConnection
from switchover.http.events import (
    ContentReceived,
    Failed,
    InterimResponseReceived,
    MessageComplete,
    ResponseReceived,
    Switched,
)
from switchover.http.messages import Request
from switchover.http.server import ServerConnection
from switchover.testing import (
    ConnectionPair,
    Expect,
    ScriptedPeer,
    Send,
    at,
    feed,
    misbehaving_servers,
    one_octet,
    replay,
    whole,
)
from switchover.upgrade import (
    ContentRule,
    Registry,
    Upgrade,
    UpgradeReaction,
    fresh_request,
    offering_request,
    verify,
)

Ask = Callable[..., Request]
Site = Callable[..., Any]

ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n\r\n"


def asking(ask: Ask, *, end: bool = True, lines: tuple[tuple[str, str], ...] = ()) -> Any:
    client = ClientConnection()
    request = offering_request(ask("POST" if lines else "GET", "/", *lines), ["p/2", "p/1"])
    client.send_request(request, end=end, switch=verify)
    return client


def drained(client: ClientConnection) -> bytes:
    return b"".join(client.data_to_send())


def test_the_offer_on_the_wire(ask: Ask) -> None:
    """UPG-C-01, UPG-C-02."""
    lines = drained(asking(ask)).split(b"\r\n")
    assert b"Upgrade: p/2, p/1" in lines
    assert b"Connection: Upgrade" in lines


def test_content_is_sent_whole_before_an_early_101_counts(ask: Ask) -> None:
    """UPG-C-03: the server answers 101 in the middle of our content."""
    client = asking(ask, end=False, lines=(("Content-Length", "5"),))
    client.send_content(b"he")
    client.receive_data(ACCEPT + b"early")
    client.receive_data(b" and more")
    assert client.events_received() == []
    client.send_content(b"llo")
    client.send_end()
    (switched,) = client.events_received()
    assert isinstance(switched, Switched)
    assert switched.trailing_data == b"early and more"
    assert drained(client).endswith(b"\r\n\r\nhello")


def test_nothing_is_sent_before_the_101(ask: Ask) -> None:
    """UPG-C-04, OPT-05: a server that withholds its answer sees the request and no more."""
    client = asking(ask)
    head = drained(client)
    assert head.endswith(b"\r\n\r\n")
    client.receive_data(b"HTTP/1.1 100 Continue\r\n\r\n")
    for piece in one_octet(ACCEPT[:-1]):
        client.receive_data(piece)
        assert drained(client) == b""
        assert not any(isinstance(event, Switched) for event in client.events_received())
    client.receive_data(ACCEPT[-1:])
    assert isinstance(client.events_received()[0], Switched)


@pytest.mark.parametrize("fault", sorted(misbehaving_servers("p/1")))
def test_a_101_that_does_not_fit_is_an_error_whatever_the_split(ask: Ask, fault: str) -> None:
    """UPG-C-05, UPG-C-16: the octets behind it are nobody's."""
    octets = misbehaving_servers("p/1")[fault] + b"SECRET"
    for result in replay(lambda: asking(ask), octets):
        failed = result.events[-1]
        assert isinstance(failed, Failed), fault
        assert isinstance(failed.error, RemoteProtocolError)
        assert not any(isinstance(event, Switched) for event in result.events)
        assert result.machine.close_expected()
        assert not result.machine.reusable()
        assert result.trailing_data == b""


def test_a_101_nobody_asked_for(ask: Ask) -> None:
    """UPG-C-06: neither skipped as interim nor turned into a stream."""
    client = ClientConnection()
    client.send_request(ask("GET", "/"), end=True)
    client.receive_data(ACCEPT + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    (failed,) = client.events_received()
    assert isinstance(failed, Failed)
    assert client.close_expected()
    assert not client.reusable()


def test_an_http_1_0_response_never_switches(ask: Ask) -> None:
    """UPG-C-16: refused by the machine, whoever judges the 101."""
    client = ClientConnection()
    request = offering_request(ask("GET", "/"), ["p/1"])
    client.send_request(request, end=True, switch=lambda request, response: "p/1")
    client.receive_data(ACCEPT.replace(b"HTTP/1.1", b"HTTP/1.0"))
    (failed,) = client.events_received()
    assert isinstance(failed, Failed)
    assert client.close_expected()


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def test_interim_responses_ahead_of_the_101(ask: Ask) -> None:
    """UPG-C-07: `103`, `101` switches."""
    octets = EARLY_HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + ACCEPT + b"NEW"
    for result in replay(lambda: asking(ask), octets):
        kinds = [type(event) for event in result.events]
        assert kinds == [InterimResponseReceived, InterimResponseReceived, Switched]
        assert result.trailing_data == b"NEW"


def test_interim_responses_ahead_of_a_final_one(ask: Ask) -> None:
    """UPG-C-07, UPG-C-09: `103`, `200` is an ordinary response; the connection is reusable."""
    octets = EARLY_HINTS + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain"
    for result in replay(lambda: asking(ask), octets):
        kinds = [type(event) for event in result.events]
        assert kinds == [
            InterimResponseReceived,
            ResponseReceived,
            ContentReceived,
            MessageComplete,
        ]
        assert result.machine.reusable()


@pytest.mark.parametrize(
    "line", ["Content-Length: 4", "Transfer-Encoding: chunked", "Content-Length: nonsense"]
)
def test_the_101_ends_at_its_blank_line(ask: Ask, line: str) -> None:
    """UPG-C-08, RFC 9112 §6.3: framing fields in it mean nothing."""
    octets = ACCEPT[:-2] + line.encode() + b"\r\n\r\n" + b"\x81\x02\x68\x69"
    for result in replay(lambda: asking(ask), octets):
        assert isinstance(result.events[-1], Switched)
        assert result.events[-1].protocol == "p/1"
        assert result.trailing_data == b"\x81\x02\x68\x69"


@pytest.mark.parametrize("status", [200, 301, 401, 403, 404, 426, 500, 503])
def test_any_other_final_status_is_http(ask: Ask, status: int) -> None:
    """UPG-C-09."""
    octets = b"HTTP/1.1 %d X\r\nConnection: Upgrade\r\nUpgrade: p/1\r\n" % status
    octets += b"Content-Length: 2\r\n\r\nno"
    for result in replay(lambda: asking(ask), octets):
        assert isinstance(result.events[0], ResponseReceived)
        assert result.events[0].response.status == status
        assert result.events[1] == ContentReceived(b"no")
        assert result.machine.reusable()


def test_a_retry_after_426_is_a_new_request(ask: Ask) -> None:
    """UPG-C-10: the protocol never starts behind the 426."""
    request = ask("GET", "/")
    client = ClientConnection()
    client.send_request(request, end=True)
    drained(client)
    client.receive_data(
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    received, _ = client.events_received()
    assert isinstance(received, ResponseReceived)
    assert drained(client) == b""
    verdict = UpgradeReaction(["p/1"]).react(request, received.response, attempt=0)
    again = offering_request(fresh_request(request), verdict.tokens)  # type: ignore[union-attr]
    client.send_request(again, end=True, switch=verify)
    assert b"\r\nUpgrade: p/1\r\n" in drained(client)
    client.receive_data(ACCEPT)
    assert isinstance(client.events_received()[0], Switched)


def test_nothing_is_pipelined_behind_an_offer(ask: Ask) -> None:
    """UPG-C-12: a second request waits for the answer, or goes elsewhere."""
    client = asking(ask)
    drained(client)
    assert not client.reusable()
    with pytest.raises(LocalProtocolError):
        client.send_request(ask("GET", "/2"), end=True)
    assert drained(client) == b""


def test_a_switched_connection_never_carries_another_request(ask: Ask) -> None:
    """UPG-C-15."""
    client = asking(ask)
    client.receive_data(ACCEPT)
    client.events_received()
    assert not client.reusable()
    with pytest.raises(LocalProtocolError):
        client.send_request(ask("GET", "/2"), end=True)
    with pytest.raises(LocalProtocolError):
        client.receive_data(b"HTTP/1.1 200 OK\r\n\r\n")


def test_a_http_1_0_request_carries_no_upgrade(ask: Ask) -> None:
    """UPG-C-13: refused by the machine too."""
    request = offering_request(ask("GET", "/"), ["p"])
    request.version = "1.0"
    with pytest.raises(LocalProtocolError):
        ClientConnection().send_request(request, end=True, switch=verify)


# Both ends, with the wire cut as one likes.

REGISTRY = Registry(
    [
        Upgrade(token="p/1", methods=None, content=ContentRule.READ),
        Upgrade(token="only", path="/only", required=True),
    ]
)


def play_server(pair: ConnectionPair[Any, Any], app: Any) -> None:
    """Let the application react to what the server has seen, until both ends rest."""
    seen = 0
    while True:
        pair.exchange()
        if seen == len(pair.server_events):
            return
        for event in pair.server_events[seen:]:
            seen += 1
            app(pair.server, event)


CUTS = [whole, one_octet, at(1), at(7, 40, 80)]


@pytest.mark.parametrize("cut", CUTS)
def test_both_ends_agree_on_the_switch(ask: Ask, site: Site, cut: Any) -> None:
    """UPG-S-10, UPG-S-18, UPG-C-04: each side's first octets reach the other's successor."""
    pair = ConnectionPair(asking(ask), ServerConnection(), cut=cut)
    play_server(pair, site(REGISTRY))
    client, server = pair.client_events[-1], pair.server_events[-1]
    assert isinstance(client, Switched)
    assert isinstance(server, Switched)
    assert client.protocol == server.protocol == "p/1"
    pair.succeed_client(ScriptedPeer([Send(b"\x00client first")]))
    pair.succeed_server(ScriptedPeer([Send(b"\xffserver first"), Expect(b"first")]))
    pair.exchange()
    assert pair.client.received == b"\xffserver first"
    assert pair.server.received == b"\x00client first"


@pytest.mark.parametrize("cut", CUTS)
def test_both_ends_agree_on_content_and_switch(ask: Ask, site: Site, cut: Any) -> None:
    """UPG-S-11, UPG-S-12, UPG-C-03, UPG-C-07: chunked content with Expect."""
    client = asking(ask, end=False, lines=(("Expect", "100-continue"),))
    app = site(REGISTRY)
    pair = ConnectionPair(client, ServerConnection(), cut=cut)
    play_server(pair, app)
    assert [type(event) for event in pair.client_events] == [InterimResponseReceived]
    client.send_content(b"hello")
    client.send_end()
    play_server(pair, app)
    assert app.content == b"hello"
    assert isinstance(pair.client_events[-1], Switched)
    assert isinstance(pair.server_events[-1], Switched)


@pytest.mark.parametrize("cut", CUTS)
def test_both_ends_agree_on_a_requirement(ask: Ask, site: Site, cut: Any) -> None:
    """UPG-S-15, UPG-C-09, UPG-C-10: 426, then the switch, on one connection."""
    request = ask("GET", "/only")
    client = ClientConnection()
    client.send_request(request, end=True)
    app = site(REGISTRY)
    pair = ConnectionPair(client, ServerConnection(), cut=cut)
    play_server(pair, app)
    response = next(e.response for e in pair.client_events if isinstance(e, ResponseReceived))
    assert response.status == 426
    verdict = UpgradeReaction(["only"]).react(request, response, attempt=0)
    assert client.reusable()
    client.send_request(
        offering_request(request, verdict.tokens),  # type: ignore[union-attr]
        end=True,
        switch=verify,
    )
    seen = len(pair.server_events)
    pair.exchange()
    for event in pair.server_events[seen:]:
        app(pair.server, event)
    pair.exchange()
    assert isinstance(pair.client_events[-1], Switched)
    assert isinstance(pair.server_events[-1], Switched)


def test_a_switch_through_a_forward_proxy_is_made_inside_a_tunnel(ask: Ask, site: Site) -> None:
    """UPG-C-14, RFC 2817 §5: CONNECT first, the offer inside, and the proxy sees neither."""
    proxy = ServerConnection()
    connect = ClientConnection()
    connect.send_request(Request("CONNECT", "example.com:80", authority="example.com:80"), end=True)
    tunnel = ConnectionPair(connect, proxy)
    tunnel.exchange()
    proxy_request = tunnel.server_events[0].request
    assert "Upgrade" not in proxy_request.fields
    proxy.switch(_established(), "CONNECT")
    tunnel.exchange()
    assert isinstance(tunnel.client_events[-1], Switched)
    assert isinstance(tunnel.server_events[-1], Switched)
    inside = ConnectionPair(asking(ask), ServerConnection())
    play_server(inside, site(REGISTRY))
    assert isinstance(inside.client_events[-1], Switched)


def _established() -> Any:
    from switchover.http.messages import Response

    return Response(200, reason="Connection established")


@pytest.mark.parametrize("size", range(len(ACCEPT)))
def test_a_connection_that_ends_inside_the_101(ask: Ask, size: int) -> None:
    """UPG-C-05: no switch on half a response."""
    result = feed(asking(ask), [ACCEPT[:size]], eof=True)
    assert isinstance(result.events[-1], Failed)
    assert not any(isinstance(event, Switched) for event in result.events)
