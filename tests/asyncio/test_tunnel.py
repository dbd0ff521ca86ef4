"""The octet tunnel, over sockets and over memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.switch import switch
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.errors import LimitExceeded, TunnelBroken, TunnelClosed

pytestmark = pytest.mark.anyio

Handler = Callable[[Tunnel], Awaitable[None]]


async def _nothing(exchange: Exchange) -> None:
    raise AssertionError("the request should have switched")


@asynccontextmanager
async def tunnelled(handler: Handler) -> AsyncIterator[Tunnel]:
    """A tunnel to ``handler``, over a real connection."""
    async with Server(_nothing, [token("p/1", handler)]) as server:
        await server.start()
        url = f"http://127.0.0.1:{server.port}/"
        async with asyncio.timeout(20), switch(url, offer=["p/1"]) as switched:
            assert switched.tunnel is not None
            yield switched.tunnel


async def test_read_in_every_way() -> None:
    """At most, exactly, until: the octets come in order whatever the way."""

    async def handler(tunnel: Tunnel) -> None:
        for octet in b"line one\nabcdefrest":
            await tunnel.send(bytes([octet]))

    async with tunnelled(handler) as tunnel:
        assert await tunnel.read_until(b"\n") == b"line one\n"
        assert await tunnel.read_exactly(3) == b"abc"
        assert await tunnel.read(1) == b"d"
        rest = b"".join([piece async for piece in tunnel])
        assert rest == b"efrest"
        assert await tunnel.read() == b""


async def test_end_inside_what_was_wanted() -> None:
    """An incomplete read says what there was."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.send(b"abc")

    async with tunnelled(handler) as tunnel:
        with pytest.raises(asyncio.IncompleteReadError) as incomplete:
            await tunnel.read_exactly(5)
        assert incomplete.value.partial == b"abc"
        with pytest.raises(asyncio.IncompleteReadError):
            await tunnel.read_until(b"\n")


async def test_separator_beyond_the_limit() -> None:
    """A line without end does not fill the memory; what came stays readable."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.send(b"x" * 1000)
        await tunnel.read()

    async with tunnelled(handler) as tunnel:
        with pytest.raises(LimitExceeded):
            await tunnel.read_until(b"\n", limit=100)
        assert await tunnel.read_exactly(1000) == b"x" * 1000


async def test_half_close_keeps_the_other_direction() -> None:
    """CON-10 for tokens: our end of data; the peer goes on, and its last octets arrive."""

    async def handler(tunnel: Tunnel) -> None:
        content = b"".join([piece async for piece in tunnel])
        for _ in range(100):
            await tunnel.send(content.upper() * 1000)

    async with tunnelled(handler) as tunnel:
        await tunnel.send(b"abc")
        await tunnel.send_eof()
        with pytest.raises(TunnelClosed):
            await tunnel.send(b"more")
        assert sum([len(piece) async for piece in tunnel]) == 300_000


async def test_peer_that_ends_first_can_still_read() -> None:
    """The same the other way round."""
    got: list[bytes] = []
    done = asyncio.Event()

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.send(b"bye")
        await tunnel.send_eof()
        got.append(await tunnel.read_exactly(5))
        done.set()

    async with tunnelled(handler) as tunnel:
        assert await tunnel.read() == b"bye"
        assert await tunnel.read() == b""
        await tunnel.send(b"later")
        await asyncio.wait_for(done.wait(), 5)
    assert got == [b"later"]


async def test_octets_are_not_piled_up_for_a_slow_reader() -> None:
    """SEC-24: both ends stop, and nothing is lost in the end."""
    size = 64 * 1024 * 1024
    sent = 0

    async def handler(tunnel: Tunnel) -> None:
        nonlocal sent
        piece = bytes(256 * 1024)
        while sent < size:
            await tunnel.send(piece)
            sent += len(piece)

    async with tunnelled(handler) as tunnel:
        await tunnel.read_exactly(1)
        before = -1
        while sent != before:
            before = sent
            for _ in range(300):
                await asyncio.sleep(0)
        assert sent < size
        assert sum([len(piece) async for piece in tunnel]) == size - 1


async def test_lost_connection_is_not_an_end() -> None:
    """A reset is an error on both verbs; what had arrived is read first."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.send(b"abc")
        await tunnel.read_exactly(1)
        tunnel.abort()

    async with tunnelled(handler) as tunnel:
        assert await tunnel.read_exactly(3) == b"abc"
        await tunnel.send(b"x")
        with pytest.raises(TunnelBroken):
            await tunnel.read()
        await tunnel.wait_closed()
        with pytest.raises(TunnelBroken):
            await tunnel.send(b"y")


async def test_closed_tunnel_says_so() -> None:
    """After close() nothing can be read or sent."""

    async def handler(tunnel: Tunnel) -> None:
        async for data in tunnel:
            await tunnel.send(data)

    async with tunnelled(handler) as tunnel:
        await tunnel.send(b"x")
        await tunnel.close()
        with pytest.raises(TunnelClosed):
            await tunnel.read()
        with pytest.raises(TunnelClosed):
            await tunnel.send(b"x")
        await tunnel.send_eof()
        await tunnel.close()  # once more does no harm


async def test_cancelled_read_loses_nothing() -> None:
    """Cancellation while waiting leaves the octets for the next reader."""
    go_on = asyncio.Event()

    async def handler(tunnel: Tunnel) -> None:
        await go_on.wait()
        await tunnel.send(b"kept")

    async with tunnelled(handler) as tunnel:
        reading = asyncio.ensure_future(tunnel.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        go_on.set()
        assert await tunnel.read() == b"kept"


async def test_two_readers_are_told() -> None:
    """Who gets the octets would be chance, so it is an error."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.read()

    async with tunnelled(handler) as tunnel:
        first = asyncio.ensure_future(tunnel.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two coroutines"):
            await tunnel.read()
        await tunnel.send_eof()
        assert await first == b""


async def test_streams_view() -> None:
    """asyncio's own streams take over, with what had been read already."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.send(b"early ")
        reader, writer = tunnel.streams()
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async with tunnelled(handler) as tunnel:
        assert await tunnel.read_exactly(6) == b"early "
        reader, writer = tunnel.streams()
        with pytest.raises(TunnelClosed):
            await tunnel.read()
        writer.write(b"a line\n")
        assert await reader.read() == b"A LINE\n"
        writer.close()


async def test_facts() -> None:
    """The tunnel knows its token, its messages, its peer and its chain."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.send(
            f"{tunnel.protocol} {tunnel.request.target} {tunnel.facts.chain}".encode()
        )

    async with tunnelled(handler) as tunnel:
        assert await tunnel.read_until(b")") == b"p/1 / ('HTTP/1.1', 'p/1')"
        assert tunnel.response.status == 101
        assert tunnel.facts.peername[0] == "127.0.0.1"
        assert tunnel.get_extra_info("socket") is not None
