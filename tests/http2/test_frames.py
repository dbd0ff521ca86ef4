"""Frames, streams and windows as a server sees them (RFC 9113 §3.4 to §6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hyperframe.frame import DataFrame, PingFrame, SettingsFrame

from switchover.errors import RemoteProtocolError
from switchover.http.events import (
    ContentReceived,
    Failed,
    MessageComplete,
    PeerClosed,
    RequestReceived,
)
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http2 import (
    PREFACE,
    ErrorCode,
    GoAway,
    ServerConnection,
    Settings,
    SettingsReceived,
    StreamReset,
    WindowOpened,
)

PROTOCOL = ErrorCode.PROTOCOL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
CLOSED = ErrorCode.STREAM_CLOSED

GET_BLOCK = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")


def answer(peer: Any, stream_id: int, content: bytes = b"", *, end: bool = True) -> int:
    return peer.machine.send_response(stream_id, Response(200, content=content), end=end)


def fails(peer: Any, octets: bytes) -> ErrorCode:
    """Send ``octets``, which are to end the connection; return the code it ended with."""
    events = peer.send(octets)
    assert [type(event) for event in events if isinstance(event, Failed)] == [Failed]
    assert peer.machine.close_expected()
    code = peer.end()
    peer.send(peer.ping())
    assert peer.frames() == []  # nothing more is read
    return ErrorCode(code)


class TestPreface:
    """RFC 9113 §3.4."""

    def test_server_sends_settings_first(self, raw_client: Any) -> None:
        """H2-01, H2C-16, RFC 9113 §3.4: SETTINGS, before anything has arrived."""
        assert raw_client.kinds()[0] == "Settings"

    def test_settings_are_acknowledged(self, raw_client: Any) -> None:
        """H2-01, RFC 9113 §6.5.3: SETTINGS → SETTINGS with ACK."""
        raw_client.frames()
        events = raw_client.send(PREFACE, raw_client.settings({4: 10}))
        assert isinstance(events[0], SettingsReceived)
        assert events[0].settings.initial_window_size == 10
        (ack,) = raw_client.frames()
        assert isinstance(ack, SettingsFrame)
        assert "ACK" in ack.flags

    def test_preface_in_single_octets(self, raw_client: Any) -> None:
        """H2C-16: reads of one octet make no difference."""
        for octet in PREFACE + raw_client.settings() + raw_client.get(1):
            raw_client.machine.receive_data(bytes([octet]))
        events = raw_client.machine.events_received()
        assert any(getattr(e, "event", None).__class__ is RequestReceived for e in events)

    @pytest.mark.parametrize(
        "octets",
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
        ],
    )
    def test_anything_else_ends_the_connection(self, raw_client: Any, octets: bytes) -> None:
        """H2C-14, ALPN-04, RFC 9113 §3.4: an invalid preface is PROTOCOL_ERROR."""
        assert fails(raw_client, octets) == PROTOCOL

    def test_wrong_preface_in_pieces(self, raw_client: Any) -> None:
        """H2C-14: however the wrong octets are cut."""
        raw_client.send(b"PRI * HTTP/2.0\r\n")
        assert fails(raw_client, b"\r\nSM\r\n\rX") == PROTOCOL

    @pytest.mark.parametrize("kind", ["ping", "get", "ack"])
    def test_first_frame_must_be_settings(self, raw_client: Any, kind: str) -> None:
        """H2-01, RFC 9113 §3.4: anything else is PROTOCOL_ERROR."""
        first = {
            "ping": raw_client.ping(),
            "get": raw_client.get(1),
            "ack": raw_client.settings(ack=True),
        }[kind]
        assert fails(raw_client, PREFACE + first) == PROTOCOL


class TestSettings:
    """RFC 9113 §6.5."""

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            pytest.param((4, 0, 1, b""), PROTOCOL, id="on a stream"),
            pytest.param((4, 0, 0, b"\0\1\0\0\0"), SIZE, id="no multiple of six"),
            pytest.param((4, 1, 0, b"\0\1\0\0\0\0"), SIZE, id="ACK with payload"),
            pytest.param((4, 0, 0, b"\0\2\0\0\0\2"), PROTOCOL, id="ENABLE_PUSH 2"),
            pytest.param((4, 0, 0, b"\0\4\x80\0\0\0"), FLOW, id="INITIAL_WINDOW_SIZE 2^31"),
            pytest.param((4, 0, 0, b"\0\5\0\0\0\1"), PROTOCOL, id="MAX_FRAME_SIZE 1"),
            pytest.param((4, 0, 0, b"\0\5\1\0\0\0"), PROTOCOL, id="MAX_FRAME_SIZE 2^24"),
            pytest.param((4, 0, 0, b"\0\x08\0\0\0\2"), PROTOCOL, id="ENABLE_CONNECT 2"),
        ],
    )
    def test_checks(self, client: Any, frame: tuple[int, int, int, bytes], code: int) -> None:
        """H2-02, WS2-01, RFC 9113 §6.5, §6.5.2, RFC 8441 §3."""
        assert fails(client, client.raw(*frame)) == code

    def test_unknown_settings_are_ignored(self, client: Any) -> None:
        """H2-02, RFC 9113 §6.5.2: "MUST ignore" a setting with an unknown identifier."""
        client.send(client.settings({0x99: 7, 3: 5}))
        assert client.machine.peer_settings.max_concurrent_streams == 5

    def test_values_apply_in_order(self, client: Any) -> None:
        """H2-01, RFC 9113 §6.5.3: the last of two values holds."""
        client.send(client.raw(4, 0, 0, b"\0\4\0\0\0\1\0\4\0\0\0\2"))
        assert client.machine.peer_settings.initial_window_size == 2

    def test_all_known_settings_are_kept(self, client: Any) -> None:
        client.send(client.settings({1: 0, 2: 1, 5: 20000, 6: 9}))
        settings = client.machine.peer_settings
        assert (settings.max_frame_size, settings.max_header_list_size) == (20000, 9)
        client.send(client.get(1))
        answer(client, 1)
        assert client.kinds() == ["Settings", "Headers"]

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({}, {3: 100, 4: 262144, 6: 65536}),
            (
                {"max_concurrent_streams": 7, "max_frame_size": 20000},
                {3: 7, 4: 262144, 5: 20000, 6: 65536},
            ),
            ({"enable_connect_protocol": True}, {3: 100, 4: 262144, 6: 65536, 8: 1}),
        ],
    )
    def test_what_the_server_tells(self, clock: Any, options: Any, told: dict[int, int]) -> None:
        """WS2-01, RFC 8441 §3: ENABLE_CONNECT_PROTOCOL stands there only if told so."""
        machine = ServerConnection(clock=clock, settings=Settings(**options))
        octets = b"".join(machine.data_to_send())
        frame, length = SettingsFrame.parse_frame_header(memoryview(octets[:9]))
        frame.parse_body(memoryview(octets[9 : 9 + length]))
        assert frame.settings == told


class TestFrames:
    """RFC 9113 §4, §5.5."""

    def test_unknown_types_are_ignored(self, client: Any) -> None:
        """H2-03, RFC 9113 §5.5."""
        assert client.send(client.raw(0xBB, 0xFF, 0, b"x"), client.raw(0xBB, 0, 1, b"")) == []
        assert client.frames() == []

    def test_unknown_flags_are_ignored(self, client: Any) -> None:
        """H2-03, RFC 9113 §4.1."""
        client.send(client.raw(6, 0x16, 0, b"12345678"))
        assert client.kinds() == ["Ping"]

    def test_reserved_bit_is_ignored(self, client: Any) -> None:
        """RFC 9113 §4.1: the high bit of the stream number "MUST be ignored"."""
        client.send(client.raw(1, 5, 0x80000001, GET_BLOCK))
        assert client.machine.request_on(1).target == "/"

    @pytest.mark.parametrize("between", ["unknown", "data", "headers", "other stream"])
    def test_nothing_comes_between_the_frames_of_a_field_section(
        self, client: Any, between: str
    ) -> None:
        """H2-03, RFC 9113 §6.2, §6.10: else PROTOCOL_ERROR."""
        frame = {
            "unknown": client.raw(0xBB, 0, 0, b""),
            "data": client.data(1, b"x"),
            "headers": client.get(3),
            "other stream": client.continuation(3, b""),
        }[between]
        assert fails(client, client.raw(1, 1, 1, GET_BLOCK[:5]) + frame) == PROTOCOL

    def test_field_section_in_three_frames(self, client: Any) -> None:
        """RFC 9113 §6.10: HEADERS, CONTINUATION, CONTINUATION."""
        events = client.send_on_streams(
            client.raw(1, 1, 1, GET_BLOCK[:3]),
            client.continuation(1, GET_BLOCK[3:6], end=False),
            client.continuation(1, GET_BLOCK[6:]),
        )
        assert events[0][1].request.authority == "www.example.com"
        assert isinstance(events[1][1], MessageComplete)

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            pytest.param((0, 0, 1, bytes(16385)), SIZE, id="over MAX_FRAME_SIZE"),
            pytest.param((6, 0, 0, bytes(7)), SIZE, id="PING of 7"),
            pytest.param((3, 0, 1, bytes(3)), SIZE, id="RST_STREAM of 3"),
            pytest.param((8, 0, 0, bytes(3)), SIZE, id="WINDOW_UPDATE of 3"),
            pytest.param((7, 0, 0, bytes(7)), SIZE, id="GOAWAY of 7"),
            pytest.param((0, 8, 1, b""), SIZE, id="padded DATA of 0"),
            pytest.param((1, 0x24, 3, bytes(4)), SIZE, id="HEADERS with half a priority"),
            pytest.param((0, 8, 1, b"\5abcd"), PROTOCOL, id="DATA with too much padding"),
            pytest.param((1, 0xC, 3, b"\5abcd"), PROTOCOL, id="HEADERS with too much padding"),
            pytest.param((6, 0, 1, bytes(8)), PROTOCOL, id="PING on a stream"),
            pytest.param((7, 0, 1, bytes(8)), PROTOCOL, id="GOAWAY on a stream"),
            pytest.param((0, 0, 0, b"x"), PROTOCOL, id="DATA on 0"),
            pytest.param((1, 5, 0, GET_BLOCK), PROTOCOL, id="HEADERS on 0"),
            pytest.param((2, 0, 0, bytes(5)), PROTOCOL, id="PRIORITY on 0"),
            pytest.param((3, 0, 0, bytes(4)), PROTOCOL, id="RST_STREAM on 0"),
            pytest.param((9, 4, 1, b""), PROTOCOL, id="CONTINUATION of nothing"),
            pytest.param((9, 4, 0, b""), PROTOCOL, id="CONTINUATION on 0"),
            pytest.param((5, 4, 1, bytes(4)), PROTOCOL, id="PUSH_PROMISE"),
            pytest.param((1, 5, 3, b"\x80"), ErrorCode.COMPRESSION_ERROR, id="no field section"),
        ],
    )
    def test_faulty_frames(self, client: Any, frame: Any, code: int) -> None:
        """H2-04, RFC 9113 §4.2, §6: sizes and streams."""
        client.send(client.post(1))
        assert fails(client, client.raw(*frame)) == code

    def test_larger_frames_once_allowed(self, new_server: Callable[..., Any]) -> None:
        """RFC 9113 §4.2: up to what our SETTINGS say."""
        client = new_server(settings=Settings(max_frame_size=20000))
        client.send(client.post(1))
        (event,) = client.send_on_streams(client.data(1, bytes(20000)))
        assert event == (1, ContentReceived(bytes(20000)))

    def test_our_frames_keep_to_the_peers_limit(self, new_server: Callable[..., Any]) -> None:
        """H2-04, RFC 9113 §4.2: DATA and field sections over 16384 octets are cut."""
        client = new_server()
        client.send(client.get(1), client.get(3))
        answer(client, 1, b"x" * 40000)
        frames = [f for f in client.frames() if isinstance(f, DataFrame)]
        assert [len(f.data) for f in frames] == [16384, 16384, 7232]
        assert ["END_STREAM" in f.flags for f in frames] == [False, False, True]
        client.machine.send_response(3, Response(204, Fields({"x": "ä" * 40000})), end=True)
        octets = b"".join(client.machine.data_to_send())
        kinds, position = [], 0
        while position < len(octets):
            length = int.from_bytes(octets[position : position + 3], "big")
            assert length <= 16384
            kinds.append((octets[position + 3], octets[position + 4]))
            position += 9 + length
        assert kinds == [(1, 1), (9, 0), (9, 4)]

    def test_padding_is_taken_off(self, client: Any) -> None:
        """RFC 9113 §6.1, §6.2: and counts against the windows all the same."""
        padded = client.raw(
            1,
            0xC,
            1,
            b"\3"
            + client.encoder.encode(
                [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/")]
            )
            + bytes(3),
        )
        events = client.send_on_streams(padded, client.raw(0, 9, 1, b"\2hello\0\0"))
        assert events[1:] == [(1, ContentReceived(b"hello")), (1, MessageComplete())]


class TestStreams:
    """RFC 9113 §5.1."""

    @pytest.mark.parametrize("stream_id", [2, 3, 1])
    def test_numbers_are_odd_and_ascend(self, client: Any, stream_id: int) -> None:
        """H2-05, RFC 9113 §5.1.1: else PROTOCOL_ERROR (a used one: STREAM_CLOSED)."""
        client.send(client.get(1), client.get(5))
        answer(client, 1)
        code = fails(client, client.get(stream_id))
        assert code == (CLOSED if stream_id == 1 else PROTOCOL)

    @pytest.mark.parametrize("stream_id", [1, 2])
    @pytest.mark.parametrize("kind", ["data", "rst", "window"])
    def test_idle_streams_take_headers_only(self, client: Any, kind: str, stream_id: int) -> None:
        """H2-05, RFC 9113 §5.1: DATA, RST_STREAM, WINDOW_UPDATE → PROTOCOL_ERROR."""
        frame = {
            "data": client.data(stream_id, b"x"),
            "rst": client.rst(stream_id),
            "window": client.window(stream_id, 5),
        }[kind]
        assert fails(client, frame) == PROTOCOL

    @pytest.mark.parametrize("kind", ["data", "headers"])
    def test_half_closed_streams_take_no_more(self, client: Any, kind: str) -> None:
        """H2-05, RFC 9113 §5.1: a stream error STREAM_CLOSED, and others go on."""
        client.send(client.get(1), client.get(3))
        frame = client.data(1, b"x") if kind == "data" else client.get(1)
        (event,) = client.send(frame)
        assert isinstance(event, StreamReset)
        assert event.error is not None
        assert client.resets() == [(1, CLOSED)]
        answer(client, 3)
        assert client.kinds() == ["Headers"]

    @pytest.mark.parametrize("kind", ["data", "headers"])
    def test_closed_streams_take_no_more(self, client: Any, kind: str) -> None:
        """H2-05, RFC 9113 §5.1: after END_STREAM both ways, STREAM_CLOSED."""
        client.send(client.get(1))
        answer(client, 1)
        frame = client.data(1, b"x") if kind == "data" else client.get(1)
        assert fails(client, frame) == CLOSED

    def test_closed_streams_ignore_window_updates_and_resets(self, client: Any) -> None:
        """RFC 9113 §5.1: they may arrive for a while; libcurl sends them."""
        client.send(client.get(1))
        answer(client, 1)
        client.frames()
        assert client.send(client.window(1, 10), client.rst(1), client.priority(1)) == []
        assert client.frames() == []

    def test_frames_under_way_to_a_stream_we_reset_are_dropped(self, client: Any) -> None:
        """RFC 9113 §5.1: "MUST ignore frames that it receives on closed streams after it has
        sent a RST_STREAM frame"; and their window is given back."""
        client.send(client.post(1))
        client.machine.reset(1)
        assert client.resets() == [(1, ErrorCode.CANCEL)]
        assert client.send(client.data(1, bytes(9000)), client.headers(1, [(b"a", b"b")])) == []
        for _ in range(60):
            client.send(client.data(1, bytes(9000)))
        assert 0 in client.increments()

    def test_frames_after_the_peers_reset_are_a_fault(self, client: Any) -> None:
        """RFC 9113 §5.1: the peer that has sent RST_STREAM sends nothing more."""
        (event,) = client.send(client.post(1), client.rst(1, 5))[1:]
        assert event == StreamReset(1, 5)
        assert fails(client, client.data(1, b"x")) == CLOSED

    def test_too_many_streams_are_refused(self, new_server: Callable[..., Any]) -> None:
        """RFC 9113 §5.1.2: REFUSED_STREAM, which says that it may be tried again."""
        client = new_server(settings=Settings(max_concurrent_streams=2))
        client.send(client.get(1), client.get(3))
        assert client.send(client.get(5)) == []
        assert client.resets() == [(5, ErrorCode.REFUSED_STREAM)]
        answer(client, 1)
        (event, _) = client.send(client.get(7))
        assert event.stream_id == 7

    def test_priorities_are_ignored_gracefully(self, client: Any) -> None:
        """RFC 9113 §5.3, §6.3: on idle streams too, as nghttp sends them."""
        assert client.send(*(client.priority(number) for number in (3, 5, 7, 9, 11))) == []
        with_priority = client.raw(1, 0x25, 13, b"\0\0\0\x0b\x0f" + GET_BLOCK)
        assert len(client.send(with_priority)) == 2
        assert client.frames() == []

    def test_stream_cannot_depend_on_itself(self, client: Any) -> None:
        """RFC 7540 §5.3.1: a stream error PROTOCOL_ERROR; on an idle stream the connection's,
        since no RST_STREAM may be sent for one (RFC 9113 §6.4)."""
        client.send(client.raw(1, 0x25, 1, b"\0\0\0\1\0" + GET_BLOCK))
        assert client.resets() == [(1, PROTOCOL)]
        client.send(client.get(3))
        client.send(client.raw(2, 0, 3, b"\0\0\0\3\0"))
        assert client.resets() == [(3, PROTOCOL)]
        assert fails(client, client.raw(2, 0, 9, b"\0\0\0\x09\0")) == PROTOCOL

    def test_priority_of_a_wrong_size_ends_the_stream(self, client: Any) -> None:
        """RFC 9113 §6.3: FRAME_SIZE_ERROR."""
        client.send(client.get(1))
        client.send(client.raw(2, 0, 1, bytes(4)))
        assert client.resets() == [(1, SIZE)]

    def test_old_gaps_are_forgotten(self, client: Any) -> None:
        """Numbers left out are remembered for a while only: memory is bounded."""
        for number in range(1, 200, 6):
            client.send(client.get(number), client.rst(number))
        assert len(client.machine._engine._gaps) <= 16
        assert fails(client, client.get(197)) == PROTOCOL

    def test_old_resets_are_forgotten(self, client: Any) -> None:
        for number in range(1, 601, 2):
            client.send(client.get(number))
            client.machine.reset(number)
        assert len(client.machine._engine._resets) <= 256


class TestWindows:
    """RFC 9113 §6.9."""

    def test_sender_stops_at_the_streams_window(self, new_server: Callable[..., Any]) -> None:
        """H2-09, RFC 9113 §6.9.1."""
        client = new_server(greet={4: 10})
        client.send(client.get(1))
        assert answer(client, 1, b"x" * 25) == 10
        assert client.machine.send_window(1) == 0
        assert client.content(1) == b"x" * 10
        assert client.send(client.window(1, 8)) == [WindowOpened(1)]
        assert client.machine.send_content(1, b"x" * 15, end=True) == 8
        client.send(client.window(1, 100))
        assert client.machine.send_content(1, b"x" * 7, end=True) == 7
        frames = client.frames()
        assert [len(f.data) for f in frames] == [8, 7]
        assert "END_STREAM" in frames[1].flags

    def test_sender_stops_at_the_connections_window(self, new_server: Callable[..., Any]) -> None:
        """H2-09, RFC 9113 §6.9.1: all streams together; the longest waiting goes first."""
        client = new_server(greet={4: 1_000_000})
        client.send(client.get(1), client.get(3))
        assert answer(client, 1, bytes(65000)) == 65000
        client.send(client.get(5))
        assert answer(client, 3, bytes(1000)) == 535
        assert answer(client, 5, bytes(1000)) == 0
        assert client.send(client.window(0, 1000)) == [WindowOpened(3), WindowOpened(5)]

    def test_window_of_a_stream_alone_opens_nothing(self, new_server: Callable[..., Any]) -> None:
        client = new_server(greet={4: 1_000_000})
        client.send(client.get(1))
        assert answer(client, 1, bytes(70000)) == 65535
        assert client.send(client.window(1, 1000)) == []
        assert client.send(client.window(0, 1000)) == [WindowOpened(1)]

    @pytest.mark.parametrize("stream_id", [0, 1])
    def test_increment_of_zero(self, client: Any, stream_id: int) -> None:
        """H2-09, RFC 9113 §6.9: PROTOCOL_ERROR, of the stream or the connection."""
        client.send(client.get(1))
        if stream_id:
            client.send(client.window(1, 0))
            assert client.resets() == [(1, PROTOCOL)]
        else:
            assert fails(client, client.window(0, 0)) == PROTOCOL

    @pytest.mark.parametrize("stream_id", [0, 1])
    def test_overflow(self, client: Any, stream_id: int) -> None:
        """H2-09, RFC 9113 §6.9.1: FLOW_CONTROL_ERROR beyond 2^31-1."""
        client.send(client.get(1))
        octets = client.window(stream_id, 2**31 - 1)
        if stream_id:
            client.send(octets)
            assert client.resets() == [(1, FLOW)]
        else:
            assert fails(client, octets) == FLOW

    def test_settings_move_open_windows(self, new_server: Callable[..., Any]) -> None:
        """H2-09, RFC 9113 §6.9.2: below zero too, and up again."""
        client = new_server(greet={4: 10})
        client.send(client.get(1))
        assert answer(client, 1, bytes(100)) == 10
        client.send(client.settings({4: 5}))
        assert client.machine.send_window(1) == 0
        client.send(client.window(1, 5))
        assert client.machine.send_window(1) == 0
        events = client.send(client.settings({4: 25}))
        assert WindowOpened(1) in events
        assert client.machine.send_window(1) == 20

    def test_settings_that_overflow_a_window(self, client: Any) -> None:
        """H2-09, RFC 9113 §6.9.2: FLOW_CONTROL_ERROR."""
        client.send(client.get(1), client.window(1, 2**31 - 1 - 65535))
        assert fails(client, client.settings({4: 65536})) == FLOW

    def test_receiver_grants_what_has_been_consumed(self, new_server: Callable[..., Any]) -> None:
        """H2-09, RFC 9113 §6.9: window comes back as the application consumes, not before."""
        client = new_server(
            settings=Settings(initial_window_size=65535, connection_window_size=65535)
        )
        client.send(client.post(1), *(client.data(1, bytes(10000)) for _ in range(6)))
        assert client.increments() == {}
        client.machine.acknowledge(1, 20000)
        assert client.increments() == {}
        client.machine.acknowledge(1, 20000)
        assert client.increments() == {0: 40000, 1: 40000}

    @pytest.mark.parametrize("window", ["stream", "connection"])
    def test_peer_that_exceeds_a_window(self, new_server: Callable[..., Any], window: str) -> None:
        """H2-09, RFC 9113 §6.9.1: FLOW_CONTROL_ERROR."""
        size = 65535 if window == "stream" else 200_000
        client = new_server(
            settings=Settings(initial_window_size=size, connection_window_size=100_000)
        )
        client.send(client.post(1))
        piece = client.data(1, bytes(16000))
        if window == "stream":
            client.send(piece * 5)
            assert client.resets() == [(1, FLOW)]
        else:
            assert fails(client, piece * 7) == FLOW

    def test_window_of_a_stream_that_ends_is_given_back(
        self, new_server: Callable[..., Any]
    ) -> None:
        """What nobody will consume any more does not choke the other streams."""
        client = new_server(settings=Settings(connection_window_size=65535))
        client.send(client.post(1), *(client.data(1, bytes(10000)) for _ in range(6)))
        client.send(client.rst(1))
        assert client.increments() == {0: 60000}
        client.machine.acknowledge(1, 60000)
        assert client.frames() == []

    def test_no_window_for_a_side_that_has_ended(self, client: Any) -> None:
        client.send(client.post(1), *(client.data(1, bytes(16000)) for _ in range(10)))
        client.send(client.data(1, b"x", end=True))
        client.machine.acknowledge(1, 160_001)
        assert 1 not in client.increments()

    def test_smaller_window_holds_once_acknowledged(self, raw_client: Any, clock: Any) -> None:
        """RFC 9113 §6.5.3, §6.9.2: until the ACK the peer may go by 65535."""
        peer = type(raw_client)(
            ServerConnection(clock=clock, settings=Settings(initial_window_size=1000))
        )
        peer.send(PREFACE, peer.settings(), peer.post(1), peer.data(1, bytes(16000)))
        assert peer.resets() == []
        peer.send(peer.settings(ack=True), peer.post(3))
        peer.send(peer.data(3, bytes(1001)))
        assert peer.resets() == [(3, FLOW)]


class TestConnection:
    """RFC 9113 §6.7, §6.8."""

    def test_ping_comes_back(self, client: Any) -> None:
        """H2-10, RFC 9113 §6.7: ACK with the same octets."""
        client.send(client.ping(b"abcdefgh"))
        (frame,) = client.frames()
        assert isinstance(frame, PingFrame)
        assert (frame.opaque_data, frame.flags) == (b"abcdefgh", {"ACK"})

    def test_acknowledged_ping_is_not_answered(self, client: Any) -> None:
        """RFC 9113 §6.7: "An endpoint MUST NOT respond to PING frames containing this flag"."""
        client.send(client.ping(ack=True))
        assert client.frames() == []

    def test_client_that_leaves_is_served_to_the_end(self, client: Any) -> None:
        """H2-10, RFC 9113 §6.8."""
        client.send(client.get(1))
        assert client.send(client.goaway(0, 0, b"bye")) == [GoAway(0, 0, b"bye")]
        answer(client, 1)
        assert client.kinds() == ["Headers"]

    def test_graceful_end(self, client: Any) -> None:
        """H2-10, RFC 9113 §6.8: GOAWAY with 2^31-1, then, a round trip later, the last."""
        client.send(client.get(1))
        client.machine.shutdown()
        first, ping = client.frames()
        assert (first.last_stream_id, first.error_code) == (2**31 - 1, 0)
        client.send(client.get(3))  # was under way
        client.send(client.ping(ping.opaque_data, ack=True))
        (second,) = client.frames()
        assert second.last_stream_id == 3
        assert client.send(client.get(5), client.data(5, b"x") * 2) == []
        assert client.frames() == []  # ignored, as the GOAWAY said
        answer(client, 1)
        assert not client.machine.close_expected()
        answer(client, 3)
        assert client.machine.close_expected()

    def test_graceful_end_of_a_peer_that_does_not_answer(self, client: Any) -> None:
        client.machine.shutdown()
        client.frames()
        client.machine.shutdown()
        assert client.kinds() == ["GoAway"]
        assert client.machine.close_expected()
        client.machine.shutdown()
        client.send(client.ping(b"\0drainin", ack=True))
        assert client.frames() == []

    def test_sudden_end(self, client: Any) -> None:
        client.send(client.get(1))
        client.machine.close(ErrorCode.INTERNAL_ERROR, "so be it")
        (frame,) = client.frames()
        assert (frame.last_stream_id, frame.error_code) == (1, ErrorCode.INTERNAL_ERROR)
        assert frame.additional_data == b"so be it"
        assert client.machine.close_expected()
        client.machine.close()
        client.machine.shutdown()
        assert client.frames() == []

    def test_goaway_says_why(self, client: Any) -> None:
        """RFC 9113 §5.4.1, §6.8: the last stream, the code, and words for a person."""
        client.send(client.get(1), client.get(3))
        client.send(client.raw(6, 0, 1, bytes(8)))
        (frame,) = client.frames()
        assert frame.last_stream_id == 3
        assert frame.additional_data == b"PING on a stream"

    @pytest.mark.parametrize("busy", [False, True])
    def test_end_of_the_transport(self, client: Any, busy: bool) -> None:
        if busy:
            client.send(client.get(1))
        assert client.machine.rest_expected()
        client.machine.receive_eof()
        client.machine.receive_eof()
        assert not client.machine.rest_expected()
        (event,) = client.machine.events_received()
        assert isinstance(event, Failed if busy else PeerClosed)
        assert client.machine.close_expected()

    def test_end_of_the_transport_after_a_fault_is_no_second_event(self, client: Any) -> None:
        fails(client, client.raw(6, 0, 1, bytes(8)))
        client.machine.receive_eof()
        assert client.machine.events_received() == []

    def test_faults_carry_their_rule(self, client: Any) -> None:
        """The error names the clause; a person can look it up."""
        (event,) = client.send(client.raw(6, 0, 0, bytes(7)))
        assert isinstance(event.error, RemoteProtocolError)
        assert event.error.rule == "RFC 9113 §6.7"
