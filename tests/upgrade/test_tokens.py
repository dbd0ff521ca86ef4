"""Upgrade tokens: RFC 9110 §7.8, §16.7."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError
from switchover.upgrade.tokens import UpgradeToken, read_member

TCHARS = "!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
names = st.text(TCHARS, min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("websocket", "websocket", None),
        ("irc/6.9", "irc", "6.9"),
        ("TLS/1.3", "TLS", "1.3"),
        ("x+y!/~1", "x+y!", "~1"),
    ],
)
def test_a_token_is_a_name_and_perhaps_a_version(text: str, name: str, version: str) -> None:
    token = UpgradeToken.parse(text)
    assert (token.name, token.version, str(token)) == (name, version, text)
    assert UpgradeToken(name, version) == token


BAD = [
    "",
    "a b",
    "a\r\nX: y",
    "a,b",
    '"a"',
    "a;b",
    "/1",
    "a/",
    "a/1/2",
    "a/ 1",
    " a",
    "a ",
    "webso\u212aet",
    "é",
    "a\x00",
    "a\n",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_a_token_cannot_be_offered(text: str) -> None:
    """UPG-C-02, SEC-32, RFC 9110 §5.6.2: tokens are checked before anything is written."""
    with pytest.raises(LocalProtocolError, match="not an upgrade token"):
        UpgradeToken.parse(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_a_token_is_no_member(text: str) -> None:
    """UPG-S-05: members that are not valid tokens never match."""
    assert read_member(text) is None


@pytest.mark.parametrize(("name", "version"), [("a b", None), ("a", "1 2"), ("", None), ("a", "")])
def test_names_and_versions_are_checked_on_their_own(name: str, version: str | None) -> None:
    with pytest.raises(LocalProtocolError):
        UpgradeToken(name, version)


def test_names_match_in_any_case_and_versions_exactly() -> None:
    """UPG-S-04, RFC 9110 §7.8."""
    assert UpgradeToken.parse("WebSocket").matches(UpgradeToken.parse("websocket"))
    assert UpgradeToken.parse("IRC/6.9a") == UpgradeToken.parse("irc/6.9a")
    assert UpgradeToken.parse("irc/6.9a") != UpgradeToken.parse("irc/6.9A")
    assert UpgradeToken.parse("websocket") != UpgradeToken.parse("websocket/13")
    assert UpgradeToken.parse("a") != "a"


def test_tokens_that_match_have_one_hash() -> None:
    assert len({UpgradeToken.parse("h2C"), UpgradeToken.parse("H2c")}) == 1


def test_a_token_cannot_be_changed() -> None:
    token = UpgradeToken.parse("a/1")
    with pytest.raises(AttributeError):
        token.name = "b"
    assert UpgradeToken.parse(token) is token
    assert repr(token) == "UpgradeToken('a/1')"


def test_long_members_are_read_too() -> None:
    long = "x" * 5000
    assert str(read_member(long)) == long
    assert read_member(long + " ") is None


@given(name=names, version=st.none() | names)
def test_writing_and_parsing_are_inverse(name: str, version: str | None) -> None:
    token = UpgradeToken(name, version)
    assert str(UpgradeToken.parse(str(token))) == str(token)
    member = read_member(str(token))
    assert member == token
