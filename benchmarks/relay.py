"""Measure the relay of our CONNECT proxy beside a plain relay on uvloop, and socat.

    python benchmarks/relay.py               25 short rounds of each, a minute and a half
    python benchmarks/relay.py --quick       three

The relay runs on one core, source and sink on the other. *stream* sends in writes of 16 KiB as
fast as they are taken, *echo* sends 16 KiB and waits for them to come back. Rounds are
interleaved; the tables have medians over the rounds, and ratios to the plain uvloop relay of the
same round. "CPU" is what the relay's process used for a GiB: it hardly moves when something
else runs on the machine. The target is a ratio of 0.95 at least.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

WRITE = 16 * 1024
PLAIN = "plain uvloop"
TARGET = 0.95


# The relays: each listens, prints "ready PORT", and relays to the port it is given.


class PlainEnd(asyncio.Protocol):
    """As little as a relay that keeps the pace of its slower end can do."""

    def __init__(self) -> None:
        self.other: PlainEnd | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)  # type: ignore[union-attr]  # both are connected

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()  # type: ignore[union-attr]  # as above

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()  # type: ignore[union-attr]  # as above

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class PlainFirst(PlainEnd):
    """The end that accepts, and then connects."""

    target = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.early: list[bytes] = []
        cast("asyncio.Transport", transport).pause_reading()
        self.task = asyncio.ensure_future(self._connect())

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)  # read before uvloop has taken note of the pause
        else:
            super().data_received(data)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, other = await loop.create_connection(PlainEnd, "127.0.0.1", self.target)
        self.other, other.other = other, self
        for data in self.early:
            super().data_received(data)
        self.data_received = super().data_received  # type: ignore[method-assign]  # the fast one
        cast("asyncio.Transport", self.transport).resume_reading()


async def plain(target: int) -> None:
    """Relay with what the event loop has."""
    PlainFirst.target = target
    loop = asyncio.get_running_loop()
    server = await loop.create_server(PlainFirst, "127.0.0.1", 0)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def ours(target: int) -> None:
    """Open CONNECT tunnels."""
    from switchover.asyncio.connect_handler import ConnectHandler
    from switchover.asyncio.server import Server
    from switchover.tunnel.policy import DestinationPolicy

    handler = ConnectHandler(DestinationPolicy(ports=[target], networks=["127.0.0.0/8"]))
    async with Server(connect=handler) as server:
        await server.start()
        print("ready", server.port, flush=True)
        await server.serve_forever()


def serve(kind: str, target: int) -> None:
    """Be the relay ``kind``."""
    relay = ours(target) if kind == "switchover" else plain(target)
    if kind == "plain asyncio":
        asyncio.run(relay)
    else:
        import uvloop

        uvloop.run(relay)


# The other core.


@dataclass(frozen=True, slots=True)
class Measured:
    """One relay in one round: octets a second, and CPU seconds of the relay for a GiB."""

    rate: float
    cpu: float


def source(port: int, seconds: float, target: int, *, tunnel: bool, echo: bool) -> None:
    """Send for ``seconds``; runs in a process of its own."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tunnel:
            there = f"127.0.0.1:{target}"
            sock.sendall(f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            assert b" 200 " in head, head
        data, back = bytes(WRITE), bytearray(WRITE)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            sock.sendall(data)
            got = 0
            while echo and got < WRITE:
                got += sock.recv_into(memoryview(back)[got:])


def sink(
    listener: socket.socket, cpu: Callable[[], float], *, echo: bool
) -> tuple[int, float, float]:
    """Take one connection to its end; return octets, seconds, and CPU seconds of the relay."""
    listener.settimeout(10)  # the source says why, if it does not come
    connection, _ = listener.accept()
    total, counted, buffer = 0, 0, memoryview(bytearray(1024 * 1024))
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        total = connection.recv_into(buffer[:1])
        begun, before, used = time.perf_counter(), cpu(), 0.0
        if echo:
            connection.sendall(buffer[:1])
        looked = begun
        while count := connection.recv_into(buffer):
            total += count
            if echo:
                connection.sendall(buffer[:count])
            if (now := time.perf_counter()) - looked > 0.05:
                # Before the end: a child of socat takes its account with it.
                looked, used, counted = now, cpu() - before, total
        return counted, looked - begun, used


def measure(
    running: Running, listener: socket.socket, core: int, seconds: float, *, echo: bool
) -> Measured:
    """Send through one relay for ``seconds``."""
    target = listener.getsockname()[1]
    child = os.fork()
    if child == 0:
        try:
            os.sched_setaffinity(0, {core})
            source(running.port, seconds, target, tunnel=running.kind == "switchover", echo=echo)
        except Exception:  # noqa: BLE001  # told, and the end of this process
            traceback.print_exc()
        finally:
            os._exit(0)
    octets, took, used = sink(listener, running.cpu_seconds, echo=echo)
    os.waitpid(child, 0)
    return Measured(octets / took, used / (octets / 2**30))


class Running:
    """A relay in a process of its own, on ``core``."""

    def __init__(self, kind: str, target: int, core: int) -> None:
        self.kind = kind
        if kind == "socat":
            self.port = _free_port()
            # -b: as much at a time as the others may read; a child for each connection.
            command = ["socat", "-b", "262144", f"TCP-LISTEN:{self.port},bind=127.0.0.1,fork,"
                       "reuseaddr,nodelay", f"TCP:127.0.0.1:{target},nodelay"]  # fmt: skip
        else:
            command = [sys.executable, __file__, "--serve", kind, "--port", str(target)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        if kind == "socat":
            _wait_until_listening(self.port)
            return
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])

    def cpu_seconds(self) -> float:
        """Of the process and, for socat, of the child that has the connection."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return sum(map(_on_cpu, [self.process.pid, *map(int, pids.split())]))


def _on_cpu(pid: int) -> float:
    # In nanoseconds; /proc/PID/stat counts hundredths of seconds.
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return 0.0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_until_listening(port: int) -> None:
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    for _ in range(500):
        if listening in Path("/proc/net/tcp").read_text():
            return
        time.sleep(0.01)
    raise SystemExit("socat does not listen")


@contextmanager
def running(kinds: list[str], target: int, core: int) -> Iterator[list[Running]]:
    """Start the relays; end them."""
    started: list[Running] = []
    try:
        for kind in kinds:
            started.append(Running(kind, target, core))
        yield started
    finally:
        for relay in started:
            relay.process.terminate()
            relay.process.wait()


def table(title: str, kinds: list[str], rounds: list[dict[str, Measured]]) -> None:
    """Print medians, and medians of the ratios within a round."""
    print(f"\n### {title}, writes of {WRITE // 1024} KiB, {len(rounds)} rounds\n")
    print("| relay | MiB/s | ratio | CPU s/GiB | ratio by CPU |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind in kinds:

        def median(value: Callable[[dict[str, Measured]], float]) -> float:
            return statistics.median(map(value, rounds))

        rate = median(lambda found: found[kind].rate) / 2**20
        ratio = median(lambda found: found[kind].rate / found[PLAIN].rate)
        cpu = median(lambda found: found[kind].cpu)
        by_cpu = median(lambda found: found[PLAIN].cpu / max(found[kind].cpu, 1e-9))
        print(f"| {kind} | {rate:,.0f} | {ratio:.2f} | {cpu:.2f} | {by_cpu:.2f} |")


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--serve")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port)
        return
    rounds, seconds = (3, 0.3) if options.quick else (options.rounds, options.seconds)
    kinds = [PLAIN, "switchover", "plain asyncio"]
    if shutil.which("socat"):
        kinds.append("socat")
    else:
        print("socat is not installed: left out")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = listener.getsockname()[1]
        with running(kinds, target, cores[0]) as relays:
            for echo, title in ((False, "stream"), (True, "echo")):
                found: list[dict[str, Measured]] = []
                for number in range(rounds):
                    turn = relays[number % len(relays) :] + relays[: number % len(relays)]
                    found.append(
                        {r.kind: measure(r, listener, cores[-1], seconds, echo=echo) for r in turn}
                    )
                table(title, kinds, found)


if __name__ == "__main__":
    main()
