"""Policies on Origin: which web pages may connect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request
from switchover.websocket.origins import (
    DANGEROUSLY_ALLOW_ANY_ORIGIN,
    SAME_ORIGIN,
    AllowedOrigins,
    SameOrigin,
    origin_policy,
)


def request(authority="good.example", scheme="https", fields=()):
    return Request("GET", "/", Fields(fields), "1.1", scheme, authority)


STRANGERS = [
    "https://evil.example",
    "https://good.example.evil",
    "http://good.example",
    "null",
    "https://good.example:444",
    "https://good.example/",
    "https://good.example.",
    "https://xgood.example",
    "https://good.example@evil.example",
    "https://evil.example#good.example",
    "wss://good.example",
    "good.example",
    "",
    "https://good.example https://evil.example",
    "https://good.example\x80",
    "HTTPS//good.example",
    "https://",
]


@pytest.mark.parametrize("origin", STRANGERS)
@pytest.mark.parametrize("policy", [SAME_ORIGIN, AllowedOrigins(["https://good.example"])])
def test_strangers_stay_outside(policy, origin):
    """SEC-08, WS-H-26, RFC 6455 §10.2: scheme, host and port are compared whole."""
    reason = policy(request(), origin)
    assert reason is not None
    assert "good.example" in reason


@pytest.mark.parametrize("origin", ["https://good.example", "HTTPS://Good.Example"])
@pytest.mark.parametrize("policy", [SAME_ORIGIN, AllowedOrigins(["https://GOOD.example"])])
def test_friends_come_in(policy, origin):
    """SEC-08: exact after lower-casing ASCII letters."""
    assert policy(request(), origin) is None


def test_the_kelvin_sign_is_no_k():
    """SEC-08: only ASCII letters are lower-cased (U+212A would become "k")."""
    with pytest.raises(LocalProtocolError):
        AllowedOrigins(["https://\u212a.example"])
    assert AllowedOrigins(["https://k.example"])(request(), "https://\u212a.example") is not None


@pytest.mark.parametrize(
    ("scheme", "authority", "origin"),
    [
        ("http", "h", "http://h"),
        ("http", "h:80", "http://h"),
        ("https", "h:443", "https://h"),
        ("http", "h:8080", "http://h:8080"),
        ("https", "H", "https://h"),
        ("http", "[::1]:8080", "http://[::1]:8080"),
        ("http", "127.0.0.1:8101", "http://127.0.0.1:8101"),
    ],
)
def test_same_origin_is_scheme_host_and_port(scheme, authority, origin):
    """SEC-08, RFC 6454 §4: a default port may be written or not."""
    assert SAME_ORIGIN(request(authority, scheme), origin) is None
    other = "http" if scheme == "https" else "https"
    assert SAME_ORIGIN(request(authority, other), origin) is not None


@pytest.mark.parametrize("authority", ["", "a b", "\x80"])
def test_no_host_is_nobodys_origin(authority):
    """SEC-08: what cannot be compared is not the same."""
    assert SAME_ORIGIN(request(authority), "null") is not None
    assert SAME_ORIGIN(request(authority), "https://") is not None
    assert SAME_ORIGIN(request(authority), "\x80") is not None


def test_both_values_are_stated():
    """SEC-08: the reason says what came, what this server is, and what to do."""
    reason = SAME_ORIGIN(request("inner:8000", "http"), "https://public.example")
    assert '"https://public.example"' in reason
    assert '"http://inner:8000"' in reason
    assert "proxy" in reason


def test_what_came_is_quoted():
    """SEC-08: an origin with control characters does no harm in a log."""
    assert "\x1b" not in SAME_ORIGIN(request(), "https://\x1b[31m")
    assert "\x1b" not in AllowedOrigins([])(request(), "https://\x1b[31m")


@pytest.mark.parametrize(
    ("lenient", "strict"),
    [
        (SameOrigin(), SameOrigin(allow_missing=False)),
        (AllowedOrigins([]), AllowedOrigins([], allow_missing=False)),
    ],
)
def test_no_origin_is_no_browser(lenient, strict):
    """SEC-08, SEC-10, RFC 6455 §4.1 item 8: let in, unless the policy is told otherwise."""
    assert lenient(request(), None) is None
    assert "no Origin" in strict(request(), None)


def test_behind_a_proxy_the_public_origin_counts():
    """SEC-08: a function says what the browser sees."""
    policy = SameOrigin(seen_by_client=lambda request: request.fields["x-public-origin"])
    behind = request("inner:8000", "http", [("X-Public-Origin", "https://Public.example:443")])
    assert policy(behind, "https://public.example") is None
    assert policy(behind, "http://inner:8000") is not None


def test_a_list_may_include_the_server_itself():
    """SEC-08."""
    policy = AllowedOrigins(["https://a.example"], same_origin=True)
    assert policy(request(), "https://a.example") is None
    assert policy(request(), "https://good.example") is None
    assert policy(request(), "https://b.example") is not None
    assert AllowedOrigins(["https://a.example"])(request(), "https://good.example") is not None


def test_null_may_be_listed():
    """SEC-08: on purpose only."""
    assert AllowedOrigins(["null"])(request(), "null") is None


@pytest.mark.parametrize(
    "origin", ["*", "https://a.example/", "a.example", "https://*.a.example/x", "", "https://a b"]
)
def test_what_could_never_match_is_not_listed(origin):
    """SEC-08: a fault in the list is found when it is made."""
    with pytest.raises(LocalProtocolError, match="not an origin"):
        AllowedOrigins([origin])


def test_a_star_is_told_the_dangerous_name():
    """SEC-08: the opt-out says what it is."""
    with pytest.raises(LocalProtocolError, match="DANGEROUSLY_ALLOW_ANY_ORIGIN"):
        AllowedOrigins("*".split())
    with pytest.raises(LocalProtocolError, match="list"):
        AllowedOrigins("https://a.example")


@given(st.one_of(st.none(), st.text(max_size=30), st.sampled_from(STRANGERS)))
def test_the_dangerous_policy_lets_anybody_in(origin):
    """SEC-08: the opt-out."""
    assert DANGEROUSLY_ALLOW_ANY_ORIGIN(request(), origin) is None


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_only_the_own_origin_is_the_same(origin):
    """SEC-08: whatever else an Origin holds is refused, and nothing raises."""
    expected = origin.isascii() and origin.lower() in (
        "https://good.example",
        "https://good.example:443",
    )
    assert (SAME_ORIGIN(request(), origin) is None) == expected


def test_a_list_is_a_policy():
    """SEC-08: what the server's ``origins`` takes."""
    assert origin_policy(SAME_ORIGIN) is SAME_ORIGIN
    assert origin_policy(["https://a.example"])(request(), "https://a.example") is None
