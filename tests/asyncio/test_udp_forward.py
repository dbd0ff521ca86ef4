"""A UDP proxy behind a UDP proxy: requests are written anew, capsules go by as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio.connect_handler import one_user
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings
from switchover.asyncio.udp_client import udp_tunnel
from switchover.asyncio.udp_forward import forward_udp
from switchover.asyncio.udp_proxy import connect_udp
from switchover.errors import ProxyRefused, TunnelBroken, TunnelClosed
from switchover.tunnel.capsules import DATAGRAM, encode_capsule
from switchover.tunnel.policy import DestinationPolicy
from switchover.upgrade.registry import Upgrade

pytestmark = pytest.mark.anyio

LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8"])
VERSIONS = pytest.mark.parametrize(
    ("first", "second"),
    [(False, True), (True, False), (False, False)],
    ids=["http1-http2", "http2-http1", "http1-http1"],
)


@asynccontextmanager
async def serving(upgrade: Upgrade, *, http2: bool = False) -> AsyncIterator[str]:
    settings = ServerSettings(http2_prior_knowledge=http2)
    async with Server(upgrades=[upgrade], settings=settings) as server:
        await server.start()
        yield f"http://127.0.0.1:{server.port}"


class Echo(asyncio.DatagramProtocol):
    """Sends everything back."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    yield transport.get_extra_info("sockname")[1]
    transport.close()


@VERSIONS
async def test_request_is_encoded_anew_for_the_next_version(first: bool, second: bool) -> None:
    """UDP-17, RFC 9298 §3.1: an Upgrade in, an extended CONNECT out, and the other way round."""
    async with echoing() as port, serving(connect_udp(LOOPBACK), http2=second) as far:
        upgrade = forward_udp(far, LOOPBACK, http2=second)
        async with serving(upgrade, http2=first) as near:
            async with udp_tunnel(near, "127.0.0.1", port, http2=first) as tunnel:
                assert tunnel.response.status == (200 if first else 101)
                for payload in (b"one", b"x" * 20_000, b"three"):
                    await tunnel.send(payload)
                    async with asyncio.timeout(5):
                        assert await tunnel.recv() == payload
        async with asyncio.timeout(5):
            while upgrade.successor.tunnels:  # noqa: ASYNC110  # a moment, for the sockets
                await asyncio.sleep(0.002)


@asynccontextmanager
async def recording(answer: Iterable[bytes]) -> AsyncIterator[Any]:
    """The next proxy by hand: it answers, and keeps what comes after the request."""

    class Peer:
        head = b""
        came = bytearray()
        port = 0
        ended = asyncio.Event()

    peer = Peer()
    peer.came, peer.ended = bytearray(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.head = await reader.readuntil(b"\r\n\r\n")
        for piece in answer:
            writer.write(piece)
        while data := await reader.read(65536):
            peer.came.extend(data)
        peer.ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield peer


SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n"
    b"Capsule-Protocol: ?1\r\n\r\n"
)


async def test_capsules_are_not_touched(raw: Any) -> None:
    """CAP-09: unknown types, long integers, contexts of others: every octet, both ways."""
    capsules = (
        encode_capsule(0x17, b"unknown")
        + bytes.fromhex("4000 4003 00 6162")  # integers longer than they need be
        + encode_capsule(DATAGRAM, b"\x02context 2")
        + encode_capsule(0x3FFF, bytes(100_000))
    )
    async with recording([SWITCHED + capsules]) as peer:
        upgrade = forward_udp(f"http://127.0.0.1:{peer.port}", fields={"X-Hop": "1"})
        async with Server(upgrades=[upgrade]) as server:
            await server.start()
            async with raw(server) as connection:
                path = "/.well-known/masque/udp/dns.example/53/"
                lines = [f"GET {path} HTTP/1.1", "Host: near.example", "Cookie: mine"]
                lines += ["Connection: Upgrade", "Upgrade: connect-udp", "", ""]
                await connection.send("\r\n".join(lines).encode() + capsules)
                assert (await connection.head()).startswith(b"HTTP/1.1 101 ")
                await connection.expect(capsules)
                connection.writer.write_eof()
                async with asyncio.timeout(5):
                    await peer.ended.wait()
    assert bytes(peer.came) == capsules
    # RFC 9298 §3.2: one Host, that of the next proxy; and what was for us stays with us.
    assert peer.head.startswith(f"GET {path} HTTP/1.1\r\n".encode())
    assert f"Host: 127.0.0.1:{peer.port}\r\n".encode() in peer.head
    assert b"near.example" not in peer.head
    assert b"Cookie" not in peer.head
    assert b"X-Hop: 1\r\n" in peer.head


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_refusals_are_passed_on(http2: bool) -> None:
    """UDP-06, UDP-18: the next proxy's word, with its Proxy-Status; its 401 is our mistake."""
    async with serving(connect_udp(None), http2=http2) as far:
        async with serving(forward_udp(far, LOOPBACK, http2=http2)) as near:
            with pytest.raises(ProxyRefused, match="destination_ip_prohibited") as refusal:
                await udp_tunnel(near, "127.0.0.1", 53)
            assert refusal.value.response is not None
            assert refusal.value.response.status == 403
            with pytest.raises(ProxyRefused, match="dns_error"):
                await udp_tunnel(near, "no-such-name.invalid", 53)
    closed = connect_udp(LOOPBACK, authenticate=one_user("u", "p"))
    async with serving(closed, http2=http2) as far:
        async with serving(forward_udp(far, LOOPBACK, http2=http2)) as near:
            with pytest.raises(ProxyRefused, match="proxy_configuration_error"):
                await udp_tunnel(near, "127.0.0.1", 53)
    async with serving(forward_udp("http://127.0.0.1:1", LOOPBACK)) as near:
        with pytest.raises(ProxyRefused, match="destination_unavailable"):
            await udp_tunnel(near, "127.0.0.1", 53)


async def test_policy_of_the_first_proxy() -> None:
    """SEC-34: what it may judge by name and port, it judges before it asks."""
    async with recording([]) as peer:
        async with serving(forward_udp(f"http://127.0.0.1:{peer.port}")) as near:
            with pytest.raises(ProxyRefused, match="destination_ip_prohibited"):
                await udp_tunnel(near, "10.0.0.1", 53)
    assert peer.head == b""


@VERSIONS
async def test_end_of_the_far_tunnel_is_passed_on(first: bool, second: bool) -> None:
    """UDP-15: a target that is not there ends the tunnel through both proxies."""
    async with echoing() as port:
        pass
    async with serving(connect_udp(LOOPBACK), http2=second) as far:
        async with serving(forward_udp(far, LOOPBACK, http2=second), http2=first) as near:
            async with udp_tunnel(near, "127.0.0.1", port, http2=first) as tunnel:
                await tunnel.send(b"anybody?")
                with pytest.raises((TunnelClosed, TunnelBroken)):
                    await asyncio.wait_for(tunnel.recv(), 5)
