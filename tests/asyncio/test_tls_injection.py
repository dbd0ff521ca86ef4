"""What a man in the middle may try around the switch to TLS, over real sockets and both loops.

Two attacks have names: the injections of STARTTLS (CVE-2011-0411 and its kin), where cleartext
octets pass for octets that came under TLS, and the splice of CVE-2025-49812 ("Opossum"), where
an upgrade is put in front of a client's own TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.offers import TLSPolicy
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.tls_upgrade import TLSUpgrade, tls
from switchover.errors import LocalProtocolError, SwitchDeclined, TLSSwitchFailed
from switchover.http.messages import Response

pytestmark = pytest.mark.anyio

OFFER = b"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n\r\n"
OPTIONS = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n" + OFFER
EVIL_REQUEST = b"GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVIL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.2, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n"
)
SETTINGS = ServerSettings(timeouts=Timeouts(tls_handshake=2.0, shutdown=2.0))


async def _say_what(exchange: Exchange) -> None:
    text = f"{exchange.request.method} {exchange.request.target}"
    await exchange.send_response(Response.text(200, text), end=True)


async def _everything(connection: Any) -> bytes:
    """What the server sends until it ends the connection, be it rudely."""
    seen = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            while piece := await connection.reader.read(65536):
                seen += piece
    return seen


# Requests put in front of the client's handshake.


async def test_starttls_injection_into_the_server_at_every_split(
    server_context: ssl.SSLContext, raw: Any
) -> None:
    """SEC-11, TLS-05: however the octets are cut, a request behind the switch is not answered."""
    whole = OPTIONS + EVIL_REQUEST
    async with Server(_say_what, tls(server_context), settings=SETTINGS) as server:
        await server.start()
        for cut in range(1, len(whole)):
            async with raw(server) as connection:
                with contextlib.suppress(ConnectionError):
                    await connection.send(whole[:cut])
                    if cut == len(OPTIONS):
                        assert await connection.head() == SWITCHED
                    await connection.send(whole[cut:])
                seen = await _everything(connection)
            assert b"/evil" not in seen, cut
            assert b"HTTP/1.1 200" not in seen, cut
            if cut > len(OPTIONS):
                assert seen.startswith(b"HTTP/1.1 400 "), cut


async def test_starttls_injection_before_an_honest_handshake(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, raw: Any, inside_tls: Any
) -> None:
    """SEC-11: with the victim's handshake behind it, nothing is answered, in clear or inside."""
    async with Server(_say_what, tls(server_context), settings=SETTINGS) as server:
        await server.start()
        for length in (1, 4, 5, 11, len(EVIL_REQUEST)):
            async with raw(server) as connection:
                await connection.send(OPTIONS)
                await connection.head()
                await connection.send(EVIL_REQUEST[:length])
                inside = inside_tls(client_context, connection)
                with pytest.raises((EOFError, ssl.SSLError, ConnectionError)):
                    await inside.handshake_and_read()


async def test_failed_handshake_is_logged_with_its_reason(
    server_context: ssl.SSLContext, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """TLS-07: and the connection ends."""
    caplog.set_level(logging.INFO, "switchover.server")
    async with Server(_say_what, tls(server_context), settings=SETTINGS) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(OPTIONS)
            await connection.head()
            await connection.send(EVIL_REQUEST)
            assert b"HTTP" not in await _everything(connection)
    (failure,) = (r.message for r in caplog.records if "handshake after the 101" in r.message)
    assert "HTTP_REQUEST" in failure or "http request" in failure


# Answers put in front of the server's handshake.


@asynccontextmanager
async def _scripted(first: bytes, second: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that sends ``first`` behind a request, and ``second`` when more has come."""
    came: list[bytes] = []
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            came.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(first)
            if second[-len(EVIL_ANSWER) :] == second:  # the 101 is complete
                came.append(await reader.read(65536))
            writer.write(second)
            await writer.drain()
            came.append(await reader.read())
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came
        async with asyncio.timeout(5):
            await ended.wait()


async def test_starttls_injection_into_the_client_at_every_split(
    client_context: ssl.SSLContext,
) -> None:
    """SEC-12, TLS-05: an answer in cleartext behind the 101 is never the answer."""
    whole = SWITCHED + EVIL_ANSWER
    for cut in range(1, len(whole)):
        async with _scripted(whole[:cut], whole[cut:]) as (port, came):
            async with Client() as client:
                with pytest.raises(TLSSwitchFailed) as failure:
                    await client.get(
                        f"http://localhost:{port}/", offer=[TLSUpgrade(client_context)]
                    )
        if cut > len(SWITCHED):
            assert "cleartext behind" in str(failure.value)
            assert b"".join(came[1:]) == b"", "a ClientHello for whoever sent that"


async def test_no_way_back_to_cleartext_once_tls_is_required(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """SEC-13: a server that switched once is not believed when it declines later."""
    upgrades = tls(server_context)
    async with Server(_say_what, upgrades, settings=SETTINGS) as server:
        await server.start()
        policy = TLSPolicy(TLSUpgrade(client_context))
        async with Client(tls_upgrade=policy, fields={"Connection": "close"}) as client:
            url = f"http://localhost:{server.port}/x"
            assert (await client.get(url)).content == b"GET /x"
            server.registry = Server().registry  # from now on it declines
            with pytest.raises(SwitchDeclined):
                await client.post(url, b"secret")


# The splice of CVE-2025-49812.


@asynccontextmanager
async def _splicing(port: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A man in the middle: his upgrade on the cleartext ``port``, then the victim's own TLS."""
    answers: list[bytes] = []
    async with asyncio.TaskGroup() as tasks:

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(65536):
                    writer.write(data)
            except ConnectionError:
                pass
            finally:
                writer.transport.abort()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            his_reader, his_writer = await asyncio.open_connection("127.0.0.1", port)
            his_writer.write(b"GET /evil HTTP/1.1\r\nHost: localhost\r\n" + OFFER)
            answers.append(await his_reader.readuntil(b"\r\n\r\n"))
            tasks.create_task(pump(reader, his_writer))
            tasks.create_task(pump(his_reader, writer))

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1], answers


@asynccontextmanager
async def _victim(port: int, context: ssl.SSLContext) -> AsyncIterator[Callable[..., Any]]:
    """A client that speaks TLS from the first octet, and asks one thing after the other."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )

    async def ask(path: str) -> str:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return (await reader.readexactly(length)).decode()

    try:
        yield ask
    finally:
        writer.transport.abort()


async def test_splice_of_cve_2025_49812_works_where_its_danger_was_accepted(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-13, SEC-11: why the two are refused together: every answer is one request late.

    The victim checks the certificate, and it is the right one.
    """
    upgrades = tls(server_context, splice_of_cve_2025_49812_accepted=True)
    async with Server(_say_what, upgrades, settings=SETTINGS) as server:
        await server.start()
        await server.start(ssl=server_context)
        async with _victim(server.addresses[1][1], client_context) as ask:  # nobody in between
            assert await ask("/mine") == "GET /mine"
        async with _splicing(server.port) as (port, _), _victim(port, client_context) as ask:
            assert await ask("/mine") == "GET /evil"
            assert await ask("/next") == "GET /mine"


async def test_splice_of_cve_2025_49812_fails_by_default(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-13, SEC-11: one of the two can be had, and without the upgrade nothing is spliced."""
    async with Server(_say_what, tls(server_context), settings=SETTINGS) as server:
        await server.start()
        with pytest.raises(LocalProtocolError, match="CVE-2025-49812"):
            await server.start(ssl=server_context)
        assert len(server.addresses) == 1
    async with Server(_say_what, settings=SETTINGS) as server:
        await server.start()
        await server.start(ssl=server_context)
        async with _splicing(server.port) as (port, answers):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with _victim(port, client_context):
                    pass
            assert answers[0].startswith(b"HTTP/1.1 200 ")  # the offer was ignored, in clear
