"""Subprotocols: offered, picked, accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LocalProtocolError, RemoteProtocolError
from switchover.http.fields import Fields
from switchover.websocket.subprotocols import (
    accepted_subprotocol,
    check_subprotocols,
    choose_subprotocol,
    offered_subprotocols,
)

FIELD = "Sec-WebSocket-Protocol"

tokens = st.text("abcXYZ019.!#-_~", min_size=1, max_size=6)


@given(st.lists(tokens, unique=True, min_size=1), st.data())
def test_lines_make_one_list(names, data):
    """WS-H-24, RFC 6455 §11.3.4: however the list is cut into lines."""
    cut = data.draw(st.integers(0, len(names)))
    lines = [(FIELD, ", ".join(part)) for part in (names[:cut], names[cut:]) if part]
    assert offered_subprotocols(Fields(lines)) == names


def test_no_field_is_no_offer():
    """WS-H-24."""
    assert offered_subprotocols(Fields()) == []


@pytest.mark.parametrize("value", ["", " ", ",", "a b", "a/b", "a, a", "a;b", '"a"', "ä"])
def test_a_malformed_offer(value):
    """WS-H-17, RFC 6455 §4.1 item 10: distinct tokens, one at least."""
    with pytest.raises(RemoteProtocolError, match=FIELD):
        offered_subprotocols(Fields([(FIELD, value)]))


def test_empty_members_are_skipped():
    """WS-H-24, RFC 9110 §5.6.1.2."""
    assert offered_subprotocols(Fields([(FIELD, ",a, ,b,")])) == ["a", "b"]


def test_a_token_in_a_kubernetes_offer():
    """WS-H-24: Kubernetes sends its bearer token beside the channel protocol."""
    bearer = "base64url.bearer.authorization.k8s.io.ZXlKaGJHY2lPaUpTVXpJ"
    offered = offered_subprotocols(Fields([(FIELD, f"v5.channel.k8s.io, {bearer}")]))
    assert choose_subprotocol(offered, ["v5.channel.k8s.io", "v4.channel.k8s.io"]) == offered[0]


@given(st.lists(tokens, unique=True), st.lists(tokens, unique=True))
def test_the_server_prefers(offered, served):
    """WS-H-24, RFC 6455 §4.2.2: the server's first one that was offered."""
    picked = choose_subprotocol(offered, served)
    common = [name for name in served if name in offered]
    assert picked == (common[0] if common else None)


def test_case_matters():
    """WS-H-15, WS-H-24: subprotocols are compared exactly."""
    assert choose_subprotocol(["Chat"], ["chat"]) is None
    with pytest.raises(RemoteProtocolError):
        accepted_subprotocol(Fields([(FIELD, "Chat")]), ["chat"])


def test_a_function_may_pick():
    """WS-H-24: from the client's list, or nothing."""
    assert choose_subprotocol(["a", "b"], lambda offered: offered[-1]) == "b"
    assert choose_subprotocol(["a"], lambda offered: None) is None
    assert choose_subprotocol([], lambda offered: None) is None
    assert choose_subprotocol(["a"], None) is None


@pytest.mark.parametrize("picked", ["c", "", "A"])
def test_a_function_may_not_invent(picked):
    """WS-H-24: local error, never on the wire."""
    with pytest.raises(LocalProtocolError):
        choose_subprotocol(["a"], lambda offered: picked)


@pytest.mark.parametrize("names", [["a", "a"], [""], ["a b"], ["a,b"], "ab", ["ä"], ["a\r\n"]])
def test_what_a_caller_may_not_offer(names):
    """WS-H-09."""
    with pytest.raises(LocalProtocolError):
        check_subprotocols(names)


def test_what_a_caller_may_offer():
    """WS-H-09."""
    assert check_subprotocols(["a", "b"]) == ("a", "b")
    assert check_subprotocols([]) == ()


def test_what_a_client_accepts():
    """WS-H-15."""
    assert accepted_subprotocol(Fields(), ["a"]) is None
    assert accepted_subprotocol(Fields([(FIELD, "b")]), ["a", "b"]) == "b"
    for lines in ([(FIELD, "a"), (FIELD, "a")], [(FIELD, "a, b")], [(FIELD, "")], [(FIELD, "c")]):
        with pytest.raises(RemoteProtocolError):
            accepted_subprotocol(Fields(lines), ["a", "b"])
