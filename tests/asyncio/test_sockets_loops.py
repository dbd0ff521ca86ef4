"""Event loops with our transports on them: what is left when they stop, close, or are forked."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from switchover.asyncio import sockets

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors cannot be counted"),
]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# The loop, and what is left on it.


async def test_when_nothing_is_left_no_descriptor_is(our_place: Any, turn: Any) -> None:
    await turn()
    before = descriptors()
    for _ in range(3):
        told, client = await our_place.pair()
        assert descriptors() > before
        client.end()
        await told.end()
        our_place._undo.close()
        await turn()
        assert descriptors() == before


async def test_what_cannot_be_registered_leaves_nothing(anyio_backend: Any, own: bool) -> None:
    if not own:
        pytest.skip("only ours registers")
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        before = descriptors()
        listening = await sockets.listen(sock, lambda: None, backlog=5, own=True)  # type: ignore
        with pytest.raises(FileExistsError):
            await sockets.listen(sock, lambda: None, backlog=5, own=True)  # type: ignore
        listening.close()
        assert descriptors() == before - 1
    with socket.socket() as closed:
        pass
    with pytest.raises(OSError):
        await sockets.listen(closed, lambda: None, backlog=5, own=True)  # type: ignore
    assert descriptors() == before - 1
    assert loop.is_running()


LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio")]
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, own: bool) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that does not run; our transports only."""
    if not own:
        pytest.skip("this is about ours")
    loop = request.param()
    yield loop
    loop.close()


async def _pairs(place_of: Callable[[], Any], count: int, **on: Callable[[Any], Any]) -> list[Any]:
    place = place_of()
    return [place, *[await place.pair(**on) for _ in range(count)]]


@pytest.mark.parametrize("what", ["made", "data", "eof", "lost", "pause", "resume"])
def test_who_interrupts_the_loop_loses_nothing(
    loop: Any, place_of: Callable[[], Any], what: str
) -> None:
    def interrupt(told: Any) -> None:
        if what == "resume":
            told.transport.resume_reading()
        if not interrupted:
            interrupted.append(told)
            raise KeyboardInterrupt

    interrupted: list[Any] = []
    on = {what: interrupt}
    place = loop.run_until_complete(_pairs(place_of, 0))[0]
    made = [place.Told(on) for _ in range(5)]
    left = iter(made)
    listening = loop.run_until_complete(place.listen(lambda: next(left)))
    clients = [place.connect(listening) for _ in range(5)]
    if what == "made":
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
    else:
        loop.run_until_complete(asyncio.wait_for(_all(made, "made"), 5))
    for told, client in zip(made, clients, strict=True):
        client.sock.send(b"y" * 5000)
        if what in ("pause", "resume"):
            loop.call_soon(told.transport.write, b"x" * 1_000_000)
        else:
            client.end()
    received = [loop.create_task(_rest(client)) for client in clients]
    if what != "made":
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
    if what in ("pause", "resume"):
        loop.run_until_complete(asyncio.wait_for(_all(made, "resume"), 5))
        for client in clients:
            client.end()
    loop.run_until_complete(asyncio.wait_for(_all(made, "lost"), 5))
    assert [told.octets for told in made] == [b"y" * 5000] * 5
    assert [told.events.count("lost") for told in made] == [1] * 5
    octets = loop.run_until_complete(asyncio.gather(*received))
    assert octets == [1_000_000 if what in ("pause", "resume") else 0] * 5
    loop.run_until_complete(place.close())


async def _rest(client: Any) -> int:
    return len(await client.rest())


async def _all(made: list[Any], what: str) -> None:
    for told in made:
        await told.until(lambda told=told: what in told.events)


def test_a_loop_that_is_stopped_and_run_again(loop: Any, place_of: Callable[[], Any]) -> None:
    place, (told, client) = loop.run_until_complete(_pairs(place_of, 1))
    client.sock.send(b"while it did not run")
    told.transport.pause_reading()
    told.transport.resume_reading()
    loop.run_until_complete(told.has(20))
    told.transport.write(b"nor now")
    assert loop.run_until_complete(client.receive(7)) == b"nor now"
    told.transport.abort()
    loop.run_until_complete(told.end())
    loop.run_until_complete(place.close())


def test_a_loop_that_is_closed_with_connections_open(
    loop: Any, place_of: Callable[[], Any]
) -> None:
    place, (told, client), (_, other) = loop.run_until_complete(_pairs(place_of, 2))
    transport = told.transport
    del told
    client.sock.close()
    other.sock.close()
    loop.close()
    with pytest.raises(RuntimeError):
        transport.abort()  # as asyncio's own does
    del transport
    place._undo.pop_all()
    place._made.clear()
    del place, _
    before = descriptors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    messages = [str(warning.message) for warning in caught]
    assert sum("unclosed transport" in message for message in messages) == 2
    caught.clear()  # each holds what it is about
    gc.collect()
    assert descriptors() == before - 5  # two connections, two listening sockets, and epoll's


def test_a_listener_that_is_closed_after_its_loop(loop: Any, place_of: Callable[[], Any]) -> None:
    before = descriptors()
    place = loop.run_until_complete(_pairs(place_of, 0))[0]
    loop.run_until_complete(place.listen(lambda: place.Told({})))
    loop.close()
    place._undo.close()
    assert descriptors() <= before


def test_two_loops_in_two_threads(own: bool, place_of: Callable[[], Any]) -> None:
    async def exchange() -> None:
        def echo(told: Any) -> None:
            told.transport.write(bytes(told.octets))
            told.octets.clear()

        place = place_of()
        pairs = [await place.pair(data=echo) for _ in range(20)]
        for number in range(20):
            for _, client in pairs:
                await client.send(b"%d," % number * 500)
            for _, client in pairs:
                expected = b"%d," % number * 500
                assert await client.receive(len(expected)) == expected
        await place.close()
        done.append(place)

    done: list[Any] = []
    threads = [threading.Thread(target=asyncio.run, args=(exchange(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 2


# Forked processes, which share what was open.


def _reap(child: int) -> None:
    os.waitpid(child, 0)


_FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@_FORKS
async def test_a_forked_process_takes_nothing_away(our_place: Any) -> None:
    told, client = await our_place.pair()
    another = our_place.Told({})
    listening = await our_place.listen(lambda: another)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            listening.close()
            told.transport.abort()
            asyncio.get_running_loop()._run_once()  # type: ignore[attr-defined]
        os._exit(0)
    _reap(child)
    await our_place.connect(listening).send(b"accepted")
    assert await another.has(8) == b"accepted"
    await client.send(b"goes on")
    assert await told.has(7) == b"goes on"


@_FORKS
async def test_what_has_ended_here_and_lives_on_in_a_forked_process(
    our_place: Any, turn: Any
) -> None:
    told, client = await our_place.pair()
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        told.transport.abort()
        await told.end()
        await turn()
        del told
        our_place._made.clear()
        gc.collect()
        await client.send(b"to nobody")  # the connection is still open, over there
        await turn(20)
    finally:
        os.kill(child, signal.SIGKILL)
        _reap(child)


def test_transports_are_made_by_listeners_only(own: bool) -> None:
    if not own:
        pytest.skip("this is about ours")
    from switchover.asyncio._socket_transport import SocketTransport

    with pytest.raises(TypeError):
        SocketTransport()
    transport = SocketTransport.__new__(SocketTransport)
    transport.write(b"x")
    transport.writelines([b"x"])
    transport.write_eof()
    transport.pause_reading()
    transport.resume_reading()
    transport.set_write_buffer_limits(0)
    transport.close()
    transport.abort()
    assert transport.is_closing()
    assert transport.get_extra_info("socket") is None
    assert transport.get_extra_info("sockname") is None
    assert transport.get_extra_info("peername", "x") in ("", "x")
