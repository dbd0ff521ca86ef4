"""The same applications over HTTP/2: an exchange is an exchange."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from switchover.asgi import Server
from switchover.asyncio.http2_server import HTTP2ServerProtocol

pytestmark = pytest.mark.anyio

EXTENDED = [
    (":method", "CONNECT"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "example.com"),
]


class H2Client:
    """A client made of another implementation's machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.machine = h2.connection.H2Connection(config)
        self.machine.initiate_connection()
        self.events: list[Any] = []
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.machine.data_to_send())

    def request(self, headers: list[tuple[str, str]], *, end: bool) -> int:
        stream: int = self.machine.get_next_available_stream_id()
        self.machine.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.machine.send_data(stream, data, end_stream=end)
        self.flush()

    async def event(self, kind: type[Any]) -> Any:
        """Return the next event of this kind; those before it are dropped."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, h2.events.DataReceived):
                    self.machine.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                if isinstance(event, kind):
                    return event
            data = await asyncio.wait_for(self.reader.read(65536), 5)
            assert data, "the connection has ended"
            self.events.extend(self.machine.receive_data(data))
            self.flush()

    async def octets(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            got += (await self.event(h2.events.DataReceived)).data
        return got


async def dial(app: Any) -> H2Client:
    """Connect to the driver itself: which door leads to it is not the matter here."""
    server = Server(app, lifespan="off")
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    await loop.connect_accepted_socket(lambda: HTTP2ServerProtocol(server, loop), theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    client = H2Client(reader, writer)
    await client.event(h2.events.RemoteSettingsChanged)
    return client


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
        return
    upgrade = scope["extensions"].get("http.upgrade")
    if upgrade is not None:
        assert upgrade["mechanism"] == "extended-connect"
        protocol = upgrade["protocols"][0].encode()
        start = {"type": "http.response.start", "status": 101}
        await send({**start, "headers": [(b"upgrade", protocol), (b"x-room", b"1")]})
        await send({"type": "http.response.body"})
        while (message := await upgrade["receive"]())["type"] != "http.upgrade.disconnect":
            reply = {"type": "http.upgrade.send", "data": message["data"].upper()}
            await upgrade["send"]({**reply, "more": message["more"]})
        return
    message = await receive()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["http_version"].encode()})


async def test_request() -> None:
    client = await dial(application)
    headers = [(":method", "GET"), *EXTENDED[1:]]
    client.request(headers, end=True)
    response = await client.event(h2.events.ResponseReceived)
    assert (":status", "200") in [(str(k), str(v)) for k, v in response.headers]
    assert await client.octets(1) == b"2"
    client.writer.close()


async def test_websocket() -> None:
    """WS2-01, WS2-06, RFC 8441 §3, §5: an application's WebSocket on a stream."""
    client = await dial(application)
    fields = [
        (":protocol", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "a, b"),
    ]
    stream = client.request([*EXTENDED, *fields], end=False)
    response = await client.event(h2.events.ResponseReceived)
    headers = {str(k): str(v) for k, v in response.headers}
    assert headers[":status"] == "200"
    assert headers["sec-websocket-protocol"] == "b"
    assert "sec-websocket-accept" not in headers
    assert client.machine.remote_settings.enable_connect_protocol == 1
    client.send(stream, b"\x81\x82\0\0\0\0hi")
    assert await client.octets(4) == b"\x81\x02HI"
    client.send(stream, b"\x88\x80\0\0\0\0", end=True)
    await client.event(h2.events.StreamEnded)
    client.writer.close()


async def test_any_protocol_by_extended_connect() -> None:
    """RFC 8441 §4: one application takes a token over either version of HTTP."""
    client = await dial(application)
    stream = client.request([*EXTENDED, (":protocol", "irc/6.9")], end=False)
    response = await client.event(h2.events.ResponseReceived)
    headers = {str(k): str(v) for k, v in response.headers}
    assert headers[":status"] == "200"
    assert headers["x-room"] == "1"
    assert "upgrade" not in headers
    client.send(stream, b"hello", end=True)
    assert await client.octets(5) == b"HELLO"
    await client.event(h2.events.StreamEnded)
    client.writer.close()


async def test_unaware_application_makes_no_tunnel() -> None:
    """RFC 8441 §4: a 200 would be the switch; an application that does not know is overruled."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"<html>"})

    client = await dial(app)
    client.request([*EXTENDED, (":protocol", "irc/6.9")], end=False)
    response = await client.event(h2.events.ResponseReceived)
    assert {str(k): str(v) for k, v in response.headers}[":status"] == "501"
    client.writer.close()
