"""Measures every server in turn, in interleaved rounds, and writes the tables.

    python -m benchmarks                       everything: an hour or so, on a machine of its own
    python -m benchmarks --quick               the main rows once, a third of a second each
    python -m benchmarks --rows echo-32 handshakes --peers switchover picows

Within a round, all servers of a row are measured one after the other, each pinned to one core,
the load generator to another. Ratios are taken within a round: slow drifts of the machine cancel.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.building import build
from benchmarks.harness.certificates import make_certificate
from benchmarks.harness.peers import PEERS, RAW_UVLOOP, Peer
from benchmarks.harness.process import Cores, NotMeasured, RunningServer, descriptor_limit
from benchmarks.harness.rows import Effort, Measure, Row, measure, rows, start, variant
from benchmarks.harness.tables import Results, tables
from benchmarks.harness.versions import machine, versions

RESULTS = Path(__file__).resolve().parent / "results"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="fewer rows, one short round")
    parser.add_argument("--rounds", type=int, help="how often each figure is taken (5; quick: 1)")
    parser.add_argument("--seconds", type=float, help="how long each takes (2; quick: 0.3)")
    parser.add_argument("--rows", nargs="+", default=[], help="keys of rows, or how they begin")
    parser.add_argument("--peers", nargs="+", default=[], help="parts of the names of servers")
    parser.add_argument("--without", nargs="+", default=[], help="parts of names to leave out")
    parser.add_argument("--name", help="write benchmarks/results/NAME.md and .json")
    parser.add_argument("--server-core", type=int)
    parser.add_argument("--load-core", type=int)
    parser.add_argument("--list", action="store_true", help="show the rows and servers there are")
    return parser.parse_args(argv)


def chosen_peers(options: argparse.Namespace) -> list[Peer]:
    def wanted(peer: Peer) -> bool:
        if any(part in peer.name for part in options.without):
            return False
        return not options.peers or any(part in peer.name for part in options.peers)

    return [peer for peer in PEERS if peer is RAW_UVLOOP or wanted(peer)]


def chosen_rows(options: argparse.Namespace) -> list[Row]:
    every = rows(descriptor_limit(), quick=options.quick)
    return [row for row in every if not options.rows or row.key.startswith(tuple(options.rows))]


def chosen_effort(options: argparse.Namespace, folder: Path) -> Effort:
    cores = sorted(os.sched_getaffinity(0))
    server = cores[0] if options.server_core is None else options.server_core
    load = cores[-1] if options.load_core is None else options.load_core
    return Effort(
        seconds=options.seconds or (0.3 if options.quick else 2.0),
        warmup=0.1 if options.quick else 0.4,
        cores=Cores(server, load),
        certificate=make_certificate(folder),
    )


class Round:
    """The servers that run at present; idle ones cost no CPU, so all may run at once."""

    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._running: dict[tuple[str, tuple[bool, ...]], RunningServer] = {}

    def server(self, peer: Peer, row: Row) -> RunningServer:
        """The peer, as the row needs it."""
        key = (peer.name, variant(row))
        running = self._running.get(key)
        if running is None or not running.alive:
            self._running[key] = running = start(peer, row, self._effort)
        return running

    def stop(self) -> None:
        """End them all."""
        for running in self._running.values():
            running.stop()
        self._running.clear()


def _turns(peers: Sequence[Peer], number: int) -> Iterator[Peer]:
    """Raw uvloop first (ratios are to it), the others beginning at another one each round."""
    first, others = peers[0], peers[1:]
    yield first
    for index in range(len(others)):
        yield others[(index + number) % len(others)]


def _once(turn: Round, peer: Peer, row: Row, effort: Effort) -> dict[str, Any]:
    if row.measure is Measure.MEMORY:  # memory wants a process that has done nothing before
        with start(peer, row, effort) as fresh:
            return measure(peer, row, fresh, effort)
    return measure(peer, row, turn.server(peer, row), effort)


def run_round(
    number: int, peers: Sequence[Peer], every: Sequence[Row], effort: Effort, results: Results
) -> None:
    """Measure everything once."""
    turn = Round(effort)
    try:
        for row in every:
            for peer in _turns(peers, number):
                if not row.asked_of(peer) or peer.name in results.missing.get(row.key, {}):
                    continue
                try:
                    found = _once(turn, peer, row, effort)
                except NotMeasured as reason:
                    results.miss(row, peer, str(reason))
                else:
                    results.add(row, peer, found)
                    _tell(number, row, peer, found)
    finally:
        turn.stop()


def _tell(number: int, row: Row, peer: Peer, found: dict[str, Any]) -> None:
    load = f", load {found['cpu_share']:.0%}" if "cpu_share" in found else ""
    figure = f"{found['figure']:>12,.0f} {row.measure.value}{load}"
    print(
        f"round {number + 1}  {row.title:<22} {peer.name:<34} {figure}", file=sys.stderr, flush=True
    )


def head(options: argparse.Namespace, effort: Effort, rounds: int) -> dict[str, Any]:
    """What a reader must know to trust the figures."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "quick": options.quick,
        "rounds": rounds,
        "seconds": effort.seconds,
        "one_core_for_both": effort.cores.server == effort.cores.load,
        "machine": machine(),
        "versions": versions(),
    }


def written(facts: dict[str, Any], body: str) -> str:
    """The Markdown of a result."""
    told = {**facts["machine"], **facts["versions"]}
    listed = ", ".join(f"{name} {value}" for name, value in told.items())
    shared = " **Server and load shared one core.**" if facts["one_core_for_both"] else ""
    return (
        f"# Benchmark of {facts['date']}\n\n{listed}.\n\n"
        f"Medians of {facts['rounds']} interleaved rounds of {facts['seconds']} s; the server "
        f"pinned to one core, the load generator to another.{shared} "
        f"Ratios hold within one table only.\n\n{body}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 if anything was measured."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are ended on the way out
    options = arguments(argv)
    peers, every = chosen_peers(options), chosen_rows(options)
    if options.list:
        print("\n".join(f"{row.key:<18} {row.title}" for row in every))
        print("\n".join(peer.name for peer in peers))
        return 0
    absent = {peer.name: reason for peer in peers if (reason := peer.missing())}
    for name, reason in absent.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    peers = [peer for peer in peers if peer.name not in absent]
    build()
    results, rounds = Results(), options.rounds or (1 if options.quick else 5)
    with tempfile.TemporaryDirectory() as folder:
        effort = chosen_effort(options, Path(folder))
        for number in range(rounds):
            run_round(number, peers, every, effort, results)
    facts = head(options, effort, rounds)
    text = written(facts, tables(results, peers, every))
    print(text)
    if options.name:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{options.name}.md").write_text(text)
        kept = {**facts, "runs": results.runs, "missing": results.missing, "absent": absent}
        (RESULTS / f"{options.name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    return 0 if results.runs else 1
