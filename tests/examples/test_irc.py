"""The tutorial's example, both ends, and the tutorial's text itself."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from irc.client import Session, join
from irc.protocol import MAX_LINE, Fault, Lines, Message
from irc.server import upgrade

import switchover

ROOT = Path(__file__).resolve().parents[2]
WORD = st.text(
    st.characters(exclude_characters=" \r\n\0:", exclude_categories=("Z", "C")), min_size=1
)
COMMAND = st.from_regex(r"[A-Z]{1,10}|[0-9]{3}", fullmatch=True)


# The protocol: no socket, no loop.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"NICK alice", Message("NICK", ("alice",))),
        (b"nick alice", Message("NICK", ("alice",))),
        (b"QUIT", Message("QUIT")),
        (b"PRIVMSG #tea :hello, all", Message("PRIVMSG", ("#tea", "hello, all"))),
        (b"PRIVMSG #tea ::-)", Message("PRIVMSG", ("#tea", ":-)"))),
        (b"PRIVMSG #tea :", Message("PRIVMSG", ("#tea", ""))),
        (b":alice PRIVMSG bob hello", Message("PRIVMSG", ("bob", "hello"), "alice")),
        (b"JOIN   #tea  ", Message("JOIN", ("#tea",))),
    ],
)
def test_lines_are_read(line: bytes, message: Message) -> None:
    assert Message.parse(line) == message


@pytest.mark.parametrize("line", [b"", b" NICK", b":alice", b"12", b"NI-CK x", b"NICK a\0b"])
def test_what_is_no_message(line: bytes) -> None:
    with pytest.raises(Fault):
        Message.parse(line)


@given(COMMAND, st.lists(WORD, max_size=4), st.one_of(st.none(), st.text(max_size=40)))
def test_a_message_is_read_as_it_was_written_or_not_written(
    command: str, words: list[str], last: str | None
) -> None:
    message = Message(command, (*words, *([] if last is None else [last])))
    try:
        line = message.encode()
    except Fault:
        return
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == 1
    assert len(line) <= MAX_LINE
    assert Message.parse(line[:-2]) == message


@pytest.mark.parametrize(
    "message",
    [
        Message("NICK", ("a\r\nQUIT",)),
        Message("NICK", ("a b", "c")),
        Message("NICK", ("", "c")),
        Message("NICK", ("a\0",)),
        Message("", ("a",)),
        Message("PRIVMSG", ("bob", "x" * MAX_LINE)),
        Message("PRIVMSG", ("bob",), "two words"),
    ],
)
def test_nothing_is_written_that_would_be_read_as_something_else(message: Message) -> None:
    with pytest.raises(Fault):
        message.encode()


@given(st.lists(st.integers(1, 12), max_size=12))
def test_lines_are_the_same_however_they_come(sizes: list[int]) -> None:
    octets = b"NICK alice\r\nJOIN #tea\n\r\nPRIVMSG #tea :hello"
    lines, got, start = Lines(), [], 0
    for size in [*sizes, len(octets)]:
        got += lines.feed(octets[start : start + size])
        start += size
    assert got == [b"NICK alice", b"JOIN #tea", b""]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    lines = Lines()
    lines.feed(b"x" * (MAX_LINE - 1))
    with pytest.raises(Fault):
        lines.feed(b"x")


# Both ends, on a real connection.


@asynccontextmanager
async def hall() -> AsyncIterator[str]:
    async with switchover.Server(upgrades=[upgrade()]) as server:
        await server.start("127.0.0.1", 0)
        async with asyncio.timeout(20):
            yield f"http://127.0.0.1:{server.port}/irc"


async def heard(session: Session, *commands: str) -> list[Message]:
    """The next messages, one for each of ``commands``."""
    messages = []
    iterator = aiter(session)
    for command in commands:
        messages.append(await anext(iterator))
        assert messages[-1].command == command
    return messages


async def sync(session: Session) -> list[Message]:
    """Everything until the answer to a PING of ours."""
    await session.send("PING", "sync")
    messages = []
    async for message in session:
        if message == Message("PONG", ("sync",), "hall"):
            break
        messages.append(message)
    return messages


@pytest.mark.anyio
class TestHall:
    """One server, some members."""

    async def test_two_members_talk(self) -> None:
        async with hall() as url, join(url, "alice") as alice, join(url, "bob") as bob:
            assert await sync(alice) == [Message("001", ("alice", "welcome"), "hall")]
            assert await sync(bob) == [Message("001", ("bob", "welcome"), "hall")]
            await alice.send("JOIN", "#tea")
            await sync(alice)
            await bob.send("JOIN", "#tea")
            await bob.send("PRIVMSG", "#tea", "hello, all")
            await bob.send("PRIVMSG", "alice", "and you")
            assert await sync(bob) == [Message("JOIN", ("#tea",), "bob")]
            assert await sync(alice) == [
                Message("JOIN", ("#tea",), "bob"),
                Message("PRIVMSG", ("#tea", "hello, all"), "bob"),
                Message("PRIVMSG", ("alice", "and you"), "bob"),
            ]

    async def test_what_there_is_to_hear_comes_after_the_last_word(self) -> None:
        """The half-close: a member who has nothing more to say still hears the answers."""
        async with hall() as url, join(url, "alice") as alice:
            for number in range(50):
                await alice.send("PING", str(number))
            await alice.finish()
            messages = [message async for message in alice]
            assert messages[1:] == [Message("PONG", (str(n),), "hall") for n in range(50)]

    async def test_those_who_leave_are_missed(self) -> None:
        async with hall() as url, join(url, "alice") as alice:
            await alice.send("JOIN", "#tea")
            async with join(url, "bob") as bob:
                await bob.send("JOIN", "#tea")
                await sync(bob)
                await bob.send("QUIT")
            while True:
                messages = await sync(alice)
                if Message("PART", ("#tea",), "bob") in messages:
                    break
            async with join(url, "bob") as bob:
                assert await sync(bob) == [Message("001", ("bob", "welcome"), "hall")]

    async def test_what_the_hall_refuses(self) -> None:
        async with hall() as url, join(url, "alice") as alice:
            await sync(alice)
            for words in (
                ("NICK", "alice"),
                ("NICK", "#room"),
                ("JOIN", "tea"),
                ("PRIVMSG", "nobody", "hello"),
                ("PRIVMSG", "#strangers", "hello"),
                ("DANCE",),
            ):
                await alice.send(*words)
            codes = [message.command for message in await sync(alice)]
            assert codes == ["433", "433", "421", "401", "401", "421"]

    async def test_first_a_name(self) -> None:
        async with hall() as url, join(url, "not a name") as nobody:
            await nobody.send("JOIN", "#tea")
            assert [message.command for message in await sync(nobody)] == ["433", "451"]

    async def test_a_fault_ends_the_connection_with_a_word(self) -> None:
        async with hall() as url, switchover.switch(url, offer=["irc/6.9"]) as switched:
            assert switched.tunnel is not None
            await switched.tunnel.send(b"NICK alice\r\n?\r\nPING 1\r\n")
            said = b"".join([data async for data in switched.tunnel])
            assert said.startswith(b":hall 001 alice welcome\r\n:hall ERROR ")
            assert b"PONG" not in said

    async def test_what_cannot_be_passed_on_ends_its_speaker_only(self) -> None:
        """A line that fits, and does not fit with the name of its speaker before it."""
        async with hall() as url, join(url, "alice") as alice, join(url, "bob") as bob:
            await sync(alice)
            await sync(bob)
            await bob.send("PRIVMSG", "alice", "x" * (MAX_LINE - len("PRIVMSG alice :\r\n") - 2))
            [message] = await heard(bob, "ERROR")
            assert "makes no line" in message.params[0]
            assert await sync(alice) == []

    async def test_a_member_who_does_not_read_is_let_go(self) -> None:
        """Nobody waits for one who has stopped reading, and memory stays bounded."""
        async with hall() as url, join(url, "alice") as alice:
            await sync(alice)
            async with switchover.switch(url, offer=["irc/6.9"]) as slow:
                assert slow.tunnel is not None
                await slow.tunnel.send(b"NICK sleepy\r\n")
                while [m.command for m in await sync(alice)] != ["401"]:
                    for _ in range(50):
                        await alice.send("PRIVMSG", "sleepy", "z" * 400)
                    await sync(alice)
                    await alice.send("PRIVMSG", "sleepy", "still there?")
                slow.tunnel.abort()

    async def test_without_the_offer_there_is_a_426(self) -> None:
        """UPG-S-15: the resource insists, and says on what."""
        async with hall() as url, switchover.Client() as client:
            answer = await client.get(url)
            assert answer.status == 426
            assert answer.fields.get("upgrade") == "irc/6.9"
            with pytest.raises(switchover.UpgradeRequired):
                await switchover.switch(url, offer=["irc/7.0"], required=True)


def test_the_programs_of_the_tutorial_run() -> None:
    """``python -m irc.server`` and ``python -m irc.client``, as the page says."""
    folder = ROOT / "examples"
    run = [sys.executable, "-m"]
    with subprocess.Popen(
        [*run, "irc.server", "0"], cwd=folder, stdout=subprocess.PIPE, text=True, env=environment()
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split()[1]
        try:
            done = subprocess.run(
                [*run, "irc.client", "alice", f"http://127.0.0.1:{port}/irc"],
                input="JOIN #tea\nPRIVMSG alice :to myself\n",
                cwd=folder, env=environment(),
                capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
        finally:
            server.terminate()
    assert done.stdout.splitlines() == [
        "hall 001 alice welcome",
        "alice JOIN #tea",
        "alice PRIVMSG alice to myself",
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.mark.parametrize("name", ["protocol", "hall", "server", "client"])
def test_the_tutorial_shows_the_files_that_run(name: str) -> None:
    """The blocks that follow a file's name are the file, from its first line to its last."""
    page = (ROOT / "docs" / "tutorial" / "irc.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^`irc/{name}\.py`.*?:\n\n```python\n(.*?)^```", page, re.M | re.S)
    file = (ROOT / "examples" / "irc" / f"{name}.py").read_text(encoding="utf-8")
    assert len(blocks) == 1
    assert blocks[0] == file
