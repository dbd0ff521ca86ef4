"""The server: ``python -m irc.server``."""

from __future__ import annotations

import asyncio
import sys

import switchover
from irc.hall import Hall


def upgrade() -> switchover.Upgrade:
    """A hall at ``/irc`` for whoever offers ``irc/6.9``."""
    return switchover.token("irc/6.9", Hall().serve, path="/irc", required=True)


async def main(port: int) -> None:
    async with switchover.Server(upgrades=[upgrade()]) as server:
        await server.start("127.0.0.1", port)
        print(f"ready {server.port} ", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8106))
