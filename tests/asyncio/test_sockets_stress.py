"""Some hundred connections at once, each with a script of its own that chance has written."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors cannot be counted"),
]

CONNECTIONS = 200
#: What a connection sends, in either direction: the same at every place of the stream.
STREAM = hashlib.shake_256(b"stream").digest(400_000)


class Side:
    """The server's side of one connection: writes at random, and checks what comes."""

    def __init__(self, place: Any, told: Any, chance: random.Random) -> None:
        self.place = place
        self.told = told
        self.chance = chance
        self.sent = self.checked = 0
        self.wanted = chance.choice([0, 1, 5000, 100_000, len(STREAM)])
        self.paused = False
        self.over = False

    def check(self) -> None:
        octets = self.told.octets
        assert octets == STREAM[self.checked : self.checked + len(octets)]
        self.checked += len(octets)
        octets.clear()

    def act(self) -> None:
        """Do something, as chance has it."""
        transport, chance = self.told.transport, self.chance
        what = chance.random()
        if what < 0.15:
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(transport.resume_reading)
        elif what < 0.2:
            transport.pause_reading()
            transport.resume_reading()
        elif what < 0.201:
            self.over = True
            transport.abort()
        if not self.paused and not self.over:
            self.write()

    def write(self) -> None:
        transport, chance = self.told.transport, self.chance
        for _ in range(chance.randrange(4)):
            size = min(chance.choice([1, 10, 1000, 30_000, 100_000]), self.wanted - self.sent)
            piece = STREAM[self.sent : self.sent + size]
            kind = chance.randrange(4)
            self.sent += size
            if kind == 0:
                transport.write(bytearray(piece))
            elif kind == 1:
                transport.write(memoryview(piece))
            elif kind == 2 and not self.place.later_asyncios:
                transport.writelines([piece[:5], piece[5:]])
            else:
                transport.write(piece)
        if self.sent == self.wanted and not self.over:
            self.over = True
            end = chance.choice([transport.close, transport.write_eof, None])
            if end is not None and (end is transport.write_eof or "eof" in self.told.events):
                end()

    def told_data(self) -> None:
        self.check()
        self.act()


def server_side(place: Any, kind: Any, chance: random.Random, sides: list[Side]) -> Any:
    def data(_: Any) -> None:
        side.told_data()

    def eof(_: Any) -> bool:
        # All that is owed is still sent, and then the connection is closed.
        transport = side.told.transport
        if not side.over:
            side.over = True
            transport.write(STREAM[side.sent : side.wanted])
            side.sent = side.wanted
            transport.close()
        return False

    def pause(_: Any) -> None:
        side.paused = True

    def resume(_: Any) -> None:
        side.paused = False
        if not side.over:
            side.act()

    told = kind({"data": data, "eof": eof, "pause": pause, "resume": resume})
    side = Side(place, told, chance)
    sides.append(side)
    return told


async def client_side(client: Any, chance: random.Random) -> tuple[int, int]:
    """Send and receive at random; return how much of each."""
    sent = received = 0
    wanted = chance.choice([1, 100, 20_000, 200_000])
    loop = asyncio.get_running_loop()

    async def send() -> None:
        nonlocal sent
        while sent < wanted:
            size = min(chance.choice([1, 100, 5000, 50_000]), wanted - sent)
            await loop.sock_sendall(client.sock, STREAM[sent : sent + size])
            sent += size
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        if chance.random() < 0.1:
            receiving.cancel()  # nobody waits for a socket that is closed
        else:
            client.end()

    async def receive() -> None:
        nonlocal received
        while True:
            if chance.random() < 0.2:
                await asyncio.sleep(0)
            data = await loop.sock_recv(client.sock, chance.choice([1, 1000, 65536]))
            if not data:
                break
            assert data == STREAM[received : received + len(data)]
            received += len(data)

    receiving = asyncio.create_task(receive())
    sending = asyncio.create_task(send())
    await asyncio.wait([receiving])
    if receiving.cancelled():
        await asyncio.wait([sending])
        client.reset()
    elif isinstance(receiving.exception(), OSError):  # aborted
        sending.cancel()
    else:
        receiving.result()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await sending
    if client.sock.fileno() >= 0:
        client.sock.close()
    return sent, received


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_octets_arrive_whatever_happens(place: Any, kind: Any, seed: int) -> None:
    if place.uvloops:
        pytest.skip("uvloop takes some of these calls for errors after the end")
    chance = random.Random(seed)
    sides: list[Side] = []
    await asyncio.sleep(0)
    before = len(os.listdir("/proc/self/fd"))
    listening = await place.listen(
        lambda: server_side(place, kind, random.Random(chance.random()), sides)
    )
    clients = [place.connect(listening) for _ in range(CONNECTIONS)]
    async with asyncio.timeout(20):
        results = await asyncio.gather(
            *[client_side(client, random.Random(chance.random())) for client in clients]
        )
        for side in sides:
            if side.told.transport is not None and "lost" not in side.told.events:
                side.told.transport.abort()  # it had written all and not been asked to close
            await side.told.end()
    assert place.reported == []
    assert len(sides) == CONNECTIONS
    assert sum(sent for sent, _ in results) > 1_000_000
    assert sum(received for _, received in results) > 1_000_000
    for side in sides:
        events = side.told.events
        assert (events[0], events[-1], events.count("made"), events.count("lost")) == (
            "made",
            "lost",
            1,
            1,
        )
    listening.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before
