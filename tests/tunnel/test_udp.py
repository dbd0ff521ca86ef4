"""connect-udp: RFC 9298, RFC 9931 §6.3."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError, TunnelClosed
from switchover.http.client import ClientConnection
from switchover.http.events import Failed, RequestReceived, Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.testing import ConnectionPair, at, feed, one_octet, replay, whole
from switchover.tunnel.capsules import encode_capsule, encode_varint, uses_capsules
from switchover.tunnel.connect import Authority
from switchover.tunnel.machine import EndReceived
from switchover.tunnel.policy import DestinationPolicy
from switchover.tunnel.templates import ProxyTemplate
from switchover.tunnel.udp import (
    MAX_PAYLOAD,
    WELL_KNOWN,
    ContextDatagramReceived,
    DatagramReceived,
    UdpMachine,
    UdpSide,
    check_udp_response,
    udp_request,
    udp_upgrade,
)
from switchover.upgrade import Answer, Ordinary, Registry, Select, decide, switching_response

TEMPLATE = ProxyTemplate(f"https://p.example{WELL_KNOWN}")
REGISTRY = Registry([udp_upgrade(ProxyTemplate(WELL_KNOWN))])
PATH = "/.well-known/masque/udp/example.com/53/"


# The request.


def test_the_request_on_the_wire() -> None:
    """UDP-03: GET, one Host naming the proxy, Upgrade and its option, Capsule-Protocol."""
    request = udp_request(TEMPLATE, "2001:db8::42", 443, fields=Fields([("X-Y", "1")]))
    client = ClientConnection()
    client.send_request(request, end=True, switch=check_udp_response)
    head = b"".join(client.data_to_send())
    assert head == (
        b"GET /.well-known/masque/udp/2001%3Adb8%3A%3A42/443/ HTTP/1.1\r\n"
        b"Host: p.example\r\nX-Y: 1\r\nCapsule-Protocol: ?1\r\n"
        b"Upgrade: connect-udp\r\nConnection: Upgrade\r\n\r\n"
    )


def test_a_destination_that_is_none_is_not_asked_for() -> None:
    """UDP-02."""
    with pytest.raises(LocalProtocolError):
        udp_request(TEMPLATE, "h", 0)


# The server's decision.


def asked(*lines: tuple[str, str], method: str = "GET", path: str = PATH) -> Request:
    return Request(method, path, Fields([("Host", "p.example"), *lines]))


OFFER = (("Connection", "Upgrade"), ("Upgrade", "connect-udp"))


def test_a_request_of_this_form_is_taken() -> None:
    """UDP-04, UDP-05, UDP-07: the target is the successor's to resolve and to open."""
    decision = decide(udp_request(TEMPLATE, "example.com", 53), REGISTRY, secure=True)
    assert isinstance(decision, Select)
    assert decision.acceptance.state == Authority("example.com", 53)
    response = switching_response(decision)
    assert response.status == 101
    assert response.fields.get_all("Upgrade") == ["connect-udp"]
    assert response.fields.connection_options == {"upgrade"}
    assert uses_capsules(response.fields)
    for name in ("Content-Length", "Content-Type", "Transfer-Encoding"):
        assert name not in response.fields


@pytest.mark.parametrize(
    "request_",
    [
        asked(*OFFER, method="POST"),
        asked(*OFFER, ("Content-Length", "5"), method="POST"),
        asked(OFFER[1]),
        asked(("Upgrade", "websocket"), OFFER[0]),
        asked(("Capsule-Protocol", "?1")),
        asked(("Capsule-Protocol", "?1"), OFFER[0]),
        asked(*OFFER, ("Content-Length", "5")),
        asked(*OFFER, ("Content-Length", "0")),
        asked(*OFFER, ("Content-Type", "x/y")),
        asked(*OFFER, ("Transfer-Encoding", "chunked")),
        asked(method="PUT"),
    ],
)
def test_a_request_off_this_form_is_an_error(request_: Request) -> None:
    """UDP-04, CAP-04: 400."""
    decision = decide(request_, REGISTRY, secure=True)
    assert isinstance(decision, Answer)
    assert decision.response.status == 400
    assert b"\n" in decision.response.content


def test_two_host_lines_are_an_error() -> None:
    """UDP-04."""
    octets = f"GET {PATH} HTTP/1.1\r\nHost: p\r\nHost: p\r\n".encode()
    octets += b"Connection: Upgrade\r\nUpgrade: connect-udp\r\n\r\n"
    for result in replay(ServerConnection, octets):
        assert result.sent.startswith(b"HTTP/1.1 400 ")
        assert isinstance(result.events[-1], Failed)


def test_a_plain_visit_is_told_what_the_resource_is() -> None:
    """UPG-S-15."""
    decision = decide(asked(), REGISTRY, secure=True)
    assert isinstance(decision, Answer)
    assert decision.response.status == 426
    assert decision.response.fields["Upgrade"] == "connect-udp"
    assert isinstance(decide(asked(path="/"), REGISTRY, secure=True), Ordinary)


@pytest.mark.parametrize("target", ["h/0", "/53", "h%2Fx/53", "h/5_3", "fe80%3A%3A1%25e/53"])
def test_a_target_that_is_none_is_refused_after_routing(target: str) -> None:
    """UDP-05."""
    path = f"/.well-known/masque/udp/{target}/"
    decision = decide(asked(*OFFER, path=path), REGISTRY, secure=True)
    assert isinstance(decision, Answer)
    assert decision.response.status == 400


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "%3A%3A1",
        "%3A%3Affff%3A7f00%3A1",
    ],
)
def test_inside_targets_are_refused_by_default(host: str) -> None:
    """UDP-18, UDP-06, SEC-34, CAP-08: 403, said in Proxy-Status, and no Capsule-Protocol."""
    path = f"/.well-known/masque/udp/{host}/53/"
    decision = decide(asked(*OFFER, path=path), REGISTRY, secure=True)
    assert isinstance(decision, Answer)
    assert decision.response.status == 403
    assert "error=destination_ip_prohibited" in decision.response.fields["Proxy-Status"]
    assert "Capsule-Protocol" not in decision.response.fields
    assert "Connection" not in decision.response.fields


def test_a_policy_of_ones_own_and_authorization() -> None:
    """UDP-18, UPG-S-21."""

    def authorize(request: Request) -> Response | None:
        return None if "Authorization" in request.fields else Response.text(401, "Who?\n")

    policy = DestinationPolicy(ports={53})
    registry = Registry(
        [udp_upgrade(ProxyTemplate(WELL_KNOWN), policy=policy, authorize=authorize)]
    )
    decision = decide(asked(*OFFER), registry, secure=True)
    assert isinstance(decision, Answer)
    assert decision.response.status == 401
    known = ("Authorization", "x")
    assert isinstance(decide(asked(*OFFER, known), registry, secure=True), Select)
    closed = asked(*OFFER, known, path=PATH.replace("53", "54"))
    refusal = decide(closed, registry, secure=True)
    assert isinstance(refusal, Answer)
    assert refusal.response.status == 403


def test_the_same_registration_serves_extended_connect() -> None:
    """UDP-09, UDP-10: 200 over HTTP/2, with Capsule-Protocol."""
    fields = Fields([("capsule-protocol", "?1")])
    request = Request("CONNECT", PATH, fields, version="2", protocol="connect-udp")
    decision = decide(request, REGISTRY, secure=True)
    assert isinstance(decision, Select)
    response = switching_response(decision)
    assert response.status == 200
    assert uses_capsules(response.fields)
    assert check_udp_response(request, response) == "connect-udp"


# The response.

ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n"
    b"Capsule-Protocol: ?1\r\n\r\n"
)


def asking() -> ClientConnection:
    client = ClientConnection()
    request = udp_request(TEMPLATE, "example.com", 53)
    client.send_request(request, end=True, switch=check_udp_response)
    return client


def test_the_101_opens_the_tunnel() -> None:
    """UDP-07: capsules may follow at once."""
    for result in replay(asking, ACCEPT + b"\x00\x03\x00hi"):
        assert isinstance(result.events[-1], Switched)
        assert result.events[-1].protocol == "connect-udp"
        assert result.trailing_data == b"\x00\x03\x00hi"


@pytest.mark.parametrize(
    "octets",
    [
        ACCEPT.replace(b"connect-udp", b"connect-ip"),
        ACCEPT.replace(b"connect-udp", b"connect-udp, connect-ip"),
        ACCEPT.replace(b"Capsule", b"Upgrade: connect-udp\r\nCapsule"),
        ACCEPT.replace(b"Capsule", b"Upgrade:\r\nCapsule"),
        ACCEPT.replace(b"Upgrade: connect-udp\r\n", b""),
        ACCEPT.replace(b"Connection: Upgrade\r\n", b""),
        ACCEPT.replace(b"Capsule", b"Content-Length: 0\r\nCapsule"),
        ACCEPT.replace(b"Capsule", b"Content-Type: x/y\r\nCapsule"),
        ACCEPT.replace(b"Capsule", b"Transfer-Encoding: chunked\r\nCapsule"),
    ],
)
def test_a_101_off_this_form_aborts(octets: bytes) -> None:
    """UDP-08, CAP-04, UPG-C-08."""
    for result in replay(asking, octets + b"\x00\x03\x00hi"):
        assert isinstance(result.events[-1], Failed)
        assert result.machine.close_expected()


@pytest.mark.parametrize("status", [200, 204, 400, 403, 502])
def test_any_other_status_is_a_failure(status: int) -> None:
    """UDP-08: a plain 200 too."""
    with pytest.raises(RemoteProtocolError):
        check_udp_response(udp_request(TEMPLATE, "h", 53), Response(status))


@pytest.mark.parametrize(
    ("status", "opens"), [(200, True), (201, True), (204, False), (101, False)]
)
def test_over_http_2_the_capsule_rules_apply(status: int, opens: bool) -> None:
    """UDP-10: 204 is malformed, 101 an error."""
    request = Request("CONNECT", "/", version="2", protocol="connect-udp")
    if opens:
        assert check_udp_response(request, Response(status, version="2")) == "connect-udp"
    else:
        with pytest.raises(RemoteProtocolError):
            check_udp_response(request, Response(status, version="2"))
    other = Request("CONNECT", "/", version="2", protocol="connect-ip")
    with pytest.raises(RemoteProtocolError):
        check_udp_response(other, Response(200, version="2"))


def test_no_capsule_before_the_101() -> None:
    """OPT-04: the client has nothing to send while it waits."""
    client = asking()
    client.data_to_send()
    for piece in one_octet(ACCEPT[:-1]):
        client.receive_data(piece)
        assert client.data_to_send() == []
        assert client.events_received() == []


# Datagrams.


def proxy(**arguments: Any) -> UdpMachine:
    return UdpMachine(UdpSide.PROXY, **arguments)


def datagram(payload: bytes, context: int = 0) -> bytes:
    return encode_capsule(0, encode_varint(context) + payload)


def test_context_zero_is_a_udp_payload() -> None:
    """UDP-11: empty ones too."""
    octets = datagram(b"one") + datagram(b"") + datagram(b"\x00three")
    for result in replay(proxy, octets, eof=True):
        assert result.machine.dropped == 0
        payloads = [event.payload for event in result.events if isinstance(event, DatagramReceived)]
        assert payloads == [b"one", b"", b"\x00three"]
        assert result.events[-1] == EndReceived()


def test_trailing_data_comes_first() -> None:
    machine = proxy(trailing_data=datagram(b"x")[:2])
    machine.receive_data(datagram(b"x")[2:])
    assert machine.events_received() == [DatagramReceived(b"x")]


def test_an_unknown_context_is_dropped() -> None:
    """UDP-12, SEC-42: the tunnel lives, and nothing piles up."""
    octets = datagram(b"?", 2) + datagram(b"?" * 100, 2**40) + datagram(b"ok")
    for result in replay(proxy, octets, eof=True):
        assert result.events == [DatagramReceived(b"ok"), EndReceived()]
        assert result.machine.dropped == 2


@pytest.mark.parametrize("context", [b"\x00", b"\x40\x00", b"\xc0" + b"\x00" * 7])
def test_the_longest_payload(context: bytes) -> None:
    """UDP-13: 65527 octets pass, 65528 abort the stream, however the context is written."""
    longest = b"x" * MAX_PAYLOAD
    result = feed(proxy(), [encode_capsule(0, context + longest)])
    assert result.events == [DatagramReceived(longest)]
    for extra in (1, 8, 100):
        octets = encode_capsule(0, context + longest + b"x" * extra) + datagram(b"later")
        for cut in (20, 65000, len(octets) - 12):
            result = feed(proxy(), [octets[:cut], octets[cut:]])
            (failed,) = result.events
            assert isinstance(failed, Failed)
            assert failed.error.rule == "RFC 9298 §5"


def test_a_payload_that_only_claims_to_be_long_aborts_at_once() -> None:
    """UDP-13, CAP-11: without waiting for 2^40 octets."""
    result = feed(proxy(), [b"\x00" + encode_varint(2**40) + b"\x00" * 8])
    assert isinstance(result.events[0], Failed)


def test_a_long_datagram_in_an_unknown_context_is_dropped() -> None:
    """UDP-12, CAP-11."""
    octets = datagram(b"x" * 70000, 2) + datagram(b"ok")
    result = feed(proxy(), [octets])
    assert result.events == [DatagramReceived(b"ok")]
    assert result.machine.dropped == 1


def test_a_payload_that_is_too_long_is_not_sent() -> None:
    """UDP-13."""
    machine = proxy()
    with pytest.raises(LocalProtocolError):
        machine.send_datagram(b"x" * (MAX_PAYLOAD + 1))
    assert machine.data_to_send() == []
    machine.send_datagram(b"x" * MAX_PAYLOAD)
    assert len(machine.data_to_send()) == 1


@pytest.mark.parametrize("value", [b"", b"\x40", b"\xc0\x00"])
def test_a_datagram_without_a_context(value: bytes) -> None:
    """UDP-11, CAP-05: a parse error ends the tunnel."""
    for result in replay(proxy, encode_capsule(0, value) + datagram(b"later"), eof=True):
        (failed,) = result.events
        assert isinstance(failed, Failed)
        assert failed.error.rule == "RFC 9298 §4"
        with pytest.raises(TunnelClosed):
            result.machine.send_datagram(b"x")


def test_an_end_inside_a_datagram() -> None:
    """CAP-06."""
    for result in replay(proxy, datagram(b"ok") + datagram(b"cut")[:-1], eof=True):
        assert result.events[0] == DatagramReceived(b"ok")
        assert isinstance(result.events[1], Failed)
        assert len(result.events) == 2


def test_unknown_capsules_are_skipped() -> None:
    """CAP-02."""
    octets = encode_capsule(0x17, b"???") + datagram(b"ok")
    for result in replay(proxy, octets):
        assert result.events == [DatagramReceived(b"ok")]


def test_contexts_belong_to_their_makers() -> None:
    """UDP-11: clients make even IDs, proxies odd ones, and none twice."""
    client, server = UdpMachine(UdpSide.CLIENT), proxy()
    assert [client.open_context() for _ in range(3)] == [2, 4, 6]
    assert [server.open_context() for _ in range(3)] == [1, 3, 5]
    client.close_context(6)
    assert client.open_context() == 8
    server.accept_context(2)
    for impossible in (2, 0, -2, 7):
        with pytest.raises(RemoteProtocolError):
            server.accept_context(impossible)
    with pytest.raises(RemoteProtocolError):
        client.accept_context(10)
    client.accept_context(1)


@pytest.mark.parametrize("cut", [whole, one_octet, at(1, 2, 3)])
def test_both_ends(cut: Any) -> None:
    """UDP-11, UDP-12: datagrams, extension contexts, and the ends of the stream."""
    pair = ConnectionPair(UdpMachine(UdpSide.CLIENT), proxy(), cut=cut)
    context = pair.client.open_context()
    pair.client.send_datagram(b"query")
    pair.client.send_context_datagram(context, b"too early")
    pair.expect(server=[DatagramReceived(b"query")], client=[])
    pair.server.accept_context(context)
    pair.client.send_context_datagram(context, b"known")
    pair.server.send_datagram(b"")
    pair.expect(server=[ContextDatagramReceived(context, b"known")], client=[DatagramReceived(b"")])
    with pytest.raises(LocalProtocolError):
        pair.client.send_context_datagram(4, b"x")
    pair.client.send_eof()
    pair.client.send_eof()
    assert pair.client.eof_to_send()
    assert not pair.client.eof_to_send()
    with pytest.raises(TunnelClosed):
        pair.client.send_datagram(b"x")
    pair.end_client()
    pair.expect(server=[EndReceived()], client=[])


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(1, 30), max_size=5))
def test_any_split_gives_the_same_datagrams(payloads: list[bytes], sizes: list[int]) -> None:
    """UDP-11."""
    sender, receiver = UdpMachine(UdpSide.CLIENT), proxy()
    for payload in payloads:
        sender.send_datagram(payload)
    octets = b"".join(sender.data_to_send())
    start = 0
    for size in [*sizes, len(octets)]:
        receiver.receive_data(octets[start : start + size])
        start += size
    receiver.receive_data(octets[start:])
    assert receiver.events_received() == [DatagramReceived(payload) for payload in payloads]


def test_from_the_request_to_the_datagram() -> None:
    """UDP-03, UDP-05, UDP-07, UDP-11, OPT-04: both machines of HTTP, then both of UDP."""
    pair = ConnectionPair(asking(), ServerConnection(), cut=at(5, 50))
    pair.exchange()
    received = pair.server_events[0]
    assert isinstance(received, RequestReceived)
    decision = decide(received.request, REGISTRY, secure=True)
    assert isinstance(decision, Select)
    pair.server.switch(switching_response(decision), decision.protocol)
    pair.exchange()
    pair.succeed_client(UdpMachine(UdpSide.CLIENT))
    pair.succeed_server(proxy())
    pair.client.send_datagram(b"query")
    pair.expect(server=[DatagramReceived(b"query")])
    pair.server.send_datagram(b"answer")
    pair.expect(client=[DatagramReceived(b"answer")])
