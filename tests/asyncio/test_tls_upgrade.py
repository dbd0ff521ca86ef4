"""Upgrading to TLS within HTTP/1.1 (RFC 2817), over real sockets on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.offers import TLSPolicy
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.tls_upgrade import TLSUpgrade, tls
from switchover.asyncio.upgrades import token
from switchover.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    SwitchDeclined,
    TLSSwitchFailed,
    UpgradeRequired,
)
from switchover.http.messages import Response
from switchover.upgrade.client import UpgradeReaction

pytestmark = pytest.mark.anyio

OFFER = b"Upgrade: TLS/1.2,TLS/1.1,TLS/1.0\r\nConnection: Upgrade\r\n\r\n"
OPTIONS = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n" + OFFER
GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n" + OFFER
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.2, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n"
)


async def _describe(exchange: Exchange) -> None:
    facts = exchange.facts
    version = facts.tls["version"] if facts.tls else "cleartext"
    text = f"{exchange.request.scheme} {exchange.request.target} {version} {'>'.join(facts.chain)}"
    await exchange.send_response(Response.text(200, text), end=True)


@pytest.fixture
async def server(anyio_backend: object, server_context: ssl.SSLContext) -> Any:
    """A server that switches to TLS, and insists on it for /secure."""
    settings = ServerSettings(timeouts=Timeouts(tls_handshake=2.0, shutdown=2.0))

    async def shout(tunnel: Any) -> None:
        async for data in tunnel:
            await tunnel.send(data.upper())

    upgrades = [tls(server_context, required=["/secure"]), token("shout/1", shout, path="/shout")]
    async with Server(_describe, upgrades, settings=settings) as server:
        await server.start()
        yield server


def _url(server: Server, path: str = "/x") -> str:
    return f"http://localhost:{server.port}{path}"


async def test_options_is_switched_and_answered_inside(
    server: Server, raw: Any, client_context: ssl.SSLContext, inside_tls: Any
) -> None:
    """TLS-03, TLS-05, TLS-06, RFC 2817 §3.3: 101 bottom-up, TLS, then the owed answer."""
    async with raw(server) as connection:
        await connection.send(OPTIONS)
        assert await connection.head() == SWITCHED
        inside = inside_tls(client_context, connection)
        await inside.handshake()
        answer = await inside.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 0" in answer
        await inside.send(b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"TLSv1.3 HTTP/1.1>TLS/1.2>HTTP/1.1" in await inside.read()


async def test_the_request_itself_is_answered_inside(
    server: Server, raw: Any, client_context: ssl.SSLContext, inside_tls: Any
) -> None:
    """TLS-06, UPG-S-14: the answer to the GET that asked comes first, unprompted."""
    async with raw(server) as connection:
        await connection.send(GET)
        await connection.expect(SWITCHED)
        inside = inside_tls(client_context, connection)
        await inside.handshake()
        answer = await inside.read()
        # TLS-14: the resource stays http; what protects it is told apart.
        assert b"http /x TLSv1.3" in answer


async def test_cleartext_behind_the_request_is_fatal_at_every_split(
    server: Server, raw: Any
) -> None:
    """SEC-11, RFC 2817 §3.3 (STARTTLS injection): nothing of it is ever answered."""
    evil = b"GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for cut in (0, 1, len(evil) // 2, len(evil)):
        async with raw(server) as connection:
            await connection.send(OPTIONS + evil[:cut])
            if cut < len(evil):
                await connection.head()
                await connection.send(evil[cut:])
            seen = await connection.rest()
            assert b"/evil" not in seen
            assert b"200" not in seen


async def test_injected_request_is_not_answered_inside_tls(
    server: Server, raw: Any, client_context: ssl.SSLContext, inside_tls: Any
) -> None:
    """SEC-11: a man in the middle puts a request in front of the client's own handshake."""
    async with raw(server) as connection:
        await connection.send(OPTIONS)
        await connection.head()
        await connection.send(b"GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n")
        inside = inside_tls(client_context, connection)
        with pytest.raises((EOFError, ssl.SSLError, ConnectionError)):
            await inside.handshake_and_read()


async def test_a_request_with_content_is_answered_in_clear(server: Server, raw: Any) -> None:
    """TLS-15, RFC 9931 §7.1: no 101, and the body is content, not a ClientHello."""
    async with raw(server) as connection:
        await connection.send(
            b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
            + OFFER
            + b"\x16\x03\x01\x00\x01"
        )
        assert b"HTTP/1.1 200 OK" in await connection.head()


async def test_http_1_0_is_never_switched(server: Server, raw: Any) -> None:
    """UPG-S-01: Upgrade does not exist in HTTP/1.0."""
    async with raw(server) as connection:
        await connection.send(b"GET /x HTTP/1.0\r\nHost: a\r\n" + OFFER)
        assert (await connection.rest()).startswith(b"HTTP/1.1 200 OK")


async def test_required_resource_answers_426(server: Server, raw: Any) -> None:
    """TLS-08, RFC 2817 §4.2: 426 names the stack, says so in words, keeps the connection."""
    async with raw(server) as connection:
        await connection.send(b"GET /secure HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 426 ")
        assert b"Upgrade: TLS/1.2, HTTP/1.1\r\n" in head
        assert b"Connection: Upgrade" in head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert b"TLS" in await connection.reader.readexactly(length)
        await connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.head()).startswith(b"HTTP/1.1 200 ")


async def test_garbage_instead_of_a_handshake_ends_the_connection(server: Server, raw: Any) -> None:
    """TLS-07: no HTTP after a failed handshake."""
    async with raw(server) as connection:
        await connection.send(OPTIONS)
        await connection.head()
        await connection.send(b"\x00" * 64)
        assert b"HTTP" not in await connection.rest()
    assert not server.connections


async def test_silence_instead_of_a_handshake_ends_at_the_deadline(
    server: Server, raw: Any
) -> None:
    """SEC-19: the deadline for the handshake holds after the 101 too."""
    async with raw(server) as connection:
        await connection.send(OPTIONS)
        await connection.head()
        assert await connection.rest() == b""


async def test_client_switches_and_reads_the_answer_inside(
    server: Server, client_context: ssl.SSLContext
) -> None:
    """TLS-04, TLS-05, TLS-11: offer, 101, verified handshake, and the answer to the offer."""
    async with Client() as client:
        response = await client.get(_url(server), offer=[TLSUpgrade(client_context)])
        assert response.protocol == "TLS/1.2"
        assert "http /x TLSv1.3 HTTP/1.1>TLS/1.2>HTTP/1.1" in await response.text()
        assert response.facts is not None
        assert response.facts.chain == ("HTTP/1.1", "TLS/1.2", "HTTP/1.1")


async def test_client_verifies_the_certificate(
    server: Server, client_context: ssl.SSLContext
) -> None:
    """TLS-11, RFC 2817 §8: a certificate for another name ends it, as does an unknown issuer."""
    wrong_name = TLSUpgrade(client_context, server_hostname="other.example")
    for upgrade in (wrong_name, TLSUpgrade()):
        async with Client() as client:
            with pytest.raises(TLSSwitchFailed, match="certificate verify failed"):
                await client.get(_url(server), offer=[upgrade])


async def test_mandatory_client_asks_with_options_first(
    server: Server, client_context: ssl.SSLContext
) -> None:
    """TLS-02: the real request goes out only inside; the connection is kept for the next."""
    policy = TLSPolicy(TLSUpgrade(client_context))
    async with Client(tls_upgrade=policy) as client:
        first = await client.post(_url(server), b"secret")
        second = await client.get(_url(server, "/secure"))
        assert "TLSv1.3" in await first.text()
        assert "TLSv1.3" in await second.text()
    assert len(server.connections) <= 1


class _Came(list[bytes]):
    """What a client sent: a head for each answer, then the octets behind the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.complete = asyncio.Event()


async def _serve_octets(answers: list[bytes]) -> tuple[asyncio.Server, _Came]:
    """A server that answers each head with the next of ``answers``, and keeps what came."""
    came = _Came()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in answers:
                came.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
            came.append(await reader.read())
            came.complete.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0), came


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


DECLINED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"


async def test_mandatory_client_fails_closed(client_context: ssl.SSLContext) -> None:
    """TLS-02, SEC-13: a hop that strips the offer gets no request and no content in clear."""
    server, came = await _serve_octets([DECLINED])
    async with server:
        policy = TLSPolicy(TLSUpgrade(client_context))
        async with Client(tls_upgrade=policy) as client:
            with pytest.raises(SwitchDeclined):
                await client.post(f"http://localhost:{_port(server)}/", b"secret")
    assert b"secret" not in b"".join(came)


async def test_opportunistic_client_goes_on_in_clear(client_context: ssl.SSLContext) -> None:
    """TLS-01: declined, the request is made in cleartext on the same connection."""
    server, came = await _serve_octets([DECLINED, DECLINED])
    async with server:
        policy = TLSPolicy(TLSUpgrade(client_context), required=False)
        async with Client(tls_upgrade=policy) as client:
            response = await client.get(f"http://localhost:{_port(server)}/x")
            assert await response.text() == "no"
            assert response.protocol is None
    assert came[0].startswith(b"OPTIONS * ")
    assert came[1].startswith(b"GET /x ")


async def test_cleartext_behind_the_101_is_never_an_answer(client_context: ssl.SSLContext) -> None:
    """SEC-12: injected behind the 101, it fails the switch."""
    server, _ = await _serve_octets([SWITCHED + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
    async with server:
        async with Client() as client:
            with pytest.raises(TLSSwitchFailed, match="cleartext behind"):
                await client.get(
                    f"http://localhost:{_port(server)}/", offer=[TLSUpgrade(client_context)]
                )


async def test_101_of_another_stack_is_refused(client_context: ssl.SSLContext) -> None:
    """TLS-04: only HTTP/1.1 may stand above TLS."""
    wrong = SWITCHED.replace(b"HTTP/1.1\r\nConn", b"h2c\r\nConn")
    server, _ = await _serve_octets([wrong])
    async with server:
        async with Client() as client:
            with pytest.raises(RemoteProtocolError):
                await client.get(
                    f"http://localhost:{_port(server)}/", offer=[TLSUpgrade(client_context)]
                )


async def test_101_of_cupsd_is_taken_for_tls(
    server: Server, client_context: ssl.SSLContext
) -> None:
    """TLS-04 with the documented tolerance: no upgrade option, all versions listed."""
    upgrade = TLSUpgrade(client_context, tokens=["TLS/1.2", "TLS/1.1", "TLS/1.0"])
    cupsd = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n"
        b"Upgrade: TLS/1.2,TLS/1.1,TLS/1.0\r\n\r\n"
    )
    quiet, came = await _serve_octets([cupsd])
    async with quiet:
        async with Client(timeout=0.5) as client:
            with pytest.raises((TLSSwitchFailed, TimeoutError)):
                await client.get(f"http://localhost:{_port(quiet)}/", offer=[upgrade])
    async with asyncio.timeout(5):
        await came.complete.wait()
    assert came[-1].startswith(b"\x16\x03\x01")  # a ClientHello followed the 101


async def test_client_reacts_to_426(server: Server, client_context: ssl.SSLContext) -> None:
    """TLS-09, UPG-C-10: asked again, with an offer, in a new request."""
    reaction = UpgradeReaction(acceptable=["TLS/1.2"])
    async with Client() as client:
        with pytest.raises(UpgradeRequired):
            (await client.get(_url(server, "/secure"))).raise_for_switch()
    async with Client(reaction=reaction) as client:
        with pytest.raises(TLSSwitchFailed):  # by default the certificate must be known
            await client.get(_url(server, "/secure"))


async def test_upgrade_beside_tls_from_the_first_octet_is_refused(
    server: Server, server_context: ssl.SSLContext
) -> None:
    """CVE-2025-49812: the pair needs an option that is named for its danger."""
    with pytest.raises(LocalProtocolError, match="CVE-2025-49812"):
        await server.start(ssl=server_context)
    risky = Server(upgrades=[tls(server_context, splice_of_cve_2025_49812_accepted=True)])
    async with risky:
        await risky.start(ssl=server_context)


async def test_token_is_ignored_under_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS-13: TLS inside TLS is not offered again."""
    upgrades = [tls(server_context, splice_of_cve_2025_49812_accepted=True)]
    async with Server(_describe, upgrades) as server:
        await server.start(ssl=server_context)
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=client_context)
        writer.write(GET)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()


async def test_a_switch_inside_the_switch(server: Server, client_context: ssl.SSLContext) -> None:
    """The chain goes on: HTTP/1.1, TLS, HTTP/1.1, and another token inside."""
    policy = TLSPolicy(TLSUpgrade(client_context))
    async with Client(tls_upgrade=policy) as client:
        switched = await client.get(_url(server, "/shout"), offer=["shout/1"])
        assert switched.tunnel is not None
        await switched.tunnel.send(b"within tls")
        assert await switched.tunnel.read() == b"WITHIN TLS"
        assert switched.tunnel.facts.chain == ("HTTP/1.1", "TLS/1.2", "HTTP/1.1", "shout/1")


async def test_inside_tls_no_h2_is_negotiated(
    server: Server, raw: Any, client_context: ssl.SSLContext, inside_tls: Any
) -> None:
    """TLS-12: the 101 said HTTP/1.1; ALPN must not say otherwise."""
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    async with raw(server) as connection:
        await connection.send(OPTIONS)
        await connection.head()
        inside = inside_tls(client_context, connection)
        await inside.handshake()
        assert inside.tls.selected_alpn_protocol() == "http/1.1"


async def test_a_resource_that_insists_does_so_inside_too(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """UPG-S-15: TLS first, and inside the same resource still wants its own protocol."""

    async def echo(tunnel: Any) -> None:
        async for data in tunnel:
            await tunnel.send(data)

    upgrades = [token("p/1", echo, path="/p", required=True), tls(server_context)]
    async with Server(_describe, upgrades) as server:
        await server.start()
        async with Client() as client:
            answer = await client.get(_url(server, "/p"), offer=[TLSUpgrade(client_context)])
            assert answer.protocol == "TLS/1.2"
            assert answer.status == 426
