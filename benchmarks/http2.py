"""Measures HTTP/2 servers in interleaved rounds with h2load, and WebSockets over both HTTPs.

    python -m benchmarks.http2                     ten minutes or so
    python -m benchmarks.http2 --quick             one short round, half a minute
    python -m benchmarks.http2 --peers granian --name http2

Every server answers 5 octets and 1 MiB, on one core, to one connection at a time from another
core: `switchover` with a handler and with an ASGI application, the other Python servers with the
same application, `nghttpd` (C++, files) as the limit. Ratios are taken within a round: slow
drifts of the machine cancel. The second table is the CPU time of the server's process with all
its threads, which moves little when something else runs on the machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.h2load import h2load
from benchmarks.harness.process import Cores, NotMeasured, RunningServer
from benchmarks.harness.versions import machine, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SERVER = HERE / "servers" / "http2_server.py"
ECHO_LOAD = HERE / "servers" / "http2_echo_load.py"

LIMIT = "nghttpd"
OURS = "switchover"
PEERS = (OURS, "switchover-asgi", "granian", "uvicorn", "hypercorn", LIMIT)


@dataclass(frozen=True, slots=True)
class Row:
    """Something to measure; ``requests`` is how many a connection of h2load carries."""

    title: str
    path: str = ""
    streams: int = 0
    requests: int = 0
    version: int = 0
    size: int = 0
    in_flight: int = 0


ANSWERS = (
    Row("5 B, 1 stream", "/small", 1, 2000),
    Row("5 B, 100 streams", "/small", 100, 4000),
    Row("1 MiB, 1 stream", "/large", 1, 200),
    Row("1 MiB, 100 streams", "/large", 100, 400),
)
ECHOES = tuple(
    Row(f"{title}, HTTP/{'1.1' if version == 1 else '2'}", "", 0, 0, version, size, in_flight)
    for title, size, in_flight in (("32 B", 32, 1), ("32 B ×16", 32, 16), ("16 KiB", 16384, 1))
    for version in (1, 2)
)

Runs = dict[str, dict[str, list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long everything takes, and where it runs."""

    rounds: int
    seconds: float
    cores: Cores


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http2", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="how often each figure is taken (7; quick: 1)")
    parser.add_argument("--seconds", type=float, help="how long each takes (2; quick: 0.3)")
    parser.add_argument("--peers", nargs="+", default=[], help="parts of the names of servers")
    parser.add_argument("--name", help="write benchmarks/results/NAME.md and .json")
    parser.add_argument("--server-core", type=int)
    parser.add_argument("--load-core", type=int)
    return parser.parse_args(argv)


def chosen_effort(options: argparse.Namespace) -> Effort:
    cores = sorted(os.sched_getaffinity(0))
    server = cores[0] if options.server_core is None else options.server_core
    load = cores[-1] if options.load_core is None else options.load_core
    rounds = options.rounds or (1 if options.quick else 7)
    return Effort(rounds, options.seconds or (0.3 if options.quick else 2.0), Cores(server, load))


def start(name: str, core: int) -> RunningServer:
    """Start a server. Raises :class:`NotMeasured`."""
    return RunningServer([sys.executable, str(SERVER), name], surroundings(), core)


def surroundings() -> dict[str, str]:
    source = str(HERE.parent / "src")
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def measure(row: Row, server: RunningServer, effort: Effort, seconds: float) -> dict[str, Any]:
    """One figure, and what it took. Raises :class:`NotMeasured`."""
    if not row.version:
        return h2load(server, row.path, row.streams, row.requests, seconds, effort.cores.load)
    told = (server.port, row.version, seconds, row.size, row.in_flight)
    before = server.cpu_seconds()
    run = subprocess.run(
        [sys.executable, str(ECHO_LOAD), *map(str, told)],
        env=surroundings(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=seconds + 30,
        preexec_fn=lambda: os.sched_setaffinity(0, {effort.cores.load}),
    )
    if run.returncode:
        raise NotMeasured("the load failed")
    found: dict[str, Any] = json.loads(run.stdout)
    found["server_cpu_us"] = 1e6 * (server.cpu_seconds() - before) / found["messages"]
    return found


def run_all(
    names: Sequence[str], rows: Sequence[Row], effort: Effort, missing: dict[str, str]
) -> Runs:
    """Measure every row of every server in rounds; warm each up first."""
    runs: Runs = {row.title: {} for row in rows}
    running: dict[str, RunningServer] = {}
    try:
        for name in names:
            try:
                running[name] = start(name, effort.cores.server)
            except NotMeasured as why:
                missing[name] = str(why)
        for number in range(-1, effort.rounds):
            seconds = 0.1 if number < 0 else effort.seconds
            for row in rows:
                for name in _turns(list(running), max(number, 0)):
                    if f"{name}, {row.title}" in missing:
                        continue
                    try:
                        found = measure(row, running[name], effort, seconds)
                    except NotMeasured as why:
                        missing[f"{name}, {row.title}"] = str(why)
                        continue
                    if number >= 0:
                        runs[row.title].setdefault(name, []).append(found)
            print(f"round {number + 1} of {effort.rounds}", file=sys.stderr, flush=True)
    finally:
        for server in running.values():
            server.stop()
    return runs


def _turns(names: list[str], number: int) -> list[str]:
    """Beginning at another one each round."""
    at = number % len(names) if names else 0
    return names[at:] + names[:at]


# The tables.


def table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])
    return f"## {title}\n\n{rows}\n"


def tables(answers: Runs, echoes: Runs, names: Sequence[str]) -> str:
    def lines(cell: Callable[[str, str], str]) -> list[list[str]]:
        return [[name, *(cell(row.title, name) for row in ANSWERS)] for name in names]

    def middle(runs: Runs, title: str, name: str, key: str) -> float | None:
        values = [run[key] for run in runs[title].get(name, [])]
        return median(values) if values else None

    def number(value: float | None, digits: int = 0) -> str:
        return "–" if value is None else f"{value:,.{digits}f}".replace(",", " ")

    def ratio(title: str, name: str) -> str:
        pairs = zip(answers[title].get(name, []), answers[title].get(LIMIT, []), strict=False)
        ratios = [mine["figure"] / its["figure"] for mine, its in pairs]
        return f"{median(ratios):.2f}" if ratios else "–"

    heads = ["server", *(row.title for row in ANSWERS)]
    parts = [
        table(
            "Requests a second",
            heads,
            lines(lambda title, name: number(middle(answers, title, name, "figure"))),
        ),
        table(
            "CPU of the server, µs a request",
            heads,
            lines(lambda title, name: number(middle(answers, title, name, "server_cpu_us"), 1)),
        ),
        table(f"Ratio to {LIMIT} in the same round", heads, lines(ratio)),
        table(
            "Mean time for a request, µs",
            heads,
            lines(lambda title, name: number(middle(answers, title, name, "mean_us"))),
        ),
        table(
            "WebSocket echo, ours: over HTTP/1.1 and over a stream of HTTP/2",
            ["messages", "a second", "CPU of the server, µs a message"],
            [
                [
                    row.title,
                    number(middle(echoes, row.title, OURS, "figure")),
                    number(middle(echoes, row.title, OURS, "server_cpu_us"), 1),
                ]
                for row in ECHOES
            ],
        ),
    ]
    return "\n".join(parts)


def head(effort: Effort) -> str:
    where = machine()
    ran = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"# HTTP/2: {datetime.date.today().isoformat()}\n\n{effort.rounds} rounds of"
        f" {effort.seconds:g} s a figure, medians. One connection of h2load at a time.\n\n"
        f"{where['processor']}, {where['cores']} cores, Linux {where['kernel']}. {ran}.\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    effort = chosen_effort(options)
    wanted = options.peers
    names = [n for n in PEERS if n in (OURS, LIMIT) or not wanted or any(p in n for p in wanted)]
    missing: dict[str, str] = {}
    answers = run_all(names, ANSWERS, effort, missing)
    echoes = run_all([OURS], ECHOES, effort, missing)
    text = f"{head(effort)}\n{tables(answers, echoes, names)}"
    if missing:
        lines = "\n".join(f"- {what}: {why}" for what, why in missing.items())
        text += f"\nNot measured:\n\n{lines}\n"
    print(text)
    if options.name:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{options.name}.md").write_text(text)
        found = {"versions": versions(), "machine": machine(), "missing": missing}
        found |= {"answers": answers, "echoes": echoes}
        (RESULTS / f"{options.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
