"""The websocket cycle, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import connect as dial

from switchover.asgi import WebSocketOptions
from switchover.errors import LocalProtocolError
from switchover.websocket.origins import SAME_ORIGIN

pytestmark = pytest.mark.anyio

OPENING = (
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
MASKED_HI = b"\x81\x82\0\0\0\0hi"

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive()) == {"type": "websocket.connect"}
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def url(server: Any, path: str = "/") -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


@contextlib.asynccontextmanager
async def opened(server: Any, **keywords: Any) -> AsyncIterator[Any]:
    async with dial(url(server), proxy=None, **keywords) as ws:
        yield ws


class Recorder:
    """An application that plays a script; ``done`` is set when it has ended."""

    def __init__(self, script: Any) -> None:
        self.script = script
        self.done = asyncio.Event()
        self.errors: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.script(scope, receive, send)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self.done.set()

    async def ended(self) -> None:
        await asyncio.wait_for(self.done.wait(), 5)


# Messages.


async def test_text_and_binary_come_back(serve: Any) -> None:
    async with opened(await serve(echo)) as ws:
        for message in ("täxt", b"\0\xff", "", b"", "x" * 200_000, b"y" * 200_000):
            await ws.send(message)
            assert await ws.recv() == message


async def test_many_messages_in_one_segment_keep_their_order(serve: Any, connect: Any) -> None:
    client = await connect(await serve(echo))
    client.write(OPENING + b"\r\n" + MASKED_HI * 100)
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    assert await client.exactly(400) == b"\x81\x02hi" * 100


async def test_message_has_only_the_key_that_has_a_value(serve: Any) -> None:
    got: list[Any] = []

    async def script(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        got.extend([await receive(), await receive()])

    app = Recorder(script)
    async with opened(await serve(app)) as ws:
        await ws.send("t")
        await ws.send(b"b")
        await app.ended()
    assert got == [
        {"type": "websocket.receive", "text": "t"},
        {"type": "websocket.receive", "bytes": b"b"},
    ]


async def test_null_key_beside_the_other_is_no_value(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": None, "bytes": b"b"})
        await send({"type": "websocket.send", "text": "t", "bytes": None})

    async with opened(await serve(app)) as ws:
        assert [await ws.recv(), await ws.recv()] == [b"b", "t"]


async def test_aiohttp_client(serve: Any) -> None:
    server = await serve(echo)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url(server), compress=15) as ws,
    ):
        await ws.send_str("hello")
        await ws.send_bytes(b"there")
        assert (await ws.receive()).data == "hello"
        assert (await ws.receive()).data == b"there"


async def test_slow_client_holds_the_sender_up(serve: Any, connect: Any) -> None:
    """Backpressure: send waits while the client does not read."""
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(ACCEPT)
        for _ in range(512):
            await send({"type": "websocket.send", "bytes": bytes(65536)})
            sent += 1

    client = await connect(await serve(app))
    client.writer.transport.pause_reading()
    client.write(OPENING + b"\r\n")
    before = -1
    while before != sent or not sent:
        before = sent
        await asyncio.sleep(0.05)
    assert sent < 512
    client.writer.transport.resume_reading()
    await client.head()
    await client.exactly(512 * (65536 + 10))
    assert sent == 512


async def test_slow_application_holds_the_client_up(serve: Any, connect: Any) -> None:
    """Backpressure: what is not received stays with the client."""
    go = asyncio.Event()
    got = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal got
        await send(ACCEPT)
        await go.wait()
        while (message := await receive())["type"] != "websocket.disconnect":
            got += len(message.get("bytes", b""))

    client = await connect(await serve(app))
    client.write(OPENING + b"\r\n")
    await client.head()
    frame = b"\x82\xff" + (65536).to_bytes(8, "big") + bytes(4) + bytes(65536)
    client.writer.transport.set_write_buffer_limits(0)
    written = 0
    with contextlib.suppress(TimeoutError):
        for _ in range(512):
            client.write(frame)
            await asyncio.wait_for(client.writer.drain(), 0.2)
            written += 1
    assert written < 512
    go.set()
    await asyncio.wait_for(client.writer.drain(), 5)
    client.write(b"\x88\x80\0\0\0\0")
    await client.rest()
    assert got == (written + 1) * 65536


# The opening handshake.


async def test_accept_with_subprotocol_and_headers(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["subprotocols"] == ["chat.v2", "chat.v1"]
        headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({**ACCEPT, "subprotocol": "chat.v1", "headers": headers})
        await receive()
        await receive()

    async with opened(await serve(app), subprotocols=["chat.v2", "chat.v1"]) as ws:
        assert ws.subprotocol == "chat.v1"
        assert ws.response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


async def test_subprotocol_that_was_not_offered_is_left_out(serve: Any, caplog: Any) -> None:
    """RFC 6455 §4.2.2: a server MUST NOT send what the client did not offer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**ACCEPT, "subprotocol": "mine"})
        await receive()
        await receive()

    async with opened(await serve(app)) as ws:
        assert ws.subprotocol is None
    assert "'mine', which the client did not offer" in caplog.text


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ((b"Sec-WebSocket-Protocol", b"x"), "goes into the 'subprotocol' key"),
        ((b"sec-websocket-accept", b"x"), "the server itself sends"),
        ((b"x", b"a\r\nb: c"), "control character"),
    ],
)
async def test_headers_the_application_may_not_send(
    serve: Any, connect: Any, header: Any, expected: str
) -> None:
    """SEC-32, RFC 9112 §11.1: nothing is written, and the client learns of a fault."""

    async def script(scope: Any, receive: Any, send: Any) -> None:
        await send({**ACCEPT, "headers": [header]})

    app = Recorder(script)
    client = await connect(await serve(app))
    client.write(OPENING + b"\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 500 ")
    assert expected in str(app.errors[0])


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (b"\xc1\x80" + bytes(4), b"\x88\x12\x03\xea"),  # a reserved bit: 1002
        (b"\x83\x80" + bytes(4), b"\x88\x12\x03\xea"),  # a reserved opcode: 1002
        (b"\x88\x82" + bytes(4) + b"\x0b\xb8", b"\x88\x02\x0b\xb8"),  # Close 3000
    ],
)
async def test_what_is_due_goes_before_the_applications_return(
    serve: Any, connect: Any, frame: bytes, answer: bytes
) -> None:
    """RFC 6455 §5.5.1, §7.1.7: a message and an end in one read: its answer, then the code due."""
    client = await connect(await serve(echo))
    client.write(OPENING + b"\r\n")
    await client.head()
    client.write(b"\x81\x81" + bytes(4) + b"x" + frame)
    octets = await client.rest()
    assert octets.startswith(b"\x81\x01x\x88")
    assert octets[5:7] == answer[2:4]


async def test_close_before_accept_is_403(serve: Any, connect: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**CLOSE, "code": 1008, "reason": "members only"})
        assert (await receive())["type"] == "websocket.disconnect"

    client = await connect(await serve(app))
    client.write(OPENING + b"\r\n" + OPENING + b"\r\n")
    for _ in range(2):  # and the connection goes on
        head, content = await client.response()
        assert head.startswith(b"HTTP/1.1 403 ")
        assert content == b"Forbidden: members only\n"


async def test_denial_with_a_response_of_the_applications_choice(serve: Any, connect: Any) -> None:
    """UPG-S-21, RFC 9110 §7.8: authentication applies before the switch (pain 29)."""
    start = {
        "type": "websocket.http.response.start",
        "status": 401,
        "headers": [(b"www-authenticate", b"Bearer")],
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "websocket.http.response" in scope["extensions"]
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"are you"})

    client = await connect(await serve(app))
    client.write(OPENING + b"Connection: close\r\n\r\n")
    octets = await client.rest()
    assert octets.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nwww-authenticate: Bearer\r\n" in octets
    assert b"who " in octets
    assert b"are you" in octets


async def test_whole_denial_has_its_length(serve: Any, connect: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404})
        await send({"type": "websocket.http.response.body", "body": b"none"})

    client = await connect(await serve(app))
    client.write(OPENING + b"\r\n")
    head, content = await client.response()
    assert (head[:13], content) == (b"HTTP/1.1 404 ", b"none")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 12"), b"426"),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"AAAA"), b"400"),
        ((b"Sec-WebSocket-Version", b"X"), b"400"),
        ((b"\r\nSec-WebSocket-Key", b"\r\nContent-Length: 5\r\nSec-WebSocket-Key"), b"400"),
    ],
    ids=["version", "key", "no-version", "content"],
)
async def test_bad_handshake_does_not_reach_the_application(
    serve: Any, connect: Any, change: tuple[bytes, bytes], status: bytes
) -> None:
    """UPG-S-24, RFC 6455 §4.2.1: the server refuses; the body says why."""
    app = Recorder(echo)
    client = await connect(await serve(app))
    client.write(OPENING.replace(*change) + b"\r\n")
    head, content = await client.response()
    assert head.split(b" ")[1] == status
    assert b"Sec-WebSocket" in content or b"content" in content
    assert not app.done.is_set()


async def test_post_with_a_websocket_offer_is_an_ordinary_request(serve: Any, connect: Any) -> None:
    """UPG-S-13, RFC 9110 §7.8: what cannot switch loses nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        message = await receive()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": message["body"]})

    client = await connect(await serve(app))
    client.write(OPENING.replace(b"GET", b"POST") + b"Content-Length: 5\r\n\r\nhello")
    assert (await client.response())[1] == b"hello"


async def test_any_origin_may_connect_by_default(serve: Any) -> None:
    async with opened(await serve(echo), origin="https://elsewhere.example") as ws:
        await ws.send("x")
        assert await ws.recv() == "x"


async def test_origins_can_be_checked_by_the_server(serve: Any) -> None:
    """WS-H-26, RFC 6455 §10.2: an unwanted Origin gets 403."""
    app = Recorder(echo)
    server = await serve(app, websocket=WebSocketOptions(origins=SAME_ORIGIN))
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with opened(server, origin="https://elsewhere.example"):
            pass
    assert caught.value.response.status_code == 403
    assert not app.done.is_set()


async def test_longer_messages_than_the_limit_end_the_connection(serve: Any) -> None:
    server = await serve(echo, websocket=WebSocketOptions(max_message_size=10))
    async with opened(server) as ws:
        await ws.send("x" * 11)
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            await ws.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


# The end.


async def test_client_closes(serve: Any) -> None:
    got: list[Any] = []

    async def script(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        got.append(await receive())
        got.append(await receive())
        for message in ({"type": "websocket.send", "text": "x"}, CLOSE):
            with pytest.raises(OSError, match="has ended"):
                await send(message)

    app = Recorder(script)
    async with opened(await serve(app)) as ws:
        await ws.close(4000, "bye")
    await app.ended()
    assert got == [{"type": "websocket.disconnect", "code": 4000, "reason": "bye"}] * 2
    assert not app.errors


async def test_client_vanishes(serve: Any, connect: Any) -> None:
    got: list[Any] = []

    async def script(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        got.append(await receive())
        got.append(await receive())

    app = Recorder(script)
    client = await connect(await serve(app))
    client.write(OPENING + b"\r\n")
    await client.head()
    client.reset()
    await app.ended()
    assert got[0] == {"type": "websocket.connect"} or got[0]["code"] == 1006
    assert got[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


async def test_application_closes_with_code_and_reason(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send({**CLOSE, "code": 4321, "reason": "enough"})

    async with opened(await serve(app)) as ws:
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await ws.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "enough")


async def test_application_that_returns_closes_with_1000(serve: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)

    async with opened(await serve(app)) as ws:
        with pytest.raises(websockets.ConnectionClosedOK) as caught:
            await ws.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1000


async def test_exception_is_1011_without_its_text(serve: Any, caplog: Any) -> None:
    """SEC-44, RFC 6455 §7.4.1."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await receive()
        raise ValueError("the secret")

    with caplog.at_level(logging.ERROR):
        async with opened(await serve(app)) as ws:
            await ws.send("x")
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await ws.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    assert "secret" not in caught.value.rcvd.reason
    assert "the secret" in caplog.text


@pytest.mark.parametrize("raises", [True, False])
async def test_no_answer_to_the_handshake_is_500(serve: Any, connect: Any, raises: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if raises:
            raise ValueError("the secret")

    client = await connect(await serve(app))
    client.write(OPENING + b"\r\n")
    head, content = await client.response()
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in content


async def test_shutdown_closes_with_1001(serve: Any) -> None:
    """Pain 25: the server says goodbye, and the application learns of it."""
    got: list[Any] = []

    async def script(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        got.append(await receive())

    app = Recorder(script)
    server = await serve(app)
    async with opened(server) as ws:
        closing = asyncio.ensure_future(server.close(5))
        with pytest.raises(websockets.ConnectionClosedOK) as caught:
            await ws.recv()
        await asyncio.wait_for(closing, 5)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
    assert got[0]["type"] == "websocket.disconnect"
    assert not server.connections


# Faults of the application.


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            [{"type": "websocket.send", "text": "x"}],
            "expected 'websocket.accept' or 'websocket.close' or 'websocket.http.response.start'",
        ),
        ([ACCEPT, ACCEPT], "expected 'websocket.send' or 'websocket.close'"),
        ([ACCEPT, {"type": "http.response.start"}], "after websocket.accept"),
        ([ACCEPT, {"type": "websocket.send"}], "without text or bytes"),
        ([{"type": "websocket.http.response.start", "status": 404}, ACCEPT], "expected"),
        (
            [
                {"type": "websocket.http.response.start", "status": 200},
                {"type": "websocket.http.response.body"},
            ],
            "status 200 does not refuse",
        ),
    ],
)
async def test_illegal_message_raises_and_says_what_would_be_legal(
    serve: Any, connect: Any, messages: Any, expected: str
) -> None:
    async def script(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    app = Recorder(script)
    client = await connect(await serve(app))
    client.write(OPENING + b"\r\n")
    await client.head()
    await app.ended()
    assert isinstance(app.errors[0], LocalProtocolError)
    assert expected in str(app.errors[0])


async def test_one_task_for_each_websocket(serve: Any) -> None:
    """No task and no queue between the connection and the application."""
    server = await serve(echo)
    before = len(asyncio.all_tasks())
    async with opened(server) as first, opened(server) as second:
        await first.send("x")
        await first.recv()
        await second.send("x")
        await second.recv()
        ours = [task for task in asyncio.all_tasks() if task.get_name() == "switchover"]
        assert len(ours) == 2
        assert before >= 1
