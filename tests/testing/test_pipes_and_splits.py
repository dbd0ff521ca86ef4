"""Wires, splits and replays: the tools have to be right before what they test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.http.client import ClientConnection
from switchover.http.events import ContentReceived, MessageComplete, Switched
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection
from switchover.testing import (
    Wire,
    at,
    every_split,
    feed,
    merged,
    one_octet,
    replay,
    whole,
)


class Recorder:
    """A machine that keeps what it is given, and echoes it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.ends = 0
        self.out: list[bytes] = []
        self.events: list[Any] = []

    def receive_data(self, data: bytes) -> None:
        self.seen.append(data)
        self.events.append(ContentReceived(data))
        self.out.append(data)

    def receive_eof(self) -> None:
        self.ends += 1
        self.events.append("end")

    def events_received(self) -> list[Any]:
        events, self.events = self.events, []
        return events

    def data_to_send(self) -> list[bytes]:
        out, self.out = self.out, []
        return out


@given(st.binary(max_size=12), st.lists(st.integers(-3, 15), max_size=4))
def test_cuts_lose_nothing(data: bytes, places: list[int]) -> None:
    for cut in (whole, one_octet, at(*places)):
        pieces = list(cut(data))
        assert b"".join(pieces) == data
        assert all(pieces)
    assert len(list(one_octet(data))) == len(data)


def test_every_split_is_every_split() -> None:
    assert list(every_split(b"abc")) == [
        [b"abc"],
        [b"a", b"bc"],
        [b"ab", b"c"],
        [b"a", b"b", b"c"],
    ]
    assert list(every_split(b"ab")) == [[b"ab"], [b"a", b"b"]]
    assert list(every_split(b"a")) == [[b"a"]]
    assert list(every_split(b"")) == [[]]


def test_a_wire_delivers_in_pieces_and_then_the_end() -> None:
    wire, machine = Wire(cut=at(2)), Recorder()
    wire.write(b"hello")
    assert wire.waiting == b"hello"
    assert wire.deliver(machine)
    assert machine.seen == [b"he", b"llo"]
    assert not wire.deliver(machine)
    wire.write(b"!")
    wire.end()
    assert wire.deliver(machine)
    assert not wire.deliver(machine)
    assert machine.seen == [b"he", b"llo", b"!"]
    assert machine.ends == 1
    assert wire.transcript == b"hello!"
    with pytest.raises(AssertionError, match="after the end"):
        wire.write(b"x")


@pytest.mark.parametrize("limit", range(6))
def test_a_wire_can_be_cut_anywhere(limit: int) -> None:
    wire, machine = Wire(cut=one_octet, limit=limit), Recorder()
    wire.write(b"hello")
    while wire.deliver(machine):
        pass
    assert b"".join(machine.seen) == b"hello"[:limit]
    assert machine.ends == 1


def test_a_wire_stops_when_the_machine_is_finished() -> None:
    wire, machine = Wire(cut=one_octet), Recorder()
    wire.write(b"abc")
    assert wire.deliver(machine, finished=lambda: len(machine.seen) == 2)
    assert wire.waiting == b"c"


def test_merging() -> None:
    @dataclass(frozen=True)
    class Other:
        data: bytes
        more: int = 0

    data = [ContentReceived(b"a"), ContentReceived(b"b")]
    assert merged([*data, "x", *data]) == [ContentReceived(b"ab"), "x", ContentReceived(b"ab")]
    assert merged([Other(b"a"), Other(b"b")]) == [Other(b"a"), Other(b"b")]
    assert merged([]) == []
    switched = Switched("p", Request("GET", "/"), Response(101), b"rest")
    assert merged([switched])[0].trailing_data == b""


def test_feeding() -> None:
    result = feed(Recorder(), [b"a", b"b"], eof=True)
    assert result.events == [ContentReceived(b"ab"), "end"]
    assert result.sent == b"ab"
    assert result.pieces == [b"a", b"b"]
    assert result.trailing_data == b""


def test_what_follows_a_switch_is_not_fed() -> None:
    """UPG-S-18: the machine gets nothing, the result has everything."""

    def react(machine: ServerConnection, event: Any) -> None:
        if isinstance(event, MessageComplete):
            machine.switch(Response(101), "p")

    octets = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nNEW PROTOCOL"
    results = list(replay(ServerConnection, octets, react=react, eof=True))
    assert len(results) == len(octets) + 1
    for result in results:
        assert result.trailing_data == b"NEW PROTOCOL"
        assert isinstance(result.events[-1], Switched)
        assert result.events == results[0].events


def test_a_machine_that_has_something_to_say_at_once() -> None:
    client = ClientConnection()
    client.send_request(Request("GET", "/", authority="h"), end=True)
    assert feed(client, []).sent == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
