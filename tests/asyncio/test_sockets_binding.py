"""Addresses: what can be bound, what cannot, and that nothing is left open then."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchover.asyncio import sockets
from switchover.asyncio.server import Server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors cannot be counted"),
]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def descriptors() -> set[str]:
    return {f"{fd} {os.readlink(fd)}" for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


async def test_one_address() -> None:
    (sock,) = await sockets.bind("127.0.0.1", 0, reuse_port=False)
    with sock:
        assert sock.getsockname()[0] == "127.0.0.1"
        assert sock.getsockname()[1] != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


async def test_two_sockets_on_one_port_if_both_want_it() -> None:
    (one,) = await sockets.bind("127.0.0.1", 0, reuse_port=True)
    with one:
        one.listen()
        (two,) = await sockets.bind("127.0.0.1", one.getsockname()[1], reuse_port=True)
        two.close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
@pytest.mark.parametrize("host", [None, ""])
async def test_all_addresses(host: str | None) -> None:
    found = await sockets.bind(host, 0, reuse_port=False)
    assert {sock.family for sock in found} == {socket.AF_INET, socket.AF_INET6}
    for sock in found:
        sock.close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
async def test_ipv4_and_ipv6_on_one_port() -> None:
    for _ in range(20):  # the port that is free for the one may be anybody's for the other
        (six,) = await sockets.bind("::1", 0, reuse_port=False)
        with six:
            six.listen()
            port = six.getsockname()[1]
            with contextlib.suppress(OSError):
                (four,) = await sockets.bind("127.0.0.1", port, reuse_port=False)
                four.close()
                return
    pytest.fail("there is no port that both can have")


async def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        await _resolved()
        before = descriptors()
        with pytest.raises(OSError) as caught:
            await sockets.bind("127.0.0.1", port, reuse_port=False)
        assert descriptors() == before
    assert caught.value.errno == errno.EADDRINUSE
    assert f"cannot listen on ('127.0.0.1', {port}): " in str(caught.value)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_one_address_of_several_in_use(family: int) -> None:
    with socket.socket(family) as first:
        if family == socket.AF_INET6:
            first.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        first.bind(("", 0))
        first.listen()
        await _resolved()
        before = descriptors()
        with pytest.raises(OSError) as caught:
            await sockets.bind(None, first.getsockname()[1], reuse_port=False)
        assert caught.value.errno == errno.EADDRINUSE
        assert descriptors() == before


async def test_a_host_that_is_not_known() -> None:
    await _resolved()
    before = descriptors()
    with pytest.raises(socket.gaierror):
        await sockets.bind(".".join(["nowhere"] * 50), 0, reuse_port=False)
    assert descriptors() == before


async def test_an_address_that_is_not_ours() -> None:
    await _resolved()
    before = descriptors()
    with pytest.raises(OSError) as caught:
        await sockets.bind("192.0.2.1", 0, reuse_port=False)
    assert "cannot listen on ('192.0.2.1', 0): " in str(caught.value)
    assert descriptors() == before


async def _resolved() -> None:
    """Have the loop make the thread that it resolves names in, and what that needs."""
    for sock in await sockets.bind("127.0.0.1", 0, reuse_port=False):
        sock.close()


async def test_a_port_that_another_begins_to_listen_on(place: Any) -> None:
    # With SO_REUSEADDR two may bind it as long as neither listens.
    if place.uvloops:
        pytest.skip("uvloop hangs when it cannot listen")
    (free,) = await sockets.bind("127.0.0.1", 0, reuse_port=False)
    (one,) = await sockets.bind("127.0.0.1", 0, reuse_port=False)
    (two,) = await sockets.bind("127.0.0.1", one.getsockname()[1], reuse_port=False)
    with free, one, two:
        one.listen()
        address = free.getsockname()
        before = descriptors()
        with pytest.raises(OSError):
            await sockets.listen_on_all(
                [free, two], lambda: place.Told({}), backlog=5, own=place.own
            )
        with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
            pass
        if place.own:
            assert before - descriptors() <= {entry for entry in before if "socket" in entry}
            assert descriptors() <= before


# Unix sockets.


def test_the_socket_of_a_dead_server_is_replaced(directory: Path) -> None:
    path = directory / "socket"
    sockets.bind_path(str(path)).close()
    assert stat.S_ISSOCK(path.stat().st_mode)
    with sockets.bind_path(str(path)) as sock:
        sock.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_is_not_replaced(directory: Path) -> None:
    path = directory / "file"
    path.write_text("precious")
    before = descriptors()
    with pytest.raises(OSError) as caught:
        sockets.bind_path(str(path))
    assert path.read_text() == "precious"
    assert caught.value.errno == errno.EADDRINUSE
    assert f"cannot listen on {str(path)!r}: " in str(caught.value)
    assert descriptors() == before


@pytest.mark.parametrize(
    "name", ["no/such/directory", "x" * 200, "file/below"], ids=["nowhere", "long", "file"]
)
def test_a_path_that_cannot_be_had_is_named(directory: Path, name: str) -> None:
    (directory / "file").touch()
    before = descriptors()
    with pytest.raises(OSError) as caught:
        sockets.bind_path(str(directory / name))
    assert str(directory / name) in str(caught.value)
    assert descriptors() == before


@pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="no abstract names but on Linux")
async def test_a_name_that_is_in_no_file_system() -> None:
    name = f"\0switchover-{os.getpid()}"
    async with Server() as server:
        await server.start(path=name)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)


async def test_a_server_that_cannot_start_leaves_nothing(place: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        async with Server() as server:
            await _resolved()
            before = descriptors()
            with pytest.raises(OSError, match="cannot listen on"):
                await server.start("127.0.0.1", first.getsockname()[1])
            assert server.addresses == []
            assert descriptors() == before


async def test_reuse_port_where_there_is_no_such_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    before = descriptors()
    with pytest.raises(OSError, match="no such option"):
        await sockets.bind("127.0.0.1", 0, reuse_port=True)
    assert descriptors() == before


async def test_an_address_that_no_interface_has_is_left_out() -> None:
    # What a resolver says of a machine without IPv6, say: the others are bound all the same.
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def two_addresses(*args: object, **keywords: object) -> list[object]:
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, ("192.0.2.1", 0)), (*stream, ("127.0.0.1", 0))]

    before = descriptors()
    loop.getaddrinfo = two_addresses  # type: ignore[method-assign]
    try:
        (sock,) = await sockets.bind("elsewhere.test", 0, reuse_port=False)
    finally:
        loop.getaddrinfo = resolve  # type: ignore[method-assign]
    with sock:
        assert len(descriptors()) == len(before) + 1
        assert sock.getsockname()[0] == "127.0.0.1"
