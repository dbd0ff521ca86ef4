"""Frames as octets (RFC 6455 §5.1 to §5.3, §5.5), judged by their header."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

# §5.1, §5.3: masking


def test_server_fails_on_a_frame_that_is_not_masked(kit: Any) -> None:
    """WS-F-04, RFC 6455 §5.1: 81 02 68 69 to a server gives 1002 and no delivery."""
    assert kit.failure(kit.server(), bytes.fromhex("81026869")) == 1002


def test_client_fails_on_a_masked_frame(kit: Any) -> None:
    """WS-F-05, RFC 6455 §5.1: a client closes on a masked frame."""
    assert kit.failure(kit.client(), kit.frame(0x81, b"hi")) == 1002


def test_server_masks_nothing(kit: Any) -> None:
    """WS-F-05, RFC 6455 §5.1: "A server MUST NOT mask any frames that it sends"."""
    server = kit.server()
    _send_everything(server)
    assert [key for _, _, key in kit.frames(kit.sent(server))] == [None] * 9


def test_client_masks_every_frame(kit: Any) -> None:
    """WS-F-01, RFC 6455 §5.3: text, binary, continuations, control frames and empty ones."""
    client = kit.client()
    _send_everything(client)
    frames = kit.frames(kit.sent(client))
    assert [first for first, _, _ in frames] == [
        0x81,
        0x82,
        0x81,
        0x01,
        0x00,
        0x80,
        0x89,
        0x8A,
        0x88,
    ]
    assert all(key is not None for _, _, key in frames)
    assert [payload for _, payload, _ in frames[:6]] == [b"text", b"octets", b"", b"a", b"b", b"c"]


def _send_everything(machine: Any) -> None:
    machine.send_text("text")
    machine.send_binary(b"octets")
    machine.send_text("")
    machine.send_fragment("a")
    machine.send_fragment("b")
    machine.send_fragment("c", final=True)
    machine.ping()
    machine.pong(b"unasked")
    machine.close(1000)


def test_each_frame_has_a_key_of_its_own(kit: Any) -> None:
    """WS-F-02, RFC 6455 §5.3: 10 000 frames, no key in a pattern."""
    client = kit.client()
    for _ in range(10_000):
        client.send_binary(b"")
    keys = [key for _, _, key in kit.frames(kit.sent(client))]
    # Of 10 000 draws from 2^32, a dozen are the same by chance once in 10^30 years.
    assert len(set(keys)) > 9_988
    assert all(sum(key[i] for key in keys) // 10_000 in range(120, 136) for i in range(4))


def test_keys_come_from_the_operating_system(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-17, RFC 6455 §10.3: the default is os.urandom, drawn in blocks; no PRNG is asked."""
    assert kit.client()._entropy is os.urandom
    drawn = []

    def entropy(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    random.seed(1)
    client = kit.client(entropy=entropy)
    for _ in range(200):
        client.send_binary(b"x")
    keys = b"".join(key for _, _, key in kit.frames(kit.sent(client)))
    assert b"".join(drawn).startswith(keys)
    assert len(drawn) > 1


def test_a_server_draws_no_keys(kit: Any) -> None:
    """RFC 6455 §5.1: a server does not mask, so it has no use for entropy."""
    server = kit.server(entropy=None)
    server.send_text("x")
    assert kit.sent(server) == b"\x81\x01x"


def test_what_is_sent_cannot_be_changed_afterwards(kit: Any, side: str) -> None:
    """WS-F-03, RFC 6455 §10.3: the caller's buffer may change after send, the frame does not."""
    machine = kit.either(side)
    for size in (5, 50_000):
        buffer = bytearray(b"a" * size)
        machine.send_binary(buffer)
        machine.send_fragment(memoryview(buffer), final=True)
        buffer[:] = b"b" * size
        assert {payload for _, payload, _ in kit.frames(kit.sent(machine))} == {b"a" * size}


def test_the_example_of_the_rfc(kit: Any) -> None:
    """RFC 6455 §5.7: a single-frame masked text message."""
    assert kit.events(kit.server(), bytes.fromhex("818537fa213d7f9f4d5158")) == ["Hello"]
    assert kit.events(kit.client(), bytes.fromhex("810548656c6c6f")) == ["Hello"]


# §5.2: the header


@pytest.mark.parametrize("first", [0xC1, 0xA1, 0x91, 0xF2, 0xC9, 0x98])
def test_reserved_bits_without_an_extension_fail(kit: Any, side: str, first: int) -> None:
    """WS-F-06, RFC 6455 §5.2: a bit that no extension defines."""
    assert kit.failure(kit.either(side), kit.frame_to(side, first, b"hi")) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
def test_reserved_opcodes_fail(kit: Any, side: str, opcode: int) -> None:
    """WS-F-07, RFC 6455 §5.2: opcodes 3 to 7 and B to F."""
    assert kit.failure(kit.either(side), kit.frame_to(side, 0x80 | opcode)) == 1002


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (4095, "827e0fff"),
        (4096, "827e1000"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
    ],
)
def test_lengths_are_sent_in_the_fewest_octets(kit: Any, size: int, head: str) -> None:
    """WS-F-08, RFC 6455 §5.2: 7 bits, 16 bits or 64 bits, in network order."""
    server, client = kit.server(), kit.client()
    for machine in (server, client):
        machine.send_binary(b"x" * size)
        machine.send_text("x" * size)
    octets = kit.sent(server)
    assert octets[: len(octets) // 2] == bytes.fromhex(head) + b"x" * size
    masked = bytearray.fromhex(head)
    masked[1] |= 0x80
    assert kit.sent(client).startswith(bytes(masked))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 4096, 65535, 65536, 70_000, 300_000])
def test_every_length_arrives(kit: Any, size: int) -> None:
    """WS-F-08: what one end writes, the other end reads, both ways."""
    server, client = kit.server(), kit.client()
    client.send_binary(bytes(range(256)) * (size // 256) + b"z" * (size % 256))
    client.send_text("z" * size)
    data, text = kit.events(server, kit.sent(client))
    assert (len(data), len(text)) == (size, size)
    server.send_message(data)
    server.send_message(text)
    assert kit.events(client, kit.sent(server)) == [data, text]


@pytest.mark.parametrize(
    "head",
    ["827e0005", "827e007d", "827f000000000000007e", "827f000000000000ffff"],
)
def test_longer_forms_than_needed_fail(kit: Any, side: str, head: str) -> None:
    """WS-F-09, RFC 6455 §5.2: "the minimal number of bytes MUST be used"."""
    octets = bytearray.fromhex(head)
    octets[1] |= 0x80 if side == "server" else 0
    assert kit.failure(kit.either(side), bytes(octets)) == 1002


@pytest.mark.parametrize("length", ["8000000000000000", "ffffffffffffffff", "8000000000000001"])
def test_lengths_of_64_bits_have_the_top_bit_clear(kit: Any, side: str, length: str) -> None:
    """WS-F-10, RFC 6455 §5.2: refused from the header, whatever the limits."""
    octets = bytearray.fromhex("827f" + length)
    octets[1] |= 0x80 if side == "server" else 0
    machine = kit.either(side, max_message_size=None)
    assert kit.failure(machine, bytes(octets)) == 1002


@pytest.mark.parametrize("opcode", [0x8, 0x9, 0xA])
def test_control_frames_of_more_than_125_octets_fail_before_the_payload(
    kit: Any, side: str, opcode: int
) -> None:
    """WS-F-11, RFC 6455 §5.5: judged by the first two octets."""
    for octets in (bytes((0x80 | opcode, 126)), bytes((0x80 | opcode, 127))):
        head = octets if side == "client" else bytes((octets[0], octets[1] | 0x80))
        assert kit.failure(kit.either(side), head) == 1002


@pytest.mark.parametrize("opcode", [0x8, 0x9, 0xA])
def test_fragments_of_control_frames_fail(kit: Any, side: str, opcode: int) -> None:
    """WS-F-11, RFC 6455 §5.5: control frames "MUST NOT be fragmented"."""
    assert kit.failure(kit.either(side), kit.frame_to(side, opcode)[:2]) == 1002


def test_a_frame_is_refused_by_its_first_two_octets(kit: Any) -> None:
    """RFC 6455 §5.1, §5.2: what must not come is refused before its payload is read."""
    for head in ("8105", "c185", "8385", "8085", "09 80", "89fe"):
        assert kit.failure(kit.server(), bytes.fromhex(head)) == 1002


def test_frames_in_one_read_come_in_order(kit: Any) -> None:
    """WS-F-15: control frames and messages in the order of the octets."""
    octets = b"".join(
        [kit.frame(0x81, b"1"), kit.frame(0x89, b"2"), kit.frame(0x82, b"3"), kit.frame(0x8A, b"4")]
    )
    events = kit.events(kit.server(), octets)
    assert [getattr(event, "data", event) for event in events] == ["1", b"2", b"3", b"4"]


# §10.4: limits


@pytest.mark.parametrize("length", [1001, 2**32, 2**40, 2**62, 2**63 - 1])
def test_a_message_over_the_limit_is_refused_by_its_declared_length(
    kit: Any, side: str, length: int
) -> None:
    """WS-F-21, RFC 6455 §10.4: 1009 at once, when the header is there."""
    bit = 0x80 if side == "server" else 0
    if length < 65536:
        head = bytes((0x82, bit | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x82, bit | 127)) + length.to_bytes(8, "big")
    assert kit.failure(kit.either(side, max_message_size=1000), head) == 1009


def test_a_message_at_the_limit_is_taken(kit: Any) -> None:
    """WS-F-21: the limit is what is allowed."""
    server = kit.server(max_message_size=1000)
    assert kit.events(server, kit.frame(0x82, b"x" * 1000)) == [b"x" * 1000]
    assert kit.failure(server, kit.frame(0x82, b"x" * 1001)) == 1009


def test_the_default_limit_is_finite(kit: Any) -> None:
    """WS-F-21: without a word from the user, messages of more than 1 MiB are refused."""
    head = bytes((0x82, 0xFF)) + (2**20 + 1).to_bytes(8, "big")
    assert kit.failure(kit.server(), head) == 1009


def test_control_frames_do_not_count_against_the_limit(kit: Any) -> None:
    """RFC 6455 §5.4: control frames are no part of a message, however small its limit."""
    server = kit.server(max_message_size=1)
    octets = kit.frame(0x01, b"a") + kit.frame(0x89, b"p" * 125) + kit.frame(0x80)
    assert [getattr(event, "data", event) for event in kit.events(server, octets)] == [
        b"p" * 125,
        "a",
    ]


def test_nothing_is_allocated_by_a_declared_length(kit: Any) -> None:
    """SEC-15: storage grows with what has come, not with what was announced."""
    import tracemalloc

    server = kit.server(max_message_size=None)
    tracemalloc.start()
    try:
        server.receive_data(bytes((0x82, 0xFF)) + (2**62).to_bytes(8, "big") + kit.KEY + b"x")
        for _ in range(10):
            server.receive_data(b"x" * 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000
    assert server.events_received() == []
    assert kit.failure(kit.server(), bytes((0x82, 0xFF)) + (2**62).to_bytes(8, "big")) == 1009
