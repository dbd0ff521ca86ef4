"""Reading and writing: what a protocol is told by our transports and by the event loop's own."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from array import array
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

MUCH = bytes(range(256)) * 4096  # 1 MiB: more than the kernel keeps for the sockets here


def echo(told: Any) -> None:
    told.transport.write(bytes(told.octets))
    told.octets.clear()


# Reading.


async def test_octets_come_in_order(place: Any, kind: Any) -> None:
    told, client = await place.pair(kind)
    sent = asyncio.create_task(client.send(MUCH))
    assert await told.has(len(MUCH)) == MUCH
    await sent
    client.end()
    assert await told.end() == ["made", "data", "eof", "lost"]
    assert told.error is None


async def test_octets_go_back_in_order(place: Any, kind: Any) -> None:
    _, client = await place.pair(kind, data=echo)
    sent = asyncio.create_task(client.send(MUCH))
    assert await client.receive(len(MUCH)) == MUCH
    await sent


async def test_nothing_is_read_when_paused_from_the_beginning(
    place: Any, kind: Any, turn: Any
) -> None:
    if place.uvloops:
        pytest.skip("uvloop reads whatever connection_made() says")
    told, client = await place.pair(kind, made=lambda told: told.transport.pause_reading())
    assert not told.transport.is_reading()
    await client.send(b"early")
    await turn()
    assert told.events == ["made"]
    told.transport.resume_reading()
    assert told.transport.is_reading()
    assert await told.has(5) == b"early"


async def test_nothing_is_read_after_pausing_while_reading(place: Any, turn: Any) -> None:
    def pause(told: Any) -> None:
        told.transport.pause_reading()
        pieces.append(len(told.octets))

    pieces: list[int] = []
    told, client = await place.pair(place.ToldInto, data=pause)
    await client.send(b"a" * 5000)  # the buffer takes 1000
    await told.has(1000)
    for count in (1000, 2000, 3000, 4000, 5000):
        await told.has(count)
        await turn()
        assert pieces[-1] == count
        told.transport.resume_reading()
    await client.send(b"b")
    assert (await told.has(5001))[-1:] == b"b"


async def test_pausing_and_resuming_at_once_loses_nothing(place: Any, kind: Any) -> None:
    def blink(told: Any) -> None:
        told.transport.pause_reading()
        told.transport.resume_reading()

    told, client = await place.pair(kind, data=blink)
    sent = asyncio.create_task(client.send(MUCH))
    assert await told.has(len(MUCH)) == MUCH
    await sent


@pytest.mark.parametrize("data", [b"", b"the last", b"x" * 2500])
async def test_the_end_that_came_while_paused(
    place: Any, kind: Any, turn: Any, data: bytes
) -> None:
    if place.uvloops:
        pytest.skip("uvloop reads whatever connection_made() says")
    told, client = await place.pair(kind, made=lambda told: told.transport.pause_reading())
    await client.send(data)
    client.end()
    await turn()
    assert told.events == ["made"]
    told.transport.resume_reading()
    assert await told.end() == ["made", *(["data"] if data else []), "eof", "lost"]
    assert told.octets == data


async def test_the_end_that_came_with_the_octets_that_made_it_pause(
    place: Any, kind: Any, turn: Any
) -> None:
    told, client = await place.pair(kind, data=lambda told: told.transport.pause_reading())
    await client.send(b"all")
    client.end()
    await told.has(3)
    await turn()
    assert told.events == ["made", "data"]
    told.transport.resume_reading()
    assert await told.end() == ["made", "data", "eof", "lost"]


async def test_what_lies_behind_urgent_data_is_read(our_place: Any) -> None:
    # A read stops in front of it, short of what it had room for. (uvloop takes that for an end.)
    told, client = await our_place.pair()
    client.sock.send(b"before ")
    client.sock.send(b"!", socket.MSG_OOB)
    client.sock.send(b"behind")
    assert await told.has(13) == b"before behind"


@pytest.mark.parametrize("when", ["made", "data"])
async def test_another_protocol_is_given_what_comes_next(place: Any, kind: Any, when: str) -> None:
    def hand_over(told: Any) -> None:
        told.transport.set_protocol(successor)
        assert told.transport.get_protocol() is successor

    successor = place.ToldInto({}) if kind is place.Told else place.Told({})
    told, client = await place.pair(kind, **{when: hand_over})
    if when == "data":
        await client.send(b"first")
        await told.has(5)
    await client.send(b"second")
    assert await successor.has(6) == b"second"
    client.end()
    assert await successor.end() == ["data", "eof", "lost"]
    assert "lost" not in told.events


async def test_a_buffer_is_filled_for_the_protocol_whose_it_is(our_place: Any) -> None:
    successor = our_place.Told({})
    told, client = await our_place.pair(
        our_place.ToldInto, get_buffer=lambda told: told.transport.set_protocol(successor)
    )
    await client.send(b"first")
    assert await told.has(5) == b"first"
    await client.send(b"second")
    assert await successor.has(6) == b"second"


# Writing.


@pytest.mark.parametrize("during", ["made", "event", "later"])
async def test_all_kinds_of_octets_can_be_written(place: Any, during: str) -> None:
    def write(told: Any) -> None:
        changing = bytearray(b"bytearray ")
        for data in (
            b"bytes ",
            changing,
            memoryview(b"-view ")[1:],
            memoryview(array("I", [0x20202020] * 3)),
            b"",
            memoryview(b""),
        ):
            told.transport.write(data)
        changing[:] = b"changed"

    on = {"made": write} if during == "made" else {"data": write} if during == "event" else {}
    told, client = await place.pair(**on)
    if during == "event":
        await client.send(b"?")
    elif during == "later":
        write(told)
    expected = b"bytes bytearray view " + b" " * 12
    assert await client.receive(len(expected)) == expected
    assert told.events[0] == "made"


async def test_views_of_every_other_octet_and_of_two_dimensions(our_place: Any) -> None:
    told, client = await our_place.pair()
    told.transport.write(memoryview(b"a-b-c-")[::2])
    told.transport.writelines([memoryview(b"defghi").cast("B", (2, 3)), memoryview(b"j")])
    assert await client.receive(10) == b"abcdefghij"


async def test_what_is_queued_does_not_change_any_more(place: Any) -> None:
    told, client = await place.pair()
    first, second = bytearray(MUCH), bytearray(MUCH)
    told.transport.write(first)
    told.transport.write(memoryview(second))
    expected = bytes(first + second)
    if not (place.uvloops or place.later_asyncios):  # these keep what they are given
        first[:] = second[:] = b"\xff" * len(MUCH)
    assert await client.receive(2 * len(MUCH)) == expected


@pytest.mark.parametrize("wrong", ["text", 5, [1, 2]])
async def test_what_is_not_octets_is_refused(place: Any, wrong: Any) -> None:
    told, client = await place.pair()
    with pytest.raises(TypeError):
        told.transport.write(wrong)
    with pytest.raises(TypeError):
        told.transport.writelines([b"first", wrong])
    told.transport.write(b"right")
    if place.own:
        assert await client.receive(5) == b"right"  # of the others nothing was sent


@pytest.mark.parametrize("during", ["event", "later"])
async def test_pieces_go_one_behind_the_other(place: Any, during: str) -> None:
    def write(told: Any) -> None:
        told.transport.write(b"<")
        told.transport.writelines(memoryview(b"%d," % number) for number in range(3000))
        told.transport.writelines([b"", b">"])
        told.transport.writelines([])

    told, client = await place.pair(**({"data": write} if during == "event" else {}))
    if during == "event":
        await client.send(b"?")
    else:
        write(told)
    expected = b"<" + b"".join(b"%d," % number for number in range(3000)) + b">"
    assert await client.receive(len(expected)) == expected


async def test_more_than_the_kernel_takes(place: Any) -> None:
    told, client = await place.pair()
    for offset in range(0, len(MUCH), 1 << 18):
        told.transport.write(MUCH[offset : offset + (1 << 18)])
    assert told.events == ["made", "pause"]
    assert 1 << 16 < told.transport.get_write_buffer_size() <= len(MUCH)
    assert await client.receive(len(MUCH)) == MUCH
    await told.until(lambda: "resume" in told.events)
    assert told.events == ["made", "pause", "resume"]
    assert told.transport.get_write_buffer_size() == 0


async def test_small_pieces_while_the_kernel_is_full(place: Any) -> None:
    told, client = await place.pair()
    told.transport.write(MUCH)
    pieces = [b"%d," % number for number in range(20_000)]
    for piece in pieces:
        told.transport.write(piece)
    expected = MUCH + b"".join(pieces)
    assert await client.receive(len(expected)) == expected
    await told.until(lambda: "resume" in told.events)


@pytest.mark.parametrize("during", ["made", "data"])
async def test_who_writes_until_told_to_pause_is_told(place: Any, during: str) -> None:
    def fill(told: Any) -> None:
        while "pause" not in told.events and counts[0] < 1000:
            told.transport.write(b"x" * 16384)
            counts[0] += 1

    counts = [0]
    told, client = await place.pair(**{during: fill})
    if during == "data":
        await client.send(b"?")
        await told.until(lambda: counts[0])
    assert counts[0] < 1000
    assert told.events[-2:] == [during, "pause"]
    assert await client.receive(counts[0] * 16384) == b"x" * (counts[0] * 16384)
    await told.until(lambda: "resume" in told.events)


async def test_marks_that_are_passed_at_once(place: Any) -> None:
    told, client = await place.pair()
    told.transport.set_write_buffer_limits(high=0)
    told.transport.write(MUCH)
    assert told.events == ["made", "pause"]
    assert await client.receive(len(MUCH)) == MUCH
    await told.until(lambda: "resume" in told.events)


async def test_what_the_kernel_takes_is_over_no_mark(place: Any) -> None:
    def write(told: Any) -> None:
        told.transport.set_write_buffer_limits(high=0)
        for _ in range(10):
            told.transport.write(b"x" * 100)

    told, client = await place.pair(data=write)
    await client.send(b"?")
    assert await client.receive(1000) == b"x" * 1000
    if place.own:
        assert told.events == ["made", "data"]


async def test_marks(place: Any) -> None:
    told, _ = await place.pair()
    transport = told.transport
    transport.set_write_buffer_limits()
    assert transport.get_write_buffer_limits() == (16384, 65536)
    transport.set_write_buffer_limits(low=100)
    assert transport.get_write_buffer_limits() == (100, 400)
    transport.set_write_buffer_limits(high=100, low=100)
    assert transport.get_write_buffer_limits() == (100, 100)
    for wrong in ({"high": 1, "low": 2}, {"low": -1}):
        with pytest.raises(ValueError):
            transport.set_write_buffer_limits(**wrong)
    assert transport.get_write_buffer_limits() == (100, 100)


async def test_marks_that_are_lowered_below_what_is_queued(place: Any) -> None:
    told, client = await place.pair()
    told.transport.set_write_buffer_limits(high=len(MUCH))
    told.transport.write(MUCH)
    assert told.events == ["made"]
    told.transport.set_write_buffer_limits(high=10)
    assert told.events == ["made", "pause"]
    assert await client.receive(len(MUCH)) == MUCH


async def test_writing_goes_on_in_resume_writing(place: Any) -> None:
    def go_on(told: Any) -> None:
        if left:
            told.transport.write(left.pop())

    left = [b"three" * 100_000, b"two" * 200_000, b"one" * 300_000]
    expected = MUCH + b"".join(reversed(left))
    told, client = await place.pair(resume=go_on)
    told.transport.write(MUCH)
    assert await client.receive(len(expected)) == expected


async def test_writing_in_pause_writing(place: Any) -> None:
    told, client = await place.pair(pause=lambda told: told.transport.write(b"pausing"))
    told.transport.write(MUCH)
    expected = MUCH + b"pausing"
    assert await client.receive(len(expected)) == expected


@pytest.mark.parametrize("failing", ["pause", "resume"])
async def test_flow_control_that_fails_is_reported_and_no_more(place: Any, failing: str) -> None:
    def fail(told: Any) -> None:
        raise ValueError(failing)

    told, client = await place.pair(**{failing: fail})
    told.transport.write(MUCH)
    assert await client.receive(len(MUCH)) == MUCH
    await told.until(lambda: "resume" in told.events)
    assert [str(facts["exception"]) for facts in place.reported] == [failing]


async def test_very_many_small_pieces_go_out_in_order(place: Any, kind: Any) -> None:
    told, client = await place.pair(kind)
    pieces = [b"%05d" % number for number in range(60_000)]
    for piece in pieces:
        told.transport.write(piece)
    told.transport.close()
    assert await client.rest() == b"".join(pieces)


async def test_descriptors_sent_along_hide_no_octets(place: Any, tmp_path: Any) -> None:
    # A read stops behind what came with a descriptor: a short read, and yet there is more.
    told = place.Told({})
    listening = await place.listen(lambda: told, str(tmp_path / "s"))
    client = place.connect(listening)
    await told.until(lambda: told.events)
    socket.send_fds(client.sock, [b"one"], [client.sock.fileno()])
    client.sock.send(b"two")
    assert await told.has(6) == b"onetwo"


# Whose context.


async def test_what_one_connection_sets_another_does_not_see(our_place: Any) -> None:
    # asyncio has one context for each event, uvloop one for all connections.
    def look(told: Any) -> None:
        seen.append(variable.get())
        variable.set(f"{variable.get()}+")

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("listening")
    seen: list[str] = []
    everywhere = dict.fromkeys(("made", "data", "eof", "lost"), look)
    for _ in range(2):
        seen.clear()
        told, client = await our_place.pair(**everywhere)
        variable.set("later")
        await client.send(b"data")
        await told.has(4)
        client.end()
        await told.end()
        plus = [len(value) - len(value.rstrip("+")) for value in seen]
        assert plus == [0, 1, 2, 3]
        variable.set("listening")
