"""The commands as a person runs them: processes with arguments, input, output, exit codes."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from switchover.cli import main

SOURCE = Path(__file__).resolve().parents[2] / "src"
COMMAND = (sys.executable, "-m", "switchover")
SECONDS = 15


def environment() -> dict[str, str]:
    """A terminal of 100 columns without colours; the package from this tree."""
    return os.environ | {"PYTHONPATH": str(SOURCE), "COLUMNS": "100", "NO_COLOR": "1"}


class Serving:
    """A running ``switchover serve``; ``lines`` are what it has said on standard output."""

    def __init__(self, *arguments: str, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a line that is held in a buffer is none that select() sees
            env=environment(),
            cwd=cwd,
        )
        self.lines: list[str] = []
        for _ in range(2 if "--tls-bind" in arguments else 1):
            self.lines.append(self._line())
        self.ports = [int(port) for port in re.findall(r":(\d+)/", "\n".join(self.lines))]

    def _line(self) -> str:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.process.kill()
            raise AssertionError("the server said nothing")
        line = self.process.stdout.readline().decode()
        if not line:
            raise AssertionError(self.process.communicate()[1].decode())
        return line.rstrip("\n")

    @property
    def port(self) -> int:
        """Of the cleartext listener."""
        return self.ports[0]

    @property
    def url(self) -> str:
        """Of the cleartext listener, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, float]:
        """Send a signal; return exit code, standard error and how many seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said.decode(), time.monotonic() - begun


@contextmanager
def serving(*arguments: str, cwd: Path | None = None) -> Iterator[Serving]:
    """Run ``switchover serve``, on a free port unless told otherwise."""
    if not {"--bind", "--unix"} & set(arguments):
        arguments = ("--bind", "127.0.0.1:0", *arguments)
    server = Serving(*arguments, cwd=cwd)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


@pytest.fixture
def serve() -> Callable[..., object]:
    """Run ``switchover serve``: ``with serve("--tls-bind", "127.0.0.1:0") as server``."""
    return serving


@pytest.fixture(scope="session")
def demonstration() -> Iterator[Serving]:
    """The demonstration server, for the session."""
    with serving() as server:
        yield server


@pytest.fixture
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end, with ``stdin`` piped in."""

    def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=SECONDS,
            check=False,
        )

    return command


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Run a command in this process: for what ends before anything is served or switched."""
    return lambda *arguments: CliRunner().invoke(main, arguments, prog_name="switchover")


class Raw:
    """A client that knows octets only."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._held = b""

    def send(self, data: bytes) -> None:
        """Send ``data``."""
        self.sock.sendall(data)

    def until(self, wanted: bytes, count: int = 1) -> bytes:
        """Read until ``wanted`` has come ``count`` times; return what is there, and keep it."""
        while self._held.count(wanted) < count:
            data = self.sock.recv(65536)
            assert data, self._held
            self._held += data
        return self._held

    def head(self) -> bytes:
        """Read a message head, with its empty line."""
        self.until(b"\r\n\r\n")
        head, separator, self._held = self._held.partition(b"\r\n\r\n")
        return head + separator

    def read(self, size: int) -> bytes:
        """Read ``size`` octets."""
        while len(self._held) < size:
            data = self.sock.recv(65536)
            assert data, self._held
            self._held += data
        data, self._held = self._held[:size], self._held[size:]
        return data

    def answer(self) -> tuple[bytes, bytes]:
        """Read a response with a Content-Length: head and content."""
        head = self.head()
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None, head
        return head, self.read(int(length[1]))

    def rest(self) -> bytes:
        """Read to the end."""
        while data := self.sock.recv(65536):
            self._held += data
        return self._held


@pytest.fixture
def raw() -> Callable[..., object]:
    """Connect with plain octets: ``with raw(server) as connection``."""

    @contextmanager
    def connect(server: Serving, path: str | None = None) -> Iterator[Raw]:
        if path is None:
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(SECONDS)
            sock.connect(path)
        with sock:
            yield Raw(sock)

    return connect
