"""From HTTP/1.1 to HTTP/2 by Upgrade, and by prior knowledge (RFC 7540 §3.2, RFC 9113 §3)."""

from __future__ import annotations

from typing import Any

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.events import ContentReceived, MessageComplete, ResponseReceived
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2 import (
    PREFACE,
    ClientConnection,
    ErrorCode,
    PrefaceMatch,
    ServerConnection,
    Settings,
    WindowOpened,
    h2c_request,
    h2c_upgrade,
    match_prefix,
)
from switchover.http2.h2c import decode_settings, encode_settings, settings_of
from switchover.upgrade.decisions import Answer, Ordinary, Select, decide, switching_response
from switchover.upgrade.registry import Registry

SETTINGS = "AAMAAABkAAQAAP__"  # {3: 100, 4: 65535}
REGISTRY = Registry([h2c_upgrade()])


def offer(
    *more: tuple[str, str],
    method: str = "GET",
    target: str = "/path",
    connection: str = "Upgrade, HTTP2-Settings",
    upgrade: str = "h2c",
    settings: tuple[str, ...] = (SETTINGS,),
) -> Request:
    lines = [("Host", "example.com"), ("Connection", connection), ("Upgrade", upgrade)]
    lines += [("HTTP2-Settings", value) for value in settings]
    return Request(method, target, Fields([*lines, *more]), authority="example.com")


def is_upgraded(request: Request, *, secure: bool = False) -> bool:
    """Whether it is; a request that is not gets an ordinary answer."""
    decision = decide(request, REGISTRY, secure=secure)
    if isinstance(decision, Select):
        return True
    assert isinstance(decision, Ordinary)
    return False


class TestOffer:
    """Whether the server switches."""

    @pytest.mark.parametrize(
        "request_",
        [
            pytest.param(
                Request(
                    "GET",
                    "/path",
                    Fields(
                        [
                            ("Host", "127.0.0.1:19301"),
                            ("User-Agent", "curl/7.88.1"),
                            ("Accept", "*/*"),
                            ("Connection", "Upgrade, HTTP2-Settings"),
                            ("Upgrade", "h2c"),
                            ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
                        ]
                    ),
                ),
                id="curl",
            ),
            pytest.param(
                Request(
                    "OPTIONS",
                    "*",
                    Fields(
                        [
                            ("host", "127.0.0.1:19305"),
                            ("connection", "Upgrade, HTTP2-Settings"),
                            ("upgrade", "h2c"),
                            ("http2-settings", "AAMAAABkAAQAAP__"),
                        ]
                    ),
                ),
                id="nghttp",
            ),
            pytest.param(
                Request(
                    "POST",
                    "/path",
                    Fields(
                        [
                            ("Connection", "Upgrade, HTTP2-Settings"),
                            ("Content-Length", "5"),
                            ("Host", "127.0.0.1:19315"),
                            (
                                "HTTP2-Settings",
                                "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
                            ),
                            ("Upgrade", "h2c"),
                        ]
                    ),
                ),
                id="java",
            ),
            pytest.param(offer(method="HEAD"), id="HEAD"),
            pytest.param(offer(upgrade="foo, h2c"), id="second in the list"),
            pytest.param(offer(upgrade="H2C"), id="in capitals"),
            pytest.param(offer(connection="http2-settings,upgrade"), id="other order"),
        ],
    )
    def test_real_clients_are_upgraded(self, request_: Request) -> None:
        """H2C-01, H2C-09: with any method, and content within the limit."""
        assert is_upgraded(request_)

    def test_off_unless_registered(self) -> None:
        """H2C-01: then answered in HTTP/1.1."""
        assert isinstance(decide(offer(), Registry([]), secure=False), Ordinary)

    @pytest.mark.parametrize("settings", [(), (SETTINGS, SETTINGS), (f"{SETTINGS}, {SETTINGS}",)])
    def test_exactly_one_settings_field(self, settings: tuple[str, ...]) -> None:
        """H2C-04, RFC 7540 §3.2.1."""
        assert not is_upgraded(offer(settings=settings))

    @pytest.mark.parametrize(
        "value",
        [
            "AAMAAABk!!AAQAAP__",  # urlsafe_b64decode takes this
            "====",
            "AAMAAABkAAQAAP__====",
            "AAMAAAA",  # 5 octets
            "AAMAAABkAAQ",  # 8 octets
            "AAMAAABk AAQAAP__",
            "AAMAAABkAAQAAP//",  # base64, not base64url
            "",
            "AASAAAAA",  # INITIAL_WINDOW_SIZE 2^31
            "AAUAAAAB",  # MAX_FRAME_SIZE 1
            "AAIAAAAC",  # ENABLE_PUSH 2
            "AAMAAABk" * 33,
        ],
    )
    def test_settings_that_are_none(self, value: str) -> None:
        """H2C-05, RFC 7540 §3.2.1: strict base64url, whole settings, legal values."""
        assert not is_upgraded(offer(settings=(value,)))
        with pytest.raises(RemoteProtocolError):
            decode_settings(value)

    @pytest.mark.parametrize("connection", ["Upgrade", "HTTP2-Settings", "close", "x-upgrade"])
    def test_both_connection_options(self, connection: str) -> None:
        """H2C-06, RFC 7540 §3.2.1, RFC 9110 §7.6.1."""
        assert not is_upgraded(offer(connection=connection))

    @pytest.mark.parametrize("token", ["h2", "h2c/1", "xh2c", "h2-14"])
    def test_other_tokens_are_ignored(self, token: str) -> None:
        """H2C-07, RFC 7540 §3.2."""
        assert not is_upgraded(offer(upgrade=token))

    def test_never_under_tls(self) -> None:
        """H2C-08, SEC-02, RFC 7540 §3.3."""
        assert not is_upgraded(offer(), secure=True)

    def test_too_much_content_is_declined(self) -> None:
        """H2C-09: an ordinary exchange, with its content."""
        assert not is_upgraded(offer(("Content-Length", "2000000"), method="POST"))

    def test_not_in_http_1_0(self) -> None:
        request = offer()
        request.version = "1.0"
        assert not is_upgraded(request)

    def test_not_by_extended_connect(self) -> None:
        """A stream of HTTP/2 does not become HTTP/2."""
        request = Request("CONNECT", "/", Fields(), "2", "http", "a", "h2c")
        decision = decide(request, REGISTRY, secure=False)
        assert isinstance(decision, Answer)
        assert decision.response.status in (404, 501)

    def test_server_never_sends_the_settings_field(self) -> None:
        """H2C-04, RFC 7540 §3.2.1."""
        decision = decide(offer(), REGISTRY, secure=False)
        assert isinstance(decision, Select)
        response = switching_response(decision)
        assert response.fields == Fields([("Upgrade", "h2c"), ("Connection", "Upgrade")])
        assert decision.acceptance.state == SETTINGS

    def test_faults_are_told_apart(self) -> None:
        with pytest.raises(RemoteProtocolError, match="2 HTTP2-Settings"):
            settings_of(offer(settings=(SETTINGS, SETTINGS)))
        with pytest.raises(RemoteProtocolError, match="does not name"):
            settings_of(offer(connection="Upgrade"))


class TestServer:
    """What follows the 101."""

    @pytest.fixture
    def upgraded(self, clock: Any, client: Any) -> Any:
        def make(
            request: Request | None = None, content: bytes = b"", settings: str = SETTINGS
        ) -> Any:
            machine = ServerConnection.from_upgrade(
                request or offer(), content, settings, clock=clock
            )
            return type(client)(machine)

        return make

    def begin(self, peer: Any) -> None:
        peer.send(PREFACE, peer.settings())

    def test_settings_first_then_the_answer(self, upgraded: Any) -> None:
        """H2C-10, RFC 7540 §3.2, §3.5: before anything has arrived."""
        peer = upgraded()
        peer.machine.send_response(1, Response(200), end=True)
        first, *_, last = peer.frames()
        assert isinstance(first, SettingsFrame)
        assert isinstance(last, HeadersFrame)
        assert last.stream_id == 1

    def test_request_becomes_stream_1(self, upgraded: Any) -> None:
        """H2C-09, H2C-11, H2C-15: complete, with its content, without what was the hop's."""
        request = offer(
            ("Keep-Alive", "x"),
            ("Transfer-Encoding", "chunked"),
            ("X-Kept", "1"),
            ("Expect", "100-continue"),
            method="POST",
        )
        events = upgraded(request, b"hello").machine.events_received()
        assert [event.stream_id for event in events] == [1, 1, 1]
        seen = events[0].event.request
        assert (seen.method, seen.target, seen.version) == ("POST", "/path", "2")
        assert seen.authority == "example.com"
        assert seen.fields.raw == [(b"host", b"example.com"), (b"x-kept", b"1")]
        assert events[1].event == ContentReceived(b"hello")
        assert events[2].event == MessageComplete()

    def test_named_fields_go_too_but_not_the_host(self, upgraded: Any) -> None:
        """H2C-15, RFC 9110 §7.6.1."""
        request = offer(("X-Hop", "1"), connection="Upgrade, HTTP2-Settings, X-Hop, Host")
        events = upgraded(request).machine.events_received()
        assert events[0].event.request.fields.raw == [(b"host", b"example.com")]

    def test_absolute_form_becomes_a_path(self, upgraded: Any) -> None:
        request = offer(target="http://example.com/a?b")
        assert upgraded(request).machine.request_on(1).target == "/a?b"

    def test_settings_hold_from_the_start(self, upgraded: Any) -> None:
        """H2C-12, RFC 7540 §3.2.1: INITIAL_WINDOW_SIZE 1 → one octet."""
        peer = upgraded(settings="AAQAAAAB")
        assert peer.machine.send_response(1, Response(200, content=b"plain"), end=True) == 1
        assert peer.content(1) == b"p"
        self.begin(peer)
        peer.machine.events_received()
        assert peer.send(peer.window(1, 10)) == [WindowOpened(1)]

    def test_one_acknowledgement_only(self, upgraded: Any) -> None:
        """H2C-12, RFC 7540 §3.2.1: for the SETTINGS of the preface; the 101 was the other."""
        peer = upgraded()
        assert not any("ACK" in frame.flags for frame in peer.frames())
        self.begin(peer)
        (ack,) = peer.frames()
        assert "ACK" in ack.flags

    def test_little_is_sent_before_the_client_has_begun(self, upgraded: Any) -> None:
        """curl 7.88 fails with more than 32 KiB behind the 101, Java 17 with more than 16.

        When the client has begun nothing is held back.
        """
        peer = upgraded(settings="AAQCAAAA")
        taken = peer.machine.send_response(1, Response(200, content=bytes(200_000)))
        assert taken == 8192
        peer.machine.events_received()
        events = peer.send(PREFACE, peer.settings({4: 2**25}))
        assert WindowOpened(1) in events
        assert peer.machine.send_window(1) == 65535 - 8192

    @pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1"])
    def test_wrong_preface(self, upgraded: Any, octets: bytes) -> None:
        """H2C-14, RFC 7540 §3.5: PROTOCOL_ERROR."""
        peer = upgraded()
        peer.send(octets)
        assert peer.end() == ErrorCode.PROTOCOL_ERROR
        assert peer.machine.close_expected()

    @pytest.mark.parametrize("kind", ["data", "headers"])
    @pytest.mark.parametrize("answered", [False, True])
    def test_stream_1_takes_no_more(self, upgraded: Any, kind: str, answered: bool) -> None:
        """H2C-11, RFC 7540 §3.2: half closed by the client; a request on it is impossible."""
        peer = upgraded()
        self.begin(peer)
        if answered:
            peer.machine.send_response(1, Response(200), end=True)
        peer.send(peer.data(1, b"x") if kind == "data" else peer.get(1))
        codes = [f.error_code for f in peer.frames() if hasattr(f, "error_code")]
        assert codes == [ErrorCode.STREAM_CLOSED]

    def test_next_stream(self, upgraded: Any) -> None:
        """H2C-11: nghttp goes on with stream 13."""
        peer = upgraded()
        self.begin(peer)
        peer.machine.events_received()
        assert peer.send(peer.get(13))[0].stream_id == 13

    def test_reset_of_an_idle_stream_after_the_upgrade(self, upgraded: Any) -> None:
        """H2-05, RFC 9113 §5.1, §6.4: an upgrade changes nothing (the h2 library lets it pass)."""
        peer = upgraded()
        self.begin(peer)
        peer.frames()
        peer.send(peer.rst(3))
        (frame,) = (f for f in peer.frames() if isinstance(f, GoAwayFrame))
        assert frame.error_code == ErrorCode.PROTOCOL_ERROR

    def test_head(self, upgraded: Any) -> None:
        """H2C-15: the answer to HEAD is HEADERS with END_STREAM, and no DATA."""
        peer = upgraded(offer(method="HEAD"))
        peer.machine.send_response(1, Response(200, content=b"plain"), end=True)
        frames = peer.frames()
        assert "END_STREAM" in frames[-1].flags
        assert not any(isinstance(frame, DataFrame) for frame in frames)

    def test_settings_must_be_valid(self, upgraded: Any) -> None:
        with pytest.raises(RemoteProtocolError):
            upgraded(settings="====")


class TestClient:
    """The offer, and what follows the 101."""

    def test_offer(self) -> None:
        """H2C-02, H2C-03, UPG-C-01: both options named, and one HTTP2-Settings."""
        settings = Settings(initial_window_size=65535)
        request = h2c_request(Request("GET", "/", Fields({"Host": "a"})), settings)
        assert request.fields["Upgrade"] == "h2c"
        assert request.fields["Connection"] == "Upgrade, HTTP2-Settings"
        assert len(request.fields.get_all("HTTP2-Settings")) == 1
        assert is_upgraded(request)

    def test_value(self) -> None:
        """H2C-03: base64url without padding, never empty."""
        assert decode_settings(SETTINGS) == [(3, 100), (4, 65535)]
        settings = Settings(initial_window_size=65535)
        value = encode_settings(settings)
        assert "=" not in value
        assert decode_settings(value) == settings.pairs(client=True)

    def test_preface_first_though_the_answer_has_arrived(self, clock: Any, server: Any) -> None:
        """H2C-13, RFC 7540 §3.2, §3.5."""
        peer = type(server)(ClientConnection.from_upgrade(offer(), clock=clock))
        events = peer.send(peer.settings(), peer.headers(1, [(b":status", b"200")], end=True))
        assert isinstance(events[1].event, ResponseReceived)
        assert events[1].stream_id == 1
        octets = b"".join(peer.machine.data_to_send())
        assert octets.startswith(PREFACE)
        assert octets[len(PREFACE) + 3] == 4

    def test_next_stream_is_3(self, clock: Any) -> None:
        """H2C-11: and nothing can be sent on stream 1."""
        machine = ClientConnection.from_upgrade(offer(), clock=clock)
        with pytest.raises(LocalProtocolError):
            machine.send_content(1, b"x")
        assert machine.send_request(Request("GET", "/", authority="a"), end=True) == 3


class TestPriorKnowledge:
    """RFC 9113 §3.3, §3.4."""

    def test_single_octets(self) -> None:
        """H2C-16: undecided until the last octet."""
        for length in range(len(PREFACE)):
            assert match_prefix(PREFACE[:length]) is PrefaceMatch.NEED_MORE
        assert match_prefix(PREFACE) is PrefaceMatch.YES
        assert match_prefix(bytearray(PREFACE + b"more")) is PrefaceMatch.YES

    @pytest.mark.parametrize("data", [b"G", b"PRI * HTTP/1.1", b"P ", b"PRI * HTTP/2.0\r\n\r\nX"])
    def test_anything_else(self, data: bytes) -> None:
        """H2C-17: HTTP/1.1 then."""
        assert match_prefix(data) is PrefaceMatch.NO

    @given(st.binary(max_size=30))
    def test_only_the_preface(self, data: bytes) -> None:
        """H2C-16, H2C-17."""
        assert (match_prefix(data) is PrefaceMatch.YES) == data.startswith(PREFACE)


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrent_streams": 0},
        {"max_header_list_size": 0},
        {"connection_window_size": 65534},
        {"initial_window_size": 2**31},
        {"max_frame_size": 16383},
    ],
)
def test_settings_of_our_own_are_checked(options: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError):
        Settings(**options)
