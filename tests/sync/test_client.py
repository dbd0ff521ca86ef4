"""The blocking client's requests, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import switchover.sync
from switchover.asyncio.client_pool import HTTP2
from switchover.asyncio.connect_handler import ConnectHandler
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.offers import TLSPolicy
from switchover.asyncio.settings import ServerSettings
from switchover.asyncio.tls_upgrade import TLSUpgrade, tls
from switchover.errors import (
    DeadlineExceeded,
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from switchover.http.messages import Response
from switchover.tunnel.policy import DestinationPolicy


@pytest.fixture
def client() -> Iterator[switchover.sync.Client]:
    with switchover.sync.Client() as opened:
        yield opened


def test_get_and_post(client: switchover.sync.Client, address: str) -> None:
    answer = client.get(f"http://{address}/a?b", fields={"x": "y"})
    assert (answer.status, answer.reason, answer.content) == (200, "OK", b"GET /a?b ")
    assert answer.fields["content-type"].startswith("text/plain")
    assert answer.http_version == "1.1"
    assert answer.request.fields["x"] == "y"
    assert client.post(f"http://{address}/", b"octets").text() == "POST / octets"
    assert client.post(f"http://{address}/", "text").text() == "POST / text"
    assert client.request("PUT", f"http://{address}/", content=b"").text() == "PUT / "


def test_connections_are_kept(client: switchover.sync.Client, address: str) -> None:
    first = client.get(f"http://{address}/").facts
    second = client.get(f"http://{address}/").facts
    assert first is not None
    assert second is not None
    assert first.sockname == second.sockname


def test_an_offer_that_is_taken_and_one_that_is_not(
    client: switchover.sync.Client, address: str
) -> None:
    with client.get(f"http://{address}/shout", offer=["shout/1"]) as switched:
        assert switched.protocol == "shout/1"
        assert switched.tunnel is not None
        switched.tunnel.send(b"x")
        assert switched.tunnel.read(timeout=5) == b"X"
    declined = client.get(f"http://{address}/", offer=["shout/1"])
    assert (declined.protocol, declined.tunnel, declined.content) == (None, None, b"GET / ")


def test_tunnels_end_with_their_client(address: str) -> None:
    with switchover.sync.Client() as client:
        tunnel = client.get(f"http://{address}/shout", offer=["shout/1"]).tunnel
        assert tunnel is not None
    with pytest.raises(switchover.TunnelClosed):
        tunnel.read()
    with pytest.raises(LocalProtocolError):
        client.get(f"http://{address}/")
    client.close()


def test_a_client_lets_go_of_tunnels_that_have_ended(
    client: switchover.sync.Client, address: str
) -> None:
    tunnel = client.get(f"http://{address}/shout", offer=["shout/1"]).tunnel
    assert tunnel is not None
    ended = weakref.ref(tunnel._tunnel)
    tunnel.close()
    del tunnel
    gc.collect()
    assert ended() is None


def test_content_is_made_in_the_thread_that_sends_it(
    client: switchover.sync.Client, address: str
) -> None:
    threads = set()

    def pieces() -> Iterator[bytes]:
        for piece in (b"a", b"b", b"c"):
            threads.add(threading.current_thread())
            yield piece

    assert client.post(f"http://{address}/", pieces()).text() == "POST / abc"
    assert threads == {threading.current_thread()}


def test_content_that_fails_raises_its_own_error(
    client: switchover.sync.Client, address: str
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"begun"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.post(f"http://{address}/", pieces())
    assert client.get(f"http://{address}/").status == 200


def test_interim_responses_are_heard_in_the_thread_that_waits(
    client: switchover.sync.Client, elsewhere: Any
) -> None:
    async def hinting(exchange: Exchange) -> None:
        await exchange.send_interim(Response(103))
        await exchange.send_response(Response.text(200, "done"), end=True)

    heard: list[Any] = []
    with elsewhere.serving(hinting) as server:
        answer = client.get(
            f"http://127.0.0.1:{server.port}/",
            on_interim=lambda response: heard.append((response.status, threading.get_ident())),
        )
        assert answer.text() == "done"
        assert heard == [(103, threading.get_ident())]

        def fails(response: Response) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            client.get(f"http://127.0.0.1:{server.port}/", on_interim=fails)


# Reading piece by piece.


async def _ticking(exchange: Exchange) -> None:
    await exchange.send_response(Response(200))
    for piece in (b"one", b"two"):
        await exchange.send_content(piece)
    await exchange.send_end()


def test_streaming(client: switchover.sync.Client, elsewhere: Any) -> None:
    with elsewhere.serving(_ticking) as server:
        url = f"http://127.0.0.1:{server.port}/"
        with client.stream("GET", url) as response:
            with pytest.raises(RuntimeError, match="not been read"):
                _ = response.content
            assert b"".join(response.pieces(timeout=5)) == b"onetwo"
        with client.stream("GET", url) as response:
            next(iter(response))  # and no more
        with client.stream("GET", url) as response:
            assert response.read(timeout=5) == b"onetwo"
            assert response.content == b"onetwo"
        with client.stream("GET", url) as response, pytest.raises(LimitExceeded):
            response.read(limit=3)


def test_a_piece_has_a_limit_of_time(client: switchover.sync.Client, elsewhere: Any) -> None:
    async def stalls(exchange: Exchange) -> None:
        await exchange.send_response(Response(200))
        await exchange.send_content(b"one")
        await exchange.wait_disconnected()

    with elsewhere.serving(stalls) as server:
        response = client.stream("GET", f"http://127.0.0.1:{server.port}/")
        pieces = response.pieces(timeout=0.1)
        assert next(pieces) == b"one"
        with pytest.raises(DeadlineExceeded, match="reading"):
            next(pieces)


def test_json(client: switchover.sync.Client, elsewhere: Any) -> None:
    async def numbers(exchange: Exchange) -> None:
        await exchange.send_response(Response.text(200, "[1, 2]"), end=True)

    with elsewhere.serving(numbers) as server:
        assert client.get(f"http://127.0.0.1:{server.port}/").json() == [1, 2]


# What goes wrong.


def test_the_whole_has_a_limit(client: switchover.sync.Client, elsewhere: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with elsewhere.playing(silent) as port:
        with pytest.raises(DeadlineExceeded, match="the request"):
            client.get(f"http://127.0.0.1:{port}/", timeout=0.05)
        with (
            switchover.sync.Client(timeout=0.05) as impatient,
            pytest.raises(DeadlineExceeded, match="waiting for the response"),
        ):
            impatient.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"", RemoteProtocolError),
        (b"nonsense\r\n\r\n", RemoteProtocolError),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", RemoteProtocolError),
    ],
)
def test_a_bad_answer_raises(
    client: switchover.sync.Client, elsewhere: Any, octets: bytes, error: type[Exception]
) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(octets)

    with elsewhere.playing(answers) as port, pytest.raises(error):
        client.get(f"http://127.0.0.1:{port}/")


def test_what_cannot_be_sent_is_refused(client: switchover.sync.Client) -> None:
    with pytest.raises(LocalProtocolError):
        client.get("ftp://localhost/")
    with pytest.raises(TypeError):
        switchover.sync.Client(no_such_option=True)


def test_a_client_that_is_forgotten_is_dropped(address: str) -> None:
    client = switchover.sync.Client()
    client.get(f"http://{address}/")
    with pytest.warns(ResourceWarning, match="unclosed"):
        del client
    thread = next((t for t in threading.enumerate() if t.name == "switchover"), None)
    if thread is not None:
        thread.join(5)


def test_a_client_that_was_never_used_needs_no_thread() -> None:
    client = switchover.sync.Client()
    assert not [thread for thread in threading.enumerate() if thread.name == "switchover"]
    client.close()


def test_threads_share_a_client(client: switchover.sync.Client, address: str) -> None:
    texts: list[str] = []

    def ask(number: int) -> None:
        texts.extend(client.get(f"http://{address}/{number}/{n}").text() for n in range(20))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == sorted(f"GET /{m}/{n} " for m in range(4) for n in range(20))


# Everything that the asynchronous client has.


def test_tls_upgrade(
    elsewhere: Any, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def describe(exchange: Exchange) -> None:
        chain = " ".join(exchange.facts.chain)
        await exchange.send_response(Response.text(200, chain), end=True)

    policy = TLSPolicy(TLSUpgrade(client_context))
    with (
        elsewhere.serving(describe, [tls(server_context)]) as server,
        switchover.sync.Client(tls_upgrade=policy) as client,
    ):
        chain = client.get(f"http://localhost:{server.port}/").text().split()
        assert chain[0] == "HTTP/1.1"
        assert chain[1].startswith("TLS")
        with switchover.sync.switch(
            f"http://localhost:{server.port}/", offer=[TLSUpgrade(client_context)]
        ) as switched:
            assert switched.protocol == "TLS/1.2"
            assert switched.tunnel is None
            assert switched.text().split()[0] == "HTTP/1.1"


def test_unix_socket(elsewhere: Any, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with elsewhere.serving(_ticking) as server:
        elsewhere.run(server.start(path=os.fspath(path)))
        with switchover.sync.Client(route=Route(path=path)) as client:
            assert client.get("http://anywhere/").content == b"onetwo"


def test_http2_by_prior_knowledge(elsewhere: Any) -> None:
    settings = ServerSettings(http2_prior_knowledge=True)
    with (
        elsewhere.serving(_ticking, settings=settings) as server,
        switchover.sync.Client(http2=HTTP2.PRIOR_KNOWLEDGE) as client,
    ):
        answer = client.get(f"http://127.0.0.1:{server.port}/")
        assert (answer.http_version, answer.content) == ("2", b"onetwo")


def test_through_a_proxy(elsewhere: Any, address: str) -> None:
    policy = DestinationPolicy(ports=None, networks=["127.0.0.0/8"])
    with elsewhere.serving(connect=ConnectHandler(policy)) as proxy:
        route = Route(proxy=f"http://127.0.0.1:{proxy.port}")
        with switchover.sync.Client(route=route) as client:
            assert client.get(f"http://{address}/far").text() == "GET /far "
        with switchover.sync.connect(f"ws://{address}/echo", route=route) as ws:
            ws.send("through the proxy")
            assert ws.recv(5) == "through the proxy"
