"""The http cycle, message by message, over an exchange in memory."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest

from switchover.asgi import handler
from switchover.asgi.answer import response_fields
from switchover.errors import Disconnected, LocalProtocolError

pytestmark = pytest.mark.anyio


def sending(*messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def start(status: int = 200, *headers: tuple[bytes, bytes], **keywords: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **keywords}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


# Receiving.


async def test_content_comes_as_it_arrived(exchange_for: Any) -> None:
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            got.append(await receive())
            if not got[-1]["more_body"]:
                break
        await sending(start(204), body())(scope, receive, send)

    await handler(app)(exchange_for("POST", content=(b"ab", b"c")))
    assert got == [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c", "more_body": True},
        {"type": "http.request", "body": b"", "more_body": False},
    ]


async def test_disconnect_comes_while_content_is_awaited(exchange_for: Any) -> None:
    exchange = exchange_for("POST", content=(b"part",))
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append(await receive())
        exchange.leave()
        got.append(await receive())
        got.append(await receive())

    await handler(app)(exchange)
    assert [message["type"] for message in got] == [
        "http.request", "http.disconnect", "http.disconnect",
    ]  # fmt: skip
    assert exchange.sent == []


async def test_disconnect_comes_to_who_waits_for_it(exchange_for: Any) -> None:
    exchange = exchange_for()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asyncio.get_running_loop().call_soon(exchange.leave)
        assert (await receive())["type"] == "http.disconnect"

    await asyncio.wait_for(handler(app)(exchange), 5)


async def test_send_after_disconnect_raises_an_os_error(exchange_for: Any) -> None:
    """ASGI 2.4: "the server should raise a server-specific subclass of OSError"."""
    exchange = exchange_for()
    seen: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        exchange.leave()
        try:
            await send(body(b"x"))
        except OSError as error:
            seen.append(error)

    await handler(app)(exchange)
    assert isinstance(seen[0], Disconnected)


# Sending.


async def test_whole_response_gets_its_length(exchange_for: Any) -> None:
    exchange = exchange_for()
    await handler(sending(start(200, (b"x", b"1")), body(b"hello")))(exchange)
    assert exchange.sent == [
        ("response", 200, [(b"x", b"1"), (b"content-length", b"5")]),
        ("content", b"hello"),
        ("end", None),
    ]


async def test_response_is_held_until_the_first_body(exchange_for: Any) -> None:
    """ASGI: the server does not send the response before the first body message."""
    exchange = exchange_for()
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        seen.append(len(exchange.sent))
        await send(body(more=True))
        seen.append(len(exchange.sent))
        await send(body(b"x"))

    await handler(app)(exchange)
    assert seen == [0, 1]


async def test_streamed_response_keeps_its_pieces(exchange_for: Any) -> None:
    exchange = exchange_for()
    await handler(sending(start(), body(b"a", more=True), body(b"b", more=True), body()))(exchange)
    assert exchange.sent == [
        ("response", 200, []),
        ("content", b"a"),
        ("content", b"b"),
        ("end", None),
    ]


async def test_given_content_length_is_kept(exchange_for: Any) -> None:
    exchange = exchange_for()
    await handler(sending(start(200, (b"content-length", b"2")), body(b"ab")))(exchange)
    assert exchange.sent[0] == ("response", 200, [(b"content-length", b"2")])


@pytest.mark.parametrize("status", [204, 304])
async def test_no_length_where_there_is_no_content(exchange_for: Any, status: int) -> None:
    """RFC 9110 §8.6: a 204 has no Content-Length."""
    exchange = exchange_for()
    await handler(sending(start(status), body()))(exchange)
    assert exchange.sent == [("response", status, []), ("end", None)]


async def test_head_without_content_gets_no_length_of_zero(exchange_for: Any) -> None:
    exchange = exchange_for("HEAD")
    await handler(sending(start(), body()))(exchange)
    assert exchange.fields == {}


async def test_transfer_encoding_of_the_application_is_left_out(exchange_for: Any) -> None:
    exchange = exchange_for()
    await handler(sending(start(200, (b"Transfer-Encoding", b"chunked")), body(b"x")))(exchange)
    assert exchange.fields == {b"content-length": b"1"}


async def test_upgrade_in_an_answer_brings_its_connection_option(exchange_for: Any) -> None:
    """UPG-S-09, RFC 9110 §7.8: a sender of Upgrade sends the connection option with it."""
    exchange = exchange_for()
    await handler(sending(start(426, (b"upgrade", b"irc/6.9")), body(b"irc")))(exchange)
    assert exchange.fields[b"connection"] == b"upgrade"


async def test_messages_after_the_end_are_ignored(exchange_for: Any) -> None:
    """ASGI: after the last body "any further messages on the channel will be ignored"."""
    exchange = exchange_for()
    await handler(sending(start(204), body(), body(b"more"), start(500), body()))(exchange)
    assert exchange.status == 204
    assert exchange.body == b""


async def test_early_hints_go_out_before_the_response(exchange_for: Any) -> None:
    exchange = exchange_for()
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    await handler(sending(hint, start(), hint, body(b"x", more=True), hint, body()))(exchange)
    line = ("interim", 103, [(b"link", b"</a.css>; rel=preload")])
    assert exchange.sent[:2] == [line, line]
    assert sum(entry[0] == "interim" for entry in exchange.sent) == 2


@pytest.mark.parametrize(("te", "expected"), [("trailers", [(b"x-sum", b"1")]), ("gzip", None)])
async def test_trailers_go_to_clients_that_want_them(
    exchange_for: Any, te: str, expected: object
) -> None:
    """RFC 9110 §6.5.1: trailers are sent to those who said TE: trailers."""
    exchange = exchange_for("GET", "/", [("TE", te)])
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    await handler(sending(start(200, trailers=True), body(b"data"), trailers))(exchange)
    assert exchange.sent == [("response", 200, []), ("content", b"data"), ("end", expected)]


# Faults of the application.


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([body(b"x")], "expected 'http.response.start' or 'http.response.early_hint'"),
        ([start(), start()], "expected 'http.response.body' or 'http.response.early_hint'"),
        ([{"type": "websocket.accept"}], "message 'websocket.accept' before http.response.start"),
        ([start(200, trailers=True), body(), body()], "expected 'http.response.trailers'"),
        ([start(102)], "status 102 is interim"),
        ([start(200, (b"x", b"a\r\nb: c")), body()], "control character"),
        ([start(200, (b"x y", b"z")), body()], "invalid field name"),
        ([start(101, (b"upgrade", b"irc")), body()], "has no 'http.upgrade'"),
    ],
)
async def test_illegal_message_raises_and_says_what_would_be_legal(
    exchange_for: Any, messages: list[dict[str, Any]], expected: str
) -> None:
    """SEC-32, RFC 9112 §11.1: bad fields of the application are a local error."""
    exchange = exchange_for()
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await sending(*messages)(scope, receive, send)
        except LocalProtocolError as error:
            seen.append(str(error))
            raise

    await handler(app)(exchange)
    assert expected in seen[0]
    assert exchange.status == 500 or exchange.aborted


async def test_application_can_answer_after_a_refused_head(exchange_for: Any) -> None:
    exchange = exchange_for()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, (b"x", b"\0")))
        with pytest.raises(LocalProtocolError):
            await send(body())
        await send(start(400))
        await send(body(b"sorry"))

    await handler(app)(exchange)
    assert (exchange.status, exchange.body) == (400, b"sorry")


async def test_exception_is_500_without_its_text(exchange_for: Any, caplog: Any) -> None:
    exchange = exchange_for("GET", "/x\x1b[2J")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("the secret")

    with caplog.at_level(logging.ERROR, "switchover.asgi"):
        await handler(app)(exchange)
    assert exchange.status == 500
    assert b"secret" not in exchange.body
    assert b"Traceback" not in exchange.body
    assert "the secret" in caplog.text
    assert "\x1b" not in caplog.records[0].getMessage()


async def test_exception_after_the_start_is_still_500(exchange_for: Any) -> None:
    exchange = exchange_for()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200))
        raise ValueError

    await handler(app)(exchange)
    assert exchange.status == 500


async def test_exception_amid_the_content_breaks_the_connection_off(exchange_for: Any) -> None:
    exchange = exchange_for()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200))
        await send(body(b"part", more=True))
        raise ValueError

    await handler(app)(exchange)
    assert exchange.aborted


async def test_exception_after_the_end_harms_nothing(exchange_for: Any, caplog: Any) -> None:
    exchange = exchange_for()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200))
        await send(body(b"x"))
        raise ValueError("a background task")

    await handler(app)(exchange)
    assert not exchange.aborted
    assert "a background task" in caplog.text


@pytest.mark.parametrize("messages", [[], [start()]], ids=["nothing", "only-start"])
async def test_returning_without_an_answer_is_500(exchange_for: Any, messages: Any) -> None:
    exchange = exchange_for()
    await handler(sending(*messages))(exchange)
    assert exchange.status == 500


async def test_returning_amid_the_content_breaks_the_connection_off(exchange_for: Any) -> None:
    exchange = exchange_for()
    await handler(sending(start(), body(b"a", more=True)))(exchange)
    assert exchange.aborted


async def test_the_echo_of_a_disconnect_is_no_error(exchange_for: Any, caplog: Any) -> None:
    exchange = exchange_for()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        exchange.leave()
        try:
            await send(body(b"x"))
        except OSError as error:
            raise RuntimeError("ClientDisconnect") from error

    with caplog.at_level(logging.WARNING):
        await handler(app)(exchange)
    assert not caplog.records


async def test_accidental_tunnel_is_refused(exchange_for: Any) -> None:
    """RFC 9110 §9.3.6: a 2xx to CONNECT is a tunnel, which this application cannot mean."""
    exchange = exchange_for("CONNECT", "example.net:443")
    await handler(sending(start(200), body(b"<html>")))(exchange)
    assert exchange.status == 501
    assert b"<html>" not in exchange.body


# Headers that come again.


HEADERS_AND_LINES: list[tuple[list[Any], list[tuple[bytes, bytes]]]] = [
    ([(b"a", b"1")], [(b"a", b"1")]),
    ([[b"a", b"1"]], [(b"a", b"1")]),
    ([(b"a", memoryview(b"1").tobytes())], [(b"a", b"1")]),
    ([(b"Transfer-Encoding", b"chunked"), (b"a", b"1")], [(b"a", b"1")]),
    ([(b"set-cookie", b"a=1")], [(b"set-cookie", b"a=1")]),
    ([(b"a", b"1" * 1000)], [(b"a", b"1" * 1000)]),
    ([(b"upgrade", b"a/1")], [(b"upgrade", b"a/1"), (b"connection", b"upgrade")]),
    ([], []),
]


@pytest.mark.parametrize(("headers", "lines"), HEADERS_AND_LINES)
def test_headers_that_come_again_are_the_same_and_can_be_changed(
    headers: list[Any], lines: list[tuple[bytes, bytes]]
) -> None:
    for _ in range(3):
        fields = response_fields(headers)
        assert fields.raw == lines
        fields.add(b"b", b"2")


def test_headers_that_are_not_valid_never_become_so() -> None:
    for _ in range(3):
        with pytest.raises(LocalProtocolError):
            response_fields([(b"a", b"1\r\nb: 2")])


def test_few_headers_are_remembered_and_none_for_one_client() -> None:
    for number in range(1000):
        response_fields([(b"etag", b"%d" % number)])
        response_fields([(b"Set-Cookie", b"%d" % number)])
    known = sys.modules[response_fields.__module__]._known
    assert 0 < len(known) <= 64
    assert not any(name.lower() == b"set-cookie" for key in known for name, _ in key)
