"""The blocking tunnel, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import switchover.sync
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.errors import (
    DeadlineExceeded,
    LimitExceeded,
    SwitchDeclined,
    TunnelBroken,
    TunnelClosed,
    UpgradeRequired,
)
from switchover.upgrade.registry import ContentRule

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: shout/1\r\nConnection: Upgrade\r\n\r\n"


@pytest.fixture
def tunnel(address: str) -> Any:
    with switchover.sync.switch(f"http://{address}/shout", offer=["shout/1"]) as switched:
        assert switched.tunnel is not None
        yield switched.tunnel


def test_both_directions_end_independently(tunnel: switchover.sync.Tunnel) -> None:
    tunnel.send(b"hello ")
    tunnel.send(bytearray(b"world"))
    assert tunnel.read_exactly(11, timeout=5) == b"HELLO WORLD"
    tunnel.send_eof()
    with pytest.raises(TunnelClosed):
        tunnel.send(b"more")
    assert list(tunnel) == [b"bye"]
    assert tunnel.read() == b""


def test_reading_until_and_exactly(tunnel: switchover.sync.Tunnel) -> None:
    tunnel.send(b"one\ntwo;three")
    assert tunnel.read_until(timeout=5) == b"ONE\n"
    assert tunnel.read_until(b";", timeout=5) == b"TWO;"
    assert tunnel.read(2, timeout=5) == b"TH"
    with pytest.raises(LimitExceeded):
        tunnel.read_until(b"!", limit=3, timeout=5)
    tunnel.send_eof()
    with pytest.raises(EOFError) as end:
        tunnel.read_exactly(100, timeout=5)
    assert isinstance(end.value, asyncio.IncompleteReadError)
    assert end.value.partial == b"REEbye"


def test_a_read_that_took_too_long_has_lost_nothing(tunnel: switchover.sync.Tunnel) -> None:
    with pytest.raises(DeadlineExceeded, match="reading"):
        tunnel.read(timeout=0.01)
    tunnel.send(b"ab")
    with pytest.raises(DeadlineExceeded):
        tunnel.read_exactly(3, timeout=0.05)
    assert tunnel.read(timeout=5) == b"AB"


def _fill(tunnel: switchover.sync.Tunnel) -> None:
    for _ in range(1000):
        tunnel.send(bytes(100_000), timeout=0.1)


def test_a_peer_that_does_not_read_makes_send_wait(elsewhere: Any) -> None:
    async def deaf(tunnel: Tunnel) -> None:
        await tunnel.wait_closed()

    with (
        elsewhere.serving(upgrades=[token("deaf", deaf)]) as server,
        switchover.sync.switch(f"http://127.0.0.1:{server.port}/", offer=["deaf"]) as switched,
    ):
        assert switched.tunnel is not None
        with pytest.raises(DeadlineExceeded, match="sending"):
            _fill(switched.tunnel)
        switched.tunnel.abort()


def test_facts(tunnel: switchover.sync.Tunnel, server: Any) -> None:
    assert tunnel.protocol == "shout/1"
    assert tunnel.request.fields["upgrade"] == "shout/1"
    assert tunnel.response.status == 101
    assert tunnel.facts.chain == ("HTTP/1.1", "shout/1")
    assert tunnel.facts.peername[1] == server.port
    assert tunnel.get_extra_info("peername")[1] == server.port


def test_octets_behind_the_101_come_first(elsewhere: Any) -> None:
    """UPG-C-10: nothing is lost at the seam of the switch."""

    async def glued(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED + b"glued")
        await reader.read()

    with (
        elsewhere.playing(glued) as port,
        switchover.sync.switch(f"http://127.0.0.1:{port}/", offer=["shout/1"]) as switched,
    ):
        assert switched.tunnel is not None
        assert switched.tunnel.read(timeout=5) == b"glued"


def test_after_the_end(address: str) -> None:
    switched = switchover.sync.switch(f"http://{address}/shout", offer=["shout/1"])
    tunnel = switched.tunnel
    assert tunnel is not None
    tunnel.close()
    tunnel.close()
    tunnel.abort()
    switched.close()
    for use in (tunnel.read, tunnel.send_eof, lambda: tunnel.send(b"x")):
        with pytest.raises(TunnelClosed):
            use()


def test_a_lost_connection_is_not_an_end_of_data(elsewhere: Any) -> None:
    async def breaks(tunnel: Tunnel) -> None:
        await tunnel.send(b"before")
        await tunnel.read()
        tunnel.abort()

    with elsewhere.serving(upgrades=[token("breaks", breaks)]) as server:
        switched = switchover.sync.switch(f"http://127.0.0.1:{server.port}/", offer=["breaks"])
        with switched:
            assert switched.tunnel is not None
            assert switched.tunnel.read(timeout=5) == b"before"
            switched.tunnel.send(b"now")
            with pytest.raises(TunnelBroken):
                switched.tunnel.read(timeout=5)


def test_an_exception_aborts_it(elsewhere: Any) -> None:
    ends: list[Any] = []

    async def watch(tunnel: Tunnel) -> None:
        try:
            ends.append(await tunnel.read())
        except TunnelBroken as error:
            ends.append(type(error))

    with elsewhere.serving(upgrades=[token("watch", watch)]) as server:
        url = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(KeyError), switchover.sync.switch(url, offer=["watch"]):
            raise KeyError
        with switchover.sync.switch(url, offer=["watch"]):
            pass
    assert ends == [TunnelBroken, b""]


def test_one_thread_reads_while_another_sends(tunnel: switchover.sync.Tunnel) -> None:
    def send() -> None:
        for _ in range(50):
            tunnel.send(b"x" * 10_000)
        tunnel.send_eof()

    sender = threading.Thread(target=send)
    sender.start()
    data = b"".join(tunnel)
    sender.join()
    assert data == b"X" * 500_000 + b"bye"


def test_a_tunnel_that_is_forgotten_is_dropped(address: str) -> None:
    switched = switchover.sync.switch(f"http://{address}/shout", offer=["shout/1"])
    with pytest.warns(ResourceWarning, match="unclosed"):
        del switched
    thread = next((t for t in threading.enumerate() if t.name == "switchover"), None)
    if thread is not None:
        thread.join(5)


# switch(): declined, and required.


def test_a_declined_switch_is_an_ordinary_answer(address: str) -> None:
    with switchover.sync.switch(f"http://{address}/x", offer=["nothing"]) as switched:
        assert (switched.protocol, switched.tunnel) == (None, None)
        assert (switched.status, switched.read(), switched.text()) == (200, b"GET /x ", "GET /x ")
        assert list(switched) == [b"GET /x "]
        with pytest.raises(SwitchDeclined):
            switched.raise_for_switch()


def test_a_required_switch_raises(address: str, elsewhere: Any) -> None:
    with pytest.raises(SwitchDeclined):
        switchover.sync.switch(f"http://{address}/x", offer=["nothing"], required=True)

    async def idle(tunnel: Tunnel) -> None:
        await tunnel.read()

    with (
        elsewhere.serving(upgrades=[token("only", idle, required=True)]) as server,
        pytest.raises(UpgradeRequired),
    ):
        switchover.sync.switch(f"http://127.0.0.1:{server.port}/", offer=["other"], required=True)


def test_content_goes_with_the_offer(elsewhere: Any) -> None:
    async def first(tunnel: Tunnel) -> None:
        await tunnel.send(tunnel.content[::-1])

    upgrade = token("first", first, methods=["POST"], content=ContentRule.READ)
    with (
        elsewhere.serving(upgrades=[upgrade]) as server,
        switchover.sync.switch(
            f"http://127.0.0.1:{server.port}/",
            offer=["first"],
            method="POST",
            content=[b"ab", b"c"],
        ) as switched,
    ):
        assert switched.tunnel is not None
        assert switched.tunnel.read(timeout=5) == b"cba"


def test_switching_has_a_limit(elsewhere: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with elsewhere.playing(silent) as port, pytest.raises(DeadlineExceeded, match="switching"):
        switchover.sync.switch(f"http://127.0.0.1:{port}/", offer=["x"], timeout=0.05)
