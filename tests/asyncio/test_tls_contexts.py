"""The TLS that HTTP is spoken over, whoever made the context (RFC 9113 §9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.client_pool import HTTP2
from switchover.asyncio.dialing import Route, default_context
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.tls import client_context, harden, server_context
from switchover.asyncio.tls_upgrade import default_upgrade_context, tls
from switchover.cli.certificate import make_certificate

pytestmark = pytest.mark.anyio

# RFC 9113, appendix A prohibits every suite of TLS 1.2 but those with an ephemeral key
# exchange and authenticated encryption.
GOOD = re.compile(
    r"TLS_.*|(ECDHE|DHE)-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305)"
)


def _made() -> dict[str, ssl.SSLContext | None]:
    return {
        "client": client_context(),
        "client of HTTP/2": client_context(alpn=("h2", "http/1.1")),
        "client by default": default_context(),
        "client that switches": default_upgrade_context(),
        "server": server_context(),
        "demonstration": make_certificate(),
    }


@pytest.mark.parametrize("name", _made())
def test_contexts_of_ours(name: str) -> None:
    """ALPN-05, ALPN-06, ALPN-07: 1.2 at least, good suites, nothing renegotiated or compressed."""
    context = _made()[name]
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    names = [cipher["name"] for cipher in context.get_ciphers()]
    assert names
    assert not [name for name in names if not GOOD.fullmatch(name)]
    assert not context.post_handshake_auth
    if "client" in name:
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


def test_hardening_keeps_the_rest() -> None:
    """ALPN-05: what was stricter before stays so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ciphers("ECDHE+AES")
    suites = context.get_ciphers()
    harden(context)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.get_ciphers() == suites


def _old(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, for TLS 1.0 and later, with the library's own objections put aside."""
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    return context


async def _shake_hands(port: int, context: ssl.SSLContext) -> str | None:
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    session: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return session.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_server_refuses_tls_1_1_whatever_its_context_allows(
    certificate: Path,
    client_context: ssl.SSLContext,
    application: Callable[[Exchange], Awaitable[None]],
) -> None:
    """ALPN-05, RFC 8996: the same client is let in with TLS 1.2."""
    context = _old(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(certificate)
    async with Server(application) as server:
        await server.start(ssl=context)
        old = _old(client_context)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await _shake_hands(server.port, old)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await _shake_hands(server.port, old) == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_token_tls_1_0_leads_to_no_tls_1_0(
    certificate: Path,
    client_context: ssl.SSLContext,
    raw: Any,
    inside_tls: Any,
    application: Callable[[Exchange], Awaitable[None]],
) -> None:
    """TLS-03, ALPN-05: the version of the token is a label; libshout offers TLS/1.0 only."""
    context = _old(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(certificate)
    async with Server(application, tls(context)) as server:
        await server.start()
        for newest, version in (
            (ssl.TLSVersion.TLSv1_1, None),
            (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ):
            async with raw(server) as connection:
                await connection.send(
                    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                    b"Upgrade: TLS/1.0, HTTP/1.1\r\n\r\n"
                )
                assert b"\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n" in await connection.head()
                old = _old(client_context)
                old.maximum_version = newest
                inside = inside_tls(old, connection)
                if version is None:
                    with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
                        await inside.handshake()
                else:
                    await inside.handshake()
                    assert inside.tls.version() == version


async def test_handshake_names_the_host(
    server_context: ssl.SSLContext,
    certificate: Path,
    application: Callable[[Exchange], Awaitable[None]],
) -> None:
    """ALPN-05, TLS-11: SNI, from the first octet and by the switch, over both versions of HTTP."""
    heard: list[str | None] = []
    server_context.sni_callback = lambda session, name, context: heard.append(name)
    context = client_context(certificate, alpn=("h2", "http/1.1"))
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    async with Server(application) as server:
        await server.start(ssl=server_context)
        for http2 in (HTTP2.NEVER, HTTP2.ALPN):
            async with Client(route=Route(ssl=context), http2=http2) as client:
                await client.get(f"https://localhost:{server.port}/")
    assert heard == ["localhost", "localhost"]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_renegotiation_is_refused(
    version: str,
    server_context: ssl.SSLContext,
    application: Callable[[Exchange], Awaitable[None]],
) -> None:
    """ALPN-05: OpenSSL's client asks for it with a line that is "R" (1.2), or cannot (1.3)."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    async with Server(application) as server:
        await server.start(ssl=server_context)
        process = await asyncio.create_subprocess_exec(
            openssl, "s_client", "-connect", f"127.0.0.1:{server.port}", version,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        async with asyncio.timeout(20):
            await process.stdout.readuntil(b"Verify return code")
            process.stdin.write(b"R\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            told = b""
            while (piece := await process.stdout.read(4096)) and b"RENEGOTIATING" not in told:
                told += piece
            told += piece
            process.stdin.close()
            told += await process.stdout.read()
            await process.wait()
    assert b"RENEGOTIATING" in told
    assert b"no renegotiation" in told or b"wrong ssl version" in told


async def test_no_early_data_is_taken(
    server_context: ssl.SSLContext,
    certificate: Path,
    tmp_path: Path,
    application: Callable[[Exchange], Awaitable[None]],
) -> None:
    """SEC-38: a session may be resumed, but its ticket allows no request in TLS early data."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    request = b"GET /early HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    (tmp_path / "early").write_bytes(request)
    async with Server(application) as server:
        await server.start(ssl=server_context)

        async def connect(*options: str) -> bytes:
            process = await asyncio.create_subprocess_exec(
                openssl, "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername",
                "localhost", "-CAfile", str(certificate), "-ign_eof", *options,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            async with asyncio.timeout(20):
                said, _ = await process.communicate(request)
            return said

        session = str(tmp_path / "session")
        first = await connect("-sess_out", session)
        assert b"GET /early" in first
        second = await connect("-sess_in", session, "-early_data", str(tmp_path / "early"))
    assert b"Reused, TLSv1.3" in second
    assert b"Max Early Data: 0" in first
    assert b"Early data was accepted" not in second


def test_server_cannot_ask_for_a_certificate_after_the_handshake(
    server_context: ssl.SSLContext, certificate: Path
) -> None:
    """ALPN-07: our client does not announce that it would answer, so it is not asked."""
    server_context.verify_mode = ssl.CERT_OPTIONAL
    server_context.load_verify_locations(certificate)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(certificate).wrap_bio(down, up, server_hostname="localhost")
    server = server_context.wrap_bio(up, down, server_side=True)
    ends = [client, server]
    for end in (*ends, *ends):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert client.version() == server.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match="EXTENSION_NOT_RECEIVED"):
        server.verify_client_post_handshake()
