"""``probe``: each verdict, from servers that answer what they are told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from switchover.asyncio.dialing import Route
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings
from switchover.diagnose.probe import Finding, probe
from switchover.errors import LocalProtocolError

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nConnection: close\r\n\r\nno!\n\n"


class Answers(asyncio.Protocol):
    """Gives each connection the next answer, the last one again and again; ``None`` is the end."""

    def __init__(self, left: list[bytes | None], connections: list[asyncio.Transport]) -> None:
        self.left = left
        self.connections = connections
        self.answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.connections.append(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.answered:
            return
        self.answered = True
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if answer is None:
            self.transport.close()
        else:
            self.transport.write(answer)


@asynccontextmanager
async def answering(*answers: bytes | None) -> AsyncIterator[str]:
    """A server that answers each connection's first octets."""
    left, connections = list(answers), list[asyncio.Transport]()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answers(left, connections), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        server.close()
        for connection in connections:
            connection.abort()
        await asyncio.sleep(0)


async def findings(url: str, *offers: str, seconds: float = 5.0) -> dict[str, Finding]:
    return {f.name: f async for f in probe(url, offers=offers, seconds=seconds)}


@pytest.mark.parametrize(
    ("answer", "verdict", "status", "kept", "detail"),
    [
        (OK, "declines", 200, True, ""),
        (
            OK.replace(b"\r\n\r\n", b"\r\nUpgrade: bar/1\r\n\r\n"),
            "declines",
            200,
            True,
            "lists bar/1",
        ),
        (BAD, "refuses", 400, False, "no!"),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: bar\r\nContent-Length: 0\r\n\r\n",
            "requires",
            426,
            True,
            "lists bar",
        ),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
            "requires",
            426,
            True,
            "426 without an Upgrade field",
        ),
    ],
    ids=["declines", "advertises", "refuses", "requires", "requires-nothing"],
)
async def test_answers_without_a_switch(
    answer: bytes, verdict: str, status: int, kept: bool, detail: str
) -> None:
    async with answering(answer) as url:
        found = (await findings(url, "foo/1"))["foo/1"]
    assert (found.verdict, found.status, found.protocol) == (verdict, status, None)
    assert (found.kept, found.detail) == (kept, detail)
    assert b"Upgrade: foo/1\r\n" in found.transcript.sent
    assert found.transcript.received == answer


async def test_a_switch_and_what_came_with_it() -> None:
    """UPG-C-05: the 101 is checked; the octets behind it are counted, not judged."""
    answer = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: foo/1\r\n\r\nhello"
    async with answering(answer) as url:
        found = await findings(url, "foo/1")
    switched = found["foo/1"]
    assert (switched.verdict, switched.status, switched.protocol) == ("switches", 101, "foo/1")
    assert (switched.kept, switched.detail) == (None, "5 octets came with the 101")
    # The same answer to every other offer names what was not offered.
    for name in ("no offer", "switchover-probe/1", "websocket", "h2c", "TLS/1.2"):
        assert found[name].verdict == "violates"
        assert found[name].detail


async def test_a_101_without_its_connection_option() -> None:
    """UPG-C-05: only TLS is taken without it, as cupsd sends it."""
    answer = b"HTTP/1.1 101 Switching\r\nUpgrade: %s\r\n\r\n"
    async with answering(answer % b"foo/1") as url:
        assert (await findings(url, "foo/1"))["foo/1"].verdict == "violates"
    async with answering(answer % b"TLS/1.2") as url:
        assert (await findings(url))["TLS/1.2"].verdict == "switches"


async def test_a_websocket_with_the_wrong_accept() -> None:
    """WS-H-14: the answer to the key is checked."""
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    async with answering(answer) as url:
        found = (await findings(url))["websocket"]
    assert found.verdict == "violates"
    assert "Sec-WebSocket-Accept" in found.detail


async def test_a_server_that_says_nothing() -> None:
    async with answering(b"") as url:
        found = await findings(url, seconds=0.1)
    assert {f.verdict for f in found.values()} == {"silent"}
    assert {f.status for f in found.values()} == {None}


async def test_a_server_that_leaves() -> None:
    async with answering(None) as url:
        found = await findings(url)
    assert found["h2c"].verdict in {"silent", "violates"}
    http2 = found["HTTP/2 prior knowledge"]
    assert (http2.verdict, http2.detail) == ("declines", "closes the connection")


# HTTP/2 from the first octet.


@pytest.mark.parametrize(
    ("answer", "verdict", "detail"),
    [
        (BAD, "declines", "answers HTTP/1.1 400 Bad Request"),
        (b"\0\0\4\xff\0\0\0\0\0what", "violates", None),
        (b"", "silent", "no answer came"),
    ],
)
async def test_prior_knowledge(answer: bytes, verdict: str, detail: str | None) -> None:
    async with answering(OK, OK, OK, OK, OK, answer) as url:
        found = (await findings(url, seconds=0.3))["HTTP/2 prior knowledge"]
    assert found.verdict == verdict
    assert found.detail == detail if detail is not None else found.detail
    assert found.transcript.sent.startswith(b"PRI * HTTP/2.0\r\n")


@pytest.mark.parametrize("on", [True, False])
async def test_prior_knowledge_of_our_server(on: bool) -> None:
    async with Server(settings=ServerSettings(http2_prior_knowledge=on)) as server:
        await server.start()
        url = f"http://127.0.0.1:{server.port}/"
        found = (await findings(url))["HTTP/2 prior knowledge"]
    if on:
        assert (found.verdict, found.status, found.protocol) == ("speaks", 404, "HTTP/2")
    else:
        assert (found.verdict, found.protocol) == ("declines", None)


@pytest.mark.parametrize(
    ("alpn", "verdict", "detail"),
    [
        (["h2", "http/1.1"], "speaks", "selects h2"),
        (["http/1.1"], "declines", "selects http/1.1"),
        ([], "declines", "selects nothing"),
    ],
)
async def test_alpn(certificate: Path, alpn: Sequence[str], verdict: str, detail: str) -> None:
    """ALPN-01: what TLS has selected is told, and h2 is tried only if it was."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if alpn:
        context.set_alpn_protocols(list(alpn))

    def contexts(offered: Sequence[str]) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(certificate))
        made.set_alpn_protocols(list(offered))
        return made

    async with Server() as server:
        await server.start(ssl=context)
        url = f"https://localhost:{server.port}/"
        found = {f.name: f async for f in probe(url, contexts=contexts)}
    assert (found["ALPN"].verdict, found["ALPN"].detail) == (verdict, detail)
    assert bool(found["ALPN"].transcript.sent) == (verdict == "speaks")
    assert found["no offer"].status == 404
    assert "TLS/1.2" not in found


# What cannot be asked.


async def test_nobody_there() -> None:
    with pytest.raises(ConnectionRefusedError):
        await findings("http://127.0.0.1:1/")


async def test_a_server_that_takes_no_connections_in_time() -> None:
    """SEC-20: connecting has a deadline, and the error says so."""

    async with answering(b"") as url:
        port = url.rpartition(":")[2].partition("/")[0]
        with pytest.raises(TimeoutError, match="no connection to 127"):
            await findings(f"https://127.0.0.1:{port}/", seconds=0.2)


@pytest.mark.parametrize("url", ["ftp://localhost/", "http://", "localhost"])
async def test_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(LocalProtocolError):
        await findings(url)


async def test_a_token_that_cannot_be() -> None:
    async with answering(OK) as url:
        with pytest.raises(LocalProtocolError):
            await findings(url, "not a token")


async def test_unix_socket(tmp_path: Path) -> None:
    async with Server() as server:
        await server.start(path=tmp_path / "socket")
        route = Route(path=tmp_path / "socket")
        found = [f async for f in probe("http://localhost/", route=route)]
    assert found[0].status == 404
