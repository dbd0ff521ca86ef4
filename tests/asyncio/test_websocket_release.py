"""Contexts of permessage-deflate on idle connections: released, and made again when needed."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from switchover import Extension, PermessageDeflate
from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.websocket import Connection, Side
from switchover.websocket.deflate_coding import DeflateCoding

pytestmark = pytest.mark.anyio

NEVER = WebSocketSettings(ping_interval=None, release_after=None)
SOON = WebSocketSettings(ping_interval=None, release_after=0.02)
LATER = WebSocketSettings(ping_interval=None, release_after=60)
TEXT = "words that come again, and again " * 20
# Long enough, and with little enough that comes again, to leave a compressor before its end.
DIGITS = "".join(f"{number * number * 7919:x}" for number in range(20_000))


class End:
    """One end of a connection, and what deflates and inflates for it."""

    def __init__(
        self,
        side: Side,
        coding: Extension,
        settings: WebSocketSettings,
        before: Sequence[Extension] = (),
    ) -> None:
        assert isinstance(coding, DeflateCoding)
        self.coding = coding
        machine = Connection(side, extensions=[*before, coding])
        self.ws = WebSocket(machine, settings=settings)

    def has_contexts(self) -> bool:
        return self.coding._compressor is not None and self.coding._inflater is not None

    def has_none(self) -> bool:
        return self.coding._compressor is None and self.coding._inflater is None


@asynccontextmanager
async def pair(
    server: WebSocketSettings = SOON,
    client: WebSocketSettings = SOON,
    *,
    before: Sequence[Extension] = (),
    deflate: PermessageDeflate | None = None,
) -> AsyncIterator[tuple[End, End]]:
    """The server's and the client's end of a connection with permessage-deflate.

    ``before`` are more extensions of the server, asked ahead of permessage-deflate.
    """
    deflate = deflate or PermessageDeflate()
    answer = deflate.negotiate(deflate.offers())
    assert answer is not None
    far = End(Side.SERVER, answer[1], server, before)
    near = End(Side.CLIENT, deflate.accept(answer[0]), client)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: far.ws, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    await loop.create_connection(lambda: near.ws, "127.0.0.1", port)
    await until(lambda: far.ws._transport is not None)
    listener.close()
    try:
        yield far, near
    finally:
        for end in (far, near):
            end.ws.abort()
            await end.ws.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until ``condition`` holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # there is nothing that would say so
            await asyncio.sleep(0)


async def ticks(end: End, number: int) -> None:
    """Wait until the connection has been looked at so many times."""
    for _ in range(number):
        before = end.ws._release
        assert before is not None
        await until(lambda before=before: end.ws._release is not before)  # type: ignore[misc]


async def exchange(one: End, other: End, message: str = TEXT) -> None:
    """Send a message each way."""
    for sender, receiver in ((one, other), (other, one)):
        await sender.ws.send(message)
        async with asyncio.timeout(10):
            assert await receiver.ws.recv() == message


async def test_contexts_of_an_idle_connection_are_released() -> None:
    """WS-D-15, issue 3: after two looks nothing is left but the history; messages go on."""
    async with pair() as (far, near):
        for _ in range(3):
            await exchange(far, near)
            await ticks(far, 2)
            await ticks(near, 2)
            assert far.has_none()
            assert near.has_none()


async def test_one_end_releases_and_the_other_refers_back() -> None:
    """WS-D-15: the peer knows nothing of it, and neither end's takeover is lost to the other."""
    async with pair(SOON, NEVER) as (far, near):
        for _ in range(3):
            await exchange(far, near, DIGITS[:6_000])
            assert near.has_contexts()
            kept = near.coding._compressor
            await ticks(far, 2)
            assert far.has_none()
            assert near.coding._compressor is kept
        # A message that has been sent before is next to nothing, as its context lives on.
        near.ws.machine.send_message(DIGITS[:6_000])
        assert near.ws.machine._out_size < 1000
        near.ws.flush()
        assert await far.ws.recv() == DIGITS[:6_000]


class Beat(Extension):
    """Leaves all as it is, and sends a message whenever it is asked whether it is idle."""

    name = "x-beat"
    rsv = 0

    def __init__(self) -> None:
        self.send: Callable[[], object] | None = None

    def encode(self, data: bytes, *, text: bool, first: bool, final: bool) -> tuple[int, bytes]:
        return 0, data

    def decode(
        self, data: bytes, *, rsv: int, first: bool, final: bool, max_size: int | None
    ) -> bytes:
        return data

    def idle(self) -> bool:
        if self.send is not None:
            self.send()
        return True


async def test_contexts_stay_while_there_is_traffic() -> None:
    """WS-D-15: a message between any two looks is enough, and then two looks without one."""
    beat = Beat()
    async with pair(SOON, NEVER, before=[beat]) as (far, near):
        await exchange(far, near)
        compressor, inflater = far.coding._compressor, far.coding._inflater
        beat.send = lambda: far.ws.send_nowait(TEXT)
        await ticks(far, 4)
        assert far.coding._compressor is compressor
        assert far.coding._inflater is inflater
        beat.send = None
        await ticks(far, 2)
        assert far.has_none()
        for _ in range(4):
            assert await near.ws.recv() == TEXT


async def test_messages_without_compression_keep_no_contexts() -> None:
    """WS-D-10, WS-D-15: they do not use them."""
    beat = Beat()
    async with pair(SOON, NEVER, before=[beat]) as (far, near):
        await exchange(far, near)
        beat.send = lambda: far.ws.send_nowait("short")
        await ticks(far, 2)
        assert far.has_none()


async def test_half_a_message_is_left_alone() -> None:
    """WS-D-12, WS-D-15: nothing is released on either end until its last fragment."""
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        yield DIGITS
        await go_on.wait()
        yield TEXT

    async with pair() as (far, near):
        sending = asyncio.ensure_future(near.ws.send(pieces()))
        await until(lambda: far.coding._inflater is not None)
        compressor, inflater = near.coding._compressor, far.coding._inflater
        assert compressor is not None
        await ticks(far, 3)
        await ticks(near, 3)
        assert near.coding._compressor is compressor
        assert far.coding._inflater is inflater
        go_on.set()
        await sending
        async with asyncio.timeout(10):
            assert await far.ws.recv() == DIGITS + TEXT
        await until(far.has_none)
        await until(near.has_none)
        await exchange(far, near)


async def test_what_idle_connections_hold() -> None:
    """WS-D-15, issue 3: 200 connections give back nine tenths of what their contexts took."""
    deflate = PermessageDeflate(engine="zlib")  # whose memory is Python's to count
    async with AsyncExitStack() as stack:
        ends: list[End] = []
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for _ in range(200):
            ends += await stack.enter_async_context(pair(NEVER, NEVER, deflate=deflate))
        plain = traced()
        for far, near in zip(ends[::2], ends[1::2], strict=True):
            await exchange(far, near)
        used = traced() - plain
        for end in ends:  # not before all of them have been used
            end.ws._settings = SOON
            end.ws._begin_release()
        await until(lambda: all(end.has_none() for end in ends))
        left = traced() - plain
        assert left < used / 10


def traced() -> int:
    """Return the octets that Python's allocators have given out since tracing began."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("end", ["close", "fail", "abort"])
async def test_the_looks_end_with_the_connection(end: str) -> None:
    """Issue 3: nothing is left in the loop's deadlines that would hold a connection."""
    async with pair(LATER, LATER) as (far, near):
        deadlines: list[Any] = [near.ws._release, far.ws._release]
        if end == "close":
            await near.ws.close()
        elif end == "fail":
            near.ws.fail()
            assert near.ws._release is None
        else:
            near.ws.abort()
        for ws in (near.ws, far.ws):
            await ws.wait_closed()
            assert ws._release is None
        for deadline in deadlines:
            assert deadline._callback is None


async def test_a_closing_handshake_is_not_looked_at() -> None:
    """Issue 3: from the first Close frame on, the looks are over."""
    async with pair(LATER, LATER) as (far, near):
        assert near.ws._release is not None
        far.ws.transport.pause_reading()  # the peer does not answer
        near.ws.close_nowait()
        assert near.ws._release is None


async def test_connections_without_extensions_pay_nothing() -> None:
    """Issue 3: and neither do those whose contexts are never to be released."""
    async with pair(SOON, NEVER) as (far, near):
        assert far.ws._release is not None
        assert near.ws._release is None
        await exchange(far, near)
        await ticks(far, 2)
        assert near.has_contexts()
    plain = WebSocket(Connection(Side.SERVER), settings=SOON)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: plain, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(
        asyncio.Protocol, *listener.sockets[0].getsockname()
    )
    await until(lambda: plain._transport is not None)
    assert plain._release is None
    listener.close()
    transport.abort()
    await plain.wait_closed()
