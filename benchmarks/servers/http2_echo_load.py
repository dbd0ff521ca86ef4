"""WebSocket messages to our echo with our own client: ``PORT 1|2 SECONDS SIZE IN_FLIGHT``.

Over one connection of HTTP/1.1, or on one stream of HTTP/2. Prints what it found as JSON. It is a
Python program like the server, and often the slower of the two: compare the server's CPU time.
"""

from __future__ import annotations

import json
import sys
import time

import uvloop

import switchover
from switchover.asyncio.client_pool import HTTP2


async def echo(ws: switchover.WebSocket, seconds: float, size: int, in_flight: int) -> int:
    """Keep ``in_flight`` messages on their way; return how many have come back."""
    message = bytes(size)
    for _ in range(in_flight):
        await ws.send(message)
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        await ws.recv()
        await ws.send(message)
        count += 1
    for _ in range(in_flight):
        await ws.recv()
    return count + in_flight


async def main(port: int, version: int, seconds: float, size: int, in_flight: int) -> None:
    http2 = HTTP2.PRIOR_KNOWLEDGE if version == 2 else HTTP2.NEVER
    url = f"ws://127.0.0.1:{port}/echo"
    async with (
        switchover.Client(http2=http2) as client,
        switchover.connect(url, client=client, extensions=()) as ws,
    ):
        start = time.perf_counter()
        count = await echo(ws, seconds, size, in_flight)
        spent = time.perf_counter() - start
    print(json.dumps({"figure": count / spent, "messages": count}), flush=True)


if __name__ == "__main__":
    port, version, seconds, size, in_flight = sys.argv[1:]
    uvloop.run(main(int(port), int(version), float(seconds), int(size), int(in_flight)))
