"""TLS as a transport: octets, their order, and the end of a connection (RFC 8446), real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from switchover.asyncio import tls_transport
from switchover.asyncio.client import Client
from switchover.asyncio.dialing import Route
from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.tls import ClientTLS, connect_inside, describe_tls, start_tls
from switchover.asyncio.tls_transport import TLSTransport
from switchover.http.messages import Response

pytestmark = pytest.mark.anyio

ALERT, HANDSHAKE, DATA = 21, 22, 23  # RFC 8446 §5.1: ContentType


class End:
    """One end of a connection: keeps what comes, and says what it was told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.told: list[str] = []
        self.received = bytearray()
        self.made = asyncio.Event()
        self.arrived = asyncio.Event()
        self.lost = asyncio.Event()
        self.error: Exception | None = None
        self.resumed = asyncio.Event()
        self.on_octets: Callable[[], Any] = lambda: None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.made.set()

    def _take(self, data: bytes) -> None:
        self.received += data
        self.arrived.set()
        self.on_octets()

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")
        self.resumed.set()

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append("lost")
        self.error = error
        self.lost.set()

    async def has(self, count: int) -> bytes:
        async with asyncio.timeout(5):
            while len(self.received) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return bytes(self.received)

    async def end(self) -> Exception | None:
        async with asyncio.timeout(5):
            await self.lost.wait()
        return self.error


class Plain(End, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self._take(data)


class Buffered(End, asyncio.BufferedProtocol):
    size = 1000

    def get_buffer(self, sizehint: int) -> memoryview:
        self.buffer = memoryview(bytearray(self.size))
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._take(bytes(self.buffer[:nbytes]))


BOTH = pytest.mark.parametrize("kind", [Plain, Buffered])


class Peer:
    """The other end of a TLS connection, one record at a time, with no transport of ours."""

    def __init__(self, context: ssl.SSLContext, reader: Any, writer: Any, server: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server,
            server_hostname=None if server else "localhost",
        )
        self.reader, self.writer = reader, writer
        self.records: list[int] = []

    async def record(self) -> bytes:
        """The next record, ``b""`` at the end of the connection."""
        async with asyncio.timeout(5):
            try:
                head = await self.reader.readexactly(5)
                body = await self.reader.readexactly(int.from_bytes(head[3:], "big"))
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""
        self.records.append(head[0])
        return bytes(head + body)

    async def _until(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                await self.flush()
                record = await self.record()
                if not record:
                    raise EOFError from None
                self.incoming.write(record)
            finally:
                await self.flush()

    async def flush(self) -> None:
        self.writer.write(self.outgoing.read())
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def handshake(self) -> Peer:
        await self._until(self.session.do_handshake)
        return self

    async def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = await self._until(lambda: self.session.read(65536))
            if not piece:
                break
            data += piece
        return data

    async def send(self, data: bytes) -> None:
        self.session.write(data)
        await self.flush()

    def say_end(self) -> bytes:
        """The record of close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.session.unwrap()
        return self.outgoing.read()


@asynccontextmanager
async def serving(context: ssl.SSLContext, end: Any, **options: Any) -> AsyncIterator[int]:
    """A listener whose one connection belongs to ``end``; its port."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: TLSTransport(end, context, server_side=True, **options), "127.0.0.1", 0
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        if end.transport is not None:
            end.transport.abort()


@asynccontextmanager
async def peer_of(
    context: ssl.SSLContext, client_context: ssl.SSLContext, end: Any, **options: Any
) -> AsyncIterator[Peer]:
    async with serving(context, end, **options) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        peer = await Peer(client_context, reader, writer, server=False).handshake()
        async with asyncio.timeout(5):
            await end.made.wait()
        try:
            yield peer
        finally:
            writer.transport.abort()


# Octets.


@BOTH
@pytest.mark.parametrize("size", [1, 16384, 16385, 262144, 262145, 700_000])
async def test_octets_come_out_as_they_went_in(
    kind: type[End], size: int, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """WS-F-15: both ends ours, whole messages in one call and in pieces, across record sizes."""
    data = bytes(range(256)) * (size // 256 + 1)
    ours, theirs = kind(), kind()
    async with serving(server_context, ours) as port:
        loop = asyncio.get_running_loop()
        transport, _ = await connect_inside(
            ClientTLS(client_context, "localhost"),
            lambda: theirs,
            lambda made: loop.create_connection(made, "127.0.0.1", port),
        )
        transport.write(data[:size])
        assert await ours.has(size) == data[:size]
        third = size // 3
        ours.transport.writelines([data[:third], b"", bytearray(data[third:size])])
        assert await theirs.has(size) == data[:size]
        transport.abort()


@BOTH
async def test_records_cut_into_single_octets(
    kind: type[End], server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """WS-F-15: a record is handed on when it is complete."""
    end = kind()
    async with peer_of(server_context, client_context, end) as peer:
        peer.session.write(b"first")
        peer.session.write(b"second")
        records = peer.outgoing.read()
        for position in range(len(records)):
            peer.writer.write(records[position : position + 1])
            await peer.writer.drain()
        assert await end.has(11) == b"firstsecond"


async def test_pieces_written_together_share_a_record(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """RFC 8446 §5.1: the frames of a small message need not be records of their own."""
    end = Buffered()
    async with peer_of(server_context, client_context, end) as peer:
        await end_of_tickets(peer, end)
        peer.records.clear()
        end.transport.writelines([b"a" * 10, b"b" * 100, b"c" * 1000])
        assert await peer.read(1110) == b"a" * 10 + b"b" * 100 + b"c" * 1000
        assert peer.records == [DATA]


async def end_of_tickets(peer: Peer, end: End) -> None:
    """Read past what TLS 1.3 sends of its own accord behind the handshake."""
    end.transport.write(b".")
    assert await peer.read(1) == b"."


# Flow.


@BOTH
async def test_what_was_read_before_a_pause_comes_after_it(
    kind: type[End], server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """SEC-21: a protocol that pauses at every piece gets all, though nothing follows."""
    end = kind()
    loop = asyncio.get_running_loop()

    def pause() -> None:
        end.transport.pause_reading()
        loop.call_later(0.002, end.transport.resume_reading)

    end.on_octets = pause
    async with peer_of(server_context, client_context, end) as peer:
        for _ in range(3):
            peer.session.write(b"x" * 10_000)
        await peer.flush()
        assert await end.has(30_000) == b"x" * 30_000
        assert end.told == []


async def test_the_end_that_came_during_a_pause_comes_behind_the_octets(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """RFC 8446 §6.1: not one octet is lost at the end, and the end is told once."""
    end = Buffered()
    end.on_octets = lambda: end.transport.pause_reading()
    async with peer_of(server_context, client_context, end) as peer:
        peer.session.write(b"y" * 30_000)
        peer.writer.write(peer.outgoing.read() + peer.say_end())
        peer.writer.write_eof()
        loop = asyncio.get_running_loop()
        end.on_octets = lambda: (
            end.transport.pause_reading(),
            loop.call_soon(end.transport.resume_reading),
        )
        await end.has(1)
        end.transport.resume_reading()
        assert await end.end() is None
        assert end.received == b"y" * 30_000
        assert end.told == ["eof", "lost"]


async def test_a_peer_that_does_not_read_stops_the_writer(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """SEC-21: the marks of the transport below count, and everything arrives in the end."""
    end = Buffered()
    async with peer_of(server_context, client_context, end) as peer:
        written = 0
        while "pause" not in end.told:
            end.transport.write(bytes(100_000))
            written += 100_000
            assert written < 64 * 1024 * 1024
            await asyncio.sleep(0)
        assert end.transport.get_write_buffer_size() > 0
        assert len(await peer.read(written)) == written
        async with asyncio.timeout(5):
            await end.resumed.wait()
        assert end.transport.get_write_buffer_size() == 0


# The end.


async def test_close_says_close_notify_and_then_ends(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """WS-C-11, RFC 8446 §6.1: what was written, close_notify, FIN; no reset."""
    end = Buffered()
    async with peer_of(server_context, client_context, end) as peer:
        await peer.send(b"nobody reads this")
        end.transport.write(b"last")
        end.transport.close()
        assert end.transport.is_closing()
        assert await peer.read(5) == b"last"  # and a TLS end, not a cut
        assert await peer.record() == b""
        peer.writer.write(peer.say_end())
        peer.writer.close()
        assert await end.end() is None
        assert "eof" not in end.told


async def test_close_while_reading_is_paused(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """WS-C-11: the peer's end is noticed, and what it sent before is discarded."""
    end = Buffered()
    end.on_octets = lambda: end.transport.pause_reading()
    async with peer_of(server_context, client_context, end) as peer:
        await peer.send(b"z" * 200_000)
        await end.has(1)
        end.transport.close()
        peer.writer.close()
        assert await end.end() is None
        assert len(end.received) == Buffered.size


async def test_a_peer_without_an_end_is_waited_for_no_longer_than_allowed(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SEC-22: it keeps the connection open and says nothing."""
    monkeypatch.setattr(tls_transport, "_LINGER", 0.05)
    end = Buffered()
    async with peer_of(server_context, client_context, end) as peer:
        end.transport.close()
        assert await end.end() is None
        assert await peer.read(1) == b""


@BOTH
async def test_the_peer_ends_in_order(
    kind: type[End], server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """RFC 8446 §6.1: what stood before close_notify comes first; ours is the answer."""
    end = kind()
    async with peer_of(server_context, client_context, end) as peer:
        peer.session.write(b"data")
        peer.writer.write(peer.outgoing.read() + peer.say_end())
        assert await end.end() is None
        assert end.received == b"data"
        assert end.told == ["eof", "lost"]
        while record := await peer.record():
            peer.incoming.write(record)
        peer.session.unwrap()  # raises unless a close_notify has come


@BOTH
async def test_an_end_without_close_notify_is_a_cut(
    kind: type[End], server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """RFC 9112 §9.8: never an end of data, which anybody on the way could make."""
    end = kind()
    async with peer_of(server_context, client_context, end) as peer:
        await peer.send(b"part" * 50_000)
        peer.writer.write_eof()
        assert isinstance(await end.end(), ConnectionResetError)
        assert end.received == b"part" * 50_000
        assert end.told == ["lost"]


async def test_a_reset_in_the_middle_is_noticed(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """RFC 8446 §6.1: on every loop, also while octets are on their way."""
    end = Buffered()
    async with peer_of(server_context, client_context, end) as peer:
        await peer.send(b"w" * 200_000)
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
        await end.end()


async def test_a_forged_record_ends_the_connection(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """RFC 8446 §5.2: bad_record_mac, the alert goes out, and nothing of it is handed on."""
    end = Buffered()
    async with peer_of(server_context, client_context, end) as peer:
        peer.session.write(b"good")
        peer.session.write(b"evil")
        records = bytearray(peer.outgoing.read())
        records[-1] ^= 1
        peer.writer.write(records)
        assert isinstance(await end.end(), ssl.SSLError)
        assert end.received == b"good"
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
            await peer.read(1)


# The handshake.


async def test_garbage_is_answered_with_an_alert(server_context: ssl.SSLContext) -> None:
    """TLS-07, RFC 8446 §6.2: an alert, then the end; the protocol never heard of it."""
    end = Plain()
    async with serving(server_context, end) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01\x00\x05hello")
        async with asyncio.timeout(5):
            seen = await reader.read()
        assert seen[0] == ALERT
        assert end.transport is None
        writer.close()


async def from_the_first_octet(context: ssl.SSLContext, port: int) -> None:
    loop = asyncio.get_running_loop()
    await connect_inside(
        ClientTLS(context, "localhost"),
        Plain,
        lambda made: loop.create_connection(made, "127.0.0.1", port),
    )


async def on_a_connection(context: ssl.SSLContext, port: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(Plain, "127.0.0.1", port)
    transport.pause_reading()
    await start_tls(transport, Plain(), context, server_side=False, server_hostname="localhost")


@pytest.mark.parametrize("begin", [from_the_first_octet, on_a_connection])
async def test_a_client_says_why_it_leaves(
    begin: Callable[[ssl.SSLContext, int], Any], server_context: ssl.SSLContext
) -> None:
    """TLS-07, TLS-11: a certificate it does not trust; the server learns that from the alert."""
    context = ssl.create_default_context()  # does not know the issuer
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def accept(reader: Any, writer: Any) -> None:
        peer = Peer(server_context, reader, writer, server=True)
        try:
            await peer.handshake()
            await peer.read(1)
        except ssl.SSLError as error:
            heard.set_result(error.reason)
        except EOFError:
            heard.set_result("nothing")
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await begin(context, port)
        async with asyncio.timeout(5):
            assert "UNKNOWN_CA" in await heard


async def test_a_handshake_has_its_time(server_context: ssl.SSLContext) -> None:
    """SEC-19: a client that says nothing is sent away."""
    async with serving(server_context, Plain(), handshake_timeout=0.05) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("silent", [True, False])
async def test_a_server_without_a_handshake(client_context: ssl.SSLContext, silent: bool) -> None:
    """TLS-07: it says nothing, or leaves; whoever waits is told which."""

    async def accept(reader: Any, writer: Any) -> None:
        if silent:
            await reader.read(-1)
        writer.close()

    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(Plain, "127.0.0.1", port)
        transport.pause_reading()
        expected = ConnectionAbortedError if silent else ConnectionResetError
        with pytest.raises(expected):
            await start_tls(
                transport,
                Plain(),
                client_context,
                server_side=False,
                server_hostname="localhost",
                handshake_timeout=0.05 if silent else 5.0,
            )
        assert transport.is_closing()


async def test_giving_up_a_handshake_ends_the_connection(client_context: ssl.SSLContext) -> None:
    """TLS-07: cancelled, nothing of it stays behind."""
    ended = asyncio.Event()

    async def accept(reader: Any, writer: Any) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)
        writer.close()
        ended.set()

    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connect_inside(
                    ClientTLS(client_context, "localhost"),
                    Plain,
                    lambda made: loop.create_connection(made, "127.0.0.1", port),
                )
        async with asyncio.timeout(5):
            await ended.wait()


async def test_facts_of_the_session(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, certificate: Path
) -> None:
    """ALPN-02, TLS-14: ALPN, certificates of both ends, version and the session itself."""
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    client_context.set_alpn_protocols(["http/1.1"])
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(str(certificate))
    client_context.load_cert_chain(certificate)
    end = Plain()
    async with peer_of(server_context, client_context, end) as peer:
        facts = describe_tls(end.transport)
        assert facts is not None
        assert facts["alpn"] == peer.session.selected_alpn_protocol() == "http/1.1"
        assert facts["version"] == "TLSv1.3"
        assert facts["peer_certificate"] == end.transport.get_extra_info("peercert") != {}
        assert isinstance(facts["ssl_object"], ssl.SSLObject)
        assert end.transport.get_extra_info("sslcontext") is server_context
        assert end.transport.get_extra_info("peername")[0] == "127.0.0.1"
        assert not end.transport.can_write_eof()


@pytest.mark.parametrize("callback", ["keylog", "server name", "messages"])
async def test_callbacks_of_a_context(
    callback: str,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    """TLS-11: what a context may be asked to tell, it tells."""
    heard: list[Any] = []
    if callback == "keylog":
        server_context.keylog_filename = str(tmp_path / "keys")
    elif callback == "server name":
        server_context.sni_callback = lambda session, name, context: heard.append(name)
    else:
        server_context._msg_callback = lambda *told: heard.append(told)  # type: ignore[attr-defined]  # not in typeshed
    end = Plain()
    async with peer_of(server_context, client_context, end) as peer:
        await peer.send(b"octets")
        await end.has(6)
    if callback == "keylog":
        assert "TRAFFIC_SECRET" in (tmp_path / "keys").read_text()
    else:
        assert heard


# Nagle's algorithm.


def _sends_at_once(transport: Any) -> bool:
    sock = transport.get_extra_info("socket")
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


@pytest.mark.parametrize("protected", [False, True])
async def test_a_socket_of_the_caller_sends_at_once(
    protected: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """Without TCP_NODELAY the second half of a message waits 40 ms for the first's ack.

    asyncio sets it only where ``proto`` says TCP; two arguments to ``socket()`` leave that 0.
    """
    at_once: list[bool] = []

    async def answer(exchange: Exchange) -> None:
        (transport,) = exchange.server.connections.values()
        at_once.append(_sends_at_once(transport))
        await exchange.send_response(Response.text(200, "ok"), end=True)

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    connecting = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connecting.setblocking(False)
    async with Server(answer) as server:
        await server.start(sock=listening, ssl=server_context if protected else None)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connecting, listening.getsockname())
        scheme = "https" if protected else "http"
        route = Route(sock=connecting, ssl=client_context)
        async with Client(route=route) as client:
            await client.get(f"{scheme}://localhost:{server.port}/")
            at_once.append(bool(connecting.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
    assert at_once == [True, True]
