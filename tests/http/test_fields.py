"""Fields: RFC 9110 §5."""

from __future__ import annotations

import pytest

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.escaping import show
from switchover.http.fields import Fields
from switchover.http.lists import MAX_EMPTY_MEMBERS


def octets(*lines: tuple[bytes, bytes]) -> Fields:
    return Fields.from_octets(list(lines))


# RFC 9110 §5.1: names


def test_names_are_compared_without_regard_to_ascii_case():
    fields = Fields([("CoNNection", "close")])
    assert "connection" in fields
    assert b"CONNECTION" in fields
    assert fields["Connection"] == "close"
    assert fields.raw == [(b"CoNNection", b"close")]


def test_no_other_character_folds_into_ascii():
    """MSG-01, RFC 9112 §2.2: U+212A lowers to "k" as text, never as an octet."""
    fields = Fields([("X-Key", "1")])
    assert "X-\u212aey" not in fields
    assert 5 not in fields


def test_an_underscore_is_no_hyphen():
    """SEC-40, RFC 9110 §17.10: Sec_WebSocket_Key is not Sec-WebSocket-Key."""
    fields = octets((b"Sec_WebSocket_Key", b"x"), (b"Transfer_Encoding", b"chunked"))
    assert "Sec-WebSocket-Key" not in fields
    assert "Transfer-Encoding" not in fields


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "a\x00", "ä", "a\u2028", "(x)"])
def test_a_name_that_is_no_token_is_refused(name):
    """SEC-32, RFC 9110 §5.1: nothing that would not read back as this field is taken."""
    with pytest.raises(LocalProtocolError):
        Fields([(name, "v")])
    fields = Fields()
    with pytest.raises(LocalProtocolError):
        fields.add(name, "v")
    with pytest.raises(LocalProtocolError):
        fields.set(name, "v")
    assert len(fields) == 0


# RFC 9110 §5.5: values


@pytest.mark.parametrize(
    "value", ["a\rb", "a\nb", "a\r\nX: y", "a\x00b", "\x0bx", "a\x7f", "\u2028"]
)
def test_a_value_with_a_control_character_is_refused(value):
    """MSG-02, SEC-32, SEC-33, RFC 9110 §5.5, RFC 9112 §11.1: no splitting."""
    with pytest.raises(LocalProtocolError):
        Fields([("X", value)])
    with pytest.raises(LocalProtocolError):
        Fields({"X": value})
    fields = Fields([("X", "kept")])
    with pytest.raises(LocalProtocolError):
        fields.set("X", value)
    assert fields["X"] == "kept"


def test_error_texts_escape_what_they_show():
    """SEC-44, RFC 9110 §17.2: CR, LF and ESC cannot act in a log."""
    with pytest.raises(LocalProtocolError) as caught:
        Fields([("a\r\n\x1b[31m", "v")])
    assert "\\r\\n\\x1b[31m" in str(caught.value)
    assert show(b'"\\\xff') == '"\\"\\\\\\xff"'
    assert show("x" * 100, 4) == '"xxxx"…'
    assert show(b"x" * 100, 4) == '"xxxx"…'


def test_a_value_is_never_shown_in_an_error():
    """SEC-44, RFC 9110 §17.2: a value may be a credential."""
    with pytest.raises(LocalProtocolError) as caught:
        Fields([("Authorization", "secret\x00")])
    assert "secret" not in str(caught.value)


def test_surrounding_whitespace_is_no_part_of_the_value():
    assert Fields([("X", " \ta b\t ")]).raw == [(b"X", b"a b")]


def test_values_are_octets():
    """MSG-01, RFC 9110 §5.5: octets above ASCII are kept as they are."""
    fields = octets((b"X", b"\x85\xe2\x84\xaa"))
    assert fields["X"].encode("latin-1") == b"\x85\xe2\x84\xaa"
    assert Fields([(b"X", b"\xff")]).raw == [(b"X", b"\xff")]


# RFC 9110 §5.2, §5.3: repeated lines


def test_lines_of_one_name_combine_in_order():
    """MSG-29, RFC 9110 §5.3: Connection on two lines is one list."""
    for lines in (("keep-alive", "Upgrade"), ("Upgrade", "keep-alive")):
        fields = Fields([("Connection", lines[0]), ("Upgrade", "a"), ("connection", lines[1])])
        assert fields.get("Connection") == ", ".join(lines)
        assert fields.get_all("Connection") == list(lines)
        assert fields.connection_options == {"keep-alive", "upgrade"}


def test_two_upgrade_lines_are_one_list():
    """MSG-29, RFC 9110 §5.3."""
    fields = octets((b"Upgrade", b"a/1, b"), (b"upgrade", b"c"))
    assert fields.members("Upgrade") == ["a/1", "b", "c"]


def test_a_missing_field_has_no_members():
    assert Fields().members("Upgrade") == []
    assert Fields().connection_options == frozenset()
    assert Fields().get("Upgrade") is None
    assert Fields().get("Upgrade", "x") == "x"
    with pytest.raises(KeyError):
        Fields()["Upgrade"]


# RFC 9110 §5.6.1: lists


def test_empty_members_are_skipped():
    """MSG-28, RFC 9110 §5.6.1.2."""
    fields = octets((b"Upgrade", b",, p/1 ,"), (b"Connection", b", upgrade,"), (b"Upgrade", b""))
    assert fields.members("Upgrade") == ["p/1"]
    assert fields.connection_options == {"upgrade"}


def test_too_many_empty_members_are_refused():
    """MSG-28, RFC 9110 §5.6.1.2: a reasonable number, not an attack."""
    assert octets((b"Upgrade", b"," * MAX_EMPTY_MEMBERS + b"p")).members("Upgrade") == ["p"]
    with pytest.raises(RemoteProtocolError):
        octets((b"Upgrade", b"," * 10_000)).members("Upgrade")


def test_a_comma_in_a_quoted_string_does_not_separate():
    fields = octets((b"X", rb'a="1,2", b="\",", "c'))
    assert fields.members("X") == ['a="1,2"', r'b="\","', '"c']


def test_only_space_and_tab_are_whitespace():
    fields = octets((b"Connection", b"\xa0upgrade, \tx\t"))
    assert fields.connection_options == {"\xa0upgrade", "x"}


# The container


def test_set_replaces_all_lines_at_the_place_of_the_first():
    fields = Fields([("A", "1"), ("B", "2"), ("a", "3")])
    fields.set("a", "4")
    assert list(fields) == [("a", "4"), ("B", "2")]
    assert fields["A"] == "4"
    fields.set("C", "5")
    assert fields["C"] == "5"


def test_add_and_remove_keep_look_ups_true():
    fields = Fields({"A": "1"})
    assert fields["A"] == "1"
    fields.add("A", "2")
    assert fields["A"] == "1, 2"
    fields.remove("a")
    assert "A" not in fields
    fields.remove("a")
    assert len(fields) == 0


def test_a_copy_is_independent():
    fields = Fields({"A": "1"})
    copy = fields.copy()
    other = Fields(fields)
    copy.add("B", "2")
    other.remove("A")
    assert list(fields) == [("A", "1")]


def test_equality_disregards_the_case_of_names_only():
    assert Fields({"A": "x"}) == Fields({"a": "x"})
    assert Fields({"A": "x"}) != Fields({"a": "X"})
    assert Fields() != []
    assert repr(Fields({"A": "x"})) == "Fields([(b'A', b'x')])"


def test_names_are_compared_by_ascii_case_only():
    """RFC 9110 §5.1: names are ASCII tokens; the Kelvin sign is not the letter k."""
    fields = Fields.from_octets([(b"KEY", b"1"), (b"key", b"2"), (b"hOST", b"h")])
    assert fields.get_all("Key") == fields.get_all(b"kEY".decode()) == ["1", "2"]
    assert "\u212aey" not in fields
    assert fields["Host"] == "h"


def test_any_number_of_names_can_be_looked_up():
    fields = Fields({f"X-{number}": str(number) for number in range(2000)})
    for number in range(2000):
        assert fields[f"x-{number}"] == str(number)
        assert f"y-{number}" not in fields
