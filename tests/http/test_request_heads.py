"""Request heads: RFC 9112 §2, §3, §5; RFC 9110 §5, §17.5."""

from __future__ import annotations

import pytest

from switchover.http.events import RequestReceived
from switchover.http.limits import Limits

GET = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
UPGRADE = b"GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: p/1\r\n\r\n"


def get(
    *lines: bytes, start: bytes = b"GET /x HTTP/1.1", host: bytes = b"Host: a.example"
) -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


# §2.2: message parsing


def test_boundaries_are_those_of_octets(served):
    """MSG-01, RFC 9112 §2.2: 85, E2 84 AA and 2028 end no line; decoding comes after."""
    value = b"webso\xe2\x84\xaaet\x85x\xe2\x80\xa8y"
    request = served(get(b"Upgrade: " + value, b"X: 1")).events[0].request
    assert request.fields.raw[1:] == [(b"Upgrade", value), (b"X", b"1")]
    assert request.fields["Upgrade"].lower() != "websocket"


def test_a_control_character_ends_no_line(served):
    """MSG-01, RFC 9110 §5.5: 0B and 1C are refused in a value, and split nothing."""
    for octet in (b"\x0b", b"\x0c", b"\x1c", b"\x1e", b"\x7f"):
        assert served(get(b"X: a" + octet + b"Upgrade: p")).refused(400)


@pytest.mark.parametrize("line", [b"X-A: a\rb", b"X-A: a\r\rb", b"X\r: a", b"X-A: a\r"])
def test_a_bare_cr_is_refused(served, line):
    """MSG-02, RFC 9112 §2.2."""
    result = served(get(line))
    assert result.refused(400)
    assert result.events[-1].error.rule == "RFC 9112 §2.2"


def test_a_bare_cr_in_the_request_line_is_refused(served):
    """MSG-02, RFC 9112 §2.2."""
    assert served(get(start=b"GET /x\r HTTP/1.1")).refused(400)


@pytest.mark.parametrize(
    "octets",
    [
        UPGRADE.replace(b"\r\n", b"\n"),
        b"GET /x HTTP/1.1\nHost: a.example\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.example\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.example\r\n\n",
        b"\nGET /x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ],
)
def test_a_lone_lf_is_refused(served, octets):
    """MSG-03, RFC 9112 §2.2: one reading of a message only, so CR LF only."""
    assert served(octets).refused(400)


def test_empty_lines_ahead_are_skipped(served):
    """MSG-04, RFC 9112 §2.2."""
    assert served(b"\r\n" + GET).kinds() == ["RequestReceived", "MessageComplete"]
    assert served(b"\r\n" * 8 + GET).kinds() == ["RequestReceived", "MessageComplete"]


def test_empty_lines_ahead_are_bounded(served):
    """MSG-04, RFC 9112 §2.2."""
    assert served(b"\r\n" * 10_000).refused(400)
    assert served(b"\r\n" * 9 + GET).refused(400)


@pytest.mark.parametrize("line", [b" Upgrade: p", b"\tUpgrade: p", b" "])
def test_whitespace_ahead_of_the_first_field_is_refused(served, line):
    """MSG-05, RFC 9112 §2.2."""
    assert served(b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: a\r\n\r\n").refused(400)


# §2.3: version


@pytest.mark.parametrize(
    ("version", "status"),
    [
        (b"http/1.1", 400),
        (b"HTTP/1.10", 400),
        (b"HTTP/01.1", 400),
        (b"HTTP/1", 400),
        (b"HTTP/1.", 400),
        (b"HTTP/1,1", 400),
        (b"HTTPS/1.1", 400),
        (b"", 400),
        (b"HTTP/\xb9.1", 400),
        (b"HTTP/0.9", 505),
        (b"HTTP/2.0", 505),
        (b"HTTP/3.0", 505),
    ],
)
def test_versions_that_are_refused(served, version, status):
    """MSG-16, RFC 9112 §2.3, RFC 9110 §15.6.6."""
    assert served(get(start=b"GET / " + version)).refused(status)


def test_a_higher_minor_version_is_handled_as_1_1(served):
    """MSG-16, RFC 9110 §6.2."""
    assert served(get(start=b"GET / HTTP/1.9")).events[0].request.version == "1.1"
    assert served(get(start=b"GET / HTTP/1.0")).events[0].request.version == "1.0"


def test_the_http2_preface_is_a_bad_request(served):
    """H2C-17, RFC 9113 §3.4: refused, and its rest is left unread."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert served(preface + GET).refused(505)
    behind = served(GET + preface + GET).answer()
    assert behind.statuses() == [200, 505]
    assert behind.kinds()[-1] == "Failed"
    assert behind.machine.close_expected()


# §3: request line


@pytest.mark.parametrize(
    "line",
    [
        b"GET /a b HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"GET /",
        b"GET",
        b"/ HTTP/1.1",
        b"GET HTTP/1.1",
        b"GET  HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"G\xc3\x84T / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"GET /a\x7f HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a\x0bb HTTP/1.1",
    ],
)
def test_an_invalid_request_line_is_refused(served, line):
    """MSG-13, RFC 9112 §3: nothing is repaired."""
    assert served(get(start=line)).refused(400)


def test_characters_that_browsers_leave_unencoded_are_taken(served):
    """MSG-13, RFC 9112 §3.2: visible characters are no ambiguity."""
    request = served(get(start=b'GET /a|b?c=[d]^"{}` HTTP/1.1')).events[0].request
    assert request.target == '/a|b?c=[d]^"{}`'


def test_a_request_line_of_8000_octets_is_served(served):
    """MSG-14, RFC 9112 §3."""
    line = b"GET /" + b"a" * (8000 - 14) + b" HTTP/1.1"
    assert len(line) == 8000
    assert served(get(start=line)).kinds() == ["RequestReceived", "MessageComplete"]


def test_a_target_over_the_limit_is_414(served):
    """MSG-14, SEC-18, RFC 9112 §3."""
    limits = Limits(target=20, request_line=100)
    assert served(get(start=b"GET /" + b"a" * 19 + b" HTTP/1.1"), limits=limits).statuses() == []
    assert served(get(start=b"GET /" + b"a" * 20 + b" HTTP/1.1"), limits=limits).refused(414)


def test_a_request_line_over_the_limit_is_414_before_it_ends(served):
    """MSG-14, SEC-18, RFC 9112 §3: no more is kept than the limit allows."""
    limits = Limits(request_line=20)
    assert served(b"GET /abcdef HTTP/1.1\r\nHost: a\r\n\r\n", limits=limits).statuses() == []
    assert served(b"GET /abcdefg HTTP/1.1\r\nHost: a\r\n\r\n", limits=limits).refused(414)
    assert served(b"GET /abcdefgh HTTP/1.1", limits=limits).refused(414)
    assert served(b"a" * 22, limits=limits).refused(414)
    assert served(b"a" * 21, limits=limits).statuses() == []


def test_an_overlong_method_is_501(served):
    """MSG-14, SEC-18, RFC 9112 §3."""
    assert served(get(start=b"M" * 32 + b" / HTTP/1.1")).events[0].request.method == "M" * 32
    assert served(get(start=b"M" * 33 + b" / HTTP/1.1")).refused(501)


# §3.2: target and Host


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b"Host: a", b"Host: a"],
        [b"Host: a", b"host: b"],
        [b"Host: a b"],
        [b"Host: a,b"],
        [b"Host: a, b"],
        [b"Host: http://a/"],
        [b"Host: u@a"],
        [b"Host: a/b"],
        [b"Host: a:b"],
        [b"Host: a:+80"],
        [b"Host: a:65536"],
        [b"Host: a:999999"],
        [b"Host: [::1"],
        [b"Host: [::g]"],
        [b"Host: [1:2]"],
        [b"Host: ::1"],
        [b"Host: \xc3\xa4"],
        [b"Host: a%zz"],
        [b"Host: a?"],
    ],
)
def test_host_missing_repeated_or_invalid_is_400(served, hosts):
    """MSG-10, UPG-S-20, RFC 9112 §3.2: and so there is no request that could switch."""
    result = served(get(b"Connection: Upgrade", b"Upgrade: p/1", *hosts, host=b""))
    assert result.refused(400)
    assert not result.all_of(RequestReceived)


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a:80", b"a:", b"1.2.3.4:5", b"[::1]:80", b"a_b.c~", b"a%20b", b"a;b=c"]
)
def test_valid_hosts(served, host):
    """MSG-10, RFC 9112 §3.2."""
    request = served(get(host=b"Host: " + host)).events[0].request
    assert request.authority == host.decode()


def test_http_1_0_needs_no_host(served):
    """MSG-10, RFC 9112 §3.2: but what it sends has to be valid, and there once."""
    start = b"GET / HTTP/1.0"
    assert served(get(start=start, host=b"")).events[0].request.authority == ""
    assert served(get(start=start)).events[0].request.authority == "a.example"
    assert served(get(b"Host: b", start=start)).refused(400)


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (b"http://a.example/ws", "a.example"),
        (b"http://a.example:81?x", "a.example:81"),
        (b"HTTPS://[::1]", "[::1]"),
    ],
)
def test_host_information_comes_from_an_absolute_target(served, target, authority):
    """MSG-12, RFC 9112 §3.2.2: Host is ignored then."""
    request = served(get(start=b"GET " + target + b" HTTP/1.1", host=b"Host: b")).events[0].request
    assert request.authority == authority
    assert request.target == target.decode()


@pytest.mark.parametrize(
    "line",
    [
        b"GET * HTTP/1.1",
        b"GET a HTTP/1.1",
        b"GET a:80 HTTP/1.1",
        b"GET http:///x HTTP/1.1",
        b"GET http://u@h/ HTTP/1.1",
        b"GET http://a,b/ HTTP/1.1",
        b"GET http:/a HTTP/1.1",
        b"GET ?x HTTP/1.1",
        b"CONNECT /x HTTP/1.1",
        b"CONNECT * HTTP/1.1",
        b"CONNECT http://h:80/ HTTP/1.1",
        b"CONNECT h HTTP/1.1",
        b"CONNECT h: HTTP/1.1",
        b"CONNECT :80 HTTP/1.1",
        b"CONNECT h:0 HTTP/1.1",
        b"CONNECT h:65536 HTTP/1.1",
        b"CONNECT h:+80 HTTP/1.1",
        b"CONNECT h:8_0 HTTP/1.1",
        b"CONNECT u@h:80 HTTP/1.1",
        b"CONNECT h:80/x HTTP/1.1",
        b"CONNECT [::1 HTTP/1.1",
        b"CONNECT [::g]:80 HTTP/1.1",
    ],
)
def test_a_target_in_no_form_of_its_method_is_refused(served, line):
    """MSG-13, RFC 9112 §3.2."""
    assert served(get(start=line)).refused(400)


def test_asterisk_and_authority_form(served):
    """MSG-13, RFC 9112 §3.2.3, §3.2.4."""
    assert served(get(start=b"OPTIONS * HTTP/1.1")).events[0].request.authority == "a.example"
    request = served(get(start=b"CONNECT [::1]:443 HTTP/1.1")).events[0].request
    assert request.authority == "[::1]:443"


# §5: field lines


@pytest.mark.parametrize(
    "line", [b"Upgrade : p", b"Content-Length : 3", b"X\t: y", b"Transfer-Encoding : chunked"]
)
def test_whitespace_ahead_of_the_colon_is_refused(served, line):
    """MSG-06, RFC 9112 §5.1."""
    result = served(get(line))
    assert result.refused(400)
    assert "whitespace" in str(result.events[-1].error)


@pytest.mark.parametrize(
    "line", [b": x", b"X", b"X y: z", b"X(: z", b"\xc3\xa4: z", b"[X]: y", b"X\x00: y"]
)
def test_a_line_that_is_no_field_is_refused(served, line):
    """MSG-13, RFC 9112 §5, RFC 9110 §5.1."""
    assert served(get(line)).refused(400)


@pytest.mark.parametrize("fold", [b" Upgrade", b"\tUpgrade", b" "])
def test_a_folded_line_is_refused(served, fold):
    """MSG-07, RFC 9112 §5.2."""
    assert served(get(b"Connection: keep-alive,", fold)).refused(400)


@pytest.mark.parametrize("octet", [b"\x00", b"\x01", b"\x08", b"\x1f", b"\x7f"])
def test_a_control_character_in_a_value_is_refused(served, octet):
    """MSG-09, RFC 9110 §5.5."""
    assert served(get(b"Upgrade: p" + octet + b"q")).refused(400)


def test_tab_and_high_octets_in_a_value_are_fine(served):
    """MSG-09, RFC 9110 §5.5: obs-text and HTAB are field content."""
    request = served(get(b"X:\t a\tb\xff \t")).events[0].request
    assert request.fields.raw[1] == (b"X", b"a\tb\xff")


def test_names_keep_their_spelling(served):
    """MSG-01, RFC 9110 §5.1: known and unknown ones alike."""
    lines = [
        b"uPGRADE: a",
        b"X-Unknown_1: b",
        b"connection: upgrade",
        b"!#$%&'*+-.^`|~: c",
        b"Empty:",
    ]
    request = served(get(*lines)).events[0].request
    assert [name + b": " + value for name, value in request.fields.raw[1:-1]] == lines[:-1]
    assert request.fields.raw[-1] == (b"Empty", b"")


@pytest.mark.parametrize("name", [b"Transfer_Encoding: chunked", b"Content_Length: 5"])
def test_an_underscore_name_frames_nothing(served, name):
    """SEC-40, RFC 9110 §17.10: no name but the real one is the real field."""
    assert served(get(name) + GET).kinds() == ["RequestReceived", "MessageComplete"]


# RFC 9110 §5.4, RFC 6585 §5: limits


def test_a_field_line_over_the_limit_is_431(served):
    """MSG-15, SEC-18, RFC 6585 §5: not cut, not dropped."""
    limits = Limits(field_line=30)
    line = b"X-Long: " + b"a" * 22
    assert served(get(line), limits=limits).kinds() == ["RequestReceived", "MessageComplete"]
    assert served(get(line + b"a"), limits=limits).refused(431)
    started = b"GET / HTTP/1.1\r\n" + line
    assert served(started + b"\r", limits=limits).statuses() == []
    assert served(started + b"aa", limits=limits).refused(431)


def test_a_field_section_over_the_limit_is_431(served):
    """MSG-15, SEC-18, RFC 6585 §5."""
    limits = Limits(field_section=60)
    assert served(get(b"X: " + b"a" * 37), limits=limits).kinds()[0] == "RequestReceived"
    assert served(get(b"X: " + b"a" * 42), limits=limits).refused(431)
    assert served(get(b"X: " + b"a" * 42 + b"\x80"), limits=limits).refused(431)


def test_too_many_fields_are_431(served):
    """MSG-15, SEC-18, RFC 6585 §5."""
    limits = Limits(field_count=3)
    assert served(get(b"A: 1", b"B: 2"), limits=limits).kinds()[0] == "RequestReceived"
    assert served(get(b"A: 1", b"B: 2", b"C: 3"), limits=limits).refused(431)


def test_default_limits_stop_an_endless_head(served):
    """SEC-18, RFC 9110 §17.5: whatever the shape of the flood."""
    for flood in (b"X: y\r\n" * 100_000, b"X" * 1_000_000, b"X: " + b"y" * 1_000_000):
        result = served(b"GET / HTTP/1.1\r\nHost: a\r\n" + flood)
        assert result.statuses()[0] in (400, 431)
        assert result.machine.close_expected()


# RFC 9110 §17: after an error


def test_nothing_behind_a_bad_request_is_read(served):
    """SEC-43, RFC 9112 §2.2: one 400, then the end."""
    result = served(get(b"Bad Name: x") + GET)
    assert result.refused(400)
    assert result.receive(GET).eof().kinds() == ["Failed"]
    assert result.statuses() == [400]


def test_the_error_answer_is_readable_and_escaped(served):
    """SEC-44, RFC 9110 §17.2: the peer's octets cannot act in a log or a terminal."""
    result = served(get(start=b"GET /\x1b[31m\x07 HTTP/1.1"), server_name="s")
    head, _, text = result.sent.partition(b"\r\n\r\n")
    assert b"\x1b" not in text
    assert b'"/\\x1b[31m\\x07"' in text
    assert text.startswith(b"400 Bad Request\n\n")
    assert b"RFC 9112" in text
    assert b"Content-Length: %d" % len(text) in head
    assert b"Content-Type: text/plain" in head
    assert b"Server: s" in head


def test_an_error_answer_carries_no_value(served):
    """SEC-44, RFC 9110 §17.2: credentials stay where they are."""
    result = served(get(b"Authorization: Basic c2VjcmV0\x00"))
    assert b"c2VjcmV0" not in result.sent
    assert "c2VjcmV0" not in str(result.events[-1].error)


def test_error_answers_are_dated(served):
    assert b"\r\nDate: now\r\n" in served(b"\n", date=lambda: "now").sent


# UPG-P-24: HTTP/1.0 with Connection


def test_what_connection_names_is_dropped_from_http_1_0(served):
    """UPG-P-24, UPG-S-01, RFC 2616 §14.10."""
    octets = get(
        b"Connection: Upgrade, X-Hop, Content-Length",
        b"Upgrade: p/1",
        b"X-Hop: 1",
        b"X-End: 2",
        b"Content-Length: 2",
        start=b"POST /x HTTP/1.0",
    )
    result = served(octets + b"hi")
    fields = result.events[0].request.fields
    assert "Upgrade" not in fields
    assert "X-Hop" not in fields
    assert fields["X-End"] == "2"
    assert result.events[1].data == b"hi", "framing cannot be named away"
    assert served(get(b"X: 1", start=b"GET / HTTP/1.0")).events[0].request.fields["X"] == "1"


def test_nothing_is_dropped_from_http_1_1(served):
    """UPG-P-24, RFC 2616 §14.10: the rule is for HTTP/1.0."""
    fields = served(UPGRADE).events[0].request.fields
    assert fields["Upgrade"] == "p/1"
    assert fields.connection_options == {"upgrade"}
