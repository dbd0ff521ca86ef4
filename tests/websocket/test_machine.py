"""The machine as a whole: its states, what it is fed, large frames, and both builds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from switchover.errors import LocalProtocolError
from switchover.websocket import COMPILED, Connection, Side, State, _masking_py, framing

try:
    from switchover.websocket import _masking
except ImportError:
    _masking = None

# What goes in


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_is_taken(kit: Any, kind: Any) -> None:
    """The public entry coerces; what it is given stays as it was."""
    octets = kit.frame(0x81, b"hello") + kit.frame(0x82, b"x")
    given_octets = kind(octets)
    server = kit.server()
    server.receive_data(given_octets)
    assert server.events_received() == ["hello", b"x"]
    assert bytes(given_octets) == octets


def test_events_are_handed_over_once(kit: Any) -> None:
    """What has been taken does not come again; nothing happens without octets."""
    server = kit.server()
    assert server.events_received() == []
    server.receive_data(kit.frame(0x81, b"a"))
    server.receive_data(b"")
    assert server.events_received() == ["a"]
    assert server.events_received() == []
    assert server.data_to_send() == []


def test_facts(kit: Any) -> None:
    """A machine knows its side, its subprotocol and its extensions."""
    server = kit.server(subprotocol="chat")
    assert (server.side.value, server.subprotocol, server.extensions) == ("server", "chat", ())
    assert (server.state.name, server.error, server.sent_code) == ("OPEN", None, None)


# Octets that are read straight to their place


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("size", [20_000, 70_000, 1_000_000])
def test_large_frames_are_read_straight_to_their_place(kit: Any, size: int, text: bool) -> None:
    """WS-F-15: direct_buffer() and filled() are receive_data() without a copy."""
    payload = (b"abcdefg" * (size // 7 + 1))[:size]
    octets = kit.frame(0x81 if text else 0x82, payload) + kit.frame(0x82, b"next")
    server = kit.server()
    server.receive_data(octets[:100])
    at = 100
    while (buffer := server.direct_buffer()) is not None:
        count = min(len(buffer), 50_001)
        buffer[:count] = octets[at : at + count]
        at += count
        server.filled(count)
    server.receive_data(octets[at:])
    assert server.events_received() == [payload.decode() if text else payload, b"next"]


def test_the_place_never_reaches_beyond_the_frame(kit: Any) -> None:
    """WS-F-15: what follows a large frame is not read into it."""
    server = kit.server()
    server.receive_data(kit.frame(0x82, b"x" * 30_000)[:1000])
    while (buffer := server.direct_buffer()) is not None:
        assert len(buffer) <= 30_000
        server.filled(min(len(buffer), 7_000))
    assert server.events_received() == []


def test_small_frames_have_no_place_of_their_own(kit: Any) -> None:
    """An idle connection, or one in a small frame, owns no buffer to read to."""
    server = kit.server()
    assert server.direct_buffer() is None
    server.receive_data(kit.frame(0x82, b"x" * 1000)[:500])
    assert server.direct_buffer() is None


def test_a_place_that_was_used_before_leaks_nothing(kit: Any) -> None:
    """SEC-15: storages are used again; octets of another connection do not show."""
    first = kit.server()
    assert kit.events(first, kit.frame(0x82, b"secret" * 20_000)[:-1], b"!") != []
    second = kit.server()
    octets = kit.frame(0x82, b"public" * 20_000)
    assert kit.events(second, octets[:10], octets[10:40_000], octets[40_000:]) == [
        b"public" * 20_000
    ]


# States


class Life(RuleBasedStateMachine):
    """Every verb in every state: no unknown exception, and the rules hold throughout."""

    machine: Any
    kit: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.machine = Connection(Side.SERVER)
        self.closed_at: int | None = None
        self.written = bytearray()
        self.events: list[Any] = []

    def attempt(self, verb: Any, *arguments: Any) -> None:
        before = self.machine.state
        try:
            verb(*arguments)
        except LocalProtocolError:
            assert before is not State.OPEN or self.machine._sending

    @rule(
        data=st.sampled_from(
            ["8181000000 0078", "8980000000 00", "8882000000 0003e8", "8380", "01"]
        )
    )
    def receive(self, data: str) -> None:
        octets = bytes.fromhex(data.replace(" ", ""))
        self.machine.receive_data(octets)

    @rule()
    def eof(self) -> None:
        self.machine.receive_eof()

    @rule(final=st.booleans())
    def fragment(self, final: bool) -> None:
        try:
            self.machine.send_fragment("f", final=final)
        except LocalProtocolError:
            assert self.machine.state is not State.OPEN

    @rule()
    def send(self) -> None:
        self.attempt(self.machine.send_text, "t")
        self.attempt(self.machine.send_binary, b"b")

    @rule()
    def ping(self) -> None:
        self.attempt(self.machine.ping)

    @rule(code=st.sampled_from([1000, 1001, None]))
    def close(self, code: int | None) -> None:
        self.machine.close(code)

    @rule()
    def fail(self) -> None:
        self.machine.fail(1011, "enough")

    @invariant()
    def nothing_follows_a_close_frame(self) -> None:
        self.written += b"".join(self.machine.data_to_send())
        self.events += self.machine.events_received()
        octets, seen_close = bytes(self.written), False
        while octets:
            assert not seen_close
            seen_close = octets[0] == 0x88
            octets = octets[2 + octets[1] :]
        assert seen_close <= (self.machine.state is not State.OPEN)

    @invariant()
    def a_closed_machine_stays_closed(self) -> None:
        if self.machine.state is State.CLOSED:
            assert self.machine.close_expected()
            assert self.machine.close_code is not None


TestLife = Life.TestCase


# Both builds


def test_the_build_is_known() -> None:
    """The package says which build runs."""
    assert framing.COMPILED is COMPILED
    assert framing.Framing.__module__.endswith("_c") is framing.COMPILED


def test_the_plain_build_can_be_forced() -> None:
    """SWITCHOVER_PURE_PYTHON=1 runs the source as it is."""
    program = (
        "from switchover.websocket import *; c = Connection(Side.SERVER);"
        "c.send_text('x'); print(COMPILED, c.data_to_send())"
    )
    import os

    environment = {**os.environ, "SWITCHOVER_PURE_PYTHON": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False [b'\\x81\\x01x']\n"


_maskings = [pytest.param(_masking_py, id="pure")]
if _masking is not None:
    _maskings.append(pytest.param(_masking, id="compiled"))


@pytest.mark.parametrize("masking", _maskings)
@given(
    payload=st.binary(max_size=70),
    key=st.binary(min_size=4, max_size=4),
    before=st.binary(max_size=9),
)
def test_masking_is_its_own_inverse(
    masking: Any, payload: bytes, key: bytes, before: bytes
) -> None:
    """RFC 6455 §5.3: octet i is XORed with octet i modulo 4 of the key, whatever the alignment."""
    frame = masking.mask(before, payload, key)
    expected = bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))
    assert frame == before + key + expected
    start = len(before) + 4
    assert masking.take(bytearray(frame), start, len(frame), True, False) == payload
    assert masking.take(bytearray(frame), start, len(frame), False, False) == expected
    if payload.isascii():
        assert masking.take(bytearray(frame), start, len(frame), True, True) == payload.decode()


@pytest.mark.parametrize("masking", _maskings)
def test_masking_keeps_to_its_bounds(masking: Any) -> None:
    """No octet outside the buffer is ever touched."""
    data = bytearray(10)
    for start, stop in ((3, 5), (4, 11), (6, 5), (-1, 5), (4, 2**40)):
        with pytest.raises(IndexError):
            masking.take(data, start, stop, True, False)
    with pytest.raises(IndexError):
        masking.take(data, -1, 5, False, True)
    for key in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError):
            masking.mask(b"", b"", key)
    with pytest.raises(UnicodeDecodeError):
        masking.take(bytearray(b"\xff"), 0, 1, False, True)
