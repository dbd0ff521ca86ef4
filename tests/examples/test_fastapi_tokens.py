"""A FastAPI application takes ``irc/6.9`` and ``tcp`` under GZip, CORS and session middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import fastapi_tokens
import pytest
from irc.client import join
from irc.protocol import Message

import switchover

pytestmark = pytest.mark.anyio

PAGE = [("Origin", "https://page.example"), ("Accept-Encoding", "gzip")]


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    async with switchover.Server(fastapi_tokens.app) as server:
        await server.start("127.0.0.1", 0)
        async with asyncio.timeout(20):
            yield f"http://127.0.0.1:{server.port}"


async def test_irc_with_the_client_of_the_tutorial() -> None:
    """The same hall by way of ASGI: two members talk."""
    async with (
        serving() as url,
        join(f"{url}/irc", "alice") as alice,
        join(f"{url}/irc", "bob") as bob,
    ):
        for each in (alice, bob):
            assert (await anext(each)).command == "001"
        await bob.send("PRIVMSG", "alice", "through four layers")
        assert await anext(alice) == Message("PRIVMSG", ("alice", "through four layers"), "bob")
        await alice.finish()
        assert [message async for message in alice] == []


async def test_tcp_every_octet_and_the_half_close() -> None:
    async with serving() as url:
        async with switchover.switch(f"{url}/count", offer=["tcp"], fields=PAGE) as switched:
            assert switched.protocol == "tcp"
            tunnel = switched.tunnel
            assert tunnel is not None
            assert await tunnel.read_until() == b"visit 1\n"
            await tunnel.send(bytes(range(256)) * 1000)
            await tunnel.send_eof()
            assert await tunnel.read_until() == b"256000 octets\n"
            assert await tunnel.read() == b""


async def test_the_middleware_sees_the_101() -> None:
    """CORS and the session put their fields into it; compression leaves octets alone."""
    async with serving() as url:
        async with switchover.switch(f"{url}/count", offer=["tcp"], fields=PAGE) as first:
            fields = first.response.fields
            assert first.status == 101
            assert fields.get("access-control-allow-origin") == "https://page.example"
            assert "content-encoding" not in fields
            assert "content-length" not in fields
            cookie = (fields.get("set-cookie") or "").partition(";")[0]
            assert cookie.startswith("session=")
        again = [*PAGE, ("Cookie", cookie)]
        async with switchover.switch(f"{url}/count", offer=["tcp"], fields=again) as second:
            assert second.tunnel is not None
            assert await second.tunnel.read_until() == b"visit 2\n"


@pytest.mark.parametrize(("path", "token"), [("/irc", "irc/6.9"), ("/count", "tcp")])
async def test_who_offers_nothing_that_fits_is_told_what_does(path: str, token: str) -> None:
    """UPG-S-15"""
    async with serving() as url, switchover.Client() as client:
        for offer in ([], ["quux/1"]):
            answer = await client.get(f"{url}{path}", offer=offer, fields=PAGE)
            assert answer.status == 426
            assert answer.fields.get("upgrade") == token
            assert "upgrade" in answer.fields.connection_options


async def test_several_tokens_offered_in_one_request() -> None:
    """UPG-S-06: any of them may be picked, wherever it stands in the list."""
    async with serving() as url:
        for path, token in (("/irc", "irc/6.9"), ("/count", "tcp")):
            offer = ["quux/1", token]
            async with switchover.switch(f"{url}{path}", offer=offer) as switched:
                assert switched.protocol == token


async def test_http_goes_on_beside_it_and_is_compressed() -> None:
    async with serving() as url, switchover.Client() as client:
        answer = await client.get(f"{url}/", fields=PAGE)
        assert answer.status == 200
        assert answer.fields.get("content-encoding") == "gzip"
        assert answer.fields.get("access-control-allow-origin") == "https://page.example"
        declined = await client.get(f"{url}/", offer=["tcp"], fields=PAGE)
        assert (declined.status, declined.protocol) == (200, None)
