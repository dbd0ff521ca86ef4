"""The client's part of the opening handshake: requests out, answers in."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import (
    HandshakeRejected,
    InvalidHandshake,
    LocalProtocolError,
    RemoteProtocolError,
)
from switchover.http.fields import Fields
from switchover.http.messages import Response
from switchover.http.uri import URL, parse_url
from switchover.upgrade.decisions import Select, decide, switching_response
from switchover.upgrade.registry import Acceptance, Registry, Upgrade
from switchover.upgrade.tokens import UpgradeToken
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.opening import (
    Negotiated,
    ServerOpening,
    accept,
    accept_value,
    check_response,
    extended_request,
    new_key,
    opening_request,
    redirected,
)

NONCE = base64.b64decode("dGhlIHNhbXBsZSBub25jZQ==")
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def request(**settings):
    return opening_request("ws://server.example/chat", key=NONCE, **settings)


def answer(*extra, without=(), status=101):
    """A good 101, less the fields of the names ``without``, plus ``extra``."""
    lines = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
    ]
    return Response(status, Fields([*(x for x in lines if x[0] not in without), *extra]))


def replaced(name, *values):
    return answer(*((name, value) for value in values), without=(name,))


def fails(response, said, asked=None, **settings):
    asked = asked or request(**settings)
    with pytest.raises(InvalidHandshake, match=said) as raised:
        check_response(asked, response, extensions=settings.get("extensions", ()))
    assert raised.value.request is asked
    assert raised.value.response is response
    assert "RFC" in raised.value.rule
    return raised.value


# RFC 6455 §4.1: the request.


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("ws://h", "/", "h"),
        ("ws://h:8080/chat", "/chat", "h:8080"),
        ("WSS://h:443/a?b", "/a?b", "h"),
        ("ws://H.Example:80/?q", "/?q", "h.example"),
        ("wss://[::1]:8443/x", "/x", "[::1]:8443"),
        ("ws://h?q", "/?q", "h"),
        ("http://h/a", "/a", "h"),
        ("https://h/a", "/a", "h"),
    ],
)
def test_target_and_host_fit_the_url(url, target, host):
    """WS-H-01, WS-H-05, RFC 6455 §3, §4.1: http and https stand for ws and wss."""
    asked = opening_request(url)
    assert (asked.method, asked.target, asked.version) == ("GET", target, "1.1")
    assert asked.fields.get_all("host") == [host]
    assert asked.fields.raw[0][0] == b"Host"
    assert asked.authority == host
    assert asked.scheme == ("https" if url.lower().startswith(("wss", "https")) else "http")


@pytest.mark.parametrize(
    "url", ["ws://h/#f", "ws:///x", "ws://u@h/", "ws://u:p@h/", "ftp://h/", "h/x", "ws://h/ä", ""]
)
def test_a_url_that_is_none_makes_no_request(url):
    """WS-H-01, RFC 6455 §3: error, nothing sent."""
    with pytest.raises(LocalProtocolError):
        opening_request(url)
    with pytest.raises(LocalProtocolError):
        extended_request(url)


def test_a_user_in_a_url_is_not_repeated():
    """WS-H-01: the error does not show the password."""
    with pytest.raises(LocalProtocolError) as raised:
        opening_request(URL("ws", "h", 80, "/", "me:secret"))
    assert "secret" not in str(raised.value)


def test_the_handshake_fields_are_sent_once():
    """WS-H-06, UPG-C-01, RFC 6455 §4.1 items 5, 6 and 9."""
    fields = request().fields
    assert fields.get_all("upgrade") == ["websocket"]
    assert fields.get_all("connection") == ["Upgrade"]
    assert fields.get_all("sec-websocket-version") == ["13"]


def test_each_key_is_new():
    """WS-H-07, RFC 6455 §4.1 item 7: "The nonce MUST be selected randomly for each"."""
    keys = {opening_request("ws://h").fields["sec-websocket-key"] for _ in range(1000)}
    assert len(keys) == 1000
    for key in keys:
        assert len(key) == 24
        assert base64.b64encode(base64.b64decode(key, validate=True)).decode() == key
        assert len(base64.b64decode(key)) == 16


def test_keys_come_from_the_operating_system():
    """WS-H-07: a strong source, and it can be given."""
    assert new_key.__kwdefaults__["random"] is os.urandom
    asked = []

    def fixed(count):
        asked.append(count)
        return NONCE

    assert new_key(random=fixed) == "dGhlIHNhbXBsZSBub25jZQ=="
    assert asked == [16]


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_nonce_has_sixteen_octets(length):
    """WS-H-07."""
    with pytest.raises(LocalProtocolError, match="16 octets"):
        opening_request("ws://h", key=bytes(length))


def test_origin_is_sent_once():
    """WS-H-08, RFC 6455 §4.1 item 8."""
    assert "origin" not in request().fields
    assert request(origin="https://a.example").fields.get_all("origin") == ["https://a.example"]
    assert request(fields=[("Origin", "null")]).fields.get_all("origin") == ["null"]
    with pytest.raises(LocalProtocolError, match="Origin"):
        request(origin="null", fields={"origin": "null"})


def test_subprotocols_are_offered_in_order():
    """WS-H-09, RFC 6455 §4.1 item 10."""
    assert "sec-websocket-protocol" not in request().fields
    fields = request(subprotocols=["chat.v2", "chat.v1"]).fields
    assert fields.get_all("sec-websocket-protocol") == ["chat.v2, chat.v1"]


@pytest.mark.parametrize("subprotocols", [["a", "a"], [""], ["a b"], ["a,b"], ["a\r\nX: y"], "a"])
def test_subprotocols_are_distinct_tokens(subprotocols):
    """WS-H-09, SEC-33."""
    with pytest.raises(LocalProtocolError):
        request(subprotocols=subprotocols)


def test_other_fields_are_added():
    """WS-H-05: cookies, credentials and the like go along."""
    fields = request(fields={"Cookie": "a=b", "Authorization": "Basic eA=="}).fields
    assert fields["cookie"] == "a=b"
    assert fields["authorization"] == "Basic eA=="


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Content-Length",
        "Transfer-Encoding",
    ],
)
def test_the_handshakes_own_fields_are_not_the_callers(name):
    """WS-H-06, SEC-33: none of them could come twice, or contradict the handshake."""
    with pytest.raises(LocalProtocolError, match="opening handshake itself"):
        request(fields=[(name, "1")])


@pytest.mark.parametrize(
    "fields", [[("X", "a\r\nY: b")], [("X Y", "a")], [("X", "\x00")], [("X\r\n", "a")]]
)
def test_nothing_can_be_smuggled_into_the_request(fields):
    """SEC-33, RFC 9112 §11.1."""
    with pytest.raises(LocalProtocolError):
        request(fields=fields)


def test_extensions_are_offered_on_one_line():
    """WS-H-06, RFC 6455 §4.1 item 11."""
    fields = request(extensions=[PermessageDeflate()]).fields
    assert fields.get_all("sec-websocket-extensions") == [
        "permessage-deflate; client_max_window_bits"
    ]


def test_an_extended_connect_has_no_key():
    """WS2-03, WS2-06, RFC 8441 §5: neither Upgrade, Connection, Host nor a key."""
    asked = extended_request(
        "wss://h/chat?x", subprotocols=["a"], extensions=[PermessageDeflate()], origin="https://h"
    )
    assert (asked.method, asked.protocol, asked.version) == ("CONNECT", "websocket", "2")
    assert (asked.scheme, asked.authority, asked.target) == ("https", "h", "/chat?x")
    assert sorted(name.lower() for name, _ in asked.fields) == [
        "origin",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "sec-websocket-version",
    ]
    assert extended_request("ws://h").scheme == "http"


# RFC 6455 §4.1: the server's answer.


def test_a_good_answer_opens_the_connection():
    """WS-H-12, WS-H-13, RFC 6455 §4.1."""
    assert check_response(request(), answer()) == Negotiated(None, ())


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 405, 407, 426, 500, 502])
def test_another_status_is_plain_http(status):
    """WS-H-11, WS-H-30, RFC 6455 §4.1 check 1: the error holds the server's whole answer."""
    asked = request()
    response = Response(status, Fields([("X", "y")]), content=b"the reason")
    with pytest.raises(HandshakeRejected, match=str(status)) as raised:
        check_response(asked, response)
    assert raised.value.response is response
    assert raised.value.response.content == b"the reason"
    assert raised.value.request is asked


@pytest.mark.parametrize(
    ("status", "fields", "said"),
    [
        (200, {}, "a proxy in front removed Upgrade"),
        (302, {"Location": "/\x7f".replace("\x7f", "login")}, 'redirects to "/login"'),
        (302, {}, "without saying where"),
        (401, {}, "credentials"),
        (403, {}, "may want an Origin"),
        (404, {}, "nothing at this path"),
        (418, {}, ""),
        (426, {"Sec-WebSocket-Version": "8, 25"}, 'speaks WebSocket version "8, 25"'),
        (426, {"Upgrade": "TLS/1.2"}, "insists on another protocol"),
        (426, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}, "did not reach the server"),
        (426, {"Sec-WebSocket-Version": "," * 200}, "insists on another protocol"),
        (502, {}, "proxy"),
    ],
)
def test_the_likely_cause_is_named(status, fields, said):
    """WS-H-11: a person can act on the error."""
    with pytest.raises(HandshakeRejected) as raised:
        check_response(request(), Response(status, Fields(fields)))
    assert said in raised.value.cause
    assert raised.value.cause in str(raised.value)


def test_a_refused_origin_is_named():
    """WS-H-11, WS-H-26."""
    with pytest.raises(HandshakeRejected) as raised:
        check_response(request(origin="https://a.example"), Response(403))
    assert "https://a.example" in raised.value.cause


def test_a_version_refusal_ends_the_attempt():
    """WS-H-31, RFC 6455 §4.4: the client speaks 13 only, so there is nothing to try again."""
    with pytest.raises(HandshakeRejected):
        check_response(request(), Response(426, Fields({"Sec-WebSocket-Version": "13, 8"})))


@pytest.mark.parametrize(
    "response",
    [
        replaced("Upgrade", "h2c"),
        replaced("Upgrade", "websocket, foo"),
        replaced("Upgrade", "websocket", "websocket"),
        replaced("Upgrade", "websocket/13"),
        replaced("Upgrade", ""),
        answer(without=("Upgrade",)),
        replaced("Upgrade", "webso\xe7ket"),
    ],
)
def test_the_answer_names_websocket_alone(response):
    """WS-H-12, UPG-C-05, RFC 6455 §4.1 check 2."""
    fails(response, "instead of websocket")


@pytest.mark.parametrize(
    "response",
    [
        replaced("Connection", "close"),
        replaced("Connection", "upgraded"),
        answer(without=("Connection",)),
    ],
)
def test_the_answer_names_the_option(response):
    """WS-H-12, UPG-C-05, RFC 6455 §4.1 check 3."""
    fails(response, "does not name Upgrade")


def test_names_in_the_answer_have_no_case():
    """WS-H-12: "ASCII case-insensitive match", and Connection is a list."""
    response = answer(
        ("UPGRADE", "WebSocket"),
        ("connection", "keep-alive"),
        ("Connection", "UPGRADE"),
        without=("Upgrade", "Connection"),
    )
    check_response(request(), response)


@pytest.mark.parametrize(
    "values", [[], [ACCEPT, ACCEPT], [ACCEPT.lower()], [ACCEPT[:-1]], [""], [f"{ACCEPT}, x"]]
)
def test_the_answer_proves_that_the_key_was_read(values):
    """WS-H-13, RFC 6455 §4.1 check 4: exactly one, octet for octet."""
    fails(replaced("Sec-WebSocket-Accept", *values), "Sec-WebSocket-Accept")


def test_white_space_around_the_accept_is_nothing():
    """WS-H-13: "ignoring any leading and trailing whitespace"."""
    lines = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b" " + ACCEPT.encode() + b"\t "),
    ]
    check_response(request(), Response(101, Fields.from_octets(lines)))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 27), st.integers(1, 255))
def test_no_other_accept_will_do(nonce, position, change):
    """WS-H-13: any octet changed fails it."""
    asked = opening_request("ws://h", key=nonce)
    right = bytearray(accept_value(asked.fields["sec-websocket-key"].encode()))
    right[position] ^= change
    lines = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", bytes(right)),
    ]
    if bytes(right).strip(b" \t") != bytes(right):
        return
    with pytest.raises(InvalidHandshake):
        check_response(asked, Response(101, Fields.from_octets(lines)))


@pytest.mark.parametrize(
    "values",
    [
        ["Chat"],
        ["chat, x"],
        ["chat", "chat"],
        ["x"],
        [""],
        ["chat,chat"],
    ],
)
def test_the_subprotocol_is_one_of_those_offered(values):
    """WS-H-15, RFC 6455 §4.1 check 6, §11.3.4: exactly, once, and no empty one."""
    response = answer(*(("Sec-WebSocket-Protocol", value) for value in values))
    fails(response, "Sec-WebSocket-Protocol", subprotocols=["chat"])


def test_a_subprotocol_nobody_offered():
    """WS-H-15."""
    fails(answer(("Sec-WebSocket-Protocol", "chat")), "Sec-WebSocket-Protocol")


def test_the_subprotocol_may_be_absent():
    """WS-H-15: then none is in use."""
    agreed = check_response(request(subprotocols=["chat"]), answer())
    assert agreed.subprotocol is None
    asked = request(subprotocols=["a", "chat"])
    agreed = check_response(asked, answer(("Sec-WebSocket-Protocol", "chat")))
    assert agreed.subprotocol == "chat"


@pytest.mark.parametrize("value", ["permessage-deflate", "foo; bar=1"])
def test_an_extension_nobody_offered(value):
    """WS-H-14, RFC 6455 §4.1 check 5."""
    fails(answer(("Sec-WebSocket-Extensions", value)), "not offered")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("permessage-deflate, permessage-deflate", "twice"),
        ("permessage-deflate;", "malformed"),
        (";", "malformed"),
        ("", "malformed"),
        ("permessage-deflate; foo", "unknown"),
    ],
)
def test_an_unusable_answer_about_extensions(value, said):
    """WS-H-14, WS-D-03, RFC 6455 §9.1: accepted twice, malformed, or not understood."""
    fails(answer(("Sec-WebSocket-Extensions", value)), said, extensions=[PermessageDeflate()])


def test_the_cause_of_a_bad_101_is_guessed():
    """WS-H-12: something answered 101 that is no WebSocket server."""
    error = fails(answer(without=("Sec-WebSocket-Accept",)), "missing")
    assert "did not read the request as a WebSocket handshake" in error.cause
    assert "does not follow RFC 6455" in fails(replaced("Upgrade", "h2c"), "h2c").cause


# RFC 8441 §5: the answer over HTTP/2.


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_2xx_opens_an_extended_connect(status):
    """WS2-08, RFC 8441 §5."""
    asked = extended_request("wss://h", subprotocols=["a"])
    agreed = check_response(asked, Response(status, Fields({"sec-websocket-protocol": "a"})))
    assert agreed.subprotocol == "a"


def test_101_is_an_error_over_http_2():
    """WS2-08, RFC 9113 §8.6."""
    fails(answer(), "does not exist", asked=extended_request("wss://h"))


def test_other_answers_over_http_2_are_plain_responses():
    """WS2-08."""
    with pytest.raises(HandshakeRejected):
        check_response(extended_request("wss://h"), Response(404))


# Both ends together.


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True),
    st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_both_ends_agree(offered, served, compress, compressing, over_http_2):
    """WS-H-23, WS-H-24, WS-H-13: what the server accepts, the client takes."""
    ours = [PermessageDeflate()] if compress else []
    theirs = [PermessageDeflate()] if compressing else []
    make = extended_request if over_http_2 else opening_request
    asked = make("ws://h/x", subprotocols=offered, extensions=ours, origin="http://h")
    upgrade = Upgrade(
        token=UpgradeToken("websocket"),
        prepare=ServerOpening(subprotocols=served, extensions=theirs).prepare,
    )
    selection = decide(asked, Registry([upgrade]), secure=False)
    assert isinstance(selection, Select)
    agreed = check_response(asked, switching_response(selection), extensions=ours)
    assert agreed.subprotocol == next((name for name in served if name in offered), None)
    assert len(agreed.extensions) == (compress and compressing)
    answered = accept(asked, subprotocols=served, extensions=theirs)
    assert isinstance(answered, Acceptance)
    assert answered.state.subprotocol == agreed.subprotocol


# RFC 9110 §15.4: redirects.


def redirect(url, location, fields=(), status=302):
    return redirected(url, Response(status, Fields([("Location", location)])), fields)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "ws://h/b"),
        ("b?c", "ws://h/x/b?c"),
        ("wss://h/", "wss://h/"),
        ("https://other/y", "wss://other/y"),
        ("http://other:8080", "ws://other:8080/"),
        ("//other/z", "ws://other/z"),
        ("/b#fragment", "ws://h/b"),
        ("?q", "ws://h/x/y?q"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_to_try_again(location, target, status):
    """WS-H-30, RFC 9110 §10.2.2, §15.4."""
    assert str(redirect("ws://h/x/y", location, status=status)[0]) == target


CREDENTIALS = {"Authorization": "Basic eA==", "Cookie": "a=b", "X": "y"}


@pytest.mark.parametrize("location", ["ws://other/", "wss://h/", "ws://h:81/", "//other"])
def test_credentials_do_not_follow_to_another_origin(location):
    """UPG-C-17, RFC 9110 §15.4: Authorization and Cookie are dropped, the rest is kept."""
    given = Fields(CREDENTIALS)
    _, fields = redirect("ws://h/x", location, given)
    assert list(fields) == [("X", "y")]
    assert len(given) == 3


def test_credentials_stay_within_an_origin():
    """UPG-C-17."""
    assert list(redirect("ws://h/x", "/y", CREDENTIALS)[1]) == list(CREDENTIALS.items())
    assert list(redirect("ws://h/x", "http://h:80/y", CREDENTIALS)[1]) == list(CREDENTIALS.items())


def test_a_retry_has_a_new_key():
    """UPG-C-17, RFC 6455 §4.1: a complete new handshake."""
    target, fields = redirect("ws://h/x", "/y", CREDENTIALS)
    first = opening_request("ws://h/x", fields=CREDENTIALS)
    second = opening_request(target, fields=fields)
    assert first.fields["sec-websocket-key"] != second.fields["sec-websocket-key"]


@pytest.mark.parametrize(
    "location",
    [
        "ws://h/",
        "http://h/",
        "ftp://h/",
        "wss://u:p@h/",
        "wss://h:99999/",
        "//[",
        "https:///",
        "wss://a b/",
    ],
)
def test_some_places_are_no_place_to_go(location):
    """UPG-C-17: less secure, or no place for a WebSocket."""
    with pytest.raises(RemoteProtocolError, match="redirect"):
        redirect(parse_url("wss://h/x"), location)


@pytest.mark.parametrize(
    "response",
    [
        Response(302),
        Response(200, Fields({"Location": "/"})),
        Response(304, Fields({"Location": "/"})),
        Response(302, Fields([("Location", "/a"), ("Location", "/b")])),
    ],
)
def test_what_is_no_redirect(response):
    """UPG-C-17, RFC 9110 §15.4."""
    with pytest.raises(RemoteProtocolError, match="no redirect"):
        redirected("ws://h/", response)
