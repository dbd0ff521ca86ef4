"""switchover under httpx's clients, against real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.errors import TunnelClosed
from switchover.http.fields import Fields
from switchover.http.messages import Response

httpx = pytest.importorskip("httpx")
import httpcore  # noqa: E402 - comes with httpx

from switchover.httpx import AsyncSwitchoverTransport, SwitchoverTransport  # noqa: E402

OFFER = {"upgrade": ["shout/2", "shout/1"]}


@pytest.fixture
def client() -> Iterator[Any]:
    with httpx.Client(transport=SwitchoverTransport()) as opened:
        yield opened


# Ordinary requests.


def test_requests(client: Any, address: str) -> None:
    response = client.get(f"http://{address}/a", params={"b": "c"})
    assert (response.status_code, response.reason_phrase) == (200, "OK")
    assert (response.http_version, response.text) == ("HTTP/1.1", "GET /a?b=c ")
    assert response.headers["content-type"].startswith("text/plain")
    assert client.post(f"http://{address}/", content=b"octets").text == "POST / octets"
    assert client.post(f"http://{address}/", data={"a": "b"}).text == "POST / a=b"
    assert client.post(f"http://{address}/", content=b"").text == "POST / "
    assert client.head(f"http://{address}/").content == b""


def test_content_streams_both_ways(client: Any, elsewhere: Any) -> None:
    async def echo(exchange: Exchange) -> None:
        pieces = []
        while piece := await exchange.receive_content():
            pieces.append(piece)
        await exchange.send_response(Response(200))
        for piece in pieces:
            await exchange.send_content(piece.upper())
        await exchange.send_end()

    with elsewhere.serving(echo) as server:
        url = f"http://127.0.0.1:{server.port}/"
        with client.stream("POST", url, content=iter([b"one ", b"two"])) as response:
            assert b"".join(response.iter_raw()) == b"ONE TWO"
        with client.stream("POST", url, content=b"ab") as response:
            pass  # closed without being read
        assert client.post(url, files={"f": b"file"}).status_code == 200


def test_redirects_and_cookies_are_httpxs_own(elsewhere: Any) -> None:
    async def moving(exchange: Exchange) -> None:
        if exchange.request.target == "/old":
            fields = [("Location", "/new"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
            await exchange.send_response(Response.text(302, "there", fields), end=True)
        else:
            cookies = exchange.request.fields.get("cookie", "")
            await exchange.send_response(Response.text(200, f"here {cookies}"), end=True)

    with (
        elsewhere.serving(moving) as server,
        httpx.Client(transport=SwitchoverTransport(), follow_redirects=True) as client,
    ):
        assert client.get(f"http://127.0.0.1:{server.port}/old").text == "here a=1; b=2"


# The switch.


def test_an_offer_that_is_taken(client: Any, address: str) -> None:
    """UPG-C-01, UPG-C-05: the offer is in the request, the selection is checked."""
    response = client.get(f"http://{address}/shout", extensions=OFFER)
    assert response.status_code == 101
    assert response.headers["upgrade"] == "shout/1"
    tunnel = response.extensions["tunnel"]
    tunnel.send(b"hello")
    assert tunnel.read(timeout=5) == b"HELLO"
    tunnel.close()


def test_an_offer_that_is_declined(client: Any, address: str) -> None:
    response = client.get(f"http://{address}/x", extensions=OFFER)
    assert (response.status_code, response.text) == (200, "GET /x ")
    assert "tunnel" not in response.extensions


def test_an_upgrade_field_is_an_offer(client: Any, address: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "shout/1"}
    response = client.get(f"http://{address}/shout", headers=headers)
    assert response.status_code == 101
    assert response.extensions["tunnel"].request.fields.get_all("upgrade") == ["shout/1"]
    assert response.extensions["tunnel"].request.fields["connection"].lower() == "upgrade"
    response.extensions["tunnel"].close()


def test_the_tunnel_ends_with_the_block_that_streams(client: Any, address: str) -> None:
    with client.stream("GET", f"http://{address}/shout", extensions=OFFER) as response:
        tunnel = response.extensions["tunnel"]
        tunnel.send(b"x")
        assert tunnel.read(timeout=5) == b"X"
    with pytest.raises(TunnelClosed):
        tunnel.read()


def test_tunnels_end_with_the_client(address: str) -> None:
    with httpx.Client(transport=SwitchoverTransport()) as client:
        tunnel = client.get(f"http://{address}/shout", extensions=OFFER).extensions["tunnel"]
    with pytest.raises(TunnelClosed):
        tunnel.read()


def test_the_tunnel_as_a_network_stream(client: Any, address: str, server: Any) -> None:
    with client.stream("GET", f"http://{address}/shout", extensions=OFFER) as response:
        stream = response.extensions["network_stream"]
        stream.write(b"")
        stream.write(b"hello", timeout=5)
        assert stream.read(3) == b"HEL"
        assert stream.read(100, timeout=5) == b"LO"
        assert stream.get_extra_info("server_addr")[1] == server.port
        assert stream.get_extra_info("client_addr")[0] == "127.0.0.1"
        assert stream.get_extra_info("ssl_object") is None
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1, timeout=0.01)
        stream.close()
        with pytest.raises(httpcore.ReadError):
            stream.read(1)
        with pytest.raises(httpcore.WriteError):
            stream.write(b"x")


def test_a_library_on_top_of_network_streams(client: Any, address: str) -> None:
    """httpx-ws speaks WebSocket over whatever an httpx client switched."""
    httpx_ws = pytest.importorskip("httpx_ws")
    with httpx_ws.connect_ws(f"http://{address}/echo", client) as ws:
        ws.send_text("through three libraries")
        assert ws.receive_text(timeout=5) == "through three libraries"


def test_tls(
    elsewhere: Any, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def shout(tunnel: Tunnel) -> None:
        async for data in tunnel:
            await tunnel.send(data.upper())

    with elsewhere.serving(upgrades=[token("shout/1", shout)]) as server:
        elsewhere.run(server.start(ssl=server_context))
        url = f"https://localhost:{server.addresses[-1][1]}/"
        with httpx.Client(transport=SwitchoverTransport()) as strict:
            with pytest.raises(httpx.ConnectError, match="certificate"):
                strict.get(url)
        transport = SwitchoverTransport(route=Route(ssl=client_context))
        with (
            httpx.Client(transport=transport) as client,
            client.stream("GET", url, extensions=OFFER) as response,
        ):
            stream = response.extensions["network_stream"]
            assert stream.get_extra_info("ssl_object") is not None
            stream.write(b"x")
            assert stream.read(1, timeout=5) == b"X"


# Errors and time.


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read, and say nothing."""
    await reader.read()


def test_the_servers_silence_is_a_read_timeout(client: Any, elsewhere: Any) -> None:
    with elsewhere.playing(silent) as port, pytest.raises(httpx.ReadTimeout):
        client.get(f"http://127.0.0.1:{port}/", timeout=httpx.Timeout(5, read=0.05))


def test_the_time_begins_anew_with_each_piece_of_an_upload(client: Any, elsewhere: Any) -> None:
    async def patient(exchange: Exchange) -> None:
        while await exchange.receive_content():
            pass
        await exchange.send_response(Response.text(200, "all"), end=True)

    with elsewhere.serving(patient) as server:

        def slowly() -> Iterator[bytes]:
            done = asyncio.Event()
            for _ in range(6):
                yield b"piece"
                with pytest.raises(TimeoutError):
                    elsewhere.run(asyncio.wait_for(done.wait(), 0.1))

        timeout = httpx.Timeout(5, read=0.4)
        url = f"http://127.0.0.1:{server.port}/"
        assert client.post(url, content=slowly(), timeout=timeout).text == "all"


def test_a_stalled_response_is_a_read_timeout(client: Any, elsewhere: Any) -> None:
    async def stalls(exchange: Exchange) -> None:
        await exchange.send_response(Response(200))
        await exchange.send_content(b"one")
        await exchange.wait_disconnected()

    with elsewhere.serving(stalls) as server, pytest.raises(httpx.ReadTimeout):
        client.get(f"http://127.0.0.1:{server.port}/", timeout=httpx.Timeout(5, read=0.1))


def test_a_server_that_never_takes_the_connection_is_a_connect_timeout(
    client: Any, elsewhere: Any
) -> None:
    timeout = httpx.Timeout(5, connect=0.05)
    with elsewhere.playing(silent) as port, pytest.raises(httpx.ConnectTimeout):
        client.get(f"https://127.0.0.1:{port}/", timeout=timeout)  # no TLS there


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"nonsense\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", httpx.RemoteProtocolError),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            httpx.RemoteProtocolError,
        ),
    ],
)
def test_a_bad_answer(client: Any, elsewhere: Any, octets: bytes, error: type[Exception]) -> None:
    """UPG-C-06: a 101 that nobody asked for is an error, under httpx too."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(octets)

    with elsewhere.playing(answers) as port, pytest.raises(error):
        client.get(f"http://127.0.0.1:{port}/")


def test_other_errors(client: Any) -> None:
    with pytest.raises(httpx.ConnectError):
        client.get("http://127.0.0.1:1/")
    with pytest.raises(httpx.UnsupportedProtocol):
        client.get("ftp://127.0.0.1/")
    with pytest.raises(httpx.LocalProtocolError):
        client.get("http://127.0.0.1:1/", extensions={"upgrade": ["not a token"]})


def test_a_proxy_that_refuses(elsewhere: Any) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.send_response(Response.text(403, "no"), end=True)

    with elsewhere.serving(connect=refuses) as proxy:
        route = Route(proxy=f"http://127.0.0.1:{proxy.port}")
        with (
            httpx.Client(transport=SwitchoverTransport(route=route)) as client,
            pytest.raises(httpx.ProxyError),
        ):
            client.get("http://example.invalid/")


# The asynchronous client.


@pytest.mark.anyio
async def test_asynchronous_requests(anyio_backend: object, address: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with httpx.AsyncClient(transport=AsyncSwitchoverTransport()) as client:
        assert (await client.get(f"http://{address}/a")).text == "GET /a "
        assert (await client.post(f"http://{address}/", content=b"x")).text == "POST / x"
        assert (await client.post(f"http://{address}/", content=pieces())).text == "POST / one two"
        async with client.stream("GET", f"http://{address}/") as response:
            assert [piece async for piece in response.aiter_raw()] == [b"GET / "]
        async with client.stream("GET", f"http://{address}/"):
            pass


@pytest.mark.anyio
async def test_asynchronous_switch(anyio_backend: object, address: str) -> None:
    async with httpx.AsyncClient(transport=AsyncSwitchoverTransport()) as client:
        response = await client.get(f"http://{address}/shout", extensions=OFFER)
        assert response.status_code == 101
        tunnel = response.extensions["tunnel"]
        await tunnel.send(b"hello")
        assert await tunnel.read() == b"HELLO"
        await tunnel.close()
        async with client.stream("GET", f"http://{address}/shout", extensions=OFFER) as response:
            stream = response.extensions["network_stream"]
            await stream.write(b"")
            await stream.write(b"x", timeout=5)
            assert await stream.read(10, timeout=5) == b"X"
            assert stream.get_extra_info("client_addr")[0] == "127.0.0.1"
            with pytest.raises(httpcore.ReadTimeout):
                await stream.read(1, timeout=0.01)
            await stream.aclose()
            with pytest.raises(httpcore.WriteError):
                await stream.write(b"x")


@pytest.mark.anyio
async def test_asynchronous_timeouts(anyio_backend: object, elsewhere: Any) -> None:
    async def stalls(exchange: Exchange) -> None:
        await exchange.send_response(Response(200, Fields([("Content-Length", "5")])))
        await exchange.send_content(b"one")
        await exchange.wait_disconnected()

    limits = httpx.Timeout(5, read=0.1)
    async with httpx.AsyncClient(transport=AsyncSwitchoverTransport(), timeout=limits) as client:
        with elsewhere.playing(silent) as port:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"http://127.0.0.1:{port}/")
        with elsewhere.serving(stalls) as server:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"http://127.0.0.1:{server.port}/")
