"""Any cutting of the same octets gives the same events and the same answers, at both ends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from switchover.http.client import ClientConnection
from switchover.http.events import (
    ContentReceived,
    Event,
    Failed,
    MessageComplete,
    ResponseReceived,
)
from switchover.http.fields import Fields
from switchover.http.limits import Limits
from switchover.http.messages import Request, Response
from switchover.http.server import ServerConnection

LIMITS = Limits(
    method=10,
    target=40,
    request_line=60,
    status_line=30,
    field_line=60,
    field_section=200,
    field_count=8,
    empty_lines=2,
    chunk_line=20,
    chunk_extensions=40,
    trailer_section=40,
    trailer_count=2,
    interim_responses=3,
)

OFFER = b"Host: a.example\r\nConnection: Upgrade\r\nUpgrade: unsupported/1\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POSTS = {
    "fixed length": b"POST / HTTP/1.1\r\n" + OFFER + b"Content-Length: 5\r\n\r\nhello",
    "chunked": b"POST / HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n"
    b"3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n",
    "expect": b"POST / HTTP/1.1\r\n"
    + OFFER
    + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
}

Told = list[tuple[object, ...]]


def told(events: list[Event]) -> Told:
    """Events in a form that can be compared: content joined, errors as text."""
    result: Told = []
    for event in events:
        if isinstance(event, ContentReceived):
            if result and result[-1][0] == "content":
                result[-1] = ("content", result[-1][1] + event.data)
            else:
                result.append(("content", event.data))
        elif isinstance(event, Failed):
            error = event.error
            result.append(("failed", type(error).__name__, str(error), vars(error)))
        else:
            result.append((type(event).__name__, event))
    return result


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(octets) + 1) for place in places} | {0, len(octets)})
    return [octets[start:end] for start, end in pairwise(edges)]


def serve(pieces: list[bytes], limits: Limits = LIMITS) -> tuple[Told, bytes]:
    """Answer every complete request, and no other, whenever one is there."""
    machine = ServerConnection(limits=limits)
    events: list[Event] = []
    output: list[bytes] = []

    def answer() -> None:
        while True:
            new = machine.events_received()
            events.extend(new)
            output.extend(machine.data_to_send())
            if not any(isinstance(event, MessageComplete) for event in new):
                return
            machine.send_response(Response.text(200, "ok"), end=True)

    for piece in pieces:
        machine.receive_data(piece)
        answer()
    machine.receive_eof()
    answer()
    return told(events), b"".join(output)


def ask(pieces: list[bytes]) -> Told:
    """Receive the answer to one request that offers a switch."""
    machine = ClientConnection(limits=LIMITS)
    request = Request("GET", "/x", Fields({"Upgrade": "p"}), authority="a")
    machine.send_request(request, end=True, switch=lambda request, response: "p")
    events: list[Event] = []
    trailing = b""
    for piece in pieces:
        if events and type(events[-1]).__name__ == "Switched":
            trailing += piece
            continue
        machine.receive_data(piece)
        events += machine.events_received()
    machine.receive_eof()
    events += machine.events_received()
    result = told(events)
    if result and result[-1][0] == "Switched":
        switched = events[-1]
        result[-1] = ("Switched", switched.response, switched.trailing_data + trailing)
    return result


def mutated(parts: list[bytes]) -> st.SearchStrategy[bytes]:
    """Sequences of telling parts, most of them nearly right, some with an octet changed."""
    sequences = st.lists(st.sampled_from(parts), max_size=12).map(b"".join)
    octets = st.sampled_from(b"\r\n\x00 \t:;,x0\xff")

    def change(drawn: tuple[bytes, int, int]) -> bytes:
        base, place, octet = drawn
        place %= len(base) + 1
        return base[:place] + bytes([octet]) + base[place + 1 :]

    return st.one_of(sequences, st.tuples(sequences, st.integers(0, 500), octets).map(change))


REQUESTS = mutated(
    [
        GET,
        *POSTS.values(),
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"POST /%s HTTP/1.1\r\nHost: a\r\n" % (b"y" * 30),
        b"GET /%s HTTP/1.1\r\n" % (b"y" * 45),
        b"Host: a\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"X: %s\r\n" % (b"y" * 50),
        b"X: %s\r\n" % (b"y" * 58),
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b" fold\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"3\r\nabc\r\n",
        b"3;%s\r\nabc\r\n" % (b"e" * 15),
        b"0\r\n",
        b"abc",
    ]
)

RESPONSES = mutated(
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
        b"HTTP/1.1 103 x\r\nX: y\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: p\r\n\r\nabc",
        b"HTTP/1.1 204 x\r\n",
        b"HTTP/1.1 200 %s\r\n" % (b"y" * 17),
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 200\r\n",
        b"Connection: close\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X: %s\r\n" % (b"y" * 50),
        b" fold %s\r\n" % (b"z" * 6),
        b"\r\n",
        b"\n",
        b"3\r\nabc\r\n",
        b"0\r\n",
        b"abc",
    ]
)

CUTS = st.lists(st.integers(0, 600), max_size=20)


@given(REQUESTS, CUTS)
@example(b"\r\n\r\n" + GET, [1, 2, 3])
def test_a_server_hears_the_same_however_it_is_cut(octets, places):
    """UPG-S-18, SEC-43, MSG-25, RFC 9112 §2: events and answers."""
    whole = serve([octets])
    assert serve(cut(octets, places)) == whole
    assert serve([octets[i : i + 1] for i in range(len(octets))]) == whole


@given(RESPONSES, CUTS)
def test_a_client_hears_the_same_however_it_is_cut(octets, places):
    """UPG-C-08, MSG-33, SEC-43, RFC 9112 §2."""
    whole = ask([octets])
    assert ask(cut(octets, places)) == whole
    assert ask([octets[i : i + 1] for i in range(len(octets))]) == whole


@pytest.mark.parametrize("post", POSTS.values(), ids=POSTS)
def test_a_declined_upgrade_loses_nothing_at_any_cut(post):
    """UPG-S-17, UPG-S-18, MSG-24: content and the pipelined request survive, at every octet."""
    octets = post + GET
    events, output = serve([octets], Limits())
    assert [event[0] for event in events] == [
        "RequestReceived",
        "content",
        "MessageComplete",
        "RequestReceived",
        "MessageComplete",
        "PeerClosed",
    ]
    assert events[1] == ("content", b"hello")
    assert output.count(b"HTTP/1.1 200 OK") == 2
    for place in range(len(octets) + 1):
        assert serve([octets[:place], octets[place:]], Limits()) == (events, output)


@given(st.sampled_from(sorted(POSTS)), CUTS)
def test_a_declined_upgrade_loses_nothing_in_any_pieces(name, places):
    """UPG-S-17, UPG-S-18, MSG-24."""
    octets = POSTS[name] + GET + POSTS[name]
    assert serve(cut(octets, places), Limits()) == serve([octets], Limits())


@given(st.binary(max_size=60), st.binary(max_size=200))
def test_any_octets_are_read_or_refused(start, rest):
    """SEC-43: nothing that a peer sends makes a machine raise."""
    serve([start, rest])
    serve([b"GET / HTTP/1.1\r\n" + start, rest])
    ask([start, rest])
    ask([b"HTTP/1.1 200 OK\r\n" + start, rest])


# What one end writes the other reads.

TOKENS = st.text("abcXYZ019-_!~", min_size=1, max_size=10)
VALUES = st.binary(max_size=20).map(
    lambda octets: bytes(octet for octet in octets if octet == 9 or (octet >= 32 and octet != 127))
)
NAMES = TOKENS.map(lambda token: "X-" + token)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(Fields)
CONTENT = st.lists(st.binary(max_size=40), max_size=4)
TARGETS = st.text("abc/%20?&=~|", max_size=20).map(lambda text: "/" + text)


@given(TOKENS, TARGETS, FIELDS, CONTENT, st.booleans(), CUTS)
def test_a_request_reads_back_as_it_was_written(method, target, fields, content, chunked, places):
    """MSG-01, MSG-11, RFC 9112 §3: serialise, then parse, is identity."""
    method = "M" + method
    client = ClientConnection()
    length = sum(map(len, content))
    given_fields = fields.copy()
    if not chunked:
        given_fields.add("Content-Length", str(length))
    client.send_request(Request(method, target, given_fields, authority="a.example"))
    for piece in content:
        client.send_content(piece)
    client.send_end(fields if chunked else None)
    machine = ServerConnection()
    for piece in cut(b"".join(client.data_to_send()), places):
        machine.receive_data(piece)
    events = told(machine.events_received())
    request = events[0][1].request
    framing = (
        (b"Content-Length", b"%d" % length) if not chunked else (b"Transfer-Encoding", b"chunked")
    )
    assert (request.method, request.target, request.authority) == (method, target, "a.example")
    assert request.fields.raw[0] == (b"Host", b"a.example")
    assert request.fields.raw[1:] == [*fields.raw, framing]
    assert b"".join(event[1] for event in events if event[0] == "content") == b"".join(content)
    assert events[-1] == ("MessageComplete", MessageComplete(fields if chunked else Fields()))


@given(st.integers(200, 599), FIELDS, CONTENT, st.sampled_from(["GET", "HEAD"]), CUTS)
def test_a_response_reads_back_as_it_was_written(status, fields, content, method, places):
    """MSG-32, RFC 9112 §4, §6: for each status and for HEAD, framed so that the next one fits."""
    request = Request(method, "/", authority="a")
    client = ClientConnection()
    client.send_request(request, end=True)
    server = ServerConnection()
    server.receive_data(b"".join(client.data_to_send()))
    server.send_response(Response(status, fields))
    for piece in content:
        server.send_content(piece)
    server.send_end()
    for piece in cut(b"".join(server.data_to_send()), places):
        client.receive_data(piece)
    events = told(client.events_received())
    received = events[0][1]
    assert isinstance(received, ResponseReceived)
    assert received.response.status == status
    assert received.response.fields.raw[: len(fields)] == fields.raw
    expected = b"" if method == "HEAD" or status in (204, 205, 304) else b"".join(content)
    assert b"".join(event[1] for event in events if event[0] == "content") == expected
    assert events[-1][0] == "MessageComplete"
    assert client.reusable()
    assert not server.close_expected()


def test_the_strategies_reach_what_they_are_for():
    """The parts above make whole exchanges, and each kind of failure."""
    seen: set[str] = set()

    def note(run: Callable[[], Told]) -> None:
        seen.update(str(event[0]) for event in run())

    note(lambda: serve([POSTS["chunked"] + GET])[0])
    note(lambda: ask([b"HTTP/1.1 103 x\r\nX: y\r\n\r\nHTTP/1.1 101 x\r\nUpgrade: p\r\n\r\nabc"]))
    note(lambda: ask([b"HTTP/1.1 200 OK\r\n\r\nabc"]))
    assert {"RequestReceived", "content", "Switched", "InterimResponseReceived"} <= seen
