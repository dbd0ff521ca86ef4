"""Processes of this machine, in the place of containers: for the engines beside this file.

A process has three pipes, or a terminal of its own (``tty``).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

from switchover.containers import Output, Stream

PIECE = 64 * 1024
END_OF_INPUT = b"\x04"  # what a person types on a terminal: Ctrl-D


class Process:
    """A running process; made by :meth:`start`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        outputs: Mapping[Stream, asyncio.StreamReader],
        stdin: asyncio.StreamWriter,
        terminal: int | None,
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._outputs = outputs
        self._stdin = stdin
        self._terminal = terminal

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        tty: bool = False,
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
    ) -> Process:
        """Start ``command``. Raises :class:`OSError` if it cannot be."""
        env = {**os.environ, **({"TERM": "xterm"} if tty else {}), **(environment or {})}
        if tty:
            return await cls._on_terminal(command, env, directory)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe, stdout=pipe, stderr=pipe,
            env=env, cwd=directory, start_new_session=True, limit=PIECE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        outputs = {Stream.STDOUT: process.stdout, Stream.STDERR: process.stderr}
        return cls(process, outputs, process.stdin, None)

    @classmethod
    async def _on_terminal(
        cls, command: Sequence[str], env: Mapping[str, str], directory: str | None
    ) -> Process:
        ours, theirs = pty.openpty()

        def take_terminal() -> None:  # in the child: Ctrl-C and the size of the window reach it
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=theirs, stdout=theirs, stderr=theirs,
                env=env, cwd=directory, start_new_session=True, preexec_fn=take_terminal,
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=PIECE)
        await loop.connect_read_pipe(
            lambda: TerminalReader(reader), os.fdopen(os.dup(ours), "rb", 0)
        )
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop), os.fdopen(ours, "wb", 0)
        )
        stdin = asyncio.StreamWriter(transport, protocol, None, loop)
        return cls(process, {Stream.STDOUT: reader}, stdin, ours)

    async def output(self) -> AsyncIterator[Output]:
        """Yield what the process says on either stream, as it comes, to the end of both."""
        queue: asyncio.Queue[Output | None] = asyncio.Queue(16)
        readers = [
            asyncio.create_task(_read(reader, stream, queue))
            for stream, reader in self._outputs.items()
        ]
        try:
            ended = 0
            while ended < len(readers):
                output = await queue.get()
                if output is None:
                    ended += 1
                else:
                    yield output
        finally:
            for task in readers:
                task.cancel()

    async def send(self, data: bytes) -> None:
        """Write to standard input; waits while the process does not read. An end is no error."""
        with suppress(ConnectionError):
            self._stdin.write(data)
            await self._stdin.drain()

    async def send_eof(self) -> None:
        """End standard input."""
        if self._terminal is not None:
            await self.send(END_OF_INPUT)
            return
        with suppress(ConnectionError):
            self._stdin.close()
            await self._stdin.wait_closed()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the terminal, if there is one."""
        if self._terminal is not None and not self._stdin.is_closing():
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def wait(self) -> int:
        """Return the exit code, as a shell says it: 128 more than the signal that ended it."""
        code = await self._process.wait()
        self._stdin.close()
        return code if code >= 0 else 128 - code


class TerminalReader(asyncio.StreamReaderProtocol):
    """Reads from a terminal whose other side may be closed."""

    def connection_lost(self, exc: Exception | None) -> None:
        # EIO is how Linux says that nobody has the terminal open any more: an end like any other.
        # As an exception it would hide what has been read and not been taken yet.
        ended = isinstance(exc, OSError) and exc.errno == errno.EIO
        super().connection_lost(None if ended else exc)


async def _read(
    reader: asyncio.StreamReader, stream: Stream, queue: asyncio.Queue[Output | None]
) -> None:
    while data := await reader.read(PIECE):
        await queue.put(Output(stream, data))
    await queue.put(None)
