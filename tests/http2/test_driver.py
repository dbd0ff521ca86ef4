"""The drivers of HTTP/2 on real sockets: exchanges, switched streams, h2c, the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.http2_client import HTTP2ClientProtocol
from switchover.asyncio.http2_client_stream import ClientStream
from switchover.asyncio.http2_server import HTTP2ServerProtocol
from switchover.asyncio.http2_upgrade import H2CUpgrade, h2c
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.errors import (
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    TunnelBroken,
)
from switchover.http.events import Switched
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.http2 import PREFACE, ErrorCode

pytestmark = pytest.mark.anyio

BIG = bytes(range(256)) * 4096


class PriorKnowledgeServer(Server):
    """A server whose connections begin with HTTP/2."""

    def _factory(
        self, loop: asyncio.AbstractEventLoop, *args: Any, **options: Any
    ) -> Callable[[], asyncio.BaseProtocol]:
        return lambda: HTTP2ServerProtocol(self, loop)


class Application:
    """Answers by path; remembers what became of its exchanges."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.started = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await getattr(self, "on_" + exchange.request.path.strip("/"), self.on_)(exchange)
        except Disconnected:
            self.left.append(exchange.request.path)
            self.gone.set()
            raise

    async def on_(self, exchange: Exchange) -> None:
        await exchange.send_response(Response.text(404, "Not Found\n"), end=True)

    async def on_plain(self, exchange: Exchange) -> None:
        await exchange.send_response(Response.text(200, "plain"), end=True)

    async def on_big(self, exchange: Exchange) -> None:
        await exchange.send_response(Response(200, content=BIG), end=True)

    async def on_pieces(self, exchange: Exchange) -> None:
        await exchange.send_interim(Response(103, Fields({"Link": "</a>"})))
        await exchange.send_response(Response(200))
        for start in range(0, len(BIG), 100_000):
            await exchange.send_content(BIG[start : start + 100_000])
        await exchange.send_end(Fields({"X-Sum": "1"}))

    async def on_echo(self, exchange: Exchange) -> None:
        await exchange.send_response(Response(200))
        while data := await exchange.receive_content():
            await exchange.send_content(data)
        await exchange.send_end(exchange.trailers)

    async def on_deny(self, exchange: Exchange) -> None:
        await exchange.send_response(Response.text(403, "no"), end=True)

    async def on_nothing(self, exchange: Exchange) -> None:
        pass

    async def on_half(self, exchange: Exchange) -> None:
        await exchange.send_response(Response(200, Fields({"Content-Length": "9"})))

    async def on_fails(self, exchange: Exchange) -> None:
        raise ValueError("on purpose")

    async def on_wait(self, exchange: Exchange) -> None:
        self.started.set()
        await exchange.wait_disconnected()
        self.left.append(exchange.request.path)

    async def on_read(self, exchange: Exchange) -> None:
        self.started.set()
        while await exchange.receive_content():
            pass

    async def on_twice(self, exchange: Exchange) -> None:
        await exchange.send_response(Response(200))
        with pytest.raises(LocalProtocolError):
            await exchange.send_response(Response(200))
        await exchange.send_end()
        with pytest.raises(LocalProtocolError):
            await exchange.send_content(b"x")


async def shout(tunnel: Tunnel) -> None:
    async for data in tunnel:
        await tunnel.send(data.upper())


@contextlib.asynccontextmanager
async def serving(
    *,
    prior: bool = True,
    upgrades: Any = (),
    timeouts: Timeouts | None = None,
    connect: Any = None,
) -> AsyncIterator[tuple[Server, Application]]:
    application = Application()
    kind = PriorKnowledgeServer if prior else Server
    settings = ServerSettings(timeouts=timeouts or Timeouts(shutdown=2))
    async with kind(application, upgrades, settings=settings, connect=connect) as server:
        await server.start()
        yield server, application


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[HTTP2ClientProtocol]:
    loop = asyncio.get_running_loop()
    _, driver = await loop.create_connection(
        lambda: HTTP2ClientProtocol(loop), "127.0.0.1", server.port
    )
    try:
        yield driver
    finally:
        driver.shutdown(0.5)
        await driver.wait_closed()


def request(path: str, method: str = "GET", **fields: str) -> Request:
    return Request(method, path, Fields({"Host": "a", **fields}), authority="a")


async def whole(stream: ClientStream) -> bytes:
    content = b""
    while data := await stream.read():
        content += data
    stream.release()
    return content


async def get(driver: HTTP2ClientProtocol, path: str, content: Any = None) -> tuple[int, bytes]:
    method = "GET" if content is None else "POST"
    stream = await driver.send(request(path, method), content)
    assert stream.response is not None
    return stream.response.status, await whole(stream)


async def tunnelled(
    driver: HTTP2ClientProtocol, path: str, protocol: str | None = "shout/1"
) -> Tunnel | ClientStream:
    tunnels: list[Tunnel] = []

    def on_switch(event: Switched, transport: asyncio.Transport) -> None:
        tunnel = Tunnel(event.protocol, event.request, event.response, facts=driver.facts)
        tunnels.append(tunnel)
        transport.set_protocol(tunnel)
        tunnel.connection_made(transport)

    opening = Request("CONNECT", path, Fields(), "2", "http", "a", protocol)
    stream = await driver.send(opening, on_switch=on_switch)
    return tunnels[0] if tunnels else stream


class TestExchanges:
    async def test_simple(self) -> None:
        async with serving() as (server, _), connected(server) as driver:
            assert await get(driver, "/plain") == (200, b"plain")
            assert await get(driver, "/nowhere") == (404, b"Not Found\n")
            assert driver.requests == 2

    async def test_many_at_once(self) -> None:
        """H2-09: more than the server takes at once, through one connection's window."""
        async with serving() as (server, _), connected(server) as driver:
            answers = await asyncio.gather(*(get(driver, "/big") for _ in range(120)))
            assert all(answer == (200, BIG) for answer in answers)
            assert driver.idle

    async def test_interim_pieces_and_trailers(self) -> None:
        interim: list[Response] = []
        async with serving() as (server, _), connected(server) as driver:
            stream = await driver.send(request("/pieces"), on_interim=interim.append)
            assert await whole(stream) == BIG
            assert stream.trailers == Fields({"X-Sum": "1"})
            assert interim[0].fields["link"] == "</a>"

    async def test_content_both_ways_at_once(self) -> None:
        """H2-09: a response may begin before its request has ended."""
        async with serving() as (server, _), connected(server) as driver:
            assert await get(driver, "/echo", BIG) == (200, BIG)

            async def pieces() -> AsyncIterator[bytes]:
                yield b"one"
                await asyncio.sleep(0)
                yield b"two"

            assert await get(driver, "/echo", pieces()) == (200, b"onetwo")
            assert await get(driver, "/echo", [b"a", b"b"]) == (200, b"ab")
            assert await get(driver, "/echo", "text") == (200, b"text")

    async def test_expectation(self) -> None:
        """RFC 9110 §10.1.1: 100 when the application asks for the content."""
        async with serving() as (server, _), connected(server) as driver:
            stream = await driver.send(
                request("/echo", "POST", Expect="100-continue"), b"x", continue_timeout=30
            )
            assert await whole(stream) == b"x"

    async def test_answer_without_the_request(self) -> None:
        """RFC 9113 §8.1: a long rest is stopped with NO_ERROR, and others go on."""
        async with serving() as (server, _), connected(server) as driver:
            assert await get(driver, "/plain", BIG) == (200, b"plain")
            assert await get(driver, "/plain") == (200, b"plain")

    async def test_faulty_applications(self) -> None:
        async with serving() as (server, _), connected(server) as driver:
            assert (await get(driver, "/nothing"))[0] == 500
            assert (await get(driver, "/fails"))[0] == 500
            assert (await get(driver, "/twice"))[0] == 200
            with pytest.raises(Disconnected, match="INTERNAL_ERROR"):
                await get(driver, "/half")
            assert (await get(driver, "/plain"))[0] == 200

    async def test_client_that_leaves(self) -> None:
        """WS2-10, RFC 9113 §5.4.2: RST_STREAM wakes the application, the connection lives."""
        async with serving() as (server, application), connected(server) as driver:
            waiting = asyncio.ensure_future(driver.send(request("/wait")))
            await application.started.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            while not application.left:
                assert await get(driver, "/plain") == (200, b"plain")
            assert application.left == ["/wait"]

    async def test_connection_that_is_lost(self) -> None:
        async with serving() as (server, application):
            async with connected(server) as driver:
                sending = asyncio.ensure_future(driver.send(request("/read", "POST"), _endless()))
                await application.started.wait()
                driver.abort()
                with pytest.raises(Disconnected):
                    await sending
                assert not driver.reusable
            await server.close()
            assert application.left == ["/read"]

    async def test_content_that_does_not_come(self) -> None:
        """SEC-19: the stream ends, the connection lives."""
        timeouts = Timeouts(content=0.05, shutdown=1)
        async with serving(timeouts=timeouts) as (server, _):
            async with connected(server) as driver:

                async def silence() -> AsyncIterator[bytes]:
                    yield b"x"
                    await asyncio.sleep(60)

                with pytest.raises(Disconnected, match="CANCEL"):
                    await driver.send(request("/read", "POST"), silence())
                assert await get(driver, "/plain") == (200, b"plain")

    async def test_content_that_cannot_be_had(self) -> None:
        """An error of the application's own iterator reaches its caller."""

        async def broken() -> AsyncIterator[bytes]:
            yield b"x"
            raise ValueError("on purpose")

        async with serving() as (server, _), connected(server) as driver:
            with pytest.raises(ValueError, match="on purpose"):
                await whole(await driver.send(request("/read", "POST"), broken()))
            assert await get(driver, "/plain") == (200, b"plain")

    async def test_response_of_no_interest(self) -> None:
        async with serving() as (server, _), connected(server) as driver:
            stream = await driver.send(request("/big"))
            stream.release()
            stream.release()
            assert await stream.read() == b""
            assert await get(driver, "/plain") == (200, b"plain")


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(10_000)
        await asyncio.sleep(0)


class TestSwitchedStreams:
    """RFC 8441, RFC 9113 §8.5."""

    UPGRADES = (token("shout/1", shout, path="/shout"),)

    async def test_a_token_by_extended_connect(self) -> None:
        """WS2-05, WS2-09, WS2-10: octets both ways, END_STREAM as the end, others go on."""
        async with serving(upgrades=self.UPGRADES) as (server, _), connected(server) as driver:
            tunnel = await tunnelled(driver, "/shout")
            assert isinstance(tunnel, Tunnel)
            assert tunnel.protocol == "shout/1"
            await tunnel.send(b"hello")
            assert await tunnel.read_exactly(5) == b"HELLO"
            assert await get(driver, "/plain") == (200, b"plain")
            await tunnel.send_eof()
            assert await tunnel.read() == b""
            await tunnel.close()
            assert driver.idle

    async def test_the_same_registration_over_both_versions(self) -> None:
        """WS2-05: one handler, by Upgrade and by extended CONNECT, with the same result."""
        async with serving(upgrades=self.UPGRADES) as (server, _), connected(server) as driver:
            two = await tunnelled(driver, "/shout")
        async with serving(prior=False, upgrades=self.UPGRADES) as (server, _), Client() as client:
            answer = await client.get(f"http://127.0.0.1:{server.port}/shout", offer=["shout/1"])
            assert answer.tunnel is not None
            assert isinstance(two, Tunnel)
            assert two.protocol == answer.protocol
            await answer.tunnel.send(b"x")
            assert await answer.tunnel.read() == b"X"

    async def test_backpressure_both_ways(self) -> None:
        """WS2-09, RFC 9113 §6.9: a megabyte through the windows; who writes too much waits."""
        async with serving(upgrades=self.UPGRADES) as (server, _), connected(server) as driver:
            tunnel = await tunnelled(driver, "/shout")
            assert isinstance(tunnel, Tunnel)
            data = b"abcdefgh" * 131072

            async def write() -> None:
                await tunnel.send(data)
                await tunnel.send_eof()

            writing = asyncio.ensure_future(write())
            got = b""
            async for piece in tunnel:
                got += piece
            await writing
            assert got == data.upper()

    async def test_unread_octets_are_bounded_by_the_window(self) -> None:
        """WS2-09, SEC-31: nobody reads at the far end, so the sender waits."""
        reading = asyncio.Event()

        async def slow(tunnel: Tunnel) -> None:
            await reading.wait()
            async for _ in tunnel:
                pass

        upgrades = (token("shout/1", slow, path="/shout"),)
        async with serving(upgrades=upgrades) as (server, _), connected(server) as driver:
            tunnel = await tunnelled(driver, "/shout")
            assert isinstance(tunnel, Tunnel)
            sending = asyncio.ensure_future(tunnel.send(bytes(1_000_000)))
            for _ in range(20):
                assert await get(driver, "/plain") == (200, b"plain")  # the others do not wait
            assert not sending.done()
            reading.set()
            await sending

    async def test_half_close(self) -> None:
        """WS2-10, CON-14: one direction ends, the other goes on."""

        async def late(tunnel: Tunnel) -> None:
            while await tunnel.read():
                pass
            await tunnel.send(b"after your end")

        upgrades = (token("late", late, path="/late"),)
        async with serving(upgrades=upgrades) as (server, _), connected(server) as driver:
            tunnel = await tunnelled(driver, "/late", "late")
            assert isinstance(tunnel, Tunnel)
            await tunnel.send_eof()
            assert await tunnel.read_exactly(14) == b"after your end"
            assert await tunnel.read() == b""

    @pytest.mark.parametrize("side", ["client", "server"])
    async def test_abrupt_loss(self, side: str) -> None:
        """WS2-10, RFC 8441 §5: RST_STREAM CANCEL, and the connection lives."""
        broken: list[BaseException] = []

        async def breaks(tunnel: Tunnel) -> None:
            await tunnel.send(b"x")
            if side == "server":
                tunnel.abort()
                return
            try:
                await tunnel.read()
            except TunnelBroken as error:
                broken.append(error)

        upgrades = (token("shout/1", breaks, path="/shout"),)
        async with serving(upgrades=upgrades) as (server, _), connected(server) as driver:
            tunnel = await tunnelled(driver, "/shout")
            assert isinstance(tunnel, Tunnel)
            if side == "client":
                await tunnel.read()
                tunnel.abort()
                while not broken:
                    await get(driver, "/plain")
            else:
                with pytest.raises(TunnelBroken):
                    await tunnel.read_exactly(2)
            assert await get(driver, "/plain") == (200, b"plain")
            await tunnel.wait_closed()

    async def test_loss_of_the_connection(self) -> None:
        async with serving(upgrades=self.UPGRADES) as (server, _), connected(server) as driver:
            tunnel = await tunnelled(driver, "/shout")
            assert isinstance(tunnel, Tunnel)
            driver.abort()
            with pytest.raises(TunnelBroken):
                await tunnel.read()

    async def test_unknown_protocols(self) -> None:
        """WS2-12, RFC 9220 §3: 501, on the stream alone."""
        async with serving(upgrades=self.UPGRADES) as (server, _), connected(server) as driver:
            stream = await tunnelled(driver, "/shout", "foo")
            assert isinstance(stream, ClientStream)
            assert stream.response is not None
            assert stream.response.status == 501
            assert b"spoken here" in await whole(stream)
            assert await get(driver, "/plain") == (200, b"plain")

    async def test_not_advertised_where_nothing_is_registered(self) -> None:
        """WS2-01, WS2-02: the client does not even ask."""
        async with serving() as (server, _), connected(server) as driver:
            with pytest.raises(LocalProtocolError, match="has not said"):
                await tunnelled(driver, "/shout")

    async def test_consideration_before_the_switch(self) -> None:
        """A registration may refuse with any response, here as over HTTP/1.1."""

        def accept(asked: Request, content: bytes) -> Any:
            return None if asked.query == "yes" else Response.text(403, "no")

        upgrades = (token("shout/1", shout, path="/shout", accept=accept),)
        async with serving(upgrades=upgrades) as (server, _), connected(server) as driver:
            refused = await tunnelled(driver, "/shout?no")
            assert isinstance(refused, ClientStream)
            assert refused.response is not None
            assert refused.response.status == 403
            tunnel = await tunnelled(driver, "/shout?yes")
            assert isinstance(tunnel, Tunnel)
            await tunnel.send(b"x")
            assert await tunnel.read() == b"X"

    async def test_plain_connect_is_off(self) -> None:
        """SEC-35, CON-14: no tunnel unless there is somebody to make it."""
        async with serving() as (server, _), connected(server) as driver:
            stream = await tunnelled(driver, "target.example:443", None)
            assert isinstance(stream, ClientStream)
            assert stream.response is not None
            assert stream.response.status in (403, 405, 501)

    async def test_plain_connect(self) -> None:
        """CON-14: the handler for CONNECT switches the stream."""

        async def connect(exchange: Exchange) -> None:
            assert exchange.request.target == "target.example:443"
            tunnel = Tunnel("tcp", exchange.request, Response(200))
            await exchange.switch("tcp", Fields(), tunnel)
            await tunnel.send(await tunnel.read())
            await tunnel.close()

        async with serving(connect=connect) as (server, _), connected(server) as driver:
            tunnel = await tunnelled(driver, "target.example:443", None)
            assert isinstance(tunnel, Tunnel)
            await tunnel.send(b"octets")
            assert await tunnel.read() == b"octets"
            assert await tunnel.read() == b""

    async def test_a_tunnel_nobody_takes(self) -> None:
        async with serving(upgrades=self.UPGRADES) as (server, _), connected(server) as driver:
            opening = Request("CONNECT", "/shout", Fields(), "2", "http", "a", "shout/1")
            stream = await driver.send(opening)
            assert stream.switched is not None
            with pytest.raises(LocalProtocolError):
                await stream.read()


class TestUpgrade:
    """RFC 7540 §3.2, both ends."""

    async def test_client_and_server(self) -> None:
        """H2C-01, H2C-09, UPG-S-14: the answer comes on stream 1, without a second request."""
        async with serving(prior=False, upgrades=[h2c()]) as (server, _), Client() as client:
            url = f"http://127.0.0.1:{server.port}"
            answer = await client.post(f"{url}/echo", BIG[:300_000], offer=[H2CUpgrade()])
            assert (answer.protocol, answer.http_version) == ("h2c", "2")
            assert answer.content == BIG[:300_000]
            assert answer.facts is not None
            assert answer.facts.chain == ("HTTP/1.1", "HTTP/2")

    async def test_off_unless_listed(self) -> None:
        """H2C-01, SEC-02: an ordinary exchange."""
        async with serving(prior=False) as (server, _), Client() as client:
            url = f"http://127.0.0.1:{server.port}"
            answer = await client.get(f"{url}/plain", offer=[H2CUpgrade()])
            assert (answer.protocol, answer.http_version, answer.content) == (None, "1.1", b"plain")

    async def test_content_over_the_limit(self) -> None:
        """H2C-09: declined, with nothing lost."""
        upgrades = [h2c(content_limit=1000)]
        async with serving(prior=False, upgrades=upgrades) as (server, _), Client() as client:
            url = f"http://127.0.0.1:{server.port}"
            answer = await client.post(f"{url}/echo", BIG, offer=[H2CUpgrade()])
            assert (answer.protocol, answer.http_version, answer.content) == (None, "1.1", BIG)

    async def test_same_rules_on_every_stream(self) -> None:
        """SEC-02: what HTTP/1.1 is refused, stream 3 is refused too."""
        async with serving(prior=False, upgrades=[h2c()]) as (server, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            # The preface, SETTINGS, and GET /deny as literals on stream 3.
            block = bytes.fromhex("8286") + b"\x04\x05/deny" + b"\x01\x01a"
            headers = len(block).to_bytes(3, "big") + b"\1\5\0\0\0\3" + block
            writer.write(PREFACE + bytes(3) + b"\4\0\0\0\0\0" + headers)
            seen: dict[int, bytes] = {}
            while 3 not in seen:
                frame = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(frame[:3], "big"))
                if frame[3] == 1:
                    seen[int.from_bytes(frame[5:], "big")] = payload
            assert seen[1][0] == 0x88  # :status 200
            assert b"\x08" in seen[3][:1] or seen[3][0] & 0xF0 == 0x40  # a literal :status
            writer.close()

    @pytest.mark.parametrize("octets", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
    async def test_preface_has_a_deadline(self, octets: bytes) -> None:
        """H2C-14, RFC 7540 §3.5: garbage, or nothing, after the 101 → closed."""
        timeouts = Timeouts(switch=0.05, shutdown=1)
        async with serving(prior=False, upgrades=[h2c()], timeouts=timeouts) as (server, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + octets
            )
            async with asyncio.timeout(5):
                assert (await reader.read()).startswith(b"HTTP/1.1 101 ")
            writer.close()


class TestEnd:
    async def test_graceful(self) -> None:
        """H2-10, RFC 9113 §6.8: what is under way is finished; then the connection closes."""
        async with serving() as (server, _), connected(server) as driver:
            stream = await driver.send(request("/echo", "POST"), _some())
            closing = asyncio.ensure_future(server.close())
            assert await whole(stream) == b"somesome"
            await closing
            await driver.wait_closed()
            assert not driver.reusable
            with pytest.raises(Disconnected):
                await driver.send(request("/plain"))

    async def test_idle_connections(self) -> None:
        timeouts = Timeouts(idle=0.05, shutdown=1)
        async with serving(timeouts=timeouts) as (server, _), connected(server) as driver:
            ended: list[Any] = []
            driver.on_end = ended.append
            assert await get(driver, "/plain") == (200, b"plain")
            async with asyncio.timeout(5):
                await driver.wait_closed()
            assert ended == [driver]

    async def test_silent_connections(self) -> None:
        """H2C-14: the preface has a deadline by prior knowledge as well."""
        async with serving(timeouts=Timeouts(switch=0.05, shutdown=1)) as (server, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            async with asyncio.timeout(5):
                octets = await reader.read()
            assert octets[-4:] != b""
            assert b"in time" in octets
            writer.close()

    async def test_peer_that_does_not_read(self) -> None:
        """SEC-31: the connection is dropped, and nothing piles up meanwhile."""
        timeouts = Timeouts(content=0.1, shutdown=1)
        async with serving(timeouts=timeouts) as (server, application):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            settings = b"\0\0\6\4\0\0\0\0\0" + b"\0\4\x7f\xff\xff\xff"
            window = b"\0\0\4\x08\0\0\0\0\0\x7f\0\0\0"
            block = bytes.fromhex("8286") + b"\x04\x04/big" + b"\x01\x01a"
            gets = b"".join(
                len(block).to_bytes(3, "big") + b"\1\5" + number.to_bytes(4, "big") + block
                for number in range(1, 100, 2)
            )
            writer.transport.pause_reading()
            writer.write(PREFACE + settings + window + gets)
            async with asyncio.timeout(10):
                await application.gone.wait()
            writer.close()

    async def test_faulty_peer(self) -> None:
        """RFC 9113 §5.4.1: GOAWAY, then the end; streams under way are told."""
        async with serving() as (server, application):
            async with connected(server) as driver:
                waiting = asyncio.ensure_future(driver.send(request("/wait")))
                await application.started.wait()
                driver.transport.write(b"\0\0\7\6\0\0\0\0\0" + bytes(7))
                with pytest.raises(Exception, match="FRAME_SIZE_ERROR"):
                    await waiting
            assert application.left == ["/wait"]

    async def test_refused_connections(self) -> None:
        """SEC-41: told so in HTTP/2."""
        application = Application()
        settings = ServerSettings(max_connections=0)
        async with PriorKnowledgeServer(application, settings=settings) as server:
            await server.start()
            async with connected(server) as driver:
                with pytest.raises((Disconnected, RemoteProtocolError)):
                    await driver.send(request("/plain"))

    async def test_client_that_closes(self) -> None:
        async with serving() as (server, application), connected(server) as driver:
            waiting = asyncio.ensure_future(driver.send(request("/wait")))
            await application.started.wait()
            driver.close()
            with pytest.raises(Disconnected):
                await waiting
            await driver.wait_closed()

    async def test_requests_refused_by_a_server_that_leaves(self) -> None:
        """RFC 9113 §8.7: they may be sent again, elsewhere."""
        server = await asyncio.start_server(_refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        _, driver = await loop.create_connection(
            lambda: HTTP2ClientProtocol(loop), "127.0.0.1", port
        )
        with pytest.raises(Disconnected, match="not processed"):
            await driver.send(request("/plain"))
        await driver.wait_closed()
        server.close()


async def _some() -> AsyncIterator[bytes]:
    yield b"some"
    await asyncio.sleep(0.05)
    yield b"some"


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(3) + b"\4\0\0\0\0\0")
    await reader.readuntil(b"\x82")
    code = ErrorCode.NO_ERROR.to_bytes(4, "big")
    writer.write(b"\0\0\x08\7\0\0\0\0\0" + bytes(4) + code)
    await writer.drain()
    writer.close()
