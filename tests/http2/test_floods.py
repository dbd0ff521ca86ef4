"""Floods of frames that are legal one by one (RFC 9113 §10.5): bounded, each of them.

Time stands still unless a test moves it, so that nothing is recovered by chance.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from switchover.errors import LimitExceeded
from switchover.http.events import Failed, RequestReceived
from switchover.http.messages import Request, Response
from switchover.http2 import ErrorCode, Limits, Settings, StreamReset
from switchover.http2.events import StreamEvent

CALM = ErrorCode.ENHANCE_YOUR_CALM
GET_BLOCK = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")
POST_BLOCK = bytes.fromhex("838684418cf1e3c2e5f23a6ba0ab90f4ff")


def flooded(peer: Any, pieces: Any) -> int:
    """Send ``pieces`` until the connection ends; return how many that took."""
    for number, piece in enumerate(pieces, 1):
        events = peer.send(piece)
        if failures := [event for event in events if isinstance(event, Failed)]:
            assert isinstance(failures[0].error, LimitExceeded)
            assert peer.end() == CALM
            assert peer.machine.close_expected()
            assert peer.send(piece) == []
            return number
    raise AssertionError("the flood was never stopped")


def heads(peer: Any, block: bytes = GET_BLOCK, flags: int = 5) -> Any:
    return (peer.raw(1, flags, number, block) for number in range(1, 1_000_000, 2))


class TestRapidReset:
    """CVE-2023-44487."""

    def test_ends_the_connection(self, client: Any) -> None:
        """SEC-25: 10 000 × HEADERS and RST_STREAM; the work for handlers is bounded."""
        requests = 0
        for number in range(1, 20_000, 2):
            events = client.send(client.raw(1, 5, number, GET_BLOCK), client.rst(number))
            requests += sum(
                isinstance(e, StreamEvent) and isinstance(e.event, RequestReceived) for e in events
            )
            if any(isinstance(event, Failed) for event in events):
                break
        assert client.end() == CALM
        assert requests == 401

    def test_counts_whatever_the_concurrency(self, client: Any) -> None:
        """SEC-25: streams that were reset are closed, so the concurrency limit never bites."""
        assert client.machine.open_streams == 0
        for number in range(1, 401, 2):
            client.send(client.raw(1, 5, number, GET_BLOCK), client.rst(number))
        assert client.machine.open_streams == 0
        assert not client.machine.close_expected()

    def test_is_a_matter_of_rate(self, client: Any, clock: Any) -> None:
        """SEC-25: a browser that leaves pages all day long is no attacker."""
        for number in range(1, 4001, 2):
            clock.now += 0.1
            client.send(client.raw(1, 5, number, GET_BLOCK), client.rst(number))
        assert not client.machine.close_expected()


class TestServerMadeResets:
    """CVE-2025-8671."""

    @pytest.mark.parametrize("fault", ["window", "malformed", "priority", "data after end"])
    def test_ends_the_connection(self, client: Any, fault: str) -> None:
        """SEC-26: frames that provoke RST_STREAM, 10 000 of them."""

        def provoke(number: int) -> bytes:
            if fault == "malformed":
                return client.raw(1, 5, number, b"\x82")
            octets = client.raw(1, 5, number, GET_BLOCK)
            if fault == "window":
                return octets + client.window(number, 0)
            if fault == "priority":
                return octets + client.raw(2, 0, number, number.to_bytes(4, "big") + b"\0")
            return octets + client.data(number, b"x")

        assert flooded(client, map(provoke, range(1, 20_001, 2))) == 101

    def test_refused_streams_count_too(self, new_server: Callable[..., Any]) -> None:
        """SEC-26: more generously, since a peer that has not seen our settings means no harm."""
        client = new_server(settings=Settings(max_concurrent_streams=1))
        assert flooded(client, heads(client)) == 1002


class TestFieldSections:
    def test_continuation_frames(self, client: Any) -> None:
        """SEC-27: endless CONTINUATION, empty or not; nothing of it is decoded."""
        client.send(client.raw(1, 1, 1, b""))
        assert flooded(client, (client.continuation(1, b"", end=False) for _ in range(1000))) == 17

    def test_continuation_octets(self, client: Any) -> None:
        """SEC-27: nor more than 64 KiB before decoding."""
        client.send(client.raw(1, 1, 1, bytes(16384)))
        piece = client.continuation(1, bytes(16384), end=False)
        assert flooded(client, [piece] * 100) == 4

    def test_continuation_while_discarding(self, client: Any) -> None:
        """SEC-27: on a stream that was reset as well."""
        client.send(client.raw(1, 4, 1, POST_BLOCK))
        client.machine.reset(1)
        client.send(client.raw(1, 1, 1, b""))
        assert flooded(client, (client.continuation(1, b"", end=False) for _ in range(1000))) == 17

    def test_bomb(self, client: Any) -> None:
        """SEC-28: an entry of 4000 octets, named 16 000 times by 16 000 octets."""
        value = b"x" * 4000
        length = len(value) - 127
        entry = b"\x40\x01a\x7f" + bytes([length & 0x7F | 0x80, length >> 7]) + value
        client.send(client.raw(1, 5, 1, GET_BLOCK + entry))
        tracemalloc.start()
        # The entry is the newest but one: 62 is :authority no more, it is the entry.
        assert client.send(client.raw(1, 5, 3, GET_BLOCK[:3] + b"\xbe" * 16000)) == []
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000
        client.frames()
        assert client.sections[3][0][0] == (b":status", b"431")
        assert client.send(client.get(5))


class TestControlFrames:
    @pytest.mark.parametrize(
        "kind", ["settings", "ping", "pong", "ack", "priority", "unknown", "goaway"]
    )
    def test_floods(self, client: Any, kind: str) -> None:
        """SEC-29: 100 000 of them from a peer that does not read."""
        frame = {
            "settings": client.settings(),
            "ping": client.ping(),
            "pong": client.ping(ack=True),
            "ack": client.settings(ack=True),
            "priority": client.priority(1, 3),
            "unknown": client.raw(0xBB, 0, 0, b""),
            "goaway": client.goaway(),
        }[kind]
        assert flooded(client, [frame] * 100_000) == 1001

    def test_replies_are_bounded(self, client: Any) -> None:
        """SEC-29: what is owed to a peer that never reads."""
        client.machine.receive_data(client.ping() * 100_000)
        assert sum(map(len, client.machine.data_to_send())) < 20_000

    def test_settings_with_many_entries(self, client: Any) -> None:
        """SEC-29."""
        assert flooded(client, [client.raw(4, 0, 0, b"\0\4\0\0\0\1" * 33)]) == 1

    def test_small_window_updates(self, client: Any) -> None:
        """SEC-30."""
        client.send(client.get(1))
        assert flooded(client, [client.window(1, 1)] * 100_000) == 1001

    def test_window_updates_of_a_real_client_are_no_flood(self, client: Any) -> None:
        client.send(client.get(1))
        for _ in range(5000):
            client.send(client.window(1, 32768))
        assert not client.machine.close_expected()

    def test_empty_data(self, client: Any) -> None:
        """SEC-30: 100 000 empty DATA frames without END_STREAM."""
        client.send(client.post(1))
        assert flooded(client, [client.data(1)] * 100_000) == 1001

    def test_padding_alone(self, client: Any) -> None:
        """SEC-30: DATA of nothing but padding is empty."""
        client.send(client.post(1))
        assert flooded(client, [client.raw(0, 8, 1, b"\0")] * 100_000) == 1001

    def test_frames_on_streams_that_are_gone(self, client: Any) -> None:
        """SEC-30."""
        client.send(client.post(1))
        client.machine.reset(1)
        assert flooded(client, [client.data(1, b"x")] * 100_000) == 1001

    def test_field_sections_on_streams_that_are_gone(self, client: Any) -> None:
        """SEC-27, SEC-30."""
        client.send(client.post(1))
        client.machine.reset(1)
        assert flooded(client, [client.raw(1, 4, 1, b"\x82")] * 100_000) == 1001

    def test_resets_of_streams_that_are_gone(self, client: Any) -> None:
        """SEC-25, SEC-30."""
        client.send(client.get(1), client.rst(1))
        assert flooded(client, [client.rst(1)] * 100_000) == 1001

    def test_a_steady_peer_is_no_flood(self, client: Any, clock: Any) -> None:
        """A PING every 20 ms is allowed for ever."""
        for _ in range(5000):
            clock.now += 0.02
            client.send(client.ping())
        assert not client.machine.close_expected()

    def test_clients_are_protected_as_servers_are(self, server: Any) -> None:
        """SEC-29."""
        assert flooded(server, [server.ping()] * 100_000) == 1001

    def test_client_against_continuation(self, server: Any) -> None:
        """SEC-27."""
        server.machine.send_request(Request("GET", "/", authority="a"), end=True)
        server.send(server.raw(1, 1, 1, b""))
        assert flooded(server, [server.continuation(1, b"", end=False)] * 1000) == 17


class TestStalls:
    """SEC-31: a peer that grants no window."""

    def test_stream_is_dropped(self, new_server: Callable[..., Any], clock: Any) -> None:
        """SEC-31, RFC 9113 §10.5: after the time allowed; the other streams go on."""
        client = new_server(greet={4: 0}, limits=Limits(stall=10))
        client.send(client.get(1), client.get(3))
        assert client.machine.check_stalls(clock.now) is None
        assert client.machine.send_response(1, Response(200, content=bytes(1_000_000))) == 0
        assert client.machine.content_waits
        clock.now += 5
        assert client.machine.send_response(3, Response(200, content=b"x")) == 0
        assert client.machine.check_stalls(clock.now) == clock.now + 5
        clock.now += 5
        assert client.machine.check_stalls(clock.now) == clock.now + 5
        (event,) = client.machine.events_received()
        assert isinstance(event, StreamReset)
        assert event.stream_id == 1
        assert event.error is not None
        assert client.resets() == [(1, ErrorCode.CANCEL)]
        client.send(client.window(3, 1))
        assert client.machine.send_content(3, b"x", end=True) == 1
        assert not client.machine.content_waits

    def test_progress_counts(self, new_server: Callable[..., Any], clock: Any) -> None:
        """SEC-31: a slow reader is not a dead one."""
        client = new_server(greet={4: 0}, limits=Limits(stall=10))
        client.send(client.get(1))
        client.machine.send_response(1, Response(200))
        for _ in range(5):
            client.machine.send_content(1, bytes(1000))
            clock.now += 8
            client.send(client.window(1, 500))
            client.machine.send_content(1, bytes(1000))
            assert client.machine.check_stalls(clock.now) is not None
        assert client.machine.open_streams == 1

    def test_nothing_is_kept_for_the_peer(self, new_server: Callable[..., Any]) -> None:
        """SEC-31: what the window does not take stays with the caller."""
        client = new_server(greet={4: 0})
        client.send(client.get(1))
        client.machine.send_response(1, Response(200))
        client.frames()
        for _ in range(1000):
            assert client.machine.send_content(1, bytes(100_000)) == 0
        assert client.machine.data_to_send() == []

    def test_stalled_streams_that_end_are_forgotten(self, new_server: Callable[..., Any]) -> None:
        client = new_server(greet={4: 0})
        client.send(client.get(1))
        client.machine.send_response(1, Response(200, content=b"x"))
        client.send(client.rst(1))
        assert not client.machine.content_waits
