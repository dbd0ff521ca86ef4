"""The extension interface, and the negotiation of strangers' extensions through it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from switchover.http.fields import Fields
from switchover.upgrade.responses import switching_response_to
from switchover.websocket.connection import Connection, Side
from switchover.websocket.deflate import PermessageDeflate
from switchover.websocket.extensions import (
    ClientExtension,
    Extension,
    ServerExtension,
    accepted_extensions,
    extension_offers,
    format_extension,
    negotiate,
    offer_field,
    parse_extensions,
)
from switchover.websocket.opening import accept, check_response, opening_request

FIELD = "Sec-WebSocket-Extensions"


def parse(*values):
    return [
        (name, list(parameters))
        for name, parameters in parse_extensions(Fields([(FIELD, value) for value in values]))
    ]


# RFC 6455 §9.1: the grammar.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("foo", [("foo", [])]),
        ("foo; a", [("foo", [("a", None)])]),
        ("foo;a=1;b", [("foo", [("a", "1"), ("b", None)])]),
        ("foo ; a = 1 , bar", [("foo", [("a", "1")]), ("bar", [])]),
        ('foo; a="1"', [("foo", [("a", "1")])]),
        (r'foo; a="\1\0"', [("foo", [("a", "10")])]),
        ("foo; a; a=2", [("foo", [("a", None), ("a", "2")])]),
        ("foo, foo; a", [("foo", []), ("foo", [("a", None)])]),
        (", foo,\t,bar,", [("foo", []), ("bar", [])]),
    ],
)
def test_the_grammar(value, expected):
    """WS-H-25, RFC 6455 §9.1: bare, with a token, with a quoted token; empty members skipped."""
    assert parse(value) == expected


def test_lines_are_one_list():
    """WS-H-16, RFC 6455 §11.3.2: several lines are tolerated, in a response as well."""
    assert parse("foo; a", "bar") == parse("foo; a, bar")
    assert parse() == []


@pytest.mark.parametrize(
    "value",
    [
        "permessage-deflate;;x",
        ";a",
        'a; b="c d"',
        "",
        ",",
        "a b",
        "a;",
        "a; b=",
        "a; =b",
        'a; b="c',
        'a; b=""',
        "a; b=c d",
        "a=b",
        '"a"',
        "ä",
        'a; b="c"d',
        "a; b==c",
        "a,;b",
        r'a; b="c\"',
    ],
)
def test_malformed(value):
    """WS-H-25, WS-H-14, RFC 6455 §9.1: anything else fails, with the place."""
    with pytest.raises(RemoteProtocolError, match="malformed at"):
        parse(value)


def test_long_values_are_not_remembered():
    """WS-H-25: and are read no differently."""
    value = ", ".join(f"x{number}; a" for number in range(200))
    assert len(parse(value)) == 200
    with pytest.raises(RemoteProtocolError):
        parse(value + ";")


tokens = st.text("abcXYZ019.!#-_~", min_size=1, max_size=6)
offers = st.lists(
    st.tuples(tokens, st.lists(st.tuples(tokens, st.none() | tokens), max_size=4)), min_size=1
)


@given(offers)
def test_what_is_written_is_read(members):
    """WS-H-25: formatting and parsing are inverse."""
    value = ", ".join(format_extension(name, parameters) for name, parameters in members)
    assert parse(value) == members


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=60))
def test_any_value_is_read_or_refused(value):
    """WS-H-25, WS-H-17: nothing else happens."""
    try:
        members = parse_extensions(Fields.from_octets([(FIELD.encode(), value.encode("latin-1"))]))
    except RemoteProtocolError:
        return
    assert members


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("a b", []),
        ("", []),
        ("a", [("b c", None)]),
        ("a", [("b", "c d")]),
        ("a", [("b", "")]),
        ("a", [("b", "c\r\nX: y")]),
    ],
)
def test_an_extension_cannot_write_a_header(name, parameters):
    """SEC-32, WS-H-25: what is no token is a local error."""
    with pytest.raises(LocalProtocolError):
        format_extension(name, parameters)


# A stranger's extension: turns the octets of every message by a key that the client chooses.


class Turning(Extension):
    """Adds a number to each octet, and says so with RSV2 on every frame of the message."""

    __slots__ = ("by", "name", "released", "rsv")

    def __init__(self, by, rsv=0x20, name="x-turn"):
        self.name = name
        self.rsv = rsv
        self.by = by
        self.released = 0

    def encode(self, data, *, text, first, final):
        return self.rsv, bytes((octet + self.by) % 256 for octet in data)

    def decode(self, data, *, rsv, first, final, max_size):
        if max_size is not None and len(data) > max_size:
            raise LimitExceeded("too much", close_code=1009)
        return bytes((octet - self.by) % 256 for octet in data) if rsv else data

    def release(self):
        self.released += 1


class Turn:
    """The settings of :class:`Turning`, for both ends."""

    def __init__(self, by=(3,), rsv=0x20, name="x-turn"):
        self.name = name
        self.by = by
        self.rsv = rsv

    def offers(self):
        return [[("by", str(by))] for by in self.by]

    def negotiate(self, offers):
        for offer in offers:
            by = dict(offer).get("by")
            if by is not None and int(by) in self.by:
                return [("by", by)], Turning(int(by), self.rsv, self.name)
        return None

    def accept(self, parameters):
        if dict(parameters).get("by") not in [str(by) for by in self.by]:
            raise RemoteProtocolError("not what was offered")
        return Turning(int(dict(parameters)["by"]), self.rsv, self.name)


def as_server(extension: ServerExtension) -> ServerExtension:
    return extension


def as_client(extension: ClientExtension) -> ClientExtension:
    return extension


def test_both_settings_fit_the_interface():
    """WS-H-25: permessage-deflate has no way in that a stranger has not."""
    for settings in (Turn(), PermessageDeflate()):
        assert as_server(settings) is settings
        assert as_client(settings) is settings


def served(value, *available):
    return negotiate(parse_extensions(Fields([(FIELD, value)])), available)


def test_nothing_to_negotiate():
    """WS-H-25: no offer, or nothing on this side, is no field."""
    assert negotiate((), [Turn()]) == ((), None)
    assert served("x-turn; by=3") == ((), None)


def test_declined_is_no_failure():
    """WS-H-25, RFC 6455 §9.1: an offer that does not suit is left out."""
    assert served("x-turn; by=9", Turn()) == ((), None)


def test_the_clients_order_counts():
    """WS-H-25: the favourite that can be met, once."""
    agreed, value = served("x-turn; by=9, x-turn; by=4, x-turn; by=3", Turn((3, 4)))
    assert value == "x-turn; by=4"
    assert [extension.by for extension in agreed] == [4]


def test_two_extensions_in_the_clients_order():
    """WS-H-25, RFC 6455 §9.1: the order of the response is the order of work."""
    agreed, value = served("b; by=1, a; by=2", Turn((2,), 0x10, "a"), Turn((1,), 0x20, "b"))
    assert value == "b; by=1, a; by=2"
    assert [extension.name for extension in agreed] == ["b", "a"]


def test_one_bit_is_claimed_once():
    """WS-D-18, RFC 7692 §5: an extension that wants a bit that is taken is declined."""
    agreed, value = served(
        "permessage-deflate, b; by=1", Turn((1,), 0x40, "b"), PermessageDeflate()
    )
    assert value == "permessage-deflate"
    assert len(agreed) == 1


def test_a_name_may_be_served_by_two():
    """WS-H-25: the second is asked where the first one declines."""
    agreed, _ = served("x-turn; by=5", Turn((3,)), Turn((5,)))
    assert agreed[0].by == 5


def test_offers_of_a_client():
    """WS-H-14: several sets of parameters, in order; a name is given once."""
    assert offer_field([Turn((3, 4)), PermessageDeflate()]) == (
        "x-turn; by=3, x-turn; by=4, permessage-deflate; client_max_window_bits"
    )
    assert offer_field([]) is None
    with pytest.raises(LocalProtocolError, match="twice"):
        extension_offers([Turn((3,)), Turn((4,))])


def accepted(value, *offered):
    return accepted_extensions(Fields([(FIELD, value)]), offered)


def test_an_answer_is_taken():
    """WS-H-14, WS-H-16."""
    assert accepted_extensions(Fields(), [Turn()]) == ()
    lines = [(FIELD, "a; by=3"), (FIELD, "b; by=3")]
    agreed = accepted_extensions(
        Fields(lines), [Turn(rsv=0x20, name="b"), Turn(rsv=0x10, name="a")]
    )
    assert [extension.name for extension in agreed] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("other", "not offered"),
        ("x-turn; by=3, x-turn; by=3", "twice"),
        ("x-turn; by=9", "offered"),
    ],
)
def test_an_answer_that_does_not_fit(value, said):
    """WS-H-14, RFC 6455 §4.1 check 5."""
    with pytest.raises(RemoteProtocolError, match=said):
        accepted(value, Turn())


def test_a_server_that_gives_one_bit_to_two():
    """WS-H-14, WS-D-18."""
    with pytest.raises(RemoteProtocolError, match="reserved bit"):
        accepted("a; by=3, b; by=3", Turn(name="a"), Turn(name="b"))


def connected(extensions):
    """Both ends of a connection, after a handshake that offered and served ``extensions``."""
    asked = opening_request("ws://h/", extensions=extensions)
    acceptance = accept(asked, extensions=extensions)
    response = switching_response_to(asked, "websocket", fields=acceptance.fields)
    agreed = check_response(asked, response, extensions=extensions)
    return (
        Connection(Side.CLIENT, extensions=agreed.extensions),
        Connection(Side.SERVER, extensions=acceptance.state.extensions),
    )


def transfer(sender, receiver):
    for octets in sender.data_to_send():
        receiver.receive_data(bytes(octets))
    return receiver.events_received()


@given(st.lists(st.text(max_size=200) | st.binary(max_size=200), max_size=5))
def test_a_strangers_extension_at_work(messages):
    """WS-H-25, RFC 6455 §9.1: alone, and with permessage-deflate outside of it."""
    for extensions in ([Turn()], [Turn(), PermessageDeflate(threshold=0)]):
        for sender, receiver in (connected(extensions), connected(extensions)[::-1]):
            for message in messages:
                sender.send_message(message)
            assert transfer(sender, receiver) == messages


def test_extensions_are_released_together():
    """WS-H-25: always idle and doing nothing, unless overridden."""

    class Plain(Extension):
        name = "plain"
        rsv = 0

    assert Plain().idle()
    Plain().release()
    turning = Turning(1)
    turning.release()
    assert turning.released == 1


class Resting(Extension):
    """Leaves all as it is, and can be told whether it has been idle."""

    name = "x-rest"
    rsv = 0

    def __init__(self):
        self.resting = True
        self.released = 0

    def encode(self, data, *, text, first, final):
        return 0, data

    def decode(self, data, *, rsv, first, final, max_size):
        return data

    def idle(self):
        return self.resting

    def release(self):
        self.released += 1


def test_the_machine_releases_those_that_are_idle(kit, side):
    """WS-H-25: each is asked; the others go on."""
    one, other = Resting(), Resting()
    machine = kit.either(side, extensions=[one, other])
    other.resting = False
    machine.release_idle()
    assert (one.released, other.released) == (1, 0)
    other.resting = True
    machine.release_idle()
    assert (one.released, other.released) == (2, 1)


def test_nothing_is_released_inside_a_message_that_is_sent(kit, side):
    """WS-H-25: not before its last fragment."""
    resting = Resting()
    machine = kit.either(side, extensions=[resting])
    machine.send_fragment("half")
    machine.release_idle()
    machine.send_fragment("and more")
    machine.release_idle()
    assert resting.released == 0
    machine.end_fragments()
    machine.release_idle()
    assert resting.released == 1


def test_nothing_is_released_inside_a_message_that_is_received(kit, side):
    """WS-H-25: not before its last fragment; control frames in the middle change nothing."""
    resting = Resting()
    machine = kit.either(side, extensions=[resting])
    for first, payload in ((0x01, b"half"), (0x00, b"and more"), (0x89, b"ping")):
        kit.events(machine, kit.frame_to(side, first, payload))
        machine.release_idle()
        assert resting.released == 0
    assert kit.events(machine, kit.frame_to(side, 0x80, b"!")) == ["halfand more!"]
    machine.release_idle()
    assert resting.released == 1


def test_the_extension_in_the_guide_works():
    """WS-H-25: what docs/how-to/write-an-extension.md shows, run as it stands there."""
    page = Path(__file__).parents[2] / "docs/how-to/write-an-extension.md"
    block = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    exec(block, names)  # our own page
    client, server = connected([names["Reverse"](), PermessageDeflate()])
    for sender, receiver in ((client, server), (server, client)):
        sender.send_message("straight" * 20)
        assert transfer(sender, receiver) == ["straight" * 20]
    assert [extension.name for extension in client.extensions] == [
        "x-reverse",
        "permessage-deflate",
    ]
