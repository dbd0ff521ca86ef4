"""101, 426 and advertisements: RFC 9110 §7.8, §15.2.2, §15.5.22."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade import (
    Acceptance,
    Registry,
    Select,
    Upgrade,
    UpgradeToken,
    advertise,
    decide,
    required_response,
    switching_response,
    switching_response_to,
)

Ask = Callable[..., Request]
OFFER = (("Connection", "Upgrade"), ("Upgrade", "a, TLS/1.2"))


def test_a_101_names_what_is_in_effect_next(ask: Ask) -> None:
    """UPG-S-08, UPG-S-09: one Upgrade field, one connection option."""
    response = switching_response_to(ask("GET", "/", *OFFER), "a", fields=Fields([("X-Y", "1")]))
    assert response.status == 101
    assert response.reason == "Switching Protocols"
    assert list(response.fields) == [("Upgrade", "a"), ("Connection", "Upgrade"), ("X-Y", "1")]
    assert response.content == b""


def test_layers_are_listed_bottom_up(ask: Ask) -> None:
    """UPG-S-08, TLS-03: RFC 9110 §7.8, in layer-ascending order."""
    registry = Registry([Upgrade(token="TLS/1.2", layers_above=("HTTP/1.1",))])
    decision = decide(ask("GET", "/", *OFFER), registry, secure=False)
    assert isinstance(decision, Select)
    assert switching_response(decision).fields["Upgrade"] == "TLS/1.2, HTTP/1.1"
    by_hand = switching_response_to(ask("GET", "/", *OFFER), "TLS/1.2", layers_above=["HTTP/1.1"])
    assert by_hand == switching_response(decision)


@pytest.mark.parametrize("protocol", ["b", "a/1", "TLS"])
def test_no_101_for_what_was_not_offered(ask: Ask, protocol: str) -> None:
    """UPG-S-07: refused locally, nothing on the wire."""
    with pytest.raises(LocalProtocolError, match="not offered"):
        switching_response_to(ask("GET", "/", *OFFER), protocol)


@pytest.mark.parametrize(
    ("lines", "version"), [(OFFER[1:], "1.1"), (OFFER[:1], "1.1"), (OFFER, "1.0"), (OFFER, "2")]
)
def test_no_101_without_an_offer(
    ask: Ask, lines: tuple[tuple[str, str], ...], version: str
) -> None:
    """UPG-S-01, UPG-S-02, UPG-S-07."""
    with pytest.raises(LocalProtocolError, match="cannot switch to a"):
        switching_response_to(ask("GET", "/", *lines, version=version), "a")


@pytest.mark.parametrize(
    "name", ["Upgrade", "connection", "Content-Length", "TRANSFER-ENCODING", "Trailer"]
)
def test_no_content_and_no_second_upgrade_in_a_101(ask: Ask, name: str) -> None:
    """UPG-S-08, UPG-S-10, MSG-32."""
    with pytest.raises(LocalProtocolError, match="no"):
        switching_response_to(ask("GET", "/", *OFFER), "a", fields=Fields([(name, "0")]))
    registry = Registry([Upgrade(token="a", prepare=lambda *_: Acceptance(Fields([(name, "0")])))])
    decision = decide(ask("GET", "/", *OFFER), registry, secure=False)
    assert isinstance(decision, Select)
    with pytest.raises(LocalProtocolError):
        switching_response(decision)


@pytest.mark.parametrize("protocol", ["a b", "a\r\nX: y", ""])
def test_a_protocol_that_is_no_token_never_gets_out(ask: Ask, protocol: str) -> None:
    """SEC-32: response splitting by the protocol token."""
    with pytest.raises(LocalProtocolError):
        switching_response_to(ask("GET", "/", *OFFER), protocol)


def test_the_given_fields_stay_as_they_are(ask: Ask) -> None:
    fields = Fields([("X-Y", "1")])
    switching_response_to(ask("GET", "/", *OFFER), UpgradeToken("a"), fields=fields).fields.add(
        "Z", "2"
    )
    assert list(fields) == [("X-Y", "1")]


def test_extended_connect_is_answered_with_200(ask: Ask) -> None:
    request = ask("CONNECT", "/", version="2", protocol="a")
    response = switching_response_to(request, "a", fields=Fields([("x-y", "1")]))
    assert (response.status, list(response.fields)) == (200, [("x-y", "1")])


def test_a_426_can_be_read_and_framed(ask: Ask) -> None:
    """UPG-S-15."""
    response = required_response([Upgrade(token="p", versions=("2", "1"))], "Say more.")
    assert response.status == 426
    assert response.fields["Upgrade"] == "p/2, p/1"
    assert response.fields["Connection"] == "Upgrade"
    assert response.fields["Content-Type"].startswith("text/plain")
    assert response.content.decode().splitlines()[1] == "Say more."
    assert "\n" not in required_response([Upgrade(token="p")]).content.decode().rstrip("\n")


def test_advertising(ask: Ask) -> None:
    """UPG-S-16, UPG-S-09: a 200 with Upgrade has the connection option too."""
    registry = Registry(advertise=["h2c", "websocket"])
    response = Response(200, Fields([("Connection", "close")]))
    advertise(response, registry, ask("GET", "/"))
    assert response.fields["Upgrade"] == "h2c, websocket"
    assert response.fields["Connection"] == "close, Upgrade"
    bare = Response(200)
    advertise(bare, registry)
    assert bare.fields["Connection"] == "Upgrade"
    named = Response(200, Fields([("connection", "UPGRADE")]))
    advertise(named, registry)
    assert named.fields["Connection"] == "UPGRADE"


def test_tls_is_not_advertised_under_tls(ask: Ask) -> None:
    """TLS-10, TLS-13: nor is what would stand above it; the rest is."""
    tls = Upgrade(token="TLS/1.2", secure=False, layers_above=("HTTP/1.1",))
    registry = Registry([tls, Upgrade(token="chat")], advertise=["TLS/1.2", "HTTP/1.1", "chat"])
    for secure, named in (
        (None, "TLS/1.2, HTTP/1.1, chat"),
        (False, "TLS/1.2, HTTP/1.1, chat"),
        (True, "chat"),
    ):
        response = Response(200)
        advertise(response, registry, ask("GET", "/"), secure=secure)
        assert response.fields["Upgrade"] == named
    response = Response(200)
    advertise(response, Registry([tls], advertise=["TLS/1.2", "HTTP/1.1"]), secure=True)
    assert len(response.fields) == 0


def test_nothing_is_advertised_where_it_means_nothing(ask: Ask) -> None:
    registry = Registry(advertise=["h2c"])
    for response, request, known in (
        (Response(200), ask("GET", "/"), Registry()),
        (Response(200, version="2"), None, registry),
        (Response(200), ask("GET", "/", version="2"), registry),
        (Response(200), ask("GET", "/", version="1.0"), registry),
    ):
        advertise(response, known, request)
        assert len(response.fields) == 0
    response = required_response([Upgrade(token="p")])
    advertise(response, registry)
    assert response.fields.get_all("Upgrade") == ["p"]
