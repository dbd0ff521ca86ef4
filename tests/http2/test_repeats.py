"""What comes again is decoded, checked and encoded once: and means what it meant, or is not reused.

RFC 7541 §2.3.2: an index says something else after each insertion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import pytest

from switchover.errors import LocalProtocolError
from switchover.http.events import MessageComplete, RequestReceived
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2 import _hpack

try:
    from switchover.http2 import _hpack_c
except ImportError:
    _hpack_c = None

BUILDS = [build for build in (_hpack, _hpack_c) if build is not None]
PREDICTED = b"\x82\x86\x84\x41\x01a"  # GET http / and :authority: a, which is put in the table


@pytest.fixture(params=BUILDS, ids=lambda build: build.__name__.rpartition(".")[2])
def decoder(request: pytest.FixtureRequest) -> Any:
    """A decoder of each build."""
    return request.param.Decoder(65536, 100)


def requests(events: list[Any]) -> list[Request]:
    return [event.request for _, event in events if isinstance(event, RequestReceived)]


# Field sections, decoding.


def test_the_same_block_after_an_insertion_is_decoded_anew(decoder: Any) -> None:
    """RFC 7541 §2.3.3: index 62 is the newest entry."""
    decoder.decode(b"\x40\x01a\x011")
    assert [decoder.decode(b"\xbe") for _ in range(3)] == [[(b"a", b"1")]] * 3
    assert decoder.repeated
    decoder.decode(b"\x40\x01b\x012")
    assert decoder.decode(b"\xbe") == [(b"b", b"2")]
    assert not decoder.repeated


def test_a_block_that_inserts_is_never_remembered(decoder: Any) -> None:
    for _ in range(3):
        decoder.decode(b"\x40\x01a\x011")
        assert not decoder.repeated
    assert decoder.decode(b"\xbe\xbf\xc0") == [(b"a", b"1")] * 3


def test_the_same_block_after_a_smaller_table_is_an_error(decoder: Any, request: Any) -> None:
    """RFC 7541 §4.3: what has been evicted is gone."""
    decoder.decode(b"\x40\x01a\x011")
    decoder.decode(b"\xbe")
    decoder.decode(b"\xbe")
    decoder.decode(b"\x20")
    with pytest.raises(Exception, match="no entry has the index 62"):
        decoder.decode(b"\xbe")


def test_few_blocks_and_short_ones_are_remembered(decoder: Any) -> None:
    for number in range(1000):
        decoder.decode(b"\x00\x01a\x04%04d" % number)
    long = b"\x00\x01a\x7f\x49" + b"x" * 200
    for _ in range(3):
        decoder.decode(long)
        assert not decoder.repeated
    decoder.decode(b"\x82")
    decoder.decode(b"\x82")
    assert decoder.repeated


# Requests.


def test_requests_that_come_again_are_of_their_own(client: Any) -> None:
    """What an application does to one request must not be seen in the next."""
    found = []
    for number in range(4):
        events = client.send_on_streams(client.get(2 * number + 1, (b"x-line", b"1")))
        (request,) = requests(events)
        assert isinstance(events[1][1], MessageComplete)
        assert request.fields.get_all("x-line") == ["1"]
        request.fields.add("x-line", "2")
        request.fields.raw.append((b"x-more", b"3"))
        request.target = "/changed"
        found.append(request)
    assert len({id(request.fields) for request in found}) == 4


def test_the_table_decides_what_a_request_is(client: Any) -> None:
    """RFC 7541 §2.3.2: equal octets, another path, once another line has been inserted."""
    first = client.raw(1, 5, 1, b"\x82\x86\x41\x01a\x44\x04/one")
    again = [client.raw(1, 5, number, b"\x82\x86\xbf\xbe") for number in (3, 5, 7)]
    events = client.send_on_streams(first, *again)
    assert [request.target for request in requests(events)] == ["/one"] * 4
    # :path is inserted with another value, then :authority: 62 and 63 are these now.
    other = client.raw(1, 5, 9, b"\x82\x86\x44\x04/two\x41\x01b")
    events = client.send_on_streams(other, client.raw(1, 5, 11, b"\x82\x86\xbf\xbe"))
    assert [(r.target, r.authority) for r in requests(events)] == [("/two", "b")] * 2


def test_a_malformed_request_stays_malformed(client: Any) -> None:
    """RFC 9113 §8.1.1: also when the same octets have been refused before."""
    block = b"\x82\x86\x84\x01\x01a\x00\x01A\x01x"
    for number in range(1, 9, 2):
        assert requests(client.send_on_streams(client.raw(1, 5, number, block))) == []
        (frame,) = [f for f in client.frames() if f.stream_id == number]
        assert (type(frame).__name__, frame.error_code) == ("RstStreamFrame", 1)


def test_announced_content_is_counted_each_time(client: Any) -> None:
    """RFC 9113 §8.1.1: no content, though Content-Length announces some."""
    block = b"\x83\x86\x84\x01\x01a\x0f\x0d\x015"
    for number in range(1, 9, 2):
        assert requests(client.send_on_streams(client.raw(1, 5, number, block))) == []
        (frame,) = [f for f in client.frames() if f.stream_id == number]
        assert (type(frame).__name__, frame.error_code) == ("RstStreamFrame", 1)


# Answers.


def answer(client: Any, number: int, response: Response) -> list[tuple[bytes, bytes]]:
    client.send(client.get(number))
    client.machine.send_response(number, response, end=True)
    frames = [frame for frame in client.frames() if frame.stream_id == number]
    content = b"".join(getattr(frame, "data", b"") for frame in frames[1:])
    assert content == response.content
    assert "END_STREAM" in frames[-1].flags
    section: list[tuple[bytes, bytes]] = client.sections[number][-1]
    return section


def test_answers_that_come_again_are_the_same(client: Any) -> None:
    fields = [("Content-Type", "text/plain"), ("X-A", "1"), ("Set-Cookie", "a=b")]
    sections = [
        answer(client, number, Response(200, Fields(fields), content=b"plain"))
        for number in range(1, 13, 2)
    ]
    assert sections == [sections[0]] * 6
    assert (b"content-length", b"5") in sections[0]


def test_answers_that_differ_differ(client: Any) -> None:
    number = 1
    for _ in range(3):
        for status, value, content in (
            (200, "a", b"12345"),
            (404, "a", b"12345"),
            (200, "b", b"12345"),
            (200, "a", b"1234567"),
            (200, "a", b"54321"),
        ):
            response = Response(status, Fields([("X-A", value)]), content=content)
            section = dict(answer(client, number, response))
            assert section == {
                b":status": b"%d" % status,
                b"x-a": value.encode(),
                b"content-length": b"%d" % len(content),
            }
            number += 2


def test_answers_after_insertions_and_evictions(client: Any) -> None:
    """RFC 7541 §2.3.3: what is in the table has another index after every insertion."""
    number = 1
    for turn in range(60):
        for lines in ([("X-Same", "same")], [("X-Other", f"{turn}-" + "x" * 200)]):
            section = dict(answer(client, number, Response(200, Fields(lines), content=b"x")))
            name, value = lines[0]
            assert section[name.lower().encode()] == value.encode()
            number += 2


def test_answers_after_a_change_of_the_table_size(client: Any) -> None:
    """RFC 7541 §4.2: the change is signalled at the beginning of the next section, once."""
    response = Response(200, Fields([("X-A", "1")]), content=b"x")
    before = [answer(client, number, response) for number in (1, 3, 5)]
    client.send(client.settings({1: 0}))
    client.decoder.max_allowed_table_size = 0
    client.frames()
    after = [answer(client, number, response) for number in (7, 9, 11)]
    assert before + after == [before[0]] * 6


def test_the_date_is_that_of_the_answer(new_server: Callable[..., Any]) -> None:
    """RFC 9110 §6.6.1."""
    dates = iter(["Mon", "Mon", "Tue", "Tue", "Wed"])
    now: list[str] = ["Sun"]
    client = new_server(date=lambda: now[0])
    client.send(client.settings(), client.settings(ack=True))
    for number, date in zip(range(1, 11, 2), dates, strict=True):
        now[0] = date
        section = dict(answer(client, number, Response(200, content=b"x")))
        assert section[b"date"] == date.encode()


def test_answers_to_head_are_never_taken_for_others(client: Any) -> None:
    """RFC 9110 §9.3.2: "the server MUST NOT send content in the response"."""
    response = Response(200, Fields([("X-A", "1")]), content=b"plain")
    for number in (1, 3, 5):
        answer(client, number, response)
    client.send(client.headers(7, [(b":method", b"HEAD"), *_REST], end=True))
    client.machine.send_response(7, response, end=True)
    (head,) = client.frames()
    assert "END_STREAM" in head.flags


_REST = [(b":scheme", b"http"), (b":authority", b"example.com"), (b":path", b"/")]


def test_a_length_that_is_wrong_is_refused_each_time(client: Any) -> None:
    """RFC 9110 §8.6: and nothing is written."""
    for number in (1, 3, 5):
        client.send(client.get(number))
        response = Response(200, Fields([("Content-Length", "4")]), content=b"plain")
        with pytest.raises(LocalProtocolError):
            client.machine.send_response(number, response, end=True)
        assert client.frames() == []


def test_an_answer_that_comes_again_waits_for_the_window(client: Any) -> None:
    """RFC 9113 §6.9: never more than the window, however often it has been sent."""
    client.send(client.settings({4: 3}))
    client.frames()
    for number in (1, 3, 5):
        client.send(client.get(number))
        response = Response(200, Fields([("X-A", "1")]), content=b"plain")
        assert client.machine.send_response(number, response, end=True) == 3
        _, data = client.frames()
        assert (data.data, "END_STREAM" in data.flags) == (b"pla", False)


def test_an_answer_before_the_end_of_its_request(client: Any) -> None:
    """RFC 9113 §8.1: the stream stays half open, and content is refused as usual."""
    response = Response(200, Fields([("X-A", "1")]), content=b"plain")
    for number in (1, 3, 5):
        client.send(client.post(number))
        client.machine.send_response(number, response, end=True)
        with pytest.raises(LocalProtocolError):
            client.machine.send_content(number, b"more")
        assert client.machine.open_streams == 1
        client.send(client.data(number, b"rest", end=True))
        assert client.machine.open_streams == 0


def test_the_other_implementation_reads_what_is_repeated() -> None:
    """The ``hpack`` package decodes a thousand answers as it would the first."""
    encoder, theirs = _hpack.Encoder(), hpack.Decoder()
    lines = [(b":status", b"200"), (b"x-a", b"1")]
    block = encoder.encode(lines)
    changes = encoder.changes
    assert theirs.decode(block, raw=True)
    block = encoder.encode(lines)
    assert encoder.changes == changes
    for _ in range(1000):
        assert list(map(tuple, theirs.decode(block, raw=True))) == lines
