"""A tunnel as anyio's byte stream."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextStream
from anyio.streams.tls import TLSAttribute, TLSStream

from switchover.asyncio.anyio_stream import TunnelAttribute, TunnelStream
from switchover.asyncio.dialing import Route
from switchover.asyncio.server import Server
from switchover.asyncio.switch import switch
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import TunnelHandler, token
from switchover.errors import TunnelClosed

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def stream_to(handler: TunnelHandler) -> AsyncIterator[TunnelStream]:
    """Both ends: ``handler`` at the server, the client's end as a stream of anyio."""
    async with Server(upgrades=[token("shout", handler)]) as server:
        await server.start()
        async with switch(f"http://127.0.0.1:{server.port}/", offer=["shout"]) as switched:
            assert switched.tunnel is not None
            yield switched.tunnel.as_anyio()


async def shout(tunnel: Tunnel) -> None:
    async for data in tunnel:
        await tunnel.send(data.upper())
    await tunnel.send(b"!")


async def test_send_receive_and_both_ends() -> None:
    """What anyio asks of a byte stream: parts, a half-close, the end."""
    async with stream_to(shout) as stream:
        await stream.send(b"hello")
        assert await stream.receive(2) == b"HE"
        assert await stream.receive() == b"LLO"
        with pytest.raises(ValueError, match="max_bytes"):
            await stream.receive(0)
        await stream.send_eof()
        assert [data async for data in stream] == [b"!"]
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"more")
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()
        await stream.aclose()


async def test_a_server_handler_may_use_it() -> None:
    """anyio's own layers on top: lines of text."""

    async def handler(tunnel: Tunnel) -> None:
        lines = BufferedByteReceiveStream(tunnel.as_anyio())
        first = await lines.receive_until(b"\r\n", 100)
        second = await lines.receive_exactly(3)
        await tunnel.as_anyio().send(second + first)

    async with stream_to(handler) as stream:
        text = TextStream(stream)
        await text.send("één\r\nzwe")
        assert await text.receive() == "zweéén"


async def test_tls_on_top(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """A protocol that brings its own TLS, run by anyio inside the tunnel."""

    async def handler(tunnel: Tunnel) -> None:
        async with await TLSStream.wrap(
            tunnel.as_anyio(), server_side=True, ssl_context=server_context
        ) as inside:
            await inside.send((await inside.receive())[::-1])

    async with stream_to(handler) as stream:
        inside = await TLSStream.wrap(stream, hostname="localhost", ssl_context=client_context)
        await inside.send(b"secret")
        assert await inside.receive() == b"terces"
        assert inside.extra(TunnelAttribute.tunnel).protocol == "shout"
        with pytest.raises(anyio.EndOfStream):
            await inside.receive()


async def test_lost_connection() -> None:
    """A reset is no end: BrokenResourceError, when receiving and when sending."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.read()
        tunnel.abort()

    async with stream_to(handler) as stream:
        await stream.send(b"x")
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"x")


async def test_one_at_a_time() -> None:
    """Two tasks that receive get BusyResourceError, as from anyio's own streams."""
    async with stream_to(shout) as stream:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.receive)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await stream.receive()
            await stream.send(b"x")


async def test_cancelled_receive_loses_nothing() -> None:
    """A deadline passes, and what comes after it is still read."""
    async with stream_to(shout) as stream:
        with anyio.move_on_after(0.01) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        await stream.send(b"late")
        assert await stream.receive() == b"LATE"


async def test_forceful_close() -> None:
    """Cancelled while closing: the tunnel is aborted, its task does not wait."""
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def handler(tunnel: Tunnel) -> None:
        try:
            async for _ in tunnel:
                pass
            done.set_result("an end in order")
        except Exception as error:
            done.set_result(error)
            raise

    async with stream_to(handler) as stream:
        await stream.send(b"x")
        await anyio.aclose_forcefully(stream)
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()
        async with asyncio.timeout(5):
            assert await done != "an end in order"
        with pytest.raises(TunnelClosed):
            await stream.extra(TunnelAttribute.tunnel).read()


async def test_attributes(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, tmp_path: Path
) -> None:
    """Typed attributes: addresses, TLS, and nothing where there is none."""
    async with Server(upgrades=[token("shout", shout)]) as server:
        await server.start(ssl=server_context)
        await server.start(path=tmp_path / "socket")
        protected = switch(
            f"https://localhost:{server.port}/", offer=["shout"], route=Route(ssl=client_context)
        )
        async with protected as switched:
            assert switched.tunnel is not None
            stream = switched.tunnel.as_anyio()
            assert stream.extra(SocketAttribute.remote_port) == server.port
            host, port = stream.extra(SocketAttribute.local_address)
            assert (host, port) == ("127.0.0.1", stream.extra(SocketAttribute.local_port))
            assert stream.extra(SocketAttribute.family).name == "AF_INET"
            assert stream.extra(TLSAttribute.tls_version) == "TLSv1.3"
            assert stream.extra(TLSAttribute.server_side) is False
        route = Route(path=tmp_path / "socket")
        async with switch("http://localhost/", offer=["shout"], route=route) as switched:
            assert switched.tunnel is not None
            stream = switched.tunnel.as_anyio()
            assert stream.extra(SocketAttribute.remote_address) == str(tmp_path / "socket")
            assert stream.extra(TLSAttribute.ssl_object, None) is None


def test_anyio_is_not_needed() -> None:
    """The façade imports without anyio; only the view asks for it."""
    code = """
import sys
sys.modules["anyio"] = None
import switchover
from switchover.http.messages import Request, Response
tunnel = switchover.Tunnel("x", Request("GET", "/"), Response(101))
try:
    tunnel.as_anyio()
except ImportError:
    print("asked for")
"""
    source = Path(__file__).resolve().parents[2] / "src"
    environment: dict[str, Any] = {"PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert done.stdout == b"asked for\n", done.stderr.decode()
