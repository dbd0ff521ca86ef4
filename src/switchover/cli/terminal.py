"""The terminal's side of a switched connection: standard input, and what is shown."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterable, Iterator

import click

from switchover.http.messages import Request, Response

__all__ = ["StandardInput", "show_exchange", "write"]


class StandardInput:
    """Reads standard input in a thread, since neither files nor all terminals can be polled."""

    def __init__(self, *, lines: bool) -> None:
        self._lines = lines
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Start reading; the thread ends with the process if nothing is typed any more."""
        threading.Thread(target=self._read, daemon=True, name="standard input").start()

    def _read(self) -> None:
        for piece in _typed_lines() if self._lines else _pieces():
            if not self._put(piece):
                return
        self._put(b"")

    def _put(self, data: bytes) -> bool:
        try:
            asyncio.run_coroutine_threadsafe(self._queue.put(data), self._loop).result()
        except (RuntimeError, asyncio.CancelledError):
            return False  # the event loop has ended
        return True

    async def read(self) -> bytes:
        """Return the next line (or piece), ``b""`` at the end of the input."""
        return await self._queue.get()


def _pieces() -> Iterator[bytes]:
    # Not through sys.stdin: a thread that holds its lock when the process ends is fatal.
    while data := os.read(sys.stdin.fileno(), 65536):
        yield data


def _typed_lines() -> Iterator[bytes]:
    held = b""
    for piece in _pieces():
        *whole, held = (held + piece).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if held:
        yield held


def write(data: bytes) -> None:
    """Write octets to standard output at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def show_exchange(request: Request, response: Response | None, chain: Iterable[str] = ()) -> None:
    """Show the messages of a switch on standard error, as ``curl -v`` does."""
    _lines(">", f"{request.method} {request.target} HTTP/{request.version}", request)
    if response is not None:
        _lines("<", f"HTTP/{response.version} {response.status} {response.reason}", response)
    if chain:
        click.echo(f"* {' → '.join(chain)}", err=True)


def _lines(mark: str, start: str, message: Request | Response) -> None:
    click.echo(f"{mark} {_printable(start)}", err=True)
    for name, value in message.fields:
        shown = "…" if name.lower() in _SECRET else value
        click.echo(f"{mark} {_printable(f'{name}: {shown}')}", err=True)
    click.echo(mark, err=True)


_SECRET = {"authorization", "proxy-authorization", "cookie", "set-cookie"}


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
