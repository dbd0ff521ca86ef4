"""Requests: field sections that are well formed, and those that are not (RFC 9113 §8)."""

from __future__ import annotations

from typing import Any

import pytest

from switchover.http.events import ContentReceived, MessageComplete, RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http2 import ErrorCode, Settings, StreamReset

PROTOCOL = ErrorCode.PROTOCOL_ERROR
METHOD, SCHEME = (b":method", b"GET"), (b":scheme", b"http")
AUTHORITY, PATH = (b":authority", b"example.com"), (b":path", b"/")
GET = [METHOD, SCHEME, AUTHORITY, PATH]
CONNECT = (b":method", b"CONNECT")
WEBSOCKET = (b":protocol", b"websocket")


def is_malformed(peer: Any, lines: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request with ``lines`` is refused as malformed, on its stream alone."""
    assert peer.send(peer.headers(1, lines, end=lines[0] != CONNECT)) == []
    refused = peer.resets() == [(1, PROTOCOL)]
    events = peer.send(peer.get(3))
    assert events, "the connection lives"
    return refused


class TestWellFormed:
    def test_request_in_the_words_of_http(self, client: Any) -> None:
        """RFC 9113 §8.3.1: pseudo-fields become method, target, scheme and authority."""
        (head, end) = client.send_on_streams(
            client.headers(1, [*GET[:3], (b":path", b"/a?b"), (b"x-one", b"1")], end=True)
        )
        request = head[1].request
        assert (request.method, request.target, request.version) == ("GET", "/a?b", "2")
        assert (request.scheme, request.authority) == ("http", "example.com")
        assert (request.path, request.query, request.protocol) == ("/a", "b", None)
        assert request.fields == Fields([("host", "example.com"), ("x-one", "1")])
        assert end == (1, MessageComplete())

    def test_authority_may_come_as_host(self, client: Any) -> None:
        """RFC 9113 §8.3.1: from Host where there is no ":authority"."""
        (head, _) = client.send_on_streams(
            client.headers(1, [METHOD, SCHEME, PATH, (b"host", b"h:81")], end=True)
        )
        assert head[1].request.authority == "h:81"
        assert head[1].request.fields == Fields([("host", "h:81")])

    def test_host_that_agrees(self, client: Any) -> None:
        """H2-07: Host and ":authority" may both be there, in another letter case too."""
        (head, _) = client.send_on_streams(
            client.headers(1, [*GET, (b"host", b"EXAMPLE.com")], end=True)
        )
        assert len(head[1].request.fields) == 1

    def test_neither_host_nor_authority(self, client: Any) -> None:
        (head, _) = client.send_on_streams(client.headers(1, [METHOD, SCHEME, PATH], end=True))
        assert head[1].request.authority == ""
        assert len(head[1].request.fields) == 0

    def test_cookies_become_one(self, client: Any) -> None:
        """RFC 9113 §8.2.3: joined with "; "."""
        (head, _) = client.send_on_streams(
            client.get(1, (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"))
        )
        assert head[1].request.fields.get_all("cookie") == ["a=b; c=d"]

    def test_content_and_trailers(self, client: Any) -> None:
        """RFC 9113 §8.1: HEADERS, DATA, HEADERS."""
        events = client.send_on_streams(
            client.post(1, (b"content-length", b"10"), (b"te", b"trailers")),
            client.data(1, b"hello"),
            client.data(1, b"world"),
            client.headers(1, [(b"x-sum", b"7")], end=True),
        )
        assert [event for _, event in events[1:]] == [
            ContentReceived(b"hello"),
            ContentReceived(b"world"),
            MessageComplete(Fields([("x-sum", "7")])),
        ]

    def test_options_asterisk(self, client: Any) -> None:
        """RFC 9113 §8.3.1: "*" is the path of OPTIONS for the server as a whole."""
        lines = [(b":method", b"OPTIONS"), SCHEME, AUTHORITY, (b":path", b"*")]
        (head, _) = client.send_on_streams(client.headers(1, lines, end=True))
        assert head[1].request.target == "*"


@pytest.mark.parametrize(
    "name",
    [b"X-Upper", b"x y", b"x\0", b"x\x7f", b"x:y", b"", b"x\n", b"a\nb", b"x\xe4", b"x\x01"],
)
def test_field_names(client: Any, name: bytes) -> None:
    """H2-06, RFC 9113 §8.2.1: lower-case tokens; else malformed."""
    assert is_malformed(client, [*GET, (b"ok", b"ok"), (name, b"value"), (b"ok", b"ok")])


@pytest.mark.parametrize(
    "value", [b"a\0b", b"a\rb", b"a\nb", b" a", b"a ", b"\ta", b"a\t", b" ", b"\x1f", b"\0"]
)
def test_field_values(client: Any, value: bytes) -> None:
    """H2-06, SEC-37, RFC 9113 §8.2.1: no NUL, CR, LF, nor whitespace around; else malformed."""
    assert is_malformed(client, [*GET, (b"ok", b"ok"), (b"name", value), (b"ok", b"ok")])


def test_pseudo_fields_hold_no_control_characters_either(client: Any) -> None:
    """H2-06, SEC-37: CR LF in :path."""
    assert is_malformed(client, [METHOD, SCHEME, AUTHORITY, (b":path", b"/a\r\nX: y")])


@pytest.mark.parametrize(
    "line",
    [
        (b"connection", b"upgrade"),
        (b"connection", b"close"),
        (b"upgrade", b"websocket"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"),
        (b"transfer-encoding", b"chunked"),
        (b"te", b"gzip"),
        (b"te", b"trailers, deflate"),
    ],
)
def test_connection_specific_fields(client: Any, line: tuple[bytes, bytes]) -> None:
    """UPG-S-23, WS2-06, SEC-37, RFC 9113 §8.2.2: malformed."""
    assert is_malformed(client, [*GET, line])


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([SCHEME, AUTHORITY, PATH], id="no :method"),
        pytest.param([METHOD, AUTHORITY, PATH], id="no :scheme"),
        pytest.param([METHOD, SCHEME, AUTHORITY], id="no :path"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b":path", b"")], id="empty :path"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b":path", b"*")], id="* without OPTIONS"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b":path", b"x")], id="relative :path"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b":path", b"/a b")], id="space in :path"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b":path", b"/a#b")], id="fragment"),
        pytest.param([METHOD, (b":scheme", b"ht tp"), AUTHORITY, PATH], id="odd :scheme"),
        pytest.param([(b":method", b"GE T"), SCHEME, AUTHORITY, PATH], id="odd :method"),
        pytest.param([*GET, METHOD], id=":method twice"),
        pytest.param([*GET, (b":path", b"/2")], id=":path twice"),
        pytest.param([*GET, (b":status", b"200")], id=":status"),
        pytest.param([*GET, (b":odd", b"x")], id="unknown"),
        pytest.param([METHOD, SCHEME, AUTHORITY, (b"x", b"y"), PATH], id="behind a field"),
        pytest.param([*GET, (b"host", b"other.example")], id="Host contradicts"),
        pytest.param([*GET, (b"host", b"example.com")] * 2, id="everything twice"),
        pytest.param([METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"a")], id="two Hosts"),
        pytest.param([METHOD, SCHEME, PATH, (b"host", b"a,b")], id="odd Host"),
        pytest.param([METHOD, SCHEME, (b":authority", b"u@h"), PATH], id="userinfo"),
        pytest.param([METHOD, SCHEME, (b":authority", b""), PATH], id="empty :authority"),
        pytest.param([METHOD, SCHEME, (b":authority", b"h:x"), PATH], id="odd :authority"),
    ],
)
def test_pseudo_fields(client: Any, lines: list[tuple[bytes, bytes]]) -> None:
    """H2-07, RFC 9113 §8.3, §8.3.1: each violation is malformed."""
    assert is_malformed(client, lines)


class TestContentLength:
    """RFC 9113 §8.1.1."""

    @pytest.mark.parametrize("end", ["data", "empty data", "trailers"])
    def test_too_little(self, client: Any, end: str) -> None:
        """H2-08: fewer octets than announced."""
        client.send(client.post(1, (b"content-length", b"10")), client.data(1, b"x"))
        last = {
            "data": client.data(1, b"x", end=True),
            "empty data": client.data(1, end=True),
            "trailers": client.headers(1, [(b"a", b"b")], end=True),
        }[end]
        events = client.send(last)
        assert isinstance(events[-1], StreamReset)
        assert not any(isinstance(getattr(e, "event", e), MessageComplete) for e in events)
        assert client.resets() == [(1, PROTOCOL)]

    def test_too_much(self, client: Any) -> None:
        """H2-08: more octets than announced, before the end."""
        client.send(client.post(1, (b"content-length", b"1")))
        (event,) = client.send(client.data(1, b"xy"))
        assert isinstance(event, StreamReset)
        assert client.resets() == [(1, PROTOCOL)]

    def test_none_at_all(self, client: Any) -> None:
        """H2-08: END_STREAM on the head."""
        assert is_malformed(client, [*GET, (b"content-length", b"1")])

    @pytest.mark.parametrize("values", [[b"+1"], [b"1_0"], [b"1, 1"], [b""], [b"1", b"2"]])
    def test_no_number(self, client: Any, values: list[bytes]) -> None:
        """H2-08, SEC-37: not a number, or two of them."""
        assert is_malformed(client, [*GET, *((b"content-length", value) for value in values)])

    def test_zero_and_repeated(self, client: Any) -> None:
        zero = (b"content-length", b"0")
        assert len(client.send_on_streams(client.get(1, zero, zero))) == 2


class TestTrailers:
    """RFC 9113 §8.1."""

    @pytest.mark.parametrize(
        "line", [(b":path", b"/"), (b":odd", b""), (b"connection", b"x"), (b"Upper", b"x")]
    )
    def test_malformed(self, client: Any, line: tuple[bytes, bytes]) -> None:
        """H2-07, RFC 9113 §8.1: no pseudo-fields, and the rules of fields."""
        client.send(client.post(1), client.headers(1, [line], end=True))
        assert client.resets() == [(1, PROTOCOL)]

    def test_without_end(self, client: Any) -> None:
        """RFC 9113 §8.1: a second field section ends the stream."""
        client.send(client.post(1), client.headers(1, [(b"a", b"b")]))
        assert client.resets() == [(1, PROTOCOL)]

    def test_too_large(self, client: Any) -> None:
        """SEC-28: the decoded size of trailers is bounded too."""
        client.send(client.post(1))
        client.send(client.headers(1, [(b"a", b"0" * 14000)], end=False)[:0])
        lines = [(b"n%d" % number, b"v") for number in range(200)]
        client.send(client.headers(1, lines, end=True))
        assert client.resets() == [(1, ErrorCode.ENHANCE_YOUR_CALM)]


class TestConnect:
    """RFC 9113 §8.5."""

    def test_plain(self, client: Any) -> None:
        """CON-14: :method and :authority only."""
        lines = [CONNECT, (b":authority", b"target.example:443")]
        (event,) = client.send_on_streams(client.headers(1, lines))
        request = event[1].request
        assert (request.method, request.target) == ("CONNECT", "target.example:443")
        assert (request.authority, request.protocol) == ("target.example:443", None)
        assert request.path == ""

    @pytest.mark.parametrize(
        "lines",
        [
            [CONNECT, (b":authority", b"a:1"), SCHEME],
            [CONNECT, (b":authority", b"a:1"), PATH],
            [CONNECT],
            [CONNECT, (b":authority", b"a")],
            [CONNECT, (b":authority", b"a:0")],
            [CONNECT, (b":authority", b"a:99999")],
            [CONNECT, (b":authority", b"a:+80")],
        ],
    )
    def test_malformed(self, client: Any, lines: list[tuple[bytes, bytes]]) -> None:
        """CON-14, RFC 9113 §8.5."""
        assert is_malformed(client, lines)

    def test_octets_both_ways(self, client: Any) -> None:
        """CON-14: DATA is the byte stream; END_STREAM ends a direction."""
        client.send(client.headers(1, [CONNECT, (b":authority", b"a:1")]))
        client.machine.switch(1, Response(200, Fields({"Content-Length": "9"})), "tcp")
        (switched,) = client.machine.events_received()
        assert switched.event.protocol == "tcp"
        client.frames()
        assert client.sections[1] == [[(b":status", b"200")]]
        assert client.send_on_streams(client.data(1, b"in"))[0] == (1, ContentReceived(b"in"))
        client.machine.send_end(1)
        (event,) = client.send_on_streams(client.data(1, b"after"))
        assert event == (1, ContentReceived(b"after"))
        assert client.send_on_streams(client.data(1, end=True)) == [(1, MessageComplete())]

    @pytest.mark.parametrize("open_first", [False, True])
    def test_headers_in_a_tunnel(self, client: Any, open_first: bool) -> None:
        """CON-14, WS2-11, RFC 9113 §8.5: a stream error."""
        client.send(client.headers(1, [CONNECT, (b":authority", b"a:1")]))
        if open_first:
            client.machine.switch(1, Response(200), "tcp")
        client.send(client.headers(1, [(b"a", b"b")], end=True))
        assert client.resets() == [(1, PROTOCOL)]


class TestExtendedConnect:
    """RFC 8441 §4, §5."""

    LINES = (CONNECT, WEBSOCKET, SCHEME, AUTHORITY, (b":path", b"/chat"))

    @pytest.fixture
    def extended(self, new_server: Any) -> Any:
        return new_server(settings=Settings(enable_connect_protocol=True))

    def test_request(self, extended: Any) -> None:
        """WS2-05, WS2-06, WS2-07: an authority is what the request is for, the rest are fields."""
        more = [
            (b"sec-websocket-version", b"13"),
            (b"origin", b"http://example.com"),
            (b"sec-websocket-key", b"ignored"),
        ]
        (event,) = extended.send_on_streams(extended.headers(1, [*self.LINES, *more]))
        request = event[1].request
        assert (request.method, request.protocol) == ("CONNECT", "websocket")
        assert (request.target, request.authority) == ("/chat", "example.com")
        assert request.fields["sec-websocket-version"] == "13"
        assert request.fields["host"] == "example.com"

    def test_not_without_the_setting(self, client: Any) -> None:
        """WS2-04, RFC 8441 §3: a :protocol nobody said would be taken is malformed."""
        assert is_malformed(client, list(self.LINES))

    @pytest.mark.parametrize("left_out", [2, 3, 4])
    def test_incomplete(self, extended: Any, left_out: int) -> None:
        """WS2-04: :scheme, :authority and :path are needed."""
        lines = [line for number, line in enumerate(self.LINES) if number != left_out]
        assert is_malformed(extended, lines)

    @pytest.mark.parametrize(
        "lines",
        [
            [*LINES, WEBSOCKET],
            [METHOD, WEBSOCKET, SCHEME, AUTHORITY, PATH],
            [CONNECT, (b":protocol", b""), SCHEME, AUTHORITY, PATH],
            [*LINES, (b"connection", b"upgrade")],
            [*LINES, (b"upgrade", b"websocket")],
        ],
    )
    def test_malformed(self, extended: Any, lines: list[tuple[bytes, bytes]]) -> None:
        """WS2-04, WS2-06, UPG-S-23."""
        assert is_malformed(extended, lines)

    def test_accepted(self, extended: Any) -> None:
        """WS2-06, WS2-08, WS2-09: 200 without Upgrade, then octets whatever the borders."""
        extended.send(extended.headers(1, list(self.LINES)))
        fields = Fields({"Sec-WebSocket-Protocol": "chat", "Connection": "Upgrade"})
        extended.machine.switch(1, Response(200, fields), "websocket")
        extended.frames()
        assert extended.sections[1] == [
            [(b":status", b"200"), (b"sec-websocket-protocol", b"chat")]
        ]
        events = extended.send_on_streams(extended.data(1, b"a"), extended.data(1, b"b"))
        assert events[1:] == [(1, ContentReceived(b"a")), (1, ContentReceived(b"b"))]
        extended.machine.send_content(1, b"reply")
        assert extended.content(1) == b"reply"

    def test_refused(self, extended: Any) -> None:
        """WS2-08: another final response is an ordinary one."""
        extended.send(extended.headers(1, list(self.LINES)))
        extended.machine.send_response(1, Response.text(403, "no"), end=True)
        assert extended.content(1) == b"no"

    def test_abrupt_loss(self, extended: Any) -> None:
        """WS2-10, RFC 8441 §5: RST_STREAM with CANCEL, both ways."""
        extended.send(extended.headers(1, list(self.LINES)), extended.headers(3, list(self.LINES)))
        assert extended.send(extended.rst(1, 8)) == [StreamReset(1, ErrorCode.CANCEL)]
        extended.machine.reset(3)
        assert extended.resets() == [(3, ErrorCode.CANCEL)]


def test_every_kind_of_request_event_is_wrapped(client: Any) -> None:
    (event, _) = client.send(client.get(1))
    assert event.stream_id == 1
    assert isinstance(event.event, RequestReceived)
