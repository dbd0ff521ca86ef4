"""The part that runs for every message, in both builds, on transports of paper."""

from __future__ import annotations

import asyncio
import os
import socket
from types import ModuleType
from typing import Any

import pytest

from switchover.asyncio import _wire, flow
from switchover.asyncio import wire as chosen
from switchover.asyncio.websocket import WebSocket, WebSocketSettings
from switchover.errors import ConnectionClosedError
from switchover.websocket import Connection, Side, State, framing

pytestmark = pytest.mark.anyio

try:
    from switchover.asyncio import _wire_c
except ImportError:
    _wire_c = None  # type: ignore[assignment]  # no compiler: only the source is tested

_builds = [pytest.param(_wire, id="pure")]
if _wire_c is not None and framing.COMPILED:
    _builds.append(pytest.param(_wire_c, id="compiled"))


class Paper:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.calls: list[str] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, pieces: list[Any]) -> None:
        self.calls.append("writelines")
        self.written += [bytes(piece) for piece in pieces]

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")
        self.closing = True

    abort = close


class Box:
    """A wire of one build with a machine, and what its hooks were told."""

    def __init__(self, module: ModuleType, side: Side = Side.SERVER, **options: Any) -> None:
        box = self
        self.events: list[Any] = []
        self.errors: list[Exception] = []
        self.endings = 0

        class Wire(module.Wire):  # type: ignore[name-defined,misc]  # a class of either build
            def _event(self, event: Any) -> None:
                box.events.append(event)

            def _callback_failed(self, error: Exception) -> None:
                box.errors.append(error)

            def _connection_ending(self) -> None:
                box.endings += 1

            def _closed_error(self) -> Exception:
                return ConnectionClosedError(1006)

        self.machine = Connection(side, **options)
        self.wire = Wire(self.machine, 1000, 100)
        self.paper = Paper()
        self.wire._attach(self.paper, asyncio.get_running_loop())

    def attach(self, transport: Any) -> None:
        """Work on ``transport``, with the outputs behind us before which nobody asks for it."""
        self.wire._attach(transport, asyncio.get_running_loop())
        self.wire._fd = -2


@pytest.fixture(params=_builds)
def module(request: pytest.FixtureRequest) -> Any:
    """Each build of the wire."""
    return request.param


def message(payload: bytes, first: int = 0x82) -> bytes:
    """Write a masked frame; the key is zero, so that the payload can be read."""
    size = len(payload)
    if size < 126:
        return bytes((first, 0x80 | size)) + bytes(4) + payload
    if size < 65536:
        return bytes((first, 0xFE)) + size.to_bytes(2, "big") + bytes(4) + payload
    return bytes((first, 0xFF)) + size.to_bytes(8, "big") + bytes(4) + payload


def read(wire: Any, octets: bytes) -> None:
    """Deliver octets as a transport does that asks for a buffer."""
    while octets:
        buffer = wire.get_buffer(-1)
        count = min(len(buffer), len(octets))
        buffer[:count] = octets[:count]
        octets = octets[count:]
        wire.buffer_updated(count)


async def test_the_build_is_known() -> None:
    """The compiled wire is used with the compiled machine only."""
    assert chosen.COMPILED is (chosen.Waiter.__module__.endswith("_c"))
    assert framing.COMPILED or not chosen.COMPILED


@pytest.mark.parametrize("sizes", [[0, 5, 125], [70_000], [300_000, 3], [16_384] * 5])
async def test_messages_through_the_shared_buffer(module: Any, sizes: list[int]) -> None:
    """WS-F-15: small frames through it, large ones to their own place."""
    box = Box(module, max_message_size=None)
    messages = [os.urandom(size) for size in sizes]
    read(box.wire, b"".join(message(m) for m in messages))
    assert [box.wire._take() for _ in messages] == messages
    assert box.wire._take() is None


async def test_connections_share_one_buffer(module: Any) -> None:
    """SEC-15: an idle connection owns none; what is in the buffer belongs to nobody."""
    one, two = Box(module), Box(module)
    assert one.wire.get_buffer(-1) is not None
    octets = message(b"first")
    read(one.wire, octets[:8])
    read(two.wire, message(b"other"))
    read(one.wire, octets[8:])
    assert (one.wire._take(), two.wire._take()) == (b"first", b"other")
    assert one.wire._shared.obj is two.wire._shared.obj


async def test_an_answer_leaves_at_the_end_of_the_wake_up(module: Any) -> None:
    """Issue 3, item 7: one write for what one wake-up makes, by callbacks."""
    box = Box(module)
    box.wire.on_message = lambda wire, data: wire.send_nowait(data)
    read(box.wire, message(b"a") + message(b"b") + message(b"p", 0x89))
    assert box.paper.written == [b"\x8a\x01p\x82\x01a\x82\x01b"]


async def test_what_is_sent_elsewhere_is_gathered_behind_the_first(module: Any) -> None:
    """Issue 3, item 7: outside a wake-up the first goes at once, the rest of a round together."""
    box = Box(module)
    box.wire.send_nowait("a")
    assert box.paper.written == [b"\x81\x01a"]
    box.wire.send_nowait(b"b")
    assert box.wire._try_send("c")
    assert box.paper.written == [b"\x81\x01a"]
    await asyncio.sleep(0)
    assert box.paper.written == [b"\x81\x01a", b"\x82\x01b\x81\x01c"]
    await asyncio.sleep(0)
    box.wire.send_nowait(b"d" * 70_000)
    assert b"".join(box.paper.written[2:])[10:] == b"d" * 70_000
    # In one call: under TLS each would be a record and a system call of its own.
    assert box.paper.calls == ["writelines"]


async def test_a_frame_for_many(module: Any) -> None:
    """It goes at once; whoever cannot take it as it stands says so and has not sent it."""
    frame = [b"\x81\x01a"]
    box = Box(module)
    assert box.wire._take_frame(frame)
    assert box.paper.written == frame
    box.wire.send_nowait("b")
    box.wire.send_nowait("c")
    assert box.wire._take_frame(frame)
    assert box.paper.written == [*frame, b"\x81\x01b"]  # nothing overtakes what is gathered
    await asyncio.sleep(0)
    assert box.paper.written[2:] == [b"\x81\x01c\x81\x01a"]
    box.machine.send_fragment("x")
    assert not box.wire._take_frame(frame)
    client = Box(module, Side.CLIENT)
    assert not client.wire._take_frame(frame)
    behind = Box(module)
    behind.wire._writing_paused = True
    assert not behind.wire._take_frame(frame)
    closed = Box(module)
    closed.machine.close()
    assert not closed.wire._take_frame(frame)


async def test_what_cannot_be_sent_at_once(module: Any) -> None:
    """Backpressure, closing, fragments and odd types are for those who have time."""
    box = Box(module)
    assert not box.wire._try_send(bytearray(b"x"))
    box.wire._writing_paused = True
    assert box.wire.writing_paused
    assert not box.wire._try_send("x")
    box.wire._writing_paused = False
    box.machine.send_fragment("x")
    assert not box.wire._try_send("x")
    box.machine.close()
    assert not box.wire._try_send("x")
    with pytest.raises(ConnectionClosedError):
        box.wire.send_nowait("x")


async def test_nothing_is_written_to_a_closing_transport(module: Any) -> None:
    """Its descriptor may be another's by now."""
    box = Box(module)
    box.paper.closing = True
    box.machine.send_text("x")
    box.wire.flush()
    assert box.paper.written == []


async def test_pongs_wait_for_the_transport(module: Any) -> None:
    """SEC-21: while the transport is full, the latest pong waits in the machine."""
    box = Box(module)
    box.wire._writing_paused = box.machine.pongs_held = True
    for number in range(100):
        read(box.wire, message(b"%d" % number, 0x89))
    assert box.paper.written == []
    box.wire._writing_paused = box.machine.pongs_held = False
    box.wire.flush()
    assert box.paper.written == [b"\x8a\x0299"]


async def test_a_callback_that_raises(module: Any) -> None:
    """The error is reported, and the wire decides nothing."""
    box = Box(module)

    def on_message(wire: Any, data: Any) -> None:
        if data == b"a":
            wire._muted = True
            raise ValueError(data)
        raise AssertionError("not delivered")

    box.wire.on_message = on_message
    read(box.wire, message(b"a") + message(b"b") + message(b"q", 0x8A))
    assert [str(error) for error in box.errors] == ["b'a'"]
    assert len(box.events) == 1


async def test_endings_are_reported(module: Any) -> None:
    """What a Close frame or a fault means is for others to say."""
    box = Box(module)
    read(box.wire, message(b"x", 0x83))
    assert (box.endings, len(box.events)) == (1, 1)
    assert box.paper.written[0][:1] == b"\x88"


async def test_reading_pauses_and_goes_on(module: Any) -> None:
    """SEC-24: above the high mark, and at the low one; by messages and by fragments."""
    box = Box(module, deliver_fragments=True)
    for _ in range(3):
        read(box.wire, message(b"x" * 400, 0x02) + message(b"y" * 10, 0x80))
    assert box.paper.calls == ["pause"]
    for _ in range(5):
        box.wire._take()
    assert box.paper.calls == ["pause", "resume"]
    box.wire._take()
    assert (box.wire._queue_size, box.wire._take()) == (0, None)
    read(box.wire, message(b"x" * 2000))
    assert box.paper.calls == ["pause", "resume", "pause"]


async def test_a_muted_wire_queues_nothing(module: Any) -> None:
    """SEC-22: nothing delivered while closing is unbounded."""
    box = Box(module)
    box.wire._muted = True
    read(box.wire, message(b"x" * 5000) * 3)
    assert box.wire._take() is None
    assert box.paper.calls == []


# A transport that is nothing but a socket


class Plain(Paper):
    """A transport upon a socket that takes little at a time."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        self.buffered = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.sock if name == "socket" else default

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def write(self, data: Any) -> None:
        super().write(data)
        self.buffered += len(data)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let :class:`Plain` pass for a transport that does nothing but send."""
    kind = (Plain.__module__, Plain.__qualname__)
    monkeypatch.setattr(flow, "_PLAIN", {*flow._PLAIN, kind})


@pytest.mark.parametrize("sizes", [[5], [1_000_000], [9000, 9000], [5000] * 40, [3, 400_000, 3]])
async def test_sent_directly_and_the_rest_through_the_transport(
    module: Any, plain: None, sizes: list[int]
) -> None:
    """Issue 3, item 7: what the kernel refuses goes to the transport's queue, in order."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        box = Box(module)
        transport = Plain(near)
        box.attach(transport)
        box.wire._in_wake = True  # so that all goes out at once
        sent = b""
        for number, size in enumerate(sizes):
            data = bytes([number]) * size
            box.wire.send_nowait(data)
            reference = Connection(Side.SERVER)
            reference.send_binary(data)
            sent += b"".join(reference.data_to_send())
        box.wire.flush()
        received = bytearray()
        try:
            while piece := far.recv(1 << 20):
                received += piece
        except BlockingIOError:
            pass
        assert bytes(received) + b"".join(transport.written) == sent
        assert (transport.written == []) is (sum(sizes) < 300_000)
        if transport.written:
            # Nothing may overtake what is queued.
            box.wire.send_nowait("later")
            box.wire.flush()
            assert transport.written[-1] == b"\x81\x05later"
            with pytest.raises(BlockingIOError):
                far.recv(1)
        transport.buffered = 0
        box.wire.send_nowait("direct")
        before = len(transport.written)
        box.wire.flush()
        assert len(transport.written) == before


async def test_a_broken_socket_is_the_transports_affair(module: Any, plain: None) -> None:
    """Who owns the socket finds out what is wrong with it."""
    near, far = socket.socketpair()
    with near:
        far.close()
        box = Box(module)
        transport = Plain(near)
        box.attach(transport)
        box.machine.send_text("x")
        box.wire.flush()
        assert transport.written == [b"\x81\x01x"]
        box = Box(module)
        transport = Plain(near)
        box.attach(transport)
        box.machine.send_binary(b"x" * 20_000)
        box.wire.flush()
        assert len(b"".join(transport.written)) == 20_004


async def test_other_transports_are_written_to(module: Any) -> None:
    """TLS, HTTP/2 streams, proxies: whatever is not known to be plain."""
    box = Box(module)
    for number in range(5):
        box.wire.send_nowait(str(number))
        await asyncio.sleep(0)
    assert box.wire._fd == -1
    assert box.paper.written == [b"\x81\x01%d" % number for number in range(5)]


async def test_the_socket_is_asked_for_only_when_there_is_traffic(module: Any, plain: None) -> None:
    """Issue 3: an idle connection keeps no object for it; who says three things and more does."""
    near, far = socket.socketpair()
    with near, far:
        box = Box(module)
        transport = Plain(near)
        box.wire._attach(transport, asyncio.get_running_loop())
        for number in range(5):
            box.wire.send_nowait(str(number))
            await asyncio.sleep(0)
            transport.buffered = 0
        assert box.wire._fd == near.fileno()
        assert transport.written == [b"\x81\x010", b"\x81\x011"]
        assert far.recv(100) == b"\x81\x012\x81\x013\x81\x014"


# Waiting


async def test_a_waiter_is_as_much_of_a_future_as_a_task_needs(module: Any) -> None:
    """It can be awaited again and again, be woken now or later, and be cancelled."""
    loop = asyncio.get_running_loop()
    waiter = module.Waiter(loop)
    log: list[Any] = []

    async def wait() -> None:
        for _ in range(3):
            await waiter.rearm()
            log.append(asyncio.current_task())

    task = loop.create_task(wait())
    await asyncio.sleep(0)
    assert waiter.busy()
    assert waiter._loop is loop  # where a task looks
    assert not waiter.done()
    with pytest.raises(RuntimeError, match="another task"):
        waiter.rearm()
    waiter.wake(True)  # a task is running: this one
    assert log == []
    await asyncio.sleep(0)
    assert log == [task]
    loop.call_soon(waiter.wake, True)
    await asyncio.sleep(0)
    assert log == [task, task]
    waiter.wake(False)
    waiter.wake(False)
    await task
    assert waiter.done()
    assert not waiter.busy()
    waiter.wake(True)
    assert waiter.cancel() is False


async def test_a_waiting_task_can_be_cancelled(module: Any) -> None:
    """asyncio.CancelledError at the await; the waiter can be used again."""
    loop = asyncio.get_running_loop()
    waiter = module.Waiter(loop)

    async def wait() -> str:
        try:
            await waiter.rearm()
        except asyncio.CancelledError:
            assert waiter.cancelled()
            return "cancelled"
        return "woken"

    task = loop.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cancelled"
    task = loop.create_task(wait())
    await asyncio.sleep(0)
    waiter.wake(False)
    assert await task == "woken"


async def test_callbacks_of_a_waiter(module: Any) -> None:
    """As asyncio.Future has them: kept, and taken back."""
    waiter = module.Waiter(asyncio.get_running_loop())
    waiter.rearm()
    waiter.add_done_callback(print)
    assert waiter.remove_done_callback(print) == 1
    assert waiter.remove_done_callback(print) == 0
    waiter.wake(True)
    assert waiter.done()


# The whole object on paper


async def test_a_transport_that_cannot_half_close_is_closed() -> None:
    """WS-C-09: TLS has no half-close that the peer could answer."""
    ws = WebSocket(Connection(Side.SERVER), settings=WebSocketSettings(ping_interval=None))
    paper: Any = Paper()
    ws.connection_made(paper)
    ws.data_received(b"\x83\x80\x00\x00\x00\x00")
    assert paper.calls == ["close"]
    ws.connection_lost(None)
    assert ws.state is State.CLOSED


async def test_a_machine_that_has_spoken_before_it_has_a_transport() -> None:
    """What was sent, or came to its end, before the transport was there."""
    settings = WebSocketSettings(ping_interval=None, close_timeout=None)
    machine = Connection(Side.SERVER)
    ws = WebSocket(machine, settings=settings)
    machine.send_text("early")
    machine.receive_data(message(b"\x0f\xa0", 0x88))
    ws.abort()
    paper: Any = Paper()
    ws.connection_made(paper)
    await asyncio.sleep(0)
    ws.flush()
    assert ws.eof_received() is False
    assert "close" in paper.calls
    ws.connection_lost(ConnectionResetError())
    with pytest.raises(ConnectionClosedError) as caught:
        await ws.recv()
    assert caught.value.code == 4000
    assert isinstance(caught.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize("cut", range(12))
async def test_the_transport_is_lost_at_any_point(cut: int) -> None:
    """WS-C-10: in a header, in a payload, between fragments: 1006, or the peer's code."""
    octets = message(b"ab", 0x01) + message(b"\x03\xe8", 0x88)
    octets = octets[: cut + 4]
    ws = WebSocket(Connection(Side.SERVER), settings=WebSocketSettings(ping_interval=None))
    ws.connection_made(Paper())  # type: ignore[arg-type]  # all of a transport that is used
    reader = asyncio.ensure_future(ws.recv())
    await asyncio.sleep(0)
    ws.data_received(octets)
    ws.connection_lost(None)
    with pytest.raises(ConnectionClosedError) as caught:
        await reader
    assert caught.value.code == 1006
    ws.connection_lost(None)
