"""The octet tunnel: two directions that end independently (RFC 9110 §9.3.6, RFC 9113 §8.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, TunnelBroken, TunnelClosed
from switchover.testing import ConnectionPair, at, one_octet, replay, whole
from switchover.tunnel.machine import (
    Broken,
    DataReceived,
    EndReceived,
    TunnelMachine,
    TunnelState,
)


def test_trailing_data_comes_first() -> None:
    """UPG-S-18, CON-06: the octets that came with the switch are the tunnel's first."""
    tunnel = TunnelMachine("tcp", trailing_data=b"first")
    tunnel.receive_data(b"then")
    assert tunnel.protocol == "tcp"
    assert tunnel.events_received() == [DataReceived(b"first"), DataReceived(b"then")]
    assert tunnel.events_received() == []


def test_any_split_gives_the_same_octets() -> None:
    octets = b"\x00GET / HTTP/1.1\r\n\r\n\xff"
    for result in replay(TunnelMachine, octets, eof=True):
        assert result.events == [DataReceived(octets), EndReceived()]
        assert result.sent == b""


def test_the_buffers_of_the_caller_are_its_own() -> None:
    tunnel = TunnelMachine()
    data = bytearray(b"abc")
    tunnel.receive_data(data)
    tunnel.send(memoryview(data))
    data[:] = b"xyz"
    assert tunnel.events_received() == [DataReceived(b"abc")]
    assert tunnel.data_to_send() == [b"abc"]


def test_the_peers_end_leaves_our_direction_open() -> None:
    """CON-10: a half-close is passed on; the answer still goes out."""
    tunnel = TunnelMachine()
    tunnel.receive_eof()
    assert tunnel.events_received() == [EndReceived()]
    assert tunnel.state is TunnelState.REMOTE_ENDED
    tunnel.send(b"answer")
    assert tunnel.data_to_send() == [b"answer"]
    assert not tunnel.close_expected()
    tunnel.send_eof()
    assert tunnel.eof_to_send()
    assert not tunnel.eof_to_send()
    assert tunnel.state is TunnelState.CLOSED
    assert tunnel.close_expected()


def test_our_end_leaves_the_peers_direction_open() -> None:
    """CON-10."""
    tunnel = TunnelMachine()
    tunnel.send(b"last")
    tunnel.send_eof()
    tunnel.send_eof()
    assert tunnel.data_to_send() == [b"last"]
    assert tunnel.eof_to_send()
    with pytest.raises(TunnelClosed):
        tunnel.send(b"more")
    tunnel.receive_data(b"late")
    tunnel.receive_eof()
    tunnel.receive_eof()
    assert tunnel.events_received() == [DataReceived(b"late"), EndReceived()]
    assert tunnel.state is TunnelState.CLOSED


def test_octets_after_the_end_are_the_transports_fault() -> None:
    tunnel = TunnelMachine()
    tunnel.receive_eof()
    with pytest.raises(LocalProtocolError):
        tunnel.receive_data(b"x")


def test_nothing_is_nothing() -> None:
    tunnel = TunnelMachine()
    tunnel.receive_data(b"")
    tunnel.send(b"")
    assert tunnel.events_received() == []
    assert tunnel.data_to_send() == []


@pytest.mark.parametrize("ours_ended", [False, True])
def test_a_loss_before_the_peers_end_is_told(ours_ended: bool) -> None:
    tunnel = TunnelMachine()
    if ours_ended:
        tunnel.send_eof()
    tunnel.receive_data(b"x")
    tunnel.connection_lost()
    tunnel.connection_lost()
    data, broken = tunnel.events_received()
    assert data == DataReceived(b"x")
    assert isinstance(broken, Broken)
    assert isinstance(broken.error, TunnelBroken)
    assert tunnel.close_expected()
    assert not tunnel.eof_to_send()
    with pytest.raises(TunnelClosed):
        tunnel.send(b"x")
    tunnel.receive_data(b"ignored")
    tunnel.receive_eof()
    assert tunnel.events_received() == []


def test_a_loss_after_the_peers_end_is_none() -> None:
    tunnel = TunnelMachine()
    tunnel.receive_eof()
    tunnel.connection_lost()
    assert tunnel.events_received() == [EndReceived()]
    assert tunnel.state is TunnelState.BROKEN
    closed = TunnelMachine()
    closed.receive_eof()
    closed.send_eof()
    closed.connection_lost()
    closed.abort()
    assert closed.state is TunnelState.CLOSED


def test_aborting_sends_nothing_more() -> None:
    tunnel = TunnelMachine()
    tunnel.send(b"x")
    tunnel.send_eof()
    tunnel.abort()
    assert tunnel.data_to_send() == []
    assert not tunnel.eof_to_send()
    assert tunnel.close_expected()


@pytest.mark.parametrize("cut", [whole, one_octet, at(3)])
def test_both_ends(cut: object) -> None:
    pair = ConnectionPair(TunnelMachine(), TunnelMachine(), cut=cut)  # type: ignore[arg-type]
    pair.client.send(b"question")
    pair.client.send_eof()
    pair.end_client()
    pair.expect(client=[], server=[DataReceived(b"question"), EndReceived()])
    pair.server.send(b"answer")
    pair.server.send_eof()
    pair.end_server()
    pair.expect(client=[DataReceived(b"answer"), EndReceived()], server=[])
    assert pair.client.close_expected()
    assert pair.server.close_expected()


actions = st.lists(
    st.sampled_from(["data", "eof", "send", "send_eof", "lost", "abort"]), max_size=12
)


@given(actions)
def test_every_order_of_actions(order: list[str]) -> None:
    """Whatever happens: one end at most, nothing behind it, and no state without a way out."""
    tunnel = TunnelMachine()
    events: list[object] = []
    for action in order:
        before = tunnel.state
        try:
            {
                "data": lambda: tunnel.receive_data(b"d"),
                "eof": tunnel.receive_eof,
                "send": lambda: tunnel.send(b"s"),
                "send_eof": tunnel.send_eof,
                "lost": tunnel.connection_lost,
                "abort": tunnel.abort,
            }[action]()
        except LocalProtocolError:
            assert action == "data"
            assert before in (TunnelState.REMOTE_ENDED, TunnelState.CLOSED)
        except TunnelClosed:
            assert action == "send"
            assert before not in (TunnelState.OPEN, TunnelState.REMOTE_ENDED)
        if before in (TunnelState.CLOSED, TunnelState.BROKEN):
            assert tunnel.state is before
        events += tunnel.events_received()
    ends = [event for event in events if not isinstance(event, DataReceived)]
    assert len(ends) <= 1
    assert not ends or events[-1] is ends[0]
