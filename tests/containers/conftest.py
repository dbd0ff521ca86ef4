"""A peer that plays a script on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class ScriptedEngine:
    """Answers one request after the other, in the script's order, on any connection.

    ``requests`` holds what came: heads with their content. ``streams`` what came after a 101,
    ``ended`` whether the peer ended its data there, seen before the engine ended its own.
    """

    answers: list[list[bytes]]
    requests: list[bytes] = field(default_factory=list)
    streams: list[bytes] = field(default_factory=list)
    after_eof: bytes = b""
    address: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                self.requests.append(head + await reader.readexactly(length))
                pieces = self.answers.pop(0)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if pieces[0].startswith(b"HTTP/1.1 101"):
                    self.streams.append(await reader.read())
                    writer.write(self.after_eof)
                    break
                if b"ontent-" not in pieces[0]:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


Engine = Callable[..., Awaitable[ScriptedEngine]]


@pytest.fixture(params=["tcp", "unix"])
async def engine(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: object
) -> AsyncIterator[Engine]:
    """``await engine([b"HTTP/1.1 …", …], …)``: a script on TCP, and on a Unix socket."""
    servers: list[asyncio.Server] = []

    async def start(*answers: list[bytes], after_eof: bytes = b"") -> ScriptedEngine:
        scripted = ScriptedEngine(list(answers), after_eof=after_eof)
        if request.param == "unix":
            path = tmp_path / "engine.sock"
            servers.append(await asyncio.start_unix_server(scripted.serve, path))
            scripted.address = f"unix://{path}"
        else:
            servers.append(await asyncio.start_server(scripted.serve, "127.0.0.1", 0))
            port = servers[-1].sockets[0].getsockname()[1]
            scripted.address = f"tcp://127.0.0.1:{port}"
        return scripted

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()
