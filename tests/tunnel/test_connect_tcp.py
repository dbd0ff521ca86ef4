"""connect-tcp: draft-ietf-httpbis-connect-tcp, an approved draft."""

from __future__ import annotations

from typing import Any

import pytest

from switchover.errors import RemoteProtocolError, TunnelClosed
from switchover.http.events import Failed
from switchover.http.messages import Response
from switchover.testing import ConnectionPair, at, one_octet, replay, whole
from switchover.tunnel.capsules import encode_capsule
from switchover.tunnel.connect import Authority
from switchover.tunnel.connect_tcp import (
    DATA,
    FINAL_DATA,
    ConnectTcpMachine,
    check_tcp_response,
    tcp_request,
    tcp_upgrade,
)
from switchover.tunnel.machine import Broken, DataReceived, EndReceived, TunnelState
from switchover.tunnel.policy import DestinationPolicy
from switchover.tunnel.templates import ProxyTemplate
from switchover.upgrade import Answer, Registry, Select, decide, switching_response

TEMPLATE = ProxyTemplate("https://p/proxy{?target_host,target_port}")


def test_request_and_response() -> None:
    request = tcp_request(TEMPLATE, "192.0.2.1", 443)
    assert request.target == "/proxy?target_host=192.0.2.1&target_port=443"
    assert request.fields["Upgrade"] == "connect-tcp"
    assert request.fields["Capsule-Protocol"] == "?1"
    policy = DestinationPolicy(networks=["192.0.2.0/24"])
    decision = decide(request, Registry([tcp_upgrade(TEMPLATE, policy=policy)]), secure=True)
    assert isinstance(decision, Select)
    assert decision.acceptance.state == Authority("192.0.2.1", 443)
    response = switching_response(decision)
    assert check_tcp_response(request, response) == "connect-tcp"
    with pytest.raises(RemoteProtocolError):
        check_tcp_response(request, Response(200))


def test_the_policy_is_the_one_of_connect() -> None:
    """SEC-35: port 443 of public addresses, unless told otherwise."""
    registry = Registry([tcp_upgrade(TEMPLATE)])
    for host, port in (("192.0.2.1", 443), ("example.com", 80)):
        decision = decide(tcp_request(TEMPLATE, host, port), registry, secure=True)
        assert isinstance(decision, Answer)
        assert decision.response.status == 403


def test_data_and_its_end() -> None:
    """CAP-02: other capsules are skipped; the end is FINAL_DATA and what it holds."""
    octets = encode_capsule(DATA, b"hel") + encode_capsule(0x17, b"?") + encode_capsule(DATA, b"")
    octets += encode_capsule(FINAL_DATA, b"lo")
    for result in replay(ConnectTcpMachine, octets, eof=True):
        assert result.events == [DataReceived(b"hello"), EndReceived()]
        assert result.machine.state is TunnelState.REMOTE_ENDED


def test_an_end_without_final_data_is_a_loss() -> None:
    """The endpoints detect any truncation."""
    for result in replay(ConnectTcpMachine, encode_capsule(DATA, b"hello"), eof=True):
        data, broken = result.events
        assert data == DataReceived(b"hello")
        assert isinstance(broken, Broken)


def test_an_end_inside_a_capsule() -> None:
    """CAP-06."""
    for result in replay(ConnectTcpMachine, encode_capsule(DATA, b"hello")[:-2], eof=True):
        assert result.events[0] == DataReceived(b"hel")
        assert isinstance(result.events[-1], Failed)
        assert result.machine.close_expected()


@pytest.mark.parametrize("kind", [DATA, FINAL_DATA])
def test_nothing_follows_final_data(kind: int) -> None:
    octets = (
        encode_capsule(FINAL_DATA, b"x") + encode_capsule(kind, b"y") + encode_capsule(DATA, b"z")
    )
    for result in replay(ConnectTcpMachine, octets):
        assert result.events[:2] == [DataReceived(b"x"), EndReceived()]
        (failed,) = result.events[2:]
        assert isinstance(failed, Failed)
        assert result.machine.close_expected()


def test_the_numbers_can_be_changed() -> None:
    """They are provisional."""
    machine = ConnectTcpMachine(data_type=1, final_type=2, trailing_data=b"\x01\x01a")
    machine.receive_data(b"\x02\x00")
    assert machine.events_received() == [DataReceived(b"a"), EndReceived()]
    machine.send(b"b")
    machine.send(b"")
    machine.send_eof()
    machine.send_eof()
    assert b"".join(machine.data_to_send()) == b"\x01\x01b\x02\x00"


@pytest.mark.parametrize("cut", [whole, one_octet, at(2, 7)])
def test_both_ends(cut: Any) -> None:
    """CON-10: half-close, in capsules."""
    pair = ConnectionPair(ConnectTcpMachine(), ConnectTcpMachine(), cut=cut)
    pair.client.send(b"question")
    pair.client.send_eof()
    pair.expect(client=[], server=[DataReceived(b"question"), EndReceived()])
    with pytest.raises(TunnelClosed):
        pair.client.send(b"more")
    pair.server.send(b"answer")
    pair.server.send_eof()
    pair.expect(client=[DataReceived(b"answer"), EndReceived()], server=[])
    assert pair.client.close_expected()
    assert pair.server.close_expected()
    pair.end_client()
    pair.expect(client=[], server=[])


def test_aborting() -> None:
    machine = ConnectTcpMachine()
    machine.send(b"x")
    machine.abort()
    assert machine.data_to_send() == []
    assert machine.close_expected()
    machine.send_eof()
    assert machine.data_to_send() == []
    lost = ConnectTcpMachine()
    lost.connection_lost()
    assert isinstance(lost.events_received()[0], Broken)
