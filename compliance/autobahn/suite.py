"""Runs Autobahn: the fuzzing client against servers, the fuzzing server against clients."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compliance.autobahn.verdicts import Verdict, read_index
from compliance.testee import RunningServer, Testee

WSTEST = Path(__file__).with_name("wstest.py")
#: All of it takes seven minutes; a server that answers nothing runs into every time limit.
SUITE_SECONDS = 3600
_COUNT = re.compile(r"will run (\d+) test cases")


@dataclass(frozen=True, slots=True)
class Suite:
    """Where Autobahn lies, which interpreter runs it, and which cases it is to run."""

    folder: Path
    python: str
    cases: tuple[str, ...]
    reports: Path

    def servers(self, testee: Testee) -> tuple[list[Verdict], int]:
        """Test a server. Returns the verdicts, and how many there should be."""
        out = self.reports / "servers" / testee.name
        with RunningServer(testee.command, testee.surroundings()) as server:
            url = f"ws://127.0.0.1:{server.port}{testee.path}"
            servers = [{"agent": testee.name, "url": url}]
            spec = self._spec(out, servers=servers)
            suite = self._run("fuzzingclient", spec)
            try:
                suite.wait(SUITE_SECONDS)
            finally:
                suite.kill()
                suite.wait()
        return _found(out)

    def clients(self, testee: Testee) -> tuple[list[Verdict], int]:
        """Test a client. Returns the verdicts, and how many there should be."""
        out = self.reports / "clients" / testee.name
        url = f"ws://127.0.0.1:{_free_port()}"
        suite = self._run("fuzzingserver", self._spec(out, url=url))
        try:
            _await_listener(int(url.rpartition(":")[2]), suite)
            with (out / "testee.log").open("w") as log:
                command = [*testee.command, url, testee.name]
                subprocess.run(
                    command,
                    env=testee.surroundings(),
                    stderr=log,
                    timeout=SUITE_SECONDS,
                    check=False,
                )
            suite.wait(30)
        finally:
            suite.kill()
            suite.wait()
        return _found(out)

    def _spec(self, out: Path, **more: object) -> Path:
        out.mkdir(parents=True, exist_ok=True)
        (out / "index.json").unlink(missing_ok=True)
        spec = out / "spec.json"
        given = {"outdir": str(out), "cases": list(self.cases), "exclude-cases": [], **more}
        spec.write_text(json.dumps({**given, "exclude-agent-cases": {}}))
        return spec

    def _run(self, mode: str, spec: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONUNBUFFERED": "1"}
        with spec.with_name("wstest.log").open("wb") as log:
            return subprocess.Popen(
                [self.python, str(WSTEST), "-m", mode, "-s", str(spec), "-u", "0"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def _found(out: Path) -> tuple[list[Verdict], int]:
    log = (out / "wstest.log").read_text(encoding="utf-8", errors="replace")
    index = out / "index.json"
    if not index.exists():
        raise RuntimeError(f"Autobahn wrote no report; its last words:\n{log[-2000:]}")
    count = _COUNT.search(log)
    return read_index(index), int(count[1]) if count else 0


def _free_port() -> int:
    # Autobahn takes a URL and nothing else, so the port is chosen before it listens.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_listener(port: int, suite: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while suite.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("Autobahn's fuzzing server did not start")


def sections(words: Sequence[str]) -> tuple[str, ...]:
    """``1-7`` as the sections it spans; all else (``10``, ``6.4``, ``9.1.*``) as it is."""
    patterns: list[str] = []
    for word in words:
        first, dash, last = word.partition("-")
        patterns += map(str, range(int(first), int(last) + 1)) if dash else [word]
    return tuple(patterns)
