"""The server's part of the opening handshake: requests in, acceptances and refusals out."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.decisions import Answer, Ordinary, Select, decide, switching_response
from switchover.upgrade.registry import Acceptance, Registry, Upgrade
from switchover.upgrade.tokens import UpgradeToken
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.opening import Negotiated, ServerOpening, accept

KEY = "dGhlIHNhbXBsZSBub25jZQ=="

WSREQ = [
    ("Host", "server.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
]


def wsreq(*extra, without=(), method="GET", version="1.1", target="/chat", scheme="http"):
    """A good request, less the fields of the names ``without``, plus ``extra``."""
    lines = [line for line in WSREQ if line[0] not in without]
    fields = Fields([*lines, *extra])
    return Request(method, target, fields, version, scheme, "server.example")


def replaced(name, *values, **more):
    return wsreq(*((name, value) for value in values), without=(name,), **more)


def extended(*extra, protocol="websocket", version_field="13"):
    lines = [("sec-websocket-version", version_field)] if version_field else []
    fields = Fields([*lines, *extra])
    return Request("CONNECT", "/chat", fields, "2", "https", "server.example", protocol)


def accepted(answer) -> Acceptance:
    assert isinstance(answer, Acceptance), getattr(answer, "content", answer)
    assert isinstance(answer.state, Negotiated)
    return answer


def refused(answer, status: int) -> Response:
    assert isinstance(answer, Response)
    assert answer.status == status
    text = answer.content.decode()
    assert text.isprintable() or text.endswith("\n")
    assert answer.fields["content-type"] == "text/plain; charset=utf-8"
    assert answer.fields["content-length"] == str(len(answer.content))
    return answer


def asks_for_upgrade(response: Response) -> None:
    assert response.fields["upgrade"] == "websocket"
    assert response.fields["connection"] == "Upgrade"
    assert response.fields["sec-websocket-version"] == "13"


# RFC 6455 §4.2.1: reading the client's opening handshake.


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "get", "DELETE"])
def test_only_get_opens_a_websocket(method):
    """WS-H-18, RFC 6455 §4.2.1 item 1: "An HTTP/1.1 or higher GET request"."""
    answer = refused(accept(wsreq(method=method)), 405)
    assert answer.fields["allow"] == "GET"
    assert method.encode() in answer.content


def test_upgrade_of_http_1_0_is_ignored():
    """WS-H-18, RFC 9110 §7.8: Upgrade in HTTP/1.0 counts for nothing; an ordinary error."""
    asks_for_upgrade(refused(accept(wsreq(version="1.0")), 426))


@pytest.mark.parametrize(
    ("upgrade", "connection"),
    [
        (["foo, WebSocket"], ["keep-alive, upgrade"]),
        (["foo", "websocket"], ["Upgrade", "keep-alive"]),
        (["WEBSOCKET"], ["keep-alive", "UPGRADE"]),
        (["websocket"], ["keep-alive, Upgrade, HTTP2-Settings"]),
    ],
)
def test_websocket_is_found_among_the_members(upgrade, connection):
    """WS-H-19, RFC 6455 §4.2.1 items 3 and 4: in lists, and without regard to case."""
    request = wsreq(
        *(("Upgrade", value) for value in upgrade),
        *(("Connection", value) for value in connection),
        without=("Upgrade", "Connection"),
    )
    accepted(accept(request))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"without": ("Upgrade",)}, b"without an Upgrade field"),
        ({"without": ("Connection",)}, b"Connection does not name it"),
        ({"without": ("Upgrade", "Connection")}, b"no Upgrade field"),
    ],
)
def test_a_request_without_the_switch_is_told_how(change, said):
    """WS-H-19, RFC 9110 §15.5.22: 426 with Upgrade, and a text that says what was missing."""
    answer = refused(accept(wsreq(**change)), 426)
    asks_for_upgrade(answer)
    assert said in answer.content


@pytest.mark.parametrize("value", ["h2c", "notwebsocket", "websocket/13", "web socket", "ws"])
def test_another_protocol_is_not_websocket(value):
    """WS-H-19: members are compared whole, not searched for."""
    asks_for_upgrade(refused(accept(replaced("Upgrade", value)), 426))


@pytest.mark.parametrize("value", ["x-upgrade", "keep-alive", "upgraded"])
def test_another_option_is_not_upgrade(value):
    """WS-H-19: options are compared whole."""
    asks_for_upgrade(refused(accept(replaced("Connection", value)), 426))


def test_an_http_2_get_is_told_of_extended_connect():
    """WS-H-19, RFC 9113 §8.2.2: Upgrade does not exist there, and so 426 does not."""
    answer = refused(accept(Request("GET", "/", Fields(), "2", "https", "a.example")), 400)
    assert b"extended CONNECT" in answer.content
    assert "upgrade" not in answer.fields


@pytest.mark.parametrize(
    "values",
    [
        [],
        [KEY, KEY],
        [""],
        [base64.b64encode(bytes(15)).decode()],
        [base64.b64encode(bytes(17)).decode()],
        [base64.b64encode(bytes(16)).decode()[:-1]],
        ["AAAA"],
        ["dGhlIHNhbXBsZSBub25jZQ="],
        ["dGhlIHNhbXBsZSBub25j-Q=="],
        ["dGhlIHNhbXBsZSBub25jZQ==\x80"],
        ["dGhlIHNh bXBsZSBub25jZQ=="],
        [f"{KEY}, {KEY}"],
    ],
)
def test_the_key_is_sixteen_octets_in_base64_once(values):
    """WS-H-20, RFC 6455 §4.2.1 item 5."""
    answer = refused(accept(replaced("Sec-WebSocket-Key", *values)), 400)
    assert b"Sec-WebSocket-Key" in answer.content


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("AQIDBAUGBwgJCgsMDQ4PEC==", b"OfS0wDaT5NoxF2gqm7Zj2YtetzM="),
        ("AQIDBAUGBwgJCgsMDQ4PEA==", b"C/0nmHhBztSRGR1CwL6Tf4ZjwpY="),
    ],
)
def test_the_key_is_hashed_as_it_was_received(key, value):
    """WS-H-21, WS-H-23, RFC 6455 §4.2.2: stray bits do not matter, and are hashed as text."""
    acceptance = accepted(accept(replaced("Sec-WebSocket-Key", key)))
    assert acceptance.fields.raw == [(b"Sec-WebSocket-Accept", value)]


@given(st.binary(min_size=16, max_size=16))
def test_any_nonce_is_answered(nonce):
    """WS-H-20, WS-H-23: whatever the 16 octets are."""
    key = base64.b64encode(nonce)
    acceptance = accepted(accept(replaced("Sec-WebSocket-Key", key.decode())))
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    assert acceptance.fields["sec-websocket-accept"] == base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    "value", ["25", "8", "13, 8", "+13", "013", "13.0", "١٣".encode().decode("latin-1")]
)
def test_a_version_it_does_not_speak(value):
    """WS-H-22, RFC 6455 §4.2.2 /version/, §4.4: 426, and the version it does speak."""
    answer = refused(accept(replaced("Sec-WebSocket-Version", value)), 426)
    asks_for_upgrade(answer)


@pytest.mark.parametrize("values", [[], ["13", "13"], ["13", "8"]])
def test_a_version_missing_or_repeated(values):
    """WS-H-22: 400 with Sec-WebSocket-Version."""
    answer = refused(accept(replaced("Sec-WebSocket-Version", *values)), 400)
    assert answer.fields["sec-websocket-version"] == "13"


def test_a_request_with_content_is_refused():
    """WS-H-17, UPG-S-24, RFC 9931 §7.1: content may not be read as frames."""
    refused(accept(wsreq(("Content-Length", "5"))), 400)
    refused(accept(wsreq(("Transfer-Encoding", "chunked"))), 400)
    accepted(accept(wsreq(("Content-Length", "0"))))


@given(st.permutations([*WSREQ, ("X-Y", "1"), ("Cookie", "a=b")]))
def test_order_and_unknown_fields_do_not_matter(lines):
    """WS-H-28, RFC 6455 §4.2.1 item 10."""
    accepted(accept(Request("GET", "/chat", Fields(lines), "1.1", "http", "server.example")))


def test_names_of_fields_have_no_case():
    """WS-H-28, RFC 9110 §5.1."""
    lines = [(name.upper(), value) for name, value in WSREQ]
    accepted(accept(Request("GET", "/chat", Fields(lines), "1.1", "http", "server.example")))


MUTATIONS = [
    {"method": "POST"},
    {"without": ("Upgrade",)},
    {"without": ("Connection",)},
    {"without": ("Sec-WebSocket-Key",)},
    {"without": ("Sec-WebSocket-Version",)},
    {"version": "1.0"},
]


@pytest.mark.parametrize("change", MUTATIONS)
def test_any_departure_is_an_http_error(change):
    """WS-H-17, WS-C-14, RFC 6455 §4.2.1: never 101, and never anything but HTTP."""
    answer = accept(wsreq(**change))
    assert isinstance(answer, Response)
    assert 400 <= answer.status <= 499


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [name for name, _ in WSREQ]
                + ["Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"]
            ),
            st.binary(max_size=30).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")),
        ),
        max_size=6,
    )
)
def test_nothing_received_raises(lines):
    """WS-H-17: whatever stands in the fields, the answer is an acceptance or a response."""
    raw = [(name.encode(), value.strip(b" \t")) for name, value in lines]
    base = [(name.encode(), value.encode()) for name, value in WSREQ]
    for fields in (raw, base + raw):
        request = Request("GET", "/", Fields.from_octets(fields), "1.1", "http", "a.example")
        answer = accept(request, extensions=[PermessageDeflate()], subprotocols=["a"])
        assert isinstance(answer, Acceptance | Response)


def test_what_is_shown_can_do_no_harm():
    """WS-H-17: the value seen is quoted; no octet of it can act on a terminal or a page."""
    raw = [(n.encode(), v.encode()) for n, v in WSREQ if n != "Sec-WebSocket-Key"]
    raw.append((b"Sec-WebSocket-Key", b"\x1b[31m\x80<script>"))
    answer = refused(accept(Request("GET", "/", Fields.from_octets(raw))), 400)
    assert b"\\x1b[31m\\x80" in answer.content


# RFC 6455 §4.2.2: sending the server's opening handshake.


def test_the_101_is_complete():
    """WS-H-23, RFC 6455 §4.2.2 item 5: Upgrade, Connection and Accept, each once."""
    upgrade = Upgrade(token=UpgradeToken("websocket"), prepare=ServerOpening().prepare)
    selection = decide(wsreq(), Registry([upgrade]), secure=False)
    assert isinstance(selection, Select)
    response = switching_response(selection)
    assert response.status == 101
    assert response.fields.raw == [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]


def test_a_bad_handshake_is_answered_through_the_registry():
    """WS-H-17, WS-H-22: the registration's own refusals reach the peer."""
    upgrade = Upgrade(token=UpgradeToken("websocket"), prepare=ServerOpening().prepare)
    request = replaced("Sec-WebSocket-Version", "12")
    answer = decide(request, Registry([upgrade]), secure=False)
    assert isinstance(answer, Answer)
    asks_for_upgrade(refused(answer.response, 426))


def test_an_unknown_resource_is_not_switched():
    """WS-H-27, RFC 6455 §4.2.2 /resource name/: left to be answered 404."""
    upgrade = Upgrade(
        token=UpgradeToken("websocket"), path="/chat", prepare=ServerOpening().prepare
    )
    registry = Registry([upgrade])
    assert isinstance(decide(wsreq(target="/missing"), registry, secure=False), Ordinary)
    assert isinstance(decide(wsreq(target="/chat"), registry, secure=False), Select)


@pytest.mark.parametrize(
    ("change", "status"),
    [({"without": ("Upgrade",)}, 426), ({"method": "POST"}, 405), ({"version": "1.0"}, 426)],
)
def test_a_required_websocket_says_its_version(change, status):
    """WS-H-19, WS-H-18: reached without the switch, through the registry."""
    opening = ServerOpening()
    upgrade = Upgrade(
        token=UpgradeToken("websocket"),
        required=True,
        prepare=opening.prepare,
        misfit=opening.misfit,
    )
    answer = decide(wsreq(**change), Registry([upgrade]), secure=False)
    assert isinstance(answer, Answer)
    response = refused(answer.response, status)
    if status == 426:
        asks_for_upgrade(response)


def test_misfit_states_content_and_other_reasons():
    """UPG-S-24: what is wrong with the request comes before what may be wrong elsewhere."""
    opening = ServerOpening()
    refused(opening.misfit(wsreq(("Content-Length", "1")), "it has content"), 400)
    answer = refused(opening.misfit(wsreq(), "it is served under TLS only"), 426)
    assert b"under TLS only" in answer.content


# RFC 6455 §4.2.2 /origin/ (the policies have tests of their own).


def test_an_unwanted_origin_is_refused():
    """WS-H-26, SEC-08, RFC 6455 §4.2.2: 403 by default, both values in the text."""
    answer = refused(accept(wsreq(("Origin", "https://evil.example"))), 403)
    assert b'"https://evil.example"' in answer.content
    assert b'"http://server.example"' in answer.content


def test_two_origins_are_refused():
    """WS-H-26, RFC 6454 §7.3."""
    refused(accept(wsreq(("Origin", "http://server.example"), ("Origin", "http://b"))), 400)


def test_origins_may_be_listed():
    """WS-H-26: a list of origins is a policy."""
    request = wsreq(("Origin", "https://good.example"))
    accepted(accept(request, origins=["https://good.example"]))
    refused(accept(request, origins=[]), 403)


# RFC 6455 §4.2.2 /subprotocol/ and /extensions/.


def test_a_subprotocol_is_picked():
    """WS-H-24, RFC 6455 §4.2.2: from the offered list, all lines joined."""
    request = wsreq(("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "b"))
    acceptance = accepted(accept(request, subprotocols=["b"]))
    assert acceptance.state.subprotocol == "b"
    assert acceptance.fields.get_all("sec-websocket-protocol") == ["b"]


@pytest.mark.parametrize("offer", [[], [("Sec-WebSocket-Protocol", "a, B")]])
def test_no_common_subprotocol_is_no_field(offer):
    """WS-H-24: "if the server does not wish to agree … it MUST NOT send back" the field."""
    acceptance = accepted(accept(wsreq(*offer), subprotocols=["b"]))
    assert acceptance.state.subprotocol is None
    assert "sec-websocket-protocol" not in acceptance.fields


def test_a_subprotocol_out_of_the_air_is_the_callers_fault():
    """WS-H-24, SEC-32: a function returning what was not offered is a local error."""
    request = wsreq(("Sec-WebSocket-Protocol", "a"))
    for picked in ("c", "", "a\r\nX: y"):
        with pytest.raises(LocalProtocolError, match="picked"):
            accept(request, subprotocols=lambda offered, picked=picked: picked)


@pytest.mark.parametrize("value", ["", "a b", "a, a", 'a"', ",", "a,\x80"])
def test_malformed_subprotocols_are_refused(value):
    """WS-H-17, RFC 6455 §11.3.4: 1#token, of unique members."""
    raw = [(n.encode(), v.encode()) for n, v in WSREQ]
    raw.append((b"Sec-WebSocket-Protocol", value.encode("latin-1")))
    request = Request("GET", "/", Fields.from_octets(raw), "1.1", "http", "server.example")
    refused(accept(request), 400)


@pytest.mark.parametrize("value", ["permessage-deflate;;x", ";a", 'a; b="c d"', ""])
def test_malformed_extensions_are_refused(value):
    """WS-H-25, RFC 6455 §9.1: malformed is refused, though nothing would have been accepted."""
    refused(accept(wsreq(("Sec-WebSocket-Extensions", value))), 400)


def test_unknown_extensions_are_ignored():
    """WS-H-25, RFC 6455 §9.1."""
    acceptance = accepted(
        accept(wsreq(("Sec-WebSocket-Extensions", "foo; bar=1")), extensions=[PermessageDeflate()])
    )
    assert acceptance.state.extensions == ()
    assert "sec-websocket-extensions" not in acceptance.fields


def test_extensions_are_answered_on_one_line():
    """WS-H-16, RFC 6455 §11.3.2: one line at most, however many the client sent."""
    acceptance = accepted(
        accept(
            wsreq(
                ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=10"),
                ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ),
            extensions=[PermessageDeflate()],
        )
    )
    assert acceptance.fields.get_all("sec-websocket-extensions") == [
        "permessage-deflate; server_max_window_bits=10"
    ]
    assert [extension.name for extension in acceptance.state.extensions] == ["permessage-deflate"]


def test_settings_are_checked_when_they_are_made():
    """SEC-32: a subprotocol that could not go on the wire is refused before any request."""
    for subprotocols in (["a b"], [""], ["a", "a"], "chat"):
        with pytest.raises(LocalProtocolError):
            ServerOpening(subprotocols=subprotocols)


# RFC 8441 §5: extended CONNECT.


def test_an_extended_connect_has_no_key_and_no_accept():
    """WS2-06, RFC 8441 §5: Sec-WebSocket-Key and -Accept are not processed."""
    for request in (extended(), extended(("sec-websocket-key", "nonsense"))):
        acceptance = accepted(accept(request))
        assert acceptance.fields.raw == []


def test_an_extended_connect_negotiates_the_rest():
    """WS2-07, RFC 8441 §5: origin, subprotocol and extensions keep their meaning."""
    acceptance = accepted(
        accept(
            extended(
                ("origin", "https://server.example"),
                ("sec-websocket-protocol", "chat"),
                ("sec-websocket-extensions", "permessage-deflate"),
            ),
            subprotocols=["chat"],
            extensions=[PermessageDeflate()],
        )
    )
    assert acceptance.state.subprotocol == "chat"
    assert len(acceptance.state.extensions) == 1
    assert [name for name, _ in acceptance.fields] == [
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
    ]


@pytest.mark.parametrize("version", ["12", None])
def test_an_extended_connect_of_another_version(version):
    """WS2-07: 4xx with Sec-WebSocket-Version, and without fields HTTP/2 does not have."""
    answer = refused(accept(extended(version_field=version)), 400)
    assert answer.fields["sec-websocket-version"] == "13"
    assert "upgrade" not in answer.fields
    assert "connection" not in answer.fields


def test_an_extended_connect_from_a_strange_page():
    """WS2-07, SEC-09: the same origin policy."""
    refused(accept(extended(("origin", "https://evil.example"))), 403)
    refused(accept(extended(("origin", "http://server.example"))), 403)


def test_an_extended_connect_for_something_else():
    """WS2-12, RFC 9220 §3: 501 for another :protocol."""
    refused(accept(extended(protocol="webtransport")), 501)
