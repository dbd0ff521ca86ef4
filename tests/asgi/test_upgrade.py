"""The ``http.upgrade`` extension over real connections (docs/reference/asgi-upgrade.md)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from switchover.errors import LocalProtocolError

pytestmark = pytest.mark.anyio

OFFER = b"Upgrade: irc/6.9, other\r\nConnection: upgrade\r\n"
BODY = {"type": "http.response.body"}


def start_of(protocol: bytes | None, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    named = [] if protocol is None else [(b"upgrade", protocol)]
    return {"type": "http.response.start", "status": 101, "headers": [*named, *headers]}


async def switch(scope: Any, send: Any, protocol: bytes | None = b"irc/6.9") -> Any:
    await send(start_of(protocol))
    await send(BODY)
    return scope["extensions"]["http.upgrade"]


async def shout(scope: Any, receive: Any, send: Any) -> None:
    """Send everything back in upper case, the end of data included."""
    assert scope["type"] == "http"
    upgrade = await switch(scope, send)
    while (message := await upgrade["receive"]())["type"] != "http.upgrade.disconnect":
        reply = {"type": "http.upgrade.send", "data": message["data"].upper()}
        await upgrade["send"]({**reply, "more": message["more"]})


def request(fields: bytes = OFFER, *, line: bytes = b"GET /irc HTTP/1.1") -> bytes:
    return line + b"\r\nHost: example.com\r\n" + fields + b"\r\n"


async def test_accepting_switches_and_both_ends_end_their_data(serve: Any, connect: Any) -> None:
    """UPG-S-08, UPG-S-10, RFC 9110 §15.2: behind the 101's blank line is the new protocol."""
    client = await connect(await serve(shout))
    client.write(request())
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nupgrade: irc/6.9\r\n" in head.lower()
    assert b"\r\nconnection: upgrade\r\n" in head.lower()
    client.write(b"hello")
    assert await client.exactly(5) == b"HELLO"
    client.write(b" again")
    client.write_eof()
    assert await client.rest() == b" AGAIN"


@pytest.mark.parametrize("cut", range(0, len(request()) + 6, 7))
async def test_octets_behind_the_request_come_first(serve: Any, connect: Any, cut: int) -> None:
    """UPG-S-11, UPG-S-18, RFC 9110 §7.8: nothing is lost at the seam, wherever it is cut."""
    client = await connect(await serve(shout))
    octets = request() + b"first\n"
    client.write(octets[:cut])
    await asyncio.sleep(0)
    client.write(octets[cut:])
    await client.head()
    assert await client.exactly(6) == b"FIRST\n"


async def test_half_close_leaves_the_other_direction_open(serve: Any, connect: Any) -> None:
    events: list[Any] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        upgrade = await switch(scope, send)
        events.append(await upgrade["receive"]())
        for data in (b"late ", b"octets"):
            await upgrade["send"]({"type": "http.upgrade.send", "data": data})
        await upgrade["send"]({"type": "http.upgrade.send", "more": False})
        events.append(await upgrade["receive"]())
        events.append(await upgrade["receive"]())
        done.set()

    client = await connect(await serve(app))
    client.write(request())
    client.write_eof()
    await client.head()
    assert await client.rest() == b"late octets"
    await asyncio.wait_for(done.wait(), 5)
    assert events == [
        {"type": "http.upgrade.receive", "data": b"", "more": False},
        {"type": "http.upgrade.disconnect", "clean": True},
        {"type": "http.upgrade.disconnect", "clean": True},
    ]


async def test_our_half_close_lets_the_client_go_on(serve: Any, connect: Any) -> None:
    got: list[bytes] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        upgrade = await switch(scope, send)
        await upgrade["send"]({"type": "http.upgrade.send", "data": b"bye", "more": False})
        with pytest.raises(LocalProtocolError, match="ended"):
            await upgrade["send"]({"type": "http.upgrade.send", "data": b"x"})
        while (message := await upgrade["receive"]())["type"] == "http.upgrade.receive":
            got.append(message["data"])
        done.set()

    client = await connect(await serve(app))
    client.write(request())
    await client.head()
    assert await client.rest() == b"bye"
    client.write(b"still here")
    client.write_eof()
    await asyncio.wait_for(done.wait(), 5)
    assert b"".join(got) == b"still here"


async def test_lost_connection_is_not_clean_and_send_raises(serve: Any, connect: Any) -> None:
    seen: list[Any] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        upgrade = await switch(scope, send)
        seen.append(await upgrade["receive"]())
        try:
            await upgrade["send"]({"type": "http.upgrade.send", "data": b"x"})
        except OSError as error:
            seen.append(error)
        # The ordinary receive tells it, too, and only now.
        seen.append(await receive())
        done.set()

    client = await connect(await serve(app))
    client.write(request())
    await client.head()
    client.reset()
    await asyncio.wait_for(done.wait(), 5)
    assert seen[0] == {"type": "http.upgrade.disconnect", "clean": False}
    assert isinstance(seen[1], OSError)
    assert seen[2] == {"type": "http.disconnect"}


async def test_ordinary_receive_waits_for_the_tunnels_end(serve: Any, connect: Any) -> None:
    """A middleware that watches for http.disconnect must not see one at the switch."""
    states: list[bool] = []
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        upgrade = await switch(scope, send)
        watcher = asyncio.ensure_future(receive())
        assert (await upgrade["receive"]())["data"] == b"x"
        states.append(watcher.done())
        await upgrade["send"]({"type": "http.upgrade.abort"})
        assert await watcher == {"type": "http.disconnect"}
        done.set()

    client = await connect(await serve(app))
    client.write(request() + b"x")
    await asyncio.wait_for(done.wait(), 5)
    assert states == [False]


async def test_content_is_the_applications_before_the_switch(serve: Any, connect: Any) -> None:
    """UPG-S-11, UPG-S-12, RFC 9110 §7.8: content first, 100 before 101, then the protocol."""
    content: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            content.append(message["body"])
            more = message["more_body"]
        await shout(scope, receive, send)

    client = await connect(await serve(app))
    expect = OFFER + b"Content-Length: 5\r\nExpect: 100-continue\r\n"
    client.write(request(expect, line=b"POST /irc HTTP/1.1"))
    assert (await client.head()).startswith(b"HTTP/1.1 100 ")
    client.write(b"hellonew")
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    assert await client.exactly(3) == b"NEW"
    assert b"".join(content) == b"hello"


async def test_unread_content_does_not_reach_the_protocol(serve: Any, connect: Any) -> None:
    """UPG-S-11, RFC 9110 §7.8: the new protocol starts after the complete request."""
    client = await connect(await serve(shout))
    chunked = OFFER + b"Transfer-Encoding: chunked\r\n"
    client.write(request(chunked, line=b"POST /irc HTTP/1.1") + b"5\r\nhello\r\n0\r\n\r\nnew")
    await client.head()
    assert await client.exactly(3) == b"NEW"


async def test_further_fields_are_in_the_101(serve: Any, connect: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        extra = [(b"x-room", b"1"), (b"content-length", b"0"), (b"connection", b"close")]
        await send(start_of(b"OTHER", *extra))
        await send(BODY)

    client = await connect(await serve(app))
    client.write(request())
    head = (await client.head()).lower()
    assert b"\r\nx-room: 1\r\n" in head
    assert b"\r\nupgrade: other\r\n" in head
    assert b"content-length" not in head
    assert b"close" not in head


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([start_of(b"irc/7"), BODY], "names 'irc/7', which was not offered"),
        ([start_of(b"websocket"), BODY], "which was not offered"),
        ([start_of(b"irc/6.9, other"), BODY], "must name one protocol"),
        ([start_of(None), BODY], "must name one protocol"),
        ([start_of(b"irc/6.9"), {**BODY, "body": b"x"}], "a 101 has no content"),
        ([start_of(b"irc/6.9"), {**BODY, "more_body": True}], "a 101 has no content"),
    ],
)
async def test_acceptance_that_does_not_fit_raises_and_writes_nothing(
    serve: Any, connect: Any, messages: Any, expected: str
) -> None:
    """UPG-S-07, RFC 9110 §7.8: never switch to a protocol that was not offered."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            for message in messages:
                await send(message)
        except LocalProtocolError as error:
            seen.append(str(error))
        await send({"type": "http.response.start", "status": 400})
        await send({"type": "http.response.body", "body": b"no"})

    client = await connect(await serve(app))
    client.write(request())
    head, body = await client.response()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == b"no"
    assert expected in seen[0]


async def test_channel_before_the_switch_raises(serve: Any, connect: Any) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        upgrade = scope["extensions"]["http.upgrade"]
        for call in (upgrade["receive"], lambda: upgrade["send"]({"type": "http.upgrade.send"})):
            with pytest.raises(LocalProtocolError, match="has not been switched"):
                await call()
            seen.append("raised")
        await switch(scope, send)
        with pytest.raises(LocalProtocolError, match=r"expected 'http.upgrade.send' or"):
            await upgrade["send"]({"type": "http.response.body"})
        seen.append("raised")

    client = await connect(await serve(app))
    client.write(request())
    await client.head()
    assert await client.rest() == b""
    assert len(seen) == 3


async def test_declining_loses_nothing(serve: Any, connect: Any) -> None:
    """UPG-S-17, UPG-S-18, RFC 9931 §5: a declined offer is an ordinary exchange."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        content = b""
        more = True
        while more:
            message = await receive()
            content += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["path"].encode() + content})

    client = await connect(await serve(app))
    first = request(OFFER + b"Content-Length: 5\r\n", line=b"POST /1 HTTP/1.1") + b"hello"
    chunked = OFFER + b"Transfer-Encoding: chunked\r\n"
    second = request(chunked, line=b"POST /2 HTTP/1.1") + b"3\r\nabc\r\n0\r\n\r\n"
    client.write(first + second + request(b"", line=b"GET /3 HTTP/1.1"))
    assert [(await client.response())[1] for _ in range(3)] == [b"/1hello", b"/2abc", b"/3"]


async def test_application_that_raises_cuts_the_connection_off(
    serve: Any, connect: Any, caplog: Any
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await switch(scope, send)
        raise ValueError("the secret")

    with caplog.at_level(logging.ERROR):
        client = await connect(await serve(app))
        client.write(request())
        await client.head()
        try:
            rest = await client.rest()
        except ConnectionResetError:
            rest = b""
    assert rest == b""
    assert "the secret" in caplog.text


async def test_slow_client_holds_the_sender_up(serve: Any, connect: Any) -> None:
    """Backpressure: send waits while the client does not read."""
    sent = 0
    piece = b"x" * 65536

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        upgrade = await switch(scope, send)
        while sent < 512:
            await upgrade["send"]({"type": "http.upgrade.send", "data": piece})
            sent += 1

    client = await connect(await serve(app))
    client.writer.transport.pause_reading()
    client.write(request())
    before = -1
    while before != sent or not sent:
        before = sent
        await asyncio.sleep(0.05)
    assert sent < 512
    client.writer.transport.resume_reading()
    await client.head()
    assert len(await client.rest()) == 512 * len(piece)


async def test_connect_makes_a_tunnel(serve: Any, connect: Any) -> None:
    """CON-05, RFC 9110 §9.3.6: an accepted CONNECT is answered with 2xx and no framing fields."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"]["http.upgrade"]["authority"])
        upgrade = await switch(scope, send, None)
        message = await upgrade["receive"]()
        await upgrade["send"]({"type": "http.upgrade.send", "data": message["data"][::-1]})

    client = await connect(await serve(app, connect="app"))
    client.write(b"CONNECT example.net:443 HTTP/1.1\r\nHost: example.net:443\r\n\r\nabc")
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 200 ")
    for absent in (b"upgrade", b"content-length", b"transfer-encoding"):
        assert absent not in head.lower()
    assert await client.rest() == b"cba"
    assert seen == ["example.net:443"]


async def test_connect_refused_by_an_unaware_application(serve: Any, connect: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"<html>"})

    client = await connect(await serve(app, connect="app"))
    client.write(b"CONNECT example.net:443 HTTP/1.1\r\nHost: example.net:443\r\n\r\n")
    head, body = await client.response()
    assert head.startswith(b"HTTP/1.1 501 ")
    assert b"<html>" not in body
    assert await client.rest() == b""


async def test_nothing_behind_a_refused_connect_is_served(serve: Any, connect: Any) -> None:
    """RFC 9931 §8: the connection closes, for what follows may be the tunnel's."""
    calls: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["method"])
        await send({"type": "http.response.start", "status": 403})
        await send({"type": "http.response.body", "body": b"no"})

    client = await connect(await serve(app, connect="app"))
    connect_request = b"CONNECT example.net:443 HTTP/1.1\r\nHost: example.net:443\r\n\r\n"
    client.write(connect_request + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _ = await client.response()
    assert head.startswith(b"HTTP/1.1 403 ")
    assert await client.rest() == b""
    assert calls == ["CONNECT"]


async def test_connect_does_not_reach_the_application_by_default(serve: Any, connect: Any) -> None:
    """CON-12, SEC-35, RFC 9110 §9.3.6: no tunnels unless asked for."""
    client = await connect(await serve(shout))
    client.write(b"CONNECT example.net:443 HTTP/1.1\r\nHost: example.net:443\r\n\r\n")
    assert (await client.head()).split(b" ")[1] in (b"403", b"405", b"501")


async def test_shutdown_ends_the_tunnel(serve: Any, connect: Any) -> None:
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        upgrade = await switch(scope, send)
        while (await upgrade["receive"]())["type"] != "http.upgrade.disconnect":
            pass
        done.set()

    server = await serve(app)
    client = await connect(server)
    client.write(request())
    await client.head()
    closing = asyncio.ensure_future(server.close(5))
    assert await client.rest() == b""
    client.close()
    await asyncio.wait_for(closing, 5)
    assert done.is_set()
    assert not server.connections
