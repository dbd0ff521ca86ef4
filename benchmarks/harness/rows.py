"""What is measured: the rows of the table, and how each comes by its figure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from benchmarks.harness.peers import Feature, Peer
from benchmarks.harness.process import (
    Cores,
    HeldConnections,
    NotMeasured,
    RunningServer,
    run_load,
)

#: For all connections of a row to open.
OPENING_SECONDS = 300


class Measure(Enum):
    """What a row's figure is."""

    RATE = "a second"
    MEMORY = "octets a connection"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to measure; ``load`` is what the load generator is told."""

    key: str
    title: str
    load: tuple[str, ...]
    measure: Measure = Measure.RATE
    needs: frozenset[Feature] = frozenset()
    connections: int = 0
    in_quick: bool = True

    def asked_of(self, peer: Peer) -> bool:
        """Whether the row makes sense for the peer."""
        if peer.raw and (Feature.BROADCAST in self.needs or Feature.DEFLATE in self.needs):
            return False
        return self.needs <= peer.features


@dataclass(frozen=True, slots=True)
class Effort:
    """How long everything takes."""

    seconds: float
    warmup: float
    cores: Cores
    certificate: Path | None


def _echo(key: str, title: str, size: int, connections: int, *more: str, **fields: Any) -> Row:
    load = ("--size", str(size), "--connections", str(connections), *more)
    return Row(key, title, load, **fields)


def _idle(key: str, count: int, limit: int, **fields: Any) -> Row:
    # Both ends hold a descriptor for each connection, in processes of their own.
    count = min(count, limit - 100)
    load = ("--connections", str(count))
    title = f"idle ×{count:,}".replace(",", " ")
    return Row(key, title, load, Measure.MEMORY, connections=count, **fields)


def rows(descriptors: int, *, quick: bool) -> list[Row]:
    """All rows; the quick ones only where asked, with fewer connections."""
    deflate, tls = frozenset({Feature.DEFLATE}), frozenset({Feature.TLS})
    starlette, broadcast = frozenset({Feature.STARLETTE}), frozenset({Feature.BROADCAST})
    many = 500 if quick else 5000
    everything = [
        _echo("echo-32", "32 B", 32, 8),
        _echo("echo-32-16", "32 B ×16", 32, 8, "--in-flight", "16"),
        _echo("echo-256-64", "256 B, 64 conns", 256, 64),
        _echo("echo-16k", "16 KiB", 16 * 1024, 8),
        _echo("echo-1m", "1 MiB", 1024 * 1024, 4),
        Row("handshakes", "handshakes", ("--mode", "handshakes", "--connections", "16")),
        _echo("starlette-32", "Starlette 32 B", 32, 8, needs=starlette),
        _echo(
            "starlette-32-16", "Starlette 32 B ×16", 32, 8, "--in-flight", "16",
            needs=starlette, in_quick=False,
        ),
        _echo("deflate-256", "deflate 256 B", 256, 8, "--deflate", "--text", needs=deflate),
        _echo("deflate-16k", "deflate 16 KiB", 16 * 1024, 8, "--deflate", "--text", needs=deflate),
        _echo("tls-32", "TLS 32 B", 32, 8, "--tls", needs=tls),
        _echo("tls-16k", "TLS 16 KiB", 16 * 1024, 8, "--tls", needs=tls, in_quick=False),
        Row(
            "broadcast", f"broadcast to {many}",
            ("--mode", "broadcast", "--path", "/broadcast", "--connections", str(many)),
            needs=broadcast,
        ),
        _idle("idle", many, descriptors),
        _idle("idle-20000", 20_000, descriptors, in_quick=False),
        _idle("idle-deflate", many, descriptors, needs=deflate, in_quick=False),
    ]  # fmt: skip
    return [row for row in everything if row.in_quick or not quick]


def start(peer: Peer, row: Row, effort: Effort) -> RunningServer:
    """Start the peer as the row needs it. Raises :class:`NotMeasured`."""
    tls = Feature.TLS in row.needs
    if tls and effort.certificate is None:
        raise NotMeasured("no certificate could be made (openssl)")
    command = peer.command(
        starlette=Feature.STARLETTE in row.needs,
        deflate=Feature.DEFLATE in row.needs,
        certificate=effort.certificate if tls else None,
    )
    return RunningServer(command, peer.surroundings(), effort.cores.server)


def variant(row: Row) -> tuple[bool, ...]:
    """What tells apart the processes that rows need: rows with equal variants share one."""
    return tuple(
        feature in row.needs for feature in (Feature.DEFLATE, Feature.TLS, Feature.STARLETTE)
    )


def measure(peer: Peer, row: Row, server: RunningServer, effort: Effort) -> dict[str, Any]:
    """One figure, and what it took. Raises :class:`NotMeasured`."""
    if row.measure is Measure.MEMORY:
        return _memory(peer, row, server, effort)
    arguments = [*row.load, "--seconds", str(effort.seconds), "--warmup", str(effort.warmup)]
    if peer.raw:
        arguments.append("--raw")
    before = server.cpu_seconds()
    result = run_load(arguments, server.port, effort.cores.load, effort.seconds + effort.warmup)
    spent = server.cpu_seconds() - before
    result["figure"] = result["per_second"]
    result["server_cpu_us"] = 1e6 * spent / max(1, result["messages_in_all"])
    result["server_share"] = spent / result["seconds_in_all"]
    return result


def _memory(peer: Peer, row: Row, server: RunningServer, effort: Effort) -> dict[str, Any]:
    arguments = list(row.load)
    if peer.raw:
        arguments.append("--raw")
    if Feature.DEFLATE in row.needs:
        arguments += ["--deflate", "--text"]
    # Everything that is loaded or made once, at the first connections, is no part of the figure.
    warm = ["--connections", "64", *arguments[2:], "--seconds", "0.2"]
    run_load(warm, server.port, effort.cores.load, 1)
    before = server.memory()
    with HeldConnections(arguments, server.port, effort.cores.load, OPENING_SECONDS):
        held = server.memory()
    return {"figure": (held - before) / row.connections, "connections": row.connections}
