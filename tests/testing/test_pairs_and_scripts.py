"""Connection pairs and scripted peers."""

from __future__ import annotations

from typing import Any

import pytest

from switchover.http.client import ClientConnection
from switchover.http.events import (
    ContentReceived,
    Failed,
    MessageComplete,
    PeerClosed,
    RequestReceived,
    ResponseReceived,
)
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.testing import (
    ConnectionPair,
    Eof,
    Expect,
    ScriptedPeer,
    Send,
    at,
    misbehaving_servers,
    one_octet,
    whole,
)
from switchover.upgrade import offering_request, switching_response_to, verify


def asking(**arguments: Any) -> ClientConnection:
    client = ClientConnection()
    client.send_request(Request("GET", "/", authority="h"), end=True, **arguments)
    return client


@pytest.mark.parametrize("cut", [whole, one_octet, at(1, 10)])
def test_a_pair_shows_both_ends(cut: Any) -> None:
    pair = ConnectionPair(asking(), ServerConnection(), cut=cut)
    client_events, server_events = pair.exchange()
    assert client_events == []
    assert [type(event) for event in server_events] == [RequestReceived, MessageComplete]
    pair.server.send_response(Response.text(200, "hello"), end=True)
    client_events, server_events = pair.exchange()
    assert server_events == []
    assert [type(e) for e in client_events] == [
        ResponseReceived,
        ContentReceived,
        MessageComplete,
    ]
    assert client_events[1] == ContentReceived(b"hello")
    pair.end_client()
    pair.expect(server=[PeerClosed()])
    assert pair.to_server.transcript.startswith(b"GET / HTTP/1.1\r\n")
    assert pair.to_client.transcript.startswith(b"HTTP/1.1 200 OK\r\n")


def test_expecting_something_else_fails() -> None:
    pair = ConnectionPair(asking(), ServerConnection())
    with pytest.raises(AssertionError):
        pair.expect(server=[])
    pair.server.send_response(Response(204), end=True)
    with pytest.raises(AssertionError):
        pair.expect(client=[])


@pytest.mark.parametrize("limit", [0, 1, 16])
def test_a_connection_that_is_cut(limit: int) -> None:
    pair = ConnectionPair(asking(), ServerConnection(), client_limit=limit)
    _, (event,) = pair.exchange()
    assert isinstance(event, Failed if limit else PeerClosed)
    pair = ConnectionPair(
        asking(), ScriptedPeer([Send(b"HTTP/1.1 200 OK\r\n")]), server_limit=limit
    )
    (event,), _ = pair.exchange()
    assert isinstance(event, Failed)


@pytest.mark.parametrize("cut", [whole, one_octet, at(30, 60)])
def test_successors_take_over_where_http_ends(cut: Any) -> None:
    """UPG-S-18, UPG-C-04: nothing is delivered to a machine that has switched."""
    request = offering_request(Request("GET", "/", authority="h"), ["p"])
    client = ClientConnection()
    client.send_request(request, end=True, switch=verify)
    pair = ConnectionPair(client, ServerConnection(), cut=cut)
    pair.exchange()
    pair.to_server.write(b"early ")
    pair.exchange()
    pair.server.switch(switching_response_to(request, "p"), "p")
    pair.to_client.write(b"")
    pair.exchange()
    pair.to_server.write(b"octets")
    pair.exchange()
    pair.succeed_server(ScriptedPeer([Send(b"hello")]))
    pair.succeed_client(ScriptedPeer([Expect(b"hello"), Send(b"!"), Eof()]))
    pair.exchange()
    assert pair.server.received == b"early octets!"
    assert pair.server.peer_ended
    assert pair.client.received == b"hello"
    pair.end_server()
    pair.exchange()
    assert pair.client.peer_ended
    assert pair.client_events[-1] == pair.server_events[-1] == "→ p"


def test_no_successor_without_a_switch() -> None:
    pair = ConnectionPair(asking(), ServerConnection())
    with pytest.raises(AssertionError, match="nothing has switched"):
        pair.succeed_client(ScriptedPeer([]))


def test_two_machines_that_never_come_to_rest() -> None:
    class Chatterbox(ScriptedPeer):
        def receive_data(self, data: bytes) -> None:
            self._out.append(b"x")

    pair = ConnectionPair(Chatterbox([Send(b"x")]), Chatterbox([]))
    with pytest.raises(AssertionError, match="never come to rest"):
        pair.exchange()


def test_a_script_waits_for_what_it_expects() -> None:
    peer = ScriptedPeer([Send(b"1"), Expect(b"\r\n\r\n"), Send(b"2"), Expect(b""), Send(b"3")])
    assert peer.data_to_send() == [b"1"]
    peer.receive_data(b"GET /\r\n")
    assert peer.data_to_send() == []
    peer.receive_data(b"\r\n")
    assert peer.data_to_send() == [b"2"]
    assert peer.steps_left == [Expect(b""), Send(b"3")]
    peer.receive_data(b"x")
    assert peer.data_to_send() == [b"3"]
    assert peer.received == b"GET /\r\n\r\nx"
    assert peer.events_received() == []
    assert not peer.peer_ended
    peer.receive_eof()
    assert peer.peer_ended


def test_the_octets_between_two_expectations_count_once() -> None:
    peer = ScriptedPeer([Expect(b"a"), Expect(b"a"), Send(b"!")])
    peer.receive_data(b"a")
    assert peer.data_to_send() == []
    peer.receive_data(b"xa")
    assert peer.data_to_send() == [b"!"]


def test_a_script_can_end_the_connection() -> None:
    server = ScriptedPeer([Expect(b"\r\n\r\n"), Send(b"HTTP/1.1 200 OK\r\nContent-"), Eof()])
    pair = ConnectionPair(asking(), server, cut=one_octet)
    (event,), _ = pair.exchange()
    assert isinstance(event, Failed)
    assert server.steps_left == []


@pytest.mark.parametrize("fault", sorted(misbehaving_servers("x-token/1")))
def test_misbehaving_servers_have_one_fault_each(fault: str) -> None:
    """UPG-C-05: each is refused, and the well-behaved answer beside them is not."""
    request = offering_request(Request("GET", "/", authority="h"), ["x-token/1"])
    answer = misbehaving_servers("x-token/1")[fault]
    good = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x-token/1\r\nConnection: Upgrade\r\n\r\n"
    for octets, refused in ((answer, True), (good, False)):
        client = ClientConnection()
        client.send_request(request, end=True, switch=verify)
        pair = ConnectionPair(client, ScriptedPeer([Expect(b"\r\n\r\n"), Send(octets)]))
        (event,), _ = pair.exchange()
        assert isinstance(event, Failed) is refused
