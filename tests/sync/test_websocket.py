"""The blocking WebSocket, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import threading
from typing import Any

import pytest

import switchover.sync
from switchover.asyncio.server import Server
from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DeadlineExceeded,
    HandshakeRejected,
    LocalProtocolError,
)
from switchover.websocket.connection import State
from switchover.websocket.opening.keys import accept_value


@pytest.fixture
def ws(address: str) -> Any:
    with switchover.sync.connect(f"ws://{address}/echo") as opened:
        yield opened


# Messages.


def test_text_and_binary(ws: switchover.sync.WebSocket) -> None:
    ws.send("grüße")
    ws.send(bytearray(b"\x00\x01"))
    ws.send(memoryview(b"view"))
    assert [ws.recv(5), ws.recv(5), ws.recv(5)] == ["grüße", b"\x00\x01", b"view"]


def test_a_buffer_is_the_callers_again_when_send_returns(ws: switchover.sync.WebSocket) -> None:
    buffer = bytearray(b"before")
    ws.send(buffer)
    buffer[:] = b"after!"
    assert ws.recv(5) == b"before"


def test_fragments_are_made_in_the_thread_that_sends(ws: switchover.sync.WebSocket) -> None:
    threads = []

    def pieces() -> Any:
        for piece in ("one ", "mes", "sage"):
            threads.append(threading.current_thread())
            yield piece

    ws.send(pieces())
    assert ws.recv(5) == "one message"
    assert set(threads) == {threading.current_thread()}


def test_messages_keep_their_order(ws: switchover.sync.WebSocket) -> None:
    for number in range(500):
        ws.send(str(number))
        if number % 100 == 0:
            ws.send(iter([f"[{number}", "]"]))
    expected = [
        text
        for number in range(500)
        for text in ([str(number)] + ([f"[{number}]"] if number % 100 == 0 else []))
    ]
    assert [ws.recv(5) for _ in expected] == expected


def test_the_iteration_ends_with_a_normal_closure(elsewhere: Any) -> None:
    async def three(ws: WebSocket) -> None:
        for number in range(3):
            await ws.send(str(number))

    with (
        elsewhere.serving(upgrades=[websocket(three)]) as server,
        switchover.sync.connect(f"ws://127.0.0.1:{server.port}") as ws,
    ):
        assert list(ws) == ["0", "1", "2"]
        assert ws.close_code == 1000
        with pytest.raises(ConnectionClosedOK):
            ws.recv(5)
        with pytest.raises(ConnectionClosedOK):
            ws.send("too late")
        assert ws.state is State.CLOSED


def test_the_iteration_raises_for_an_abnormal_closure(elsewhere: Any) -> None:
    async def fails(ws: WebSocket) -> None:
        ws.fail(1011, "broken")

    with (
        elsewhere.serving(upgrades=[websocket(fails)]) as server,
        switchover.sync.connect(f"ws://127.0.0.1:{server.port}") as ws,
        pytest.raises(ConnectionClosedError, match="broken"),
    ):
        list(ws)


@pytest.mark.parametrize("message", [None, 5, {"a": "b"}, object()])
def test_what_is_no_message_is_refused(ws: switchover.sync.WebSocket, message: Any) -> None:
    with pytest.raises(TypeError):
        ws.send(message)


def test_text_that_has_no_octets_is_refused_where_it_is_sent(
    ws: switchover.sync.WebSocket,
) -> None:
    with pytest.raises(UnicodeEncodeError):
        ws.send("\ud800")
    ws.send("still open")
    assert ws.recv(5) == "still open"


def test_an_iterable_that_fails_ends_the_connection_and_raises_its_error(
    ws: switchover.sync.WebSocket,
) -> None:
    def pieces() -> Any:
        yield "begun"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ws.send(pieces())
    with pytest.raises(ConnectionClosed):
        ws.recv(5)


# Time.


def test_waiting_for_a_message_has_a_limit(ws: switchover.sync.WebSocket) -> None:
    with pytest.raises(DeadlineExceeded, match="waiting for a message"):
        ws.recv(timeout=0.01)
    with pytest.raises(TimeoutError):
        ws.recv(timeout=0)
    ws.send("nothing was lost")
    assert ws.recv(5) == "nothing was lost"


def _fill(ws: switchover.sync.WebSocket) -> None:
    for _ in range(1000):
        ws.send(b"x" * 100_000, timeout=0.05)


def test_a_peer_that_does_not_read_makes_send_wait(elsewhere: Any) -> None:
    reading = asyncio.Event()

    async def reluctant(ws: WebSocket) -> None:
        await reading.wait()
        async for message in ws:
            if message == "last":
                await ws.send("all")

    settings = WebSocketSettings(queue_high=4096, queue_low=1024)
    with (
        elsewhere.serving(upgrades=[websocket(reluctant, settings=settings)]) as server,
        switchover.sync.connect(
            f"ws://127.0.0.1:{server.port}", settings=settings, extensions=()
        ) as ws,
    ):
        with pytest.raises(DeadlineExceeded, match="sending"):
            _fill(ws)
        elsewhere.loop.call_soon_threadsafe(reading.set)
        ws.send("last", timeout=10)
        assert ws.recv(10) == "all"


def test_a_reader_that_falls_behind_stops_the_peer_and_loses_nothing(elsewhere: Any) -> None:
    sent = []

    async def flood(ws: WebSocket) -> None:
        for number in range(400):
            await ws.send(number.to_bytes(4, "big") * 10_000)
            sent.append(number)

    settings = WebSocketSettings(queue_high=4096, queue_low=1024)
    with (
        elsewhere.serving(upgrades=[websocket(flood)]) as server,
        switchover.sync.connect(
            f"ws://127.0.0.1:{server.port}", settings=settings, extensions=()
        ) as ws,
    ):
        assert ws.recv(5) == bytes(40_000)
        with pytest.raises(DeadlineExceeded):
            ws.ping(timeout=0.2)  # its pong lies behind what we do not read
        assert len(sent) < 400
        assert [message[3] for message in ws] == [number % 256 for number in range(1, 400)]


def test_ping_measures_the_round_trip(ws: switchover.sync.WebSocket) -> None:
    seconds = ws.ping(b"data", timeout=5)
    assert seconds > 0
    assert ws.latency == seconds


def test_ping_has_a_limit(elsewhere: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        assert key is not None
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_value(key[1]) + b"\r\n\r\n"
        )
        await reader.read()

    with elsewhere.playing(silent) as port:
        ws = switchover.sync.connect(f"ws://127.0.0.1:{port}")
        with pytest.raises(DeadlineExceeded, match="pong"):
            ws.ping(timeout=0.05)
        ws.abort()
        assert ws.close_code == 1006


def test_opening_has_a_limit(elsewhere: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with elsewhere.playing(silent) as port, pytest.raises(DeadlineExceeded, match="opening"):
        switchover.sync.connect(f"ws://127.0.0.1:{port}", open_timeout=0.05)


# Opening and closing.


def test_a_refusal_carries_the_whole_answer(address: str) -> None:
    with pytest.raises(HandshakeRejected) as refusal:
        switchover.sync.connect(f"ws://{address}/elsewhere")
    assert refusal.value.response is not None
    assert refusal.value.response.status == 200
    assert refusal.value.response.content == b"GET /elsewhere "


def test_nobody_there() -> None:
    with pytest.raises(ConnectionRefusedError):
        switchover.sync.connect("ws://127.0.0.1:1")


def test_what_was_agreed_can_be_read(elsewhere: Any) -> None:
    async def idle(ws: WebSocket) -> None:
        await ws.wait_closed()

    with (
        elsewhere.serving(upgrades=[websocket(idle, subprotocols=["b"])]) as server,
        switchover.sync.connect(f"ws://127.0.0.1:{server.port}", subprotocols=["a", "b"]) as ws,
    ):
        assert ws.subprotocol == "b"
        assert ws.request is not None
        assert ws.response is not None
        assert ws.response.status == 101
        assert ws.get_extra_info("peername")[1] == server.port
        assert ws.state is State.OPEN


def test_close_says_why(elsewhere: Any) -> None:
    codes: list[Any] = []

    async def idle(ws: WebSocket) -> None:
        await ws.wait_closed()
        codes.append((ws.close_code, ws.close_reason))

    with elsewhere.serving(upgrades=[websocket(idle)]) as server:
        url = f"ws://127.0.0.1:{server.port}"
        ws = switchover.sync.connect(url)
        with pytest.raises(LocalProtocolError):
            ws.close(1005)
        ws.close(4000, "enough")
        ws.close()
        with pytest.raises(KeyError), switchover.sync.connect(url):
            raise KeyError
        ws = switchover.sync.connect(url)
        ws.abort()
        ws.abort()
        with pytest.raises(ConnectionClosedError):
            ws.send("gone")
    assert codes == [(4000, "enough"), (1011, ""), (1006, "")]


def test_close_sends_what_was_put_before(elsewhere: Any) -> None:
    seen = []

    async def collect(ws: WebSocket) -> None:
        async for message in ws:
            seen.append(message)

    with elsewhere.serving(upgrades=[websocket(collect)]) as server:
        with switchover.sync.connect(f"ws://127.0.0.1:{server.port}") as ws:
            for number in range(100):
                ws.send(str(number))
    assert seen == [str(number) for number in range(100)]


def test_close_waits_for_a_slow_peer_to_take_what_was_sent(elsewhere: Any) -> None:
    reading, seen = asyncio.Event(), []

    async def late(ws: WebSocket) -> None:
        await reading.wait()
        async for message in ws:
            seen.append(len(message))

    with elsewhere.serving(upgrades=[websocket(late)]) as server:
        ws = switchover.sync.connect(f"ws://127.0.0.1:{server.port}", extensions=())
        sent = 0
        with contextlib.suppress(DeadlineExceeded):
            while True:
                ws.send(b"x" * 100_000, timeout=0.1)
                sent += 1
        # The peer reads only once close() has begun.
        elsewhere.loop.call_soon_threadsafe(elsewhere.loop.call_later, 0.2, reading.set)
        ws.close()
    assert seen == [100_000] * sent


def test_a_connection_that_is_forgotten_is_dropped(
    address: str, server: Server, elsewhere: Any
) -> None:
    ws = switchover.sync.connect(f"ws://{address}/echo")
    with pytest.warns(ResourceWarning, match="unclosed"):
        del ws
    thread = next((t for t in threading.enumerate() if t.name == "switchover"), None)
    if thread is not None:
        thread.join(5)
        assert not thread.is_alive()


# Threads.


def test_one_thread_reads_while_others_send(ws: switchover.sync.WebSocket) -> None:
    def send(name: int) -> None:
        for number in range(200):
            ws.send(f"{name}:{number}")

    senders = [threading.Thread(target=send, args=(name,)) for name in range(4)]
    for sender in senders:
        sender.start()
    got = [str(ws.recv(10)) for _ in range(800)]
    for sender in senders:
        sender.join()
    for name in range(4):
        assert [g for g in got if g.startswith(f"{name}:")] == [f"{name}:{n}" for n in range(200)]


def test_two_threads_must_not_read(ws: switchover.sync.WebSocket) -> None:
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.append(ws.recv(10)))
    reader.start()
    while not ws._reading.locked():  # until it waits
        pass
    with pytest.raises(RuntimeError, match="another thread"):
        ws.recv(0)
    ws.send("for the other")
    reader.join()
    assert got == ["for the other"]


def test_closing_ends_the_wait_of_another_thread(ws: switchover.sync.WebSocket) -> None:
    ended: list[Any] = []

    def read() -> None:
        try:
            ws.recv()
        except ConnectionClosed as error:
            ended.append(error.code)

    reader = threading.Thread(target=read)
    reader.start()
    ws.close()
    reader.join(10)
    assert ended == [1000]


def test_many_connections_share_one_thread(address: str) -> None:
    connections = [switchover.sync.connect(f"ws://{address}/echo") for _ in range(20)]
    assert [thread.name for thread in threading.enumerate()].count("switchover") == 1
    for ws in connections:
        ws.send("x")
    assert [ws.recv(5) for ws in connections] == ["x"] * 20
    for ws in connections:
        ws.close()


@pytest.mark.anyio
async def test_under_a_running_event_loop(anyio_backend: object, address: str) -> None:
    """As in a notebook. (It blocks that loop; the server has another.)"""
    with switchover.sync.connect(f"ws://{address}/echo") as ws:
        ws.send("from a coroutine")
        assert ws.recv(5) == "from a coroutine"


def _ping_for_ever(ws: switchover.sync.WebSocket) -> None:
    while True:
        ws.ping()


def test_an_interrupted_wait_loses_nothing(ws: switchover.sync.WebSocket) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            ws.recv()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            _ping_for_ever(ws)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    ws.send("after it")
    assert ws.recv(5) == "after it"
