"""Which requests are offers: RFC 9110 §7.8, §7.6.1; RFC 8441 §4."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError
from switchover.http.fields import Fields
from switchover.http.messages import Request
from switchover.upgrade.offers import (
    MAX_MEMBERS,
    NoOffer,
    Offer,
    examine,
    offered,
    what_arrived,
)

Ask = Callable[..., Request]
OPTION = ("Connection", "Upgrade")


def tokens(request: Request) -> list[str]:
    offer = offered(request)
    return [] if offer is None else [str(token) for token in offer.tokens]


def test_field_option_and_version_make_an_offer(ask: Ask) -> None:
    request = ask("GET", "/", OPTION, ("Upgrade", "foo/1, websocket"))
    offer = examine(request)
    assert isinstance(offer, Offer)
    assert [str(token) for token in offer.tokens] == ["foo/1", "websocket"]
    assert offer.request is request
    assert not offer.extended


def test_no_field_no_offer(ask: Ask) -> None:
    assert examine(ask("GET", "/")) == NoOffer("the request has no Upgrade field", "RFC 9110 §7.8")


def test_an_http_1_0_request_offers_nothing(ask: Ask) -> None:
    """UPG-S-01, RFC 9110 §7.8: Upgrade in an HTTP/1.0 request is ignored."""
    request = ask("GET", "/", OPTION, ("Upgrade", "websocket"), version="1.0")
    result = examine(request)
    assert isinstance(result, NoOffer)
    assert "HTTP/1.0" in result.reason


def test_the_field_without_the_option_is_no_offer(ask: Ask) -> None:
    """UPG-S-02, RFC 9110 §7.6.1: a field that leaked through a hop."""
    for lines in ([], [("Connection", "keep-alive")]):
        result = examine(ask("GET", "/", *lines, ("Upgrade", "websocket")))
        assert isinstance(result, NoOffer)
        assert result.rule == "RFC 9110 §7.6.1"


def test_the_option_without_the_field_is_no_offer(ask: Ask) -> None:
    assert offered(ask("GET", "/", OPTION)) is None


@pytest.mark.parametrize(
    "lines",
    [
        ["Keep-Alive, uPgRaDe"],
        ["Upgrade", "keep-alive"],
        ["keep-alive", "Upgrade"],
        [", ,UPGRADE\t,"],
        ["close, upgrade"],
    ],
)
def test_the_option_is_found_anywhere_in_any_case(ask: Ask, lines: list[str]) -> None:
    """UPG-S-03, UPG-S-22: whole members over all Connection lines."""
    request = ask("GET", "/", *[("Connection", line) for line in lines], ("Upgrade", "p"))
    assert tokens(request) == ["p"]


@pytest.mark.parametrize("value", ["upgraded", "x upgrade", "x-upgrade", '"upgrade"', "upgrade;q"])
def test_the_option_is_a_whole_member(ask: Ask, value: str) -> None:
    """UPG-S-03: no substrings."""
    assert offered(ask("GET", "/", ("Connection", value), ("Upgrade", "p"))) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("foo/1, websocket", ["foo/1", "websocket"]),
        ("web socket, ok", ["ok"]),
        ('"websocket", ok', ["ok"]),
        ('"a, websocket", ok', ["ok"]),
        ("websocket;x, ok", ["ok"]),
        (",, a ,\t, b/2,", ["a", "b/2"]),
        ("TLS/1.2,TLS/1.1,TLS/1.0", ["TLS/1.2", "TLS/1.1", "TLS/1.0"]),
        ("notwebsocket", ["notwebsocket"]),
    ],
)
def test_upgrade_is_a_list_of_tokens(ask: Ask, value: str, expected: list[str]) -> None:
    """UPG-S-05, RFC 9110 §5.6.1, §7.8."""
    assert tokens(ask("GET", "/", OPTION, ("Upgrade", value))) == expected


def test_several_upgrade_lines_are_one_list(ask: Ask) -> None:
    """UPG-S-05, RFC 9110 §5.3: lines are combined in order."""
    request = ask("GET", "/", ("Upgrade", "a"), OPTION, ("upgrade", "b, c"))
    assert tokens(request) == ["a", "b", "c"]


@pytest.mark.parametrize("value", ["", ", ,", "web socket", "a/b/c", "webso\xaaet"])
def test_a_list_without_a_token_is_no_offer(ask: Ask, value: str) -> None:
    """UPG-S-04, UPG-S-05."""
    result = examine(ask("GET", "/", OPTION, ("Upgrade", value)))
    assert isinstance(result, NoOffer)
    assert "no member" in result.reason


def test_a_flood_of_members_is_cut_short(ask: Ask) -> None:
    """The server may ignore an offer, so it may ignore the end of one (§7.8)."""
    value = ",".join(f"t{n}" for n in range(MAX_MEMBERS + 10))
    assert len(tokens(ask("GET", "/", OPTION, ("Upgrade", value)))) == MAX_MEMBERS


@pytest.mark.parametrize("name", ["Upgrade", "Connection"])
def test_a_flood_of_empty_members_is_no_offer(ask: Ask, name: str) -> None:
    """RFC 9110 §5.6.1.2: a limit of the list parser does not become an exception here."""
    request = ask("GET", "/", OPTION, ("Upgrade", "p"), (name, "," * 5000))
    result = examine(request)
    assert isinstance(result, NoOffer)
    assert "empty" in result.reason
    without = ask("GET", "/", ("Connection", "," * 5000))
    assert "no Upgrade field" in what_arrived(without)


def test_connect_is_no_offer(ask: Ask) -> None:
    """CON-07: CONNECT is answered by a tunnel or not at all."""
    request = ask("CONNECT", "h:443", OPTION, ("Upgrade", "p"))
    assert examine(request) == NoOffer("CONNECT asks for a tunnel already", "RFC 9110 §9.3.6")


def test_other_versions_have_no_upgrade(ask: Ask) -> None:
    """UPG-S-23: over HTTP/2 the field means nothing, should one ever get here."""
    result = examine(ask("GET", "/", OPTION, ("Upgrade", "p"), version="2"))
    assert isinstance(result, NoOffer)
    assert result.rule == "RFC 9113 §8.2.2"


def test_an_extended_connect_offers_one_protocol(ask: Ask) -> None:
    """RFC 8441 §4: :protocol takes the place of Upgrade."""
    offer = examine(ask("CONNECT", "/chat", version="2", protocol="WebSocket"))
    assert isinstance(offer, Offer)
    assert offer.extended
    assert [str(token) for token in offer.tokens] == ["WebSocket"]


def test_an_extended_connect_with_a_list_is_no_offer(ask: Ask) -> None:
    result = examine(ask("CONNECT", "/chat", version="2", protocol="a, b"))
    assert isinstance(result, NoOffer)
    assert result.rule == "RFC 8441 §4"


def test_finding_a_protocol_in_an_offer(ask: Ask) -> None:
    offer = offered(ask("GET", "/", OPTION, ("Upgrade", "Shout/2, shout/1")))
    assert offer is not None
    assert str(offer.find("shout/2")) == "Shout/2"
    assert offer.find("shout") is None
    with pytest.raises(LocalProtocolError):
        offer.find("a b")


@pytest.mark.parametrize(
    ("lines", "version", "words"),
    [
        ([], "1.1", "a proxy on the way removed it"),
        ([OPTION], "1.1", "without an Upgrade field"),
        ([("Upgrade", "p")], "1.1", "does not name it"),
        ([OPTION, ("Upgrade", "p")], "1.0", "HTTP/1.0"),
        ([OPTION, ("Upgrade", "p, q/2")], "1.1", "offered: p, q/2"),
    ],
)
def test_what_was_missing_on_arrival_is_said(
    ask: Ask, lines: list[tuple[str, str]], version: str, words: str
) -> None:
    assert words in what_arrived(ask("GET", "/", *lines, version=version))


# Order and splitting of lines, case, empty members and white space do not matter.

members = st.lists(st.sampled_from(["foo/1", "websocket", "TLS/1.2", "bad token"]), max_size=4)


@st.composite
def arrangements(draw: st.DrawFn) -> tuple[list[str], bool, list[tuple[bytes, bytes]]]:
    offer = draw(members)
    options = draw(st.lists(st.sampled_from(["Upgrade", "keep-alive", "X-Hop"]), max_size=3))
    lines: list[tuple[bytes, bytes]] = [(b"Host", b"h"), (b"X-Y", b"1")]
    for name, values in (("Upgrade", offer), ("Connection", options)):
        lines += draw(_lines(name, values))
    # Lines of different names may come in any order, those of one name keep theirs.
    order = draw(st.permutations(range(len(lines))))
    names = [lines[index][0].lower() for index in order]
    by_name = {name: iter([line for line in lines if line[0].lower() == name]) for name in names}
    arranged = [next(by_name[name]) for name in names]
    return offer, "Upgrade" in options, arranged


@st.composite
def _lines(draw: st.DrawFn, name: str, values: list[str]) -> list[tuple[bytes, bytes]]:
    lines: list[tuple[bytes, bytes]] = []
    rest = list(values)
    while rest:
        size = draw(st.integers(1, len(rest)))
        glue = draw(st.sampled_from([", ", ",", " ,\t", ",,", ", ,"]))
        text = glue.join(rest[:size])
        if name == "Connection":
            text = draw(st.sampled_from([text.upper(), text.lower(), text.title()]))
        written = draw(st.sampled_from([name, name.lower(), name.upper()]))
        lines.append((written.encode(), text.encode()))
        rest = rest[size:]
    return lines


@given(arrangements())
def test_only_the_conditions_decide(
    case: tuple[list[str], bool, list[tuple[bytes, bytes]]],
) -> None:
    """UPG-S-02, UPG-S-03, UPG-S-05: however the fields are written down."""
    members, option, lines = case
    expected = [member for member in members if " " not in member] if option else []
    request = Request("GET", "/", Fields.from_octets(lines))
    assert tokens(request) == expected
