"""Registrations, their conditions, and the policies of selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from switchover.errors import LocalProtocolError
from switchover.http.messages import Request
from switchover.upgrade import (
    Acceptance,
    ContentRule,
    Registry,
    Upgrade,
    UpgradeToken,
    accept_plainly,
    check_early_data,
    offered,
)

Ask = Callable[..., Request]
OPTION = ("Connection", "Upgrade")


def matching(registry: Registry, ask: Ask, value: str) -> list[tuple[str, int]]:
    offer = offered(ask("GET", "/", OPTION, ("Upgrade", value)))
    assert offer is not None
    return [(str(token), position) for _, token, position in registry.matching(offer)]


def test_a_token_matches_exactly_unless_told_otherwise(ask: Ask) -> None:
    """UPG-S-04: `websocket/13` is another protocol than `websocket`."""
    registry = Registry([Upgrade(token="websocket"), Upgrade(token="irc/6.9")])
    assert matching(registry, ask, "IRC/6.9, WEBSOCKET, websocket/13, irc, irc/7") == [
        ("WEBSOCKET", 1),
        ("IRC/6.9", 0),
    ]


def test_a_set_of_versions_in_order_of_preference(ask: Ask) -> None:
    registry = Registry([Upgrade(token="shout", versions=("2", "1"))])
    assert matching(registry, ask, "Shout/1, shout/2, shout/3, shout") == [
        ("shout/2", 1),
        ("Shout/1", 0),
    ]
    assert registry.upgrades[0].advertised() == ["shout/2", "shout/1"]


def test_a_matcher_takes_a_family(ask: Ask) -> None:
    family = Upgrade(
        token="TLS/1.2", matcher=lambda token: token.key[0] == "tls", layers_above=("HTTP/1.1",)
    )
    registry = Registry([Upgrade(token="x"), family])
    assert matching(registry, ask, "tls/1.3,TLS/1.0, x") == [
        ("x", 2),
        ("tls/1.3", 0),
        ("TLS/1.0", 1),
    ]
    assert family.advertised() == ["TLS/1.2", "HTTP/1.1"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"token": "a b"},
        {"token": ""},
        {"token": "a/1", "versions": ("1",)},
        {"token": "a", "versions": ("1 2",)},
        {"token": "a", "versions": ("1",), "matcher": bool},
        {"token": "a", "layers_above": ("x y",)},
        {"token": "a", "methods": {"GE T"}},
        {"token": "a", "path": "chat"},
        {"token": "a", "content_limit": -1},
        {"token": "a", "preamble": b"GET"},
        {"token": "a", "preamble": b""},
    ],
)
def test_a_faulty_registration_is_refused_when_it_is_made(arguments: dict[str, Any]) -> None:
    """OPT-07, SEC-32."""
    with pytest.raises(LocalProtocolError):
        Upgrade(**arguments)


def test_the_defaults_are_the_safe_ones(ask: Ask) -> None:
    """OPT-07, RFC 9931 §7: GET without content, no early data."""
    upgrade = Upgrade(token="x")
    assert upgrade.methods == {"GET"}
    assert upgrade.content is ContentRule.REFUSE
    assert upgrade.preamble is None
    assert not upgrade.required
    accepted = accept_plainly(ask("GET", "/"), UpgradeToken("x"))
    assert accepted == Acceptance()


@pytest.mark.parametrize(
    ("preamble", "stops"),
    [
        (b"\x16\x03\x01", True),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
        (b"\x00hello", True),
        (b"\x81\x85", True),
        (b"{json}", True),
        (b"(hello", True),
        (b"HELLO\r\n", True),
        (b"HELLO WORLD\n", True),
        (b"GET /", False),
        (b"", False),
        (b"\r\n\r\n", False),
        (b"HELLO", False),
        (b"HELLO ", False),
        (b"HELLO a HT", False),
        (b"HELLO a X", True),
        (b"HELLO a HTTP/1.", False),
        (b"\r\nGET / HTTP/1.1\r\n", False),
        (b"GET / HTTP/1.1\nX", False),
        (b"GET / HTTP/2.0\n", True),
        (b"GET / FTP/1.1\r\n", True),
    ],
)
def test_which_preambles_stop_an_http_parser(preamble: bytes, stops: bool) -> None:
    """OPT-07, RFC 9931 §7: early data of a declined switch is read as HTTP/1.1."""
    assert check_early_data(preamble) is stops
    if stops:
        assert Upgrade(token="x", preamble=preamble).preamble == preamble


def test_what_is_required_is_known(ask: Ask) -> None:
    open_, insisting = Upgrade(token="a"), Upgrade(token="b", required=True)
    assert not Registry([open_]).requires_switch
    registry = Registry([open_, insisting])
    assert registry.requires_switch
    assert registry.required == (insisting,)


def test_advertised_tokens_are_checked() -> None:
    assert Registry(advertise=["h2c", "TLS/1.2"]).advertised == ("h2c", "TLS/1.2")
    with pytest.raises(LocalProtocolError):
        Registry(advertise=["a b"])


def test_parameters_and_application(ask: Ask) -> None:
    upgrade = Upgrade(
        token="x",
        path="/a/{b}",
        secure=True,
        predicate=lambda request: request.query == "q",
    )
    assert upgrade.parameters("/a/c") == {"b": "c"}
    assert upgrade.parameters("/b") is None
    assert Upgrade(token="x").parameters("/any") == {}
    assert upgrade.applies(ask("GET", "/a/c?q"), secure=True)
    assert not upgrade.applies(ask("GET", "/a/c?q"), secure=False)
    assert not upgrade.applies(ask("GET", "/b?q"), secure=True)
    assert not upgrade.applies(ask("GET", "/a/c"), secure=True)
