"""Asks a server for TLS by an upgrade made by hand, then passes octets on: ``... PORT``.

Behind it, a client that knows TLS only from the first octet meets a server in mid-switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

SWITCH = (
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: TLS/1.3, TLS/1.2\r\n\r\n"
)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass octets on until they end."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Switch a connection of our own, and join the two."""
    onward, upward = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    upward.write(SWITCH)
    head = await onward.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    await asyncio.gather(pump(reader, upward), pump(onward, writer))


async def main() -> None:
    """Serve until ended."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(f"ready {server.sockets[0].getsockname()[1]}\n", flush=True)
    await server.serve_forever()


asyncio.run(main())
