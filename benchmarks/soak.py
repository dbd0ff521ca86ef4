"""A soak: connections come and go in every way there is, and everything returns to where it was.

    python benchmarks/soak.py --minutes 20

A server runs in a process of its own; clients greet it, talk, read slowly, break off in the
middle of a frame, end one direction only, send nonsense, or stay silent. Each minute, and at
the end with all clients gone, the server tells its tasks, connections, descriptors and
memory. Exits with 1 if anything is left: connections, tasks or descriptors at all, or memory
that has grown by more than a tenth since the second minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import switchover
from switchover.asyncio.server import Server
from switchover.asyncio.settings import ServerSettings, Timeouts

_HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


# The server.


async def _echo(ws: switchover.WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def _shout(tunnel: switchover.Tunnel) -> None:
    async for data in tunnel:
        await tunnel.send(data.upper())


def _facts(server: Server) -> dict[str, int]:
    gc.collect()
    resident = Path("/proc/self/statm").read_text().split()[1]
    return {
        "connections": len(server.connections),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "memory_kb": int(resident) * os.sysconf("SC_PAGESIZE") // 1024,
    }


async def _serve() -> None:
    async def handler(exchange: switchover.Exchange) -> None:
        while await exchange.receive_content():
            pass
        text = json.dumps(_facts(server)) if exchange.request.path == "/facts" else "ok"
        await exchange.send_response(switchover.Response.text(200, text), end=True)

    settings = switchover.WebSocketSettings(ping_interval=5.0, ping_timeout=5.0, close_timeout=3.0)
    server = Server(
        handler,
        [
            switchover.websocket(
                _echo, path="/echo", settings=settings, max_message_size=4 * 1024 * 1024
            ),
            switchover.token("shout/1", _shout, path="/shout"),
            switchover.h2c(),
        ],
        settings=ServerSettings(timeouts=Timeouts(head=5.0, idle=5.0, close=3.0)),
    )
    await server.start()
    print(server.port, flush=True)
    await server.serve_forever()


# The clients: each behaviour is one connection's life.


async def _talk(port: int) -> None:
    deflate = None if random.random() < 0.5 else ()
    url = f"ws://127.0.0.1:{port}/echo"
    async with switchover.connect(url, extensions=deflate, one_at_a_time=False) as ws:
        for _ in range(random.randrange(20)):
            message = os.urandom(random.choice((1, 100, 5_000, 200_000)))
            await ws.send(message)
            if await ws.recv() != message:
                raise AssertionError("an echo differs")


async def _tunnel(port: int) -> None:
    async with switchover.switch(f"http://127.0.0.1:{port}/shout", offer=["shout/1"]) as switched:
        assert switched.tunnel is not None
        await switched.tunnel.send(b"x" * random.randrange(1, 300_000))
        if random.random() < 0.5:
            await switched.tunnel.send_eof()
            async for _ in switched.tunnel:
                pass


async def _http2(port: int) -> None:
    async with switchover.Client() as client:
        await client.post(f"http://127.0.0.1:{port}/", b"x" * 10_000, offer=["h2c"])
        await asyncio.gather(*(client.get(f"http://127.0.0.1:{port}/") for _ in range(5)))


async def _raw(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def _opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await _raw(port)
    writer.write(_HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _slow_reader(port: int) -> None:
    _, writer = await _opened(port)
    writer.transport.pause_reading()
    frame = b"\x82\xfe\xff\xff\0\0\0\0" + bytes(65535)
    for _ in range(100):
        writer.write(frame)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.05)
    await asyncio.sleep(random.random() * 3)
    _reset(writer)


async def _broken_off(port: int) -> None:
    _, writer = await _opened(port)
    writer.write(b"\x82\xfe\xff\xff\0\0\0\0" + bytes(random.randrange(1000)))
    await writer.drain()
    _reset(writer)


async def _half_closed(port: int) -> None:
    reader, writer = await _opened(port)
    writer.write(b"\x81\x85\0\0\0\0hello"[: random.randrange(12)])
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 15)
    writer.close()


async def _nonsense(port: int) -> None:
    reader, writer = await (_opened(port) if random.random() < 0.5 else _raw(port))
    writer.write(os.urandom(random.randrange(1, 5000)))
    with contextlib.suppress(ConnectionError, TimeoutError):
        await asyncio.wait_for(reader.read(), 8)
    writer.transport.abort()


async def _silent(port: int) -> None:
    _, writer = await (_opened(port) if random.random() < 0.5 else _raw(port))
    await asyncio.sleep(random.random() * 12)
    writer.transport.abort()


async def _unfinished(port: int) -> None:
    _, writer = await _raw(port)
    writer.write(_HANDSHAKE[: random.randrange(len(_HANDSHAKE))])
    await asyncio.sleep(random.random() * 2)
    _reset(writer)


_LIVES: tuple[Callable[[int], Awaitable[None]], ...] = (
    _talk, _talk, _talk, _tunnel, _http2, _slow_reader, _broken_off, _half_closed, _nonsense,
    _silent, _unfinished,
)  # fmt: skip


async def _one_after_another(port: int, until: float, counts: dict[str, int]) -> None:
    while time.monotonic() < until:
        life = random.choice(_LIVES)
        counts[life.__name__] = counts.get(life.__name__, 0) + 1
        try:
            await asyncio.wait_for(life(port), 40)
        except (OSError, switchover.SwitchoverError, asyncio.IncompleteReadError, TimeoutError):
            counts["ended otherwise"] = counts.get("ended otherwise", 0) + 1
        await asyncio.sleep(random.random() * 0.05)


async def _ask(port: int) -> dict[str, int]:
    async with switchover.Client() as client:
        facts: dict[str, int] = await (await client.get(f"http://127.0.0.1:{port}/facts")).json()
        return facts


async def _soak(minutes: float, clients: int) -> int:
    server = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    try:
        before = await _ask(port)
        print("before", before, flush=True)
        end = time.monotonic() + minutes * 60
        counts: dict[str, int] = {}
        lives = [asyncio.create_task(_one_after_another(port, end, counts)) for _ in range(clients)]
        seen: list[dict[str, int]] = []
        while time.monotonic() < end:
            await asyncio.sleep(min(60.0, minutes * 10))
            seen.append(await _ask(port))
            print(f"{len(seen):3}", seen[-1], sum(counts.values()), "lives", flush=True)
        await asyncio.gather(*lives)
        await asyncio.sleep(20)  # the server's own deadlines
        after = await _ask(port)
        print("after", after, counts, flush=True)
        return _verdict(before, after, seen)
    finally:
        server.terminate()
        await server.wait()


def _verdict(before: dict[str, int], after: dict[str, int], seen: list[dict[str, int]]) -> int:
    left = [name for name in ("connections", "tasks", "descriptors") if after[name] > before[name]]
    early = max(entry["memory_kb"] for entry in seen[:2])
    if after["memory_kb"] > early * 1.1:
        left.append("memory_kb")
    print("left over:", ", ".join(left) or "nothing")
    return 1 if left else 0


def main() -> None:
    """Run the soak, or its server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        import uvloop

        uvloop.run(_serve())
    else:
        sys.exit(asyncio.run(_soak(arguments.minutes, arguments.clients)))


if __name__ == "__main__":
    main()
