"""WebSocket over real sockets, on both event loops: both APIs, backpressure, closing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio.websocket import WebSocket, WebSocketSettings, run_handler
from switchover.asyncio.websocket_broadcast import SlowReader, broadcast
from switchover.errors import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from switchover.websocket import Connection, Side, State

pytestmark = pytest.mark.anyio

Pair = tuple[WebSocket, WebSocket]
QUIET = WebSocketSettings(ping_interval=None)


@asynccontextmanager
async def pair(
    *,
    server: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
    server_machine: dict[str, Any] | None = None,
    client_machine: dict[str, Any] | None = None,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> AsyncIterator[Pair]:
    """A server's and a client's end of a connection, the opening handshake being over."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[WebSocket] = loop.create_future()
    limits = {"max_message_size": 16 * 1024 * 1024}

    def serve() -> WebSocket:
        machine = Connection(Side.SERVER, **{**limits, **(server_machine or {})})
        ws = WebSocket(machine, **{"settings": QUIET, **(server or {})})
        loop.call_soon(accepted.set_result, ws)
        return ws

    def dial() -> WebSocket:
        machine = Connection(Side.CLIENT, **{**limits, **(client_machine or {})})
        return WebSocket(machine, **{"settings": QUIET, **(client or {})})

    listener = await loop.create_server(serve, "127.0.0.1", 0, ssl=tls and tls[0])
    port = listener.sockets[0].getsockname()[1]
    options: dict[str, Any] = {"ssl": tls[1], "server_hostname": "localhost"} if tls else {}
    _, near = await loop.create_connection(dial, "127.0.0.1", port, **options)
    far = await accepted
    try:
        yield far, near
    finally:
        listener.close()
        for ws in (far, near):
            ws.abort()
        for ws in (far, near):
            await ws.wait_closed()


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@contextlib.asynccontextmanager
async def running(*coroutines: Awaitable[Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until ``condition`` holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # there is nothing that would say so
            await asyncio.sleep(0)


MESSAGES = ["", "héllo", b"", b"\xff", b"x" * 125, b"y" * 70_000, "é" * 500_000, b"z" * 5_000_000]


async def test_messages_go_both_ways() -> None:
    """WS-F-15: every size, text and binary, through a real socket and back."""
    async with pair() as (server, client), running(echo(server)):
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message


async def test_messages_go_both_ways_under_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """WS-F-01: masked or not, the frames are the same inside TLS."""
    async with (
        pair(tls=(server_context, client_context)) as (server, client),
        running(echo(server)),
    ):
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message
        await client.close()
        assert client.close_code == 1000


async def test_the_callback_api() -> None:
    """Issue 3: on_message and send_nowait, on_close at the end; no task."""
    closed = asyncio.get_running_loop().create_future()
    before = len(asyncio.all_tasks())
    callbacks = {
        "on_message": lambda ws, message: ws.send_nowait(message),
        "on_close": closed.set_result,
    }
    async with pair(server=callbacks) as (server, client):
        assert len(asyncio.all_tasks()) == before
        for message in MESSAGES:
            client.send_nowait(message)
            assert await client.recv() == message
        with pytest.raises(RuntimeError, match="on_message"):
            await server.recv()
        await client.close(1001, "bye")
        assert await closed is server
        assert (server.close_code, server.close_reason) == (1001, "bye")


async def test_many_messages_in_flight_keep_their_order() -> None:
    """WS-F-15: a wake-up brings many messages; none is lost or overtaken."""
    async with pair() as (server, client), running(echo(server)):
        for number in range(5000):
            await client.send(str(number))
        assert [await client.recv() for _ in range(5000)] == [str(n) for n in range(5000)]


async def test_what_one_wake_up_sends_goes_out_together() -> None:
    """Issue 3, item 7: the answers to what came in one read leave in one write."""
    async with pair() as (server, client):
        written: list[bytes] = []
        spied = _Spy(server.transport, written)
        server.connection_made(spied)
        async with running(echo(server)):
            await asyncio.sleep(0)
            octets = b"".join(b"\x81\x81\x00\x00\x00\x00%d" % n for n in range(9))
            # As transports do it: from the loop, and not from a task.
            asyncio.get_running_loop().call_soon(server.data_received, octets)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert written == [b"".join(b"\x81\x01%d" % n for n in range(9))]
        assert [await client.recv() for _ in range(9)] == [str(n) for n in range(9)]


class _Spy:
    """A transport that notes what is written, and is of no known kind."""

    def __init__(self, transport: Any, written: list[bytes]) -> None:
        self._transport = transport
        self._written = written

    def write(self, data: Any) -> None:
        self._written.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_a_message_in_fragments() -> None:
    """WS-F-12: iterables and asynchronous ones go out as fragments, and come in as a message."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"d", bytearray(b"e"), memoryview(b"f")):
            yield piece

    async with pair() as (server, client):
        await client.send(["a", "b", "c"])
        await client.send(pieces())
        await client.send(iter([b"alone"]))
        await client.send([])
        await client.send("end")
        got = [await server.recv() for _ in range(4)]
        assert got == ["abc", b"def", b"alone", "end"]


async def test_fragments_are_received_one_by_one() -> None:
    """RFC 6455 §6.2: recv_fragments() does not wait for the end of the message."""
    async with pair() as (server, client):
        gate = asyncio.Event()

        async def pieces() -> AsyncIterator[str]:
            yield "a"
            yield "b"
            await gate.wait()
            yield "c"

        async with running(client.send(pieces())):
            got = []
            async for piece in server.recv_fragments():
                got.append(piece)
                gate.set()
            assert got == ["a", "b", "c"]
        await client.send("whole")
        assert [piece async for piece in server.recv_fragments()] == ["whole"]
        await client.send([b"x", b"y"])
        assert await server.recv() == b"xy"


async def test_fragments_that_nobody_reads_to_the_end() -> None:
    """RFC 6455 §5.4: the next recv() skips the rest of an abandoned message."""
    async with pair() as (server, client):
        await client.send(["a", "b", "c"])
        await client.send(["d", "e"])
        await client.send("f")
        fragments = server.recv_fragments()
        assert await anext(fragments) == "a"
        await fragments.aclose()
        assert await server.recv() == "de"
        assert await server.recv() == "f"
        await client.send(["a", "b"])
        await client.send("c")
        assert await anext(server.recv_fragments()) == "a"
        assert await server.recv() == "c"


async def test_other_messages_wait_for_a_fragmented_one() -> None:
    """WS-F-12, RFC 6455 §5.4: fragments of messages are not interleaved."""
    async with pair() as (server, client):
        gate = asyncio.Event()

        async def pieces() -> AsyncIterator[str]:
            yield "a"
            yield "b"
            await gate.wait()
            yield "c"

        async with running(client.send(pieces())) as (first,):
            await asyncio.sleep(0)
            async with running(client.send("later"), client.send(["x", "y"])) as (plain, pieced):
                await client.ping()
                assert not plain.done()
                gate.set()
                await asyncio.gather(first, plain, pieced)
        got = [await server.recv() for _ in range(3)]
        assert got[0] == "abc"
        assert sorted(got[1:]) == ["later", "xy"]


@pytest.mark.parametrize("fault", ["raises", "mixes", "wrong", "cancelled"])
async def test_a_fragmented_message_that_cannot_be_finished(fault: str) -> None:
    """WS-C-09: the connection fails, for no other message could follow."""
    never = asyncio.Event()

    async def pieces() -> AsyncIterator[Any]:
        yield "a"
        yield "b"
        if fault == "raises":
            raise ZeroDivisionError
        yield b"octets" if fault == "mixes" else 1
        await never.wait()

    async def stuck() -> AsyncIterator[Any]:
        yield "a"
        yield "b"
        await never.wait()

    async with pair() as (server, client):
        task = asyncio.ensure_future(client.send(stuck() if fault == "cancelled" else pieces()))
        if fault == "cancelled":
            await client.ping()
            task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(done[0], BaseException)
        with pytest.raises(ConnectionClosedError) as caught:
            await server.recv()
        assert caught.value.code == 1011


@pytest.mark.parametrize("wrong", [None, 5, {"a": 1}, [1]])
async def test_what_cannot_be_sent(wrong: Any) -> None:
    """RFC 6455 §6.1: a TypeError, and the connection lives."""
    async with pair() as (server, client):
        with pytest.raises(TypeError):
            await client.send(wrong)
        await client.send("still here")
        assert await server.recv() == "still here"


# Backpressure


async def test_reading_is_paused_while_the_queue_is_full() -> None:
    """SEC-24: what is not read is not taken from the socket for ever; nothing is lost."""
    settings = WebSocketSettings(ping_interval=None, queue_high=10_000, queue_low=1_000)
    async with pair(server={"settings": settings}) as (server, client):

        async def send_all() -> None:
            for number in range(20_000):
                await client.send(b"%08d" % number * 100)

        async with running(send_all()) as (sending,):
            await until(lambda: client.writing_paused and server._reading_paused)
            assert server._queue_size < 500_000
            for number in range(20_000):
                assert await server.recv() == b"%08d" % number * 100
            await sending
            assert not server._reading_paused


async def test_send_waits_while_the_transport_is_full() -> None:
    """Issue 3, item 2: send() waits above the high mark, and goes on when it has drained."""
    async with pair() as (server, client):
        server.transport.pause_reading()
        sent = 0

        async def send_all() -> None:
            nonlocal sent
            for _ in range(400):
                await client.send(b"x" * 65_536)
                sent += 1

        async with running(send_all()) as (sending,):
            await until(lambda: client.writing_paused)
            before = sent
            for _ in range(20):
                await asyncio.sleep(0)
            assert sent <= before + 1 < 400
            server.transport.resume_reading()
            for _ in range(400):
                assert len(await server.recv()) == 65_536
            await sending


async def test_a_ping_flood_from_a_peer_that_does_not_read() -> None:
    """SEC-21: while the transport is full only the latest ping is answered."""
    async with pair() as (server, _):
        written: list[bytes] = []
        server.connection_made(_Spy(server.transport, written))
        server.pause_writing()
        for number in range(1000):
            server.data_received(b"\x89\x84\x00\x00\x00\x00%04d" % number)
        assert written == []
        server.resume_writing()
        assert written == [b"\x8a\x040999"]


async def test_waiting_senders_learn_of_the_end() -> None:
    """WS-C-10: a send() that waits raises when the connection is lost."""
    async with pair() as (server, client):
        server.transport.pause_reading()

        async def send_forever() -> None:
            while True:
                await client.send(b"x" * 1_000_000)

        async with running(send_forever()) as (sending,):
            await until(lambda: client.writing_paused)
            client.abort()
            with pytest.raises(ConnectionClosedError):
                await sending


# Waiting


async def test_only_one_task_may_wait() -> None:
    """Two readers would get each other's messages."""
    async with pair() as (server, client), running(server.recv()) as (first,):
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await server.recv()
        await client.send("x")
        assert await first == "x"


async def test_cancelling_a_reader_loses_nothing() -> None:
    """RFC 6455 §6.2: a message that has come is there for the next reader."""
    async with pair() as (server, client):
        for number in range(50):
            async with running(server.recv()) as (reading,):
                await asyncio.sleep(0)
                reading.cancel()
                await client.send(str(number))
                with pytest.raises(asyncio.CancelledError):
                    await reading
            assert await server.recv() == str(number)


async def test_a_reader_can_time_out_and_try_again() -> None:
    """Cancellation at the await leaves the connection as it was."""
    async with pair() as (server, client):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.recv(), 0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await server.recv()
        await client.send("x")
        assert await server.recv() == "x"


async def test_a_reader_runs_as_its_own_task() -> None:
    """It is resumed inside the read callback, but as itself: task and context are right."""
    import contextvars

    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    async def read(ws: WebSocket) -> None:
        name.set("reader")
        async for _ in ws:
            assert asyncio.current_task() is task
            assert name.get() == "reader"
            async with asyncio.timeout(1):
                await asyncio.sleep(0)
            await ws.send(name.get())

    async with pair() as (server, client):
        task = asyncio.ensure_future(read(server))
        async with running(task):
            for _ in range(3):
                await client.send("?")
                assert await client.recv() == "reader"


async def test_octets_fed_by_a_task_wake_another_one() -> None:
    """A transport in memory delivers inside a task; the reader must not run inside that."""
    async with pair() as (server, client), running(echo(server)):
        await asyncio.sleep(0)
        server.data_received(b"\x81\x81\x00\x00\x00\x00a")
        assert await client.recv() == "a"


# Pings


async def test_ping_returns_the_latency() -> None:
    """WS-F-18: the pong with the same data is the answer."""
    async with pair() as (_, client):
        assert client.latency == 0.0
        latency = await client.ping()
        assert 0 < latency < 5
        assert client.latency == latency
        assert await client.ping(b"data") > 0


async def test_a_later_pong_answers_earlier_pings() -> None:
    """WS-F-19, RFC 6455 §5.5.3: the peer may answer only the latest."""
    async with (
        pair() as (server, client),
        running(client.ping(b"1"), client.ping(b"2"), client.ping(b"3")) as pings,
    ):
        await asyncio.sleep(0)
        server.machine.pong(b"2")
        server.flush()
        await asyncio.gather(*pings)


async def test_pings_end_with_the_connection() -> None:
    """WS-C-10: who waits for a pong gets ConnectionClosed."""
    async with pair() as (server, client):
        server.transport.pause_reading()
        async with running(client.ping()) as (ping,):
            await asyncio.sleep(0)
            client.abort()
            with pytest.raises(ConnectionClosedError):
                await ping
        with pytest.raises(ConnectionClosedError):
            await client.ping()


# Closing


async def test_close_waits_for_the_peer() -> None:
    """WS-C-05, WS-C-07, WS-C-08: both Close frames, then the server ends TCP."""
    async with pair() as (server, client), running(echo(server)):
        await client.close(1001, "bye")
        assert client.state is State.CLOSED
        assert (client.close_code, client.close_reason) == (1001, "")
        await server.wait_closed()
        assert (server.close_code, server.close_reason) == (1001, "bye")
        await client.close()
        client.close_nowait()


async def test_the_server_closes() -> None:
    """WS-C-07: and the client is told by the end of its iteration."""
    async with pair() as (server, client):
        await server.send("last")
        async with running(server.close(1001)):
            assert [message async for message in client] == ["last"]
            with pytest.raises(ConnectionClosedOK) as caught:
                await client.recv()
            assert caught.value.code == 1001
            await client.wait_closed()


async def test_iteration_raises_unless_the_end_is_normal() -> None:
    """WS-C-10: 1000 and 1001 end the loop, everything else raises."""
    async with pair() as (server, client):
        server.close_nowait(4000, "no")
        with pytest.raises(ConnectionClosedError) as caught:
            async for _ in client:
                pass
        assert (caught.value.code, caught.value.reason) == (4000, "no")


async def test_a_lost_connection_is_1006() -> None:
    """WS-C-10: TCP reset."""
    async with pair() as (server, client):
        server.abort()
        with pytest.raises(ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.code == 1006
        for send in (client.send("x"), client.send(["x"]), client.ping()):
            with pytest.raises(ConnectionClosed):
                await send
        with pytest.raises(ConnectionClosed):
            client.send_nowait("x")


async def test_sending_while_closing_says_how_it_ended() -> None:
    """WS-F-20: nothing follows a Close frame; the exception knows the peer's answer."""
    async with pair() as (server, client), running(echo(server)):
        client.close_nowait(1000)
        with pytest.raises(ConnectionClosedOK):
            await client.send("x")


async def test_close_has_a_deadline() -> None:
    """SEC-22, WS-C-08: a peer that never answers Close is dropped, and the code is 1006."""
    settings = WebSocketSettings(ping_interval=None, close_timeout=0.05)
    async with pair(client={"settings": settings}) as (server, client):
        server.transport.pause_reading()
        await client.close()
        assert client.close_code == 1006


async def test_a_client_drops_a_server_that_keeps_tcp_open() -> None:
    """WS-C-08, RFC 6455 §7.1.1: after the Close exchange the wait is bounded."""
    settings = WebSocketSettings(ping_interval=None, close_timeout=0.05)
    async with pair(client={"settings": settings}) as (server, client):
        server._transport_ended = True  # this server does not end it
        await client.close()
        assert client.close_code == 1000


async def test_a_failure_is_told_even_to_a_peer_that_is_still_sending() -> None:
    """WS-C-09, WS-C-11: the Close frame with 1009 is not lost in a reset."""
    async with pair(server_machine={"max_message_size": 1000}) as (server, client):
        client.send_nowait(b"x" * 3_000_000)
        with pytest.raises(ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.code == 1009
        await asyncio.gather(server.wait_closed(), client.wait_closed())
        assert server.machine.error is not None


async def test_close_discards_what_nobody_reads() -> None:
    """SEC-22: a full queue does not keep the peer's Close from being seen."""
    settings = WebSocketSettings(ping_interval=None, queue_high=1000, queue_low=100)
    async with pair(server={"settings": settings}) as (server, client):
        for _ in range(50):
            await client.send(b"x" * 10_000)
        await until(lambda: server._reading_paused)
        async with running(client.close()):
            await asyncio.wait_for(server.close(), 5)
        assert server.close_code == 1000


async def test_messages_before_the_close_are_delivered() -> None:
    """RFC 6455 §7.1.1: what came before Close is no part of the closing."""
    async with pair() as (server, client):
        for number in range(100):
            client.send_nowait(str(number))
        client.close_nowait()
        assert [message async for message in server] == [str(n) for n in range(100)]


# Handlers


async def test_a_handler_that_returns_closes_with_1000() -> None:
    """RFC 6455 §7.1.2: the application is done."""
    async with pair() as (server, client):

        async def handler(ws: WebSocket) -> None:
            await ws.send("hello")

        async with running(run_handler(server, handler)) as (task,):
            assert [message async for message in client] == ["hello"]
            await task
            assert client.close_code == 1000


async def test_a_handler_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """SEC-44: the exception goes to the log, not to the peer."""
    async with pair() as (server, client):

        async def handler(ws: WebSocket) -> None:
            raise ValueError("secret")

        with caplog.at_level(logging.ERROR, "switchover.websocket"):
            async with running(run_handler(server, handler)) as (task,):
                with pytest.raises(ConnectionClosedError) as caught:
                    await client.recv()
                await task
        assert (caught.value.code, caught.value.reason) == (1011, "")
        assert "secret" in caplog.text


async def test_a_handler_whose_peer_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """WS-C-10: ConnectionClosed from a handler is how it ends."""
    async with pair() as (server, client), running(run_handler(server, _recv_forever)) as (task,):
        client.abort()
        await task
    assert caplog.text == ""


async def _recv_forever(ws: WebSocket) -> None:
    while True:
        await ws.recv()


async def test_a_cancelled_handler_goes_away() -> None:
    """WS-C-04: shutdown is 1001 for the peer."""
    async with pair() as (server, client):
        async with running(run_handler(server, _recv_forever)) as (task,):
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(ConnectionClosedOK) as caught:
                await client.recv()
            assert caught.value.code == 1001
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_callback_that_raises_fails_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SEC-44, WS-C-09: 1011 without its text; the messages behind it are not delivered."""
    seen = []

    def on_message(ws: WebSocket, message: Any) -> None:
        seen.append(message)
        raise ValueError("secret")

    def on_close(ws: WebSocket) -> None:
        raise ValueError("at the end")

    async with pair(server={"on_message": on_message, "on_close": on_close}) as (server, client):
        client.send_nowait("1")
        client.send_nowait("2")
        with pytest.raises(ConnectionClosedError) as caught:
            await client.recv()
        await server.wait_closed()
    assert (caught.value.code, caught.value.reason) == (1011, "")
    assert seen == ["1"]
    assert "secret" in caplog.text
    assert "at the end" in caplog.text


# Broadcast


async def test_broadcast_reaches_everybody() -> None:
    """Issue 3, item 2: one frame for all servers' connections; clients mask their own."""
    async with pair() as (server, client), pair() as (other, far):
        for message in ("text", b"octets", b"x" * 100_000):
            done = broadcast([server, other], message)
            assert (done.sent, done.slow) == (2, [])
            await done
            assert [await client.recv(), await far.recv()] == [message, message]
        assert broadcast({client}, "up").sent == 1
        assert await server.recv() == "up"
        other.close_nowait()
        assert broadcast([server, other], "x").sent == 1


@pytest.mark.parametrize("slow", list(SlowReader))
async def test_broadcast_and_slow_readers(slow: SlowReader) -> None:
    """Issue 3, item 2: wait, drop or disconnect."""
    async with pair() as (server, client):
        client.transport.pause_reading()
        while not server.writing_paused:
            server.send_nowait(b"x" * 100_000)
        done = broadcast([server], "news", slow=slow)
        assert done.slow == [server]
        assert done.sent == (1 if slow is SlowReader.WAIT else 0)
        assert (server.state is State.OPEN) is (slow is not SlowReader.DISCONNECT)
        client.transport.resume_reading()
        if slow is SlowReader.WAIT:

            async def read() -> None:
                while await client.recv() != "news":
                    pass

            await asyncio.gather(done, read())
        elif slow is SlowReader.DISCONNECT:
            with pytest.raises(ConnectionClosedError) as caught:
                await _recv_forever(client)
            assert caught.value.code == 1008


def test_an_idle_connection_is_small() -> None:
    """Issue 3: no buffer, queue, future or dictionary until one is needed."""
    ws = WebSocket(Connection(Side.SERVER))
    assert not hasattr(ws, "__dict__")
    assert not hasattr(ws.machine, "__dict__")
    assert (ws._queue, ws._waiter, ws._pings, ws._gate, ws._closed) == (None,) * 5
