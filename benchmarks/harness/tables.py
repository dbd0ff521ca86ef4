"""Medians, ratios and the tables they stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.harness.peers import RAW_UVLOOP, Peer
from benchmarks.harness.rows import Measure, Row

LOAD_BOUND = 0.95  # the load generator used so much of its core,
SERVER_IDLE = 0.85  # and the server less than this of its own


@dataclass(slots=True)
class Results:
    """Everything measured: by row, by peer, the runs in their order; and what was not, and why."""

    runs: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, row: Row, peer: Peer, run: dict[str, Any]) -> None:
        """Keep one run."""
        self.runs.setdefault(row.key, {}).setdefault(peer.name, []).append(run)

    def miss(self, row: Row, peer: Peer, reason: str) -> None:
        """Keep why there is no figure."""
        self.missing.setdefault(row.key, {})[peer.name] = reason

    def middle(self, row: Row, peer: Peer, key: str = "figure") -> float | None:
        """The median of one number over the runs."""
        values = [run[key] for run in self.runs.get(row.key, {}).get(peer.name, []) if key in run]
        return median(values) if values else None

    def ratio(self, row: Row, peer: Peer) -> float | None:
        """To raw uvloop in the same round, the median over the rounds."""
        ours = self.runs.get(row.key, {}).get(peer.name, [])
        raw = self.runs.get(row.key, {}).get(RAW_UVLOOP.name, [])
        pairs = list(zip(ours, raw, strict=False))
        return median(mine["figure"] / its["figure"] for mine, its in pairs) if pairs else None

    def cpu_ratio(self, row: Row, peer: Peer) -> float | None:
        """CPU time of raw uvloop to that of the peer: holds where others use the machine too."""
        its, raw = (self.middle(row, one, "server_cpu_us") for one in (peer, RAW_UVLOOP))
        return raw / its if its and raw else None

    def load_bound(self, row: Row, peer: Peer) -> bool:
        """Whether the load generator, not the server, set the figure."""
        load, server = (self.middle(row, peer, key) for key in ("cpu_share", "server_share"))
        return (
            load is not None and server is not None and load > LOAD_BOUND and server < SERVER_IDLE
        )


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])


def _cells(
    results: Results, peers: Sequence[Peer], rows: Sequence[Row], cell: Callable[[Row, Peer], str]
) -> str:
    lines = []
    for peer in peers:
        cells = [cell(row, peer) for row in rows]
        if any(cells):
            lines.append([peer.name, *(text or "–" for text in cells)])
    return _table(["server", *(row.title for row in rows)], lines) if lines else ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}".replace(",", " ")


def tables(results: Results, peers: Sequence[Peer], rows: Sequence[Row]) -> str:
    """All of it in Markdown."""
    measured = [row for row in rows if row.key in results.runs]
    rates = [row for row in measured if row.measure is Measure.RATE]
    compared = [row for row in rates if results.runs[row.key].get(RAW_UVLOOP.name)]
    memory = [row for row in measured if row.measure is Measure.MEMORY]

    def ratio(row: Row, peer: Peer) -> str:
        value = results.ratio(row, peer)
        mark = "*" if results.load_bound(row, peer) else ""
        return (
            "" if value is None else f"{value:.3f}{mark}" if value < 0.1 else f"{value:.2f}{mark}"
        )

    def by_cpu(row: Row, peer: Peer) -> str:
        value = results.cpu_ratio(row, peer)
        return "" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"

    def cpu(row: Row, peer: Peer) -> str:
        value = results.middle(row, peer, "server_cpu_us")
        return "" if value is None else f"{value:.2f}"

    def rate(row: Row, peer: Peer) -> str:
        return _number(results.middle(row, peer))

    def latency(row: Row, peer: Peer) -> str:
        runs = results.runs[row.key].get(peer.name, [])
        marks = [median(run["latency_us"][name] for run in runs) for name in ("p50", "p99") if runs]
        return " / ".join(_number(mark) for mark in marks)

    parts = [
        ("Ratio to raw uvloop", _cells(results, peers, compared, ratio)),
        ("The same by CPU time of the server", _cells(results, peers, compared, by_cpu)),
        ("Messages, handshakes or deliveries a second", _cells(results, peers, rates, rate)),
        ("CPU of the server, µs a message", _cells(results, peers, rates, cpu)),
        (
            "Latency at full load, µs, median / 99th percentile",
            _cells(results, peers, rates, latency),
        ),
        ("User-space memory, octets a connection", _cells(results, peers, memory, rate)),
    ]
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in parts if body)
    return f"{text}\n\n{_load_note(results, peers, rates)}\n{_missing(results, rows)}"


def _load_note(results: Results, peers: Sequence[Peer], rates: Sequence[Row]) -> str:
    bound = [
        f"{peer.name} at {row.title}"
        for row in rates
        for peer in peers
        if results.load_bound(row, peer)
    ]
    told = "`*`: the load generator used its whole core and the server did not; a lower bound"
    return (
        f"{told} ({', '.join(bound)})."
        if bound
        else "The load generator set no figure: none is marked `*`."
    )


def _missing(results: Results, rows: Sequence[Row]) -> str:
    titles = {row.key: row.title for row in rows}
    lines = [
        f"- {peer}, {titles[key]}: {reason}"
        for key, reasons in results.missing.items()
        for peer, reason in reasons.items()
    ]
    return "\nNot measured:\n\n" + "\n".join(lines) + "\n" if lines else ""
