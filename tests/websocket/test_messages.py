"""Messages (RFC 6455 §5.4, §5.6, §6, §8.1): fragments, UTF-8, types, and sending."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from switchover.websocket.events import Fragment, Ping

# §5.4: fragmentation


def test_fragments_make_a_message(kit: Any, side: str) -> None:
    """WS-F-12, RFC 6455 §5.4: text, then continuations, the last with FIN."""
    octets = [
        kit.frame_to(side, 0x01, b"a"),
        kit.frame_to(side, 0x00, b"b"),
        kit.frame_to(side, 0x80, b"c"),
    ]
    machine = kit.either(side)
    assert kit.events(machine, *octets) == ["abc"]
    octets[0] = kit.frame_to(side, 0x02, b"a")
    assert kit.events(machine, *octets) == [b"abc"]


@pytest.mark.parametrize("first", [0x00, 0x80])
def test_a_continuation_of_nothing_fails(kit: Any, side: str, first: int) -> None:
    """WS-F-12, RFC 6455 §5.4: a continuation needs a beginning."""
    machine = kit.either(side)
    assert kit.events(machine, kit.frame_to(side, 0x81, b"whole")) == ["whole"]
    assert kit.failure(machine, kit.frame_to(side, first, b"x")) == 1002


@pytest.mark.parametrize("first", [0x81, 0x82, 0x01, 0x02])
def test_a_message_inside_another_fails(kit: Any, side: str, first: int) -> None:
    """WS-F-12, RFC 6455 §5.4: fragments of messages "MUST NOT be interleaved"."""
    machine = kit.either(side)
    assert kit.events(machine, kit.frame_to(side, 0x01, b"half")) == []
    assert kit.failure(machine, kit.frame_to(side, first, b"x")) == 1002


def test_control_frames_come_between_fragments(kit: Any) -> None:
    """WS-F-13, RFC 6455 §5.4: the pong goes out before the message is complete."""
    server = kit.server()
    assert kit.events(server, kit.frame(0x01, b"Hel"), kit.frame(0x89, b"?")) == [Ping(b"?")]
    assert kit.frames(kit.sent(server)) == [(0x8A, b"?", None)]
    assert kit.events(server, kit.frame(0x80, b"lo")) == ["Hello"]


def test_control_frames_come_inside_a_character(kit: Any) -> None:
    """WS-F-13, WS-F-16: the state of UTF-8 survives a ping."""
    euro = "€".encode()
    server = kit.server()
    octets = [kit.frame(0x01, euro[:1]), kit.frame(0x89), kit.frame(0x80, euro[1:])]
    assert kit.events(server, *octets) == [Ping(b""), "€"]


def test_empty_frames_and_messages(kit: Any, side: str) -> None:
    """WS-F-14, RFC 6455 §5.2: 81 00; 01 00, 00 00, 80 00."""
    machine = kit.either(side)
    octets = [0x81, 0x82, 0x01, 0x00, 0x80, 0x02, 0x80]
    events = kit.events(machine, *(kit.frame_to(side, first) for first in octets))
    assert events == ["", b"", "", b""]


def test_binary_is_delivered_as_it_is(kit: Any) -> None:
    """WS-F-17, RFC 6455 §5.6: opcode 2 with invalid UTF-8; continuations keep the type."""
    server = kit.server()
    assert kit.events(server, kit.frame(0x82, b"\xff\xc0\x00")) == [b"\xff\xc0\x00"]
    assert kit.events(server, kit.frame(0x02, b"\xff"), kit.frame(0x80, b"ok")) == [b"\xffok"]
    assert type(kit.events(server, kit.frame(0x82, b"ascii"))[0]) is bytes
    assert type(kit.events(server, kit.frame(0x81, b"ascii"))[0]) is str


# §8.1: UTF-8

_INVALID = {
    "surrogate": "eda080",
    "overlong": "c0af",
    "beyond": "f4908080",
    "truncated": "6869e282",
    "bare continuation": "80",
    "five octets": "f888808080",
}


@pytest.mark.parametrize("octets", _INVALID.values(), ids=_INVALID.keys())
def test_text_that_is_not_utf8_fails(kit: Any, side: str, octets: str) -> None:
    """WS-F-16, RFC 6455 §8.1: in one frame, and split anywhere."""
    payload = bytes.fromhex(octets)
    assert kit.failure(kit.either(side), kit.frame_to(side, 0x81, payload)) == 1007
    for cut in range(len(payload) + 1):
        head = kit.frame_to(side, 0x01, payload[:cut])
        tail = kit.frame_to(side, 0x80, payload[cut:])
        assert kit.failure(kit.either(side), head, tail) == 1007


def test_characters_straddle_fragments(kit: Any) -> None:
    """WS-F-16, RFC 6455 §5.6: CE BA E1 BD / B9 …, and every other way to cut it."""
    text = "κόσμε 𐍈"
    payload = text.encode()
    for cut in range(len(payload) + 1):
        server = kit.server()
        octets = [kit.frame(0x01, payload[:cut]), kit.frame(0x00), kit.frame(0x80, payload[cut:])]
        assert kit.events(server, *octets) == [text]


def test_invalid_text_fails_at_the_first_fragment_that_shows_it(kit: Any) -> None:
    """WS-F-16: no need to wait for the end of the message."""
    assert kit.failure(kit.server(), kit.frame(0x01, b"ok\xf4\x90")) == 1007


# §5.4, §10.4: how much


def test_fragments_count_towards_the_size(kit: Any) -> None:
    """WS-F-21, SEC-16: the sum is judged, by the declared length of the fragment that is over."""
    server = kit.server(max_message_size=10)
    assert kit.events(server, kit.frame(0x02, b"x" * 6)) == []
    assert kit.failure(server, kit.frame(0x00, b"x" * 5)[:2]) == 1009


def test_the_size_starts_again_with_each_message(kit: Any) -> None:
    """WS-F-21: the limit is one message's."""
    server = kit.server(max_message_size=10)
    for _ in range(3):
        octets = kit.frame(0x02, b"x" * 6), kit.frame(0x80, b"x" * 4)
        assert kit.events(server, *octets) == [b"x" * 10]


def test_fragments_are_counted(kit: Any) -> None:
    """SEC-16, RFC 6455 §10.4: empty fragments have no size, but an end (1008)."""
    server = kit.server(max_fragments=3)
    octets = [kit.frame(0x02), kit.frame(0x00), kit.frame(0x80)]
    assert kit.events(server, *octets) == [b""]
    assert kit.events(server, kit.frame(0x02), kit.frame(0x00), kit.frame(0x00)) == []
    assert kit.failure(server, kit.frame(0x80)) == 1008


@pytest.mark.parametrize(("opcode", "payload"), [(2, b""), (2, b"x"), (1, b"x")])
def test_a_million_fragments_cost_little(kit: Any, opcode: int, payload: bytes) -> None:
    """SEC-16: refused by default; until then the cost is in proportion."""
    server = kit.server()
    server.receive_data(kit.frame(opcode, payload))
    block = kit.frame(0x00, payload) * 10_000
    began = time.perf_counter()
    for _ in range(100):
        server.receive_data(block)
    assert time.perf_counter() - began < 10
    (failed,) = server.events_received()
    assert isinstance(failed.error, LimitExceeded)
    assert failed.error.close_code == 1008


def test_many_fragments_are_joined_right(kit: Any) -> None:
    """SEC-16: they are joined as they come; nothing is lost on the way."""
    server = kit.server()
    octets = [kit.frame(0x02, b"-")]
    octets += [kit.frame(0x00, b"%d," % number) for number in range(3000)]
    expected = b"-" + b"".join(b"%d," % number for number in range(3000)) + b"end"
    assert kit.events(server, *octets, kit.frame(0x80, b"end")) == [expected]


# Fragments one by one


def test_fragments_are_delivered_one_by_one_if_asked(kit: Any) -> None:
    """RFC 6455 §6.2: an application that streams need not wait for the end."""
    server = kit.server(deliver_fragments=True)
    octets = [kit.frame(0x01, "é".encode()[:1]), kit.frame(0x00, "éa".encode()[1:])]
    assert kit.events(server, *octets, kit.frame(0x81 & 0x80, b"z")) == [
        Fragment("", True, False),
        Fragment("éa", False, False),
        Fragment("z", False, True),
    ]
    assert kit.events(server, kit.frame(0x81, b"whole")) == ["whole"]


def test_delivery_of_fragments_can_begin_and_end_inside_a_message(kit: Any) -> None:
    """RFC 6455 §5.4: nothing is lost or doubled at the change."""
    server = kit.server()
    assert kit.events(server, kit.frame(0x02, b"a"), kit.frame(0x00, b"b")) == []
    server.deliver_fragments = True
    assert kit.events(server, kit.frame(0x00, b"c")) == [Fragment(b"abc", True, False)]
    server.deliver_fragments = False
    assert kit.events(server, kit.frame(0x00, b"d"), kit.frame(0x80, b"e")) == [
        Fragment(b"d", False, False),
        Fragment(b"e", False, True),
    ]
    assert kit.events(server, kit.frame(0x02, b"a"), kit.frame(0x80, b"b")) == [b"ab"]


# §6.1: sending


def test_fragments_are_sent_as_frames(kit: Any) -> None:
    """RFC 6455 §5.4: the opcode in the first, FIN in the last."""
    server = kit.server()
    server.send_fragment("a")
    server.send_fragment("")
    server.send_fragment("ü", final=True)
    server.send_fragment(b"alone", final=True)
    assert kit.sent(server) == bytes.fromhex("010161 0000 8002c3bc 8205") + b"alone"


def test_pings_and_closing_may_come_between_sent_fragments(kit: Any) -> None:
    """WS-C-06, RFC 6455 §5.4, §5.5.1: control frames inside, even Close; no new message."""
    server = kit.server()
    server.send_fragment(b"a")
    server.ping(b"p")
    with pytest.raises(LocalProtocolError, match="not finished"):
        server.send_text("another")
    with pytest.raises(LocalProtocolError, match="in one message"):
        server.send_fragment("text")
    server.close(1001)
    with pytest.raises(LocalProtocolError, match="close frame"):
        server.send_fragment(b"b", final=True)
    assert kit.sent(server) == bytes.fromhex("020161 890170 880203e9")


def test_a_close_from_the_peer_ends_a_message_that_is_being_sent(kit: Any) -> None:
    """WS-C-06, RFC 6455 §5.5.1: Close at once is allowed, and nothing after it."""
    server = kit.server()
    server.send_fragment(b"a")
    kit.events(server, kit.frame(0x88, b"\x03\xe8"))
    assert [first for first, _, _ in kit.frames(kit.sent(server))] == [0x02, 0x88]
    with pytest.raises(LocalProtocolError):
        server.send_fragment(b"b", final=True)


@pytest.mark.parametrize("wrong", [None, 1, 1.5, ["a"], {"a": 1}])
def test_what_is_no_message_is_refused(kit: Any, side: str, wrong: object) -> None:
    """RFC 6455 §6.1: a message is text or octets; nothing is written otherwise."""
    machine = kit.either(side)
    for send in (machine.send_message, machine.send_fragment, machine.send_binary):
        with pytest.raises(TypeError):
            send(wrong)
    with pytest.raises(TypeError):
        machine.send_text(b"octets")
    with pytest.raises(TypeError):
        machine.send_binary("text")
    assert kit.sent(machine) == b""


def test_a_lone_surrogate_is_no_text(kit: Any) -> None:
    """RFC 6455 §5.6: text is UTF-8, which has no surrogates."""
    server = kit.server()
    for send in (server.send_text, server.send_fragment):
        with pytest.raises(LocalProtocolError, match="surrogate"):
            send("\ud800")
    assert kit.sent(server) == b""
    server.send_text("still open")
    assert kit.sent(server) == b"\x81\x0astill open"


def test_all_kinds_of_octets_can_be_sent(kit: Any) -> None:
    """RFC 6455 §6.1: whatever has a buffer."""
    from array import array

    class Text(str):
        pass

    class Octets(bytes):
        pass

    server = kit.server()
    for octets in (b"ab", Octets(b"ab"), bytearray(b"ab"), memoryview(b"ab"), array("b", b"ab")):
        server.send_message(octets)
    server.send_message(Text("ab"))
    assert kit.sent(server) == b"\x82\x02ab" * 5 + b"\x81\x02ab"


# §9: extensions


class Reverse:
    """An extension that turns payloads round, with RSV2."""

    name = "reverse"
    rsv = 0x20

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def encode(self, data: bytes, *, text: bool, first: bool, final: bool) -> tuple[int, bytes]:
        self.calls.append(("encode", text, first, final))
        return (0x20 if first else 0), data[::-1]

    def decode(
        self, data: bytes, *, rsv: int, first: bool, final: bool, max_size: int | None
    ) -> bytes:
        self.calls.append(("decode", rsv, first, final, max_size))
        if data == b"bad":
            raise RemoteProtocolError("broken", close_code=1007)
        return data[::-1]

    def release(self) -> None:
        pass


class Shout(Reverse):
    name = "shout"
    rsv = 0x10

    def encode(self, data: bytes, *, text: bool, first: bool, final: bool) -> tuple[int, bytes]:
        return (0x10 if first else 0), data + b"!"

    def decode(
        self, data: bytes, *, rsv: int, first: bool, final: bool, max_size: int | None
    ) -> bytes:
        self.calls.append(("decode", rsv, first, final, max_size))
        return data * 40 if data == b"bomb!" else data.removesuffix(b"!")


def test_extensions_work_frame_by_frame_and_in_their_order(kit: Any) -> None:
    """RFC 6455 §9.1: the first encodes first, and decodes last; they learn where a frame is."""
    reverse, shout = Reverse(), Shout()
    server = kit.server(extensions=[reverse, shout], max_message_size=100)
    server.send_text("abc")
    server.send_fragment(b"de")
    server.send_fragment(b"fg", final=True)
    assert kit.sent(server) == b"\xb1\x04cba!\x32\x03ed!\x80\x03gf!"
    assert reverse.calls == [
        ("encode", True, True, True),
        ("encode", False, True, False),
        ("encode", False, False, True),
    ]
    reverse.calls.clear()
    octets = [kit.frame(0xB1, b"cba!"), kit.frame(0x32, b"ed!"), kit.frame(0x80, b"gf!")]
    assert kit.events(server, *octets) == ["abc", b"defg"]
    assert reverse.calls == [
        ("decode", 0x20, True, True, 100),
        ("decode", 0x20, True, False, 100),
        ("decode", 0, False, True, 98),
    ]
    assert shout.calls[0] == ("decode", 0x10, True, True, 100)


def test_extensions_see_no_control_frames(kit: Any) -> None:
    """RFC 6455 §5.4, §9: pings are none of their business, and have no reserved bits."""
    reverse = Reverse()
    server = kit.server(extensions=[reverse])
    server.ping(b"ab")
    assert kit.sent(server) == b"\x89\x02ab"
    assert kit.events(server, kit.frame(0x89, b"ab")) == [Ping(b"ab")]
    assert reverse.calls == []
    assert kit.failure(server, kit.frame(0xA9, b"ab")) == 1002


def test_other_reserved_bits_still_fail(kit: Any) -> None:
    """WS-F-06, RFC 6455 §5.2: only the bits that an extension has claimed."""
    assert kit.failure(kit.server(extensions=[Reverse()]), kit.frame(0xC1, b"x")) == 1002


def test_an_extension_fails_the_connection(kit: Any) -> None:
    """WS-D-17: with the code that it chose."""
    assert kit.failure(kit.server(extensions=[Reverse()]), kit.frame(0xA2, b"bad")) == 1007


def test_utf8_is_checked_after_decoding(kit: Any) -> None:
    """WS-D-17, RFC 6455 §8.1: what counts is the text that comes out."""
    server = kit.server(extensions=[Reverse()])
    assert kit.events(server, kit.frame(0xA1, "é".encode()[::-1])) == ["é"]
    assert kit.failure(server, kit.frame(0xA1, "é".encode())) == 1007


def test_what_an_extension_makes_counts_against_the_limit(kit: Any) -> None:
    """SEC-14: decoded size, even if the extension does not look at the limit it is given."""
    server = kit.server(extensions=[Shout()], max_message_size=199)
    assert kit.failure(server, kit.frame(0x92, b"bomb!")) == 1009


def test_encoded_frames_may_be_a_little_longer_than_the_limit(kit: Any) -> None:
    """WS-F-21: what does not compress grows by a few octets; much longer is refused unseen."""
    server = kit.server(extensions=[Shout()], max_message_size=10)
    assert kit.events(server, kit.frame(0x92, b"x" * 10 + b"!")) == [b"x" * 10]
    head = bytes((0x92, 0xFE)) + (1000).to_bytes(2, "big")
    assert kit.failure(server, head) == 1009
    unlimited = kit.server(extensions=[Shout()], max_message_size=None)
    assert kit.events(unlimited, kit.frame(0x92, b"x" * 1000 + b"!")) == [b"x" * 1000]


# §5.4, §6.2: segmentation

_SESSION_FRAMES = st.lists(
    st.sampled_from(
        [
            (0x81, "text ü".encode()),
            (0x82, b"\xff\x00"),
            (0x82, b"x" * 200),
            (0x82, b"y" * 70_000),
            (0x01, "€".encode()[:2]),
            (0x80, "€".encode()[2:]),
            (0x00, b""),
            (0x02, b"part"),
            (0x89, b"ping"),
            (0x8A, b""),
            (0x81, b"\xff"),
            (0x88, b"\x03\xe8bye"),
            (0x83, b""),
        ]
    ),
    max_size=12,
)


@given(frames=_SESSION_FRAMES, data=st.data())
def test_any_chunking_gives_the_same_events(kit: Any, frames: Any, data: st.DataObject) -> None:
    """WS-F-15, RFC 6455 §5.4: parsing does not depend on how the octets are cut."""
    octets = b"".join(kit.frame(first, payload) for first, payload in frames)
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=20).map(sorted))
    pieces = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    assert _story(kit.server(), pieces, kit) == _story(kit.server(), [octets], kit)


def test_octet_by_octet(kit: Any, side: str) -> None:
    """WS-F-15: a session in pieces of one octet."""
    frames = [(0x81, "hé".encode()), (0x01, b"a"), (0x89, b"p"), (0x80, b"b"), (0x82, b"z" * 300)]
    octets = b"".join(kit.frame_to(side, first, payload) for first, payload in frames)
    pieces = [octets[i : i + 1] for i in range(len(octets))]
    expected = _story(kit.either(side), [octets], kit)
    assert _story(kit.either(side), pieces, kit) == expected
    assert len(expected[0]) == 4


def _story(machine: Any, pieces: list[bytes], kit: Any) -> Any:
    events = []
    for piece in pieces:
        machine.receive_data(piece)
        events += machine.events_received()
    kit.sent(machine)
    return (
        [repr(event) for event in events],
        machine.state.name,
        machine.close_code,
        (
            machine.sent_code,
            machine.sent_reason,
        ),
    )
