"""Programs under test: started, asked for their port, ended."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20
#: The demonstration server, without its address.
SERVE = (sys.executable, "-m", "switchover", "serve", "--bind", "127.0.0.1:0")
PURE = {"SWITCHOVER_PURE_PYTHON": "1"}

# The demonstration server says where it listens, the benchmark's servers "ready PORT".
_PORT = re.compile(r"(?:ready |Listening on http://[^:]+:)(\d+)\D")
_TLS_PORT = re.compile(r"Listening on https://[^:]+:(\d+)\D")


@dataclass(frozen=True, slots=True)
class Testee:
    """A program under test. Servers print a line with their port; clients take a URL."""

    name: str
    command: tuple[str, ...]
    path: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    ours: bool = False

    def surroundings(self) -> dict[str, str]:
        """Its environment: the source tree before what is installed."""
        paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **self.environment}


class RunningServer:
    """A server under test, from the line with its port to its end."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], *, tls: bool = False
    ) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self.port = self._await_port(_TLS_PORT if tls else _PORT)

    def _await_port(self, where: re.Pattern[str]) -> int:
        assert self._process.stdout is not None
        stream, said = self._process.stdout.fileno(), b""
        while select.select([stream], [], [], START_SECONDS)[0]:
            piece = os.read(stream, 4096)
            said += piece
            if found := where.search(said.decode(errors="replace")):
                return int(found[1])
            if not piece:
                break
        self.stop()
        self._errors.seek(0)
        raise RuntimeError(f"did not start: {self._errors.read().decode(errors='replace')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, by force if it takes longer than two seconds."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(2)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        if self._process.stdout:
            self._process.stdout.close()
