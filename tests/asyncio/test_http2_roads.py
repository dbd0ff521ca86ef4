"""HTTP/2 by every road, both ends: h2c, prior knowledge, ALPN, and extended CONNECT."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.client_pool import HTTP2
from switchover.asyncio.connect import connect
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.http2_upgrade import h2c
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import HandshakeRejected, LocalProtocolError
from switchover.http.messages import Response
from switchover.http2.preface import PREFACE

pytestmark = pytest.mark.anyio

EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"


async def _describe(exchange: Exchange) -> None:
    content = b""
    while piece := await exchange.receive_content():
        content += piece
    request = exchange.request
    names = {name.lower() for name, _ in request.fields}
    leaked = sorted(names & {"connection", "upgrade", "http2-settings"})
    text = f"{request.version} {request.method} {request.target} {content.decode()} {leaked}"
    await exchange.send_response(Response.text(200, text), end=True)


async def _shout(tunnel: Tunnel) -> None:
    async for data in tunnel:
        await tunnel.send(data.upper())


async def _echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@pytest.fixture
async def server(anyio_backend: object) -> AsyncIterator[Server]:
    """A server that takes HTTP/2 by every cleartext road, and switches to tokens."""
    settings = ServerSettings(http2_prior_knowledge=True)
    upgrades = [
        h2c(),
        websocket(_echo, path="/echo", subprotocols=["v1"]),
        token("shout/1", _shout, path="/shout"),
    ]
    async with Server(_describe, upgrades, settings=settings) as server:
        await server.start()
        yield server


def _url(server: Server, path: str, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.port}{path}"


async def test_h2c_upgrade_and_further_requests(server: Server) -> None:
    """H2C-10, H2C-11, H2C-15, UPG-S-14: the answer on stream 1; then many at once."""
    async with Client() as client:
        first = await client.get(_url(server, "/a"), offer=["h2c"])
        assert first.protocol == "h2c"
        assert first.http_version == "2"
        # What brought us here is not part of the request in HTTP/2.
        assert first.content == b"2 GET /a  []"
        answers = await asyncio.gather(*(client.get(_url(server, f"/{n}")) for n in range(20)))
        assert [a.content for a in answers] == [f"2 GET /{n}  []".encode() for n in range(20)]
    assert len(server.connections) <= 1


async def test_h2c_with_content(server: Server) -> None:
    """H2C-09: the content is read as HTTP/1.1, and reaches stream 1's exchange."""
    async with Client() as client:
        answer = await client.post(_url(server, "/p"), b"hello", offer=["h2c"])
        assert answer.http_version == "2"
        assert answer.content == b"2 POST /p hello []"


async def test_h2c_at_a_resource_that_insists_on_another_protocol(server: Server) -> None:
    """SEC-02: any path switches to HTTP/2; there the resource insists again, and is not served."""
    async with Client() as client:
        answer = await client.get(_url(server, "/echo"), offer=["h2c"])
        assert (answer.protocol, answer.http_version, answer.status) == ("h2c", "2", 400)
        assert (await client.get(_url(server, "/x"))).content == b"2 GET /x  []"


async def test_h2c_off_is_an_ordinary_exchange(application: Any) -> None:
    """H2C-01: off unless listed; nothing is lost."""
    async with Server(application) as plain:
        await plain.start()
        async with Client() as client:
            answer = await client.post(_url(plain, "/p"), b"hello", offer=["h2c"])
            assert (answer.http_version, answer.content) == ("1.1", b"POST /p hello")


async def test_prior_knowledge(server: Server) -> None:
    """H2C-16, H2C-18: the first octets say so."""
    async with Client(http2=HTTP2.PRIOR_KNOWLEDGE) as client:
        answers = await asyncio.gather(*(client.get(_url(server, f"/{n}")) for n in range(5)))
        assert {answer.http_version for answer in answers} == {"2"}
        assert len(server.connections) == 1


async def test_preface_octet_by_octet(server: Server, raw: Any) -> None:
    """H2C-16: recognised on reads of one octet; SETTINGS come first."""
    async with raw(server) as connection:
        for octet in PREFACE + EMPTY_SETTINGS:
            await connection.send(bytes([octet]))
        head = await connection.reader.readexactly(9)
        assert head[3:5] == b"\4\0"


async def test_post_is_no_preface(server: Server, raw: Any) -> None:
    """H2C-16: what begins like the preface and goes on otherwise is HTTP/1.1."""
    async with raw(server) as connection:
        for octet in b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n":
            await connection.send(bytes([octet]))
        assert (await connection.head()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_preface_where_it_does_not_belong(
    application: Any, server: Server, raw: Any, first: bytes
) -> None:
    """H2C-17: with HTTP/2 off, or after a request, it is a bad request and the end."""
    async with Server(application) as plain:
        await plain.start()
        async with raw(server if first else plain) as connection:
            if first:
                await connection.send(first)
                head = await connection.head()
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await connection.reader.readexactly(length)
            await connection.send(PREFACE + EMPTY_SETTINGS)
            answer = await connection.rest()
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))
            assert answer.count(b"HTTP/1.1 ") == 1


async def test_alpn(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """ALPN-01, ALPN-02, ALPN-03: h2 if both say so, else HTTP/1.1."""
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    async with Server(_describe) as server:
        await server.start(ssl=server_context)
        url = f"https://localhost:{server.port}/x"
        for offered, version in ((["h2", "http/1.1"], "2"), (["http/1.1"], "1.1")):
            client_context.set_alpn_protocols(offered)
            async with Client(http2=HTTP2.ALPN, route=Route(ssl=client_context)) as client:
                assert (await client.get(url)).http_version == version


async def test_preface_without_alpn_is_not_http2(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """ALPN-03, ALPN-04: over TLS, prior knowledge is no road."""
    settings = ServerSettings(http2_prior_knowledge=True)
    async with Server(_describe, settings=settings) as server:
        await server.start(ssl=server_context)
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=client_context)
        writer.write(PREFACE + EMPTY_SETTINGS)
        assert (await reader.readline()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 505"))
        writer.transport.abort()


async def test_anything_but_the_preface_after_alpn_h2_is_an_error(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """ALPN-04: closed, and never answered in HTTP/1.1."""
    server_context.set_alpn_protocols(["h2"])
    client_context.set_alpn_protocols(["h2"])
    async with Server(_describe) as server:
        await server.start(ssl=server_context)
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=client_context)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(5):
            assert b"HTTP/1.1 200" not in await reader.read()
        writer.transport.abort()


# The same handlers over extended CONNECT.


async def test_token_over_both_versions(server: Server) -> None:
    """One registration, one handler: HTTP/1.1 Upgrade and extended CONNECT (RFC 8441)."""
    for http2 in (HTTP2.NEVER, HTTP2.PRIOR_KNOWLEDGE):
        async with Client(http2=http2) as client:
            switched = await client.get(_url(server, "/shout"), offer=["shout/1"])
            assert switched.protocol == "shout/1"
            assert switched.tunnel is not None
            await switched.tunnel.send(b"abc" * 50_000)
            await switched.tunnel.send_eof()
            data = b"".join([piece async for piece in switched.tunnel])
            assert data == b"ABC" * 50_000


async def test_websocket_over_http2(server: Server) -> None:
    """WS2-03, WS2-08, WS2-09: the same client call, on a connection that others share."""
    async with Client(http2=HTTP2.PRIOR_KNOWLEDGE) as client:
        assert (await client.get(_url(server, "/a"))).http_version == "2"
        url = _url(server, "/echo", "ws")
        async with connect(url, client=client, subprotocols=["v1"]) as ws:
            assert ws.subprotocol == "v1"
            for message in ("hello", b"x" * 300_000):
                await ws.send(message)
                assert await ws.recv() == message
            assert (await client.get(_url(server, "/b"))).http_version == "2"
        assert len(server.connections) <= 2


async def test_websocket_over_http2_refused(server: Server) -> None:
    """WS2-08: a refusal is a response on that stream; the others go on."""
    async with Client(http2=HTTP2.PRIOR_KNOWLEDGE) as client:
        with pytest.raises(HandshakeRejected) as refused:
            await connect(_url(server, "/nowhere", "ws"), client=client)
        assert refused.value.response is not None
        assert refused.value.response.status == 404
        assert (await client.get(_url(server, "/b"))).status == 200


async def test_unknown_protocol_is_501(server: Server) -> None:
    """WS2-12: an extended CONNECT for what nobody speaks."""
    async with Client(http2=HTTP2.PRIOR_KNOWLEDGE) as client:
        answer = await client.get(_url(server, "/shout"), offer=["nothing/1"])
        assert answer.status == 501


async def test_nothing_of_http_1_1_is_offered_in_http2(server: Server) -> None:
    """UPG-C-13: no Upgrade, no Connection; what only HTTP/1.1 can carry is a local error."""
    async with Client(http2=HTTP2.PRIOR_KNOWLEDGE) as client:
        with pytest.raises(LocalProtocolError):
            await client.get(_url(server, "/a"), offer=["TLS/1.2"])
        # What has been reached already need not be offered.
        assert (await client.get(_url(server, "/a"), offer=["h2c"])).http_version == "2"


async def test_extended_connect_needs_the_servers_word(application: Any) -> None:
    """WS2-02: a server that has nothing to switch to does not say that it takes it."""
    settings = ServerSettings(http2_prior_knowledge=True)
    async with Server(application, settings=settings) as plain:
        await plain.start()
        async with Client(http2=HTTP2.PRIOR_KNOWLEDGE) as client:
            with pytest.raises(LocalProtocolError):
                await connect(_url(plain, "/echo", "ws"), client=client)
