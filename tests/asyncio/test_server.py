"""The server on real sockets: exchanges, declined offers, limits, deadlines and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.reports import Report
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts
from switchover.asyncio.tunnel import Tunnel
from switchover.asyncio.upgrades import token
from switchover.errors import Disconnected
from switchover.http.fields import Fields
from switchover.http.messages import Request, Response
from switchover.upgrade.registry import ContentRule

pytestmark = pytest.mark.anyio

Application = Callable[[Exchange], Awaitable[None]]

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OFFER = b"Upgrade: p/1\r\nConnection: Upgrade\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: p/1\r\nConnection: Upgrade\r\n\r\n"


async def shout(tunnel: Tunnel) -> None:
    async for data in tunnel:
        await tunnel.send(data.upper())


def _length(head: bytes) -> int:
    return int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


async def _answer_of(connection: Any) -> bytes:
    head = await connection.head()
    return bytes(await connection.reader.readexactly(_length(head)))


# RFC 9110 §7.8: a declined offer is an ordinary exchange.


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_declined_offer_loses_nothing(
    application: Application, raw: Any, framed: bytes
) -> None:
    """UPG-S-06, UPG-S-17: content, and a pipelined request, survive an unknown token."""
    request = b"POST /p HTTP/1.1\r\nHost: a\r\nUpgrade: foo/9\r\nConnection: Upgrade\r\n" + framed
    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(request + GET)
            assert await _answer_of(connection) == b"POST /p hello"
            assert await _answer_of(connection) == b"GET /x "


async def test_switch_waits_for_earlier_answers(application: Application, raw: Any) -> None:
    """UPG-S-19, MSG-25: 200, 200, 101 in this order; later octets are the tunnel's."""
    async with Server(application, [token("p/1", shout)]) as server:
        await server.start()
        async with raw(server) as connection:
            offer = GET[:-2] + OFFER + b"\r\n"
            await connection.send(GET + GET + offer + b"get / http/1.1\r\n\r\n")
            assert await _answer_of(connection) == b"GET /x "
            assert await _answer_of(connection) == b"GET /x "
            await connection.expect(SWITCHED)
            await connection.expect(b"GET / HTTP/1.1\r\n\r\n")


async def test_content_is_read_before_the_switch(application: Application, raw: Any) -> None:
    """UPG-S-11, UPG-S-12: 100, then the content, then 101, then the protocol's octets."""

    async def handler(tunnel: Tunnel) -> None:
        await tunnel.send(b"content was " + tunnel.content + b"; ")
        await shout(tunnel)

    upgrades = [token("p/1", handler, methods=None, content=ContentRule.READ)]
    async with Server(application, upgrades) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(
                b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
                + OFFER
                + b"\r\n"
            )
            await connection.expect(b"HTTP/1.1 100 Continue\r\n\r\n")
            await connection.send(b"hellonew")
            await connection.expect(SWITCHED + b"content was hello; NEW")


async def test_content_over_the_limit_declines_and_keeps_it(
    application: Application, raw: Any
) -> None:
    """UPG-S-18: chunked content that outgrows the token's limit reaches the application whole."""
    upgrades = [token("p/1", shout, methods=None, content=ContentRule.READ, content_limit=4)]
    async with Server(application, upgrades) as server:
        await server.start()
        async with raw(server) as connection:
            head = (
                b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + OFFER + b"\r\n"
            )
            await connection.send(head + b"3\r\nhel\r\n")
            await connection.send(b"3\r\nlo!\r\n0\r\n\r\n" + GET)
            assert await _answer_of(connection) == b"POST /p hello!"
            assert await _answer_of(connection) == b"GET /x "


async def test_content_over_the_limit_of_a_required_token(
    application: Application, raw: Any
) -> None:
    """UPG-S-15: what insists on a switch is never served without it; 413 for too much content."""
    upgrades = [
        token("p/1", shout, methods=None, content=ContentRule.READ, content_limit=4, required=True)
    ]
    async with Server(application, upgrades) as server:
        await server.start()
        async with raw(server) as connection:
            head = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + OFFER
            await connection.send(head + b"\r\n5\r\nhello\r\n0\r\n\r\n")
            assert (await connection.head()).startswith(b"HTTP/1.1 413 ")


async def test_content_with_a_token_that_takes_none(application: Application, raw: Any) -> None:
    """UPG-S-24: refused with 400, never switched."""
    async with Server(application, [token("p/1", shout, methods=None)]) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(
                b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" + OFFER + b"\r\nhello"
            )
            assert (await connection.head()).startswith(b"HTTP/1.1 400 ")


async def test_accept_refuses_with_any_response(application: Application, raw: Any) -> None:
    """UPG-S-21: authentication comes before the switch, as an ordinary final response."""

    async def accept(request: Request, content: bytes) -> Response | Fields:
        if "authorization" not in request.fields:
            return Response.text(401, "who are you?", {"WWW-Authenticate": "Basic"})
        return Fields({"X-Welcome": "yes"})

    async with Server(application, [token("p/1", shout, accept=accept)]) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET[:-2] + OFFER + b"\r\n")
            assert await _answer_of(connection) == b"who are you?"
            await connection.send(GET[:-2] + b"Authorization: x\r\n" + OFFER + b"\r\nearly")
            assert b"X-Welcome: yes" in await connection.head()
            await connection.expect(b"EARLY")


async def test_required_token_answers_426(application: Application, raw: Any) -> None:
    """UPG-S-15, UPG-S-09: with Upgrade, Connection and a body; the connection goes on."""
    async with Server(application, [token("p/1", shout, path="/x", required=True)]) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET)
            head = await connection.head()
            assert head.startswith(b"HTTP/1.1 426 ")
            assert b"Upgrade: p/1\r\n" in head
            assert b"Connection: Upgrade\r\n" in head
            await connection.reader.readexactly(_length(head))
            await connection.send(GET[:-2] + OFFER + b"\r\n")
            await connection.expect(SWITCHED)


async def test_peer_that_ended_its_side_before_the_switch(
    application: Application, raw: Any
) -> None:
    """The end of the client's data is not lost at the seam, however early it came."""
    decided = asyncio.Event()

    async def accept(request: Request, content: bytes) -> None:
        await decided.wait()

    async with Server(application, [token("p/1", shout, accept=accept)]) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET[:-2] + OFFER + b"\r\nlast words")
            connection.writer.write_eof()
            decided.set()
            assert await connection.rest() == SWITCHED + b"LAST WORDS"


async def test_observer_is_told_of_each_offer(application: Application, raw: Any) -> None:
    """Every refusal has a reason: the reports say which."""
    seen: list[Report] = []
    async with Server(application, [token("p/1", shout)], observer=seen.append) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: foo\r\n\r\n")
            await _answer_of(connection)
            await connection.send(GET[:-2] + OFFER + b"\r\n")
            await connection.expect(SWITCHED)
    assert [(r.outcome, r.protocol, r.rule) for r in seen] == [
        ("declined", None, "RFC 9110 §7.6.1"),
        ("switched", "p/1", ""),
    ]


async def test_an_applications_own_switch_is_reported_once(raw: Any) -> None:
    """An offer that the handler takes up was not declined before."""
    seen: list[Report] = []

    async def application(exchange: Exchange) -> None:
        if exchange.request.target == "/no":
            await exchange.send_response(Response.text(403, "no"), end=True)
            return
        lost = exchange.server.dismiss
        tunnel = Tunnel("p/1", exchange.request, None, facts=exchange.facts, on_lost=lost)
        await exchange.switch("p/1", Fields(), tunnel)
        await tunnel.close()

    async with Server(application, observer=seen.append) as server:
        server.handler_takes_offers = True
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET.replace(b"/x", b"/no")[:-2] + OFFER + b"\r\n")
            assert await _answer_of(connection) == b"no"
            await connection.send(GET[:-2] + OFFER + b"\r\n")
            await connection.expect(SWITCHED)
    assert [(r.outcome, r.request.target, r.protocol, r.reason) for r in seen] == [
        ("declined", "/no", None, "the application answered 403"),
        ("switched", "/x", "p/1", ""),
    ]


@pytest.mark.parametrize(
    ("error", "level"),
    [(ValueError("the reason"), logging.ERROR), (Disconnected("gone"), logging.DEBUG)],
)
async def test_a_failure_after_the_exchange_is_logged(
    raw: Any, caplog: pytest.LogCaptureFixture, error: Exception, level: int
) -> None:
    """A handler that has released its exchange, and runs on, still fails in the server's log."""

    async def application(exchange: Exchange) -> None:
        lost = exchange.server.dismiss
        tunnel = Tunnel("p/1", exchange.request, None, facts=exchange.facts, on_lost=lost)
        await exchange.switch("p/1", Fields(), tunnel)
        exchange.release()
        await tunnel.close()
        raise error

    with caplog.at_level(logging.DEBUG, "switchover.server"):
        async with Server(application) as server:
            server.handler_takes_offers = True
            await server.start()
            async with raw(server) as connection:
                await connection.send(GET[:-2] + OFFER + b"\r\n")
                await connection.expect(SWITCHED)
                assert await connection.rest() == b""
    (record,) = [r for r in caplog.records if "after" in r.message and "over" in r.message]
    assert record.levelno == level
    assert (record.exc_info is not None) is (level == logging.ERROR)


async def test_a_refusing_handler_is_reported_once(application: Application, raw: Any) -> None:
    """What ``accept`` answers instead of a tunnel is a decline, and said to be one."""
    seen: list[Report] = []

    async def refuse(request: Request, content: bytes) -> Response:
        return Response.text(409, "not now")

    upgrade = token("p/1", shout, accept=refuse)
    async with Server(application, [upgrade], observer=seen.append) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET[:-2] + OFFER + b"\r\n")
            assert await _answer_of(connection) == b"not now"
    assert [(r.outcome, r.reason) for r in seen] == [("declined", "the application answered 409")]


# What an application does wrong.


async def test_exception_is_500_without_a_traceback(
    raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """SEC-44: the log has the traceback, the wire has not; the connection goes on."""

    async def application(exchange: Exchange) -> None:
        raise ValueError("secret detail")

    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET)
            head = await connection.head()
            assert head.startswith(b"HTTP/1.1 500 ")
            assert b"secret" not in await connection.reader.readexactly(_length(head))
            await connection.send(GET)
            assert (await connection.head()).startswith(b"HTTP/1.1 500 ")
    assert "secret detail" in caplog.text


async def test_no_answer_is_500(raw: Any) -> None:
    """An application that returns without answering is answered for."""

    async def application(exchange: Exchange) -> None:
        return

    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET)
            assert (await connection.head()).startswith(b"HTTP/1.1 500 ")


async def test_half_an_answer_ends_the_connection(raw: Any) -> None:
    """A response that cannot be completed must not look complete (RFC 9112 §8)."""

    async def application(exchange: Exchange) -> None:
        await exchange.send_response(Response(200, Fields({"Content-Length": "10"})))
        await exchange.send_content(b"half")
        raise ValueError

    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET)
            await connection.head()
            with contextlib.suppress(ConnectionError):
                assert await connection.rest() in (b"half", b"")


# Bad input.


async def test_bad_request_is_answered_and_nothing_after_it(
    application: Application, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """SEC-43, MSG-06: one readable 400, a log line, then the end."""
    caplog.set_level(logging.INFO)
    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
            answer = await connection.rest()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.count(b"HTTP/1.1 ") == 1
    assert "bad request" in caplog.text


async def test_connect_is_refused_and_closes(application: Application, raw: Any) -> None:
    """CON-12, OPT-02: a request glued behind a refused CONNECT is never handled."""
    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(
                b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n" + GET
            )
            answer = await connection.rest()
            assert answer.startswith(b"HTTP/1.1 405 ")
            assert answer.count(b"HTTP/1.1 ") == 1


async def test_options_asterisk_is_the_servers_own(application: Application, raw: Any) -> None:
    """RFC 9110 §9.3.7: 200 without content."""
    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await connection.head()
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Content-Length: 0" in head


# Deadlines.


async def _ends(server: Server, raw: Any, first: bytes) -> bytes:
    async with raw(server) as connection:
        await connection.send(first)
        return bytes(await connection.rest())


async def test_slow_head_is_ended(application: Application, raw: Any) -> None:
    """SEC-19: a deadline from the start, whatever trickles in; 408 for a begun request."""
    settings = ServerSettings(timeouts=Timeouts(head=0.1))
    async with Server(application, settings=settings) as server:
        await server.start()
        assert (await _ends(server, raw, GET[:-2])).startswith(b"HTTP/1.1 408 ")
        assert await _ends(server, raw, b"") == b""


async def test_idle_connection_is_ended(application: Application, raw: Any) -> None:
    """SEC-23: a kept connection without a request is closed after a while, without an answer."""
    settings = ServerSettings(timeouts=Timeouts(idle=0.1))
    async with Server(application, settings=settings) as server:
        await server.start()
        assert (await _ends(server, raw, GET)).endswith(b"GET /x ")


async def test_head_that_follows_an_answer_has_a_deadline_too(
    application: Application, raw: Any
) -> None:
    """SEC-19: not the idle time but the head's counts once the next request has begun."""
    settings = ServerSettings(timeouts=Timeouts(head=0.1, idle=30))
    async with Server(application, settings=settings) as server:
        await server.start()
        assert b"HTTP/1.1 408 " in await _ends(server, raw, GET + GET[:5])


async def test_slow_content_is_ended(application: Application, raw: Any) -> None:
    """SEC-19: content that the application waits for has a deadline."""
    settings = ServerSettings(timeouts=Timeouts(content=0.1))
    async with Server(application, settings=settings) as server:
        await server.start()
        first = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"
        assert (await _ends(server, raw, first)).startswith(b"HTTP/1.1 408 ")


# Pace.


async def test_sender_waits_for_a_slow_reader(raw: Any) -> None:
    """SEC-24: what the peer does not read is not made up without bound."""
    sent = 0
    left = asyncio.Event()

    async def application(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send_response(Response(200))
        try:
            for _ in range(10_000):
                await exchange.send_content(bytes(64 * 1024))
                sent += 1
        except Disconnected:
            left.set()
            raise

    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET)
            await connection.head()
            before = -1
            while sent != before:  # until it stands still
                before = sent
                await asyncio.wait_for(_rounds(200), 5)
            assert 0 < sent < 1000
        async with asyncio.timeout(5):
            await left.wait()


async def _rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_content_waits_for_a_slow_application(raw: Any) -> None:
    """SEC-24: content that nobody takes stops the reading of more."""
    go_on = asyncio.Event()
    total = 0

    async def application(exchange: Exchange) -> None:
        nonlocal total
        await go_on.wait()
        while piece := await exchange.receive_content():
            total += len(piece)
        await exchange.send_response(Response.text(200, str(total)), end=True)

    size = 32 * 1024 * 1024
    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
            connection.writer.write(head.encode())
            connection.writer.write(bytes(size))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.writer.drain(), 0.2)
            go_on.set()
            async with asyncio.timeout(20):
                await connection.writer.drain()
            assert await _answer_of(connection) == str(size).encode()


async def test_unread_content_does_not_spoil_the_next_request(raw: Any) -> None:
    """MSG-24: answered without reading the content, then parsed at the right octet."""

    async def application(exchange: Exchange) -> None:
        await exchange.send_response(Response.text(403, exchange.request.method), end=True)

    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + GET
            )
            assert await _answer_of(connection) == b"POST"
            assert await _answer_of(connection) == b"GET"


async def test_half_closed_client_gets_its_answer(application: Application, raw: Any) -> None:
    """A client may end its side once it has asked."""
    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET)
            connection.writer.write_eof()
            assert (await connection.rest()).endswith(b"GET /x ")


async def test_application_learns_that_the_client_left(raw: Any) -> None:
    """A handler that waits for content, or to send, is told."""
    reached, told = asyncio.Event(), asyncio.Event()

    async def application(exchange: Exchange) -> None:
        reached.set()
        try:
            while await exchange.receive_content():
                pass
        except Disconnected:
            told.set()
            await exchange.wait_disconnected()
            with pytest.raises(Disconnected):
                await exchange.send_response(Response(200), end=True)

    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nh")
            await asyncio.wait_for(reached.wait(), 5)
        await asyncio.wait_for(told.wait(), 5)


# Limits, and the ways to listen.


async def test_connections_are_capped(application: Application, raw: Any) -> None:
    """SEC-41: one more than the limit is answered 503; the others are unharmed."""
    settings = ServerSettings(max_connections=1)
    async with Server(application, settings=settings) as server:
        await server.start()
        async with raw(server) as first:
            await first.send(GET)
            await _answer_of(first)
            async with raw(server) as second:
                assert (await second.rest()).startswith(b"HTTP/1.1 503 ")
            await first.send(GET)
            assert await _answer_of(first) == b"GET /x "


async def test_connections_of_one_peer_are_capped(application: Application, raw: Any) -> None:
    """SEC-41: by peer address too; a place is free again when a connection has ended."""
    settings = ServerSettings(max_connections_per_peer=1)
    async with Server(application, [token("p/1", shout)], settings=settings) as server:
        await server.start()
        async with raw(server) as first:
            await first.send(GET[:-2] + OFFER + b"\r\n")
            await first.expect(SWITCHED)  # a switched connection still counts
            async with raw(server) as second:
                assert (await second.rest()).startswith(b"HTTP/1.1 503 ")
            first.writer.write_eof()
            assert await first.rest() == b""
        async with raw(server) as third:
            await third.send(GET)
            assert await _answer_of(third) == b"GET /x "


async def test_unix_socket(application: Application, tmp_path: Path) -> None:
    """The same on a Unix socket; its file is gone afterwards."""
    path = tmp_path / "server.sock"
    async with Server(application) as server:
        await server.start(path=path)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
    assert not path.exists()


async def test_given_socket(application: Application, raw: Any) -> None:
    """A socket that somebody else has bound."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        async with Server(application) as server:
            await server.start(sock=listening)
            async with raw(server) as connection:
                await connection.send(GET)
                assert await _answer_of(connection) == b"GET /x "


async def test_tls(
    application: Application, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """TLS from the first octet; the facts say so."""
    chains: list[Any] = []

    async def note(exchange: Exchange) -> None:
        chains.append((exchange.facts.protected, exchange.facts.peername[0]))
        await application(exchange)

    async with Server(note) as server:
        await server.start(ssl=server_context)
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=client_context)
        writer.write(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()
    assert chains == [(True, "127.0.0.1")]


# The end.


async def test_shutdown_finishes_the_exchange_under_way(raw: Any) -> None:
    """MSG-26: the answer says close; nothing new is taken."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def application(exchange: Exchange) -> None:
        begun.set()
        await go_on.wait()
        await exchange.send_response(Response.text(200, "done"), end=True)

    server = Server(application)
    await server.start()
    async with raw(server) as busy, raw(server) as idle:
        await busy.send(GET)
        await asyncio.wait_for(begun.wait(), 5)
        closing = asyncio.ensure_future(server.close())
        assert await idle.rest() == b""
        go_on.set()
        answer = await busy.rest()
        assert b"Connection: close" in answer
        assert answer.endswith(b"done")
        await closing
    assert not server.connections


async def test_shutdown_wakes_answers_without_an_end(raw: Any) -> None:
    """A stream of events ends in order when the server begins to close, not at a deadline."""

    async def application(exchange: Exchange) -> None:
        await exchange.send_response(Response(200, Fields({"Content-Type": "text/event-stream"})))
        await exchange.send_content(b": begun\n\n")
        await exchange.server.wait_closing()
        await exchange.send_end()

    server = Server(application)
    await server.start()
    async with raw(server) as connection:
        await connection.send(GET)
        await connection.head()
        await connection.expect(b"9\r\n: begun\n\n\r\n")
        await asyncio.wait_for(server.close(grace=60), 5)
        assert await connection.rest() == b"0\r\n\r\n"


async def test_waiting_for_the_peer_to_leave_ends_with_the_answer(raw: Any) -> None:
    """``wait_disconnected`` returns once the exchange is over: no task hangs on it."""
    woken = asyncio.Event()

    async def application(exchange: Exchange) -> None:
        waiting = asyncio.ensure_future(exchange.wait_disconnected())
        await asyncio.sleep(0)
        await exchange.send_response(Response.text(200, "x"), end=True)
        await waiting
        woken.set()

    async with Server(application) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET)
            assert await _answer_of(connection) == b"x"
            await asyncio.wait_for(woken.wait(), 5)


async def test_shutdown_ends_tunnels_in_order(application: Application, raw: Any) -> None:
    """A tunnel gets its end of data, and its last octets."""
    server = Server(application, [token("p/1", shout)])
    await server.start()
    async with raw(server) as connection:
        await connection.send(GET[:-2] + OFFER + b"\r\nabc")
        await connection.expect(SWITCHED + b"ABC")
        closing = asyncio.ensure_future(server.close())
        assert await connection.rest() == b""
        connection.writer.close()
        await closing
    assert not server.connections


async def test_shutdown_aborts_what_does_not_end(application: Application, raw: Any) -> None:
    """SEC-22: at the end of the grace time nothing is left."""

    async def stubborn(tunnel: Tunnel) -> None:
        await asyncio.Event().wait()

    server = Server(application, [token("p/1", stubborn)])
    await server.start()
    async with raw(server) as connection:
        await connection.send(GET[:-2] + OFFER + b"\r\n")
        await connection.expect(SWITCHED)
        await asyncio.wait_for(server.close(0.05), 5)
        assert not server.connections


async def test_failed_handler_aborts_its_tunnel(
    application: Application, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler's exception is logged; the peer sees the connection end, not a clean close."""

    async def failing(tunnel: Tunnel) -> None:
        raise ValueError("of the handler")

    async with Server(application, [token("p/1", failing)]) as server:
        await server.start()
        async with raw(server) as connection:
            await connection.send(GET[:-2] + OFFER + b"\r\n")
            with contextlib.suppress(ConnectionError):
                assert await connection.rest() in (SWITCHED, b"")
    assert "of the handler" in caplog.text
