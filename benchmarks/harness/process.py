"""Running servers and load: pinned to a core each, their CPU time and memory read from /proc."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from benchmarks.harness.building import LOADGEN

START_SECONDS = 20
REFUSED = 3


class NotMeasured(Exception):
    """A row that a server does not answer, with the reason."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core each side runs on; the same one for both where there is only one."""

    server: int
    load: int


def descriptor_limit() -> int:
    """Raise the limit of open files as far as it goes, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _start(command: Sequence[str], core: int, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        start_new_session=True,
        **options,
    )


def _read_line(stream: IO[str] | None, seconds: float) -> str:
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline() if ready else ""


class RunningServer:
    """One server process, from its ``ready PORT`` line to its end."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], core: int) -> None:
        self._errors = tempfile.TemporaryFile()  # closed in stop()
        self._process = _start(
            command, core, env=environment, stderr=self._errors, stdin=subprocess.DEVNULL
        )
        line = _read_line(self._process.stdout, START_SECONDS)
        if not line.startswith("ready "):
            self.stop()
            raise NotMeasured(self._why_not())
        self.port = int(line.split()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it and what it started; by force after a second."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(1)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        if self._process.stdout:
            self._process.stdout.close()

    def _why_not(self) -> str:
        if self._process.returncode == REFUSED:
            return "does not do that"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "did not start in time"

    def cpu_seconds(self) -> float:
        """CPU time used so far by the process and its children, all threads, in seconds."""
        return sum(map(_cpu_of, _tree(self._process.pid)))

    def memory(self) -> int:
        """User-space memory in octets: proportional set size, with that of its children."""
        return sum(map(_pss_of, _tree(self._process.pid)))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield from _tree(int(child))


def _cpu_of(pid: int) -> float:
    spent = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        spent += int(path.read_text().split()[0])
    return spent / 1e9


def _pss_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def run_load(arguments: Sequence[str], port: int, core: int, seconds: float) -> dict[str, Any]:
    """Run the load generator to its end and return what it prints. Raises :class:`NotMeasured`."""
    load = _start([str(LOADGEN), "--port", str(port), *arguments], core)
    try:
        output, _ = load.communicate(timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        load.kill()
        load.communicate()
        raise NotMeasured("the load did not end in time") from None
    return _result(output)


def _result(output: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        output or '{"error": "the load generator said nothing in time"}'
    )
    if "error" in result:
        raise NotMeasured(result["error"])
    return result


class HeldConnections:
    """Connections that the load generator opens and holds while the block runs."""

    def __init__(self, arguments: Sequence[str], port: int, core: int, seconds: float) -> None:
        command = [str(LOADGEN), "--mode", "idle", "--port", str(port), *arguments]
        self._load = _start(command, core, stdin=subprocess.PIPE)
        self._seconds = seconds

    def __enter__(self) -> Self:
        try:
            _result(_read_line(self._load.stdout, self._seconds))
        except NotMeasured:
            self._load.kill()
            self._load.communicate()
            raise
        time.sleep(0.5)  # let the server finish what the last connections asked of it
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._load.communicate()
