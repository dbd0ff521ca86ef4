"""Measure TLS handshakes a second: by upgrade (RFC 2817), and from the first octet, in one run.

    python -m benchmarks.tls_upgrade              21 rounds of each on both event loops, 1.5 minutes
    python -m benchmarks.tls_upgrade --quick      three

The server runs on one core, the clients (threads around OpenSSL) on the other. A handshake is
counted when the answer to a GET has been read inside TLS, from a connection that was opened for
it; no session is resumed. By upgrade it is the GET that asks for the switch, so both ways
carry one request and one answer; the upgrade adds the 101 and a round trip. Rounds are interleaved.
The tables have medians over the rounds, and ratios within the same round. "CPU" is what the server
used for one: it hardly moves when something else runs on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.certificates import make_certificate
from benchmarks.harness.process import RunningServer

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 8
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
OFFER = b"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n"


# The server.


async def serve(way: str, certificate: Path, key: Path) -> None:
    """Answer a short text, until ended."""
    from switchover.asyncio.exchange import Exchange
    from switchover.asyncio.server import Server
    from switchover.asyncio.tls import server_context
    from switchover.asyncio.tls_upgrade import tls
    from switchover.http.messages import Response

    async def hello(exchange: Exchange) -> None:
        await exchange.send_response(Response.text(200, "hello"), end=True)

    context = server_context()
    context.load_cert_chain(certificate, key)
    by_upgrade = way == "upgrade"
    async with Server(hello, tls(context) if by_upgrade else ()) as server:
        await server.start(ssl=None if by_upgrade else context)
        print(f"ready {server.port}", flush=True)
        await server.serve_forever()


# The clients.


def handshake(port: int, context: ssl.SSLContext, *, upgrade: bool) -> None:
    """Open a connection, have TLS on it, and read one answer inside."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if upgrade:
            plain.sendall(REQUEST + OFFER + b"\r\n")
            head = plain.recv(4096)  # the 101 is one write, and nothing follows it unasked
            if not (head.startswith(b"HTTP/1.1 101 ") and head.endswith(b"\r\n\r\n")):
                raise RuntimeError(repr(head))
        with context.wrap_socket(plain, server_hostname="localhost") as protected:
            if not upgrade:
                protected.sendall(REQUEST + b"\r\n")
            answer = b""
            while not answer.endswith(b"hello"):
                piece = protected.recv(4096)
                if not piece:
                    raise RuntimeError(repr(answer))
                answer += piece


@dataclass(frozen=True, slots=True)
class Round:
    """What one round has shown: handshakes a second, and CPU seconds of the server for each."""

    rate: float
    cpu: float


def measure(server: RunningServer, context: ssl.SSLContext, way: str, seconds: float) -> Round:
    """Let the clients make handshakes for ``seconds``."""
    counts = [0] * CLIENTS
    failures: list[BaseException] = []
    ends = time.perf_counter() + seconds

    def work(index: int) -> None:
        try:
            while time.perf_counter() < ends:
                handshake(server.port, context, upgrade=way == "upgrade")
                counts[index] += 1
        except (OSError, RuntimeError) as error:
            failures.append(error)

    before, begun = server.cpu_seconds(), time.perf_counter()
    threads = [threading.Thread(target=work, args=(index,)) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    done = sum(counts)
    spent = time.perf_counter() - begun
    return Round(done / spent, (server.cpu_seconds() - before) / done)


def compare(loop: str, rounds: int, seconds: float, cores: tuple[int, int]) -> str:
    """Measure both ways on ``loop`` and return a row of the table."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        certificate = make_certificate(Path(folder))
        if certificate is None:
            sys.exit("the certificate is made with openssl, which is not installed")
        context = ssl.create_default_context(cafile=str(certificate))
        servers = {}
        for way in ("first octet", "upgrade"):
            command = [
                sys.executable, "-m", "benchmarks.tls_upgrade", "--serve", way, "--loop", loop,
                "--certificate", str(certificate), "--key", str(certificate.with_suffix(".key")),
            ]  # fmt: skip
            paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
            environment = {**os.environ, "PYTHONPATH": paths}
            servers[way] = stack.enter_context(RunningServer(command, environment, cores[0]))
        seen: dict[str, list[Round]] = {way: [] for way in servers}
        for way, server in servers.items():
            measure(server, context, way, seconds / 2)  # warm
        for number in range(rounds):
            order = list(servers) if number % 2 else list(reversed(servers))
            for way in order:
                seen[way].append(measure(servers[way], context, way, seconds))
    return row(loop, seen["first octet"], seen["upgrade"])


def row(loop: str, first: list[Round], upgrade: list[Round]) -> str:
    """Put medians beside each other; the ratio is that within each round."""

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    rate = middle([u.rate / f.rate for u, f in zip(upgrade, first, strict=True)])
    cpu = middle([u.cpu / f.cpu for u, f in zip(upgrade, first, strict=True)])
    cells = [
        loop,
        f"{middle([r.rate for r in first]):.0f}",
        f"{middle([r.rate for r in upgrade]):.0f}",
        f"**{rate:.2f}**",
        f"{middle([r.cpu for r in first]) * 1e6:.0f}",
        f"{middle([r.cpu for r in upgrade]) * 1e6:.0f}",
        f"{cpu:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, or be the server that is measured."""
    parser = argparse.ArgumentParser(description="TLS handshakes: by upgrade, from the first octet")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve", choices=["first octet", "upgrade"])
    parser.add_argument("--loop", choices=["asyncio", "uvloop"])
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    options = parser.parse_args()
    if options.serve:
        factory = None
        if options.loop == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(options.serve, options.certificate, options.key))
        return
    available = sorted(os.sched_getaffinity(0))
    cores = (available[0], available[-1])
    os.sched_setaffinity(0, {cores[1]})
    rounds, seconds = (3, 0.5) if options.quick else (options.rounds, options.seconds)
    print("| loop | first octet, 1/s | upgrade, 1/s | ratio | CPU, µs | CPU, µs, upgrade | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for loop in [options.loop] if options.loop else ["asyncio", "uvloop"]:
        print(compare(loop, rounds, seconds, cores), flush=True)


if __name__ == "__main__":
    main()
