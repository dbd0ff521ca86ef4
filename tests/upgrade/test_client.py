"""The client's side: RFC 9110 §7.8, §15.2.2, §15.4, §15.5.22; RFC 2817 §3.3, §5.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade import (
    GiveUp,
    Retry,
    TunnelFirst,
    UpgradeReaction,
    UpgradeToken,
    examine,
    fresh_request,
    may_repeat_unanswered,
    offered_tokens,
    offering_request,
    redirected,
    verify,
)
from switchover.upgrade.offers import Offer

Ask = Callable[..., Request]


def reply(*lines: tuple[str, str], status: int = 101, version: str = "1.1") -> Response:
    return Response(status, Fields(lines), version=version)


OPTION = ("Connection", "Upgrade")


# Offering.


def test_an_offer_has_field_and_option(ask: Ask) -> None:
    """UPG-C-01, UPG-C-02: the preferred token first."""
    plain = ask("GET", "/")
    request = offering_request(plain, ["shout/2", UpgradeToken("shout", "1")])
    assert request.fields["Upgrade"] == "shout/2, shout/1"
    assert request.fields["Connection"] == "Upgrade"
    assert "Upgrade" not in plain.fields
    assert [str(token) for token in offered_tokens(request)] == ["shout/2", "shout/1"]


def test_other_connection_specific_fields_are_named_too(ask: Ask) -> None:
    """UPG-C-01: for example HTTP2-Settings; options given before are kept, none is doubled."""
    request = ask("GET", "/", ("connection", "keep-alive"), ("Connection", "x-mine, upgrade"))
    offer = offering_request(request, ["p"], options=["X-Settings", "X-Mine"])
    assert offer.fields.get_all("Connection") == ["Upgrade, X-Settings, X-Mine, keep-alive"]


@pytest.mark.parametrize(
    "tokens", [["a b"], ["a\r\nX: y"], [""], [], ["ok", "b,c"], ["a/b/c"], "websocket"]
)
def test_a_malformed_offer_is_not_sent(ask: Ask, tokens: Any) -> None:
    """UPG-C-02, SEC-33."""
    with pytest.raises(LocalProtocolError):
        offering_request(ask("GET", "/"), tokens)


@pytest.mark.parametrize("option", ["a b", "", "x\r\ny", "a,b"])
def test_a_malformed_option_is_not_sent(ask: Ask, option: str) -> None:
    with pytest.raises(LocalProtocolError):
        offering_request(ask("GET", "/"), ["p"], options=[option])


@pytest.mark.parametrize("version", ["1.0", "2", "3"])
def test_other_versions_of_http_carry_no_offer(ask: Ask, version: str) -> None:
    """UPG-C-13."""
    with pytest.raises(LocalProtocolError, match="cannot offer"):
        offering_request(ask("GET", "/", version=version), ["p"])


def test_connect_carries_no_offer(ask: Ask) -> None:
    with pytest.raises(LocalProtocolError):
        offering_request(ask("CONNECT", "h:1"), ["p"])


def test_an_offer_is_made_once(ask: Ask) -> None:
    with pytest.raises(LocalProtocolError, match="already"):
        offering_request(offering_request(ask("GET", "/"), ["p"]), ["p"])


names = st.text("abcXYZ09-._~!", min_size=1, max_size=6)
protocols = st.builds(lambda n, v: f"{n}/{v}" if v else n, names, st.none() | names)


@given(tokens=st.lists(protocols, min_size=1, max_size=5), options=st.lists(names, max_size=3))
def test_what_a_client_offers_is_what_a_server_reads(tokens: list[str], options: list[str]) -> None:
    """UPG-C-01, UPG-C-02: and selecting any of it passes the client's check."""
    request = offering_request(Request("GET", "/", Fields()), tokens, options=options)
    offer = examine(request)
    assert isinstance(offer, Offer)
    assert [str(token) for token in offer.tokens] == tokens
    for token in tokens:
        name, slash, version = token.partition("/")
        answer = reply(("Upgrade", name.upper() + slash + version), ("Connection", "upgrade"))
        assert UpgradeToken.parse(verify(request, answer)) == UpgradeToken.parse(token)


# Checking the 101.


@pytest.fixture
def offer(ask: Ask) -> Request:
    return offering_request(ask("GET", "/"), ["shout/2", "Shout/1"])


def test_a_101_to_an_offered_protocol_is_taken(offer: Request) -> None:
    """UPG-C-05: the protocol as it was offered, whatever the letter case of the answer."""
    assert verify(offer, reply(("Upgrade", "SHOUT/1"), ("Connection", "x, uPgrade"))) == "Shout/1"
    assert verify(offer, reply(("Upgrade", ", shout/2,"), OPTION)) == "shout/2"


@pytest.mark.parametrize(
    "lines",
    [
        [("Upgrade", "shout/2")],
        [("Upgrade", "shout/2"), ("Connection", "close")],
        [("Upgrade", "shout/2"), ("Connection", "upgraded")],
        [OPTION],
        [OPTION, ("Upgrade", "")],
        [OPTION, ("Upgrade", "h2c")],
        [OPTION, ("Upgrade", "shout")],
        [OPTION, ("Upgrade", "shout/3")],
        [OPTION, ("Upgrade", "shout/2x")],
        [OPTION, ("Upgrade", "x-shout/2")],
        [OPTION, ("Upgrade", "shout/2 x")],
        [OPTION, ("Upgrade", "shout/2, h2c")],
        [OPTION, ("Upgrade", "shout/2, HTTP/1.1")],
        [OPTION, ("Upgrade", "shout/2, shout/1")],
        [OPTION, ("Upgrade", "shout/2"), ("Upgrade", "shout/1")],
        [OPTION, ("Upgrade", "h2c, shout/2")],
        [OPTION, ("Upgrade", "bad token, shout/2")],
    ],
)
def test_a_101_that_does_not_fit_the_offer_is_an_error(
    offer: Request, lines: list[tuple[str, str]]
) -> None:
    """UPG-C-05, RFC 9110 §7.8, §15.2.2."""
    with pytest.raises(RemoteProtocolError) as caught:
        verify(offer, reply(*lines))
    assert caught.value.rule.startswith("RFC 9110 §")


def test_a_101_nobody_asked_for_is_an_error(ask: Ask) -> None:
    """UPG-C-06."""
    with pytest.raises(RemoteProtocolError, match="nobody asked"):
        verify(ask("GET", "/"), reply(("Upgrade", "shout/2"), OPTION))


@pytest.mark.parametrize("status", [100, 103, 200, 204, 401, 426, 500])
def test_another_status_switches_nothing(offer: Request, status: int) -> None:
    """UPG-C-09."""
    with pytest.raises(RemoteProtocolError, match=f"{status} switches nothing"):
        verify(offer, reply(("Upgrade", "shout/2"), OPTION, status=status))


def test_a_101_belongs_to_http_1_1(offer: Request) -> None:
    """UPG-C-16: `HTTP/1.0 101` is a protocol error."""
    lines = (("Upgrade", "shout/2"), OPTION)
    with pytest.raises(RemoteProtocolError, match="a 101 exists only in"):
        verify(offer, reply(*lines, version="1.0"))
    offer.version = "1.0"
    with pytest.raises(RemoteProtocolError, match="a 101 exists only in"):
        verify(offer, reply(*lines))


def test_http_1_1_may_follow_above_tls(ask: Ask) -> None:
    """UPG-C-05, TLS-04, RFC 2817 §3.3: only that, and only when the caller says so."""
    request = offering_request(ask("OPTIONS", "*"), ["TLS/1.2", "TLS/1.0"])
    response = reply(("Upgrade", "TLS/1.0, HTTP/1.1"), OPTION)
    assert verify(request, response, layers=["HTTP/1.1"]) == "TLS/1.0"
    for value in ("TLS/1.2, h2c", "HTTP/1.1, TLS/1.2", "HTTP/1.1", "TLS/1.2, HTTP/1.1, h2c"):
        with pytest.raises(RemoteProtocolError):
            verify(request, reply(("Upgrade", value), OPTION), layers=["HTTP/1.1"])
    with pytest.raises(RemoteProtocolError):
        verify(request, response)


def test_what_a_cups_server_answers_is_taken_only_on_request(ask: Ask) -> None:
    """UPG-C-05: `Connection: Keep-Alive` and all versions listed, as cupsd 2.4 does."""
    request = offering_request(ask("OPTIONS", "*"), ["TLS/1.2", "TLS/1.1", "TLS/1.0"])
    response = reply(
        ("Connection", "Keep-Alive"),
        ("Content-Length", "0"),
        ("Upgrade", "TLS/1.2,TLS/1.1,TLS/1.0"),
    )
    tolerant = {"tolerate_missing_option": True, "tolerate_version_list": True}
    assert verify(request, response, **tolerant) == "TLS/1.2"
    for name in tolerant:
        with pytest.raises(RemoteProtocolError):
            verify(request, response, **(tolerant | {name: False}))
    mixed = reply(("Upgrade", "TLS/1.2, h2c"))
    with pytest.raises(RemoteProtocolError):
        verify(request, mixed, **tolerant)
    not_offered = reply(("Upgrade", "TLS/1.2, TLS/1.3"))
    with pytest.raises(RemoteProtocolError):
        verify(request, not_offered, **tolerant)


def test_an_extended_connect_is_opened_by_2xx(ask: Ask) -> None:
    """RFC 8441 §5."""
    request = ask("CONNECT", "/", version="2", protocol="p")
    assert [str(token) for token in offered_tokens(request)] == ["p"]
    for status in (200, 204, 299):
        assert verify(request, reply(status=status, version="2")) == "p"
    for status in (101, 199, 300, 404):
        with pytest.raises(RemoteProtocolError):
            verify(request, reply(status=status, version="2"))


# After a 426.


def required(*upgrade: str) -> Response:
    return reply(*[("Upgrade", value) for value in upgrade], status=426)


def test_a_426_is_answered_by_a_new_offer(ask: Ask) -> None:
    """UPG-C-10: what is listed and acceptable, in the server's order; any letter case."""
    reaction = UpgradeReaction(["tls/1.2", "tls/1.3", "other"])
    response = required("TLS/1.3, TLS/1.2", "HTTP/1.1")
    assert reaction.react(ask("GET", "/"), response, attempt=0) == Retry(
        (UpgradeToken("TLS", "1.3"), UpgradeToken("TLS", "1.2"))
    )


def test_a_426_that_is_repeated_is_given_up(ask: Ask) -> None:
    """UPG-C-10: a guard against loops."""
    reaction = UpgradeReaction(["p"], max_retries=2)
    verdicts = [reaction.react(ask("GET", "/"), required("p"), attempt=n) for n in range(4)]
    assert [type(verdict) for verdict in verdicts] == [Retry, Retry, GiveUp, GiveUp]


def test_a_426_for_what_was_offered_is_not_a_loop(ask: Ask) -> None:
    """UPG-C-10, UPG-C-11: the offer was removed on the way."""
    offer = offering_request(ask("GET", "/"), ["p"])
    reaction = UpgradeReaction(["p"], max_retries=5)
    assert isinstance(reaction.react(offer, required("p"), attempt=0), GiveUp)
    verdict = reaction.react(offer, required("p"), attempt=0, through_proxy=True)
    assert isinstance(verdict, TunnelFirst)
    more = UpgradeReaction(["p", "q"])
    assert isinstance(more.react(offer, required("p, q"), attempt=0), Retry)


def test_a_426_without_upgrade_asks_for_a_tunnel(ask: Ask) -> None:
    """UPG-C-11, RFC 2817 §5.1: a proxy has removed the field."""
    reaction = UpgradeReaction(["p"])
    verdict = reaction.react(ask("GET", "/"), required(), attempt=0, through_proxy=True)
    assert isinstance(verdict, TunnelFirst)
    assert "proxy" in verdict.reason
    assert isinstance(reaction.react(ask("GET", "/"), required(), attempt=0), GiveUp)


def test_a_426_for_what_is_not_acceptable_is_the_callers(ask: Ask) -> None:
    verdict = UpgradeReaction(["p"]).react(ask("GET", "/"), required("q/1"), attempt=0)
    assert isinstance(verdict, GiveUp)
    assert "q/1" in verdict.reason
    assert isinstance(UpgradeReaction().react(ask("GET", "/"), required("q"), attempt=0), GiveUp)


def test_what_is_acceptable_may_be_a_function(ask: Ask) -> None:
    reaction = UpgradeReaction(lambda token: token.key[0] == "tls")
    verdict = reaction.react(ask("GET", "/"), required("TLS/1.2, HTTP/1.1"), attempt=0)
    assert verdict == Retry((UpgradeToken("TLS", "1.2"),))


def test_only_a_426_is_reacted_to(ask: Ask) -> None:
    with pytest.raises(LocalProtocolError):
        UpgradeReaction(["p"]).react(ask("GET", "/"), reply(status=200), attempt=0)
    with pytest.raises(LocalProtocolError):
        UpgradeReaction(["a b"])


# Asking again.


def test_a_fresh_request_has_nothing_of_the_last_attempt(ask: Ask) -> None:
    """UPG-C-17: new nonces; credentials stay with their origin."""
    request = offering_request(
        ask("GET", "/", ("Authorization", "x"), ("X-Key", "nonce"), ("X-Settings", "s")),
        ["p"],
        options=["X-Settings"],
    )
    fresh = fresh_request(request, drop=["x-key"])
    assert list(fresh.fields) == [("Host", "example.com"), ("Authorization", "x")]
    assert "Upgrade" in offering_request(fresh, ["p"]).fields


def test_a_fresh_request_for_another_origin_has_no_credentials(ask: Ask) -> None:
    """UPG-C-17, RFC 9110 §15.4."""
    secrets = [("Authorization", "x"), ("COOKIE", "y"), ("Proxy-Authorization", "z")]
    fresh = fresh_request(ask("GET", "/", *secrets, ("X-Y", "1")), same_origin=False)
    assert list(fresh.fields) == [("X-Y", "1")]


def moved(status: int, *locations: str) -> Response:
    return reply(*[("Location", location) for location in locations], status=status)


@pytest.mark.parametrize(
    ("location", "url", "host", "target", "authorized"),
    [
        ("/b?c", "http://h/b?c", "h", "/b?c", True),
        ("b", "http://h/a/b", "h", "/a/b", True),
        ("http://H:80/b#f", "http://H:80/b", "h", "/b", True),
        ("//other/b", "http://other/b", "other", "/b", False),
        ("https://h/b", "https://h/b", "h", "/b", False),
        ("http://h:8080/", "http://h:8080/", "h:8080", "/", False),
        ("ws://h/b", "ws://h/b", "h", "/b", True),
        ("", "http://h/a/x", "h", "/a/x", True),
    ],
)
def test_following_a_redirect(
    ask: Ask, location: str, url: str, host: str, target: str, authorized: bool
) -> None:
    """UPG-C-17: Authorization is absent after a redirect across origins."""
    request = offering_request(ask("GET", "/a/x", ("Authorization", "s"), ("X-Key", "n")), ["p"])
    new_url, new, content = redirected(
        request, moved(307, location), url="http://h/a/x", drop=["X-Key"]
    )
    assert new_url == url
    assert new.target == target
    assert new.fields["Host"] == new.authority == host
    assert ("Authorization" in new.fields) is authorized
    assert "X-Key" not in new.fields
    assert "Upgrade" not in new.fields
    assert content


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
def test_the_method_after_a_redirect(ask: Ask, status: int, method: str, expected: str) -> None:
    """RFC 9110 §15.4.2 to §15.4.9: content goes along only with an unchanged method."""
    request = ask(method, "/", ("Content-Length", "5"), ("Content-Type", "x/y"), ("Expect", "z"))
    _, new, content = redirected(request, moved(status, "/b"), url="http://h/")
    assert new.method == expected
    assert content is (method == expected)
    assert ("Content-Length" in new.fields) is content
    assert ("Expect" in new.fields) is content


@pytest.mark.parametrize(
    ("url", "response"),
    [
        ("http://h/", moved(200, "/b")),
        ("http://h/", moved(304, "/b")),
        ("http://h/", moved(302)),
        ("http://h/", moved(302, "/b", "/c")),
        ("http://h/", moved(302, "ftp://h/b")),
        ("http://h/", moved(302, "http:///b")),
        ("http://h/", moved(302, "///b")),
        ("http://h/", moved(302, "/b c")),
        ("https://h/", moved(302, "http://h/b")),
        ("wss://h/", moved(302, "ws://h/b")),
    ],
)
def test_a_redirect_that_is_not_followed(ask: Ask, url: str, response: Response) -> None:
    """UPG-C-17: never out of TLS, never to what is no URL of ours."""
    with pytest.raises(RemoteProtocolError):
        redirected(ask("GET", "/"), response, url=url)


def test_what_may_be_repeated_without_an_answer(ask: Ask) -> None:
    """RFC 9110 §9.2.2."""
    assert may_repeat_unanswered(ask("GET", "/"))
    assert not may_repeat_unanswered(ask("POST", "/"))
