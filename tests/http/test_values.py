"""Messages, events and decisions as values: what a dataclass would give them, compiled or not."""

from __future__ import annotations

import copy
import pickle

import pytest

from switchover.http.events import ContentReceived, MessageComplete, RequestReceived, Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.decisions import Select
from switchover.upgrade.offers import Offer
from switchover.upgrade.registry import Acceptance, Candidate, Upgrade
from switchover.upgrade.tokens import UpgradeToken

TOKEN = UpgradeToken("irc", "6.9")
UPGRADE = Upgrade(token=TOKEN)


def request() -> Request:
    return Request("GET", "/a?b", Fields([("Host", "a")]), authority="a")


def values() -> list[object]:
    return [
        request(),
        Response(404, Fields([("Age", "1")]), "Gone", content=b"x"),
        RequestReceived(request()),
        ContentReceived(b"x"),
        MessageComplete(Fields([("Age", "1")])),
        Switched("irc", request(), Response(101), b"rest"),
        Offer((TOKEN,), request(), extended=True),
        Acceptance(Fields([("Age", "1")]), state=[1], protocol="irc/6.9"),
        Candidate(UPGRADE, TOKEN, 2, {"a": "b"}),
        Select(UPGRADE, TOKEN, Acceptance(), request(), {"a": "b"}),
    ]


each = pytest.mark.parametrize(
    ("one", "same"), list(zip(values(), values(), strict=True)), ids=lambda v: type(v).__name__
)


@each
def test_equal_attributes_make_equal_values(one, same):
    assert one == same
    assert not one != same
    assert one is not same
    assert one != object()
    assert copy.copy(one) == one


@each
def test_a_value_shows_its_attributes(one, same):
    shown = repr(one)
    assert shown.startswith(f"{type(one).__name__}({one.__match_args__[0]}=")
    assert all(f"{name}={getattr(one, name)!r}" in shown for name in one.__match_args__)


@each
def test_a_value_is_made_by_place_and_by_name(one, same):
    attributes = {name: getattr(one, name) for name in one.__match_args__}
    assert type(one)(**attributes) == one
    assert type(one)(*attributes.values()) == one


@each
def test_another_attribute_makes_another_value(one, same):
    attributes = {name: getattr(one, name) for name in one.__match_args__}
    for name in attributes:
        other = False if name == "extended" else Fields() if name == "fields" else "other"
        if name in ("trailers", "acceptance", "request", "tokens"):
            continue  # these have a type where they are compiled
        assert type(one)(**{**attributes, name: other}) != one


@each
def test_only_messages_can_be_changed(one, same):
    name = one.__match_args__[0]
    if isinstance(one, Request | Response):
        setattr(one, name, getattr(one, name))
        return
    with pytest.raises(AttributeError):
        setattr(one, name, getattr(one, name))
    with pytest.raises(AttributeError):
        one.unknown = 1


@pytest.mark.parametrize("value", [request(), TOKEN, Response(200, content=b"x")])
def test_messages_and_tokens_can_be_pickled(value):
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value


def test_what_can_be_changed_is_no_key():
    for value in (request(), Response(200), RequestReceived(request()), Acceptance()):
        with pytest.raises(TypeError):
            hash(value)
    assert len({ContentReceived(b"a"), ContentReceived(b"a")}) == 1


def test_defaults_are_not_shared():
    for make in (lambda: Request("GET", "/"), lambda: Response(200), Acceptance):
        make().fields.add("Age", "1")
        assert len(make().fields) == 0
    complete = MessageComplete()
    assert complete.trailers is complete.trailers
    assert MessageComplete().trailers is not complete.trailers
    assert complete == MessageComplete()


def test_values_of_two_classes_are_never_equal():
    assert Request("GET", "/") != Response(200)
    assert Request("GET", "/").__eq__(Response(200)) is NotImplemented


def test_names_follow_lines_that_were_put_in_behind_their_back():
    fields = Fields([("Host", "a")])
    assert fields.names() == [b"host"]
    fields.raw.append((b"Upgrade", b"irc"))
    assert fields.names() == [b"host", b"upgrade"]
    assert fields.octets("UPGRADE") == [b"irc"]
