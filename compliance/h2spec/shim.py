"""Puts h2spec behind an ``Upgrade: h2c``: ``python -m compliance.h2spec.shim PORT``.

h2spec speaks HTTP/2 from its first octet. For each of its connections the shim opens one to the
server at 127.0.0.1:PORT, performs the upgrade of RFC 7540 §3.2, and then passes frames on, so that
h2spec sees a connection as if nothing had happened:

- stream 1 belongs to the upgrade: its response is swallowed, and h2spec's stream N is the server's
  stream N + 2;
- HTTP2-Settings asks for SETTINGS_HEADER_TABLE_SIZE 0, so that h2spec's HPACK decoder can do
  without the response it never saw;
- what the swallowed DATA took from the connection's window is given back, but not before h2spec
  has sent its SETTINGS, which must come first.

Prints ``ready PORT`` with its own port.
"""

from __future__ import annotations

import asyncio
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = 9
DATA, HEADERS, PRIORITY, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 2, 4, 7, 8
FLAG_PADDED, FLAG_PRIORITY = 0x8, 0x20
STREAMS_AHEAD = 2

# HTTP2-Settings: identifier 1 (HEADER_TABLE_SIZE), value 0, in base64url.
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAEAAAAA\r\n\r\n"
)


def shifted(stream: bytes, by: int) -> bytes:
    """The four octets of a stream identifier, moved; 0 and the reserved bit stay."""
    value = int.from_bytes(stream)
    reserved, number = value & 0x80000000, value & 0x7FFFFFFF
    return (reserved | max(0, number + by) if number else value).to_bytes(4)


def to_server(frame: bytes) -> bytes:
    """A frame of h2spec's, as the server must see it."""
    kind, flags, payload = frame[3], frame[4], bytearray(frame[FRAME_HEADER:])
    at = None
    if kind == PRIORITY:
        at = 0
    elif kind == HEADERS and flags & FLAG_PRIORITY:
        at = 1 if flags & FLAG_PADDED else 0
    if at is not None and len(payload) >= at + 4:  # what the stream depends on
        payload[at : at + 4] = shifted(bytes(payload[at : at + 4]), STREAMS_AHEAD)
    return frame[:5] + shifted(frame[5:9], STREAMS_AHEAD) + bytes(payload)


def to_tester(frame: bytes) -> bytes:
    """A frame of the server's, as h2spec must see it; nothing of stream 1."""
    stream = int.from_bytes(frame[5:9]) & 0x7FFFFFFF
    if stream == 1:
        return b""
    payload = frame[FRAME_HEADER:]
    if frame[3] == GOAWAY:
        payload = shifted(payload[:4], -STREAMS_AHEAD) + payload[4:]
    return frame[:5] + shifted(frame[5:9], -STREAMS_AHEAD) + payload


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """One frame with its header. Raises IncompleteReadError with what there was."""
    header = await reader.readexactly(FRAME_HEADER)
    try:
        return header + await reader.readexactly(int.from_bytes(header[:3]))
    except asyncio.IncompleteReadError as error:
        raise asyncio.IncompleteReadError(header + error.partial, None) from None


class Passage:
    """One connection of h2spec's and its counterpart to the server."""

    def __init__(self, tester: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._tester = tester
        self._server = server
        self._settled = False
        self._owed = 0

    async def forward(self, reader: asyncio.StreamReader) -> None:
        """From h2spec to the server."""
        preface = await reader.readexactly(len(PREFACE))
        self._server.write(preface)
        while preface == PREFACE:
            frame = await read_frame(reader)
            self._server.write(to_server(frame))
            if frame[3] == SETTINGS:
                self._settled = True
                self._give_back()
        while octets := await reader.read(65536):  # no preface: nothing to renumber
            self._server.write(octets)

    async def back(self, reader: asyncio.StreamReader) -> None:
        """From the server to h2spec."""
        while True:
            frame = await read_frame(reader)
            self._tester.write(to_tester(frame))
            if frame[3] == DATA and frame[5:9] == b"\x00\x00\x00\x01":
                self._owed += len(frame) - FRAME_HEADER
                self._give_back()

    def _give_back(self) -> None:
        if self._settled and self._owed:
            update = b"\x00\x00\x04" + bytes([WINDOW_UPDATE, 0]) + bytes(4) + self._owed.to_bytes(4)
            self._server.write(update)
            self._owed = 0


async def ended(passing: asyncio.Future[None], to: asyncio.StreamWriter) -> None:
    """Pass on until the end; an unfinished frame goes on as it is, then the end itself."""
    try:
        await passing
    except asyncio.IncompleteReadError as error:
        to.write(error.partial)
    except ConnectionError:
        pass
    finally:
        to.close()


async def pass_through(
    tester_reader: asyncio.StreamReader, tester: asyncio.StreamWriter, port: int
) -> None:
    """Upgrade a connection of our own, then join the two."""
    reader, server = await asyncio.open_connection("127.0.0.1", port)
    server.write(UPGRADE)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        print(f"the server did not switch: {head!r}", file=sys.stderr)
        tester.close()
        server.close()
        return
    passage = Passage(tester, server)
    await asyncio.gather(
        ended(asyncio.ensure_future(passage.forward(tester_reader)), server),
        ended(asyncio.ensure_future(passage.back(reader)), tester),
    )


async def main(port: int) -> None:
    """Serve h2spec until killed."""
    listener = await asyncio.start_server(
        lambda reader, writer: pass_through(reader, writer, port), "127.0.0.1", 0
    )
    print(f"ready {listener.sockets[0].getsockname()[1]}", flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
