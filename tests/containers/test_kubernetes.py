"""Commands in pods, our client and our server, over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.connect import connect
from switchover.asyncio.server import Server
from switchover.asyncio.websocket import WebSocket
from switchover.asyncio.websocket_upgrade import websocket
from switchover.containers import Output, PodStreams, Resize, Stream, exec_in_pod, pod_exec
from switchover.containers.channels import V4, V5
from switchover.errors import (
    ConnectionClosedError,
    HandshakeRejected,
    LocalProtocolError,
    RemoteProtocolError,
)
from switchover.http.messages import Request, Response

pytestmark = pytest.mark.anyio

PodHandler = Callable[[PodStreams], Awaitable[int]]
POD = "/api/v1/namespaces/default/pods/web-1/exec"


@asynccontextmanager
async def serving(handler: PodHandler, **options: object) -> AsyncIterator[str]:
    """The URL of a server that runs ``handler`` for commands in pods."""
    async with Server(None, [pod_exec(handler, **options)]) as server:  # type: ignore[arg-type]
        await server.start()
        async with asyncio.timeout(20):
            yield f"http://127.0.0.1:{server.port}"


async def cat(streams: PodStreams) -> int:
    """Send back what comes, and at its end how much it was on standard error."""
    size = 0
    while came := await streams.read():
        assert isinstance(came, bytes)
        size += len(came)
        await streams.send(Output(Stream.STDOUT, came))
    if came is None:
        return 1
    await streams.send(Output(Stream.STDERR, str(size).encode()))
    return 0


async def test_every_octet_and_the_end_of_input() -> None:
    """v5 ends standard input alone: output goes on."""
    data = os.urandom(300_000)
    async with serving(cat) as url:
        async with await exec_in_pod(url, "web-1", ["cat"], stdin=True) as command:
            assert command.ws.subprotocol == V5
            sender = asyncio.create_task(_send(command.send, command.send_eof, data))
            said: dict[Stream, bytes] = {Stream.STDOUT: b"", Stream.STDERR: b""}
            async for output in command:
                said[output.stream] += output.data
            await sender
            assert said == {Stream.STDOUT: data, Stream.STDERR: b"300000"}
            assert command.status is not None
            assert command.status.exit_code == 0


async def _send(
    send: Callable[[bytes], Awaitable[None]], end: Callable[[], Awaitable[None]], data: bytes
) -> None:
    await send(data)
    await end()


async def test_what_is_wanted_reaches_the_handler() -> None:
    seen: list[PodStreams] = []

    async def handler(streams: PodStreams) -> int:
        seen.append(streams)
        return 7

    async with serving(handler) as url:
        async with await exec_in_pod(
            url, "web-1", ["sh", "-c", "a b&c=d +%", ""], namespace="team", container="main"
        ) as command:
            assert await command.read() is None
            assert command.status is not None
            assert command.status.exit_code == 7
    streams = seen[0]
    assert streams.command == ["sh", "-c", "a b&c=d +%", ""]
    assert (streams.namespace, streams.pod, streams.container) == ("team", "web-1", "main")
    assert (streams.stdin, streams.stdout, streams.stderr, streams.tty) == (
        False, True, True, False,
    )  # fmt: skip


async def test_a_terminal_and_its_size() -> None:
    async def handler(streams: PodStreams) -> int:
        assert streams.tty
        size = await streams.read()
        assert isinstance(size, Resize)
        await streams.send(Output(Stream.STDOUT, f"{size.columns}x{size.rows}".encode()))
        return 0

    async with serving(handler) as url:
        async with await exec_in_pod(url, "web-1", ["sh"], stdin=True, tty=True) as command:
            await command.resize(100, 30)
            assert await command.read() == Output(Stream.STDOUT, b"100x30")


async def test_a_server_of_v4_is_fallen_back_to() -> None:
    """WS-H-24: both are offered, and the server picks; standard input has no end of its own."""
    async with serving(cat, subprotocols=[V4]) as url:
        async with await exec_in_pod(url, "web-1", ["cat"], stdin=True) as command:
            assert command.ws.subprotocol == V4
            await command.send(b"hello")
            assert await command.read() == Output(Stream.STDOUT, b"hello")
            with pytest.raises(LocalProtocolError, match="cannot end"):
                await command.send_eof()


async def test_a_client_of_v4_is_served() -> None:
    """WS-H-24: what many clients in other languages still offer."""
    async with serving(cat) as url:
        async with await exec_in_pod(
            url, "web-1", ["cat"], stdin=True, subprotocols=[V4]
        ) as command:
            assert command.ws.subprotocol == V4
            await command.send(b"hello")
            assert await command.read() == Output(Stream.STDOUT, b"hello")


async def test_a_client_without_a_known_subprotocol_is_refused_before_the_switch() -> None:
    """UPG-S-21"""
    async with serving(cat) as url:
        for offered in ([], ["v6.channel.k8s.io"]):
            with pytest.raises(HandshakeRejected) as caught:
                await connect(url + POD, subprotocols=offered)
            assert caught.value.response is not None
            assert caught.value.response.status == 400
            assert V5 in json.loads(caught.value.response.content)["message"]


async def test_a_server_without_a_known_subprotocol_is_not_trusted() -> None:
    async def silent(ws: WebSocket) -> None:
        await ws.recv()

    async with Server(None, [websocket(silent)]) as server:
        await server.start()
        with pytest.raises(RemoteProtocolError, match="speaks none"):
            await exec_in_pod(f"http://127.0.0.1:{server.port}", "web-1", ["ls"])


async def test_the_servers_own_origin_may_connect_and_no_other() -> None:
    """WS-H-26: Kubernetes' Python client sends the server's URL as its Origin."""
    async with serving(cat) as url:
        async with await exec_in_pod(url, "web-1", ["cat"], stdin=True, origin=url) as command:
            await command.send(b"x")
            assert await command.read() == Output(Stream.STDOUT, b"x")
        with pytest.raises(HandshakeRejected) as caught:
            await exec_in_pod(url, "web-1", ["cat"], origin="https://elsewhere.example")
        assert caught.value.response is not None
        assert caught.value.response.status == 403


async def test_a_refusal_is_an_ordinary_response() -> None:
    """UPG-S-21: authentication comes before the switch."""

    def accept(request: Request) -> Response | None:
        if request.fields.get("authorization") == "Bearer good":
            return None
        return Response.text(401, "who are you?\n")

    async with serving(cat, accept=accept) as url:
        with pytest.raises(HandshakeRejected) as caught:
            await exec_in_pod(url, "web-1", ["cat"])
        assert caught.value.response is not None
        assert caught.value.response.status == 401
        fields = {"Authorization": "Bearer good"}
        async with await exec_in_pod(url, "web-1", ["cat"], stdin=True, fields=fields) as command:
            await command.send(b"x")
            assert await command.read() == Output(Stream.STDOUT, b"x")


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_spdy_is_answered_with_the_protocol_that_is_spoken(method: str) -> None:
    """UPG-S-15: 426, with Upgrade, in the form whose words kubectl shows."""
    async with serving(cat) as url, Client() as client:
        answer = await client.request(
            method,
            f"{url}{POD}?command=ls",
            offer=["SPDY/3.1"],
            fields=[("X-Stream-Protocol-Version", "v5.channel.k8s.io")],
        )
        assert answer.status == 426
        assert answer.protocol is None
        assert answer.fields.get("upgrade") == "websocket"
        assert "upgrade" in answer.fields.connection_options
        status = await answer.json()
        assert status["kind"] == "Status"
        assert "SPDY/3.1 is not spoken here" in status["message"]


async def test_without_any_offer_the_answer_is_that_of_a_websocket() -> None:
    async with serving(cat) as url, Client() as client:
        assert (await client.get(url + POD)).status == 426
        assert (await client.post(url + POD)).status == 405


async def test_a_handler_that_fails_says_nothing_of_why(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(streams: PodStreams) -> int:
        raise RuntimeError("the password is swordfish")

    async with serving(handler) as url:
        async with await exec_in_pod(url, "web-1", ["ls"]) as command:
            assert await command.read() is None
            assert command.status is not None
            assert command.status.exit_code is None
            assert command.status.message == "internal error"
    assert "swordfish" in caplog.text


async def test_a_client_that_goes_away_is_seen() -> None:
    gone = asyncio.Event()

    async def handler(streams: PodStreams) -> int:
        assert await streams.read() is None
        gone.set()
        return 0

    async with serving(handler) as url:
        command = await exec_in_pod(url, "web-1", ["cat"], stdin=True)
        command.ws.abort()
        await gone.wait()


@pytest.mark.parametrize("message", ["text", b"", b"\x09what", b"\x04{"])
async def test_a_faulty_message_ends_the_connection(
    message: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With 1002, and the reason."""

    async def handler(streams: PodStreams) -> int:
        await streams.read()
        return 0

    async with serving(handler) as url:
        ws = await connect(url + POD, subprotocols=[V5])
        await ws.send(message)
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert ws.close_code == 1002
        await ws.close()
    assert not caplog.records  # of the peer's doing, and nothing for the log's readers


async def test_input_after_its_end_is_not_delivered() -> None:
    async def handler(streams: PodStreams) -> int:
        assert await streams.read() == b"a"
        assert await streams.read() == b""
        assert await streams.read() == Resize(1, 2)
        return 0

    async with serving(handler) as url:
        async with await exec_in_pod(url, "web-1", ["cat"], stdin=True) as command:
            await command.send(b"a")
            await command.send_eof()
            await command.send(b"late")
            await command.resize(1, 2)
            assert await command.read() is None
            assert command.status is not None
            assert command.status.exit_code == 0
