"""The client: ``python -m irc.client NICK``; lines typed are sent, lines received are shown."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import switchover
from irc.protocol import Lines, Message


class Session:
    """A member of the hall, seen from outside. Iterate over it for the messages."""

    def __init__(self, tunnel: switchover.Tunnel) -> None:
        self._tunnel = tunnel
        self._lines = Lines()
        self._ready: deque[Message] = deque()

    def __aiter__(self) -> Session:
        return self

    async def __anext__(self) -> Message:
        while not self._ready:
            data = await self._tunnel.read()
            if not data:
                raise StopAsyncIteration
            self._ready.extend(Message.parse(line) for line in self._lines.feed(data))
        return self._ready.popleft()

    async def send(self, command: str, *params: str) -> None:
        """Send a message."""
        await self._tunnel.send(Message(command, params).encode())

    async def finish(self) -> None:
        """Have nothing more to say; what the hall still says can be read."""
        await self._tunnel.send_eof()


@asynccontextmanager
async def join(url: str, nick: str) -> AsyncIterator[Session]:
    """Come into the hall at ``url``. Raises ``switchover.SwitchDeclined`` if there is none."""
    async with switchover.switch(url, offer=["irc/6.9"], required=True) as switched:
        assert switched.tunnel is not None
        session = Session(switched.tunnel)
        await session.send("NICK", nick)
        yield session


async def main(nick: str, url: str) -> None:
    typed = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(typed), sys.stdin
    )

    async def talk(session: Session) -> None:
        while line := (await typed.readline()).strip():
            message = Message.parse(line)
            await session.send(message.command, *message.params)
        await session.finish()

    async with join(url, nick) as session:
        talking = asyncio.create_task(talk(session))
        async for message in session:
            print(message.source, message.command, *message.params, flush=True)
        talking.cancel()


if __name__ == "__main__":
    url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8106/irc"
    asyncio.run(main(sys.argv[1], url))
