"""The server's side: who is here, in which rooms, and what they say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Protocol

import switchover
from irc.protocol import Fault, Lines, Message

UNREAD = 100  # lines that may wait for one member
PATIENCE = 10.0  # seconds for the last of them
NICK = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,29}")
ROOM = re.compile(r"#[A-Za-z0-9_-]{1,50}")


class Connection(Protocol):
    """What the hall needs of a connection: octets to iterate over, and a way to send some."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def send(self, data: bytes) -> None: ...


class Member:
    """One who has come in; without a nick until NICK."""

    def __init__(self) -> None:
        self.nick = ""
        self.outbox: asyncio.Queue[bytes] = asyncio.Queue(UNREAD)
        self.too_slow = asyncio.Event()

    def tell(self, command: str, *params: str, source: str = "hall") -> None:
        """Put a line into the outbox; nobody waits for a member who does not read.

        Raises :class:`Fault` for what makes no line: in the task of whoever said it.
        """
        line = Message(command, params, source).encode()
        try:
            self.outbox.put_nowait(line)
        except asyncio.QueueFull:
            self.too_slow.set()

    async def write(self, connection: Connection) -> None:
        """Send what is in the outbox, as fast as the connection takes it."""
        while True:
            await connection.send(await self.outbox.get())
            self.outbox.task_done()


class Hall:
    """All members and rooms. One :meth:`serve` runs for each connection."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._rooms: dict[str, list[Member]] = {}

    async def serve(self, connection: Connection) -> None:
        """Be the hall for one connection, until it ends its data, quits, or falls behind."""
        member = Member()
        reading = asyncio.create_task(self._read(member, connection))
        writing = asyncio.create_task(member.write(connection))
        behind = asyncio.create_task(member.too_slow.wait())
        try:
            await asyncio.wait((reading, writing, behind), return_when=asyncio.FIRST_COMPLETED)
            self._leave(member)
            if reading.done() and not writing.done():
                # The member has nothing more to say; what there is to hear is still delivered.
                delivered = asyncio.create_task(member.outbox.join())
                await asyncio.wait(
                    (delivered, writing), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
                )
                delivered.cancel()
        finally:
            self._leave(member)
            for task in (reading, writing, behind):
                task.cancel()
            ends = await asyncio.gather(reading, writing, return_exceptions=True)
        for end in ends:
            # The network's faults are everyday life; ours are to be seen.
            if isinstance(end, Exception) and not isinstance(end, switchover.SwitchoverError):
                raise end

    async def _read(self, member: Member, connection: Connection) -> None:
        lines = Lines()
        try:
            async for data in connection:
                for line in filter(None, lines.feed(data)):
                    message = Message.parse(line)
                    if message.command == "QUIT":
                        return
                    self._obey(member, message)
        except Fault as fault:
            member.tell("ERROR", str(fault))

    def _obey(self, member: Member, message: Message) -> None:
        match message.command, message.params:
            case "PING", params:
                member.tell("PONG", *params)
            case "NICK", [nick]:
                self._name(member, nick)
            case _ if not member.nick:
                member.tell("451", "*", "first say who you are: NICK name")
            case "JOIN", [room] if ROOM.fullmatch(room):
                self._join(member, room)
            case "PRIVMSG", [target, text]:
                self._say(member, target, text)
            case command, _:
                member.tell("421", member.nick, command, "unknown command, or not so")

    def _name(self, member: Member, nick: str) -> None:
        if nick in self._members or not NICK.fullmatch(nick):
            member.tell("433", "*", "this name is taken, or is none")
            return
        self._members.pop(member.nick, None)
        self._members[nick] = member
        member.nick = nick
        member.tell("001", nick, "welcome")

    def _join(self, member: Member, room: str) -> None:
        present = self._rooms.setdefault(room, [])
        if member not in present:
            present.append(member)
            for each in present:
                each.tell("JOIN", room, source=member.nick)

    def _say(self, member: Member, target: str, text: str) -> None:
        if target in self._members:
            listeners = [self._members[target]]
        elif member in self._rooms.get(target, []):
            listeners = [each for each in self._rooms[target] if each is not member]
        else:
            member.tell("401", member.nick, target, "nobody of this name, and no room of yours")
            return
        for each in listeners:
            each.tell("PRIVMSG", target, text, source=member.nick)

    def _leave(self, member: Member) -> None:
        if self._members.get(member.nick) is member:
            del self._members[member.nick]
        for room, present in list(self._rooms.items()):
            if member in present:
                present.remove(member)
                for each in present:
                    each.tell("PART", room, source=member.nick)
                if not present:
                    del self._rooms[room]
