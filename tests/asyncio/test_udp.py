"""connect-udp, both ends on real sockets: over HTTP/1.1 and over HTTP/2 (RFC 9298)."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio import templated_server, udp_proxy
from switchover.asyncio.connect_handler import one_user
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.udp_client import open_udp_tunnel, udp_tunnel
from switchover.asyncio.udp_proxy import connect_udp
from switchover.asyncio.udp_tunnel import UdpTunnel
from switchover.errors import (
    LocalProtocolError,
    ProxyRefused,
    RemoteProtocolError,
    TunnelBroken,
    TunnelClosed,
)
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.tunnel.capsules import DATAGRAM, encode_capsule
from switchover.tunnel.connect import Authority
from switchover.tunnel.policy import DestinationPolicy

pytestmark = pytest.mark.anyio

LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8", "::1/128"])
Application = Callable[[Exchange], Awaitable[None]]


@asynccontextmanager
async def proxy(
    policy: DestinationPolicy | None = LOOPBACK,
    *,
    http2: bool = False,
    application: Application | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    settings = ServerSettings(http2_prior_knowledge=http2)
    upgrade = connect_udp(policy, **options)
    async with Server(application, upgrades=[upgrade], settings=settings) as server:
        await server.start()
        yield server


def relays(server: Server) -> list[udp_proxy.UdpRelay]:
    return [owner for owner in server.connections if isinstance(owner, udp_proxy.UdpRelay)]


def origin(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


class Target(asyncio.DatagramProtocol):
    """A UDP service: sends everything back, twice what begins with "twice"."""

    def __init__(self, sock: socket.socket) -> None:
        self.came: list[bytes] = []
        self.seen_from: Any = None
        self.port = sock.getsockname()[1]
        # Not by the transport: asyncio's does not send empty datagrams.
        self.send = sock.sendto

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.append(data)
        self.seen_from = addr
        for _ in range(2 if data.startswith(b"twice") else 1):
            self.send(data, addr)


@asynccontextmanager
async def target(host: str = "127.0.0.1") -> AsyncIterator[Target]:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.bind((host, 0))
    except OSError:
        sock.close()
        raise
    transport, protocol = await loop.create_datagram_endpoint(lambda: Target(sock), sock=sock)
    try:
        yield protocol
    finally:
        transport.close()


async def received(tunnel: UdpTunnel) -> bytes:
    async with asyncio.timeout(5):
        return await tunnel.recv()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # nobody sets an event for sockets
            await asyncio.sleep(0.002)


def request(host: str, port: int | str, *fields: str, method: str = "GET") -> bytes:
    lines = [
        f"{method} /.well-known/masque/udp/{host}/{port}/ HTTP/1.1",
        "Host: proxy.example",
        "Connection: Upgrade",
        "Upgrade: connect-udp",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def datagram(payload: bytes, context: int = 0) -> bytes:
    return encode_capsule(DATAGRAM, bytes([context]) + payload)


async def refused(connection: Any, *line: Any, **options: Any) -> bytes:
    """Send a request; return the whole refusal, whose connection must go on."""
    await connection.send(request(*line, **options))
    head = await connection.head()
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    content = await connection.reader.readexactly(length)
    assert b"connection: close" not in head.lower()
    return bytes(head + content)


# Both ends, on both versions.


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_datagrams_there_and_back(http2: bool) -> None:
    """UDP-11, UDP-09, UDP-10: whole datagrams, empty ones too, on either version of HTTP."""
    async with target() as service, proxy(http2=http2) as server:
        async with udp_tunnel(origin(server), "127.0.0.1", service.port, http2=http2) as tunnel:
            assert tunnel.response.status == (200 if http2 else 101)
            for payload in (b"one", b"", b"x" * 1472, bytes(60_000)):
                await tunnel.send(payload)
                assert await received(tunnel) == payload
            await tunnel.send(b"twice")
            assert [await received(tunnel), await received(tunnel)] == [b"twice", b"twice"]
        assert service.came == [b"one", b"", b"x" * 1472, bytes(60_000), b"twice"]


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_socket_and_stream_live_together(http2: bool) -> None:
    """UDP-15, RFC 9298 §3.1: the end of the tunnel closes the socket."""
    async with target() as service, proxy(http2=http2) as server:
        async with udp_tunnel(origin(server), "127.0.0.1", service.port, http2=http2) as tunnel:
            await tunnel.send(b"x")
            await received(tunnel)
            (relay,) = relays(server)
            sock = relay._sock
            assert sock is not None
            assert sock.fileno() >= 0
        await until(lambda: sock.fileno() < 0)
        await until(lambda: not relays(server))


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_unreachable_port_ends_the_stream(http2: bool) -> None:
    """UDP-15, RFC 9298 §3.1: an ICMP Destination Unreachable closes the request stream."""
    async with target() as service:
        port = service.port
    async with proxy(http2=http2) as server:
        async with udp_tunnel(origin(server), "127.0.0.1", port, http2=http2) as tunnel:
            await tunnel.send(b"anybody?")
            with pytest.raises(TunnelClosed, match="the proxy has ended"):
                await received(tunnel)
            with pytest.raises(TunnelClosed):
                await tunnel.send(b"x")
            assert [payload async for payload in tunnel] == []
        await until(lambda: not relays(server))


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_refusals_reach_the_caller(http2: bool) -> None:
    """UDP-18, UDP-08: no tunnel; the exception has the proxy's answer and what it says."""
    async with proxy(None, http2=http2) as server:
        with pytest.raises(ProxyRefused, match="destination_ip_prohibited") as refusal:
            await udp_tunnel(origin(server), "127.0.0.1", 53, http2=http2)
    response = refusal.value.response
    assert response is not None
    assert response.status == 403
    assert b"127.0.0.1 is loopback" in response.content


async def test_many_tunnels_on_one_connection() -> None:
    """RFC 9298 §3.4: each on a stream of its own; the end of one is nothing to the other."""
    async with target() as service, proxy(http2=True) as server:
        loop = asyncio.get_running_loop()
        _, driver = await loop.create_connection(
            lambda: HTTP2ClientProtocol(loop), "127.0.0.1", server.port
        )
        first = await open_udp_tunnel(driver, origin(server), "127.0.0.1", service.port)
        second = await open_udp_tunnel(driver, origin(server), "127.0.0.1", service.port)
        await first.close()
        await second.send(b"still")
        assert await received(second) == b"still"
        with pytest.raises(ProxyRefused):
            await open_udp_tunnel(driver, origin(server), "192.168.1.1", 53)
        await second.send(b"after a refusal")
        assert await received(second) == b"after a refusal"
        await second.close()
        driver.close()
        await driver.wait_closed()


async def test_http2_is_agreed_by_alpn(server_context: Any, client_context: Any) -> None:
    """``http2=True`` under TLS: a proxy that takes only HTTP/1.1 is spoken to in that."""
    for protocols, status in ((["h2"], 200), (["http/1.1"], 101)):
        server_context.set_alpn_protocols(protocols)
        client_context.set_alpn_protocols(["h2", "http/1.1"])
        route = Route(ssl=client_context)
        async with target() as service, Server(upgrades=[connect_udp(LOOPBACK)]) as server:
            await server.start(ssl=server_context)
            template = f"https://localhost:{server.port}"
            async with udp_tunnel(
                template, "127.0.0.1", service.port, http2=True, route=route
            ) as tunnel:
                assert tunnel.response.status == status
                await tunnel.send(b"x")
                assert await received(tunnel) == b"x"


# The server.


async def test_switching_response(raw: Any) -> None:
    """UDP-07, CAP-08: 101, one Upgrade, Connection, Capsule-Protocol, nothing of content."""
    async with target() as service, proxy() as server, raw(server) as connection:
        await connection.send(request("127.0.0.1", service.port) + datagram(b"early"))
        head = (await connection.head()).lower()
        assert head.startswith(b"http/1.1 101 ")
        assert head.count(b"\r\nupgrade: connect-udp\r\n") == 1
        assert b"\r\nconnection: upgrade\r\n" in head
        assert b"\r\ncapsule-protocol: ?1\r\n" in head
        assert b"content-" not in head
        assert b"transfer-encoding" not in head
        await connection.expect(datagram(b"early"))


async def test_refused_names(raw: Any) -> None:
    """UDP-06, CAP-08: looked up before the answer; 502, dns_error, on a connection that goes on."""
    async with proxy() as server, raw(server) as connection:
        for _ in range(2):
            answer = await refused(connection, "no-such-name.invalid", 53)
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert b"Proxy-Status: switchover; error=dns_error" in answer
            assert b"capsule-protocol" not in answer.lower()


INTERNAL = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "%3A%3A1",
    "%3A%3Affff%3A127.0.0.1",
    "fe80%3A%3A1",
    "localhost",
]


@pytest.mark.parametrize("host", INTERNAL)
async def test_internal_destinations_are_refused_by_default(raw: Any, host: str) -> None:
    """UDP-18, SEC-34: judged by address, behind the look-up."""
    async with proxy(None) as server, raw(server) as connection:
        answer = await refused(connection, host, 53)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"error=destination_ip_prohibited" in answer


async def test_judged_address_is_the_one_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-34: a name that changes between check and use is looked up once only."""
    asked: list[str] = []
    opened: list[str] = []

    async def rebinding(authority: Authority) -> list[str]:
        asked.append(authority.host)
        return ["10.0.0.1", "127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    def opening(address: str, port: int) -> socket.socket:
        opened.append(address)
        return open_socket(address, port)

    open_socket = udp_proxy.open_udp_socket
    monkeypatch.setattr(templated_server, "look_up", rebinding)
    monkeypatch.setattr(udp_proxy, "open_udp_socket", opening)
    async with target() as service, proxy() as server:
        async with udp_tunnel(origin(server), "rebinding.example", service.port) as tunnel:
            await tunnel.send(b"x")
            assert await received(tunnel) == b"x"
    assert asked == ["rebinding.example"]
    assert opened == ["127.0.0.1"]


async def test_own_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """UDP-18, RFC 9298 §7: the proxy's own addresses, public ones too, unless they are listed."""

    class Public(DestinationPolicy):
        def judge_addresses(self, addresses: Any) -> Any:
            return list(addresses)

        def judge_target(self, target: Any) -> None:
            return None

    async with target() as service, proxy(Public()) as server:
        with pytest.raises(ProxyRefused, match="destination_ip_prohibited") as refusal:
            await udp_tunnel(origin(server), "127.0.0.1", service.port)
        assert refusal.value.response is not None
        assert b"this host" in refusal.value.response.content


@pytest.mark.parametrize(
    ("line", "fields", "method"),
    [
        (("127.0.0.1", 53), (), "POST"),
        (("127.0.0.1", 53), ("Host: other.example",), "GET"),
        (("127.0.0.1", 53), ("Content-Type: text/plain",), "GET"),
        (("127.0.0.1", 53), ("Content-Length: 0",), "GET"),
        (("127.0.0.1", 0), (), "GET"),
        (("", 53), (), "GET"),
        (("h%2Fx", 53), (), "GET"),
        (("h", "5_3"), (), "GET"),
        (("127.1", 53), (), "GET"),
    ],
)
async def test_malformed_requests(raw: Any, line: Any, fields: Any, method: str) -> None:
    """UDP-04, UDP-05, CAP-04: 400, on the wire."""
    async with proxy() as server, raw(server) as connection:
        await connection.send(request(*line, *fields, method=method))
        assert (await connection.head()).startswith(b"HTTP/1.1 400 ")


async def test_plain_requests_are_told_to_upgrade(raw: Any) -> None:
    """UPG-S-14, RFC 9298 §3.2: somebody who came by with a browser."""
    async with proxy() as server, raw(server) as connection:
        await connection.send(
            b"GET /.well-known/masque/udp/192.0.2.1/53/ HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 426 ")
        assert b"Upgrade: connect-udp" in head


async def test_authentication(raw: Any) -> None:
    """UDP-18, RFC 9298 §7: 401 before anything is said of the destination."""
    options: dict[str, Any] = {"authenticate": one_user("user", "pass"), "realm": 'a "b"'}
    async with target() as service, proxy(None, **options) as server, raw(server) as connection:
        for fields in ((), ("Authorization: Basic dXNlcjp3cm9uZw==",), ("Authorization: x",)):
            answer = await refused(connection, "127.0.0.1", service.port, *fields)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b'WWW-Authenticate: Basic realm="a \\"b\\"", charset="UTF-8"' in answer
        right = "Authorization: Basic dXNlcjpwYXNz"
        answer = await refused(connection, "127.0.0.1", service.port, right)
        assert answer.startswith(b"HTTP/1.1 403 ")
    async with target() as service, proxy(**options) as server:
        fields = {"Authorization": "Basic dXNlcjpwYXNz"}
        async with udp_tunnel(origin(server), "127.0.0.1", service.port, fields=fields) as tunnel:
            await tunnel.send(b"x")
            assert await received(tunnel) == b"x"
    with pytest.raises(LocalProtocolError):
        connect_udp(realm="a\nb")


async def test_accept_may_refuse_or_add_fields(raw: Any) -> None:
    """The hook that :func:`token` has, here too: any ordinary response, or fields for the 101."""

    async def accept(request: Request, content: bytes) -> Fields | Response:
        if "x-ticket" not in request.fields:
            return Response.text(402, "Pay first\n")
        return Fields([("X-Left", "3")])

    async with target() as service, proxy(accept=accept) as server, raw(server) as connection:
        answer = await refused(connection, "127.0.0.1", service.port)
        assert answer.startswith(b"HTTP/1.1 402 ")
        await connection.send(request("127.0.0.1", service.port, "X-Ticket: 1"))
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nX-Left: 3\r\n" in head


async def test_tunnels_are_counted(raw: Any) -> None:
    """SEC-36: 503 over the limit of all, 429 over that of one client; places come free."""
    for options, status in (({"max_tunnels": 1}, 503), ({"max_tunnels_per_peer": 1}, 429)):
        async with target() as service, proxy(**options) as server, raw(server) as connection:
            async with udp_tunnel(origin(server), "127.0.0.1", service.port):
                answer = await refused(connection, "127.0.0.1", service.port)
                assert answer.startswith(b"HTTP/1.1 %d " % status)
                assert b"error=connection_limit_reached" in answer
            await until(lambda: not relays(server))
            await refused(connection, "no-such-name.invalid", 53)  # gives its place back too
            async with udp_tunnel(origin(server), "127.0.0.1", service.port) as tunnel:
                await tunnel.send(b"x")
                assert await received(tunnel) == b"x"


async def test_slow_names_time_out(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-36, CON-14: a resolver that does not answer is 504."""

    async def hanging(authority: Authority) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(templated_server, "look_up", hanging)
    async with proxy(timeout=0.05) as server, raw(server) as connection:
        answer = await refused(connection, "slow.example", 53)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"error=connection_timeout" in answer


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_client_that_leaves_meanwhile(
    raw: Any, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    """UDP-15: it asked and went; neither the socket nor the place stays behind."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    sockets: list[socket.socket] = []

    async def waiting(authority: Authority) -> list[str]:
        asked.set()
        await go_on.wait()
        return ["127.0.0.1"]

    def opening(address: str, port: int) -> socket.socket:
        sockets.append(open_socket(address, port))
        return sockets[0]

    open_socket = udp_proxy.open_udp_socket
    monkeypatch.setattr(templated_server, "look_up", waiting)
    monkeypatch.setattr(udp_proxy, "open_udp_socket", opening)
    async with target() as service, proxy() as server:
        (upgrade,) = server.registry.upgrades
        async with raw(server) as connection:
            await connection.send(request("name.example", service.port))
            await asked.wait()
            if reset:
                sock = connection.writer.get_extra_info("socket")
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if reset:
            await until(lambda: not server.connections)
        go_on.set()
        await until(lambda: sockets and sockets[0].fileno() < 0)
        await until(lambda: not upgrade.successor.tunnels)


async def test_strangers_are_not_heard() -> None:
    """UDP-14: what comes from another address or port than the target's is not passed on."""
    async with target() as service, target() as stranger, proxy() as server:
        async with udp_tunnel(origin(server), "127.0.0.1", service.port) as tunnel:
            await tunnel.send(b"first")
            assert await received(tunnel) == b"first"
            stranger.send(b"spoofed", service.seen_from)
            await tunnel.send(b"second")
            assert await received(tunnel) == b"second"


async def test_no_fragments() -> None:
    """UDP-16: DF is set, and what is too large for the path is dropped without more ado."""
    async with target() as service, proxy() as server:
        async with udp_tunnel(origin(server), "127.0.0.1", service.port) as tunnel:
            (relay,) = relays(server)
            assert relay._sock is not None
            level, name, value = udp_proxy._NO_FRAGMENTS["linux"][socket.AF_INET][0]
            assert relay._sock.getsockopt(level, name) == value
            await tunnel.send(bytes(65_527))  # fits the capsule, not a datagram of IPv4
            await tunnel.send(b"after")
            assert await received(tunnel) == b"after"
            assert relay.dropped == 1
            relay.socket_failed(OSError(errno.EMSGSIZE, "Message too long"))
            await tunnel.send(b"alive")
            assert await received(tunnel) == b"alive"


async def test_ipv6() -> None:
    """UDP-02, UDP-16: an address with colons, in brackets or without, with its own options."""
    try:
        service_context = target("::1")
        service = await service_context.__aenter__()
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    try:
        async with proxy() as server:
            async with udp_tunnel(origin(server), "::1", service.port) as tunnel:
                await tunnel.send(b"x")
                assert await received(tunnel) == b"x"
                assert "%3A%3A1" in tunnel.request.target
                (relay,) = relays(server)
                assert relay._sock is not None
                for level, name, value in udp_proxy._NO_FRAGMENTS["linux"][socket.AF_INET6]:
                    assert relay._sock.getsockopt(level, name) == value
    finally:
        await service_context.__aexit__(None, None, None)


async def test_unknown_contexts_and_capsules_are_dropped(raw: Any) -> None:
    """UDP-12, CAP-02, SEC-42: no UDP packet comes of them, nothing is kept, the tunnel lives."""
    async with target() as service, proxy() as server, raw(server) as connection:
        await connection.send(request("127.0.0.1", service.port))
        await connection.head()
        for _ in range(200):
            await connection.send(datagram(b"?" * 1000, context=2))
            await connection.send(encode_capsule(0x17, b"?" * 1000))
        await connection.send(datagram(b"known"))
        await connection.expect(datagram(b"known"))
        assert service.came == [b"known"]


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_bad_capsules_abort_the_stream(http2: bool) -> None:
    """UDP-13, CAP-05: 65528 octets end an HTTP/1.1 connection, an HTTP/2 stream by error."""
    async with target() as service, proxy(http2=http2) as server:
        tunnel = await udp_tunnel(origin(server), "127.0.0.1", service.port, http2=http2)
        transport = tunnel._transport
        assert transport is not None
        transport.write(datagram(bytes(65_528)))
        with pytest.raises((TunnelClosed, TunnelBroken)) as broken:
            await received(tunnel)
        if http2:
            assert isinstance(broken.value, TunnelBroken)
            assert "PROTOCOL_ERROR" in str(broken.value.__cause__)
        await tunnel.wait_closed()
        await until(lambda: not relays(server))
        assert service.came == []


async def test_end_inside_a_capsule(raw: Any) -> None:
    """CAP-06: what was cut is not passed on; the tunnel ends."""
    async with target() as service, proxy() as server, raw(server) as connection:
        await connection.send(request("127.0.0.1", service.port))
        await connection.head()
        await connection.send(datagram(b"whole") + datagram(b"cut off")[:-2])
        await connection.expect(datagram(b"whole"))
        connection.writer.write_eof()
        assert await connection.rest() == b""
        assert service.came == [b"whole"]


async def test_client_that_does_not_read_loses_datagrams(raw: Any) -> None:
    """SEC-24, SEC-42: nothing piles up at the proxy; a tunnel that is read again works."""
    async with target() as service, proxy() as server, raw(server) as connection:
        await connection.send(request("127.0.0.1", service.port))
        await connection.head()
        await connection.send(datagram(b"where"))
        await connection.expect(datagram(b"where"))
        (relay,) = relays(server)
        transport = relay._transport
        assert transport is not None
        connection.reader._transport.pause_reading()
        for _ in range(2000):
            service.send(bytes(60_000), service.seen_from)
            await asyncio.sleep(0)
            if relay.dropped > 5:
                break
        assert relay.dropped > 5
        high = 64 * 1024
        assert transport.get_write_buffer_size() < high + 2 * 60_010


async def test_idle_tunnels_end() -> None:
    """UDP-15: after the time that was set, two minutes at least if none was."""
    (relay_default,) = [connect_udp().successor._idle]
    assert relay_default >= 120
    async with target() as service, proxy(idle=0.05) as server:
        async with udp_tunnel(origin(server), "127.0.0.1", service.port) as tunnel:
            await tunnel.send(b"x")
            assert await received(tunnel) == b"x"
            with pytest.raises(TunnelClosed):
                await received(tunnel)
        await until(lambda: not relays(server))


async def test_graceful_end_of_the_server() -> None:
    """Tunnels end in order with the server, and do not hold it up."""
    async with target() as service, proxy() as server:
        tunnel = await udp_tunnel(origin(server), "127.0.0.1", service.port)
        async with asyncio.timeout(5):
            await server.close(grace=60)
        with pytest.raises(TunnelClosed, match="the proxy has ended"):
            await received(tunnel)


async def test_other_requests_are_the_applications(application: Application, raw: Any) -> None:
    """UPG-S-01: a proxy beside a site."""
    async with proxy(application=application) as server, raw(server) as connection:
        await connection.send(b"GET /site HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.head()).startswith(b"HTTP/1.1 200 ")


# The client.


@asynccontextmanager
async def scripted(answer: bytes, *, then_read: bool = True) -> AsyncIterator[Any]:
    """A proxy that gives ``answer`` to any request, and keeps what it is sent."""

    class Peer:
        port = 0
        came = bytearray()
        ended = asyncio.Event()

    peer = Peer()
    peer.came, peer.ended = bytearray(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.came.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        try:
            while data := await reader.read(65536):
                peer.came.extend(data)
        except ConnectionError:
            pass
        peer.ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield peer


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n"


async def test_request_as_it_is_sent() -> None:
    """UDP-03, UDP-01: GET to the expanded template, one Host naming the proxy."""
    async with scripted(SWITCHED + b"\r\n" + datagram(b"hello")) as peer:
        template = f"http://127.0.0.1:{peer.port}/p{{?target_port,target_host}}"
        async with udp_tunnel(template, "2001:db8::42", 53, fields={"X-A": "1"}) as tunnel:
            assert await received(tunnel) == b"hello"
            await tunnel.send(b"x")
        await peer.ended.wait()
    head, _, rest = bytes(peer.came).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "GET /p?target_port=53&target_host=2001%3Adb8%3A%3A42 HTTP/1.1"
    assert sorted(lines[1:]) == sorted(
        [
            f"Host: 127.0.0.1:{peer.port}",
            "Connection: Upgrade",
            "Upgrade: connect-udp",
            "Capsule-Protocol: ?1",
            "X-A: 1",
        ]
    )
    assert rest == datagram(b"x")


async def test_bare_origin_means_the_default_template() -> None:
    """UDP-01, RFC 9298 §3: a proxy configured by host and port."""
    async with scripted(SWITCHED + b"\r\n") as peer:
        async with udp_tunnel(f"http://127.0.0.1:{peer.port}/", "dns.example", 53):
            pass
    assert peer.came.startswith(b"GET /.well-known/masque/udp/dns.example/53/ HTTP/1.1\r\n")


async def test_nothing_before_the_101() -> None:
    """OPT-04, UDP-11: a proxy that withholds its answer sees the request and no capsule."""
    async with scripted(b"") as peer:
        with pytest.raises(TimeoutError):
            await udp_tunnel(f"http://127.0.0.1:{peer.port}", "192.0.2.1", 53, timeout=0.1)
        await peer.ended.wait()
    assert peer.came.endswith(b"\r\n\r\n")
    assert peer.came.count(b"\r\n\r\n") == 1


BAD_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n\x00\x02\x00",
    SWITCHED.replace(b"connect-udp", b"websocket") + b"\r\n",
    SWITCHED.replace(b"connect-udp", b"connect-udp, connect-udp") + b"\r\n",
    SWITCHED + b"Upgrade: connect-udp\r\n\r\n",
    SWITCHED + b"Content-Length: 2\r\n\r\n",
    SWITCHED + b"Transfer-Encoding: chunked\r\n\r\n",
    SWITCHED.replace(b"Connection: Upgrade\r\n", b"") + b"\r\n",
]


@pytest.mark.parametrize("answer", BAD_ANSWERS)
async def test_odd_answers_abort_the_connection(answer: bytes) -> None:
    """UDP-08, CAP-03, CAP-04: the attempt has failed; no capsule is read, none is sent."""
    async with scripted(answer + datagram(b"not ours")) as peer:
        with pytest.raises((ProxyRefused, RemoteProtocolError)):
            await udp_tunnel(f"http://127.0.0.1:{peer.port}", "192.0.2.1", 53)
        await peer.ended.wait()
    assert peer.came.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("status", [204, 205, 206])
async def test_odd_answers_over_http2(status: int) -> None:
    """UDP-10, CAP-04: a 2xx that cannot begin capsules aborts the stream, and only that."""

    class Odd:
        async def consider(self, exchange: Exchange, selection: Any, content: bytes) -> None:
            tunnel = Tunnel(
                "connect-udp", exchange.request, Response(status), on_lost=exchange.server.dismiss
            )
            await exchange.switch("connect-udp", Fields(), tunnel, status=status)

    upgrade = connect_udp(LOOPBACK)
    object.__setattr__(upgrade, "successor", Odd())
    settings = ServerSettings(http2_prior_knowledge=True)
    async with Server(upgrades=[upgrade], settings=settings) as server:
        await server.start()
        loop = asyncio.get_running_loop()
        _, driver = await loop.create_connection(
            lambda: HTTP2ClientProtocol(loop), "127.0.0.1", server.port
        )
        with pytest.raises(RemoteProtocolError):
            await open_udp_tunnel(driver, origin(server), "127.0.0.1", 53)
        assert driver.reusable
        driver.close()
        await driver.wait_closed()


@pytest.mark.parametrize(
    ("template", "host", "port"),
    [
        ("http://h/{target_host}/", "192.0.2.1", 53),
        ("http://h/{+target_host}/{target_port}/", "192.0.2.1", 53),
        ("/udp/{target_host}/{target_port}/", "192.0.2.1", 53),
        ("http://h", "fe80::1%eth0", 53),
        ("http://h", "", 53),
        ("http://h", "h", 0),
        ("http://h", "h", 65536),
    ],
)
async def test_what_cannot_be_asked_for(template: str, host: str, port: int) -> None:
    """UDP-01, UDP-02: a local error at once; nothing is sent, nothing opened."""
    with pytest.raises(LocalProtocolError):
        udp_tunnel(template, host, port)


async def test_oversize_is_a_local_error() -> None:
    """UDP-13: 65528 octets are never sent; the tunnel goes on."""
    async with target() as service, proxy() as server:
        async with udp_tunnel(origin(server), "127.0.0.1", service.port) as tunnel:
            with pytest.raises(LocalProtocolError):
                await tunnel.send(bytes(65_528))
            await tunnel.send(b"x")
            assert await received(tunnel) == b"x"


async def test_oversize_from_the_proxy() -> None:
    """UDP-13: 65528 octets received abort the stream."""
    answer = SWITCHED + b"\r\n" + datagram(b"good") + datagram(bytes(65_528))
    async with scripted(answer) as peer:
        tunnel = await udp_tunnel(f"http://127.0.0.1:{peer.port}", "192.0.2.1", 53)
        assert await received(tunnel) == b"good"
        with pytest.raises(TunnelBroken, match="broke a rule"):
            await received(tunnel)
        await peer.ended.wait()


async def test_queue_is_bounded() -> None:
    """SEC-42: what nobody reads is dropped over the limit, and counted."""
    flood = datagram(b"x" * 36) * 1000 + datagram(b"?", context=3) * 10
    async with scripted(SWITCHED + b"\r\n" + flood) as peer:
        url = f"http://127.0.0.1:{peer.port}"
        async with udp_tunnel(url, "192.0.2.1", 53, queue_octets=10_000) as tunnel:
            await until(lambda: tunnel.dropped == 910)
            for _ in range(100):
                assert await received(tunnel) == b"x" * 36
            assert tunnel._held == 0


async def test_contexts() -> None:
    """UDP-11, UDP-12: ours are even and new each time, the proxy's odd."""
    came: list[tuple[int, bytes]] = []
    async with scripted(SWITCHED + b"\r\n") as peer:
        url = f"http://127.0.0.1:{peer.port}"
        tunnel = await udp_tunnel(
            url, "192.0.2.1", 53, on_context_datagram=lambda *told: came.append(told)
        )
        assert (tunnel.open_context(), tunnel.open_context()) == (2, 4)
        with pytest.raises(RemoteProtocolError):
            tunnel.accept_context(6)
        tunnel.accept_context(3)
        await tunnel.send_context(4, b"ours")
        with pytest.raises(LocalProtocolError):
            await tunnel.send_context(5, b"nobody's")
        tunnel.data_received(datagram(b"theirs", context=3))
        tunnel.close_context(3)
        tunnel.data_received(datagram(b"late", context=3))
        assert came == [(3, b"theirs")]
        assert tunnel.dropped == 1
        await tunnel.close()
        await peer.ended.wait()
    assert peer.came.endswith(datagram(b"ours", context=4))


async def test_uses_after_the_end() -> None:
    """Closed by us: nothing can be sent or received; closing again is harmless."""
    async with target() as service, proxy() as server:
        tunnel = await udp_tunnel(origin(server), "127.0.0.1", service.port)
        waiting = asyncio.ensure_future(tunnel.recv())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two coroutines"):
            await tunnel.recv()
        await tunnel.close()
        await tunnel.close()
        with pytest.raises(TunnelClosed):
            await waiting
        with pytest.raises(TunnelClosed):
            tunnel.send_nowait(b"x")
        aborted = await udp_tunnel(origin(server), "127.0.0.1", service.port)
        assert aborted.get_extra_info("peername")[1] == server.port
        with pytest.raises(ZeroDivisionError):
            async with aborted:
                raise ZeroDivisionError
        await aborted.wait_closed()
        with pytest.raises(TunnelClosed, match="aborted"):
            await aborted.recv()
