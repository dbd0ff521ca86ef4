"""How connections end: what a protocol is told by our transports and by the event loop's own."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

MUCH = bytes(range(256)) * 4096  # 1 MiB: more than the kernel keeps for the sockets here


async def provoke(told: Any, client: Any, what: str) -> bytes:
    """See that the protocol is told ``what``, read what it sends, and have it end."""
    if what == "data":
        await client.send(b"?")
    if what in ("pause", "resume"):
        told.transport.write(MUCH)
    if what in ("eof", "lost"):
        client.end()
    try:
        return bytes(await client.rest())
    except ConnectionResetError:
        return b"reset"


@pytest.mark.parametrize("what", ["made", "data", "eof", "pause", "resume", "lost"])
async def test_closing_anywhere(place: Any, kind: Any, what: str) -> None:
    def close(told: Any) -> None:
        transport = told.transport
        transport.write(b"bye")
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        transport.pause_reading()
        transport.resume_reading()
        if not place.uvloops:
            transport.write_eof()
        told.events.append("closed")  # connection_lost() comes when this is over

    told, client = await place.pair(kind, **{what: close})
    received = await provoke(told, client, what)
    events = await told.end()
    before = {
        "made": ["made", "closed"],
        "data": ["made", "data", "closed"],
        "eof": ["made", "eof", "closed"],
        "pause": ["made", "pause", "closed"],
        "resume": ["made", "pause", "resume", "closed"],
        "lost": ["made", "eof"],
    }[what]
    assert [event for event in events if event != "resume" or what == "resume"] == [
        *before,
        "lost",
        *(["closed"] if what == "lost" else []),
    ]
    assert told.error is None
    much = MUCH if what in ("pause", "resume") else b""
    assert received == (b"" if what == "lost" else much + b"bye")


@pytest.mark.parametrize("what", ["made", "data", "eof", "pause", "resume", "lost"])
async def test_aborting_anywhere(place: Any, kind: Any, what: str) -> None:
    def abort(told: Any) -> None:
        transport = told.transport
        late = what == "lost" and place.later_asyncios
        if not (place.uvloops or late or what in ("pause", "resume")):
            transport.writelines([b"last", b" words"])
        transport.abort()
        transport.abort()
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        transport.resume_reading()
        told.events.append("aborted")

    told, client = await place.pair(kind, **{what: abort})
    received = await provoke(told, client, what)
    events = await told.end()
    assert events[-2:] == (["aborted", "lost"] if what != "lost" else ["lost", "aborted"])
    assert events.count("lost") == 1
    assert told.error is None
    if what in ("made", "data", "eof") and not place.uvloops:
        assert received == b"last words"  # asyncio gives them to the kernel at once
    if what in ("pause", "resume"):
        assert len(received) < len(MUCH) or what == "resume"


async def test_after_the_end_nothing_does_anything(place: Any) -> None:
    if place.uvloops:
        pytest.skip("uvloop raises RuntimeError")
    told, client = await place.pair(data=lambda told: told.transport.close())
    await client.send(b"?")
    await told.end()
    transport = told.transport
    transport.write(b"x")
    if not place.later_asyncios:
        transport.writelines([b"x", b"y"])
    transport.close()
    transport.abort()
    transport.resume_reading()
    transport.pause_reading()
    assert transport.is_closing()
    assert not transport.is_reading()
    assert await client.rest() == b""
    assert told.events == ["made", "data", "lost"]
    assert "closed" in repr(transport)


async def test_writing_after_our_end_is_refused(place: Any) -> None:
    told, client = await place.pair()
    told.transport.write(b"all")
    told.transport.write_eof()
    told.transport.write_eof()
    with pytest.raises(RuntimeError):
        told.transport.write(b"more")
    with pytest.raises(RuntimeError):
        told.transport.writelines([b"more"])
    assert await client.rest() == b"all"
    assert not told.transport.is_closing()


@pytest.mark.parametrize("size", [0, 3, len(MUCH)])
@pytest.mark.parametrize("during", ["event", "later"])
async def test_our_half_ends_behind_what_was_written(place: Any, size: int, during: str) -> None:
    def end(told: Any) -> None:
        assert told.transport.can_write_eof()
        if "ended" not in told.events:
            told.events.append("ended")
            told.transport.write(MUCH[:size])
            told.transport.write_eof()

    told, client = await place.pair(**({"data": end} if during == "event" else {}))
    if during == "event":
        await client.send(b"?")
    else:
        end(told)
    assert await client.rest() == MUCH[:size]
    await client.send(b"still heard")
    await told.until(lambda: told.octets.endswith(b"still heard"))
    client.end()
    assert (await told.end())[-2:] == ["eof", "lost"]
    assert told.error is None


async def test_their_half_ends_and_ours_goes_on(place: Any) -> None:
    told, client = await place.pair(eof=lambda told: True)
    client.end()
    await told.until(lambda: "eof" in told.events)
    assert not told.transport.is_closing()
    told.transport.write(MUCH)
    told.transport.close()
    assert await client.rest() == MUCH
    events = await told.end()
    assert [events[0], events[1], events[-1]] == ["made", "eof", "lost"]
    assert told.error is None


async def test_both_halves_end(place: Any) -> None:
    told, client = await place.pair(eof=lambda told: True)
    client.end()
    await told.until(lambda: "eof" in told.events)
    told.transport.write_eof()
    assert await client.rest() == b""
    told.transport.close()
    assert await told.end() == ["made", "eof", "lost"]


async def test_closing_lets_what_is_queued_go_first(place: Any) -> None:
    told, client = await place.pair()
    told.transport.write(MUCH)
    told.transport.close()
    assert told.transport.is_closing()
    assert "lost" not in told.events
    assert await client.receive(len(MUCH)) == MUCH
    await told.end()
    assert told.error is None


async def test_a_reset_while_reading(place: Any, kind: Any) -> None:
    told, client = await place.pair(kind)
    client.reset()
    assert await told.end() == ["made", "lost"]
    assert isinstance(told.error, ConnectionResetError)


async def test_a_reset_while_writing(place: Any) -> None:
    told, client = await place.pair(made=lambda told: told.transport.pause_reading())
    told.transport.write(MUCH)
    client.reset()
    assert (await told.end())[-1] == "lost"
    assert isinstance(told.error, ConnectionError)


async def test_a_reset_while_closing(place: Any) -> None:
    told, client = await place.pair()
    told.transport.write(MUCH)
    told.transport.close()
    client.reset()
    assert (await told.end())[-1] == "lost"
    assert isinstance(told.error, ConnectionError)


async def test_a_reset_after_their_end(our_place: Any) -> None:
    # asyncio learns of it when it writes next.
    told, client = await our_place.pair(eof=lambda told: True)
    client.end()
    await told.until(lambda: "eof" in told.events)
    client.reset()
    await told.end()
    assert isinstance(told.error, ConnectionResetError | BrokenPipeError)


# Protocols that fail.


@pytest.mark.parametrize("what", ["data", "eof", "get_buffer"])
@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError("no")])
async def test_a_protocol_that_fails_loses_its_connection(
    place: Any, what: str, error: BaseException
) -> None:
    def fail(told: Any) -> None:
        if "?" in (told.events or "?"):
            return
        told.transport.write(b"bye")
        raise error

    if place.uvloops and what == "get_buffer":
        pytest.skip("uvloop leaves it open")
    kind = place.ToldInto if what == "get_buffer" else place.Told
    told, client = await place.pair(kind, **{what: fail})
    received = await provoke(told, client, "data" if what != "eof" else "eof")
    await told.end()
    if not place.uvloops:
        assert told.error is error
        assert received in (b"bye", b"reset")
        assert [facts["exception"] for facts in place.reported] == [error]


async def test_a_buffer_without_room(place: Any) -> None:
    def shrink(told: Any) -> None:
        told.buffer = bytearray()

    if place.uvloops:
        pytest.skip("uvloop goes on asking")
    told, client = await place.pair(place.ToldInto, get_buffer=shrink)
    await client.send(b"?")
    await told.end()
    assert isinstance(told.error, RuntimeError)


@pytest.mark.parametrize("wrong", [b"read-only", None, memoryview(bytearray(9))[::2]])
async def test_a_buffer_that_is_none(our_place: Any, wrong: Any) -> None:
    def hand_out(told: Any) -> None:
        told.buffer = wrong

    told, client = await our_place.pair(our_place.ToldInto, get_buffer=hand_out)
    await client.send(b"?")
    await told.end()
    assert isinstance(told.error, TypeError | BufferError)


async def test_connection_made_that_fails(our_place: Any) -> None:
    # asyncio goes on reading; uvloop does not, and leaves the connection open.
    def fail(told: Any) -> None:
        told.transport.write(b"bye")
        raise ValueError("no")

    told, client = await our_place.pair(made=fail)
    assert await client.rest() == b"bye"
    assert await told.end() == ["made", "lost"]
    assert isinstance(told.error, ValueError)
    assert len(our_place.reported) == 1


async def test_connection_lost_that_fails_is_reported(place: Any, turn: Any) -> None:
    def fail(told: Any) -> None:
        raise ValueError("no")

    told, client = await place.pair(lost=fail)
    client.end()
    await told.end()
    await turn()
    assert [str(facts["exception"]) for facts in place.reported] == ["no"]
    assert told.transport.get_extra_info("socket") is None or not place.own


# What is left.


@pytest.mark.parametrize("how", ["close", "abort", "their end"])
async def test_when_it_has_ended_nothing_holds_the_protocol(
    our_place: Any, turn: Any, how: str
) -> None:
    protocols: list[Any] = []

    def make() -> Any:
        protocols.append(our_place.Told({}))
        return protocols[0]

    listening = await our_place.listen(make)
    client = our_place.connect(listening)
    while not protocols:
        await turn(1)
    told = protocols[0]
    our_place._made.clear()
    gc.collect()
    gc.disable()
    try:
        if how == "their end":
            client.end()
        else:
            getattr(told.transport, how)()
        await told.end()
        await turn()
        transport = told.transport
        assert transport.get_protocol() is None
        gone = weakref.ref(told), weakref.ref(transport)
        protocols.clear()
        del told, transport
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


async def test_facts_before_and_after_the_end(place: Any) -> None:
    def ask(told: Any) -> None:
        info = told.transport.get_extra_info
        told.events.append(info("peername"))
        told.events.append(info("sockname"))
        told.events.append(info("socket").fileno() >= 0)
        told.events.append(info("ssl_object", "default"))

    told, client = await place.pair(made=ask, lost=ask)
    names = [client.sock.getsockname(), client.sock.getpeername(), True, "default"]
    client.end()
    assert await told.end() == ["made", *names, "eof", "lost", *names]
    info = told.transport.get_extra_info
    assert info("peername") == names[0]
    if place.own:
        assert (info("sockname"), info("socket", 1)) == (None, 1)


async def test_options_of_the_socket_can_be_set(place: Any) -> None:
    told, client = await place.pair()
    sock = told.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    told.transport.abort()
    with pytest.raises(ConnectionResetError):
        await client.rest()


@pytest.mark.parametrize("queued", [False, True])
async def test_last_octets_go_out_though_others_are_unread(place: Any, queued: bool) -> None:
    """The kernel resets such a connection, and drops what it holds back for the end."""

    def answer(told: Any) -> None:
        if queued:
            told.transport.writelines([b"b", b"ye"])
        else:
            told.transport.write(b"bye")
        told.transport.close()

    told, client = await place.pair(place.ToldInto, data=answer)
    client.sock.send(bytes(16 * 1024))
    assert await client.receive(3) == b"bye"
    assert await told.end() == ["made", "data", "lost"]


async def test_the_last_octets_and_the_end_are_one_segment(our_place: Any) -> None:
    def answer(told: Any) -> None:
        told.transport.write(b"answer")
        told.transport.close()

    def look(told: Any) -> None:
        # Held back in the kernel: there is not a segment yet.
        with pytest.raises(BlockingIOError):
            client.sock.recv(1, socket.MSG_PEEK)
        told.events.append("not yet")

    told, client = await our_place.pair(data=answer, lost=look)
    client.sock.send(b"question")
    before = _segments(client.sock)
    assert await client.rest() == b"answer"
    assert await told.end() == ["made", "data", "lost", "not yet"]
    assert _segments(client.sock) - before == 1


@pytest.mark.parametrize("half", [False, True])
async def test_queued_octets_and_the_end_are_one_segment(our_place: Any, half: bool) -> None:
    def answer(told: Any) -> None:
        told.transport.writelines([b"an", b"swer"])
        end: Callable[[], None] = told.transport.write_eof if half else told.transport.close
        end()

    _, client = await our_place.pair(data=answer)
    client.sock.send(b"question")
    before = _segments(client.sock)
    assert await client.rest() == b"answer"
    assert _segments(client.sock) - before == 1


def _segments(sock: socket.socket) -> int:
    """Return how many segments have come in, when all that was sent has been acknowledged."""
    while True:
        facts = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        # tcpi_unacked and tcpi_segs_in of struct tcp_info (linux/tcp.h)
        if struct.unpack_from("=I", facts, 24) == (0,):
            return int(struct.unpack_from("=I", facts, 140)[0])
