"""Transports in memory behave as sockets do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from switchover.testing import at, one_octet
from switchover.testing.asyncio import MemoryTransport, connect_protocols, settle

pytestmark = pytest.mark.anyio


class Peer(asyncio.Protocol):
    """Writes down what happens to it."""

    def __init__(self, *, keeps_open: bool = False) -> None:
        self.log: list[Any] = []
        self.keeps_open = keeps_open
        self.transport: MemoryTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, MemoryTransport)
        self.transport = transport
        self.log.append("made")

    def data_received(self, data: bytes) -> None:
        self.log.append(data)

    def eof_received(self) -> bool:
        self.log.append("eof")
        return self.keeps_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(("lost", type(exc).__name__ if exc else None))

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")

    @property
    def data(self) -> bytes:
        return b"".join(entry for entry in self.log if isinstance(entry, bytes))


async def test_octets_arrive_in_order_on_a_later_turn() -> None:
    a, b = Peer(), Peer()
    first, second = connect_protocols(a, lambda: b)
    first.write(b"one ")
    first.writelines([b"two ", bytearray(b"three")])
    second.write(memoryview(b"back"))
    assert b.log == ["made"]
    await settle()
    assert b.data == b"one two three"
    assert a.data == b"back"
    assert first.sent == b"one two three"


@pytest.mark.parametrize(
    ("cut", "pieces"), [(one_octet, [b"a", b"b", b"c"]), (at(1), [b"a", b"bc"])]
)
async def test_octets_arrive_in_the_pieces_of_the_cut(cut: Any, pieces: list[bytes]) -> None:
    a, b = Peer(), Peer()
    first, _ = connect_protocols(a, b, cut=cut)
    first.write(b"abc")
    await settle()
    assert b.log[1:] == pieces


async def test_extra_info() -> None:
    first, second = connect_protocols(Peer(), Peer(), server_extra={"peername": "me", "x": 1})
    assert first.get_extra_info("peername") == second.get_extra_info("sockname")
    assert second.get_extra_info("peername") == "me"
    assert second.get_extra_info("x") == 1
    assert first.get_extra_info("x", 2) == 2


async def test_half_close() -> None:
    """CON-10: one direction ends, the other goes on."""
    a, b = Peer(keeps_open=True), Peer(keeps_open=True)
    first, second = connect_protocols(a, b)
    assert first.can_write_eof()
    first.write(b"question")
    first.write_eof()
    first.write_eof()
    with pytest.raises(RuntimeError):
        first.write(b"x")
    await settle()
    assert b.log[1:] == [b"question", "eof"]
    second.write(b"answer")
    second.write_eof()
    await settle()
    assert a.log[1:] == [b"answer", "eof"]
    first.close()
    second.close()
    await settle()
    assert a.log[-1] == b.log[-1] == ("lost", None)


async def test_an_end_that_nobody_keeps_open_closes() -> None:
    a, b = Peer(), Peer()
    first, second = connect_protocols(a, b)
    first.write(b"x")
    first.write_eof()
    await settle()
    assert b.log[1:] == [b"x", "eof", ("lost", None)]
    assert a.log[-1] == ("lost", None)
    assert second.is_closing()


async def test_closing_flushes() -> None:
    a, b = Peer(), Peer()
    first, second = connect_protocols(a, b)
    second.pause_reading()
    first.write(b"last words")
    first.close()
    first.close()
    first.write(b"ignored")
    assert first.is_closing()
    assert not first.is_reading()
    await settle()
    assert b.data == b""
    assert a.log == ["made"]
    second.resume_reading()
    await settle()
    assert b.data == b"last words"
    assert b.log[-2:] == ["eof", ("lost", None)]
    assert a.log[-1] == ("lost", None)


async def test_aborting_loses_what_was_not_read() -> None:
    a, b = Peer(), Peer()
    first, second = connect_protocols(a, b)
    first.write(b"lost")
    first.abort()
    first.abort()
    second.write(b"too late")
    await settle()
    assert b.log[1:] == [("lost", "ConnectionResetError")]
    assert a.log[1:] == [("lost", None)]


async def test_writing_is_paused_while_the_peer_does_not_read() -> None:
    a, b = Peer(), Peer()
    first, second = connect_protocols(a, b)
    first.set_write_buffer_limits(high=10)
    assert first.get_write_buffer_limits() == (2, 10)
    second.pause_reading()
    first.write(b"x" * 10)
    assert a.log == ["made"]
    first.write(b"x")
    first.write(b"x")
    assert a.log == ["made", "pause"]
    assert first.get_write_buffer_size() == 12
    await settle()
    assert not second.is_reading()
    assert b.data == b""
    second.resume_reading()
    await settle()
    assert b.data == b"x" * 12
    assert a.log == ["made", "pause", "resume"]
    assert first.get_write_buffer_size() == 0


async def test_limits_are_checked() -> None:
    first, _ = connect_protocols(Peer(), Peer())
    first.set_write_buffer_limits()
    assert first.get_write_buffer_limits() == (16384, 65536)
    first.set_write_buffer_limits(low=5)
    assert first.get_write_buffer_limits() == (5, 20)
    with pytest.raises(ValueError):
        first.set_write_buffer_limits(high=1, low=2)


async def test_a_reader_may_pause_at_any_piece() -> None:
    class Reluctant(Peer):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    a, b = Peer(), Reluctant()
    first, second = connect_protocols(a, b, cut=one_octet)
    first.write(b"abc")
    first.write_eof()
    for count in (1, 2, 3):
        await settle()
        assert b.log[1:] == [b"a", b"b", b"c"][:count]
        second.resume_reading()
    await settle()
    assert b.log[4] == "eof"


async def test_a_protocol_may_be_replaced_at_any_piece() -> None:
    """UPG-S-18: the successor gets exactly what follows."""
    successor = Peer()

    class Switching(Peer):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(successor)

    b = Switching()
    first, second = connect_protocols(Peer(), b, cut=one_octet)
    assert second.get_protocol() is b
    first.write(b"abc")
    await settle()
    assert b.data == b"a"
    assert successor.data == b"bc"
    assert second.get_protocol() is successor


async def test_a_reader_that_closes_at_a_piece_gets_no_more() -> None:
    class Brusque(Peer):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.close()

    a, b = Peer(), Brusque()
    first, _ = connect_protocols(a, b, cut=one_octet)
    first.write(b"abc")
    await settle()
    assert b.data == b"a"
    assert a.log[-1] == ("lost", None)
    assert b.log[-1] == ("lost", None)
    first.resume_reading()
    assert not first.is_reading()


async def test_buffered_protocols() -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(4)
            self.data = b""
            self.ended = False

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]

        def eof_received(self) -> None:
            self.ended = True

    b = Buffered()
    first, _ = connect_protocols(Peer(), b)
    first.write(b"longer than four")
    first.write_eof()
    await settle()
    assert b.data == b"longer than four"
    assert b.ended


async def test_streams_run_on_it() -> None:
    loop = asyncio.get_running_loop()
    ends = []
    for _ in range(2):
        reader = asyncio.StreamReader()
        ends.append((reader, asyncio.StreamReaderProtocol(reader)))
    transports = connect_protocols(ends[0][1], ends[1][1], cut=one_octet)
    writer = asyncio.StreamWriter(transports[0], ends[0][1], ends[0][0], loop)
    writer.write(b"a line\nand more")
    await writer.drain()
    writer.write_eof()
    assert await ends[1][0].readline() == b"a line\n"
    assert await ends[1][0].read() == b"and more"
    transports[1].close()
    writer.close()
    await writer.wait_closed()
