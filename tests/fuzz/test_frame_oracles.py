"""The frame loop against itself, compiled and plain, and against another reader, wsproto.

Two rules. The two builds agree in everything: events, messages of errors, output, state. And
what we read in a stream, wsproto reads too, and where we refuse, it goes no further either.

As a program it goes on for as long as it is told, from new seeds each time::

    python tests/fuzz/test_frame_oracles.py --seconds 600
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import random
import sys
import time
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.websocket import _connection, _framing
from switchover.websocket.events import Close, Failed, Ping, Pong

wsproto = pytest.importorskip("wsproto")
_connection_c = pytest.importorskip("switchover.websocket._connection_c")

from wsproto.connection import Connection as TheirConnection  # noqa: E402  # after the skip
from wsproto.connection import ConnectionState, ConnectionType  # noqa: E402
from wsproto.events import BytesMessage, CloseConnection, TextMessage  # noqa: E402
from wsproto.events import Ping as TheirPing  # noqa: E402
from wsproto.events import Pong as TheirPong  # noqa: E402
from wsproto.utilities import RemoteProtocolError as TheirError  # noqa: E402


def _load_plain() -> ModuleType:
    """Load the source of the connection on the source of the frame loop."""
    room: Any = sys.modules["switchover.websocket"]
    chosen, room.framing = room.framing, _framing
    try:
        spec = importlib.util.spec_from_file_location(
            "switchover.websocket._fuzzed", _connection.__file__
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        room.framing = chosen
    return module


PLAIN, COMPILED = _load_plain(), _connection_c

_FIRSTS = [0x81, 0x82, 0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8A, 0x88]
_PAYLOADS = [b"", b"a", "é€𐍈".encode(), b"\xe2\x82", b"\xac", b"\xff", b"\x03\xe8", b"x" * 125]
_PAYLOADS += [b"y" * 126, b"z" * 300, b"\x03\xe8bye", b"\x03", b"\x03\xec", b"\x0f\xa0ok"]


def _frame(rng: random.Random) -> bytes:
    first = rng.choice(_FIRSTS) if rng.random() < 0.97 else rng.randrange(256)
    payload = rng.choice(_PAYLOADS)
    size, key = len(payload), rng.randbytes(4)
    bit = 0x80 if rng.random() < 0.98 else 0
    form = rng.random()
    if size < 126 and form < 0.97:
        head = bytes((first, bit | size))
    elif size < 65536 and form < 0.98:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        announced = size if rng.random() < 0.3 else rng.getrandbits(64)
        head = bytes((first, bit | 127)) + announced.to_bytes(8, "big")
    masked = bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))
    return head + key + masked if bit else head + payload


def stream(rng: random.Random) -> list[bytes]:
    """Make the octets of a session, mostly valid, cut into chunks."""
    octets = bytearray(b"".join(_frame(rng) for _ in range(rng.randint(1, 8))))
    if rng.random() < 0.1 and octets:
        octets[rng.randrange(len(octets))] = rng.randrange(256)
    cuts = sorted(rng.randrange(len(octets) + 1) for _ in range(rng.choice([0, 1, 3, 9])))
    edges = [0, *cuts, len(octets)]
    return [bytes(octets[a:b]) for a, b in itertools.pairwise(edges)]


def story(module: ModuleType, chunks: list[bytes], **options: Any) -> list[Any]:
    """Tell all that can be seen of a machine that is fed with ``chunks``."""
    machine = module.Connection(module.Side.SERVER, **options)
    seen: list[Any] = []
    for chunk in chunks:
        machine.receive_data(chunk)
        for event in machine.events_received():
            error = event.error if isinstance(event, Failed) else None
            seen.append((type(event).__name__, repr(event), error and (type(error), str(error))))
        seen.append((b"".join(machine.data_to_send()), machine.state.name))
    seen.append((machine.close_code, machine.close_reason, machine.sent_code, machine.sent_reason))
    return seen


def check_builds(rng: random.Random) -> None:
    chunks = stream(rng)
    options = {
        "max_message_size": rng.choice([None, 1 << 20, 300, 100]),
        "max_fragments": rng.choice([1000, 2]),
        "deliver_fragments": rng.random() < 0.3,
    }
    assert story(COMPILED, chunks, **options) == story(PLAIN, chunks, **options), (chunks, options)


def _ours(chunks: list[bytes]) -> tuple[list[Any], Failed | None, bool]:
    machine = PLAIN.Connection(PLAIN.Side.SERVER, max_message_size=None)
    events: list[Any] = []
    for chunk in chunks:
        machine.receive_data(chunk)
        events += machine.events_received()
    failed = events.pop() if events and isinstance(events[-1], Failed) else None
    return events, failed, machine._storage is not None


def _theirs(chunks: list[bytes]) -> tuple[list[Any], bool]:
    machine = TheirConnection(ConnectionType.SERVER)
    events: list[Any] = []
    parts: list[Any] = []
    try:
        for chunk in chunks:
            machine.receive_data(chunk)
            for event in machine.events():
                if isinstance(event, (TextMessage, BytesMessage)):
                    parts.append(
                        event.data if isinstance(event, TextMessage) else bytes(event.data)
                    )
                    if event.message_finished:
                        events.append(type(parts[0])().join(parts))
                        parts = []
                elif isinstance(event, TheirPing):
                    events.append(Ping(bytes(event.payload)))
                elif isinstance(event, TheirPong):
                    events.append(Pong(bytes(event.payload)))
                elif isinstance(event, CloseConnection):
                    if machine.state is ConnectionState.OPEN:  # a fault: no Close frame came
                        return events, True
                    events.append(Close(event.code, event.reason or ""))
                    return events, False
    except TheirError:
        return events, True
    return events, False


def check_wsproto(rng: random.Random) -> None:
    chunks = stream(rng)
    ours, failed, inside_a_frame = _ours(chunks)
    theirs, they_failed = _theirs(chunks)
    if failed is None:
        # It looks at the text of a frame that is not complete, we do not.
        assert not they_failed or inside_a_frame, (chunks, ours)
        assert ours == theirs, chunks
    else:
        assert theirs == ours, (chunks, failed)


def test_both_builds_tell_the_same_story() -> None:
    """WS-F-10, WS-F-15: 4 000 random streams in random chunks, compiled against plain."""
    rng = random.Random(6455)
    for _ in range(4000):
        check_builds(rng)


@given(seed=st.integers(0, 2**64))
def test_both_builds_tell_the_same_story_from_any_seed(seed: int) -> None:
    """WS-F-15: and more of them from new seeds."""
    check_builds(random.Random(seed))


@given(pieces=st.lists(st.binary(max_size=40), max_size=6))
def test_both_builds_agree_on_noise(pieces: list[bytes]) -> None:
    """RFC 6455 §5.2: octets that are no frames at all."""
    assert story(COMPILED, pieces) == story(PLAIN, pieces)


def test_wsproto_reads_the_same() -> None:
    """WS-F-12, WS-F-16, WS-C-01: 2 000 random streams, another implementation as the oracle."""
    rng = random.Random(2011)
    for _ in range(2000):
        check_wsproto(rng)


def main() -> None:
    """Check for as long as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    until = time.monotonic() + parser.parse_args().seconds
    count = 0
    while time.monotonic() < until:
        seed = random.SystemRandom().getrandbits(64)
        try:
            check_builds(random.Random(seed))
            check_wsproto(random.Random(seed))
        except AssertionError:
            print(f"seed {seed}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} streams")


if __name__ == "__main__":
    main()
