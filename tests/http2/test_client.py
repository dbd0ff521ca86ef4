"""The client's machine (RFC 9113, RFC 8441)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.events import (
    ContentReceived,
    Failed,
    InterimResponseReceived,
    MessageComplete,
    ResponseReceived,
    Switched,
)
from switchover.http.fields import Fields
from switchover.http.messages import Request
from switchover.http2 import (
    PREFACE,
    ClientConnection,
    ErrorCode,
    GoAway,
    SettingsReceived,
    StreamReset,
)

PROTOCOL = ErrorCode.PROTOCOL_ERROR
OK = [(b":status", b"200")]


def get(target: str = "/", **fields: str) -> Request:
    return Request(
        "GET", target, Fields({"Host": "example.com", **fields}), authority="example.com"
    )


def extended(protocol: str = "websocket", scheme: str = "http") -> Request:
    fields = Fields({"Sec-WebSocket-Version": "13", "Origin": "http://example.com"})
    return Request("CONNECT", "/chat", fields, "2", scheme, "example.com", protocol)


def requested(peer: Any, *requests: Request) -> list[int]:
    numbers = [peer.machine.send_request(request, end=True) for request in requests]
    peer.frames()
    return numbers


class TestOpening:
    def test_preface_and_settings_first(self, clock: Any) -> None:
        """H2C-18, H2-01, RFC 9113 §3.4: and frames may follow without waiting."""
        machine = ClientConnection(clock=clock)
        machine.send_request(get(), end=True)
        octets = b"".join(machine.data_to_send())
        assert octets.startswith(PREFACE)
        assert octets[len(PREFACE) + 3] == 4
        assert b"\0\2\0\0\0\0" in octets  # ENABLE_PUSH 0

    def test_text_of_http_1_is_a_clear_error(self, clock: Any, server: Any) -> None:
        """H2C-18, RFC 9113 §3.4: no hang."""
        peer = type(server)(ClientConnection(clock=clock))
        (event,) = peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        assert isinstance(event, Failed)
        assert peer.end() in (PROTOCOL, ErrorCode.FRAME_SIZE_ERROR)

    def test_first_frame_of_the_server_must_be_settings(self, clock: Any, server: Any) -> None:
        """H2C-18, H2-01."""
        peer = type(server)(ClientConnection(clock=clock))
        (event,) = peer.send(peer.ping())
        assert isinstance(event, Failed)
        assert peer.end() == PROTOCOL

    def test_numbers_are_odd_and_ascend(self, server: Any) -> None:
        """H2-05, RFC 9113 §5.1.1."""
        assert requested(server, get(), get(), get()) == [1, 3, 5]

    @pytest.mark.parametrize("values", [{2: 1}, {8: 2}])
    def test_settings_that_a_server_may_not_send(self, server: Any, values: Any) -> None:
        """WS2-01, H2-02, RFC 9113 §6.5.2: ENABLE_PUSH 1 from a server is PROTOCOL_ERROR."""
        server.send(server.settings(values))
        assert server.end() == PROTOCOL

    def test_pushed_responses_are_refused(self, server: Any) -> None:
        """RFC 9113 §6.6, §8.4."""
        requested(server, get())
        server.send(server.raw(5, 4, 1, b"\0\0\0\2\x82"))
        assert server.end() == PROTOCOL

    @pytest.mark.parametrize("stream_id", [2, 3])
    def test_streams_nobody_opened(self, server: Any, stream_id: int) -> None:
        """H2-05, RFC 9113 §5.1.1."""
        requested(server, get())
        server.send(server.headers(stream_id, OK, end=True))
        assert server.end() == PROTOCOL


class TestRequests:
    def test_field_section(self, server: Any) -> None:
        """RFC 9113 §8.3.1: pseudo-fields first, Host becomes ":authority"."""
        server.machine.send_request(get("/a?b", Accept="*/*"), end=True)
        server.frames()
        assert server.sections[1] == [
            [
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"example.com"),
                (b":path", b"/a?b"),
                (b"accept", b"*/*"),
            ]
        ]

    @pytest.mark.parametrize(
        ("target", "path"), [("http://example.com/x?y", b"/x?y"), ("http://example.com", b"/")]
    )
    def test_absolute_form_is_taken_apart(self, server: Any, target: str, path: bytes) -> None:
        server.machine.send_request(get(target), end=True)
        server.frames()
        assert dict(server.sections[1][0])[b":path"] == path

    def test_options_asterisk_and_no_authority(self, server: Any) -> None:
        server.machine.send_request(Request("OPTIONS", "*", scheme="https"), end=True)
        server.frames()
        assert server.sections[1][0] == [
            (b":method", b"OPTIONS"),
            (b":scheme", b"https"),
            (b":path", b"*"),
        ]

    def test_connection_specific_fields_are_left_out(self, server: Any) -> None:
        """UPG-C-13, RFC 9113 §8.2.2."""
        fields = {"Connection": "keep-alive, te", "Keep-Alive": "x", "TE": "trailers"}
        server.machine.send_request(get(**fields, **{"Transfer-Encoding": "chunked"}))
        server.frames()
        assert dict(server.sections[1][0])[b"te"] == b"trailers"
        assert len(server.sections[1][0]) == 5

    def test_upgrade_is_a_local_error(self, server: Any) -> None:
        """UPG-C-13, RFC 9113 §8.2.2: extended CONNECT takes its place."""
        with pytest.raises(LocalProtocolError, match="extended CONNECT"):
            server.machine.send_request(get(Upgrade="websocket", Connection="upgrade"))
        assert server.frames() == []

    @pytest.mark.parametrize(
        "request_",
        [
            Request("GE T", "/"),
            Request("GET", "/a b"),
            Request("GET", "/a\r\nX: y"),
            Request("GET", "*"),
            Request("GET", "x"),
            Request("GET", "/", authority="u@h"),
            Request("CONNECT", "host:x"),
        ],
    )
    def test_what_cannot_be_sent(self, server: Any, request_: Request) -> None:
        """SEC-33: nothing is written, and the number is not used up."""
        with pytest.raises(LocalProtocolError):
            server.machine.send_request(request_)
        assert server.frames() == []
        assert requested(server, get()) == [1]

    def test_content(self, server: Any) -> None:
        """H2-08: as long as announced."""
        request = Request("POST", "/", Fields({"Content-Length": "5"}), authority="a")
        with pytest.raises(LocalProtocolError):
            server.machine.send_request(request, end=True)
        number = server.machine.send_request(request)
        server.machine.send_content(number, b"12345", end=True)
        assert server.content(number) == b"12345"

    def test_trailers(self, server: Any) -> None:
        number = server.machine.send_request(Request("POST", "/", authority="a"))
        server.machine.send_content(number, b"x")
        server.machine.send_end(number, Fields({"Sum": "1"}))
        server.frames()
        assert server.sections[number][1] == [(b"sum", b"1")]

    def test_only_as_many_streams_as_the_server_takes(self, new_client: Callable[..., Any]) -> None:
        """RFC 9113 §5.1.2: and again when one has ended."""
        server = new_client(greet={3: 2})
        requested(server, get(), get())
        assert not server.machine.may_request()
        assert server.machine.usable()
        with pytest.raises(LocalProtocolError):
            server.machine.send_request(get())
        server.send(server.headers(1, OK, end=True))
        assert requested(server, get()) == [5]

    def test_a_hundred_before_the_server_has_spoken(self, clock: Any) -> None:
        machine = ClientConnection(clock=clock)
        for _ in range(100):
            machine.send_request(get(), end=True)
        assert not machine.may_request()

    def test_numbers_run_out(self, server: Any) -> None:
        """RFC 9113 §5.1.1: then a new connection is needed."""
        server.machine._engine.highest = 2**31 - 3
        assert not server.machine.usable()


class TestResponses:
    def test_whole(self, server: Any) -> None:
        """RFC 9113 §8.1: head, content, end, on the stream of the request."""
        request = get()
        requested(server, request)
        events = server.send_on_streams(
            server.headers(1, [*OK, (b"x", b"y")]),
            server.data(1, b"hello"),
            server.headers(1, [(b"t", b"u")], end=True),
        )
        head, content, end = (event for _, event in events)
        assert isinstance(head, ResponseReceived)
        assert head.request is request
        assert (head.response.status, head.response.version) == (200, "2")
        assert content == ContentReceived(b"hello")
        assert end == MessageComplete(Fields({"t": "u"}))
        assert server.machine.open_streams == 0

    def test_many_at_once(self, server: Any) -> None:
        requested(server, get("/1"), get("/3"))
        events = server.send_on_streams(
            server.headers(3, OK), server.headers(1, OK), server.data(3, b"3", end=True),
            server.data(1, b"1", end=True),
        )  # fmt: skip
        assert [number for number, _ in events] == [3, 1, 3, 3, 1, 1]
        assert events[0][1].request.target == "/3"

    def test_interim(self, server: Any) -> None:
        requested(server, get())
        events = server.send_on_streams(
            server.headers(1, [(b":status", b"103"), (b"link", b"</a>")]),
            server.headers(1, OK, end=True),
        )
        assert isinstance(events[0][1], InterimResponseReceived)
        assert isinstance(events[1][1], ResponseReceived)

    @pytest.mark.parametrize(
        "lines",
        [
            [(b":status", b"101")],
            [(b":status", b"20")],
            [(b":status", b"600")],
            [(b":status", b"2x0")],
            [(b"x", b"y")],
            [*OK, *OK],
            [*OK, (b":path", b"/")],
            [*OK, (b"connection", b"close")],
            [*OK, (b"transfer-encoding", b"chunked")],
            [*OK, (b"content-length", b"x")],
            [*OK, (b"X-Upper", b"y")],
        ],
    )
    def test_malformed(self, server: Any, lines: list[tuple[bytes, bytes]]) -> None:
        """H2-06, H2-07, WS2-08, UPG-S-23, RFC 9113 §8.3.2, §8.6: 101 among them."""
        requested(server, get())
        (event,) = server.send(server.headers(1, lines))
        assert isinstance(event, StreamReset)
        assert event.error is not None
        assert server.resets() == [(1, PROTOCOL)]

    @pytest.mark.parametrize(
        "case",
        ["content first", "interim ends", "trailers go on", "too short", "too long", "HEAD"],
    )
    def test_out_of_order(self, server: Any, case: str) -> None:
        """H2-08, RFC 9113 §8.1, §8.1.1: stream errors."""
        request = get()
        if case == "HEAD":
            request.method = "HEAD"
        requested(server, request)
        five = [*OK, (b"content-length", b"5")]
        # Each is made when it is sent: field sections change the table of the connection.
        frames = {
            "content first": lambda: server.data(1, b"x"),
            "interim ends": lambda: server.headers(1, [(b":status", b"103")], end=True),
            "trailers go on": lambda: server.headers(1, OK) + server.headers(1, [(b"a", b"b")]),
            "too short": lambda: server.headers(1, five) + server.data(1, b"x", end=True),
            "too long": lambda: server.headers(1, five) + server.data(1, b"123456"),
            "HEAD": lambda: server.headers(1, five) + server.data(1, b"12345", end=True),
        }
        server.send(frames[case]())
        assert server.resets() == [(1, PROTOCOL)]

    def test_endless_interim_responses(self, server: Any) -> None:
        """Bounded, like all else a peer can repeat."""
        requested(server, get())
        for _ in range(33):
            server.send(server.headers(1, [(b":status", b"103")]))
        assert server.resets() == [(1, PROTOCOL)]

    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
    def test_length_without_content(self, server: Any, method: str, status: int) -> None:
        """RFC 9113 §8.1.1: these responses may announce what does not come."""
        request = get()
        request.method = method
        requested(server, request)
        lines = [(b":status", b"%d" % status), (b"content-length", b"9")]
        events = server.send_on_streams(server.headers(1, lines, end=True))
        assert isinstance(events[-1][1], MessageComplete)

    def test_section_over_the_limit(self, server: Any) -> None:
        """SEC-28: the stream ends, the connection lives."""
        requested(server, get(), get())
        server.send(server.headers(1, [*OK, *((b"n%d" % n, b"v") for n in range(200))]))
        assert server.resets() == [(1, ErrorCode.ENHANCE_YOUR_CALM)]
        assert len(server.send(server.headers(3, OK, end=True))) == 2

    def test_reset_by_the_server(self, server: Any) -> None:
        """RFC 9113 §8.7: only with REFUSED_STREAM nothing was done."""
        requested(server, get(), get())
        (first,) = server.send(server.rst(1, 7))
        (second,) = server.send(server.rst(3, 0x99))
        assert (first.may_retry, second.may_retry) == (True, False)

    def test_trailers_after_our_reset(self, server: Any) -> None:
        """RFC 9113 §5.1: what was under way is dropped, and the table stays in step."""
        requested(server, get(), get())
        server.machine.reset(1)
        assert server.send(server.headers(1, [*OK, (b"new", b"entry")], end=True)) == []
        events = server.send_on_streams(server.headers(3, [*OK, (b"new", b"entry")], end=True))
        assert events[0][1].response.fields["new"] == "entry"


class TestConnect:
    def test_setting_is_awaited(self, clock: Any, server: Any) -> None:
        """WS2-02, RFC 8441 §3: no :protocol before the server has said 1."""
        peer = type(server)(ClientConnection(clock=clock))
        assert peer.machine.extended_connect_allowed is None
        with pytest.raises(LocalProtocolError, match="has not said"):
            peer.machine.send_request(extended())
        (event,) = peer.send(peer.settings({8: 1}))
        assert isinstance(event, SettingsReceived)
        assert peer.machine.extended_connect_allowed is True
        assert peer.machine.send_request(extended()) == 1

    def test_server_without_the_setting(self, server: Any) -> None:
        """WS2-02: a local error; the caller may fall back."""
        assert server.machine.extended_connect_allowed is False
        with pytest.raises(LocalProtocolError):
            server.machine.send_request(extended())
        assert server.frames() == []

    def test_setting_is_not_taken_back(self, new_client: Callable[..., Any]) -> None:
        """WS2-01, RFC 8441 §3: 1 and then 0 → PROTOCOL_ERROR."""
        server = new_client(greet={8: 1})
        server.send(server.settings({8: 0}))
        assert server.end() == PROTOCOL

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_field_section(self, new_client: Callable[..., Any], scheme: str) -> None:
        """WS2-03, RFC 8441 §4, §5: each pseudo-field once, before the fields."""
        server = new_client(greet={8: 1})
        server.machine.send_request(extended(scheme=scheme))
        (frame,) = server.frames()
        assert "END_STREAM" not in frame.flags
        assert server.sections[1][0] == [
            (b":method", b"CONNECT"),
            (b":scheme", scheme.encode()),
            (b":authority", b"example.com"),
            (b":path", b"/chat"),
            (b":protocol", b"websocket"),
            (b"sec-websocket-version", b"13"),
            (b"origin", b"http://example.com"),
        ]

    @pytest.mark.parametrize("status", [b"200", b"204", b"299"])
    def test_any_2xx_opens(self, new_client: Callable[..., Any], status: bytes) -> None:
        """WS2-08, RFC 8441 §5: then the stream is the protocol's, END_STREAM its FIN."""
        server = new_client(greet={8: 1})
        server.machine.send_request(extended())
        server.frames()
        lines = [(b":status", status), (b"content-length", b"3")]
        events = server.send_on_streams(server.headers(1, lines), server.data(1, b"octets"))
        switched = events[0][1]
        assert isinstance(switched, Switched)
        assert (switched.protocol, switched.response.status) == ("websocket", int(status))
        assert events[1] == (1, ContentReceived(b"octets"))
        server.machine.send_content(1, b"back", end=True)
        assert server.content(1) == b"back"
        assert server.send_on_streams(server.data(1, end=True)) == [(1, MessageComplete())]

    def test_refusal_is_an_ordinary_response(self, new_client: Callable[..., Any]) -> None:
        """WS2-08: on that stream only; others go on."""
        server = new_client(greet={8: 1})
        server.machine.send_request(extended())
        server.machine.send_request(get(), end=True)
        events = server.send_on_streams(
            server.headers(1, [(b":status", b"404")], end=True),
            server.headers(3, OK, end=True),
        )
        assert [type(event) for _, event in events] == [ResponseReceived, MessageComplete] * 2

    def test_101_is_a_stream_error(self, new_client: Callable[..., Any]) -> None:
        """WS2-08, RFC 9113 §8.6."""
        server = new_client(greet={8: 1})
        server.machine.send_request(extended())
        server.frames()
        server.send(server.headers(1, [(b":status", b"101")]))
        assert server.resets() == [(1, PROTOCOL)]

    def test_headers_in_the_tunnel(self, new_client: Callable[..., Any]) -> None:
        """WS2-11, CON-14, RFC 9113 §8.5: a stream error."""
        server = new_client(greet={8: 1})
        server.machine.send_request(extended())
        server.frames()
        server.send(server.headers(1, OK), server.headers(1, [(b"a", b"b")], end=True))
        assert server.resets() == [(1, PROTOCOL)]

    def test_plain(self, server: Any) -> None:
        """CON-14, RFC 9113 §8.5: :method and :authority, nothing else."""
        server.machine.send_request(Request("CONNECT", "target.example:443"))
        server.frames()
        assert server.sections[1][0] == [
            (b":method", b"CONNECT"),
            (b":authority", b"target.example:443"),
        ]
        (event,) = server.send_on_streams(server.headers(1, OK))
        assert event[1].protocol == "CONNECT"

    @pytest.mark.parametrize("protocol", ["", "a b", "a,b"])
    def test_protocol_is_a_token(self, new_client: Callable[..., Any], protocol: str) -> None:
        server = new_client(greet={8: 1})
        with pytest.raises(LocalProtocolError):
            server.machine.send_request(extended(protocol))

    def test_a_tunnel_stays_open(self, server: Any) -> None:
        with pytest.raises(LocalProtocolError):
            server.machine.send_request(Request("CONNECT", "a:1"), end=True)


class TestEnd:
    def test_goaway(self, server: Any) -> None:
        """H2-10, RFC 9113 §6.8: no new streams; those above the last may be tried elsewhere."""
        requested(server, get(), get(), get())
        events = server.send(server.goaway(3, 0, b"timeout"))
        assert events == [GoAway(3, 0, b"timeout"), StreamReset(5, ErrorCode.REFUSED_STREAM)]
        assert not server.machine.may_request()
        assert not server.machine.usable()
        assert server.frames() == []  # no RST_STREAM for what is not processed
        server.send(server.headers(1, OK, end=True))
        assert not server.machine.close_expected()
        server.send(server.headers(3, OK, end=True))
        assert server.machine.close_expected()

    def test_last_number_never_grows(self, server: Any) -> None:
        """H2-10, RFC 9113 §6.8."""
        requested(server, get(), get())
        server.send(server.goaway(1))
        assert server.send(server.goaway(3)) == [GoAway(1, 0, b"")]

    def test_announced_goaway(self, server: Any) -> None:
        """RFC 9113 §6.8: 2^31-1 refuses nothing under way, yet no new streams are opened."""
        requested(server, get())
        assert server.send(server.goaway(2**31 - 1)) == [GoAway(2**31 - 1, 0, b"")]
        assert not server.machine.may_request()
        assert server.machine.open_streams == 1

    def test_graceful_end(self, server: Any) -> None:
        requested(server, get())
        server.machine.shutdown()
        server.machine.shutdown()
        assert server.kinds() == ["GoAway"]
        assert not server.machine.may_request()
        server.send(server.headers(1, OK, end=True))
        assert server.machine.close_expected()

    def test_sudden_end(self, server: Any) -> None:
        server.machine.close()
        assert server.end() == 0
        assert not server.machine.usable()

    def test_answered_ping_of_nobody(self, server: Any) -> None:
        assert server.send(server.ping(ack=True)) == []
