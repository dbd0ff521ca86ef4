"""permessage-deflate: negotiation of both ends, messages on all engines, and strangers' octets."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from itertools import pairwise

import pytest
import websockets.extensions.permessage_deflate as oracle
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from switchover.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from switchover.http.fields import Fields
from switchover.websocket import deflate_engines
from switchover.websocket.connection import Connection, Side
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.deflate_coding import DeflateCoding
from switchover.websocket.extensions import negotiate, parse_extensions

NAME = "permessage-deflate"
HELLO = bytes.fromhex("F248CDC9C90700")
ENGINES = ("zlib", "zlib-ng", "isal")

engines = pytest.mark.parametrize("engine", ENGINES)


def answered(value, **settings):
    """What a server with ``settings`` answers to the offers in ``value``."""
    offers = parse_extensions(Fields([("Sec-WebSocket-Extensions", value)]))
    return negotiate(offers, [PermessageDeflate(**settings)])[1]


def accepts(parameters, **settings) -> DeflateCoding:
    """What a client with ``settings`` makes of a response with ``parameters``."""
    value = "; ".join([NAME, *parameters])
    ((_, read),) = parse_extensions(Fields([("Sec-WebSocket-Extensions", value)]))
    return PermessageDeflate(**settings).accept(read)


def pair(engine=None, client=None, **settings) -> tuple[DeflateCoding, DeflateCoding]:
    """The two ends of one connection, the client first."""
    ours = PermessageDeflate(engine=engine, **(settings if client is None else client))
    theirs = PermessageDeflate(engine=engine, **settings)
    answer = theirs.negotiate(ours.offers())
    assert answer is not None
    parameters, server = answer
    return ours.accept(parameters), server


def send(coding, message, *cuts):
    """The frames of one message, cut into fragments of these lengths and the rest."""
    frames = []
    position = 0
    for length in cuts:
        frame = coding.encode(
            message[position : position + length], text=False, first=not frames, final=False
        )
        frames.append(frame)
        position += length
    frames.append(coding.encode(message[position:], text=False, first=not frames, final=True))
    return frames


def receive(coding, frames, max_size=None):
    """What a message in ``frames`` stands for, with a limit on all of it."""
    content = b""
    for number, (rsv, payload) in enumerate(frames):
        content += coding.decode(
            payload,
            rsv=rsv,
            first=number == 0,
            final=number == len(frames) - 1,
            max_size=None if max_size is None else max_size - len(content),
        )
    return content


def whole(coding, payload, max_size=None):
    return receive(coding, [(0x40, payload)], max_size)


def fragmented(payload, *cuts):
    """A compressed message cut into frames, wherever."""
    edges = [0, *cuts, len(payload)]
    parts = [payload[start:stop] for start, stop in pairwise(edges)]
    return [(0x40 if number == 0 else 0, part) for number, part in enumerate(parts)]


# RFC 7692 §7: the server's answer.


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (f"{NAME}", f"{NAME}"),
        (f"{NAME}; client_max_window_bits", f"{NAME}"),
        (f"{NAME}; server_max_window_bits=9, {NAME}", f"{NAME}; server_max_window_bits=9"),
        (f"{NAME}; foo, {NAME}", f"{NAME}"),
        (
            f"{NAME}; foo, {NAME}; server_no_context_takeover, {NAME}",
            f"{NAME}; server_no_context_takeover",
        ),
        (f"{NAME}, {NAME}", f"{NAME}"),
    ],
)
def test_the_first_acceptable_offer_is_answered(offer, answer):
    """WS-D-01, WS-D-18, RFC 7692 §5: in the client's order, and once."""
    assert answered(offer) == answer


@pytest.mark.parametrize(
    "parameters",
    [
        "foo",
        "foo=1",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=+9",
        "server_max_window_bits=1",
        "server_max_window_bits=150",
        "server_max_window_bits=1_0",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=010",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10",
        "Server_No_Context_Takeover",
    ],
)
def test_an_offer_that_is_not_understood_is_declined(parameters):
    """WS-D-02, WS-D-06, RFC 7692 §7: the extension is absent; nothing fails."""
    assert answered(f"{NAME}; {parameters}") is None


@pytest.mark.parametrize(
    ("settings", "offer", "answer"),
    [
        ({}, "server_no_context_takeover", "server_no_context_takeover"),
        ({"server_no_context_takeover": True}, None, "server_no_context_takeover"),
        ({}, "client_no_context_takeover", "client_no_context_takeover"),
        ({"client_no_context_takeover": True}, None, "client_no_context_takeover"),
    ],
)
def test_takeover_is_answered(settings, offer, answer):
    """WS-D-04, WS-D-05, RFC 7692 §7.1.1: repeated when accepted, added unasked when wanted."""
    value = NAME if offer is None else f"{NAME}; {offer}"
    assert answered(value, **settings) == f"{NAME}; {answer}"


@pytest.mark.parametrize(
    ("settings", "offer", "answer"),
    [
        ({}, "server_max_window_bits=10", "server_max_window_bits=10"),
        ({"server_max_window_bits": 9}, "server_max_window_bits=10", "server_max_window_bits=9"),
        ({"server_max_window_bits": 12}, "server_max_window_bits=10", "server_max_window_bits=10"),
        ({"server_max_window_bits": 12}, "", "server_max_window_bits=12"),
        ({}, "server_max_window_bits=15", "server_max_window_bits=15"),
        ({}, 'server_max_window_bits="10"', "server_max_window_bits=10"),
    ],
)
def test_the_servers_window_is_answered(settings, offer, answer):
    """WS-D-06, RFC 7692 §7.1.2.1: "the same or smaller"; or added unasked."""
    assert answered(f"{NAME}; {offer}".rstrip("; "), **settings) == f"{NAME}; {answer}"


@pytest.mark.parametrize(
    ("settings", "offer", "answer"),
    [
        ({}, "client_max_window_bits", None),
        ({"client_max_window_bits": 10}, "client_max_window_bits", "client_max_window_bits=10"),
        ({"client_max_window_bits": 12}, "client_max_window_bits=10", "client_max_window_bits=10"),
        ({"client_max_window_bits": 10}, "client_max_window_bits=12", "client_max_window_bits=10"),
        ({"client_max_window_bits": 8}, "client_max_window_bits", "client_max_window_bits=8"),
        ({"client_max_window_bits": None}, "client_max_window_bits", None),
        ({"client_max_window_bits": 10}, "", None),
    ],
)
def test_the_clients_window_is_answered(settings, offer, answer):
    """WS-D-07, RFC 7692 §7.1.2.2: only if offered, and never more than offered."""
    expected = NAME if answer is None else f"{NAME}; {answer}"
    assert answered(f"{NAME}; {offer}".rstrip("; "), **settings) == expected


def test_a_window_that_was_not_agreed_is_inflated_all_the_same():
    """WS-D-07: a client that cannot be limited may use 15, whatever the server is set to."""
    settings = PermessageDeflate(client_max_window_bits=9)
    _, server = settings.negotiate([[]])
    far = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = random.Random(1).randbytes(20_000) * 2
    payload = far.compress(data) + far.flush(zlib.Z_SYNC_FLUSH)
    assert whole(server, payload[:-4]) == data


def test_a_window_of_eight_bits_is_declined_for_sending():
    """WS-D-08, RFC 7692 §7: nothing here can compress for it; 101 without, and no 500."""
    assert answered(f"{NAME}; server_max_window_bits=8") is None
    assert answered(f"{NAME}; server_max_window_bits=8, {NAME}") == NAME
    assert answered(NAME, server_max_window_bits=8) is None


@engines
def test_a_window_of_eight_bits_is_inflated(engine):
    """WS-D-08: for the direction that we inflate 8 is fine."""
    client, server = pair(engine, client_max_window_bits=8, client={"client_max_window_bits": 15})
    assert client.enabled is False
    assert answered(f"{NAME}; client_max_window_bits=8") == f"{NAME}; client_max_window_bits=8"
    assert whole(server, HELLO) == b"Hello"
    assert whole(server, bytes.fromhex("F200110000")) == b"Hello"


def test_a_client_told_to_use_eight_bits_sends_uncompressed():
    """WS-D-08: which is always allowed; and switching compression on does not change it."""
    client = accepts(["client_max_window_bits=8"])
    client.enabled = True
    assert client.enabled is False
    assert client.encode(b"x" * 500, text=False, first=True, final=True) == (0, b"x" * 500)
    assert whole(client, HELLO) == b"Hello"


# RFC 7692 §7: the client's offer, and what it takes for an answer.


@pytest.mark.parametrize(
    ("settings", "offers"),
    [
        ({}, ["client_max_window_bits"]),
        ({"client_max_window_bits": None}, [""]),
        ({"client_max_window_bits": 10}, ["client_max_window_bits=10"]),
        (
            {"client_no_context_takeover": True},
            ["client_no_context_takeover; client_max_window_bits"],
        ),
        (
            {"server_no_context_takeover": True, "server_max_window_bits": 9},
            ["server_no_context_takeover; server_max_window_bits=9; client_max_window_bits"],
        ),
        (
            {"server_max_window_bits": 9, "fallback": True},
            ["server_max_window_bits=9; client_max_window_bits", "client_max_window_bits"],
        ),
        ({"fallback": True}, ["client_max_window_bits"]),
    ],
)
def test_offers(settings, offers):
    """WS-D-01, RFC 7692 §7.1: the settings, and the second choice without demands."""
    made = [
        "; ".join(name if value is None else f"{name}={value}" for name, value in offer)
        for offer in PermessageDeflate(**settings).offers()
    ]
    assert made == offers


def test_a_client_does_not_offer_what_it_cannot_do():
    """WS-D-08: a window it could not compress for is a local error."""
    with pytest.raises(LocalProtocolError, match="client_max_window_bits"):
        PermessageDeflate(client_max_window_bits=8).offers()


@pytest.mark.parametrize(
    "parameter",
    [
        "foo",
        "client_max_window_bits",
        "client_max_window_bits=16",
        "client_max_window_bits=7",
        "server_max_window_bits",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_no_context_takeover=1",
        "client_no_context_takeover=",
    ],
)
def test_an_answer_that_is_not_understood_fails(parameter):
    """WS-D-03, WS-D-07, RFC 7692 §7: unknown, malformed, or without its value."""
    with pytest.raises(RemoteProtocolError):
        accepts([parameter])


@pytest.mark.parametrize("name", ["server_no_context_takeover", "server_max_window_bits=10"])
def test_a_repeated_parameter_fails(name):
    """WS-D-03, RFC 7692 §7."""
    with pytest.raises(RemoteProtocolError, match="repeated"):
        accepts([name, name])


def test_what_was_asked_of_the_server_must_be_granted():
    """WS-D-04, WS-D-06, RFC 7692 §7.1.1.1, §7.1.2.1."""
    with pytest.raises(RemoteProtocolError, match="not granted"):
        accepts([], server_no_context_takeover=True)
    for answer in ([], ["server_max_window_bits=12"]):
        with pytest.raises(RemoteProtocolError, match="10 was the most"):
            accepts(answer, server_max_window_bits=10)
    for answer in ("server_max_window_bits=10", "server_max_window_bits=8"):
        accepts([answer], server_max_window_bits=10)


def test_what_the_server_promises_unasked_is_welcome():
    """WS-D-04, WS-D-05, WS-D-06: the server may limit itself, and bind the client."""
    accepts(["server_no_context_takeover"])
    accepts(["server_max_window_bits=9"])
    accepts(["client_no_context_takeover"])


def test_the_clients_window_is_limited_only_if_offered():
    """WS-D-07, RFC 7692 §7.1.2.2."""
    with pytest.raises(RemoteProtocolError, match="not offered"):
        accepts(["client_max_window_bits=10"], client_max_window_bits=None)
    with pytest.raises(RemoteProtocolError, match="10 was the most"):
        accepts(["client_max_window_bits=12"], client_max_window_bits=10)
    accepts(["client_max_window_bits=10"], client_max_window_bits=12)
    accepts(["client_max_window_bits=15"])


def test_the_second_choice_may_be_the_one_that_is_granted():
    """WS-D-01: a client with a fallback takes an answer without its demands."""
    demands = {"server_no_context_takeover": True, "server_max_window_bits": 10, "fallback": True}
    assert whole(accepts([], **demands), HELLO) == b"Hello"
    accepts(["server_no_context_takeover", "server_max_window_bits=10"], **demands)


@pytest.mark.parametrize(
    "settings",
    [
        {"server_max_window_bits": 7},
        {"server_max_window_bits": 16},
        {"client_max_window_bits": 0},
        {"level": 0},
        {"level": 10},
        {"mem_level": 0},
        {"mem_level": 10},
        {"threshold": -1},
        {"engine": "gzip"},
    ],
)
def test_settings_that_do_not_exist(settings):
    """WS-D-06, WS-D-07: found when they are made."""
    with pytest.raises(LocalProtocolError):
        PermessageDeflate(**settings)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "server_no_context_takeover": st.booleans(),
            "client_no_context_takeover": st.booleans(),
            "server_max_window_bits": st.integers(9, 15),
            "client_max_window_bits": st.none() | st.integers(9, 15),
            "fallback": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "server_no_context_takeover": st.booleans(),
            "client_no_context_takeover": st.booleans(),
            "server_max_window_bits": st.integers(9, 15),
            "client_max_window_bits": st.none() | st.integers(8, 15),
        },
    ),
)
def test_our_two_ends_always_agree(client, server):
    """WS-D-01 to WS-D-07: whatever the settings, the client takes what the server answers."""
    ours, theirs = pair(client=client, **server)
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        for _ in range(3):
            message = b"a message that repeats itself " * 50
            assert receive(receiver, send(sender, message)) == message


# RFC 7692 §6, §7.2.1: sending.


@engines
def test_the_published_octets(engine):
    """WS-D-11, RFC 7692 §7.2.3.1: "Hello" as the RFC has it."""
    client, _ = pair(engine, threshold=0)
    assert client.encode(b"Hello", text=True, first=True, final=True) == (0x40, HELLO)


@engines
def test_rsv1_is_on_the_first_frame_only(engine):
    """WS-D-09, RFC 7692 §6.1."""
    client, _ = pair(engine)
    frames = send(client, b"some text " * 100, 100, 0, 300)
    assert [rsv for rsv, _ in frames] == [0x40, 0, 0, 0]


@engines
@given(st.lists(st.binary(max_size=2000), max_size=8), st.booleans())
def test_no_message_ends_with_the_tail(engine, messages, takeover):
    """WS-D-11, RFC 7692 §7.2.1: 00 00 FF FF has been removed."""
    client, _ = pair(engine, client_no_context_takeover=not takeover, threshold=0)
    inflater = zlib.decompressobj(-15)
    for message in messages:
        rsv, payload = client.encode(message, text=False, first=True, final=True)
        if rsv:
            assert not payload.endswith(b"\x00\x00\xff\xff")
            assert inflater.decompress(payload + b"\x00\x00\xff\xff") == message
        else:
            assert payload == message


@engines
def test_an_empty_message(engine):
    """WS-D-13, RFC 7692 §7.2.3.6: one octet, 00, also in fragments and after others."""
    client, server = pair(engine, threshold=0)
    for cuts in ((), (0,), (0, 0)):
        frames = send(client, b"", *cuts)
        assert receive(server, frames) == b""
        assert receive(server, send(client, b"Hello")) == b"Hello"
    small = accepts([], engine="zlib", threshold=0)
    assert small.encode(b"", text=True, first=True, final=True) == (0x40, b"\x00")
    assert small.encode(b"", text=True, first=True, final=True) == (0x40, b"\x00")


def test_short_messages_are_sent_as_they_are():
    """SEC-39: below the threshold compression is not worth it; fragments cannot be judged."""
    client, server = pair(threshold=64)
    assert client.encode(b"x" * 63, text=True, first=True, final=True) == (0, b"x" * 63)
    assert client.encode(b"x" * 64, text=True, first=True, final=True)[0] == 0x40
    frames = send(client, b"xyz", 1)
    assert frames[0][0] == 0x40
    client, server = pair(threshold=64)
    for message in (b"short", b"long " * 100, b"short", b"long " * 100):
        assert receive(server, send(client, message)) == message


@engines
def test_compression_can_be_switched_off(engine):
    """SEC-39, WS-D-10, RFC 7692 §8: per connection and message; the context lives on."""
    client, server = pair(engine)
    text = b"a secret beside what an attacker chose " * 5
    _, first = client.encode(text, text=True, first=True, final=True)
    assert receive(server, [(0x40, first)]) == text
    client.enabled = False
    assert client.encode(text, text=True, first=True, final=True) == (0, text)
    assert send(client, text, 10) == [(0, text[:10]), (0, text[10:])]
    assert receive(server, [(0, text)]) == text
    client.enabled = True
    rsv, again = client.encode(text, text=True, first=True, final=True)
    assert rsv == 0x40
    assert len(again) < len(first)
    assert receive(server, [(0x40, again)]) == text


def test_a_message_in_progress_is_finished_as_it_began():
    """SEC-39, WS-D-09: switching in the middle waits for the next message."""
    client, server = pair()
    for before, rsv in ((True, 0x40), (False, 0)):
        client.enabled = before
        frames = [client.encode(b"abc" * 50, text=True, first=True, final=False)]
        client.enabled = not before
        frames.append(client.encode(b"def" * 50, text=True, first=False, final=True))
        assert frames[0][0] == rsv
        assert receive(server, frames) == b"abc" * 50 + b"def" * 50


@engines
def test_what_would_grow_is_sent_as_it_is(engine):
    """WS-D-10: possible without takeover only, since then no context has seen it."""
    noise = random.Random(2).randbytes(500)
    client, server = pair(engine, client_no_context_takeover=True)
    assert client.encode(noise, text=False, first=True, final=True) == (0, noise)
    client, server = pair(engine)
    frames = send(client, noise)
    assert frames[0][0] == 0x40
    assert receive(server, frames) == noise


def farthest_reference(data):
    """How far back the DEFLATE stream ``data`` refers: a plain reading of RFC 1951."""
    lengths = [
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        13,
        15,
        17,
        19,
        23,
        27,
        31,
        35,
        43,
        51,
        59,
        67,
        83,
        99,
        115,
        131,
        163,
        195,
        227,
        258,
    ]
    length_bits = [0] * 8 + [n for n in range(1, 6) for _ in range(4)] + [0]
    distances = [1, 2, 3, 4] + [(2 + half << n) + 1 for n in range(1, 14) for half in range(2)]
    distance_bits = [0] * 4 + [n for n in range(1, 14) for _ in range(2)]
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    position = farthest = 0

    def take(count):
        nonlocal position
        value = 0
        for number in range(count):
            value |= (data[position >> 3] >> (position & 7) & 1) << number
            position += 1
        return value

    def codes(sizes):
        made, code = {}, 0
        for size in range(1, 16):
            for symbol, of in enumerate(sizes):
                if of == size:
                    made[size, code] = symbol
                    code += 1
            code <<= 1
        return made

    def symbol(table):
        code = 0
        for size in range(1, 16):
            code = code << 1 | take(1)
            if (size, code) in table:
                return table[size, code]
        raise AssertionError("no such code")

    def dynamic():
        literals, far, count = take(5) + 257, take(5) + 1, take(4) + 4
        sizes = [0] * 19
        for place in order[:count]:
            sizes[place] = take(3)
        table, read = codes(sizes), []
        while len(read) < literals + far:
            code = symbol(table)
            if code < 16:
                read.append(code)
            else:
                value = read[-1] if code == 16 else 0
                bits, least = {16: (2, 3), 17: (3, 3), 18: (7, 11)}[code]
                read += [value] * (take(bits) + least)
        return codes(read[:literals]), codes(read[literals:])

    fixed = codes([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8), codes([5] * 30)
    while position + 10 < len(data) * 8:
        kind = take(3) >> 1
        if kind == 0:
            position = (position + 7) // 8 * 8
            position += 32 + 8 * (data[position // 8] | data[position // 8 + 1] << 8)
            continue
        literal, far = fixed if kind == 1 else dynamic()
        while (code := symbol(literal)) != 256:
            if code > 256:
                take(length_bits[code - 257])
                assert lengths[code - 257]
                place = symbol(far)
                farthest = max(farthest, distances[place] + take(distance_bits[place]))
    return farthest


@engines
@pytest.mark.parametrize("bits", [9, 10, 12])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_nothing_refers_back_beyond_the_window(engine, bits, level):
    """WS-D-16, WS-D-06, RFC 7692 §7.1.2: whichever engine, whichever level."""
    source = random.Random(3)
    repeats = source.randbytes(1000) * 4
    text = bytes(source.choices(b"abcdef", k=3000))
    _, server = pair(engine, server_max_window_bits=bits, level=level)
    payload = b""
    for message in (repeats, text, repeats):
        rsv, part = server.encode(message, text=False, first=True, final=True)
        assert rsv == 0x40
        payload += part + b"\x00\x00\xff\xff"
    assert 0 < farthest_reference(payload) <= 1 << bits
    _, wide = pair(engine, level=level)
    _, part = wide.encode(repeats, text=False, first=True, final=True)
    assert farthest_reference(part + b"\x00\x00\xff\xff") >= 1000


# RFC 7692 §6, §7.2.2: receiving.


@engines
@given(st.lists(st.integers(0, len(HELLO)), max_size=4).map(sorted))
def test_frames_are_cut_anywhere(engine, cuts):
    """WS-D-12, RFC 7692 §7.2.2: blocks and frames have nothing to do with each other."""
    client, _ = pair(engine)
    assert receive(client, fragmented(HELLO, *cuts)) == b"Hello"
    assert receive(client, fragmented(bytes.fromhex("F200110000"), 2)) == b"Hello"


@engines
@pytest.mark.parametrize(
    "payload",
    [
        "F248CDC9C90700",
        "000500FAFF48656C6C6F00",
        "F248050000 00FFFFCAC9C90700",
        "F348CDC9C9070000",
        "F348CDC9C90700",
        "010500FAFF48656C6C6F00",
    ],
)
def test_blocks_of_every_kind(engine, payload):
    """WS-D-14, RFC 7692 §7.2.3: fixed, stored, several, and final ones; then the next message."""
    octets = bytes.fromhex(payload)
    for cut in range(len(octets) + 1):
        client, _ = pair(engine)
        for _ in range(2):
            assert receive(client, fragmented(octets, cut)) == b"Hello"
        assert whole(client, bytes.fromhex("F200110000")) == b"Hello"
        assert whole(client, HELLO, 5) == b"Hello"


@engines
def test_references_across_a_final_block(engine):
    """WS-D-14: within a message too, without takeover, and over the limit as anywhere."""
    payload = bytes.fromhex("F348CDC9C90700") + bytes.fromhex("F200110000")
    for settings in ({}, {"server_no_context_takeover": True}):
        client, _ = pair(engine, **settings)
        assert whole(client, payload, 10) == b"HelloHello"
        assert receive(client, fragmented(payload, 7), 10) == b"HelloHello"
        assert receive(client, fragmented(payload, 9), 10) == b"HelloHello"
        with pytest.raises(LimitExceeded) as raised:
            whole(client, payload, 9)
        assert raised.value.close_code == 1009
        client, _ = pair(engine, **settings)
        payload_of_three = HELLO + bytes.fromhex("0000FFFF0300F200110000")
        for cut in range(len(payload_of_three)):
            frames = fragmented(payload_of_three, cut)
            assert receive(client, frames, 10) == b"HelloHello"


def test_final_blocks_without_end():
    """WS-D-14, SEC-14: each costs a context; a message of nothing else is refused."""
    client, _ = pair()
    whole(client, bytes.fromhex("0300") * 200 + b"\x00")
    with pytest.raises(LimitExceeded, match="final blocks") as raised:
        whole(client, bytes.fromhex("0300") * 300 + b"\x00")
    assert raised.value.close_code == 1008
    for _ in range(300):
        client, _ = pair()
        assert whole(client, bytes.fromhex("F348CDC9C9070000")) == b"Hello"


@engines
def test_a_message_without_an_octet(engine):
    """WS-D-13: C1 00 is an empty message, and does not spoil the ones behind it."""
    client, _ = pair(engine)
    for frames in ([(0x40, b"")], fragmented(b"", 0), fragmented(b"", 0, 0)):
        assert receive(client, frames) == b""
        assert whole(client, HELLO) == b"Hello"
    assert whole(client, b"\x00") == b""
    assert whole(client, b"\x02\x00") == b""
    assert receive(client, fragmented(HELLO, 0, 7, 7)) == b"Hello"


@engines
def test_takeover(engine):
    """WS-D-15, RFC 7692 §7.2.3.2: the window lives on, or it does not."""
    again = bytes.fromhex("F200110000")
    client, _ = pair(engine)
    assert whole(client, HELLO) == whole(client, again) == b"Hello"
    client, _ = pair(engine, server_no_context_takeover=True)
    assert whole(client, HELLO) == b"Hello"
    with pytest.raises(RemoteProtocolError) as raised:
        whole(client, again)
    assert raised.value.close_code == 1007


@engines
def test_without_takeover_each_message_stands_alone(engine):
    """WS-D-05, WS-D-15, RFC 7692 §7.1.1: whoever asked for it."""
    message = b"the same words, every time " * 20
    bound = accepts(["client_no_context_takeover"], engine=engine)
    hinted = accepts([], engine=engine, client_no_context_takeover=True)
    _, server = pair(engine, server_no_context_takeover=True)
    for coding in (bound, hinted, server):
        for cuts in ((), (100,), ()):
            payload = b"".join(part for _, part in send(coding, message, *cuts))
            assert zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff") == message


@engines
def test_uncompressed_messages_in_between(engine):
    """WS-D-10, RFC 7692 §6: legal, fragmented too, and leaving the context alone."""
    client, _ = pair(engine)
    assert whole(client, HELLO) == b"Hello"
    assert receive(client, [(0, b"pl"), (0, b"ain")]) == b"plain"
    assert receive(client, [(0, b"")]) == b""
    assert whole(client, bytes.fromhex("F200110000")) == b"Hello"


@engines
@pytest.mark.parametrize(
    "payload",
    ["07", "FF" * 8, "0005000000 48656C6C6F00", "F200110000", "ED FF FF FF FF", "04"],
)
def test_what_is_no_deflate(engine, payload):
    """WS-D-17, RFC 7692 §7.2.2: 1007."""
    client, _ = pair(engine)
    with pytest.raises(RemoteProtocolError) as raised:
        whole(client, bytes.fromhex(payload))
    assert raised.value.close_code == 1007
    assert not isinstance(raised.value, LimitExceeded)


@engines
@given(st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=6), st.booleans())
def test_any_octets_are_inflated_or_refused(engine, frames, takeover):
    """WS-D-17: nothing else is raised, and no more comes out than is allowed."""
    client, _ = pair(engine, server_no_context_takeover=not takeover)
    first = True
    code = None
    for payload, final in frames:
        try:
            content = client.decode(
                payload, rsv=0x40 if first else 0, first=first, final=final, max_size=1000
            )
        except RemoteProtocolError as error:
            code = error.close_code
            break
        assert len(content) <= 1000
        first = final
    assert code in (None, 1007, 1008, 1009)


@pytest.mark.parametrize("begun", [0, 0x40])
def test_rsv1_on_a_continuation(begun):
    """WS-D-09, RFC 7692 §6: fails the connection, whatever the message began with."""
    client, _ = pair()
    client.decode(HELLO[:2], rsv=begun, first=True, final=False, max_size=None)
    with pytest.raises(RemoteProtocolError) as raised:
        client.decode(HELLO[2:], rsv=0x40, first=False, final=True, max_size=None)
    assert raised.value.close_code == 1002


# RFC 6455 §10.4: bombs.


def bomb(size):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@engines
@pytest.mark.parametrize("cuts", [(), (10,), (10, 500, 900)])
def test_a_bomb_is_stopped_at_the_limit(engine, cuts):
    """SEC-14, RFC 7692 §8: 1009, and never much more than the limit in memory."""
    payload = bomb(1 << 20)
    assert len(payload) < 1040
    client, _ = pair(engine)
    whole(client, HELLO)
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded) as raised:
            receive(client, fragmented(payload, *cuts), 65536)
        assert tracemalloc.get_traced_memory()[1] < 4 * 65536
    finally:
        tracemalloc.stop()
    assert raised.value.close_code == 1009


@engines
@pytest.mark.parametrize("size", [0, 1, 5, 65536])
def test_the_limit_is_exact(engine, size):
    """SEC-14: a message as long as the limit passes, one octet more does not."""
    payload = bomb(size) if size else b"\x00"
    for cuts in ((), (len(payload) // 2,)):
        client, _ = pair(engine)
        assert receive(client, fragmented(payload, *cuts), size) == bytes(size)
        if size:
            with pytest.raises(LimitExceeded):
                receive(client, fragmented(payload, *cuts), size - 1)


# Contexts: late to come, and free to go.


@engines
@given(st.lists(st.binary(max_size=300) | st.just(b"words and words " * 9), max_size=8), st.data())
def test_contexts_can_be_released_between_messages(engine, messages, data):
    """WS-D-15: without the peer's knowledge, at any moment, on both ends."""
    client, server = pair(engine, threshold=0, server_max_window_bits=9)
    for message in messages:
        for sender, receiver in ((client, server), (server, client)):
            for coding in (client, server):
                if data.draw(st.booleans()):
                    coding.release()
            assert receive(receiver, send(sender, message)) == message


@engines
def test_what_is_in_use_is_not_released(engine):
    """WS-D-15: in the middle of a message nothing is given back."""
    client, server = pair(engine)
    first = client.encode(b"abc" * 100, text=True, first=True, final=False)
    client.release()
    last = client.encode(b"def" * 100, text=True, first=False, final=True)
    content = server.decode(first[1], rsv=0x40, first=True, final=False, max_size=None)
    server.release()
    content += server.decode(last[1], rsv=0, first=False, final=True, max_size=None)
    assert content == b"abc" * 100 + b"def" * 100


@engines
def test_idle_is_nothing_to_do_since_the_last_question(engine):
    """WS-D-15: each direction counts, for either end, and so does half a message."""
    client, server = pair(engine)
    assert client.idle()
    for first in (True, False):
        client.encode(b"words and words " * 9, text=True, first=first, final=not first)
        assert not client.idle()
        assert client.idle()
    assert server.idle()
    for first, payload in ((True, HELLO[:3]), (False, HELLO[3:])):
        rsv = 0x40 if first else 0
        server.decode(payload, rsv=rsv, first=first, final=not first, max_size=None)
        assert not server.idle()
        assert server.idle()


def test_uncompressed_messages_do_not_keep_contexts():
    """WS-D-10, WS-D-15: short ones, and those that are not to be compressed, leave them alone."""
    client, server = pair(threshold=64)
    assert receive(server, send(client, b"words and words " * 9)) == b"words and words " * 9
    assert (client.idle(), server.idle()) == (False, False)
    assert receive(server, send(client, b"short")) == b"short"
    client.enabled = False
    assert receive(server, send(client, b"secret" * 20, 10)) == b"secret" * 20
    assert (client.idle(), server.idle()) == (True, True)


def test_what_has_been_released_stays_as_it_is():
    """WS-D-15: releasing again and again, as idle connections are, copies no history."""
    client, server = pair()
    receive(server, send(client, b"words and words " * 9))
    server.release()
    history = server._history
    server.release()
    assert server._history is history


def test_release_gives_memory_back():
    """WS-D-15: what stays is the history, no more than the peer's window."""
    text = random.Random(4).randbytes(40_000)
    _, server = pair("zlib", client_max_window_bits=9)
    sender, _ = pair("zlib")
    for _ in range(3):
        for message in (b"abc" * 300, text):
            whole(server, sender.encode(message, text=False, first=True, final=True)[1])
            assert len(server._history) <= 1024
    server.encode(text, text=False, first=True, final=True)
    assert server._compressor is not None
    assert server._inflater is not None
    server.release()
    assert server._compressor is server._inflater is None
    assert bytes(server._history) == text[-512:]


@engines
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=400)
            | st.text(max_size=200).map(str.encode)
            | st.just(b"words and words " * 100),
            st.lists(st.integers(0, 300), max_size=3),
        ),
        max_size=6,
    ),
    st.integers(9, 15),
    st.booleans(),
    st.sampled_from([0, 64]),
)
def test_messages_come_out_as_they_went_in(engine, messages, bits, takeover, threshold):
    """WS-D-12, WS-D-15, WS-D-16: any fragments, any window, with takeover or without."""
    client, server = pair(
        engine,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
        threshold=threshold,
    )
    for message, cuts in messages:
        for sender, receiver in ((client, server), (server, client)):
            assert receive(receiver, send(sender, message, *cuts), len(message)) == message


@given(st.sampled_from(ENGINES), st.sampled_from(ENGINES), st.lists(st.binary(max_size=3000)))
def test_engines_understand_each_other(one, other, messages):
    """WS-D-11, WS-D-12: one format, whoever writes it."""
    client, _ = pair(one, threshold=0)
    _, server = pair(other)
    for message in [*messages, b"and the same again " * 200] * 2:
        assert receive(server, send(client, message)) == message


# The engines' seam.


def test_the_order_of_engines():
    """WS-D-11: all three are installed here; each direction takes what suits it."""
    assert deflate_engines.compressing_engine().name == "isal"
    assert deflate_engines.inflating_engine().name == "zlib-ng"
    for name in ENGINES:
        assert deflate_engines.compressing_engine(name).name == name
        assert deflate_engines.inflating_engine(name).name == name


def made_by(coding: DeflateCoding) -> str:
    return type(coding._compressor).__module__


SHORT, LONG = (
    b'{"price": 43251.25, "size": 0.0123, "side": "buy"} ' * 3,
    b"a snapshot of it all " * 40,
)


def test_short_messages_have_an_engine_of_their_own():
    """WS-D-11: zlib while they are short, isal from the first long one on, zlib after a rest."""
    client, server = pair()
    brief = type(zlib.compressobj()).__module__
    for message in (SHORT, SHORT):
        assert receive(server, send(client, message)) == message
        assert made_by(client) == brief
    for message in (LONG, SHORT, LONG, SHORT):
        assert receive(server, send(client, message)) == message
        assert made_by(client) != brief
    client.release()
    assert receive(server, send(client, SHORT)) == SHORT
    assert made_by(client) == brief


def test_an_engine_begins_anew_only_between_messages():
    """WS-D-12: a long fragment of a message that began short stays in the context it began in."""
    client, server = pair()
    first = send(client, SHORT + LONG, len(SHORT))
    brief = type(zlib.compressobj()).__module__
    assert made_by(client) == brief
    assert receive(server, first) == SHORT + LONG
    assert receive(server, send(client, LONG)) == LONG
    assert made_by(client) != brief


def test_engines_that_are_asked_for_do_all_the_work():
    """WS-D-11: a named engine compresses short and long alike; so does zlib where it is alone."""
    for name in ENGINES:
        assert deflate_engines.brief_engine(name) is None
    client, server = pair("isal")
    assert receive(server, send(client, SHORT)) == SHORT
    assert made_by(client) != type(zlib.compressobj()).__module__


def test_engines_flush_by_one_number():
    """WS-D-11: the coding keeps it, whichever engine it has at the time."""
    assert len({deflate_engines.engine(name).sync_flush for name in ENGINES}) == 1


def test_engines_that_are_not_installed(monkeypatch):
    """WS-D-11: zlib is always there; an engine asked for by name has to be."""
    caches = [
        deflate_engines.engine,
        deflate_engines.brief_engine,
        deflate_engines.compressing_engine,
        deflate_engines.inflating_engine,
    ]
    monkeypatch.setitem(deflate_engines._MODULES, "isal", "no_such_module_isal")
    monkeypatch.setitem(deflate_engines._MODULES, "zlib-ng", "no_such_module_zlib_ng")
    for cache in caches:
        cache.cache_clear()
    try:
        assert deflate_engines.compressing_engine().name == "zlib"
        assert deflate_engines.brief_engine() is None
        assert deflate_engines.inflating_engine().name == "zlib"
        with pytest.raises(LocalProtocolError, match="not installed"):
            PermessageDeflate(engine="isal")
    finally:
        for cache in caches:
            cache.cache_clear()


# On the wire, through the machine.


def frame(first, payload):
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


def server_machine(**settings):
    _, coding = pair(**settings)
    return Connection(Side.SERVER, extensions=(coding,), max_message_size=65536)


def test_published_octets_on_the_wire():
    """WS-D-12, WS-D-13: whole, fragmented around a ping, empty, and without an octet."""
    machine = server_machine()
    machine.receive_data(frame(0xC1, HELLO))
    machine.receive_data(frame(0x41, HELLO[:3]) + frame(0x89, b"") + frame(0x80, HELLO[3:]))
    machine.receive_data(frame(0xC1, b"\x00") + frame(0xC1, b""))
    messages = [event for event in machine.events_received() if isinstance(event, str)]
    assert messages == ["Hello", "Hello", "", ""]


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (frame(0x41, HELLO[:3]) + frame(0xC0, HELLO[3:]), 1002),
        (frame(0xC9, b""), 1002),
        (frame(0xCA, b""), 1002),
        (frame(0xC8, b""), 1002),
        (frame(0xA1, b"x"), 1002),
        (frame(0xC1, b"\x07"), 1007),
        (frame(0xC1, b"\x00\x02\x00\xfd\xff\xc3\x28\x00"), 1007),
        (bytes([0xC2, 0xFE, 0x04, 0x09, 0, 0, 0, 0]) + bomb(1 << 20), 1009),
    ],
)
def test_failures_on_the_wire(octets, code):
    """WS-D-09, WS-D-17, SEC-14: RSV1 in the wrong place, no DEFLATE, no UTF-8, too much."""
    machine = server_machine()
    machine.receive_data(octets)
    sent = b"".join(bytes(part) for part in machine.data_to_send())
    assert sent[0] == 0x88
    assert int.from_bytes(sent[2:4], "big") == code


def test_one_message_uncompressed_on_the_wire():
    """SEC-39, WS-D-10: what docs/how-to/websocket.md does for a message with a secret."""
    _, coding = pair()
    machine = Connection(Side.SERVER, extensions=(coding,))
    text = "a secret beside what an attacker chose " * 3
    heads = []
    for enabled in (True, False, True):
        for extension in machine.extensions:
            assert isinstance(extension, DeflateCoding)
            extension.enabled = enabled
        machine.send_text(text)
        (frame,) = machine.data_to_send()
        heads.append(frame[0])
        assert (text.encode() in frame) is not enabled
    assert heads == [0xC1, 0x81, 0xC1]


# The library `websockets` as an oracle.


def oracle_end(bits, takeover):
    return oracle.PerMessageDeflate(
        remote_no_context_takeover=not takeover,
        local_no_context_takeover=not takeover,
        remote_max_window_bits=bits,
        local_max_window_bits=bits,
    )


def oracle_frames(message, cuts):
    parts, position = [], 0
    for length in cuts:
        parts.append(message[position : position + length])
        position += length
    parts.append(message[position:])
    return [
        Frame(Opcode.BINARY if number == 0 else Opcode.CONT, part, number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]


@engines
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=500) | st.just(b"words and words " * 100),
            st.lists(st.integers(0, 300), max_size=3),
        ),
        max_size=5,
    ),
    st.integers(9, 15),
    st.booleans(),
)
def test_websockets_understands_and_is_understood(engine, messages, bits, takeover):
    """WS-D-11, WS-D-12, WS-D-15: messages of either end, in any fragments."""
    settings = {
        "server_max_window_bits": bits,
        "client_max_window_bits": bits,
        "server_no_context_takeover": not takeover,
        "client_no_context_takeover": not takeover,
        "threshold": 0,
    }
    client, server = pair(engine, **settings)
    reader, writer = oracle_end(bits, takeover), oracle_end(bits, takeover)
    for message, cuts in messages:
        decoded = b""
        for number, (rsv, payload) in enumerate(send(client, message, *cuts)):
            opcode = Opcode.BINARY if number == 0 else Opcode.CONT
            received = Frame(opcode, payload, number == len(cuts), rsv1=rsv != 0)
            decoded += reader.decode(received).data
        assert decoded == message
        frames = [writer.encode(plain) for plain in oracle_frames(message, cuts)]
        made = [(0x40 if encoded.rsv1 else 0, bytes(encoded.data)) for encoded in frames]
        assert receive(server, made) == message


windows = st.none() | st.integers(9, 15)


@given(st.booleans(), st.booleans(), windows, windows | st.just(True))
def test_websockets_takes_our_answers(server_alone, client_alone, server_bits, client_bits):
    """WS-D-01 to WS-D-07: its client with any settings, our server."""
    factory = oracle.ClientPerMessageDeflateFactory(
        server_no_context_takeover=server_alone,
        client_no_context_takeover=client_alone,
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
    )
    for ours in (
        PermessageDeflate(),
        PermessageDeflate(server_max_window_bits=11, client_max_window_bits=11),
    ):
        answer = ours.negotiate([factory.get_request_params()])
        assert answer is not None
        theirs = factory.process_response_params(list(answer[0]), [])
        message = b"words and words " * 100
        for _ in range(2):
            sent = theirs.encode(Frame(Opcode.BINARY, message))
            assert whole(answer[1], bytes(sent.data)) == message
            _, payload = answer[1].encode(message, text=False, first=True, final=True)
            assert theirs.decode(Frame(Opcode.BINARY, payload, rsv1=True)).data == message


@given(
    st.fixed_dictionaries(
        {
            "server_no_context_takeover": st.booleans(),
            "client_no_context_takeover": st.booleans(),
            "server_max_window_bits": st.integers(9, 15),
            "client_max_window_bits": st.none() | st.integers(9, 15),
            "fallback": st.booleans(),
        }
    )
)
def test_websockets_answers_our_offers(settings):
    """WS-D-01 to WS-D-07: our client with any settings, its server."""
    ours = PermessageDeflate(**settings)
    factory = oracle.ServerPerMessageDeflateFactory(
        server_max_window_bits=12, client_max_window_bits=12
    )
    parameters, theirs = factory.process_request_params(list(ours.offers()[0]), [])
    client = ours.accept(parameters)
    message = b"words and words " * 100
    for _ in range(2):
        _, payload = client.encode(message, text=False, first=True, final=True)
        assert theirs.decode(Frame(Opcode.BINARY, payload, rsv1=True)).data == message
        sent = theirs.encode(Frame(Opcode.BINARY, message))
        assert whole(client, bytes(sent.data)) == message
