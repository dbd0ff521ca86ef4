"""The client on real sockets, against servers of octets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.switch import switch
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.errors import (
    DeadlineExceeded,
    Disconnected,
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
    SwitchDeclined,
    UpgradeRequired,
)
from switchover.http.messages import Response
from switchover.upgrade.client import UpgradeReaction

pytestmark = pytest.mark.anyio

Application = Callable[[Exchange], Awaitable[None]]
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A server that follows a script: octets to send at each head, one script a connection."""

    def __init__(self, *scripts: list[bytes]) -> None:
        self.scripts = list(scripts)
        self.heads: list[bytes] = []
        self.rest: list[bytes] = []
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()
        self.connections = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for answer in script:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                self.asked.set()
                writer.write(answer)
            self.rest.append(await reader.read())
        writer.close()
        self.ended.set()


@asynccontextmanager
async def playing(*scripts: list[bytes]) -> AsyncIterator[Peer]:
    peer = Peer(*scripts)
    server = await asyncio.start_server(peer.handle, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield peer


# RFC 9110 §7.8: asking, and judging the answer.


async def test_offer_on_the_wire() -> None:
    """UPG-C-01, UPG-C-02: Upgrade in order of preference, and the connection option."""
    async with playing([OK]) as peer, Client() as client:
        response = await client.get(f"{peer.url}/a?b", offer=["p/2", "p/1"])
        assert (response.status, response.content, response.protocol) == (200, b"ok", None)
    assert peer.heads[0].startswith(b"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Upgrade: p/2, p/1\r\n" in peer.heads[0]
    assert b"Connection: Upgrade\r\n" in peer.heads[0]


@pytest.mark.parametrize("bad", ["a b", "a\r\nX: y", "", "a/"])
async def test_bad_token_is_not_sent(bad: str) -> None:
    """UPG-C-02: a local error, and nothing on the wire."""
    async with playing([OK]) as peer, Client() as client:
        with pytest.raises(LocalProtocolError):
            await client.get(peer.url, offer=[bad])
    assert not peer.connections


async def test_octets_behind_the_101_are_the_tunnels() -> None:
    """UPG-C-08: in the same read, a Content-Length of the 101 notwithstanding."""
    answer = SWITCHED[:-2] + b"Content-Length: 4\r\n\r\nfirst words"
    async with playing([answer]) as peer:
        async with switch(peer.url, offer=["p/1"]) as switched:
            assert switched.protocol == "p/1"
            assert switched.tunnel is not None
            assert await switched.tunnel.read() == b"first words"


async def test_interim_responses_before_the_101() -> None:
    """UPG-C-07, MSG-30: 103 and 100 ahead of 101 are told, and do not disturb."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    seen: list[int] = []
    async with playing([interim + SWITCHED]) as peer, Client() as client:
        answer = await client.get(
            peer.url, offer=["p/1"], on_interim=lambda response: seen.append(response.status)
        )
        assert answer.protocol == "p/1"
    assert seen == [103, 100]


@pytest.mark.parametrize(
    "answer",
    [
        SWITCHED.replace(b"Upgrade: p/1\r\n", b""),
        SWITCHED.replace(b"Connection: Upgrade", b"Connection: close"),
        SWITCHED.replace(b"p/1", b"q/1"),
        SWITCHED.replace(b"HTTP/1.1 101", b"HTTP/1.0 101"),
    ],
)
async def test_101_that_does_not_fit_the_offer(answer: bytes) -> None:
    """UPG-C-05, UPG-C-16: an error, and the connection is closed."""
    async with playing([answer]) as peer, Client() as client:
        with pytest.raises(RemoteProtocolError):
            await client.get(peer.url, offer=["p/1"])
        await asyncio.wait_for(peer.ended.wait(), 5)


async def test_101_nobody_asked_for() -> None:
    """UPG-C-06: neither skipped as interim nor taken; not pooled."""
    async with playing([SWITCHED + OK], [OK]) as peer, Client() as client:
        with pytest.raises(RemoteProtocolError):
            await client.get(peer.url)
        assert (await client.get(peer.url)).content == b"ok"
    assert peer.connections == 2


async def test_nothing_is_sent_before_the_101() -> None:
    """UPG-C-04: a server that withholds it sees the request and nothing more."""
    async with playing([b""]) as peer, Client(timeout=0.1) as client:
        with pytest.raises(DeadlineExceeded):
            await client.get(peer.url, offer=["p/1"])
        await asyncio.wait_for(peer.ended.wait(), 5)
    assert peer.rest == [b""]


async def test_content_is_sent_whole_before_the_protocol() -> None:
    """UPG-C-03: a 101 that came early waits for the end of the content."""
    early = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"one"
        await early.wait()
        yield b"two"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        await writer.drain()
        early.set()
        rest = await reader.readuntil(b"!")
        writer.write(rest)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, switch(url, offer=["p/1"], method="POST", content=content()) as switched:
        assert switched.tunnel is not None
        await switched.tunnel.send(b"protocol!")
        sent = await switched.tunnel.read_until(b"!")
    assert sent == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\nprotocol!"


# Declined, and required.


async def test_declined_answer_is_usable_and_the_connection_kept() -> None:
    """UPG-C-09: any other final status is HTTP."""
    async with playing([OK, OK]) as peer, Client() as client:
        await client.get(peer.url, offer=["p/1"])
        await client.get(peer.url)
    assert peer.connections == 1


async def test_switch_raises_only_when_told() -> None:
    """A decline is an answer; ``required`` makes it an error that carries the answer."""
    async with playing([OK]) as peer:
        async with switch(peer.url, offer=["p/1"]) as switched:
            assert switched.protocol is None
            assert switched.content == b"ok"
        with pytest.raises(SwitchDeclined) as declined:
            await switch(peer.url, offer=["p/1"], required=True)
    assert declined.value.response is not None
    assert declined.value.response.status == 200


REQUIRED = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n"
    b"Content-Length: 0\r\n\r\n"
)


async def test_reaction_to_426() -> None:
    """UPG-C-10: asked again with what the server lists, in a new request."""
    reaction = UpgradeReaction(acceptable=["p/1"])
    async with playing([REQUIRED, SWITCHED]) as peer, Client(reaction=reaction) as client:
        answer = await client.get(peer.url)
        assert answer.protocol == "p/1"
        assert [r.status for r in answer.history] == [426]
    assert b"Upgrade" not in peer.heads[0]
    assert b"Upgrade: p/1" in peer.heads[1]


async def test_reaction_to_426_does_not_go_round_in_circles() -> None:
    """UPG-C-10: repeated 426 is handed over after the retries."""
    reaction = UpgradeReaction(acceptable=["p/1"], max_retries=2)
    async with playing([REQUIRED] * 5) as peer, Client(reaction=reaction) as client:
        with pytest.raises(UpgradeRequired):
            (await client.get(peer.url)).raise_for_switch()
    assert len(peer.heads) <= 3


async def test_redirect_does_not_use_up_the_reaction_to_426() -> None:
    """UPG-C-10: retries are counted, not all that came before."""
    async with playing([REQUIRED, SWITCHED]) as elsewhere:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.url}/y\r\nContent-Length: 0\r\n\r\n"
        reaction = UpgradeReaction(acceptable=["p/1"], max_retries=1)
        async with (
            playing([moved.encode()]) as peer,
            Client(max_redirects=1, reaction=reaction) as client,
        ):
            answer = await client.get(peer.url)
            assert answer.protocol == "p/1"
            assert [response.status for response in answer.history] == [302, 426]


async def test_credentials_do_not_follow_a_redirect_elsewhere() -> None:
    """UPG-C-17: dropped across origins; a complete new request."""
    async with playing([OK]) as elsewhere:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.url}/y\r\nContent-Length: 0\r\n\r\n"
        async with playing([moved.encode()]) as peer, Client(max_redirects=1) as client:
            answer = await client.get(peer.url, fields={"Authorization": "x", "X-Keep": "y"})
            assert answer.status == 200
    assert b"Authorization" not in elsewhere.heads[0]
    assert b"X-Keep: y" in elsewhere.heads[0]


# The pool.


async def test_switched_connection_is_never_pooled(application: Application) -> None:
    """UPG-C-15: the next request has a connection of its own."""

    async def handler(tunnel: Tunnel) -> None:
        return

    async with Server(application, [token("p/1", handler)]) as server:
        await server.start()
        url = f"http://127.0.0.1:{server.port}/"
        async with Client() as client:
            switched = await client.get(url, offer=["p/1"])
            assert switched.tunnel is not None
            assert await switched.tunnel.read() == b""
            assert (await client.get(url)).status == 200


async def test_kept_connection_that_was_closed_meanwhile() -> None:
    """RFC 9112 §9.3.1: a request that is safe to repeat is sent again on a new connection."""
    async with playing([OK, b""], [OK]) as peer, Client() as client:
        await client.get(peer.url)

        connection = next(iter(client.pool._idle.values()))[0]
        connection.transport.abort()
        assert (await client.get(peer.url)).content == b"ok"
    assert peer.connections == 2


async def test_surplus_octets_are_no_answer() -> None:
    """MSG-33: what follows a complete response is not the answer to the next request."""
    async with playing([OK + SWITCHED], [OK]) as peer, Client() as client:
        assert (await client.get(peer.url)).content == b"ok"
        assert (await client.get(peer.url, offer=["p/1"])).protocol is None
    assert peer.connections == 2


async def test_content_in_pieces_and_back(application: Application) -> None:
    """Chunked both ways, larger than any buffer."""
    size = 3_000_000

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * (size // 30)

    async def application_back(exchange: Exchange) -> None:
        await exchange.send_response(Response(200))
        while piece := await exchange.receive_content():
            await exchange.send_content(piece)
        await exchange.send_end()

    async with Server(application_back) as server:
        await server.start()
        async with Client() as client:
            response = await client.stream(
                "POST", f"http://127.0.0.1:{server.port}/", content=pieces()
            )
            assert sum([len(piece) async for piece in response]) == size


async def test_answer_that_comes_before_the_content_is_sent() -> None:
    """A server that answers first and reads on gets the rest; one that refuses does not."""
    answered = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await answered.wait()
        yield b"two"

    for status, rest in ((200, b"3\r\ntwo\r\n0\r\n\r\n"), (413, b"")):
        answered.clear()
        got: list[bytes] = []
        done = asyncio.Event()

        async def handle(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            status: int = status,
            got: list[bytes] = got,
            done: asyncio.Event = done,
        ) -> None:
            await reader.readuntil(b"one\r\n")
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status)
            await writer.drain()
            got.append(await reader.read())
            writer.close()
            await writer.wait_closed()
            done.set()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server:
            async with Client() as client:
                response = await client.stream("POST", url, content=pieces())
                assert response.status == status
                answered.set()
                for _ in range(20):
                    await asyncio.sleep(0)
                assert await response.read() == b"ok"
            await asyncio.wait_for(done.wait(), 5)
        assert got == [rest]


async def test_limit_on_reading() -> None:
    """A response larger than the caller wants ends the connection, not the memory."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100000)
    async with playing([big]) as peer, Client() as client:
        response = await client.stream("GET", peer.url)
        with pytest.raises(LimitExceeded):
            await response.read(limit=1000)


async def test_expectation_is_not_waited_for_forever() -> None:
    """MSG-35: a server that says nothing gets the content after a while."""
    got: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        got.append(await reader.readexactly(5))
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, Client() as client:
        fields = {"Expect": "100-continue"}
        assert (await client.post(url, b"hello", fields=fields)).content == b"ok"
    assert got == [b"hello"]


async def test_lost_connection_is_told() -> None:
    """An answer cut short is an error, not a short answer."""
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(short)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, Client() as client:
        with pytest.raises((RemoteProtocolError, Disconnected)):
            await client.get(url)


async def test_cancelled_request_leaves_nothing_behind() -> None:
    """The connection is closed, and the client is good for another request."""
    async with playing([b""], [OK]) as peer, Client() as client:
        waiting = asyncio.ensure_future(client.get(peer.url))
        await asyncio.wait_for(peer.asked.wait(), 5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(peer.ended.wait(), 5)
        assert (await client.get(peer.url)).content == b"ok"


async def test_unix_socket(application: Application, tmp_path: Path) -> None:
    """A server on a Unix socket; the URL still names the host."""
    path = tmp_path / "s"
    async with Server(application) as server:
        await server.start(path=path)
        async with Client(route=Route(path=path)) as client:
            assert (await client.get("http://any.example/z")).content == b"GET /z "


async def test_server_that_is_not_there() -> None:
    """A refused connection is the operating system's error."""
    async with Client() as client:
        with pytest.raises(OSError):
            await client.get("http://127.0.0.1:1/")
