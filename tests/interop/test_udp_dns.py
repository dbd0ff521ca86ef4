"""DNS through our connect-udp tunnel, answered by dnsmasq: loss, truncation, what is too large."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio.connect_tcp import connect_tcp, tcp_tunnel
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings
from switchover.asyncio.udp_client import udp_tunnel
from switchover.asyncio.udp_proxy import connect_udp
from switchover.asyncio.udp_tunnel import UdpTunnel
from switchover.errors import LocalProtocolError
from switchover.tunnel.policy import DestinationPolicy

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8"])
VERSIONS = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
A, TXT, OPT = 1, 16, 41
TRUNCATED = 0x0200
BIG = [f"{number:04d}".encode() * 60 for number in range(12)]  # 12 strings of 240 octets


@pytest.fixture(scope="module")
def resolver(program: Callable[[str], str]) -> Iterator[int]:
    """The port of a dnsmasq that knows hosts below ``test`` and a large TXT record."""
    executable = program("dnsmasq")
    said = ""
    for _ in range(5):  # somebody else may take the port before dnsmasq does
        port = _free_port()
        process, said = _start(executable, port)
        if "started" in said:
            break
    else:
        pytest.fail(f"dnsmasq does not start: {said}")
    yield port
    process.terminate()
    process.communicate(timeout=5)


def _start(executable: str, port: int) -> tuple[subprocess.Popen[str], str]:
    """Start dnsmasq; return it and what it said until it had started, or given up."""
    command = [
        executable, "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
        "--user=", "--group=", "--pid-file", "--bind-interfaces", "--listen-address=127.0.0.1",
        f"--port={port}", "--edns-packet-max=4096", "--local=/test/",
        "--address=/a.test/192.0.2.7",
        *(f"--host-record=h{n}.test,192.0.2.{n}" for n in range(200)),
        "--txt-record=big.test," + ",".join(text.decode() for text in BIG),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "started" in line:
            break
    else:
        process.communicate(timeout=5)
    return process, said


def _free_port() -> int:
    """A port that is free for both: dnsmasq wants it for TCP too."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as tcp:
            datagrams.bind(("127.0.0.1", 0))
            port: int = datagrams.getsockname()[1]
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port


@asynccontextmanager
async def proxy(*, http2: bool) -> AsyncIterator[str]:
    settings = ServerSettings(http2_prior_knowledge=http2)
    upgrades = [connect_udp(LOOPBACK), connect_tcp(LOOPBACK)]
    async with Server(upgrades=upgrades, settings=settings) as server:
        await server.start()
        yield f"http://127.0.0.1:{server.port}"


# As much of DNS as a stub resolver needs (RFC 1035 §4, RFC 6891).


def query(number: int, name: str, kind: int = A, *, payload_size: int = 0) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack("!6H", number, 0x0100, 1, 0, 0, 1 if payload_size else 0)
    question = labels + b"\0" + struct.pack("!2H", kind, 1)
    options = b"\0" + struct.pack("!2HIH", OPT, payload_size, 0, 0) if payload_size else b""
    return header + question + options


def answers(message: bytes) -> list[bytes]:
    """The data of each record in the answer section."""
    _, _, _, count, _, _ = struct.unpack_from("!6H", message)
    at = _past_name(message, 12) + 4
    found = []
    for _ in range(count):
        at = _past_name(message, at)
        (size,) = struct.unpack_from("!H", message, at + 8)
        found.append(message[at + 10 : at + 10 + size])
        at += 10 + size
    return found


def _past_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1


def texts(data: bytes) -> list[bytes]:
    found = []
    while data:
        found.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return found


class Stub:
    """A stub resolver on a tunnel: it repeats what is not answered in time."""

    def __init__(self, tunnel: UdpTunnel, *, patience: float = 5.0) -> None:
        self._tunnel = tunnel
        self._patience = patience
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._reading = asyncio.ensure_future(self._read())
        self.repeated = 0

    async def _read(self) -> None:
        async for message in self._tunnel:
            (number,) = struct.unpack_from("!H", message)
            waiter = self._waiting.get(number)
            if waiter is not None and not waiter.done():
                waiter.set_result(message)

    async def ask(self, name: str, kind: int = A, *, payload_size: int = 0) -> bytes:
        number = random.randrange(65536)
        while number in self._waiting:
            number = random.randrange(65536)
        waiter = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            for _ in range(50):
                await self._tunnel.send(query(number, name, kind, payload_size=payload_size))
                try:
                    async with asyncio.timeout(self._patience):
                        return await asyncio.shield(waiter)
                except TimeoutError:
                    self.repeated += 1
            raise TimeoutError(name)
        finally:
            del self._waiting[number]


@VERSIONS
async def test_names_are_resolved(resolver: int, http2: bool) -> None:
    """UDP-11: many queries at once, each with its own answer."""
    async with proxy(http2=http2) as origin:
        async with udp_tunnel(origin, "127.0.0.1", resolver, http2=http2) as tunnel:
            stub = Stub(tunnel)
            found = await asyncio.gather(*(stub.ask(f"h{n}.test") for n in range(200)))
        for number, message in enumerate(found):
            assert answers(message) == [bytes([192, 0, 2, number])]


class Lossy(asyncio.DatagramProtocol):
    """A hop in front of the resolver that loses four of ten datagrams, either way."""

    def __init__(self, onward: tuple[str, int]) -> None:
        self._onward = onward
        self._dice = random.Random(9298)
        self._back: Any = None
        self.lost = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._dice.random() < 0.4:
            self.lost += 1
        elif addr == self._onward:
            self._transport.sendto(data, self._back)
        else:
            self._back = addr
            self._transport.sendto(data, self._onward)


@VERSIONS
async def test_loss_is_the_applications_to_mend(resolver: int, http2: bool) -> None:
    """RFC 9298 §5: the tunnel adds no reliability and loses nothing of its own; queries repeat."""
    loop = asyncio.get_running_loop()
    transport, hop = await loop.create_datagram_endpoint(
        lambda: Lossy(("127.0.0.1", resolver)), local_addr=("127.0.0.1", 0)
    )
    async with proxy(http2=http2) as origin:
        async with udp_tunnel(origin, "127.0.0.1", hop.port, http2=http2) as tunnel:
            stub = Stub(tunnel, patience=0.1)
            found = await asyncio.gather(*(stub.ask(f"h{n}.test") for n in range(50)))
        assert [answers(message)[0][3] for message in found] == list(range(50))
        assert hop.lost > 10
        assert stub.repeated >= 50 * 0.4
    transport.close()


@VERSIONS
async def test_large_answers(resolver: int, http2: bool) -> None:
    """UDP-16: whole where the path takes them; cut by the resolver, then asked for over TCP."""
    async with proxy(http2=http2) as origin:
        async with udp_tunnel(origin, "127.0.0.1", resolver, http2=http2) as tunnel:
            stub = Stub(tunnel)
            whole = await stub.ask("big.test", TXT, payload_size=4096)
            assert len(whole) > 2900
            assert texts(answers(whole)[0]) == BIG
            cut = await stub.ask("big.test", TXT)
            assert len(cut) <= 512
            (flags,) = struct.unpack_from("!H", cut, 2)
            assert flags & TRUNCATED
        # RFC 7766 §5: a truncated answer is asked for again over TCP.
        async with tcp_tunnel(origin, "127.0.0.1", resolver, http2=http2) as stream:
            message = query(7, "big.test", TXT)
            await stream.send(struct.pack("!H", len(message)) + message)
            (size,) = struct.unpack("!H", await stream.read_exactly(2))
            assert texts(answers(await stream.read_exactly(size))[0]) == BIG


@VERSIONS
async def test_oversize_queries_change_nothing(resolver: int, http2: bool) -> None:
    """UDP-13, UDP-16: over 65527 a local error; over what IPv4 takes, dropped; then as before."""
    async with proxy(http2=http2) as origin:
        async with udp_tunnel(origin, "127.0.0.1", resolver, http2=http2) as tunnel:
            with pytest.raises(LocalProtocolError):
                await tunnel.send(bytes(65_528))
            await tunnel.send(bytes(65_527))
            await tunnel.send(bytes(65_507))  # fits; no resolver takes it for a query
            await tunnel.send(b"")
            (address,) = answers(await Stub(tunnel).ask("a.test"))
            assert address == bytes([192, 0, 2, 7])


@VERSIONS
async def test_answers_that_nobody_reads(resolver: int, http2: bool) -> None:
    """SEC-42: a client that is slow to read loses answers, asks again, and goes on."""
    async with proxy(http2=http2) as origin:
        async with udp_tunnel(
            origin, "127.0.0.1", resolver, http2=http2, queue_octets=2000
        ) as tunnel:
            for number in range(100):
                await tunnel.send(query(number, f"h{number}.test"))
            async with asyncio.timeout(10):
                while tunnel.dropped < 50:  # noqa: ASYNC110  # the kernel's moment, not ours
                    await asyncio.sleep(0.01)
            (address,) = answers(await Stub(tunnel, patience=1.0).ask("a.test"))
            assert address == bytes([192, 0, 2, 7])
