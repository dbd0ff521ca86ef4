"""Inside the TLS that a connection was switched to: who is asked, what is told, what may follow."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import switchover
from switchover.asgi.server import Server as ASGIServer
from switchover.asyncio.client import Client
from switchover.asyncio.connect_handler import ConnectHandler
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.offers import TLSPolicy
from switchover.asyncio.proxies import Proxy
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.tls_upgrade import TLSUpgrade, tls
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.errors import (
    Disconnected,
    RemoteProtocolError,
    TLSSwitchFailed,
    UpgradeRequired,
)
from switchover.http.messages import Response
from switchover.tunnel.policy import DestinationPolicy
from switchover.upgrade.client import UpgradeReaction

pytestmark = pytest.mark.anyio

LOOPBACK = DestinationPolicy(ports=None, networks=["127.0.0.0/8", "::1/128"])
OFFER = b"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n\r\n"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.2, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n"
)
SETTINGS = ServerSettings(timeouts=Timeouts(tls_handshake=2.0, shutdown=2.0, idle=0.3))


async def _describe(exchange: Exchange) -> None:
    while await exchange.receive_content():
        pass
    version = exchange.facts.tls["version"] if exchange.facts.tls else "cleartext"
    text = f"{exchange.request.scheme} {exchange.request.target} {version}"
    await exchange.send_response(Response.text(200, text), end=True)


async def _echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@asynccontextmanager
async def _serving(context: ssl.SSLContext, **options: Any) -> AsyncIterator[Server]:
    upgrades = [tls(context, required=["/secure"]), websocket(_echo, path="/echo")]
    async with Server(_describe, upgrades, settings=SETTINGS, **options) as server:
        await server.start()
        yield server


def _url(server: Any, path: str = "/x") -> str:
    return f"http://localhost:{server.port}{path}"


# Who is asked.


@asynccontextmanager
async def _named(
    server: Server, raw: Any, inside_tls: Any, context: ssl.SSLContext, name: str, host: bytes
) -> AsyncIterator[Any]:
    """A connection switched with ``host`` in Host and ``name`` in SNI."""
    context.check_hostname = False
    async with raw(server) as connection:
        await connection.send(b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n" + OFFER)
        await connection.expect(SWITCHED)
        inside = inside_tls(context, connection, name)
        await inside.handshake()
        yield inside


async def test_owed_answer_for_another_host_is_421(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, raw: Any, inside_tls: Any
) -> None:
    """TLS-11: the certificate was asked for another name than the request's."""
    async with (
        _serving(server_context) as server,
        _named(server, raw, inside_tls, client_context, "localhost", b"other.example") as inside,
    ):
        assert (await inside.read()).startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
        # The connection is good for what it was made for, by the rules of any other.
        await inside.send(b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await inside.read()).startswith(b"HTTP/1.1 426 ")
        await inside.send(b"GET /mine HTTP/1.1\r\nHost: LOCALHOST:1\r\n\r\n")
        assert b"http /mine TLSv1.3" in await inside.read()


async def test_later_request_for_another_host_is_421(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, raw: Any, inside_tls: Any
) -> None:
    """TLS-11: in the absolute form too; content is read past; afterwards the limits hold."""
    other = (
        b"POST /y HTTP/1.1\r\nHost: other.example\r\nContent-Length: 5\r\n\r\nhello",
        b"GET http://other.example/y HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    async with (
        _serving(server_context) as server,
        _named(server, raw, inside_tls, client_context, "localhost", b"localhost") as inside,
    ):
        assert b"/x" in await inside.read()
        for request in other:
            await inside.send(request)
            answer = await inside.read()
            assert answer.startswith(b"HTTP/1.1 421 "), request
            assert b"/y" not in answer
        with contextlib.suppress(EOFError):
            assert await inside.read() == b""  # idle for too long


async def test_without_a_name_in_the_handshake_any_host_is_served(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, raw: Any, inside_tls: Any
) -> None:
    """TLS-11: clients that reach a server by its address send no SNI."""
    async with (
        _serving(server_context) as server,
        _named(server, raw, inside_tls, client_context, "", b"whatever.example") as inside,
    ):
        assert b"http /x TLSv1.3" in await inside.read()


async def test_callback_of_the_context_is_still_called(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-11: a server may pick its certificate by name; ours listens, and passes on."""
    heard: list[str | None] = []

    def choose(session: Any, name: str | None, context: ssl.SSLContext) -> None:
        heard.append(name)

    server_context.sni_callback = choose
    async with _serving(server_context) as server, Client() as client:
        await client.get(_url(server), offer=[TLSUpgrade(client_context)])
    assert heard == ["localhost"]  # the name that is in Host


# What is told.


async def test_scheme_says_how_the_resource_is_named_and_tls_what_protects_it(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-14: http stays http inside TLS by a switch; https is TLS from the first octet."""
    async with _serving(server_context) as server:
        async with Client(tls_upgrade=TLSPolicy(TLSUpgrade(client_context))) as client:
            assert (await client.get(_url(server))).content == b"http /x TLSv1.3"
        async with Client() as client:
            assert (await client.get(_url(server))).content == b"http /x cleartext"
    async with Server(_describe, settings=SETTINGS) as server:
        await server.start(ssl=server_context)
        async with Client(route=Route(ssl=client_context)) as client:
            answer = await client.get(f"https://localhost:{server.port}/x")
            assert answer.content == b"https /x TLSv1.3"


async def test_asgi_application_sees_the_tls_extension_after_the_switch(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-14: ``scheme`` is http, and the ``tls`` extension is there."""
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    policy = TLSPolicy(TLSUpgrade(client_context))
    server = ASGIServer(app, tls(server_context), lifespan="off", settings=SETTINGS)
    async with server:
        await server.start()
        async with Client() as client:
            await client.get(_url(server))
        async with Client(tls_upgrade=policy) as client:
            await client.get(_url(server))
    plain, protected = scopes
    assert (plain["scheme"], protected["scheme"]) == ("http", "http")
    assert "tls" not in plain["extensions"]
    assert protected["extensions"]["tls"]["tls_version"] == 0x0304


async def test_tls_is_advertised_in_cleartext_only(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-10, RFC 2817 §4.1: in answers to requests that did not ask; not inside."""
    async with _serving(server_context, advertise=["TLS/1.2", "HTTP/1.1"]) as server:
        async with Client() as client:
            answer = await client.get(_url(server))
            assert answer.fields["Upgrade"] == "TLS/1.2, HTTP/1.1"
            assert answer.fields["Connection"] == "Upgrade"
        async with Client(tls_upgrade=TLSPolicy(TLSUpgrade(client_context))) as client:
            assert "upgrade" not in (await client.get(_url(server))).fields


async def test_refused_in_cleartext_a_connection_still_idles_out(
    server_context: ssl.SSLContext, raw: Any
) -> None:
    """SEC-23, TLS-08: behind a 426, too, silence has its limit."""
    async with _serving(server_context) as server, raw(server) as connection:
        await connection.send(b"GET /secure HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 426 ")


# What the client makes of it.


async def test_client_follows_a_426_into_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-09, UPG-C-10: a new request with the offer; the route says what to trust."""
    reaction = UpgradeReaction(acceptable=["TLS/1.2"])
    route = Route(ssl=client_context)
    async with _serving(server_context) as server:
        async with Client(route=route, reaction=reaction) as client:
            answer = await client.get(_url(server, "/secure"))
            assert answer.content == b"http /secure TLSv1.3"
            assert [before.status for before in answer.history] == [426]
            # What it has learnt holds for this one request: the next asks again.
            assert (await client.get(_url(server))).content == b"http /x cleartext"
        async with Client(route=route) as client:
            with pytest.raises(UpgradeRequired):
                (await client.get(_url(server, "/secure"))).raise_for_switch()


async def test_offer_made_as_text_trusts_what_the_route_trusts(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-11: and nothing else."""
    async with _serving(server_context) as server:
        url = _url(server)
        async with switchover.switch(
            url, offer=["TLS/1.2"], route=Route(ssl=client_context)
        ) as done:
            assert done.protocol == "TLS/1.2"
        with pytest.raises(TLSSwitchFailed, match="certificate verify failed"):
            await switchover.switch(url, offer=["TLS/1.2"])


async def test_websocket_inside_the_switch(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """UPG-S-14: the connection goes on as HTTP/1.1 and may switch again."""
    async with _serving(server_context) as server:
        async with Client(tls_upgrade=TLSPolicy(TLSUpgrade(client_context))) as client:
            answer = await client.get(_url(server, "/echo"))
            assert answer.status == 426  # inside TLS the WebSocket's path still insists
            answer = await client.get(
                _url(server, "/echo"),
                fields={
                    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                    "Sec-WebSocket-Version": "13",
                },
                offer=["websocket"],
            )
            tunnel = answer.tunnel
            assert tunnel is not None
            assert tunnel.facts.chain == ("HTTP/1.1", "TLS/1.2", "HTTP/1.1", "websocket")
            await tunnel.send(b"\x81\x82\0\0\0\0hi")
            assert await tunnel.read_exactly(4) == b"\x81\x02hi"


async def test_alpn_that_contradicts_the_101_ends_it(
    certificate: Any, client_context: ssl.SSLContext
) -> None:
    """TLS-12: the 101 said HTTP/1.1, the handshake says h2."""
    liar = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    liar.load_cert_chain(certificate)
    liar.set_alpn_protocols(["h2"])
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        with contextlib.suppress(OSError):
            await writer.start_tls(liar)
            await reader.read()
        writer.transport.abort()
        ended.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with Client() as client:
            with pytest.raises(TLSSwitchFailed, match="ALPN selected h2"):
                await client.get(f"http://localhost:{port}/", offer=[TLSUpgrade(client_context)])
        async with asyncio.timeout(5):
            await ended.wait()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_server_that_leaves_right_after_the_handshake(
    certificate: Any, client_context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """TLS-06: the owed answer does not come; the client says so, and can be closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.maximum_version = version
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        await writer.start_tls(context)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        url = f"http://localhost:{server.sockets[0].getsockname()[1]}/"
        async with asyncio.timeout(5):
            async with Client() as client:
                with pytest.raises((Disconnected, RemoteProtocolError)):
                    await client.get(url, offer=[TLSUpgrade(client_context)])
            await ended.wait()


async def test_client_that_leaves_right_after_the_handshake(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, raw: Any, inside_tls: Any
) -> None:
    """TLS-06, SEC-41: nobody is left to answer; the server keeps nothing of it."""
    # What it kept would have to be waited for: two seconds, as the settings say.
    async with asyncio.timeout(1.5), _serving(server_context) as server:
        for rude in (False, True) * 5:
            async with raw(server) as connection:
                await connection.send(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n" + OFFER)
                await connection.expect(SWITCHED)
                inside = inside_tls(client_context, connection)
                await inside.handshake()
                if not rude:
                    connection.writer.close()


async def test_connect_goes_first_where_a_proxy_stands_between(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """RFC 2817 §5.1, UPG-C-14: Upgrade is for the next hop, so the tunnel is made first.

    TLS-02: what the proxy sees is CONNECT, and then nothing but the switch and TLS.
    """
    seen = bytearray()
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Any) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                note(data)
                writer.write(data)
        writer.transport.abort()

    async with (
        _serving(server_context) as server,
        Server(connect=ConnectHandler(LOOPBACK)) as proxy,
    ):
        await proxy.start()
        site = server.port

        async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            on_reader, on_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            tasks.add(asyncio.ensure_future(pump(reader, on_writer, seen.extend)))
            tasks.add(asyncio.ensure_future(pump(on_reader, writer, len)))

        listener = await asyncio.start_server(tap, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            route = Route(proxy=Proxy(f"http://127.0.0.1:{port}"))
            policy = TLSPolicy(TLSUpgrade(client_context))
            async with Client(route=route, tls_upgrade=policy) as client:
                answer = await client.post(_url(server), b"secret")
                assert answer.content == b"http /x TLSv1.3"
            await asyncio.wait(tasks, timeout=5)
    first, _, rest = bytes(seen).partition(b"\r\n\r\n")
    assert first.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % site)
    assert b"Upgrade" not in first
    second, _, protected = rest.partition(b"\r\n\r\n")
    assert second.startswith(b"OPTIONS * HTTP/1.1\r\n")
    assert protected.startswith(b"\x16\x03\x01")
    assert b"secret" not in protected
