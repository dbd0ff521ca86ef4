"""What a server decides: RFC 9110 §7.8, §15.5.22; RFC 9931 §5, §7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade import (
    Acceptance,
    Answer,
    Candidate,
    ContentRule,
    Offer,
    Ordinary,
    Registry,
    Select,
    Upgrade,
    UpgradeToken,
    client_order,
    decide,
    examine,
    switching_response,
    switching_response_to,
)

Ask = Callable[..., Request]
OPTION = ("Connection", "Upgrade")
FIVE = ("Content-Length", "5")
CHUNKED = ("Transfer-Encoding", "chunked")


def upgrade(*tokens: str) -> list[tuple[str, str]]:
    return [OPTION, ("Upgrade", ", ".join(tokens))]


def selected(decision: Any) -> str:
    assert isinstance(decision, Select), decision
    return decision.protocol


def refused(decision: Any) -> Response:
    assert isinstance(decision, Answer), decision
    assert decision.reason
    assert decision.response.content.endswith(b"\n")
    return decision.response


# Selecting.


def test_an_offered_and_registered_protocol_is_selected(ask: Ask) -> None:
    request = ask("GET", "/shout", *upgrade("foo/1", "shout/1"))
    registered = Upgrade(token="shout/1", path="/shout")
    decision = decide(request, Registry([registered]), secure=False)
    assert selected(decision) == "shout/1"
    assert decision.upgrade is registered
    assert decision.request is request
    assert not decision.reads_content


def test_a_request_need_not_be_examined_twice(ask: Ask) -> None:
    registry = Registry([Upgrade(token="a")])
    for lines in ([], upgrade("a"), [("Upgrade", "a")]):
        request = ask("GET", "/", *lines)
        examined = examine(request)
        first = decide(request, registry, secure=False)
        assert decide(request, registry, secure=False, examined=examined) == first
    offer = examine(ask("GET", "/", *upgrade("a")))
    assert isinstance(offer, Offer)
    assert switching_response_to(offer.request, "a", offer=offer).status == 101
    with pytest.raises(LocalProtocolError):
        switching_response_to(offer.request, "b", offer=offer)


def test_the_spelling_of_the_101_is_ours(ask: Ask) -> None:
    """UPG-S-04: names have a preferred letter case."""
    request = ask("GET", "/", *upgrade("WEBSOCKET"))
    assert selected(decide(request, Registry([Upgrade(token="websocket")]), secure=False)) == (
        "websocket"
    )
    versions = Registry([Upgrade(token="Shout", versions=("2",))])
    request = ask("GET", "/", *upgrade("shout/2"))
    assert selected(decide(request, versions, secure=False)) == "Shout/2"
    family = Registry([Upgrade(token="TLS/1.2", matcher=lambda t: t.key[0] == "tls")])
    request = ask("GET", "/", *upgrade("tls/1.3"))
    assert selected(decide(request, family, secure=False)) == "tls/1.3"


def test_any_offered_protocol_may_be_picked(ask: Ask) -> None:
    """UPG-S-06: `a, b` with only b supported."""
    request = ask("GET", "/", *upgrade("a", "b"))
    assert selected(decide(request, Registry([Upgrade(token="b")]), secure=False)) == "b"


def test_the_server_prefers_its_own_order(ask: Ask) -> None:
    request = ask("GET", "/", *upgrade("a", "b"))
    registry = Registry([Upgrade(token="b"), Upgrade(token="a")])
    assert selected(decide(request, registry, secure=False)) == "b"


def test_the_clients_order_on_request(ask: Ask) -> None:
    request = ask("GET", "/", *upgrade("a", "b"))
    registry = Registry([Upgrade(token="b"), Upgrade(token="a")], policy=client_order)
    assert selected(decide(request, registry, secure=False)) == "a"


def test_a_policy_of_ones_own(ask: Ask) -> None:
    seen: list[Any] = []

    def policy(
        offer: Offer, candidates: Sequence[Candidate], request: Request, peer: Any
    ) -> Candidate | None:
        seen.append((offer, [str(c.token) for c in candidates], request, peer))
        return candidates[-1] if peer == "friend" else None

    request = ask("GET", "/", *upgrade("a", "b"))
    registry = Registry([Upgrade(token="b"), Upgrade(token="a")], policy=policy)
    assert selected(decide(request, registry, secure=False, peer="friend")) == "a"
    declined = decide(request, registry, secure=False, peer="stranger")
    assert declined == Ordinary("the selection policy declined the offer")
    assert seen[0][1:] == (["b", "a"], request, "friend")


def test_a_policy_cannot_invent_a_candidate(ask: Ask) -> None:
    """UPG-S-07: a fault of this server is not a switch."""
    other = Candidate(Upgrade(token="evil"), UpgradeToken("evil"), 0, {})
    registry = Registry([Upgrade(token="a")], policy=lambda *_: other)
    with pytest.raises(LocalProtocolError):
        decide(ask("GET", "/", *upgrade("a")), registry, secure=False)


def test_a_handshake_cannot_answer_with_what_was_not_offered(ask: Ask) -> None:
    """UPG-S-07, RFC 9110 §7.8: MUST NOT switch to a protocol that was not indicated."""
    registry = Registry([Upgrade(token="a", prepare=lambda *_: Acceptance(protocol="b"))])
    with pytest.raises(LocalProtocolError, match="not offered"):
        decide(ask("GET", "/", *upgrade("a")), registry, secure=False)


def test_a_handshake_may_choose_among_the_offered(ask: Ask) -> None:
    registry = Registry([Upgrade(token="a", prepare=lambda *_: Acceptance(protocol="c/1"))])
    decision = decide(ask("GET", "/", *upgrade("a", "c/1")), registry, secure=False)
    assert selected(decision) == "c/1"


def test_parameters_of_the_path_reach_the_successor(ask: Ask) -> None:
    registry = Registry([Upgrade(token="x", path="/udp/{host}/{port}/", successor="made")])
    request = ask("GET", "/udp/a%2Fb/53/?x", *upgrade("x"))
    decision = decide(request, registry, secure=False)
    assert isinstance(decision, Select)
    assert decision.parameters == {"host": "a/b", "port": "53"}
    assert decision.upgrade.successor == "made"


def test_the_handshake_is_asked_with_request_and_token(ask: Ask) -> None:
    seen: list[Any] = []

    def prepare(request: Request, token: UpgradeToken) -> Acceptance:
        seen.append((request, str(token)))
        return Acceptance(Fields([("X-Y", "1")]), state=42)

    request = ask("GET", "/", *upgrade("X/1"))
    decision = decide(request, Registry([Upgrade(token="x/1", prepare=prepare)]), secure=False)
    assert isinstance(decision, Select)
    assert decision.acceptance.state == 42
    assert seen == [(request, "X/1")]


# Declining: an ordinary exchange.


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("extra", [[], [FIVE], [CHUNKED], [("Expect", "100-continue"), FIVE]])
def test_an_unknown_protocol_is_never_an_error(
    ask: Ask, method: str, extra: list[tuple[str, str]]
) -> None:
    """UPG-S-06: the normal response, not 400, 426 or 501."""
    registry = Registry([Upgrade(token="websocket"), Upgrade(token="known", path="/k")])
    for token in ("h2c", "foo/1", "known"):
        decision = decide(ask(method, "/", *upgrade(token), *extra), registry, secure=False)
        assert isinstance(decision, Ordinary), decision


@pytest.mark.parametrize(
    ("registered", "words"),
    [
        (Upgrade(token="x", path="/other"), "path"),
        (Upgrade(token="x", predicate=lambda request: False), "this request"),
        (Upgrade(token="x", methods={"POST"}), "does not start from GET"),
        (Upgrade(token="x", secure=True), "only under TLS"),
        (Upgrade(token="y"), "no offered protocol"),
    ],
)
def test_a_registration_that_does_not_fit_declines(
    ask: Ask, registered: Upgrade, words: str
) -> None:
    decision = decide(ask("GET", "/", *upgrade("x")), Registry([registered]), secure=False)
    assert isinstance(decision, Ordinary)
    assert words in decision.reason
    assert decision.rule


def test_a_cleartext_only_protocol_is_ignored_under_tls(ask: Ask) -> None:
    """TLS-13: no second TLS inside the first."""
    registry = Registry([Upgrade(token="x", secure=False)])
    request = ask("GET", "/", *upgrade("x"))
    assert isinstance(decide(request, registry, secure=True), Ordinary)
    assert isinstance(decide(request, registry, secure=False), Select)


@pytest.mark.parametrize(
    "request_lines",
    [
        ("1.0", [OPTION, ("Upgrade", "x")]),
        ("1.1", [("Upgrade", "x")]),
        ("1.1", [OPTION]),
        ("1.1", [OPTION, ("Upgrade", "x y")]),
    ],
)
def test_what_is_no_offer_switches_nothing(
    ask: Ask, request_lines: tuple[str, list[tuple[str, str]]]
) -> None:
    """UPG-S-01, UPG-S-02, UPG-S-05."""
    version, lines = request_lines
    request = ask("GET", "/", *lines, version=version)
    decision = decide(request, Registry([Upgrade(token="x")]), secure=False)
    assert isinstance(decision, Ordinary)
    assert decision.reason
    assert decision.rule


def test_a_plain_request_is_decided_at_once(ask: Ask) -> None:
    registry = Registry([Upgrade(token="x")])
    first = decide(ask("GET", "/"), registry, secure=False)
    assert first is decide(ask("GET", "/2"), registry, secure=False)
    assert isinstance(first, Ordinary)


# Content: RFC 9110 §7.8, RFC 9931 §7.1.


@pytest.mark.parametrize("framing", [FIVE, CHUNKED])
def test_content_is_refused_where_the_protocol_has_no_use_for_it(
    ask: Ask, framing: tuple[str, str]
) -> None:
    """UPG-S-24: 400 by default, never 101 with content octets read as the new protocol."""
    registry = Registry([Upgrade(token="x")])
    response = refused(decide(ask("GET", "/", *upgrade("x"), framing), registry, secure=False))
    assert response.status == 400
    assert b"content" in response.content


def test_a_content_length_of_zero_is_no_content(ask: Ask) -> None:
    """UPG-S-24: `Content-Length: 0` is tolerated."""
    request = ask("GET", "/", *upgrade("x"), ("Content-Length", "0"))
    assert selected(decide(request, Registry([Upgrade(token="x")]), secure=False)) == "x"


@pytest.mark.parametrize("framing", [FIVE, CHUNKED])
def test_content_may_decline_the_offer(ask: Ask, framing: tuple[str, str]) -> None:
    """UPG-S-13, TLS-15: answered in clear."""
    registry = Registry([Upgrade(token="x", methods=None, content=ContentRule.DECLINE)])
    decision = decide(ask("POST", "/", *upgrade("x"), framing), registry, secure=False)
    assert isinstance(decision, Ordinary)
    assert decision.rule == "RFC 9931 §7.1"


def test_a_post_with_content_does_not_become_a_get_only_protocol(ask: Ask) -> None:
    """UPG-S-13: POST with content and `Upgrade: websocket`: no 101."""
    registry = Registry([Upgrade(token="websocket")])
    decision = decide(ask("POST", "/", *upgrade("websocket"), FIVE), registry, secure=False)
    assert isinstance(decision, Ordinary)


def test_options_asterisk_may_switch(ask: Ask) -> None:
    """UPG-S-13: any protocol can honour OPTIONS."""
    registry = Registry([Upgrade(token="TLS/1.2", methods=None)])
    request = ask("OPTIONS", "*", *upgrade("TLS/1.2"))
    assert selected(decide(request, registry, secure=False)) == "TLS/1.2"


@pytest.mark.parametrize("framing", [FIVE, CHUNKED])
def test_content_may_be_read_first(ask: Ask, framing: tuple[str, str]) -> None:
    """UPG-S-11: the docker CLI posts JSON with `Upgrade: tcp`."""
    registry = Registry([Upgrade(token="tcp", methods={"POST"}, content=ContentRule.READ)])
    decision = decide(ask("POST", "/", *upgrade("tcp"), framing), registry, secure=False)
    assert selected(decision) == "tcp"
    assert decision.reads_content
    empty = decide(ask("POST", "/", *upgrade("tcp")), registry, secure=False)
    assert isinstance(empty, Select)
    assert not empty.reads_content


@pytest.mark.parametrize(
    ("length", "fits"), [("5", True), ("6", False), ("9" * 30, False), ("9" * 9000, False)]
)
def test_more_content_than_is_read_declines(ask: Ask, length: str, fits: bool) -> None:
    registered = Upgrade(token="tcp", content=ContentRule.READ, content_limit=5)
    request = ask("GET", "/", *upgrade("tcp"), ("Content-Length", length))
    decision = decide(request, Registry([registered]), secure=False)
    assert isinstance(decision, Select if fits else Ordinary)


def test_a_protocol_that_takes_content_goes_before_one_that_refuses(ask: Ask) -> None:
    registry = Registry([Upgrade(token="a"), Upgrade(token="b", content=ContentRule.READ)])
    request = ask("GET", "/", *upgrade("a", "b"), FIVE)
    assert selected(decide(request, registry, secure=False)) == "b"


# Refusing, with an ordinary response.


def test_a_handshake_that_refuses_is_an_ordinary_response(ask: Ask) -> None:
    """UPG-S-21: authentication and redirects come as final responses."""
    challenge = Response.text(401, "Who?\n", [("WWW-Authenticate", "Basic")])

    def prepare(request: Request, token: UpgradeToken) -> Acceptance | Response:
        return Acceptance() if "Authorization" in request.fields else challenge

    registry = Registry([Upgrade(token="x", prepare=prepare)])
    assert refused(decide(ask("GET", "/", *upgrade("x")), registry, secure=False)) is challenge
    with_credentials = ask("GET", "/", *upgrade("x"), ("Authorization", "Basic YTpi"))
    assert isinstance(decide(with_credentials, registry, secure=False), Select)


def test_a_handshake_that_finds_a_fault_is_answered_with_its_status(ask: Ask) -> None:
    def prepare(request: Request, token: UpgradeToken) -> Acceptance:
        raise RemoteProtocolError("the key is short", rule="RFC 0000 §1", status=422)

    registry = Registry([Upgrade(token="x", prepare=prepare)])
    response = refused(decide(ask("GET", "/", *upgrade("x")), registry, secure=False))
    assert response.status == 422
    assert b"RFC 0000" in response.content


# Requiring: RFC 9110 §15.5.22.

INSISTS = Registry([Upgrade(token="p/1", path="/p", required=True), Upgrade(token="q")])


@pytest.mark.parametrize(
    "lines", [[], [("Upgrade", "p/1")], [OPTION], upgrade("other"), upgrade("q"), upgrade("p/2")]
)
def test_a_resource_that_insists_answers_426(ask: Ask, lines: list[tuple[str, str]]) -> None:
    """UPG-S-15, UPG-S-09."""
    response = refused(decide(ask("GET", "/p", *lines), INSISTS, secure=False))
    assert response.status == 426
    assert response.fields["Upgrade"] == "p/1"
    assert response.fields.connection_options == {"upgrade"}
    assert response.fields["Content-Length"] == str(len(response.content))
    assert b"p/1" in response.content


def test_the_426_is_not_forced_by_the_field(ask: Ask) -> None:
    """UPG-S-01: elsewhere an HTTP/1.0 request with Upgrade gets its normal answer."""
    request = ask("GET", "/", *upgrade("p/1"), version="1.0")
    assert isinstance(decide(request, INSISTS, secure=False), Ordinary)
    insisting = refused(decide(ask("GET", "/p", version="1.0"), INSISTS, secure=False))
    assert insisting.status == 426


def test_the_required_protocol_can_be_had(ask: Ask) -> None:
    request = ask("GET", "/p", *upgrade("q", "p/1"))
    assert selected(decide(request, INSISTS, secure=False)) == "p/1"
    elsewhere = ask("GET", "/", *upgrade("q", "p/1"))
    assert selected(decide(elsewhere, INSISTS, secure=False)) == "q"


def test_several_required_protocols_are_alternatives(ask: Ask) -> None:
    """UPG-S-15: the most preferred first."""
    tls = Upgrade(
        token="TLS/1.2", required=True, layers_above=("HTTP/1.1",), secure=False, methods=None
    )
    registry = Registry([tls, Upgrade(token="p", versions=("2", "1"), required=True)])
    response = refused(decide(ask("GET", "/"), registry, secure=False))
    assert response.fields["Upgrade"] == "TLS/1.2, HTTP/1.1, p/2, p/1"
    assert selected(decide(ask("GET", "/", *upgrade("p/1")), registry, secure=False)) == "p/1"
    inside = refused(decide(ask("GET", "/"), registry, secure=True))
    assert inside.fields["Upgrade"] == "p/2, p/1"


def test_a_method_that_could_never_switch_gets_405(ask: Ask) -> None:
    """WS-H-18, RFC 9110 §15.5.6: with Allow."""
    for lines in ([], upgrade("p/1"), [*upgrade("p/1"), FIVE]):
        response = refused(decide(ask("POST", "/p", *lines), INSISTS, secure=False))
        assert response.status == 405
        assert response.fields["Allow"] == "GET"


def test_where_the_answer_comes_inside_any_method_gets_426(ask: Ask) -> None:
    """TLS-08, TLS-15: POST to a TLS-only resource is told to switch first."""
    tls = Upgrade(
        token="TLS/1.2",
        methods={"GET", "OPTIONS"},
        content=ContentRule.DECLINE,
        answers_inside=True,
        required=True,
    )
    request = ask("POST", "/", *upgrade("TLS/1.2"), FIVE)
    assert refused(decide(request, Registry([tls]), secure=False)).status == 426


def test_a_misfit_answer_of_ones_own(ask: Ask) -> None:
    def misfit(request: Request, reason: str) -> Response | None:
        return Response.text(400, f"{reason}\n") if "Upgrade" in request.fields else None

    registry = Registry([Upgrade(token="p", required=True, misfit=misfit)])
    half = refused(decide(ask("GET", "/", ("Upgrade", "p")), registry, secure=False))
    assert half.status == 400
    assert b"Connection" in half.content
    assert refused(decide(ask("GET", "/"), registry, secure=False)).status == 426


# Extended CONNECT: RFC 8441.


def extended(ask: Ask, protocol: str, path: str = "/p") -> Request:
    return ask("CONNECT", path, version="2", scheme="https", protocol=protocol)


def test_the_same_registration_serves_extended_connect(ask: Ask) -> None:
    """The method is CONNECT whatever ``methods`` says; the answer is 200, without Upgrade."""
    decision = decide(extended(ask, "p/1"), INSISTS, secure=True)
    assert selected(decision) == "p/1"
    response = switching_response(decision)
    assert response.status == 200
    assert "Upgrade" not in response.fields
    assert "Connection" not in response.fields


def test_an_unknown_protocol_of_extended_connect_gets_501(ask: Ask) -> None:
    """WS2-12, RFC 9220 §3."""
    assert refused(decide(extended(ask, "foo"), Registry(), secure=True)).status == 501


def test_a_known_protocol_elsewhere_gets_404(ask: Ask) -> None:
    registry = Registry([Upgrade(token="p", path="/p")])
    assert refused(decide(extended(ask, "p", "/other"), registry, secure=True)).status == 404


def test_a_protocol_may_keep_away_from_extended_connect(ask: Ask) -> None:
    registry = Registry([Upgrade(token="p", extended_connect=False)])
    response = refused(decide(extended(ask, "p"), registry, secure=True))
    assert response.status == 404
    assert b"extended CONNECT" in response.content


def test_a_malformed_protocol_gets_400(ask: Ask) -> None:
    assert refused(decide(extended(ask, "a, b"), Registry(), secure=True)).status == 400


def test_over_http_2_there_is_no_426(ask: Ask) -> None:
    """UPG-S-23: Upgrade and Connection would make the response malformed."""
    response = refused(decide(ask("GET", "/p", version="2"), INSISTS, secure=True))
    assert response.status == 400
    assert "Upgrade" not in response.fields
    assert "Connection" not in response.fields
    other = refused(decide(extended(ask, "other"), INSISTS, secure=True))
    assert other.status == 400


# Whatever is registered and offered: never a protocol that was not offered.

tokens = st.sampled_from(["a", "A", "b/1", "b/2", "B/1", "c", "x y"])


@given(
    registered=st.lists(tokens.filter(lambda t: " " not in t), max_size=4),
    offer=st.lists(tokens, max_size=5),
    required=st.booleans(),
    method=st.sampled_from(["GET", "POST"]),
    policy=st.sampled_from([None, client_order]),
)
def test_a_switch_is_always_to_an_offered_registered_protocol(
    registered: list[str], offer: list[str], required: bool, method: str, policy: Any
) -> None:
    """UPG-S-06, UPG-S-07, UPG-S-08, UPG-S-09."""
    upgrades = [Upgrade(token=token, required=required) for token in registered]
    registry = Registry(upgrades, **({"policy": policy} if policy else {}))
    lines = [("Host", "h"), OPTION, ("Upgrade", ", ".join(offer))]
    decision = decide(Request(method, "/", Fields(lines)), registry, secure=False)
    offered = {UpgradeToken.parse(token) for token in offer if " " not in token}
    known = {UpgradeToken.parse(token) for token in registered}
    if isinstance(decision, Select):
        assert decision.token in offered & known
        response = switching_response(decision)
        assert response.fields.get_all("Upgrade") == [decision.protocol]
        assert response.fields.connection_options == {"upgrade"}
    elif method == "GET" and offered & known:
        raise AssertionError(decision)
    else:
        assert isinstance(decision, Answer) is bool(required and registered)
