"""Whom the suite tests: our two ends, compiled and pure, and peers that prove the runner."""

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

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20
_PEERS = ROOT / "benchmarks" / "servers"
_PURE = {"SWITCHOVER_PURE_PYTHON": "1"}


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


def _peer(name: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, str(_PEERS / f"{name}_echo.py"), "--deflate", *options)


def _client(library: str) -> tuple[str, ...]:
    return (sys.executable, str(Path(__file__).with_name("client.py")), library)


_SERVE = (sys.executable, "-m", "switchover", "serve", "--bind", "127.0.0.1:0")

SERVERS = (
    Testee("switchover", _SERVE, "/echo", ours=True),
    Testee("switchover-pure", _SERVE, "/echo", _PURE, ours=True),
    Testee("aiohttp", _peer("aiohttp")),
    Testee("websockets", _peer("websockets")),
    Testee("picows.websockets", _peer("picows_coroutine")),
    Testee("uvicorn", _peer("uvicorn")),
    Testee("uvicorn-wsproto", _peer("uvicorn", "--implementation", "wsproto")),
    Testee("hypercorn", _peer("hypercorn")),
    Testee("switchover-asgi", _peer("switchover_asgi"), ours=True),
)
CLIENTS = (
    Testee("switchover", _client("switchover"), ours=True),
    Testee("switchover-pure", _client("switchover"), "/", _PURE, ours=True),
    Testee("aiohttp", _client("aiohttp")),
    Testee("websockets", _client("websockets")),
)
# The demonstration server says where it listens, the benchmark's servers "ready PORT".
_PORT = re.compile(r"(?:ready |Listening on http://[^:]+:)(\d+)")


class RunningServer:
    """A server under test, from the line with its port to its end."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self.port = self._await_port()

    def _await_port(self) -> int:
        stream = self._process.stdout
        assert stream is not None
        while select.select([stream], [], [], START_SECONDS)[0] and (line := stream.readline()):
            if found := _PORT.search(line):
                return int(found[1])
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
