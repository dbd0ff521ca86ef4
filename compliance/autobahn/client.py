"""The client under test: asks the fuzzing server for its cases and echoes in each of them.

python client.py LIBRARY ws://127.0.0.1:PORT AGENT
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

CASE_SECONDS = 120
LIMIT = 64 * 1024 * 1024

Run = Callable[[str, bool], Awaitable[str | bytes | None]]


async def with_switchover(url: str, echo: bool) -> str | bytes | None:
    """Echo everything (or take the first message and stop), with switchover."""
    import switchover

    first = None
    try:
        async with switchover.connect(url, max_message_size=LIMIT) as ws:
            async for message in ws:
                if not echo:
                    first = message
                    break
                await ws.send(message)
    except switchover.SwitchoverError as error:
        print(f"{url}: {error}", file=sys.stderr)
    return first


async def with_websockets(url: str, echo: bool) -> str | bytes | None:
    """The same, with websockets."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    first = None
    try:
        async with connect(url, max_size=LIMIT, ping_interval=None, proxy=None) as ws:
            async for message in ws:
                if not echo:
                    first = message
                    break
                await ws.send(message)
    except WebSocketException as error:
        print(f"{url}: {error}", file=sys.stderr)
    return first


async def with_aiohttp(url: str, echo: bool) -> str | bytes | None:
    """The same, with aiohttp."""
    import aiohttp

    first = None
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, compress=15, max_msg_size=LIMIT) as ws,
    ):
        async for message in ws:
            if not echo:
                first = message.data
                break
            if message.type is aiohttp.WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
    return first


LIBRARIES: dict[str, Run] = {
    "switchover": with_switchover,
    "websockets": with_websockets,
    "aiohttp": with_aiohttp,
}


async def run(library: str, server: str, agent: str) -> None:
    """Run all cases, then have the server write its reports."""
    client = LIBRARIES[library]
    count = await client(f"{server}/getCaseCount", False)
    assert count is not None
    for case in range(1, json.loads(count) + 1):
        url = f"{server}/runCase?case={case}&agent={agent}"
        try:
            await asyncio.wait_for(client(url, True), CASE_SECONDS)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # one case is one case
            print(f"case {case}: {type(error).__name__}: {error}", file=sys.stderr)
    # The server answers with Close and stops: how that ends is no part of the test.
    try:
        await client(f"{server}/updateReports?agent={agent}&shutdownOnComplete=true", False)
    except Exception as error:  # noqa: BLE001
        print(f"updateReports: {error}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:4]))
