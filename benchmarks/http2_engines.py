"""HTTP/2 engines beside each other, in memory: speed, and what they do under attack.

``python benchmarks/http2_engines.py`` needs ``h2``, ``jh2`` and ``zttp`` installed; those that
are missing are left out. Prints microseconds of CPU for one request and its answer, best of
several rounds, and for each attack after how many frames the engine ended the connection.
"""

from __future__ import annotations

import importlib
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hpack

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from switchover.http.events import Failed, RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http2 import PREFACE, ServerConnection
from switchover.http2.events import StreamEvent

REQUEST = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"127.0.0.1:8101"),
    (b":path", b"/plain"),
    (b"user-agent", b"h2load nghttp2/1.52.0"),
]
TYPE = (b"content-type", b"text/plain")
ROUNDS = 5

Serve = Callable[[list[bytes], bytes], int]
#: Gives octets to a server; returns whether it has ended the connection.
Feed = Callable[[bytes], bool]


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream_id.to_bytes(4, "big") + payload


OPENING = (
    PREFACE
    + frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff")
    + frame(8, 0, 0, (2**31 - 1 - 65535).to_bytes(4, "big"))
)


def requests(count: int, *, distinct: bool) -> list[bytes]:
    """What a client sends, a read for each request."""
    encoder = hpack.Encoder()
    reads = [OPENING]
    for number in range(count):
        lines = list(REQUEST)
        if distinct:
            lines[3] = (b":path", b"/items/%d?page=%d&order=descending" % (number, number % 7))
        reads.append(frame(1, 5, 2 * number + 1, encoder.encode(lines)))
    return reads


# The engines: how each serves requests, and how each is fed.


def ours(reads: list[bytes], content: bytes) -> int:
    machine, octets = ServerConnection(clock=time.monotonic), 0
    for read in reads:
        machine.receive_data(read)
        for event in machine.events_received():
            if type(event) is StreamEvent and type(event.event) is RequestReceived:
                response = Response(200, Fields.from_octets([TYPE]), content=content)
                machine.send_response(event.stream_id, response, end=True)
        octets += len(b"".join(machine.data_to_send()))
    return octets


def feed_ours() -> Feed:
    machine = ServerConnection(clock=time.monotonic)

    def feed(octets: bytes) -> bool:
        machine.receive_data(octets)
        machine.data_to_send()
        return any(isinstance(event, Failed) for event in machine.events_received())

    return feed


def of_h2_family(package: str) -> tuple[Serve, Callable[[], Feed]]:
    connection = importlib.import_module(f"{package}.connection")
    events = importlib.import_module(f"{package}.events")
    exceptions = importlib.import_module(f"{package}.exceptions")
    config = importlib.import_module(f"{package}.config").H2Configuration(client_side=False)

    def serve(reads: list[bytes], content: bytes) -> int:
        server, octets = connection.H2Connection(config), 0
        server.initiate_connection()
        length = (b"content-length", b"%d" % len(content))
        for read in reads:
            for event in server.receive_data(read):
                if isinstance(event, events.RequestReceived):
                    server.send_headers(event.stream_id, [(b":status", b"200"), TYPE, length])
                    for start in range(0, len(content), 16384):
                        server.send_data(event.stream_id, content[start : start + 16384])
                    server.end_stream(event.stream_id)
            octets += len(server.data_to_send())
        return octets

    def feeder() -> Feed:
        server = connection.H2Connection(config)
        server.initiate_connection()

        def feed(octets: bytes) -> bool:
            try:
                server.receive_data(octets)
            except exceptions.ProtocolError:
                return True
            server.data_to_send()
            return False

        return feed

    return serve, feeder


def of_zttp() -> tuple[Serve, Callable[[], Feed]]:
    zttp = importlib.import_module("zttp")

    def serve(reads: list[bytes], content: bytes) -> int:
        server, octets = zttp.Connection(zttp.SERVER, protocol=zttp.HTTP2), 0
        length = (b"content-length", b"%d" % len(content))
        for read in reads:
            server.receive_data(read)
            while (event := server.next_event()) is not zttp.NEED_DATA:
                if isinstance(event, zttp.Request):
                    stream = server.stream(event.stream_id)
                    stream.send_response(200, [TYPE, length])
                    stream.send_data(content)
                    stream.end_message()
            octets += len(server.data_to_send())
        return octets

    def feeder() -> Feed:
        server = zttp.Connection(zttp.SERVER, protocol=zttp.HTTP2)

        def feed(octets: bytes) -> bool:
            try:
                server.receive_data(octets)
                while server.next_event() is not zttp.NEED_DATA:
                    pass
            except zttp.ProtocolError:
                return True
            server.data_to_send()
            return False

        return feed

    return serve, feeder


def engines() -> dict[str, tuple[Serve, Callable[[], Feed]]]:
    found: dict[str, tuple[Serve, Callable[[], Feed]]] = {"switchover": (ours, feed_ours)}
    for name, make in (
        ("h2", lambda: of_h2_family("h2")),
        ("jh2", lambda: of_h2_family("jh2")),
        ("zttp", of_zttp),
    ):
        try:
            found[name] = make()
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)
    return found


# The attacks: endless frames, each legal by itself.

BLOCK = hpack.Encoder().encode(REQUEST)


def rapid_reset() -> Iterator[bytes]:
    for number in range(1, 20_001, 2):
        yield frame(1, 5, number, BLOCK if number == 1 else b"\x82\x86\x84\xc0")
        yield frame(3, 0, number, b"\0\0\0\x08")


def made_resets() -> Iterator[bytes]:
    for number in range(1, 20_001, 2):
        yield frame(1, 5, number, BLOCK if number == 1 else b"\x82\x86\x84\xc0")
        yield frame(8, 0, number, bytes(4))


def continuation() -> Iterator[bytes]:
    yield frame(1, 1, 1, BLOCK)
    for _ in range(20_000):
        yield frame(9, 0, 1, b"")


def empty_data() -> Iterator[bytes]:
    yield frame(1, 4, 1, BLOCK)
    for _ in range(20_000):
        yield frame(0, 0, 1, b"")


def repeated(octets: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: (octets for _ in range(20_000))


ATTACKS: dict[str, Callable[[], Iterator[bytes]]] = {
    "rapid reset (CVE-2023-44487)": rapid_reset,
    "server-made resets (CVE-2025-8671)": made_resets,
    "CONTINUATION": continuation,
    "empty DATA": empty_data,
    "PING": repeated(frame(6, 0, 0, bytes(8))),
    "SETTINGS": repeated(frame(4, 0, 0, b"")),
    "PRIORITY": repeated(frame(2, 0, 3, bytes(5))),
}


def ended_after(feed: Feed, frames: Iterator[bytes]) -> str:
    feed(OPENING)
    for number, octets in enumerate(frames, 1):
        if feed(octets):
            return str(number)
    return "never"


def bomb(feed: Feed) -> str:
    """Sixteen thousand octets that name an entry of four thousand, 64 MB in all."""
    value = b"x" * 4000
    length = len(value) - 127
    entry = b"\x40\x01a\x7f" + bytes([length & 0x7F | 0x80, length >> 7]) + value
    feed(OPENING)
    feed(frame(1, 5, 1, b"\x82\x86\x84\x01\x01a" + entry))
    tracemalloc.start()
    feed(frame(1, 5, 3, b"\x82\x86\x84\x01\x01a" + b"\xbe" * 16000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"{peak // 1024} KiB"


def microseconds(serve: Serve, reads: list[bytes], content: bytes) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        serve(reads, content)
        best = min(best, time.process_time() - start)
    return best / (len(reads) - 1) * 1e6


def row(label: str, cells: list[Any]) -> None:
    print(f"| {label} | {' | '.join(map(str, cells))} |")


def main() -> None:
    found = engines()
    row("", list(found))
    row("---", ["---"] * len(found))
    for label, reads, content in (
        ("the same GET, 5 octets", requests(2000, distinct=False), b"plain"),
        ("GETs that differ, 5 octets", requests(2000, distinct=True), b"plain"),
        ("GET, 1 MiB", requests(20, distinct=False), bytes(1 << 20)),
    ):
        cells = [f"{microseconds(serve, reads, content):.1f}" for serve, _ in found.values()]
        row(label, cells)
    for label, attack in ATTACKS.items():
        row(label, [ended_after(feeder(), attack()) for _, feeder in found.values()])
    row("header bomb, peak", [bomb(feeder()) for _, feeder in found.values()])


if __name__ == "__main__":
    main()
