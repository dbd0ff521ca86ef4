"""Listening sockets: addresses, what is accepted, and what cannot be."""

from __future__ import annotations

import errno
import os
import resource
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors cannot be counted"),
]


# Addresses.


@pytest.mark.parametrize("family", ["IPv4", "IPv6", "Unix", "abstract", "named peer"])
async def test_families(place: Any, family: str) -> None:
    def ask(told: Any) -> None:
        told.events.append(told.transport.get_extra_info("peername"))
        told.events.append(told.transport.get_extra_info("sockname"))

    with tempfile.TemporaryDirectory() as directory:
        address: Any = {
            "IPv4": ("127.0.0.1", 0),
            "IPv6": ("::1", 0),
            "abstract": f"\0switchover-{os.getpid()}",
        }.get(family, f"{directory}/socket")
        told = place.Told({"made": ask, "lost": ask})
        try:
            listening = await place.listen(lambda: told, address)
        except OSError:
            pytest.skip(f"no {family} here")
        if family == "named peer":
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(f"{directory}/peer")
            sock.connect(address)
            sock.setblocking(False)
            client = place.Client(sock)
        else:
            client = place.connect(listening)
        with client.sock:
            await client.send(b"data")
            assert await told.has(4) == b"data"
            names = [client.sock.getsockname(), client.sock.getpeername()]
            if family == "abstract":
                names[1] = names[1].decode() if place.uvloops else names[1]
            client.end()
            events = [event or "" for event in await told.end()]
            if not place.uvloops:
                assert events == ["made", *names, "data", "eof", "lost", *names]
                assert (told.transport.get_extra_info("peername") or "") in (names[0], "")


# Accepting.


async def test_a_listener_that_is_closed(place: Any, turn: Any) -> None:
    told, client = await place.pair()
    listening = await place.listen(lambda: place.Told({}))
    address = listening.sockets[0].getsockname()
    listening.close()
    listening.close()
    assert list(listening.sockets) == []
    await turn()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass
    await client.send(b"goes on")
    assert await told.has(7) == b"goes on"


@pytest.mark.parametrize("where", ["factory", "made"])
async def test_a_listener_that_is_closed_while_it_accepts(our_place: Any, where: str) -> None:
    # asyncio accepts all that wait before it asks anybody.
    def make() -> Any:
        made.append(our_place.Told({"made": close if where == "made" else bool}))
        if where == "factory":
            close()
        return made[-1]

    def close(_: Any = None) -> None:
        listening.close()

    made: list[Any] = []
    listening = await our_place.listen(make)
    clients = [our_place.connect(listening) for _ in range(3)]
    await clients[0].send(b"first")
    with pytest.raises(ConnectionResetError):
        await clients[1].receive(1)
    with pytest.raises(ConnectionResetError):
        await clients[2].receive(1)
    assert await made[0].has(5) == b"first"
    assert len(made) == 1


async def test_a_factory_that_fails(our_place: Any) -> None:
    # asyncio says so in debug mode only, and uvloop stops accepting.
    def make() -> Any:
        made.append(our_place.Told({}))
        if len(made) == 1:
            raise ValueError("no")
        return made[-1]

    made: list[Any] = []
    listening = await our_place.listen(make)
    clients = [our_place.connect(listening) for _ in range(2)]
    await clients[1].send(b"second")
    assert await clients[0].rest() == b""
    assert await made[1].has(6) == b"second"
    assert [str(facts["exception"]) for facts in our_place.reported] == ["no"]


async def test_a_factory_that_closes_the_listener_and_fails(our_place: Any) -> None:
    def make() -> Any:
        listening.close()
        raise ValueError("no")

    listening = await our_place.listen(make)
    client = our_place.connect(listening)
    assert await client.rest() == b""
    assert [str(facts["exception"]) for facts in our_place.reported] == ["no"]


@pytest.mark.slow
async def test_descriptors_that_run_out(place: Any, turn: Any) -> None:
    if place.uvloops:
        pytest.skip("libuv keeps one to accept with, and closes the connection")
    told = place.Told({})
    listening = await place.listen(lambda: told)
    client = place.connect(listening)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        while not place.reported:
            await turn(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert place.reported[0]["exception"].errno == errno.EMFILE
    if place.own:
        assert len(place.reported) == 1
    await told.until(lambda: told.events)  # it goes on after a second
    await client.send(b"late")
    assert await told.has(4) == b"late"


async def test_hundreds_that_wait_to_be_accepted(place: Any) -> None:
    def make() -> Any:
        made.append(place.Told({"data": lambda told: told.transport.write(bytes(told.octets))}))
        return made[-1]

    made: list[Any] = []
    listening = await place.listen(make)
    clients = [place.connect(listening) for _ in range(300)]
    for number, client in enumerate(clients):
        client.sock.send(b"%03d" % number)
    for number, client in enumerate(clients):
        assert await client.receive(3) == b"%03d" % number
    assert len(made) == 300
